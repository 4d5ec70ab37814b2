"""Mirrors src/fp_neural/dropout.py."""

import itertools
import math

import numpy as np
import pytest

from fp_autograd import Tensor
from fp_neural.dropout import Dropout
from fp_neural.layers import Linear, Sequential

RNG = np.random.default_rng(11)
P = [0.1, 0.5, 0.9]


def all_masks(n, p):
    """Every outcome of (E1) with its probability."""
    for m in itertools.product((0.0, 1.0), repeat=n):
        kept = sum(m)
        yield (1 - p) ** kept * p ** (n - kept), np.array(m) / (1 - p)


def drop(p, seed=0):
    return Dropout(p, rng=np.random.default_rng(seed))


@pytest.mark.claim("neural.dropout-mean")
@pytest.mark.parametrize("p", P)
def test_mean_and_variance(p):
    """Exhaustive over all masks of five numbers."""
    x, w = RNG.normal(size=(2, 5))
    outcomes = list(all_masks(5, p))
    assert math.fsum(q for q, _ in outcomes) == pytest.approx(1, rel=1e-14)
    mean = sum(q * m * x for q, m in outcomes)
    np.testing.assert_allclose(mean, x, rtol=1e-13)
    np.testing.assert_allclose(sum(q * (m * x - x) ** 2 for q, m in outcomes), p / (1 - p) * x**2, rtol=1e-12)
    sums = [(q, w @ (m * x)) for q, m in outcomes]
    assert sum(q * s for q, s in sums) == pytest.approx(w @ x, rel=1e-12)
    variance = sum(q * (s - w @ x) ** 2 for q, s in sums)
    assert variance == pytest.approx(p / (1 - p) * (w**2 @ x**2), rel=1e-12)


@pytest.mark.claim("neural.dropout-ridge")
@pytest.mark.parametrize("p", P)
def test_dropout_is_a_price_on_weights(p):
    x, w = RNG.normal(size=(2, 5))
    b = 0.7
    mean = sum(q * (w @ (m * x) - b) ** 2 for q, m in all_masks(5, p))
    assert mean == pytest.approx((w @ x - b) ** 2 + p / (1 - p) * (w**2 @ x**2), rel=1e-12)


@pytest.mark.claim("neural.dropout-mean")
@pytest.mark.parametrize("p", P)
def test_what_is_drawn_has_that_distribution(p):
    """The number kept is off its mean by more than 5 deviations with a probability below 1e-6; the seed is fixed."""
    n = 40_000
    y = drop(p)(np.ones((200, 200)))
    assert set(np.unique(y)) == {0.0, 1 / (1 - p)}
    kept = np.count_nonzero(y)
    deviation = math.sqrt(n * p * (1 - p))
    assert abs(kept - n * (1 - p)) < 5 * deviation
    both = np.count_nonzero(y[:, 1:] * y[:, :-1])  # neighbours are independent
    pairs = 200 * 199
    q = (1 - p) ** 2
    assert abs(both - pairs * q) < 5 * math.sqrt(3 * pairs * q)  # each pair meets two others: at most three times


def test_nothing_is_dropped_in_use():
    x = Tensor(RNG.normal(size=(3, 5)), requires_grad=True)
    layer = drop(0.5)
    assert layer.eval()(x) is x
    assert drop(0.0)(x) is x
    assert layer.train()(x) is not x
    net = Sequential(Linear(5, 2, rng=RNG, dtype=np.float64), drop(0.5)).eval()
    np.testing.assert_array_equal(net(x).data, net(x).data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backward_drops_what_forward_dropped(dtype):
    x = Tensor(np.ones((7, 11), dtype), requires_grad=True)
    y = drop(0.3)(x)
    g = RNG.normal(size=(7, 11)).astype(dtype)
    y.backward(g)
    np.testing.assert_array_equal(x.grad, g * y.data)
    assert y.dtype == x.grad.dtype == dtype


def test_the_generator_decides():
    x = np.ones((5, 7))
    np.testing.assert_array_equal(drop(0.5, 3)(x), drop(0.5, 3)(x))
    assert (drop(0.5, 3)(x) != drop(0.5, 4)(x)).any()
    layer = drop(0.5)
    assert (layer(x) != layer(x)).any()  # a new draw for every call
    np.testing.assert_array_equal(drop(0.5)(x) > 0, drop(0.5)(x.astype(np.float32)) > 0)


@pytest.mark.parametrize("p", [1, -0.1, 1.5, float("nan")])
def test_a_rate_outside_of_its_range(p):
    with pytest.raises(ValueError, match=r"lies in \[0, 1\), got .*; what is to be kept with probability q has p = 1"):
        drop(p)
