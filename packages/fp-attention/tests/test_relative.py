"""Mirrors src/fp_attention/relative.py."""

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.relative import ALiBi, RelativeBias, alibi_slopes, alibi_window, bucket_edges, buckets
from fp_autograd import Tensor
from fp_autograd.checking import gradcheck
from fp_autograd.rules import softmax

HUGGINGFACE = json.loads((Path(__file__).parent / "fixtures/huggingface_positions.json").read_text(encoding="utf-8"))
RNG = np.random.default_rng(17)
few = settings(max_examples=25, derandomize=True, deadline=None)


def spread(bias, rows, columns):
    """The bias of every pair, (H, Tq, Tk), from that of every distance, which begins at the smallest."""
    i, j = np.arange(rows)[:, None] + columns - rows, np.arange(columns)[None, :]
    return bias[:, j - i + columns - 1]


def distances_of(rows, columns):
    """All that occur between the last `rows` positions and all of them, the smallest first."""
    return np.arange(1 - columns, rows)


# --- linear biases


@pytest.mark.claim("attention.alibi-relative")
@few
@given(st.integers(1, 12), st.floats(0.01, 2), st.floats(-50, 50), st.integers(0, 99))
def test_three_ways_to_write_the_bias(T, m, c, seed):
    """Rows of softmax over the keys not after the query, some of them hidden too."""
    rng = np.random.default_rng(seed)
    s, i, j = rng.normal(size=(T, T)), np.arange(T)[:, None], np.arange(T)[None, :]
    seen = (j <= i) & ((rng.random((T, T)) < 0.7) | (i == j))
    biases = (-m * (i - j), m * j, m * (j - c), -m * np.abs(i - j), -m * ((i + 1000) - (j + 1000)))
    first, *others = (softmax(np.where(seen, s + bias, -np.inf), axis=1) for bias in biases)
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-13)
    without_mask = softmax(s + m * j, axis=1)
    if T > 1:  # the short form is for masked rows only
        assert np.abs(without_mask - softmax(s - m * np.abs(i - j), axis=1)).max() > 0


@pytest.mark.claim("attention.alibi-recency")
@few
@given(st.integers(1, 40), st.floats(0.01, 3), st.floats(0, 3), st.integers(0, 99), st.data())
def test_far_keys_have_little_weight(i, m, s, seed, data):
    n = data.draw(st.integers(1, i))
    r = i - np.arange(i + 1)  # how far each key is
    F, N = np.exp(-m * np.arange(n, i + 1)).sum(), np.exp(-m * np.arange(n)).sum()
    bound = math.exp(2 * s) * F / (math.exp(2 * s) * F + N)
    assert bound <= math.exp(2 * s - m * n) * (1 + 1e-12)
    for scores in (np.random.default_rng(seed).uniform(-s, s, i + 1), np.where(r >= n, s, -s)):
        far = softmax(scores - m * r)[r >= n].sum()
        assert far <= bound * (1 + 1e-12)
    assert far == pytest.approx(bound, rel=1e-12)  # the last choice reaches it


@pytest.mark.claim("attention.alibi-recency")
@pytest.mark.parametrize("slope", alibi_slopes(4).tolist())
def test_the_window_is_the_least_with_that_bound(slope):
    for s, share in ((0.0, 0.5), (2.0, 0.01), (1.3, 1e-6)):
        n = alibi_window(slope, s, share)
        assert math.exp(2 * s - slope * n) <= share * (1 + 1e-12)
        assert n == 1 or math.exp(2 * s - slope * (n - 1)) > share * (1 - 1e-12)
    r = np.arange(5000)
    weights = softmax(RNG.uniform(-1, 1, 5000) - slope * r)
    assert weights[alibi_window(slope, 1.0, 0.01) :].sum() <= 0.01


@pytest.mark.claim("attention.alibi-slopes")
def test_slopes_of_all_numbers_of_heads():
    """Exhaustive up to 130, in exponents that are fractions."""
    for H in range(1, 131):
        P = max(2**k for k in range(8) if 2**k <= H)
        of = lambda n: [Fraction(-8 * h, n) for h in range(1, n + 1)]  # noqa: E731
        exponents = of(P) + of(2 * P)[::2][: H - P]
        assert len(set(exponents)) == H
        assert min(exponents) == -8
        assert max(exponents) < 0
        np.testing.assert_allclose(alibi_slopes(H), [2.0 ** float(x) for x in exponents], rtol=1e-14)
        edges = [Fraction(0), *of(P)]
        for h, added in enumerate(exponents[P:], 1):
            assert edges[h] < added < edges[h - 1]
        if P == H:
            ratios = alibi_slopes(H)[1:] / alibi_slopes(H)[:-1]
            np.testing.assert_allclose(ratios, 2 ** (-8 / H), rtol=1e-14)


