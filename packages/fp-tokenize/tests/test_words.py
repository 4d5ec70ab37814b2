"""Mirrors src/fp_tokenize/words.py."""

import random
import re
import tracemalloc
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fp_markov.growth import expected_types
from fp_tokenize import words
from fp_tokenize.normalize import Lowercase, Nmt, Normalizer, Prepend, Replace, Strip, StripAccents, Unicode
from fp_tokenize.pretokenize import NAMES, Digits, Pretokenizer, named
from fp_tokenize.special import AddedToken, parts_of
from fp_tokenize.words import Continued, count_words, read_pieces

GPT2, WHOLE, UNCHANGED = named("gpt2"), Pretokenizer(), Normalizer()
safe_names = st.sampled_from([name for name in NAMES if named(name).space_safe])
# all kinds of white space and of neighbours of a space, often
texts = st.text(
    st.sampled_from("  aB1.'\n\t\r\u00a0\u0301\u2028\x1c\u200bé言😀") | st.characters(exclude_categories=["Cs"]),
    max_size=60,
)
one_by_one = st.sampled_from(
    [
        *map(Normalizer.named, Normalizer.NAMES),
        Normalizer([Nmt()]),
        Normalizer([Lowercase(), Unicode("NFKC"), StripAccents()]),
    ]
)


def counted(texts, normalizer=UNCHANGED, pretokenizer=WHOLE, special_tokens=()):
    """(E1) without chunks or tables."""
    counts = Counter()
    tokens = [AddedToken(token) for token in special_tokens]
    for text in texts:
        for position, part in enumerate(parts_of(text, tokens)):
            if isinstance(part, str):
                counts.update(pretokenizer.split(normalizer(part), position == 0))
    return counts


def with_sizes(stretch: int, chunks: int, *arguments, **options) -> dict[str, int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "STRETCH", stretch)
        patch.setattr(words, "CHUNKS", chunks)
        return count_words(*arguments, **options)


# ---- the claims


@pytest.mark.claim("tokenize.counts-add")
@pytest.mark.claim("tokenize.chunk-counts")
@given(
    st.lists(texts, max_size=4),
    safe_names,
    one_by_one,
    st.sampled_from([(), ("<s>",), ("a",)]),
    st.integers(1, 9),
    st.integers(0, 9),
)
@example(["a b  c d\n e", "a b", ""], "gpt2", Normalizer(), (), 1, 0)
def test_counts_are_those_of_the_words_whatever_is_remembered(texts, name, normalizer, special, stretch, chunks):
    how = {"normalizer": normalizer, "pretokenizer": named(name), "special_tokens": special}
    expected = counted(texts, **how)
    assert count_words(texts, **how) == expected
    assert with_sizes(stretch, chunks, iter(texts), **how) == expected


@pytest.mark.claim("tokenize.chunk-counts")
@given(st.lists(texts, min_size=1, max_size=4), safe_names)
def test_a_text_repeated_multiplies_the_counts_of_its_chunks(texts, name):
    text = " x ".join(text.strip() or "y" for text in texts)
    many = " ".join([text] * 7)
    assert count_words([many], pretokenizer=named(name)) == counted([many], pretokenizer=named(name))


@pytest.mark.claim("tokenize.chunk-counts")
def test_the_pattern_sees_each_different_chunk_once(monkeypatch):
    rng = random.Random(0)
    text = " ".join(rng.choices([f"word{i},x" for i in range(50)], k=5000))
    seen = []
    split = Pretokenizer.split
    monkeypatch.setattr(
        Pretokenizer, "split", lambda self, text, first=True: seen.append(text) or split(self, text, first)
    )
    counts = count_words([text], pretokenizer=GPT2)
    assert sum(counts.values()) == 4 * 5000  # the word, its number, the comma and the x
    assert sum(map(len, seen)) <= len(" ".join(f"word{i},x" for i in range(50))) + 2 * len(" word10,x")


@pytest.mark.claim("tokenize.counting-memory")
def test_chunks_are_forgotten_and_words_are_kept(monkeypatch):
    monkeypatch.setattr(words, "STRETCH", 64)
    monkeypatch.setattr(words, "CHUNKS", 100)
    sizes = []
    flush = words._Tally._flush
    monkeypatch.setattr(words._Tally, "_flush", lambda self: sizes.append(len(self.chunks)) or flush(self))
    text = " ".join(f"{i}x" for i in range(20_000))
    assert count_words([text], pretokenizer=GPT2) == counted([text], pretokenizer=GPT2)
    assert len(sizes) > 100
    assert max(sizes) <= 100 + 64


