"""Mirrors src/fp_tokenize/pretokenize.py."""

import hashlib
import importlib.util
import itertools
import json
import pickle
import time
import unicodedata
from pathlib import Path

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from fp_tokenize import _patterns, pretokenize
from fp_tokenize._patterns import Known, ascii_form, blocks, compiled, written_out
from fp_tokenize.pretokenize import (
    BEHAVIORS,
    BERT,
    CL100K,
    CL100K_PATTERN,
    GPT2,
    GPT2_PATTERN,
    METASPACE,
    NAMES,
    O200K,
    O200K_PATTERN,
    SMOLLM,
    WHITESPACE,
    Bert,
    ByteLevel,
    Digits,
    Metaspace,
    Pretokenizer,
    Punctuation,
    Split,
    Step,
    Whitespace,
    WhitespaceSplit,
    named,
)

HERE = Path(__file__).parent
FROZEN = json.loads((HERE / "fixtures/pretokenize_huggingface.json").read_text(encoding="utf-8"))
_spec = importlib.util.spec_from_file_location("random_texts", HERE / "random_texts.py")
random_texts = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(random_texts)
RANDOM = random_texts.texts(FROZEN["seed"], FROZEN["count"], FROZEN["avoid"])

# one or more of each kind that the patterns tell apart, and the white space that is none to some
NASTY = "aAsSlLvVeEtʼǅʰ言\u0301\u0903 1²Ⅷ '’-/!_$▁\n\r\t\x0b\x1c\x85\xa0\u3000\u2028\u200b\u180e\0😀ſ"
nasty = st.text(st.sampled_from(NASTY), max_size=20)
texts = nasty | st.text(st.characters(exclude_categories=["Cs"]))
WHITE = {c for c in map(chr, range(0x3001)) if regex.fullmatch(r"\s", c)}

WHOLE = [GPT2, CL100K, O200K, SMOLLM, named("none"), Pretokenizer([Digits()]), Pretokenizer([Punctuation()])]
SAFE = [
    *(GPT2, CL100K, O200K, SMOLLM, BERT, WHITESPACE, METASPACE, Pretokenizer([WhitespaceSplit()])),
    *(Pretokenizer([Metaspace(prepend_scheme=scheme)]) for scheme in ("first", "never")),
    *(Pretokenizer([Metaspace("a")]), Pretokenizer([ByteLevel(add_prefix_space=True)])),
    *(Pretokenizer([Digits(), Punctuation(behavior), ByteLevel(add_prefix_space=True)]) for behavior in BEHAVIORS),
    *(Pretokenizer([WhitespaceSplit(), Metaspace(prepend_scheme=scheme)]) for scheme in ("first", "always", "never")),
    *(Pretokenizer([Digits(), Metaspace(prepend_scheme=scheme), Punctuation()]) for scheme in ("first", "always")),
    Pretokenizer([Split(CL100K_PATTERN, behavior="removed", invert=True), Digits(True)]),
    *(Pretokenizer([Split(spelling)]) for spelling in pretokenize._KNOWN),
    Pretokenizer([Whitespace(), Split("(?<=a)", True), ByteLevel(add_prefix_space=True)]),
]
UNSAFE = [
    *(named("none"), Pretokenizer([Digits()]), Pretokenizer([Punctuation()]), Pretokenizer([Split(r"\s+")])),
    *(Pretokenizer([Metaspace(split=False)]), Pretokenizer([ByteLevel(use_regex=False)])),
    *(Pretokenizer([Split(GPT2_PATTERN, behavior="removed")]), Pretokenizer([Split(GPT2_PATTERN, regex=False)])),
    Pretokenizer([Metaspace(split=False), ByteLevel()]),
]
KNOWN = {known.pattern: known for known in vars(pretokenize).values() if isinstance(known, Known)}


def made(name):
    return Pretokenizer(eval(FROZEN["steps"][name]["steps"], vars(pretokenize)))


