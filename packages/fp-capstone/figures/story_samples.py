"""What the model writes at each stop with the same seed, and how many of its words and phrases are known."""

import sys
from html import escape
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import record, table, when


def render() -> str:
    """Samples, and a table of shares."""
    run = record()
    moments = run["moments"]
    steps = [m["step"] for m in moments]
    chosen = [s for s in (0, 10, 30, 60, 100, 300, 900, steps[-1]) if s in steps]
    parts = []
    for moment in moments:
        if moment["step"] in dict.fromkeys(chosen):
            parts.append(
                f"<h6>{when(moment['step'])}, held-out loss {moment['held_out']:.2f}</h6>"
                f'<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{escape(moment["sample"])}</pre>'
            )
    rows = [[when(m["step"]), *(percent(share) for share in m["known"])] for m in moments]
    rows.append(["the 5-gram model", *(percent(share) for share in run["known_ngram"])])
    rows.append(["held-out text", *(percent(share) for share in run["known_held_out"])])
    end, people = moments[-1]["known"], run["known_held_out"]
    more = "more" if end[0] > people[0] else "less"
    text = (
        f"<p>Each time {run['samples'][0]} texts of {run['samples'][1]} characters are written at temperature 0.8, "
        "after the first character of the held-out text; "
        "shown is the beginning of the first. In the end the model’s words "
        f"are words of the training text {more} often than those that people wrote: {percent(end[0])} against "
        f"{percent(people[0])}. Pairs are {percent(end[1])} against {percent(people[1])}, triples {percent(end[2])} "
        f"against {percent(people[2])}. Python’s manual has names that occur once; the model plays safe. "
        "What no stop shows is a paragraph that keeps to a subject: there is neither the size nor the text for it, and "
        "a loss per character hardly asks for it.</p>"
    )
    caption = "Share of the words, pairs and triples of neighbouring words that occur in the training text"
    return "".join(parts) + text + table(caption, ["after", "words", "pairs", "triples"], rows)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
