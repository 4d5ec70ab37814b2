"""Mirrors src/fp_capstone/corpus.py."""

import hashlib
import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_capstone.corpus import Corpus, _doublings, copied_share, default_documents, encode_corpus, load_corpus
from fp_markov.ngram import NGramModel
from fp_tokenize.characters import ByteTokenizer, CharTokenizer


def shares_by_definition(held_out, train, length):
    copies = {train[i : i + length] for i in range(len(train) - length + 1)}
    covered = [False] * len(held_out)
    for i in range(len(held_out) - length + 1):
        if held_out[i : i + length] in copies:
            covered[i : i + length] = [True] * length
    return sum(covered) / len(held_out) if held_out else 0.0


@pytest.mark.claim("capstone.copies-doubling")
@given(st.text("ab", max_size=31), st.text("ab", max_size=47), st.integers(1, 13))
def test_the_share_of_copies_is_that_of_the_definition(held_out, train, length):
    assert copied_share(held_out, train, length) == pytest.approx(
        shares_by_definition(held_out, train, length), abs=1e-15
    )


@pytest.mark.claim("capstone.copies-doubling")
def test_the_length_is_reached_in_as_many_steps_as_its_logarithm_rounded_up():
    for length in range(1, 1025):
        steps = _doublings(length)
        assert len(steps) == (length - 1).bit_length()  # the least s with 2^s >= length
        reached = 1
        for a, b in steps:
            assert a == reached and a < b <= 2 * a
            reached = b
        assert reached == length


@pytest.mark.claim("capstone.copies-doubling")
@pytest.mark.parametrize("length", [1, 2, 5, 8, 50])
def test_each_step_sorts_once(monkeypatch, length):
    calls, unique = [], np.unique
    monkeypatch.setattr(np, "unique", lambda *a, **k: calls.append(1) or unique(*a, **k))
    assert copied_share("ab" * 53, "ba" * 47, length) == 1.0
    assert len(calls) == (length - 1).bit_length()


@pytest.mark.claim("capstone.copies-cost")
@pytest.mark.parametrize("order", [2, 3, 5])
def test_a_copied_token_costs_no_more_than_its_discounted_count(order):
    corpus = load_corpus()
    train, held_out = (
        np.array([min(ord(c), 127) for c in t]) for t in (corpus.train[:20011], corpus.train[5003:30011])
    )
    model = NGramModel(order, vocab_size=128).fit(train)
    cost = -model.log_prob(held_out)
    text = train.tolist()
    followed: dict = {}
    for i in range(len(text) - order + 1):
        counts = followed.setdefault(tuple(text[i : i + order - 1]), {})
        counts[text[i + order - 1]] = counts.get(text[i + order - 1], 0) + 1
    seen = 0
    for t in range(order - 1, len(held_out)):
        counts = followed.get(tuple(held_out[t - order + 1 : t].tolist()), {})
        k = counts.get(int(held_out[t]), 0)
        if k:
            seen += 1
            discount = model.discounts[-1][min(k, 3) - 1]
            # 1e-12: the rounding of a logarithm
            assert cost[t] <= np.log(sum(counts.values()) / (k - discount)) + 1e-12
    assert seen > 15000  # 15,008 of its 25,008 tokens are training text: the bound was put to the test


