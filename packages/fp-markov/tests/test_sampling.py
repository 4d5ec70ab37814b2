"""Mirrors src/fp_markov/sampling.py. Sizes are distinct primes."""

from itertools import combinations

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov.information import entropy, kl_divergence
from fp_markov.sampling import _first_above, draw, greedy, gumbel_max, min_p, sample, temperature, top_k, top_p

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


@pytest.mark.claim("markov.temperature-max-entropy")
@given(rows, st.floats(0.2, 20), st.data())
def test_no_distribution_with_at_least_the_mean_score_has_as_much_entropy(z, T, data):
    p = softmax(temperature(z, T))
    weights = data.draw(arrays(np.float64, len(z), elements=st.floats(0.01, 1.0)))
    other = weights / weights.sum()
    # move from p towards `other`, or away from it, whichever does not lower the mean score, and stay a distribution
    direction = (other - p) * (1 if (other - p) @ z >= 0 else -1)
    shrinking = direction < 0
    step = min(1.0, 0.9 * float((p[shrinking] / -direction[shrinking]).min(initial=np.inf)))
    q = np.maximum(p + step * direction, 0)
    q /= q.sum()
    # Pinsker bounds the missing divergence from below; 1e-9: rounding of scores up to 30, over temperatures from 0.2
    assert entropy(q) <= entropy(p) - np.abs(q - p).sum() ** 2 / 2 + 1e-9
    # the second statement holds for every distribution, whatever its mean score
    value = float(T * np.log(np.exp((z - z.max()) / T).sum()) + z.max())  # T ln Z(T)
    assert p @ z + T * entropy(p) == pytest.approx(value, abs=1e-9)
    assert other @ z + T * entropy(other) <= value - T * np.abs(other - p).sum() ** 2 / 2 + 1e-9


@pytest.mark.claim("markov.temperature-max-entropy")
def test_of_all_distributions_on_three_scores_with_one_mean_temperature_has_the_greatest_entropy():
    """Exhaustive on a line: distributions on the scores 0, 1, 3 with one mean differ by multiples of one vector."""
    z = np.array([0.0, 1.0, 3.0])
    u = np.array([2.0, -3.0, 1.0])  # sums to zero, and so do its scores
    for T in (0.5, 1.0, 4.0):
        p = softmax(temperature(z, T))
        steps = np.linspace(max(-p[0] / 2, -p[2]), p[1] / 3, 997)  # all that keep p + step u from being negative
        steps = steps[np.abs(steps) > 1e-6]  # nearer to p the loss, of second order, is near rounding
        q = np.maximum(p + steps[:, None] * u, 0)
        assert (entropy(q) < entropy(p)).all()


@pytest.mark.claim("markov.temperature-entropy")
def test_the_slopes_of_mean_score_and_entropy():
    """Algebra, for three tokens: both slopes are the variance over a power of the temperature."""
    T = sympy.Symbol("T", positive=True)
    z = sympy.symbols("z1:4", real=True)
    weights = [sympy.exp(z_i / T) for z_i in z]
    p = [w / sum(weights) for w in weights]
    m = sum(p_i * z_i for p_i, z_i in zip(p, z, strict=True))
    v = sum(p_i * z_i**2 for p_i, z_i in zip(p, z, strict=True)) - m**2
    H = sympy.log(sum(weights)) - m / T
    assert sympy.simplify(sympy.diff(m, T) + v / T**2) == 0
    assert sympy.simplify(sympy.diff(H, T) - v / T**3) == 0


@pytest.mark.claim("markov.temperature-entropy")
@given(rows, st.floats(0.5, 20))
def test_entropy_rises_and_the_mean_score_falls_by_the_variance(z, T):
    """Central differences of the functions that exist here, against (E4)."""
    h = 1e-4 * T
    low, p, high = (softmax(temperature(z, t)) for t in (T - h, T, T + h))
    v = float(p @ (z - p @ z) ** 2)
    # relative steps of 1e-4: the third derivative leaves errors near 1e-8 of (range / T)^4 <= 120^4, seldom reached,
    # where v / T^3 is large too; rounding leaves 1e-15 * 30 / 1e-4
    scale = 1e-6 * (1 + (np.ptp(z) / T) ** 4)
    assert (entropy(high) - entropy(low)) / (2 * h) * T == pytest.approx(v / T**2, abs=scale)
    assert ((high - low) @ z) / (2 * h) == pytest.approx(-v / T**2, abs=scale)
    if v / T**2 > 1e-9:  # above rounding
        assert entropy(low) < entropy(p) < entropy(high)
        assert low @ z > p @ z > high @ z


