"""Mirrors src/fp_tokenize/characters.py."""

import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fp_tokenize import ByteTokenizer, CharTokenizer, byte_alphabet

texts = st.text(st.characters(exclude_categories=["Cs"]))
EVERY_CHARACTER = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))


@pytest.mark.claim("tokenize.chars-round-trip")
@given(st.text(st.sampled_from("abcñ言😀"), min_size=1), st.text(st.sampled_from("abcdñ言語😀👩\ufffd\U0010ffff")))
@example("a", "\ufffd")
def test_characters_come_back_exactly_if_all_are_in_the_alphabet(alphabet, text):
    tokenizer = CharTokenizer(alphabet)
    expected = "".join(c if c in alphabet else "\ufffd" for c in text)
    assert tokenizer.decode(tokenizer.encode(text)) == expected
    assert (expected == text) == (set(text) <= {*alphabet, "\ufffd"})


@pytest.mark.claim("tokenize.chars-round-trip")
def test_an_alphabet_of_all_of_unicode_brings_every_character_back():
    """Exhaustive."""
    tokenizer = CharTokenizer(EVERY_CHARACTER)
    assert tokenizer.vocab_size == 0x110000 - 2048 + 1
    ids = tokenizer.encode_array(EVERY_CHARACTER)
    np.testing.assert_array_equal(ids, np.arange(1, tokenizer.vocab_size))
    assert tokenizer.decode(ids) == EVERY_CHARACTER


@pytest.mark.claim("tokenize.bytes-round-trip")
def test_bytes_bring_every_character_back_forwards_and_backwards():
    """Exhaustive over characters; reversed, every row of the table follows every other at its borders."""
    tokenizer = ByteTokenizer()
    for text in (EVERY_CHARACTER, EVERY_CHARACTER[::-1]):
        assert tokenizer.decode(tokenizer.encode_array(text), errors="strict") == text


@pytest.mark.claim("tokenize.bytes-round-trip")
@given(texts)
def test_bytes_bring_every_text_back_and_follow_the_table(text):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids, errors="strict") == text
    by_table = []
    for u in map(ord, text):
        n = 1 + (u > 0x7F) + (u > 0x7FF) + (u > 0xFFFF)
        head = [0, 0b11000000, 0b11100000, 0b11110000][n - 1]
        by_table.append(head | u >> 6 * (n - 1))
        by_table.extend(0b10000000 | u >> 6 * i & 0b111111 for i in reversed(range(n - 1)))
    assert ids == by_table


@pytest.mark.claim("tokenize.byte-alphabet")
def test_the_names_of_bytes_are_distinct_and_visible():
    """Exhaustive."""
    names = byte_alphabet()
    assert len(names) == len(set(names)) == 256
    for name in names:
        assert unicodedata.category(name)[0] not in "ZCM", f"U+{ord(name):04X}"
    tokenizer = ByteTokenizer()
    assert [tokenizer.token_to_id(name) for name in names] == list(range(256))


def test_a_vocabulary_is_sorted_whatever_the_order_and_number_of_texts():
    for texts in (["banana", "cab"], ["nab", "", "c"], "bancban", iter(["abcn"])):
        tokenizer = CharTokenizer.train(texts)
        assert tokenizer.alphabet == "abcn"
        assert [tokenizer.token_to_id(t) for t in ("<unk>", "a", "b", "c", "n", "z", "ab", "")] == [
            0, 1, 2, 3, 4, None, None, None,
        ]  # fmt: skip
    assert repr(tokenizer) == "CharTokenizer('abcn')"


def test_unknown_characters_below_between_and_above_the_alphabet_are_id_zero():
    tokenizer = CharTokenizer("bd")
    assert tokenizer.encode("abcde\U0010ffff") == [0, 1, 0, 2, 0, 0]
    assert tokenizer.id_to_bytes(0) == "\ufffd".encode()


def test_the_name_of_the_unknown_token_is_five_characters_in_a_text():
    tokenizer = CharTokenizer("<unk>")
    assert tokenizer.decode(tokenizer.encode("<unk>")) == "<unk>"
    assert 0 not in tokenizer.encode("<unk>")


def test_decoding_unknown_characters_three_ways():
    tokenizer = CharTokenizer("ab")
    ids = tokenizer.encode("a?b")
    assert tokenizer.decode(ids) == "a\ufffdb"
    assert tokenizer.decode(ids, errors="ignore") == "ab"
    with pytest.raises(ValueError, match="id 0 at position 1 is <unk>, whose text is lost"):
        tokenizer.decode(ids, errors="strict")
    assert tokenizer.decode([1, 2], errors="strict") == "ab"


def test_decoding_bytes_that_are_no_text_three_ways():
    tokenizer = ByteTokenizer()
    ids = [*b"a\xe8\xa8b\xff"]
    assert tokenizer.decode(ids) == "a\ufffdb\ufffd"
    assert tokenizer.decode(ids, errors="ignore") == "ab"
    with pytest.raises(ValueError, match="the ids are no UTF-8: byte 0xe8 at position 1, invalid continuation byte"):
        tokenizer.decode(ids, errors="strict")


def test_the_byte_tokenizer_knows_no_longer_names():
    tokenizer = ByteTokenizer()
    assert [tokenizer.token_to_id(t) for t in ("", "ab", "言", " ")] == [None] * 4
    assert repr(tokenizer) == "ByteTokenizer()"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: CharTokenizer(""), "at least one character, got an empty alphabet"),
        (lambda: CharTokenizer(["a", "bc"]), "single characters, got 'bc'"),
        (lambda: CharTokenizer(["a", ""]), "single characters, got ''"),
        (lambda: CharTokenizer("a\ud800"), r"lone surrogates, got U\+D800"),
        (lambda: CharTokenizer.train([]), "training needs at least one character, got empty text"),
        (lambda: CharTokenizer.train(["", ""]), "training needs at least one character, got empty text"),
        (lambda: CharTokenizer.train(["ab", "c\udc00"]), r"lone surrogates, got U\+DC00"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
