"""Mirrors src/fp_neural/initialization.py."""

import math
from itertools import pairwise, product

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from fp_neural.initialization import (
    gain,
    he_normal,
    initial_loss_bounds,
    orthogonal,
    xavier_normal,
    xavier_uniform,
)
from fp_neural.losses import cross_entropy
from fp_neural.spectra import orthonormalize

CLOSE = {"rtol": 1e-12, "atol": 1e-13}  # a few dozen roundings of numbers near one


def all_matrices(shape, values):
    """Every matrix with entries among some values."""
    n = shape[0] * shape[1]
    return np.array(list(product(values, repeat=n)), float).reshape(-1, *shape)


def four_standard_errors(samples):
    """A mean of so many independent samples is off by more with probability 6e-5; the seeds are fixed."""
    return 4 * samples.std() / len(samples) ** 0.5


@pytest.mark.claim("neural.layer-lengths")
@pytest.mark.parametrize("values", [(-1.0, 1.0), (-2.0, 1.0, 1.0)])
def test_lengths_through_one_layer_over_all_weights(values):
    """Exactly, over all matrices with entries of mean zero, symmetric or not, for inputs of dependent entries."""
    s2 = np.mean(np.square(values))
    W = all_matrices((2, 3), values)
    inputs = np.array([[1.0, 1.0, -2.0], [3.0, 0.0, 0.5]])  # drawn evenly, independent of W
    y = np.einsum("wij,xj->wxi", W, inputs).reshape(-1, 2)
    mean_square = np.mean(np.sum(inputs**2, axis=1))
    np.testing.assert_allclose(np.mean(y**2, axis=0), s2 * mean_square, **CLOSE)
    np.testing.assert_allclose(np.mean(y[:, 0] * y[:, 1]), 0, **CLOSE)
    np.testing.assert_allclose(np.mean(np.sum(y**2, axis=1)), 2 * s2 * mean_square, **CLOSE)
    g = np.array([0.7, -2.0])
    back = np.einsum("wij,i->wj", W, g)
    np.testing.assert_allclose(np.mean(np.sum(back**2, axis=1)), 3 * s2 * (g @ g), **CLOSE)


@pytest.mark.claim("neural.xavier")
def test_the_two_factors_by_algebra():
    n_in, n_out, s2 = sympy.symbols("n_in n_out s2", positive=True)
    f, b = n_in * s2, n_out * s2
    assert sympy.solve([f - 1, b - 1, n_in - n_out - 1], [s2, n_in, n_out], dict=True) == []
    (found,) = sympy.solve(f - 1 - (1 - b), s2)
    assert sympy.simplify(found - 2 / (n_in + n_out)) == 0
    fb = (f * b).subs(s2, found)
    assert sympy.factor(1 - fb) == (n_in - n_out) ** 2 / (n_in + n_out) ** 2


@pytest.mark.claim("neural.xavier")
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=9))
def test_backward_factors_of_fan_in_telescope(widths):
    factors = [n_out * (1 / n_in) for n_in, n_out in pairwise(widths)]
    assert math.prod(factors) == pytest.approx(widths[-1] / widths[0], rel=1e-14)  # at most 16 roundings


def rectified(weights, x, t):
    """Output and Jacobian-vector product of a network of rectifiers, for stacks of weights."""
    h, v = np.broadcast_to(x, (len(weights[0]), len(x))), np.broadcast_to(t, (len(weights[0]), len(t)))
    for W in weights:
        z = np.einsum("wij,wj->wi", W, h)
        h, v = np.maximum(z, 0), (z > 0) * np.einsum("wij,wj->wi", W, v)
    return h, v


def all_signs(magnitudes):
    """Every choice of signs of the entries of some matrices, as stacks of matrices."""
    sizes = [m.size for m in magnitudes]
    signs = np.array(list(product([-1.0, 1.0], repeat=sum(sizes))))
    parts = np.split(signs, np.cumsum(sizes)[:-1], axis=1)
    return [part.reshape(-1, *m.shape) * m for part, m in zip(parts, magnitudes, strict=True)]


@pytest.mark.claim("neural.relu-lengths")
def test_rectified_lengths_over_all_weights():
    """Exactly: weights of -1 and 1, two layers, 1024 networks."""
    x = np.array([1.0, 0.3])
    h, _ = rectified(all_signs([np.ones((3, 2)), np.ones((2, 3))]), x, x)
    np.testing.assert_allclose(np.mean(np.sum(h**2, axis=1)), (x @ x) * (3 / 2) * (2 / 2), **CLOSE)


