"""Mirrors src/fp_neural/tables.py."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_autograd.rules import softmax
from fp_markov.information import kl_divergence
from fp_markov.ngram import NGramModel
from fp_neural.language_model import MLPLanguageModel
from fp_neural.losses import cross_entropy
from fp_neural.tables import (
    additive_table,
    linear_as_table,
    mlp_parameters,
    table_as_linear,
    table_parameters,
    tokens_needed,
    unseen_share,
)

CLOSE = {"rtol": 1e-12, "atol": 1e-14}  # a few dozen roundings of numbers of magnitude one
repeatable = settings(derandomize=True, deadline=None)


def constant(x):
    return np.ptp(x) == 0


# --- scores and probabilities


@pytest.mark.claim("neural.softmax-classes")
def test_equal_softmax_means_a_constant_difference_on_all_small_scores():
    """Exhaustive: all pairs of three scores among -1, 0, 1; different classes differ by more than 0.01."""
    scores = np.array(list(product((-1.0, 0.0, 1.0), repeat=3)))
    for x, z in product(scores, repeat=2):
        assert np.allclose(softmax(x), softmax(z), rtol=0, atol=1e-12) == constant(x - z)


@pytest.mark.claim("neural.softmax-classes")
@repeatable
@given(arrays(np.float64, 5, elements=st.floats(1e-6, 1)), st.floats(-50, 50))
def test_every_positive_distribution_is_the_softmax_of_its_logarithms(weights, c):
    p = weights / weights.sum()
    z = np.log(p) + c
    # z is rounded by 64 * 2**-53 at most, and p by that share
    np.testing.assert_allclose(softmax(z), p, rtol=1e-13)
    assert (softmax(z) > 0).all()
    np.testing.assert_allclose(z[:, None] - z, np.log(p[:, None] / p), rtol=0, atol=1e-13)


# --- a table is a linear layer


@pytest.mark.claim("neural.table-is-linear")
def test_every_small_positive_table_and_back():
    """Exhaustive: two contexts, three tokens, probabilities in sevenths."""
    rows = [np.array(counts) / 7 for counts in product(range(1, 6), repeat=3) if sum(counts) == 7]
    for pair in product(rows, repeat=2):
        weight, bias = table_as_linear(np.array(pair))
        for c, e in enumerate(np.eye(2)):
            np.testing.assert_allclose(softmax(weight @ e + bias), pair[c], **CLOSE)
        np.testing.assert_allclose(linear_as_table(weight, bias), pair, **CLOSE)


@pytest.mark.claim("neural.table-is-linear")
def test_which_linear_models_are_the_same_table():
    """Exhaustive: all pairs of models of two contexts and two tokens with weights and biases of 0 or 1."""
    models = [(np.reshape(n[:4], (2, 2)), np.array(n[4:])) for n in product((0.0, 1.0), repeat=6)]
    for (W, b), (W2, b2) in product(models, repeat=2):
        difference = W + b[:, None] - W2 - b2[:, None]
        same = all(constant(difference[:, c]) for c in range(2))
        assert np.allclose(linear_as_table(W, b), linear_as_table(W2, b2), rtol=0, atol=1e-12) == same
        assert (linear_as_table(W, b) > 0).all()


@pytest.mark.claim("neural.table-is-linear")
def test_a_smoothed_bigram_model_is_a_linear_layer_with_the_same_loss():
    ids = np.random.default_rng(0).integers(0, 5, 400) % 4
    counted = NGramModel(2, vocab_size=5).fit(ids)
    P = np.array([counted.next_distribution([c]) for c in range(5)])
    weight, bias = table_as_linear(P)
    logits = np.eye(5)[ids[:-1]] @ weight.T + bias
    # the first token has no context
    assert float(cross_entropy(logits, ids[1:])) == pytest.approx(-counted.log_prob(ids)[1:].mean(), rel=1e-12)


@pytest.mark.claim("neural.table-limit")
@pytest.mark.parametrize("row", [[0.0, 1.0], [0.0, 0.25, 0.75, 0.0, 0.0], [0.5, 0.0, 0.5]])
def test_the_distance_to_a_table_with_zeros(row):
    P = np.array(row)
    n = int((P == 0).sum())
    for s in (0.0, 1.0, 5.0, 30.0):
        p = linear_as_table(*table_as_linear(P[None], drop=s))[0]
        assert (p > 0).all()
        np.testing.assert_allclose(p, np.where(P == 0, np.exp(-s), P) / (1 + n * np.exp(-s)), **CLOSE)
        divergence = np.log1p(n * np.exp(-s))
        assert divergence <= n * np.exp(-s)
        assert float(kl_divergence(P, p)) == pytest.approx(divergence, rel=1e-9, abs=1e-15)  # a sum of logs near zero
    assert np.abs(p - P).max() < 1e-12  # e**-30 is 1e-13


@pytest.mark.claim("neural.table-limit")
@repeatable
@given(arrays(np.float64, 3, elements=st.floats(0.1, 1)), st.integers(1, 12), st.floats(-5, 5))
def test_near_a_zero_the_scores_are_far_apart(weights, k, c):
    """However it comes near, within 10**-k, zeros' scores are below all others by nearly k ln 10; they may tie."""
    positive = weights / weights.sum()
    p = np.append(positive * (1 - 10.0**-k), [0.5 * 10.0**-k] * 2)
    z = np.log(p) + c
    least = np.log(positive * (1 - 10.0**-k)) + k * np.log(10) - 1e-9
    assert (z[:3] - z[3] >= least).all() and (z[:3] - z[4] >= least).all()


