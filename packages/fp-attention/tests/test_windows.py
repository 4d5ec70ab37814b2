"""Mirrors src/fp_attention/windows.py."""

import itertools
import tracemalloc
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.masks import Causal, Dense, First, Itself, Padding, SlidingWindow
from fp_attention.windows import TILE, allowed_pairs, receptive_field, softmax_one
from fp_autograd.rules import softmax

RNG = np.random.default_rng(17)


@pytest.mark.claim("attention.window-cost")
def test_pairs_by_formula():
    """Exhaustive up to eleven positions, against a count one by one."""
    for T in range(1, 12):
        for w in range(1, T + 1):
            pairs = [(i, j) for i in range(T) for j in range(T) if i - w < j <= i]
            N = w * T - w * (w - 1) // 2
            assert len(pairs) == N == allowed_pairs(SlidingWindow(w), T)
            for s in range(T - w + 1):
                more = [(i, j) for i in range(T) for j in range(s) if j <= i - w]
                wanted = N + s * (T - w) - s * (s - 1) // 2
                assert N + len(more) == wanted == allowed_pairs(SlidingWindow(w) | (Causal() & First(s)), T)
        assert allowed_pairs(Causal(), T) == T * (T + 1) // 2 == allowed_pairs(SlidingWindow(T), T)
        for n in range(T + 1):
            assert allowed_pairs(Causal() | First(n), T) == T * (T + 1) // 2 + n * (n - 1) // 2


@pytest.mark.parametrize("T", [1, TILE - 1, TILE, TILE + 1, 2 * TILE + 89])
def test_pairs_are_counted_in_tiles(T):
    any_ = RNG.random((T, T)) < 0.5
    valid = RNG.random((3, T)) < 0.5
    masks = [Causal(), SlidingWindow(97), SlidingWindow(97) | (Causal() & First(5)), Dense(any_), Itself()]
    for mask in masks:
        assert allowed_pairs(mask, T) == np.count_nonzero(mask.dense(T, T))
    for mask in (Padding(valid), Causal() & Padding(valid), Padding(np.ones((3, T), bool))):
        np.testing.assert_array_equal(allowed_pairs(mask, T), mask.dense(T, T).sum((-2, -1)))


def test_pairs_of_a_long_text_need_little_memory():
    tracemalloc.start()
    n = allowed_pairs(SlidingWindow(5000), 100_003)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 5000 * 100_003 - 5000 * 4999 // 2
    assert peak < 2**24  # bytes; the matrix would take 10**10


def uniform(mask, T):
    """Weights where all scores are equal, as exact fractions."""
    allowed = mask.dense(T, T)
    return [[Fraction(int(a), int(row.sum())) for a in row] for row in allowed]


def product(P, Q):
    return [[sum(p * q for p, q in zip(row, column, strict=True)) for column in zip(*Q, strict=True)] for row in P]


def power(P, L):
    found = P
    for _ in range(L - 1):
        found = product(found, P)
    return found


@pytest.mark.claim("attention.receptive-field")
@pytest.mark.parametrize(("w", "L"), [(1, 3), (2, 1), (2, 3), (3, 2), (4, 2)])
def test_a_stack_of_windows_reaches_exactly_so_far(w, L):
    T = L * (w - 1) + 4
    P = np.array(power(uniform(SlidingWindow(w), T), L))
    for t, j in np.ndindex(T, T):
        assert (P[t, j] > 0) == (0 <= t - j <= L * (w - 1))
    reached = {t - j for t, j in np.argwhere(P > 0)}
    assert len(reached) == receptive_field(w, L) == L * (w - 1) + 1


