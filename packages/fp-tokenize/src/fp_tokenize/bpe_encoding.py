r"""
Merging fast: one word with a heap, many words at once, long words in pieces.

Rank order (`fp_tokenize.merges`, (E2)) looks at all pairs of a word for every merge. That is quick for "the" and
hopeless for a megabyte without a space; and for a hundred thousand words of eight letters the time goes into Python's
steps, not into the looking. This section gives one encoder for each case. All compute (E2) exactly, whether the list is
ordered or not.

You need: `fp_tokenize.merges`; binary numbers; the logarithm.

## Looking only at what has changed

A merge changes few pairs: the one that it replaces, and those that the new symbol makes with its two neighbours. So
keep the rank of each pair of neighbours beside the word and look up two new ones after each merge (`encode_list`). What
remains is to find the lowest. Python's `min` runs through a list of a hundred numbers in a microsecond, which is why
nothing better is needed up to some hundreds of symbols.

Beyond that, keep the ranks in a **heap**: a list in which entry $j$ is at most entries $2j + 1$ and $2j + 2$. So the
lowest is in front, and from the front to the end of a list of $h$ entries lead at most $\log_2 h + 1$ steps. To add an
entry, put it at the end and let it rise along those steps while it is less than what is before it; to take the first,
put the last into its place and let it sink. And so that no symbol has to move up when a pair becomes one, each symbol
remembers which one is before and which one behind it. An entry is the rank $k$ and the place $i$ of a pair, as the one
number $kn + i$: these are ordered by rank, then by place. When a pair is gone, its entry stays on the heap; it is
recognised when it comes out, because the rank kept for place $i$ is another one.

**Claim** `tokenize.heap-encoding`. For every list and every word of $n \ge 1$ symbols, `encode_heap` makes what
`by_rank` makes. It looks up at most $3(n - 1)$ pairs, puts at most as many entries on the heap, and takes at most a
constant times $n \log_2 (3n)$ steps.

**Proof.** At all times let $r_i$ be the rank kept for place $i$. Two things hold before each turn of the loop: $r_i$ is
the rank of the pair that begins at place $i$, infinite if there is no symbol any more, none behind it, or no such pair
in the list; and for every finite $r_i$ the entry $(r_i, i)$ is on the heap. They hold at the start. A turn takes out
the least entry $(k, i)$. If $k \ne r_i$, no pair of that rank is at $i$, and what was said remains true. If $k = r_i$,
no other pair that stands in the word has a lower rank, or the same further left, since its entry, which is on the heap,
would be less. So this is the pair that rank order takes. The merge changes the pairs that begin at $i$, at the place
before it and at the place that vanishes; their ranks are looked up or set to infinity, and finite ones are put on the
heap. So both things hold again. When the heap is empty, no pair of the list is left, and rank order stops, too.

At the start there are $n - 1$ pairs. Every merge removes a symbol, so there are at most $n - 1$ merges, each with at
most two new pairs: together at most $3(n - 1)$, looked up and put on the heap once. Each entry is taken out at most
once. The heap never holds more than $3(n - 1)$ entries, so adding and taking out move along at most $\log_2(3n) + 1$
places, twice at worst, and everything else in a turn takes a number of steps that does not depend on $n$.
$\blacksquare$

## Many words at once

A loop of Python costs about a tenth of a microsecond for each of its simplest steps, one of NumPy as much for a hundred
numbers. So treat many words together. Write words of nearly equal length side by side, one to a column, padded below
with a symbol that occurs in no pair. Beside this table keep a second one with a number for each pair,

$$\text{rank} \cdot 2^{32} + \text{place}, \tag{E1}$$

where *place* says where in the table the pair begins, counted row by row, and a pair that is not in the list has a rank
above all. Then a **round** is: take the least number of each column; it says at once which pair is to be merged and
where; merge these pairs, one in each column that has any; look up the ranks of the new pairs.

**Claim** `tokenize.merge-rounds`. For every list, the rounds make of each column what `by_rank` makes of its word, in
at most one round more than the most merges of a word.

**Proof.** In one column, places rise from top to bottom. So the least number (E1) belongs to the pair of lowest rank,
and of several with that rank to the first: the one that rank order takes. Columns do not touch each other, since a
symbol's neighbours are in its own column. After the merge the numbers of the three places that have changed are written
anew, so before each round the second table again holds (E1) for the pairs of neighbours, and "none" elsewhere. A column
without a pair of the list stays as it is, and so does rank order's word. Every round makes one merge in each of the
other columns, so after as many rounds as the most merges no column has one left, and the next round sees that.
$\blacksquare$

A word of $L$ symbols takes part in up to $L$ rounds in which its $L$ numbers are compared, so the work grows with
$L^2$. But comparing runs at the processor's speed, about ten numbers a nanosecond; up to $L = 256$ it is not what the
time goes into.

## Two homes for every pair

The rounds need the ranks of thousands of pairs in a few steps that are the same for all. Number a pair by
$p = a \cdot 2^{21} + b$, where symbols are below $2^{21}$; the padding is the greatest of these numbers. Two functions
$h_1, h_2$ give every number a **home** in each of two tables, by multiplying and keeping the upper bits, as in
`fp_markov.lookup`. Each pair of the list stands in one of its two homes (*cuckoo hashing*), written as the **entry**

$$e = p \cdot 2^{21} + \text{rank}, \qquad \text{rank} < 2^{21} - 1, \tag{E2}$$

and a home without one holds $2^{64} - 1$. Let $\oplus$ be the exclusive or of binary numbers: a digit is 1 where the
two differ.

**Claim** `tokenize.two-homes`. Let $x$ and $y$ be what stands in the two homes of a pair with number $p$. If the pair
is in the list, $\min(x \oplus 2^{21} p,\; y \oplus 2^{21} p)$ is its rank; otherwise it is at least $2^{21}$.

**Proof.** The last 21 digits of $2^{21} p$ are zero. So for an entry $x = 2^{21} p' + r$ the exclusive or is
$2^{21} (p' \oplus p) + r$. It is $r$ if $p' = p$, and at least $2^{21}$ otherwise, because then $p' \oplus p \ge 1$. An
empty home gives a number whose first digit is 1, at least $2^{63}$, since $2^{21} p < 2^{63}$. If the pair is in the
list, one of its homes gives its rank and the other, which does not hold the same pair, at least $2^{21}$; if it is not,
both give at least $2^{21}$. $\blacksquare$

To fill the tables, put every pair into its first home. Where several want the same, one stays and the others go to
their second home, from where they turn out who is there, who goes to its other home, and so on. With twice as many
homes as pairs this nearly always ends soon; if not, begin again with other multipliers and larger tables.

## Long words in pieces

A long word can use the rounds, too. Cut it into pieces of 128 symbols, each beginning in the
middle of the one before, encode them all at once, and glue each two at a symbol that they share
(`tokenize.encoding-glue`). Several long words are joined by symbols that occur in no pair, which changes nothing in
them. Where two pieces share no symbol, as in some long runs of one letter, the heap does the whole words.

## In practice

Libraries in compiled languages need none of this for short words: they run the quadratic loop. tiktoken and Hugging
Face's libraries use a heap too, tiktoken from 100 bytes on. GitHub's `bpe` crate encodes in linear time by checking
neighbours, after preparing the vocabulary.

References: M. Thorup, "High speed hashing for integers and strings", 2015, for multiplying and keeping upper bits;
R. Pagh and F. Rodler, "Cuckoo hashing", 2004.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np
from jaxtyping import Int, Int64, UInt64

from fp_tokenize.merges import Merges, S

__all__ = ["encode_list", "encode_heap", "PairTable", "Encoder", "in_order"]  # the order of the page

BITS = 21
"""Symbols and ranks have at most 21 binary digits."""
NEVER = (1 << BITS) - 1
"""The rank of pairs that are not in the list, and the symbol with which words are padded."""
BORDER = NEVER - 1
"""The symbol that stands between words; all others, and all ranks, are less."""
CELLS = 1 << 16
"""Symbols in one table of the rounds, so that it fits a processor's cache."""
MANY = 128
"""Words of a table for which the rounds are faster than a loop over words."""
LONG = 256
"""Symbols of a word above which it is encoded in pieces or with the heap."""
PIECE = 128
"""Symbols of a piece."""
FEW = 40
"""Symbols of a word up to which `encode_list` is faster than `encode_heap`."""

