"""The readers beneath src/fp_tokenize/interchange.py: JSON, GGUF, Protocol Buffers, patterns. All files are suspect."""

import base64
import json
import resource
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import WordPieceTokenizer, from_gguf, from_sentencepiece, load, to_huggingface
from fp_tokenize._huggingface import tokenizer_of
from fp_tokenize._oniguruma import check
from fp_tokenize._reading import MAX_GAP, Part, read_json
from fp_tokenize._sentencepiece import Piece, read_model
from fp_tokenize._wire import GGUF, message
from fp_tokenize.pretokenize import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN
from fp_tokenize.special import Template

FROZEN = json.loads((Path(__file__).parent / "fixtures/interchange.json").read_text(encoding="utf-8"))
TEXTS, SHAPES, MODELS = FROZEN["texts"], FROZEN["huggingface"], FROZEN["sentencepiece"]

# ---- JSON


def written(tmp_path, data):
    path = tmp_path / "file.json"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "b": {"x": 1, "x": 2}}', "the key 'x' occurs twice in one object"),
        ('{"a": 1e400}', "1e400 is beyond the range of numbers"),
        ('{"a": -1e400}', "beyond the range"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ("[Infinity, -Infinity]", "Infinity is no number of JSON"),
        ('{"a": ' + "9" * 5000 + "}", "4300 digits"),
        ('{"a": 1', "Expecting"),
        ("[" * 100_000, "recursion"),
        ('{"a":' * 100_000, "recursion"),
        (b"\xff\xfe{}", "utf-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        ("", "Expecting value"),
    ],
)
def test_json_is_read_strictly(text, why, tmp_path):
    with pytest.raises(ValueError, match=f"(?s)it is no JSON: .*{why}.*Is it cut off, or another kind of file?"):
        read_json(written(tmp_path, text))


