"""
The run that `fp_capstone.story` tells: trains the default model on the default text, and asks at a dozen stops.

    python packages/fp-capstone/benchmarks/narrated_run.py

takes some minutes and writes `book/measured/narrated_run.json`. With `--preset tiny --out FILE` it is a trial of the
same questions. No time is measured: what is written depends on the settings, the text, and rounding.
"""

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from fp_capstone.corpus import encode_corpus, load_corpus
from fp_capstone.evaluation import ORDERS, evaluate, ngram_losses
from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_capstone.settings import resolve_settings
from fp_capstone.story import (
    KINDS,
    divergences,
    even_share,
    first_gradient,
    first_loss,
    kinds_of_characters,
    known_phrases,
    lengths,
    look_back,
    look_inside,
    mean_distance,
    neighbours,
    position_means,
)
from fp_capstone.training import Trainer, model_config
from fp_markov.ngram import NGramModel
from fp_tokenize.characters import CharTokenizer

OUT = Path(__file__).parents[3] / "book/measured/narrated_run.json"
STOPS = (0, 1, 3, 10, 30, 60, 100, 200, 300, 600, 900, 1200)  # and the last step
SAMPLE, SAMPLES, SHOWN = 500, 3, 280  # characters that are written, how many times, and how many are kept
FARTHEST = 5  # the largest distance back at which heads are asked for a habit
SENTENCE, EARLY = "the name of the class is the name", 100  # whose maps are drawn, at that stop and at the end
PLACES = 600  # where next-token distributions are compared
REPEAT, COPIES = 60, 32  # characters that are repeated, and in how many texts
ASKED = "aeAEs3.("  # whose neighbours are shown
OFTEN = 100  # characters of the training text that a character needs to be named as a neighbour
TABLES = {"embedding": "model.embed_tokens.weight", "output": "lm_head.weight"}
SETTINGS = (
    "n_layers", "n_heads", "d_model", "context_length", "short_window", "short_share", "optimizer", "n_steps", "warmup",
    "seed", "threads",
)  # fmt: skip
Ids = np.ndarray


