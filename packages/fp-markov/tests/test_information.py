"""Mirrors src/fp_markov/information.py."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov import bits_per_byte, cross_entropy, entropy, kl_divergence, perplexity


@st.composite
def pairs_of_distributions(draw):
    V = draw(st.integers(1, 7))
    weights = arrays(np.float64, V, elements=st.just(0.0) | st.floats(1e-6, 1.0)).filter(lambda w: w.sum() > 0)
    p, q = draw(weights), draw(weights)
    return p / p.sum(), q / q.sum()


@pytest.mark.claim("markov.log-tangent")
@given(st.floats(1e-300, 1e300))
def test_the_logarithm_lies_below_its_tangent_at_one(x):
    # near 1 both sides are x - 1 up to rounding: one part in 2**52 of magnitude 1
    assert math.log(x) <= x - 1 + 2**-52
    if abs(x - 1) > 1e-6:  # there the gap (x - 1)^2 / 2 is above rounding
        assert math.log(x) < x - 1


@pytest.mark.claim("markov.gibbs")
@given(pairs_of_distributions())
def test_the_divergence_is_zero_for_equal_distributions_and_positive_otherwise(pair):
    p, q = pair
    assert kl_divergence(p, p) == 0
    # Pinsker: D >= |p - q|_1^2 / 2, an independent lower bound; 1e-12 for rounding
    assert kl_divergence(p, q) >= np.abs(p - q).sum() ** 2 / 2 - 1e-12
    assert np.isinf(kl_divergence(p, q)) == bool(((q == 0) & (p > 0)).any())


@pytest.mark.claim("markov.cross-entropy-split")
@given(pairs_of_distributions())
def test_cross_entropy_is_entropy_plus_divergence(pair):
    p, q = pair
    # 1e-9: sums of at most 7 terms below 14 nats each
    np.testing.assert_allclose(cross_entropy(p, q), entropy(p) + kl_divergence(p, q), atol=1e-9)


@pytest.mark.claim("markov.max-entropy")
@given(pairs_of_distributions())
def test_no_distribution_has_more_entropy_than_the_uniform_one(pair):
    p, V = pair[0], len(pair[0])
    uniform = np.full(V, 1 / V)
    assert entropy(uniform) == pytest.approx(np.log(V), abs=1e-12)  # rounding of V <= 7 terms
    # the gap is the divergence from uniform, at least |p - u|_1^2 / 2 (Pinsker)
    assert entropy(p) <= np.log(V) - np.abs(p - uniform).sum() ** 2 / 2 + 1e-12


@pytest.mark.claim("markov.bits-per-byte")
@given(arrays(np.float64, (3, 3), elements=st.floats(0.01, 1.0)), st.lists(st.integers(0, 2), min_size=2, max_size=20))
def test_bits_per_byte_ignore_the_tokenizer_and_perplexity_does_not(weights, text):
    """One model of bytes, read once byte by byte and once as a model of pairs of bytes."""
    text = text[: len(text) // 2 * 2]
    p = weights / weights.sum(axis=1, keepdims=True)  # p[a, b]: b after a; the text begins after a 0
    singles = [-np.log(p[a, b]) for a, b in zip([0, *text], text, strict=False)]
    pair_model = p[:, :, None] * p[None, :, :]  # pair_model[a, b, c]: the token "bc" after a
    before = [0, *text][0:-1:2]
    doubles = [-np.log(pair_model[a, b, c]) for a, b, c in zip(before, text[::2], text[1::2], strict=True)]
    ones, twos = float(np.mean(singles)), float(np.mean(doubles))
    n = len(text)
    assert bits_per_byte(ones, n_tokens=n, n_bytes=n) == pytest.approx(
        bits_per_byte(twos, n_tokens=n // 2, n_bytes=n),
        rel=1e-12,  # rounding of at most 20 terms
    )
    assert perplexity(twos) == pytest.approx(perplexity(ones) ** 2, rel=1e-12)
    # both are the length, for each byte, of the whole text's ideal code: (E4), right side
    assert bits_per_byte(ones, n_tokens=n, n_bytes=n) == pytest.approx(-np.log2(np.exp(-n * ones)) / n, rel=1e-9)


def test_a_case_by_hand():
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    bits = math.log(2)
    assert entropy(p) / bits == pytest.approx(1.5)  # 1/2 * 1 + 2 * 1/4 * 2
    assert cross_entropy(p, q) / bits == pytest.approx(1.75)  # 1/2 * 2 + 1/4 * 2 + 1/4 * 1
    assert kl_divergence(p, q) / bits == pytest.approx(0.25)


def test_leading_axes_are_kept_and_float32_is_taken():
    p = np.random.default_rng(2).dirichlet(np.ones(5), size=(2, 3)).astype(np.float32)
    assert entropy(p).shape == kl_divergence(p, p).shape == (2, 3)
    assert entropy(p).dtype == np.float64
    assert entropy(p[0, 0]).shape == ()


def test_perplexity_overflows_to_infinity():
    assert perplexity(math.inf) == perplexity(1e4) == math.inf
    assert perplexity(0.0) == 1


@pytest.mark.parametrize(
    ("p", "sentence"),
    [
        (np.array([0.5, 0.6]), "must sum to one, got a row that sums to 1.1"),
        (np.array([1.5, -0.5]), "none negative or NaN; its minimum is -0.5"),
        (np.array([np.nan, 1.0]), "none negative or NaN"),
        (np.zeros((3, 0)), "at least one token"),
    ],
)
def test_what_is_no_distribution_is_refused(p, sentence):
    for call in (lambda: entropy(p), lambda: cross_entropy(p, p), lambda: kl_divergence(p, p)):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_losses_and_lengths_out_of_range_are_refused():
    for loss in (-0.1, math.nan):
        with pytest.raises(ValueError, match="zero or more"):
            perplexity(loss)
        with pytest.raises(ValueError, match="zero or more"):
            bits_per_byte(loss, n_tokens=1, n_bytes=1)
    with pytest.raises(ValueError, match="at least one token and one byte, got 0 and 3"):
        bits_per_byte(1.0, n_tokens=0, n_bytes=3)


def test_a_wrong_shape_is_caught():
    with pytest.raises(Exception, match="type"):
        kl_divergence(np.ones((2, 3)) / 3, np.ones((2, 5)) / 5)
