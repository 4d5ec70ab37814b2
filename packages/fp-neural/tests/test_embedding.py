"""Mirrors src/fp_neural/embedding.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import gradcheck
from fp_neural.embedding import Embedding
from fp_neural.layers import Linear

RNG = np.random.default_rng(7)


def table(n, dim, dtype=np.float64):
    return Embedding(n, dim, rng=np.random.default_rng(n), dtype=dtype)


@pytest.mark.claim("neural.embedding-one-hot")
@pytest.mark.parametrize("shape", [(), (1,), (11,), (2, 3), (2, 3, 5)])
def test_looking_up_is_multiplying_by_one_hot_vectors(shape):
    E, ids = table(7, 3), RNG.integers(0, 7, shape)
    H = (ids[..., None] == np.arange(7)).astype(float)
    out = E(ids)
    assert out.shape == (*shape, 3)
    np.testing.assert_array_equal(out.data, H @ E.weight.data)  # a sum with one term that is not zero


@pytest.mark.claim("neural.embedding-gradient")
@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 2**32 - 1))
def test_the_gradient_adds_the_rows_of_each_token(tokens, seed):
    ids = np.array(tokens, int)
    E = table(5, 2)
    G = np.random.default_rng(seed).integers(-9, 10, (len(ids), 2)).astype(float)
    E(ids).backward(G)
    expected = np.zeros((5, 2))
    for i, g in zip(tokens, G, strict=True):
        expected[i] += g
    np.testing.assert_array_equal(E.weight.grad, expected)  # whole numbers
    np.testing.assert_array_equal(E.weight.grad, np.eye(5)[ids].reshape(-1, 5).T @ G)
    assert not E.weight.grad[[i for i in range(5) if i not in tokens]].any()


@pytest.mark.claim("neural.embedding-gradient")
def test_overwriting_is_wrong_where_a_token_occurs_twice():
    E, ids, G = table(3, 1), np.array([2, 0, 2]), np.array([[1.0], [10.0], [100.0]])
    E(ids).backward(G)
    assert E.weight.grad.ravel().tolist() == [10, 0, 101]
    wrong = np.zeros((3, 1))
    wrong[ids] += G
    assert wrong.ravel().tolist() == [10, 0, 100]


@pytest.mark.claim("neural.embedding-context")
def test_a_layer_on_a_context_adds_a_row_of_a_table_for_each_place():
    n, d, k, m = 5, 3, 2, 7
    E, layer = table(n, d), Linear(k * d, m, rng=RNG, bias=False, dtype=np.float64)
    tables = [E.weight.data @ layer.weight.data[:, j * d : (j + 1) * d].T for j in range(k)]
    contexts = np.array([(i, j) for i in range(n) for j in range(n)])  # all of them
    out = layer(E(contexts).reshape(n * n, k * d)).data
    np.testing.assert_allclose(out, tables[0][contexts[:, 0]] + tables[1][contexts[:, 1]], atol=1e-14)
    assert all(np.linalg.matrix_rank(t) <= d for t in tables)
    turned = layer(E(contexts[:, ::-1]).reshape(n * n, k * d)).data
    assert np.abs(turned - out).max() > 0.1  # the order matters


def test_gradcheck():
    E, ids = table(5, 3), np.array([[4, 0, 4], [1, 4, 0]])
    gradcheck(lambda state: E.functional(state, ids) ** 2, E.state_dict())


def test_the_table():
    E = Embedding(2000, 60, rng=np.random.default_rng(0), std=0.02)
    assert E.weight.dtype == np.float32
    # the deviation of 120,000 normal numbers is off by 1 in sqrt(240,000) of itself: five times that
    assert E.weight.data.std() == pytest.approx(0.02, rel=5 / 489)
    again = Embedding(2000, 60, rng=np.random.default_rng(0), std=0.02)
    np.testing.assert_array_equal(again.weight.data, E.weight.data)


def test_any_type_of_whole_numbers():
    E = table(5, 3)
    for dtype in (np.uint8, np.int16, np.int64):
        np.testing.assert_array_equal(E(np.array([4, 1], dtype)).data, E.weight.data[[4, 1]])
    assert E(np.zeros((0, 2), int)).shape == (0, 2, 3)


@pytest.mark.parametrize(("ids", "wrong"), [([0, 5, 9], 5), ([5], 5), ([-1], -1), ([[0, 1], [2, -3]], -3)])
def test_ids_outside_of_the_table(ids, wrong):
    with pytest.raises(ValueError, match=f"the table has the rows 0 to 4, got the id {wrong}: encode the text"):
        table(5, 3)(np.array(ids))


def test_bad_input(shapes_unchecked):
    with pytest.raises(TypeError, match="ids are whole numbers that say which row to read, got float64"):
        table(5, 3)(np.array([1.0]))
    with pytest.raises(TypeError, match="got bool"):
        table(5, 3)(np.array([True]))
    with pytest.raises(ValueError, match="at least one row and one column, got 0 and 3"):
        Embedding(0, 3, rng=RNG)
