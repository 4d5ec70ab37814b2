r"""
Attention in memory that grows with the length, not with its square.

For a text of $T = 16{,}384$ tokens the table of weights has 268 million entries, for every head: a gigabyte in single
precision, and training keeps all of them until the gradient has passed. The inputs and the output are $256$ times
smaller if $D = 64$. Can attention, and its gradient, be had without ever holding the table?

You need: `fp_attention.softmax`, `fp_attention.scaled_dot`, whose letters and equations are used here.

## Forward, tile by tile

Cut the table of scores into tiles of $r$ rows and $c$ columns. For the rows of one strip go over its tiles from left to
right. Each is a block of scores in the sense of `fp_attention.softmax`, with the rows of $V$ as values, and after the
last tile the running numbers $m_i$, $l_i$ and $a_i$ give the output of row $i$ and one number more,

$$Y_i = \frac{a_i}{l_i}, \qquad L_i = m_i + \ln l_i = \ln \sum_j [M_{ij}]\, e^{S_{ij}}. \qquad \text{(E1)}$$

**Claim** `attention.tiled-forward`. In exact arithmetic $Y$ is the output of attention, for every mask under which each
query sees a key, every $r$ and every $c$.

**Proof.** Row $i$ of the output is the mean of the $V_j$ with weights that are the softmax of the $S_{ij}$ with
$M_{ij}$ true. Those are the scores that its tiles contain, each once, a forbidden one counting as $-\infty$, that is
with the term $0$ in every sum. Tiles without an allowed pair in row $i$ change nothing (`attention.merge`, for the
empty set), and over the others `attention.online-softmax` says that (E1) is that mean and that log-sum-exp.
$\blacksquare$

## Backward, tile by tile

**Claim** `attention.tiled-backward`. From $Q$, $K$, $V$, $Y$, $L$ and the cotangent $g$ the gradients are sums over
tiles: with (E6) for $\delta$, a tile with the rows $I$ and columns $J$ contributes

$$
P_{IJ} = [M_{IJ}]\, e^{S_{IJ} - L_I}, \qquad Z_{IJ} = P_{IJ} \odot (g_I V_J^\top - \delta_I), \qquad \text{(E2)}
$$

$$
\bar V_J \mathrel{+}= P_{IJ}^\top g_I, \qquad \bar Q_I \mathrel{+}= \alpha\, Z_{IJ} K_J, \qquad
\bar K_J \mathrel{+}= \alpha\, Z_{IJ}^\top Q_I, \qquad \text{(E3)}
$$

and nothing that belongs to another tile is needed for it.

**Proof.** $e^{S_{ij} - L_i} = e^{S_{ij}} / \sum_m [M_{im}]\, e^{S_{im}}$ is the weight $P_{ij}$ for an allowed pair.
(E2) is then (E5) and (E7) of `attention.backward` for the pairs of the tile: $A_{ij} = g_i \cdot V_j$ takes one row of
each, and $\delta_i = g_i \cdot Y_i$, which was a sum over the whole row when it came out of the softmax, takes the
output alone. In (E4) and (E8) there each entry of a gradient is a sum over $i$ or over $j$ of terms that belong to one
pair each; (E3) sorts them by tiles. $\blacksquare$

The identity $\sum_j P_{ij} A_{ij} = g_i \cdot Y_i$ is what makes it possible, and (E1)'s number $L_i$ is what makes it
cheap: without it a tile would not know by what to divide.

**Claim** `attention.tiled-memory`. Let a thread work on $w$ pairs of a text and a head at once. Beside inputs, outputs,
gradients and masks it holds, forward and backward, at most $6\, w\, r c + O \big( w\, (r + c)\, (D + D_v) \big)$
numbers at a time; between the two there is one number for each query of each head, $L_i$, and a description of each
tile.

**Proof.** Forward, a tile of scores turns into a tile of exponentials in place; its product with $V_J$ has $r D_v$
entries, and so has $a$; $m$ and $l$ are $r$ numbers each. With dropout there is a table of what survives. Backward
$P_{IJ}$ and $Z_{IJ}$ are two tiles, with dropout what survives and what it leaves of $P_{IJ}$ two more, and for a bias
the rows of $Z_{IJ}$ are written out once more, slid against each other, in twice the columns at most. The products have
$r$ or $c$ rows of $D$ or $D_v$ entries. All of a tile is given up before the next. $\blacksquare$

A description is a few numbers for each tile, $T_q T_k / (r c)$ of them: for $16{,}384$ tokens and a causal mask about
two thousand. A mask that says by positions who may look at whom needs a bool for each pair in tiles that are neither
wholly allowed nor wholly forbidden; equal pieces are kept once, which leaves a causal mask and a window with a few.

The price is one product more. Backward computes the scores and their exponentials again: seven products of $T_q T_k D$
multiplications instead of six. On the processors that it was invented for it is *faster*, since they compute more
quickly than they read; here the kernel that keeps the weights is, as long as they fit (the README has both).

>>> rng = np.random.default_rng(0)
>>> q, k, v, g = (rng.normal(size=(2, 300, 5)) for _ in range(4))
>>> from fp_attention import Causal, scaled_dot_product_attention
>>> from fp_autograd.functional import vjp
>>> slow, fast = (
...     vjp(lambda *x: attention(*x, mask=Causal()), q, k, v)
...     for attention in (scaled_dot_product_attention, tiled_attention)
... )
>>> bool(np.allclose(slow[0], fast[0], atol=1e-14))
True
>>> all(np.allclose(a, b, atol=1e-13) for a, b in zip(slow[1](g), fast[1](g)))
True

## In practice

This is FlashAttention (T. Dao et al., 2022, 2023), in its second form: rows outside, columns inside, divided once at
the end. On graphics processors a tile lives in the fast memory of one multiprocessor; here $r$ and $c$ are what a
core's cache holds. Derivatives of higher order come from `reference_attention` and hold the whole table. For lengths at
which even the time of order $T^2$ is too much there are windows (`fp_attention.windows`), and attention with feature
maps in place of the exponential, which sums up all earlier keys in one matrix (A. Katharopoulos et al., 2020).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fp_attention._parallel import each
from fp_attention._strips import (
    Heads,
    Problem,
    Strip,
    add_bias,
    against,
    bias_gradient,
    blocks,
    by_heads,
    forbid,
    kept,
    new_bias_gradient,
    new_like,
    rectangles,
    refuse_blind,
    scores,
    stacked,
    times,
    whole_bias_gradient,
)
from fp_attention.masks import Mask
from fp_attention.scaled_dot import WORTHWHILE, Real, composed, prepared
from fp_autograd.extend import operation
from fp_autograd.tracing import Operand

__all__ = ["tiled_attention"]

ROWS = 128
"""r, for all query heads of a key head together."""
COLUMNS = 512
"""c."""


def tiled_attention(
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
    `scaled_dot_product_attention`, by (E1) to (E3): the same numbers up to rounding, and no table.

    Its derivatives of first order, in both modes, are computed without a table too; those of higher order are not.

    Parameters
    ----------
    q, k, v, mask, bias, scale, dropout, rng, start, key_positions
        As there; the same `rng` drops the same weights.

    Returns
    -------
    ndarray or Box
        Of shape `(..., H, Tq, Dv)`.

    Raises
    ------
    ValueError, TypeError
        As there.

    Examples
    --------
    >>> q = np.zeros((2, 1))
    >>> tiled_attention(q, q, np.array([[1.0], [3.0]]))
    array([[2.],
           [2.]])
    """
    operands, settings = prepared(q, k, v, mask, bias, scale, dropout, rng, start, key_positions)
    out = (_tiled if bias is None else _tiled_biased)(*operands, **settings)
    return out if np.ndim(q) > 2 else out[0]


