r"""
Embedding maps: what a model learned about its tokens, on a plane.

Nobody tells a language model which characters are vowels, or which words are names. If it predicts well it has to find
out, and what it found stands in its embedding, a table of $N$ tokens with $D$ numbers each. How can people look at
$D$-dimensional points, and which of what they see is there?

You need: `fp_neural.spectra`, `fp_neural.embedding`, `fp_neural.language_model`.

## The plane that keeps most

A map is a projection. Let $x_1, \dots, x_N \in \mathbb{R}^D$ be the points, $\bar x$ their mean, and $C = \frac1N
\sum_i (x_i - \bar x)(x_i - \bar x)^\top$ with the eigenvalues $\lambda_1 \ge \dots \ge \lambda_D$ and orthonormal
eigenvectors $q_1, \dots, q_D$. **Principal component analysis** (PCA) draws the point $i$ at the coordinates
$q_1 \cdot (x_i - \bar x), \dots, q_k \cdot (x_i - \bar x)$.

**Claim** `neural.pca`. Let $P$ be the projection onto a subspace of dimension $k$, and $p$ any point. Then

$$
\begin{aligned}
\sum_{i=1}^N \big| (x_i - p) - P (x_i - p) \big|^2 &\ge N\, (\lambda_{k+1} + \dots + \lambda_D), \\
\frac{\sum_i \sum_j |P (x_i - x_j)|^2}{\sum_i \sum_j |x_i - x_j|^2}
  &\le \frac{\lambda_1 + \dots + \lambda_k}{\lambda_1 + \dots + \lambda_D},
\end{aligned}
\qquad \text{(E1)}
$$

the second if not all points are equal. With the span of $q_1, \dots, q_k$ and $p = \bar x$ both are equalities. And
$|P (x_i - x_j)| \le |x_i - x_j|$ always.

**Proof.** Put $y_i = x_i - \bar x$, which sum to zero, and $a = \bar x - p$. Let $Ra = a - Pa$, a linear map. In
$|R y_i + R a|^2 = |R y_i|^2 + 2\, (R y_i \cdot R a) + |R a|^2$ the middle terms sum to zero, so by `neural.projection`

$$\sum_i |R (y_i + a)|^2 = \sum_i |R y_i|^2 + N |Ra|^2 \ge \sum_i |R y_i|^2 = \sum_i |y_i|^2 - \sum_i |P y_i|^2.$$

Here $\sum_i |y_i|^2 = N \operatorname{tr} C = N \sum_i \lambda_i$ by `neural.eigenvalue-sums`. With an orthonormal list
$u_1, \dots, u_k$ of the subspace, $\sum_i |P y_i|^2 = \sum_l \sum_i (u_l \cdot y_i)^2 = N \sum_l u_l \cdot C u_l$, at
most $N (\lambda_1 + \dots + \lambda_k)$ by `neural.top-eigenvalues`, with equality for $u_l = q_l$. That is the first.
For the second,

$$
\sum_i \sum_j |P y_i - P y_j|^2 = 2N \sum_i |P y_i|^2 - 2\, \Big| \sum_i P y_i \Big|^2 = 2N \sum_i |P y_i|^2,
$$

and the same without $P$; divide. The last is `neural.projection`. $\blacksquare$

So of all planes this one shows the largest share of the squared distances; the share is called the **explained**
variance. Points far apart on the map are at least as far apart in space. Points close on the map may be far apart along
a direction that is not drawn: to know, ask for the `neighbours` in space.

**Claim** `neural.map-turned`. Replace every $x_i$ by $T x_i + b$ with an orthogonal matrix $T$. The shares stay the
same, and if $\lambda_1 > \dots > \lambda_k > \lambda_{k+1}$, so do the coordinates, up to the sign of each axis.

**Proof.** The deviations become $T y_i$ and $C$ becomes $T C T^\top$, which has the orthonormal eigenvectors $T q_i$
with the same eigenvalues. By `neural.spectral-theorem` an eigenvector of an eigenvalue that occurs once is a multiple
of $T q_i$, of length one: $\pm T q_i$. And $T q_i \cdot T y_j = q_i \cdot y_j$ by `neural.orthogonal-matrix`.
$\blacksquare$

This is as it should be. The layer after an embedding can undo any turn $T$ by a turn of its weights, so which axis is
which has no meaning in a trained model, and two trainings never agree on it; lengths and angles have one. By
`neural.context-moves-together` short distances even bound how differently two tokens act.

## Neighbours

The **cosine** of two vectors that are not zero is $\cos(u, v) = \frac{u \cdot v}{|u|\, |v|}$, between $-1$ and $1$ by
`autograd.cauchy-schwarz`.

**Claim** `neural.cosine`. With $\hat u = u / |u|$ and $\hat v = v / |v|$, $|\hat u - \hat v|^2 = 2 - 2 \cos(u, v)$. So
the vectors of largest cosine to $u$ are those whose directions are nearest to its direction.

**Proof.** $|\hat u|^2 - 2\, \hat u \cdot \hat v + |\hat v|^2$ with both lengths one; it falls as the cosine rises.
$\blacksquare$

Frequent and rare tokens differ in length, because a row of an embedding moves only when its token occurs; the cosine
ignores that.

## An embedding by counting

The simplest model with an embedding looks at one token $a$ and predicts the next, $b$, by $e_a \cdot c_b$. Count
neighbours; let $P(b \mid a)$ be the shares of what follows $a$ and $P(b)$ those of what follows anything. The
**pointwise mutual information** is

$$M_{ab} = \ln \frac{P(b \mid a)}{P(b)}. \qquad \text{(E2)}$$

**Claim** `neural.pmi-softmax`. Let all $P(b \mid a)$ be positive, and let $E$ and $C$ have the rows $e_a$ and $c_b$ in
$\mathbb{R}^D$. The softmax over $b$ of $\ln P(b) + e_a \cdot c_b$ is $P(b \mid a)$ for all $a$ and $b$ exactly if
$E C^\top = M + z \mathbf{1}^\top$ for some vector $z$. Of all $E$ and $C$, those with $E = (\sigma_1 u_1, \dots,
\sigma_D u_D)$ and $C = (v_1, \dots, v_D)$ from the singular values and vectors of $M$ have the smallest
$\|M - E C^\top\|$; and then $|e_a - e_b|$ is the distance between the rows $a$ and $b$ of $E C^\top$.

**Proof.** A softmax of $s_b$ is $p_b$ exactly if $s_b - \ln p_b$ is the same for all $b$ (`neural.softmax-classes`).
Here $\ln P(b) + e_a \cdot c_b - \ln P(b \mid a) = (E C^\top - M)_{ab}$, the same along each row exactly if it is some
$z_a$. Second, the columns of
$E C^\top$ are combinations of the $D$ columns of $E$, so its rank is at most $D$, and `neural.eckart-young` says which
of rank $D$ is nearest (if $D$ exceeds the rank of $M$, the difference is zero). Last, the rows $a$ and $b$ of
$E C^\top$ differ by $C (e_a - e_b)$, and $C^\top C = I$ keeps lengths by `neural.pythagoras`. $\blacksquare$

Tokens are near each other in such an embedding if what follows them is alike. A pair that never occurred has
$M_{ab} = -\infty$. Mixing in a share $w$ of the frequencies, as in `fp_markov.jelinek_mercer`, turns $M_{ab}$ into

$$\ln \frac{(1 - w)\, P(b \mid a) + w P(b)}{P(b)} = \ln \big( (1 - w)\, e^{M_{ab}} + w \big), \qquad \text{(E3)}$$

never below $\ln w$. That is what `pmi` returns. With eight numbers a letter, from the language reference that every
Python carries:

<!-- figure: embedding_map -->

The first axis is the difference between vowels and consonants, though the counts know letters by number only: it is the
direction in which letters differ most in what follows them. The space stands with the vowels, as both are followed by
consonants.

## In practice

The embeddings of word2vec factor $M$ minus a constant, with weights by frequency (O. Levy and Y. Goldberg, "Neural word
embedding as implicit matrix factorization", 2014); many tools set negative $M_{ab}$ to zero instead of mixing. A plane
often explains only a few per cent of a large model's embedding. So its maps are drawn by t-SNE or UMAP, which keep near
points near and bend all else: there, distances between clusters and their sizes mean nothing. Such embeddings tend to
share one long common direction, and cosines are taken after subtracting the mean; `pca` subtracts it, `neighbours` does
not. `pca` calls LAPACK's singular value decomposition, which does the same as `fp_neural.spectra.svd`, faster.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from jaxtyping import Float, Int

from fp_markov.drawing import SVG, visible

__all__ = ["Map", "pca", "neighbours", "pmi", "embedding_svg"]  # the order of the page

# The paper is drawn too, so that the ink is legible on a page of any colour.
STYLE = """
.fp-map { --paper: #fff; --ink: #1f2328; --muted: #5d6670;
  --g0: #14619e; --g1: #a8480a; --g2: #007058; --g3: #8a3d94; max-width: 100%; height: auto; }
@media (prefers-color-scheme: dark) { .fp-map { --paper: #15181c; --ink: #d8dce1; --muted: #98a2ad;
  --g0: #6db3ec; --g1: #f0a35c; --g2: #53c9a4; --g3: #d59be0; } }
.fp-map .paper { fill: var(--paper); }
.fp-map text { fill: var(--ink); dominant-baseline: central; white-space: pre;
  font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.fp-map .heading { font: 600 14px system-ui, sans-serif; }
.fp-map .note { font: 12px system-ui, sans-serif; fill: var(--muted); }
.fp-map .name { text-anchor: middle; }
.fp-map .axis { stroke: var(--muted); opacity: 0.3; }
.fp-map .lead { stroke: var(--muted); opacity: 0.6; }
.fp-map .g0 path { fill: var(--g0); } .fp-map .g0 text { fill: var(--g0); }
.fp-map .g1 path { fill: var(--g1); } .fp-map .g1 text { fill: var(--g1); }
.fp-map .g2 path { fill: var(--g2); } .fp-map .g2 text { fill: var(--g2); }
.fp-map .g3 path { fill: var(--g3); } .fp-map .g3 text { fill: var(--g3); }
"""
COLUMN, LINE, DOT = 7.9, 15.0, 3.5  # width and height of a character of 13 px, rounded up; radius of a mark
MARGIN, HEAD, WIDTH, HEIGHT = 22.0, 44.0, 600.0, 440.0
RINGS = (7.0, 14.0, 22.0, 32.0, 44.0)  # distances of a label from its dot, the nearest first
SHAPES = (  # one for each group, for those who do not see the colours: a disc, a square, a diamond, a triangle
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
    "M-3.2 -3.2h6.4v6.4h-6.4z",
    "M0 -4.6l4.6 4.6l-4.6 4.6l-4.6 -4.6z",
    "M0 -4.4l4.4 7.6h-8.8z",
)

Box = tuple[float, float, float, float]  # left, top, right, bottom


class Map(NamedTuple):
    """
    What `pca` returns.

    Attributes
    ----------
    coordinates
        Of each point, along the components, around the mean, float64.
    components
        Orthonormal directions as columns; of each, the entry of the largest size is positive.
    explained
        The share of the squared distances that each component shows (E1); zeros if all points are equal.
    """

    coordinates: Float[np.ndarray, "N k"]
    components: Float[np.ndarray, "D k"]
    explained: Float[np.ndarray, " k"]


def pca(X: Float[np.ndarray, "N D"], k: int = 2) -> Map:
    """
    The k-dimensional map that keeps most of the squared distances (`neural.pca`).

    Parameters
    ----------
    X
        Points as rows, as the weight of an embedding.
    k
        Dimensions of the map.

    Returns
    -------
    Map
        Coordinates, components and explained shares.

    Raises
    ------
    ValueError
        If an entry is not finite, or the points do not have k dimensions: `1 <= k <= min(N, D)`.

    Examples
    --------
    Points on a line in space, one step of length 3 apart:

    >>> found = pca(np.array([[0.0, 0.0, 5.0], [1.0, 2.0, 7.0], [2.0, 4.0, 9.0]]), k=1)
    >>> found.coordinates.round(9), found.components.round(3).T, found.explained.round(9)
    (array([[-3.],
           [ 0.],
           [ 3.]]), array([[0.333, 0.667, 0.667]]), array([1.]))
    """
    X = _points(X)
    if not 1 <= k <= min(X.shape):
        raise ValueError(f"a map of {len(X)} points with {X.shape[1]} numbers has 1 to {min(X.shape)} axes, got k={k}")
    _, sigma, rows = np.linalg.svd(X - X.mean(0), full_matrices=False)
    components = rows[:k].T
    largest = np.abs(components).argmax(0)
    components = components * np.where(components[largest, np.arange(k)] < 0, -1.0, 1.0)
    total = float((sigma**2).sum())
    return Map((X - X.mean(0)) @ components, components, sigma[:k] ** 2 / (total or 1.0))


def neighbours(
    X: Float[np.ndarray, "N D"], i: int, k: int = 5
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """
    The k points with the largest cosine to point i, in space and not on a map (`neural.cosine`).

    Parameters
    ----------
    X
        Points as rows, none of them zero.
    i
        Number of the point.
    k
        How many of the others.

    Returns
    -------
    indices : ndarray
        Numbers of the neighbours, the nearest first, of equals the lower number; int64.
    cosines : ndarray
        Their cosines, float64.

    Raises
    ------
    ValueError
        If an entry is not finite, a row is zero, there is no point i, or there are not k others.

    Examples
    --------
    >>> indices, cosines = neighbours(np.array([[1.0, 0.0], [0.0, 3.0], [5.0, 5.0]]), 0, k=2)
    >>> indices, cosines.round(3)
    (array([2, 1]), array([0.707, 0.   ]))
    """
    X = _points(X)
    if not 0 <= i < len(X):
        raise ValueError(f"points are numbered from 0 to {len(X) - 1}, got i={i}")
    if not 0 <= k < len(X):
        raise ValueError(f"point {i} has {len(X) - 1} others beside it, got k={k}")
    X = X / np.where(largest := np.abs(X).max(1, keepdims=True, initial=0.0), largest, 1.0)  # no square overflows
    lengths = np.linalg.norm(X, axis=1)
    if not lengths.all():
        raise ValueError(f"a zero vector has no direction, got one in row {int(lengths.argmin())}. Leave it out.")
    cosines = np.clip(X @ X[i] / (lengths * lengths[i]), -1.0, 1.0)
    order = np.argsort(-cosines, kind="stable")
    order = order[order != i][:k]
    return order, cosines[order]


def pmi(
    counts: Float[np.ndarray, "V W"] | Int[np.ndarray, "V W"], weight: float | int = 0.1
) -> Float[np.ndarray, "V W"]:
    """
    Pointwise mutual information of neighbours, mixed with independence (E3).

    Parameters
    ----------
    counts
        How often token b followed token a, in row a and column b.
    weight
        Share w of the frequencies, in `[0, 1]`; with 0, pairs that never occurred have minus infinity.

    Returns
    -------
    ndarray
        In nats, float64.

    Raises
    ------
    ValueError
        If a count is negative or not finite, a token never occurs on its side, or the weight is not a share.

    Examples
    --------
    After 0 always comes 1, and after 1 always 0:

    >>> pmi(np.array([[0, 5], [5, 0]]), weight=0.5).round(3)
    array([[-0.693,  0.405],
           [ 0.405, -0.693]])
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight is a share in [0, 1], got {weight}")
    counts = _points(counts)
    if (counts < 0).any():
        raise ValueError(f"counts are not negative, got {counts.min():g}")
    before, after = counts.sum(1), counts.sum(0)
    for side, occurring in (("first", before), ("second", after)):
        if not occurring.all():
            raise ValueError(f"token {int(occurring.argmin())} is never the {side} of a pair. Leave it out.")
    ratio = (counts / before[:, None]) / (after / after.sum())
    with np.errstate(divide="ignore"):  # the logarithm of zero is asked for with weight 0
        return np.log((1 - weight) * ratio + weight)


def embedding_svg(
    coords: Float[np.ndarray, "N 2"],
    labels: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    title: str = "Embedding map",
) -> SVG:
    """
    Draw points with their labels, one scale for both axes.

    Parameters
    ----------
    coords
        Places, as from `pca`.
    labels
        One for each point. Where there is no room beside a point for its label, the tooltip alone has it.
    groups
        For each point the name of its group, of which there are at most four; each has its own colour and shape.
    title
        Heading of the picture.

    Returns
    -------
    SVG
        The same text for the same arguments; it follows the reader's setting, light or dark.

    Raises
    ------
    ValueError
        If there is no point, a coordinate is not finite, labels or groups are not one for each point, or there are more
        than four groups.

    Examples
    --------
    >>> svg = embedding_svg(np.array([[0.0, 0.0], [3.0, 4.0]]), ["a", " "], title="Two tokens")
    >>> svg[:4], "<title>Two tokens</title>" in svg, "␣ (3.00, 4.00)" in svg
    ('<svg', True, True)
    """
    coords = _points(coords)
    if coords.shape[1:] != (2,):
        raise ValueError(f"a place on a map is two numbers, got the shape {coords.shape}. See pca(X, k=2).")
    given = [("label", labels)] + ([("group", groups)] if groups is not None else [])
    for what, names in given:
        if len(names) != len(coords):
            raise ValueError(f"each of the {len(coords)} points needs a {what}, got {len(names)}")
    kinds = list(dict.fromkeys(groups or ()))
    if len(kinds) > len(SHAPES):
        raise ValueError(f"at most {len(SHAPES)} groups can be told apart, got {len(kinds)}: {', '.join(kinds)}")
    names = [visible(label) for label in labels]

    low, high = coords.min(0), coords.max(0)
    span = np.maximum(high - low, np.finfo(float).tiny)
    room = min(max(1.0, math.sqrt(len(coords) / 80)), 2.0)  # many labels need a larger map
    scale = room * float(min(WIDTH / span[0], HEIGHT / span[1])) if (high > low).any() else 0.0
    places = [(x * scale, -y * scale) for x, y in (coords - (low + high) / 2).tolist()]
    boxes = _label_boxes(places, names)
    described = "; ".join(f"{name} ({x:.2f}, {y:.2f})" for name, (x, y) in zip(names, coords.tolist(), strict=True))

    drawn = [_box(x, y, 4 * DOT, 4 * DOT) for x, y in places] + [box for box in boxes if box]
    left, top = min(box[0] for box in drawn), min(box[1] for box in drawn)
    right, bottom = max(box[2] for box in drawn), max(box[3] for box in drawn)
    head = HEAD + (26 if kinds else 0)
    legend = [COLUMN * _columns(visible(kind)) + 30 for kind in kinds]
    width = max(right - left, 9.0 * _columns(title), sum(legend)) + 2 * MARGIN
    hidden = len(boxes) - sum(box is not None for box in boxes)
    height = head + bottom - top + MARGIN + (24 if hidden else 0)
    size = {"width": _px(width), "height": _px(height), "viewBox": f"0 0 {_px(width)} {_px(height)}"}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "fp-map", "role": "img"} | size)
    shown_title = "".join(character if character == " " else visible(character) for character in title)
    ET.SubElement(root, "title").text = shown_title
    ET.SubElement(root, "desc").text = f"{len(names)} points: {described}."
    ET.SubElement(root, "style").text = STYLE
    ET.SubElement(root, "rect", {"class": "paper", "width": _px(width), "height": _px(height), "rx": "3"})
    _text(root, MARGIN, 24.0, shown_title, "heading")
    x = MARGIN
    for g, (kind, advance) in enumerate(zip(kinds, legend, strict=True)):
        group = ET.SubElement(root, "g", {"class": f"g{g}"})
        _mark(group, x + DOT, 50.0, g)
        _text(group, x + 14, 50.0, visible(kind))
        x += advance
    if hidden:
        _text(root, MARGIN, height - 18, f"{hidden} labels do not fit beside their points", "note")
    origin = f"translate({_px((width - right - left) / 2)} {_px(head - top)})"
    plane = ET.SubElement(root, "g", transform=origin)
    zero = -(low + high) / 2 * scale
    if left <= zero[0] <= right:
        _line(plane, (zero[0], top), (zero[0], bottom), "axis")
    if top <= -zero[1] <= bottom:
        _line(plane, (left, -zero[1]), (right, -zero[1]), "axis")
    for place, box in zip(places, boxes, strict=True):
        if box and math.dist(place, near := _nearest(place, box)) > RINGS[0] + 1:
            _line(plane, place, near, "lead")
    for n, (place, box) in enumerate(zip(places, boxes, strict=True)):
        g = kinds.index(groups[n]) if groups is not None else 0
        group = ET.SubElement(plane, "g", {"class": f"point g{g}"})
        ET.SubElement(group, "title").text = f"{names[n]} ({coords[n, 0]:.2f}, {coords[n, 1]:.2f})"
        _mark(group, *place, g)
        if box:
            _text(group, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, names[n], "name")
    ET.indent(root)
    return SVG(ET.tostring(root, encoding="unicode"))


def _points(X: np.ndarray) -> Float[np.ndarray, "N D"]:
    X = np.asarray(X, np.float64)
    if X.ndim != 2 or not X.size:
        raise ValueError(f"points are the rows of a table, at least one, got the shape {X.shape}")
    if not np.isfinite(X).all():
        i, j = np.argwhere(~np.isfinite(X))[0]
        raise ValueError(f"the numbers must be finite, got {X[i, j]} in row {i}, column {j}. Leave such rows out.")
    return X


def _label_boxes(places: list[tuple[float, float]], names: list[str]) -> list[Box | None]:
    """A free place for each label, or None: first beside the dots, then farther out for those still without one."""
    taken = [_box(x, y, 2.5 * DOT, 2.5 * DOT) for x, y in places]
    boxes: list[Box | None] = [None] * len(names)
    for ring in RINGS:
        for n, place in enumerate(places):
            if boxes[n] is None:
                candidates = _candidates(*place, COLUMN * _columns(names[n]) + 3, ring)
                free = (box for box in candidates if not any(_overlap(box, other) for other in taken))
                boxes[n] = next(free, None)
                taken += [box] if (box := boxes[n]) else []
    return boxes


def _candidates(x: float, y: float, width: float, ring: float) -> list[Box]:
    """Places for a label around a dot: right, left, above, below, then between these."""
    angles = (turn * math.pi / 8 for turn in (0, 8, 12, 4, 14, 2, 10, 6, 15, 1, 13, 3, 9, 7, 11, 5))
    return [
        _box(x + (ring + width / 2) * math.cos(angle), y + (ring + LINE / 2) * math.sin(angle), width, LINE)
        for angle in angles
    ]


def _columns(text: str) -> int:
    """Widths of characters in a fixed-width font: wide ones, as of Chinese, take two columns, accents none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _mark(root: ET.Element, x: float, y: float, group: int) -> None:
    shape = {"d": SHAPES[group], "transform": f"translate({_px(x)} {_px(y)})"}
    ET.SubElement(root, "path", shape)


def _text(root: ET.Element, x: float, y: float, text: str, cls: str = "") -> None:
    ET.SubElement(root, "text", {"x": _px(x), "y": _px(y)} | ({"class": cls} if cls else {})).text = text


def _line(root: ET.Element, a: tuple[float, float], b: tuple[float, float], cls: str) -> None:
    ET.SubElement(root, "line", {"class": cls, "x1": _px(a[0]), "y1": _px(a[1]), "x2": _px(b[0]), "y2": _px(b[1])})


def _nearest(place: tuple[float, float], box: Box) -> tuple[float, float]:
    return min(max(place[0], box[0]), box[2]), min(max(place[1], box[1]), box[3])


def _px(x: float) -> str:
    """Tenths of a pixel, and one way to write zero."""
    return f"{round(x, 1) + 0.0:g}"


def _box(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
