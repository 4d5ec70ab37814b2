"""Mirrors src/fp_markov/smoothing.py."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov import NGramModel, count_ngrams, modified_kneser_ney
from fp_markov.smoothing import FALLBACK, discounts

V = 3


@pytest.mark.claim("markov.kneser-ney-proper")
@settings(max_examples=30)
@given(st.lists(st.integers(0, V - 1), min_size=4, max_size=60), st.integers(1, 4), st.integers(0, 1))
def test_every_context_has_a_positive_distribution(text, order, unseen):
    """Exhaustive over all contexts, of every length, of a small alphabet; `unseen` adds a token that never occurs."""
    model = NGramModel(order, vocab_size=V + unseen).fit(text)
    for n in range(order):
        for context in product(range(V + unseen), repeat=n):
            p = model.next_distribution(context)
            assert p.sum() == pytest.approx(1, abs=1e-12)  # a few roundings an order
            assert p.min() > 0


def log_likelihood(D, n, log):
    """(E5); `n[r - 1]` n-grams have the count r."""
    return n[0] * log(D) + sum(r * n_r * log(r - 1 - D) for r, n_r in enumerate(n[1:], start=2))


SYMBOLS = sympy.symbols("D n1:9", positive=True)
SLOPE = sympy.lambdify(SYMBOLS, sympy.diff(log_likelihood(SYMBOLS[0], SYMBOLS[1:], sympy.log), SYMBOLS[0]), "math")


@pytest.mark.claim("markov.discount-bound")
@given(arrays(np.int64, 6, elements=st.integers(0, 50)), st.integers(1, 50), st.integers(1, 50))
@example(np.zeros(6, np.int64), 2, 1)  # equality
@example(np.zeros(6, np.int64), 7, 11)
@example(np.array([0, 0, 0, 0, 0, 1]), 50, 50)  # hardly less
def test_the_best_single_discount_stays_below_its_bound(higher, n_1, n_2):
    n = [n_1, n_2, *higher.tolist()]
    Y = Fraction(n_1, n_1 + 2 * n_2)

    grid = np.linspace(0, 1, 1002)[1:-1]
    rises = np.diff(log_likelihood(grid, n, np.log)) > 0
    assert (rises[:-1] >= rises[1:]).all()  # up, then down: a single maximum
    best = grid[np.count_nonzero(rises)]  # within a step of it
    assert best <= Y + 1 / 1001

    # past that maximum the slope is negative, at it zero; in fractions, so that the sign is exact
    at_the_bound = SLOPE(Y, *n)
    assert isinstance(at_the_bound, Fraction)
    if higher.any():
        assert at_the_bound < 0
    else:
        assert at_the_bound == 0
        assert best == pytest.approx(float(Y), abs=1 / 1001)


def test_discounts_by_hand():
    # n = 6, 3, 2, 1: Y = 1/2; D = 1 - 2/2 * 3/6, 2 - 3/2 * 2/3, 3 - 4/2 * 1/2
    counts = np.repeat([1, 2, 3, 4, 5, 90], [6, 3, 2, 1, 4, 1])
    np.testing.assert_allclose(discounts(counts), [0.5, 1.0, 2.0], rtol=1e-12)


@pytest.mark.parametrize(
    "counts",
    [
        [1, 1, 2, 2, 4],  # none seen three times
        [2, 2, 3, 4],  # none once
        [1, 3, 4],  # none twice
        [1, 2, 3, 3, 3, 3],  # 2 - 3 * (1/3) * 4 < 0
        [1, 2, 3, 3],  # 2 - 3 * (1/3) * 2 = 0: no mass would be left for the unseen
    ],
)
def test_discounts_fall_back_where_the_estimates_do_not_exist(counts):
    assert discounts(np.array(counts)).tolist() == list(FALLBACK)


def test_the_highest_discount_needs_no_count_of_four():
    assert discounts(np.array([1, 1, 1, 1, 2, 2, 3]))[2] == 3


@given(st.lists(st.integers(0, 4), min_size=3, max_size=60).map(np.array))
def test_shares_and_backoff_of_a_context_make_one(text):
    levels = count_ngrams(text, 3, 5)
    for n, weights in enumerate(modified_kneser_ney(levels)):
        total = weights.backoff.copy()
        np.add.at(total, levels[n].contexts, weights.share)
        np.testing.assert_allclose(total, 1, atol=1e-12)  # a few roundings
        assert (weights.share >= 0).all()


def test_lower_orders_count_places_not_occurrences():
    """ "b" is frequent but only ever follows "a"; "c" is rarer and follows three different tokens."""
    text = np.array([ord(c) - 97 for c in "abababababdcacdac"])
    model = NGramModel(2, vocab_size=6).fit(text)
    p = model.next_distribution([5])  # a context that never occurs
    assert (text == 1).sum() > (text == 2).sum()
    assert p[2] > p[1]
