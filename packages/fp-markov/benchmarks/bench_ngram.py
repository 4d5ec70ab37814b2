"""
`NGramModel` against KenLM and `nltk.lm`: `python packages/fp-markov/benchmarks/bench_ngram.py [TEXT] [--json FILE]`.

One text (by default the language reference that every Python carries), its lines as sentences, cut into words and into
characters; the first nine tenths are counted, the rest is scored. All three start from the same tokens: ours from one
list of words, which it looks up in a dictionary within the time shown, or from one string of characters, which
`fp_markov.vocabulary` encodes; KenLM from sentences as strings, `nltk.lm` from lists. They alternate; what is printed
is the median over the turns, and of the ratios (ours to theirs, below one: ours is faster) the median and the range.
Ours and KenLM's estimate the same model, and their losses are compared first.

`nltk.lm` is too slow for the whole: it counts a share of the sentences and scores a few tokens, and the ratios are of
times a token. That flatters it, as its time a token of scoring grows with what it has counted. At order 3 it counts the
whole text.

Memory: the bytes of our arrays against KenLM's files, an n-gram, before a long text is scored and after, when there are
tables for finding n-grams; the time to build these is given by itself, as KenLM's files are built before its clock
runs. KenLM's files hold the words too, in their last bytes.
Growth: time and the peak of memory of counting 1/8, 1/4, 1/2 and all of the text, with the slope of the logarithms: one
is linear.

Needs `nltk`, `kenlm` (compiled at installation, with cmake) and KenLM's programs, which
`python -m tools.oracles.build_kenlm` builds.
"""

import argparse
import datetime
import hashlib
import itertools
import json
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterable
from importlib.metadata import version

import kenlm
import numpy as np
from nltk.lm import KneserNeyInterpolated
from nltk.lm.preprocessing import padded_everygram_pipeline

from fp_markov.lookup import finder
from fp_markov.ngram import NGramModel
from fp_markov.vocabulary import Vocabulary

ROOT = pathlib.Path(__file__).parents[3]
ORDER = 5
UNK, BOS, EOS = "<unk>", "<s>", "</s>"

Sentence = list[str]


def words(line: str) -> Sentence:
    return re.findall(r"\w+|[^\w\s]", line)


def characters(line: str) -> Sentence:
    return list(re.sub(r"\s", "▁", line.strip()))  # KenLM separates tokens by white space


UNITS: dict[str, Callable[[str], Sentence]] = {"words": words, "characters": characters}


def corpus(path: str | None) -> tuple[str, str]:
    """The text and its name."""
    if path is not None:
        return pathlib.Path(path).read_text(encoding="utf-8"), pathlib.Path(path).name
    from pydoc_data.topics import topics

    return "\n".join(
        topics[topic] for topic in sorted(topics)
    ), f"pydoc_data.topics of Python {platform.python_version()}"


def flat(sentences: Iterable[Sentence]) -> Sentence:
    return [token for sentence in sentences for token in (BOS, *sentence, EOS)]


class Ours:
    """Words in, model out."""

    def __init__(self, train: list[Sentence], test: list[Sentence], order: int = ORDER):
        self.train, self.test, self.order = flat(train), flat(test), order

    def first_ids(self) -> tuple[np.ndarray, int]:
        """Ids of the text to count, in order of appearance behind those of `UNK`, `BOS` and `EOS`, and how many."""
        self.ids: defaultdict[str, int] = defaultdict(itertools.count(3).__next__, {UNK: 0, BOS: 1, EOS: 2})
        counted = np.fromiter(map(self.ids.__getitem__, self.train), np.int64, len(self.train))
        return counted, len(self.ids)

    def test_ids(self) -> np.ndarray:
        return np.fromiter(map(self.ids.get, self.test, itertools.repeat(0)), np.int64, len(self.test))

    bos = 1

    def fit(self) -> None:
        counted, self.vocab_size = self.first_ids()
        self.model = NGramModel(self.order, self.vocab_size, bos=self.bos).fit(counted)

    def score(self) -> float:
        return -float(self.model.log_prob(self.test_ids()).sum())


