"""
The forward formulas of the capstone in stage 2's elementary operations, each with a rule of its own.

Stage 6 has faster operations, a norm or an attention in one piece, whose derivatives were written by hand. Here nothing
was: every gradient comes from the rules of `+`, `*`, `@`, `exp`, an index and the like.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fp_autograd.rules import concatenate, where
from fp_capstone.rotary import rotary_tables
from fp_transformer.config import TransformerConfig


def softmax(s: Any) -> Any:
    """Along the last axis; the maximum is a constant (`capstone.log-sum-exp-shift`)."""
    e = (s - np.asarray(s.data).max(axis=-1, keepdims=True)).exp()
    return e / e.sum(axis=-1, keepdims=True)


def rms_norm(x: Any, gain: Any, eps: float) -> Any:
    """(N1)."""
    return x / ((x * x).mean(axis=-1, keepdims=True) + eps).sqrt() * gain


def layer_norm(x: Any, gain: Any, bias: Any, eps: float) -> Any:
    """(N4)."""
    return rms_norm(x - x.mean(axis=-1, keepdims=True), gain, eps) + bias


def gelu(x: Any) -> Any:
    """The form with the hyperbolic tangent."""
    return 0.5 * x * (1 + ((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)).tanh())


def swiglu(ab: Any) -> Any:
    """Gates in the first half of each row, values in the second."""
    F = ab.shape[-1] // 2
    a, b = ab[..., :F], ab[..., F:]
    return a / (1 + (-a).exp()) * b


def rotate(x: Any, base: float) -> Any:
    """(R1), on (B, T, H, D)."""
    half = x.shape[-1] // 2
    tables = rotary_tables(x.shape[1], x.shape[-1], base, x.dtype)
    cos, sin = (a[:, None] for a in tables)
    x1, x2 = x[..., :half], x[..., half:]
    return concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)


def attention(q: Any, k: Any, v: Any, M: np.ndarray | None = None) -> Any:
    """(T1) to (T3) on whole squares of scores; `M` is a dropout mask."""
    T, H, D = q.shape[1:]
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
    if k.shape[1] < H:
        shared = np.arange(H) // (H // k.shape[1])  # which key head a query head reads
        k, v = k[:, shared], v[:, shared]
    S = q @ k.swapaxes(-1, -2) / D**0.5
    P = softmax(where(np.tril(np.ones((T, T), bool)), S, -np.inf))
    return ((P if M is None else P * M) @ v).transpose(0, 2, 1, 3)


def cross_entropy(z: Any, y: np.ndarray) -> Any:
    """(C1), the mean over rows."""
    top = np.asarray(z.data).max(axis=-1, keepdims=True)
    return ((z - top).exp().sum(axis=-1).log() - (z - top)[np.arange(len(y)), y]).mean()


def block(x: Any, p: Mapping[str, Any], i: int, config: TransformerConfig) -> Any:
    """(B1) and (B2), with Hugging Face's names."""
    B, T, C = x.shape
    D, eps = config.d_head, config.norm_eps
    if config.is_llama:
        at, mlp = f"model.layers.{i}.self_attn.", f"model.layers.{i}.mlp."
        n = rms_norm(x, p[f"model.layers.{i}.input_layernorm.weight"], eps)
        q, k, v = ((n @ p[f"{at}{one}_proj.weight"].T).reshape(B, T, -1, D) for one in "qkv")
        y = attention(rotate(q, config.rope_base), rotate(k, config.rope_base), v).reshape(B, T, C)
        x = x + y @ p[f"{at}o_proj.weight"].T
        n = rms_norm(x, p[f"model.layers.{i}.post_attention_layernorm.weight"], eps)
        a, b = n @ p[f"{mlp}gate_proj.weight"].T, n @ p[f"{mlp}up_proj.weight"].T
        return x + (a / (1 + (-a).exp()) * b) @ p[f"{mlp}down_proj.weight"].T
    at = f"transformer.h.{i}."

    def affine(x: Any, name: str) -> Any:
        return x @ p[f"{at}{name}.weight"] + p[f"{at}{name}.bias"]

    n = layer_norm(x, p[f"{at}ln_1.weight"], p[f"{at}ln_1.bias"], eps)
    qkv = affine(n, "attn.c_attn").reshape(B, T, 3, config.n_heads, D)
    x = x + affine(attention(*(qkv[:, :, j] for j in range(3))).reshape(B, T, C), "attn.c_proj")
    n = layer_norm(x, p[f"{at}ln_2.weight"], p[f"{at}ln_2.bias"], eps)
    return x + affine(gelu(affine(n, "mlp.c_fc")), "mlp.c_proj")


def loss(p: Mapping[str, Any], config: TransformerConfig, ids: np.ndarray, targets: np.ndarray) -> Any:
    """(M1) to (M4)."""
    table = p["model.embed_tokens.weight" if config.is_llama else "transformer.wte.weight"]
    x = table[ids] if config.is_llama else table[ids] + p["transformer.wpe.weight"][: ids.shape[1]]
    for i in range(config.n_layers):
        x = block(x, p, i, config)
    if config.is_llama:
        n = rms_norm(x, p["model.norm.weight"], config.norm_eps)
    else:
        n = layer_norm(x, p["transformer.ln_f.weight"], p["transformer.ln_f.bias"], config.norm_eps)
    z = n @ (table if config.tied else p["lm_head.weight"]).T
    return cross_entropy(z.reshape(-1, config.vocab_size), targets.reshape(-1))


def operations(eps: float) -> dict[str, Callable[..., Any]]:
    """The formula of each operation that is a row of the table."""
    return {
        "linear map": lambda x, W, b: x @ W + b,
        "embedding": lambda E, ids: E[ids],
        "RMSNorm": lambda x, gain: rms_norm(x, gain, eps),
        "LayerNorm": lambda x, gain, bias: layer_norm(x, gain, bias, eps),
        "GELU": gelu,
        "SwiGLU": swiglu,
        "rotary positions": lambda x: rotate(x, 100.0),
        "softmax cross-entropy": cross_entropy,
        "attention": attention,
        "attention, grouped heads": attention,
    }
