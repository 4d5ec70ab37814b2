r"""
Attention in memory that grows with the length, not with its square.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fp_attention._parallel import each
from fp_attention._strips import Heads, Problem, Strip, add_bias, bias_gradient, blocks, forbid, kept, rectangles, stacked
from fp_attention.masks import Mask
from fp_attention.scaled_dot import WORTHWHILE, Real, against, composed, new_like, prepared, scores, sees_nothing, times
from fp_autograd.extend import operation
from fp_autograd.tracing import Operand

__all__ = ["tiled_attention"]

ROWS = 128
COLUMNS = 512


class Saved(NamedTuple):
    """What the derivatives need of the forward step: a number a row, and how the table was cut."""

    problem: Problem
    parts: list[Heads]
    cut: Sequence[Sequence[Strip]]
    logsums: np.ndarray
    """(B, Hkv, G, Tq, 1)"""


def _forward(q: np.ndarray, k: np.ndarray, v: np.ndarray, *bias: np.ndarray, **settings: Any) -> Any:
    problem = Problem.of(q, k, v, *bias, **settings)
    B, Hkv, G, Tq, D = problem.q.shape
    Tk, Dv = problem.v.shape[2:]
    out, Y = new_like(q, (*q.shape[:-1], Dv), (B, Hkv, G, Tq, Dv))
    logsums = np.empty((B, Hkv, G, Tq, 1), q.dtype)
    rows = max(1, ROWS // G)
    cut = [blocks(strip, COLUMNS) for strip in problem.strips(rows)]
    worthwhile = problem.work > WORTHWHILE
    parts = rectangles(B, Hkv, G * min(rows, Tq) * min(COLUMNS, Tk), worthwhile)

    def work(heads: Heads) -> None:
        for strip, tiles in zip(problem.strips(rows), cut, strict=True):
            at = (*heads, slice(None), strip.rows)
            shape = logsums[at].shape
            stack = (*shape[:2], shape[2] * shape[3])
            c, l, y = np.full((*stack, 1), -np.inf, q.dtype), np.zeros((*stack, 1), q.dtype), np.zeros((*stack, Dv), q.dtype)
            for tile in tiles:
                S = scores(problem, heads, tile)
                forbid(problem, tile, S.reshape(*S.shape[:2], G, -1, S.shape[-1]), heads.texts, -np.inf)
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
            if (blind := np.isneginf(c)).any():
                b, _, _, i, _ = np.argwhere(blind.reshape(shape))[0]
                raise sees_nothing((heads.texts.start + b, 0, strip.first + i) if B > 1 else (strip.first + i,), problem.start)
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
    cells = P.reshape(*P.shape[:2], problem.q.shape[2], -1, P.shape[-1])
    cells -= saved.logsums[*heads, :, tile.rows]
    with np.errstate(over="ignore"):  # of what the mask forbids
        np.exp(P, out=P)
    forbid(problem, tile, cells, heads.texts, 0)
    return P


def _backward(g: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Saved, **settings: Any) -> Any:
    problem = saved.problem
    q, k, v, *_ = operands
    B, Hkv, G, Tq, D = problem.q.shape
    (dq, dQ), (dk, dK), (dv, dV) = (
        new_like(x, x.shape, part.shape) for x, part in ((q, problem.q), (k, problem.k), (v, problem.v))
    )
    dk[...] = dv[...] = 0
    g5, y5 = g.reshape(B, Hkv, G, Tq, -1), out.reshape(B, Hkv, G, Tq, -1)
    scale, enlarge = q.dtype.type(problem.scale), q.dtype.type(1 / (1 - problem.dropout))

    def work(heads: Heads) -> np.ndarray | None:
        db = None if problem.bias is None else np.zeros((len(dK[*heads][0]), *problem.bias.shape[1:]), q.dtype)
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
                    bias_gradient(db, Tq, tile, Z.reshape(*Z.shape[:2], G, -1, Z.shape[-1]).sum(axis=0))
            np.multiply(dq_strip.reshape(dQ[at].shape), scale, out=dQ[at])
        return db

    sums = each(work, saved.parts, problem.work > WORTHWHILE)
    if problem.bias is None:
        return dq, dk, dv
    db = np.zeros(problem.bias.shape, q.dtype)
    for heads, part in zip(saved.parts, sums, strict=True):
        db[heads.heads] += part
    return dq, dk, dv, db.reshape(-1, db.shape[-1])


def _tangent(i: int, t: np.ndarray, out: np.ndarray, *operands: np.ndarray, saved: Saved, **settings: Any) -> Any:
    problem = saved.problem
    B, Hkv, G, Tq, D = problem.q.shape
    dy, dY = new_like(out, out.shape, (B, Hkv, G, Tq, out.shape[-1]))
    Y = out.reshape(dY.shape)
    moved = problem.q if i != 0 else t.reshape(problem.q.shape)
    keys = problem.k if i != 1 else t.reshape(problem.k.shape)
    values = problem.v if i != 2 else t.reshape(problem.v.shape)
    slopes = None if i != 3 else np.ascontiguousarray(t).reshape(problem.bias.shape)  # type: ignore[union-attr]
    scale, enlarge = out.dtype.type(problem.scale), out.dtype.type(1 / (1 - problem.dropout))

    def work(heads: Heads) -> None:
        for tiles in saved.cut:
            at = (*heads, slice(None), tiles[0].rows)
            scaled = stacked(moved[at], scale)
            total, mean = np.zeros(dY[at].shape, out.dtype), np.zeros((*dY[at].shape[:-1], 1), out.dtype)
            for tile in tiles:
                W = _weights(saved, heads, tile)
                if slopes is not None:
                    rise = np.zeros_like(W)
                    add_bias(slopes[heads.heads], Tq, tile, rise.reshape(*W.shape[:2], G, -1, W.shape[-1]))
                    W *= rise
                elif i != 2:
                    W *= against(scaled, keys[*heads], tile)
                if i != 2:
                    mean += W.sum(axis=-1).reshape(mean.shape)
                if problem.dropout:
                    W *= kept(problem, heads, tile).reshape(W.shape)
                total += times(W, values[*heads], tile).reshape(total.shape)
            total *= enlarge
            dY[at] = total - mean * Y[at]

    each(work, saved.parts, problem.work > WORTHWHILE)
    return dy


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
    operands, settings = prepared(q, k, v, mask, bias, scale, dropout, rng, start, key_positions)
    out = (_tiled if bias is None else _tiled_biased)(*operands, **settings)
    return out if np.ndim(q) > 2 else out[0]


_tangents = tuple(partial(_tangent, i) for i in range(4))
_tiled = operation("attention.tiled", _forward, _backward, _tangents[:3], composed, fresh=True)
_tiled_biased = operation("attention.tiled_biased", _forward, _backward, _tangents, composed, fresh=True)
