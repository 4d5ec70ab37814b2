r"""
Traces: every step of a computation and of its sweep, for whoever wants to watch.

A picture shows where the sweep has been. To see it move, one needs each step: which number was made from which, which
node is taken next, what it hands to whom, what the receiver has then. This section writes that down as plain data,
which a program in another language can play.

You need: `fp_autograd.drawing` for the list of nodes.

## What is written down

The nodes are numbered $v_1, \dots, v_N$ in the order of their making, inputs first. The forward pass makes one after
the other. The backward pass is a list of shares: with the cotangent $g_N = 1$ of the result, for $k = N, \dots, 1$ and
each operand $v_j$ of $v_k$ that a gradient reaches,

$$s_{k, i} = J_{k, i}^\top\, g_k, \qquad \text{total}_j \leftarrow \text{total}_j + s_{k, i}, \qquad \text{(E1)}$$

where $J_{k, i}$ is the local derivative of $v_k$ in operand $i$, a number or a Jacobian.

**Claim** `autograd.trace-complete`. When $v_k$ is taken in (E1), its total is its cotangent $g_k$: no share of a later
step goes to it. So whoever adds up the shares in the order of the trace has in the end the gradient of every node.

**Proof.** Every operand of a node has a smaller number than the node. Shares to $v_k$ come from nodes that use it,
whose numbers are larger than $k$, and these have been taken before. Of the nodes that can be reached, (E1) adds the
same shares as the sweep of `autograd.topological` and of `autograd.heap-sweep`, users before operands as they do, and
sums of the same terms are equal. $\blacksquare$

Computers round, so a different order of the same terms may change the last bits. For tensors the order here is that of
`backward`; for values it is one of the orders that are allowed.

>>> found = trace(lambda x, y: x * y + x, 3.0, 4.0)
>>> for step in found["backward"]:
...     print(
...         step["node"], step["cotangent"], [(share["to"], share["share"], share["total"]) for share in step["shares"]]
...     )
v4 1.0 [('v3', 1.0, 1.0), ('v1', 1.0, 1.0)]
v3 1.0 [('v1', 4.0, 5.0), ('v2', 3.0, 3.0)]
>>> found["gradients"]
{'v1': 5.0, 'v2': 3.0}

## The schema

A trace is a `dict` of these entries, in which a **number** is a `float` or one of the strings `"NaN"`, `"Infinity"` and
`"-Infinity"`, for which JSON has no numbers (JavaScript's `Number` reads all three), and an **array** is a number, or
nested lists of numbers, or `None` if it has more entries than the limit.

| entry | what it holds |
| --- | --- |
| `version` | `1`; another number if this table changes |
| `engine` | `"value"` or `"tensor"` |
| `nodes` | the nodes, $v_1$ first |
| `result` | the `id` of the result |
| `forward` | one step for each result, in the order of making |
| `backward` | one step for each result that hands on, in the order of the sweep |
| `gradients` | for each `id` of an input that a gradient can reach, the array of its gradient |

| of a node | what it holds |
| --- | --- |
| `id` | `"v1"`, `"v2"`, … |
| `kind` | `"input"`, `"constant"` (no gradient reaches it) or `"result"` |
| `label` | the name of the argument, `"w[0]"` for a part of one; empty for all others |
| `operation` | what made it, with the numbers it used; empty for inputs and constants |
| `operands` | the `id` of each operand that is a node; one used twice stands there twice |
| `shape` | a list, empty for a single number |
| `value` | an array |

| of a step | what it holds |
| --- | --- |
| `node` | the `id` of the node that is made, or taken |
| `local` | forward: for each operand the array of the local derivative; `None` for a constant, too |
| `cotangent` | backward: the array of the node's cotangent, complete by now |
| `shares` | backward: what each operand that is not a constant receives |

| of a share | what it holds |
| --- | --- |
| `operand` | which one of `operands`, from 0 |
| `to` | its `id` |
| `share` | the array that it receives |
| `total` | the array of all that it has received by now |

A local derivative has the shape of the node, followed by the shape of the operand.

## In practice

Compilers keep such lists too, without the numbers: JAX prints its own with `jax.make_jaxpr`, PyTorch with `torch.fx`.
There they are for machines, to be rewritten and made faster.
"""

import inspect
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fp_autograd.drawing import Node, cotangents, recorded
from fp_autograd.functional import tree_leaves, tree_map
from fp_autograd.tensor import Tensor
from fp_autograd.value import Value

__all__ = ["trace", "to_json"]  # the order of the page


