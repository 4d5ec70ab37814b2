r"""
Add-k smoothing.

Level: implement. You need `fp_markov.additive`.

A bigram model by maximum likelihood gives probability zero to every bigram that its text lacks, and one such bigram in
a test text makes the perplexity infinite. Worse, after a context that it never saw it has nothing to divide by. The
oldest repair pretends that every token of the vocabulary was seen $k$ times more after every context. Write it for a
whole table of counts at once.

The table has a row for each context and a column for each token of the vocabulary. Each row becomes a distribution: all
entries positive, with sum one. The vocabulary is what *could* come, so a column counts even if it is zero in every row.
After a context that was never seen, the row of zeros, all tokens are equally likely.

No large model smooths its counts, but each one faces this question: softmax never gives a zero, and label smoothing
mixes the targets with a uniform distribution, as add-k does with the frequencies.
"""

from typing import Any

import numpy as np

HINTS = (
    "Pretend first, then estimate: what would the table of counts be, had every token come k times more after every "
    "context? Estimate from that table.",
    "Each entry grows by k. By how much does the sum of a row of V entries grow?",
    "`counts + k`, divided by its own sums along the last axis. `keepdims=True` keeps a sum beside its row.",
)


def add_k(counts: np.ndarray, k: float) -> np.ndarray:
    """
    Distributions of the next token, from counts to which `k` is added.

    Parameters
    ----------
    counts
        Entry `[c, w]` is how often token `w` followed context `c`, shape `(C, V)`. A row of zeros is a context that
        was never seen; a column of zeros is a token of the vocabulary that never came.
    k
        Positive: what to add to every count.

    Returns
    -------
    ndarray
        Entry `[c, w]` is the probability of token `w` after context `c`, shape `(C, V)`.

    Examples
    --------
    Four tokens, k = 1: the counts 3, 1, 0, 0 become 4, 2, 1, 1 of 8.

    >>> add_k(np.array([[3, 1, 0, 0], [0, 0, 0, 0]]), k=1.0).tolist()
    [[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]]
    """
    smoothed = counts + k
    return smoothed / smoothed.sum(axis=1, keepdims=True)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    table = np.random.default_rng(7).poisson(0.7, size=(5, 7))
    table[:, 4] = 0
    table[2] = 0
    table[3, 1] += 20
    for counts, k in (
        (np.array([[3, 1, 0, 0]]), 1.0),
        (np.array([[3, 1, 0, 0], [0, 0, 0, 0]]), 1.0),
        (table, 0.5),
        (table, 3.0),
        (table[:, :5], 0.01),
    ):
        C, V = counts.shape
        got = learner.add_k(counts.copy(), k)
        assert isinstance(got, np.ndarray) and got.dtype.kind in "iuf" and got.shape == (C, V), (
            f"expected an array of numbers of the shape of the counts, {(C, V)}, got {got!r:.80}"
        )
        for row, probabilities in zip(counts.tolist(), got, strict=True):
            case = f"counts {row} with k = {k:g}"
            total = sum(row) + k * V
            assert abs(probabilities.sum() - 1) <= 1e-9, (
                f"{case}: the probabilities after a context must sum to 1, got a sum of {probabilities.sum():.6g}. "
                f"Adding k to all {V} counts makes their sum {total:g}."
            )
            expected = np.array([(n + k) / total for n in row])
            assert np.allclose(probabilities, expected, rtol=0, atol=1e-9), (
                f"{case}: "
                + ("never seen, so every token is equally likely: " if not any(row) else "")
                # the common denominator is shown, for it is what goes wrong most
                + f"expected (count + k) / {total:g} = {expected.round(4).tolist()}, got "
                f"{probabilities.round(4).tolist()}"
            )


def _numerator_only(counts: np.ndarray, k: float) -> np.ndarray:
    return np.asarray((counts + k) / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _denominator_grows_by_k(counts: np.ndarray, k: float) -> np.ndarray:
    return np.asarray((counts + k) / (counts.sum(axis=1, keepdims=True) + k))


def _vocabulary_of_the_seen(counts: np.ndarray, k: float) -> np.ndarray:
    V = np.count_nonzero(counts.sum(axis=0))
    return np.asarray((counts + k) / (counts.sum(axis=1, keepdims=True) + k * V))


def _smooths_the_probabilities(counts: np.ndarray, k: float) -> np.ndarray:
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) + k
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def _only_the_zeros(counts: np.ndarray, k: float) -> np.ndarray:
    filled = np.where(counts == 0, k, counts)
    return np.asarray(filled / filled.sum(axis=1, keepdims=True))


def _down_the_columns(counts: np.ndarray, k: float) -> np.ndarray:
    smoothed = counts + k
    return np.asarray(smoothed / smoothed.sum(axis=0, keepdims=True))


MISTAKES = (
    (
        _numerator_only,
        "You add k above the fraction line only, so a row sums to more than one. The counts grew: so did their sum.",
    ),
    (
        _denominator_grows_by_k,
        "You add k to the total once. It was added to each of the V counts, so the total grows by kV.",
    ),
    (
        _vocabulary_of_the_seen,
        "Your V counts the tokens that were seen. It is the size of the vocabulary: the unseen tokens are the ones "
        "that smoothing is for.",
    ),
    (
        _smooths_the_probabilities,
        "You divide first and add k to probabilities. Then k weighs the same after a context seen once and one seen a "
        "thousand times: add to the counts.",
    ),
    (
        _only_the_zeros,
        "You raise only the zeros, which puts a token seen never on a level with one seen k times. Every count grows.",
    ),
    (
        _down_the_columns,
        "You normalise down the columns. A row is a context, and the probabilities after one context sum to one.",
    ),
)

PROBES = (
    (np.array([[3, 1, 0, 0], [0, 0, 0, 0], [1, 5, 2, 0]]), 0.5),
    (np.array([[1, 1, 0], [0, 2, 1]]), 2.0),
)
