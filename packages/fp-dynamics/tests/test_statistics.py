"""Mirrors src/fp_dynamics/statistics.py."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from fp_autograd import Tensor
from fp_autograd.rules import relu
from fp_dynamics.statistics import THIN, activation_statistics, doubled_share
from fp_neural.activations import gelu, silu
from fp_optim import SGD, AdamW

rng = np.random.default_rng(0)


@pytest.mark.claim("dynamics.dead-unit")
def test_no_gradient_passes_a_dead_unit_and_it_stays_dead():
    x = rng.uniform(0, 1, size=(7, 3))
    W, b, U = rng.normal(size=(3, 5)), np.zeros(5), rng.normal(size=(5, 2))
    b[[1, 4]] = -100.0
    b[4] = -(x @ W[:, 4]).max()  # exactly at the corner for one input
    W0, b0 = W[:, [1, 4]].copy(), b[[1, 4]].copy()
    for _ in range(4):
        weights = {
            "W": Tensor(W, requires_grad=True),
            "b": Tensor(b, requires_grad=True),
            "U": Tensor(U, requires_grad=True),
        }
        inputs = Tensor(x, requires_grad=True)
        h = relu(inputs @ weights["W"] + weights["b"])
        ((h @ weights["U"]) ** 2).sum().backward()
        alive = [0, 2, 3]
        assert not weights["W"].grad[:, [1, 4]].any() and not weights["b"].grad[[1, 4]].any()
        assert not weights["U"].grad[[1, 4]].any()
        assert weights["W"].grad[:, alive].any(axis=0).all()
        without = Tensor(x, requires_grad=True)
        ((relu(without @ W[:, alive] + b[alive]) @ U[alive]) ** 2).sum().backward()
        np.testing.assert_allclose(inputs.grad, without.grad, rtol=1e-12)  # sums in another order
        for a, p in ((W, weights["W"]), (b, weights["b"]), (U, weights["U"])):
            a -= 1e-3 * p.grad
        np.testing.assert_array_equal(W[:, [1, 4]], W0)
        np.testing.assert_array_equal(b[[1, 4]], b0)


@pytest.mark.claim("dynamics.saturated-slope")
def test_slopes_of_saturated_units_are_at_most_what_is_left():
    d = sp.Symbol("delta", nonnegative=True)
    assert sp.expand(2 * d - (1 - (1 - d) ** 2) - d**2) == 0  # 1 - t^2 falls with t, and at t = 1 - delta it is below
    for delta in np.linspace(0, 1, 21):
        tanh = np.linspace(1 - delta, 1, 50)
        assert (1 - tanh**2 <= 2 * delta + 1e-15).all()
        for s in (np.linspace(0, delta, 50), np.linspace(1 - delta, 1, 50)):
            assert (s * (1 - s) <= delta + 1e-15).all()
    x = Tensor(np.array([3.0]), requires_grad=True)
    y = x
    for _ in range(3):
        y = (y * 3.0).tanh()
    y.backward()
    slopes, u = [], 3.0
    for _ in range(3):
        u = np.tanh(3 * u)
        slopes.append(1 - u * u)
        assert slopes[-1] <= 2 * (1 - u) + 1e-15
    assert x.grad[0] == pytest.approx(np.prod(slopes) * 27, rel=1e-9)


@pytest.mark.claim("dynamics.symmetric-units")
@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_units_that_begin_equal_stay_equal(optimizer):
    W, U = np.full((3, 4), 0.3), np.full((4, 2), 0.5)
    W[:, 3], U[3] = rng.normal(size=3), rng.normal(size=2)  # the last one is another
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    steps = optimizer({"W": W, "U": U}, lr=0.05)
    for _ in range(12):
        w, u = Tensor(W, requires_grad=True), Tensor(U, requires_grad=True)
        (((x @ w).tanh() @ u - y) ** 2).mean().backward()
        # equal up to the order in which the matrix product adds
        np.testing.assert_allclose(w.grad[:, 0], w.grad[:, 2], rtol=1e-9, atol=1e-12)
        steps.step({"W": w.grad, "U": u.grad})
    np.testing.assert_allclose(W[:, :3], W[:, :1] * np.ones(3), rtol=1e-9)
    np.testing.assert_allclose(U[:3], U[:1] * np.ones((3, 1)), rtol=1e-9)
    assert np.abs(W[:, 3] - W[:, 0]).max() > 0.1 and np.abs(W[:, 0] - 0.3).max() > 0.05  # and they did learn


def test_by_hand_for_each_activation():
    x = np.array([[-1.0, 2.0, -3.0], [-2.0, -2.0, 4.0]])
    relu = activation_statistics("relu", x)
    assert relu["dead_share"] == pytest.approx(1 / 3) and relu["zero_share"] == pytest.approx(4 / 6)
    assert relu["activation_mean"] == pytest.approx(1.0)
    assert activation_statistics("relu", np.zeros((2, 1)))["dead_share"] == 1  # at the corner the slope is zero
    edge = np.array([[2.17, 2.19]])  # artanh of the root of 0.95 is 2.178; the sigmoid's argument is twice that
    assert activation_statistics("tanh", edge)["saturated_share"] == 0.5
    assert activation_statistics("sigmoid", -2 * edge)["saturated_share"] == 0.5
    tanh = activation_statistics("tanh", np.array([[9.0, 0.1], [-9.0, 9.0]]))
    assert (tanh["saturated_share"], tanh["dead_share"]) == (0.75, 0.5)
    sigmoid = activation_statistics("sigmoid", np.array([[-9.0, 0.0], [9.0, 3.0]]))
    assert (sigmoid["saturated_share"], sigmoid["dead_share"]) == (0.5, 0.5)
    for kind, shut in (("silu", -2.95), ("gelu", -1.65)):  # where the gates are 0.05: -ln 19 and the normal quantile
        gate = activation_statistics(kind, np.array([[shut, shut + 0.02], [shut, 9.0]]))
        assert (gate["closed_share"], gate["open_share"], gate["dead_share"]) == (0.5, 0.25, 0.5)


@pytest.mark.parametrize(("kind", "function"), [("silu", silu), ("gelu", lambda x: gelu(x, "tanh"))])
def test_what_came_out_is_the_activation(kind, function):
    x = rng.normal(size=(5, 3, 7))
    found = activation_statistics(kind, x)
    assert found["activation_mean"] == pytest.approx(function(x).mean(), rel=1e-9)
    assert found["activation_std"] == pytest.approx(function(x).std(), rel=1e-9)
    gated = activation_statistics(kind, x, 3 * x)
    assert gated["activation_std"] == pytest.approx(3 * x.std()) and gated["gate_mean"] == found["gate_mean"]


@given(st.integers(1, 40), st.sampled_from(["relu", "tanh", "sigmoid", "silu", "gelu"]))
def test_more_inputs_never_make_more_units_dead(n, kind):
    x = np.random.default_rng(n).normal(-1, 3, size=(n + 1, 11))
    shares = [activation_statistics(kind, x[:k])["dead_share"] for k in (n, n + 1)]
    assert 0 <= shares[1] <= shares[0] <= 1


def test_a_network_that_overflows_can_be_described():
    found = activation_statistics("gelu", np.array([[np.inf, 1e300], [-1e300, np.nan]]))
    assert np.isnan(found["activation_mean"])
    assert activation_statistics("silu", np.float32([[-1e30, 1e30]]))["closed_share"] == 0.5


def test_doubled_rows_are_counted():
    assert doubled_share(rng.normal(size=(5, 3))) == 0
    assert doubled_share(np.ones((4, 3))) == 0.75


def test_bad_input_is_refused(shapes_unchecked):
    with pytest.raises(ValueError, match="activations known here are gelu, relu, sigmoid, silu, tanh; got 'selu'"):
        activation_statistics("selu", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"at least one entry, got an array of shape \(0, 3\)"):
        activation_statistics("relu", np.ones((0, 3)))
    assert THIN == 0.05
