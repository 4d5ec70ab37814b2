r"""
Reading a corpus before modelling it.

Level: challenge. You need `fp_markov.counting` and `fp_markov.growth`.

Three questions tell much about what a model of a text will meet. Answer them with numbers, from token ids. First split:
the last `n_held_out` tokens are held out, the rest is the training part, and no $n$-gram reaches across the split.

*How unequal are the tokens?* Sort the counts of the training part's distinct tokens, largest first: $n_1$ is the count
of the most frequent, which has rank 1, and $n_K$ of the rarest. **Zipf's law** gives rank $r$ the probability
$p_r = r^{-s} / \sum_{q=1}^{K} q^{-s}$. Find the exponent $s$ that makes the training part most likely; by
`markov.zipf-likelihood` it is the one $s \ge 0$ with

$$\sum_{r=1}^{K} p_r \ln r = \frac{\sum_r n_r \ln r}{\sum_r n_r},$$

and the left side falls as $s$ grows. For words it is near 1.

*Does the vocabulary end?* Let $D(m)$ be the number of distinct tokens among the first $m$ of the training part.
**Heaps' law** says that $D(m)$ is close to $K m^\beta$. Fit a line by least squares to $\ln D(m)$ against $\ln m$ at
$m = 1, 2, 4, 8, \dots$, all powers of two up to the length of the training part; $\beta$ is its slope. For words it is
well above zero: new ones keep coming, one reason why large models read pieces of words.

*How much of tomorrow was seen today?* For $n = 1, 2, 3$: of all places in the held-out part where an $n$-gram begins,
the share at which this $n$-gram occurs anywhere in the training part. A frequent $n$-gram counts at each of its places.
Watch how fast the share falls with $n$; it is what smoothing is for, and why models that share what they learn between
similar contexts have replaced tables.
"""

from numbers import Real
from typing import Any

import numpy as np

HINTS = (
    "`np.unique(train, return_counts=True)` gives the distinct tokens and their counts. For Zipf, halve an interval: "
    "try its middle as s; where the left side of the equation is still too large, s must be larger. Sixty halvings of "
    "the interval from 0 to 50 are more than enough.",
    "For Heaps, `len(np.unique(train[:m]))` at each power of two m up to `len(train)`: everything from the beginning, "
    "in the text's order. `np.polyfit(x, y, 1)` fits a line by least squares and returns its slope first.",
    "For the coverage, put the training part's n-grams as tuples into a set, walk over the held-out part's n-grams, "
    "one for each place, and take the mean of `gram in seen`.",
)


def corpus_report(ids: np.ndarray, n_held_out: int) -> dict[str, float]:
    """
    Zipf's and Heaps' exponents of a text's training part, and how much of its held-out part was seen there.

    Parameters
    ----------
    ids
        A text: token ids, not negative, shape `(T,)`. The training part has at least two distinct tokens.
    n_held_out
        Number of tokens at the end that are held out: at least 3, and at most `T - 3`.

    Returns
    -------
    dict
        `"zipf"`: the most likely exponent s of the training part, from 0 to 50, right to five decimals;
        `"heaps"`: the slope of ln D(m) against ln m, at the powers of two m from 1 to the training part's length;
        `"covered_1"`, `"covered_2"`, `"covered_3"`: the share of the held-out part's n-grams, each place counted, that
        occur in the training part.

    Examples
    --------
    Counts 6, 3 and 2 are 6/1, 6/2 and 6/3, so s is 1. Held out are four tokens, of which 7 is new; of their three
    bigrams only 0 0 was seen:

    >>> report = corpus_report(np.array([0, 1, 0, 0, 2, 1, 0, 0, 2, 0, 1] + [0, 0, 7, 0]), n_held_out=4)
    >>> {name: round(number, 3) for name, number in report.items()}
    {'zipf': 1.0, 'heaps': 0.475, 'covered_1': 0.75, 'covered_2': 0.333, 'covered_3': 0.0}
    """
    train, held_out = ids[:-n_held_out], ids[-n_held_out:]
    counts = np.sort(np.unique(train, return_counts=True)[1])[::-1]
    lengths = 2 ** np.arange(len(train).bit_length())
    distinct = [len(np.unique(train[:m])) for m in lengths]
    report = {
        "zipf": _most_likely_exponent(counts),
        "heaps": float(np.polyfit(np.log(lengths), np.log(distinct), 1)[0]),
    }
    for n in (1, 2, 3):
        seen = {tuple(train[i : i + n].tolist()) for i in range(len(train) - n + 1)}
        places = range(n_held_out - n + 1)
        report[f"covered_{n}"] = float(np.mean([tuple(held_out[i : i + n].tolist()) in seen for i in places]))
    return report