@given(st.floats(-30, 30), st.floats(0.5, 20))
def test_equal_logits_keep_their_entropy_at_every_temperature(score, T):
    assert entropy(softmax(temperature(np.full(5, score), T))) == pytest.approx(np.log(5), abs=1e-14)  # 5 roundings


def test_temperature_divides_log_odds_and_extreme_values_do_not_overflow():
    z = np.random.default_rng(3).normal(size=(2, 3, 5)).astype(np.float32)
    got = temperature(z, 0.5)
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.diff(got), 2 * np.diff(z), rtol=1e-5, atol=1e-5)  # float32 rounding
    extreme = np.array([-3e38, 0.0, 3e38], np.float32)
    # the difference of the two ends exceeds float32: -inf is right, and no warning comes
    assert softmax(temperature(extreme, 1e-30)).tolist() == [0, 0, 1]
    rng = np.random.default_rng(0)
    for reshape in (lambda z: top_p(z, 0.5), lambda z: min_p(z, 0.5)):
        assert reshape(extreme).tolist() == [-np.inf, -np.inf, extreme[2]]
    assert sample(extreme, rng) == gumbel_max(extreme, rng) == 2


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


@pytest.mark.claim("markov.min-p")
@given(rows, st.floats(0.01, 1), st.floats(0.2, 5), st.data())
def test_min_p_keeps_what_its_share_says_whatever_was_cut_before(z, p, T, data):
    probabilities = softmax(z)
    kept = np.isfinite(min_p(z, p))
    # (a), away from the border, where the two ways round differently
    border = np.isclose(probabilities, p * probabilities.max(), rtol=1e-9, atol=0)
    np.testing.assert_array_equal(kept[~border], (probabilities >= p * probabilities.max())[~border])
    assert kept[z.argmax()]
    # (b)
    cut = top_k(z, data.draw(st.integers(1, len(z))))
    np.testing.assert_array_equal(np.isfinite(min_p(cut, p)), kept & np.isfinite(cut))
    # (c)
    assert kept.sum() * p * probabilities.max() <= 1 + 1e-9
    # (d), away from the border
    after, before = min_p(temperature(z, T), p), min_p(z, p**T)
    clear = ~np.isclose(z - z.max(), T * np.log(p), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(np.isfinite(after)[clear], np.isfinite(before)[clear])


@pytest.mark.claim("markov.min-p")
def test_min_p_on_every_row_of_eighths():
    """Exhaustive: all distributions of three tokens in eighths, in whole numbers, at shares in quarters."""
    eighths = np.array([(a, b, 8 - a - b) for a in range(9) for b in range(9 - a)])
    with np.errstate(divide="ignore"):
        z = np.log(eighths / 8)
    for quarters in (1, 2, 3, 4):
        expected = 4 * eighths >= quarters * eighths.max(axis=1, keepdims=True)
        # the factor moves ratios of small whole numbers off the border that a rounded logarithm cannot decide
        np.testing.assert_array_equal(np.isfinite(min_p(z, quarters / 4 * (1 - 1e-12))), expected)


def test_min_p_by_hand_keeps_ties_values_and_dtype():
    z = np.log(np.array([[0.5, 0.25, 0.125, 0.125], [0.4, 0.4, 0.1, 0.1]]))
    assert np.isfinite(min_p(z, 0.5)).tolist() == [[True, True, False, False], [True, True, False, False]]
    assert np.isfinite(min_p(z, 1)).tolist() == [[True, False, False, False], [True, True, False, False]]
    got = min_p(z.astype(np.float32), 0.2)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.where([[1, 1, 1, 1]] * 2, z.astype(np.float32), 0))


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


