"""The model of a configuration in PyTorch with its fused kernels, and its training step, for benchmarks."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from fp_transformer.config import TransformerConfig


class Peer(torch.nn.Module):
    """`w` looks a parameter up by its name."""

    def __init__(self, config: TransformerConfig, arrays: Mapping[str, np.ndarray]):
        super().__init__()
        self.config = config
        self.arrays = torch.nn.ParameterDict(
            {name.replace(".", "_"): torch.nn.Parameter(torch.from_numpy(a.copy())) for name, a in arrays.items()}
        )
        if config.is_llama:
            D = config.d_head
            angles = np.arange(config.context_length)[:, None] * config.rope_base ** (-np.arange(0, D, 2) / D)
            self.register_buffer("cos", torch.from_numpy(np.cos(angles).astype(np.float32)))
            self.register_buffer("sin", torch.from_numpy(np.sin(angles).astype(np.float32)))

    def w(self, name):
        return self.arrays[name.replace(".", "_")]

    def attend(self, q, k, v):
        B, T, _ = q.shape
        q, k, v = (x.view(B, T, -1, self.config.d_head).transpose(1, 2) for x in (q, k, v))
        if self.config.is_llama:
            q, k = self.rotate(q), self.rotate(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
        return y.transpose(1, 2).reshape(B, T, -1)

    def rotate(self, x):
        a, b = x.chunk(2, -1)
        cos, sin = self.cos[: x.shape[2]], self.sin[: x.shape[2]]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def llama(self, ids):
        c, w = self.config, self.w
        x = F.embedding(ids, w("model.embed_tokens.weight"))
        for i in range(c.n_layers):
            p = f"model.layers.{i}."
            n = F.rms_norm(x, x.shape[-1:], w(p + "input_layernorm.weight"), c.norm_eps)
            qkv = (F.linear(n, w(f"{p}self_attn.{a}_proj.weight")) for a in "qkv")
            x = x + F.linear(self.attend(*qkv), w(p + "self_attn.o_proj.weight"))
            n = F.rms_norm(x, x.shape[-1:], w(p + "post_attention_layernorm.weight"), c.norm_eps)
            gate, up = (F.linear(n, w(f"{p}mlp.{a}_proj.weight")) for a in ("gate", "up"))
            x = x + F.linear(F.silu(gate) * up, w(p + "mlp.down_proj.weight"))
        x = F.rms_norm(x, x.shape[-1:], w("model.norm.weight"), c.norm_eps)
        return F.linear(x, w("model.embed_tokens.weight" if c.tied else "lm_head.weight"))

    def gpt2(self, ids):
        c, w = self.config, self.w

        def norm(x, name):
            return F.layer_norm(x, x.shape[-1:], w(name + ".weight"), w(name + ".bias"), c.norm_eps)

        def linear(x, name):  # as Hugging Face's Conv1D
            y = torch.addmm(w(name + ".bias"), x.reshape(-1, x.shape[-1]), w(name + ".weight"))
            return y.view(*x.shape[:-1], -1)

        x = F.embedding(ids, w("transformer.wte.weight")) + w("transformer.wpe.weight")[: ids.shape[1]]
        for i in range(c.n_layers):
            p = f"transformer.h.{i}."
            q, k, v = linear(norm(x, p + "ln_1"), p + "attn.c_attn").chunk(3, -1)
            x = x + linear(self.attend(q, k, v), p + "attn.c_proj")
            h = F.gelu(linear(norm(x, p + "ln_2"), p + "mlp.c_fc"), approximate="tanh")
            x = x + linear(h, p + "mlp.c_proj")
        x = norm(x, "transformer.ln_f")
        return F.linear(x, w("transformer.wte.weight" if c.tied else "lm_head.weight"))

    def forward(self, ids, targets):
        z = self.llama(ids) if self.config.is_llama else self.gpt2(ids)
        return F.cross_entropy(z.flatten(0, 1), targets.flatten())


def torch_step(
    config: TransformerConfig, arrays: Mapping[str, np.ndarray], hyper: Mapping[str, Any], threads: int, compiled: bool
) -> Callable[[np.ndarray, np.ndarray], float]:
    """Forward, backward and the fused AdamW, in float32; matrices decay, vectors do not."""
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")  # neither TF32 nor bfloat16
    peer = Peer(config, arrays)
    matrices = [p for p in peer.parameters() if p.ndim >= 2]
    vectors = [p for p in peer.parameters() if p.ndim < 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, fused=True, **hyper)
    loss_of = torch.compile(peer) if compiled else peer

    def step(ids, targets):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(torch.from_numpy(ids), torch.from_numpy(targets))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
