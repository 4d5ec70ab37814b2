"""Mirrors src/fp_autograd/dual.py."""

import itertools
import math
import operator
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from fp_autograd import dual as table
from fp_autograd.dual import Dual, Series, derivative, derivatives, gradient
from fp_autograd.value import Value

x = sympy.symbols("x", real=True)
a_number = st.floats(-2, 2)

# one step of a random program: made so that no step leaves its domain, whatever u and v are
STEPS = {
    "u + v": lambda u, v: u + v,
    "u - v": lambda u, v: u - v,
    "u * v": lambda u, v: u * v,
    "u / v": lambda u, v: u / (v * v + 0.5),
    "c + u": lambda u, v: 1.5 + u,
    "c - u": lambda u, v: 1.5 - u,
    "u - c": lambda u, v: u - 1.5,
    "c u": lambda u, v: -2 * u,
    "u / c": lambda u, v: u / -4,
    "c / u": lambda u, v: 3 / (v * v + 0.5),
    "-u": lambda u, v: -u,
    "u ** 3": lambda u, v: u**3,
    "u ** 0.5": lambda u, v: (u * u + 0.25) ** 0.5,
    "u ** -1.5": lambda u, v: (u * u + 0.5) ** -1.5,
    "u ** v": lambda u, v: (u * u + 0.5) ** v.tanh(),
    "c ** u": lambda u, v: 1.5 ** u.tanh(),
    "exp": lambda u, v: u.tanh().exp(),
    "log": lambda u, v: (u * u + 0.5).log(),
    "tanh": lambda u, v: u.tanh(),
    "sigmoid": lambda u, v: u.sigmoid(),
    "relu": lambda u, v: u.relu(),
}


class Exact:
    """Sixty decimal digits with the same operations, computed by mpmath and none of our code."""

    def __init__(self, number):
        self.number = mpmath.mpf(number)

    def relu(self):
        return Exact(max(self.number, 0))

    def sigmoid(self):
        return Exact(1 / (1 + mpmath.exp(-self.number)))


def lifted(operation):
    return lambda *xs: Exact(operation(*(u.number if isinstance(u, Exact) else mpmath.mpf(u) for u in xs)))


for name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Exact, f"__{name}__", lifted(getattr(operator, name)))
    setattr(Exact, f"__r{name}__", lambda u, v, name=name: getattr(operator, name)(Exact(v), u))
Exact.__neg__ = lifted(operator.neg)
for name in ("exp", "log", "tanh"):
    setattr(Exact, name, lifted(getattr(mpmath, name)))


def run(program, inputs):
    values = list(inputs)
    for step, i, j in program:
        u = values[i % len(values)]
        if step == "relu":
            assume(not hasattr(u, "value") or abs(u.value) > 1e-6)  # away from the bend
        values.append(STEPS[step](u, values[j % len(values)]))
    return values[-1]


programs = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=9
)
three = st.lists(a_number, min_size=3, max_size=3)


@pytest.mark.claim("autograd.dual-numbers")
@pytest.mark.claim("autograd.path-sum")
@given(programs, three, three)
def test_forward_and_reverse_mode_and_sixty_digits_agree_on_random_programs(program, xs, direction):
    forward = run(program, [Dual(x, b) for x, b in zip(xs, direction, strict=True)])
    leaves = [Value(x) for x in xs]
    root = run(program, leaves)
    assume(abs(root.data) < 1e6)
    root.backward()
    with mpmath.workdps(60):
        h = mpmath.mpf(10) ** -20

        def along(t):
            return run(program, [Exact(x + t * mpmath.mpf(b)) for x, b in zip(xs, direction, strict=True)]).number

        # truncation h^2 = 1e-40, rounding 1e-60 / h = 1e-40, times the size of the third slope and of the value
        slope, value = float((along(h) - along(-h)) / (2 * h)), float(along(0))
    # nine steps of which each may enlarge a rounding of 1e-16 a few times; terms that cancel have this size
    size = 1 + abs(value) + sum(abs(leaf.grad * b) for leaf, b in zip(leaves, direction, strict=True))
    assert forward.value == root.data
    assert forward.value == pytest.approx(value, abs=1e-11 * size)
    assert forward.tangent == pytest.approx(slope, abs=1e-11 * size)
    reverse = sum(leaf.grad * b for leaf, b in zip(leaves, direction, strict=True))
    assert reverse == pytest.approx(slope, abs=1e-11 * size)


@given(programs, three)
def test_the_gradient_by_forward_mode_is_the_gradient_by_reverse_mode(program, xs):
    leaves = [Value(x) for x in xs]
    root = run(program, leaves)
    assume(abs(root.data) < 1e6)
    root.backward()
    reverse = [leaf.grad for leaf in leaves]
    # as above
    assert gradient(lambda v: run(program, v), xs) == pytest.approx(
        reverse, rel=1e-10, abs=1e-10 * (1 + abs(root.data))
    )