def _most_likely_exponent(counts: np.ndarray) -> float:
    """Zipf's exponent from the counts of ranks 1, 2, 3, ..., by halving an interval that holds it."""
    ln_rank = np.log(np.arange(1, len(counts) + 1))
    low, high = 0.0, 50.0
    for _ in range(60):
        s = (low + high) / 2
        p = np.exp(-s * ln_rank)
        if p @ ln_rank / p.sum() > counts @ ln_rank / counts.sum():  # too much weight on high ranks
            low = s
        else:
            high = s
    return low


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(10)
    zipf = rng.permutation(np.repeat(np.arange(6), [60, 30, 20, 15, 12, 10]))
    word_like = np.minimum(rng.pareto(0.9, size=218), 400).astype(int)
    for name, ids, n_held_out in (
        ("the text 0 1 0 0 2 1 0 0 2 0 1 | 0 0 7 0 (held out after the bar)", _TEXT, 4),
        ("a text in which the token of rank r occurs 60/r times", np.append(zipf, [0, 1, 2]), 3),
        ("the text 0 1 2 ... 31 | 29 30 31 40 40 0 1 2", np.append(np.arange(32), [29, 30, 31, 40, 40, 0, 1, 2]), 8),
        ("a random text of 218 tokens, 90 of them held out", word_like, 90),
    ):
        got = learner.corpus_report(ids.copy(), n_held_out)
        assert isinstance(got, dict), f"expected a dict of five numbers, got {type(got).__name__}: {got!r:.80}"
        train, held_out = ids[:-n_held_out].tolist(), ids[-n_held_out:].tolist()
        expected = _exponents(train) | _coverage(train, held_out)
        assert set(got) == set(expected), f"expected the names {list(expected)}, got {list(got)!r:.200}"
        for key, value in got.items():
            assert isinstance(value, Real), f"expected a float as {key!r}, got {type(value).__name__}: {value!r:.80}"
            assert abs(float(value) - expected[key]) <= 1e-5, (
                f"{name}: expected {key} = {expected[key]:.4f}, got {float(value):.4f}. " + _REMINDERS[key]
            )


_TEXT = np.array([0, 1, 0, 0, 2, 1, 0, 0, 2, 0, 1, 0, 0, 7, 0])

_COVERED = "It is a share of the places in the held-out part, and what was seen is what the training part holds."
_REMINDERS = {
    "zipf": "It is the exponent of largest likelihood for the counts of the training part, the largest at rank 1.",
    "heaps": "It is the slope of ln D(m) against ln m, where D(m) counts all distinct tokens since the beginning.",
    "covered_1": _COVERED,
    "covered_2": _COVERED,
    "covered_3": _COVERED,
}


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def _exponents(train: list[int]) -> dict[str, float]:
    counts = np.array(sorted((train.count(token) for token in set(train)), reverse=True))
    ln_rank = np.log(np.arange(1, len(counts) + 1))

    def log_likelihood(s: float) -> float:
        return float(-s * (counts @ ln_rank) - counts.sum() * np.log(np.exp(-s * ln_rank).sum()))

    low, high = 0.0, 50.0  # the maximum itself is sought here, the reference looks for a vanishing slope
    for _ in range(100):
        left, right = (2 * low + high) / 3, (low + 2 * high) / 3
        low, high = (left, high) if log_likelihood(left) < log_likelihood(right) else (low, right)
    lengths = [2**i for i in range(40) if 2**i <= len(train)]
    return {"zipf": low, "heaps": _slope(np.log(lengths), np.log([len(set(train[:m])) for m in lengths]))}


def _grams(text: list[int], n: int) -> list[tuple[int, ...]]:
    return list(zip(*(text[i:] for i in range(n)), strict=False))


