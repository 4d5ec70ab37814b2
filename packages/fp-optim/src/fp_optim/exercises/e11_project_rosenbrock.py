r"""
Out of Rosenbrock's valley.

Level: project. You need all sections of `fp_optim` up to `fp_optim.adaptive`, and the backward of `fp_autograd`.

In 1960 Howard Rosenbrock wrote down a function to embarrass optimizers with,

$$f(x) = \sum_{i=1}^{n-1} \Big( 100\, \big( x_{i+1} - x_i^2 \big)^2 + (1 - x_i)^2 \Big).$$

Its valley is steep across, bent, and nearly flat along: a rate that the walls allow takes forever on the floor. Write
an optimizer of your own that gets to the bottom of this and other functions. It is handed the function as a program on
tensors, a start, and how often it may call the function; a call gives the value, and its `backward` the gradient. It
knows nothing else, neither where the minimum is nor how large things are.

The grader starts you in five valleys, with 3000 calls for each: Rosenbrock's in 2 dimensions and in 10, the same with
another minimum and in other units (coordinates ten times as large, values ten thousand times), a ravine of quadratic
walls with a condition number of 1000, and the logistic regression of ten examples with a small penalty. The value where
you end must be above the smallest by at most a hundred-millionth ($10^{-8}$) of what it was above it at the start.

Begin with gradient descent and look at its path. Add momentum, Nesterov's or the heavy ball's, or Adam's scaling. Then
find the rate without knowing $L$: (E2) of `fp_optim.descent` says how much a step with a rate of at most $1 / L$ gains,
so a step that gains less was too long. And think of what to do when momentum runs uphill.

You learn where the theory of the chapter holds (near every bottom), where it does not (everywhere else), and what has
to be added so that a method needs no tuning. The training of a language model, alas, shows its function only through
noise, and is tuned by hand to this day.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fp_autograd import Tensor, no_grad

HINTS = (
    "A value with its gradient: `x = Tensor(w.copy(), requires_grad=True)`, `y = f(x)`, `y.backward()`, then "
    "`float(y.data)` and `x.grad`. A value alone, for trying a step: `with no_grad(): float(f(Tensor(w)).data)`.",
    "Backtracking: halve the rate until the step from y to `new = y - rate * g` gains at least `rate / 2 * g @ g`. "
    "Then let it grow a little, by a fifth, or it stays as small as the steepest place made it.",
    "Nesterov's steps from `y = new + (t - 1) / t_next * (new - w)` with the t of `fp_optim.momentum`. If a step ends "
    "higher than the one before it, throw it away and begin the momentum again: t = 1, y = w.",
)

Function = Callable[[Tensor], Tensor]


def minimise(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    """
    Go from a start to a minimum, by values and gradients.

    Parameters
    ----------
    f
        From a tensor of shape `(n,)` to a tensor of shape `()`; smooth, and bounded below.
    start
        Floats of shape `(n,)`.
    n_calls
        How often f may be called, at least 1.

    Returns
    -------
    ndarray
        The best point that was found, of shape `(n,)`.

    Examples
    --------
    >>> minimise(lambda x: ((x - 3) * (x - 3)).sum(), np.array([0.0, 10.0]), n_calls=100).round(6).tolist()
    [3.0, 3.0]
    """
    left = n_calls - 1
    w = y = start
    value, g = _with_gradient(f, start)
    lowest, rate, t = value, 1.0, 1.0
    while left >= 2:  # one call for a step and one for the next gradient
        new = y - rate * g
        reached = _value(f, new)
        left -= 1
        if not reached <= value - rate / 2 * float(g @ g):
            rate /= 2
            continue
        if reached <= lowest:
            t, before = (1 + np.sqrt(1 + 4 * t**2)) / 2, t
            w, y, lowest = new, new + (before - 1) / t * (new - w), reached
            rate *= 1.2
        elif t == 1:  # it began at w itself and gained nothing: rounding is all that is left
            break
        else:
            t, y = 1.0, w
        value, g = _with_gradient(f, y)
        left -= 1
    return w


def _value(f: Function, w: np.ndarray) -> float:
    with no_grad():
        return float(f(Tensor(w)).data)


def _with_gradient(f: Function, w: np.ndarray) -> tuple[float, np.ndarray]:
    x = Tensor(w.copy(), requires_grad=True)
    y = f(x)
    y.backward()
    return float(y.data), x.grad


def _rosenbrock(x: Tensor) -> Tensor:
    a, b = x[1:] - x[:-1] * x[:-1], 1 - x[:-1]
    return (100 * (a * a) + b * b).sum()


def _elsewhere(x: Tensor) -> Tensor:
    """Rosenbrock's function with its minimum at 40, coordinates ten times as large, values ten thousand times."""
    return 1e4 * _rosenbrock(x / 10 - 3)


