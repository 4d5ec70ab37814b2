"""
PyTorch's answer for every operation of `fp_capstone`: forward values and gradients in float64, on small prime sizes.

`main` freezes them in packages/fp-capstone/tests/fixtures/operations.safetensors. Names are `case/what`, where
`what` is an input, `y`, the cotangent `g`, or `d` and the name of an input.
"""

import math
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file
from torch.nn import functional as F

FIXTURE = pathlib.Path(__file__).parents[2] / "packages/fp-capstone/tests/fixtures/operations.safetensors"


def rotate_half(x, cos, sin):
    """RoPE as Hugging Face's Llama writes it; `cos` and `sin` repeat for the two halves."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * torch.cat((cos, cos), -1)[:, None] + turned * torch.cat((sin, sin), -1)[:, None]


def attention(q, k, v):
    """Grouped-query causal attention on B T H D arrays by PyTorch's own kernel."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    groups = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def cases(rng):
    """Name, operation, and its inputs; those that are not floating point take no gradient."""
    n = rng.normal
    angles = np.arange(5)[:, None] * 100.0 ** (-np.arange(0, 6, 2) / 6)
    cos, sin = torch.from_numpy(np.cos(angles)), torch.from_numpy(np.sin(angles))
    return {
        "linear": (lambda x, W, b: x @ W + b, {"x": n(size=(3, 5)), "W": n(size=(5, 7)), "b": n(size=7)}),
        "embedding": (lambda E, ids: F.embedding(ids, E), {"E": n(size=(7, 3)), "ids": np.array([5, 0, 5, 5, 2])}),
        "rms_norm": (lambda x, gain: F.rms_norm(x, (7,), gain, 1e-5), {"x": n(size=(3, 7)), "gain": n(size=7)}),
        "layer_norm": (
            lambda x, gain, bias: F.layer_norm(x, (7,), gain, bias, 1e-5),
            {"x": n(size=(3, 7)), "gain": n(size=7), "bias": n(size=7)},
        ),
        "gelu": (lambda x: F.gelu(x, approximate="tanh"), {"x": 2 * n(size=(3, 7))}),
        "swiglu": (lambda ab: F.silu(ab[:, :5]) * ab[:, 5:], {"ab": 2 * n(size=(3, 10))}),
        "rotary": (lambda x: rotate_half(x, cos, sin), {"x": n(size=(2, 5, 3, 6))}),
        "attention": (
            attention,
            {"q": n(size=(2, 7, 6, 5)), "k": n(size=(2, 7, 3, 5)), "v": n(size=(2, 7, 3, 5))},
        ),
        "cross_entropy": (F.cross_entropy, {"input": 3 * n(size=(5, 7)), "target": np.array([6, 0, 3, 3, 1])}),
    }


def compute():
    """All arrays, by name."""
    rng = np.random.default_rng(20)
    out = {}
    for name, (operation, inputs) in cases(rng).items():
        tensors = {k: torch.from_numpy(v).requires_grad_(v.dtype == np.float64) for k, v in inputs.items()}
        y = operation(**tensors)
        g = torch.from_numpy(np.asarray(rng.normal(size=tuple(y.shape)))) if y.ndim else torch.tensor(1.0).double()
        y.backward(g)
        out |= {f"{name}/{k}": v for k, v in inputs.items()}
        out |= {f"{name}/d{k}": t.grad.numpy() for k, t in tensors.items() if t.grad is not None}
        out |= {f"{name}/y": y.detach().numpy(), f"{name}/g": g.numpy()}
    assert math.isfinite(sum(float(np.abs(a).sum()) for a in out.values()))
    return {k: np.ascontiguousarray(v) for k, v in out.items()}


def main():
    """Write the fixture."""
    FIXTURE.parent.mkdir(exist_ok=True)
    save_file(compute(), FIXTURE, {"made by": "tools/oracles/capstone_operations.py", "torch": torch.__version__})


if __name__ == "__main__":
    main()
