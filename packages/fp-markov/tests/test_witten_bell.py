"""Mirrors src/fp_markov/witten_bell.py."""

from itertools import product

import numpy as np
import pytest

from fp_markov.counting import count_ngrams
from fp_markov.ngram import NGramModel
from fp_markov.witten_bell import witten_bell


@pytest.mark.claim("markov.witten-bell-proper")
def test_every_text_of_five_tokens_gives_positive_distributions_and_at_most_half_to_the_shorter_context():
    """Exhaustive over texts of two letters, and over contexts; a third letter never occurs."""
    for text in product(range(2), repeat=5):
        model = NGramModel(3, 3, "witten_bell").fit(text)
        for n in range(3):
            for context in product(range(3), repeat=n):
                p = model.next_distribution(context)
                assert p.sum() == pytest.approx(1, abs=1e-14)
                assert p.min() > 0
        levels = count_ngrams(np.array(text), 3, 3)
        for level, weights in zip(levels, model.weights, strict=True):
            for c, beta in enumerate(weights.backoff):
                counts = level.counts[level.contexts == c]
                if len(counts):
                    assert beta <= 0.5
                    assert (beta == 0.5) == (counts.max() == 1)
                else:
                    assert beta == 1


def test_a_case_by_hand():
    """
    "aab" over three letters: N = 3, T = 2, so P(a) = 2/5 + 2/5 * 1/3 and P(b) = 1/5 + 2/15.
    After a: a and b once each, N = T = 2, so P(b|a) = 1/4 + P(b)/2.
    """
    unigrams, bigrams = witten_bell(count_ngrams(np.array([0, 0, 1]), 2, 3))
    np.testing.assert_allclose(unigrams.probability, [8 / 15, 1 / 3], rtol=1e-14)
    np.testing.assert_allclose(bigrams.probability, [1 / 4 + 4 / 15, 1 / 4 + 1 / 6], rtol=1e-14)
    np.testing.assert_allclose(bigrams.backoff, [1 / 2, 1], rtol=1e-14)


def test_it_steps_from_order_to_order_as_nltk_does(nltk):
    letters = nltk["letters"]
    model = NGramModel(3, len(letters), "witten_bell").fit([letters.index(letter) for letter in nltk["text"]])
    for context, step in nltk["witten_bell"].items():
        ids = [letters.index(letter) for letter in context.split()]
        expected = np.array(step["alpha"]) + step["gamma"] * model.next_distribution(ids[1:])
        np.testing.assert_allclose(model.next_distribution(ids), expected, rtol=1e-12)
