"""
Bits per held-out character, by order and smoothing: a table and a drawing.

The site shows those of the language reference that every Python carries, computed while it is built, and beside them
those of Shakespeare, which were measured by

    python packages/fp-markov/figures/bits_per_character.py TEXT

and are kept in `_tinyshakespeare.json`.
"""

import argparse
import hashlib
import json
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from fp_markov.experiment import run
from fp_markov.ngram import SMOOTHINGS

ORDERS = range(1, 8)
MEASURED = Path(__file__).with_name("_tinyshakespeare.json")
DRAWN = {  # the line of each smoothing: colour, dashes
    "additive": ("var(--figure-2)", "2 3"),
    "good_turing": ("var(--figure-4)", "2 3"),
    "katz": ("var(--figure-4)", ""),
    "witten_bell": ("var(--figure-3)", ""),
    "absolute_discounting": ("var(--figure-3)", "7 3"),
    "jelinek_mercer": ("var(--figure-2)", ""),
    "kneser_ney": ("var(--figure-1)", "7 3"),
    "modified_kneser_ney": ("var(--figure-1)", ""),
}

Bits = dict[str, list[float | None]]


def language_reference() -> str:
    """Python's own language reference, each paragraph once."""
    return "\n\n".join(dict.fromkeys(p for name in sorted(topics) for p in re.split(r"\n\s*\n", topics[name])))


def measure(text: str) -> Bits:
    """Bits per character on the last tenth of a text, for each smoothing in order of the orders; None if infinite."""
    bits: Bits = {}
    for smoothing in SMOOTHINGS:
        per_order = (run(text, order, smoothing).bits_per_character for order in ORDERS)
        bits[smoothing] = [round(value, 3) if np.isfinite(value) else None for value in per_order]
    return bits


def table(caption: str, bits: Bits) -> str:
    """The numbers, the best of each order in bold."""
    best = [min(v for row in bits.values() if (v := row[i]) is not None) for i in range(len(ORDERS))]
    rows = []
    for smoothing, row in bits.items():
        cells = [
            "∞" if v is None else f"<strong>{v:.3f}</strong>" if v == b else f"{v:.3f}"
            for v, b in zip(row, best, strict=True)
        ]
        rows.append(f'<tr><th scope="row">{smoothing}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    heads = "".join(f'<th scope="col">{order}</th>' for order in ORDERS)
    return (
        f"<table><caption>{caption}</caption><thead><tr><th scope='col'>smoothing \\ order</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def chart(title: str, bits: Bits) -> str:
    """One line a smoothing, over the orders; named at the right, the names apart."""
    left, right, top, bottom, width = 44, 480, 14, 300, 660
    drawn = {name: bits[name] for name in DRAWN}
    low = np.floor(min(v for row in drawn.values() for v in row if v is not None) * 2) / 2
    high = 5.0

    def x(order: float) -> float:
        return left + (order - ORDERS[0]) / (ORDERS[-1] - ORDERS[0]) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = []
    for value in np.arange(low, high + 0.1, 0.5):
        parts.append(
            f'<path d="M{left} {y(value):.1f}H{right}" stroke="currentColor" opacity=".15"/>'
            f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>'
        )
    for order in ORDERS:
        parts.append(f'<text x="{x(order):.1f}" y="{bottom + 20}" text-anchor="middle">{order}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">order</text>')
    lines = {
        name: [(x(o), y(v)) for o, v in zip(ORDERS, row, strict=True) if v is not None and v <= high]
        for name, row in drawn.items()
    }
    labels = sorted((points[-1][1] if len(points) == len(ORDERS) else top, name) for name, points in lines.items())
    at = float(top)
    for wanted, name in labels:
        points, (colour, dashes) = lines[name], DRAWN[name]
        beyond = "" if len(points) == len(ORDERS) else f" ({max(v for v in drawn[name] if v is not None):.1f})"
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        style = f'stroke="{colour}" stroke-dasharray="{dashes}"' if dashes else f'stroke="{colour}"'
        at = max(wanted, at)
        parts.append(
            f'<path d="{path}" fill="none" stroke-width="2" {style}/>'
            f'<path d="M{points[-1][0]:.1f} {points[-1][1]:.1f}L{right + 22} {at:.1f}" stroke="{colour}" opacity=".4"/>'
            f'<text x="{right + 26}" y="{at + 4:.1f}" fill="{colour}">{name}{beyond}</text>'
        )
        at += 17
    return (
        f'<svg viewBox="0 0 {width} {bottom + 48}" role="img" font-size="13" font-family="inherit" fill="currentColor" '
        f'width="{width}"><title>{title}</title>{"".join(parts)}</svg>'
    )


def render() -> str:
    """The figure of the site."""
    text = language_reference()
    bits = measure(text)
    shakespeare = json.loads(MEASURED.read_text("utf8"))
    here = (
        f"Bits per held-out character of Python {platform.python_version()}'s language reference, each paragraph once: "
        f"{len(text):,} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"
    )
    there = (
        f"Bits per held-out character of Shakespeare: {shakespeare['characters']:,} characters, "
        f"sha256 {shakespeare['sha256'][:12]}, measured on {shakespeare['date']}"
    )
    drawing = chart("Bits per held-out character of the language reference, by order; above 5 bits a line ends", bits)
    return drawing + table(here, bits) + table(there, shakespeare["bits"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("text", type=Path)
    text = parser.parse_args().text.read_text("utf8")
    result = {
        "command": "python packages/fp-markov/figures/bits_per_character.py tinyshakespeare.txt",
        "date": datetime.now(UTC).date().isoformat(),
        "characters": len(text),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "held out": "the last tenth, cut at a line",
        "orders": list(ORDERS),
        "bits": measure(text),
    }
    MEASURED.write_text(json.dumps(result, indent=1) + "\n", "utf8")


if __name__ == "__main__":
    main()
