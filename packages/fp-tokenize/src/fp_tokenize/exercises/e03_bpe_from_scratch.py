r"""
Byte-pair encoding from scratch.

Level: implement. You need `fp_tokenize.bpe_training`; exercises 1 and 2 are its two halves.

Training is a loop: count all pairs, take the most frequent one, merge it in every word, note it down. What is noted, in
order, is all that the tokenizer has learnt.

Two things have to be settled for the result to be the same everywhere. If several pairs have the largest count, take
the smallest pair in the order of Python's tuples of strings. And if there is no pair left, because every word is one
symbol, stop early.

Counting again after each merge is enough here. The chapter shows how to bring the counts up to date instead, a thousand
times faster, with the same result.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

HINTS = (
    "Keep the words as lists of symbols beside their counts, and replace them by their merged versions in each round.",
    "`min` takes a key: the count first, with a minus, and for ties the pair itself.",
    "`best = min(counts, key=lambda pair: (-counts[pair], pair))`, then merge it in every word from left to right and "
    "go on behind each merge.",
)


def train(words: dict[str, int], n_merges: int) -> list[tuple[str, str]]:
    """
    The first merges of a byte-pair encoding of characters.

    Parameters
    ----------
    words
        Each distinct word and how often it occurs.
    n_merges
        How many merges to learn at most.

    Returns
    -------
    list of tuple
        Pairs in the order in which they were merged.

    Examples
    --------
    >>> train({"low": 5, "lot": 2}, 9)
    [('l', 'o'), ('lo', 'w'), ('lo', 't')]
    """
    split = [(list(word), count) for word, count in words.items()]
    merges: list[tuple[str, str]] = []
    for _ in range(n_merges):
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in split:
            for pair in pairwise(word):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for word, _count in split:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [word[i] + word[i + 1]]
                i += 1
    return merges


PROBES = (
    ({"low": 5, "lot": 2}, 9),
    ({"low": 5, "lower": 2, "newest": 6, "widest": 3}, 12),
    ({"aaaa": 3, "aa": 1, "baaa": 2}, 4),
    ({"ab": 2, "ba": 2, "cab": 1}, 5),
    ({"x": 7}, 3),
    ({"aaa": 2, "bcd": 3}, 2),
    ({"aab": 3, "cd": 4}, 3),
    ({"banana": 1, "bandana": 4, "anna": 2}, 8),
    ({"the": 9, "then": 4, "he": 5}, 0),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for words, n in PROBES:
        got = learner.train(dict(words), n)
        assert isinstance(got, list) and all(isinstance(pair, tuple | list) for pair in got), (
            f"expected a list of pairs, got {got!r:.80}"
        )
        expected = train(words, n)
        merges = [tuple(pair) for pair in got]
        for k, (one, other) in enumerate(zip(expected, merges, strict=False)):
            assert one == other, f"for the words {words}, merge {k} is {one}; got {other}, behind {expected[:k]}"
        assert len(merges) == len(expected), (
            f"for the words {words} and n_merges = {n} there are {len(expected)} merges, got {len(merges)}: {merges}"
        )


def _trained(words: dict[str, int], n_merges: int, **wrong: Any) -> list[tuple[str, str]]:
    split = [(list(word), count) for word, count in words.items()]
    merges: list[tuple[str, str]] = []
    for _ in range(n_merges):
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in split:
            for left, right in pairwise(word):
                weight = 2 if wrong.get("runs") and left == right else 1
                counts[left, right] += weight * (1 if wrong.get("once") else count)
        if wrong.get("last") is not None:
            counts = Counter({pair: count for pair, count in counts.items() if count > wrong["last"]})
        if not counts:
            break
        if wrong.get("largest"):
            best = max(counts, key=lambda pair: (counts[pair], pair))
        elif wrong.get("longest"):
            best = min(counts, key=lambda pair: (-counts[pair] * len("".join(pair)), pair))
        else:
            best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        if wrong.get("never"):
            for pair in [pair for pair, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))][1:]:
                if len(merges) < n_merges:
                    merges.append(pair)
            break
        for word, _count in split:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [word[i] + word[i + 1]]
                i += 1
    return merges


def _runs_counted_twice(words: dict[str, int], n_merges: int) -> list[tuple[str, str]]:
    return _trained(words, n_merges, runs=True)


def _largest_of_equals(words: dict[str, int], n_merges: int) -> list[tuple[str, str]]:
    return _trained(words, n_merges, largest=True)


def _distinct_words(words: dict[str, int], n_merges: int) -> list[tuple[str, str]]:
    return _trained(words, n_merges, once=True)


def _counted_once(words: dict[str, int], n_merges: int) -> list[tuple[str, str]]:
    return _trained(words, n_merges, never=True)


def _rare_pairs_left_out(words: dict[str, int], n_merges: int) -> list[tuple[str, str]]:
    return _trained(words, n_merges, last=2)


def _by_saved_characters(words: dict[str, int], n_merges: int) -> list[tuple[str, str]]:
    return _trained(words, n_merges, longest=True)


MISTAKES = (
    (
        _runs_counted_twice,
        "You count the pairs of a run of equal symbols twice. aaa has (a, a) at two places, and that is its count.",
    ),
    (
        _largest_of_equals,
        "You take the largest of the pairs with the highest count. The rule says the smallest; two programs that "
        "differ here learn different vocabularies.",
    ),
    (_distinct_words, "You count each distinct word once. A word's pairs occur as often as the word."),
    (
        _counted_once,
        "You count once and take the pairs by their counts. Every merge makes new pairs and takes places from old "
        "ones: count again.",
    ),
    (
        _rare_pairs_left_out,
        "You stop when counts get small. Without a rule that says so, every pair that is left can be merged.",
    ),
    (
        _by_saved_characters,
        "You prefer pairs that make long symbols. The count alone decides: each merge of a pair saves one symbol, "
        "however long it is.",
    ),
)
