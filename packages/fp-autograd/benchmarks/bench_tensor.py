"""
`Tensor` against PyTorch (eager), HIPS/autograd and tinygrad: `python packages/fp-autograd/benchmarks/bench_tensor.py`.

Three jobs, in float32, with the same numbers and the same two threads for all:

- mlp: a training step of a 784-256-10 perceptron at batch 128: relu, softmax cross-entropy, backward, plain gradient
  descent in place. Each library has its own cross-entropy; HIPS/autograd has none, and log-softmax is written out.
- chain: 1,000 operations in a row on four numbers, four kinds in turn (times, plus, tanh, minus a number), forward and
  backward: what recording and handing back an operation costs. Microseconds an operation.
- logistic: loss and gradient of a logistic regression at 1,000,000 rows of 20 features, mean(softplus(z) - y z) with
  z = X w, each library with its own softplus (HIPS/autograd: logaddexp). "logistic, written out" is the same without a
  softplus, max(z, 0) + log(1 + exp(-|z|)), operation by operation; "logistic, one operation" lets PyTorch compute the
  whole of the loss in one, `binary_cross_entropy_with_logits`, where the others stay with softplus.

Losses and gradients are compared before anything is timed. The libraries take turns; within a turn a job runs a few
times in a row, and the turn's time is the median of these. What is printed is the median of the turns, and of the
ratios (ours to theirs, below one: ours is faster) the median and the range. Threads wait for more work for some
milliseconds after they have had some, which would slow the next library: a pause goes before each turn.

tinygrad builds its graph without computing, and compiles a kernel for it with clang, which must be on the path, or it
is left out. mlp and logistic run as it is meant to be used: `TinyJit`, which replays the kernels of the first runs and
builds no graph any more. The chain is built and scheduled anew each time, as by the others, but is 40 operations long:
the time to fuse and compile a chain grows much faster than its length, to half a minute at 200.

Memory: the peak of bytes allocated within a step of the mlp, and the sum of what the record keeps for the sweep: arrays
that are not parameters or data, each once however many results share it. Between the two are the gradients and what the
operation in progress needs.
"""

import argparse
import datetime
import itertools
import json
import os
import pathlib
import platform
import re
import shutil
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

THREADS = "2"
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUM_CPU_THREADS"):
    os.environ[variable] = THREADS  # read when the libraries are imported
os.environ.setdefault("DEV", "CPU")  # tinygrad

import autograd  # noqa: E402
import autograd.numpy as anp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fp_autograd.rules import absolute, exp, log, maximum, relu, softplus, tanh  # noqa: E402
from fp_autograd.tensor import Mode, Tensor, no_grad  # noqa: E402

torch.set_num_threads(int(THREADS))

Pair = tuple[Callable[[], Any], Callable[[], Any]]
WIDTHS, BATCH, RATE = (784, 256, 10), 128, 0.1
N_OPERATIONS, N_FUSED = 1000, 40
ROWS, FEATURES = 1_000_000, 20


def f32(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32)


