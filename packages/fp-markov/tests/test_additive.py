"""Mirrors src/fp_markov/additive.py."""

import numpy as np
import pytest
import sympy

from fp_markov.additive import additive, mle
from fp_markov.counting import count_ngrams
from fp_markov.ngram import NGramModel


def integral_over_the_simplex(f, x, y):
    """Exact, over x, y >= 0 with x + y <= 1: three tokens, the third has the rest."""
    return sympy.integrate(sympy.expand(sympy.integrate(sympy.expand(f), (y, 0, 1 - x))), (x, 0, 1))


x, y = sympy.symbols("x y", nonnegative=True)
THETA = (x, y, 1 - x - y)


@pytest.mark.claim("markov.dirichlet-posterior")
@pytest.mark.parametrize(("alpha", "counts"), [(1, (2, 0, 1)), (2, (1, 3, 0)), (3, (0, 0, 2))])
def test_prior_times_likelihood_normalised_is_dirichlet_with_the_counts_added(alpha, counts):
    prior = sympy.Mul(*(theta ** (alpha - 1) for theta in THETA))
    likelihood = sympy.Mul(*(theta**n for theta, n in zip(THETA, counts, strict=True)))
    evidence = integral_over_the_simplex(prior * likelihood, x, y)
    B = sympy.Mul(*(sympy.gamma(alpha + n) for n in counts)) / sympy.gamma(3 * alpha + sum(counts))
    dirichlet = sympy.Mul(*(theta ** (alpha + n - 1) for theta, n in zip(THETA, counts, strict=True))) / B
    assert sympy.expand(prior * likelihood / evidence - dirichlet) == 0


@pytest.mark.claim("markov.additive-posterior-mean")
@pytest.mark.parametrize(("alpha", "counts"), [(1, (2, 0, 1)), (2, (1, 3, 0)), (3, (0, 0, 2))])
def test_the_posterior_mean_is_the_count_plus_alpha(alpha, counts):
    density = sympy.Mul(*(theta ** (alpha + n - 1) for theta, n in zip(THETA, counts, strict=True)))
    total = integral_over_the_simplex(density, x, y)
    text = np.repeat(np.arange(3), counts)
    ours = NGramModel(1, 3, "additive", alpha=alpha).fit(text).next_distribution([])
    for i, theta in enumerate(THETA):
        mean = integral_over_the_simplex(theta * density, x, y) / total
        assert mean == sympy.Rational(counts[i] + alpha, sum(counts) + 3 * alpha)
        assert ours[i] == pytest.approx(float(mean), rel=1e-14)


@pytest.mark.claim("markov.additive-posterior-mean")
def test_the_posterior_mean_where_alpha_is_no_integer():
    """
    By drawing 200,000 beliefs from the Dirichlet with its gammas, and weighing each by its likelihood. The weighted
    mean's standard error is below 0.002 here.
    """
    rng = np.random.default_rng(11)
    alpha, counts = 0.3, np.array([4, 1, 0])
    theta = rng.gamma(alpha, size=(200_000, 3))
    theta /= theta.sum(axis=1, keepdims=True)
    weights = np.prod(theta**counts, axis=1)
    mean = weights @ theta / weights.sum()
    np.testing.assert_allclose(mean, (counts + alpha) / (5 + 3 * alpha), atol=0.008)


def test_mle_is_the_relative_frequency_and_asks_the_shorter_context_where_it_has_none():
    model = NGramModel(2, 4, "mle").fit([0, 1, 0, 0, 2])
    np.testing.assert_allclose(model.next_distribution([0]), [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-15)
    np.testing.assert_allclose(model.next_distribution([1]), [1, 0, 0, 0])
    for unseen in (2, 3):  # the text ends in 2, and 3 is nowhere
        np.testing.assert_allclose(model.next_distribution([unseen]), [3 / 5, 1 / 5, 1 / 5, 0], rtol=1e-15)
    assert model.cross_entropy([0, 3]) == model.perplexity([0, 3]) == np.inf


def test_additive_by_hand():
    model = NGramModel(2, 4, "additive", alpha=0.5).fit([0, 1, 0, 0, 2])
    np.testing.assert_allclose(model.next_distribution([0]), np.array([1.5, 1.5, 1.5, 0.5]) / 5, rtol=1e-15)
    np.testing.assert_allclose(model.next_distribution([3]), np.full(4, 1 / 4), rtol=1e-15)


def test_both_are_what_nltk_computes(nltk):
    letters = nltk["letters"]
    text = [letters.index(letter) for letter in nltk["text"]]
    V = len(letters) + 1  # NLTK counts its label for unknown words
    models = {
        "mle": (NGramModel(3, V, "mle"), nltk["mle"]),
        "laplace": (NGramModel(3, V, "additive"), nltk["laplace"]),
        "lidstone": (NGramModel(3, V, "additive", alpha=nltk["lidstone"]["gamma"]), nltk["lidstone"]["scores"]),
    }
    for name, (model, scores) in models.items():
        model.fit(text)
        for context, expected in scores.items():
            if name == "mle" and not any(expected):
                continue  # the text never goes on there: NLTK answers with zeros
            ours = model.next_distribution([letters.index(letter) for letter in context])
            np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-15)  # a few roundings


@pytest.mark.parametrize("alpha", [0, -1, float("inf"), float("nan")])
def test_an_alpha_that_is_not_positive_is_refused(alpha):
    with pytest.raises(ValueError, match=r"must be positive and finite, got .* To add none use mle"):
        additive(count_ngrams(np.array([0, 1]), 1, 2), alpha=alpha)


def test_a_context_that_nothing_follows_has_a_backoff_of_one():
    levels = count_ngrams(np.array([0, 0, 1]), 2, 2)
    assert mle(levels)[1].backoff.tolist() == [0, 1]
    assert additive(levels)[1].backoff.tolist() == [0.5, 1]