# ---- as Hugging Face's


@pytest.mark.parametrize("name", FROZEN["steps"])
def test_words_and_spans_are_those_of_hugging_face(name):
    frozen, pretokenizer = FROZEN["steps"][name], made(name)
    for text, expected in zip(FROZEN["texts"], frozen.get("cases", []), strict=False):
        assert [list(piece) for piece in pretokenizer.pieces(text)] == expected
    several = [*FROZEN["texts"], *RANDOM]
    pieces = [pretokenizer.pieces(text) for text in several]
    assert hashlib.sha256(json.dumps(pieces, ensure_ascii=True).encode()).hexdigest() == frozen["digest"]
    assert [pretokenizer.split(text) for text in several] == [[word for word, _, _ in found] for found in pieces]


def test_the_fixture_avoids_young_characters_only():
    """And those of which Unicode has changed its mind; else the comparison would leave out what matters."""
    avoided = [chr(code) for first, last in FROZEN["avoid"] for code in range(first, last + 1)]
    assert {c for c in avoided if unicodedata.ucd_3_2_0.category(c) != "Cn"} == {"\u0295", "\u166d"}


# ---- by hand


@pytest.mark.parametrize(
    ("pretokenizer", "text", "words"),
    [
        (GPT2, "it's IT'S 'tis", ["it", "'s", " IT", "'", "S", " '", "tis"]),
        (GPT2, "a  b\n c \n", ["a", " ", " b", "\n", " c", " \n"]),
        (GPT2, "x²Ⅷ3 4", ["x", "²Ⅷ3", " 4"]),
        (GPT2, " ?! \0\u0301", [" ?!", " \0\u0301"]),
        (CL100K, "IT'S x'ſ f(x)\tg", ["IT", "'S", " x", "'ſ", " f", "(x", ")", "\tg"]),
        (CL100K, "12345 !\n\n  \n x", ["123", "45", " !\n\n", "  \n", " x"]),
        (O200K, "aB Ab ABc ǅa 言a\u0301", ["a", "B", " Ab", " ABc", " ǅa", " 言a\u0301"]),
        (O200K, "IT'S a/b.\n//c", ["IT'S", " a", "/b", ".\n//", "c"]),
        (SMOLLM, "a 12  3's", ["a", " ", "1", "2", "  ", "3", "'s"]),
        (BERT, "a+b  言,\x1c x", ["a", "+", "b", "言", ",", "\x1c", "x"]),
        (WHITESPACE, "a_b+-c e\u0301", ["a_b", "+-", "c", "e\u0301"]),
        (METASPACE, " a  b ▁c", ["▁a", "▁", "▁b", "▁", "▁c"]),
        (METASPACE, "", []),
        (Pretokenizer([Metaspace(prepend_scheme="never")]), "a b ", ["a", "▁b", "▁"]),
        (Pretokenizer([Metaspace(split=False)]), "a b", ["▁a▁b"]),
        (Pretokenizer([ByteLevel(True, False)]), "a b", [" a b"]),
        (Pretokenizer([Digits()]), "ab12c3", ["ab", "12", "c", "3"]),
        (Pretokenizer([Punctuation("merged_with_previous")]), "a,,b", ["a,", ",", "b"]),
        (Pretokenizer([Split("b", regex=False, behavior="removed")]), "abc", ["a", "c"]),
        (Pretokenizer([Split(".", regex=False)]), "a.b", ["a", ".", "b"]),
        (Pretokenizer([Split("", behavior="isolated")]), "abc", ["a", "b", "c"]),
        (Pretokenizer([Split("(b)(c)?")]), "abcb", ["a", "bc", "b"]),
        (Pretokenizer([Split("b+", invert=True, behavior="contiguous")]), "abbcc", ["a", "bb", "cc"]),
        (named("none"), "a b", ["a b"]),
    ],
)
def test_words_by_hand(pretokenizer, text, words):
    assert pretokenizer.split(text) == words
    assert [word for word, _, _ in pretokenizer.pieces(text)] == words


