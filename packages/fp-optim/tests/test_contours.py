"""Mirrors src/fp_optim/_contours.py."""

import numpy as np
import pytest

from fp_optim._contours import contour_lines

X, Y = np.linspace(-2, 2, 41), np.linspace(-1.5, 1.5, 31)
x, y = np.meshgrid(X, Y)


def test_one_cell_by_hand():
    values = np.array([[0.0, 4.0], [0.0, 4.0]])
    assert contour_lines(values, np.array([0.0, 1.0]), np.array([0.0, 1.0]), 1.0) == [[(0.25, 0.0), (0.25, 1.0)]]


def test_a_ring_is_closed_and_round():
    (ring,) = contour_lines(np.hypot(x, y), X, Y, 0.97)
    assert ring[0] == ring[-1] and len(ring) == len(set(ring)) + 1
    # a chord of the grid's spacing 0.1 leaves a circle of radius about one by at most 0.1^2 / 4, twice over
    np.testing.assert_allclose(np.hypot(*np.array(ring).T), 0.97, atol=0.005)
    angles = np.unwrap(np.arctan2(*np.array(ring).T))
    assert abs(angles[-1] - angles[0]) == pytest.approx(2 * np.pi)
    assert (np.diff(angles) > 0).all() or (np.diff(angles) < 0).all()


def test_a_line_that_meets_the_edge_is_open():
    (line,) = contour_lines(x - 2 * y, X, Y, 0.33)
    points = np.array(line)
    np.testing.assert_allclose(points[:, 0] - 2 * points[:, 1], 0.33, atol=1e-12)  # linear between grid points
    ends = {round(abs(float(b)), 9) for b in (points[0, 1], points[-1, 1])}
    assert ends == {1.165, 0.835}  # where x is -2 and 2


def test_several_rings_are_found():
    rings = contour_lines(np.cos(3 * x) * np.cos(3 * y), X, Y, 0.5)
    assert sum(ring[0] == ring[-1] for ring in rings) == 5
    for ring in rings:
        if ring[0] != ring[-1]:
            assert all(abs(a) == 2 or abs(b) == 1.5 for a, b in (ring[0], ring[-1]))  # it begins and ends at the edge


@pytest.mark.parametrize(
    ("values", "cut"), [([[2.0, -1.0], [-1.0, 2.0]], [(0, 1), (1, 0)]), ([[1.0, -2.0], [-2.0, 1.0]], [(0, 0), (1, 1)])]
)
def test_a_cell_with_four_corners_follows_the_mean(values, cut):
    # high at (0, 0) and (1, 1); a mean above the level joins them, and the two low corners are cut off
    lines = contour_lines(np.array(values), np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.0)
    assert len(lines) == 2
    nearest = []
    for line in lines:
        corner = np.array(line).mean(axis=0)
        nearest.append(min(((i, j) for i in (0, 1) for j in (0, 1)), key=lambda c: np.hypot(*(corner - c))))
    assert sorted(nearest) == cut


def test_nothing_is_found_where_nothing_is():
    assert contour_lines(x, X, Y, 5.0) == []
