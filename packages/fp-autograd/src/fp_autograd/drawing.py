r"""
Drawing: a computation as a picture.

A graph of values, with what each one is, its gradient, and the local derivative on every edge, shows at a glance what
the sweep will do and, afterwards, what it did. Where should a node stand so that arrows do not cross and no number
covers another? Programs for that exist, and would have to be installed; the part of their method that is needed here is
short. The picture is SVG, which is text: every browser and notebook shows it, sharp at any size.

You need: `fp_autograd.value` and `fp_autograd.tensor`, whose graphs these are.

<!-- figure: computation_graph -->

## Layers

The nodes are numbered as they were made, so that every operand has a smaller number than the node that uses it, and the
last one is the result. Each node gets a **layer**: the result layer $0$, every other node

$$\ell(v) = 1 + \max_{u \text{ uses } v} \ell(u), \qquad \text{(E1)}$$

which one pass from the last node to the first computes. The layers stand side by side, layer $0$ at the end.

**Claim** `autograd.longest-path-layers`. In a finite graph in which the result can be reached from every node, (E1) is
the number of edges on the longest path from $v$ to the result. Every edge leads to a lower layer; every node but the
result has a user exactly one layer below its own; and no other choice of layers in which edges lead to lower layers,
the result being in layer $0$, gives any node a lower one. So the picture is as short as a layered picture can be.

**Proof.** By induction from the last node to the first. From the result to itself the longest path has no edge. A path
from $v \ne$ result starts with an edge to some user $u$, and the longest one that does goes on with the longest from
$u$: its length is $1 + \ell(u)$ by the induction hypothesis, and the largest of these is (E1). For each user
$\ell(u) \le \ell(v) - 1$, and where the maximum is taken it is equal. In any other choice $m$, let
$v \to u_1 \to \dots \to u_r$ with $r = \ell(v)$ be a longest path to the result: $m$ falls by at least one along each
of its edges and ends at $0$, so $m(v) \ge r$. $\blacksquare$

Because each node has a user in the next layer, an input stands right before where it is needed first, and not in a long
column at the far end. Where an edge skips layers, a **point** in each layer between keeps a lane free; all edges of a
node share its lane and leave it one after the other. And the number on an edge is such a point too, a wide one: between
any two layers of nodes is put a layer of numbers. So one rule for points in a layer keeps boxes, numbers and arrows
apart. From here on every edge is a chain of **links** between neighbouring layers.

## Order

Take two neighbouring layers, one of them ordered already. Two links cross if their ends are in opposite orders. The
**barycentre** of a point is the mean place, $1, 2, 3, \dots$, of its neighbours in the ordered layer. (E2)

**Claim** `autograd.barycentre`. If the other layer can be ordered without any crossing, then sorting its points by
barycentre is such an order, however points with the same barycentre are arranged. Points without neighbours in the
ordered layer may stand anywhere.

**Proof.** Links of a point without neighbours do not exist and cross nothing. Let $N(u)$ be the places of the
neighbours of $u$. Whether links of $u$ and $v$ cross depends on the order of these two points alone: with $u$ before
$v$ there is a crossing if and only if some $a \in N(u)$ is larger than some $b \in N(v)$. Let $u$ stand before $v$ in
an order without crossing. Then $\max N(u) \le \min N(v)$, and as a mean lies between the least and the greatest of its
numbers, the barycentre of $u$ is at most that of $v$. If it is less, sorting keeps $u$ before $v$. If both are equal,
all the inequalities are equalities: the mean of $N(u)$ equals its maximum, so $N(u)$ has only one element, $N(v)$
likewise, and it is the same; then links of $u$ and $v$ end in the same place and do not cross in either order. So no
pair crosses after sorting. $\blacksquare$

Where crossings cannot be avoided, finding the fewest is hard even for two layers, and barycentres give few. All layers
are sorted by their operands, then all by their users, some rounds long; every other round equal ones change places; and
the best order that was seen is kept.

## Places

In a given order, let point $i$ of a layer stand at the height $y_i$, with $y_{i+1} - y_i \ge s_i$, half of both sizes
and some air. Short and straight links are wanted: the sum of $w\, (y_u - y_v)^2$ over all links should be small, with
large weights $w$ for links between lanes of a long edge. While the other layers stay where they are, completing the
square turns the links of point $i$ into $w_i\, (y_i - d_i)^2$ and a constant, where $w_i$ is the sum of their weights
and $d_i$ the weighted mean of the heights at the other ends. Substitute $x_i = y_i - (s_1 + \dots + s_{i-1})$, and
likewise $e_i$ for $d_i$: minimize

$$\sum_i w_i\, (x_i - e_i)^2 \qquad \text{subject to} \qquad x_1 \le x_2 \le \dots \le x_n. \qquad \text{(E3)}$$

**Pooling**: take the $e_i$ one after the other, each as a block of its own. While the last block has a mean below that
of the block before it, or equal, unite the two. Then give each point the weighted mean of its block. (E4)

**Claim** `autograd.pooling`. For positive weights the result of (E4) is the one solution of (E3).

**Proof.** The final means increase from block to block, so the result is allowed. First: *in each block, the mean of
the first $k$ elements is at least the mean of the block*. A block of one element has this property. Let two blocks that
have it unite, the first of weight $A$ and mean $a$, the second of weight $B$ and mean $b \le a$; the union has the mean
$m = \frac{A a + B b}{A + B} \le a$. The first elements of the first block have a mean of at least $a \ge m$. All of the
first with some of the second, these of weight $C \le B$ and by their property of a mean of at least $b$, have a mean of
at least $\frac{A a + C b}{A + C} = b + \frac{A (a - b)}{A + C} \ge b + \frac{A (a - b)}{A + B} = m$.

Now let $x$ satisfy the constraint and let $m$ be the mean of a block whose elements are numbered $1, \dots, n$. With
$S_k = \sum_{i \le k} w_i (e_i - m)$ we have $S_n = 0$, and $S_k \ge 0$ by the property. With $S_0 = 0$,

$$
\begin{aligned}
\sum_i w_i (e_i - m)(x_i - m) &= \sum_{i=1}^{n} (S_i - S_{i-1})(x_i - m) \\
  &= S_n (x_n - m) - \sum_{k=1}^{n-1} S_k\, (x_{k+1} - x_k) \le 0.
\end{aligned}
$$

Therefore, over the block,

$$
\begin{aligned}
\sum_i w_i (x_i - e_i)^2 &= \sum_i w_i (x_i - m)^2 - 2 \sum_i w_i (x_i - m)(e_i - m) + \sum_i w_i (m - e_i)^2 \\
  &\ge \sum_i w_i (x_i - m)^2 + \sum_i w_i (m - e_i)^2.
\end{aligned}
$$

Summed over the blocks, every allowed $x$ costs at least as much as the result, and more unless $x_i = m$ throughout.
$\blacksquare$

Layer after layer is placed so, back and forth; as each step minimizes over one layer while the others stay, the sum
never grows.

## In practice

Layers, barycentres and straightening are the method of Sugiyama, Tagawa and Toda (1981); Graphviz's `dot` follows
Gansner and others (1993), with the network simplex in place of (E4), and `torchviz` and micrograd's notebook draw with
it. Pooling is older, known from statistics as isotonic regression. Graphs of real models have thousands of nodes and
are drawn folded, one box for a layer (TensorBoard, Netron): a picture of every operation is for a neuron, a loss, a
bug."""

