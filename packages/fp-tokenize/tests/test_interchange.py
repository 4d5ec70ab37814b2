"""Mirrors src/fp_tokenize/interchange.py: what is read gives the libraries' ids, what is written is read back."""

import base64
import itertools
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    UnigramTokenizer,
    WordPieceTokenizer,
    from_gguf,
    from_huggingface,
    from_sentencepiece,
    from_tiktoken,
    lattice,
    load,
    save,
    to_huggingface,
    to_tiktoken,
)
from fp_tokenize._huggingface import layout_of, tokenizer_of
from fp_tokenize._sentencepiece import splits_at_spaces
from fp_tokenize._tiktoken import pattern_of, ranks_of
from fp_tokenize.characters import byte_alphabet
from fp_tokenize.frame import Frame
from fp_tokenize.merges import Merges, by_rank, by_string_rank, joined, recover, splits
from fp_tokenize.normalize import Bert, Lowercase, Normalizer, Prepend, Replace, Strip, Unicode
from fp_tokenize.pretokenize import (
    CL100K,
    CL100K_PATTERN,
    GPT2,
    GPT2_PATTERN,
    METASPACE,
    NAMES,
    O200K_PATTERN,
    SMOLLM,
    ByteLevel,
    Digits,
    Metaspace,
    Pretokenizer,
    Punctuation,
    Split,
    Whitespace,
    named,
)
from fp_tokenize.special import AddedToken, Template

FIXTURES = Path(__file__).parent / "fixtures"
CHARACTERS = json.loads((FIXTURES / "huggingface_characters.json").read_text(encoding="utf-8"))
FROZEN = json.loads((FIXTURES / "interchange.json").read_text(encoding="utf-8"))
TEXTS, SHAPES, MODELS = FROZEN["texts"], FROZEN["huggingface"], FROZEN["sentencepiece"]
PLAIN = {"characters": CharTokenizer(CHARACTERS["alphabet"]), "bytes": ByteTokenizer()}
plain = pytest.mark.parametrize("name", PLAIN)
shapes = pytest.mark.parametrize("name", SHAPES)
models = pytest.mark.parametrize("name", MODELS)


@pytest.fixture
def written(tmp_path):
    """A function that writes a file and gives its path."""

    def write(data, name="tokenizer.json"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    return write


# ---- characters and bytes


@pytest.mark.claim("tokenize.merge-free-bpe")
@plain
def test_hugging_face_reads_the_same_ids_from_our_file(name):
    """Its answers are frozen; tools/oracles compares live, on ten thousand random texts."""
    tokenizer = PLAIN[name]
    assert CHARACTERS[name]["vocab_size"] == tokenizer.vocab_size
    for case in CHARACTERS[name]["cases"]:
        assert tokenizer.encode(case["text"]) == case["ids"]
        assert tokenizer.decode(case["ids"]).replace("\ufffd", "<unk>") == case["decoded"].replace("\ufffd", "<unk>")


@pytest.mark.claim("tokenize.merge-free-bpe")
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_vocabulary_in_the_file_spells_every_text_character_by_character(text):
    """The definition of a BPE without merges, applied to what the file says."""
    characters = CharTokenizer("abcñ言😀")
    model = layout_of(characters)["model"]
    names = [c if c in model["vocab"] else model["unk_token"] for c in text]
    assert [model["vocab"][name] for name in names] == characters.encode(text)

    # the ByteLevel part names bytes: the printable ones by themselves, the others in order from U+0100
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    names = [chr(b) if b in printable else chr(256 + others.index(b)) for b in text.encode()]
    assert [layout_of(ByteTokenizer())["model"]["vocab"][name] for name in names] == ByteTokenizer().encode(text)


@plain
def test_a_file_that_hugging_face_wrote_back_is_loaded(name, written):
    assert repr(load(written(CHARACTERS[name]["resaved"]))) == repr(PLAIN[name])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_alphabet_survives(alphabet):
    read = tokenizer_of(json.loads(json.dumps(layout_of(CharTokenizer(alphabet)), ensure_ascii=False)))
    assert isinstance(read, CharTokenizer)
    assert read.alphabet == "".join(sorted(set(alphabet)))


def test_absent_and_empty_parts_are_equal(written):
    data = layout_of(PLAIN["characters"])
    for key in ("truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"):
        del data[key]
    for key in ("dropout", "fuse_unk", "byte_fallback", "ignore_merges"):
        del data["model"][key]
    assert repr(load(written(data))) == repr(PLAIN["characters"])


@plain
@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["model"].update(fuse_unk=True),
        lambda d: d["model"].update(ignore_merges=True),
        lambda d: d.update(normalizer={"type": "NFC"}),
        lambda d: d.update(decoder=None),
        lambda d: d["model"]["vocab"].update({"the": len(d["model"]["vocab"])}),
        lambda d: d["model"]["vocab"].update(a=d["model"]["vocab"]["b"], b=d["model"]["vocab"]["a"]),
    ],
)
def test_what_says_one_thing_more_is_a_byte_pair_encoding(name, change, written):
    data = json.loads(json.dumps(layout_of(PLAIN[name])))
    change(data)
    assert type(load(written(data))) is BPETokenizer


