"""Mirrors src/fp_attention/lookup.py."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.lookup import hard_lookup, nadaraya_watson, soft_lookup
from fp_autograd import Tensor, gradcheck
from fp_autograd.rules import softmax

few = settings(max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def entries(seed, n=7, D=3, Dv=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=D), rng.normal(size=(n, D)), rng.normal(size=(n, Dv))


def weights(q, keys, temperature=1.0):
    """One value a key, the rows of the identity: the answer is the weights themselves."""
    return soft_lookup(q, keys, np.eye(len(keys)), temperature)


def test_by_hand():
    """Scores 2, 0, 1 with e**(1 / temperature) = 2: weights 4/7, 1/7, 2/7."""
    keys, values = np.array([[1.0, 1], [0, 0], [1, 0]]), np.array([[7.0, 0], [0, 0], [0, 7]])
    np.testing.assert_allclose(weights(np.ones(2), keys, 1 / math.log(2)), np.array([4, 1, 2]) / 7, rtol=1e-14)
    np.testing.assert_allclose(soft_lookup(np.ones(2), keys, values, 1 / math.log(2)), [4, 2], rtol=1e-14)


# --- the hard end


@pytest.mark.claim("attention.hard-lookup-limit")
def test_the_limits_with_and_without_ties_on_all_small_scores():
    """Exhaustive: four scores among 0, 1, 2. Keys of one coordinate are the scores of q = 1."""
    values = np.array([[1.0, 10], [2, -20], [4, 30], [8, 50]])
    for z in product((0.0, 1.0, 2.0), repeat=4):
        keys = np.array(z)[:, None]
        best = keys[:, 0] == max(z)
        # at 0.02 others weigh e**-50 at most; at 1e9 a weight is off 1/4 by about 2e-9, times values up to 50
        cold = soft_lookup(np.ones(1), keys, values, 0.02)
        np.testing.assert_allclose(cold, values[best].mean(axis=0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(soft_lookup(np.ones(1), keys, values, 1e9), values.mean(axis=0), atol=1e-6)
        if best.sum() == 1:
            np.testing.assert_allclose(cold, hard_lookup(np.ones(1), keys, values), atol=1e-12)


@pytest.mark.claim("attention.hard-lookup-limit")
@few
@given(seeds, st.floats(0.05, 5))
def test_the_rate(seed, temperature):
    q, keys, values = entries(seed)
    scores = np.sort(keys @ q)
    gap, m = scores[-1] - scores[-2], int((keys @ q).argmax())
    rest = 6 * math.exp(-gap / temperature)
    far = np.linalg.norm(values - values[m], axis=1).max()
    p, y = weights(q, keys, temperature), soft_lookup(q, keys, values, temperature)
    assert 1 - p[m] <= rest * (1 + 1e-12) + 1e-15  # a rounding of a number near one
    assert np.linalg.norm(y - values[m]) <= (rest * far) * (1 + 1e-12) + 1e-14


@pytest.mark.claim("attention.hard-lookup-limit")
def test_the_rate_is_nearly_reached():
    """All others exactly a gap below: 1 - p is the bound times p."""
    keys = np.array([[5.0], [0], [0], [0]])
    p = weights(np.ones(1), keys)[0]
    assert 1 - p == pytest.approx(3 * math.exp(-5) * p, rel=1e-12)


# --- the gradient


@pytest.mark.claim("attention.lookup-gradient")
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_four_cotangents(temperature):
    q, keys, values = entries(1)
    g = np.array([0.7, -1.3])
    leaves = [Tensor(x, requires_grad=True) for x in (q, keys, values)]
    soft_lookup(*leaves, temperature).backward(g)
    p, y = weights(q, keys, temperature), soft_lookup(q, keys, values, temperature)
    ds = p / temperature * ((values - y) @ g)
    for leaf, expected in zip(leaves, (ds @ keys, np.outer(ds, q), np.outer(p, g)), strict=True):
        np.testing.assert_allclose(leaf.grad, expected, rtol=1e-12, atol=1e-14)  # a few dozen roundings
    gradcheck(lambda a, b, c: soft_lookup(a, b, c, temperature), q, keys, values)
    assert abs(ds.sum()) < 1e-15  # a number added to all scores changes nothing


@pytest.mark.claim("attention.lookup-gradient")
def test_a_step_of_descent_favours_what_is_better_than_the_answer():
    q, keys, values = entries(2)
    p, y = weights(q, keys), soft_lookup(q, keys, values)
    g = 2 * (y - values[3])  # the loss |y - v_3|**2
    scores = keys @ q
    moved = []
    for j in range(7):
        bump = np.where(np.arange(7) == j, 1e-6, 0.0)
        moved.append((((softmax(scores + bump) @ values - values[3]) ** 2).sum() - ((y - values[3]) ** 2).sum()) / 1e-6)
    # one-sided quotients: off by 1e-6 times half a second derivative of order ten
    np.testing.assert_allclose(moved, p * ((values - y) @ g), atol=1e-4)
    assert moved[3] < 0


def test_the_hard_answer_has_no_gradient():
    q, keys, values = entries(3)
    np.testing.assert_array_equal(hard_lookup(q, keys, values), hard_lookup(q + 1e-9, keys, values))


# --- a weighted mean


@pytest.mark.claim("attention.weighted-mean")
@few
@given(seeds)
def test_the_least_weighted_squared_error(seed):
    q, keys, values = entries(seed)
    p, y = weights(q, keys), soft_lookup(q, keys, values)
    u = np.random.default_rng(seed).normal(size=(5, 2))
    error = lambda u: float(p @ ((values - u) ** 2).sum(axis=1))  # noqa: E731
    for at in u:
        assert error(at) == pytest.approx(error(y) + ((at - y) ** 2).sum(), rel=1e-12)


@pytest.mark.claim("attention.weighted-mean")
@few
@given(seeds, st.floats(0.01, 10))
def test_inside_of_everything_that_holds_the_values(seed, temperature):
    q, keys, values = entries(seed)
    y = soft_lookup(q, keys, values, temperature)
    angles = np.linspace(0, 2 * math.pi, 37)
    for a in np.column_stack([np.cos(angles), np.sin(angles)]):
        assert a @ y <= (values @ a).max() + 1e-14  # roundings of numbers of magnitude one
    assert (values.min(axis=0) - 1e-14 <= y).all() and (y <= values.max(axis=0) + 1e-14).all()
    assert np.linalg.norm(y) <= np.linalg.norm(values, axis=1).max() + 1e-14


@pytest.mark.claim("attention.weighted-mean")
@few
@given(seeds)
def test_every_positive_mean_is_reached(seed):
    rng = np.random.default_rng(seed)
    p, values = rng.dirichlet(np.ones(7)) * 0.99 + 0.01 / 7, rng.normal(size=(7, 2))
    keys = 0.5 * np.log(p)[:, None]
    # weights of 1e-3 and more, a few roundings of logarithms up to 7
    np.testing.assert_allclose(soft_lookup(np.ones(1), keys, values, 0.5), p @ values, rtol=1e-12, atol=1e-13)


# --- kernel regression


def gaussian(q, keys, h):
    k = np.exp(-((q - keys) ** 2).sum(axis=1) / (2 * h**2))
    return k / k.sum()


@pytest.mark.claim("attention.nadaraya-watson")
@few
@given(seeds, st.floats(0.3, 3))
def test_soft_lookup_is_a_gaussian_times_a_factor_of_the_key(seed, temperature):
    q, keys, values = entries(seed)
    kernel = np.exp(keys @ q / temperature)
    y = soft_lookup(q, keys, values, temperature)
    np.testing.assert_allclose(y, kernel @ values / kernel.sum(), rtol=1e-10, atol=1e-12)  # exponents up to 50
    loud = gaussian(q, keys, math.sqrt(temperature)) * np.exp((keys**2).sum(axis=1) / (2 * temperature))
    np.testing.assert_allclose(weights(q, keys, temperature), loud / loud.sum(), rtol=1e-10)


@pytest.mark.claim("attention.nadaraya-watson")
@few
@given(seeds, st.floats(0.3, 3))
def test_the_weights_agree_exactly_for_keys_of_one_length(seed, h):
    q, keys, _ = entries(seed)
    same = 1.7 * keys / np.linalg.norm(keys, axis=1, keepdims=True)
    np.testing.assert_allclose(weights(q, same, h * h), gaussian(q, same, h), rtol=1e-10)
    same[4] *= 1.1  # one longer key, and they differ: its score by 0.21 * 1.7**2 / (2 h**2) >= 0.03
    assert not np.allclose(weights(q, same, h * h), gaussian(q, same, h), rtol=1e-4, atol=0)


@pytest.mark.claim("attention.nadaraya-watson")
@few
@given(seeds, st.floats(0.3, 3))
def test_one_more_coordinate_makes_it_the_gaussian(seed, h):
    q, keys, values = entries(seed)
    longer = np.column_stack([keys, -(keys**2).sum(axis=1) / 2])
    got = soft_lookup(np.append(q, 1.0), longer, values, h * h)
    np.testing.assert_allclose(got, gaussian(q, keys, h) @ values, rtol=1e-9, atol=1e-11)  # exponents up to 100
    np.testing.assert_allclose(got, nadaraya_watson(q, keys, values, h), rtol=1e-9, atol=1e-11)


@pytest.mark.claim("attention.regression-error")
@pytest.mark.parametrize("h", [0.05, 0.3, 2.0])
def test_the_error_is_blur_and_noise(h):
    """Exhaustive: the noise of each of six points is +-0.5, all 64 outcomes alike."""
    xs = np.array([[0.0], [0.3], [0.5], [0.6], [0.9], [1.4]])
    f = lambda x: np.sin(3 * x)  # noqa: E731
    x = np.array([0.55])
    p = gaussian(x, xs, h)
    outcomes = [nadaraya_watson(x, xs, f(xs) + 0.5 * np.array(e)[:, None], h) for e in product((-1, 1), repeat=6)]
    mean_square = np.mean([(y[0] - f(0.55)) ** 2 for y in outcomes])
    blur = p @ (f(xs)[:, 0] - f(0.55))
    assert mean_square == pytest.approx(blur**2 + 0.25 * (p @ p), rel=1e-12)
    assert abs(blur) <= 3 * (p @ np.abs(xs[:, 0] - 0.55))  # the sine's slope is at most 3
    assert 1 / 6 <= p @ p <= 1


# --- learned scores


@pytest.mark.claim("attention.bilinear-score")
def test_a_score_is_a_form_of_low_rank():
    rng = np.random.default_rng(4)
    Wq, Wk, x, other = rng.normal(size=(2, 5)), rng.normal(size=(2, 5)), rng.normal(size=5), rng.normal(size=5)
    A = Wq.T @ Wk
    assert (Wq @ x) @ (Wk @ other) == pytest.approx(x @ A @ other, rel=1e-12)
    assert np.linalg.matrix_rank(A) == 2
    assert (Wq @ x) @ (Wk @ other) != pytest.approx((Wq @ other) @ (Wk @ x), rel=1e-3)  # it need not be symmetric
    assert (Wq @ x) @ (Wq @ other) == pytest.approx((Wq @ other) @ (Wq @ x), rel=1e-12)  # W_q = W_k: it is


@pytest.mark.claim("attention.bilinear-score")
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_matrix_of_low_rank_is_reached(rank):
    rng = np.random.default_rng(rank)
    A = rng.normal(size=(5, rank)) @ rng.normal(size=(rank, 5))
    u, sizes, w = np.linalg.svd(A)
    Wq, Wk = np.zeros((3, 5)), np.zeros((3, 5))
    Wq[:rank], Wk[:rank] = (u * sizes).T[:rank], w[:rank]
    np.testing.assert_allclose(Wq.T @ Wk, A, atol=1e-13)  # entries of order one


# --- shapes and bad input


def test_many_queries_at_once():
    _, keys, values = entries(5)
    q = np.random.default_rng(6).normal(size=(2, 5, 3))
    for lookup in (soft_lookup, hard_lookup, lambda q, k, v: nadaraya_watson(q, k, v, 0.7)):
        y = lookup(q, keys, values)
        assert y.shape == (2, 5, 2)
        np.testing.assert_allclose(y[1, 2], lookup(q[1, 2], keys, values), rtol=1e-13)


def test_far_points_do_not_underflow():
    xs = np.array([[100.0], [101.0]])
    assert nadaraya_watson(np.zeros(1), xs, np.array([[1.0], [2.0]]), 0.1)[0] == 1.0


@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input():
    q, keys, values = entries(7)
    with pytest.raises(ValueError, match="the temperature must be positive and finite, got 0; hard_lookup is"):
        soft_lookup(q, keys, values, 0)
    with pytest.raises(ValueError, match="bandwidth must be positive and finite, got -1"):
        nadaraya_watson(q, keys, values, -1)
    for bad in ((q[:2], keys, values), (q, keys, values[:3]), (q, keys[:0], values[:0]), (q, keys, values[:, 0])):
        for lookup in (soft_lookup, hard_lookup):
            with pytest.raises(ValueError, match=r"needs queries \(\.\.\., D\), keys \(n, D\) and values \(n, Dv\)"):
                lookup(*bad)
