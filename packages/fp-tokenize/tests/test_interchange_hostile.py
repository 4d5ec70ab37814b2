"""src/fp_tokenize/interchange.py again: files that are wrong or meant to do harm, each refused with its place, soon."""

import base64
import copy
import json
import random
import time
from pathlib import Path

import pytest

from fp_tokenize import from_huggingface, from_sentencepiece, from_tiktoken
from fp_tokenize._huggingface import tokenizer_of

FROZEN = json.loads((Path(__file__).parent / "fixtures/interchange.json").read_text(encoding="utf-8"))
SHAPES, MODELS = FROZEN["huggingface"], FROZEN["sentencepiece"]


def bpe(vocab, merges, **fields):
    return {"model": {"type": "BPE", "vocab": vocab, "merges": merges, **fields}}


def pre(**fields):
    return {**bpe({"a": 0}, []), "pre_tokenizer": fields}


def norm(**fields):
    return {**bpe({"a": 0}, []), "normalizer": fields}


def added(**fields):
    token = {"id": 1, "content": "<x>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {**bpe({"a": 0}, []), "added_tokens": [{**token, "special": True, **fields}]}


def post(**fields):
    return {**bpe({"a": 0, "b": 1}, []), "post_processor": fields}


def decode(**fields):
    return {**bpe({"a": 0, "<0x41>": 1}, []), "decoder": fields}


def unigram(vocab, **fields):
    return {"model": {"type": "Unigram", "vocab": vocab, "unk_id": 0, **fields}}


def piece(text, *around):
    return {"type": "TemplateProcessing", "single": [*around, {"Sequence": {"id": text}}], "special_tokens": {}}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
NFC = {"type": "NFC"}
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
TOKEN = {"SpecialToken": {"id": "b", "type_id": 0}}
SEVERAL = {"b": {"id": "b", "ids": [0], "tokens": ["b"]}}
WORDPIECE = {"type": "WordPiece", "unk_token": "u", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9}

REFUSED = [
    # no tokenizer at all
    ([], "it is no tokenizer: it has no model"),
    (7, "it is no tokenizer: it has no model"),
    ({"model": []}, "it is no tokenizer: it has no model"),
    ({"model": {}}, "model.type should be a string, and is None"),
    ({"model": {"type": "WordLevel"}}, "model.type is 'WordLevel'; the models read are BPE, WordPiece, Unigram"),
    ({**bpe({"a": 0}, []), "version": "2.0"}, "version is '2.0', and only 1.0 is read"),
    ({**bpe({"a": 0}, []), "surprise": {"x": 1}}, "surprise is {'x': 1}, which is not understood here"),
    ({**bpe({"a": 0}, []), "truncation": {"max_length": 9}}, r"truncation changes the ids .* \(no_truncation\(\)\)"),
    ({**bpe({"a": 0}, []), "padding": {"pad_id": 0}}, r"padding changes the ids .* \(no_padding\(\)\)"),
    # vocabularies
    (bpe({}, []), "model.vocab should be an object of names and ids"),
    (bpe({"a": -5}, []), "model.vocab should give ids, whole numbers from 0, and gives 'a' -5"),
    (bpe({"a": 10**18}, []), "model.vocab should number its 1 tokens with at most 65536 gaps"),
    (bpe({"a": 0, "b": 0}, []), "model.vocab gives one id to two tokens"),
    (bpe({"a": 0.5}, []), ".*whole numbers from 0, and gives 'a' 0.5"),
    (bpe({"\udc00": 0}, []), "a name in model.vocab should be text, and has a lone surrogate"),
    (bpe({"a": 0}, [], unk_token="u"), "model.unk_token is 'u', which is not in the vocabulary"),
    (bpe({"a": 0}, [], unk_token=5), "model.unk_token should be a string, and is 5"),
    (bpe({"a": 0}, [], byte_fallback="yes"), "model.byte_fallback should be true or false"),
    (bpe({"a": 0}, [], dropout=0.1), "model.dropout is 0.1: the ids would be random"),
    (bpe({"a": 0}, [], cache=5), "model.cache is 5, which is not understood here"),
    # merges
    (bpe({"a": 0}, None), "model.merges should be a list, and is None"),
    (bpe({"a": 0}, {}), "model.merges should be a list, and is {}"),
    (bpe({"a": 0}, ["a"]), r"model.merges\[0\] should be two names, and is 'a'"),
    (bpe({"a": 0}, ["a b c"]), r"model.merges\[0\] should be two names"),
    (bpe({"a": 0}, [["a", "a"], ["a", 1]]), r"model.merges\[1\] should be two names"),
    (bpe({"a": 0}, [["a", "\ud800"]]), "a name in model.merges should be text, and has a lone surrogate"),
    (
        bpe({"a": 0, "b": 1}, [["a", "b"]]),
        "model is refused: merge 0, 'a' [+] 'b', needs 'ab', which is not in",
    ),
    (bpe({"a": 0, "ab": 1}, [["a", "b"]]), "model is refused: merge 0, 'a' [+] 'b', needs 'b'"),
    (bpe({"a": 0, "": 1}, [["a", ""]]), "model is refused: merge 0, 'a' [+] '', is none: nothing becomes longer"),
    (
        bpe({"a": 0, "##": 1}, [["a", "##"]], continuing_subword_prefix="##"),
        "model is refused: merge 0, 'a' [+] '##', is none: nothing becomes longer",
    ),
    (
        {**bpe({"a": 0}, []), "fp_tokenize": {"ranks": [0]}},
        "fp_tokenize.ranks should have one rank",
    ),
    ({**bpe({"a": 0}, []), "fp_tokenize": {"table": {"keep": [], "prefix": ""}}}, "fp_tokenize.table does not fit"),
    ({**bpe({"a": 0}, []), "fp_tokenize": {"magic": 1}}, "fp_tokenize.magic is 1, which is not understood here"),
    # Unigram and WordPiece
    (unigram({}), "model.vocab should be a list"),
    (unigram([["a"]]), r"model.vocab\[0\] should be a piece and its score"),
    (unigram([["a", "-1"]]), r"model.vocab\[0\]\[1\] should be a number, and is '-1'"),
    (unigram([["a", True]]), r"model.vocab\[0\]\[1\] should be a number"),
    (unigram([[5, -1]]), r"model.vocab\[0\]\[0\] should be a string, and is 5"),
    (unigram([["u", 0], ["a", -1], ["a", -2]]), r"model.vocab\[1\] is 'a', which occurs again"),
    (unigram([["u", 0], ["a", -1]], unk_id=2), "model.unk_id is 2, and there are 2 pieces"),
    (unigram([["u", 0], ["a", -1]], unk_id=-1), "model.unk_id should be a whole number"),
    (unigram([["u", 0], ["", -1]]), "model is refused: .*empty"),
    (
        {**unigram([["u", 0], ["a", -1]]), "pre_tokenizer": BYTES},
        "pre_tokenizer has ByteLevel, which is read for",
    ),
    ({"model": {**WORDPIECE, "vocab": {"a": 0}}}, "model is refused: .*'u', which is not among"),
    ({"model": {**WORDPIECE, "vocab": {"u": 0}, "max_input_chars_per_word": 0}}, "model is refused: max_word"),
    # normalisers
    (
        norm(type="Sequence", normalizers=[NFC, {"type": "ByteLevel"}]),
        r"normalizer.normalizers\[1\].type is 'ByteL",
    ),
    (norm(type="Strip", strip_left=1, strip_right=True), "normalizer.strip_left should be true or false, and is 1"),
    (norm(type="NFC", form="x"), "normalizer.form is 'x', which is not understood here"),
    (norm(type="Prepend"), "normalizer.prepend should be a string, and is None"),
    (norm(type="Replace", pattern={"Regex": "("}, content=""), "normalizer is refused: '[(]' is no regular expression"),
    (norm(type="Replace", pattern={"Regex": r"\h"}, content=""), "normalizer.pattern.Regex has .*may read differently"),
    (norm(type="Replace", pattern="x", content=""), "normalizer.pattern should be an object with named fields"),
    (norm(type="Replace", pattern={"Glob": "x"}, content=""), "normalizer.pattern should be a String or a Regex"),
    (norm(type="Precompiled", precompiled_charsmap="****"), "normalizer.precompiled_charsmap should be base64"),
    (norm(type="Precompiled", precompiled_charsmap="AAAA"), "normalizer.precompiled_charsmap is refused: a charsmap"),
    (norm(type="Precompiled", precompiled_charsmap=base64.b64encode(b"\xfc\xff\xff\xff" * 9).decode()), ".*charsmap"),
    # pre-tokenizers
    (pre(type="UnicodeScripts"), "pre_tokenizer.type is 'UnicodeScripts', a pre-tokenizer that is not read here"),
    (pre(type="Sequence", pretokenizers=[BYTES, BYTES]), "pre_tokenizer has ByteLevel before its last step"),
    (pre(**SPLIT, pattern={"Regex": "[a"}), "pre_tokenizer is refused: .*is no regular expression"),
    (pre(**{**SPLIT, "behavior": "Kept"}, pattern={"String": "a"}), "pre_tokenizer.behavior should be one of Isolated"),
    (pre(**SPLIT, pattern={"Regex": r"(?i:ss)"}), "pre_tokenizer.pattern.Regex has .*may read differently"),
    (
        pre(**SPLIT, pattern={"Regex": "(?:(?:(?:a{999}){999}){999}){999}"}),
        "pre_tokenizer is refused: .*repetitions are written out",
    ),
    (pre(type="Metaspace", replacement="__"), "pre_tokenizer is refused: the replacement of a space is one character"),
    (pre(type="Metaspace", replacement="_", prepend_scheme="last"), "pre_tokenizer is refused: prepend_scheme"),
    (
        pre(type="Metaspace", replacement="_", prepend_scheme="first", add_prefix_space=False),
        "pre_tokenizer.add_prefix_space is false, against prepend_scheme 'first'",
    ),
    # decoders
    (decode(type="CTC", pad_token="x"), "decoder.type is 'CTC', a decoder that is not read here"),
    (decode(**BYTES), "decoder does not fit BPE of characters"),
    (decode(type="ByteFallback"), "decoder does not fit BPE of characters"),
    (decode(type="WordPiece", prefix="##", cleanup=False), "decoder does not fit BPE of characters"),
    (decode(type="Strip", content=" ", start=1, stop=0), "decoder.type is 'Strip'"),
    (
        decode(type="Sequence", decoders=[{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 0}]),
        r"decoder.decoders\[1\] is .*, which does something to decoded text that this package does not do",
    ),
    (
        decode(type="Sequence", decoders=[{"type": "Fuse"}, {"type": "ByteFallback"}]),
        r"decoder.decoders\[1\] is .*, which does something",
    ),
    ({**bpe({"a": 0}, []), "pre_tokenizer": BYTES, "decoder": {"type": "Fuse"}}, "decoder does not fit BPE of bytes"),
    # added tokens
    (added(id=0), "added_tokens\\[0\\].id is 0, and '<x>' gets the id 1"),
    (added(id=10**9), "added_tokens\\[0\\].id is 1000000000, and '<x>' gets the id 1"),
    (added(id=-1), "added_tokens\\[0\\].id should be a whole number"),
    (added(content=""), "added_tokens\\[0\\] is refused: an added token needs a spelling"),
    (added(content="\udfff"), "added_tokens\\[0\\].content should be text, and has a lone surrogate"),
    (added(special=None), "added_tokens\\[0\\].special should be true or false"),
    (added(weight=2), "added_tokens\\[0\\].weight is 2, which is not understood here"),
    ({**added(), "added_tokens": added()["added_tokens"] * 2}, "added_tokens\\[1\\] is the second added token '<x>'"),
    ({**added(id=2), **bpe({"a": 0, "c": 5}, [])}, "added_tokens has '<x>' after a vocabulary with gaps"),
    # templates
    (post(type="Magic"), "post_processor.type is 'Magic', a post-processor that is not read here"),
    (post(type="BertProcessing", cls=["a", 1], sep=["b", 1]), r"post_processor.cls\[1\] is 1, and the id of 'a' is 0"),
    (post(type="BertProcessing", cls=["a", 0], sep=["b"]), "post_processor.sep should be a name and an id"),
    (post(**piece("B")), r"post_processor.single\[0\].Sequence should be the one text, A"),
    (post(**piece("A", {"Sequence": {"id": "A"}})), r"post_processor.single\[1\].Sequence should be the one text, A"),
    (
        post(**piece("A", TOKEN)),
        r"post_processor.single\[0\].SpecialToken names 'b', which is not among",
    ),
    (
        post(**{**piece("A", TOKEN), "special_tokens": SEVERAL}),
        r".*s.b.ids\[0\] is 0, and the id of 'b' is 1",
    ),
    (post(type="TemplateProcessing", single=[], special_tokens={}), "post_processor.single has no place for the text"),
    (
        post(type="Sequence", processors=[{"type": "BertProcessing", "cls": ["a", 0], "sep": ["b", 1]}] * 2),
        "post_processor has two parts that add tokens",
    ),
]


@pytest.mark.parametrize(("data", "sentence"), REFUSED)
def test_what_is_not_understood_is_named(data, sentence, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=rf"(?s)tokenizer\.json cannot be read: {sentence}"):
        from_huggingface(path)


@pytest.mark.parametrize("data", [SHAPES["gpt2"]["layout"], SHAPES["t5"]["layout"]])
def test_a_file_cut_anywhere_is_refused(data, tmp_path):
    whole = json.dumps(data).encode()
    for cut in [0, 1, *random.Random(3).sample(range(2, len(whole) - 1), 30)]:
        (tmp_path / "cut.json").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"(?s)cut\.json cannot be read: it is no JSON: .* Is it cut off"):
            from_huggingface(tmp_path / "cut.json")


