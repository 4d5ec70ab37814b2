r"""
A row, centred and divided by its size.

Level: implement. You need `fp_transformer.norms`.

Each position of a text has a row $x$ of $C$ numbers, and LayerNorm makes of it

$$
\mu = \frac1C \sum_c x_c, \qquad v = \frac1C \sum_c (x_c - \mu)^2, \qquad
y_c = \gamma_c\, \frac{x_c - \mu}{\sqrt{v + \varepsilon}} + \beta_c .
$$

The gain $\gamma$ and the bias $\beta$ are the same for all rows. A row comes alone, of shape $(C,)$, or as one of many,
of shape $(T, C)$ or $(B, T, C)$: whatever axes stand in front, rows are never mixed. A row whose numbers are all equal
comes out as the bias. And a row may stand far from zero, at a hundred million and a few: the few are what
counts, and they have to survive.

What is in the input must be there afterwards.

You learn where each of the five pieces goes, and to compute a variance that can be trusted.
"""

from typing import Any

import numpy as np

HINTS = (
    "The rows are what the last axis holds: a mean over `axis=-1` with `keepdims=True` subtracts from any number of "
    "leading axes. Take the mean away first, and use the result twice.",
    "The variance is the mean of squares of what is left when the mean is gone. The other formula, the mean of squares "
    "less the square of the mean, takes the difference of two numbers near 1e16, which keep no digits after the comma.",
    "`z = x - x.mean(axis=-1, keepdims=True)`, then `z / np.sqrt((z * z).mean(axis=-1, keepdims=True) + eps)`; the "
    "gain multiplies this, and the bias is added last.",
)


def layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """
    Normalise each row, then scale and shift it.

    Parameters
    ----------
    x
        Floats of shape `(..., C)`.
    gain, bias
        Floats of shape `(C,)`.
    eps
        What is added to the variance, under the root; positive.

    Returns
    -------
    ndarray
        Floats, of the shape of `x`.

    Examples
    --------
    >>> layer_norm(np.array([[1.0, 3.0], [4.0, 4.0]]), np.array([2.0, 2.0]), np.array([0.0, 1.0]), 3.0).tolist()
    [[-1.0, 2.0], [0.0, 1.0]]
    """
    z = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(z / np.sqrt((z * z).mean(axis=-1, keepdims=True) + eps) * gain + bias)


_Case = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def _drawn(shape: tuple[int, ...], eps: float, seed: int, size: float = 1.0, plain: bool = False) -> _Case:
    rng = np.random.default_rng(seed)
    x, gain, bias = (rng.normal(size=s) for s in (shape, shape[-1:], shape[-1:]))
    if plain:
        gain, bias = np.ones(shape[-1]), np.zeros(shape[-1])
    return size * x + size, gain, bias, eps


_EQUAL = np.array([[2.5, 2.5, 2.5], [0.0, 0.0, 0.0], [1.0, 2.0, 6.0]])
_FAR = 1e8 + np.array([[1.25, -1.0, 3.0, 1.0], [0.5, 2.0, 2.75, 4.0]])

_CASES: tuple[tuple[str, _Case, str], ...] = (
    (
        "one row, gain one and bias zero",
        _drawn((5,), 1e-5, 1, plain=True),
        "Take the mean away and divide by the root of the mean of squares of what is left.",
    ),
    (
        "one row with gain and bias",
        _drawn((3,), 1e-5, 2),
        "The gain multiplies the normalised row, and the bias is added after that.",
    ),
    ("as many rows as columns", _drawn((4, 4), 1e-5, 3), "Each row has a mean and a size of its own."),
    ("two texts of three rows", _drawn((2, 3, 5), 1e-5, 4), "Each row has a mean and a size of its own."),
    (
        "a large eps",
        _drawn((2, 3), 0.5, 5),
        "eps is added to the variance, and the root is taken of their sum.",
    ),
    (
        "rows of equal numbers",
        (_EQUAL, np.array([1.0, -2.0, 0.5]), np.array([3.0, 4.0, 5.0]), 1e-5),
        "Nothing is left of such a row but the bias; eps is what keeps 0 / 0 away.",
    ),
    (
        "rows near a hundred million",
        (_FAR, np.array([1.0, 2.0, -1.0, 0.5]), np.zeros(4), 1e-5),
        "Take the mean away before anything is squared.",
    ),
)

