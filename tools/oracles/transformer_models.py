"""
Freeze what Hugging Face transformers computes and writes with small models: scores, loss, gradients, greedy and beams.

    python -m tools.oracles.transformer_models

writes packages/fp-transformer/tests/fixtures/huggingface.json, which the default tests read. Everything is float64.
transformers' Llama computes its norms and angles in float32 whatever the model's type; `exact` puts PyTorch's own norm,
and the same angles in float64, in their place, and `frozen` sees to it that this changes the scores by rounding only.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tools.oracles.transformer_config import huggingface_model
from transformers import LogitsProcessor

from fp_transformer.config import TransformerConfig

FIXTURE = Path(__file__).parents[2] / "packages/fp-transformer/tests/fixtures/huggingface.json"
SIZES: dict[str, Any] = {"vocab_size": 13, "context_length": 11}
CONFIGS = {
    "gpt2": TransformerConfig.gpt2(**SIZES, n_layers=2, n_heads=3, d_model=12),
    "gpt2, untied, narrow": TransformerConfig.gpt2(
        vocab_size=11, context_length=17, n_layers=1, n_heads=2, d_model=14, d_ff=17, tied=False, norm_eps=0.03
    ),
    "llama": TransformerConfig.llama(**SIZES, n_layers=3, n_heads=2, d_model=12),
    "llama, grouped heads": TransformerConfig.llama(
        **SIZES, n_layers=2, n_heads=4, n_kv_heads=2, d_model=24, d_ff=19, rope_base=500.0, norm_eps=1e-6
    ),
    "llama, untied, one key head": TransformerConfig.llama(
        vocab_size=11, context_length=17, n_layers=1, n_heads=3, n_kv_heads=1, d_model=18, tied=False,
        rope_base=50.0, norm_eps=0.02,
    ),
}  # fmt: skip
N_DIRECTIONS = 3
NEW = 5


def numbers(shape: tuple[int, ...], k: int) -> np.ndarray:
    """Short decimals from -1 to 1 that look random and are the same on every machine, another lot for every k."""
    i = np.arange(np.prod(shape, dtype=int))
    return ((7919 * i * i + 104_729 * (k + 1) * i + 31 * k) % 10_007 - 5003).reshape(shape) / 5000


def weights(config: TransformerConfig) -> dict[str, np.ndarray]:
    """Every array of a model, large enough that every term matters."""
    found = {}
    for k, (name, shape) in enumerate(config.parameter_shapes().items()):
        found[name] = numbers(shape, k) * (0.6 if len(shape) == 2 else 0.4)
        if len(shape) == 1 and name.endswith("weight"):
            found[name] += 1
    return found


def with_weights(config: TransformerConfig, arrays: dict[str, np.ndarray]) -> Any:
    """A model of transformers with given weights, of their type."""
    model = huggingface_model(config).to(torch.from_numpy(next(iter(arrays.values()))).dtype).eval()
    parameters = dict(model.named_parameters())
    assert parameters.keys() == arrays.keys()
    with torch.no_grad():
        for name, array in arrays.items():
            parameters[name].copy_(torch.from_numpy(array))
    return model


def exact(model: Any) -> Any:
    """The same model in float64 throughout."""
    from transformers.models.llama import modeling_llama

    def norm(module: Any) -> Any:
        return lambda x: torch.nn.functional.rms_norm(x, x.shape[-1:], module.weight, module.variance_epsilon)

    def angles(x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        D, base = model.config.head_dim, model.config.rope_parameters["rope_theta"]
        turns = position_ids[..., None] * base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
        turns = torch.cat([turns, turns], dim=-1)
        return turns.cos(), turns.sin()

    for module in model.modules():
        if isinstance(module, modeling_llama.LlamaRMSNorm):
            object.__setattr__(module, "forward", norm(module))
        elif isinstance(module, modeling_llama.LlamaRotaryEmbedding):
            object.__setattr__(module, "forward", angles)
    return model


def texts(config: TransformerConfig, B: int, T: int, k: int = 0) -> np.ndarray:
    """Some ids."""
    return (np.abs(numbers((B, T), 50 + k)) * 5000).astype(int) % config.vocab_size


def gradients(model: Any, config: TransformerConfig) -> dict[str, Any]:
    """Scores and loss of texts as long as the context, some targets ignored, and each gradient's products."""
    text = texts(config, 2, config.context_length + 1)
    ids, targets = text[:, :-1], text[:, 1:].copy()
    targets[0, 2] = targets[1, -1] = -100
    model.zero_grad()
    logits = model(torch.from_numpy(ids)).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
    loss.backward()
    products, parameters = {}, dict(model.named_parameters())
    for k, name in enumerate(config.parameter_shapes()):
        grad = parameters[name].grad.numpy()
        along = [float((grad * numbers(grad.shape, 1000 * (j + 1) + k)).sum()) for j in range(N_DIRECTIONS)]
        products[name] = {"length": float(np.sqrt((grad**2).sum())), "along": along}
    return {
        "ids": ids.tolist(),
        "targets": targets.tolist(),
        "logits": logits.detach().numpy().tolist(),
        "loss": loss.item(),
        "gradients": products,
    }


