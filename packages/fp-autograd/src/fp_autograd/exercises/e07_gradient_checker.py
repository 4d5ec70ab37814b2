r"""
A gradient checker.

Level: challenge. You need `fp_autograd.floating_point` and `fp_autograd.gradcheck`.

Somebody hands you a function $f$ of an array and an array that is said to be its gradient at $x$. Judge it. Nudge one
entry of $x$ at a time, measure the slope $n_i$ from values of $f$ alone, and compare it with the entry $a_i$ that was
claimed. Two numbers that come out of rounded arithmetic are never equal, so the question is how far apart they are for
their size. Let $s_i = \max(1, |x_i|)$, and

$$\text{error}_i = \frac{|a_i - n_i|}{\max\left(|a_i|,\; |n_i|,\; \dfrac{|f(x)|}{100\, s_i}\right)}.$$

The third term is there because $f$ itself is rounded: a slope far below $|f(x)| / s_i$ cannot be seen by differences,
and noise must not be divided by noise. Where all three are zero, nothing disagrees and the error is 0. A gradient is
right if no entry's error exceeds $10^{-7}$.

That asks much of $n_i$. On which sides of $x_i$ you look, how far you go and in which precision you compute is for you
to decide: too far and the curvature of $f$ shows, too near and the rounding does. The array that you are given may hold
integers, 32-bit numbers, entries of very different sizes; the claimed gradient may hold anything, and NaN is never
right.

`fp_autograd.gradcheck` walks in one random direction, which costs a few evaluations however many entries there are.
One entry at a time costs two for each, and tells which entry is at fault. PyTorch tests the derivatives of its own
operations by such differences, in float64; what they would miss in float32, or with a step picked by habit, is what
you find here.
"""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

HINTS = (
    "Look on both sides, f(x + h) - f(x - h) over 2h: the curvature then cancels, and the error left falls with the "
    "square of h. Which step balances it against rounding, about 1e-16 |f| / h? And which when x is 300 million, where "
    "the next float64 is 6e-8 away?",
    "The best h is near the cube root of 2.2e-16, times max(1, |x_i|). Copy x as float64 before anything else, so that "
    "x_i + h is not rounded to an integer; take a fresh copy for each entry, or put the old value back.",
    "`worst = np.argmax(error)` stops at the first NaN, if there is one. Then ask `error[worst] <= 1e-7`, which NaN "
    "answers with False, and return None only if it holds. `np.unravel_index` turns a flat position into an index.",
)


