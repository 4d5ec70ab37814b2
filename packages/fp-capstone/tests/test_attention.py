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
@pytest.mark.parametrize("scale", [1.0, 7.0, 30.0])
def test_scores_that_may_be_large_are_shifted(rows, monkeypatch, scale):
    q, k, v = (scale * x for x in case(4, 2))
    shifted = []
    monkeypatch.setattr(attention, "_bounded", lambda *a, bounded=attention._bounded: shifted.append(bounded(*a)))
    with_shift, _ = causal_attention(q, k, v)  # the stand-in returns None: shift
    monkeypatch.undo()
    assert shifted == [scale == 1.0]  # |q||k| / sqrt(5) is about 10 then, and 49 times as much at the next
    y, tape = causal_attention(q, k, v, keep=True)
    np.testing.assert_allclose(y, with_shift, rtol=1e-11)  # exp of 100 in float64 rounds at 100 eps = 2e-14
    assert all(np.isfinite(dx).all() for dx in causal_attention_backward(np.ones_like(q), tape))


@pytest.mark.claim("capstone.no-shift")
def test_at_the_bound_float32_neither_overflows_nor_loses_a_row():
    T, D = 1500, 1
    root = np.float32(np.sqrt(attention.SAFE))
    k = np.full((1, T, 1, D), root, np.float32)
    for sign in (1, -1):
        q = sign * k * np.float32(0.999999)
        assert attention._bounded(q.reshape(1, 1, 1, T, D), k)
        y, _ = causal_attention(q, k, np.ones_like(k))
        np.testing.assert_allclose(y, 1, rtol=2e-4)  # sums of 1,500 equal terms in float32


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
