r"""
The cache of keys and values.

A model that writes draws one token, puts it behind the text, and asks itself again. The text has grown by one token:
does everything have to be computed again? What has been computed for the tokens before, and may be kept? What does
keeping it save, what does it cost, and when is it wrong?

You need: `fp_attention.masks`, `fp_attention.multihead`, `fp_attention.rotary`.

## What is computed again

The token at position $n$ is drawn from the network's output at position $n - 1$. A network that was made for training
takes a whole text and gives an output at each of its positions; used for writing it runs over $n$ tokens, of which it
has seen all but one before, and all its outputs but the last are thrown away.

Write the network down, position by position. A text $x_0, x_1, \dots$ goes in, and $h_t$ is the row that stands for
position $t$. First each token is looked up, possibly along with its position; then come layers of two kinds:

$$h_t \leftarrow e(x_t, t), \qquad h_t \leftarrow f(h_t, t), \qquad
h_t \leftarrow f\big( h_t, t, \{ (j, k_j, v_j) : M_{tj} = 1 \} \big). \qquad \text{(E1)}$$

The second is a **positionwise** layer: linear layers, activations, normalization of a row. The third is attention, with
the keys $k_j$ and values $v_j$ of all its heads; they are functions of $h_j$ and $j$, as the query is of $h_t$ and $t$.
All these functions differ from layer to layer, and what many networks do with a layer, to add its input to its
output (a *residual connection*), is a part of them. What they may not do is use anything else: no chance, so dropout
is off; no mean over a batch; and not the length of the text.

The third says what is needed of the tokens before to compute the row of a new one: their $k_j$ and $v_j$, in each
attention layer, and nothing more. That these never change is what a causal mask makes sure of.

**Claim** `attention.cache-exact`. Let a network consist of layers (E1) that use neither chance nor the length of the
text, all masks being causal. Cut a text into chunks of any lengths and compute chunk after chunk, where each attention
layer appends the keys and values of the chunk to a cache, which keeps them as they are, and the chunk's queries look at
what the cache holds, at the positions that it has in the text and under the layer's mask. Then in exact arithmetic
every row of every layer is what the network computes from the whole text at once, and also what it computes from any
text that begins with the same tokens up to that row.

**Proof.** *The rows of a text do not depend on what follows.* As all masks are causal, the positions $0, \dots, t$
look only at one another: they are closed in every layer, and the induction over layers in (1) of `attention.closed-set`
says that the rows at these positions depend on $x_0, \dots, x_t$ only. It holds for (E1) too, whose layers use at $t$
what stands at $t$, the number $t$, and the keys and values that $t$ looks at. So all texts that begin with
$x_0, \dots, x_t$ have the same $h_t$ in each layer, and the same keys and values at $t$. Call them the right ones.

*Chunks.* Let all caches hold the right keys and values of the tokens before a chunk, as they do before the first, when
there are none. The first step of (E1) gives the right rows of the chunk. Suppose the rows in front of a layer are
right. Behind a positionwise layer they are right, as the same function is given the same. In an attention layer the
keys, values and queries of the chunk are right for this reason, and when they are appended, the cache holds the right
keys and values of all tokens up to the chunk's end. A query at $t$ is given those of them with $M_{tj} = 1$. As
$M_{tj} = 1$ only for $j \le t$, this is the set that it is given in the whole text: nothing is missing, and what the
cache lacks, the tokens after the chunk, is not in it. So the rows behind the layer are right. By induction over the
layers all rows of the chunk are, and the caches hold what the next chunk requires of them; by induction over the chunks
all rows of the text are. $\blacksquare$

Where a hypothesis fails, so may the result. A prefix mask lets early tokens look at later ones: it stays exact if the
whole prefix is in the first chunk, as by `attention.prefix` its rows depend on no token after it. Positions counted
from the end of the text, or angles that are rescaled when the text grows, change keys that have been kept. And
floating-point sums over a chunk and over a text may be taken in another order, so the last digits may differ, and with
them a choice between two tokens that are as good as equally likely.

>>> rng = np.random.default_rng(0)
>>> q, k, v = rng.normal(size=(3, 5, 2))  # one head, five tokens, width two
>>> def attention(q, k, v, seen):
...     scores = np.where(seen, q @ k.T / np.sqrt(2), -np.inf)
...     p = np.exp(scores - scores.max(axis=1, keepdims=True))
...     return p @ v / p.sum(axis=1, keepdims=True)
>>> whole = attention(q, k, v, np.tri(5, dtype=bool))
>>> cache, rows = KVCache(1, 1, 2, capacity=5, dtype=np.float64), []
>>> for chunk in (slice(0, 2), slice(2, 3), slice(3, 5)):
...     keys, values, j = cache.append(k[None, None, chunk], v[None, None, chunk])
...     t = np.arange(5)[chunk]
...     rows.append(attention(q[chunk], keys[0, 0], values[0, 0], j <= t[:, None]))
>>> bool(np.allclose(np.concatenate(rows), whole, rtol=1e-14))
True

## What it saves

**Claim** `attention.cache-work`. Let a text grow from nothing to $n$ tokens, one at a time, under a causal mask whose
masked pairs cost nothing. Without a cache a layer computes

$$\frac{n (n + 1)}{2} \text{ rows} \qquad \text{and} \qquad \frac{n (n + 1) (n + 2)}{6} \text{ pairs}
\qquad \text{(E2)}$$

of a query and a key; with a cache $n$ rows and $\frac{n (n + 1)}{2}$ pairs. If a row costs $a$ multiplications, and
there are $H$ query heads of width $D$, $d = H D$, with values as wide, these are

$$a\, \frac{n (n + 1)}{2} + d\, \frac{n (n + 1) (n + 2)}{3} \qquad \text{against} \qquad a\, n + d\, n (n + 1)$$

multiplications: of order $n^3 d$ and $n^2 d$. With the cache it is the same number if the tokens come in chunks.

**Proof.** A text of $t$ tokens has $t$ rows and $1 + 2 + \dots + t = \frac{t (t + 1)}{2}$ pairs
(`attention.causal-strips`). Without a cache step $t$ computes all of that, for $t = 1, \dots, n$. The rows add up to
$\frac{n (n + 1)}{2}$, which is the same sum, and the pairs to (E2), because

$$
\frac{t (t + 1) (t + 2)}{6} - \frac{(t - 1)\, t\, (t + 1)}{6} = \frac{t (t + 1)}{6}\, \big( (t + 2) - (t - 1) \big)
= \frac{t (t + 1)}{2},
$$

and zero for $t = 0$. With the cache each token is a row once, and its query looks at the keys up to its own once, in
whichever chunk it comes: $n$ rows and $\frac{n (n + 1)}{2}$ pairs. A pair costs, in each head, the $D$ multiplications
of $q \cdot k$ and the $D$ of weight times value, $2 d$ together. $\blacksquare$

For a text of 2,048 tokens, rows and pairs with the cache and how many times as many without it:

>>> cached, scratch = (generation_work(2048, cached=c) for c in (True, False))
>>> cached, scratch[0] / cached[0], scratch[1] / cached[1]
((2048, 2098176), 1024.5, 683.3333333333334)

## What it costs

**Claim** `attention.cache-memory`. The caches of a network with $L$ attention layers that have $H_{kv}$ key heads of
width $D$, and values as wide, hold for $B$ texts of $T$ tokens

$$2\, L\, H_{kv}\, D\, T\, B \qquad \text{(E3)}$$

numbers. With $G = H / H_{kv}$ query heads to a key head that is one $G$-th of what they are with $G = 1$, and each
number of a key or value is used for $G$ multiplications when a token is added.

**Proof.** A key has $D$ numbers and a value has $D$: $2 D$ for each head, layer, token and text, of which there are
$H_{kv}$, $L$, $T$ and $B$. For $G = 1$, $H_{kv} = H$, and $H / H_{kv} = G$. Each of the $G$ query heads multiplies each
number of a key by one of its own, and each number of a value by a weight of its own. $\blacksquare$

A network with the sizes of Llama 2 7B (32 layers of 32 heads of width 128), in half precision and for 4,096 tokens, in
GiB; then with 8 key heads, as Llama 3 8B has; and then with these, for 131,072 tokens and a batch of 16:

>>> [cache_bytes(32, *sizes) / 2**30 for sizes in ((32, 128, 4096), (8, 128, 4096), (8, 128, 131_072, 16))]
[2.0, 0.5, 256.0]

The weights are read once for a batch, but a cache is read once for each of its texts: for one new token every number in
it goes from memory to processor for $G$ multiplications. The memory's speed sets the pace (`attention.decode-intensity`
counts by how much), which is why what is saved in (E3) is saved in time too.

## When the text outgrows it

A cache that is full could drop its oldest tokens and renumber the rest from zero. What it holds then is not what the
shortened text has.

**Claim** `attention.cache-shift`. Drop the oldest $m$ tokens from every cache of a network.

1. If positions are added to the input, the keys left need not be those of the shortened text, nor need later weights
   be those that it has, whether positions are counted on or renumbered.
2. Take a layer in front of which each row depends on its own token alone, and in which positions enter only by RoPE
   turning queries and keys, and by a mask that depends on $t - j$. There what is left serves as it is: every later
   result is that of the shortened text, if positions are counted on.
3. In a network of two layers even that fails, with RoPE and without positions at all: what the second layer keeps
   depends on the tokens that were dropped.

**Proof.** *1.* One head of width one, $e(x_t, t) = t$, and query and key equal to $h_t$. After three tokens the keys
are $0, 1, 2$; without the first $1, 2$ are left, and the shortened text has $0, 1$. Its next token has the query and
key $2$, so its scores are $0, 2, 4$ and its weights in the ratio $1 : e^2 : e^4$. With what is left, and the new token
renumbered, the scores are $2 \cdot 1$, $2 \cdot 2$ and $2 \cdot 2$, the ratio $1 : e^2 : e^2$; counted on, its query
and key are $3$, the scores $3, 6, 9$ and the ratio $1 : e^3 : e^6$.

*2.* In the shortened text the token that was at $t$ is at $t - m$. Its value is the same, and its query and key are the
same before they are turned. By `attention.rope-relative` the score of two turned vectors depends on them and on the
difference of their positions, and $(t - m) - (j - m) = t - j$. So all scores among the tokens left are the same, the
mask allows the same, and the result is made of the same weights and values.

*3.* Two attention layers of width two, whose queries and keys are zero, so that turning them changes nothing: every
score is zero, and under a causal mask the result at $t$ is the mean of the values up to $t$. Let the values be the
inputs. Take three tokens with the inputs $(6, 0)$, $(0, 0)$ and $(0, 0)$, and of all rows the first entries. After two
tokens the first layer has the values $6, 0$ and the results $6, 3$, which are the values of the second. Drop the oldest
token in both: $0$ is left in the first, $3$ in the second. The third token adds $0$ to the first layer, whose result is
$\frac{0 + 0}{2} = 0$; the second has the values $3, 0$ and the result $\frac32$. The shortened text consists of zeros,
and all its rows are zero. $\blacksquare$

So one computes the shortened text again, every now and then; or one says in the mask what is to be seen, in training
too. With a window no token ever looks back farther than $w$ positions, sinks excepted, and what nobody will look at can
be dropped without changing anything.

**Claim** `attention.cache-window`. Let $M_{tj} = 1$ for $t - w < j \le t$ and for $j \le t$, $j < s$: the mask
`SlidingWindow(w) | (Causal() & First(s))`. Let a cache with window $w$ and $s$ sinks have seen $n$ tokens when $c > 0$
more are appended. What `append` gives are the keys, values and positions of exactly those tokens that at least one of
the new queries may look at, in their order. So attention over it, with this mask and these positions, is attention over
a cache of all tokens, with the same mask.

**Proof.** The new queries are at $t = n, \dots, n + c - 1$. Their windows begin at $n - w + 1$, move on by one from
query to query, so that they leave no gap, and end at $n + c - 1$. So the tokens named are the $j < n + c$ that are
sinks, $j < s$, or in the union of the windows, $j \ge n - w + 1$. The cache keeps the sinks and all tokens from a
position $p \ge s$ on, which begins as $s$. Let $o$ be the larger of $s$ and $n - w + 1$. If $p \le o$, `append` raises
$p$ to $o$, and gives the sinks, what is kept from $o$ on, and the new tokens: the tokens just named. It remains to see
that $p \le o$ always. It is so at first, and stays so when `append` makes $n$, and with it $o$, larger. `truncate`
makes them smaller. If then $p > o$ and $o < n$, a token is missing, and it refuses. If $p > o$ and $o \ge n$, it puts
$p$ to the larger of $s$ and $n$, both of which are at most $o$; from there on no token is left. Finally, the result of
a query depends on the allowed keys and values only, as the others have the weight zero, and all that it is allowed are
there. $\blacksquare$

To keep them in one piece the sinks move up as the window moves on, $s$ rows at each call; and where the store ends,
what is kept is moved to its front. With $s + 2 w$ slots or more that is rare:

**Claim** `attention.cache-moves`. Apart from the sinks, a cache with a window moves fewer than two rows for each token
that is appended. Its store has at most $s + w - 1 + c$ slots, $c$ being the size of the largest chunk so far, or
$s + 2 w$ if that is more.

**Proof.** A move happens when a chunk of $c$ tokens does not fit. There are then $r \le w - 1$ rows kept besides the
sinks, and the store gets $s + r + c$ slots or $s + 2 w$, whichever is more: the second part of the claim, as a store is
made no larger otherwise. Let $a$ tokens be appended from one move on, its own chunk included, before a chunk of $b$
tokens causes the next. Then $s + r + a + b > s + 2 w$, so $a + b > 2 w - r \ge w + 1$. The rows moved at the next are
at most $w - 1 < a + b$. At the first move they are no more than the $a$ tokens appended before. Add over all moves:
each token is counted at most once in an $a$ and at most once in a $b$. The $a$ add up to at most the number of all
tokens, and so do the $b$. $\blacksquare$

## Taking back

A small model may guess some tokens ahead, for the large one to look at in one chunk: what it agrees with is kept, the
rest is taken back.

**Claim** `attention.cache-truncate`. If `truncate(n)` is accepted, every later `append` gives what it would give if the
cache had only ever seen its first $n$ tokens. So in the network of `attention.cache-exact`, or with the mask of
`attention.cache-window`, generation goes on as if no token after them had been seen.

**Proof.** Without a window `append` gives all tokens before the new ones, and the next are written where the forgotten
ones stood. With one, it gives by `attention.cache-window` those that a new query may look at, in order: which these are
depends on $n$ and the number of new tokens only, and what they are does not change after they are written. The keys and
values of the first $n$ tokens themselves do not depend on the tokens after them, by the first part of the proof of
`attention.cache-exact`. $\blacksquare$

>>> cache.truncate(2)
>>> cache.append(k[None, None, 4:], v[None, None, 4:])[2].tolist()
[0, 1, 2]

## In practice

Decoders for many users keep the cache in pages of some tokens each, which a table finds, so that no text reserves room
for the longest and texts with a common beginning share its pages (W. Kwon and others, 2023); a tree of all beginnings
seen lets a new question start behind its system prompt (L. Zheng and others, 2024). Here the room is reserved, and
`reorder` copies. Keys and values are kept in 8, 4 or even 2 bits, keys with a scale for each channel, since a few of
their channels are large, and values with one for each token (Z. Liu and others, 2024): no longer exact. Fewer key
heads are what (E3) asks for first (N. Shazeer, 2019; J. Ainslie and others, 2023). DeepSeek-V2 (2024) keeps 512 numbers
from which the keys and values of all heads are linear functions, and 64 more for RoPE, which such a function would not
commute with; by what factor that is less than the keys and values of its 128 heads of width 128:

>>> round(2 * 128 * 128 / (512 + 64), 1)
56.9

Sinks are from G. Xiao and others (2023), who turn the keys at each step, by their places in the cache and not in the
text. Guessing ahead is from Y. Leviathan and others (2023). Texts of different lengths in a batch are filled up on the
left, and `Padding` hides that: a cache has one `length` for all its texts.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fp_autograd.tracing import Box, Operand

__all__ = ["KVCache", "generation_work", "cache_bytes"]

Kept = tuple[Float[np.ndarray, "B Hkv T D"], Float[np.ndarray, "B Hkv T Dv"], Int[np.ndarray, " T"]]


class KVCache:
    """
    The keys and values of one attention layer, for the tokens seen so far.

    Parameters
    ----------
    batch
        How many texts are generated side by side, B. They are equally long.
    n_kv_heads
        Key heads, Hkv.
    d_head
        Numbers in a key, D.
    capacity
        For how many tokens there is room; with a window, for how many room is made at first.
    d_value
        Numbers in a value, Dv; by default as many as in a key.
    window
        If given, only the last `window` tokens and the sinks are kept, as much as the mask
        `SlidingWindow(window) | (Causal() & First(sinks))` lets anybody see, and the cache is never full.
    sinks
        How many of the first tokens are kept for good. Needs a window.
    dtype
        In what keys and values are kept. float16 halves the memory, and rounds.
    owner
        The layer whose keys these are; `check` asks for it.

    Raises
    ------
    ValueError
        If a size is not positive, or there are sinks without a window.
    TypeError
        If a size is no integer, or the type is not one of floating-point numbers.

    Examples
    --------
    >>> cache = KVCache(1, 1, 2, capacity=8)
    >>> k = np.arange(6, dtype=np.float32).reshape(1, 1, 3, 2)
    >>> keys, values, positions = cache.append(k, -k)
    >>> keys, values, positions = cache.append(k[:, :, :1], k[:, :, :1])
    >>> keys[0, 0].tolist(), positions.tolist(), cache.length
    ([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [0.0, 1.0]], [0, 1, 2, 3], 4)

    With a window of two and one sink:

    >>> cache = KVCache(1, 1, 2, capacity=8, window=2, sinks=1)
    >>> [cache.append(k[:, :, :1], k[:, :, :1])[2].tolist() for _ in range(6)]
    [[0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 5]]
    """

    def __init__(
        self,
        batch: int,
        n_kv_heads: int,
        d_head: int,
        capacity: int,
        *,
        d_value: int | None = None,
        window: int | None = None,
        sinks: int = 0,
        dtype: Any = np.float32,
        owner: object = None,
    ) -> None:
        d_value = d_head if d_value is None else d_value
        sizes = {"batch": batch, "n_kv_heads": n_kv_heads, "d_head": d_head, "capacity": capacity, "d_value": d_value}
        for name, n in {**sizes, "window": 1 if window is None else window}.items():
            _check_size(name, n, 1)
        _check_size("sinks", sinks, 0)
        if sinks and window is None:
            raise ValueError(f"without a window every token is kept, got sinks={sinks}; give a window too, or no sinks")
        if np.dtype(dtype).kind != "f":
            raise TypeError(f"keys and values are kept as floating-point numbers, got dtype={np.dtype(dtype)}")
        self.capacity, self.window, self.sinks, self.owner = capacity, window, sinks, owner
        self._length = 0  # tokens seen
        self._begin = 0  # the slot of the oldest token kept
        self._first = sinks  # the position of the oldest token kept that is no sink
        slots = capacity if window is None else min(capacity, sinks + 2 * window)
        self._store(
            np.empty((batch, n_kv_heads, slots, d_head), dtype), np.empty((batch, n_kv_heads, slots, d_value), dtype)
        )

    @property
    def length(self) -> int:
        """How many tokens have been seen, and the position of the next."""
        return self._length

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values take, free slots included."""
        return self._keys.nbytes + self._values.nbytes

    def append(self, k: Operand, v: Operand) -> Kept:
        """
        Take in new tokens, and give what their queries may look at.

        Parameters
        ----------
        k
            Keys of the next tokens, of the shape (B, Hkv, Tnew, D), turned to their positions if that is done to keys:
            the first of them has the position `length`. Tnew may be zero.
        v
            Their values, (B, Hkv, Tnew, Dv).

        Returns
        -------
        keys, values : ndarray
            (B, Hkv, T, D) and (B, Hkv, T, Dv), the new ones last. They are read-only views of the cache's memory, and
            hold until its next change.
        positions : ndarray
            (T,) integers, increasing: where in the text each key stands.

        Raises
        ------
        ValueError
            If the shapes do not fit, a gradient is required, or the cache is full.
        TypeError
            If the numbers are not floating-point.
        """
        if type(k) is not np.ndarray or type(v) is not np.ndarray:
            k, v = _plain(k, "keys"), _plain(v, "values")
        shape = k.shape
        B, Hkv, slots, D = self._keys.shape
        if (
            len(shape) != 4
            or shape != (B, Hkv, shape[2], D)
            or v.shape != (B, Hkv, shape[2], self._values.shape[3])
            or k.dtype.kind != "f"
            or v.dtype.kind != "f"
        ):
            self._refuse(k, v)
        T = shape[2]
        if self.window is not None and T:
            self._evict(self._length - self.window + 1)
        end = self._end()
        if end + T > slots:
            self._make_room(T)
            end = self._end()
        self._keys[:, :, end : end + T] = k
        self._values[:, :, end : end + T] = v
        self._length += T
        keys, values, positions = self._seen
        kept = slice(self._begin, end + T)
        return keys[:, :, kept], values[:, :, kept], positions[kept]

    def truncate(self, length: int) -> None:
        """
        Forget the tokens from the position `length` on (`attention.cache-truncate`).

        Parameters
        ----------
        length
            How many tokens are left, at most as many as there are. With a window, those of the last call of `append`
            can always be taken back.

        Raises
        ------
        ValueError
            If there are fewer tokens, or those that the next token would look at have been dropped.
        TypeError
            If it is no integer.
        """
        _check_size("length", length, 0)
        if length > self._length:
            raise ValueError(
                f"to truncate to {length} tokens takes as many, got a cache of {self._length}; a cache grows by append"
            )
        if self.window is not None and length < self._length:
            oldest = max(self.sinks, length - self.window + 1)  # that the next token looks at, sinks aside
            if oldest < min(self._first, length):
                raise ValueError(
                    f"a token at position {length} looks back as far as {oldest}, and what stood before position "
                    f"{self._first} has been dropped; clear the cache and give it the first {length} tokens again"
                )
            if length < self._first:  # sinks alone are left, and what follows them is not what followed before
                self._first = max(self.sinks, length)
                self._label()
        self._length = int(length)

    def reorder(self, rows: Any) -> None:
        """
        Let row b become a copy of row `rows[b]`, as a beam search does that goes on with some of its texts.

        Parameters
        ----------
        rows
            Integers from 0 to B - 1, one or more. Their number is the new B: one prompt can become several texts.

        Raises
        ------
        ValueError
            If there is no row, or one that the cache does not have.
        TypeError
            If they are no integers.
        """
        rows = np.asarray(rows)
        B = len(self._keys)
        if rows.ndim != 1 or not rows.size:
            raise ValueError(f"rows is a list of one row or more, got an array of shape {rows.shape}")
        if rows.dtype.kind not in "iu":
            raise TypeError(f"rows are integers, got {rows.dtype}; np.flatnonzero gives the rows where a mask is true")
        if rows.min() < 0 or rows.max() >= B:
            raise ValueError(f"rows lie from 0 to {B - 1}, as the cache holds {B} texts, got {rows.tolist()}")
        kept = slice(self._begin, self._end())
        stores = []
        for old in (self._keys, self._values):
            new = old if len(rows) == B else np.empty((len(rows), *old.shape[1:]), old.dtype)
            new[:, :, kept] = old[rows, :, kept]  # the right side is a copy: rows may be swapped
            stores.append(new)
        self._store(*stores)

    def clear(self) -> None:
        """Forget every token, and keep the memory."""
        self._length = self._begin = 0
        self._first = self.sinks
        self._label()

    def check(self, owner: object) -> None:
        """
        See to it that a layer gets a cache of its own.

        Parameters
        ----------
        owner
            The layer that is about to use it. A cache that was made without an owner serves all.

        Raises
        ------
        ValueError
            If the cache was made for another.
        """
        if self.owner is not None and self.owner is not owner:
            raise ValueError(
                "a cache holds the keys of one layer of one model, and this one was made for another "
                f"{type(self.owner).__name__} than the {type(owner).__name__} that uses it; make one for each layer"
            )

    def _end(self) -> int:
        """The slot after the last token."""
        return self._begin + self._length - (self._first - self.sinks)

    def _evict(self, first: int) -> None:
        """Drop what stands between the sinks and the position `first`: the sinks move up to it."""
        old, new, s = self._begin, self._begin + first - self._first, self.sinks
        if new <= old:
            return
        if s:
            self._keys[:, :, new : new + s] = self._keys[:, :, old : old + s]
            self._values[:, :, new : new + s] = self._values[:, :, old : old + s]
            self._positions[new : new + s] = self._positions[old : old + s]
        self._begin, self._first = new, first

    def _make_room(self, T: int) -> None:
        """Move what is kept to the front, of a store of another size if need be."""
        if self.window is None:
            raise ValueError(
                f"the cache has room for {self.capacity} tokens and holds {self._length}, got {T} more; make one of a "
                "larger capacity, or one with a window that drops the oldest"
            )
        kept = slice(self._begin, self._end())
        n = kept.stop - kept.start
        slots = max(self.sinks + 2 * self.window, n + T)
        stores = []
        for old in (self._keys, self._values):
            B, Hkv, size, D = old.shape
            new = old if size == slots else np.empty((B, Hkv, slots, D), old.dtype)
            new[:, :, :n] = old[:, :, kept]
            stores.append(new)
        self._begin = 0
        self._store(*stores)

    def _store(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Set the memory, and what is shown of it."""
        self._keys, self._values = keys, values
        self._positions = np.empty(keys.shape[2], np.intp)
        self._label()
        self._seen = tuple(x.view() for x in (keys, values, self._positions))
        for x in self._seen:
            x.flags.writeable = False

    def _label(self) -> None:
        """Number the slots: the sinks from 0, what follows them from the first that is kept."""
        follows = self._begin + self.sinks
        self._positions[self._begin : follows] = np.arange(min(self.sinks, len(self._positions) - self._begin))
        rest = self._positions[follows:]
        rest[:] = np.arange(self._first, self._first + len(rest))

    def _refuse(self, k: Any, v: Any) -> None:
        """Say what is wrong with what came."""
        B, Hkv, _, D = self._keys.shape
        if k.dtype.kind != "f" or v.dtype.kind != "f":
            raise TypeError(f"keys and values are floating-point numbers, got {k.dtype} and {v.dtype}")
        raise ValueError(
            f"this cache takes keys of shape ({B}, {Hkv}, T, {D}) and values of shape ({B}, {Hkv}, T, "
            f"{self._values.shape[3]}): texts, key heads, new tokens, width. Got {k.shape} and {v.shape}; a cache fits "
            "the layer and the batch that it was made for"
        )


def generation_work(n: int, *, cached: bool) -> tuple[int, int]:
    """
    What one causal layer does while a text grows from nothing to `n` tokens, one by one (`attention.cache-work`).

    Parameters
    ----------
    n
        How many tokens.
    cached
        Whether keys and values are kept, or every step runs over the whole text.

    Returns
    -------
    tokens : int
        How often a token is sent through the layer: each time its query, key and value are computed.
    pairs : int
        How often a query looks at a key.

    Raises
    ------
    ValueError
        If `n` is negative.
    TypeError
        If it is no integer.

    Examples
    --------
    >>> generation_work(3, cached=True), generation_work(3, cached=False)
    ((3, 6), (6, 10))
    """
    _check_size("n", n, 0)
    tokens = n * (n + 1) // 2
    return (n, tokens) if cached else (tokens, n * (n + 1) * (n + 2) // 6)


def cache_bytes(layers: int, n_kv_heads: int, d_head: int, length: int, batch: int = 1, itemsize: int = 2) -> int:
    """
    The memory of a cache (`attention.cache-memory`).

    Parameters
    ----------
    layers
        Attention layers, each with a cache of its own.
    n_kv_heads
        Key heads, Hkv.
    d_head
        Numbers in a key, D, and in a value.
    length
        Tokens kept, T.
    batch
        Texts, B.
    itemsize
        Bytes in a number: 4 in float32, 2 in float16.

    Returns
    -------
    int
        In bytes.

    Raises
    ------
    ValueError
        If a size is negative, or zero where it may not be: `length` alone may.
    TypeError
        If a size is no integer.

    Examples
    --------
    >>> cache_bytes(2, 3, 5, length=7, itemsize=4)
    1680
    """
    sizes = {"layers": layers, "n_kv_heads": n_kv_heads, "d_head": d_head, "batch": batch, "itemsize": itemsize}
    for name, n in sizes.items():
        _check_size(name, n, 1)
    _check_size("length", length, 0)
    return 2 * layers * n_kv_heads * d_head * length * batch * itemsize


def _check_size(name: str, n: Any, least: int) -> None:
    if not isinstance(n, int | np.integer) or isinstance(n, bool):
        raise TypeError(f"{name} is an integer, got {n!r} of type {type(n).__name__}")
    if n < least:
        raise ValueError(f"{name} is {'positive' if least else 'not negative'}, got {n}")


def _plain(x: Any, name: str) -> np.ndarray:
    """What is inside the boxes, if no derivative is lost by looking."""
    while isinstance(x, Box):
        if getattr(x, "requires_grad", True):
            raise ValueError(
                f"a cache holds plain numbers, got {name} that require a gradient, which would end here; generate "
                "under no_grad, and train without a cache"
            )
        x = x.data
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} are an array, got {type(x).__name__}; np.asarray makes one")
    return x
