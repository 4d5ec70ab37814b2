"""Mirrors src/fp_tokenize/protocol.py."""

import numpy as np
import pytest

from fp_tokenize import ByteTokenizer, CharTokenizer, Tokenizer

TEXT = "Être, 1 – 言語\n"


@pytest.fixture(params=[ByteTokenizer(), CharTokenizer.train([TEXT])], ids=["bytes", "characters"])
def tokenizer(request):
    return request.param


def test_both_classes_follow_the_protocol(tokenizer):
    assert isinstance(tokenizer, Tokenizer)
    assert not isinstance(str, Tokenizer)


def test_the_three_views_of_a_token_agree(tokenizer, tmp_path):
    ids = tokenizer.encode(TEXT)
    array = tokenizer.encode_array(TEXT)
    assert array.dtype == np.int32
    assert array.tolist() == ids
    assert all(type(i) is int and 0 <= i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode(ids) == tokenizer.decode(array) == TEXT
    assert b"".join(map(tokenizer.id_to_bytes, ids)) == TEXT.encode()


def test_the_empty_text_has_no_tokens(tokenizer):
    assert tokenizer.encode("") == []
    assert tokenizer.encode_array("").shape == (0,)
    assert tokenizer.decode([]) == tokenizer.decode(np.empty(0, np.int32)) == ""


@pytest.mark.parametrize("surrogate", [0xD800, 0xD83D, 0xDFFF])
def test_lone_surrogates_are_refused_by_name_and_place(tokenizer, surrogate):
    for encode in (tokenizer.encode, tokenizer.encode_array):
        with pytest.raises(ValueError, match=rf"got U\+{surrogate:04X} at position 2"):
            encode(f"ab{chr(surrogate)}c")


def test_ids_outside_the_vocabulary_are_refused_by_value_place_and_range(tokenizer):
    V = tokenizer.vocab_size
    for bad in (V, -1):
        with pytest.raises(ValueError, match=rf"id {bad} at position 1 lies outside \[0, {V}\)"):
            tokenizer.decode([1, bad])
        with pytest.raises(ValueError, match=rf"id {bad} at position 0 lies outside \[0, {V}\)"):
            tokenizer.id_to_bytes(bad)


def test_an_unknown_way_to_treat_errors_is_refused(tokenizer):
    with pytest.raises(ValueError, match="'replace', 'ignore' or 'strict', got 'surrogateescape'"):
        tokenizer.decode([1], errors="surrogateescape")


def test_ids_that_are_no_integers_are_refused(tokenizer, shapes_unchecked):
    with pytest.raises(TypeError, match="ids must be integers, got float64"):
        tokenizer.decode([1.0, 2.0])
    with pytest.raises(TypeError, match="ids are a list or an array of integers, got str"):
        tokenizer.decode("12")
    with pytest.raises(ValueError, match=rf"id {2**70} at position 1 lies outside"):
        tokenizer.decode([1, 2**70])
    with pytest.raises(ValueError, match=r"got an array of shape \(2, 3\)"):
        tokenizer.decode(np.zeros((2, 3), np.int64))
