"""Mirrors src/fp_neural/layers.py."""

import itertools

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import Tensor, gradcheck, vjp
from fp_neural.activations import ReLU, Tanh
from fp_neural.layers import Linear, Sequential, linear, reference_linear

RNG = np.random.default_rng(5)


def whole(*shape):
    """Whole numbers as floats: sums and products of a few of them are exact."""
    return RNG.integers(-9, 10, shape).astype(np.float64)


@pytest.mark.claim("neural.linear-gradient")
def test_cotangents_by_the_definition_of_the_transpose():
    """Exhaustive over the entries of all three: moving one by one changes g . y by its cotangent."""
    X, W, b, G = whole(2, 3), whole(5, 3), whole(5), whole(2, 5)
    _, pull = vjp(linear, X, W, b)
    dX, dW, db = pull(G)
    np.testing.assert_array_equal(dX, G @ W)
    np.testing.assert_array_equal(dW, G.T @ X)
    np.testing.assert_array_equal(db, G.sum(axis=0))
    for i, (array, cotangent) in enumerate([(X, dX), (W, dW), (b, db)]):
        for at in np.ndindex(array.shape):
            moved = [X.copy(), W.copy(), b.copy()]
            moved[i][at] += 1
            # (E1) is linear in each of the three, so a whole step is exact
            assert (G * (linear(*moved) - linear(X, W, b))).sum() == cotangent[at]


@pytest.mark.parametrize("lead", [(), (7,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("biased", [True, False])
def test_the_fused_form_is_the_reference(lead, biased):
    arrays = [whole(*lead, 5), whole(3, 5), whole(3)][: 2 + biased]
    ours, theirs = ([Tensor(a, requires_grad=True) for a in arrays] for _ in range(2))
    y, z = linear(*ours), reference_linear(*theirs)
    np.testing.assert_array_equal(y.data, z.data)
    g = whole(*lead, 3)
    y.backward(g)
    z.backward(g)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.grad, b.grad)
    gradcheck(linear, *(a / 9 for a in arrays))


@pytest.mark.claim("neural.linear-collapse")
@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 2**32 - 1))
def test_a_stack_is_one_layer(sizes, seed):
    rng = np.random.default_rng(seed)
    Ws = [rng.integers(-4, 5, (m, n)).astype(float) for n, m in itertools.pairwise(sizes)]
    bs = [rng.integers(-4, 5, len(W)).astype(float) for W in Ws]
    x = rng.integers(-4, 5, (3, sizes[0])).astype(float)
    y = x
    for W, b in zip(Ws, bs, strict=True):
        y = linear(y, W, b)

    def product(matrices):
        total = np.eye(sizes[-1])
        for W in reversed(matrices):
            total = total @ W
        return total

    b = bs[-1] + sum(product(Ws[i + 1 :]) @ bs[i] for i in range(len(Ws) - 1))
    np.testing.assert_array_equal(y, linear(x, product(Ws), b))  # whole numbers


@pytest.mark.claim("neural.narrow-layer")
@pytest.mark.parametrize(("n", "m", "out"), [(4, 1, 4), (5, 2, 3), (4, 3, 5), (3, 3, 3), (2, 4, 3)])
def test_a_narrow_layer_bounds_the_rank(n, m, out):
    P, Q = whole(m, n), whole(out, m)
    W = sympy.Matrix((Q @ P).astype(int))  # ranks and null vectors without rounding
    assert W.rank() <= m
    if m < n:
        v = np.array(W.nullspace()[0], dtype=float).ravel()
        assert np.abs(v).max() > 0
        model = Sequential(*(Linear(i, o, rng=RNG, dtype=np.float64) for i, o in ((n, m), (m, out))))
        model.load_state_dict(
            {"layers.0.weight": P, "layers.0.bias": whole(m), "layers.1.weight": Q, "layers.1.bias": whole(out)}
        )
        x = whole(n)
        np.testing.assert_allclose(model(x + 3 * v).data, model(x).data, atol=1e-9)  # v's entries are fractions
    else:
        assert sympy.Matrix(whole(out, n).astype(int)).rank() <= min(n, out)


@pytest.mark.claim("neural.narrow-layer")
def test_without_a_narrow_layer_the_rank_may_be_full():
    P, Q = np.eye(3, 4), np.eye(4, 3)
    assert np.linalg.matrix_rank(Q @ P) == 3  # the bound is met
    assert np.linalg.matrix_rank(np.eye(4)) == 4


