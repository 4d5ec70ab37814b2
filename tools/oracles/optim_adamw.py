"""
Freeze 60 steps of PyTorch's AdamW in float64, with a decay mask and a schedule.

    python -m tools.oracles.optim_adamw

writes packages/fp-optim/tests/fixtures/adamw.json, which the default tests read.
"""

import json
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).parents[2] / "packages/fp-optim/tests/fixtures/adamw.json"

N_STEPS, EVERY = 60, 10
SETTINGS = {"betas": [0.9, 0.97], "eps": 1e-6, "weight_decay": 0.3}
SHAPES = {"w": (3, 5), "b": (7,)}  # the matrix decays, the vector does not
SCALES = {"w": 1.0, "b": 1e-3}


def problem() -> dict:
    """Settings, rates, first parameters and gradients; the gradients are short decimals, so that the file is small."""
    rng = np.random.default_rng(17)
    rates = [0.03 * min((k + 1) / 7, 1 - 0.9 * k / N_STEPS) for k in range(N_STEPS)]
    start = {name: rng.normal(size=shape).round(3).tolist() for name, shape in SHAPES.items()}
    grads = [
        {name: (SCALES[name] * rng.normal(size=shape)).round(5).tolist() for name, shape in SHAPES.items()}
        for _ in range(N_STEPS)
    ]
    return SETTINGS | {"rates": rates, "start": start, "grads": grads}


def torch_trajectory(data: dict) -> list[dict]:
    """The parameters after every tenth step."""
    import torch

    parameters = {name: torch.tensor(value, dtype=torch.float64) for name, value in data["start"].items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameters["w"]], "weight_decay": data["weight_decay"]},
            {"params": [parameters["b"]], "weight_decay": 0.0},
        ],
        betas=tuple(data["betas"]),
        eps=data["eps"],
    )
    trajectory = []
    for k, (rate, grads) in enumerate(zip(data["rates"], data["grads"], strict=True)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(grads[name], dtype=torch.float64)
        optimizer.step()
        if (k + 1) % EVERY == 0:
            trajectory.append({name: parameter.tolist() for name, parameter in parameters.items()})
    return trajectory


def main() -> None:
    data = problem()
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(
        json.dumps(data | {"every": EVERY, "trajectory": torch_trajectory(data)}) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
