"""
Freeze 100 steps of PyTorch's optimizers in float64, with parameter groups, a decay mask and a schedule.

    python -m tools.oracles.optim_steps

writes packages/fp-optim/tests/fixtures/torch.json, which the default tests read.

Every optimizer is given the same gradients and the rates of `warmup_cosine`. There are two groups: the parameter `slow`
has a quarter of the rate, a decay of its own, and sometimes other settings too; of the rest the matrix decays and the
vector does not. Gradients differ a thousandfold between parameters, so that it matters where `eps` is added, and one
coordinate has none for 40 steps. They are short decimals, so that the file is small. Muon has two matrices, a group
each; PyTorch computes its iteration in bfloat16 whatever the parameters are, and its digits depend on the processor.

Names that differ, PyTorch's beside ours: `initial_accumulator_value` and `initial`; `SGD` with `nesterov=True` and
`Nesterov`; `Adam` with `amsgrad=True` and `AMSGrad`; a group's own `lr` and its `lr_scale`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fp_optim import warmup_cosine

FIXTURE = Path(__file__).parents[2] / "packages/fp-optim/tests/fixtures/torch.json"

N_STEPS, KEPT = 100, (1, 2, 3, 10, 30, 100)
SCHEDULE = {"n_steps": N_STEPS, "warmup": 10, "floor": 0.001}
SHAPES = {"w": (3, 5), "b": (7,), "slow": (2, 3)}
SCALES = {"w": 1.0, "b": 1e-3, "slow": 30.0}
DIGITS = {"w": 3, "b": 5, "slow": 1}
SLOW = {"lr_scale": 0.25, "weight_decay": 0.02}
MATRICES = {"wide": (3, 5), "tall": (5, 2)}

# ours, peak rate, settings, what the group of `slow` has besides
CASES: dict[str, tuple[str, float, dict[str, Any], dict[str, Any]]] = {
    "sgd": ("SGD", 0.01, {"weight_decay": 0.3}, {}),
    "momentum": ("Momentum", 0.01, {"momentum": 0.9, "weight_decay": 0.3}, {"momentum": 0.5}),
    "dampened": ("Momentum", 0.01, {"momentum": 0.9, "dampening": 0.25, "weight_decay": 0.3}, {"dampening": 0.9}),
    "nesterov": ("Nesterov", 0.01, {"momentum": 0.9, "weight_decay": 0.3}, {"momentum": 0.5}),
    "adagrad": ("AdaGrad", 0.1, {"eps": 1e-5, "weight_decay": 0.3}, {"eps": 1e-2}),
    "adagrad from a sum": ("AdaGrad", 0.1, {"eps": 1e-5, "initial": 0.5, "weight_decay": 0.3}, {}),
    "rmsprop": ("RMSprop", 0.01, {"alpha": 0.95, "eps": 1e-5, "weight_decay": 0.3}, {"alpha": 0.8}),
    "rmsprop, all": (
        "RMSprop",
        0.01,
        {"alpha": 0.95, "eps": 1e-5, "momentum": 0.8, "centered": True, "weight_decay": 0.3},
        {"momentum": 0.4},
    ),
    "adam": ("Adam", 0.03, {"betas": [0.9, 0.97], "eps": 1e-5, "weight_decay": 0.3}, {"betas": [0.8, 0.9]}),
    "adamw": ("AdamW", 0.03, {"betas": [0.9, 0.97], "eps": 1e-5, "weight_decay": 0.3}, {"betas": [0.8, 0.9]}),
    "amsgrad": ("AMSGrad", 0.03, {"betas": [0.9, 0.97], "eps": 1e-5, "weight_decay": 0.3}, {"eps": 1e-2}),
}
MUON = {"peak": 0.05, "momentum": 0.95, "wide": {"weight_decay": 0.3}, "tall": {"weight_decay": 0.0, "lr_scale": 0.5}}

CLASSES = {"AdaGrad": "Adagrad", "AMSGrad": "Adam", "Momentum": "SGD", "Nesterov": "SGD"}
ALWAYS = {"AMSGrad": {"amsgrad": True}, "Nesterov": {"nesterov": True}}
NAMES = {"initial": "initial_accumulator_value"}


def problem() -> dict:
    """What is given: settings, schedule, first parameters and gradients."""
    rng = np.random.default_rng(17)

    def normal(shapes: dict, scales: dict) -> dict:
        return {
            name: (scales.get(name, 1) * rng.normal(size=shape)).round(DIGITS.get(name, 2))
            for name, shape in shapes.items()
        }

    def lists(arrays: dict) -> dict:
        return {name: array.tolist() for name, array in arrays.items()}

    start, grads = lists(normal(SHAPES, {})), [normal(SHAPES, SCALES) for _ in range(N_STEPS)]
    for g in grads[:40]:
        g["b"][0] = 0
    return {
        "schedule": SCHEDULE,
        "kept": list(KEPT),
        "start": start,
        "grads": [lists(g) for g in grads],
        "cases": {
            name: {"class": ours, "peak": peak, "settings": settings, "slow": SLOW | own}
            for name, (ours, peak, settings, own) in CASES.items()
        },
        "muon": MUON
        | {"start": lists(normal(MATRICES, {})), "grads": [lists(normal(MATRICES, {})) for _ in range(N_STEPS)]},
    }


def run(make: Any, groups: dict[str, dict], peak: float, start: dict, grads: list[dict]) -> list[dict]:
    """The parameters after some of the steps; `groups` has a group of settings for each."""
    import torch

    parameters = {name: torch.tensor(value, dtype=torch.float64) for name, value in start.items()}
    scales = {name: group.pop("lr_scale", 1.0) for name, group in groups.items()}
    optimizer = make([{"params": [p]} | groups[name] for name, p in parameters.items()])
    kept = []
    for k, gradients in enumerate(grads):
        for group, name in zip(optimizer.param_groups, parameters, strict=True):
            group["lr"] = scales[name] * warmup_cosine(k, peak=peak, **SCHEDULE)
            parameters[name].grad = torch.tensor(gradients[name], dtype=torch.float64)
        optimizer.step()
        if k + 1 in KEPT:
            kept.append({name: p.tolist() for name, p in parameters.items()})
    return kept


def trajectories(given: dict) -> dict[str, list[dict]]:
    """What PyTorch makes of it."""
    import torch

    found = {}
    for name, case in given["cases"].items():
        ours, settings = case["class"], case["settings"]

        def group(own: dict, ours: str = ours, settings: dict = settings) -> dict:
            together = ALWAYS.get(ours, {}) | settings | own
            return {NAMES.get(key, key): tuple(v) if key == "betas" else v for key, v in together.items()}

        groups = {"w": group({}), "b": group({"weight_decay": 0.0}), "slow": group(case["slow"])}
        make = getattr(torch.optim, CLASSES.get(ours, ours))
        # Adagrad fills its sums before it looks at the groups
        found[name] = run(
            lambda groups, make=make: make(groups, lr=1.0, **{k: v for k, v in groups[0].items() if k != "params"}),
            groups, case["peak"], given["start"], given["grads"],
        )  # fmt: skip
    return found


def muon_trajectory(given: dict) -> list[dict]:
    import torch

    muon = given["muon"]
    return run(
        lambda groups: torch.optim.Muon(groups, lr=1.0, momentum=muon["momentum"]),
        {name: dict(muon[name]) for name in MATRICES}, muon["peak"], muon["start"], muon["grads"],
    )  # fmt: skip


def main() -> None:
    given = problem()
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    results = {"trajectories": trajectories(given), "muon trajectory": muon_trajectory(given)}
    FIXTURE.write_text(json.dumps(given | results) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