class Questions:
    """What is asked at each stop: the texts and tables stay the same."""

    def __init__(
        self, train: Ids, held_out: Ids, tokenizer: CharTokenizer, texts: tuple[str, str], window: int
    ) -> None:
        self.train, self.held_out, self.tokenizer, self.window = train, held_out, tokenizer, window
        self.train_text, self.held_out_text = texts
        V, rng = tokenizer.vocab_size, np.random.default_rng(11)
        self.ngrams = ngram_losses(train, held_out, V)
        self.kinds = np.array(kinds_of_characters(self.held_out_text, self.train_text))
        start = int(rng.integers(train.size - held_out.size))
        self.seen = train[start : start + held_out.size]  # as much training text as is held out
        self.few = held_out[: 32 * 128 + 1]
        self.edges = [n for n in (1, 2, 3, 4, 6, 9, 13, 17, 33, 65, 97, 129, 193, 257) if n <= window] + [window + 1]
        rows = np.sort(rng.choice(held_out.size - window - 1, PLACES, replace=False))
        self.contexts = held_out[rows[:, None] + np.arange(window // 2)]
        self.tables = {}
        for order in ORDERS:
            model = NGramModel(order, vocab_size=V).fit(train)
            self.tables[order] = np.array([model.next_distribution(context) for context in self.contexts])
        self.counter = model  # of the largest order
        starts = np.sort(rng.choice(train.size - window - 1, 16, replace=False))
        self.batch = train[starts[:, None] + np.arange(window + 1)]
        length = min(REPEAT, window // 2)
        shares = np.bincount(train, minlength=V) / train.size
        self.random = rng.choice(V, size=(COPIES, 2 * length), p=shares)
        self.again = np.concatenate([self.random[:, :length]] * 2, axis=1)
        begins = np.sort(rng.choice(held_out.size - length, COPIES, replace=False))
        self.passages = np.concatenate([held_out[begins[:, None] + np.arange(length)]] * 2, axis=1)
        self.length = length

    def losses(self, model: Model, ids: Ids, window: int) -> np.ndarray:
        return evaluate(model, ids, window, threads=2)

    def quick(self, model: Model) -> float:
        """A part of the held-out text, for the fine grid of steps."""
        return float(self.losses(model, self.few, min(128, self.window)).mean())

    def marks_of_few(self) -> dict[int, float]:
        return {order: float(losses[: self.few.size - 1].mean()) for order, losses in self.ngrams.items()}

    def heads(self, model: Model) -> dict[str, Any]:
        R = self.length
        plain, _ = look_inside(model, self.batch[:, : min(128, self.window)])
        again, _ = look_inside(model, self.again)
        control, _ = look_inside(model, self.random)
        return {
            "back": [[rounded(look_back(P, d)) for P in plain] for d in range(FARTHEST + 1)],
            "distance": [rounded(mean_distance(P)) for P in plain],
            "induction": [rounded(look_back(P, R - 1, R)) for P in again],
            "control": [rounded(look_back(P, R - 1, R)) for P in control],
        }

    def repetition(self, model: Model) -> dict[str, list[float]]:
        """Mean losses in the first copy and in the second."""
        found = {}
        for name, ids in (("random", self.again), ("text", self.passages)):
            losses = model.token_losses(ids[:, :-1], ids[:, 1:]).astype(np.float64)
            half = self.length - 1
            # the first character of the second copy follows the end of the first: nothing announces it
            found[name] = [short(losses[:, :half].mean()), short(losses[:, half + 1 :].mean())]
        return found

    def samples(self, write: Callable[[np.ndarray, np.random.Generator], Iterable[int]]) -> list[str]:
        """Texts that begin with the first held-out character, as in `fp_capstone.run`, each with its own seed."""
        prompt = self.held_out[:1]
        texts = [write(prompt, np.random.default_rng([1, 2, n])) for n in range(SAMPLES)]
        return [self.tokenizer.decode([*prompt.tolist(), *text]) for text in texts]

    def known(self, texts: list[str]) -> list[float | None]:
        """Mean shares over the texts that have phrases at all."""
        shares = np.array([known_phrases(text, self.train_text) for text in texts])
        there = [column[~np.isnan(column)] for column in shares.T]
        return [short(column.mean()) if column.size else None for column in there]

    def counted(self) -> list[str]:
        """What the table of the largest order writes, at the same temperature."""
        return self.samples(lambda prompt, rng: self.counter.generate(prompt, SAMPLE, rng, temperature=0.8))

    def ask(self, model: Model, window: int) -> dict[str, Any]:
        full = self.losses(model, self.held_out, self.window)
        held_out = full if window == self.window else self.losses(model, self.held_out, window)
        z = np.concatenate([model.forward(rows)[:, -1] for rows in np.array_split(self.contexts, 12)])
        texts = self.samples(lambda prompt, rng: model.generate(prompt, SAMPLE, rng, temperature=0.8))
        _, grads = model.loss_and_grads(self.batch[:, :-1], self.batch[:, 1:])
        return {
            "window": window,
            "train": short(self.losses(model, self.seen, window).mean()),
            "held_out": short(held_out.mean()),
            "by_position": rounded(position_means(full, self.window, self.edges)),
            "by_kind": {kind: short(held_out[self.kinds == kind].mean()) for kind in KINDS},
            "divergence": {order: short(value) for order, value in divergences(self.tables, z).items()},
            "sample": texts[0][:SHOWN],
            "known": self.known(texts),
            "gradient": {part: short(value) for part, value in lengths(grads).items()},
            "heads": self.heads(model),
            "repetition": self.repetition(model),
        }


def short(value: float) -> float:
    """Five digits."""
    return float(f"{value:.5g}")


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def beginnings(model: Model, batch: Ids) -> dict[str, Any]:
    """What (S1) and (S2) say of the model before its first step."""
    ids, y = batch[:, :-1], batch[:, 1:].reshape(-1)
    z = model.forward(ids).reshape(y.size, -1)
    _, h = look_inside(model, ids)
    p = np.exp(z - z.max(axis=1, keepdims=True), dtype=np.float64)
    p = (p / p.sum(axis=1, keepdims=True)).mean(axis=0)
    common, context = first_gradient(p, h.reshape(y.size, -1).astype(np.float64), y)
    _, grads = model.loss_and_grads(ids, batch[:, 1:])
    output = grads["lm_head.weight" if "lm_head.weight" in grads else "model.embed_tokens.weight"]
    apart = np.linalg.norm(output - common - context) / np.linalg.norm(output)
    return {
        "loss": {name: short(value) for name, value in first_loss(z, y).items()},
        "common": short(float(np.linalg.norm(common))),
        "context": short(float(np.linalg.norm(context))),
        "largest": short(float(np.linalg.norm(context, ord=2))),
        "left": short(float(apart)),
    }


def names(table: np.ndarray, train: Ids, tokenizer: CharTokenizer) -> dict[str, Any]:
    """Neighbours of some characters, and what groups have in common."""
    counts = np.bincount(train, minlength=len(table))
    among = np.flatnonzero(counts >= OFTEN).tolist()
    one = {tokenizer.decode([row]): row for row in among}
    near = {
        character: [(tokenizer.decode([row]), round(cosine, 2)) for row, cosine in neighbours(table, row_asked, among)]
        for character, row_asked in one.items()
        if character in ASKED
    }
    centred = table[among] - table[among].mean(axis=0)
    centred = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosines, place = centred @ centred.T, {row: i for i, row in enumerate(among)}

    def mean(pairs: list[tuple[str, str]]) -> float:
        return round(float(np.mean([cosines[place[one[a]], place[one[b]]] for a, b in pairs])), 3)

    def all_of(characters: str) -> list[tuple[str, str]]:
        there = [character for character in characters if character in one]
        return [(a, b) for i, a in enumerate(there) for b in there[:i]]

    small = [c for c in map(chr, range(97, 123)) if c in one]
    capital = [c.upper() for c in small if c.upper() in one]
    groups = {
        "two vowels": mean(all_of("aeiou")),
        "a vowel and a consonant": mean([(a, b) for a in "aeiou" for b in small if b not in "aeiou"]),
        "two digits": mean(all_of("0123456789")),
        "two capitals": mean(all_of("".join(capital))),
        "a capital and its small letter": mean([(c, c.lower()) for c in capital]),
        "a capital and another small letter": mean([(c, s) for c in capital for s in small if s != c.lower()]),
    }
    return {"near": near, "groups": groups}


def maps(model: Model, heads: list[tuple[int, int]], tokenizer: CharTokenizer, text: str) -> list[list[list[float]]]:
    """The weights of some heads on a sentence, each row as far as it goes."""
    weights, _ = look_inside(model, tokenizer.encode_array(text)[None])
    return [[[round(float(w), 2) for w in row[: i + 1]] for i, row in enumerate(weights[l][0, h])] for l, h in heads]


def passage(model: Model, questions: Questions, text: str) -> dict[str, Any]:
    """A part of the held-out text: what each character cost, half a window or more behind it, and the likeliest."""
    ids, half = questions.held_out, questions.window // 2
    begin = text.index("\n\n", len(text) // 3) + 2
    end = min(begin + 620, len(text))
    costs, best = [], []
    for start in range(begin, end, half):
        stop = min(start + half, end)
        z = model.forward(ids[None, start - half : stop - 1])[0, half - 1 :].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
        costs += [round(float(cost), 3) for cost in -z[np.arange(stop - start), ids[start:stop]]]
        best += z.argmax(axis=1).tolist()
    return {"text": text[begin:end], "cost": costs, "best": questions.tokenizer.decode(best)}


def chosen_heads(heads: dict[str, Any]) -> list[tuple[int, int]]:
    """The heads that look most at the token before and at the one before that, and the one that looks farthest."""
    found: list[tuple[int, int]] = []
    for scores in (np.array(heads["back"][1]), np.array(heads["back"][2]), np.array(heads["distance"])):
        order = np.argsort(-scores, axis=None)
        places = [tuple(int(n) for n in np.unravel_index(i, scores.shape)) for i in order]
        found.append(next((place[0], place[1]) for place in places if place not in found))
    return found


def story(preset: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Train and ask."""
    settings = resolve_settings({}, preset=preset).resolved()
    corpus = load_corpus()
    tokenizer = CharTokenizer.train([corpus.train, corpus.held_out])
    train, held_out = encode_corpus(corpus, tokenizer, settings.context_length)
    model = Model(model_config(settings, tokenizer.vocab_size), np.random.default_rng([settings.seed, 0]))
    trainer = Trainer(model, ThreadedGradients(model, settings.threads or 1), train, settings)
    questions = Questions(train, held_out, tokenizer, (corpus.train, corpus.held_out), settings.context_length)
    first = beginnings(model, questions.batch)
    say(f"{first}")
    stops = [stop for stop in STOPS if stop < settings.n_steps] + [settings.n_steps]
    grid = sorted({0, *np.unique(np.geomspace(1, settings.n_steps, 70).round().astype(int)).tolist()})
    moments, curve, losses = [], [], []
    sentence, early = SENTENCE[: settings.context_length], model.parameters()
    tables = {f"{name}, before": early[key].copy() for name, key in TABLES.items() if key in early}
    snapshots: dict[int, dict[str, np.ndarray]] = {}
    for step in range(settings.n_steps + 1):
        asked, before = step in stops, {}
        if step:
            if asked:
                before = {name: array.copy() for name, array in model.parameters().items()}
            record = trainer.step()
            losses.append(record.loss)
        if step in grid:
            recent = losses[-max(1, step // 10) :]
            curve.append([step, short(questions.quick(model)), short(np.mean(recent)) if recent else None])
        if not asked:
            continue
        moment = {"step": step, "tokens": trainer.n_tokens, "norm": short(record.grad_norm) if step else None}
        moment |= questions.ask(model, record.window if step else trainer.window)
        now = model.parameters()
        moment["weights"] = {part: short(value) for part, value in lengths(now).items()}
        if before:
            moved = lengths({name: now[name] - before[name] for name in now})
            moment["update"] = {part: short(value / moment["weights"][part]) for part, value in moved.items()}
        moments.append(moment)
        if step in (EARLY, stops[-1]):
            snapshots[step] = {name: array.copy() for name, array in now.items()}
        say(f"step {step}: held out {moment['held_out']:.4f}, known words {moment['known'][0]:.2f}")
    heads = chosen_heads(moments[-1]["heads"])
    drawn = {}
    passed = passage(model, questions, corpus.held_out)
    for step, arrays in snapshots.items():
        for name, array in model.parameters().items():
            array[:] = arrays[name]
        drawn[step] = maps(model, heads, tokenizer, sentence)
    tables |= {f"{name}, end": snapshots[stops[-1]][key] for name, key in TABLES.items() if key in early}
    R, T = questions.length, min(128, settings.context_length)
    return {
        "command": "python packages/fp-capstone/benchmarks/narrated_run.py",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "text": corpus.name,
        "sha256": corpus.sha256,
        "preset": preset,
        "settings": {name: getattr(settings, name) for name in SETTINGS},
        "parameters": model.config.n_parameters,
        "vocabulary": tokenizer.vocab_size,
        "characters": [len(corpus.train), len(corpus.held_out)],
        "marks": {order: short(loss.mean()) for order, loss in questions.ngrams.items()},
        "marks_by_kind": {
            order: {kind: short(loss[questions.kinds == kind].mean()) for kind in KINDS}
            for order, loss in questions.ngrams.items()
        },
        "kinds": {kind: short(np.mean(questions.kinds == kind)) for kind in KINDS},
        "known_held_out": questions.known([corpus.held_out]),
        "known_ngram": questions.known(questions.counted()),
        "edges": questions.edges,
        "first": first,
        "even": {
            "back": [short(even_share(T, d)) for d in range(FARTHEST + 1)],
            "distance": (T - 1) / 4,  # the mean of i / 2 over the queries i
            "induction": short(even_share(2 * R, R - 1, R)),
        },
        "repeat": R,
        "samples": [SAMPLES, SAMPLE],
        "few": {"tokens": questions.few.size - 1, "marks": {k: short(v) for k, v in questions.marks_of_few().items()}},
        "curve": curve,
        "moments": moments,
        "tables": {name: names(table, train, tokenizer) for name, table in tables.items()},
        "often": OFTEN,
        "maps": {"text": sentence, "heads": heads, "at": drawn},
        "passage": passed,
    }


def written(record: dict[str, Any]) -> str:
    """A line for each entry, and for each moment."""
    dumps = lambda value: json.dumps(value, ensure_ascii=False)  # noqa: E731
    lines = []
    for key, value in record.items():
        if key in ("moments", "curve"):
            lines.append(f"{dumps(key)}: [\n  " + ",\n  ".join(map(dumps, value)) + "\n ]")
        else:
            lines.append(f"{dumps(key)}: {dumps(value)}")
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    with threadpool_limits(limits=1, user_api="blas"):  # the threads share out the batch
        record = story(arguments.preset, say)
    unfinished = arguments.out.with_suffix(".new")
    unfinished.write_text(written(record), encoding="utf-8")
    unfinished.replace(arguments.out)


if __name__ == "__main__":
    main()
