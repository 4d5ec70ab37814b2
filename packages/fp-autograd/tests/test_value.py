"""Mirrors src/fp_autograd/value.py."""

import itertools
import math
import operator
import subprocess
import sys
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from fp_autograd import dual as table
from fp_autograd.value import Value

u, v, w = sympy.symbols("u v w", real=True)
any_number = st.floats(-3, 3)
away = st.floats(0.1, 3)  # from zero, where division and logarithm end
negative = st.floats(-3, -0.1)

# each operation on values and on symbols, with the numbers it is tried on
OPERATIONS = {
    "u + v": (lambda u, v: u + v, u + v, (any_number, any_number)),
    "u + c": (lambda u: u + 2.5, u + 2.5, (any_number,)),
    "c + u": (lambda u: 2 + u, u + 2, (any_number,)),
    "u - v": (lambda u, v: u - v, u - v, (any_number, any_number)),
    "u - c": (lambda u: u - 2.5, u - 2.5, (any_number,)),
    "c - u": (lambda u: 2 - u, 2 - u, (any_number,)),
    "-u": (lambda u: -u, -u, (any_number,)),
    "u * v": (lambda u, v: u * v, u * v, (any_number, any_number)),
    "u * c": (lambda u: u * -2.5, u * -2.5, (any_number,)),
    "c * u": (lambda u: 3 * u, 3 * u, (any_number,)),
    "u / v": (lambda u, v: u / v, u / v, (any_number, away)),
    "u / -v": (lambda u, v: u / v, u / v, (any_number, negative)),
    "u / c": (lambda u: u / 4, u / 4, (any_number,)),
    "c / u": (lambda u: 3 / u, 3 / u, (negative,)),
    "u ** 3": (lambda u: u**3, u**3, (any_number,)),
    "u ** 2": (lambda u: u**2, u**2, (any_number,)),
    "u ** -2": (lambda u: u**-2, u**-2, (negative,)),
    "u ** 1.5": (lambda u: u**1.5, u ** sympy.Rational(3, 2), (away,)),
    "u ** v": (lambda u, v: u**v, u**v, (away, any_number)),
    "c ** u": (lambda u: 2**u, 2**u, (any_number,)),
    "exp": (lambda u: u.exp(), sympy.exp(u), (any_number,)),
    "log": (lambda u: u.log(), sympy.log(u), (away,)),
    "tanh": (lambda u: u.tanh(), sympy.tanh(u), (any_number,)),
    "sigmoid": (lambda u: u.sigmoid(), 1 / (1 + sympy.exp(-u)), (any_number,)),
    "relu, u > 0": (lambda u: u.relu(), u, (away,)),
    "relu, u < 0": (lambda u: u.relu(), 0 * u, (negative,)),
    "dot": (lambda u, v, w: Value.dot([u, v], [v, 5], w), u * v + 5 * v + w, (any_number, any_number, any_number)),
    "dot with numbers first": (lambda u, v: Value.dot([2, u], [u, 3.5], 7) * v, (5.5 * u + 7) * v, (any_number,) * 2),
}


def leaves(*numbers):
    return [Value(x) for x in numbers]


def descend(f, *numbers):
    """Value and gradient of f."""
    xs = leaves(*numbers)
    y = f(*xs)
    y.backward()
    return y.data, [x.grad for x in xs]


def by_paths(root, leaf):
    """(E3) as it stands: every path listed, its local derivatives multiplied."""
    return float(root is leaf) + math.fsum(slope * by_paths(parent, leaf) for parent, slope in root.edges)


def central(f, numbers, i, h=1e-5):
    up, down = list(numbers), list(numbers)
    up[i] += h
    down[i] -= h
    return (f(*leaves(*up)).data - f(*leaves(*down)).data) / (2 * h)


