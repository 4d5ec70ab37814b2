"""Stochastic gradient descent on logistic regression under its bounds: means over many runs, with their errors."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fp_optim.problems import LogisticRegression, logistic_data, logistic_regression
from fp_optim.stochastic import (
    robbins_monro_rate,
    sgd_convex_bound,
    sgd_convex_rate,
    sgd_floor_bound,
    sgd_path,
    sgd_strong_bound,
)

RUNS, STEPS = 200, 10_000
TOLD = (10, 100, 1000, 10_000)  # the rows of the table
DRAWN = {  # the name of each pair of lines: colour; the bound is dashed
    "average point, (E4)": "var(--figure-1)",
    "falling rate, (E9)": "var(--figure-2)",
    "rate 1/L, (E6)": "var(--figure-3)",
    "rate 1/(20 L), (E6)": "var(--figure-4)",
}
LOW, HIGH = -4, 2  # the powers of ten between which lines are drawn
WIDTH, HEIGHT, LEFT, TOP, ACROSS = 300.0, 240.0, 56.0, 64.0, 372.0


class Line(NamedTuple):
    """What was measured after T steps, two standard errors of it, and what was promised."""

    name: str
    T: np.ndarray
    mean: np.ndarray
    error: np.ndarray
    bound: np.ndarray


def runs(problem: LogisticRegression, rates: Sequence[float], T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From zero, with one example a step: the points after T steps and the averages of those before."""
    rng, n = np.random.default_rng(1), problem.A.shape[1]

    def noisy(w: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows = rng.integers(len(problem.A), size=RUNS)
        slopes = -problem.y[rows] / (1 + np.exp(problem.y[rows] * (problem.A[rows] * w).sum(axis=1)))
        return slopes[:, None] * problem.A[rows] + problem.penalty * w

    path = sgd_path(noisy, np.zeros((RUNS, n)), rates, rng)
    return path[T], np.cumsum(path, axis=0)[T - 1] / T[:, None, None]


def line(name: str, T: np.ndarray, samples: np.ndarray, bound: Sequence[float]) -> Line:
    return Line(name, T, samples.mean(axis=1), 2 * samples.std(axis=1, ddof=1) / math.sqrt(RUNS), np.array(bound))


def measure() -> tuple[Line, list[Line], float]:
    """The gap of the average with hardly any penalty; squared distances with a strong one; the largest kappa."""
    data = logistic_data(np.random.default_rng(0))
    sigma = math.sqrt(float((data[0] ** 2).sum(axis=1).mean()))  # no example's gradient varies more, at any point
    T = np.unique([*np.geomspace(1, STEPS, 25).astype(int), *TOLD])
    flat, steep = (logistic_regression(*data, penalty=penalty) for penalty in (1e-3, 0.1))
    r = float(np.linalg.norm(flat.minimiser))
    gaps, bounds = [], []
    for steps in T.tolist():
        lr = sgd_convex_rate(L=flat.L, r=r, sigma=sigma, n_steps=steps)
        gaps.append(flat.gaps(runs(flat, [lr] * steps, np.array([steps]))[1][0]))
        bounds.append(sgd_convex_bound(L=flat.L, r=r, sigma=sigma, lr=lr, n_steps=steps))
    average, falling, first, second = DRAWN
    mu, L, r = steep.mu, steep.L, float(np.linalg.norm(steep.minimiser))
    squared = lambda rates: ((runs(steep, rates, T)[0] - steep.minimiser) ** 2).sum(axis=2)  # noqa: E731
    strong = [sgd_strong_bound(mu=mu, L=L, r=r, sigma=sigma, n_steps=t) for t in T.tolist()]
    lines = [line(falling, T, squared([robbins_monro_rate(t, mu=mu, L=L) for t in range(STEPS)]), strong)]
    for name, lr in ((first, 1 / L), (second, 1 / (20 * L))):
        floor = [sgd_floor_bound(mu=mu, L=L, r=r, sigma=sigma, lr=lr, n_steps=t) for t in T.tolist()]
        lines.append(line(name, T, squared([lr] * STEPS), floor))
    return line(average, T, np.array(gaps), bounds), lines, steep.condition


def place(t: float, value: float) -> str:
    y = min(max(math.log10(value), LOW), HIGH)
    return f"{math.log10(t) / math.log10(STEPS) * WIDTH:.1f} {(HIGH - y) / (HIGH - LOW) * HEIGHT:.1f}"


def panel(title: str, lines: Sequence[Line]) -> str:
    """Each measured line with a band of two standard errors, and its bound dashed."""
    parts = [f'<text x="{WIDTH / 2}" y="-10" text-anchor="middle">{title}</text>']
    for power in range(LOW, HIGH + 1, 2):
        y = (HIGH - power) / (HIGH - LOW) * HEIGHT
        parts.append(
            f'<path d="M0 {y:.1f}h{WIDTH}" stroke="currentColor" opacity=".15"/>'
            f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{ten(power)}</text>'
        )
    for power in range(round(math.log10(STEPS)) + 1):
        x = power / math.log10(STEPS) * WIDTH
        parts.append(
            f'<path d="M{x:.1f} 0v{HEIGHT}" stroke="currentColor" opacity=".15"/>'
            f'<text x="{x:.1f}" y="{HEIGHT + 18}" text-anchor="middle">{ten(power)}</text>'
        )
    for name, T, mean, error, bound in lines:
        over = [place(t, v) for t, v in zip(T.tolist(), (mean + error).tolist(), strict=True)]
        under = [place(t, v) for t, v in zip(T.tolist(), (mean - error).tolist(), strict=True)]
        parts.append(f'<path d="M{"L".join(over + under[::-1])}Z" fill="{DRAWN[name]}" opacity=".25"/>')
        for values, dashed in ((mean, ""), (bound, ' stroke-dasharray="6 4"')):
            points = "L".join(place(t, v) for t, v in zip(T.tolist(), values.tolist(), strict=True))
            parts.append(f'<path d="M{points}" fill="none" stroke="{DRAWN[name]}" stroke-width="2"{dashed}/>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT + 38}" text-anchor="middle">steps T</text>')
    return "".join(parts)


def ten(power: int) -> str:
    return "1" if power == 0 else f'10<tspan dy="-5" font-size="9">{str(power).replace("-", "−")}</tspan>'


def drawing(average: Line, lines: Sequence[Line]) -> str:
    parts, x = [], LEFT
    for name, colour in DRAWN.items():
        parts.append(
            f'<path d="M{x:.0f} 14h26" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x + 32:.0f}" y="18" fill="{colour}">{name}</text>'
        )
        x += 60 + 6.6 * len(name)
    panels = (("gap f(w) − f*, next to no penalty", [average]), ("squared distance, penalty 0.1", lines))
    for i, (title, shown) in enumerate(panels):
        parts.append(f'<g transform="translate({LEFT + i * ACROSS:.0f} {TOP:.0f})">{panel(title, shown)}</g>')
    width, height = LEFT + ACROSS + WIDTH + 12, TOP + HEIGHT + 48
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="12.5" font-family="inherit" '
        f'fill="currentColor" width="{width:.0f}"><title>Means over {RUNS} runs, with bands of two standard errors, '
        f"under their bounds, dashed; both axes are logarithmic</title>{''.join(parts)}</svg>"
    )


def table(lines: Sequence[Line], condition: float) -> str:
    """One row for each line and number of steps."""
    rows = []
    for name, T, mean, error, bound in lines:
        for i in np.flatnonzero(np.isin(T, TOLD)).tolist():
            cells = f"<td>{T[i]:,}</td><td>{mean[i]:.2g} ± {error[i]:.1g}</td><td>{bound[i]:.2g}</td>".replace(
                "e-0", "e−"
            )
            rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return (
        f"<table><caption>Means over {RUNS} runs and two standard errors, with batches of one; the first is a gap, the "
        f"others are squared distances, at the condition number {condition:.0f}</caption><thead><tr>"
        f'<th scope="col">steps</th><th scope="col">T</th><th scope="col">measured</th><th scope="col">bound</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )


def render() -> str:
    """The drawing, and its numbers as a table."""
    average, lines, condition = measure()
    return drawing(average, lines) + table([average, *lines], condition)