# ---- save and load


def encodings(tokenizer: Frame) -> list[list[int]]:
    return [tokenizer.encode(text, special="parse", template=True) for text in TEXTS]


def every_tokenizer(tmp_path):
    yield from PLAIN.values()
    yield CharTokenizer("abc", [AddedToken("<x>", strip_left=True)])
    yield ByteTokenizer(["<|end|>", AddedToken("word", special=False, single_word=True)])
    for shape in SHAPES.values():
        yield tokenizer_of(shape["layout"])
    for model in MODELS.values():
        (tmp_path / "m.model").write_bytes(base64.b64decode(model["model"]))
        yield from_sentencepiece(tmp_path / "m.model")
    (tmp_path / "m.model").unlink()
    yield BPETokenizer.from_ranks({bytes([b]): b for b in range(256)} | {b"abc": 300}, CL100K, {"<|end|>": 400})
    yield BPETokenizer({"a": 0, "b": 7, "ab": 3}, [("a", "b")], special_tokens=["b"], pretokenizer=SMOLLM)


def test_every_tokenizer_is_loaded_as_it_was_saved(tmp_path):
    count = 0
    for tokenizer in every_tokenizer(tmp_path):
        save(tokenizer, tmp_path)
        again = load(tmp_path)
        assert type(again) is type(tokenizer)
        assert layout_of(again) == layout_of(tokenizer)
        assert again.names == tokenizer.names
        assert [again.id_to_bytes(i) for i in range(again.vocab_size)] == [
            tokenizer.id_to_bytes(i) for i in range(tokenizer.vocab_size)
        ]
        assert encodings(again) == encodings(tokenizer)
        assert [again.decode(ids) for ids in encodings(again)] == [tokenizer.decode(ids) for ids in encodings(again)]
        count += 1
    assert count > 25


@pytest.mark.parametrize("pretokenizer", [*map(named, NAMES), Pretokenizer([ByteLevel(), Digits()])])
def test_bytes_are_named_last_and_by_models_of_bytes_only(pretokenizer, tmp_path):
    words = ["to", "be", "or", "not", "to", "be"] * 3
    for tokenizer in (
        BPETokenizer.train(words, 260, pretokenizer=pretokenizer),
        BPETokenizer.train(words, 12, alphabet="characters", pretokenizer=pretokenizer),
        WordPieceTokenizer.train(words, 16, pretokenizer=pretokenizer),
        UnigramTokenizer.train(words, 16, pretokenizer=pretokenizer),
    ):
        save(tokenizer, tmp_path)
        again = load(tmp_path)
        assert layout_of(again) == layout_of(tokenizer)
        assert encodings(again) == encodings(tokenizer)
        steps = [isinstance(step, ByteLevel) for step in again.pretokenizer.steps]
        in_bytes = isinstance(tokenizer, BPETokenizer) and tokenizer.alphabet == "bytes"
        assert (not any(steps[:-1]) and steps[-1:] == [True] * in_bytes) or (not any(steps) and not in_bytes)


def test_a_space_before_the_text_is_written_for_models_of_bytes_only(tmp_path):
    spaced = Pretokenizer([ByteLevel(add_prefix_space=True)])
    with pytest.raises(ValueError, match="the last step of a model of bytes only"):
        save(UnigramTokenizer.train(["to be"] * 3, 16, pretokenizer=spaced), tmp_path)


