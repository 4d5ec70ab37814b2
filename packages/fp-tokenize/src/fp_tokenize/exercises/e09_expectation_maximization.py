r"""
One step of expectation-maximisation.

Level: challenge. You need `fp_tokenize.lattice` and `fp_tokenize.unigram_training`.

Nobody tells a unigram model how its training words are cut. If it were known, the probabilities would be frequencies of
pieces; if the probabilities were known, each cut would have a probability. Expectation-maximisation takes turns. With
the present probabilities, a word $w$ has the segmentation $x = x_1 \dots x_k$ with probability

$$P(x \mid w) = \frac{p(x_1) \cdots p(x_k)}{Z(w)}, \qquad
Z(w) = \sum_{x \text{ cuts } w} p(x_1) \cdots p(x_k).$$

The *expected count* of a piece is its number in the segmentations of a word, averaged with these weights, and summed
over all words of the text. The new probability of a piece is its share of all expected counts. The log likelihood
$\sum_w c(w) \ln Z(w)$ never falls from one step to the next, and it is what one watches.

Write one step. A word of 300 characters has more segmentations than there are atoms in the universe, and a $Z$ that no
float can hold; the grader has such a word and gives you a second for it. Sum over what comes before a place and over
what comes after it, in logarithms: the same trick trains hidden Markov models, and the losses of speech recognisers.
"""

import math
from typing import Any

HINTS = (
    "Which segmentations use the piece word[i:j] at this place? Anything before i, the piece, anything after j: so the "
    "sum of their weights is (sum for word[:i]) * p(piece) * (sum for word[j:]).",
    "a[j] = log of the sum over all i of exp(a[i] + log p(word[i:j])), a[0] = 0, from the left; b[i] in the same way "
    "from the right, b[n] = 0. Both end in log Z. A sum of exponentials: take the largest out first.",
    "For each place of each piece add count * exp(a[i] + log p + b[j] - log Z) to the piece's expected count. Divide "
    "by the sum of all expected counts at the end. The log likelihood is the sum of count * a[n].",
)


