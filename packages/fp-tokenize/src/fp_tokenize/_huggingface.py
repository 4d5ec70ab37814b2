"""Hugging Face's `tokenizer.json` as a dictionary, both ways: the models, the decoders, and the file as a whole."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fp_tokenize import pretokenize
from fp_tokenize._reading import EMPTY, Part, check_names, shown
from fp_tokenize._sentencepiece import Table, use_ranks
from fp_tokenize._steps import (
    added_tokens,
    added_tokens_layout,
    byte_level,
    made,
    metaspace,
    normalizer_layout,
    normalizer_steps,
    pretokenizer_layout,
    pretokenizer_steps,
    template,
    template_layout,
)
from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.characters import UNKNOWN, ByteTokenizer, CharTokenizer, byte_alphabet
from fp_tokenize.frame import Frame
from fp_tokenize.normalize import Normalizer, Precompiled, Prepend, Step
from fp_tokenize.pretokenize import GPT2_PATTERN, ByteLevel, Pretokenizer, Split
from fp_tokenize.unigram import UnigramTokenizer
from fp_tokenize.wordpiece import WordPieceTokenizer

# ---- reading


EXTENSION = "fp_tokenize"
"""The field that holds what the layout has no place for; other programs pass over it."""

Build = Callable[..., Frame]


def tokenizer_of(data: Any) -> Frame:
    """The tokenizer that a file describes; `ValueError` with the place of what is not understood."""
    root = Part(data)
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise root.refusal("is no tokenizer: it has no model")
    if root.text("version", "1.0") != "1.0":
        raise root.part("version").refusal(f"is {shown(data['version'])}, and only 1.0 is read")
    for key in ("truncation", "padding"):
        if root.part(key).value is not None:
            raise root.part(key).refusal(
                f"changes the ids of long or short texts and is not read here. Save the file without it (no_{key}())"
            )
    extension = Part(data.get(EXTENSION) or {}, EXTENSION)
    root.part(EXTENSION)
    normalizer = Normalizer(_with_table(normalizer_steps(root.part("normalizer")), extension.part("table")))
    pretokenizer = Pretokenizer(pretokenizer_steps(root.part("pre_tokenizer")))
    decoding = _decoding(root.part("decoder"))
    model = root.part("model")
    kind = model.text("type", _untyped(data["model"]))
    if kind not in _READERS:
        raise model.part("type").refusal(f"is {shown(kind)}; the models read are {', '.join(_READERS)}")
    vocabulary, build = _READERS[kind](model, extension, pretokenizer, decoding)
    model.done()
    extension.done()
    tokens = added_tokens(root.part("added_tokens"), vocabulary)
    id_of = dict(vocabulary)
    for token in tokens:
        id_of.setdefault(token.content, len(id_of))
    around = template(root.part("post_processor"), id_of)
    root.done()
    frame = {"normalizer": normalizer, "pretokenizer": pretokenizer, "special_tokens": tokens, "template": around}
    tokenizer: Frame = made(model, lambda: build(**frame))
    for token in tokens:
        if tokenizer.token_to_id(token.content) != id_of[token.content]:
            raise root.part("added_tokens").refusal(
                f"has {shown(token.content)} after a vocabulary with gaps, where two libraries count differently"
            )
    return _plain(tokenizer, data) or tokenizer


def _with_table(steps: Sequence[Step], part: Part) -> list[Step]:
    """The steps, with their table read as SentencePiece does if the extension says so."""
    steps = list(steps)
    if part.value is None:
        return steps
    keep = tuple(symbol.text() for symbol in part.members("keep"))
    prefix = part.text("prefix")
    part.done()
    at = next((i for i, step in enumerate(steps) if isinstance(step, Precompiled)), None)
    if at is None or (prefix and steps[at + 1 : at + 2] != [Prepend(prefix)]):
        raise part.refusal("does not fit the normalizer")
    table = Table(Precompiled(steps[at].charsmap, "longest"), keep, prefix)  # type: ignore[attr-defined]
    return [*steps[:at], table, *steps[at + 1 + bool(prefix) :]]


def _untyped(model: dict[str, Any]) -> str | None:
    """The type of a model as old versions wrote it."""
    return "BPE" if "merges" in model else "Unigram" if "unk_id" in model else None


def _plain(tokenizer: Frame, data: Any) -> Frame | None:
    """The tokenizer of characters or bytes that a file is the layout of, if it is."""
    if not isinstance(tokenizer, BPETokenizer) or tokenizer.merges:
        return None
    names = [name for name in tokenizer.names if name is not None]
    candidate: Frame
    try:
        if [*names[:256]] == [*byte_alphabet()]:
            candidate = ByteTokenizer(tokenizer.added_tokens)
        else:
            added = {token.content for token in tokenizer.added_tokens}
            candidate = CharTokenizer([name for name in names[1:] if name not in added], tokenizer.added_tokens)
    except ValueError:
        return None
    candidate.template = tokenizer.template
    return candidate if same(layout_of(candidate), data) else None


def same(one: Any, other: Any) -> bool:
    """Whether two layouts say the same; absent, null, false and empty are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(same(one.get(key), other.get(key)) for key in {**one, **other})
    return bool(one == other and type(one) is type(other)) or (one in EMPTY and other in EMPTY)