def continued(model: Any, prompt: list[int], **settings: Any) -> tuple[list[int], float | None]:
    """The new tokens by transformers' `generate`, and the score of a search."""
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **settings,
    )
    score = out.sequences_scores.item() if settings.get("num_beams", 1) > 1 else None
    return out.sequences[0, len(prompt) :].tolist(), score


def greedy(model: Any, config: TransformerConfig) -> list[dict[str, Any]]:
    """Likeliest tokens, one after the other, where the second is clearly less likely."""
    found = []
    for prompt in texts(config, 4, 5, k=1).tolist():
        new, _ = continued(model, prompt, max_new_tokens=NEW, eos_token_id=None)
        with torch.no_grad():
            top = model(torch.tensor([prompt + new])).logits[0, 4:-1].topk(2).values
        if (top[:, 0] - top[:, 1]).min() > 1e-3:
            found.append({"prompt": prompt, "new": new})
    return found


class GivingUp(LogitsProcessor):
    """
    Lets a beam lose the places of the texts that are complete, as in `fp_transformer`; transformers fills them again.

    Of the best continuations, as many as the beam is wide, those that stop are complete and the others go on. The rows
    come best first, so those behind the ones that go on are given up.
    """

    def __init__(self, width: int, stop: int) -> None:
        self.width, self.stop, self.left = width, stop, 1
        self.totals: dict[tuple[int, ...], torch.Tensor] = {}

    def __call__(self, input_ids: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
        log_p[self.left :] = -torch.inf
        if not self.left:
            return log_p
        texts = [tuple(row) for row in input_ids[: self.left].tolist()]
        totals = torch.stack([self.totals.get(text, 0.0) + row for text, row in zip(texts, log_p, strict=False)])
        best = totals.flatten().topk(self.width).indices
        self.left = int((best % log_p.shape[1] != self.stop).sum())
        self.totals = {(*text, i): x for text, row in zip(texts, totals, strict=True) for i, x in enumerate(row)}
        return log_p


def beams(model: Any, config: TransformerConfig) -> list[dict[str, Any]]:
    """The best text of beam search, which goes on until no text can become the best any more."""
    found = []
    stops = [None, *range(0, config.vocab_size, 3)]
    for prompt in texts(config, 3, 5, k=2).tolist():
        for width, penalty in ((2, 0.7), (3, 1.5), (5, 1.0), (5, 0.0)):
            for stop in stops:
                new, score = continued(
                    model,
                    prompt,
                    num_beams=width,
                    length_penalty=penalty,
                    eos_token_id=stop,
                    max_new_tokens=NEW,
                    early_stopping="never",
                    logits_processor=[] if stop is None else [GivingUp(width, stop)],
                )
                stopped = new[-1] == stop
                new = new[:-1] if stopped else new
                case = {"prompt": prompt, "beams": width, "penalty": penalty, "stop": stop}
                found.append({**case, "new": new, "stopped": stopped, "score": score})
    return found


def frozen(config: TransformerConfig) -> dict[str, Any]:
    """All of it for one configuration."""
    model = with_weights(config, weights(config))
    ids = torch.from_numpy(texts(config, 2, config.context_length))
    with torch.no_grad():
        before = model(ids).logits
        assert (exact(model)(ids).logits - before).abs().max() < 2e-5  # float32 in norms and angles
    searches = beams(model, config)
    return {
        "config": config.to_huggingface(),
        **gradients(model, config),
        "greedy": greedy(model, config),
        "beams": [case for case in searches if case["stopped"]][:6] + searches[::13],
    }


def main() -> None:
    found = {title: frozen(config) for title, config in CONFIGS.items()}
    FIXTURE.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
