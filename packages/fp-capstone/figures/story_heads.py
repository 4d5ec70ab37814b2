"""Where heads look early and at the end, and their habits in numbers."""

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from _story import record, shown, table, when

CELL, SHADES, LEFT = 5.4, 8, 72
HABITS = ("most on the token before", "most on the one before that", "looks farthest back")
Scores = list[list[float]]


def cells(rows: Scores, x: float, y: float) -> str:
    """One map; weights of one shade are one path."""
    paths, size = [""] * (SHADES + 1), CELL - 0.4
    for i, row in enumerate(rows):
        for j, weight in enumerate(row):
            corner = f"M{x + j * CELL:.1f} {y + i * CELL:.1f}"
            paths[round(weight * SHADES)] += f"{corner}h{size:.1f}v{size:.1f}h-{size:.1f}z"
    edge = f"M{x - 1} {y - 1:.1f}h{CELL}" + f"v{CELL}h{CELL}" * (len(rows) - 1) + f"v{CELL}H{x - 1}z"
    drawn = "".join(
        f'<path d="{d}" fill="var(--figure-1)" fill-opacity="{0.12 + 0.88 * shade / SHADES:.2f}"/>'
        for shade, d in enumerate(paths)
        if d and shade
    )
    return drawn + f'<path d="{edge}" fill="none" stroke="currentColor" opacity=".35"/>'


def drawing(maps: dict[str, Any]) -> str:
    """The maps of each stop in a row."""
    wide, parts = len(maps["text"]) * CELL, []
    for column, (layer, head) in enumerate(maps["heads"]):
        x = LEFT + column * (wide + 24)
        parts.append(f'<text x="{x}" y="14" font-weight="600">layer {layer + 1}, head {head + 1}</text>')
        parts.append(f'<text x="{x}" y="30" font-size="11.5" opacity=".8">{HABITS[column]}</text>')
        for row, (step, found) in enumerate(maps["at"].items()):
            y = 42 + row * (wide + 16)
            parts.append(cells(found[column], x, y))
            if column == 0:
                parts.append(f'<text x="0" y="{y + 10:.0f}">{when(int(step))}</text>')
    width, height = LEFT + len(HABITS) * (wide + 24), 42 + len(maps["at"]) * (wide + 16)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="12.5" font-family="inherit" '
        f'fill="currentColor"><title>Weights of three heads on “{maps["text"]}”: rows are queries, columns are '
        f"keys</title>{''.join(parts)}</svg>"
    )


def largest(scores: Scores) -> tuple[float, int, int]:
    """The largest, its layer and its head."""
    return max((value, layer, head) for layer, row in enumerate(scores) for head, value in enumerate(row))


def best(scores: Scores, digits: int = 2) -> str:
    value, layer, head = largest(scores)
    return f"{value:.{digits}f}<br/><small>layer {layer + 1}, head {head + 1}</small>"


def raised(heads: dict[str, Scores]) -> Scores:
    """By how much repetition raises the weight after the earlier copy."""
    pairs = zip(heads["induction"], heads["control"], strict=True)
    return [[a - b for a, b in zip(x, y, strict=True)] for x, y in pairs]


def render() -> str:
    """The maps, the table of the strongest habits at each stop, all heads at the end."""
    run = record()
    moments, even = run["moments"], run["even"]
    rows = []
    for m in moments:
        heads = m["heads"]
        copies = [", ".join(f"{loss:.2f}" for loss in m["repetition"][name]) for name in ("text", "random")]
        found = [best(heads["back"][1]), best(heads["back"][2]), best(heads["distance"], 1), best(raised(heads), 3)]
        rows.append([when(m["step"]), *found, *copies])
    rows.append(
        ["even weights", f"{even['back'][1]:.2f}", f"{even['back'][2]:.2f}", f"{even['distance']:.1f}", "0", "–", "–"]
    )
    strongest = table(
        "The strongest head for each habit: weight one token back and two back, mean distance, and by how much "
        "repetition raises the weight after the earlier copy. Then the loss in the first and in the second copy",
        ["after", "one back", "two back", "mean<br/>distance", "repetition", "a passage<br/>twice", "random<br/>twice"],
        rows,
    )
    back = moments[-1]["heads"]["back"]
    habits = []
    for layer, row in enumerate(back[0]):
        cells = []
        for head in range(len(row)):
            weight, distance = max((scores[layer][head], d) for d, scores in enumerate(back))
            cells.append(f"{distance} back: {weight:.2f}")
        habits.append([str(layer + 1), *cells])
    heads = ["layer", *(f"head {head + 1}" for head in range(len(back[0][0])))]
    caption = f"Every head at the end: the distance, of 0 to {len(back) - 1}, that gets most weight, and how much"
    return drawing(run["maps"]) + verdict(run) + strongest + table(caption, heads, habits)


def verdict(run: dict[str, Any]) -> str:
    """What the numbers allow one to say."""
    end, even = run["moments"][-1], run["even"]
    before, layer, head = largest(end["heads"]["back"][1])
    sentence = "".join(shown(c) for c in run["maps"]["text"])
    grown = next((m["step"] for m in run["moments"] if m["heads"]["back"][1][layer][head] > before / 2), None)
    gain, (first, second) = largest(raised(end["heads"]))[0], end["repetition"]["text"]
    copies = "There is no sign of an induction head" if gain < 0.05 else "There is a head that follows earlier copies"
    at_all = "learned to copy" if second < first - 0.05 else "not learned to copy"
    return (
        f"<p>The sentence is <code>{sentence}</code>. At the end head {head + 1} of layer {layer + 1} gives "
        f"{before:.0%} of its weight to the token before, where even weights give {even['back'][1]:.0%}; half of that "
        f"it gave at the stop at step {grown:,} for the first time. "
        f"{copies}: on random text that repeats after {run['repeat']} "
        f"characters no head gives the character after the earlier copy more than {gain:.3f} on top of what it gives "
        f"at this distance anyway. The loss agrees: a held-out passage costs {first:.2f} nats a character when it is "
        f"read, and {second:.2f} when it is read again at once. A model of this size, on so much text, has {at_all}."
        "</p>"
    )
