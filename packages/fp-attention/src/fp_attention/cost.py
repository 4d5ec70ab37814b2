r"""
Cost: where the square dominates.

Every token looks at every token, so attention's work grows with the square of the length. The rest of a transformer
grows with the length itself. Which part is larger, for which model and which text, and what is the limit when tokens
are generated one at a time?

You need: `fp_attention.multihead`, `fp_attention.windows`, `fp_attention.kv_cache`, `fp_attention.tiled`.

## What is counted

A product of an $m \times k$ and a $k \times n$ matrix takes $m k n$ multiplications, and as many additions if each sum
begins at zero. Together that is $2 m k n$ floating-point operations, **flops**. A comparison, an exponential, a
division count one each. Letters: $T$ tokens of width $C$; $H$ heads of width $D$; $H_{kv}$ key heads, so that $G = H /
H_{kv}$ query heads share one; and $N$ for the **pairs** of a query and a key that it may look at.

Without a mask $N = T^2$. With the causal mask $N = \frac{T (T + 1)}{2}$, and in a window of $w$ positions $N = w T -
\frac{w (w - 1)}{2}$ (`attention.window-cost`).

**Claim** `attention.flops`. A forward step of a layer with $H$ heads, without biases, takes in flops

$$
\begin{aligned}
\text{projections} \quad & 4\, T C D\, (H + H_{kv}), \\
\text{scores} \quad & 2\, N H D, \\
\text{softmax} \quad & H (6 N - 2 T), \\
\text{weights times values} \quad & 2\, N H D.
\end{aligned}
\qquad \text{(E1)}
$$

**Proof.** The products are those of `attention.head-count`, each multiplication with its addition, here for any $D$ and
$N$. *Projections.* Each weight is used once a position: $C H D$ weights for the queries, as many for the output, and
$C H_{kv} D$ each for keys and values, so $2\, T \cdot 2\, C D (H + H_{kv})$. *Scores*, and *weights times values*. Each
pair takes $D$ multiplications in each head for one and $D$ for the other: $2 D$ flops. *Softmax.* A row of $n$ scores
takes $n$ multiplications by the scale, $n - 1$ comparisons for the largest, $n$ subtractions, $n$ exponentials, $n - 1$
additions and $n$ divisions: $6 n - 2$. Summed over the $T$ rows of a head, the $n$ add up to $N$. $\blacksquare$

With $H D = C$ the number of heads is not in the two products with $N$, and is in the softmax alone. Shared key heads
save projections and memory, but no work on pairs.

>>> from fp_attention.masks import Causal
>>> print(attention_flops(1024, 768, 12, mask=Causal()))
projections    4,831,838,208
scores           806,092,800
softmax           37,761,024
values           806,092,800
total          6,481,784,832

## Where the square passes the rest

**Claim** `attention.crossover`. Let $H D = C$, and count the four projections and the two products with $N$. Without a
mask the products take more than the projections exactly if $T > C \big( 1 + \frac1G \big)$; with the causal mask
exactly if $T + 1 > 2 C \big( 1 + \frac1G \big)$. If a network of two matrices, $C \times 4C$ and $4C \times C$, is
counted along with the projections, both hold with $5 + \frac1G$ in place of $1 + \frac1G$.

**Proof.** By (E1) the products take $4 N C$, and as $D H_{kv} = C / G$ the projections $4\, T C^2 \big( 1 + \frac1G
\big)$. Divide both by $4 C$: compare $N$ with $T C \big( 1 + \frac1G \big)$. Put $T^2$ or $\frac{T (T + 1)}{2}$ for $N$
and divide by $T$. The network takes $2 \cdot 2\, T C \cdot 4C = 16\, T C^2$, which is $4\, T C$ after the division by
$4 C$. $\blacksquare$

So for texts that are shorter than a few times the width the square is not what costs: GPT-2 with its $1024$ tokens of
width $768$ spends most of its work on the matrices. Under the causal mask, as the least length at which the products
take more than the projections, and more than projections and network together (Llama's network has three matrices):

>>> models = {
...     "GPT-2": (768, 12, 12, 3072, 2),
...     "Llama 3 8B": (4096, 32, 8, 14_336, 3),
...     "Llama 3 70B": (8192, 64, 8, 28_672, 3),
... }
>>> for name, (C, H, Hkv, hidden, matrices) in models.items():
...     print(f"{name:12}", crossover(C, H, Hkv), crossover(C, H, Hkv, hidden=hidden, matrices=matrices))
GPT-2        3072 9216
Llama 3 8B   10240 53248
Llama 3 70B  18432 104448

and the share of the products in all work of a block, for GPT-2's width:

>>> for T in (256, 1024, 4096, 16_384, 65_536):
...     f = attention_flops(T, 768, 12, mask=Causal())
...     print(T, f"{(f.scores + f.values) / (f.total + mlp_flops(T, 768, 4 * 768)):.0%}")
256 3%
1024 10%
4096 31%
16384 63%
65536 86%

A window makes the square a line again, $N \le w T$.

**Claim** `attention.backward-flops`. For the two products of (E1) the backward step takes twice the forward's flops,
$8\, N H D$. If the weights are not kept but computed again from $q$ and $k$, it takes two and a half times as much,
$10\, N H D$.

**Proof.** By `attention.backward` the way back has four products where the way there has two: (E4), (E5) and the two
of (E8). Each of the six has $D$ multiplications and additions for each pair in each head, so the four take
$4 \cdot 2\, N H D$. To have $P$ again, (E1) there is computed once more, a fifth. $\blacksquare$

## Memory

**Claim** `attention.weights-memory`. The weights of a layer, without a mask, are $H T^2$ numbers. Queries, keys, values
and outputs of heads are $2\, T D (H + H_{kv})$. So the weights are more exactly if $T > 2 D \big( 1 + \frac1G \big)$.

**Proof.** A weight for each of $T^2$ pairs in each of $H$ heads. Queries and outputs have $T D$ numbers in each of $H$
heads, keys and values in each of $H_{kv}$. Divide $H T^2 > 2\, T D (H + H_{kv})$ by $H T$. $\blacksquare$

That comes much earlier than the work's crossing, as no factor $C$ is in it: it is memory that first stops long texts.
`fp_attention.tiled` keeps one number for each row in place of the row.

>>> for T in (256, 1024, 16_384):
...     m = attention_memory(T, 12, 12, 64, itemsize=4)
...     print(T, *(f"{n / 2**20:.1f} MiB" for n in (m.heads, m.weights, m.row_sums)))
256 3.0 MiB 3.0 MiB 0.0 MiB
1024 12.0 MiB 48.0 MiB 0.0 MiB
16384 192.0 MiB 12288.0 MiB 0.8 MiB

## One token at a time

With a cache a new token costs $4 H D$ flops for each token that it looks at, and no square. But what it reads it reads
for this one token. The **intensity** of a computation is how many flops it does for each byte that it moves, and a
machine has a number of its own, the flops that it can do in the time that it takes to move a byte. Below that number
the memory decides how long it takes, not the arithmetic.

**Claim** `attention.decode-intensity`. One new token looks at $T$ tokens of a cache whose numbers have $s$ bytes. Count
the two products, and as moved the keys, values, queries and outputs of all heads. The intensity is

$$
\frac{4\, T H D}{s\, (2\, T H_{kv} D + 2 H D)} = \frac{2 G}{s} \cdot \frac{1}{1 + G / T} < \frac{2 G}{s}.
\qquad \text{(E2)}
$$

It is the same for a batch of $B$ texts. A projection of $B$ tokens by a matrix of $m \times n$ numbers, which are what
is moved, has the intensity $\frac{2 B}{s}$.

**Proof.** Scores and weights times values are $2 D$ flops each for every pair, and there are $T$ pairs a head. Keys and
values are $2\, T H_{kv} D$ numbers, query and output $2 H D$. Divide above and below by $2\, T H_{kv} D$, with $H /
H_{kv} = G$. With $B$ texts, each with a cache of its own, both sides are multiplied by $B$. The projection takes $2 B m
n$ flops for $m n$ numbers of $s$ bytes. $\blacksquare$

More texts at once do more with each weight that is read, but nothing for the cache, where only sharing of key heads
helps, by the factor $G$. A processor with the data sheet's $989 \cdot 10^{12}$ flops in 16 bits and $3.35 \cdot
10^{12}$ bytes a second (NVIDIA's H100 SXM) wants about

>>> round(989 / 3.35)
295

flops a byte, and gets

>>> [round(decode_intensity(4096, 32, n_kv_heads=Hkv).attention, 2) for Hkv in (32, 8, 1)]
[1.0, 4.0, 31.75]
>>> [decode_intensity(4096, 32, n_kv_heads=8, batch=B).projections for B in (1, 64, 512)]
[1.0, 64.0, 512.0]

So generation waits for memory, and attention in generation does whatever the batch is. The first pass over a prompt,
where $T$ queries share what is read, does not.

## In practice

For a whole model one counts $2$ flops a parameter and token for the matrices and $4 L H D$ for each pair, in $L$ layers
(A. Chowdhery et al., 2022, count it so, and three times as much for training). Exponentials run on slower units than
products, so that a softmax weighs more than its share of flops; fast kernels hide it behind the products.
FlashAttention (T. Dao et al., 2022) does more flops than plain attention, backward $\frac52$ times the forward's in
place of $2$, and is faster, as it moves fewer bytes. Gated networks have three matrices of about $\frac83 C$, again
$16\, C^2$ a token. What is moved in generation is cut by sharing keys (N. Shazeer, 2019; J. Ainslie et al., 2023), by
fewer bits a number, by windows, and by caching a narrow vector from which keys and values of all heads are made
(DeepSeek-V2, 2024), which has the intensity of many heads that share one key head. Drafting several tokens and checking
them in one pass raises the intensity by their number.
"""

