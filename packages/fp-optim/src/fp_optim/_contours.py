"""Contour lines of a function on a grid, by marching squares."""

from collections import defaultdict

import numpy as np
from jaxtyping import Float

Edge = tuple[int, int, int]  # 0 for along x or 1 for along y, then row and column of its first end
Line = list[tuple[float, float]]


def contour_lines(
    values: Float[np.ndarray, "Y X"], x: Float[np.ndarray, " X"], y: Float[np.ndarray, " Y"], level: float
) -> list[Line]:
    """
    The lines where the function has a value, each as its corners; a ring ends with its first corner.

    On every edge of the grid whose ends lie on two sides of the level there is one corner, where a straight line
    between the two values meets it. A cell joins the two corners on its edges. If it has four, the mean of its values
    decides which corner of the cell each pair cuts off.
    """
    above = values > level
    points: dict[Edge, tuple[float, float]] = {}
    for i, j in np.argwhere(above[:, 1:] != above[:, :-1]).tolist():
        t = (level - values[i, j]) / (values[i, j + 1] - values[i, j])
        points[0, i, j] = (float(x[j] + t * (x[j + 1] - x[j])), float(y[i]))
    for i, j in np.argwhere(above[1:] != above[:-1]).tolist():
        t = (level - values[i, j]) / (values[i + 1, j] - values[i, j])
        points[1, i, j] = (float(x[j]), float(y[i] + t * (y[i + 1] - y[i])))
    links: dict[Edge, list[Edge]] = defaultdict(list)
    corners = above[1:, 1:].astype(int) + above[1:, :-1] + above[:-1, 1:] + above[:-1, :-1]
    for i, j in np.argwhere((corners > 0) & (corners < 4)).tolist():
        around: list[Edge] = [(0, i, j), (1, i, j + 1), (0, i + 1, j), (1, i, j)]  # below, right, over, left
        met = [edge for edge in around if edge in points]
        if len(met) == 4 and (values[i : i + 2, j : j + 2].mean() > level) != above[i, j]:
            met = [met[3], *met[:3]]  # around the corner with the smallest indices, and around its opposite
        for one, other in zip(met[::2], met[1::2], strict=True):
            links[one].append(other)
            links[other].append(one)
    return [[points[edge] for edge in walk] for walk in _walks(links)]


def _walks(links: dict[Edge, list[Edge]]) -> list[list[Edge]]:
    seen: set[Edge] = set()
    walks = []
    for start in sorted(links, key=lambda edge: len(links[edge])):  # those with an end first: what is left are rings
        if start in seen:
            continue
        walk = [start]
        seen.add(start)
        while following := next((edge for edge in links[walk[-1]] if edge not in seen), None):
            walk.append(following)
            seen.add(following)
        walks.append([*walk, start] if len(links[start]) == 2 else walk)
    return walks
