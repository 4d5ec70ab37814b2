"""Mirrors src/fp_autograd/functional.py."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import rules
from fp_autograd.functional import grad, hessian, hvp, jacobian, jvp, tree_leaves, tree_map, value_and_grad, vjp
from fp_autograd.tensor import Tensor


def program(seed):
    """A function from five numbers to three, of operations drawn by the seed."""
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(4, 5)) / 2, rng.normal(size=(3, 4)) / 2
    choices = rng.integers(0, 4, size=2)

    def f(x):
        for k, M in zip(choices, (A, B), strict=True):
            x = M @ x
            x = (x.tanh(), x * x, (x * 0.3).exp(), rules.softmax(x))[k]
        return x

    return f


@pytest.mark.claim("autograd.two-modes")
@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_forward_and_reverse_are_transposes_and_right(seed):
    f, rng = program(seed), np.random.default_rng(seed + 1)
    x, t, g = rng.normal(size=5), rng.normal(size=5), rng.normal(size=3)
    value, pull_back = vjp(f, x)
    same, moved = jvp(f, (x,), (t,))
    np.testing.assert_array_equal(value, same)
    assert g @ moved == pytest.approx(pull_back(g)[0] @ t, rel=1e-10, abs=1e-12)  # sums in another order
    h = 1e-6
    difference = (jvp(f, (x + h * t,), (t,))[0] - jvp(f, (x - h * t,), (t,))[0]) / (2 * h)
    np.testing.assert_allclose(moved, difference, rtol=1e-6, atol=1e-8)  # h^2, and rounding over h


@pytest.mark.claim("autograd.hessian-symmetric")
@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_the_hessian_is_symmetric_and_the_same_by_four_ways(seed):
    f = lambda x: (program(seed)(x) * np.array([0.5, 1.0, -2.0])).sum()  # noqa: E731
    rng = np.random.default_rng(seed + 1)
    x, v = rng.normal(size=5), rng.normal(size=5)
    H = hessian(f)(x)
    np.testing.assert_allclose(H, H.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(hvp(f)(x, v), H @ v, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(grad(lambda x: (grad(f)(x) * v).sum())(x), H @ v, rtol=1e-9, atol=1e-12)
    h = 1e-6
    difference = (grad(f)(x + h * v) - grad(f)(x - h * v)) / (2 * h)
    np.testing.assert_allclose(H @ v, difference, rtol=1e-5, atol=1e-7)  # h^2, and rounding over h


def test_the_function_whose_second_derivatives_depend_on_the_order_is_not_covered():
    """xy(x^2 - y^2)/(x^2 + y^2): its mixed second derivatives at 0 are 1 and -1, and not continuous there."""

    def slope_in_y(x):  # at y = 0
        return grad(lambda y: x * y * (x * x - y * y) / (x * x + y * y))(np.array(0.0))

    def slope_in_x(y):  # at x = 0
        return grad(lambda x: x * y * (x * x - y * y) / (x * x + y * y))(np.array(0.0))

    h = 1e-3
    assert (slope_in_y(h) - slope_in_y(-h)) / (2 * h) == pytest.approx(1)
    assert (slope_in_x(h) - slope_in_x(-h)) / (2 * h) == pytest.approx(-1)


def test_any_order():
    """The derivatives of exp are exp, of x^5 a falling factorial."""
    f, g = lambda x: x.exp(), lambda x: x**5
    x = np.array(1.3)
    for n in range(1, 5):
        f, g = grad(f), grad(g)
        assert f(x) == pytest.approx(np.exp(1.3), rel=1e-12)
        assert g(x) == pytest.approx(np.prod([5 - k for k in range(n)]) * 1.3 ** (5 - n), rel=1e-12)


def test_nested_levels_do_not_confuse_each_others_perturbations():
    """d/dx (x d/dy (x + y)) = 1 in every combination of modes; an engine with one level answers 2."""
    forward = lambda f: lambda x: jvp(f, (x,), (np.array(1.0),))[1]  # noqa: E731
    for outer in (grad, forward):
        for inner in (grad, forward):
            assert outer(lambda x, inner=inner: x * inner(lambda y: x + y)(np.array(1.0)))(np.array(2.0)) == 1.0
            # d/dx (x d/dy (x y)) = d/dx x^2
            assert outer(lambda x, inner=inner: x * inner(lambda y: x * y)(np.array(1.0)))(np.array(3.0)) == 6.0


def test_containers_of_arrays():
    Point = namedtuple("Point", "x y")
    parameters = {"a": [np.array(2.0), np.ones(3)], "p": Point(np.array(1.0), np.array(5.0))}
    f = lambda p: (p["a"][1] * p["a"][0]).sum() + p["p"].x ** 2  # noqa: E731
    value, gradient = value_and_grad(f)(parameters)
    assert value == 7.0
    assert gradient["a"][0] == 3.0
    np.testing.assert_array_equal(gradient["a"][1], np.full(3, 2.0))
    assert isinstance(gradient["p"], Point)
    assert gradient["p"] == (2.0, 0.0)  # y is not used
    tangents = tree_map(np.ones_like, parameters)
    assert jvp(f, (parameters,), (tangents,))[1] == 3 + 6 + 2
    assert [np.shape(leaf) for leaf in tree_leaves(gradient)] == [(), (3,), (), ()]


def test_other_arguments_pass_through():
    f = lambda scale, x, power=1: (scale * x**power).sum()  # noqa: E731
    np.testing.assert_array_equal(grad(f, argnum=1)(3.0, np.ones(2), power=2), [6.0, 6.0])
    np.testing.assert_array_equal(grad(f, argnum=-1)(3.0, np.ones(2)), [3.0, 3.0])


def test_functions_of_several_results():
    value, pull_back = vjp(lambda x, y: {"sum": x + y, "product": x * y}, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.testing.assert_array_equal(value["product"], [3.0, 8.0])
    cotangent = {"sum": np.array([1.0, 0.0]), "product": np.array([0.0, 1.0])}
    for _ in range(2):  # again and again
        dx, dy = pull_back(cotangent)
        np.testing.assert_array_equal(dx, [1.0, 4.0])
        np.testing.assert_array_equal(dy, [1.0, 2.0])


@pytest.mark.parametrize("mode", ["forward", "reverse", None])
@pytest.mark.parametrize("shapes", [((2, 3), (5, 2)), ((), (3,)), ((3,), ())])
def test_jacobians_have_the_shape_of_the_result_then_of_the_argument(mode, shapes):
    inner, outer = shapes
    M = np.random.default_rng(0).normal(size=(*outer, *inner))
    axes = tuple(range(len(outer), M.ndim))
    f = lambda x: (M * x).sum(axis=axes) if axes else M * x  # noqa: E731
    x = np.random.default_rng(1).normal(size=inner)
    np.testing.assert_allclose(jacobian(f, mode)(x), M, rtol=1e-12)


def test_jacobian_takes_the_direction_with_fewer_passes():
    passes = []
    count = rules.RULES["tanh"].__class__(
        "counted",
        lambda x: x * 1.0,
        (lambda g, out, x: (passes.append("back"), g)[1],),
        (lambda t, out, x: (passes.append("forward"), t)[1],),
    )
    from fp_autograd.tracing import apply

    jacobian(lambda x: apply(count, x).sum().reshape(1))(np.ones(7))
    assert passes == ["back"]
    passes.clear()
    jacobian(lambda x: apply(count, x) * np.ones(7))(np.ones(1))
    assert passes.count("forward") == 1
    assert "back" not in passes


def test_a_constant_function_has_gradient_zero():
    np.testing.assert_array_equal(grad(lambda x: Tensor(np.array(3.0)))(np.ones(2)), np.zeros(2))
    np.testing.assert_array_equal(grad(lambda x: 3.0)(np.ones(2)), np.zeros(2))
    assert jvp(lambda x: 3.0, (np.ones(2),), (np.ones(2),)) == (3.0, 0.0)


def test_a_closed_over_tensor_is_a_constant_of_the_function_and_keeps_its_own_gradient():
    w = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    inner = grad(lambda x: (w * x * x).sum())(np.array([3.0, 4.0]))  # 2 w x, a tensor of the outer level
    assert isinstance(inner, Tensor)
    inner.sum().backward()
    np.testing.assert_array_equal(w.grad, [6.0, 8.0])


def test_float32_stays_float32():
    x = np.ones(3, np.float32)
    assert grad(lambda x: (x * 2.0).tanh().sum())(x).dtype == np.float32
    assert jvp(lambda x: x * 2.0, (x,), (x,))[1].dtype == np.float32
    assert hessian(lambda x: (x**3).sum())(x).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: grad(lambda x: x)(np.ones(3)),
            ValueError,
            r"returns one number, got an array of shape \(3,\): sum it",
        ),
        (lambda: grad(lambda x: None)(1.0), TypeError, "one number, got NoneType: return the number itself"),
        (lambda: grad(lambda x: {"loss": x})(1.0), TypeError, "one number, got dict"),
        (lambda: grad(lambda x: x.sum())(np.arange(3)), TypeError, "holds real floating-point numbers, got int64"),
        (lambda: jvp(lambda x: x, (np.arange(3),), (np.ones(3),)), TypeError, "floating-point numbers, got int64"),
        (lambda: jvp(lambda x: x, (np.ones(3),), (np.ones(2),)), ValueError, r"its value, \(3,\), got \(2,\)"),
        (lambda: jvp(lambda x: x, (np.ones(3),), ()), ValueError, "each argument needs a tangent, got 1 and 0"),
        (lambda: grad(lambda x: x, argnum=1)(np.ones(3)), ValueError, "argument 1 is to be differentiated in"),
        (lambda: vjp(lambda x: x, np.ones(3))[1](np.ones(2)), ValueError, r"shape of its value, \(3,\), got \(2,\)"),
        (lambda: vjp(lambda x: (x, x), np.ones(3))[1](np.ones(3)), ValueError, "has 2 arrays, and the cotangent 1"),
        (lambda: jacobian(lambda x: x, mode="sideways"), ValueError, "'forward', 'reverse' or None, got 'sideways'"),
        (lambda: tree_map(max, {"a": 1}, {"b": 2}), ValueError, r"dicts with the keys \['a'\]"),
        (lambda: tree_map(max, [1, 2], [1]), ValueError, "expected sequences of 2"),
    ],
)
def test_bad_input_is_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_levels_are_given_back_after_an_error():
    with pytest.raises(RuntimeError, match="stop"):
        grad(lambda x: (_ for _ in ()).throw(RuntimeError("stop")))(np.ones(1))
    np.testing.assert_array_equal(grad(lambda x: grad(lambda y: (y * y).sum())(x).sum())(np.ones(2)), [2.0, 2.0])
