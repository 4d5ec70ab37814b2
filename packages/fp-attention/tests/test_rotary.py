"""Mirrors src/fp_attention/rotary.py."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.positions import frequencies
from fp_attention.rotary import NTK, Linear, Llama3, RoPE, Scaling, YaRN, fading, reference_rotate
from fp_autograd import Tensor
from fp_autograd.checking import gradcheck
from fp_autograd.functional import jvp, vjp

HUGGINGFACE = json.loads((Path(__file__).parent / "fixtures/huggingface_positions.json").read_text(encoding="utf-8"))
SCALINGS = {"none": None, "linear": Linear, "ntk": NTK, "yarn": YaRN, "llama3": Llama3}
RNG = np.random.default_rng(13)
few = settings(max_examples=25, derandomize=True, deadline=None)
halves = st.integers(1, 6)
LAYOUTS = ["halves", "neighbours"]
CLOSE = {"rtol": 0, "atol": 1e-11}  # vectors of length 10 turned by angles up to 5,000, which are off by 5e-13


def at(rope, x, *positions):
    """One vector at one position, or rows at several."""
    rows = np.atleast_2d(x)
    out = rope.on_heads(rows, np.array(positions))
    return out[0] if x.ndim == 1 else out


def matrix(rope, n):
    """R_n, column by column."""
    return np.stack([at(rope, e, n) for e in np.eye(rope.d_head)], axis=1)


# --- the map


def test_by_hand():
    """A quarter of a turn in plane 0 and an eighth in plane 1, at position 2."""
    rope = RoPE(4, base=4.0)
    rope._speeds = np.array([math.pi / 4, math.pi / 8])
    r = math.sqrt(0.5)
    np.testing.assert_allclose(at(rope, np.array([1.0, 2.0, 3.0, 4.0]), 2), [-3, (2 - 4) * r, 1, (4 + 2) * r])
    other = RoPE(4, base=4.0, pairs="neighbours")
    other._speeds = rope._speeds
    np.testing.assert_allclose(at(other, np.array([1.0, 2.0, 3.0, 4.0]), 2), [-2, 1, (3 - 4) * r, (4 + 3) * r])


@pytest.mark.claim("attention.rope-norm")
@few
@given(halves, st.floats(1.5, 1e6), st.integers(0, 2000), st.integers(0, 2000), st.sampled_from(LAYOUTS))
def test_turns_keep_lengths_and_add(h, base, m, n, pairs):
    rope = RoPE(2 * h, base, pairs=pairs)
    R_m, R_n, R_sum = (matrix(rope, k) for k in (m, n, m + n))
    np.testing.assert_allclose(R_n.T @ R_n, np.eye(2 * h), **CLOSE)
    np.testing.assert_allclose(R_m @ R_n, R_sum, **CLOSE)
    np.testing.assert_allclose(R_n @ R_m, R_sum, **CLOSE)
    np.testing.assert_allclose(R_n.T @ R_sum, R_m, **CLOSE)  # the transpose turns back
    x = np.linspace(-3, 2, 2 * h)
    assert np.linalg.norm(at(rope, x, n)) == pytest.approx(np.linalg.norm(x), rel=1e-13)


@pytest.mark.claim("attention.rope-relative")
def test_scores_know_the_distance_alone_in_symbols():
    m, n, w, q1, q2, k1, k2 = sympy.symbols("m n w q1 q2 k1 k2", real=True)

    def R(a):
        return sympy.Matrix([[sympy.cos(a), -sympy.sin(a)], [sympy.sin(a), sympy.cos(a)]])

    q, k = sympy.Matrix([q1, q2]), sympy.Matrix([k1, k2])
    difference = (R(m * w) * q).dot(R(n * w) * k) - q.dot(R((n - m) * w) * k)
    assert sympy.expand(sympy.expand_trig(difference.expand())).rewrite(sympy.exp).expand().simplify() == 0


@pytest.mark.claim("attention.rope-relative")
@few
@given(halves, st.floats(1.5, 1e6), st.integers(0, 900), st.integers(0, 900), st.integers(0, 900), st.integers(0, 99))
def test_scores_know_the_distance_alone(h, base, m, n, shift, seed):
    rope = RoPE(2 * h, base)
    q, k = np.random.default_rng(seed).normal(size=(2, 2 * h))
    score = at(rope, q, m) @ at(rope, k, n)
    assert at(rope, q, m + shift) @ at(rope, k, n + shift) == pytest.approx(score, abs=1e-11)
    Q, K = q[:h] + 1j * q[h:], k[:h] + 1j * k[h:]
    cosines = np.cos((n - m) * frequencies(2 * h, base) + np.angle(K) - np.angle(Q))
    assert score == pytest.approx((np.abs(Q) * np.abs(K) * cosines).sum(), abs=1e-11)


@pytest.mark.claim("attention.rope-relative")
def test_a_text_attends_alike_wherever_it_begins_and_values_are_left_alone():
    rope, T = RoPE(6), 11
    q, k, v = RNG.normal(size=(3, T, 6))

    def outputs(start, values=lambda v, positions: v):
        positions = start + np.arange(T)
        S = rope.on_heads(q, positions) @ rope.on_heads(k, positions).T
        P = np.exp(S - S.max(1, keepdims=True))
        return P / P.sum(1, keepdims=True) @ values(v, positions)

    np.testing.assert_allclose(outputs(0), outputs(777), atol=1e-11)
    assert np.abs(outputs(0, rope.on_heads) - outputs(777, rope.on_heads)).max() > 0.1  # turned values: not so


@pytest.mark.claim("attention.rope-only")
def test_any_powers_of_an_orthogonal_matrix_do_and_nothing_else_does():
    A_0, T = (np.linalg.qr(RNG.normal(size=(5, 5)))[0] for _ in range(2))
    A = [A_0 @ np.linalg.matrix_power(T, n) for n in range(9)]
    for m, n in itertools.product(range(9), repeat=2):
        if n >= m:
            np.testing.assert_allclose(A[m].T @ A[n], np.linalg.matrix_power(T, n - m), atol=1e-13)
    for n in range(8):  # T is found from any two neighbours
        np.testing.assert_allclose(A[n].T @ A[n + 1], T, atol=1e-13)
    A[5] = A[5] @ np.linalg.qr(RNG.normal(size=(5, 5)))[0]  # one that is not a power spoils it
    assert np.abs(A[4].T @ A[5] - A[0].T @ A[1]).max() > 0.1
    rope = RoPE(6)
    np.testing.assert_allclose(matrix(rope, 7), np.linalg.matrix_power(matrix(rope, 1), 7), atol=1e-13)


@pytest.mark.claim("attention.rope-only")
def test_the_plane_has_no_other_way_among_signed_permutations():
    """Exhaustive: all sequences of three of the eight; scores know the distance exactly if A_1 = A_0 T, A_2 = A_1 T."""
    eight = [
        np.array(p) * s
        for p in ([[1, 0], [0, 1]], [[0, 1], [1, 0]])
        for s in (np.array([[a], [b]]) for a in (1, -1) for b in (1, -1))
    ]
    for A_0, A_1, A_2 in itertools.product(eight, repeat=3):
        relative = (A_0.T @ A_1 == A_1.T @ A_2).all()  # distance 1; A_0' A_0 = A_1' A_1 holds always
        T = A_0.T @ A_1
        assert relative == (A_0 @ T @ T == A_2).all()


# --- the fused operation


@pytest.mark.parametrize("pairs", LAYOUTS)
@pytest.mark.parametrize("rotary_dim", [None, 2, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fast_and_reference_agree(pairs, rotary_dim, dtype):
    rope = RoPE(8, 100.0, rotary_dim=rotary_dim, pairs=pairs)
    wide = RNG.normal(size=(2, 5, 3 * 8)).astype(dtype)
    before = wide.copy()
    x = wide.reshape(2, 5, 3, 8).swapaxes(1, 2)  # (B, H, T, D), strided as heads are
    for positions in (np.arange(5), np.arange(7, 12), np.array([3, 3, 0, 9, 100_000])):
        angles = positions[:, None] * frequencies(rotary_dim or 8, 100.0)
        expected = reference_rotate(x, np.cos(angles), np.sin(angles), pairs)
        for layout in (x, np.ascontiguousarray(x), np.asfortranarray(x)):
            y = rope.on_heads(layout, positions)
            assert y.dtype == dtype
            # tables are rounded once, products once: 2**-24 each of numbers up to 5
            np.testing.assert_allclose(y, expected, atol=2e-6 if dtype == np.float32 else 1e-11)
    assert np.array_equal(wide, before)


@pytest.mark.claim("attention.rope-backward")
@pytest.mark.parametrize("pairs", LAYOUTS)
@pytest.mark.parametrize("scaling", [None, YaRN(4.0, 64)])
def test_the_gradient_is_turned_back(pairs, scaling):
    rope = RoPE(6, pairs=pairs, rotary_dim=4, scaling=scaling)
    x, g, t = RNG.normal(size=(3, 2, 5, 6))
    positions = np.array([0, 1, 2, 7, 3])
    _, back = vjp(lambda x: rope.on_heads(x, positions), x)
    (dx,) = back(g)
    for j, n in enumerate(positions):
        np.testing.assert_allclose(dx[:, j], g[:, j] @ matrix(rope, n), atol=1e-13)  # rows: g R = (R' g)'
    if scaling is None:
        np.testing.assert_allclose(rope.on_heads(dx, positions), g, atol=1e-13)  # forth and back
    _, dy = jvp(lambda x: rope.on_heads(x, positions), (x,), (t,))
    np.testing.assert_allclose(dy, rope.on_heads(t, positions), atol=1e-15)
    assert (g * dy).sum() == pytest.approx((dx * t).sum(), abs=1e-12)


@pytest.mark.claim("attention.rope-backward")
@pytest.mark.parametrize("pairs", LAYOUTS)
def test_both_modes_and_orders(pairs):
    rope = RoPE(7, 10.0, rotary_dim=4, pairs=pairs, scaling=YaRN(4.0, 64))
    x = RNG.normal(size=(2, 3, 7))
    gradcheck(lambda x: rope.on_heads(x, np.array([2, 3, 4])).tanh(), x)
    gradcheck(lambda q, k: rope.on_heads(q, np.array([5])) @ rope.on_heads(k, np.array([2])).swapaxes(-1, -2), x[0, :1],
              x[1, :1])  # fmt: skip


@pytest.mark.parametrize("pairs", LAYOUTS)
def test_gradients_of_a_sum_and_of_views(pairs):
    """The cotangent of a sum is one number, repeated without memory."""
    rope, x = RoPE(4, pairs=pairs), Tensor(np.ones((2, 3, 4)), requires_grad=True)
    rope.on_heads(x, np.arange(3)).sum().backward()
    np.testing.assert_allclose(x.grad[0], np.stack([matrix(rope, n).sum(0) for n in range(3)]), atol=1e-14)


def test_the_tables_grow_and_stay_right():
    rope = RoPE(4)
    for positions in (
        [3],
        [0, 1, 2],
        [200, 201],
        [5, 4],
        [0],
        [1, 3],
        [70_000, 70_001],
        [2, 3, 4, 6],
        [0, 2, 1, 3],
        [0, 0, 3, 3],
        [65_535],
        [65_536],
    ):
        x = RNG.normal(size=(len(positions), 4))
        angles = np.array(positions)[:, None] * frequencies(4, 10_000.0)
        y = rope.on_heads(x, np.array(positions))
        np.testing.assert_allclose(y, reference_rotate(x, np.cos(angles), np.sin(angles)), atol=1e-15)
    assert rope.on_heads(np.zeros((2, 0, 4)), np.arange(0)).shape == (2, 0, 4)
    assert rope.state_dict() == {}


# --- what fades


@pytest.mark.claim("attention.rope-not-monotone")
@pytest.mark.parametrize(("dim", "base", "m"), [(2, 10.0, 200), (4, 10.0, 60), (4, 10_000.0, 30), (6, 3.0, 15)])
def test_scores_of_equal_vectors_come_back(dim, base, m):
    """Exhaustive over the positions that the claim speaks of."""
    rope, q = RoPE(dim, base), RNG.normal(size=dim)
    f = rope.on_heads(np.tile(q, (m ** (dim // 2) + 1, 1)), np.arange(m ** (dim // 2) + 1)) @ q
    assert f[0] == pytest.approx(q @ q)
    assert f[1] < f[0] - 1e-9
    assert f[1:].max() >= q @ q * (1 - (2 * math.pi / m) ** 2 / 2)
    steps = np.diff(f)
    assert (steps > 0).any()
    assert (steps < 0).any()


@pytest.mark.claim("attention.rope-not-monotone")
def test_the_exact_counterexample():
    assert sympy.cos(3) < sympy.cos(4)
    assert 3 < sympy.pi < sympy.Rational(7, 2)
    q = np.array([1.0, 0.0])
    assert at(RoPE(2), q, 3) @ q < at(RoPE(2), q, 4) @ q


@pytest.mark.claim("attention.rope-average")
@few
@given(halves, st.floats(1.5, 1e6), st.integers(0, 3000), st.integers(0, 99))
def test_the_bound_by_summation_by_parts(h, base, n, seed):
    rope = RoPE(2 * h, base)
    q, k = np.random.default_rng(seed).normal(size=(2, 2 * h))
    Q, K = np.stack([q[:h], q[h:]]), np.stack([k[:h], k[h:]])
    c = np.stack([(Q * K).sum(0), -(Q[0] * K[1] - Q[1] * K[0])], axis=1)
    np.testing.assert_allclose(np.linalg.norm(c, axis=1), np.linalg.norm(Q, axis=0) * np.linalg.norm(K, axis=0))
    angles = n * rope.frequencies
    u = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    score = q @ at(rope, k, n)
    assert (c * u).sum() == pytest.approx(score, abs=1e-11)
    S = np.cumsum(u, axis=0)
    steps = c - np.vstack([c[1:], np.zeros(2)])
    assert (steps * S).sum() == pytest.approx(score, abs=1e-11)
    assert abs(score) <= np.linalg.norm(steps, axis=1).max() * h * fading(n, 2 * h, base) + 1e-11


@pytest.mark.claim("attention.rope-average")
def test_the_factor_of_the_bound():
    assert fading(0, 10) == 3  # (h + 1) / 2
    S = [sum(np.exp(1j * 7 * w) for w in frequencies(10, 50.0)[:j]) for j in range(1, 6)]
    assert fading(7, 10, 50.0) == pytest.approx(np.abs(S).mean())
    # nothing smaller than the sum of all |S_j| serves: one step of c, and S_1 of length one
    rope, q = RoPE(2), np.array([1.0, 0.0])
    assert abs(q @ at(rope, q, 0)) == fading(0, 2)


@pytest.mark.claim("attention.rope-window")
@few
@given(halves, st.floats(1.5, 1e5), st.integers(0, 500), st.integers(1, 1500), st.integers(0, 99))
def test_the_mean_over_a_window_forgets_the_fast_planes(h, base, a, N, seed):
    rope = RoPE(2 * h, base)
    q, k = np.random.default_rng(seed).normal(size=(2, 2 * h))
    mean = (rope.on_heads(np.tile(k, (N, 1)), np.arange(a, a + N)) @ q).mean()
    lengths = np.hypot(q[:h], q[h:]) * np.hypot(k[:h], k[h:])
    wavelengths = 2 * math.pi / rope.frequencies
    assert abs(mean) <= (lengths * np.minimum(1, wavelengths / (2 * N))).sum() + 1e-11


# --- layouts


@pytest.mark.claim("attention.rope-layouts")
def test_the_layouts_differ_by_a_permutation():
    D, T = 10, 7
    one, other = RoPE(D, 100.0), RoPE(D, 100.0, pairs="neighbours")
    q, k = RNG.normal(size=(2, T, D))
    P = np.r_[0:D:2, 1:D:2]  # P x = x[P]
    n = np.arange(T)
    turned = other.on_heads(q, n)
    np.testing.assert_allclose(turned[:, P], one.on_heads(q[:, P], n), atol=1e-14)
    scores = turned @ other.on_heads(k, n).T
    np.testing.assert_allclose(scores, one.on_heads(q[:, P], n) @ one.on_heads(k[:, P], n).T, atol=1e-13)
    assert np.abs(scores - one.on_heads(q, n) @ one.on_heads(k, n).T).max() > 0.5  # without it, noise
    W_q, W_k, x = RNG.normal(size=(D, 5)), RNG.normal(size=(D, 5)), RNG.normal(size=(T, 5))
    theirs = other.on_heads(x @ W_q.T, n) @ other.on_heads(x @ W_k.T, n).T
    np.testing.assert_allclose(theirs, one.on_heads(x @ W_q[P].T, n) @ one.on_heads(x @ W_k[P].T, n).T, atol=1e-12)


# --- longer texts


@pytest.mark.claim("attention.rope-turns")
@few
@given(st.integers(1, 64), st.floats(1.1, 1e6), st.integers(1, 100_000), st.floats(0.01, 100))
def test_which_planes_turn_how_often(h, base, L, r):
    theta = frequencies(2 * h, base)
    last = 2 * h / (2 * math.log(base)) * math.log(L / (2 * math.pi * r))
    for i, turns in enumerate(L * theta / (2 * math.pi)):
        if abs(turns - r) > 1e-9 * r:  # rounding decides at the edge itself
            assert (turns >= r) == (i <= last)


@pytest.mark.claim("attention.rope-interpolation")
@pytest.mark.parametrize("f", [1.0, 2.0, 2.5, 8.0])
def test_interpolation_stays_within_what_was_met(f):
    L, D = 50, 8
    trained, longer = RoPE(D, 100.0), RoPE(D, 100.0, scaling=Linear(f))
    distances = np.arange(int(f * (L - 1)) + 1)
    angles, met = distances[:, None] * longer.frequencies, (L - 1) * trained.frequencies
    assert (angles <= met * (1 + 1e-14)).all()
    x = RNG.normal(size=(len(distances), D))
    fractional = (distances / f)[:, None] * trained.frequencies
    y = longer.on_heads(x, distances)
    np.testing.assert_allclose(y, reference_rotate(x, np.cos(fractional), np.sin(fractional)), atol=1e-12)
    if f == 2:
        np.testing.assert_allclose(y[::2], trained.on_heads(x[::2], distances[::2] // 2), atol=1e-12)


@pytest.mark.claim("attention.rope-interpolation")
def test_without_it_slow_planes_meet_new_angles():
    """All distances up to a round of the slow planes: the point is off the arc that training filled."""
    L = 50
    for theta in RoPE(8, 10_000.0).frequencies:
        if (L - 1) * theta >= 2 * math.pi:
            continue
        new = np.arange(L, min(math.ceil(2 * math.pi / theta), 9000)) * theta
        met = np.linspace(0, (L - 1) * theta, 2001)
        gap = np.abs(np.exp(1j * new[:, None]) - np.exp(1j * met[[0, -1]])).min()  # the arc's ends are nearest
        inside = (np.angle(np.exp(1j * new)) % (2 * math.pi) >= 0) & (new % (2 * math.pi) <= met[-1])
        assert gap > 0
        assert not inside.any()


@pytest.mark.claim("attention.rope-ntk")
@few
@given(st.integers(2, 64), st.floats(1.5, 1e6), st.floats(1, 64))
def test_the_larger_base(h, base, f):
    theta, scaled = frequencies(2 * h, base), NTK(f).speeds(2 * h, base)
    assert scaled[0] == 1
    assert scaled[-1] == pytest.approx(theta[-1] / f, rel=1e-12)
    i = np.arange(h)
    np.testing.assert_allclose(scaled, theta * f ** (-2 * i / (2 * h - 2)), rtol=1e-12)
    assert (scaled <= theta * (1 + 1e-12)).all()
    assert (scaled >= theta / f * (1 - 1e-12)).all()
    # no other base: the slowest speed strictly falls with it
    b = base * f ** (2 * h / (2 * h - 2))
    slowest = [frequencies(2 * h, b * c)[-1] for c in (0.9, 1.0, 1.1)]
    assert slowest[0] > slowest[1] > slowest[2] or b * 0.9 <= 1


@pytest.mark.claim("attention.rope-blend")
@few
@given(
    st.integers(2, 64),
    st.floats(2, 1e6),
    st.floats(1, 64),
    st.integers(1, 100_000),
    st.floats(0.1, 4),
    st.floats(1.1, 40),
    st.booleans(),
)
def test_blends_lie_between_and_keep_the_order(h, base, f, L, low, ratio, truncate):
    theta = frequencies(2 * h, base)
    scalings = [YaRN(f, L, beta_fast=low * ratio, beta_slow=low, truncate=truncate), Llama3(f, low, low * ratio, L)]
    for scaling in scalings:
        blended = scaling.speeds(2 * h, base)
        assert (blended <= theta * (1 + 1e-14)).all()
        assert (blended >= theta / f * (1 - 1e-14)).all()
        assert (np.diff(blended) < 0).all()
    turns, llama = L * theta / (2 * math.pi), scalings[1].speeds(2 * h, base)
    often, seldom = turns > low * ratio * (1 + 1e-9), turns < low * (1 - 1e-9)
    np.testing.assert_allclose(llama[often], theta[often], rtol=1e-14)
    np.testing.assert_allclose(llama[seldom], theta[seldom] / f, rtol=1e-14)


@pytest.mark.claim("attention.rope-blend")
def test_any_weights_that_fall_keep_the_order():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        theta, f = frequencies(16, rng.uniform(2, 1e4)), rng.uniform(1, 50)
        w = np.sort(rng.choice([0.0, 1.0, rng.uniform()], 8))[::-1]
        assert (np.diff(w * theta + (1 - w) * theta / f) < 0).all()
    w = np.array([0.0, 1.0])  # rising weights do not: the slow plane overtakes
    assert np.diff(w * [1, 0.5] + (1 - w) * np.array([1, 0.5]) / 4) > 0


@pytest.mark.parametrize("case", HUGGINGFACE["rotary"], ids=lambda c: f"{c['kind']}-{c['dim']}-{c['settings']}")
def test_speeds_of_huggingface(case):
    made = SCALINGS[case["kind"]]
    scaling = made(**case["settings"]) if made else None
    rope = RoPE(case["dim"], case["base"], scaling=scaling)
    # theirs are in float32: the exponent is off by 2**-24, times ln(base) < 14, and a few roundings more
    np.testing.assert_allclose(rope.frequencies, case["speeds"], rtol=2e-6)
    assert rope._factor == pytest.approx(case["attention_factor"], rel=1e-14)


@pytest.mark.parametrize("case", HUGGINGFACE["turned"], ids=lambda c: f"{c['pairs']}-{c['positions']}")
def test_heads_of_huggingface(case):
    rope = RoPE(6, case["base"], pairs=case["pairs"])
    y = rope.on_heads(np.array(case["x"]), np.array(case["positions"]))
    np.testing.assert_allclose(y, case["y"], atol=2e-5)  # float32 angles up to 40 are off by 2e-6, vectors up to 3


def test_the_attention_factor_multiplies_queries_and_keys():
    x, n, scaling = RNG.normal(size=(3, 8)), np.arange(3), YaRN(4.0, 64, attention_factor=3.0)
    plain, sharp = (RoPE(8, scaling=s) for s in (YaRN(4.0, 64, attention_factor=1.0), scaling))
    np.testing.assert_allclose(sharp.on_heads(x, n), 3 * plain.on_heads(x, n), atol=1e-14)
    assert YaRN(1.0, 64).attention_factor == 1


# --- bad input


def test_bad_settings(shapes_unchecked):
    for d_head, rotary_dim in ((5, None), (0, None), (8, 3), (8, 10), (8, 0)):
        with pytest.raises(ValueError, match="RoPE turns pairs of coordinates: it takes an even width"):
            RoPE(d_head, rotary_dim=rotary_dim)
    RoPE(5, rotary_dim=4)
    with pytest.raises(ValueError, match="'halves' or 'neighbours', got 'quarters'"):
        RoPE(4, pairs="quarters")
    with pytest.raises(ValueError, match="finite number above 1, such as 10,000, got 1"):
        RoPE(4, base=1)
    for make in (Linear, NTK, lambda f: YaRN(f, 64), lambda f: Llama3(f, 1.0, 4.0, 64)):
        for factor in (0.5, math.inf, math.nan):
            with pytest.raises(ValueError, match="a finite number from 1 on, got"):
                make(factor)
    with pytest.raises(ValueError, match="0 < beta_slow < beta_fast, got 64, 3 and 2"):
        YaRN(2.0, 64, beta_fast=2, beta_slow=3)
    with pytest.raises(ValueError, match="at least one token"):
        YaRN(2.0, 0)
    with pytest.raises(ValueError, match="0 < low_freq_factor < high_freq_factor, got 64, 4 and 4"):
        Llama3(2.0, 4, 4, 64)
    with pytest.raises(ValueError, match="NTK takes dim >= 4, got 2"):
        RoPE(2, scaling=NTK(2.0))
    with pytest.raises(NotImplementedError, match="define what becomes of them"):
        RoPE(4, scaling=Scaling())
    for scaling in (Linear, {"type": "linear", "factor": 2.0}, 2.0, "yarn"):
        with pytest.raises(
            TypeError, match=r"made by one of Linear, NTK, YaRN and Llama3, such as Linear\(4\.0\), got"
        ):
            RoPE(4, scaling=scaling)
    for make in (Linear, NTK, lambda f: YaRN(f, 64), lambda f: Llama3(f, 1.0, 4.0, 64)):
        for factor, kind in (("4", "str"), (None, "NoneType")):
            with pytest.raises(TypeError, match=rf"factor of \w+ is a number, got '?\w+'? of type {kind}"):
                make(factor)
    with pytest.raises(TypeError, match="original_context of YaRN is a number, got '64' of type str"):
        YaRN(2.0, "64")
    for factor in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"queries and keys and is positive and finite, got {factor}"):
            YaRN(2.0, 64, attention_factor=factor)

        class Own(Linear):
            attention_factor = factor

        with pytest.raises(ValueError, match=f"queries and keys and is positive and finite, got {factor}"):
            RoPE(4, scaling=Own(2.0))


def test_bad_heads_and_positions(shapes_unchecked):
    rope, x = RoPE(4), np.zeros((3, 4))
    with pytest.raises(ValueError, match=r"heads of shape \(..., T, 4\), got \(3, 6\)"):
        rope.on_heads(np.zeros((3, 6)), np.arange(3))
    with pytest.raises(ValueError, match=r"heads of shape"):
        rope.on_heads(np.zeros(4), np.arange(1))
    with pytest.raises(ValueError, match=r"3 tokens need positions of shape \(3,\), got \(2,\)"):
        rope.on_heads(x, np.arange(2))
    with pytest.raises(ValueError, match="count from 0, got -1"):
        rope.on_heads(x, np.array([0, -1, 1]))
    with pytest.raises(ValueError, match="count from 0, got -1"):
        rope.on_heads(x[:1], np.array([-1]))
    with pytest.raises(TypeError, match="whole numbers, got float64"):
        rope.on_heads(x, np.arange(3.0))
    with pytest.raises(TypeError, match="float32 or float64, got int64"):
        rope.on_heads(np.zeros((3, 4), int), np.arange(3))
