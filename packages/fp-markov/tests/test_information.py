"""Mirrors src/fp_markov/information.py."""

import math
import re
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov.information import (
    bits_per_byte,
    bits_per_character,
    conditional_entropy,
    cross_entropy,
    entropy,
    kl_divergence,
    mutual_information,
    perplexity,
    surprisal,
)


@st.composite
def pairs_of_distributions(draw):
    V = draw(st.integers(1, 7))
    weights = arrays(np.float64, V, elements=st.just(0.0) | st.floats(1e-6, 1.0)).filter(lambda w: w.sum() > 0)
    p, q = draw(weights), draw(weights)
    return p / p.sum(), q / q.sum()


@st.composite
def joint_tables(draw):
    """P(b, c, w) on distinct prime sizes, with zeros, some of them whole contexts."""
    weights = draw(arrays(np.float64, (2, 3, 5), elements=st.just(0.0) | st.floats(1e-3, 1.0)))
    weights[1, 2, 4] += 0.5
    if draw(st.booleans()):
        weights[:, 1] = 0
    return weights / weights.sum()


@pytest.mark.claim("markov.surprisal")
def test_the_only_monotone_additive_tables_are_multiples_of_one():
    """Exhaustive: g(x) = f(2**-x) for x up to 4, with values in quarters up to 1."""
    additive = [
        g for g in product(range(5), repeat=5) if all(g[x + y] == g[x] + g[y] for x in range(5) for y in range(5 - x))
    ]
    assert additive == [(0, 0, 0, 0, 0), (0, 1, 2, 3, 4)]


@pytest.mark.claim("markov.surprisal")
@given(st.fractions(Fraction(1, 10**6), 1), st.integers(1, 50))
def test_surprisal_is_where_additivity_and_monotonicity_confine_it(p, n):
    """The proof's brackets, in whole numbers: 2**-(m+1) < p**n <= 2**-m confines n f(p) to [m, m + 1] f(1/2)."""
    power = p**n
    m = 0
    while power * 2 ** (m + 1) <= 1:
        m += 1
    got = float(surprisal(float(p)) / surprisal(0.5))
    assert m / n - 1e-12 <= got <= (m + 1) / n + 1e-12  # rounding of numbers below 20


@pytest.mark.claim("markov.surprisal")
@given(st.floats(1e-150, 1), st.floats(1e-150, 1))
def test_surprisals_of_independent_events_add_and_rarer_events_tell_more(p, q):
    # 1e-12: logarithms below 700, each right to 2**-53 of itself
    assert surprisal(p * q) == pytest.approx(float(surprisal(p) + surprisal(q)), abs=1e-12)
    if p < q * (1 - 1e-9):
        assert surprisal(p) > surprisal(q)


def test_surprisal_by_hand():
    got = surprisal(np.array([[1.0, 0.5, 0.0], [0.125, math.exp(-3), 1.0]]))
    # 1e-15: one rounding of numbers near 1
    np.testing.assert_allclose(got, [[0, math.log(2), math.inf], [3 * math.log(2), 3, 0]], rtol=1e-15)
    assert surprisal(1).shape == () and not np.signbit(surprisal(1))


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
    # both are the length, for each byte, of the whole text's ideal code: (E8), right side
    assert bits_per_byte(ones, n_tokens=n, n_bytes=n) == pytest.approx(-np.log2(np.exp(-n * ones)) / n, rel=1e-9)


@pytest.mark.claim("markov.joint-entropy")
@given(joint_tables())
def test_the_entropy_of_a_pair_is_that_of_the_context_and_then_of_the_token(joint):
    pairs = joint.reshape(6, 5)
    context, token = pairs.sum(axis=1), pairs.sum(axis=0)
    # 1e-12: sums of at most 30 terms below 7 nats each
    assert entropy(joint.ravel()) == pytest.approx(float(entropy(context)) + conditional_entropy(joint), abs=1e-12)
    # an independent path to (E7): the divergence from the product of the marginals
    independent = np.outer(context, token)
    assert mutual_information(joint) == pytest.approx(
        float(kl_divergence(pairs.ravel(), independent.ravel())), abs=1e-12
    )
    assert mutual_information(independent) == pytest.approx(0, abs=1e-12)
    both = float(entropy(context) + entropy(token))
    assert entropy(independent.ravel()) == pytest.approx(both, abs=1e-12)


@pytest.mark.claim("markov.conditioning")
@given(joint_tables())
def test_a_longer_context_never_raises_the_conditional_entropy(joint):
    """And lowers it by at least Pinsker's bound on each context's divergence, which is zero only for equal rows."""
    short, long = conditional_entropy(joint.sum(axis=0)), conditional_entropy(joint)
    seen = joint.sum(axis=-1) > 0
    rows = np.divide(joint, joint.sum(axis=-1, keepdims=True), out=np.zeros_like(joint), where=seen[..., None])
    of_short = joint.sum(axis=0)
    of_short = of_short / np.where(of_short.sum(-1, keepdims=True) > 0, of_short.sum(-1, keepdims=True), 1)
    distances = np.abs(rows - of_short).sum(axis=-1)
    assert short - long >= (joint.sum(axis=-1) * distances**2 / 2).sum() - 1e-12  # rounding of 30 terms
    assert mutual_information(joint) >= 0