PROBES = tuple(case for _, case, _ in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, (x, gain, bias, eps), why in _CASES:
        given = x.copy()
        got = learner.layer_norm(given, gain.copy(), bias.copy(), eps)
        assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == x.shape, (
            f"{name}: expected an array of floats of shape {x.shape}, got {_what(got)}"
        )
        got = got.copy()
        for i in np.ndindex(x.shape[:-1]):
            expected = _by_hand(x[i], gain, bias, eps)
            # the mean of a row near a hundred million rounds to 1e-8; any mistake is far above 1e-6
            assert np.allclose(got[i], expected, rtol=0, atol=1e-6), (
                f"{name}: the row {_show(x[i])} with the gain {_show(gain)}, the bias {_show(bias)} and eps = {eps:g} "
                f"gives {_show(expected)}, yours is {_show(got[i])}. {why}"
            )


def _by_hand(row: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> list[float]:
    """One row, number by number."""
    numbers = row.tolist()
    mean = sum(numbers) / len(numbers)
    size = (sum((n - mean) ** 2 for n in numbers) / len(numbers) + eps) ** 0.5
    return [g * (n - mean) / size + b for n, g, b in zip(numbers, gain.tolist(), bias.tolist(), strict=True)]


def _what(x: Any) -> str:
    return f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else f"{x!r:.80}"


def _show(row: Any) -> str:
    return f"[{', '.join(f'{x:.10g}' for x in row)}]"


def _normalised(x: np.ndarray, eps: float, axis: Any = -1, ddof: int = 0) -> np.ndarray:
    """The reference without gain and bias, along other axes."""
    z = x - x.mean(axis=axis, keepdims=True)
    v = (z * z).sum(axis=axis, keepdims=True) / (z.size / z.mean(axis=axis, keepdims=True).size - ddof)
    return np.asarray(z / np.sqrt(v + eps))


def _over_positions(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return _normalised(x, eps, axis=max(x.ndim - 2, 0)) * gain + bias


def _over_everything(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return _normalised(x, eps, axis=None) * gain + bias


def _over_the_batch(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return _normalised(x, eps, axis=tuple(range(x.ndim - 1)) or 0) * gain + bias


def _eps_outside(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    z = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(z / (np.sqrt((z * z).mean(axis=-1, keepdims=True)) + eps) * gain + bias)


def _eps_forgotten(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return layer_norm(x, gain, bias, 0.0)


def _mean_kept(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return np.asarray(x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * gain + bias)


def _mean_kept_above(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return np.asarray(x / np.sqrt(x.var(axis=-1, keepdims=True) + eps) * gain + bias)


def _mean_kept_below(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    z = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(z / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * gain + bias)


def _one_less(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return _normalised(x, eps, ddof=1) * gain + bias


def _length_for_size(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    z = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(z / np.sqrt((z * z).sum(axis=-1, keepdims=True) + eps) * gain + bias)


def _root_forgotten(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    z = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(z / ((z * z).mean(axis=-1, keepdims=True) + eps) * gain + bias)


def _gain_before(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return _normalised(x * gain, eps) + bias


def _bias_before_gain(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return (_normalised(x, eps) + bias) * gain


def _gain_and_bias_exchanged(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return layer_norm(x, bias, gain, eps)


def _gain_on_top_of_one(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    return layer_norm(x, 1 + gain, bias, eps)


def _variance_in_one_pass(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    mean = x.mean(axis=-1, keepdims=True)
    v = (x * x).mean(axis=-1, keepdims=True) - mean * mean
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x - mean) / np.sqrt(v + eps) * gain + bias)


MISTAKES = (
    (
        _over_positions,
        "You normalise over the positions: each feature is compared with itself at other places, later ones too, and a "
        "text of one token is left with its bias. The mean runs over the features of one position, the last axis.",
    ),
    (
        _over_everything,
        "You take one mean and one size for the whole array. Each row is measured against itself alone, or the answer "
        "to one token depends on all others.",
    ),
    (
        _over_the_batch,
        "You measure each feature over all rows, as batch normalisation does. LayerNorm measures a row over its "
        "features: the mean is over the last axis.",
    ),
    (
        _eps_outside,
        "You add eps to the root. It belongs under it, to the variance: a small row comes out very differently, and "
        "models that were trained with one compute something else with the other.",
    ),
    (
        _eps_forgotten,
        "You leave out eps. A row of equal numbers has the variance zero, and 0 / 0 is not a number.",
    ),
    (
        _mean_kept,
        "You do not subtract the mean. That is RMSNorm; LayerNorm centres the row first.",
    ),
    (
        _mean_kept_above,
        "You divide the row itself by its standard deviation. The mean is subtracted above the fraction line too.",
    ),
    (
        _mean_kept_below,
        "You take the mean square of the row as it came. The variance is the mean square of the centred row.",
    ),
    (
        _one_less,
        "You divide the sum of squares by C - 1. That estimates a variance from a sample; here the C numbers are all "
        "there are, and the norm divides by C.",
    ),
    (
        _length_for_size,
        "You divide by the length of the row. Its size is the root of the *mean* of squares: divide their sum by C.",
    ),
    (
        _root_forgotten,
        "You divide by the variance. To have variance one the row is divided by its root.",
    ),
    (
        _gain_before,
        "You apply the gain before normalising. Then the norm takes a common factor out again and mixes the gains of "
        "all features into the size: normalise first, then scale.",
    ),
    (
        _bias_before_gain,
        "You add the bias before the gain multiplies. The gain scales the normalised row alone, the bias comes last.",
    ),
    (
        _gain_and_bias_exchanged,
        "You exchange gain and bias. The gain multiplies, the bias is added.",
    ),
    (
        _gain_on_top_of_one,
        "You multiply by 1 + gain. Some models store the gain less one; here it is stored as it is.",
    ),
    (
        _variance_in_one_pass,
        "You compute the variance as the mean of squares less the square of the mean. For a row far from zero both are "
        "huge and nearly equal, and their difference is rounding: subtract the mean first, then square.",
    ),
)