@pytest.mark.claim("markov.gumbel-max")
def test_the_largest_noisy_logit_is_a_token_as_often_as_its_probability():
    rng, n = np.random.default_rng(29), 100_000
    z = np.log(np.array([0.5, 0.2, 0.0625, 0.0375, 0.2], np.float32))
    z[2] = -np.inf
    counts = np.bincount(gumbel_max(np.tile(z, (n, 1)), rng), minlength=5)
    assert counts[2] == 0
    # Hoeffding: a frequency is off by more than 0.0085 with probability below 2 exp(-2 n 0.0085^2) < 1.1e-6, one of
    # five below 6e-6
    assert np.abs(counts / n - softmax(z)).max() < 0.0085


@pytest.mark.claim("markov.gumbel-max")
def test_the_race_on_a_grid_of_uniform_numbers():
    """Exhaustive: each noise at n evenly spaced U; the share of wins misses its area by a border of cells."""
    n = 499
    U = (np.arange(n) + 0.5) / n
    G = -np.log(-np.log(U))
    for z in (np.array([0.0, 0.0]), np.array([1.0, -0.5]), np.array([-2.0, 3.0])):
        wins = (z[0] + G[:, None] > z[1] + G[None, :]).mean()
        # the border is a rising curve: it crosses at most 2 n of the n^2 cells
        assert wins == pytest.approx(softmax(z)[0], abs=2 / n)


@pytest.mark.claim("markov.gumbel-max")
@given(arrays(np.float64, st.integers(1, 7), elements=st.floats(-3, 3)), st.floats(1e-4, 1e-2))
def test_the_bounds_of_the_proof_close_in_on_the_probability(z, h):
    """The geometric series summed term by term, against what the proof says that they enclose."""
    w = np.exp(z)
    W = w.sum()
    k = np.arange(int(50 / (W * h)) + 1)
    upper = (np.exp(-W * k[:, None] * h) * -np.expm1(-w * h)).sum(axis=0)
    lower = upper * np.exp(-(W - w) * h)
    p = softmax(z)
    assert (lower <= p + 1e-12).all()
    assert (p <= upper + 1e-12).all()  # e^-50 of the series is left out
    # 1 - e^-x = x (1 - x/2 + ...): both bounds are within W h of the limit, relatively
    assert (upper - lower <= 1.01 * W * h * upper).all()


def test_both_ways_to_draw_agree_on_every_row_that_leaves_one_token():
    z = np.full((3, 5), -np.inf)
    z[[0, 1, 2], [4, 0, 2]] = [-700.0, 0.0, 700.0]
    for way in (sample, gumbel_max):
        assert way(z, np.random.default_rng(0)).tolist() == [4, 0, 2]
    batch = gumbel_max(np.zeros((2, 3, 5), np.float32), np.random.default_rng(1))
    assert batch.shape == (2, 3)
    assert gumbel_max(np.zeros(5), np.random.default_rng(1)).shape == ()


def test_draw_composes_the_steps_in_order():
    z = np.random.default_rng(11).normal(size=(2, 3, 13)) * 3
    got = draw(z, np.random.default_rng(1), temperature=0.7, top_k=5, top_p=0.8, min_p=0.1)
    by_hand = sample(min_p(top_p(top_k(temperature(z, 0.7), 5), 0.8), 0.1), np.random.default_rng(1))
    np.testing.assert_array_equal(got, by_hand)
    assert got.shape == (2, 3)


def test_min_p_comes_after_top_p():
    # 0.5 and 0.26 fall short of 0.77, so top-p keeps three, and min-p too keeps these three. Were 0.04 cut first, 0.5
    # and 0.26 would be 0.79 of what is left, enough for top-p
    z = np.log(np.array([0.5, 0.26, 0.2, 0.04]))
    ids = draw(np.tile(z, (2000, 1)), np.random.default_rng(3), top_p=0.77, min_p=0.3)
    # token 2 has 0.2 / 0.96 of the mass: 2000 draws miss it with probability (1 - 0.2)^2000
    assert set(ids.tolist()) == {0, 1, 2}
    ids = draw(np.tile(z, (2000, 1)), np.random.default_rng(3), temperature=2, min_p=0.3)
    # temperature first: at 2 the ratio 0.08 has become 0.28, below 0.3; 0.4 has become 0.63
    assert set(ids.tolist()) == {0, 1, 2}
    ids = draw(np.tile(z, (2000, 1)), np.random.default_rng(3), temperature=2, min_p=0.28)
    assert set(ids.tolist()) == {0, 1, 2, 3}


