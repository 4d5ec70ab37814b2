"""
Networks beside tables, on names and on Shakespeare: what each sees, costs and loses.

Both were measured by `packages/fp-neural/benchmarks/results.py` and are kept in `_names.json` and
`_tinyshakespeare.json`.
"""

import json
from html import escape
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
TEXTS = {  # what the benchmark calls it: its file, and what it is
    "names": (FOLDER / "_names.json", "names"),
    "text": (FOLDER / "_tinyshakespeare.json", "Shakespeare"),
}
PUBLISHED = {"mlp": "2.10–2.17", "WaveNet": "1.993"}  # A. Karpathy's makemore, on the same split of the names
COLOURS = {"mlp": "var(--figure-2)", "rnn": "var(--figure-4)", "lstm": "var(--figure-3)"}
BEST = "var(--figure-1)"  # of counting

Results = dict[str, Any]
Points = list[tuple[float, float]]


def signed(difference: dict[str, float]) -> str:
    return f"{difference['mean']:+.3f} ± {difference['standard error']:.3f}".replace("-", "−")


def losses(model: Results, best: dict[str, float]) -> list[str]:
    """Of each part, the best in bold."""
    shown = {part: f"{model[part]:.3f}" for part in best}
    return [f"<strong>{shown[part]}</strong>" if model[part] == best[part] else shown[part] for part in best]


def rows(kind: str, results: Results) -> list[list[str]]:
    """The cells of each table and network, its name first."""
    models = [*results["tables"].values(), *results["models"].values()]
    best = {part: min(model[part] for model in models) for part in ("dev", "test") if part in models[0]}
    found = []
    for order, row in results["tables"].items():
        first = [f"table of order {order}", f"{int(order) - 1}", f"{row['n_ngrams']:,}", f"{row['seconds']:.2f}"]
        found.append([*first, *losses(row, best), *[""] * (kind == "names"), "", ""])
    for name, network in results["models"].items():
        settings, differences = network["settings"], network["differences"]
        sees = f"{settings['context']}" if settings["model"] == "mlp" else "all"
        first = [escape(name), sees, f"{network['n_parameters']:,}", f"{network['seconds']:,.0f}"]
        compared = [
            signed(d) if (d := differences.get(what)) else "" for what in ("best table", "table of equal context")
        ]
        published = [PUBLISHED.get(name, "")] if kind == "names" else []
        found.append([*first, *losses(network, best), *published, *compared])
    return found


def table(kind: str, results: Results | None) -> str:
    """The numbers; for names those published in a column."""
    heads, cells = ["model", "published"], []
    caption = TEXTS[kind][1].capitalize()
    if results:
        heads = ["model", "tokens seen", "size", "seconds", "test", "to best table", "to equal context"]
        if kind == "names":
            heads[4:5] = ["dev", "test", "published"]
        cells = rows(kind, results)
        text, machine = results["text"], results["machine"]
        caption = (
            f"{caption}: losses in nats per character. Tables are modified Kneser-Ney models; the size of a table is "
            f"its n-grams, that of a network its parameters. Differences are of the test losses, to the best table and "
            f"to the table that sees as many tokens, with standard errors: below zero the network is better. "
            f"{escape(text['name'])}: {text['characters']:,} characters, sha256 {text['sha256'][:12]}; "
            f"{escape(results['split'])}. Measured on {measured(results)} ({escape(machine['processor'])}, "
            f"{machine['cpus']} processors) by <code>{escape(results['command'])}</code>"
        )
    if kind == "names":
        caption += ". Published are the figures of makemore (A. Karpathy) on the same split"
        named, at = {row[0] for row in cells}, heads.index("published")
        for name, loss in PUBLISHED.items():
            if name not in named:
                cells.append([name, *[""] * (len(heads) - 1)])
                cells[-1][at] = loss
    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in cells
    )
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def measured(results: Results) -> str:
    """The date, or the first and the last of them."""
    dates = sorted({results["date"], *(network["date"] for network in results["models"].values())})
    return " to ".join(dict.fromkeys((dates[0], dates[-1])))


def by_order(kind: str, results: Results) -> str:
    """Test losses by what a model sees; a recurrent one sees all."""
    tables = [(float(order), row["test"]) for order, row in results["tables"].items() if int(order) > 1]
    lines = {f"tables, best {min(loss for _, loss in tables):.3f}": (tables, BEST)}
    levels = {}
    perceptrons: Points = []
    for name, network in results["models"].items():
        settings = network["settings"]
        if settings["model"] == "mlp":
            perceptrons.append((settings["context"] + 1.0, network["test"]))
        else:
            levels[f"{name} {network['test']:.3f}"] = (network["test"], COLOURS[settings["model"]])
    if perceptrons:
        lines[f"mlp, best {min(loss for _, loss in perceptrons):.3f}"] = (sorted(perceptrons), COLOURS["mlp"])
    title = f"{TEXTS[kind][1].capitalize()}: test loss in nats per character, by the tokens seen"
    ticks = {order: f"{order - 1:.0f}" for order, _ in tables}
    return chart(title, "tokens seen", ticks, lines, levels)