@pytest.mark.claim("neural.relu-gradients")
def test_rectified_slopes_over_all_signs():
    """
    Given the sizes of all weights, the signs alone halve the mean square at each layer; no sum of three is zero.

    Sizes differ, since with equal ones some sums vanish; so the product of (E2) is taken with the squares of each.
    """
    rng = np.random.default_rng(0)
    sizes = [rng.uniform(0.5, 1.5, (3, 2)), rng.uniform(0.5, 1.5, (2, 3))]
    x, t = np.array([1.0, 0.3]), np.array([-0.4, 0.9])
    _, v = rectified(all_signs(sizes), x, t)
    stated = np.sum(sizes[1] ** 2 / 2 @ (sizes[0] ** 2 / 2 @ t**2))
    np.testing.assert_allclose(np.mean(np.sum(v**2, axis=1)), stated, **CLOSE)


@pytest.mark.claim("neural.relu-gradients")
@pytest.mark.claim("neural.relu-lengths")
def test_deep_rectified_networks_keep_lengths_and_gradients_in_the_mean():
    """Widths that differ, He's variance: the mean square of the output is the input's, and gradients have length 1."""
    rng, widths, n = np.random.default_rng(1), [3, 7, 2, 5], 60_000
    weights = [rng.standard_normal((n, n_out, n_in)) * (2 / n_in) ** 0.5 for n_in, n_out in pairwise(widths)]
    x = np.array([1.0, -2.0, 0.5])
    columns = []
    for t in np.eye(3):
        h, v = rectified(weights, x, t)
        columns.append(v)
    squares = np.mean(h**2, axis=1)
    assert squares.mean() == pytest.approx(np.mean(x**2), abs=four_standard_errors(squares))
    J = np.stack(columns, axis=2)
    for i in range(widths[-1]):
        lengths = np.sum(J[:, i] ** 2, axis=1)
        assert lengths.mean() == pytest.approx(1, abs=four_standard_errors(lengths))
    along = np.sum((J @ np.array([0.6, 0.0, 0.8])) ** 2, axis=1)
    assert along.mean() == pytest.approx(5 / 3, abs=four_standard_errors(along))  # (E2): the product of n_l / n_{l-1}


@pytest.mark.claim("neural.gaussian-moments")
def test_moments_of_normal_numbers_by_algebra():
    z, a = sympy.symbols("z a", real=True)
    density = sympy.exp(-(z**2) / 2) / sympy.sqrt(2 * sympy.pi)

    def mean(f):
        return sympy.simplify(sympy.integrate(f * density, (z, -sympy.oo, sympy.oo)))

    assert [mean(z**k) for k in range(3)] == [1, 0, 1]
    assert sympy.simplify(mean(sympy.exp(a * z)) - sympy.exp(a**2 / 2)) == 0


@pytest.mark.claim("neural.gaussian-moments")
def test_a_sum_of_normal_numbers_has_the_moments_of_one():
    c, a = np.array([0.6, -0.3, 0.2]), 0.8
    samples = np.exp(a * (np.random.default_rng(2).standard_normal((100_000, 3)) @ c))
    assert samples.mean() == pytest.approx(math.exp(a * a * (c @ c) / 2), abs=four_standard_errors(samples))


SHAPES = {
    "linear": lambda z: z,
    "relu": lambda z: z if z > 0 else mpmath.mpf(0),
    "tanh": mpmath.tanh,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "gelu": lambda z: z * mpmath.ncdf(z),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_gains_against_another_quadrature(name):
    phi = SHAPES[name]
    mean_square = mpmath.quad(lambda z: phi(z) ** 2 * mpmath.npdf(z), [-12, -3, 0, 3, 12])
    assert gain(name) == pytest.approx(float(1 / mpmath.sqrt(mean_square)), rel=1e-9)  # midpoints at relu's corner


@pytest.mark.claim("neural.gain")
@pytest.mark.parametrize("name", ["relu", "tanh", "silu"])
def test_the_gain_keeps_the_mean_square(name):
    """For inputs that depend on each other too; and the spread over layers of n falls as stated."""
    rng, n, draws = np.random.default_rng(3), 5, 200_000
    phi = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh, "silu": lambda z: z / (1 + np.exp(-z))}[name]
    g = gain(name)
    independent = rng.standard_normal((draws, n))
    shared = np.repeat(independent[:, :1], n, axis=1)
    for z in (independent, shared):
        w = rng.choice([-1.0, 1.0], (draws, n)) * g / n**0.5
        y2 = np.sum(w * phi(z), axis=1) ** 2
        assert y2.mean() == pytest.approx(1, abs=four_standard_errors(y2))
    q = g**2 * np.mean(phi(independent) ** 2, axis=1)  # of y, given the inputs
    deviations = (q - 1) ** 2
    tau2 = float(
        mpmath.quad(
            lambda z: (SHAPES[name](z) ** 2 - 1 / mpmath.mpf(g) ** 2) ** 2 * mpmath.npdf(z), [-12, -3, 0, 3, 12]
        )
    )
    assert deviations.mean() == pytest.approx(g**4 * tau2 / n, abs=four_standard_errors(deviations))


