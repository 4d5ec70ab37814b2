"""The held-out loss by kind of character at each stop, beside the 5-gram's."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _story import BEFORE, Line, chart, record, step_ticks, table, when

NAMES = {"letter, first of a word": "first letter", "letter, inside a word": "inside a word"}
DRAWN = ("letter, first of a word", "letter, inside a word", "space", "punctuation")


def render() -> str:
    """Four lines, and the table of all kinds."""
    run = record()
    moments, last, kinds = run["moments"], run["settings"]["n_steps"], run["kinds"]
    lines = [
        Line(NAMES.get(kind, kind), 1 + i, [(max(m["step"], BEFORE), m["by_kind"][kind]) for m in moments])
        for i, kind in enumerate(DRAWN)
    ]
    high = max(value for line in lines for _, value in line.points)
    picture = chart(
        lines, 0.0, high + 0.05, title="Held-out loss by kind of character over steps", across="steps (logarithmic)",
        down="nats per character", last=last, ticks=step_ticks(last), grid=list(range(int(high) + 1)),
    )  # fmt: skip
    heads = ["after", *(NAMES.get(kind, kind).replace(" ", "<br/>", 1) for kind in kinds)]
    rows = [["share of the text", *(f"{share:.1%}" for share in kinds.values())]]
    rows += [[when(m["step"]), *(f"{m['by_kind'][kind]:.2f}" for kind in kinds)] for m in moments]
    rows += [["5-gram", *(f"{run['marks_by_kind']['5'][kind]:.2f}" for kind in kinds)]]
    end, table5 = moments[-1]["by_kind"], run["marks_by_kind"]["5"]
    gains = {kind: (table5[kind] - end[kind]) * kinds[kind] for kind in kinds}
    most = sorted(gains, key=lambda kind: -gains[kind])[:2]
    dear = {kind: end[kind] * kinds[kind] / moments[-1]["held_out"] for kind in kinds}
    named = [NAMES.get(kind, kind) for kind in most]
    first, inside = DRAWN[:2]
    text = (
        f"<p>In the end the first letters of words cost {end[first] / end[inside]:.1f} times as much as the letters "
        f"inside them, and make up {dear[first]:.0%} of all that is paid, with {kinds[first]:.0%} of the text. Of what "
        f"the model gains on the 5-gram, {gains[most[0]]:.3f} nats per character of text come from “{named[0]}” and "
        f"{gains[most[1]]:.3f} from “{named[1]}”. A character is rare if it has less than one part in 2,000 of the "
        f"training text. At the end it costs {end['rare']:.1f} nats, more than the {moments[0]['by_kind']['rare']:.1f} "
        "that it cost while the model knew nothing. That is no fault: what is rare must be expected rarely, and "
        "gradients from so few places teach little more.</p>"
    )
    return picture + text + table("Held-out loss in nats, by the kind of the character that came", heads, rows)