@pytest.mark.parametrize(
    "nested",
    [
        lambda inner: {"type": "Sequence", "normalizers": [inner]},
        lambda inner: {"type": "Sequence", "normalizers": [NFC, inner]},
    ],
)
def test_sequences_in_sequences_end(nested, tmp_path):
    part = NFC
    for _ in range(300):
        part = nested(part)
    (tmp_path / "tokenizer.json").write_text(json.dumps({**bpe({"a": 0}, []), "normalizer": part}))
    try:
        assert from_huggingface(tmp_path).encode("a") == [0]
    except ValueError as error:
        sentence = str(error)
        assert "nested too deeply" in sentence


def leaves(data, path=()):
    """The paths of all parts of a layout, but only of some members of its long lists and objects."""
    yield path
    if isinstance(data, dict):
        for key in list(data)[:12]:
            yield from leaves(data[key], (*path, key))
    elif isinstance(data, list):
        for i in range(min(len(data), 4)):
            yield from leaves(data[i], (*path, i))


JUNK = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    10**40,
    0.5,
    "",
    "x",
    "▁",
    "\ud800",
    "\0",
    [],
    [[]],
    [None],
    {},
    {"type": "Sequence"},
    {"a": 1},
]


@pytest.mark.parametrize("name", ["gpt2", "roberta", "llama2", "clip", "bert", "xlm", "unigram-bytes"])
def test_whatever_stands_in_a_place_a_file_is_read_or_refused(name):
    """Every part of real files replaced by junk: no other error than a clear one."""
    layout, rng = SHAPES[name]["layout"], random.Random(7)
    sentences, total = [], 0
    for path in leaves(layout):
        for junk in rng.sample(JUNK, 3):
            data = copy.deepcopy(layout) if path else junk
            part = data
            for key in path[:-1]:
                part = part[key]
            if path:
                part[path[-1]] = junk
            total += 1
            try:
                tokenizer_of(data).encode("the cat")
            except ValueError as error:
                sentences.append(str(error))
    assert total > 150
    assert len(sentences) > total / 2
    assert all(10 < len(sentence) < 600 for sentence in sentences)


