"""
Best segmentations, fast: one word in a loop, or many words place by place in NumPy.

Both compute `fp_tokenize.lattice.best`, ties included. A segmentation is given as **steps**: the label of each of its
pieces, or -1 for an unknown character. What stands here and not in `fp_tokenize.unigram` is only how.

The pieces are a tree of prefixes. Its nodes are numbered level by level and, within a level, by parent and character:
then the pair (parent, character) of node r + 1 is the r-th smallest, as n-grams are numbered in `fp_markov.counting`,
and `fp_markov.lookup` finds the children of many nodes at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fp_markov.lookup import finder

__all__ = ["Flat", "Search", "in_lists"]

SMALL = 400  # characters from which the arrays are faster than the loop
STRETCH = 1 << 18  # characters that are searched together
LONGEST = 192  # characters without a place that no piece crosses, beyond which places are taken in a loop
SPAN = 1 << 15  # characters over which sums have to be exact to begin anew where no piece crosses
FEW = 32  # stretches that are followed back together
PREFIXES = 1 << 27  # characters that all prefixes of all pieces may have together

Steps = list[int]


class Flat(NamedTuple):
    """Best segmentations of some words."""

    steps: Int[np.ndarray, " M"]
    counts: Int[np.ndarray, " W"]  # how many steps each word has
    characters: Int[np.ndarray, " U"]  # the code point at each step -1
    gaps: Float[np.ndarray, " _"]  # of each word, if asked for


def in_lists(flat: Int[np.ndarray, " M"], counts: Int[np.ndarray, " W"]) -> list[list[int]]:
    """What belongs to each word, of what stands one behind the other."""
    values: list[int] = flat.tolist()
    return [values[a:b] for a, b in pairwise([0, *np.cumsum(counts).tolist()])]


class Search:
    """
    The pieces, laid out for finding best segmentations.

    Parameters
    ----------
    pieces
        Distinct strings, none empty.
    scores
        One for each, finite.
    labels
        What the steps say for each piece, not negative: ids.
    unknown
        The score of a character that is no piece.
    """

    def __init__(
        self, pieces: Sequence[str], scores: Sequence[float], labels: Sequence[int], unknown: float | int
    ) -> None:
        prefixes = sum(len(piece) * (len(piece) + 1) // 2 for piece in pieces)
        if prefixes > PREFIXES:
            raise ValueError(
                f"the pieces have prefixes of {prefixes} characters together, at most {PREFIXES} are allowed. "
                "Remove the longest pieces"
            )
        self.pieces, self.unknown = pieces, float(unknown)
        # None: a prefix of some piece, but no piece
        self.prefixes: dict[str, tuple[float, int] | None] = {
            piece[:k]: None for piece in pieces for k in range(1, len(piece))
        }
        self.prefixes.update(
            (piece, (float(score), label)) for piece, score, label in zip(pieces, scores, labels, strict=True)
        )
        self.scores = np.array([*scores, unknown], np.float64)  # so that -1 finds the score of the unknown
        self.labels = np.array([*labels, -1], np.int64)
        largest = float(np.abs(self.scores).max())
        self.exact = largest * SPAN < 2.0 ** (53 - exact_bits(self.scores))  # tokenize.exact-sums
        self.longest = max(map(len, pieces), default=0)
        self._tree: _Tree | None = None

    def one(self, word: str) -> tuple[Steps, float]:
        """
        The best segmentation of one word, and its **gap**: how close another edge came at the places where it stops.
        """
        find, unknown, n = self.prefixes.get, self.unknown, len(word)
        values, seconds = [0.0] + [-math.inf] * n, [-math.inf] * (n + 1)
        begins, steps = [0] * (n + 1), [-1] * (n + 1)
        for i in range(n):
            value, single = values[i], False
            for j in range(i + 1, n + 1):
                found = find(word[i:j], _ABSENT)
                if found is None:
                    continue
                if found is _ABSENT:
                    break
                score = value + found[0]
                if score > values[j]:
                    seconds[j] = values[j]
                    values[j], begins[j], steps[j] = score, i, found[1]
                elif score > seconds[j]:
                    seconds[j] = score
                if j == i + 1:
                    single = True
            if not single:
                score, j = value + unknown, i + 1
                if score > values[j]:
                    seconds[j] = values[j]
                    values[j], begins[j], steps[j] = score, i, -1
                elif score > seconds[j]:
                    seconds[j] = score
        path, gap, j = [], math.inf, n
        while j:
            path.append(steps[j])
            gap = min(gap, values[j] - seconds[j])
            j = begins[j]
        return path[::-1], gap

    def edges(self, word: str, i: int) -> list[tuple[int, float, int]]:
        """End, score and label of every edge that begins at place `i`."""
        edges = []
        for j in range(i + 1, len(word) + 1):
            found = self.prefixes.get(word[i:j], _ABSENT)
            if found is _ABSENT:
                break
            if found is not None:
                edges.append((j, *found))
        if not (edges and edges[0][0] == i + 1):
            edges.append((i + 1, self.unknown, -1))
        return edges

    def many(self, words: Sequence[str], gaps: bool = False) -> tuple[list[Steps], list[float]]:
        """`one` for each of some words, none empty; the gaps are left out unless asked for."""
        if sum(map(len, words)) < SMALL:
            found = [self.one(word) for word in words]
            return [path for path, _ in found], [gap for _, gap in found] if gaps else []
        flat = self.flat(words, gaps)
        return in_lists(flat.steps, flat.counts), flat.gaps.tolist()

    def flat(self, words: Sequence[str], gaps: bool = False) -> "Flat":
        """The same as arrays, for at least one word: the steps of all words one behind the other."""
        self._tree = self._tree or _Tree(self.pieces)
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        stretch = np.cumsum(lengths) // STRETCH
        borders = [0, *(np.flatnonzero(np.diff(stretch)) + 1).tolist(), len(words)]
        parts = [self._together(words[a:b], lengths[a:b], self._tree, gaps) for a, b in pairwise(borders) if a < b]
        steps, counts, characters = (np.concatenate([part[k] for part in parts]) for k in range(3))
        return Flat(steps, counts, characters, np.concatenate([part.gaps for part in parts]))

    def _together(self, words: Sequence[str], lengths: Int[np.ndarray, " W"], tree: "_Tree", gaps: bool) -> "Flat":
        """The words one behind another, with a character between that is in no piece."""
        codes = tree.codes(words)
        classes = tree.classes_of(codes)
        n = len(classes)  # places 0 to n; the character behind place ends[k] separates words k and k + 1
        ends = np.cumsum(lengths + 1) - 1
        edges = tree.matches(classes)
        single = np.zeros(n, np.bool_)
        single[edges.begin[: edges.singles]] = True
        single[ends] = True
        edges = edges.with_unknown(np.flatnonzero(~single))

        fresh = np.zeros(n + 1, np.bool_)  # places where sums start anew from zero
        fresh[0] = fresh[ends] = fresh[ends + 1] = True
        if self.exact:  # also where no piece crosses (tokenize.cut-places): it changes no sum and no tie
            reach = np.zeros(n, np.int32)
            np.maximum.at(reach, edges.begin, edges.end)
            fresh[1:] |= np.maximum.accumulate(reach) <= np.arange(1, n + 1)
        edges = edges.by_distance(fresh)
        values, begins, steps = self._search(n, edges)

        stops = np.zeros(n + 1, np.bool_)
        at = np.flatnonzero(fresh & (begins >= 0))
        while len(at) > FEW:
            stops[at] = True
            at = begins[at]
            at = at[~fresh[at]]
        for place in at.tolist():  # a few long ones
            stops[_chain(place, begins, fresh)] = True
        stops_at = np.flatnonzero(stops)
        path = steps[stops_at]
        borders = np.searchsorted(stops_at, ends, side="right")
        gap = np.empty(0)
        if gaps:
            starts = np.concatenate(([0], borders[:-1]))
            gap = np.minimum.reduceat(self._gaps(edges, fresh, values, begins)[stops_at], starts)
        characters = codes[stops_at[path < 0] - 1]
        return Flat(self.labels[path], np.diff(borders, prepend=0), characters, gap)

    def _search(
        self, n: int, edges: "_Edges"
    ) -> tuple[Float[np.ndarray, " N"], Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """For each place the best value from the last fresh place, where its last piece begins, and which it is."""
        values, begins, steps = np.full(n + 1, -math.inf), np.full(n + 1, -1, np.int32), np.full(n + 1, -1, np.int32)
        score = self.scores[edges.step]
        for a, b in pairwise(edges.borders):  # edges of one distance have different ends
            total = score[a:b] if a == 0 else score[a:b] + values[edges.begin[a:b]]
            end = edges.end[a:b]
            wins = np.flatnonzero(total > values[end])
            end = end[wins]
            values[end], begins[end], steps[end] = total[wins], edges.begin[a:b][wins], edges.step[a:b][wins]
        a = edges.borders[-1]
        if a < len(score):
            v, p, s = values.tolist(), begins.tolist(), steps.tolist()
            columns = (x[a:].tolist() for x in (edges.begin, edges.end, edges.step, score))
            for i, j, k, x in zip(*columns, strict=True):
                if v[i] + x > v[j]:
                    v[j], p[j], s[j] = v[i] + x, i, k
            values[:], begins[:], steps[:] = v, p, s
        return values, begins, steps

    def _gaps(
        self,
        edges: "_Edges",
        fresh: Bool[np.ndarray, " N"],
        values: Float[np.ndarray, " N"],
        begins: Int[np.ndarray, " N"],
    ) -> Float[np.ndarray, " N"]:
        """How close the second edge came, at each place."""
        gaps = np.full(len(values), math.inf)
        lost = begins[edges.end] != edges.begin
        begin, end, score = edges.begin[lost], edges.end[lost], self.scores[edges.step[lost]]
        np.minimum.at(gaps, end, values[end] - (np.where(fresh[begin], 0.0, values[begin]) + score))
        return gaps


_ABSENT = (math.nan, -1)


def exact_bits(scores: Float[np.ndarray, " P"]) -> int:
    """The least q, at most 64, for which all scores are multiples of 2^-q."""
    q = 0
    while q < 64 and (np.ldexp(scores, q) % 1).any():
        q += 1
    return q


def _chain(place: int, begins: Int[np.ndarray, " N"], fresh: Bool[np.ndarray, " N"]) -> list[int]:
    """The places where the best path to a place stops, back to a fresh one."""
    from_place, is_fresh = memoryview(begins), memoryview(fresh)  # type: ignore[arg-type]
    chain: list[int] = []
    while not chain or not is_fresh[place]:
        chain.append(place)
        place = from_place[place]
    return chain


class _Tree:
    """The tree of prefixes, for `finder`."""

    def __init__(self, pieces: Sequence[str]) -> None:
        lengths = np.array([len(piece) for piece in pieces])
        codes = _code_points("".join(pieces))
        alphabet, classes = np.unique(codes, return_inverse=True)
        self.size = len(alphabet) + 1  # class 0: characters in no piece
        self.class_of = np.zeros(int(alphabet[-1]) + 2, np.int64)
        self.class_of[alphabet] = np.arange(1, self.size)
        classes = classes + 1
        first = np.cumsum(lengths) - lengths
        node, alive = np.zeros(len(pieces), np.int64), np.arange(len(pieces))
        piece_at = [np.array([-1])]
        keys: list[np.ndarray] = []
        count = 1
        for depth in range(int(lengths.max())):
            alive = alive[lengths[alive] > depth]
            level, inverse = np.unique(node[alive] * self.size + classes[first[alive] + depth], return_inverse=True)
            node[alive] = count + inverse
            ended = alive[lengths[alive] == depth + 1]
            here = np.full(len(level), -1)
            here[node[ended] - count] = ended
            piece_at.append(here)
            keys.append(level)
            count += len(level)
        self.piece_at = np.concatenate(piece_at)
        self.finder = finder(np.concatenate(keys), count, self.size)
        self.separator = next(c for c in range(0x110000) if c >= len(self.class_of) or not self.class_of[c])

    def codes(self, words: Sequence[str]) -> Int[np.ndarray, " N"]:
        """The code points of some words, each closed by a character that is in no piece."""
        mark = chr(self.separator)
        return _code_points(mark.join(words) + mark)

    def classes_of(self, codes: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
        """The class of each character."""
        return self.class_of[np.minimum(codes, len(self.class_of) - 1)]

    def matches(self, classes: Int[np.ndarray, " N"]) -> "_Edges":
        """Every occurrence of every piece, the shorter ones first."""
        at = np.flatnonzero(classes).astype(np.int32)
        node = np.zeros(len(at), np.int64)
        begin, end, step = [], [], []
        depth = 0
        while len(at):
            node = self.finder.find(node, classes[at + depth]) + 1
            depth += 1
            alive = np.flatnonzero(node)
            at, node = at[alive], node[alive]
            piece = self.piece_at[node]
            whole = np.flatnonzero(piece >= 0)
            begin.append(at[whole])
            end.append(at[whole] + depth)
            step.append(piece[whole])
        none = np.empty(0, np.int32)
        singles = len(begin[0]) if begin else 0
        columns = [np.concatenate([*x, none], dtype=np.int32) for x in (begin, end, step)]
        return _Edges(columns[0], columns[1], columns[2], singles)


@dataclass(frozen=True)
class _Edges:
    """Edges of a lattice as columns: places, and the index of the piece."""

    begin: Int[np.ndarray, " E"]
    end: Int[np.ndarray, " E"]
    step: Int[np.ndarray, " E"]
    singles: int  # the first so many are of one character
    borders: Sequence[int] = ()  # `by_distance`: where each distance begins; what comes behind the last is in order

    def with_unknown(self, places: Int[np.ndarray, " U"]) -> "_Edges":
        """With edges of one character at some places."""
        begin = places.astype(np.int32)
        return _Edges(
            np.concatenate((self.begin, begin)),
            np.concatenate((self.end, begin + 1)),
            np.concatenate((self.step, np.full(len(begin), -1, np.int32))),
            self.singles,
        )

    def by_distance(self, fresh: Bool[np.ndarray, " N"]) -> "_Edges":
        """Sorted by how far behind a fresh place they begin; those beyond LONGEST last, by where they begin."""
        places = np.arange(len(fresh), dtype=np.int32)
        distance = places - np.maximum.accumulate(np.where(fresh, places, 0))
        near = np.minimum(distance, LONGEST).astype(np.uint16)[self.begin]
        order = np.argsort(near, kind="stable")
        borders = np.searchsorted(near[order], np.arange(LONGEST + 1))
        borders = borders[: int(np.searchsorted(borders, len(order))) + 1]
        far = order[borders[-1] :]
        far[:] = far[np.argsort(self.begin[far], kind="stable")]
        return _Edges(self.begin[order], self.end[order], self.step[order], 0, borders.tolist())


def _code_points(text: str) -> Int[np.ndarray, " N"]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64)