# ---- decoders


@dataclass(frozen=True)
class Decoding:
    """
    How names become text: `"bytes"`, `"names"` or `"words"`; `"open"` if the file does not say.

    `space` is the character that stands for a space, `drop` says that a leading space goes, `mark` begins continuations
    (words) or ends words (names), `fallback` says that `<0x41>` is a byte.
    """

    kind: str
    space: str = ""
    drop: bool = False
    mark: str = ""
    fallback: bool = False


def _decoding(part: Part) -> Decoding:
    if part.value is None:
        return Decoding("open")
    kind = part.text("type")
    if kind == "ByteLevel":
        for key in ("add_prefix_space", "trim_offsets", "use_regex"):
            part.flag(key, True)
        result = Decoding("bytes")
    elif kind == "WordPiece":
        part.flag("cleanup", True)
        result = Decoding("words", mark=part.text("prefix"))
    elif kind == "BPEDecoder":
        result = Decoding("names", mark=part.text("suffix"))
    elif kind == "Sequence":
        result = _decoding_sequence(part)
    elif kind in ("Metaspace", "Fuse", "ByteFallback", "Replace"):
        result = _decoding_step(part, kind, Decoding("names"), False)
    else:
        raise part.part("type").refusal(f"is {shown(kind)}, a decoder that is not read here")
    part.done()
    return result


def _decoding_sequence(part: Part) -> Decoding:
    result, fused = Decoding("names"), False
    for member in part.part("decoders").items():
        kind = member.text("type")
        result = _decoding_step(member, kind, result, fused)
        fused |= kind == "Fuse"
        member.done()
    return result


def _decoding_step(part: Part, kind: str, so_far: Decoding, fused: bool) -> Decoding:
    """What one more step makes of a decoding of names."""
    if kind == "Fuse":
        return so_far
    if kind == "ByteFallback" and not fused:
        return replace(so_far, fallback=True)
    if kind == "Replace" and not so_far.space:
        pattern = part.part("pattern")
        space = pattern.text("String")
        pattern.done()
        if part.text("content") == " " and len(space) == 1:
            return replace(so_far, space=space)
    if kind == "Metaspace" and not so_far.space:
        space, scheme = metaspace(part)
        part.flag("split", True)
        return replace(so_far, space=space, drop=scheme != "never")
    if kind == "Strip" and fused:
        cut = part.text("content"), part.integer("start"), part.integer("stop")
        if cut == (" ", 1, 0):
            return replace(so_far, drop=True)
    raise part.refusal(f"is {shown(part.value)}, which does something to decoded text that this package does not do")


# ---- models: what each says, as a vocabulary and a function that makes the tokenizer


