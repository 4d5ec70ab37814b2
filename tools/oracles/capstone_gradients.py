"""
PyTorch's gradients of every row of `fp_capstone.gradient_checks`: the same inputs, the forward formulas in PyTorch.

`main` freezes them in packages/fp-capstone/tests/fixtures/gradients.safetensors. Names are `row/in INPUT`, `row/in y`
and `row/in g`, what the row was given, and `row/d INPUT`, PyTorch's answer. Dropout is not drawn but given: the mask of
the attention weights is the one that our generator draws, read off the outside. The model with dropout has no answer.
"""

import math
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from tools.oracles.capstone_operations import attention, rotate_half
from torch.nn import functional as F

from fp_capstone.gradient_checks import EPS, backward_passes
from fp_capstone.rotary import rotary_tables

sys.path.append(str(pathlib.Path(__file__).parents[2] / "packages/fp-capstone/figures"))

from _gradients import FIXTURE, dropped

OPERATIONS = {
    "linear map": lambda x, W, b: F.linear(x, W.T, b),
    "embedding": lambda E, ids: F.embedding(ids, E),
    "RMSNorm": lambda x, gain: F.rms_norm(x, (7,), gain, EPS),
    "LayerNorm": lambda x, gain, bias: F.layer_norm(x, (7,), gain, bias, EPS),
    "GELU": lambda x: F.gelu(x, approximate="tanh"),
    "SwiGLU": lambda ab: F.silu(ab[:, :5]) * ab[:, 5:],
    "rotary positions": lambda x: rotate_half(x, *tables(5, 14, 100.0)),
    "attention": attention,
    "attention, grouped heads": attention,
    "softmax cross-entropy": lambda z, y: F.cross_entropy(z, y),
}


def tables(T, D, base):
    return tuple(torch.from_numpy(a) for a in rotary_tables(T, D, base, np.dtype("float64")))


def dropped_attention(M):
    """Attention with that mask on its weights."""

    def attend(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
        S = q @ k.mT / math.sqrt(q.shape[-1])
        future = torch.ones(S.shape[-2:], dtype=torch.bool).triu(1)
        return (S.masked_fill(future, -math.inf).softmax(-1) * torch.from_numpy(M) @ v).transpose(1, 2)

    return attend


def norm(x, p, name, config):
    if config.is_llama:
        return F.rms_norm(x, x.shape[-1:], p[f"{name}.weight"], config.norm_eps)
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], config.norm_eps)


def block(x, p, i, config):
    """One block of either family, with Hugging Face's names."""
    B, T, C = x.shape
    H, K, D = config.n_heads, config.n_kv_heads, config.d_head
    if config.is_llama:
        at = f"model.layers.{i}."
        n = norm(x, p, f"{at}input_layernorm", config)
        q, k, v = (
            F.linear(n, p[f"{at}self_attn.{name}_proj.weight"]).view(B, T, heads, D)
            for name, heads in (("q", H), ("k", K), ("v", K))
        )
        turn = tables(T, D, config.rope_base)
        y = attention(rotate_half(q, *turn), rotate_half(k, *turn), v).reshape(B, T, C)
        x = x + F.linear(y, p[f"{at}self_attn.o_proj.weight"])
        n = norm(x, p, f"{at}post_attention_layernorm", config)
        gate, up, down = (p[f"{at}mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
        return x + F.linear(F.silu(F.linear(n, gate)) * F.linear(n, up), down)
    at = f"transformer.h.{i}."

    def conv(x, name):
        return x @ p[f"{at}{name}.weight"] + p[f"{at}{name}.bias"]

    qkv = conv(norm(x, p, f"{at}ln_1", config), "attn.c_attn").view(B, T, 3, H, D)
    x = x + conv(attention(*qkv.unbind(2)).reshape(B, T, C), "attn.c_proj")
    return x + conv(F.gelu(conv(norm(x, p, f"{at}ln_2", config), "mlp.c_fc"), approximate="tanh"), "mlp.c_proj")


def model(config):
    """The loss of a whole model."""

    def loss(ids, targets, **p):
        table = p["model.embed_tokens.weight" if config.is_llama else "transformer.wte.weight"]
        x = F.embedding(ids, table)
        if not config.is_llama:
            x = x + p["transformer.wpe.weight"][: ids.shape[1]]
        for i in range(config.n_layers):
            x = block(x, p, i, config)
        n = norm(x, p, "model.norm" if config.is_llama else "transformer.ln_f", config)
        z = F.linear(n, table if config.tied else p["lm_head.weight"])
        return F.cross_entropy(z.flatten(0, 1), targets.flatten())

    return loss


def formula(row):
    if row.config is None:
        return OPERATIONS.get(row.name) or dropped_attention(dropped(row))
    if "ids" in row.inputs:
        return model(row.config)
    return lambda x, **p: block(x, p, 0, row.config)


def compute():
    """All arrays, by name."""
    out = {}
    for row in backward_passes():
        if row.config is not None and row.config.dropout:
            continue
        tensors = {k: torch.from_numpy(a.copy()).requires_grad_(a.dtype == np.float64) for k, a in row.inputs.items()}
        y = formula(row)(**tensors)
        y.backward(torch.from_numpy(np.asarray(row.cotangent)))
        given = {**row.inputs, "g": row.cotangent, "y": y.detach().numpy()}
        out |= {f"{row.name}/in {k}": a for k, a in given.items()}
        out |= {f"{row.name}/d {k}": t.grad.numpy() for k, t in tensors.items() if t.grad is not None}
    return {k: np.array(a, order="C") for k, a in out.items()}


def main():
    """Write the fixture."""
    save_file(compute(), FIXTURE, {"made by": "tools/oracles/capstone_gradients.py", "torch": torch.__version__})


if __name__ == "__main__":
    main()