@pytest.mark.claim("autograd.taylor-series")
@given(programs, a_number)
def test_a_series_of_order_one_is_a_dual_number(program, at):
    series, pair = run(program, [Series([at, 1])]), run(program, [Dual(at, 1)])
    assume(abs(pair.value) < 1e6)
    # two ways to round a few numbers of this size
    size = 1 + abs(pair.value) + abs(pair.tangent)
    assert series.coefficients == pytest.approx((pair.value, pair.tangent), abs=1e-11 * size)


whole = st.integers(-9, 9)


@pytest.mark.claim("autograd.truncated-ring")
@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(whole, min_size=n + 1, max_size=n + 1), min_size=3, max_size=3)
    )
)
def test_series_obey_the_laws_of_algebra(lists):
    u, v, w = map(Series, lists)

    def same(p, q):  # whole numbers far below 2^53: exact
        return p.coefficients == q.coefficients

    assert same(u + v, v + u)
    assert same((u + v) + w, u + (v + w))
    assert same(u * v, v * u)
    assert same((u * v) * w, u * (v * w))
    assert same(u * (v + w), u * v + u * w)
    assert same(u * 1, u)
    assert same(u + 0, u)
    assert same(u + -u, u * 0)
    assert same(u - v, u + -v)
    if lists[0][0] in (-4, -2, -1, 1, 2, 4):  # quotients are then binary fractions, exact as well
        assert same((v / u) * u, v)


@pytest.mark.claim("autograd.truncated-ring")
@given(st.lists(whole, min_size=4, max_size=4), st.lists(whole, min_size=4, max_size=4))
def test_products_and_quotients_against_polynomials(a, b):
    product = sympy.Poly(a[::-1], x) * sympy.Poly(b[::-1], x)
    expected = [float(product.coeff_monomial(x**k)) for k in range(4)]
    assert (Series(a) * Series(b)).coefficients == tuple(expected)
    if b[0]:
        q, exact = Series(a) / Series(b), []
        for k in range(4):  # the same recursion in fractions
            exact.append(Fraction(a[k] - sum(b[j] * exact[k - j] for j in range(1, k + 1)), b[0]))
        # four divisions, numbers up to 10^4
        assert q.coefficients == pytest.approx([float(e) for e in exact], rel=1e-12, abs=1e-11)


@pytest.mark.claim("autograd.truncated-ring")
def test_no_series_without_a_value_has_an_inverse():
    with pytest.raises(ZeroDivisionError, match=r"divisor must not be zero, got 1\.0 / 0\.0"):
        1 / Series([0, 1])
    with pytest.raises(ZeroDivisionError, match="divisor must not be zero"):
        1 / Dual(0, 1)


@pytest.mark.claim("autograd.truncated-ring")
def test_dual_numbers_multiply_and_divide_like_a_plus_b_times_epsilon_by_hand():
    # (2 + 3e)(5 + 7e) = 10 + (14 + 15)e, and back
    y = Dual(2, 3) * Dual(5, 7)
    assert (y.value, y.tangent) == (10, 29)
    back = y / Dual(5, 7)
    assert (back.value, back.tangent) == pytest.approx((2, 3), rel=1e-15)


@pytest.mark.claim("autograd.leibniz")
@pytest.mark.parametrize("k", range(6))
def test_taylor_coefficients_of_a_product_for_any_two_functions(k):
    t = sympy.symbols("t")
    f, g = sympy.Function("f")(t), sympy.Function("g")(t)

    def D(u, j):
        return u.diff(t, j) / sympy.factorial(j)

    assert sympy.expand(D(f * g, k) - sum(D(f, j) * D(g, k - j) for j in range(k + 1))) == 0