def trace(f: Callable[..., Any], *args: Any, limit: int = 64) -> dict[str, Any]:
    """
    Run a function, and write down each step of it and of the sweep back.

    No gradient is changed by it, of arguments or of anything else that the function uses.

    Parameters
    ----------
    f
        Takes numbers, or arrays, or dicts, lists and tuples of them; returns one number.
    *args
        Its arguments. If there is a floating-point array among them, it and all numbers reach `f` as tensors; if not,
        the numbers reach it as values. Values and tensors stay what they are, and so does everything else.
    limit
        Arrays with more entries than this are left out of the trace; their shapes are there.

    Returns
    -------
    dict
        As the schema above says; the same for the same function and arguments.

    Raises
    ------
    ValueError
        If `f` does not return one number, the limit is negative, or a part of the graph was freed.
    TypeError
        If what `f` returns does not remember how it was made.

    Examples
    --------
    >>> found = trace(lambda w: (w * w).sum(), np.array([1.0, 2.0]))
    >>> [(node["id"], node["operation"], node["value"]) for node in found["nodes"]]
    [('v1', '', [1.0, 2.0]), ('v2', 'multiply', [1.0, 4.0]), ('v3', 'sum', 5.0)]
    >>> found["gradients"]
    {'v1': [2.0, 4.0]}
    """
    if limit < 0:
        raise ValueError(f"the limit is a number of entries, at least 0, got {limit}")
    as_tensors = any(isinstance(x, Tensor) or _is_array(x) for x in tree_leaves(args))

    def entered(x: Any) -> Any:
        if _is_array(x) or (as_tensors and isinstance(x, float)):
            return Tensor(np.asarray(x), requires_grad=True)
        number = isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)
        return Value(x) if number and not as_tensors else x

    given = tree_map(entered, args)
    result = f(*given)
    if isinstance(result, Tensor) and result.size != 1:
        raise ValueError(f"a trace needs a function that returns one number, got shape {result.shape}: sum it")
    named = [(name, x) for name, x in _named(f, given) if isinstance(x, Value | Tensor)]
    labels = {id(x): name for name, x in reversed(named)}
    nodes = recorded(result, [x for _, x in named if isinstance(x, Value) is isinstance(result, Value)])
    at = next(k for k, v in enumerate(nodes) if v.source is result)
    totals, steps = cotangents(nodes, at)

    def array(x: Any) -> Any:
        return None if x is None or np.size(x) > limit else _plain(np.asarray(x, np.float64).tolist())

    return {
        "version": 1,
        "engine": "value" if isinstance(result, Value) else "tensor",
        "nodes": [
            {
                "id": v.id,
                "kind": "result" if v.operands else "input" if v.variable else "constant",
                "label": labels.get(id(v.source), ""),
                "operation": v.operation,
                "operands": [nodes[j].id for j in v.operands],
                "shape": list(np.shape(v.value)),
                "value": array(v.value),
            }
            for v in nodes
        ],
        "result": nodes[at].id,
        "forward": [
            {"node": v.id, "local": [array(_local(v, s, nodes[j], limit)) for s, j in enumerate(v.operands)]}
            for v in nodes
            if v.operands
        ],
        "backward": [
            {
                "node": nodes[k].id,
                "cotangent": array(g),
                "shares": [
                    {
                        "operand": s,
                        "to": nodes[nodes[k].operands[s]].id,
                        "share": array(pair[0]),
                        "total": array(pair[1]),
                    }
                    for s, pair in enumerate(shares)
                    if pair is not None
                ],
            }
            for k, g, shares in steps
        ],
        "gradients": {
            v.id: array(totals.get(k, np.zeros(np.shape(v.value))))
            for k, v in enumerate(nodes)
            if v.variable and not v.operands
        },
    }


def to_json(traced: dict[str, Any]) -> str:
    """
    A trace as JSON, of which every reader makes the same numbers again.

    Parameters
    ----------
    traced
        What `trace` returned.

    Returns
    -------
    str
        One line; the same for the same trace.

    Examples
    --------
    >>> text = to_json(trace(lambda x: x.log(), 2.0))
    >>> json.loads(text)["gradients"]
    {'v1': 0.5}
    """
    return json.dumps(traced, ensure_ascii=False, allow_nan=False)


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _named(f: Callable[..., Any], args: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """The parts of the arguments with the names that `f` has for them, in the order of `tree_leaves`."""
    try:
        bound = inspect.signature(f).bind(*args).arguments
    except (TypeError, ValueError):  # as for functions that are written in C
        bound = {f"args[{i}]": x for i, x in enumerate(args)}
    for name, x in bound.items():
        yield from _parts(name, x)


def _parts(name: str, x: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(x, dict):
        for key, part in x.items():
            yield from _parts(f"{name}[{key!r}]", part)
    elif isinstance(x, list | tuple):
        for i, part in enumerate(x):
            yield from _parts(f"{name}[{i}]", part)
    else:
        yield name, x


def _local(v: Node, s: int, operand: Node, limit: int) -> Any:
    return v.jacobian(s, operand, limit) if operand.variable else None


def _plain(x: Any) -> Any:
    """Nested lists in which all numbers are such that JSON has them."""
    if isinstance(x, list):
        return [_plain(part) for part in x]
    return x if math.isfinite(x) else "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
