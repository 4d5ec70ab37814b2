r"""
The loss curve: one picture that says whether training works.

Three things belong in it. The **training loss** of each step, which is noisy, because every step sees other windows: a
light line, with an exponential moving average over it. The **held-out loss**, which decides. And the **n-gram models**
as horizontal lines: a loss is a number without a scale until something simpler stands beside it.

## In practice

Look for: a fast fall in the first steps, to the level of the 1-gram; slower progress after; a gap between training and
held-out loss that opens (the model begins to memorise); a spike (a rate too high). Stage 8 makes a science of it.
`matplotlib` is an extra of this package, `fp-capstone[plot]`, and imported only when a picture is drawn.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

__all__ = ["draw_losses", "moving_average"]


def moving_average(values: Float[np.ndarray, " n"], decay: float = 0.95) -> Float[np.ndarray, " n"]:
    """
    Exponential moving average, corrected for its start.

    Parameters
    ----------
    values
        In order.
    decay
        Weight of the past, in `[0, 1)`.

    Returns
    -------
    ndarray
        At each place the mean of the values so far, value `j` places back having the weight `decay ** j`.

    Examples
    --------
    >>> moving_average(np.array([1.0, 2.0, 3.0]), decay=0.5).round(3)
    array([1.   , 1.667, 2.429])
    """
    out = np.empty_like(values)
    total = weight = 0.0
    for i, value in enumerate(values):
        total, weight = decay * total + value, decay * weight + 1
        out[i] = total / weight
    return out


def draw_losses(path: Path, rows: Sequence[Mapping[str, str]], baselines: Mapping[str, float], title: str) -> None:
    """
    Draw training and held-out loss over steps, with the n-gram models as lines.

    Parameters
    ----------
    path
        An SVG or PNG file, replaced at once when the picture is complete.
    rows
        Of `metrics.csv`.
    baselines
        Name to loss in nats per token.
    title
        What was trained on; names the text's hash and the window.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    """
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "fp-capstone"  # the same curve gives the same file
    from matplotlib.figure import Figure

    trained = [row for row in rows if row["train_loss"]]  # the other rows are evaluations only
    steps = np.array([int(row["step"]) for row in trained])
    losses = np.array([float(row["train_loss"]) for row in trained])
    scored = [(int(row["step"]), float(row["held_out_loss"])) for row in rows if row["held_out_loss"]]

    figure = Figure(figsize=(8, 5))
    axes = figure.add_axes((0.08, 0.1, 0.79, 0.83))
    if steps.size:
        axes.plot(steps, losses, color="#9ecae1", linewidth=0.7)
        axes.plot(steps, moving_average(losses), color="#2171b5", linewidth=1.6, label="training, moving average")
    if scored:
        axes.plot(
            *zip(*scored, strict=True), color="#d94801", marker="o", markersize=4, linewidth=1.6, label="held out"
        )
    for row, following in pairwise(rows):
        if row["window"] != following["window"]:
            axes.axvline(int(row["step"]), color="#969696", linewidth=0.8, linestyle=":")
            label = f" window {row['window']} → {following['window']}"
            axes.annotate(label, (int(row["step"]), 0.01), xycoords=("data", "axes fraction"), fontsize=8)
    last = max([1, *steps.tolist()])
    for name, loss in baselines.items():
        axes.axhline(loss, color="#737373", linewidth=0.9, linestyle="--")
        axes.annotate(
            f"{name}  {loss:.3f}",
            (1, loss),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="#525252",
        )
    axes.set(xlabel="step", ylabel="loss, nats per token", xlim=(0, last))
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.25)
    if steps.size or scored:
        axes.legend(loc="upper right", frameon=False)

    staging = path.with_name(f".{path.stem}.saving{path.suffix}")
    try:
        figure.savefig(staging, metadata={"Date": None} if path.suffix == ".svg" else None)
        staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)