def test_slopes_of_huggingface():
    for n, slopes in HUGGINGFACE["alibi"].items():
        np.testing.assert_allclose(alibi_slopes(int(n)), slopes, rtol=1e-5)  # powers in float32, up to the 64th


def test_alibi_is_for_scores_only():
    alibi, x = ALiBi(3), np.ones((2, 4))
    bias = alibi.on_scores(np.array([-5, 0, 2]))
    np.testing.assert_array_equal(bias, -np.outer(alibi_slopes(3), [5, 0, 2]).astype(np.float32))
    assert bias.dtype == np.float32
    assert not np.signbit(bias[:, 1]).any()
    assert ALiBi(3, dtype=np.float64).on_scores(np.array([-5])).dtype == np.float64
    assert alibi.on_input(x) is x
    assert alibi.on_heads(x, np.arange(2)) is x
    assert alibi.state_dict() == {}


# --- buckets


def by_formula(x, n, M):
    """(E4), in floating point."""
    e = n // 2
    return x if x < e else min(n - 1, e + math.floor((n - e) * math.log(x / e) / math.log(M / e)))


@pytest.mark.claim("attention.bucket-edges")
@pytest.mark.parametrize(("n", "M"), [(2, 9), (3, 7), (4, 100), (7, 50), (8, 20), (16, 100), (32, 128), (31, 200)])
def test_edges_and_formula_agree(n, M):
    """Exhaustive up to twice the largest distance."""
    edges, e = bucket_edges(n, M), n // 2
    assert len(edges) == n
    assert edges[: e + 1] == list(range(e + 1))
    found = buckets(-np.arange(2 * M), n, M)
    assert (np.diff(found) >= 0).all()
    assert (found[M:] == n - 1).all()
    for x in range(2 * M):
        assert found[x] == max(b for b in range(n) if edges[b] <= x)
        k = (n - e) * math.log(x / e) / math.log(M / e) if x > e else 0.5
        if abs(k - round(k)) > 1e-9:  # at a whole number the rounding of the logarithms decides the formula
            assert found[x] == by_formula(x, n, M)
    if e * (1 + 1 / e) ** (n - e) <= M:
        assert set(found) == set(range(n))
        assert len(set(edges)) == n


@pytest.mark.claim("attention.bucket-edges")
def test_too_many_buckets_for_the_distances_leave_some_empty():
    """Exhaustive over small sizes: the hypothesis of the claim suffices, and without it the claim can fail."""
    failed = 0
    for n, M in itertools.product(range(2, 25), range(2, 80)):
        e = n // 2
        if e >= M:
            continue
        edges = bucket_edges(n, M)
        assert edges == sorted(edges)
        for k in range(n - e):
            x = edges[e + k]
            assert x ** (n - e) >= e ** (n - e - k) * M**k
            assert x == e or (x - 1) ** (n - e) < e ** (n - e - k) * M**k
        full = len(set(edges)) == n
        assert full or M * e ** (n - e) < e * (e + 1) ** (n - e)
        failed += not full
    assert failed > 100


