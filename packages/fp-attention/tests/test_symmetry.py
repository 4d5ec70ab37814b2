"""Mirrors src/fp_attention/symmetry.py."""

from itertools import permutations

import numpy as np
import pytest

from fp_attention.masks import Causal, Dense
from fp_attention.scaled_dot import attention_weights, scaled_dot_product_attention
from fp_attention.symmetry import equivariance_error, permutation_matrix, running_means, self_attention

ROUNDING = 1e-13
"""Sums of a few numbers of order one in another order."""
ORDERS = list(permutations(range(4)))


def layer(seed, n_heads=2, mask=None, C=6):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(C, C)) for _ in range(4)]
    return lambda x: self_attention(x, *weights, n_heads=n_heads, mask=mask)


def text(seed, T=4, C=6):
    return np.random.default_rng(seed).normal(size=(T, C))


# --- permutations


@pytest.mark.parametrize("order", ORDERS)
def test_a_permutation_matrix_puts_rows_in_order_and_its_transpose_puts_them_back(order):
    x, P = text(0), permutation_matrix(order)
    np.testing.assert_array_equal(P @ x, x[list(order)])
    np.testing.assert_array_equal(P.T @ P, np.eye(4))


@pytest.mark.claim("attention.row-by-row")
@pytest.mark.parametrize("order", ORDERS)
def test_what_treats_each_row_on_its_own(order):
    rng = np.random.default_rng(1)
    W, b, x = rng.normal(size=(6, 6)), rng.normal(size=6), text(1)
    linear = lambda x: x @ W.T + b  # noqa: E731
    norm = lambda x: (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)  # noqa: E731
    for f in (linear, np.tanh, norm, lambda x: linear(norm(x)), lambda x: x + linear(x)):
        assert equivariance_error(f, x, order) < ROUNDING
    assert equivariance_error(lambda x: np.concatenate([linear(x), norm(x)], axis=1), x, order) < ROUNDING
    down = lambda x: (x - x.mean(axis=0)) / x.std(axis=0)  # noqa: E731  # a mean over rows is equivariant too
    assert equivariance_error(down, x, order) < ROUNDING
    if list(order) != sorted(order):  # and what knows its row is not
        assert equivariance_error(lambda x: x + np.arange(4.0)[:, None], x, order) >= 1


# --- attention


@pytest.mark.claim("attention.order-of-keys")
@pytest.mark.parametrize("order", ORDERS)
def test_queries_and_pairs_in_any_order(order):
    """Exhaustive over the orders of four pairs and of three queries, head by head."""
    rng = np.random.default_rng(2)
    q, k, v = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 4, 7))
    y = scaled_dot_product_attention(q, k, v)
    pairs = list(order)
    for queries in map(list, permutations(range(3))):
        moved = scaled_dot_product_attention(q[:, queries], k[:, pairs], v[:, pairs])
        np.testing.assert_allclose(moved, y[:, queries], atol=ROUNDING)
        P = attention_weights(q, k)[:, queries][:, :, pairs]
        np.testing.assert_allclose(attention_weights(q[:, queries], k[:, pairs]), P, atol=ROUNDING)
    if pairs != sorted(pairs):  # a key has to keep its value
        assert np.abs(scaled_dot_product_attention(q, k[:, pairs], v) - y).max() > 1e-3


@pytest.mark.claim("attention.permutation-equivariant")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n_heads", [1, 2, 3])
def test_the_layer_and_a_stack(order, n_heads):
    """The claim is about one head; the page says that several change nothing."""
    f, g, x = layer(3, n_heads), layer(4, n_heads), text(5)
    assert equivariance_error(f, x, order) < ROUNDING * 10  # three products with entries up to ten
    block = lambda x: np.tanh(x + f(x))  # noqa: E731
    assert equivariance_error(lambda x: block(x) + g(block(x)), x, order) < ROUNDING * 100


@pytest.mark.claim("attention.pairs-not-order")
@pytest.mark.parametrize("order", list(permutations(range(5)))[::7])
def test_the_same_bag_of_outputs(order):
    f, vectors = layer(6), text(7, T=4)
    tokens = np.array([2, 0, 3, 2, 1])  # token 2 occurs twice
    y, z = f(vectors[tokens]), f(vectors[tokens[list(order)]])
    for token in range(4):
        places, moved = np.flatnonzero(tokens == token), np.flatnonzero(tokens[list(order)] == token)
        for place in [*places[1:]]:
            np.testing.assert_allclose(y[place], y[places[0]], atol=ROUNDING * 10)
        np.testing.assert_allclose(z[moved], y[places], atol=ROUNDING * 10)
    np.testing.assert_allclose(z.mean(axis=0), y.mean(axis=0), atol=ROUNDING * 10)
    np.testing.assert_allclose(z.max(axis=0), y.max(axis=0), atol=ROUNDING * 10)


@pytest.mark.claim("attention.proportions")
def test_copies_of_a_pair():
    rng = np.random.default_rng(8)
    q, k, v = rng.normal(size=(3, 4)), rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    y = scaled_dot_product_attention(q, k, v)
    everything = scaled_dot_product_attention(q, np.repeat(k, 3, axis=0), np.repeat(v, 3, axis=0))
    np.testing.assert_allclose(everything, y, atol=ROUNDING)
    m = np.array([1, 5, 2, 1])
    copies = scaled_dot_product_attention(q, np.repeat(k, m, axis=0), np.repeat(v, m, axis=0))
    S = q @ k.T / 2 + np.log(m)
    P = np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(copies, P @ v, atol=ROUNDING)
    assert np.abs(copies - y).max() > 1e-3


