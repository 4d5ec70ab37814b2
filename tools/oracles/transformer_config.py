"""
Freeze what Hugging Face transformers makes of our configurations: every parameter's name and shape.

    python -m tools.oracles.transformer_config

writes packages/fp-transformer/tests/fixtures/huggingface_shapes.json, which the default tests read.
"""

import json
from pathlib import Path

from fp_transformer.config import TransformerConfig

FIXTURE = Path(__file__).parents[2] / "packages/fp-transformer/tests/fixtures/huggingface_shapes.json"

CONFIGS = {
    "llama, tied, grouped heads": TransformerConfig.llama(
        vocab_size=53, context_length=23, n_layers=2, n_heads=6, n_kv_heads=2, d_model=84, d_ff=19, rope_base=500.0
    ),
    "llama, untied": TransformerConfig.llama(
        vocab_size=47, context_length=29, n_layers=3, n_heads=5, d_model=70, tied=False, norm_eps=1e-6
    ),
    "gpt2, tied": TransformerConfig.gpt2(vocab_size=59, context_length=31, n_layers=2, n_heads=3, d_model=21),
    "gpt2, untied, narrow": TransformerConfig.gpt2(
        vocab_size=43, context_length=17, n_layers=1, n_heads=7, d_model=35, d_ff=13, dropout=0.25, tied=False
    ),
}


def huggingface_config(config: TransformerConfig):
    """The configuration object of transformers, made from our dictionary."""
    import transformers

    kind = {"llama": transformers.LlamaConfig, "gpt2": transformers.GPT2Config}[config.family]
    return kind.from_dict(config.to_huggingface())


def huggingface_model(config: TransformerConfig):
    """A model of transformers with random weights, of our configuration."""
    import transformers

    return transformers.AutoModelForCausalLM.from_config(huggingface_config(config))


def huggingface_shapes(config: TransformerConfig) -> dict[str, list[int]]:
    """Its parameters; `named_parameters` lists a tied one once."""
    return {name: list(p.shape) for name, p in huggingface_model(config).named_parameters()}


def main() -> None:
    frozen = {
        title: {"config": config.to_huggingface(), "shapes": huggingface_shapes(config)}
        for title, config in CONFIGS.items()
    }
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(json.dumps(frozen, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
