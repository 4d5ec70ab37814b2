"""Mirrors src/fp_capstone/embedding.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_capstone.embedding import embedding, embedding_backward


@pytest.mark.claim("capstone.embedding-scatter")
def test_the_gradient_equals_central_differences_with_repeated_and_absent_tokens(numeric):
    rng = np.random.default_rng(0)
    E, ids, g = rng.normal(size=(7, 3)), np.array([5, 0, 5, 5, 2]), rng.normal(size=(5, 3))
    dE = np.zeros((7, 3))
    embedding_backward(g, ids, dE)
    # 1e-7: see `numeric`
    np.testing.assert_allclose(dE, numeric(lambda: float((embedding(ids, E) * g).sum()), E), atol=1e-7)


@pytest.mark.claim("capstone.embedding-scatter")
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_it_is_the_one_hot_matrix_transposed_times_the_cotangent(ids, seed):
    g = np.random.default_rng(seed).normal(size=(len(ids), 3))
    dE = np.zeros((7, 3))
    embedding_backward(g, np.array(ids), dE)
    one_hot = np.eye(7)[ids]
    np.testing.assert_allclose(dE, one_hot.T @ g, atol=1e-13)  # at most 30 terms of order 1, summed in two orders


def test_it_adds_to_what_is_there():
    dE = np.ones((2, 1))
    embedding_backward(np.array([[5.0]]), np.array([1]), dE)
    np.testing.assert_array_equal(dE, [[1.0], [6.0]])
