"""What the same content costs in different languages."""

import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _drawing import COLOURS, legend, measured, source, svg, table, text

LEFT, RIGHT, TOP, STEP = 60, 620, 60, 20
WHAT = {"parallel": "Debian's handbook", "messages": "GTK's messages"}
SHOWN = {"bytes": "bytes", "English": "BPE, English", "ten languages": "BPE, ten languages"}


def dots(found: dict[str, dict[str, list[float]]], title: str) -> str:
    """A row for each language, a dot for each tokenizer, on a logarithmic scale."""
    languages = sorted((name for name in found["English"] if name != "en"), key=lambda name: found["English"][name][0])
    values = [row[name][0] for row in found.values() for name in languages]
    low, high = math.log2(min(0.9, *values)), math.log2(max(values) * 1.05)

    def x(value: float) -> float:
        return LEFT + (math.log2(value) - low) / (high - low) * (RIGHT - LEFT)

    bottom = TOP + STEP * len(languages)
    parts = []
    for tick in (1, 1.5, 2, 3, 4, 6, 8, 12, 16):
        if math.log2(tick) <= high:
            parts.append(f'<path d="M{x(tick):.1f} {TOP - 14}V{bottom - 6}" stroke="currentColor" opacity=".15"/>')
            parts.append(text(x(tick), TOP - 20, f"{tick:g}"))
    for row, language in enumerate(languages):
        y = TOP + row * STEP
        parts.append(text(LEFT - 14, y + 4, language, "end"))
        parts.append(f'<path d="M{LEFT} {y}H{RIGHT}" stroke="currentColor" opacity=".1"/>')
        for n, name in enumerate(SHOWN):
            parts.append(f'<circle cx="{x(found[name][language][0]):.1f}" cy="{y}" r="5" fill="{COLOURS[n]}"/>')
    parts += legend(LEFT, 16, list(SHOWN.values()), dot=True)
    return svg(title, RIGHT + 20, bottom + 4, parts)


def render() -> str:
    """A drawing and a table for each parallel text."""
    found, parts = measured(), []
    for folder, what in WHAT.items():
        here = dict(found["fairness"][folder])
        n = here.pop("texts")
        parts.append(dots(here, f"Tokens for each token of English, {what}"))
        heads = [
            "language",
            "bytes",
            *(f"{name} {part}" for name in list(SHOWN.values())[1:] for part in ("", "r(en)/r")),
        ]
        rows = []
        for language in sorted(here["English"], key=lambda name: here["English"][name][0]):
            cells = [f"{here['bytes'][language][0]:.2f}"]
            for name in list(SHOWN)[1:]:
                premium, error, _, compression = here[name][language]
                cells += [f"{premium:.2f} ± {error:.2f}", f"{compression:.2f}"]
            rows.append((language, cells))
        caption = (
            f"Tokens for each token of English, and the tokenizer's part in it (E4), on {n:,} texts of {what}; "
            f"vocabularies of 32,768; {source(found, f'{folder}/en')}"
        )
        parts.append(table(caption, heads, rows))
    return "".join(parts)
