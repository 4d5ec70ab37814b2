r"""
Back through RMSNorm when the input is gone.

Level: challenge. You need `fp_transformer.norms`.

RMSNorm makes of each row $x$ of $C$ numbers

$$
r = \Big( \frac1C \sum_c x_c^2 + \varepsilon \Big)^{-1/2}, \qquad \hat x_c = r\, x_c, \qquad
y_c = \gamma_c\, \hat x_c .
$$

To save memory the result was written over the input: of the way forward there are left $y$, the gain $\gamma$, none of
whose entries is zero, and one number a row, $r$. The gradient of a loss in $y$ has arrived,
$g_c = \partial \ell / \partial y_c$. What are the gradients in $x$ and in $\gamma$?

Derive them from the three formulas above. Every $x_c$ acts in two ways, directly and through $r$, on all of its row.
The gain is the same for all rows, so its gradient collects from all of them. Neither $x$ nor $\varepsilon$ is given,
and neither is needed. No automatic differentiation, please.

Your answer is compared with derivatives of the three formulas, number by number.

You learn which part of a gradient a norm takes away, and that what is kept for the way back is a choice.
"""

from typing import Any

import numpy as np

HINTS = (
    "Write h = gain * g for the gradient in the normalised row. If x moves along t, then r moves by -r**2 times the "
    "mean of the entries of xhat * t, so xhat moves by r * t - r * xhat * mean(xhat * t).",
    "The matrix that takes t to r (t - xhat * mean(xhat * t)) is symmetric: so dx = r (h - xhat * mean(xhat * h)). "
    "What is xhat, if y is known and the gain is?",
    "`xhat = y / gain`, `h = g * gain`, `dx = r[..., None] * (h - xhat * (xhat * h).mean(axis=-1, keepdims=True))`; "
    "the gain's gradient is g * xhat summed over all axes but the last.",
)


