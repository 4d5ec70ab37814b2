"""Mirrors src/fp_align/reward.py."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_align.preferences import Preference, preference_probability
from fp_align.reward import RewardModel, bradley_terry_loss, fit_scores
from fp_autograd.functional import grad, hessian
from fp_optim import AdamW
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

ROUNDING = 1e-12  # of float64 in sums of few terms
TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text())


def comparisons(seed, n=5, N=17):
    """Who won against whom; connected, since everyone is compared with the next."""
    rng = np.random.default_rng(seed)
    first = np.concatenate([np.arange(n - 1), rng.integers(0, n, N)])
    other = np.concatenate([np.arange(1, n), (first[n - 1 :] + rng.integers(1, n, N)) % n])
    swap = rng.random(len(first)) < 0.5
    return np.where(swap, other, first), np.where(swap, first, other), rng


def loss_of(winners, losers):
    return lambda s: bradley_terry_loss(s[winners], s[losers]) * len(winners)


seeds = st.integers(0, 10_000)


@pytest.mark.claim("align.bradley-terry-gradient")
@settings(max_examples=15)
@given(seeds)
def test_the_gradient_is_surprise_lost_less_surprise_won(seed):
    winners, losers, rng = comparisons(seed)
    s = rng.normal(size=5)
    found, step = grad(loss_of(winners, losers))(s), 1e-5
    surprise = 1 / (1 + np.exp(s[winners] - s[losers]))
    for i in range(5):
        by_hand = surprise[losers == i].sum() - surprise[winners == i].sum()
        assert abs(found[i] - by_hand) < ROUNDING
        e = step * np.eye(5)[i]
        slope = (loss_of(winners, losers)(s + e) - loss_of(winners, losers)(s - e)) / (2 * step)
        assert abs(found[i] - slope) < 1e-8  # the step squared, and rounding over the step
    assert abs(found.sum()) < ROUNDING


@pytest.mark.claim("align.bradley-terry-concave")
@settings(max_examples=15)
@given(seeds)
def test_the_loss_is_convex_and_strictly_so_but_for_shifts(seed):
    winners, losers, rng = comparisons(seed)
    f = loss_of(winners, losers)
    s, v = rng.normal(size=5), rng.normal(size=5)
    u = s[winners] - s[losers]
    weight = 1 / (2 + np.exp(u) + np.exp(-u))  # sigma(u) sigma(-u)
    H = hessian(f)(s)
    assert abs(v @ H @ v - (weight * (v[winners] - v[losers]) ** 2).sum()) < 10 * ROUNDING
    eigenvalues = np.linalg.eigvalsh(H)
    assert abs(eigenvalues[0]) < ROUNDING < eigenvalues[1]  # one direction alone, that of shifts
    assert abs(f(s + 3.7) - f(s)) < 10 * ROUNDING
    for t in (0.25, 0.5):
        assert f(t * s + (1 - t) * (s + v)) < t * f(s) + (1 - t) * f(s + v)


@pytest.mark.claim("align.bradley-terry-concave")
def test_groups_that_never_met_have_no_common_scale():
    winners, losers = np.array([0, 1, 2, 3]), np.array([1, 0, 3, 2])
    s, apart = np.array([0.3, -0.1, 2.0, 0.5]), np.array([0.0, 0.0, 9.0, 9.0])
    f = loss_of(winners, losers)
    assert abs(f(s) - f(s + apart)) < ROUNDING
    assert (np.abs(np.linalg.eigvalsh(hessian(f)(s))) < ROUNDING).sum() == 2


def lost_to_the_rest(n, winners, losers):
    """Whether every group of items, neither empty nor all, lost to another item; by looking at all groups."""
    for size in range(1, n):
        for group in itertools.combinations(range(n), size):
            inside = np.isin(np.arange(n), group)
            if not (inside[losers] & ~inside[winners]).any():
                return False
    return True


@pytest.mark.claim("align.bradley-terry-exists")
@settings(max_examples=25)
@given(seeds, st.integers(0, 6))
def test_there_is_a_best_fit_exactly_if_every_group_lost(seed, N):
    winners, losers, _ = comparisons(seed, n=4, N=N)
    f, exists = loss_of(winners, losers), lost_to_the_rest(4, winners, losers)
    if exists:
        s = fit_scores(4, winners, losers)
        assert np.abs(grad(f)(s)).max() < 1e-8
        rng = np.random.default_rng(seed)
        assert all(f(s + scale * rng.normal(size=4)) > f(s) for scale in (0.1, 1, 10))
    else:
        with pytest.raises(ValueError, match="never lost to the others"):
            fit_scores(4, winners, losers)


@pytest.mark.claim("align.bradley-terry-exists")
def test_who_never_lost_rises_without_end():
    winners, losers = np.array([0, 0, 1, 2]), np.array([1, 2, 2, 1])
    f = loss_of(winners, losers)
    path = [f(np.array([t, 0.0, 0.0])) for t in range(20)]
    assert (np.diff(path) < 0).all()


def test_scores_are_found_again_from_many_verdicts():
    truth, rng = np.array([1.2, 0.3, 0.0, -0.5, -1.0]), np.random.default_rng(0)
    first, step = rng.integers(0, 5, 60_000), rng.integers(1, 5, 60_000)
    other = (first + step) % 5
    wins = rng.random(60_000) < preference_probability(truth[first], truth[other])
    found = fit_scores(5, np.where(wins, first, other), np.where(wins, other, first))
    np.testing.assert_allclose(found, truth, atol=0.06)  # five standard errors: about 2 / sqrt(24,000 comparisons each)


def test_values_and_gradients_are_those_of_pytorch():
    case = TORCH["bradley_terry"]
    chosen, rejected = np.array(case["chosen"]), np.array(case["rejected"])
    # both compute in float64
    assert float(bradley_terry_loss(chosen, rejected)) == pytest.approx(case["loss"], rel=1e-12)
    for at, wanted in enumerate(case["gradients"]):
        np.testing.assert_allclose(grad(bradley_terry_loss, at)(chosen, rejected), wanted, rtol=1e-12, atol=1e-18)


# --- the network


def tiny(dtype=np.float64, seed=0):
    config = TransformerConfig.llama(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
    return RewardModel(Transformer(config, rng=np.random.default_rng(seed), dtype=dtype).eval())


def test_the_score_is_read_at_the_last_token_whatever_stands_behind():
    model = tiny()
    model.head.weight.data[...] = np.random.default_rng(1).normal(size=model.head.weight.shape)
    prompts, responses = [(1,), (2, 3)], [(4,), (5, 6, 1)]
    together = model.scores(prompts, responses)
    for x, y, found in zip(prompts, responses, together, strict=True):
        *_, top = model.transformer.stream(np.array([[*x, *y]]))
        row = model.transformer.norm(top).data[0, -1]
        assert abs(found - row @ model.head.weight.data[0]) < ROUNDING
    assert abs(together[0] - together[1]) > 1e-3


def test_every_parameter_but_the_output_gets_its_gradient():
    model = tiny()
    model.head.weight.data[...] = np.random.default_rng(1).normal(size=model.head.weight.shape)
    verdicts = [Preference((1,), (2, 3), (4,)), Preference((1, 5), (6,), (3, 2, 0))]
    for p in model.parameters():
        p.zero_grad()
    model.loss(verdicts).backward()
    rng, step = np.random.default_rng(0), 1e-5
    checked = 0
    for name, p in model.named_parameters().items():
        if p.grad is None:
            assert name == "transformer.output.weight"
            continue
        u, at, values = rng.normal(size=p.shape), p.data.copy(), []
        for h in (step, -step):
            p.data[...] = at + h * u
            values.append(model.loss(verdicts).item())
        p.data[...] = at
        # the step squared, and rounding over the step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx((p.grad * u).sum(), rel=1e-5, abs=1e-9), name
        checked += 1
    assert checked > 8


def test_it_learns_to_prefer_a_token():
    model, rng = tiny(np.float32), np.random.default_rng(0)
    parameters = {name: p for name, p in model.named_parameters().items() if not name.endswith("output.weight")}
    optimizer = AdamW({name: p.data for name, p in parameters.items()}, lr=0.02, weight_decay=0.0)

    def verdicts(n):
        for _ in range(n):
            x, y = tuple(rng.integers(0, 7, 2).tolist()), tuple(rng.integers(1, 7, 2).tolist())
            yield Preference(x, (*y, 0), (*y, 3))  # whoever ends with 0 wins

    for _ in range(25):
        model.zero_grad()
        loss = model.loss(list(verdicts(16)))
        loss.backward()
        optimizer.step({name: p.grad for name, p in parameters.items()})
    assert model.loss(list(verdicts(50))).item() < 0.2  # from ln 2


TWO = np.zeros(2)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bradley_terry_loss(TWO, np.zeros(3)), "each chosen response has a rejected one"),
        (lambda: bradley_terry_loss(np.zeros(0), np.zeros(0)), "there is a pair"),
        (lambda: fit_scores(2, np.array([0]), np.array([0])), "two different items"),
        (lambda: fit_scores(2, np.array([0]), np.array([2])), "two different items of 0 to 1"),
        (lambda: fit_scores(2, np.array([0, 1]), np.array([1])), "each comparison has two items"),
        (lambda: fit_scores(3, np.array([0, 1]), np.array([1, 0])), "never lost to the others"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_bad_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
