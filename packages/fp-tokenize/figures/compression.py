"""Bytes per token against the size of the vocabulary, and the size at which a byte costs least."""

import math
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _drawing import COLOURS, DASHES, grid, legend, measured, source, svg, table, text

LEFT, RIGHT, TOP, BOTTOM, WIDTH = 48, 620, 40, 320, 660


def render() -> str:
    """Lines, the numbers beside them, and the best sizes."""
    found = measured()
    curves = found["compression"]
    values = [v for row in curves.values() for v in row["values"]]
    low, high = math.floor(2 * min(values)) / 2, math.ceil(2 * max(values)) / 2
    sizes = max(row["sizes"] for row in curves.values())

    def x(size: float) -> float:
        return LEFT + math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0]) * (RIGHT - LEFT)

    def y(value: float) -> float:
        return BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP)

    parts = [grid(LEFT, RIGHT, y(low + n / 2), f"{low + n / 2:.1f}") for n in range(round(2 * (high - low)) + 1)]
    parts += [text(x(size), BOTTOM + 20, f"{size:,}") for size in sizes if size & (size - 1) == 0]
    parts.append(text((LEFT + RIGHT) / 2, BOTTOM + 40, "size of the vocabulary"))
    for n, row in enumerate(curves.values()):
        path = "L".join(f"{x(s):.1f} {y(v):.1f}" for s, v in zip(row["sizes"], row["values"], strict=True))
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{COLOURS[n]}" stroke-width="2" stroke-dasharray="{DASHES[n]}"/>'
        )
    parts += legend(LEFT, 20, list(curves))
    drawing = svg("Bytes per token on new prose, by the size of the vocabulary", WIDTH, BOTTOM + 52, parts)
    rows = []
    for i, size in enumerate(sizes):
        cells = []
        for row in curves.values():
            reached = "" if row["sizes"][i] == size else f" (only {row['sizes'][i]:,} tokens)"
            cells.append(f"{row['values'][i]:.3f} ± {row['errors'][i]:.3f}{reached}")
        rows.append((f"{size:,}", cells))
    caption = f"Bytes per token on every tenth line of English prose; trained on the others; {source(found, 'prose')}"
    fits = ", ".join(f"{kind} {a:.2f} + {b:.3f} ln V − {-c:.4f} ln² V" for kind, (a, b, c) in found["fit"].items())
    best = [(model, [f"{size:,}" for size in sizes.values()]) for model, sizes in found["best"].items()]
    return (
        drawing
        + table(caption, ["V", *curves], rows)
        + table(
            f"The vocabulary at which a byte costs least, contexts of 1,024; fitted: {fits}", ["model", *curves], best
        )
    )
