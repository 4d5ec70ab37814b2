"""How much of one vocabulary different texts use."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _drawing import measured, source, table


def render() -> str:
    """A table, one text a row."""
    found = measured()
    heads = ["text", "tokens", "bytes per token", "different tokens", "for 50%", "for 90%", "for 99%", "entropy / ln V",
             "Rényi 2.5 / ln V"]  # fmt: skip
    rows = []
    for name, use in found["use"].items():
        numbers = [use["tokens"], f"{use['bytes per token']:.2f}", use["used"], use["50%"], use["90%"], use["99%"],
                   f"{use['entropy']:.3f}", f"{use['Rényi 2.5']:.3f}"]  # fmt: skip
        rows.append((name, [n if isinstance(n, str) else f"{n:,}" for n in numbers]))
    return table(
        "What texts use of a BPE vocabulary of 32,768 tokens that was trained on English prose: different tokens, and "
        f"how many of them make up a share of the text; {source(found, 'prose', 'code', 'chinese', 'random')}",
        heads,
        rows,
    )
