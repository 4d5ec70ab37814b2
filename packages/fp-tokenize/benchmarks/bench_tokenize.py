"""
Tokenizers against tiktoken, Hugging Face's tokenizers and SentencePiece.

    python packages/fp-tokenize/benchmarks/bench_tokenize.py FOLDER [--json OUT] [--turns N]

FOLDER holds the texts that `corpora.py` beside this file makes. Measured, in MB of UTF-8 a second or in seconds:

- encode: BPE with 32,000 tokens trained on the prose, GPT-2's pattern, one thread, on prose, source code, random words
  and Chinese, against tiktoken with the same ranks; `first` is a tokenizer that has seen nothing, `again` the same text
  once more. On a part of the prose also against Hugging Face's library, one text and a batch.
- one word: a text without any space, half a million and a million characters: time and growth.
- train: BPE at 1,024, 8,192 and 32,000 tokens against Hugging Face's trainer, which uses all cores, ours one; BPE at
  500 on 100 KB and at 512 on 186 KB; WordPiece; Unigram at 8,000 against SentencePiece with one thread.
- growth: seconds of BPE training on an eighth, a quarter, half and all of the prose.
- memory: peak resident memory of a process that trains BPE at 32,000, ours and theirs.

Ids are compared before anything is timed. Both sides take turns; printed are medians, and of the ratio of times (ours
to theirs, below one: ours is faster) the median and the range.
"""

import argparse
import datetime
import hashlib
import json
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
LINES = 100_000  # characters of the texts that trainers get
Run = Callable[[], Any]


def seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(ours: Run, theirs: Run, turns: int) -> dict[str, Any]:
    """Seconds of each, alternating, and their ratio."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(turns)]
    ratios = sorted(a / b for a, b in pairs)
    return {
        "ours": round(statistics.median(a for a, _ in pairs), 4),
        "theirs": round(statistics.median(b for _, b in pairs), 4),
        "ratio": round(statistics.median(ratios), 3),
        "range": [round(ratios[0], 3), round(ratios[-1], 3)],
    }


def pieces(text: str) -> list[str]:
    return [text[i : i + LINES] for i in range(0, len(text), LINES)]


def hf_bpe(texts: list[str], vocab_size: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def hf_wordpiece(texts: list[str], vocab_size: int) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=["[UNK]"], show_progress=False)
    )
    return tokenizer


def encoding(texts: dict[str, str], turns: int) -> dict[str, Any]:
    import tiktoken

    from fp_tokenize import BPETokenizer

    trained = BPETokenizer.train(pieces(texts["prose"]), 32_000)
    ranks = {trained.id_to_bytes(i): i for i in range(trained.vocab_size)}
    peer = tiktoken.Encoding("bench", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})

    def fresh() -> BPETokenizer:
        return BPETokenizer(
            {name: i for i, name in enumerate(trained.names) if name is not None},
            trained.merges,
            pretokenizer=trained.pretokenizer,
        )

    results: dict[str, Any] = {}
    for name, text in texts.items():
        megabytes = len(text.encode()) / 1e6
        assert fresh().encode(text) == peer.encode_ordinary(text), f"ids differ on {name}"
        new = [fresh() for _ in range(turns)]
        known = fresh()
        known.encode(text)
        turn = iter(new)
        for kind, ours in (("first", lambda turn=turn, text=text: next(turn).encode(text)),
                           ("again", lambda known=known, text=text: known.encode(text))):  # fmt: skip
            result = compare(ours, lambda text=text: peer.encode_ordinary(text), turns)
            result |= {f"{who} MB/s": round(megabytes / result[who], 1) for who in ("ours", "theirs")}
            results[f"{name}, {kind}"] = result
            print(f"encode {name}, {kind}", result, flush=True)
    part = texts["prose"][:2_000_000]
    other = hf_bpe(pieces(texts["prose"]), 32_000)
    lines = part.splitlines(keepends=True)
    tokenizer = fresh()
    assert other.encode(part).ids == tokenizer.encode(part)
    results["hf, one text"] = compare(lambda: tokenizer.encode(part), lambda: other.encode(part), turns)
    results["hf, batch"] = compare(lambda: tokenizer.encode_batch(lines), lambda: other.encode_batch(lines), turns)
    for name in ("hf, one text", "hf, batch"):
        print("encode", name, results[name], flush=True)
    word = "".join(text for text in texts["prose"].split() if text.isalpha())[:1_000_000].lower()
    half, whole = (
        statistics.median(seconds(lambda n=n: fresh().encode(word[:n])) for _ in range(3)) for n in (500_000, 1_000_000)
    )
    results["one word"] = {
        "half a million": round(half, 3),
        "a million": round(whole, 3),
        "growth": round(whole / half, 2),
    }
    print("encode one word", results["one word"], flush=True)
    return results


def training(texts: dict[str, str], turns: int) -> dict[str, Any]:
    from fp_tokenize import BPETokenizer, UnigramTokenizer, WordPieceTokenizer

    prose = pieces(texts["prose"])
    results: dict[str, Any] = {}

    def note(name: str, result: Any) -> None:
        results[name] = result
        print("train", name, result, flush=True)

    for size in (1_024, 8_192, 32_000):
        note(
            f"bpe {size}",
            compare(lambda size=size: BPETokenizer.train(prose, size), lambda size=size: hf_bpe(prose, size), turns),
        )
    note("bpe 500 on 100 KB", round(statistics.median(
        seconds(lambda: BPETokenizer.train([texts["prose"][:100_000]], 500)) for _ in range(turns)), 4))  # fmt: skip
    note("bpe 512 on 186 KB", round(statistics.median(
        seconds(lambda: BPETokenizer.train([texts["prose"][:186_000]], 512)) for _ in range(turns)), 4))  # fmt: skip
    note(
        "wordpiece 8192",
        compare(lambda: WordPieceTokenizer.train(prose, 8_192), lambda: hf_wordpiece(prose, 8_192), min(turns, 3)),
    )

    def sentencepiece_trains() -> None:
        import io

        import sentencepiece

        lines = texts["prose"].splitlines()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=io.BytesIO(), vocab_size=8_000, model_type="unigram",
            normalization_rule_name="identity", num_threads=1, minloglevel=2, max_sentence_length=1 << 20,
        )  # fmt: skip

    note(
        "unigram 8000",
        compare(
            lambda: UnigramTokenizer.train(texts["prose"].splitlines(), 8_000, ["<unk>", "<s>", "</s>"]),
            sentencepiece_trains,
            min(turns, 3),
        ),
    )
    whole = texts["prose"]
    note(
        "growth",
        {
            f"{len(whole) // part:,} characters": round(
                statistics.median(
                    seconds(lambda part=part: BPETokenizer.train(pieces(whole[: len(whole) // part]), 8_192))
                    for _ in range(3)
                ),
                3,
            )
            for part in (8, 4, 2, 1)
        },
    )
    return results


def memory(folder: pathlib.Path) -> dict[str, float]:
    """Peak memory in MB of training at 32,000, each in a process of its own."""
    results = {}
    for who in ("ours", "theirs"):
        program = [sys.executable, __file__, str(folder), "--peak", who]
        results[who] = float(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    print("memory", results, flush=True)
    return results


def peak(folder: pathlib.Path, who: str) -> None:
    def lines() -> Any:
        with (folder / "prose.txt").open(encoding="utf-8") as file:
            yield from file

    if who == "ours":
        from fp_tokenize import BPETokenizer

        BPETokenizer.train(lines(), 32_000)
    else:
        hf_bpe(lines(), 32_000)
    # not getrusage: a program that another one starts inherits the peak of that one
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    print(round(int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peak", choices=("ours", "theirs"))
    parser.add_argument("--only", choices=("encode", "train", "memory"))
    options = parser.parse_args()
    if options.peak:
        peak(options.folder, options.peak)
        return
    texts = {
        name: (options.folder / f"{name}.txt").read_text(encoding="utf-8")
        for name in ("prose", "code", "random", "chinese")
    }
    from importlib.metadata import version

    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": "python packages/fp-tokenize/benchmarks/bench_tokenize.py FOLDER",
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "peers": {name: version(name) for name in ("tiktoken", "tokenizers", "sentencepiece")},
        "texts": {
            name: {"bytes": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
            for name, text in texts.items()
        },
    }
    if options.only in (None, "encode"):
        report["encode"] = encoding(texts, options.turns)
    if options.only in (None, "train"):
        report["train"] = training(texts, options.turns)
    if options.only in (None, "memory"):
        report["memory"] = memory(options.folder)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