@pytest.mark.claim("tokenize.counting-memory")
def test_ten_times_the_text_with_the_same_words_takes_no_more_memory():
    def peak(n_texts):
        rng = random.Random(1)
        vocabulary = [f"w{i}" for i in range(500)]
        texts = (" ".join(rng.choices(vocabulary, k=2000)) for _ in range(n_texts))
        tracemalloc.start()
        count_words(texts, pretokenizer=GPT2)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(1)  # what is loaded and compiled on first use
    assert peak(50) < 1.1 * peak(5)  # the rest is when memory is given back


@pytest.mark.claim("tokenize.counting-memory")
def test_the_number_of_words_grows_as_that_of_types_among_draws():
    rng = np.random.default_rng(0)
    p = 1 / np.arange(1, 20_001) ** 1.5
    p /= p.sum()
    lengths = np.array([1000, 10_000, 100_000])
    drawn = rng.choice(len(p), size=lengths[-1], p=p)
    for T, expected in zip(lengths, expected_types(p, lengths), strict=True):
        n_words = len(count_words([" ".join(map(str, drawn[:T]))], pretokenizer=named("whitespace")))
        # "type i occurs" are events of negative correlation, so the variance of their number is at most its mean
        assert abs(n_words - expected) < 5 * expected**0.5


@pytest.mark.claim("tokenize.pieces-exact")
@given(st.lists(texts, min_size=1, max_size=3), st.integers(1, 12), safe_names, one_by_one)
@example(["a \u0301b c\u0301 d. e", "\ufeffx y"], 1, "gpt2", Normalizer.named("nfkc"))
def test_pieces_join_to_the_files_and_count_like_them(tmp_path_factory, texts, size, name, normalizer):
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / str(i) for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    texts = [text.removeprefix("\ufeff") for text in texts]
    pieces = list(read_pieces(paths, size))
    assert "".join(pieces) == "".join(texts)
    assert all(pieces)
    whole, how = [], {"normalizer": normalizer, "pretokenizer": named(name)}
    for piece in pieces:
        if isinstance(piece, Continued):
            assert re.match(r" \S", piece)
            whole[-1] += piece
        else:
            whole.append(str(piece))
    assert whole == [text for text in texts if text]
    assert count_words(pieces, **how) == counted(texts, **how)


PAIRS = [unicodedata.decomposition(chr(i)).split() for i in range(0x110000)]
PAIRS = [[chr(int(part, 16)) for part in pair] for pair in PAIRS if len(pair) == 2 and pair[0][0] != "<"]


@pytest.mark.claim("tokenize.pieces-exact")
@pytest.mark.parametrize("normalizer", [*map(Normalizer.named, Normalizer.NAMES), Normalizer([Nmt()])], ids=repr)
def test_normalisers_leave_what_is_beyond_a_visible_character_and_a_space_alone(normalizer):
    """Exhaustive over the characters that combine with others or are no letters, before and behind the two."""
    assert normalizer("! ") == "! "
    characters = {c for pair in PAIRS for c in pair}
    characters |= {chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) in ("Mn", "Mc", "Cc", "Cf", "Zs")}
    assert len(characters) > 2500
    for c in characters:
        assert normalizer(f"{c}! {c}") == normalizer(f"{c}!") + normalizer(f" {c}")


@pytest.mark.claim("tokenize.pieces-exact")
def test_no_visible_character_and_no_space_is_the_second_of_a_composed_pair():
    """Exhaustive over Unicode's table of compositions."""
    assert min(second for _, second in PAIRS) > "~"


# ---- processes


def test_processes_give_the_same_counts(monkeypatch):
    monkeypatch.setattr(words, "BATCH", 200)  # a long text is dealt out too
    rng = random.Random(2)
    texts = [" ".join(rng.choices(["one", "two,", "three", "\n", "Four<s>"], k=k)) for k in (3, 900, 0, 40, 41, 42)]
    texts.append(Continued(" more"))
    how = {"normalizer": Normalizer([Lowercase()]), "pretokenizer": GPT2, "special_tokens": ["<s>"]}
    expected = count_words(texts, **how)
    assert expected == counted(texts, **how)
    assert count_words(iter(texts), processes=3, **how) == expected
    assert count_words([], processes=2) == {}


def test_an_error_in_another_process_arrives():
    with pytest.raises(ValueError, match=r"lone surrogates, got U\+D800"):
        count_words(["fine", "\ud800"], pretokenizer=GPT2, processes=2)


# ---- special tokens, other pre-tokenizers


