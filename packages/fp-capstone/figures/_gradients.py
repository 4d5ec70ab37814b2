"""
The second and the third judge of the backward passes: stage 2's autograd, and PyTorch's frozen answers.

Shared by the figure `gradient_checks` and by tests; `fp_capstone` itself does not import stage 2.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file

from fp_autograd.tensor import Tensor
from fp_capstone.attention import causal_attention
from fp_capstone.gradient_checks import DROPOUT, EPS, SEED, BackwardPass

sys.path.append(str(Path(__file__).parent))

import _formulas as formulas

FIXTURE = Path(__file__).parents[1] / "tests" / "fixtures" / "gradients.safetensors"
OPERATIONS = formulas.operations(EPS)


# --- stage 2


def dropped(p: BackwardPass) -> np.ndarray:
    """
    The dropout mask of attention weights, read off the outside: values that are unit vectors show the weights.

    With the value of position j a vector of zeros but for a one in place j, the output is the row of weights.
    """
    q, k, v = (p.inputs[name] for name in "qkv")
    T = q.shape[1]
    units = np.broadcast_to(np.eye(T, v.shape[-1])[:, None], v.shape)
    weights, whole = (causal_attention(q, k, units, rate, np.random.default_rng(SEED))[0] for rate in (DROPOUT, 0.0))
    seen = np.tril(np.ones((T, T), bool))
    ratio = weights.transpose(0, 2, 1, 3)[..., :T] / np.where(seen, whole.transpose(0, 2, 1, 3)[..., :T], 1)
    return np.round(ratio * (1 - DROPOUT)) / (1 - DROPOUT)  # zero, or 1 / (1 - p) up to the rounding of the division


def by_autograd(p: BackwardPass) -> dict[str, np.ndarray] | None:
    """The gradients by stage 2's reverse mode, or None where it has no forward formula with our dropout."""
    inputs = {name: Tensor(x, requires_grad=True) if x.dtype == float else x for name, x in p.inputs.items()}
    if p.config is None:
        formula = OPERATIONS.get(p.name)
        y = formulas.attention(**inputs, M=dropped(p)) if formula is None else formula(**inputs)
    elif p.config.dropout:
        return None
    elif "ids" in inputs:
        y = formulas.loss(inputs, p.config, p.inputs["ids"], p.inputs["targets"])
    else:
        y = formulas.block(inputs["x"], inputs, 0, p.config)
    y.backward(p.cotangent)
    return {name: x.grad for name, x in inputs.items() if isinstance(x, Tensor)}


# --- PyTorch: frozen answers


def by_pytorch(p: BackwardPass) -> dict[str, np.ndarray]:
    """
    The frozen gradients.

    Raises
    ------
    AssertionError
        If they were computed for other inputs, or for another dropout mask, than we have.
    """
    frozen = {key.split("/")[1]: a for key, a in load_file(FIXTURE).items() if key.split("/")[0] == p.name}
    for name, x in {**p.inputs, "g": p.cotangent, "y": p.forward()}.items():
        # 1e-12: inputs are the same bits, and the forward pass sums at most some hundred terms
        same = np.allclose(frozen[f"in {name}"], x, rtol=1e-12, atol=1e-12)
        assert same, f"{p.name}: {name} is not what PyTorch was given; run python -m tools.oracles.capstone_gradients"
    return {name[2:]: a for name, a in frozen.items() if name.startswith("d ")}


# --- what the three say


class Row(NamedTuple):
    """A row of the table: the largest disagreement with each judge, None where one has no answer."""

    name: str
    claims: tuple[str, ...]
    entries: int
    differences: float
    autograd: float | None
    pytorch: float | None


def rows(p: BackwardPass, by_differences: dict[str, np.ndarray] | None = None) -> list[Row]:
    """The row of a backward pass, and those of its parts."""
    found = {name: a.copy() for name, a in p.backward(p.cotangent).items()}
    frozen = None if p.config is not None and p.config.dropout else by_pytorch(p)
    judges = [p.by_differences() if by_differences is None else by_differences, by_autograd(p), frozen]
    for judge in judges:
        assert judge is None or judge.keys() == found.keys(), f"{p.name}: a gradient is missing"

    def row(name: str, claims: tuple[str, ...], inputs: Any) -> Row:
        largest = [None if j is None else max(float(np.abs(j[n] - found[n]).max()) for n in inputs) for j in judges]
        return Row(name, claims, sum(found[n].size for n in inputs), largest[0] or 0.0, largest[1], largest[2])

    whole = row(p.name, p.claims, found)
    return [whole, *(row(f"{p.name}: {what}", (claim,), inputs) for what, (claim, inputs) in p.parts.items())]