def test_values_are_shown_short():
    with pytest.raises(ValueError, match=r"^model\.vocab should be a string, and is .'x{10,40}") as caught:
        Part({"vocab": ["x" * 10**6]}, "model").part("vocab").text()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("take", "value", "sentence"),
    [
        (lambda p: p.text("a"), 5, "m.a should be a string, and is 5"),
        (lambda p: p.text("a"), "\ud800", "m.a should be text, and has a lone surrogate"),
        (lambda p: p.flag("a"), 1, "m.a should be true or false, and is 1"),
        (lambda p: p.integer("a"), True, "m.a should be a whole number from 0 to 2\\^31 - 1, and is True"),
        (lambda p: p.integer("a"), -1, "m.a should be a whole number"),
        (lambda p: p.integer("a"), 10**30, "m.a should be a whole number"),
        (lambda p: p.integer("a"), 1.0, "m.a should be a whole number"),
        (lambda p: p.part("a").number(), "1", "m.a should be a number"),
        (lambda p: p.part("a").number(), True, "m.a should be a number"),
        (lambda p: p.part("a").number(), 10**400, "m.a should be a number"),
        (lambda p: list(p.part("a").items()), {}, "m.a should be a list"),
        (lambda p: p.part("a").fields(), [], "m.a should be an object with named fields"),
        (lambda p: p.done(), 5, "m.a is 5, which is not understood here"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_path(take, value, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        take(Part({"a": value}, "m"))


@pytest.mark.parametrize("value", [None, False, "", [], {}])
def test_what_is_null_false_or_empty_counts_as_absent(value):
    Part({"a": value}).done()


@pytest.mark.parametrize("value", [0, True, "x", [0], {"a": 0}, 0.0])
def test_nothing_else_counts_as_absent(value):
    with pytest.raises(ValueError, match="is not understood here"):
        Part({"a": value}).done()


@pytest.mark.parametrize(
    ("vocabulary", "sentence"),
    [
        ({}, "should be an object of names and ids"),
        ([], "should be an object of names and ids"),
        ({"a": -1}, "gives 'a' -1"),
        ({"a": True}, "gives 'a' True"),
        ({"a": 0.0}, "gives 'a' 0.0"),
        ({"a": "0"}, "gives 'a' '0'"),
        ({"a": None}, "gives 'a' None"),
        ({"a": 1, "b": 0, "c": 1}, "gives one id to two tokens: 'a' and 'c' are both 1"),
        ({"a": 0, "b": MAX_GAP + 2}, "at most 65536 gaps, and gives 'b' the id 65538"),
        ({"a": 10**30}, "at most 65536 gaps"),
        ({"a\udfff": 0}, "a name in model.vocab should be text, and has a lone surrogate"),
    ],
)
def test_a_vocabulary_has_ids_of_its_own_without_large_gaps(vocabulary, sentence):
    with pytest.raises(ValueError, match=sentence):
        Part(vocabulary, "model.vocab").vocabulary()
    assert Part({"a": 0, "b": MAX_GAP + 1}).vocabulary() == {"a": 0, "b": MAX_GAP + 1}


# ---- GGUF


def gguf_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<IQ", 10, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str | bytes):
        return struct.pack("<I", 8) + gguf_string(value)
    kind = 8 if isinstance(value[0], str | bytes) else 6 if isinstance(value[0], float) else 5
    head = struct.pack("<IIQ", 9, kind, len(value))
    if kind == 8:
        return head + b"".join(map(gguf_string, value))
    return head + struct.pack(f"<{len(value)}{'f' if kind == 6 else 'i'}", *value)


def gguf_file(path, entries, version=3, count=None, tail=b"tensors" * 100):
    table = b"".join(gguf_string(key) + gguf_value(value) for key, value in entries)
    count = len(entries) if count is None else count
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 5, count) + table + tail)
    return path


ENTRIES = [
    ("general.name", "a model"),
    ("general.tags", ["x", "y"]),
    ("general.numbers", [1, 2, 3]),
    ("tokenizer.ggml.model", "gpt2"),
    ("tokenizer.ggml.tokens", ["a", "é", ""]),
    ("tokenizer.ggml.scores", [0.5, -1.0]),
    ("tokenizer.ggml.token_type", [1, 3, 1]),
    ("tokenizer.ggml.bos_token_id", 2),
    ("tokenizer.ggml.add_bos_token", True),
]


@pytest.mark.parametrize("version", [2, 3])
def test_the_table_of_a_gguf_is_read_and_nothing_else(version, tmp_path):
    entries = GGUF(gguf_file(tmp_path / "m.gguf", ENTRIES, version), "tokenizer.").entries
    assert entries == {
        "tokenizer.ggml.model": b"gpt2",
        "tokenizer.ggml.tokens": [b"a", "é".encode(), b""],
        "tokenizer.ggml.scores": [0.5, -1.0],
        "tokenizer.ggml.token_type": [1, 3, 1],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
    }


def test_a_gguf_cut_anywhere_in_its_table_is_refused(tmp_path):
    whole = gguf_file(tmp_path / "m.gguf", ENTRIES, tail=b"").read_bytes()
    for cut in range(len(whole)):
        (tmp_path / "cut.gguf").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"Is it cut off|it is no GGUF"):
            GGUF(tmp_path / "cut.gguf", "tokenizer.")


def huge(kind, count):
    return struct.pack("<IIQ", 9, kind, count)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (struct.pack("<Q", 1 << 60), "a key claims 1152921504606846976 members"),
        (gguf_string("k") + struct.pack("<IQ", 8, 1 << 40), "k claims 1099511627776 members, and the file has only"),
        *[(gguf_string("k") + huge(kind, 1 << 62), "k claims 4611686018427387904 members") for kind in (0, 5, 8, 10)],
        (gguf_string("k") + huge(9, 1), "k is a list of type 9; only lists of numbers and strings are read"),
        (gguf_string("k") + huge(77, 1), "k is a list of type 77"),
        (gguf_string("k") + struct.pack("<I", 13), "k has type 13, which GGUF does not know"),
        (gguf_string(b"\xff\xfe") + struct.pack("<I", 13), r"\\xff\\xfe has type 13"),
    ],
)
def test_claims_of_gigabytes_are_refused_at_once(body, sentence, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + body + b"\0" * 100)
    start, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=sentence):
        GGUF(path, "")
    assert time.perf_counter() - start < 2  # a busy machine; a loop over 2^60 members would never end
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000  # kilobytes


def test_a_table_of_too_many_entries_is_refused(tmp_path):
    with pytest.raises(ValueError, match="its table claims 1125899906842624 members"):
        GGUF(gguf_file(tmp_path / "m.gguf", ENTRIES, count=1 << 50), "")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it is no GGUF file"),
        (b"GGML" + b"\0" * 40, "it is no GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "it is GGUF of version 1, and only 2 and 3, little-endian, are read"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "it is GGUF of version 50331648"),
    ],
)
def test_what_is_no_gguf_is_refused(data, sentence, tmp_path):
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        GGUF(tmp_path / "m.gguf", "")


