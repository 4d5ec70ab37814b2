"""
The ladder from loops to the limit of the machine, and the roofline: `hatch run bench:ladder`.

The same training step (forward, backward, AdamW) on the five rungs of `fp_capstone.ladder`, with the machine's peak (a
large float32 product in NumPy's BLAS), its bandwidths (copies, counting what is read and what is written), and single
operations in both ways of writing them. Rungs take turns; what is printed is the median over the turns of a turn's
median. Where a rung is too slow for a whole batch it is measured on one text, and its gradients' time is multiplied;
where it is slower still it is left out. One page comes out:

- the ladder: milliseconds, how many times faster than the rung below, share of the peak of all cores;
- where the rest is: the step's products alone, in its shapes and with its threads; a step in which arrays have next to
  no numbers, so that only calls are left; memory and page faults;
- the roofline: intensity and rate of single operations on one core.

    hatch run bench:ladder --json packages/fp-capstone/benchmarks/bench_ladder.json

measures what the figures of the page `fp_capstone.ladder` show; `--sizes` keeps the other sizes of such a file.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import resource
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from rich.console import Console
from rich.table import Table
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from fp_capstone.activations import gelu
from fp_capstone.attention import causal_attention
from fp_capstone.ladder import RUNGS, SIZES, Arrays, Loops, ladder_gradients, rung_step, step_flops
from fp_capstone.linear import linear
from fp_capstone.memory import Arena
from fp_capstone.model import Model
from fp_capstone.norms import layer_norm
from fp_capstone.parallel import ThreadedGradients
from fp_optim.adaptive import AdamW
from fp_transformer.config import TransformerConfig

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WITHIN = "fused, threads in BLAS"
MEASURED = {
    "tiny": (*RUNGS, WITHIN),
    "cpu": (*RUNGS, WITHIN),
    "mid": (*RUNGS[2:], WITHIN),
    "baby": (*RUNGS[2:], WITHIN),
}
ROWS = 64  # of a strip of attention in "products alone"
Work = Callable[[], Any]


def model_of(size: str) -> tuple[Model, int, int]:
    T, L, H, C, B = SIZES[size]
    config = TransformerConfig.gpt2(vocab_size=65, context_length=T, n_layers=L, n_heads=H, d_model=C)
    return Model(config, np.random.default_rng(0)), B, T


def batch(B: int, T: int) -> tuple[np.ndarray, np.ndarray]:
    text = np.random.default_rng(1).integers(0, 65, (B, T + 1))
    return np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])


def seconds_of(work: Work, seconds: float, least: int = 3) -> float:
    """The median of as many runs as fit in the time, after one that is not counted: its memory may be new."""
    work()
    took: list[float] = []
    while len(took) < least or sum(took) < seconds:
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def on_threads(works: list[Work]) -> Work:
    """All at the same time, one a thread, with one BLAS thread each."""
    pool, libraries = ThreadPoolExecutor(len(works)), ThreadpoolController()

    def work() -> None:
        with libraries.limit(limits=1, user_api="blas"):
            for future in [pool.submit(each) for each in works]:
                future.result()

    return work


def repeated(work: Work, times: int) -> Work:
    def loop() -> None:
        for _ in range(times):
            work()

    return loop


def peaks() -> dict[str, Any]:
    """Flops, bytes and calls a second."""
    found: dict[str, Any] = {"sgemm": {}, "memory": {}, "cache": {}}
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2048, 2048)).astype(np.float32)
    out = np.empty_like(a)
    for cores in sorted({1, CORES}):
        with threadpool_limits(cores, "blas"):
            best = 0.0
            for _ in range(6):
                best = max(best, 2 * 2048**3 / seconds_of(lambda: np.matmul(a, b, out=out), 0.2, 2))
        found["sgemm"][str(cores)] = round(best / 1e9, 1)
        for kind, size, times in (("memory", 2**25, 1), ("cache", 2**15, 500)):
            works = [partial(np.copyto, *copies(size, times)) for _ in range(cores)]
            took = min(seconds_of(on_threads(works), 0.2) for _ in range(3))
            found[kind][str(cores)] = round(cores * times * 8 * size / took / 1e9, 1)
    one = np.ones(1, np.float32)
    found["call us"] = round(seconds_of(repeated(lambda: np.negative(one, out=one), 1000), 0.2) / 1000 * 1e6, 3)
    x, y = [0.5] * 10_000, [0.5] * 10_000
    took = seconds_of(lambda: sum(x[i] * y[i] for i in range(10_000)), 0.2)
    found["python flop ns"] = round(took / 20_000 * 1e9, 1)
    return found


def copies(size: int, times: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Two windows of so many numbers, which move on by a line of the cache so many times.

    They are copied in one call, since between calls threads wait for the interpreter. A window that stood still would
    be copied in the wrong order, each number so many times.
    """
    there, here = (as_strided(np.ones(size + 16 * times, np.float32), (times, size), (64, 4)) for _ in range(2))
    return there, here