def _ravine(x: Tensor) -> Tensor:
    z = np.array([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]) @ (x - np.array([0.5, -2.0, 4.0]))
    return 0.5 * (np.array([1000.0, 30.0, 1.0]) * z * z).sum() - 7


_X = np.random.default_rng(11).normal(size=(10, 4)) * np.array([0.3, 1.0, 3.0, 10.0])
_SIGN = np.where(np.arange(10) % 3 == 0, 1.0, -1.0)


def _logistic(x: Tensor) -> Tensor:
    margin = _SIGN * (_X @ x)
    return (1 + (-margin).exp()).log().sum() / 10 + 0.005 * (x * x).sum()


def _newton(x: np.ndarray) -> float:
    """The smallest value of `_logistic`, from steps that use the second derivatives as well."""
    for _ in range(50):
        p = 1 / (1 + np.exp(_SIGN * (_X @ x)))
        g = -(_SIGN * p) @ _X / 10 + 0.01 * x
        x = x - np.linalg.solve((_X.T * (p * (1 - p))) @ _X / 10 + 0.01 * np.eye(len(x)), g)
    return _value(_logistic, x)


_N_CALLS = 3000
_CASES: tuple[tuple[str, Function, np.ndarray, float], ...] = (
    ("Rosenbrock's function in 2 dimensions", _rosenbrock, np.array([-1.2, 1.0]), 0.0),
    ("Rosenbrock's function in 10 dimensions", _rosenbrock, np.zeros(10), 0.0),
    ("Rosenbrock's function elsewhere and in other units", _elsewhere, np.array([0.0, 30.0, 5.0]), 0.0),
    ("the ravine", _ravine, np.array([1.0, 1.0, 1.0]), -7.0),
    ("logistic regression", _logistic, np.zeros(4), _newton(np.zeros(4))),
)
PROBES = tuple((f, start, 200) for _, f, start, _ in _CASES[:4])


