"""
A model that was trained on one text is moved to another: every method against full fine-tuning, at equal steps.

    python packages/fp-peft/benchmarks/bench_finetune.py RUN TEXT [--steps 100] [--out bench_finetune.json]

RUN is a run of `fp-capstone train` (here: on the language reference that Python carries, by characters), TEXT another
text. Each method starts at the same model, sees the same pieces in the same order, and is measured on the same held-out
tokens, with the best of its rates by the loss on pieces of the training text that are drawn for that. Steps of
different methods alternate for the timing, so that a busy machine is busy for all of them.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fp_optim import AdamW
from fp_peft.bases import open_base
from fp_peft.data import Text
from fp_peft.finetune import Settings, fine_tune, held_out_loss
from fp_peft.wrapping import work, wrap

RATES = {
    "full": (1e-3, 3e-3),
    "lora": (3e-3, 1e-2),
    "adapter": (3e-3, 1e-2),
    "prefix": (1e-2, 5e-2),
    "prompt": (3e-2, 1e-1),
}
RANKS = {"full": 1, "lora": 8, "adapter": 16, "prefix": 16, "prompt": 16}
LENGTH, BATCH = 96, 6


def step_times(run: str, text: Text, turns: int = 7) -> dict[str, dict[str, Any]]:
    """Seconds of a training step, methods in turn, and what was computed on the way back."""
    steps: dict[str, Any] = {}
    for method in RATES:
        base = open_base(run).model.train()
        made = Settings(method=method, rank=RANKS[method]).make()
        tuned = base if made is None else wrap(base, made, rng=np.random.default_rng(0))
        parameters = {n: p for n, p in tuned.named_parameters().items() if p.requires_grad}
        optimizer = AdamW({n: p.data for n, p in parameters.items()}, lr=1e-6)
        steps[method] = (tuned, parameters, optimizer)
    ids, targets = text.draw(np.random.default_rng(0), BATCH)
    taken: dict[str, list[float]] = {method: [] for method in steps}
    for turn in range(turns + 1):
        for method, (tuned, parameters, optimizer) in steps.items():
            begun = time.perf_counter()
            tuned.loss(ids, targets).backward()
            optimizer.step({n: p.grad for n, p in parameters.items()})
            tuned.zero_grad()
            if turn:  # the first warms up
                taken[method].append(time.perf_counter() - begun)
    found = {}
    for method, (tuned, *_) in steps.items():
        counted = work(tuned, ids, targets)
        ratios = np.array(taken[method]) / np.array(taken["full"])
        found[method] = {
            "step_seconds": round(float(np.median(taken[method])), 4),
            "ratio_to_full": [round(float(x), 3) for x in (np.median(ratios), ratios.min(), ratios.max())],
            "weight_products": sum(counted.weight_products.values()),
            "products": sum(counted.products.values()),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("text", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    content = options.text.read_text(encoding="utf-8")
    base = open_base(options.run)
    ids = np.asarray(base.tokenizer.encode_array(content))
    text = Text(ids, LENGTH, limit=LENGTH * 64)
    choosing = Text(text.train, LENGTH, share=0.02, limit=LENGTH * 32)
    results: dict[str, Any] = {}
    for method, rates in RATES.items():
        tried = {}
        for lr in rates:  # a fifth of the steps tell which rate is better
            settings = Settings(method=method, rank=RANKS[method], lr=lr, steps=options.steps // 5, batch_size=BATCH)
            tried[lr] = fine_tune(open_base(options.run).model, choosing, settings).after
        lr = min(tried, key=tried.__getitem__)
        settings = Settings(method=method, rank=RANKS[method], lr=lr, steps=options.steps, batch_size=BATCH)
        result = fine_tune(open_base(options.run).model, text, settings)
        results[method] = {
            "rank": RANKS[method],
            "lr": lr,
            "n_trainable": result.n_trainable,
            "before": round(result.before, 4),
            "after": round(result.after, 4),
        }
        print(method, results[method], file=sys.stderr, flush=True)
    for method, times in step_times(options.run, text).items():
        results[method] |= times
        print(method, times, file=sys.stderr, flush=True)
    report = {
        "command": "python packages/fp-peft/benchmarks/bench_finetune.py RUN TEXT",
        "date": time.strftime("%Y-%m-%d"),
        "model": {"parameters": base.model.config.n_parameters, "blocks": base.model.config.n_layers,
                  "width": base.model.config.d_model},
        "text": {"name": options.text.name, "sha256": hashlib.sha256(content.encode()).hexdigest()},
        "steps": options.steps, "batch": BATCH, "length": LENGTH,
        "held_out_tokens": len(text.kept) - 1,
        "base_loss": round(held_out_loss(base.model, text, BATCH), 4),
        "methods": results,
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
