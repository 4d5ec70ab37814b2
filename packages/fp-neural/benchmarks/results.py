"""
The results of the chapter: networks beside tables, on names and on Shakespeare.

    python packages/fp-neural/benchmarks/results.py names NAMES.txt
    python packages/fp-neural/benchmarks/results.py text TINYSHAKESPEARE.txt

Names are split as makemore splits them: shuffled with seed 42, then 80, 10 and 10 parts in a hundred. What is chosen
(the steps and sizes below, the order of the table to compare with) is chosen by the loss on the middle part, `dev`, and
reported is that on the last, `test`. A text is split in two, the last tenth being `test`; there is no middle part, so
the table to compare with is the one that is best there, which is in its favour. The recurrent network's settings are
the second that were tried; `lstm-first` are the first.

For each network are kept its settings, the number of its parameters, the seconds of training, its losses in nats per
token, those on the way, and how much it is better than the best table, with the standard error of that difference. Of
names the resampled units are whole names, of a text blocks of a thousand characters. A perceptron is also compared with
the table that sees as many tokens.

`--only mlp,lstm` trains those whose names begin so. What was measured is merged, model by model, into the file that the
figures are drawn from, or that of `--json`, after each model: a long run can be done in parts.
"""

import argparse
import datetime
import hashlib
import itertools
import json
import os
import pathlib
import platform
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fp_markov._files import check_replaceable, read_text, replacing
from fp_markov.comparison import block_bootstrap
from fp_markov.experiment import split
from fp_markov.ngram import NGramModel
from fp_markov.vocabulary import Vocabulary
from fp_neural.experiment import Settings, run

FIGURES = pathlib.Path(__file__).parents[1] / "figures"
KEPT = {"names": FIGURES / "_names.json", "text": FIGURES / "_tinyshakespeare.json"}
ORDERS = range(1, 9)
BLOCK, N_RESAMPLES = 1000, 4000
N_POINTS = 20  # of the curve of each network

RECIPES: dict[str, dict[str, Settings]] = {
    "names": {
        "mlp": Settings(
            "mlp", context=3, dim=24, hidden=300, steps=40000, batch_size=128, rate=0.3, max_norm=5, falling=0.7,
            normalize=True,
        ),
        "lstm": Settings(
            "lstm", dim=64, hidden=256, steps=7000, batch_size=64, length=32, rate=4.0, max_norm=1.0, falling=0.8,
            dropout=0.3,
        ),
    },
    "text": {
        **{
            f"mlp-{k}": Settings(
                "mlp", context=k, dim=24, hidden=256, steps=20000, batch_size=256, rate=0.3, max_norm=5, falling=0.7,
                normalize=True,
            )
            for k in (1, 2, 4, 6)
        },
        "lstm-first": Settings(
            "lstm", dim=128, hidden=512, steps=4000, batch_size=32, length=64, rate=3.0, max_norm=1.0, falling=0.7,
            dropout=0.1,
        ),
        "lstm": Settings(
            "lstm", dim=128, hidden=512, steps=8000, batch_size=32, length=64, rate=4.0, max_norm=1.0, falling=0.7,
            dropout=0.2,
        ),
    },
}  # fmt: skip

Losses = dict[str, np.ndarray]