from dataclasses import dataclass

from fp_attention.masks import Mask
from fp_attention.windows import allowed_pairs

__all__ = [  # the order of the page
    "AttentionFlops",
    "attention_flops",
    "mlp_flops",
    "crossover",
    "AttentionMemory",
    "attention_memory",
    "DecodeIntensity",
    "decode_intensity",
]


@dataclass(frozen=True)
class AttentionFlops:
    """Flops of a forward step, by part (E1)."""

    projections: int
    """To queries, keys, values and from the heads to the output."""
    scores: int
    """Queries times keys."""
    softmax: int
    """Scale, largest, subtraction, exponential, sum, division."""
    values: int
    """Weights times values."""

    @property
    def total(self) -> int:
        """Their sum."""
        return self.projections + self.scores + self.softmax + self.values

    def __str__(self) -> str:
        parts = ("projections", "scores", "softmax", "values", "total")
        return "\n".join(f"{part:12}{getattr(self, part):>16,}" for part in parts)


def attention_flops(
    n_tokens: int,
    dim: int,
    n_heads: int,
    n_kv_heads: int | None = None,
    d_head: int | None = None,
    *,
    mask: Mask | None = None,
) -> AttentionFlops:
    """
    (E1), for one text.

    Parameters
    ----------
    n_tokens
        T.
    dim
        C.
    n_heads
        H.
    n_kv_heads
        Heads of keys and values; as many as of queries by default.
    d_head
        D; by default C / H.
    mask
        Who may look at whom, the same for all heads; everyone at everyone by default.

    Returns
    -------
    AttentionFlops

    Raises
    ------
    ValueError
        If a count is below one, or does not divide what it should, or the mask is not one for all.

    Examples
    --------
    >>> attention_flops(2, 4, 2, 1)
    AttentionFlops(projections=192, scores=32, softmax=40, values=32)
    """
    H, Hkv, D = _heads(dim, n_heads, n_kv_heads, d_head)
    _check(n_tokens=n_tokens)
    N = n_tokens**2 if mask is None else allowed_pairs(mask, n_tokens)
    if not isinstance(N, int):
        raise ValueError(f"the mask must be one for all texts and heads, got one that allows {N.ravel()} pairs")
    return AttentionFlops(
        projections=4 * n_tokens * dim * D * (H + Hkv),
        scores=2 * N * H * D,
        softmax=H * (6 * N - 2 * n_tokens),
        values=2 * N * H * D,
    )


