"""What is measured under what is promised: panels with two logarithmic axes, and their numbers as a table."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TOLD = (10, 100, 1000, 10_000)  # the columns of the table
STEPS = TOLD[-1]
WIDTH, HEIGHT, LEFT, ACROSS, LEGEND = 200.0, 220.0, 44.0, 256.0, 20.0


class Line(NamedTuple):
    """What was measured after each of T steps, and its bound: from below if it is a floor."""

    name: str
    T: np.ndarray
    measured: np.ndarray
    bound: np.ndarray
    floor: bool = False


class Panel(NamedTuple):
    """One drawing, between two powers of ten."""

    title: str
    low: int
    high: int
    lines: list[Line]


def steps() -> np.ndarray:
    """The numbers of steps at which lines are drawn."""
    return np.unique([*np.geomspace(1, STEPS, 60).astype(int), *TOLD])


def path(T: np.ndarray, values: np.ndarray, low: int, high: int) -> str:
    """A line within the frame; it begins and ends on the frame where it crosses it."""
    x, y = np.log10(T), np.log10(np.maximum(values, 1e-300))
    fine = np.linspace(0, math.log10(STEPS), 241)
    fine = np.unique([*fine[(fine > x[0]) & (fine < x[-1])], *x])
    across = np.interp(fine, x, y)
    inside = (low <= across) & (across <= high)
    points = np.stack([fine / math.log10(STEPS) * WIDTH, (high - across) / (high - low) * HEIGHT], axis=1)
    pen, parts = "M", []
    for point, drawn in zip(points.tolist(), inside.tolist(), strict=True):
        parts += [f"{pen}{point[0]:.1f} {point[1]:.1f}"] if drawn else []
        pen = "L" if drawn else "M"
    return "".join(parts)


def ten(power: int) -> str:
    return "1" if power == 0 else f'10<tspan dy="-5" font-size="9">{str(power).replace("-", "−")}</tspan>'


def frame(panel: Panel) -> str:
    """Grid, axis labels, title."""
    parts = []
    for power in range(panel.low, panel.high + 1, 1 + (panel.high - panel.low) // 7):
        y = (panel.high - power) / (panel.high - panel.low) * HEIGHT
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
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT + 38}" text-anchor="middle">steps T</text>')
    return "".join(parts)


def drawing(panels: Sequence[Panel], colours: dict[str, int], title: str) -> str:
    """The panels side by side, each with its legend above it; what is promised is dashed."""
    rows, parts = max(len(panel.lines) for panel in panels), []
    top = 30 + rows * LEGEND
    for i, panel in enumerate(panels):
        inner = [f'<text x="{WIDTH / 2}" y="{16 - top}" text-anchor="middle">{panel.title}</text>', frame(panel)]
        for row, line in enumerate(panel.lines):
            colour = f"var(--figure-{colours[line.name]})"
            y = 36 - top + row * LEGEND
            inner.append(
                f'<path d="M0 {y:.0f}h26" stroke="{colour}" stroke-width="2"/>'
                f'<text x="32" y="{y + 4:.0f}" fill="{colour}">{line.name}</text>'
            )
            for values, dashed in ((line.measured, ""), (line.bound, ' stroke-dasharray="6 4"')):
                d = path(line.T, values, panel.low, panel.high)
                inner.append(f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>')
        parts.append(f'<g transform="translate({LEFT + i * ACROSS:.0f} {top:.0f})">{"".join(inner)}</g>')
    width, height = LEFT + (len(panels) - 1) * ACROSS + WIDTH + 14, top + HEIGHT + 46
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="12.5" font-family="inherit" '
        f'fill="currentColor" width="{width:.0f}"><title>{title}; both axes are logarithmic</title>'
        f"{''.join(parts)}</svg>"
    )


def number(value: float) -> str:
    if value < 1e-15:
        return "&lt; 1e−15"
    text = f"{value:.2g}" if 1e-3 <= value < 100 else f"{value:.0f}" if 100 <= value < 1e4 else f"{value:.1e}"
    return text.replace("e-0", "e−").replace("e-", "e−").replace("e+0", "e")


def table(panels: Sequence[Panel], caption: str) -> str:
    """Two rows for each line, what was measured and what is promised, and a column for each T or the last before it."""
    rows = []
    for panel in panels:
        for line in panel.lines:
            told = [int(np.searchsorted(line.T, T, side="right")) - 1 for T in TOLD]
            for kind, values in (("measured", line.measured), ("at least" if line.floor else "at most", line.bound)):
                cells = "".join(f"<td>{number(float(values[i]))}</td>" for i in told)
                rows.append(f'<tr><th scope="row">{panel.title}</th><td>{line.name}</td><td>{kind}</td>{cells}</tr>')
    heads = "".join(f'<th scope="col">T = {T:,}</th>' for T in TOLD)
    return (
        f'<table><caption>{caption}</caption><thead><tr><th scope="col">quantity</th><th scope="col">method</th>'
        f'<th scope="col"></th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )
