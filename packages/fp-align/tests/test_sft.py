"""Mirrors src/fp_align/sft.py."""

import numpy as np
import pytest

from fp_align.sft import batches, fine_tune, minimise, sft_loss
from fp_autograd.functional import grad
from fp_autograd.rules import log_softmax
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

CONFIG = TransformerConfig.llama(vocab_size=7, context_length=11, n_layers=1, n_heads=2, d_model=8)
SHOWN = [([1, 2], [3, 0]), ([4], [5, 6, 0]), ([2, 2, 2], [0])]


def made(seed=0):
    return Transformer(CONFIG, rng=np.random.default_rng(seed), dtype=np.float64).eval()


@pytest.mark.claim("align.imitation")
@pytest.mark.parametrize("seed", range(5))
def test_the_expected_loss_is_entropy_and_divergence(seed):
    rng = np.random.default_rng(seed)
    q, pi, d = rng.dirichlet(np.ones(5), size=3), rng.dirichlet(np.ones(5), size=3), rng.dirichlet(np.ones(3))
    q[0, 1] = 0.0
    q[0] /= q[0].sum()
    safe = np.where(q > 0, q, 1)
    loss = -(d @ (q * np.log(pi)).sum(axis=1))
    entropy = -(d @ (q * np.log(safe)).sum(axis=1))
    divergence = d @ (np.where(q > 0, q * np.log(safe / pi), 0)).sum(axis=1)
    assert loss == pytest.approx(entropy + divergence, rel=1e-12)  # sums of a few floats
    assert loss > entropy
    assert -(d[1:] @ (q[1:] * np.log(q[1:])).sum(axis=1)) < -(d[1:] @ (q[1:] * np.log(pi[1:])).sum(axis=1))


@pytest.mark.claim("align.imitation")
def test_descent_arrives_at_the_demonstrators_mixture():
    q, z = np.array([0.5, 0.3, 0.2]), np.zeros(3)
    slope = grad(lambda z: -(q * log_softmax(z)).sum())
    for _ in range(500):
        z = z - slope(z)
    assert np.exp(log_softmax(z)) == pytest.approx(q, abs=1e-6)  # a thousand halvings of the distance


def test_the_loss_is_the_mean_over_tokens_of_responses():
    model = made()
    total, n = 0.0, 0
    for x, y in SHOWN:
        logp = log_softmax(model(np.array([[*x, *y]])).data, axis=-1)[0]
        for i, token in enumerate(y):
            total -= logp[len(x) + i - 1, token]
            n += 1
    # the same sums in another order
    assert sft_loss(model, SHOWN).item() == pytest.approx(total / n, rel=1e-12)


def test_prompts_are_not_learned():
    model = made()
    model.zero_grad()
    sft_loss(model, [([1, 2], [3])]).backward()
    one = model.output.weight.grad.copy() if model.output is not None else model.embedding.weight.grad.copy()
    p = np.exp(log_softmax(model(np.array([[1, 2]])).data, axis=-1))[0, 1]
    h = None
    for x in model.stream(np.array([[1, 2]])):
        h = x
    row = model.norm(h).data[0, 1]
    expected = np.outer(p - np.eye(7)[3], row)  # of one prediction, at the prompt's last token
    if model.output is not None:
        assert one == pytest.approx(expected, abs=1e-12)
    else:
        assert one[[0, 4, 5, 6]] == pytest.approx(expected[[0, 4, 5, 6]], abs=1e-12)  # rows that were not read


def test_fine_tuning_learns_and_repeats_itself():
    told = []
    losses = [
        fine_tune(
            made(), SHOWN, n_steps=30, lr=0.02, batch_size=2, rng=np.random.default_rng(3),
            report=lambda *args: told.append(args),
        )
        for _ in range(2)
    ]  # fmt: skip
    assert losses[0] == losses[1]
    assert np.mean(losses[0][-5:]) < 0.5 * np.mean(losses[0][:5])
    assert told[:30] == [(i + 1, loss) for i, loss in enumerate(losses[0])]


def test_every_item_comes_as_often_as_any_other():
    found = [i for batch in batches(range(7), 14, 3, np.random.default_rng(0)) for i in batch]
    assert np.bincount(found).tolist() == [6] * 7
    assert [len(b) for b in batches(range(2), 3, 5, np.random.default_rng(0))] == [2] * 3


@pytest.mark.parametrize(("items", "steps", "size"), [([], 1, 1), ([1], 0, 1), ([1], 1, 0)])
def test_training_without_anything_is_refused(items, steps, size):
    with pytest.raises(ValueError, match="each at least 1"):
        batches(items, steps, size, np.random.default_rng(0))


def test_a_loss_that_is_not_finite_stops_at_once():
    model = made()
    before = model.state_dict()
    with pytest.raises(FloatingPointError, match="lower the learning rate"), np.errstate(invalid="ignore"):
        minimise(model, iter([sft_loss(model, SHOWN) * np.inf]), n_steps=1, lr=0.1)
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())
