r"""
The protocol: what every tokenizer of this course can do.

A model works on integers, people on text. A **tokenizer** stands between them: a finite vocabulary of tokens, a way to
cut a text into tokens of it, and a way back. Models, trainers and commands ask for this protocol and for no particular
class, so that exchanging characters for bytes, or either for subwords, changes one line.

Three views of a token meet here, and confusing them is the usual source of errors:

- its **id**, an integer in $[0, V)$: the row of the model's embedding;
- its **name**, a string: how the vocabulary file writes it, which need not be the text that it stands for;
- its **bytes**: what it contributes to the text. They may be a part of a character only.

A text is a Python string without lone surrogates: code points from U+D800 to U+DFFF are halves of the UTF-16 encoding
of other characters, no characters themselves, and no encoding of Unicode admits them. Every `encode` refuses them by
name.

A tokenizer is made by the class method `train(texts, vocab_size, special_tokens)` of its class, or read from a file by
`fp_tokenize.interchange.load`. Training is not part of the protocol, since who asks for a tokenizer has one.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32, Integer

__all__ = ["Ids", "Tokenizer"]  # the order of the page

Ids = Sequence[int] | Integer[np.ndarray, " T"]
"""Token ids, as a sequence of integers or an array of one axis."""


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids, and back."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens: ids lie in `[0, vocab_size)`."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text. `ValueError` for lone surrogates."""
        ...

    def encode_array(self, text: str) -> Int32[np.ndarray, " T"]:
        """The same ids as an array: for texts of millions of characters."""
        ...

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """The ids of each of several texts."""
        ...

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """For each id of `encode(text)`, the half-open interval of characters of `text` that it covers."""
        ...

    def decode(self, ids: Ids, errors: str = "replace") -> str:
        """
        The text of some ids.

        Where they stand for no text (bytes that are no UTF-8, an unknown character), `errors` chooses: `"replace"` puts
        U+FFFD, `"ignore"` nothing, `"strict"` raises `ValueError`. An id outside the vocabulary is always an error.
        """
        ...

    def decode_stream(self, ids: Iterable[int], errors: str = "replace") -> Iterator[str]:
        """The same text in parts, each as soon as its ids have arrived."""
        ...

    def token_to_id(self, token: str) -> int | None:
        """The id of the token of that name; `None` if there is none."""
        ...

    def id_to_bytes(self, token_id: int) -> bytes:
        """What a token contributes to the text. `ValueError` outside the vocabulary."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `tokenizer.json`; see `fp_tokenize.interchange.save`."""
        ...
