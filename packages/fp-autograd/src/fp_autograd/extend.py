r"""
Extending the table: operations with derivatives of your own.

Whatever is composed of the table's operations is differentiated without further ado. But a composition pays for every
step: a pass over memory, an array kept for the sweep, a call. A **fused** operation does the steps at once and brings a
derivative that was worked out on paper. How does it enter the engine, and what becomes of second derivatives if its
derivative is a kernel that knows arrays and nothing else?

You need: `fp_autograd.rules`, `fp_autograd.functional`.

## An example worked out

Let $z$ have a row of scores for each of $B$ texts and let $y_b$ be the right token of text $b$. The mean loss is

$$
\ell = \frac1B \sum_b \Big( \ln \sum_k e^{z_{bk}} - z_{b y_b} \Big), \qquad
\frac{\partial \ell}{\partial z_{bj}} = \frac1B \big( p_{bj} - [j = y_b] \big), \qquad
p_{bj} = \frac{e^{z_{bj}}}{\sum_k e^{z_{bk}}}. \qquad \text{(E1)}
$$

The slope of the logarithm of the sum is $1 / \sum_k e^{z_{bk}}$ times the slope $e^{z_{bj}}$ of the sum
(`autograd.chain-rule`), and $[j = y_b]$, which is $1$ where true, else $0$, is the slope of $z_{b y_b}$. The
composition makes a subtraction, an exponential, a sum, a logarithm, another subtraction, a choice and a mean, and keeps
an array for most of them. (E1) needs $p$, which the forward step has on its way to the loss:

>>> from fp_autograd.checking import gradcheck
>>> from fp_autograd.rules import log_softmax
>>> def forward(z, y):
...     e = np.exp(z - z.max(axis=1, keepdims=True))
...     p = e / e.sum(axis=1, keepdims=True)
...     return -np.log(p[np.arange(len(y)), y]).mean(), p  # the loss, and what the derivative needs
>>> def derivative(g, out, z, y, saved):
...     dz = saved.copy()
...     dz[np.arange(len(y)), y] -= 1
...     return dz * (g / len(y)), None  # (E1); y has no slope
>>> def unfused(z, y):
...     return -log_softmax(z, axis=1)[np.arange(len(y)), y].mean()
>>> loss = operation("example_loss", forward, derivative, reference=unfused)
>>> z, y = np.random.default_rng(0).normal(size=(3, 5)), np.array([4, 0, 2])
>>> gradcheck(lambda z: loss(z, y), z)  # both modes, first and second order

## What differentiates the derivative

At first order the sweep hands the kernel arrays, and it runs as it is. In `grad(grad(f))`, or in forward over reverse,
the inner sweep computes with boxes, because an outer transformation watches it. A kernel cannot be watched. If there
is a `reference`, the same function composed of the table's operations, the watched sweep uses the derivative of that
instead.

**Claim** `autograd.reference-derivatives`. Let the forward kernel and the reference be the same function $f$ near every
point at which they are used, and let the kernel's VJP return $J(x)^\top g$, and its JVP, if there is one, $J(x)\, t$,
where $J$ is the Jacobian of $f$. Then for every composition with this operation, every nesting of `grad`, `vjp` and
`jvp` returns what it returns with the reference in its place, where the rules of the table are right.

**Proof.** By induction on the number of nested transformations. Each computes values by the rules of what it contains,
so it is enough that the operation's results agree with the reference's. The output is $f(x)$ either way. Its cotangent
is $J(x)^\top g$: by the assumption if arrays come in, and otherwise as the reverse mode of the reference gives it
(`autograd.two-modes`), composed of the table's operations. Its tangent is $J(x)\, t$ by the same two reasons. If boxes
came in, an outer transformation, one fewer of them, differentiates these results: they are functions of $x$, $g$ and
$t$ that the reference's composition computes, and for that the induction hypothesis holds. $\blacksquare$

Without a reference the given VJP itself is handed boxes. If it is written with operators and functions of
`fp_autograd.rules`, it is differentiated like anything else; if it is a kernel, that is an error with a remedy. Beware
of one more case, which would be wrong in silence: `saved` was computed outside of the boxes, so to the outer
transformation it is a constant, and the derivative through it is lost. So an operation that saves needs a reference for
higher orders, and is refused without one.

## Forward mode for nothing

A VJP $g \mapsto J^\top g$ is linear, and a linear map is its own derivative. So the engine, asked for the VJP *of the
VJP*, transposes a second time:

**Claim** `autograd.transpose-twice`. For fixed $x$ and $t$ let $q(g) = (J^\top g) \cdot t$. Its gradient in $g$ is the
same at every $g$: $\nabla q = J t$.

**Proof.** $q(g) = \sum_j \big( \sum_i J_{ij}\, g_i \big)\, t_j = \sum_i g_i \sum_j J_{ij}\, t_j = \sum_i g_i (J t)_i$.
The partial derivative in $g_i$ is $(J t)_i$. $\blacksquare$

An operation whose VJP is written with operators therefore has forward mode without a rule for it; `jvps` makes it
faster, by one sweep. `operation` looks for a JVP in this order: `jvps`, the reference, the transposed VJP.

## In practice

PyTorch's `torch.autograd.Function` and JAX's `custom_vjp` are the same idea. There a kernel that is differentiated
twice raises (`once_differentiable`) or needs a further rule by hand; here the reference serves, and it is needed
anyway, to test the kernel against. The fused operations that matter in language models are this loss, whose unfused
form keeps several arrays of $B \times V$ numbers, normalisation, and attention, whose unfused form keeps a $T \times T$
table for every head (T. Dao et al., 2022).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fp_autograd.functional import grad, jvp, vjp
from fp_autograd.rules import RULES
from fp_autograd.tracing import Box, Operand, Rule, apply, value_of

__all__ = ["operation"]

Derivatives = Sequence[Callable[..., Any] | None]
TAKEN = object()


def operation(
    name: str,
    forward: Callable[..., Any],
    vjp: Callable[..., Any] | Derivatives,
    jvps: Derivatives | None = None,
    reference: Callable[..., Any] | None = None,
    fresh: bool = False,
) -> Callable[..., Any]:
    """
    Enter an operation into the table.

    Parameters
    ----------
    name
        What errors, drawings and traces call it; not yet in `RULES`. Packages put theirs before it, and a dot.
    forward
        From arrays, and settings by keyword, to an array; or to a pair, the array and whatever the VJP needs.
    vjp
        One function `(g, out, *operands, **settings)` that returns a tuple of cotangents, one for each operand, `None`
        for an operand without a slope. Or a sequence of such functions, one for each operand, each returning its
        cotangent alone: they run for operands that require a gradient only. If `forward` returned a pair, its second
        part arrives as the keyword `saved`.
    jvps
        For each operand a function `(t, out, *operands, **settings)` that returns the tangent of the output if this
        operand moves along `t`, or `None`; with `saved` as above.
    reference
        The same function composed of operations of the table. It is differentiated where boxes come in.
    fresh
        Whether every cotangent is a new array that nothing else holds, not `g`, not `saved`, not a view: then the
        sweep may add to it in place and need not copy it.

    Returns
    -------
    callable
        A function of arrays and boxes, and settings by keyword.

    Raises
    ------
    ValueError
        If the name is taken. When it is used, if the derivative returns another number of cotangents than there are
        operands, or one of another shape.
    TypeError
        When it is used, if a higher order or forward mode is asked for and cannot be had.

    Examples
    --------
    A layer in one operation, with a function for each operand. They use operators and methods only, so they serve
    every order and both modes:

    >>> linear = operation(
    ...     "example_linear",
    ...     lambda x, w, b: x @ w + b,
    ...     (
    ...         lambda g, out, x, w, b: g @ w.T,
    ...         lambda g, out, x, w, b: x.T @ g,
    ...         lambda g, out, x, w, b: g.sum(axis=0),
    ...     ),
    ... )
    >>> grad(lambda w: linear(np.ones((2, 3)), w, np.zeros(1)).sum())(np.zeros((3, 1))).ravel()
    array([2., 2., 2.])
    """
    if name in RULES:
        raise ValueError(
            f"an operation named {name!r} is in the table: choose another name, or take that one out first with "
            f"RULES.pop({name!r})"
        )
    fused = _Fused(name, forward, vjp, jvps, reference)

    def call(*operands: Operand, **settings: Any) -> Any:
        own = _Call(fused)  # holds what this call saves, and is given up with the graph
        return apply(Rule(name, own.forward, own.cotangent, own.tangent, fresh), *operands, **settings)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = forward.__doc__
    RULES[name] = Rule(  # of no call in particular: what was saved is computed again
        name,
        lambda *operands, **settings: _Call(fused).forward(*operands, **settings),
        lambda i, *arguments, **settings: _Call(fused).cotangent(i, *arguments, **settings),
        lambda i, *arguments, **settings: _Call(fused).tangent(i, *arguments, **settings),
        fresh,
    )
    return call


class _Fused:
    """What `operation` was given."""

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        vjp: Callable[..., Any] | Derivatives,
        jvps: Derivatives | None,
        reference: Callable[..., Any] | None,
    ) -> None:
        self.name, self.forward, self.vjp, self.jvps, self.reference = name, forward, vjp, jvps, reference

    def pull_back(self, g: Any, operands: tuple[Any, ...], settings: dict[str, Any]) -> list[Any]:
        """All cotangents, by the reverse mode of the reference."""
        assert self.reference is not None
        moving = [i for i, x in enumerate(operands) if np.result_type(value_of(x)).kind == "f"]
        cotangents: list[Any] = [None] * len(operands)
        along = partial(self.partly, moving, operands, settings)
        for i, cotangent in zip(moving, vjp(along, *(operands[i] for i in moving))[1](g), strict=True):
            cotangents[i] = cotangent
        return cotangents

    def push_forward(self, i: int, t: Any, operands: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """The tangent of the output if operand `i` moves, by the forward mode of the reference."""
        return jvp(partial(self.partly, [i], operands, settings), (operands[i],), (t,))[1]

    def partly(self, moving: list[int], operands: tuple[Any, ...], settings: dict[str, Any], *boxes: Any) -> Any:
        """The reference as a function of some operands."""
        assert self.reference is not None
        whole = list(operands)
        for i, box in zip(moving, boxes, strict=True):
            whole[i] = box
        return self.reference(*whole, **settings)


class _Call:
    """One use of a fused operation."""

    __slots__ = ("cotangents", "fused", "g", "saved")

    def __init__(self, fused: _Fused) -> None:
        self.fused = fused
        self.saved: dict[str, Any] | None = None  # None until the forward step has run
        self.g: Any = None
        self.cotangents: list[Any] = []

    def forward(self, *operands: Any, **settings: Any) -> Any:
        out = self.fused.forward(*operands, **settings)
        self.saved = {}
        if isinstance(out, tuple):
            out, saved = out
            self.saved = {"saved": saved}
        return out

    def cotangent(self, i: int, g: Any, out: Any, *operands: Any, **settings: Any) -> Any:
        fused, boxed = self.fused, _any_box(g, *operands)
        by_reference = boxed and fused.reference is not None
        if callable(fused.vjp) or by_reference:
            # The sweep asks for one operand after the other with the same g. Each cotangent is handed out once, so that
            # a later sweep, which may bring the same array with other numbers in it, computes anew.
            if self.g is not g or self.cotangents[i] is TAKEN:
                all_of_them = (
                    fused.pull_back(g, operands, settings)
                    if by_reference
                    else self._run(fused.vjp, boxed, g, out, operands, settings)
                )
                self.g, self.cotangents = g, self._one_each(all_of_them, len(operands))
            dx, self.cotangents[i] = self.cotangents[i], TAKEN
        else:
            dx = self._run(self._part(fused.vjp, i, len(operands)), boxed, g, out, operands, settings)
        return self._checked(dx, operands[i], f"cotangent for operand {i}")

    def tangent(self, i: int, t: Any, out: Any, *operands: Any, **settings: Any) -> Any:
        fused, boxed = self.fused, _any_box(t, *operands)
        if fused.jvps is not None and not (boxed and fused.reference is not None):
            dout = self._run(self._part(fused.jvps, i, len(operands)), boxed, t, out, operands, settings)
        elif fused.reference is not None:
            dout = fused.push_forward(i, t, operands, settings)
        else:  # `autograd.transpose-twice`
            anywhere = np.zeros(np.shape(value_of(out)), value_of(out).dtype)
            dout = grad(lambda g: (self.cotangent(i, g, out, *operands, **settings) * t).sum())(anywhere)
        return self._checked(dout, out, f"tangent along operand {i}")

    def _run(
        self, derivative: Any, boxed: bool, given: Any, out: Any, operands: tuple[Any, ...], settings: dict[str, Any]
    ) -> Any:
        """Call a given derivative, which may be a kernel that cannot take boxes."""
        if derivative is None:
            return None
        if self.saved is None and not boxed:
            self.forward(*operands, **settings)
        if boxed and self.saved:
            raise TypeError(self._refusal())
        try:
            return derivative(given, out, *operands, **settings, **(self.saved or {}))
        except (TypeError, AttributeError) as error:
            if not boxed:
                raise
            raise TypeError(self._refusal()) from error

    def _refusal(self) -> str:
        return (
            f"{self.fused.name} is asked for a derivative of higher order, or for forward mode, which its rule cannot "
            "give: it is written for arrays, or uses what the forward step saved. Give operation() a reference, the "
            "same function composed of operations of the table"
        )

    def _part(self, derivatives: Any, i: int, n: int) -> Any:
        return self._one_each(derivatives, n)[i]

    def _one_each(self, parts: Any, n: int) -> list[Any]:
        if not isinstance(parts, tuple | list) or len(parts) != n:
            got = len(parts) if isinstance(parts, tuple | list) else type(parts).__name__
            raise ValueError(f"{self.fused.name} has {n} operands and needs a tuple of {n} derivatives, got {got}")
        return list(parts)

    def _checked(self, derivative: Any, like: Any, what: str) -> Any:
        shape = np.shape(value_of(like))
        if derivative is None:
            return np.zeros(shape, value_of(like).dtype)
        if not isinstance(derivative, Box):
            derivative = np.asarray(derivative)
            if derivative.dtype.kind != "f":
                raise TypeError(f"the rule of {self.fused.name} returned a {what} of type {derivative.dtype}")
        if derivative.shape != shape:
            raise ValueError(
                f"the rule of {self.fused.name} returned a {what} of shape {derivative.shape}; it has to be {shape}"
            )
        return derivative


def _any_box(*operands: Any) -> bool:
    return any(isinstance(x, Box) for x in operands)
