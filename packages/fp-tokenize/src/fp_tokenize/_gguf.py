"""GGUF's vocabularies: the tokenizer that llama.cpp would make of the same file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fp_tokenize import _sentencepiece as sp
from fp_tokenize._reading import shown
from fp_tokenize._wire import GGUF
from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.normalize import Bert, Normalizer
from fp_tokenize.pipeline import SubwordTokenizer
from fp_tokenize.pretokenize import (
    CL100K,
    CL100K_PATTERN,
    GPT2,
    O200K,
    O200K_PATTERN,
    SMOLLM,
    ByteLevel,
    Pretokenizer,
    Split,
)
from fp_tokenize.special import AddedToken, Template
from fp_tokenize.wordpiece import WordPieceTokenizer

PREFIX = "tokenizer.ggml."
WORD = "▁"  # what begins the names of bert's words here, in place of ## before all others
# entries that say nothing about the ids of a text; so do those that end in _token_id, but for the ones that are read
_SILENT = ("token_type_count", "suppress_tokens", "eog_token_ids")
_DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"


def _splits(*patterns: str) -> Pretokenizer:
    return Pretokenizer([*map(Split, patterns), ByteLevel(use_regex=False)])


_DIGITWISE = _splits(CL100K_PATTERN.replace("{1,3}", ""))
# pre-tokenizer, whether words of the vocabulary are taken whole, and whether a text begins with a mark by default
PRE: dict[str, tuple[Pretokenizer, bool, bool]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "modern-bert", "exaone4"), (GPT2, False, False)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), (SMOLLM, False, False)),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"), (CL100K, True, True)),
    **dict.fromkeys(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), (CL100K, False, False)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan"), (_DIGITWISE, False, False)),
    **dict.fromkeys(("gpt-4o", "llama4"), (O200K, False, False)),
    "tekken": (_splits(O200K_PATTERN.replace(_CONTRACTIONS, "").replace("{1,3}", "")), True, True),
    "deepseek-v3": (_splits(r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", _DEEPSEEK), False, False),
}


class Entries:
    """The entries of a table that begin with `tokenizer.ggml.`, taken out one by one."""

    def __init__(self, path: Path) -> None:
        self.values = GGUF(path, PREFIX).entries
        self._taken: set[str] = set()
        if not self.values:
            raise ValueError(f"it has no entry that begins with {PREFIX}: a model without its vocabulary")

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        """An entry's value, of a certain type."""
        self._taken.add(key)
        value = self.values.get(PREFIX + key, default)
        if value is None:
            raise ValueError(f"{PREFIX}{key} is missing")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{PREFIX}{key} should be of type {kind.__name__}, and is {shown(value)}")
        return value

    def text(self, key: str, default: bytes | None = None) -> str:
        """An entry that is a string."""
        return sp.text(self.take(key, bytes, default), PREFIX + key)

    def members(self, key: str, kind: type, count: int, default: Any) -> list[Any]:
        """An entry that is a list with a number for each token."""
        value: list[Any] = self.take(key, list, [default] * count)
        if len(value) != count or not all(type(member) is kind for member in value):
            raise ValueError(
                f"{PREFIX}{key} should give each of {count} tokens a {kind.__name__}, and is {shown(value)}"
            )
        return value

    def done(self) -> None:
        """Refuse entries that were not taken and may have a meaning."""
        for key, value in self.values.items():
            name = key.removeprefix(PREFIX)
            if name not in self._taken and not name.endswith("_token_id") and name not in _SILENT:
                raise ValueError(f"{key} is {shown(value)}, which is not understood here")


def tokenizer_of(path: Path) -> SubwordTokenizer:
    """The tokenizer of a GGUF file."""
    entries = Entries(path)
    model = entries.text("model")
    if model not in _READERS:
        raise ValueError(f"{PREFIX}model is {shown(model)}; the models read are {', '.join(_READERS)}")
    names = [sp.text(name, f"token {i}") for i, name in enumerate(entries.take("tokens", list))]
    kinds = entries.members("token_type", int, len(names), sp.NORMAL)
    for i, kind in enumerate(kinds):
        if kind not in sp.KINDS:
            raise ValueError(f"{PREFIX}token_type[{i}] is {kind}, and types are numbers from 1 to 6")
    if len(set(names)) < len(names):
        first: dict[str, int] = {}
        i = next(i for i, name in enumerate(names) if first.setdefault(name, i) != i)
        raise ValueError(f"token {i} is {shown(names[i])}, as token {first[names[i]]} is")
    tokenizer = _READERS[model](entries, names, kinds)
    entries.done()
    return tokenizer


