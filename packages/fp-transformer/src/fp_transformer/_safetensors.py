"""
The reader of safetensors files: their bytes mapped, and nothing believed before it has been checked.

`fp_transformer.checkpoint` says what is checked, and why. `Unsound` carries what is wrong with a file; `readable` makes
of it an error that names the file.
"""

import json
import math
import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt16

__all__ = [
    "NUMPY",
    "Entry",
    "Stored",
    "Unsound",
    "map_file",
    "open_file",
    "read_object",
    "readable",
    "readable_but_absent",
    "widen_bfloat16",
]

NUMPY = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BOOL": np.bool_,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
}  # fmt: skip
_HEADER = 100_000_000  # the most bytes that a header may have, as for the safetensors library


class Stored(Mapping[str, np.ndarray]):
    """
    Arrays in files by name. Each is fetched when it is asked for, and not kept.

    Those of float32, float16 and the other types of NumPy are read-only views of a mapped file; what has to be
    converted, such as bfloat16, becomes a new array.

    Attributes
    ----------
    shapes : dict
        Name to shape, known without fetching.
    types : dict
        Name to the type under which it is stored, such as `"BF16"`.
    """

    def __init__(self, entries: Mapping[str, "Entry"]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._entries[name].fetch()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self._entries.items()}

    @property
    def types(self) -> dict[str, str]:
        return {name: entry.type for name, entry in self._entries.items()}

    def renamed(self, names: Mapping[str, str]) -> "Stored":
        """Some of the arrays under other names: new name to old."""
        return Stored({new: self._entries[old] for new, old in names.items()})


class Entry(NamedTuple):
    """One array of `Stored`."""

    type: str
    shape: tuple[int, ...]
    fetch: Callable[[], np.ndarray]


def widen_bfloat16(bits: UInt16[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """
    The float32 of the same value (`transformer.bf16-exact`).

    Parameters
    ----------
    bits
        The 16 bits of each bfloat16, as an unsigned integer.

    Examples
    --------
    >>> widen_bfloat16(np.array([0x3F80, 0xC049], dtype=np.uint16)).tolist()
    [1.0, -3.140625]
    """
    return (bits.astype(np.uint32) << 16).view(np.float32)


@contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Say which file it is, and what may be wrong with it, when it cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; a model directory holds config.json and model.safetensors") from None
    except (Unsound, OSError) as error:
        why = f"it {error}" if isinstance(error, Unsound) else str(error)
        raise ValueError(f"{path} cannot be read, it is truncated or not a safetensors file: {why}") from error


class Unsound(Exception):
    """What is wrong with a file."""


def map_file(path: Path) -> mmap.mmap | bytes:
    """A file's bytes, mapped."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Unsound("is no regular file")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if found.st_size else b""
    finally:
        os.close(descriptor)


def open_file(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The arrays and the strings of a safetensors file."""
    data = map_file(path)
    if len(data) < 8:
        raise Unsound(f"has {len(data)} bytes, and the length of its header takes 8")
    n = int.from_bytes(data[:8], "little")
    if n > min(len(data) - 8, _HEADER):
        raise Unsound(f"claims a header of {n} bytes, and {min(len(data) - 8, _HEADER)} are possible")
    try:
        header = _parse(data[8 : 8 + n])
    except Unsound as error:
        raise Unsound(f"has a header that {error}") from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Unsound("has a __metadata__ that is not strings by name")
    entries, places = {}, []
    for name, record in header.items():
        kind, shape, begin, end = _record(name, record)
        if kind != "BF16" and kind not in NUMPY:
            raise ValueError(f"{path}: {name} has type {kind}, which NumPy cannot hold")
        size = math.prod(shape) * (2 if kind == "BF16" else np.dtype(NUMPY[kind]).itemsize)
        if end - begin != size:
            raise Unsound(f"gives {name} {end - begin} bytes, and the shape {list(shape)} of {kind} takes {size}")
        places.append((begin, end, name))
        entries[name] = Entry(kind, shape, _fetcher(data, 8 + n + begin, kind, shape))
    at = 0
    for begin, end, name in sorted(places):
        if begin != at:
            raise Unsound(f"lets {name} begin at {begin}, and what stands before it ends at {at}")
        at = end
    if at != len(data) - 8 - n:
        raise Unsound(f"has {len(data) - 8 - n} bytes for arrays that take {at}")
    return entries, metadata


def _record(name: str, record: Any) -> tuple[str, tuple[int, ...], int, int]:
    """What a header says of one array."""
    try:
        kind, shape, (begin, end) = record["dtype"], record["shape"], record["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise Unsound(f"gives {name} no dtype, shape and two data_offsets") from None
    if not isinstance(kind, str) or not isinstance(shape, list):
        raise Unsound(f"gives {name} a dtype that is no string or a shape that is no list")
    if not all(type(x) is int and 0 <= x < 1 << 62 for x in (*shape, begin, end)) or len(shape) > 32:
        raise Unsound(f"gives {name} sizes or offsets that are not from 0 to 2^62, or more than 32 axes")
    return kind, tuple(shape), begin, end


def _fetcher(data: mmap.mmap | bytes, at: int, kind: str, shape: tuple[int, ...]) -> Callable[[], np.ndarray]:
    def fetch() -> np.ndarray:
        flat = np.frombuffer(data, "<u2" if kind == "BF16" else NUMPY[kind], math.prod(shape), at)
        return (widen_bfloat16(flat) if kind == "BF16" else flat).reshape(shape)

    return fetch


def _parse(data: bytes) -> dict[str, Any]:
    """A JSON object in which no key stands twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a name stands twice in one object")
        return found

    try:
        parsed = json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Unsound(f"is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise Unsound(f"must hold an object, got a {type(parsed).__name__}")
    return parsed


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; `FileNotFoundError` if there is none."""
    try:
        return _parse(bytes(map_file(path)))
    except Unsound as error:
        raise ValueError(f"{path} {error}") from error
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(str(path)) from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


@contextmanager
def readable_but_absent(path: Path) -> Iterator[None]:
    """As `readable`, but that a file is absent is for the caller to judge."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (Unsound, OSError):
        with readable(path):
            raise
