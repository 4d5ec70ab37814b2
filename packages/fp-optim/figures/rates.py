"""Gradient descent under its bounds: the gap and the shortest gradient after T steps, for three kinds of functions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fp_optim.descent import convex_bound, gradient_descent, linear_bound, stationary_bound
from fp_optim.problems import Problem, huber, logistic_data, logistic_regression, quadratic

STEPS = 10_000
TOLD = (1, 10, 100, 1000, 10_000)  # the rows of the table
DRAWN = {  # the name of each line: colour, dashes
    "measured": ("var(--figure-1)", ""),
    "bound (E5), convex": ("var(--figure-2)", "6 4"),
    "bound (E6), strongly convex": ("var(--figure-3)", "2 3"),
    "bound (E3), smooth": ("var(--figure-4)", "6 4"),
}
LOW, HIGH = -8, 2  # the powers of ten between which lines are drawn
WIDTH, HEIGHT, LEFT, TOP, ACROSS, DOWN = 206.0, 190.0, 56.0, 62.0, 240.0, 214.0  # of a panel, and from one to the next


class Panel(NamedTuple):
    """The lines of one drawing, each with a value for every T."""

    problem: str
    quantity: str
    T: np.ndarray
    lines: dict[str, np.ndarray]


def panels() -> list[Panel]:
    """All that is measured, and the bounds for it."""
    bowl = quadratic(np.geomspace(1e-3, 1.0, 50), np.random.default_rng(0))
    logistic = logistic_regression(*logistic_data(np.random.default_rng(0)), penalty=1e-3)
    T = np.unique([*np.geomspace(1, STEPS, 60).astype(int), *TOLD])
    found = measured(f"quadratic, κ = {bowl.condition:.0f}", bowl, np.random.default_rng(1).normal(size=50), T)
    found += measured(f"logistic regression, κ = {logistic.condition:.0f}", logistic, np.zeros(7), T)
    return found + worst("Huber, the worst for each T", T)


def measured(name: str, problem: Problem, start: np.ndarray, T: np.ndarray) -> list[Panel]:
    """The gap and the shortest gradient of one run."""
    path = gradient_descent(problem.grad, start, 1 / problem.L, STEPS)
    gap, distance = float(problem.gaps(path[:1])[0]), float(np.linalg.norm(start - problem.minimiser))
    squares = np.array([float(g @ g) for g in map(problem.grad, path[:-1])])
    return [
        Panel(name, "gap", T, {
            "measured": problem.gaps(path[T]),
            "bound (E5), convex": np.asarray(convex_bound(problem.L, distance, T)),
            "bound (E6), strongly convex": np.asarray(linear_bound(problem.L, problem.mu, gap, T)),
        }),
        Panel(name, "gradient", T, {
            "measured": np.minimum.accumulate(squares)[T - 1],
            "bound (E3), smooth": np.asarray(stationary_bound(problem.L, gap, T)),
        }),
    ]  # fmt: skip


def worst(name: str, T: np.ndarray) -> list[Panel]:
    """The gap and the shortest gradient on the functions of `optim.worst-function`, from a distance of 1."""
    gaps, squares, bounds = [], [], []
    for steps in T.tolist():
        slow = huber(1 / (2 * steps + 1))
        gaps.append(slow.f(gradient_descent(slow.grad, np.ones(1), 1.0, steps)[-1]))
        flat = huber(1 / steps)
        path = gradient_descent(flat.grad, np.ones(1), 1.0, steps)
        squares.append(min(float(flat.grad(x)[0]) ** 2 for x in path[:-1]))
        bounds.append(stationary_bound(1.0, flat.f(np.ones(1)), steps))
    return [
        Panel(
            name, "gap", T, {"measured": np.array(gaps), "bound (E5), convex": np.asarray(convex_bound(1.0, 1.0, T))}
        ),
        Panel(name, "gradient", T, {"measured": np.array(squares), "bound (E3), smooth": np.array(bounds)}),
    ]


def path(panel: Panel, values: np.ndarray, left: float, top: float) -> str:
    """A line within the frame; it ends on the frame where it leaves it."""
    points: list[tuple[float, float]] = []
    for t, value in zip(panel.T.tolist(), values.tolist(), strict=True):
        x, y = math.log10(t), math.log10(max(value, 1e-300))
        if y < LOW:
            if points:
                x0, y0 = points[-1]
                points.append((x0 + (x - x0) * (LOW - y0) / (y - y0), LOW))
            break
        points.append((x, y))
    return "M" + "L".join(
        f"{left + x / math.log10(STEPS) * WIDTH:.1f} {top + (HIGH - y) / (HIGH - LOW) * HEIGHT:.1f}" for x, y in points
    )


def frame(panel: Panel, left: float, top: float, first: bool, last: bool) -> str:
    """Grid and axis labels."""
    parts = []
    for power in range(LOW, HIGH + 1, 2):
        y = top + (HIGH - power) / (HIGH - LOW) * HEIGHT
        parts.append(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="currentColor" opacity=".15"/>')
        if first:
            parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{ten(power)}</text>')
    for power in range(round(math.log10(STEPS)) + 1):
        x = left + power / math.log10(STEPS) * WIDTH
        parts.append(f'<path d="M{x:.1f} {top}v{HEIGHT}" stroke="currentColor" opacity=".15"/>')
        if last:
            label = ten(power) if power else "1"
            parts.append(f'<text x="{x:.1f}" y="{top + HEIGHT + 18}" text-anchor="middle">{label}</text>')
    if not last:
        parts.append(f'<text x="{left + WIDTH / 2}" y="{top - 8}" text-anchor="middle">{panel.problem}</text>')
    return "".join(parts)


def ten(power: int) -> str:
    return "1" if power == 0 else f'10<tspan dy="-5" font-size="9">{str(power).replace("-", "−")}</tspan>'


def drawing(found: Sequence[Panel]) -> str:
    """The gaps in the upper row, the gradients in the lower one."""
    parts, x = [], LEFT
    for name, (colour, dashes) in DRAWN.items():
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(
            f'<path d="M{x:.0f} 14h26" stroke="{colour}" stroke-width="2"{dashed}/>'
            f'<text x="{x + 32:.0f}" y="18" fill="{colour}">{name}</text>'
        )
        x += 62 + 6.4 * len(name)
    for i, panel in enumerate(found):
        column, row = divmod(i, 2)
        left, top = LEFT + column * ACROSS, TOP + row * DOWN
        parts.append(frame(panel, left, top, first=column == 0, last=row == 1))
        for name, values in panel.lines.items():
            colour, dashes = DRAWN[name]
            dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
            line = path(panel, values, left, top)
            parts.append(f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>')
    for row, name in enumerate(("gap f(x) − f*", "smallest |∇f|² so far")):
        y = TOP + row * DOWN + HEIGHT / 2
        parts.append(f'<text transform="translate(14 {y}) rotate(-90)" text-anchor="middle">{name}</text>')
    bottom = TOP + DOWN + HEIGHT
    parts.append(f'<text x="{LEFT + ACROSS + WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">steps T</text>')
    width = LEFT + 2 * ACROSS + WIDTH + 14
    return (
        f'<svg viewBox="0 0 {width:.0f} {bottom + 46:.0f}" role="img" font-size="12.5" font-family="inherit" '
        f'fill="currentColor" width="{width:.0f}"><title>Gradient descent with the rate 1/L under its bounds; both '
        f"axes are logarithmic</title>{''.join(parts)}</svg>"
    )


def table(found: Sequence[Panel]) -> str:
    """One row for each problem and number of steps; after each measured number the bounds for it."""
    columns = ("gap", "(E5)", "(E6)", "|∇f|²", "(E3)")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    rows = []
    for gaps, gradients in zip(found[::2], found[1::2], strict=True):
        _, convex, linear, smooth = DRAWN
        lines = [gaps.lines["measured"], gaps.lines[convex], gaps.lines.get(linear)]
        lines += [gradients.lines["measured"], gradients.lines[smooth]]
        for i in np.flatnonzero(np.isin(gaps.T, TOLD)).tolist():
            cells = "".join(f"<td>{number(values, i)}</td>" for values in lines)
            rows.append(f'<tr><th scope="row">{gaps.problem}</th><td>{gaps.T[i]:,}</td>{cells}</tr>')
    return (
        "<table><caption>Measured and promised, with the rate 1/L; below 10<sup>−15</sup> rounding decides</caption>"
        f'<thead><tr><th scope="col">function</th><th scope="col">T</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def number(values: np.ndarray | None, i: int) -> str:
    if values is None:
        return "–"
    if values[i] < 1e-15:
        return "&lt; 1e−15"
    return f"{values[i]:.2g}" if values[i] >= 1e-3 else f"{values[i]:.1e}".replace("e-0", "e−").replace("e-", "e−")


def render() -> str:
    """The drawing, and its numbers as a table."""
    found = panels()
    return drawing(found) + table(found)
