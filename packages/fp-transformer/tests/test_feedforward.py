"""Mirrors src/fp_transformer/feedforward.py. Sizes are distinct primes."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention import attention_weights, scaled_dot_product_attention
from fp_autograd import grad, gradcheck, jacobian, jvp, vjp
from fp_autograd.rules import RULES, relu
from fp_autograd.tensor import Tensor
from fp_neural.activations import gelu, silu
from fp_transformer import feedforward
from fp_transformer.feedforward import FeedForward, SwiGLU, gelu_tanh, reference_swiglu, swiglu

RNG = np.random.default_rng(0)
C, F = 5, 7


def normal(*shape):
    return RNG.normal(size=shape)


def double(layer):
    return layer.astype(np.float64).freeze()  # numbers out, no graph


# --- the memory


@pytest.mark.claim("transformer.memory")
def test_the_layer_is_a_sum_of_values_by_the_match_of_their_keys():
    layer = double(FeedForward(C, F, bias=False, rng=RNG))
    keys, values, x = layer.up_proj.weight.data, layer.down_proj.weight.data.T, normal(C)
    a = [0.5 * s * (1 + math.tanh(math.sqrt(2 / math.pi) * (s + 0.044715 * s**3))) for s in keys @ x]
    terms = [a_f * v for a_f, v in zip(a, values, strict=True)]
    whole = np.asarray(layer(x)).copy()
    np.testing.assert_allclose(whole, sum(terms), rtol=1e-12)  # sums in another order
    for f in range(F):
        kept = layer.down_proj.weight.data[:, f].copy()
        layer.down_proj.weight.data[:, f] = 0
        np.testing.assert_allclose(whole - np.asarray(layer(x)), terms[f], atol=1e-14)
        layer.down_proj.weight.data[:, f] = kept


@pytest.mark.claim("transformer.memory")
def test_with_exp_and_a_division_it_is_attention():
    K, V, x = normal(F, C), normal(F, C), normal(C)
    a = np.exp(K @ x)
    attended = scaled_dot_product_attention(x[None], K, V, scale=1)[0]
    np.testing.assert_allclose(a @ V / a.sum(), attended, rtol=1e-12)
    P = attention_weights(x[None], K, scale=1)[0]
    for f in range(F):
        without = attention_weights(x[None], np.delete(K, f, axis=0), scale=1)[0]
        np.testing.assert_allclose(without, np.delete(P, f) / (1 - P[f]), rtol=1e-12)


@pytest.mark.claim("transformer.positionwise")
@pytest.mark.parametrize("kind", [FeedForward, SwiGLU])
def test_rows_do_not_see_each_other(kind):
    layer = double(kind(C, F, rng=RNG))
    x = normal(3, C)
    J = np.asarray(jacobian(layer)(x))  # (3, C, 3, C)
    for t in range(3):
        for s in range(3):
            assert (np.abs(J[t, :, s]).max() > 1e-3) == (s == t)
            assert s == t or not J[t, :, s].any()
    order = RNG.permutation(3)
    np.testing.assert_allclose(np.asarray(layer(x[order])), np.asarray(layer(x))[order], rtol=1e-13)
    pieces = [np.asarray(layer(x[:1])), np.asarray(layer(x[1:]))]
    np.testing.assert_allclose(np.concatenate(pieces), np.asarray(layer(x)), rtol=1e-12)  # products of other shapes


# --- the bends


@pytest.mark.claim("transformer.near-relu")
def test_both_bends_are_near_relu():
    x = np.concatenate([np.linspace(-30, 30, 200_001), np.geomspace(1e-6, 1e6, 1001)])
    x = np.concatenate([x, -x])
    bottom = float(sympy.nsolve(sympy.exp(sympy.Symbol("x")) + sympy.Symbol("x") + 1, -1.3))
    off = np.abs(silu(x) - np.maximum(x, 0))
    assert off.max() == pytest.approx(-1 - bottom, abs=1e-7)  # step 3e-4, squared
    assert off.max() <= -1 - bottom + 1e-15 < 0.279
    assert np.abs(gelu_tanh(x) - np.maximum(x, 0)).max() < 0.279 / (2 * math.sqrt(2 / math.pi)) < 0.175
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    assert (np.abs(2 * u) >= 2 * math.sqrt(2 / math.pi) * np.abs(x) * (1 - 1e-15)).all()
    for c in (10.0, 1e4):
        for f in (silu, gelu_tanh):
            assert np.abs(f(c * x) / c - np.maximum(x, 0)).max() <= 0.279 / c + 1e-9  # the digits of 1e6


@pytest.mark.claim("transformer.gelu-slope")
def test_the_tanh_form_is_a_sigmoid_gate():
    x = sympy.symbols("x", real=True)
    u = sympy.sqrt(2 / sympy.pi) * (x + sympy.Rational(44715, 10**6) * x**3)
    sigma = 1 / (1 + sympy.exp(-2 * u))
    assert sympy.simplify((x / 2 * (1 + sympy.tanh(u)) - x * sigma).rewrite(sympy.exp)) == 0
    slope = sigma * (1 + x * (1 - sigma) * 2 * sympy.sqrt(2 / sympy.pi) * (1 + sympy.Rational(134145, 10**6) * x**2))
    assert sympy.simplify(sympy.diff(x * sigma, x) - slope) == 0
    points = np.linspace(-6, 6, 101)
    exact = sympy.lambdify(x, slope)(points)
    np.testing.assert_allclose(grad(lambda v: gelu_tanh(v).sum())(points), exact, atol=1e-13)


def test_gelu_is_the_neural_one():
    x = np.concatenate([np.linspace(-9, 9, 1001), [-1e30, 1e30]])
    np.testing.assert_allclose(gelu_tanh(x), gelu(x, "tanh"), rtol=1e-15, atol=1e-16)
    ours, theirs = (grad(lambda v, f=f: f(v).sum())(x) for f in (gelu_tanh, lambda v: gelu(v, "tanh")))
    np.testing.assert_allclose(ours, theirs, atol=1e-14)


# --- gates


@pytest.mark.claim("transformer.gate-fixed")
def test_with_its_gates_held_the_layer_is_linear():
    layer = double(SwiGLU(C, F, rng=RNG))
    Wg, Wu, Wd = (p.weight.data for p in (layer.gate_proj, layer.up_proj, layer.down_proj))
    x = normal(C)
    s = silu(Wg @ x)
    M = Wd @ np.diag(s) @ Wu
    np.testing.assert_allclose(M @ x, np.asarray(layer(x)), rtol=1e-12)
    for n in range(C + 1):  # as many gates open: their rank, no more
        held = np.where(np.arange(F) < n, s, 0)
        assert np.linalg.matrix_rank(Wd @ np.diag(held) @ Wu) == n


@pytest.mark.claim("transformer.gate-fixed")
def test_far_out_a_gated_layer_is_quadratic():
    gated, plain, x = double(SwiGLU(C, F, rng=RNG)), double(FeedForward(C, F, bias=False, rng=RNG)), normal(C)
    Wg, Wu, Wd = (p.weight.data for p in (gated.gate_proj, gated.up_proj, gated.down_proj))
    W1, W2 = plain.up_proj.weight.data, plain.down_proj.weight.data
    quadratic = Wd @ (np.maximum(Wg @ x, 0) * (Wu @ x))
    for c in (1e2, 1e4, 1e6):
        bound = 0.279 / c  # times sums of weights
        off = np.abs(np.asarray(gated(c * x)) / c**2 - quadratic)
        assert (off <= bound * (np.abs(Wd) @ np.abs(Wu @ x)) + 1e-13).all()
        off = np.abs(np.asarray(plain(c * x)) / c - W2 @ np.maximum(W1 @ x, 0))
        assert (off <= bound * np.abs(W2).sum(axis=1) + 1e-13).all()
    assert np.abs(quadratic).max() > 1e-2


@pytest.mark.claim("transformer.swiglu-backward")
def test_slopes_of_the_gated_product():
    a, b = sympy.symbols("a b", real=True)
    sigma = 1 / (1 + sympy.exp(-a))
    s = a * sigma
    assert sympy.simplify(sympy.diff(s * b, a) - b * sigma * (1 + a - s)) == 0
    assert sympy.simplify(sympy.diff(s * b, b) - s) == 0


@pytest.mark.claim("transformer.swiglu-backward")
@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.floats(-20, 20)] * 5), min_size=1, max_size=5))
def test_cotangents_and_tangents(rows):
    a, b, g, ta, tb = np.array(rows).T
    sigma = 1 / (1 + np.exp(-a))
    s = a * sigma
    h, back = vjp(swiglu, a, b)
    da, db = back(g)
    close = {"rtol": 1e-12, "atol": 1e-12}  # roundings of numbers up to 8,000
    np.testing.assert_allclose(h, s * b, **close)
    np.testing.assert_allclose(da, g * b * sigma * (1 + a - s), **close)
    np.testing.assert_allclose(db, g * s, **close)
    _, along = jvp(swiglu, (a, b), (ta, tb))
    np.testing.assert_allclose(along, b * sigma * (1 + a - s) * ta + s * tb, **close)


@pytest.mark.claim("transformer.swiglu-backward")
def test_the_layers_cotangent():
    layer = double(SwiGLU(C, F, rng=RNG))
    Wg, Wu, Wd = (p.weight.data for p in (layer.gate_proj, layer.up_proj, layer.down_proj))
    x, G = normal(C), normal(C)
    a, b = Wg @ x, Wu @ x
    da, db = vjp(swiglu, a, b)[1](Wd.T @ G)
    np.testing.assert_allclose(vjp(layer, x)[1](G)[0], Wg.T @ da + Wu.T @ db, rtol=1e-12)


def test_by_hand():
    """sigma(ln 3) = 3/4."""
    a, b = np.array([math.log(3)]), np.array([2.0])
    np.testing.assert_allclose(swiglu(a, b), 1.5 * math.log(3), rtol=1e-15)
    da, db = vjp(swiglu, a, b)[1](np.ones(1))
    np.testing.assert_allclose(da, 1.5 * (1 + math.log(3) / 4), rtol=1e-15)
    np.testing.assert_allclose(db, 0.75 * math.log(3), rtol=1e-15)


# --- derivatives and kernels


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 5)])
def test_derivatives_of_both_orders_and_modes(shape):
    gradcheck(swiglu, normal(*shape), normal(*shape), order=2)
    gradcheck(gelu_tanh, normal(*shape), order=2)


@pytest.mark.parametrize("kind", [FeedForward, SwiGLU])
def test_derivatives_of_the_layers(kind):
    layer, x = double(kind(3, 5, rng=RNG)), normal(2, 3)
    gradcheck(lambda state, x: layer.functional(state, x), layer.state_dict(), x)


def test_the_kernel_is_the_reference():
    a, b, g = normal(11, 13) * 4, normal(11, 13), normal(11, 13)
    np.testing.assert_allclose(swiglu(a, b), reference_swiglu(a, b), atol=1e-14)
    for ours, theirs in zip(vjp(swiglu, a, b)[1](g), vjp(reference_swiglu, a, b)[1](g), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)


def test_blocks_and_threads_do_not_show(monkeypatch):
    a, b, g = normal(3, 67, 101), normal(3, 67, 101), normal(3, 67, 101)

    def everything():
        return [
            swiglu(a, b), *vjp(swiglu, a, b)[1](g), jvp(swiglu, (a, b), (g, a))[1], gelu_tanh(a),
            vjp(gelu_tanh, a)[1](g)[0],
        ]  # fmt: skip

    whole = everything()
    for block, worthwhile in [(8 * 997, 0), (8 * 2**11, 2**60), (8 * 20301, 0)]:
        monkeypatch.setattr(feedforward, "BLOCK", block)
        monkeypatch.setattr(feedforward, "WORTHWHILE", worthwhile)
        for x, y in zip(everything(), whole, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13)  # vector and scalar code differ in a digit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types_and_layouts(dtype):
    a, b = normal(4, 6).astype(dtype), normal(4, 6).astype(dtype)
    assert swiglu(a, b).dtype == gelu_tanh(a).dtype == dtype
    for layer in (FeedForward(6, rng=RNG, dtype=dtype), SwiGLU(6, rng=RNG, dtype=dtype)):
        assert layer(a).dtype == dtype
    tiny = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(swiglu(a.T[::2], b.T[::2]), (a / (1 + np.exp(-a)) * b).T[::2], atol=tiny)
    assert swiglu(a[:0], b[:0]).shape == (0, 6)
    assert gelu_tanh(np.array([1, 2])).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_pass_without_a_warning(dtype):
    x = np.array([-np.finfo(dtype).max / 4, -1e10, -200, 200, 1e10, np.finfo(dtype).max / 4], dtype)
    ones = np.ones_like(x)
    np.testing.assert_allclose(swiglu(x, ones), np.maximum(x, 0), rtol=1e-6)
    np.testing.assert_allclose(gelu_tanh(x), np.maximum(x, 0), rtol=1e-6)
    da, db = vjp(swiglu, x, ones)[1](ones)
    np.testing.assert_allclose(da, x > 0)
    np.testing.assert_allclose(db, np.maximum(x, 0), rtol=1e-6)
    np.testing.assert_allclose(vjp(gelu_tanh, x)[1](ones)[0], x > 0)


def test_in_float32_the_error_is_a_rounding():
    a = np.linspace(-30, 30, 20_001).astype(np.float32)
    ones = np.ones_like(a)
    exact = a.astype(float)
    assert np.abs(swiglu(a, ones) - exact / (1 + np.exp(-exact))).max() <= 30 * 2**-23
    assert (np.abs(swiglu(a, ones) - exact / (1 + np.exp(-exact))) <= np.abs(exact) * 2**-22 + 1e-30).all()


# --- the modules


def test_shapes_and_names():
    plain, gated = FeedForward(12, rng=RNG), SwiGLU(13, rng=RNG)
    assert {n: p.shape for n, p in plain.named_parameters().items()} == {
        "up_proj.weight": (48, 12), "up_proj.bias": (48,), "down_proj.weight": (12, 48), "down_proj.bias": (12,)
    }  # fmt: skip
    assert {n: p.shape for n, p in gated.named_parameters().items()} == {
        "gate_proj.weight": (48, 13), "up_proj.weight": (48, 13), "down_proj.weight": (13, 48)
    }  # fmt: skip
    assert FeedForward(3, 5, bias=False, rng=RNG).n_parameters == 30
    assert plain(np.ones((2, 3, 12), np.float32)).shape == (2, 3, 12)
    assert not any(p.data.any() for p in [*FeedForward(3, rng=None).parameters(), *SwiGLU(3, rng=None).parameters()])


def test_a_silent_relu_entry_learns_nothing_and_a_gelu_entry_does():
    K, V, x = np.array([[-1.0, 0.0]]), normal(1, 2), np.array([[1.0, 0.5]])
    for bend, moves in ((relu, False), (gelu_tanh, True)):
        dK = grad(lambda K, bend=bend: (bend(x @ K.T) @ V).sum())(K)
        assert bool(dK.any()) is moves


def test_both_operations_are_in_the_table():
    assert {"transformer.swiglu", "transformer.gelu_tanh"} <= set(RULES)
    x = Tensor(normal(3), requires_grad=True)
    swiglu(x, x).sum().backward()  # one tensor in both places
    sigma = 1 / (1 + np.exp(-x.data))
    np.testing.assert_allclose(x.grad, x.data * sigma * (2 + x.data * (1 - sigma)), rtol=1e-12)


def test_bad_input(shapes_unchecked):
    with pytest.raises(ValueError, match=r"same shape, got \(3,\) and \(1,\): broadcast"):
        swiglu(np.ones(3), np.ones(1))
    with pytest.raises(ValueError, match="at least one input and one output, got 0"):
        FeedForward(0, 3, rng=RNG)
    with pytest.raises(ValueError, match="at least one input and one output"):
        SwiGLU(3, 0, rng=RNG)
    with pytest.raises(ValueError, match="whose last axis has the length 3"):
        SwiGLU(3, rng=RNG)(np.ones((2, 4), np.float32))
