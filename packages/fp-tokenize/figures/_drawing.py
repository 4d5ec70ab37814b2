"""What the figures of this chapter share: the measurements, tables, and drawings of lines, bars and dots."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).with_name("_measured.json")
COLOURS = [f"var(--figure-{n})" for n in (1, 2, 3, 4)]
DASHES = ["", "7 3", "2 3", "10 2 2 2"]


def measured() -> dict[str, Any]:
    """What `_measure.py` wrote."""
    return json.loads(MEASURED.read_text("utf8"))


def source(found: Mapping[str, Any], *files: str) -> str:
    """When it was measured, and on what."""
    hashes = ", ".join(f"{name} {found['sha256'][name][:12]}" for name in files)
    return f"measured on {found['date']}, sha256 {hashes}"


def table(caption: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Rows of text, each with a name."""
    top = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{"".join(f"<td>{html.escape(cell)}</td>" for cell in cells)}</tr>'
        for name, cells in rows
    )
    return f"<table><caption>{html.escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    """A drawing."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="13" font-family="inherit" '
        f'fill="currentColor" width="{width:.0f}"><title>{html.escape(title)}</title>{"".join(parts)}</svg>'
    )


def text(x: float, y: float, content: str, anchor: str = "middle", colour: str = "") -> str:
    fill = f' fill="{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{fill}>{html.escape(content)}</text>'


def grid(left: float, right: float, y: float, label: str) -> str:
    """A horizontal line with its value."""
    line = f'<path d="M{left} {y:.1f}H{right}" stroke="currentColor" opacity=".15"/>'
    return line + text(left - 8, y + 4, label, "end")


def legend(x: float, y: float, names: Sequence[str], step: float = 150, dot: bool = False) -> list[str]:
    """Names beside their marks."""
    parts = []
    for n, name in enumerate(names):
        at = x + n * step
        if dot:
            parts.append(f'<circle cx="{at + 8:.1f}" cy="{y - 4:.1f}" r="5" fill="{COLOURS[n]}"/>')
        else:
            parts.append(
                f'<path d="M{at:.1f} {y - 4:.1f}h24" stroke="{COLOURS[n]}" stroke-width="3" '
                f'stroke-dasharray="{DASHES[n]}"/>'
            )
        parts.append(text(at + (18 if dot else 30), y, name, "start"))
    return parts
