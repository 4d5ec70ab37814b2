"""
Attention against PyTorch: `python packages/fp-attention/benchmarks/bench_attention.py`.

In float32, with the same numbers and the same number of threads, two, for both:

- `scaled_dot_product_attention` and `tiled_attention` against PyTorch's function of the first name, which is the fused
  kernel for processors that it has: forward without a gradient, and forward and backward, causal and not, at
  (texts, heads, positions, width) = (8, 6, 256, 64) and (1, 8, 2048, 64), and one new token against a cache of 1,024;
- `MultiHeadAttention` with rotary positions and grouped keys against the same layer of `torch.nn.functional`, forward
  and backward with the gradients of all parameters;
- the peak of memory allocated by `tiled_attention`, forward and backward, at 2,048 to 16,384 positions (`tracemalloc`).

Outcomes and gradients are compared before anything is timed. The two take turns, with a pause before each, because
threads wait for more work for some milliseconds after they have had some, which would slow the other library. What is
printed is the median of the turns, and of the ratios (ours to PyTorch's, below one: ours is faster) the median and the
range. OpenBLAS chooses its kernels by the processor; `kernels` in the report says which.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

THREADS = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv[:-1] else "2"
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = THREADS  # read when the libraries are imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from threadpoolctl import threadpool_info  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fp_attention.masks import Causal  # noqa: E402
from fp_attention.multihead import MultiHeadAttention  # noqa: E402
from fp_attention.rotary import RoPE  # noqa: E402
from fp_attention.scaled_dot import scaled_dot_product_attention  # noqa: E402
from fp_attention.tiled import tiled_attention  # noqa: E402
from fp_autograd.tensor import Tensor  # noqa: E402

torch.set_num_threads(int(THREADS))

Run = Callable[[], Any]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kernel(
    attention: Callable[..., Any], B: int, H: int, T: int, D: int, causal: bool, backward: bool
) -> tuple[Run, Run]:
    """One attention with T queries and keys, or one query with 1,024 keys."""
    keys = T if T > 1 else 1024
    q, k, v, g = (
        normal(B, H, T, D),
        normal(B, H, keys, D, seed=1),
        normal(B, H, keys, D, seed=2),
        normal(B, H, T, D, seed=3),
    )
    theirs = [torch.tensor(x, requires_grad=backward) for x in (q, k, v)]
    g_ = torch.tensor(g)
    mask = Causal() if causal else None

    def our_run() -> list[np.ndarray]:
        if not backward:
            return [attention(q, k, v, mask=mask)]
        leaves = [Tensor(x, requires_grad=True) for x in (q, k, v)]
        out = attention(*leaves, mask=mask)
        out.backward(g)
        return [out.data, *(x.grad for x in leaves)]

    def their_run() -> list[np.ndarray]:
        for x in theirs:
            x.grad = None
        out = F.scaled_dot_product_attention(*theirs, is_causal=causal and T > 1)
        if not backward:
            return [out.numpy()]
        out.backward(g_)
        return [out.detach().numpy(), *(x.grad.numpy() for x in theirs)]

    return our_run, their_run


def layer(B: int, T: int, C: int, H: int, Hkv: int) -> tuple[Run, Run]:
    """A causal layer with rotary positions and grouped keys, forward and backward."""
    D = C // H
    module = MultiHeadAttention(C, H, n_kv_heads=Hkv, positions=RoPE(D), mask=Causal(), rng=np.random.default_rng(0))
    x, g = normal(B, T, C), normal(B, T, C, seed=1)
    weights = {name: torch.tensor(p.data, requires_grad=True) for name, p in module.named_parameters().items()}
    x_, g_ = torch.tensor(x, requires_grad=True), torch.tensor(g)
    angles = np.arange(T)[:, None] * 10_000.0 ** (-np.arange(0, D, 2) / D)
    cos, sin = (torch.tensor(np.tile(f(angles), 2).astype(np.float32)) for f in (np.cos, np.sin))

    def turned(y: torch.Tensor) -> torch.Tensor:
        a, b = y.chunk(2, dim=-1)
        return y * cos + torch.cat((-b, a), dim=-1) * sin

    def our_run() -> list[np.ndarray]:
        module.zero_grad()
        given = Tensor(x, requires_grad=True)
        out = module(given)
        out.backward(g)
        return [out.data, given.grad, *(p.grad for p in module.parameters())]

    def their_run() -> list[np.ndarray]:
        for w in (x_, *weights.values()):
            w.grad = None
        q, k, v = (
            F.linear(x_, weights[f"{name}_proj.weight"]).view(B, T, n, D).transpose(1, 2)
            for name, n in (("q", H), ("k", Hkv), ("v", Hkv))
        )
        y = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True, enable_gqa=Hkv != H)
        out = F.linear(y.transpose(1, 2).reshape(B, T, C), weights["o_proj.weight"])
        out.backward(g_)
        return [out.detach().numpy(), x_.grad.numpy(), *(w.grad.numpy() for w in weights.values())]

    return our_run, their_run


SIZES = ((8, 6, 256, 64), (1, 8, 2048, 64))


def jobs() -> dict[str, Callable[[], tuple[Run, Run]]]:
    found: dict[str, Callable[[], tuple[Run, Run]]] = {}
    for size in SIZES:
        for name, attention in (("fused", scaled_dot_product_attention), ("tiled", tiled_attention)):
            for causal in (True, False):
                for backward in (False, True):
                    ways = "forward and backward" if backward else "forward"
                    what = f"{name} {size} {'causal' if causal else 'full'} {ways}"
                    found[what] = lambda a=attention, s=size, c=causal, b=backward: kernel(a, *s, c, b)
    found["fused (1, 9, 1, 64), 1,024 keys forward"] = lambda: kernel(
        scaled_dot_product_attention, 1, 9, 1, 64, False, False
    )
    found["layer 8 x 256 x 384, 6 heads"] = lambda: layer(8, 256, 384, 6, 6)
    found["layer 4 x 512 x 576, 9 heads, 3 key heads"] = lambda: layer(4, 512, 576, 9, 3)
    return found


def compare(job: tuple[Run, Run], turns: int, seconds: float) -> dict[str, Any]:
    """Medians in milliseconds, and the ratio with its range, after a comparison of the outcomes."""
    ours, theirs = job
    for a, b in zip(ours(), theirs(), strict=True):
        size = float(np.abs(b).max())
        # sums of up to some thousand products in single precision
        assert np.allclose(a, b, rtol=0, atol=2e-4 * max(size, 1e-3)), float(np.abs(a - b).max())
    for run in job:
        run()
    once = max(time_of(run) for run in job)
    times = max(1, min(50, int(seconds / once)))
    measured: list[tuple[float, float]] = []
    for turn in range(turns):
        order = (0, 1) if turn % 2 else (1, 0)
        found = [0.0, 0.0]
        for i in order:
            time.sleep(0.05)
            job[i]()
            found[i] = statistics.median(time_of(job[i]) for _ in range(times))
        measured.append((found[0], found[1]))
    ratios = [a / b for a, b in measured]
    return {
        "ours ms": round(1e3 * statistics.median(a for a, _ in measured), 3),
        "theirs ms": round(1e3 * statistics.median(b for _, b in measured), 3),
        "ratio": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def time_of(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def memory(T: int) -> dict[str, float]:
    """Peak of one causal attention of four heads, forward and backward, in MB; inputs and their gradients included."""
    q, k, v, g = (normal(1, 4, T, 64, seed=i) for i in range(4))
    found = {}
    for name, attention in (("tiled", tiled_attention), ("fused", scaled_dot_product_attention)):
        if name == "fused" and T > 4096:
            continue
        tracemalloc.start()
        leaves = [Tensor(x.copy(), requires_grad=True) for x in (q, k, v)]
        attention(*leaves, mask=Causal()).backward(g)
        found[name] = round(tracemalloc.get_traced_memory()[1] / 1e6, 1)
        tracemalloc.stop()
    return found


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return named.group(1) if named else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[1])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each library in a turn, about")
    parser.add_argument("--threads", default="2", help="for both")
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file to write")
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": int(THREADS),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "kernels": [x["architecture"] for x in threadpool_info() if x["internal_api"] == "openblas"],
        "times": {},
    }
    for name, make in jobs().items():
        if arguments.only in name:
            report["times"][name] = found = compare(make(), arguments.turns, arguments.seconds)
            ours, theirs = found["ours ms"], found["theirs ms"]
            print(f"{name:58} {ours:9.2f} ms {theirs:9.2f} ms   {found['ratio']:.2f} {found['range']}", flush=True)
    if not arguments.only:
        report["memory MB"] = {str(T): memory(T) for T in (2048, 4096, 8192, 16384)}
        print(report["memory MB"])
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