def test_only_metaspace_first_asks_whether_a_text_begins_the_input():
    first = Pretokenizer([Metaspace(prepend_scheme="first")])
    assert first.split("a b") == ["▁a", "▁b"] and first.split("a b", first=False) == ["a", "▁b"]
    later = Pretokenizer([WhitespaceSplit(), Metaspace(prepend_scheme="first")])
    assert later.split("a b") == ["▁a", "b"] and later.split(" a b") == ["a", "b"] == later.split("a b", first=False)
    assert all(p.split("a b", first=False) == p.split("a b") for p in map(named, NAMES))


def test_names():
    assert [named(name).split("It's 10")[-1] for name in NAMES] == [
        "It's 10",
        " 10",
        "10",
        "10",
        "0",
        "10",
        "10",
        "▁10",
    ]
    assert GPT2 == Pretokenizer([ByteLevel()]) != SMOLLM and hash(GPT2) == hash(named("gpt2"))
    assert repr(BERT) == "Pretokenizer([Bert()])"


@given(st.sampled_from(WHOLE + SAFE + UNSAFE), texts)
def test_pretokenizers_survive_pickling(pretokenizer, text):
    again = pickle.loads(pickle.dumps(pretokenizer))
    assert again == pretokenizer and again.split(text) == pretokenizer.split(text)


@given(st.sampled_from(WHOLE + SAFE + UNSAFE), texts, st.booleans())
@example(SAFE[8], "", True)
def test_words_are_the_pieces_and_spans_lie_in_the_text(pretokenizer, text, first):
    pieces = pretokenizer.pieces(text, first)
    assert pretokenizer.split(text, first) == [word for word, _, _ in pieces]
    assert all(word for word, _, _ in pieces)
    assert all(0 <= start < end <= len(text) for _, start, end in pieces)
    for (word, start, end), (_, later, last) in itertools.pairwise(pieces):
        assert end <= later or (word in " ▁a" and start == later)  # what was put in front may share a character
        assert end <= last
    if not any(isinstance(step, Metaspace) for step in pretokenizer.steps):
        assert all(
            word.removeprefix(" ") == text[start:end].removeprefix(" ") or word == " " for word, start, end in pieces
        )


# ---- the words and the text


@pytest.mark.claim("tokenize.words-partition")
@given(st.sampled_from(WHOLE), texts)
def test_words_joined_are_the_text(pretokenizer, text):
    assert "".join(pretokenizer.split(text)) == text


@pytest.mark.claim("tokenize.words-partition")
@given(texts)
def test_words_joined_are_the_text_without_white_space_or_with_it_rewritten(text):
    visible = "".join(c for c in text if c not in WHITE)
    for pretokenizer in (BERT, WHITESPACE, Pretokenizer([WhitespaceSplit()])):
        assert "".join(pretokenizer.split(text)) == visible
    rewritten = text.replace(" ", "▁")
    front = "▁" if rewritten and not rewritten.startswith("▁") else ""
    assert "".join(METASPACE.split(text)) == front + rewritten


@pytest.mark.claim("tokenize.words-partition")
def test_no_character_of_unicode_is_passed_over():
    """Exhaustive."""
    whole = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x110000))]
    for joined in ("".join(whole), "".join(whole[::-1]), " ".join(whole)):
        for pretokenizer in (GPT2, CL100K, O200K, SMOLLM):
            assert "".join(pretokenizer.split(joined)) == joined


# ---- spaces


def cuts(text):
    """Places before a space that follows something visible."""
    return [q for q in range(1, len(text)) if text[q] == " " and text[q - 1] not in WHITE]


