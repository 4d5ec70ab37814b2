"""Mirrors src/fp_markov/comparison.py."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov import NGramModel
from fp_markov.comparison import block_bootstrap, bootstrap_interval, hoeffding_radius

samples = arrays(np.float64, st.integers(2, 30), elements=st.floats(-100, 100))


def autoregressive(phi, shape, rng):
    """x_t = phi x_{t-1} + noise of variance 1, started in its stationary distribution, along the last axis."""
    x = rng.normal(size=shape)
    x[..., 0] /= np.sqrt(1 - phi**2)
    for t in range(1, shape[-1]):
        x[..., t] += phi * x[..., t - 1]
    return x


def variance_of_the_mean(gamma):
    """(E2), for covariances that are numbers or symbols."""
    T = len(gamma)
    return (gamma[0] + 2 * sum((1 - h / sympy.Integer(T)) * gamma[h] for h in range(1, T))) / T


def true_error(phi, T):
    """The root of (E2) with the autocovariance phi^h / (1 - phi^2)."""
    h = np.arange(1, T)
    return np.sqrt((1 + 2 * np.sum((1 - h / T) * phi**h)) / (1 - phi**2) / T)


def block_means(d, length):
    """The means of the T circular blocks."""
    T = len(d)
    return [sum(d[(s + i) % T] for i in range(length)) / length for s in range(T)]


def exact_variance(d, length):
    """The first expression of (E3), by brute force over the T blocks."""
    return np.mean((np.array(block_means(d, length)) - d.mean()) ** 2) * length / len(d)


class EveryStart(np.random.Generator):
    """Instead of random starts: each combination of starts of the whole blocks and the cut one, exactly once."""

    def __init__(self, T, blocks):
        super().__init__(np.random.PCG64(0))
        self.starts = np.array(list(product(range(T), repeat=blocks)))

    def integers(self, low, high, size):
        columns = size[1] if isinstance(size, tuple) else 1
        starts, self.starts = self.starts[:, :columns], self.starts[:, columns:]
        return starts.reshape(size)


@pytest.mark.claim("markov.paired-variance")
@given(samples, samples)
def test_the_variance_of_a_difference(x, y):
    n = min(len(x), len(y))
    x, y = x[:n], y[:n]
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    assert np.var(x - y) == pytest.approx(np.var(x) + np.var(y) - 2 * covariance, abs=1e-9)  # magnitudes of 1e4


@pytest.mark.claim("markov.paired-variance")
def test_pairing_two_ngram_models_cancels_most_of_the_noise():
    rng = np.random.default_rng(31)
    words = [rng.integers(0, 11, size=rng.integers(2, 7)) for _ in range(50)]
    text = np.concatenate([words[i] for i in rng.geometric(0.1, size=5000) % 50])
    losses = [-NGramModel(order, 11).fit(text[:9001]).log_prob(text[9001:]) for order in (3, 4)]
    errors = [block_bootstrap(x, 97, 1000, rng)[1] for x in (losses[0], losses[1], losses[0] - losses[1])]
    assert errors[2] < 0.5 * np.hypot(errors[0], errors[1])


@pytest.mark.claim("markov.dependent-mean")
@pytest.mark.parametrize("T", range(2, 8))
def test_the_variance_of_the_mean_of_a_stationary_sequence(T):
    """Exactly, for any covariances: the variance of a sum is the sum of the whole covariance matrix."""
    gamma = sympy.symbols(f"gamma:{T}")
    ones, covariances = sympy.ones(1, T), sympy.Matrix(T, T, lambda s, t: gamma[abs(s - t)])
    assert sympy.expand((ones * covariances * ones.T)[0] / T**2 - variance_of_the_mean(gamma)) == 0


@pytest.mark.claim("markov.dependent-mean")
@pytest.mark.parametrize(("phi", "T"), [(-0.5, 2), (0.0, 5), (0.8, 2), (0.8, 5), (0.8, 101)])
def test_the_error_of_the_mean_of_a_dependent_sequence(phi, T):
    """Many copies of an autoregression, also short ones, where 1 - h/T counts: their means spread as (E2) says."""
    copies = 4000
    assert true_error(phi, T) ** 2 == pytest.approx(
        float(variance_of_the_mean([phi**h / (1 - phi**2) for h in range(T)])), rel=1e-12
    )
    means = autoregressive(phi, (copies, T), np.random.default_rng(37)).mean(axis=1)
    # the means are normal, so the spread's relative error is 1 / sqrt(2 * 4000) = 1.1%; five of those. Without the
    # factor 1 - h/T the error would be off by 20% at phi = 0.8 and T = 2, by 26% at T = 5
    assert means.std() == pytest.approx(true_error(phi, T), rel=5 / np.sqrt(2 * copies))


@pytest.mark.claim("markov.circular-blocks")
@pytest.mark.parametrize("length", [1, 3, 6, 30])
def test_the_two_expressions_for_the_variance_agree(length):
    d = np.random.default_rng(41).normal(size=30)
    centred = d - d.mean()
    autocovariance = [np.mean(centred * np.roll(centred, -h)) for h in range(length)]
    weights = np.array([1.0] + [2 * (1 - h / length) for h in range(1, length)])
    # 1e-15: both are sums of at most 30 terms of magnitude 1, divided by 30
    assert weights @ autocovariance / 30 == pytest.approx(exact_variance(d, length), abs=1e-15)


@pytest.mark.claim("markov.circular-blocks")
@given(st.lists(st.integers(-100, 100).map(Fraction), min_size=1, max_size=13), st.data())
def test_a_random_block_has_the_mean_of_the_text(d, data):
    """Exactly, over all T starts."""
    length = data.draw(st.integers(1, len(d)))
    assert sum(block_means(d, length)) / len(d) == sum(d) / len(d)


@pytest.mark.claim("markov.circular-blocks")
@pytest.mark.parametrize(("T", "length"), [(5, 1), (6, 2), (6, 3), (6, 6)])
def test_over_all_draws_of_blocks_the_variance_is_the_closed_form(T, length):
    d, k = np.random.default_rng(43).normal(size=T), T // length
    n = T ** (k + 1)  # the cut block has no tokens here, whatever its start
    _, error = block_bootstrap(d, length, n, EveryStart(T, k + 1))
    # 1e-12: rounding of prefix sums; a sample of n divides by n - 1
    assert error**2 * (n - 1) / n == pytest.approx(exact_variance(d, length), rel=1e-12, abs=1e-28)


@pytest.mark.claim("markov.circular-blocks")
@pytest.mark.parametrize("length", [1, 5, 25])
def test_resampled_means_spread_as_the_closed_form_says(length):
    d = autoregressive(0.6, (200,), np.random.default_rng(43))
    n = 20_000
    _, error = block_bootstrap(d, length, n, np.random.default_rng(47))
    # relative error of a standard deviation from n nearly normal numbers: 1 / sqrt(2 n) = 0.5%; five of those
    assert error == pytest.approx(np.sqrt(exact_variance(d, length)), rel=5 / np.sqrt(2 * n))


def test_blocks_recover_the_error_that_the_familiar_formula_misses():
    phi, T, length, copies = 0.8, 4999, 211, 60
    rng = np.random.default_rng(53)
    series = autoregressive(phi, (copies, T), rng)
    variances = [block_bootstrap(d, length, 400, rng)[1] ** 2 for d in series]
    ratio = np.mean(variances) / true_error(phi, T) ** 2
    # One estimate has variance about 4 L / 3 T + 2 / 400 = 0.061 (Bartlett weights, resampling): over 60 copies a
    # standard error of 0.032. Bias: lost covariance 2 phi / ((1 - phi^2) L) = 0.021, the estimated mean L / T = 0.042.
    assert 1 - 0.063 - 4 * 0.032 < ratio < 1 + 4 * 0.032
    familiar = series.std(axis=1).mean() / np.sqrt(T)
    assert familiar < 0.4 * true_error(phi, T)  # (1 - phi) / (1 + phi) = 1/9 of the variance: a third of the error


def test_independent_numbers_give_the_familiar_formula():
    rng, T, n = np.random.default_rng(59), 10_007, 5000
    d = rng.normal(size=T)
    # length 1 resamples tokens: only the resampling's own 1 / sqrt(2 n) = 1% is left; five of those
    assert block_bootstrap(d, 1, n, rng)[1] == pytest.approx(d.std() / np.sqrt(T), rel=5 / np.sqrt(2 * n))
    # length 29: plus the estimate's own noise, sqrt(29 / 3 T) = 3%; four of the two together
    assert block_bootstrap(d, 29, n, rng)[1] == pytest.approx(d.std() / np.sqrt(T), rel=4 * np.hypot(0.031, 0.01))


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6])
def test_a_length_that_does_not_divide_cuts_the_last_block_short(length):
    """Over all draws of blocks, against (E4)."""
    d, T = np.random.default_rng(61).normal(size=7), 7
    whole, rest = divmod(T, length)
    n = T ** (whole + 1)
    _, error = block_bootstrap(d, length, n, EveryStart(T, whole + 1))
    v = {j: np.var(block_means(d, j)) for j in (length, rest)}
    expected = (whole * length**2 * v[length] + rest**2 * v[rest]) / T**2
    # 1e-12: rounding of prefix sums; a sample of n divides by n - 1
    assert error**2 * (n - 1) / n == pytest.approx(expected, rel=1e-12)


def test_the_first_number_is_the_mean_of_the_differences():
    d = np.zeros(7)
    d[3] = 7.0
    assert [block_bootstrap(d, length, 2, np.random.default_rng(0))[0] for length in (1, 3, 7)] == [1.0, 1.0, 1.0]


def test_the_same_seed_gives_the_same_error_and_constants_have_none():
    d = np.random.default_rng(67).normal(size=101)
    errors = [block_bootstrap(d, 7, 100, np.random.default_rng(1)) for _ in range(2)]
    assert errors[0] == errors[1]
    assert block_bootstrap(np.full(11, 3.0), 2, 10, np.random.default_rng(0)) == (3.0, 0.0)


def test_more_starts_than_fit_one_batch_are_drawn_in_several():
    # 2^20 starts at a time, of 300,001 a resample: three resamples a batch
    d = np.random.default_rng(71).normal(size=300_000)
    _, error = block_bootstrap(d, 1, 7, np.random.default_rng(2))
    assert error == pytest.approx(1 / np.sqrt(300_000), rel=1.5)  # seven resamples say little; the order is right


@pytest.mark.parametrize(
    ("d", "length", "n", "sentence"),
    [
        (np.ones(1), 1, 10, "at least two differences, got 1"),
        (np.array([1.0, np.nan]), 1, 10, "must be finite"),
        (np.array([1.0, np.inf]), 1, 10, "must be finite"),
        (np.ones(5), 0, 10, "between 1 and the 5 differences, got 0"),
        (np.ones(5), 6, 10, "between 1 and the 5 differences, got 6"),
        (np.ones(5), 2, 1, "at least two resamples, got 1"),
    ],
)
def test_bad_input_is_refused(d, length, n, sentence):
    with pytest.raises(ValueError, match=sentence):
        block_bootstrap(d, length, n, np.random.default_rng(0))


@pytest.mark.claim("markov.hoeffding-lemma")
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 9)), min_size=1, max_size=5), st.floats(-4, 4))
def test_the_exponential_mean_of_a_bounded_variable(points, rate):
    x, p = np.array([v for v, _ in points]), np.array([w for _, w in points]) / sum(w for _, w in points)
    x = x - p @ x
    bound = rate**2 * (x.max() - x.min()) ** 2 / 8
    assert np.log(p @ np.exp(rate * x)) <= bound + 1e-12 * (1 + abs(rate) * 10)  # the logarithm of a sum


@pytest.mark.claim("markov.hoeffding-lemma")
def test_the_eighth_in_the_lemma_is_no_larger_than_needed():
    # a fair coin of values -1, 1: ln cosh t = t^2 / 2 - t^4 / 12 + ..., and (b - a)^2 / 8 = 1 / 2
    t = 0.01
    assert np.log(np.cosh(t)) == pytest.approx(t**2 * 4 / 8, rel=t**2 / 6 * 1.01)


@pytest.mark.claim("markov.hoeffding")
@pytest.mark.parametrize("p", [Fraction(1, 2), Fraction(1, 5), Fraction(19, 20)])
@pytest.mark.parametrize("T", [1, 5, 40])
def test_the_tail_of_a_mean_is_below_its_bound_at_every_distance(p, T):
    """Exactly, over all numbers of successes; and with values 0 and 1 whose chances differ between the draws."""
    for chances in ([p] * T, [p if t % 2 else 1 - p for t in range(T)]):
        distribution = [Fraction(1)]  # of the number of successes so far
        for chance in chances:
            stay, rise = [*distribution, Fraction(0)], [Fraction(0), *distribution]
            distribution = [(1 - chance) * a + chance * b for a, b in zip(stay, rise, strict=True)]
        mean = sum(chances) / T
        distances = [abs(Fraction(k, T) - mean) for k in range(T + 1)]
        for epsilon in {d for d in distances if d > 0}:
            tail = sum(q for q, d in zip(distribution, distances, strict=True) if d >= epsilon)
            assert float(tail) <= 2 * math.exp(-2 * T * float(epsilon) ** 2) * (1 + 1e-12)


@pytest.mark.claim("markov.hoeffding")
@given(st.integers(1, 10**6), st.floats(-5, 5), st.floats(0.1, 5), st.floats(0.01, 0.99))
def test_the_radius_makes_the_bound_the_confidence_asked_for(n, low, width, confidence):
    radius = hoeffding_radius(n, low, low + width, confidence)
    assert 1 - 2 * math.exp(-2 * n * radius**2 / width**2) == pytest.approx(confidence, abs=1e-9)


def test_the_exponent_of_the_chernoff_method_is_least_where_the_proof_says():
    rate, epsilon, width = sympy.symbols("rate epsilon width", positive=True)
    exponent = -rate * epsilon + rate**2 * width**2 / 8
    assert sympy.solve(exponent.diff(rate), rate) == [4 * epsilon / width**2]
    assert sympy.simplify(exponent.subs(rate, 4 * epsilon / width**2) + 2 * epsilon**2 / width**2) == 0


def test_the_interval_holds_the_middle_of_the_resampled_means():
    d, n = np.random.default_rng(97).normal(2.0, 1.0, size=401), 4001
    low, high = bootstrap_interval(d, 1, n, np.random.default_rng(3))
    mean, error = block_bootstrap(d, 1, n, np.random.default_rng(3))
    # the means of 401 normal numbers are normal: 1.96 errors to either side. A quantile of n numbers at 2.5% is off by
    # sqrt(0.025 * 0.975 / n) / 0.058 = 0.043 errors; four of those
    assert (low - mean) / error == pytest.approx(-1.96, abs=4 * 0.043)
    assert (high - mean) / error == pytest.approx(1.96, abs=4 * 0.043)
    narrow = bootstrap_interval(d, 1, n, np.random.default_rng(3), confidence=0.5)
    assert low < narrow[0] < mean < narrow[1] < high


def test_the_interval_over_all_resamples_of_three_numbers():
    # the means 0, 1, 2, 3 of (0, 0, 3) come with chances 8, 12, 6, 1 of 27: shares up to 0.30, 0.74, 0.96, 1
    for confidence, expected in [(0.3, (1, 1)), (0.6, (0, 2)), (0.9, (0, 2)), (0.99, (0, 3))]:
        interval = bootstrap_interval(np.array([0.0, 0.0, 3.0]), 1, 81, EveryStart(3, 4), confidence)
        assert interval == pytest.approx(expected, abs=1e-12)  # rounding of prefix sums


def test_intervals_of_independent_differences_cover_the_truth_about_as_often_as_they_say():
    rng, copies, T = np.random.default_rng(101), 400, 101
    hits = 0
    for _ in range(copies):
        low, high = bootstrap_interval(rng.exponential(size=T) - 1, 1, 400, rng, confidence=0.9)
        hits += low < 0 < high
    # 90% in the limit; a skewed source and T = 101 cost a few hits in a hundred, and chance, by one sigma, 1.5
    assert 0.83 < hits / copies < 0.95


def test_settings_of_intervals_and_radii_out_of_range_are_refused():
    rng = np.random.default_rng(0)
    for confidence in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            bootstrap_interval(np.ones(5), 1, 10, rng, confidence)
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            hoeffding_radius(5, 0, 1, confidence)
    with pytest.raises(ValueError, match="between 1 and the 5 differences, got 6"):
        bootstrap_interval(np.ones(5), 6, 10, rng)
    with pytest.raises(ValueError, match="at least one number, got 0"):
        hoeffding_radius(0, 0, 1)
    for low, high in ((1, 1), (2, 1), (0, math.inf), (math.nan, 1)):
        with pytest.raises(ValueError, match="finite with low < high"):
            hoeffding_radius(5, low, high)
