"""Mirrors src/fp_markov/comparison.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov import NGramModel, block_bootstrap

samples = arrays(np.float64, st.integers(2, 30), elements=st.floats(-100, 100))


def autoregressive(phi, shape, rng):
    """x_t = phi x_{t-1} + noise of variance 1, started in its stationary distribution, along the last axis."""
    x = rng.normal(size=shape)
    x[..., 0] /= np.sqrt(1 - phi**2)
    for t in range(1, shape[-1]):
        x[..., t] += phi * x[..., t - 1]
    return x


def true_error(phi, T):
    """(E1) with the autocovariance phi^h / (1 - phi^2)."""
    h = np.arange(1, T)
    return np.sqrt((1 + 2 * np.sum((1 - h / T) * phi**h)) / (1 - phi**2) / T)


def exact_variance(d, length):
    """The first expression of (E2), by brute force over the T blocks."""
    T = len(d)
    blocks = [np.mean([d[(s + i) % T] for i in range(length)]) for s in range(T)]
    return np.mean((np.array(blocks) - d.mean()) ** 2) * length / T


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
@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.8])
def test_the_error_of_the_mean_of_a_dependent_sequence(phi):
    """Many independent copies of an autoregression: their means spread as (E1) says."""
    copies = 4000
    means = autoregressive(phi, (copies, 101), np.random.default_rng(37)).mean(axis=1)
    # the means are normal, so the spread's relative error is 1 / sqrt(2 * 4000) = 1.1%; five of those
    assert means.std() == pytest.approx(true_error(phi, 101), rel=5 / np.sqrt(2 * copies))


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
@pytest.mark.parametrize("length", [1, 5, 25])
def test_resampled_means_spread_as_the_closed_form_says(length):
    d = autoregressive(0.6, (200,), np.random.default_rng(43))
    n = 20_000
    mean, error = block_bootstrap(d, length, n, np.random.default_rng(47))
    assert mean == pytest.approx(d.mean())
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


def test_a_length_that_does_not_divide_still_resamples_every_token_equally():
    d = np.zeros(7)
    d[3] = 7.0
    # mean 1 whatever the cut: the mean over resamples is within five of its own standard errors
    n, rng = 20_000, np.random.default_rng(61)
    for length in (2, 3, 5):
        mean, error = block_bootstrap(d, length, n, rng)
        whole, rest = divmod(7, length)
        # independent blocks: token 3 lands in one of length m with probability m / 7
        expected = np.sqrt(whole * (length / 7) * (1 - length / 7) + (rest / 7) * (1 - rest / 7))
        assert mean == 1
        assert error == pytest.approx(expected, rel=0.03)  # 1 / sqrt(2 n) = 0.5% times a kurtosis below 10


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