_BITS, _PLACE = np.uint64(BITS), np.uint64(32)
_NEVER, _NONE = np.uint64(NEVER), np.uint64(NEVER << 32)
_LOW = np.uint64((1 << 32) - 1)


def encode_list(symbols: Iterable[S], merges: Merges[S]) -> list[S]:
    """
    What `by_rank` makes of a word, looking up only the pairs that change.

    Parameters
    ----------
    symbols
        The word.
    merges
        The list.

    Examples
    --------
    >>> encode_list([0, 1, 0, 1, 2], Merges([(0, 1), (3, 2)], [3, 4]))
    [3, 4]
    """
    word, rank = list(symbols), merges.rank.get
    ranks = [rank(pair, NEVER) for pair in pairwise(word)]
    while ranks:
        k = min(ranks)
        if k == NEVER:
            break
        i = ranks.index(k)
        word[i : i + 2] = [merges.result[k]]
        del ranks[i]
        if i:
            ranks[i - 1] = rank((word[i - 1], word[i]), NEVER)
        if i < len(ranks):
            ranks[i] = rank((word[i], word[i + 1]), NEVER)
    return word


def encode_heap(symbols: Iterable[S], merges: Merges[S]) -> tuple[list[S], list[int]]:
    """
    The same for a word of any length (`tokenize.heap-encoding`).

    Parameters
    ----------
    symbols
        The word.
    merges
        The list.

    Returns
    -------
    tuple
        What the list makes of the word, and for each of its symbols the position in the word where it begins.

    Examples
    --------
    >>> encode_heap([0, 1, 0, 1, 2], Merges([(0, 1), (3, 2)], [3, 4]))
    ([3, 4], [0, 2])
    """
    word, rank = list(symbols), merges.rank.get
    n = len(word)
    before, behind = list(range(-1, n - 1)), list(range(1, n + 1))
    ranks = [rank(pair, NEVER) for pair in pairwise(word)] + [NEVER]
    heap = [k * n + i for i, k in enumerate(ranks[:n]) if k != NEVER]
    heapify(heap)
    while heap:
        k, i = divmod(heappop(heap), n)
        if ranks[i] != k:
            continue
        gone, left = behind[i], before[i]
        right = behind[i] = behind[gone]
        word[i] = c = merges.result[k]
        ranks[gone] = ranks[i] = NEVER
        if right < n:
            before[right] = i
            ranks[i] = k = rank((c, word[right]), NEVER)
            if k != NEVER:
                heappush(heap, k * n + i)
        if left >= 0:
            ranks[left] = k = rank((word[left], c), NEVER)
            if k != NEVER:
                heappush(heap, k * n + left)
    starts = []
    i = 0
    while i < n:
        starts.append(i)
        i = behind[i]
    return [word[i] for i in starts], starts


