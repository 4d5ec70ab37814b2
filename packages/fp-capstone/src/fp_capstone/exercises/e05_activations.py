r"""
Back through the bends.

Level: implement. You need the product rule and the chain rule. Derive first; `fp_capstone.activations` has the answer.

Between its two matrices a feed-forward layer bends what it computed, entry by entry. GPT-2 uses the hyperbolic form of
GELU on a row $h$ of $F$ numbers,

$$
y = \tfrac12 h \, (1 + \tanh u), \qquad u = a \, (h + b h^3), \qquad a = \sqrt{2 / \pi}, \quad b = 0.044715 .
$$

The Llama family reads a row $h$ of $2F$ numbers as gates and values, $F$ of each, gates first, and computes SwiGLU:

$$
y_i = \operatorname{silu}(h_i) \, h_{F + i}, \qquad \operatorname{silu}(t) = \frac{t}{1 + e^{-t}} .
$$

The gradient of the loss in $y$ has arrived. What is it in $h$? Entry by entry, so no sums: this one is all product
rule. Gates may be as low as $-800$, where $e^{-t}$ overflows.

You learn to take a slope to the end: forgotten factors are the mistake that a loss curve does not show.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "tanh' = 1 - tanh^2. GELU is a product of h and (1 + tanh u), so its slope has two terms, and in the second the "
    "chain rule brings u' = a (1 + 3 b h^2).",
    "With s = 1 / (1 + e^-t) the slope s' is s (1 - s), so that of silu is s + t s (1 - s). The gate receives the "
    "value times this slope, the value receives silu of the gate. s = (1 + tanh(t / 2)) / 2 never overflows.",
    "`tau = np.tanh(a * (h + b * h**3))`, `g * (0.5 * (1 + tau) + 0.5 * h * (1 - tau**2) * a * (1 + 3 * b * h**2))`; "
    "gated: `np.concatenate((g * v * s * (1 + t * (1 - s)), g * t * s), axis=1)` for gates t and values v.",
)


def activation_backward(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    """
    Gradient of a loss in what was bent.

    Parameters
    ----------
    g
        The gradient of the loss in the result, floats of shape `(N, F)`.
    h
        What was bent: `(N, F)` for GELU; `(N, 2 * F)` for SwiGLU, gates, then values.
    gated
        Whether it was SwiGLU.

    Returns
    -------
    dh : ndarray
        In the shape of `h`.

    Examples
    --------
    >>> activation_backward(np.array([[3.0]]), np.array([[0.0]]), False).tolist()
    [[1.5]]
    >>> activation_backward(np.array([[3.0]]), np.array([[0.0, 10.0]]), True).tolist()
    [[15.0, 0.0]]
    """
    if gated:
        t, v = np.split(h, 2, axis=1)
        s = (1 + np.tanh(t / 2)) / 2
        return np.concatenate((g * v * s * (1 + t * (1 - s)), g * t * s), axis=1)
    a, b = math.sqrt(2 / math.pi), 0.044715
    tau = np.tanh(a * (h + b * h**3))
    return np.asarray(g * (0.5 * (1 + tau) + 0.5 * h * (1 - tau**2) * a * (1 + 3 * b * h**2)))


def _forward(h: np.ndarray, gated: bool) -> np.ndarray:
    """The formulas, for numbers that may be complex."""
    if not gated:
        return np.asarray(0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))))
    t, v = np.split(h, 2, axis=1)
    return np.asarray(t * (1 + np.tanh(t / 2)) / 2 * v)


_Drawn = tuple[np.ndarray, np.ndarray, bool]


def _drawn(N: int, F: int, gated: bool, seed: int, size: float | int = 2) -> _Drawn:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, F)), size * rng.normal(size=(N, F * (1 + gated))), gated


_CASES: tuple[tuple[str, _Drawn], ...] = (
    ("GELU at 1", (np.ones((1, 1)), np.ones((1, 1)), False)),
    ("GELU, two rows of five", _drawn(2, 5, False, 1)),
    ("GELU, small numbers", _drawn(3, 2, False, 2, 0.1)),
    ("SwiGLU, gate 1 and value 1", (np.ones((1, 1)), np.ones((1, 2)), True)),
    ("SwiGLU, two rows of three gates and three values", _drawn(2, 3, True, 3)),
    ("SwiGLU, gates of 800 and -800", (np.array([[1.0, 2.0]]), np.array([[800.0, -800.0, 0.5, 3.0]]), True)),
)
PROBES = tuple(given for _, given in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, (g, h, gated) in _CASES:
        got = learner.activation_backward(g.copy(), h.copy(), gated)
        assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == h.shape, (
            f"{case}: dh is an array of floats of shape {h.shape}, got "
            + (f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else f"{got!r:.80}")
        )
        for n, i in np.ndindex(h.shape):
            moved = h.astype(complex)
            moved[n, i] += 1e-100j  # a complex step: no difference is taken, so nothing cancels
            slope = float((g * _forward(moved, gated)).sum().imag / 1e-100)
            F = g.shape[1]
            what = "" if not gated else " (a gate)" if i < F else " (a value)"
            # a few roundings, near 1e-15 of what is multiplied
            assert abs(got[n, i] - slope) <= 1e-9 * max(1.0, abs(slope)), (
                f"{case}: at h[{n}, {i}] = {h[n, i]:.6g}{what} the slope of the loss is {slope:.8g}, yours is "
                f"{got[n, i]:.8g}. " + (_GATED if gated else _PLAIN)
            )


_PLAIN = "Two factors depend on h, h itself and 1 + tanh u: both have a slope, and the second one's has u' in it."
_GATED = "A product: the gate receives the value times the slope of silu, the value receives silu of the gate."


def _gelu(g: np.ndarray, h: np.ndarray, second: Any) -> np.ndarray:
    """GELU's gradient with another second term, given tanh u and h."""
    tau = np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))
    return np.asarray(g * (0.5 * (1 + tau) + second(tau)))


