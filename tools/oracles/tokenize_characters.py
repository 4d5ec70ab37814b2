"""
Freeze what Hugging Face's `tokenizers` makes of our files: ids, decoded text, and the file as it writes it back.

    python -m tools.oracles.tokenize_characters

writes packages/fp-tokenize/tests/fixtures/huggingface_characters.json, which the default tests read.
"""

import json
import random
import tempfile
from pathlib import Path

from fp_tokenize import ByteTokenizer, CharTokenizer

FIXTURE = Path(__file__).parents[2] / "packages/fp-tokenize/tests/fixtures/huggingface_characters.json"

ALPHABET = "\n !\"',-.0123456789:;?ABCDEHNTWabcdefghijklmnopqrstuvwxyzäéñßЖяλ語言\u0301\u200d\u2028😀<>"
TEXTS = (
    "",
    "hello, world",
    "  two  spaces,\ta tab\r\nand a newline\n\n",
    "Ünknown: ÿ, <unk>, \x00, \ufffd, \ufeff",
    "ä and a\u0308 and e\u0301",
    "言語 и язык, λόγος, भाषा",
    "😀👩\u200d👧 \U0010ffff \ue000",
    "can't won't 1234567 A.B.C. a_b (c) [d] {e}",
    "line\u2028separator\u00a0nbsp\u3000wide",
)
TOKENIZERS = {"characters": CharTokenizer(ALPHABET), "bytes": ByteTokenizer()}


def random_text(rng: random.Random, alphabet: str | None = None) -> str:
    """Up to 60 characters: of the alphabet if one is given, else of any plane, without surrogates."""
    length = rng.randrange(61)
    if alphabet is not None:
        return "".join(rng.choices(alphabet, k=length))
    planes = ((0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000))
    return "".join(chr(rng.randrange(*rng.choice(planes))) for _ in range(length))


def huggingface(tokenizer):
    """The library's tokenizer, read from the file that ours writes."""
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory() as directory:
        tokenizer.save(directory)
        return Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))


def record(tokenizer) -> dict:
    theirs = huggingface(tokenizer)
    cases = [
        {"text": text, "ids": ids, "decoded": theirs.decode(ids, skip_special_tokens=False)}
        for text in TEXTS
        for ids in [theirs.encode(text).ids]
    ]
    return {"vocab_size": theirs.get_vocab_size(), "cases": cases, "resaved": json.loads(theirs.to_str())}


if __name__ == "__main__":
    frozen = {"alphabet": ALPHABET} | {name: record(tokenizer) for name, tokenizer in TOKENIZERS.items()}
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(json.dumps(frozen, ensure_ascii=True, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FIXTURE}")
