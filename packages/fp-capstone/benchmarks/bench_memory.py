"""
The memory of a training step, measured, against the sum by formula: `hatch run bench:memory`.

Each row is measured in processes of its own, one for each of two views:

- *allocated*: the peak of what NumPy has allocated, as `tracemalloc` sees it, in the third and fourth step, and
  in the first one, in which the arena learns how large it has to be;
- *resident*: by how much the process's resident set grows at most, from when the libraries have been imported and have
  taken a step of a tiny model to the end of the fourth step.

The sum is that of `fp_capstone.growth.step_memory`: parameters, gradients of each thread, AdamW's moments, and tapes.
PyTorch eager is the peer; its allocations are not NumPy's, so it has the second view alone.
"""

import argparse
import datetime
import inspect
import json
import os
import pathlib
import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
from bench_train import HYPER, SIZES, Step, machine, make, peer_step
from rich.console import Console
from rich.table import Table

from fp_capstone.growth import step_memory
from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_optim.adaptive import AdamW

KEPT = pathlib.Path(__file__).with_suffix(".json")
WAYS = {
    "ours": "fp-capstone",
    "again": "fp-capstone, tapes computed again",
    "eager": "PyTorch",
    "compile": "torch.compile",
    "jax": "JAX jit",
}


def our_step(model: Model, threads: int, recompute: bool) -> Step:
    gradients = ThreadedGradients(model, threads, **({"recompute": True} if recompute else {}))
    optimizer = AdamW(model.parameters(), **HYPER, threads=threads)

    def step(ids: np.ndarray, targets: np.ndarray) -> float:
        loss, grads = gradients(ids, targets)
        optimizer.step(grads)
        return loss

    return step


def build(way: str, size: str, family: str, threads: int) -> tuple[Step, np.ndarray, np.ndarray]:
    """A step, and what it learns from."""
    config, ids, targets = make(size, family)
    model = Model(config, np.random.default_rng(0))
    if way in ("ours", "again"):
        return our_step(model, threads, recompute=way == "again"), ids, targets
    return peer_step(way, config, model.parameters(), threads), ids, targets


def resident(which: str) -> int:
    """`VmRSS` or `VmHWM`, the resident set now or at its largest, in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(which + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the resident set is read from /proc/self/status, which is Linux's")


def child(way: str, size: str, family: str, threads: int, view: str) -> dict[str, int]:
    """What one process measures."""
    step, ids, targets = build(way, "tiny", family, threads)
    for _ in range(2):
        step(ids, targets)
    del step
    before = resident("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    if view == "allocated":
        tracemalloc.start()
    step, ids, targets = build(way, size, family, threads)
    step(ids, targets)
    first = tracemalloc.get_traced_memory()[1] if view == "allocated" else 0
    step(ids, targets)
    if view == "resident":
        step(ids, targets)
        step(ids, targets)
        return {"resident": resident("VmHWM") - before}
    tracemalloc.reset_peak()
    step(ids, targets)
    step(ids, targets)
    return {"allocated": tracemalloc.get_traced_memory()[1], "allocated at first": first}


def measure(way: str, size: str, options: argparse.Namespace) -> dict[str, Any]:
    """One row, by children."""
    config, ids, _ = make(size, options.family)
    row: dict[str, Any] = {"size": size, "family": options.family, "way": way}
    if way in ("ours", "again"):
        found = step_memory(config, *ids.shape, threads=options.threads, recompute=way == "again")
        row |= {"formula": found.parts(), "sum": found.total}
    for view in ("allocated", "resident") if way in ("ours", "again") else ("resident",):
        command = [sys.executable, __file__, "--child", way, size, options.family, str(options.threads), view]
        row |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """The table, for people."""
    table = Table(title="MiB of a training step")
    for title in ("size", "", "by formula", "allocated", "at first", "resident", "resident / formula"):
        table.add_column(title, justify="left" if title in ("size", "") else "right")
    for row in rows:
        cells = [f"{row[name] / 2**20:,.1f}" if name in row else "–" for name in ("sum", "allocated")]
        cells += [f"{row[name] / 2**20:,.1f}" if name in row else "–" for name in ("allocated at first", "resident")]
        ours = next(r for r in rows if r["size"] == row["size"])
        table.add_row(row["size"], WAYS[row["way"]], *cells, f"{row['resident'] / row.get('sum', ours['sum']):.2f}")
    Console(width=max(Console().width, 100)).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="cpu,mid,baby", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--family", default="gpt2", choices=("gpt2", "llama"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ways", default="ours,again,eager", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--json", type=pathlib.Path, default=KEPT, help="where the results go")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, size, family, threads, view = options.child
        print(json.dumps(child(way, size, family, int(threads), view)))
        return
    rows = []
    ways = options.ways.split(",")
    if "again" in ways and "recompute" not in inspect.signature(ThreadedGradients.__init__).parameters:
        print("again is left out: ThreadedGradients takes no recompute")
        ways.remove("again")
    for size in options.sizes.split(","):
        for way in ways:
            rows.append(measure(way, size, options))
            print(json.dumps(rows[-1]), flush=True)
    show(rows)
    result = {"command": "hatch run bench:memory", "date": datetime.date.today().isoformat()}
    result |= {"machine": machine(options.threads), "results": rows}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
