"""Mirrors src/fp_tokenize/pipeline.py."""

import re
import threading

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fp_tokenize import pipeline, pretokenize
from fp_tokenize.normalize import Normalizer
from fp_tokenize.pipeline import SubwordTokenizer
from fp_tokenize.pretokenize import Pretokenizer, Split
from fp_tokenize.special import AddedToken

ALPHABET = "abAB12.,'! \t\n\r\u00a0\u3000\x1c\u200beé\u0301言😀▁<s>"
texts = st.text(st.sampled_from(ALPHABET)) | st.text(st.characters(exclude_categories=["Cs"]))
# words with single spaces: the shape in which chunks are many
prose = st.lists(st.sampled_from(["the", "cat,", "mat.\n\nAnd", "1st", "don't", "é", "", "\n", "言語"])).map(" ".join)


class Halves(SubwordTokenizer):
    """Cuts each word in two: `a` to `bcd`, with ids by content, so that every word and place is told apart."""

    def __init__(self, **frame):
        super().__init__(["<unk>"], [b""], **frame)
        self.cut_words = []
        self._numbers = list(range(10_000))  # its vocabulary grows while it cuts

    def _id(self, part):
        if part not in self._id_of:
            self._id_of[part] = len(self.names)
            self.names.append(part)
            self._bytes.append(part.encode())
        return self._id_of[part]

    def _cut(self, words):
        assert all(words)
        self.cut_words.extend(words)
        return [self._cut_reference(word) for word in words]

    def _cut_reference(self, word):
        middle = len(word) // 2
        return [self._id(part) for part in (word[:middle], word[middle:]) if part]


@pytest.mark.claim("tokenize.chunks-exact")
@pytest.mark.parametrize("name", pretokenize.NAMES)
@given(text=texts | prose)
@example(text="a b")
@example(text=" a  b \n c d")
@example(text="a \u3000b c\x1c d")
def test_tables_change_nothing(name, text):
    tokenizer = Halves(pretokenizer=pretokenize.named(name))
    expected = tokenizer.encode_reference(text)
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode(text) == expected  # now from the tables
    assert tokenizer.encode_array(text).tolist() == expected


