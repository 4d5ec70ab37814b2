"""The record that stage 2 keeps of a program, taken apart: its operations, and what it holds on to."""

import gc
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fp_autograd.tensor import Tensor
from fp_autograd.tracing import value_of


class Tape(NamedTuple):
    """Of a result: how many operations made it, of which rules, on how many operands, and the bytes involved."""

    nodes: int
    edges: int
    rules: Counter[str]
    reused: int
    kept: int
    read: int


def owner(x: np.ndarray) -> np.ndarray:
    """The array whose memory a view shows."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def record(result: Tensor, parameters: Iterable[Tensor]) -> Tape:
    """
    Walk the graph of `result`.

    Attributes of the result: `reused` counts the tensors with more than one user; `kept` the bytes of all arrays that
    the graph holds beside the parameters; `read` the bytes of those that some VJP reads. Whether it does is tried:
    with NaN in their place its answer is another.
    """
    nodes: dict[int, Tensor] = {}
    users: Counter[int] = Counter()
    todo = [result]
    while todo:
        node = todo.pop()
        if id(node) in nodes:
            continue
        nodes[id(node)] = node
        for x in node._operands:
            if isinstance(x, Tensor) and x.requires_grad:
                users[id(x)] += 1
                todo.append(x)
    made = [node for node in nodes.values() if node._rule is not None]
    weights = {id(owner(value_of(p))) for p in parameters}
    kept: dict[int, np.ndarray] = {}
    read: dict[int, np.ndarray] = {}
    for node in made:
        arrays = [node.data, *(v for v in node._values if isinstance(v, np.ndarray))]
        held = {id(owner(a)): owner(a) for a in arrays if id(owner(a)) not in weights}
        kept |= held
        read |= {key: a for key, a in held.items() if key not in read and _reads(node, a)}
    return Tape(
        len(made),
        sum(isinstance(x, Tensor) and x.requires_grad for node in made for x in node._operands),
        Counter(node._rule.name for node in made if node._rule is not None),
        sum(n > 1 for n in users.values()),
        sum(a.nbytes for a in kept.values()),
        sum(a.nbytes for a in read.values()),
    )


def _reads(node: Tensor, memory: np.ndarray) -> bool:
    """Whether a VJP of this node reads the numbers in this memory."""
    rule = node._rule
    assert rule is not None, "a leaf was not made by a rule"
    if memory.dtype.kind != "f" or rule.accumulate is not None:
        return False  # masks and ids are read, and small
    g = np.ones(node.shape, node.dtype)

    def blank(a: Any) -> Any:
        return np.full_like(a, np.nan) if isinstance(a, np.ndarray) and owner(a) is memory else a

    for i, x in enumerate(node._operands):
        vjp = rule.vjp(i) if isinstance(x, Tensor) and x.requires_grad else None
        if vjp is not None:
            with np.errstate(all="ignore"):
                try:
                    answer = vjp(g, blank(node.data), *map(blank, node._values), **node._settings)
                except ValueError:  # a rule that looks at its operands first will not have them
                    return True
            if np.isnan(value_of(answer)).any():
                return True
    return False


def peak(step: Callable[[], Any]) -> int:
    """The most bytes that a step holds at once, beyond what there was before it."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