class OursFromCharacters(Ours):
    """Lines of characters in, model out."""

    def __init__(self, train: list[Sentence], test: list[Sentence], order: int = ORDER):
        self.train, self.test = ("\n".join(map("".join, part)) for part in (train, test))
        self.order = order

    def first_ids(self) -> tuple[np.ndarray, int]:
        self.vocabulary = Vocabulary.from_text(self.train, unknown=True, sentences=True)
        self.bos = self.vocabulary.bos
        return self.vocabulary.encode_sentences(self.train), len(self.vocabulary)

    def test_ids(self) -> np.ndarray:
        return self.vocabulary.encode_sentences(self.test)


class KenLM:
    """`lmplz` from a file to a file, then the Python module on the probing model."""

    def __init__(self, train: list[Sentence], test: list[Sentence], programs: pathlib.Path, folder: pathlib.Path):
        self.test = [" ".join(sentence) for sentence in test]
        self.programs, self.folder = programs, folder
        (folder / "train.txt").write_text("".join(" ".join(s) + "\n" for s in train), encoding="utf-8")

    def fit(self) -> None:
        # characters need the fallback for unigrams: each stands behind many others, none behind one
        files = ("--text", self.folder / "train.txt", "--arpa", self.folder / "model.arpa", "-T", self.folder)
        options = ("-o", str(ORDER), "-S", "1G", "--discount_fallback")
        subprocess.run([self.programs / "lmplz", *options, *files], check=True, capture_output=True)

    def load(self) -> dict[str, int]:
        """Read the model; the sizes of its files by kind."""
        for kind in ("probing", "trie"):
            files = (self.folder / "model.arpa", self.folder / kind)
            subprocess.run([self.programs / "build_binary", kind, *files], check=True, capture_output=True)
        self.model = kenlm.Model(str(self.folder / "probing"))
        return {kind: (self.folder / kind).stat().st_size for kind in ("probing", "trie")}

    def score(self) -> float:
        """One number a sentence."""
        score = self.model.score
        return -sum(score(sentence) for sentence in self.test) * math.log(10)

    def full_scores(self) -> float:
        """One number a token, as ours."""
        full_scores = self.model.full_scores
        return -sum(p for sentence in self.test for p, _, _ in full_scores(sentence)) * math.log(10)


class NLTK:
    """Interpolated Kneser-Ney with one discount: `nltk.lm` has no modified form."""

    def __init__(self, train: list[Sentence], test: list[Sentence], share: float, n_scored: int, order: int = ORDER):
        self.train = train[: max(int(len(train) * share), 1)]
        self.n_fitted = len(flat(self.train))
        self.test, self.order = flat(test)[: n_scored + order - 1], order

    def fit(self) -> None:
        ngrams, vocabulary = padded_everygram_pipeline(self.order, self.train)
        self.model = KneserNeyInterpolated(self.order, discount=0.75)
        self.model.fit(ngrams, vocabulary)

    def score(self) -> float:
        n = self.order - 1
        return -sum(self.model.score(self.test[i], self.test[i - n : i]) for i in range(n, len(self.test)))


