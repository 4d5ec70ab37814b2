r"""
A power whose base and exponent both vary.

Level: implement. You need `fp_autograd.calculus` and `fp_autograd.rules`.

For $z = x^y$ every school book gives two rules, one for a variable base and one for a variable exponent. In an engine
both arguments vary at once, and each has a gradient. Write the backward, entry by entry: $g$ comes in, the derivative
of the loss in each entry of $z$, and the derivatives in $x$ and in $y$ go out.

The two formulas are one line each. The work is at the edges, where a formula yields NaN (not a number) while the slope
exists, and a single NaN in a gradient spoils every weight that it reaches:

- Where $x = 0$: as a function of $x$ nothing is special about $x^0 = 1$, $x^1$ or $x^2$ there. As a function of $y$,
  $0^y$ stays 0 for all $y > 0$, so its slope is 0. At $0^0$ no slope in $y$ exists; answer 0 there as well, as
  PyTorch does.
- Where $x < 0$: $(-2)^3$ is a number, and it has a slope in $x$. In $y$ there is none, for $(-2)^y$ is no real number
  between the whole $y$. Answer NaN there, in `dy` alone.
- Where `x` or `y` are arrays of integers: slopes are hardly ever whole numbers. Answer in floats.

You learn that a rule is a formula together with the places where the formula must not be used. A squared error, the
square root in a norm and the $x^{-1/2}$ of a normalisation layer are powers all.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Hold y fixed: the slope in x is y times the power with an exponent lower by one. Hold x fixed: x**y is "
    "exp(y * log(x)), so its slope in y is itself times log(x).",
    "Zero times infinity is NaN, so avoid the infinity and not the NaN: lower the exponent only where y is not 0, and "
    "take the logarithm only where x is positive. `np.where` chooses values, `np.log(x, out=..., where=...)` does not "
    "even compute the others.",
    "First `x, y = x.astype(float), y.astype(float)`. Then `dx = g * y * x ** np.where(y == 0, 1.0, y - 1)` and "
    "`dy = g * x**y * log_x`, with a `log_x` that is 0 where x is 0 and NaN where x is negative.",
)


def power(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Gradients of the two arguments of `x ** y`.

    Parameters
    ----------
    x
        Bases, floats or integers.
    y
        Exponents, floats or integers, in the shape of `x`. Whole numbers where `x` is negative; where `x` is 0 they are
        0 or at least 1.
    g
        The gradient that comes back: the derivative of the loss in each entry of `x ** y`, floats in the same shape.

    Returns
    -------
    dx : ndarray
        Derivative of the loss in each entry of `x`, floats in the shape of `x`.
    dy : ndarray
        Derivative of the loss in each entry of `y`, floats in the shape of `y`: 0 where `x` is 0, NaN where it is
        negative.

    Examples
    --------
    Integers have gradients that are none: the slopes of 2 ** 3 are 12 and 8 log(2), and `g` is 1/8.

    >>> dx, dy = power(np.array([2]), np.array([3]), np.array([0.125]))
    >>> dx.tolist(), dy.round(6).tolist()
    ([1.5], [0.693147])
    >>> dx, dy = power(np.array([0.0, -2.0]), np.array([0.0, 3.0]), np.array([1.0, 1.0]))
    >>> dx.tolist(), dy.tolist()
    ([0.0, 12.0], [0.0, nan])
    """
    x, y = x.astype(float), y.astype(float)
    dx = g * y * x ** np.where(y == 0, 1.0, y - 1)  # where y = 0, any exponent will do that keeps 0 times it finite
    log_x = np.where(x == 0, 0.0, np.nan)
    np.log(x, out=log_x, where=x > 0)
    return dx, g * x**y * log_x


_ORDINARY = (np.array([2.0, 1.5, 0.5]), np.array([3.0, -1.0, 0.5]), np.array([1.0, -2.0, 0.75]))
_INTEGERS = (np.array([2, 3, 1]), np.array([3, 2, 1]), np.array([0.125, -0.3, 0.25]))
_ZEROS = (np.array([0.0, 0.0, 0.0, 2.0]), np.array([2.0, 1.0, 0.0, 0.0]), np.array([1.0, 3.0, -2.0, 5.0]))
_NEGATIVE = (np.array([-2.0, -1.5, -2.0]), np.array([3.0, 2.0, -1.0]), np.array([1.0, 0.5, 3.0]))