def test_a_bend_undoes_the_collapse():
    """Exclusive-or, with the weights of `autograd.xor`."""
    net = Sequential(Linear(2, 2, rng=RNG), ReLU(), Linear(2, 1, rng=RNG))
    net.load_state_dict(
        {
            "layers.0.weight": np.ones((2, 2)),
            "layers.0.bias": np.array([0.0, -1.0]),
            "layers.2.weight": np.array([[1.0, -2.0]]),
            "layers.2.bias": np.zeros(1),
        }
    )
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    assert net(corners).data.ravel().tolist() == [0, 1, 1, 0]


def test_linear_by_hand():
    layer = Linear(2, 3, rng=RNG)
    layer.load_state_dict({"weight": np.array([[1, 2], [3, 4], [5, 6]]), "bias": np.array([10, 20, 30])})
    x = np.array([[1, -1]], np.float32)
    y = layer(x)
    assert y.data.tolist() == [[9, 19, 29]]
    assert y.dtype == np.float32
    y.backward(np.array([[1, 0, -1]], np.float32))
    assert layer.weight.grad.tolist() == [[1, -1], [0, 0], [-1, 1]]
    assert layer.bias.grad.tolist() == [1, 0, -1]


def test_first_weights():
    layer = Linear(400, 300, rng=np.random.default_rng(0), gain=3)
    # the deviation of 120,000 normal numbers is off by 1 in sqrt(240,000) of itself: five times that
    assert layer.weight.data.std() == pytest.approx(3 / 20, rel=5 / 489)
    assert abs(layer.weight.data.mean()) < 5 * 0.15 / 346
    assert not layer.bias.data.any()
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    again = Linear(400, 300, rng=np.random.default_rng(0), gain=3)
    np.testing.assert_array_equal(layer.weight.data, again.weight.data)


def test_without_bias():
    layer = Linear(3, 2, rng=RNG, bias=False, dtype=np.float64)
    assert list(layer.state_dict()) == ["weight"]
    assert layer.bias is None
    x = whole(4, 3)
    np.testing.assert_allclose(layer(x).data, x @ layer.weight.data.T, rtol=1e-14)


def test_a_frozen_layer_passes_the_gradient_on():
    layer = Linear(3, 2, rng=RNG, dtype=np.float64).freeze()
    x = Tensor(whole(4, 3), requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    np.testing.assert_allclose(x.grad, np.tile(layer.weight.data.sum(axis=0), (4, 1)), rtol=1e-14)


def test_the_wider_type_wins():
    x, w, b = whole(2, 3).astype(np.float32), whole(2, 3).astype(np.float32), np.array([1 / 3, 0])
    assert linear(x, w, b).dtype == np.float64
    assert linear(x, w, b.astype(np.float32)).dtype == np.float32


def test_what_came_in_is_not_written_to():
    x, w, b = whole(2, 3), whole(2, 3), whole(2)
    copies = x.copy(), w.copy(), b.copy()
    linear(x, w, b)
    for a, c in zip((x, w, b), copies, strict=True):
        np.testing.assert_array_equal(a, c)


def test_a_stack_of_layers():
    layers = [Linear(2, 3, rng=RNG), Tanh(), Linear(3, 1, rng=RNG)]
    net = Sequential(*layers)
    assert list(net) == net.layers == layers
    assert len(net) == 3
    assert net[-1] is layers[2]
    x = np.ones((5, 2), np.float32)
    np.testing.assert_array_equal(net(x).data, layers[2](layers[1](layers[0](x))).data)
    assert Sequential()(x) is x
    gradcheck(lambda state: net.astype(np.float64).functional(state, x.astype(float)), net.astype(float).state_dict())


def test_bad_input(shapes_unchecked):
    layer = Linear(3, 2, rng=RNG)
    with pytest.raises(ValueError, match=r"inputs whose last axis has the length 3, got the shape \(3, 2\)"):
        layer(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"got the shape \(\)"):
        layer(np.array(1.0))
    with pytest.raises(ValueError, match=r"one bias a row, got the shape \(3,\)"):
        linear(np.ones(3), np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match="at least one input and one output, got 0 and 2"):
        Linear(0, 2, rng=RNG)
    with pytest.raises(TypeError, match=r"number 0 is of type list: write Sequential\(a, b, c\), not a list"):
        Sequential([layer])
    with pytest.raises(TypeError, match="number 1 is of type ufunc"):
        Sequential(layer, np.tanh)
