"""The nearest neighbours of some characters in the two tables, and what groups have in common, before and after."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import record, shown, table


def told(near: Sequence[tuple[str, float]]) -> str:
    return "&#160; ".join(f"<code>{shown(c)}</code>&#160;{cosine:.2f}" for c, cosine in near)


def render() -> str:
    """Two tables."""
    run = record()
    tables = run["tables"]
    first = tables["embedding, before"]
    ends = {name.removesuffix(", end"): found for name, found in tables.items() if name.endswith(", end")}
    rows = [
        [f"<code>{shown(c)}</code>", told(first["near"][c]), *(told(found["near"][c]) for found in ends.values())]
        for c in first["near"]
    ]
    near = table(
        f"The three nearest rows, with cosines, among the characters that occur {run['often']} times or more in the "
        "training text; their mean is subtracted first",
        ["", "embedding, before", *(f"{name}, end" for name in ends)], rows,
    )  # fmt: skip
    groups = table(
        "The mean cosine between the rows of two characters",
        ["", *tables],
        [[name, *(f"{found['groups'][name]:+.3f}" for found in tables.values())] for name in first["groups"]],
    )
    sentences = []
    for name, found in ends.items():
        g = found["groups"]
        sentences.append(
            f"In the {name}, two vowels have a mean cosine of {g['two vowels']:.2f}, a vowel and a consonant "
            f"{g['a vowel and a consonant']:.2f}; two digits {g['two digits']:.2f}; a capital and its small letter "
            f"{g['a capital and its small letter']:.2f}, a capital and another small letter "
            f"{g['a capital and another small letter']:.2f}."
        )
    text = f"<p>{' '.join(sentences)} Nobody named these groups.</p>"
    return near + text + groups
