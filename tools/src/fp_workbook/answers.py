"""
When are two answers the same?

The grader recognises a misconception by its answers: on the probes of an exercise, does the learner's function answer
what a planted mistake answers? `same` compares by value, whatever the answers are made of. Numbers may differ by
rounding, NaN equals NaN, a list equals a tuple of the same elements, and an object equals another whose class has the
same name and whose attributes are the same, because the learner's class and ours are never one class.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from copy import deepcopy
from itertools import islice
from numbers import Number
from typing import Any

__all__ = ["answers", "same"]

RELATIVE, ABSOLUTE = 1e-7, 1e-10  # apart by more than rounding, and by less than any mistake worth a sentence
MOST = 1000  # elements compared of an iterator, which may have no end


class Raised(str):
    """The answer of a function that raised: the name of the exception's class."""


def answers(function: Callable[..., object], probes: Sequence[tuple[Any, ...]]) -> list[object]:
    """
    What a function answers to each tuple of arguments; each call gets copies of its own.

    Examples
    --------
    >>> answers(lambda x: 1 / x, [(2,), (0,)])
    [0.5, 'ZeroDivisionError']
    """
    found: list[object] = []
    for arguments in probes:
        try:
            answer = function(*deepcopy(arguments))
            found.append(list(islice(answer, MOST)) if isinstance(answer, Iterator) else answer)
        except BaseException as error:  # a learner's file may raise SystemExit too
            found.append(Raised(type(error).__name__))
    return found


def same(a: Any, b: Any, depth: int = 20) -> bool:
    """
    Whether two answers are equal by value; see the top of the page for what counts as equal.

    Examples
    --------
    >>> same({"p": [0.1 + 0.2, float("nan")]}, {"p": (0.3, float("nan"))})
    True
    >>> same(1, True), same(1.0, 1), same("1", 1), same(None, 0)
    (False, True, False, False)
    """
    if depth == 0:  # an object that holds itself
        return a is b
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        a, b = (x.item() if isinstance(x, numpy.generic) else x for x in (a, b))
        if isinstance(a, numpy.ndarray) or isinstance(b, numpy.ndarray):
            return _same_arrays(a, b, numpy, depth)
        if isinstance(a, numpy.random.Generator) and isinstance(b, numpy.random.Generator):
            return same(a.bit_generator.state, b.bit_generator.state, depth - 1)
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return type(a) is type(b) and a == b
    if isinstance(a, Number) and isinstance(b, Number):
        return _same_numbers(a, b)
    if isinstance(a, str | bytes | Set) or isinstance(b, str | bytes | Set):
        return isinstance(a, Raised) == isinstance(b, Raised) and bool(a == b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key], depth - 1) for key in a)
    if isinstance(a, Sequence) and isinstance(b, Sequence):
        return len(a) == len(b) and all(same(x, y, depth - 1) for x, y in zip(a, b, strict=True))
    try:
        if bool(a == b):
            return True
    except Exception:  # a comparison of the learner's own
        return False
    if type(a).__name__ != type(b).__name__ or not (hasattr(a, "__dict__") and hasattr(b, "__dict__")):
        return False
    return same(vars(a), vars(b), depth - 1)


def _same_numbers(a: Any, b: Any) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if isinstance(a, complex) or isinstance(b, complex):
        a, b = complex(a), complex(b)
        return _same_numbers(a.real, b.real) and _same_numbers(a.imag, b.imag)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _same_arrays(a: Any, b: Any, numpy: Any, depth: int) -> bool:
    try:
        a, b = numpy.asarray(a), numpy.asarray(b)
    except ValueError:  # a ragged list
        return False
    if a.shape != b.shape or (a.dtype.kind == "b") != (b.dtype.kind == "b"):
        return False
    if a.dtype.kind in "iufcb" and b.dtype.kind in "iufcb":
        return bool(numpy.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=a.dtype.kind in "fc"))
    return same(a.tolist(), b.tolist(), depth - 1)