@pytest.mark.claim("neural.orthogonal-weights")
@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (1, 5)])
def test_orthogonal_weights_keep_lengths(shape):
    rng = np.random.default_rng(4)
    Q = orthogonal(shape, rng, dtype=np.float64)
    n_out, n_in = shape
    assert Q.shape == shape
    u, v = rng.normal(size=(2, n_in))
    g, k = rng.normal(size=(2, n_out))
    if n_out >= n_in:
        np.testing.assert_allclose((Q @ u) @ (Q @ v), u @ v, **CLOSE)
        P = orthogonal((n_out + 2, n_out), rng, dtype=np.float64)
        np.testing.assert_allclose(np.linalg.norm(P @ Q @ u), np.linalg.norm(u), **CLOSE)
    if n_out <= n_in:
        np.testing.assert_allclose((Q.T @ g) @ (Q.T @ k), g @ k, **CLOSE)
        basis = orthogonal((n_in, n_in), rng, dtype=np.float64)
        np.testing.assert_allclose(np.mean(np.sum((Q @ basis) ** 2, axis=0)), n_out / n_in, **CLOSE)


def test_orthogonal_weights_are_gram_schmidt_of_normal_numbers():
    expected = orthonormalize(np.random.default_rng(5).standard_normal((7, 4)))
    tall = orthogonal((7, 4), np.random.default_rng(5), dtype=np.float64)
    wide = orthogonal((4, 7), np.random.default_rng(5), 3.0, np.float64)
    np.testing.assert_allclose(tall, expected, **CLOSE)
    np.testing.assert_allclose(wide, 3 * expected.T, **CLOSE)


