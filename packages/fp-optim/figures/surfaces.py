"""Contour lines of the surfaces with the paths of four optimizers, and how far all of them get."""

from collections.abc import Callable
from typing import Any

from fp_optim.race import run_race

STEPS = 200
TOLD = (20, 200)  # a table each
DRAWN = {  # the line of each optimizer: colour, dashes
    "SGD": ("var(--figure-1)", ""),
    "Momentum": ("var(--figure-2)", "6 3"),
    "AdaGrad": ("var(--figure-3)", "2 3"),
    "Adam": ("var(--figure-4)", ""),
}
WIDTH, HEIGHT, TOP, ACROSS, DOWN = 350.0, 250.0, 58.0, 372.0, 288.0  # of a panel, and from one to the next


def line(points: list[list[float]], domain: list[list[float]]) -> str:
    """The path of an svg through points of a surface, within a panel."""
    (left, right), (low, high) = domain
    drawn = [f"{(x - left) / (right - left) * WIDTH:.1f} {(high - y) / (high - low) * HEIGHT:.1f}" for x, y in points]
    return "M" + "L".join(dict.fromkeys(drawn)) + ("Z" if len(drawn) > 2 and drawn[0] == drawn[-1] else "")


def spot(point: list[float], domain: list[list[float]], shape: str) -> str:
    """A sign at a point."""
    x, y = line([point], domain)[1:].split()
    return f'<path transform="translate({x} {y})" d="{shape}" fill="none" stroke="currentColor" stroke-width="1.5"/>'


def panel(surface: dict[str, Any]) -> str:
    """One surface: its lines, the paths, the start as a ring and the minimisers as crosses."""
    domain = surface["domain"]
    parts = [f'<text x="0" y="-8">{surface["name"]}</text>']
    rings = "".join(line(points, domain) for level in surface["contours"] for points in level["lines"])
    parts.append(f'<path d="{rings}" fill="none" stroke="currentColor" opacity=".22"/>')
    parts.append(f'<path d="M0 0H{WIDTH}V{HEIGHT}H0Z" fill="none" stroke="currentColor" opacity=".4"/>')
    for path in surface["paths"]:
        if path["optimizer"] in DRAWN:
            colour, dashes = DRAWN[path["optimizer"]]
            dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
            parts.append(
                f'<path d="{line(path["positions"], domain)}" fill="none" stroke="{colour}" stroke-width="1.8" '
                f'stroke-linejoin="round"{dashed}/>'
            )
    parts.append(spot(surface["start"], domain, "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0"))
    parts += [spot(point, domain, "M-5 -5L5 5M-5 5L5 -5") for point in surface["minimisers"]]
    return "".join(parts)


def drawing(race: dict[str, Any]) -> str:
    """Two panels a row."""
    parts, x = [], 8.0
    for name, (colour, dashes) in DRAWN.items():
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(
            f'<path d="M{x:.0f} 14h30" stroke="{colour}" stroke-width="2"{dashed}/>'
            f'<text x="{x + 38:.0f}" y="18" fill="{colour}">{name}</text>'
        )
        x += 130
    for i, surface in enumerate(race["surfaces"]):
        row, column = divmod(i, 2)
        parts.append(f'<g transform="translate({8 + column * ACROSS:.0f} {TOP + row * DOWN:.0f})">{panel(surface)}</g>')
    rows = (len(race["surfaces"]) + 1) // 2
    width, height = ACROSS + WIDTH + 16, TOP + rows * DOWN
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="13" font-family="inherit" '
        f'fill="currentColor" width="{width:.0f}"><title>The paths of four optimizers in {STEPS} steps, from the ring '
        f"towards the crosses; equal areas lie between the contour lines</title>{''.join(parts)}</svg>"
    )


def table(caption: str, race: dict[str, Any], cell: Callable[[dict[str, Any], dict[str, Any]], str]) -> str:
    """One row for each optimizer and one column for each surface."""
    heads = "".join(f'<th scope="col">{surface["name"]}</th>' for surface in race["surfaces"])
    rows = []
    for paths in zip(*(surface["paths"] for surface in race["surfaces"]), strict=True):
        cells = (f"<td>{cell(surface, path)}</td>" for surface, path in zip(race["surfaces"], paths, strict=True))
        rows.append(f'<tr><th scope="row">{paths[0]["optimizer"]}</th>{"".join(cells)}</tr>')
    return (
        f'<table><caption>{caption}</caption><thead><tr><th scope="col">optimizer</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def number(gap: float) -> str:
    if gap < 1e-12:
        return "&lt; 1e−12"
    return f"{gap:.2g}" if gap >= 1e-3 else f"{gap:.1e}".replace("e-0", "e−").replace("e-", "e−")


def render() -> str:
    """The drawing, and the numbers of all optimizers."""
    race = run_race(n_steps=STEPS)
    parts = [drawing(race), table("The rate of each optimizer", race, lambda _, path: f"{path['rate']:.2g}")]
    for step in TOLD:
        gap = lambda surface, path, step=step: number(path["losses"][step] - surface["minimum"])  # noqa: E731
        parts.append(table(f"Its height above the minimum after {step} steps", race, gap))
    return "".join(parts)
