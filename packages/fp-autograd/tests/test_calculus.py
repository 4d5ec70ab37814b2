"""Mirrors src/fp_autograd/calculus.py."""

import math

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from fp_autograd.calculus import ELEMENTARY, oscillation, sigmoid, softplus, taylor_bound, taylor_polynomial

x, h, t = sympy.symbols("x h t")
positive = sympy.symbols("p", positive=True)


def slope(f, at, step=1e-5):
    """By a central difference: for values and third slopes near one, off by about 1e-11."""
    return (f(at + step) - f(at - step)) / (2 * step)


@pytest.mark.claim("autograd.linear-approximation")
@pytest.mark.parametrize("f", [x**3 - x, sympy.exp(x), 1 / x, sympy.sqrt(x)])
def test_the_slope_and_no_other_number_leaves_a_remainder_that_vanishes_faster_than_the_step(f):
    for point in (1, sympy.Rational(7, 3)):
        by_quotient = sympy.limit((f.subs(x, point + h) - f.subs(x, point)) / h, h, 0)
        assert sympy.simplify(by_quotient - f.diff(x).subs(x, point)) == 0
        for a in (by_quotient, by_quotient + 2, by_quotient - sympy.Rational(1, 5)):
            remainder = f.subs(x, point + h) - f.subs(x, point) - a * h
            assert (sympy.simplify(sympy.limit(remainder / h, h, 0)) == 0) == (a == by_quotient)


def test_no_linear_approximation_where_there_is_no_slope():
    for a in (-1.0, 0.0, 0.5, 1.0):  # |x| at 0: for each a the remainder is of the size of h on one side
        assert max(abs(abs(step) - a * step) / abs(step) for step in (1e-9, -1e-9)) >= 1


@pytest.mark.claim("autograd.chain-rule")
@pytest.mark.parametrize(("outer", "derivative"), [(math.exp, 1.0), (lambda y: (y + 3) ** 2, 6.0), (math.sin, 1.0)])
def test_the_chain_rule_where_the_inner_increment_vanishes_again_and_again(outer, derivative):
    def inner(v):  # slope 2 at 0 from the line and 0 from the oscillation
        return 2 * v + oscillation(v)

    for n in range(2, 20):
        step = 2.0**-n
        # oscillation: value 0, slope 0, increments zero at 1/n and not zero at 1/(n + 1/4)
        assert oscillation(step) == 0
        assert oscillation(1 / (2**n + 0.25)) != 0
        for k in (step, -step, 1 / (2**n + 0.25)):
            # the bracket of (E2): |s(k)| <= 5 k^2 for outer second slopes up to 10; inner increments up to |h|^2
            assert abs(outer(oscillation(k)) - outer(0)) / abs(k) <= (derivative + 5) * abs(k) + 1e-9
            # inner increments up to 3 |h|: derivative * h^2 + 5 * 9 h^2
            quotient = (outer(inner(k)) - outer(0)) / k
            assert abs(quotient - 2 * derivative) <= (derivative + 45) * abs(k) + 1e-9


@pytest.mark.claim("autograd.chain-rule")
@pytest.mark.parametrize("f", [sympy.exp(x), x**5 - 2 * x, 1 / (x**2 + 1)])
@pytest.mark.parametrize("g", [x**2, sympy.sin(x), 7 + 0 * x])
def test_the_chain_rule_against_the_limit_of_the_quotient(f, g):
    point = sympy.Rational(3, 2)
    composed = f.subs(x, g)
    limit = sympy.limit((composed.subs(x, point + h) - composed.subs(x, point)) / h, h, 0)
    expected = f.diff(x).subs(x, g.subs(x, point)) * g.diff(x).subs(x, point)
    assert sympy.simplify(limit - expected) == 0


@pytest.mark.claim("autograd.quotient-rule")
@pytest.mark.parametrize("u", [x**3, sympy.exp(x), sympy.Integer(1)])
@pytest.mark.parametrize("v", [x**2 + 1, sympy.exp(-x), x - 5])
def test_the_quotient_rule_against_the_limit_of_the_quotient(u, v):
    at, quotient = 2, u / v
    limit = sympy.limit((quotient.subs(x, at + h) - quotient.subs(x, at)) / h, h, 0)
    du, dv = sympy.diff(u, x), sympy.diff(v, x)
    assert sympy.simplify(limit - ((du * v - u * dv) / v**2).subs(x, at)) == 0
    assert sympy.simplify(limit - ((du - (u / v) * dv) / v).subs(x, at)) == 0