@pytest.mark.claim("tokenize.space-boundary")
@given(st.sampled_from(SAFE), st.lists(texts, min_size=1, max_size=5), st.booleans())
@example(GPT2, ["a\n  b \n", "c\x1c "], True)
@example(Pretokenizer([Digits(), Metaspace(prepend_scheme="first"), Punctuation()]), ["1", "1"], True)
def test_texts_may_be_cut_before_spaces_that_follow_something_visible(pretokenizer, parts, first):
    assert pretokenizer.space_safe
    text = " ".join(parts)
    for q in cuts(text):
        x, y = text[:q], text[q:]
        assert pretokenizer.split(x, first) + pretokenizer.split(y, first=False) == pretokenizer.split(text, first)


@pytest.mark.claim("tokenize.space-boundary")
def test_all_short_texts_may_be_cut_there():
    """Exhaustive: what patterns tell apart, on both sides of the space."""
    kinds = "aA1'!\n "
    for pretokenizer in (GPT2, CL100K, O200K, SMOLLM, BERT, WHITESPACE, METASPACE):
        words = {"".join(t): None for n in range(4) for t in itertools.product(kinds, repeat=n)}
        words = {text: pretokenizer.split(text) for text in words}
        spaced = {y: pretokenizer.split(" " + y, first=False) for y in words if len(y) < 3}
        for x, before in words.items():
            if x and x[-1] not in WHITE:
                for y, after in spaced.items():
                    assert pretokenizer.split(f"{x} {y}") == before + after


@pytest.mark.claim("tokenize.space-boundary")
def test_a_single_space_between_visible_characters_begins_a_word_or_a_gap():
    """Every character of Unicode before the space."""
    whole = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x110000)) if chr(code) not in WHITE]
    text = " ".join(whole)
    for pretokenizer in (GPT2, CL100K, O200K, SMOLLM):
        ends = set(itertools.accumulate(map(len, pretokenizer.split(text))))
        assert ends.issuperset(range(1, len(text), 2))
    for pretokenizer in (BERT, WHITESPACE):
        assert pretokenizer.split(text) == whole
    assert METASPACE.split(text.replace("▁", "_"))[1] == "▁\x01" and len(METASPACE.split(text)) == len(whole) + 1


def test_white_space_elsewhere_is_no_safe_place():
    assert not any(pretokenizer.space_safe for pretokenizer in UNSAFE)
    assert GPT2.split(" ") + GPT2.split("  a") != GPT2.split("   a")
    assert CL100K.split("a\n") + CL100K.split(" \nb") != CL100K.split("a\n \nb")


# ---- other forms of the same patterns


@pytest.mark.claim("tokenize.digits-then-gpt2")
@given(texts)
@example("  1 a's1's 2\n 3")
def test_one_pattern_has_the_words_of_two_steps(text):
    pieces = regex.findall(r"\p{N}|\P{N}+", text)
    assert SMOLLM.split(text) == [word for piece in pieces for word in regex.findall(GPT2_PATTERN, piece)]
    assert SMOLLM.split(text) == [word for word, _, _ in SMOLLM.pieces(text)]


@pytest.mark.claim("tokenize.digits-then-gpt2")
def test_one_pattern_has_the_words_of_two_steps_on_all_short_texts():
    """Exhaustive."""
    for text in map("".join, itertools.product("as1' \n!", repeat=5)):
        pieces = regex.findall(r"\p{N}|\P{N}+", text)
        assert SMOLLM.split(text) == [word for piece in pieces for word in regex.findall(GPT2_PATTERN, piece)]


@pytest.mark.claim("tokenize.ascii-words")
@pytest.mark.parametrize("pattern", KNOWN)
def test_the_form_for_ascii_has_the_same_matches(pattern):
    """Exhaustive: all texts of three ASCII characters, and of six of those that patterns tell apart."""
    known, ascii_ = KNOWN[pattern], list(map(chr, range(128)))
    for a in ascii_:  # all texts a?? one behind another, kept apart by what ends every match
        text = "".join(f"{a}{b}{c}\0\n" for b in ascii_ for c in ascii_[::3])
        assert known.ascii.findall(text) == known.unicode.findall(text)
    text = "\0\n".join(map("".join, itertools.product("aAs1' \n/", repeat=5)))
    assert known.ascii.findall(text) == known.unicode.findall(text)


