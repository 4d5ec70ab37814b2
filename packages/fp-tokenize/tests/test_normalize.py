"""Mirrors src/fp_tokenize/normalize.py."""

import hashlib
import importlib.util
import itertools
import json
import pickle
import struct
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fp_tokenize import normalize
from fp_tokenize.normalize import (
    Bert,
    Lowercase,
    Nmt,
    Normalizer,
    Precompiled,
    Prepend,
    Replace,
    Step,
    Strip,
    StripAccents,
    Unicode,
)

HERE = Path(__file__).parent
FROZEN = json.loads((HERE / "fixtures/normalize_huggingface.json").read_text(encoding="utf-8"))
_spec = importlib.util.spec_from_file_location("random_texts", HERE / "random_texts.py")
random_texts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(random_texts)
RANDOM = random_texts.texts(FROZEN["seed"], FROZEN["count"], FROZEN["avoid"])

texts = st.text(st.sampled_from("aé\u0301\u0308ǖΣİßﬁ½각\u1100\u1161言 \t\n\0\x01\u200b\ufffd\u2581l-")) | st.text(
    st.characters(exclude_categories=["Cs"])
)


def charsmap(mapping):
    """A double array for a few keys, placed by trying: the reverse of what `Precompiled` reads."""
    trie, contents, place = {}, b"", {}
    for key, content in mapping.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = place.setdefault(content, len(contents))
        contents += content.encode() + b"\0" if place[content] == len(contents) else b""
    units = {0: 0}
    todo = [(0, trie)]
    while todo:
        at, node = todo.pop(0)
        base = next(b for b in range(1, 1 << 20) if all((b ^ label) not in units for label in [0, *node]))
        if 0 not in node:
            units[base] = 0
        units[at] |= (at ^ base) << 10 | (0 in node) << 8
        for label, child in node.items():
            units[base ^ label] = child | 1 << 31 if label == 0 else label
            if label:
                todo.append((base ^ label, child))
    array = [units.get(i, 0) for i in range(-(-(max(units) + 1) // 256) * 256)]
    return struct.pack(f"<I{len(array)}I", 4 * len(array), *array) + contents


TABLE = charsmap({"a": "A", "ab": "X", "abc": "Y", "e\u0301": "é", "é": "E", "ﬁ": "fi", "\t": " ", "言": "", "ee": "3"})

STEPS = [
    *map(Unicode, ("NFC", "NFD", "NFKC", "NFKD")),
    *(Lowercase(), StripAccents(), Strip(), Strip(True, False), Strip(False, True), Strip(False, False), Nmt()),
    *(Bert(), Bert(lowercase=False), Bert(strip_accents=True, lowercase=False), Bert(False, False, False, False)),
    *(Prepend("▁x"), Prepend(""), Replace(" ", "▁"), Replace("l", ""), Replace("", "-"), Replace("l*", "--", True)),
    *(Replace("^|$", "|", True), Replace("[aé]", "", True), Precompiled(TABLE), Precompiled(TABLE, "longest")),
]
normalizers = st.lists(st.sampled_from(STEPS), max_size=4).map(Normalizer)


def made(name):
    return Normalizer(eval(FROZEN["steps"][name]["steps"], vars(normalize)))


# ---- as Hugging Face's


@pytest.mark.parametrize("name", FROZEN["steps"])
def test_texts_are_those_of_hugging_face(name):
    frozen, normalizer = FROZEN["steps"][name], made(name)
    for text, expected in zip(FROZEN["texts"], frozen.get("cases", []), strict=False):
        assert normalizer(text) == expected
    several = [*FROZEN["texts"], *RANDOM]
    results = json.dumps([normalizer(text) for text in several], ensure_ascii=True)
    assert hashlib.sha256(results.encode()).hexdigest() == frozen["digest"]


def test_the_fixture_avoids_young_characters_only():
    """And those of which Unicode has changed its mind; else the comparison would leave out what matters."""
    avoided = [chr(code) for first, last in FROZEN["avoid"] for code in range(first, last + 1)]
    old = {c for c in avoided if unicodedata.ucd_3_2_0.category(c) != "Cn"}
    assert old == {"\u0295", "\u1734", "\u1885", "\u1886"}


# ---- steps by hand


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        (Unicode("NFC"), "e\u0301 ﬁ", "é ﬁ"),
        (Unicode("NFKD"), "é ﬁ", "e\u0301 fi"),
        (Lowercase(), "ΟΔΟΣ İ ẞ É", "οδοσ i\u0307 ß é"),
        (StripAccents(), "é e\u0301 \u0903\u20dd", "é e "),
        (Strip(), "\u3000 a b\x85\n", "a b"),
        (Strip(), "\x1ca\x1c", "\x1ca\x1c"),
        (Strip(left=False), " a ", " a"),
        (Strip(right=False), " a ", "a "),
        (Strip(), " \n ", ""),
        (Nmt(), "a\x00\x01\x0b\x8f\x9f\x85\ufffdb\ufeff▁\r\n", "a\x00\x85 b    "),
        (Bert(), "ÉTÉ\0\u200d言x\u00a0\x0b\ufffd", "ete 言 x "),
        (Bert(handle_chinese_chars=False), "言x", "言x"),
        (Bert(clean_text=False), "a\tB\0", "a\tb\0"),
        (Bert(strip_accents=False), "É", "é"),
        (Bert(lowercase=False), "É", "É"),
        (Bert(lowercase=False, strip_accents=True), "É각", "E\u1100\u1161\u11a8"),
        (Bert(), "\u20dd\u0903a", "\u20dd\u0903a"),  # marks that take room, and enclosing ones, stay
        (Prepend("ab"), "c", "abc"),
        (Prepend("ab"), "", ""),
        (Replace("..", "!"), ".....", "!!."),
        (Replace("a.c", "x"), "abc a.c", "abc x"),
        (Replace("a.c", r"<\g<0>>", True), "abc a\nc", r"<\g<0>> a" + "\nc"),
        (Replace("", "-"), "ab", "-a-b-"),
        (Replace("", "-"), "", ""),
        (Replace("b*", "-", True), "abba", "-a-a-"),
        (Replace("$", "!", True), "a\nb", "a!\nb!"),
        (Replace("[a[bc]&&[^c]]", "-", True), "abcd", "--cd"),
    ],
)
def test_a_step_does_what_it_says(step, text, expected):
    assert step(text) == expected
    assert Normalizer([step]).aligned(text)[0] == expected


def test_names():
    assert [Normalizer.named(name)("Éa ﬁ\u0301") for name in Normalizer.NAMES] == [
        *("Éa ﬁ\u0301", "Éa ﬁ\u0301", "E\u0301a ﬁ\u0301", "Éa fí", "E\u0301a fi\u0301", "éa ﬁ\u0301", "Ea ﬁ", "ea ﬁ"),
    ]
    assert Normalizer.named("none") == Normalizer() != Normalizer.named("nfc")
    assert hash(Normalizer.named("bert")) == hash(Normalizer([Bert()]))
    assert repr(Normalizer.named("nfc")) == "Normalizer([Unicode(form='NFC')])"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(max_size=3))
