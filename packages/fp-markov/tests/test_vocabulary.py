"""Mirrors src/fp_markov/vocabulary.py."""

import itertools
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_markov.vocabulary import BYTES, Vocabulary

anything = st.text(st.characters(exclude_categories=()))  # with lone surrogates
printable = st.text()
every_byte = Vocabulary.from_text("any text", "bytes")
few = st.text("ab \n\t\r\0é", max_size=20)


@given(anything)
def test_characters_come_back_exactly(text):
    vocabulary = Vocabulary.from_text(text + "x")
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert ids.dtype == np.int64 and len(ids) == len(text)
    assert [vocabulary.tokens[i] for i in ids] == list(text)
    assert vocabulary.tokens == sorted(set(text + "x"))


@given(printable)
def test_bytes_come_back_exactly_and_are_their_own_ids(text):
    vocabulary = every_byte
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert ids.tolist() == list(text.encode())
    assert len(vocabulary) == 256
    assert [vocabulary.tokens[b] for b in b"A \n\x7f\xff"] == ["A", "<0x20>", "<0x0A>", "<0x7F>", "<0xFF>"]


@given(few)
def test_words_come_back_with_single_spaces(text):
    vocabulary = Vocabulary.from_text(text + " x", "words")
    ids = vocabulary.encode(text)
    words = text.replace("\0", " ").split()  # of these characters Python and KenLM differ about the zero byte alone
    assert [vocabulary.tokens[i] for i in ids] == words
    assert vocabulary.decode(ids) == " ".join(words)
    np.testing.assert_array_equal(vocabulary.encode(vocabulary.decode(ids)), ids)


def test_words_are_split_where_lmplz_splits_them_by_hand():
    """lmplz 0.3.0 lists the word a, no-break space, c, vertical tab, d for such a line: neither separates."""
    assert Vocabulary.from_text("b a\u00a0c\vd\0e\n a\r", "words").tokens == ["a", "a\u00a0c\vd", "b", "e"]


@given(few, st.booleans(), st.sampled_from(["characters", "bytes", "words"]))
def test_sentences_are_the_lines_between_their_two_tokens(text, keep_empty, units):
    vocabulary = Vocabulary.from_text("a b é \t \r \0", units, sentences=True, unknown=True)
    bos, eos = vocabulary.bos, vocabulary.eos
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    expected = []
    for line in lines:
        ids = vocabulary.encode(line).tolist()
        if ids or keep_empty:
            expected += [bos, *ids, eos]
    got = vocabulary.encode_sentences(text, keep_empty=keep_empty)
    assert got.tolist() == expected and got.dtype == np.int64
    if units != "words" and "\0" not in text:
        kept = [line for line in lines if line or keep_empty]
        assert vocabulary.decode(got) == "".join(line + "\n" for line in kept)


def test_sentences_by_hand():
    vocabulary = Vocabulary.from_text("the cat\nsat\n", "words", sentences=True)
    assert vocabulary.tokens == ["cat", "sat", "the", "<s>", "</s>"]
    assert (vocabulary.unk, vocabulary.bos, vocabulary.eos) == (None, 3, 4)
    assert vocabulary.encode_sentences("the cat\n \n\nsat").tolist() == [3, 2, 0, 4, 3, 1, 4]
    assert vocabulary.encode_sentences("sat\n\n", keep_empty=True).tolist() == [3, 1, 4, 3, 4]
    assert vocabulary.encode_sentences("").tolist() == []
    assert vocabulary.decode([3, 2, 0, 4, 3, 4, 3, 1]) == "the cat\n\nsat"
    assert "\n" not in Vocabulary.from_text("a\nb", sentences=True).tokens
    assert "\n" in Vocabulary.from_text("a\nb").tokens


