"""
What the two kernels of attention share: the table of scores cut into strips of rows, and what acts on a piece of it.

A strip is some neighbouring queries with the keys that any of them may look at, as few runs of neighbouring keys. Only
where a tile of it is neither wholly allowed nor wholly forbidden has the mask to be looked up. The G query heads that
share a key head are stacked: their rows form one taller matrix, which meets the same keys and values.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from fp_attention._parallel import threads
from fp_attention.masks import Mask

__all__ = [
    "Heads",
    "Problem",
    "Run",
    "Strip",
    "add_bias",
    "against",
    "bias_gradient",
    "blocks",
    "by_heads",
    "clear",
    "forbid",
    "kept",
    "new_bias_gradient",
    "new_like",
    "rectangles",
    "refuse_blind",
    "scores",
    "sees_nothing",
    "stacked",
    "times",
    "whole_bias_gradient",
]


PART = 2**18
"""Scores that a core's cache holds beside what meets them."""
DRAWN = 512
"""Numbers of a row that are drawn together for dropout."""


class Run(NamedTuple):
    """Neighbouring keys `first` to `stop`, which stand in a strip's columns from `at` on."""

    first: int
    stop: int
    at: int
    allowed: np.ndarray | None = None
    """Which of its pairs are allowed, if that was looked up once and for all."""

    @property
    def keys(self) -> slice:
        return slice(self.first, self.stop)

    @property
    def columns(self) -> slice:
        return slice(self.at, self.at + self.stop - self.first)


class Strip(NamedTuple):
    """Queries `first` to `stop`, the keys that any of them meets, and the pieces where the mask has to be looked up."""

    first: int
    stop: int
    runs: Sequence[Run]
    width: int
    partial: Sequence[Run]

    @property
    def rows(self) -> slice:
        return slice(self.first, self.stop)


class Heads(NamedTuple):
    """Some texts and some key heads: what one thread does at a time."""

    texts: slice
    heads: slice


