r"""
Common mistakes: twenty ways to attend to the wrong thing.

Attention with a mistake in it still returns means of values, and a model with it still learns: weights grow around
whatever is there. What it ends with is worse than it could be, or much too good in training and useless afterwards.
Each example below makes one mistake on purpose and shows the check that sees it. They run as tests.

You need: all the sections up to `fp_attention.windows`.

>>> import numpy as np
>>> from fp_attention import Causal, MultiHeadAttention, Padding
>>> from fp_attention import RoPE, SinusoidalPositions
>>> from fp_attention import attention_weights, scaled_dot_product_attention
>>> from fp_autograd.functional import grad
>>> from fp_autograd.rules import softmax
>>> rng = np.random.default_rng(0)
>>> q, k, v = rng.normal(size=(3, 5, 64))  # five tokens, one head of width 64
>>> right = scaled_dot_product_attention(q, k, v, mask=Causal())
>>> S = q @ k.T / np.sqrt(64)
>>> earlier = np.tri(5, dtype=bool)  # True where row i may look at column j

## Scores and weights

**1. The missing root.** The scores of two vectors with $d$ independent entries have the deviation $\sqrt d$
(`attention.dot-variance`). Without the division one key takes nearly all the weight before anything is learned, and
hardly any gradient is left (`attention.saturation`). The check is the deviation of the first scores: about one.

>>> many_q, many_k = rng.normal(size=(2, 256, 64))
>>> for scale in (1.0, 1 / np.sqrt(64)):
...     P = attention_weights(many_q, many_k, scale=scale)
...     deviation = (scale * many_q @ many_k.T).std()
...     print(f"deviation {deviation:.1f}, largest weight {P.max(axis=1).mean():.2f}")
deviation 8.0, largest weight 0.76
deviation 1.0, largest weight 0.04

**2. Softmax over the queries.** Along the wrong axis the queries compete for each key. All numbers are positive and the
columns sum to one. The check: leave one query out, and look at the answer to another. It should not know.

>>> def answer(q, axis):
...     return softmax(q @ k.T / np.sqrt(64), axis=axis) @ v
>>> [bool(np.allclose(answer(q, axis)[:3], answer(q[:3], axis))) for axis in (0, 1)]
[False, True]

**3. Exponentials without a shift.** In half precision $e^{12}$ is infinite, and scores of 12 are nothing special. With
the largest score of the row taken off none of the exponentials is above one (`neural.softmax-classes`). The check is a
row of large scores.

>>> s = np.array([12.0, 11.0], np.float16)
>>> with np.errstate(over="ignore", invalid="ignore"):
...     e = np.exp(s)
...     print(e / e.sum(), softmax(s))
[nan  0.] [0.731  0.2688]

## Masks

**4. The mask after the softmax.** The weights that are left were divided by a sum over the future
(`attention.mask-after-leaks`), so the model reads from their size what it is to predict. The check for this and every
other causal mask: change the last token, and look at the rows before it.

>>> def late(S):
...     return (softmax(S, axis=-1) * earlier) @ v
>>> def early(S):
...     return softmax(np.where(earlier, S, -np.inf), axis=-1) @ v
>>> other = S.copy()
>>> other[:, -1] += 3.0
>>> [bool(np.allclose(f(S)[:-1], f(other)[:-1])) for f in (late, early)]
[False, True]

**5. A mask shifted by one.** One diagonal too many, and each token sees the next, which is the answer; the loss falls
to zero and nothing was learned. One too few, and no token sees itself, and the first one nothing at all. The check goes
both ways: row $t$ must not notice a change at $t + 1$, and must notice one at $t$.

>>> def notices(shift, ahead):
...     allowed = np.tri(5, k=shift, dtype=bool)
...     allowed[0, 0] = True
...     changed = v.copy()
...     changed[2 + ahead] += 1.0
...     y, z = (scaled_dot_product_attention(q, k, x, mask=allowed)[2] for x in (v, changed))
...     return bool(np.abs(y - z).max() > 1e-9)
>>> [(notices(shift, 1), notices(shift, 0)) for shift in (1, -1, 0)]
[(True, True), (False, False), (False, True)]

**6. The triangle in the wrong corner.** Two new queries and five keys, three of them from a cache: the queries stand at
positions 3 and 4, not 0 and 1, and a triangle that begins in the upper left corner takes away from them what they
should see. The check: the last rows of the whole text. `Causal` counts positions, the last query beside the last key.

>>> corner = scaled_dot_product_attention(q[3:], k, v, mask=np.tri(2, 5, dtype=bool))
>>> counted = scaled_dot_product_attention(q[3:], k, v, mask=Causal())
>>> bool(np.allclose(corner, right[3:])), bool(np.allclose(counted, right[3:]))
(False, True)

**7. Zeros and ones, added.** Some functions take a mask that says who may look, some the opposite, and some take
numbers to be added to the scores. A mask of the first kind added to scores multiplies the weights of what is allowed by
$e$, before the division, and forbids nothing. The check is a weight that has to be zero. Here only Boolean masks pass.

>>> added = softmax(S + earlier.astype(float), axis=-1)
>>> f"{added[0, 1:].sum():.2f}"  # what the first token spends on later ones
'0.47'
>>> scaled_dot_product_attention(q, k, v, mask=earlier.astype(float))
Traceback (most recent call last):
    ...
TypeError: a mask is Boolean, True where a query may look at a key, got float64; of an array of zeros and -inf that ...

**8. A row without a key.** The softmax of nothing is not zero. With $-\infty$ it is NaN, and one such row makes the
gradients of all keys and values NaN; with a large negative number it is what it was without the mask
(`attention.empty-row`). It comes of two masks that are harmless alone, such as a causal one and padding on the left.
The check is a look at the mask: each row has to allow something. Here it is done for you.

>>> nothing = np.full(4, -np.inf)
>>> with np.errstate(invalid="ignore"):
...     print(np.exp(nothing - nothing.max()))
[nan nan nan nan]
>>> softmax(np.log([1, 2, 5]) - 1e4).round(3)
array([0.125, 0.25 , 0.625])
>>> padded = Padding(np.array([[False, True, True, True, True]]))
>>> scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], mask=Causal() & padded)
Traceback (most recent call last):
    ...
ValueError: the query in row 0 (position 0)... may look at no key, and a mean of nothing does not exist: ...

**9. Padding that is read.** What fills up a short text has keys too, and takes weight from the tokens. The answer then
depends on the longest text of the batch. The check: more padding must change nothing
(`attention.padding-independence`).

>>> longer = [np.concatenate([x, np.zeros((3, 64))])[None, None] for x in (q, k, v)]
>>> real = Padding(np.arange(8)[None] < 5)
>>> alone = scaled_dot_product_attention(q, k, v)
>>> for mask in (None, real):
...     print(np.allclose(scaled_dot_product_attention(*longer, mask=mask)[0, 0, :5], alone))
False
True

## Heads

**10. Heads merged by a wrong transpose.** They come as $B \times H \times T \times D$, and wanted is
$B \times T \times HD$. Without exchanging the middle axes first, `reshape` runs without complaint and writes one head
of several tokens into each row. The check: cut into heads and merged again, everything is where it was.

>>> x = rng.normal(size=(2, 5, 12))
>>> heads = x.reshape(2, 5, 3, 4).swapaxes(1, 2)
>>> merged = heads.reshape(2, 5, 12), heads.swapaxes(1, 2).reshape(2, 5, 12)
>>> [bool((y == x).all()) for y in merged]
[False, True]

**11. Heads averaged.** Side by side, each head has columns of its own in the last matrix, and the sum of what they
carry is learned (`attention.heads-add`). Their mean has one matrix for all: it does not know which head an answer came
from. The check is to exchange two heads, and the shape tells it too: $D$ numbers a token in place of $HD$.

>>> y, exchanged = heads, heads[:, [1, 0, 2]]
>>> bool(np.allclose(y.mean(axis=1), exchanged.mean(axis=1)))
True
>>> side_by_side = [h.swapaxes(1, 2).reshape(2, 5, 12) for h in (y, exchanged)]
>>> bool(np.allclose(*side_by_side)), y.mean(axis=1).shape, side_by_side[0].shape
(False, (2, 5, 4), (2, 5, 12))

**12. Shared keys handed out in turn.** Of four query heads and two key heads, heads 0 and 1 use key head 0, and heads 2
and 3 key head 1: each key head is *repeated*. `np.tile` lays the pair out twice, 0, 1, 0, 1. A model trained so works
as well as any; a model that was trained otherwise and is loaded into it does not. The check is a comparison with heads
that are repeated by hand, or with the model's own code.

>>> q4, k2, v2 = rng.normal(size=(4, 5, 8)), rng.normal(size=(2, 5, 8)), rng.normal(size=(2, 5, 8))
>>> shared = scaled_dot_product_attention(q4, k2, v2)
>>> def with_keys(k, v):
...     return scaled_dot_product_attention(q4, k, v)
>>> tiled = with_keys(np.tile(k2, (2, 1, 1)), np.tile(v2, (2, 1, 1)))
>>> repeated = with_keys(np.repeat(k2, 2, axis=0), np.repeat(v2, 2, axis=0))
>>> bool(np.allclose(shared, tiled)), bool(np.allclose(shared, repeated))
(False, True)

## Positions

**13. Positions added twice.** Once by the embedding and once by the layer, or in every layer instead of the first. It
trains, and a model that was trained with them once is a different one. The check is a text of zeros: what comes in then
is the position alone, and for sinusoidal ones half its width is the square of its length (`attention.sinusoidal-dot`).

>>> positions = SinusoidalPositions(12)
>>> once = positions.on_input(np.zeros((5, 12)))
>>> twice = positions.on_input(once)
>>> [float((p[3] ** 2).sum().round(6)) for p in (once, twice)]
[6.0, 24.0]

**14. Values turned.** RoPE turns queries and keys, whose product undoes the common part of the turns
(`attention.rope-relative`). Values are added, not multiplied with anything, so nothing undoes theirs. The check is to
move the whole text: the answers must stay.

>>> rope = RoPE(64)
>>> def at(start, turned):
...     places = np.arange(start, start + 5)
...     values = rope.on_heads(v, places) if turned else v
...     return scaled_dot_product_attention(rope.on_heads(q, places), rope.on_heads(k, places), values)
>>> [bool(np.allclose(at(0, turned), at(7, turned))) for turned in (True, False)]
[False, True]

**15. The other pairs.** Halves or neighbours, both are RoPE (`attention.rope-layouts`): lengths stay, scores are
relative, every check of that kind passes, and weights that were trained for one give noise with the other. What sees it
is a score that somebody else computed: two numbers of the model's own code.

>>> places = np.arange(5)
>>> layouts = [RoPE(64), RoPE(64, pairs="neighbours")]
>>> halves, neighbours = ((r.on_heads(q, places), r.on_heads(k, places)) for r in layouts)
>>> [bool(np.allclose((a**2).sum(1), (q**2).sum(1))) for a, _ in (halves, neighbours)]
[True, True]
>>> bool(np.allclose(halves[0] @ halves[1].T, neighbours[0] @ neighbours[1].T))
False

## Caches

**16. A cache without an offset.** Token by token every call has one query, in row 0. If the row is taken for the
position, each new token is turned as the first of a text, and distances to the keys in the cache are wrong. The first
token comes out right, and so does a prompt in one piece. The check is to feed a text in portions, and in one piece
(`attention.cache-exact`).

>>> def continued(offset):
...     keys, rows = np.zeros((0, 64)), []
...     for t in range(5):
...         place = np.array([t if offset else 0])
...         keys = np.concatenate([keys, rope.on_heads(k[t : t + 1], place)])
...         rows.append(scaled_dot_product_attention(rope.on_heads(q[t : t + 1], place), keys, v[: t + 1]))
...     return np.concatenate(rows)
>>> whole = scaled_dot_product_attention(rope.on_heads(q, places), rope.on_heads(k, places), v, mask=Causal())
>>> [bool(np.allclose(continued(offset), whole)) for offset in (False, True)]
[False, True]

**17. A cache from the text before.** It is not empty, nothing complains, and a new text begins as the continuation of
another. The check is its length before the first token: zero.

>>> layer = MultiHeadAttention(12, 3, positions=RoPE(4), mask=Causal(), rng=rng)
>>> x = x.astype(np.float32)
>>> cache = layer.new_cache(batch=2, capacity=10)
>>> first, second = layer(x, cache=cache), layer(x, cache=cache)
>>> bool(np.allclose(first.data, second.data, atol=1e-3)), cache.length
(False, 10)
>>> cache.clear()
>>> bool(np.allclose(first.data, layer(x, cache=cache).data, atol=1e-6))
True

## Gradients and training

**18. The row's mean forgotten.** The slope of the weights is not that of the exponentials: if one grows the others
shrink, and from the cotangent of each weight the row's weighted mean is taken off (`autograd.softmax-rule`). A shift of
a whole row changes no weight, so the slopes in its scores sum to zero. That is the check, and it costs nothing.

>>> P, g = attention_weights(q, k), rng.normal(size=(5, 64))
>>> dP = g @ v.T
>>> wrong, slopes = P * dP, P * (dP - (P * dP).sum(axis=1, keepdims=True))
>>> bool(np.abs(wrong.sum(axis=1)).max() < 1e-9), bool(np.abs(slopes.sum(axis=1)).max() < 1e-9)
(False, True)

**19. A shared key counted once.** A key head that serves several query heads has the sum of their gradients
(`attention.grouped`). Written head by head into the same place, the last one stays. The check compares with keys that
are repeated by hand, whose gradients are added afterwards.

>>> c = rng.normal(size=(4, 5, 8))
>>> def loss(k, v):
...     return (scaled_dot_product_attention(q4, k, v) * c).sum()
>>> apart = grad(lambda k: loss(k, np.repeat(v2, 2, axis=0)))(np.repeat(k2, 2, axis=0))
>>> once = np.zeros((2, 5, 8))
>>> for head in range(4):
...     once[head // 2] = apart[head]
>>> added = apart.reshape(2, 2, 5, 8).sum(axis=1)
>>> dk = grad(lambda k: loss(k, v2))(k2)
>>> bool(np.allclose(dk, once)), bool(np.allclose(dk, added))
(False, True)

**20. Dropout left on.** In training mode each token fails to see some of the others, different ones at each call. The
check is to ask twice.

>>> layer = MultiHeadAttention(12, 3, mask=Causal(), dropout=0.5, rng=rng)
>>> bool((layer(x).data == layer(x).data).all())
False
>>> layer = layer.eval()
>>> bool((layer(x).data == layer(x).data).all())
True

## In practice

Nearly all of these are found by five questions, asked of a layer with random weights before it is trained, in less time
than reading its code takes. Does the answer at $t$ stay if what follows changes? Does it change if something it should
see does? Does it stay if the text is padded, moved to later positions, or put into a batch with others? Is it the same
in portions, with a cache, as in one piece? And are two numbers equal to those of somebody else's code? The last is the
only one that sees a convention: pairs of RoPE, the order of shared heads, what *True* means in a mask. The test suite
of this chapter asks all five.
"""

__all__: list[str] = []
"""The list of mistakes is what its first line says; its examples run as doctests."""