@pytest.mark.parametrize(
    "step",
    [
        {"pre_tokenizer": {**SPLIT, "pattern": {"Regex": "(?:a|aa)+$"}}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(?:a|aa)+$"}, "content": ""}},
    ],
)
def test_a_pattern_without_bound_runs_into_a_limit(step, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({**bpe({"a": 0}, []), **step}))
    tokenizer, start = from_huggingface(tmp_path), time.perf_counter()
    with pytest.raises(ValueError, match="takes more than"):
        tokenizer.encode("a" * 100 + "c")
    assert time.perf_counter() - start < 60  # the limit is two seconds, of a busy machine


# ---- the other formats


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([b"YQ=="], "line 1 should be base64, a space and a rank, and is b'YQ=='"),
        ([b"YQ== 0 0"], "line 1 should be base64, a space and a rank"),
        ([b"YQ== -1"], "line 1 should be base64, a space and a rank"),
        ([b"YQ== 1.5"], "line 1 should be base64, a space and a rank"),
        ([b"YQ== 99999999999999"], "line 1 should be base64, a space and a rank"),
        (["YQ== ٣".encode()], "line 1 should be base64, a space and a rank"),
        ([b"Y 0"], "line 1 should begin with base64"),
        ([b"YQ== 0", b"", b"YQ== 1"], "line 3 gives the string b'a' a second time"),
        ([b"YQ== 0", b"Yg== 0"], "line 2 gives the rank 0 a second time"),
        ([b"YQ== 0"], "255 bytes have no rank, 0x00 for one"),
        ([b"AA== 4000000000"], "256 ranks should have at most 65536 gaps, and the largest is 4000000000"),
        ([b" 300"], "line 1 should be base64"),
        ([b"= 300"], "line 1 should begin with base64"),
    ],
)
def test_rank_files_that_are_none_are_refused(lines, sentence, tmp_path):
    every = [base64.b64encode(bytes([b])) + b" %d" % b for b in range(1, 256)]
    lines = [*lines, *every] if b"4000000000" in lines[0] else lines
    (tmp_path / "x.tiktoken").write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=rf"x\.tiktoken cannot be read: {sentence}"):
        from_tiktoken(tmp_path / "x.tiktoken", "a")


