"""Mirrors src/fp_tokenize/unicode.py."""

import itertools
import re
import unicodedata

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from fp_tokenize import unicode
from fp_tokenize.unicode import (
    FORMS,
    compose,
    decompose,
    graphemes,
    lengths,
    normal_form,
    order,
    starts_anew,
)

EVERY = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x110000))]
# letters, marks of four classes, a mark made of two, jamo, a syllable, compositions that are excluded, compatibility
NASTY = (
    "aeA \u0301\u0308\u0323\u0327\u0345\u0344\u0338ǖ\u01d6ạᾳ\u1fb3Å"
    "\u212b\u0958\u0915\u093c각가\u1100\u1161\u11a8ﬁ½ｶ\uff9eﾡￂ㌀\u09c7\u09be"
)
# what the tables say anything of, and some of the rest
SPECIAL = [
    c
    for c in EVERY
    if unicodedata.normalize("NFKD", c) != c or unicodedata.combining(c) or c in unicode._seconds() or ord(c) % 61 == 0
]
nasty = st.text(st.sampled_from(NASTY), max_size=12)
texts = st.text(st.characters(exclude_categories=["Cs"]))
either = nasty | texts


def fast(text, form):
    return unicodedata.normalize(form, text)


# ---- lengths


@pytest.mark.claim("tokenize.text-lengths")
def test_lengths_of_single_characters_are_those_of_the_table():
    """Exhaustive, since all but the number of clusters are sums over characters."""
    first = 0
    for last, units, size in ((0x7F, 1, 1), (0x7FF, 1, 2), (0xFFFF, 1, 3), (0x10FFFF, 2, 4)):
        row = [c for c in EVERY if first <= ord(c) <= last]
        assert lengths("".join(row))[1:] == (len(row), units * len(row), size * len(row))
        assert lengths(row[0]) == lengths(row[-1]) == (1, 1, units, size)
        first = last + 1


@pytest.mark.claim("tokenize.text-lengths")
@given(either)
@example("👩\u200d👩\u200d👧\r\n")
@example("")
def test_lengths_are_bounded_by_each_other(text):
    g, n, u, b = lengths(text)
    assert g <= n <= u <= b <= min(3 * u, 4 * n)
    assert (b == n) == all(c < "\x80" for c in text)
    assert n == len(text) and b == len(text.encode()) and 2 * u == len(text.encode("utf-16-be"))


def test_every_bound_on_lengths_is_reached():
    assert lengths("ab") == (2, 2, 2, 2)
    assert lengths("\uffff").bytes == 3 * lengths("\uffff").utf16
    assert lengths("\U00010000").bytes == 4 * lengths("\U00010000").code_points


@given(either)
def test_graphemes_are_pieces_of_the_text(text):
    parts = graphemes(text)
    assert "".join(parts) == text and all(parts)
    assert all(graphemes(part) == [part] for part in parts)


def test_graphemes_of_the_traps():
    assert graphemes("e\u0301x\r\n🇩🇪🇫🇷👍🏽각\u1100\u1161\u11a8") == [
        *("e\u0301", "x", "\r\n", "🇩🇪", "🇫🇷", "👍🏽", "각", "\u1100\u1161\u11a8"),
    ]


# ---- normal forms


def test_normal_forms_by_definition_are_those_of_python_for_every_character():
    """Every character of which the tables say anything, kept apart by spaces (`tokenize.normal-form-boundary`)."""
    text = " ".join(SPECIAL)
    for form in FORMS:
        assert normal_form(text, form).split(" ") == fast(text, form).split(" ")
        assert unicodedata.is_normalized(form, " ".join(set(EVERY).difference(SPECIAL)))


@given(either)
@example("a\u0338\u0301\u0344\u0323")
@example("\u1100\u1161\u11a8\u11a8\u1161")
@example("\u0958\u212b\u0327\u0301a\u0345\u0301")
def test_normal_forms_by_definition_are_those_of_python(text):
    for form in FORMS:
        assert normal_form(text, form) == fast(text, form)


