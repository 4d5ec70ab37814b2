"""Mirrors src/fp_neural/normalization.py."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from fp_autograd import Tensor, grad
from fp_autograd.checking import gradcheck
from fp_autograd.functional import jacobian, jvp, vjp
from fp_neural.normalization import BatchNorm1d, batch_norm, reference_batch_norm

CLOSE = {"rtol": 1e-11, "atol": 1e-12}  # sums of some dozen float64 numbers near one


def xhat_of(x, eps=1e-5):
    return batch_norm(x, np.ones(x.shape[-1]), np.zeros(x.shape[-1]), eps=eps)


def layer_input(shape=(7, 3), seed=0):
    rng = np.random.default_rng(seed)
    C = shape[-1]
    return rng.normal(size=shape) * 2 + 1, rng.normal(size=C), rng.normal(size=C)


def test_a_batch_by_hand():
    """Column one: mean 2, variance 1; column two: mean 3, variance 9."""
    x = np.array([[1.0, 0.0], [3.0, 6.0]])
    y = batch_norm(x, np.array([2.0, 1.0]), np.array([0.0, 10.0]), eps=3.0)
    # 1 / sqrt(1 + 3) = 1/2 and 1 / sqrt(9 + 3)
    np.testing.assert_allclose(y, [[-1, 10 - 3 / 12**0.5], [1, 10 + 3 / 12**0.5]], rtol=1e-15)


@pytest.mark.claim("neural.batchnorm-standard")
@pytest.mark.parametrize("eps", [1e-5, 1.0, 100.0])
@pytest.mark.parametrize("shape", [(2, 3), (7, 3), (5, 2, 3)])
def test_outputs_have_the_stated_mean_and_variance(shape, eps):
    x, weight, bias = layer_input(shape)
    rows = x.reshape(-1, 3)
    y = batch_norm(x, weight, bias, eps=eps).reshape(-1, 3)
    v = rows.var(axis=0)
    np.testing.assert_allclose(y.mean(axis=0), bias, **CLOSE)
    np.testing.assert_allclose(y.var(axis=0), weight**2 * v / (v + eps), **CLOSE)


@pytest.mark.claim("neural.batchnorm-invariance")
@given(st.floats(0.1, 10), st.sampled_from([-1, 1]), st.floats(-10, 10), st.integers(0, 1000))
def test_shift_and_scale_are_not_seen(size, sign, b, seed):
    x = np.random.default_rng(seed).normal(size=(5, 2))
    a, eps = sign * size, 0.01
    # 1e-10: a shift of 10 costs its share of digits in x - mean, and the variance of x may be small
    np.testing.assert_allclose(xhat_of(a * x + b, eps), sign * xhat_of(x, eps / a**2), rtol=1e-10, atol=1e-11)


def test_a_bias_before_it_has_no_gradient():
    rng = np.random.default_rng(1)
    u, W, t = rng.normal(size=(7, 5)), rng.normal(size=(3, 5)), rng.normal(size=(7, 3))
    slope = grad(lambda c: (xhat_of(u @ W.T + c) * t).sum())(np.zeros(3))
    np.testing.assert_allclose(slope, 0, atol=1e-14)  # seven roundings of numbers near one


@pytest.mark.claim("neural.scale-free-weights")
def test_weights_before_a_normalization_are_free_of_scale_and_grow():
    rng = np.random.default_rng(2)
    u, w, t = rng.normal(size=(7, 5)), rng.normal(size=5), rng.normal(size=(7, 1))

    def loss(w):  # eps so small that doubling w does not show
        return (xhat_of((u * w).sum(axis=1, keepdims=True), eps=1e-20) * t).sum()

    gradient = grad(loss)
    d = gradient(w)
    assert abs(d @ w) < 1e-12 * np.linalg.norm(d) * np.linalg.norm(w)  # each entry of d is off by some roundings
    assert np.linalg.norm(d) > 0.1
    np.testing.assert_allclose(gradient(3 * w), d / 3, rtol=1e-10)
    step = w - 0.7 * d
    assert step @ step == pytest.approx(w @ w + 0.49 * (d @ d), rel=1e-12)


@pytest.mark.claim("neural.batchnorm-backward")
def test_the_jacobian_by_algebra():
    N, eps = 3, sympy.symbols("epsilon", positive=True)
    x = sympy.symbols(f"x:{N}", real=True)
    mu = sum(x) / N
    v = sum((a - mu) ** 2 for a in x) / N
    r = 1 / sympy.sqrt(v + eps)
    xhat = [(a - mu) * r for a in x]
    for n, m in product(range(N), repeat=2):
        stated = r * (int(n == m) - sympy.Rational(1, N) - xhat[n] * xhat[m] / N)
        assert sympy.simplify(sympy.diff(xhat[n], x[m]) - stated) == 0


@pytest.mark.claim("neural.batchnorm-backward")
@pytest.mark.parametrize("shape", [(2, 3), (7, 3), (5, 2, 3)])
def test_the_fused_operation_is_the_reference_and_right(shape):
    x, weight, bias = layer_input(shape)
    rng = np.random.default_rng(3)
    g, tangents = rng.normal(size=shape), tuple(rng.normal(size=a.shape) for a in (x, weight, bias))
    y, back = vjp(batch_norm, x, weight, bias)
    y_reference, back_reference = vjp(reference_batch_norm, x, weight, bias)
    np.testing.assert_allclose(y, y_reference, **CLOSE)
    for ours, theirs in zip(back(g), back_reference(g), strict=True):
        np.testing.assert_allclose(ours, theirs, **CLOSE)
    forward = [jvp(f, (x, weight, bias), tangents)[1] for f in (batch_norm, reference_batch_norm)]
    np.testing.assert_allclose(*forward, **CLOSE)
    gradcheck(batch_norm, x, weight, bias)  # both modes, first and second order


@pytest.mark.claim("neural.batchnorm-backward")
def test_the_jacobian_is_symmetric():
    x = np.random.default_rng(4).normal(size=(5, 1))
    J = jacobian(xhat_of)(x).reshape(5, 5)
    np.testing.assert_allclose(J, J.T, **CLOSE)


@pytest.mark.claim("neural.batchnorm-gradient")
@pytest.mark.parametrize("eps", [1e-9, 1.0])
def test_the_gradient_is_orthogonal_to_shifts_and_to_stretching(eps):
    x, weight, bias = layer_input((11, 3))
    g = np.random.default_rng(5).normal(size=x.shape)
    dx, dweight, _ = vjp(lambda *operands: batch_norm(*operands, eps=eps), x, weight, bias)[1](g)
    v, xhat = x.var(axis=0), xhat_of(x, eps)
    np.testing.assert_allclose(dx.sum(axis=0), 0, atol=1e-13)  # eleven roundings of numbers near one
    stated = weight / np.sqrt(v + eps) * eps / (v + eps) * dweight
    np.testing.assert_allclose((dx * xhat).sum(axis=0), stated, rtol=1e-11, atol=1e-13)


@pytest.mark.claim("neural.batch-variance")
@pytest.mark.parametrize("N", [2, 3, 4])
def test_the_batch_variance_over_all_batches(N):
    """Exactly: every batch of N draws from a population of three, with unequal chances."""
    values, chances = [Fraction(0), Fraction(1), Fraction(5)], [Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)]
    mean = sum(p * a for p, a in zip(chances, values, strict=True))
    variance = sum(p * (a - mean) ** 2 for p, a in zip(chances, values, strict=True))
    expected = Fraction(0)
    for batch in product(range(3), repeat=N):
        chance, x = np.prod([chances[i] for i in batch]), [values[i] for i in batch]
        mu = sum(x) / N
        expected += chance * sum((a - mu) ** 2 for a in x) / N
    assert expected == Fraction(N - 1, N) * variance


@pytest.mark.claim("neural.running-average")
@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0])
def test_running_averages_are_weighted_means(momentum):
    layer, rng = BatchNorm1d(2, momentum=momentum, dtype=np.float64), np.random.default_rng(6)
    batches = [rng.normal(size=(5, 2)) for _ in range(7)]
    for batch in batches:
        layer(batch)
    weights = [momentum * (1 - momentum) ** k for k in range(7)][::-1]
    rest = (1 - momentum) ** 7
    assert sum(weights) == pytest.approx(1 - rest, rel=1e-14)
    mean = sum(w * b.mean(axis=0) for w, b in zip(weights, batches, strict=True))
    var = sum(w * b.var(axis=0, ddof=1) for w, b in zip(weights, batches, strict=True))
    np.testing.assert_allclose(layer.running_mean, mean + rest * 0, **CLOSE)
    np.testing.assert_allclose(layer.running_var, var + rest * 1, **CLOSE)


@pytest.mark.claim("neural.running-average")
def test_the_bias_of_the_average_is_the_starting_value_s_share():
    """Batches that are all alike: what is missing is (1 - m)^t of the way from the start."""
    layer, batch = BatchNorm1d(1, momentum=0.3, dtype=np.float64), np.array([[4.0], [6.0]])
    for t in range(1, 9):
        layer(batch)
        assert layer.running_mean[0] - 5 == pytest.approx(0.7**t * (0 - 5), rel=1e-12)
        assert layer.running_var[0] - 2 == pytest.approx(0.7**t * (1 - 2), rel=1e-12)


def test_in_use_each_row_is_by_itself_and_nothing_is_updated():
    layer, rng = BatchNorm1d(3, dtype=np.float64), np.random.default_rng(7)
    layer(rng.normal(size=(5, 3)) + 2)
    layer.weight.data[:] = [1.0, 2.0, -1.0]
    layer.bias.data[:] = [0.0, 0.5, 3.0]
    layer.eval()
    before, x = layer.state_dict(), rng.normal(size=(4, 2, 3))
    y = layer(x).data
    for i, j in product(range(4), range(2)):
        np.testing.assert_allclose(layer(x[i : i + 1, j]).data[0], y[i, j], **CLOSE)
    stated = (x - before["running_mean"]) / np.sqrt(before["running_var"] + layer.eps)
    np.testing.assert_allclose(y, stated * before["weight"] + before["bias"], **CLOSE)
    assert all(np.array_equal(a, before[name]) for name, a in layer.state_dict().items())


def test_gradients_of_the_layer_in_both_modes_of_use():
    x = np.random.default_rng(8).normal(size=(5, 3))
    layer = BatchNorm1d(3, dtype=np.float64)
    parameters = {"weight": np.array([1.0, -2.0, 0.5]), "bias": np.array([0.0, 1.0, 2.0])}
    gradcheck(lambda p, x: layer.functional(p, x), parameters, x)
    layer.eval()
    gradcheck(lambda p, x: layer.functional(p, x), parameters, x)


def test_a_lent_state_is_not_written_to_and_not_kept():
    layer = BatchNorm1d(2, dtype=np.float64)
    state = layer.state_dict()
    lent = {name: a.copy() for name, a in state.items()}
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    layer.functional(lent, x)
    grad(lambda s: layer.functional(s, x).sum())(lent)
    assert all(np.array_equal(lent[name], a) for name, a in state.items())
    assert all(np.array_equal(a, state[name]) for name, a in layer.state_dict().items())


def test_single_precision_stays_single_and_is_accurate_far_from_zero():
    rng = np.random.default_rng(9)
    x = (rng.normal(size=(256, 5)) + 100).astype(np.float32)
    layer = BatchNorm1d(5)
    y = layer(Tensor(x, requires_grad=True))
    y.sum().backward()
    assert {a.dtype.name for a in layer.state_dict().values()} == {"float32"} == {y.dtype.name}
    # the mean of 256 numbers near 100 is off by some units of 100 * 6e-8, and so is every difference from it
    np.testing.assert_allclose(y.data, reference_batch_norm(x.astype(np.float64), np.ones(5), np.zeros(5)), atol=2e-4)


def test_whole_numbers_are_normalized_as_their_values():
    x = np.array([[1, 5], [3, 5], [9, 5]])  # the second feature is constant: its variance is zero, and eps is needed
    np.testing.assert_array_equal(BatchNorm1d(2)(x).data, BatchNorm1d(2)(x.astype(np.float64)).data)


def test_the_state_has_pytorch_s_names():
    assert list(BatchNorm1d(3).state_dict()) == ["weight", "bias", "running_mean", "running_var"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"n": 0}, "at least one feature, got n = 0"),
        ({"n": 3, "momentum": 0.0}, r"in \(0, 1\], got 0.0"),
        ({"n": 3, "momentum": 1.5}, r"in \(0, 1\], got 1.5"),
        ({"n": 3, "eps": 0.0}, "positive, got 0.0"),
        ({"n": 3, "eps": float("nan")}, "positive, got nan"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        BatchNorm1d(**settings)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 3), (0, 3)])
def test_a_batch_of_one_is_refused_in_training_and_served_in_use(shape):
    layer = BatchNorm1d(3)
    before = layer.state_dict()
    with pytest.raises(ValueError, match=r"single row.*call eval\(\)" if shape[0] else "row"):
        layer(np.ones(shape, np.float32))
    assert all(np.array_equal(a, before[name]) for name, a in layer.state_dict().items())
    assert layer.eval()(np.ones(shape, np.float32)).shape == shape


@pytest.mark.parametrize("shape", [(3,), (5, 2), (5, 3, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_wrong_shapes(shape, training):
    with pytest.raises(ValueError, match="Features are the last axis"):
        BatchNorm1d(3).train(training)(np.ones(shape, np.float32))


def test_weight_and_bias_of_different_sizes():
    with pytest.raises(ValueError, match=r"got shapes \(3,\) and \(2,\)"):
        batch_norm(np.ones((5, 3)), np.ones(3), np.ones(2))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_does_not_reach_the_averages(bad):
    layer, x = BatchNorm1d(3), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    x[2, 1] = bad
    with pytest.raises(ValueError, match="feature 1"), np.errstate(invalid="ignore"):
        layer(x)
    assert np.isfinite(layer.running_mean).all()
