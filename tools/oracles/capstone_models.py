"""
Hugging Face's answer for the whole model: logits, loss and every gradient of small random models of both families.

`main` freezes them, in float64, in packages/fp-capstone/tests/fixtures/{llama,gpt2}.safetensors, with the
configuration as metadata. The weights are drawn here, large enough that every term matters.
"""

import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from fp_transformer.config import TransformerConfig

FOLDER = pathlib.Path(__file__).parents[2] / "packages/fp-capstone/tests/fixtures"
SIZES = {"vocab_size": 13, "context_length": 11, "n_layers": 2}
CONFIGS = {
    "llama": TransformerConfig.llama(**SIZES, n_heads=4, n_kv_heads=2, d_model=8, d_ff=11, tied=False),
    "gpt2": TransformerConfig.gpt2(**SIZES, n_heads=2, d_model=6, d_ff=11),
}


def compute(config):
    """`parameters/NAME`, `grads/NAME`, `ids`, `targets`, `logits` and `loss`."""
    rng = np.random.default_rng(21)
    settings = config.to_huggingface()
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))
    model = model.double().eval()
    named = dict(model.named_parameters())
    for name, shape in config.parameter_shapes().items():
        named[name].data = torch.from_numpy(rng.normal(0, 0.5, shape))
    if config.tied:
        model.tie_weights()
    text = rng.integers(0, config.vocab_size, (3, 8))
    ids, targets = np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])
    logits = model(torch.from_numpy(ids)).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
    loss.backward()
    named = dict(model.named_parameters())
    out = {"ids": ids, "targets": targets, "logits": logits.detach().numpy(), "loss": loss.detach().numpy()}
    for name in config.parameter_shapes():
        out |= {f"parameters/{name}": named[name].detach().numpy(), f"grads/{name}": named[name].grad.numpy()}
    return {k: np.ascontiguousarray(v) for k, v in out.items()}


def main():
    """Write the fixtures."""
    FOLDER.mkdir(exist_ok=True)
    for family, config in CONFIGS.items():
        metadata = {"config": json.dumps(config.to_huggingface()), "made by": "tools/oracles/capstone_models.py"}
        save_file(compute(config), FOLDER / f"{family}.safetensors", metadata)


if __name__ == "__main__":
    main()
