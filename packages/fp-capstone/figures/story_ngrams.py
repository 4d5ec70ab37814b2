"""How far the model is from each table of counts, and which is the nearest, at each stop."""

import sys
from itertools import pairwise
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import BEFORE, Line, chart, record, step_ticks, table, when


def render() -> str:
    """A chart of five divergences and their table."""
    run = record()
    moments, last = run["moments"], run["settings"]["n_steps"]
    orders = list(moments[0]["divergence"])
    lines = [
        Line(f"{order}-gram", 1 + i % 4, [(max(m["step"], BEFORE), m["divergence"][order]) for m in moments], i >= 4)
        for i, order in enumerate(orders)
    ]
    high = max(max(m["divergence"].values()) for m in moments[1:])
    picture = chart(
        lines, 0.0, high, title="Divergence of the model from five tables of counts over steps",
        across="steps (logarithmic)", down="D(q ‖ p), nats", last=last, ticks=step_ticks(last),
        grid=[n / 2 for n in range(12) if n / 2 < high],
    )  # fmt: skip
    rows, nearest = [], []
    for moment in moments:
        found = moment["divergence"]
        best = min(orders, key=lambda order: found[order])
        nearest.append((moment["step"], best))
        cells = [f"<strong>{found[o]:.3f}</strong>" if o == best else f"{found[o]:.3f}" for o in orders]
        rows.append([when(moment["step"]), *cells])
    turns = [nearest[0], *(b for a, b in pairwise(nearest) if a[1] != b[1])]
    told = ", ".join(f"the {order}-gram from {f'step {step:,}' if step else 'the beginning'}" for step, order in turns)
    pairs = min(m["divergence"]["2"] for m in moments)
    caption = "Mean divergence from each table, in nats per character; the nearest is set in bold"
    text = (
        "<p>At the same places of the held-out text, with half a window before them, for the smoothed tables of "
        f"stage 1. At the stops the nearest table is {told}. A model that became one table after "
        f"the other would touch each line at zero. This one comes nearest to the table of pairs, within {pairs:.2f} "
        "nats. From later ones it turns away long before it has learned them, for it is learning the next all the "
        "while, and in the end something that is none of them.</p>"
    )
    return picture + text + table(caption, ["after", *(f"{order}-gram" for order in orders)], rows)
