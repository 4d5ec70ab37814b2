r"""
Counting pairs.

Level: implement. You need `fp_tokenize.bpe_training`.

Byte-pair encoding asks one question again and again: which two symbols stand side by side most often? The text has been
counted before: you get each distinct word, as a tuple of symbols, with the number of times that it occurs. So a word is
looked at once, however frequent it is.

Count every place where two symbols are neighbours inside a word. Neighbours of different words are not neighbours, for
no merge may cross the border of a word. Places may overlap: "aaa" has the pair (a, a) at two places, though only one of
them can be merged. That is the usual definition, and since the same count is used for every pair, a fair one; but
remember it when a count of 2 is gone after a single merge.

The trainers of all large language models begin with this count, and spend most of their effort on never doing it twice.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

HINTS = (
    "Look at one word first. A word of n symbols has n - 1 places with a pair. How often does each of these places "
    "occur in the text?",
    "Each place of a word counts as often as the word: add the word's count, not 1.",
    "`pairwise(word)` goes over the places of a word. Add the word's count to a `Counter` at each.",
)


def count_pairs(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    """
    How often each pair of symbols stands side by side.

    Parameters
    ----------
    words
        Each distinct word as a tuple of symbols, which can be longer than a character, and how often it occurs.

    Returns
    -------
    dict
        Count of each pair that occurs, in any order.

    Examples
    --------
    >>> count_pairs({("l", "o", "w"): 3, ("l", "o", "t"): 2, ("o",): 9}) == {
    ...     ("l", "o"): 5,
    ...     ("o", "w"): 3,
    ...     ("o", "t"): 2,
    ... }
    True
    """
    counts: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    return dict(counts)


PROBES: tuple[tuple[dict[tuple[str, ...], int]], ...] = (
    ({("l", "o", "w"): 3, ("l", "o", "t"): 2, ("o",): 9},),
    ({("a", "a", "a"): 1, ("b",): 2},),
    ({("a", "a", "a", "a", "b"): 7, ("b", "a"): 4, ("a", "b"): 1},),
    ({("th", "e"): 5, ("t", "h", "e"): 2, ("th", "e", "th", "e"): 1},),
    ({("x",): 3},),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for (words,) in PROBES:
        got = learner.count_pairs(dict(words))
        assert isinstance(got, dict), f"expected a dict of counts, got {got!r:.80}"
        expected = count_pairs(words)
        for pair in sorted({*expected, *(pair for pair, count in got.items() if count)}, key=repr):
            assert got.get(pair, 0) == expected.get(pair, 0), (
                f"in the words {_short(words)} the pair {pair} stands at {expected.get(pair, 0)} places; got "
                f"{got.get(pair, 0)}. A place counts as often as its word, and places may overlap."
            )


def _short(words: dict[tuple[str, ...], int]) -> str:
    return ", ".join(f"{' '.join(word)} ({count} times)" for word, count in words.items())


def _each_word_once(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    return count_pairs(dict.fromkeys(words, 1))


def _set_of_pairs(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        for pair in set(pairwise(word)):
            counts[pair] += count
    return dict(counts)


def _without_overlap(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        last: dict[tuple[str, str], int] = {}
        for i, pair in enumerate(pairwise(word)):
            if last.get(pair, -2) < i - 1:
                counts[pair] += count
                last[pair] = i
    return dict(counts)


def _doubled_in_runs(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        for left, right in pairwise(word):
            counts[left, right] += count
            if left == right:
                counts[right, left] += count
    return dict(counts)


def _across_words(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    text = [symbol for word, count in words.items() for _ in range(count) for symbol in word]
    return dict(Counter(pairwise(text)))


def _whatever_the_order(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for (left, right), count in count_pairs(words).items():
        counts[min(left, right), max(left, right)] += count
    return dict(counts)


def _characters(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        text = "".join(word)
        for pair in pairwise(text):
            counts[pair] += count
    return dict(counts)


MISTAKES = (
    (
        _each_word_once,
        "You count each distinct word once. It stands for all its occurrences, so each of its places counts as often.",
    ),
    (
        _set_of_pairs,
        "You count a pair once for a word that has it at several places. Every place counts: they can all be merged, "
        "unless they overlap.",
    ),
    (
        _without_overlap,
        "You leave out places that overlap the one before. The count is of places: aaa has the pair (a, a) at two.",
    ),
    (
        _doubled_in_runs,
        "You count the overlapping pairs of a run twice. A place is a place also where both symbols are equal: aaa has "
        "(a, a) at two places, not at four.",
    ),
    (
        _across_words,
        "You count the end of one word with the beginning of the next. No merge crosses the border of a word.",
    ),
    (
        _whatever_the_order,
        "You put (b, a) and (a, b) together. A merge writes its symbols in order, so these are two pairs.",
    ),
    (
        _characters,
        "You take words apart into characters. After the first merges symbols are longer, and pairs are of symbols.",
    ),
)
