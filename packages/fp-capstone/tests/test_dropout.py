"""Mirrors src/fp_capstone/dropout.py."""

import numpy as np
import pytest

from fp_capstone.dropout import dropout_mask


@pytest.mark.claim("capstone.dropout-mean")
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_mask_has_mean_one_and_variance_p_over_one_minus_p(p):
    n = 1_000_003
    m = dropout_mask((n,), p, np.random.default_rng(7), np.dtype("float64"))
    variance = p / (1 - p)
    # five standard errors of a mean of n draws: wrong less than once in a million seeds, and the seed is fixed
    assert abs(m.mean() - 1) < 5 * np.sqrt(variance / n)
    # (m - 1)^2 takes the values 1 and (p / (1 - p))^2; its standard deviation is |1 - (p/(1-p))^2| sqrt(p (1 - p))
    spread = abs(1 - variance**2) * np.sqrt(p * (1 - p))
    assert abs(((m - 1) ** 2).mean() - variance) < 5 * spread / np.sqrt(n) + 1e-12


def test_probability_zero_erases_nothing():
    np.testing.assert_array_equal(dropout_mask((5, 3), 0.0, np.random.default_rng(0), np.dtype("float32")), 1)
