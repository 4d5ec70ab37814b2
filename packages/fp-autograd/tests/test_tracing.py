"""Mirrors src/fp_autograd/tracing.py."""

import itertools

import numpy as np
import pytest
import sympy

from fp_autograd.functional import Tangent, grad, jvp
from fp_autograd.rules import RULES, exp
from fp_autograd.tensor import Tensor
from fp_autograd.tracing import Box, Rule, apply, value_of


def forward(f, at):
    return jvp(f, (at,), (1.0,))[1]


def reverse(f, at):
    return grad(f)(at)


INNER = [  # programs in x, of an outer differentiation, and y, of an inner one
    lambda x, y: x + y,
    lambda x, y: x * y,
    lambda x, y: x * y * y - y,
    lambda x, y: (x - y) ** 2,
    lambda x, y: x / y + y * y,
    lambda x, y: x * x + 0 * y,
]


@pytest.mark.claim("autograd.levels")
@pytest.mark.parametrize("outer", [forward, reverse])
@pytest.mark.parametrize("inner", [forward, reverse])
@pytest.mark.parametrize("f", INNER)
def test_a_derivative_within_a_derivative_is_what_algebra_says(outer, inner, f):
    x, y = sympy.symbols("x y")
    for at in (lambda x: x * 0 + 3, lambda x: x, lambda x: x * x + 1):  # where the inner slope is taken
        exact = sympy.diff(x * sympy.diff(f(x, y), y).subs(y, at(x)), x).subs(x, 2)
        ours = outer(lambda x, at=at: x * inner(lambda y: f(x, y), at(x)), 2.0)
        assert float(ours) == pytest.approx(float(exact), rel=1e-14)  # a few roundings


@pytest.mark.claim("autograd.levels")
@pytest.mark.parametrize("modes", list(itertools.product([forward, reverse], repeat=3)))
def test_three_levels_deep(modes):
    x, y, z = sympy.symbols("x y z")

    def f(x, y, z):
        return x * x * y * z * z + (x - y) * z + x * y

    exact = f(x, y, z).diff(z).subs(z, x * y)
    exact = (y * exact).diff(y).subs(y, x + 1)
    exact = (x * exact).diff(x).subs(x, 2)
    d1, d2, d3 = modes
    ours = d1(lambda x: x * d2(lambda y: y * d3(lambda z: f(x, y, z), x * y), x + 1), 2.0)
    assert float(ours) == pytest.approx(float(exact), rel=1e-14)  # a few roundings


class Confused:
    """Forward mode on numbers, without levels, or with the outermost level first."""

    def __init__(self, value, tangent, level=0):
        self.value, self.tangent, self.level = value, tangent, level

    def _operation(self, other, value, tangent):
        others = [x for x in (self, other) if isinstance(x, Confused)]
        level = min(x.level for x in others)
        a, da = (self.value, self.tangent) if self.level == level else (self, 0.0)
        b, db = (other, 0.0)
        if isinstance(other, Confused) and other.level == level:
            b, db = other.value, other.tangent
        return Confused(value(a, b), tangent(a, da, b, db), level)

    def __add__(self, other):
        return self._operation(other, lambda a, b: a + b, lambda a, da, b, db: da + db)

    def __mul__(self, other):
        return self._operation(other, lambda a, b: a * b, lambda a, da, b, db: da * b + a * db)

    def __radd__(self, other):
        return self + other

    def __rmul__(self, other):
        return self * other


def confused_slope(f, at, level):
    out = f(Confused(at, 1.0, level))
    return out.tangent if isinstance(out, Confused) and out.level == level else 0.0


@pytest.mark.claim("autograd.levels")
def test_without_levels_or_with_the_outermost_first_the_answer_is_wrong():
    no_levels = confused_slope(lambda x: x * confused_slope(lambda y: x + y, 1.0, 0), 1.0, 0)
    around = Confused(1.0, 1.0, 1)
    outermost_first = confused_slope(lambda y: around + y, 1.0, 2)
    assert no_levels == 2.0
    assert outermost_first == 0.0
    assert float(forward(lambda x: x * forward(lambda y: x + y, 1.0), 1.0)) == 1.0