def products_alone(size: str) -> Work:
    """The products of a step: shapes, number and threads, on arrays that exist, and nothing else."""
    T, L, H, C, B = SIZES[size]
    rng, D = np.random.default_rng(0), C // H

    def share(texts: int) -> Work:
        N = texts * T
        maps = []
        for inputs, outputs in ((C, 3 * C), (C, C), (C, 4 * C), (4 * C, C), (C, 65)):
            x, g, W = (rng.random(s, np.float32) for s in ((N, inputs), (N, outputs), (inputs, outputs)))
            maps.append((x, g, W, np.empty_like(x), np.empty_like(g), np.empty_like(W)))
        together = max(1, min(texts, 2**17 // (H * ROWS * T)))  # texts whose scores a cache holds
        q, k = rng.random((2, together, H, T, D), np.float32)
        S, dq = np.empty(together * H * ROWS * T, np.float32), np.empty_like(q)

        def linear_maps(which: list[Any]) -> None:
            for x, g, W, dx, y, dW in which:
                np.matmul(x, W, out=y)
                np.matmul(g, W.T, out=dx)
                np.matmul(x.T, g, out=dW)

        def work() -> None:
            for _ in range(L):
                linear_maps(maps[:-1])
                for start in [i for _ in range(0, texts, together) for i in range(0, T, ROWS)]:
                    stop = min(start + ROWS, T)
                    rows, keys = q[:, :, start:stop], k[:, :, :stop]
                    P = S[: together * H * (stop - start) * stop].reshape(together, H, stop - start, stop)
                    for _ in range(2):  # scores forward, the weights' cotangents backward
                        np.matmul(rows, keys.swapaxes(2, 3), out=P)
                        np.matmul(P, keys, out=dq[:, :, start:stop])
                        np.matmul(P.swapaxes(2, 3), rows, out=dq[:, :, :stop])
            linear_maps(maps[-1:])

        return work

    threads = CORES if size != "tiny" else 1  # the engine thinks so too
    return on_threads([share(len(part)) for part in np.array_split(np.arange(B), threads)])


def smallest(size: str, rung: str) -> Work:
    """A step of a model as deep, in which arrays have next to no numbers."""
    L = SIZES[size][1]
    config = TransformerConfig.gpt2(vocab_size=2, context_length=2, n_layers=L, n_heads=1, d_model=2)
    ids = np.array([[0, 1]])
    return partial(rung_step(rung, Model(config, np.random.default_rng(0)), CORES), ids, ids)


def memory(size: str, rung: str) -> tuple[float, int]:
    """Peak MiB of a run of steps with all that the model and the optimizer own; page faults of a later step."""
    tracemalloc.start()
    model, B, T = model_of(size)
    step, data = rung_step(rung, model, CORES), batch(B, T)
    for _ in range(2):
        step(*data)
    held = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        step(*data)
    return round(held, 1), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 3


def measure(size: str, turns: int, seconds: float) -> dict[str, Any]:
    model, B, T = model_of(size)
    data, F = batch(B, T), step_flops(model.config, B, T)
    steps: dict[str, Work] = {}
    for rung in MEASURED[size]:
        if rung != WITHIN:
            steps[rung] = partial(rung_step(rung, model_of(size)[0], CORES), *data)
    # one thread of ThreadedGradients leaves BLAS its cores; `rung_step` holds it to one
    gradients, optimizer = ThreadedGradients(model, 1), AdamW(model.parameters(), 1e-4, weight_decay=0.1, threads=CORES)
    steps[WITHIN] = lambda: optimizer.step(gradients(*data)[1])
    result: dict[str, Any] = {"size": size, "tokens": B * T, "parameters": model.config.n_parameters, "flops": F}
    times: dict[str, list[float]] = {}
    if size == "cpu":
        del steps["loops"]
        times["loops"] = [loops_scaled(size)]
        result["loops"] = f"one text of {B}, scaled"
    for turn in range(turns):
        for rung, work in steps.items():
            if rung in RUNGS[:2] and turn >= 2:
                continue
            times.setdefault(rung, []).append(seconds_of(work, seconds, 2 if size == "baby" else 3))
    result["ms"] = {rung: round(statistics.median(times[rung]) * 1e3, 3) for rung in MEASURED[size]}
    alone = statistics.median(seconds_of(products_alone(size), seconds, 2) for _ in range(3))
    result["products ms"] = round(alone * 1e3, 3)
    for rung in ("BLAS", "fused"):
        result[f"{rung} calls ms"] = round(seconds_of(smallest(size, rung), 0.2) * 1e3, 3)
        result[f"{rung} MiB"], result[f"{rung} faults"] = memory(size, rung)
    return result


def loops_scaled(size: str) -> float:
    """The time of a step by loops from one text's: gradients as many times as there are texts, AdamW once."""
    model, B, T = model_of(size)
    data = batch(1, T)
    start = time.perf_counter()
    ladder_gradients(Loops(), model, *data)
    gradients = time.perf_counter() - start
    start = time.perf_counter()
    rung_step("loops", model)(*data)
    step = time.perf_counter() - start
    return B * gradients + max(0.0, step - gradients)


def operations(size: str) -> list[dict[str, Any]]:
    """Single operations: flops, the bytes that have to move, and the time in three ways of doing them."""
    T, _, H, C, B = SIZES[size]
    N, D, rng, one = B * T, C // H, np.random.default_rng(0), Arrays(np.matmul)
    x, h, qkv = (rng.normal(size=(N, n)).astype(np.float32) for n in (C, 4 * C, 3 * C))
    W, b = rng.normal(size=(C, 4 * C)).astype(np.float32), np.zeros(4 * C, np.float32)
    gain, bias = np.ones(C, np.float32), np.zeros(C, np.float32)
    q, k, v = np.moveaxis(qkv.reshape(B, T, 3, H, D), 2, 0)
    P = model_of(size)[0].config.n_parameters
    arrays = {name: rng.random(P, np.float32) for name in "pgmv"}
    optimizers = [AdamW({"p": arrays["p"].copy()}, lr=1e-4, decay=lambda *_: True) for _ in range(CORES)]
    arenas = [Arena() for _ in range(CORES)]
    pairs = B * H * T * (T + 1) // 2

    def in_arena(call: Callable[[Arena], Any]) -> Callable[[int], None]:
        def work(core: int) -> None:
            call(arenas[core])
            arenas[core].release(0)

        return work

    # flops as in `fp_attention.cost`: exponentials, roots and quotients count one
    listed: dict[str, tuple[float, float, Work, Callable[[int], Any]]] = {
        "linear map": (
            2 * x.size * 4 * C + h.size,
            4 * (x.size + W.size + h.size),
            lambda: one.linear(x, W, b),
            in_arena(lambda memory: linear(x, W, b, memory=memory)),
        ),
        "attention": (
            pairs * (4 * D + 6),
            4 * (qkv.size + x.size),
            lambda: one.attention(qkv, T, H),
            in_arena(lambda memory: causal_attention(q, k, v, keep=True, memory=memory)),
        ),
        "GELU": (8 * h.size, 8 * h.size, lambda: one.gelu(h), in_arena(lambda memory: gelu(h, memory=memory))),
        "LayerNorm": (
            7 * x.size,
            8 * x.size,
            lambda: one.norm(x, gain, bias, 1e-5),
            in_arena(lambda memory: layer_norm(x, gain, bias, 1e-5, memory=memory)),
        ),
        "AdamW": (
            13 * P,
            28 * P,
            lambda: one.adamw(*arrays.values(), (1, 1e-4, 0.9, 0.99, 1e-8, 0.1)),
            lambda core: optimizers[core].step({"p": arrays["g"]}),
        ),
    }
    found = []
    for name, (flops, moved, plain, fused) in listed.items():
        every: list[Work] = [partial(fused, core) for core in range(CORES)]
        ways = {"plain": on_threads([plain]), "fused": on_threads(every[:1]), "threaded": on_threads(every)}
        turns = [{way: seconds_of(work, 0.15) for way, work in ways.items()} for _ in range(3)]
        row = {"name": name, "flops": flops, "bytes": moved}
        for way in ways:
            times = CORES if way == "threaded" else 1  # every core did all of it
            row[f"{way} ms"] = round(statistics.median(turn[way] for turn in turns) / times * 1e3, 4)
        found.append(row)
    return found


def page(found: dict[str, Any], console: Console) -> None:
    top = found["peaks"]["sgemm"][str(found["machine"]["cores"])]
    ladder = Table("size", "rung", "ms a step", "times faster", "GFLOP/s", f"share of {top:.0f}", title="The ladder")
    rest = Table(title="Where the rest is")
    for head in ("size", "share of peak", "products ms", "their share", "of the peak", "calls ms", "MiB", "faults"):
        rest.add_column(head)
    for r in found["sizes"]:
        below = None
        for rung, ms in r["ms"].items():
            rate = r["flops"] / ms / 1e6
            times = "" if below is None or rung == WITHIN else f"{below / ms:.2f}"
            ladder.add_row(r["size"], rung, f"{ms:,.2f}", times, f"{rate:.3g}", f"{rate / top:.1%}")
            below = ms
        ladder.add_section()
        best, alone = min(r["ms"].values()), r["products ms"]
        cells = [f"{r['flops'] / best / 1e6 / top:.1%}", f"{alone:.2f}", f"{alone / best:.0%}"]
        cells += [f"{r['flops'] / alone / 1e6 / top:.0%}"]
        cells += [f"{r[f'BLAS {what}']:,} / {r[f'fused {what}']:,}" for what in ("calls ms", "MiB", "faults")]
        rest.add_row(r["size"], *cells)
    roof = Table(title=f"Operations; roofs of one core; size {found['operations size']}")
    for head in ("operation", "flops a byte", "plain GFLOP/s", "fused", "all cores", "roof of memory", "roof of cache"):
        roof.add_column(head)
    peak = found["peaks"]["sgemm"]["1"]
    for o in found["operations"]:
        intensity = o["flops"] / o["bytes"]
        rates = [o["flops"] / o[f"{way} ms"] / 1e6 for way in ("plain", "fused", "threaded")]
        roofs = [min(peak, intensity * found["peaks"][kind]["1"]) for kind in ("memory", "cache")]
        roof.add_row(o["name"], f"{intensity:.2f}", *(f"{rate:.2f}" for rate in rates + roofs))
    console.print(found["machine"], found["peaks"], ladder, rest, roof)


def machine() -> dict[str, Any]:
    about = pathlib.Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in about.read_text().splitlines() if line.startswith("model name")
             ] if about.is_file() else []  # fmt: skip
    blas = next((lib for lib in threadpool_info() if lib["user_api"] == "blas"), {})
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": CORES,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "blas": " ".join(str(blas.get(key, "")) for key in ("internal_api", "version", "architecture")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="of one turn of one rung, if steps are short")
    parser.add_argument("--json", help="write the results here as well")
    arguments = parser.parse_args()
    sizes = [size for size in arguments.sizes.split(",") if size]
    if unknown := set(sizes) - SIZES.keys():
        parser.error(f"--sizes names {', '.join(sorted(unknown))}; known are {', '.join(SIZES)}")
    kept: dict[str, Any] = {}
    file = pathlib.Path(arguments.json) if arguments.json else None
    if file and file.is_file():
        kept = {r["size"]: r for r in json.loads(file.read_text(encoding="utf-8"))["sizes"]}
    found: dict[str, Any] = {"command": "hatch run bench:ladder", "date": datetime.date.today().isoformat()}
    found |= {"machine": machine(), "peaks": peaks()}
    kept |= {size: measure(size, arguments.turns, arguments.seconds) for size in sizes}
    found["sizes"] = [kept[size] for size in SIZES if size in kept]
    found |= {"operations size": "mid", "operations": operations("mid")}
    page(found, Console(width=110))
    if file:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
