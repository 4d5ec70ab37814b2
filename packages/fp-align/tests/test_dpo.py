"""Mirrors src/fp_align/dpo.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_align.dpo import DPO, descend, dpo_loss, expected_gradient, expected_loss, implicit_rewards, margins
from fp_align.exact import TableModel, World, all_responses, total_variation
from fp_align.preferences import Preference, preference_probability, response_table, sample_preferences
from fp_autograd.functional import grad
from fp_autograd.rules import log_softmax, softplus
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

ROUNDING = 1e-12  # of float64 in sums of few terms
TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text())
PROMPTS, RESPONSES = [(0,), (1,)], all_responses(3, 2, stop=2)


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def drawn(seed, X=2, Y=5):
    rng = np.random.default_rng(seed)
    return World(softmax(rng.normal(size=(X, Y))), rng.normal(size=(X, Y)), softmax(rng.normal(size=X))), rng


seeds, betas = st.integers(0, 10_000), st.sampled_from([0.1, 0.5, 2.0])


def wins_of(one, other):
    return 1 / (1 + np.exp(other - one))


# --- the reward of a policy


@pytest.mark.claim("align.implicit-reward")
@settings(max_examples=20)
@given(seeds, betas)
def test_a_policy_is_the_optimum_of_its_implicit_reward(seed, beta):
    world, rng = drawn(seed)
    policy = softmax(rng.normal(size=(2, 5)))
    own = World(world.reference, implicit_rewards(np.log(policy), np.log(world.reference), beta), world.prompt_weights)
    np.testing.assert_allclose(own.optimum(beta), policy, rtol=1e-10)  # exponents of ten or so, rounded
    np.testing.assert_allclose(own.log_partition(beta), 0, atol=ROUNDING)
    shifted = World(world.reference, world.rewards + rng.normal(size=(2, 1)), world.prompt_weights)
    np.testing.assert_allclose(shifted.optimum(beta), world.optimum(beta), rtol=1e-10)
    back = implicit_rewards(np.log(world.optimum(beta)), np.log(world.reference), beta)
    difference = world.rewards - back
    np.testing.assert_allclose(difference, beta * world.log_partition(beta)[:, None] + np.zeros((2, 5)), atol=1e-10)


@pytest.mark.claim("align.implicit-reward")
def test_rewards_that_differ_otherwise_have_other_optima():
    world, rng = drawn(4)
    other = World(world.reference, world.rewards + 0.1 * rng.normal(size=(2, 5)), world.prompt_weights)
    assert total_variation(other.optimum(0.5), world.optimum(0.5)) > 1e-3


# --- the partition function


@pytest.mark.claim("align.dpo-cancels")
def test_the_partition_function_cancels_in_symbols():
    beta, Z, p, q, r, s = sympy.symbols("beta Z p q r s", positive=True)
    best = [a * sympy.exp(reward / beta) / Z for a, reward in ((p, r), (q, s))]
    margin = beta * sympy.log(best[0] / p) - beta * sympy.log(best[1] / q)
    assert sympy.simplify(sympy.expand_log(margin, force=True) - (r - s)) == 0


@pytest.mark.claim("align.dpo-cancels")
@settings(max_examples=20)
@given(seeds, betas)
def test_the_optimum_gives_the_judges_probabilities(seed, beta):
    world, _ = drawn(seed)
    log_best, log_reference = np.log(world.optimum(beta)), np.log(world.reference)
    for y in range(1, 5):
        m = margins(log_best[:, y], log_best[:, 0], log_reference[:, y], log_reference[:, 0], beta)
        judge = preference_probability(world.rewards[:, y], world.rewards[:, 0])
        np.testing.assert_allclose(1 / (1 + np.exp(-m)), judge, rtol=1e-10)


# --- the loss


@pytest.mark.claim("align.dpo-optimum")
@settings(max_examples=15)
@given(seeds, betas)
def test_the_mean_loss_is_smallest_at_the_optimum(seed, beta):
    world, rng = drawn(seed)
    best = np.log(world.optimum(beta))
    lowest = expected_loss(world, best, beta)
    np.testing.assert_allclose(expected_gradient(world, best, beta), 0, atol=ROUNDING)
    for scale in (1e-2, 0.1, 1.0):
        u = rng.normal(size=(2, 5))
        assert expected_loss(world, best + scale * u, beta) > lowest
    assert abs(expected_loss(world, best + rng.normal(size=(2, 1)), beta) - lowest) < ROUNDING  # the same policy


@pytest.mark.claim("align.dpo-optimum")
def test_what_is_never_compared_is_never_learned():
    rewards = np.array([0.0, 1.0, 2.0])
    reference = np.log(np.array([0.5, 0.3, 0.2]))
    p = wins_of(rewards[1], rewards[0])

    def loss(z):  # the third response is compared with none
        m = 0.5 * ((z[1] - reference[1]) - (z[0] - reference[0]))
        return p * softplus(-m) + (1 - p) * softplus(m)

    best = reference + rewards / 0.5
    for third in (-5.0, 0.0, 5.0):
        assert abs(float(loss(best + np.array([0, 0, third]))) - float(loss(best))) < ROUNDING


@settings(max_examples=10)
@given(seeds, betas)
def test_the_mean_loss_is_that_of_all_pairs(seed, beta):
    world, rng = drawn(seed, Y=3)
    scores, log_reference = rng.normal(size=(2, 3)), np.log(world.reference)
    log_policy = np.log(softmax(scores))
    total = 0.0
    for x in range(2):
        pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
        weights = np.array([world.reference[x, a] * world.reference[x, b] for a, b in pairs])
        for (a, b), w in zip(pairs, weights / weights.sum(), strict=True):
            wins = wins_of(world.rewards[x, a], world.rewards[x, b])
            for (c, d), share in (((a, b), wins), ((b, a), 1 - wins)):
                one = (log_policy[x, [c]], log_policy[x, [d]], log_reference[x, [c]], log_reference[x, [d]])
                total += world.prompt_weights[x] * w * share * float(dpo_loss(*one, beta))
    assert abs(expected_loss(world, scores, beta) - total) < ROUNDING


@pytest.mark.claim("align.dpo-gradient")
@settings(max_examples=15)
@given(seeds, betas)
def test_the_gradient_is_the_surprise_times_the_difference_of_scores(seed, beta):
    world, rng = drawn(seed, X=1)
    z, log_reference = rng.normal(size=5), np.log(world.reference[0])

    def loss(z):
        log_policy = log_softmax(z)
        return dpo_loss(log_policy[1:2], log_policy[3:4], log_reference[1:2], log_reference[3:4], beta)

    log_policy = np.log(softmax(z))
    m = beta * ((log_policy[1] - log_reference[1]) - (log_policy[3] - log_reference[3]))
    score = np.eye(5) - softmax(z)  # row y: the gradient of ln p(y) in the scores
    by_hand = -beta / (1 + np.exp(m)) * (score[1] - score[3])
    np.testing.assert_allclose(grad(loss)(z), by_hand, rtol=0, atol=ROUNDING)
    u, step = rng.normal(size=5), 1e-5
    slope = (float(loss(z + step * u)) - float(loss(z - step * u))) / (2 * step)
    assert abs(slope - by_hand @ u) < 1e-9  # the step squared, and rounding over the step
    whole = grad(lambda z: _mean_loss(world, z, beta))(z[None])
    np.testing.assert_allclose(expected_gradient(world, z[None], beta), whole, rtol=0, atol=ROUNDING)


def _mean_loss(world, z, beta):
    reward = beta * (log_softmax(z) - np.log(world.reference))
    total = 0.0
    pairs = [(a, b) for a in range(5) for b in range(5) if a != b]
    weights = np.array([world.reference[0, a] * world.reference[0, b] for a, b in pairs])
    for (a, b), w in zip(pairs, weights / weights.sum(), strict=True):
        wins = wins_of(world.rewards[0, a], world.rewards[0, b])
        total = total + w * wins * softplus(reward[0, b] - reward[0, a])
        total = total + w * (1 - wins) * softplus(reward[0, a] - reward[0, b])
    return total


def test_values_and_gradients_are_those_of_pytorch():
    case = TORCH["dpo"]
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    four = [np.array(case[name]) for name in names]
    # both compute in float64
    assert float(dpo_loss(*four, case["beta"])) == pytest.approx(case["loss"], rel=1e-12)
    for at, wanted in enumerate(case["gradients"]):
        found = grad(lambda *four: dpo_loss(*four, case["beta"]), at)(*four)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-16)


# --- training


def listed_world(reference, seed=0):
    table = response_table(reference, PROMPTS, RESPONSES)
    return World(np.exp(table), np.random.default_rng(seed).normal(size=table.shape))


def distance(policy, world, beta):
    return total_variation(np.exp(response_table(policy, PROMPTS, RESPONSES)), world.optimum(beta))


def every_verdict(world):
    """Both verdicts on each pair, and how often each comes."""
    verdicts, weights = [], []
    for x, prompt in enumerate(PROMPTS):
        for a, y in enumerate(RESPONSES):
            for b, other in enumerate(RESPONSES):
                if a != b:
                    verdicts.append(Preference(prompt, y, other))
                    pair = world.reference[x, a] * world.reference[x, b]
                    weights.append(pair * wins_of(world.rewards[x, a], world.rewards[x, b]))
    return verdicts, np.array(weights) / np.sum(weights)


@pytest.mark.claim("align.dpo-optimum")
@pytest.mark.parametrize(("kind", "steps", "lr"), [("table", 150, 0.2), ("transformer", 120, 0.01)])
def test_dpo_arrives_at_the_exact_optimum(kind, steps, lr):
    if kind == "table":
        policy, reference = TableModel(3, 3), TableModel(3, 3, rng=np.random.default_rng(1))
    else:
        # with rotary positions the texts (1,) and (1, 1) look the same: a mean of equal values is that value
        config = TransformerConfig.gpt2(vocab_size=3, context_length=4, n_layers=1, n_heads=2, d_model=16)
        policy, reference = (Transformer(config, rng=np.random.default_rng(1)).eval() for _ in range(2))
    policy.load_state_dict(reference.state_dict())
    world = listed_world(reference)
    trainer = DPO(policy, reference, beta=0.5)
    assert distance(policy, world, 0.5) > 0.3  # there is a way to go
    verdicts, weights = every_verdict(world)
    for k in range(steps):
        loss = (softplus(-trainer.margins(verdicts)) * weights.astype(policy.parameters()[0].dtype)).sum()
        descend(loss, trainer.parameters, trainer.optimizer, 10.0, lr * (1 - k / steps))
    assert distance(policy, world, 0.5) < 0.02


@pytest.mark.claim("align.dpo-optimum")
def test_dpo_arrives_from_sampled_verdicts_too():
    policy, reference = TableModel(3, 3), TableModel(3, 3, rng=np.random.default_rng(1))
    policy.load_state_dict(reference.state_dict())
    world = listed_world(reference)
    verdicts = sample_preferences(world, PROMPTS, RESPONSES, 20_000, np.random.default_rng(0))
    trainer, rng, steps = DPO(policy, reference, beta=0.5, lr=0.1), np.random.default_rng(1), 120
    for k in range(steps):
        batch = [verdicts[i] for i in rng.integers(0, len(verdicts), 1024)]
        found = trainer.step(batch, lr=0.1 * (1 - k / steps))
    assert distance(policy, world, 0.5) < 0.05  # 20,000 coins leave a margin uncertain by a few hundredths
    assert 0.5 < found["accuracy"] < 1 and found["loss"] < np.log(2)


def test_a_step_reports_the_loss_at_the_start():
    model = TableModel(3, 3, rng=np.random.default_rng(0))
    found = DPO(model, TableModel(3, 3, rng=np.random.default_rng(0)), beta=0.1).step([Preference((0,), (1,), (2,))])
    assert found["loss"] == pytest.approx(np.log(2), rel=1e-12)  # both are the same
    assert found["margin"] == 0 and found["accuracy"] == 0 and found["grad_norm"] > 0


def test_a_gradient_that_is_not_finite_moves_nothing():
    config = TransformerConfig.gpt2(vocab_size=3, context_length=4, n_layers=1, n_heads=2, d_model=8)
    policy, reference = (Transformer(config, rng=np.random.default_rng(seed)).eval() for seed in range(2))
    before, trainer = policy.state_dict(), DPO(policy, reference, beta=3e38)
    wrong = max(
        ([Preference((0,), (a,), (1 - a,))] for a in (0, 1)), key=lambda v: softplus(-trainer.margins(v)).item()
    )
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="would spoil the model"):
        trainer.step(wrong)
    assert all((value == before[name]).all() for name, value in policy.state_dict().items())


ONE = np.array([-1.0])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: dpo_loss(ONE, ONE, ONE, ONE, 0.0), "beta, the price of a nat, is positive"),
        (lambda: dpo_loss(ONE, ONE, ONE, np.zeros(2), 0.1), "have one shape"),
        (lambda: dpo_loss(*[np.zeros(0)] * 4, 0.1), "at least one, got none"),
        (lambda: implicit_rewards(ONE, ONE, -1), "beta, the price of a nat, is positive"),
        (lambda: DPO(one := TableModel(2, 2), one), "the policy itself and would move with it"),
        (lambda: DPO(TableModel(2, 2), None, beta=float("inf")), "beta, the price of a nat, is positive"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
