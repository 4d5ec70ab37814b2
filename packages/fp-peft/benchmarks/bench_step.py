"""
What a training step of a large model costs with frozen weights: seconds, products and memory, against training in full.

    python packages/fp-peft/benchmarks/bench_step.py MODEL [--out bench_step.json]

MODEL as for `fp-peft finetune`, such as smollm2. Methods take turns on the same batch.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fp_optim import AdamW
from fp_peft.bases import open_base
from fp_peft.finetune import Settings
from fp_peft.wrapping import work, wrap

BATCH, LENGTH, TURNS = 2, 96, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    base = open_base(options.model).model
    ids = np.random.default_rng(0).integers(0, base.config.vocab_size, (BATCH, LENGTH + 1))
    pair = ids[:, :-1], ids[:, 1:]
    taken: dict[str, list[float]] = {}
    found: dict[str, Any] = {}
    runs: dict[str, Any] = {}
    for method, rank in (("full", 1), ("lora", 8), ("prompt", 16)):
        made = Settings(method=method, rank=rank).make()
        model = base if made is None else wrap(base, made, rng=np.random.default_rng(0))
        parameters = {n: p for n, p in model.named_parameters().items() if p.requires_grad}
        optimizer = AdamW({n: p.data for n, p in parameters.items()}, lr=0.0, weight_decay=0.0)
        runs[method], taken[method] = (model.train(), parameters, optimizer), []
        size = sum(p.size for p in parameters.values())
        found[method] = {"n_trainable": size, "gradient_and_state_megabytes": round(3 * 4 * size / 2**20, 1)}
    for turn in range(TURNS + 1):
        for method, (model, parameters, optimizer) in runs.items():
            begun = time.perf_counter()
            model.loss(*pair).backward()
            optimizer.step({n: p.grad for n, p in parameters.items()})
            model.zero_grad()
            if turn:  # the first warms up
                taken[method].append(time.perf_counter() - begun)
    for method, (model, *_) in runs.items():
        ratios = np.array(taken[method]) / np.array(taken["full"])
        found[method] |= {
            "step_seconds": round(float(np.median(taken[method])), 3),
            "ratio_to_full": [round(float(x), 3) for x in (np.median(ratios), ratios.min(), ratios.max())],
            "weight_products": sum(work(model, *pair).weight_products.values()),
        }
        print(method, found[method], file=sys.stderr)
    report = {"command": f"python packages/fp-peft/benchmarks/bench_step.py {options.model}",
              "date": time.strftime("%Y-%m-%d"), "batch": BATCH, "length": LENGTH, "methods": found}  # fmt: skip
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
