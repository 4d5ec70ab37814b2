"""
A training step of `fp_capstone` against the same model in PyTorch, eager and compiled: `hatch run bench:train`.

All compute the same losses from the same weights (checked before anything is timed) and take the same step: forward,
backward, AdamW. They alternate in one process, a few steps each in turn, with the same number of threads. What is
printed is the median time of a step, the ratio to each peer (below one: faster than the peer), with the ratios' range
over the turns, and the share of the machine's peak, which is that of a large float32 matrix product in NumPy.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_optim.adaptive import AdamW
from fp_transformer.config import TransformerConfig

# context, layers, heads, width, batch
SIZES = {
    "tiny": (32, 2, 2, 32, 8),
    "cpu": (64, 4, 4, 128, 12),
    "mid": (128, 4, 4, 256, 16),
    "baby": (256, 6, 6, 384, 16),
    "small": (256, 4, 4, 128, 4),
}
HYPER = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.1}


class Peer(torch.nn.Module):
    """The model of a configuration in PyTorch, with its fused kernels; `w` looks a parameter up by its name."""

    def __init__(self, config: TransformerConfig, arrays: dict[str, np.ndarray]):
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

        def linear(x, name):
            return x @ w(name + ".weight") + w(name + ".bias")

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


def our_step(model: Model, threads: int) -> Callable[[np.ndarray, np.ndarray], float]:
    gradients = ThreadedGradients(model, threads)
    optimizer = AdamW(model.parameters(), **HYPER)

    def step(ids, targets):
        loss, grads = gradients(ids, targets)
        optimizer.step(grads)
        return loss

    return step


def torch_step(peer: Peer, compiled: bool) -> Callable[[np.ndarray, np.ndarray], float]:
    matrices = [p for p in peer.parameters() if p.ndim >= 2]
    vectors = [p for p in peer.parameters() if p.ndim < 2]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, fused=True, **HYPER)
    loss_of = torch.compile(peer) if compiled else peer

    def step(ids, targets):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(torch.from_numpy(ids), torch.from_numpy(targets))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def flops(config: TransformerConfig, B: int, T: int) -> float:
    """Operations of a step that the mathematics needs: linear maps, and half the square of attention."""
    C, V = config.d_model, config.vocab_size
    matrices = sum(a * b for name, (a, *rest) in config.parameter_shapes().items() for b in rest if "embed" not in name)
    matrices -= 0 if config.is_llama else (V + config.context_length) * C
    matrices += V * C if config.tied else 0
    attention = config.n_layers * 2 * C * (T + 1) / 2  # scores and mixtures, over the positions up to one's own
    return 6 * B * T * (matrices + attention)


def peak(threads: int) -> float:
    """float32 operations a second of a large matrix product, the best of several."""
    a = np.random.default_rng(0).normal(size=(2048, 2048)).astype(np.float32)
    best = 0.0
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        best = max(best, 2 * 2048**3 / (time.perf_counter() - start))
    return best


def measure(name: str, family: str, threads: int, turns: int, seconds: float, compiled: bool) -> dict:
    T, L, H, C, B = SIZES[name]
    sizes = {"vocab_size": 65, "context_length": T, "n_layers": L, "n_heads": H, "d_model": C}
    config = getattr(TransformerConfig, family)(**sizes)
    model = Model(config, np.random.default_rng(0))
    arrays = {name: a.copy() for name, a in model.parameters().items()}
    steps = {"fp_capstone": our_step(model, threads), "eager": torch_step(Peer(config, arrays), False)}
    if compiled:
        steps["compile"] = torch_step(Peer(config, arrays), True)
    rng = np.random.default_rng(1)
    text = rng.integers(0, 65, (B, T + 1))
    ids, targets = np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])
    for _ in range(3):
        losses = {who: step(ids, targets) for who, step in steps.items()}
        # float32: three steps of Adam amplify the rounding of small gradients
        assert np.ptp(list(losses.values())) < 2e-3, f"the models differ: {losses}"
    times: dict[str, list[float]] = {who: [] for who in steps}
    for _ in range(turns):
        for who, step in steps.items():
            step(ids, targets)  # wakes this library's threads
            took: list[float] = []
            while sum(took) < seconds or len(took) < 3:
                start = time.perf_counter()
                step(ids, targets)
                took.append(time.perf_counter() - start)
            times[who].append(statistics.median(took))
    ours = times["fp_capstone"]
    result = {"size": name, "family": family, "parameters": config.n_parameters, "tokens": B * T}
    result |= {f"{who} ms": round(statistics.median(t) * 1e3, 2) for who, t in times.items()}
    for who in list(times)[1:]:
        ratios = sorted(a / b for a, b in zip(ours, times[who], strict=True))
        result[f"ratio to {who}"] = [round(r, 3) for r in (statistics.median(ratios), ratios[0], ratios[-1])]
    result["gflops"] = round(flops(config, B, T) / statistics.median(ours) / 1e9, 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="tiny,cpu,mid,baby")
    parser.add_argument("--family", default="gpt2", choices=("gpt2", "llama"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn of one library")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", help="write the results here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    top = peak(arguments.threads)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "threads": arguments.threads,
        "peak gflops": round(top / 1e9, 1),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
    print(json.dumps(machine))
    results = []
    for name in arguments.sizes.split(","):
        compiled = not arguments.no_compile
        r = measure(name, arguments.family, arguments.threads, arguments.turns, arguments.seconds, compiled)
        r["share of peak"] = round(r["gflops"] * 1e9 / top, 3)
        print(json.dumps(r), flush=True)
        results.append(r)
    if arguments.json:
        text = json.dumps({"machine": machine, "results": results}, indent=1)
        pathlib.Path(arguments.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
