"""
Freeze what SentencePiece's trainer makes of some word counts: its pieces, with scores.

    python -m tools.oracles.tokenize_unigram_training

writes packages/fp-tokenize/tests/fixtures/unigram_training.json, which the default tests read.
"""

import io
import json
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

FIXTURE = Path(__file__).parents[2] / "packages/fp-tokenize/tests/fixtures/unigram_training.json"
SPECIAL = ["<unk>", "<s>", "</s>"]
VOCAB_SIZE = 1000
N_WORDS = 1500


def words_of(text: str) -> Counter[str]:
    """Words at white space, each behind the sign for a space, as SentencePiece makes them by default."""
    return Counter("▁" + word for word in text.split())


def frozen_words() -> dict[str, int]:
    """The most frequent words of Python's language reference."""
    from pydoc_data.topics import topics

    counts = words_of("\n".join(topics[topic] for topic in sorted(topics)))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:N_WORDS])


def line_of(counts: Mapping[str, int]) -> str:
    """
    A text with these words, in an order that depends on nothing else.

    In one line: at the end of a line SentencePiece sees another follower than a space, so that its seeds depend on
    which words stand there, of which word counts know nothing.
    """
    words = [word[1:] for word, n in sorted(counts.items()) for _ in range(n)]
    random.Random(0).shuffle(words)
    return " ".join(words)


def sentencepiece(lines: Iterable[str], vocab_size: int, threads: int = 1) -> list[tuple[str, float]]:
    """The pieces that SentencePiece learns, its special tokens left out."""
    import sentencepiece as library

    model = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=vocab_size,
        model_type="unigram",
        normalization_rule_name="identity",
        num_threads=threads,
        max_sentence_length=10**7,
        minloglevel=2,
    )
    processor = library.SentencePieceProcessor(model_proto=model.getvalue())
    return [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(SPECIAL), len(processor))]


def covered(counts: Mapping[str, int], pieces: Iterable[tuple[str, float]]) -> Counter[str]:
    """The words cut at what is no character of these pieces."""
    inside = re.compile("[" + re.escape("".join(piece for piece, _ in pieces if len(piece) == 1)) + "]+")
    fragments: Counter[str] = Counter()
    for word, n in counts.items():
        for fragment in inside.findall(word):
            fragments[fragment] += n
    return fragments


def record() -> dict:
    """Words cut at rare characters, and the pieces that SentencePiece learns from them."""
    counts = frozen_words()
    pieces = [[piece, round(score, 5)] for piece, score in sentencepiece([line_of(counts)], VOCAB_SIZE)]
    return {"vocab_size": VOCAB_SIZE, "counts": dict(covered(counts, pieces)), "pieces": pieces}


def compare(text: str, vocab_size: int) -> dict[str, float]:
    """Seconds, and nats per byte, of both trainers on one text; ratios of ours to theirs."""
    from fp_tokenize.unigram_training import log_likelihood, train_unigram

    start = time.perf_counter()
    counts = words_of(text)
    counted = time.perf_counter() - start
    n_bytes = sum(len(word.encode()) * n for word, n in counts.items())
    start = time.perf_counter()
    theirs = sentencepiece(text.split("\n"), vocab_size)
    result = {"seconds theirs": time.perf_counter() - start, "seconds counting": counted}
    fragments = covered(counts, theirs)
    reference = log_likelihood(fragments, theirs)
    result["nats per byte theirs"] = -reference / n_bytes
    for name, like in (("like", True), ("ours", False)):
        start = time.perf_counter()
        pieces = train_unigram(counts, vocab_size, SPECIAL, like_sentencepiece=like)[len(SPECIAL) :]
        result[f"seconds {name}"] = time.perf_counter() - start
        likelihood = log_likelihood(fragments, pieces)
        result[f"nats per byte {name}"] = -likelihood / n_bytes
        result[f"likelihood ratio {name}"] = likelihood / reference
        result[f"shared pieces {name}"] = len(dict(pieces).keys() & dict(theirs).keys()) / len(theirs)
    result["time ratio"] = (result["seconds ours"] + counted) / result["seconds theirs"]
    result["peak MB of the process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


if __name__ == "__main__":
    if len(sys.argv) > 1:  # a file, and vocabulary sizes: measure
        for size in map(int, sys.argv[2:]):
            print(size, json.dumps(compare(Path(sys.argv[1]).read_text(encoding="utf-8"), size), indent=1))
        sys.exit()
    frozen = record()
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(json.dumps(frozen, ensure_ascii=True) + "\n", encoding="utf-8")
    print(f"wrote {FIXTURE}")