def _template(entries: Entries, names: Sequence[str], marks: Sequence[tuple[str, str, bool, int | None]]) -> Template:
    """What is put before and after a text: for each mark where it stands, its name, the default, and its default id."""
    around: dict[str, tuple[str, ...]] = {"before": (), "after": ()}
    for place, mark, default, default_id in marks:
        if entries.take(f"add_{mark}_token", bool, default):
            key = f"{'seperator' if mark == 'sep' else mark}_token_id"
            token_id = entries.take(key, int, default_id)
            if not 0 <= token_id < len(names):
                raise ValueError(f"{PREFIX}{key} is {token_id}, and there are {len(names)} tokens")
            around[place] += (names[token_id],)
    return Template(**around)


def _added(names: Sequence[str], kinds: Sequence[int]) -> list[AddedToken]:
    return [
        AddedToken(name, special=kind != sp.USER_DEFINED)
        for name, kind in zip(names, kinds, strict=True)
        if kind in (sp.UNKNOWN, sp.CONTROL, sp.USER_DEFINED)
    ]


def _gpt2(entries: Entries, names: list[str], kinds: list[int]) -> SubwordTokenizer:
    pre = entries.text("pre")
    if pre not in PRE:
        raise ValueError(
            f"{PREFIX}pre is {shown(pre)}, a pre-tokenizer that is not known here; known are {', '.join(PRE)}"
        )
    pretokenizer, whole, begins = PRE[pre]
    merges = []
    for i, merge in enumerate(entries.take("merges", list)):
        left, _, right = sp.text(merge, f"{PREFIX}merges[{i}]").partition(" ")
        if not (left and right) or " " in right:
            raise ValueError(f"{PREFIX}merges[{i}] should be two names and a space between, and is {shown(merge)}")
        merges.append((left, right))
    if entries.take("add_space_prefix", bool, False):
        raise ValueError(f"{PREFIX}add_space_prefix is true, which byte-level tokenizers do not have")
    around = _template(entries, names, [("before", "bos", begins, None), ("after", "eos", False, None)])
    entries.take("scores", list, [])
    return BPETokenizer(
        {name: i for i, name in enumerate(names) if kinds[i] != sp.UNUSED},
        merges,
        ignore_merges=whole,
        pretokenizer=pretokenizer,
        special_tokens=_added(names, kinds),
        template=around,
    )


def _pieces(entries: Entries, names: list[str], kinds: list[int]) -> list[sp.Piece]:
    scores = entries.members("scores", float, len(names), 0.0)
    return [sp.Piece(*piece) for piece in zip(names, scores, kinds, strict=True)]


def _llama(entries: Entries, names: list[str], kinds: list[int]) -> SubwordTokenizer:
    return sp.build(
        _pieces(entries, names, kinds),
        sp.BPE,
        byte_fallback=sp.BYTE in kinds,
        charsmap=b"",
        dummy_prefix=entries.take("add_space_prefix", bool, True),
        remove_extra=entries.take("remove_extra_whitespaces", bool, False),
        template=_template(entries, names, [("before", "bos", True, 1), ("after", "eos", False, 2)]),
    )


def _t5(entries: Entries, names: list[str], kinds: list[int]) -> SubwordTokenizer:
    charsmap = entries.take("precompiled_charsmap", list, [])
    return sp.build(
        _pieces(entries, names, kinds),
        sp.UNIGRAM,
        byte_fallback=sp.BYTE in kinds,
        charsmap=bytes(byte & 255 for byte in charsmap),
        dummy_prefix=entries.take("add_space_prefix", bool, False),
        remove_extra=entries.take("remove_extra_whitespaces", bool, False),
        template=_template(entries, names, [("before", "bos", False, None), ("after", "eos", True, 1)]),
    )


def _bert(entries: Entries, names: list[str], kinds: list[int]) -> SubwordTokenizer:
    spelled = [
        name if kind in (sp.CONTROL, sp.UNKNOWN) else name[1:] if name.startswith(WORD) else f"##{name}"
        for name, kind in zip(names, kinds, strict=True)
    ]
    if not all(spelled) or len(set(spelled)) < len(spelled):
        raise ValueError(f"{PREFIX}tokens has names that are empty or equal without the mark {WORD} of words")
    unknown = entries.take("unknown_token_id", int, 100)
    if not 0 <= unknown < len(names):
        raise ValueError(f"{PREFIX}unknown_token_id is {unknown}, and there are {len(names)} tokens")
    lower = entries.take("normalizer.lowercase", bool, True)
    accents = entries.take("normalizer.strip_accents", bool, lower)
    entries.take("pre", bytes, b"")
    entries.take("scores", list, [])
    entries.take("add_space_prefix", bool, False)
    marks = [("before", "bos", True, 101), ("after", "eos", False, None), ("after", "sep", True, 102)]
    around = _template(entries, spelled, marks)
    return WordPieceTokenizer(
        spelled,
        unknown=spelled[unknown],
        normalizer=Normalizer([Bert(lowercase=lower, strip_accents=accents)]),
        special_tokens=_added(spelled, kinds),
        template=around,
    )


_READERS: dict[str, Callable[[Entries, list[str], list[int]], SubwordTokenizer]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "bert": _bert,
    "t5": _t5,
}