def rms_norm_backward(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Gradients of a loss in the input and the gain of RMSNorm, from its output.

    Parameters
    ----------
    g
        The gradient of the loss in `y`, floats of shape `(..., C)`.
    y
        What RMSNorm returned, `(..., C)`.
    gain
        Shape `(C,)`, no entry zero.
    r
        What each row was multiplied by before the gain, shape `(...)`.

    Returns
    -------
    dx, dgain : ndarray
        Of the shapes `(..., C)` and `(C,)`.

    Examples
    --------
    The row (3, 4) with the gain 1, divided by 5; the loss is the first entry of the result:

    >>> dx, dgain = rms_norm_backward(np.array([1.0, 0.0]), np.array([0.6, 0.8]), np.ones(2), np.array(0.2))
    >>> dx.round(6).tolist(), dgain.tolist()
    ([0.164, -0.048], [0.6, 0.0])
    """
    xhat, h = y / gain, g * gain
    dx = r[..., None] * (h - xhat * (xhat * h).mean(axis=-1, keepdims=True))
    return dx, (g * xhat).reshape(-1, len(gain)).sum(axis=0)


def _forward(x: np.ndarray, gain: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """The three formulas, for numbers that may be complex."""
    r = np.asarray(1 / np.sqrt((x * x).mean(axis=-1) + eps))
    return gain * x * r[..., None], r


_Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def _drawn(shape: tuple[int, ...], eps: float, seed: int, size: float = 1.0, plain: bool = False) -> _Drawn:
    """Cotangent, input, gain and eps; no gain is near zero."""
    rng = np.random.default_rng(seed)
    g, x = rng.normal(size=(2, *shape))
    gain = np.ones(shape[-1]) if plain else rng.uniform(0.5, 2, shape[-1]) * rng.choice([-1, 1], shape[-1])
    return g, size * x, gain, eps


_CASES: tuple[tuple[str, _Drawn], ...] = (
    ("one row with the gain one, eps = 0", _drawn((3,), 0.0, 1, plain=True)),
    ("one row with the gain one, eps = 0.5", _drawn((5,), 0.5, 2, plain=True)),
    ("one row with gains", _drawn((3,), 1e-6, 3)),
    ("three rows of three numbers, with gains", _drawn((3, 3), 0.1, 4)),
    ("two texts of three rows of five numbers, with gains", _drawn((2, 3, 5), 0.01, 5, 3.0)),
    ("small rows and an eps that is larger than their squares", _drawn((2, 4), 1.0, 6, 0.1)),
)


def _arguments(case: _Drawn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    g, x, gain, eps = case
    y, r = _forward(x, gain, eps)
    return g, y, gain, r


PROBES = tuple(_arguments(case) for _, case in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for (name, case), arguments in zip(_CASES, PROBES, strict=True):
        got = learner.rms_norm_backward(*(array.copy() for array in arguments))
        assert isinstance(got, tuple | list) and len(got) == 2, (
            f"{name}: expected the gradients in the input and in the gain, got {got!r:.80}"
        )
        g, x, gain, eps = case
        wants = zip(("dgain", "dx"), got[::-1], (gain, x), strict=True)
        for what, gradient, variable in wants:
            assert (
                isinstance(gradient, np.ndarray) and gradient.dtype.kind == "f" and gradient.shape == variable.shape
            ), f"{name}: {what} is an array of floats of shape {variable.shape}, got {_what(gradient)}"
            for i in np.ndindex(variable.shape):
                expected = _slope(g, x, gain, eps, what, i)
                # a complex step is exact to rounding, near 1e-15
                assert abs(gradient[i] - expected) <= 1e-9 * max(1.0, abs(expected)), (
                    f"{name}: the slope of the loss in {'x' if what == 'dx' else 'the gain'} at {list(i)} is "
                    f"{expected:.8g}, yours is {gradient[i]:.8g}. {_WHY[what]}"
                )


_WHY = {
    "dgain": "Each entry of the gain multiplies one entry of every normalised row: sum g * xhat over the rows.",
    "dx": "An entry of x acts on its own output and, through r, on all outputs of its row; what arrives at the "
    "normalised row is g times the gain.",
}


def _slope(g: np.ndarray, x: np.ndarray, gain: np.ndarray, eps: float, what: str, i: tuple[int, ...]) -> float:
    """The slope of sum(g * y) in one number, by a complex step: no difference is taken, so nothing cancels."""
    moved = [x.astype(complex), gain.astype(complex)]
    moved[what == "dgain"][i] += 1e-100j
    return float((g * _forward(moved[0], moved[1], eps)[0]).sum().imag / 1e-100)


def _what(x: Any) -> str:
    return f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else f"{x!r:.80}"


_Gradients = tuple[np.ndarray, np.ndarray]


def _back(h: np.ndarray, xhat: np.ndarray, r: np.ndarray, along: Any = None) -> np.ndarray:
    """dx for what may be wrong: the cotangent, the normalised row, and how much of it is taken off."""
    return np.asarray(r[..., None] * (h - xhat * ((xhat * h).mean(axis=-1, keepdims=True) if along is None else along)))


def _size_held_fixed(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    return g * gain * r[..., None], rms_norm_backward(g, y, gain, r)[1]


def _output_for_normalised(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    return _back(g * gain, y, r), (g * y).reshape(-1, len(gain)).sum(axis=0)


def _gain_forgotten(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    return _back(g, y / gain, r), rms_norm_backward(g, y, gain, r)[1]


def _gain_outside(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    return _back(g, y / gain, r) * gain, rms_norm_backward(g, y, gain, r)[1]


def _divided_by_the_gain(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    return _back(g / gain, y / gain, r), rms_norm_backward(g, y, gain, r)[1]


def _sum_for_mean(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    xhat, h = y / gain, g * gain
    return _back(h, xhat, r, (xhat * h).sum(axis=-1, keepdims=True)), rms_norm_backward(g, y, gain, r)[1]


def _all_along_removed(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    xhat, h = y / gain, g * gain
    along = (xhat * h).sum(axis=-1, keepdims=True) / (xhat * xhat).sum(axis=-1, keepdims=True)
    return _back(h, xhat, r, along), rms_norm_backward(g, y, gain, r)[1]


def _added_along(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    xhat, h = y / gain, g * gain
    return _back(h, xhat, r, -(xhat * h).mean(axis=-1, keepdims=True)), rms_norm_backward(g, y, gain, r)[1]


def _twice_along(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    xhat, h = y / gain, g * gain
    return _back(h, xhat, r, 2 * (xhat * h).mean(axis=-1, keepdims=True)), rms_norm_backward(g, y, gain, r)[1]


def _not_divided(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    return _back(g * gain, y / gain, np.ones_like(r)), rms_norm_backward(g, y, gain, r)[1]


def _over_rows(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    xhat, h = y / gain, g * gain
    return _back(h, xhat, r, (xhat * h).mean(axis=0, keepdims=True)), rms_norm_backward(g, y, gain, r)[1]


def _mean_removed(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    h = g * gain
    dx = _back(h, y / gain, r) - r[..., None] * h.mean(axis=-1, keepdims=True)
    return dx, rms_norm_backward(g, y, gain, r)[1]


def _input_for_normalised(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    x, h = y / gain / r[..., None], g * gain
    return _back(h, x, r), (g * x).reshape(-1, len(gain)).sum(axis=0)


def _gain_averaged(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    dx, dgain = rms_norm_backward(g, y, gain, r)
    return dx, dgain / r.size


def _gain_for_each_row(g: np.ndarray, y: np.ndarray, gain: np.ndarray, r: np.ndarray) -> _Gradients:
    return rms_norm_backward(g, y, gain, r)[0], g * y / gain


MISTAKES = (
    (
        _size_held_fixed,
        "You treat r as a constant. It is made of all entries of the row: when one grows, the row is divided by more, "
        "and every output shrinks. The gradient through the denominator is missing.",
    ),
    (
        _output_for_normalised,
        "You take y for the normalised row. The gain has been multiplied in: divide by it first.",
    ),
    (
        _gain_forgotten,
        "You leave the gain out on the way back. y is the gain times the normalised row, so what arrives there is "
        "g times the gain.",
    ),
    (
        _gain_outside,
        "You multiply by the gain at the end. On the way back it comes first: through r every entry collects from all "
        "others, each with its own gain.",
    ),
    (
        _divided_by_the_gain,
        "You divide the gradient by the gain. A factor on the way forward is the same factor on the way back.",
    ),
    (
        _sum_for_mean,
        "You take the sum of xhat * h where the mean belongs. The 1/C of the mean square stays on the way back.",
    ),
    (
        _all_along_removed,
        "You take away all of the gradient along the row. That is right for eps = 0 alone: with eps the row is not "
        "quite of size one, and a little of that part remains.",
    ),
    (
        _added_along,
        "You add what comes through r. A longer row is divided by more, so the sign is minus.",
    ),
    (
        _twice_along,
        "You take the part through r twice. The 2 of the square's slope meets the exponent -1/2, and both are gone.",
    ),
    (
        _not_divided,
        "You forget the factor r in front. A row ten times as large was divided by ten times as much, and so is its "
        "gradient.",
    ),
    (
        _over_rows,
        "You take the mean over the rows. Each row has an r of its own, through which only its own entries act.",
    ),
    (
        _mean_removed,
        "You take the mean of the gradient away as well, as LayerNorm's way back does. RMSNorm centres nothing on the "
        "way forward, so nothing is centred on the way back.",
    ),
    (
        _input_for_normalised,
        "You go back to x and use it in place of the normalised row. With x instead of xhat the factors r do not fit: "
        "two of them are missing in the part through r, and one in the gain's gradient.",
    ),
    (
        _gain_averaged,
        "You average the gain's gradient over the rows. Every row used the gain, so its slopes add up.",
    ),
    (
        _gain_for_each_row,
        "You return a gradient of the gain for each row. There is one gain, used by all rows: sum over them.",
    ),
)
