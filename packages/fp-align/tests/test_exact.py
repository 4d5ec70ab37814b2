"""Mirrors src/fp_align/exact.py."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_align.exact import TableModel, World, all_responses, total_variation
from fp_autograd.functional import grad
from fp_autograd.rules import log_softmax

ROUNDING = 1e-12  # of float64 in sums of at most fifty terms of size ten or less


def softmax(scores):
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def drawn(seed, X=3, Y=5):
    rng = np.random.default_rng(seed)
    return World(softmax(rng.normal(size=(X, Y))), rng.normal(size=(X, Y)), softmax(rng.normal(size=X))), rng


# --- the optimum


@pytest.mark.claim("align.kl-optimum")
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_every_policy_falls_short_of_the_optimum_by_beta_times_its_divergence(seed, beta):
    world, rng = drawn(seed)
    policy, best = softmax(2 * rng.normal(size=(3, 5))), world.optimum(beta)
    short = (world.prompt_weights * (policy * np.log(policy / best)).sum(axis=1)).sum()
    highest = beta * world.prompt_weights @ world.log_partition(beta)
    assert abs(world.value(best, beta) - highest) < ROUNDING
    assert abs(highest - world.value(policy, beta) - beta * short) < 10 * ROUNDING
    assert short > 0


@pytest.mark.claim("align.kl-optimum")
def test_no_policy_of_a_fine_grid_is_better():
    world, beta = World(np.array([[0.5, 0.3, 0.2]]), np.array([[0.3, -0.2, 0.9]])), 0.7
    grid = [np.array([[a, b, 60 - a - b]]) / 60 for a, b in itertools.product(range(61), repeat=2) if a + b <= 60]
    values = [world.value(p, beta) for p in grid]  # with zeros among them
    best = world.optimum(beta)
    assert max(values) < world.value(best, beta)
    assert total_variation(grid[int(np.argmax(values))], best) < 2 / 60


@pytest.mark.claim("align.trade-off")
@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_among_policies_no_farther_away_the_optimum_earns_most(seed):
    world, rng = drawn(seed, X=1)
    best = world.optimum(0.5)
    for _ in range(20):
        other = softmax(np.log(world.reference) + rng.normal(size=(1, 5)) * rng.random() * 2)
        mixtures = [(1 - t) * other + t * world.reference for t in np.linspace(0, 1, 30)]
        other = next(m for m in mixtures if world.kl(m) <= world.kl(best))  # as far as is allowed, about
        assert world.expected_reward(other) < world.expected_reward(best)


@pytest.mark.claim("align.trade-off")
def test_a_higher_price_buys_less_reward_and_less_distance():
    world, _ = drawn(3)
    path = [world.optimum(beta) for beta in np.geomspace(0.02, 50, 40)]
    assert (np.diff([world.kl(p) for p in path]) < 0).all()
    assert (np.diff([world.expected_reward(p) for p in path]) < 0).all()


def test_no_price_is_too_low_or_too_high():
    world = World(np.array([[0.5, 0.3, 0.2]]), np.array([[-1e3, 2.0, 2.0]]))
    np.testing.assert_allclose(world.optimum(1e-320), [[0, 0.6, 0.4]], rtol=1e-15)  # two divisions
    np.testing.assert_allclose(world.optimum(1e308), world.reference, rtol=1e-15)


@pytest.mark.claim("align.optimum-limits")
def test_the_limits_of_the_optimum():
    rewards = np.array([[1.0, 2.0, 2.0, -1.0], [0.0, 0.0, 0.0, 5.0]])
    world = World(np.array([[0.1, 0.3, 0.2, 0.4], [0.25, 0.25, 0.25, 0.25]]), rewards)
    # a gap of 1 at beta 0.01 leaves e^-100 to the others; at 1e9 exponents are below 1e-8
    np.testing.assert_allclose(world.optimum(0.01), [[0, 0.6, 0.4, 0], [0, 0, 0, 1]], atol=1e-15)
    np.testing.assert_allclose(world.optimum(1e9), world.reference, atol=1e-8)


# --- the gradient


@pytest.mark.claim("align.exact-gradient")
@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.2, 1.0]))
def test_the_gradient_is_that_of_the_objective(seed, beta):
    world, rng = drawn(seed)
    scores = rng.normal(size=(3, 5))

    def objective(z):
        log_policy = log_softmax(z)
        f = world.rewards - beta * (log_policy - np.log(world.reference))
        return (world.prompt_weights[:, None] * log_policy.exp() * f).sum()

    found = world.gradient(scores, beta)
    np.testing.assert_allclose(found, grad(objective)(scores), rtol=0, atol=ROUNDING)
    step, u = 1e-5, rng.normal(size=scores.shape)
    ahead, back = (world.value(softmax(scores + h * u), beta) for h in (step, -step))
    assert abs((ahead - back) / (2 * step) - (found * u).sum()) < 1e-8  # the step squared, and rounding over the step
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=ROUNDING)


@pytest.mark.claim("align.exact-gradient")
def test_it_vanishes_at_the_optimum_and_ascent_ends_there():
    world, rng = drawn(5)
    at_best = world.gradient(np.log(world.optimum(0.5)) + rng.normal(size=(3, 1)), 0.5)  # a number for each row is free
    assert np.abs(at_best).max() < ROUNDING
    scores = np.log(world.reference)
    for _ in range(4000):
        scores += 3 * world.gradient(scores, 0.5)
    assert total_variation(softmax(scores), world.optimum(0.5)) < 1e-4  # the rarest response is last, and 1e-5 away
    elsewhere = softmax(rng.normal(size=(3, 5)))
    assert np.abs(world.gradient(np.log(elsewhere), 0.5)).max() > 1e-3


# --- responses


@pytest.mark.claim("align.response-tree")
@pytest.mark.parametrize(("V", "N", "stop"), [(3, 4, 1), (2, 5, 0), (5, 2, None), (2, 1, 1)])
def test_the_probabilities_of_all_responses_sum_to_one(V, N, stop):
    responses = all_responses(V, N, stop)
    assert len(set(responses)) == len(responses)
    assert not any(stop in y[:-1] for y in responses)
    rng, nexts = np.random.default_rng(V), {}
    total = 0.0
    for y in responses:
        p = 1.0
        for t in range(len(y)):
            p *= nexts.setdefault(y[:t], softmax(rng.normal(size=V)))[y[t]]
        total += p
    assert abs(total - 1) < ROUNDING
    assert len(responses) == (V**N if stop is None else sum((V - 1) ** n for n in range(N)) + (V - 1) ** N)


def test_a_table_has_a_row_of_its_own_for_every_beginning():
    model = TableModel(3, 4, rng=np.random.default_rng(0))
    rows = {}
    for text in itertools.product(range(3), repeat=4):
        for t, row in enumerate(model(np.array([text])).data[0]):
            rows.setdefault(text[: t + 1], []).append(tuple(row))
    assert all(len(set(found)) == 1 for found in rows.values())
    assert len({found[0] for found in rows.values()}) == len(rows) == len(model.weight.data) == 3 + 9 + 27 + 81


def test_total_variation_bounds_every_event():
    p, q = softmax(np.random.default_rng(1).normal(size=(2, 1, 4)))
    events = itertools.chain.from_iterable(itertools.combinations(range(4), k) for k in range(5))
    largest = max(abs(p[0, list(e)].sum() - q[0, list(e)].sum()) for e in events)
    assert abs(total_variation(p, q) - largest) < ROUNDING


# --- bad input

HALF = np.array([[0.5, 0.5]])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: World(np.array([[1.0, 0.0]]), HALF), "positive probability, got a zero"),
        (lambda: World(np.array([[0.5, 0.6]]), HALF), "must sum to one"),
        (lambda: World(HALF, np.ones((2, 2))), "one row for each prompt"),
        (lambda: World(HALF, np.array([[np.nan, 0.0]])), "rewards are finite"),
        (lambda: World(HALF, HALF, np.array([0.5, 0.5])), "each of the 1 prompts has a positive weight"),
        (lambda: World(HALF, HALF).optimum(0.0), "beta, the price of a nat, is positive"),
        (lambda: World(HALF, HALF).value(HALF, float("nan")), "beta, the price of a nat, is positive"),
        (lambda: World(HALF, HALF).kl(np.full((1, 3), 1 / 3)), "has the shape"),
        (lambda: total_variation(HALF, np.full((1, 3), 1 / 3)), "one shape"),
        (lambda: all_responses(0, 2), "at least 1"),
        (lambda: all_responses(3, 2, stop=3), "one of the tokens 0 to 2"),
        (lambda: all_responses(10, 7), "more than a million"),
        (lambda: TableModel(10, 7), "take fewer"),
        (lambda: TableModel(3, 2)(np.array([[0, 1, 2]])), "texts of up to 2 tokens"),
        (lambda: TableModel(3, 2)(np.array([[3]])), "texts of up to 2 tokens of 0 to 2"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
