r"""
Finding the weights on held-out text.

Level: challenge. You need `fp_markov.jelinek_mercer`, and the interpolation exercise.

How much should each order of an interpolated model weigh? Ask the text that was counted, and the answer is the highest
order, whatever the text (`markov.counted-text-chooses-the-longest`). So count one text and choose the weights on
another: those that make its likelihood largest.

Take three components and mix them with weights $\lambda_0, \lambda_1, \lambda_2$:

$$P(w \mid v) = \lambda_0 \, \frac{1}{V} + \lambda_1 \, \frac{N(w)}{N} + \lambda_2 \, \frac{N(vw)}{\sum_u N(vu)},$$

the uniform distribution, the unigram and the bigram, with all counts from the training text of $N$ tokens. The
held-out text is scored from its second token on; its first serves as context only.

The weights are found by expectation-maximisation (EM). Begin with equal ones. In each step, ask for every scored token
which share of its probability each component contributed; these shares add up to one for each token. The mean of a
component's shares over all scored tokens is its new weight. No step lowers the likelihood; started with all weights
positive, the steps climb to its maximum (not proven here).

Whatever the training text cannot decide (the weights of a mixture, the amount of smoothing, when to stop) is decided on
held-out text, in large models too. Their mixture-of-experts layers began as mixtures like this one, with weights that a
network computes from the input (R. Jacobs and others, 1991).
"""

from itertools import pairwise
from typing import Any

import numpy as np

HINTS = (
    "First make a matrix P with a row for each scored token and a column for each component: the probability that this "
    "component gives to this token. The counts come from the training text, the tokens from the held-out one.",
    "The contributions are `weights * P`; they become shares when each row is divided by its sum.",
    "One step: `shares = weights * P / (P @ weights)[:, None]`, then `weights = shares.mean(axis=0)`. The bigram's "
    "column is `bigram[held_out[:-1], held_out[1:]]`, where each row of `bigram` sums to one.",
)


