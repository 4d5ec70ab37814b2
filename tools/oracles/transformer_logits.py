"""
Freeze what Hugging Face transformers computes with our configurations and weights drawn by NumPy.

    python -m tools.oracles.transformer_logits

writes packages/fp-transformer/tests/fixtures/huggingface_logits.json, which the default tests read.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tools.oracles.transformer_config import huggingface_model

from fp_transformer.config import TransformerConfig

FIXTURE = Path(__file__).parents[2] / "packages/fp-transformer/tests/fixtures/huggingface_logits.json"

CONFIGS = {
    "llama, tied, grouped heads": TransformerConfig.llama(
        vocab_size=13, context_length=11, n_layers=2, n_heads=4, n_kv_heads=2, d_model=24, d_ff=19, rope_base=500.0
    ),
    "llama, untied": TransformerConfig.llama(
        vocab_size=11, context_length=7, n_layers=1, n_heads=3, d_model=18, tied=False, norm_eps=1e-6
    ),
    "gpt2, tied": TransformerConfig.gpt2(vocab_size=13, context_length=7, n_layers=2, n_heads=3, d_model=21),
    "gpt2, untied": TransformerConfig.gpt2(
        vocab_size=11, context_length=7, n_layers=1, n_heads=5, d_model=15, d_ff=13, tied=False
    ),
}


def drawn(config: TransformerConfig, seed: int) -> dict[str, np.ndarray]:
    """The weights, large enough that the scores differ."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in config.parameter_shapes().items()}


def frozen(config: TransformerConfig, seed: int) -> dict[str, Any]:
    """Two texts and their scores."""
    import torch

    model = huggingface_model(config).eval()
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, array in drawn(config, seed).items():
            parameters[name].copy_(torch.from_numpy(array))
        ids = np.random.default_rng(seed + 1).integers(0, config.vocab_size, (2, 6))
        logits = model(torch.from_numpy(ids)).logits.numpy()
    return {
        "config": config.to_huggingface(),
        "seed": seed,
        "ids": ids.tolist(),
        "logits": np.round(logits.astype(np.float64), 6).tolist(),
    }


def main() -> None:
    found = {title: frozen(config, 100 + i) for i, (title, config) in enumerate(CONFIGS.items())}
    FIXTURE.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
