"""One set of weights, two models: stage 6's on the autograd of stage 2, the capstone's with backward passes by hand."""

import numpy as np
import pytest

from fp_capstone.model import Model
from fp_optim import AdamW, clip_by_global_norm
from fp_transformer import Transformer, TransformerConfig
from fp_transformer.checkpoint import from_arrays, to_arrays

CONFIGS = {
    "gpt2": TransformerConfig.gpt2(vocab_size=17, context_length=12, n_layers=3, n_heads=2, d_model=8),
    "gpt2, untied": TransformerConfig.gpt2(
        vocab_size=17, context_length=12, n_layers=2, n_heads=2, d_model=8, tied=False
    ),
    "llama": TransformerConfig.llama(
        vocab_size=17, context_length=12, n_layers=3, n_heads=4, n_kv_heads=2, d_model=16, rope_base=100.0
    ),
    "llama, untied": TransformerConfig.llama(
        vocab_size=17, context_length=12, n_layers=2, n_heads=2, d_model=8, tied=False
    ),
}
EACH = pytest.mark.parametrize("name", CONFIGS)


def both(name, dtype=np.float64):
    model = Transformer(CONFIGS[name], rng=np.random.default_rng(1), dtype=dtype)
    return model, Model(CONFIGS[name], np.random.default_rng(1), dtype)


@EACH
def test_the_same_seed_draws_the_same_weights(name):
    ours, by_hand = both(name, np.float32)
    arrays = to_arrays(ours)
    assert list(arrays) == list(by_hand.parameters())
    assert all(np.array_equal(arrays[key], array) for key, array in by_hand.parameters().items())


@EACH
def test_the_same_logits_losses_and_gradients(name):
    ours, by_hand = both(name)
    ids = np.random.default_rng(2).integers(0, 17, (3, 11))
    assert np.allclose(ours(ids).data, by_hand.forward(ids), rtol=0, atol=1e-12)
    loss = ours.loss(ids[:, :-1], ids[:, 1:])
    loss.backward()
    expected, grads = by_hand.loss_and_grads(ids[:, :-1], ids[:, 1:])
    assert abs(loss.item() - expected) < 1e-12
    found = Transformer(CONFIGS[name], dtype=np.float64)
    for p, q in zip(found.parameters(), ours.parameters(), strict=True):
        p.data = q.grad
    for key, array in to_arrays(found).items():
        # sums of some thousand products in float64
        assert np.allclose(array, grads[key], rtol=1e-9, atol=1e-13), key
    from_arrays(ours, by_hand.parameters())


@EACH
def test_training_takes_the_same_way(name):
    # plain descent in float64
    ours, by_hand = both(name)
    rng = np.random.default_rng(3)
    for _ in range(20):
        ids = rng.integers(0, 17, (4, 9))
        ours.zero_grad()
        loss = ours.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        for p in ours.parameters():
            p.data = p.data - 0.1 * p.grad
        expected, grads = by_hand.loss_and_grads(ids[:, :-1], ids[:, 1:])
        for key, array in by_hand.parameters().items():
            array -= 0.1 * grads[key]
        assert abs(loss.item() - expected) < 1e-9


def learner(by_name):
    return AdamW(by_name, lr=3e-3, betas=(0.9, 0.99), weight_decay=0.1)


@EACH
def test_the_same_run_with_adamw_has_the_same_losses(name):
    # float32, the learning rate and the clipping of a real run: gradients differ by rounding from the first step on,
    # and AdamW divides by their size
    ours, by_hand = both(name, np.float32)
    named, theirs = ours.named_parameters(), by_hand.parameters()
    rng = np.random.default_rng(4)
    rule = (np.arange(13)[None] * rng.integers(1, 4, (64, 1)) + rng.integers(0, 17, (64, 1))) % 17
    mine, other = learner({key: p.data for key, p in named.items()}), learner(theirs)
    losses = []
    for _ in range(50):
        text = rule[rng.integers(0, 64, 8)]
        ours.zero_grad()
        loss = ours.loss(text[:, :-1], text[:, 1:])
        loss.backward()
        grads = {key: p.grad for key, p in named.items()}
        expected, expected_grads = by_hand.loss_and_grads(text[:, :-1], text[:, 1:])
        for found, optimizer in ((grads, mine), (expected_grads, other)):
            clip_by_global_norm(found, 1.0)
            optimizer.step(found)
        losses.append((loss.item(), expected))
    losses = np.array(losses)
    assert losses[-5:].mean() < losses[:5].mean() - 0.3  # it learns: the run goes somewhere
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=0, atol=1e-4)
    text = rule[:8, :-1]
    from_arrays(ours, theirs)
    np.testing.assert_allclose(ours(text).data, by_hand.forward(text), rtol=0, atol=1e-4)
