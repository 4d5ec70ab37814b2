"""
Freeze what Hugging Face's `BpeTrainer` learns from counted words, and from Shakespeare.

    python -m tools.oracles.tokenize_bpe_training

writes packages/fp-tokenize/tests/fixtures/bpe_training.json, which the default tests read. The corpus of Shakespeare's
plays is not part of the repository; of it the file keeps hashes. Without it the hashes stay as they are.
"""

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "packages/fp-tokenize/tests/fixtures/bpe_training.json"
SHAKESPEARE = ROOT.parent / "shared/data/tinyshakespeare.txt"
SIZES = (1024, 8192)

STEMS = ("sing", "walk", "read", "write", "learn", "token", "merge", "count", "word", "train", "play", "talk", "serve")
PREFIXES = ("", "", "", "re", "un", "over", "out", "trans", "im")
SUFFIXES = ("", "s", "ed", "er", "ing", "able", "ation", "less", "ness", "ly")


def random_counts(rng: random.Random, letters: str, n_words: int, longest: int, most: int) -> dict[str, int]:
    """Random words of some letters, with random counts up to `most`."""
    return {"".join(rng.choices(letters, k=rng.randint(1, longest))): rng.randint(1, most) for _ in range(n_words)}


def cases() -> dict[str, dict]:
    """Counted words and the settings of a training, by name."""
    rng = random.Random(8)
    english = {rng.choice(PREFIXES) + rng.choice(STEMS) + rng.choice(SUFFIXES): rng.randint(1, 400) for _ in range(300)}
    return {
        "words like English": {"counts": english, "vocab_size": 560},
        "ties everywhere": {"counts": random_counts(rng, "abcde", 60, 8, 1), "vocab_size": 400},
        "runs": {
            "counts": {"a" * n: 1 + n % 3 for n in range(1, 24)} | {"b" + "a" * n + "b": 1 for n in range(9)},
            "vocab_size": 300,
        },
        "repetitions": {"counts": random_counts(rng, "ab", 60, 16, 3), "vocab_size": 400},
        "special tokens": {
            "counts": {"<s>": 9, "<s>x": 2, "</s>": 7, "the": 30, "them": 8, "a": 5},
            "vocab_size": 300,
            "special_tokens": ["<pad>", "<s>", "a", "th"],
        },
        "characters": {
            "counts": random_counts(rng, "aeéñяж言語😀", 80, 9, 9),
            "vocab_size": 200,
            "special_tokens": ["[UNK]"],
            "alphabet": "characters",
        },
        "characters to the end": {
            "counts": {"abab": 3, "ba": 2},
            "vocab_size": 100,
            "alphabet": "characters",
        },
        "bytes of other scripts": {"counts": random_counts(rng, "aeéñяж言語😀", 80, 9, 9), "vocab_size": 450},
        "a least count": {"counts": english, "vocab_size": 2000, "min_count": 300},
    }


def huggingface(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    alphabet: str = "bytes",
    min_count: int = 0,
    whole_words: bool = True,
) -> tuple[list[str], list[list[str]]]:
    """Names by id and merges from the library; each text is words between white space, or text for GPT-2's pattern."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    steps = [pre_tokenizers.WhitespaceSplit()] if whole_words else []
    if alphabet == "bytes":
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not whole_words))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet == "bytes" else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [list(pair) for pair in model["merges"]]


def record(case: dict) -> dict:
    settings = {key: value for key, value in case.items() if key != "counts"}
    names, merges = huggingface((" ".join([word] * count) for word, count in case["counts"].items()), **settings)
    return case | {"names": names, "merges": merges}


def digest(names: Iterable[str], merges: Iterable[Iterable[str]]) -> str:
    """One hash of a vocabulary and its merges."""
    content = json.dumps([list(names), [list(pair) for pair in merges]], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def record_shakespeare() -> dict:
    text = SHAKESPEARE.read_bytes()
    return {"sha256": hashlib.sha256(text).hexdigest()} | {
        str(size): digest(*huggingface([text.decode()], size, whole_words=False)) for size in SIZES
    }


if __name__ == "__main__":
    frozen = {name: record(case) for name, case in cases().items()}
    if SHAKESPEARE.exists():
        shakespeare = record_shakespeare()
    else:
        shakespeare = json.loads(FIXTURE.read_text(encoding="utf-8"))["tinyshakespeare"]
    lines = [f"{json.dumps(name)}: {json.dumps(case, ensure_ascii=False)}" for name, case in frozen.items()]
    FIXTURE.write_text(
        '{"cases": {\n' + ",\n".join(lines) + '},\n"tinyshakespeare": ' + json.dumps(shakespeare) + "}\n",
        encoding="utf-8",
    )
    print(f"wrote {FIXTURE}")