class Problem(NamedTuple):
    """Attention with all its settings, in the shapes that the kernels use."""

    q: np.ndarray
    """B Hkv G Tq D"""
    k: np.ndarray
    """B Hkv Tk D"""
    v: np.ndarray
    """B Hkv Tk Dv"""
    bias: np.ndarray | None
    """Hkv G Tq+Tk-1"""
    scale: float
    mask: Mask | None
    start: int
    key_positions: np.ndarray | None
    dropout: float
    seed: int
    lead: tuple[int, ...]
    """The axes of the texts, as they came."""

    @classmethod
    def of(
        cls,
        q: np.ndarray,
        k: np.ndarray,
        v: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        scale: float,
        mask: Mask | None,
        start: int,
        key_positions: np.ndarray | None,
        dropout: float,
        seed: int,
    ) -> "Problem":
        """From arrays with any leading axes."""
        lead, Hkv = q.shape[:-3], k.shape[-3]
        if q.ndim != 4:
            texts = math.prod(lead)
            q, k, v = (x.reshape(texts, *x.shape[-3:]) for x in (q, k, v))
        B, H, Tq, D = q.shape
        if bias is not None:
            bias = np.ascontiguousarray(bias).reshape(Hkv, H // Hkv, bias.shape[-1])
        q = q.reshape(B, Hkv, H // Hkv, Tq, D)
        return cls(q, k, v, bias, scale, mask, start, key_positions, dropout, seed, lead)

    def along(self, i: int, t: np.ndarray) -> "Problem":
        """The same with the tangent `t` in place of operand `i`: queries, keys, values or bias."""
        name = ("q", "k", "v", "bias")[i]
        moved: dict[str, Any] = {name: np.ascontiguousarray(t).reshape(getattr(self, name).shape)}
        return self._replace(**moved)

    def gradients(self, *operands: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Memory for the gradients of queries, keys and values, as they came and in the shapes of the kernels."""
        shapes = (self.q.shape, self.k.shape, self.v.shape)
        return [new_like(x, x.shape, shape) for x, shape in zip(operands, shapes, strict=True)]

    @property
    def work(self) -> int:
        """Multiplications of one of its two products, if no pair were forbidden."""
        return self.q.size * self.k.shape[2]

    def strips(self, rows: int) -> Sequence[Strip]:
        """The table of scores, in strips of so many queries."""
        Tq, Tk = self.q.shape[3], self.k.shape[2]
        if self.mask is None:
            return _unmasked_strips(Tq, Tk, rows)
        if self.key_positions is None and self.mask.by_value():
            return _cached_strips(self.mask, Tq, Tk, self.start, rows)
        return _cut(self.mask, Tq, Tk, self.start, self.key_positions, rows)

    def allowed(self, strip: Strip, piece: Run, heads: Heads) -> np.ndarray:
        """The mask on a piece, of a shape that broadcasts against (B, Hkv, G, r, columns) of these heads."""
        if piece.allowed is not None:
            return piece.allowed
        found = _look_up(self.mask, self.start, self.key_positions, strip, piece)
        if found.ndim == 2:
            return found
        _, Hkv, G, _, _ = self.q.shape
        by_head = found.shape[-3] > 1  # the axes before that are those of the texts, or one, or missing
        if found.ndim > 3 and len(self.lead) != 1:
            found = np.broadcast_to(found, (*(self.lead or (1,)), *found.shape[-3:]))
        texts = math.prod(found.shape[:-3])
        found = found.reshape(texts, Hkv if by_head else 1, G if by_head else 1, *found.shape[-2:])
        return found[heads.texts if len(found) > 1 else slice(None), heads.heads if by_head else slice(None)]


def _look_up(mask: Any, start: int, key_positions: np.ndarray | None, strip: Strip, piece: Run) -> np.ndarray:
    i = np.arange(start + strip.first, start + strip.stop)
    j = np.arange(piece.first, piece.stop) if key_positions is None else key_positions[piece.keys]
    found: np.ndarray = mask.allowed(i[:, None], j[None, :])
    return found


@lru_cache(64)
def _unmasked_strips(n_queries: int, n_keys: int, rows: int) -> Sequence[Strip]:
    everything = [Run(0, n_keys, 0)]
    return [Strip(r, min(r + rows, n_queries), everything, n_keys, []) for r in range(0, n_queries, rows)]


@lru_cache(16)
def _cached_strips(mask: Mask, n_queries: int, n_keys: int, start: int, rows: int) -> Sequence[Strip]:
    """With the mask looked up where it has to be, if it is the same for all texts; equal pieces are kept once."""
    found = _cut(mask, n_queries, n_keys, start, None, rows)
    pieces: dict[tuple[tuple[int, ...], bytes], np.ndarray] = {}
    for n, strip in enumerate(found):
        partial = []
        for piece in strip.partial:
            allowed = _look_up(mask, start, None, strip, piece)
            if allowed.ndim > 2:
                return found
            allowed = pieces.setdefault((allowed.shape, np.packbits(allowed).tobytes()), allowed)
            partial.append(piece._replace(allowed=allowed))
        found[n] = strip._replace(partial=partial)
    return found


def _cut(
    mask: Mask, n_queries: int, n_keys: int, start: int, key_positions: np.ndarray | None, rows: int
) -> list[Strip]:
    """Strip by strip, so that no more than a row of tiles is looked at at a time."""
    columns = min(rows, 64)  # narrow tiles follow the mask's edge closely; neighbouring ones are joined anyway
    j0 = np.arange(0, n_keys, columns)
    j1 = np.minimum(j0 + columns, n_keys)
    begin, end = (j0, j1) if key_positions is None else (key_positions[j0], key_positions[j1 - 1] + 1)
    found = []
    for first in range(0, n_queries, rows):
        stop = min(first + rows, n_queries)
        needed = ~np.broadcast_to(mask.empty(start + first, start + stop, begin, end), j0.shape)
        unclear = needed & ~np.broadcast_to(mask.full(start + first, start + stop, begin, end), j0.shape)
        runs, at = [], 0
        for a, b in _stretches(needed):
            runs.append(Run(int(j0[a]), int(j1[b - 1]), at))
            at += runs[-1].stop - runs[-1].first
        partial = []
        for a, b in _stretches(unclear):
            home = next(run for run in runs if run.first <= j0[a] < run.stop)
            partial.append(Run(int(j0[a]), int(j1[b - 1]), home.at + int(j0[a]) - home.first))
        found.append(Strip(first, stop, runs, at, partial))
    return found


def _stretches(wanted: np.ndarray) -> list[list[int]]:
    """Where True stands in a row: the first place of each stretch, and the one after its last."""
    padded = np.concatenate(([False], wanted, [False]))
    stretches: list[list[int]] = np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2).tolist()
    return stretches


def blocks(strip: Strip, columns: int) -> list[Strip]:
    """A strip cut into narrower ones, of one run each."""
    found = []
    for run in strip.runs:
        for first in range(run.first, run.stop, columns):
            stop = min(first + columns, run.stop)
            partial = [_clipped(p, first, stop) for p in strip.partial if p.first < stop and first < p.stop]
            found.append(Strip(strip.first, strip.stop, [Run(first, stop, 0)], stop - first, partial))
    return found


def _clipped(piece: Run, first: int, stop: int) -> Run:
    low, high = max(piece.first, first), min(piece.stop, stop)
    allowed = None if piece.allowed is None else piece.allowed[:, low - piece.first : high - piece.first]
    return Run(low, high, low - first, allowed)


def rectangles(B: int, n_heads: int, cells: int, worthwhile: bool) -> list[Heads]:
    """
    All texts and key heads in parts, each of which has about `PART` scores in a strip.

    `cells` is how many scores one text and key head has in its widest strip. Where it is worthwhile there are at least
    enough parts for the threads.
    """
    most = max(1, PART // max(1, cells))
    if worthwhile:
        most = max(1, min(most, -(-B * n_heads // threads())))
    heads = min(n_heads, most)
    texts = max(1, most // n_heads) if heads == n_heads else 1
    return [
        Heads(slice(b, min(b + texts, B)), slice(h, min(h + heads, n_heads)))
        for b in range(0, B, texts)
        for h in range(0, n_heads, heads)
    ]


def stacked(x: np.ndarray, factor: Any = None) -> np.ndarray:
    """(B, Hkv, G, r, D) as (B, Hkv, G r, D), each row times its factor, in new memory."""
    B, H, G, r, D = x.shape
    out = np.empty(x.shape, x.dtype)
    if factor is None:
        out[...] = x
    else:
        np.multiply(x, factor, out=out)
    return out.reshape(B, H, G * r, D)


def by_heads(x: np.ndarray, G: int) -> np.ndarray:
    """(B, Hkv, G r, n) as (B, Hkv, G, r, n), the same memory."""
    B, H, stack, n = x.shape
    return x.reshape(B, H, G, stack // G, n)


def forbid(problem: Problem, heads: Heads, strip: Strip, S: np.ndarray) -> None:
    """Make the scores that the mask forbids minus infinity; S of shape (B, Hkv, G, r, width)."""
    for piece in strip.partial:
        np.copyto(S[..., piece.columns], S.dtype.type(-np.inf), where=~problem.allowed(strip, piece, heads))


def clear(problem: Problem, heads: Heads, strip: Strip, E: np.ndarray) -> None:
    """Make the exponentials that the mask forbids zero, if they are finite; E of shape (B, Hkv, G, r, width)."""
    for piece in strip.partial:
        E[..., piece.columns] *= problem.allowed(strip, piece, heads)


def refuse_blind(problem: Problem, heads: Heads, strip: Strip, blind: np.ndarray) -> None:
    """
    Name a row that may look at no key, if there is one among those without a finite score.

    Scores may be minus infinity without a mask; such a row is not a number, as in any softmax. `blind` has the shape
    (B, Hkv, G, r).
    """
    if problem.mask is None:
        return
    Tk = problem.k.shape[2]
    j = np.arange(Tk) if problem.key_positions is None else problem.key_positions
    for b, h, g, i in np.argwhere(blind):
        row = Strip(strip.first + int(i), strip.first + int(i) + 1, [], 0, [])
        whole = Run(0, Tk, 0)
        allowed = problem._replace(key_positions=j).allowed(row, whole, heads)
        allowed = np.broadcast_to(allowed, (*blind.shape[:3], 1, Tk))
        if not allowed[b, h, g].any():
            raise sees_nothing((heads.texts.start + int(b), row.first), problem.start, problem.lead)


def sees_nothing(index: tuple[int, int], start: int, lead: tuple[int, ...]) -> ValueError:
    """The error of a row, by its text and its number."""
    text, i = index
    of = f" of text {', '.join(map(str, np.unravel_index(text, lead)))}" if math.prod(lead) > 1 else ""
    return ValueError(
        f"the query in row {i} (position {start + i}){of} may look at no key, and a mean of nothing does not exist: "
        "allow at least one key in each row. For queries that are padding themselves, `mask | Itself()` lets them see "
        "themselves"
    )


def _toeplitz(bias: np.ndarray, first: int, rows: int, columns: int) -> np.ndarray:
    """A view with bias[..., first + c - r] at row r and column c."""
    strides = (*bias.strides[:-1], -bias.strides[-1], bias.strides[-1])
    return as_strided(bias[..., first:], (*bias.shape[:-1], rows, columns), strides, writeable=False)


def add_bias(bias: np.ndarray, n_queries: int, strip: Strip, S: np.ndarray) -> None:
    """Add what each distance costs to the scores of a strip; bias of shape (Hkv, G, Tq + Tk - 1)."""
    for run in strip.runs:
        view = _toeplitz(bias, n_queries - 1 - strip.first + run.first, strip.stop - strip.first, run.stop - run.first)
        S[..., run.columns] += view


def new_bias_gradient(problem: Problem, heads: Heads) -> np.ndarray | None:
    """Zeros for the bias of some heads, if there is one."""
    if problem.bias is None:
        return None
    return np.zeros_like(problem.bias[heads.heads])


def whole_bias_gradient(problem: Problem, parts: Sequence[Heads], sums: Sequence[Any]) -> np.ndarray:
    """The parts' gradients of the bias together, (H, Tq + Tk - 1)."""
    assert problem.bias is not None
    db = np.zeros_like(problem.bias)
    for heads, part in zip(parts, sums, strict=True):
        db[heads.heads] += part
    return db.reshape(-1, db.shape[-1])


def bias_gradient(out: np.ndarray, n_queries: int, strip: Strip, Z: np.ndarray) -> None:
    """Add the sums of Z along its diagonals; out of shape (Hkv, G, Tq + Tk - 1), Z of (Hkv, G, r, width)."""
    r = strip.stop - strip.first
    for run in strip.runs:
        c = run.stop - run.first
        # Each row is written r columns apart from the next one's end: read with one column less a row, they slide
        slid = np.zeros((*Z.shape[:-2], r, r + c), Z.dtype)
        slid[..., :c] = Z[..., ::-1, run.columns]
        slid = slid.reshape(*Z.shape[:-2], r * (r + c))[..., : r * (r + c - 1)].reshape(*Z.shape[:-2], r, r + c - 1)
        first = n_queries - strip.stop + run.first
        out[..., first : first + r + c - 1] += slid.sum(axis=-2)


def kept(problem: Problem, heads: Heads, strip: Strip) -> np.ndarray:
    """
    Which weights of a strip survive dropout, bool, (B, Hkv, G, r, width).

    Whether a weight does depends on the seed, the sizes of the table, and its text, head, query and key alone, so that
    it makes no difference in which pieces the table is computed, and the backward pass need not be told.
    """
    B, Hkv, G, Tq, _ = problem.q.shape
    Tk = problem.k.shape[2]
    r = strip.stop - strip.first
    width = min(DRAWN, -(-Tk // 8) * 8)  # a step of the counter yields eight numbers of 32 bits
    texts, heads_ = range(B)[heads.texts], range(Hkv)[heads.heads]
    survives = np.empty((len(texts), len(heads_), G, r, strip.width), np.bool_)
    limit = np.uint32(min(round(problem.dropout * 2.0**32), 2**32 - 1))
    for b, text in enumerate(texts):
        for h, head in enumerate(heads_):
            for group in range(G):
                key = [problem.seed, (text * Hkv + head) * G + group]
                for run in strip.runs:
                    for block in range(run.first // width, -(-run.stop // width)):
                        counter = (block * Tq + strip.first) * (width // 8)
                        source = np.random.Philox(key=key, counter=[counter, 0, 0, 0])
                        drawn = source.random_raw(r * width // 2).view(np.uint32).reshape(r, width)
                        low, high = max(run.first, block * width), min(run.stop, (block + 1) * width)
                        at = slice(run.at + low - run.first, run.at + high - run.first)
                        survives[b, h, group, :, at] = drawn[:, low - block * width : high - block * width] >= limit
    return survives


def scores(problem: Problem, heads: Heads, strip: Strip) -> np.ndarray:
    """(E1) of a strip, (B, Hkv, G r, width)."""
    scaled = stacked(problem.q[*heads, :, strip.rows], problem.q.dtype.type(problem.scale))
    S = against(scaled, problem.k[*heads], strip)
    if problem.bias is not None:
        cells = by_heads(S, problem.q.shape[2])
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


def new_like(like: np.ndarray, shape: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """New memory, laid out as `like` is, and the same memory in the shape of the kernels."""
    for order in ("K", "C"):  # not every layout has such a view
        out = np.empty_like(like, order=order, shape=shape)
        view = out.reshape(kernel)
        if out.size == 0 or np.may_share_memory(out, view):
            break
    return out, view
