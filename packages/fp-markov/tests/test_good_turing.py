"""Mirrors src/fp_markov/good_turing.py."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from fp_markov.counting import count_ngrams
from fp_markov.good_turing import good_turing_counts, katz_discounts
from fp_markov.ngram import NGramModel


def expectation(p, N, f):
    """The mean of f(how often each kind came) over all samples of N, exactly."""
    total = Fraction(0)
    for sample in product(range(len(p)), repeat=N):
        weight = Fraction(1)
        for kind in sample:
            weight *= p[kind]
        total += weight * f([sample.count(kind) for kind in range(len(p))])
    return total


@pytest.mark.claim("markov.good-turing-mass")
@pytest.mark.parametrize("p", [(1, 2, 4), (5, 1, 1), (0, 3, 4)])
def test_the_expected_mass_over_all_samples_exactly(p):
    """Exhaustive over the 3^5 samples of five tokens and the 3^6 of six, in fractions."""
    p, N = [Fraction(share, 7) for share in p], 5
    for r in range(N + 1):
        mass = expectation(p, N, lambda times: sum(q for q, t in zip(p, times, strict=True) if t == r))  # noqa: B023
        kinds = expectation(p, N + 1, lambda times: sum(t == r + 1 for t in times))  # noqa: B023
        assert mass == Fraction(r + 1, N + 1) * kinds


@pytest.mark.claim("markov.katz-discounts")
def test_katzs_discounts_are_the_only_ones():
    """The conditions, solved by sympy for three counts, against (E5); then the number that is taken."""
    n1, n2, n3, n4, mu = sympy.symbols("n1:5 mu", positive=True)
    n, k = [None, n1, n2, n3, n4], 3
    star = [None] + [(r + 1) * n[r + 1] / n[r] for r in range(1, k + 1)]
    taken = sum(n[r] * mu * (1 - star[r] / r) * r for r in range(1, k + 1))
    (solved,) = sympy.solve(sympy.Eq(taken, n1), mu)
    A = (k + 1) * n4 / n1
    for r in range(1, k + 1):
        assert sympy.simplify(1 - solved * (1 - star[r] / r) - (star[r] / r - A) / (1 - A)) == 0


@pytest.mark.claim("markov.katz-discounts")
def test_what_the_code_takes_is_the_number_of_kinds_seen_once():
    n = np.array([90, 30, 16, 9, 6, 4])
    d = katz_discounts(np.repeat(np.arange(1, 7), n))
    assert sum(n[r - 1] * (1 - d[r]) * r for r in range(1, 6)) == pytest.approx(90, rel=1e-12)
    star = np.arange(2, 7) * n[1:] / n[:-1] / np.arange(1, 6)
    ratios = (1 - d[1:]) / (1 - star)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)  # one multiple for all


@pytest.mark.parametrize("n", [(5, 0, 3, 2, 2, 1), (6, 3, 2, 2, 2, 2), (9, 9, 9, 1, 1, 1)])
def test_where_katzs_discounts_do_not_exist_one_half_is_taken(n):
    d = katz_discounts(np.repeat(np.arange(1, 7), n))
    np.testing.assert_allclose(d, [1, 1 / 2, 3 / 4, 5 / 6, 7 / 8, 9 / 10], rtol=1e-15)


@pytest.mark.claim("markov.katz-proper")
@given(st.lists(st.integers(0, 4), min_size=9, max_size=80), st.integers(1, 3))
def test_katz_is_a_distribution_after_every_context(text, order):
    """Contexts after which nothing, something, and everything was seen; with counts above and below the limit."""
    model = NGramModel(order, 5, "katz").fit(text)
    for n in range(order):
        for context in product(range(5), repeat=n):
            p = model.next_distribution(context)
            assert p.sum() == pytest.approx(1, abs=1e-12)
            assert p.min() > 0


def test_katz_by_hand():
    """
    "aababb": bigrams aa, ab twice, ba, bb; discounts fall back: 1/2 off each. P1(a) = P1(b) = 2.5/6 of three letters,
    the unseen c gets 1/6. After a: P(a|a) = 0.5/3, P(b|a) = 1.5/3, and c all that is left, 1/3, whatever P1(c) is.
    """
    model = NGramModel(2, 3, "katz").fit([0, 0, 1, 0, 1, 1])
    np.testing.assert_allclose(model.next_distribution([]), [2.5 / 6, 2.5 / 6, 1 / 6], rtol=1e-14)
    np.testing.assert_allclose(model.next_distribution([0]), [1 / 6, 1 / 2, 1 / 3], rtol=1e-14)


def test_katz_leaves_something_where_all_counts_are_high_and_nothing_where_all_is_seen():
    model = NGramModel(1, 3, "katz").fit([0] * 7 + [1] * 8)
    np.testing.assert_allclose(model.next_distribution([]), [7 / 16, 8 / 16, 1 / 16], rtol=1e-14)
    model = NGramModel(1, 2, "katz").fit([0] * 2 + [1] * 8)
    np.testing.assert_allclose(model.next_distribution([]), [1.5 / 9.5, 8 / 9.5], rtol=1e-14)


def test_good_turing_by_hand():
    """Bigrams of five kinds out of 3^2, all seen once: each keeps its count, the four others share 5 among them."""
    model = NGramModel(2, 3, "good_turing").fit([0, 1, 1, 2, 0, 2])
    unseen = 5 / 4
    # after 0 came 1 and 2
    np.testing.assert_allclose(model.next_distribution([0]), np.array([unseen, 1, 1]) / (2 + unseen), rtol=1e-14)


@pytest.mark.parametrize("text", ["prosody", "words"])
def test_the_smoothed_counts_are_those_of_gale_and_sampson(nltk, text):
    """Two sets of frequencies: that of their article, and the words of a text."""
    frozen = nltk["good_turing"][text]
    r, n = np.array(frozen["frequencies"]).T
    ours = good_turing_counts(np.repeat(r, n))[np.concatenate(([0], np.cumsum(n)[:-1]))]
    np.testing.assert_allclose(ours, frozen["r star"], rtol=1e-9)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_smoothed_counts_are_positive_and_in_the_order_of_the_kinds(counts):
    counts = np.array(counts)
    star = good_turing_counts(counts)
    assert (star > 0).all()
    assert len({*zip(counts.tolist(), star.tolist(), strict=True)}) == len(set(counts.tolist()))
    assume(len(set(counts.tolist())) == 1)
    np.testing.assert_array_equal(star, counts)


def test_good_turing_gives_the_unseen_the_mass_of_what_was_seen_once():
    """On a sample of a known distribution the estimate n_1 / N meets the truth within three standard errors."""
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.full(2000, 0.3))
    sample = rng.choice(2000, p=p, size=3000)
    level = count_ngrams(sample, 1, 2000)[0]
    missing = p[np.setdiff1d(np.arange(2000), sample)].sum()
    estimate = np.count_nonzero(level.counts == 1) / 3000
    # the estimate's standard deviation is at most sqrt(2 n_1) / N or so: each kind seen once counts one, or two less
    assert abs(estimate - missing) < 3 * np.sqrt(2 * estimate / 3000)
