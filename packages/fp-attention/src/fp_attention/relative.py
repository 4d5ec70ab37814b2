r"""
Relative positions: a number for each distance, added to the score.

If distance is what matters, why not tell the score itself? Each head adds to the score of a query at $i$ and a key at
$j$ a number that depends on $j - i$ only. Which numbers? They may be fixed, so that near tokens are preferred, or
learned, for as many distances as there are data to learn from.

You need: `fp_attention.positions`; `autograd.exponential-shift` for what softmax does not see; geometric sums.

## Linear biases

**ALiBi** subtracts from the score of head $h$ its slope $m_h > 0$ times the distance:

$$S_{ij} = s_{ij} - m_h\, (i - j), \qquad j \le i. \qquad \text{(E1)}$$

**Claim** `attention.alibi-relative`. In row $i$ the softmax over the keys $j \le i$, or over any of them, is the same
for the scores $s_{ij} - m (i - j)$, $s_{ij} + m j$ and $s_{ij} + m (j - c)$ with any number $c$. With the bias (E1) it
does not change if all positions are moved by the same number.

**Proof.** $s_{ij} + m (j - c) = s_{ij} - m (i - j) + m (i - c)$. The last term is the same for all $j$, and a number
added to all scores of a row changes no weight (`autograd.exponential-shift`). $c = 0$ is the second form. Last,
$(i + t) - (j + t) = i - j$. $\blacksquare$

So one row of numbers $m j$ serves all queries, as long as a causal mask hides the keys after the query, where $m j$
rises on. For models without that mask `ALiBi` subtracts $m_h\, |i - j|$, which is (E1) for $j \le i$.

**Claim** `attention.alibi-recency`. Let $|s_{ij}| \le s$ for all keys $j \le i$ of a query, and $m > 0$. Of its weight
the keys at a distance of $n \ge 1$ or more have at most

$$
\frac{e^{2s} F}{e^{2s} F + N} \le e^{2s - m n}, \qquad
F = \sum_{r=n}^{i} e^{-m r}, \quad N = \sum_{r=0}^{n-1} e^{-m r}, \qquad \text{(E2)}
$$

for $n \le i$. The left bound is reached: by $s$ for the far keys and $-s$ for the near ones.

**Proof.** Let $A$ be the sum of $e^{S_{ij}}$ over the far keys and $B$ over the near ones; the far weight is
$\frac{A}{A + B} = \frac{1}{1 + B / A}$, which grows with $A$ and falls with $B$. As $-s \le s_{ij} \le s$,
$A \le e^s F$ and $B \ge e^{-s} N$, so the weight is at most $\frac{e^s F}{e^s F + e^{-s} N}$; multiply above and below
by $e^s$. It is reached where both are equalities. Next, $e^{2s} \ge 1$, so $e^{2s} F + N \ge F + N$, and with
$x = e^{-mn}$ and $y = e^{-m (i + 1)}$ the geometric sums give

$$
\frac{F}{F + N} = \frac{(x - y) / (1 - e^{-m})}{(1 - y) / (1 - e^{-m})} = \frac{x - y}{1 - y} \le x,
$$

since $x - y \le x - x y$ for $0 \le y$ and $x \le 1$. $\blacksquare$

So a head with bounded scores looks through a window: all but a share $\varepsilon$ of its weight is nearer than
$n \ge (2 s + \ln \frac{1}{\varepsilon}) / m$, however long the text. `alibi_window` computes it, here for the first,
the middle and the last of eight heads, scores within $\pm 2$, and a share of one percent:

>>> [alibi_window(m, 2.0, 0.01) for m in alibi_slopes(8)[[0, 3, 7]]]
[18, 138, 2203]

Nothing new happens in texts longer than those of training, which is why such models read on without harm; and why they
do not find what is far away. A model can look farther only by larger scores.

The slopes are a geometric sequence. For $H = 2^k$ heads, numbered from $1$,

$$m_h = 2^{-8 h / H}, \qquad h = 1, \dots, H. \qquad \text{(E3)}$$

For other $H$ let $P$ be the largest power of two below $H$: the $P$ slopes of (E3) for $P$ heads are followed by the
first, third, fifth, … of those for $2P$ heads, as many as are missing.

**Claim** `attention.alibi-slopes`. The $H$ slopes are different, the smallest is $2^{-8}$, and all are below $1$. Those
that are added for $H > P$ lie between the others: the $h$-th of them between the slopes $h - 1$ and $h$ of $P$ heads,
with $1$ for the slope $0$.

**Proof.** The $h$-th odd one for $2P$ heads is $2^{-8 (2h - 1) / 2P} = 2^{-8 (h - \frac12) / P}$. Powers of two rise
with their exponents, and $h - 1 < h - \frac12 < h$; so it lies strictly between $2^{-8 (h - 1) / P}$ and
$2^{-8 h / P}$, and no two fall between the same. As $H < 2P$, fewer than $P$ are missing, so there are enough. The
largest exponent is $-\frac{4}{P}$ or less, and the smallest is that of $h = P$ in (E3), $-8$. $\blacksquare$

>>> alibi_slopes(3).tolist()  # those of two heads, and the first of four
[0.0625, 0.00390625, 0.25]

## Learned biases in buckets

A model can learn the numbers. One for each distance is too many, as large distances are rare, and little depends on
whether two tokens are 300 or 301 apart. So distances are put into **buckets**, fine near and coarse far.

Let there be $n \ge 2$ buckets for the distances $x = 0, 1, 2, \dots$ back from the query, $u = \lfloor n / 2 \rfloor$
of them exact, $l = n - u$ logarithmic, and let $M > u$ be the distance at which the last is surely reached:

$$
\operatorname{bucket}(x) = \begin{cases} x & \text{if } x < u, \\
\min \Big( n - 1,\; u + \Big\lfloor l\, \dfrac{\ln (x / u)}{\ln (M / u)} \Big\rfloor \Big) & \text{if } x \ge u.
\end{cases} \qquad \text{(E4)}
$$

**Claim** `attention.bucket-edges`. Bucket $u + k$, $0 \le k < l$, begins at the least whole $x \ge u$ with

$$x^l \ge u^{l - k} M^k. \qquad \text{(E5)}$$

Every distance has exactly one bucket; farther ones have no lower bucket; all from $M$ on have the last. If
$M \ge u\, (1 + \frac1u)^l$, each of the $n$ buckets holds some distance.

**Proof.** (E4) gives each $x$ one bucket. For $x \ge u$, $\operatorname{bucket}(x) \ge u + k$ means
$l \ln \frac{x}{u} \ge k \ln \frac{M}{u}$, for whole $k < l$, as $\ln \frac{M}{u} > 0$. Take exponentials:
$\big( \frac{x}{u} \big)^l \ge \big( \frac{M}{u} \big)^k$, and multiply by $u^l$: this is (E5). It holds for all larger
$x$ if it holds for one, so buckets do not fall from $u$ on; below $u$ they are $x$ itself, less than $u$, the bucket of
$x = u$. For $x = M$ it holds with $k = l - 1$: $M^l \ge u M^{l-1}$, as $M > u$. Last, the exact buckets hold $x$ each.
By (E5) the others begin at the least whole numbers that are at least $z_k = u \rho^k$ with $\rho = (M/u)^{1/l}$. The
assumption is $\rho \ge 1 + \frac1u$, so $z_{k+1} - z_k = u \rho^k (\rho - 1) \ge \rho^k \ge 1$. Of two numbers at least
$1$ apart the larger one is followed by a later whole number, so no two buckets begin together. $\blacksquare$

`bucket_edges` decides (E5) in whole numbers, where rounding cannot put an edge into the wrong bucket:

>>> bucket_edges(8, 32)
[0, 1, 2, 3, 4, 7, 12, 20]

(E4) is for models with a causal mask; keys after the query, which the mask hides, count as distance $0$. Without the
mask half of the buckets are for keys before the query, in the same way, and half for those after it. The first of the
latter stays empty, since the distance $0$ is with the former.

**Claim** `attention.bucket-gradient`. Let the bias of head $h$ at the distance $\delta = j - i$ be $w_{b(\delta) h}$,
with the bucket $b(\delta)$, and $G_{hij}$ the cotangent of the scores, summed over texts. The cotangent of $w_{ch}$ is
the sum of all $G_{hij}$ with $b(j - i) = c$, and a bucket without a pair has zero.

**Proof.** Score $(h, i, j)$ reads the entry $(b(j - i), h)$ of $w$ and adds it, with the slope $1$. An entry that is
read several times gets the sum of what comes back from its readers (`autograd.copy-rule`). $\blacksquare$

Attention sums over the pairs of each distance, and the table over the distances of each bucket; the order of a sum does
not matter. A causal text of $T$ tokens has $T - x$ pairs at the distance $x$: near buckets learn from many, the last
one only from long texts.

## In practice

ALiBi is by O. Press, N. Smith and M. Lewis (2022), used in BLOOM and MPT; for numbers of heads that are no powers of
two the two take other orders, and this is BLOOM's, which is the authors'. Buckets are from C. Raffel and others, *T5*
(2020), where the first layer's table serves all layers and scores are not divided by $\sqrt d$. P. Shaw and others
(2018) began with learned vectors, not numbers, for each distance, added to the keys. A bias on scores does without new
work on queries and keys, but a fused attention has to add it to every score; rotary positions leave the kernel alone,
one reason for their spread.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fp_attention.positions import Positions, Real
from fp_neural.module import Parameter

__all__ = [  # the order of the page
    "alibi_slopes",
    "alibi_window",
    "ALiBi",
    "bucket_edges",
    "buckets",
    "RelativeBias",
]


def alibi_slopes(n_heads: int) -> Float[np.ndarray, " H"]:
    """
    One slope for each head, as in (E3) and below it.

    Parameters
    ----------
    n_heads
        How many heads.

    Returns
    -------
    ndarray
        Float64, in nats a position.

    Raises
    ------
    ValueError
        If there is no head.
    TypeError
        If the number of heads is no integer.

    Examples
    --------
    >>> alibi_slopes(8)[:3].tolist()
    [0.5, 0.25, 0.125]
    """
    n_heads = _heads(n_heads)
    if n_heads < 1:
        raise ValueError(f"ALiBi has a slope for each head and needs at least one, got {n_heads}")
    P = 1 << (n_heads.bit_length() - 1)
    exponents = [h / P for h in range(1, P + 1)] + [(h - 0.5) / P for h in range(1, n_heads - P + 1)]
    return 2.0 ** (-8 * np.array(exponents))


def alibi_window(slope: Real, spread: Real, share: Real) -> int:
    r"""
    The least $n$ with $e^{2s - mn} \le \varepsilon$ (E2): keys at this distance and farther have no larger share.

    Parameters
    ----------
    slope
        $m > 0$, in nats a position.
    spread
        $s \ge 0$: scores lie within $\pm s$.
    share
        $\varepsilon$, in (0, 1).

    Returns
    -------
    int
        In positions.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> alibi_window(0.5, 0.0, 0.25)
    3
    """
    if not (slope > 0 and spread >= 0 and 0 < share < 1):
        raise ValueError(
            f"a window needs a slope above 0, a spread from 0 on and a share in (0, 1), got {slope}, {spread}, {share}"
        )
    return math.ceil((2 * spread - math.log(share)) / slope)


class ALiBi(Positions):
    r"""
    Subtract from each score a multiple of the distance (E1), $m_h\, |i - j|$. Nothing is learned.

    Parameters
    ----------
    n_heads
        How many heads.
    dtype
        Of the bias. For up to eight heads the slopes are powers of two, which float32 holds exactly. For more heads it
        rounds some: give float to layers of float64, so that they get all digits.

    Raises
    ------
    ValueError
        If there is no head.
    TypeError
        If the number of heads is no integer.

    Examples
    --------
    >>> ALiBi(2).on_scores(np.array([-2, -1, 0])).tolist()
    [[-0.125, -0.0625, 0.0], [-0.0078125, -0.00390625, 0.0]]
    """

    def __init__(self, n_heads: int, *, dtype: Any = np.float32) -> None:
        super().__init__()
        self._slopes = alibi_slopes(n_heads)
        self._dtype = np.dtype(dtype)

    def on_scores(self, distances: Integer[np.ndarray, " n"]) -> Float[np.ndarray, "H n"]:
        """A number for each head and distance, of shape `(H, n)`."""
        distances = distances.astype(np.int64)
        return (-self._slopes[:, None] * np.abs(distances) + 0.0).astype(self._dtype)  # + 0.0: no negative zeros


def bucket_edges(n_buckets: int, max_distance: int) -> list[int]:
    """
    The first distance of each bucket (E5), in whole numbers.

    Parameters
    ----------
    n_buckets
        How many buckets, at least two.
    max_distance
        $M$: from here on everything is in the last bucket.

    Returns
    -------
    list of int
        As many as buckets. Two that are equal leave the earlier bucket empty.

    Raises
    ------
    ValueError
        If there are fewer than two buckets, or $M$ is not beyond the exact ones.

    Examples
    --------
    >>> bucket_edges(4, 100)
    [0, 1, 2, 15]
    """
    u = n_buckets // 2
    if n_buckets < 2 or max_distance <= u:
        raise ValueError(
            f"buckets need to be at least two, and the largest distance beyond the {max(u, 0)} exact ones, got "
            f"{n_buckets} buckets and max_distance={max_distance}"
        )
    l, edges = n_buckets - u, list(range(u))
    for k in range(l):
        low, high = u, max_distance  # the edge lies in between: halve
        while low < high:
            x = (low + high) // 2
            low, high = (low, x) if x**l >= u ** (l - k) * max_distance**k else (x + 1, high)
        edges.append(low)
    return edges


@lru_cache(maxsize=64)
def _edges(n_buckets: int, max_distance: int) -> np.ndarray:
    return np.array(bucket_edges(n_buckets, max_distance))


def buckets(
    distances: Integer[np.ndarray, "..."], n_buckets: int = 32, max_distance: int = 128, *, causal: bool = True
) -> Integer[np.ndarray, "..."]:
    """
    The bucket of each distance (E4).

    Parameters
    ----------
    distances
        Key positions minus query positions, of any shape.
    n_buckets, max_distance
        As in `bucket_edges`, of both directions together if not causal.
    causal
        Whether only keys before the query matter. If not, half of the buckets are for each direction.

    Returns
    -------
    ndarray
        Numbers from 0 to `n_buckets - 1`, of the shape of `distances`.

    Raises
    ------
    ValueError
        As `bucket_edges`, or if the buckets of two directions are an odd number.
    TypeError
        If distances are not whole numbers.

    Examples
    --------
    >>> buckets(-np.array([0, 3, 4, 6, 7, 31, 500]), 8, 32)
    array([0, 3, 4, 4, 5, 7, 7])
    >>> buckets(np.array([-2, -1, 0, 1, 2]), 8, 32, causal=False)
    array([2, 1, 0, 5, 6])
    """
    if not causal and n_buckets % 2:
        raise ValueError(
            f"buckets for two directions are an even number, got {n_buckets}: take one more or causal=True"
        )
    if distances.dtype.kind not in "iu":
        raise TypeError(f"distances are whole numbers, got {distances.dtype}: convert with .astype")
    edges = _edges(n_buckets if causal else n_buckets // 2, max_distance)
    distances = distances.astype(np.int64)  # which can be negated: minus one is 255 in uint8
    back = np.maximum(-distances, 0) if causal else np.abs(distances)
    found = np.searchsorted(edges, back, side="right") - 1
    return found if causal else found + (distances > 0) * (n_buckets // 2)


class RelativeBias(Positions):
    """
    Add a learned number for each head and bucket of distances to the scores.

    Parameters
    ----------
    n_heads
        How many heads.
    n_buckets, max_distance, causal
        As in `buckets`.
    rng
        Draws the table, from the normal distribution.
    std
        Its deviation.
    dtype
        Of the table.

    Attributes
    ----------
    weight : Parameter
        Of shape `(n_buckets, n_heads)`.

    Raises
    ------
    ValueError
        If there is no head, or the buckets will not do.
    TypeError
        If the number of heads is no integer.

    Examples
    --------
    >>> bias = RelativeBias(2, 8, 32, rng=np.random.default_rng(0))
    >>> bias.on_scores(np.array([-1, 0])).shape
    (2, 2)
    """

    def __init__(
        self,
        n_heads: int,
        n_buckets: int = 32,
        max_distance: int = 128,
        *,
        causal: bool = True,
        rng: np.random.Generator,
        std: Real = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        n_heads = _heads(n_heads)
        if n_heads < 1:
            raise ValueError(f"a bias has a number for each head and needs at least one, got {n_heads}")
        self.max_distance, self.causal = max_distance, causal
        buckets(np.zeros(1, np.int64), n_buckets, max_distance, causal=causal)  # for its errors
        self.weight = Parameter((rng.normal(size=(n_buckets, n_heads)) * std).astype(dtype))

    def on_scores(self, distances: Integer[np.ndarray, " n"]) -> Any:
        """A number for each head and distance, of shape `(H, n)`."""
        n_buckets = self.weight.shape[0]
        return self.weight[buckets(distances, n_buckets, self.max_distance, causal=self.causal)].T


def _heads(n: Any) -> int:
    if not isinstance(n, int | np.integer):
        raise TypeError(f"n_heads, the number of heads, is an integer, got {n!r} of type {type(n).__name__}")
    return int(n)
