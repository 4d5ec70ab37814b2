r"""
Project: arrive at the optimum from verdicts.

Level: project. You need `fp_align.exact`, `fp_align.preferences`, `fp_align.dpo` and descent.

A world has $X$ prompts and $Y$ responses. You are given the reference $\pi_0(y \mid x)$, a table, a price $\beta$, and
verdicts: rows of three numbers, the prompt, the response that was preferred, the one that was not. The judge followed
Bradley and Terry with rewards that you are not told. Return the policy, a table whose rows sum to one, that maximises

$$
\mathbb{E}_\pi [\text{reward}] - \beta\, D(\pi \,\|\, \pi_0)
$$

for the rewards that fit the verdicts best.

One way is DPO: give each prompt and response a number $z$, let the policy be the softmax of each row, and minimise
$-\ln \sigma$ of $\beta$ times the difference of $\ln \frac{\pi}{\pi_0}$ between the two responses, averaged over
verdicts. Another is to fit rewards first and to tilt the reference by them. The chapter shows why both lead to the same
table; do one, and check it with the other. Which minimiser you use is up to you, but bring it to the end: an answer is
compared with the exact one, and may be off by a total variation of 0.02 at no prompt. There are at most a few dozen
numbers and a few thousand verdicts, and every response has won and lost. No automatic differentiation is needed:
the gradient is in the chapter.

The grader also asks for what must not matter: verdicts in another order, and prompts in another order.

You learn that the reward model is in the policy, and what it takes to get it out.
"""

from typing import Any

import numpy as np

HINTS = (
    "Let s = beta (z - ln pi_0) be the implicit rewards. The normaliser of the softmax cancels in the difference, so "
    "the loss is softplus(-(s[winner] - s[loser])): a logistic regression on s, whose minimum is easy to find.",
    "The gradient in s is minus sigma(-u) at the winner and plus sigma(-u) at the loser, averaged over verdicts: "
    "np.add.at collects it. A few thousand steps of descent with a rate near the number of scores arrive.",
    "At the end pi = pi_0 exp(s / beta), each row divided by its sum. Subtract the row's maximum of ln pi_0 + s / beta "
    "before the exponential.",
)


