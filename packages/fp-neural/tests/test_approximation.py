"""Mirrors src/fp_neural/approximation.py."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_neural.approximation import interpolating_network, piecewise_linear_network


def units(network):
    return network[0].weight.shape[0]


def value(network, x):
    return network(x[:, None]).data[:, 0]


def error(f, network, a, b, points=5001):
    x = np.linspace(a, b, points)
    return np.abs(f(x) - value(network, x)).max()


@pytest.mark.claim("neural.piecewise-linear")
@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.sets(st.integers(-30, 30), min_size=2, max_size=9), st.data())
def test_every_piecewise_linear_function_is_a_network(knots, data):
    knots = np.array(sorted(knots), float)
    values = np.array(data.draw(st.lists(st.integers(-20, 20), min_size=len(knots), max_size=len(knots))), float)
    network = piecewise_linear_network(knots, values)
    assert units(network) == len(knots) - 1
    x = np.linspace(knots[0], knots[-1], 997)
    # at most 8 units of slopes up to 80 and arguments up to 60
    np.testing.assert_allclose(value(network, x), np.interp(x, knots, values), atol=1e-10)
    np.testing.assert_allclose(value(network, knots), values, atol=1e-10)


@pytest.mark.claim("neural.piecewise-linear")
@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(-6, 6)), min_size=1, max_size=6))
def test_every_network_is_piecewise_linear_with_kinks_at_bends_only(parts):
    def N(x):
        return sum(v * np.maximum(0, w * x + beta) for v, w, beta in parts)

    bends = sorted({-beta / w for _, w, beta in parts if w and -10 < -beta / w < 10})
    assert len(bends) <= len(parts)
    for left, right in itertools.pairwise([-10.0, *bends, 10.0]):
        x = np.linspace(left, right, 11)
        np.testing.assert_allclose(N(x), np.interp(x, [left, right], N(np.array([left, right]))), atol=1e-9)


@pytest.mark.claim("neural.hidden-units")
@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_the_least_number_of_units(k):
    """
    Exhaustive over slopes and jumps in a small range: k units that bend at the k kinks, in every choice of sides, are
    fitted to f by least squares, and reach it exactly where (E3) has a solution.
    """
    kinks = np.arange(1, k + 1)
    x = np.linspace(0, k + 1, 4 * (k + 1) + 1)
    jumps = [d for d in (-2, -1, 1, 3) if d]
    for s_0 in range(-2, 3):
        for d in itertools.product(jumps, repeat=k):
            f = s_0 * x + sum(d_i * np.maximum(0, x - x_i) for d_i, x_i in zip(d, kinks, strict=True))
            solvable = any(s_0 + sum(S) == 0 for n in range(k + 1) for S in itertools.combinations(d, n))
            reached = False
            for side in itertools.product((-1, 1), repeat=k):
                columns = [np.maximum(0, w * (x - x_i)) for w, x_i in zip(side, kinks, strict=True)]
                A = np.stack([np.ones_like(x), *columns], axis=1)
                fit = A @ np.linalg.lstsq(A, f, rcond=None)[0]
                reached |= np.abs(fit - f).max() < 1e-9
            assert reached == solvable
            # k + 1 are always enough
            network = piecewise_linear_network(np.arange(k + 2.0), np.interp(np.arange(k + 2), x, f))
            assert units(network) == k + 1
            np.testing.assert_allclose(value(network, x), f, atol=1e-12)


@pytest.mark.claim("neural.lipschitz-approximation")
@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_error_for_bounded_slopes(n, seed):
    rng = np.random.default_rng(seed)
    a, L = -1.0, 3.0
    b = a + rng.uniform(0.5, 4)
    knots = np.sort(np.concatenate(([a, b], rng.uniform(a, b, 20))))
    values = np.concatenate(([0], np.cumsum(np.diff(knots) * rng.uniform(-L, L, 21))))

    def f(x):
        return np.interp(x, knots, values)

    network = interpolating_network(f, a, b, n)
    assert units(network) == n
    assert error(f, network, a, b, 2001) <= L * (b - a) / (2 * n) + 1e-12


@pytest.mark.claim("neural.lipschitz-approximation")
@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_bound_is_reached(n):
    def f(x):
        return 3 * np.abs(x * n - np.round(x * n)) / n

    assert error(f, interpolating_network(f, 0, 1, n), 0, 1, 2 * n + 1) == pytest.approx(3 / (2 * n), rel=1e-12)


@pytest.mark.claim("neural.smooth-approximation")
@pytest.mark.parametrize(
    ("f", "M", "a", "b"),
    [(np.sin, 1, 0, 7), (np.exp, math.e, -1, 1), (lambda x: -x * x, 2, -1, 2), (np.tanh, 0.77, -3, 3)],
)
@pytest.mark.parametrize("n", [1, 3, 20])
def test_the_error_for_bounded_second_slopes(f, M, a, b, n):
    bound = M * ((b - a) / n) ** 2 / 8
    assert error(f, interpolating_network(f, a, b, n), a, b) <= bound * (1 + 1e-9)


@pytest.mark.claim("neural.smooth-approximation")
def test_the_square_reaches_that_bound():
    assert error(np.square, interpolating_network(np.square, 0, 1, 4), 0, 1) == pytest.approx(2 / 16 / 8, rel=1e-12)


def pieces(f, a, b, half_epsilon, depth=0):
    """The proof as a program: the lengths of pieces on which f, seen at many points, varies by less."""
    x = np.linspace(a, b, 65)
    if np.ptp(f(x)) < half_epsilon:
        return [b - a]
    if depth == 40:
        return None
    middle = (a + b) / 2
    left = pieces(f, a, middle, half_epsilon, depth + 1)
    return left and (right := pieces(f, middle, b, half_epsilon, depth + 1)) and left + right


def wiggle(x):
    """Continuous at 0, where it has infinitely many turns."""
    return np.where(x == 0, 0.0, x * np.sin(1 / np.where(x == 0, 1.0, x)))


@pytest.mark.claim("neural.uniform-continuity")
@pytest.mark.parametrize("f", [np.sqrt, wiggle, np.exp])
@pytest.mark.parametrize("epsilon", [0.5, 0.05])
def test_one_width_serves_all_points(f, epsilon):
    lengths = pieces(f, 0.0, 1.0, epsilon / 2)
    assert sum(lengths) == pytest.approx(1, rel=1e-12)
    delta = min(lengths)
    x = np.linspace(0, 1, 10_001)
    for share in (0.1, 0.5, 0.999):
        y = np.minimum(x + share * delta, 1)
        assert np.abs(f(x) - f(y)).max() < epsilon


@pytest.mark.claim("neural.uniform-continuity")
def test_it_needs_the_closed_interval_and_continuity():
    with np.errstate(divide="ignore"):
        assert pieces(lambda x: 1 / np.where(x == 0, 2.0**-60, x), 0.0, 1.0, 0.5) is None
    assert pieces(lambda x: (x > 1 / 3).astype(float), 0.0, 1.0, 0.5) is None
    n = np.arange(1, 1000.0)  # 1/n and 1/(n+1) come near to each other, their inverses do not
    assert (np.abs(1 / (1 / (n + 1)) - 1 / (1 / n)) > 0.99).all()


@pytest.mark.claim("neural.universal-approximation")
@pytest.mark.parametrize("f", [np.sqrt, wiggle, lambda x: np.sin(9 * x) * np.sqrt(np.abs(x - 0.4))])
@pytest.mark.parametrize("epsilon", [0.5, 0.1])
def test_enough_units_reach_any_error(f, epsilon):
    """With the width of the proof, not with the first number of units that happens to do."""
    delta = min(pieces(f, 0.0, 1.0, epsilon / 2))
    n = math.floor(1 / delta) + 1
    assert error(f, interpolating_network(f, 0, 1, n), 0, 1, 3001) < epsilon


@pytest.mark.claim("neural.universal-approximation")
def test_a_jump_is_missed_by_half_of_it():
    def step(x):
        return np.where(x > math.sqrt(0.5), 1.0, 0.0)

    for n in (3, 100, 2000):
        network = interpolating_network(step, 0, 1, n)
        sides = np.nextafter(math.sqrt(0.5), [0, 1])
        assert np.abs(step(sides) - value(network, sides)).max() > 0.5 - 1e-9


def test_by_hand():
    """Slopes 1 and -1: the units are relu(x) and relu(x - 1), with the weights 1 and -2."""
    tent = piecewise_linear_network(np.array([0.0, 1.0, 2.0]), np.array([5.0, 6.0, 5.0]), dtype=np.float32)
    state = tent.state_dict()
    assert state["layers.0.bias"].tolist() == [0, -1]
    assert state["layers.2.weight"].tolist() == [[1, -2]]
    assert state["layers.2.bias"].tolist() == [5]
    assert tent(np.full((2, 3, 1), 0.5, np.float32)).shape == (2, 3, 1)
    assert state["layers.0.weight"].dtype == np.float32


@pytest.mark.parametrize(("a", "b", "n"), [(1, 1, 3), (2, 1, 3), (0, np.inf, 3), (np.nan, 1, 3), (0, 1, 0)])
def test_no_interval(shapes_unchecked, a, b, n):
    with pytest.raises(ValueError, match="finite ends a < b and at least one piece, got a = "):
        interpolating_network(np.sin, a, b, n)


def test_bad_knots(shapes_unchecked):
    with pytest.raises(ValueError, match="two or more knots that rise strictly"):
        piecewise_linear_network(np.array([0.0, 0.0]), np.zeros(2))
    with pytest.raises(ValueError, match="with a value for each"):
        piecewise_linear_network(np.array([0.0, 1.0]), np.zeros(3))
    with pytest.raises(ValueError, match="values have to be finite"):
        interpolating_network(lambda x: math.inf, 0, 1, 2)
