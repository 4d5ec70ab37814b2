"""Mirrors src/fp_workbook/answers.py: equal by value, whatever the answers are made of."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from fp_workbook.answers import answers, same

NAN = math.nan


@dataclass
class Model:
    weights: np.ndarray
    name: str = "model"


class Slow:
    """Compares to itself only."""

    def __init__(self, value):
        self.value = value


class Circle:
    def __init__(self):
        self.me = self


def other(cls):
    """Another class of the same name, as the learner's is."""
    return type(cls.__name__, (), {})


def other_slow(value):
    found = other(Slow)()
    found.value = value
    return found


EQUAL = [
    (0.1 + 0.2, 0.3),
    (NAN, NAN),
    (math.inf, math.inf),
    (2, 2.0),
    (np.float32(2), 2.0),
    (np.bool_(True), True),
    (1 + 1e-12j, 1.0),
    ([1, 2.0], (1.0, 2)),
    ({"a": [NAN]}, {"a": (NAN,)}),
    ({1, 2}, {2, 1}),
    (np.array([1.0, NAN]), np.array([1.0 + 1e-12, NAN])),
    (np.array([1, 2]), [1.0, 2.0]),
    (np.array(3.0), 3.0),
    (np.array([["a"]]), np.array([["a"]])),
    (np.array([{"a": 1.0}], dtype=object), np.array([{"a": 1.0 + 1e-12}], dtype=object)),
    (Model(np.array([1.0])), Model(np.array([1.0]))),
    (Slow([1.0]), other_slow((1.0,))),
    (np.random.default_rng(7), np.random.default_rng(7)),
    (None, None),
    (b"ab", b"ab"),
]
DIFFERENT = [
    (1.0, 1.00001),
    (NAN, 0.0),
    (math.inf, -math.inf),
    (1, True),
    (0, None),
    (0, ""),
    ([1, 2], [1, 2, 3]),
    ([[1], [2]], [[1, 2]]),
    ({"a": 1}, {"b": 1}),
    ({"a": 1}, [1]),
    (np.zeros((2, 3)), np.zeros((3, 2))),
    (np.zeros(3), np.zeros((1, 3))),
    (np.array([True]), np.array([1])),
    (np.array([1.0]), [[1.0], [1.0, 2.0]]),
    (np.array(["a"]), np.array([1.0])),
    (np.array([1.0]), None),
    (Model(np.array([1.0])), Model(np.array([2.0]))),
    (Slow(1), Slow(2)),
    (Slow(1), Model(1)),
    (np.random.default_rng(7), np.random.default_rng(11)),
    ("ValueError", answers(lambda: int("x"), [()])[0]),
    ("1", 1),
    (10**20, 10**20 + 1),
]


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_these_are_the_same(a, b):
    assert same(a, b)
    assert same(b, a)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_these_are_different(a, b):
    assert not same(a, b)
    assert not same(b, a)


def test_objects_that_hold_themselves_come_to_an_end():
    assert not same(Circle(), Circle())
    circle = Circle()
    assert same(circle, circle)


def test_an_object_that_cannot_be_compared_is_different():
    class Sulky:
        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    assert not same(Sulky(), Sulky())


def test_each_call_gets_arguments_of_its_own():
    probes = [(np.array([1.0, 2.0]),), ([1.0, 2.0],)]

    def spoils(x):
        x[0] = 7
        return list(x)

    assert same(answers(spoils, probes), [[7.0, 2.0], [7.0, 2.0]])
    assert same(probes[0][0], [1.0, 2.0])


def test_errors_and_exits_are_answers():
    def fails(error):
        raise error

    assert answers(fails, [(ValueError(),), (SystemExit(),)]) == ["ValueError", "SystemExit"]


def test_the_beginning_of_an_endless_answer_is_compared():
    from itertools import count

    assert same(answers(lambda: count(), [()]), answers(lambda: iter(range(10**6)), [()]))
    assert not same(answers(lambda: count(1), [()]), answers(lambda: count(), [()]))
