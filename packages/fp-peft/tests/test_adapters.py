import numpy as np
import pytest

from fp_autograd.checking import gradcheck
from fp_autograd.tensor import Tensor
from fp_neural.activations import gelu
from fp_neural.layers import Linear
from fp_peft.adapters import AdaptedLinear, Adapter
from fp_peft.wrapping import wrap


def drawn(dtype=np.float64, zero=False):
    rng = np.random.default_rng(0)
    layer = AdaptedLinear(Linear(7, 5, rng=rng, dtype=dtype), 3, rng=rng)
    if not zero:
        for p in layer.adapter_up.parameters():
            p.data[...] = rng.normal(size=p.shape)
    return layer, rng.normal(size=(2, 3, 7)).astype(dtype)


@pytest.mark.claim("peft.adapter-identity")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_first_the_layer_is_its_base_bit_for_bit(dtype):
    layer, x = drawn(dtype, zero=True)
    np.testing.assert_array_equal(layer(x).data, layer.base(x).data)


@pytest.mark.claim("peft.adapter-identity")
def test_at_first_a_model_with_adapters_is_the_model(model, ids):
    for where in ("both", "feedforward"):
        tuned = wrap(model, Adapter(3, where), rng=np.random.default_rng(0))
        np.testing.assert_array_equal(tuned(ids).data, model(ids).data)


@pytest.mark.claim("peft.adapter-gradient")
def test_the_gradients_are_those_of_the_formulas():
    layer, x = drawn()
    gradcheck(lambda s, x: layer.functional(s, x), layer.state_dict(), x)
    base = layer.base(x).data
    z = Tensor(base, requires_grad=True)
    layer.base.forward = lambda x: z  # to see what is handed to z
    g = np.random.default_rng(1).normal(size=z.shape)
    layer(x).backward(g)
    Z, G = base.reshape(-1, 5), g.reshape(-1, 5)
    Wd, Wu = layer.adapter_down.weight.data, layer.adapter_up.weight.data
    h = Z @ Wd.T + layer.adapter_down.bias.data
    slope = (gelu(h + 1e-6, "tanh") - gelu(h - 1e-6, "tanh")) / 2e-6
    dh = slope * (G @ Wu)
    for found, formula in (
        (layer.adapter_up.weight.grad, G.T @ gelu(h, "tanh")),
        (layer.adapter_down.weight.grad, dh.T @ Z),
        (z.grad.reshape(-1, 5), G + dh @ Wd),
    ):
        np.testing.assert_allclose(found, formula, atol=1e-7)  # a difference quotient of step 1e-6


@pytest.mark.claim("peft.adapter-gradient")
def test_at_first_only_the_upper_matrix_and_its_bias_move():
    layer, x = drawn(zero=True)
    (layer(x) ** 2).sum().backward()
    moves = {n: bool(np.any(p.grad)) for n, p in layer.named_parameters().items() if n.startswith("adapter")}
    up, down = ("adapter_up.weight", "adapter_up.bias"), ("adapter_down.weight", "adapter_down.bias")
    assert moves == {name: name in up for name in (*down, *up)}


@pytest.mark.claim("peft.adapter-not-linear")
def test_an_adapter_bends():
    layer, _ = drawn()
    layer.base.weight.data[...] = np.eye(5, 7)
    layer.base.bias.data[...] = layer.adapter_up.bias.data[...] = layer.adapter_down.bias.data[...] = 0
    x = np.zeros((1, 7))
    x[0, 0] = 1
    assert np.abs(layer(x).data + layer(-x).data - 2 * layer(0 * x).data).max() > 0.1


def test_bad_settings_are_refused(shapes_unchecked):
    with pytest.raises(ValueError, match="from 1 on, got 0"):
        Adapter(0)
    with pytest.raises(ValueError, match="'both' branches or 'feedforward'"):
        Adapter(4, "attention")
