"""LayerNorm and RMSNorm: against the definition, differences, invariances, rounding, and hostile input."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd.checking import gradcheck
from fp_autograd.functional import jacobian, jvp, vjp
from fp_autograd.tensor import Tensor, no_grad
from fp_neural.layers import linear
from fp_transformer import norms
from fp_transformer.norms import (
    LayerNorm,
    RMSNorm,
    layer_norm,
    reference_layer_norm,
    reference_rms_norm,
    rms_norm,
)

EXACT = 1e-13  # a few dozen operations on numbers of size one in float64
EPS = (0.0, 1e-3, 0.7)


def some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def normalized(kind: str, x, eps: float):
    """Without gain and bias."""
    C = x.shape[-1]
    return rms_norm(x, np.ones(C), eps) if kind == "rms" else layer_norm(x, np.ones(C), np.zeros(C), eps)


def by_definition(kind: str, x, weight, bias, eps):
    """(E1) and (E2) of one row, one number at a time."""
    C = len(x)
    z = [x[c] - (sum(x) / C if kind == "layer" else 0) for c in range(C)]
    r = 1 / math.sqrt(sum(n * n for n in z) / C + eps)
    return [weight[c] * r * z[c] + (bias[c] if kind == "layer" else 0) for c in range(C)]


def both(kind: str, *operands, eps: float, fused: bool = True):
    if kind == "rms":
        return (rms_norm if fused else reference_rms_norm)(*operands[:2], eps)
    return (layer_norm if fused else reference_layer_norm)(*operands, eps)


KINDS = pytest.mark.parametrize("kind", ["rms", "layer"])


# --- the kernels


@KINDS
@pytest.mark.parametrize("eps", EPS)
def test_it_is_the_definition(kind, eps):
    x, weight, bias = some(2, 3, 5), some(5, seed=1), some(5, seed=2)
    y = both(kind, x, weight, bias, eps=eps)
    for row, out in zip(x.reshape(-1, 5), y.reshape(-1, 5), strict=True):
        assert np.allclose(out, by_definition(kind, row, weight, bias, eps), rtol=0, atol=EXACT)
    assert np.allclose(y, both(kind, x, weight, bias, eps=eps, fused=False), rtol=0, atol=EXACT)


def test_by_hand():
    # 1, 3: mean 2, variance 1. 3, 4: mean square 12.5
    assert np.allclose(layer_norm(np.array([1.0, 3.0]), np.array([1.0, 10.0]), np.array([5.0, 0.0]), 0), [4, 10])
    assert np.allclose(rms_norm(np.array([3.0, 4.0]), np.array([1.0, 2.0]), 0) ** 2, [9 / 12.5, 4 * 16 / 12.5])


def test_frozen_values_of_torch():
    # torch.nn.functional.layer_norm and rms_norm, PyTorch 2.13, float64, eps = 0.01
    x = np.array([[0.5, -1.0, 2.0], [3.0, 3.5, -4.0]])
    weight, bias = np.array([1.0, 0.5, -2.0]), np.array([0.1, 0.2, 0.3])
    assert np.allclose(layer_norm(x, weight, bias, 0.01), LAYER_NORM, rtol=0, atol=1e-12)
    assert np.allclose(rms_norm(x, weight, 0.01), RMS_NORM, rtol=0, atol=1e-12)


LAYER_NORM = [[0.1, -0.410341344078, -2.141365376313], [0.732560343614, 0.589267903763, 3.122192302279]]
RMS_NORM = [[0.376889180722, -0.376889180722, -3.015113445778], [0.851028158781, 0.496433092622, 2.269408423417]]


@pytest.fixture
def small_blocks(monkeypatch):
    """So small that rows are cut into blocks, blocks into parts, and parts run on threads."""
    monkeypatch.setattr(norms, "BLOCK", 11)  # two rows of five
    monkeypatch.setattr(norms, "PARTS", 3)
    monkeypatch.setattr(norms, "WORTHWHILE", 0)


@pytest.mark.claim("transformer.rms-norm-backward")
@pytest.mark.claim("transformer.layer-norm-backward")
@KINDS
@pytest.mark.parametrize("rows", [(), (1,), (3, 5)])
@pytest.mark.usefixtures("small_blocks")
def test_derivatives_against_differences(kind, rows):
    operands = (some(*rows, 5), some(5, seed=1), some(5, seed=2))[: 2 if kind == "rms" else 3]
    gradcheck(lambda *o: both(kind, *o, eps=0.05), *operands)


@KINDS
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_blocks_threads_and_layout_make_no_difference(kind, dtype, monkeypatch):
    x, weight, bias = (a.astype(dtype) for a in (some(5, 17, 3).swapaxes(0, 2), some(5, seed=1), some(5, seed=2)))
    g = some(3, 17, 5, seed=3).astype(dtype)
    operands = (x, weight, bias)[: 2 if kind == "rms" else 3]
    cut = vjp(lambda *o: both(kind, *o, eps=1e-5), *operands)
    composed = vjp(lambda *o: both(kind, *o, eps=1e-5, fused=False), *operands)
    # sums of 51 numbers of size one, in the precision of each
    atol = 1e-12 if dtype == "d" else 2e-5
    for a, b in zip((cut[0], *cut[1](g)), (composed[0], *composed[1](g)), strict=True):
        assert a.dtype == dtype
        assert np.allclose(a, b, rtol=0, atol=atol)
    monkeypatch.setattr(norms, "BLOCK", 1 << 18)
    whole = vjp(lambda *o: both(kind, *o, eps=1e-5), *operands)
    for a, b in zip((cut[0], *cut[1](g)), (whole[0], *whole[1](g)), strict=True):
        assert np.allclose(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("N", [0, 1, 2, 3, 7, 48, 49])
@pytest.mark.usefixtures("small_blocks")
def test_blocks_hold_every_row_once(N):
    parts = norms._parts(N, 5)
    assert len(parts) <= 3
    assert [i for part in parts for rows in part for i in range(N)[rows]] == list(range(N))
    assert norms._parts(N, 1000)[0][0].stop - norms._parts(N, 1000)[0][0].start <= max(1, N)


@KINDS
def test_nothing_given_is_written_to(kind):
    operands = [some(3, 5), some(5, seed=1), some(5, seed=2)][: 2 if kind == "rms" else 3]
    before = [o.copy() for o in operands]
    g = some(3, 5, seed=4)
    kept = g.copy()
    y, back = vjp(lambda *o: both(kind, *o, eps=0.1), *operands)
    out = y.copy()
    back(g)
    for a, b in zip([*operands, g, y], [*before, kept, out], strict=True):
        assert np.array_equal(a, b)


def test_no_rows():
    assert layer_norm(np.zeros((0, 3)), np.ones(3), np.zeros(3)).shape == (0, 3)
    y, back = vjp(lambda x, w: rms_norm(x, w), np.zeros((2, 0, 3)), np.ones(3))
    dx, dw = back(y)
    assert dx.shape == (2, 0, 3)
    assert np.array_equal(dw, np.zeros(3))


# --- what they keep and lose


@pytest.mark.claim("transformer.centring")
@settings(max_examples=20)
@given(st.lists(st.integers(-99, 99), min_size=2, max_size=7), st.integers(-9, 9))
def test_centring_is_the_nearest_row_that_sums_to_zero(x, k):
    x = np.array(x, float)
    C = len(x)
    P = np.eye(C) - np.full((C, C), 1 / C)
    assert np.allclose(P @ P, P, rtol=0, atol=EXACT)
    z = P @ x
    assert np.allclose(z, x - x.mean(), rtol=0, atol=1e-11)  # numbers up to 99
    other = z.copy()
    other[0] += k
    other[1] -= k  # another row that sums to zero
    assert np.sum((x - z) ** 2) <= np.sum((x - other) ** 2) + 1e-9
    if np.ptp(x):
        assert np.allclose(normalized("layer", x, 0.0), normalized("rms", z, 0.0), rtol=0, atol=1e-11)
        assert np.allclose(normalized("layer", z, 0.0), normalized("rms", z, 0.0), rtol=0, atol=1e-11)


@pytest.mark.claim("transformer.norm-length")
@KINDS
@pytest.mark.parametrize("eps", EPS)
def test_length(kind, eps):
    x = some(31, 7) * np.logspace(-3, 3, 31)[:, None]
    xhat = normalized(kind, x, eps)
    z = x - x.mean(-1, keepdims=True) * (kind == "layer")
    v = np.mean(z**2, axis=-1)
    length = np.linalg.norm(xhat, axis=-1)
    assert np.allclose(length, np.sqrt(7 * v / (v + eps)), rtol=1e-12)
    assert np.allclose(xhat / length[:, None], z / np.linalg.norm(z, axis=-1, keepdims=True), rtol=0, atol=EXACT)
    short = math.sqrt(7) - length
    assert (short >= -EXACT).all()
    assert (short <= math.sqrt(7) * eps / (2 * v) + EXACT).all()


def test_the_bound_of_the_length_is_exact_algebra():
    t = sympy.symbols("t", positive=True)
    assert sympy.expand((1 - t / 2) ** 2 * (1 + t) - (1 - t**2 / 4 * (3 - t))) == 0
    # and it is sharp to first order: no smaller factor than 1/2 would do
    assert sympy.limit((1 - (1 + t) ** sympy.Rational(-1, 2)) / t, t, 0) == sympy.Rational(1, 2)


@pytest.mark.claim("transformer.norm-invariance")
@settings(max_examples=20)
@given(
    st.sampled_from(["rms", "layer"]),
    st.floats(0.01, 100),
    st.sampled_from([1, -1]),
    st.floats(-50, 50),
    st.sampled_from(EPS),
    st.integers(0, 2**32),
)
def test_scale_and_shift(kind, size, sign, b, eps, seed):
    x, a = some(3, 5, seed=seed), sign * size
    moved = a * x + (b if kind == "layer" else 0)
    # a shift of 50 leaves 5e-15 of a number of size 0.01
    assert np.allclose(normalized(kind, moved, eps), sign * normalized(kind, x, eps / a**2), rtol=0, atol=1e-11)


@KINDS
def test_powers_of_two_change_no_bit(kind):
    x = some(3, 5).astype(np.float32)
    one, zero = np.ones(5, np.float32), np.zeros(5, np.float32)
    f = (lambda x: rms_norm(x, one, 0)) if kind == "rms" else (lambda x: layer_norm(x, one, zero, 0))
    assert np.array_equal(f(x), f(x * np.float32(2**20)))


@pytest.mark.claim("transformer.norm-eps")
@KINDS
def test_what_eps_changes(kind):
    x = some(23, 5) * np.logspace(-2, 2, 23)[:, None]
    v = np.mean((x - x.mean(-1, keepdims=True) * (kind == "layer")) ** 2, axis=-1)
    for a in (0.2, 0.9, 1.5, 30.0):
        for eps in EPS:
            apart = np.linalg.norm(normalized(kind, a * x, eps) - normalized(kind, x, eps), axis=-1)
            assert (apart <= math.sqrt(5) * eps / (2 * v) * max(1, 1 / a**2) + EXACT).all()
    tiny = np.array([1.0, -1.0]) * 1e-3
    assert np.allclose(normalized(kind, tiny, 1e-6), [0.5**0.5, -(0.5**0.5)], rtol=1e-12)


@pytest.mark.claim("transformer.centred-writes")
def test_centring_can_be_moved_into_the_weights():
    rng = np.random.default_rng(5)
    C, F, L, eps = 7, 11, 3, 0.02
    P = np.eye(C) - np.full((C, C), 1 / C)
    x0 = some(5, C)
    layers = [
        tuple(rng.normal(size=s) for s in ((C,), (C,), (F, C), (C, F), (C,))) for _ in range(L)
    ]  # gain, bias, inner weights, W, b

    def network(centred: bool) -> np.ndarray:
        x = x0 @ P if centred else x0

        def norm(x, gain, beta):
            return rms_norm(x, gain, eps) + beta if centred else layer_norm(x, gain, beta, eps)

        for gain, beta, inner, W, b in layers:
            if centred:
                W, b = P @ W, P @ b
            x = x + linear(np.tanh(linear(norm(x, gain, beta), inner)), W, b)
        return norm(x, *layers[0][:2])

    assert np.allclose(network(True), network(False), rtol=0, atol=1e-12)
    plain = x0
    for gain, beta, inner, W, b in layers:  # with RMSNorm alone, weights left as they were, it is another function
        plain = plain + linear(np.tanh(linear(rms_norm(plain, gain, eps) + beta, inner)), W, b)
    assert not np.allclose(rms_norm(plain, layers[0][0], eps) + layers[0][1], network(False), atol=0.1)


# --- backward


@pytest.mark.claim("transformer.rms-norm-backward")
@pytest.mark.claim("transformer.layer-norm-backward")
@pytest.mark.parametrize("C", [2, 3])
@KINDS
def test_jacobian_by_algebra(kind, C):
    x = sympy.symbols(f"x0:{C}", real=True)
    eps = sympy.symbols("epsilon", positive=True)
    mu = sum(x) / C if kind == "layer" else sympy.Integer(0)
    z = [c - mu for c in x]
    r = 1 / sympy.sqrt(sum(c * c for c in z) / C + eps)
    xhat = [r * c for c in z]
    for i in range(C):
        for k in range(C):
            claimed = r * (int(i == k) - (sympy.Rational(1, C) if kind == "layer" else 0) - xhat[i] * xhat[k] / C)
            assert sympy.simplify(sympy.diff(xhat[i], x[k]) - claimed) == 0


@pytest.mark.claim("transformer.norm-jacobian")
@KINDS
@pytest.mark.parametrize("eps", EPS)
def test_directions_of_the_jacobian(kind, eps):
    x = some(5)
    J = jacobian(lambda x: normalized(kind, x, eps))(x)
    xhat = normalized(kind, x, eps)
    z = x - x.mean() * (kind == "layer")
    v = np.mean(z**2)
    r = 1 / math.sqrt(v + eps)
    assert np.allclose(J, J.T, rtol=0, atol=EXACT)
    assert np.allclose(J @ xhat, r * eps / (v + eps) * xhat, rtol=0, atol=EXACT)
    lost = [xhat] + [np.ones(5)] * (kind == "layer")
    if kind == "layer":
        assert np.allclose(J @ np.ones(5), 0, rtol=0, atol=EXACT)
    basis = np.linalg.qr(np.column_stack([*lost, some(5, 5, seed=1)]))[0][:, len(lost) : 5]
    assert np.allclose(J @ basis, r * basis, rtol=0, atol=EXACT)
    for t in some(20, 5, seed=2):
        assert np.linalg.norm(J @ t) <= r * np.linalg.norm(t) * (1 + EXACT)
    if eps == 0:
        assert np.allclose(J @ J, r * J, rtol=0, atol=EXACT)


def test_a_row_of_zeros_is_only_enlarged():
    dx = vjp(lambda x: normalized("rms", x, 0.25), np.zeros(3))[1](np.array([1.0, 2.0, 3.0]))[0]
    assert np.allclose(dx, [2, 4, 6])  # J = r I
    dx = vjp(lambda x: normalized("layer", x, 0.25), np.full(3, 7.0))[1](np.array([1.0, 2.0, 3.0]))[0]
    assert np.allclose(dx, [-2, 0, 2])  # K = r P


@pytest.mark.claim("transformer.norm-orthogonal")
@settings(max_examples=20)
@given(st.sampled_from(["rms", "layer"]), st.sampled_from(EPS), st.integers(0, 2**32))
def test_gradient_is_orthogonal_to_the_input(kind, eps, seed):
    x, weight, bias, g = (some(*shape, seed=seed + i) for i, shape in enumerate([(5,), (5,), (5,), (5,)]))
    dx = vjp(lambda x: both(kind, x, weight, bias, eps=eps), x)[1](g)[0]
    z = x - x.mean() * (kind == "layer")
    v = np.mean(z**2)
    xhat = z / math.sqrt(v + eps)
    bound = EXACT * max(1, 1 / v)  # rows of five numbers may be close to constant
    assert abs(x @ dx - eps / (v + eps) * (weight * g) @ xhat) < bound
    if eps == 0:
        assert abs(x @ dx) < bound
    if kind == "layer":
        assert abs(dx.sum()) < bound
    else:
        assert abs(dx.sum()) > 1e-6  # RMSNorm does see a shift


@pytest.mark.claim("transformer.norm-gradient-scale")
@KINDS
@pytest.mark.parametrize("a", [0.01, 0.5, 3.0, 1000.0])
@pytest.mark.parametrize("eps", EPS)
def test_large_inputs_receive_small_gradients(kind, a, eps):
    x, g = some(5), some(5, seed=1)
    dx = vjp(lambda x: normalized(kind, x, eps), a * x)[1](g)[0]
    expected = vjp(lambda x: normalized(kind, x, eps / a**2), x)[1](g)[0] / a
    assert np.allclose(dx, expected, rtol=1e-11, atol=0)


@KINDS
def test_both_modes_agree(kind):
    operands = (some(3, 5), some(5, seed=1), some(5, seed=2))[: 2 if kind == "rms" else 3]
    moves = tuple(some(*o.shape, seed=7 + i) for i, o in enumerate(operands))
    g = some(3, 5, seed=9)
    along = jvp(lambda *o: both(kind, *o, eps=0.1), operands, moves)[1]
    back = vjp(lambda *o: both(kind, *o, eps=0.1), *operands)[1](g)
    assert np.isclose((along * g).sum(), sum((a * t).sum() for a, t in zip(back, moves, strict=True)), rtol=1e-12)


# --- rounding


@pytest.mark.claim("transformer.variance-one-pass")
def test_one_pass_loses_the_variance():
    row = np.array([4095, 4097], np.float32)
    one_pass = (row * row).sum(dtype=np.float32) / np.float32(2) - row.mean() ** 2
    assert one_pass == 0
    assert ((row - row.mean()) ** 2).mean() == 1
    ours = layer_norm(row, np.ones(2, np.float32), np.zeros(2, np.float32), 0)
    assert np.array_equal(ours, [-1, 1])
    # the amplification of relative errors, with both at the worst
    v, mu2, eta = sympy.symbols("v mu2 eta", positive=True)
    worst = (v + mu2) * (1 + eta) - mu2 * (1 - eta)
    assert sympy.simplify((worst - v) / v - eta * (1 + 2 * mu2 / v)) == 0


@pytest.mark.claim("transformer.variance-two-pass")
@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(-20, 20), st.integers(0, 2**32))
def test_two_pass_variance_is_within_its_bound(C, shift, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=C) * 2.0 ** rng.integers(-3, 3) + shift * 50).astype(np.float32)
    mean = np.float32(x.mean() + rng.normal() * 1e-3)  # any number will do
    z = x - mean
    total = np.float32(0)
    for product in z * z:
        total = total + product
    computed = Fraction(float(total / np.float32(C)))
    exact = [Fraction(float(c)) for c in x]
    mu = sum(exact) / C
    v = sum((c - mu) ** 2 for c in exact) / C
    assert sum((c - Fraction(float(mean))) ** 2 for c in exact) / C == v + (Fraction(float(mean)) - mu) ** 2
    target = v + (Fraction(float(mean)) - mu) ** 2
    theta = (1 + Fraction(1, 2**24)) ** (C + 3) - 1
    assert abs(computed - target) <= theta * target


def test_far_from_zero_in_single_precision():
    x = (some(3, 384) + 1000).astype(np.float32)
    one, zero = np.ones(384, np.float32), np.zeros(384, np.float32)
    exact = x.astype(float) - x.astype(float).mean(-1, keepdims=True)
    exact /= np.sqrt(np.mean(exact**2, -1, keepdims=True))
    # the mean is rounded to 2^-14 at 1000; nothing else is lost
    assert np.abs(layer_norm(x, one, zero, 0) - exact).max() < 2e-4
    naive = (x * x).mean(-1) - x.mean(-1) ** 2
    assert np.abs(naive - 1).max() > 0.02


# --- as modules


def test_modules_are_the_functions():
    x = some(2, 3, 5).astype(np.float32)
    layer, rms = LayerNorm(5, 0.1), RMSNorm(5, 0.1)
    assert {n: p.shape for n, p in layer.named_parameters().items()} == {"weight": (5,), "bias": (5,)}
    assert list(rms.named_parameters()) == ["weight"]
    assert layer.eps == rms.eps == 0.1
    assert LayerNorm(5).eps == 1e-5
    assert RMSNorm(5).eps == 1e-6
    assert np.array_equal(layer(x).data, layer_norm(x, np.ones(5, "f"), np.zeros(5, "f"), 0.1))
    assert np.array_equal(rms(x).data, rms_norm(x, np.ones(5, "f"), 0.1))
    out = layer(Tensor(x, requires_grad=True))
    assert out.dtype == np.float32
    out.backward(np.ones_like(x))
    assert layer.bias.grad.dtype == np.float32
    assert np.array_equal(layer.bias.grad, np.full(5, 6, np.float32))
    with no_grad():
        assert not rms(x).requires_grad
    assert RMSNorm(3, dtype=np.float64).weight.dtype == np.float64


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: rms_norm(np.ones((2, 3)), np.ones(2)), ValueError, r"one number for each column: .*\(2, 3\).*\(3,\)"),
        (lambda: layer_norm(np.ones((2, 3)), np.ones(3), np.zeros(4)), ValueError, r"got \(4,\)"),
        (lambda: rms_norm(np.ones(()), np.ones(3)), ValueError, "needs an axis"),
        (lambda: rms_norm(np.ones((2, 0)), np.ones(0)), ValueError, "last axis, which is empty"),
        (lambda: rms_norm(np.ones(3), np.ones(3), -1.0), ValueError, "from 0 on, such as 1e-5, got -1.0"),
        (lambda: rms_norm(np.ones(3), np.ones(3), math.nan), ValueError, "got nan"),
        (lambda: layer_norm(np.ones(3), np.ones(3), np.zeros(3), math.inf), ValueError, "got inf"),
        (lambda: rms_norm(np.ones(3, "f"), np.ones(3)), TypeError, r"float32 .* got float64: use .astype"),
        (lambda: rms_norm(np.ones(3, np.float16), np.ones(3, np.float16)), TypeError, "got float16: convert"),
        (lambda: rms_norm(np.ones(3, int), np.ones(3, int)), TypeError, "got int64: convert"),
        (lambda: rms_norm(np.zeros(3), np.ones(3), 0), ValueError, "row of zeros has no size"),
        (lambda: layer_norm(np.full((2, 3), 5.0), np.ones(3), np.zeros(3), 0), ValueError, "row of zeros has no size"),
        (lambda: rms_norm(np.zeros(3, "f"), np.ones(3, "f"), 1e-60), ValueError, "a larger eps than 1e-60"),
        (lambda: LayerNorm(0), ValueError, "at least one number in a row, got dim = 0"),
        (lambda: RMSNorm(3, -1), ValueError, "got -1"),
        (lambda: LayerNorm(3)(np.ones((2, 4), "f")), ValueError, r"\(2, 4\)"),
    ],
)
def test_bad_input(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
