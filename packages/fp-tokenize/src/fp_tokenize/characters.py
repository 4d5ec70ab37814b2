r"""
Characters and bytes: the two tokenizers that need no training to speak of.

What is the smallest piece of text? This section gives the two natural answers and shows what each guarantees: one
token a character, which is what people see, and one token a byte, which is what computers store. Everything that the
chapter adds later, subwords above all, is built between these two.

You need: binary numbers.

## Characters

Unicode numbers its characters: **code points** from 0 to 1,114,111 (written U+0000 to U+10FFFF), of which the 2,048
surrogates are set aside. A Python string is a sequence of code points. A model cannot afford a row of its embedding
for each of the million, and most never occur. So the vocabulary is the **alphabet**: the distinct characters of the
training text, in order of code point, with ids from 1. Id 0 is `<unk>`: it stands for whatever is not in the alphabet,
and its text is lost; decoding writes U+FFFD, Unicode's replacement character, in its place.

**Claim** `tokenize.chars-round-trip`. Let $A$ be the alphabet. `decode(encode(s)) == s` if and only if every character
of $s$ is in $A$ or is U+FFFD itself.

**Proof.** Both functions work character by character: `encode` gives one id for each character of $s$, `decode` one
character for each id, in order. So the round trip holds for $s$ if and only if it does for each of its characters $c$.
If $c \in A$, its id is its position in the sorted alphabet plus one; distinct characters have distinct positions, so
`decode` returns $c$. If $c \notin A$, its id is $0$ and `decode` returns U+FFFD, which equals $c$ only if $c$ is
U+FFFD. $\blacksquare$

## Bytes

UTF-8 writes a code point $u$ in one to four bytes. The bits of $u$ fill the places marked x, most significant first:

| code points | bytes | bits |
| --- | --- | --- |
| U+0000 to U+007F | `0xxxxxxx` | 7 |
| U+0080 to U+07FF | `110xxxxx 10xxxxxx` | 11 |
| U+0800 to U+FFFF | `1110xxxx 10xxxxxx 10xxxxxx` | 16 |
| U+10000 to U+10FFFF | `11110xxx 10xxxxxx 10xxxxxx 10xxxxxx` | 21 |

A vocabulary of the 256 byte values, each its own id, thus reaches every text of every language with nothing unknown:

**Claim** `tokenize.bytes-round-trip`. For byte ids, `decode(encode(s)) == s` for every string $s$ without lone
surrogates.

**Proof.** The largest code points of the rows, $127 < 2^7$, $2047 < 2^{11}$, $65535 < 2^{16}$ and $1114111 < 2^{21}$,
fit their bits, so each code point has its byte sequence. Reading is unique: the first byte begins with `0`, `110`,
`1110` or `11110`, no two of which can be confused, and so tells the row and the number of bytes; the bits at the
places x, put together, are $u$. Hence one character is read back from the front of any sequence that `encode` has
made, the rest is the sequence of the remaining characters, and by induction on their number all of $s$ is read back.
$\blacksquare$

The converse fails: most byte sequences are no text. `10xxxxxx` cannot begin a character, and a model that emits bytes
can stop in the middle of one. `decode` therefore replaces what it cannot read with U+FFFD, unless told otherwise.

Bytes cost length. English has one byte a character, Russian and Greek two, Chinese and Japanese three:

>>> [len(ByteTokenizer().encode(word)) / len(word) for word in ("language", "язык", "言語")]
[1.0, 2.0, 3.0]

## Names for bytes

A vocabulary file is text, and bytes such as 0 or 10 cannot be seen in it, or would break it. So byte $b$ is **named**
by one printable character. GPT-2's convention, which all byte-level files follow: the 188 bytes that are printable and
not a space in Latin-1 (33 to 126, 161 to 172, 174 to 255) are named by the character of the same number; the other 68,
in order, by U+0100, U+0101 and so on. A space (32) is `Ġ`, a newline (10) is `Ċ`.

**Claim** `tokenize.byte-alphabet`. The 256 names are different characters, none of them a space, a control or a
combining mark; so names and bytes determine each other.

**Proof.** The first kind are distinct numbers below 256, the second kind 68 distinct numbers from 256 to 323, so no
two agree. By Unicode's tables the first kind are visible characters and U+0100 to U+0143 are letters of Latin
Extended-A. $\blacksquare$

## In practice

A model on characters learns spelling from little text and reads about four times as many tokens as one on subwords;
a model on bytes needs no vocabulary at all and never meets an unknown symbol. Byte-level BPE (stage 7's main subject)
keeps the bytes' guarantee and wins the length back.
"""