class MLP:
    """A training step in each library; `losses` are returned as numbers."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.x = f32(rng.normal(size=(BATCH, WIDTHS[0])))
        self.y = rng.integers(0, WIDTHS[-1], BATCH)
        self.start = []
        for n, m in itertools.pairwise(WIDTHS):
            self.start += [f32(rng.normal(size=(n, m)) / n**0.5), np.zeros(m, np.float32)]

    def ours(self) -> Callable[[], float]:
        W, b, U, a = parameters = [Tensor(p.copy(), requires_grad=True) for p in self.start]
        at = np.arange(BATCH), self.y

        def step() -> float:
            loss = -(relu(self.x @ W + b) @ U + a).log_softmax()[at].mean()
            loss.backward()
            with no_grad():
                for p in parameters:
                    p -= RATE * p.grad
                    p.zero_grad()
            return loss.item()

        return step

    def torch(self) -> Callable[[], float]:
        W, b, U, a = parameters = [torch.tensor(p, requires_grad=True) for p in self.start]
        x, y = torch.from_numpy(self.x), torch.from_numpy(self.y)

        def step() -> float:
            loss = F.cross_entropy(torch.relu(x @ W + b) @ U + a, y)
            loss.backward()
            with torch.no_grad():
                for p in parameters:
                    p.sub_(p.grad, alpha=RATE)
                    p.grad = None
            return loss.item()

        return step

    def hips(self) -> Callable[[], float]:
        parameters = [p.copy() for p in self.start]
        at = np.arange(BATCH), self.y

        def loss(p: list) -> Any:
            W, b, U, a = p
            z = anp.maximum(self.x @ W + b, 0) @ U + a
            z = z - anp.max(z, axis=1, keepdims=True)
            return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - z[at])

        both = autograd.value_and_grad(loss)

        def step() -> float:
            value, gradient = both(parameters)
            for p, g in zip(parameters, gradient, strict=True):
                p -= np.float32(RATE) * g
            return float(value)

        return step

    def tinygrad(self) -> Callable[[], float]:
        import tinygrad

        W, b, U, a = parameters = [tinygrad.Tensor(p).realize() for p in self.start]
        x, y = tinygrad.Tensor(self.x), tinygrad.Tensor(self.y.astype(np.int32))

        @tinygrad.TinyJit
        def step() -> Any:
            loss = ((x @ W + b).relu() @ U + a).sparse_categorical_crossentropy(y)
            gradient = loss.gradient(*parameters)
            for p, g in zip(parameters, gradient, strict=True):
                p.assign(p - RATE * g)
            return loss.realize(*parameters)

        return lambda: step().item()


class Chain:
    """Operations in a row; each library gets two functions: forward alone, and forward and backward."""

    start = f32(np.array([0.1, -0.2, 0.3, -0.4]))

    def __init__(self, n_operations: int) -> None:
        self.n_operations = n_operations

    def through(self, x: Any, tanh: Callable[[Any], Any]) -> Any:
        for _ in range(self.n_operations // 4):
            x = tanh(x * 1.01 + 0.02) - 0.01
        return x

    def ours(self) -> Pair:
        one = np.ones(4, np.float32)

        def both() -> np.ndarray:
            x = Tensor(self.start, requires_grad=True)
            self.through(x, tanh).backward(one)
            return x.grad

        return lambda: self.through(Tensor(self.start, requires_grad=True), tanh), both

    def torch(self) -> Pair:
        one = torch.ones(4)

        def both() -> np.ndarray:
            x = torch.tensor(self.start, requires_grad=True)
            self.through(x, torch.tanh).backward(one)
            return x.grad.numpy()

        return lambda: self.through(torch.tensor(self.start, requires_grad=True), torch.tanh), both

    def hips(self) -> Pair:
        one = np.ones(4, np.float32)

        def forward() -> Any:
            return autograd.make_vjp(lambda x: self.through(x, anp.tanh))(self.start)[0]

        return forward, lambda: forward()(one)

    def tinygrad(self) -> Pair:
        import tinygrad

        def both() -> np.ndarray:
            x = tinygrad.Tensor(self.start)
            y = self.through(x, tinygrad.Tensor.tanh)
            g = y.sum().gradient(x)[0]
            y.realize(g)
            return g.numpy()

        return lambda: self.through(tinygrad.Tensor(self.start), tinygrad.Tensor.tanh).realize(), both


class Logistic:
    """Loss and gradient, with each library's own softplus, or written out."""

    def __init__(self, how: str) -> None:
        self.how = how
        rng = np.random.default_rng(2)
        self.X = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
        self.w = f32(0.2 * rng.normal(size=FEATURES))
        self.y = f32(rng.random(ROWS) < 0.5)

    def ours(self) -> Callable[[], Any]:
        X, y = Tensor(self.X), Tensor(self.y)

        def step() -> Any:
            w = Tensor(self.w, requires_grad=True)
            z = X @ w
            s = maximum(z, 0.0) + log(1 + exp(-absolute(z))) if self.how == "written out" else softplus(z)
            loss = (s - y * z).mean()
            loss.backward()
            return loss.item(), w.grad

        return step

    def torch(self) -> Callable[[], Any]:
        X, y = torch.from_numpy(self.X), torch.from_numpy(self.y)

        def step() -> Any:
            w = torch.tensor(self.w, requires_grad=True)
            z = X @ w
            if self.how == "one operation":
                loss = F.binary_cross_entropy_with_logits(z, y)
            else:
                written = self.how == "written out"
                s = z.clamp(min=0) + torch.log(1 + torch.exp(-z.abs())) if written else F.softplus(z)
                loss = (s - y * z).mean()
            loss.backward()
            return loss.item(), w.grad.numpy()

        return step

    def hips(self) -> Callable[[], Any]:
        def loss(w: Any) -> Any:
            z = anp.dot(self.X, w)
            written = self.how == "written out"
            s = anp.maximum(z, 0) + anp.log(1 + anp.exp(-anp.abs(z))) if written else anp.logaddexp(z, np.float32(0))
            return anp.mean(s - self.y * z)

        both = autograd.value_and_grad(loss)
        return lambda: both(self.w)

    def tinygrad(self) -> Callable[[], Any]:
        import tinygrad

        X, y, w = (tinygrad.Tensor(a).realize() for a in (self.X, self.y, self.w))

        @tinygrad.TinyJit
        def step() -> Any:
            z = X @ w
            s = z.maximum(0) + (1 + (-z.abs()).exp()).log() if self.how == "written out" else z.softplus()
            loss = (s - y * z).mean()
            return loss.realize(g := loss.gradient(w)[0]), g

        def both() -> Any:
            loss, g = step()
            return loss.item(), g.numpy()

        return both


# --- measuring


def seconds(do: Callable[[], object], repeats: int) -> float:
    """The median of some runs in a row, after one that does not count."""
    do()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def spread(values: Iterable[float]) -> list[float]:
    """Median, least and greatest, to three digits."""
    v = sorted(values)
    return [float(f"{x:.3g}") for x in (statistics.median(v), v[0], v[-1])]


