r"""
The sigmoid: its slope, read from its value.

Level: concept. You need `fp_autograd.calculus` and `fp_autograd.floating_point`.

The sigmoid $\sigma(x) = 1 / (1 + e^{-x})$ turns any number into one between 0 and 1. Sketch it before you compute
anything. How do its values at $x$ and $-x$ go together? Where is it steepest, and how steep? How far from there has the
slope fallen by half? And far out, where it is nearly flat, by what factor does the slope shrink for each further step
to the right? An engine asks for the slope when it has the value already: express one by the other.

Your answers must be right at $\pm 1000$ and at $\pm 40$ as well, where a float has its own opinion of $e^{1000}$ and of
the difference between $\sigma(40)$ and 1. NumPy should have nothing to warn about.

The last question asks which of these statements about 64-bit floats are false; `exp` is NumPy's, which answers an
overflow with infinity:

- A. The sigmoid is positive everywhere, and at $x = -1000$ its nearest float is exactly 0.
- B. Already at $x = 40$ the nearest float of the sigmoid is exactly 1.
- C. Where the float of the sigmoid is exactly 1, that of its slope is exactly 0.
- D. `1 / (1 + exp(-x))` overflows at $x = 1000$.
- E. `exp(x) / (1 + exp(x))` is NaN at $x = 1000$.
- F. $\tanh x$ is $2 \sigma(2x) - 1$, and its largest slope is four times that of the sigmoid.

You learn why a saturated unit stops learning, and why libraries compute $\log \sigma$ by itself. Large models have kept
the sigmoid as a gate, in SwiGLU's $x \, \sigma(x)$, and in the loss that compares two answers in preference training.
"""

import math
import warnings
from typing import Any

import numpy as np

HINTS = (
    "Write 1 - 1 / (1 + exp(-x)) as one fraction and compare it with the sigmoid of -x. Then differentiate "
    "1 / (1 + exp(-x)) and look for both of them in the result.",
    "The slope is the value at x times the value at -x. For x >= 0 only exp(-x) is harmless, for x < 0 only exp(x): in "
    "both cases it is exp(-abs(x)). One minus a value near 1 has lost its digits; the value at -x has not.",
    "With e = exp(-abs(x)) the two values are 1 / (1 + e) and e / (1 + e), and the logarithm of their product is "
    "-abs(x) - 2 * log(1 + e). The slope is half of 1/4 where value * (1 - value) = 1/8, an equation of second degree; "
    "then solve the sigmoid for x.",
)


def predict_sigmoid(x: float) -> dict[str, float | str]:
    """
    Answer eight questions about the sigmoid.

    Parameters
    ----------
    x
        Where it is evaluated; any number, from -1000 to 1000 at least.

    Returns
    -------
    dict
        One answer for each name:

        - `"value"`: the sigmoid at `x`.
        - `"mirror"`: the sigmoid at `-x`, to full precision.
        - `"slope"`: the derivative of the sigmoid at `x`, to full precision.
        - `"log_slope"`: its natural logarithm, also where the slope itself is too small for a float.
        - `"largest"`: the largest slope that the sigmoid has anywhere.
        - `"half"`: the positive number at which the slope is half of the largest.
        - `"decay"`: the number that (slope at t + 1) / (slope at t) approaches as t grows.
        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AB"`.

    Examples
    --------
    >>> answers = predict_sigmoid(0.0)
    >>> answers["value"], answers["mirror"]
    (0.5, 0.5)
    >>> sorted(answers)
    ['decay', 'false', 'half', 'largest', 'log_slope', 'mirror', 'slope', 'value']
    """
    value, mirror = _sigmoid(x), _sigmoid(-x)
    steep = (1 + math.sqrt(1 / 2)) / 2  # the larger solution of s (1 - s) = 1/8
    with np.errstate(all="ignore"):
        e = np.exp(1000.0)
        holds = {
            "A": _sigmoid(-1000.0) == 0,
            "B": _sigmoid(40.0) == 1,
            "C": _sigmoid(40.0) * _sigmoid(-40.0) == 0,
            "D": bool(np.isinf(np.exp(-1000.0))),
            "E": bool(np.isnan(e / (1 + e))),
            # the slope of 2 s(2x) - 1 is 4 times that of s at 2x, largest where 2x = 0
            "F": math.isclose(math.tanh(0.3), 2 * _sigmoid(0.6) - 1)
            and 1 - math.tanh(0.0) ** 2 == 4 * _sigmoid(0.0) ** 2,
        }
    return {
        "value": value,
        "mirror": mirror,
        "slope": value * mirror,
        "log_slope": -abs(x) - 2 * math.log1p(math.exp(-abs(x))),
        "largest": _sigmoid(0.0) ** 2,
        "half": math.log(steep / (1 - steep)),
        "decay": math.exp(-1),
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _sigmoid(x: float) -> float:
    e = math.exp(-abs(x))  # at most 1: it cannot overflow
    return 1 / (1 + e) if x >= 0 else e / (1 + e)


_WHY = {
    "value": "It is 1 / (1 + exp(-x)), which for negative x is exp(x) / (1 + exp(x)).",
    "mirror": "The values at x and -x add up to 1. Computed as 1 - value it has lost its digits where the value is "
    "near 1: evaluate the sigmoid at -x.",
    "slope": "The slope is the value times the value at -x, neither of which need be taken from 1.",
    "log_slope": "The logarithm of the slope, not of its float: log(1 / (1 + e)) + log(e / (1 + e)) with "
    "e = exp(-abs(x)).",
    "largest": "The product of two numbers whose sum is 1 is largest where they are equal, at x = 0.",
    "half": "Half of 1/4 is 1/8: solve s (1 - s) = 1/8 for the value s, then the sigmoid for x.",
    "decay": "Far to the right the slope is nearly exp(-x): a step of 1 multiplies it by exp(-1).",
    "false": "Evaluate each at the number that it names; a statement about floats can be tried.",
}

PROBES = ((0.0,), (2.0,), (-3.0,), (40.0,), (-40.0,), (1000.0,), (-1000.0,))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for (x,) in PROBES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = learner.predict_sigmoid(x)
        assert isinstance(got, dict), f"expected a dict of eight answers, got {got!r:.80}"
        for key, expected in predict_sigmoid(x).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"for x = {x:g}, {key!r} is {repr(expected) if isinstance(expected, str) else f'{expected:.6g}'}; got "
                f"{got[key]!r:.80}. {_WHY[key]}"
            )
        assert not caught, (
            f"for x = {x:g} the answers are right, but there is a warning: {caught[0].message!s:.80}. exp(-abs(x)) "
            "is at most 1 and cannot overflow."
        )


