"""Live: SentencePiece's trainer against `fp_tokenize.unigram_training`. Run in the oracles environment."""

import json

import pytest

pytest.importorskip("sentencepiece")

from pydoc_data.topics import topics  # noqa: E402

from tools.oracles import tokenize_unigram_training as oracle  # noqa: E402

TEXT = "\n".join(topics[topic] for topic in sorted(topics))


def test_the_fixture_is_what_the_library_learns_today():
    """From the frozen words: those of another Python's language reference would be others."""
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    today = oracle.sentencepiece(oracle.lines_of(frozen["counts"]), frozen["vocab_size"])
    shared = {piece for piece, _ in frozen["pieces"]} & {piece for piece, _ in today}
    # words cut at rare characters became words of their own when the text was put together again
    assert len(shared) > 0.95 * len(today)


@pytest.mark.parametrize("vocab_size", [1000, 4000])
def test_as_likely_on_the_language_reference(vocab_size):
    result = oracle.compare(TEXT, vocab_size)
    assert result["likelihood ratio like"] == pytest.approx(1, abs=0.01)
    assert result["likelihood ratio ours"] < 1  # both logarithms are negative: ours is the likelier
    assert result["shared pieces like"] > 0.9
