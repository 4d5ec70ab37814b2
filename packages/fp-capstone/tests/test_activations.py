"""Mirrors src/fp_capstone/activations.py."""

import numpy as np
import pytest
import sympy

from fp_capstone import activations
from fp_capstone.activations import gelu, gelu_backward, swiglu, swiglu_backward


def slope_of(bend, x):
    bend(x, slope := np.empty_like(x))
    return slope


@pytest.mark.claim("capstone.gelu-derivative")
def test_the_derivative_of_gelu_agrees_with_sympy():
    x = sympy.symbols("x", real=True)
    u = sympy.sqrt(2 / sympy.pi) * (x + sympy.Float("0.044715", 30) * x**3)
    slope = sympy.diff(x * (1 + sympy.tanh(u)) / 2, x)
    points = np.linspace(-6, 6, 23)
    exact = [float(slope.subs(x, sympy.Float(float(p), 30)).evalf(25)) for p in points]
    got = gelu_backward(np.ones(23), slope_of(gelu, points))
    np.testing.assert_allclose(got, exact, atol=1e-14)  # a dozen float64 operations on numbers of order 10


@pytest.mark.claim("capstone.gelu-derivative")
def test_gelu_gradients_equal_central_differences(numeric):
    rng = np.random.default_rng(2)
    x, g = 2 * rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    dx = gelu_backward(g, slope_of(gelu, x))
    # 1e-7: see `numeric`
    np.testing.assert_allclose(dx, numeric(lambda: float((gelu(x) * g).sum()), x), atol=1e-7)


@pytest.mark.claim("capstone.swiglu-backward")
def test_swiglu_gradients_equal_central_differences(numeric):
    rng = np.random.default_rng(3)
    ab, g = 2 * rng.normal(size=(3, 10)), rng.normal(size=(3, 5))
    dab = swiglu_backward(g, slope_of(swiglu, ab))
    # 1e-7: see `numeric`
    np.testing.assert_allclose(dab, numeric(lambda: float((swiglu(ab) * g).sum()), ab), atol=1e-7)


def test_nothing_overflows_far_from_zero():
    far = np.array([[-1e4, 1e4, 1.0, 1.0]], np.float32)
    np.testing.assert_array_equal(swiglu(far), [[0, 1e4]])
    assert np.isfinite(slope_of(swiglu, far)).all()
    far = np.array([-1e4, 1e4], np.float32)
    np.testing.assert_array_equal(gelu(far), [0, 1e4])
    np.testing.assert_array_equal(slope_of(gelu, far), [0, 1])


@pytest.mark.parametrize(("bend", "backward"), [(gelu, gelu_backward), (swiglu, swiglu_backward)])
def test_pieces_and_memory_that_is_shared_change_no_bit(bend, backward, monkeypatch):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(11, 14))
    y = bend(x, slope := np.empty_like(x))
    g = rng.normal(size=y.shape)
    dx = backward(g, slope)
    monkeypatch.setattr(activations, "PIECE", 21)
    shared = x.copy()
    np.testing.assert_array_equal(bend(shared, shared), y)  # the slope in the memory of the input
    np.testing.assert_array_equal(shared, slope)
    assert backward(g, shared, out=shared) is shared  # and the gradient in the memory of the slope
    np.testing.assert_array_equal(shared, dx)