def test_draw_without_settings_is_sample():
    z = np.random.default_rng(13).normal(size=(5, 7))
    np.testing.assert_array_equal(draw(z, np.random.default_rng(2)), sample(z, np.random.default_rng(2)))


def test_temperature_zero_is_greedy_whatever_else_is_set_and_uses_no_randomness():
    z = np.random.default_rng(17).normal(size=(3, 11))
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    for settings in ({}, {"top_k": 2}, {"top_p": 0.1}, {"min_p": 0.5}, {"top_k": 3, "top_p": 0.9, "min_p": 0.1}):
        np.testing.assert_array_equal(draw(z, rng, temperature=0, **settings), greedy(z))
    assert rng.bit_generator.state == state


def test_a_row_alone_gives_one_id():
    z = np.array([0.0, 3.0, 1.0], np.float32)
    assert int(greedy(z)) == 1
    assert draw(z, np.random.default_rng(0), top_k=1).shape == ()


def test_inputs_are_left_as_they_were():
    z = np.random.default_rng(19).normal(size=(2, 5))
    before = z.copy()
    draw(z, np.random.default_rng(0), temperature=0.3, top_k=3, top_p=0.5, min_p=0.2)
    gumbel_max(z, np.random.default_rng(0))
    assert top_p(z, 1) is not z
    np.testing.assert_array_equal(z, before)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"temperature": -1.0}, "temperature must be zero or more and finite, got -1.0. Zero is greedy"),
        ({"temperature": float("nan")}, "temperature must be zero or more and finite, got nan"),
        ({"temperature": float("inf")}, "temperature must be zero or more and finite, got inf"),
        ({"top_k": 0}, "top_k must lie between 1 and the vocabulary's 5 tokens, got 0"),
        ({"top_k": 6}, "top_k must lie between 1 and the vocabulary's 5 tokens, got 6"),
        ({"top_p": 0.0}, r"probability mass in \(0, 1\], got 0.0"),
        ({"top_p": 1.1}, r"probability mass in \(0, 1\], got 1.1"),
        ({"top_p": float("nan")}, r"probability mass in \(0, 1\], got nan"),
        ({"min_p": 0.0}, r"share of the largest probability, in \(0, 1\], got 0.0"),
        ({"min_p": 1.1}, r"share of the largest probability, in \(0, 1\], got 1.1"),
        ({"min_p": float("nan")}, r"share of the largest probability, in \(0, 1\], got nan"),
        ({"temperature": 0, "top_k": 0}, "top_k must lie"),
        ({"temperature": 0, "min_p": 2}, "share of the largest probability"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw(np.zeros((2, 5)), np.random.default_rng(0), **settings)


CALLS = (
    greedy,
    lambda z: sample(z, np.random.default_rng(0)),
    lambda z: temperature(z, 1),
    lambda z: top_k(z, 1),
    lambda z: top_p(z, 0.5),
    lambda z: min_p(z, 0.5),
    lambda z: gumbel_max(z, np.random.default_rng(0)),
    lambda z: draw(z, np.random.default_rng(0), temperature=0),
)


@pytest.mark.parametrize("dtype", [int, np.uint8, bool, complex])
def test_logits_that_are_no_real_floats_are_refused_with_a_remedy(dtype, shapes_unchecked):
    for call in CALLS:
        with pytest.raises(TypeError, match=f"got {np.dtype(dtype)}. Convert them: logits.astype"):
            call(np.ones((2, 3), dtype))


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
    for call in CALLS:
        with pytest.raises(ValueError, match=sentence):
            call(z)


def test_zero_is_no_setting_of_temperature_itself():
    with pytest.raises(ValueError, match="For the limit 0 use greedy"):
        temperature(np.zeros(3), 0)
