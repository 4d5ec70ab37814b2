"""The masks of this chapter side by side, and how many pairs each allows."""

from html import escape

import numpy as np

from fp_attention.maps import attention_svg
from fp_attention.masks import Causal, Documents, First, Padding, SlidingWindow

T = 8
MASKS = {  # name: the mask, and how it is written
    "causal": (Causal(), "Causal()"),
    "window": (SlidingWindow(3), "SlidingWindow(3)"),
    "window and sinks": (SlidingWindow(3) | (Causal() & First(2)), "SlidingWindow(3) | (Causal() & First(2))"),
    "prefix": (Causal() | First(3), "Causal() | First(3)"),
    "causal, padding": (Causal() & Padding(np.arange(T)[None] < 5), "Causal() & Padding([[1, 1, 1, 1, 1, 0, 0, 0]])"),
    "causal, documents": (
        Causal() & Documents(np.array([0, 0, 0, 1, 1, 1, 1, 2])),
        "Causal() & Documents([0, 0, 0, 1, 1, 1, 1, 2])",
    ),
}


def render() -> str:
    """The pictures, and a table of what each mask is."""
    allowed = np.stack([mask.dense(T, T).reshape(T, T) for mask, _ in MASKS.values()])
    positions = [str(n) for n in range(T)]
    picture = attention_svg(allowed, positions, title="Which keys a query may look at, by position", heads=list(MASKS))
    rows = []
    for (name, (_, code)), pairs in zip(MASKS.items(), allowed, strict=True):
        cells = [int(pairs.sum()), *(int(pairs[i].sum()) for i in (0, 4, 7))]
        first = f'<th scope="row">{name}<br/><code>{escape(code)}</code></th>'
        rows.append(f"<tr>{first}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    heads = ["mask, and how it is written", f"pairs of {T * T}", *(f"keys of<br/>query {i}" for i in (0, 4, 7))]
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    caption = f"How many keys each of {T} queries may look at"
    table = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f"{picture}<table>{table}</table>"
