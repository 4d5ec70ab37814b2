"""The block: its two lines, its gradient in four ways back, what it may see."""

import numpy as np
import pytest

from fp_attention.masks import Padding
from fp_autograd.checking import gradcheck
from fp_autograd.functional import vjp
from fp_transformer.block import Block
from fp_transformer.config import TransformerConfig

CONFIGS = {
    "gpt2": TransformerConfig.gpt2(vocab_size=7, context_length=9, n_layers=2, n_heads=2, d_model=6),
    "llama": TransformerConfig.llama(vocab_size=7, context_length=9, n_layers=2, n_heads=2, n_kv_heads=1, d_model=12),
}
EACH = pytest.mark.parametrize("family", CONFIGS)


def make(family):
    block = Block(CONFIGS[family], rng=np.random.default_rng(0), dtype=np.float64)
    rng = np.random.default_rng(1)
    for name, p in block.named_parameters().items():
        if "norm" in name or name.endswith("bias"):
            p.data = rng.normal(size=p.shape)
    return block, rng.normal(size=(2, 5, CONFIGS[family].d_model))


@EACH
def test_it_is_two_lines(family):
    block, x = make(family)
    middle = x + block.attention(block.norm1(x)).data
    assert np.allclose(block(x).data, middle + block.feedforward(block.norm2(middle)).data, rtol=0, atol=1e-14)


@EACH
@pytest.mark.claim("transformer.block-gradient")
def test_the_gradient_is_the_sum_of_four_ways(family):
    block, x = make(family)
    block.freeze()
    middle = x + block.attention(block.norm1(x))
    out, back = vjp(block, x)
    g = np.random.default_rng(2).normal(size=out.shape)
    through_attention = vjp(lambda x: block.attention(block.norm1(x)), x)[1]
    through_feedforward = vjp(lambda x: block.feedforward(block.norm2(x)), middle)[1]
    (f,), (a,) = through_feedforward(g), through_attention(g)
    (both,) = through_attention(f)
    assert np.allclose(back(g)[0], g + f + a + both, rtol=0, atol=1e-12)


@EACH
def test_gradients_of_everything(family):
    block, x = make(family)
    gradcheck(lambda x, state: block.functional(state, x), x[:1, :3], block.state_dict())


@EACH
@pytest.mark.claim("transformer.block-causal")
def test_rows_see_no_later_rows(family):
    block, x = make(family)
    y = block(x).data
    for t in range(5):
        changed = x.copy()
        changed[:, t + 1 :] += 1
        assert np.allclose(block(changed).data[:, : t + 1], y[:, : t + 1], rtol=0, atol=1e-14)
        if t < 4:
            assert (block(changed).data[:, t + 1] != y[:, t + 1]).any()


@EACH
def test_padding_and_caches_reach_the_attention(family):
    block, x = make(family)
    valid = np.array([[True] * 5, [True, True, True, False, False]])
    y = block(x, mask=Padding(valid)).data
    assert np.allclose(y[1, :3], block(x[1:, :3]).data[0], rtol=0, atol=1e-13)
    cache = block.attention.new_cache(2, 5)
    parts = [block(x[:, a:b], cache=cache).data for a, b in ((0, 2), (2, 5))]
    assert np.allclose(np.concatenate(parts, axis=1), block(x).data, rtol=0, atol=1e-13)


def test_dropout_acts_on_the_branches():
    config = TransformerConfig.llama(vocab_size=7, context_length=9, n_layers=1, n_heads=2, d_model=12, dropout=0.5)
    block = Block(config, rng=np.random.default_rng(0), dtype=np.float64)
    x = np.random.default_rng(1).normal(size=(1, 4, 12))
    assert (block(x).data != block(x).data).any()
    # each branch is dropped or doubled, so the stream itself always gets through
    block.feedforward.down_proj.weight.data[:] = 0
    branch = block.eval().attention(block.norm1(x)).data
    block.train()
    seen = block(x).data - x
    assert np.all(np.isclose(seen, 0, atol=1e-14) | np.isclose(seen, 2 * branch, rtol=1e-12))
    assert (block.eval()(x).data == block(x).data).all()