@pytest.mark.parametrize(
    ("pattern", "special", "sentence"),
    [
        ("(", {}, "is no regular expression"),
        ("a", {"<x>": 5}, "the special token '<x>' has the id 5 of b'.x05'"),
        ("a", {"<x>": -5}, "the id of '<x>' should be a whole number"),
        ("a", {"<x>": 10**9}, "the special token '<x>' has the id 1000000000, far behind the last rank 255"),
        ("a", {"<x>": 300, "<y>": 300}, "each token needs an id of its own"),
        ("a", {"": 300}, "needs a spelling"),
    ],
)
def test_what_does_not_fit_a_rank_file_is_refused(pattern, special, sentence, tmp_path):
    lines = [base64.b64encode(bytes([b])) + b" %d" % b for b in range(256)]
    (tmp_path / "x.tiktoken").write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=rf"x\.tiktoken cannot be read: .*{sentence}"):
        from_tiktoken(tmp_path / "x.tiktoken", pattern, special)


@pytest.mark.parametrize("name", ["unigram", "bpe-user"])
def test_models_with_bytes_changed_are_read_or_refused(name, tmp_path):
    """A hundred times one byte of a real model is replaced."""
    whole, rng = base64.b64decode(MODELS[name]["model"]), random.Random(8)
    refused = 0
    for _ in range(100):
        data = bytearray(whole)
        data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "m.model").write_bytes(data)
        try:
            from_sentencepiece(tmp_path / "m.model").encode("the cat sat")
        except ValueError:
            refused += 1
    assert 10 < refused < 100
