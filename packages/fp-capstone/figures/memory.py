"""The memory of a training step: the sum by formula, and what was measured."""

import json
from html import escape
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent.parent / "benchmarks" / "bench_memory.json"
PARTS = ("parameters", "gradients", "optimizer", "activations")  # from the bottom up
WAYS = {
    "ours": ("fp-capstone", "tapes kept"),
    "again": ("fp-capstone", "computed again"),
    "eager": ("PyTorch", "eager"),
    "compile": ("PyTorch", "compiled"),
    "jax": ("JAX", "jit"),
}
BAR, GAP, HEIGHT, LEFT, TOP, ACROSS = 46.0, 26.0, 220.0, 54.0, 70.0, 258.0


def mib(n: float) -> str:
    """Three digits or all of them."""
    return f"{n / 2**20:,.0f}" if n >= 100 * 2**20 else f"{n / 2**20:.1f}"


def level(left: float, y: float, dashed: bool) -> str:
    """A measured height across a bar."""
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<path d="M{left - 5:.0f} {y:.1f}h{BAR + 10:.0f}" stroke="currentColor" stroke-width="2.5"{dashes}/>'


def panel(rows: list[dict[str, Any]]) -> str:
    """The bars of one size."""
    most = max(max(row.get("sum", 0), row.get("allocated", 0), row["resident"]) for row in rows) * 1.06
    step = next(s for s in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if most / 2**20 / s <= 5)
    parts = [f'<text x="{len(rows) * (BAR + GAP) / 2:.0f}" y="-10" text-anchor="middle">{rows[0]["size"]}</text>']
    for value in range(0, int(most / 2**20) + 1, step):
        y = HEIGHT - value * 2**20 / most * HEIGHT
        parts.append(
            f'<path d="M0 {y:.1f}h{len(rows) * (BAR + GAP):.0f}" stroke="currentColor" opacity=".15"/>'
            f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>'
        )
    for i, row in enumerate(rows):
        left, y = GAP / 2 + i * (BAR + GAP), HEIGHT
        for k, part in enumerate(PARTS if "formula" in row else ()):
            height = row["formula"][part] / most * HEIGHT
            y -= height
            parts.append(
                f'<rect x="{left:.0f}" y="{y:.1f}" width="{BAR:.0f}" height="{height:.1f}" '
                f'fill="var(--figure-{k + 1})" opacity=".8"/>'
            )
        if "allocated" in row:
            parts.append(level(left, HEIGHT - row["allocated"] / most * HEIGHT, dashed=False))
        parts.append(level(left, HEIGHT - row["resident"] / most * HEIGHT, dashed=True))
        for line, text in enumerate(WAYS[row["way"]]):
            parts.append(
                f'<text x="{left + BAR / 2:.0f}" y="{HEIGHT + 16 + 14 * line:.0f}" text-anchor="middle" '
                f'font-size="10.5">{text}</text>'
            )
    return "".join(parts)


def drawing(sizes: dict[str, list[dict[str, Any]]]) -> str:
    """A panel for each size, and what the colours mean."""
    parts, x = [], LEFT
    for k, part in enumerate(PARTS):
        parts.append(
            f'<rect x="{x:.0f}" y="8" width="12" height="12" fill="var(--figure-{k + 1})" opacity=".8"/>'
            f'<text x="{x + 18:.0f}" y="18">{part}</text>'
        )
        x += 40 + 6.6 * len(part)
    for name, dashed in (("allocated", False), ("resident", True)):
        parts.append(f'<g transform="translate({x:.0f} 14) scale(.5 1)">{level(0, 0, dashed)}</g>')
        parts.append(f'<text x="{x + 36:.0f}" y="18">{name}</text>')
        x += 62 + 6.6 * len(name)
    for i, rows in enumerate(sizes.values()):
        parts.append(f'<g transform="translate({LEFT + i * ACROSS:.0f} {TOP:.0f})">{panel(rows)}</g>')
    y = TOP + HEIGHT / 2
    parts.append(f'<text transform="translate(12 {y:.0f}) rotate(-90)" text-anchor="middle">MiB</text>')
    width, height = LEFT + len(sizes) * ACROSS - 30, TOP + HEIGHT + 40
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="12.5" font-family="inherit" '
        f'fill="currentColor" width="{width:.0f}"><title>Memory of a training step by formula, and its measured peaks'
        f"</title>{''.join(parts)}</svg>"
    )


def table(sizes: dict[str, list[dict[str, Any]]]) -> str:
    """All numbers, in MiB."""
    body = []
    for size, rows in sizes.items():
        for row in rows:
            cells = [mib(row["formula"][part]) if "formula" in row else "–" for part in PARTS]
            cells += [mib(row[name]) if name in row else "–" for name in ("sum", "allocated", "resident")]
            inner = "".join(f"<td>{cell}</td>" for cell in cells)
            body.append(f'<tr><th scope="row">{size}, {", ".join(WAYS[row["way"]])}</th>{inner}</tr>')
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("MiB", *PARTS, "sum", "allocated", "resident"))
    caption = "A training step by formula, and its peaks as measured"
    return f"<table><caption>{caption}</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def told(results: dict[str, Any], sizes: dict[str, list[dict[str, Any]]]) -> str:
    """How it was measured, and how far the formula is from it."""
    machine = results["machine"]
    ratios = [row["allocated"] / row["sum"] for rows in sizes.values() for row in rows if "allocated" in row]
    return (
        "<p>Bars are the sum by formula, with gradients for each of "
        f"{machine['threads']} threads. Solid: the peak of what NumPy has allocated once the arena has its size, "
        f"{min(ratios):.2f} to {max(ratios):.2f} times the sum; the difference is scratch. Dashed: by how much the "
        "resident set of a new process has grown at most, four steps after the libraries were warm. "
        "PyTorch has only the second view. Measured on "
        f"{escape(results['date'])}: {escape(machine['processor'])}, NumPy {escape(machine['numpy'])}, PyTorch "
        f"{escape(machine.get('torch', '–'))}.</p>"
    )


def render() -> str:
    """The drawing, how it was measured, the numbers."""
    results = json.loads(KEPT.read_text(encoding="utf-8"))
    sizes: dict[str, list[dict[str, Any]]] = {}
    for row in results["results"]:
        sizes.setdefault(row["size"], []).append(row)
    return drawing(sizes) + told(results, sizes) + table(sizes)
