r"""
Interpolating orders.

Level: implement. You need `fp_markov.jelinek_mercer` up to (E1), and the trigram exercise.

A trigram knows much and has seldom seen its context; a unigram knows little and is never at a loss. Interpolation asks
all orders and mixes their answers,

$$P(w) = \lambda_1 \, P_1(w) + \lambda_2 \, P_2(w \mid b) + \lambda_3 \, P_3(w \mid ab), \qquad
\lambda_1 + \lambda_2 + \lambda_3 = 1,$$

where each $P_n$ is a relative frequency: the count of $w$ after the last $n - 1$ tokens, divided by the count of all
tokens there. A mixture of distributions is a distribution, so the result needs no further normalisation, as long as all
of them exist.

Sometimes they do not: after a context that was never seen $P_n$ is $0/0$. Then that order has nothing to say, and its
weight goes to the orders that have. They share it in proportion to their own weights, so that their weights add up to
one again: with weights $0.2, 0.3, 0.5$ and an unseen pair, unigram and bigram get $0.2/0.5 = 0.4$ and $0.3/0.5 = 0.6$.
(A recursion that mixes each order with the mixture of the orders below it, as (E1) of `fp_markov.jelinek_mercer` does,
comes to the same.)

Mixtures outlived counting: ensembles of large models average their distributions in this way, and kNN-LM (U.
Khandelwal and others, 2020) mixes a transformer's prediction with what followed similar contexts in a store, by a
weight $\lambda$.
"""

from typing import Any

import numpy as np

HINTS = (
    "Turn each row of counts into a distribution first. Which rows cannot be divided by their sum, and what should "
    "their weight become?",
    "Set the weight of an unseen order to zero and divide the weights by their sum. Now the row of an unseen order may "
    "hold anything finite: zeros, say, from dividing by `np.maximum(total, 1)`.",
    "With the weights repaired, the mixture of the rows is a vector times a matrix: `weights @ frequencies`.",
)


def interpolate(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """
    Distribution of the next token, mixed from several orders.

    Parameters
    ----------
    counts
        Entry `[n, w]` is how often token `w` followed the last `n` tokens of the context, shape `(N, V)`: row 0 for the
        unigram, row 1 for the bigram and so on. Row 0 is never all zero; a higher row is where its context was never
        seen.
    weights
        Weight of each order, shape `(N,)`: positive, with sum one.

    Returns
    -------
    ndarray
        Probability of each token, shape `(V,)`. An order that has not seen its context takes no part; the others share
        its weight in proportion to their own.

    Examples
    --------
    >>> weights = np.array([0.2, 0.3, 0.5])
    >>> seen = np.array([[4, 3, 2, 1], [0, 2, 2, 0], [0, 0, 1, 0]])
    >>> interpolate(seen, weights).round(3).tolist()
    [0.08, 0.21, 0.69, 0.02]

    The same bigram after a pair that was never seen:

    >>> interpolate(np.array([[4, 3, 2, 1], [0, 2, 2, 0], [0, 0, 0, 0]]), weights).round(3).tolist()
    [0.16, 0.42, 0.38, 0.04]
    """
    totals = counts.sum(axis=1)
    frequencies = counts / np.maximum(totals, 1)[:, None]
    used = np.where(totals > 0, weights, 0)
    return np.asarray(used / used.sum() @ frequencies)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(8)
    unigram, bigram, trigram, unseen = [4, 3, 2, 1], [0, 2, 2, 0], [0, 0, 1, 0], [0, 0, 0, 0]
    usual = [0.2, 0.3, 0.5]
    random_counts = rng.integers(1, 9, size=(5, 7))
    for rows, weights in (
        ([unigram, bigram, trigram], usual),
        ([unigram, bigram, unseen], usual),
        ([unigram, unseen, unseen], usual),
        ([unigram, bigram, unseen], [0.7, 0.1, 0.2]),
        (random_counts.tolist(), rng.dirichlet(np.ones(5)).tolist()),
    ):
        V = len(rows[0])
        got = learner.interpolate(np.array(rows), np.array(weights))
        assert isinstance(got, np.ndarray) and got.dtype.kind in "iuf" and got.shape == (V,), (
            f"expected an array of {V} numbers, one for each token of the vocabulary, got {got!r:.80}"
        )
        seen = [(row, weight) for row, weight in zip(rows, weights, strict=True) if any(row)]
        total = sum(weight for _, weight in seen)
        case = f"with the counts {rows} of orders 1 to {len(rows)} and the weights {np.round(weights, 3).tolist()}"
        if len(seen) < len(rows):
            shares = [round(weight / total, 3) for _, weight in seen]
            case += f", of which those that have seen their context get {shares}"
        assert abs(got.sum() - 1) <= 1e-9, f"{case}: the probabilities must sum to 1, got a sum of {got.sum():.6g}"
        expected = np.zeros(V)
        for row, weight in seen:
            expected += weight / total * np.array(row) / sum(row)
        assert np.allclose(got, expected, rtol=0, atol=1e-9), (
            f"{case}: expected {expected.round(4).tolist()}, got {got.round(4).tolist()}"
        )


def _frequencies(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _loses_the_weight(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights @ _frequencies(counts))


def _uniform_for_the_unseen(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    unseen = counts.sum(axis=1, keepdims=True) == 0
    return np.asarray(weights @ np.where(unseen, 1 / counts.shape[1], _frequencies(counts)))


def _all_to_the_unigram(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    used = np.where(counts.sum(axis=1) > 0, weights, 0)
    used[0] += 1 - used.sum()
    return np.asarray(used @ _frequencies(counts))


def _mixes_the_counts(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mixed = weights @ counts
    return np.asarray(mixed / mixed.sum())


def _highest_order_alone(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    seen = np.flatnonzero(counts.sum(axis=1))
    return np.asarray(_frequencies(counts)[seen[-1]])


def _weights_reversed(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return interpolate(counts, weights[::-1])


MISTAKES = (
    (
        _loses_the_weight,
        "After an unseen context your probabilities sum to less than one: that order's weight is lost. Hand it to the "
        "orders that have seen theirs.",
    ),
    (
        _uniform_for_the_unseen,
        "You let an order that has seen nothing vote for the uniform distribution. The lower orders know better: leave "
        "it out and give them its weight.",
    ),
    (
        _all_to_the_unigram,
        "You give the weight of an unseen order to the unigram alone. All orders that have seen their context share "
        "it, in proportion to their weights.",
    ),
    (
        _mixes_the_counts,
        "You mix counts. The unigram's are by far the largest and drown the others whatever the weights: turn each row "
        "into a distribution first.",
    ),
    (
        _highest_order_alone,
        "You take the highest order that has seen its context and ignore the rest. That is back-off; interpolation "
        "asks the lower orders even when the highest has an answer.",
    ),
    (_weights_reversed, "Your weights are in reverse: `weights[0]` belongs to `counts[0]`, the unigram."),
)

PROBES = (
    (np.array([[4, 3, 2, 1], [0, 2, 2, 0], [0, 0, 1, 0]]), np.array([0.2, 0.3, 0.5])),
    (np.array([[4, 3, 2, 1], [0, 2, 2, 0], [0, 0, 0, 0]]), np.array([0.2, 0.3, 0.5])),
)
