"""Faults planted in the source of a backward pass, one at a time; what a check of gradients has to see."""

import ast
import copy
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from fp_capstone.gradient_checks import TOLERANCE, BackwardPass

TURNED = {"add": "subtract", "subtract": "add"}
SHAPES = {"shape", "dtype", "ndim", "size", "itemsize", "flags", "strides"}


class Fault(NamedTuple):
    """One fault: where, and the line as it now reads."""

    function: str
    line: str
    faulty: Callable[..., Any]


def faults(place: str) -> Iterator[Fault]:
    """
    Every version of a function of `fp_capstone` with one fault.

    A `+` for a `-` or the reverse, also in `+=` and in `np.add`; the sign of a cotangent turned in one place where it
    is read; a line that changes an array in place left out.
    """
    module, name, original = _found(place)
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(original))))
    number = 0
    while True:
        mutant = _Mutation(copy.deepcopy(tree), number)
        if mutant.line is None:
            return
        number += 1
        yield Fault(place, mutant.line, _compiled(mutant.tree, module, name.rpartition(".")[2]))


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Put the fault in the place of the function, in every module of the package that knows it by name."""
    module, name, original = _found(fault.function)
    kind, _, short = name.rpartition(".")
    package = [m for key, m in sorted(sys.modules.items()) if key.partition(".")[0] == "fp_capstone"]
    known = [owner for owner in ([vars(module)[kind]] if kind else package) if vars(owner).get(short) is original]
    for owner in known:
        setattr(owner, short, fault.faulty)
    try:
        yield
    finally:
        for owner in known:
            setattr(owner, short, original)


@contextmanager
def in_pieces() -> Iterator[None]:
    """Functions that go through their arrays piece by piece take small pieces: small inputs have several."""
    small = {"PIECE": 16, "ROWS": 3}
    package = [m for key, m in sorted(sys.modules.items()) if key.partition(".")[0] == "fp_capstone"]
    kept = [(m, name, vars(m)[name]) for m in package for name in small if isinstance(vars(m).get(name), int)]
    for module, name, _ in kept:
        setattr(module, name, small[name])
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


def outcome(p: BackwardPass, fault: Fault, expected: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> str:
    """
    What a row makes of a fault.

    Parameters
    ----------
    p
        The row.
    fault
        What is planted.
    expected
        The gradients by differences.
    right
        The output under the name `output`, and the gradients, without the fault.

    Returns
    -------
    str
        `seen` if the gradients differ from `expected`, the output differs, or the program breaks off; else `harmless`
        if the gradients are the right ones up to rounding, or else `missed`.
    """
    with planted(fault):
        try:
            with np.errstate(all="ignore"):
                got = {**p.backward(p.cotangent), "output": p.forward()}
        except Exception:
            return "seen"
    if any(not np.abs(got[name] - a).max() <= TOLERANCE for name, a in {**expected, "output": right["output"]}.items()):
        return "seen"
    # 1e-13: sums of at most some hundred terms of order one in float64
    same = all(np.allclose(got[name], a, rtol=1e-13, atol=1e-13) for name, a in right.items())
    return "harmless" if same else "missed"


def census(
    passes: list[BackwardPass], by_differences: dict[str, dict[str, np.ndarray]]
) -> tuple[dict[str, tuple[int, int]], dict[str, dict[Fault, str]]]:
    """
    Plant every fault under every row, and ask whether the row sees it.

    Parameters
    ----------
    passes
        The rows.
    by_differences
        The gradients by differences of each row.

    Returns
    -------
    by_row : dict
        How many faults the row saw, and how many were planted.
    by_function : dict
        Of each function its faults: `seen` if any row saw it, `missed` if a row with other gradients did not, else
        `harmless`.
    """
    by_row: dict[str, tuple[int, int]] = {}
    by_function: dict[str, dict[Fault, str]] = {}
    with in_pieces():
        sources = {place: list(faults(place)) for place in dict.fromkeys(f for p in passes for f in p.functions)}
        for p in passes:
            right = {name: a.copy() for name, a in p.backward(p.cotangent).items()} | {"output": p.forward()}
            said = []
            for fault in (fault for place in p.functions for fault in sources[place]):
                said.append(outcome(p, fault, by_differences[p.name], right))
                known = by_function.setdefault(fault.function, {})
                known[fault] = max(said[-1], known.get(fault, ""), key=["", "harmless", "missed", "seen"].index)
            by_row[p.name] = said.count("seen"), len(said)
    return by_row, by_function


def _found(place: str) -> tuple[Any, str, Any]:
    """Module, name inside it, and function, of `linear.linear_backward` or `model.Model.loss_and_grads`."""
    file, _, name = place.partition(".")
    module = importlib.import_module(f"fp_capstone.{file}")
    found: Any = module
    for part in name.split("."):
        found = vars(found)[part]
    return module, name, found


def _compiled(tree: ast.Module, module: Any, name: str) -> Callable[..., Any]:
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.decorator_list, function.returns = [], None
    for argument in [*function.args.args, *function.args.kwonlyargs]:
        argument.annotation = None
    namespace = dict(vars(module))
    exec(compile(ast.fix_missing_locations(tree), f"{name} with a fault", "exec"), namespace)
    return namespace[name]


class _Mutation:
    """The tree with its fault of that number; `line` is None if it has not that many."""

    def __init__(self, tree: ast.Module, number: int) -> None:
        self.tree, self.left = tree, number
        self.line: str | None = None
        function = tree.body[0]
        assert isinstance(function, ast.FunctionDef)
        nodes = list(ast.walk(function))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        self.cotangents = {name for name in stored if name[0] == "d" and len(name) < 6} | {"g", "G"}
        # to count otherwise is another kind of fault, and may never end
        indices = [node.slice for node in nodes if isinstance(node, ast.Subscript)]
        tests = [node.test for node in nodes if isinstance(node, ast.While)]
        self.counters = {n.id for part in indices + tests for n in ast.walk(part) if isinstance(n, ast.Name)}
        for i, statement in enumerate(function.body):
            self.statement(statement, function.body, i)

    def hit(self) -> bool:
        """Whether this is the place of the fault."""
        self.left -= 1
        return self.left == -1

    def statement(self, node: ast.stmt, siblings: list[ast.stmt], i: int) -> None:
        """Go through a statement and its parts."""
        if self.line is not None:
            return
        if isinstance(node, ast.AugAssign) and ast.unparse(node.target) not in self.counters:
            if isinstance(node.op, ast.Add | ast.Sub) and self.hit():
                node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
                self.line = ast.unparse(node)
                return
            if self.hit():
                self.line = f"without {ast.unparse(node)}"
                siblings[i] = ast.Pass()
                return
        for name, value in ast.iter_fields(node):
            if name in ("target", "targets"):
                continue
            for j, part in enumerate(value) if isinstance(value, list) else ():
                if isinstance(part, ast.stmt):
                    self.statement(part, value, j)
                elif isinstance(part, ast.expr):
                    value[j] = self.expression(part, node)
            if isinstance(value, ast.expr):
                setattr(node, name, self.expression(value, node))

    def expression(self, node: ast.expr, statement: ast.stmt) -> ast.expr:
        """The expression, or its faulty version."""
        if self.line is not None:
            return node
        faulty: ast.expr | None = None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and self.hit():
            faulty = ast.BinOp(node.left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), node.right)
        elif isinstance(node, ast.Attribute) and node.attr in TURNED and self.hit():
            faulty = ast.Attribute(node.value, TURNED[node.attr], node.ctx)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and self.hit():
            faulty = node.operand
        elif isinstance(node, ast.Name) and node.id in self.cotangents and self.hit():
            faulty = ast.UnaryOp(ast.USub(), node)
        if faulty is not None:
            before = ast.unparse(statement)
            self.line = f"{ast.unparse(faulty)} in {before}"
            return faulty
        self.inside(node, statement)
        return node

    def inside(self, node: ast.expr, statement: ast.stmt) -> None:
        """The parts of an expression in which a sign means something: no shapes, no indices, no places to write to."""
        if isinstance(node, ast.Attribute):
            if node.attr not in SHAPES:
                node.value = self.expression(node.value, statement)
        elif isinstance(node, ast.Subscript):
            node.value = self.expression(node.value, statement)
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func).rpartition("_")[2] == "like" or ast.unparse(node.func) in (
                "len",
                "isinstance",
                "_pieces",
                "_blocks",
            ):
                return
            if isinstance(node.func, ast.Attribute):
                node.func = self.expression(node.func, statement)
            node.args = [self.expression(a, statement) for a in node.args]
            for keyword in node.keywords:
                if keyword.arg not in ("out", "axis", "memory", "dtype", "where"):
                    keyword.value = self.expression(keyword.value, statement)
        elif isinstance(node, ast.Compare):
            return
        else:
            for name, value in ast.iter_fields(node):
                if isinstance(value, ast.expr):
                    setattr(node, name, self.expression(value, statement))
                elif isinstance(value, list):
                    value[:] = [self.expression(v, statement) if isinstance(v, ast.expr) else v for v in value]
