"""Mirrors src/fp_attention/positions.py."""

import itertools
import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.positions import (
    LearnedPositions,
    Positions,
    SinusoidalPositions,
    frequencies,
    longest_wavelength,
)
from fp_autograd import Tensor
from fp_autograd.checking import gradcheck

RNG = np.random.default_rng(7)
few = settings(max_examples=25, derandomize=True, deadline=None)
CLOSE = {"rtol": 0, "atol": 1e-12}  # angles up to 5,000 are off by 5e-13


def table(T, dim, base=10_000.0):
    return SinusoidalPositions(dim, base).rows(0, T)


def block_turn(s, theta):
    """R_s of `attention.sinusoidal-shift`, on pairs (sine, cosine)."""
    R = np.zeros((2 * len(theta),) * 2)
    for i, w in enumerate(theta):
        c, z = math.cos(s * w), math.sin(s * w)
        R[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, z], [-z, c]]
    return R


@pytest.mark.claim("attention.four-terms")
def test_the_score_has_four_terms():
    """In whole numbers, so exactly."""
    W_q, W_k = RNG.integers(-5, 6, (2, 3, 5))
    x, p = RNG.integers(-5, 6, (2, 7, 5))
    M = W_q.T @ W_k
    scores = ((x + p) @ W_q.T) @ ((x + p) @ W_k.T).T
    terms = [a @ M @ b.T for a, b in itertools.product((x, p), repeat=2)]
    np.testing.assert_array_equal(scores, sum(terms))
    assert all((t != 0).any() for t in terms)


def test_by_default_positions_change_nothing():
    x, none = Tensor(np.ones((2, 3))), Positions()
    assert none.on_input(x, start=5) is x
    assert none.on_heads(x, np.arange(2)) is x
    assert none.on_scores(np.arange(3)) is None
    assert none.parameters() == []


def test_the_layout_by_hand():
    """Sines in even places, cosines in odd ones, the fastest first."""
    p = table(3, 6, base=1000.0)
    for t, i in itertools.product(range(3), range(3)):
        assert abs(p[t, 2 * i] - math.sin(t * 0.1**i)) < 1e-15
        assert abs(p[t, 2 * i + 1] - math.cos(t * 0.1**i)) < 1e-15


@pytest.mark.claim("attention.sinusoidal-shift")
def test_a_shift_is_a_turn_in_symbols():
    t, s, w = sympy.symbols("t s w", real=True)
    R = sympy.Matrix([[sympy.cos(s * w), sympy.sin(s * w)], [-sympy.sin(s * w), sympy.cos(s * w)]])
    before = sympy.Matrix([sympy.sin(t * w), sympy.cos(t * w)])
    after = sympy.Matrix([sympy.sin((t + s) * w), sympy.cos((t + s) * w)])
    assert (after - R * before).applyfunc(sympy.expand_trig).applyfunc(sympy.simplify) == sympy.zeros(2, 1)


@pytest.mark.claim("attention.sinusoidal-shift")
@few
@given(st.integers(1, 9), st.floats(1.5, 1e6), st.integers(0, 300), st.integers(0, 300))
def test_a_shift_is_one_turn_for_all_positions(half, base, t, s):
    theta, p = frequencies(2 * half, base), table(601, 2 * half, base)
    R = block_turn(s, theta)
    np.testing.assert_allclose(p[t + s], R @ p[t], **CLOSE)
    np.testing.assert_allclose(R.T @ R, np.eye(2 * half), **CLOSE)


@pytest.mark.claim("attention.sinusoidal-dot")
@few
@given(st.integers(1, 9), st.floats(1.5, 1e6), st.integers(0, 300), st.integers(0, 300))
def test_dot_products_know_the_distance_alone(half, base, t, s):
    p, theta = table(301, 2 * half, base), frequencies(2 * half, base)
    expected = np.cos((t - s) * theta).sum()
    assert p[t] @ p[s] == pytest.approx(expected, abs=1e-12)
    assert p[t] @ p[t] == pytest.approx(half, abs=1e-12)
    assert p[t] @ p[s] <= half + 1e-12
    assert ((p[t] - p[s]) ** 2).sum() == pytest.approx(2 * (half - expected), abs=1e-12)


@pytest.mark.claim("attention.sinusoidal-dot")
def test_dot_products_are_a_toeplitz_matrix():
    p = table(50, 10)
    S = p @ p.T
    for s in range(50):
        np.testing.assert_allclose(np.diag(S, s), np.cos(s * frequencies(10, 10_000.0)).sum(), **CLOSE)


@pytest.mark.claim("attention.sinusoidal-distinct")
@pytest.mark.parametrize(("dim", "base"), [(2, 50.0), (4, 100.0), (6, 30.0)])
def test_positions_are_distinct_within_the_longest_wavelength(dim, base):
    """Exhaustive over all pairs of whole positions up to there, and at a fraction of it."""
    wavelength = longest_wavelength(dim, base)
    assert wavelength == pytest.approx(2 * math.pi * base ** (1 - 2 / dim), rel=1e-14)
    p = table(math.ceil(wavelength), dim, base)
    S = p @ p.T
    np.fill_diagonal(S, -1)
    assert S.max() < dim / 2 - 1e-9
    slowest = frequencies(dim, base)[-1]
    assert 2 * math.pi / slowest == pytest.approx(wavelength)
    assert math.cos(slowest * wavelength * 0.999) < 1 - 1e-6
    assert math.cos(slowest * wavelength) == pytest.approx(1, abs=1e-15)  # where the hypothesis ends, so does the proof