def seconds(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def spread(ratios: Iterable[float]) -> list[float]:
    """Median, least and greatest, to three digits."""
    r = sorted(ratios)
    return [float(f"{x:.3g}") for x in (statistics.median(r), r[0], r[-1])]


def measure(unit: str, lines: list[str], programs: pathlib.Path, arguments: argparse.Namespace) -> dict:
    sentences = [sentence for line in lines if (sentence := UNITS[unit](line))]
    cut = len(sentences) * 9 // 10
    train, test = sentences[:cut], sentences[cut:]
    with tempfile.TemporaryDirectory() as folder:
        start = OursFromCharacters if unit == "characters" else Ours
        ours, peer = start(train, test), KenLM(train, test, programs, pathlib.Path(folder))
        nltk = NLTK(train, test, arguments.nltk_share, arguments.nltk_tokens)
        n_train, n_test = (len(flat(part)) - len(part) for part in (train, test))  # `<s>` is given
        n_nltk_fitted, n_nltk_scored = nltk.n_fitted, len(nltk.test) - ORDER + 1
        ours.fit()
        n_bytes = ours.model.nbytes
        peer.fit()
        sizes = peer.load()
        losses = [ours.score() / n_test, peer.score() / n_test, peer.full_scores() / n_test]
        # lmplz counts its last unigram another way (tools/oracles/markov_kenlm.py), which shifts a discount a little
        assert np.ptp(losses) < 2e-3, f"the models differ: {losses} nats per token"

        (counted, V), scored = ours.first_ids(), ours.test_ids()
        other = start(train, test)  # the model that scores stays as it is, with its tables

        def fit_ids() -> None:
            NGramModel(ORDER, V, bos=ours.bos).fit(counted)

        def score_ids() -> None:
            ours.model.log_prob(scored)

        jobs = {
            "fit": {"ours": other.fit, "ours, from ids": fit_ids, "lmplz": peer.fit, "nltk": nltk.fit},
            "score": {
                "ours": ours.score,
                "kenlm score": peer.score,
                "kenlm full_scores": peer.full_scores,
                "ours, from ids": score_ids,
                "nltk": nltk.score,
            },
        }
        tokens = {"fit": n_train, "score": n_test, "fit nltk": n_nltk_fitted, "score nltk": n_nltk_scored}
        times: dict[tuple[str, str], list[float]] = {(what, who): [] for what in jobs for who in jobs[what]}
        for turn in range(arguments.turns):
            for what, who in times:
                if who == "nltk" and turn >= arguments.nltk_turns:
                    continue
                times[what, who].append(seconds(jobs[what][who]) / tokens.get(f"{what} {who}", tokens[what]))
        short = start(train, test, 3), NLTK(train, test, 1.0, 0, 3)

    result: dict = {
        "unit": unit,
        "order": ORDER,
        "vocabulary": V,
        "tokens fitted": n_train,
        "tokens scored": n_test,
        "nats per token": round(losses[0], 4),
        "kenlm nats per token": round(losses[1], 4),
        "nltk": {"tokens fitted": n_nltk_fitted, "tokens scored": n_nltk_scored, "discount": 0.75},
        "microseconds per token": {
            f"{what}, {who}": float(f"{statistics.median(t) * 1e6:.4g}") for (what, who), t in times.items()
        },
    }
    result["ratio of ours to"] = {
        f"{what}, {who}": spread(a / b for a, b in zip(times[what, "ours"], t, strict=False))
        for (what, who), t in times.items()
        if "ours" not in who
    } | {
        f"{what}, {who} from ids": spread(a / b for a, b in zip(times[what, "ours, from ids"], t, strict=False))
        for (what, who), t in times.items()
        if "ours" not in who
    }
    result["order 3"] = trigrams(*short, arguments.nltk_turns)
    n = sum(len(weights.keys) for weights in ours.model.weights)
    result["ngrams"] = n
    result["bytes per ngram"] = {
        "ours": round(n_bytes / n, 2),
        "ours with tables": round(ours.model.nbytes / n, 2),
    } | {f"kenlm {kind}": round(size / n, 2) for kind, size in sizes.items()}
    result["seconds to build tables"] = round(statistics.median(tables(ours.model) for _ in range(arguments.turns)), 4)
    result["growth"] = growth(counted, V, ours.bos, arguments.turns)
    return result


def trigrams(ours: Ours, nltk: NLTK, turns: int) -> dict:
    """Fitting the whole text at order 3, from strings and from ids."""
    counted, V = ours.first_ids()

    def from_ids() -> None:
        NGramModel(ours.order, V, bos=ours.bos).fit(counted)

    times: dict[str, list[float]] = {"ours": [], "ours, from ids": [], "nltk": []}
    for _ in range(turns):
        times["nltk"].append(seconds(nltk.fit))
        # the shorter the time, the more often: one interruption must not decide
        times["ours"].append(statistics.median(seconds(ours.fit) for _ in range(7)))
        times["ours, from ids"].append(statistics.median(seconds(from_ids) for _ in range(7)))
    return {
        "seconds to fit": {who: round(statistics.median(t), 4) for who, t in times.items()},
        "ratio to nltk": {
            who: spread(a / b for a, b in zip(t, times["nltk"], strict=True))
            for who, t in times.items()
            if who != "nltk"
        },
    }


def tables(model: NGramModel) -> float:
    """Seconds to build the tables by which a model finds its n-grams."""
    n_contexts = [1, *model.n_ngrams[:-1]]

    def build() -> None:
        for weights, n in zip(model.weights, n_contexts, strict=True):
            finder(weights.keys, n, model.vocab_size)

    return seconds(build)


def growth(ids: np.ndarray, V: int, bos: int, turns: int) -> dict:
    """Time and memory of counting growing parts of the text, all with the vocabulary of the whole."""
    parts = [ids[: len(ids) // k] for k in (8, 4, 2, 1)]

    def fit(part: np.ndarray) -> NGramModel:
        return NGramModel(ORDER, V, bos=bos).fit(part)

    times: list[list[float]] = [[] for _ in parts]
    for _ in range(turns):
        for took, part in zip(times, parts, strict=True):
            took.append(seconds(lambda part=part: fit(part)))
    peaks, sizes, ngrams = [], [], []
    for part in parts:
        tracemalloc.start()
        model = fit(part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(model.nbytes)
        ngrams.append(sum(len(weights.keys) for weights in model.weights))
    rows = {
        "tokens": [len(part) for part in parts],
        "seconds": [round(statistics.median(took), 4) for took in times],
        "peak bytes": peaks,
        "model bytes": sizes,
        "ngrams": ngrams,
    }
    n = np.log(rows["tokens"])
    slopes = {
        f"slope of {name}": round(float(np.polyfit(n, np.log(values), 1)[0]), 3)
        for name, values in rows.items()
        if name != "tokens"
    }
    return rows | slopes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", help="a text file; by default the topics that pydoc carries")
    parser.add_argument("--units", default="words,characters")
    parser.add_argument("--share", type=float, default=1.0, help="use this part of the text's lines, from the first on")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--nltk-turns", type=int, default=3)
    parser.add_argument("--nltk-share", type=float, default=0.1, help="of the sentences that nltk.lm counts")
    parser.add_argument("--nltk-tokens", type=int, default=10, help="that nltk.lm scores")
    parser.add_argument("--json", help="write the results here as well")
    arguments = parser.parse_args()
    text, name = corpus(arguments.text)
    lines = text.splitlines()
    lines = lines[: int(len(lines) * arguments.share)]
    built = subprocess.run(
        [sys.executable, "-m", "tools.oracles.build_kenlm"], cwd=ROOT, capture_output=True, text=True
    )
    if built.returncode:
        sys.exit(built.stderr)
    report: dict = {
        "command": " ".join(["python", "packages/fp-markov/benchmarks/bench_ngram.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "text": {"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "share": arguments.share},
        "machine": {
            "processor": processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "nltk": version("nltk"),
            "kenlm": version("kenlm"),
        },
        "results": [],
    }
    print(json.dumps({k: report[k] for k in ("command", "date", "text", "machine")}))
    for unit in arguments.units.split(","):
        result = measure(unit, lines, pathlib.Path(built.stdout.strip()).parent, arguments)
        print(json.dumps(result), flush=True)
        report["results"].append(result)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
