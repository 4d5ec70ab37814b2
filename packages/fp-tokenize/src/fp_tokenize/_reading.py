"""Values out of files that nobody vouches for: what is not as it should be is refused with its place in the file."""

import json
import math
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EMPTY: tuple[Any, ...] = (None, False, "", [], {})  # what every reader takes for an absent key
MAX_GAP = 1 << 16  # ids that a vocabulary may leave out


def read_json(path: Path) -> Any:
    """A file's JSON, strictly: no key twice in an object, no numbers beyond 64-bit floats, no `NaN`."""
    try:
        return json.loads(
            path.read_bytes().decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_float,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}. Is it cut off, or another kind of file?") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} occurs twice in one object")
    return result


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond the range of numbers")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def shown(value: object) -> str:
    """A value for an error message: on one line, not long."""
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlist = _SHORT.maxdict = 3


class Part:
    """
    A value and the path that leads to it in its file.

    The fields of an object are taken out one by one; `done` then refuses what nobody asked for.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        self.value, self.path = value, path
        self._taken: set[str] = set()

    def refusal(self, why: str) -> ValueError:
        """The error that this part is not as it should be."""
        return ValueError(f"{self.path or 'it'} {why}")

    def fields(self) -> "Part":
        """Itself, if it is an object."""
        if not isinstance(self.value, dict):
            raise self.refusal(f"should be an object with named fields, and is {shown(self.value)}")
        return self

    def listed(self) -> list[Any]:
        """Its value, if it is a list."""
        if not isinstance(self.value, list):
            raise self.refusal(f"should be a list, and is {shown(self.value)}")
        return self.value

    def items(self) -> "Iterator[Part]":
        """The members of a list."""
        return (Part(value, f"{self.path}[{i}]") for i, value in enumerate(self.listed()))

    def members(self, key: str) -> "Iterator[Part]":
        """The members of a field that is a list, or absent."""
        part = self.part(key)
        return iter(()) if part.value is None else part.items()

    def part(self, key: str) -> "Part":
        """A field; one that is absent has the value `None`."""
        self._taken.add(key)
        return Part(self.fields().value.get(key), f"{self.path}.{key}".lstrip("."))

    def text(self, key: str | None = None, default: str | None = None) -> str:
        """A string without lone surrogates: this part, or one of its fields."""
        part = self if key is None else self.part(key)
        if part.value is None and default is not None:
            return default
        if not isinstance(part.value, str):
            raise part.refusal(f"should be a string, and is {shown(part.value)}")
        try:
            part.value.encode()
        except UnicodeEncodeError:
            raise part.refusal(f"should be text, and has a lone surrogate: {shown(part.value)}") from None
        return part.value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """A field that is true or false."""
        part = self.part(key)
        if part.value is None and default is not None:
            return default
        if not isinstance(part.value, bool):
            raise part.refusal(f"should be true or false, and is {shown(part.value)}")
        return part.value

    def integer(self, key: str | None = None, default: int | None = None) -> int:
        """A whole number from 0 to 2^31 - 1: this part, or one of its fields."""
        part = self if key is None else self.part(key)
        if part.value is None and default is not None:
            return default
        if not isinstance(part.value, int) or isinstance(part.value, bool) or not 0 <= part.value < 1 << 31:
            raise part.refusal(f"should be a whole number from 0 to 2^31 - 1, and is {shown(part.value)}")
        return part.value

    def number(self) -> float:
        """A finite number."""
        if not isinstance(self.value, int | float) or isinstance(self.value, bool) or abs(self.value) > 1e30:
            raise self.refusal(f"should be a number, and is {shown(self.value)}")
        return float(self.value)

    def done(self) -> None:
        """Refuse fields that were not taken, unless they are null, false or empty."""
        for key, value in self.fields().value.items():
            if key not in self._taken and not any(value is e or value == e for e in EMPTY if type(value) is type(e)):
                raise Part(value, f"{self.path}.{key}".lstrip(".")).refusal(
                    f"is {shown(value)}, which is not understood here"
                )

    def vocabulary(self) -> dict[str, int]:
        """An object of names and ids: ids of their own, with few gaps."""
        if not isinstance(self.value, dict) or not self.value:
            raise self.refusal(f"should be an object of names and ids, and is {shown(self.value)}")
        vocabulary: dict[str, int] = self.value
        check_names(vocabulary, self.path)
        for name, token_id in vocabulary.items():
            if type(token_id) is not int or token_id < 0:
                raise self.refusal(f"should give ids, whole numbers from 0, and gives {shown(name)} {shown(token_id)}")
        if len(set(vocabulary.values())) < len(vocabulary):
            holder: dict[int, str] = {}
            one = next(name for name, i in vocabulary.items() if holder.setdefault(i, name) != name)
            raise self.refusal(
                f"gives one id to two tokens: {shown(holder[vocabulary[one]])} and {shown(one)} are both "
                f"{vocabulary[one]}"
            )
        largest = max(vocabulary, key=vocabulary.__getitem__)
        if vocabulary[largest] - len(vocabulary) >= MAX_GAP:
            raise self.refusal(
                f"should number its {len(vocabulary)} tokens with at most {MAX_GAP} gaps, and gives {shown(largest)} "
                f"the id {shown(vocabulary[largest])}"
            )
        return vocabulary


def check_names(names: Any, path: str) -> None:
    """`ValueError` if a token's name has a lone surrogate."""
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        for name in names:
            Part(name, f"a name in {path}").text()
