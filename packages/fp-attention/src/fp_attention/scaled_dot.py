r"""
Attention, forward and backward, as one operation.

Everything so far was about one query. A text asks as many questions as it has positions, all of them look at the same
keys, and that makes attention two products of matrices with a softmax between them. What are its derivatives, line by
line; how much of the table of scores has to be computed if half of it is forbidden; and what has to be kept for the way
back?

You need: `fp_attention.lookup`, `fp_attention.scaling`, `fp_attention.masks`, the derivative of softmax
(`autograd.softmax-rule`) and `fp_autograd.extend`.

## Forward

Let the rows of $Q \in \mathbb{R}^{T_q \times D}$, $K \in \mathbb{R}^{T_k \times D}$ and
$V \in \mathbb{R}^{T_k \times D_v}$ be the queries, keys and values of one head, $M_{ij}$ be true where query $i$ may
look at key $j$, each query at one key at least, and $\alpha = 1 / \sqrt D$ (`attention.dot-variance`). A bias
$b_{ij}$, zero unless said otherwise, depends on the positions alone (`fp_attention.relative`). Then

$$
\begin{aligned}
S_{ij} &= \alpha \sum_d Q_{id} K_{jd} + b_{ij}, && \text{(E1)} \\
P_{ij} &= \frac{[M_{ij}]\, e^{S_{ij}}}{\sum_m [M_{im}]\, e^{S_{im}}}, && \text{(E2)} \\
Y_{id} &= \sum_j P_{ij} V_{jd}, && \text{(E3)}
\end{aligned}
$$

where $[M]$ is $1$ if $M$ is true and else $0$. As matrices: $S = \alpha Q K^\top + b$, and $Y = P V$.

>>> q, k = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[2.0, 0.0], [0.0, 2.0]])
>>> v = np.array([[10.0], [20.0]])
>>> attention_weights(q, k).round(3)
array([[0.804, 0.196],
       [0.196, 0.804]])
>>> scaled_dot_product_attention(q, k, v).round(2).ravel()
array([11.96, 18.04])

## Backward

**Claim** `attention.backward`. Let $g = \partial \ell / \partial Y$ be the cotangent of the output. Those of the inputs
are

$$
\begin{aligned}
\bar V &= P^\top g, && \text{(E4)} \\
A &= g\, V^\top, && \text{(E5)} \\
\delta_i &= \sum_d g_{id} Y_{id}, && \text{(E6)} \\
Z_{ij} &= P_{ij}\, (A_{ij} - \delta_i), && \text{(E7)} \\
\bar Q &= \alpha\, Z K, \qquad \bar K = \alpha\, Z^\top Q, \qquad \bar b_{ij} = Z_{ij}, && \text{(E8)}
\end{aligned}
$$

and $Z_{ij} = 0$ where $M_{ij}$ is false: no gradient crosses a mask. Each row of $Z$ sums to zero.

**Proof.** (E3) is a product of matrices, so by `autograd.matmul-rule` the cotangent of $V$ is $P^\top g$, and that of
$P$ is $g V^\top = A$. Row $i$ of $P$ is the softmax of those $S_{ij}$ for which $M_{ij}$ is true, and zero elsewhere,
whatever $S$ is there. So where $M_{ij}$ is false the cotangent of $S_{ij}$ is zero, as is $Z_{ij}$, because
$P_{ij} = 0$. Where it is true, `autograd.softmax-rule` gives

$$\bar S_{ij} = P_{ij} \Big( A_{ij} - \sum_m P_{im} A_{im} \Big),$$

where the sum may run over all $m$, since the further terms are zero. It is not a new sum over the row:

$$
\sum_m P_{im} A_{im} = \sum_m P_{im} \sum_d g_{id} V_{md} = \sum_d g_{id} \sum_m P_{im} V_{md}
  = \sum_d g_{id} Y_{id} = \delta_i,
$$

so $\bar S = Z$. Its rows sum to $\sum_j P_{ij} A_{ij} - \delta_i \sum_j P_{ij} = \delta_i - \delta_i = 0$. (E1) adds
$b$, whose cotangent is $Z$, to $\alpha$ times a product: by `autograd.matmul-rule` the cotangent of $Q$ is
$\alpha Z (K^\top)^\top = \alpha Z K$, and that of $K^\top$ is $\alpha Q^\top Z$, whose transpose is that of $K$.
$\blacksquare$

Four products of matrices, where forward has two; five, if the scores are computed again. So backward costs two to two
and a half times as much.

A bias that is one number for each distance, $b_{ij} = \beta_{j - i}$, is used once by every pair of that distance, so
its cotangent is the sum of a diagonal of $Z$ (`autograd.copy-rule`).

**Claim** `attention.dropout-backward`. With dropout on the weights, $Y = (P \odot R)\, V$ with given $R_{ij} = 0$ or
$\frac{1}{1 - p}$, (E4) to (E8) hold with $(P \odot R)^\top g$ in (E4) and $A = R \odot (g V^\top)$ in (E5), with the
same $P$ in (E7) and the $Y$ that was computed in (E6).

**Proof.** The cotangent of $P \odot R$ is $g V^\top$, so that of $P$ is $R$ times it, entry by entry
(`autograd.elementwise-rule`), and that of $V$ is $(P \odot R)^\top g$. The softmax is as before, and the sum over the
row is $\sum_m P_{im} R_{im} \sum_d g_{id} V_{md} = \sum_d g_{id} \sum_m P_{im} R_{im} V_{md} = \sum_d g_{id} Y_{id}$.
$\blacksquare$

## Forward mode

**Claim** `attention.tangent`. Let $Q$, $K$, $V$ and $b$ move along $\dot Q$, $\dot K$, $\dot V$ and $\dot b$. Then the
output moves along

$$
\dot Y_{id} = \sum_j P_{ij}\, (\dot S_{ij} - \mu_i)\, V_{jd} + \sum_j P_{ij} \dot V_{jd}, \qquad
\mu_i = \sum_j P_{ij} \dot S_{ij}, \qquad \text{(E9)}
$$

with $\dot S = \alpha\, (\dot Q K^\top + Q \dot K^\top) + \dot b$.

The first sum is $\sum_j P_{ij} \dot S_{ij} V_{jd} - \mu_i Y_{id}$. With dropout, $P R$ stands for $P$ in it and in the
sum with $\dot V$, but not in $\mu$.

**Proof.** The product rule for (E1) and (E3). In between, $\dot P_{ij} = P_{ij} (\dot S_{ij} - \mu_i)$ is
`autograd.softmax-rule` again, whose matrix is symmetric; for forbidden pairs both sides are zero. The second form is
$\sum_j P_{ij} \mu_i V_{jd} = \mu_i Y_{id}$, and with dropout $\dot Y = (\dot P \odot R) V + (P \odot R) \dot V$, where
$\sum_j P_{ij} R_{ij} \mu_i V_{jd} = \mu_i Y_{id}$ for the $Y$ with dropout. $\blacksquare$

So derivatives of any order and in both modes are exact: at first order by these kernels, at higher orders by the
composition that `reference_attention` is (`autograd.reference-derivatives`).

>>> from fp_autograd.checking import gradcheck
>>> rng = np.random.default_rng(0)
>>> q, k, v = rng.normal(size=(2, 3, 5)), rng.normal(size=(1, 3, 5)), rng.normal(size=(1, 3, 7))
>>> gradcheck(lambda q, k, v: scaled_dot_product_attention(q, k, v, mask=Causal()), q, k, v)  # both modes, order two

## How it is computed

**In strips.** Each row of $P$ needs its own row of $S$ and no other, so the table is computed a few rows at a time, and
of each strip only the columns that some row of it may see. With a causal mask and strips of $r$ rows that is $r$, then
$2r$, and so on up to $T$ columns:

**Claim** `attention.causal-strips`. Let $r$ divide $T$. Under a causal mask the strips of $r$ rows hold
$\frac{1}{2} T (T + r)$ scores, of the $T^2$ that the table has, and $\frac12 T (T + 1)$ are allowed.

**Proof.** Strip $n = 1, \dots, T / r$ has $r$ rows and $n r$ columns, the positions up to its own last one. The sum of
$n r^2$ is $r^2 \cdot \frac12 \frac{T}{r} \big( \frac{T}{r} + 1 \big) = \frac12 T (T + r)$. The allowed ones are the
case $r = 1$. $\blacksquare$

What is wasted is $\frac12 T (r - 1)$, and only in the last $r$ columns of a strip does the mask have to be looked up.
The same holds for any mask of `fp_attention.masks`: tiles of which it is certain that nothing in them is allowed are
left out, and neighbouring ones that are left are one product.

**Without dividing, and without a shift.** Let $E_{ij} = [M_{ij}]\, e^{S_{ij} - c_i}$ with any number $c_i$ for each
row, and $l_i = \sum_j E_{ij}$. Then $P_{ij} = E_{ij} / l_i$ (`autograd.exponential-shift`), so that $Y_{id}$ is
$\frac{1}{l_i} \sum_j E_{ij} V_{jd}$: it is the narrow $Y$ that is divided, not the wide $P$. Backward, with $g_{id} /
l_i$ for $g_{id}$, (E4) to (E7) hold with $E$ for $P$ throughout.

The largest score of a row is the usual $c_i$, and costs a pass over the table to find and another to subtract. With
$c_i = 0$ both are saved, if that does no harm:

**Claim** `attention.unshifted`. Let $n$ pairs be allowed in row $i$, let $c_i = 0$ and

$$10^{-15} \le l_i \le 10^{15}. \qquad \text{(E10)}$$

Then no $E_{ij}$ exceeds $10^{15}$. Those that single precision cannot hold as normal numbers, below $2^{-126}$, are
together less than $n\, 10^{-22}$ of the sum, and leaving them out changes $Y_{id}$ by less than
$2 n \cdot 10^{-22} \max_j |V_{jd}|$.

**Proof.** All terms of the sum are at least zero, so each is at most $l_i \le 10^{15}$. Let $L$ be the set of the small
ones. As $2^{-126} < 1.2 \cdot 10^{-38}$, they add up to less than $1.2\, n\, 10^{-38} \le 1.2\, n\, 10^{-23}\, l_i$,
less than $n\, 10^{-22}\, l_i$. Call their share of the sum $\eta$. Without them the weights of the others grow by the
factor $\frac{1}{1 - \eta}$, so $Y_{id}$ becomes $Y'_{id}$ with $Y_{id} = (1 - \eta)\, Y'_{id} + \eta\, w_d$, where
$w_d$ is a weighted mean of the left out values. So $|Y_{id} - Y'_{id}| = \eta\, |w_d - Y'_{id}|$, and two
means of values differ by at most $2 \max_j |V_{jd}|$. $\blacksquare$

That is far below the rounding of single precision. If the condition fails in a strip, or the sum is not a number, it
is done again with the largest scores. `neural.logsumexp-rounding` says how exact the two are: with the shift a score
that is far from the largest is rounded once more, by a share of its distance.

**Heads that share keys** are stacked. The rows of $G$ query heads that meet the same keys form one matrix of $G r$
rows: one product instead of $G$, and (E4) and (E8) sum over the rows of all of them, as the cotangent of something used
in $G$ places has to (`autograd.copy-rule`).

**Texts and heads** are independent, and are shared out to threads (each with BLAS on one), so that the exponentials run
on all cores too.

## In practice

PyTorch's function has the same name and the same meaning, with two differences: its causal mask is aligned at the upper
left corner of the table if there are more keys than queries, here at the lower right, which is what continuing a text
needs; and a row without any key is a row of NaNs there or zeros, here an error. Its biases are whole tables; here a
bias is one number for each distance, which is what language models use, and a table of them is never made. Its kernel
on processors is that of T. Dao et al. (2022), which keeps no weights; here they are kept while a gradient is wanted,
$T_q T_k$ numbers a head, because reading them is cheaper than computing them again as long as they fit into memory, and
`fp_attention.tiled` is the one that keeps none. A. Vaswani and others (2017) gave attention this form.
"""

