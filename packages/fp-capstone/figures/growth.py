"""Time of a token against width, depth, context and batch: the measured times, and the flops of (G1)."""

import json
import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fp_capstone.growth import fit_overhead, overtaking_length
from fp_transformer.config import TransformerConfig

KEPT = Path(__file__).parent.parent / "benchmarks" / "bench_growth.json"
TITLES = {
    "width": "width C",
    "depth": "blocks L",
    "context": "context T, 4096 tokens a step",
    "batch": "texts a step B",
}
DRAWN = {  # the name of each column: what it is called, its colour
    "fp_capstone": ("fp-capstone", "var(--figure-1)"),
    "eager": ("PyTorch", "var(--figure-2)"),
    "flops": ("flops, (G1)", "var(--figure-3)"),
}
BASE = TransformerConfig.gpt2(vocab_size=65, context_length=64, n_layers=4, n_heads=4, d_model=128)
WIDTH, HEIGHT, LEFT, TOP, ACROSS, DOWN = 300.0, 190.0, 52.0, 74.0, 388.0, 306.0  # of a panel, and to the next


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two, at least two of them."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8)):
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        found = [n * 10.0**p for p in powers for n in steps if low <= n * 10.0**p <= high]
        if len(found) >= 3:
            break
    return found


class Axes:
    """From values to places in a panel."""

    def __init__(self, x: np.ndarray, low: float, high: float) -> None:
        self.x0, self.x1 = math.log(x[0] / 1.15), math.log(x[-1] * 1.15)
        self.y0, self.y1 = math.log(low), math.log(high)

    def x(self, value: float) -> float:
        return (math.log(value) - self.x0) / (self.x1 - self.x0) * WIDTH

    def y(self, value: float) -> float:
        return (self.y1 - math.log(value)) / (self.y1 - self.y0) * HEIGHT

    def line(self, x: np.ndarray, y: np.ndarray) -> str:
        return "M" + "L".join(f"{self.x(a):.1f} {self.y(b):.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def columns(measured: dict[str, Any]) -> dict[str, np.ndarray]:
    """The points, by column."""
    return {name: np.array([float(point[name]) for point in measured["points"]]) for name in measured["points"][0]}


def panel(what: str, measured: dict[str, Any]) -> str:
    """One drawing: points, the line fitted to the upper half, and the flops, which meet ours in the last point."""
    points = columns(measured)
    x = points["value"]
    shown = {name: points[name] for name in DRAWN if name in points}
    shown["flops"] = points["flops"] * (points["fp_capstone"][-1] / points["flops"][-1])
    low, high = (f(float(f(values)) for values in shown.values()) for f in (min, max))
    middle = math.sqrt(low * high)
    low, high = min(low / 1.2, middle / 3), max(high * 1.2, middle * 3)
    axes = Axes(x, low, high)
    parts = [f'<text x="{WIDTH / 2}" y="{HEIGHT + 36}" text-anchor="middle">{TITLES[what]}</text>']
    for tick in ticks(low, high):
        y = axes.y(tick)
        parts.append(
            f'<path d="M0 {y:.1f}h{WIDTH}" stroke="currentColor" opacity=".15"/>'
            f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{tick:,.4g}</text>'
        )
    for value in x.tolist():
        parts.append(
            f'<path d="M{axes.x(value):.1f} {HEIGHT}v5" stroke="currentColor"/>'
            f'<text x="{axes.x(value):.1f}" y="{HEIGHT + 18}" text-anchor="middle">{value:.0f}</text>'
        )
    for row, (name, values) in enumerate(shown.items()):
        label, colour = DRAWN[name]
        fit = measured["fits"][name]["upper"]
        error = "" if name == "flops" else f" ± {fit['error']:.2f}"
        told = f"{label}: {signed(fit['exponent'])}{error}"
        dashed = ' stroke-dasharray="6 4"' if name == "flops" else ""
        y = 18 * row - 58
        parts.append(
            f'<path d="M0 {y}h26" stroke="{colour}" stroke-width="2"{dashed}/>'
            f'<text x="32" y="{y + 4}" fill="{colour}">{told}</text>'
        )
        if name == "flops":
            parts.append(
                f'<path d="{axes.line(x, values)}" fill="none" stroke="{colour}" stroke-width="2" '
                'stroke-dasharray="6 4"/>'
            )
            continue
        upper = x[len(x) // 2 :]
        line = axes.line(upper, fit["constant"] * upper ** fit["exponent"])
        parts.append(f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{axes.x(a):.1f}" cy="{axes.y(b):.1f}" r="3.5" fill="{colour}"/>'
            for a, b in zip(x.tolist(), values.tolist(), strict=True)
        ]
    return "".join(parts)


def signed(value: float) -> str:
    """Two digits, with a minus and no negative zero."""
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")


def drawing(results: dict[str, Any]) -> str:
    parts = []
    for i, what in enumerate(TITLES):
        row, column = divmod(i, 2)
        place = f"translate({LEFT + column * ACROSS:.0f} {TOP + row * DOWN:.0f})"
        parts.append(f'<g transform="{place}">{panel(what, results[what])}</g>')
    for row in range(2):
        y = TOP + row * DOWN + HEIGHT / 2
        parts.append(f'<text transform="translate(12 {y}) rotate(-90)" text-anchor="middle">µs a token</text>')
    width, height = LEFT + ACROSS + WIDTH + 14, TOP + DOWN + HEIGHT + 46
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="12.5" font-family="inherit" '
        f'fill="currentColor" width="{width:.0f}"><title>Microseconds of training a token, against width, blocks, '
        "context and batch, all axes logarithmic, with exponents fitted to the upper half</title>"
        f"{''.join(parts)}</svg>"
    )


def exponents(results: dict[str, Any]) -> str:
    """What was fitted, and what the formula gives at the same points."""
    rows = []
    for what, title in TITLES.items():
        fits = results[what]["fits"]
        values = [point["value"] for point in results[what]["points"]]
        for part, first in (("all", 0), ("upper", len(values) // 2)):
            cells = [f"{values[first]} to {values[-1]}", signed(fits["flops"][part]["exponent"])]
            for name in ("fp_capstone", "eager"):
                fit = fits.get(name, {}).get(part)
                cells.append(f"{signed(fit['exponent'])} ± {fit['error']:.2f}" if fit else "–")
            inner = "".join(f"<td>{cell}</td>" for cell in cells)
            rows.append(f'<tr><th scope="row">{title.split(",")[0]}</th>{inner}</tr>')
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("", "from", "flops, (G1)", "fp-capstone", "PyTorch"))
    caption = "Fitted exponents of the time of a token, with standard errors"
    return f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def times(results: dict[str, Any]) -> str:
    """The points."""
    most = max(len(results[what]["points"]) for what in TITLES)
    rows = []
    for what, title in TITLES.items():
        points = columns(results[what])
        rows.append(("value", title, [f"<b>{value:.0f}</b>" for value in points["value"]]))
        rows.append(("flops", "million flops", [f"{value / 1e6:.2f}" for value in points["flops"]]))
        rows += [
            (n, DRAWN[n][0] + ", µs", [f"{v:.1f}" for v in points[n]]) for n in DRAWN if n in points and n != "flops"
        ]
    body = "".join(
        f'<tr><th scope="row">{"<b>" + title + "</b>" if name == "value" else title}</th>'
        f"{''.join(f'<td>{cell}</td>' for cell in cells + [''] * (most - len(cells)))}</tr>"
        for name, title, cells in rows
    )
    return f"<table><caption>A token in training</caption><tbody>{body}</tbody></table>"


def told(results: dict[str, Any]) -> str:
    """How it was measured, and the two lines that the section speaks of."""
    machine = results["machine"]
    context, batch = columns(results["context"]), results["batch"]["fits"]
    long = context["value"] >= 64
    crossing = {n: fit_overhead(context["value"][long], context[n][long]) for n in batch if n != "flops"}
    lengths = " and ".join(f"{found.half_batch:,.0f} tokens ({DRAWN[n][0]})" for n, found in crossing.items())
    halves = " and ".join(
        f"{found['line']['once'] / 1e3:.1f} ms once and {found['line']['each'] / 1e3:.2f} ms a text, so "
        f"B<sub>½</sub> = {found['line']['once'] / found['line']['each']:.1f} ({DRAWN[n][0]})"
        for n, found in batch.items()
        if n != "flops"
    )
    return (
        "<p>A training step of GPT-2's form, 65 tokens, heads 32 wide; where nothing else is said 4 blocks of width "
        "128 and 16 texts of 64 tokens. Solid lines are fitted to the upper half of the points; the dashed one is "
        f"(G1), made to meet ours in the last point. A line through the times at 64 tokens or more puts T* at {lengths}"
        f", where flops alone have it at {overtaking_length(BASE):,.0f}. A line over the batch, from four texts on, "
        f"gives {halves}. Medians of alternating turns on "
        f"{escape(results['date'])}: {escape(machine['processor'])}, {machine['threads']} threads, "
        f"{escape(', '.join(machine['blas']))}, {machine['peak gflops']:.0f} GFLOP/s in a large product, NumPy "
        f"{escape(machine['numpy'])}, PyTorch {escape(machine.get('torch', '–'))}.</p>"
    )


def render() -> str:
    """The drawing, how it was measured, exponents and times."""
    results = json.loads(KEPT.read_text(encoding="utf-8"))
    return drawing(results) + told(results) + exponents(results) + times(results)