FUNCTIONS = {
    "exp": (lambda u: u.exp(), sympy.exp, 0.7),
    "log": (lambda u: u.log(), sympy.log, 1.7),
    "tanh": (lambda u: u.tanh(), sympy.tanh, -0.7),
    "sigmoid": (lambda u: u.sigmoid(), lambda u: 1 / (1 + sympy.exp(-u)), 0.3),
    "relu": (lambda u: u.relu(), lambda u: u, 0.7),
    "relu below": (lambda u: u.relu(), lambda u: 0 * u, -0.7),
    "u ** 4": (lambda u: u**4, lambda u: u**4, -1.3),
    "u ** -3": (lambda u: u**-3, lambda u: u**-3, -1.3),
    "u ** 2.5": (lambda u: u**2.5, lambda u: u ** sympy.Rational(5, 2), 1.3),
    "c ** u": (lambda u: 3**u, lambda u: 3**u, 0.6),
    "u ** u": (lambda u: u**u, lambda u: u**u, 0.6),
    "c / u": (lambda u: 2 / u, lambda u: 2 / u, -0.9),
    "c - u": (lambda u: 2 - u, lambda u: 2 - u, -0.9),
    "u - c": (lambda u: u - 2, lambda u: u - 2, -0.9),
    "u / (1 + u^2)": (lambda u: u / (1 + u * u), lambda u: u / (1 + u**2), 0.4),
    "a program": (
        lambda u: (u * u.tanh() - u.exp() / 3).sigmoid() ** 2,
        lambda u: (1 / (1 + sympy.exp(sympy.exp(u) / 3 - u * sympy.tanh(u)))) ** 2,
        0.2,
    ),
}


@pytest.mark.claim("autograd.taylor-series")
@pytest.mark.claim("autograd.dual-numbers")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_up_to_the_fifth_against_algebra(name):
    f, formula, at = FUNCTIONS[name]
    exact = [float(formula(x).diff(x, k).evalf(30, subs={x: sympy.Float(at, 30)})) for k in range(6)]
    # a few dozen roundings; 5! = 120 multiplies the last, whose terms may cancel
    assert derivatives(f, at, 5) == pytest.approx(exact, rel=1e-11, abs=1e-11)
    assert derivative(f, at) == pytest.approx(exact[1], rel=1e-14)


@pytest.mark.claim("autograd.saturated-slopes")
def test_the_flat_forms_of_the_slopes_are_the_textbook_ones():
    positive = sympy.symbols("p", positive=True)
    t, s = sympy.tanh(positive).rewrite(sympy.exp), 1 / (1 + sympy.exp(-positive))
    for slope, z, factor in [(1 - t**2, sympy.exp(-2 * positive), 4), (s * (1 - s), sympy.exp(-positive), 1)]:
        assert sympy.simplify(slope - factor * z / (1 + z) ** 2) == 0


@pytest.mark.claim("autograd.saturated-slopes")
@given(st.floats(-300, 300))
def test_slopes_keep_their_digits_where_the_functions_are_flat(u):
    with mpmath.workdps(300):
        t, s = mpmath.tanh(u), 1 / (1 + mpmath.exp(-mpmath.mpf(u)))
        exact = [float(y) for y in (t, 1 - t * t, s, s * (1 - s))]
    # a handful of roundings; exp turns a rounding of its argument, 600 * 1e-16, into a relative error
    assert [*table.tanh(u), *table.sigmoid(u)] == pytest.approx(exact, rel=2e-13, abs=0)


class Counted(float):
    """A float that counts what is done with it."""

    done = 0


def counted(name):
    def method(self, *others):
        Counted.done += 1
        return Counted(getattr(float, name)(self, *others))

    return method


for name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "neg", "abs"):
    setattr(Counted, f"__{name}__", counted(f"__{name}__"))


class CountedMath:
    inf = math.inf

    def __getattr__(self, name):
        def function(*xs):
            Counted.done += 1
            return Counted(getattr(math, name)(*xs))

        return function


COSTS = {  # operations on the value alone, on value and tangent, and how many of the latter are not counted here
    "u + v": (lambda u, v: u + v, 1, 2, 0),
    "u - v": (lambda u, v: u - v, 1, 2, 0),
    "-u": (lambda u, v: -u, 1, 2, 0),
    "u * v": (lambda u, v: u * v, 1, 4, 0),
    "u / v": (lambda u, v: u / v, 1, 4, 0),
    "u ** c": (lambda u, v: u**3, 1, 5, 1),  # c - 1, of constants
    "u ** v": (lambda u, v: u**v, 1, 9, 0),
    "exp": (lambda u, v: u.exp(), 1, 2, 0),
    "log": (lambda u, v: u.log(), 1, 3, 0),
    "tanh": (lambda u, v: u.tanh(), 1, 9, 0),
    "sigmoid": (lambda u, v: u.sigmoid(), 5, 8, 0),
    "relu": (lambda u, v: u.relu(), 1, 2, 1),  # the comparison
}


@pytest.mark.claim("autograd.forward-cost")
@pytest.mark.parametrize("name", COSTS)
def test_each_operation_on_dual_numbers_costs_what_the_table_says(name, monkeypatch, shapes_unchecked):
    f, alone, both, unseen = COSTS[name]
    monkeypatch.setattr(table, "math", CountedMath())
    monkeypatch.setattr(table, "number", lambda u: u if isinstance(u, Counted) else float(u))
    u, v = Dual(Counted(1.25), Counted(3)), Dual(Counted(0.75), Counted(5))
    Counted.done = 0
    f(u, v)
    assert Counted.done + unseen == both
    assert both <= 9 * alone


