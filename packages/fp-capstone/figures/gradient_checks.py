"""Every backward pass before its three judges, and the faults that were planted in it."""

import sys
from html import escape
from pathlib import Path

from fp_capstone.gradient_checks import backward_passes

sys.path.append(str(Path(__file__).parent))

from _faults import census
from _gradients import rows


def table(caption: str, heads: list[str], lines: list[list[str]]) -> str:
    """The first cell of each line is its name."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in rest)}</tr>' for first, *rest in lines
    )
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def size(error: float | None) -> str:
    """An error as the page writes it."""
    return "–" if error is None else "0" if error == 0 else f"{error:.0e}".replace("e-0", "e-")


def render() -> str:
    """The two tables."""
    passes = list(backward_passes())
    by_differences = {p.name: p.by_differences() for p in passes}
    by_row, by_function = census(passes, by_differences)
    lines = []
    for p in passes:
        for row in rows(p, by_differences[p.name]):
            errors = [size(e) for e in (row.differences, row.autograd, row.pytorch)]
            seen = "{} of {}".format(*by_row[row.name]) if row.name in by_row else ""
            claims = "<br/>".join(f"<code>{claim}</code>" for claim in row.claims)
            lines.append([row.name, claims, f"{row.entries:,}", *errors, seen])
    heads = ["backward pass", "derived in", "entries", "differences", "stage 2", "PyTorch", "faults seen"]
    first = table("The largest disagreement of any entry, in float64, with three judges", heads, lines)
    lines = []
    for function, found in by_function.items():
        left = [f"<code>{escape(fault.line)}</code>" for fault, said in found.items() if said != "seen"]
        lines.append(
            [f"<code>{function}</code>", str(len(found)), str(len(found) - len(left)), "<br/>".join(left) or "none"]
        )
    heads = ["source", "faults planted", "seen by a row", "not seen: the gradients are right all the same"]
    return first + table("Faults planted in the sources of the backward passes, one at a time", heads, lines)
