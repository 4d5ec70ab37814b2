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
2. **Merge** the runs in groups of at most 16, and the results again, until one is left. A merge goes in rounds, with
   a block of the front of each run in memory, read on when it is used up. The smallest of the last keys of those blocks
   that are not the end of their run is the round's bound. Take from every block the keys up to the bound, add up the
   counts of equal ones, and append them to the result. If all blocks are ends, take all.
3. For each piece, look up its keys in the merged level: these are the ranks at its positions, for the next order. On
   the way note the rank of each $n$-gram's suffix, which is the old rank one position later.

**Claim** `markov.external-sort`. Let the keys of every run rise strictly. After a merge each distinct key stands in the
result once, with the sum of its counts, and the keys rise strictly.

**Proof.** If a block is not the end of its run, the keys behind it exceed its last key, which is at least the bound
$b$. So at the end of a round no key up to $b$ is left in any run: each was taken in this round or an earlier one. A key
is taken from all runs that have it in the same round, the first whose bound is not below it, and is appended once with
the sum of its counts. Later rounds append keys above $b$ only, so the result is sorted. The run that sets the bound
uses up its block, and the last round takes everything: the merge ends. $\blacksquare$

The result is a run, so merging again keeps the counts right, and the last result is the level. A merge of up to 16 runs
holds a block of $M / 16$ keys of each, and reads and writes every key once. There are $\lceil \log_{16} (T/M) \rceil$
merges one after the other, two for a text 256 times as long as a piece, and the time is proportional to the text for
each of them, besides sorting the pieces and looking up.

## In practice

KenLM estimates its models in this way, on files, with counts packed more tightly; map-reduce is the same idea over many
machines. On a fast disk, counting there takes a little longer than in memory, for the rereading and the look-ups.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Integer

from fp_markov.counting import (
    Level,
    as_ids,
    check_ids,
    check_integer,
    check_length,
    check_order,
    distinct,
    too_short,
)

__all__ = ["count_stream"]


def count_stream(
    pieces: Iterable[Integer[np.ndarray, " _"] | Sequence[int]],
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
        mapped from files there. Keep it as long as the levels are used, and count each text in a folder of its own.
    piece_length
        Tokens to hold in memory at a time.

    Returns
    -------
    list of Level
        What `fp_markov.counting.count_ngrams` returns for the whole text, on disk.

    Raises
    ------
    ValueError
        If the text is shorter than the order, an id lies outside the vocabulary, sentences do not begin with `bos`, or
        the folder holds the levels of an earlier text, which other arrays may still be mapped from.
    TypeError
        If the ids, the order or the size are no integers.

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
    order, vocab_size = check_order(order), check_integer(vocab_size, "vocab_size")
    if piece_length < 1:
        raise ValueError(f"piece_length must be 1 or more, got {piece_length}")
    folder = Path(folder)
    if (folder / "keys1").exists():
        raise ValueError(f"the folder {folder} holds counts already, which may be in use: give another one")
    ids = Column(folder / "ids")
    for given in pieces:
        piece = as_ids(given, "count_stream", allow_empty=True)
        check_ids(piece, vocab_size, None if len(ids) else bos)
        ids.append(piece)
    T = len(ids)
    check_length(T, order, vocab_size)

    levels: list[Level] = []
    n_contexts = 1
    ranks = Column(folder / "ranks0")  # of the (n-1)-gram that starts at each position; -1 where none does
    for start, stop in _pieces(T + 1, piece_length):
        ranks.append(np.zeros(stop - start, np.int64))
    for n in range(1, order + 1):
        runs: list[Run] = []
        for start, stop in _pieces(T, piece_length):
            wanted, _ = _keys(ids, ranks, n, vocab_size, bos, start, stop)
            if not len(wanted):
                continue
            keys, _, _, counts = distinct(wanted)
            runs.append(_new_run(folder))
            runs[-1][0].append(keys)
            runs[-1][1].append(counts)
        if not runs:
            raise too_short(order)
        while len(runs) > 1:
            runs = [_merge(runs[i : i + FAN_IN], folder, piece_length) for i in range(0, len(runs), FAN_IN)]
        level_keys, level_counts = runs.pop()
        level_keys.path = level_keys.path.rename(folder / f"keys{n}")
        level_counts.path = level_counts.path.rename(folder / f"counts{n}")
        longer, suffixes = Column(folder / f"ranks{n}"), level_keys.mapped_like(folder / f"suffixes{n}")
        keys, counts, starts = level_keys.mapped(), level_counts.mapped(), Column(folder / f"starts{n}")
        if bos is not None and n == 1:
            counts[keys == bos] = 0
            if not counts.any():
                raise too_short(order)
        for start, stop in _pieces(T, piece_length):
            wanted, present = _keys(ids, ranks, n, vocab_size, bos, start, stop)
            rank = np.full(stop - start, -1)
            rank[present] = np.searchsorted(keys, wanted)
            longer.append(rank)
            suffixes[rank[present]] = ranks.read(start + 1, stop + 1)[present]
            begins = np.arange(start == 0) if bos is None else np.flatnonzero(ids.read(start, stop) == bos)
            if bos is None or n > 1:
                starts.append(rank[begins][rank[begins] >= 0])
        longer.append(np.full(1, -1))
        levels.append(Level(keys, counts, suffixes, starts.mapped(), n_contexts, vocab_size, bos))
        n_contexts = len(keys)
        ranks.path.unlink()
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
        return np.memmap(self.path, "<i8", "r+") if len(self) else np.empty(0, np.int64)  # nothing cannot be mapped

    def mapped_like(self, path: Path) -> Int[np.ndarray, " N"]:
        return np.memmap(path, "<i8", "w+", shape=(len(self),))


Run = tuple[Column, Column]  # keys, which rise, and their counts
FAN_IN = 16
_names = count()


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


def _new_run(folder: Path) -> Run:
    name = next(_names)
    return Column(folder / f"run{name}"), Column(folder / f"run{name}counts")


def _merge(runs: list[Run], folder: Path, length: int) -> Run:
    """One run from several, which are deleted."""
    keys, counts = _new_run(folder)
    block = max(length // FAN_IN, 1)
    at, sizes = [0] * len(runs), [len(run[0]) for run in runs]
    none = np.empty(0, np.int64)
    fronts = [(none, none)] * len(runs)  # keys and counts that were read and not taken
    while at != sizes or any(len(front[0]) for front in fronts):
        for i, run in enumerate(runs):
            if not len(fronts[i][0]) and at[i] < sizes[i]:
                stop = min(at[i] + block, sizes[i])
                fronts[i] = (run[0].read(at[i], stop), run[1].read(at[i], stop))
                at[i] = stop
        bounds = [int(front[0][-1]) for front, a, size in zip(fronts, at, sizes, strict=True) if a < size]
        bound = min(bounds, default=np.iinfo(np.int64).max)
        taken = [int(np.searchsorted(front[0], bound, side="right")) for front in fronts]
        found, _, ranks, _ = distinct(np.concatenate([front[0][:k] for front, k in zip(fronts, taken, strict=True)]))
        added = np.concatenate([front[1][:k] for front, k in zip(fronts, taken, strict=True)])
        keys.append(found)
        counts.append(np.bincount(ranks, added).astype(np.int64))
        fronts = [(front[0][k:], front[1][k:]) for front, k in zip(fronts, taken, strict=True)]
    for column in (column for run in runs for column in run):
        column.path.unlink()
    return keys, counts