def aligned(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    """
    The policy that fits verdicts best at a price.

    Parameters
    ----------
    reference
        Positive probabilities of shape `(X, Y)`, rows sum to one. Not to be changed.
    verdicts
        Integers of shape `(N, 3)`: prompt, preferred response, other response.
    beta
        The price of a nat, above 0.

    Returns
    -------
    ndarray
        Probabilities of shape `(X, Y)`, rows sum to one.

    Examples
    --------
    Three wins to one are odds of three to one for the judge; at the price 0.5 the policy squares them:

    >>> verdicts = np.array([[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 0]])
    >>> aligned(np.array([[0.5, 0.5]]), verdicts, 0.5).round(2)
    array([[0.9, 0.1]])
    """
    s = _scores(reference.shape, verdicts)
    return _softmax(np.log(reference) + s / beta)


def _scores(shape: tuple[int, ...], verdicts: np.ndarray, steps: int = 4000) -> np.ndarray:
    """Rewards of largest likelihood, of mean zero at each prompt, by descent with momentum."""
    x, won, lost = verdicts.T
    counts = np.zeros(shape)
    np.add.at(counts, (x, won), 1)
    np.add.at(counts, (x, lost), 1)
    s, speed = np.zeros(shape), np.zeros(shape)
    rate = 1.0 / np.maximum(
        counts, 1
    )  # curvature is at most half the number of comparisons, by sigma (1 - sigma) <= 1/4
    for _ in range(steps):
        pull = np.exp(-np.logaddexp(0.0, s[x, won] - s[x, lost]))
        g = np.zeros(shape)
        np.add.at(g, (x, won), -pull)
        np.add.at(g, (x, lost), pull)
        if np.abs(g).max() < 1e-9 * len(verdicts):
            break
        speed = 0.9 * speed - rate * g
        s = s + speed
    return np.asarray(s - s.mean(axis=1, keepdims=True))


def _softmax(z: np.ndarray) -> np.ndarray:
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


_Case = tuple[np.ndarray, np.ndarray, float]


def _drawn(X: int, Y: int, N: int, beta: float, seed: int) -> _Case:
    rng = np.random.default_rng(seed)
    reference = rng.dirichlet(np.full(Y, 2.0), size=X)
    reference = (reference + 0.02) / (1 + 0.02 * Y)
    rewards = rng.normal(size=(X, Y))
    x = rng.integers(X, size=N)
    a = rng.integers(Y, size=N)
    b = (a + rng.integers(1, Y, size=N)) % Y
    swapped = rng.random(N) > 1 / (1 + np.exp(rewards[x, b] - rewards[x, a]))
    return reference, np.stack([x, np.where(swapped, b, a), np.where(swapped, a, b)], axis=1), beta


_CASES = (
    ("one prompt, two responses, three wins to one", (
        np.array([[0.5, 0.5]]), np.array([[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 0]]), 0.5)),
    ("one prompt, two responses, an uneven reference", (
        np.array([[0.9, 0.1]]), np.array([[0, 0, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0]]), 1.0)),
    ("one prompt, five responses", _drawn(1, 5, 400, 0.7, 1)),
    ("two prompts, three responses, a low price", _drawn(2, 3, 500, 0.3, 2)),
    ("three prompts, seven responses, a high price", _drawn(3, 7, 2000, 3.0, 3)),
)  # fmt: skip

PROBES: tuple[_Case, ...] = tuple(case for _, case in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, case in _CASES:
        _expect(name, learner, case, aligned(*case))
    name, (reference, verdicts, beta) = _CASES[-1]
    order = np.random.default_rng(0).permutation(len(verdicts))
    exact = aligned(reference, verdicts, beta)
    _expect(f"{name}, the verdicts in another order", learner, (reference, verdicts[order], beta), exact)
    turned = np.stack([len(reference) - 1 - verdicts[:, 0], verdicts[:, 1], verdicts[:, 2]], axis=1)
    _expect(f"{name}, the prompts in another order", learner, (reference[::-1].copy(), turned, beta), exact[::-1])


def _expect(name: str, learner: Any, case: _Case, exact: np.ndarray) -> None:
    reference, verdicts, beta = case
    got = learner.aligned(reference.copy(), verdicts.copy(), beta)
    assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == reference.shape, (
        f"{name}: the policy is an array of floats of shape {reference.shape}, got "
        + (f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else f"{got!r:.80}")
    )
    for x in range(len(got)):
        total = float(got[x].sum())
        assert (got[x] >= 0).all() and abs(total - 1) < 1e-6, (  # sums of a few floats
            f"{name}: the probabilities at prompt {x} sum to {total:.6g}; a policy's are not negative and sum to one"
        )
        apart = 0.5 * float(np.abs(got[x] - exact[x]).sum())
        y = int(np.abs(got[x] - exact[x]).argmax())
        assert apart <= 0.02, (
            f"{name}: at prompt {x} the policy is {apart:.3f} of total variation from the optimum; response {y} has "
            f"{exact[x, y]:.4f} there, and {got[x, y]:.4f} in yours. Is the descent at its end?"
        )


def _times_beta(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    return _softmax(np.log(reference) + _scores(reference.shape, verdicts) * beta)


def _no_reference(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    return _softmax(_scores(reference.shape, verdicts) / beta)


def _the_judge(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    return _softmax(_scores(reference.shape, verdicts))


def _roles_exchanged(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    return aligned(reference, verdicts[:, [0, 2, 1]], beta)


def _shares_of_wins(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    won, played = np.zeros(reference.shape), np.zeros(reference.shape)
    np.add.at(won, (verdicts[:, 0], verdicts[:, 1]), 1)
    for column in (1, 2):
        np.add.at(played, (verdicts[:, 0], verdicts[:, column]), 1)
    return _softmax(np.log(reference) + won / np.maximum(played, 1) / beta)


def _stopped_early(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    return _softmax(np.log(reference) + _scores(reference.shape, verdicts, 2) / beta)


def _prompts_mixed(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    all_one = np.stack([np.zeros(len(verdicts), int), verdicts[:, 1], verdicts[:, 2]], axis=1)
    return _softmax(np.log(reference) + _scores((1, reference.shape[1]), all_one) / beta)


def _all_rows_together(reference: np.ndarray, verdicts: np.ndarray, beta: float) -> np.ndarray:
    p = reference * np.exp(_scores(reference.shape, verdicts) / beta)
    return np.asarray(p / p.sum())


MISTAKES = (
    (_times_beta, "You multiply the scores by beta. The reference is tilted by exp(reward / beta)."),
    (
        _no_reference,
        "You leave the reference out at the end. Verdicts say how much to tilt it, and not what it was before.",
    ),
    (
        _the_judge,
        "You return the softmax of the rewards. That is how the judge chooses, and not what the policy is to do.",
    ),
    (_roles_exchanged, "You learn from the verdicts the wrong way round. The second column is what was preferred."),
    (
        _shares_of_wins,
        "You take the share of wins for the reward. It depends on whom one has played against and cannot grow beyond "
        "one; Bradley and Terry's scores are log-odds.",
    ),
    (_stopped_early, "You stop before the minimum. Look at the gradient: at the end it is zero at every score."),
    (
        _prompts_mixed,
        "You give all prompts one set of rewards. A response can be good for one prompt and bad for another.",
    ),
    (_all_rows_together, "You let the whole table sum to one. A policy is a distribution for each prompt by itself."),
)
