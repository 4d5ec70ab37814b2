"""Mirrors src/fp_attention/scaling.py."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.scaling import jacobian_bound, saturation, score_variance
from fp_autograd.rules import softmax
from fp_neural.softmax import softmax_jacobian

few = settings(max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def dot(q, k):
    return sum(a * b for a, b in zip(q, k, strict=True))


def mean(outcomes, f):
    return sum(p * f(x) for x, p in outcomes)


def moments(outcomes):
    """Means of the coordinates and of their products, as arrays of exact fractions."""
    d = len(outcomes[0][0])
    first = np.array([mean(outcomes, lambda x, i=i: x[i]) for i in range(d)])
    second = np.array([[mean(outcomes, lambda x, i=i, j=j: x[i] * x[j]) for j in range(d)] for i in range(d)])
    return first, second


def drawn(seed, d=3, n=4):
    """A random vector with a few outcomes, whose coordinates have means and depend on each other; exact."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 9, n)
    vectors = rng.integers(-4, 5, (n, d))
    return [
        ([Fraction(int(x)) for x in v], Fraction(int(w), int(weights.sum())))
        for v, w in zip(vectors, weights, strict=True)
    ]


# --- the size of scores


@pytest.mark.claim("attention.dot-variance")
@pytest.mark.parametrize("seed", range(5))
def test_the_general_variance_is_exact(seed):
    """Exhaustive in fractions, over all pairs of outcomes of two vectors that are independent of each other."""
    queries, keys = drawn(seed), drawn(seed + 100)
    (mq, A), (mk, B) = moments(queries), moments(keys)
    scores = [(dot(q, k), p * r) for (q, p), (k, r) in product(queries, keys)]
    mu = mean(scores, lambda s: s)
    assert mu == (mq * mk).sum()
    variance = mean(scores, lambda s: (s - mu) ** 2)
    assert variance == (A * B).sum() - mu**2
    to_float = lambda x: x.astype(np.float64)  # noqa: E731
    got = score_variance(to_float(A), to_float(B), to_float(mq), to_float(mk))
    assert got == pytest.approx(float(variance), rel=1e-12, abs=1e-12)


@pytest.mark.claim("attention.dot-variance")
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_it_is_the_width_for_signs(d):
    """Exhaustive: independent signs in q; the keys have variance b**2, but a mean, and coordinates all the same."""
    signs = [(q, Fraction(1, 2**d)) for q in product((-1, 1), repeat=d)]
    for keys in (signs, [((2,) * d, Fraction(1, 3)), ((1,) * d, Fraction(2, 3))]):
        scores = [(dot(q, k), p * r) for (q, p), (k, r) in product(signs, keys)]
        b2 = mean(keys, lambda k: Fraction(k[0]) ** 2)
        assert mean(scores, lambda s: s) == 0
        assert mean(scores, lambda s: s * s) == d * b2
    # divided by the root of d: variance one, up to rounding
    assert sum(float(p) * (s / math.sqrt(d)) ** 2 for s, p in scores) == pytest.approx(float(b2), rel=1e-14)


@pytest.mark.claim("attention.dot-hypotheses")
def test_a_query_that_is_its_own_key():
    values = [(-3, Fraction(1, 10)), (0, Fraction(1, 2)), (Fraction(3, 4), Fraction(2, 5))]  # the mean is zero
    assert mean(values, lambda x: x) == 0
    a2 = mean(values, lambda x: x * x)
    for d in (1, 2, 3, 4):
        outcomes = [([x for x, _ in xs], math.prod(p for _, p in xs)) for xs in product(values, repeat=d)]
        assert mean(outcomes, lambda q: dot(q, q)) == d * a2


@pytest.mark.claim("attention.dot-hypotheses")
@pytest.mark.parametrize("seed", range(5))
def test_no_score_of_independent_vectors_is_larger_than_width_squared(seed):
    queries, keys = drawn(seed), drawn(seed + 50)
    square = mean([(dot(q, k), p * r) for (q, p), (k, r) in product(queries, keys)], lambda s: s * s)
    assert square <= mean(queries, lambda q: dot(q, q)) * mean(keys, lambda k: dot(k, k))
    # all coordinates alike: it is reached
    queries, keys = [([q[0]] * 3, p) for q, p in queries], [([k[0]] * 3, p) for k, p in keys]
    square = mean([(dot(q, k), p * r) for (q, p), (k, r) in product(queries, keys)], lambda s: s * s)
    assert square == mean(queries, lambda q: dot(q, q)) * mean(keys, lambda k: dot(k, k))
    assert square == 9 * mean(queries, lambda q: q[0] ** 2) * mean(keys, lambda k: k[0] ** 2)


