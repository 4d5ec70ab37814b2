"""Live: SentencePiece and Hugging Face against `fp_tokenize.unigram`. Run in the oracles environment."""

import json
import math
import os
import random
from collections import Counter
from pathlib import Path

import pytest

sentencepiece = pytest.importorskip("sentencepiece")
tokenizers = pytest.importorskip("tokenizers")

from tools.oracles import tokenize_unigram as oracle  # noqa: E402

from fp_tokenize import from_sentencepiece, lattice  # noqa: E402
from fp_tokenize.merges import joined  # noqa: E402
from fp_tokenize.regularization import dropout_distribution, segmentation_distribution  # noqa: E402

LANGUAGES = Path(os.environ.get("FP_TEXTS", "/tmp/corpus")) / "languages"  # what benchmarks/corpora.py writes
SHAKESPEARE = Path(__file__).parents[3] / "shared/data/tinyshakespeare.txt"
SETTINGS = {
    "identity": {"normalization_rule_name": "identity"},
    "nmt_nfkc": {"normalization_rule_name": "nmt_nfkc"},
    "bytes": {"normalization_rule_name": "nmt_nfkc", "byte_fallback": True, "character_coverage": 0.98},
}
each_model = pytest.mark.parametrize("name", oracle.MODELS)


def test_the_fixture_is_what_the_libraries_say_today():
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert frozen == json.loads(json.dumps({name: oracle.record(settings) for name, settings in oracle.MODELS.items()}))


@each_model
def test_ten_thousand_random_texts_get_the_same_ids_and_scores(name):
    processor = oracle.train(**oracle.MODELS[name])
    model = oracle.description(processor, oracle.MODELS[name])
    ours = oracle.tokenizer(model)
    for i, text in enumerate(oracle.random_texts(10_000, seed=21)):
        ids = processor.encode(text)
        assert ours.encode(oracle.normalize(text)) == ids
        if i % 10 == 0 and ids and not ("éa" in text and model["user_defined"]):
            # SentencePiece counts the characters of a user's symbol for its n best, and its bytes for the best one
            theirs = oracle.n_best(processor, text, 5)
            best = ours.n_best(oracle.normalize(text), 5)
            # 32 bits: up to 60 additions, each off by 2^-24 of the sum
            assert [score for _, score in best][: len(theirs)] == pytest.approx([s for _, s in theirs], rel=60 * 2**-24)


@each_model
def test_ten_thousand_random_texts_get_hugging_faces_ids(name):
    model = oracle.description(oracle.train(**oracle.MODELS[name]), oracle.MODELS[name])
    theirs, ours = oracle.huggingface(model), oracle.tokenizer(model, single_precision=False)
    for text in map(oracle.normalize, oracle.random_texts(10_000, seed=22)):
        if not any(special in text for special in ("<unk>", "<s>", "</s>", "<0x")):
            assert theirs.encode(text).ids == ours.encode(text)


def test_random_scores_of_64_bits_get_hugging_faces_ids():
    """Rounding decides ties here, and has to do so alike."""
    rng = random.Random(4)
    for _ in range(300):
        letters = "aab言"[: rng.randint(2, 4)] + "▁"
        names = dict.fromkeys("".join(rng.choices(letters, k=rng.randint(1, 4))) for _ in range(12))
        step = rng.choice([0.1, 0.3, 1e-9])
        pieces = [["<unk>", 0.0], *([name, -rng.randint(1, 9) * step] for name in names)]
        model = {
            "pieces": pieces,
            "special": [],
            "unused": [],
            "unknown": 0,
            "byte_fallback": False,
            "user_defined": [],
        }
        theirs, ours = oracle.huggingface(model), oracle.tokenizer(model, single_precision=False)
        for _ in range(10):
            text = "".join(rng.choices(letters, k=rng.randint(1, 60)))
            assert theirs.encode(text).ids == ours.encode(text)


@pytest.fixture(scope="module", params=SETTINGS)
def pair(request, tmp_path_factory):
    """SentencePiece's processor of a model trained on several languages, and our tokenizer read from its file."""
    parts = [SHAKESPEARE] if SHAKESPEARE.exists() else []
    parts += sorted(LANGUAGES.glob("*.txt"))
    if len(parts) < 10:
        pytest.skip(f"needs {LANGUAGES}, from packages/fp-tokenize/benchmarks/corpora.py; or set FP_TEXTS")
    folder = tmp_path_factory.mktemp("model")
    text = "\n".join(path.read_text(encoding="utf-8")[:60_000] for path in parts)
    (folder / "text").write_text(text, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "m"), vocab_size=8000, model_type="unigram",
        minloglevel=2, **SETTINGS[request.param],
    )  # fmt: skip
    file = str(folder / "m.model")
    return sentencepiece.SentencePieceProcessor(model_file=file), from_sentencepiece(file)


def test_manual_pages_in_many_languages_get_the_same_ids(pair):
    """Line by line, and 100,000 characters at once, where sums of scores are subtracted on the way."""
    processor, ours = pair
    for path in sorted(LANGUAGES.glob("*.txt")):
        text = path.read_text(encoding="utf-8")[60_000:160_000]
        lines = text.split("\n")
        assert ours.encode_batch(lines) == processor.encode(lines), path.name
        assert ours.encode(text) == processor.encode(text), path.name


def test_random_texts_get_the_same_ids_under_every_normalisation(pair):
    processor, ours = pair
    for text in oracle.random_texts(10_000, seed=23):
        assert ours.encode(text) == processor.encode(text)


def within_hoeffding(frequencies, probabilities, n):
    """Whether n draws are as frequent as they should be; wrong with probability below 1e-6 if they are."""
    t = math.sqrt(math.log(2 * len(probabilities) / 1e-6) / (2 * n))  # 2 exp(-2 n t^2) for each
    assert set(frequencies) <= set(probabilities)
    return all(abs(frequencies[key] / n - p) < t for key, p in probabilities.items())


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_sentencepiece_draws_from_the_same_distribution(alpha):
    processor = oracle.train()
    ours = oracle.tokenizer(oracle.description(processor, {}))
    shares = segmentation_distribution(lattice.edges_of("▁kalano", ours.scores), alpha)
    expected = {
        tuple(ours.token_to_id(piece) for piece in lattice.pieces("▁kalano", list(places))): p
        for places, p in shares.items()
    }
    n = 20_000
    drawn = Counter(
        tuple(processor.encode("kalano", enable_sampling=True, alpha=alpha, nbest_size=-1)) for _ in range(n)
    )
    assert len(expected) > 5
    assert within_hoeffding(drawn, expected, n)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_hugging_face_drops_merges_with_the_same_distribution(p):
    """Where no pair loses a symbol to another: a lost pair's place in its queue is a second chance for dropped ones."""
    pairs = [("a", "b"), ("c", "d"), ("ab", "cd")]
    names = dict.fromkeys([*"abcd", *map("".join, pairs)])
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE({name: i for i, name in enumerate(names)}, pairs, dropout=p))
    n = 20_000
    drawn = Counter(tuple(theirs.encode("abcd").tokens) for _ in range(n))
    assert within_hoeffding(drawn, dropout_distribution("abcd", joined(pairs), p), n)