def test_special_tokens_part_the_text():
    counts = count_words(["a b<|end|>c d", "<|end|>"], pretokenizer=GPT2, special_tokens=["<|end|>"])
    assert counts == {"a": 1, " b": 1, "c": 1, " d": 1}


def test_only_the_beginning_of_a_text_is_its_first_word():
    first = Pretokenizer([*named("metaspace").steps])
    assert count_words(["x<s>x x"], pretokenizer=first, special_tokens=["<s>"]) == counted(
        ["x<s>x x"], pretokenizer=first, special_tokens=["<s>"]
    )


@given(st.lists(texts, max_size=3))
def test_a_pre_tokenizer_that_may_not_be_cut_at_spaces_is_given_whole_texts(texts):
    for pretokenizer in (Pretokenizer(), Pretokenizer([Digits()])):
        assert not pretokenizer.space_safe
        assert count_words(texts, pretokenizer=pretokenizer) == counted(texts, pretokenizer=pretokenizer)


# ---- files


def test_files_are_read_piece_by_piece(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfone two  three\r\nfour " + "fünf sechs".encode())
    assert list(read_pieces([path])) == ["one two  three\r\nfour fünf sechs"]
    assert list(read_pieces([str(path), path], 8)) == 2 * ["one", " two  three\r\nfour fünf", " sechs"]
    (tmp_path / "empty").touch()
    assert list(read_pieces([tmp_path / "empty"])) == []


def test_only_one_file_is_open_and_little_of_it_in_memory(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"word " * 200_000)
    tracemalloc.start()
    counts = count_words(read_pieces([path], 1 << 12), pretokenizer=GPT2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert counts == {"word": 1, " word": 199_999, " ": 1}
    assert peak < 500_000  # half of the file; a piece and its chunks are some ten times its 4,096 bytes


@pytest.mark.parametrize("size", [1, 3, 4, 100])
@pytest.mark.parametrize(
    ("data", "byte"), [(b"abc\xff def", 3), ("é".encode() * 9 + b"\xc3", 18), (b"ok \xe8\xa8x", 3), (b"\x80", 0)]
)
def test_bytes_that_are_no_text_are_named(tmp_path, data, byte, size):
    path = tmp_path / "broken.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"broken\.txt is no text in UTF-8: byte {byte} does not fit"):
        list(read_pieces([path], size))


# ---- bad input


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: count_words("one text"), TypeError, "iterable of texts, got one string"),
        (lambda: count_words([b"one"]), TypeError, "a text is a string, got bytes"),
        (lambda: count_words([b"one"], processes=2), TypeError, "a text is a string, got bytes"),
        (lambda: count_words([], "nfc"), TypeError, "normalizer must be a Normalizer, got 'nfc'"),
        (lambda: count_words([], None, "gpt2"), TypeError, "pretokenizer must be a Pretokenizer, got 'gpt2'"),
        (lambda: count_words([], processes=0), ValueError, "processes must be a whole number of at least 1, got 0"),
        (lambda: count_words([], processes=-2), ValueError, "processes must be a whole number of at least 1, got -2"),
        (lambda: count_words([], processes=1.5), ValueError, "processes must be a whole number of at least 1, got 1.5"),
        (lambda: count_words([], special_tokens=[""]), ValueError, "needs a spelling, got ''"),
        (lambda: count_words([], special_tokens="<s>"), TypeError, "a list of spellings, got the string '<s>'"),
        (lambda: count_words(["a\ud800"], pretokenizer=GPT2), ValueError, r"lone surrogates, got U\+D800"),
        (lambda: read_pieces("file.txt"), TypeError, "a list of paths, got the one path 'file.txt'"),
        (lambda: read_pieces([], size=0), ValueError, "size must be at least one byte, got 0"),
        (lambda: list(read_pieces(["no such file"])), FileNotFoundError, "no such file"),
    ],
)
def test_bad_input_is_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


@pytest.mark.parametrize(
    "how",
    [
        {"pretokenizer": Pretokenizer([Digits()])},
        {"pretokenizer": GPT2, "normalizer": Normalizer([Strip()])},
        {"pretokenizer": GPT2, "normalizer": Normalizer([Unicode("NFC"), Prepend("_")])},
        {"pretokenizer": GPT2, "normalizer": Normalizer([Replace("a b", "c")])},
        {"pretokenizer": GPT2, "special_tokens": ["<end of text>"]},
    ],
)
def test_pieces_are_refused_where_they_could_change_the_words(how):
    count_words(["whole texts", " are fine"], **how)
    with pytest.raises(ValueError, match="Give whole files as texts"):
        count_words(["a piece", Continued(" continued")], **how)
