"""What all optimizers ask of named arrays, and the pieces in which they work through them."""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

CHUNK = 32768
"""Numbers per piece: the scratch and four pieces in float32 are 640 KiB, which stay in a core's second-level cache."""


def check_parameters(parameters: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that cannot be updated in place, or that share memory, by name."""
    if not parameters:
        raise ValueError("an optimizer needs at least one parameter, got none")
    for name, array in parameters.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"parameter {name} must be a NumPy array, as a tensor's data is, got {type(array).__name__}"
            )
        if array.dtype.kind != "f":
            raise ValueError(f"parameter {name} must be of floating-point numbers, got {array.dtype}")
        if not array.flags.writeable:
            raise ValueError(f"parameter {name} is updated in place and must be writeable; pass a copy of it")
        if not array.flags.c_contiguous:
            raise ValueError(
                f"parameter {name} must be contiguous in memory, as np.ascontiguousarray makes it; "
                f"got shape {array.shape} with strides {array.strides}"
            )
    where = sorted((array.ctypes.data, array.nbytes, name) for name, array in parameters.items() if array.size)
    for (start, length, one), (following, _, other) in pairwise(where):
        if following < start + length:
            raise ValueError(
                f"parameters {one} and {other} share memory and would be moved twice; give an array that is used in "
                "two places once, with the sum of its gradients"
            )


def check_gradients(
    parameters: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray], check_finite: bool = False
) -> None:
    """Refuse gradients that are missing, unexpected, no real array, misshapen or, if asked, not finite; all listed."""
    problems = [f"missing: {name}" for name in parameters if grads.get(name) is None]
    problems += [f"unexpected: {name}" for name in grads if name not in parameters]
    problems += [
        f"not an array of real numbers: {name}, got {_kind(g)}"
        for name, g in grads.items()
        if g is not None and not _is_real(g)
    ]
    problems += [
        f"misshapen: {name} must be {parameters[name].shape}, got {g.shape}"
        for name, g in grads.items()
        if name in parameters and _is_real(g) and g.shape != parameters[name].shape
    ]
    if check_finite:
        problems += [
            f"not finite: {name}" for name, g in grads.items() if _is_real(g) and not math.isfinite(largest(g))
        ]
    if problems:
        raise ValueError(
            "there must be one finite gradient per parameter, of its shape, but\n  " + "\n  ".join(problems)
        )


def _is_real(g: object) -> bool:
    return isinstance(g, np.ndarray) and g.dtype.kind in "fiu"


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__


def check_rate(lr: float | int) -> None:
    if not (lr >= 0 and math.isfinite(lr)):
        raise ValueError(f"the learning rate must be finite and not negative, got {lr}")


def check_not_negative(value: float | int, name: str) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and not negative, got {value}")


def largest(array: np.ndarray) -> float:
    """The largest absolute value, without a copy; NaN if there is one, 0 for an empty array."""
    return float(np.maximum(array.max(initial=0.0), -array.min(initial=0.0))) + 0.0  # -0.0 + 0.0 is 0.0


def pieces(*arrays: np.ndarray, size: int = CHUNK, first: int = 0, every: int = 1) -> Iterator[tuple[np.ndarray, ...]]:
    """
    Arrays of one size, in matching flat pieces of at most `size` numbers: all, or each `every`th from `first` on.

    A long chain of elementwise operations reads and writes memory once per link if it is done array by array, and once
    per chain if it is done piece by piece, because a piece stays in the cache.
    """
    flat = [array.reshape(-1) for array in arrays]
    for start in range(first * size, flat[0].size, every * size):
        yield tuple(array[start : start + size] for array in flat)


def joined(arrays: list[np.ndarray]) -> np.ndarray | None:
    """One flat view of arrays that lie side by side in one buffer, in this order; None if they do not."""
    first, *others = arrays
    if not others:
        return first.reshape(-1)
    base = first.base
    if not isinstance(base, np.ndarray) or not base.flags.c_contiguous or base.dtype != first.dtype:
        return None
    end = first.__array_interface__["data"][0]
    start = (end - base.__array_interface__["data"][0]) // base.itemsize
    for array in arrays:
        if array.base is not base or array.dtype != base.dtype or not array.flags.c_contiguous:
            return None
        if array.__array_interface__["data"][0] != end:
            return None
        end += array.nbytes
    return base.reshape(-1)[start : start + sum(array.size for array in arrays)]


def copy_state(expected: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
    """Copy a loaded state into the arrays of an optimizer, after checking that it is one of its own."""
    problems = [f"missing: {name}" for name in expected if name not in state]
    problems += [f"unexpected: {name}" for name in state if name not in expected]
    for name, array in expected.items():
        if name not in state:
            continue
        found = state[name]
        if not isinstance(found, np.ndarray) or not np.can_cast(found.dtype, array.dtype, "same_kind"):
            problems.append(f"not an array of {array.dtype}: {name}, got {_kind(found)}")
        elif found.shape != array.shape:
            problems.append(f"misshapen: {name} must be {array.shape}, got {found.shape}")
        elif array.dtype.kind == "i" and found < 0:
            problems.append(f"a count below zero: {name}, got {found}")
    if problems:
        raise ValueError(
            "the state must be that of an optimizer of the same parameters, but\n  " + "\n  ".join(problems)
        )
    for name, array in expected.items():
        np.copyto(array, state[name], casting="same_kind")
