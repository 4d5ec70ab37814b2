r"""
The gradient of a reward model.

Level: implement. You need `fp_align.reward`.

Responses have features, and a linear reward model scores them: $r_i = x_i \cdot w$. Comparison $k$ was won by response
$a_k$ against response $b_k$. Bradley and Terry give that the probability $\sigma(r_{a_k} - r_{b_k})$, and the loss of
$K$ comparisons is

$$
\ell = -\frac1K \sum_k \ln \sigma \big( r_{a_k} - r_{b_k} \big).
$$

Return the loss and its gradient in $w$. A response may occur in several comparisons, as winner and as loser. Rewards
may be as far apart as a thousand: neither may be infinite then, and no warning may be raised. No automatic
differentiation, please.

You learn where the pull of a comparison goes, and that it fades when the model has understood.
"""

from typing import Any

import numpy as np

HINTS = (
    "With u the difference of the two rewards, -ln sigma(u) = ln(1 + exp(-u)), and its slope in u is -sigma(-u): minus "
    "the probability that the model gave to the other outcome.",
    "np.logaddexp(0, -u) is ln(1 + exp(-u)) without overflow, and sigma(-u) is exp(-np.logaddexp(0, u)).",
    "u depends on w through the difference of features: the gradient is the mean of -sigma(-u) times "
    "(x[winners] - x[losers]).",
)


def bradley_terry(
    w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray
) -> tuple[float, np.ndarray]:
    """
    Loss and gradient of a linear reward model.

    Parameters
    ----------
    w
        Weights, floats of shape `(C,)`.
    features
        One row for each response, shape `(N, C)`.
    winners, losers
        Which response won and which lost, integers of shape `(K,)`, K at least 1.

    Returns
    -------
    loss, gradient
        Nats per comparison, and an array of shape `(C,)`.

    Examples
    --------
    With weights of zero both outcomes are equally probable:

    >>> loss, gradient = bradley_terry(np.zeros(2), np.eye(2), np.array([0]), np.array([1]))
    >>> round(loss, 4), gradient.tolist()
    (0.6931, [-0.5, 0.5])
    """
    apart = features[winners] - features[losers]
    u = apart @ w
    surprise = np.exp(-np.logaddexp(0.0, u))
    return float(np.logaddexp(0.0, -u).mean()), -(surprise[:, None] * apart).mean(axis=0)


_Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _drawn(N: int, C: int, K: int, seed: int, size: float = 1.0) -> _Case:
    rng = np.random.default_rng(seed)
    winners = rng.integers(N, size=K)
    losers = (winners + rng.integers(1, N, size=K)) % N
    return size * rng.normal(size=C), rng.normal(size=(N, C)), winners, losers


_CASES = (
    ("one comparison with weights of zero", (np.zeros(3), np.eye(3), np.array([2]), np.array([0]))),
    ("one comparison", _drawn(2, 3, 1, 1)),
    ("several comparisons", _drawn(5, 3, 7, 2)),
    ("more features than responses", _drawn(3, 7, 5, 3)),
    ("rewards that are a thousand apart", _drawn(5, 2, 11, 4, 1000.0)),
)