def _coverage(train: list[int], held_out: list[int]) -> dict[str, float]:
    coverage = {}
    for n in (1, 2, 3):
        places, seen = _grams(held_out, n), set(_grams(train, n))
        coverage[f"covered_{n}"] = sum(gram in seen for gram in places) / len(places)
    return coverage


def _line_through_the_logarithms(ids: np.ndarray, n_held_out: int) -> dict[str, float]:
    counts = np.sort(np.unique(ids[:-n_held_out], return_counts=True)[1])[::-1]
    return corpus_report(ids, n_held_out) | {"zipf": -_slope(np.log(np.arange(len(counts)) + 1), np.log(counts))}


def _ranks_from_the_rarest(ids: np.ndarray, n_held_out: int) -> dict[str, float]:
    rising = np.sort(np.unique(ids[:-n_held_out], return_counts=True)[1])
    return corpus_report(ids, n_held_out) | {"zipf": _most_likely_exponent(rising)}


def _plain_axes(ids: np.ndarray, n_held_out: int) -> dict[str, float]:
    train = ids[:-n_held_out]
    lengths = 2 ** np.arange(len(train).bit_length())
    distinct = np.array([len(np.unique(train[:m])) for m in lengths])
    return corpus_report(ids, n_held_out) | {"heaps": _slope(lengths, distinct)}


def _new_in_each_stretch(ids: np.ndarray, n_held_out: int) -> dict[str, float]:
    train = ids[:-n_held_out]
    lengths = 2 ** np.arange(len(train).bit_length())
    stretches = [len(np.unique(train[m // 2 : m])) for m in lengths]
    return corpus_report(ids, n_held_out) | {"heaps": _slope(np.log(lengths), np.log(stretches))}


def _counts_kinds(ids: np.ndarray, n_held_out: int) -> dict[str, float]:
    train, held_out = ids[:-n_held_out].tolist(), ids[-n_held_out:].tolist()
    report = corpus_report(ids, n_held_out)
    for n in (1, 2, 3):
        kinds = set(_grams(held_out, n))
        report[f"covered_{n}"] = len(kinds & set(_grams(train, n))) / len(kinds)
    return report


def _known_tokens(ids: np.ndarray, n_held_out: int) -> dict[str, float]:
    known = np.isin(ids[-n_held_out:], ids[:-n_held_out]).tolist()
    coverage = {f"covered_{n}": float(np.mean([all(gram) for gram in _grams(known, n)])) for n in (1, 2, 3)}
    return corpus_report(ids, n_held_out) | coverage


def _reads_everything(ids: np.ndarray, n_held_out: int) -> dict[str, float]:
    return _exponents(ids.tolist()) | _coverage(ids.tolist(), ids[-n_held_out:].tolist())


MISTAKES = (
    (
        _line_through_the_logarithms,
        "You find Zipf's exponent by a line through the logarithms of ranks and counts. It lets every rare type weigh "
        "as much as the most frequent one; the likelihood weighs each by its tokens.",
    ),
    (
        _ranks_from_the_rarest,
        "You give rank 1 to the rarest token. Zipf's law ranks by frequency, the most frequent first.",
    ),
    (
        _plain_axes,
        "You fit Heaps' line through the numbers themselves. A power law is a line only when both axes are "
        "logarithmic, and its exponent is the slope there.",
    ),
    (
        _new_in_each_stretch,
        "You count distinct tokens between one length and the next. Heaps' D(m) counts them from the beginning of the "
        "text: the vocabulary so far.",
    ),
    (
        _counts_kinds,
        "You count each different n-gram of the held-out part once. A model meets n-grams as often as they occur: take "
        "the share of places.",
    ),
    (
        _known_tokens,
        "You call an n-gram covered when each of its tokens was seen. All words of a sentence may be known and no two "
        "of them have stood together: look the whole n-gram up.",
    ),
    (
        _reads_everything,
        "You measure on the whole text, the held-out part included. Then everything was seen: split first, and learn "
        "from the training part alone.",
    ),
)

PROBES = (
    (_TEXT, 4),
    (np.array([0, 1, 0, 2, 0, 1, 3, 0, 0, 2, 0, 1, 0, 1, 0, 5, 1, 1, 0, 1]), 8),
)
