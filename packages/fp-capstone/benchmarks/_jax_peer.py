"""The model of a configuration in JAX, and its training step as one compiled function, for benchmarks."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fp_transformer.config import TransformerConfig

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_default_matmul_precision", "highest")  # float32 throughout

Arrays = dict[str, jax.Array]


def attend(c: TransformerConfig, q: jax.Array, k: jax.Array, v: jax.Array, tables: tuple | None) -> jax.Array:
    B, T, _ = q.shape
    q, k, v = (x.reshape(B, T, -1, c.d_head) for x in (q, k, v))
    if tables is not None:
        q, k = rotate(q, *tables), rotate(k, *tables)
    return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(B, T, -1)


def rotate(x: jax.Array, cos: np.ndarray, sin: np.ndarray) -> jax.Array:
    a, b = jnp.split(x, 2, -1)
    cos, sin = cos[: x.shape[1], None], sin[: x.shape[1], None]
    return jnp.concatenate((a * cos - b * sin, b * cos + a * sin), -1)


def llama(c: TransformerConfig, w: Arrays, ids: jax.Array) -> jax.Array:
    def norm(x, name):
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + c.norm_eps) * w[name + ".weight"]

    def linear(x, name):
        return x @ w[name + ".weight"].T

    angles = np.arange(c.context_length)[:, None] * c.rope_base ** (-np.arange(0, c.d_head, 2) / c.d_head)
    tables = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c.n_layers):
        p = f"model.layers.{i}."
        n = norm(x, p + "input_layernorm")
        q, k, v = (linear(n, f"{p}self_attn.{a}_proj") for a in "qkv")
        x = x + linear(attend(c, q, k, v, tables), p + "self_attn.o_proj")
        n = norm(x, p + "post_attention_layernorm")
        x = x + linear(jax.nn.silu(linear(n, p + "mlp.gate_proj")) * linear(n, p + "mlp.up_proj"), p + "mlp.down_proj")
    return linear(norm(x, "model.norm"), "model.embed_tokens" if c.tied else "lm_head")


def gpt2(c: TransformerConfig, w: Arrays, ids: jax.Array) -> jax.Array:
    def norm(x, name):
        x = x - jnp.mean(x, -1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + c.norm_eps)
        return x * scale * w[name + ".weight"] + w[name + ".bias"]

    def linear(x, name):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: ids.shape[1]]
    for i in range(c.n_layers):
        p = f"transformer.h.{i}."
        q, k, v = jnp.split(linear(norm(x, p + "ln_1"), p + "attn.c_attn"), 3, -1)
        x = x + linear(attend(c, q, k, v, None), p + "attn.c_proj")
        h = jax.nn.gelu(linear(norm(x, p + "ln_2"), p + "mlp.c_fc"), approximate=True)
        x = x + linear(h, p + "mlp.c_proj")
    return norm(x, "transformer.ln_f") @ w["transformer.wte.weight" if c.tied else "lm_head.weight"].T


def jax_step(
    config: TransformerConfig, arrays: Mapping[str, np.ndarray], hyper: Mapping[str, Any]
) -> Callable[[np.ndarray, np.ndarray], float]:
    """
    Forward, backward and AdamW in one function; parameters and moments are donated, so that it may write over them.

    XLA takes as many threads as the process may use processors, when JAX is imported.
    """
    lr, (beta1, beta2), decay = hyper["lr"], hyper["betas"], hyper["weight_decay"]
    logits = llama if config.is_llama else gpt2

    def loss_of(w, ids, targets):
        z = logits(config, w, ids)
        right = jnp.take_along_axis(z, targets[..., None], -1)[..., 0]
        return jnp.mean(jax.nn.logsumexp(z, -1) - right)

    def step(state, ids, targets):
        w, m, v, t = state
        loss, g = jax.value_and_grad(loss_of)(w, ids, targets)
        t = t + 1
        m = {name: beta1 * m[name] + (1 - beta1) * g[name] for name in w}
        v = {name: beta2 * v[name] + (1 - beta2) * g[name] ** 2 for name in w}
        rate, root = lr / (1 - beta1**t), jnp.sqrt(1 - beta2**t)
        keep = {name: 1 - lr * decay if w[name].ndim >= 2 else 1.0 for name in w}
        w = {name: keep[name] * w[name] - rate * m[name] / (jnp.sqrt(v[name]) / root + 1e-8) for name in w}
        return (w, m, v, t), loss

    compiled = jax.jit(step, donate_argnums=0)
    w = {name: jnp.array(a) for name, a in arrays.items()}
    zeros = [{name: jnp.zeros_like(a) for name, a in w.items()} for _ in range(2)]
    held = [(w, *zeros, jnp.zeros((), jnp.float32))]

    def run(ids, targets):
        held[0], loss = jax.block_until_ready(compiled(held[0], ids, targets))
        return float(loss)

    return run
