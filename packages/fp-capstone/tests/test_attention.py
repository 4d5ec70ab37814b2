"""Mirrors src/fp_capstone/attention.py."""

import numpy as np
import pytest

from fp_capstone import attention
from fp_capstone.attention import causal_attention, causal_attention_backward


def plainly(q, k, v, mask=None):
    """(T1) to (T3) written with loops over positions and heads: the reference."""
    B, R, H, D = q.shape
    T, K = k.shape[1:3]
    y = np.zeros_like(q)
    for b in range(B):
        for h in range(H):
            kv = h // (H // K)
            for i in range(R):
                seen = T - R + i + 1
                s = k[b, :seen, kv] @ q[b, i, h] / np.sqrt(D)
                p = np.exp(s - s.max())
                p /= p.sum()
                y[b, i, h] = p @ v[b, :seen, kv]
    return y


@pytest.fixture(params=[(3, 1), (64, 2**17), (2, 100)], ids=["pieces", "one piece", "several sequences to a piece"])
def rows(request, monkeypatch):
    rows, scores = request.param
    monkeypatch.setattr(attention, "ROWS", rows)
    monkeypatch.setattr(attention, "SCORES", scores)


def case(H, K, T=7, R=None, B=2, D=5):
    rng = np.random.default_rng(9)
    return rng.normal(size=(B, R or T, H, D)), rng.normal(size=(B, T, K, D)), rng.normal(size=(B, T, K, D))


@pytest.mark.parametrize(("H", "K"), [(3, 3), (6, 3), (6, 2), (5, 1)])
@pytest.mark.parametrize("R", [7, 3, 1])
def test_it_equals_the_loops(rows, H, K, R):
    q, k, v = case(H, K, R=R)
    np.testing.assert_allclose(causal_attention(q, k, v)[0], plainly(q, k, v), atol=1e-14)  # a few sums of order 1


@pytest.mark.claim("capstone.attention-backward")
@pytest.mark.claim("capstone.softmax-backward")
@pytest.mark.parametrize(("H", "K"), [(3, 3), (6, 3), (3, 1)])
def test_every_gradient_equals_central_differences(rows, numeric, H, K):
    q, k, v = case(H, K)
    g = np.random.default_rng(10).normal(size=q.shape)
    _, tape = causal_attention(q, k, v, keep=True)
    gradients = causal_attention_backward(g, tape)
    for x, dx in zip((q, k, v), gradients, strict=True):
        # 1e-7: see `numeric`
        expected = numeric(lambda: float((causal_attention(q, k, v)[0] * g).sum()), x)
        np.testing.assert_allclose(dx, expected, atol=1e-7)


@pytest.mark.claim("capstone.attention-backward")
def test_with_dropout_on_the_weights_as_well(rows, numeric):
    q, k, v = case(4, 2)
    g = np.random.default_rng(11).normal(size=q.shape)
    _, tape = causal_attention(q, k, v, 0.4, np.random.default_rng(12), keep=True)
    gradients = causal_attention_backward(g, tape)

    def loss():
        return float((causal_attention(q, k, v, 0.4, np.random.default_rng(12))[0] * g).sum())

    for x, dx in zip((q, k, v), gradients, strict=True):
        np.testing.assert_allclose(dx, numeric(loss, x), atol=1e-7)  # see `numeric`


@pytest.mark.claim("capstone.no-shift")
@pytest.mark.parametrize(("scale", "beyond"), [(1.0, False), (7.0, True), (30.0, True)])
def test_scores_that_are_large_are_shifted_and_others_need_not_be(rows, monkeypatch, scale, beyond):
    q, k, v = (scale * x for x in case(4, 2))
    scores = np.einsum("bthd,bshd->bhts", q, k.repeat(2, axis=2)) / np.sqrt(5)
    assert (np.abs(scores).max() > attention.SAFE) == beyond
    y, tape = causal_attention(q, k, v, keep=True)
    monkeypatch.setattr(attention, "SAFE", -1.0)  # always
    shifted, _ = causal_attention(q, k, v)
    np.testing.assert_allclose(y, shifted, rtol=1e-11)  # exp of 1,000 in float64 would round at 1,000 eps = 2e-13
    assert all(np.isfinite(dx).all() for dx in causal_attention_backward(np.ones_like(q), tape))


