"""
The transformer against PyTorch and Hugging Face: `python packages/fp-transformer/benchmarks/bench_transformer.py`.

In float32, with the same weights and the same number of threads, two, for both:

- a training step (forward, loss, backward, AdamW) of GPT-2 models of four sizes, vocabulary 65, no dropout, as
  (context, blocks, heads, width, batch): tiny (32, 2, 2, 32, 8), cpu (64, 4, 4, 128, 12), mid (128, 4, 4, 256, 16) and
  baby (256, 6, 6, 384, 16), against PyTorch in eager mode with its fused attention and its fused AdamW;
- with `--model FILE.gguf` (SmolLM2-135M-Instruct, or another), a prompt of 512 tokens and then single tokens with the
  cache, against `AutoModelForCausalLM` on the same dequantised weights; and the share of the memory bandwidth that
  single tokens reach: bytes of parameters read each, over what reading an array of that size takes.

Losses and logits are compared before anything is timed. The two take turns, with a pause before each, because threads
wait for more work for some milliseconds after they have had some. What is printed is the median of the turns, and of
the ratios (ours to theirs, below one: ours is faster) the median and the range.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

THREADS = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv[:-1] else "2"
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = THREADS  # read when the libraries are imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from threadpoolctl import threadpool_info  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fp_optim.adaptive import AdamW  # noqa: E402
from fp_transformer.checkpoint import load, to_arrays  # noqa: E402
from fp_transformer.config import TransformerConfig  # noqa: E402
from fp_transformer.model import Transformer  # noqa: E402

torch.set_num_threads(int(THREADS))

Run = Callable[[], Any]
SIZES = {
    "tiny": (32, 2, 2, 32, 8),
    "cpu": (64, 4, 4, 128, 12),
    "mid": (128, 4, 4, 256, 16),
    "baby": (256, 6, 6, 384, 16),
}


# --- training


def training(size: tuple[int, int, int, int, int]) -> tuple[Run, Run]:
    T, L, H, C, B = size
    config = TransformerConfig.gpt2(vocab_size=65, context_length=T, n_layers=L, n_heads=H, d_model=C)
    model = Transformer(config, rng=np.random.default_rng(0))
    parameters = model.named_parameters()
    optimizer = AdamW({name: p.data for name, p in parameters.items()}, 1e-4, threads=int(THREADS))
    ids = np.random.default_rng(1).integers(0, 65, (B, T + 1))
    x, y = ids[:, :-1].copy(), ids[:, 1:].copy()
    weights = {name: torch.tensor(a, requires_grad=True) for name, a in to_arrays(model).items()}
    their_optimizer = torch.optim.AdamW(weights.values(), 1e-4, fused=True)
    x_, y_ = torch.from_numpy(x), torch.from_numpy(y)

    def our_step() -> float:
        for p in parameters.values():
            p.grad = None
        loss = model.loss(x, y)
        loss.backward()
        optimizer.step({name: p.grad for name, p in parameters.items()})
        return float(loss.item())

    def their_step() -> float:
        their_optimizer.zero_grad()
        loss = F.cross_entropy(gpt2(weights, config, x_).view(-1, 65), y_.view(-1))
        loss.backward()
        their_optimizer.step()
        return float(loss.item())

    return our_step, their_step


def gpt2(w: dict[str, torch.Tensor], config: TransformerConfig, ids: torch.Tensor) -> torch.Tensor:
    """PyTorch's quickest way to the logits of the GPT-2 family, from Hugging Face's arrays."""
    B, T = ids.shape
    H, D, C = config.n_heads, config.d_head, config.d_model

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (C,), w[f"{name}.weight"], w[f"{name}.bias"], config.norm_eps)

    def affine(x: torch.Tensor, name: str) -> torch.Tensor:  # weights are (in, out)
        return torch.addmm(w[f"{name}.bias"], x.reshape(-1, x.shape[-1]), w[f"{name}.weight"]).view(B, T, -1)

    x = F.embedding(ids, w["transformer.wte.weight"]) + w["transformer.wpe.weight"][:T]
    for i in range(config.n_layers):
        block = f"transformer.h.{i}"
        q, k, v = affine(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn").split(C, dim=2)
        q, k, v = (a.view(B, T, H, D).transpose(1, 2) for a in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + affine(y.transpose(1, 2).reshape(B, T, C), f"{block}.attn.c_proj")
        h = F.gelu(affine(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc"), approximate="tanh")
        x = x + affine(h, f"{block}.mlp.c_proj")
    return F.linear(norm(x, "transformer.ln_f"), w["transformer.wte.weight"])


# --- generation


def generating(path: pathlib.Path) -> dict[str, tuple[Run, Run]]:
    """A prompt of 512 tokens, and a token after it, of our model and of Hugging Face's."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = load(path)
    config = model.config
    peer = LlamaForCausalLM(LlamaConfig(**config.to_huggingface())).eval()
    state = {name: torch.from_numpy(np.array(a)) for name, a in to_arrays(model).items()}
    if config.tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    peer.load_state_dict(state)
    prompt = np.random.default_rng(0).integers(0, config.vocab_size, (1, 512))
    prompt_ = torch.from_numpy(prompt)

    def our_prefill() -> np.ndarray:
        found: np.ndarray = model(prompt, cache=model.new_cache(1, 600), last=True).data
        return found

    @torch.no_grad()
    def their_prefill() -> np.ndarray:
        return peer(prompt_, use_cache=True, logits_to_keep=1).logits.numpy()

    cache = model.new_cache(1, 4096)
    model(prompt, cache=cache, last=True)
    with torch.no_grad():
        past = peer(prompt_, use_cache=True, logits_to_keep=1).past_key_values
    token = np.array([[7]])
    token_ = torch.from_numpy(token)

    def our_token() -> np.ndarray:
        found: np.ndarray = model(token, cache=cache, last=True).data
        cache.truncate(512)
        return found

    @torch.no_grad()
    def their_token() -> np.ndarray:
        out = peer(token_, past_key_values=past, use_cache=True).logits.numpy()
        past.crop(-1)
        return out

    return {"prompt of 512": (our_prefill, their_prefill), "token after 512": (our_token, their_token)}


