r"""
WordPiece's score.

Level: implement. You need `fp_tokenize.wordpiece_training`.

WordPiece grows a vocabulary by merging, as byte-pair encoding does, and asks another question: not which pair is most
frequent, but which is more frequent than its parts would lead one to expect. With counts $c$ of symbols and pairs in a
text of words, the published score of a pair is

$$s(a, b) = \frac{c(ab)}{c(a)\, c(b)}.$$

Were symbols drawn independently, a pair would come about as often as $c(a)\,c(b)/N$ for a text of $N$ symbols; the
score is the ratio of what is seen to that, but for the $N$ that all pairs share. Its logarithm is the pointwise mutual
information of the two.

Compute it for all pairs. Symbols are counted in all words and at all places, also where they have no neighbour: what
the parts do elsewhere is the point. The symbols that continue a word are written with `##` before them, and so are
symbols of their own.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

HINTS = (
    "Two counts, over the same words: of single symbols and of pairs of neighbours. A word counts as often as it "
    "occurs.",
    "The first character of a word is a symbol as it stands; every other one gets `##` before it. Split first, then "
    "count.",
    "`symbols = [word[0], *('##' + c for c in word[1:])]`; the score of a pair is its count over the product of the "
    "counts of its two symbols.",
)


def scores(words: dict[str, int]) -> dict[tuple[str, str], float]:
    """
    WordPiece's score of every pair, before the first merge.

    Parameters
    ----------
    words
        Each distinct word and how often it occurs; no word is empty.

    Returns
    -------
    dict
        Score of each pair of neighbouring symbols.

    Examples
    --------
    >>> scores({"hug": 10, "pug": 5, "hugs": 5}) == {
    ...     ("h", "##u"): 15 / (15 * 20),
    ...     ("p", "##u"): 5 / (5 * 20),
    ...     ("##u", "##g"): 20 / (20 * 20),
    ...     ("##g", "##s"): 5 / (20 * 5),
    ... }
    True
    """
    symbols: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        split = [word[0], *("##" + character for character in word[1:])]
        for symbol in split:
            symbols[symbol] += count
        for pair in pairwise(split):
            pairs[pair] += count
    return {(a, b): count / (symbols[a] * symbols[b]) for (a, b), count in pairs.items()}


PROBES = (
    ({"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5},),
    ({"aaa": 2, "ba": 3, "a": 5},),
    ({"token": 3, "ken": 4, "to": 9, "n": 1},),
    ({"x": 4},),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for (words,) in PROBES:
        got = learner.scores(dict(words))
        assert isinstance(got, dict), f"expected a dict of scores, got {got!r:.80}"
        expected = scores(words)
        missing = sorted(set(expected) - set(got))
        assert not missing, f"in the words {words} there is no score for {missing[0]}, which stand side by side"
        extra = sorted(set(got) - set(expected), key=repr)
        assert not extra, f"in the words {words}, {extra[0]!r} has a score, and never stands so in a word"
        for pair, score in expected.items():
            value = got[pair]
            # rounding is far below 1e-9 of the score, any other formula far above
            assert isinstance(value, float | int) and abs(value - score) <= 1e-9 * score, (
                f"in the words {words} the score of {pair} is {score:.6g}, got {value!r:.40}"
            )


def _split(words: dict[str, int], mark: str = "##") -> dict[tuple[str, ...], int]:
    return {(word[0], *(mark + character for character in word[1:])): count for word, count in words.items()}


def _from_counts(words: dict[tuple[str, ...], int], how: str) -> dict[tuple[str, str], float]:
    symbols: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for word, count in words.items():
        weight = 1 if how == "once" else count
        for symbol in word if how != "set" else set(word):
            symbols[symbol] += weight
        for a, b in pairwise(word):
            pairs[a, b] += weight
    total = symbols.total()
    if how == "frequency":
        return {pair: float(count) for pair, count in pairs.items()}
    if how == "sum":
        return {(a, b): count / (symbols[a] + symbols[b]) for (a, b), count in pairs.items()}
    if how == "total":
        return {(a, b): count * total / (symbols[a] * symbols[b]) for (a, b), count in pairs.items()}
    if how == "left":
        return {(a, b): count / symbols[a] for (a, b), count in pairs.items()}
    return {(a, b): count / (symbols[a] * symbols[b]) for (a, b), count in pairs.items()}


def _most_frequent(words: dict[str, int]) -> dict[tuple[str, str], float]:
    return _from_counts(_split(words), "frequency")


def _divided_by_the_sum(words: dict[str, int]) -> dict[tuple[str, str], float]:
    return _from_counts(_split(words), "sum")


def _conditional(words: dict[str, int]) -> dict[tuple[str, str], float]:
    return _from_counts(_split(words), "left")


def _without_marks(words: dict[str, int]) -> dict[tuple[str, str], float]:
    plain = _from_counts(_split(words, ""), "")
    return {
        pair: plain[pair[0].removeprefix("##"), pair[1].removeprefix("##")] for pair in _from_counts(_split(words), "")
    }


def _words_once(words: dict[str, int]) -> dict[tuple[str, str], float]:
    return _from_counts(_split(words), "once")


def _pairs_once(words: dict[str, int]) -> dict[tuple[str, str], float]:
    split = _split(words)
    symbols = Counter(symbol for word, count in split.items() for _ in range(count) for symbol in word)
    pairs = Counter(pair for word in split for pair in pairwise(word))
    return {(a, b): count / (symbols[a] * symbols[b]) for (a, b), count in pairs.items()}


def _with_the_total(words: dict[str, int]) -> dict[tuple[str, str], float]:
    return _from_counts(_split(words), "total")


def _symbols_of_pairs_only(words: dict[str, int]) -> dict[tuple[str, str], float]:
    return _from_counts({word: count for word, count in _split(words).items() if len(word) > 1}, "")


MISTAKES = (
    (
        _most_frequent,
        "You score a pair by its count. That is byte-pair encoding; here a pair counts for more if its parts are rare.",
    ),
    (
        _divided_by_the_sum,
        "You divide by the sum of the two counts. What chance would bring about is proportional to their product.",
    ),
    (
        _conditional,
        "You divide by the count of the first symbol alone, which gives how often the second follows it. The second "
        "symbol may be frequent everywhere.",
    ),
    (
        _without_marks,
        "You count a symbol that begins a word together with the one that continues it. They are two symbols.",
    ),
    (_words_once, "You count each distinct word once. All its symbols and pairs occur as often as the word."),
    (
        _pairs_once,
        "You count the pairs of each distinct word once, and its symbols as often as the word. Both occur as often.",
    ),
    (
        _with_the_total,
        "You multiply by the number of symbols. That makes it the ratio to what chance would give; the score as it is "
        "published leaves out this factor, which is the same for all pairs.",
    ),
    (
        _symbols_of_pairs_only,
        "You leave words of one symbol out of the counts. A symbol that often stands alone is less tied to its "
        "neighbours.",
    ),
)