def em_step(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    """
    New probabilities of the pieces, and how likely the old ones made the words.

    Parameters
    ----------
    words
        Each distinct word and how often it occurs. Every word has a segmentation.
    probability
        Probability of each piece, above 0.

    Returns
    -------
    probability : dict
        New probability of each of the same pieces; 0 for one that stands in no segmentation. Their sum is 1.
    log_likelihood : float
        Natural logarithm of the probability of all words under the probabilities that were given.

    Examples
    --------
    Of "ab" there are two segmentations, with the weights 0.5 * 0.25 and 0.125: half each.

    >>> new, log_likelihood = em_step({"ab": 4, "a": 1}, {"a": 0.5, "b": 0.25, "ab": 0.125, "c": 0.125})
    >>> {piece: round(p, 6) for piece, p in new.items()}
    {'a': 0.428571, 'b': 0.285714, 'ab': 0.285714, 'c': 0.0}
    >>> round(log_likelihood, 6)  # 4 ln(1/4) + ln(1/2)
    -6.238325
    """
    expected = dict.fromkeys(probability, 0.0)
    log_likelihood = 0.0
    for word, count in words.items():
        places = _places(word, probability)
        before, after = _sums(word, places)
        for i, j in places:
            weight = before[i] + math.log(probability[word[i:j]]) + after[j] - before[-1]
            expected[word[i:j]] += count * math.exp(weight)
        log_likelihood += count * before[-1]
    total = sum(expected.values())
    return {piece: value / total for piece, value in expected.items()}, log_likelihood


def _places(word: str, probability: dict[str, float]) -> dict[tuple[int, int], float]:
    """Where pieces stand in a word, with their log probabilities, from left to right."""
    longest = max(map(len, probability))
    return {
        (i, j): math.log(probability[word[i:j]])
        for i in range(len(word))
        for j in range(i + 1, min(i + longest, len(word)) + 1)
        if word[i:j] in probability
    }


def _sums(word: str, places: dict[tuple[int, int], float]) -> tuple[list[float], list[float]]:
    """Log of the summed weights of all segmentations of what is before each place, and of what is after."""
    n = len(word)
    ending: list[list[tuple[int, float]]] = [[] for _ in range(n + 1)]
    starting: list[list[tuple[int, float]]] = [[] for _ in range(n + 1)]
    for (i, j), score in places.items():
        ending[j].append((i, score))
        starting[i].append((j, score))
    before, after = [0.0] * (n + 1), [0.0] * (n + 1)
    for j in range(1, n + 1):
        before[j] = _log_sum([before[i] + score for i, score in ending[j]])
    for i in range(n - 1, -1, -1):
        after[i] = _log_sum([after[j] + score for j, score in starting[i]])
    return before, after


def _log_sum(terms: list[float]) -> float:
    largest = max(terms, default=-math.inf)
    if largest == -math.inf:
        return largest
    return largest + math.log(sum(math.exp(term - largest) for term in terms))


_P = {"a": 0.25, "b": 0.2, "ab": 0.25, "aa": 0.1, "ba": 0.1, "aba": 0.1}

PROBES = (
    ({"ab": 4, "a": 1}, {"a": 0.5, "b": 0.25, "ab": 0.125, "c": 0.125}),
    ({"abab": 3, "aaba": 2, "b": 1}, _P),
    ({"aaaa": 1, "aa": 5}, {"a": 0.5, "aa": 0.3, "aaa": 0.2}),
    (
        {"undo": 2, "under": 3, "do": 1},
        {"un": 0.1, "do": 0.1, "und": 0.1, "er": 0.1, "o": 0.1, "u": 0.1, "n": 0.1, "d": 0.1, "e": 0.1, "r": 0.1},
    ),
    ({"ab" * 150: 1, "aba": 2}, {"a": 0.02, "b": 0.01, "ab": 0.0003, "ba": 0.0001, "x": 0.9696}),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for words, probability in PROBES:
        got = learner.em_step(dict(words), dict(probability))
        assert isinstance(got, tuple | list) and len(got) == 2 and isinstance(got[0], dict), (
            f"expected new probabilities (a dict) and a log likelihood, got {got!r:.80}"
        )
        new, log_likelihood = got
        expected, wanted = em_step(words, probability)
        shown = ", ".join(f"{word if len(word) < 20 else word[:6] + '…'!s} ({count})" for word, count in words.items())
        case = f"for the words {shown} and the probabilities {probability}"
        assert new.keys() == expected.keys(), (
            f"{case}, the new probabilities are of the same pieces, got {sorted(map(str, new))}"
        )
        for piece, p in expected.items():
            # sums of a few hundred terms round by 1e-13 of the value; the mistakes here are off by 1e-3 and more
            assert isinstance(new[piece], float | int) and abs(new[piece] - p) <= 1e-9, (
                f"{case}, the new probability of {piece!r} is {p:.9f}; got {new[piece]!r:.40}"
            )
        assert isinstance(log_likelihood, float | int) and abs(log_likelihood - wanted) <= 1e-9 * abs(wanted), (
            f"{case}, the log likelihood is {wanted:.6f}; got {log_likelihood!r:.40}"
        )


def _step(words: dict[str, int], probability: dict[str, float], wrong: str) -> tuple[dict[str, float], float]:
    expected, log_likelihood = dict.fromkeys(probability, 0.0), 0.0
    for word, count in words.items():
        places = _places(word, probability)
        if wrong == "equal":
            places = dict.fromkeys(places, 0.0)
        before, after = _sums(word, places)
        for (i, j), score in places.items():
            weight = before[i] + score + (0.0 if wrong == "forward" else after[j])
            weight -= 0.0 if wrong == "joint" else before[-1]
            expected[word[i:j]] += (1 if wrong == "once" else count) * math.exp(weight)
        log_likelihood += (1 if wrong == "once" else count) * _sums(word, _places(word, probability))[0][-1]
    total = sum(words.values()) if wrong == "words" else sum(expected.values())
    return {piece: value / total for piece, value in expected.items()}, log_likelihood


def _best_only(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    expected, log_likelihood = dict.fromkeys(probability, 0.0), 0.0
    for word, count in words.items():
        best: list[tuple[float, list[str]]] = [(0.0, [])]
        for j in range(1, len(word) + 1):
            ends = [i for i in range(max(0, j - 8), j) if word[i:j] in probability and best[i][0] > -math.inf]
            options = [(best[i][0] + math.log(probability[word[i:j]]), i) for i in ends]
            score, i = max(options, default=(-math.inf, 0))
            best.append((score, [*best[i][1], word[i:j]]))
        for piece in best[-1][1]:
            expected[piece] += count
        log_likelihood += count * best[-1][0]
    total = sum(expected.values())
    return {piece: value / total for piece, value in expected.items()}, log_likelihood


def _all_alike(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    return _step(words, probability, "equal")


def _without_what_follows(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    return _step(words, probability, "forward")


def _not_divided_by_z(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    return _step(words, probability, "joint")


def _words_once(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    return _step(words, probability, "once")


def _per_word(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    return _step(words, probability, "words")


def _likelihood_of_the_new(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    new, _ = em_step(words, probability)
    return new, em_step(words, {piece: p for piece, p in new.items() if p > 0})[1]


def _products(words: dict[str, int], probability: dict[str, float]) -> tuple[dict[str, float], float]:
    expected, log_likelihood = dict.fromkeys(probability, 0.0), 0.0
    for word, count in words.items():
        places = _places(word, probability)
        before, after = _sums(word, places)
        if math.exp(before[-1]) == 0:  # what products of floats would have come to
            return dict.fromkeys(probability, math.nan), -math.inf
        for (i, j), score in places.items():
            expected[word[i:j]] += count * math.exp(before[i]) * math.exp(score + after[j]) / math.exp(before[-1])
        log_likelihood += count * before[-1]
    total = sum(expected.values())
    return {piece: value / total for piece, value in expected.items()}, log_likelihood


MISTAKES = (
    (
        _best_only,
        "You count the pieces of the best segmentation only. The others are possible too: each counts with its own "
        "probability given the word.",
    ),
    (
        _all_alike,
        "You count all segmentations of a word alike. They have probabilities: the products of those of their pieces.",
    ),
    (
        _without_what_follows,
        "You leave out what follows a piece. A piece after which the word cannot be finished is in no segmentation.",
    ),
    (
        _not_divided_by_z,
        "You do not divide by Z. The segmentations of one word share one word, so their weights must sum to 1.",
    ),
    (_words_once, "You let each distinct word count once. It stands for all of its occurrences."),
    (
        _per_word,
        "You divide by the number of words. A word has several pieces, so the new numbers would not sum to 1: divide "
        "by the sum of all expected counts.",
    ),
    (
        _likelihood_of_the_new,
        "You return the likelihood under the new probabilities. The step computes Z with the old ones, and theirs is "
        "what was asked.",
    ),
    (
        _products,
        "You multiply probabilities. For a long word every product becomes zero and Z with them: add logarithms.",
    ),
)
