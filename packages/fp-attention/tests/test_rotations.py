"""Mirrors src/fp_attention/rotations.py."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.rotations import circle_sum, turn

few = settings(max_examples=25, derandomize=True, deadline=None)
angles = st.floats(-20, 20)
CLOSE = {"rtol": 0, "atol": 1e-13}  # a few roundings of numbers up to 1, and of angles up to 40, which are off by 1e-15


def walk(angle, steps):
    """Where the walk (E1) ends, in short chords of one length: each point is the one before last, reflected."""
    h = angle / steps
    c = 1 - h**2 / 2  # the dot product of neighbours at the distance h
    before, p = np.array([1.0, 0.0]), np.array([c, math.copysign(math.sqrt(1 - c**2), h)])
    for _ in range(steps - 1):
        before, p = p, 2 * c * p - before
    return p


def u(a):
    return np.array([math.cos(a), math.sin(a)])


@pytest.mark.claim("attention.turn-rigid")
@few
@given(angles, st.tuples(*[st.floats(-3, 3)] * 4))
def test_a_turn_keeps_distances_dot_products_and_the_sense(a, numbers):
    p, q = np.array(numbers[:2]), np.array(numbers[2:])
    R = turn(a)
    np.testing.assert_allclose(R.T @ R, np.eye(2), **CLOSE)
    assert np.linalg.norm(R @ p - R @ q) == pytest.approx(np.linalg.norm(p - q), abs=1e-13)
    assert (R @ p) @ (R @ q) == pytest.approx(p @ q, abs=1e-13)
    wedge = lambda p, q: p[0] * q[1] - p[1] * q[0]  # noqa: E731
    assert wedge(R @ p, R @ q) == pytest.approx(wedge(p, q), abs=1e-13)
    np.testing.assert_array_equal(R.T, turn(-a))


@pytest.mark.claim("attention.turn-rigid")
def test_a_turn_is_rigid_in_symbols():
    c, p1, p2, q1, q2 = sympy.symbols("c p1 p2 q1 q2", real=True)
    for s in (sympy.sqrt(1 - c**2), -sympy.sqrt(1 - c**2)):
        R = sympy.Matrix([[c, -s], [s, c]])
        assert sympy.simplify(R.T * R) == sympy.eye(2)
        x, y = R * sympy.Matrix([p1, p2]), R * sympy.Matrix([q1, q2])
        assert sympy.simplify(x[0] * y[1] - x[1] * y[0] - (p1 * q2 - p2 * q1)) == 0


@pytest.mark.claim("attention.turn-sum")
def test_turns_add_exactly_at_multiples_of_fifteen_degrees():
    """Exhaustive over 24 x 24 pairs, in exact roots."""
    points = [(sympy.cos(k * sympy.pi / 12).expand(), sympy.sin(k * sympy.pi / 12).expand()) for k in range(24)]
    for a in range(24):
        for b in range(a, 24):
            (ca, sa), (cb, sb), (c, s) = points[a], points[b], points[(a + b) % 24]
            assert (ca * cb - sa * sb - c).expand() == 0
            assert (sa * cb + ca * sb - s).expand() == 0


@pytest.mark.claim("attention.turn-sum")
@few
@given(angles, angles)
def test_turns_add_and_commute(a, b):
    np.testing.assert_allclose(turn(a) @ turn(b), turn(a + b), **CLOSE)
    np.testing.assert_allclose(turn(a) @ turn(b), turn(b) @ turn(a), **CLOSE)
    np.testing.assert_allclose(turn(a) @ u(b), u(a + b), **CLOSE)
    np.testing.assert_allclose(turn(a) @ turn(-a), np.eye(2), **CLOSE)
    x, y = np.array([2.0, -0.5]), np.array([0.3, 1.0])
    assert (turn(a) @ x) @ (turn(b) @ y) == pytest.approx(x @ turn(b - a) @ y, abs=1e-13)


@pytest.mark.claim("attention.turn-sum")
@pytest.mark.parametrize("angle", [0.5, 2.0, -1.0, 7.0])
def test_a_walk_in_short_steps_ends_where_the_sine_says(angle):
    """Chords of length h are short of their arcs by h**3 / 24 at most; a thousand steps of 0.007 lose 2e-5."""
    np.testing.assert_allclose(walk(angle, 1000), turn(angle) @ [1, 0], atol=2e-5)


@pytest.mark.claim("attention.angle-between")
@few
@given(st.floats(0, 3), st.floats(0, 3), angles, angles, angles)
def test_the_dot_product_of_turned_points_is_a_cosine(r, t, alpha, beta, a):
    x, y = r * u(alpha), t * u(beta)
    # lengths up to 3, and angles up to 60, each off by 1e-14
    assert x @ turn(a) @ y == pytest.approx(r * t * math.cos(a + beta - alpha), abs=3e-13)
    angle = math.atan2(x[1], x[0])
    np.testing.assert_allclose(np.hypot(*x) * u(angle), x, atol=1e-14)


@pytest.mark.claim("attention.cosine-sum")
@few
@given(angles, st.floats(0.01, 6.27), st.integers(1, 60))
def test_the_sum_in_closed_form(start, step, n):
    points = np.array([u(start + k * step) for k in range(n)])
    # angles up to 400 are off by 3e-14, in each of 60 terms; dividing by sin(step / 2) > 0.005 costs more
    np.testing.assert_allclose(circle_sum(start, step, n), points.sum(0), atol=1e-9)
    length = np.hypot(*points.sum(0))
    assert length <= 1 / abs(math.sin(step / 2)) + 1e-9
    if step <= math.pi:
        assert length <= math.pi / step + 1e-9


@pytest.mark.claim("attention.cosine-sum")
def test_the_sum_telescopes_in_symbols():
    psi, phi = sympy.symbols("psi phi", real=True)
    for n in (1, 2, 5):
        for f in (sympy.cos, sympy.sin):
            left = 2 * sympy.sin(phi / 2) * sum(f(psi + k * phi) for k in range(n))
            right = 2 * sympy.sin(n * phi / 2) * f(psi + (n - 1) * phi / 2)
            assert sympy.simplify((left - right).rewrite(sympy.exp).expand()) == 0


@pytest.mark.claim("attention.cosine-sum")
def test_the_bound_by_half_a_turn_is_nearly_reached():
    """Half of the way around: the points of a half circle add up to 1 / sin(step / 2)."""
    n = 1000
    length = np.hypot(*circle_sum(0.0, math.pi / n, n))
    assert length == pytest.approx(1 / math.sin(math.pi / n / 2), rel=1e-12)
    assert length > 2 / math.pi * n * 0.999  # and pi / step = n is not much more


def test_the_sum_of_a_step_of_whole_turns():
    np.testing.assert_allclose(circle_sum(0.5, 2 * math.pi, 7), 7 * u(0.5), rtol=1e-14)
    np.testing.assert_allclose(circle_sum(0.5, -4 * math.pi, 7), 7 * u(0.5), rtol=1e-14)
    np.testing.assert_array_equal(circle_sum(0.5, 1.0, 0), [0, 0])
    np.testing.assert_allclose(circle_sum(0.5, 1.0, 1), u(0.5), rtol=1e-14)


@pytest.mark.claim("attention.cosine-falls")
def test_the_cosine_falls_over_half_a_turn():
    grid = np.cos(np.linspace(0, np.pi, 5001))
    assert (np.diff(grid) < 0).all()
    assert grid[0] == 1
    assert grid[-1] == -1
    a, b = np.random.default_rng(0).uniform(-9, 9, (2, 1000))
    assert (np.hypot(np.cos(a) - np.cos(b), np.sin(a) - np.sin(b)) <= np.abs(a - b) + 1e-15).all()


def test_bad_input(shapes_unchecked):
    with pytest.raises(ValueError, match="finite number of radians, got inf"):
        turn(math.inf)
    with pytest.raises(ValueError, match=r"got start=0\.0, step=1\.0 and n=-1"):
        circle_sum(0.0, 1.0, -1)
    with pytest.raises(ValueError, match="finite angles"):
        circle_sum(math.nan, 1.0, 3)