class PairTable:
    """
    The ranks of the pairs of a list, thousands at a time (`tokenize.two-homes`).

    Parameters
    ----------
    merges
        A list whose symbols are integers.

    Raises
    ------
    ValueError
        If a symbol or a rank lies outside [0, 2^21 - 2).

    Examples
    --------
    >>> table = PairTable(Merges([(7, 8), (8, 7)], [9, 10]))
    >>> table.find(np.array([7, 8, 8], np.uint64), np.array([8, 7, 8], np.uint64)).tolist() == [0, 1, NEVER]
    True
    """

    def __init__(self, merges: Merges[int]) -> None:
        pairs = np.array(merges.pairs, np.int64).reshape(-1, 2)
        ranks = np.arange(len(pairs)) if merges.ranks is None else np.array(merges.ranks, np.int64)
        for what, numbers in (("symbols", pairs), ("symbols", np.array(merges.results, np.int64)), ("ranks", ranks)):
            outside = numbers[(numbers < 0) | (numbers >= BORDER)]
            if len(outside):
                raise ValueError(f"{what} must lie in [0, {BORDER}), got {outside[0]}")
        numbers = (pairs[:, 0] << BITS | pairs[:, 1]).view(np.uint64)
        rng = np.random.default_rng(0)
        bits = max(4, len(pairs).bit_length())
        while not self._filled(numbers, ranks.view(np.uint64), bits, rng):
            bits += 1  # the second time is rare, so memory is no concern

    def _filled(
        self, numbers: UInt64[np.ndarray, " M"], ranks: UInt64[np.ndarray, " M"], bits: int, rng: np.random.Generator
    ) -> bool:
        """Fill two tables of `2**bits` homes; whether all found one."""
        self.shift = np.uint64(64 - bits)
        self.multipliers = rng.integers(0, 1 << 64, 2, np.uint64) | np.uint64(1)
        homes = np.stack([(numbers * m) >> self.shift for m in self.multipliers]).view(np.int64)
        homes[1] += 1 << bits
        tenants = np.full(2 << bits, -1)
        moving, side = np.arange(len(numbers)), np.zeros(len(numbers), np.int64)
        for _ in range(100):
            wanted = homes[side[moving], moving]
            turned_out = tenants[wanted]
            tenants[wanted] = moving  # of several the last one stays
            stays = tenants[wanted] == moving
            moving = np.concatenate((moving[~stays], turned_out[stays & (turned_out >= 0)]))
            if not len(moving):
                break
            side[moving] ^= 1
        entries = np.append((numbers << _BITS) | ranks, np.uint64(2**64 - 1))  # (E2); the last for -1
        self.first, self.second = entries[tenants].reshape(2, -1).copy()
        return not len(moving)

    def find(self, left: UInt64[np.ndarray, "*n"], right: UInt64[np.ndarray, "*n"]) -> UInt64[np.ndarray, "*n"]:
        """The ranks of some pairs, `NEVER` for those that are not in the list."""
        number = left << _BITS
        number |= right
        homes = [((number * m) >> self.shift).view(np.int64) for m in self.multipliers]
        number <<= _BITS
        x, y = self.first.take(homes[0]), self.second.take(homes[1])
        x ^= number
        y ^= number
        np.minimum(x, y, out=x)
        return np.minimum(x, _NEVER, out=x)