def test_lower_case_looks_at_no_neighbour(text, other):
    step = Lowercase()
    assert step(text + "Σ" + other) == step(text) + "σ" + step(other)
    assert step(text) == "".join(map(str.lower, text))


@given(normalizers, texts)
def test_normalizers_survive_pickling(normalizer, text):
    assert pickle.loads(pickle.dumps(normalizer)) == normalizer
    assert pickle.loads(pickle.dumps(normalizer))(text) == normalizer(text)


# ---- alignment


@pytest.mark.claim("tokenize.alignment")
@given(normalizers, texts)
@example(Normalizer([Replace("", "-"), Replace("-", "ab"), Strip()]), " a ")
@example(Normalizer([Unicode("NFC"), Prepend("x")]), "e\u0301\u0323o\u0301")
@example(Normalizer([Bert(strip_accents=True, lowercase=False)]), "a\u0903\u200d\u0323\u0301")
def test_spans_are_ordered_and_belong_to_the_normalised_text(normalizer, text):
    result, spans = normalizer.aligned(text)
    assert result == normalizer(text)
    assert len(spans) == len(result)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    for (a, b), (c, d) in itertools.pairwise(spans):
        assert a <= c and b <= d


@pytest.mark.claim("tokenize.alignment")
@given(st.lists(st.sampled_from([s for s in STEPS if isinstance(s, Unicode | Lowercase | Prepend)]), max_size=4), texts)
def test_where_nothing_is_deleted_every_character_is_in_a_span(steps, text):
    _, spans = Normalizer([*steps, Replace(" ", "▁"), Replace("l+", "L", True)]).aligned(text)
    assert {i for start, end in spans for i in range(start, end)} == set(range(len(text)))