def test_normal_forms_of_all_short_strings_of_difficult_characters():
    """Exhaustive: two characters, and five of the worst."""
    several = itertools.chain(
        itertools.product(NASTY[3:], repeat=2), itertools.product("a\u0301\u0323ạ\u0345", repeat=5)
    )
    text = " ".join(map("".join, several))
    for form in FORMS:
        assert normal_form(text, form) == fast(text, form)


def test_the_steps_of_a_normal_form_by_hand():
    assert decompose("ǖ") == "u\u0308\u0304" and decompose("ﬁ") == "ﬁ" and decompose("ﬁ", compatible=True) == "fi"
    assert (
        order("\u0301\u0323a\u0301\u0300\u0323") == "\u0323\u0301a\u0323\u0301\u0300"
    )  # two of one class keep their order
    assert compose("a\u0323\u0301") == "ạ\u0301"
    assert compose("a\u0301\u0301") == "á\u0301"  # the second is blocked by the first
    assert compose("ab\u0301") == "ab\u0301"
    assert compose("\u0301a") == "\u0301a"
    assert decompose("각") == "\u1100\u1161\u11a8" and compose("가\u11a8\u11a8") == "각\u11a8"


@pytest.mark.claim("tokenize.normal-form-idempotent")
def test_the_tables_have_the_properties_that_the_proof_uses():
    """T1, T2, T3, for every character that has a mapping."""
    kind = {c: unicodedata.decomposition(c) for c in EVERY}
    assert not any(kind[pair[1]] for pair in unicode._pairs()), "T1"
    assert not any(kind[c].startswith("<") for c in EVERY if unicodedata.combining(c)), "T2"
    full = set(decompose("".join(SPECIAL), compatible=True))  # T3: it ends, with characters that have no mapping
    assert not any(kind[part] or "가" <= part <= "힣" for part in full)


@pytest.mark.claim("tokenize.normal-form-idempotent")
@given(either)
@example("a\u0301\u0323")
@example("\u0344\u0301ͅ")
def test_normal_forms_are_idempotent_and_composing_loses_nothing(text):
    for form in FORMS:
        assert normal_form(normal_form(text, form), form) == normal_form(text, form)
    assert normal_form(normal_form(text, "NFC"), "NFD") == normal_form(text, "NFD")
    assert normal_form(normal_form(text, "NFKC"), "NFKD") == normal_form(text, "NFKD")


@pytest.mark.claim("tokenize.equivalences")
def test_equivalences_on_all_pairs_of_short_strings():
    """Exhaustive: the classes by one form are the classes by the other."""
    short = ["".join(t) for n in range(4) for t in itertools.product("a2\u0301\u0323á²ạ\u0344ﬁ", repeat=n)]
    classes = {form: {} for form in FORMS}
    for text in short:
        for form in FORMS:
            classes[form].setdefault(normal_form(text, form), set()).add(text)

    def partition(form):
        return {frozenset(members) for members in classes[form].values()}

    assert partition("NFC") == partition("NFD") and partition("NFKC") == partition("NFKD")
    for members in partition("NFD"):  # canonical classes lie within compatible ones, and are smaller
        assert len({normal_form(text, "NFKD") for text in members}) == 1
    assert len(partition("NFKD")) < len(partition("NFD")) < len(short)


@pytest.mark.claim("tokenize.equivalences")
@given(either)
def test_nfd_does_not_change_nfkd(text):
    assert normal_form(normal_form(text, "NFD"), "NFKD") == normal_form(text, "NFKD")


@pytest.mark.claim("tokenize.normal-form-boundary")
def test_texts_may_be_cut_before_every_character_of_the_kind():
    """Every special character, each with difficult neighbours."""
    before = ("a", "a\u0323", "가", "\u1100", "\u0915", "\u09c7", "Å\u0327")
    after = ("", "\u0301", "\u0301\u0323", "\u11a8", "\u1161\u11a8")
    for form in FORMS:
        for c in SPECIAL:
            if starts_anew(c, "K" in form):
                for left, right in zip(before, (c + mark for mark in itertools.cycle(after)), strict=False):
                    assert fast(left + right, form) == fast(left, form) + fast(right, form), f"U+{ord(c):04X}"


