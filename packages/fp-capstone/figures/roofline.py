"""
The roofline of the machine, and the operations of a step under it.

The numbers were measured by `hatch run bench:ladder --json packages/fp-capstone/benchmarks/bench_ladder.json`.
"""

import json
import math
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parents[1] / "benchmarks" / "bench_ladder.json"
LEFT, TOP, WIDTH, HEIGHT = 64.0, 70.0, 560.0, 340.0
INTENSITY, RATE = (-2, 8), (0, 3)  # powers of two, flops a byte; powers of ten, GFLOP/s
WAYS = {"plain": "one operation a line", "fused": "fused", "threaded": "fused, on every core"}
NAMES = {  # anchor, and where the name stands from the lowest mark
    "AdamW": ("middle", 0, 20),
    "LayerNorm": ("end", 4, 20),
    "GELU": ("start", 9, 5),
    "attention": ("start", 9, 5),
    "linear map": ("middle", 0, 20),
}


def place(intensity: float, rate: float) -> tuple[float, float]:
    x = LEFT + (math.log2(intensity) - INTENSITY[0]) / (INTENSITY[1] - INTENSITY[0]) * WIDTH
    return x, TOP + (RATE[1] - math.log10(rate)) / (RATE[1] - RATE[0]) * HEIGHT


def frame() -> list[str]:
    parts = []
    for power in range(INTENSITY[0], INTENSITY[1] + 1):
        x, _ = place(2.0**power, 1)
        label = f"{2**power}" if power >= 0 else f"1/{2**-power}"
        parts.append(f'<path d="M{x:.1f} {TOP}v{HEIGHT}" stroke="currentColor" opacity=".12"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{label}</text>')
    for power in range(RATE[0], RATE[1] + 1):
        _, y = place(1, 10.0**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="currentColor" opacity=".12"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power}</text>')
    middle = LEFT + WIDTH / 2
    parts.append(f'<text x="{middle}" y="{TOP + HEIGHT + 38}" text-anchor="middle">intensity, flops a byte</text>')
    parts.append(f'<text transform="translate(16 {TOP + HEIGHT / 2}) rotate(-90)" text-anchor="middle">GFLOP/s</text>')
    return parts


def roof(peak: float, bandwidth: float, colour: str, dashes: str, name: str) -> str:
    """The line min(peak, intensity times bandwidth), with its name along the slope."""
    low, high = 2.0 ** INTENSITY[0], 2.0 ** INTENSITY[1]
    corners = [place(low, low * bandwidth), place(peak / bandwidth, peak), place(high, peak)]
    d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)
    (x0, y0), (x1, y1) = corners[:2]
    angle = math.degrees(math.atan2(y1 - y0, x1 - x0))
    at = f"translate({x0 + 0.4 * (x1 - x0):.1f} {y0 + 0.4 * (y1 - y0) + 17:.1f}) rotate({angle:.1f})"
    return (
        f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dashes}"/>'
        f'<text transform="{at}" fill="{colour}" font-size="12">{name}</text>'
    )


def mark(way: str, x: float, y: float) -> str:
    if way == "threaded":
        return f'<path d="M{x - 5:.1f} {y + 4:.1f}h10l-5 -9z" fill="var(--figure-3)"/>'
    fill = "var(--figure-1)" if way == "fused" else "none"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="var(--figure-1)" stroke-width="1.6"/>'


def rates(o: dict[str, Any]) -> dict[str, float]:
    return {way: o["flops"] / o[f"{way} ms"] / 1e6 for way in WAYS}


def drawing(found: dict[str, Any]) -> str:
    peaks, cores = found["peaks"], str(found["machine"]["cores"])
    parts = frame()
    for kind, colour in (("memory", "var(--figure-2)"), ("cache", "var(--figure-4)")):
        parts.append(roof(peaks["sgemm"]["1"], peaks[kind]["1"], colour, "", f"{kind}, one core"))
        if cores != "1":
            parts.append(roof(peaks["sgemm"][cores], peaks[kind][cores], colour, "5 4", ""))
    for o in found["operations"]:
        x = place(o["flops"] / o["bytes"], 1)[0]
        ys = {way: place(1, rate)[1] for way, rate in rates(o).items()}
        parts.append(f'<path d="M{x:.1f} {min(ys.values()):.1f}V{max(ys.values()):.1f}" stroke="currentColor" ')
        parts.append('opacity=".4"/>')
        parts += [mark(way, x, y) for way, y in ys.items()]
        anchor, right, down = NAMES[o["name"]]
        y = max(ys.values()) + down
        parts.append(f'<text x="{x + right:.1f}" y="{y:.1f}" text-anchor="{anchor}">{o["name"]}</text>')
    x = LEFT
    for way, name in WAYS.items():
        parts.append(mark(way, x + 6, 14) + f'<text x="{x + 18:.0f}" y="18">{name}</text>')
        x += 40 + 7.2 * len(name)
    parts.append(f'<text x="{LEFT}" y="42">solid roofs: one core; dashed: {cores} cores</text>')
    width, height = LEFT + WIDTH + 24, TOP + HEIGHT + 48
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" font-size="13" '
        'font-family="inherit" fill="currentColor"><title>Rates of operations under the roofs of memory and cache; '
        f"both axes are logarithmic</title>{''.join(parts)}</svg>"
    )


def table(found: dict[str, Any]) -> str:
    peaks, cores = found["peaks"], str(found["machine"]["cores"])
    rows = []
    for o in found["operations"]:
        intensity = o["flops"] / o["bytes"]
        roofs = [min(peaks["sgemm"]["1"], intensity * peaks[kind]["1"]) for kind in ("memory", "cache")]
        cells = [f"{intensity:.2f}", *(f"{rate:.1f}" for rate in [*rates(o).values(), *roofs])]
        rows.append(f'<tr><th scope="row">{o["name"]}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    heads = ["operation", "flops<br/>a byte", "one operation<br/>a line", "fused", f"fused,<br/>{cores} cores"]
    heads += ["roof of<br/>memory", "roof of<br/>cache"]
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    lines = "; ".join(
        f"{name} {peaks[kind]['1']:.0f} on one core and {peaks[kind][cores]:.0f} on {cores}"
        for kind, name in (("sgemm", "products, GFLOP/s:"), ("memory", "memory, GB/s:"), ("cache", "cache, GB/s:"))
    )
    caption = (
        f"GFLOP/s of the forward operations at the size {found['operations size']}; roofs of one core. {lines}. "
        f"A call of NumPy takes {peaks['call us']:.1f} µs, a flop of a Python loop {peaks['python flop ns']:.0f} ns"
    )
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def render() -> str:
    """The drawing, and its numbers as a table."""
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    return drawing(found) + table(found)