def bandwidth(n_bytes: int) -> float:
    """Bytes a second that a product of a matrix with a vector reads, at best: one row of ones over large rows."""
    rows = np.ones((max(1, n_bytes // 4 // 8192), 8192), np.float32)
    x = np.ones(8192, np.float32)
    best = min(time_of(lambda: rows @ x) for _ in range(7))
    return rows.nbytes / best


# --- turns


def compare(job: tuple[Run, Run], turns: int, seconds: float) -> dict[str, Any]:
    """Medians in milliseconds, and the ratio with its range, after a comparison of the outcomes."""
    ours, theirs = job
    a, b = ours(), theirs()
    assert np.allclose(a, b, rtol=1e-3, atol=2e-3), (a, b)
    once = max(time_of(run) for run in job)
    times = max(1, min(50, int(seconds / once)))
    measured: list[tuple[float, float]] = []
    for turn in range(turns):
        found = [0.0, 0.0]
        for i in (0, 1) if turn % 2 else (1, 0):
            time.sleep(0.05)
            job[i]()
            found[i] = statistics.median(time_of(job[i]) for _ in range(times))
        measured.append((found[0], found[1]))
    ratios = [a / b for a, b in measured]
    return {
        "ours ms": round(1e3 * statistics.median(a for a, _ in measured), 3),
        "theirs ms": round(1e3 * statistics.median(b for _, b in measured), 3),
        "ratio": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def time_of(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return named.group(1) if named else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[1])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each library in a turn, about")
    parser.add_argument("--threads", default="2", help="for both")
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file of the Llama family")
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file to write")
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": int(THREADS),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "kernels": [x["architecture"] for x in threadpool_info() if x["internal_api"] == "openblas"],
        "times": {},
    }
    jobs: dict[str, Callable[[], tuple[Run, Run]]] = {
        f"training step, {name} {size}": lambda size=size: training(size)
        for name, size in SIZES.items()  # type: ignore[misc]
    }
    if arguments.model:
        for name, job in generating(arguments.model).items():
            jobs[name] = lambda job=job: job  # type: ignore[misc]
    for name, make in jobs.items():
        if arguments.only in name:
            report["times"][name] = found = compare(make(), arguments.turns, arguments.seconds)
            ours, theirs = found["ours ms"], found["theirs ms"]
            print(f"{name:44} {ours:9.2f} ms {theirs:9.2f} ms   {found['ratio']:.2f} {found['range']}", flush=True)
    if arguments.model and (token := report["times"].get("token after 512")):
        n_bytes = 4 * load(arguments.model).n_parameters
        report["bandwidth GB/s"] = round(bandwidth(n_bytes) / 1e9, 2)
        report["share of bandwidth"] = round(n_bytes / (token["ours ms"] / 1e3) / 1e9 / report["bandwidth GB/s"], 3)
        print(report["bandwidth GB/s"], "GB/s,", report["share of bandwidth"], "of it reached by single tokens")
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