def test_tables_with_zeros_are_refused_without_a_drop():
    with pytest.raises(ValueError, match="2 of the table's are: smooth the table"):
        table_as_linear(np.array([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="drop is a finite number, got inf"):
        table_as_linear(np.array([[0.0, 1.0]]), drop=np.inf)
    with pytest.raises(ValueError, match="P must sum to one"):
        table_as_linear(np.array([[0.5, 1.0]]))


# --- the curse


@pytest.mark.claim("neural.unseen-uniform")
@pytest.mark.parametrize(("K", "T"), [(2, 0), (2, 5), (3, 4), (5, 3)])
def test_new_contexts_counted_over_all_texts(K, T):
    """Exhaustive: every sequence of T contexts and the next one."""
    new = sum(text[-1] not in text[:-1] for text in product(range(K), repeat=T + 1))
    assert Fraction(new, K ** (T + 1)) == Fraction(K - 1, K) ** T
    assert unseen_share(np.full(K, 1 / K), T) == pytest.approx(new / K ** (T + 1), rel=1e-14)


@pytest.mark.claim("neural.unseen-uniform")
@repeatable
@given(st.integers(2, 10**6), st.integers(0, 10**6), st.floats(1e-6, 0.999))
def test_how_long_a_text_has_to_be(K, T, share):
    unseen = (1 - 1 / K) ** T
    slack = 1 + 1e-9  # T roundings of a factor near one
    assert np.exp(-T / (K - 1)) <= unseen * slack
    assert unseen <= np.exp(-T / K) * slack
    enough = int(np.ceil(tokens_needed(K, share)))
    assert (1 - 1 / K) ** enough <= share * slack
    if unseen <= share:
        assert (K - 1) * np.log(1 / share) * (1 - 1e-9) <= T


@pytest.mark.claim("neural.no-free-lunch")
def test_no_rule_knows_a_context_that_it_has_not_seen():
    """Exhaustive: three contexts, two tokens, two contexts seen; every rule with probabilities in quarters."""
    worlds = list(product((0, 1), repeat=3))
    seen = list(product((0, 1), repeat=2))
    for answers in product((0.25, 0.5, 0.75), repeat=4):
        q = dict(zip(seen, answers, strict=True))  # the probability of token 1 in the third context
        loss = np.mean([-np.log(q[y[:2]] if y[2] else 1 - q[y[:2]]) for y in worlds])
        if all(answer == 0.5 for answer in answers):
            assert loss == pytest.approx(np.log(2), rel=1e-14)
        else:
            assert loss > np.log(2) + 0.03  # one of four is 1/4 or 3/4: ln(4 / 3) / 8 more
    for guesses in product((0, 1), repeat=4):
        guess = dict(zip(seen, guesses, strict=True))
        assert 2 * sum(guess[y[:2]] == y[2] for y in worlds) == len(worlds)


def test_bad_sizes():
    with pytest.raises(ValueError, match="not negative, got -1"):
        unseen_share(np.array([1.0]), -1)
    with pytest.raises(ValueError, match="must sum to one"):
        unseen_share(np.array([1.0, 1.0]), 3)
    with pytest.raises(ValueError, match="at least one context and a share"):
        tokens_needed(5, 0.0)
    with pytest.raises(ValueError, match="hidden is too small"):
        mlp_parameters(27, 3, 10, 0)
    with pytest.raises(ValueError, match="vocab_size is too small"):
        table_parameters(0, 3)


# --- sharing


def additive_model(k, V, rng):
    """Scores of every context by (E4), at [c_1, ..., c_k]."""
    b, W = rng.normal(size=V), rng.normal(size=(k, V, V))
    table = np.empty((V,) * k + (V,))
    for c in product(range(V), repeat=k):
        table[c] = b + sum(W[j, c[j]] for j in range(k))
    return table


def cross(table, r):
    """The scores of r, and of all contexts that differ from it in one place at most."""
    k, V = table.ndim - 1, table.shape[-1]
    alone = np.array([[table[(*r[:j], v, *r[j + 1 :])] for v in range(V)] for j in range(k)])
    return table[r], alone


@pytest.mark.claim("neural.additive-scores")
@pytest.mark.parametrize(("k", "V"), [(1, 3), (2, 5), (3, 3), (5, 2)])
def test_all_scores_from_a_few_contexts(k, V):
    rng = np.random.default_rng(k)
    table = additive_model(k, V, rng)
    for r in [(0,) * k, tuple(rng.integers(0, V, k).tolist())]:
        base, alone = cross(table, r)
        np.testing.assert_allclose(additive_table(base, alone), table, **CLOSE)
        # from distributions alone: the scores are known up to a number for each context
        unknown = rng.normal(size=(k, V, 1))
        for j, v in enumerate(r):
            unknown[j, v] = 0  # r itself is one context
        np.testing.assert_allclose(softmax(additive_table(base, alone + unknown)), softmax(table), **CLOSE)


@pytest.mark.claim("neural.additive-scores")
@pytest.mark.parametrize(("k", "V"), [(1, 2), (2, 3), (3, 2), (3, 3)])
def test_the_contexts_of_the_cross_can_have_any_scores(k, V):
    """The one-hot vectors of the cross are k (V - 1) + 1 independent rows, of which all others are made."""
    contexts = list(product(range(V), repeat=k))
    rows = np.array([[1.0] + [float(c[j] == v) for j in range(k) for v in range(V)] for c in contexts])
    near = np.array([sum(token != 0 for token in c) <= 1 for c in contexts])
    assert near.sum() == k * (V - 1) + 1
    assert np.linalg.matrix_rank(rows[near]) == near.sum() == np.linalg.matrix_rank(rows)


@pytest.mark.claim("neural.additive-scores")
def test_exclusive_or_is_no_sum_of_effects():
    base, alone = cross(np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]), (0, 0))
    assert additive_table(base, alone)[1, 1].argmax() == 1  # which should be 0


