"""SentencePiece's `.model` files: what they say, and the tokenizer that does the same."""

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from fp_tokenize._reading import shown
from fp_tokenize._wire import message
from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.merges import Merges, recover, splits
from fp_tokenize.normalize import Normalizer, Precompiled, Prepend, Replace, Step
from fp_tokenize.pipeline import SubwordTokenizer
from fp_tokenize.pretokenize import Metaspace, Pretokenizer, Split
from fp_tokenize.pretokenize import Step as PretokenizerStep
from fp_tokenize.special import AddedToken, Template
from fp_tokenize.unigram import BYTE_NAMES, UnigramTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
KINDS = range(NORMAL, BYTE + 1)
UNIGRAM, BPE = 1, 2
SPACE = "▁"

# numbers of the fields that decide about encoding; training alone is concerned by the others
_TRAINER = {3: "model_type", 24: "treat_whitespace_as_suffix", 35: "byte_fallback", 41: "bos_id", 42: "eos_id"}
_NORMALIZER = {
    1: "name",
    2: "precompiled_charsmap",
    3: "add_dummy_prefix",
    4: "remove_extra_whitespaces",
    5: "escape_whitespaces",
    6: "normalization_rule_tsv",
}


@dataclass(frozen=True)
class Piece:
    """A member of the vocabulary."""

    name: str
    score: float
    kind: int


@dataclass
class Model:
    """A model file."""

    pieces: list[Piece] = field(default_factory=list)
    trainer: dict[str, Any] = field(default_factory=lambda: {"model_type": UNIGRAM, "byte_fallback": 0})
    normalizer: dict[str, Any] = field(
        default_factory=lambda: {
            "precompiled_charsmap": b"",
            "add_dummy_prefix": 1,
            "remove_extra_whitespaces": 1,
            "escape_whitespaces": 1,
        }
    )


def read_model(path: Path) -> Model:
    """What a file says; settings that it does not mention have SentencePiece's defaults."""
    model = Model()
    for number, value in message(path.read_bytes(), "the model"):
        if number == 1:
            model.pieces.append(_piece(_bytes(value, "the model"), len(model.pieces)))
        elif number == 2:
            _settings(value, "trainer_spec", _TRAINER, model.trainer)
        elif number == 3:
            _settings(value, "normalizer_spec", _NORMALIZER, model.normalizer, strict=True)
        elif number == 5:
            denormalizer: dict[str, Any] = {}
            _settings(value, "denormalizer_spec", _NORMALIZER, denormalizer, strict=True)
            if denormalizer.get("precompiled_charsmap"):
                raise ValueError("denormalizer_spec rewrites decoded text, which is not read here")
        elif number != 4:  # 4: examples for a self test
            raise ValueError(f"the model has a field of number {number}, which SentencePiece's models do not have")
    if not model.pieces:
        raise ValueError("the model has no pieces. Is it another kind of file?")
    return model


def _bytes(value: int | bytes, where: str) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"{where} has the number {value} where bytes belong")
    return value


def _settings(
    value: int | bytes, where: str, names: Mapping[int, str], into: dict[str, Any], strict: bool = False
) -> None:
    for number, setting in message(_bytes(value, where), where):
        name = names.get(number)
        if name is not None:
            text = name in ("name", "precompiled_charsmap", "normalization_rule_tsv")
            if isinstance(setting, bytes) != text:
                raise ValueError(f"{where}.{name} has the wrong type")
            into[name] = setting
        elif strict:
            raise ValueError(f"{where} has a field of number {number}, which is not understood here")


def _piece(data: bytes, i: int) -> Piece:
    where = f"piece {i}"
    name, score, kind = b"", 0.0, NORMAL
    for number, value in message(data, where):
        if number == 1:
            name = _bytes(value, where)
        elif number == 2:
            if not isinstance(value, bytes) or len(value) != 4:
                raise ValueError(f"{where} has a score that is no 32-bit float")
            (score,) = struct.unpack("<f", value)
        elif number == 3 and isinstance(value, int) and value in KINDS:
            kind = value
        else:
            raise ValueError(f"{where} has {shown(value)} in field {number}, which is not understood here")
    return Piece(text(name, where), score, kind)


