r"""
Trellis: how can all words of a corpus be segmented together?

Training Unigram asks for the sums of `fp_tokenize.lattice` over every word of the corpus, a hundred thousand of them,
some twenty times over. Done one word after the other in Python this takes minutes. Words begin alike: `un`, `under` and
`understand` have their first steps in common, and the recursions only ever look back. So all words become one lattice
that branches, a **trellis**, through which NumPy goes level by level.

You need: `fp_tokenize.lattice`.

## What prefixes share

Arrange all words as a tree: a **node** for every different prefix of a word, the empty one being the root. An **arc**
leads from the prefix $u$ to the prefix $v = ux$ wherever $x$ is a piece, with the piece's score $s_x$. Let $\alpha$ be
$0$ at the root, and let every other node sum over the arcs that lead into it:

$$
\alpha_v = \ln \sum_{u \to v} e^{\alpha_u + s_x}, \qquad\qquad
q_{u \to v} = e^{\alpha_u + s_x - \alpha_v}. \qquad \text{(E1)}
$$

**Claim** `tokenize.shared-prefixes`. Let $v$ be the prefix of $j$ characters of a word. Then $\alpha_v$ is the
$\alpha_j$ of the word's lattice. The arcs into $v$ correspond to the edges that end at place $j$, with the same $q$.
The same holds for the best scores and the winners of `tokenize.viterbi`.

**Proof.** An edge $(i, j)$ of the word is a piece $x$ that ends the prefix of $j$ characters and begins behind the
prefix $u$ of $i$ characters: $v = ux$. So the edges that end at $j$ are the arcs into $v$, with the same scores,
whatever the word has behind place $j$. By induction on $j$ their beginnings have the same $\alpha$ as in the word, and
(E1) for $v$ is the recursion (E3), and $q$ the (E5), of `fp_tokenize.lattice`. With $\max$ in place of the sum it is
the recursion of the best scores, and a winner is chosen among the same arcs by the same rule. $\blacksquare$

## Expected counts, from the leaves to the root

Going back from the end of each word would undo what has been won, if every word went its own way. But the step back
from a place depends on nothing behind it (`tokenize.backward-sampling`): all words that pass the same prefix take it
together. Let $N_v$ say how often a word occurs that ends at the node $v$, and let

$$
F_v = N_v + \sum_{v \to w} F_w\, q_{v \to w}, \qquad\qquad
c_x = \sum_{u \to v \text{ carrying } x} F_v\, q_{u \to v}. \qquad \text{(E2)}
$$

**Claim** `tokenize.expected-flow`. Segment every occurrence of every word at random, each segmentation with its
probability given the word. Then $F_v$ is the mean number of segmentations that stop at $v$, the mean number that use
the arc $u \to v$ is $F_v\, q_{u \to v}$, and the mean number of uses of the piece $x$ is $c_x$.

**Proof.** By `tokenize.backward-sampling` and `tokenize.shared-prefixes` we may draw each segmentation backwards, from
the node of its word to the root, where at each node $v$ the arc $u \to v$ is chosen with probability $q_{u \to v}$,
whatever happened before. Each arc leads to a shorter prefix, so an occurrence stops at a node at most once. Let $m_v$
be the mean number that stop at $v$. Of these, the arc $u \to v$ is chosen in $m_v\, q_{u \to v}$ on average: each
occurrence contributes the probability that it stops at $v$ times $q_{u \to v}$, and means add up
(`markov.expectation-linear`). An occurrence stops at $v$ either because its word ends there, or because it came by
exactly one arc $v \to w$: so $m_v = N_v + \sum_{v \to w} m_w\, q_{v \to w}$. This is (E2), which determines all $F$
from the longest prefixes down; hence $m = F$. Sum over the arcs that carry $x$. $\blacksquare$

There is no second sum of exponentials: the shares $q$ are left over from (E1), and (E2) only multiplies and adds. With
$q = 1$ for winners and $0$ for other arcs, (E2) counts what the best segmentations use.

## The second best

Pruning asks how a piece would be replaced: what is the best segmentation of a string into *two or more* pieces?

**Claim** `tokenize.best-split`. For a string with node $v$, take of all arcs into $v$ that do not begin at the root one
with the largest $V_u + s_x$, where $V$ are the best scores, and from $u$ on follow the winners back. This gives a
segmentation into two or more pieces, and none of these has a higher score.

**Proof.** The arc from the root to $v$ is the whole string as one piece. A segmentation into two or more pieces has its
last piece on another arc $u \to v$, behind a segmentation of $u$, whose score is at most $V_u$. The winners reach $V_u$
(`tokenize.viterbi`). $\blacksquare$

## In practice

A **level** holds the nodes of one depth. They are numbered level by level, and the arcs are sorted by the node they
lead into, so that each step of (E1) is a handful of NumPy calls on neighbouring numbers; as in `fp_tokenize.lattice`,
the largest term of each sum is taken out first. `Trellis.keep` drops arcs when pieces are pruned, and nothing is looked
up again. The arcs of a word outnumber its places, so with $T$ characters in all and pieces of at most $m$ characters
everything takes time and memory $O(mT)$, less what is shared:

>>> words = ["under", "understand", "understood", "unit", "united", "unity"]
>>> letters = sorted(set("".join(words)))
>>> Trellis(words, letters).n_nodes - 1, sum(map(len, words))
(18, 40)

SentencePiece runs forward and backward sums word by word, on as many threads as asked. Suffixes cannot be shared as
well: behind different beginnings the $\alpha$ differ, and with them the shares.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from fp_markov.counting import distinct
from fp_markov.lookup import Finder, finder
from fp_tokenize import lattice

__all__ = ["SeparateLattices", "Trellis"]  # the order of the page

BLOCK = 2**16
"""Characters that are looked at together."""

Level = tuple[Finder, Int[np.ndarray, "_"]]
"""Prefixes of one length, and the piece that each of them is, or -1."""


class SeparateLattices:
    """
    The reference: one lattice for each string.

    Parameters
    ----------
    strings
        The strings to segment, none empty.
    pieces
        The pieces, no two alike; every character of the strings is one.
    """

    def __init__(self, strings: Sequence[str], pieces: Sequence[str]) -> None:
        self.strings, self.pieces = list(strings), list(pieces)

    def expected(
        self, scores: Float[np.ndarray, " K"], counts: Float[np.ndarray, " W"]
    ) -> tuple[Float[np.ndarray, " K"], float]:
        """What `Trellis.expected` returns."""
        of, ids = self._tables(scores)
        totals, log_likelihood = np.zeros(len(ids)), 0.0
        for word, n in zip(self.strings, counts, strict=True):
            edges = lattice.edges_of(word, of)
            log_likelihood += float(n) * lattice.log_likelihood(edges)
            for piece, mean in lattice.expected_counts(word, edges).items():
                totals[ids[piece]] += float(n) * mean
        return totals, log_likelihood

    def best_counts(
        self, scores: Float[np.ndarray, " K"], counts: Float[np.ndarray, " W"]
    ) -> tuple[Float[np.ndarray, " K"], float]:
        """What `Trellis.best_counts` returns."""
        of, ids = self._tables(scores)
        totals, total_score = np.zeros(len(ids)), 0.0
        for word, n in zip(self.strings, counts, strict=True):
            score, places = lattice.best(lattice.edges_of(word, of))
            total_score += float(n) * score
            for piece in lattice.pieces(word, places):
                totals[ids[piece]] += float(n)
        return totals, total_score

    def alternatives(self, scores: Float[np.ndarray, " K"]) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
        """What `Trellis.alternatives` returns."""
        of, ids = self._tables(scores)
        found = []
        for i, string in enumerate(self.strings):
            without = {piece: score for piece, score in of.items() if piece != string}
            _, places = lattice.best(lattice.edges_of(string, without))
            found += [(i, ids[piece]) for piece in lattice.pieces(string, places)]
        owners, parts = np.array(sorted(found), np.int64).reshape(-1, 2).T
        return owners, parts

    def keep(self, kept: Bool[np.ndarray, " K"]) -> None:
        """What `Trellis.keep` does."""
        self.pieces = [piece for piece, stays in zip(self.pieces, kept, strict=True) if stays]

    def _tables(self, scores: Float[np.ndarray, " K"]) -> tuple[dict[str, float], dict[str, int]]:
        return dict(zip(self.pieces, scores.tolist(), strict=True)), {x: i for i, x in enumerate(self.pieces)}


class Trellis:
    """
    The lattices of many strings, what they begin alike with shared.

    Parameters
    ----------
    strings
        The strings to segment, none empty.
    pieces
        The pieces, no two alike; every character of the strings is one.

    Raises
    ------
    ValueError
        If a string is empty, or has a character that is no piece.

    Examples
    --------
    >>> trellis = Trellis(["ab", "abc"], ["a", "b", "c", "ab", "bc"])
    >>> trellis.n_nodes, trellis.n_arcs  # the root, a, ab, abc; into them a, b and ab, c and bc
    (4, 5)
    """

    def __init__(self, strings: Sequence[str], pieces: Sequence[str]) -> None:
        order = sorted(range(len(strings)), key=strings.__getitem__)
        codes, lengths = _codes([strings[i] for i in order])
        if len(lengths) and not lengths.min():
            raise ValueError("a string to segment has at least one character, got ''")
        alphabet, levels = _prefix_tree(pieces)
        letters = np.searchsorted(alphabet, codes).astype(np.int32)
        letters[alphabet[letters] != codes] = len(alphabet) - 1
        _require_characters(codes, letters, levels)
        nodes, is_new, self.levels = _shared_prefixes(letters, lengths)
        # place t of string w is number starts[w] + w + t of all places, and a string has one more place than characters
        self.ends = np.empty(len(strings), np.int64)
        self.ends[order] = nodes[np.cumsum(lengths) + np.arange(len(strings))]
        begin, finish, piece = _occurrences(letters, lengths, nodes, is_new, levels)
        del codes, letters, nodes, is_new, levels  # sorting needs the room
        by_end = np.left_shift(finish, 32, dtype=np.int64)
        by_end += np.arange(len(finish), dtype=np.int32)
        by_end.sort()
        by_end &= 2**32 - 1
        self.begin, self.piece = begin[by_end], piece[by_end]
        self._index(np.bincount(finish, minlength=self.n_nodes))

    def _index(self, degrees: Int[np.ndarray, " N"]) -> None:
        """Where the arcs into each node are, and into each level."""
        self.degrees = degrees
        self.first = np.concatenate((np.zeros(1, np.int64), np.cumsum(degrees)))
        self.arc_levels = self.first[self.levels].tolist()

    @property
    def n_nodes(self) -> int:
        """The number of nodes, the root included."""
        return self.levels[-1]

    @property
    def n_arcs(self) -> int:
        """The number of arcs."""
        return len(self.piece)

    def expected(
        self, scores: Float[np.ndarray, " K"], counts: Float[np.ndarray, " W"]
    ) -> tuple[Float[np.ndarray, " K"], float]:
        """
        How often each piece is used on average, over all strings, and how likely these are.

        Parameters
        ----------
        scores
            Logarithms of the pieces' probabilities, in nats, finite.
        counts
            How often each string occurs.

        Returns
        -------
        expected : ndarray
            Expected count of each piece (E4).
        log_likelihood : float
            Sum over the strings of count times logarithm of marginal probability, in nats.

        Examples
        --------
        "aaa" in thirds: a|a|a, a|aa and aa|a are equally likely.

        >>> trellis = Trellis(["aaa"], ["a", "aa"])
        >>> trellis.expected(np.array([-1.0, -2.0]), np.ones(1))[0].round(3)
        array([1.667, 0.667])
        """
        alpha, shares = self._forward(scores)
        uses = self._uses(shares, counts)
        return _totals(self.piece, uses, len(scores)), float(alpha[self.ends] @ counts)

    def best_counts(
        self, scores: Float[np.ndarray, " K"], counts: Float[np.ndarray, " W"]
    ) -> tuple[Float[np.ndarray, " K"], float]:
        """
        How often each piece is used by the best segmentations, and their score.

        Parameters
        ----------
        scores
            Logarithms of the pieces' probabilities, in nats, finite.
        counts
            How often each string occurs.

        Returns
        -------
        counts : ndarray
            Count of each piece; of equally good segmentations the one of `fp_tokenize.lattice.best` is taken.
        score : float
            Sum over the strings of count times best score, in nats.
        """
        best, reached = self._best(scores)
        taken = np.zeros(self.n_arcs)
        taken[self._winners(best, reached)[1:]] = 1
        uses = self._uses(taken, counts)
        return _totals(self.piece, uses, len(scores)), float(best[self.ends] @ counts)

    def alternatives(self, scores: Float[np.ndarray, " K"]) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
        """
        The best segmentation of each string into two or more pieces.

        Parameters
        ----------
        scores
            Logarithms of the pieces' probabilities, in nats, finite. Strings have at least two characters.

        Returns
        -------
        owners, parts : ndarray
            For each part of each segmentation, the number of the string, rising, and the piece.
        """
        best, reached = self._best(scores)
        winners = self._winners(best, reached)
        reached[self.begin == 0] = -np.inf
        split = np.zeros(self.n_nodes)
        if self.n_arcs:
            split[1:] = np.maximum.reduceat(reached, self.first[1:-1])
        arcs = self._winners(split, reached)[self.ends]
        owner, owners, parts = np.arange(len(self.ends)), [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        while len(owner):
            owners.append(owner)
            parts.append(self.piece[arcs].astype(np.int64))
            node = self.begin[arcs]
            owner, node = owner[node > 0], node[node > 0]
            arcs = winners[node]
        all_owners, all_parts = np.concatenate(owners), np.concatenate(parts)
        order = np.lexsort((all_parts, all_owners))
        return all_owners[order], all_parts[order]

    def keep(self, kept: Bool[np.ndarray, " K"]) -> None:
        """
        Go on with some of the pieces, renumbered in order.

        Parameters
        ----------
        kept
            Which stay; all single characters among them.
        """
        stays = kept[self.piece]
        degrees = np.add.reduceat(stays, self.first[1:-1], dtype=np.int64) if self.n_arcs else self.degrees[1:]
        self.begin, self.piece = self.begin[stays], (np.cumsum(kept) - 1).astype(np.int32)[self.piece[stays]]
        self._index(np.concatenate((np.zeros(1, np.int64), degrees)))

    def _forward(self, scores: Float[np.ndarray, " K"]) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " E"]]:
        """alpha (E1) of each node and share (E2) of each arc."""
        alpha, shares = np.zeros(self.n_nodes), scores.take(self.piece)
        for nodes, arcs in self._by_level():
            first, degrees = self.first[nodes] - arcs.start, self.degrees[nodes]
            terms = shares[arcs]
            terms += alpha.take(self.begin[arcs])
            largest = np.maximum.reduceat(terms, first)
            terms -= np.repeat(largest, degrees)
            np.exp(terms, out=terms)
            total = np.add.reduceat(terms, first)
            terms /= np.repeat(total, degrees)
            alpha[nodes] = largest + np.log(total)
        return alpha, shares

    def _uses(self, shares: Float[np.ndarray, " E"], counts: Float[np.ndarray, " W"]) -> Float[np.ndarray, " E"]:
        """How often each arc is used on average (E3), which overwrites its share."""
        visits = _totals(self.ends, counts, self.n_nodes)
        for nodes, arcs in reversed(list(self._by_level())):
            uses = shares[arcs]
            uses *= np.repeat(visits[nodes], self.degrees[nodes])
            begins = self.begin[arcs]
            lowest = int(begins.min())
            visits[lowest : nodes.start] += _totals(begins - lowest, uses, nodes.start - lowest)
        return shares

    def _best(self, scores: Float[np.ndarray, " K"]) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " E"]]:
        """The best score of each node, and what each arc reaches."""
        best, reached = np.zeros(self.n_nodes), scores.take(self.piece)
        for nodes, arcs in self._by_level():
            terms = reached[arcs]
            terms += best.take(self.begin[arcs])
            best[nodes] = np.maximum.reduceat(terms, self.first[nodes] - arcs.start)
        return best, reached

    def _winners(self, best: Float[np.ndarray, " N"], reached: Float[np.ndarray, " E"]) -> Int[np.ndarray, " N"]:
        """For each node the first arc, which has the longest piece, that reaches its best; -1 for the root."""
        nodes = np.repeat(np.arange(self.n_nodes), self.degrees)
        ties = np.flatnonzero(reached == best[nodes])[::-1]
        winners = np.full(self.n_nodes, -1)
        winners[nodes[ties]] = ties  # the last that is written stays
        return winners

    def _by_level(self) -> "list[tuple[slice, slice]]":
        """The nodes and the arcs into them, from the first level below the root on."""
        nodes = [slice(a, b) for a, b in pairwise(self.levels[1:])]
        arcs = [slice(a, b) for a, b in pairwise(self.arc_levels[1:])]
        return list(zip(nodes, arcs, strict=True))


def _totals(ids: Int[np.ndarray, " E"], amounts: Float[np.ndarray, " E"], size: int) -> Float[np.ndarray, " K"]:
    """The sum of the amounts of each id; floats also where there is none to add, of which `bincount` makes integers."""
    return np.bincount(ids, amounts, size).astype(np.float64, copy=False)


def _codes(strings: Sequence[str]) -> tuple[Integer[np.ndarray, " T"], Int[np.ndarray, " W"]]:
    """The code points of all strings, one after the other, and their lengths."""
    codes = np.frombuffer("".join(strings).encode("utf-32-le"), "<u4")
    return codes, np.fromiter(map(len, strings), np.int64, len(strings))


def _prefix_tree(pieces: Sequence[str]) -> tuple[Integer[np.ndarray, " A"], list[Level]]:
    """The characters, sorted; and for each length a finder of prefixes and the piece that each of them is, or -1."""
    codes, lengths = _codes(pieces)
    alphabet, letters = np.unique(codes, return_inverse=True)
    alphabet = np.append(alphabet, 0x110000)  # above all characters: stands for those that are in no piece
    starts = np.cumsum(lengths) - lengths
    alive, ranks, n_contexts = np.arange(len(pieces)), np.zeros(len(pieces), np.int64), 1
    levels: list[Level] = []
    for n in range(1, int(lengths.max(initial=0)) + 1):
        alive, ranks = alive[lengths[alive] >= n], ranks[lengths[alive] >= n]
        keys, _, ranks, _ = distinct(ranks * len(alphabet) + letters[starts[alive] + n - 1])
        ids = np.full(len(keys), -1)
        ids[ranks[lengths[alive] == n]] = alive[lengths[alive] == n]
        levels.append((finder(keys, n_contexts, len(alphabet)), ids))
        n_contexts = len(keys)
    return alphabet, levels


def _shared_prefixes(
    letters: Int[np.ndarray, " T"], lengths: Int[np.ndarray, " W"]
) -> tuple[Int[np.ndarray, " P"], Bool[np.ndarray, " T"], list[int]]:
    """Of sorted strings: the node at each place, the characters that lead to new ones, where each level begins."""
    starts = np.cumsum(lengths) - lengths
    nodes = np.zeros(len(letters) + len(starts), np.int32)
    is_new = np.zeros(len(letters), bool)
    levels = [0, 1]  # the root is node 0
    alive = np.arange(len(starts))
    for n in range(1, int(lengths.max(initial=0)) + 1):
        alive = alive[lengths[alive] >= n]
        at = starts[alive] + n - 1
        before = nodes[at + alive]
        fresh = np.ones(len(alive), bool)  # sorted, so those that begin alike stand together
        fresh[1:] = (before[1:] != before[:-1]) | (letters[at[1:]] != letters[at[:-1]])
        is_new[at] = fresh
        nodes[at + alive + 1] = levels[-1] - 1 + np.cumsum(fresh)
        levels.append(levels[-1] + int(fresh.sum()))
    return nodes, is_new, levels


def _occurrences(
    letters: Int[np.ndarray, " T"],
    lengths: Int[np.ndarray, " W"],
    nodes: Int[np.ndarray, " P"],
    is_new: Bool[np.ndarray, " T"],
    levels: list[Level],
) -> tuple[Int[np.ndarray, " E"], Int[np.ndarray, " E"], Int[np.ndarray, " E"]]:
    """Where pieces begin and end, as nodes, and which they are; of those that end alike the longest first."""
    stops = np.repeat(np.cumsum(lengths).astype(np.int32), lengths)
    owners = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    begins, finishes, carried = ([np.empty(0, np.int32)] for _ in range(3))
    for block in range(0, len(letters), BLOCK):  # a block at a time, to save memory
        at = np.arange(block, min(block + BLOCK, len(letters)))
        ranks, here = np.zeros(len(at), np.int64), []
        for n, (prefixes, ids) in enumerate(levels, start=1):
            fits = at + n <= stops[at]
            at, ranks = at[fits], ranks[fits]
            ranks = prefixes.find(ranks, letters[at + n - 1])
            there = ranks >= 0
            at, ranks = at[there], ranks[there]
            wanted = (ids[ranks] >= 0) & is_new[at + n - 1]
            places = at[wanted] + owners[at[wanted]]
            here.append((nodes[places], nodes[places + n], ids[ranks[wanted]].astype(np.int32)))
        for begin, finish, piece in reversed(here):
            begins.append(begin)
            finishes.append(finish)
            carried.append(piece)
    return _joined(begins), _joined(finishes), _joined(carried)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """One array of many, which are given up."""
    whole = np.concatenate(parts)
    parts.clear()
    return whole


def _require_characters(codes: Integer[np.ndarray, " T"], letters: Int[np.ndarray, " T"], levels: list[Level]) -> None:
    used = np.unique(letters)
    is_piece = np.zeros(len(used), bool)
    if levels:
        prefixes, ids = levels[0]
        ranks = prefixes.find(np.zeros(len(used), np.int64), used)
        is_piece = (ranks >= 0) & (ids[ranks] >= 0)
    if not is_piece.all():
        lacking = chr(int(codes[np.isin(letters, used[~is_piece])][0]))
        raise ValueError(
            f"every character of the strings must be a piece, got {lacking!r}, which is none. Add it to the pieces, or "
            "cut the strings at it"
        )
