"""Mirrors src/fp_markov/sampling.py. Sizes are distinct primes."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov import draw, entropy, greedy, kl_divergence, sample, temperature, top_k, top_p
from fp_markov.sampling import _first_above

rows = arrays(np.float64, st.integers(1, 7), elements=st.floats(-30, 30))


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.claim("markov.temperature-limits")
@given(arrays(np.float64, st.integers(1, 7), elements=st.integers(-3, 3).map(float)))
def test_temperature_has_its_two_limits_ties_included(z):
    ties = z == z.max()
    # logits differ by 0 or at least 1: at T = 0.01 the others weigh at most e^-100; at 1e9 all exponents are below 1e-8
    np.testing.assert_allclose(softmax(temperature(z, 0.01)), ties / ties.sum(), atol=1e-40)
    np.testing.assert_allclose(softmax(temperature(z, 1e9)), np.full(len(z), 1 / len(z)), atol=1e-8)


def test_temperature_divides_log_odds_and_extreme_values_do_not_overflow():
    z = np.random.default_rng(3).normal(size=(2, 3, 5)).astype(np.float32)
    got = temperature(z, 0.5)
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.diff(got), 2 * np.diff(z), rtol=1e-5, atol=1e-5)  # float32 rounding
    extreme = np.array([-3e38, 0.0, 3e38], np.float32)
    with np.errstate(over="ignore"):  # the difference of the two ends exceeds float32: -inf is right
        assert softmax(temperature(extreme, 1e-30)).tolist() == [0, 0, 1]


@given(rows, st.data())
def test_top_k_keeps_exactly_k_and_the_largest(z, data):
    k = data.draw(st.integers(1, len(z)))
    got = top_k(z, k)
    kept = np.isfinite(got)
    assert kept.sum() == k
    assert sorted(got[kept]) == sorted(z)[len(z) - k :]
    np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(np.argsort(-z, kind="stable")[:k]))  # lower ids first


@pytest.mark.claim("markov.top-p-smallest")
@given(rows, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_set_that_reaches_the_mass(z, p):
    """Exhaustive over the subsets of at most seven tokens."""
    probabilities = softmax(z)
    kept = np.isfinite(top_p(z, p))
    assert probabilities[kept].sum() >= p - 1e-12  # rounding of the two ways to sum
    for size in range(kept.sum()):
        for subset in combinations(range(len(z)), size):
            assert probabilities[list(subset)].sum() < p + 1e-12
    assert probabilities[kept].min() >= np.where(kept, 0, probabilities).max()


def test_top_p_by_hand_and_lower_ids_first_among_equals():
    z = np.log(np.array([[0.125, 0.5, 0.25, 0.125], [0.25, 0.25, 0.25, 0.25]]))
    assert np.isfinite(top_p(z, 0.75)).tolist() == [[False, True, True, False], [True, True, True, False]]
    assert np.isfinite(top_p(z, 0.76)).tolist() == [[True, True, True, False], [True, True, True, True]]
    np.testing.assert_array_equal(top_p(z, 1), z)


@pytest.mark.claim("markov.truncation-kl")
@given(rows, st.data())
def test_renormalising_is_the_nearest_distribution_on_the_kept_set(z, data):
    p = softmax(z)
    cut = top_k(z, data.draw(st.integers(1, len(z))))
    p_S, kept = softmax(cut), np.isfinite(cut)
    least = -np.log(p[kept].sum())
    assert kl_divergence(p_S, p) == pytest.approx(least, abs=1e-9)  # rounding of 7 terms of at most 60 nats
    weights = data.draw(arrays(np.float64, len(z), elements=st.floats(0.01, 1.0))) * kept
    q = weights / weights.sum()
    # Pinsker bounds D(q || p_S) = D(q || p) - least from below
    assert kl_divergence(q, p) >= least + np.abs(q - p_S).sum() ** 2 / 2 - 1e-9


@pytest.mark.claim("markov.inverse-cdf")
@given(rows)
def test_evenly_spaced_numbers_hit_each_token_in_proportion(z):
    """Exhaustive: of n evenly spaced numbers an interval of length p_i holds n p_i, give or take one."""
    n = 997
    ids = _first_above(np.tile(z, (n, 1)), (np.arange(n) + 0.5) / n)
    counts = np.bincount(ids, minlength=len(z))
    assert np.abs(counts - n * softmax(z)).max() <= 1 + 1e-9


@pytest.mark.claim("markov.inverse-cdf")
def test_a_cut_token_is_never_drawn_even_at_the_ends_of_the_interval():
    z = np.array([-np.inf, 0.3, -np.inf, 1.7, -np.inf])
    for u in (0.0, 1 - 2**-53):
        assert _first_above(z, u) in (1, 3)
    rng = np.random.default_rng(5)
    for total in rng.uniform(1, 50_000, size=1000):
        assert (1 - 2**-53) * total < total  # so the last token with mass is found


def test_frequencies_match_probabilities():
    rng, n = np.random.default_rng(7), 100_000
    z = np.log(np.array([0.5, 0.2, 0.2, 0.05, 0.05]))
    counts = np.bincount(sample(np.tile(z, (n, 1)), rng), minlength=5)
    # Hoeffding: a frequency is off by more than 0.0085 with probability below 2 exp(-2 n 0.0085^2) < 1.1e-6
    assert np.abs(counts / n - np.exp(z)).max() < 0.0085


def test_draw_composes_the_steps_in_order():
    z = np.random.default_rng(11).normal(size=(2, 3, 13)) * 3
    got = draw(z, np.random.default_rng(1), temperature=0.7, top_k=5, top_p=0.8)
    by_hand = sample(top_p(top_k(temperature(z, 0.7), 5), 0.8), np.random.default_rng(1))
    np.testing.assert_array_equal(got, by_hand)
    assert got.shape == (2, 3)


def test_draw_without_settings_is_sample():
    z = np.random.default_rng(13).normal(size=(5, 7))
    np.testing.assert_array_equal(draw(z, np.random.default_rng(2)), sample(z, np.random.default_rng(2)))


def test_temperature_zero_is_greedy_whatever_else_is_set_and_uses_no_randomness():
    z = np.random.default_rng(17).normal(size=(3, 11))
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    for settings in ({}, {"top_k": 2}, {"top_p": 0.1}, {"top_k": 3, "top_p": 0.9}):
        np.testing.assert_array_equal(draw(z, rng, temperature=0, **settings), greedy(z))
    assert rng.bit_generator.state == state


def test_a_row_alone_gives_one_id():
    z = np.array([0.0, 3.0, 1.0], np.float32)
    assert int(greedy(z)) == 1
    assert draw(z, np.random.default_rng(0), top_k=1).shape == ()


def test_inputs_are_left_as_they_were():
    z = np.random.default_rng(19).normal(size=(2, 5))
    before = z.copy()
    draw(z, np.random.default_rng(0), temperature=0.3, top_k=3, top_p=0.5)
    assert top_p(z, 1) is not z
    np.testing.assert_array_equal(z, before)


def test_lower_temperature_means_lower_entropy():
    z = np.random.default_rng(23).normal(size=7)
    entropies = [float(entropy(softmax(temperature(z, t)))) for t in (0.1, 0.5, 1.0, 2.0, 10.0)]
    assert entropies == sorted(entropies)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"temperature": -1.0}, "temperature must be positive and finite, got -1.0"),
        ({"temperature": float("nan")}, "temperature must be positive and finite, got nan"),
        ({"top_k": 0}, "top_k must lie between 1 and the vocabulary's 5 tokens, got 0"),
        ({"top_k": 6}, "top_k must lie between 1 and the vocabulary's 5 tokens, got 6"),
        ({"top_p": 0.0}, r"probability mass in \(0, 1\], got 0.0"),
        ({"top_p": 1.1}, r"probability mass in \(0, 1\], got 1.1"),
        ({"top_p": float("nan")}, r"probability mass in \(0, 1\], got nan"),
        ({"temperature": 0, "top_k": 0}, "top_k must lie"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw(np.zeros((2, 5)), np.random.default_rng(0), **settings)


@pytest.mark.parametrize(
    ("z", "sentence"),
    [
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), "got NaN"),
        (np.array([0.0, np.inf]), "plus infinity"),
        (np.array([[0.0, 1.0], [-np.inf, -np.inf]]), "every token is cut"),
        (np.zeros((3, 0)), "at least one token"),
    ],
)
def test_logits_without_a_distribution_are_refused(z, sentence):
    rng = np.random.default_rng(0)
    calls = (
        greedy,
        lambda z: sample(z, rng),
        lambda z: temperature(z, 1),
        lambda z: top_k(z, 1),
        lambda z: top_p(z, 0.5),
    )
    for call in calls:
        with pytest.raises(ValueError, match=sentence):
            call(z)


def test_zero_is_no_setting_of_temperature_itself():
    with pytest.raises(ValueError, match="For the limit 0 use greedy"):
        temperature(np.zeros(3), 0)