import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

from fp_autograd.tensor import FREED, Tensor
from fp_autograd.tracing import value_of
from fp_autograd.value import Value

__all__ = ["SVG", "draw", "Node", "recorded", "cotangents", "layers", "sorted_by_barycentre", "crossings", "pooled"]

GONE = "a part of this graph was freed by backward: draw it before, or call backward(retain_graph=True)"
LIMIT = 500  # nodes: more is no picture any more
ROUNDS = 60  # of placing all layers
ENTRIES = 36  # of a Jacobian that is computed for a tooltip
STYLE = """
.fp-graph { --paper: #fff; --ink: #1f2328; --muted: #5d6670; --accent: #14619e; --soft: #e6eff6; --gradient: #a8480a;
  height: auto; }
@media (prefers-color-scheme: dark) { .fp-graph { --paper: #15181c; --ink: #d8dce1; --muted: #98a2ad;
  --accent: #7fb8e6; --soft: #22303c; --gradient: #f0a35c; } }
.fp-graph .paper { fill: var(--paper); }
.fp-graph text { fill: var(--ink); dominant-baseline: central; white-space: pre;
  font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.fp-graph .heading { font: 600 14px system-ui, sans-serif; }
.fp-graph .name { font-weight: 600; }
.fp-graph .note { fill: var(--muted); }
.fp-graph .gradient { fill: var(--gradient); }
.fp-graph .slope { fill: var(--accent); }
.fp-graph .middle { text-anchor: middle; }
.fp-graph .end { text-anchor: end; }
.fp-graph .node rect { fill: var(--paper); stroke: var(--accent); stroke-width: 1.5px; }
.fp-graph .input rect { fill: var(--soft); }
.fp-graph .constant rect { stroke: var(--muted); stroke-dasharray: 4 3; }
.fp-graph .edge path { fill: none; stroke: var(--accent); stroke-width: 1.25px; }
.fp-graph .edge polygon { fill: var(--accent); }
"""
COLUMN, ROW = 7.9, 18.0  # a character of 13 px in the fonts above, rounded up, and a line of them
MARGIN, HEAD, PAD, AIR, GAP = 16.0, 46.0, 9.0, 12.0, 30.0
SHRINK = 0.75  # a wide picture is made this much smaller to fit its page, and then it scrolls

