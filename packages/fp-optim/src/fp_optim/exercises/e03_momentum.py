r"""
Momentum, and Nesterov's look ahead.

Level: implement. You need `fp_optim.momentum` up to (E3), and its section on Nesterov up to (E7).

Gradient descent forgets every gradient as soon as it has made its step. The heavy ball keeps a buffer. With
$g_1, g_2, \dots$ the gradients at the points where it is, and the rates $\eta_1, \eta_2, \dots$,

$$
b_1 = g_1, \qquad b_t = \beta b_{t-1} + (1 - \tau)\, g_t \quad (t \ge 2), \qquad w_t = w_{t-1} - \eta_t b_t,
$$

with momentum $\beta$ and dampening $\tau$: the first gradient enters in full, and the rate applies to all of the
memory. Nesterov's method differs in one point only. It takes the gradient not where it stands but where its memory
alone is about to carry it: $g_t$ is the gradient at $w_{t-1} - \eta_t \beta b_{t-1}$ (for $t = 1$ there is no memory
yet). The step itself still begins at $w_{t-1}$.

Write both, as the path that they take. `gradient` is a function, as a program has it that computes gradients into the
same memory every time: the array that it returns may be overwritten by its next call.

You learn the lines that every optimizer contains, and the four places where they go wrong without a sound: the start
of the buffer, the place of the rate, the point of the gradient, and arrays with two names.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

HINTS = (
    "Start with no buffer at all, `b = None`. In each step first find the point for the gradient, then bring the "
    "buffer up to date, then step; in the first step the buffer becomes a copy of the gradient.",
    "Nesterov: `at = w if b is None or not nesterov else w - rate * momentum * b`. Only `gradient` sees `at`; the step "
    "is taken from `w`, with the new buffer.",
    "`b = g.copy() if b is None else momentum * b + (1 - dampening) * g`, then `w = w - rate * b`, which makes a new "
    "array, so that the path can keep the old ones. At the end `np.array(path)`.",
)

Gradient = Callable[[np.ndarray], np.ndarray]


def momentum_path(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    """
    The path of the heavy ball, or of Nesterov's method.

    Parameters
    ----------
    gradient
        The gradient at a point of shape `(n,)`, in that shape. Its next call may overwrite the array.
    start
        The first point, floats of shape `(n,)`; it is not changed.
    rates
        One for each step, at least one.
    momentum
        At least 0 and below 1.
    dampening
        At least 0 and below 1; 0 for Nesterov's method.
    nesterov
        Whether the gradient is taken ahead.

    Returns
    -------
    ndarray
        The points, the start first, of shape `(len(rates) + 1, n)`.

    Examples
    --------
    On half the square of w, whose gradient is w, from 8:

    >>> start, rates = np.array([8.0]), [0.5, 0.5, 0.5]
    >>> momentum_path(lambda w: w.copy(), start, rates, momentum=0.5).ravel().tolist()
    [8.0, 4.0, 0.0, -2.0]
    >>> momentum_path(lambda w: w.copy(), start, rates, momentum=0.5, nesterov=True).ravel().tolist()
    [8.0, 4.0, 1.0, -0.25]
    """
    w, b = start.copy(), None
    path = [w]
    for rate in rates:
        g = gradient(w if b is None or not nesterov else w - rate * momentum * b)
        b = g.copy() if b is None else momentum * b + (1 - dampening) * g
        w = w - rate * b
        path.append(w)
    return np.array(path)


class _Reused:
    """A gradient that is computed into the same array at every call."""

    def __init__(self, function: Gradient, n: int) -> None:
        self.function, self.memory = function, np.zeros(n)

    def __call__(self, w: np.ndarray) -> np.ndarray:
        self.memory[:] = self.function(w)
        return self.memory


def _constant(w: np.ndarray) -> np.ndarray:
    return np.full(w.shape, 2.0)


def _bowl(w: np.ndarray) -> np.ndarray:
    return np.linspace(1.0, 3.0, len(w)) * w


def _wavy(w: np.ndarray) -> np.ndarray:
    return np.asarray(np.sin(3 * w) + w[::-1])


_CONSTANT = "a constant gradient of 2"
_BOWL = "the gradient λ w with curvatures λ from 1 to 3"
_WAVY = "the gradient sin(3 w) + w[::-1]"
_CASES: tuple[tuple[str, Gradient, np.ndarray, list[float], float, float, bool], ...] = (
    (_CONSTANT, _constant, np.array([1.0]), [0.5] * 4, 0.5, 0.0, False),
    (_CONSTANT, _constant, np.array([1.0]), [0.5] * 4, 0.5, 0.75, False),
    (_BOWL, _bowl, np.array([1.0, -2.0, 4.0]), [0.25] * 5, 0.0, 0.0, False),
    (_BOWL, _bowl, np.array([1.0, -2.0, 4.0]), [0.1] * 6, 0.75, 0.0, False),
    (_WAVY, _wavy, np.array([0.5, -1.0]), [0.2, 0.1, 0.4, 0.05, 0.1], 0.9, 0.25, False),
    (_CONSTANT, _constant, np.array([1.0]), [0.5] * 4, 0.5, 0.0, True),
    (_BOWL, _bowl, np.array([1.0, -2.0, 4.0]), [0.1] * 6, 0.75, 0.0, True),
    (_WAVY, _wavy, np.array([0.5, -1.0]), [0.2, 0.1, 0.4, 0.05, 0.1], 0.9, 0.0, True),
)

PROBES = tuple((_Reused(f, len(start)), start, *rest) for _, f, start, *rest in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, function, start, rates, momentum, dampening, nesterov in _CASES:
        expected = momentum_path(function, start, rates, momentum, dampening, nesterov)
        for reused in (False, True):
            given, gradient = start.copy(), _Reused(function, len(start)) if reused else function
            came = learner.momentum_path(gradient, given, list(rates), momentum, dampening, nesterov)
            case = (
                f"{name}{' (in the same array at each call)' if reused else ''}, start {start.tolist()}, rates "
                f"{rates}, "
                f"momentum {momentum:g}{f', dampening {dampening:g}' if dampening else ''}"
                f"{', Nesterov' if nesterov else ''}"
            )
            assert isinstance(came, np.ndarray) and came.dtype.kind in "iuf" and came.shape == expected.shape, (
                f"{case}: expected the path, an array of floats of shape {expected.shape}, got {came!r:.80}"
            )
            # rounding is near 1e-16, the smallest mistake far above 1e-9
            wrong = ~np.isclose(came, expected, rtol=1e-9, atol=1e-12).all(axis=1)
            if wrong.any():
                t = int(wrong.argmax())
                raise AssertionError(
                    f"{case}: expected {expected[t].round(6).tolist()} after {t} steps, got "
                    f"{came[t].round(6).tolist()}. {_why(t, nesterov, reused)}"
                )


def _why(t: int, nesterov: bool, reused: bool) -> str:
    if t == 0:
        return "The path begins with the start, and no later step may write over it."
    if reused:
        return "An array that came from `gradient` is only good until the next call: copy what you keep."
    if t == 1:
        return "The first gradient is taken at the start and enters the buffer in full."
    if nesterov:
        return "The gradient is taken where the memory alone would lead, and the step begins where the last one ended."
    return "The buffer fades by the momentum and takes in (1 - dampening) g; then the rate multiplies all of it."


def _begun_with_zeros(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    w, b = start, np.zeros_like(start)
    path = [w]
    for rate in rates:
        g = gradient(w - rate * momentum * b if nesterov else w)
        b = momentum * b + (1 - dampening) * g
        w = w - rate * b
        path.append(w)
    return np.array(path)


def _steps_before_it_looks(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    w, b = start, np.zeros_like(start)
    path = [w]
    for i, rate in enumerate(rates):
        g = gradient(w - rate * momentum * b if nesterov else w).copy()
        w = w - rate * b
        b = g if i == 0 else momentum * b + (1 - dampening) * g
        path.append(w)
    return np.array(path)


def _dampening_forgotten(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    return momentum_path(gradient, start, rates, momentum, 0.0, nesterov)


def _a_mean_of_gradients(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    return momentum_path(gradient, start, rates, momentum, momentum, nesterov)


def _rate_in_the_memory(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    w, v = start, None
    path = [w]
    for rate in rates:
        g = gradient(w if v is None or not nesterov else w - momentum * v)
        v = rate * g if v is None else momentum * v + (1 - dampening) * rate * g
        w = w - v
        path.append(w)
    return np.array(path)


def _gradient_where_it_stands(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    return momentum_path(gradient, start, rates, momentum, dampening)


def _too_far_ahead(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    w, b = start, None
    path = [w]
    for rate in rates:
        g = gradient(w if b is None or not nesterov else w - rate * b)
        b = g.copy() if b is None else momentum * b + (1 - dampening) * g
        w = w - rate * b
        path.append(w)
    return np.array(path)


def _steps_from_ahead(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    w, b = start, None
    path = [w]
    for rate in rates:
        w = w if b is None or not nesterov else w - rate * momentum * b
        g = gradient(w)
        b = g.copy() if b is None else momentum * b + (1 - dampening) * g
        w = w - rate * b
        path.append(w)
    return np.array(path)


def _as_libraries_do(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    w, b = start, None
    path = [w]
    for rate in rates:
        g = gradient(w)
        b = g.copy() if b is None else momentum * b + (1 - dampening) * g
        w = w - rate * (g + momentum * b if nesterov else b)
        path.append(w)
    return np.array(path)


def _buffer_is_the_gradient(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    w, b = start, None
    path = [w]
    for rate in rates:
        g = gradient(w if b is None or not nesterov else w - rate * momentum * b)
        b = g if b is None else momentum * b + (1 - dampening) * g
        w = w - rate * b
        path.append(w)
    return np.array(path)


def _one_array_for_the_path(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    path = momentum_path(gradient, start, rates, momentum, dampening, nesterov)
    return np.repeat(path[-1:], len(path), axis=0)


def _without_the_start(
    gradient: Gradient,
    start: np.ndarray,
    rates: list[float],
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    return momentum_path(gradient, start, rates, momentum, dampening, nesterov)[1:]


MISTAKES = (
    (
        _begun_with_zeros,
        "You start the buffer wrongly: with zeros, into which the first gradient comes dampened like every other. The "
        "buffer begins as the first gradient itself.",
    ),
    (
        _steps_before_it_looks,
        "You step with the buffer of the step before and bring it up to date afterwards, so the first step stands "
        "still and every gradient comes a step late.",
    ),
    (
        _dampening_forgotten,
        "You leave the dampening out: from the second step on a gradient enters the buffer with the weight 1 - τ.",
    ),
    (
        _a_mean_of_gradients,
        "You weigh new gradients by 1 - momentum, as Adam's means do. Here the weight is 1 - dampening, and without "
        "dampening the buffer is a fading sum, up to 1 / (1 - momentum) times as long as a gradient.",
    ),
    (
        _rate_in_the_memory,
        "You put the rate into the memory. As long as it is constant that is the same; when it changes, the old part "
        "of your step still has the old rate. The buffer is made of gradients alone.",
    ),
    (
        _gradient_where_it_stands,
        "You evaluate Nesterov's gradient at the wrong point, where you stand: that is the heavy ball once more. It "
        "belongs where the memory is about to lead.",
    ),
    (
        _too_far_ahead,
        "You evaluate Nesterov's gradient at the wrong point, one whole step ahead. The memory fades before it is used "
        "again: it leads by rate * momentum * b.",
    ),
    (
        _steps_from_ahead,
        "You step from the point ahead. The new buffer holds the memory already, so you move by it twice: the gradient "
        "is taken ahead, and the step begins where the last one ended.",
    ),
    (
        _as_libraries_do,
        "You run the form of libraries, whose step is g + momentum * b with the gradient where they stand. With a "
        "constant rate its points are those *ahead* of the ones asked for.",
    ),
    (
        _buffer_is_the_gradient,
        "Your first buffer is the array that `gradient` returned, under another name, and its next call writes over "
        "it. Copy the first gradient.",
    ),
    (
        _one_array_for_the_path,
        "Every point of your path is the same array, moved in place until the end. Keep a copy of each.",
    ),
    (_without_the_start, "Your path lacks its first point, the start: it has one point more than steps."),
)
