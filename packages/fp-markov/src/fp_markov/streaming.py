r"""
Streaming: counts of a text that does not fit in memory.

`fp_markov.counting` sorts the keys of a whole text at once. Here the text arrives in pieces, stays on disk, and is
sorted there: the memory that is needed is that of one piece, however long the text is. The result is the same, array by
array.

You need: `fp_markov.counting`.

## Sorting on disk

Let the piece length be $M$ tokens. Order by order, with the ranks of the $(n-1)$-grams at all positions in a file:

1. For each piece, form its keys (E4) of `fp_markov.counting` from the ranks and the tokens, sort them in memory, and
   append the distinct ones with their counts to a file: a sorted **run**. A text of $T$ tokens makes
   $\lceil T/M \rceil$ runs.
2. **Merge** the runs, in rounds: look at the next block of each run. The smallest of the last keys of those blocks that
   are not the end of their run is the round's bound. Take from every block the keys up to the bound, add up the counts
   of equal ones, and append them to the level; leave the rest for the next round. If all blocks are ends, take all.
3. For each piece, look up its keys in the merged level: these are the ranks at its positions, for the next order. On
   the way note the rank of each $n$-gram's suffix, which is the old rank one position later.

**Claim** `markov.external-sort`. Let every run be sorted. After step 2 each distinct key stands in the level once, with
the sum of its counts, and the level is sorted.

**Proof.** The keys of a run rise strictly. If a block is not the end of its run, the keys behind it exceed its last
key, which is at least the bound $b$. So at the end of a round no key up to $b$ is left in any run: each was taken in
this round or an earlier one. A key is taken from all runs that have it in the same round, the first whose bound is not
below it, and is appended once with the sum of its counts. Later rounds append keys above $b$ only, so the level is
sorted. The run that sets the bound uses up its block, and the last round takes everything: the merge ends.
$\blacksquare$

With $R$ runs and blocks of $M / R$ keys the merge holds about $M$ keys at a time. Each order reads and writes the text
a constant number of times: the time is $O(n T \log M)$ for sorting and merging pieces plus the look-ups.

## In practice

KenLM estimates its models in this way, on files, with counts packed more tightly; map-reduce is the same idea over many
machines. On a fast disk, counting there takes a little longer than in memory, for the rereading and the look-ups.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Integer

from fp_markov.counting import Level, check_ids, check_order, distinct

__all__ = ["count_stream"]


def count_stream(
    pieces: Iterable[Integer[np.ndarray, " _"]],
    order: int,
    vocab_size: int,
    folder: Path | str,
    bos: int | None = None,
    piece_length: int = 2**20,
) -> list[Level]:
    """
    Count the n-grams of a text that arrives in pieces, within the memory of one piece.

    Parameters
    ----------
    pieces
        The text, cut anywhere, as token ids in `[0, vocab_size)`.
    order, vocab_size, bos
        As for `fp_markov.counting.count_ngrams`.
    folder
        An existing folder for the files: eight bytes a token and order for a while, and the levels, which are arrays
        mapped from files there. Keep it as long as the levels are used.
    piece_length
        Tokens to hold in memory at a time.

    Returns
    -------
    list of Level
        What `fp_markov.counting.count_ngrams` returns for the whole text, on disk.

    Raises
    ------
    ValueError
        If the text is shorter than the order, an id lies outside the vocabulary, or sentences do not begin with `bos`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pieces = (np.array([i % 2]) for i in range(10))
    ...     levels = count_stream(pieces, order=2, vocab_size=2, folder=folder)
    ...     levels[1].counts.tolist()  # 01 and 10
    ...     del levels
    [5, 4]
    """
    check_order(order)
    if piece_length < 1:
        raise ValueError(f"piece_length must be 1 or more, got {piece_length}")
    folder = Path(folder)
    ids = Column(folder / "ids")
    for piece in pieces:
        check_ids(piece, vocab_size, None if len(ids) else bos)
        ids.append(piece)
    T = len(ids)
    if order > T:
        raise ValueError(f"n-grams of order {order} need a text of at least {order} tokens, got {T}")

    levels: list[Level] = []
    n_contexts = 1
    ranks = Column(folder / "ranks0")  # of the (n-1)-gram that starts at each position; -1 where none does
    for start, stop in _pieces(T + 1, piece_length):
        ranks.append(np.zeros(stop - start, np.int64))
    for n in range(1, order + 1):
        runs: list[tuple[Column, Column]] = []
        for start, stop in _pieces(T, piece_length):
            wanted, _ = _keys(ids, ranks, n, vocab_size, bos, start, stop)
            if not len(wanted):
                continue
            keys, _, _, counts = distinct(wanted)
            runs.append((Column(folder / f"run{len(runs)}"), Column(folder / f"run{len(runs)}n")))
            runs[-1][0].append(keys)
            runs[-1][1].append(counts)
        level_keys, level_counts = Column(folder / f"keys{n}"), Column(folder / f"counts{n}")
        for keys, counts in _merged(runs, piece_length):
            level_keys.append(keys)
            level_counts.append(counts)
        if not len(level_keys):
            raise ValueError(f"n-grams of order {order} need a sentence of at least {n - 1} tokens after bos, got none")
        longer, suffixes = Column(folder / f"ranks{n}"), level_keys.mapped_like(folder / f"suffixes{n}")
        keys, counts, starts = level_keys.mapped(), level_counts.mapped(), []
        for start, stop in _pieces(T, piece_length):
            wanted, present = _keys(ids, ranks, n, vocab_size, bos, start, stop)
            rank = np.full(stop - start, -1)
            rank[present] = np.searchsorted(keys, wanted)
            longer.append(rank)
            suffixes[rank[present]] = ranks.read(start + 1, stop + 1)[present]
            begins = np.arange(start == 0) if bos is None else np.flatnonzero(ids.read(start, stop) == bos)
            starts.append(rank[begins][rank[begins] >= 0])
        longer.append(np.full(1, -1))
        if bos is not None and n == 1:
            counts[keys == bos] = 0
            starts = [np.empty(0, np.int64)]
        levels.append(Level(keys, counts, suffixes, np.concatenate(starts), n_contexts, vocab_size, bos))
        n_contexts = len(keys)
        for column in (ranks, *(column for run in runs for column in run)):
            column.path.unlink()
        ranks = longer
    ids.path.unlink()
    ranks.path.unlink()
    return levels


class Column:
    """A file of integers, written at its end and read anywhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")

    def __len__(self) -> int:
        return self.path.stat().st_size // 8

    def append(self, values: Integer[np.ndarray, " N"]) -> None:
        with self.path.open("ab") as file:
            values.astype("<i8", copy=False).tofile(file)

    def read(self, start: int, stop: int) -> Int[np.ndarray, " N"]:
        return np.fromfile(self.path, "<i8", stop - start, offset=8 * start)

    def mapped(self) -> Int[np.ndarray, " N"]:
        return np.memmap(self.path, "<i8", "r+")

    def mapped_like(self, path: Path) -> Int[np.ndarray, " N"]:
        return np.memmap(path, "<i8", "w+", shape=(len(self),))