def test_the_innermost_box_does_the_operation_and_opens_its_own_level_only():
    outer, inner = Tangent(np.array(2.0), np.array(1.0), 1), Tangent(np.array(3.0), np.array(1.0), 2)
    for out in (outer * inner, inner * outer):
        assert out.level == 2
        assert out.data.level == 1  # x y as the outer one sees it
        assert out.tangent.level == 1  # the inner slope is x, still a variable of the outer one
        assert float(out.tangent) == 2.0
        assert float(out.data.tangent) == 3.0
        assert float(out.tangent.tangent) == 1.0


def test_on_arrays_an_operation_is_done_at_once():
    out = apply(RULES["multiply"], np.array([1.0, 2.0]), 3.0)
    assert type(out) is np.ndarray
    np.testing.assert_array_equal(out, [3.0, 6.0])
    assert isinstance(apply(RULES["multiply"], np.ones(2), Tensor(np.ones(2))), Tensor)


def test_numpy_leaves_an_operation_with_a_box_to_the_box():
    box = Tensor(np.array([1.0, 2.0]))
    for out in (np.ones(2) + box, np.float64(3) * box, np.ones(2) / box, np.ones((3, 2)) @ box):
        assert isinstance(out, Tensor)


def test_the_value_of_nested_boxes_is_the_array_in_the_middle():
    array = np.array([1.0, 2.0])
    assert value_of(array) is array
    assert value_of(2.5) == 2.5
    assert value_of(Tangent(Tangent(array, array, 1), array, 2)) is array


def test_a_number_taken_out_of_a_box_is_a_constant():
    assert float(forward(lambda x: x * float(x), 3.0)) == 3.0  # not 6
    assert float(reverse(lambda x: x * float(x), 3.0)) == 3.0


def test_branches_and_loops_are_followed():
    def f(x):
        for _ in range(3):
            x = x * x if x < 4.0 else exp(0.1 * x)
        return x

    slope = (f(1.5 + 1e-6) - f(1.5 - 1e-6)) / 2e-6
    # central differences: third slopes of about 100 times 1e-12, rounding of 1e-15 over 1e-6
    assert float(forward(f, 1.5)) == pytest.approx(slope, abs=1e-8)
    assert float(reverse(f, 1.5)) == pytest.approx(slope, abs=1e-8)


def test_a_rule_with_more_maps_of_one_kind_is_refused():
    with pytest.raises(ValueError, match="one VJP and one JVP for each operand, twice has 1 and 2"):
        Rule("twice", lambda x: 2 * x, (lambda g, out, x: 2 * g,), (lambda t, out, x: 2 * t, None))


def test_a_rule_without_maps_of_one_kind_says_so_when_they_are_needed():
    one_way = Rule("one_way", lambda x: 2 * x, (lambda g, out, x: 2 * g,), ())
    assert repr(one_way) == "Rule('one_way')"
    assert one_way.vjp(0)(1.0, 2.0, 1.0) == 2.0
    with pytest.raises(NotImplementedError, match="one_way has no JVP"):
        one_way.jvp(0)
    with pytest.raises(NotImplementedError, match="has no VJP"):
        Rule("neither", lambda x: x, (), ()).vjp(0)


def test_one_function_for_any_number_of_operands_is_told_which():
    total = Rule("total", lambda *xs: sum(xs), lambda i, g, out, *xs: (i, g), lambda i, t, out, *xs: (i, t))
    assert total.vjp(2)(7.0, 6.0, 1.0, 2.0, 3.0) == (2, 7.0)
    assert total.jvp(1)(7.0, 6.0, 1.0, 2.0, 3.0) == (1, 7.0)


def test_a_box_has_to_know_what_to_do():
    class Bare(Box):
        level = 1

    with pytest.raises(NotImplementedError):
        apply(RULES["exp"], Bare())