import math
import operator
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fp_attention._parallel import each
from fp_attention._strips import (
    Heads,
    Problem,
    Run,
    Strip,
    add_bias,
    against,
    bias_gradient,
    by_heads,
    clear,
    forbid,
    kept,
    new_bias_gradient,
    new_like,
    rectangles,
    refuse_blind,
    scores,
    sees_nothing,
    stacked,
    times,
    whole_bias_gradient,
)
from fp_attention.masks import Causal as Causal
from fp_attention.masks import Mask, as_mask
from fp_autograd.extend import operation
from fp_autograd.rules import softmax, where
from fp_autograd.tensor import moves
from fp_autograd.tracing import Box, Operand, value_of

__all__ = ["scaled_dot_product_attention", "reference_attention", "attention_weights"]  # the order of the page

MODERATE = 1e15
"""Sums up to this and down to its inverse are far from the ends of float32."""
WORTHWHILE = 4_000_000
"""Multiplications of a product from which on threads are faster."""
Real = float | int


def scaled_dot_product_attention(
    q: Operand,
    k: Operand,
    v: Operand,
    *,
    mask: Mask | np.ndarray | None = None,
    bias: Operand | None = None,
    scale: Real | None = None,
    dropout: Real = 0.0,
    rng: np.random.Generator | None = None,
    start: int | None = None,
    key_positions: np.ndarray | None = None,
) -> Any:
    r"""
    Attention (E1) to (E3) of every head, in one operation.

    It has derivatives of any order in both modes, through `reference_attention`. What the mask forbids for whole tiles
    is not computed. While a gradient is asked for, the weights are kept, $T_q T_k$ numbers a head at most;
    `fp_attention.tiled_attention` keeps none.

    Parameters
    ----------
    q
        Queries, of shape `(..., H, Tq, D)`, float32 or float64; or `(Tq, D)` for a single head.
    k, v
        Keys `(..., Hkv, Tk, D)` and values `(..., Hkv, Tk, Dv)`, where `Hkv` divides `H`: query head `h` uses key head
        `h // (H / Hkv)`. The leading axes are those of `q`.
    mask
        Who may look at whom: one of `fp_attention.masks`, or a Boolean array that broadcasts against
        `(..., H, Tq, Tk)`, True where a query may look. Everyone may by default.
    bias
        Of shape `(H, Tq + Tk - 1)`: what is added to the score of row `i` and column `j`, after scaling, is entry
        `j - i + Tq - 1` of its head.
    scale
        $\alpha$; $1 / \sqrt D$ by default.
    dropout
        With which probability a weight is dropped, at least 0 and below 1. Those kept are divided by its complement.
    rng
        Draws which; needed if some are dropped.
    start
        The position of the first query. By default the last query stands at the position of the last key, as when
        earlier keys come from a cache, or, if there are too many queries for that, the first at 0.
    key_positions
        The positions of the keys, rising integers of shape `(Tk,)`; 0, 1, 2, … by default.

    Returns
    -------
    ndarray or Box
        Of shape `(..., H, Tq, Dv)`, laid out in memory as `q` is.

    Raises
    ------
    ValueError
        If shapes do not fit, the number of heads is no multiple of the key heads', a query may look at no key, or a
        setting is out of its range.
    TypeError
        If the numbers are not float32 or float64, of one kind, or a mask is not Boolean.

    Examples
    --------
    The second token's query matches the first key better than its own, by a factor $e$ in the weights:

    >>> q = np.array([[0.0, 0.0], [np.sqrt(2), 0.0]])
    >>> k = np.array([[1.0, 0.0], [0.0, 0.0]])
    >>> v = np.array([[1.0], [0.0]])
    >>> scaled_dot_product_attention(q, k, v, mask=Causal()).round(3)
    array([[1.   ],
           [0.731]])
    """
    operands, settings = prepared(q, k, v, mask, bias, scale, dropout, rng, start, key_positions)
    settings["keep"] = any(moves(x) for x in operands)
    out = (_fused if bias is None else _fused_biased)(*operands, **settings)
    return out if np.ndim(q) > 2 else out[0]


