"""
Freeze what SentencePiece and Hugging Face make of small Unigram models: ids, scores, and digests of the ids of many
random texts.

    python -m tools.oracles.tokenize_unigram

writes packages/fp-tokenize/tests/fixtures/unigram.json, which the default tests read. The models are trained here, by
SentencePiece, on text that a seed makes, so that nobody's text is copied.
"""

import hashlib
import json
import math
import random
import re
import struct
import tempfile
from pathlib import Path

from fp_tokenize._wire import message
from fp_tokenize.pretokenize import Metaspace, Pretokenizer
from fp_tokenize.unigram import UnigramTokenizer

FIXTURE = Path(__file__).parents[2] / "packages/fp-tokenize/tests/fixtures/unigram.json"

SYLLABLES = re.findall(
    r"\w+", "ba ka ko la lo mi mo na no nn ra ri sa sha the ti to un ing er ed a aa o oa n ла ка ми но 日本 語 の"
)
MODELS = {
    "plain": {},
    "bytes": {"byte_fallback": True, "character_coverage": 0.985, "vocab_size": 460},
    "symbols": {"user_defined_symbols": ["kola", "éa", "na"], "vocab_size": 180},
}
TEXTS = (
    "",
    "a",
    "the",
    "bakola the mishaing noed",
    "  two  spaces   three ",
    "aaaaaaaa aaaaa",
    "kolanana nakola nanana",
    "éa é a\u0301 Ünknown ÿ 😀👩\u200d👧 x",
    "日本語の 日本の語",
    "микала ло",
    "line\u2028separator\u00a0nbsp\u3000wide\ttab\nnewline",
    "<unk> <s> </s> <0x41> ▁ ▁▁a",
    "z" * 40 + " " + "na" * 40,
)


def corpus(lines: int = 2000) -> list[str]:
    """Words of syllables, of which the first are the most frequent, in lines."""
    rng = random.Random(11)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(800)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    return [" ".join(rng.choices(words, weights, k=rng.randint(3, 12))) for _ in range(lines)]


def random_texts(n: int, seed: int) -> list[str]:
    """Texts of up to 60 characters: of few letters, where ties are frequent; of syllables; and of all of Unicode."""
    rng = random.Random(seed)
    planes = ((0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000))
    makers = (
        lambda: "".join(rng.choices("ano ", k=rng.randrange(61))),
        lambda: "".join(rng.choices([*SYLLABLES, " ", " ", "kola", "éa", "x"], k=rng.randrange(20))),
        lambda: "".join(chr(rng.randrange(*rng.choice(planes))) for _ in range(rng.randrange(61))),
    )
    return [makers[i % len(makers)]() for i in range(n)]


def train(**settings):
    """A SentencePiece processor of a model trained on `corpus`, without normalisation."""
    import sentencepiece

    settings = {"vocab_size": 200, "normalization_rule_name": "identity", "minloglevel": 2, **settings}
    with tempfile.TemporaryDirectory() as directory:
        text, prefix = Path(directory) / "text", Path(directory) / "model"
        text.write_text("\n".join(corpus()), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(prefix), model_type="unigram", num_threads=1, **settings
        )
        return sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")


def description(processor, settings) -> dict:
    """What `tokenizer` needs to know of a model."""
    ids = range(processor.vocab_size())
    return {
        "pieces": [[processor.id_to_piece(i), processor.get_score(i)] for i in ids],
        "special": [processor.id_to_piece(i) for i in ids if processor.is_control(i)],
        "unused": [processor.id_to_piece(i) for i in ids if processor.is_unused(i)],
        "unknown": processor.unk_id(),
        "byte_fallback": bool(settings.get("byte_fallback", False)),
        "user_defined": list(settings.get("user_defined_symbols", ())),
    }


def normalize(text: str) -> str:
    """What SentencePiece makes of a text under the rule "identity"."""
    return "".join(f"▁{word}" for word in text.split(" ") if word)


def tokenizer(model: dict, single_precision: bool = True) -> UnigramTokenizer:
    """Our tokenizer of such a description, for text that is normalised already."""
    return UnigramTokenizer(
        [(name, -math.inf if name in model["unused"] else score) for name, score in model["pieces"]],
        unknown=model["unknown"],
        byte_fallback=model["byte_fallback"],
        user_defined=model["user_defined"] if single_precision else (),  # Hugging Face's have the score of the file
        special_tokens=model["special"],
        single_precision=single_precision,
        pretokenizer=Pretokenizer([Metaspace(prepend_scheme="never")]),
    )


def huggingface(model: dict):
    """Hugging Face's tokenizer with the same pieces, for the same text."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = [(name, score) for name, score in model["pieces"]]
    theirs = Tokenizer(models.Unigram(pieces, model["unknown"], model["byte_fallback"]))
    theirs.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    return theirs


def n_best(processor, text: str, n: int) -> list[tuple[list[int], float]]:
    """Ids and score of SentencePiece's best segmentations."""
    ids = processor.nbest_encode(text, nbest_size=n)
    ways = message(processor.nbest_encode(text, nbest_size=n, out_type="serialized_proto"), "the answer")
    scores = [next((value for number, value in message(way, "a way") if number == 3), bytes(4)) for _, way in ways]
    return [(i, struct.unpack("<f", score)[0]) for i, score in zip(ids, scores, strict=True)]


def digest(ids: list[list[int]]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def record(settings: dict) -> dict:
    processor = train(**settings)
    model = description(processor, settings)
    theirs = huggingface(model)
    many, long = random_texts(3000, seed=5), " ".join(random_texts(6000, seed=6))
    return model | {
        "normalized": [processor.normalize(text) for text in TEXTS],
        "ids": [processor.encode(text) for text in TEXTS],
        "scores": [[score for _, score in n_best(processor, text, 3)] if text.strip() else [] for text in TEXTS],
        "texts": digest([[ord(c) for c in processor.normalize(text)] for text in [*many, long]]),
        "sentencepiece": digest([processor.encode(text) for text in many]),
        "sentencepiece_long": digest([processor.encode(long)]),
        "huggingface": digest([theirs.encode(processor.normalize(text)).ids for text in many]),
    }


if __name__ == "__main__":
    frozen = {name: record(settings) for name, settings in MODELS.items()}
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(frozen, ensure_ascii=True, separators=(",", ":"))
    FIXTURE.write_text(text.replace('"pieces"', '\n"pieces"') + "\n", encoding="utf-8")
    print(f"wrote {FIXTURE}, {len(text)} characters")
