"""Mirrors src/fp_tokenize/frame.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import ByteTokenizer, CharTokenizer
from fp_tokenize.frame import Frame
from fp_tokenize.special import Template

texts = st.text(st.characters(exclude_categories=["Cs"]))
TOKENIZERS = [ByteTokenizer(["<s>"]), CharTokenizer("abc é", ["<s>"])]


@pytest.mark.claim("tokenize.decode-concatenates")
@given(st.lists(st.integers(0, 255)), st.lists(st.integers(0, 255)))
def test_bytes_of_joined_ids_are_joined_bytes(x, y):
    tokenizer = ByteTokenizer()

    def contributed(ids):
        return b"".join(map(tokenizer.id_to_bytes, ids))

    assert contributed(x + y) == contributed(x) + contributed(y)
    assert tokenizer.decode(x + y) == (contributed(x) + contributed(y)).decode("utf-8", "replace")


@pytest.mark.claim("tokenize.decode-concatenates")
def test_texts_of_joined_ids_need_not_be_joined_texts():
    tokenizer = ByteTokenizer()
    first, second = tokenizer.encode("é")
    assert tokenizer.decode([first, second]) == "é"
    assert tokenizer.decode([first]) + tokenizer.decode([second]) == "\ufffd\ufffd"


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["bytes", "characters"])
@given(texts=st.lists(st.text(st.sampled_from("abé言 <s>"))))
def test_batches_streams_and_offsets_agree_with_encode_and_decode(tokenizer, texts):
    for special in ("text", "parse"):
        ids = [tokenizer.encode(text, special) for text in texts]
        assert tokenizer.encode_batch(texts, special) == ids
        for text, row in zip(texts, ids, strict=True):
            assert "".join(tokenizer.decode_stream(iter(row))) == tokenizer.decode(row)
            spans = tokenizer.offsets(text, special)
            assert len(spans) == len(row)
            covered = sorted(set(spans))
            assert "".join(text[a:b] for a, b in covered) == text


def test_a_batch_is_a_list_of_texts(shapes_unchecked):
    with pytest.raises(TypeError, match="got one string; use encode for that"):
        ByteTokenizer().encode_batch("abc")
    with pytest.raises(TypeError, match="a text is a string, got bytes"):
        ByteTokenizer().encode(b"abc")


def test_unused_ids_have_no_name_and_no_bytes():
    frame = Frame(["a", None, "b"], [b"a", b"", b"b"])
    assert frame.vocab_size == 3
    assert [frame.id_to_token(i) for i in range(3)] == ["a", None, "b"]
    assert frame.decode([0, 1, 2]) == "ab"
    assert frame.ordinary == {"a": 0, "b": 2}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Frame(["a"], []), "1 names need as many contributions, got 0"),
        (lambda: Frame(["a", "b", "a"], [b"a", b"b", b"c"]), "a name of its own, 'a' occurs twice"),
        (lambda: Frame(["a"], [b"a"], template=Template(("<s>",))), "the template needs the token '<s>'"),
        (lambda: ByteTokenizer().id_to_token(256), r"id 256 at position 0 lies outside \[0, 256\)"),
        (lambda: CharTokenizer.train(["abc"], 1), "at least one character, got vocab_size=1"),
        (lambda: ByteTokenizer.train([], 300), "make a vocabulary of 256, got vocab_size=300"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_training_characters_keeps_the_most_frequent():
    tokenizer = CharTokenizer.train(["aaabbc", "dd"], vocab_size=5, special_tokens=["<s>"])
    assert tokenizer.alphabet == "abd"  # b and d twice, c once
    assert tokenizer.special_tokens == {"<s>": 4}
    assert ByteTokenizer.train(["x"], 257, ["<s>"]).vocab_size == 257


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: ByteTokenizer().decode([65, 2**70]), ValueError, rf"id {2**70} at position 1 lies outside \[0, 256\)"),
        (lambda: ByteTokenizer().decode([-1, 2**63]), ValueError, "id -1 at position 0 lies outside"),
        (lambda: ByteTokenizer().id_to_bytes(2**70), ValueError, "lies outside"),
        (lambda: ByteTokenizer().decode([[65], [65, 66]]), ValueError, "got one of sequences"),
        (lambda: ByteTokenizer().decode(np.zeros((1, 1), int)), ValueError, r"got an array of shape \(1, 1\)"),
        (lambda: ByteTokenizer().decode([65.0]), TypeError, "ids must be integers, got float64"),
        (lambda: ByteTokenizer().decode([True]), TypeError, "ids must be integers, got bool"),
        (lambda: ByteTokenizer().decode(iter([65])), TypeError, "a list or an array of integers, got list_iterator"),
        (lambda: ByteTokenizer().decode("65"), TypeError, "a list or an array of integers, got str"),
        (lambda: ByteTokenizer("<s>"), TypeError, "must be a list of spellings, got the string '<s>'"),
        (lambda: CharTokenizer("ab", "<s>"), TypeError, "must be a list of spellings, got the string '<s>'"),
        (lambda: CharTokenizer.train([b"ab"], 9), TypeError, "a text is a string, got bytes"),
        (lambda: CharTokenizer.train(["ab"], 9.0), TypeError, "vocab_size must be an integer or None, got 9.0"),
    ],
)
def test_values_of_other_kinds_are_refused(shapes_unchecked, call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_an_empty_list_or_array_of_any_type_is_no_ids():
    assert ByteTokenizer().decode([]) == ByteTokenizer().decode(np.array([], int)) == ""
