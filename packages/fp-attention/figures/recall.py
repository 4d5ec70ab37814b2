"""
Who learns to look things up, how far it carries beyond the length of training, and where the learned heads look.

The numbers are kept in `_recall.json` and were measured by

    python packages/fp-attention/figures/recall.py

which takes some minutes; with words after it, it measures those rows anew whose names contain one of them.
"""

import datetime
import json
import math
import os
import platform
import sys
import textwrap
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fp_attention.experiment import AttentionReader, Settings, recall_texts, run
from fp_attention.maps import attention_svg
from fp_neural.module import Module

KEPT = Path(__file__).parent / "_recall.json"
SEEDS = (0, 1, 2)
LENGTHS = (8, 16, 32)
MODELS = {
    "attention, 2 layers": Settings(),
    "attention, 1 layer": Settings(layers=1),
    "attention, 1 layer of 8 heads": Settings(layers=1, heads=8),
    "attention, 1 layer of 8 heads, learned positions": Settings(layers=1, heads=8, positions="learned"),
    "LSTM": Settings("lstm", rate=8.0),
    "LSTM, four times the steps": Settings("lstm", rate=8.0, steps=8000),
    "perceptron, sees the whole text": Settings("mlp", context=25, dim=16, hidden=256, rate=2.0),
    "perceptron, sees 8 tokens": Settings("mlp", context=8, dim=16, hidden=256, rate=2.0),
}
POSITIONS = {
    "none": Settings(heads=2, positions="none"),
    "learned": Settings(heads=2, positions="learned"),
    "sinusoidal": Settings(heads=2, positions="sinusoidal"),
    "RoPE": Settings(heads=2, positions="rope"),
    "ALiBi": Settings(heads=2, positions="alibi"),
    "relative bias": Settings(heads=2, positions="relative"),
}
SHOWN = Settings()  # whose maps are drawn
Results = dict[str, Any]


def measure(settings: Settings) -> Results:
    """One row: a run for each seed."""
    found: Results = {"settings": asdict(settings), "accuracy": [], "steps": [], "seconds": []}
    for seed in SEEDS:
        trial = run(replace(settings, seed=seed), lengths=LENGTHS)
        found["accuracy"].append([trial.accuracy[n] for n in LENGTHS])
        found["steps"].append(trial.steps_to(0.9))
        found["seconds"].append(round(trial.history.seconds, 1))
    return found | {"parameters": trial.model.n_parameters}


def looks(model: Module) -> Results:
    """The maps of a text of six pairs, and over many texts how much weight lies where (E2) puts it."""
    assert isinstance(model, AttentionReader)
    rng = np.random.default_rng(3)
    ids, answers = recall_texts(6, 1, rng, n_questions=3, n_keys=26)
    ids = np.where(ids > 26, ids + 32 - 26, ids)  # keys that have a letter; the model knows six more
    answers = answers + 32 - 26
    maps = [P[0, 0] for P in model.maps(ids)]
    many, right = recall_texts(8, 200, rng)
    first, second = (P[:, 0] for P in model.maps(many))
    places = np.arange(2, 17, 2)  # of values
    there = (many[:, None, :] == right[:, :, None]).argmax(axis=-1)  # of the answers
    found = np.take_along_axis(second[:, 17:], there[..., None], axis=-1)
    return {
        "ids": ids[0].tolist(),
        "answers": answers[0].tolist(),
        "weights": [np.round(P, 3).tolist() for P in maps],
        "previous": round(float(first[:, places, places - 1].mean()), 3),
        "match": round(float(found.mean()), 3),
    }


def label(token: int) -> str:
    """The dot, letters for keys, numbers for values."""
    return "." if token == 0 else chr(ord("a") + token - 1) if token <= 26 else str(token - 32)


def shares(row: Results, i: int) -> str:
    """The mean of the runs at one length, and from the least to the best."""
    found = [accuracy[i] for accuracy in row["accuracy"]]
    if None in found:
        return "cannot"
    low, high = f"{min(found):.3f}", f"{max(found):.3f}"
    return f"{np.mean(found):.3f}" + (f"<br/><small>{low} to {high}</small>" if low != high else "")


def table(caption: str, names: list[str], results: Results) -> str:
    rows = []
    for name in names:
        row = results["rows"][name]
        steps = sorted({n or math.inf for n in row["steps"]})
        told = [f"{n:,}" if n < math.inf else "never" for n in steps[:1] + steps[1:][-1:]]
        cells = [shares(row, i) for i in range(len(LENGTHS))]
        cells += [" to<br/>".join(told), f"{row['settings']['rate']:g}"]
        cells += [f"{row['parameters']:,}<br/><small>{np.median(row['seconds']):.0f} s</small>"]
        first = "<br/>".join(textwrap.wrap(escape(name), 20))
        rows.append(f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    heads = ["", *(f"{n} pairs" for n in LENGTHS), "steps<br/>to 90%", "rate", "numbers,<br/>time"]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def render() -> str:
    """The maps, how all was measured, and two tables."""
    results = json.loads(KEPT.read_text(encoding="utf-8"))
    shown = results["shown"]
    labels = [label(token) for token in shown["ids"]]
    told = ", ".join(f"{q}: {label(a)}" for q, a in zip(labels[-3:], shown["answers"], strict=True))
    picture = attention_svg(
        np.array(shown["weights"]),
        labels,
        title=f"Two trained layers, one head each. Six pairs, three questions ({told})",
        heads=["layer 1: the token before", "layer 2: the match"],
    )
    settings = results["rows"]["attention, 2 layers"]["settings"]
    about = (
        f"Share of right answers in new texts, mean of {len(SEEDS)} seeds with the least and the largest. Trained on "
        f"texts of {settings['pairs']} pairs from {settings['n_keys']} keys and {settings['n_values']} values, "
        f"{settings['batch_size']} a step, all new, in {settings['steps']:,} steps. Who knows the values of a text and "
        "guesses is right on one of 8, of 16, of 32. Attention has relative biases and one head where nothing else is "
        "said. How far a model had come was measured every 50 steps. Rates were chosen on seed 0. Attention does "
        "nearly as well at 0.5 and 2, and at 4 does not carry as far; the LSTM was tried at 1, 4, 8 and 16; the "
        "perceptron that sees all was no better at 0.5, 1 and 4. In two layers the first gives "
        f"{shown['previous']:.0%} of a value's weight to the key before it, and the second {shown['match']:.0%} of a "
        "question's to the answer, in texts of 8 pairs. Numbers are those that are trained, and the time is the "
        f"median. Measured on {escape(results['date'])} ({escape(results['machine'])}), one thread, beside other work."
    )
    who = "Share of right answers, by model"
    how = "The same with each kind of positions, in two layers of two heads"
    return f"{picture}<p>{about}</p>{table(who, list(MODELS), results)}{table(how, list(POSITIONS), results)}"


def main(words: list[str]) -> None:
    results: Results = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"rows": {}}
    for name, settings in {**MODELS, **POSITIONS}.items():
        if words and not any(word in name for word in words):
            continue
        results["rows"][name] = measure(settings)
        sys.stdout.write(f"{name}: {results['rows'][name]['accuracy']}\n")
        sys.stdout.flush()
    if not words or "shown" in words:
        results["shown"] = looks(run(SHOWN).model)
    results["date"] = datetime.date.today().isoformat()
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} processors, NumPy {np.__version__}"
    new = KEPT.with_suffix(".new")
    new.write_text(json.dumps(results, separators=(",", ":")) + "\n", encoding="utf-8")
    new.replace(KEPT)


if __name__ == "__main__":
    main(sys.argv[1:])
