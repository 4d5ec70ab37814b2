"""Mirrors src/fp_neural/recurrent.py."""

from functools import partial

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd.checking import gradcheck
from fp_autograd.functional import grad, jacobian, jvp, vjp
from fp_autograd.rules import sigmoid, tanh
from fp_autograd.tensor import Tensor, no_grad
from fp_autograd.tracing import value_of
from fp_neural.recurrent import (
    LSTM,
    RNN,
    lstm_sequence,
    reference_lstm_sequence,
    reference_rnn_sequence,
    rnn_sequence,
)

B, T, D, H = 2, 5, 3, 7
CLOSE = {"rtol": 1e-11, "atol": 1e-13}  # float64: a few hundred roundings of numbers of magnitude one
FROZEN = {"rtol": 1e-10, "atol": 1e-12}  # PyTorch's numbers are written with 13 digits


@pytest.fixture
def _unchecked_shapes():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def operands(blocks, rng, T=T):
    """x, one or two first states, and the parameters, for RNN and LSTM."""
    states = [rng.normal(size=(B, H)) for _ in range(2 if blocks == 4 else 1)]
    parameters = [0.5 * rng.normal(size=shape) for shape in ((blocks * H, D), (blocks * H, H), (blocks * H,))]
    return [rng.normal(size=(B, T, D)), *states, *parameters]


KINDS = {"rnn": (1, rnn_sequence, reference_rnn_sequence), "lstm": (4, lstm_sequence, reference_lstm_sequence)}
both = pytest.mark.parametrize("kind", KINDS)


# --- the fused operations


@both
@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("n_steps", [1, 2, 5, 13])
def test_the_fused_operation_is_the_reference(kind, n_steps, begins):
    blocks, fused, reference = KINDS[kind]
    rng = np.random.default_rng(n_steps)
    arrays = operands(blocks, rng, T=n_steps)
    if begins:
        at = rng.random((B, n_steps)) < 0.4
        assert at.any()
        assert not at.all()
        fused, reference = (partial(f, begins=at) for f in (fused, reference))
    (y, pull), (y_reference, pull_reference) = vjp(fused, *arrays), vjp(reference, *arrays)
    np.testing.assert_allclose(y, y_reference, **CLOSE)
    g = np.random.default_rng(1).normal(size=y.shape)
    for dx, dx_reference in zip(pull(g), pull_reference(g), strict=True):
        np.testing.assert_allclose(dx, dx_reference, **CLOSE)


@both
def test_derivatives_in_both_modes_and_of_second_order(kind):
    blocks, fused, _ = KINDS[kind]
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(B, 3 + (blocks == 4), H))
    gradcheck(lambda *arrays: (fused(*arrays) * weight).sum(), *operands(blocks, rng, T=3))


@both
def test_sentences_in_a_row_do_not_touch(kind):
    """Where one begins, all is as if it were alone, gradients too."""
    blocks, fused, _ = KINDS[kind]
    x, *others = operands(blocks, np.random.default_rng(14), T=7)
    begins = np.zeros((B, 7), bool)
    begins[0, 3] = True
    weight = np.random.default_rng(15).normal(size=(1, 4, H))
    _, *parameters = others if kind == "rnn" else others[1:]
    zero = [np.zeros((1, H))] * (len(others) - 3)
    alone = grad(lambda u: (fused(x[:1, 3:], *zero, parameters[0], u, parameters[2])[:, :4] * weight).sum())
    in_a_row = grad(
        lambda u: (fused(x, *others[:-3], parameters[0], u, parameters[2], begins=begins)[:1, 3:7] * weight).sum()
    )
    np.testing.assert_allclose(in_a_row(parameters[1]), alone(parameters[1]), **CLOSE)


@both
def test_a_second_sweep_over_the_same_graph_is_the_first(kind):
    blocks, fused, _ = KINDS[kind]
    tensors = [Tensor(a, requires_grad=True) for a in operands(blocks, np.random.default_rng(4))]
    out = (fused(*tensors) ** 2).sum()
    out.backward(retain_graph=True)
    first = [t.grad.copy() for t in tensors]
    for t in tensors:
        t.zero_grad()
    out.backward()
    for t, before in zip(tensors, first, strict=True):
        np.testing.assert_allclose(t.grad, before, **CLOSE)