@pytest.mark.claim("markov.conditioning")
@given(joint_tables())
def test_a_context_that_tells_nothing_more_changes_nothing(joint):
    """Equality: P(b, c, w) = P(b, c) P(w | c), in which B may depend on C."""
    of_short = joint.sum(axis=0)
    of_short = of_short / np.where(of_short.sum(-1, keepdims=True) > 0, of_short.sum(-1, keepdims=True), 1)
    blind = joint.sum(axis=-1, keepdims=True) * of_short
    assert conditional_entropy(blind) == pytest.approx(conditional_entropy(blind.sum(axis=0)), abs=1e-12)  # rounding


def test_conditional_entropy_by_hand():
    # after a 0 a fair coin, after a 1 always a 1
    joint = np.array([[0.25, 0.25], [0.0, 0.5]])
    assert conditional_entropy(joint) == pytest.approx(math.log(2) / 2, rel=1e-15)  # one rounding
    # P(w) = (1/4, 3/4): I = H(W) - ln(2)/2
    by_hand = 0.25 * math.log(4) + 0.75 * math.log(4 / 3) - math.log(2) / 2
    assert mutual_information(joint) == pytest.approx(by_hand, rel=1e-14)  # the difference of two such
    no_context = np.array([0.5, 0.25, 0.25])
    assert conditional_entropy(no_context) == pytest.approx(1.5 * math.log(2), rel=1e-15)
    assert mutual_information(no_context) == 0
    certain = conditional_entropy(np.eye(3) / 3)
    assert certain == 0 and not np.signbit(certain)


def test_bits_per_character_are_those_per_byte_in_ascii_and_at_most_four_times_as_many():
    for text in ("loss", "Überfülle", "確率", "🎲🎲"):
        n_bytes = len(text.encode())
        per_byte = bits_per_byte(0.7, n_tokens=3, n_bytes=n_bytes)
        per_character = bits_per_character(0.7, n_tokens=3, n_characters=len(text))
        # 1e-12: rounding of one product and one quotient
        assert per_character * len(text) == pytest.approx(per_byte * n_bytes, rel=1e-12)
        assert per_byte <= per_character * (1 + 1e-12) <= 4 * per_byte * (1 + 2e-12)
    # by hand: two tokens at 2 nats are 4 / ln 2 bits, over 5 characters
    assert bits_per_character(2.0, n_tokens=2, n_characters=5) == pytest.approx(4 / math.log(2) / 5, rel=1e-15)


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
        (np.array([0.5, 0.6]), "each row of p must sum to one, got a sum of 1.1"),
        (np.array([1.5, -0.5]), "none negative or NaN; its minimum is -0.5"),
        (np.array([np.nan, 1.0]), "none negative or NaN"),
        (np.zeros((3, 0)), "at least one token"),
    ],
)
def test_what_is_no_distribution_is_refused(p, sentence):
    for call in (lambda: entropy(p), lambda: cross_entropy(p, p), lambda: kl_divergence(p, p)):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_distributions_over_different_tokens_do_not_compare(shapes_unchecked):
    """Also where NumPy would stretch one over the other."""
    for p, q in ((np.ones((2, 3)) / 3, np.ones((2, 5)) / 5), (np.ones((2, 3)) / 3, np.ones(3) / 3)):
        for call in (cross_entropy, kl_divergence):
            with pytest.raises(ValueError, match=re.escape(f"of one shape, got {p.shape} and {q.shape}")):
                call(p, q)


def test_losses_and_lengths_out_of_range_are_refused():
    for loss in (-0.1, math.nan):
        with pytest.raises(ValueError, match="zero or more"):
            perplexity(loss)
        with pytest.raises(ValueError, match="zero or more"):
            bits_per_byte(loss, n_tokens=1, n_bytes=1)
    with pytest.raises(ValueError, match="at least one token and one byte, got 0 and 3"):
        bits_per_byte(1.0, n_tokens=0, n_bytes=3)

    with pytest.raises(ValueError, match="at least one token and one character, got 3 and 0"):
        bits_per_character(1.0, n_tokens=3, n_characters=0)
    with pytest.raises(ValueError, match="zero or more"):
        bits_per_character(-1.0, n_tokens=1, n_characters=1)


@pytest.mark.parametrize("p", [1.5, -0.1, math.nan, np.array([0.5, 2.0])])
def test_what_is_no_probability_has_no_surprisal(p):
    with pytest.raises(ValueError, match=r"probabilities lie in \[0, 1\]"):
        surprisal(p)


@pytest.mark.parametrize(
    ("joint", "sentence"),
    [
        (
            np.full((2, 2), 0.5),
            "the whole of joint must sum to one, got a sum of 2",
        ),  # rows P(w | c) in place of P(c, w)
        (np.array([[1.5, -0.5]]), "joint must hold probabilities"),
        (np.full((2, 2), np.nan), "joint must hold probabilities"),
        (np.zeros((3, 0)), "at least one token"),
    ],
)
def test_what_is_no_joint_distribution_is_refused(joint, sentence):
    for call in (conditional_entropy, mutual_information):
        with pytest.raises(ValueError, match=sentence):
            call(joint)


def test_a_wrong_shape_is_caught():
    with pytest.raises(Exception, match="type"):
        kl_divergence(np.ones((2, 3)) / 3, np.ones((2, 5)) / 5)
