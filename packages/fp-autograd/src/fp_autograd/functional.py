r"""
Functions of functions: gradients, products with Jacobians, and derivatives of any order.

`Tensor.backward` changes tensors. Often one wants mathematics instead: a function $f$ in, another function out, its
gradient, with nothing changed anywhere; and then perhaps the gradient of that. This section makes such functions out of
the two directions in which the rules of `fp_autograd.rules` can be read.

You need: `fp_autograd.tensor`, `fp_autograd.linear_algebra` for Jacobians, `fp_autograd.graph` for costs.

## Two directions

Let $f : \mathbb{R}^n \to \mathbb{R}^m$ have the Jacobian $J$ at $x$. Reading each rule forwards, from operands to
result, along with the computation, gives $J t$ for a **tangent** $t \in \mathbb{R}^n$: how the result moves if $x$
moves along $t$. Reading the rules backwards, from the result to the operands, after the computation, gives $J^\top g$
for a **cotangent** $g \in \mathbb{R}^m$: how $g \cdot f$ depends on each input.

**Claim** `autograd.two-modes`. For a program of operations whose rules are right, forward mode returns $J t$ and
reverse mode $J^\top g$. They agree in the sense that $g \cdot (J t) = (J^\top g) \cdot t$ for all $g$ and $t$.

**Proof.** Let the program compute $v_1, v_2, \dots, v_N$ in this order, the inputs first, each $v_k$ from earlier ones
by one operation with the partial Jacobians $A_{kj}$ ($0$ where $v_k$ does not use $v_j$). Forward mode sets
$\dot v_j = t_j$ for inputs and $\dot v_k = \sum_j A_{kj} \dot v_j$. By induction on $k$ and the chain rule
(`autograd.jacobian-chain`), $\dot v_k$ is the Jacobian of $v_k$ as a function of the inputs, times $t$: for the last,
$J t$. Reverse mode sets $\bar v_N = g$, all others $0$, and then, from $k = N$ down, adds $A_{kj}^\top \bar v_k$ to
$\bar v_j$ for each $j$. Consider $s_k = \sum_{j \le k} \bar v_j \cdot \dot v_j$ at the moment when all nodes above $k$
have been handled. At the start it is $s_N = g \cdot \dot v_N = g \cdot J t$, as all other cotangents are $0$. Handling
a node $k$ that is no input takes $\bar v_k \cdot \dot v_k = \sum_j \bar v_k \cdot A_{kj} \dot v_j$ out of the sum and
adds $\sum_j A_{kj}^\top \bar v_k \cdot \dot v_j$ to the rest, which by `autograd.transpose` is the same number: $s$
never changes. At the end only inputs are left, and $s = \sum_j \bar v_j \cdot t_j$. So the collected cotangents
$\bar v$ satisfy $\bar v \cdot t = g \cdot J t = (J^\top g) \cdot t$ for every $t$, hence $\bar v = J^\top g$.
$\blacksquare$

One backward pass gives a row of $J$, whatever $n$ is; one forward pass gives a column, whatever $m$ is. A loss has
$m = 1$: this is why training goes backwards. `jacobian` takes the direction with fewer passes.

## Any order

`grad(f)` is a function like any other, made of the same operations, so it can be given to `grad` again, or to `jvp`.
Each transformation in progress has a level of its own (`fp_autograd.tracing`), the innermost the highest: its boxes
hold arrays, or the boxes of outer transformations, and its sweep computes *with those*, so the outer ones see every
step of the inner gradient.

The product of the **Hessian** $H = \big( \partial_i \partial_j f \big)$ with a vector, `hvp`, is forward over reverse:
the slope of the gradient along $v$,

$$\varphi'(0) \quad \text{for} \quad \varphi(s) = \nabla f(x + s v), \qquad \text{(E1)}$$

which forward mode finds as a tangent, without the $n^2$ entries of $H$.

**Claim** `autograd.hessian-symmetric`. Let the second partial derivatives of $f$ exist near $x$ and be continuous at
$x$. Then (E1) is $H v$, and $H$ is symmetric; so $u \cdot H v = v \cdot H u$. And $H v$ is the gradient of
$\nabla f \cdot v$ with $v$ held fixed, which is reverse over reverse.

**Proof.** By `markov.slope-along-line`, used on $\partial_i f$, the $i$-th entry of (E1) is
$\sum_j v_j\, \partial_j \partial_i f$. The entries $\partial_j \partial_i f$ and $\partial_i \partial_j f$ are equal by
`autograd.mixed-partials`, so $H$ is symmetric, and the sum is $(H v)_i$. Then
$u \cdot H v = (H^\top u) \cdot v = (H u) \cdot v$ by `autograd.transpose`, and the $i$-th entry of the gradient of
$\nabla f \cdot v = \sum_j v_j\, \partial_j f$ is $\sum_j v_j\, \partial_i \partial_j f = (H v)_i$. $\blacksquare$

**Claim** `autograd.hvp-cost`. For a program as in `autograd.cheap-gradient`, in the model of cost used there, forward
over reverse computes $f$, $\nabla f$ and $H v$ for at most sixteen times the cost of $f$, whatever $n$ is.

**Proof.** By `autograd.cheap-gradient`, $f$ and $\nabla f$ take at most $4 \operatorname{cost}(f)$ operations, each
again a sum, a difference, a product, a quotient or an elementary function; copies and changes of sign are free for
tangents too. With $\dot x$, $\dot y$ the tangents of the operands and $z$ the result, that of the result is
$\dot x \pm \dot y$, $\dot x y + x \dot y$, $\frac1y (\dot x - z \dot y)$, or $\dot x$ times a slope of
`fp_autograd.calculus`, which costs at most $2$, with one product: at most $3$ operations more. So every operation
becomes at most four. $\blacksquare$

All of $H$ takes $n$ such products.

>>> import numpy as np
>>> f = lambda x: (x**3).sum()
>>> x = np.array([1.0, 2.0])
>>> grad(f)(x), grad(lambda x: grad(f)(x).sum())(x), hvp(f)(x, np.array([0.0, 1.0]))
(array([ 3., 12.]), array([ 6., 12.]), array([ 0., 12.]))

## In practice

JAX offers these functions by the same names. It traces a program once, compiles it, and can vectorise over many
cotangents at a time; here every call runs the Python function anew. PyTorch makes second derivatives by recording the
backward pass into the same graph (`create_graph`), instead of nesting levels.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import numpy as np

from fp_autograd.tensor import Mode, Operators, Tensor, sweep
from fp_autograd.tracing import Box, Operand, Rule, apply, value_of

__all__ = [  # the order of the page
    "grad",
    "value_and_grad",
    "vjp",
    "jvp",
    "hvp",
    "jacobian",
    "hessian",
    "Tangent",
    "tree_map",
    "tree_leaves",
]

Tree = Any
"""An array, or dicts, lists and tuples of trees."""


@contextmanager
def _new_level() -> Iterator[int]:
    Mode.depth += 1
    try:
        yield Mode.depth
    finally:
        Mode.depth -= 1


def grad(f: Callable[..., Any], argnum: int = 0) -> Callable[..., Any]:
    """
    The gradient of a function that returns one number.

    Parameters
    ----------
    f
        Takes arrays, or dicts, lists and tuples of them, and whatever else; the argument in question reaches it as
        tensors. It returns one number.
    argnum
        Which argument to differentiate in.

    Returns
    -------
    callable
        Takes what `f` takes and returns the gradient, an array for each array of that argument, in the same containers.

    Raises
    ------
    ValueError
        When called, if `f` returns an array of more or less than one number.
    TypeError
        When called, if `f` returns something else, such as `None`, or the argument holds no floating-point numbers.

    Examples
    --------
    >>> grad(lambda w: (w["a"] * w["b"]).sum())({"a": np.array([1.0, 2.0]), "b": np.array(3.0)})
    {'a': array([3., 3.]), 'b': array(3.)}
    """
    both = value_and_grad(f, argnum)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return gradient


def value_and_grad(f: Callable[..., Any], argnum: int = 0) -> Callable[..., tuple[Any, Any]]:
    """
    A function's value and its gradient, from one evaluation.

    Parameters
    ----------
    f, argnum
        As for `grad`.

    Returns
    -------
    callable
        Takes what `f` takes and returns the value and the gradient.

    Examples
    --------
    >>> value, gradient = value_and_grad(lambda x: (x * x).sum())(np.array([3.0, 4.0]))
    >>> float(value), gradient
    (25.0, array([6., 8.]))
    """

    @wraps(f)
    def both(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if not -len(args) <= argnum < len(args):
            raise ValueError(f"argument {argnum} is to be differentiated in, but the function was given {len(args)}")
        at = argnum % len(args)
        with _new_level() as level:
            leaves = tree_map(lambda x: _leaf(x, level), args[at])
            out = f(*args[:at], leaves, *args[at + 1 :], **kwargs)
            _check_one_number(out)
            value = _inside(out, level)
            if _records(out, level):
                sweep(out, np.ones(out.shape, out.dtype))
            return value, tree_map(_gradient, leaves)

    return both


def vjp(f: Callable[..., Any], *primals: Tree) -> tuple[Any, Callable[[Tree], tuple[Any, ...]]]:
    """
    A function's value, and the map from cotangents of the value to cotangents of the arguments.

    Parameters
    ----------
    f
        Takes arrays or containers of them, all of which reach it as tensors; returns an array or containers of arrays.
    *primals
        Its arguments.

    Returns
    -------
    value
        Of `f`.
    pull_back : callable
        Takes a cotangent shaped like the value and returns one for each argument; may be called again.

    Examples
    --------
    >>> value, pull_back = vjp(lambda x: x * x, np.array([1.0, 2.0]))
    >>> pull_back(np.array([1.0, 10.0]))
    (array([ 2., 40.]),)
    """
    with _new_level() as level:
        leaves = tree_map(lambda x: _leaf(x, level), tuple(primals))
        out = f(*leaves)

    def pull_back(g: Tree) -> tuple[Any, ...]:
        for leaf in tree_leaves(leaves):
            leaf.grad = None
        outs, gs = tree_leaves(out), tree_leaves(g)
        if len(outs) != len(gs):
            raise ValueError(f"the value has {len(outs)} arrays, and the cotangent {len(gs)}")
        for o, one in zip(outs, gs, strict=True):
            if np.shape(value_of(one)) != np.shape(value_of(o)):
                raise ValueError(
                    f"a cotangent has the shape of its value, {np.shape(value_of(o))}, got {np.shape(value_of(one))}"
                )
            if _records(o, level):
                sweep(o, one if isinstance(one, Box) else np.asarray(one, o.dtype), retain_graph=True)
        return tuple(tree_map(_gradient, leaves))

    return tree_map(lambda o: _inside(o, level), out), pull_back


def jvp(f: Callable[..., Any], primals: tuple[Tree, ...], tangents: tuple[Tree, ...]) -> tuple[Any, Any]:
    """
    A function's value, and how it moves if the arguments move along the tangents.

    Parameters
    ----------
    f
        Takes arrays or containers of them, returns an array or containers of arrays.
    primals
        Its arguments.
    tangents
        A tangent for each, of the same shapes.

    Returns
    -------
    value, tangent
        Of `f`, in the same containers.

    Raises
    ------
    ValueError
        If primals and tangents differ in number or shape.

    Examples
    --------
    >>> value, tangent = jvp(lambda x, y: x * y, (np.array(2.0), np.array(3.0)), (np.array(1.0), np.array(0.0)))
    >>> float(value), float(tangent)
    (6.0, 3.0)
    """
    if len(primals) != len(tangents):
        raise ValueError(f"each argument needs a tangent, got {len(primals)} and {len(tangents)}")
    with _new_level() as level:
        out = f(*tree_map(lambda x, t: _tangent(x, t, level), tuple(primals), tuple(tangents)))
    value = tree_map(lambda o: _inside(o, level), out)
    moved = tree_map(lambda o: o.tangent if isinstance(o, Tangent) and o.level == level else _zeros(o), out)
    return value, moved


def hvp(f: Callable[..., Any]) -> Callable[[Tree, Tree], Any]:
    """
    The product of a function's Hessian with a vector (E1), forward over reverse.

    Parameters
    ----------
    f
        Takes an array or containers of them and returns one number.

    Returns
    -------
    callable
        Takes the argument and a vector shaped like it, returns the product, shaped like it too.
    """

    def product(x: Tree, v: Tree) -> Any:
        return jvp(grad(f), (x,), (v,))[1]

    return product


def jacobian(f: Callable[[Any], Any], mode: str | None = None) -> Callable[[Any], Any]:
    """
    All partial derivatives of a function from an array to an array.

    Parameters
    ----------
    f
        Takes an array, returns an array.
    mode
        `"forward"`, one pass an input, or `"reverse"`, one pass an output; `None` takes the one with fewer passes.

    Returns
    -------
    callable
        Takes the array and returns an array of the shape of the result followed by the shape of the argument.

    Examples
    --------
    >>> jacobian(lambda x: x * x[0])(np.array([3.0, 4.0]))
    array([[6., 0.],
           [4., 3.]])
    """
    if mode not in (None, "forward", "reverse"):
        raise ValueError(f"mode is 'forward', 'reverse' or None, got {mode!r}")

    @wraps(f)
    def rows(x: Any) -> Any:
        x = x if isinstance(x, Box) else np.asarray(x)
        value, pull_back = vjp(f, x)
        n, m = int(np.prod(x.shape)), int(np.prod(np.shape(value_of(value))))
        shape = (*np.shape(value_of(value)), *x.shape)
        dtype = np.result_type(value_of(value))
        if mode == "forward" or (mode is None and n < m):
            columns = [jvp(f, (x,), (_unit(x.shape, i, x.dtype),))[1].reshape((m,)) for i in range(n)]
            return _stacked(columns, (n, m), dtype).transpose((1, 0)).reshape(shape)
        gradients = [pull_back(_unit(np.shape(value_of(value)), i, dtype))[0].reshape((n,)) for i in range(m)]
        return _stacked(gradients, (m, n), dtype).reshape(shape)

    return rows


def hessian(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """
    All second partial derivatives of a function from an array to one number: the Jacobian of its gradient.

    Examples
    --------
    >>> hessian(lambda x: x[0] * x[1] ** 2)(np.array([1.0, 3.0]))
    array([[0., 6.],
           [6., 2.]])
    """
    return jacobian(grad(f), mode="forward")


class Tangent(Operators):
    """A value and the direction in which it moves: an array, or a box, in forward mode."""

    __slots__ = ("data", "level", "tangent")

    def __init__(self, data: Any, tangent: Any, level: int) -> None:
        self.data, self.tangent, self.level = data, tangent, level

    def detach(self) -> "Tangent":
        """The same numbers, not a copy, which do not move."""
        value = value_of(self)
        return Tangent(value, _zeros(value), self.level)

    def process(self, rule: Rule, operands: tuple[Operand, ...], settings: dict[str, Any]) -> "Tangent":
        level = self.level
        moving = [type(x) is Tangent and x.level == level for x in operands]
        values = [x.data if moves else x for x, moves in zip(operands, moving, strict=True)]
        try:
            out = apply(rule, *values, **settings)
        except (ValueError, IndexError) as error:
            if str(error).startswith(rule.name):
                raise
            shapes = " and ".join(str(np.shape(value_of(x))) for x in values)
            raise type(error)(f"{rule.name} of shapes {shapes}: {error}") from None
        if not isinstance(out, np.ndarray | Box):
            out = np.asarray(out)  # NumPy turns arrays without axes into scalars
        total: Any = None
        for i, moves in enumerate(moving):
            push_forward = rule.jvp(i) if moves else None
            if push_forward is not None:
                t = push_forward(operands[i].tangent, out, *values, **settings)
                t = t if isinstance(t, Box) else np.asarray(t)
                total = t if total is None else total + t
        made = Tangent(out, _zeros(out) if total is None else total, level)
        if Mode.made is not None:
            Mode.made(made, rule, operands)
        return made


def tree_map(f: Callable[..., Any], tree: Tree, *rest: Tree) -> Any:
    """
    Containers like `tree`, in which each array is replaced by `f` of it, and of those at its place in the others.

    Raises
    ------
    ValueError
        If the others have not the same containers.

    Examples
    --------
    >>> tree_map(lambda a, b: a + b, {"w": [1, 2]}, {"w": [10, 20]})
    {'w': [11, 22]}
    """
    if isinstance(tree, dict):
        if any(not isinstance(other, dict) or other.keys() != tree.keys() for other in rest):
            raise ValueError(f"expected dicts with the keys {sorted(map(str, tree))} at the same place")
        return {key: tree_map(f, value, *(other[key] for other in rest)) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        if any(not isinstance(other, list | tuple) or len(other) != len(tree) for other in rest):
            raise ValueError(f"expected sequences of {len(tree)} at the same place")
        mapped = [tree_map(f, *parts) for parts in zip(tree, *rest, strict=True)]
        return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)
    return f(tree, *rest)


def tree_leaves(tree: Tree) -> list[Any]:
    """
    The arrays in containers, in order.

    Examples
    --------
    >>> tree_leaves({"b": [1, 2], "w": (3,)})
    [1, 2, 3]
    """
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in tree_leaves(value)]
    if isinstance(tree, list | tuple):
        return [leaf for value in tree for leaf in tree_leaves(value)]
    return [tree]


def _leaf(x: Any, level: int) -> Tensor:
    return Tensor(x if isinstance(x, Box) else np.asarray(x), requires_grad=True, level=level)


def _tangent(x: Any, t: Any, level: int) -> Tangent:
    x = x if isinstance(x, Box) else np.asarray(x)
    dtype = value_of(x).dtype
    if dtype.kind != "f":
        raise TypeError(f"derivatives are of real floating-point numbers, got {dtype}. Convert: .astype(np.float64).")
    t = t if isinstance(t, Box) else np.asarray(t, dtype)
    if np.shape(value_of(t)) != np.shape(value_of(x)):
        raise ValueError(f"a tangent has the shape of its value, {np.shape(value_of(x))}, got {np.shape(value_of(t))}")
    return Tangent(x, t, level)


def _check_one_number(out: Any) -> None:
    if not isinstance(out, Box | np.ndarray | np.generic | int | float):
        raise TypeError(
            f"grad needs a function that returns one number, got {type(out).__name__}: return the number itself"
        )
    if np.size(value_of(out)) != 1:
        raise ValueError(
            f"grad needs a function that returns one number, got an array of shape {np.shape(value_of(out))}: sum it, "
            "or use jacobian or vjp"
        )


def _records(x: Any, level: int) -> bool:
    return isinstance(x, Tensor) and x.level == level and x.requires_grad


def _inside(x: Any, level: int) -> Any:
    return x.data if isinstance(x, Box) and x.level == level else x


def _gradient(leaf: Tensor) -> Any:
    return _zeros(leaf.data) if leaf.grad is None else leaf.grad


def _zeros(x: Any) -> np.ndarray:
    value = np.asarray(value_of(x))
    return np.zeros(value.shape, value.dtype)


def _unit(shape: tuple[int, ...], i: int, dtype: Any) -> np.ndarray:
    unit = np.zeros(shape, dtype)
    unit.flat[i] = 1
    return unit


def _stacked(rows: list[Any], shape: tuple[int, int], dtype: Any) -> Any:
    from fp_autograd.rules import stack

    return stack(rows) if rows else np.zeros(shape, dtype)
