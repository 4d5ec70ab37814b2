"""Live: Hugging Face's tokenizers against `fp_tokenize`. Run in the oracles environment."""

import json
import random

import pytest

tokenizers = pytest.importorskip("tokenizers")

from tools.oracles import tokenize_characters as oracle  # noqa: E402

from fp_tokenize import load  # noqa: E402

each = pytest.mark.parametrize("name", oracle.TOKENIZERS)


@each
def test_the_fixture_is_what_the_library_says_today(name):
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert frozen["alphabet"] == oracle.ALPHABET
    assert frozen[name] == oracle.record(oracle.TOKENIZERS[name])


@each
def test_ten_thousand_random_texts_get_the_same_ids(name):
    ours, rng = oracle.TOKENIZERS[name], random.Random(7)
    theirs = oracle.huggingface(ours)
    for i in range(10_000):
        text = oracle.random_text(rng, oracle.ALPHABET if i % 2 else None)
        assert theirs.encode(text).ids == ours.encode(text)


@each
def test_what_stands_for_text_is_decoded_alike(name):
    ours, rng = oracle.TOKENIZERS[name], random.Random(11)
    theirs = oracle.huggingface(ours)
    for _ in range(1_000):
        ids = ours.encode(oracle.random_text(rng, oracle.ALPHABET))
        assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids)


@each
def test_a_file_that_the_library_wrote_back_is_read(name, tmp_path):
    ours = oracle.TOKENIZERS[name]
    oracle.huggingface(ours).save(str(tmp_path / "tokenizer.json"))
    assert repr(load(tmp_path)) == repr(ours)


@each
def test_a_megabyte_in_one_piece_is_encoded_alike(name):
    from pydoc_data.topics import topics

    text = "".join(topics[topic] for topic in sorted(topics))
    ours = oracle.TOKENIZERS[name]
    assert oracle.huggingface(ours).encode(text).ids == ours.encode(text)
