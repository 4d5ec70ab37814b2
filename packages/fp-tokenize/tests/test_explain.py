"""Mirrors src/fp_tokenize/explain.py."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import BPETokenizer, ByteTokenizer, UnigramTokenizer, WordPieceTokenizer
from fp_tokenize.explain import explain, match_steps, merge_steps, segmentations

TEXT = "the cat sat on the mat, the rat sat on the cat and ate the oats; it was fat. " * 2
BPE = BPETokenizer.train([TEXT], 280)
WORDPIECE = WordPieceTokenizer.train([TEXT], 40)
UNIGRAM = UnigramTokenizer.train([TEXT], 40, ["<unk>"])
texts = st.text(st.sampled_from("the cat sat on mat,;. né"), min_size=1, max_size=20)


@given(texts)
def test_the_steps_end_where_encode_does(text):
    for word in BPE.words(text):
        steps = merge_steps(BPE, word)
        assert steps[-1][-1] == BPE.encode_reference(word)
        ranks = [rank for rank, _, _ in steps]
        assert ranks[0] == -1
        lengths = [len(symbols) for _, _, symbols in steps]
        assert lengths == [*range(lengths[0], lengths[0] - len(steps), -1)]
    for word in WORDPIECE.words(text):
        found = [name for _, _, name in match_steps(WORDPIECE, word)]
        ids = [WORDPIECE.token_to_id(name) for name in found] if None not in found else [WORDPIECE.unknown]
        assert ids == WORDPIECE._cut_reference(word)
    for word in UNIGRAM.words(text):
        ranked = segmentations(UNIGRAM, word, 4)
        assert [score for score, _ in ranked] == sorted((score for score, _ in ranked), reverse=True)
        assert all("".join(pieces) == word for _, pieces in ranked)
        # unknown characters that are neighbours become one id, so lengths are compared for known words only
        if UNIGRAM.unknown not in UNIGRAM._cut_reference(word):
            assert [UNIGRAM.token_to_id(piece) for piece in ranked[0][1]] == UNIGRAM._cut_reference(word)


@given(texts)
@pytest.mark.parametrize("tokenizer", [BPE, WORDPIECE, UNIGRAM, ByteTokenizer()], ids=["bpe", "wp", "unigram", "bytes"])
def test_the_last_line_lists_the_tokens(tokenizer, text):
    lines = explain(tokenizer, text).splitlines()
    assert lines[0] == f"text {text!r}"
    assert re.match(r"tokens (\d+): ", lines[-1])[1] == str(len(tokenizer.encode(text)))


def test_a_word_that_repeats_is_explained_once():
    assert explain(BPE, "cat cat cat").count("\n' cat'\n") == 1


def test_what_cannot_be_seen_is_written_as_an_escape():
    assert "\n" not in explain(ByteTokenizer(), "a").splitlines()[-1]
    assert r"\x1c" in explain(WORDPIECE, "a\x1cb") or "x1c" in explain(UNIGRAM, "a\x1cb")
