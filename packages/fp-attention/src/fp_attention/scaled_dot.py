r"""
Attention, forward and backward, as one operation.
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
    bias_gradient,
    forbid,
    kept,
    rectangles,
    stacked,
)
from fp_attention.masks import Causal as Causal
from fp_attention.masks import Mask, as_mask
from fp_autograd.extend import operation
from fp_autograd.rules import softmax, where
from fp_autograd.tensor import moves
from fp_autograd.tracing import Operand, value_of

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
        With which probability a weight is dropped, at least 0 and below 1; those kept are divided by $1 - $ it.
    rng
        Draws which; needed if some are dropped.
    start
        The position of the first query. By default the last query stands beside the last key, `Tk - Tq`, if there are
        no more queries than keys, as when earlier keys come from a cache; else 0.
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
    shapes = [np.shape(value_of(x)) for x in (q, k, v)]
    kinds = {np.result_type(value_of(x)) for x in ((q, k, v) if bias is None else (q, k, v, bias))}
    if len(kinds) > 1 or kinds - {np.dtype(np.float32), np.dtype(np.float64)}:
        raise TypeError(
            "queries, keys, values and biases are all float32 or all float64, got "
            f"{' and '.join(sorted(map(str, kinds)))}: convert them with .astype"
        )
    if any(len(shape) < 2 for shape in shapes) or len({len(shape) for shape in shapes}) > 1:
        raise ValueError(
            "queries, keys and values have the shapes (..., heads, time, width), with as many axes each; got "
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    if len(shapes[0]) == 2:
        q, k, v = (x[None] for x in (q, k, v))
        shapes = [(1, *shape) for shape in shapes]
    (*lead, H, Tq, D), (*k_lead, Hkv, Tk, k_D), (*v_lead, v_H, v_T, Dv) = shapes
    if lead != k_lead or lead != v_lead or (Hkv, Tk) != (v_H, v_T) or D != k_D or D == 0:
        raise ValueError(
            "keys and values share their texts, heads and times, keys and queries their texts and width; got queries "
            f"of shape {tuple(shapes[0])}, keys of {tuple(shapes[1])} and values of {tuple(shapes[2])}"
        )
    if Hkv == 0 or H % Hkv:
        raise ValueError(
            f"the query heads are shared out evenly among the key heads, but {H} is no multiple of {Hkv}: choose a "
            "number of key heads that divides the number of heads"
        )
    if Tk == 0 and Tq > 0:
        raise ValueError("there are queries but no keys, and a weighted mean of nothing does not exist")
    if bias is not None and np.shape(value_of(bias)) != (H, Tq + Tk - 1):
        raise ValueError(
            f"a bias has a number for each head and distance, so the shape {(H, Tq + Tk - 1)} for {H} heads, {Tq} "
            f"queries and {Tk} keys; got {np.shape(value_of(bias))}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is the probability of dropping a weight and lies in [0, 1), got {dropout}")
    if dropout and rng is None:
        raise ValueError("dropout needs a source of randomness: pass rng=np.random.default_rng(seed)")
    rule = as_mask(mask)
    first = max(Tk - Tq, 0) if start is None else operator.index(start)
    if key_positions is not None:
        key_positions = np.asarray(key_positions)
        if key_positions.dtype.kind not in "iu" or key_positions.shape != (Tk,) or (np.diff(key_positions) <= 0).any():
            raise ValueError(
                f"key_positions are rising integers, one for each of {Tk} keys; got {key_positions.dtype} of shape "
                f"{key_positions.shape}"
            )
    if rule is not None:
        n_keys = Tk if key_positions is None or Tk == 0 else int(key_positions[-1]) + 1
        rule.check(tuple(lead), Tq, n_keys, n_heads=H, start=start)
    settings = {
        "mask": rule,
        "scale": 1 / math.sqrt(D) if scale is None else float(scale),
        "start": first,
        "key_positions": key_positions,
        "dropout": float(dropout),
        "seed": int(rng.integers(2**63)) if dropout and rng is not None else 0,
    }
    return ((q, k, v) if bias is None else (q, k, v, bias)), settings


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
        forbidden = ~np.broadcast_to(allowed, (*(allowed.shape[:-3] or (1,) * len(lead)), *_heads(allowed, H), Tq, Tk))
        if forbidden.all(-1).any():
            raise sees_nothing(np.argwhere(forbidden.all(-1))[0], start)
        S = where(forbidden.reshape((*forbidden.shape[: len(lead)], *grouped[len(lead) :], Tk)), -np.inf, S)
    return softmax(S, axis=-1)


def _heads(allowed: np.ndarray, H: int) -> tuple[int, ...]:
    return (H,)


def sees_nothing(index: Any, start: int) -> ValueError:
    *_, i = (int(n) for n in index)
    where_ = f"row {i} (position {start + i})" + (f" of text {int(index[0])}" if len(index) > 2 else "")
    return ValueError(
        f"the query in {where_} may look at no key, and a mean of nothing does not exist: allow at least one key in "
        "each row. For queries that are padding themselves, `mask | Itself()` lets them see themselves"
    )


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
    B, Hkv, G, Tq, D = problem.q.shape
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
            y = _times_values(E if survives is None else E * survives, problem, heads, strip)
            l = l.reshape(*y.shape[:2], G, -1, 1)
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

    c is zero if that does no harm (E9), else the largest score of the row.
    """
    S = scores(problem, heads, strip)
    cells = S.reshape(*S.shape[:2], problem.q.shape[2], -1, S.shape[-1])
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        np.exp(S, out=S)
        forbid(problem, strip, cells, heads.texts, 0)
        l = np.add.reduce(S, axis=-1, keepdims=True)
    if not (l.min(initial=1.0) >= 1 / MODERATE and l.max(initial=1.0) <= MODERATE):  # NaN too
        S = scores(problem, heads, strip)
        cells = S.reshape(cells.shape)
        forbid(problem, strip, cells, heads.texts, -np.inf)
        c = S.max(axis=-1, keepdims=True, initial=-np.inf)
        if np.isneginf(c).any():
            b, _, _, i = np.argwhere(np.isneginf(c.reshape(cells.shape[:-1])))[0]
            index = (heads.texts.start + b, 0, strip.first + i) if problem.q.shape[0] > 1 else (strip.first + i,)
            raise sees_nothing(index, problem.start)
        S -= c
        np.exp(S, out=S)
        l = np.add.reduce(S, axis=-1, keepdims=True)
    survives = None
    if problem.dropout:
        survives = kept(problem, heads, strip).reshape(S.shape)
    return S, l, survives


