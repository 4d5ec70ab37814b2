"""Mirrors src/fp_capstone/norms.py."""

import numpy as np
import pytest

from fp_capstone.norms import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward


@pytest.fixture
def case():
    rng = np.random.default_rng(1)
    return 3 * rng.normal(size=(3, 7)) + 1, rng.normal(size=7), rng.normal(size=7), rng.normal(size=(3, 7))


@pytest.mark.claim("capstone.rmsnorm-backward")
@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.5])
def test_rms_norm_gradients_equal_central_differences(case, numeric, eps):
    x, gain, _, g = case
    _, xhat, r = rms_norm(x, gain, eps)
    dgain = np.empty(7)
    dx = rms_norm_backward(g, xhat, r, gain, dgain)

    def loss():
        return float((rms_norm(x, gain, eps)[0] * g).sum())

    # 1e-7: see `numeric`
    np.testing.assert_allclose(dx, numeric(loss, x), atol=1e-7)
    np.testing.assert_allclose(dgain, numeric(loss, gain), atol=1e-7)


@pytest.mark.claim("capstone.layernorm-backward")
@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.5])
def test_layer_norm_gradients_equal_central_differences(case, numeric, eps):
    x, gain, bias, g = case
    _, xhat, r = layer_norm(x, gain, bias, eps)
    dgain, dbias = np.empty(7), np.empty(7)
    dx = layer_norm_backward(g, xhat, r, gain, dgain, dbias)

    def loss():
        return float((layer_norm(x, gain, bias, eps)[0] * g).sum())

    # 1e-7: see `numeric`
    np.testing.assert_allclose(dx, numeric(loss, x), atol=1e-7)
    np.testing.assert_allclose(dgain, numeric(loss, gain), atol=1e-7)
    np.testing.assert_allclose(dbias, numeric(loss, bias), atol=1e-7)


@pytest.mark.claim("capstone.norm-gradient-orthogonal")
def test_at_eps_zero_the_gradient_is_orthogonal_to_the_normalised_row(case):
    x, gain, bias, g = case
    _, xhat, r = rms_norm(x, gain, 0.0)
    dx = rms_norm_backward(g, xhat, r, gain, np.empty(7))
    np.testing.assert_allclose((dx * xhat).sum(axis=1), 0, atol=1e-13)  # seven terms of order 1
    _, xhat, r = layer_norm(x, gain, bias, 0.0)
    dx = layer_norm_backward(g, xhat, r, gain, np.empty(7), np.empty(7))
    np.testing.assert_allclose((dx * xhat).sum(axis=1), 0, atol=1e-13)
    # with eps it is not: the test can fail
    _, xhat, r = rms_norm(x, gain, 0.5)
    assert np.abs((rms_norm_backward(g, xhat, r, gain, np.empty(7)) * xhat).sum(axis=1)).max() > 1e-3


def test_a_normalised_row_has_mean_zero_and_scale_one(case):
    x, _, _, _ = case
    y = layer_norm(x, np.ones(7), np.zeros(7), 0.0)[0]
    np.testing.assert_allclose(y.mean(axis=1), 0, atol=1e-15)
    np.testing.assert_allclose(y.std(axis=1), 1, rtol=1e-14)


def test_the_input_is_left_alone(case):
    x, gain, bias, _ = case
    before = x.copy()
    layer_norm(x, gain, bias, 1e-5)
    rms_norm(x, gain, 1e-5)
    np.testing.assert_array_equal(x, before)
