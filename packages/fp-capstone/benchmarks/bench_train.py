"""
A training step of `fp_capstone` against the same model in PyTorch and JAX: `hatch run bench:train`.

The peers are PyTorch eager with its fused attention and its fused AdamW, the same through `torch.compile`, and JAX with
the whole step in one jitted function that writes over its arguments; one that is not installed is left out. All take
the same step (forward, backward, AdamW) from the same weights in float32, which is checked before anything is timed:
the first losses agree, and those after three steps. They have the same number of threads and take turns in one process,
in one order and then in the other. Before each turn there is a pause, because the threads of a library spin for a while
after their work is done, and one step that is not timed.

What is printed is the median over the turns of a turn's median step; the ratio to each peer (below one: faster than the
peer) with its range over the turns; and the share of the machine's peak, which is that of a large float32 matrix
product in NumPy's BLAS. The flops are those that the mathematics needs (`transformer.training-flops`), nothing for the
masked half of attention or for what a library computes twice.
"""

import argparse
import datetime
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_info, threadpool_limits

from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_optim.adaptive import AdamW
from fp_transformer.config import TransformerConfig
from fp_transformer.counting import training_flops

# context, layers, heads, width, batch
SIZES = {
    "tiny": (32, 2, 2, 32, 8),
    "cpu": (64, 4, 4, 128, 12),
    "mid": (128, 4, 4, 256, 16),
    "baby": (256, 6, 6, 384, 16),
    "small": (256, 4, 4, 128, 4),
}
HYPER: dict[str, Any] = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.1}
OURS, PEERS = "fp_capstone", ("eager", "compile", "jax")
Step = Callable[[np.ndarray, np.ndarray], float]


def our_step(model: Model, threads: int) -> Step:
    gradients = ThreadedGradients(model, threads)
    optimizer = AdamW(model.parameters(), **HYPER, threads=threads)

    def step(ids: np.ndarray, targets: np.ndarray) -> float:
        loss, grads = gradients(ids, targets)
        optimizer.step(grads)
        return loss

    return step


def peer_step(who: str, config: TransformerConfig, arrays: dict[str, np.ndarray], threads: int) -> Step:
    if who == "jax":
        from _jax_peer import jax_step

        return jax_step(config, arrays, HYPER)
    from _torch_peer import torch_step

    return torch_step(config, arrays, HYPER, threads, compiled=who == "compile")


def make(name: str, family: str) -> tuple[TransformerConfig, np.ndarray, np.ndarray]:
    """Configuration, ids and targets of a size."""
    T, L, H, C, B = SIZES[name]
    sizes = {"vocab_size": 65, "context_length": T, "n_layers": L, "n_heads": H, "d_model": C}
    text = np.random.default_rng(1).integers(0, 65, (B, T + 1))
    return getattr(TransformerConfig, family)(**sizes), text[:, :-1].copy(), text[:, 1:].copy()


def peak() -> float:
    """float32 operations a second of a large matrix product, the best of several."""
    a = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    out, best = np.empty_like(a), 0.0
    for _ in range(8):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        best = max(best, 2 * 2048**3 / (time.perf_counter() - start))
    return best