Direction = Literal["LR", "TB"]
Size = tuple[float, float]


class SVG(str):
    """A picture as SVG text, which notebooks show as the picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def draw(
    node: Value | Tensor,
    labels: Mapping[str, Any] | None = None,
    direction: Direction = "LR",
    *,
    title: str = "Computation graph",
) -> SVG:
    """
    Draw all that a value or tensor was made from.

    A box is a node: its name, the operation that made it, its value and, once `backward` has run, its gradient. On an
    edge stands the local derivative; of an array in an array it is a Jacobian, shown as far as it is small, else as the
    number of its rows and columns. Arrays that have no room show their norm. Boxes with broken lines are constants.
    Results of tensors do not keep gradients, so theirs are computed again, for a cotangent of 1 at `node`.

    Parameters
    ----------
    node
        The result; `backward` may have run if it kept the graph.
    labels
        Names of nodes, as in `{"x": x}`; also `locals()`, of which the nodes of this graph are taken. Nodes without a
        name are called `v1`, `v2`, … as they were made, inputs first.
    direction
        `"LR"` from left to right, `"TB"` from top to bottom.
    title
        Heading of the picture.

    Returns
    -------
    SVG
        The same text for the same graph.

    Raises
    ------
    TypeError
        If `node` is neither a `Value` nor a `Tensor`.
    ValueError
        If a part of the graph was freed, it has more than 500 nodes, or there is no such direction.

    Examples
    --------
    >>> x, w = Value(2.0), Value(-3.0)
    >>> y = x * w
    >>> y.backward()
    >>> svg = draw(y, {"x": x, "w": w, "y": y})
    >>> "y = * of x, w: value -6, gradient 1, local derivatives -3, 2." in svg
    True
    """
    if direction not in ("LR", "TB"):
        raise ValueError(f"a picture runs from left to right, 'LR', or from top to bottom, 'TB', got {direction!r}")
    nodes = recorded(node)
    if len(nodes) > LIMIT:
        raise ValueError(f"a picture has room for {LIMIT} nodes, and this graph has {len(nodes)}: draw a part of it")
    names = _names(nodes, labels or {})
    gradients = _gradients(nodes)
    slopes = [[_local(nodes, k, s) for s in range(len(v.operands))] for k, v in enumerate(nodes)]
    boxes = [_lines(v, name, g) for v, name, g in zip(nodes, names, gradients, strict=True)]
    told = [_told(v, names, k, gradients[k], slopes[k]) for k, v in enumerate(nodes)]
    vertical = direction == "TB"

    depth = layers([v.operands for v in nodes])
    points = [Point(2 * depth[k], _turn(_size(lines), vertical)) for k, lines in enumerate(boxes)]
    lanes: list[list[int]] = [[j] for j in range(len(nodes))]  # of each node, from its box on
    edges: list[tuple[int, int, int, tuple[int, int, int]]] = []  # operand, user, place, and its last three points
    for k, v in enumerate(nodes):
        for s, j in enumerate(v.operands):
            for layer in range(points[lanes[j][-1]].layer - 1, 2 * depth[k] + 1, -1):
                lanes[j].append(len(points))
                points.append(Point(layer, (0.0, 0.0), is_node=False))
            start = next(p for p in lanes[j] if points[p].layer == 2 * depth[k] + 2)
            edges.append((j, k, s, (start, len(points), k)))
            size = (COLUMN * _columns(slopes[k][s][0]) + 6, 16.0)
            points.append(Point(2 * depth[k] + 1, _turn(size, vertical), slopes[k][s][0], False))
    links = [link for *_, last in edges for link in pairwise(last)] + [x for lane in lanes for x in pairwise(lane)]
    across = _places(points, _ordered(points, links), links)
    along = _alongs(points, links, across)

    bounds = [_turn((along[p.layer][1], y + p.size[1] / 2), vertical) for p, y in zip(points, across, strict=True)]
    width, bottom = max(x for x, _ in bounds), HEAD + max(y for _, y in bounds)
    root = _canvas(width, bottom, title, " ".join(told))
    picture = ET.SubElement(root, "g", transform=f"translate({_px(MARGIN)} {_px(HEAD)})")
    for j, lane in enumerate(lanes):
        if len(lane) > 1:
            _edge(picture, [(along[points[p].layer], across[p]) for p in lane], names[j], vertical)
    arrivals = _arrivals([last for *_, last in edges], points, across)
    for (j, k, s, last), arrival in zip(edges, arrivals, strict=True):
        route = [(along[points[p].layer], across[p]) for p in last]
        route[-1] = (route[-1][0], arrival)
        full = f"{names[j]} → {names[k]}" + (f": {slopes[k][s][1]}" if slopes[k][s][1] else "")
        _edge(picture, route, full, vertical, arrow=True)
    for p, y in zip(points, across, strict=True):
        if p.text:
            centre = _turn((sum(along[p.layer]) / 2, y), vertical)
            _rect(picture, "paper", centre, _turn(p.size, vertical))
            _text(picture, *centre, p.text, "slope middle")
    for k, (v, lines) in enumerate(zip(nodes, boxes, strict=True)):
        begin, end = along[points[k].layer]
        size = end - begin, points[k].size[1]
        _box(picture, v, lines, told[k], _turn(((begin + end) / 2, across[k]), vertical), _turn(size, vertical))
    ET.indent(root)
    return SVG(ET.tostring(root, encoding="unicode"))


@dataclass(frozen=True)
class Node:
    """One node of a graph, be it of values or of tensors."""

    id: str
    """`v1`, `v2`, … as they were made, inputs first."""
    source: Any
    """The `Value`, the `Tensor` or the constant array."""
    operation: str
    """What made it, with the numbers it used; empty for inputs and constants."""
    operands: tuple[int, ...]
    """Where the operands stand in the list of nodes; single numbers that are no nodes stand in `operation`."""
    places: tuple[int, ...]
    """Which operands of the operation these are."""
    variable: bool
    """Whether gradients reach it."""

    @property
    def value(self) -> Any:
        """A number of a `Value`, else an array."""
        return self.source.data if isinstance(self.source, Value) else np.asarray(value_of(self.source))

    def one(self) -> Any:
        """The cotangent that a sweep from here begins with."""
        return 1.0 if isinstance(self.source, Value) else np.ones(self.value.shape, self.value.dtype)

    def share(self, s: int, g: Any) -> Any:
        """What operand `s` of the list receives if this node has the cotangent `g`."""
        if isinstance(self.source, Value):
            return self.source.edges[s][1] * g
        tensor, i = self.source, self.places[s]
        values = [value_of(x) for x in tensor._values]
        vjp = tensor._rule.vjp(i)
        if vjp is None:
            return np.zeros(np.shape(values[i]), g.dtype)
        with np.errstate(all="ignore"):  # infinities are to be seen, not to be warned of
            return np.asarray(value_of(vjp(g, self.value, *values, **tensor._settings)))

    def jacobian(self, s: int, operand: "Node", entries: int = ENTRIES) -> Any:
        """The derivative in operand `s`, of the shape of this node and then of the operand; `None` if it is large."""
        if isinstance(self.source, Value):
            return self.source.edges[s][1]
        value, shape = self.value, np.shape(operand.value)
        if value.size * int(np.prod(shape)) > entries:
            return None
        units = np.eye(value.size, dtype=value.dtype).reshape((value.size, *value.shape))
        rows = [self.share(s, unit) for unit in units]  # a VJP of a unit is a row
        return np.array(rows, value.dtype).reshape((*value.shape, *shape))


def recorded(result: Value | Tensor, inputs: Sequence[Any] = ()) -> list[Node]:
    """
    The graph behind a result as a list, operands before the nodes that use them.

    Parameters
    ----------
    result
        A value or a tensor.
    inputs
        Values or tensors that are to come first, whether the result depends on them or not.

    Returns
    -------
    list of Node
        Inputs and constants, then results in the order of their making; of values, in an order in which they can have
        been made.

    Raises
    ------
    TypeError
        If `result` is neither a `Value` nor a `Tensor`.
    ValueError
        If a part of the graph was freed.

    Examples
    --------
    >>> a, b = Value(2), Value(3)
    >>> [(v.id, v.operation, v.operands) for v in recorded(a * b + 1)]
    [('v1', '', ()), ('v2', '', ()), ('v3', '*', (0, 1)), ('v4', '+ 1', (2,))]
    """
    if not isinstance(result, Value | Tensor):
        raise TypeError(f"only a Value or a Tensor remembers how it was made, got {type(result).__name__}")
    found: dict[int, tuple[Any, tuple[tuple[int, Any], ...]]] = {}  # by identity, operands first
    waiting: list[tuple[Any, bool]] = [(result, False), *((x, False) for x in reversed(inputs))]
    while waiting:
        x, ready = waiting.pop()
        if id(x) in found:
            continue
        operands = _operands(x)
        if ready or not operands:
            found[id(x)] = (x, operands)
        else:
            waiting.append((x, True))
            waiting += [(o, False) for _, o in reversed(operands)]
    leaves = [x for x, operands in found.values() if not operands]
    made = [x for x, operands in found.values() if operands]
    if isinstance(result, Tensor):
        made.sort(key=lambda t: -t._order)  # results count downwards
    position = {id(x): k for k, x in enumerate(leaves + made)}
    level = 0 if isinstance(result, Value) else result.level
    return [
        Node(
            f"v{k + 1}",
            x,
            _operation(x, found[id(x)][1]),
            tuple(position[id(o)] for _, o in found[id(x)][1]),
            tuple(s for s, _ in found[id(x)][1]),
            isinstance(x, Value) or (isinstance(x, Tensor) and x.level == level and x.requires_grad),
        )
        for k, x in enumerate(leaves + made)
    ]


def cotangents(nodes: Sequence[Node], result: int) -> tuple[dict[int, Any], list[tuple[int, Any, list[Any]]]]:
    """
    The sweep back over a graph, which changes no gradient.

    Parameters
    ----------
    nodes
        From `recorded`.
    result
        Where in the list the sweep begins.

    Returns
    -------
    totals
        The cotangent of each node that got one.
    steps
        For every result that hands on: its place in the list, its cotangent, and for each operand the share and the sum
        that the operand has now, or `None` for a constant.

    Examples
    --------
    >>> x = Value(3)
    >>> cotangents(recorded(x * x), 1)[1]
    [(1, 1.0, [(3.0, 3.0), (3.0, 6.0)])]
    """
    totals: dict[int, Any] = {result: nodes[result].one()}
    steps = []
    for k in range(result, -1, -1):  # users first, as their numbers are larger
        v = nodes[k]
        if k not in totals or not v.operands:
            continue
        shares: list[Any] = []
        for s, j in enumerate(v.operands):
            if not nodes[j].variable:
                shares.append(None)
                continue
            share = v.share(s, totals[k])
            totals[j] = totals[j] + share if j in totals else share
            shares.append((share, totals[j]))
        steps.append((k, totals[k], shares))
    return totals, steps


def layers(operands: Sequence[Sequence[int]]) -> list[int]:
    """
    The layer of each node (E1).

    Parameters
    ----------
    operands
        For each node its operands, which have smaller numbers.

    Returns
    -------
    list of int
        0 for the last node.

    Examples
    --------
    >>> layers([(), (), (0,), (2, 1)])
    [2, 1, 1, 0]
    """
    depth = [0] * len(operands)
    for user in reversed(range(len(operands))):
        for operand in operands[user]:
            depth[operand] = max(depth[operand], depth[user] + 1)
    return depth


def sorted_by_barycentre(layer: Sequence[int], neighbours: Mapping[int, Sequence[int]]) -> list[int]:
    """
    A layer sorted by (E2), in which points without neighbours stay where they are.

    Parameters
    ----------
    layer
        Its points, as they stand.
    neighbours
        For each point the places of its neighbours in the other layer.

    Returns
    -------
    list of int
        Points with the same barycentre in the order in which they stood.

    Examples
    --------
    >>> sorted_by_barycentre([7, 8, 9], {7: [2, 4], 8: [], 9: [1]})
    [9, 8, 7]
    """
    connected = [p for p in layer if neighbours[p]]
    queue = iter(sorted(connected, key=lambda p: sum(neighbours[p]) / len(neighbours[p])))
    return [next(queue) if neighbours[p] else p for p in layer]


def crossings(layer: Sequence[int], neighbours: Mapping[int, Sequence[int]]) -> int:
    """
    How many pairs of links cross between a layer in this order and its neighbour.

    Parameters
    ----------
    layer, neighbours
        As for `sorted_by_barycentre`.

    Returns
    -------
    int
        Each pair of links counts once.

    Examples
    --------
    >>> crossings([7, 9], {7: [2, 4], 9: [1]}), crossings([9, 7], {7: [2, 4], 9: [1]})
    (2, 0)
    """
    count, before = 0, list[int]()  # the ends of the links so far, sorted
    for p in layer:
        for end in sorted(neighbours[p]):
            at = bisect_right(before, end)
            count += len(before) - at
            before.insert(at, end)
    return count


def pooled(wanted: Sequence[float], weights: Sequence[float], spaces: Sequence[float]) -> list[float]:
    """
    The places nearest to those that are wanted, among those that keep their distances, by (E4).

    Parameters
    ----------
    wanted
        One place for each point.
    weights
        How much each counts; positive.
    spaces
        The least distance from each point to the next, one number less.

    Returns
    -------
    list of float
        The places.

    Examples
    --------
    >>> pooled([5.0, 4.0, 0.0, 20.0], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    [2.0, 3.0, 4.0, 20.0]
    """
    shifts = list(accumulate(spaces, initial=0.0))
    blocks: list[tuple[float, float, int]] = []  # weight, mean, how many
    for d, w, shift in zip(wanted, weights, shifts, strict=True):
        block = (w, d - shift, 1)
        while blocks and blocks[-1][1] >= block[1]:
            (a, x, n), (b, y, m) = blocks.pop(), block
            block = (a + b, (a * x + b * y) / (a + b), n + m)
        blocks.append(block)
    means = [mean for _, mean, n in blocks for _ in range(n)]
    return [mean + shift for mean, shift in zip(means, shifts, strict=True)]


class Point(NamedTuple):
    """A box, a number on an edge, or a lane that is kept free for an edge; sizes along and across the layers."""

    layer: int
    size: Size
    text: str = ""
    is_node: bool = True


def _ordered(points: list[Point], links: list[tuple[int, int]]) -> list[list[int]]:
    """The points of each layer, with few crossings."""
    order: list[list[int]] = [[] for _ in range(1 + max(p.layer for p in points))]
    users: list[list[int]] = [[] for _ in points]
    operands: list[list[int]] = [[] for _ in points]
    for a, b in links:
        operands[b].append(a)
        users[a].append(b)
    seen, waiting = set[int](), [next(k for k, p in enumerate(points) if not p.layer)]
    while waiting:  # neighbours in the graph begin as neighbours in the layers
        k = waiting.pop()
        if k not in seen:
            seen.add(k)
            order[points[k].layer].append(k)
            waiting += reversed(operands[k])

    def places(layer: int, nexts: list[list[int]], beside: int) -> dict[int, list[int]]:
        at = {p: i for i, p in enumerate(order[beside])}
        return {p: [at[q] for q in nexts[p]] for p in order[layer]}

    fewest, best = -1, order
    for turn in range(12):
        count = sum(crossings(order[i], places(i, users, i - 1)) for i in range(1, len(order)))
        if fewest < 0 or count < fewest:
            fewest, best = count, [list(layer) for layer in order]
        if not fewest:
            break
        for i in range(len(order) - 2, -1, -1):
            layer = order[i][::-1] if turn % 2 else order[i]  # so that equals change places
            order[i] = sorted_by_barycentre(layer, places(i, operands, i + 1))
        for i in range(1, len(order)):
            layer = order[i][::-1] if turn % 2 else order[i]
            order[i] = sorted_by_barycentre(layer, places(i, users, i - 1))
    return best


def _places(points: list[Point], order: list[list[int]], links: list[tuple[int, int]]) -> list[float]:
    """Where each point stands across the layers, the least edge of all at zero."""
    ends: list[list[tuple[int, float]]] = [[] for _ in points]
    for a, b in links:
        lanes = 2 - points[a].is_node - points[b].is_node
        weight = (1.0, 2.0, 8.0)[lanes]
        ends[a].append((b, weight))
        ends[b].append((a, weight))
    spaces = [[(points[a].size[1] + points[b].size[1]) / 2 + AIR for a, b in pairwise(layer)] for layer in order]
    y = [0.0] * len(points)
    for _ in range(ROUNDS):
        before = list(y)
        for i in [*range(len(order)), *reversed(range(len(order)))]:
            weights = [sum(w for _, w in ends[p]) or 1.0 for p in order[i]]
            wanted = [sum(w * y[q] for q, w in ends[p]) / total for p, total in zip(order[i], weights, strict=True)]
            for p, place in zip(order[i], pooled(wanted, weights, spaces[i]), strict=True):
                y[p] = place
        if max(abs(a - b) for a, b in zip(before, y, strict=True)) < 0.01:
            break
    top = min(place - p.size[1] / 2 for place, p in zip(y, points, strict=True))
    return [place - top for place in y]


def _alongs(points: list[Point], links: list[tuple[int, int]], across: list[float]) -> list[Size]:
    """Where each layer begins and ends along the picture: steep links get more room."""
    n = 1 + max(p.layer for p in points)
    rise = [0.0] * n
    for a, b in links:
        rise[points[a].layer] = max(rise[points[a].layer], abs(across[a] - across[b]))
    alongs, x = [(0.0, 0.0)] * n, 0.0
    for layer in reversed(range(n)):
        thick = max(p.size[0] for p in points if p.layer == layer)
        alongs[layer] = (x, x + thick)
        x += thick + min(max(GAP, 0.3 * rise[layer]), 3 * GAP)
    return alongs


def _arrivals(edges: list[tuple[int, int, int]], points: list[Point], across: list[float]) -> list[float]:
    """Where across the layers each edge ends at the box of its user: one beside the other, as they come."""
    incoming: dict[int, list[int]] = {}
    for number, (*_, user) in enumerate(edges):
        incoming.setdefault(user, []).append(number)
    ends = [0.0] * len(edges)
    for user, numbers in incoming.items():
        step = min((points[user].size[1] - 2 * PAD) / max(len(numbers) - 1, 1), 16.0)
        for i, number in enumerate(sorted(numbers, key=lambda number: across[edges[number][1]])):
            ends[number] = across[user] + step * (i - (len(numbers) - 1) / 2)
    return ends


def _names(nodes: list[Node], labels: Mapping[str, Any]) -> list[str]:
    given: dict[int, str] = {}
    for name, x in labels.items():
        given.setdefault(id(x), name)
    return [_printable(given.get(id(v.source), "")) or v.id for v in nodes]


def _gradients(nodes: list[Node]) -> list[Any]:
    """What `backward` found, and `None` throughout if it has not run."""
    if isinstance(nodes[-1].source, Value):
        swept = any(v.source.grad != 0 for v in nodes)
        return [v.source.grad if swept else None for v in nodes]
    kept = [getattr(v.source, "grad", None) if v.variable and not v.operands else None for v in nodes]
    if all(g is None for g in kept):
        return kept
    computed = cotangents(nodes, len(nodes) - 1)[0] if nodes[-1].value.size == 1 else {}
    return [computed.get(k) if v.operands else kept[k] for k, v in enumerate(nodes)]


def _operands(x: Any) -> tuple[tuple[int, Any], ...]:
    """The operands that are nodes, each with its place in the operation."""
    if isinstance(x, Value):
        if x._waiting < 0:
            raise ValueError(GONE)
        return tuple(enumerate(x._parents))
    if not isinstance(x, Tensor) or x._rule is None:
        return ()
    if x._rule is FREED:
        raise ValueError(GONE)
    inside = [o if isinstance(o, Tensor) and o.level == x.level else value_of(o) for o in x._operands]
    return tuple((s, o) for s, o in enumerate(inside) if isinstance(o, Tensor) or np.size(o) > 1)


def _operation(x: Any, operands: tuple[tuple[int, Any], ...]) -> str:
    """What made `x`, with the numbers and settings that it used."""
    if isinstance(x, Value):
        return x.op
    if not operands:
        return ""
    shown = dict(operands)
    name = x._rule.name
    used = ["·" if s in shown else _text_of(value_of(o)) for s, o in enumerate(x._operands)]
    settings = {key: _setting(v) for key, v in x._settings.items() if v is not None and v is not False}
    told = used if len(shown) < len(used) else []
    told += [text if key == name else f"{key}={text}" for key, text in settings.items()]
    return f"{name}({', '.join(told)})" if told else name


def _setting(x: Any) -> str:
    if isinstance(x, tuple):
        return f"({', '.join(map(_setting, x))}{',' if len(x) == 1 else ''})"
    if isinstance(x, slice):
        ends = [x.start, x.stop, *([] if x.step is None else [x.step])]
        return ":".join("" if end is None else str(end) for end in ends)
    return "…" if x is Ellipsis else _text_of(x) if isinstance(x, np.ndarray | list) else str(x)


def _local(nodes: list[Node], k: int, s: int) -> tuple[str, str]:
    """The local derivative of node `k` in operand `s`, short and in full."""
    v, operand = nodes[k], nodes[nodes[k].operands[s]]
    if not operand.variable:
        return "", ""
    jacobian = v.jacobian(s, operand)
    size = f"{np.size(v.value)} × {np.size(operand.value)}"
    if jacobian is None:
        return size, f"a Jacobian of {size}"
    full = _entries(np.asarray(jacobian, np.float64).tolist())
    return full if np.size(jacobian) <= 4 and len(full) <= 24 else size, full


def _number(x: float) -> str:
    return f"{x + 0.0:.4g}"  # + 0.0: one way to write zero


def _entries(numbers: Any) -> str:
    return f"[{', '.join(map(_entries, numbers))}]" if isinstance(numbers, list) else _number(numbers)


def _text_of(x: Any) -> str:
    """The numbers in an array, or its norm if they have no room."""
    a = np.asarray(x, np.float64)
    text = _entries(a.tolist()) if a.size <= 12 else ""
    if text and len(text) <= 28:
        return text
    with np.errstate(all="ignore"):
        return f"norm {_number(float(np.linalg.norm(a.ravel())))}"


def _lines(v: Node, name: str, gradient: Any) -> list[tuple[str, str, str]]:
    """The lines of a box: what stands on the left, what on the right, and the class of both."""
    constant = "" if v.variable else "constant"
    lines = [(_shorten(name), _shorten(v.operation or constant), "name")]
    if np.ndim(v.value):
        lines.append(("shape", str(np.shape(v.value)), "note"))
    lines.append(("value", _text_of(v.value), ""))
    if gradient is not None:
        lines.append(("grad", _text_of(gradient), "gradient"))
    return lines


def _size(lines: list[tuple[str, str, str]]) -> Size:
    width = max(_columns(left) + 2 + _columns(right) for left, right, _ in lines) * COLUMN
    return width + 2 * PAD, ROW * len(lines) + PAD


def _told(v: Node, names: list[str], own: int, gradient: Any, slopes: list[tuple[str, str]]) -> str:
    """A node in words."""
    made = f" = {v.operation} of {', '.join(names[j] for j in v.operands)}" if v.operands else ""
    shape = f"shape {np.shape(v.value)}, " if np.ndim(v.value) else ""
    grad = f", gradient {_text_of(gradient)}" if gradient is not None else ""
    found = [full for _, full in slopes if full]
    local = f", local derivative{'s' if len(found) > 1 else ''} {', '.join(found)}" if found else ""
    return f"{names[own]}{made}: {shape}value {_text_of(v.value)}{grad}{local}."


def _printable(text: str) -> str:
    """Characters that XML forbids or that do not show, replaced."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _columns(text: str) -> int:
    """Widths of characters in a fixed-width font: wide ones, as of Chinese, take two columns, accents none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _shorten(text: str) -> str:
    if _columns(text) <= 24:
        return text
    while _columns(text) > 23:
        text = text[:-1]
    return text + "…"


def _turn(pair: Size, vertical: bool) -> Size:
    """From sizes along and across to sizes in x and y, and back."""
    return (pair[1], pair[0]) if vertical else pair


def _canvas(width: float, bottom: float, title: str, described: str) -> ET.Element:
    """A picture with its heading, as wide as that and `width` need, and its content ending at `bottom`."""
    title = _printable(title)
    width, height = max(width, 9.0 * _columns(title)) + 2 * MARGIN, bottom + MARGIN
    fit = f"width: 100%; min-width: {_px(SHRINK * width)}px; max-width: {_px(width)}px"
    size = {"width": _px(width), "height": _px(height), "viewBox": f"0 0 {_px(width)} {_px(height)}", "style": fit}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "fp-graph", "role": "img"} | size)
    ET.SubElement(root, "title").text = title
    ET.SubElement(root, "desc").text = described
    ET.SubElement(root, "style").text = STYLE
    _rect(root, "paper", (width / 2, height / 2), (width, height))
    _text(root, MARGIN, 24.0, title, "heading")
    return root


def _box(root: ET.Element, v: Node, lines: list[Any], told: str, centre: Size, size: Size) -> None:
    kind = "" if v.operands else " input" if v.variable else " constant"
    group = ET.SubElement(root, "g", {"class": "node" + kind})
    ET.SubElement(group, "title").text = told
    left, top = centre[0] - size[0] / 2, centre[1] - size[1] / 2
    _rect(group, "", centre, size)
    for i, (name, number, cls) in enumerate(lines):
        y = top + PAD / 2 + ROW * (i + 0.5)
        _text(group, left + PAD, y, name, cls if cls == "name" else "note")
        if number:
            _text(group, left + size[0] - PAD, y, number, ("note" if cls == "name" else cls) + " end")


def _edge(root: ET.Element, route: list[tuple[Size, float]], told: str, vertical: bool, arrow: bool = False) -> None:
    """Draw an edge: straight within layers, and between them a curve that leaves and arrives straight."""

    def at(x: float, y: float) -> str:
        a, b = _turn((x, y), vertical)
        return f"{_px(a)},{_px(b)}"

    ((_, x), y), *rest = route
    group = ET.SubElement(root, "g", {"class": "edge"})
    ET.SubElement(group, "title").text = told
    path = [f"M{at(x, y)}"]
    for i, ((begin, end), z) in enumerate(rest):
        tip = arrow and i == len(rest) - 1
        begin -= 8 if tip else 0
        path.append(f"C{at((x + begin) / 2, y)} {at((x + begin) / 2, z)} {at(begin, z)}")
        if tip:
            head = at(begin + 7, z), at(begin, z - 3.5), at(begin, z + 3.5)
            ET.SubElement(group, "polygon", {"points": " ".join(head)})
        elif end > begin:
            path.append(f"L{at(end, z)}")
        x, y = end, z
    ET.SubElement(group, "path", {"d": " ".join(path)})


def _text(root: ET.Element, x: float, y: float, text: str, cls: str) -> None:
    ET.SubElement(root, "text", {"x": _px(x), "y": _px(y), "class": cls.strip()}).text = text


def _rect(root: ET.Element, cls: str, centre: Size, size: Size) -> None:
    (x, y), (w, h) = centre, size
    box = {"x": _px(x - w / 2), "y": _px(y - h / 2), "width": _px(w), "height": _px(h), "rx": "4"}
    ET.SubElement(root, "rect", ({"class": cls} if cls else {}) | box)


def _px(x: float) -> str:
    """Tenths of a pixel, and one way to write zero."""
    return f"{round(x, 1) + 0.0:.10g}"
