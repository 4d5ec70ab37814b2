r"""
Debugging: where did it go wrong?

The loss is NaN. It was computed by a thousand operations, and a NaN anywhere makes everything after it NaN: the end
says nothing about the beginning. Or the shapes do not fit, three functions deep. Or a gradient is off because an array
was overwritten before the sweep came to it. All three questions ask for the same thing: watch every operation as it is
done, and remember the line of the program that asked for it.

You need: `fp_autograd.tensor`.

## The first NaN

A floating-point operation makes a NaN out of ordinary numbers only where it has no answer ($\ln(-1)$, $0 / 0$,
$\infty - \infty$), and an infinity out of finite numbers where the answer is too large ($e^{1000}$) or at a pole
($1 / 0$). Under `anomaly` each result is examined when it is made, and the first one that holds a NaN while no operand
does, or an infinity while all operands are finite, raises. As nothing before it did, the operation that is named is
the culprit, and not one that passed the NaN on. An infinity that was put in by hand, such as the $-\infty$ of a mask,
is no fault, and may travel on. A NaN that comes in with the data is reported by the first operation that it spoils.

In the sweep the cotangents are examined the same way. There the interesting line is not the one that called
`backward` but the one where the forward step of that operation was done, often far away: it is noted in a table next to
the graph, whose keys do not keep the graph alive.

## Was an array written to?

The sweep computes with the arrays of the forward step. Writes through a tensor are always noticed
(`fp_autograd.tensor`); a write into the array behind it is not: NumPy tells nobody. Under `anomaly` a checksum of each
array is taken when it is recorded, and compared when the sweep arrives. How good is a checksum of 32 bits for that?

CRC-32 keeps a register $r$ of 32 bits. With every bit it makes a **step** $S(r)$: shift $r$ right by one place, and if
the bit that fell out was $1$, flip those bits of the result that are set in a fixed number $P$, whose top bit is set.
A byte $b$ comes in by $r \mapsto S^8(r \oplus b)$, $\oplus$ being "flip the bits where the other has a one" and $S^8$
eight steps. The register after the last byte, all bits flipped, is the checksum.

**Claim** `autograd.crc-four-bytes`. If two arrays of equal size differ, and only within four neighbouring bytes, their
checksums differ.

**Proof.** (1) $S$ loses nothing: the shift leaves the top bit $0$ and $P$ has it set, so the top bit of $S(r)$ is the
bit that fell out; knowing it, undo the flips and the shift. So different registers stay different, with any number of
steps, and with any byte: $r \mapsto S^8(r \oplus b)$ keeps them apart too. (2) $S(r \oplus q) = S(r) \oplus S(q)$:
shifting does not mix bits, and $P$ is applied for $r \oplus q$ if it is for exactly one of the two, and applying it
twice is applying it not at all. (3) For a number $c$ below $2^{24}$, $S^8(2^8 c) = c$: eight zeros fall out. Now let
$b_0, b_1, b_2, b_3$ come in. By (2) and (3)

$$
S^8(r \oplus b_0) \oplus b_1 = S^8(r \oplus b_0) \oplus S^8(2^8 b_1) = S^8(r \oplus b_0 \oplus 2^8 b_1),
$$

and likewise for the other bytes, so after all four the register is $S^{32}(r \oplus m)$ with
$m = b_0 \oplus 2^8 b_1 \oplus 2^{16} b_2 \oplus 2^{24} b_3$, the four bytes side by side. Before the four bytes the
two arrays have the same register, and different $m$, so by (1) they have different registers after them, and by (1)
the equal bytes that follow keep them different. $\blacksquare$

One overwritten number in single precision is therefore found for certain. A change that is spread wider meets one of
$2^{32}$ checksums with no reason to prefer the old one.

## In practice

PyTorch has `torch.autograd.detect_anomaly`, which examines the backward pass and shows the traceback of the forward
step, and JAX has `jax_debug_nans`. Both cost a multiple of the time, as here, and are switched on when something is
wrong. Writes are counted by PyTorch for each storage, which a library that owns its arrays can do; NumPy's arrays
belong to everybody.
"""