@pytest.mark.claim("tokenize.normal-form-boundary")
@given(either, either)
def test_texts_may_be_cut_before_spaces_and_other_safe_characters(x, y):
    for form in FORMS:
        for c in " a言ﬁ":
            assert fast(x + c + y, form) == fast(x, form) + fast(c + y, form)
        for i, c in enumerate(x):
            if starts_anew(c, "K" in form):
                assert fast(x, form) == fast(x[:i], form) + fast(x[i:], form)


@pytest.mark.claim("tokenize.normal-form-boundary")
def test_no_character_is_called_unsafe_in_vain():
    """Each changes together with something before it."""
    assert all(starts_anew(chr(code), compatible) for code in range(0x300) for compatible in (False, True))
    marks = {unicodedata.combining(c): c for c in EVERY if not unicodedata.decomposition(c)}
    for c in (c for c in SPECIAL if not starts_anew(c, False)):
        first = decompose(c)[0]
        before = [pair[0] for pair in unicode._pairs() if pair[1] == first]
        before += [mark for kind, mark in marks.items() if kind > unicodedata.combining(first) > 0]
        before += ["\u1100"] * ("\u1161" <= first < "\u1176") + ["가"] * ("\u11a8" <= first < "\u11c3")
        assert not before or any(fast(b + c, "NFC") != fast(b, "NFC") + fast(c, "NFC") for b in before), (
            f"U+{ord(c):04X}"
        )


def test_joining_can_leave_nfc():
    assert fast("e", "NFC") + fast("\u0301", "NFC") != fast("e\u0301", "NFC") == "é"


@pytest.mark.claim("tokenize.plain-text-is-normal")
def test_plain_characters_are_normal():
    """Exhaustive over characters and pairs."""
    ascii_, latin = [chr(c) for c in range(128)], [chr(c) for c in range(256)]
    for form in FORMS:
        assert all(fast(a + b, form) == a + b for a in ascii_ for b in ascii_)
    assert all(fast(a + b, "NFC") == a + b for a in latin for b in latin)
    assert [fast(chr(c), "NFC") == chr(c) for c in range(0x374)].index(False) == 0x340  # the first that is not its NFC


@pytest.mark.claim("tokenize.plain-text-is-normal")
@given(st.text(st.characters(max_codepoint=0xFF)))
def test_plain_texts_are_normal(text):
    assert normal_form(text, "NFC") == text
    if text.isascii():
        assert all(normal_form(text, form) == text for form in FORMS)


# ---- white space


@pytest.mark.claim("tokenize.white-space")
def test_white_space_is_what_the_claim_lists():
    """Exhaustive."""
    spaces = {
        *range(0x9, 0xE),
        0x20,
        0x85,
        0xA0,
        0x1680,
        *range(0x2000, 0x200B),
        0x2028,
        0x2029,
        0x202F,
        0x205F,
        0x3000,
    }
    assert len(spaces) == 25
    whole = "".join(EVERY)
    assert {ord(c) for c in regex.findall(r"\s", whole)} == spaces
    assert {ord(c) for c in regex.findall(r"\p{White_Space}", whole)} == spaces
    assert {ord(c) for c in EVERY if c.isspace()} == spaces | {0x1C, 0x1D, 0x1E, 0x1F}
    assert {ord(c) for c in re.findall(r"\s", whole)} == spaces | {0x1C, 0x1D, 0x1E, 0x1F}
    assert {ord(c) for c in re.findall(r"(?a)\s", whole)} == {*range(0x9, 0xE), 0x20}


# ---- bad input


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: lengths("a\ud800"), r"lone surrogates, got U\+D800 at position 1"),
        (lambda: graphemes("\udfff"), r"lone surrogates, got U\+DFFF"),
        (lambda: normal_form("\udc00", "NFC"), "lone surrogates"),
        (lambda: normal_form("a", "nfc"), "a normal form is one of NFC, NFD, NFKC, NFKD, got 'nfc'"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_bytes_are_no_text(shapes_unchecked):
    for function in (lengths, graphemes):
        with pytest.raises(TypeError, match="a text is a string, got bytes"):
            function(b"abc")
