"""Mirrors src/fp_align/preferences.py."""

import json
from pathlib import Path

import numpy as np
import pytest

from fp_align.exact import TableModel, World, all_responses
from fp_align.preferences import (
    Preference,
    padded,
    preference_probability,
    response_table,
    sample_preferences,
    sample_responses,
    sequence_log_probabilities,
    token_log_probabilities,
)
from fp_autograd.functional import grad, value_and_grad
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

ROUNDING = 1e-12  # of float64 in sums of few terms
TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text())


def tiny(family, V=3, seed=0):
    make = getattr(TransformerConfig, family)
    config = make(vocab_size=V, context_length=8, n_layers=1, n_heads=2, d_model=8, dropout=0.1)
    return Transformer(config, rng=np.random.default_rng(seed), dtype=np.float64).eval()


families = pytest.mark.parametrize("family", ["llama", "gpt2"])


@families
@pytest.mark.claim("align.masked-sum")
def test_the_probabilities_of_all_responses_are_a_distribution_and_products_of_steps(family):
    model, responses = tiny(family), all_responses(3, 2, stop=1)
    prompts = [(2,), (0, 1)]
    table = response_table(model, prompts, responses)
    np.testing.assert_allclose(np.exp(table).sum(axis=1), 1, rtol=ROUNDING)
    for x, prompt in enumerate(prompts):
        for column, y in enumerate(responses):
            total, text = 0.0, list(prompt)
            for token in y:  # one token at a time, each text a pass of its own
                z = model(np.array([text])).data[0, -1]
                total += z[token] - np.log(np.exp(z).sum())
                text.append(token)
            assert abs(table[x, column] - total) < 10 * ROUNDING


@families
@pytest.mark.claim("align.masked-sum")
def test_what_fills_up_a_text_does_not_matter(family):
    model = tiny(family)
    prompts, responses = [(1,), (2, 0, 1)], [(0, 2), (1, 1, 1)]
    found = [sequence_log_probabilities(model, *padded(prompts, responses, pad=pad)).data for pad in range(3)]
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=ROUNDING)
    alone = [
        sequence_log_probabilities(model, *padded([x], [y])).data[0] for x, y in zip(prompts, responses, strict=True)
    ]
    np.testing.assert_allclose(found[0], alone, rtol=ROUNDING)


@families
def test_the_gradient_does_not_count_the_prompt(family):
    model = tiny(family)
    ids, mask = padded([(1, 2, 0)], [(1, 2)])
    state = model.state_dict()

    def of(state):
        return sequence_log_probabilities(lambda ids: model.functional(state, ids), ids, mask).sum()

    found = grad(of)(state)
    rng, step = np.random.default_rng(0), 1e-5
    u = {name: rng.normal(size=x.shape) for name, x in state.items()}

    def moved(h):
        return float(of({name: x + h * u[name] for name, x in state.items()}))

    slope = (moved(step) - moved(-step)) / (2 * step)
    # the step squared and rounding over the step
    assert slope == pytest.approx(sum((found[name] * u[name]).sum() for name in u), rel=1e-6)


def test_values_and_gradients_are_those_of_pytorch():
    case = TORCH["sequence"]
    ids, mask = np.array(case["ids"]), np.array(case["mask"], bool)

    def sums(logits):
        return sequence_log_probabilities(lambda _: logits, ids, mask)

    # both compute in float64
    np.testing.assert_allclose(sums(np.array(case["logits"])), case["values"], rtol=1e-12)
    found = grad(lambda z: sums(z).sum())(np.array(case["logits"]))
    np.testing.assert_allclose(found, case["gradient"], rtol=1e-10, atol=1e-14)


def test_what_does_not_count_may_be_impossible():
    weights = np.array([-np.inf, 0.0, 0.0])  # the model never writes a 0; the prompt has one, and the padding
    ids, mask = padded([[1, 0], [2]], [[1], [2]], pad=0)
    found, slope = value_and_grad(
        lambda z: sequence_log_probabilities(lambda ids: weights + z + np.zeros((*ids.shape, 1)), ids, mask).sum()
    )(np.zeros(3))
    assert float(found) == pytest.approx(2 * np.log(0.5), rel=ROUNDING)
    np.testing.assert_allclose(slope, 0, atol=ROUNDING)  # one of each of two equal tokens


def test_tokens_by_hand():
    p = np.array([0.5, 0.3, 0.2])
    model = lambda ids: np.log(p) + np.zeros((*ids.shape, 1))  # noqa: E731
    found = token_log_probabilities(model, np.array([[2, 0, 1]]))
    np.testing.assert_allclose(found, np.log([[0.5, 0.3]]), rtol=ROUNDING)


# --- the judge


