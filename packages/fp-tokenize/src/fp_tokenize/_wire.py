"""
The two binary layouts that carry vocabularies: GGUF's key-value table, and Protocol Buffers.

Both say how long each part is before the part itself. A length is believed only if the file has that many bytes left,
so that time and memory are bounded by the size of the file. The `gguf` package is not used: it believes the counts, and
takes two seconds for a table of 100,000 strings. Neither is `sentencepiece`: it does not show the settings of a model's
normaliser.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
SUPPORTED = (2, 3)  # versions of GGUF


class GGUF:
    """
    The key-value table at the head of a GGUF file; its tensors are not read.

    Strings stay bytes until `text` is asked: other entries of the table may hold anything.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        """Read the entries whose key begins with `prefix`."""
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ValueError("it is no GGUF file: it does not begin with the letters GGUF")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                self._data, self._at = data, 4
                try:
                    self.entries = self._table(prefix.encode())
                finally:
                    del self._data

    def _table(self, prefix: bytes) -> dict[str, Any]:
        version = self._scalar("I")
        if version not in SUPPORTED:
            raise ValueError(
                f"it is GGUF of version {version}, and only {SUPPORTED[0]} and {SUPPORTED[1]}, little-endian, are read"
            )
        self._scalar("Q")  # number of tensors
        count = self._count("its table", "Q", 13)  # a key's length, a type, and one byte of value
        entries: dict[str, Any] = {}
        for _ in range(count):
            key = self._string("a key")
            where = shown_key(key)
            kind = self._scalar("I")
            wanted = key.startswith(prefix)
            value = self._value(kind, where, wanted)
            if wanted:
                if where in entries:
                    raise ValueError(f"{where} occurs twice")
                entries[where] = value
        return entries

    def _value(self, kind: int, where: str, wanted: bool) -> Any:
        if kind in SCALARS:
            return self._scalar(SCALARS[kind])
        if kind == STRING:
            return self._string(where)
        if kind != ARRAY:
            raise ValueError(f"{where} has type {kind}, which GGUF does not know")
        kind = self._scalar("I")
        if kind in SCALARS:
            code = SCALARS[kind]
            count = self._count(where, "Q", struct.calcsize(code))
            part = self._take(count * struct.calcsize(code))
            return list(struct.unpack(f"<{count}{code}", part)) if wanted else []
        if kind != STRING:
            raise ValueError(f"{where} is a list of type {kind}; only lists of numbers and strings are read")
        strings = (self._string(where) for _ in range(self._count(where, "Q", 8)))
        if wanted:
            return list(strings)
        for _ in strings:
            pass
        return []

    def _scalar(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}")))[0]

    def _count(self, where: str, code: str, smallest: int) -> int:
        """A number of members, each of at least `smallest` bytes."""
        count: int = self._scalar(code)
        left = len(self._data) - self._at
        if count * smallest > left:
            raise ValueError(f"{where} claims {count} members, and the file has only {left} bytes left. Is it cut off?")
        return count

    def _string(self, where: str) -> bytes:
        return self._take(self._count(where, "Q", 1))

    def _take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data)}, within its table. Is it cut off?")
        return self._data[start : self._at]


def shown_key(key: bytes) -> str:
    """A key as text."""
    return key[:80].decode("utf-8", "backslashreplace")


VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def message(data: bytes, where: str) -> Iterator[tuple[int, int | bytes]]:
    """
    The fields of a Protocol Buffers message: number, and value as a whole number or the bytes that hold it.

    A varint is base 128, least digit first, with the top bit set on all bytes but the last.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at, where)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(data, at, where)
            yield number, value
            continue
        if kind == BYTES:
            size, at = _varint(data, at, where)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"{where} has a field of kind {kind} at byte {at}, which this layout does not have")
        if size > len(data) - at:
            raise ValueError(
                f"{where} claims a field of {size} bytes at byte {at} of {len(data)}. Is the file cut off, or another "
                "kind of file?"
            )
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int, where: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError(f"{where} has a number without end at byte {at} of {len(data)}. Is the file cut off?")