def _same(got: Any, expected: float | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        return math.isclose(
            got, expected, rel_tol=1e-9
        )  # rounding is near 1e-16; no absolute tolerance, 4e-18 is not 0
    except (TypeError, ValueError):
        return False


def _value_for_argument(x: float) -> dict[str, float | str]:
    return {**predict_sigmoid(x), "slope": x * (1 - x)}


def _slope_of_tanh(x: float) -> dict[str, float | str]:
    return {**predict_sigmoid(x), "slope": 1 - _sigmoid(x) ** 2, "largest": 1.0}


def _odd_like_tanh(x: float) -> dict[str, float | str]:
    return {**predict_sigmoid(x), "mirror": -_sigmoid(x)}


def _one_minus_value(x: float) -> dict[str, float | str]:
    value = _sigmoid(x)
    slope = value * (1 - value)
    return {
        **predict_sigmoid(x),
        "mirror": 1 - value,
        "slope": slope,
        "log_slope": math.log(slope) if slope else -math.inf,
    }


def _logarithm_of_the_float(x: float) -> dict[str, float | str]:
    slope = _sigmoid(x) * _sigmoid(-x)
    return {**predict_sigmoid(x), "log_slope": math.log(slope) if slope else -math.inf}


def _infinity_over_infinity(x: float) -> dict[str, float | str]:
    with np.errstate(all="ignore"):
        e = np.exp(x)
        return {**predict_sigmoid(x), "value": float(e / (1 + e))}


def _half_of_the_way_up(x: float) -> dict[str, float | str]:
    return {**predict_sigmoid(x), "half": math.log(3)}


def _overflow_on_the_other_side(x: float) -> dict[str, float | str]:
    return {**predict_sigmoid(x), "false": "C"}


def _flat_is_zero(x: float) -> dict[str, float | str]:
    return {**predict_sigmoid(x), "false": "D"}


MISTAKES = (
    (
        _value_for_argument,
        "You put x where the value belongs: the slope is s (1 - s) with s the sigmoid of x, not x itself.",
    ),
    (
        _slope_of_tanh,
        "You use 1 - s**2, the slope of tanh. The sigmoid's is s (1 - s), at most 1/4.",
    ),
    (
        _odd_like_tanh,
        "You give the sigmoid the symmetry of tanh, which changes its sign with x. It lies between 0 and 1: the "
        "values at x and -x add up to 1.",
    ),
    (
        _one_minus_value,
        "You compute 1 - value. At 40 the value rounds to 1 and the difference to 0, though the sigmoid at -40 is a "
        "perfectly good float. Evaluate at -x and subtract nothing.",
    ),
    (
        _logarithm_of_the_float,
        "You take the logarithm of a slope that has already rounded to 0, and get minus infinity for -1000. Take the "
        "logarithm of the formula and not of its float.",
    ),
    (
        _infinity_over_infinity,
        "You compute exp(x) / (1 + exp(x)) everywhere. At 1000 that is infinity over infinity; only exp(-abs(x)) is "
        "safe on both sides.",
    ),
    (
        _half_of_the_way_up,
        "You look for the x where the value is half-way between 1/2 and 1. The question is where the slope is half of "
        "its largest, a different point.",
    ),
    (
        _overflow_on_the_other_side,
        "You expect 1 / (1 + exp(-x)) to overflow at +1000. There exp(-1000) is 0, which is harmless; the overflow is "
        "at -1000. So D is false.",
    ),
    (
        _flat_is_zero,
        "You take the slope for 0 wherever the value has rounded to 1. Floats are far denser near 0 than near 1: at 40 "
        "the value is 1 and the slope still has all its digits. So C is false.",
    ),
)