def machine(threads: int) -> dict[str, Any]:
    """What the numbers depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    blas = [
        f"{library['internal_api']} {library['version']}, {library.get('architecture', 'architecture unknown')}"
        for library in threadpool_info()
        if library["user_api"] == "blas" and "numpy" in library["filepath"]
    ]
    settings = ("OPENBLAS_", "OMP_", "MKL_", "XLA_")
    found = {
        "processor": f"{model}, {platform.machine()}",
        "threads": threads,
        "blas": blas,
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(settings)},
        "python": sys.version.split()[0],
        "numpy": np.__version__,
    }
    return found | {name: version(name) for name in ("torch", "jax") if importlib.util.find_spec(name)}


def checked(steps: dict[str, Step], ids: np.ndarray, targets: np.ndarray) -> None:
    """Compile, warm up, and compare losses."""
    for turn, tolerance in enumerate((2e-5, 2e-3, 2e-3)):
        # float32 alone at first; then steps of Adam amplify the rounding of small gradients
        losses = {who: step(ids, targets) for who, step in steps.items()}
        if np.ptp(list(losses.values())) > tolerance:
            raise SystemExit(f"after {turn} steps the losses differ: {losses}")


def turn(step: Step, ids: np.ndarray, targets: np.ndarray, seconds: float, pause: float) -> float:
    """Median seconds of a step, once the threads of the library before have gone to sleep."""
    time.sleep(pause)
    step(ids, targets)
    took: list[float] = []
    while sum(took) < seconds or len(took) < 3:
        start = time.perf_counter()
        step(ids, targets)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def measure(name: str, peers: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """One row."""
    config, ids, targets = make(name, options.family)
    model = Model(config, np.random.default_rng(0))
    arrays = {key: a.copy() for key, a in model.parameters().items()}
    steps = {OURS: our_step(model, options.threads)}
    steps |= {who: peer_step(who, config, arrays, options.threads) for who in peers}
    checked(steps, ids, targets)
    times: dict[str, list[float]] = {who: [] for who in steps}
    for i in range(options.turns):
        for who in list(steps) if i % 2 == 0 else reversed(steps):
            times[who].append(turn(steps[who], ids, targets, options.seconds, options.pause))
    ours = statistics.median(times[OURS])
    row: dict[str, Any] = {"size": name, "family": options.family, "parameters": config.n_parameters}
    row |= {"tokens": ids.size} | {f"{who} ms": round(statistics.median(t) * 1e3, 3) for who, t in times.items()}
    for who in peers:
        ratios = sorted(a / b for a, b in zip(times[OURS], times[who], strict=True))
        row[f"ratio to {who}"] = [round(r, 3) for r in (statistics.median(ratios), ratios[0], ratios[-1])]
    if peers:
        row["best peer"] = min(peers, key=lambda who: row[f"{who} ms"])
        row["ratio to best"] = row[f"ratio to {row['best peer']}"]
    row["gflops"] = round(len(ids) * training_flops(config, ids.shape[1]) / ours / 1e9, 1)
    return row


def show(rows: list[dict[str, Any]], peers: list[str], found: dict[str, Any]) -> None:
    """The table, for people."""
    titles = {OURS: "fp-capstone", "eager": "PyTorch", "compile": "torch.compile", "jax": "JAX jit"}
    blas = ", ".join(found["blas"]) or "BLAS unknown"
    table = Table(
        title=f"milliseconds a training step, {rows[0]['family']}, {found['threads']} threads",
        caption=f"{found['processor']}; {blas}; peak {found['peak gflops']} GFLOP/s. Below a peer's time: ours to it,\n"
        "median and range over the turns.",
        show_lines=True,
    )
    table.add_column("size")
    for who in (OURS, *peers):
        table.add_column(titles[who], justify="right")
    for title in ("to the best", "GFLOP/s", "of peak"):
        table.add_column(title, justify="right")

    def ratio(values: list[float]) -> str:
        return f"{values[0]:.2f} ({values[1]:.2f}–{values[2]:.2f})"

    for row in rows:
        cells = [f"{row['size']}\n{row['parameters']:,}", f"{row[f'{OURS} ms']:,.2f}"]
        cells += [f"{row[f'{who} ms']:,.2f}\n{ratio(row[f'ratio to {who}'])}" for who in peers]
        cells += [f"{row['ratio to best'][0]:.3f}\n{titles[row['best peer']]}" if peers else "–"]
        table.add_row(*cells, f"{row['gflops']:.1f}", f"{row['share of peak']:.0%}")
    console = Console()
    Console(width=max(console.width, 119)).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="tiny,cpu,mid,baby")
    parser.add_argument("--family", default="gpt2", choices=("gpt2", "llama"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn of one library")
    parser.add_argument("--pause", type=float, default=0.15, help="seconds before each turn")
    parser.add_argument("--peers", default=",".join(PEERS), help="which of eager, compile, jax; or none")
    parser.add_argument("--json", help="write the results here as well")
    options = parser.parse_args()
    needs = {"eager": "torch", "compile": "torch", "jax": "jax"}
    peers = [who for who in PEERS if who in options.peers.split(",")]
    for who in [who for who in peers if importlib.util.find_spec(needs[who]) is None]:
        print(f"{who} is left out: {needs[who]} is not installed")
        peers.remove(who)
    # XLA counts the processors that it may use when JAX is imported, which has not happened yet
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    threadpool_limits(options.threads, user_api="blas")
    found = machine(options.threads) | {"peak gflops": 0.0}
    rows = []
    for name in options.sizes.split(","):
        found["peak gflops"] = max(found["peak gflops"], round(peak() / 1e9, 1))
        rows.append(measure(name, peers, options))
        print(json.dumps(rows[-1]), flush=True)
    for row in rows:
        row["share of peak"] = round(row["gflops"] / found["peak gflops"], 3)
    show(rows, peers, found)
    if options.json:
        result = {"command": "hatch run bench:train", "date": datetime.date.today().isoformat(), "machine": found}
        text = json.dumps(result | {"results": rows}, indent=1)
        pathlib.Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
