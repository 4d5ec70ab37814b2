"""
Freeze KenLM's modified Kneser-Ney: its discounts, its probabilities and back-off weights, and its scores of new text.

    python -m tools.oracles.markov_kenlm

writes kenlm.json and kenlm_order3.arpa in packages/fp-markov/tests/fixtures, which the default tests read, from
kenlm_text.txt beside them, one sentence a line. That text was cut once from the topics "types", "execmodel" and
"compound" of Python 3.11's `pydoc_data.topics` (the language reference, copyright Python Software Foundation, PSF
License Version 2), in lower case, words and commas only. It stays as it is: other Pythons have other topics.

`reference_kenlm` is what `lmplz` computes, in plain Python.
"""

import json
import math
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tools.oracles.build_kenlm import build

FOLDER = Path(__file__).parents[2] / "packages/fp-markov/tests/fixtures"
TEXT, FIXTURE, ARPA = FOLDER / "kenlm_text.txt", FOLDER / "kenlm.json", FOLDER / "kenlm_order3.arpa"

ORDERS = (2, 3, 4, 5)
EVERY = 23  # one n-gram in so many is frozen, evenly over the sorted list; the live tests compare all
ARPA_SENTENCES = 150
BOS, EOS, UNK = "<s>", "</s>", "<unk>"
HELD_OUT = (
    "the name of the class is an attribute of the object",
    "this type has a single value",
    "a frog sat on the floating point number",
    "frog",
    "the zebra the zebra",
    "built in functions return the value none , however a method may raise an exception",
    "it is used to signify the absence of a value in many situations , but not in a poem",
    "numbers numbers numbers ; numbers",
    "when an iterator is exhausted it is set to none",
    "",
)

Gram = tuple[str, ...]
Sentence = list[str]
Model = dict[Gram, tuple[float, float]]


def sentences(text: str) -> list[Sentence]:
    """The words of each line."""
    return [line.split() for line in text.splitlines()]


def last_new_word_stands_once(text: Sequence[Sentence]) -> bool:
    """
    Whether the word that is new last stands once in the text, as it must for `reference_kenlm` to be exact.

    lmplz puts the last unigram in its own order, and the last n-gram of each length below the highest, into the counts
    of counts with its raw count instead of its number of left neighbours; here the two are equal, both one.
    """
    counts = Counter(word for sentence in text for word in sentence)  # keeps the order of first appearance
    return list(counts.values())[-1] == 1


def reference_kenlm(
    text: Sequence[Sentence], order: int, fallback: Sequence[float] | None = None
) -> tuple[list[list[float]], Model]:
    """
    Modified Kneser-Ney as `lmplz` estimates it: each order's discounts; log10 of (probability, back-off weight).

    Each sentence is counted by itself, behind one `<s>` and before `</s>`. The count a(g) is the raw one at the highest
    order, and below it for what begins with `<s>`; else it is the number of different left neighbours, of which `<s>`
    can be one. `<s>` and `<unk>` have the count 0, and below the unigrams stands the uniform distribution over all but
    `<s>`. Discounts come from the counts of counts of all n-grams of an order, those with `<s>` included; where the
    estimate fails, all three of that order are `fallback`, or it is an error.
    """
    raw: list[Counter[Gram]] = [Counter() for _ in range(order + 1)]
    left: dict[Gram, set[str]] = defaultdict(set)
    for sentence in text:
        words = (BOS, *sentence, EOS)
        for n in range(1, order + 1):
            for i in range(len(words) - n + 1):
                raw[n][words[i : i + n]] += 1
                if i:
                    left[words[i : i + n]].add(words[i - 1])

    discounts: list[list[float]] = []
    probability: dict[Gram, float] = {}
    backoff: dict[Gram, float] = {}
    for n in range(1, order + 1):
        a = {g: count if n == order or g[0] == BOS else len(left[g]) for g, count in raw[n].items()}
        if n == 1:
            a[(BOS,)] = a[(UNK,)] = 0
            probability[()] = 1 / (len(a) - 1)
        D = [0.0, *estimate_discounts(a, fallback)]
        discounts.append(D[1:])
        total: Counter[Gram] = Counter()
        taken: dict[Gram, float] = defaultdict(float)
        for g, count in a.items():
            total[g[:-1]] += count
            taken[g[:-1]] += D[min(count, 3)]
        backoff |= {c: taken[c] / total[c] for c in total}
        for g, count in a.items():
            c = g[:-1]
            probability[g] = (count - D[min(count, 3)]) / total[c] + backoff[c] * probability[g[1:]]
        if n == 1:
            probability[(BOS,)] = 1.0  # scored without effect; no sum of probabilities has it
    del probability[()]
    return discounts, {g: (math.log10(p), math.log10(backoff.get(g, 1.0))) for g, p in probability.items()}