@pytest.mark.parametrize("name", OPERATIONS)
@given(data=st.data())
def test_every_operation_has_the_value_and_the_slopes_that_algebra_gives_it(name, data):
    f, formula, domains = OPERATIONS[name]
    numbers = [data.draw(domain) for domain in domains]
    at = dict(zip((u, v, w), map(mpmath.mpf, numbers), strict=False))
    y, slopes = descend(f, *numbers)
    # a few roundings, each of 1e-16 of a number that may be 3^3 times as large as the result
    assert y == pytest.approx(float(formula.evalf(40, subs=at)), rel=1e-14, abs=1e-14)
    for symbol, slope in zip(at, slopes, strict=True):
        assert slope == pytest.approx(float(formula.diff(symbol).evalf(40, subs=at)), rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_agrees_with_central_differences(name):
    f, _, domains = OPERATIONS[name]
    signs = [-1 if domain is negative else 1 for domain in domains]
    numbers = [sign * x for sign, x in zip(signs, (0.7, 1.3, 1.9), strict=False)]
    for i, slope in enumerate(descend(f, *numbers)[1]):
        # truncation is h^2 = 1e-10 times a sixth of the third slope, below 150 here; rounding 1e-16 / h = 1e-11
        assert slope == pytest.approx(central(f, numbers, i), abs=3e-9)


def test_an_expression_worked_by_hand():
    # c = a b + a^3 = -6 + 8 = 2, d = c / b = -2/3: dd/db = a/b - c/b^2 = -2/3 - 2/9, dd/da = (b + 3 a^2) / b = -3
    y, (da, db) = descend(lambda a, b: (a * b + a**3) / b, 2, -3)
    assert y == pytest.approx(-2 / 3, rel=1e-15)
    assert [da, db] == pytest.approx([-3, -8 / 9], rel=1e-15)


def test_one_value_in_both_places_has_two_edges():
    x = Value(3)
    for y, slope in [(x + x, 2), (x - x, 0), (x * x, 6), (x / x, 0), (x**x, 27 * (1 + math.log(3)))]:
        x.zero_grad()
        y.backward()
        assert len(y.edges) == 2
        assert x.grad == pytest.approx(slope, rel=1e-15)


def graphs(n_steps):
    """All graphs of two inputs and n steps, each step the product or the sum of any two earlier values."""
    choices = [
        [(op, i, j) for op in (operator.mul, operator.sub) for i in range(k) for j in range(k)]
        for k in range(2, 2 + n_steps)
    ]
    return itertools.product(*choices)


@pytest.mark.claim("autograd.path-sum")
@pytest.mark.claim("autograd.topological")
def test_in_all_graphs_of_three_steps_the_sweep_gives_the_sum_over_paths_and_so_does_algebra():
    for graph in graphs(3):
        xs, symbols = leaves(3, -2), [u, v]
        values = list(xs)
        for op, i, j in graph:
            values.append(op(values[i], values[j]))
        values[-1].backward()
        # whole numbers below 2^53: everything is exact
        assert [x.grad for x in xs] == [by_paths(values[-1], x) for x in xs]
        for middle in set(values[2:]):
            if middle.grad:
                assert middle.grad == by_paths(values[-1], middle)
        if graph[0][0] is operator.mul and graph[2][0] is operator.mul:  # algebra is slow: a quarter of them
            for op, i, j in graph:
                symbols.append(op(symbols[i], symbols[j]))
            polynomial = sympy.Poly(symbols[-1], u, v)
            assert [x.grad for x in xs] == [float(polynomial.diff(s).eval({u: 3, v: -2})) for s in (u, v)]


class Logged(tuple):
    """Local derivatives that say when the sweep reads them."""

    def __iter__(self):
        self.log.append(self.name)
        return super().__iter__()


@pytest.mark.claim("autograd.topological")
def test_in_all_graphs_of_three_steps_every_value_is_visited_once_and_after_its_users():
    for graph in graphs(3):
        values, log = leaves(3, -2), []
        for op, i, j in graph:
            y = op(values[i], values[j])
            y._locals = Logged(y._locals)
            y._locals.log, y._locals.name = log, len(values)
            values.append(y)
        values[-1].backward()
        reached = {4}
        for k in (4, 3):
            if k in reached:
                reached |= set(graph[k - 2][1:])
        assert sorted(log) == sorted(k for k in reached if k >= 2)
        for position, k in enumerate(log):
            assert not set(graph[k - 2][1:]) & set(log[:position])


def test_fifty_doublings_have_more_paths_than_could_be_walked():
    assert descend(lambda x: [x := x + x for _ in range(50)][-1], 1.0)[1] == [2.0**50]


numbers = st.lists(any_number, min_size=1, max_size=7)


@pytest.mark.claim("autograd.fused-dot")
@given(st.data(), numbers)
def test_a_sum_of_products_as_one_value_is_the_same_as_one_step_after_the_other(data, xs):
    ws = data.draw(st.lists(any_number, min_size=len(xs), max_size=len(xs)))

    def fused(*values):
        return Value.dot(values[: len(xs)], values[len(xs) : -1], values[-1]).tanh()

    def stepwise(*values):
        return sum(map(operator.mul, values[: len(xs)], values[len(xs) : -1]), values[-1]).tanh()

    got, expected = descend(fused, *ws, *xs, 0.5), descend(stepwise, *ws, *xs, 0.5)
    # newer Pythons add floats more exactly than one by one: 15 roundings of sums below 64
    assert got[0] == pytest.approx(expected[0], abs=1e-12)
    assert got[1] == pytest.approx(expected[1], abs=1e-12)


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


COSTS = {  # c, l and the number of edges, as in the table of the claim, and how much of c + l is not counted here
    "u + v": (lambda u, v: u + v, 1, 0, 2, 0),
    "u - v": (lambda u, v: u - v, 1, 0, 2, 0),
    "u * v": (lambda u, v: u * v, 1, 0, 2, 0),
    "u + c": (lambda u, v: u + 3, 1, 0, 1, 0),
    "u - c": (lambda u, v: u - 3, 1, 0, 1, 0),
    "c - u": (lambda u, v: 3 - u, 1, 0, 1, 0),
    "c u": (lambda u, v: 3 * u, 1, 0, 1, 0),
    "-u": (lambda u, v: -u, 1, 0, 1, 0),
    "u / v": (lambda u, v: u / v, 1, 3, 2, 0),
    "u / c": (lambda u, v: u / 3, 1, 1, 1, 1),  # 1 / c, of constants
    "c / u": (lambda u, v: 3 / u, 1, 2, 1, 0),
    "u ** c": (lambda u, v: u**3, 1, 3, 1, 1),  # c - 1, of constants
    "u ** v": (lambda u, v: u**v, 1, 5, 2, 0),
    "c ** u": (lambda u, v: 3**u, 1, 5, 1, 0),
    "exp": (lambda u, v: u.exp(), 1, 0, 1, 0),
    "log": (lambda u, v: u.log(), 1, 1, 1, 0),
    "tanh": (lambda u, v: u.tanh(), 1, 7, 1, 0),
    "sigmoid": (lambda u, v: u.sigmoid(), 5, 2, 1, 0),
    "relu": (lambda u, v: u.relu(), 1, 0, 1, 1),  # the comparison
    "dot": (lambda u, v: Value.dot([u] * 5, [v] * 5, u), 10, 0, 11, 0),
}


def operations_of(f, monkeypatch):
    """Operations of f forwards, with its local derivatives, and of the sweep, counted while they are done."""
    xs = leaves(0.0, 0.0)
    for x, number in zip(xs, (1.25, 0.75), strict=True):
        x.data = Counted(number)
    with monkeypatch.context() as patch:
        patch.setattr(table, "math", CountedMath())
        Counted.done = 0
        y = f(*xs)
        forward = Counted.done
        Counted.done = 0
        patch.setattr(table, "number", Counted)
        for value in (*xs, y):
            value.grad = Counted(0.0)
        y._locals = tuple(map(Counted, y._locals))
        y.backward()
    return forward, Counted.done


@pytest.mark.claim("autograd.cheap-gradient-scalar")
@pytest.mark.parametrize("name", COSTS)
def test_each_operation_costs_what_the_table_says(name, monkeypatch, shapes_unchecked):
    f, c, l, edges, unseen = COSTS[name]
    forward, sweep = operations_of(f, monkeypatch)
    assert forward + unseen == c + l
    assert sweep == 2 * edges
    assert c + l + sweep <= 10 * c
    assert sweep <= 4 * c


@pytest.mark.claim("autograd.cheap-gradient-scalar")
@pytest.mark.parametrize("n", [1, 2, 3, 7, 101])
def test_the_share_of_the_sweep_does_not_grow_with_the_number_of_inputs(n, monkeypatch, shapes_unchecked):
    forward, sweep = operations_of(lambda u, v: Value.dot([u] * n, [v] * n, u), monkeypatch)
    assert (forward, sweep) == (2 * n, 4 * n + 2)


def test_inputs_collect_and_values_in_the_middle_begin_anew():
    x = Value(3)
    middle = x * x
    y = middle * 2
    y.backward()
    y.backward()
    assert (x.grad, middle.grad, y.grad) == (24, 2, 1)
    (x * 5).backward()
    assert x.grad == 29
    x.zero_grad()
    assert x.grad == 0


def test_a_value_shared_by_two_roots_hands_on_each_sweep_by_itself():
    x = Value(2)
    shared = x * 3
    (shared * shared).backward()  # d 9 x^2 = 18 x = 36
    (shared + 1).backward()
    assert (x.grad, shared.grad) == (39, 1)


def test_the_seed_scales_and_an_input_is_its_own_gradient():
    x = Value(3)
    (x * x).backward(seed=10)
    assert x.grad == 60
    x.backward(-2)
    assert x.grad == 58


def test_slopes_are_those_of_the_numbers_that_were_there():
    w, x = leaves(2, 5)
    y = w * x
    w.data = 100.0
    y.backward()
    assert (w.grad, x.grad) == (5, 2)


def test_a_freed_graph_is_refused_wherever_it_is_met_and_nothing_changes():
    x = Value(2)
    shared = x * 3
    y = shared * shared
    y.backward(retain_graph=False)
    assert y.edges == shared.edges == ()
    before = x.grad
    for root in (y, shared, y + 1, x * y, (x * 3 + shared).tanh()):
        with pytest.raises(ValueError, match="freed by backward"):
            root.backward()
        assert x.grad == before
    x.backward(retain_graph=False)  # an input has nothing to free
    (x * 1).backward()
    assert x.grad == before + 2


def test_a_sweep_that_was_stopped_leaves_no_trace_in_the_next():
    x = Value(2)
    a = x * 3
    b = a * a
    y = b + a
    b._locals = (6.0,)  # one edge too few: the sweep stops in the middle, as it would at Ctrl-C
    with pytest.raises(ValueError, match="zip"):
        y.backward()
    b._locals = (6.0, 6.0)
    x.zero_grad()
    y.backward()
    assert x.grad == 39


def test_a_chain_of_a_hundred_thousand_steps_needs_no_stack():
    x = Value(1)
    y = x
    for _ in range(100_000):
        y = y + x
    y.backward()
    assert (y.data, x.grad) == (100_001, 100_001)


def test_a_chain_of_a_million_steps_is_built_swept_and_forgotten():
    # in a process of its own: what a stack overflow in the interpreter kills must not be this one
    program = """
from fp_autograd.value import Value
for retain in (True, False):
    x = y = Value(1)
    for _ in range(1_000_000):
        y = y + x
    y.backward(retain_graph=retain)
    print(x.grad)
    del y
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["1000001.0"] * 2


@pytest.mark.parametrize("x", [-1000, 1000])
def test_a_thousand_is_no_danger(x):
    high = x > 0
    assert descend(lambda u: u.sigmoid(), x) == (float(high), [0.0])
    assert descend(lambda u: u.tanh(), x) == (math.copysign(1, x), [0.0])
    assert descend(lambda u: u.relu(), x) == (max(x, 0), [float(high)])
    y, (slope,) = descend(lambda u: u.exp(), x)
    assert y == slope == (math.inf if high else 0.0)
    assert descend(lambda u: (u.exp() + 1) ** -1, x)[0] == (0 if high else 1)


def test_overflow_is_infinite_whatever_the_operation():
    assert (Value(1e200) * Value(1e200)).data == math.inf
    assert (Value(10) ** 400).data == math.inf
    assert (Value(-10) ** 401).data == -math.inf
    assert (Value(-10) ** 400).data == math.inf
    assert (Value(10) ** Value(400)).data == math.inf
    assert Value(math.nextafter(709.782712893384, 0)).exp().data < math.inf
    assert Value(709.79).exp().data == math.inf


def test_powers_at_zero():
    assert descend(lambda u: u**0, 0) == (1, [0])
    assert descend(lambda u: u**1, 0) == (0, [1])
    assert descend(lambda u: u**2, 0) == (0, [0])
    assert descend(lambda u: u**0.5, 0) == (0, [math.inf])


def test_the_rectifier_has_slope_zero_at_zero_and_hides_no_nan():
    assert descend(lambda u: u.relu(), 0.0) == (0, [0])
    assert math.isnan(Value(math.nan).relu().data)


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda: Value(0).log(), ValueError, "log needs a positive number, got 0.0"),
        (lambda: Value(-1).log(), ValueError, "log needs a positive number, got -1.0"),
        (lambda: Value(1) / Value(0), ZeroDivisionError, "divisor must not be zero, got 1.0 / 0.0"),
        (lambda: Value(1) / 0, ZeroDivisionError, "divisor must not be zero"),
        (lambda: 1 / Value(0), ZeroDivisionError, "divisor must not be zero"),
        (lambda: Value(0) ** -1, ZeroDivisionError, "zero has no negative power"),
        (lambda: Value(-8) ** (1 / 3), ValueError, "negative base needs a whole exponent, got -8.0"),
        (lambda: Value(-2) ** Value(2), ValueError, "variable exponent needs a positive base, got -2.0"),
        (lambda: (-2) ** Value(2), ValueError, "variable exponent needs a positive base"),
        (lambda: Value.dot([1, 2], [Value(1)]), ValueError, "as many factors on both sides, got 2 and 1"),
    ],
)
def test_where_there_is_no_value_there_is_a_sentence(f, error, message):
    with pytest.raises(error, match=message):
        f()


@pytest.mark.parametrize("bad", [True, np.True_, np.ones(3), np.array(1.0), "3", None, 1j, [1.0]])
def test_what_is_no_number_is_refused(bad, shapes_unchecked):
    x = Value(2)
    attempts = [
        lambda: Value(bad),
        lambda: x + bad,
        lambda: bad + x,
        lambda: x - bad,
        lambda: bad - x,
        lambda: x * bad,
        lambda: bad * x,
        lambda: x / bad,
        lambda: bad / x,
        lambda: x**bad,
        lambda: bad**x,
        lambda: Value.dot([x], [bad]),
        lambda: x.backward(seed=bad),
        lambda: x < bad,
    ]
    for attempt in attempts:
        with pytest.raises(TypeError, match=rf"a number is needed here, an int or a float, got {type(bad).__name__}"):
            attempt()
    assert x.grad == 0


@pytest.mark.parametrize("three", [3, 3.0, np.float64(3), np.float32(3), np.int64(3), Fraction(3)])
def test_every_real_number_becomes_a_float(three, shapes_unchecked):
    x = Value(three)
    assert type(x.data) is float
    for y in (x + three, three + x, x * three, three * x, x**three / 4.5, (three**x) / 4.5):
        assert type(y) is Value
        assert type(y.data) is float
    assert [float(y) for y in (x + three, x - three, three - x, x * three, three / x)] == [6, 0, 0, 9, 1]


def test_values_compare_by_size_and_are_equal_by_identity():
    a, b = leaves(1, 2)
    assert a < b
    assert a <= b
    assert b > a
    assert b >= a
    assert a < 2
    assert 1 <= a <= 1
    assert not a > 1
    assert max(a, b) is b
    assert a == a
    assert a != Value(1)
    assert len({a, b, Value(1)}) == 3


def test_a_value_says_what_it_is_and_how_it_was_made():
    x = Value(2)
    assert (repr(x), float(x), x.op, x.edges) == ("Value(2, grad=0)", 2.0, "", ())
    made = [x + x, x + 3, 3 - x, x - 3, -x, x * 0.5, x / 4, 4 / x, x**2, 2**x, x**x, x.tanh(), Value.dot([x], [x])]
    assert [y.op for y in made] == [
        *("+", "+ 3", "3 -", "- 3", "-", "* 0.5", "/ 4", "4 /", "** 2", "2 **", "**", "tanh", "dot")
    ]
    y = x * 3
    assert [(parent is x, slope) for parent, slope in y.edges] == [(True, 3.0)]
    with pytest.raises(AttributeError):
        x.gradient = 3  # a name that does not exist is no silent new one