class Encoder:
    """
    What `by_rank` makes of many words.

    Parameters
    ----------
    merges
        A list whose symbols are integers below `2**21 - 2`.

    Raises
    ------
    ValueError
        If a symbol or a rank is too large.
    """

    def __init__(self, merges: Merges[int]) -> None:
        self.merges = merges
        self.table = PairTable(merges)
        self.results = np.zeros(max(merges.result, default=-1) + 1, np.uint64)
        self.results[list(merges.result)] = list(merges.result.values())

    def encode_word(self, symbols: Sequence[int]) -> list[int]:
        """What the list makes of one word."""
        return encode_list(symbols, self.merges) if len(symbols) <= FEW else encode_heap(symbols, self.merges)[0]

    def encode(
        self, symbols: Int[np.ndarray, " N"], lengths: Int[np.ndarray, " W"]
    ) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " W"]]:
        """
        What the list makes of many words.

        Parameters
        ----------
        symbols
            The words, one behind the other.
        lengths
            How many symbols each has.

        Returns
        -------
        tuple
            The words' new symbols, one behind the other, and how many each has now.

        Examples
        --------
        >>> encoder = Encoder(Merges([(0, 1), (3, 2)], [3, 4]))
        >>> encoder.encode(np.array([0, 1, 2, 2, 0, 1, 0, 1]), np.array([3, 0, 1, 4]))
        (array([4, 2, 3, 3]), array([1, 0, 1, 2]))
        """
        ends = np.cumsum(lengths)
        order = np.argsort(np.minimum(lengths, 2**16 - 1).astype(np.uint16), kind="stable")  # sorted by digits: fast
        made, counts = [np.empty(0, np.int64)], np.zeros(len(lengths), np.int64)
        sizes, starts = lengths[order], (ends - lengths)[order]
        for at, end in _groups(sizes):
            total, longest = int(sizes[at:end].sum()), int(sizes[end - 1])
            if longest <= LONG and total > MANY * longest:
                left = self._rounds(_columns(symbols, starts[at:end], sizes[at:end]))
                there = left != _NEVER
                counts[order[at:end]] = np.add.reduce(there.view(np.uint8), axis=0, dtype=np.int64)
                made.append(left.T[there.T].view(np.int64))
            else:
                bounds = zip(starts[at:end], sizes[at:end], strict=True)
                parts = self._one_by_one([symbols[start : start + size] for start, size in bounds])
                counts[order[at:end]] = list(map(len, parts))
                made.extend(parts)
        return in_order(np.concatenate(made), counts[order], order)

    def _one_by_one(self, words: list[Int[np.ndarray, " _"]]) -> list[Int64[np.ndarray, " _"]]:
        """What the list makes of a few words, or of long ones: in pieces, if that pays."""
        if sum(map(len, words)) > 32 * PIECE:  # with fewer pieces rounds do not pay
            # each word begins where a piece does, so that two pieces cut a run of one letter alike
            rooms = [(len(word) // (PIECE // 2) + 1) * (PIECE // 2) for word in words]
            joined = np.full(sum(rooms), BORDER)
            for word, end, room in zip(words, np.cumsum(rooms).tolist(), rooms, strict=True):
                joined[end - room : end - room + len(word)] = word
            glued = self._pieces(joined)
            if glued is not None:
                border = glued == BORDER
                lasts = np.flatnonzero(border[1:] > border[:-1])  # of each word
                return np.split(glued[~border], np.cumsum(~border)[lasts[:-1]])
        return [np.array(self.encode_word(word.tolist()), np.int64) for word in words]

    def _rounds(self, word: UInt64[np.ndarray, "L N"]) -> UInt64[np.ndarray, "L N"]:
        """What becomes of the words in the columns, each symbol in the row where it begins, `NEVER` elsewhere."""
        L, N = word.shape
        place = np.arange((L + 2) * N).reshape(L + 2, N)
        symbol = np.full((L + 2, N), _NEVER)  # a row above and one below, so that every symbol has neighbours
        symbol[1:-1] = word
        number = np.full((L + 2, N), _NONE)  # (E1)
        number[1:-2] = self.table.find(word[:-1], word[1:])
        number[1:-2] <<= _PLACE
        number[1:-2] |= place[1:-2].view(np.uint64)
        before, behind = (place - N).ravel(), (place + N).ravel()
        inner = number[1:-1]
        symbol_at, number_at = symbol.reshape(-1), number.reshape(-1)
        while True:
            least = np.minimum.reduce(inner, axis=0)
            least = least[least < _NONE]
            if not len(least):
                break
            i = (least & _LOW).view(np.int64)
            least >>= _PLACE
            c = self.results.take(least.view(np.int64))
            gone, left = behind.take(i), before.take(i)
            right = behind.take(gone)
            symbol_at[i], symbol_at[gone] = c, _NEVER
            behind[i], before[right] = right, i
            number_at[gone] = _NONE
            number_at[i] = self._number(c, symbol_at.take(right), i)
            number_at[left] = self._number(symbol_at.take(left), c, left)
        return symbol[1:-1]

    def _number(
        self, left: UInt64[np.ndarray, " K"], right: UInt64[np.ndarray, " K"], place: Int64[np.ndarray, " K"]
    ) -> UInt64[np.ndarray, " K"]:
        """(E1)"""
        number = self.table.find(left, right)
        number <<= _PLACE
        number |= place.view(np.uint64)
        return number

    def _pieces(self, word: Int[np.ndarray, " N"]) -> Int64[np.ndarray, " M"] | None:
        """A long word glued from its pieces (`tokenize.encoding-glue`); `None` where two of them share no symbol."""
        n, half = len(word), PIECE // 2
        begin = np.arange(0, n - half, half)
        size = np.minimum(PIECE, n - begin)
        made, starts, of = [], [], []
        for at in range(0, len(begin), CELLS // PIECE):
            some = slice(at, at + CELLS // PIECE)
            left = self._rounds(_columns(word, begin[some], size[some])).T
            which, row = np.nonzero(left != _NEVER)
            made.append(left[which, row].view(np.int64))
            starts.append(begin[some][which] + row)
            of.append(which + at)
        ids, start, piece = np.concatenate(made), np.concatenate(starts), np.concatenate(of)
        end = np.append(start[1:], n)
        last = np.append(piece[1:] != piece[:-1], True)
        end[last] = (begin + size)[piece[last]]
        # what a piece has behind its middle, and what the next has before its own: the same interval, the same symbol
        covers = start * (PIECE + 1) + (end - start)
        behind, before = covers[start >= begin[piece] + half], covers[end <= begin[piece] + half]
        if not len(behind):
            return None
        place = np.searchsorted(behind, before)  # both rise
        shared = before[behind.take(place, mode="clip") == before]
        seams, first = np.unique(shared // (PIECE + 1) // half, return_index=True)
        if not np.array_equal(seams, np.arange(1, len(begin))):
            return None
        seam = (shared // (PIECE + 1) + shared % (PIECE + 1))[first]  # where the shared symbol ends
        return ids[(start >= np.append(0, seam)[piece]) & (end <= np.append(seam, n)[piece])]


def in_order(
    symbols: Int64[np.ndarray, " M"], counts: Int64[np.ndarray, " W"], order: Int64[np.ndarray, " W"]
) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " W"]]:
    """
    Words put back in order.

    Parameters
    ----------
    symbols, counts
        The symbols of some words, one behind the other, and how many each has.
    order
        The place at which each of these words should stand.

    Returns
    -------
    tuple
        Symbols and counts in the order of the places.

    Examples
    --------
    >>> in_order(np.array([7, 7, 5, 6, 6, 6]), np.array([2, 1, 3]), np.array([1, 0, 2]))
    (array([5, 7, 7, 6, 6, 6]), array([1, 2, 3]))
    """
    ordered = np.empty_like(counts)
    ordered[order] = counts
    source = np.empty_like(counts)
    source[order] = np.cumsum(counts) - counts  # where a word's symbols are,
    source -= np.cumsum(ordered) - ordered  # less where they go
    places = np.repeat(source, ordered)
    places += np.arange(len(places))
    return symbols.take(places), ordered


def _groups(sizes: Int[np.ndarray, " W"]) -> Iterator[tuple[int, int]]:
    """Intervals of words, sorted by size, that make good tables; all long ones in the last."""
    at, long = np.searchsorted(sizes, [1, LONG + 1]).tolist()  # empty words are done
    while at < long:
        size = int(sizes[at])
        end = min(int(np.searchsorted(sizes, min(2 * size + 8, LONG), "right")), at + CELLS // size)
        end = min(end, at + 2 * CELLS // int(sizes[end - 1]))
        yield at, end
        at = end
    if at < len(sizes):
        yield at, len(sizes)


def _columns(
    symbols: Int[np.ndarray, " N"], starts: Int[np.ndarray, " W"], sizes: Int[np.ndarray, " W"]
) -> UInt64[np.ndarray, "L W"]:
    """Words side by side, one to a column."""
    row = np.arange(int(sizes.max()))[:, None]
    columns = symbols.take(starts + row, mode="clip").astype(np.uint64)
    if sizes.min() < len(columns):
        columns[row >= sizes] = _NEVER
    return columns