def check_gradient(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    """
    Find the entry of a gradient that is most wrong, by finite differences.

    Parameters
    ----------
    f
        Takes an array of the shape of `x` and returns a float. It computes in the precision of the array it is given,
        may be called often, and leaves its argument as it is.
    gradient
        The gradient of `f` at `x` as somebody claims it, of the shape of `x`. It may be wrong or not finite.
    x
        Where to check: integers, float32 or float64, at least one entry.

    Returns
    -------
    None or (index, error)
        None if the error of every entry is at most 1e-7. Otherwise the index of the largest error, a tuple of one int
        for each axis, and that error, a float. An entry of `gradient` that is NaN or infinite is the largest error.

    Examples
    --------
    The gradient of the sum of squares is 2x, and somebody forgot the 2 in one place:

    >>> def squares(x):
    ...     return float((x**2).sum())
    >>> check_gradient(squares, np.array([2.0, 4.0, 6.0]), np.array([1, 2, 3])) is None
    True
    >>> index, error = check_gradient(squares, np.array([2.0, 4.0, 3.0]), np.array([1, 2, 3]))
    >>> index, round(error, 6)
    ((2,), 0.5)
    """
    x = x.astype(np.float64)
    size = np.maximum(1, np.abs(x))
    numeric = np.empty_like(x)
    for i in np.ndindex(x.shape):
        right, left = x.copy(), x.copy()
        right[i] += STEP * size[i]
        left[i] -= STEP * size[i]
        numeric[i] = (f(right) - f(left)) / (right[i] - left[i])  # the distance as it came out, after rounding
    return _verdict(_errors(numeric, gradient, abs(f(x)) / (100 * size)))


STEP = float(np.cbrt(np.finfo(np.float64).eps))


def _errors(numeric: np.ndarray, gradient: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Relative error of each entry; NaN where the gradient is not finite."""
    with np.errstate(invalid="ignore"):  # infinity over infinity is NaN, which is what it deserves
        scale = np.maximum(np.maximum(np.abs(gradient), np.abs(numeric)), least)
        return np.asarray(np.abs(gradient - numeric) / np.where(scale == 0, 1, scale))


def _verdict(error: np.ndarray) -> tuple[tuple[int, ...], float] | None:
    """The first NaN or else the largest error, unless it is small."""
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
    return None if error[worst] <= 1e-7 else (worst, float(error[worst]))


def _squares(x: np.ndarray) -> float:
    return float((x**2).sum())


def _squares_gradient(x: np.ndarray) -> np.ndarray:
    return np.asarray(2 * x)


def _smooth(x: np.ndarray) -> float:
    return float(np.sin(x).sum() + (x[:, 0] * x[:, 1]).sum())


def _smooth_gradient(x: np.ndarray) -> np.ndarray:
    gradient = np.cos(x)
    gradient[:, :2] += x[:, [1, 0]]
    return gradient


def _curved(x: np.ndarray) -> float:
    return float(1 + (500 * x**2).sum())


def _curved_gradient(x: np.ndarray) -> np.ndarray:
    return np.asarray(1000 * x)


def _waves(x: np.ndarray) -> float:
    return float(np.sin(7 * x).sum())


def _waves_gradient(x: np.ndarray) -> np.ndarray:
    return np.asarray(7 * np.cos(7 * x))


def _tiny(x: np.ndarray) -> float:
    return float(1e-9 * np.exp(x).sum())


def _tiny_gradient(x: np.ndarray) -> np.ndarray:
    return np.asarray(1e-9 * np.exp(x))


def _huge(x: np.ndarray) -> float:
    return float(1e9 * np.exp(x).sum())


def _huge_gradient(x: np.ndarray) -> np.ndarray:
    return np.asarray(1e9 * np.exp(x))


def _offset(x: np.ndarray) -> float:
    return float(100 + np.sin(x).sum())


def _offset_gradient(x: np.ndarray) -> np.ndarray:
    return np.cos(x)


def _logarithms(x: np.ndarray) -> float:
    return float(np.log(x).sum())


def _logarithms_gradient(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / x)


def _unused(x: np.ndarray) -> float:
    return float(x[0] ** 2)


def _unused_gradient(x: np.ndarray) -> np.ndarray:
    return np.array([2 * x[0]] + [0.0] * (len(x) - 1))


_x3 = np.array([1.0, 2.0, 3.0])
_x23 = np.array([[0.3, -1.2, 0.7], [2.1, 0.4, -0.9]])
_wide = np.array([0.5, 3e8, 40.0])
_crest = np.array([1.57, 1.5704, 1.5711, 1.5713, 1.5705])  # of the sine, at half of pi

# what it is called, f, its gradient, x, the entry to spoil if any, and its factor
_Case = tuple[str, Callable[[np.ndarray], float], Callable[[np.ndarray], np.ndarray], np.ndarray, Any, float]
_CASES: tuple[_Case, ...] = (
    ("f(x) = sum of x_i^2", _squares, _squares_gradient, _x3, None, 1.0),
    ("f(x) = sum of x_i^2", _squares, _squares_gradient, _x3, (2,), 0.5),
    ("f(x) = sum of x_i^2, x an array of integers", _squares, _squares_gradient, np.array([1, 2, 3]), None, 1.0),
    ("f(x) = sum of x_i^2, x an array of integers", _squares, _squares_gradient, np.array([1, 2, 3]), (1,), 0.5),
    ("f(x) = sum of x_i^2, x in float32", _squares, _squares_gradient, _x3.astype(np.float32), None, 1.0),
    ("a sum of sines and products, x of shape (2, 3)", _smooth, _smooth_gradient, _x23, None, 1.0),
    ("a sum of sines and products, x of shape (2, 3)", _smooth, _smooth_gradient, _x23, (1, 0), -1.0),
    ("a sum of sines and products, x of shape (2, 3)", _smooth, _smooth_gradient, _x23, (0, 2), 1 + 1e-5),
    ("f(x) = x_0^2, which does not use x_1 and x_2", _unused, _unused_gradient, _x3, None, 1.0),
    ("f(x) = sum of sin 7 x_i", _waves, _waves_gradient, np.array([0.1, 0.3, -0.4]), None, 1.0),
    ("f(x) = 1 + 500 x_0^2, near its minimum", _curved, _curved_gradient, np.array([0.001]), None, 1.0),
    ("f(x) = 100 + sum of sin x_i", _offset, _offset_gradient, _x3, None, 1.0),
    ("f(x) = 100 + sum of sin x_i, near its maximum", _offset, _offset_gradient, _crest, None, 1.0),
    ("f(x) = 1e9 times the sum of exp x_i", _huge, _huge_gradient, _x3, None, 1.0),
    ("f(x) = 1e-9 times the sum of exp x_i", _tiny, _tiny_gradient, _x3, (0,), 0.9),
    ("f(x) = sum of ln x_i at x = 0.5, 3e8, 40", _logarithms, _logarithms_gradient, _wide, None, 1.0),
    ("f(x) = sum of ln x_i at x = 0.5, 3e8, 40", _logarithms, _logarithms_gradient, _wide, (1,), 2.0),
    ("f(x) = sum of x_i^2, with a NaN", _squares, _squares_gradient, _x3, (1,), np.nan),
    ("f(x) = sum of x_i^2, with an infinity", _squares, _squares_gradient, _x3, (0,), np.inf),
)


def _claimed(case: _Case) -> np.ndarray:
    _, _, gradient, x, entry, factor = case
    claimed = gradient(x.astype(np.float64))
    if entry is not None:
        claimed[entry] *= factor
    return claimed


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case in _CASES:
        name, f, gradient, x, entry, _ = case
        exact, claimed = gradient(x.astype(np.float64)), _claimed(case)
        got = learner.check_gradient(f, claimed.copy(), x.copy())
        if entry is None:
            assert got is None, (
                f"{name}: the gradient is right, so expected None, got {got!r:.80}. Is your own slope good to seven "
                "digits here?"
            )
            continue
        a, n = float(claimed[entry]), float(exact[entry])
        fault = f"{name}: entry {entry} of the claimed gradient is {a:.7g} and should be {n:.7g}"
        assert got is not None, f"{fault}, so expected its index and error, got None, as if it were right"
        assert isinstance(got, (tuple, list)) and len(got) == 2, (
            f"{fault}, so expected a tuple of its index and its error, got {got!r:.80}"
        )
        index, error = got
        assert isinstance(index, (tuple, list)) and all(isinstance(i, Integral) for i in index), (
            f"{name}: expected an index, a tuple of {x.ndim} int, got {index!r:.80}"
        )
        assert tuple(index) == entry, f"{fault}; every other is right, but you report {tuple(index)} as the worst"
        assert isinstance(error, Real), f"{name}: expected the error as a float, got {error!r:.80}"
        if not np.isfinite(a):
            continue  # any number may stand for the error of what is no number
        expected = float(_errors(exact, claimed, _least(f, x))[entry])
        assert abs(float(error) - expected) <= 1e-6 * max(1, expected), (  # ten times what a right entry may have
            f"{fault}, an error of {expected:.7g}; you report {float(error):.7g}"
        )


def _differences(f: Callable[[np.ndarray], float], x: np.ndarray, step: np.ndarray) -> np.ndarray:
    numeric = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        right, left = x.copy(), x.copy()
        right[i] += step[i]
        left[i] -= step[i]
        numeric[i] = (f(right) - f(left)) / (2 * step[i])
    return numeric


def _least(f: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return np.asarray(abs(f(x)) / (100 * np.maximum(1, np.abs(x))))


def _one_sided(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    x = x.astype(np.float64)
    numeric = np.empty_like(x)
    for i in np.ndindex(x.shape):
        right = x.copy()
        right[i] += 1.5e-8 * np.maximum(1, abs(x[i]))
        numeric[i] = (f(right) - f(x)) / (right[i] - x[i])
    return _verdict(_errors(numeric, gradient, _least(f, x)))


def _in_float32(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    small = x.astype(np.float32)
    step = np.float32(5e-3) * np.maximum(1, np.abs(small))
    return _verdict(_errors(_differences(f, small, step), gradient, _least(f, x)))


def _step_too_small(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    x = x.astype(np.float64)
    numeric = _differences(f, x, 1e-12 * np.maximum(1, np.abs(x)))
    return _verdict(_errors(numeric, gradient, _least(f, x)))


def _step_too_large(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    x = x.astype(np.float64)
    numeric = _differences(f, x, 1e-3 * np.maximum(1, np.abs(x)))
    return _verdict(_errors(numeric, gradient, _least(f, x)))


def _same_step_everywhere(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    x = x.astype(np.float64)
    return _verdict(_errors(_differences(f, x, np.full(x.shape, STEP)), gradient, _least(f, x)))


def _absolute_difference(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    x = x.astype(np.float64)
    numeric = _differences(f, x, STEP * np.maximum(1, np.abs(x)))
    return _verdict(np.abs(gradient - numeric))


def _noise_by_noise(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    x = x.astype(np.float64)
    step = STEP * np.maximum(1, np.abs(x))
    step = x + step - x  # what is left of it after rounding
    return _verdict(_errors(_differences(f, x, step), gradient, np.zeros(x.shape)))


def _keeps_the_type(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    step = STEP * np.maximum(1, np.abs(x))
    numeric = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        right, left = x.copy(), x.copy()
        right[i] = x[i] + step[i]
        left[i] = x[i] - step[i]
        numeric[i] = (f(right) - f(left)) / (2 * step[i])
    return _verdict(_errors(numeric, gradient, _least(f, x)))


def _never_put_back(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    moved = x.astype(np.float64)
    step = STEP * np.maximum(1, np.abs(moved))
    numeric = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        moved[i] += step[i]
        right = f(moved)
        moved[i] -= 2 * step[i]
        numeric[i] = (right - f(moved)) / (2 * step[i])
    return _verdict(_errors(numeric, gradient, _least(f, x)))


def _lets_nan_pass(
    f: Callable[[np.ndarray], float], gradient: np.ndarray, x: np.ndarray
) -> tuple[tuple[int, ...], float] | None:
    largest = check_gradient(f, gradient, x)
    return None if largest is not None and np.isnan(largest[1]) else largest


MISTAKES = (
    (
        _one_sided,
        "You look on one side, (f(x + h) - f(x)) / h. Half the curvature times h stays in it, and no h makes both that "
        "and the rounding small: look on both sides.",
    ),
    (
        _in_float32,
        "You compute in float32. Its values carry seven digits, and their difference keeps three or four of them: a "
        "check needs float64 even where the model runs in less.",
    ),
    (
        _step_too_small,
        "Your step is too small. f(x + h) and f(x - h) then agree in nearly all their digits, and their difference is "
        "rounding: near the cube root of the machine epsilon both errors are small.",
    ),
    (
        _step_too_large,
        "Your step is too large. The error of a central difference is h squared times a sixth of the third derivative, "
        "and a function that bends fails your check although its gradient is right.",
    ),
    (
        _same_step_everywhere,
        "You take the same step at every entry. At 300 million, 6e-6 is a hundred times the distance to the next "
        "float64 and moves f by less than its rounding: let the step grow with |x_i|.",
    ),
    (
        _absolute_difference,
        "You judge the difference itself. One millionth is nothing beside a slope of a thousand and everything beside "
        "one of a billionth: divide by the size of the entries.",
    ),
    (
        _noise_by_noise,
        "You divide by the two slopes alone. Where the slope is next to nothing, what you measured is rounding, and "
        "the quotient says that everything is wrong: below |f| / (100 s) there is nothing to see.",
    ),
    (
        _keeps_the_type,
        "You add the step to an array of the type that you were given. In an array of integers x + h is cut back to x "
        "or lower, and in float32 it is rounded: copy x as float64 first.",
    ),
    (
        _never_put_back,
        "You move an entry in place and do not put it back, so every later entry is measured at another point.",
    ),
    (
        _lets_nan_pass,
        "You let NaN pass. It is not larger than any tolerance, because every comparison with NaN is false: ask for "
        "errors that are small, do not look for one that is large.",
    ),
)

PROBES = tuple((case[1], _claimed(case), case[3]) for case in _CASES)
