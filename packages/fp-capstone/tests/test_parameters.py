"""Mirrors src/fp_capstone/parameters.py."""

import numpy as np
import pytest

from fp_capstone.parameters import Parameters
from fp_transformer.config import TransformerConfig

LLAMA = TransformerConfig.llama(
    vocab_size=11, context_length=7, n_layers=2, n_heads=4, n_kv_heads=2, d_model=8, d_ff=5, tied=False
)
GPT2 = TransformerConfig.gpt2(vocab_size=11, context_length=7, n_layers=2, n_heads=2, d_model=6, d_ff=5)


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_names_and_shapes_are_the_configurations_and_fill_the_buffer_without_overlap(config):
    p = Parameters(config, np.dtype("float64"))
    assert {name: a.shape for name, a in p.named.items()} == config.parameter_shapes()
    for i, a in enumerate(p.named.values()):
        assert (a == 0).all(), "an earlier array reaches into this one"
        a[:] = i + 1
    assert (p.flat > 0).all() and p.flat.size == config.n_parameters


def test_fused_views_hold_the_parts_side_by_side():
    p = Parameters(LLAMA, np.dtype("float64"))
    p.flat[:] = np.random.default_rng(0).normal(size=p.flat.size)
    n = "model.layers.1."
    parts = [p.named[f"{n}self_attn.{x}_proj.weight"].T for x in "qkv"]
    np.testing.assert_array_equal(p.layers[1].qkv, np.concatenate(parts, axis=1))
    parts = [p.named[f"{n}mlp.{x}_proj.weight"].T for x in ("gate", "up")]
    np.testing.assert_array_equal(p.layers[1].up, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_every_array_of_a_layer_is_a_live_view(config):
    p = Parameters(config, np.dtype("float64"))
    for layer in p.layers:
        for a in vars(layer).values():
            assert a is None or np.shares_memory(a, p.flat)
    assert np.shares_memory(p.output, p.embedding) == config.tied