def scores(problem: Problem, heads: Heads, strip: Strip) -> np.ndarray:
    """(E1) of a strip, (B, Hkv, G r, width)."""
    scaled = stacked(problem.q[*heads, :, strip.rows], problem.q.dtype.type(problem.scale))
    S = against(scaled, problem.k[*heads], strip)
    if problem.bias is not None:
        cells = S.reshape(*S.shape[:2], problem.q.shape[2], -1, S.shape[-1])
        add_bias(problem.bias[heads.heads], problem.q.shape[3], strip, cells)
    return S


def against(x: np.ndarray, keys: np.ndarray, strip: Strip) -> np.ndarray:
    """x K^T for the keys of a strip."""
    if len(strip.runs) == 1:
        out: np.ndarray = x @ keys[:, :, strip.runs[0].keys].swapaxes(-1, -2)
        return out
    out = np.empty((*x.shape[:-1], strip.width), x.dtype)
    for run in strip.runs:
        out[..., run.columns] = x @ keys[:, :, run.keys].swapaxes(-1, -2)
    return out


def times(P: np.ndarray, rows: np.ndarray, strip: Strip) -> np.ndarray:
    """P V for the values (or keys) of a strip."""
    if not strip.runs:
        return np.zeros((*P.shape[:-1], rows.shape[-1]), P.dtype)
    first, *others = strip.runs
    out: np.ndarray = (P if not others else P[..., first.columns]) @ rows[:, :, first.keys]
    for run in others:
        out += P[..., run.columns] @ rows[:, :, run.keys]
    return out


def _times_values(P: np.ndarray, problem: Problem, heads: Heads, strip: Strip) -> np.ndarray:
    return times(P, problem.v[*heads], strip)