@both
def test_single_precision_stays_and_is_near_double(kind):
    blocks, fused, _ = KINDS[kind]
    double = operands(blocks, np.random.default_rng(5), T=13)
    single = [a.astype(np.float32) for a in double]
    (y, pull), (y32, pull32) = vjp(fused, *double), vjp(fused, *single)
    assert y32.dtype == np.float32
    np.testing.assert_allclose(y32, y, atol=1e-5)  # 13 steps, each losing a few 6e-8 and passing on the rest
    for dx32, dx in zip(pull32(np.ones_like(y32)), pull(np.ones_like(y)), strict=True):
        assert dx32.dtype == np.float32
        np.testing.assert_allclose(dx32, dx, rtol=1e-4, atol=1e-4)  # the same, times cotangents up to 10


def test_gates_do_not_overflow():
    x = np.array([[[1e4]], [[-1e4]]], np.float32)
    zero = np.zeros((2, 1), np.float32)
    out = lstm_sequence(x, zero, zero + 3, np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32), np.zeros(4, "f"))
    assert out[:, 1].ravel().tolist() == [4.0, 0.0]  # f = i = n = 1: 3 + 1; and f = i = 0


def wave(start, *shape):
    return np.sin(np.arange(start, start + np.prod(shape), dtype=np.float64)).reshape(shape)


def frozen_operands(blocks):
    B, T, D, H = 2, 5, 3, 2
    states = [wave(300, B, H), wave(400, B, H)][: 2 if blocks == 4 else 1]
    parameters = [wave(1, blocks * H, D), wave(50, blocks * H, H), wave(90, blocks * H)]
    return [wave(200, B, T, D), *states, *parameters]


def test_rnn_against_pytorch():
    """torch.nn.RNN of PyTorch 2.13 in float64, the same operands, a loss with fixed weights."""
    arrays, weight = frozen_operands(1), wave(500, 2, 5, 2)
    y, pull = vjp(rnn_sequence, *arrays)
    dx, dh, dw_ih, dw_hh, db = pull(weight)
    np.testing.assert_allclose((y * weight).sum(), 1.261047308450326, **FROZEN)
    last = [-0.8501718956777, 0.9617947862894, 0.9974312526791, -0.9626008168298]
    np.testing.assert_allclose(y[:, -1].ravel(), last, **FROZEN)
    first = [0.466553513863, 0.5973741917725, 0.1789717926986, -0.5382133711775, -0.6836163270539, -0.2005055844952]
    np.testing.assert_allclose(dx[:, 0].ravel(), first, **FROZEN)
    before = [-0.6413040770535, -0.2880756754421, 0.7104901728353, 0.2933206374738]
    np.testing.assert_allclose(dh.ravel(), before, **FROZEN)
    np.testing.assert_allclose(dw_ih[-1], [1.211295674651, 0.3797726201196, -0.8009116299383], **FROZEN)
    np.testing.assert_allclose(dw_hh[:, 0], [0.2749915648236, 1.331982051542], **FROZEN)
    np.testing.assert_allclose(db, [0.1117535917983, 0.19518806675], **FROZEN)


