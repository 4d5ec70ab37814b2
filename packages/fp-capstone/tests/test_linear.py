"""Mirrors src/fp_capstone/linear.py."""

import numpy as np
import pytest

from fp_capstone.linear import linear, linear_backward


@pytest.mark.claim("capstone.linear-backward")
@pytest.mark.parametrize("transposed", [False, True], ids=["stored (in, out)", "stored (out, in)"])
def test_every_gradient_equals_central_differences(numeric, transposed):
    rng = np.random.default_rng(0)
    x, b, g = rng.normal(size=(3, 5)), rng.normal(size=7), rng.normal(size=(3, 7))
    W = rng.normal(size=(7, 5)).T if transposed else rng.normal(size=(5, 7))
    dW = np.empty((7, 5)).T if transposed else np.empty((5, 7))
    db = np.empty(7)

    def loss():
        return float((linear(x, W, b) * g).sum())

    dx = linear_backward(g, x, W, dW, db)
    # 1e-7: see `numeric`
    np.testing.assert_allclose(dx, numeric(loss, x), atol=1e-7)
    np.testing.assert_allclose(dW, numeric(loss, W), atol=1e-7)
    np.testing.assert_allclose(db, numeric(loss, b), atol=1e-7)


def test_without_a_bias_nothing_is_added():
    x, W = np.ones((2, 3)), np.ones((3, 5))
    np.testing.assert_array_equal(linear(x, W), np.full((2, 5), 3.0))
