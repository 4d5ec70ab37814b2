"""Tracing: shapes by module, the lens, parts that add up, maps."""

import io

import numpy as np
import pytest

from fp_autograd.tensor import Mode
from fp_neural.module import Module
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer
from fp_transformer.tracing import attention_maps, attribution, logit_lens, trace_shapes

CONFIGS = [
    TransformerConfig.gpt2(vocab_size=13, context_length=8, n_layers=3, n_heads=2, d_model=8, dropout=0.5),
    TransformerConfig.llama(vocab_size=13, context_length=8, n_layers=3, n_heads=2, d_model=8, tied=False),
]
EACH = pytest.mark.parametrize("config", CONFIGS, ids=["gpt2", "llama"])
IDS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def make(config):
    model = Transformer(config, rng=np.random.default_rng(0), dtype=np.float64)
    rng = np.random.default_rng(1)
    for p in model.norm.parameters():
        p.data = rng.normal(size=p.shape)
    return model


@EACH
def test_every_module_with_parameters_is_in_the_trace(config):
    model, out = make(config).eval(), io.StringIO()
    before = Mode.made, Module.__call__
    trace = trace_shapes(model, IDS, file=out)
    assert (Mode.made, Module.__call__) == before
    seen = {step.module for step in trace}
    for name, module in model.named_modules():
        if any(p is q for p in vars(module).values() for q in model.parameters()):
            assert name in seen or name == "positions"  # those are not called but asked for rows
    assert trace[-1].output == (2, 5, 13) and out.getvalue() == f"{trace}\n"


def test_what_was_done_before_an_error_is_printed():
    model, out = make(CONFIGS[0]), io.StringIO()
    model.blocks[1].feedforward.up_proj.weight.data = np.zeros((3, 3))
    with pytest.raises(ValueError, match="linear"):
        trace_shapes(model, IDS, file=out)
    assert "blocks.1.norm2" in out.getvalue() and "blocks.2" not in out.getvalue()
    assert Mode.made is None


@EACH
def test_the_top_of_the_lens_is_the_model(config):
    model = make(config)
    seen = logit_lens(model, IDS)
    assert seen.shape == (4, 2, 5, 13) and np.allclose(seen.sum(-1), 1)
    z = model.eval()(IDS).data
    p = np.exp(z - z.max(-1, keepdims=True))
    assert np.allclose(seen[-1], p / p.sum(-1, keepdims=True), rtol=0, atol=1e-12)
    # at the bottom a position knows its own token alone
    assert np.allclose(seen[0][0, 1], logit_lens(model, np.array([[7, 1, 7]]))[0][0, 1], rtol=0, atol=1e-12)


@EACH
@pytest.mark.claim("transformer.residual-sum")
def test_the_parts_add_up_to_the_logits(config):
    model = make(config)
    parts = attribution(model, IDS)
    assert parts.shape == (5, 2, 5, 13)
    assert np.allclose(parts.sum(axis=0), model.eval()(IDS).data, rtol=0, atol=1e-12)
    # a block that writes nothing has no part
    block = model.blocks[1]
    block.attention.o_proj.weight.data[:] = 0
    for p in block.feedforward.parameters():
        p.data[:] = 0
    assert (np.abs(attribution(model, IDS)[2]) < 1e-14).all()


@EACH
def test_maps_are_weights(config):
    maps = attention_maps(make(config), IDS)
    assert maps.shape == (3, 2, 2, 5, 5) and np.allclose(maps.sum(-1), 1)
    assert (maps[..., ~np.tri(5, dtype=bool)] == 0).all()


def test_the_mode_of_training_is_left_as_it_was():
    model = make(CONFIGS[0])
    model.blocks[0].eval()
    modes = [m.training for m in model.modules()]
    logit_lens(model, IDS)
    assert [m.training for m in model.modules()] == modes
