"""
Freeze how Hugging Face transformers treats positions: rotary, sinusoidal, ALiBi, and the buckets of T5.

    python -m tools.oracles.attention_positions

writes packages/fp-attention/tests/fixtures/huggingface_positions.json, which the default tests read.

Frozen are

- for rotary positions the speeds (its `inv_freq`) and the attention factor of every scaling, computed in float32, and
  turned queries, of Llama's function (halves) and GPT-J's (neighbours);
- sinusoidal vectors, as Marian has them: sines first, cosines behind, in float32;
- ALiBi's slopes for many numbers of heads, of Bloom;
- T5's bucket for every distance, and a bias with the gradient of its table.

NTK scaling with the factor f is what transformers calls dynamic, with the factor 1, at a text f times as long as the
context of training.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parents[2] / "packages/fp-attention/tests/fixtures/huggingface_positions.json"
CONTEXT = 512  # of training

SCALINGS: list[tuple[str, dict]] = [
    ("none", {}),
    ("linear", {"factor": 4.0}),
    ("linear", {"factor": 1.0}),
    ("ntk", {"factor": 2.5}),
    ("ntk", {"factor": 8.0}),
    ("yarn", {"factor": 4.0, "original_context": 2048}),
    ("yarn", {"factor": 16.0, "original_context": 256, "beta_fast": 8, "beta_slow": 2}),
    ("yarn", {"factor": 8.0, "original_context": 4096, "attention_factor": 1.5}),
    ("yarn", {"factor": 32.0, "original_context": 4096, "truncate": False}),
    ("yarn", {"factor": 4.0, "original_context": 5}),  # ends of the blend out of the range of planes
    ("yarn", {"factor": 4.0, "original_context": 10**9}),
    ("llama3", {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 8192}),
    ("llama3", {"factor": 32.0, "low_freq_factor": 0.5, "high_freq_factor": 3.0, "original_context": 100}),
]
BUCKETS = [(32, 128), (32, 64), (16, 100), (8, 20), (7, 50), (6, 27), (2, 9), (64, 1000), (32, 20)]


def rotary_speeds(kind: str, settings: dict, dim: int, base: float) -> tuple[list[float], float]:
    """`inv_freq` and the attention factor."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    renamed = {("original_max_position_embeddings" if k == "original_context" else k): v for k, v in settings.items()}
    theirs = {"none": "default", "ntk": "dynamic"}.get(kind, kind)
    parameters: dict[str, Any] = {"rope_type": theirs, "rope_theta": base} | renamed
    length, longest = None, CONTEXT
    if "original_context" in settings:
        longest = int(settings["factor"] * settings["original_context"])
    if kind == "ntk":
        parameters["factor"], length = 1.0, settings["factor"] * CONTEXT
    config = LlamaConfig(
        head_dim=dim,
        hidden_size=2 * dim,
        num_attention_heads=2,
        max_position_embeddings=longest,
        rope_parameters=parameters,
    )
    if kind == "none":
        found = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    else:
        found = ROPE_INIT_FUNCTIONS[theirs](config, seq_len=length)
    return found[0].tolist(), float(found[1])


def rotary() -> list[dict]:
    """Every scaling on a few widths and bases."""
    frozen = []
    for kind, settings in SCALINGS:
        for dim, base in ((8, 100.0), (32, 10_000.0), (128, 500_000.0)):
            if dim == 128 and kind in ("none", "linear"):
                continue
            speeds, factor = rotary_speeds(kind, settings, dim, base)
            frozen.append(
                {"kind": kind, "settings": settings, "dim": dim, "base": base, "speeds": short(speeds)}
                | {"attention_factor": factor}
            )
    return frozen