def by_steps(kind: str, results: Results) -> str:
    """Losses on the way."""
    lines, of = {}, next(iter(results["models"].values()))["curve"]["of"]
    for name, network in results["models"].items():
        steps, losses = network["curve"]["steps"], network["curve"]["losses"]
        points = [(100 * n / steps[-1], loss) for n, loss in zip(steps, losses, strict=True)]
        lines[f"{name} {losses[-1]:.3f}"] = (points, COLOURS[network["settings"]["model"]])
    best = min(results["tables"], key=lambda order: results["tables"][order][of])
    loss = results["tables"][best][of]
    levels = {f"table of order {best} {loss:.3f}": (loss, BEST)}
    title = f"{TEXTS[kind][1].capitalize()}: {of} loss in nats per character, during training"
    ticks = {float(share): f"{share}%" for share in range(0, 101, 20)}
    return chart(title, "share of the steps", ticks, lines, levels)


def chart(
    title: str,
    below: str,
    ticks: dict[float, str],
    lines: dict[str, tuple[Points, str]],
    levels: dict[str, tuple[float, str]],
) -> str:
    """Lines and levels, named at the right, the names apart. Far above their ends nothing is drawn."""
    left, right, top, bottom, width = 44, 480, 40, 320, 660
    found = [value for points, _ in lines.values() for _, value in points] + [value for value, _ in levels.values()]
    low = int(10 * min(found)) / 10
    ends = [points[-1][1] for points, _ in lines.values()] + [value for value, _ in levels.values()]
    high = int(10 * max(*ends, min(low + 1.1, max(found))) + 1) / 10
    first, last = min(ticks), max(ticks)

    def x(place: float) -> float:
        return left + (place - first) / ((last - first) or 1) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [f'<text x="{left - 30}" y="18">{escape(title)}</text>']
    for i in range(round(10 * (high - low)) + 1):
        value = low + i / 10
        parts.append(
            f'<path d="M{left} {y(value):.1f}H{right}" stroke="currentColor" opacity=".15"/>'
            f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>'
        )
    for place, label in ticks.items():
        parts.append(f'<text x="{x(place):.1f}" y="{bottom + 20}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">{below}</text>')
    drawn = [(name, [(first, value), (last, value)], colour, "7 3") for name, (value, colour) in levels.items()]
    drawn += [(name, points, colour, "") for name, (points, colour) in lines.items()]
    inside = [(name, [(p, v) for p, v in points if v <= high], c, dashes) for name, points, c, dashes in drawn]
    at = float(top)
    for name, points, colour, dashes in sorted((d for d in inside if d[1]), key=lambda d: -d[1][-1][1]):
        places = [(x(p), y(v)) for p, v in points]
        at = max(at, places[-1][1])
        style = f'stroke-width="2" stroke="{colour}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
        parts.append(f'<path d="M{"L".join(f"{px:.1f} {py:.1f}" for px, py in places)}" fill="none" {style}/>')
        if not dashes:
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="{colour}"/>' for px, py in places]
        parts.append(
            f'<path d="M{places[-1][0]:.1f} {places[-1][1]:.1f}L{right + 22} {at:.1f}" stroke="{colour}" opacity=".4"/>'
            f'<text x="{right + 26}" y="{at + 4:.1f}" fill="{colour}">{escape(name)}</text>'
        )
        at += 17
    height = max(bottom + 48, round(at) + 8)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" font-size="13" font-family="inherit" fill="currentColor" '
        f'width="{width}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def render() -> str:
    """The figure of the site."""
    shown = []
    for kind, (file, name) in TEXTS.items():
        if file.is_file():
            results = json.loads(file.read_text("utf8"))
            shown.append(by_order(kind, results))
            if results["models"]:
                shown.append(by_steps(kind, results))
            shown.append(table(kind, results))
        else:
            command = f"python packages/fp-neural/benchmarks/results.py {kind} FILE"
            shown.append(f"<p>Nothing was measured on {name} yet: <code>{command}</code> does it.</p>")
            shown += [table(kind, None)] if kind == "names" else []
    return "\n".join(shown)
