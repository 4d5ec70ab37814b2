r"""
Memory that is used again: the tape of a step is a stack.

A training step makes hundreds of arrays and forgets them all. Asked for anew in every step, each large one costs more
than the arithmetic on it: the operating system hands out fresh pages, filled with zeros, at the first touch of each
4,096 bytes, and takes them back when the array is forgotten. A step asks for the same arrays in the same order as the
step before, so one buffer, cut up once, serves all steps.

You need: `fp_capstone.block`'s idea of a **tape**, the arrays that the backward pass will read.

## A stack is enough

Let the forward pass of block $l$ make its tape $t_l$, and scratch that nobody reads after the block. The backward pass
reads $t_L$ first and $t_1$ last. So memory can be handed out from the bottom up and taken back from the top down: no
free list, no search, no fragmentation. An **arena** is a stretch of memory with one number, the height `top`; `empty`
cuts an array at the top, `mark` reads the height, and `release` sets it back, which takes back everything above at
once.

**Claim** `capstone.arena-disjoint`. If every array is used only until a `release` goes below its end, then no two
arrays that are in use share memory.

**Proof.** Write $[a, b)$ for the bytes of an array; $b$ is at most the height right after it was cut. Let $A$ be in
use, and let $B$ be cut later, at height $a'$. In between no `release` went below $b$, or $A$ would no longer be in use.
The height changes otherwise only by cutting, which raises it. So it has not been below $b$ since $A$ was cut, hence
$a' \ge b$, and $[a', b')$ begins where $[a, b)$ has ended or later. $\blacksquare$

**Claim** `capstone.arena-peak`. Let block $l$ keep $t_l$ bytes and use at most $s_l$ bytes of scratch at once in its
forward pass and $s'_l$ in its backward pass. Run with the tape kept to the end of the step, the height never exceeds
$\sum_l t_l + \max_l \max(s_l, s'_l)$ beyond what lies below the blocks; and it reaches $\sum_l t_l + s'_L$.

**Proof.** When the forward pass of block $l$ runs, $t_1, \dots, t_{l-1}$ lie below, its own tape is at most $t_l$, and
at most $s_l$ bytes of scratch lie above, the scratch of the blocks before having been released. In the backward pass of
block $l$ all tapes lie below and at most $s'_l$ bytes above. Both are at most the stated sum, and the backward pass of
the last block attains the last one. $\blacksquare$

So scratch costs one block's worth and not $L$ of them, and what a step needs is nearly all tape. That is what
recomputation attacks (`fp_capstone.recomputation`).

## In practice

The buffer grows as it is first used, by pieces that are not moved; pages that no array has touched cost nothing. From
the second step of a shape on nothing is asked for. Views are kept in a dictionary under (height, shape, type): to find
one is as fast as `numpy.empty`, to cut one takes several times as long.

PyTorch keeps a cache of freed blocks by size; XLA plans one buffer for a whole compiled step, as here; llm.c allocates
all activations once.
"""

from typing import Protocol, runtime_checkable

import numpy as np

__all__ = ["Memory", "Heap", "HEAP", "Arena"]  # the order of the page

FIRST = 2**20  # bytes of the first buffer
LINE = 64  # bytes that the processor moves at once
PIECE = 2**16  # numbers: a few arrays of as many fit into a core's cache


@runtime_checkable
class Memory(Protocol):
    """Where the functions of this package take new arrays from."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of this shape and type with anything in it."""
        ...

    def mark(self) -> int:
        """The height now."""
        ...

    def release(self, mark: int) -> None:
        """Take back all arrays that were handed out since the height was `mark`."""
        ...


class Heap:
    """Ordinary memory: every array is new, and Python frees it."""

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """`numpy.empty`."""
        return np.empty(shape, dtype)

    def mark(self) -> int:
        """Zero: there is no height."""
        return 0

    def release(self, mark: int) -> None:
        """Nothing."""


HEAP = Heap()
"""The default everywhere."""


class Arena:
    """
    Memory that is handed out from the bottom up (`capstone.arena-disjoint`). For one thread.

    Attributes
    ----------
    peak : int
        The greatest height so far, in bytes.

    Examples
    --------
    >>> arena = Arena()
    >>> def step():
    ...     kept = arena.empty((3, 4), np.dtype("float32"))
    ...     mark = arena.mark()
    ...     scratch = arena.empty((5,), np.dtype("float32"))
    ...     arena.release(mark)
    ...     other = arena.empty((5,), np.dtype("float32"))
    ...     arena.release(0)
    ...     return kept, scratch, other
    >>> first, second = step(), step()
    >>> first[0] is second[0], second[1] is second[2], np.may_share_memory(second[0], second[1])
    (True, True, False)
    """

    def __init__(self) -> None:
        self._buffers: list[tuple[int, np.ndarray]] = []  # where each begins, as a height, and its bytes
        self._views: dict[tuple[int, tuple[int, ...], np.dtype], tuple[np.ndarray, int]] = {}
        self._top = 0
        self.peak = 0

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """
        An array with anything in it, at the top.

        Parameters
        ----------
        shape, dtype
            Of the array.

        Returns
        -------
        ndarray
            Valid until a `release` to a height at or below the one before this call.
        """
        key = (self._top, shape, dtype)
        found = self._views.get(key)
        if found is None:
            found = self._cut(key)
        array, self._top = found
        return array

    def mark(self) -> int:
        """The height now, in bytes."""
        return self._top

    def release(self, mark: int) -> None:
        """
        Set the height back.

        Parameters
        ----------
        mark
            An earlier height. Zero ends a step.
        """
        self._top = mark

    def _cut(self, key: tuple[int, tuple[int, ...], np.dtype]) -> tuple[np.ndarray, int]:
        top, shape, dtype = key
        size = int(np.prod(shape)) * dtype.itemsize
        whole = -(-size // LINE) * LINE
        for begin, buffer in self._buffers:
            at = max(top, begin)
            if at + whole <= begin + buffer.size:
                break
        else:  # none has room above the height: an eighth more, or what is asked for
            begin = at = sum(buffer.size for _, buffer in self._buffers)
            size_of_buffer = max(whole, begin // 8, FIRST)
            unaligned = np.empty(size_of_buffer + LINE, np.uint8)
            buffer = unaligned[-unaligned.ctypes.data % LINE :][:size_of_buffer]
            self._buffers.append((begin, buffer))
        if len(self._views) > 100_000:  # of steps of ever new shapes
            self._views.clear()
        array = buffer[at - begin : at - begin + size].view(dtype).reshape(shape)
        self._views[key] = array, at + whole
        self.peak = max(self.peak, at + whole)
        return self._views[key]
