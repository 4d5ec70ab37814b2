"""
`Value` against micrograd: `python packages/fp-autograd/benchmarks/bench_value.py [--turns N] [--json FILE]`.

Micrograd's own example: two moons of 100 points, a perceptron 2-16-16-1 with rectifiers, hinge loss, weight decay, one
step of descent on all points. All start from the same weights. Three programs alternate:

- `micrograd`: its engine and its `MLP`;
- `same steps`: our engine under the very same expressions, one value for each product and each sum;
- `ours`: our `MLP`, in which a neuron's sum of products is one value.

A step is the loss, the sweep and the update, and what is printed is its median time, with the median, the least and the
greatest of the ratios of neighbouring steps. The losses of all three are compared after the last step. Garbage is
collected between the steps, off the clock. That flatters micrograd, whose graphs are full of cycles and make the
collector work: left to itself it takes about half as long again.

Needs `micrograd`.
"""

import argparse
import datetime
import gc
import json
import os
import pathlib
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import micrograd.nn
import numpy as np

from fp_autograd.mlp import MLP
from fp_autograd.value import Value

WIDTHS = [16, 16, 1]
Points = list[list[float]]


def moons(n: int, noise: float, rng: np.random.Generator) -> tuple[Points, list[int]]:
    """Two half circles, one inside the other's bend, with labels 1 and -1."""
    angle = np.linspace(0, np.pi, n // 2)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    x = np.concatenate([upper, lower]) + rng.normal(scale=noise, size=(2 * (n // 2), 2))
    order = rng.permutation(len(x))
    return x[order].tolist(), np.repeat([1, -1], n // 2)[order].tolist()


class Stepwise:
    """Micrograd's perceptron, expression by expression, on our values."""

    def __init__(self, n_in: int, widths: Sequence[int]) -> None:
        self.layers = [
            [([Value(0) for _ in range(n)], Value(0)) for _ in range(m)]
            for n, m in zip([n_in, *widths[:-1]], widths, strict=True)
        ]

    def __call__(self, x: list[Any]) -> Any:
        for depth, layer in enumerate(self.layers, 1):
            x = [sum((wi * xi for wi, xi in zip(w, x, strict=True)), b) for w, b in layer]
            x = x if depth == len(self.layers) else [s.relu() for s in x]
        return x[0]

    def parameters(self) -> list[Value]:
        return [p for layer in self.layers for w, b in layer for p in (*w, b)]


def stepwise_squares(parameters: list[Any]) -> Any:
    return sum(p * p for p in parameters)


def fused_squares(parameters: list[Value]) -> Value:
    return Value.dot(parameters, parameters)


class Training:
    """One of the three, and what it has taken."""

    def __init__(self, model: Any, squares: Callable[[list[Any]], Any], weights: list[float]) -> None:
        self.model, self.squares, self.parameters = model, squares, model.parameters()
        for p, weight in zip(self.parameters, weights, strict=True):
            p.data = weight
        self.times: list[float] = []

    def step(self, x: Points, y: list[int], rate: float) -> None:
        gc.collect()  # micrograd's graphs are full of cycles: the step after must not pay for clearing them away
        start = time.perf_counter()
        losses = [(1 + -label * self.model(point)).relu() for point, label in zip(x, y, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * self.squares(self.parameters)
        for p in self.parameters:
            p.grad = 0.0
        loss.backward()
        for p in self.parameters:
            p.data -= rate * p.grad
        self.loss = loss.data
        del loss, losses  # the graph's end belongs to the step
        self.times.append(time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", help="write the results here as well")
    arguments = parser.parse_args()
    sys.setrecursionlimit(20_000)  # micrograd orders its graph by recursion
    rng = np.random.default_rng(1337)
    x, y = moons(100, 0.1, rng)
    fused = MLP(2, WIDTHS, activation="relu")
    weights = rng.uniform(-1, 1, len(fused.parameters())).tolist()
    who = {
        "micrograd": Training(micrograd.nn.MLP(2, WIDTHS), stepwise_squares, weights),
        "same steps": Training(Stepwise(2, WIDTHS), stepwise_squares, weights),
        "ours": Training(fused, fused_squares, weights),
    }
    for turn in range(arguments.turns + 1):
        for training in who.values():
            training.step(x, y, 0.1 * (1 - 0.9 * turn / (arguments.turns + 1)))
    losses = {name: training.loss for name, training in who.items()}
    # sums in another order, carried through all steps of descent
    assert np.ptp(list(losses.values())) < 1e-9 * losses["micrograd"], f"the three differ: {losses}"
    times = {name: training.times[1:] for name, training in who.items()}  # the first step warms up

    def ratio(name: str) -> list[float]:
        r = sorted(theirs / ours for theirs, ours in zip(times["micrograd"], times[name], strict=True))
        return [float(f"{v:.3g}") for v in (statistics.median(r), r[0], r[-1])]

    report = {
        "command": " ".join(["python", "packages/fp-autograd/benchmarks/bench_value.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": {
            "processor": processor(),
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "micrograd": version("micrograd"),
        },
        "loss after the last step": round(losses["ours"], 6),
        "milliseconds a step": {name: round(statistics.median(t) * 1e3, 2) for name, t in times.items()},
        "times faster than micrograd": {name: ratio(name) for name in ("same steps", "ours")},
    }
    print(json.dumps(report, indent=1))
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