def test_a_key_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"general\.name occurs twice"):
        GGUF(gguf_file(tmp_path / "m.gguf", [ENTRIES[0], ENTRIES[0]]), "")


# ---- Protocol Buffers and SentencePiece's models


def varint(value):
    data = b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


def proto(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def proto_piece(name, score=0.0, kind=1):
    return proto(1, proto(1, name) + proto(2, score) + proto(3, kind))


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, (1 << 64) - 1) | st.binary(max_size=300))))
def test_messages_are_read_back(fields):
    assert list(message(b"".join(proto(number, value) for number, value in fields), "m")) == fields


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data):
    try:
        fields = list(message(data, "m"))
    except ValueError:
        return
    assert sum(len(v) for _, v in fields if isinstance(v, bytes)) <= len(data)


def test_a_model_is_read_with_the_defaults_of_its_format(tmp_path):
    (tmp_path / "m.model").write_bytes(
        proto_piece("<unk>", kind=2)
        + proto(1, proto(1, "a"))
        + proto(2, proto(3, 2) + proto(4, 8000) + proto(35, 1))
        + proto(3, proto(1, "identity") + proto(2, b"\0\1") + proto(4, 0))
        + proto(4, proto(1, b""))
    )
    model = read_model(tmp_path / "m.model")
    assert model.pieces == [Piece("<unk>", 0.0, 2), Piece("a", 0.0, 1)]
    assert model.trainer == {"model_type": 2, "byte_fallback": 1}
    assert model.normalizer == {
        "name": b"identity",
        "precompiled_charsmap": b"\0\1",
        "add_dummy_prefix": 1,
        "remove_extra_whitespaces": 0,
        "escape_whitespaces": 1,
    }


def proto_model(*pieces, trainer=b"", normalizer=b""):
    return b"".join(pieces) + proto(2, trainer) + proto(3, normalizer)


UNKNOWN, A, B, AB = (
    proto_piece("<unk>", kind=2),
    proto_piece("a", -1.0),
    proto_piece("b", -1.5),
    proto_piece("ab", -2.0),
)
BPE = proto(3, 2)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            proto_model(UNKNOWN, A, trainer=proto(3, 3)),
            "trainer_spec.model_type is 3; only unigram .1. and bpe .2. are read",
        ),
        (proto_model(UNKNOWN, A, trainer=proto(24, 1)), "trainer_spec.treat_whitespace_as_suffix is true"),
        (proto_model(UNKNOWN, A, normalizer=proto(5, 0)), "normalizer_spec.escape_whitespaces is false"),
        (proto_model(UNKNOWN, A, normalizer=proto(2, b"\0\1")), "a charsmap is the size of its trie"),
        (proto_model(A), "one piece should be the unknown one, and 0 are"),
        (proto_model(UNKNOWN, A, proto_piece("<u>", kind=2)), "one piece should be the unknown one, and 2 are"),
        (proto_model(UNKNOWN, A, A), "piece 2 is 'a', as piece 1 is"),
        (proto_model(UNKNOWN, proto_piece("")), "piece 1 is empty"),
        (proto_model(UNKNOWN, proto_piece("a", float("nan"))), "piece 1, 'a', has the score nan, which is no number"),
        (proto_model(UNKNOWN, proto_piece("a", float("inf"))), "piece 1, 'a', has the score inf"),
        (proto_model(UNKNOWN, proto_piece("<0x00>", kind=6)), "there are 1, and byte_fallback is False"),
        (proto_model(UNKNOWN, A, trainer=proto(35, 1)), "there are 0, and byte_fallback is True"),
        (proto_model(UNKNOWN, A, proto_piece("x y", kind=4)), "a user-defined symbol has a space in it"),
        (proto_model(UNKNOWN, A, B, proto_piece("ab", kind=5), trainer=BPE), "a piece has the type unused"),
        (proto_model(UNKNOWN, A, AB, trainer=BPE), "the piece 'ab' has the character 'b', which is no piece"),
        (
            proto_model(UNKNOWN, A, B, AB, proto_piece("ba", -2.0), trainer=BPE),
            "the pieces 'ab' and 'ba' have the same score",
        ),
    ],
)
def test_what_is_not_understood_in_a_model_is_named(data, sentence, tmp_path):
    (tmp_path / "m.model").write_bytes(data)
    with pytest.raises(ValueError, match=rf"m\.model cannot be read: .*{sentence}"):
        from_sentencepiece(tmp_path / "m.model")


