r"""
Drawing: a model that counts, as a picture.

A table of probabilities hides what a drawing shows at a glance: which state leads where, which token is favoured and
what is left for all others. Two pictures are enough for this stage. Both are SVG, which is text: written here with the
standard library alone, shown by every browser and notebook, sharp at any size.

You need: `fp_markov.chain` and `fp_markov.ngram`; sine and cosine.

## A machine

The states stand on a circle, the first at the top. A transition from $A$ to $B$ is a curve with one **control point**
$C$, a quadratic Bézier curve: the point that is the fraction $t$ of the way from $A$ to $C$ moves to the point that is
the fraction $t$ of the way from $C$ to $B$, in proportion to $t$,

$$(1 - t)\big((1 - t) A + t C\big) + t \big((1 - t) C + t B\big) = (1 - t)^2 A + 2 t (1 - t) C + t^2 B. \qquad
  \text{(E1)}$$

It leaves $A$ towards $C$ and arrives in $B$ from $C$; at $t = 1/2$ it is half as far from the straight line as $C$ is.
The way there and the way back get different control points, so that they do not cover each other, and both bend towards
the middle of the circle, away from the states between. Width and darkness of a curve are its probability. A number
stands on its curve where it meets neither a state nor another number; where there is no such place it is left to the
tooltip.

A bigram model is such a machine over its tokens. A model of order $n$ is one over its contexts of $n - 1$ tokens: token
$w$ after the context $c_1 \dots c_{n-1}$ leads to $c_2 \dots c_{n-1} w$.

>>> model = NGramModel(order=3, vocab_size=2).fit([0, 0, 1, 0, 1, 1, 0, 1, 0, 0])
>>> picture = state_machine(model, labels="ab")
>>> picture[:4], picture.count("<circle")
('<svg', 4)

The bigrams of a word as a machine, and beside it what a model of order 3 expects after two of its letters:

<!-- figure: drawn_models -->

## In practice

Transformers have too many states to draw, and what one draws instead is the second picture, the distribution of the
next token: the view in which temperature, truncation and the effect of a longer prompt become visible. Tokens hold
spaces, line ends and characters without a shape, so a viewer has to make them visible. Colours follow the reader's
setting, light or dark, and each picture carries its content as text for those who cannot see it.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Float

from fp_markov.chain import StationaryChain
from fp_markov.ngram import NGramModel

__all__ = ["SVG", "state_machine", "bar_chart", "visible"]  # the order of the page

Transitions = (
    Float[np.ndarray, "V V"] | StationaryChain | NGramModel | Mapping[tuple[int, ...], Float[np.ndarray, " V"]]
)
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

# The paper is drawn too, so that the ink is legible on a page of any colour.
STYLE = """
.fp-figure { --paper: #fff; --ink: #1f2328; --muted: #5d6670; --accent: #1f5f8b; --soft: #e6eff6;
  max-width: 100%; height: auto; font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) { .fp-figure { --paper: #15181c; --ink: #d8dce1; --muted: #98a2ad;
  --accent: #7fb8e6; --soft: #22303c; } }
.fp-figure .paper { fill: var(--paper); }
.fp-figure text { fill: var(--ink); dominant-baseline: central; white-space: pre; }
.fp-figure .heading { font: 600 14px system-ui, sans-serif; }
.fp-figure .note { font: 12px system-ui, sans-serif; fill: var(--muted); }
.fp-figure .number { font-size: 12px; }
.fp-figure .middle { text-anchor: middle; }
.fp-figure .end { text-anchor: end; }
.fp-figure circle { fill: var(--soft); stroke: var(--accent); stroke-width: 1.5px; }
.fp-figure .edge path { fill: none; stroke: var(--accent); }
.fp-figure .edge polygon, .fp-figure .bar { fill: var(--accent); }
.fp-figure .track { fill: var(--soft); }
.fp-figure .rest { fill: var(--muted); }
"""
COLUMN = 7.9  # width of a character of 13 px in the fonts above, rounded up
NUMBER_SIZE = (32.0, 15.0)  # of a number on a curve, with some air
PLACES = (0.3, 0.36, 0.24, 0.42, 0.5, 0.18, 0.58, 0.66, 0.74, 0.82)  # of a number, as t of (E1): near its state first
MARGIN, HEAD, ROW, BAR_LENGTH = 16.0, 46.0, 26.0, 300.0


class SVG(str):
    """A picture as SVG text, which notebooks show as the picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def state_machine(
    transitions: Transitions,
    labels: Sequence[str] | None = None,
    *,
    threshold: float | int = 0.01,
    title: str = "State machine",
) -> SVG:
    """
    Draw the states of a chain, or the contexts of an n-gram model, and the transitions between them.

    Parameters
    ----------
    transitions
        A chain or its table; an n-gram model of order 2 or more, for the contexts that its text has; or for each
        context, a tuple of tokens, the distribution of the next token. All contexts have one length.
    labels
        A name for each of the V tokens; `None` names them by number.
    threshold
        Transitions less likely than this are left out, and so are those to contexts that are not listed.
    title
        Heading of the picture.

    Returns
    -------
    SVG
        The same text for the same arguments.

    Raises
    ------
    ValueError
        If there is no state, as in a model of order 1, or the model is not fitted, contexts differ in length or hold an
        unknown token, a row is not a distribution, the number of labels is not V, or the threshold lies outside
        `[0, 1]`.

    Examples
    --------
    >>> svg = state_machine(np.array([[0.9, 0.1], [0.5, 0.5]]), labels=["sun", "rain"])
    >>> "From sun: sun 0.90, rain 0.10. From rain: sun 0.50, rain 0.50." in svg
    True
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold is a probability in [0, 1], got {threshold}")
    rows = _rows(transitions)
    V = len(next(iter(rows.values())))
    names = _labels(labels, V)
    separator = "" if all(_columns(name) == 1 for name in names) else " "
    states = [_shorten(separator.join(names[w] for w in context), 10) for context in rows]
    index = {context: i for i, context in enumerate(rows)}
    edges = [
        (float(p), i, index[after])
        for i, (context, row) in enumerate(rows.items())
        for w, p in enumerate(row)
        if p > 0 and p >= threshold and (after := (*context[1:], w)) in index
    ]

    r = 12 + COLUMN / 2 * max(_columns(state) for state in states)
    n, n_arcs = len(states), sum(i != j for _, i, j in edges)
    # room for the states beside each other, and for the numbers
    R = 0.0 if n == 1 else max(r + 62, n * (2 * r + 70) / (2 * math.pi), 36 * math.sqrt(n_arcs))
    angles = [2 * math.pi * k / n - (math.pi if n == 2 else math.pi / 2) for k in range(n)]
    places = [_polar((0.0, 0.0), R, angle) for angle in angles]
    taken = [_box(x, y, 2 * r + 4, 2 * r + 4) for x, y in places]
    curves, numbers = [], []
    for p, i, j in sorted(edges, reverse=True):  # the likely ones choose first
        curve = _loop(places[i], angles[i], r) if i == j else _arc(places, i, j, r)
        curves.append((p, curve, f"{states[i]} → {states[j]}: {_number(p)}"))
        if i == j:
            candidates = [_polar(places[i], r + 50, angles[i])]
        else:
            candidates = [_bezier(curve, t) for t in (PLACES if n > 4 else (0.5, *PLACES))]
        for x, y in candidates:
            box = _box(x, y, *NUMBER_SIZE)
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                numbers.append((x, y, _number(p)))
                break

    described = [
        f"From {state}: " + ", ".join(f"{states[j]} {_number(p)}" for p, source, j in edges if source == i) + "."
        for i, state in enumerate(states)
        if any(source == i for _, source, _ in edges)
    ]
    missing = sum(int((row > 0).sum()) for row in rows.values()) - len(edges)
    note = f"{missing:,} {'transition' if missing == 1 else 'transitions'} not drawn" if missing else ""
    drawn = taken + [_box(*_bezier(curve, t / 16), 12.0, 12.0) for _, curve, _ in curves for t in range(17)]
    left, top = min(box[0] for box in drawn), min(box[1] for box in drawn)
    width, bottom = max(box[2] for box in drawn) - left, HEAD + max(box[3] for box in drawn) - top
    root = _canvas(width, bottom + (30 if note else 0), title, " ".join(described))
    if note:
        _text(root, MARGIN, bottom + 22, note, "note")
    machine = ET.SubElement(root, "g", transform=f"translate({_px(MARGIN - left)} {_px(HEAD - top)})")
    for p, curve, tooltip in reversed(curves):  # the likely ones on top
        _curve(machine, curve, p, tooltip)
    for state, (x, y) in zip(states, places, strict=True):
        ET.SubElement(machine, "circle", cx=_px(x), cy=_px(y), r=_px(r))
        _text(machine, x, y, state, "middle")
    for x, y, number in numbers:
        w, h = NUMBER_SIZE
        _rect(machine, "paper", x - w / 2, y - h / 2, w, h)
        _text(machine, x, y, number, "number middle")
    return _finish(root)


def bar_chart(
    probabilities: Float[np.ndarray, " V"],
    labels: Sequence[str] | None = None,
    *,
    top: int = 10,
    title: str = "Next token",
) -> SVG:
    """
    Draw a distribution over tokens: the likeliest, and all others together.

    Parameters
    ----------
    probabilities
        A distribution.
    labels
        A name for each token; `None` names them by number.
    top
        How many tokens have a bar of their own; of equally likely ones the lower id.
    title
        Heading of the picture.

    Returns
    -------
    SVG
        The same text for the same arguments.

    Raises
    ------
    ValueError
        If `probabilities` is not a distribution, the number of labels is not V, or `top` is below 1.

    Examples
    --------
    >>> svg = bar_chart(np.array([0.25, 0.625, 0.125]), labels=["a", " ", "\\n"], top=2)
    >>> "␣ 0.625, a 0.250, 1 other 0.125" in svg
    True
    """
    if top < 1:
        raise ValueError(f"at least one token needs a bar, got top = {top}")
    p = _distribution(probabilities, "probabilities")
    names = [_shorten(name, 24) for name in _labels(labels, len(p))]
    best = np.argsort(-p, kind="stable")[:top]
    bars = [(names[w], float(p[w]), "bar") for w in best]
    if len(p) > len(bars):
        bars.append((f"{len(p) - len(bars):,} other", float(np.delete(p, best).sum()), "rest"))

    left = MARGIN + COLUMN * max(_columns(name) for name, _, _ in bars) + 10
    right = left + BAR_LENGTH + 10
    described = ", ".join(f"{name} {_number(q, 3)}" for name, q, _ in bars)
    root = _canvas(right + 6 * COLUMN - MARGIN, HEAD + ROW * len(bars), title, f"Probabilities: {described}.")
    for k, (name, q, kind) in enumerate(bars):
        y = HEAD + ROW * (k + 0.5)
        _text(root, left - 10, y, name, "end" if kind == "bar" else "note end")
        _rect(root, "track", left, y - 8, BAR_LENGTH, 16.0)
        _rect(root, kind, left, y - 8, BAR_LENGTH * q, 16.0)
        _text(root, right, y, _number(q, 3))
    return _finish(root)


def visible(token: str) -> str:
    """
    A token with a shape for every character: what XML forbids and eyes miss is replaced.

    Parameters
    ----------
    token
        Any string.

    Returns
    -------
    str
        `␣` for a space, `⏎` for a line end, `⇥` for a tab, `␀` to `␡` for other control characters, `U+200B` and the
        like for what else does not print.

    Examples
    --------
    >>> visible(" the\\n"), visible("\\x00\\u200b"), visible("")
    ('␣the⏎', '␀U+200B', '(empty)')
    """
    shapes = {" ": "␣", "\n": "⏎", "\t": "⇥", "\x7f": "␡"}
    shapes |= {chr(n): chr(0x2400 + n) for n in range(32) if chr(n) not in shapes}
    shown = "".join(
        shapes.get(character, character if character.isprintable() else f"U+{ord(character):04X}")
        for character in token
    )
    return "◌" + shown if shown and unicodedata.combining(shown[0]) else shown or "(empty)"


def _rows(transitions: Transitions) -> dict[tuple[int, ...], Float[np.ndarray, " V"]]:
    """The distribution after each context; a chain's contexts are single tokens."""
    if isinstance(transitions, NGramModel):
        transitions = {context: transitions.next_distribution(context) for context in _contexts(transitions)}
    if not isinstance(transitions, Mapping):
        chain = transitions if isinstance(transitions, StationaryChain) else StationaryChain(transitions)
        return {(i,): row for i, row in enumerate(chain.P)}
    rows = {tuple(c): _distribution(row, f"the row of {c}") for c, row in transitions.items()}
    shapes = {(len(context), len(row)) for context, row in rows.items()}
    if len(shapes) != 1 or min(shapes)[0] < 1:
        raise ValueError(
            "a machine needs states: contexts of one length, at least 1, each with a distribution over the same "
            f"tokens; got (length, tokens) of {sorted(shapes)}"
        )
    V = min(shapes)[1]
    if unknown := [context for context in rows if not all(0 <= w < V for w in context)]:
        raise ValueError(f"contexts hold tokens in [0, {V}), got {unknown[0]}")
    return rows


def _contexts(model: NGramModel) -> list[tuple[int, ...]]:
    """The n-grams one token shorter than the model's order, which its keys stand for."""
    V = len(model.next_distribution([]))
    grams: list[tuple[int, ...]] = [()]
    for weights in model.weights[:-1]:
        contexts, tokens = np.divmod(weights.keys, V)
        grams = [(*grams[c], w) for c, w in zip(contexts.tolist(), tokens.tolist(), strict=True)]
    return grams


def _distribution(p: Float[np.ndarray, " V"], name: str) -> Float[np.ndarray, " V"]:
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not len(p) or not (p >= 0).all() or not abs(p.sum() - 1) <= 1e-5:
        raise ValueError(f"{name} must be a distribution, one row that sums to one; got {p} of shape {p.shape}")
    return p


def _labels(labels: Sequence[str] | None, V: int) -> list[str]:
    if labels is None:
        return [str(w) for w in range(V)]
    if len(labels) != V:
        raise ValueError(f"each of the {V} tokens needs a label, got {len(labels)} labels")
    return [visible(label) for label in labels]


def _columns(text: str) -> int:
    """Widths of characters in a fixed-width font: wide ones, as of Chinese, take two columns, accents none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _shorten(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    while _columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def _number(p: float, digits: int = 2) -> str:
    return f"{p:.{digits}f}" if p == 0 or p >= 0.5 * 10**-digits else f"<{10**-digits:.{digits}f}"


def _canvas(width: float, bottom: float, title: str, described: str) -> ET.Element:
    """A picture with its heading, as wide as that and `width` need, and its content ending at `bottom`."""
    title = "".join(character if character == " " else visible(character) for character in title)
    width = max(width, 9.0 * _columns(title)) + 2 * MARGIN
    size = {"width": _px(width), "height": _px(bottom + MARGIN), "viewBox": f"0 0 {_px(width)} {_px(bottom + MARGIN)}"}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "fp-figure", "role": "img"} | size)
    ET.SubElement(root, "title").text = title
    ET.SubElement(root, "desc").text = described
    ET.SubElement(root, "style").text = STYLE
    _rect(root, "paper", 0.0, 0.0, width, bottom + MARGIN)
    _text(root, MARGIN, 24.0, title, "heading")
    return root


def _finish(root: ET.Element) -> SVG:
    ET.indent(root)
    return SVG(ET.tostring(root, encoding="unicode"))


def _text(root: ET.Element, x: float, y: float, text: str, cls: str = "") -> None:
    ET.SubElement(root, "text", {"x": _px(x), "y": _px(y)} | ({"class": cls} if cls else {})).text = text


def _rect(root: ET.Element, cls: str, x: float, y: float, width: float, height: float) -> None:
    box = {"x": _px(x), "y": _px(y), "width": _px(width), "height": _px(height), "rx": "3"}
    ET.SubElement(root, "rect", {"class": cls} | box)


def _px(x: float) -> str:
    """Tenths of a pixel, and one way to write zero: the last bits of a sine depend on the machine."""
    return f"{round(x, 1) + 0.0:g}"


def _polar(centre: Point, radius: float, angle: float) -> Point:
    return centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)


def _box(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _arc(places: list[Point], i: int, j: int, r: float) -> list[Point]:
    """Start, control point and end of the curve from state `i` to another state `j`, around the origin."""
    (ax, ay), (bx, by) = places[i], places[j]
    middle = (ax + bx) / 2, (ay + by) / 2
    inward = -middle[0], -middle[1]
    depth, length = math.hypot(*inward), math.hypot(bx - ax, by - ay)
    forth = i < j
    if depth > 1e-6:
        ux, uy = inward[0] / depth, inward[1] / depth
    else:  # a diameter has no inside: to the left of the way from the lower number to the higher
        sign = 1 if forth else -1
        ux, uy = -sign * (by - ay) / length, sign * (bx - ax) / length
    neighbours = (i - j) % len(places) in (1, len(places) - 1)
    near, far = (-0.2 * length, 0.2 * length) if neighbours else (0.25 * depth - 16, 0.5 * depth + 16)
    bend = near if forth else far
    control = middle[0] + bend * ux, middle[1] + bend * uy
    return [_towards((ax, ay), control, r), control, _towards((bx, by), control, r + 2)]


def _loop(place: Point, angle: float, r: float) -> list[Point]:
    """Start, two control points and end of the curve from a state to itself, outside the circle of states."""
    spread = 0.55
    return [
        _polar(place, r, angle - spread),
        _polar(place, r + 52, angle - spread * 1.1),
        _polar(place, r + 52, angle + spread * 1.1),
        _polar(place, r + 2, angle + spread),
    ]


def _towards(a: Point, b: Point, distance: float) -> Point:
    return _polar(a, distance, math.atan2(b[1] - a[1], b[0] - a[0]))


def _curve(root: ET.Element, points: list[Point], p: float, tooltip: str) -> None:
    """Draw a Bézier curve with its arrowhead."""
    head = 7 + 4 * p
    tip, control = points[-1], points[-2]
    back = _towards(tip, control, head)
    across = math.atan2(tip[1] - control[1], tip[0] - control[0]) + math.pi / 2
    wings = [tip, _polar(back, head / 2, across), _polar(back, -head / 2, across)]
    path = [*points[:-1], back]
    group = ET.SubElement(root, "g", {"class": "edge", "opacity": f"{0.45 + 0.55 * p:.2f}"})
    ET.SubElement(group, "title").text = tooltip
    order = " Q" if len(points) == 3 else " C"
    d = f"M{_pair(path[0])}{order}{' '.join(_pair(point) for point in path[1:])}"
    ET.SubElement(group, "path", {"d": d, "stroke-width": _px(1 + 4 * p)})
    ET.SubElement(group, "polygon", {"points": " ".join(_pair(wing) for wing in wings)})


def _pair(point: Point) -> str:
    return f"{_px(point[0])},{_px(point[1])}"


def _bezier(points: list[Point], t: float) -> Point:
    """(E1), and the same with one point more: replace neighbours by the point between them until one is left."""
    while len(points) > 1:
        points = [((1 - t) * ax + t * bx, (1 - t) * ay + t * by) for (ax, ay), (bx, by) in pairwise(points)]
    return points[0]
