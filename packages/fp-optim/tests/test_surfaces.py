"""Mirrors src/fp_optim/surfaces.py."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.parsing.sympy_parser import (
    convert_xor,
    implicit_multiplication,
    parse_expr,
    rationalize,
    standard_transformations,
)

from fp_optim.adagrad import AdaGrad
from fp_optim.lion import Lion
from fp_optim.momentum import Momentum, Nesterov
from fp_optim.optimizer import SGD
from fp_optim.surfaces import BEALE, BOWL, RAVINE, ROSENBROCK, SURFACES, TWO_WELLS, contours, trajectory, turned

each = pytest.mark.parametrize("surface", SURFACES.values(), ids=SURFACES)
x, y = sympy.symbols("x y", real=True)


def formula(surface):
    rules = (*standard_transformations, implicit_multiplication, convert_xor, rationalize)
    return parse_expr(surface.formula, local_dict={"x": x, "y": y}, transformations=rules)


def test_there_is_one_for_every_name():
    assert list(SURFACES) == ["bowl", "ravine", "turned ravine", "saddle", "Rosenbrock", "Beale"]
    assert all(surface.name == name for name, surface in SURFACES.items())


@pytest.mark.parametrize("surface", [BOWL, RAVINE, TWO_WELLS, ROSENBROCK, BEALE], ids=lambda surface: surface.name)
def test_the_functions_are_those_of_the_formula(surface):
    f = formula(surface)
    gradient = [sympy.diff(f, v) for v in (x, y)]
    hessian = [[sympy.diff(g, v) for v in (x, y)] for g in gradient]
    points = np.random.default_rng(0).uniform(-2, 2, size=(5, 2))
    for part, symbolic in ((surface.f, f), (surface.grad, gradient), (surface.hessian, hessian)):
        by_hand = np.array([np.array(sympy.lambdify((x, y), symbolic)(*point)) for point in points])
        np.testing.assert_allclose(part(points), by_hand, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(part(points[0]), by_hand[0], rtol=1e-11, atol=1e-11)  # one point alone


@each
def test_gradients_and_hessians_are_slopes(surface):
    h = 1e-5
    for w in np.random.default_rng(1).uniform(-1.5, 1.5, size=(7, 2)):
        for direction in (np.array([1.0, 0.0]), np.array([0.6, -0.8])):
            slope = (surface.f(w + h * direction) - surface.f(w - h * direction)) / (2 * h)
            bend = (surface.grad(w + h * direction) - surface.grad(w - h * direction)) / (2 * h)
            # third slopes of up to ten thousand, times h^2 / 6
            assert surface.grad(w) @ direction == pytest.approx(slope, abs=1e-5)
            np.testing.assert_allclose(surface.hessian(w) @ direction, bend, atol=1e-5)


@each
def test_minimisers_and_the_picture(surface):
    (left, right), (low, high) = surface.domain
    assert (right - left) / (high - low) == pytest.approx(1.4)  # a circle is drawn round
    for point in (*surface.minimisers, surface.start):
        assert left < point[0] < right and low < point[1] < high
    grid = np.stack(np.meshgrid(np.linspace(left, right, 201), np.linspace(low, high, 201)), -1)
    assert (surface.f(grid) >= surface.minimum - 1e-15).all()
    for point in surface.minimisers:
        w = np.array(point)
        assert surface.f(w) == pytest.approx(surface.minimum, abs=1e-25)
        assert abs(surface.grad(w)).max() < 1e-12
        assert np.linalg.eigvalsh(surface.hessian(w)).min() > 0
    assert surface.f(np.array(surface.start)) > surface.minimum + 0.5


def stationary(f):
    solutions = sympy.solve([sympy.diff(f, x), sympy.diff(f, y)], [x, y], dict=True)
    return {(s[x], s[y]) for s in solutions}


@pytest.mark.claim("optim.two-wells")
def test_the_two_wells_and_the_saddle():
    f = formula(TWO_WELLS)
    assert stationary(f) == {(0, 0), (0, 1), (0, -1)}
    assert sympy.hessian(f, (x, y)).subs({x: 0, y: 0}).eigenvals() == {1: 1, -1: 1}
    assert TWO_WELLS.minimisers == ((0.0, 1.0), (0.0, -1.0)) and TWO_WELLS.f(np.zeros(2)) > 0


@pytest.mark.claim("optim.saddle-leave")
@settings(max_examples=25)  # of up to two thousand steps
@given(st.floats(0.02, 0.5), st.floats(1e-9, 1.0), st.floats(-2, 2))
def test_gradient_descent_leaves_the_saddle_after_the_time_of_the_claim(lr, height, side):
    n_steps = int(40 / lr)
    path = trajectory(TWO_WELLS, lambda p: SGD(p, lr=lr), n_steps, start=(side, height))
    assert (np.diff(path[:, 1]) >= 0).all() and path[:, 1].max() <= 1 + 1e-15
    np.testing.assert_allclose(path[-1], [0, 1], atol=1e-6)
    arrived = int(np.argmax(path[:, 1] >= 0.5))
    assert arrived >= math.log(1 / (2 * height)) / math.log(1 + lr) * (1 - 1e-9)


@pytest.mark.claim("optim.saddle-leave")
def test_on_the_ridge_it_walks_into_the_saddle():
    path = trajectory(TWO_WELLS, lambda p: SGD(p, lr=0.5), 200, start=(-1.7, 0.0))
    assert not path[:, 1].any() and abs(path[-1, 0]) < 1e-50


@pytest.mark.claim("optim.rosenbrock")
def test_rosenbrock_has_one_critical_point():
    f = formula(ROSENBROCK)
    assert stationary(f) == {(1, 1)} and f.subs({x: 1, y: 1}) == 0
    hessian = sympy.hessian(f, (x, y))
    root = sympy.sqrt(250601)
    assert set(hessian.subs({x: 1, y: 1}).eigenvals()) == {501 + root, 501 - root}
    assert hessian.subs({x: 0, y: 1})[0, 0] == -398


@pytest.mark.claim("optim.beale")
def test_beale_has_one_zero_and_a_saddle_where_its_level_lines_cross():
    residuals = [
        c - x * (1 - y**i)
        for i, c in ((1, sympy.Rational(3, 2)), (2, sympy.Rational(9, 4)), (3, sympy.Rational(21, 8)))
    ]
    assert sympy.solve(residuals, [x, y], dict=True) == [{x: 3, y: sympy.Rational(1, 2)}]
    f = formula(BEALE)
    assert sympy.expand(f - sum(r**2 for r in residuals)) == 0
    assert sympy.simplify(f.subs(x, 0)) == sympy.simplify(f.subs(y, 1)) == sympy.Rational("14.203125")
    at = {x: 0, y: 1}
    assert sympy.diff(f, x).subs(at) == sympy.diff(f, y).subs(at) == 0
    assert set(sympy.hessian(f, (x, y)).subs(at).eigenvals()) == {sympy.Rational("27.75"), -sympy.Rational("27.75")}


@pytest.mark.claim("optim.turned-paths")
@pytest.mark.parametrize("rule", [SGD, Momentum, Nesterov, lambda p, lr: Momentum(p, lr, dampening=0.3)])
@pytest.mark.parametrize("surface", [RAVINE, TWO_WELLS], ids=lambda surface: surface.name)
def test_turning_the_surface_turns_the_path(rule, surface):
    degrees = 37
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    Q = np.array([[c, -s], [s, c]])
    straight, oblique = (trajectory(f, lambda p: rule(p, lr=0.1), 50) for f in (surface, turned(surface, degrees)))
    np.testing.assert_allclose(oblique, straight @ Q.T, atol=1e-9)  # fifty steps of rounding


@pytest.mark.claim("optim.turned-paths")
def test_rules_for_single_coordinates_do_not_turn():
    sign = trajectory(turned(RAVINE, 45), lambda p: Lion(p, lr=0.1), 1)
    assert np.linalg.norm(sign[1] - sign[0]) == pytest.approx(math.sqrt(2) * 0.1)  # whatever the gradient
    level = trajectory(RAVINE, lambda p: Lion(p, lr=0.1), 1, start=(1.0, 0.0))
    assert np.linalg.norm(level[1] - level[0]) == pytest.approx(0.1)
    ends = [
        surface.f(trajectory(surface, lambda p: AdaGrad(p, lr=1.0), 50)[-1]) for surface in (RAVINE, turned(RAVINE, 45))
    ]
    assert ends[0] < 1e-3 * ends[1]


def test_a_turned_surface_knows_its_minimum():
    oblique = turned(ROSENBROCK, 30)
    (point,) = oblique.minimisers
    assert oblique.f(np.array(point)) < 1e-25 and math.hypot(*point) == pytest.approx(math.sqrt(2))
    assert oblique.f(np.array(oblique.start)) == pytest.approx(ROSENBROCK.f(np.array(ROSENBROCK.start)))


def test_a_path_holds_the_start_and_stops_before_it_is_lost():
    path = trajectory(RAVINE, lambda p: SGD(p, lr=0.5), 7)
    assert path.shape == (8, 2) and tuple(path[0]) == RAVINE.start
    assert trajectory(BOWL, lambda p: SGD(p, lr=0.5), 0).tolist() == [list(BOWL.start)]
    lost = trajectory(BEALE, lambda p: SGD(p, lr=1.0), 100, start=(4.0, 3.0))
    assert len(lost) < 5 and abs(lost).max() <= 1e6
    with pytest.raises(ValueError, match="n_steps must not be negative, got -1"):
        trajectory(BOWL, lambda p: SGD(p, lr=0.5), -1)


@each
def test_contour_lines_lie_where_the_surface_has_their_value(surface):
    lines = contours(surface, n_levels=5)
    assert list(lines) == sorted(lines) and len(lines) == 5
    (left, right), (low, high) = surface.domain
    for level, parts in lines.items():
        points = np.concatenate([np.array(part) for part in parts])
        assert left <= points[:, 0].min() and points[:, 0].max() <= right
        assert low <= points[:, 1].min() and points[:, 1].max() <= high
        # between two grid points a bent function is off by its curvature times the spacing squared over eight
        spacing = (right - left) / 120
        bend = np.abs(np.linalg.eigvalsh(surface.hessian(points))).max()
        assert abs(surface.f(points) - level).max() <= 1.2 * bend * spacing**2 / 8
