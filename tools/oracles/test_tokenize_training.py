"""Live: Hugging Face's `BpeTrainer` against `fp_tokenize.bpe_training`. Run in the oracles environment."""

import json
import random

import pytest

tokenizers = pytest.importorskip("tokenizers")

from tools.oracles import tokenize_bpe_training as oracle  # noqa: E402

from fp_tokenize.bpe_training import train_merges  # noqa: E402
from fp_tokenize.pretokenize import GPT2  # noqa: E402
from fp_tokenize.words import count_words  # noqa: E402


def as_theirs(trained) -> tuple[list[str], list[list[str]]]:
    return trained.names, [list(pair) for pair in trained.named_merges]


def test_the_fixture_is_what_the_library_says_today():
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert frozen["cases"] == {name: oracle.record(case) for name, case in oracle.cases().items()}
    if oracle.SHAKESPEARE.exists():
        assert frozen["tinyshakespeare"] == oracle.record_shakespeare()


@pytest.mark.parametrize("size", oracle.SIZES)
def test_training_on_shakespeare_gives_the_same_merges(size):
    if not oracle.SHAKESPEARE.exists():
        pytest.skip(f"needs {oracle.SHAKESPEARE}")
    text = oracle.SHAKESPEARE.read_bytes().decode()
    ours = train_merges(count_words([text], pretokenizer=GPT2), size)
    assert as_theirs(ours) == oracle.huggingface([text], size, whole_words=False)


def test_training_on_the_language_reference_line_by_line_gives_the_same_merges():
    from pydoc_data.topics import topics

    lines = [line for topic in sorted(topics) for line in topics[topic].splitlines(keepends=True)]
    ours = train_merges(count_words(lines, pretokenizer=GPT2), 6000, ["<|endoftext|>"], min_count=2)
    assert as_theirs(ours) == oracle.huggingface(lines, 6000, ["<|endoftext|>"], min_count=2, whole_words=False)


def test_two_thousand_random_corpora_give_the_same_merges():
    rng = random.Random(5)
    for _ in range(2000):
        letters = "abcdefé言"[: rng.randint(1, 8)]
        case = {
            "counts": oracle.random_counts(rng, letters, rng.randint(1, 12), 14, rng.choice([1, 3, 30])),
            "vocab_size": rng.randint(20, 80),
            "special_tokens": rng.choice([[], ["<s>"], ["<s>", "ab"], ["b", "<s>", "aab"]]),
            "alphabet": "characters",
            "min_count": rng.choice([1, 1, 2, 5]),
        }
        theirs = oracle.record(case)
        assert as_theirs(train_merges(**case)) == (theirs["names"], theirs["merges"])
