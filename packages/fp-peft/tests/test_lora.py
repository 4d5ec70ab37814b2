import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd.checking import gradcheck
from fp_neural.layers import Linear
from fp_peft.lora import LoRA, LoRALinear, lora_linear, reference_lora_linear


def drawn(seed, m=5, n=7, r=2, rows=(3, 2)):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s) for s in ((*rows, n), (m, n), (m,), (r, n), (m, r))]


@pytest.mark.claim("peft.lora-gradient")
@pytest.mark.parametrize("biased", [True, False])
def test_all_gradients_in_both_modes_and_to_second_order(biased):
    x, w, b, A, B = drawn(0)
    if biased:
        gradcheck(lambda x, w, b, A, B: lora_linear(x, w, b, A, B, 0.7), x, w, b, A, B)
    else:
        gradcheck(lambda x, w, A, B: lora_linear(x, w, None, A, B, 0.7), x, w, A, B)


@pytest.mark.claim("peft.lora-gradient")
@given(st.integers(0, 2**30), st.integers(1, 4), st.floats(-3, 3))
@settings(max_examples=15)
def test_gradients_are_those_of_the_formulas(seed, r, s):
    x, w, b, A, B = drawn(seed, r=r)
    layer = LoRALinear(Linear(7, 5, rng=None, dtype=np.float64), r, s, rng=None)
    for p, value in ((layer.base.weight, w), (layer.base.bias, b), (layer.lora_A, A), (layer.lora_B, B)):
        p.data[...] = value
    g = np.random.default_rng(seed).normal(size=(3, 2, 5))
    from fp_autograd.tensor import Tensor

    inside = Tensor(x, requires_grad=True)
    y = layer(inside)
    np.testing.assert_allclose(y.data, x @ (w + s * B @ A).T + b, atol=1e-9)  # the same sums in another order
    np.testing.assert_allclose(y.data, reference_lora_linear(x, w, b, A, B, s), atol=1e-9)
    y.backward(g)
    X, G = x.reshape(-1, 7), g.reshape(-1, 5)
    for found, formula in (
        (layer.lora_B.grad, s * G.T @ X @ A.T),
        (layer.lora_A.grad, s * B.T @ G.T @ X),
        (inside.grad, (G @ (w + s * B @ A)).reshape(x.shape)),
        (layer.base.weight.grad, G.T @ X),
    ):
        np.testing.assert_allclose(found, formula, atol=1e-9)


@pytest.mark.claim("peft.lora-identity")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_at_first_the_layer_is_its_base_bit_for_bit(dtype, bias):
    rng = np.random.default_rng(0)
    base = Linear(17, 11, rng=rng, bias=bias, dtype=dtype)
    layer = LoRALinear(base, 3, 123.4, rng=rng)
    for x in (rng.normal(size=(2, 5, 17)), np.zeros((1, 1, 17)), -1e30 * np.ones((1, 2, 17))):
        x = x.astype(dtype)
        np.testing.assert_array_equal(layer(x).data, base(x).data)


@pytest.mark.claim("peft.one-zero-factor")
def test_one_zero_factor_learns_and_two_never_do():
    from fp_optim import SGD, AdamW

    rng = np.random.default_rng(1)
    x, target = rng.normal(size=(6, 4)), rng.normal(size=(6, 5))

    def trained(zeros, optimizer, steps=5):
        layer = LoRALinear(Linear(4, 5, rng=np.random.default_rng(0), dtype=np.float64).freeze(), 2, 1.5, rng=rng)
        if zeros:
            layer.lora_A.data[...] = 0
        parameters = {"A": layer.lora_A, "B": layer.lora_B}
        opt = optimizer({name: p.data for name, p in parameters.items()}, lr=0.1)
        for _ in range(steps):
            ((layer(x) - target) ** 2).sum().backward()
            opt.step({name: p.grad for name, p in parameters.items()})
            layer.zero_grad()
        return layer

    for optimizer in (SGD, AdamW):
        assert not np.any(trained(True, optimizer).update())
        assert np.all(trained(False, optimizer).lora_B.data != 0)


