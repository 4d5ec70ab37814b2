"""Live: SentencePiece's trainer against `fp_tokenize.unigram_training`. Run in the oracles environment."""

import json

import pytest

pytest.importorskip("sentencepiece")

from pydoc_data.topics import topics

from tools.oracles import tokenize_unigram_training as oracle

TEXT = "\n".join(topics[topic] for topic in sorted(topics))


def test_the_fixture_is_what_the_library_learns_today():
    frozen, today = json.loads(oracle.FIXTURE.read_text(encoding="utf-8")), oracle.record()
    if frozen["counts"] != today["counts"]:
        pytest.skip("frozen from another version of Python's language reference")
    assert frozen["pieces"] == today["pieces"]


@pytest.mark.parametrize("vocab_size", [2000, 4000])
def test_the_same_pieces_and_likelihood_on_a_text_in_one_line(vocab_size):
    result = oracle.compare(" ".join(TEXT.split()), vocab_size)
    assert result["likelihood ratio like"] == pytest.approx(1, abs=0.01)
    assert result["shared pieces like"] > 0.95


@pytest.mark.parametrize("text", [TEXT, " ".join(TEXT.split())], ids=["lines", "one line"])
@pytest.mark.parametrize("vocab_size", [1000, 4000])
def test_likelier_by_default(text, vocab_size):
    assert oracle.compare(text, vocab_size)["likelihood ratio ours"] < 1  # of two negative numbers
