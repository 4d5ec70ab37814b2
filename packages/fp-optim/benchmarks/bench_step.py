"""
A step of each optimizer against PyTorch: `python packages/fp-optim/benchmarks/bench_step.py`.

In float32, on the same numbers and with the same number of threads for both, first one and then two (`threads=2` for
ours):

- adamw, adam, momentum: a step on 10 million parameters in the arrays of a small GPT (an embedding, a layer of width
  768, its norms and biases), with decay on the matrices, against PyTorch's `fused=True`, one pass over memory by a
  kernel of its own, and `foreach=True`, operation by operation over all arrays.
- sgd, nesterov, adagrad, rmsprop, amsgrad, lion: the same for ours alone.
- muon: a step on a matrix of 768 x 3072. PyTorch computes its iteration in bfloat16, ours is in float32.
- memory: what memory gives to NumPy: a += c on arrays of 10 million numbers, which reads two and writes one. (A triad
  with a factor, a += s c, takes a second pass, or pieces that stay in the cache, and neither reaches as much.) Each
  thread has its share of the arrays.

Parameters after three steps are compared before anything is timed. Those compared take turns; a turn is a quarter of a
second of steps in a row, and its time is their median. What is printed is the median of the turns, and of the ratios
(ours to theirs, below one: ours is faster) the median and the range. "gigabytes a second" is what the rule has to read
and write (AdamW: parameters and two means both ways, gradients one way, 28 bytes a parameter) by its time, and "of
memory" that in units of what memory gives, turn by turn. Threads wait for more work for some milliseconds after they
have had some, which would slow the other library: a pause goes before each turn. On a machine that does other work at
the same time two threads wait for each other, and only one gives steady numbers.

Each number of threads is a process of its own, because BLAS reads it when it is loaded. OpenBLAS chooses its kernels by
the processor, and older ones for one that it does not know; only muon depends on it.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

INSIDE = "--inside" in sys.argv
THREADS = int(sys.argv[sys.argv.index("--threads") + 1]) if INSIDE else 1
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(THREADS)  # read when the libraries are imported

import numpy as np  # noqa: E402
import torch  # noqa: E402

import fp_optim  # noqa: E402

torch.set_num_threads(THREADS)

Run = Callable[[], Any]
D, ROWS = 768, 3780
SHAPES = {
    "embedding": (ROWS, D), "query, key, value": (D, 3 * D), "output": (D, D), "up": (D, 4 * D), "down": (4 * D, D),
    "gain": (D,), "gain too": (D,), "bias up": (4 * D,), "bias down": (D,),
}  # fmt: skip
# ours, its settings, PyTorch's class and what it is told besides; bytes a parameter
RULES: dict[str, tuple[str, dict, str | None, dict, int]] = {
    "adamw": ("AdamW", {"weight_decay": 0.1}, "AdamW", {}, 28),
    "adam": ("Adam", {}, "Adam", {}, 28),
    "momentum": ("Momentum", {"momentum": 0.9}, "SGD", {"momentum": 0.9}, 20),
    "sgd": ("SGD", {}, None, {}, 12),
    "nesterov": ("Nesterov", {}, None, {}, 20),
    "adagrad": ("AdaGrad", {}, None, {}, 20),
    "rmsprop": ("RMSprop", {}, None, {}, 20),
    "amsgrad": ("AMSGrad", {}, None, {}, 36),
    "lion": ("Lion", {"weight_decay": 0.1}, None, {}, 20),
}
RATE = 1e-3
N_NUMBERS = 10_000_000  # for memory


def arrays(shapes: dict, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def tensors(parameters: dict, grads: dict, decay: float) -> tuple[list[dict], list[torch.Tensor]]:
    """Two groups: what decays and what does not."""
    all_of_them = [torch.tensor(array) for array in parameters.values()]
    for tensor, g in zip(all_of_them, grads.values(), strict=True):
        tensor.grad = torch.tensor(g)
    groups = [
        {"params": [t for t in all_of_them if (t.ndim >= 2) == matrices], "weight_decay": decay if matrices else 0.0}
        for matrices in (True, False)
    ]
    return groups, all_of_them


def rule(name: str) -> dict[str, Run]:
    """A step of each library, checked to be the same."""
    ours, settings, theirs, told, _ = RULES[name]
    parameters, grads = arrays(SHAPES, 0), arrays(SHAPES, 1)
    runs: dict[str, Run] = {}
    peers = {}
    if theirs:
        for kernel in ("fused", "foreach"):
            groups, peers[kernel] = tensors(parameters, grads, settings.get("weight_decay", 0.0))
            runs[kernel] = getattr(torch.optim, theirs)(groups, lr=RATE, **told, **{kernel: True}).step
    optimizer = getattr(fp_optim, ours)(parameters, lr=RATE, threads=THREADS, **settings)
    runs = {"ours": lambda: optimizer.step(grads), **runs}
    for _ in range(3):
        for run in runs.values():
            run()
    for kernel, peer in peers.items():
        for array, tensor in zip(parameters.values(), peer, strict=True):
            # three steps of 1e-3, in single precision
            np.testing.assert_allclose(array, tensor.numpy(), atol=1e-6, err_msg=kernel)
    return runs


def muon() -> dict[str, Run]:
    shape = {"w": (D, 4 * D)}
    parameters, grads = arrays(shape, 2), arrays(shape, 3)
    start = parameters["w"].copy()
    groups, (tensor,) = tensors(parameters, grads, 0.1)
    optimizer = fp_optim.Muon(parameters, lr=0.02, momentum=0.95, weight_decay=0.1)
    peer = torch.optim.Muon(groups[0]["params"], lr=0.02, momentum=0.95, weight_decay=0.1)
    runs = {"ours": lambda: optimizer.step(grads), "torch": peer.step}
    for _ in range(3):
        for run in runs.values():
            run()
    off = np.linalg.norm(parameters["w"] - tensor.numpy()) / np.linalg.norm(parameters["w"] - start)
    assert off < 0.05, off  # bfloat16, through five iterations
    return runs


def memory() -> Run:
    a, c = (arrays({"x": (N_NUMBERS,)}, seed)["x"] for seed in (4, 5))
    own, *others = zip(np.array_split(a, THREADS), np.array_split(c, THREADS), strict=True)
    pool = ThreadPoolExecutor(THREADS)

    def part(a: np.ndarray, c: np.ndarray) -> None:
        np.add(a, c, out=a)

    def run() -> None:
        work = [pool.submit(part, *other) for other in others]
        part(*own)
        for share in work:
            share.result()

    return run


# --- measuring


def seconds(do: Run) -> float:
    """The median of the runs of a while, which is long enough for threads to find a processor each."""
    do()
    times = []
    end = time.perf_counter() + 0.25
    while (start := time.perf_counter()) < end:
        do()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def spread(values: Iterable[float]) -> list[float]:
    """Median, least and greatest, to three digits."""
    v = sorted(values)
    return [float(f"{x:.3g}") for x in (statistics.median(v), v[0], v[-1])]


def compare(runs: dict[str, Run], turns: int, n_bytes: int = 0) -> dict[str, Any]:
    """Times and ratios of runs that take turns, and with a number of bytes the rate at which ours passes them."""
    times: dict[str, list[float]] = {who: [] for who in runs}
    for _ in range(turns):
        for who, run in runs.items():
            time.sleep(0.1)
            times[who].append(seconds(run))
    result: dict[str, Any] = {
        "milliseconds": {who: spread(1e3 * t for t in taken) for who, taken in times.items()},
        "ratio of ours to": {
            who: spread(a / b for a, b in zip(times["ours"], taken, strict=True))
            for who, taken in times.items()
            if who not in ("ours", "memory")
        },
    }
    if n_bytes:
        rates = {who: [n_bytes / t for t in taken] for who, taken in times.items() if who != "memory"}
        rates["memory"] = [12 * N_NUMBERS / t for t in times["memory"]]
        result["gigabytes a second"] = {who: spread(r / 1e9 for r in rate) for who, rate in rates.items()}
        result["of memory"] = {
            who: spread(a / b for a, b in zip(rate, rates["memory"], strict=True))
            for who, rate in rates.items()
            if who != "memory"
        }
    return result


def inside(jobs: list[str], turns: int, target: str) -> None:
    """All jobs with one number of threads."""
    results = {}
    n = sum(int(np.prod(shape)) for shape in SHAPES.values())
    for job in jobs:
        if job == "muon":
            results[job] = compare(muon(), turns)
        else:
            results[job] = compare({**rule(job), "memory": memory()}, turns, n * RULES[job][-1])
        print(json.dumps({f"{job}, {THREADS} thread{'s' * (THREADS > 1)}": results[job]}), flush=True)
    pathlib.Path(target).write_text(json.dumps(results), encoding="utf-8")


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def kernels() -> str:
    """Those that OpenBLAS chooses, which it tells when it is loaded."""
    told = subprocess.run(
        [sys.executable, "-c", "import numpy"],
        env=os.environ | {"OPENBLAS_VERBOSE": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Core: (\w+)", told.stderr + told.stdout)
    return found[1] if found else "not known"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default=",".join([*RULES, "muon"]))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", help="write the results here as well")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments.jobs.split(","), arguments.turns, arguments.inside)
        return
    report: dict = {
        "command": " ".join(["python", "packages/fp-optim/benchmarks/bench_step.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": {
            "processor": processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "kernels": kernels(),
            "torch": torch.__version__,
        },
        "parameters": sum(int(np.prod(shape)) for shape in SHAPES.values()),
        "results": {},
    }
    print(json.dumps({key: report[key] for key in ("command", "date", "machine", "parameters")}), flush=True)
    for threads in arguments.threads.split(","):
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            options = ["--jobs", arguments.jobs, "--threads", threads, "--turns", str(arguments.turns)]
            subprocess.run([sys.executable, __file__, *options, "--inside", file.name], check=True)
            report["results"][f"threads: {threads}"] = json.loads(pathlib.Path(file.name).read_text(encoding="utf-8"))
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