def reference_attention(
    q: Operand,
    k: Operand,
    v: Operand,
    *,
    mask: Mask | np.ndarray | None = None,
    bias: Operand | None = None,
    scale: Real | None = None,
    dropout: Real = 0.0,
    rng: np.random.Generator | None = None,
    start: int | None = None,
    key_positions: np.ndarray | None = None,
) -> Any:
    """
    `scaled_dot_product_attention`, composed of the operations of `fp_autograd.rules` line by line.

    Parameters
    ----------
    q, k, v, mask, bias, scale, dropout, rng, start, key_positions
        As there; the same `rng` drops the same weights.

    Returns
    -------
    ndarray or Box
        The same numbers up to rounding.

    Raises
    ------
    ValueError, TypeError
        As there.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> q, k, v = (rng.normal(size=(2, 3, 5, 7)) for _ in range(3))
    >>> ours, fused = (f(q, k, v, mask=Causal()) for f in (reference_attention, scaled_dot_product_attention))
    >>> bool(np.abs(ours - fused).max() < 1e-14)
    True
    """
    operands, settings = prepared(q, k, v, mask, bias, scale, dropout, rng, start, key_positions)
    out = composed(*operands, **settings)
    return out if np.ndim(q) > 2 else out[0]


def attention_weights(
    q: Operand,
    k: Operand,
    *,
    mask: Mask | np.ndarray | None = None,
    bias: Operand | None = None,
    scale: Real | None = None,
    start: int | None = None,
    key_positions: np.ndarray | None = None,
) -> np.ndarray:
    """
    The weights $P$ of (E2) themselves, to be looked at.

    Parameters
    ----------
    q, k, mask, bias, scale, start, key_positions
        As in `scaled_dot_product_attention`.

    Returns
    -------
    ndarray
        Of shape `(..., H, Tq, Tk)`; each row sums to one.

    Raises
    ------
    ValueError, TypeError
        As there.

    Examples
    --------
    >>> attention_weights(np.zeros((3, 2)), np.zeros((3, 2)), mask=Causal()).round(2)
    array([[1.  , 0.  , 0.  ],
           [0.5 , 0.5 , 0.  ],
           [0.33, 0.33, 0.33]])
    """
    (q3, k3, _, *b), settings = prepared(q, k, k, mask, bias, scale, 0.0, None, start, key_positions)
    P = _weights(value_of(q3), value_of(k3), *map(value_of, b), **settings)
    P = P.reshape(*np.shape(q3)[:-1], np.shape(k3)[-2])
    return P if np.ndim(q) > 2 else P[0]