def _pieces(n: int, length: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + length, n)) for start in range(0, n, length))


def _keys(
    ids: Column, ranks: Column, n: int, vocab_size: int, bos: int | None, start: int, stop: int
) -> tuple[Int[np.ndarray, " K"], Bool[np.ndarray, " N"]]:
    """Keys of the n-grams that start in a piece, and at which of its positions one does."""
    contexts, last = ranks.read(start, stop), ids.read(start + n - 1, stop + n - 1)
    contexts, fits = contexts[: len(last)], len(last)  # at the end of the text there are fewer
    there = contexts >= 0
    if bos is not None and n > 1:
        there &= last != bos
    present = np.zeros(stop - start, bool)
    present[:fits] = there
    return (contexts * vocab_size + last)[there], present


def _merged(
    runs: list[tuple[Column, Column]], length: int
) -> Iterator[tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"]]]:
    """The distinct keys of sorted runs, in order and in blocks, with the sums of their counts."""
    block = max(length // max(len(runs), 1), 1)
    at, ends = [0] * len(runs), [len(keys) for keys, _ in runs]
    while at != ends:
        blocks = [keys.read(a, min(a + block, end)) for (keys, _), a, end in zip(runs, at, ends, strict=True)]
        bounds = [int(keys[-1]) for keys, a, end in zip(blocks, at, ends, strict=True) if a + block < end]
        bound = min(bounds, default=np.iinfo(np.int64).max)
        taken = [int(np.searchsorted(keys, bound, side="right")) for keys in blocks]
        counts = [run[1].read(a, a + n) for run, a, n in zip(runs, at, taken, strict=True)]
        at = [a + n for a, n in zip(at, taken, strict=True)]
        keys, _, ranks, _ = distinct(np.concatenate([keys[:n] for keys, n in zip(blocks, taken, strict=True)]))
        yield keys, np.bincount(ranks, np.concatenate(counts)).astype(np.int64)