def text(data: bytes, where: str) -> str:
    """Bytes of a file as text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is {shown(data)}, which is no UTF-8: {error.reason}") from None


# ---- the tokenizer that does the same

# what SentencePiece's normaliser does to spaces, beyond its table: as patterns that begin or end a text
_HEAD, _TAIL, _RUN = r"(?<![\s\S]) +", r"[ ▁]+(?![\s\S])", r" {2,}"


def tokenizer_of(model: Model) -> SubwordTokenizer:
    """The tokenizer that a model file describes."""
    kind, spec = model.trainer["model_type"], model.normalizer
    if kind not in (UNIGRAM, BPE):
        raise ValueError(f"trainer_spec.model_type is {kind}; only unigram (1) and bpe (2) are read")
    if model.trainer.get("treat_whitespace_as_suffix"):
        raise ValueError("trainer_spec.treat_whitespace_as_suffix is true, which is not read here")
    if not spec["escape_whitespaces"]:
        raise ValueError("normalizer_spec.escape_whitespaces is false, which is not read here")
    return build(
        model.pieces,
        kind,
        byte_fallback=bool(model.trainer["byte_fallback"]),
        charsmap=spec["precompiled_charsmap"],
        dummy_prefix=bool(spec["add_dummy_prefix"]),
        remove_extra=bool(spec["remove_extra_whitespaces"]),
    )


def build(
    pieces: Sequence[Piece],
    kind: int,
    *,
    byte_fallback: bool,
    charsmap: bytes,
    dummy_prefix: bool,
    remove_extra: bool,
    template: Template | None = None,
) -> SubwordTokenizer:
    """A unigram or BPE tokenizer of SentencePiece's pieces and settings."""
    names = [piece.name for piece in pieces]
    check(pieces, byte_fallback)
    unknown = next(i for i, piece in enumerate(pieces) if piece.kind == UNKNOWN)
    user_defined = [piece.name for piece in pieces if piece.kind == USER_DEFINED]
    steps: list[Step] = []
    if charsmap:
        prefix = " " if dummy_prefix and not remove_extra else ""
        steps.append(Table(Precompiled(charsmap, "longest"), tuple(user_defined), prefix))
    if any(" " in name for name in user_defined):
        raise ValueError(
            "a user-defined symbol has a space in it, which SentencePiece never finds; it is not read here"
        )
    if remove_extra:
        steps += [Replace(_HEAD, "", True), Replace(_RUN, " ", True), Replace(_TAIL, "", True)]
    if dummy_prefix and (remove_extra or not charsmap):
        steps.append(Prepend(" "))
    frame: dict[str, Any] = {
        "normalizer": Normalizer(steps),
        "special_tokens": [AddedToken(piece.name) for piece in pieces if piece.kind in (UNKNOWN, CONTROL)],
        "template": template,
        "drop_space": dummy_prefix or remove_extra,
    }
    cuts = splits_at_spaces([piece.name for piece in pieces if piece.kind in (NORMAL, USER_DEFINED, UNUSED)])
    if kind == UNIGRAM:
        scores = [-math.inf if piece.kind == UNUSED else piece.score for piece in pieces]
        return UnigramTokenizer(
            list(zip(names, scores, strict=True)),
            unknown=unknown,
            byte_fallback=byte_fallback,
            user_defined=user_defined,
            single_precision=True,
            pretokenizer=Pretokenizer(cuts),
            **frame,
        )
    return _bpe(pieces, user_defined, unknown, byte_fallback, cuts, frame)


def _bpe(
    pieces: Sequence[Piece],
    user_defined: Sequence[str],
    unknown: int,
    byte_fallback: bool,
    cuts: Sequence[PretokenizerStep],
    frame: dict[str, Any],
) -> BPETokenizer:
    ranks = ranks_of(pieces)
    found = recover(ranks)
    shared = splits(ranks) if found is None else None
    symbols = [Split(alternatives(user_defined))] if user_defined else []
    spaces, *others = cuts
    tokenizer = BPETokenizer(
        {piece.name: i for i, piece in enumerate(pieces)},
        list(shared.pairs) if found is None and shared is not None else found or [],
        alphabet="characters",
        unknown=pieces[unknown].name,
        byte_fallback=byte_fallback,
        fuse_unknown=True,
        ignore_merges=bool(user_defined),
        pretokenizer=Pretokenizer([spaces, *symbols, *others]),
        **frame,
    )
    return tokenizer if shared is None else use_ranks(tokenizer, shared.ranks or ())