PROBES = (_ORDINARY, _INTEGERS, _ZEROS, _NEGATIVE)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(2)
    several = (rng.uniform(0.2, 3.0, (3, 5)), rng.uniform(-3.0, 3.0, (3, 5)), rng.normal(size=(3, 5)))
    whole = (np.array([[2, 5], [0, 4]]), np.array([[-1, 0], [0, -2]]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    for x, y, g in (_ORDINARY, several, _INTEGERS, _ZEROS, _NEGATIVE, whole):
        got = learner.power(x.copy(), y.copy(), g.copy())
        assert isinstance(got, tuple | list) and len(got) == 2, f"expected two arrays, dx and dy, got {got!r:.80}"
        for name, array in zip(("dx", "dy"), got, strict=True):
            assert isinstance(array, np.ndarray) and array.dtype.kind in "iuf" and array.shape == x.shape, (
                f"{name} must be an array of numbers of the shape of x and y, {x.shape}, got {array!r:.80}"
            )
        for at in np.ndindex(x.shape):
            base, exponent = float(x[at]), float(y[at])
            case = f"({x[at]:.4g}) ** ({y[at]:.4g}) with g = {g[at]:.4g}"
            for name, slope, array in zip(("dx", "dy"), _slopes(base, exponent), got, strict=True):
                expected, came = float(g[at]) * slope + 0.0, float(array[at])  # + 0.0 makes -0.0 plain
                # rounding is near 1e-16, the smallest mistake far above 1e-9
                assert np.isclose(came, expected, rtol=1e-9, atol=1e-12, equal_nan=True), (
                    f"{case}: expected {name} = {expected:.6g}, got {came:.6g}. "
                    + ("The answer is in floats. " if array.dtype.kind in "iu" else "")
                    + _why(name, base, exponent)
                )


def _slopes(x: float, y: float) -> tuple[float, float]:
    """The slopes in x and in y, each by the rule that holds there."""
    in_x = 0.0 if y == 0 else y * x ** (y - 1)
    return in_x, math.nan if x < 0 else 0.0 if x == 0 else x**y * math.log(x)


def _why(name: str, x: float, y: float) -> str:
    if name == "dx":
        return (
            "The power with exponent 0 is 1 for every x: its slope is 0."
            if y == 0
            else "The slope in x is y times the power with an exponent lower by one."
        )
    if x < 0:
        return "A negative base has no powers between the whole exponents, hence no slope in y."
    return "For x = 0 the slope in y is 0." if x == 0 else "The slope in y is x**y times log(x)."


def _exponent_kept(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return g * y * x.astype(float) ** y, power(x, y, g)[1]


def _exponent_not_multiplied(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return g * x.astype(float) ** np.where(y == 0, 1.0, y - 1), power(x, y, g)[1]


def _power_rule_for_the_exponent(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dx, _ = power(x, y, g)
    return dx, dx.copy()


def _exponent_is_constant(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return power(x, y, g)[0], np.zeros(y.shape)


def _logarithm_forgotten(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return power(x, y, g)[0], g * x.astype(float) ** y


def _in_the_dtype_of_x(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dx, dy = np.zeros_like(x), np.zeros_like(x)
    dx[...], dy[...] = power(x, y, g)
    return dx, dy


def _formulas_alone(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = x.astype(float), y.astype(float)
    with np.errstate(all="ignore"):
        return g * y * x ** (y - 1), g * x**y * np.log(x)


def _divides_by_the_base(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        return g * y * x.astype(float) ** y / x, power(x, y, g)[1]


def _logarithm_of_the_size(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = np.abs(x.astype(float))
    return power(x, y, g)[0], g * x.astype(float) ** y * np.log(np.where(size == 0, 1.0, size))


def _every_nan_is_zero(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dx, dy = power(x, y, g)
    return dx, np.nan_to_num(dy)


MISTAKES = (
    (_exponent_kept, "You leave the exponent of dx as it was. The slope of x**y in x is y * x**(y - 1)."),
    (
        _exponent_not_multiplied,
        "You lower the exponent and forget to multiply by it. The slope of x**y in x is y * x**(y - 1).",
    ),
    (
        _power_rule_for_the_exponent,
        "You use the rule for a variable base in y too. In y this is an exponential: it grows by itself times log(x).",
    ),
    (
        _exponent_is_constant,
        "You give y no gradient, as if it were a constant. Here the exponent is an argument, and it may be learned.",
    ),
    (
        _logarithm_forgotten,
        "Your dy lacks log(x). Only for the base e is an exponential its own slope, and there log(x) is 1.",
    ),
    (
        _in_the_dtype_of_x,
        "You keep gradients in arrays of the dtype of x. An array of integers cuts each slope down to a whole number, "
        "silently, and most small gradients to 0.",
    ),
    (
        _formulas_alone,
        "You use both formulas everywhere. At x = 0 they multiply 0 by infinity, which is NaN, where the slope is 0.",
    ),
    (
        _divides_by_the_base,
        "You divide x**y by x to lower its exponent. That is 0 / 0 at x = 0, where x**2 and x**1 have slopes 0 and 1.",
    ),
    (
        _logarithm_of_the_size,
        "You take log(abs(x)), and so give a negative base a slope in y that does not exist. A gradient that is made "
        "up is worse than a NaN: nobody sees it.",
    ),
    (
        _every_nan_is_zero,
        "You turn every NaN into 0, also where x is negative and there is no slope in y. At x = 0 the slope is 0; at a "
        "negative base a 0 hides that the question has no answer.",
    ),
)
