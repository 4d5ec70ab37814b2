"""Mirrors src/fp_capstone/activations.py."""

import numpy as np
import pytest
import sympy

from fp_capstone.activations import gelu, gelu_backward, swiglu, swiglu_backward


@pytest.mark.claim("capstone.gelu-derivative")
def test_the_derivative_of_gelu_agrees_with_sympy():
    x = sympy.symbols("x", real=True)
    u = sympy.sqrt(2 / sympy.pi) * (x + sympy.Float("0.044715", 30) * x**3)
    slope = sympy.diff(x * (1 + sympy.tanh(u)) / 2, x)
    points = np.linspace(-6, 6, 23)
    exact = [float(slope.subs(x, sympy.Float(float(p), 30)).evalf(25)) for p in points]
    got = gelu_backward(np.ones(23), points, gelu(points)[1])
    np.testing.assert_allclose(got, exact, atol=1e-14)  # a dozen float64 operations on numbers of order 10


@pytest.mark.claim("capstone.gelu-derivative")
def test_gelu_gradients_equal_central_differences(numeric):
    rng = np.random.default_rng(2)
    x, g = 2 * rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    dx = gelu_backward(g, x, gelu(x)[1])
    # 1e-7: see `numeric`
    np.testing.assert_allclose(dx, numeric(lambda: float((gelu(x)[0] * g).sum()), x), atol=1e-7)


@pytest.mark.claim("capstone.swiglu-backward")
def test_swiglu_gradients_equal_central_differences(numeric):
    rng = np.random.default_rng(3)
    ab, g = 2 * rng.normal(size=(3, 10)), rng.normal(size=(3, 5))
    dab = swiglu_backward(g, ab, swiglu(ab)[1])
    # 1e-7: see `numeric`
    np.testing.assert_allclose(dab, numeric(lambda: float((swiglu(ab)[0] * g).sum()), ab), atol=1e-7)


def test_nothing_overflows_far_from_zero():
    far = np.array([[-1e4, 1e4, 1.0, 1.0]], np.float32)
    y, s = swiglu(far)
    np.testing.assert_array_equal(y, [[0, 1e4]])
    assert np.isfinite(swiglu_backward(np.ones((1, 2), np.float32), far, s)).all()
    y, tau = gelu(np.array([-1e4, 1e4], np.float32))
    np.testing.assert_array_equal(y, [0, 1e4])
    np.testing.assert_array_equal(gelu_backward(np.ones(2, np.float32), np.array([-1e4, 1e4], np.float32), tau), [0, 1])