def test_lstm_against_pytorch():
    """torch.nn.LSTM of PyTorch 2.13 in float64; the loss weighs the last cell too."""
    arrays, weight = frozen_operands(4), np.concatenate([wave(500, 2, 5, 2), wave(600, 2, 1, 2)], axis=1)
    y, pull = vjp(lstm_sequence, *arrays)
    dx, dh, dc, dw_ih, dw_hh, db = pull(weight)
    np.testing.assert_allclose((y * weight).sum(), -0.48886756248544283, **FROZEN)
    last = [-0.2736957025068, 0.3640413653014, 0.5838176045737, -0.04156472853416]
    np.testing.assert_allclose(y[:, -2].ravel(), last, **FROZEN)
    cell = [-0.4150942787988, 0.7225872475203, 0.7524459788581, -0.09997461773802]
    np.testing.assert_allclose(y[:, -1].ravel(), cell, **FROZEN)
    first = [0.09481420208767, 0.1304783881981, 0.04618134593117, 0.05724501994765, 0.1228178957898, 0.07547256464653]
    np.testing.assert_allclose(dx[:, 0].ravel(), first, **FROZEN)
    before = [-0.1293123557194, -0.01410920990581, -0.1728730012698, -0.04542737573766]
    np.testing.assert_allclose(dh.ravel(), before, **FROZEN)
    before = [-0.1459256567691, -0.03642163507105, 0.08870637287993, 0.0583337035501]
    np.testing.assert_allclose(dc.ravel(), before, **FROZEN)
    np.testing.assert_allclose(dw_ih[-1], [-0.08304488140409, -0.03921613192454, 0.04066774839197], **FROZEN)
    column = [
        -0.02646396976016, 0.01413874651005, -0.1115004728273, 0.04917981717955,
        0.1987935344877, 0.1294908190288, -0.05848727159903, -0.06658082802076,
    ]  # fmt: skip
    np.testing.assert_allclose(dw_hh[:, 0], column, **FROZEN)
    bias = [
        0.1566478495747, -0.202454752813, 0.1443180312495, -0.05189622549725,
        -0.6798356076905, -0.2957654794429, 0.1461773296944, 0.02487747007454,
    ]  # fmt: skip
    np.testing.assert_allclose(db, bias, **FROZEN)


# --- back through time, by hand


class Loop:
    """A loop of nonlinear steps with its Jacobians; the loss weighs each state, after bending it."""

    def __init__(self, T=7, n=2, n_parameters=3, scale=1.0, seed=0):
        rng = np.random.default_rng(seed)
        self.x, self.w = rng.normal(size=(T, n)), 0.6 * rng.normal(size=n_parameters)
        self.mix, self.weights = rng.normal(size=(n_parameters, n, n)), rng.normal(size=(T, n))
        self.scale = scale
        self.h = [np.zeros(n)]
        for x in self.x:
            self.h.append(self.step(self.h[-1], x, self.w))
        self.T = T
        self.J = [jacobian(lambda h, x=x: self.step(h, x, self.w))(h) for h, x in zip(self.h, self.x, strict=False)]
        self.K = [
            jacobian(lambda w, x=x, h=h: self.step(h, x, w))(self.w) for h, x in zip(self.h, self.x, strict=False)
        ]
        self.g = [grad(lambda h, v=v: (v * h * h).sum())(h) for v, h in zip(self.weights, self.h[1:], strict=True)]

    def step(self, h, x, w):
        return tanh(self.scale * sum(w[k] * (self.mix[k] @ h) for k in range(len(self.w))) + w[0] * x)

    def term(self, s, t):
        """K_s^T J_{s+1}^T ... J_t^T g_t, steps counted from 0."""
        v = self.g[t]
        for r in range(t, s, -1):
            v = self.J[r].T @ v
        return self.K[s].T @ v

    def terms(self):
        return {(s, t): self.term(s, t) for t in range(self.T) for s in range(t + 1)}

    def truncated(self, begins):
        """The gradient by reverse mode, where the state is a constant at the start of the steps in `begins`."""

        def loss(w):
            h, total = self.h[0], 0.0
            for t, x in enumerate(self.x):
                h = self.step(value_of(h) if t in begins else h, x, w)
                total = total + (self.weights[t] * h * h).sum()
            return total

        return grad(loss)(self.w)


@pytest.mark.claim("neural.backward-through-time")
def test_the_gradient_is_the_sum_over_pairs_of_steps():
    loop = Loop()
    whole = loop.truncated(begins=())
    np.testing.assert_allclose(sum(loop.terms().values()), whole, **CLOSE)
    delta = np.zeros(2)
    by_sweep = 0.0
    for t in reversed(range(loop.T)):
        delta = loop.g[t] + delta
        by_sweep = by_sweep + loop.K[t].T @ delta
        delta = loop.J[t].T @ delta
    np.testing.assert_allclose(by_sweep, whole, **CLOSE)


