"""Mirrors src/fp_autograd/rules.py."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import rules
from fp_autograd.functional import grad, hvp, jvp, vjp
from fp_autograd.rules import (
    RULES,
    absolute,
    broadcast_to,
    clip,
    concatenate,
    cos,
    cumsum,
    exp,
    expm1,
    log,
    log1p,
    log_softmax,
    logsumexp,
    matmul,
    maximum,
    minimum,
    relu,
    scatter,
    scatter_into,
    sigmoid,
    sin,
    softmax,
    softplus,
    sqrt,
    stack,
    tanh,
    unbroadcast,
    where,
)
from fp_autograd.tensor import Mode, Tensor
from fp_autograd.tracing import apply

RNG = np.random.default_rng(20)


def normal(*shape):
    return RNG.normal(size=shape)


def positive(*shape):
    return RNG.uniform(0.5, 2.0, shape)


@dataclass(frozen=True)
class Case:
    rule: str
    name: str
    f: Any
    args: tuple[np.ndarray, ...]


CASES = []


def case(rule, f, *args, name=None):
    shapes = " ".join("x".join(map(str, a.shape)) or "0d" for a in args)
    CASES.append(Case(rule, f"{rule}-{name or ''}[{shapes}]", f, args))


SHAPES = [  # both ways of broadcasting, new axes, axes of length one, single numbers
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((2, 1, 3), (5, 1)),
    ((), (2, 3)),
    ((1,), ()),
    ((), ()),
    ((1, 1, 2), (2,)),
]
BINARY = {
    "add": (lambda x, y: x + y, normal, normal),
    "subtract": (lambda x, y: x - y, normal, normal),
    "multiply": (lambda x, y: x * y, normal, normal),
    "divide": (lambda x, y: x / y, normal, positive),
    "power": (lambda x, y: x**y, positive, normal),
    "maximum": (maximum, normal, normal),
    "minimum": (minimum, normal, normal),
}
for rule, (f, first, second) in BINARY.items():
    for a, b in SHAPES:
        case(rule, f, first(*a), second(*b))
    case(rule, lambda x, f=f: f(x, 1.5), first(2, 3), name="number on the right")
    case(rule, lambda y, f=f: f(1.5, y), second(2, 3), name="number on the left")
    case(rule, lambda x, f=f: f(x, x), positive(2, 3), name="twice the same")
for n in (-2, -1, 0, 1, 2, 3, 4):
    case("power", lambda x, n=n: x**n, -positive(2, 3), name=f"whole exponent {n}")
case("power", lambda x: x ** np.array([0, 1, 2]), normal(2, 3), name="whole exponents")
case("power", lambda x: x ** np.array([0.0, 1.0, 3.0]), normal(2, 3), name="whole exponents as floats")

UNARY = {
    "negative": (lambda x: -x, normal),
    "exp": (exp, normal),
    "expm1": (expm1, normal),
    "log": (log, positive),
    "log1p": (log1p, positive),
    "sqrt": (sqrt, positive),
    "sin": (sin, normal),
    "cos": (cos, normal),
    "tanh": (tanh, normal),
    "sigmoid": (sigmoid, normal),
    "softplus": (softplus, normal),
    "relu": (relu, normal),
    "absolute": (absolute, normal),
}
for rule, (f, numbers) in UNARY.items():
    case(rule, f, numbers(2, 3))
    case(rule, f, numbers())

CONDITION = np.array([[True, False, True], [False, False, True]])
case("where", lambda x, y: where(CONDITION, x, y), normal(2, 3), normal(2, 3))
case("where", lambda x, y: where(CONDITION, x, y), normal(3), normal(2, 1))
case("where", lambda x, y: where(CONDITION, x, y), normal(), normal(5, 1, 1))
case("where", lambda x: where(CONDITION, x, 1.0), normal(2, 3), name="number")
case("where", lambda y: where(CONDITION, 1.0, y), normal(2, 3), name="number")
case("where", lambda x: where(x > 0, x * x, -x), normal(2, 3), name="condition from x")

AXES = [
    (None, (2, 3)),
    (0, (2, 3)),
    (-1, (2, 3)),
    ((0, 2), (2, 3, 5)),
    ((-1, 0), (2, 3, 2)),
    (1, (2, 3, 5)),
    ((), (2,)),
]
REDUCTIONS = {
    "sum": lambda x, axis, keepdims: x.sum(axis=axis, keepdims=keepdims),
    "mean": lambda x, axis, keepdims: x.mean(axis=axis, keepdims=keepdims),
    "max": lambda x, axis, keepdims: x.max(axis=axis, keepdims=keepdims),
    "min": lambda x, axis, keepdims: x.min(axis=axis, keepdims=keepdims),
    "logsumexp": logsumexp,
}
for rule, f in REDUCTIONS.items():
    for (axis, shape), keepdims in itertools.product(AXES, (False, True)):
        case(
            rule,
            lambda x, f=f, axis=axis, keepdims=keepdims: f(x, axis=axis, keepdims=keepdims),
            normal(*shape),
            name=f"{axis} {keepdims}",
        )
    case(rule, lambda x, f=f: f(x, axis=None, keepdims=False), normal(), name="a single number")
for rule, f in {"softmax": softmax, "log_softmax": log_softmax}.items():
    for axis, shape in AXES[:-1]:
        case(rule, lambda x, f=f, axis=axis: f(x, axis=axis), normal(*shape), name=f"{axis}")
for axis in (0, 1, -1):
    case("cumsum", lambda x, axis=axis: cumsum(x, axis), normal(2, 3, 2), name=f"{axis}")

for a, b in [
    ((2, 3), (3, 5)),
    ((3,), (3, 5)),
    ((2, 3), (3,)),
    ((3,), (3,)),
    ((2, 3, 2), (2, 2, 3)),
    ((2, 3, 5), (5, 2)),
    ((2, 3), (2, 3, 2)),
    ((2, 1, 3, 2), (3, 2, 1)),
    ((1, 2, 3), (2, 3, 2)),
    ((2, 3, 2), (2,)),
    ((2,), (3, 2, 5)),
    ((1, 1, 2, 3), (3, 2)),
]:
    case("matmul", matmul, normal(*a), normal(*b))
    case("matmul", lambda x, y: x @ y, normal(*a), normal(*b), name="operator")

case("broadcast_to", lambda x: broadcast_to(x, (5, 2, 3)), normal(2, 1))
case("broadcast_to", lambda x: broadcast_to(x, (2, 3)), normal())
case("reshape", lambda x: x.reshape((3, 2)), normal(2, 3))
case("reshape", lambda x: x.reshape((-1,)), normal(2, 3), name="-1")
case("reshape", lambda x: x.reshape((1, 1)), normal())
for axes in itertools.permutations(range(3)):
    case("transpose", lambda x, axes=axes: x.transpose(axes), normal(2, 3, 5), name=str(axes))
case("transpose", lambda x: x.transpose((-1, 0, 1)), normal(2, 3, 5), name="from the end")
case("transpose", lambda x: x.T, normal(2, 3), name="T")
case("transpose", lambda x: x.swapaxes(0, -1), normal(2, 3, 5), name="swapaxes")

INDICES = [
    1,
    -1,
    np.int64(1),
    slice(None, None, -1),
    slice(0, 2),
    None,
    Ellipsis,
    (..., 1),
    (0, 2),
    (slice(None), None, slice(1, None)),
    [2, 0, 2],
    np.array([[0, 1], [1, 1]]),
    (np.array([0, 2, 0]), np.array([4, 1, 4])),
    (slice(None), np.array([1, 1, 3])),
    (np.array([1, 1]), None, 2),
    np.arange(15).reshape(3, 5) % 2 == 0,
    np.array([True, False, True]),
    (np.array([True, False, True]), 2),
    (slice(None), np.array([True, False, True, True, False])),
    (np.array([True, False, True]), np.array([1, 1])),
    (np.array([False, True, False]), np.array([3, 3])),
    (),
    slice(3, 3),
]
for i, index in enumerate(INDICES):
    case("index", lambda x, index=index: x[index], normal(3, 5), name=str(i))
    read = np.zeros((3, 5))[index].shape
    case("scatter", lambda g, index=index: scatter(g, index, (3, 5)), normal(*read), name=str(i))
case("index", lambda x: x[None, ...], normal(), name="a single number")
for axis in (0, 1, -1):
    case(
        "concatenate", lambda x, y, axis=axis: concatenate([x, y, x], axis), normal(2, 3), normal(2, 3), name=f"{axis}"
    )
    case("concatenate", lambda x, y, axis=axis: stack([x, y], axis), normal(2, 3), normal(2, 3), name=f"stack {axis}")
case(
    "concatenate",
    lambda x, y: concatenate([x, np.ones((2, 2), np.float32), y], 1),
    normal(2, 3),
    normal(2, 1),
    name="uneven",
)
case("concatenate", lambda x: concatenate(x), normal(2, 3), name="rows")
case("maximum", lambda x: clip(x, -0.5, 0.5), normal(2, 3), name="clip")
case("minimum", lambda x: clip(x, -0.5, 0.5), normal(2, 3), name="clip")

each_case = pytest.mark.parametrize("one", CASES, ids=[c.name for c in CASES])


def packed(one):
    """The case as a function of a single array, and that array."""
    if len(one.args) == 1:
        return one.f, one.args[0]
    ends = np.cumsum([a.size for a in one.args])
    vector = np.concatenate([a.ravel() for a in one.args])

    def f(v):
        return one.f(*(v[end - a.size : end].reshape(a.shape) for a, end in zip(one.args, ends, strict=True)))

    return f, vector


def difference(f, x, t, step=1e-5):
    """By a central difference: off by third slopes, up to about 100 here, times 1e-10 / 6, and by 1e-16 / 1e-5."""
    return (np.asarray(f(x + step * t)) - np.asarray(f(x - step * t))) / (2 * step)


def basis(x):
    return np.eye(x.size).reshape(x.size, *x.shape)


def jacobians(f, x):
    """Column by column by differences and forward mode, row by row by reverse mode."""
    out, pull_back = vjp(f, x)
    columns = [(difference(f, x, t).ravel(), jvp(f, (x,), (t,))[1].ravel()) for t in basis(x)]
    rows = [pull_back(g)[0] for g in basis(out)]
    by_difference = np.array([c[0] for c in columns]).T.reshape(out.size, x.size)
    forward = np.array([c[1] for c in columns]).T.reshape(out.size, x.size)
    return by_difference, forward, np.array(rows).reshape(out.size, x.size)


def test_every_rule_of_the_table_has_cases_and_every_case_uses_its_rule():
    assert {c.rule for c in CASES} == {name for name in RULES if "." not in name}  # those of this package
    for one in CASES:
        used = set()
        Mode.made = lambda out, rule, operands, used=used: used.add(rule.name)
        try:
            one.f(*(Tensor(a, requires_grad=True) for a in one.args))
        finally:
            Mode.made = None
        assert one.rule in used, one.name


def test_every_operation_that_is_exported_exists_and_every_function_of_the_table_is_exported():
    assert all(hasattr(rules, name) for name in rules.__all__)
    for name in RULES:
        assert not hasattr(rules, name) or name in rules.__all__


@each_case
def test_both_directions_are_the_whole_jacobian(one):
    f, x = packed(one)
    by_difference, forward, reverse = jacobians(f, x)
    np.testing.assert_allclose(forward, by_difference, rtol=0, atol=3e-8)  # see difference
    np.testing.assert_allclose(reverse, forward, rtol=1e-13, atol=1e-14)  # a few roundings


@each_case
def test_forward_and_reverse_are_transposes_of_each_other(one):
    rng = np.random.default_rng(5)
    out, pull_back = vjp(one.f, *one.args)
    g = rng.normal(size=out.shape)
    tangents = tuple(rng.normal(size=a.shape) for a in one.args)
    value, moved = jvp(one.f, one.args, tangents)
    np.testing.assert_array_equal(value, out)
    assert moved.shape == out.shape
    back = pull_back(g)
    assert [b.shape for b in back] == [a.shape for a in one.args]
    left, right = (g * moved).sum(), sum((b * t).sum() for b, t in zip(back, tangents, strict=True))
    scale = np.abs(g * moved).sum() + 1e-300
    assert abs(left - right) <= 1e-13 * scale + 1e-14  # roundings of the at most 60 products


@pytest.mark.parametrize("one", [c for c in CASES if len(c.args) > 1], ids=lambda c: c.name)
def test_one_operand_alone_while_the_others_are_constants(one):
    rng = np.random.default_rng(11)
    for i, x in enumerate(one.args):

        def alone(x, i=i):
            return one.f(*one.args[:i], x, *one.args[i + 1 :])

        t = rng.normal(size=x.shape)
        value, moved = jvp(alone, (x,), (t,))
        assert moved.shape == value.shape
        np.testing.assert_allclose(moved, difference(alone, x, t), rtol=0, atol=3e-8)  # see difference
        g = rng.normal(size=value.shape)
        np.testing.assert_allclose(
            (vjp(alone, x)[1](g)[0] * t).sum(), (g * moved).sum(), rtol=1e-12, atol=1e-13
        )  # roundings of the at most 60 products


@each_case
def test_second_order_in_all_four_combinations(one):
    f, x = packed(one)
    rng = np.random.default_rng(7)
    weights = rng.normal(size=np.shape(f(x)))
    v = rng.normal(size=x.shape)

    def s(x):  # bends also where the rule is linear, and sends back cotangents that depend on x
        return (weights * sin(f(x))).sum()

    def along(x):
        return jvp(s, (x,), (v,))[1]

    expected = difference(grad(s), x, v)
    # 1e-7: see difference, with the fourth slopes of these functions up to 1000 and directions of length up to 5
    for ours in (hvp(s)(x, v), grad(lambda x: (grad(s)(x) * v).sum())(x), grad(along)(x)):
        np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-7)
    twice = jvp(along, (x,), (v,))[1]
    assert float(twice) == pytest.approx(float((expected * v).sum()), rel=1e-6, abs=1e-6)  # as above, summed


# an array of exponents in double precision makes the power one, in NumPy and here
@pytest.mark.parametrize("one", [c for c in CASES if "whole exponents" not in c.name], ids=lambda c: c.name)
def test_single_precision_stays_single_precision(one):
    args = tuple(a.astype(np.float32) for a in one.args)
    rng = np.random.default_rng(3)
    tangents = tuple(rng.normal(size=a.shape).astype(np.float32) for a in args)
    out, pull_back = vjp(one.f, *args)
    assert out.dtype == np.float32
    assert [b.dtype for b in pull_back(np.ones_like(out))] == [np.float32] * len(args)
    assert jvp(one.f, args, tangents)[1].dtype == np.float32
    raw = []  # what the rules return, before anything could convert it
    Mode.returned = lambda node, rule, i, g: raw.append((rule.name, i, g.dtype))
    try:
        tensors = [Tensor(a, requires_grad=True) for a in args]
        one.f(*tensors).sum().backward()
    finally:
        Mode.returned = None
    assert {r for r in raw if r[2] != np.float32} == set()

    def s(args):
        return (one.f(*args) * one.f(*args)).sum()

    assert [a.dtype for a in hvp(s)(list(args), list(tangents))] == [np.float32] * len(args)


# --- claims


x_, y_ = sympy.symbols("x y", positive=True)
SYMBOLIC = {
    "negative": -x_,
    "exp": sympy.exp(x_),
    "expm1": sympy.exp(x_) - 1,
    "log": sympy.log(x_),
    "log1p": sympy.log(1 + x_),
    "sqrt": sympy.sqrt(x_),
    "sin": sympy.sin(x_),
    "cos": sympy.cos(x_),
    "tanh": sympy.tanh(x_),
    "sigmoid": 1 / (1 + sympy.exp(-x_)),
    "softplus": sympy.log(1 + sympy.exp(x_)),
}
SYMBOLIC_PAIRS = {"add": x_ + y_, "subtract": x_ - y_, "multiply": x_ * y_, "divide": x_ / y_, "power": x_**y_}


@pytest.mark.claim("autograd.elementwise-rule")
@pytest.mark.parametrize("name", SYMBOLIC)
def test_a_function_number_by_number_has_the_slopes_on_the_diagonal_both_ways(name):
    x = np.array([0.3, 1.0, 2.7])
    rule = RULES[name]
    out = rule.forward(x)
    np.testing.assert_allclose(out, [float(SYMBOLIC[name].subs(x_, v)) for v in x], rtol=1e-14)
    slopes = np.array([float(SYMBOLIC[name].diff(x_).subs(x_, v)) for v in x])
    for d in (rule.vjp(0), rule.jvp(0)):
        columns = np.array([d(e, out, x) for e in np.eye(3)]).T
        np.testing.assert_allclose(columns, np.diag(slopes), rtol=1e-14, atol=1e-15)  # a few roundings


@pytest.mark.claim("autograd.elementwise-rule")
@pytest.mark.parametrize("name", SYMBOLIC_PAIRS)
def test_a_function_of_two_number_by_number_has_the_partial_slopes_on_the_diagonals(name):
    x, y = np.array([0.3, 1.0, 2.7]), np.array([1.3, 0.5, 2.0])
    rule = RULES[name]
    out = rule.forward(x, y)
    for i, variable in enumerate((x_, y_)):
        slope = SYMBOLIC_PAIRS[name].diff(variable)
        expected = np.diag([float(slope.subs({x_: a, y_: b})) for a, b in zip(x, y, strict=True)])
        for d in (rule.vjp(i), rule.jvp(i)):
            columns = np.array([d(e, out, x, y) for e in np.eye(3)]).T
            np.testing.assert_allclose(columns, expected, rtol=1e-14)  # a few roundings


@pytest.mark.claim("autograd.sine-slope")
def test_the_slopes_of_sine_and_cosine():
    h = sympy.symbols("h")
    for at in (sympy.Rational(7, 5), sympy.Integer(0), sympy.Rational(-3)):
        for f, slope in ((sympy.sin, sympy.cos(at)), (sympy.cos, -sympy.sin(at))):
            assert sympy.simplify(sympy.limit((f(at + h) - f(at)) / h, h, 0) - slope) == 0
    small = np.linspace(1e-4, 1.57, 1001)  # the three areas
    assert np.all(np.cos(small) < np.sin(small) / small)
    assert np.all(np.sin(small) / small < 1)


def read_map(f, shape):
    """For an operation that copies: which entry of x each entry of the result is, in flat numbers."""
    return np.asarray(f(np.arange(np.prod(shape, dtype=int)).reshape(shape)))


def added_up(p, g, size):
    """(E2) by its definition."""
    out = np.zeros(size)
    for i, one in zip(p.ravel(), g.ravel(), strict=True):
        out[i] += one
    return out


@pytest.mark.claim("autograd.copy-rule")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_all_ways_to_copy_up_to_three_entries(n):
    rng = np.random.default_rng(n)
    for k in (1, 2, 3):
        for p in itertools.product(range(n), repeat=k):
            x, t, g = rng.normal(size=n), rng.normal(size=n), rng.normal(size=k)
            copy = lambda v, p=p: v[np.array(p)]  # noqa: E731
            np.testing.assert_array_equal(jvp(copy, (x,), (t,))[1], [t[i] for i in p])
            np.testing.assert_array_equal(vjp(copy, x)[1](g)[0], added_up(np.array(p), g, n))


@pytest.mark.claim("autograd.broadcast-rule")
def test_the_transpose_of_repeating_sums_for_all_shapes_that_broadcast():
    rng = np.random.default_rng(2)
    target = (2, 3, 5)
    shapes = [s for n in range(4) for s in itertools.product(*((1, d) for d in target[3 - n :]))]
    assert len(shapes) == 1 + 2 + 4 + 8
    g, y = rng.normal(size=target), rng.normal(size=target)
    for shape in shapes:
        p = read_map(lambda v: np.broadcast_to(v, target), shape)
        expected = added_up(p, g, int(np.prod(shape))).reshape(shape)
        np.testing.assert_allclose(unbroadcast(g, np.empty(shape)), expected, rtol=1e-13)  # order of summation
        x = rng.normal(size=shape)
        sums = added_up(p, g * y, int(np.prod(shape))).reshape(shape)
        np.testing.assert_allclose(vjp(lambda x: x * y, x)[1](g)[0], sums, rtol=1e-13, atol=1e-14)
        t = rng.normal(size=shape)
        np.testing.assert_array_equal(jvp(lambda x: x * y, (x,), (t,))[1], np.broadcast_to(t, target) * y)


@pytest.mark.claim("autograd.permutation-rule")
@pytest.mark.parametrize(
    "f",
    [lambda x, a=a: x.transpose(a) for a in itertools.permutations(range(3))]
    + [lambda x: x.transpose((-1, 0, -2)), lambda x: x.reshape((5, 6)), lambda x: x.reshape((3, 5, 2))],
)
def test_a_permutation_is_undone_by_its_transpose(f):
    x = np.random.default_rng(1).normal(size=(2, 3, 5))
    out, pull_back = vjp(f, x)
    np.testing.assert_array_equal(pull_back(out)[0], x)
    np.testing.assert_array_equal(jvp(f, (x,), (pull_back(out)[0],))[1], out)
    np.testing.assert_array_equal(np.sort(out.ravel()), np.sort(x.ravel()))


@pytest.mark.claim("autograd.index-rule")
@pytest.mark.parametrize("index", INDICES)
def test_indexing_goes_back_by_adding_each_cotangent_where_its_entry_was_read(index):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(3, 5))
    p = read_map(lambda v: v[index], (3, 5))
    g = rng.normal(size=p.shape)
    expected = added_up(p, g, 15).reshape(3, 5)
    np.testing.assert_allclose(vjp(lambda x: x[index], x)[1](g)[0], expected, rtol=1e-15)
    np.testing.assert_allclose(scatter(g, index, (3, 5)), expected, rtol=1e-15)
    into = x.copy()
    scatter_into(into, g, index)
    np.testing.assert_allclose(into, x + expected, rtol=1e-14)  # added in another order
    t = rng.normal(size=p.shape)
    np.testing.assert_array_equal(jvp(lambda g: scatter(g, index, (3, 5)), (g,), (t,))[1], scatter(t, index, (3, 5)))
    np.testing.assert_array_equal(vjp(lambda g: scatter(g, index, (3, 5)), g)[1](x)[0], x[index])


def test_a_row_that_is_read_twice_gets_both_cotangents():
    table = Tensor(np.zeros((3, 2)), requires_grad=True)
    rows = table[np.array([1, 2, 1])]
    rows.backward(np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]))
    np.testing.assert_array_equal(table.grad, [[0.0, 0.0], [101.0, 202.0], [10.0, 20.0]])


@pytest.mark.claim("autograd.concatenate-rule")
@pytest.mark.parametrize("axis", [0, 1, -1, -3])
def test_joined_parts_are_placed_among_zeros_and_cut_out_again(axis):
    rng = np.random.default_rng(6)
    shapes = [(2, 3, 5), (2, 3, 5), (2, 3, 5)]
    for i, n in enumerate((2, 1, 3)):
        shapes[i] = tuple(n if a == axis % 3 else d for a, d in enumerate((2, 3, 5)))
    parts = [rng.normal(size=s) for s in shapes]
    out, pull_back = vjp(lambda *parts: concatenate(parts, axis), *parts)
    np.testing.assert_array_equal(out, np.concatenate(parts, axis))
    g = rng.normal(size=out.shape)
    for back, expected in zip(pull_back(g), np.split(g, [2, 3], axis), strict=True):
        np.testing.assert_array_equal(back, expected)
    for i, part in enumerate(parts):
        t = rng.normal(size=part.shape)
        moved = jvp(lambda x, i=i: concatenate([*parts[:i], x, *parts[i + 1 :]], axis), (part,), (t,))[1]
        zeros = [np.zeros(p.shape) for p in parts]
        np.testing.assert_array_equal(moved, np.concatenate([*zeros[:i], t, *zeros[i + 1 :]], axis))


@pytest.mark.claim("autograd.where-rule")
def test_where_sends_each_cotangent_to_the_one_that_was_chosen():
    for bits in itertools.product((False, True), repeat=3):
        c = np.array(bits)
        x, y, g = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0]), np.array([5.0, 7.0, 11.0])
        out, pull_back = vjp(lambda x, y, c=c: where(c, x, y), x, y)
        np.testing.assert_array_equal(out, [a if b else d for a, b, d in zip(x, bits, y, strict=True)])
        dx, dy = pull_back(g)
        np.testing.assert_array_equal(dx, [a if b else 0.0 for a, b in zip(g, bits, strict=True)])
        np.testing.assert_array_equal(dy, [0.0 if b else a for a, b in zip(g, bits, strict=True)])
        moved = jvp(lambda x, y, c=c: where(c, x, y), (x, y), (g, -g))[1]
        np.testing.assert_array_equal(moved, [a if b else -a for a, b in zip(g, bits, strict=True)])


def test_a_condition_may_be_a_box_and_is_a_constant():
    x = np.array([0.0, 2.0])
    np.testing.assert_array_equal(grad(lambda x: where(x, 3.0 * x, 0.0).sum())(x), [0.0, 3.0])
    np.testing.assert_array_equal(where(Tensor(np.array([True, False])), x, 1.0), [0.0, 1.0])


@pytest.mark.claim("autograd.sum-rule")
@pytest.mark.parametrize(("axis", "shape"), AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_sum_goes_back_by_repeating_and_a_mean_divides(axis, shape, keepdims):
    rng = np.random.default_rng(8)
    x, t = rng.normal(size=shape), rng.normal(size=shape)
    out, pull_back = vjp(lambda x: x.sum(axis=axis, keepdims=keepdims), x)
    g = rng.normal(size=out.shape)
    kept = g.reshape(np.sum(x, axis=axis, keepdims=True).shape)
    repeated = np.zeros(shape)
    for at in np.ndindex(shape):
        repeated[at] = kept[tuple(min(i, n - 1) for i, n in zip(at, kept.shape, strict=True))]
    np.testing.assert_array_equal(pull_back(g)[0], repeated)
    moved = jvp(lambda x: x.sum(axis=axis, keepdims=keepdims), (x,), (t,))[1]
    np.testing.assert_array_equal(moved, t.sum(axis=axis, keepdims=keepdims))
    n = x.size / out.size
    mean = vjp(lambda x: x.mean(axis=axis, keepdims=keepdims), x)[1](g)[0]
    np.testing.assert_allclose(mean, repeated / n, rtol=1e-15)
    moved = jvp(lambda x: x.mean(axis=axis, keepdims=keepdims), (x,), (t,))[1]
    np.testing.assert_allclose(moved, t.sum(axis=axis, keepdims=keepdims) / n, rtol=1e-14)  # rounded twice


@pytest.mark.claim("autograd.cumsum-rule")
def test_running_sums_go_back_as_running_sums_from_the_end():
    lower = np.tril(np.ones((5, 5)))
    x = np.arange(5.0)
    np.testing.assert_array_equal(cumsum(x), lower @ x)
    pull_back = vjp(cumsum, x)[1]
    for i in range(5):
        e = np.eye(5)[i]
        np.testing.assert_array_equal(pull_back(e)[0], lower.T @ e)
        np.testing.assert_array_equal(jvp(cumsum, (x,), (e,))[1], lower @ e)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ids", [np.uint8, np.int64])
@pytest.mark.parametrize(
    ("shape", "n"),
    [((7, 3), (50,)), ((7, 3), (4, 5)), ((5, 2, 3), (30,)), ((3, 0), (4,)), ((3, 2), (0,)), ((2, 70000), (3,))],
)
def test_rows_are_added_up_as_numpy_adds_them(dtype, ids, shape, n):
    rng = np.random.default_rng(0)
    index = rng.integers(0, shape[0], n).astype(ids)
    if ids == np.int64:
        index[index == 1] -= shape[0]  # counted from the end
    g = rng.normal(size=(*n, *shape[1:])).astype(dtype)
    ours, theirs = np.ones((2, *shape), dtype)
    scatter_into(ours, g, index)
    np.add.at(theirs, index, g)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.claim("autograd.matmul-rule")
def test_the_cotangents_of_a_product_entry_by_entry():
    rng = np.random.default_rng(9)
    x, y, g = rng.normal(size=(2, 3)), rng.normal(size=(3, 5)), rng.normal(size=(2, 5))
    dx, dy = vjp(matmul, x, y)[1](g)
    tx, ty = rng.normal(size=(2, 3)), rng.normal(size=(3, 5))
    for i, k in np.ndindex(2, 3):  # z_ij = sum_k x_ik y_kj
        assert dx[i, k] == pytest.approx(sum(g[i, j] * y[k, j] for j in range(5)), rel=1e-13)
    for k, j in np.ndindex(3, 5):
        assert dy[k, j] == pytest.approx(sum(g[i, j] * x[i, k] for i in range(2)), rel=1e-13)
    moved = jvp(matmul, (x, y), (tx, ty))[1]
    for i, j in np.ndindex(2, 5):
        expected = sum(tx[i, k] * y[k, j] + x[i, k] * ty[k, j] for k in range(3))
        assert moved[i, j] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rows", [8 * 4096 - 1, 8 * 4096, 9 * 4096 + 7])
def test_a_product_over_many_rows_is_the_same_in_blocks(rows):
    rng = np.random.default_rng(rows)
    x, g = rng.normal(size=(rows, 3)), rng.normal(size=rows)
    dy = vjp(matmul, x, np.zeros(3))[1](g)[1]
    # sums of n terms about 1, in another order: roundings of 2^-53 n in all at most
    np.testing.assert_allclose(dy, np.einsum("ri,r->i", x, g), atol=1e-11)


@pytest.mark.claim("autograd.matmul-rule")
def test_a_shared_factor_sums_over_the_batch_in_a_single_product():
    rng = np.random.default_rng(10)
    x, y, g = rng.normal(size=(7, 2, 3)), rng.normal(size=(3, 5)), rng.normal(size=(7, 2, 5))
    dx, dy = vjp(matmul, x, y)[1](g)
    one_by_one = sum(a.T @ b for a, b in zip(x, g, strict=True))
    np.testing.assert_allclose(dy, one_by_one, rtol=1e-13, atol=1e-14)  # order of summation
    np.testing.assert_allclose(dy, x.reshape(14, 3).T @ g.reshape(14, 5), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(dx, np.stack([b @ y.T for b in g]), rtol=1e-13, atol=1e-14)


@pytest.mark.claim("autograd.max-rule")
def test_the_shares_of_a_maximum_are_a_subgradient_and_so_is_no_other_kind_of_vector():
    everywhere = np.array(list(itertools.product(np.arange(-1.0, 4.0), repeat=3)))
    near = np.array(list(itertools.product((-0.25, 0.0, 0.25), repeat=3)))
    candidates = [np.array(w) for w in itertools.product((-0.5, 0.0, 0.5, 1.0, 1.5), repeat=3)]
    for x in map(np.array, itertools.product((0.0, 1.0, 2.0), repeat=3)):
        probes = np.concatenate([everywhere, x + near])

        def is_subgradient(w, x=x, probes=probes):
            return bool(np.all(probes.max(axis=1) >= x.max() + (probes - x) @ w - 1e-12))  # roundings of numbers near 5

        w = grad(lambda x: x.max())(x)
        ties = x == x.max()
        np.testing.assert_array_equal(w, ties / ties.sum())
        assert is_subgradient(w)
        for other in candidates:
            described = bool(np.all(other >= 0) and other.sum() == 1 and np.all(other[~ties] == 0))
            assert is_subgradient(other) == described
        np.testing.assert_array_equal(grad(lambda x: -(-x).min())(x), w)
        t = np.array([1.0, 10.0, 100.0])
        assert float(jvp(lambda x: x.max(), (x,), (t,))[1]) == pytest.approx(w @ t, rel=1e-15)


@pytest.mark.claim("autograd.max-rule")
def test_two_that_are_equal_get_a_half_each():
    x = np.array([1.0, 2.0, 2.0])
    y = np.array([2.0, 1.0, 2.0])
    for f, shares in ((maximum, [0.0, 1.0, 0.5]), (minimum, [1.0, 0.0, 0.5])):
        dx, dy = vjp(f, x, y)[1](np.ones(3))
        np.testing.assert_array_equal(dx, shares)
        np.testing.assert_array_equal(dy, 1 - np.array(shares))
        np.testing.assert_array_equal(jvp(f, (x, y), (np.ones(3), np.zeros(3)))[1], shares)
        np.testing.assert_array_equal(jvp(f, (x, y), (np.zeros(3), np.ones(3)))[1], 1 - np.array(shares))
        assert vjp(f, x.astype(np.float32), y.astype(np.float32))[1](np.ones(3, np.float32))[0].dtype == np.float32


def test_ties_along_an_axis_share_within_their_row():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    shares = [[0.0, 1 / 2, 1 / 2], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_array_equal(grad(lambda x: x.max(axis=1).sum())(x), shares)
    np.testing.assert_array_equal(grad(lambda x: x.min(axis=1).sum())(-x), shares)


def test_the_kinks_of_relu_the_absolute_value_and_clip():
    x = np.array([-1.0, 0.0, 1.0])
    for f, slopes in ((relu, [0, 0, 1]), (absolute, [-1, 0, 1]), (lambda x: clip(x, -1.0, 1.0), [0.5, 1, 0.5])):
        np.testing.assert_array_equal(grad(lambda x, f=f: f(x).sum())(x), slopes)
        np.testing.assert_array_equal(jvp(f, (x,), (np.ones(3),))[1], slopes)
        np.testing.assert_array_equal(hvp(lambda x, f=f: f(x).sum())(x, np.ones(3)), np.zeros(3))


def symbolic_softmax():
    xs = sympy.symbols("x0:3", real=True)
    z = sympy.log(sum(sympy.exp(v) for v in xs))
    return xs, z, [sympy.exp(v) / sum(sympy.exp(w) for w in xs) for v in xs]


@pytest.mark.claim("autograd.logsumexp-rule")
def test_the_gradient_of_logsumexp_is_softmax():
    xs, z, p = symbolic_softmax()
    assert all(sympy.simplify(z.diff(v) - q) == 0 for v, q in zip(xs, p, strict=True))
    x = np.array([0.3, -1.2, 2.0])
    exact = [float(q.subs(dict(zip(xs, x, strict=True)))) for q in p]
    np.testing.assert_allclose(grad(logsumexp)(x), exact, rtol=1e-14)  # a few roundings
    np.testing.assert_allclose(softmax(x), exact, rtol=1e-14)
    assert float(jvp(logsumexp, (x,), (np.array([1.0, 10.0, 100.0]),))[1]) == pytest.approx(
        np.dot(exact, [1, 10, 100]), rel=1e-14
    )


@pytest.mark.claim("autograd.softmax-rule")
def test_the_jacobian_of_softmax_is_symmetric_and_is_diag_p_minus_p_p():
    xs, _, p = symbolic_softmax()
    for i, j in itertools.product(range(3), repeat=2):
        assert sympy.simplify(p[i].diff(xs[j]) - (p[i] * int(i == j) - p[i] * p[j])) == 0
    x = np.array([0.3, -1.2, 2.0])
    q = softmax(x)
    jacobian = np.diag(q) - np.outer(q, q)
    pull_back = vjp(softmax, x)[1]
    for e, row in zip(np.eye(3), jacobian, strict=True):
        np.testing.assert_allclose(pull_back(e)[0], row, rtol=1e-14, atol=1e-16)  # a few roundings
        np.testing.assert_allclose(jvp(softmax, (x,), (e,))[1], row, rtol=1e-14, atol=1e-16)


@pytest.mark.claim("autograd.log-softmax-rule")
def test_the_jacobian_of_log_softmax():
    xs, z, p = symbolic_softmax()
    for i, j in itertools.product(range(3), repeat=2):
        assert sympy.simplify((xs[i] - z).diff(xs[j]) - (int(i == j) - p[j])) == 0
    x = np.array([0.3, -1.2, 2.0])
    jacobian = np.eye(3) - softmax(x)
    pull_back = vjp(log_softmax, x)[1]
    for i, e in enumerate(np.eye(3)):
        np.testing.assert_allclose(pull_back(e)[0], jacobian[i], rtol=1e-14, atol=1e-16)  # a few roundings
        np.testing.assert_allclose(jvp(log_softmax, (x,), (e,))[1], jacobian[:, i], rtol=1e-14, atol=1e-16)


@pytest.mark.claim("autograd.power-at-zero")
def test_powers_at_zero():
    zero = np.array(0.0)
    for y, slope in ((0, 0.0), (1, 1.0), (2, 0.0), (3, 0.0), (1.5, 0.0)):
        quotient = (x_ ** sympy.nsimplify(y) - int(y == 0)) / x_  # x_ is positive: from the right
        assert float(sympy.limit(quotient, x_, 0)) == slope
        for exponent in (y, float(y), np.array(float(y))):
            assert float(grad(lambda x, e=exponent: x**e)(zero)) == slope
            assert float(jvp(lambda x, e=exponent: x**e, (zero,), (1.0,))[1]) == slope
    assert sympy.limit(x_ ** sympy.Rational(1, 2) / x_, x_, 0) == sympy.oo
    for y in (0.5, 1.0, 2.0):  # 0 ** y is constant in y
        assert float(grad(lambda x, y: x**y, 1)(zero, np.array(y))) == 0.0
        assert float(grad(lambda y: 0.0**y)(np.array(y))) == 0.0
        assert float(grad(lambda y: 0**y)(np.array(y))) == 0.0
    assert float(grad(lambda x, y: x**y)(zero, zero)) == 0.0
    assert float(grad(lambda x, y: x**y, 1)(zero, zero)) == 0.0  # the convention
    values = [0.0**y for y in (1e-300, 1e-9)] + [x**0.0 for x in (1e-300, 1e-9)]
    assert values == [0.0, 0.0, 1.0, 1.0]  # no value of 0 ** 0 is near all of them


def test_second_derivatives_of_powers_at_zero_and_with_exponent_zero():
    def second(f, a, b, at):
        return float(grad(lambda *v: grad(f, a)(*v), b)(*map(np.array, at)))

    power = lambda x, y: x**y  # noqa: E731
    assert second(power, 0, 0, (0.0, 2.0)) == 2.0
    assert second(power, 0, 0, (0.0, 3.0)) == 0.0
    assert second(power, 0, 0, (2.0, 0.0)) == 0.0
    # y x ** (y - 1) has the slope x ** (y - 1) (1 + y ln x) in y, which is 1 / x at y = 0
    assert second(power, 0, 1, (2.0, 0.0)) == 0.5
    assert second(power, 1, 0, (2.0, 0.0)) == 0.5
    for n in (2, 2.0):
        assert [float(grad(grad(grad(lambda x, n=n: x**n)))(np.array(v))) for v in (0.0, 3.0)] == [0.0, 0.0]
    assert float(grad(grad(grad(lambda x: x**3)))(np.array(0.0))) == 6.0


def test_infinite_slopes_are_infinite_with_numpy_s_warning():
    zero = np.array(0.0)
    for f in (sqrt, lambda x: x**0.5, log):
        with np.errstate(divide="ignore"):
            assert float(grad(f)(zero)) == np.inf
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            grad(f)(zero)
    with np.errstate(divide="ignore", invalid="ignore"):  # a slope in the exponent at 0 ** -1, and at a negative base
        assert float(grad(lambda y: 0.0**y)(np.array(-1.0))) == -np.inf
        assert np.isnan(float(grad(lambda x, y: x**y, 1)(np.array(-2.0), np.array(2.0))))


def test_where_keeps_an_infinite_slope_away_if_its_operand_is_made_harmless():
    x = np.array([0.0, 2.0])
    safe = grad(lambda x: where(x > 0, sqrt(where(x > 0, x, 1.0)), 0.0).sum())(x)
    np.testing.assert_allclose(safe, [0.0, 0.5 / np.sqrt(2)], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows_at_a_thousand(dtype):
    x = np.array([-1000.0, 0.0, 1000.0], dtype)
    ones = np.ones(3, dtype)
    for f, values, slopes in (
        (sigmoid, [0, 0.5, 1], [0, 0.25, 0]),
        (tanh, [-1, 0, 1], [0, 1, 0]),
        (softplus, [0, np.log(2), 1000], [0, 0.5, 1]),
    ):
        np.testing.assert_allclose(f(x), np.array(values, dtype), rtol=1e-6)  # single precision
        np.testing.assert_array_equal(vjp(f, x)[1](ones)[0], slopes)
        np.testing.assert_array_equal(jvp(f, (x,), (ones,))[1], slopes)
        assert np.all(np.isfinite(hvp(lambda x, f=f: f(x).sum())(x, ones)))
    np.testing.assert_array_equal(softmax(x), [0, 0, 1])
    np.testing.assert_array_equal(log_softmax(x), [-2000, -1000, 0])
    assert float(logsumexp(x)) == 1000
    assert float(logsumexp(np.full(2, -1000.0, dtype))) == pytest.approx(-1000 + np.log(2), rel=1e-6)
    assert float(logsumexp(np.full(2, -np.inf, dtype))) == -np.inf
    for f in (softmax, log_softmax, logsumexp):
        for derivative in (vjp(f, x)[1](np.ones_like(f(x)))[0], jvp(f, (x,), (ones,))[1]):
            assert np.all(np.isfinite(derivative))
        assert np.all(np.isfinite(hvp(lambda x, f=f: (f(x) * f(x)).sum())(x, ones)))


def test_the_mask_of_attention_is_harmless():
    x = np.array([0.5, -np.inf, 1.5])
    for f in (softmax, logsumexp):
        for derivative in (grad(lambda x, f=f: (f(x) * f(x)).sum())(x), jvp(f, (x,), (np.ones(3),))[1]):
            assert np.all(np.isfinite(derivative))
    assert softmax(x)[1] == 0
    assert grad(logsumexp)(x)[1] == 0


def test_empty_arrays():
    empty = np.zeros((0, 3))
    for f in (lambda x: x.sum(), lambda x: (x * np.ones(3)).sum(), lambda x: exp(x).sum(axis=0).sum()):
        assert grad(f)(empty).shape == (0, 3)
    np.testing.assert_array_equal(grad(lambda b: (empty * b).sum())(np.ones(3)), np.zeros(3))
    np.testing.assert_array_equal(grad(lambda w: (empty @ w).sum())(np.ones((3, 2))), np.zeros((3, 2)))
    np.testing.assert_array_equal(grad(lambda b: (empty + b).sum())(np.array(2.0)), 0.0)
    batch, inner = np.ones((2, 3, 0)), np.ones((0, 4))
    np.testing.assert_array_equal(grad(lambda w: (batch @ w).sum())(inner), inner)
    np.testing.assert_array_equal(grad(lambda w: (np.ones((2, 3, 4)) @ w).sum())(inner.T), inner.T)
    assert grad(lambda x: concatenate([x, np.ones((2, 3))]).sum())(empty).shape == (0, 3)


def test_a_single_number_may_be_summed_over_its_last_axis():
    for f in (lambda x: x.sum(axis=-1), lambda x: x.sum(axis=0), lambda x: x.max(axis=-1)):
        assert float(grad(f)(np.array(2.0))) == 1.0


def test_operations_mix_with_lists_and_plain_arrays():
    x = np.array([1.0, 2.0])
    assert float(grad(lambda x: matmul([3.0, 5.0], x))(x)[1]) == 5.0
    np.testing.assert_array_equal(grad(lambda x: (x ** [2, 1]).sum())(x), [2.0, 1.0])
    np.testing.assert_array_equal(grad(lambda x: maximum(x, [0.0, 5.0]).sum())(x), [1.0, 0.0])
    np.testing.assert_array_equal(grad(lambda x: concatenate([x, [7.0]]).sum())(x), [1.0, 1.0])
    np.testing.assert_array_equal(stack([x, [3.0, 4.0]]), [[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("f", [concatenate, stack])
def test_nothing_to_join_and_a_generator_that_was_used(f):
    with pytest.raises(ValueError, match=r"at least one array, got none; a generator can be read only once"):
        f([])
    rows = (np.ones(2) * i for i in range(3))
    assert f(rows).size == 6
    with pytest.raises(ValueError, match=f"{f.__name__} needs at least one array"):
        f(rows)


def test_joining_what_does_not_fit():
    with pytest.raises(ValueError, match=r"stack needs arrays of one shape, got \[\(2,\), \(3,\)\]"):
        stack([np.ones(2), np.ones(3)])
    for axis in (3, -4):
        with pytest.raises(ValueError, match=rf"shape \(2, 3\) has the axes 0 to 2, got axis {axis}"):
            stack([np.ones((2, 3))], axis)
    with pytest.raises(ValueError, match=r"concatenate of shapes \(2, 3\) and \(2, 5\)"):
        concatenate([Tensor(np.ones((2, 3))), np.ones((2, 5))])


@pytest.mark.parametrize(("a", "b"), [((2, 3), (5,)), ((3,), (2, 5)), ((3,), (2,)), ((), (3,)), ((2, 3), ())])
def test_factors_that_do_not_fit_are_named_as_they_were_given(a, b):
    with pytest.raises(ValueError, match="matmul of shapes") as error:
        matmul(Tensor(np.ones(a)), Tensor(np.ones(b)))
    assert f"{a} and {b}" in str(error.value)


def test_matrices_that_do_not_fit():
    with pytest.raises(ValueError, match=r"matmul of shapes \(2, 3\) and \(2, 3\)"):
        Tensor(np.ones((2, 3))) @ Tensor(np.ones((2, 3)))


def test_every_operation_on_plain_arrays_is_numpy_s():
    x = positive(2, 3)
    for name in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tanh", "absolute"):
        out = getattr(rules, name)(x)
        assert type(out) is np.ndarray
        np.testing.assert_array_equal(out, getattr(np, name)(x))
    np.testing.assert_array_equal(clip(x, 0.7, 1.0), np.clip(x, 0.7, 1.0))
    np.testing.assert_array_equal(stack([x, x], -1), np.stack([x, x], -1))
    np.testing.assert_array_equal(cumsum(x, 0), np.cumsum(x, 0))
    np.testing.assert_allclose(logsumexp(x, axis=1), np.logaddexp.reduce(x, axis=1), rtol=1e-15)


# --- programs composed at random


UNARY_STEPS = [
    tanh,
    sigmoid,
    softplus,
    sin,
    lambda x: exp(-x * x),
    lambda x: log(1.5 + x * x),
    lambda x: sqrt(1.0 + x * x),
    lambda x: (1.5 + tanh(x)) ** (x * 0.5),
    lambda x: softmax(x, -1) if len(x.shape) else x,
    lambda x: log_softmax(x, 0) if len(x.shape) else x,
    lambda x: x.sum(axis=-1, keepdims=True) if len(x.shape) else x * 2.0,
    lambda x: x.mean(),
    lambda x: logsumexp(x, axis=0) if len(x.shape) else 1.0 - x,
    lambda x: x.transpose(tuple(range(len(x.shape)))[::-1]),
    lambda x: x[::-1] if len(x.shape) else x[None],
    lambda x: x[np.zeros(2, int)] if len(x.shape) else 1.0 / (2.0 + x * x),
    lambda x: cumsum(x) if len(x.shape) else x**3,
]


def fits(x, y):
    try:
        np.broadcast_shapes(x, y)
    except ValueError:
        return False
    return True


BINARY_STEPS = [
    (lambda x, y: x + y, fits),
    (lambda x, y: x - y, fits),
    (lambda x, y: x * tanh(y), fits),
    (lambda x, y: x / (1.0 + y * y), fits),
    (lambda x, y: where(np.ones(np.broadcast_shapes(x.shape, y.shape)) > 0, x, y), fits),
    (matmul, lambda x, y: len(x) == len(y) == 2 and x[1] == y[0]),
    (lambda x, y: concatenate([x, y]), lambda x, y: len(x) == len(y) == 1),
]


SHAPES_OF_INPUTS = [(2, 3), (3,), ()]
choices = st.lists(st.tuples(st.booleans(), *[st.integers(0, 2**16)] * 3), min_size=1, max_size=8)


def composed(choices):
    """A program of the chosen steps, each on inputs and earlier results; what fits is found by running it on zeros."""
    pool = [np.zeros(s) for s in SHAPES_OF_INPUTS]
    steps = []
    for one, i, j, k in choices:
        x, y = pool[i % len(pool)], pool[j % len(pool)]
        fitting = UNARY_STEPS if one else [f for f, fit in BINARY_STEPS if fit(x.shape, y.shape)]
        if fitting:
            f, operands = fitting[k % len(fitting)], (i % len(pool),) if one else (i % len(pool), j % len(pool))
            steps.append((f, operands))
            pool.append(np.asarray(f(*(pool[n] for n in operands))))

    def run(inputs):
        pool = list(inputs)
        for f, operands in steps:
            pool.append(tanh(f(*(pool[n] for n in operands))))  # bounded, so that differences stay accurate
        return sum(((0.5 + k) * x).mean() for k, x in enumerate(pool))

    return run


@settings(max_examples=60, deadline=None)
@given(choices, st.integers(0, 2**32 - 1))
def test_programs_composed_at_random_to_first_and_second_order(choices, seed):
    rng = np.random.default_rng(seed)
    x, v = ([rng.normal(size=s) for s in SHAPES_OF_INPUTS] for _ in range(2))
    f = composed(choices)
    step = 1e-4

    def shifted(h):
        return [a + h * b for a, b in zip(x, v, strict=True)]

    def close(ours, plus, minus):
        # third slopes along v, up to about 1000, times 1e-8 / 6 and roundings of 1e-14 / 1e-4, relative to the size
        np.testing.assert_allclose(ours, (plus - minus) / (2 * step), rtol=1e-5, atol=1e-5)

    value, moved = jvp(f, (x,), (v,))
    close(moved, f(shifted(step)), f(shifted(-step)))
    back = grad(f)(x)
    assert float(sum((g * b).sum() for g, b in zip(back, v, strict=True))) == pytest.approx(
        float(moved), rel=1e-9, abs=1e-9
    )
    # NumPy has its own code for single numbers, which may round differently
    assert float(value) == pytest.approx(float(f(x)), rel=1e-12)
    over = hvp(f)(x, v)
    again = grad(lambda x: sum((g * b).sum() for g, b in zip(grad(f)(x), v, strict=True)))(x)
    for first, second, plus, minus in zip(over, again, grad(f)(shifted(step)), grad(f)(shifted(-step)), strict=True):
        close(first, plus, minus)
        np.testing.assert_allclose(second, first, rtol=1e-9, atol=1e-9)  # roundings, amplified by the composition


def test_the_table_is_called_through_apply_alone():
    out = apply(RULES["exp"], Tensor(np.array([0.0]), requires_grad=True))
    assert out._rule is RULES["exp"]