def held_out_weights(train: np.ndarray, held_out: np.ndarray, vocab_size: int, n_steps: int) -> np.ndarray:
    """
    Weights of uniform, unigram and bigram, after some steps of EM on a held-out text.

    Parameters
    ----------
    train
        The text to count: token ids in `[0, vocab_size)`, shape `(N,)`. Every token of the vocabulary occurs in this
        text before the text's last token, so there is no unseen context.
    held_out
        The text to fit the weights on: token ids, at least two.
    vocab_size
        V, the number of tokens that could occur.
    n_steps
        Number of steps, 0 or more. With 0 the weights are the equal ones at the beginning.

    Returns
    -------
    ndarray
        Weights of uniform, unigram and bigram, shape `(3,)`: not negative, with sum one.

    Examples
    --------
    The components give 1/2, 1/3 and 1/4 to token 1 after 0, and 1/2, 1/3 and 1 to token 1 after 1. With equal weights
    their shares are 6/13, 4/13, 3/13 and 3/11, 2/11, 6/11. One step takes the means:

    >>> held_out_weights(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 1]), vocab_size=2, n_steps=1).round(3).tolist()
    [0.367, 0.245, 0.388]
    """
    unigram = np.bincount(train, minlength=vocab_size) / len(train)
    bigram = np.zeros((vocab_size, vocab_size))
    np.add.at(bigram, (train[:-1], train[1:]), 1)
    bigram /= bigram.sum(axis=1, keepdims=True)

    v, w = held_out[:-1], held_out[1:]
    P = np.stack([np.full(len(w), 1 / vocab_size), unigram[w], bigram[v, w]], axis=1)
    weights = np.full(3, 1 / 3)
    for _ in range(n_steps):
        contributions = weights * P
        weights = (contributions / contributions.sum(axis=1, keepdims=True)).mean(axis=0)
    return weights


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""

    def ask(train: np.ndarray, held_out: np.ndarray, V: int, n_steps: int) -> np.ndarray:
        got = learner.held_out_weights(train.copy(), held_out.copy(), V, n_steps)
        assert isinstance(got, np.ndarray) and got.dtype.kind in "iuf" and got.shape == (3,), (
            f"expected an array of three weights, got {got!r:.80}"
        )
        assert (got >= 0).all() and abs(got.sum() - 1) <= 1e-9, (
            f"with n_steps = {n_steps} the weights must be 0 or more with sum 1; got {got.tolist()} with sum "
            f"{got.sum():.6g}. The shares of one token add up to 1 over the components."
        )
        return got.copy()

    got = ask(_TRAIN, _HELD_OUT, 2, 0)
    assert np.allclose(got, 1 / 3), f"with n_steps = 0 the weights are equal, got {got.tolist()}"
    got = ask(_TRAIN, _HELD_OUT, 2, 1)
    expected = np.array([[6 / 13, 4 / 13, 3 / 13], [3 / 11, 2 / 11, 6 / 11]]).mean(axis=0)
    assert np.allclose(got, expected, rtol=0, atol=1e-9), (
        "counted on 0 0 0 0 1 1, the components give 1/2, 1/3, 1/4 to token 1 after 0, and 1/2, 1/3, 1 to token 1 "
        f"after 1, the scored tokens of the held-out text 0 1 1. One step gives the mean shares "
        f"{expected.round(4).tolist()}, got {got.round(4).tolist()}"
    )

    train, held_out = _texts()
    P = _probabilities(train, held_out, 5)

    def log_likelihood(weights: np.ndarray) -> float:
        with np.errstate(divide="ignore"):  # a learner's weights may make a token impossible
            return float(np.log(P @ weights).sum())

    before = log_likelihood(np.full(3, 1 / 3))
    for n_steps in range(1, 8):
        after = log_likelihood(ask(train, held_out, 5, n_steps))
        assert after >= before - 1e-9, (
            f"no step lowers the likelihood of the held-out text, but step {n_steps} took its logarithm from "
            f"{before:.4f} to {after:.4f}. Are the counts those of the training text, and the shares those of the "
            "tokens of the held-out text?"
        )
        before = after
    got = ask(train, held_out, 5, 500)
    grid = [np.array([i, j, 40 - i - j]) / 40 for i in range(1, 41) for j in range(41 - i)]
    best = max(grid, key=log_likelihood)
    assert log_likelihood(got) >= log_likelihood(best), (
        f"500 steps reach the largest log-likelihood of the held-out text, but your weights {got.round(4).tolist()} "
        f"give {log_likelihood(got):.4f}, and {best.tolist()}, found on a grid, give {log_likelihood(best):.4f}. Does "
        "each step begin from the weights of the step before?"
    )


# short enough for a pencil, and every mistake gives other weights after one step: a token that follows itself in the
# held-out text and one that does not, and the last token of the training text among the contexts
_TRAIN, _HELD_OUT = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 1])


def _texts() -> tuple[np.ndarray, np.ndarray]:
    """A training and a held-out text over five tokens, drawn alike, on which each component earns some weight."""
    rng = np.random.default_rng(9)
    followers = [[0, 1, 1, 1], [2, 2, 0, 0], [0, 0, 3, 1], [0, 2, 0, 0], [0, 0, 1, 1]]
    texts = []
    for n in (60, 200):
        text = [0, 1, 2, 3, 4, 0]
        while len(text) < n:
            kind = rng.random()  # one token in five is drawn from all alike, one in five from the frequent ones
            choices = range(5) if kind < 0.2 else [0, 0, 0, 1, 1, 2] if kind < 0.4 else followers[text[-1]]
            text.append(int(rng.choice(choices)))
        texts.append(np.array(text))
    return texts[0], texts[1]


def _probabilities(train: np.ndarray, held_out: np.ndarray, vocab_size: int) -> np.ndarray:
    """What uniform, unigram and bigram give to each scored token, counted one by one."""
    text = train.tolist()
    pairs = list(pairwise(text))
    return np.array(
        [
            [1 / vocab_size, text.count(w) / len(text), pairs.count((v, w)) / text[:-1].count(v)]
            for v, w in pairwise(held_out.tolist())
        ]
    )


