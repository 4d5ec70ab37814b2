"""Mirrors src/fp_markov/experiment.py."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_markov import experiment
from fp_markov.ngram import NGramModel

TEXT = "".join(f"line {n} of {n * n % 7} {'abcde'[n % 5]}\n" for n in range(200))


@pytest.mark.claim("markov.held-out-unbiased")
@pytest.mark.parametrize("training", [(0, 0, 1), (1, 1, 1), (0, 1, 0, 1)])
def test_the_held_out_loss_is_right_on_average_and_that_of_the_winner_is_too_low(training):
    """Exhaustive over all held-out texts of five independent tokens, with their probabilities."""
    p = np.array([0.7, 0.3])
    models = [
        NGramModel(1, 2, "additive", alpha=0.2),
        NGramModel(2, 2, "additive", alpha=0.2),
        NGramModel(1, 2, "additive", alpha=9.0),
    ]
    for model in models:
        model.fit(training)
    texts = list(product(range(2), repeat=5))
    weights = np.array([np.prod(p[list(text)]) for text in texts])
    losses = np.array([[model.cross_entropy(text) for model in models] for text in texts])

    def risk(model):
        """The expected loss, token by token: a walk over contexts with their probabilities."""
        total = 0.0
        for t in range(5):
            for context in product(range(2), repeat=t):
                total -= np.prod(p[list(context)]) * (p @ np.log(model.next_distribution(context))) / 5
        return total

    risks = np.array([risk(model) for model in models])
    np.testing.assert_allclose(weights @ losses, risks, rtol=1e-12)
    promised = weights @ losses.min(axis=1)
    delivered = weights @ risks[losses.argmin(axis=1)]
    assert promised < risks.min() <= delivered


@given(st.text("ab\n", min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_a_split_loses_and_doubles_nothing_and_respects_lines(text, share):
    try:
        training, rest = experiment.split(text, share)
    except ValueError as error:
        assert "is too short" in str(error)  # noqa: PT017
        return
    assert training + rest == text
    assert training
    assert rest
    if "\n" in text[: round(len(text) * (1 - share))]:
        assert training.endswith("\n")


@pytest.mark.parametrize("units", ["characters", "bytes", "words"])
@pytest.mark.parametrize("smoothing", ["modified_kneser_ney", "jelinek_mercer"])
def test_nothing_that_is_learned_depends_on_what_was_held_out(units, smoothing):
    """The end of the text is replaced by other symbols, as many: vocabulary and model stay as they are."""
    training, rest = experiment.split(TEXT)
    other = "".join("é" if c.isalnum() else c for c in rest)
    ours = experiment.run(TEXT, 3, smoothing, units=units)
    theirs = experiment.run(training + other, 3, smoothing, units=units)
    assert ours.vocabulary == theirs.vocabulary
    for a, b in zip(ours.model.weights, theirs.model.weights, strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
        np.testing.assert_array_equal(a.backoff, b.backoff)
    assert theirs.loss > ours.loss
    assert theirs.n_unknown > 0 or units == "bytes"


def test_the_losses_are_those_of_the_model_and_bits_per_character_add_up():
    trial = experiment.run(TEXT, 3)
    _, rest = experiment.split(TEXT)
    ids = trial.vocabulary.encode(rest)
    assert trial.loss == pytest.approx(trial.model.cross_entropy(ids), rel=1e-14)
    assert trial.bits_per_character == pytest.approx(trial.loss / np.log(2), rel=1e-14)  # one token a character
    assert trial.n_characters == len(ids) == len(rest)
    assert trial.bits_per_byte == pytest.approx(trial.bits_per_character, rel=1e-14)  # one byte a character
    accents = experiment.run(TEXT.replace("e", "é"), 3)
    n_bytes = len(experiment.split(TEXT.replace("e", "é"))[1].encode())
    assert accents.n_bytes == n_bytes > accents.n_characters
    assert accents.bits_per_byte * n_bytes == pytest.approx(accents.losses.sum() / np.log(2), rel=1e-12)
    words = experiment.run(TEXT, 2, units="words")
    assert len(words.losses) == len(rest.split()) + rest.count("\n")  # </s> is predicted, <s> is not


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: experiment.split("abc", 0), "lies between 0 and 1, got 0"),
        (lambda: experiment.split("abc", 1.5), "lies between 0 and 1, got 1.5"),
        (lambda: experiment.split("a", 0.5), "a text of 1 characters is too short"),
        (lambda: experiment.split("", 0.5), "a text of 0 characters is too short"),
        (lambda: experiment.run("a b\n\n\n\n", 1, units="words", held_out=0.3), "has no token: hold out more"),
        (lambda: experiment.run("ab" * 9, 0), "it is 1 or more, got 0"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