@pytest.mark.claim("autograd.power-rule")
@pytest.mark.parametrize("n", [-3, -2, -1, 1, 2, 3, 5])
def test_whole_powers_at_points_of_either_sign(n):
    for at in (sympy.Rational(-3, 2), sympy.Integer(2)) + ((sympy.Integer(0),) if n > 0 else ()):
        limit = sympy.limit(((at + h) ** n - at**n) / h, h, 0)
        assert limit == n * at ** (n - 1)  # sympy agrees that 0 ** 0 is 1


@pytest.mark.claim("autograd.power-rule")
@given(st.floats(0.3, 3), st.floats(-3, 3))
def test_powers_with_both_arguments_variable(base, exponent):
    # third slopes are at most 60 b^(a - 3), which the squared step 1e-10 multiplies; roundings of values up to 37
    # divided by the step, 37 * 2e-16 / 1e-5 = 7e-10, fit into the same allowance
    in_base = slope(lambda v: v**exponent, base)
    in_exponent = slope(lambda v: base**v, exponent)
    scale = base ** (exponent - 3) * 60 + 1
    assert in_base == pytest.approx(exponent * base ** (exponent - 1), abs=1e-9 * scale)
    assert in_exponent == pytest.approx(base**exponent * math.log(base), abs=1e-9 * scale)

    def u(v):
        return base + math.sin(v) ** 2 / 4

    both = slope(lambda v: u(v) ** (exponent + v), 0.5)
    at, power = u(0.5), exponent + 0.5
    rule = power * at ** (power - 1) * math.sin(0.5) * math.cos(0.5) / 2 + at**power * math.log(at)
    assert both == pytest.approx(rule, abs=1e-7 * (1 + at**power + at ** (power - 3)))


@pytest.mark.claim("autograd.sigmoid-slope")
def test_the_sigmoid_symbolically():
    s = 1 / (1 + sympy.exp(-x))
    assert sympy.simplify(s.diff(x) - s * (1 - s)) == 0
    assert sympy.simplify(s.subs(x, -x) - (1 - s)) == 0


@pytest.mark.claim("autograd.sigmoid-slope")
@given(st.floats(-30, 30))
def test_the_slope_of_the_sigmoid_is_between_0_and_a_quarter(v):
    s = sigmoid(v)
    assert 0 < s < 1
    assert 0 < s * (1 - s) <= 0.25
    assert s + sigmoid(-v) == pytest.approx(1, abs=1e-15)  # three roundings each, of numbers up to two
    assert slope(sigmoid, v) == pytest.approx(ELEMENTARY["sigmoid"].slope(v, s), abs=1e-10)
    assert sigmoid(0) * (1 - sigmoid(0)) == 0.25  # the bound is reached


@pytest.mark.claim("autograd.tanh-slope")
def test_tanh_symbolically():
    by_definition = (sympy.exp(x) - sympy.exp(-x)) / (sympy.exp(x) + sympy.exp(-x))
    assert sympy.simplify(by_definition.diff(x) - (1 - by_definition**2)) == 0
    assert sympy.simplify(by_definition - (2 / (1 + sympy.exp(-2 * x)) - 1)) == 0


@pytest.mark.claim("autograd.tanh-slope")
@given(st.floats(-8, 8))
def test_the_slope_of_tanh_is_between_0_and_1(v):
    y = math.tanh(v)
    assert y == pytest.approx(2 * sigmoid(2 * v) - 1, abs=4e-16)  # 2 s is rounded near two
    assert 0 < 1 - y * y <= 1
    assert slope(math.tanh, v) == pytest.approx(ELEMENTARY["tanh"].slope(v, y), abs=1e-9)
    assert ELEMENTARY["tanh"].slope(0.0, 0.0) == 1