@pytest.mark.claim("attention.bucket-edges")
@pytest.mark.parametrize(("n", "M"), [(8, 20), (32, 128), (64, 1000)])
def test_two_directions(n, M):
    d = np.arange(-2 * M, 2 * M + 1)
    found = buckets(d, n, M, causal=False)
    np.testing.assert_array_equal(found[d <= 0], buckets(d[d <= 0], n // 2, M))
    np.testing.assert_array_equal(found[d > 0], buckets(-d[d > 0], n // 2, M) + n // 2)
    assert set(found) == set(range(n)) - {n // 2}
    np.testing.assert_array_equal(buckets(np.arange(5), n, M), 0)  # causal: what is hidden anyhow


def test_buckets_of_huggingface():
    given, *cases = HUGGINGFACE["buckets"]
    for case in cases:
        found = buckets(np.array(given["distances"]), case["n_buckets"], case["max_distance"], causal=case["causal"])
        np.testing.assert_array_equal(found, case["buckets"], err_msg=f"{case['n_buckets']} {case['max_distance']}")


@pytest.mark.claim("attention.bucket-gradient")
@pytest.mark.parametrize("causal", [True, False])
def test_the_table_s_gradient_is_a_sum_over_pairs(causal):
    H, n, rows, columns = 3, 6, 5, 11
    layer = RelativeBias(H, n, 9, causal=causal, rng=np.random.default_rng(0), dtype=np.float64)
    G = RNG.normal(size=(2, H, rows, columns))  # of two texts
    scores = Tensor(RNG.normal(size=G.shape)) + spread(layer.on_scores(distances_of(rows, columns)), rows, columns)
    scores.backward(G)
    expected = np.zeros((n, H))
    for b, h, i, j in itertools.product(*map(range, G.shape)):
        distance = j - (i + columns - rows)
        expected[buckets(np.array([distance]), n, 9, causal=causal)[0], h] += G[b, h, i, j]
    np.testing.assert_allclose(layer.weight.grad, expected, atol=1e-13)
    if not causal:
        np.testing.assert_array_equal(layer.weight.grad[n // 2], 0)  # the bucket that stays empty


@pytest.mark.claim("attention.bucket-gradient")
def test_both_modes_and_orders():
    layer = RelativeBias(2, 4, 5, rng=np.random.default_rng(0))
    s, w, i, j = RNG.normal(size=(2, 3, 5)), RNG.normal(size=(4, 2)), np.arange(2, 5)[:, None], np.arange(5)[None, :]

    def f(s, w):
        layer.weight = w
        bias = spread(layer.on_scores(distances_of(3, 5)), 3, 5)
        return softmax(s + bias + np.where(j <= i, 0.0, -1e9), axis=-1)

    gradcheck(f, s, w)


@pytest.mark.parametrize("case", HUGGINGFACE["relative_bias"], ids=lambda c: f"causal={c['causal']}")
def test_the_bias_of_huggingface(case):
    layer = RelativeBias(2, case["n_buckets"], case["max_distance"], causal=case["causal"], rng=RNG, dtype=np.float64)
    layer.load_state_dict({"weight": np.array(case["weight"])})
    bias = spread(layer.on_scores(distances_of(3, 7)), 3, 7)
    np.testing.assert_array_equal(bias.data, case["bias"])
    bias.backward(np.array(case["g"]))
    np.testing.assert_allclose(layer.weight.grad, case["gradient"], rtol=1e-8, atol=1e-12)  # frozen in nine digits


def test_a_relative_bias_starts_small_in_the_given_precision():
    layer = RelativeBias(40, 400, 5000, rng=np.random.default_rng(0))
    assert layer.weight.dtype == np.float32
    assert layer.weight.shape == (400, 40)
    # 16,000 draws: their deviation is within 5 / sqrt(32,000) of the true one, as a share
    assert layer.weight.data.std() == pytest.approx(0.02, rel=0.03)
    assert list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("causal", [True, False])
def test_distances_of_every_type(causal):
    """Those that cannot be negated as they are: unsigned ones, and the least of a signed type."""
    for kind in (np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32):
        d = np.array([np.iinfo(kind).min, 0, 1, 2, 100]).astype(kind)
        wide = d.astype(np.int64)
        np.testing.assert_array_equal(buckets(d, 8, 50, causal=causal), buckets(wide, 8, 50, causal=causal))
        np.testing.assert_array_equal(
            ALiBi(3).on_scores(d), -np.outer(alibi_slopes(3), np.abs(wide)).astype(np.float32)
        )
    np.testing.assert_array_equal(buckets(np.array([0, 1, 2], np.uint8), 8, 50), 0)  # keys after the query


def test_up_to_eight_heads_single_precision_holds_the_slopes():
    for H in range(1, 40):
        exact = (alibi_slopes(H).astype(np.float32) == alibi_slopes(H)).all()
        assert exact == (H <= 8)


def test_bad_input(shapes_unchecked):
    for make in (alibi_slopes, ALiBi, lambda n: RelativeBias(n, rng=RNG)):
        for n in (2.0, "2", None):
            with pytest.raises(TypeError, match=f"the number of heads, is an integer, got {n!r} of type"):
                make(n)
    np.testing.assert_array_equal(alibi_slopes(np.int64(3)), alibi_slopes(3))
    for make in (alibi_slopes, ALiBi, lambda n: RelativeBias(n, rng=RNG)):
        with pytest.raises(ValueError, match="needs at least one, got 0"):
            make(0)
    for numbers in ((0.0, 1.0, 0.5), (1.0, -1.0, 0.5), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0), (math.nan, 1.0, 0.5)):
        with pytest.raises(ValueError, match="slope above 0, a spread from 0 on and a share in"):
            alibi_window(*numbers)
    for n, M in ((1, 9), (0, 9), (-4, 9), (8, 4), (8, 0)):
        with pytest.raises(ValueError, match=f"got {n} buckets and max_distance={M}"):
            bucket_edges(n, M)
        with pytest.raises(ValueError, match=f"got {n} buckets and max_distance={M}"):
            RelativeBias(2, n, M, rng=RNG)
    with pytest.raises(ValueError, match="an even number, got 7: take one more or causal=True"):
        buckets(np.arange(3), 7, 50, causal=False)
    with pytest.raises(ValueError, match="got 1 buckets"):
        RelativeBias(2, 2, 50, causal=False, rng=RNG)
    with pytest.raises(TypeError, match="whole numbers, got float64"):
        buckets(np.arange(3.0))
