r"""
One page about a run.

Curves are looked at by people, on whatever screen is at hand, and sent to others. So the report is one file that needs
nothing else: no server, no script, no style sheet, no font from elsewhere. Its figures are vector graphics within the
page, and it is readable in the light and in the dark.

You need: `fp_dynamics.history`.

## What is drawn

- **Loss**: each step's as a faint line, the smoothed one over it, the held-out losses as dots, and horizontal lines for
  $\ln V$, where a model begins that knows nothing, and for the n-gram models, if the run has ended.
- **Rate, length of the gradient, throughput**, the second on a logarithmic axis: a gradient that grows by a factor of
  ten is not ten times as interesting.
- **Layers**, if a `Recorder` wrote `layers.jsonl`: update ratios, gradients, sizes of the outputs, shares of units that
  are dead, saturated or closed. One line for each layer, from orange at the bottom to blue at the top; the page names a
  line that is pointed at.

A long run has more steps than the screen has columns. `thinned` keeps, of each column's steps, the lowest and the
highest value: a mean of them would hide the spikes, and to draw all would make a file of many megabytes.

**Claim** `dynamics.thinning`. Cut $n$ values into $b$ runs of neighbours and keep the smallest and the largest of each
run, in their order. At most $2b$ values are left, the smallest and the largest of all are among them, and every value
that was left out lies between two that were kept and stand in its own run.

**Proof.** Two from each run. The largest of all is the largest of its run, and so for the smallest. A value that was
left out is at least the smallest and at most the largest of its run, and both were kept. $\blacksquare$

>>> from fp_dynamics.history import RunHistory
>>> history = RunHistory.from_records([{"step": i, "loss": 3 / i, "lr": 0.1} for i in range(1, 50)])
>>> page = report_html(history, title="a run")
>>> page.startswith("<!doctype html>"), page.count("<svg"), "http" in page.replace("http://www.w3.org/2000/svg", "")
(True, 2, False)

## In practice

TensorBoard and its like refresh by themselves and compare runs. A file can be kept beside the run, and read in ten
years. What to look for in the curves is the subject of `fp_dynamics.diagnosis`, whose findings head the page.
"""

import html
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from fp_dynamics.history import RunHistory, smooth
from fp_markov._files import replacing

__all__ = ["report_html", "write_report", "thinned"]  # the order of the page

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 800, 280, 62, 96, 14, 34
COLUMNS = 400

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --dim: #5c6670; --line: #d8dde3; --a: #1f66b0;
  --faint: #9cc3ea; --b: #c4500b; --error: #b3261e; --warning: #8a5a00 }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e6e9ec; --dim: #9aa4ae; --line: #353c44;
  --a: #6cb0f5; --faint: #2f5579; --b: #f0955a; --error: #ff8a80; --warning: #e8b64c } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 52rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem } p.about { color: var(--dim); margin: .2rem 0 }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--dim); font: 12px system-ui, sans-serif }
.grid { stroke: var(--line); stroke-width: 1 } .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round }
.a { stroke: var(--a) } .b { stroke: var(--b) } .faint { stroke: var(--faint); stroke-width: 1 }
.level { stroke: var(--dim); stroke-dasharray: 5 4 } circle { fill: var(--b) } .curve:hover { stroke-width: 4 }
table { border-collapse: collapse; display: block; overflow-x: auto } td, th { padding: .15rem .8rem .15rem 0;
  text-align: left; vertical-align: top } th { font-weight: 600 } .error { color: var(--error) }
