r"""
Graphs: the chain rule through a whole program, and what it costs.

A program computes intermediate results, uses some of them several times, and arrives at a loss. Its derivative adds up
every way in which an input reaches the loss. There may be exponentially many ways; the answer still costs only a few
times as much as the program itself. This section proves both, and says what breaks the second.

You need: Jacobians, their chain rule and transposes from `fp_autograd.linear_algebra`, the elementary functions of
`fp_autograd.calculus`.

## A program is a graph

Number the results of a program, the **nodes**: some are inputs, and every other node $i$ holds a vector
$v_i = \phi_i(v_{k_1}, \dots, v_{k_r})$, computed by a differentiable function from other nodes, its **parents**. For
each place in which a parent stands draw an **edge** $k \to i$, two edges for $x \cdot x$, and write on it the local
Jacobian $J_e$ of $\phi_i$ in that place, at the values that the program has computed. Node $i$ is a **user** of $k$. A
**path** from $j$ to $i$ is a sequence of edges, each starting where the one before ends; from a node to itself there is
the empty path. A **cycle** is a path from a node to itself that is not empty.

A computation needs an order of the nodes in which every edge leads forward, a **topological order**.

**Claim** `autograd.topological-order`. A finite graph has a topological order if and only if it has no cycle. Kahn's
algorithm finds one, or finds that there is none, looking at each node and each edge once: count for every node its
incoming edges; take any node whose count is zero, write it down, and lower by one the count at the end of each edge
that leaves it; repeat.

**Proof.** Along a cycle the position in the order would increase with every edge and return to where it began, so with
a cycle there is no order. The algorithm writes a node down only when all its incoming edges have been counted off, that
is, when all its parents are written: every edge leads forward. Suppose it stops while nodes are left. Every node left
has a count above zero, so some parent of it is left too. Walk from parent to parent among those that are left; they are
finitely many, so the walk meets a node twice, and between the two meetings, read forward, it is a cycle. So without a
cycle all nodes are written. Each node is written once, and each edge is counted off once, when its start is written.
$\blacksquare$

In the reverse of a topological order, every node comes after all its users.

## The chain rule is a sum over paths

How does node $i$ depend on node $j$? Cut $j$ from its parents, vary $v_j$ freely, and let everything after it follow.
Let $D_{ij}$ be the Jacobian of $v_i$ as a function of $v_j$.

**Claim** `autograd.graph-jacobian`. In a graph without cycles, with local functions that are differentiable at the
computed values, every $D_{ij}$ exists, and

$$
D_{ij} = \sum_{\text{paths } e_1 e_2 \dots e_r \text{ from } j \text{ to } i} J_{e_r} \cdots J_{e_2} J_{e_1},
\qquad \text{(E1)}
$$

where the empty path counts as the identity. For $i \ne j$, summing over the edges into $i$, or over those out of $j$,

$$
D_{ij} = \sum_{e:\, k \to i} J_e\, D_{kj} = \sum_{e:\, j \to k} D_{ik}\, J_e. \qquad \text{(E2)}
$$

**Proof.** Go through the nodes in a topological order. The node $j$ depends on itself by the identity, and the empty
path is the only one from $j$ to $j$, since there is no cycle. A node $i \ne j$ without parents is constant: $D_{ij}$ is
zero, and no path leads to it. Any other $i$ is $\phi_i$ of the vector that lists its parents' values, one place after
the other, and by induction the Jacobian of that list with respect to $v_j$ exists: it is the matrices $D_{kj}$ stacked
on each other. The Jacobian of $\phi_i$ is its local Jacobians $J_e$ side by side. By `autograd.jacobian-chain` $D_{ij}$
is their product, and a row of blocks times a column of blocks is the sum $\sum_{e:\, k \to i} J_e D_{kj}$, the first
half of (E2). Insert (E1) for $D_{kj}$: every path from $j$ to $i$ ends in exactly one edge $e:\, k \to i$, and what
comes before is a path from $j$ to $k$. So the sum runs over all paths from $j$ to $i$, each once, which is (E1) for
$i$. The second half of (E2) sorts the same paths by their first edge. $\blacksquare$

The number of paths can double with every few nodes. Here forty squares follow each other, two ways through each one,
and all local derivatives are one, so that $D$ counts the paths; a sweep over 160 edges finds them all.

>>> one = np.ones((1, 1))
>>> corners = [(0, 1), (0, 2), (1, 3), (2, 3)]
>>> squares = Graph([1] * 121, [Edge(3 * s + a, 3 * s + b, one) for s in range(40) for a, b in corners])
>>> float(squares.forward({0: np.ones(1)})[120][0]) == float(squares.reverse({120: np.ones(1)})[0][0]) == 2.0**40
True

## Two sweeps

Neither sweep forms a matrix $D$. **Forward mode** starts with changes $\dot s_j$ of some nodes and computes, in
topological order, a **tangent** for every node. **Reverse mode** starts with weights $\bar s_i$ on some nodes and
computes, in the reverse order, a **cotangent** for every node:

$$
\dot v_i = \dot s_i + \sum_{e:\, k \to i} J_e\, \dot v_k, \qquad
\bar v_j = \bar s_j + \sum_{e:\, j \to k} J_e^\top\, \bar v_k, \qquad \text{(E3)}
$$

where a start that is not given is zero.

**Claim** `autograd.two-sweeps`. The sweeps (E3) compute $\dot v_i = \sum_j D_{ij}\, \dot s_j$ and
$\bar v_j = \sum_i D_{ij}^\top\, \bar s_i$, and use every edge once. They are transposes of each other:
$\sum_i \bar s_i \cdot \dot v_i = \sum_j \bar v_j \cdot \dot s_j$.

**Proof.** Forward, by induction along the order: insert $\dot v_k = \sum_j D_{kj}\, \dot s_j$ into (E3). For each
$j \ne i$ the terms with $\dot s_j$ have by (E2) the sum $D_{ij}\, \dot s_j$; for $j = i$ no $k$ depends on $i$, and
$\dot s_i = D_{ii}\, \dot s_i$ remains. Reverse: when node $j$ is visited all its users are done. Insert
$\bar v_k = \sum_i D_{ik}^\top\, \bar s_i$; by `autograd.transpose` $J_e^\top D_{ik}^\top = (D_{ik} J_e)^\top$, and by
the second half of (E2) these sum to $D_{ij}^\top$ over the edges out of $j$. Last, both sums are
$\sum_i \sum_j \bar s_i \cdot (D_{ij}\, \dot s_j)$. $\blacksquare$

If the order were wrong and some user came later, its share would be missing from what $j$ passes on: that is why the
order matters, and not only that every node is visited. Along a chain (E1) is one product $J_L \cdots J_1$. Forward mode
multiplies it from the right, starting with a vector of changes; reverse mode from the left, starting with a vector of
weights. For a loss, $\bar s = 1$, and one reverse sweep gives the gradient in all inputs at once. A forward sweep gives
one number, the slope in one direction, and by `autograd.vjp-chain` the gradient in $n$ inputs takes $n$ of them.

## The cheap gradient

How expensive is the reverse sweep, compared with the program? Take a program of $N$ steps on numbers, each of them
$+$, $-$, $\times$, $\div$ or one of the elementary functions. The model of cost: each of these costs $1$. Copies and
changes of sign are free, and so is what the forward pass already decided, such as $x > 0$. With $g$ the cotangent of
the result $z$, and $[x > 0]$ for $1$ if $x > 0$, else $0$, the contributions to the operands are, by the rules of
`fp_autograd.calculus`,

| step | contributions | cost |
| --- | --- | --- |
| $z = x + y$, $z = x - y$ | $g$ and $g$, $g$ and $-g$ | $0$ |
| $z = x y$ | $g y$ and $g x$ | $2$ |
| $z = x / y$ | $t = g / y$ and $-t z$ | $2$ |
| $z = e^x$, $\operatorname{relu} x$, $\lvert x \rvert$ | $g z$, $g \cdot [x > 0]$, $\pm g$ | at most $1$ |
| $z = \ln x$, $\sqrt x$ | $g \cdot \frac1x$, $g \cdot \frac{1/2}{z}$ | $2$ |
| $z = \tanh x$, $\sigma(x)$ | $g (1 - z z)$, $g\, z (1 - z)$ | $3$ |

and each contribution is added to what its operand has received so far, for $1$ more. The first contribution to a node
is stored and needs no addition.

**Claim** `autograd.cheap-gradient`. Let a program of $N \ge 1$ such steps compute a function $f$ of $n \ge 1$
variables, all of which it uses on the way to its last step, as it does the results of all other steps. In this model of
cost

$$\operatorname{cost}(f, \nabla f) \le 4 N + 1 - n \le 4 \operatorname{cost}(f), \qquad \text{(E4)}$$

whatever $n$ is. For $f = x_1 x_2 \cdots x_n$ with $n \ge 2$ the first bound is reached.

**Proof.** Charge to each step its own cost $1$, its contributions, and one addition for each of them. With two operands
this is at most $1 + 2 + 2 = 5$, with one operand at most $1 + 3 + 1 = 5$. Every step but the last and every variable is
used, so it receives a contribution, and the first one it receives was charged for an addition that does not happen:
$N - 1 + n$ additions less. So the cost is at most $5 N - (N - 1) - n = 4 N + 1 - n$. The product of $n$ variables takes
$N = n - 1$ steps. Each has two contributions of cost $1$ and no node is used twice, so no addition takes place: the
cost is $3 (n - 1) = 4 N + 1 - n$. $\blacksquare$

Steps that the last one does not need can be left out first, at no cost. `value_and_gradient` runs a program and counts.

>>> product = [Step("*", (0, 1))] + [Step("*", (k, k + 3)) for k in range(2, 5)]  # five variables
>>> value_and_gradient(product, [2.0, 3.0, 5.0, 7.0, 11.0])[1:]
([1155.0, 770.0, 462.0, 330.0, 210.0], 12)

Forward mode adds at most $3$ to every step (for $z = xy$, $\dot z = \dot x y + x \dot y$), but in each of its $n$
sweeps: at most $(1 + 3n)\, N$ in all.

## What breaks it

The proof lets a contribution cost as much as its step. That fails where a step *reads a little of something large*. Let
$w$ be an array of $V$ numbers, and let $T$ steps of the program each take one entry, $x_t = w_{i_t}$, for $1$.

**Claim** `autograd.dense-gather`. Let $T \ge 1$. If the contribution of every such step to $\bar w$ is an array of $V$
entries, zero but for one, and these arrays are added, the sweep writes $(2T - 1)\, V$ entries. If instead $\bar w$ is
set to zero once and each step adds its number in place, the sweep writes $V + T$ entries; the results are equal.

**Proof.** $T$ arrays of $V$ entries are made, and $T - 1$ sums of $V$ entries taken: $TV + (T - 1) V$. In place there
are $V$ zeros and $T$ additions of one entry. The entry $i$ of the result is in both cases the sum of the cotangents
$g_t$ with $i_t = i$. $\blacksquare$

With $T = V = n$ the program costs $n$, the dense gradient about $2n^2$. Embedding tables, slices of a cache and loops
over the rows of a matrix are of this kind. An engine keeps the cheap gradient if it scatters into one array.

## Memory

Forward mode needs a tangent only as long as its value is in use. Reverse mode meets the values in the opposite order of
their making, so it keeps them all: memory grows with the number of steps. It can be bought back with time. Let a chain
$x_{t+1} = \phi_t(x_t)$ have $L$ steps, each VJP needing its $x_t$. Write $\lceil a \rceil$ for $a$ rounded up to a
whole number.

**Claim** `autograd.checkpoint`. Keep $x_0, x_k, x_{2k}, \dots$ to the end and nothing else, with $1 \le k \le L$, and
go back segment by segment, each time computing the states inside again. Then $\lceil L/k \rceil + k - 1$ states are
held at most, and $2L - \lceil L/k \rceil$ steps evaluated. With $k = \lceil \sqrt L \rceil$ that is at most $2 \lceil
\sqrt L \rceil - 1$ states, and no $k$ gets below $2 \sqrt L - 1$.

**Proof.** There are $\lceil L/k \rceil$ segments, each beginning with a kept state; a segment of length $l \le k$ has
$l - 1$ states inside, computed by as many steps. So the states held are $\lceil L/k \rceil$ and at most $k - 1$ more,
exactly $k - 1$ in the first segment.
The first pass evaluates $L$ steps, the segments together $L - \lceil L/k \rceil$. As $L \le \lceil \sqrt L \rceil^2$,
the choice $k = \lceil \sqrt L \rceil$ makes $L/k \le k$, and $\lceil L/k \rceil \le k$ because $k$ is whole. Last,
$\frac{L}{k} + k - 2 \sqrt L = \big( \sqrt{L/k} - \sqrt k \big)^2 \ge 0$. $\blacksquare$

## In practice

The factor of (E4) is of Baur and Strassen (1983). Training a language model is counted with the factor $3$: a matrix
product has two contributions, each as expensive as itself, and the additions are negligible. Checkpointing is used
nearly everywhere at the granularity of a transformer's layer, often only for operations that are cheap to repeat; the
factor becomes $4$ if everything is computed twice. PyTorch scatters embeddings' gradients in place, and can also keep
them sparse, which avoids the $V$ zeros too. Real costs follow memory traffic more than arithmetic.

Baur and Strassen: *The complexity of partial derivatives* (1983). Griewank and Walther: *Evaluating Derivatives*
(2008). Chen et al.: *Training deep nets with sublinear memory cost* (2016).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fp_autograd.calculus import ELEMENTARY

__all__ = [
    "topological_order",
    "Edge",
    "Graph",
    "Operation",
    "OPERATIONS",
    "Step",
    "value_and_gradient",
    "gather_cotangent",
    "checkpointed_reverse",
]


def topological_order(n: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """
    An order of the nodes 0 to n - 1 in which every edge leads forward, by Kahn's algorithm.

    Parameters
    ----------
    n
        Number of nodes.
    edges
        Pairs of a start and an end; the same pair may stand there more than once.

    Returns
    -------
    list of int
        Every node once (`autograd.topological-order`).

    Raises
    ------
    ValueError
        If an edge names a node that does not exist, or the edges close a cycle.

    Examples
    --------
    >>> topological_order(4, [(3, 1), (1, 0), (3, 2), (2, 0)])
    [3, 1, 2, 0]
    """
    users: list[list[int]] = [[] for _ in range(n)]
    missing = [0] * n
    for start, end in edges:
        if not (0 <= start < n and 0 <= end < n):
            raise ValueError(f"an edge connects nodes from 0 to {n - 1}, got ({start}, {end})")
        users[start].append(end)
        missing[end] += 1
    order = [node for node in range(n) if not missing[node]]
    for node in order:  # the list grows while it is read: it is the queue of Kahn's algorithm
        for user in users[node]:
            missing[user] -= 1
            if not missing[user]:
                order.append(user)
    if len(order) < n:
        left = [node for node in range(n) if missing[node]]
        raise ValueError(f"a graph with a cycle has no order. The cycle is among, or before, the nodes {left}")
    return order


class Edge(NamedTuple):
    """One use of a node by another."""

    start: int
    """The parent."""
    end: int
    """The node that uses it."""
    jacobian: Float[np.ndarray, "size_of_end size_of_start"]
    """The local derivative, a matrix."""


class Graph:
    """
    Nodes that hold vectors, and edges that hold local Jacobians: all that differentiation needs of a program.

    Parameters
    ----------
    sizes
        How many numbers each node holds.
    edges
        The uses, in any order.

    Raises
    ------
    ValueError
        If an edge names a node that does not exist or its matrix has the wrong shape, or if there is a cycle.

    Examples
    --------
    y = x * x at x = 3, with the two edges of a product:

    >>> x, y = 0, 1
    >>> graph = Graph([1, 1], [Edge(x, y, np.array([[3.0]])), Edge(x, y, np.array([[3.0]]))])
    >>> graph.reverse({y: np.array([1.0])})[x]
    array([6.])
    """

    def __init__(self, sizes: Sequence[int], edges: Sequence[Edge]) -> None:
        self.sizes, self.edges = list(sizes), list(edges)
        self.order = topological_order(len(self.sizes), [(e.start, e.end) for e in self.edges])
        for e in self.edges:
            if e.jacobian.shape != (self.sizes[e.end], self.sizes[e.start]):
                raise ValueError(
                    f"the Jacobian from node {e.start} to node {e.end} has the shape (outputs, inputs), "
                    f"{(self.sizes[e.end], self.sizes[e.start])}, got {e.jacobian.shape}"
                )
        self._incoming: list[list[int]] = [[] for _ in self.sizes]
        self._outgoing: list[list[int]] = [[] for _ in self.sizes]
        for number, e in enumerate(self.edges):
            self._incoming[e.end].append(number)
            self._outgoing[e.start].append(number)

    def _start(self, seeds: Mapping[int, np.ndarray]) -> list[np.ndarray]:
        for node, seed in seeds.items():
            if not 0 <= node < len(self.sizes) or seed.shape != (self.sizes[node],):
                raise ValueError(f"a seed is a vector of the size of its node, got shape {seed.shape} for node {node}")
        return [np.array(seeds.get(node, np.zeros(size)), np.float64) for node, size in enumerate(self.sizes)]

    def forward(self, seeds: Mapping[int, np.ndarray]) -> list[np.ndarray]:
        """
        Tangents of all nodes, by the first half of (E3).

        Parameters
        ----------
        seeds
            Changes of some nodes, by node.

        Returns
        -------
        list of ndarray
            One vector a node.

        Raises
        ------
        ValueError
            If a seed has not the size of its node.
        """
        tangents = self._start(seeds)
        for node in self.order:
            for number in self._incoming[node]:
                e = self.edges[number]
                tangents[node] += e.jacobian @ tangents[e.start]
        return tangents

    def reverse(self, seeds: Mapping[int, np.ndarray]) -> list[np.ndarray]:
        """
        Cotangents of all nodes, by the second half of (E3).

        Parameters
        ----------
        seeds
            Weights of some nodes, by node; for a loss alone, the weight one.

        Returns
        -------
        list of ndarray
            One vector a node.

        Raises
        ------
        ValueError
            If a seed has not the size of its node.
        """
        cotangents = self._start(seeds)
        for node in reversed(self.order):  # after all its users
            for number in self._outgoing[node]:
                e = self.edges[number]
                cotangents[node] += e.jacobian.T @ cotangents[e.end]
        return cotangents

    def paths(self, start: int, end: int) -> Iterator[tuple[int, ...]]:
        """
        Every path between two nodes: for tiny graphs only, since there may be exponentially many.

        Parameters
        ----------
        start, end
            Nodes.

        Yields
        ------
        tuple of int
            The numbers of the edges along the path; empty for the path from a node to itself.
        """
        if start == end:
            yield ()
        for number in self._outgoing[start]:
            for rest in self.paths(self.edges[number].end, end):
                yield (number, *rest)

    def path_sum(self, start: int, end: int) -> Float[np.ndarray, "m n"]:
        """
        The Jacobian between two nodes as the sum (E1), the slow reference for the two sweeps.

        Parameters
        ----------
        start, end
            Nodes.

        Returns
        -------
        ndarray
            The matrix $D$, float64.
        """
        total = np.zeros((self.sizes[end], self.sizes[start]))
        for path in self.paths(start, end):
            product = np.eye(self.sizes[start])
            for number in path:
                product = self.edges[number].jacobian @ product
            total += product
        return total


class Operation(NamedTuple):
    """What a step of a program may do."""

    value: Callable[..., float]
    """From the operands to the result."""
    pull: Callable[..., tuple[float, ...]]
    """From the cotangent, the result and the operands to the contributions, one for each operand."""
    cost: int
    """Operations in `pull`, as in the table above."""


def _elementary(name: str, cost_of_slope: int) -> Operation:
    f = ELEMENTARY[name]
    return Operation(f.value, lambda g, z, x: (g * f.slope(x, z),), 1 + cost_of_slope)


def _pull_quotient(g: float, z: float, x: float, y: float) -> tuple[float, float]:
    t = g / y
    return t, -(t * z)


OPERATIONS = {
    "+": Operation(lambda x, y: x + y, lambda g, z, x, y: (g, g), 0),
    "-": Operation(lambda x, y: x - y, lambda g, z, x, y: (g, -g), 0),
    "*": Operation(lambda x, y: x * y, lambda g, z, x, y: (g * y, g * x), 2),
    "/": Operation(lambda x, y: x / y, _pull_quotient, 2),
} | {
    name: _elementary(name, cost)
    for name, cost in {"exp": 0, "relu": 0, "abs": 0, "log": 1, "sqrt": 1, "tanh": 2, "sigmoid": 2}.items()
}
"""The steps by name, with the cost of their contributions."""


class Step(NamedTuple):
    """One line of a program."""

    name: str
    """Of an operation."""
    operands: tuple[int, ...]
    """Numbers of variables or of earlier steps, which are counted on from the variables."""


def value_and_gradient(steps: Sequence[Step], x: Sequence[float], g: float = 1.0) -> tuple[float, list[float], int]:
    """
    Run a program forward and backward, and count what both cost.

    Parameters
    ----------
    steps
        The program; its last step is the result.
    x
        Values of the variables.
    g
        The cotangent of the result.

    Returns
    -------
    value : float
        The result.
    gradient : list of float
        `g` times the derivative in each variable.
    cost : int
        Operations of both passes in the model of cost above; at most four times the steps, where all are needed.

    Raises
    ------
    ValueError
        If there is no step, or a step names an operation or an operand that is not there.

    Examples
    --------
    x / (x + y) at (3, 1):

    >>> value_and_gradient([Step("+", (0, 1)), Step("/", (0, 2))], [3.0, 1.0])
    (0.75, [0.0625, -0.1875], 5)
    """
    if not steps:
        raise ValueError("a program has at least one step, its result; got none")
    values = list(x)
    for number, (name, operands) in enumerate(steps):
        if name not in OPERATIONS or not all(0 <= k < len(values) for k in operands):
            raise ValueError(
                f"step {number} needs one of {', '.join(OPERATIONS)} on earlier results, 0 to {len(values) - 1}, "
                f"got {name!r} on {operands}"
            )
        values.append(OPERATIONS[name].value(*(values[k] for k in operands)))
    cost = len(steps)
    cotangents: list[float | None] = [None] * len(values)
    cotangents[-1] = g
    for number in range(len(steps) - 1, -1, -1):  # steps stand in topological order
        name, operands = steps[number]
        result = len(x) + number
        received = cotangents[result]
        if received is None:  # the result is not needed
            continue
        cost += OPERATIONS[name].cost
        contributions = OPERATIONS[name].pull(received, values[result], *(values[k] for k in operands))
        for k, contribution in zip(operands, contributions, strict=True):
            so_far = cotangents[k]
            cost += so_far is not None
            cotangents[k] = contribution if so_far is None else so_far + contribution
    return values[-1], [0.0 if c is None else c for c in cotangents[: len(x)]], cost


def gather_cotangent(
    indices: Sequence[int], g: Sequence[float], size: int, dense: bool = False
) -> tuple[Float[np.ndarray, " V"], int]:
    """
    The cotangent of an array that was read one entry at a time, and how many entries were written to get it.

    Parameters
    ----------
    indices
        Which entry each of T steps read.
    g
        Cotangents of the T results.
    size
        Number of entries V.
    dense
        Whether each step makes an array of its own (`autograd.dense-gather`).

    Returns
    -------
    cotangent : ndarray
        V sums, float64.
    written : int
        Entries written.

    Raises
    ------
    ValueError
        If there is not one cotangent for each of at least one index, or an index is outside of the array.

    Examples
    --------
    >>> gather_cotangent([2, 0, 2], [1.0, 10.0, 100.0], 5)
    (array([ 10.,   0., 101.,   0.,   0.]), 8)
    >>> gather_cotangent([2, 0, 2], [1.0, 10.0, 100.0], 5, dense=True)[1]
    25
    """
    if not indices or len(indices) != len(g) or not 0 <= min(indices) <= max(indices) < size:
        raise ValueError(
            f"each index from 0 to {size - 1} needs one cotangent, and there must be one index at least, "
            f"got {list(indices)} and {len(g)} cotangents"
        )
    total, written = np.zeros(size), size
    for number, (i, contribution) in enumerate(zip(indices, g, strict=True)):
        if not dense:
            total[i] += contribution
            written += 1
            continue
        own = np.zeros(size)
        own[i] = contribution
        total = total + own if number else own  # the first array is taken as it is
        written += 2 * size if number else 0
    return total, written


def checkpointed_reverse(
    steps: Sequence[tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]], x: Any, g: Any, every: int
) -> tuple[Any, int, int]:
    """
    Take a cotangent back through a chain that keeps one state in `every` (`autograd.checkpoint`).

    Parameters
    ----------
    steps
        Pairs of a function of the state, and its VJP: from the cotangent and the state before to the cotangent before.
    x
        The first state.
    g
        The cotangent of the last state.
    every
        Distance of the states that are kept.

    Returns
    -------
    cotangent
        Of the first state.
    held : int
        How many states were held at most.
    evaluations : int
        How many times a function was evaluated.

    Raises
    ------
    ValueError
        If the distance is not between one and the number of steps.

    Examples
    --------
    A hundred squarings of a number near one, in nineteen places instead of a hundred:

    >>> square = (lambda x: x * x, lambda g, x: 2 * x * g)
    >>> checkpointed_reverse([square] * 100, 1.0, 1.0, every=10)[1:]
    (19, 190)
    """
    if not 1 <= every <= len(steps):
        raise ValueError(f"the distance of checkpoints is between 1 and the {len(steps)} steps, got {every}")
    kept, state, evaluations, held = {}, x, 0, 0
    for t, (f, _) in enumerate(steps):
        if t % every == 0:
            kept[t] = state
        state = f(state)
        evaluations += 1
    for begin in reversed(list(kept)):
        end = min(begin + every, len(steps))
        inside = [kept[begin]]
        for t in range(begin, end - 1):
            inside.append(steps[t][0](inside[-1]))
            evaluations += 1
        held = max(held, len(kept) + len(inside) - 1)
        for t in range(end - 1, begin - 1, -1):
            g = steps[t][1](g, inside[t - begin])
    return g, held, evaluations