@pytest.mark.claim("autograd.forward-cost")
@pytest.mark.parametrize("m", [1, 2, 5, 11])
def test_the_gradient_takes_one_run_for_each_input(m):
    runs = []

    def f(v):
        runs.append([u.tangent for u in v])
        return sum(u * u for u in v)

    assert gradient(f, range(1, m + 1)) == [2.0 * i for i in range(1, m + 1)]
    assert runs == np.eye(m).tolist()
    # fewer runs: some direction is orthogonal to all that were used, and a function along it would go unseen
    assert all(np.linalg.matrix_rank(np.array(runs[:k])) < m for k in range(1, m))


def test_a_derivative_by_hand():
    # f = x^2 e^x: f' = (x^2 + 2x) e^x
    assert derivative(lambda u: u * u * u.exp(), 1) == pytest.approx(3 * math.e, rel=1e-15)
    assert gradient(lambda v: v[0] / v[1], [3, 2]) == [0.5, -0.75]
    assert derivatives(lambda u: 1 / u, 2, 3) == [0.5, -0.25, 0.25, -0.375]


def test_functions_that_ignore_their_input_have_slope_zero():
    assert derivative(lambda u: 5, 2) == 0
    assert gradient(lambda v: 5.0, [2, 3]) == [0, 0]
    assert derivatives(lambda u: 5, 2, 2) == [5, 0, 0]
    assert derivatives(lambda u: u * u, 3, 0) == [9]


def test_powers_of_a_series_whose_value_is_zero():
    t = Series([0, 2, 1, 0])
    assert (t**0).coefficients == (1, 0, 0, 0)
    assert (t**1).coefficients == (0, 2, 1, 0)
    assert (t**2).coefficients == (0, 0, 4, 4)
    assert (t**1000).coefficients == (0, 0, 0, 0)
    with pytest.raises(ValueError, match=r"whole powers only, got the exponent 0\.5"):
        t**0.5
    with pytest.raises(ZeroDivisionError, match="zero has no negative power"):
        t**-1


@pytest.mark.parametrize("at", [-1000, 1000])
def test_a_thousand_is_no_danger(at):
    high = at > 0
    assert derivatives(lambda u: u.tanh(), at, 3) == [math.copysign(1, at), 0, 0, 0]
    assert derivatives(lambda u: u.sigmoid(), at, 3) == [float(high), 0, 0, 0]
    assert derivative(lambda u: u.exp(), at) == (math.inf if high else 0)
    assert derivative(lambda u: u.relu(), at) == float(high)


@pytest.mark.parametrize(
    "f", [lambda u: u.log(), lambda u: 1 / u, lambda u: u**-1, lambda u: u**u, lambda u: (u - 1) ** 0.5, lambda u: 0**u]
)
def test_where_there_is_no_value_there_is_an_error(f):
    for variable in (Dual(0, 1), Series([0, 1, 0])):
        with pytest.raises((ValueError, ZeroDivisionError), match=r"got [-0-9.]+"):
            f(variable)


@pytest.mark.parametrize("bad", [True, np.ones(3), "3", None, Value(2)])
def test_what_is_no_number_is_refused(bad, shapes_unchecked):
    attempts = [lambda: Dual(bad), lambda: Dual(1, bad), lambda: Series([1, bad])]
    attempts += [
        lambda op=op, u=u: op(u, bad)
        for op, u in itertools.product(
            (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow), (Dual(2, 1), Series([2, 1]))
        )
    ]
    for attempt in attempts:
        with pytest.raises(TypeError, match=f"a number is needed here, an int or a float, got {type(bad).__name__}"):
            attempt()


def test_series_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="of one order, got 1 and 2"):
        Series([1, 2]) + Series([1, 2, 3])
    with pytest.raises(ValueError, match="of one order, got 2 and 1"):
        Series([1, 2, 3]) ** Series([1, 2])
    with pytest.raises(ValueError, match="at least one coefficient"):
        Series([])
    with pytest.raises(ValueError, match="from zero up, got -1"):
        derivatives(lambda u: u, 1, -1)


def test_dual_numbers_and_series_compare_by_value_and_say_what_they_are():
    a, b = Dual(1, 9), Dual(2, -9)
    assert a < b
    assert b >= a
    assert a <= 1
    assert b < 3
    assert max(a, b) is b
    assert (float(a), repr(b)) == (1.0, "Dual(2, -9)")
    s = Series([1.5, 2])
    assert (float(s), repr(s), s < 2) == (1.5, "Series([1.5, 2])", True)