def test_unknown_symbols_become_the_token_for_them():
    vocabulary = Vocabulary.from_text("aabbc", min_count=2, unknown=True)
    assert vocabulary.tokens == ["a", "b", "<unk>"] and vocabulary.unk == 2
    assert vocabulary.encode("abc\U0010ffffa").tolist() == [0, 1, 2, 2, 0]
    assert vocabulary.decode([0, 2, 1]) == "a<unk>b"
    words = Vocabulary.from_text("b a a", "words", unknown=True, sentences=True)
    assert words.encode("a <unk> <s> </s> c b").tolist() == [0, 2, 2, 2, 2, 1]  # a text cannot forge special tokens
    assert Vocabulary.from_text("x", "bytes", unknown=True).decode([65, 256, 66]) == "A<unk>B"
    all_rare = Vocabulary.from_text("abc", min_count=2, unknown=True)
    assert all_rare.encode("abcd").tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("units", "known", "text", "symbol", "position"),
    [
        ("characters", "abc", "ab\ncad", r"'\\n'", 2),
        ("characters", "abc", "abéa", "'é'", 2),
        ("characters", "ab", "ab\U0001f600", "'😀'", 2),
        ("words", "to be or not", "to be, or not", "'be,'", 3),
        ("words", "to be", "be <unk>", "'<unk>'", 3),
    ],
)
def test_the_first_unknown_symbol_is_named_with_its_place(units, known, text, symbol, position):
    vocabulary = Vocabulary.from_text(known, units)
    with pytest.raises(ValueError, match=f"{symbol}, at position {position} of the text, is not in the vocabulary"):
        vocabulary.encode(text)


def test_in_sentences_the_place_is_that_in_the_whole_text():
    characters = Vocabulary.from_text("ab", sentences=True)
    with pytest.raises(ValueError, match="'c', at position 6 of the text"):
        characters.encode_sentences("ab\n\nab" + "c\nd")
    words = Vocabulary.from_text("a b", "words", sentences=True)
    with pytest.raises(ValueError, match="'c', at position 4 of the text"):
        words.encode_sentences("a b\nc")


@pytest.mark.claim("markov.merged-tokens")
def test_merging_tokens_never_makes_a_text_less_likely():
    """Exhaustive over the texts of four tokens out of three, every way to merge the tokens, and three distributions."""
    texts = list(itertools.product(range(3), repeat=4))
    for seed in range(3):
        P = dict(zip(texts, np.random.default_rng(seed).dirichlet(np.full(len(texts), 0.2)), strict=True))
        for f in itertools.product(range(3), repeat=3):
            Q = dict.fromkeys(texts, 0.0)
            for w, p in P.items():
                Q[tuple(f[token] for token in w)] += p
            for w, p in P.items():
                assert Q[tuple(f[token] for token in w)] >= p
            if len(set(f)) == 1:
                assert Q[(f[0],) * 4] == pytest.approx(1, abs=1e-12)  # the sum of 81 roundings


def test_a_real_text_comes_back_in_every_unit():
    text = "\n".join(topics[name] for name in sorted(topics))
    for units in ("characters", "bytes"):
        vocabulary = Vocabulary.from_text(text, units)
        assert vocabulary.decode(vocabulary.encode(text)) == text
    words = Vocabulary.from_text(text, "words")
    assert words.decode(words.encode(text)) == " ".join(text.split())
    assert len(words.encode(text)) == len(text.split())


def test_tokens_and_units_are_enough_to_make_it_again():
    for units in ("characters", "bytes", "words"):
        vocabulary = Vocabulary.from_text("a b\nc", units, unknown=True, sentences=True)
        again = Vocabulary(vocabulary.tokens, vocabulary.units)
        assert again == vocabulary and (again.unk, again.bos, again.eos) == (
            len(vocabulary) - 3,
            len(vocabulary) - 2,
            len(vocabulary) - 1,
        )
    assert Vocabulary(["a"]) != Vocabulary(["a"], "words") and Vocabulary(["a"]) != ["a"]
    assert repr(Vocabulary(["a", "b"])) == "<Vocabulary of 2 characters>"