class _Counted:
    """A function that counts its calls and refuses those that are too many."""

    def __init__(self, f: Function, n_calls: int) -> None:
        self.f, self.left, self.over = f, n_calls, False

    def __call__(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            self.over = True
            raise RuntimeError("the function may not be called any more")
        return self.f(x)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, f, start, smallest in _CASES:
        counted, came = _Counted(f, _N_CALLS), None
        try:
            came = learner.minimise(counted, start.copy(), _N_CALLS)
        except RuntimeError:
            if not counted.over:
                raise
        assert not counted.over, (
            f"{name}: your optimizer calls the function more than {_N_CALLS} times. Every call counts, the ones that "
            "only try a step too"
        )
        assert isinstance(came, np.ndarray) and came.dtype.kind in "iuf" and came.shape == start.shape, (
            f"{name}: expected a point, an array of floats of shape {start.shape}, got {came!r:.80}"
        )
        assert np.isfinite(came).all(), (
            f"{name}: expected a finite point, got {came.round(4).tolist()}: the steps were too long. A rate that is "
            "right for one function is too large for another"
        )
        gap, first = _value(f, came.astype(float)) - smallest, _value(f, start) - smallest
        assert gap <= 1e-8 * first, (
            f"{name}, from {start.tolist()}: after {_N_CALLS - counted.left} calls your point is {gap:.3g} above the "
            f"smallest value, at most {1e-8 * first:.3g} is asked for; at the start it was {first:.4g}. "
            + _advice(gap / first, _gradient_size(f, came))
        )


def _gradient_size(f: Function, w: np.ndarray) -> float:
    return float(np.abs(_with_gradient(f, w.astype(float))[1]).max())


def _advice(ratio: float, size: float) -> str:
    if ratio > 1:
        return "That is higher than the start: the steps were too long for this function."
    return (
        f"The largest entry of the gradient there is {size:.2g}: it was still on its way, so larger steps along the "
        "valley (momentum), or a rate that suits this function, or steps that get smaller at the end, are missing."
    )


def _plain_descent(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    w = start
    rate = 1.0
    for _ in range(n_calls // 2):
        value, g = _with_gradient(f, w)
        if _value(f, w - rate * g) <= value - rate / 2 * float(g @ g):
            w, rate = w - rate * g, 1.2 * rate
        else:
            rate /= 2
    return w


def _one_rate_for_all(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    w, b = start, np.zeros_like(start)
    with np.errstate(all="ignore"):
        for _ in range(n_calls):
            b = 0.95 * b + _with_gradient(f, w)[1]
            w = w - 1e-3 * b
    return w


def _gradients_pile_up(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    w, g, b = start, np.zeros_like(start), np.zeros_like(start)
    with np.errstate(all="ignore"):
        for _ in range(n_calls):
            g = g + _with_gradient(f, w)[1]
            b = 0.9 * b + g
            w = w - 1e-4 * b
    return w


def _adam_at_a_constant_rate(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    w, m, v = start, np.zeros_like(start), np.zeros_like(start)
    for t in range(1, n_calls + 1):
        g = _with_gradient(f, w)[1]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


def _momentum_uphill(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    w = y = start
    t, rate = 1.0, 1.0
    value, g = _with_gradient(f, y)
    for _ in range((n_calls - 1) // 2):
        new = y - rate * g
        if not _value(f, new) <= value - rate / 2 * float(g @ g):
            rate /= 2
            continue
        t, before = (1 + np.sqrt(1 + 4 * t**2)) / 2, t
        w, y = new, new + (before - 1) / t * (new - w)
        value, g = _with_gradient(f, y)
    return w


def _rate_never_grows(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    w = y = start
    rate, lowest, left = 1.0, np.inf, n_calls - 1
    value, g = _with_gradient(f, y)
    while left >= 2:
        new = y - rate * g
        reached = _value(f, new)
        left -= 1
        if not reached <= value - rate / 2 * float(g @ g):
            rate /= 4
            continue
        if reached <= lowest:
            w, y, lowest = new, new + 0.5 * (new - w), reached
        else:
            y = w
        value, g = _with_gradient(f, y)
        left -= 1
    return w


def _sign_steps(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    w, rate = start, 0.1
    for k in range(n_calls):
        w = w - rate * (1 - k / n_calls) * np.sign(_with_gradient(f, w)[1])
    return w


def _too_many_calls(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    return minimise(f, start, 4 * n_calls)


def _knows_the_answer(f: Function, start: np.ndarray, n_calls: int) -> np.ndarray:
    return np.ones_like(start)


MISTAKES = (
    (
        _plain_descent,
        "Your steps remember nothing. Plain descent zigzags between the walls and creeps along the floor, however "
        "well its rate is found: keep a momentum.",
    ),
    (
        _one_rate_for_all,
        "You fixed a rate. It belongs to one function in one unit: elsewhere it is far too large, or nothing moves. "
        "Find it from how much a step gains.",
    ),
    (
        _gradients_pile_up,
        "You add every gradient to those before it and never begin at zero, so what you step along is a sum over all "
        "of the path. Momentum is what should remember, and it fades.",
    ),
    (
        _adam_at_a_constant_rate,
        "You run Adam at a constant rate. Its steps are about as long as the rate, whatever the gradient: where the "
        "way is long they do not arrive, and at the bottom they do not come to rest.",
    ),
    (
        _momentum_uphill,
        "You let the momentum grow and never begin it again. It carries you past the bottom and up the other side, to "
        "and fro; stop it when the value rises.",
    ),
    (
        _rate_never_grows,
        "Your rate only falls, and half of a step is remembered: what the steepest place allowed is what you creep "
        "with to the end. Let the rate grow after steps that succeed, and the momentum nearer to 1.",
    ),
    (
        _sign_steps,
        "You step by the sign of the gradient alone. In a bent valley that jumps from wall to wall, and how far a "
        "coordinate has to go is lost.",
    ),
    (
        _too_many_calls,
        "You do not count the calls that only try a step. n_calls is all that there are.",
    ),
    (
        _knows_the_answer,
        "You return Rosenbrock's minimum, (1, …, 1), as if every valley had its bottom there. The function that you "
        "were given has its own.",
    ),
)
