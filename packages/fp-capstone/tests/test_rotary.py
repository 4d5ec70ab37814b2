"""Mirrors src/fp_capstone/rotary.py."""

import numpy as np
import pytest

from fp_capstone.rotary import rotary_tables, rotate, rotate_back

FLOAT64 = np.dtype("float64")


@pytest.mark.claim("capstone.rope-backward")
def test_the_gradient_equals_central_differences(numeric):
    rng = np.random.default_rng(4)
    x, g = rng.normal(size=(2, 5, 3, 6)), rng.normal(size=(2, 5, 3, 6))
    tables = rotary_tables(5, 6, 100.0, FLOAT64)
    dx = rotate_back(g, *tables)
    # 1e-7: see `numeric`
    np.testing.assert_allclose(dx, numeric(lambda: float((rotate(x, *tables) * g).sum()), x), atol=1e-7)


@pytest.mark.claim("capstone.rope-backward")
def test_turning_back_undoes_turning_and_lengths_are_kept():
    x = np.random.default_rng(5).normal(size=(2, 11, 3, 10))
    tables = rotary_tables(11, 10, 10_000.0, FLOAT64)
    y = rotate(x, *tables)
    # rounding of a few float64 operations on numbers of order 1
    np.testing.assert_allclose(rotate_back(y, *tables), x, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-14)


@pytest.mark.claim("capstone.rope-relative")
def test_scores_depend_on_the_distance_only():
    rng = np.random.default_rng(6)
    q, k = rng.normal(size=10), rng.normal(size=10)
    cos, sin = rotary_tables(31, 10, 50.0, FLOAT64)
    turned_q = rotate(np.broadcast_to(q, (1, 31, 1, 10)), cos, sin)[0, :, 0]
    turned_k = rotate(np.broadcast_to(k, (1, 31, 1, 10)), cos, sin)[0, :, 0]
    scores = turned_q @ turned_k.T
    for distance in range(-30, 31):
        diagonal = np.diagonal(scores, distance)
        # ten products of order 1, with angles rounded at 31 rad: a few 1e-15 each
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-13)
    assert np.ptp(scores[0]) > 0.1, "different distances give different scores"
