"""Multi-head attention: the definition, its symmetries, its parameters, caches, and bad input."""

from itertools import pairwise

import numpy as np
import pytest
import sympy

from fp_attention.kv_cache import KVCache
from fp_attention.masks import Causal, First, Padding, SlidingWindow
from fp_attention.multihead import MultiHeadAttention
from fp_attention.positions import LearnedPositions, SinusoidalPositions
from fp_attention.relative import ALiBi, RelativeBias
from fp_attention.rotary import RoPE
from fp_autograd.checking import gradcheck
from fp_autograd.functional import grad
from fp_autograd.tensor import Tensor, no_grad
from fp_neural.module import Module, Parameter

EXACT = 1e-13  # products of at most a dozen numbers of size one in float64


def some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def layer(dim=12, n_heads=6, seed=0, **settings):
    return MultiHeadAttention(dim, n_heads, rng=np.random.default_rng(seed), dtype=np.float64, **settings)


POSITIONS = {
    "none": lambda: None,
    "sinusoidal": lambda: SinusoidalPositions(12),
    "learned": lambda: LearnedPositions(16, 12, rng=np.random.default_rng(5), std=1.0, dtype=np.float64),
    "rope": lambda: RoPE(2),
    "alibi": lambda: ALiBi(6),
    "relative": lambda: RelativeBias(6, 8, 16, rng=np.random.default_rng(6), dtype=np.float64),
}
EACH = pytest.mark.parametrize("kind", POSITIONS)


def weights(m):
    return [p.weight.data for p in (m.q_proj, m.k_proj, m.v_proj, m.o_proj)]


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.claim("attention.heads-add")
def test_a_layer_is_the_sum_of_its_heads():
    m, x, D = layer(n_kv_heads=3), some(2, 5, 12), 2
    Q, K, V, O = weights(m)
    expected = np.zeros((2, 5, 12))
    for h in range(6):
        rows, shared = slice(h * D, h * D + D), slice(h // 2 * D, h // 2 * D + D)
        M, N = Q[rows].T @ K[shared], O[:, rows] @ V[shared]
        assert np.linalg.matrix_rank(M) == np.linalg.matrix_rank(N) == D
        for b in range(2):
            P = softmax(np.where(np.tri(5, dtype=bool), x[b] @ M @ x[b].T / np.sqrt(D), -np.inf))
            expected[b] += P @ x[b] @ N.T
    assert np.allclose(m(x, mask=Causal()).data, expected, rtol=0, atol=EXACT)


@pytest.mark.claim("attention.heads-add")
def test_what_the_matrices_do_not_determine():
    m, x, A = layer(12, 1), some(1, 5, 12), some(12, 12, seed=9)
    before = m(x).data
    m.q_proj.weight.data = A @ m.q_proj.weight.data
    m.k_proj.weight.data = np.linalg.inv(A).T @ m.k_proj.weight.data
    assert np.allclose(m(x).data, before, rtol=0, atol=1e-11)  # A has the condition number 100 or so


@pytest.mark.claim("attention.heads-mixed")
def test_two_heads_do_what_one_cannot():
    own = np.array([[[True, False]] * 2, [[False, True]] * 2])  # head 1 sees token 0, head 2 token 1
    m = MultiHeadAttention(2, 2, rng=np.random.default_rng(0), d_head=1, dtype=np.float64, mask=own)
    m.v_proj.weight.data, m.o_proj.weight.data = np.eye(2), np.eye(2)
    x = some(5, 2, 2)
    assert np.allclose(m(x).data[:, 1], np.stack([x[:, 0, 0], x[:, 1, 1]], axis=1), rtol=1e-15)
    # one head: three x_0 with any weights p, q, r that are not zero, and x_1 = 0, leave N a second row of zeros
    c, d, p, q, r = sympy.symbols("c d p q r", nonzero=None)
    second = [p * c, q * (c + d), r * (c - 2 * d)]
    solutions = sympy.solve(second, [c, d], dict=True)
    assert solutions == [{c: 0, d: 0}]


@pytest.mark.claim("attention.grouped")
@pytest.mark.parametrize("tiled", [False, True])
def test_grouped_heads_are_equal_heads_and_gradients_add(tiled):
    shared, full, x = layer(n_kv_heads=2, tiled=tiled), layer(), some(2, 5, 12)
    full.q_proj.weight.data = shared.q_proj.weight.data
    full.o_proj.weight.data = shared.o_proj.weight.data

    def repeated(w):
        return w.reshape(2, 1, 2, 12).repeat(3, axis=1).reshape(12, 12)

    for name in ("k_proj", "v_proj"):
        getattr(full, name).weight.data = repeated(getattr(shared, name).weight.data)
    for m in (shared, full):
        y = m(x, mask=Causal())
        (y**2).sum().backward()
    assert np.allclose(shared(x, mask=Causal()).data, full(x, mask=Causal()).data, rtol=0, atol=EXACT)
    for name in ("k_proj", "v_proj"):
        alone = getattr(full, name).weight.grad.reshape(2, 3, 2, 12).sum(1).reshape(4, 12)
        assert np.allclose(getattr(shared, name).weight.grad, alone, rtol=1e-10, atol=1e-12)


@pytest.mark.claim("attention.head-count")
@pytest.mark.parametrize(("H", "Hkv"), [(1, 1), (4, 4), (4, 2), (8, 1)])
def test_parameters_and_multiplications(H, Hkv):
    C, T = 16, 5
    m = MultiHeadAttention(C, H, n_kv_heads=Hkv, rng=np.random.default_rng(0))
    G = H // Hkv
    assert m.n_parameters == C * C * (2 + 2 / G)
    D = C // H
    counted = sum(T * p.weight.size for p in (m.q_proj, m.k_proj, m.v_proj, m.o_proj)) + H * (T * D * T + T * T * D)
    assert counted == T * C * C * (2 + 2 / G) + 2 * T * T * C


@EACH
@pytest.mark.parametrize("tiled", [False, True])
def test_gradients_of_everything(kind, tiled):
    m = layer(n_kv_heads=3, positions=POSITIONS[kind](), mask=Causal(), bias=True, tiled=tiled)
    for p in m.parameters():
        if p.ndim == 1:
            p.data = some(*p.shape, seed=7)
    gradcheck(lambda x, state: m.functional(state, x), some(1, 3, 12), m.state_dict(), order=2 if not tiled else 1)


@EACH
@pytest.mark.parametrize("settings", [{}, {"n_kv_heads": 2}, {"n_kv_heads": 1, "tiled": True}])
def test_with_a_cache_it_is_the_same(kind, settings):
    m, x = layer(positions=POSITIONS[kind](), mask=Causal(), **settings), some(2, 7, 12)
    whole = m(x).data
    for cuts in ([0, 7], [0, 3, 4, 7], list(range(8))):
        cache = m.new_cache(2, 7)
        parts = [m(x[:, a:b], cache=cache).data for a, b in pairwise(cuts)]
        assert np.allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=EXACT)