@pytest.mark.claim("tokenize.ascii-words")
@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_the_form_for_ascii_has_the_same_matches_in_random_texts(text):
    for known in KNOWN.values():
        assert known.ascii.findall(text) == known.unicode.findall(text)


def test_the_form_for_ascii_by_hand():
    assert ascii_form(r"\p{L}+[^\p{N}\]x]|\P{N}[\p{M}\p{Ll}]") == r"[A-Za-z]+[^0-9\]x]|[^0-9][a-z]"


@given(st.lists(nasty, min_size=40, max_size=80))
def test_long_texts_are_split_block_by_block_as_a_whole(parts):
    text = " ".join(parts * 3)
    assert "".join(blocks(text)) == text
    for known in KNOWN.values():
        assert known.findall(text) == known.unicode.findall(text)


def test_blocks_end_before_spaces_that_follow_something_visible(monkeypatch):
    monkeypatch.setattr(_patterns, "BLOCK", 3)
    assert [*blocks("ab cde  f \n g\x1c hijk")] == ["ab cde", "  f", " \n g\x1c hijk"]
    assert [*blocks("abcdefg")] == ["abcdefg"] and [*blocks("")] == []


@pytest.mark.parametrize("spelling", pretokenize._KNOWN)
def test_other_spellings_have_the_same_words(spelling):
    known, itself = pretokenize._KNOWN[spelling], compiled(spelling)
    for text in [*random_texts.texts(3, 500), *map("".join, itertools.product("a \n!", repeat=5))]:
        assert known.findall(text) == itself.findall(text)
        assert Pretokenizer([Split(spelling)]).split(text) == known.findall(text)
        assert Pretokenizer([Split(spelling, behavior="removed", invert=True)]).split(text) == known.findall(text)


def test_tiktoken_and_llama_differ_at_the_end_of_a_text():
    tiktoken = next(Split(spelling) for spelling in pretokenize._KNOWN if r"\s*[\r\n]|" in spelling)
    for text, theirs, llama in (
        ("a\n ", ["a", "\n "], ["a", "\n", " "]),
        ("a\n b", ["a", "\n", " b"], ["a", "\n", " b"]),
    ):
        assert Pretokenizer([tiktoken]).split(text) == theirs
        assert CL100K.split(text) == llama


# ---- patterns from outside


@pytest.mark.parametrize("pattern", ["(a|aa)+$", "(a+)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(?:a?){1000}a{1000}z"])
@pytest.mark.parametrize("behavior", ["isolated", "contiguous"])
def test_a_pattern_without_bound_is_stopped(pattern, behavior, monkeypatch):
    monkeypatch.setattr(_patterns, "seconds", lambda text: 0.05)
    sentence = r"takes more than the 0.1 seconds allowed on 30001 characters: it tries the same thing in too many ways"
    with pytest.raises(ValueError, match=sentence):
        Pretokenizer([Split(pattern, behavior=behavior)]).split("a" * 30_000 + "!")
    with pytest.raises(ValueError, match=sentence):
        Pretokenizer([Split(pattern, behavior=behavior)]).pieces("a" * 30_000 + "!")


def test_the_time_allowed_is_for_the_text_and_not_for_each_piece():
    step = Split("a")
    assert step.words("ba", time.monotonic() + 60) == ["b", "a"]
    with pytest.raises(ValueError, match="takes more than"):
        step.words("ba", time.monotonic() - 1)


