"""The first loss in the terms of (S1), and the first gradient of the output layer in those of (S2)."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import record, table


def render() -> str:
    """Two tables and what they say."""
    first = record()["first"]
    loss = first["loss"]
    total = loss["log V"] + loss["half variance"] + loss["luck"]
    terms = table(
        "The first loss, in nats per character",
        ["log V", "half the variance", "luck", "their sum", "measured"],
        [[f"{value:.4f}" for value in (*(loss[k] for k in ("log V", "half variance", "luck")), total, loss["loss"])]],
    )
    ratio = first["common"] / first["context"]
    parts = table(
        "The first gradient of the output layer (S2), as lengths: roots of sums of squares",
        ["(p − f) h̄", "K", "ratio", "left unexplained"],
        [[f"{first['common']:.3f}", f"{first['context']:.3f}", f"{ratio:.2f}", f"{first['left']:.1%}"]],
    )
    more = "longer" if ratio > 1 else "shorter"
    text = (
        "<p>In this run, before the first step: what all positions have in common is one direction, and "
        f"{max(ratio, 1 / ratio):.1f} times {more} than all that depends on the context together, of which the largest "
        f"single direction has {first['largest']:.3f}. What is left unexplained, as a share of the gradient, is there "
        "because the predictions are not quite the same at all positions, as the claim asks.</p>"
    )
    return terms + parts + text
