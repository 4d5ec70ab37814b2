"""
Freeze what Hugging Face's peft writes and computes: adapters of small models, their scores and gradients.

    python -m tools.oracles.peft_adapters

writes a folder for each case under packages/fp-peft/tests/fixtures: the two files as `peft` saved them, and
`expected.safetensors` with the base's arrays, token ids, logits, loss, and the gradient of every adapter array,
computed in float64. All weights are short decimals rounded to float32.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.numpy import save_file
from tools.oracles.transformer_models import exact, numbers, weights, with_weights

from fp_transformer.config import TransformerConfig

FOLDER = Path(__file__).parents[2] / "packages/fp-peft/tests/fixtures"
LLAMA = TransformerConfig.llama(
    vocab_size=13, context_length=17, n_layers=2, n_heads=4, n_kv_heads=2, d_model=24, d_ff=19, rope_base=500.0
)
GPT2 = TransformerConfig.gpt2(vocab_size=13, context_length=17, n_layers=2, n_heads=3, d_model=12)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", **settings)


CASES: dict[str, tuple[TransformerConfig, Any]] = {
    "llama-all": (LLAMA, lora(r=3, lora_alpha=5, target_modules=ALL)),
    "llama-qv-stabilized": (LLAMA, lora(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"], use_rslora=True)),
    "llama-patterns": (
        LLAMA,
        lora(
            r=3,
            lora_alpha=5,
            target_modules=["k_proj", "down_proj"],
            rank_pattern={"down_proj": 2, "layers.1.self_attn.k_proj": 4},
            alpha_pattern={"down_proj": 7},
        ),
    ),
    "gpt2-attention": (GPT2, lora(r=2, lora_alpha=4, target_modules=["c_attn"], fan_in_fan_out=True)),
    "gpt2-all": (GPT2, lora(r=3, lora_alpha=3, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)),
    "llama-prefix": (LLAMA, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)),
    "gpt2-prefix": (GPT2, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)),
    "llama-prompt": (LLAMA, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)),
    "gpt2-prompt": (GPT2, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)),
}


def base_of(config: TransformerConfig) -> tuple[Any, dict[str, np.ndarray]]:
    arrays = {name: array.astype(np.float32) for name, array in weights(config).items()}
    model = with_weights(config, {name: array.astype(np.float64) for name, array in arrays.items()})
    return (exact(model) if config.is_llama else model), arrays


def tuned_of(title: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A model of peft with given numbers, and the arrays of its base."""
    config, method = CASES[title]
    base, arrays = base_of(config)
    model = get_peft_model(base, method).double().eval()
    with torch.no_grad():
        for k, (_, p) in enumerate((n, p) for n, p in model.named_parameters() if p.requires_grad):
            p.copy_(torch.from_numpy((numbers(tuple(p.shape), k) * 0.5).astype(np.float32)))
    return model, arrays


def ids_of(title: str) -> np.ndarray:
    config, _ = CASES[title]
    return np.random.default_rng(5).integers(0, config.vocab_size, (2, 9))


def scores_of(model: Any, ids: np.ndarray) -> torch.Tensor:
    """Logits at the positions of the text; peft's prompts come out with theirs in front."""
    return model(input_ids=torch.from_numpy(ids)).logits[:, -ids.shape[1] :]


def compute(title: str) -> dict[str, np.ndarray]:
    model, arrays = tuned_of(title)
    ids = ids_of(title)
    logits = scores_of(model, ids[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(ids[:, 1:]).flatten())
    loss.backward()
    found = {f"base.{name}": array for name, array in arrays.items()}
    found |= {"ids": ids, "logits": logits.detach().numpy(), "loss": loss.detach().numpy().reshape(1)}
    for name, p in model.named_parameters():
        if p.grad is not None:
            found[f"grad.{name.replace('.default', '')}"] = p.grad.numpy()
    return found


def save(title: str, folder: Path) -> None:
    """The adapter as peft writes it, in float32."""
    model, _ = tuned_of(title)
    state = {name: p.float().contiguous() for name, p in get_peft_model_state_dict(model).items()}
    model.save_pretrained(folder, state_dict=None)
    save_file({name: p.detach().numpy() for name, p in state.items()}, folder / "adapter_model.safetensors")
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    for title, (config, _) in CASES.items():
        folder = FOLDER / title
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        save(title, folder)
        (folder / "config.json").write_text(json.dumps(config.to_huggingface(), indent=1) + "\n", encoding="utf-8")
        found = {name: np.ascontiguousarray(array) for name, array in compute(title).items()}
        save_file(found, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