@plain
def test_a_template_does_not_change_the_kind(name, tmp_path):
    tokenizer = type(PLAIN[name]).train(["ab"], None, ["<s>"])
    tokenizer.template = Template(("<s>",))
    save(tokenizer, tmp_path)
    assert type(load(tmp_path)) is type(tokenizer)
    assert load(tmp_path).encode("a", template=True) == tokenizer.encode("a", template=True)


@plain
def test_what_is_saved_is_loaded_from_a_file_and_from_a_directory(name, tmp_path):
    tokenizer = PLAIN[name]
    for path in (tmp_path / "new" / "directory", tmp_path / "some.json", str(tmp_path)):
        save(tokenizer, path)
        assert repr(load(path)) == repr(tokenizer)
    assert repr(load(tmp_path / "new/directory/tokenizer.json")) == repr(tokenizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "some.json", "tokenizer.json"]


def test_a_missing_file_is_named(tmp_path):
    for read in (load, from_huggingface, from_sentencepiece, from_gguf, lambda path: from_tiktoken(path, "a")):
        with pytest.raises(FileNotFoundError, match=r"missing"):
            read(tmp_path / "missing.json")


def test_other_kinds_are_not_saved(tmp_path, shapes_unchecked):
    with pytest.raises(TypeError, match="only the tokenizers of this chapter can be saved, got object"):
        save(object(), tmp_path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(failing, tmp_path, monkeypatch):
    save(CharTokenizer("old"), tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full) if failing == "fsync" else monkeypatch.setattr(Path, failing, full)
    with pytest.raises(OSError, match="No space left"):
        save(CharTokenizer("new"), tmp_path)
    assert repr(load(tmp_path)) == "CharTokenizer('dlo')"
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


def test_the_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (steps.append("rename"), replace(a, b))[1])
    save(ByteTokenizer(), tmp_path)
    assert steps == ["fsync", "rename"]


# ---- Hugging Face


@shapes
def test_files_of_hugging_face_give_its_ids(name, written):
    shape = SHAPES[name]
    tokenizer = from_huggingface(written(shape["layout"]))
    for text, ids in zip(TEXTS, shape["ids"], strict=True):
        if name == "unigram-bytes" and "<0x41>" in text:
            assert (
                tokenizer.token_to_id("<0x41>") in ids
            )  # which the library takes for the byte, SentencePiece for text
            continue
        assert tokenizer.encode(text, special="parse") == ids, text
    assert tokenizer.encode("a", special="parse", template=True) == shape["template"]


@pytest.mark.parametrize(
    "name", ["gpt2", "roberta", "llama3", "o200k", "qwen", "deepseek", "llama2", "t5", "unigram-bytes"]
)
def test_files_of_hugging_face_give_its_text(name):
    """Shapes whose decoder says what ours does, but for the unknown token's name."""
    tokenizer = tokenizer_of(SHAPES[name]["layout"])
    for ids, text in zip(SHAPES[name]["ids"], SHAPES[name]["decoded"], strict=False):
        assert tokenizer.decode(ids) == text.replace("<unk>", "\ufffd")


@pytest.mark.parametrize("name", [name for name in SHAPES if SHAPES[name]["layout"]["model"]["type"] == "BPE"])
def test_older_spellings_mean_the_same(name, written):
    layout = SHAPES[name]["layout"]
    model = {key: value for key, value in layout["model"].items() if value not in (None, False)}
    model["merges"] = ["#version: 0.2", *map(" ".join, model["merges"])]
    del model["type"]
    old = {**layout, "model": model, "version": None}
    assert layout_of(from_huggingface(written(old))) == layout_of(tokenizer_of(layout))


@shapes
def test_what_is_written_for_hugging_face_says_the_same(name, tmp_path, written):
    """tools/oracles has the library read it; here, that it is read back, and in which words it is written."""
    tokenizer = tokenizer_of(SHAPES[name]["layout"])
    to_huggingface(tokenizer, tmp_path / "out")
    layout = json.loads((tmp_path / "out/tokenizer.json").read_text())
    assert layout == layout_of(from_huggingface(tmp_path / "out"))
    for part in ("normalizer", "pre_tokenizer", "added_tokens"):
        assert layout[part] == unwrapped(SHAPES[name]["layout"][part]), part
    for key, value in SHAPES[name]["layout"]["model"].items():
        assert layout["model"][key] == value, key


