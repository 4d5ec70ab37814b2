"""
Freeze what Hugging Face's `tokenizers` and tiktoken make of texts with BPE of every kind.

    python -m tools.oracles.tokenize_bpe

writes packages/fp-tokenize/tests/fixtures/bpe_peers.json, which the default tests read: some texts, and for each kind
the names and merges that Hugging Face's trainer found, the arguments of `BPETokenizer`, and the peer's ids and texts.
"""

import json
import random
from pathlib import Path

from tools.oracles.tokenize_characters import TEXTS, random_text

from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.characters import byte_alphabet
from fp_tokenize.pretokenize import GPT2, SMOLLM, WHITESPACE, Metaspace, Pretokenizer

FIXTURE = Path(__file__).parents[2] / "packages/fp-tokenize/tests/fixtures/bpe_peers.json"

PRETOKENIZERS = {
    "gpt2": GPT2,
    "smollm": SMOLLM,
    "whitespace": WHITESPACE,
    "metaspace": Pretokenizer([Metaspace()]),
    "none": Pretokenizer(),
}
FALLBACK = [f"<0x{b:02X}>" for b in range(256)]
LACKING = ["Ġ", "é", "Ã", "1", "ð"]
KINDS: dict[str, dict] = {
    "bytes": {"pretokenizer": "gpt2"},
    "digits apart": {"pretokenizer": "smollm"},
    "bytes lacking": {"pretokenizer": "gpt2", "lacks": LACKING},
    "bytes unknown": {"pretokenizer": "gpt2", "lacks": LACKING, "arguments": {"unknown": "<unk>"}},
    "whole words": {"pretokenizer": "gpt2", "forget": 30, "arguments": {"ignore_merges": True}},
    "bytes, ends of words": {"pretokenizer": "gpt2", "arguments": {"end_of_word": "</w>"}},
    "no words": {"pretokenizer": "none"},
    "dropped": {"pretokenizer": "whitespace", "arguments": {"alphabet": "characters"}},
    "unknown": {"pretokenizer": "whitespace", "arguments": {"alphabet": "characters", "unknown": "<unk>"}},
    "fused": {
        "pretokenizer": "whitespace",
        "arguments": {"alphabet": "characters", "unknown": "<unk>", "fuse_unknown": True},
    },
    "fallback": {
        "pretokenizer": "metaspace",
        "fallback": 256,
        "arguments": {"alphabet": "characters", "unknown": "<unk>", "fuse_unknown": True, "byte_fallback": True},
    },
    "half a fallback": {
        "pretokenizer": "metaspace",
        "fallback": 200,
        "arguments": {"alphabet": "characters", "unknown": "<unk>", "fuse_unknown": True, "byte_fallback": True},
    },
    "ends of words": {
        "pretokenizer": "whitespace",
        "arguments": {"alphabet": "characters", "unknown": "<unk>", "end_of_word": "</w>"},
    },
    "continued": {
        "pretokenizer": "whitespace",
        "arguments": {"alphabet": "characters", "unknown": "<unk>", "continuing": "##"},
    },
}


def corpus(foreign: bool = True) -> str:
    from pydoc_data.topics import topics

    return topics["strings"] + topics["binary"] + (" ".join(TEXTS[4:8]) if foreign else "")


def trained(kind: dict, vocab_size: int = 330):
    """Vocabulary and merges by Hugging Face's trainer, and then what the kind takes away or adds."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    arguments = kind.get("arguments", {})
    characters = arguments.get("alphabet") == "characters"
    marks = {
        "continuing_subword_prefix": arguments.get("continuing"),
        "end_of_word_suffix": arguments.get("end_of_word"),
    }
    marks = {name: mark for name, mark in marks.items() if mark}
    theirs = Tokenizer(models.BPE(unk_token="<unk>" if characters else None, **marks))
    theirs.pre_tokenizer = _pre_tokenizer(kind["pretokenizer"], pre_tokenizers)
    special = ["<unk>", *FALLBACK[: kind.get("fallback", 0)]]
    alphabet = [] if characters else list(byte_alphabet())
    theirs.train_from_iterator(
        [corpus(foreign=not characters)],  # so that some characters are unknown
        trainers.BpeTrainer(
            vocab_size=vocab_size + len(special),
            special_tokens=special,
            initial_alphabet=alphabet,
            show_progress=False,
            **marks,
        ),
    )
    model = json.loads(theirs.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    if kind.get("forget"):  # merges that their words can do without
        merges = merges[: -kind["forget"]]
    lacks = set(kind.get("lacks", ()))
    if lacks:
        merges = [pair for pair in merges if not lacks & set("".join(pair))]
        made = {left + right for left, right in merges}
        kept = [name for name in model["vocab"] if name not in lacks and (len(name) == 1 or name in made)]
        model["vocab"] = {name: i for i, name in enumerate(["<unk>", *kept])}
    return model["vocab"], merges


def _pre_tokenizer(name: str, steps):
    plain = steps.ByteLevel(add_prefix_space=False)
    return {
        "gpt2": plain,
        "smollm": steps.Sequence([steps.Digits(individual_digits=True), plain]),
        "whitespace": steps.Whitespace(),
        "metaspace": steps.Metaspace(),
        "none": steps.ByteLevel(add_prefix_space=False, use_regex=False),
    }[name]


def huggingface(kind: dict, vocabulary: dict[str, int], merges: list[tuple[str, str]]):
    """The same tokenizer in the other library."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    given = dict(kind.get("arguments", {}))
    names = {
        "unknown": "unk_token",
        "fuse_unknown": "fuse_unk",
        "end_of_word": "end_of_word_suffix",
        "continuing": "continuing_subword_prefix",
    }
    alphabet = given.pop("alphabet", "bytes")
    theirs = Tokenizer(
        models.BPE(vocabulary, merges, **{names.get(name, name): value for name, value in given.items()})
    )
    theirs.pre_tokenizer = _pre_tokenizer(kind["pretokenizer"], pre_tokenizers)
    if "end_of_word" in given:
        theirs.decoder = decoders.BPEDecoder(suffix=given["end_of_word"])
    elif "continuing" in given:
        theirs.decoder = decoders.WordPiece(prefix=given["continuing"], cleanup=False)
    elif alphabet == "bytes":
        theirs.decoder = decoders.ByteLevel()
    elif kind["pretokenizer"] == "metaspace":
        theirs.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        theirs.decoder = decoders.Fuse()
    return theirs