# --- masks


def keeps(mask, order):
    return bool((mask[np.ix_(order, order)] == mask).all())


@pytest.mark.claim("attention.mask-symmetry")
def test_a_mask_keeps_the_symmetries_that_it_has():
    """Exhaustive over orders: a mask with two groups, a ring, and the causal one."""
    groups = np.array([0, 1, 0, 1])
    ring = np.abs(np.subtract.outer(range(4), range(4))) % 2 == 0
    ring |= np.roll(np.eye(4, dtype=bool), 1, axis=1)  # everyone sees the next one too
    for mask in (groups[:, None] == groups, ring, np.tri(4, dtype=bool)):
        f, x = layer(9, mask=Dense(mask)), text(10)
        kept = [order for order in map(list, ORDERS) if keeps(mask, order)]
        for order in kept:
            assert equivariance_error(f, x, order) < ROUNDING * 10
        for order in (order for order in map(list, ORDERS) if order not in kept):
            assert equivariance_error(f, x, order) > 1e-3  # for this layer and text
        assert (len(kept) == 1) == (not mask[0, 2])  # the causal one alone forbids that


@pytest.mark.claim("attention.mask-symmetry")
@pytest.mark.parametrize("T", [1, 2, 3, 4, 5, 6])
def test_no_reordering_keeps_the_causal_mask(T):
    mask = np.tri(T, dtype=bool)
    assert [list(order) for order in permutations(range(T)) if keeps(mask, list(order))] == [list(range(T))]


@pytest.mark.claim("attention.causal-breaks-symmetry")
@pytest.mark.parametrize("T", [2, 3, 4, 5])
def test_every_reordering_changes_running_means(T):
    """Exhaustive: the counterexample X = I of the proof, and the numbers of entries that tell it."""
    for order in map(list, permutations(range(T))):
        after, before = running_means(np.eye(T))[order], running_means(np.eye(T)[order])
        assert [np.count_nonzero(row) for row in after] == [i + 1 for i in order]
        assert [np.count_nonzero(row) for row in before] == list(range(1, T + 1))
        assert (equivariance_error(running_means, np.eye(T), order) < 1e-15) == (order == sorted(order))


@pytest.mark.claim("attention.one-causal-layer")
@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_one_causal_layer_sees_a_bag_of_what_came_before(order):
    x = text(11, T=6)
    moved = x[[*order, 4, 5]]
    one, two = layer(12, mask=Causal()), layer(13, mask=Causal())
    np.testing.assert_allclose(one(moved)[4:], one(x)[4:], atol=ROUNDING * 10)
    if list(order) != sorted(order):
        assert np.abs(two(one(moved))[5] - two(one(x))[5]).max() > 1e-3


@pytest.mark.claim("attention.one-causal-layer")
def test_two_layers_of_running_means():
    np.testing.assert_allclose(running_means(running_means(np.eye(3)))[2] * 18, [11, 5, 2], rtol=1e-14)


@pytest.mark.claim("attention.mask-tells-position")
def test_a_first_token_and_a_mask_count():
    first = np.zeros((50, 1))
    first[0] = 1
    y = running_means(first)[:, 0]
    np.testing.assert_allclose(y, 1 / np.arange(1, 51), rtol=1e-13)
    assert len(np.unique(y)) == 50
    # without a first token that differs: nothing to count by
    same = layer(14, mask=Causal())(np.tile(text(15, T=1), (7, 1)))
    np.testing.assert_allclose(same, np.tile(same[:1], (7, 1)), atol=ROUNDING * 10)


def test_running_means_are_causal_attention_with_equal_scores():
    x = text(16)
    np.testing.assert_allclose(running_means(x), x.cumsum(axis=0) / np.arange(1, 5)[:, None], rtol=1e-12)
    zero, eye = np.zeros((6, 6)), np.eye(6)
    np.testing.assert_allclose(self_attention(x, zero, zero, eye, eye, mask=Causal()), running_means(x), rtol=1e-12)


def test_the_layer_is_its_formula():
    """Two heads with their projections, written out."""
    rng, x = np.random.default_rng(17), text(17)
    Wq, Wk, Wv, Wo = rng.normal(size=(4, 6, 6))
    heads = []
    for rows in (slice(0, 3), slice(3, 6)):
        S = (x @ Wq[rows].T) @ (x @ Wk[rows].T).T / np.sqrt(3)
        P = np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)
        heads.append(P @ (x @ Wv[rows].T))
    expected = np.concatenate(heads, axis=1) @ Wo.T
    np.testing.assert_allclose(self_attention(x, Wq, Wk, Wv, Wo, n_heads=2), expected, rtol=1e-10, atol=1e-12)


# --- bad input


@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input():
    with pytest.raises(ValueError, match=r"lists each of 0, \.\.\., 2 once, got \[0, 1, 1\]; np.argsort"):
        permutation_matrix([0, 1, 1])
    with pytest.raises(ValueError, match="x has 4 rows, so an order of as many is needed, got one of 2"):
        equivariance_error(np.tanh, text(0), [1, 0])
    with pytest.raises(ValueError, match="the number of heads must divide the 6 rows of the projections, got 4"):
        layer(0, n_heads=4)(text(0))