@pytest.mark.claim("neural.rnn-backward")
def test_the_plain_step_backward():
    x, h_0, w, u, b = operands(1, np.random.default_rng(6))
    g = np.random.default_rng(7).normal(size=(B, T, H))
    y, pull = vjp(reference_rnn_sequence, x, h_0, w, u, b)
    dx, dh_0, dw, du, db = pull(g)
    h = np.concatenate([h_0[:, None], y], axis=1)
    delta, sums = np.zeros((B, H)), [0.0, 0.0, 0.0]
    for t in reversed(range(T)):
        alpha = (delta + g[:, t]) * (1 - y[:, t] ** 2)
        np.testing.assert_allclose(dx[:, t], alpha @ w, **CLOSE)
        sums = [sums[0] + alpha.T @ x[:, t], sums[1] + alpha.T @ h[:, t], sums[2] + alpha.sum(axis=0)]
        delta = alpha @ u
    for ours, theirs in zip([delta, *sums], [dh_0, dw, du, db], strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)


@pytest.mark.claim("neural.truncation")
@pytest.mark.parametrize("begins", [{0}, {0, 3}, {0, 1, 5}, set(range(7))])
def test_truncation_keeps_the_terms_within_a_chunk(begins):
    loop = Loop()
    kept = sum(v for (s, t), v in loop.terms().items() if not any(r in begins for r in range(s + 1, t + 1)))
    np.testing.assert_allclose(loop.truncated(begins), kept, **CLOSE)


@pytest.mark.claim("neural.truncation")
@pytest.mark.parametrize("scale", [0.1, 0.3, 0.6])
def test_truncation_errs_by_no_more_than_its_bound(scale):
    loop, begins = Loop(T=12, scale=scale), {0, 4, 8}
    rho, kappa = (max(np.linalg.svd(m, compute_uv=False)[0] for m in matrices) for matrices in (loop.J, loop.K))
    gamma = max(np.linalg.norm(g) for g in loop.g)
    assert rho < 1
    error = np.linalg.norm(loop.truncated(begins) - loop.truncated(()))
    assert 0 < error <= 2 * kappa * gamma * rho / (1 - rho) ** 2


@pytest.mark.claim("neural.truncation")
def test_truncation_is_exact_where_no_step_looks_back():
    loop = Loop(scale=0.0)  # the steps ignore the state
    np.testing.assert_allclose(loop.truncated({0, 2, 4}), loop.truncated(()), **CLOSE)


@pytest.mark.claim("neural.truncation-bias")
@pytest.mark.parametrize("L", [1, 2, 3, 5, 7, 9])
def test_random_borders_weigh_a_lag_by_the_share_of_chunks_that_hold_it(L):
    loop = Loop()
    mean = sum(loop.truncated({t for t in range(loop.T) if t % L == r}) for r in range(L)) / L
    weighted = sum(max(0, 1 - (t - s) / L) * v for (s, t), v in loop.terms().items())
    np.testing.assert_allclose(mean, weighted, **CLOSE)
    assert np.linalg.norm(mean - loop.truncated(())) > 1e-3  # it does not average away


def test_the_layers_cut_as_the_page_says():
    """Two calls with the state carried: the loss of the whole text, and the gradient without the terms across."""
    loop_rng = np.random.default_rng(8)
    x, weight = loop_rng.normal(size=(B, 6, D)), loop_rng.normal(size=(B, 6, H))
    for layer in (RNN(D, H, rng=loop_rng, dtype=np.float64), LSTM(D, H, rng=loop_rng, dtype=np.float64)):
        whole, _ = layer(x)
        first, state = layer(x[:, :4])
        second, _ = layer(x[:, 4:], state)
        np.testing.assert_allclose(np.concatenate([first.data, second.data], axis=1), whole.data, **CLOSE)
        assert not isinstance(state[0], Tensor)
        ((second * weight[:, 4:]).sum()).backward()
        cut = layer.weight_hh.grad
        layer.zero_grad()
        (layer(x[:, 4:], state)[0] * weight[:, 4:]).sum().backward()
        np.testing.assert_allclose(layer.weight_hh.grad, cut, **CLOSE)
        layer.zero_grad()
        (whole[:, 4:] * weight[:, 4:]).sum().backward()
        assert np.abs(layer.weight_hh.grad - cut).max() > 1e-3


