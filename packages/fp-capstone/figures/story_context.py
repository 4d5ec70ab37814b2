"""The held-out loss by the number of characters there were to predict from, at some stops."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import Line, chart, record, table, when


def render() -> str:
    """A line for each of some stops, and the table of all."""
    run = record()
    edges, moments, last = run["edges"], run["moments"], run["settings"]["n_steps"]
    short = run["settings"]["short_window"]
    ends = [stop - 1 for stop in edges[1:]]
    names = [str(a) if a == b else f"{a}–{b}" for a, b in zip(edges, ends, strict=False)]
    centres = [(a * b) ** 0.5 for a, b in zip(edges, ends, strict=False)]
    half = int(run["settings"]["short_share"] * last) if short else None
    steps = [m["step"] for m in moments]
    chosen = [s for s in dict.fromkeys((10, 30, 100, 300, half, last)) if s in steps]
    lines = [
        Line(when(m["step"]), 1 + i % 4, list(zip(centres, m["by_position"], strict=True)), i >= 4)
        for i, m in enumerate(m for m in moments if m["step"] in chosen)
    ]
    values = [value for line in lines for _, value in line.points]
    low, high = min(values) - 0.05, max(values) + 0.05
    picture = chart(
        lines, low, high, title="Held-out loss by length of the context, at some stops", first=1.0,
        across="characters of context (logarithmic)", down="nats per character", last=centres[-1],
        ticks=[(name, c) for name, a, c in zip(names, edges, centres, strict=False) if a in (1, 2, 3, 6, 17, 65, 193)],
        grid=[n / 2 for n in range(1, 12) if low < n / 2 < high],
    )  # fmt: skip
    rows = [[when(m["step"]), *(f"{value:.2f}" for value in m["by_position"])] for m in moments]
    caption = f"Held-out loss in nats per character, in windows of {edges[-1] - 1}, by characters of context"
    end = moments[-1]["by_position"]
    text = (
        f"<p>At the end, a character with {names[-1]} before it costs {end[0] - end[-1]:.2f} nats less than one with a "
        f"single character before it, and {end[names.index('17–32')] - end[-1]:.2f} less than one with 17 to 32."
    )
    if short and half in steps:
        middle = moments[steps.index(half)]["by_position"]
        inside, beyond = middle[edges.index(short // 2 + 1) + 1], middle[-1]
        text += (
            f" After {half:,} steps in windows of {short}, what lies farther back than that is not only useless to the "
            f"model but harms it: with {names[edges.index(short // 2 + 1) + 1]} characters of context it pays "
            f"{inside:.2f}, with {names[-1]} it pays {beyond:.2f}. Some hundred steps in longer windows mend that, as "
            "the last rows show. (The windows begin at the same places of the text at every stop: bumps that all "
            "lines share are the text’s.)"
        )
    return picture + text + "</p>" + table(caption, ["after", *names], rows)
