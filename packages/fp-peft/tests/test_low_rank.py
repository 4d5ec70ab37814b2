import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_peft.low_rank import distance, factors, truncate

SHAPES = st.tuples(st.integers(2, 6), st.integers(2, 6))


@pytest.mark.claim("peft.rank")
@given(SHAPES, st.integers(0, 2**30), st.integers(1, 2))
@settings(max_examples=20)
def test_products_of_thin_factors_are_the_matrices_of_that_rank(shape, seed, r):
    rng = np.random.default_rng(seed)
    (m, n), B, A = shape, rng.normal(size=(shape[0], r)), rng.normal(size=(r, shape[1]))
    assert np.linalg.matrix_rank(B @ A) <= r
    again = factors(B @ A, r)
    assert again[0].shape == (m, r) and again[1].shape == (r, n)
    np.testing.assert_allclose(again[0] @ again[1], B @ A, atol=1e-12)  # float64: a few roundings of numbers near one


@pytest.mark.claim("peft.singular-values-left")
@given(SHAPES, st.integers(0, 2**30), st.data())
@settings(max_examples=25)
def test_singular_values_after_a_change_of_rank_k_are_not_below_those_k_later(shape, seed, data):
    rng, least = np.random.default_rng(seed), min(shape)
    k = data.draw(st.integers(0, least))
    A = rng.normal(size=shape) * rng.uniform(0, 2, size=shape)
    # near the best one, where the inequality is tight, and far from it
    near = truncate(A, k) + 0.1 * rng.normal(size=(shape[0], k)) @ rng.normal(size=(k, shape[1])) * (k > 0)
    for B in (truncate(A, k), truncate(near, k), rng.normal(size=(shape[0], k)) @ rng.normal(size=(k, shape[1]))):
        sigma, tau = (np.linalg.svd(x, compute_uv=False) for x in (A, A - B))
        assert (tau[: least - k] >= sigma[k:] - 1e-12).all()  # rounding of float64


@pytest.mark.claim("peft.eckart-young")
@given(SHAPES, st.integers(0, 2**30), st.data())
@settings(max_examples=25)
def test_the_truncated_sum_is_nearest_in_both_norms(shape, seed, data):
    rng = np.random.default_rng(seed)
    k = data.draw(st.integers(0, min(shape)))
    A = rng.normal(size=shape)
    best, sigma = truncate(A, k), np.linalg.svd(A, compute_uv=False)
    frobenius, spectral = distance(A, k)
    assert np.isclose(np.linalg.norm(A - best), frobenius) and np.isclose(np.linalg.norm(A - best, 2), spectral)
    assert np.isclose(frobenius, np.sqrt((sigma[k:] ** 2).sum()))
    assert np.isclose(spectral, sigma[k] if k < len(sigma) else 0, atol=1e-12)
    B, C = factors(A, k)
    for size in (1e-3, 1e-1, 1.0):  # every other matrix of rank k is a product of moved factors
        other = (B + size * rng.normal(size=B.shape)) @ (C + size * rng.normal(size=C.shape))
        assert np.linalg.norm(A - other) >= frobenius - 1e-12
        assert np.linalg.norm(A - other, 2) >= spectral - 1e-12


@pytest.mark.claim("peft.eckart-young")
def test_where_two_singular_values_are_equal_another_is_as_near_and_the_spectral_norm_has_many():
    A = np.diag([2.0, 1.0, 1.0])
    other = np.diag([2.0, 0.0, 1.0])
    assert np.linalg.norm(A - other) == distance(A, 2)[0]
    for t in (1.0, 0.5, 0.0):
        assert np.linalg.norm(np.eye(2) - np.diag([t, 0.0]), 2) == distance(np.eye(2), 1)[1] == 1


def test_ranks_out_of_range_are_refused():
    for function in (truncate, factors, distance):
        with pytest.raises(ValueError, match="ranks from 0 to 2, got 3"):
            function(np.ones((2, 5)), 3)