def compare(
    unit: str, scales: dict[str, float], runs: dict[str, Callable[[], Any]], turns: int, repeats: int
) -> dict[str, dict]:
    """Times, in a unit that is so much of a second, and ratios, of runs that take turns."""
    times: dict[str, list[float]] = {who: [] for who in runs}
    for _ in range(turns):
        for who, run in runs.items():
            time.sleep(0.1)
            times[who].append(scales[who] * seconds(run, repeats))
    return {
        unit: {who: spread(taken) for who, taken in times.items()},
        "ratio of ours to": {
            who: spread(a / b for a, b in zip(times["ours"], taken, strict=True))
            for who, taken in times.items()
            if who != "ours"
        },
    }


def libraries(wanted: str) -> list[str]:
    found = ["ours", *wanted.split(",")]
    if "tinygrad" in found and shutil.which("clang") is None:
        print("tinygrad is left out: it compiles with clang, which is not on the path", file=sys.stderr)
        found.remove("tinygrad")
    return found


def mlp(who: list[str], turns: int) -> dict:
    steps = {name: getattr(MLP(), name)() for name in who}
    losses = {name: [step() for _ in range(3)] for name, step in steps.items()}
    for name in who:  # three steps of sums of 784 products in single precision
        np.testing.assert_allclose(losses[name], losses["ours"], rtol=1e-4, err_msg=name)
    return compare("milliseconds", dict.fromkeys(who, 1e3), steps, turns, 30) | memory()


def memory() -> dict:
    """Of one step: what is allocated at most, and what the record keeps."""
    job, peaks = MLP(), {}
    for name in ("ours", "hips"):  # both in NumPy's memory, which is traced
        step = getattr(job, name)()
        step()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        step()
        peaks[name] = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
    saved: dict[int, np.ndarray] = {}
    given: set[int] = {id(job.x)}

    def whole(array: np.ndarray) -> np.ndarray:
        return array if array.base is None else whole(array.base)

    def keep(out: Tensor, rule: Any, operands: tuple) -> None:
        given.update(id(x.data) for x in operands if isinstance(x, Tensor) and x._rule is None)
        for x in (out, *operands):
            array = x.data if isinstance(x, Tensor) else x
            if isinstance(array, np.ndarray):
                saved[id(whole(array))] = whole(array)

    step = job.ours()
    Mode.made = keep
    try:
        step()
    finally:
        Mode.made = None
    return {
        "peak bytes": peaks,
        "saved bytes": sum(array.nbytes for key, array in saved.items() if key not in given),
        "gradient bytes": sum(p.nbytes for p in job.start),
    }


def chain(who: list[str], turns: int) -> dict:
    sizes = {name: N_FUSED if name == "tinygrad" else N_OPERATIONS for name in who}
    pairs = {name: getattr(Chain(n), name)() for name, n in sizes.items()}
    for name, n in sizes.items():  # a product of up to 250 slopes, each rounded a few times to 2^-24
        np.testing.assert_allclose(pairs[name][1](), Chain(n).ours()[1](), rtol=1e-3, err_msg=name)
    scales = {name: 1e6 / n for name, n in sizes.items()}
    return {
        what: compare("microseconds an operation", scales, {name: pair[i] for name, pair in pairs.items()}, turns, 20)
        for i, what in enumerate(("forward", "forward and backward"))
    } | {"operations": sizes}


def logistic(who: list[str], turns: int, how: str) -> dict:
    steps = {name: getattr(Logistic(how), name)() for name in who}
    for name, step in steps.items():
        (loss, g), (ours, our_g) = step(), steps["ours"]()
        np.testing.assert_allclose(loss, ours, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(g, our_g, atol=1e-4, err_msg=name)  # means of a million numbers about 1
    return compare("milliseconds", dict.fromkeys(who, 1e3), steps, turns, 5)


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default="mlp,chain,logistic")
    parser.add_argument("--against", default="torch,hips,tinygrad")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", help="write the results here as well")
    arguments = parser.parse_args()
    who = libraries(arguments.against)
    report: dict = {
        "command": " ".join(["python", "packages/fp-autograd/benchmarks/bench_tensor.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": {
            "processor": processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "threads": int(THREADS),
            "python": platform.python_version(),
            "numpy": np.__version__,
            **{name: version("autograd" if name == "hips" else name) for name in who[1:]},
        },
        "results": {},
    }
    print(json.dumps({key: report[key] for key in ("command", "date", "machine")}))
    jobs = {
        "mlp": lambda: mlp(who, arguments.turns),
        "chain": lambda: chain(who, arguments.turns),
        "logistic": lambda: logistic(who, arguments.turns, "softplus"),
        "logistic, written out": lambda: logistic(who, arguments.turns, "written out"),
        "logistic, one operation": lambda: logistic(["ours", "torch"], arguments.turns, "one operation"),
    }
    for name, job in jobs.items():
        if name.split(",")[0] in arguments.jobs.split(","):
            report["results"][name] = job()
            print(json.dumps({name: report["results"][name]}), flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
