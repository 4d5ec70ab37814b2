"""Mirrors src/fp_align/kl.py."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_align.kl import k1, k2, k3, moments
from fp_autograd.functional import grad
from fp_autograd.rules import log_softmax

ROUNDING = 1e-12  # of float64 in sums of few terms
TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text())


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


def pair(seed, n=7, spread=1.0):
    rng = np.random.default_rng(seed)
    return softmax(spread * rng.normal(size=n)), softmax(spread * rng.normal(size=n))


seeds = st.integers(0, 10_000)


@pytest.mark.claim("align.k1-unbiased")
@pytest.mark.claim("align.k3-unbiased")
@settings(max_examples=25)
@given(seeds)
def test_the_means_of_k1_and_k3_are_the_divergence(seed):
    p, q = pair(seed)
    divergence = (p * np.log(p / q)).sum()
    found = moments(p, q)
    assert abs(found["k1"].mean - divergence) < ROUNDING
    assert abs(found["k3"].mean - divergence) < ROUNDING


@pytest.mark.claim("align.k3-unbiased")
def test_k3_misses_what_only_the_other_gives():
    p, q = np.array([0.6, 0.4, 0.0]), np.array([0.3, 0.5, 0.2])
    found, divergence = moments(p, q), 0.6 * np.log(2) + 0.4 * np.log(0.8)
    assert abs(found["k1"].mean - divergence) < ROUNDING
    assert abs(found["k3"].mean - (divergence - 0.2)) < ROUNDING


@pytest.mark.claim("align.k3-nonnegative")
@given(st.floats(-30, 30))
def test_k3_lies_between_its_parabolas(u):
    found = float(k3(np.array(0.0), np.array(u)))
    slack = 4e-16 * (1 + np.exp(u))  # roundings of e^u - 1 - u
    assert 0.5 * u * u * np.exp(-abs(u)) - slack <= found <= 0.5 * u * u * np.exp(abs(u)) + slack
    assert found >= -slack
    assert found > 0 or abs(u) < 1e-7  # below that the square is lost in rounding


@pytest.mark.claim("align.k3-variance")
@settings(max_examples=25)
@given(seeds, st.sampled_from([0.01, 0.1, 0.3]))
def test_the_bounds_of_the_variances(seed, spread):
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(size=7))
    q = softmax(np.log(p) + spread * rng.uniform(-1, 1, size=7))
    u = np.log(q / p)
    delta, square = np.abs(u).max(), (p * u * u).sum()
    c = 0.25 * delta**2 * np.exp(2 * delta)
    assert c < 1
    found = moments(p, q)
    assert found["k3"].variance <= c * square
    assert found["k1"].variance >= (1 - c) * square


def test_sampled_variances_are_those_of_the_sums():
    p, q = pair(3)
    draws = np.random.default_rng(0).choice(7, size=200_000, p=p)
    for name, k in (("k1", k1), ("k2", k2), ("k3", k3)):
        values, exact = k(np.log(p)[draws], np.log(q)[draws]), moments(p, q)[name]
        error = np.sqrt(exact.variance / len(draws))
        assert abs(values.mean() - exact.mean) < 5 * error
        assert abs(values.var() - exact.variance) < 0.05 * exact.variance  # heavy tails: about five deviations


@pytest.mark.claim("align.k2-second-order")
@settings(max_examples=25)
@given(seeds, st.sampled_from([1.0, 0.3, 0.1]))
def test_the_bias_of_k2(seed, size):
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(size=7))
    h = rng.normal(size=7)
    h -= p @ h
    eps = 0.5 * size / np.abs(h).max()
    q = p * (1 + eps * h)
    found = moments(p, q)
    rest = found["k2"].mean - found["k1"].mean + eps**3 / 6 * (p @ h**3)
    assert abs(rest) <= 6.2 * eps**4 * (p @ h**4) + 1e-15  # rounding


def test_the_bias_of_k2_is_of_third_order():
    p, h = np.array([0.25, 0.75]), np.array([3.0, -1.0])
    found = [moments(p, p * (1 + eps * h)) for eps in (0.002, 0.001)]
    bias = [m["k2"].mean - m["k1"].mean for m in found]
    assert bias[0] / bias[1] == pytest.approx(8, rel=0.01)  # the next order is smaller by 0.2 percent and a factor


@pytest.mark.claim("align.kl-loss-gradients")
@settings(max_examples=15)
@given(seeds)
def test_the_gradients_of_the_estimates_as_losses(seed):
    _, q = pair(seed)
    z = np.random.default_rng(seed).normal(size=7)
    p = softmax(z)

    def mean_gradient(k):  # samples, and how often each comes, are given
        return grad(lambda z: (p * k(log_softmax(z), np.log(q))).sum())(z)

    def forward(z):
        return (log_softmax(z).exp() * (log_softmax(z) - np.log(q))).sum()

    def reverse(z):
        return (q * (np.log(q) - log_softmax(z))).sum()

    np.testing.assert_allclose(mean_gradient(k1), 0, atol=ROUNDING)
    np.testing.assert_allclose(mean_gradient(k2), grad(forward)(z), rtol=0, atol=10 * ROUNDING)
    np.testing.assert_allclose(mean_gradient(k3), grad(reverse)(z), rtol=0, atol=10 * ROUNDING)
    assert np.abs(grad(forward)(z) - grad(reverse)(z)).max() > 1e-3  # they are different


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_values_and_gradients_are_those_of_pytorch(name):
    case = TORCH["kl"]
    logp, logq = np.array(case["logp"]), np.array(case["logq"])
    k = {"k1": k1, "k2": k2, "k3": k3}[name]
    # 1e-12: both compute in float64
    np.testing.assert_allclose(k(logp, logq), case[name]["values"], rtol=1e-12)
    np.testing.assert_allclose(grad(lambda x: k(x, logq).sum())(logp), case[name]["gradient"], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("p", "q", "sentence"),
    [
        ([0.5, 0.5], [0.5, 0.6], "q must sum to one"),
        ([0.5, 0.5], [1.0, 0.0], "q is positive where p is"),
        ([0.5, 0.5], [0.2, 0.3, 0.5], "over the same outcomes"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input_is_refused_with_a_sentence(p, q, sentence):
    with pytest.raises(ValueError, match=sentence):
        moments(np.array(p), np.array(q))