@pytest.mark.parametrize(
    ("pattern", "size"),
    [("", 0), ("abc", 3), ("a+", 2), ("a*", 2), ("a{10}", 10), ("a{3,}", 3), ("(?:ab){5}c", 18), ("[a-z]{4}", 20)],
)
def test_patterns_written_out(pattern, size):
    assert size <= written_out(pattern) <= size + 20


@pytest.mark.parametrize(
    "pattern",
    [
        "a{1000000000}",
        "(a{65535}){65535}",
        "(?:" * 25 + "a" + ")+" * 25,
        "(?:" * 10 + "ab?" + "){9}" * 10,
        "[])]{60000}x",
    ],
)
def test_patterns_that_would_fill_the_memory_are_refused_before_they_do(pattern):
    with pytest.raises(ValueError, match="over 50000 characters when its repetitions are written out"):
        Split(pattern)


def test_our_patterns_are_far_from_that_limit():
    assert all(written_out(pattern) < 1_000 for pattern in KNOWN)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: named("gpt5"), "a pre-tokenizer's name is one of none, gpt2, .*, metaspace, got 'gpt5'"),
        (lambda: Split("(a"), r"'\(a' is no regular expression: missing \)"),
        (lambda: Split("[" + "a" * 100_000 + "]"), "over 50000 characters"),
        (lambda: Split("(" * 5_000 + ")" * 5_000), "is no regular expression: maximum recursion"),
        (lambda: Split("(?:a(?R)?b)"), "calls itself"),
        (lambda: Split("(a)(?1)"), "calls itself"),
        (lambda: Split("(?x)a # ("), r"written with \(\?x\)"),
        (lambda: Split("a", behavior="kept"), "behavior is one of removed, isolated, .*, got 'kept'"),
        (lambda: Punctuation("Isolated"), "behavior is one of removed, isolated, .*, got 'Isolated'"),
        (lambda: Split("\ud800"), "lone surrogates"),
        (lambda: Metaspace("ab"), "the replacement of a space is one character, got 'ab'"),
        (lambda: Metaspace(prepend_scheme="last"), "prepend_scheme is 'always', 'first' or 'never', got 'last'"),
        (lambda: GPT2.split("a\ud800"), r"lone surrogates, got U\+D800 at position 1"),
        (lambda: GPT2.pieces("\udfff"), "lone surrogates"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_what_is_no_text_or_no_step_is_refused(shapes_unchecked):
    with pytest.raises(TypeError, match="a text is a string, got bytes"):
        GPT2.split(b"abc")
    with pytest.raises(TypeError, match="a text is a string, got NoneType"):
        GPT2.pieces(None)
    with pytest.raises(TypeError, match="a pre-tokenizer is made of steps such as Digits"):
        Pretokenizer(["gpt2"])
    with pytest.raises(NotImplementedError, match="Step does not say where it cuts"):
        Pretokenizer([Step()]).split("a")


def test_a_step_of_ones_own():
    class Halves(Step):
        def cuts(self, text):
            middle = len(text) // 2
            return [(i, j) for i, j in ((0, middle), (middle, len(text))) if i < j]

    pretokenizer = Pretokenizer([WhitespaceSplit(), Halves()])
    assert pretokenizer.split("abcd e") == ["ab", "cd", "e"]
    assert pretokenizer.pieces("abcd e") == [("ab", 0, 2), ("cd", 2, 4), ("e", 5, 6)]
    assert not Pretokenizer([Halves()]).space_safe and Pretokenizer([Bert(), Halves()]).space_safe


def test_nothing_takes_time_out_of_proportion():
    """A run of 200,000 characters of one kind: with quadratic work each would take minutes."""
    for unit in ("A", " ", "\n ", "Aa", "'", "é", "a\u0301", " \u2003", "1", "あA", "\xa0a"):
        text = unit * (200_000 // len(unit))
        for name in NAMES:
            assert sum(map(len, named(name).split(text))) <= len(text) + 1
    assert O200K_PATTERN in KNOWN