@EACH
def test_with_a_cache_that_drops(kind):
    mask = SlidingWindow(2) | (Causal() & First(1))
    m, x = layer(positions=POSITIONS[kind](), mask=mask), some(2, 9, 12)
    cache = m.new_cache(2, 4, window=2, sinks=1)
    parts = [m(x[:, :2], cache=cache).data] + [m(x[:, t : t + 1], cache=cache).data for t in range(2, 9)]
    assert np.allclose(np.concatenate(parts, axis=1), m(x).data, rtol=0, atol=EXACT)
    plain = layer(positions=POSITIONS[kind](), mask=SlidingWindow(3))
    cache = plain.new_cache(2, 4, window=3)
    parts = [plain(x[:, a:b], cache=cache).data for a, b in ((0, 4), (4, 5), (5, 9))]
    assert np.allclose(np.concatenate(parts, axis=1), plain(x).data, rtol=0, atol=EXACT)


@EACH
def test_padding_changes_nothing_for_the_rest(kind):
    m, x = layer(positions=POSITIONS[kind](), mask=Causal()), some(2, 7, 12)
    valid = np.ones((2, 7), bool)
    valid[1, 5:] = False
    y = m(x, mask=Padding(valid)).data
    x[1, 5:] = 1e6
    assert np.allclose(m(x, mask=Padding(valid)).data[1, :5], y[1, :5], rtol=0, atol=EXACT)
    assert np.allclose(m(x[1:, :5]).data, y[1:, :5], rtol=0, atol=EXACT)


def test_cross_attention_reads_another_sequence():
    m, x, context = layer(12, 4, context_dim=5, d_head=3), some(2, 3, 12), some(2, 7, 5, seed=1)
    Q, K, V, O = weights(m)
    q, k, v = ((a @ w.T).reshape(2, -1, 4, 3).transpose(0, 2, 1, 3) for a, w in ((x, Q), (context, K), (context, V)))
    y = (softmax(q @ k.swapaxes(-1, -2) / np.sqrt(3)) @ v).transpose(0, 2, 1, 3).reshape(2, 3, 12)
    assert np.allclose(m(x, context).data, y @ O.T, rtol=0, atol=EXACT)
    order = np.random.default_rng(2).permutation(7)
    assert np.allclose(m(x, context[:, order]).data, m(x, context).data, rtol=0, atol=EXACT)
    gradcheck(lambda x, c, state: m.functional(state, x, c), x[:1], context[:1], m.state_dict(), order=1)


