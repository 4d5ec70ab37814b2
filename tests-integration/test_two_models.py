"""One set of weights, two models: stage 6's on the autograd of stage 2, the capstone's with every backward pass by hand."""

import numpy as np
import pytest
from fp_capstone.model import Model
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
    # plain descent in float64; the same run with AdamW is one of the tests of training
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