# --- vanishing and exploding


@pytest.mark.claim("neural.gradient-bound")
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 3.0), n_steps=st.integers(1, 9))
def test_a_gradient_grows_and_shrinks_within_the_bounds(seed, scale, n_steps):
    rng = np.random.default_rng(seed)
    U, g, h_0 = scale * rng.normal(size=(5, 5)) / np.sqrt(5), rng.normal(size=5), 0.1 * rng.normal(size=(1, 5))
    x = 0.3 * rng.normal(size=(1, n_steps, 5))

    def run(h):
        return reference_rnn_sequence(x, h, np.eye(5), U, np.zeros(5))

    back = vjp(lambda h: run(h)[0, -1], h_0)[1](g)[0]
    size, slopes = np.linalg.norm(back) / np.linalg.norm(g), 1 - run(h_0)[0] ** 2
    slack = 1 + 1e-9  # singular values near zero have a large share of rounding
    largest = [np.linalg.svd(np.diag(m) @ U, compute_uv=False)[0] for m in slopes]
    assert size <= np.prod(largest) * slack  # (E7)
    singular = np.linalg.svd(U, compute_uv=False)
    assert size <= (singular[0] * slopes.max()) ** n_steps * slack  # (E8)
    assert size * slack >= (singular[-1] * slopes.min()) ** n_steps


@pytest.mark.claim("neural.gradient-bound")
def test_an_orthogonal_matrix_lets_the_gradient_shrink_by_slopes_alone():
    rnn = RNN(3, 11, rng=np.random.default_rng(9), dtype=np.float64)
    x, h_0, g = np.random.default_rng(1).normal(size=(1, 20, 3)), np.zeros((1, 11)), np.ones(11)

    def run(h):
        return rnn_sequence(x, h, 0.1 * rnn.weight_ih.data, rnn.weight_hh.data, rnn.bias.data)

    slopes = 1 - run(h_0) ** 2
    size = np.linalg.norm(vjp(lambda h: run(h)[0, -1], h_0)[1](g)[0]) / np.linalg.norm(g)
    assert np.prod(slopes.min(axis=2)) <= size <= np.prod(slopes.max(axis=2)) <= 1


# --- the long short-term memory


@pytest.mark.claim("neural.lstm-backward")
def test_the_cell_backward():
    x, h_0, c_0, w, u, b = operands(4, np.random.default_rng(10))
    g = np.random.default_rng(11).normal(size=(B, T + 1, H))
    _, pull = vjp(reference_lstm_sequence, x, h_0, c_0, w, u, b)
    dx, dh_0, dc_0, dw, du, db = pull(g)
    h, c, runs = h_0, c_0, []
    for t in range(T):
        a = x[:, t] @ w.T + h @ u.T + b
        i, f, n, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), np.tanh(a[:, 2 * H : 3 * H]), sigmoid(a[:, 3 * H :])
        runs.append((i, f, n, o, c, h))
        c = f * c + i * n
        h = o * np.tanh(c)
        runs[-1] += (c,)
    delta, kept, sums = np.zeros((B, H)), g[:, T], [0.0, 0.0, 0.0]
    for t in reversed(range(T)):
        i, f, n, o, c_before, h_before, c = runs[t]
        delta = delta + g[:, t]
        epsilon = kept + delta * o * (1 - np.tanh(c) ** 2)
        alpha = np.concatenate(
            [
                epsilon * n * i * (1 - i),
                epsilon * c_before * f * (1 - f),
                epsilon * i * (1 - n * n),
                delta * np.tanh(c) * o * (1 - o),
            ],
            axis=1,
        )
        np.testing.assert_allclose(dx[:, t], alpha @ w, **CLOSE)
        sums = [sums[0] + alpha.T @ x[:, t], sums[1] + alpha.T @ h_before, sums[2] + alpha.sum(axis=0)]
        kept, delta = epsilon * f, alpha @ u
    for ours, theirs in zip([delta, kept, *sums], [dh_0, dc_0, dw, du, db], strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)