def unwrapped(part):
    """A sequence of one step is that step."""
    members = part.get("normalizers", []) if isinstance(part, dict) else []
    return members[0] if len(members) == 1 else part


STEPS = [
    ([Unicode("NFKC"), Lowercase()], [Whitespace()]),
    ([Strip(False, True)], [Punctuation("merged_with_next")]),
    ([Bert(strip_accents=False)], [Digits(True), Split("x", regex=False, behavior="contiguous", invert=True)]),
    ([Prepend("_"), Replace("a", "b"), Replace(r"\s+", " ", True)], [Metaspace("_", "first", split=False)]),
    ([], [Split(r"\p{L}+", behavior="removed"), ByteLevel(True, False)]),
]


@pytest.mark.parametrize(("normalizer", "pretokenizer"), STEPS)
def test_every_step_is_written_and_read_back(normalizer, pretokenizer):
    alphabet = "bytes" if isinstance(pretokenizer[-1], ByteLevel) else "characters"
    tokenizer = BPETokenizer(
        {"a": 0, "b": 1, "ab": 2, "<x>": 3},
        [("a", "b")],
        alphabet=alphabet,
        normalizer=Normalizer(normalizer),
        pretokenizer=Pretokenizer(pretokenizer),
        special_tokens=["<x>", AddedToken("y", special=False, single_word=True, strip_right=True, normalized=True)],
        template=Template(("<x>", "a"), ("b",)),
    )
    again = tokenizer_of(json.loads(json.dumps(layout_of(tokenizer))))
    assert again.normalizer == tokenizer.normalizer
    assert again.pretokenizer == tokenizer.pretokenizer
    assert again.added_tokens == sorted(tokenizer.added_tokens, key=lambda t: tokenizer.token_to_id(t.content))
    assert again.template == tokenizer.template


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [Whitespace()],
        [Split(GPT2_PATTERN)],
        [ByteLevel(), Digits(True)],
        [ByteLevel(use_regex=False), Punctuation()],
    ],
)
def test_bytes_are_written_as_bytes_whatever_splits_them(steps, tmp_path):
    """In the layout it is the last step that makes bytes of text; here, the tokenizer does in any case."""
    tokenizer = byte_pairs([("a", "b"), ("Ã", "©")], pretokenizer=Pretokenizer(steps))
    save(tokenizer, tmp_path)
    again = load(tmp_path)
    assert encodings(again) == encodings(tokenizer)
    assert layout_of(again) == layout_of(tokenizer)


@pytest.mark.parametrize(
    ("part", "template"),
    [
        ({"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]}, Template(("[CLS]",), ("[SEP]",))),
        (
            {
                "type": "RobertaProcessing",
                "cls": ["[CLS]", 1],
                "sep": ["[SEP]", 2],
                "trim_offsets": True,
                "add_prefix_space": False,
            },
            Template(("[CLS]",), ("[SEP]",)),
        ),
        ({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, Template()),
        ({"type": "Sequence", "processors": [{"type": "ByteLevel", "trim_offsets": True}]}, Template()),
        (
            {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "two", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 1}},
                    {"SpecialToken": {"id": "two", "type_id": 0}},
                ],
                "pair": [{"anything": 1}],
                "special_tokens": {"two": {"id": "two", "ids": [1, 2], "tokens": ["[CLS]", "[SEP]"]}},
            },
            Template(("[CLS]", "[SEP]"), ("[CLS]", "[SEP]")),
        ),
    ],
)
def test_every_kind_of_template_is_read(part, template):
    model = {"type": "BPE", "vocab": {"a": 0, "[CLS]": 1, "[SEP]": 2}, "merges": []}
    assert tokenizer_of({"model": model, "post_processor": part}).template == template


def test_an_inexact_export_is_refused_unless_asked_for(tmp_path, written):
    path = written(base64.b64decode(MODELS["unigram-user"]["model"]), "m.model")
    tokenizer = from_sentencepiece(path)
    with pytest.raises(ValueError, match=r"no place for this tokenizer's user_defined, single_precision, table"):
        to_huggingface(tokenizer, tmp_path)
    to_huggingface(tokenizer, tmp_path, exact=False)
    assert "fp_tokenize" not in json.loads((tmp_path / "tokenizer.json").read_text())
    assert load(tmp_path).encode("the cat") == tokenizer.encode("the cat")