# --- what it is given


def prepared(
    q: Operand,
    k: Operand,
    v: Operand,
    mask: Any,
    bias: Operand | None,
    scale: Real | None,
    dropout: Real,
    rng: np.random.Generator | None,
    start: int | None,
    key_positions: np.ndarray | None,
) -> tuple[tuple[Operand, ...], dict[str, Any]]:
    """The operands with an axis of heads, and all settings, after all checks."""
    _check_kinds((q, k, v) if bias is None else (q, k, v, bias))
    if len({np.ndim(value_of(x)) for x in (q, k, v)} | {2}) == 1:
        q, k, v = (x[None] for x in (q, k, v))
    lead, H, Tq, Tk, D = _checked_sizes(q, k, v, bias)
    if isinstance(scale, Box) or not (scale is None or math.isfinite(scale)):
        raise TypeError(f"scale is a finite number and has no slope, got {scale!r}: multiply the queries by it instead")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is the probability of dropping a weight and lies in [0, 1), got {dropout}")
    if dropout and not isinstance(rng, np.random.Generator):
        raise ValueError(f"dropout needs a source of randomness, rng=np.random.default_rng(seed); got {rng!r}")
    n_keys = Tk
    if key_positions is not None:
        key_positions = _checked_positions(key_positions, Tk)
        n_keys = int(key_positions[-1]) + 1 if Tk else 0
    first = max(n_keys - Tq, 0) if start is None else operator.index(start)
    rule = as_mask(mask, first)
    if rule is not None:
        rule.check(lead, Tq, n_keys, n_heads=H, start=first)
    settings = {
        "mask": rule,
        "scale": 1 / math.sqrt(D) if scale is None else float(scale),
        "start": first,
        "key_positions": key_positions,
        "dropout": float(dropout),
        "seed": int(rng.integers(2**63)) if dropout and rng is not None else 0,
    }
    return ((q, k, v) if bias is None else (q, k, v, bias)), settings


