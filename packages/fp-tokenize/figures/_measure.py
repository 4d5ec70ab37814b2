"""
What the figures of `fp_tokenize.metrics` show, measured on texts that are not part of the project:

    python packages/fp-tokenize/benchmarks/corpora.py CORPORA
    python packages/fp-tokenize/figures/_measure.py CORPORA

Writes `_measured.json` beside this file. Takes some minutes.
"""

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fp_tokenize import ByteTokenizer
from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.cost import best_vocabulary, fit_compression
from fp_tokenize.healing import taken_back
from fp_tokenize.metrics import efficiency, measure, premiums, token_lengths, tokens_needed, usage
from fp_tokenize.normalize import Normalizer
from fp_tokenize.protocol import Tokenizer
from fp_tokenize.unigram import UnigramTokenizer
from fp_tokenize.wordpiece import WordPieceTokenizer

MEASURED = Path(__file__).with_name("_measured.json")
SIZES = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 49_152]
SIZE = 32_768
SHARES = [0.5, 0.9, 0.99]
MODELS = {"4 layers of width 256": (4, 256), "GPT-2 (12 of 768)": (12, 768), "Llama 7B (32 of 4096)": (32, 4096)}
ENGLISH = "English"
MIXED = "ten languages"
MIXTURE = ["en", "de", "es", "fr", "it", "ja", "pl", "pt", "ru", "zh"]  # manual pages: none of the measured texts


class Corpora:
    """Files of the folder by name, and the hash of each that was read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.hashes = folder, dict[str, str]()

    def lines(self, name: str) -> list[str]:
        data = (self.folder / f"{name}.txt").read_bytes()
        self.hashes[name] = hashlib.sha256(data).hexdigest()
        return data.decode().splitlines()

    def names(self, folder: str) -> list[str]:
        return sorted(path.stem for path in (self.folder / folder).glob("*.txt"))


def train(kind: str, lines: Iterable[str], size: int) -> Tokenizer:
    """Cased, each with its usual way to split words."""
    lines = [f"{line}\n" for line in lines]
    if kind == "BPE":
        return BPETokenizer.train(lines, size)
    if kind == "WordPiece":
        return WordPieceTokenizer.train(lines, size, ["[UNK]"], normalizer=Normalizer.named("none"))
    return UnigramTokenizer.train(lines, size, ["<unk>"])


def compression(known: list[str], new: list[str]) -> dict[str, dict[str, list[Any]]]:
    """Bytes per token on new text, by algorithm and size of the vocabulary."""
    found: dict[str, dict[str, list[Any]]] = {}
    for kind in ("BPE", "WordPiece", "Unigram"):
        rows = []
        for size in SIZES:
            measured = measure(train(kind, known, size), new)
            rows.append((measured.vocab_size, measured.bytes_per_token.value, measured.bytes_per_token.error))
            sys.stderr.write(f"{kind} {rows[-1]}\n")
        sizes, values, errors = map(list, zip(*rows, strict=True))
        found[kind] = {"sizes": sizes, "values": [round(v, 4) for v in values], "errors": [round(e, 4) for e in errors]}
    return found


def lengths(known: list[str], new: list[str]) -> dict[str, dict[str, list[int]]]:
    """Tokens by length, in the vocabulary and in new text."""
    found = {}
    for kind in ("BPE", "WordPiece", "Unigram"):
        tokenizer = train(kind, known, SIZE)
        in_text = token_lengths(tokenizer, usage(tokenizer, new))
        found[kind] = {"vocabulary": token_lengths(tokenizer).tolist(), "text": in_text.tolist()}
    return found


def use(tokenizer: Tokenizer, texts: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """How much of a vocabulary some texts use."""
    found = {}
    for name, lines in texts.items():
        counts = usage(tokenizer, lines)
        found[name] = {
            "tokens": int(counts.sum()),
            "bytes per token": round(measure(tokenizer, lines).bytes_per_token.value, 3),
            "used": int((counts > 0).sum()),
            **{f"{share:.0%}": tokens_needed(counts, share) for share in SHARES},
            "entropy": round(efficiency(counts, 1), 4),
            "Rényi 2.5": round(efficiency(counts), 4),
        }
    return found


def fairness(tokenizers: dict[str, Tokenizer], texts: dict[str, list[str]]) -> dict[str, object]:
    """Premiums over English, and their factors."""
    found: dict[str, object] = {"texts": len(texts["en"])}
    for name, tokenizer in tokenizers.items():
        found[name] = {
            language: [round(p.tokens.value, 3), round(p.tokens.error, 3), round(p.bytes, 3), round(p.compression, 3)]
            for language, p in sorted(premiums(tokenizer, texts).items())
        }
    return found


def boundaries(tokenizer: Tokenizer, new: list[str], prompts: int = 2000) -> list[float]:
    """Texts cut at random characters: shares of prompts of which 0, 1, 2, … tokens have to be taken back."""
    rng = np.random.default_rng(0)
    texts = [line for line in new if len(line) > 100]
    counts = np.zeros(8, np.int64)
    for _ in range(prompts):
        text = texts[rng.integers(len(texts))]
        counts[min(taken_back(tokenizer, text[: rng.integers(50, len(text))], text), 7)] += 1
    return [round(share, 4) for share in (counts / prompts).tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("folder", type=Path)
    corpora = Corpora(parser.parse_args().folder)
    prose = corpora.lines("prose")
    known, new = [line for i, line in enumerate(prose) if i % 10 != 9], prose[9::10]
    english = train("BPE", known, SIZE)
    mixture = {language: "\n".join(corpora.lines(f"languages/{language}"))[:250_000] for language in MIXTURE}
    mixed = train("BPE", [line for text in mixture.values() for line in text.splitlines()], SIZE)
    compressed = compression(known, new)
    curves = {kind: fit_compression(row["sizes"], row["values"]) for kind, row in compressed.items()}
    tokenizers = {"bytes": ByteTokenizer(), ENGLISH: english, MIXED: mixed}
    result = {
        "command": "python packages/fp-tokenize/figures/_measure.py CORPORA",
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "held out": "every tenth line of prose",
        "compression": compressed,
        "fit": {kind: [round(x, 4) for x in (curve.a, curve.b, curve.c)] for kind, curve in curves.items()},
        "best": {
            name: {kind: round(best_vocabulary(c, width=C, layers=L, tokens=1024)) for kind, c in curves.items()}
            for name, (L, C) in MODELS.items()
        },
        "lengths": lengths(known, new),
        "use": use(english, {
            "prose": new, "code": corpora.lines("code")[::10],
            "Chinese": corpora.lines("chinese")[::10], "random letters": corpora.lines("random")[::10],
        }),
        "fairness": {
            folder: fairness(tokenizers, {name: corpora.lines(f"{folder}/{name}") for name in corpora.names(folder)})
            for folder in ("parallel", "messages")
        },
        "taken back": boundaries(english, new),
    }  # fmt: skip
    result["sha256"] = corpora.hashes
    MEASURED.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf8")


if __name__ == "__main__":
    main()