@pytest.mark.parametrize(("prefix", "remove", "drop"), [(1, 1, True), (1, 0, True), (0, 1, True), (0, 0, False)])
def test_decoding_drops_the_space_that_no_text_begins_with(prefix, remove, drop, tmp_path):
    """SentencePiece leaves it out if it adds one itself, and if it removes those that it finds."""
    spaced = proto_piece("▁a", -2.0)
    data = proto_model(UNKNOWN, A, proto_piece("▁", -3.0), spaced, normalizer=proto(3, prefix) + proto(4, remove))
    (tmp_path / "m.model").write_bytes(data)
    assert from_sentencepiece(tmp_path / "m.model").decode([3, 3]) == ("a a" if drop else " a a")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the model has no pieces"),
        (proto(9, 1), "a field of number 9, which SentencePiece's models do not have"),
        (proto(1, 7), "the model has the number 7 where bytes belong"),
        (proto_piece(b"\xff"), "piece 0 is b'.xff', which is no UTF-8"),
        (proto_piece("a", kind=9), "piece 0 has 9 in field 3"),
        (proto(1, proto(1, "a") + proto(2, 5)), "piece 0 has a score that is no 32-bit float"),
        (proto(1, proto(8, 5)), "piece 0 has 5 in field 8"),
        (proto_piece("a") + proto(3, proto(9, 1)), "normalizer_spec has a field of number 9"),
        (proto_piece("a") + proto(3, proto(2, 1)), "normalizer_spec.precompiled_charsmap has the wrong type"),
        (proto_piece("a") + proto(2, proto(3, "x")), "trainer_spec.model_type has the wrong type"),
        (proto_piece("a") + proto(5, proto(2, b"table")), "denormalizer_spec rewrites decoded text"),
        (b"\x0b", "has a field of kind 3 at byte 1"),
        (varint(1 << 3 | 2) + varint(1 << 60), "claims a field of 1152921504606846976 bytes"),
        (b"\x80" * 50, "the model has a number without end at byte 10 of 50"),
        (b"\x08\x80", "the model has a number without end at byte 2 of 2"),
    ],
)
def test_a_model_that_is_none_is_refused(data, sentence, tmp_path):
    (tmp_path / "m.model").write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        read_model(tmp_path / "m.model")


# ---- patterns


@pytest.mark.parametrize(
    "pattern",
    [
        GPT2_PATTERN,
        CL100K_PATTERN,
        O200K_PATTERN,
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s+(?!\S)|\s+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r" ?[^(\s|.,!?…。，、।۔،)]+",
        r"(?=(\d{3})+(?!\d))",
        r"\s+$",
        r"a{2,3}?b*?",
        r"\x41\u00e9.",
    ],
)
def test_patterns_of_models_mean_the_same_to_both_engines(pattern):
    check(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"\h", r"\w+", r"\b", r"\R", r"\X", r"\K", r"\Z", r"\z", r"\1", r"\x{41}", r"\k<a>", r"\v"),
        *("a{2}+", "a{2}?", "a{,3}", "a{", "^a", "(?i)a", "(?P<x>a)", "(?<x>a)", "(?~a)", "(?#c)", "(?|a|b)", "(*F)"),
        *("[[:alpha:]]", "[a&&b]", "[a--b]", "[a[b]]", "[]a]x[", r"[\w]", r"[\b]"),
        *(r"\p{Alpha}", r"\p{^L}", r"\p{Script=Han}", r"\pL", r"\P{Upper}"),
        *("(?i:ss)", "(?i:ß)", "(?i:[ß])", r"(?i:\p{Lu})", "(?i:s(?:s))", "(?i:off)"),
    ],
)
def test_patterns_that_two_engines_may_read_differently_are_refused(pattern):
    with pytest.raises(ValueError, match="may read differently"):
        check(pattern)


def test_the_place_in_the_pattern_is_named():
    with pytest.raises(ValueError, match=r"has '\\\\h\+' at position 3 of the pattern 'abc"):
        check(r"abc\h+")


@given(st.text(st.sampled_from(r"ab([{?:i+*-^&\pLwsd|]})<!=,1é"), max_size=12))
def test_the_check_of_a_pattern_fails_in_no_other_way(pattern):
    try:
        check(pattern)
    except ValueError:
        return