@pytest.mark.claim("attention.dot-hypotheses")
def test_a_vector_added_to_all_keys():
    rng = np.random.default_rng(0)
    q, keys, nu = rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=3)
    np.testing.assert_allclose(softmax((keys + nu) @ q), softmax(keys @ q), rtol=1e-13)
    assert not np.allclose(softmax(keys @ (q + nu)), softmax(keys @ q), rtol=1e-3)  # to the query: it does


# --- the Jacobian


@pytest.mark.claim("attention.jacobian-size")
def test_the_bounds_on_a_grid_of_weights():
    """Exhaustive: all weights of four keys that are multiples of 1/13."""
    count = 0
    for parts in product(range(1, 11), repeat=3):
        if (last := 13 - sum(parts)) < 1:
            continue
        p = np.array([*parts, last]) / 13
        H = softmax_jacobian(p)
        top, m = float(np.linalg.eigvalsh(H)[-1]), p.max()
        assert m * (1 - m) <= top * (1 + 1e-12)
        assert top <= float(jacobian_bound(p)) * (1 + 1e-12)
        assert top <= (1 - p @ p) * (1 + 1e-12)
        assert np.trace(H) == pytest.approx(1 - p @ p, rel=1e-12)
        t = np.array([1.0, -2.0, 0.5, 3.0])
        assert np.linalg.norm(H @ t) <= top * np.linalg.norm(t) * (1 + 1e-12)
        count += 1
    assert count == math.comb(12, 3)


@pytest.mark.claim("attention.jacobian-size")
@pytest.mark.parametrize("p", [0.5, 0.6, 0.9, 0.999])
def test_two_keys_reach_the_bound(p):
    H = softmax_jacobian(np.array([p, 1 - p]))
    np.testing.assert_allclose(H @ [1.0, -1.0], 2 * p * (1 - p) * np.array([1.0, -1.0]), rtol=1e-12)
    assert np.linalg.eigvalsh(H)[-1] == pytest.approx(float(jacobian_bound(np.array([p, 1 - p]))), rel=1e-12)


@pytest.mark.claim("attention.jacobian-size")
def test_the_form_is_a_sum_over_pairs():
    rng = np.random.default_rng(1)
    p, t = rng.dirichlet(np.ones(5)), rng.normal(size=5)
    pairs = (np.outer(p, p) * (t[:, None] - t) ** 2).sum() / 2
    assert t @ softmax_jacobian(p) @ t == pytest.approx(pairs, rel=1e-12)


@pytest.mark.claim("attention.saturation")
@few
@given(seeds, st.floats(0.01, 30))
def test_the_gradient_vanishes_with_the_gap(seed, gap):
    rng = np.random.default_rng(seed)
    z = -gap - rng.exponential(size=7)
    z[3], z[5] = 0.0, -gap
    t = rng.normal(size=7)
    size = np.linalg.norm(softmax_jacobian(softmax(z)) @ t)
    # H is a difference of numbers near one, each rounded
    assert size <= 12 * math.exp(-gap) * np.linalg.norm(t) + 1e-15 * np.linalg.norm(t)


@pytest.mark.claim("attention.saturation")
def test_the_rate_is_the_right_one():
    """Six others exactly a gap below: the Jacobian's entry alone is (n - 1) e**-gap up to a factor near one."""
    for gap in (5.0, 10.0, 20.0):
        z = np.where(np.arange(7) == 2, gap, 0.0)
        top = np.linalg.eigvalsh(softmax_jacobian(softmax(z)))[-1]
        assert 0.9 * 6 * math.exp(-gap) < top <= 12 * math.exp(-gap) * (1 + 1e-6)  # 1e-16 of rounding in 1e-8


# --- without the division


def normal_means(dims, f, order):
    """The mean of f over `dims` independent standard normal numbers, by Gauss's rule in each."""
    x, w = np.polynomial.hermite_e.hermegauss(order)
    w = w / w.sum()
    grid = np.stack(np.meshgrid(*[x] * dims, indexing="ij"), axis=-1).reshape(-1, dims)
    weight = np.stack(np.meshgrid(*[w] * dims, indexing="ij"), axis=-1).reshape(-1, dims).prod(axis=1)
    return weight @ f(grid)