import os
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int32, Integer

from fp_tokenize.protocol import Ids

__all__ = ["CharTokenizer", "ByteTokenizer", "byte_alphabet"]  # the order of the page

UNKNOWN = "<unk>"
REPLACEMENT = "\ufffd"


class CharTokenizer:
    """
    One token a character.

    Parameters
    ----------
    alphabet
        The characters of the vocabulary, in any order; repetitions do no harm.

    Raises
    ------
    ValueError
        If the alphabet is empty, or a member is not one character, or is a lone surrogate.

    Examples
    --------
    >>> tokenizer = CharTokenizer.train(["hello", "world"])
    >>> tokenizer.alphabet, tokenizer.vocab_size
    ('dehlorw', 8)
    >>> tokenizer.encode("old"), tokenizer.decode(tokenizer.encode("older?"))
    ([5, 4, 1], 'older\ufffd')
    """

    def __init__(self, alphabet: Iterable[str]) -> None:
        characters = set(alphabet)
        if not characters:
            raise ValueError("a character tokenizer needs at least one character, got an empty alphabet")
        for character in characters:
            if len(character) != 1:
                raise ValueError(f"an alphabet consists of single characters, got {character!r}")
        self.alphabet = "".join(sorted(characters))
        points = _code_points(self.alphabet)
        # id -> code point, with the replacement for <unk>; code point -> id, where the last entry stands for all above
        self._points = np.concatenate((np.array([ord(REPLACEMENT)], "<u4"), points))
        self._ids = np.zeros(int(points[-1]) + 2, np.int32)
        self._ids[points] = np.arange(1, len(points) + 1)

    @classmethod
    def train(cls, texts: Iterable[str]) -> "CharTokenizer":
        """
        The tokenizer whose alphabet is the set of characters of some texts.

        Parameters
        ----------
        texts
            Any number of texts; read once, one at a time.

        Raises
        ------
        ValueError
            If there is no character in them, or a lone surrogate.
        """
        characters: set[str] = set()
        for text in texts:
            characters.update(text)
        if not characters:
            raise ValueError("training needs at least one character, got empty text")
        return cls(characters)

    @property
    def vocab_size(self) -> int:
        """Size of the alphabet, plus one for `<unk>`."""
        return len(self._points)

    def encode(self, text: str) -> list[int]:
        """The ids of a text: 0 for characters outside the alphabet. `ValueError` for lone surrogates."""
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> Int32[np.ndarray, " T"]:
        """The same ids as an array, one lookup for the whole text."""
        return self._ids[np.minimum(_code_points(text), len(self._ids) - 1)]

    def decode(self, ids: Ids, errors: str = "replace") -> str:
        """
        The text of some ids.

        Parameters
        ----------
        ids
            Token ids.
        errors
            What `<unk>` becomes: `"replace"` U+FFFD, `"ignore"` nothing, `"strict"` an error.

        Raises
        ------
        ValueError
            If an id lies outside the vocabulary, or is `<unk>` under `"strict"`.
        """
        _check_errors(errors)
        ids = _as_ids(ids, self.vocab_size)
        if errors != "replace" and not ids.all():
            if errors == "strict":
                raise ValueError(
                    f"id 0 at position {int((ids == 0).argmax())} is {UNKNOWN}, whose character is lost. "
                    "Decode with errors='replace' to write U+FFFD for it."
                )
            ids = ids[ids != 0]
        return self._points[ids].tobytes().decode("utf-32-le")

    def token_to_id(self, token: str) -> int | None:
        """The id of a character of the alphabet, or of `<unk>`; `None` for everything else."""
        if token == UNKNOWN:
            return 0
        position = self.alphabet.find(token) if len(token) == 1 else -1
        return position + 1 if position >= 0 else None

    def id_to_bytes(self, token_id: int) -> bytes:
        """A character in UTF-8; for `<unk>`, U+FFFD. `ValueError` outside the vocabulary."""
        return chr(self._points[_as_ids([token_id], self.vocab_size)[0]]).encode()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json`; see `fp_tokenize.interchange.save`."""
        from fp_tokenize import interchange  # here, because it imports this section

        interchange.save(self, path)

    def __repr__(self) -> str:
        return f"CharTokenizer({self.alphabet!r})"


class ByteTokenizer:
    """
    One token a byte of UTF-8; the id is the byte's value.

    Examples
    --------
    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode("né"), tokenizer.decode([110, 195, 169])
    ([110, 195, 169], 'né')
    >>> tokenizer.token_to_id("Ġ"), tokenizer.id_to_bytes(32)
    (32, b' ')
    """

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        """The bytes of a text. `ValueError` for lone surrogates."""
        return list(_encoded(text, "utf-8"))

    def encode_array(self, text: str) -> Int32[np.ndarray, " T"]:
        """The same ids as an array."""
        return np.frombuffer(_encoded(text, "utf-8"), np.uint8).astype(np.int32)

    def decode(self, ids: Ids, errors: str = "replace") -> str:
        """
        The text of some ids.

        Parameters
        ----------
        ids
            Token ids.
        errors
            What bytes that are no UTF-8 become: `"replace"` U+FFFD, `"ignore"` nothing, `"strict"` an error.

        Raises
        ------
        ValueError
            If an id lies outside [0, 256), or under `"strict"` if the bytes are no UTF-8.
        """
        _check_errors(errors)
        data = _as_ids(ids, self.vocab_size).astype(np.uint8).tobytes()
        try:
            return data.decode("utf-8", errors)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"the ids are no UTF-8: byte {data[error.start]:#04x} at position {error.start}, {error.reason}. "
                "Decode with errors='replace' to write U+FFFD for it."
            ) from None

    def token_to_id(self, token: str) -> int | None:
        """The byte that a character of `byte_alphabet` names; `None` for everything else."""
        position = byte_alphabet().find(token) if len(token) == 1 else -1
        return position if position >= 0 else None

    def id_to_bytes(self, token_id: int) -> bytes:
        """The byte itself. `ValueError` outside [0, 256)."""
        return bytes(_as_ids([token_id], self.vocab_size).tolist())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json`; see `fp_tokenize.interchange.save`."""
        from fp_tokenize import interchange  # here, because it imports this section

        interchange.save(self, path)

    def __repr__(self) -> str:
        return "ByteTokenizer()"


def byte_alphabet() -> str:
    """
    The names of the 256 bytes: the character at index `b` names byte `b` (`tokenize.byte-alphabet`).

    Examples
    --------
    >>> names = byte_alphabet()
    >>> names[97], names[32], names[10], len(set(names))
    ('a', 'Ġ', 'Ċ', 256)
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 256 + 68))
    return "".join(chr(b if b in printable else next(others)) for b in range(256))


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text must be free of lone surrogates, got U+{ord(text[error.start]):04X} at position {error.start}. They "
            "come from broken input; read it again with errors='replace'."
        ) from None


def _code_points(text: str) -> Integer[np.ndarray, " T"]:
    return np.frombuffer(_encoded(text, "utf-32-le"), "<u4")


def _as_ids(ids: Ids, vocab_size: int) -> Integer[np.ndarray, " T"]:
    ids = np.asarray(ids) if len(ids) else np.empty(0, np.int64)  # an empty list has no integer type
    if ids.ndim != 1:
        raise ValueError(f"ids are a sequence of integers, got an array of shape {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers that fit 64 bits, got {ids.dtype}")
    outside = (ids < 0) | (ids >= vocab_size)
    if outside.any():
        position = int(outside.argmax())
        raise ValueError(
            f"id {ids[position]} at position {position} lies outside [0, {vocab_size}), the ids of this tokenizer. "
            "Was the model built for another one?"
        )
    return ids


def _check_errors(errors: str) -> None:
    if errors not in ("replace", "ignore", "strict"):
        raise ValueError(f"errors must be 'replace', 'ignore' or 'strict', got {errors!r}")