def _bpe(
    model: Part, extension: Part, pretokenizer: Pretokenizer, decoding: Decoding
) -> tuple[Mapping[str, int], Build]:
    dropout = model.part("dropout")
    if dropout.value is not None and dropout.number():
        raise dropout.refusal(f"is {shown(dropout.value)}: the ids would be random. Set it to null")
    vocabulary = model.part("vocab").vocabulary()
    merges = _merges(model.part("merges"))
    unknown = model.text("unk_token", "") or None
    if unknown is not None and unknown not in vocabulary:
        raise model.part("unk_token").refusal(f"is {shown(unknown)}, which is not in the vocabulary")
    steps = pretokenizer.steps
    alphabet = "bytes" if steps and isinstance(steps[-1], ByteLevel) else "characters"
    if any(isinstance(step, ByteLevel) for step in steps[:-1]):
        raise Part(None, "pre_tokenizer").refusal("has ByteLevel before its last step, where others would see bytes")
    settings: dict[str, Any] = {
        "alphabet": alphabet,
        "unknown": unknown,
        "byte_fallback": model.flag("byte_fallback", False),
        "fuse_unknown": model.flag("fuse_unk", False),
        "ignore_merges": model.flag("ignore_merges", False),
        "end_of_word": model.text("end_of_word_suffix", ""),
        "continuing": model.text("continuing_subword_prefix", ""),
    }
    fits = decoding.kind == alphabet or (alphabet == "characters" and decoding.kind == "names")
    if alphabet == "characters" and decoding.kind != "open":
        fits = fits and decoding.mark in ("", settings["end_of_word"])
        fits = fits and decoding.fallback >= settings["byte_fallback"]
        fits = fits and (settings["byte_fallback"] or not (decoding.fallback and _has_byte_names(vocabulary)))
        settings |= {"space": decoding.space, "drop_space": decoding.drop}
    _check_fit(fits, decoding, f"BPE of {alphabet}")
    ranks = extension.part("ranks")
    if ranks.value is None:
        return vocabulary, lambda **frame: BPETokenizer(vocabulary, merges, **settings, **frame)
    shared = [rank.integer() for rank in ranks.items()]
    if len(shared) != len(merges):
        raise ranks.refusal(f"should have one rank for each of {len(merges)} merges, and has {len(shared)}")

    def build(**frame: Any) -> Frame:
        return use_ranks(BPETokenizer(vocabulary, merges, **settings, **frame), shared)

    return vocabulary, build


def _merges(part: Part) -> list[tuple[str, str]]:
    """Pairs of names, from either spelling: two names in a list, or in one string with a space between."""
    merges: list[tuple[str, str]] = []
    for i, value in enumerate(part.listed()):
        pair = value.split(" ") if isinstance(value, str) else value
        if isinstance(value, str) and value.startswith("#version"):
            continue
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is type(pair[1]) is str):
            raise Part(value, f"{part.path}[{i}]").refusal(f"should be two names, and is {shown(value)}")
        merges.append((pair[0], pair[1]))
    for names in zip(*merges, strict=True):
        check_names(names, part.path)
    return merges


def _has_byte_names(vocabulary: Mapping[str, int]) -> bool:
    return any(f"<0x{b:02X}>" in vocabulary for b in range(256))


def _check_fit(fits: bool, decoding: Decoding, what: str) -> None:
    if decoding.kind != "open" and not fits:
        raise Part(None, "decoder").refusal(
            f"does not fit {what}: it would make other text of the ids than this package"
        )


def _wordpiece(
    model: Part, extension: Part, pretokenizer: Pretokenizer, decoding: Decoding
) -> tuple[Mapping[str, int], Build]:
    vocabulary = model.part("vocab").vocabulary()
    settings: dict[str, Any] = {
        "unknown": model.text("unk_token"),
        "prefix": model.text("continuing_subword_prefix"),
        "max_word": model.integer("max_input_chars_per_word"),
    }
    _refuse_bytes(pretokenizer, "WordPiece")
    _check_fit(decoding == Decoding("words", mark=settings["prefix"]), decoding, "WordPiece")
    return vocabulary, lambda **frame: WordPieceTokenizer(vocabulary, **settings, **frame)


def _refuse_bytes(pretokenizer: Pretokenizer, what: str) -> None:
    if any(isinstance(step, ByteLevel) for step in pretokenizer.steps):
        raise Part(None, "pre_tokenizer").refusal(f"has ByteLevel, which is read for BPE only, and the model is {what}")