class Saved(NamedTuple):
    """What the derivatives need of the forward step: a number a row, and how the table was cut."""

    problem: Problem
    parts: list[Heads]
    cut: Sequence[Sequence[Strip]]
    logsums: np.ndarray
    """(B, Hkv, G, Tq, 1)"""


def _forward(q: np.ndarray, k: np.ndarray, v: np.ndarray, *bias: np.ndarray, **settings: Any) -> Any:
    problem = Problem.of(q, k, v, *bias, **settings)
    B, Hkv, G, Tq, _ = problem.q.shape
    Tk, Dv = problem.v.shape[2:]
    out, Y = new_like(q, (*q.shape[:-1], Dv), (B, Hkv, G, Tq, Dv))
    logsums = np.empty((B, Hkv, G, Tq, 1), q.dtype)
    rows = max(1, ROWS // G)
    strips = problem.strips(rows)
    cut = [blocks(strip, COLUMNS) for strip in strips]
    worthwhile = problem.work > WORTHWHILE
    parts = rectangles(B, Hkv, G * min(rows, Tq) * min(COLUMNS, Tk), worthwhile)

    def work(heads: Heads) -> None:
        for strip, tiles in zip(strips, cut, strict=True):
            at = (*heads, slice(None), strip.rows)
            shape = logsums[at].shape
            stack = (*shape[:2], shape[2] * shape[3])
            c, l = np.full((*stack, 1), -np.inf, q.dtype), np.zeros((*stack, 1), q.dtype)
            y = np.zeros((*stack, Dv), q.dtype)
            for tile in tiles:
                S = scores(problem, heads, tile)
                forbid(problem, heads, tile, by_heads(S, G))
                higher = np.maximum(c, S.max(axis=-1, keepdims=True))
                finite = np.where(np.isneginf(higher), S.dtype.type(0), higher)  # no key so far
                S -= finite
                np.exp(S, out=S)
                shrink = np.exp(c - finite)
                l = l * shrink + np.add.reduce(S, axis=-1, keepdims=True)
                if problem.dropout:
                    S *= kept(problem, heads, tile).reshape(S.shape)
                y *= shrink
                y += times(S, problem.v[*heads], tile)
                c = higher
                del S  # before the next tile's are made
            if (blind := np.isneginf(c)).any():
                refuse_blind(problem, heads, strip, blind.reshape(shape[:-1]))
                l[blind] = np.nan
            logsums[at] = (c + np.log(l)).reshape(shape)
            np.divide(y.reshape(Y[at].shape), l.reshape(shape), out=Y[at])

    each(work, parts, worthwhile)
    if problem.dropout:
        out *= out.dtype.type(1 / (1 - problem.dropout))
    return out, Saved(problem, parts, cut, logsums)


def _weights(saved: Saved, heads: Heads, tile: Strip) -> np.ndarray:
    """P of a tile, computed anew."""
    problem = saved.problem
    P = scores(problem, heads, tile)
    cells = by_heads(P, problem.q.shape[2])
    cells -= saved.logsums[*heads, :, tile.rows]
    forbid(problem, heads, tile, cells)
    np.exp(P, out=P)
    return P


def _backward(g: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Saved, **settings: Any) -> Any:
    problem = saved.problem
    q, k, v, *_ = operands
    B, Hkv, G, Tq, _ = problem.q.shape
    (dq, dQ), (dk, dK), (dv, dV) = problem.gradients(q, k, v)
    dk[...] = dv[...] = 0
    g5, y5 = (x.reshape(B, Hkv, G, Tq, x.shape[-1]) for x in (g, out))
    scale, enlarge = q.dtype.type(problem.scale), q.dtype.type(1 / (1 - problem.dropout))

    def work(heads: Heads) -> np.ndarray | None:
        db = new_bias_gradient(problem, heads)
        for tiles in saved.cut:
            at = (*heads, slice(None), tiles[0].rows)
            gs, scaled = stacked(g5[at]), stacked(problem.q[at], scale)
            delta = np.einsum("...d,...d->...", gs, stacked(y5[at]))[..., None]
            gs *= enlarge
            dq_strip = np.zeros_like(scaled)
            for tile in tiles:
                (keys,) = (run.keys for run in tile.runs)
                P = _weights(saved, heads, tile)
                Z = against(gs, problem.v[*heads], tile)
                W = P
                if problem.dropout:
                    survives = kept(problem, heads, tile).reshape(P.shape)
                    W = P * survives
                    Z *= survives
                Z -= delta
                Z *= P
                dV[*heads][:, :, keys] += W.swapaxes(-1, -2) @ gs
                dK[*heads][:, :, keys] += Z.swapaxes(-1, -2) @ scaled
                dq_strip += times(Z, problem.k[*heads], tile)
                if db is not None:
                    bias_gradient(db, Tq, tile, by_heads(Z, G).sum(axis=0))
                del P, Z, W  # before the next tile's are made
            np.multiply(dq_strip.reshape(dQ[at].shape), scale, out=dQ[at])
        return db

    sums = each(work, saved.parts, problem.work > WORTHWHILE)
    if problem.bias is None:
        return dq, dk, dv
    return dq, dk, dv, whole_bias_gradient(problem, saved.parts, sums)


def _tangent(i: int, t: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Saved, **settings: Any) -> Any:
    problem = saved.problem
    B, Hkv, G, Tq, _ = problem.q.shape
    dy, dY = new_like(out, out.shape, (B, Hkv, G, Tq, out.shape[-1]))
    Y = out.reshape(dY.shape)
    moved = problem.along(i, t)
    scale, enlarge = out.dtype.type(problem.scale), out.dtype.type(1 / (1 - problem.dropout))

    def work(heads: Heads) -> None:
        for tiles in saved.cut:
            at = (*heads, slice(None), tiles[0].rows)
            scaled = stacked(moved.q[at], scale)
            total, mean = np.zeros(dY[at].shape, out.dtype), np.zeros((*dY[at].shape[:-1], 1), out.dtype)
            for tile in tiles:
                W = _weights(saved, heads, tile)
                if i == 3 and moved.bias is not None:
                    rise = np.zeros_like(W)
                    add_bias(moved.bias[heads.heads], Tq, tile, by_heads(rise, G))
                    W *= rise
                elif i != 2:
                    W *= against(scaled, moved.k[*heads], tile)
                if i != 2:
                    mean += W.sum(axis=-1).reshape(mean.shape)
                if problem.dropout:
                    W *= kept(problem, heads, tile).reshape(W.shape)
                total += times(W, moved.v[*heads], tile).reshape(total.shape)
            total *= enlarge
            dY[at] = total - mean * Y[at]

    each(work, saved.parts, problem.work > WORTHWHILE)
    return dy


_tangents = tuple(partial(_tangent, i) for i in range(4))
_tiled = operation("attention.tiled", _forward, _backward, _tangents[:3], composed, fresh=True)
_tiled_biased = operation("attention.tiled_biased", _forward, _backward, _tangents, composed, fresh=True)
