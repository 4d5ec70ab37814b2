r"""
The backward of a division.

Level: implement. You need `fp_autograd.calculus` and `fp_autograd.value`.

An engine knows an operation once it knows two things: how to compute it, and what to do when a gradient comes back.
Write the second for $y = a / b$, entry by entry on arrays of one shape. What comes in is $g$, the derivative of some
later number $L$ (a loss) in each entry of $y$. What goes out are the derivatives of $L$ in each entry of $a$ and of
$b$. By the chain rule each is $g$ times a slope of $a / b$ itself: in $a$ with $b$ held fixed, and in $b$ with $a$ held
fixed.

The entries are nonzero floats of any size, as small as $10^{-200}$ and as large as $10^{200}$. The square of such a
number is not a float any more, and yet both answers are. There is a test to make before you hand in: $a / a$ is 1
whatever $a$ is, so for $b = a$ your two answers must cancel.

Softmax and every normalisation layer of a large model divide by something that depends on the input too. Whoever takes
that divisor for a constant trains with a wrong gradient, and nothing but a worse loss tells.
"""

from fractions import Fraction
from typing import Any

import numpy as np

HINTS = (
    "In `a` the quotient is a straight line, so its slope is what `a` is multiplied by. In `b` it is `a` times 1 / b: "
    "what is the slope of 1 / b, and which sign has it?",
    "The slopes are 1 / b and -a / b**2, and each is multiplied by g. For the second, think of an order of operations "
    "in which no square of b ever stands alone.",
    "`da = g / b`. Then `db` is minus `da` times the quotient itself: `-da * (a / b)`.",
)


def division(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Gradients of the two arguments of `a / b`.

    Parameters
    ----------
    a
        Numerators, floats other than zero.
    b
        Denominators, floats other than zero, in the shape of `a`.
    g
        The gradient that comes back: the derivative of the loss in each entry of `a / b`, in the same shape.

    Returns
    -------
    da : ndarray
        Derivative of the loss in each entry of `a`, in the shape of `a`.
    db : ndarray
        Derivative of the loss in each entry of `b`, in the shape of `b`.

    Examples
    --------
    At 6 / 2, where the loss grows by 1 for each unit of the quotient:

    >>> da, db = division(np.array([6.0]), np.array([2.0]), np.array([1.0]))
    >>> da.tolist(), db.tolist()
    ([0.5], [-1.5])
    """
    da = g / b
    return da, -da * (a / b)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(1)
    ordinary = rng.uniform(0.5, 3.0, size=(3, 2, 5)) * rng.choice([-1.0, 1.0], size=(3, 2, 5))
    for a, b, g in (
        (np.array([6.0]), np.array([2.0]), np.array([1.0])),
        (np.array([6.0, -1.0]), np.array([2.0, 4.0]), np.array([10.0, -3.0])),
        tuple(ordinary),
        (ordinary[0], ordinary[0], ordinary[2]),
        (np.array([[3e200], [2e-200]]), np.array([[1e200], [1e-200]]), np.array([[1.0], [1.0]])),
    ):
        got = learner.division(a.copy(), b.copy(), g.copy())
        assert isinstance(got, tuple | list) and len(got) == 2, f"expected two arrays, da and db, got {got!r:.80}"
        for name, array in zip(("da", "db"), got, strict=True):
            assert isinstance(array, np.ndarray) and array.dtype.kind in "iuf" and array.shape == a.shape, (
                f"{name} must be an array of numbers of the shape of a and b, {a.shape}, got {array!r:.80}"
            )
        for at in np.ndindex(a.shape):
            p, q, h = (Fraction(float(x[at])) for x in (a, b, g))
            for name, exact, array in (("da", h / q, got[0]), ("db", -h * p / q**2, got[1])):
                expected, came = float(exact), float(array[at])
                # rounding is near 1e-16, the smallest mistake far above 1e-9
                assert np.isclose(came, expected, rtol=1e-9, atol=0), (
                    f"a = {a[at]:.4g}, b = {b[at]:.4g}, g = {g[at]:.4g}: expected {name} = {expected:.6g}, got "
                    f"{came:.6g}"
                    + (
                        ", for neither the square of b nor 1 over it is a float: let a / b come together first"
                        if not 1e-99 < abs(b[at]) < 1e99
                        else ""
                    )
                )


def _wrong_sign(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return g / b, g / b * (a / b)


def _b_not_squared(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return g / b, -g * a / b


def _numerator_forgotten(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore"):
        return g / b, -g / b / b


def _local_slopes_only(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 1 / b, -a / b / b


def _divisor_is_constant(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return g / b, np.zeros_like(b)


def _exchanged(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    da, db = division(a, b, g)
    return db, da


def _overwrites_g(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    da = g
    da /= b
    with np.errstate(over="ignore"):
        return da, -g * (a / b) / b


def _squares_first(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        return g / b, -g * a / b**2


MISTAKES = (
    (
        _wrong_sign,
        "Your db has the wrong sign. A larger divisor makes a smaller quotient: for positive a the slope in b is "
        "negative.",
    ),
    (
        _b_not_squared,
        "You divide by b once in db. The slope of 1 / b is -1 / b**2: near zero the quotient is far steeper than it is "
        "large.",
    ),
    (
        _numerator_forgotten,
        "You take the slope of 1 / b for that of a / b. The numerator is a factor, and a factor stays.",
    ),
    (
        _local_slopes_only,
        "You return the slopes of the quotient and leave out g. The chain rule multiplies each by the gradient that "
        "comes back, or nothing behind this operation is heard.",
    ),
    (
        _divisor_is_constant,
        "You give b no gradient, as if it were a constant. It is an argument like a, and the quotient depends on it.",
    ),
    (_exchanged, "You return db before da. Gradients come in the order of the arguments."),
    (
        _overwrites_g,
        "You overwrite g, by `/=` on another name for the same array, and then compute db from what is left. A "
        "gradient that came in is for reading: other operations may be handed the same array.",
    ),
    (
        _squares_first,
        "You square b, or divide by it twice in a row. At 1e200 the square is infinite and at 1e-200 it is zero, while "
        "the answer is a float: multiply by a / b as a whole. In single precision the square is lost at 1e20 and at "
        "1e-23 already.",
    ),
)

PROBES = (
    (np.array([6.0, -1.0, 2.0]), np.array([2.0, 4.0, -0.5]), np.array([10.0, -3.0, 1.0])),
    (np.array([2e-200]), np.array([1e-200]), np.array([1.0])),
)