@pytest.mark.claim("capstone.no-shift")
@pytest.mark.parametrize("sign", [1, -1])
def test_at_the_bound_float32_neither_overflows_nor_loses_a_row(sign):
    k = np.full((1, 1500, 1, 1), 0.999 * np.sqrt(attention.SAFE), np.float32)
    y, tape = causal_attention(sign * k, k, np.ones_like(k), keep=True)
    np.testing.assert_allclose(y, 1, rtol=2e-4)  # sums of 1,500 equal terms in float32
    np.testing.assert_allclose(np.log(tape.sums[0, 0]), sign * 0.999**2 * attention.SAFE, rtol=1e-5)  # not shifted


@pytest.mark.claim("capstone.no-shift")
@pytest.mark.parametrize("score", [0.99 * attention.SAFE, -0.99 * attention.SAFE, 2 * attention.SAFE])
def test_small_gradients_keep_their_precision_up_to_the_bound_and_beyond(score):
    rng = np.random.default_rng(14)
    q, k, v, g = (rng.normal(size=(1, 130, 1, 4)).astype(np.float32) for _ in range(4))
    q *= 0.1
    q[..., 0], k[..., 0] = 1, 2 * score  # scores of about `score`, since the root of 4 is 2
    k[..., 1:] *= 0.05
    g *= 1e-12  # of a mean over many tokens
    results = []
    for dtype in (np.float32, np.float64):
        _, tape = causal_attention(q.astype(dtype), k.astype(dtype), v.astype(dtype), keep=True)
        results.append(causal_attention_backward(g.astype(dtype), tape))
    for single, double in zip(*results, strict=True):
        # float32 rounds scores of 64 by 4e-6, and keys as large are multiplied with terms that cancel
        assert np.abs(single - double).max() < 1e-3 * np.abs(double).max()


@pytest.mark.claim("capstone.softmax-backward")
def test_the_softmax_jacobian_by_sympy():
    import sympy

    s = sympy.symbols("s0:3", real=True)
    h = sympy.symbols("h0:3", real=True)
    p = [sympy.exp(a) / sum(map(sympy.exp, s)) for a in s]
    mean = sum(a * b for a, b in zip(p, h, strict=True))
    for j in range(3):
        by_chain_rule = sum(h[k] * sympy.diff(p[k], s[j]) for k in range(3))
        assert sympy.simplify(by_chain_rule - p[j] * (h[j] - mean)) == 0


@pytest.mark.claim("capstone.causality")
def test_a_change_at_one_position_alters_nothing_before_it(rows):
    q, k, v = case(4, 2)
    before = causal_attention(q, k, v)[0]
    for t in range(7):
        for x in (q, k, v):
            kept = x[:, t].copy()
            x[:, t] += 1.0
            after = causal_attention(q, k, v)[0]
            x[:, t] = kept
            np.testing.assert_array_equal(after[:, :t], before[:, :t])
            assert not np.array_equal(after[:, t:], before[:, t:]) or (t == 0 and x is q)


def test_the_variance_of_scores_is_one_after_scaling():
    rng = np.random.default_rng(13)
    q, k = rng.normal(size=(100_003, 17)), rng.normal(size=(100_003, 17))
    scores = (q * k).sum(axis=1) / np.sqrt(17)
    # the variance of a sample variance is (kurtosis - 1) / n; a product of two normals has kurtosis 9, a scaled sum
    # of 17 of them 3 + 6/17: five standard errors are 5 sqrt(2.4 / n) = 0.025
    assert scores.var() == pytest.approx(1, abs=0.025)