def _backward(g: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Saved, **settings: Any) -> Any:
    problem, parts, cut, found, totals = saved
    q, k, v, *_ = operands
    B, Hkv, G, Tq, D = problem.q.shape
    Tk, Dv = problem.v.shape[2:]
    (dq, dQ), (dk, dK), (dv, dV) = (
        new_like(x, x.shape, part.shape) for x, part in ((q, problem.q), (k, problem.k), (v, problem.v))
    )
    dk[...] = dv[...] = 0
    g5, y5 = g.reshape(B, Hkv, G, Tq, Dv), out.reshape(B, Hkv, G, Tq, Dv)
    scale, enlarge = q.dtype.type(problem.scale), q.dtype.type(1 / (1 - problem.dropout))

    def work(job: tuple[Heads, list[Kept]]) -> np.ndarray | None:
        heads, pieces = job
        db = None if problem.bias is None else np.zeros((len(dK[*heads][0]), *problem.bias.shape[1:]), q.dtype)
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
                bias_gradient(db, Tq, strip, Z.reshape(*Z.shape[:2], G, -1, Z.shape[-1]).sum(axis=0))
        return db

    partial_sums = each(work, list(zip(parts, found, strict=True)), problem.work > WORTHWHILE)
    if problem.bias is None:
        return dq, dk, dv
    db = np.zeros(problem.bias.shape, q.dtype)
    for heads, part in zip(parts, partial_sums, strict=True):
        db[heads.heads] += part
    return dq, dk, dv, db.reshape(-1, db.shape[-1])


def _tangent(i: int, t: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Saved, **settings: Any) -> Any:
    """The tangent of the output if operand `i` moves along `t` (E10)."""
    problem, parts, cut, found, totals = saved
    B, Hkv, G, Tq, D = problem.q.shape
    dy, dY = new_like(out, out.shape, (B, Hkv, G, Tq, out.shape[-1]))
    Y = out.reshape(dY.shape)
    moved = problem.q if i != 0 else t.reshape(problem.q.shape)
    keys = problem.k if i != 1 else t.reshape(problem.k.shape)
    values = problem.v if i != 2 else t.reshape(problem.v.shape)
    slopes = None if i != 3 else np.ascontiguousarray(t).reshape(problem.bias.shape)  # type: ignore[union-attr]
    scale, enlarge = out.dtype.type(problem.scale), out.dtype.type(1 / (1 - problem.dropout))

    def work(job: tuple[Heads, list[Kept]]) -> None:
        heads, pieces = job
        for strip, (E, survives) in zip(cut, pieces, strict=True):
            at = (*heads, slice(None), strip.rows)
            l = totals[at]
            W = E
            if slopes is not None:
                W = np.zeros_like(E)
                add_bias(slopes[heads.heads], Tq, strip, W.reshape(*W.shape[:2], G, -1, W.shape[-1]))
                W *= E
            elif i != 2:
                W = against(stacked(moved[at], scale), keys[*heads], strip)
                W *= E
            mean = None if i == 2 else W.sum(axis=-1).reshape(l.shape) / l
            if survives is not None:
                W = W * survives
            dy_strip = times(W, values[*heads], strip).reshape(dY[at].shape)
            dY[at] = dy_strip * (enlarge / l) if mean is None else dy_strip * (enlarge / l) - mean * Y[at]

    each(work, list(zip(parts, found, strict=True)), problem.work > WORTHWHILE)
    return dy


def new_like(like: np.ndarray, shape: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """New memory, laid out as `like` is, and the same memory in the shape of the kernels."""
    for order in ("K", "C"):  # not every layout has such a view
        out = np.empty_like(like, order=order, shape=shape)
        view = out.reshape(kernel)
        if out.size == 0 or np.may_share_memory(out, view):
            break
    return out, view


def _rows(G: int, Tk: int) -> int:
    """How many queries of a head make a strip."""
    return max(1, (64 if Tk <= 512 else 128) // G)


_tangents = tuple(partial(_tangent, i) for i in range(4))
_fused = operation("attention.scaled_dot", _forward, _backward, _tangents[:3], composed, fresh=True)
_fused_biased = operation("attention.scaled_dot_biased", _forward, _backward, _tangents, composed, fresh=True)