# ---- tokenizers of GGUF


def gguf(tmp_path, **entries):
    return gguf_file(tmp_path / "m.gguf", [(f"tokenizer.ggml.{key}", value) for key, value in entries.items()])


def gguf_of_layout(tmp_path, name, **entries):
    """The file that llama.cpp's converter makes of a byte-level tokenizer."""
    layout = SHAPES[name]["layout"]
    tokenizer = tokenizer_of(layout)
    special = {token["content"]: token["special"] for token in layout["added_tokens"]}
    kinds = [{None: 1, True: 3, False: 4}[special.get(token)] for token in tokenizer.names]
    merges = [" ".join(pair) for pair in tokenizer.merges]
    return gguf(tmp_path, model="gpt2", tokens=tokenizer.names, token_type=kinds, merges=merges, **entries)


@pytest.mark.parametrize(("name", "pre"), [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("deepseek", "deepseek-v3")])
def test_byte_level_vocabularies_of_gguf_give_the_ids_of_hugging_face(name, pre, tmp_path):
    ids = {token["content"]: token["id"] for token in SHAPES[name]["layout"]["added_tokens"]}
    bos = ids.get("<|begin_of_text|>", 0)
    tokenizer = from_gguf(gguf_of_layout(tmp_path, name, pre=pre, bos_token_id=bos))
    for text, expected in zip(TEXTS, SHAPES[name]["ids"], strict=True):
        assert tokenizer.encode(text, special="parse") == expected, text
    assert tokenizer.encode("a", template=True) == SHAPES[name]["template"]


@pytest.mark.parametrize("name", ["bpe-llama", "unigram-identity", "unigram-across"])
def test_sentencepiece_vocabularies_of_gguf_give_its_ids(name, tmp_path):
    (tmp_path / "m.model").write_bytes(base64.b64decode(MODELS[name]["model"]))
    model = read_model(tmp_path / "m.model")
    path = gguf(
        tmp_path,
        model="llama" if name.startswith("bpe") else "t5",
        tokens=[piece.name for piece in model.pieces],
        scores=[piece.score for piece in model.pieces],
        token_type=[piece.kind for piece in model.pieces],
        add_space_prefix=bool(model.normalizer["add_dummy_prefix"]),
        remove_extra_whitespaces=bool(model.normalizer["remove_extra_whitespaces"]),
        eos_token_id=2,
        **(
            {"precompiled_charsmap": [b - 256 * (b > 127) for b in model.normalizer["precompiled_charsmap"]]}
            if model.normalizer["precompiled_charsmap"]
            else {}
        ),
    )
    tokenizer = from_gguf(path)
    for text, ids in zip(TEXTS, MODELS[name]["ids"], strict=True):
        special = {token.content for token in tokenizer.added_tokens}
        if not any(token in text for token in special):
            assert tokenizer.encode(text) == ids, text
    expected = Template(("<s>",), ()) if name.startswith("bpe") else Template((), ("</s>",))
    assert tokenizer.template == expected


@pytest.mark.parametrize("name", ["bert", "bert-cased"])
def test_wordpiece_vocabularies_of_gguf_give_the_ids_of_hugging_face(name, tmp_path):
    layout = SHAPES[name]["layout"]
    special = {token["content"] for token in layout["added_tokens"]}
    names = sorted(layout["model"]["vocab"], key=layout["model"]["vocab"].__getitem__)
    spelled = [n if n in special else n[2:] if n.startswith("##") else f"▁{n}" for n in names]
    lower = {} if name == "bert" else {"normalizer.lowercase": False}
    path = gguf(
        tmp_path,
        model="bert",
        tokens=spelled,
        token_type=[3 if n in special else 1 for n in names],
        unknown_token_id=1,
        bos_token_id=2,
        seperator_token_id=3,
        token_type_count=2,
        **lower,
    )
    tokenizer = from_gguf(path)
    assert type(tokenizer) is WordPieceTokenizer
    for text, ids in zip(TEXTS, SHAPES[name]["ids"], strict=True):
        assert tokenizer.encode(text, special="parse") == ids, text
    assert tokenizer.encode("a", template=True) == SHAPES[name]["template"]


