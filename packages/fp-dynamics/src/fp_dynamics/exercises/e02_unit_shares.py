r"""
Which units still work?

Level: implement. You need `fp_dynamics.statistics`.

A layer of $F$ units was shown $N$ inputs; `x` holds what went *into* the activation, a row for each input and a column
for each unit. An entry is **shut** if next to no gradient passes it, which every activation means in its own way:

- `"relu"`: at or below zero.
- `"tanh"`: the slope $1 - \tanh^2 x$ is below $0.05$ (the largest slope is one).
- `"sigmoid"`: the slope is below $0.05$ of *its* largest.
- `"silu"`: the gate $\sigma(x)$ is below $0.05$.

Return the share of shut entries, and the share of **dead** units: those that are shut for every input. Entries may be
as large as $10^{30}$ in size; no warning may come of it.

You learn to ask of each unit what its own activation makes worth asking.
"""

import warnings
from typing import Any

import numpy as np

HINTS = (
    "First make an array of truth values, shut or not, of the shape of x. The share of entries is its mean; a unit is "
    "dead where its whole column is True.",
    "sigmoid(x) is (1 + tanh(x / 2)) / 2, which never overflows. Its slope s (1 - s) is at most 1/4.",
    "`dead = shut.all(axis=0).mean()`; for the sigmoid `shut = 4 * s * (1 - s) < 0.05`.",
)


def unit_shares(kind: str, x: np.ndarray) -> tuple[float, float]:
    """
    The shares of shut entries and of dead units.

    Parameters
    ----------
    kind
        `"relu"`, `"tanh"`, `"sigmoid"` or `"silu"`.
    x
        What goes into the activation, floats of shape `(N, F)`, not to be changed.

    Returns
    -------
    shut, dead : float
        Of entries, and of units.

    Examples
    --------
    >>> unit_shares("relu", np.array([[-1.0, 2.0], [-3.0, -4.0]]))
    (0.75, 0.5)
    """
    s = 0.5 * (1 + np.tanh(0.5 * x))
    shut = {
        "relu": x <= 0,
        "tanh": 1 - np.tanh(x) ** 2 < 0.05,
        "sigmoid": 4 * s * (1 - s) < 0.05,
        "silu": s < 0.05,
    }[kind]
    return float(shut.mean()), float(shut.all(axis=0).mean())


def _inputs(shape: tuple[int, int], shift: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 2.5, size=shape)
    x[:, 0] = -4 - rng.random(shape[0])  # a unit that is shut on the left for everybody
    x[0, 1] = 0.0
    x[:, 2] = np.where(rng.random(shape[0]) < 0.5, -6.0, 6.0)  # and one that is saturated on both sides
    return x


_SHAPES = (((2, 5), 0.0), ((7, 4), -1.5), ((3, 11), 1.0), ((5, 3), -0.5))

PROBES = (
    *((kind, _inputs(*_SHAPES[i], i)) for kind in ("relu", "tanh", "sigmoid", "silu") for i in range(4)),
    ("silu", np.array([[1e30, -1e30, 0.0]])),
    ("sigmoid", np.array([[1e30, -1e30, 3.0]])),
)

_WHY = {
    "relu": "A relu's slope is zero at and below zero.",
    "tanh": "The slope of tanh is 1 - tanh^2, at most one.",
    "sigmoid": "The slope of the sigmoid is s (1 - s), at most 1/4: below 0.05 of that is shut.",
    "silu": "A gate below 0.05 lets nothing through; where the slope is zero in between, the unit works.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for kind, x in PROBES:
        case = f"{kind} of an array of shape {x.shape}"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = learner.unit_shares(kind, x.copy())
        assert not caught, f"{case}: NumPy warns, {caught[0].message}; write it so that nothing can overflow"
        assert isinstance(got, tuple | list) and len(got) == 2, f"{case}: expected two shares, got {got!r:.80}"
        for name, value, expected in zip(("entries", "units"), got, unit_shares(kind, x), strict=True):
            assert isinstance(value, float | int | np.number), f"{case}: a share is one number, got {value!r:.80}"
            assert abs(value - expected) < 1e-9, (  # a quotient of two small whole numbers
                f"{case}: the share of {name} is {expected:.6g}, yours is {value:.6g}. {_WHY[kind]}"
            )


_Shares = tuple[float, float]


def _shares(shut: np.ndarray, axis: int = 0) -> _Shares:
    return float(shut.mean()), float(shut.all(axis=axis).mean())


def _shut(kind: str, x: np.ndarray) -> np.ndarray:
    s = 0.5 * (1 + np.tanh(0.5 * x))
    slopes = {"relu": (x > 0) * 1.0, "tanh": 1 - np.tanh(x) ** 2, "sigmoid": 4 * s * (1 - s), "silu": s}
    return slopes[kind] < 0.05


def _other_axis(kind: str, x: np.ndarray) -> _Shares:
    return _shares(_shut(kind, x), axis=1)


def _any_input(kind: str, x: np.ndarray) -> _Shares:
    shut = _shut(kind, x)
    return float(shut.mean()), float(shut.any(axis=0).mean())


def _mean_of_the_unit(kind: str, x: np.ndarray) -> _Shares:
    shut = _shut(kind, x)
    return float(shut.mean()), float(_shut(kind, x.mean(axis=0, keepdims=True)).mean())


def _zero_is_alive(kind: str, x: np.ndarray) -> _Shares:
    return _shares(x < 0 if kind == "relu" else _shut(kind, x))


def _all_like_relu(kind: str, x: np.ndarray) -> _Shares:
    return _shares(x <= 0)


def _one_side(kind: str, x: np.ndarray) -> _Shares:
    return _shares(_shut(kind, x) & (x <= 0))


def _sigmoid_slope_as_it_is(kind: str, x: np.ndarray) -> _Shares:
    s = 0.5 * (1 + np.tanh(0.5 * x))
    return _shares(s * (1 - s) < 0.05 if kind == "sigmoid" else _shut(kind, x))


def _silu_by_slope(kind: str, x: np.ndarray) -> _Shares:
    s = 0.5 * (1 + np.tanh(0.5 * x))
    return _shares(np.abs(s * (1 + x * (1 - s))) < 0.05 if kind == "silu" else _shut(kind, x))


MISTAKES = (
    (
        _other_axis,
        "You go along the units. A unit is dead if it is shut for every input: along the rows, down a column.",
    ),
    (_any_input, "You call a unit dead that is shut for some input. That is how it works; dead is shut for all."),
    (_mean_of_the_unit, "You judge the unit by its mean input. A unit with a low mean may be open for some inputs."),
    (_zero_is_alive, "You count zero as open. The slope of relu at zero is zero, as backpropagation computes it."),
    (_all_like_relu, "You judge all activations like relu. To a tanh a negative input is as good as a positive one."),
    (_one_side, "You see saturation on the left only. A tanh or a sigmoid is flat on the right as well."),
    (
        _sigmoid_slope_as_it_is,
        "You compare the sigmoid's slope with 0.05 of one. Its largest slope is 1/4, so compare with 0.05 of that.",
    ),
    (
        _silu_by_slope,
        "You judge SiLU by its slope, which is zero near -1.28, in the middle of the working range. Judge its gate.",
    ),
)
