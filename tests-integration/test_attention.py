"""Two implementations of attention and of rotary positions that share no code: stage 5's and the capstone's."""

import numpy as np
import pytest

from fp_attention import Causal, RoPE, scaled_dot_product_attention, tiled_attention
from fp_autograd.functional import vjp
from fp_capstone.attention import causal_attention, causal_attention_backward
from fp_capstone.rotary import rotary_tables, rotate, rotate_back


def some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("attention", [scaled_dot_product_attention, tiled_attention])
@pytest.mark.parametrize("T", [7, 130])
def test_attention_forward_and_backward(attention, T):
    q, k, v, g = some(2, T, 6, 5), some(2, T, 3, 5, seed=1), some(2, T, 3, 5, seed=2), some(2, T, 6, 5, seed=3)
    theirs, tape = causal_attention(q, k, v, keep=True)

    def by_time(q, k, v):  # the heads stand after the times there
        return attention(q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2), mask=Causal()).swapaxes(1, 2)

    ours, back = vjp(by_time, q, k, v)
    # sums of up to 130 products of numbers of size one in float64
    assert np.allclose(ours, theirs, rtol=0, atol=1e-12)
    for one, other in zip(back(g), causal_attention_backward(g, tape), strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-11)


def test_rotary_positions_forward_and_backward():
    x, g = some(2, 9, 3, 8), some(2, 9, 3, 8, seed=1)
    cos, sin = rotary_tables(9, 8, 100.0, np.dtype(np.float64))
    rope = RoPE(8, base=100.0)
    ours, back = vjp(lambda x: rope.on_heads(x.swapaxes(1, 2), np.arange(9)).swapaxes(1, 2), x)
    assert np.allclose(ours, rotate(x, cos, sin), rtol=0, atol=1e-13)
    assert np.allclose(back(g)[0], rotate_back(g, cos, sin), rtol=0, atol=1e-13)
