r"""
Maps: where a head looks, as a picture.

The weights of a head are a table with a row for each query and a column for each key, and every number in it can be
read: here this token took nine tenths of what it got from that one. Few other parts of a network offer that. What can
be seen in such a table, what becomes of it through several layers, and what does it not say?

You need: `fp_attention.lookup`, `fp_attention.windows`, matrices (`fp_autograd.linear_algebra`).

## Rows

A map has the queries as rows, each summing to one, and the keys as columns. Under a causal mask all is on and below the
diagonal. Lines parallel to the diagonal are heads that look a fixed number of tokens back. A bright first column is a
sink (`attention.sink`). A bright cell is a lookup by content, which is what one hopes to find.

>>> P = np.array([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.5, 0.25, 0.25]])
>>> picture = attention_svg(P, ["the", " cat", "\n"], title="One head")
>>> picture[:4], "⏎ → ␣cat: 0.250" in picture
('<svg', True)

## Through the layers

A second layer does not look at tokens but at what the first one made of them. If a layer's output at $i$ is a mixture
of its inputs with the weights $P_{ij}$, two layers make a mixture of mixtures.

**Claim** `attention.rollout`. Call a square matrix **stochastic** if no entry is negative and every row sums to one.

1. The product of stochastic matrices is stochastic, and so is $\frac12 (P + I)$ for a stochastic $P$. If all are zero
   above the diagonal, so is the product.
2. If layer $l = 1, \dots, L$ maps its inputs $x_j$ to $\sum_j P^{(l)}_{ij} x_j$, then $L$ layers map them to
   $\sum_j R_{ij} x_j$ with $R = P^{(L)} \cdots P^{(1)}$, whose entry $R_{ij}$ is the sum over all paths from $i$ to $j$
   of the product of their weights.

**Proof.** (1) $(P Q)_{ij} = \sum_k P_{ik} Q_{kj}$ has no negative term, and
$\sum_j \sum_k P_{ik} Q_{kj} = \sum_k P_{ik} \sum_j Q_{kj} = \sum_k P_{ik} = 1$. For more than two factors repeat this.
The rows of $\frac12 (P + I)$ sum to $\frac12 (1 + 1)$. If $P_{ik} = 0$ for $k > i$ and $Q_{kj} = 0$ for $j > k$, a term
with $j > i$ has $k > i$ or $j > k$, and is zero. (2) For one layer there is nothing to show. If $L - 1$ layers map to
$z_k = \sum_j R'_{kj} x_j$ with $R' = P^{(L-1)} \cdots P^{(1)}$, the last one maps to $\sum_k P^{(L)}_{ik} z_k =
\sum_j (P^{(L)} R')_{ij}\, x_j$; and a path of $L$ steps is a step to some $k$ and a path of $L - 1$ steps from there,
so the sum over paths is $\sum_k P^{(L)}_{ik} R'_{kj}$. $\blacksquare$

`rollout` computes $R$, with $\frac12 (P + I)$ for each layer by default, as a layer's input is added to its output. It
is a picture of where signals *can* come from, drawn as if all vectors passed unchanged: real layers turn them, bend
them, and mix heads with matrices of either sign.

>>> rollout([P, P]).round(3)
array([[1.   , 0.   , 0.   ],
       [0.234, 0.766, 0.   ],
       [0.422, 0.188, 0.391]])

## What a map does not say

**Claim** `attention.maps-not-unique`. Let a row have $n$ weights, all positive, and values of $d$ numbers each, with
$n \ge d + 2$. Then there are other weights, positive and with the sum one, that give the same output.

**Proof.** Ask for $\delta \in \mathbb{R}^n$ with $\sum_j \delta_j = 0$ and $\sum_j \delta_j v_j = 0$: that is
$1 + d < n$ equations in $n$ unknowns, without constant terms, which have a solution $\delta \ne 0$ (below
`autograd.vjp-chain`). For every $\varepsilon$, $p + \varepsilon \delta$ sums to one and gives
$\sum_j p_j v_j + \varepsilon \sum_j \delta_j v_j = y$. If $0 < \varepsilon < \min_j p_j / \max_j |\delta_j|$, every
$p_j + \varepsilon \delta_j \ge p_j - \varepsilon \max_j |\delta_j|$ is positive. $\blacksquare$

So over long texts many maps belong to one output. And a weight says nothing without its value: a sink has the largest
weight and a value near zero. What the head adds from key $j$ is $p_j v_j$, and what a change of it would do to the loss
is the gradient, by `attention.lookup-gradient`. A map shows where a head looks, and is no explanation of what the model
does.

## In practice

Rollout is from S. Abnar and W. Zuidema (2020). Heads that look one token back, at sinks, at the verb of a noun, were
catalogued by K. Clark and others ("What does BERT look at?", 2019). Pairs of heads, one that looks one token back and
one in a later layer that looks for what stood before an earlier copy of the present token, are *induction heads*
(C. Olsson and others, 2022). Whether maps explain was disputed by S. Jain and B. Wallace ("Attention is not
explanation", 2019), and S. Wiegreffe and Y. Pinter ("Attention is not not explanation", 2019). Fast kernels
never hold the weights; `fp_attention.attention_weights` computes them.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Bool, Float

from fp_autograd.drawing import SVG
from fp_markov.drawing import visible

__all__ = ["rollout", "attention_svg"]  # the order of the page

# The paper is drawn too, so that the ink is legible on a page of any colour.
STYLE = """
.fp-attention { --paper: #fff; --ink: #1f2328; --muted: #5d6670; --accent: #0f5c9a; height: auto; }
@media (prefers-color-scheme: dark) { .fp-attention { --paper: #15181c; --ink: #d8dce1; --muted: #98a2ad;
  --accent: #8fc7f5; } }
.fp-attention .paper { fill: var(--paper); }
.fp-attention text { fill: var(--ink); dominant-baseline: central; white-space: pre;
  font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.fp-attention .heading { font: 600 14px system-ui, sans-serif; }
.fp-attention .note { font: 12px system-ui, sans-serif; fill: var(--muted); }
.fp-attention .head { font: 600 13px system-ui, sans-serif; }
.fp-attention .middle { text-anchor: middle; }
.fp-attention .end { text-anchor: end; }
.fp-attention .cells rect { fill: var(--accent); }
.fp-attention .cells rect.zero { fill: var(--paper); }
.fp-attention .frame { fill: none; stroke: var(--muted); stroke-opacity: 0.5; }
.fp-attention .cells rect:hover { stroke: var(--ink); stroke-width: 1.5px; }
"""
COLUMN, LINE = 7.9, 15.0  # width and height of a character of 13 px, rounded up
MARGIN, HEAD, GAP, LEGEND = 16.0, 58.0, 26.0, 120.0
WIDEST = 760.0  # of a row of heads
SHRINK = 0.75  # a wide picture is made this much smaller to fit its page, and then it scrolls
FAINTEST = 0.08  # the tint of a weight just above zero, which itself has none
LONGEST = 16  # columns of a label
MOST = 50_000  # cells in a picture


def rollout(weights: Sequence[Float[np.ndarray, "T T"]], *, residual: bool = True) -> Float[np.ndarray, "T T"]:
    """
    The product of the weights of all layers (`attention.rollout`).

    Parameters
    ----------
    weights
        Of each layer, the first layer first; of several heads take the mean.
    residual
        Whether each is first mixed half and half with the identity.

    Returns
    -------
    ndarray
        How much of each input stands in each output, shape (T, T); rows sum to one.

    Raises
    ------
    ValueError
        If there is no layer, a matrix is not square or of another size than the first, or a row is no distribution.

    Examples
    --------
    >>> back = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # one token back
    >>> rollout([back, back], residual=False)[2]
    array([1., 0., 0.])
    """
    if not len(weights):
        raise ValueError("a rollout is made of the weights of one layer or more, got none")
    T = len(weights[0])
    R = np.eye(T)
    for layer, P in enumerate(weights):
        if np.shape(P) != (T, T):
            raise ValueError(
                f"every layer has a square matrix of weights, of one size, got {np.shape(P)} in layer {layer} and "
                f"{np.shape(weights[0])} in layer 0; of several heads take the mean"
            )
        # float32 sums of some thousand terms are off by less than 1e-4
        if not ((P >= 0).all() and np.allclose(P.sum(-1), 1, rtol=0, atol=1e-4)):
            raise ValueError(f"rows of weights are not negative and sum to one, which those of layer {layer} do not")
        R = (P @ R + R) / 2 if residual else P @ R
    return R


def attention_svg(
    weights: Float[np.ndarray, "*heads Tq Tk"] | Bool[np.ndarray, "*heads Tq Tk"],
    row_labels: Sequence[str],
    column_labels: Sequence[str] | None = None,
    *,
    title: str = "Attention",
    heads: Sequence[str] | None = None,
    largest: float | int | None = None,
) -> SVG:
    """
    Draw weights as a heat map with labels, one map a head.

    Parameters
    ----------
    weights
        Shape (Tq, Tk), or (H, Tq, Tk) for several heads; or a mask. Not negative.
    row_labels
        Tokens of the queries.
    column_labels
        Tokens of the keys; those of the queries by default.
    title
        Heading of the picture.
    heads
        A name for each head; `head 0`, `head 1` and so on by default.
    largest
        The weight that is drawn darkest; by default the largest there is.

    Returns
    -------
    SVG
        The same text for the same arguments; it follows the reader's setting, light or dark, and shows the number of
        a cell under the pointer. Weights of exactly zero are blank, all others are tinted.

    Raises
    ------
    ValueError
        If the weights are not a table or a stack of tables, a number is negative or not finite, labels or names are not
        one for each, or there are more cells than a page can show.
    TypeError
        If the title, a label or a name is no string.

    Examples
    --------
    >>> svg = attention_svg(np.array([[0.25, 0.75]]), ["who"], ["Ann", "ran"])
    >>> "who → ran: 0.750" in svg
    True
    """
    P = np.asarray(weights, np.float64)
    given = {"row_labels": row_labels, "column_labels": column_labels, "heads": heads}
    _check_words(title, **{name: words for name, words in given.items() if words is not None or name == "row_labels"})
    _check(P, row_labels, row_labels if column_labels is None else column_labels, heads, largest)
    P = P if P.ndim == 3 else P[None]
    H, Tq, Tk = P.shape
    rows = [_visible(label) for label in row_labels]
    columns = rows if column_labels is None else [_visible(label) for label in column_labels]
    names = [_visible(name, " ") for name in heads] if heads is not None else [f"head {h}" for h in range(H)]
    named = H > 1 or heads is not None
    top = float(P.max() if largest is None else largest) or 1.0

    cell = min(max(480.0 / max(Tq, Tk), 5.0), 22.0)
    shown = [_shorten(label) for label in rows], [_shorten(label) for label in columns]
    upright = max(map(_columns, shown[1])) * COLUMN > cell - 2
    left = max(map(_columns, shown[0])) * COLUMN + 8
    above = (max(map(_columns, shown[1])) * COLUMN if upright else LINE) + 8
    wide, high = max(Tk * cell, 7.8 * max(map(_columns, names)) * named), Tq * cell
    across = min(H, max(1, int((WIDEST + GAP) // (wide + GAP))))
    down = -(-H // across)
    name_room = 22.0 * named
    heading = _visible(title, " ")
    note = "rows: queries, columns: keys"
    scaled = not np.isin(P, (0.0, top)).all()  # a mask needs no legend
    width = 2 * MARGIN + max(
        left + across * (wide + GAP) - GAP, 8.5 * _columns(heading), 6.5 * len(note) + (LEGEND + 70) * scaled
    )
    height = HEAD + above + down * (name_room + high + GAP) - GAP + MARGIN
    root = _canvas(width, height, heading, _told(P, rows, columns, names))
    _text(root, MARGIN, 22.0, heading, "heading")
    _text(root, MARGIN, 42.0, note, "note")
    if scaled:
        _legend(root, MARGIN + 6.5 * len(note), top)
    for h in range(H):
        x, y = MARGIN + left + h % across * (wide + GAP), HEAD + h // across * (name_room + high + GAP)
        if named:
            _text(root, x, y + 10 + (above if h >= across else 0), names[h], "head")
        y += name_room + above
        if h % across == 0:
            for r in _spread(Tq, cell):
                _text(root, x - 6, y + (r + 0.5) * cell, shown[0][r], "end")
        if h < across:
            for c in _spread(Tk, cell):
                _column_label(root, x + (c + 0.5) * cell, y - 5, shown[1][c], upright)
        _cells(root, P[h] / top, P[h], (x, y), cell, rows, columns)
    return SVG(ET.tostring(root, encoding="unicode"))


def _check_words(title: Any, **labels: Any) -> None:
    if not isinstance(title, str):
        raise TypeError(
            f"the title is a string, got {title!r} of type {type(title).__name__}; leave it out for `Attention`"
        )
    for name, words in labels.items():
        if not isinstance(words, Sequence | np.ndarray) or isinstance(words, bytes):
            raise TypeError(f"{name} is a list of strings, one for each, got {words!r:.80}")
        for word in words:
            if not isinstance(word, str):
                raise TypeError(
                    f"{name} is a list of strings, got {word!r:.80} of type {type(word).__name__} in it: decode bytes, "
                    "and give str(n) for a number n"
                )


def _check(
    P: np.ndarray, rows: Sequence[str], columns: Sequence[str], heads: Sequence[str] | None, largest: float | int | None
) -> None:
    if P.ndim not in (2, 3) or not P.size:
        raise ValueError(f"weights have the shape (Tq, Tk) or (heads, Tq, Tk), got {P.shape}; of a batch take one text")
    if not (np.isfinite(P).all() and (P >= 0).all()):
        raise ValueError("weights are finite and not negative; pass those after the softmax, not the scores")
    given = [("row", rows, P.shape[-2], "row_labels"), ("column", columns, P.shape[-1], "column_labels")]
    for what, labels, n, name in given:
        if len(labels) != n:
            raise ValueError(f"each of {n} {what}s needs a label, got {len(labels)}: see `{name}`")
    if heads is not None and len(heads) != (len(P) if P.ndim == 3 else 1):
        raise ValueError(f"each head needs a name, got {len(heads)} names for weights of the shape {P.shape}")
    if largest is not None and not largest > 0:
        raise ValueError(f"the weight that is drawn darkest is above zero, got {largest}")
    if P.size > MOST:
        raise ValueError(
            f"a picture shows at most {MOST:,} cells, got {P.size:,}: take fewer heads or a part of the text"
        )


def _cells(
    root: ET.Element,
    shares: np.ndarray,
    P: np.ndarray,
    corner: tuple[float, float],
    cell: float,
    rows: list[str],
    columns: list[str],
) -> None:
    (x, y), air = corner, 1.0 if cell > 8 else 0.0
    Tq, Tk = P.shape
    size = {"width": _px(cell - air), "height": _px(cell - air)}
    group = ET.SubElement(root, "g", {"class": "cells"})
    for r in range(Tq):
        for c in range(Tk):
            place = {"x": _px(x + c * cell), "y": _px(y + r * cell)} | size
            share = min(float(shares[r, c]), 1.0)
            kind = {"fill-opacity": f"{_tint(share):.3f}"} if share else {"class": "zero"}
            box = ET.SubElement(group, "rect", place | kind)
            ET.SubElement(box, "title").text = f"{rows[r]} → {columns[c]}: {P[r, c]:.3f}"
    edge = {"x": _px(x - 1), "y": _px(y - 1), "width": _px(Tk * cell + 2 - air), "height": _px(Tq * cell + 2 - air)}
    ET.SubElement(root, "rect", {"class": "frame"} | edge)


def _tint(share: float) -> float:
    """How dark a weight is drawn that is this share of the darkest, more than none of it."""
    return FAINTEST + (1 - FAINTEST) * share


def _legend(root: ET.Element, x: float, top: float) -> None:
    _text(root, x + 10, 42.0, "0", "note middle")
    group = ET.SubElement(root, "g", {"class": "cells"})
    for n in range(10):
        place = {"x": _px(x + 18 + n * LEGEND / 10), "y": "36", "width": _px(LEGEND / 10), "height": "12"}
        ET.SubElement(group, "rect", place | {"fill-opacity": f"{_tint((n + 1) / 10):.3f}"})
    _text(root, x + 24 + LEGEND, 42.0, f"{top:.2g}", "note")


def _column_label(root: ET.Element, x: float, y: float, label: str, upright: bool) -> None:
    if upright:
        turned = {"transform": f"translate({_px(x)} {_px(y)}) rotate(-90)"}
        ET.SubElement(root, "text", turned).text = label
    else:
        _text(root, x, y - LINE / 2, label, "middle")


def _spread(n: int, cell: float) -> range:
    """Which of n labels are written: all, or every second and so on where lines would overlap."""
    return range(0, n, -(-14 // int(cell)))


def _told(P: np.ndarray, rows: list[str], columns: list[str], names: list[str]) -> str:
    """The picture in words: where each row looks most, as long as it can be listened to."""
    H, Tq, Tk = P.shape
    told = f"{H} table{'s' if H > 1 else ''} of {Tq} queries and {Tk} keys."
    if H * Tq > 64:
        return told
    for h in range(H):
        most = [f"{rows[r]} to {columns[c]} {P[h, r, c]:.2f}" for r, c in enumerate(P[h].argmax(-1).tolist())]
        told += f" {names[h] + ': ' if H > 1 else 'Largest weights: '}{', '.join(most)}."
    return told


def _visible(text: str, space: str = "␣") -> str:
    """A label with a shape for every character; an accent alone gets a circle to stand on."""
    shown = visible(text).replace("␣", space)
    return "◌" + shown if unicodedata.combining(shown[0]) else shown


def _columns(text: str) -> int:
    """Widths of characters in a fixed-width font: wide ones, as of Chinese, take two columns, accents none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _shorten(text: str) -> str:
    if _columns(text) <= LONGEST:
        return text
    while _columns(text) > LONGEST - 1:
        text = text[:-1]
    return text + "…"


def _canvas(width: float, height: float, title: str, described: str) -> ET.Element:
    fit = f"width: 100%; min-width: {_px(SHRINK * width)}px; max-width: {_px(width)}px"
    size = {"width": _px(width), "height": _px(height), "viewBox": f"0 0 {_px(width)} {_px(height)}", "style": fit}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "fp-attention", "role": "img"} | size)
    ET.SubElement(root, "title").text = title
    ET.SubElement(root, "desc").text = described
    ET.SubElement(root, "style").text = STYLE
    ET.SubElement(root, "rect", {"class": "paper", "width": _px(width), "height": _px(height), "rx": "3"})
    return root


def _text(root: ET.Element, x: float, y: float, text: str, cls: str) -> None:
    ET.SubElement(root, "text", {"x": _px(x), "y": _px(y), "class": cls}).text = text


def _px(x: float) -> str:
    """Tenths of a pixel, and one way to write zero."""
    return f"{round(x, 1) + 0.0:.10g}"
