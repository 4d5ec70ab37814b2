"""Mirrors src/fp_align/policy_gradient.py."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_align.dpo import descend
from fp_align.exact import TableModel, World, all_responses, total_variation
from fp_align.policy_gradient import best_baseline, gradient_variance, leave_one_out, reinforce_loss, rewards_to_go
from fp_align.preferences import padded, response_table, sample_responses, sequence_log_probabilities
from fp_autograd.functional import grad
from fp_autograd.rules import log_softmax
from fp_autograd.tracing import value_of
from fp_optim import AdamW

ROUNDING = 1e-12  # of float64 in sums of few terms
seeds = st.integers(0, 10_000)


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def policy(theta, features):
    """Logarithms of probabilities that depend smoothly on three parameters."""
    return log_softmax((features * theta).sum(axis=1))


def drawn(seed, Y=5):
    rng = np.random.default_rng(seed)
    theta, features = rng.normal(size=3), rng.normal(size=(Y, 3))
    p = np.exp(policy(theta, features))
    s = np.array([grad(lambda t, y=y: policy(t, features)[y])(theta) for y in range(Y)])
    return rng, theta, features, p, s


# --- the theorem


@pytest.mark.claim("align.score-mean")
@settings(max_examples=15)
@given(seeds)
def test_the_mean_score_is_zero(seed):
    _, _, _, p, s = drawn(seed)
    np.testing.assert_allclose(p @ s, 0, atol=ROUNDING)


@pytest.mark.claim("align.policy-gradient")
@settings(max_examples=15)
@given(seeds)
def test_the_gradient_of_a_mean_is_the_mean_of_value_times_score(seed):
    rng, theta, features, p, s = drawn(seed)
    f, g = rng.normal(size=5), rng.normal(size=(5, 3))
    u, step = rng.normal(size=3), 1e-5

    def mean(theta, moving):  # f moves too, along the rows of g
        return float(np.exp(policy(theta, features)) @ (f + moving * np.sin(g @ theta)))

    for moving in (0, 1):
        slope = (mean(theta + step * u, moving) - mean(theta - step * u, moving)) / (2 * step)
        now = f + moving * np.sin(g @ theta)
        found = (p * now) @ s + moving * (p * np.cos(g @ theta)) @ g
        assert abs(slope - found @ u) < 1e-7  # the step squared, and rounding over the step


@pytest.mark.claim("align.policy-gradient")
@settings(max_examples=15)
@given(seeds, st.sampled_from([0.1, 1.0]))
def test_with_the_price_in_the_reward_it_is_the_exact_gradient(seed, beta):
    rng = np.random.default_rng(seed)
    world = World(softmax(rng.normal(size=(1, 5))), rng.normal(size=(1, 5)))
    z = rng.normal(size=(1, 5))
    p = softmax(z)
    f = world.rewards - beta * np.log(p / world.reference)
    found = (p * f) @ (np.eye(5) - p)
    np.testing.assert_allclose(found, world.gradient(z, beta), rtol=0, atol=ROUNDING)


def test_the_loss_has_the_gradient_of_the_estimate():
    _, theta, features, _, s = drawn(1)
    draws, f = np.array([0, 3, 3]), np.array([1.0, -2.0, 0.5])
    found = grad(lambda t: reinforce_loss(policy(t, features)[draws], f))(theta)
    np.testing.assert_allclose(found, -(f[:, None] * s[draws]).mean(axis=0), rtol=0, atol=ROUNDING)


def test_masked_tokens_do_not_count():
    tokens, f = np.array([[-1.0, -2.0], [-3.0, -4.0]]), np.array([[1.0, 1.0], [2.0, 7.0]])
    mask = np.array([[True, True], [True, False]])
    assert float(reinforce_loss(tokens, f, mask)) == pytest.approx((1 + 2 + 6) / 2, rel=1e-15)


# --- baselines


@pytest.mark.claim("align.baseline")
@settings(max_examples=15)
@given(seeds, st.floats(-100, 100))
def test_a_number_subtracted_changes_no_mean(seed, b):
    rng, _, _, p, s = drawn(seed)
    f = rng.normal(size=5)
    np.testing.assert_allclose((p * (f - b)) @ s, (p * f) @ s, rtol=0, atol=100 * ROUNDING)


@pytest.mark.claim("align.baseline")
def test_a_number_that_looks_at_the_sample_does():
    rng, _, _, p, s = drawn(2)
    f = rng.normal(size=5)
    assert np.abs((p * (f - 0.5 * f)) @ s - (p * f) @ s).max() > 0.01


@pytest.mark.claim("align.best-baseline")
@settings(max_examples=15)
@given(seeds)
def test_the_variance_is_smallest_at_the_best_baseline(seed):
    rng = np.random.default_rng(seed)
    z, f = rng.normal(size=(1, 5)), rng.normal(size=(1, 5))
    p = softmax(z)[0]
    s = np.eye(5) - p
    square = (s**2).sum(axis=1)
    best = float(best_baseline(z, f)[0])
    assert abs(best - (p * f[0] * square).sum() / (p * square).sum()) < ROUNDING

    def variance(b):
        estimates = (f[0] - b)[:, None] * s
        return float((p[:, None] * (estimates - p @ estimates) ** 2).sum())

    for b in (best - 1, best, best + 0.01, float(p @ f[0])):
        assert abs(gradient_variance(z, f, b)[0] - variance(b)) < ROUNDING
        assert abs(variance(b) - variance(best) - (b - best) ** 2 * (p @ square)) < ROUNDING


@pytest.mark.claim("align.leave-one-out")
@pytest.mark.parametrize("n", [2, 3])
def test_the_mean_over_all_groups(n):
    rng, _, _, p, s = drawn(7, Y=3)
    f = rng.normal(size=3)
    others, own = np.zeros(3), np.zeros(3)
    for group in itertools.product(range(3), repeat=n):  # every group that could be drawn
        at = list(group)
        weight = p[at].prod()
        others += weight * (leave_one_out(f[None, at])[0][:, None] * s[at]).mean(axis=0)
        own += weight * ((f[at] - f[at].mean())[:, None] * s[at]).mean(axis=0)
    np.testing.assert_allclose(others, (p * f) @ s, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(own, (n - 1) / n * ((p * f) @ s), rtol=0, atol=ROUNDING)


def test_the_others_mean_by_hand():
    f = np.array([[3.0, 5.0, 1.0]])
    assert leave_one_out(f).tolist() == [[0.0, 3.0, -3.0]]


# --- credit to tokens


@pytest.mark.claim("align.reward-to-go")
@settings(max_examples=10)
@given(seeds)
def test_rewards_before_a_token_and_any_baseline_of_its_state_average_out(seed):
    V, T = 2, 3
    rng = np.random.default_rng(seed)
    model = TableModel(V, T + 1, rng=rng)
    texts = [(0, *y) for y in all_responses(V, T)]
    reward = {text[:k]: rng.normal() for text in texts for k in range(2, T + 2)}  # of its last token
    base = {text[:k]: rng.normal() for text in texts for k in range(1, T + 1)}
    logp = model(np.array(texts)[:, :-1]).data
    logp = logp - np.log(np.exp(logp).sum(axis=-1, keepdims=True))
    p = np.exp([sum(row[t, text[t + 1]] for t in range(T)) for row, text in zip(logp, texts, strict=True)])
    assert abs(p.sum() - 1) < ROUNDING

    def score(text, t):  # in the scores of every beginning
        s = np.zeros((len(model.weight.data), V))
        row = grad(lambda w: model.functional({"weight": w}, np.array([text[:-1]]))[0, t, 0])(model.weight.data)
        at = int(row[:, 0].argmax())
        s[at] = np.eye(V)[text[t + 1]] - np.exp(logp[texts.index(text), t])
        return s

    whole = to_go = 0.0
    for weight, text in zip(p, texts, strict=True):
        r = np.array([reward[text[: t + 2]] for t in range(T)])
        later = rewards_to_go(r[None])[0]
        np.testing.assert_allclose(later, [r[t:].sum() for t in range(T)], atol=ROUNDING)
        for t in range(T):
            s = score(text, t)
            whole = whole + weight * r.sum() * s
            to_go = to_go + weight * (later[t] - base[text[: t + 1]]) * s
    np.testing.assert_allclose(to_go, whole, rtol=0, atol=ROUNDING)
    assert np.abs(whole).max() > 1e-3


def test_discounted_rewards_by_hand():
    np.testing.assert_allclose(rewards_to_go(np.array([[1.0, 2.0, 4.0]]), gamma=0.5), [[3.0, 4.0, 4.0]])


def test_rewards_to_go_may_be_whole_numbers_and_refuse_a_factor_above_one():
    np.testing.assert_allclose(rewards_to_go(np.array([[1.0, 2.0]]), gamma=0), [[1.0, 2.0]])
    with pytest.raises(ValueError, match="lies between 0 and 1, got 2"):
        rewards_to_go(np.ones((1, 2)), gamma=2)


def test_a_masked_token_may_be_impossible():
    logp, mask = np.array([[-1.0, -np.inf]]), np.array([[True, False]])
    assert float(reinforce_loss(logp, np.array([[2.0, 3.0]]), mask)) == 2.0


def test_reinforce_arrives_at_the_exact_optimum():
    prompts, responses, beta, n = [(0,), (1,)], all_responses(3, 2, stop=2), 0.5, 128
    reference, model = TableModel(3, 3, rng=np.random.default_rng(1)), TableModel(3, 3)
    model.load_state_dict(reference.state_dict())
    table = response_table(reference, prompts, responses)
    world = World(np.exp(table), np.random.default_rng(0).normal(size=table.shape))
    parameters = model.named_parameters()
    optimizer, rng, steps = AdamW({k: p.data for k, p in parameters.items()}, lr=0.1, weight_decay=0.0), None, 120
    rng = np.random.default_rng(2)
    for k in range(steps):
        drawn = sample_responses(model, [x for x in prompts for _ in range(n)], 2, rng, stop=2)
        ids, mask = padded([x for x in prompts for _ in range(n)], drawn)
        r = np.array([world.rewards[i // n, responses.index(tuple(y))] for i, y in enumerate(drawn)])
        logp = sequence_log_probabilities(model, ids, mask)
        f = r - beta * (value_of(logp) - value_of(sequence_log_probabilities(reference, ids, mask)))
        loss = reinforce_loss(logp, leave_one_out(f.reshape(2, n)).reshape(-1))
        descend(loss, parameters, optimizer, 10.0, 0.1 * (1 - k / steps))
    found = np.exp(response_table(model, prompts, responses))
    assert total_variation(found, world.optimum(beta)) < 0.02


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: reinforce_loss(np.zeros(2), np.zeros(3)), "log-probabilities, advantages have one shape"),
        (lambda: reinforce_loss(np.zeros(0), np.zeros(0)), "one response or more"),
        (lambda: reinforce_loss(np.zeros((1, 2)), np.zeros((1, 2)), np.ones((1, 3), bool)), "advantages and mask"),
        (lambda: leave_one_out(np.zeros((3, 1))), "two responses to a prompt or more, got 1"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