# ---- SentencePiece


@models
def test_models_of_sentencepiece_give_its_ids(name, written):
    tokenizer = from_sentencepiece(written(base64.b64decode(MODELS[name]["model"]), "m.model"))
    assert type(tokenizer) is (UnigramTokenizer if name.startswith("unigram") else BPETokenizer)
    for text, ids in zip(TEXTS, MODELS[name]["ids"], strict=True):
        assert tokenizer.encode(text) == ids, text


@pytest.mark.parametrize("name", ["unigram-identity", "unigram-bytes", "unigram-across", "bpe-llama"])
def test_models_of_sentencepiece_give_its_text(name, written):
    tokenizer = from_sentencepiece(written(base64.b64decode(MODELS[name]["model"]), "m.model"))
    for ids, text in zip(MODELS[name]["ids"], MODELS[name]["decoded"], strict=False):
        assert tokenizer.decode(ids) == text.replace(" \u2047 ", "\ufffd")  # its text for the unknown piece


ALPHABET = "ab▁"
WORDS = ["".join(w) for n in range(1, 8) for w in itertools.product(ALPHABET, repeat=n)]


def cut_at_runs(text):
    """A text cut before every ▁ that is directly behind another character."""
    places = [i for i in range(1, len(text)) if text[i] == "▁" != text[i - 1]]
    return [text[i:j] for i, j in itertools.pairwise([0, *places, len(text)])]


def random_pieces(rng, across):
    """Distinct strings of two to four characters, with their ranks; `across` allows a ▁ behind another character."""
    possible = [w for w in WORDS if 2 <= len(w) <= 4 and (across or "▁" not in w.lstrip("▁"))]
    return {piece: rank for rank, piece in enumerate(rng.sample(possible, 8))}


@pytest.mark.claim("tokenize.pieces-between-runs")
def test_nothing_changes_if_texts_are_cut_before_runs_of_spaces():
    """Texts of up to seven characters, twenty random vocabularies, both algorithms."""
    rng = random.Random(3)
    for _ in range(20):
        ranks = random_pieces(rng, across=False)
        # quarters, so that sums are exact and ties are ties (`tokenize.exact-sums`)
        scores = {piece: rng.randrange(-40, -4) / 4 for piece in [*ranks, *rng.sample(ALPHABET, 2)]}
        for text in rng.sample(WORDS, 300):
            parts = cut_at_runs(text)
            assert by_string_rank(text, ranks) == [p for part in parts for p in by_string_rank(part, ranks)]
            assert best(text, scores) == [p for part in parts for p in best(part, scores)]


def best(text, scores):
    _, places = lattice.best(lattice.edges_of(text, scores, -20.0))
    return list(lattice.pieces(text, places))


@pytest.mark.claim("tokenize.pieces-between-runs")
def test_with_a_piece_across_something_changes():
    """So the hypothesis is needed."""
    rng = random.Random(4)
    ranks = random_pieces(rng, across=True) | {"a▁": -1}
    assert any(
        by_string_rank(w, ranks) != [p for part in cut_at_runs(w) for p in by_string_rank(part, ranks)] for w in WORDS
    )


@pytest.mark.claim("tokenize.pieces-between-runs")
@pytest.mark.parametrize(
    ("names", "text", "words"),
    [
        (["▁", "a", "▁a", "▁ab"], "ab  a b", ["ab", "▁", "▁a", "▁b"]),
        (["▁", "a", "▁▁", "▁▁▁"], "ab  a b ", ["ab", "▁▁a", "▁b", "▁"]),
        (["▁", "a", "▁▁", "a▁b"], "ab  a b", ["ab▁▁a▁b"]),
    ],
)
def test_texts_are_cut_as_finely_as_the_pieces_allow(names, text, words):
    assert Pretokenizer(splits_at_spaces(names)).split(text) == words


# ---- tiktoken


@pytest.fixture
def rank_file(written):
    tokenizer = tokenizer_of(SHAPES["gpt2"]["layout"])
    lines = [base64.b64encode(token) + b" %d" % rank for token, rank in ranks_of(tokenizer).items()]
    return written(b"\n".join(lines), "gpt2.tiktoken")