def _unigram(
    model: Part, extension: Part, pretokenizer: Pretokenizer, decoding: Decoding
) -> tuple[Mapping[str, int], Build]:
    vocab = model.part("vocab")
    pieces: list[tuple[str, float]] = []
    for i, value in enumerate(vocab.listed()):
        part = Part(value, f"{vocab.path}[{i}]")
        members = list(part.items())
        if len(members) != 2:
            raise part.refusal(f"should be a piece and its score, and is {shown(value)}")
        pieces.append((members[0].text(), members[1].number()))
    vocabulary = {name: i for i, (name, _) in enumerate(pieces)}
    if len(vocabulary) < len(pieces):
        i = next(i for i, (name, _) in enumerate(pieces) if vocabulary[name] != i)
        raise Part(None, f"{vocab.path}[{i}]").refusal(f"is {shown(pieces[i][0])}, which occurs again")
    unknown = None if model.part("unk_id").value is None else model.integer("unk_id")
    if unknown is not None and unknown >= len(pieces):
        raise model.part("unk_id").refusal(f"is {unknown}, and there are {len(pieces)} pieces")
    for token_id in (unused.integer() for unused in extension.members("unused")):
        if token_id < len(pieces):
            pieces[token_id] = (pieces[token_id][0], -math.inf)
    settings: dict[str, Any] = {
        "unknown": unknown,
        "byte_fallback": model.flag("byte_fallback", False),
        "user_defined": [symbol.text() for symbol in extension.members("user_defined")],
        "single_precision": extension.flag("single_precision", False),
    }
    _refuse_bytes(pretokenizer, "Unigram")
    if decoding.kind != "open":
        settings |= {"space": decoding.space, "drop_space": decoding.drop}
    fits = decoding.kind == "names" and not decoding.mark and decoding.fallback == settings["byte_fallback"]
    _check_fit(fits, decoding, "Unigram")
    return vocabulary, lambda **frame: UnigramTokenizer(pieces, **settings, **frame)


_READERS = {"BPE": _bpe, "WordPiece": _wordpiece, "Unigram": _unigram}

# ---- writing


def layout_of(tokenizer: Any) -> dict[str, Any]:
    """The whole file as a dictionary, in the order in which Hugging Face writes it."""
    extension: dict[str, Any] = {}
    pre_tokenizer: dict[str, Any] | None = None
    normalizer: dict[str, Any] | None = None
    decoder: dict[str, Any] | None
    match tokenizer:
        case CharTokenizer():
            model, decoder = _bpe_model([UNKNOWN, *tokenizer.alphabet], unknown=UNKNOWN), {"type": "Fuse"}
        case ByteTokenizer():
            model, decoder = _bpe_model(byte_alphabet()), byte_level(use_regex=False)
            pre_tokenizer = decoder
        case BPETokenizer():
            model, decoder = _layout_of_bpe(tokenizer, extension)
        case WordPieceTokenizer():
            model, decoder = _layout_of_wordpiece(tokenizer)
        case UnigramTokenizer():
            model, decoder = _layout_of_unigram(tokenizer, extension)
        case _:
            raise TypeError(f"only the tokenizers of this chapter can be saved, got {type(tokenizer).__name__}")
    if isinstance(tokenizer, BPETokenizer | WordPieceTokenizer | UnigramTokenizer):
        normalizer = normalizer_layout(_without_table(tokenizer.normalizer.steps, extension))
        in_bytes = isinstance(tokenizer, BPETokenizer) and tokenizer.alphabet == "bytes"
        pre_tokenizer = pretokenizer_layout(_splitting(tokenizer.pretokenizer.steps, in_bytes))
    id_of = {name: i for i, name in enumerate(tokenizer.names) if name is not None}
    layout = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens_layout(tokenizer.added_tokens, id_of),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": template_layout(tokenizer.template, id_of),
        "decoder": decoder,
        "model": model,
    }
    return {**layout, EXTENSION: extension} if extension else layout


def _splitting(steps: Sequence[pretokenize.Step], in_bytes: bool) -> list[pretokenize.Step]:
    """The steps as the layout needs them, where `ByteLevel` also turns text into names of bytes: last, or nowhere."""
    last: list[pretokenize.Step] = [ByteLevel(use_regex=False)] if in_bytes else []
    if in_bytes and steps and isinstance(steps[-1], ByteLevel):
        steps, last = steps[:-1], [steps[-1]]
    others: list[pretokenize.Step] = []
    for step in steps:
        if isinstance(step, ByteLevel) and step.add_prefix_space:
            raise ValueError(
                "ByteLevel(add_prefix_space=True) can be written as the last step of a model of bytes only"
            )
        if not isinstance(step, ByteLevel):
            others.append(step)
        elif step.use_regex:
            others.append(Split(GPT2_PATTERN))
    return [*others, *last]