@pytest.mark.claim("tokenize.alignment")
@given(st.sampled_from(STEPS), texts)
def test_edits_are_disjoint_and_in_order_and_say_what_the_step_does(step, text):
    for part in step.parts():
        done, pieces = 0, []
        for start, end, content in part.edits(text):
            assert done <= start <= end <= len(text)
            pieces += [text[done:start], content]
            done = end
        assert "".join([*pieces, text[done:]]) == part(text)
        text = part(text)


@pytest.mark.parametrize(
    ("normalizer", "text", "spans"),
    [
        (Normalizer.named("nfc"), "xe\u0301y", [(0, 1), (1, 3), (3, 4)]),
        (Normalizer.named("nfd"), "é각", [(0, 1), (0, 1), (1, 2), (1, 2), (1, 2)]),
        (Normalizer([Unicode("NFD"), Unicode("NFC")]), "é", [(0, 1)]),
        (Normalizer([Prepend("▁"), Replace(" ", "▁")]), "a b", [(0, 1), (0, 1), (1, 2), (2, 3)]),
        (Normalizer([Replace("ab", "x"), Replace("x", "yz")]), "cabc", [(0, 1), (1, 3), (1, 3), (3, 4)]),
        (Normalizer([Replace("", "-")]), "ab", [(0, 1), (0, 1), (0, 1), (1, 2), (1, 2)]),
        (Normalizer.named("bert"), "a言\0É", [(0, 1), (1, 2), (1, 2), (1, 2), (3, 4)]),
        (Normalizer([Strip()]), "  a ", [(2, 3)]),
        (Normalizer([Precompiled(TABLE)]), "xﬁe\u0301", [(0, 1), (1, 2), (1, 2), (2, 4)]),
    ],
)
def test_spans_by_hand(normalizer, text, spans):
    assert normalizer.aligned(text)[1] == spans


# ---- SentencePiece's tables


def test_the_longest_key_counts_or_the_shortest_in_a_grapheme():
    by_grapheme, longest = Precompiled(TABLE), Precompiled(TABLE, "longest")
    for text, graphemes, keys in (
        ("abcab", "AbcAb", "YX"),
        ("aba", "AbA", "XA"),
        ("e\u0301é", "éE", "éE"),
        ("ﬁ\t言!", "fi !", "fi !"),
        ("a\u0301", "A", "A\u0301"),  # the mapped letter swallows its mark
        ("a\u0301\u0301\u0301", "A\u0301\u0301\u0301", "A\u0301\u0301\u0301"),  # a cluster of 6 bytes or more does not
        ("a\u0301\u0301 é\u0301\u0301", "A E\u0301\u0301", "A\u0301\u0301 E\u0301\u0301"),  # of 5 bytes, and of 6
        ("ee e", "ee e", "3 e"),
        ("", "", ""),
    ):
        assert by_grapheme(text) == graphemes
        assert longest(text) == keys


def test_a_key_with_a_space_inside_is_found():
    for rule in ("graphemes", "longest"):
        step = Precompiled(charsmap({"a b": "!", "b": "c"}), rule)
        assert step("xa b b") == {"longest": "x! c", "graphemes": "xa c c"}[rule]


@given(st.lists(st.text("ab\u0301é言 ", min_size=1), max_size=30))
def test_the_table_of_stretches_changes_nothing(parts):
    for rule in ("graphemes", "longest"):
        step = Precompiled(TABLE, rule)
        for text in (" ".join(parts), " ".join(parts + parts)):
            assert step(text) == Step.__call__(step, text)