.warning { color: var(--warning) } details { margin-top: 2rem }
@media (max-width: 40rem) { svg text { font-size: 18px } }
"""

LAYER_FIGURES = (
    ("update_ratio", "Update ratio", "Length of the step over that of the weights, by layer; 0.001 is usual.", True),
    ("grad_norm", "Gradients by layer", "Length of the gradient of each layer's parameters.", True),
    ("output_rms", "Outputs by layer", "Root mean square of what each layer gives.", True),
    ("dead_share", "Dead units", "Share of units that pass no gradient for anything in the batch.", False),
    ("saturated_share", "Saturated", "Share of entries of tanh or sigmoid layers whose slope is nearly zero.", False),
    ("closed_share", "Closed gates", "Share of entries of SiLU or GELU layers whose gate is below 0.05.", False),
)  # fmt: skip


class _Curve(NamedTuple):
    """A line of a figure."""

    steps: np.ndarray
    values: np.ndarray
    kind: str
    name: str = ""
    colour: str = ""
    dots: bool = False


def thinned(
    steps: Integer[np.ndarray, " n"], values: Float[np.ndarray, " n"], columns: int = COLUMNS
) -> tuple[Integer[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """
    A curve with few points that looks the same (`dynamics.thinning`).

    Parameters
    ----------
    steps, values
        The curve.
    columns
        Into how many runs it is cut.

    Returns
    -------
    steps, values : ndarray
        At most `2 * columns` of those that are finite.

    Raises
    ------
    ValueError
        If there are no columns.

    Examples
    --------
    >>> thinned(np.arange(6), np.array([0.0, 5.0, 1.0, 2.0, -1.0, 0.0]), columns=2)
    (array([0, 1, 3, 4]), array([ 0.,  5.,  2., -1.]))
    """
    if columns < 1:
        raise ValueError(f"columns is at least 1, got {columns}")
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if steps.size <= 2 * columns:
        return steps, values
    kept = []
    for part in np.array_split(np.arange(steps.size), columns):
        kept += sorted({int(part[np.argmin(values[part])]), int(part[np.argmax(values[part])])})
    return steps[kept], values[kept]


def report_html(
    history: RunHistory, *, title: str = "A training run", findings: Iterable[Any] = (), decay: float | int = 0.95
) -> str:
    """
    The page.

    Parameters
    ----------
    history
        Of the run.
    title
        Heads it.
    findings
        With `name`, `evidence`, `remedy` and `severity`, as `fp_dynamics.diagnosis.diagnose` gives them.
    decay
        Of the smoothing of the loss.

    Returns
    -------
    str
        HTML, complete.

    Raises
    ------
    ValueError
        If the run has no steps yet.
    """
    if not history.records:
        raise ValueError("the run has no steps yet: wait until its first row is written")
    parts = [_summary(history), _findings(list(findings)), _loss_figure(history, decay)]
    for name, heading, about, logarithmic in (
        ("lr", "Learning rate", "", False),
        ("grad_norm", "Length of the gradient", "Of all parameters together, before clipping.", True),
        ("tokens_per_second", "Throughput", "Tokens per second.", False),
    ):
        steps, values = history.curve(name)
        if np.isfinite(values).any():
            parts.append(_figure(heading, about, [_Curve(steps, values, "a", name)], logarithmic))
    for name, heading, about, logarithmic in LAYER_FIGURES:
        parts.append(_layer_figure(history, name, heading, about, logarithmic))
    settings = "".join(f"<tr><td>{_text(k)}</td><td>{_text(v)}</td></tr>" for k, v in history.settings.items())
    if settings:
        parts.append(f"<details><summary>Settings</summary><table>{settings}</table></details>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n'
        f"<body><h1>{_text(title)}</h1>\n{body}\n</body></html>\n"
    )


def write_report(path: str | Path, page: str) -> None:
    """
    Write a page, whole or not at all.

    Parameters
    ----------
    path
        The file, which is replaced.
    page
        Of `report_html`.
    """
    with replacing(path) as file:
        file.write(page.encode("utf-8"))


# --- the parts of the page


def _text(value: object) -> str:
    return html.escape(str(value))


def _summary(history: RunHistory) -> str:
    rows = [("steps", f"{int(history.steps[-1]):,}")]
    for name, label in (("loss", "loss, smoothed"), ("held_out_loss", "held-out loss, last")):
        steps, values = history.curve(name)
        if values.size:
            shown = smooth(values, 0.95)[-1] if name == "loss" else values[-1]
            rows.append((label, f"{shown:.4f} nats per token, at step {int(steps[-1]):,}"))
    steps, values = history.curve("held_out_loss")
    if np.isfinite(values).any():
        best = int(np.nanargmin(values))
        rows.append(("held-out loss, best", f"{values[best]:.4f}, at step {int(steps[best]):,}"))
    if history.vocab_size:
        rows.append(("ln V", f"{math.log(history.vocab_size):.4f}, for {history.vocab_size:,} tokens"))
    return "<table>" + "".join(f"<tr><th>{_text(a)}</th><td>{_text(b)}</td></tr>" for a, b in rows) + "</table>"


def _findings(findings: Sequence[Any]) -> str:
    if not findings:
        return ""
    rows = "".join(
        f'<tr><th class="{_text(f.severity)}">{_text(f.name)}</th>'
        f"<td>{_text(f.evidence)}<br>{_text(f.remedy)}</td></tr>"
        for f in findings
    )
    return f"<h2>Findings</h2><table>{rows}</table>"


def _loss_figure(history: RunHistory, decay: float) -> str:
    steps, values = history.curve("loss")
    scored, held_out = history.curve("held_out_loss")
    curves = [
        _Curve(steps, values, "faint", "each step"),
        _Curve(steps, smooth(values, decay), "a", "smoothed"),
        _Curve(scored, held_out, "b", "held out", dots=True),
    ]
    levels = dict(history.baselines)
    if history.vocab_size:
        levels["ln V"] = math.log(history.vocab_size)
    about = f"Nats per token; smoothed over about {round((1 + decay) / (1 - decay))} steps; dots are held-out text."
    return _figure("Loss", about, curves, levels=levels)


def _layer_figure(history: RunHistory, name: str, heading: str, about: str, logarithmic: bool) -> str:
    found = [(layer, *history.curve(name, layer)) for layer in history.layers]
    found = [(layer, steps, values) for layer, steps, values in found if np.isfinite(values).any()]
    shares = [i / max(1, len(found) - 1) for i in range(len(found))]
    curves = [
        _Curve(steps, values, "", layer, f"color-mix(in oklab, var(--a) {round(100 * s)}%, var(--b))")
        for (layer, steps, values), s in zip(found, shares, strict=True)
    ]
    return _figure(heading, about, curves, logarithmic) if curves else ""


def _figure(
    heading: str,
    about: str,
    curves: Sequence[_Curve],
    logarithmic: bool = False,
    levels: dict[str, float] | None = None,
) -> str:
    """A heading, a sentence and a graphic; nothing if there is nothing to draw."""
    drawn = [c._replace(steps=s, values=v) for c in curves for s, v in [thinned(c.steps, c.values)]]
    if logarithmic:
        drawn = [c._replace(steps=c.steps[c.values > 0], values=c.values[c.values > 0]) for c in drawn]
    drawn = [c for c in drawn if c.values.size]
    if not drawn:
        return ""
    levels = levels or {}
    y = np.concatenate([*[c.values for c in drawn], np.array(list(levels.values()), np.float64)])
    low, high = _range(np.log10(y) if logarithmic else y)
    first, last = min(int(c.steps[0]) for c in drawn), max(int(c.steps[-1]) for c in drawn)

    def at(step: float | int, value: float) -> tuple[float, float]:
        value = math.log10(value) if logarithmic else value
        x = LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / max(1, last - first)
        return round(x, 1), round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)

    marks = []
    for value in _ticks(low, high):
        shown = 10.0 ** min(value, 308.0) if logarithmic else value  # the largest power of ten that a float holds
        _, py = at(first, shown)
        marks.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py}" y2="{py}"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{py + 4}" text-anchor="end">{shown:.3g}</text>')
    for step in _ticks(first, last):
        px, _ = at(step, 1.0)
        marks.append(f'<text x="{px}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step:,.6g}</text>')
    lowest = math.inf
    for name, value in sorted(levels.items(), key=lambda item: item[1]):
        _, py = at(first, value)
        marks.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py}" y2="{py}"/>')
        lowest = min(py, lowest - 13)  # names do not stand on each other
        marks.append(f'<text x="{WIDTH - RIGHT + 6}" y="{lowest + 4}">{_text(name)} {value:.2f}</text>')
    marks += [_drawn(c, [at(s, v) for s, v in zip(c.steps.tolist(), c.values.tolist(), strict=True)]) for c in drawn]
    label = f"{heading} against steps {first} to {last}; last value {drawn[0].values[-1]:.4g}"
    return (
        f'<h2>{_text(heading)}</h2><p class="about">{_text(about)}</p>'
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{_text(label)}">{"".join(marks)}</svg>'
    )


def _drawn(curve: _Curve, points: list[tuple[float, float]]) -> str:
    style = f' style="stroke: {curve.colour}"' if curve.colour else ""
    path = " ".join(f"{x},{y}" for x, y in points)
    line = f'<polyline class="curve {curve.kind}"{style} points="{path}"><title>{_text(curve.name)}</title></polyline>'
    if curve.dots or len(points) == 1:
        line += "".join(f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in points)
    return line


def _range(y: np.ndarray) -> tuple[float, float]:
    """From the lowest to the highest value, and a little more; never empty."""
    low, high = float(y.min()), float(y.max())
    margin = 0.04 * (high - low) or max(abs(low), 1.0) * 0.1
    return max(low - margin, 0.0) if low >= 0 else low - margin, high + margin


def _ticks(low: float | int, high: float | int) -> list[float]:
    """Round numbers within a range, about five of them."""
    span = max(high - low, 1e-12)
    step = 10.0 ** math.floor(math.log10(span))
    step *= next(f for f in (0.1, 0.2, 0.5, 1.0, 2.0) if span / (f * step) <= 6)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