@pytest.mark.claim("align.bradley-terry-choice")
def test_the_judge_prefers_by_the_logistic_curve():
    rewards = np.array([0.7, -0.4])
    rng, n = np.random.default_rng(0), 200_000
    wins = (rewards[0] + rng.gumbel(size=n) > rewards[1] + rng.gumbel(size=n)).mean()
    expected = float(preference_probability(rewards[0:1], rewards[1:2])[0])
    assert abs(expected - 1 / (1 + np.exp(-1.1))) < ROUNDING
    assert abs(wins - expected) < 5 * np.sqrt(expected * (1 - expected) / n)  # five standard errors


def test_verdicts_of_a_world_are_drawn_from_its_reference_and_judge():
    world = World(np.array([[0.5, 0.3, 0.2]]), np.array([[0.0, 1.0, -1.0]]))
    n = 6000
    verdicts = sample_preferences(world, [(0,)], [(1,), (2,), (3,)], n, np.random.default_rng(1))
    for a, b in ((1, 2), (1, 3), (2, 3)):
        both = [v for v in verdicts if {v.chosen[0], v.rejected[0]} == {a, b}]
        p, q = world.reference[0, [a - 1, b - 1]]
        share = p * q / (1 - p) + q * p / (1 - q)  # either may be drawn first, the other among the rest
        assert abs(len(both) / n - share) < 5 * np.sqrt(share / n)
        wins = np.mean([v.chosen == (a,) for v in both])
        expected = 1 / (1 + np.exp(world.rewards[0, b - 1] - world.rewards[0, a - 1]))
        assert abs(wins - expected) < 5 * np.sqrt(0.25 / len(both))


# --- sampling


@pytest.mark.parametrize("kind", ["table", "transformer"])
def test_sampled_responses_come_as_often_as_they_are_probable(kind):
    model = TableModel(3, 4, rng=np.random.default_rng(3)) if kind == "table" else tiny("llama", seed=3)
    responses, prompts = all_responses(3, 2, stop=1), [(2,), (0, 1)]
    n = 3000 if kind == "table" else 300
    drawn = sample_responses(model, prompts * n, 2, np.random.default_rng(0), stop=1)
    table = np.exp(response_table(model, prompts, responses))
    for x in range(2):
        counts = np.array([sum(tuple(y) == wanted for y in drawn[x::2]) for wanted in responses])
        assert counts.sum() == n
        assert (np.abs(counts / n - table[x]) < 5 * np.sqrt(table[x] / n)).all()  # five standard errors


def test_a_transformer_and_the_plain_loop_draw_the_same_kind_of_response():
    model = tiny("gpt2")
    for stop in (None, 1):
        for y in sample_responses(model, [(0,), (2, 2)] * 20, 3, np.random.default_rng(0), stop=stop):
            assert len(y) == 3 or y[-1] == stop
            assert stop not in y[:-1]


# --- data


def test_padding_puts_prompt_and_response_side_by_side():
    ids, mask = padded([[5, 6], [7]], [[1], [2, 3, 4]], pad=9)
    assert ids.tolist() == [[5, 6, 1, 9], [7, 2, 3, 4]]
    assert mask.tolist() == [[False, False, True, False], [False, True, True, True]]


IDS, MASK = np.array([[0, 1, 2]]), np.array([[False, True, True]])
EVEN = World(np.array([[0.5, 0.5]]), np.zeros((1, 2)))


def even(ids):
    return np.zeros((*ids.shape, 3))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: Preference((), (1,), (2,)), ValueError, "at least one token in its prompt"),
        (lambda: Preference((0,), (1,), ()), ValueError, "at least one token in its rejected"),
        (lambda: Preference((0,), (1,), (1,)), ValueError, "the same response twice"),
        (lambda: padded([], []), ValueError, "each prompt needs a response, got 0"),
        (lambda: padded([[1]], [[1], [2]]), ValueError, "each prompt needs a response, got 1 prompts and 2"),
        (lambda: padded([[1], []], [[1], [2]]), ValueError, "prompt 1 is empty"),
        (lambda: padded([[1]], [[]]), ValueError, "response 0 is empty"),
        (lambda: token_log_probabilities(even, np.array([[1]])), ValueError, "two positions or more"),
        (lambda: sequence_log_probabilities(even, IDS, MASK.astype(int)), TypeError, "the mask is Boolean"),
        (lambda: sequence_log_probabilities(even, IDS, MASK[:, :2]), ValueError, "the shape of the ids"),
        (lambda: sequence_log_probabilities(even, IDS, ~MASK), ValueError, "first token of text 0 counts"),
        (lambda: sequence_log_probabilities(even, IDS, MASK & False), ValueError, "text 0 has no token that counts"),
        (
            lambda: sample_preferences(EVEN, [(0,)], [(1,)], 1, np.random.default_rng(0)),
            ValueError,
            "one verdict or more",
        ),
        (lambda: sample_responses(even, [(0,)], 0, np.random.default_rng(0)), ValueError, "max_new_tokens = 0"),
        (lambda: sample_responses(even, [()], 1, np.random.default_rng(0)), ValueError, "each prompt has a token"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input_is_refused_with_a_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