def _check_kinds(operands: tuple[Operand, ...]) -> None:
    arrays = [value_of(x) for x in operands]
    if not all(isinstance(x, np.ndarray) for x in arrays):
        found = ", ".join(type(x).__name__ for x in arrays)
        raise TypeError(
            f"queries, keys, values and biases are arrays or tensors, got {found}: np.asarray makes an array"
        )
    kinds = {x.dtype for x in arrays}
    if len(kinds) > 1 or kinds - {np.dtype(np.float32), np.dtype(np.float64)}:
        raise TypeError(
            "queries, keys, values and biases are all float32 or all float64, got "
            f"{' and '.join(sorted(map(str, kinds)))}: convert them with .astype"
        )


def _checked_sizes(
    q: Operand, k: Operand, v: Operand, bias: Operand | None
) -> tuple[tuple[int, ...], int, int, int, int]:
    """The axes of the texts, H, Tq, Tk and D."""
    shapes = [np.shape(value_of(x)) for x in (q, k, v)]
    if any(len(shape) < 3 for shape in shapes) or len({len(shape) for shape in shapes}) > 1:
        raise ValueError(
            "queries, keys and values have the shapes (..., heads, time, width), with as many axes each, or (time, "
            f"width); got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    (*lead, H, Tq, D), (*k_lead, Hkv, Tk, k_D), (*v_lead, v_H, v_T, _) = shapes
    if lead != k_lead or lead != v_lead or (Hkv, Tk) != (v_H, v_T) or k_D != D or D == 0:
        raise ValueError(
            "keys and values share their texts, heads and times, keys and queries their texts and width; got queries "
            f"of shape {shapes[0]}, keys of {shapes[1]} and values of {shapes[2]}"
        )
    if Hkv == 0 or H == 0 or H % Hkv:
        raise ValueError(
            f"the query heads are shared out evenly among the key heads, but {H} is no multiple of {Hkv}: choose a "
            "number of key heads that divides the number of heads"
        )
    if Tk == 0 and Tq > 0:
        raise ValueError("there are queries but no keys, and a weighted mean of nothing does not exist")
    distances = max(Tq + Tk - 1, 0)
    if bias is not None and np.shape(value_of(bias)) != (H, distances):
        raise ValueError(
            f"a bias has a number for each head and distance, so the shape {(H, distances)} for {H} heads, {Tq} "
            f"queries and {Tk} keys; got {np.shape(value_of(bias))}"
        )
    return tuple(lead), H, Tq, Tk, D


def _checked_positions(key_positions: Any, n_keys: int) -> np.ndarray:
    given = np.asarray(key_positions)
    if given.dtype.kind in "iu" and given.shape == (n_keys,):
        positions = given.astype(np.int64)
        if (np.diff(positions) > 0).all() and (positions >= 0).all():
            return positions
    raise ValueError(
        f"key_positions are rising integers from 0 on, one for each of {n_keys} keys; got {given.dtype} of shape "
        f"{given.shape}: {given!r:.60}"
    )


# --- the reference


def composed(q: Any, k: Any, v: Any, *bias: Any, dropout: float, seed: int, **settings: Any) -> Any:
    """(E1) to (E3), and dropout, of arrays with an axis of heads."""
    settings.pop("keep", None)
    P = _weights(q, k, *bias, dropout=dropout, seed=seed, **settings)
    if dropout:
        problem = Problem.of(*map(value_of, (q, k, v, *bias)), dropout=dropout, seed=seed, **settings)
        B, Hkv, _, Tq, _ = problem.q.shape
        Tk = problem.k.shape[2]
        everything = Strip(0, Tq, [Run(0, Tk, 0)], Tk, [])
        survives = kept(problem, Heads(slice(0, B), slice(0, Hkv)), everything)
        P = P * (survives.reshape(np.shape(P)) / (1 - dropout)).astype(value_of(P).dtype)
    Y = P @ v[..., None, :, :]  # ... Hkv G Tq Dv
    return Y.reshape((*np.shape(q)[:-1], np.shape(v)[-1]))


def _weights(
    q: Any,
    k: Any,
    *bias: Any,
    scale: float,
    mask: Mask | None,
    start: int,
    key_positions: np.ndarray | None,
    dropout: float,
    seed: int,
) -> Any:
    """(E1) and (E2), of shape (..., Hkv, G, Tq, Tk)."""
    *lead, H, Tq, D = np.shape(q)
    Hkv, Tk = np.shape(k)[-3:-1]
    grouped = (*lead, Hkv, H // Hkv, Tq)
    S = (q.reshape((*grouped, D)) * scale) @ k.swapaxes(-1, -2)[..., None, :, :]
    i, j = np.arange(Tq)[:, None], np.arange(Tk)[None, :]
    if bias:
        S = S + bias[0][:, j - i + Tq - 1].reshape((Hkv, H // Hkv, Tq, Tk))
    if mask is not None:
        allowed = mask.allowed(i + start, j if key_positions is None else key_positions[j])
        forbidden = ~np.broadcast_to(allowed, (*lead, H, Tq, Tk))
        if forbidden.all(-1).any():
            *index, _, row = np.argwhere(forbidden.all(-1))[0].tolist()
            raise sees_nothing((int(np.ravel_multi_index(index, lead)) if lead else 0, row), start, tuple(lead))
        S = where(forbidden.reshape((*grouped, Tk)), -np.inf, S)
    return softmax(S, axis=-1)


# --- the kernels


class Kept(NamedTuple):
    """What the derivatives need of one strip of some heads."""

    E: np.ndarray
    """Weights without the division (B, Hkv, G r, width)."""
    survives: np.ndarray | None
    """Which of them dropout left."""


class Saved(NamedTuple):
    """What the derivatives need of the forward step."""

    problem: Problem
    parts: list[Heads]
    strips: Sequence[Strip]
    kept: list[list[Kept]]
    totals: np.ndarray
    """The sum of each row of E, (B, Hkv, G, Tq, 1)."""


def _forward(q: np.ndarray, k: np.ndarray, v: np.ndarray, *bias: np.ndarray, keep: bool, **settings: Any) -> Any:
    problem = Problem.of(q, k, v, *bias, **settings)
    B, Hkv, G, Tq, _ = problem.q.shape
    Tk, Dv = problem.v.shape[2:]
    out, Y = new_like(q, (*q.shape[:-1], Dv), (B, Hkv, G, Tq, Dv))
    totals = np.empty((B, Hkv, G, Tq, 1), q.dtype)
    cut = problem.strips(_rows(G, Tk))
    worthwhile = problem.work > WORTHWHILE
    parts = rectangles(B, Hkv, max((G * (s.stop - s.first) * s.width for s in cut), default=1), worthwhile)

    def work(heads: Heads) -> list[Kept]:
        found = []
        for strip in cut:
            E, l, survives = _exponentials(problem, heads, strip)
            y = times(E if survives is None else E * survives, problem.v[*heads], strip)
            l = by_heads(l, G)
            totals[*heads, :, strip.rows] = l
            np.divide(y.reshape(*l.shape[:-1], Dv), l, out=Y[*heads, :, strip.rows])
            if keep:
                found.append(Kept(E, survives))
        return found

    found = each(work, parts, worthwhile)
    if problem.dropout:
        out *= out.dtype.type(1 / (1 - problem.dropout))
    return out, Saved(problem, parts, cut, found, totals)


def _exponentials(problem: Problem, heads: Heads, strip: Strip) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """
    exp(S - c) with a number c for each row, its sum over the row, and what dropout leaves.

    c is zero if that does no harm (E10), else the largest score of the row.
    """
    S = scores(problem, heads, strip)
    cells = by_heads(S, problem.q.shape[2])
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        np.exp(S, out=S)
        clear(problem, heads, strip, cells)
        l = np.add.reduce(S, axis=-1, keepdims=True)
    if not (l.min(initial=1.0) >= 1 / MODERATE and l.max(initial=1.0) <= MODERATE):  # NaN too
        S = scores(problem, heads, strip)
        cells = S.reshape(cells.shape)
        forbid(problem, heads, strip, cells)
        c = S.max(axis=-1, keepdims=True, initial=-np.inf)
        if (blind := np.isneginf(c)).any():
            refuse_blind(problem, heads, strip, blind.reshape(cells.shape[:-1]))
        with np.errstate(invalid="ignore"):  # a row of minus infinities, which is not a number
            S -= c
        np.exp(S, out=S)
        l = np.add.reduce(S, axis=-1, keepdims=True)
    survives = None
    if problem.dropout:
        survives = kept(problem, heads, strip).reshape(S.shape)
    return S, l, survives


def _backward(g: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Saved, **settings: Any) -> Any:
    problem, parts, cut, found, totals = saved
    q, k, v, *_ = operands
    B, Hkv, G, Tq, _ = problem.q.shape
    Dv = problem.v.shape[3]
    (dq, dQ), (dk, dK), (dv, dV) = problem.gradients(q, k, v)
    dk[...] = dv[...] = 0
    g5, y5 = (x.reshape(B, Hkv, G, Tq, Dv) for x in (g, out))
    scale, enlarge = q.dtype.type(problem.scale), q.dtype.type(1 / (1 - problem.dropout))

    def work(job: tuple[Heads, list[Kept]]) -> np.ndarray | None:
        heads, pieces = job
        db = new_bias_gradient(problem, heads)
        for strip, (E, survives) in zip(cut, pieces, strict=True):
            at = (*heads, slice(None), strip.rows)
            gl = stacked(g5[at], 1 / totals[at])  # forward: Y = E V / l
            delta = np.einsum("...d,...d->...", gl, stacked(y5[at]))[..., None]  # (E6) over l
            if survives is not None:
                gl *= enlarge
            weights = E if survives is None else E * survives
            Z = against(gl, problem.v[*heads], strip)  # forward: Y = P V, so dP = g V^T (E5)
            if survives is not None:
                Z *= survives
            Z -= delta
            Z *= E  # (E7)
            scaled = stacked(problem.q[at], scale)
            for run in strip.runs:
                dV[*heads][:, :, run.keys] += weights[..., run.columns].swapaxes(-1, -2) @ gl  # (E4)
                dK[*heads][:, :, run.keys] += Z[..., run.columns].swapaxes(-1, -2) @ scaled  # forward: S = Q K^T scale
            dq_strip = times(Z, problem.k[*heads], strip).reshape(dQ[at].shape)
            np.multiply(dq_strip, scale, out=dQ[at])  # (E8)
            if db is not None:
                bias_gradient(db, Tq, strip, by_heads(Z, G).sum(axis=0))
        return db

    sums = each(work, list(zip(parts, found, strict=True)), problem.work > WORTHWHILE)
    if problem.bias is None:
        return dq, dk, dv
    return dq, dk, dv, whole_bias_gradient(problem, parts, sums)


def _tangent(i: int, t: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Saved, **settings: Any) -> Any:
    """The tangent of the output if operand `i` moves along `t` (E9)."""
    problem, parts, cut, found, totals = saved
    B, Hkv, G, Tq, _ = problem.q.shape
    dy, dY = new_like(out, out.shape, (B, Hkv, G, Tq, out.shape[-1]))
    Y = out.reshape(dY.shape)
    moved = problem.along(i, t)
    scale, enlarge = out.dtype.type(problem.scale), out.dtype.type(1 / (1 - problem.dropout))

    def work(job: tuple[Heads, list[Kept]]) -> None:
        heads, pieces = job
        for strip, (E, survives) in zip(cut, pieces, strict=True):
            at = (*heads, slice(None), strip.rows)
            l = totals[at]
            W = E
            if i == 3 and moved.bias is not None:
                W = np.zeros_like(E)
                add_bias(moved.bias[heads.heads], Tq, strip, by_heads(W, G))
                W *= E
            elif i != 2:
                W = against(stacked(moved.q[at], scale), moved.k[*heads], strip)
                W *= E
            mean = None if i == 2 else W.sum(axis=-1).reshape(l.shape) / l
            if survives is not None:
                W = W * survives
            dy_strip = times(W, moved.v[*heads], strip).reshape(dY[at].shape)
            dY[at] = dy_strip * (enlarge / l) if mean is None else dy_strip * (enlarge / l) - mean * Y[at]

    each(work, list(zip(parts, found, strict=True)), problem.work > WORTHWHILE)
    return dy


def _rows(G: int, Tk: int) -> int:
    """How many queries of a head make a strip."""
    return max(1, (64 if Tk <= 512 else 128) // G)


_tangents = tuple(partial(_tangent, i) for i in range(4))
_fused = operation("attention.scaled_dot", _forward, _backward, _tangents[:3], composed, fresh=True)
_fused_biased = operation("attention.scaled_dot_biased", _forward, _backward, _tangents, composed, fresh=True)
