"""
Layers, losses and training steps against PyTorch (eager): `python packages/fp-neural/benchmarks/bench_neural.py`.

In float32, with the same numbers, the same arithmetic and the same number of threads, two, for both:

- mlp: a training step of the perceptron language model: look-up, forward, cross-entropy, backward, plain gradient
  descent in place. Small is a context of 3 characters of 27, 24 numbers each, 300 hidden, batch 128; large a context of
  8 of 65, 32 numbers each, 512 hidden, batch 1024. PyTorch's is written with `torch.nn.functional` and updates with
  `sub_`, the quickest way that it has.
- lstm language model: the same for an embedding, an LSTM and a linear layer; 64 rows of 64 characters of 65.
- cross-entropy, lstm, rnn, batch norm, embedding, linear, the activations and clipping, each by itself, forward and
  backward, by sizes.

Losses, outcomes and gradients are compared before anything is timed. The two take turns; within a turn a job runs some
times in a row, and the turn's time is the median of these. What is printed is the median of the turns, and of the
ratios (ours to PyTorch's, below one: ours is faster) the median and the range. Threads wait for more work for some
milliseconds after they have had some, which would slow the other library: a pause goes before each turn. On a machine
that does other work at the same time two threads wait for each other, and only `--threads 1` gives steady numbers.

The products are NumPy's OpenBLAS here and MKL there, but PyTorch computes an LSTM by oneDNN. OpenBLAS chooses its
kernels by the processor, and the older ones for one that it does not know: `kernels` in the report says which. If they
are `Haswell` on a processor with AVX-512, `OPENBLAS_CORETYPE=SkylakeX` before the command makes products up to twice as
fast, and the recurrent layers with them.
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
import time
from collections.abc import Callable, Iterable
from typing import Any

THREADS = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv[:-1] else "2"
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = THREADS  # read when the libraries are imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fp_autograd.rules import relu, tanh  # noqa: E402
from fp_neural.activations import gelu, silu  # noqa: E402
from fp_neural.embedding import Embedding  # noqa: E402
from fp_neural.language_model import MLPLanguageModel  # noqa: E402
from fp_neural.layers import Linear  # noqa: E402
from fp_neural.losses import cross_entropy  # noqa: E402
from fp_neural.module import Module, Parameter  # noqa: E402
from fp_neural.normalization import BatchNorm1d  # noqa: E402
from fp_neural.recurrent import LSTM, RNN  # noqa: E402
from fp_neural.recurrent_model import RecurrentLanguageModel  # noqa: E402
from fp_neural.training import clip_norm, gradient_step  # noqa: E402

torch.set_num_threads(int(THREADS))

Run = Callable[[], Any]
RATE = 0.1


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def leaf(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(x, requires_grad=True)


# --- training steps: a loss each


def mlp(V: int, context: int, dim: int, hidden: int, batch: int) -> tuple[Run, Run]:
    rng = np.random.default_rng(1)
    model = MLPLanguageModel(V, context, dim, hidden, rng=rng)
    x, y = rng.integers(0, V + 1, (batch, context)), rng.integers(0, V, batch)
    C, W1, b1, W2, b2 = theirs = [leaf(p.data) for p in model.parameters()]
    x_, y_ = torch.from_numpy(x), torch.from_numpy(y)

    def loss() -> torch.Tensor:
        h = torch.tanh(F.linear(F.embedding(x_, C).flatten(1), W1, b1))
        return F.cross_entropy(F.linear(h, W2, b2), y_)

    return steps(model, lambda: model.loss(x, y), theirs, loss)


def lstm_language_model(V: int, dim: int, hidden: int, B: int, T: int) -> tuple[Run, Run]:
    rng = np.random.default_rng(2)
    model = RecurrentLanguageModel(V, dim, hidden, rng=rng)
    x, y = rng.integers(0, V, (2, B, T))
    x_, y_ = torch.from_numpy(x), torch.from_numpy(y)
    peer = torch_lstm(model.layers[0], nn.LSTM)
    C, W, b = (leaf(p.data) for p in (model.embedding.weight, model.output.weight, model.output.bias))

    def loss() -> torch.Tensor:
        z = F.linear(peer(F.embedding(x_, C))[0], W, b)
        return F.cross_entropy(z.view(-1, V), y_.view(-1))

    # PyTorch's second bias stays at zero, so that both make the same steps
    peer.bias_hh_l0.requires_grad_(False)
    return steps(model, lambda: model.loss(x, y), [C, W, b, *(p for p in peer.parameters() if p.requires_grad)], loss)


def steps(model: Module, ours: Run, theirs: list[torch.Tensor], loss: Callable[[], torch.Tensor]) -> tuple[Run, Run]:
    parameters = model.parameters()

    def our_step() -> float:
        model.zero_grad()
        value = ours()
        value.backward()
        gradient_step(parameters, RATE)
        return value.item()

    def their_step() -> float:
        for p in theirs:
            p.grad = None
        value = loss()
        value.backward()
        with torch.no_grad():
            for p in theirs:
                p.sub_(p.grad, alpha=RATE)
        return value.item()

    return our_step, their_step


# --- one layer or loss: an outcome and gradients each


def both_ways(
    ours: Run,
    our_leaves: list[Any],
    theirs: Callable[[], torch.Tensor],
    their_leaves: list[Any],
    shape: tuple[int, ...],
) -> tuple[Run, Run]:
    """Forward, and backward from a fixed cotangent."""
    g = normal(*shape, seed=9) if shape else np.float32(1)
    g_ = torch.tensor(g)

    def our_run() -> list[np.ndarray]:
        for p in our_leaves:
            p.zero_grad()
        out = ours()
        out.backward(g)
        return [out.data, *(p.grad for p in our_leaves)]

    def their_run() -> list[np.ndarray]:
        for p in their_leaves:
            p.grad = None
        out = theirs()
        out.backward(g_)
        return [out.detach().numpy(), *(p.grad.numpy() for p in their_leaves)]

    return our_run, their_run


def entropy(*shape: int) -> tuple[Run, Run]:
    z, y = normal(*shape), np.random.default_rng(3).integers(0, shape[-1], shape[:-1])
    ours, theirs, y_ = Parameter(z), leaf(z), torch.from_numpy(y)
    return both_ways(lambda: cross_entropy(ours, y), [ours], lambda: F.cross_entropy(theirs, y_), [theirs], ())


def torch_lstm(layer: Any, kind: Any) -> Any:
    peer = kind(layer.n_in, layer.n_hidden, batch_first=True)
    with torch.no_grad():
        for name, ours in (("weight_ih", layer.weight_ih), ("weight_hh", layer.weight_hh), ("bias_ih", layer.bias)):
            getattr(peer, f"{name}_l0").copy_(torch.from_numpy(ours.data))
        peer.bias_hh_l0.zero_()
    return peer


def recurrent(ours: Any, theirs: Any, B: int, T: int, D: int, H: int) -> tuple[Run, Run]:
    layer, x = ours(D, H, rng=np.random.default_rng(4)), Parameter(normal(B, T, D))
    peer, x_ = torch_lstm(layer, theirs), leaf(x.data)
    their_leaves = [x_, peer.weight_ih_l0, peer.weight_hh_l0, peer.bias_ih_l0]
    return both_ways(lambda: layer(x)[0], [x, *layer.parameters()], lambda: peer(x_)[0], their_leaves, (B, T, H))


def batch_norm(N: int, C: int) -> tuple[Run, Run]:
    layer, x = BatchNorm1d(C), Parameter(normal(N, C))
    peer, x_ = nn.BatchNorm1d(C), leaf(x.data)
    return both_ways(
        lambda: layer(x), [x, layer.weight, layer.bias], lambda: peer(x_), [x_, peer.weight, peer.bias], (N, C)
    )


def embedding(n: int, dim: int, *shape: int) -> tuple[Run, Run]:
    """Ids as often as 1/1, 1/2, 1/3, …: some are repeated much, as in a text."""
    p = 1 / np.arange(1, n + 1)
    ids = np.random.default_rng(5).choice(n, shape, p=p / p.sum())
    table, ids_ = Embedding(n, dim, rng=np.random.default_rng(6)), torch.from_numpy(ids)
    w = leaf(table.weight.data)
    return both_ways(lambda: table(ids), [table.weight], lambda: F.embedding(ids_, w), [w], (*shape, dim))


def linear(N: int, n_in: int, n_out: int) -> tuple[Run, Run]:
    layer, x = Linear(n_in, n_out, rng=np.random.default_rng(7)), Parameter(normal(N, n_in))
    w, b, x_ = leaf(layer.weight.data), leaf(layer.bias.data), leaf(x.data)
    return both_ways(
        lambda: layer(x), [x, layer.weight, layer.bias], lambda: F.linear(x_, w, b), [x_, w, b], (N, n_out)
    )


def activation(ours: Callable[[Any], Any], theirs: Callable[[Any], Any], *shape: int) -> tuple[Run, Run]:
    x = Parameter(normal(*shape))
    x_ = leaf(x.data)
    return both_ways(lambda: ours(x), [x], lambda: theirs(x_), [x_], shape)


def clipping(*shapes: tuple[int, ...]) -> tuple[Run, Run]:
    """Gradients are so long that every call shortens them, by a factor near one."""
    given = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    ours = {str(i): Parameter(np.zeros(shape, np.float32)) for i, shape in enumerate(shapes)}
    theirs = [leaf(np.zeros(shape, np.float32)) for shape in shapes]
    for g, p, q in zip(given, ours.values(), theirs, strict=True):
        p.grad, q.grad = g.copy(), torch.tensor(g)
    norm = float(np.sqrt(sum(np.square(g, dtype=float).sum() for g in given)))
    lengths = [iter(norm * 0.9999**n for n in range(1, 10**9)) for _ in range(2)]
    return (
        lambda: clip_norm(ours, next(lengths[0])),
        lambda: nn.utils.clip_grad_norm_(theirs, next(lengths[1])).item(),
    )


JOBS: dict[str, Callable[[], tuple[Run, Run]]] = {
    "mlp, small": lambda: mlp(27, 3, 24, 300, 128),
    "mlp, large": lambda: mlp(65, 8, 32, 512, 1024),
    "lstm language model": lambda: lstm_language_model(65, 64, 256, 64, 64),
    "cross-entropy 128 x 27": lambda: entropy(128, 27),
    "cross-entropy 1024 x 65": lambda: entropy(1024, 65),
    "cross-entropy 4096 x 65": lambda: entropy(4096, 65),
    "cross-entropy 1024 x 8192": lambda: entropy(1024, 8192),
    "lstm B 64, T 64, D 64, H 256": lambda: recurrent(LSTM, nn.LSTM, 64, 64, 64, 256),
    "lstm B 32, T 100, D 128, H 512": lambda: recurrent(LSTM, nn.LSTM, 32, 100, 128, 512),
    "rnn B 64, T 64, D 64, H 256": lambda: recurrent(RNN, nn.RNN, 64, 64, 64, 256),
    "batch norm 128 x 300": lambda: batch_norm(128, 300),
    "batch norm 1024 x 512": lambda: batch_norm(1024, 512),
    "embedding 27 x 24, 384 ids": lambda: embedding(27, 24, 128, 3),
    "embedding 65 x 32, 8192 ids": lambda: embedding(65, 32, 1024, 8),
    "embedding 50257 x 128, 4096 ids": lambda: embedding(50257, 128, 64, 64),
    "linear 128 x 72 to 300": lambda: linear(128, 72, 300),
    "linear 1024 x 256 to 512": lambda: linear(1024, 256, 512),
    "relu 1024 x 512": lambda: activation(relu, torch.relu, 1024, 512),
    "tanh 1024 x 512": lambda: activation(tanh, torch.tanh, 1024, 512),
    "silu 1024 x 512": lambda: activation(silu, F.silu, 1024, 512),
    "gelu 1024 x 512": lambda: activation(gelu, F.gelu, 1024, 512),
    "gelu, tanh, 1024 x 512": lambda: activation(
        lambda x: gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh"), 1024, 512
    ),
    "clipping of the large mlp": lambda: clipping((66, 32), (512, 256), (512,), (65, 512), (65,)),
}


# --- measuring


def agree(ours: Any, theirs: Any, what: str) -> None:
    """Sums of some thousand terms in single precision, of both signs."""
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, list) else [(ours, theirs)]
    for x, y in pairs:
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4 * np.abs(y).max(), err_msg=what)


def seconds(do: Run, least: float) -> float:
    """The median of runs in a row that together take so many seconds, after one that does not count."""
    do()
    times: list[float] = []
    while sum(times) < least or len(times) < 3:
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def spread(values: Iterable[float]) -> list[float]:
    """Median, least and greatest, to three digits."""
    v = sorted(values)
    return [float(f"{x:.3g}") for x in (statistics.median(v), v[0], v[-1])]


def compare(name: str, runs: tuple[Run, Run], turns: int) -> dict[str, Any]:
    """Times in milliseconds and ratios of two that take turns."""
    for _ in range(3):  # of a training step, the losses of three steps
        agree(runs[0](), runs[1](), name)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for run, taken in zip(runs, times, strict=True):
            time.sleep(0.1)
            taken.append(1e3 * seconds(run, 0.1))
    return {
        "milliseconds": {who: spread(taken) for who, taken in zip(("ours", "torch"), times, strict=True)},
        "ratio": spread(a / b for a, b in zip(*times, strict=True)),
    }


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
    parser.add_argument("--jobs", default="", help="only those whose names begin so, separated by commas")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", default="2", help="of each library; on a machine with other work, one is steadier")
    parser.add_argument("--json", help="write the results here as well")
    arguments = parser.parse_args()
    report: dict = {
        "command": " ".join(["python", "packages/fp-neural/benchmarks/bench_neural.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": {
            "processor": processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "threads": int(THREADS),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "kernels": kernels(),
            "torch": torch.__version__,
        },
        "results": {},
    }
    print(json.dumps({key: report[key] for key in ("command", "date", "machine")}))
    for name, job in JOBS.items():
        if name.startswith(tuple(arguments.jobs.split(","))):
            report["results"][name] = compare(name, job(), arguments.turns)
            print(json.dumps({name: report["results"][name]}), flush=True)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