def turned() -> list[dict]:
    """Heads of two texts, turned in float64 by float32 angles."""
    import torch
    from transformers.models.gptj import modeling_gptj as gptj
    from transformers.models.llama import modeling_llama as llama

    rng = np.random.default_rng(53)
    frozen = []
    for pairs, positions in (("halves", [0, 1, 2]), ("halves", [5, 40, 3]), ("neighbours", [0, 1, 2, 17])):
        dim, T = 6, len(positions)
        x = rng.uniform(-2, 2, (2, 3, T, dim)).round(2)
        angles = torch.tensor(positions).float()[:, None] * torch.tensor(rotary_speeds("none", {}, dim, 100.0)[0])
        q = torch.tensor(x)
        if pairs == "halves":
            doubled = torch.cat((angles, angles), -1)[None]
            y, _ = llama.apply_rotary_pos_emb(q, q, doubled.cos(), doubled.sin())
        else:
            y = gptj.apply_rotary_pos_emb(q.transpose(1, 2), angles.sin()[None], angles.cos()[None]).transpose(1, 2)
        frozen.append({"pairs": pairs, "positions": positions, "base": 100.0, "x": x.tolist(), "y": short(y.tolist())})
    return frozen


def sinusoidal() -> dict:
    """Ten positions of width 8."""
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

    table = MarianSinusoidalPositionalEmbedding(10, 8)
    return {"sines then cosines": short(table.create_weight().tolist())}


def alibi() -> dict[str, list[float]]:
    """Slopes by the number of heads."""
    from transformers.models.bloom import modeling_bloom as bloom

    cpu: Any = None
    return {str(n): short(bloom._get_alibi_slopes(n, cpu).tolist()) for n in (*range(1, 18), 20, 32, 40, 71)}


def buckets() -> list[dict]:
    """T5's bucket of every distance, key position minus query position, from -150 to 150 and of a few far ones."""
    import torch
    from transformers.models.t5.modeling_t5 import T5Attention

    far = [-100_000, -1001, -1000, -999, 999, 1000, 1001, 100_000]
    distances = sorted([*range(-150, 151), *far])
    frozen = []
    for n, max_distance in BUCKETS:
        for causal in (True, False):
            if not causal and (n % 2 or n < 4):
                continue
            found = T5Attention._relative_position_bucket(
                torch.tensor(distances), bidirectional=not causal, num_buckets=n, max_distance=max_distance
            )
            frozen.append({"n_buckets": n, "max_distance": max_distance, "causal": causal, "buckets": found.tolist()})
    return [{"distances": distances}, *frozen]


def relative_bias() -> list[dict]:
    """A bias of two heads, three queries after four keys of a cache, and the table's gradient for a cotangent."""
    import torch
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Attention

    rng = np.random.default_rng(59)
    frozen = []
    for causal in (True, False):
        n, H, Tq, past = 6, 2, 3, 4
        config = T5Config(
            d_model=4,
            d_kv=2,
            num_heads=H,
            relative_attention_num_buckets=n,
            relative_attention_max_distance=9,
            is_decoder=causal,
        )
        layer = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()
        weight = rng.uniform(-2, 2, (n, H)).round(2)
        layer.relative_attention_bias.weight.data = torch.tensor(weight)
        bias = layer.compute_bias(Tq, Tq + past, past_seen_tokens=past)[0]
        g = rng.uniform(-1, 1, tuple(bias.shape)).round(2)
        bias.backward(torch.tensor(g))
        gradient: Any = layer.relative_attention_bias.weight.grad
        frozen.append(
            {"causal": causal, "n_buckets": n, "max_distance": 9, "weight": weight.tolist(), "g": g.tolist()}
            | {"bias": bias.tolist(), "gradient": short(gradient.tolist())}
        )
    return frozen


def short(x: Any) -> Any:
    """Nine digits: more than float32 has."""
    return [short(part) for part in x] if isinstance(x, list) else float(f"{x:.9g}")


def compute() -> dict:
    """All that is frozen."""
    parts = (rotary, turned, sinusoidal, alibi, buckets, relative_bias)
    return json.loads(json.dumps({part.__name__: part() for part in parts}))


def main() -> None:
    written = json.JSONEncoder(separators=(",", ":")).encode
    lines = ",\n".join(f"{written(name)}: {written(part)}" for name, part in compute().items())
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(f"{{{lines}}}\n", encoding="utf-8")
    print(f"wrote {FIXTURE}")


if __name__ == "__main__":
    main()
