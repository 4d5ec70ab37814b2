"""
Freeze values and gradients of alignment's losses in PyTorch, in float64.

    python -m tools.oracles.align_losses

writes packages/fp-align/tests/fixtures/torch.json, which the default tests read. The formulas are those of TRL, written
with PyTorch's own functions (`logsigmoid`, `clamp`, `min`, `log_softmax`, `gather`); `test_align` asks TRL's trainers
live. Advantages are summed term by term from the definition, without the recursion.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parents[2] / "packages/fp-align/tests/fixtures/torch.json"


DPO = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
RATIOS = [0.5, 0.5, 0.79, 0.8, 0.8, 0.9, 1.0, 1.0, 1.1, 1.2, 1.2, 1.21, 3.0, 3.0]  # on both kinks and around them
ADVANTAGES = [1.5, -1.5, 2.0, 1.5, -1.5, -2.0, 0.0, 1.0, 0.7, 1.5, -1.5, -0.3, 2.5, -2.5]


def inputs(seed: int = 0) -> dict[str, dict[str, Any]]:
    """What is given, as short decimals."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> list:
        return (scale * rng.normal(size=shape)).round(3).tolist()

    def logs(n: int) -> list[float]:
        return (-rng.exponential(8.0, size=n) - 0.1).round(3).tolist()

    return {
        "kl": {"logp": logs(7), "logq": logs(7)},
        "bradley_terry": {
            "chosen": [*normal(5, scale=3.0), 40.0, -40.0],
            "rejected": [*normal(5, scale=3.0), -40.0, 40.0],
        },
        "dpo": {"beta": 0.3, **{name: logs(7) for name in DPO}},
        "clip": {"eps": 0.2, "ratio": RATIOS, "advantage": ADVANTAGES},
        "gae": {
            "rewards": normal(3, 5),
            "values": normal(3, 5),
            "settings": [[1.0, 0.95], [0.9, 0.5], [0.99, 1.0], [0.8, 0.0]],
        },
        "sequence": {
            "logits": normal(3, 6, 5, scale=2.0),
            "ids": rng.integers(0, 5, (3, 7)).tolist(),
            "mask": [[0, 0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 0]],
        },
    }


def outcome(function: Callable[..., Any], *given: Any) -> tuple[Any, list]:
    """Numbers, and the gradient of their sum in each of the inputs."""
    import torch

    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in given]
    out = function(*leaves)
    return out.detach().tolist(), [g.tolist() for g in torch.autograd.grad(out.sum(), leaves, materialize_grads=True)]


def gae_sum(rewards: list, values: list, gamma: float, lam: float) -> list:
    """Advantages, each as the sum of its definition."""
    import torch

    r, v = (torch.tensor(x, dtype=torch.float64) for x in (rewards, values))
    after = torch.cat([v[:, 1:], torch.zeros(len(v), 1, dtype=torch.float64)], dim=1)
    delta = r + gamma * after - v
    T = v.shape[1]
    fade = [[(gamma * lam) ** (u - t) if u >= t else 0.0 for u in range(T)] for t in range(T)]
    return (delta @ torch.tensor(fade, dtype=torch.float64).T).tolist()


def results(given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What PyTorch makes of it."""
    import torch
    from torch.nn.functional import logsigmoid

    found: dict[str, dict[str, Any]] = {name: {} for name in given}
    logq = torch.tensor(given["kl"]["logq"], dtype=torch.float64)
    for name, k in (
        ("k1", lambda p: p - logq),
        ("k2", lambda p: (p - logq).square() / 2),
        ("k3", lambda p: torch.exp(logq - p) - (logq - p) - 1),
    ):
        values, (gradient,) = outcome(k, given["kl"]["logp"])
        found["kl"][name] = {"values": values, "gradient": gradient}

    pair = given["bradley_terry"]
    loss, gradients = outcome(lambda c, r: -logsigmoid(c - r).mean(), pair["chosen"], pair["rejected"])
    found["bradley_terry"] = {"loss": loss, "gradients": gradients}

    case = given["dpo"]
    loss, gradients = outcome(
        lambda pc, pr, rc, rr: -logsigmoid(case["beta"] * ((pc - rc) - (pr - rr))).mean(), *[case[n] for n in DPO]
    )
    found["dpo"] = {"loss": loss, "gradients": gradients}

    case = given["clip"]
    A, eps = torch.tensor(case["advantage"], dtype=torch.float64), case["eps"]
    values, (gradient,) = outcome(lambda x: torch.min(x * A, torch.clamp(x, 1 - eps, 1 + eps) * A), case["ratio"])
    found["clip"] = {"values": values, "gradient": gradient}

    case = given["gae"]
    found["gae"] = {"advantages": [gae_sum(case["rewards"], case["values"], *s) for s in case["settings"]]}

    case = given["sequence"]
    ids, mask = torch.tensor(case["ids"]), torch.tensor(case["mask"])

    def sums(logits: Any) -> Any:
        tokens = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        return (tokens * mask[:, 1:]).sum(1)

    values, (gradient,) = outcome(sums, case["logits"])
    found["sequence"] = {"values": values, "gradient": gradient}
    return found


def main() -> None:
    given = inputs()
    found = results(given)
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(json.dumps({name: given[name] | found[name] for name in given}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