def test_bytes_that_are_no_text_are_shown_as_such():
    assert Vocabulary.from_text("x", "bytes").decode([0xC3, 65]) == "\ufffdA"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Vocabulary.from_text("a", "syllables"), "characters, bytes, words, got 'syllables'"),
        (lambda: Vocabulary(["a"], "syllables"), "characters, bytes, words, got 'syllables'"),
        (lambda: Vocabulary.from_text(""), "got an empty one"),
        (lambda: Vocabulary.from_text(" \n", "words"), "at least one token, got none"),
        (lambda: Vocabulary.from_text("a", min_count=0), "1 or more, got 0"),
        (lambda: Vocabulary.from_text("a", min_count=2), "ask for unknown=True"),
        (lambda: Vocabulary.from_text("a <s> b", "words"), "the text holds the word '<s>'"),
        (lambda: Vocabulary(["a", "b", "a"]), "'a' stands twice"),
        (lambda: Vocabulary(["ab"]), "'ab' is not one of the characters"),
        (lambda: Vocabulary(["a b"], "words"), "'a b' is not one of the words"),
        (lambda: Vocabulary([""], "words"), "'' is not one of the words"),
        (lambda: Vocabulary(["a"], "bytes"), "all 256 of them"),
        (
            lambda: Vocabulary([*BYTES, "ab"], "bytes"),
            "'ab' is not one of the bytes",
        ),
        (lambda: Vocabulary.from_text("a").encode_sentences("a"), "sentences=True"),
        (lambda: Vocabulary.from_text("a").decode([1]), r"must lie in \[0, 1\)"),
        (lambda: Vocabulary.from_text("a", "bytes").encode("a\ud800"), r"'\\ud800' is half of a surrogate pair"),
    ],
)
def test_bad_vocabularies_and_texts_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("units", ["characters", "bytes", "words"])
def test_a_saved_vocabulary_comes_back(tmp_path, units):
    symbols = "a é\n\t\0\ud800" if units == "characters" else "a é b"
    vocabulary = Vocabulary.from_text(symbols, units, unknown=True, sentences=True)
    vocabulary.save(tmp_path / "vocabulary")
    assert [file.name for file in tmp_path.iterdir()] == ["vocabulary"]
    back = Vocabulary.load(tmp_path / "vocabulary")
    assert back == vocabulary
    assert (back.unk, back.bos, back.eos) == (vocabulary.unk, vocabulary.bos, vocabulary.eos)


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path):
    file = tmp_path / "vocabulary"
    Vocabulary.from_text("abc").save(file)
    whole = file.read_text("utf8")
    for content in (b"", b"hello", b"\xff", b"[]", b"{}", whole[:-3].encode(), whole.replace("1", "2").encode()):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is no vocabulary that this version of fp_markov saved, or is damaged"):
            Vocabulary.load(file)
    for tokens in ("[1, 2]", "null", '["ab"]', "[]"):
        file.write_text(whole.replace('["a", "b", "c"]', tokens), "utf8")
        with pytest.raises(ValueError, match="or is damaged"):
            Vocabulary.load(file)
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "nothing")


def test_texts_are_strings_and_ids_integers(shapes_unchecked):
    for units in ("characters", "bytes", "words"):
        vocabulary = Vocabulary.from_text("a b", units, sentences=True)
        for call in (
            vocabulary.encode,
            vocabulary.encode_sentences,
            lambda text, units=units: Vocabulary.from_text(text, units),
        ):
            with pytest.raises(TypeError, match=r"a text is a str, got bytes\. Decode bytes first"):
                call(b"a b")
        for ids in ([0.0, 1.0], np.array([0.5]), np.array([True])):
            with pytest.raises(TypeError, match="token ids must be integers"):
                vocabulary.decode(ids)
        assert vocabulary.decode([]) == ""