@dataclass
class Task:
    """A text in parts, and how its losses are put into independent units."""

    about: str
    training: str
    parts: dict[str, str]
    lines: bool

    def encode(self, vocabulary: Vocabulary, text: str) -> np.ndarray:
        return (vocabulary.encode_sentences if self.lines else vocabulary.encode)(text)

    def losses(self, model: Any, vocabulary: Vocabulary) -> Losses:
        """Nats for each token of each part, by any model of tokens."""
        found = {}
        for name, text in self.parts.items():
            ids = self.encode(vocabulary, text)
            found[name] = -model.log_prob(ids)[ids != vocabulary.bos]
        return found

    def difference(self, ours: Losses, theirs: Losses) -> dict[str, float]:
        """By how much the loss per token of the last part is higher, and the standard error of that."""
        d = ours["test"] - theirs["test"]
        length = min(BLOCK, max(1, len(d) // 20))  # of too few blocks the error is noise
        if self.lines:
            lengths = np.array([len(line) + 1 for line in self.parts["test"].split("\n") if line])  # and its end
            assert lengths.sum() == len(d)
            d, length = np.add.reduceat(d, np.cumsum(lengths) - lengths) / lengths.mean(), 1
        mean, error = block_bootstrap(d, length, N_RESAMPLES, np.random.default_rng(0))
        return {"mean": round(mean, 5), "standard error": round(error, 5)}


def names(text: str) -> Task:
    lines = text.splitlines()
    random.Random(42).shuffle(lines)
    cuts = [0, int(0.8 * len(lines)), int(0.9 * len(lines)), len(lines)]
    training, dev, test = ("\n".join(lines[a:b]) + "\n" for a, b in itertools.pairwise(cuts))
    about = "shuffled with seed 42; training 80, dev 10, test 10 parts in a hundred"
    return Task(about, training, {"dev": dev, "test": test}, lines=True)


def whole(text: str) -> Task:
    training, test = split(text, 0.1)
    return Task("test is the last tenth, cut at a line", training, {"test": test}, lines=False)


TASKS: dict[str, Callable[[str], Task]] = {"names": names, "text": whole}


def means(losses: Losses) -> dict[str, float]:
    return {part: round(float(values.mean()), 5) for part, values in losses.items()}


def count(task: Task, say: Callable[[str], None]) -> tuple[dict[int, Losses], dict[str, Any]]:
    """Modified Kneser-Ney models of every order: their losses, and what is kept of them."""
    vocabulary = Vocabulary.from_text(task.training, unknown=True, sentences=task.lines)
    ids = task.encode(vocabulary, task.training)
    losses, kept = {}, {}
    for order in ORDERS:
        model = NGramModel(order, len(vocabulary), "modified_kneser_ney", bos=vocabulary.bos)
        start = time.perf_counter()
        model.fit(ids)
        seconds = time.perf_counter() - start
        losses[order] = task.losses(model, vocabulary)
        row = {"n_ngrams": sum(model.n_ngrams), "seconds": round(seconds, 3), **means(losses[order])}
        kept[str(order)] = row
        say(f"table of order {order}: {row}")
    return losses, kept


def learn(name: str, settings: Settings, task: Task, tables: dict[int, Losses], say: Callable[[str], None]) -> dict:
    """What is kept of a network."""
    first = next(iter(task.parts))  # dev, or test where there is none
    trial = run(
        task.training, task.parts[first], settings, lines=task.lines, every=max(1, settings.steps // N_POINTS),
        watch=lambda n, loss: say(f"{name}: {n:,} steps, {loss:.4f}"),
    )  # fmt: skip
    losses = task.losses(trial.model, trial.vocabulary)
    best = min(tables, key=lambda order: tables[order][first].mean())
    against = {"best table": best}
    if settings.model == "mlp" and settings.context + 1 in tables:
        against["table of equal context"] = settings.context + 1
    return {
        "settings": asdict(settings),
        "n_parameters": trial.model.n_parameters,
        "seconds": round(trial.seconds, 1),
        **means(losses),
        "curve": {
            "of": first,
            "steps": [n for n, _ in trial.history.held_out],
            "losses": [round(loss, 5) for _, loss in trial.history.held_out],
        },
        "differences": {
            what: {"order": order, **task.difference(losses, tables[order])} for what, order in against.items()
        },
        "date": today(),
        "machine": machine(),
    }


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def machine() -> dict[str, Any]:
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    return {
        "processor": found[1] if found else platform.processor() or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "as many"),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def earlier(path: pathlib.Path, sha256: str) -> dict[str, Any]:
    """The networks measured before on the same text."""
    if not path.exists():
        return {}
    kept = json.loads(path.read_text("utf8"))
    if kept["text"]["sha256"] != sha256:
        raise ValueError(f"{path} holds the results of another text: move it, or give another file with --json")
    return kept["models"]


def measure(kind: str, text: str, path: pathlib.Path, chosen: list[str], name: str, say: Callable[[str], None]) -> None:
    """Count, train what was chosen, and merge all of it into the file."""
    recipes, sha256 = RECIPES[kind], hashlib.sha256(text.encode()).hexdigest()
    strange = [c for c in chosen if not any(recipe.startswith(c) for recipe in recipes)]
    if strange:
        raise ValueError(f"the recipes for {kind} are {', '.join(recipes)}; none begins with {strange[0]!r}")
    check_replaceable(path)
    models, task = earlier(path, sha256), TASKS[kind](text)
    losses, tables = count(task, say)
    report = {
        "command": f"python packages/fp-neural/benchmarks/results.py {kind} {name}",
        "date": today(),
        "machine": machine(),
        "text": {"name": name, "characters": len(text), "sha256": sha256},
        "split": task.about,
        "tables": tables,
    }

    def write() -> None:
        ordered = {name: models[name] for name in recipes if name in models}  # those without a recipe are gone
        content = json.dumps(report | {"models": ordered}, indent=1) + "\n"
        lists_on_a_line = re.sub(r"\[[^\[\]]*\]", lambda found: " ".join(found[0].split()), content)
        with replacing(path) as file:
            file.write(lists_on_a_line.encode())

    write()
    for model, settings in recipes.items():
        if not chosen or model.startswith(tuple(chosen)):
            models[model] = learn(model, settings, task, losses, say)
            say(f"{model}: { ({key: value for key, value in models[model].items() if key != 'curve'}) }")
            write()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=TASKS)
    parser.add_argument("text", metavar="FILE")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="train those whose names begin so (all)")
    parser.add_argument("--json", type=pathlib.Path, metavar="PATH", help="where to keep what was measured")
    options = parser.parse_args(argv)
    chosen = [name for name in options.only.split(",") if name]
    try:
        text = read_text(options.text)
        path = options.json or KEPT[options.kind]
        measure(options.kind, text, path, chosen, pathlib.Path(options.text).name, lambda line: print(line, flush=True))
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
