"""The part of `fp_tokenize.protocol` that measuring and prompting need, so that any object with it will do."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

__all__ = ["Cutter", "unspelled"]


@runtime_checkable
class Cutter(Protocol):
    """Text to ids, and an id to its bytes."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> Sequence[int]: ...

    def id_to_bytes(self, token_id: int) -> bytes: ...


def unspelled(tokenizer: Cutter) -> set[int]:
    """Ids that stand for no text of their own: special tokens and the unknown one, where the tokenizer names them."""
    ids = set(getattr(tokenizer, "special_tokens", {}).values())
    unknown = getattr(tokenizer, "unknown", None)
    return ids if unknown is None else ids | {unknown}
