r"""
A learning-rate finder.

Level: challenge. You need `fp_optim.descent`, and averages with fading weights (`optim.adam-bias`).

Before a long run one would like to know which rate to try first. L. Smith's test answers with one short run: train with
a rate that rises from tiny to absurd, and look at the loss. While the rate is too small the loss hardly moves; then it
falls; then it explodes. A good rate to begin with is where it falls fastest.

Write that test. `problem(w)` gives the loss at w and its gradient, each time for another random batch, so the two are
noisy and every call counts: call it once for each step, and not once more.

- The rates rise in equal ratios, $n$ of them, from `low` with the first step to `high` with the last.
- In each step call `problem`, bring the smoothed loss up to date, decide whether to stop, and if not, step by plain
  gradient descent with the rate of this step. The loss of a step is therefore the one *before* its move.
- The smoothed loss is a mean with fading weights: the newest loss has the weight $1 - \beta$, each older one $\beta$
  times that of the one after it, and the sum is divided by the sum of all weights.
- Stop, and leave this step out of the record, if the smoothed loss is not finite or more than `blow_up` times the
  lowest smoothed loss so far.
- Suggest the rate whose own move made the smoothed loss fall most, from its step to the next one in the record. (Steps
  are equally far apart in the logarithm of the rate, so this is the steepest place of the curve on its usual axis.) If
  it never fell, raise a `ValueError`: `low` was too large already.

The start must not be changed, for the real run begins there. You learn to make a measurement that noise does not
decide, and to say exactly which rate a loss belongs to.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

HINTS = (
    "`rates = low * (high / low) ** (np.arange(n_steps) / (n_steps - 1))`. Keep two lists, rates and smoothed losses, "
    "and append to both only after the decision not to stop.",
    "`mean = beta * mean + (1 - beta) * loss` from 0, then `smooth = mean / (1 - beta ** (k + 1))` in step k = 0, 1, … "
    "Compare with the lowest of the *record*; in the first step there is none, so only a loss that is not finite "
    "stops.",
    "With the record s of length K the falls are `s[:-1] - s[1:]`, and fall i was made by the move of step i, with "
    "`rates[i]`: that is `rates[np.argmax(falls)]`. Copy the start, or write `w = w - rate * g`.",
)

Problem = Callable[[np.ndarray], tuple[float, np.ndarray]]


def find_rate(
    problem: Problem,
    start: np.ndarray,
    low: float,
    high: float,
    n_steps: int,
    beta: float = 0.9,
    blow_up: float = 4.0,
) -> tuple[float, np.ndarray, np.ndarray]:
    """
    Suggest a rate from one run with a rising one.

    Parameters
    ----------
    problem
        From parameters to a loss above 0 and its gradient, for a new batch at each call.
    start
        The first parameters, floats of shape `(n,)`; not changed.
    low, high
        The first rate and the last, `0 < low < high`.
    n_steps
        Number of rates, at least 2.
    beta
        By which the weights of older losses fade, at least 0 and below 1.
    blow_up
        Above 1.

    Returns
    -------
    suggestion : float
        The rate whose move made the smoothed loss fall most.
    rates : ndarray
        The rates of the steps in the record, shape `(K,)` with K at most `n_steps`.
    smoothed : ndarray
        Their smoothed losses, in the same shape.

    Raises
    ------
    ValueError
        If the smoothed loss falls nowhere in the record.

    Examples
    --------
    On half the square of w from 1, without smoothing: rate 1 goes to the minimum at once.

    >>> def parabola(w):
    ...     return 1 + 0.5 * float(w @ w), w.copy()
    >>> suggestion, rates, smoothed = find_rate(parabola, np.array([1.0]), 0.0625, 64.0, n_steps=6, beta=0.0)
    >>> round(suggestion, 6), rates.round(4).tolist(), smoothed.round(4).tolist()
    (1.0, [0.0625, 0.25, 1.0, 4.0, 16.0, 64.0], [1.5, 1.4395, 1.2472, 1.0, 1.0, 1.0])
    """
    rates = low * (high / low) ** (np.arange(n_steps) / (n_steps - 1))
    w, mean = start, 0.0
    smoothed: list[float] = []
    for k, rate in enumerate(rates):
        loss, g = problem(w)
        mean = beta * mean + (1 - beta) * loss
        smooth = mean / (1 - beta ** (k + 1))
        if not np.isfinite(smooth) or (smoothed and smooth > blow_up * min(smoothed)):
            break
        smoothed.append(smooth)
        w = w - rate * g
    record = np.array(smoothed)
    falls = record[:-1] - record[1:]
    if not (falls > 0).any():
        raise ValueError(f"the loss falls nowhere from rate {low:g} on: begin with a smaller one")
    return float(rates[falls.argmax()]), rates[: len(record)], record


class _Quadratic:
    """A quadratic with curvatures from 0.1 to 10 and a floor of 0.5, and noise on loss and gradient."""

    def __init__(self, noise: float, seed: int, n: int = 5) -> None:
        self.curvatures, self.noise = np.geomspace(0.1, 10.0, n), noise
        self.rng = np.random.default_rng(seed)

    def __call__(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        loss = 0.5 + 0.5 * float(self.curvatures @ w**2)
        u = self.rng.normal(size=len(w) + 1)
        return loss * float(np.exp(self.noise * u[0])), self.curvatures * w + self.noise * u[1:]


class _Regression:
    """Logistic regression on batches of 128 of 400 examples."""

    def __init__(self, seed: int, n: int = 6) -> None:
        self.rng = np.random.default_rng(seed)
        self.X = self.rng.normal(size=(400, n)) * np.geomspace(0.3, 3.0, n)
        self.y = np.where(self.rng.random(400) < 0.5 + 0.45 * np.sign(self.X.sum(axis=1)), 1.0, -1.0)

    def __call__(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        i = self.rng.integers(400, size=128)
        margin = self.y[i] * (self.X[i] @ w)
        g = -(self.y[i] * np.exp(-np.logaddexp(0, margin))) @ self.X[i] / 128
        return float(np.logaddexp(0, -margin).mean()), g


class _Jump:
    """A parabola whose loss is infinite beyond 3."""

    def __call__(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        return (1 + float(w @ w) if np.abs(w).max() < 3 else np.inf), 2 * w


_ONES = np.ones(5)
_CASES: tuple[tuple[str, Callable[[], Problem], tuple[Any, ...]], ...] = (
    ("a quadratic without noise, without smoothing", lambda: _Quadratic(0.0, 1), (_ONES, 1e-3, 10.0, 25, 0.0, 4.0)),
    ("a quadratic without noise", lambda: _Quadratic(0.0, 1), (2 * _ONES, 1e-4, 10.0, 60, 0.8, 3.0)),
    ("a noisy quadratic", lambda: _Quadratic(0.1, 2), (2 * _ONES, 1e-4, 10.0, 100, 0.9, 4.0)),
    ("a noisy quadratic, to a rate that is stable", lambda: _Quadratic(0.004, 3), (3 * _ONES, 1e-4, 0.1, 60, 0.7, 4.0)),
    ("logistic regression on batches", lambda: _Regression(4), (np.zeros(6), 1e-3, 300.0, 60, 0.8, 2.0)),
    ("a parabola whose loss is infinite beyond 3", _Jump, (np.array([1.0, -0.5]), 0.01, 100.0, 30, 0.5, 50.0)),
)
PROBES = tuple((make(), *arguments) for _, make, arguments in _CASES)


class _Counted:
    """A problem that keeps account of its calls."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.n_calls = problem, 0

    def __call__(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        self.n_calls += 1
        return self.problem(np.array(w))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, make, (start, low, high, n, beta, blow_up) in _CASES:
        counted, given = _Counted(make()), start.copy()
        given.flags.writeable = False  # the real run begins there
        got = learner.find_rate(counted, given, low, high, n, beta, blow_up)
        case = f"{name}: rates {low:g} to {high:g} in {n} steps, beta {beta:g}, blow_up {blow_up:g}"
        suggestion, rates, smoothed = find_rate(make(), start, low, high, n, beta, blow_up)
        assert isinstance(got, tuple | list) and len(got) == 3, (
            f"{case}: expected three answers, the suggestion, the rates and the smoothed losses, got {got!r:.80}"
        )
        for label, came in zip(("rates", "smoothed"), got[1:], strict=True):
            assert isinstance(came, np.ndarray) and came.dtype.kind == "f" and came.ndim == 1, (
                f"{case}: {label} must be an array of floats with one axis, got {came!r:.80}"
            )
        assert len(got[1]) == len(got[2]), (
            f"{case}: expected as many rates as smoothed losses, got {len(got[1])} and {len(got[2])}"
        )
        for label, came, right in (("rate", got[1], rates), ("smoothed loss", got[2], smoothed)):
            m = min(len(came), len(right))
            # the same run in another order of operations; it amplifies rounding by less than 1e4
            wrong = ~np.isclose(came[:m], right[:m], rtol=1e-8, atol=0)
            if wrong.any():
                k = int(wrong.argmax())
                raise AssertionError(
                    f"{case}: expected the {label} {right[k]:.6g} in step {k}, got {came[k]:.6g}. {_WHY[label]}"
                )
        assert len(got[1]) == len(rates), (
            f"{case}: expected {len(rates)} steps in the record, got {len(got[1])}. Stop as soon as the smoothed loss "
            f"is "
            f"not finite or above {blow_up:g} times the lowest in the record, and leave that step out"
        )
        calls = min(len(rates) + 1, n)
        assert counted.n_calls == calls, (
            f"{case}: expected {calls} calls of problem, one for each step, got {counted.n_calls}"
        )
        assert isinstance(got[0], float | int) and np.isclose(got[0], suggestion, rtol=1e-8, atol=0), (
            f"{case}: expected the suggestion {suggestion:.6g}, whose move made the smoothed loss fall from "
            f"{smoothed[rates == suggestion][0]:.6g} to {smoothed[1:][rates[:-1] == suggestion][0]:.6g}, got "
            f"{got[0]!r:.40}"
        )
    _expect_refusal(learner)


def _expect_refusal(learner: Any) -> None:
    came = None
    try:
        came = learner.find_rate(_Quadratic(0.0, 1), np.ones(5), 1.0, 10.0, 5, 0.0, 1e9)
    except ValueError:
        return
    raise AssertionError(
        "on a quadratic that explodes with the smallest rate already, the loss falls nowhere: expected a ValueError, "
        f"got {came!r:.80}"
    )


_WHY = {
    "rate": "Each rate is the one before times the same number, from low with the first step to high with the last.",
    "smoothed loss": "It is the weighted mean of the losses of the steps up to this one, each taken before the step's "
    "move, with weights that sum to 1.",
}

_Answer = tuple[float, np.ndarray, np.ndarray]


def _with(
    problem: Problem,
    start: np.ndarray,
    rates: np.ndarray,
    beta: float,
    blow_up: float,
    *,
    corrected: bool = True,
    first_for_best: bool = False,
    stops: bool = True,
    moves_on: bool = True,
    after: bool = False,
    kept: bool = False,
    raw: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The record of a run with parts exchanged."""
    w, mean = start, 0.0
    smoothed: list[float] = []
    with np.errstate(all="ignore"):
        for k, rate in enumerate(rates):
            loss, g = problem(w)
            if after:
                loss, _ = problem(w - rate * g)
            mean = beta * mean + (1 - beta) * loss
            smooth = loss if raw else mean / (1 - beta ** (k + 1)) if corrected else mean
            limit = blow_up * (smoothed[0] if first_for_best else min(smoothed)) if smoothed else np.inf
            stop = not np.isfinite(smooth) or smooth > limit
            if kept or not stop or not stops:
                smoothed.append(smooth)
            if stop and stops:
                break
            w = (w if moves_on else start) - rate * g
    return rates[: len(smoothed)], np.array(smoothed)


def _suggest(rates: np.ndarray, smoothed: np.ndarray) -> _Answer:
    with np.errstate(all="ignore"):
        falls = smoothed[:-1] - smoothed[1:]
    if not (falls > 0).any():
        raise ValueError("the loss falls nowhere")
    return float(rates[int(np.nanargmax(falls))]), rates, smoothed


def _ratios(low: float, high: float, n: int) -> np.ndarray:
    return np.asarray(low * (high / low) ** (np.arange(n) / (n - 1)))


def _equal_differences(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    return _suggest(*_with(problem, start, np.linspace(low, high, n_steps), beta, blow_up))


def _never_at_high(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    rates = low * (high / low) ** (np.arange(n_steps) / n_steps)
    return _suggest(*_with(problem, start, rates, beta, blow_up))


def _not_corrected(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    return _suggest(*_with(problem, start, _ratios(low, high, n_steps), beta, blow_up, corrected=False))


def _not_smoothed(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    return _suggest(*_with(problem, start, _ratios(low, high, n_steps), beta, blow_up, raw=True))


def _rate_of_the_next(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    _, rates, smoothed = find_rate(problem, start, low, high, n_steps, beta, blow_up)
    return float(rates[1:][(smoothed[:-1] - smoothed[1:]).argmax()]), rates, smoothed


def _rate_of_the_lowest(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    _, rates, smoothed = find_rate(problem, start, low, high, n_steps, beta, blow_up)
    return float(rates[smoothed.argmin()]), rates, smoothed


def _largest_that_stands(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    _, rates, smoothed = find_rate(problem, start, low, high, n_steps, beta, blow_up)
    return float(rates[-1]), rates, smoothed


def _steepest_per_rate(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    _, rates, smoothed = find_rate(problem, start, low, high, n_steps, beta, blow_up)
    falls = (smoothed[:-1] - smoothed[1:]) / (rates[1:] - rates[:-1])
    return float(rates[:-1][falls.argmax()]), rates, smoothed


def _compared_with_the_first(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    return _suggest(*_with(problem, start, _ratios(low, high, n_steps), beta, blow_up, first_for_best=True))


def _goes_on(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    return _suggest(*_with(problem, start, _ratios(low, high, n_steps), beta, blow_up, stops=False))


def _keeps_the_explosion(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    return _suggest(*_with(problem, start, _ratios(low, high, n_steps), beta, blow_up, kept=True))


def _each_from_the_start(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    return _suggest(*_with(problem, start, _ratios(low, high, n_steps), beta, blow_up, moves_on=False))


def _loss_after_the_move(
    problem: Problem, start: np.ndarray, low: float, high: float, n_steps: int, beta: float = 0.9, blow_up: float = 4.0
) -> _Answer:
    return _suggest(*_with(problem, start, _ratios(low, high, n_steps), beta, blow_up, after=True))


MISTAKES = (
    (
        _equal_differences,
        "Your rates rise by equal differences, so nearly all of them are near the largest. Nobody knows the right "
        "size beforehand: let them rise in equal ratios.",
    ),
    (
        _never_at_high,
        "Your rates end a step before `high`. From the first of n rates to the last there are n - 1 ratios.",
    ),
    (
        _not_corrected,
        "Your smoothed loss starts from 0 and is not divided by the sum of its weights. It climbs at first, which "
        "looks like a loss that rises.",
    ),
    (
        _not_smoothed,
        "You use the losses as they come. The steepest fall of a noisy curve is the luckiest pair of batches: smooth "
        "it.",
    ),
    (
        _rate_of_the_next,
        "Your suggestion is off by one. The loss of a step is taken before its move, so the fall from step i to step "
        "i + 1 is the work of rate i.",
    ),
    (
        _rate_of_the_lowest,
        "You suggest the rate at which the loss is lowest. There it has stopped falling and is about to explode; take "
        "the rate where it falls fastest.",
    ),
    (
        _largest_that_stands,
        "You suggest the largest rate before the loss blew up. It takes some steps until one sees that a rate is too "
        "large, so that one is too large already.",
    ),
    (
        _steepest_per_rate,
        "You divide the fall by the difference of the rates, which prefers the tiniest rates. The axis is the "
        "logarithm of the rate, on which all steps are equally far apart.",
    ),
    (
        _compared_with_the_first,
        "You compare with the first loss. By then the loss may have fallen far, and much is lost before it is back "
        "there: compare with the lowest so far.",
    ),
    (
        _goes_on,
        "You do not stop when the loss blows up. What follows tells nothing, and ends in overflow.",
    ),
    (
        _keeps_the_explosion,
        "You keep the step in the record with which the loss blew up. The record ends before it.",
    ),
    (
        _each_from_the_start,
        "You begin every step at the start again. The test is one run: each step goes on from where the one before it "
        "ended.",
    ),
    (
        _loss_after_the_move,
        "You take the loss after the move, with another call for another batch. One call a step gives the loss and "
        "the gradient of the same batch, before the move.",
    ),
)
