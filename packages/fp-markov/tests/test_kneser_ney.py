"""Mirrors src/fp_markov/kneser_ney.py."""

import json
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov.counting import count_ngrams
from fp_markov.kneser_ney import FALLBACK, absolute_discounting, continuation_counts, discount, discounts, kneser_ney
from fp_markov.ngram import NGramModel

FIXTURES = Path(__file__).parent / "fixtures"
V = 3


@pytest.mark.claim("markov.kneser-ney-proper")
@settings(max_examples=30)
@given(
    st.lists(st.integers(0, V - 1), min_size=4, max_size=60),
    st.integers(1, 4),
    st.integers(0, 1),
    st.sampled_from(["absolute_discounting", "kneser_ney", "modified_kneser_ney"]),
)
def test_every_context_has_a_positive_distribution(text, order, unseen, smoothing):
    """Exhaustive over all contexts, of every length, of a small alphabet; `unseen` adds a token that never occurs."""
    model = NGramModel(order, vocab_size=V + unseen, smoothing=smoothing).fit(text)
    for n in range(order):
        for context in product(range(V + unseen), repeat=n):
            p = model.next_distribution(context)
            assert p.sum() == pytest.approx(1, abs=1e-12)  # a few roundings an order
            assert p.min() > 0


def log_likelihood(D, n, log):
    """(E6); `n[r - 1]` n-grams have the count r."""
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
    assert discount(np.repeat(np.arange(1, len(n) + 1), n)) == pytest.approx(float(Y), rel=1e-14)

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


def test_lower_orders_count_places_not_occurrences():
    """ "b" is frequent but only ever follows "a"; "c" is rarer and follows three different tokens."""
    text = np.array([ord(c) - 97 for c in "abababababdcacdac"])
    model = NGramModel(2, vocab_size=6).fit(text)
    p = model.next_distribution([5])  # a context that never occurs
    assert (text == 1).sum() > (text == 2).sum()
    assert p[2] > p[1]


@pytest.mark.claim("markov.kneser-ney-marginals")
@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 3), min_size=3, max_size=40),
    st.lists(st.floats(0.05, 1), min_size=3, max_size=3),
    st.data(),
)
def test_marginals_are_kept_exactly_if_the_lower_order_is_the_discounted_mass(text, steps, data):
    N = np.zeros((4, 4))
    np.add.at(N, (text[:-1], text[1:]), 1)
    D = np.concatenate(([0.0], np.cumsum(steps) / np.arange(1, 4)))[np.minimum(N, 3).astype(int)]  # at most the count
    seen = N.sum(axis=1) > 0
    delta = D.sum(axis=0)

    def marginal(P_1):
        gamma = D[seen].sum(axis=1) / N[seen].sum(axis=1)
        P_2 = (N - D)[seen] / N[seen].sum(axis=1, keepdims=True) + gamma[:, None] * P_1
        return N[seen].sum(axis=1) @ P_2

    np.testing.assert_allclose(marginal(delta / delta.sum()), N.sum(axis=0), atol=1e-12)  # counts below 40
    other = np.array(data.draw(st.lists(st.floats(0.01, 1), min_size=4, max_size=4)))
    other /= other.sum()
    off = np.abs(marginal(other) - N.sum(axis=0)).max()
    assert off == pytest.approx(delta.sum() * np.abs(other - delta / delta.sum()).max(), abs=1e-10)


@pytest.mark.claim("markov.kneser-ney-marginals")
def test_with_one_discount_the_discounted_mass_is_the_share_of_continuations():
    text = np.random.default_rng(7).zipf(1.7, 500) % 11
    unigrams, bigrams = count_ngrams(text, 2, 11)
    neighbours = np.bincount(bigrams.suffixes)  # the start of the text has no count N(vw), so it is none here
    delta = np.bincount(bigrams.suffixes, np.full(len(bigrams.keys), 0.7))
    np.testing.assert_allclose(delta / delta.sum(), neighbours / neighbours.sum(), rtol=1e-12)
    starts = np.bincount(unigrams.starts, minlength=len(unigrams.keys))
    np.testing.assert_array_equal(continuation_counts([unigrams, bigrams])[0], neighbours + starts)


def test_one_discount_by_hand_and_its_fallback():
    assert discount(np.array([1, 1, 1, 2, 5])).tolist() == [3 / 5]
    assert discount(np.array([1, 1, 5])).tolist() == discount(np.array([2, 5])).tolist() == [FALLBACK[0]]