def _without_table(steps: Sequence[Step], extension: dict[str, Any]) -> list[Step]:
    """The steps that the layout has; how SentencePiece reads its table goes into the extension."""
    plain: list[Step] = []
    for step in steps:
        if isinstance(step, Precompiled) and step.rule == "longest":
            step = Table(step)
        if isinstance(step, Table):
            extension["table"] = {"keep": list(step.keep), "prefix": step.prefix}
            plain.append(Precompiled(step.table.charsmap))
            if step.prefix:
                plain.append(Prepend(step.prefix))
        else:
            plain.append(step)
    return plain


def _bpe_model(names: Sequence[str], unknown: str | None = None) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {name: i for i, name in enumerate(names)},
        "merges": [],
    }


def _vocabulary(tokenizer: Frame) -> dict[str, int]:
    """The model's vocabulary: all names but the added tokens at the end, which the library numbers in the same way."""
    names = list(tokenizer.names)
    added = {token.content for token in tokenizer.added_tokens}
    if None not in names:
        while names and names[-1] in added:
            names.pop()
    return {name: i for i, name in enumerate(names) if name is not None}


def _names_decoder(space: str, drop: bool, fallback: bool) -> dict[str, Any]:
    decoders: list[dict[str, Any]] = []
    if space:
        decoders.append({"type": "Replace", "pattern": {"String": space}, "content": " "})
    if fallback:
        decoders.append({"type": "ByteFallback"})
    decoders.append({"type": "Fuse"})
    if drop:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": decoders} if len(decoders) > 1 else decoders[0]


def _layout_of_bpe(tokenizer: BPETokenizer, extension: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = tokenizer.names
    model = _bpe_model([], None if tokenizer.unknown is None else names[tokenizer.unknown]) | {
        "continuing_subword_prefix": tokenizer.continuing or None,
        "end_of_word_suffix": tokenizer.end_of_word or None,
        "fuse_unk": tokenizer.fuse_unknown,
        "byte_fallback": tokenizer.byte_fallback,
        "ignore_merges": tokenizer.ignore_merges,
        "vocab": _vocabulary(tokenizer),
        "merges": [list(pair) for pair in tokenizer.merges],
    }
    ranks = tokenizer._encoder.merges.ranks
    if ranks is not None:
        extension["ranks"] = list(ranks)
    if tokenizer.alphabet == "bytes":
        return model, byte_level()
    if tokenizer.end_of_word:
        return model, {"type": "BPEDecoder", "suffix": tokenizer.end_of_word}
    return model, _names_decoder(tokenizer.space, tokenizer.drop_space, tokenizer.byte_fallback)


def _layout_of_wordpiece(tokenizer: WordPieceTokenizer) -> tuple[dict[str, Any], dict[str, Any]]:
    assert tokenizer.unknown is not None
    model = {
        "type": "WordPiece",
        "unk_token": tokenizer.names[tokenizer.unknown],
        "continuing_subword_prefix": tokenizer.prefix,
        "max_input_chars_per_word": tokenizer.max_word,
        "vocab": _vocabulary(tokenizer),
    }
    return model, {"type": "WordPiece", "prefix": tokenizer.prefix, "cleanup": False}


def _layout_of_unigram(tokenizer: UnigramTokenizer, extension: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    unused = [i for i, (_, score) in enumerate(tokenizer.pieces) if score == -math.inf]
    extra = {
        "unused": unused,
        "user_defined": sorted(tokenizer.user_defined),
        "single_precision": tokenizer.single_precision,
    }
    extension |= {key: value for key, value in extra.items() if value}
    model = {
        "type": "Unigram",
        "unk_id": tokenizer.unknown,
        "vocab": [[name, 0.0 if score == -math.inf else score] for name, score in tokenizer.pieces],
        "byte_fallback": tokenizer.byte_fallback,
    }
    return model, _names_decoder(tokenizer.space, tokenizer.drop_space, tokenizer.byte_fallback)