def test_words_are_taken_whole_where_llama_cpp_does(tmp_path):
    whole = {
        pre: from_gguf(gguf_of_layout(tmp_path, "llama3", pre=pre, bos_token_id=0)) for pre in ("llama-bpe", "dbrx")
    }
    assert whole["llama-bpe"].ignore_merges
    assert not whole["dbrx"].ignore_merges
    assert whole["llama-bpe"].pretokenizer == whole["dbrx"].pretokenizer
    assert (len(whole["llama-bpe"].template.before), len(whole["dbrx"].template.before)) == (1, 0)


def test_user_defined_tokens_are_always_found_and_control_tokens_by_request(tmp_path):
    kinds = {"a": 1, "<c>": 3, "<u>": 4, "[PAD0]": 5}
    path = gguf(
        tmp_path, model="gpt2", pre="gpt-2", tokens=list(kinds), token_type=list(kinds.values()), merges=["a a"]
    )
    with pytest.raises(ValueError, match="needs 'aa', which is not in the vocabulary"):
        from_gguf(path)
    path = gguf(tmp_path, model="gpt2", pre="gpt-2", tokens=[*kinds, "aa"], token_type=[1, 3, 4, 5, 1], merges=["a a"])
    tokenizer = from_gguf(path)
    assert tokenizer.encode("aa<u>a<c>") == [4, 2, 0]
    assert tokenizer.encode("aa<u>a<c>", special="parse") == [4, 2, 0, 1]
    assert (tokenizer.names[3], tokenizer.vocab_size) == (None, 5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "rwkv"}, "tokenizer.ggml.model is 'rwkv'; the models read are gpt2, llama, bert, t5"),
        ({"model": 7}, "tokenizer.ggml.model should be of type bytes, and is 7"),
        ({"pre": "falcon"}, "tokenizer.ggml.pre is 'falcon', a pre-tokenizer that is not known here; known are gpt-2"),
        ({"tokens": ["a", "b", "a"]}, "token 2 is 'a', as token 0 is"),
        ({"tokens": [b"\xff", "b", "ab"]}, "token 0 is b'.xff', which is no UTF-8"),
        ({"token_type": [1, 1]}, "tokenizer.ggml.token_type should give each of 3 tokens a int"),
        ({"token_type": [1, 1, 9]}, r"tokenizer.ggml.token_type.2. is 9, and types are numbers from 1 to 6"),
        ({"merges": ["a b c"]}, r"tokenizer.ggml.merges.0. should be two names and a space between"),
        ({"merges": ["ab"]}, r"tokenizer.ggml.merges.0. should be two names and a space between"),
        ({"merges": ["b a"]}, "merge 0, 'b' [+] 'a', needs 'ba'"),
        ({"add_bos_token": True}, "tokenizer.ggml.bos_token_id is missing"),
        ({"add_bos_token": True, "bos_token_id": 3}, "tokenizer.ggml.bos_token_id is 3, and there are 3 tokens"),
        ({"add_space_prefix": True}, ".*add_space_prefix is true, which byte-level tokenizers do not have"),
        ({"magic": 1}, "tokenizer.ggml.magic is 1, which is not understood here"),
    ],
)
def test_what_is_not_understood_in_a_gguf_is_named(change, sentence, tmp_path):
    entries = {"model": "gpt2", "pre": "gpt-2", "tokens": ["a", "b", "ab"], "merges": ["a b"], "padding_token_id": 1}
    assert from_gguf(gguf(tmp_path, **entries)).encode("ab") == [2]
    with pytest.raises(ValueError, match=rf"m\.gguf cannot be read: {sentence}"):
        from_gguf(gguf(tmp_path, **{**entries, **change}))


def test_a_model_without_its_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"it has no entry that begins with tokenizer\.ggml\."):
        from_gguf(gguf_file(tmp_path / "m.gguf", ENTRIES[:3]))


def test_a_gguf_is_saved_as_a_tokenizer_file(tmp_path):
    tokenizer = from_gguf(gguf_of_layout(tmp_path, "gpt2", pre="gpt-2"))
    to_huggingface(tokenizer, tmp_path)
    again = load(tmp_path)
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]


def test_the_default_of_a_model_is_no_surprise(tmp_path):
    """A file that names no pre-tokenizer could mean any."""
    with pytest.raises(ValueError, match=r"m\.gguf cannot be read: tokenizer\.ggml\.pre is missing"):
        from_gguf(gguf_of_layout(tmp_path, "gpt2"))