def test_a_full_table_of_stretches_is_given_up(monkeypatch):
    monkeypatch.setattr(normalize, "STRETCHES", 8)
    step = Precompiled(TABLE)
    several = " ".join(f"{i}a" for i in range(20))
    assert step(several) == several.replace("a", "A") and len(step._table) == 20
    assert step("a a") == "A A" and len(step._table) == 2
    assert step("b" * 100) == "b" * 100 and len(step._table) == 2  # too long to keep


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "got 0 bytes and the size 0; is the file cut off"),
        (b"\x04\0", "got 2 bytes"),
        (struct.pack("<I", 1 << 31), "the size 2147483648"),
        (struct.pack("<IB", 1, 0), "the size 1;"),
        (TABLE[:-1] + b"\xff\0", "the replacements of this charsmap are no UTF-8"),
        (TABLE[: 4 + struct.unpack("<I", TABLE[:4])[0]], "leads outside; it is corrupt"),  # without the replacements
        (struct.pack("<I2I", 8, 0, 1 | 1 << 8 | 1 << 10), "unit 1 of this charsmap's trie leads outside"),
        (struct.pack("<I2I", 8, 0, 1 | 0xFFFFF << 10), "unit 1 of this charsmap's trie leads outside"),
        (struct.pack("<I2I", 8, 0xFFFFF << 10, 0), None),  # the root leads outside: no keys
    ],
)
def test_a_corrupt_charsmap_is_refused(data, sentence):
    if sentence is None:
        assert Precompiled(data)("abc") == "abc"
        return
    with pytest.raises(ValueError, match=sentence):
        Precompiled(data)


@given(st.binary(max_size=400).map(lambda b: struct.pack("<I", len(b) // 8 * 4) + b), texts)
def test_no_charsmap_does_worse_than_a_value_error(data, text):
    """Circles included."""
    try:
        step, other = Precompiled(data), Precompiled(data, "longest")
    except ValueError:
        return
    assert isinstance(step(text), str) and isinstance(other(text), str)


def test_a_circle_in_a_charsmap_does_no_harm():
    units = [0] * 256
    units[0] = 0  # the root's base is 0; its child by "a" leads back there
    units[97] = 97 | 97 << 10
    data = struct.pack("<I256I", 1024, *units) + b"\0"
    assert Precompiled(data, "longest")("aaaa b") == "aaaa b"


# ---- bad input


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Unicode("NFX"), "a normal form is one of NFC, NFD, NFKC, NFKD, got 'NFX'"),
        (lambda: Normalizer.named("nfx"), "a normaliser's name is one of none, nfc, .*, bert, got 'nfx'"),
        (lambda: Normalizer()("a\ud800"), r"lone surrogates, got U\+D800 at position 1"),
        (lambda: Normalizer().aligned("\udc00"), "lone surrogates"),
        (lambda: Prepend("\ud800"), "lone surrogates"),
        (lambda: Replace("a", "\ud800"), "lone surrogates"),
        (lambda: Replace("(a", "b", True), r"'\(a' is no regular expression: missing \)"),
        (lambda: Precompiled(TABLE, "shortest"), "rule is 'graphemes' or 'longest', got 'shortest'"),
        (
            lambda: Replace("", "x" * 10_000)("a" * 10_000),
            "makes a text of 10000 characters longer by more than 16777216",
        ),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_what_is_no_text_or_no_step_is_refused(shapes_unchecked):
    with pytest.raises(TypeError, match="a text is a string, got bytes"):
        Normalizer()(b"abc")
    with pytest.raises(TypeError, match="a normaliser is made of steps such as Unicode"):
        Normalizer([str.lower])
    with pytest.raises(NotImplementedError, match="Step does not say what it changes"):
        Step()("a")


def test_a_pattern_without_bound_is_stopped(monkeypatch):
    monkeypatch.setattr("fp_tokenize._patterns.seconds", lambda text: 0.05)
    with pytest.raises(ValueError, match=r"the pattern '\(a\|aa\)\+\$' takes more than the 0.1 seconds allowed on 101"):
        Replace("(a|aa)+$", "", True)("a" * 100 + "!")
