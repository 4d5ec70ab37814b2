"""The two losses of the run on their way past the n-gram models, and at which step each was passed."""

import sys
from itertools import pairwise
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import BEFORE, Line, about, chart, record, step_ticks, table, when


def passed(curve: list[list[float]], mark: float) -> str:
    """The first step of the grid at which the held-out loss is below a mark, and the one before it."""
    for (before, *_), (step, loss, _) in pairwise(curve):
        if loss < mark:
            return f"{step:,}" if step - before <= 1 else f"{before + 1:,} to {step:,}"
    return "never"


def render() -> str:
    """The curves, the table of stops, and the steps at which the tables were passed."""
    run = record()
    last, few = run["settings"]["n_steps"], run["few"]["marks"]
    lines = [
        Line("held out", 2, [(max(step, BEFORE), loss) for step, loss, _ in run["curve"]]),
        Line("training", 1, [(step, loss) for step, _, loss in run["curve"] if loss is not None]),
    ]
    high, low = max(loss for _, loss, _ in run["curve"]), min(loss for _, _, loss in run["curve"][1:])
    low = min(low, min(few.values())) - 0.05
    picture = chart(
        lines, low, high + 0.05, title="Training and held-out loss over steps, with the n-gram models as lines",
        across="steps (logarithmic)", down="nats per character", last=last, ticks=step_ticks(last),
        grid=[n / 2 for n in range(1, 12) if low < n / 2 < high],
        marks=[(f"{order}-gram {mark:.2f}", mark) for order, mark in few.items()],
    )  # fmt: skip
    rows = []
    for moment in run["moments"]:
        beaten = [order for order, mark in run["marks"].items() if moment["held_out"] < mark]
        rows.append([
            when(moment["step"]), f"{moment['tokens']:,}", str(moment["window"]), f"{moment['train']:.3f}",
            f"{moment['held_out']:.3f}", f"1 to {beaten[-1]}" if len(beaten) > 1 else beaten[0] if beaten else "–",
        ])  # fmt: skip
    marks = ", ".join(f"{mark:.3f}" for mark in run["marks"].values())
    stops = table(
        "Loss in nats per character, without dropout; the last column names the n-gram models that are worse on the "
        f"same held-out text (orders 1 to 5: {marks})",
        ["after", "characters<br/>trained on", "window", "training<br/>text", "held-out<br/>text", "beats<br/>orders"],
        rows,
    )
    beats = table(
        f"The steps in which the held-out loss passes each table, on the first {run['few']['tokens']:,} characters",
        ["table", "its loss there", "passed in step"],
        [[f"{order}-gram", f"{mark:.3f}", passed(run["curve"], mark)] for order, mark in few.items()],
    )
    end = run["moments"][-1]
    ahead = min(run["marks"].values()) - end["held_out"]
    text = (
        f"<p>{about(run)} The drawing shows a mean of the last tenth of the training losses, with dropout, and the "
        f"loss on the first {run['few']['tokens']:,} held-out characters, "
        f"in windows of 128 at most. The loss on all of the "
        f"held-out text ends {abs(ahead):.3f} nats {'below' if ahead > 0 else 'above'} the best table. Training text, "
        f"which by then was read {end['tokens'] / run['characters'][0]:.1f} times, costs "
        f"{end['held_out'] - end['train']:.3f} less than held-out text: part of what was learned is that text.</p>"
    )
    return picture + text + stops + beats
