"""
The time of a token against width, depth, context and batch: `hatch run bench:growth`.

A training step (forward, backward, AdamW) of the GPT-2 family, vocabulary 65, heads 32 wide, as `bench_train` takes it.
One size is changed, all others stay:

- width 32 to 512: 4 blocks, 16 texts of 64 tokens;
- depth 1 to 16: width 128, 16 texts of 64 tokens;
- context 16 to 1024: width 128, 4 blocks, 4096 tokens a step, so fewer texts as they get longer;
- batch 1 to 64: width 128, 4 blocks, texts of 64 tokens.

PyTorch eager takes turns with ours where it is installed. The median over the turns of a turn's median step, divided by
its tokens, is the time. Exponents are fitted to all points and to the upper half of them, to the times and to the flops
of `fp_capstone.growth`, (G1). Where the batch grows a line is fitted too, `once + B * each`, from four texts on. With
`--only` the rest of the file of results is kept, so that it can be measured in parts.
"""

import argparse
import datetime
import importlib.util
import json
import os
import pathlib
import statistics
from typing import Any

import numpy as np
from bench_train import OURS, Step, checked, machine, our_step, peak, peer_step, turn
from threadpoolctl import threadpool_limits

from fp_capstone.growth import fit_overhead, fit_power, token_flops
from fp_capstone.model import Model
from fp_transformer.config import TransformerConfig

KEPT = pathlib.Path(__file__).with_suffix(".json")
BASE = {"width": 128, "depth": 4, "context": 64, "batch": 16}
TOKENS = 4096  # a step, where the context grows
VALUES = {
    "width": (32, 64, 96, 128, 192, 256, 384, 512),
    "depth": (1, 2, 3, 4, 6, 8, 12, 16),
    "context": (16, 32, 64, 128, 256, 512, 1024),
    "batch": (1, 2, 4, 8, 16, 32, 64),
}


def make(what: str, value: int) -> tuple[TransformerConfig, np.ndarray, np.ndarray]:
    """Configuration, ids and targets of a point."""
    sizes = BASE | {what: value}
    if what == "context":
        sizes["batch"] = TOKENS // value
    T, C = sizes["context"], sizes["width"]
    config = TransformerConfig.gpt2(
        vocab_size=65, context_length=T, n_layers=sizes["depth"], n_heads=C // 32, d_model=C
    )
    text = np.random.default_rng(1).integers(0, 65, (sizes["batch"], T + 1))
    return config, text[:, :-1].copy(), text[:, 1:].copy()


def measure(what: str, value: int, peers: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """One point."""
    config, ids, targets = make(what, value)
    model = Model(config, np.random.default_rng(0))
    arrays = {key: a.copy() for key, a in model.parameters().items()}
    steps: dict[str, Step] = {OURS: our_step(model, options.threads)}
    steps |= {who: peer_step(who, config, arrays, options.threads) for who in peers}
    checked(steps, ids, targets)
    times: dict[str, list[float]] = {who: [] for who in steps}
    for i in range(options.turns):
        for who in list(steps) if i % 2 == 0 else reversed(steps):
            times[who].append(turn(steps[who], ids, targets, options.seconds, options.pause))
    work = token_flops(config, ids.shape[1])
    point: dict[str, Any] = {"value": value, "tokens": ids.size, "flops": work.total}
    point["pairs"] = round(work.shares["pairs"], 4)
    return point | {who: float(f"{statistics.median(t) / ids.size * 1e6:.5g}") for who, t in times.items()}


def fits(what: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """Exponents of each column, over all points and over their upper half; for the batch, lines."""
    x = np.array([point["value"] for point in points])
    found: dict[str, Any] = {}
    for who in [name for name in points[0] if name not in ("value", "tokens", "pairs")]:
        y = np.array([float(point[who]) for point in points])
        half = len(x) // 2
        found[who] = {}
        for part, chosen in (("all", slice(None)), ("upper", slice(half, None))):
            fit = fit_power(x[chosen], y[chosen])
            numbers = {"exponent": fit.exponent, "error": fit.error, "constant": fit.constant}
            found[who][part] = {name: float(f"{number:.4g}") for name, number in numbers.items()}
        if what == "batch" and who != "flops":
            # one thread takes the smallest batches, which are not on the line of the others
            several = x >= 4
            line = fit_overhead(x[several], (y * x * BASE["context"])[several])
            found[who]["line"] = {"once": float(f"{line.once:.4g}"), "each": float(f"{line.each:.4g}")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(VALUES), help="which of width, depth, context, batch")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.15, help="of one turn of one library")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds before each turn")
    parser.add_argument("--peers", default="eager", help="which of eager, compile, jax; or none")
    parser.add_argument("--json", type=pathlib.Path, default=KEPT, help="where the results go")
    options = parser.parse_args()
    needs = {"eager": "torch", "compile": "torch", "jax": "jax"}
    peers = [who for who in options.peers.split(",") if who in needs and importlib.util.find_spec(needs[who])]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    threadpool_limits(options.threads, user_api="blas")
    results = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    results |= {"command": "hatch run bench:growth", "date": datetime.date.today().isoformat(), "unit": "microseconds"}
    results["machine"] = machine(options.threads) | {"peak gflops": round(peak() / 1e9, 1)}
    for what in options.only.split(","):
        points = []
        for value in VALUES[what]:
            points.append(measure(what, value, peers, options))
            print(what, json.dumps(points[-1]), flush=True)
        results[what] = {"points": points, "fits": fits(what, points)}
        for who, found in results[what]["fits"].items():
            print(what, who, json.dumps(found), flush=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