PROBES: tuple[_Case, ...] = tuple(case for _, case in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, case in _CASES:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            try:
                got = learner.bradley_terry(*(array.copy() for array in case))
            except FloatingPointError as error:
                raise AssertionError(
                    f"{name}: {error}. For large differences ln(1 + exp(-u)) is nearly -u or nearly 0, and needs no "
                    "number that is larger than that: np.logaddexp"
                ) from None
        assert isinstance(got, tuple | list) and len(got) == 2, f"{name}: expected loss and gradient, got {got!r:.80}"
        loss, gradient = got
        assert isinstance(loss, float | np.floating), f"{name}: the loss is one number, got {loss!r:.80}"
        expected, slope = bradley_terry(*case)
        # rounding is 1e-16 of the size; anything else is far away
        assert abs(float(loss) - expected) <= 1e-9 * max(1.0, expected), (
            f"{name}: the loss is {expected:.8g}, yours is {loss:.8g}. It is the mean of ln(1 + exp(-u)), u the "
            "winner's reward less the loser's"
        )
        assert isinstance(gradient, np.ndarray) and gradient.shape == slope.shape and gradient.dtype.kind == "f", (
            f"{name}: the gradient is an array of floats of shape {slope.shape}, got {gradient!r:.80}"
        )
        for i in range(len(slope)):
            assert abs(gradient[i] - slope[i]) <= 1e-9 * max(1.0, abs(slope[i])), (
                f"{name}: the slope in weight {i} is {slope[i]:.8g}, yours is {gradient[i]:.8g}. Each comparison pulls "
                "with the probability that was given to the other outcome, along the difference of the features"
            )


_Answer = tuple[float, np.ndarray]


def _parts(
    w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    apart = features[winners] - features[losers]
    return apart, apart @ w


def _sign_turned(w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray) -> _Answer:
    loss, gradient = bradley_terry(w, features, winners, losers)
    return loss, -gradient


def _summed(w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray) -> _Answer:
    loss, gradient = bradley_terry(w, features, winners, losers)
    return loss * len(winners), gradient * len(winners)


def _own_outcome(w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray) -> _Answer:
    apart, u = _parts(w, features, winners, losers)
    pull = np.exp(-np.logaddexp(0.0, -u))
    return bradley_terry(w, features, winners, losers)[0], -(pull[:, None] * apart).mean(axis=0)


def _winner_only(w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray) -> _Answer:
    _, u = _parts(w, features, winners, losers)
    surprise = np.exp(-np.logaddexp(0.0, u))
    return bradley_terry(w, features, winners, losers)[0], -(surprise[:, None] * features[winners]).mean(axis=0)


def _roles_exchanged(w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray) -> _Answer:
    return bradley_terry(w, features, losers, winners)


def _probability_for_loss(w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray) -> _Answer:
    apart, u = _parts(w, features, winners, losers)
    surprise = np.exp(-np.logaddexp(0.0, u))
    return float(surprise.mean()), -((surprise * (1 - surprise))[:, None] * apart).mean(axis=0)


def _hinge(w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray) -> _Answer:
    apart, u = _parts(w, features, winners, losers)
    return float(np.maximum(0.0, 1 - u).mean()), -((u < 1)[:, None] * apart).mean(axis=0)


def _overflows(w: np.ndarray, features: np.ndarray, winners: np.ndarray, losers: np.ndarray) -> _Answer:
    apart, u = _parts(w, features, winners, losers)
    return float(np.log(1 + np.exp(-u)).mean()), -((1 / (1 + np.exp(u)))[:, None] * apart).mean(axis=0)


MISTAKES = (
    (
        _sign_turned,
        "You return the direction that makes the loss smaller. The gradient points uphill: a step subtracts it.",
    ),
    (_summed, "You add the comparisons up. The loss is their mean, and so is its gradient."),
    (
        _own_outcome,
        "You pull with the probability of what happened. A verdict that was foreseen teaches nothing: the pull is the "
        "probability of the other outcome.",
    ),
    (
        _winner_only,
        "You pull the winner up and leave the loser where it is. Only the difference counts: both move, opposite ways.",
    ),
    (_roles_exchanged, "You exchange winners and losers. The winner's reward comes first in the difference."),
    (
        _probability_for_loss,
        "You minimise the probability of being wrong. The likelihood takes its logarithm, which never stops pulling at "
        "a verdict that is badly wrong.",
    ),
    (_hinge, "You use the hinge of a support vector machine. Bradley and Terry's loss is smooth, ln(1 + exp(-u))."),
    (
        _overflows,
        "You compute exp(-u) as it stands. With a difference of a thousand that is infinite; logaddexp takes the "
        "larger term out first.",
    ),
)
