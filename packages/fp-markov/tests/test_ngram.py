"""Mirrors src/fp_markov/ngram.py."""

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_markov import NGramModel
from fp_markov.ngram import reference_distribution

texts = st.lists(st.integers(0, 2), min_size=4, max_size=60)


@settings(max_examples=30)
@given(texts, st.integers(1, 4))
def test_the_model_equals_its_reference_in_every_context(text, order):
    model = NGramModel(order, vocab_size=4).fit(text)
    for n in range(order):
        for context in product(range(4), repeat=n):
            expected = reference_distribution(text, context, order, 4)
            np.testing.assert_allclose(model.next_distribution(context), expected, rtol=0, atol=1e-12)


@settings(max_examples=30)
@given(texts, st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 4))
def test_the_loss_of_each_token_is_that_of_its_distribution(text, other, order):
    model = NGramModel(order, vocab_size=4).fit(text)
    expected = [np.log(model.next_distribution(other[:t])[w]) for t, w in enumerate(other)]
    np.testing.assert_allclose(model.log_prob(other), expected, rtol=0, atol=1e-12)  # a few roundings


def test_the_model_equals_its_reference_on_a_larger_text():
    rng = np.random.default_rng(29)
    text = rng.choice(11, p=rng.dirichlet(np.ones(11) / 2), size=3001)
    model = NGramModel(5, vocab_size=13).fit(text)
    probe = rng.integers(0, 13, size=17)
    for t in range(len(probe)):
        expected = np.log(reference_distribution(text.tolist(), probe[max(t - 4, 0) : t].tolist(), 5, 13)[probe[t]])
        assert model.log_prob(probe)[t] == pytest.approx(expected, abs=1e-12)  # a few roundings


def test_a_case_by_hand():
    """
    "aaba" over {a, b, c}, order 2. Bigrams aa, ab, ba occur once each: fallback discounts.
    Left neighbours: a has three (start, a, b), b one. P1(a) = 1.5/4 + (2/4)/3, P1(b) = 0.5/4 + (2/4)/3.
    After a: aa and ab once each, so 1/4 each and 1/2 back-off; after b: aa once, so 1/2 and 1/2.
    """
    model = NGramModel(2, vocab_size=3).fit([0, 0, 1, 0])
    first = np.array([13 / 24, 7 / 24, 4 / 24])
    after_a = np.array([1 / 4, 1 / 4, 0]) + first / 2
    after_b = np.array([1 / 2, 0, 0]) + first / 2
    for context, expected in (([], first), ([0], after_a), ([1], after_b), ([2], first), ([1, 0], after_a)):
        np.testing.assert_allclose(model.next_distribution(context), expected, rtol=1e-12)
    expected = np.log([first[0], after_a[0], after_a[1], after_b[0]])
    np.testing.assert_allclose(model.log_prob([0, 0, 1, 0]), expected, rtol=1e-12)
    assert model.cross_entropy([0, 0, 1, 0]) == pytest.approx(-expected.mean())
    assert model.perplexity([0, 0, 1, 0]) == pytest.approx(np.exp(-expected.mean()))


@pytest.fixture(scope="module")
def topics():
    """The language reference without repeated paragraphs, as characters: the first nine tenths and the rest."""
    from pydoc_data.topics import topics

    paragraphs = dict.fromkeys(p for name in sorted(topics) for p in re.split(r"\n\s*\n", topics[name]))
    points = np.frombuffer("\n\n".join(paragraphs).encode("utf-32-le"), "<u4")
    _, ids = np.unique(points, return_inverse=True)
    cut = len(ids) * 9 // 10
    return ids[:cut], ids[cut:], int(ids.max()) + 1


def test_each_order_beats_the_one_below_on_held_out_text(topics):
    train, held_out, vocab_size = topics
    losses = [NGramModel(order, vocab_size).fit(train).cross_entropy(held_out) for order in range(1, 6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[4] > 1
    assert losses[0] < np.log(vocab_size)


def test_no_distribution_learns_from_the_text_that_it_scores(topics):
    train, held_out, vocab_size = topics
    model = NGramModel(3, vocab_size).fit(train)
    before = model.next_distribution(held_out[:2])
    model.log_prob(held_out)
    np.testing.assert_array_equal(model.next_distribution(held_out[:2]), before)


def test_fitting_again_starts_afresh_and_the_vocabulary_defaults_to_the_text():
    model = NGramModel(2)
    assert model.fit([0, 1, 2, 1]) is model
    assert model.vocab_size == 3
    once = NGramModel(2, 3).fit([0, 0, 1])
    np.testing.assert_array_equal(model.fit([0, 0, 1]).next_distribution([0]), once.next_distribution([0]))
    assert len(model.discounts) == 2


def test_texts_shorter_than_the_order_are_scored():
    model = NGramModel(5, 4).fit([0, 1, 2, 3, 0, 1, 2])
    long = model.log_prob([0, 1, 2, 3, 0, 1])
    for T in range(1, 6):
        np.testing.assert_array_equal(model.log_prob([0, 1, 2, 3, 0, 1][:T]), long[:T])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: NGramModel(0), "it is 1 or more, got 0"),
        (lambda: NGramModel(2, vocab_size=0), "vocab_size must be 1 or more, got 0"),
        (lambda: NGramModel(2, smoothing="none"), "smoothing must be one of .*, got 'none'"),
        (lambda: NGramModel(2).fit([]), "fit needs at least one token, got an empty text"),
        (lambda: NGramModel(5).fit([1, 2]), "order 5 need a text of at least 5 tokens, got 2"),
        (lambda: NGramModel(1, 3).fit([0, 3]), r"must lie in \[0, 3\), got 0 to 3"),
        (lambda: NGramModel(1).fit([0, -1]), "got -1 to 0"),
        (lambda: NGramModel(1, 3).fit([0, 1]).log_prob([3]), r"must lie in \[0, 3\), got 3 to 3"),
        (lambda: NGramModel(1, 3).fit([0, 1]).next_distribution([-1]), r"must lie in \[0, 3\), got -1 to -1"),
        (lambda: NGramModel(1, 3).fit([0, 1]).cross_entropy([]), "log_prob needs at least one token"),
        (lambda: NGramModel(1).log_prob([0]), r"call fit\(ids\) first"),
        (lambda: NGramModel(1).next_distribution([]), r"call fit\(ids\) first"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_text_that_is_not_encoded_is_refused(shapes_unchecked):
    with pytest.raises(TypeError, match="Encode the text first"):
        NGramModel(1).fit(np.array(["a", "b"]))
    with pytest.raises(TypeError, match="token ids must be integers, got float64"):
        NGramModel(1).fit(np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="one text, a sequence of token ids"):
        NGramModel(1).fit(np.zeros((2, 3), np.int64))
    with pytest.raises(TypeError, match="token ids must be integers, got float64"):
        NGramModel(1, 3).fit([0]).next_distribution(np.array([0.5]))
