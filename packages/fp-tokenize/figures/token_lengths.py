"""How long the tokens of a vocabulary are, and those of a text."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _drawing import COLOURS, grid, measured, source, svg, table, text

LONGEST = 16  # the last column holds the longer ones too
LEFT, TOP, HEIGHT, BAR, PANEL = 48, 44, 150, 15, 205


def shares(counts: list[int]) -> list[float]:
    """Of lengths 1 to the longest that is shown, and all beyond."""
    counts = counts[1:] + [0] * LONGEST
    counts = [*counts[: LONGEST - 1], sum(counts[LONGEST - 1 :])]
    return [count / sum(counts) for count in counts]


def render() -> str:
    """A panel of bars for each algorithm, and the numbers."""
    found = measured()
    parts, rows = [], []
    right = LEFT + LONGEST * (2 * BAR + 4)
    for panel, (kind, lengths) in enumerate(found["lengths"].items()):
        top = TOP + panel * PANEL
        bars = {where: shares(lengths[where]) for where in ("vocabulary", "text")}
        most = max(max(row) for row in bars.values())
        for step in range(5):
            parts.append(grid(LEFT, right, top + HEIGHT - step / 4 * HEIGHT, f"{100 * most * step / 4:.0f}%"))
        for n, row in enumerate(bars.values()):
            for i, share in enumerate(row):
                x, height = LEFT + 2 + i * (2 * BAR + 4) + n * BAR, share / most * HEIGHT
                parts.append(
                    f'<rect x="{x:.1f}" y="{top + HEIGHT - height:.1f}" width="{BAR - 1}" height="{height:.1f}" '
                    f'fill="{COLOURS[n]}"/>'
                )
        for i in range(LONGEST):
            label = f"{i + 1}{'+' if i == LONGEST - 1 else ''}"
            parts.append(text(LEFT + 2 + i * (2 * BAR + 4) + BAR, top + HEIGHT + 16, label))
        parts.append(text((LEFT + right) / 2, top - 8, kind))
        for where, row in bars.items():
            counts = lengths[where]
            mean = sum(i * n for i, n in enumerate(counts)) / sum(counts)
            rows.append((f"{kind}, {where}", [*(f"{100 * share:.1f}" for share in row), f"{mean:.2f}"]))
    for n, name in enumerate(("tokens of the vocabulary", "tokens of a text")):
        parts.append(f'<rect x="{LEFT + n * 200}" y="4" width="12" height="12" fill="{COLOURS[n]}"/>')
        parts.append(text(LEFT + n * 200 + 18, 15, name, "start"))
    title = "Tokens by their length in bytes, in the vocabulary and in a text"
    heads = ["", *(f"{i}" for i in range(1, LONGEST)), f"{LONGEST}+", "mean"]
    caption = (
        f"Percent of the tokens of each length in bytes, vocabularies of 32,768, new prose; {source(found, 'prose')}"
    )
    return svg(title, right + 16, TOP + len(found["lengths"]) * PANEL - 20, parts) + table(caption, heads, rows)