def cell_with_cut_states(x, h_0, c_0, w, u, b):
    """The last cell and the product of the forget gates; what goes through U is a constant."""
    h, c, kept = h_0, c_0, 1.0
    for t in range(x.shape[1]):
        a = x[:, t] @ w.T + value_of(h) @ u.T + b
        f = sigmoid(a[:, H : 2 * H])
        c = f * c + sigmoid(a[:, :H]) * tanh(a[:, 2 * H : 3 * H])
        h, kept = sigmoid(a[:, 3 * H :]) * tanh(c), kept * f
    return c, kept


@pytest.mark.claim("neural.lstm-cell-path")
def test_the_path_through_cells_multiplies_by_forget_gates():
    arrays = operands(4, np.random.default_rng(12))
    x, h_0, c_0, w, u, b = arrays
    kept = cell_with_cut_states(*arrays)[1]
    move = np.random.default_rng(13).normal(size=(B, H))
    along_cells = jvp(lambda c: cell_with_cut_states(x, h_0, c, w, u, b)[0], (c_0,), (move,))[1]
    np.testing.assert_allclose(along_cells, kept * move, **CLOSE)
    assert np.all((kept > 0) & (kept < 1))
    all_paths = jvp(lambda c: lstm_sequence(x, h_0, c, w, u, b)[:, -1], (c_0,), (move,))[1]
    assert np.abs(all_paths - along_cells).max() > 1e-3
    # without U no other path is left
    arrays[4] = np.zeros_like(u)
    kept = cell_with_cut_states(*arrays)[1]
    all_paths = jvp(lambda c: lstm_sequence(x, h_0, c, w, arrays[4], b)[:, -1], (c_0,), (move,))[1]
    np.testing.assert_allclose(all_paths, kept * move, **CLOSE)


@pytest.mark.claim("neural.forget-bias")
@given(st.floats(-8, 8))
def test_how_long_a_forget_bias_remembers(b):
    n = 1 / np.log1p(np.exp(-b))
    assert float(sigmoid(np.float64(b))) ** n == pytest.approx(np.exp(-1), rel=1e-11)  # the exponent is up to 3000
    assert np.exp(b) < n < np.exp(b) + 1


@pytest.mark.claim("neural.forget-bias")
def test_a_layer_without_weights_forgets_at_that_pace():
    zero = np.zeros((4, 1))
    bias = np.array([0.0, 1.0, 0.0, 0.0])
    out = lstm_sequence(np.ones((1, 9, 1)), zero[:1], zero[:1] + 8, zero, zero, bias)
    assert out[0, -1, 0] == pytest.approx(8 / (1 + np.exp(-1)) ** 9, rel=1e-14)


# --- the layers


def test_first_parameters():
    rnn, lstm = (kind(D, H, rng=np.random.default_rng(0), dtype=np.float64) for kind in (RNN, LSTM))
    assert {n: p.shape for n, p in lstm.named_parameters().items()} == {
        "weight_ih": (4 * H, D),
        "weight_hh": (4 * H, H),
        "bias": (4 * H,),
    }
    for U in (rnn.weight_hh.data, *lstm.weight_hh.data.reshape(4, H, H)):
        np.testing.assert_allclose(U.T @ U, np.eye(H), atol=1e-14)  # a few roundings of ones
    assert rnn.bias.data.tolist() == [0] * H
    assert lstm.bias.data.tolist() == [0] * H + [1] * H + [0] * 2 * H
    assert RNN(D, H, rng=np.random.default_rng(0)).weight_hh.dtype == np.float32


