"""Mirrors src/fp_align/ppo.py."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_align.exact import TableModel, World, all_responses, total_variation
from fp_align.ppo import PPO, ValueModel, clipped_objective, clipped_slope, gae
from fp_align.preferences import response_table
from fp_autograd.functional import grad
from fp_autograd.rules import clip, exp, log_softmax, minimum
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

ROUNDING = 1e-12  # of float64 in sums of few terms
TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text())
PROMPTS, RESPONSES = [(0,), (1,)], all_responses(3, 2, stop=2)
seeds = st.integers(0, 10_000)


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# --- the ratio


@pytest.mark.claim("align.importance")
@settings(max_examples=15)
@given(seeds)
def test_old_samples_weighted_by_the_ratio_are_new_ones(seed):
    rng = np.random.default_rng(seed)
    z, f = rng.normal(size=5), rng.normal(size=5)
    old = softmax(rng.normal(size=5))
    assert abs((old * (softmax(z) / old) * f).sum() - softmax(z) @ f) < ROUNDING

    def surrogate(z, old):
        return (old * exp(log_softmax(z) - np.log(old)) * f).sum()

    policy_gradient = (softmax(z) * f) @ (np.eye(5) - softmax(z))
    np.testing.assert_allclose(grad(lambda z: surrogate(z, softmax(z.data)))(z), policy_gradient, rtol=0, atol=ROUNDING)


# --- the clipped objective


def reference_objective(ratio, A, eps):
    return minimum(ratio * A, clip(ratio, 1 - eps, 1 + eps) * A)


CASES = [  # ratio, advantage, value, slope with eps = 0.2; all four cases, and both sides of each
    (0.5, 2.0, 1.0, 2.0),
    (1.1, 2.0, 2.2, 2.0),
    (1.5, 2.0, 2.4, 0.0),
    (0.5, -2.0, -1.6, 0.0),
    (0.9, -2.0, -1.8, -2.0),
    (1.5, -2.0, -3.0, -2.0),
]


@pytest.mark.claim("align.ppo-clip")
@pytest.mark.parametrize(("ratio", "A", "value", "slope"), CASES)
def test_the_four_cases_by_hand(ratio, A, value, slope):
    x, a = np.array([ratio]), np.array([A])
    assert clipped_objective(x, a, 0.2)[0] == pytest.approx(value, rel=1e-15)
    assert clipped_slope(x, a, 0.2)[0] == slope
    assert grad(lambda x: clipped_objective(x, a, 0.2).sum())(x)[0] == slope


@pytest.mark.claim("align.ppo-clip")
@settings(max_examples=25)
@given(st.floats(0.01, 5), st.floats(-3, 3), st.sampled_from([0.1, 0.2, 0.5]))
def test_value_and_slope_are_those_of_the_minimum(ratio, A, eps):
    x, a, step = np.array([ratio]), np.array([A]), 1e-6
    assert abs(clipped_objective(x, a, eps) - reference_objective(x, a, eps)) < ROUNDING
    found = grad(lambda x: clipped_objective(x, a, eps).sum())(x)
    assert found == clipped_slope(x, a, eps)
    if min(abs(ratio - 1 - eps), abs(ratio - 1 + eps)) > 2 * step:  # away from the kinks
        ahead, back = (reference_objective(x + h, a, eps) for h in (step, -step))
        assert abs((ahead - back) / (2 * step) - found) < 1e-8  # straight lines: rounding over the step


@pytest.mark.claim("align.ppo-clip")
@pytest.mark.parametrize(("A", "at"), [(2.0, 1.2), (-2.0, 0.8)])
def test_at_the_kink_the_subgradients_lie_between_the_two_slopes(A, at):
    a, eps, step = np.array([A]), 0.2, 1e-6
    x = np.array([at])
    before, value, behind = (float(reference_objective(x + h, a, eps)[0]) for h in (-step, 0.0, step))
    left, right = (value - before) / step, (behind - value) / step
    assert (left, right) == (pytest.approx(A if A > 0 else 0, abs=1e-8), pytest.approx(0 if A > 0 else A, abs=1e-8))
    ratios = np.linspace(0.01, 3, 400)
    others = reference_objective(ratios, np.full(400, A), eps)
    for slope in np.linspace(min(0, A), max(0, A), 7):  # -L is convex: no point of L lies above these lines
        assert (others <= value + slope * (ratios - at) + ROUNDING).all()
    for slope in (min(0, A) - 0.1, max(0, A) + 0.1):
        assert (others > value + slope * (ratios - at) + ROUNDING).any()
    assert clipped_slope(x, a, eps)[0] == A  # the end of the interval that PyTorch takes too
    other_edge = np.array([2.0 - at])
    assert grad(lambda x: reference_objective(x + 1e-9 * np.sign(A), a, eps).sum())(other_edge)[0] == A


@pytest.mark.claim("align.ppo-bound")
@settings(max_examples=25)
@given(st.floats(0.01, 5), st.floats(-3, 3))
def test_it_never_promises_more(ratio, A):
    found = float(clipped_objective(np.array([ratio]), np.array([A]), 0.2)[0])
    assert found <= ratio * A + ROUNDING
    beyond = (A > 0 and ratio > 1.2) or (A < 0 and ratio < 0.8)
    assert beyond or found == ratio * A


@pytest.mark.claim("align.ppo-bound")
def test_at_the_old_policy_its_gradient_is_the_policy_gradient():
    rng = np.random.default_rng(0)
    z, A = rng.normal(size=5), rng.normal(size=5)
    p = softmax(z)
    found = grad(lambda z: (p * clipped_objective(exp(log_softmax(z) - np.log(p)), A, 0.2)).sum())(z)
    np.testing.assert_allclose(found, (p * A) @ (np.eye(5) - p), rtol=0, atol=ROUNDING)


def test_values_and_gradients_are_those_of_pytorch():
    case = TORCH["clip"]
    ratio, A = np.array(case["ratio"]), np.array(case["advantage"])
    # both compute in float64
    np.testing.assert_allclose(clipped_objective(ratio, A, case["eps"]), case["values"], rtol=1e-14, atol=1e-16)
    found = grad(lambda x: clipped_objective(x, A, case["eps"]).sum())(ratio)
    moving = A != 0  # at zero both are zero
    np.testing.assert_allclose(found[moving], np.array(case["gradient"])[moving], rtol=1e-14)


# --- advantages


def fading_sum(rewards, values, gamma, lam):
    """The definition, term by term."""
    T = values.shape[1]
    after = np.concatenate([values[:, 1:], np.zeros((len(values), 1))], axis=1)
    delta = rewards + gamma * after - values
    return np.array([[sum((gamma * lam) ** (u - t) * row[u] for u in range(t, T)) for t in range(T)] for row in delta])


@pytest.mark.claim("align.gae")
@settings(max_examples=25)
@given(seeds, st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.sampled_from([0.0, 0.3, 0.95, 1.0]))
def test_the_recursion_and_the_limits(seed, gamma, lam):
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=(2, 5)), rng.normal(size=(2, 5))
    found = gae(rewards, values, gamma, lam)
    np.testing.assert_allclose(found, fading_sum(rewards, values, gamma, lam), rtol=0, atol=ROUNDING)
    after = np.concatenate([values[:, 1:], np.zeros((2, 1))], axis=1)
    if lam == 0:
        np.testing.assert_allclose(found, rewards + gamma * after - values, rtol=0, atol=ROUNDING)
    if lam == 1:
        to_go = [[sum(gamma ** (u - t) * row[u] for u in range(t, 5)) for t in range(5)] for row in rewards]
        np.testing.assert_allclose(found, np.array(to_go) - values, rtol=0, atol=ROUNDING)
    else:  # the mean of what n steps ahead say
        mean = np.zeros((2, 5))
        ahead = np.pad(values, ((0, 0), (0, 400)))
        for n in range(1, 400):  # 0.95^400 is 1e-9
            steps = np.zeros((2, 5))
            for t in range(5):
                steps[:, t] = sum(gamma**l * rewards[:, t + l] for l in range(min(n, 5 - t)))
                steps[:, t] += gamma**n * ahead[:, t + n] - values[:, t]
            mean += (1 - lam) * lam ** (n - 1) * steps
        np.testing.assert_allclose(found, mean, rtol=0, atol=1e-7)


@pytest.mark.claim("align.gae-unbiased")
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("gamma", [0.7, 1.0])
def test_with_the_right_values_every_lambda_has_the_right_mean(lam, gamma):
    V, T = 2, 3
    rng = np.random.default_rng(0)
    texts = all_responses(V, T)
    step = {t[:k]: softmax(rng.normal(size=V)) for t in texts for k in range(T)}
    reward = {t[:k]: rng.normal() for t in texts for k in range(1, T + 1)}

    def value(state):
        if len(state) == T:
            return 0.0
        return sum(step[state][a] * (reward[(*state, a)] + gamma * value((*state, a))) for a in range(V))

    for t, a in itertools.product(range(T), range(V)):
        for state in {text[:t] for text in texts}:
            mean = total = 0.0
            for text in texts:
                if text[: t + 1] != (*state, a):
                    continue
                p = np.prod([step[text[:k]][text[k]] for k in range(t + 1, T)])
                r = np.array([[reward[text[: k + 1]] for k in range(T)]])
                v = np.array([[value(text[:k]) for k in range(T)]])
                mean, total = mean + p * gae(r, v, gamma, lam)[0, t], total + p
            assert abs(total - 1) < ROUNDING
            Q = reward[(*state, a)] + gamma * value((*state, a))
            assert abs(mean - (Q - value(state))) < ROUNDING


def test_advantages_are_those_of_pytorch():
    case = TORCH["gae"]
    for (gamma, lam), wanted in zip(case["settings"], case["advantages"], strict=True):
        # both compute in float64, in another order
        np.testing.assert_allclose(
            gae(np.array(case["rewards"]), np.array(case["values"]), gamma, lam), wanted, atol=1e-13
        )


# --- the trainer


def trainer_of(policy, value, reference, beta=0.5, **settings):
    table = response_table(reference, PROMPTS, RESPONSES)
    world = World(np.exp(table), np.random.default_rng(0).normal(size=table.shape))

    def reward(prompts, responses):
        at = zip(prompts, responses, strict=True)
        return np.array([world.rewards[PROMPTS.index(tuple(x)), RESPONSES.index(tuple(y))] for x, y in at])

    settings = {"lam": 0.95, "lr": 0.1, "value_lr": 0.1, "max_norm": 10.0} | settings
    return world, PPO(policy, value, reference, reward, beta=beta, max_new_tokens=2, stop=2, **settings)


@pytest.mark.claim("align.kl-optimum")
@pytest.mark.parametrize("whiten", [False, True])
def test_ppo_arrives_at_the_exact_optimum(whiten):
    reference, policy = TableModel(3, 3, rng=np.random.default_rng(1)), TableModel(3, 3)
    policy.load_state_dict(reference.state_dict())
    world, trainer = trainer_of(policy, TableModel(3, 3, n_out=1), reference, whiten=whiten)
    best = world.optimum(0.5)
    assert total_variation(world.reference, best) > 0.3  # there is a way to go
    rng, steps = np.random.default_rng(0), 60
    for k in range(steps):
        found = trainer.step(PROMPTS * 128, rng, lr=0.1 * (1 - k / steps))
    exact = np.exp(response_table(policy, PROMPTS, RESPONSES))
    assert total_variation(exact, best) < 0.02
    assert abs(found["kl"] - world.kl(best)) < 0.3  # of 256 responses
    assert found["objective"] == pytest.approx(
        world.value(best, 0.5), abs=0.01
    )  # f is the same for all responses there


@pytest.mark.slow
@pytest.mark.claim("align.kl-optimum")
def test_ppo_arrives_with_a_transformer_too():
    # with rotary positions the texts (1,) and (1, 1) look the same: a mean of equal values is that value
    config = TransformerConfig.gpt2(vocab_size=3, context_length=4, n_layers=1, n_heads=2, d_model=16)
    policy, reference, body = (Transformer(config, rng=np.random.default_rng(1)).eval() for _ in range(3))
    world, trainer = trainer_of(policy, ValueModel(body), reference, lr=0.01, value_lr=0.01, whiten=False, passes=3)
    rng, steps = np.random.default_rng(0), 70
    for k in range(steps):
        trainer.step(PROMPTS * 64, rng, lr=0.01 * (1 - k / steps))
    exact = np.exp(response_table(policy, PROMPTS, RESPONSES))
    assert total_variation(exact, world.optimum(0.5)) < 0.02


def test_the_first_step_of_a_batch_goes_along_the_exact_gradient():
    reference, policy = TableModel(3, 3, rng=np.random.default_rng(1)), TableModel(3, 3, rng=np.random.default_rng(2))
    world, trainer = trainer_of(policy, TableModel(3, 3, n_out=1), reference, passes=1, whiten=False, lam=1.0)
    before, beta = policy.state_dict(), 0.5

    def objective(weight):
        model = lambda ids: policy.functional({"weight": weight}, ids)  # noqa: E731
        return world.value(np.exp(response_table(model, PROMPTS, RESPONSES)), beta)

    wanted, step = np.zeros_like(before["weight"]), 1e-5
    for at in np.ndindex(wanted.shape):
        e = np.zeros_like(wanted)
        e[at] = step
        wanted[at] = (objective(before["weight"] + e) - objective(before["weight"] - e)) / (2 * step)
    n = 20_000
    trainer.step(PROMPTS * n, np.random.default_rng(0), lr=0.0)
    found = -trainer.parts[0][0]["weight"].grad
    # five standard errors: values below 4 times scores below 1, over the root of 40,000
    assert np.abs(found - wanted).max() < 5 * 4 / np.sqrt(2 * n) * 0.5
    assert np.abs(wanted).max() > 0.05


@pytest.mark.parametrize("reward", [0.1, 0.3, 1e3])
def test_equal_rewards_move_nothing(reward):
    config = TransformerConfig.gpt2(vocab_size=3, context_length=4, n_layers=1, n_heads=2, d_model=8)
    policy, reference, body = (Transformer(config, rng=np.random.default_rng(1)).eval() for _ in range(3))
    before = policy.state_dict()
    # the mean of 111 times 0.1 in float32 is not 0.1: divided by a deviation of rounding it would be news
    trainer = PPO(policy, ValueModel(body), reference, lambda x, y: np.full(len(x), reward), max_new_tokens=1, passes=1)
    trainer.step([(0,), (1,), (2,)] * 37, np.random.default_rng(0), lr=0.1)
    assert all((value == before[name]).all() for name, value in policy.state_dict().items())


def test_a_gradient_that_is_not_finite_moves_nothing():
    config = TransformerConfig.gpt2(vocab_size=3, context_length=4, n_layers=1, n_heads=2, d_model=8)
    policy, reference, body = (Transformer(config, rng=np.random.default_rng(1)).eval() for _ in range(3))
    before = policy.state_dict()
    huge = lambda x, y: np.full(len(x), 1e39)  # noqa: E731  # finite in float64, which the models do not compute in
    trainer = PPO(policy, ValueModel(body), reference, huge, max_new_tokens=1, whiten=False)
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="would spoil the model"):
        trainer.step(PROMPTS, np.random.default_rng(0))
    assert all((value == before[name]).all() for name, value in policy.state_dict().items())


def test_what_a_step_reports():
    reference, policy = TableModel(3, 3, rng=np.random.default_rng(1)), TableModel(3, 3, rng=np.random.default_rng(1))
    _, trainer = trainer_of(policy, TableModel(3, 3, n_out=1), reference, pieces=3)
    found = trainer.step(PROMPTS * 10, np.random.default_rng(0))
    assert found["kl"] == 0 and found["objective"] == found["reward"]  # the policy was the reference
    assert 1 <= found["length"] <= 2
    assert 0 <= found["clipped"] <= 1 and found["moved"] > 0


def test_the_value_is_read_at_every_token_and_has_the_right_gradient():
    config = TransformerConfig.gpt2(vocab_size=5, context_length=6, n_layers=1, n_heads=2, d_model=8)
    model = ValueModel(Transformer(config, rng=np.random.default_rng(0), dtype=np.float64).eval())
    model.head.weight.data[...] = np.random.default_rng(1).normal(size=model.head.weight.shape)
    one, other = np.array([[1, 2, 3]]), np.array([[1, 2, 4]])
    np.testing.assert_allclose(model(one).data[:, :2], model(other).data[:, :2], rtol=ROUNDING)
    assert abs(model(one).data[0, 2] - model(other).data[0, 2]) > 1e-3
    weight = model.head.weight
    model(one).sum().backward()
    u, step, values = np.random.default_rng(2).normal(size=weight.shape), 1e-5, []
    at = weight.data.copy()
    for h in (step, -step):
        weight.data[...] = at + h * u
        values.append(model(one).data.sum())
    assert (values[0] - values[1]) / (2 * step) == pytest.approx((weight.grad * u).sum(), rel=1e-8)  # linear in it


TWO = np.ones(2)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: clipped_objective(TWO, TWO, 0.0), "eps, how far from one a gain counts"),
        (lambda: clipped_slope(TWO, np.ones(3), 0.2), "each ratio has an advantage"),
        (lambda: gae(TWO[None], np.ones((1, 3))), "each token has a reward and a value"),
        (lambda: gae(TWO[None], TWO[None], gamma=1.1), "lie between 0 and 1, got 1.1"),
        (lambda: gae(TWO[None], TWO[None], lam=-0.1), "lie between 0 and 1"),
        (lambda: trainer_of(TableModel(3, 3), TableModel(3, 3, 1), TableModel(3, 3), passes=0), "at least 1"),
        (lambda: trainer_of(TableModel(3, 3), TableModel(3, 3, 1), TableModel(3, 3), beta=0), "price of a nat"),
        (lambda: trainer_of(one := TableModel(3, 3), TableModel(3, 3, 1), one), "the policy itself and would move"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("bad", [lambda x, y: np.zeros(3), lambda x, y: np.full(len(x), np.nan)])
def test_a_reward_that_is_none_is_refused(bad):
    models = TableModel(3, 3), TableModel(3, 3, 1), TableModel(3, 3)
    with pytest.raises(ValueError, match="a finite number for each of the 2 responses"):
        PPO(*models, bad, max_new_tokens=2).step(PROMPTS, np.random.default_rng(0))