@pytest.mark.claim("tokenize.chunks-exact")
@pytest.mark.parametrize("name", pretokenize.NAMES)
@given(parts=st.lists(prose, min_size=2, max_size=12))
def test_blocks_of_any_size_and_rare_or_frequent_words_change_nothing(name, parts):
    """Blocks of a few characters, tables that are full at once, and the path without repetition."""
    tokenizer = Halves(pretokenizer=pretokenize.named(name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "BLOCK", 7)
        patch.setattr(pipeline, "LEARNING", 15)
        patch.setattr(pipeline, "FEW", 1)
        patch.setattr(pipeline, "MANY", 4)
        patch.setattr(pipeline, "CACHE_BYTES", 1000)
        for text in (*parts, " ".join(parts)):
            assert tokenizer.encode(text) == tokenizer.encode_reference(text)


@pytest.mark.claim("tokenize.encode-concatenates")
@given(st.lists(st.sampled_from(["the", "cat,", "mat.", "don't", "12", "言"]), min_size=2).map(" ".join), st.data())
def test_texts_joined_at_a_word_have_joined_ids(text, data):
    tokenizer = Halves(pretokenizer=pretokenize.GPT2)
    cut = data.draw(st.sampled_from([m.start() for m in re.finditer(" ", text)]))
    x, y = text[:cut], text[cut:]
    assert tokenizer.words(text) == tokenizer.words(x) + tokenizer.words(y)
    assert tokenizer.encode(text) == tokenizer.encode(x) + tokenizer.encode(y)


@pytest.mark.claim("tokenize.encode-concatenates")
def test_joined_inside_a_word_ids_differ():
    tokenizer = Halves(pretokenizer=pretokenize.GPT2)
    assert tokenizer.encode("cats") != tokenizer.encode("cat") + tokenizer.encode("s")


def test_a_word_is_cut_once():
    tokenizer = Halves(pretokenizer=pretokenize.GPT2)
    text = "the cat sat on the mat, the rat sat on the cat" * 3
    tokenizer.encode(text)
    assert sorted(tokenizer.cut_words) == sorted(set(tokenizer.words(text)))
    tokenizer.encode(text)
    assert len(tokenizer.cut_words) == len(set(tokenizer.words(text)))


def test_tables_are_given_up_when_full(monkeypatch):
    monkeypatch.setattr(pipeline, "CACHE_BYTES", 20_000)
    tokenizer = Halves(pretokenizer=pretokenize.GPT2)
    sizes = []
    for i in range(300):
        tokenizer.encode(f"word{i} other{i} word{i} other{i}")
        sizes.append(tokenizer._words.size + tokenizer._chunks.size)
    assert max(sizes) < 2 * 20_000 + 3_000  # each table passes its limit by one text at most
    assert sizes != sorted(sizes)


def test_threads_share_a_tokenizer(monkeypatch):
    monkeypatch.setattr(pipeline, "CACHE_BYTES", 2_000)
    tokenizer = Halves(pretokenizer=pretokenize.GPT2)
    words = [f"w{i}" for i in range(200)]
    text = " ".join(words)
    for word in tokenizer.words(text):  # ids exist before, so that only tables are contended
        tokenizer._cut_reference(word)
    expected = tokenizer.encode_reference(text)
    wrong = []

    def work():
        for _ in range(50):
            if tokenizer.encode(text) != expected:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_pattern_of_ones_own_is_never_cut_at_spaces():
    tokenizer = Halves(pretokenizer=Pretokenizer([Split(r"cat and dog|\w+|\s+|.")]))
    assert tokenizer.words("a cat and dog b") == ["a", " ", "cat and dog", " ", "b"]
    assert tokenizer.encode("a cat and dog b") == tokenizer.encode_reference("a cat and dog b")


def test_added_tokens_are_searched_before_or_after_normalising():
    raw = AddedToken("<B>", special=False)
    inner = AddedToken("DOG", special=False, normalized=True)
    tokenizer = Halves(normalizer=Normalizer.named("lower"), pretokenizer=pretokenize.GPT2, special_tokens=[raw, inner])
    ids = tokenizer.encode("a <B> Dog <b>")
    names = [tokenizer.id_to_token(i) for i in ids]
    assert names == ["a", " ", "<B>", " ", "DOG", " ", "<", "b", ">"] or "".join(names) == "a <B> DOG <b>"
    assert names.count("<B>") == names.count("DOG") == 1


@pytest.mark.parametrize("name", pretokenize.NAMES)
@given(text=texts)
def test_offsets_are_parallel_to_the_ids_and_inside_the_text(name, text):
    for normalizer in (Normalizer(), Normalizer.named("nfkc")):
        tokenizer = Halves(pretokenizer=pretokenize.named(name), normalizer=normalizer)
        ids, spans = tokenizer.encode(text), tokenizer.offsets(text)
        assert len(ids) == len(spans)
        assert all(0 <= a <= b <= len(text) for a, b in spans)
        assert [a for a, _ in spans] == sorted(a for a, _ in spans)
        if not normalizer.steps and name != "metaspace":
            for i, (a, b) in zip(ids, spans, strict=True):
                assert text[a:b] == tokenizer.id_to_token(i)


def test_offsets_lead_back_to_the_original_spelling():
    tokenizer = Halves(normalizer=Normalizer.named("nfkc"), pretokenizer=pretokenize.GPT2)
    text = "o\ufb03ce e\u0301t"  # a ligature that becomes three letters, an accent that joins its letter
    covered = [text[a:b] for a, b in tokenizer.offsets(text)]
    assert [tokenizer.id_to_token(i) for i in tokenizer.encode(text)] == ["off", "ice", " ", "ét"]
    assert covered == ["o\ufb03", "\ufb03ce", " ", "e\u0301t"]


def test_arrays_have_the_models_type():
    tokenizer = Halves(pretokenizer=pretokenize.GPT2)
    assert tokenizer.encode_array("a b c").dtype == np.int32
    assert tokenizer.encode_array("").shape == (0,)
    assert tokenizer.encode("") == []


def test_a_subclass_has_to_say_how_words_are_cut():
    with pytest.raises(NotImplementedError, match="SubwordTokenizer does not say how a word is cut"):
        SubwordTokenizer(["a"], [b"a"]).encode("a")


@pytest.mark.claim("tokenize.words-partition")
@pytest.mark.parametrize("name", pretokenize.NAMES)
@given(text=prose | texts)
def test_words_are_as_long_as_the_text_where_that_is_said(name, text):
    pretokenizer = pretokenize.named(name)
    if pretokenizer.keeps_length:
        assert sum(map(len, pretokenizer.split(" " + text, False))) == 1 + len(text)
    assert pretokenizer.keeps_length == (name not in ("bert", "whitespace"))


def test_an_added_token_of_which_the_normaliser_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"leaves nothing of the added token '\u0301'.*normalized=False"):
        Halves(normalizer=Normalizer.named("strip_accents"), special_tokens=[AddedToken("\u0301", normalized=True)])


@pytest.mark.claim("tokenize.chunks-exact")
@pytest.mark.parametrize("name", pretokenize.NAMES)
@pytest.mark.parametrize("end", ["\n", "\t", "\n\n", "\u3000"])
def test_the_end_of_one_text_is_no_chunk_of_another(name, end):
    """A text's last chunk may end in white space; the space behind it in another text is then no boundary."""
    tokenizer = Halves(pretokenizer=pretokenize.named(name))
    for text in (f"a the{end}", f"a the{end} 1 the{end} b", f"the the{end}", f"the the{end} 1"):
        assert tokenizer.encode(text) == tokenizer.encode_reference(text)