def estimate_discounts(a: dict[Gram, int], fallback: Sequence[float] | None) -> Sequence[float]:
    """D1, D2 and D3+ by Chen and Goodman's formula."""
    t = Counter(a.values())
    if all(t[j] for j in (1, 2, 3)):
        y = t[1] / (t[1] + 2 * t[2])
        D = [j - (j + 1) * y * t[j + 1] / t[j] for j in (1, 2, 3)]
        if all(0 <= d <= j for j, d in enumerate(D, start=1)):
            return D
    if fallback is None:
        raise ValueError(f"counts of counts {[t[j] for j in range(1, 5)]} give no discounts")
    return fallback


def lmplz(text: Sequence[Sentence], order: int, *options: str) -> tuple[list[list[float]], str]:
    """The discounts that `lmplz` reports, to six digits, and its ARPA file."""
    done = subprocess.run(
        [build() / "lmplz", "-o", str(order), "-S", "500M", *options],
        input="".join(" ".join(sentence) + "\n" for sentence in text),
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"^\d+ \d+ D1=(\S+) D2=(\S+) D3\+=(\S+)$", done.stderr, re.MULTILINE)
    return [[float(d) for d in D] for D in found], done.stdout


def query(arpa: str, text: Sequence[Sentence]) -> list[list[float]]:
    """log10 of the probability that KenLM's `query` gives each word of each sentence, and its end."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.arpa"
        path.write_text(arpa, encoding="utf-8")
        done = subprocess.run(
            [build() / "query", "-v", "word", path],
            input="".join(" ".join(sentence) + "\n" for sentence in text),
            capture_output=True,
            text=True,
            check=True,
        )
    return [[float(word.split(" ")[2]) for word in line.strip().split("\t")] for line in done.stdout.splitlines()]


def read_arpa(arpa: str) -> Model:
    """The lines of an ARPA file, those without a back-off weight with log10 1 = 0."""
    model = {}
    for line in arpa.splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            model[tuple(fields[1].split(" "))] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    return model


def compute(text: Sequence[Sentence], order: int) -> dict:
    """What is frozen of one order."""
    assert last_new_word_stands_once(text), "the last new word of the text must stand in it once"
    discounts, arpa = lmplz(text, order)
    model = read_arpa(arpa)
    return {
        "discounts": discounts,
        "ngrams": [sum(len(g) == n for g in model) for n in range(1, order + 1)],
        "sample": {" ".join(g): model[g] for g in sorted(model)[::EVERY]},
        "held_out": query(arpa, [sentence.split() for sentence in HELD_OUT]),
    }


def main() -> None:
    text = sentences(TEXT.read_text(encoding="utf-8"))
    frozen = {"held_out": HELD_OUT} | {str(order): compute(text, order) for order in ORDERS}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in frozen.items())
    FIXTURE.write_text(f"{{{lines}}}\n", encoding="utf-8")
    ARPA.write_text(lmplz(text[:ARPA_SENTENCES], 3)[1], encoding="utf-8")
    print(f"wrote {FIXTURE} and {ARPA}")


if __name__ == "__main__":
    main()
