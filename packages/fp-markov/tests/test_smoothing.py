"""Mirrors src/fp_markov/smoothing.py."""

from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_markov.counting import count_ngrams
from fp_markov.ngram import SMOOTHINGS, NGramModel
from fp_markov.smoothing import Weights, below, context_totals, interpolated

texts = st.lists(st.integers(0, 2), min_size=4, max_size=60)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@settings(max_examples=25)
@given(
    texts=st.lists(st.integers(0, 2), min_size=12, max_size=60), order=st.integers(1, 4), bos=st.sampled_from([None, 0])
)
def test_every_smoothing_is_a_distribution_after_every_context(smoothing, texts, order, bos):
    """Exhaustive over all contexts, of every length, of a small alphabet; token 3 never occurs."""
    model = NGramModel(order, 4, smoothing, bos=bos)
    try:
        model.fit([0, 1, 2, 1, 0, *texts] if bos == 0 else texts)
    except ValueError as error:  # no sentence is that long
        assert "need a sentence of" in str(error)  # noqa: PT017
        return
    for n in range(order):
        for context in product(range(4), repeat=n):
            p = model.next_distribution(context)
            assert p.sum() == pytest.approx(1, abs=1e-12)  # a few roundings an order
            assert p.min() >= 0
            if smoothing != "mle":
                assert (p[np.arange(4) != bos] > 0).all()
            if bos is not None:
                assert p[bos] == 0


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@settings(max_examples=25)
@given(
    text=st.lists(st.integers(0, 2), min_size=12, max_size=60),
    other=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    order=st.integers(1, 4),
)
def test_the_loss_of_each_token_is_that_of_its_distribution(smoothing, text, other, order):
    model = NGramModel(order, 4, smoothing).fit(text)
    expected = np.array([model.next_distribution(other[:t])[w] for t, w in enumerate(other)])
    np.testing.assert_allclose(np.exp(model.log_prob(other)), expected, rtol=0, atol=1e-12)  # a few roundings


@pytest.mark.claim("markov.backoff-form")
@settings(max_examples=40)
@given(texts, st.integers(1, 3), st.integers(0, 2**32))
def test_one_lookup_gives_what_interpolation_gives(text, order, seed):
    """Random shares and weights; the recursion (E2) with dictionaries against the look-up (E1)."""
    rng = np.random.default_rng(seed)
    levels = count_ngrams(np.array(text), order, vocab_size=4)
    model = NGramModel(order, 4)
    shares, gammas, grams = [], [], [()]
    for level in levels:
        gamma = rng.random(level.n_contexts)
        raw = level.counts * rng.random(len(level.keys))
        share = raw / context_totals(level, raw)[level.contexts] * (1 - gamma)[level.contexts]
        gamma[context_totals(level, level.counts) == 0] = 1
        model.weights.append(interpolated(level, model.weights[-1] if model.weights else None, share, gamma))
        gammas.append(dict(zip(grams, gamma, strict=True)))
        grams = [(*grams[c], w) for c, w in zip(level.contexts.tolist(), level.tokens.tolist(), strict=True)]
        shares.append(dict(zip(grams, share, strict=True)))

    def interpolation(context, w):
        n = len(context)
        shorter = interpolation(context[1:], w) if n else 1 / 4
        return shares[n].get((*context, w), 0) + gammas[n].get(context, 1) * shorter

    for n in range(order):
        for context in product(range(4), repeat=n):
            expected = [interpolation(context, w) for w in range(4)]
            np.testing.assert_allclose(model.next_distribution(context), expected, rtol=0, atol=1e-12)


@pytest.mark.claim("markov.backoff-proper")
@given(
    st.lists(st.floats(0.01, 1), min_size=5, max_size=5),
    st.sets(st.integers(0, 4), min_size=1, max_size=4),
    st.lists(st.floats(0, 0.3), min_size=5, max_size=5),
    st.floats(0, 3),
)
def test_the_condition_decides_whether_it_is_a_distribution(lower, seen, p, beta):
    lower = np.array(lower) / sum(lower)
    mass = sum(p[w] for w in seen) + beta * (1 - sum(lower[w] for w in seen))
    full = [p[w] if w in seen else beta * lower[w] for w in range(5)]
    assert sum(full) == pytest.approx(mass, abs=1e-12)  # so one is 1 exactly if the other is
    unseen = 1 - sum(lower[w] for w in seen)
    solved = (1 - sum(p[w] for w in seen)) / unseen
    if solved >= 0:
        proper = [p[w] if w in seen else solved * lower[w] for w in range(5)]
        assert sum(proper) == pytest.approx(1, abs=1e-9)  # unseen is at least 0.01 / 5


def test_the_helpers_by_hand():
    """ "abac" over four letters: bigrams ab, ac, ba, of which two follow a, one b and none c."""
    unigrams, bigrams = count_ngrams(np.array([0, 1, 0, 2]), 2, vocab_size=4)
    assert context_totals(bigrams, bigrams.counts).tolist() == [2, 1, 0]
    assert below(unigrams, None).tolist() == [1 / 4] * 3
    lower = Weights(unigrams.keys, np.array([0.5, 0.25, 0.25]), np.ones(1))
    assert below(bigrams, lower).tolist() == [0.25, 0.25, 0.5]
    weights = interpolated(bigrams, lower, np.array([0.1, 0.2, 0.3]), np.array([0.5, 1.0, 1.0]))
    np.testing.assert_allclose(weights.probability, [0.225, 0.325, 0.8], rtol=1e-15)


def test_shares_and_backoff_reproduce_counts_of_a_text_with_repeated_words():
    words = ["the", "cat", "sat", "on", "the", "mat", "and", "the", "rat", "sat"]
    names = sorted(set(words))
    ids = np.array([names.index(word) for word in words])
    level = count_ngrams(ids, 2, len(names))[1]
    pairs = Counter(pairwise(words))
    assert sorted(level.counts.tolist()) == sorted(pairs.values())