@pytest.mark.claim("attention.unscaled-jacobian")
@pytest.mark.parametrize(("n", "q", "c"), [(2, [1.0], 0.7), (3, [0.8], 1.0), (2, [0.6, -0.5], 1.0), (4, [-0.5], 0.9)])
def test_the_mean_size_of_the_jacobian(n, q, c):
    q = np.array(q)
    d = len(q)

    def both(keys):
        z = c * (keys.reshape(-1, n, d) @ q)
        p = softmax(z)
        return np.stack([1 - (p * p).sum(axis=1), (p * z).sum(axis=1)], axis=1)

    trace, score = normal_means(n * d, both, 24 if n * d < 4 else 18)
    s = c * np.linalg.norm(q)
    assert trace == pytest.approx(score / s**2, rel=1e-11)  # 12 points a number leave 4e-9, 16 leave 2e-11
    assert trace <= math.sqrt(2 * math.log(n)) / s


@pytest.mark.claim("attention.unscaled-jacobian")
@pytest.mark.parametrize("n", [2, 8, 64])
@pytest.mark.parametrize("s", [2.0, 8.0, 32.0])
def test_the_bound_on_random_scores(n, s):
    """Scores q.k with |q| = s are normal with the deviation s; 4,000 draws, the seed is fixed."""
    z = s * np.random.default_rng(2).normal(size=(4000, n))
    p = softmax(z)
    trace = 1 - (p * p).sum(axis=1)
    assert trace.mean() <= math.sqrt(2 * math.log(n)) / s
    pz = (p * z).sum(axis=1) / s**2
    # both sides from the same draws: their difference is off zero by five deviations at most
    difference = trace - pz
    assert abs(difference.mean()) <= 5 * difference.std() / math.sqrt(4000)


def test_the_division_takes_the_width_out():
    narrow, wide = (saturation(d, 8, d**-0.5, rng=np.random.default_rng(3), draws=200) for d in (16, 256))
    for field in ("largest", "jacobian", "mean_gradient", "median_gradient"):
        assert getattr(wide, field) == pytest.approx(getattr(narrow, field), rel=0.2)  # measured: within 0.1
    unscaled = saturation(256, 8, 1.0, rng=np.random.default_rng(3), draws=200)
    assert unscaled.median_gradient < wide.median_gradient / 5
    assert unscaled.mean_gradient > wide.mean_gradient  # carried by a few queries with a tie
    assert unscaled.jacobian < wide.jacobian / 50


# --- focus


@pytest.mark.claim("attention.focus")
def test_no_weight_beyond_what_the_spread_allows():
    """Exhaustive: five scores among 0, 1, 2."""
    for z in product((0.0, 1.0, 2.0), repeat=5):
        p, spread = softmax(np.array(z)), max(z) - min(z)
        bound = 1 / (1 + 4 * math.exp(-spread))
        for j in range(5):
            assert p[j] <= bound * (1 + 1e-13)
            alone = all(z[j] - z[i] == spread for i in range(5) if i != j)
            assert (p[j] > bound * (1 - 1e-12)) == alone


@pytest.mark.claim("attention.focus")
@pytest.mark.parametrize("n", [2, 10, 1000])
@pytest.mark.parametrize("w", [0.3, 0.5, 0.99])
def test_the_spread_that_a_weight_needs(n, w):
    spread = math.log(n - 1) + math.log(w / (1 - w))
    z = np.zeros(n)
    z[0] = spread
    assert softmax(z)[0] == pytest.approx(w, rel=1e-12)


# --- the functions


def test_jacobian_bound_takes_batches():
    p = softmax(np.random.default_rng(4).normal(size=(2, 3, 5)))
    assert jacobian_bound(p).shape == (2, 3)
    assert jacobian_bound(p)[1, 2] == jacobian_bound(p[1, 2])


@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input():
    with pytest.raises(ValueError, match="second_k holds the means of q_i q_j and is symmetric"):
        score_variance(np.eye(2), np.array([[1.0, 2.0], [0.0, 1.0]]))
    for bad in ((0, 8, 1.0), (4, 0, 1.0), (4, 8, 0.0), (4, 8, math.inf)):
        with pytest.raises(
            ValueError, match=r"must be at least 1 and the scale positive, got d=.*usual scale is d\*\*-0.5"
        ):
            saturation(*bad, rng=np.random.default_rng(0))