def test_an_array_masks_another_sequence_row_by_row():
    m, x, context = layer(), some(2, 3, 12), some(2, 7, 12, seed=1)
    allowed = np.random.default_rng(2).random((3, 7)) < 0.5
    allowed[:, 0] = True
    P = m.weights(x, context, mask=allowed)
    assert ((P > 0) == allowed).all()
    assert np.allclose(m(x, context, mask=allowed[::-1]).data[:, 0], m(x[:, :1], context, mask=allowed[2:]).data[:, 0])


def test_weights_are_those_that_are_used():
    m, x = layer(positions=RoPE(2), mask=Causal()), some(2, 5, 12)
    P = m.weights(x)
    assert P.shape == (2, 6, 5, 5) and np.allclose(P.sum(-1), 1) and (P[..., ~np.tri(5, dtype=bool)] == 0).all()
    v = (x @ m.v_proj.weight.data.T).reshape(2, 5, 6, 2).transpose(0, 2, 1, 3)
    y = (P @ v).transpose(0, 2, 1, 3).reshape(2, 5, 12) @ m.o_proj.weight.data.T
    assert np.allclose(m(x).data, y, rtol=0, atol=EXACT)


def test_dropout_in_training_alone():
    m, x = layer(dropout=0.5), some(2, 5, 12)
    one, other = m(x).data, m(x).data
    assert (one != other).any()
    m.eval()
    assert (m(x).data == m(x).data).all()
    a, b = (layer(dropout=0.5, seed=3, tiled=tiled)(x).data for tiled in (False, True))
    assert np.allclose(a, b, rtol=0, atol=EXACT)


def test_it_learns_to_look_at_the_token_before():
    rng = np.random.default_rng(0)
    m = MultiHeadAttention(8, 2, rng=rng, positions=RelativeBias(2, 8, 16, rng=rng), mask=Causal())
    x = rng.normal(size=(16, 9, 8)).astype(np.float32)
    losses = []
    for _ in range(150):
        m.zero_grad()
        error = m(x)[:, 1:] - x[:, :-1]
        loss = (error**2).mean()
        loss.backward()
        for p in m.parameters():
            p.data = p.data - 2.0 * p.grad
        losses.append(float(loss.data))
    assert losses[-1] < losses[0] / 3


def test_it_is_a_module_among_others():
    m = layer(positions=LearnedPositions(8, 12, rng=np.random.default_rng(0), dtype=np.float64), bias=True)
    assert list(m.state_dict()) == [
        "positions.weight",
        *(f"{part}_proj.{what}" for part in "qkvo" for what in ("weight", "bias")),
    ]
    assert isinstance(m, Module) and all(isinstance(p, Parameter) for p in m.parameters())
    assert m.astype(np.float32)(some(1, 3, 12).astype(np.float32)).data.dtype == np.float32


def test_no_gradient_is_lost_in_a_cache():
    m, x = layer(mask=Causal()), some(1, 3, 12)
    assert not m(x, cache=m.new_cache(1, 3)).requires_grad
    assert m(x).requires_grad
    with pytest.raises(ValueError, match="a gradient is asked for"):
        m(Tensor(x, requires_grad=True), cache=m.new_cache(1, 3))
    with pytest.raises(ValueError, match="a gradient is asked for"):
        grad(lambda x: m(x, cache=m.new_cache(1, 3)).sum())(x)
    with no_grad():
        m(Tensor(x, requires_grad=True), cache=m.new_cache(1, 3))


def test_nothing_is_dropped_with_a_cache():
    m, x = layer(mask=Causal(), dropout=0.5), some(1, 3, 12)
    assert (m(x, cache=m.new_cache(1, 3)).data == m(x, cache=m.new_cache(1, 3)).data).all()