import linecache
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import jaxtyping
import numpy as np

from fp_autograd.functional import Tangent, tree_map
from fp_autograd.tensor import Mode, Tensor
from fp_autograd.tracing import Box, Operand, Rule, value_of

__all__ = ["anomaly", "shape_trace", "Trace", "Step"]  # the order of the page

# frames of this package, and of those that may check its types, are not the user's
OURS = tuple(str(Path(file).parent) + os.sep for file in (__file__, jaxtyping.__file__))


class Place(NamedTuple):
    """A line of a program."""

    file: str
    line: int

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f": {self.text}" if self.text else "")


class Kept(NamedTuple):
    """What `anomaly` remembers of an operation: where it was done, and its arrays with their checksums."""

    place: Place
    arrays: list[tuple[str, np.ndarray, int]]


@contextmanager
def anomaly() -> Iterator[None]:
    """
    Watch all operations on tensors, and their derivatives in both modes, until the end of the `with` block.

    Raises
    ------
    FloatingPointError
        At the first operation that makes a NaN or an infinity, or is given a NaN, or whose derivative is one. The
        sentence names the operation and the line that asked for it.
    ValueError
        If an array that `backward` needs was written to since.

    Examples
    --------
    >>> x = Tensor([1.0, 0.0, 4.0], requires_grad=True)
    >>> with anomaly():
    ...     loss = (x.log() * 0.0).sum()
    Traceback (most recent call last):
        ...
    FloatingPointError: log made -inf, first in entry (1,), of numbers from 0 to 4, at ...

    The value may be right and the slope not be there:

    >>> with anomaly():
    ...     length = (x * x)[1].sqrt()
    ...     length.backward()
    Traceback (most recent call last):
        ...
    FloatingPointError: the derivative of sqrt by operand 0 is ...
    """
    kept: dict[int, Kept] = {}  # by identity: equality of tensors is number by number
    before = Mode.made, Mode.returned

    def made(out: Tensor | Tangent, rule: Rule, operands: tuple[Operand, ...]) -> None:
        if before[0] is not None:
            before[0](out, rule, operands)
        place, givens = _place(), [np.asarray(value_of(x)) for x in operands]
        fault = _fault(value_of(out), givens)
        if fault:
            raise FloatingPointError(f"{rule.name} {fault}, at {place}")
        if isinstance(out, Tangent):
            t = value_of(out.tangent)
            if not np.isfinite(t).all():
                raise FloatingPointError(f"the derivative of {rule.name} along the tangents is {_first(t)}, at {place}")
        elif out.requires_grad:
            named = [*((f"operand {i}", x) for i, x in enumerate(givens)), ("the result", value_of(out))]
            kept[id(out)] = Kept(place, [(name, x, _checksum(x)) for name, x in named])
            finalize(out, kept.pop, id(out), None)

    def returned(out: Tensor, rule: Rule, i: int, cotangent: Any) -> None:
        if before[1] is not None:
            before[1](out, rule, i, cotangent)
        record = kept.get(id(out))
        where = f"the operation was done at {record.place}" if record else "the operation was done before the watch"
        for name, x, checksum in record.arrays if record else ():
            if _checksum(x) != checksum:
                raise ValueError(
                    f"{name} of {rule.name}, an array of shape {x.shape}, was written to before backward, which needs "
                    f"the numbers as they were: write into a copy, or later; {where}"
                )
        g = value_of(cotangent)
        if not np.isfinite(g).all():
            raise FloatingPointError(f"the derivative of {rule.name} by operand {i} is {_first(g)}; {where}")

    Mode.made, Mode.returned = made, returned
    try:
        with np.errstate(all="ignore"):  # NumPy's warnings would only repeat it
            yield
    finally:
        Mode.made, Mode.returned = before


class Step(NamedTuple):
    """One operation of a `Trace`."""

    operation: str
    inputs: tuple[tuple[int, ...], ...]
    """Shapes of the operands."""
    output: tuple[int, ...]
    """Shape of the result."""
    dtype: str
    place: Place
    """The line that asked for it: `place.file`, `place.line`, `place.text`."""