def ranks_of(pieces: Sequence[Piece]) -> dict[str, int]:
    """Ranks of the strings that SentencePiece may join, the highest score first."""
    found = [piece for piece in pieces if piece.kind == NORMAL]
    if any(piece.kind == UNUSED for piece in pieces):
        raise ValueError("a piece has the type unused: a BPE that takes tokens apart again is not read here")
    single = {piece.name for piece in found if len(piece.name) == 1}
    for piece in found:
        lacking = set(piece.name) - single
        if lacking:
            raise ValueError(
                f"the piece {shown(piece.name)} has the character {min(lacking)!r}, which is no piece: a BPE with such "
                "pieces is not read here"
            )
    longer = sorted((piece for piece in found if len(piece.name) > 1), key=lambda piece: -piece.score)
    for one, other in pairwise(longer):
        if one.score == other.score:
            raise ValueError(
                f"the pieces {shown(one.name)} and {shown(other.name)} have the same score, {one.score}: which one is "
                "joined first would depend on the place, which is not read here"
            )
    return {name: -1 - i for i, name in enumerate(single)} | {piece.name: k for k, piece in enumerate(longer)}


def use_ranks(tokenizer: BPETokenizer, ranks: Sequence[int]) -> BPETokenizer:
    """A tokenizer of merges that share ranks: one number for each merge, in their order."""
    merges = tokenizer._encoder.merges
    tokenizer._use(Merges(merges.pairs, merges.results, ranks))
    return tokenizer


def check(pieces: Sequence[Piece], byte_fallback: bool) -> None:
    """`ValueError` where SentencePiece itself would refuse the pieces."""
    seen: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        if not piece.name:
            raise ValueError(f"piece {i} is empty")
        if seen.setdefault(piece.name, i) != i:
            raise ValueError(f"piece {i} is {shown(piece.name)}, as piece {seen[piece.name]} is")
        if not math.isfinite(piece.score):
            raise ValueError(f"piece {i}, {shown(piece.name)}, has the score {piece.score}, which is no number")
    unknown = [i for i, piece in enumerate(pieces) if piece.kind == UNKNOWN]
    if len(unknown) != 1:
        raise ValueError(f"one piece should be the unknown one, and {len(unknown)} are")
    found = {piece.name for piece in pieces if piece.kind == BYTE}
    if found != (set(BYTE_NAMES) if byte_fallback else set()):
        raise ValueError(
            f"with byte_fallback the pieces of type byte are the 256 from <0x00> to <0xFF>, without it there are none; "
            f"there are {len(found)}, and byte_fallback is {byte_fallback}"
        )


@dataclass(frozen=True)
class Table(Step):
    """
    SentencePiece's table as SentencePiece uses it.

    User-defined symbols are kept from it, and `prefix` stands before every text that is not empty, even if the table
    leaves nothing of it.
    """

    table: Precompiled
    keep: tuple[str, ...] = ()
    prefix: str = ""

    def __call__(self, text: str) -> str:
        if self.keep:
            return super().__call__(text)
        return self.prefix + self.table(text) if text else text

    def edits(self, text: str) -> Iterator[tuple[int, int, str]]:
        if text and self.prefix:
            yield 0, 0, self.prefix
        if not self.keep:
            yield from self.table.edits(text)
            return
        symbol = re.compile(alternatives(self.keep))
        start = 0
        while start < len(text):
            kept = symbol.match(text, start)
            rules = [] if kept else [*self.table._trie.prefixes(text, start)]
            if rules:
                yield start, *rules[-1]
            start = kept.end() if kept else rules[-1][0] if rules else start + 1


def alternatives(strings: Sequence[str]) -> str:
    """A pattern for any of some strings, the longest where several begin."""
    return "|".join(map(re.escape, sorted(strings, key=len, reverse=True)))


def splits_at_spaces(names: Sequence[str]) -> list[PretokenizerStep]:
    """Where a text can be cut before it is searched for pieces: no piece may lie across."""
    if any(SPACE in name.lstrip(SPACE) for name in names):
        return [Metaspace(SPACE, "never", split=False)]
    if any(name.startswith(SPACE * 2) for name in names):
        return [Metaspace(SPACE, "never", split=False), Split(f"{SPACE}*[^{SPACE}]+|{SPACE}+")]
    return [Metaspace(SPACE, "never")]