@pytest.mark.claim("neural.shared-parameters")
def test_every_position_of_a_context_is_one_of_each_of_its_tokens():
    """Exhaustive: all texts of seven tokens among two, contexts of two."""
    for text in product((0, 1), repeat=7):
        positions = [text[t - 2 : t] for t in range(2, 7)]
        for c in product((0, 1), repeat=2):
            assert positions.count(c) <= min(sum(v in at for at in positions) for v in c)


@pytest.mark.claim("neural.shared-parameters")
def test_the_network_has_as_many_parameters_as_stated():
    for V, k, d, h in [(5, 3, 2, 7), (7, 1, 3, 2), (2, 5, 1, 1)]:
        model = MLPLanguageModel(V, k, d, h, rng=np.random.default_rng(0))
        # the model has one row more, for the places before a text begins
        assert mlp_parameters(V, k, d, h) == model.n_parameters - d
        assert mlp_parameters(V + 1, k, d, h) - mlp_parameters(V, k, d, h) == d + h + 1
        assert mlp_parameters(V, k + 1, d, h) - mlp_parameters(V, k, d, h) == d * h
    assert table_parameters(3, 2) == len(np.zeros((3, 3, 3 - 1)).ravel())


def test_a_context_without_places(shapes_unchecked):
    with pytest.raises(ValueError, match="at least one place"):
        additive_table(np.zeros(2), np.zeros((0, 2, 2)))
