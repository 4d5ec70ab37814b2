"""Mirrors src/fp_align/evaluation.py."""

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_align.evaluation import coverage, divergences, estimate, held_out_loss, textbook, wilson, win_scores
from fp_align.exact import all_responses
from fp_align.preferences import response_table
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

CONFIG = TransformerConfig.llama(vocab_size=3, context_length=8, n_layers=1, n_heads=2, d_model=8)


def made(seed):
    model = Transformer(CONFIG, rng=np.random.default_rng(seed), dtype=np.float64).eval()
    for p in model.parameters():
        p.data *= 2  # far enough apart to be told apart
    return model


@pytest.mark.claim("align.wilson")
@given(st.integers(0, 40), st.integers(1, 40), st.floats(0.1, 5))
@settings(max_examples=25)
def test_the_interval_is_the_set_of_probabilities_that_are_near_enough(k, n, z):
    share = min(k, n) / n
    low, high = wilson(share, n, z)
    assert 0 <= low < high <= 1 and low - 1e-12 <= share <= high + 1e-12
    for p in np.linspace(0.0005, 0.9995, 1000):
        near = (share - p) ** 2 - z * z * p * (1 - p) / n
        if abs(near) > 1e-9:  # else rounding decides
            assert (near < 0) == (low < p < high)


@pytest.mark.claim("align.wilson")
def test_its_ends_are_the_zeros():
    s, n, z, p = sympy.symbols("s n z p", positive=True)
    left = sympy.expand((s - p) ** 2 - z**2 * p * (1 - p) / n)
    a = z**2 / n
    half = z * sympy.sqrt(s * (1 - s) / n + z**2 / (4 * n**2))
    for sign in (1, -1):
        end = (s + a / 2 + sign * half) / (1 + a)
        assert sympy.simplify(left.subs(p, end)) == 0


@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
def test_coverage_against_counting(p):
    wins = np.random.default_rng(0).binomial(50, p, size=20_000)
    for interval in (wilson, textbook):
        held = np.mean([interval(k / 50, 50)[0] <= p <= interval(k / 50, 50)[1] for k in wins])
        # four standard deviations of a share of 20,000
        assert abs(held - coverage(p, 50, interval)) < 4 * 0.5 / np.sqrt(20_000)


@pytest.mark.claim("align.tie-variance")
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=6))
@settings(max_examples=25)
def test_scores_between_zero_and_one_scatter_no_more_than_games(outcomes):
    s, weights = np.array(outcomes).T
    weights = weights / weights.sum()
    p = weights @ s
    variance = weights @ (s - p) ** 2
    assert variance <= p * (1 - p) + 1e-12  # rounding
    if ((s > 0.01) & (s < 0.99)).any():
        assert variance < p * (1 - p)


@pytest.mark.claim("align.tie-variance")
def test_games_without_ties_have_all_of_it():
    for p in (0.0, 0.3, 1.0):
        assert p * (1 - p) ** 2 + (1 - p) * p**2 == pytest.approx(p * (1 - p), abs=1e-15)  # rounding


@pytest.mark.claim("align.kl-chain")
def test_summing_over_places_has_the_mean_of_the_divergence():
    policy, reference, prompt = made(1), made(2), (1, 2)
    responses = all_responses(3, 3, stop=0)
    logp, logq = (response_table(model, [prompt], responses)[0] for model in (policy, reference))
    exact = float(np.exp(logp) @ (logp - logq))
    found = divergences(policy, reference, [prompt] * len(responses), responses, batch_size=4)
    for name in ("sum", "k1", "k3"):
        assert np.exp(logp) @ found[name] == pytest.approx(exact, rel=1e-9)  # a few dozen terms in float64
    assert exact > 0.01 and (found["sum"] >= 0).all() and (found["k1"] < 0).any()


def test_a_model_is_not_far_from_itself():
    found = divergences(made(1), made(1), [[1], [2, 1]], [[2, 2], [0]])
    assert all((np.abs(values) < 1e-12).all() for values in found.values())  # rounding


def test_mean_and_standard_error_worked_by_hand():
    found = estimate(np.array([1.0, 3.0, 5.0, 7.0]))
    assert found.mean == 4 and found.error == pytest.approx(np.sqrt(20 / 3) / 2, rel=1e-12)


def test_the_held_out_loss_is_the_models_own():
    model, ids = made(3), np.random.default_rng(0).integers(0, 3, 23)
    rows = np.stack([ids[i : i + 8] for i in (0, 7, 14)])
    expected = model.loss(rows[:, :-1], rows[:, 1:]).item()
    for batch_size in (1, 2, 64):
        assert held_out_loss(model, ids, 7, batch_size) == pytest.approx(expected, rel=1e-12)  # order of sums


def test_bad_input_is_refused(shapes_unchecked):
    for share, n, z in ((1.5, 10, 2), (0.5, 0, 2), (0.5, 10, 0), (float("nan"), 10, 2)):
        with pytest.raises(ValueError, match="share of wins"):
            wilson(share, n, z)
    with pytest.raises(ValueError, match="two values or more, got 1"):
        estimate(np.ones(1))
    for one, other in ((np.ones(2), np.ones(3)), (np.ones(0), np.ones(0))):
        with pytest.raises(ValueError, match="two responses to compare"):
            win_scores(one, other)
    with pytest.raises(ValueError, match=r"5 tokens, and one window .* needs 6"):
        held_out_loss(made(0), np.zeros(5, int), 5)
    with pytest.raises(ValueError, match="0 prompts"):
        divergences(made(0), made(1), [], [])