@pytest.mark.claim("attention.near-return")
@pytest.mark.parametrize(("h", "m"), [(1, 7), (2, 9), (3, 7), (2, 40), (1, 500)])
@pytest.mark.parametrize("base", [3.0, 100.0, 10_000.0])
def test_all_hands_come_back_together(h, m, base):
    """Exhaustive over the positions that the claim speaks of."""
    theta = frequencies(2 * h, base)
    n = np.arange(1, m**h + 1)
    turns = n[:, None] * theta / (2 * math.pi)
    off = np.abs(turns - np.round(turns)).max(axis=1)
    assert off.min() < 1 / m
    n = int(n[off.argmin()])
    p = table(n + 11, 2 * h, base).reshape(n + 11, h, 2)
    assert np.linalg.norm(p[n:] - p[:11], axis=-1).max() < 2 * math.pi / m


def test_sinusoidal_positions_are_added_in_the_input_s_precision():
    positions = SinusoidalPositions(6)
    for dtype in (np.float32, np.float64):
        x = RNG.normal(size=(2, 3, 6)).astype(dtype)
        y = positions.on_input(x, start=4)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, x + table(7, 6)[4:], rtol=1e-6 if dtype == np.float32 else 1e-15)
    t = Tensor(x, requires_grad=True)
    positions.on_input(t, start=4).backward(np.full(x.shape, 2.0))
    np.testing.assert_array_equal(t.grad, np.full(x.shape, 2.0))
    assert positions.state_dict() == {}  # nothing is learned, so nothing is saved


def test_the_kept_table_grows_and_stays_right():
    positions = SinusoidalPositions(4)
    for start, n in ((0, 3), (50, 2), (1, 1), (0, 200), (199, 3), (7, 0)):
        angles = np.arange(start, start + n)[:, None] * frequencies(4, 10_000.0)
        expected = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(n, 4)
        np.testing.assert_array_equal(positions.rows(start, n), expected)


@pytest.mark.claim("attention.learned-gradient")
def test_a_row_s_gradient_is_the_sum_over_texts():
    learned = LearnedPositions(7, 3, rng=np.random.default_rng(0), dtype=np.float64)
    x, G = Tensor(RNG.normal(size=(5, 2, 3)), requires_grad=True), RNG.normal(size=(5, 2, 3))
    y = learned.on_input(x, start=4)
    np.testing.assert_array_equal(y.data, x.data + learned.weight.data[4:6])
    y.backward(G)
    expected = np.zeros((7, 3))
    for b, t in itertools.product(range(5), range(2)):
        expected[4 + t] += G[b, t]
    np.testing.assert_allclose(learned.weight.grad, expected, atol=1e-14)
    np.testing.assert_array_equal(learned.weight.grad[[0, 1, 2, 3, 6]], 0)
    np.testing.assert_array_equal(x.grad, G)


@pytest.mark.claim("attention.learned-gradient")
def test_learned_positions_in_both_modes_and_orders():
    learned = LearnedPositions(5, 2, rng=np.random.default_rng(0), dtype=np.float64)
    x = RNG.normal(size=(3, 2, 2))
    weight = learned.weight.data.copy()

    def f(x, weight):
        learned.weight = weight
        return learned.on_input(x, start=1).tanh()

    gradcheck(f, x, weight)


def test_learned_positions_start_small_in_the_given_precision():
    learned = LearnedPositions(1000, 16, rng=np.random.default_rng(0))
    assert learned.weight.dtype == np.float32
    # 16,000 draws: their deviation is within 5 / sqrt(32,000) of the true one, as a share
    assert learned.weight.data.std() == pytest.approx(0.02, rel=0.03)
    assert list(learned.state_dict()) == ["weight"]


def test_bad_input(shapes_unchecked):
    with pytest.raises(ValueError, match="even and at least 2, got 5"):
        SinusoidalPositions(5)
    with pytest.raises(ValueError, match="even and at least 2, got 0"):
        frequencies(0, 10.0)
    for base in (1.0, -3.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="finite number above 1"):
            SinusoidalPositions(4, base)
    with pytest.raises(ValueError, match=r"shape \(..., T, 4\), got \(3, 6\)"):
        SinusoidalPositions(4).on_input(np.zeros((3, 6)))
    with pytest.raises(ValueError, match="got start=-1"):
        SinusoidalPositions(4).on_input(np.zeros((3, 4)), start=-1)
    with pytest.raises(ValueError, match="at least one row and one column, got 0 and 3"):
        LearnedPositions(0, 3, rng=RNG)
    learned = LearnedPositions(5, 3, rng=RNG)
    learned.on_input(np.zeros((5, 3)))
    for start, T in ((0, 6), (5, 1), (3, 3)):
        with pytest.raises(ValueError, match=f"positions 0 to 4, but the text takes {start} to {start + T - 1}"):
            learned.on_input(np.zeros((2, T, 3)), start=start)
    with pytest.raises(ValueError, match="vectors of 3 numbers"):
        learned.on_input(np.zeros(3))
