"""Momentum under its bounds: the heavy ball and Nesterov's method, beside gradient descent."""

import sys
from pathlib import Path

import numpy as np

from fp_optim.descent import best_rate, contraction, convex_bound, gradient_descent, linear_bound
from fp_optim.momentum import (
    Momentum,
    accelerated,
    accelerated_bound,
    heavy_ball_bound,
    heavy_ball_settings,
    nesterov_factor,
    nesterov_settings,
)
from fp_optim.problems import Problem, logistic_data, logistic_regression, quadratic

sys.path.append(str(Path(__file__).parent))

from _loglog import STEPS, Line, Panel, drawing, steps, table

GRADIENT, HEAVY, VARYING, CONSTANT = "gradient descent", "heavy ball", "Nesterov, varying", "Nesterov, constant"
COLOURS = {GRADIENT: 1, HEAVY: 2, VARYING: 3, CONSTANT: 4}


def panels() -> list[Panel]:
    """All that is measured, and the bounds for it."""
    bowl = quadratic(np.geomspace(1e-4, 1.0, 50), np.random.default_rng(0))
    start = np.random.default_rng(1).normal(size=50)
    logistic = logistic_regression(*logistic_data(np.random.default_rng(0)), penalty=1e-4)
    return [
        Panel(f"distance, quadratic, κ = {bowl.condition:.0f}", -8, 3, distances(bowl, start)),
        Panel(f"gap, quadratic, κ = {bowl.condition:.0f}", -8, 3, gaps(bowl, start)),
        Panel(f"gap, logistic, κ = {logistic.condition:.0f}", -12, 1, gaps(logistic, np.zeros(7))),
    ]


def distances(bowl: Problem, start: np.ndarray) -> list[Line]:
    """On a quadratic function, with the best settings of both methods: contraction, and (E6)."""
    T, mu, L = steps(), bowl.mu, bowl.L
    measured = lambda path: np.linalg.norm(path[T] - bowl.minimiser, axis=1)  # noqa: E731
    lr = best_rate(L, mu)
    at_start = float(np.linalg.norm(start - bowl.minimiser))
    plain = measured(gradient_descent(bowl.grad, start, lr, STEPS))
    lr_ball, beta = heavy_ball_settings(mu, L)
    w, path = start.copy(), [start]
    optimizer = Momentum({"w": w}, lr=lr_ball, momentum=beta)
    for _ in range(STEPS):
        optimizer.step({"w": bowl.grad(w)})
        path.append(w.copy())
    return [
        Line(GRADIENT, T, plain, at_start * contraction(L, mu, lr) ** T),
        Line(HEAVY, T, measured(np.array(path)), at_start * np.array([heavy_ball_bound(beta, k) for k in T.tolist()])),
    ]


def gaps(problem: Problem, start: np.ndarray) -> list[Line]:
    """With the rate 1/L: the smaller bound of gradient descent, (E8), and `optim.nesterov-strong`."""
    T, mu, L = steps(), problem.mu, problem.L
    gap, distance = float(problem.gaps(start[None])[0]), float(np.linalg.norm(start - problem.minimiser))
    plain = np.minimum(convex_bound(L, distance, T), linear_bound(L, mu, gap, T))
    varying = np.array([accelerated_bound(L, distance, k) for k in T.tolist()])
    constant = (gap + mu / 2 * distance**2) * np.array([nesterov_factor(mu, L, k) for k in T.tolist()])
    return [
        Line(GRADIENT, T, problem.gaps(gradient_descent(problem.grad, start, 1 / L, STEPS)[T]), plain),
        Line(VARYING, T, problem.gaps(accelerated(problem.grad, start, L, STEPS)[T]), varying),
        Line(CONSTANT, T, problem.gaps(constant_momentum(problem, start)[T]), constant),
    ]


def constant_momentum(problem: Problem, start: np.ndarray) -> np.ndarray:
    """The points w of (E11)."""
    lr, beta = nesterov_settings(problem.mu, problem.L)
    path, y = [start], start
    for _ in range(STEPS):
        path.append(y - lr * problem.grad(y))
        y = path[-1] + beta * (path[-1] - path[-2])
    return np.array(path)


def render() -> str:
    """The drawing, and its numbers as a table."""
    found = panels()
    title = "The heavy ball, Nesterov's method and gradient descent under their bounds, dashed"
    caption = "Measured and promised; below 10<sup>−15</sup> rounding decides"
    return drawing(found, COLOURS, title) + table(found, caption)
