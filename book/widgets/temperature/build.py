"""
Train a small model and write what it expects after a dozen contexts: `python build.py OUT` writes OUT/distributions.js.

The model is stage 1's n-gram model with modified Kneser-Ney smoothing over stage 7's tokens, counted on the default
corpus: about a second, and the same for the same text. Its log-probabilities are the logits: their softmax at
temperature 1 is the model's distribution. They are rounded to four decimals, and everything the page shows follows from
the rounded ones.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from fp_capstone.corpus import load_corpus
from fp_markov.ngram import NGramModel
from fp_tokenize.bpe import BPETokenizer

ORDER, VOCAB_SIZE = 5, 2048
CONTEXTS = (
    "Changed in version 3",
    "Changed in version",
    "If the object",
    "an instance of",
    "is equivalent to",
    "return self",
    "Note",
    "It is",
    "The value of the",
    "def __",
    "to be",
    "In the following",
)  # from nearly certain to wide open


def unwrapped(text: str) -> str:
    """The text with the lines of a paragraph joined: a line break says where a margin was, not what comes next."""
    return "\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n[ \t]*\n", text))


def distributions() -> dict[str, Any]:
    """What the page reads: the tokens, and for each context the logits of all of them."""
    corpus = load_corpus()
    train, held_out = unwrapped(corpus.train), unwrapped(corpus.held_out)
    tokenizer = BPETokenizer.train([train], VOCAB_SIZE)
    model = NGramModel(ORDER, tokenizer.vocab_size, "modified_kneser_ney").fit(tokenizer.encode_array(train))
    logits = [np.log(model.next_distribution(tokenizer.encode(context))).round(4) for context in CONTEXTS]
    ids = tokenizer.encode_array(held_out)
    bits = model.cross_entropy(ids) * len(ids) / np.log(2) / len(held_out.encode())
    return {
        "model": f"an n-gram model of order {ORDER} with modified Kneser-Ney smoothing over {tokenizer.vocab_size:,} "
        f"byte-pair tokens, counted on {len(train):,} characters of {corpus.name}; on the part that it was not shown "
        f"it needs {bits:.2f} bits per byte",
        "tokens": [tokenizer.decode_bytes([i]).decode("utf8", "backslashreplace") for i in range(tokenizer.vocab_size)],
        "contexts": [
            {"id": re.sub(r"\W+", "-", text.lower()).strip("-"), "text": text, "logits": row.tolist()}
            for text, row in zip(CONTEXTS, logits, strict=True)
        ],
    }


def write(out: Path) -> Path:
    """OUT/distributions.js: one assignment, since a page opened from a file may not fetch; after its `=` it is JSON."""
    out.mkdir(parents=True, exist_ok=True)
    data = json.dumps(distributions(), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    file = out / "distributions.js"
    file.write_text(f"window.FP_DISTRIBUTIONS = {data}\n", "utf8")
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder of the page")
    write(parser.parse_args().out)