@both
def test_a_layer_is_the_reference_with_its_parameters(kind):
    layer = (RNN if kind == "rnn" else LSTM)(D, H, rng=np.random.default_rng(1), dtype=np.float64)
    blocks, _, reference = KINDS[kind]
    x, *states, _, _, _ = operands(blocks, np.random.default_rng(2))
    parameters = [layer.weight_ih.data, layer.weight_hh.data, layer.bias.data]
    expected = reference(x, *states, *parameters)
    y, state = layer(x, states[0] if kind == "rnn" else tuple(states))
    np.testing.assert_allclose(y.data, expected[:, :T], **CLOSE)
    np.testing.assert_allclose(state if kind == "rnn" else state[0], expected[:, T - 1], **CLOSE)
    if kind == "lstm":
        np.testing.assert_allclose(state[1], expected[:, T], **CLOSE)


def test_a_state_that_is_a_tensor_gets_its_gradient():
    layer = LSTM(D, H, rng=np.random.default_rng(1), dtype=np.float64)
    h, c = (Tensor(np.zeros((B, H)), requires_grad=True) for _ in range(2))
    layer(np.ones((B, T, D)), (h, c))[0].sum().backward()
    assert np.abs(h.grad).min() > 0
    assert np.abs(c.grad).min() > 0


def test_a_layer_checks_out_as_a_function_of_its_parameters():
    layer = LSTM(2, 3, rng=np.random.default_rng(1), dtype=np.float64)
    x = np.random.default_rng(2).normal(size=(2, 3, 2))
    gradcheck(lambda state: (layer.functional(state, x)[0] ** 2).sum(), layer.state_dict())


def test_layers_stack_and_what_they_keep_does_not_alias():
    rng = np.random.default_rng(3)
    first, second = LSTM(D, H, rng=rng), RNN(H, 2, rng=rng)
    y, (h, c) = first(np.ones((B, T, D), np.float32))
    z, _ = second(y)
    assert h.base is None
    assert c.base is None
    z.sum().backward()
    assert all(p.grad is not None for p in (*first.parameters(), *second.parameters()))
    with no_grad():
        assert not first(np.ones((B, 1, D), np.float32))[0].requires_grad


@both
def test_no_text_at_all(kind):
    layer = {"rnn": RNN, "lstm": LSTM}[kind](D, H, rng=np.random.default_rng(1))
    x = Tensor(np.zeros((0, T, D), np.float32), requires_grad=True)
    layer(x)[0].sum().backward()
    assert x.grad.shape == (0, T, D)
    assert not any(p.grad.any() for p in layer.parameters())


@pytest.mark.usefixtures("_unchecked_shapes")
def test_a_state_without_its_cell():
    with pytest.raises(ValueError, match=r"before 3 texts has the shape \(3, 2\), got \(2,\)"):
        LSTM(3, 2, rng=np.random.default_rng(0))(np.zeros((3, 1, 3)), np.zeros((3, 2)))


@pytest.mark.usefixtures("_unchecked_shapes")
@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 4), (2, 0, 3), (2, 5, 3, 1)])
def test_inputs_of_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"LSTM takes texts of one step or more, of shape \(B, T, 3\), got"):
        LSTM(3, 2, rng=np.random.default_rng(0))(np.zeros(shape))


@pytest.mark.usefixtures("_unchecked_shapes")
def test_a_state_of_another_batch():
    rng = np.random.default_rng(0)
    for layer in (RNN(3, 2, rng=rng), LSTM(3, 2, rng=rng)):
        _, state = layer(np.zeros((2, 1, 3)))
        with pytest.raises(ValueError, match=r"before 5 texts has the shape \(5, 2\), got \(2, 2\). Begin with state="):
            layer(np.zeros((5, 1, 3)), state)


@pytest.mark.usefixtures("_unchecked_shapes")
@pytest.mark.parametrize("begins", [np.zeros((2, 2), bool), np.zeros((2, 3))])
def test_beginnings_that_do_not_fit(begins):
    with pytest.raises(ValueError, match=r"whether a sentence begins: booleans of shape \(2, 3\), got"):
        RNN(3, 2, rng=np.random.default_rng(0))(np.zeros((2, 3, 3)), begins=begins)


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0), (2, -1), (2.0, 3)])
@pytest.mark.usefixtures("_unchecked_shapes")
def test_sizes_that_are_none(sizes):
    with pytest.raises(ValueError, match="must be a whole number, one or more, got"):
        RNN(*sizes, rng=np.random.default_rng(0))
