"""The length of the gradient in each part of the model, and how long a step is beside the weights."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import Line, chart, record, step_ticks, table, when


def render() -> str:
    """The share of the weights that a step moves, drawn for four parts, and two tables."""
    run = record()
    moments, last = run["moments"], run["settings"]["n_steps"]
    parts = list(moments[0]["gradient"])
    drawn = [parts[0], parts[1], parts[-2], parts[-1]]
    moved = [m for m in moments if "update" in m and m["step"] < last]
    lines = [Line(part, 1 + i, [(m["step"], m["update"][part]) for m in moved]) for i, part in enumerate(drawn)]
    values = [value for line in lines for _, value in line.points]
    low, high = min(values) / 1.5, max(values) * 1.5
    picture = chart(
        lines, low, high, title="Length of a step over length of the weights, over steps", first=1.0,
        across="steps (logarithmic)", down="step / weights", last=last, ticks=step_ticks(last)[1:], log=True,
        grid=[10.0**n for n in range(-7, 1) if low < 10.0**n < high],
    )  # fmt: skip
    names = [part.replace(", ", ",<br/>").replace("feed-forward", "feed-fwd") for part in parts]
    lengths = [[when(m["step"]), *(f"{m['gradient'][part]:.3f}" for part in parts)] for m in moments]
    ratios = [[when(m["step"]), *(f"{m['update'][part]:.1e}".replace("e-0", "e−") for part in parts)]
              for m in moments if "update" in m]  # fmt: skip
    peak = max(moved, key=lambda m: sum(m["update"].values()))

    def spread(what: str) -> float:
        values = [value for part, value in peak[what].items() if part.startswith("block")]
        return max(values) / min(values)

    text = (
        f"<p>The rates rise over the first {run['settings']['warmup']} steps and then fall to zero on a straight line, "
        "so the step is short at both ends (the last one, which the drawing leaves out, is hardly a step). Of these "
        f"stops the one with the longest steps is step {peak['step']:,}: from {min(peak['update'].values()):.1%} to "
        f"{max(peak['update'].values()):.1%} of the weights, above the rule of thumb. Muon’s steps have a size that "
        "the gradient does not decide, and a short run has few of them. Between the parts of the blocks the gradients "
        f"there differ in length by a factor of {spread('gradient'):.1f}, the steps by one of {spread('update'):.1f}."
        "</p>"
    )
    return (
        picture + text
        + table("A step’s length over that of the weights", ["after", *names], ratios)
        + table("Length of the gradient on the same 16 windows", ["after", *names], lengths)
    )  # fmt: skip
