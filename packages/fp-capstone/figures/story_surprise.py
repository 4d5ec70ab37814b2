"""A passage of held-out text coloured by what each character cost at the end, and the dearest places."""

import sys
from html import escape
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import record, shown, table


def strength(cost: float) -> float:
    """Per cent of the colour for a cost in nats; never so much that the character is hard to read."""
    return 55 * min(cost / 6, 1.0)


def background(tint: float) -> str:
    return f"background: color-mix(in srgb, var(--figure-2) {tint:.0f}%, transparent)"


def render() -> str:
    """The passage, its legend, the table."""
    passage = record()["passage"]
    text, costs, best = passage["text"], passage["cost"], passage["best"]
    spans = []
    for character, cost, likeliest in zip(text, costs, best, strict=True):
        inner = "⏎\n" if character == "\n" and cost > 1 else escape(character)
        expected = "" if character == likeliest else f", expected {shown(likeliest)}"
        tint = strength(cost)
        if tint >= 4:
            inner = f'<span style="{background(tint)}" title="{cost:.1f} nats{expected}">{inner}</span>'
        spans.append(inner)
    scale = "".join(f'<span style="{background(strength(n))}">&#160;{n}&#160;</span>' for n in range(7))
    dear = sorted(range(1, len(text)), key=lambda i: -costs[i])[:10]
    rows = []
    for i in sorted(dear):
        before = "".join(shown(c) for c in text[max(0, i - 18) : i])
        rows.append(
            [
                f"<code>…{before}</code>",
                f"<code>{shown(text[i])}</code>",
                f"{costs[i]:.1f}",
                f"<code>{shown(best[i])}</code>",
            ]
        )
    right = sum(a == b for a, b in zip(text, best, strict=True)) / len(text)
    cheap = sum(cost < 0.1 for cost in costs) / len(costs)
    dearest = sum(sorted(costs, reverse=True)[: len(costs) // 10]) / sum(costs)
    words = (
        f"<p>Nats a character: {scale} and more. {cheap:.0%} of the characters cost less than a tenth of a nat; the "
        f"tenth that is dearest makes up {dearest:.0%} of the whole. At {right:.0%} of the places the character that "
        "came is the one held to be the likeliest. Where a word is begun there is doubt; where it only needs to be "
        "finished there is little.</p>"
    )
    return (
        f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{"".join(spans)}</pre>' + words
        + table("The ten dearest characters of the passage", ["after", "came", "nats", "likeliest"], rows)
    )  # fmt: skip