def test_orthogonal_weights_prefer_no_sign():
    """Of one row of two: each of the four signs of (x, y) as often, up to four standard errors."""
    rng = np.random.default_rng(6)
    signs = np.array([np.sign(orthogonal((2, 2), rng)[:, 0]) for _ in range(2000)]) @ [2, 1]
    for pattern in (-3, -1, 1, 3):
        assert abs((signs == pattern).mean() - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5


@pytest.mark.claim("neural.first-loss")
@pytest.mark.parametrize("V", [1, 2, 27])
def test_equal_logits_cost_ln_V(V):
    for target in range(V):
        loss = cross_entropy(np.full((1, V), 1.7), np.array([target]))
        assert float(loss) == pytest.approx(math.log(V), abs=1e-14)


def expected_loss(V, s):
    """By quadrature: Gauss-Hermite sums of 60 points for each of V logits (V = 2 or 3)."""
    x, w = np.polynomial.hermite_e.hermegauss(60)
    w = w / w.sum()
    grids = np.meshgrid(*[s * x] * V, indexing="ij")
    weights = np.prod(np.meshgrid(*[w] * V, indexing="ij"), axis=0)
    return float(np.sum(np.log(np.sum(np.exp(grids), axis=0)) * weights))


@pytest.mark.claim("neural.first-loss")
@pytest.mark.parametrize("V", [2, 3])
@pytest.mark.parametrize("s", [0.01, 0.1, 0.3, 1.0, 2.0])
def test_the_expected_first_loss_lies_between_its_bounds(V, s):
    low, high = initial_loss_bounds(V, s)
    assert low <= expected_loss(V, s) <= high + 1e-12  # the sum of the weights is rounded
    for t in (0.2, 0.5, 0.9, 1.0):
        assert expected_loss(V, s) <= math.log(V) / t + t * s * s / 2 + 1e-12


@pytest.mark.claim("neural.first-loss")
@pytest.mark.parametrize(("V", "s"), [(27, 1.0), (65, 1.0), (1000, 1.0), (1000, 0.5), (65, 4.0)])
def test_the_sampled_first_loss_lies_between_its_bounds(V, s):
    z = s * np.random.default_rng(7).standard_normal((20_000, V))
    m = z.max(axis=1)
    losses = m + np.log(np.sum(np.exp(z - m[:, None]), axis=1)) - z[:, 0]
    low, high = initial_loss_bounds(V, s)
    error = four_standard_errors(losses)
    assert low - error <= losses.mean() <= high + error
    if (V, s) == (1000, 1.0):  # where the two are near
        assert high - low < 0.005


@pytest.mark.claim("neural.first-loss")
def test_the_mean_of_the_square_by_algebra():
    """(E6), from the moment generating function alone: each mean is e^(s^2 q / 2)."""
    s2 = sympy.symbols("s2", positive=True)
    for V in (2, 3, 5):

        def mean(exponents, V=V):
            """Of the exponential of the sum of these logits, less the mean of all."""
            coefficients = [exponents.count(i) - sympy.Rational(1, V) for i in range(V)]
            return sympy.exp(s2 * sum(c**2 for c in coefficients) / 2)

        square = sum(mean((i, k)) for i in range(V) for k in range(V)) * sympy.exp(-s2) / V**2
        single = sum(mean((i,)) for i in range(V)) * sympy.exp(-s2 / 2) / V
        c = s2 / V
        stated = sympy.exp(c / 2) * ((1 - sympy.exp(-c)) ** 2 + sympy.exp(-2 * c) * (sympy.exp(s2) - 1) / V)
        assert sympy.simplify(sympy.expand(square - 2 * single + mean(()) - stated)) == 0


@pytest.mark.claim("neural.first-loss")
def test_bounds_of_a_confident_start():
    """Beyond s = sqrt(2 ln V) the upper bound is s sqrt(2 ln V), linear; below it is ln V + s^2 / 2."""
    V = 27
    edge = math.sqrt(2 * math.log(V))
    assert initial_loss_bounds(V, 10.0)[1] == pytest.approx(10 * edge, rel=1e-14)
    assert initial_loss_bounds(V, edge / 2)[1] == pytest.approx(math.log(V) + edge**2 / 8, rel=1e-14)
    assert initial_loss_bounds(V, edge)[1] == pytest.approx(edge**2, rel=1e-14)
    assert initial_loss_bounds(V, 1e6)[0] == math.log(V)
    assert initial_loss_bounds(V, 0)[0] == initial_loss_bounds(V, 0)[1] == math.log(V)


@pytest.mark.parametrize(
    ("draw", "variance"),
    [
        (xavier_normal, 2 / 800),
        (xavier_uniform, 2 / 800),
        (lambda shape, rng, **more: xavier_normal(shape, rng, 3.0, **more), 9 * 2 / 800),
        (lambda shape, rng, **more: xavier_uniform(shape, rng, 3.0, **more), 9 * 2 / 800),
        (he_normal, 2 / 500),
    ],
)
def test_variances_and_kinds_of_number(draw, variance):
    W = draw((300, 500), np.random.default_rng(8))
    assert W.dtype == np.float32 and W.shape == (300, 500)
    # the variance of 150,000 squares of normal numbers is 2, of even ones less
    assert W.astype(float).var() == pytest.approx(variance, rel=4 * (2 / 150_000) ** 0.5)
    assert abs(W.mean()) < 4 * (variance / 150_000) ** 0.5
    double = draw((300, 500), np.random.default_rng(8), dtype=np.float64)
    np.testing.assert_array_equal(double.astype(np.float32), W)


@pytest.mark.parametrize("draw", [xavier_normal, xavier_uniform, he_normal, orthogonal])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (-1, 2)])
def test_sizes_below_one(draw, shape):
    with pytest.raises(ValueError, match=r"\(n_out, n_in\), both at least one"):
        draw(shape, np.random.default_rng(0))


@pytest.mark.parametrize("draw", [xavier_normal, xavier_uniform, orthogonal])
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_gains_that_are_none(draw, bad):
    with pytest.raises(ValueError, match="a gain is a positive number"):
        draw((2, 3), np.random.default_rng(0), bad)


def test_activations_without_a_gain():
    with pytest.raises(ValueError, match="one of linear, relu, tanh, sigmoid, gelu, silu, or a function, got 'swish'"):
        gain("swish")
    with pytest.raises(ValueError, match=r"mean square 0\.0"):
        gain(lambda z: 0 * z)


def test_bad_settings_of_the_first_loss():
    with pytest.raises(ValueError, match="at least one token, got vocab_size = 0"):
        initial_loss_bounds(0, 1.0)
    with pytest.raises(ValueError, match=r"not negative, got -1.0"):
        initial_loss_bounds(5, -1.0)