@pytest.mark.parametrize(
    ("name", "pattern"), [("gpt2", GPT2_PATTERN), ("cl100k", CL100K_PATTERN), ("o200k", O200K_PATTERN)]
)
def test_rank_files_give_the_ids_of_tiktoken(name, pattern, rank_file):
    tokenizer = from_tiktoken(rank_file, pattern, {"<|endoftext|>": 5000})
    for text, ids in zip(TEXTS, FROZEN["tiktoken"][name], strict=True):
        assert tokenizer.encode(text) == ids, text
    assert tokenizer.encode("a<|endoftext|>", special="parse")[-1] == 5000


def test_what_a_pattern_does_not_match_is_left_out(rank_file):
    tokenizer = from_tiktoken(rank_file, r"\p{L}+")
    assert tokenizer.decode(tokenizer.encode("one, 2 two")) == "onetwo"


@pytest.mark.parametrize("name", ["gpt2", "o200k", "deepseek", "qwen"])
def test_ranks_are_written_and_read_back(name, tmp_path):
    layout = SHAPES[name]["layout"]
    layout = {**layout, "normalizer": None, "added_tokens": [t for t in layout["added_tokens"] if t["special"]]}
    tokenizer = tokenizer_of(layout)
    if name == "deepseek":
        with pytest.raises(ValueError, match="tiktoken finds words by one pattern, and there is none for"):
            to_tiktoken(tokenizer, tmp_path / "x.tiktoken")
        assert list(tmp_path.iterdir()) == []
        return
    rest = to_tiktoken(tokenizer, tmp_path / "x.tiktoken")
    again = from_tiktoken(tmp_path / "x.tiktoken", rest["pat_str"], rest["special_tokens"])
    for text in TEXTS:
        assert again.encode(text, special="parse") == tokenizer.encode(text, special="parse")


@pytest.mark.parametrize(
    "pretokenizer",
    [
        GPT2,
        CL100K,
        SMOLLM,
        Pretokenizer(),
        Pretokenizer([ByteLevel(use_regex=False)]),
        Pretokenizer([Split(r"\d+")]),
        Pretokenizer([Split(r"[a-z]+|\s\s", behavior="removed", invert=True)]),
    ],
)
def test_a_pattern_finds_the_words_of_its_pre_tokenizer(pretokenizer):
    pattern = Pretokenizer([Split(pattern_of(pretokenizer), behavior="removed", invert=True)])
    for text in TEXTS:
        assert pattern.split(text) == pretokenizer.split(text)


@pytest.mark.claim("tokenize.merges-as-ranks")
def test_lists_that_contain_the_recovered_merges_in_order_do_what_ranks_do():
    """Random ranks that merges can be recovered from, random lists between the recovered and all, all short words."""
    rng = random.Random(5)
    words = ["".join(w) for n in range(1, 8) for w in itertools.product("ab", repeat=n)]
    tried = 0
    while tried < 30:
        longer = rng.sample([w for w in words if 2 <= len(w) <= 5], 5)
        ranks = {string: rank for rank, string in enumerate(["a", "b", *sorted(longer, key=len)])}
        found = recover(ranks)
        if found is None:
            continue
        tried += 1
        others = [pair for pair in splits(ranks).pairs if pair not in found]
        pairs = [*found, *rng.sample(others, rng.randrange(len(others) + 1))]
        rng.shuffle(pairs)
        pairs.sort(key=lambda pair: ranks["".join(pair)])
        merges = joined(pairs)
        for word in words:
            assert by_rank(word, merges) == by_string_rank(word, ranks)


@pytest.mark.claim("tokenize.merges-as-ranks")
def test_without_a_recovered_merge_a_word_is_cut_in_another_way():
    ranks = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    assert recover(ranks) == [("a", "b"), ("b", "c"), ("ab", "c")]
    lacking = Merges([("a", "b"), ("b", "c"), ("a", "bc")], ["ab", "bc", "abc"])
    assert by_rank("abc", lacking) == ["ab", "c"] != by_string_rank("abc", ranks) == ["abc"]


