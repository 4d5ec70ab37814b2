r"""
The mean of some numbers.

Level: implement. You need nothing but division.

The mean of $x_1, \dots, x_n$ is their sum divided by how many they are. An empty list has none: answer NaN.
"""

import math
from collections.abc import Sequence

EMPTY = math.nan

HINTS = (
    "How many numbers are there?",
    "Divide `sum(x)` by `len(x)`, but look at the empty list first.",
)


def mean(x: Sequence[float], empty: float = EMPTY) -> float:
    """Sum over count; `empty` for no numbers."""
    if not _count(x):  # nothing to divide by
        return empty
    return sum(x) / _count(x)


def _count(x):
    return len(x)


def check(learner) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for x, expected in (([1.0, 2.0, 6.0], 3.0), ([5.0], 5.0)):
        got = learner.mean(list(x))
        assert isinstance(got, float | int), f"the mean of {x} is a number, {expected}; got {got!r}"
        assert math.isclose(got, expected), f"the mean of {x} is {expected}; got {got}"
    got = learner.mean([])
    assert isinstance(got, float) and math.isnan(got), f"the mean of no numbers is NaN; got {got!r}"


PROBES = (([1.0, 2.0, 6.0],), ([],))


def _sum(x, empty=EMPTY):
    return sum(x)


def _median(x, empty=EMPTY):
    return sorted(x)[len(x) // 2] if x else empty


def _zero_if_empty(x, empty=EMPTY):
    return sum(x) / max(len(x), 1)


MISTAKES = (
    (_sum, "You add up and never divide."),
    (_median, "That is the median, the number in the middle."),
    (_zero_if_empty, "You divide by at least 1, which makes the mean of nothing 0."),
)