@pytest.mark.claim("autograd.softplus-slope")
@given(st.floats(-30, 30))
def test_softplus_lies_above_relu_by_at_most_ln_2_and_has_the_slope_sigmoid(v):
    # the first form directly; 30 keeps it clear of overflow, 1e-15 relative is a few roundings of a value up to 30
    assert softplus(v) == pytest.approx(math.log1p(math.exp(v)), rel=1e-14)
    assert 0 < softplus(v) - max(0.0, v) + 1e-15 <= math.log(2) + 4e-15
    assert slope(softplus, v) == pytest.approx(sigmoid(v), abs=1e-9)
    assert softplus(0) == math.log(2)  # the bound is reached


def test_no_overflow_and_no_nan_at_a_thousand():
    assert [softplus(v) for v in (-1000, 1000)] == [0.0, 1000.0]
    assert [sigmoid(v) for v in (-1000, 1000)] == [0.0, 1.0]


@pytest.mark.claim("autograd.subgradient-slope")
@pytest.mark.parametrize("f", [lambda v: v * v, math.exp, softplus, lambda v: abs(v) + v * v])
@pytest.mark.parametrize("at", [-1.5, 0.5, 2.0])
def test_a_line_of_any_other_slope_crosses_a_smooth_convex_function(f, at):
    tangent = slope(f, at)

    def stays_below(s):
        # 1e-9 allows for the difference quotient's error and rounding; lines off by 0.01 cross by 1e-5 and more
        return all(f(at + d) >= f(at) + s * d - 1e-9 for d in [k / 1000 for k in range(-3000, 3001)])

    assert stays_below(tangent)
    assert not any(stays_below(tangent + off) for off in (-1.0, -0.01, 0.01, 1.0))


@pytest.mark.claim("autograd.relu-subgradient")
def test_the_subgradients_of_relu_and_of_the_absolute_value_on_a_grid():
    points = [k / 4 for k in range(-8, 9)]
    slopes = [k / 4 for k in range(-8, 9)]

    def subgradients(f, at):
        return [s for s in slopes if all(f(z) >= f(at) + s * (z - at) for z in points)]

    for name, low, high in [("relu", 0.0, 1.0), ("abs", -1.0, 1.0)]:
        f = ELEMENTARY[name].value
        assert subgradients(f, -1.0) == [low]
        assert subgradients(f, 1.0) == [high]
        assert subgradients(f, 0.0) == [s for s in slopes if low <= s <= high]
        # convex: no value above the chord, at every pair and every quarter
        assert all(
            f((1 - w) * a + w * b) <= (1 - w) * f(a) + w * f(b) for a in points for b in points for w in (0.25, 0.5)
        )
        # what this chapter takes is one of them, everywhere
        assert all(ELEMENTARY[name].slope(at, f(at)) in subgradients(f, at) for at in points[1:-1])


def test_the_slopes_in_the_table_by_differences():
    for name, elementary in ELEMENTARY.items():
        for at in (0.7, 2.3):
            # 1e-9: differences of smooth functions with values and third slopes below ten
            assert elementary.slope(at, elementary.value(at)) == pytest.approx(slope(elementary.value, at), abs=1e-9), (
                name
            )
    assert ELEMENTARY["relu"].slope(-0.3, 0.0) == 0
    assert ELEMENTARY["abs"].slope(-0.3, 0.3) == -1


@pytest.mark.claim("autograd.taylor")
@given(st.integers(0, 8), st.floats(-3, 3), st.floats(-2, 2))
def test_the_remainder_of_the_exponential_is_within_the_bound_and_near_it(n, at, step):
    remainder = math.exp(at + step) - taylor_polynomial([math.exp(at)] * (n + 1), step)
    ends = math.exp(at), math.exp(at + step)
    rounding = 1e-14 * math.exp(at + abs(step))  # ten roundings of terms that sum to at most exp(at + |step|)
    assert abs(remainder) <= taylor_bound(max(ends), n, step) + rounding
    # no smaller constant would do: all slopes are at least the smaller end, so the remainder is at least this
    assert abs(remainder) >= taylor_bound(min(ends), n, step) - rounding


