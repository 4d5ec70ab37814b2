"""
The ladder from loops to the engine: the time of a step on each rung, and where the rest of it is.

The numbers were measured by `hatch run bench:ladder --json packages/fp-capstone/benchmarks/bench_ladder.json`.
"""

import json
import math
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parents[1] / "benchmarks" / "bench_ladder.json"
DRAWN = {"tiny": "var(--figure-1)", "cpu": "var(--figure-2)"}
LEFT, WIDTH, TOP, ROW, BAR = 96.0, 500.0, 40.0, 44.0, 13.0
LOW, HIGH = -1, 5  # powers of ten, in milliseconds


def across(ms: float) -> float:
    return LEFT + (math.log10(ms) - LOW) / (HIGH - LOW) * WIDTH


def short(ms: float) -> str:
    return f"{ms / 1e3:.1f} s" if ms >= 1e3 else f"{ms:.0f} ms" if ms >= 100 else f"{ms:.1f} ms"


def drawing(sizes: list[dict[str, Any]]) -> str:
    """Bars on a logarithmic axis: each rung of the drawn sizes, and how many times faster than the rung below."""
    rungs = [rung for rung in sizes[0]["ms"] if "," not in rung]
    bottom = TOP + len(rungs) * ROW
    parts = []
    for power in range(LOW, HIGH + 1):
        x, label = across(10.0**power), f"{10.0**power:g} ms" if power < 3 else f"{10 ** (power - 3)} s"
        parts.append(f'<path d="M{x:.1f} {TOP - 6}V{bottom}" stroke="currentColor" opacity=".15"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>')
    for n, r in enumerate(sizes):
        colour = DRAWN[r["size"]]
        parts.append(f'<path d="M{LEFT + n * 290:.0f} 14h24" stroke="{colour}" stroke-width="8"/>')
        parts.append(f'<text x="{LEFT + n * 290 + 32:.0f}" y="18">{r["size"]}: {r["tokens"]} tokens, ')
        parts.append(f"{r['parameters']:,} parameters</text>")
        below = None
        for i, rung in enumerate(rungs):
            y, ms = TOP + i * ROW + n * (BAR + 3), r["ms"][rung]
            if n == 0:
                parts.append(f'<text x="{LEFT - 8}" y="{y + BAR + 5:.1f}" text-anchor="end">{rung}</text>')
            faster = "" if below is None else f", {below / ms:.0f} times faster" if below / ms >= 10 else (
                f", {below / ms:.2f} times faster"
            )  # fmt: skip
            end = across(ms)
            parts.append(f'<path d="M{LEFT} {y + BAR / 2:.1f}H{end:.1f}" stroke="{colour}" stroke-width="{BAR}"/>')
            parts.append(f'<text x="{end + 6:.1f}" y="{y + BAR - 2:.1f}" font-size="12">{short(ms)}{faster}</text>')
            below = ms
    return (
        f'<svg viewBox="0 0 {LEFT + WIDTH + 80:.0f} {bottom + 28:.0f}" width="{LEFT + WIDTH + 80:.0f}" role="img" '
        'font-size="13" font-family="inherit" fill="currentColor"><title>The time of a training step on the five '
        f"rungs, on a logarithmic axis</title>{''.join(parts)}</svg>"
    )


def table(caption: str, heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def rungs_table(found: dict[str, Any], top: float) -> str:
    rows = []
    for r in found["sizes"]:
        below = None
        for rung, ms in r["ms"].items():
            beside = "," in rung  # no rung: compared with the one before
            times = f"{below / ms:.2f}" if below and not beside else "–"
            rate = r["flops"] / ms / 1e6
            rows.append([f"{r['size']}: {rung}", f"{ms:,.2f}" if ms < 1e4 else f"{ms:,.0f}", times])
            rows[-1] += [f"{rate:.3g}", f"{rate / top:.1%}" if rate / top > 1e-3 else f"{rate / top:.3%}"]
            below = ms
    notes = "; ".join(f"loops at {r['size']}: {r['loops']}" for r in found["sizes"] if "loops" in r)
    machine = found["machine"]
    caption = (
        f"A step on each rung; times faster: than on the rung below; {machine['cores']} cores, peak {top:.0f} GFLOP/s. "
        f"{machine['processor']}, Python {machine['python']}, NumPy {machine['numpy']}, {machine['blas']}; "
        f"{found['date']}; {notes}"
    )
    return table(caption, ["size and rung", "ms", "times faster", "GFLOP/s", "share of peak"], rows)


def rest_table(found: dict[str, Any], top: float) -> str:
    rows = []
    for r in found["sizes"]:
        best, alone = r["ms"]["threaded"], r["products ms"]
        rows.append([r["size"], f"{r['flops'] / best / 1e6 / top:.1%}", f"{alone:.2f}", f"{alone / best:.0%}"])
        rows[-1] += [f"{r['flops'] / alone / 1e6 / top:.0%}", f"{r['fused calls ms'] / r['ms']['fused']:.2%}"]
        rows[-1] += [
            f"{r['BLAS MiB']:,.1f}<br/>{r['fused MiB']:,.1f}",
            f"{r['BLAS faults']:,}<br/>{r['fused faults']:,}",
        ]
    heads = [
        "size",
        "share of peak,<br/>threaded",
        "products<br/>alone, ms",
        "share of<br/>time φ",
        "share of<br/>peak ρ",
    ]
    heads += ["calls, share<br/>of fused", "MiB: BLAS,<br/>fused", "page faults<br/>a step"]
    caption = (
        "Where the rest is. Calls: a step of the same depth in which arrays have next to no numbers. MiB: the peak of "
        "parameters, gradients, optimizer and arrays of a step"
    )
    return table(caption, heads, rows)


def render() -> str:
    """The drawing, and the numbers as tables."""
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    top = found["peaks"]["sgemm"][str(found["machine"]["cores"])]
    drawn = [r for r in found["sizes"] if r["size"] in DRAWN]
    return drawing(drawn) + rungs_table(found, top) + rest_table(found, top)
