"""Shared by the figures of `fp_capstone.story`: what was measured, a chart over steps, tables."""

import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

MEASURED = Path(__file__).parents[3] / "book/measured/narrated_run.json"
WIDTH, HEIGHT, LEFT, RIGHT = 444.0, 250.0, 60.0, 150.0
BEFORE = 0.5  # where step 0 stands on the logarithmic axis


class Line(NamedTuple):
    """A line of a chart; its name stands at its end."""

    name: str
    colour: int
    points: list[tuple[float, float]]
    dashed: bool = False


def record() -> dict[str, Any]:
    """What `packages/fp-capstone/benchmarks/narrated_run.py` wrote."""
    found: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return found


def about(run: dict[str, Any]) -> str:
    """One sentence: which run this is."""
    chars = sum(run["characters"])
    return (
        f"Measured on {run['date']} ({escape(run['machine'])}, NumPy {escape(run['numpy'])}): preset "
        f"<code>{escape(run['preset'])}</code>, {run['parameters']:,} parameters, {escape(run['text'])}, "
        f"{chars:,} characters of which the last {run['characters'][1]:,} are held out, seed {run['settings']['seed']}."
    )


def when(step: int) -> str:
    return "before" if step == 0 else f"step {step:,}"


def chart(
    lines: Sequence[Line],
    low: float,
    high: float,
    *,
    title: str,
    across: str,
    down: str,
    last: float,
    first: float = BEFORE,
    marks: Sequence[tuple[str, float]] = (),
    ticks: Sequence[tuple[str, float]] = (),
    log: bool = False,
    grid: Sequence[float] = (),
) -> str:
    """Lines over a logarithmic axis, with marks as horizontal lines and names at the right that do not overlap."""

    def x(value: float) -> float:
        return LEFT + math.log(max(value, first) / first) / math.log(last / first) * WIDTH

    def scale(value: float) -> float:
        return math.log10(max(value, 1e-30)) if log else value

    def y(value: float) -> float:
        share = (scale(high) - scale(value)) / (scale(high) - scale(low))
        return 16 + min(max(share, 0.0), 1.0) * HEIGHT

    parts = []
    for value in grid:
        label = f"{value:.0e}".replace("e-0", "e−") if log else f"{value:g}"
        parts.append(
            f'<path d="M{LEFT} {y(value):.1f}h{WIDTH}" stroke="currentColor" opacity=".13"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>'
        )
    for label, value in ticks:
        anchor = "end" if value >= last else "middle"
        parts.append(
            f'<path d="M{x(value):.1f} 16v{HEIGHT}" stroke="currentColor" opacity=".13"/>'
            f'<text x="{x(value):.1f}" y="{HEIGHT + 34}" text-anchor="{anchor}">{label}</text>'
        )
    named: list[tuple[float, str, str]] = []
    for name, value in marks:
        if low <= value <= high:
            parts.append(
                f'<path d="M{LEFT} {y(value):.1f}h{WIDTH}" stroke="currentColor" opacity=".6" stroke-dasharray="3 4"/>'
            )
            named.append((y(value), escape(name), "currentColor"))
    for line in lines:
        colour = f"var(--figure-{line.colour})"
        d = "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in line.points)
        dashed = ' stroke-dasharray="6 4"' if line.dashed else ""
        parts.append(f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"{dashed}/>')
        named.append((y(line.points[-1][1]), escape(line.name), colour))
    named.sort()
    places: list[float] = []
    for place, _, _ in named:
        places.append(max(place, places[-1] + 14) if places else place)
    over = max(0.0, (places[-1] if places else 0) - (HEIGHT + 16))
    for i in reversed(range(len(places))):  # what ran out below is pushed up
        limit = places[i + 1] - 14 if i + 1 < len(places) else places[i] - over
        places[i] = min(places[i], limit)
    for (_, name, colour), place in zip(named, places, strict=True):
        parts.append(f'<text x="{LEFT + WIDTH + 8}" y="{place + 4:.1f}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{HEIGHT + 54}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(12 {16 + HEIGHT / 2}) rotate(-90)" text-anchor="middle">{down}</text>')
    return (
        f'<svg viewBox="0 0 {LEFT + WIDTH + RIGHT:.0f} {HEIGHT + 62:.0f}" role="img" font-size="12.5" '
        f'font-family="inherit" fill="currentColor"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def step_ticks(last: int) -> list[tuple[str, float]]:
    """Powers of ten, zero and the last step."""
    inner = [(f"{10**n:,}", float(10**n)) for n in range(6) if 10**n < 0.4 * last]
    return [("0", BEFORE), *inner, (f"{last:,}", float(last))]


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML; the first of each row is its head."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def shown(character: str) -> str:
    """A character that can be seen."""
    return escape({" ": "␣", "\n": "⏎"}.get(character, character))