@pytest.mark.claim("attention.receptive-field")
@pytest.mark.parametrize("sinks", [0, 2])
def test_nothing_farther_away_matters_in_a_stack(sinks):
    """Layers with scores from the inputs, sums and bends: entries outside the field are drawn anew."""
    T, C, w, L = 17, 5, 3, 3
    allowed = (SlidingWindow(w) | (Causal() & First(sinks))).dense(T, T)
    weights = RNG.normal(size=(L, 4, C, C)) / 2

    def run(x):
        for Q, K, V, W in weights:
            P = softmax(np.where(allowed, np.tanh((x @ Q) @ (x @ K).T), -np.inf))  # no weight near zero
            x = x + P @ (x @ V)
            x = x + np.tanh(x @ W)
        return x

    x = RNG.normal(size=(T, C))
    y = run(x)
    for t in range(T):
        field = {*range(min(sinks, t + 1)), *range(max(t - L * (w - 1), 0), t + 1)}
        for j in range(T):
            other = x.copy()
            other[j] = RNG.normal(size=C)
            moved = np.abs(run(other)[t] - y[t]).max()
            # 1e-12 for outputs of size 100; the smallest effect seen is 1e-6
            assert (moved > 1e-9) == (j in field), (t, j, moved)


@pytest.mark.claim("attention.receptive-weight")
@pytest.mark.parametrize(("w", "L"), [(2, 3), (3, 2), (3, 3), (5, 2)])
def test_how_much_arrives_from_where(w, L):
    """Exact fractions against all sums of L dice."""
    T = L * (w - 1) + 3
    P = power(uniform(SlidingWindow(w), T), L)
    sums = Counter(map(sum, itertools.product(range(w), repeat=L)))
    for t in range(L * (w - 1), T):
        found = {m: P[t][t - m] for m in range(t + 1)}
        assert all(found[m] == Fraction(sums[m], w**L) for m in found)
        mean = sum(m * p for m, p in found.items())
        assert mean == Fraction(L * (w - 1), 2)
        assert sum((m - mean) ** 2 * p for m, p in found.items()) == Fraction(L * (w * w - 1), 12)
        assert found[L * (w - 1)] == Fraction(1, w**L)


@pytest.mark.claim("attention.receptive-weight")
def test_the_variance_of_one_step():
    w, k = sympy.symbols("w k", positive=True, integer=True)
    mean = sympy.summation(k, (k, 0, w - 1)) / w
    variance = sympy.summation(k**2, (k, 0, w - 1)) / w - mean**2
    assert sympy.simplify(mean - (w - 1) / 2) == 0 and sympy.simplify(variance - (w**2 - 1) / 12) == 0


@pytest.mark.claim("attention.dilated-reach")
@pytest.mark.parametrize(("w", "L"), [(2, 3), (3, 2), (4, 2)])
def test_one_path_from_each_position(w, L):
    T = w**L + 3
    i, j = np.indices((T, T))
    paths = np.eye(T, dtype=int)
    for layer in range(L):
        step = w**layer
        paths = paths @ ((i >= j) & ((i - j) % step == 0) & (i - j <= (w - 1) * step)).astype(int)
    np.testing.assert_array_equal(paths, (i >= j) & (i - j < w**L))


@pytest.mark.claim("attention.must-speak")
@given(st.lists(st.floats(-60, 60), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=25)
def test_softmax_cannot_be_silent(scores, seed):
    rng = np.random.default_rng(seed)
    u = rng.normal(size=3)
    u /= np.linalg.norm(u)
    gamma = 0.5
    v = rng.normal(size=(len(scores), 3))
    v += np.maximum(gamma - v @ u, 0)[:, None] * u  # what is below gamma along u is raised to it
    assert np.linalg.norm(softmax(np.array(scores)) @ v) >= gamma - 1e-12  # a few roundings
    quiet = softmax_one(np.array(scores) - 200) @ v
    assert np.linalg.norm(quiet) < 1e-50


@pytest.mark.claim("attention.sink")
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=6), st.floats(-30, 30))
@settings(max_examples=25)
def test_off_by_one_is_a_key_of_zeros(scores, b):
    s, n = np.array(scores), len(scores)
    found = softmax_one(s)
    with_key = softmax(np.append(s, 0.0))
    # 1e-12: exponents up to 60 in size, rounded to 1e-14 of themselves
    np.testing.assert_allclose(found, with_key[:-1], rtol=1e-12)
    z = np.exp(s).sum()
    np.testing.assert_allclose(found.sum(), z / (1 + z), rtol=1e-12)
    np.testing.assert_allclose(found, z / (1 + z) * softmax(s), rtol=1e-12)
    np.testing.assert_allclose(softmax_one(s - b), softmax(np.append(s, b))[:-1], rtol=1e-12)
    v = np.random.default_rng(n).normal(size=(n, 3))
    for c in (0.0, 40.0):
        y = softmax_one(s - c) @ v
        bound = n * np.exp(s.max() - c) * np.linalg.norm(v, axis=1).max()
        assert np.linalg.norm(y) <= bound * (1 + 1e-12)
    share = 0.3  # every total is reached
    shifted = s + np.log(share / (1 - share)) - np.log(z)
    assert softmax_one(shifted).sum() == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_one_by_hand_and_at_the_ends_of_the_range(dtype):
    found = softmax_one(np.array([[0.0, np.log(2.0)], [np.log(3.0), np.log(4.0)]], dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [[1 / 4, 2 / 4], [3 / 8, 4 / 8]], rtol=4 * np.finfo(dtype).eps)
    wide = np.array([1e4, 0.0, -np.inf], dtype)
    np.testing.assert_array_equal(softmax_one(wide), [1, 0, 0])
    np.testing.assert_array_equal(softmax_one(np.full(3, -np.inf, dtype)), [0, 0, 0])
    np.testing.assert_array_equal(softmax_one(np.zeros((2, 0), dtype)), np.zeros((2, 0)))


@pytest.mark.claim("attention.sink-removal")
def test_what_changes_when_keys_are_removed():
    """In symbols: two keys are removed, two stay."""
    s, v = sympy.symbols("s:4", real=True), sympy.symbols("v:4", real=True)
    z = sum(map(sympy.exp, s))
    p = [sympy.exp(score) / z for score in s]
    W, y = p[0] + p[1], sum(a * b for a, b in zip(p, v, strict=True))
    mean = (p[0] * v[0] + p[1] * v[1]) / W
    left = sympy.exp(s[2]) + sympy.exp(s[3])
    after = (sympy.exp(s[2]) * v[2] + sympy.exp(s[3]) * v[3]) / left
    zero = [
        sympy.exp(s[2]) / left - p[2] / (1 - W),
        after - (y - W * mean) / (1 - W),
        after - y - W * (after - mean),
        left / z - (1 - W),
        (after - y / (1 - W)).subs({v[0]: 0, v[1]: 0}),
    ]
    assert [sympy.simplify(each) for each in zero] == [0] * 5


@pytest.mark.claim("attention.sink-removal")
def test_with_the_sink_kept_the_rest_may_go():
    """The larger the sink's weight, the more is broken without it, and the less without everything else old."""
    s, v = RNG.normal(size=40), RNG.normal(size=(40, 3))
    v[0] = 0
    changes = []
    for sink in (0.0, 3.0, 6.0, 9.0):
        s[0] = sink
        y, W = softmax(s) @ v, softmax(s)[0]
        without = softmax(s[1:]) @ v[1:]
        np.testing.assert_allclose(without, y / (1 - W), rtol=1e-9)  # 1 - W cancels: 1e-16 of 1e-3
        changes.append(np.linalg.norm(without - y) / np.linalg.norm(y))
    assert changes == sorted(changes) and changes[-1] > 100


@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input():
    with pytest.raises(ValueError, match="among 1 position or more, got 0"):
        allowed_pairs(Causal(), 0)
    with pytest.raises(ValueError, match="4 queries and 4 keys"):
        allowed_pairs(Dense(np.ones((3, 3), bool)), 4)
    for width, layers in ((0, 1), (1, -1)):
        with pytest.raises(ValueError, match=f"got a width of {width} and {layers} layers"):
            receptive_field(width, layers)
    assert receptive_field(7, 0) == 1
