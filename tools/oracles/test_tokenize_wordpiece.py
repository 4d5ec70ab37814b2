"""Live: Hugging Face's WordPiece against `fp_tokenize.wordpiece`. Run in the oracles environment."""

import json
import os
import random
from pathlib import Path

import pytest

tokenizers = pytest.importorskip("tokenizers")

from tools.oracles import tokenize_wordpiece as oracle  # noqa: E402

from fp_tokenize.normalize import Normalizer  # noqa: E402
from fp_tokenize.pretokenize import Pretokenizer, WhitespaceSplit  # noqa: E402
from fp_tokenize.wordpiece import WordPieceTokenizer  # noqa: E402

SPLIT = {"normalizer": Normalizer(), "pretokenizer": Pretokenizer([WhitespaceSplit()])}
LANGUAGES = Path(os.environ.get("FP_TEXTS", "/tmp/corpus")) / "languages"  # what benchmarks/corpora.py writes


def test_the_fixture_is_what_the_library_says_today():
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert frozen == json.loads(json.dumps(oracle.frozen()))


@pytest.mark.parametrize("bert", [True, False])
@pytest.mark.parametrize("alphabet", [oracle.ALPHABET, oracle.WIDE, ""])
def test_ten_thousand_random_texts_get_the_same_ids(alphabet, bert):
    """Where the words differ ids cannot agree: the library's tables for BERT are of an old version of Unicode."""
    names = oracle.vocabulary()
    theirs = oracle.huggingface(names, bert)
    ours = WordPieceTokenizer(names, max_word=oracle.MAX_WORD, **({} if bert else SPLIT))
    compared = 0
    for text in oracle.random_texts(alphabet, 11, 10_000):
        if ours.words(text) == words_of(theirs, text):
            compared += 1
            assert theirs.encode(text).ids == ours.encode(text)
    assert compared == 10_000 if alphabet or not bert else compared > 9_000


def words_of(theirs, text):
    if theirs.normalizer is not None:
        text = theirs.normalizer.normalize_str(text)
    return [word for word, _ in theirs.pre_tokenizer.pre_tokenize_str(text)]


def test_random_vocabularies_cut_random_words_alike():
    rng = random.Random(3)
    for _ in range(2_000):
        letters = "ab#é言"[: rng.randint(2, 5)]
        names = {"[UNK]": None}
        for _ in range(rng.randint(1, 12)):
            names[rng.choice(["", "##"]) + "".join(rng.choices(letters, k=rng.randint(1, 4)))] = None
        theirs, ours = oracle.huggingface([*names], bert=False), WordPieceTokenizer([*names], max_word=30, **SPLIT)
        text = " ".join("".join(rng.choices(letters, k=rng.randint(1, 10))) for _ in range(10))
        encoding = theirs.encode(text)
        assert encoding.ids == ours.encode(text)
        assert encoding.offsets == ours.offsets(text)


def test_the_language_reference_gets_the_same_ids_and_offsets():
    from pydoc_data.topics import topics

    compare("\n".join(topics[topic] for topic in sorted(topics)))


@pytest.mark.parametrize("language", ["de", "en", "es", "fr", "it", "ja", "pl", "pt", "ru", "tr", "uk", "zh"])
def test_manual_pages_get_the_same_ids_and_offsets(language):
    path = LANGUAGES / f"{language}.txt"
    if not path.exists():
        pytest.skip(f"needs {path}, from packages/fp-tokenize/benchmarks/corpora.py; or set FP_TEXTS")
    compare(path.read_text(encoding="utf-8")[:200_000])


def compare(text):
    ours = WordPieceTokenizer.train([text], 4000, limit_alphabet=1500, rule="count")
    theirs = oracle.huggingface(ours.names, max_word=100)
    encoding = theirs.encode(text)
    assert encoding.ids == ours.encode(text)
    assert encoding.offsets == ours.offsets(text)