def ours(kind: dict, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> BPETokenizer:
    return BPETokenizer(
        vocabulary, merges, pretokenizer=PRETOKENIZERS[kind["pretokenizer"]], **kind.get("arguments", {})
    )


def texts(rng: random.Random, count: int) -> list[str]:
    words = corpus().split(" ")
    natural = [" ".join(rng.choices(words, k=rng.randrange(12))) for _ in range(count)]
    return [*TEXTS, *natural, *(old_text(rng) for _ in range(count))]


def old_text(rng: random.Random) -> str:
    """Random text without code points that only newer tables of Unicode than some library's call letters."""
    import unicodedata

    text = random_text(rng, "  abé1.,'\n言😀\u0301\0ñ▁#" if rng.random() < 0.3 else None)
    return "".join(c for c in text if unicodedata.category(c) != "Cn" or (ord(c) >= 0x40000 and ord(c) < 0xE0000))


def ranks_of(vocabulary: dict[str, int]) -> dict[bytes, int]:
    """tiktoken's file for a vocabulary of bytes."""
    byte_of = {name: b for b, name in enumerate(byte_alphabet())}
    return {bytes(byte_of[c] for c in name): i for name, i in vocabulary.items() if name != "<unk>"}


def tiktoken_encoding(ranks: dict[bytes, int], pattern: str):
    import tiktoken

    return tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


def smollm2(path: Path):
    """Vocabulary, merges and special tokens of SmolLM2 from its GGUF file."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    read = {key: fields[f"tokenizer.ggml.{key}"] for key in ("tokens", "merges", "token_type")}
    names, merges = ([bytes(read[key].parts[i]).decode() for i in read[key].data] for key in ("tokens", "merges"))
    kinds = [int(read["token_type"].parts[i][0]) for i in read["token_type"].data]
    vocabulary = {name: i for i, name in enumerate(names)}
    special = [name for name, kind in zip(names, kinds, strict=True) if kind == 3]
    return vocabulary, [tuple(merge.split(" ")) for merge in merges], special


def record(kind: dict, vocabulary: dict[str, int], merges: list[tuple[str, str]], chosen: list[str]) -> dict:
    theirs = huggingface(kind, vocabulary, merges)
    ids = [theirs.encode(text).ids for text in chosen]
    return {
        "kind": kind,
        "names": sorted(vocabulary, key=vocabulary.__getitem__),
        "merges": [" ".join(pair) for pair in merges],
        "ids": ids,
        "decoded": [theirs.decode(own) for own in ids],
    }


def record_tiktoken(vocabulary: dict[str, int], chosen: list[str]) -> list[list[int]]:
    """Ids of the texts; id 0 is the unknown token and has no bytes."""
    from fp_tokenize.pretokenize import GPT2_PATTERN

    encoding = tiktoken_encoding(ranks_of(vocabulary), GPT2_PATTERN)
    return [encoding.encode_ordinary(text) for text in chosen]


def frozen(vocabularies: dict[str, tuple[dict[str, int], list[tuple[str, str]]]]) -> dict:
    """What the fixture holds, for given vocabularies: with marks of words, the trainer's ids vary from run to run."""
    chosen = texts(random.Random(7), 8)
    return {
        "texts": chosen,
        "huggingface": {name: record(KINDS[name], *vocabulary, chosen) for name, vocabulary in vocabularies.items()},
        "tiktoken": record_tiktoken(vocabularies["bytes"][0], chosen),
    }


def read(fixture: dict) -> dict[str, tuple[dict[str, int], list[tuple[str, str]]]]:
    """The vocabularies of a fixture."""
    return {
        name: (
            {token: i for i, token in enumerate(own["names"])},
            [tuple(pair.split(" ")) for pair in own["merges"]],
        )
        for name, own in fixture["huggingface"].items()
    }


if __name__ == "__main__":
    content = frozen({name: trained(kind) for name, kind in KINDS.items()})
    FIXTURE.write_text(json.dumps(content, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"wrote {FIXTURE}, {FIXTURE.stat().st_size} bytes")