@pytest.mark.claim("peft.one-zero-factor")
def test_the_first_step_is_the_full_step_seen_through_the_rows_of_A():
    x, w, _, A, _ = drawn(4)
    layer = LoRALinear(Linear(7, 5, rng=None, dtype=np.float64), 2, 1.5, rng=None)
    layer.base.weight.data[...], layer.lora_A.data[...] = w, A
    (layer(x) ** 2).sum().backward()
    full, eta = layer.base.weight.grad, 0.01
    assert not np.any(layer.lora_A.grad)
    layer.lora_B.data[...] -= eta * layer.lora_B.grad
    np.testing.assert_allclose(layer.update(), -eta * 1.5**2 * full @ A.T @ A, atol=1e-12)  # float64


@pytest.mark.claim("peft.one-zero-factor")
def test_only_gradients_perpendicular_to_A_leave_B_at_zero():
    layer = LoRALinear(Linear(4, 3, rng=None, dtype=np.float64), 2, 1.5, rng=None)
    layer.lora_A.data[...] = [[1, 1, 0, 0], [2, 2, 0, 0]]  # of rank one: independence is not asked for
    for x, moves in (([[1.0, -1.0, 2.0, 0.0]], False), ([[1.0, -1.0, 2.0, 0.0], [1.0, 0.0, 0.0, 0.0]], True)):
        layer(np.array(x)).sum().backward()  # the rows of the frozen matrix's gradient are the sum of those of x
        assert np.any(layer.lora_B.grad) == moves
        layer.zero_grad()


def test_dropped_inputs_leave_the_frozen_path_whole_and_the_mean_as_it_is():
    rng = np.random.default_rng(0)
    layer = LoRALinear(Linear(40, 3, rng=rng, dtype=np.float64), 2, 1.0, rng=rng, dropout=0.5)
    layer.lora_B.data[...] = 1
    x = np.ones((4000, 40))
    trained, used = layer.train()(x).data, layer.eval()(x).data
    assert np.std(trained[:, 0]) > 0 and np.ptp(used[:, 0]) == 0
    # entries of A are at most 4 / sqrt(40) here; 4000 draws: five deviations of the mean
    spread = np.sqrt((layer.lora_A.data.sum(axis=0) ** 2).sum() / len(x))
    assert abs(trained[:, 0].mean() - used[0, 0]) < 5 * spread
    layer.lora_B.data[...] = 0
    np.testing.assert_array_equal(layer.train()(x).data, layer.base(x).data)


def test_scales():
    assert LoRA(rank=4, alpha=8).scale == 2 and LoRA(rank=4).scale == 1
    assert LoRA(rank=4, alpha=8, rank_stabilized=True).scale == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "a rank is a whole number from 1 on, got 0"),
        ({"rank": True}, "a rank is a whole number"),
        ({"alpha": -1}, "alpha is a positive number, got -1"),
        ({"alpha": float("inf")}, "alpha is a positive number"),
        ({"dropout": 1}, "lies in"),
        ({"targets": ["query"]}, "targets are linear layers"),
        ({"targets": []}, "targets are linear layers"),
        ({"targets": None}, r"targets are linear layers .*; got \[None\]"),
        ({"targets": 5}, "targets are linear layers"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message, shapes_unchecked):
    with pytest.raises(ValueError, match=message):
        LoRA(**settings)


def test_shapes_that_do_not_fit_are_refused():
    x, w, b, A, B = drawn(0)
    for bad in ((x[..., 1:], w, b, A, B), (x, w, b, A[:, 1:], B), (x, w, b, A, B[1:]), (x, w, b, A[:1], B)):
        with pytest.raises(ValueError, match="go together"):
            lora_linear(*bad, 1.0)
    with pytest.raises(ValueError, match="from 1 on, got 0"):
        LoRALinear(Linear(2, 2, rng=None), 0, 1.0, rng=None)