def _climb(P: np.ndarray, n_steps: int) -> np.ndarray:
    weights = np.full(3, 1 / 3)
    for _ in range(n_steps):
        weights = np.asarray((weights * P / (P @ weights)[:, None]).mean(axis=0))
    return weights


def _divides_by_all_occurrences(train: np.ndarray, held_out: np.ndarray, vocab_size: int, n_steps: int) -> np.ndarray:
    P = _probabilities(train, held_out, vocab_size)
    last = train[-1]
    P[held_out[:-1] == last, 2] *= 1 - 1 / (train == last).sum()
    return _climb(P, n_steps)


def _fits_on_the_training_text(train: np.ndarray, held_out: np.ndarray, vocab_size: int, n_steps: int) -> np.ndarray:
    return _climb(_probabilities(train, train, vocab_size), n_steps)


def _counts_the_held_out_text_too(train: np.ndarray, held_out: np.ndarray, vocab_size: int, n_steps: int) -> np.ndarray:
    return _climb(_probabilities(np.concatenate([train, held_out]), held_out, vocab_size), n_steps)


def _winner_takes_all(train: np.ndarray, held_out: np.ndarray, vocab_size: int, n_steps: int) -> np.ndarray:
    P = _probabilities(train, held_out, vocab_size)
    weights = np.full(3, 1 / 3)
    for _ in range(n_steps):
        weights = np.bincount((weights * P).argmax(axis=1), minlength=3) / len(P)
    return weights


def _shares_over_the_tokens(train: np.ndarray, held_out: np.ndarray, vocab_size: int, n_steps: int) -> np.ndarray:
    P = _probabilities(train, held_out, vocab_size)
    weights = np.full(3, 1 / 3)
    for _ in range(n_steps):
        contributions = weights * P
        weights = np.asarray((contributions / contributions.sum(axis=0)).mean(axis=0))
    return weights


def _averages_the_probabilities(train: np.ndarray, held_out: np.ndarray, vocab_size: int, n_steps: int) -> np.ndarray:
    weights = np.full(3, 1 / 3)
    for _ in range(n_steps):
        weights = weights * _probabilities(train, held_out, vocab_size).mean(axis=0)
        weights /= weights.sum()
    return weights


def _forgets_the_weights(train: np.ndarray, held_out: np.ndarray, vocab_size: int, n_steps: int) -> np.ndarray:
    return _climb(_probabilities(train, held_out, vocab_size), min(n_steps, 1))


MISTAKES = (
    (
        _divides_by_all_occurrences,
        "You divide by how often v occurs. The text's last token has no next token: divide by how often v is followed "
        "by one, the sum of N(vu) over all u, so that each row of the bigram sums to one.",
    ),
    (
        _fits_on_the_training_text,
        "You score the training text. It knows every one of its bigrams, so the weights run to the highest order: "
        "score the held-out text, with the counts of the training text.",
    ),
    (
        _counts_the_held_out_text_too,
        "You count the held-out text as well. Then no bigram of it is new and it is held out no longer: count the "
        "training text alone.",
    ),
    (
        _winner_takes_all,
        "You credit each token to its likeliest component alone. EM divides the credit: every component gets its share "
        "of the token's probability.",
    ),
    (
        _shares_over_the_tokens,
        "You normalise over the tokens. A share says which component produced a given token, so the shares of one "
        "token add up to one: divide by the sum over the components.",
    ),
    (
        _averages_the_probabilities,
        "You average the probabilities over the tokens before you turn them into shares. Then a component that is "
        "confident about a few tokens wins everywhere: take shares token by token and average those.",
    ),
    (
        _forgets_the_weights,
        "Your shares leave out the current weights, so every step repeats the first. Multiply the probabilities by the "
        "weights of the step before.",
    ),
)

PROBES = (
    (_TRAIN, _HELD_OUT, 2, 1),
    (*_texts(), 5, 3),
)
