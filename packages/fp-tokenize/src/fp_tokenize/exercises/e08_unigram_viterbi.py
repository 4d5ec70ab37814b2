r"""
The most probable segmentation.

Level: implement. You need `fp_tokenize.lattice`.

In a unigram model each piece has a probability, and a segmentation has the product of the probabilities of its pieces.
A word of $n$ characters has up to $2^{n-1}$ segmentations, yet the best one is found by looking at each pair of places
once: the best segmentation of the first $j$ characters ends with some piece, and what is before that piece has to be
the best segmentation of the characters before it. Otherwise a better one could be put there.

Write this search. Work with logarithms, because products of many small numbers become zero, and remember for each place
where its last piece begins, so that you can go back from the end.

In the tests no two segmentations of a word are equally probable.
"""

import math
from typing import Any

HINTS = (
    "Let best[j] be the largest log probability of a segmentation of the first j characters: best[0] = 0, and minus "
    "infinity where there is none.",
    "best[j] is the largest of best[i] + log_probability[word[i:j]] over all i < j for which word[i:j] is a piece. "
    "Keep the i that gave it.",
    "From j = n go to the i that was kept for j, note word[i:j], and repeat until 0; then turn the list around. If "
    "best[n] is minus infinity, return None.",
)


def segment(word: str, log_probability: dict[str, float]) -> list[str] | None:
    """
    The most probable segmentation of a word.

    Parameters
    ----------
    word
        The word.
    log_probability
        Natural logarithm of each piece's probability.

    Returns
    -------
    list of str or None
        The pieces in order; `None` if there is no segmentation.

    Examples
    --------
    >>> segment("undo", {"un": -4.0, "do": -3.5, "und": -3.9, "o": -6.0, "u": -4.0, "n": -4.0, "d": -5.0})
    ['un', 'do']
    """
    n = len(word)
    best, begin = [0.0] + [-math.inf] * n, [0] * (n + 1)
    for j in range(1, n + 1):
        for i in range(j):
            score = best[i] + log_probability.get(word[i:j], -math.inf)
            if score > best[j]:
                best[j], begin[j] = score, i
    if best[n] == -math.inf:
        return None
    pieces, j = [], n
    while j:
        pieces.append(word[begin[j] : j])
        j = begin[j]
    return pieces[::-1]


PROBES = (
    ("undo", {"un": -4.0, "do": -3.5, "und": -3.9, "o": -6.0, "u": -4.0, "n": -4.0, "d": -5.0}),
    ("abc", {"a": -1.0, "b": -1.1, "c": -1.2, "ab": -2.5, "bc": -2.0, "abc": -3.25}),
    ("aaaa", {"a": -1.0, "aa": -1.9, "aaa": -3.1}),
    ("abab", {"ab": -9.0, "a": -4.0, "b": -4.1}),
    ("xyz", {"x": -1.0, "yz": -2.0, "z": -1.0}),
    ("xyq", {"x": -1.0, "y": -2.0, "xy": -0.5}),
    ("", {"a": -1.0}),
    ("ab" * 40, {"a": -20.0, "b": -30.0, "ab": -49.0, "ba": -45.0}),
    ("hello", {"he": -1.0, "llo": -7.0, "hel": -3.0, "lo": -3.0, "l": -2.5, "o": -2.0}),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for word, table in PROBES:
        got = learner.segment(word, dict(table))
        expected = segment(word, table)
        shown = word if len(word) < 20 else word[:8] + "…"
        assert (got is None or isinstance(got, list)) and got == expected, (
            f"{shown!r} with the log probabilities {table}: "
            + ("there is no segmentation, so expected None" if expected is None else f"expected {_short(expected)}")
            + f", got {_short(got)}"
        )


def _short(pieces: Any) -> str:
    return f"{pieces!r:.90}"


def _greedy(word: str, log_probability: dict[str, float]) -> list[str] | None:
    pieces, at = [], 0
    while at < len(word):
        end = next((e for e in range(len(word), at, -1) if word[at:e] in log_probability), None)
        if end is None:
            return None
        pieces.append(word[at:end])
        at = end
    return pieces


def _likeliest_next(word: str, log_probability: dict[str, float]) -> list[str] | None:
    pieces, at = [], 0
    while at < len(word):
        ends = [e for e in range(at + 1, len(word) + 1) if word[at:e] in log_probability]
        if not ends:
            return None
        end = max(ends, key=lambda e: log_probability[word[at:e]])
        pieces.append(word[at:end])
        at = end
    return pieces


def _fewest(word: str, log_probability: dict[str, float]) -> list[str] | None:
    return segment(word, {piece: -1 + score * 1e-6 for piece, score in log_probability.items()})


def _least(word: str, log_probability: dict[str, float]) -> list[str] | None:
    return segment(word, {piece: -100 * len(piece) - score for piece, score in log_probability.items()})


def _products(word: str, log_probability: dict[str, float]) -> list[str] | None:
    n = len(word)
    best, begin = [1.0] + [0.0] * n, [0] * (n + 1)
    for j in range(1, n + 1):
        for i in range(j):
            score = best[i] * math.exp(log_probability.get(word[i:j], -math.inf))
            if score > best[j]:
                best[j], begin[j] = score, i
    if n and best[n] == 0:
        return None
    pieces, j = [], n
    while j:
        pieces.append(word[begin[j] : j])
        j = begin[j]
    return pieces[::-1]


def _backwards(word: str, log_probability: dict[str, float]) -> list[str] | None:
    found = segment(word, log_probability)
    return found if found is None else found[::-1]


def _mean(word: str, log_probability: dict[str, float]) -> list[str] | None:
    return segment(word, {piece: score / len(piece) for piece, score in log_probability.items()})


MISTAKES = (
    (
        _greedy,
        "You take the longest piece at each place. What is left behind it may be improbable or impossible: compare "
        "whole segmentations.",
    ),
    (
        _likeliest_next,
        "You take the most probable piece at each place. Short pieces win, and the product of all of them counts.",
    ),
    (_fewest, "You look for the fewest pieces. Two probable ones can be worth more than one that is rare."),
    (_least, "You find the least probable segmentation: logarithms are negative, and the largest sum is wanted."),
    (
        _products,
        "You multiply probabilities. In long words the product becomes zero in the computer, and the search finds "
        "nothing: add logarithms.",
    ),
    (_backwards, "You return the pieces as you meet them on the way back. The last one comes first then: turn them."),
    (
        _mean,
        "You divide log probabilities by the length of the piece. A segmentation has the sum of the log probabilities "
        "as they are.",
    ),
)