def test_a_refused_call_leaves_the_cache_as_it_was():
    mask = SlidingWindow(2) | (Causal() & First(1))
    m, x = layer(mask=mask, positions=ALiBi(6, dtype=np.float64)), some(1, 9, 12)
    cache = m.new_cache(1, 20, window=2, sinks=1)
    whole = m(x).data
    for t in range(5):
        m(x[:, t : t + 1], cache=cache)
    for refused in (
        lambda: m(x[:, 5:7], cache=cache),
        lambda: m(x[:, 5:6], cache=cache, mask=Padding(np.ones((1, 3), bool))),
    ):
        with pytest.raises((ValueError, TypeError)):
            refused()
        assert cache.length == 5
    for t in range(5, 9):
        assert np.allclose(m(x[:, t : t + 1], cache=cache).data, whole[:, t : t + 1], rtol=0, atol=EXACT)


def test_a_cache_in_half_precision():
    m, x = layer(mask=Causal()).astype(np.float32), some(1, 5, 12).astype(np.float32)
    cache = KVCache(1, 6, 2, 5, dtype=np.float16)
    parts = [m(x[:, t : t + 1], cache=cache).data for t in range(5)]
    # keys and values rounded to ten bits
    assert np.allclose(np.concatenate(parts, axis=1), m(x).data, rtol=0, atol=0.01)


def test_positions_of_another_sequence_begin_at_zero_for_masks_too():
    m = layer(12, 2, positions=ALiBi(2), mask=Causal()).astype(np.float32)
    P = m.weights(np.zeros((1, 2, 12), np.float32), np.zeros((1, 6, 12), np.float32))
    assert (P[0, :, 0] == [1, 0, 0, 0, 0, 0]).all() and (P[0, :, 1, 2:] == 0).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dim": 12, "n_heads": 5}, "5 heads do not divide a width of 12"),
        ({"dim": 12, "n_heads": 6, "n_kv_heads": 4}, "n_kv_heads has to divide"),
        ({"dim": 0, "n_heads": 1}, "positive"),
        ({"dim": 12, "n_heads": 3, "n_kv_heads": 0}, "positive"),
        ({"dim": 12, "n_heads": 3, "dropout": 1.0}, "dropout"),
        ({"dim": 12, "n_heads": 3, "d_head": 0}, "positive"),
    ],
)
def test_bad_settings(settings, says, shapes_unchecked):
    with pytest.raises(ValueError, match=says):
        MultiHeadAttention(**settings, rng=np.random.default_rng(0))


def test_an_odd_head_cannot_be_turned():
    with pytest.raises(ValueError, match=r"odd|even"):
        RoPE(3)


def test_bad_calls(shapes_unchecked):
    m, x, padding = layer(mask=Causal()), some(2, 5, 12), Padding(np.ones((1, 5), bool))
    for call, says in (
        (lambda: m(x[0]), r"\(B, T, 12\)"),
        (lambda: m(x[..., :5]), r"\(B, T, 12\)"),
        (lambda: m(x, some(2, 5, 11)), r"\(B, T, 12\)"),
        (lambda: layer(context_dim=5)(x), "second argument"),
        (lambda: m(x, mask=np.ones((4, 4), bool)), "4"),
        (lambda: m(x, x, cache=m.new_cache(2, 5)), "either a cache or a context"),
        (lambda: m(x, cache=layer(mask=Causal()).new_cache(2, 5)), "made for another"),
        (lambda: m(x, cache=m.new_cache(2, 4)), "room for 4"),
        (lambda: m(x, cache=m.new_cache(1, 5)), "shape"),
        (lambda: m(x, cache=KVCache(2, 3, 4, 5, dtype=np.float64)), "shape"),
        (lambda: layer().new_cache(1, 5), "causal"),
        (lambda: m.new_cache(1, 5, window=3), "would drop"),
        (
            lambda: layer(mask=SlidingWindow(3) & padding).new_cache(1, 5, window=3),
            "cannot be told",
        ),
        (lambda: layer()(x, cache=KVCache(2, 6, 2, 5, dtype=np.float64)), "causal"),
        (lambda: m(np.zeros((2, 0, 12))), "one position"),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_other_things_than_caches_and_positions(shapes_unchecked):
    with pytest.raises(TypeError, match="made by new_cache"):
        layer(mask=Causal())(some(1, 2, 12), cache={})
    for wrong in ("rope", RoPE):
        with pytest.raises(TypeError, match=r"positions is an object such as RoPE\(2\)"):
            layer(positions=wrong)


def test_gradient_in_the_input():
    m, x = layer(positions=RoPE(2), mask=Causal()), some(1, 4, 12)
    dx = grad(lambda x: (m(x)[:, 1] ** 2).sum())(x)
    assert (dx[:, 2:] == 0).all() and (dx[:, :2] != 0).any()