class Trace(list[Step]):
    """The operations of a program in order; as a string a table."""

    def __str__(self) -> str:
        rows = [("operation", "shapes", "dtype", "line")]
        for step in self:
            shapes = " ".join(map(str, step.inputs)) + f" -> {step.output}"
            line = f"{Path(step.place.file).name}:{step.place.line}  {step.place.text}"
            rows.append((step.operation, shapes, step.dtype, line))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows)

    def __repr__(self) -> str:
        return f"<trace of {len(self)} operations>"


def shape_trace(f: Callable[..., Any], *args: Any, file: Any = None) -> Trace:
    """
    Call a function and print each operation with its shapes.

    Parameters
    ----------
    f
        From arrays, or nested containers of arrays, to anything.
    args
        Its arguments. Floating-point arrays and numbers reach it as tensors, anything else as it is.
    file
        Where to print, anything with `write`; standard output by default.

    Returns
    -------
    Trace
        A list of `Step`.

    Raises
    ------
    Exception
        Whatever `f` raises, after the operations up to there have been printed.

    Examples
    --------
    >>> def layer(x, parameters):
    ...     return (x @ parameters["w"] + parameters["b"]).tanh()
    >>> trace = shape_trace(layer, np.ones((2, 3)), {"w": np.ones((3, 5)), "b": 0.5})
    operation  shapes                   dtype    line
    matmul     (2, 3) (3, 5) -> (2, 5)  float64  ...:2  return (x @ parameters["w"] + parameters["b"]).tanh()
    add        (2, 5) () -> (2, 5)      float64  ...:2  return (x @ parameters["w"] + parameters["b"]).tanh()
    tanh       (2, 5) -> (2, 5)         float64  ...:2  return (x @ parameters["w"] + parameters["b"]).tanh()
    >>> trace[0].inputs
    ((2, 3), (3, 5))
    """
    trace, before = Trace(), Mode.made

    def made(out: Tensor | Tangent, rule: Rule, operands: tuple[Operand, ...]) -> None:
        if before is not None:
            before(out, rule, operands)
        if not isinstance(out.data, Box):  # else it was done, and seen, on what is in the box
            inputs = tuple(np.shape(value_of(x)) for x in operands)
            trace.append(Step(rule.name, inputs, out.shape, str(out.dtype), _place()))

    Mode.made = made
    try:
        f(*tree_map(_watched, args))
    finally:
        Mode.made = before
        (sys.stdout if file is None else file).write(f"{trace}\n")
    return trace


def _watched(leaf: Any) -> Any:
    floating = isinstance(leaf, float) or (isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind == "f")
    return Tensor(leaf) if floating else leaf


def _place() -> Place:
    """The innermost line on the stack that does not belong to this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((*OURS, "<@beartype")):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


def _fault(value: np.ndarray, givens: list[np.ndarray]) -> str | None:
    """What is wrong with a result, if the operation is the first to blame."""
    if value.dtype.kind != "f" or np.isfinite(value).all():
        return None
    floating = [(i, x) for i, x in enumerate(givens) if x.dtype.kind == "f" and x.size]
    if np.isnan(value).any():
        for i, x in floating:
            if np.isnan(x).any():
                return f"was given {_first(x, np.isnan)}, of operand {i}, which came from outside"
    elif any(np.isinf(x).any() for _, x in floating):
        return None
    ranges = [f"{x.item():.4g}" if x.size == 1 else f"numbers from {x.min():.4g} to {x.max():.4g}" for _, x in floating]
    return f"made {_first(value, np.isnan if np.isnan(value).any() else np.isinf)}, of {' and of '.join(ranges)}"


def _first(x: np.ndarray, bad: Callable[[np.ndarray], Any] = lambda x: ~np.isfinite(x)) -> str:
    """The first bad number of an array, and which entry it is."""
    entry = tuple(int(i) for i in np.argwhere(bad(x))[0])
    return f"{x[entry]}" + (f", first in entry {entry}" if entry else "")


def _checksum(x: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(x).tobytes())