def test_the_default_corpus_hardly_copies_itself_and_did_before_cleaning():
    corpus = load_corpus()
    # 2.7% with Python 3.11; a fifth of the text would be copies without cleaning
    assert copied_share(corpus.held_out, corpus.train) < 0.05
    from pydoc_data.topics import topics

    raw = "".join(topics[name] for name in sorted(topics))
    assert copied_share(raw[len(raw) * 9 // 10 :], raw[: len(raw) * 9 // 10]) > 0.15


def test_the_default_corpus_is_cut_between_topics_near_nine_tenths():
    corpus = load_corpus()
    assert corpus.cut == "between topics"
    assert 0.08 < len(corpus.held_out) / corpus.n_characters < 0.12
    assert corpus.train.endswith("\n\n")
    assert corpus.sha256 == hashlib.sha256((corpus.train + corpus.held_out).encode()).hexdigest()


def test_a_paragraph_is_kept_once_whatever_its_white_space():
    documents = default_documents({"a": "one  two\n   three\n\n\nfour", "b": "one two three\n \nfive\n"})
    assert documents == ["one  two\n   three\n\nfour\n\n", "five\n\n"]


def test_rules_of_tables_go_and_their_text_stays():
    assert default_documents({"a": "+---+---+\n| x | y |\n+===+===+"}) == ["| x | y |\n\n"]


@pytest.mark.parametrize("n", [10, 11, 19, 97, 1115394])
def test_a_file_is_cut_at_nine_tenths_of_its_characters_rounded_down(tmp_path, n):
    text = ("0123456789é" * (n // 11 + 1))[:n]
    (tmp_path / "text.txt").write_bytes(text.encode())
    corpus = load_corpus(tmp_path / "text.txt")
    assert len(corpus.train) == n * 9 // 10
    assert corpus.train + corpus.held_out == text


def test_line_ends_are_left_alone(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"one\r\ntwo\r\n" * 7)
    assert "\r\n" in load_corpus(tmp_path / "text.txt").train


def test_a_folder_is_read_in_order_and_cut_between_its_files(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_text("a" * 41)
    (tmp_path / "b" / "x.txt").write_text("b" * 46)
    (tmp_path / "c.txt").write_text("c" * 11 + "\n")
    (tmp_path / ".hidden").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\xff")
    corpus = load_corpus(tmp_path)
    assert corpus.train == "a" * 41 + "\n" + "b" * 46 + "\n"
    assert corpus.held_out == "c" * 11 + "\n"
    assert corpus.cut == "between files"


def test_a_folder_of_one_large_file_is_cut_inside_it(tmp_path):
    (tmp_path / "a.txt").write_text("a" * 99)
    (tmp_path / "b.txt").write_text("b")
    assert load_corpus(tmp_path).cut == "at floor(0.9 n) characters"


def test_standard_input_is_a_text(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"some text, " * 5)))
    assert load_corpus("-").n_characters == 55


def test_a_mark_of_byte_order_is_no_text(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbfsome text")
    assert load_corpus(tmp_path / "text.txt").train.startswith("some")


def test_other_encodings_can_be_named(tmp_path):
    (tmp_path / "text.txt").write_bytes("größer".encode("latin-1"))
    corpus = load_corpus(tmp_path / "text.txt", encoding="latin-1")
    assert corpus.train + corpus.held_out == "größer"


def test_undecodable_bytes_are_named_with_file_and_offset(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"gr\xf6\xdfer")
    with pytest.raises(ValueError, match=r"text\.txt is not utf-8 text: byte 0xf6 at offset 2 .* --encoding"):
        load_corpus(tmp_path / "text.txt")


def test_an_unknown_encoding_is_refused():
    with pytest.raises(ValueError, match="no encoding 'klingon'"):
        load_corpus(encoding="klingon")


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_text_is_refused(tmp_path, content):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"text\.txt has no text to train on"):
        load_corpus(tmp_path / "text.txt")
    with pytest.raises(ValueError, match="has no text to train on"):
        load_corpus(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no file or folder"):
        load_corpus(tmp_path / "absent.txt")


def test_both_parts_must_hold_a_window_and_a_target():
    corpus = Corpus("here", "x" * 53, "y" * 8)
    train, held_out = encode_corpus(corpus, ByteTokenizer(), window=7)
    assert (train.size, held_out.size) == (53, 8)
    with pytest.raises(ValueError, match=r"the held-out part of here has 8 tokens, but one window of 8 .* need 9"):
        encode_corpus(corpus, ByteTokenizer(), window=8)
    with pytest.raises(ValueError, match="the training part of here has 53 tokens"):
        encode_corpus(corpus, ByteTokenizer(), window=53)


@pytest.mark.parametrize("tokenizer", [CharTokenizer("abc"), CharTokenizer("abc\ufffd")])
def test_a_character_without_a_token_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"the held-out part of here has characters .* for instance 'x', 'é'"):
        encode_corpus(Corpus("here", "abcabc", "abxéc"), tokenizer, window=2)


def test_a_copy_has_at_least_one_character():
    with pytest.raises(ValueError, match="at least 1 character"):
        copied_share("a", "a", length=0)