def test_absolute_discounting_by_hand():
    """
    "aabab", D = 1/2: unigrams a 3, b 2, so P1(a) = 2.5/5 + (1/5)/3 over three letters.
    After a: aa once, ab twice, so P(b|a) = 1.5/3 + (1/3) P1(b).
    """
    unigrams, bigrams = absolute_discounting(count_ngrams(np.array([0, 0, 1, 0, 1]), 2, 3), discount=0.5)
    np.testing.assert_allclose(unigrams.probability, [2.5 / 5 + 1 / 15, 1.5 / 5 + 1 / 15], rtol=1e-14)
    np.testing.assert_allclose(bigrams.backoff, [1 / 3, 1 / 2], rtol=1e-14)
    np.testing.assert_allclose(bigrams.probability[1], 1.5 / 3 + unigrams.probability[1] / 3, rtol=1e-14)


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_estimates_are_those_of_kenlm(order):
    """KenLM's own text and answers, frozen; its files hold 32-bit floats, of about seven digits."""
    frozen = json.loads((FIXTURES / "kenlm.json").read_text("utf8"))
    names = {"<unk>": 0, "<s>": 1, "</s>": 2}
    text = []
    for line in (FIXTURES / "kenlm_text.txt").read_text("utf8").splitlines():
        text += [1, *(names.setdefault(word, len(names)) for word in line.split()), 2]
    model = NGramModel(order, len(names), bos=1).fit(text)
    answers = frozen[str(order)]
    np.testing.assert_allclose(model.discounts, answers["discounts"], atol=5e-6)  # printed with six digits
    assert [model.n_ngrams[0] + 1, *model.n_ngrams[1:]] == answers["ngrams"]  # <unk> is a line of its own there
    for gram, (log_p, log_backoff) in answers["sample"].items():
        *context, token = (names[word] for word in gram.split())
        if token != model.bos:
            assert np.log10(model.next_distribution(context)[token]) == pytest.approx(log_p, abs=5e-6)
        if len(context) + 1 < order:
            # the weight is what an unseen token's probability is multiplied by, such as that of <unk>
            longer, shorter = (model.next_distribution(c)[0] for c in ([*context, token], [*context, token][1:]))
            assert np.log10(longer / shorter) == pytest.approx(log_backoff, abs=5e-6)
    scores = []
    for sentence in frozen["held_out"]:
        log_p = model.log_prob([1, *(names.get(word, 0) for word in sentence.split()), 2])
        scores += (log_p[1:] / np.log(10)).tolist()
    np.testing.assert_allclose(scores, np.concatenate(answers["held_out"]), atol=5e-6)


@pytest.mark.parametrize("method", [absolute_discounting, kneser_ney])
@pytest.mark.parametrize("wrong", [0, -0.5, 1.5, float("nan")])
def test_a_discount_outside_its_range_is_refused(method, wrong):
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\], got"):
        method(count_ngrams(np.array([0, 1]), 1, 2), discount=wrong)


def test_absolute_discounting_steps_from_order_to_order_as_nltk_does(nltk):
    letters = nltk["letters"]
    model = NGramModel(nltk["order"], len(letters), "absolute_discounting").fit([*map(letters.index, nltk["text"])])
    frozen = nltk["absolute_discounting"]
    np.testing.assert_allclose(np.ravel(model.discounts), frozen["discounts"], rtol=1e-14)
    for context, step in frozen["contexts"].items():
        ids = [*map(letters.index, context.split())]
        expected = np.array(step["alpha"]) + step["gamma"] * model.next_distribution(ids[1:])
        np.testing.assert_allclose(model.next_distribution(ids), expected, rtol=1e-12)


def test_kneser_ney_steps_from_order_to_order_as_nltk_does(nltk):
    words = [*nltk["letters"], "</s>", "<s>"]
    text = [words.index(word) for sentence in nltk["sentences"] for word in ("<s>", *sentence, "</s>")]
    model = NGramModel(nltk["order"], len(words), "kneser_ney", bos=words.index("<s>")).fit(text)
    frozen = nltk["kneser_ney"]
    np.testing.assert_allclose(np.ravel(model.discounts), frozen["discounts"], rtol=1e-14)
    for context, step in frozen["contexts"].items():
        ids = [*map(words.index, context.split())]
        expected = np.array(step["alpha"]) + step["gamma"] * model.next_distribution(ids[1:])[:-1]
        np.testing.assert_allclose(model.next_distribution(ids)[:-1], expected, rtol=1e-12)