def byte_pairs(merges, ids=None, **settings):
    """A tokenizer of the 256 bytes and some merges."""
    names = [*byte_alphabet(), *dict.fromkeys("".join(pair) for pair in merges)]
    vocabulary = {name: i for i, name in enumerate(names)} | (ids or {})
    return BPETokenizer(vocabulary, merges, **settings)


def test_lists_that_name_every_cut_are_written(tmp_path):
    """As Llama 3's file does."""
    every = byte_pairs([("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")], ignore_merges=True)
    one = byte_pairs([("b", "c"), ("a", "b"), ("a", "bc")], ignore_merges=True)
    assert to_tiktoken(every, tmp_path / "every")["pat_str"] == r"[\s\S]+"
    to_tiktoken(one, tmp_path / "one")
    assert (tmp_path / "every").read_bytes() == (tmp_path / "one").read_bytes()


@pytest.mark.parametrize(
    ("tokenizer", "error", "sentence"),
    [
        (ByteTokenizer(), TypeError, "only a BPETokenizer of bytes has ranks, got ByteTokenizer"),
        (CharTokenizer("a"), TypeError, "only a BPETokenizer of bytes has ranks"),
        (BPETokenizer({"a": 0}, [], alphabet="characters"), TypeError, "only a BPETokenizer of bytes has ranks"),
        (BPETokenizer({"a": 0}, []), ValueError, "255 bytes have no token, 0x00 for one"),
        (byte_pairs([], {"日": 256}), ValueError, "the token '日' does not spell bytes"),
        (byte_pairs([("a", "b")], normalizer=Normalizer.named("nfc")), ValueError, "no place for a normaliser"),
        (byte_pairs([], end_of_word="</w>"), ValueError, "no place for end_of_word='</w>'"),
        (
            byte_pairs([], special_tokens=[AddedToken("<x>", special=False)]),
            ValueError,
            "special tokens without options only",
        ),
        (byte_pairs([("a", "b"), ("b", "c"), ("a", "bc")]), ValueError, "the merges are not those behind the ranks"),
        (byte_pairs([("a", "b"), ("c", "d")], {"ab": 257, "cd": 256}), ValueError, "the merges are not those"),
        (byte_pairs([("a", "b")], {"abc": 257}), ValueError, "the merges are not those behind the ranks"),
        (
            byte_pairs([], pretokenizer=Pretokenizer([Digits(), ByteLevel()])),
            ValueError,
            "one pattern, and there is none",
        ),
        (byte_pairs([], pretokenizer=Pretokenizer([Split("a", regex=False)])), ValueError, "there is none for"),
    ],
)
def test_what_tiktoken_would_cut_differently_is_not_written(tokenizer, error, sentence, tmp_path):
    with pytest.raises(error, match=sentence):
        to_tiktoken(tokenizer, tmp_path / "x.tiktoken")
    assert list(tmp_path.iterdir()) == []


def test_ranks_behind_which_there_are_no_merges_are_written_again(written, tmp_path):
    lines = [base64.b64encode(bytes([b])) + b" %d" % b for b in range(256)] + [base64.b64encode(b"abc") + b" 300"]
    path = written(b"\n".join(lines) + b"\n", "x.tiktoken")
    tokenizer = from_tiktoken(path, GPT2_PATTERN)
    to_tiktoken(tokenizer, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    save(tokenizer, tmp_path)
    to_tiktoken(load(tmp_path), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_metaspace_is_the_default_of_nothing_read():
    """What is read has the file's pre-tokenizer, also if it is none."""
    pieces = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1]]}
    assert tokenizer_of({"model": pieces}).pretokenizer == Pretokenizer() != METASPACE
    words = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "", "max_input_chars_per_word": 9}
    read = tokenizer_of({"model": {**words, "vocab": {"[UNK]": 0, "a": 1}}})
    assert (read.normalizer, read.pretokenizer) == (Normalizer(), Pretokenizer())


def test_random_bytes_are_refused_by_every_reader(written):
    rng = np.random.default_rng(6)
    for size in (0, 1, 10, 1000):
        path = written(rng.bytes(size), "random.json")
        for read in (load, from_sentencepiece, from_gguf, lambda path: from_tiktoken(path, "a")):
            with pytest.raises(ValueError, match=r"random\.json cannot be read: "):
                read(path)
