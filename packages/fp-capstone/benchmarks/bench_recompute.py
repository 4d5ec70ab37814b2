"""
What recomputation costs in time: `hatch run bench:recompute`.

A training step of the GPT-2 family at the sizes of `bench_train.py`, with the tapes kept and with the tapes computed
again, in turns; medians.
"""

import argparse
import datetime
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
from bench_train import SIZES

from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_optim.adaptive import AdamW
from fp_transformer.config import TransformerConfig

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(size: str, turns: int, seconds: float) -> dict[str, object]:
    T, L, H, C, B = SIZES[size]
    config = TransformerConfig.gpt2(vocab_size=65, context_length=T, n_layers=L, n_heads=H, d_model=C)
    model = Model(config, np.random.default_rng(0))
    optimizer = AdamW(model.parameters(), lr=1e-4, threads=THREADS)
    text = np.random.default_rng(1).integers(0, 65, (B, T + 1))
    ways = {name: ThreadedGradients(model, THREADS, name == "again") for name in ("kept", "again")}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, gradients in ways.items():
            optimizer.step(gradients(text[:, :-1], text[:, 1:])[1])  # wakes the threads
            times: list[float] = []
            while sum(times) < seconds or len(times) < 2:
                start = time.perf_counter()
                optimizer.step(gradients(text[:, :-1], text[:, 1:])[1])
                times.append(time.perf_counter() - start)
            took[name].append(statistics.median(times))
    kept, again = (statistics.median(times) for times in took.values())
    return {
        "size": size,
        "kept ms": round(kept * 1e3, 2),
        "again ms": round(again * 1e3, 2),
        "ratio": round(again / kept, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="cpu,mid,baby")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one turn of one way")
    parser.add_argument("--json", help="write the results here as well")
    arguments = parser.parse_args()
    results = []
    for size in arguments.sizes.split(","):
        results.append(measure(size, arguments.turns, arguments.seconds))
        print(json.dumps(results[-1]), flush=True)
    if arguments.json:
        found = {
            "date": datetime.date.today().isoformat(),
            "threads": THREADS,
            "numpy": np.__version__,
            "results": results,
        }
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