@pytest.mark.claim("autograd.taylor")
@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_a_power_has_the_remainder_of_the_bound_exactly(n):
    at, step = sympy.Rational(2, 3), sympy.Rational(-7, 5)
    f = (x - at) ** (n + 1)  # its slopes at the point vanish up to the last, which is (n + 1)! everywhere
    polynomial = sum(f.diff(x, k).subs(x, at) * step**k / sympy.factorial(k) for k in range(n + 1))
    remainder = abs(f.subs(x, at + step) - polynomial)
    assert float(remainder) == pytest.approx(taylor_bound(math.factorial(n + 1), n, float(step)), rel=1e-13)


@pytest.mark.claim("autograd.taylor")
def test_what_stays_bounded_by_one_has_remainders_below_the_next_power():
    for at in (-2.0, 0.3, 1.7):
        slopes = [math.sin(at + k * math.pi / 2) for k in range(12)]
        for n in range(11):
            for step in (-1.3, -0.1, 0.4, 2.1):
                remainder = abs(math.sin(at + step) - taylor_polynomial(slopes[: n + 1], step))
                assert remainder <= taylor_bound(1, n, step) + 1e-14  # a dozen roundings of numbers near one


@pytest.mark.claim("autograd.taylor-line")
def test_slopes_along_a_line_symbolically():
    a, b = sympy.symbols("a b")
    f = sympy.exp(a) * sympy.sin(b) + a**3 * b**2
    point, u = (sympy.Rational(1, 2), sympy.Rational(1, 3)), (2, -3)
    along = f.subs({a: point[0] + t * u[0], b: point[1] + t * u[1]}, simultaneous=True)
    term = f
    for k in range(1, 5):
        term = u[0] * term.diff(a) + u[1] * term.diff(b)  # one more index of (E7), summed
        on_line = term.subs({a: point[0] + t * u[0], b: point[1] + t * u[1]}, simultaneous=True)
        assert sympy.simplify(along.diff(t, k) - on_line) == 0


@pytest.mark.claim("autograd.taylor-line")
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_the_remainder_in_two_variables_is_within_the_bound(a, b, u, v):
    # f = exp(a) sin(b): every partial derivative is at most e^2 where a + u <= 2
    def f(p, q):
        return math.exp(p) * math.sin(q)

    e, s, c = math.exp(a), math.sin(b), math.cos(b)
    second = f(a, b) + u * e * s + v * e * c + (u * u * e * s + 2 * u * v * e * c - v * v * e * s) / 2
    bound = math.exp(max(a, a + u)) * (abs(u) + abs(v)) ** 3  # (E7) for k = 3, each of the eight terms at most e^a
    assert abs(f(a + u, b + v) - second) <= bound / 6 + 1e-14


@pytest.mark.claim("autograd.mixed-partials")
def test_second_differences_tend_to_the_mixed_derivative_in_either_order():
    a, b = sympy.symbols("a b")
    for f in (sympy.exp(a * b), a**3 / (1 + b**2), sympy.sin(a + b**2)):
        point = {a: sympy.Rational(1, 2), b: sympy.Rational(2, 3)}

        def at(i, j, f=f, point=point):
            return f.subs({a: point[a] + i * h, b: point[b] + j * h}, simultaneous=True)

        limit = sympy.limit((at(1, 1) - at(1, 0) - at(0, 1) + at(0, 0)) / h**2, h, 0)
        for order in ((a, b), (b, a)):
            assert abs(sympy.N(limit - f.diff(*order).subs(point), 30)) < 1e-25


def test_without_continuity_the_order_of_mixed_derivatives_matters():
    a, b = sympy.symbols("a b", real=True)
    f = a * b * (a**2 - b**2) / (a**2 + b**2)  # and 0 at the origin
    first_a = sympy.limit(f / a, a, 0)  # the partial derivative in a on the axis a = 0, as a function of b
    first_b = sympy.limit(f / b, b, 0)
    assert (first_a.diff(b), first_b.diff(a)) == (-1, 1)


def test_bad_sizes_are_answered_with_a_sentence():
    with pytest.raises(ValueError, match="at least the value"):
        taylor_polynomial([], 1.0)
    for largest, n in [(-1.0, 2), (1.0, -1)]:
        with pytest.raises(ValueError, match="at least 0"):
            taylor_bound(largest, n, 0.5)
