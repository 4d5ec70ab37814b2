"""Mirrors src/fp_capstone/cross_entropy.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_capstone.cross_entropy import SAFE, cross_entropy_with_gradient, token_losses


@pytest.mark.claim("capstone.cross-entropy-backward")
def test_the_gradient_equals_central_differences_and_sums_to_zero(numeric):
    rng = np.random.default_rng(7)
    z, y = 3 * rng.normal(size=(5, 7)), rng.integers(0, 7, 5)
    dz = cross_entropy_with_gradient(z.copy(), y)[1]
    # 1e-7: see `numeric`
    np.testing.assert_allclose(dz, numeric(lambda: cross_entropy_with_gradient(z.copy(), y)[0], z), atol=1e-7)
    np.testing.assert_allclose(dz.sum(axis=1), 0, atol=1e-15)


@pytest.mark.claim("capstone.log-sum-exp-shift")
@given(st.floats(-1e4, 1e4), st.integers(0, 2**32 - 1))
def test_a_shift_of_all_logits_changes_nothing(shift, seed):
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(3, 5)), rng.integers(0, 5, 3)
    # the shift rounds z at magnitude 1e4: an error of about 1e-12
    np.testing.assert_allclose(token_losses(z + shift, y), token_losses(z, y), atol=1e-11)


@pytest.mark.claim("capstone.log-sum-exp-shift")
def test_nothing_overflows():
    z = np.array([[1e4, -1e4, 0.0]], np.float32)
    for y, loss in ((0, 0.0), (1, 2e4), (2, 1e4)):
        assert token_losses(z, np.array([y])) == loss
        assert cross_entropy_with_gradient(z.copy(), np.array([y]))[0] == loss


@pytest.mark.claim("capstone.uniform-loss")
@pytest.mark.parametrize("V", [2, 65, 50_257])
def test_equal_logits_cost_log_v(V):
    np.testing.assert_allclose(token_losses(np.full((3, V), 4.2), np.array([0, 1, V - 1])), np.log(V), rtol=1e-12)


def test_the_mean_of_the_token_losses_is_the_loss_and_the_gradient_is_written_over_the_logits():
    rng = np.random.default_rng(8)
    z, y = rng.normal(size=(5, 7)), rng.integers(0, 7, 5)
    expected = token_losses(z, y).mean()
    loss, dz = cross_entropy_with_gradient(z, y)
    assert loss == pytest.approx(expected, rel=1e-14)
    assert dz is z


def test_equal_logits_at_the_bound_have_a_gradient_in_a_part_of_a_very_large_batch():
    V, n_total = 131_072, 10**6
    _, dz = cross_entropy_with_gradient(np.full((1, V), 0.999 * SAFE, np.float32), np.array([0]), n_total)
    np.testing.assert_allclose(dz[0, 1:], 1 / (V * n_total), rtol=1e-4)  # a sum of 131,072 equal terms in float32