def mlp_flops(n_tokens: int, dim: int, hidden: int, matrices: int = 2) -> int:
    """
    The flops of a block's network: products with matrices of `dim` times `hidden` numbers.

    Parameters
    ----------
    n_tokens, dim, hidden
        How many tokens, their width, and the width in between.
    matrices
        2, or 3 if it is gated.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a count is below one.

    Examples
    --------
    >>> mlp_flops(10, 8, 32)
    10240
    """
    _check(n_tokens=n_tokens, dim=dim, hidden=hidden, matrices=matrices)
    return 2 * matrices * n_tokens * dim * hidden


def crossover(
    dim: int,
    n_heads: int,
    n_kv_heads: int | None = None,
    d_head: int | None = None,
    *,
    hidden: int = 0,
    matrices: int = 2,
    causal: bool = True,
) -> int:
    """
    The least number of tokens at which the two products over pairs take more than the matrices (`attention.crossover`).

    Parameters
    ----------
    dim, n_heads, n_kv_heads, d_head
        As in `attention_flops`.
    hidden, matrices
        As in `mlp_flops`; the block's network is left out if `hidden` is 0.
    causal
        Whether a query sees no later key.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        As `attention_flops`.

    Examples
    --------
    Without a mask, of a layer alone, and with as many key heads as heads: above twice the width.

    >>> crossover(768, 12, causal=False)
    1537
    """
    H, Hkv, D = _heads(dim, n_heads, n_kv_heads, d_head)
    if hidden:
        _check(hidden=hidden, matrices=matrices)
    token = 4 * dim * D * (H + Hkv) + 2 * matrices * dim * hidden  # flops of the matrices for one token
    pair = 4 * H * D
    if causal:  # the least T >= 1 with T + 1 > 2 token / pair
        return max(2 * token // pair, 1)
    return token // pair + 1


@dataclass(frozen=True)
class AttentionMemory:
    """Bytes of a layer's arrays for one text."""

    heads: int
    """Queries, keys, values and outputs of the heads."""
    weights: int
    """One for each pair and head, without a mask."""
    row_sums: int
    """What tiled attention keeps in their place: a number for each query and head."""


def attention_memory(
    n_tokens: int, n_heads: int, n_kv_heads: int, d_head: int, *, itemsize: int = 4
) -> AttentionMemory:
    """
    The arrays of `attention.weights-memory`.

    Parameters
    ----------
    n_tokens, n_heads, n_kv_heads, d_head
        T, H, the heads of keys and values, and D.
    itemsize
        Bytes of a number.

    Returns
    -------
    AttentionMemory
        In bytes.

    Raises
    ------
    ValueError
        If a count is below one, or the key heads do not divide the heads.

    Examples
    --------
    >>> attention_memory(256, 12, 12, 64)
    AttentionMemory(heads=3145728, weights=3145728, row_sums=12288)
    """
    _heads(n_heads * d_head, n_heads, n_kv_heads, d_head)
    _check(n_tokens=n_tokens, itemsize=itemsize)
    return AttentionMemory(
        heads=2 * n_tokens * d_head * (n_heads + n_kv_heads) * itemsize,
        weights=n_heads * n_tokens**2 * itemsize,
        row_sums=n_heads * n_tokens * itemsize,
    )


@dataclass(frozen=True)
class DecodeIntensity:
    """Flops for each byte that is moved, when one token is generated."""

    attention: float
    """Of the two products with the cache (E2)."""
    projections: float
    """Of a matrix."""


def decode_intensity(
    length: int, n_heads: int, *, n_kv_heads: int, batch: int = 1, itemsize: int = 2
) -> DecodeIntensity:
    """
    (E2), and the intensity of the matrices.

    Parameters
    ----------
    length
        How many tokens the new one looks at.
    n_heads, n_kv_heads
        H and the heads of keys and values.
    batch
        How many texts are continued at once.
    itemsize
        Bytes of a number.

    Returns
    -------
    DecodeIntensity
        In flops a byte.

    Raises
    ------
    ValueError
        If a count is below one, or the key heads do not divide the heads.

    Examples
    --------
    >>> decode_intensity(8, 8, n_kv_heads=1, batch=16)
    DecodeIntensity(attention=4.0, projections=16.0)
    """
    _heads(n_heads, n_heads, n_kv_heads, 1)
    _check(length=length, batch=batch, itemsize=itemsize)
    flops = 4 * length * n_heads
    moved = itemsize * 2 * (length * n_kv_heads + n_heads)
    return DecodeIntensity(attention=flops / moved, projections=2 * batch / itemsize)


def _check(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}; an empty layer or text has no cost to count")


def _heads(dim: int, n_heads: int, n_kv_heads: int | None, d_head: int | None) -> tuple[int, int, int]:
    """H, the heads of keys and values, and D."""
    n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
    _check(dim=dim, n_heads=n_heads, n_kv_heads=n_kv_heads, d_head=1 if d_head is None else d_head)
    if n_heads % n_kv_heads:
        raise ValueError(
            f"the heads of keys and values must divide the heads, got {n_kv_heads} and {n_heads}; "
            "each serves equally many"
        )
    if d_head is None and dim % n_heads:
        raise ValueError(f"{n_heads} heads do not divide a width of {dim}; give d_head")
    return n_heads, n_kv_heads, dim // n_heads if d_head is None else d_head
