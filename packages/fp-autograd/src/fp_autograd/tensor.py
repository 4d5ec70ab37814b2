r"""
Tensors: arrays that remember how they were made, and one sweep back.

The rules of `fp_autograd.rules` say how to differentiate one operation. This section applies them to a whole program:
it writes down what the program does while it does it, and then goes back over the record once, from the result to what
it was made from.

You need: `fp_autograd.rules`, `fp_autograd.graph`.

## The record

A `Tensor` holds an array. An operation with a tensor among its operands makes a new tensor, which keeps the rule and
the operands; one that no operand of which requires a gradient keeps nothing. Tensors and their operands form a graph
without cycles, because operands are there first. Each result draws a number from a clock when it is made.

## The sweep

`backward` starts with a cotangent $g$ of the result and hands cotangents back, each operand's share by its VJP,

$$\bar x \mathrel{+}= \text{vjp}(\bar y), \qquad \text{(E1)}$$

until only **leaves** are left, tensors that no operation made. A tensor that is used twice gets two shares, and must
have both before it hands on its own. So the order matters: users first.

**Claim** `autograd.heap-sweep`. Keep those tensors that have received a cotangent and not handed it on, and take each
time the one that was made last. Then every tensor is taken at most once, after all those that it will ever receive
from; and the ones taken are those that the result was made from, through operands that require a gradient.

**Proof.** Say a tensor is *due* if it is the result, or an operand that requires a gradient of a due one. Only due ones
ever receive, and each due one does, when the first of its due users is taken. Let $x$ be taken, and suppose a due user
$u$ of $x$ has not been taken yet. From the result a chain of due tensors leads to $u$, each an operand of the one
before. The result has been taken, since it is the first; $u$ has not; let $w$ be the first of the chain that has not.
Its predecessor has been taken and has handed $w$ a cotangent, so $w$ was among those to choose from when $x$ was taken.
But $w$ was made no earlier than $u$ (operands are made before what is made of them), and $u$ was made after $x$: so $w$
was made later than $x$, and $x$ was not the one to take. Hence all due users of $x$ were taken before it; nothing more
arrives after, so it is not taken again. $\blacksquare$

A heap finds the last made in $O(\log n)$ steps, and holds no more than the front of the sweep. Nothing is recursive, so
a chain of a million operations is no deeper than one of ten.

## Memory

What a sweep needs of a result, its rule and operands, is given up as soon as it has handed on: arrays that nobody else
uses are freed while the sweep proceeds, and a second `backward` over the same graph is an error unless the first was
told to `retain_graph`. A cotangent is added up in place where it is an array of its own. A gathered row's cotangent is
added to one array in place (`fp_autograd.rules.scatter_into`) instead of a new array as large as the table for each
use.

Writing into an array that a sweep still needs would make it silently wrong. Every write through a tensor (`w[i] = …`,
`w -= …` under `no_grad`) draws a number from the same clock, which is kept for the memory written to: views and
detached tensors share it. So the sweep sees that the write came after the result was made, and refuses. A write through
NumPy, into `w.data`, is seen only by `fp_autograd.debugging.anomaly`.

>>> w = Tensor(np.array([1.0, 2.0]), requires_grad=True)
>>> loss = (w * w).sum() + w[0]
>>> loss.backward()
>>> w.grad
array([3., 4.])
>>> with no_grad():
...     w -= 0.5 * w.grad
>>> w.data
array([-0.5,  0. ])

## In practice

PyTorch keeps the same record in C++ and takes the operations in the same order, last made first. A record that is made
anew by each run lets Python's own `if` and `for` shape the computation; JAX and TensorFlow's graphs trace once and
compile instead. Where memory is short, parts of the record are thrown away and made again during the sweep
(checkpointing: `fp_autograd.graph`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Any
from weakref import finalize

import numpy as np

from fp_autograd.rules import RULES, clip, cumsum, matmul
from fp_autograd.tracing import Box, Operand, Rule, apply, value_of

__all__ = ["Tensor", "Operators", "no_grad", "sweep"]  # the order of the page

Axis = int | Sequence[int] | None

ADD, SUBTRACT, MULTIPLY, DIVIDE, POWER, NEGATIVE = (
    RULES[name] for name in ("add", "subtract", "multiply", "divide", "power", "negative")
)


class Operators(Box):
    """Operators and methods of everything that stands for an array."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return len(self.data.shape)

    @property
    def size(self) -> int:
        return value_of(self).size

    @property
    def dtype(self) -> np.dtype:
        return value_of(self).dtype

    @property
    def T(self) -> Any:
        return self.transpose()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __add__(self, other: Operand) -> Any:
        return apply(ADD, self, other)

    def __radd__(self, other: Operand) -> Any:
        return apply(ADD, other, self)

    def __sub__(self, other: Operand) -> Any:
        return apply(SUBTRACT, self, other)

    def __rsub__(self, other: Operand) -> Any:
        return apply(SUBTRACT, other, self)

    def __mul__(self, other: Operand) -> Any:
        return apply(MULTIPLY, self, other)

    def __rmul__(self, other: Operand) -> Any:
        return apply(MULTIPLY, other, self)

    def __truediv__(self, other: Operand) -> Any:
        return apply(DIVIDE, self, other)

    def __rtruediv__(self, other: Operand) -> Any:
        return apply(DIVIDE, other, self)

    def __pow__(self, other: Operand) -> Any:
        return apply(POWER, self, other)

    def __rpow__(self, other: Operand) -> Any:
        return apply(POWER, other, self)

    def __matmul__(self, other: Operand) -> Any:
        return matmul(self, other)

    def __rmatmul__(self, other: Operand) -> Any:
        return matmul(other, self)

    def __neg__(self) -> Any:
        return apply(NEGATIVE, self)

    def __abs__(self) -> Any:
        return apply(RULES["absolute"], self)

    def __getitem__(self, index: Any) -> Any:
        kept = tuple(map(_kept_index, index)) if isinstance(index, tuple) else _kept_index(index)
        return apply(RULES["index"], self, index=kept)

    def __lt__(self, other: Operand) -> Any:
        return value_of(self) < value_of(other)

    def __le__(self, other: Operand) -> Any:
        return value_of(self) <= value_of(other)

    def __gt__(self, other: Operand) -> Any:
        return value_of(self) > value_of(other)

    def __ge__(self, other: Operand) -> Any:
        return value_of(self) >= value_of(other)

    def __eq__(self, other: object) -> Any:
        return value_of(self) == value_of(other)

    def __ne__(self, other: object) -> Any:
        return value_of(self) != value_of(other)

    __hash__ = object.__hash__  # equality is number by number

    def __bool__(self) -> bool:
        return bool(value_of(self))

    def __float__(self) -> float:
        return float(value_of(self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if moves(self):
            raise TypeError(
                "NumPy would make a constant of a tensor that is being differentiated: use its operators and methods "
                "and the functions of fp_autograd.rules, or .detach() for the numbers alone"
            )
        return np.array(value_of(self), dtype, copy=copy)

    def item(self) -> float:
        """The number in a tensor of one number."""
        return value_of(self).item()

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def exp(self) -> Any:
        return apply(RULES["exp"], self)

    def log(self) -> Any:
        return apply(RULES["log"], self)

    def expm1(self) -> Any:
        return apply(RULES["expm1"], self)

    def log1p(self) -> Any:
        return apply(RULES["log1p"], self)

    def sqrt(self) -> Any:
        return apply(RULES["sqrt"], self)

    def sin(self) -> Any:
        return apply(RULES["sin"], self)

    def cos(self) -> Any:
        return apply(RULES["cos"], self)

    def tanh(self) -> Any:
        return apply(RULES["tanh"], self)

    def sigmoid(self) -> Any:
        return apply(RULES["sigmoid"], self)

    def softplus(self) -> Any:
        return apply(RULES["softplus"], self)

    def relu(self) -> Any:
        return apply(RULES["relu"], self)

    def abs(self) -> Any:
        return apply(RULES["absolute"], self)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Any:
        return apply(RULES["sum"], self, axis=_axis(axis), keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Any:
        return apply(RULES["mean"], self, axis=_axis(axis), keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Any:
        return apply(RULES["max"], self, axis=_axis(axis), keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Any:
        return apply(RULES["min"], self, axis=_axis(axis), keepdims=keepdims)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Any:
        return apply(RULES["logsumexp"], self, axis=_axis(axis), keepdims=keepdims)

    def softmax(self, axis: int = -1) -> Any:
        return apply(RULES["softmax"], self, axis=axis)

    def log_softmax(self, axis: int = -1) -> Any:
        return apply(RULES["log_softmax"], self, axis=axis)

    def cumsum(self, axis: int = -1) -> Any:
        return cumsum(self, axis)

    def clip(self, low: Operand, high: Operand) -> Any:
        return clip(self, low, high)

    def reshape(self, *shape: Any) -> Any:
        return apply(RULES["reshape"], self, shape=_one_tuple(shape))

    def transpose(self, *axes: Any) -> Any:
        return apply(RULES["transpose"], self, axes=_one_tuple(axes) or tuple(range(self.ndim))[::-1])

    def swapaxes(self, a: int, b: int) -> Any:
        axes = list(range(self.ndim))
        if not all(-self.ndim <= axis < self.ndim for axis in (a, b)):
            raise ValueError(f"swapaxes of {a} and {b}: a tensor of shape {self.shape} has {self.ndim} axes")
        axes[a], axes[b] = axes[b], axes[a]
        return apply(RULES["transpose"], self, axes=tuple(axes))


def _one_tuple(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """`f(1, 2)`, `f((1, 2))` and `f([1, 2])` mean the same."""
    return tuple(items[0]) if len(items) == 1 and isinstance(items[0], tuple | list) else items


def _kept_index(part: Any) -> Any:
    """A copy of what might be written to before the sweep."""
    part = value_of(part)
    return part.copy() if isinstance(part, np.ndarray | list) else part


def _axis(axis: Axis) -> int | tuple[int, ...] | None:
    return axis if axis is None or isinstance(axis, int) else tuple(axis)


# Of the C library of Linux: it keeps freed memory at hand for the next array, instead of asking the system for fresh
# pages, up to the size of the largest array that it has seen freed, if below 32 MiB. Never touched, it costs nothing.
np.empty(31 * 2**20, np.uint8)

clock = count(1).__next__  # one number for each tensor made or written to


class Mode:
    """What holds for all tensors of the process."""

    depth = 0
    """How many transformations are in progress (`fp_autograd.functional`), which is the highest level."""
    silent = -1
    """Results of this level and of those below do not remember how they were made."""
    written = 0
    """The clock at the last write through a tensor."""
    made: Callable[[Any, Rule, tuple[Operand, ...]], None] | None = None
    """Called with every tensor or tangent made, its rule and its operands: how `fp_autograd.debugging` listens."""
    returned: Callable[["Tensor", Rule, int, Any], None] | None = None
    """Called with every cotangent: the result, its rule, the operand's number, the cotangent of that operand."""


@contextmanager
def no_grad() -> Iterator[None]:
    """
    Compute without recording: results do not remember how they were made.

    It holds for tensors, and for transformations around it: `grad` and its like work inside as ever.
    """
    before, Mode.silent = Mode.silent, Mode.depth
    try:
        yield
    finally:
        Mode.silent = before


def moves(x: Operand) -> bool:
    """Whether something in progress would miss a derivative if `x` became a constant."""
    while isinstance(x, Box):
        if x.level > Mode.silent and getattr(x, "requires_grad", True):
            return True
        x = x.data
    return False


WRITTEN: dict[int, int] = {}
"""The clock at the last write, by the identity of the array that owns the memory."""


def _owner(x: np.ndarray) -> np.ndarray:
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def _note_write(x: np.ndarray) -> None:
    owner = _owner(x)
    if id(owner) not in WRITTEN:
        finalize(owner, WRITTEN.pop, id(owner), None)
    WRITTEN[id(owner)] = Mode.written = clock()


class Tensor(Operators):
    """
    An array that remembers how it was made.

    Parameters
    ----------
    data
        Anything that makes an array; an array is kept, not copied.
    requires_grad
        Whether to collect its gradient.

    Attributes
    ----------
    data : ndarray
        The numbers.
    grad : ndarray or None
        What `backward` has collected; of leaves alone.
    requires_grad : bool
        Of a leaf as given, of a result whether an operand's is true.
    """

    __slots__ = (
        "__weakref__",
        "_cotangent",
        "_operands",
        "_order",
        "_owned",
        "_rule",
        "_settings",
        "_values",
        "data",
        "grad",
        "level",
        "requires_grad",
    )

    def __init__(self, data: Any, requires_grad: bool = False, level: int = 0) -> None:
        if not isinstance(data, np.ndarray | Box) or (isinstance(data, Box) and level == 0):
            data = np.asarray(value_of(data))
        dtype = value_of(data).dtype
        if dtype.kind not in "fiub" or (requires_grad and dtype.kind != "f"):
            raise TypeError(
                f"a tensor{' that requires a gradient' if requires_grad else ''} holds real "
                f"{'floating-point ' if requires_grad else ''}numbers, got {dtype}. Convert the array with "
                ".astype(np.float64)."
            )
        self.data = data
        self.grad: Any = None
        self.requires_grad = requires_grad
        self.level = level
        self._rule: Rule | None = None
        self._operands: tuple[Operand, ...] = ()
        self._values: tuple[Operand, ...] = ()
        self._settings: dict[str, Any] = {}
        self._cotangent: Any = None
        self._owned = False
        self._order = clock()

    def _repr_svg_(self) -> str | None:
        """How notebooks show it: the graph; none if that was given up or is too large to draw."""
        from fp_autograd.drawing import draw

        try:
            return draw(self)
        except ValueError:
            return None

    def __repr__(self) -> str:
        made = f", by {self._rule.name}" if self._rule else ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({np.array2string(value_of(self), separator=', ', threshold=20, precision=4)}{made})"

    def process(self, rule: Rule, operands: tuple[Operand, ...], settings: dict[str, Any]) -> "Tensor":
        level = self.level
        values = tuple([x.data if isinstance(x, Tensor) and x.level == level else x for x in operands])
        try:
            for x in values:
                if isinstance(x, Box):
                    data = apply(rule, *values, **settings)
                    break
            else:
                data = rule.forward(*values, **settings)
        except (ValueError, IndexError) as error:
            shapes = " and ".join(str(np.shape(value_of(x))) for x in values)
            raise type(error)(f"{rule.name} of shapes {shapes}: {error}") from None
        out: Tensor = Tensor.__new__(Tensor)
        out.data = data if isinstance(data, np.ndarray | Box) else np.asarray(data)
        out.grad = out._cotangent = out._rule = None
        out.level = level
        out.requires_grad = out._owned = False
        out._order = -clock()
        out._operands = ()
        if level > Mode.silent:
            for x in operands:
                if isinstance(x, Tensor) and x.requires_grad and x.level == level:
                    out.requires_grad = True
                    out._rule, out._operands, out._values, out._settings = rule, operands, values, settings
                    break
        if Mode.made is not None:
            Mode.made(out, rule, operands)
        return out

    def backward(self, g: Any = None, retain_graph: bool = False) -> None:
        """
        Add the gradient of this tensor to `grad` of every leaf that it was made from.

        Parameters
        ----------
        g
            The cotangent of this tensor, of its shape; for a single number it is 1 by default.
        retain_graph
            Keep what another sweep would need. By default it is given up as the sweep proceeds.

        Raises
        ------
        ValueError
            If this tensor is not a single number and `g` is missing or of another shape, if nothing that it was made
            from requires a gradient, if its graph was given up by an earlier sweep, or if an array that the sweep needs
            was written to.
        """
        if not self.requires_grad:
            raise ValueError("nothing that this tensor was made from requires a gradient. Was it made under no_grad?")
        if g is None:
            if value_of(self).size != 1:
                raise ValueError(
                    f"backward needs a cotangent for a tensor of shape {self.shape}, which is not a single number: "
                    "sum it first, or call backward(g)"
                )
            g = np.ones(self.shape, self.dtype)
        g = g.data if isinstance(g, Tensor) and g.level == self.level else g
        g = g if isinstance(g, Box) else np.asarray(g, self.dtype)
        if g.shape != self.shape:
            raise ValueError(f"the cotangent of a tensor of shape {self.shape} has that shape, got {g.shape}")
        sweep(self, g, retain_graph)

    def detach(self) -> "Tensor":
        """The same numbers, not a copy, without a memory: a constant, to outer transformations too."""
        return Tensor(value_of(self), level=self.level)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def __setitem__(self, index: Any, value: Operand) -> None:
        if self.requires_grad and (self.level > Mode.silent or self._rule is not None):
            raise ValueError(
                "writing into a tensor that requires a gradient would not be differentiated: use where or concatenate, "
                "or write under no_grad"
            )
        if moves(value):
            raise ValueError(
                "writing a tensor that is being differentiated into another would make a constant of it: use where, "
                "stack or concatenate, or write its detach()"
            )
        value_of(self)[tuple(map(value_of, index)) if isinstance(index, tuple) else value_of(index)] = value_of(value)
        _note_write(value_of(self))

    def __iadd__(self, other: Operand) -> Any:
        return self + other if self._recorded(other) else self._in_place(np.add, other)

    def __isub__(self, other: Operand) -> Any:
        return self - other if self._recorded(other) else self._in_place(np.subtract, other)

    def __imul__(self, other: Operand) -> Any:
        return self * other if self._recorded(other) else self._in_place(np.multiply, other)

    def __itruediv__(self, other: Operand) -> Any:
        return self / other if self._recorded(other) else self._in_place(np.divide, other)

    def _recorded(self, other: Operand) -> bool:
        return self.level > Mode.silent or moves(other)

    def _in_place(self, ufunc: np.ufunc, other: Operand) -> Any:
        """Write into the array, as is done under `no_grad`."""
        x, y = value_of(self), value_of(other)
        try:
            ufunc(x, y, out=x, casting="same_kind")
        except ValueError as error:
            raise ValueError(f"{ufunc.__name__} in place, of shapes {x.shape} and {np.shape(y)}: {error}") from None
        _note_write(x)
        return self


FREED = Rule("freed", lambda: None, (), ())


def sweep(root: Tensor, g: Any, retain_graph: bool = False) -> None:
    """Send a cotangent back from `root` to the leaves, adding to their `grad`: users before what they use."""
    root._cotangent = g
    heap = [(root._order, root)]
    try:
        _hand_on(heap, root.level, retain_graph)
    finally:  # of a sweep that was stopped nothing is left to the next
        for _, node in heap:
            node._cotangent = None


def _hand_on(heap: list[tuple[int, Tensor]], level: int, retain_graph: bool) -> None:
    while heap:
        _, node = heappop(heap)
        g, node._cotangent = node._cotangent, None
        rule = node._rule
        if rule is None:
            _collect(node, g)
            continue
        if rule is FREED:
            raise ValueError("this graph was given up by an earlier backward: call that one with retain_graph=True")
        operands, values, settings, out, made = node._operands, node._values, node._settings, node.data, -node._order
        if Mode.written > made:
            _refuse_written(rule, (*values, out), made)
        node._owned = False
        if not retain_graph:
            node._rule, node._operands, node._values = FREED, (), ()
        for i, x in enumerate(operands):
            if not isinstance(x, Tensor) or not x.requires_grad or x.level != level:
                continue
            if rule.accumulate is not None and type(g) is np.ndarray and not isinstance(x._cotangent, Box):
                if x._cotangent is None:
                    x._cotangent, x._owned = np.zeros(x.shape, g.dtype), True
                    heappush(heap, (x._order, x))
                elif not x._owned:
                    x._cotangent, x._owned = x._cotangent.copy(), True
                rule.accumulate(x._cotangent, g, **settings)
                continue
            vjp = rule.vjps[i] if type(rule.vjps) is tuple else rule.vjp(i)
            if vjp is None:
                continue
            gx = vjp(g, out, *values, **settings)
            if type(gx) is not np.ndarray and not isinstance(gx, Box):
                gx = np.asarray(gx)  # NumPy turns arrays without axes into scalars
            if gx.shape != x.data.shape:
                raise ValueError(
                    f"the rule of {rule.name} returned a cotangent of shape {gx.shape} for operand {i}, whose shape is "
                    f"{x.data.shape}"
                )
            if Mode.returned is not None:
                Mode.returned(node, rule, i, gx)
            if x._cotangent is None:
                x._cotangent, x._owned = gx, rule.fresh
                heappush(heap, (x._order, x))
            elif x._owned and type(x._cotangent) is np.ndarray and type(gx) is np.ndarray:
                x._cotangent += gx
            else:
                x._cotangent, x._owned = x._cotangent + gx, True


def _collect(leaf: Tensor, g: Any) -> None:
    if type(g) is np.ndarray or not isinstance(g, Box):
        g = np.asarray(g, leaf.dtype)  # a wider operand elsewhere does not widen the gradient
        if leaf.grad is None:
            leaf.grad = g if leaf._owned and g.base is None else g.copy()
        elif type(leaf.grad) is np.ndarray:
            leaf.grad += g
        else:
            leaf.grad = leaf.grad + g
    else:
        leaf.grad = g if leaf.grad is None else leaf.grad + g
    leaf._owned = False


def _refuse_written(rule: Rule, arrays: tuple[Operand, ...], made: int) -> None:
    for x in map(value_of, arrays):
        if isinstance(x, np.ndarray) and WRITTEN.get(id(_owner(x)), 0) > made:
            raise ValueError(
                f"an array of shape {x.shape} that {rule.name} remembers was written to before backward: write after "
                "it, or into a copy"
            )
