"""Mirrors src/fp_markov/jelinek_mercer.py."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_markov.counting import count_ngrams
from fp_markov.jelinek_mercer import N_BUCKETS, buckets, held_out_weights, jelinek_mercer
from fp_markov.ngram import NGramModel

texts = st.lists(st.integers(0, 2), min_size=6, max_size=60).map(np.array)


def reference(levels, lambdas, context, w):
    """(E1) by recursion, with counts looked up in lists."""
    V, grams, tables = levels[0].vocab_size, [()], []
    for level in levels:
        grams = [(*grams[c], t) for c, t in zip(level.contexts.tolist(), level.tokens.tolist(), strict=True)]
        tables.append(dict(zip(grams, level.counts.tolist(), strict=True)))

    def P(context):
        n = len(context)
        N = sum(tables[n].get((*context, u), 0) for u in range(V))
        shorter = P(context[1:]) if n else 1 / V
        if N == 0:
            return shorter
        lam = lambdas[n][min(int(np.log2(N)), N_BUCKETS - 1)]
        return (1 - lam) * tables[n].get((*context, w), 0) / N + lam * shorter

    return P(tuple(context))


@settings(max_examples=30)
@given(texts, st.integers(1, 3), st.integers(0, 2**32))
def test_the_model_equals_its_reference(text, order, seed):
    levels = count_ngrams(text, order, vocab_size=4)
    lambdas = [np.random.default_rng(seed + n).random(N_BUCKETS) for n in range(order)]
    model = NGramModel(order, 4)
    model.weights = jelinek_mercer(levels, lambdas)
    for n in range(order):
        for context in product(range(4), repeat=n):
            expected = [reference(levels, lambdas, context, w) for w in range(4)]
            np.testing.assert_allclose(model.next_distribution(context), expected, rtol=0, atol=1e-12)


def objective(levels, lambdas, held_out, kappa):
    """F, from the reference."""
    order = len(levels)
    F = sum(
        np.log(reference(levels, lambdas, held_out[max(t - order + 1, 0) : t].tolist(), int(w)))
        for t, w in enumerate(held_out)
    )
    return F + kappa * sum(float((np.log(lam) + np.log1p(-lam)).sum()) for lam in lambdas)


@pytest.mark.claim("markov.em-monotone")
@settings(max_examples=30)
@given(texts, texts, st.integers(1, 3), st.sampled_from([0, 0.5, 1]))
def test_no_step_lowers_the_objective(counted, held_out, order, kappa):
    history = []
    held_out_weights(count_ngrams(counted, order, 3), held_out, kappa, tolerance=0.0, max_steps=12, history=history)
    assert len(history) > 1
    assert (np.diff(history) >= -1e-9).all()  # roundings of a sum of at most 60 logarithms


@pytest.mark.claim("markov.em-monotone")
@settings(max_examples=10)
@given(texts, texts)
def test_the_objective_is_what_the_reference_says_and_its_slope_is_zero_at_the_end(counted, held_out):
    levels, history = count_ngrams(counted, 2, 3), []
    lambdas = held_out_weights(levels, held_out, kappa=1, tolerance=1e-13, max_steps=2000, history=history)
    assert history[-1] == pytest.approx(objective(levels, lambdas, held_out, 1), abs=1e-6)  # one step apart
    for n in range(2):
        for b in range(5):
            up, down = ([lam.copy() for lam in lambdas] for _ in range(2))
            up[n][b] += 1e-5
            down[n][b] -= 1e-5
            slope = (objective(levels, up, held_out, 1) - objective(levels, down, held_out, 1)) / 2e-5
            # EM creeps: at a gain of 1e-13 a token the slope may still be a few 1e-4
            assert abs(slope) < 0.02


@pytest.mark.claim("markov.counted-text-chooses-the-longest")
@settings(max_examples=30)
@given(texts, st.integers(1, 3), st.integers(0, 2**32))
def test_on_the_counted_text_no_weights_beat_zero_at_the_highest_order(text, order, seed):
    levels = count_ngrams(text, order, 3)
    lambdas = [np.random.default_rng(seed + n).random(N_BUCKETS) for n in range(order)]
    likelihood = []
    for top in (lambdas[-1], np.zeros(N_BUCKETS)):
        model = NGramModel(order, 3)
        model.weights = jelinek_mercer(levels, [*lambdas[:-1], top])
        likelihood.append(model.log_prob(text)[order - 1 :].sum())
    assert likelihood[0] <= likelihood[1] + 1e-9


def test_em_finds_the_best_single_weight():
    """Unigrams have one context and one bucket: a grid over its weight decides."""
    counted, held_out = np.array([0, 0, 0, 1, 0, 0, 1, 0]), np.array([0, 1, 2, 0, 0, 1])
    levels = count_ngrams(counted, 1, 3)
    (lam,) = held_out_weights(levels, held_out, kappa=0, tolerance=1e-14, max_steps=5000)
    grid = np.linspace(0, 1, 1001)[1:-1]
    p_hat = np.array([0.75, 0.25, 0.0])[held_out]
    likelihood = np.log((1 - grid[:, None]) * p_hat + grid[:, None] / 3).sum(axis=1)
    assert lam[3] == pytest.approx(grid[likelihood.argmax()], abs=0.002)  # two steps of the grid


def test_buckets_double():
    assert buckets(np.array([1.0, 2, 3, 4, 7, 8, 2**20])).tolist() == [0, 1, 1, 2, 2, 3, N_BUCKETS - 1]


def test_the_model_cuts_its_own_held_out_text_or_takes_another():
    rng = np.random.default_rng(3)
    text = rng.choice(5, p=[0.5, 0.2, 0.2, 0.05, 0.05], size=400)
    by_itself = NGramModel(2, 5, "jelinek_mercer").fit(text)
    lambdas = held_out_weights(count_ngrams(text[:360], 2, 5), text[360:])
    expected = jelinek_mercer(count_ngrams(text, 2, 5), lambdas)
    np.testing.assert_array_equal(by_itself.weights[1].probability, expected[1].probability)
    other = NGramModel(2, 5, "jelinek_mercer").fit(text, held_out=text[:100])
    assert (other.weights[1].backoff != by_itself.weights[1].backoff).any()


def test_with_sentences_the_cut_falls_between_them_and_bos_is_no_event():
    sentences = np.tile([4, 0, 1, 2, 3], 21)  # nine tenths of it end inside a sentence
    model = NGramModel(2, 5, "jelinek_mercer", bos=4).fit(sentences)
    assert model.next_distribution([4])[0] > 0.9
    assert model.next_distribution([4])[4] == 0
    with_bos = count_ngrams(np.array([3, 0, 1, 3, 0, 0]), 1, 4, bos=3)
    without = count_ngrams(np.array([0, 1, 0, 0]), 1, 3)
    np.testing.assert_array_equal(
        held_out_weights(with_bos, np.array([3, 0, 2, 3, 1])), held_out_weights(without, np.array([0, 2, 1]))
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda levels: held_out_weights(levels, np.array([0]), kappa=-1), "kappa .* must be zero or more, got -1"),
        (lambda levels: held_out_weights(levels, np.array([], int)), "found on held-out text, got no token"),
        (
            lambda _: held_out_weights(count_ngrams(np.array([2, 0, 1]), 1, 3, bos=2), np.array([2, 2])),
            "found on held-out text, got no token to predict",
        ),
        (
            lambda _: NGramModel(2, 3, "jelinek_mercer", bos=2).fit([2, 0, 1, 1, 0]),
            r"this one is too short to be cut: .* Give a longer text, a second sentence, or held_out=\.",
        ),
        (lambda _: NGramModel(3, 3, "jelinek_mercer").fit([0, 1, 2]), "too short to be cut: .* Give a longer text"),
        (lambda levels: held_out_weights(levels, np.array([7])), r"must lie in \[0, 3\), got 7 to 7"),
        (lambda levels: NGramModel(1, 3, "jelinek_mercer").fit_counts(levels), "jelinek_mercer needs held-out text"),
        (lambda levels: NGramModel(1, 3).fit_counts(levels, [0]), "modified_kneser_ney does not use held-out text"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(count_ngrams(np.array([0, 1, 2]), 1, 3))