def _product_rule_halved(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    return activation_backward(g, h, True) if gated else _gelu(g, h, lambda tau: 0)


def _inner_slope_forgotten(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    return activation_backward(g, h, True) if gated else _gelu(g, h, lambda tau: 0.5 * h * (1 - tau**2))


def _three_forgotten(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    a, b = math.sqrt(2 / math.pi), 0.044715
    if gated:
        return activation_backward(g, h, True)
    return _gelu(g, h, lambda tau: 0.5 * h * (1 - tau**2) * a * (1 + b * h**2))


def _error_function(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    if gated:
        return activation_backward(g, h, True)
    below = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in h.ravel()]).reshape(h.shape)
    return np.asarray(g * (below + h * np.exp(-h * h / 2) / math.sqrt(2 * math.pi)))


def _swish(g: np.ndarray, h: np.ndarray, gated: bool, slope: Any, value: Any) -> np.ndarray:
    """SwiGLU's gradient with another slope of the gate and another gradient of the value."""
    if not gated:
        return activation_backward(g, h, False)
    t, v = np.split(h, 2, axis=1)
    s = (1 + np.tanh(t / 2)) / 2
    return np.concatenate((g * v * slope(t, s), g * value(t, s)), axis=1)


def _sigmoid_for_silu(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    return _swish(g, h, gated, lambda t, s: s * (1 - s), lambda t, s: s)


def _gate_counted_once(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    return _swish(g, h, gated, lambda t, s: s, lambda t, s: t * s)


def _value_forgotten(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    if not gated:
        return activation_backward(g, h, False)
    ones = np.concatenate((h[:, : g.shape[1]], np.ones(g.shape)), axis=1)
    return activation_backward(g, ones, True)


def _values_first(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    if not gated:
        return activation_backward(g, h, False)
    F = g.shape[1]
    return np.roll(activation_backward(g, np.roll(h, F, axis=1), True), F, axis=1)


def _overflows(g: np.ndarray, h: np.ndarray, gated: bool) -> np.ndarray:
    if not gated:
        return activation_backward(g, h, False)
    with np.errstate(all="ignore"):
        t, v = np.split(h, 2, axis=1)
        s = np.exp(t) / (1 + np.exp(t))
        return np.concatenate((g * v * s * (1 + t * (1 - s)), g * t * s), axis=1)


MISTAKES = (
    (
        _product_rule_halved,
        "You take GELU's gate for a constant. h opens its own gate: the product rule has a second term, h times the "
        "slope of the gate.",
    ),
    (
        _inner_slope_forgotten,
        "You stop at the slope of tanh. Its argument u moves with h, and the chain rule multiplies by u' = "
        "a (1 + 3 b h^2).",
    ),
    (
        _three_forgotten,
        "You forget the 3 of the cube's slope: u' is a (1 + 3 b h^2).",
    ),
    (
        _error_function,
        "You go back through the GELU of the error function. The model went forward through the form with tanh, and "
        "the way back belongs to the way forward.",
    ),
    (
        _sigmoid_for_silu,
        "You go back through a sigmoid gate. silu is t times the sigmoid of t: the factor t belongs to the value's "
        "gradient, and to the gate's by the product rule.",
    ),
    (
        _gate_counted_once,
        "You take the sigmoid in silu for a constant. The gate stands in it twice, so its slope is s + t s (1 - s).",
    ),
    (
        _value_forgotten,
        "You leave the value out of the gate's gradient. The gate was multiplied by the value on the way forward.",
    ),
    (
        _values_first,
        "You take the first half of h for the values. The gates stand first, on the way forward and in dh.",
    ),
    (
        _overflows,
        "You take exponentials of large gates. e^800 overflows and becomes NaN; (1 + tanh(t / 2)) / 2 is the same "
        "sigmoid and does not.",
    ),
)
