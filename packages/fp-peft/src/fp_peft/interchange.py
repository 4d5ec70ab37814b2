r"""
Interchange: the files of Hugging Face's `peft`, both ways.

A tuned model is a base and a small file. The file that most programs know is the one of `peft`: a directory with
`adapter_config.json` and `adapter_model.safetensors`. This section writes and reads it for LoRA, for prefixes and for
soft prompts, so that what was tuned here runs there, and the other way round.

You need: `fp_peft.wrapping`, `fp_transformer.checkpoint`.

## Names and shapes

| method | `peft_type` | arrays |
| --- | --- | --- |
| `LoRA` | `LORA` | for each layer `lora_A.weight`, $(r, n)$, and `lora_B.weight`, $(m, r)$ |
| `PrefixTuning` | `PREFIX_TUNING` | `prompt_embeddings`, $(n, 2 L H_{kv} D)$: of each layer keys, then values |
| `PromptTuning` | `PROMPT_TUNING` | `prompt_embeddings`, $(n, C)$ |
| `Adapter` | `FP_ADAPTER`, of this package: `peft` has none | this package's names |

In front of the names of factors stands `base_model.model.` and the layer's name in the base. In Llama it is called
`model.layers.0.self_attn.q_proj`, in GPT-2 `transformer.h.0.attn.c_attn`, and there begins a difficulty.

## One matrix or three

GPT-2's `c_attn` computes queries, keys and values by one matrix of $3 C$ rows, which are three layers here. `peft`
gives it one $A$, and a $B$ of $3 C$ rows.

**Claim** `peft.split-factors`. Let $A \in \mathbb{R}^{r \times n}$ and let $B$ be $B_1, B_2, B_3$, one above the other.

1. The update $B A$ of the stacked matrix is the updates $B_1 A$, $B_2 A$, $B_3 A$ of the three, and the gradient of $A$
   is the sum of those that three copies of it would have.
2. The updates $B_i A_i$ of the three, with different $A_i$ of ranks $r_i$, are the update $B A$ of the stacked matrix
   with $A = (A_1; A_2; A_3)$ one above the other, of rank $r_1 + r_2 + r_3$, and $B$ the matrix with the blocks $B_1$,
   $B_2$, $B_3$ along its diagonal and zeros elsewhere.

**Proof.** (1) The rows of a product $B A$ are the rows of $B$ times $A$. A used in three places has the sum of the
gradients (`neural.tied-gradient`, one place at a time). (2) The rows of $B A$ that belong to part $i$ are $(0, \dots,
B_i, \dots, 0)\, (A_1; A_2; A_3) = B_i A_i$. $\blacksquare$

So an adapter that comes from `peft` becomes three with *one* $A$, a parameter in three places, and is trained on
exactly as there. One that was made here has three $A$, and goes out with the larger rank, which `rank_pattern` and
`alpha_pattern` in the configuration announce; a part that was not a target has a block of zeros in $B$ and none in $A$.
Read again it computes the same, and has the parameters that `peft` would train.

## In practice

Options that change what the numbers mean are refused by name: DoRA, biases that were trained, layers with a pattern of
their own, modules that were saved whole. What is only needed in training, such as the way in which factors were drawn,
is passed over. Adapters of the diffusion community have a layout of their own.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fp_autograd.tracing import value_of
from fp_markov._files import replacing
from fp_neural.module import Parameter
from fp_peft.adapters import Adapter
from fp_peft.lora import LoRA, LoRALinear
from fp_peft.prefix import PrefixTuning, PromptTuning
from fp_peft.wrapping import Tuned, linear_parts, wrap
from fp_transformer.checkpoint import load_tensors, save_tensors
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

__all__ = ["save_adapter", "load_adapter", "read_method"]  # the order of the page

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_BASE = "base_model.model."
_LLAMA = {
    name: f"{'self_attn' if name in ('q_proj', 'k_proj', 'v_proj', 'o_proj') else 'mlp'}.{name}"
    for name in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
}
_GPT2 = {
    "attn.c_attn": ("q_proj", "k_proj", "v_proj"),
    "attn.c_proj": ("o_proj",),
    "mlp.c_fc": ("up_proj",),
    "mlp.c_proj": ("down_proj",),
}


def _places(config: TransformerConfig) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Each adaptable layer of the base by Hugging Face's name, its block, and the parts that it is here."""
    for i in range(config.n_layers):
        if config.is_llama:
            for ours, theirs in _LLAMA.items():
                yield f"model.layers.{i}.{theirs}", i, (ours,)
        else:
            for theirs, parts in _GPT2.items():
                yield f"transformer.h.{i}.{theirs}", i, parts


# --- writing


def save_adapter(model: Tuned, directory: Path | str, *, base: str | None = None) -> None:
    """
    Write what was added to a model, in the layout of `peft`.

    Parameters
    ----------
    model
        Of `wrap`, not merged. Its numbers are stored as float32, as those of models are.
    directory
        Made if absent; its two files are replaced, each whole or not at all.
    base
        What the configuration calls the base model: a path or a name.

    Raises
    ------
    TypeError
        If nothing was added to the model.
    ValueError
        If it is merged.
    """
    if not isinstance(model, Tuned):
        raise TypeError(f"only a model of wrap has an adapter to save, got {type(model).__name__}")
    if model.merged is not None:
        raise ValueError("this model is merged, and its factors are switched off: unmerge it before saving them")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    settings, arrays = _written(model)
    settings = {
        "peft_type": settings.pop("peft_type"),
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        **settings,
    }
    # the weights first: a configuration without its weights would look like an adapter
    save_tensors(
        folder / WEIGHTS, {n: np.ascontiguousarray(a, np.float32) for n, a in arrays.items()}, {"format": "pt"}
    )
    with replacing(folder / CONFIG) as file:
        file.write((json.dumps(settings, indent=2, sort_keys=True) + "\n").encode())


def _written(model: Tuned) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    config, method = model.config, model.method
    if isinstance(method, LoRA):
        return _written_factors(model, method)
    if isinstance(method, Adapter):
        arrays = {name: p.data for name, p in model.trainable().items()}
        return {"peft_type": "FP_ADAPTER", "width": method.width, "where": method.where}, arrays
    shared = {"num_virtual_tokens": method.length, "num_layers": config.n_layers, "num_transformer_submodules": 1}
    if isinstance(method, PromptTuning):
        assert model.prompt is not None
        sizes = {"token_dim": config.d_model, "num_attention_heads": config.n_heads}
        return {"peft_type": "PROMPT_TUNING", **shared, **sizes}, {"prompt_embeddings": model.prompt.data}
    heads, width = config.n_kv_heads, config.n_kv_heads * config.d_head
    parts = [
        value_of(getattr(block.attention, name)).transpose(1, 0, 2).reshape(method.length, width)
        for block in model.blocks
        for name in ("prefix_keys", "prefix_values")
    ]
    sizes = {"token_dim": width, "num_attention_heads": heads}
    settings = {"peft_type": "PREFIX_TUNING", "prefix_projection": False, **shared, **sizes}
    return settings, {"prompt_embeddings": np.concatenate(parts, axis=1)}


def _written_factors(model: Tuned, method: LoRA) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    arrays: dict[str, np.ndarray] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    targets: set[str] = set()
    for name, i, parts in _places(model.config):
        homes = linear_parts(model.blocks[i])
        layers = [getattr(*homes[part]) for part in parts]
        if not any(isinstance(layer, LoRALinear) for layer in layers):
            continue
        A, B, scale = _stacked(layers)
        arrays[f"{_BASE}{name}.lora_A.weight"], arrays[f"{_BASE}{name}.lora_B.weight"] = A, B
        short = name.rpartition(".")[2]
        targets.add(name.split(".", 3)[3] if short == "c_proj" else short)
        alpha = scale * (math.sqrt(len(A)) if method.rank_stabilized else len(A))
        if len(A) != method.rank:
            ranks[name] = len(A)
        if not math.isclose(alpha, float(method.alpha or 0), rel_tol=1e-12):
            alphas[name] = alpha
    settings = {
        "peft_type": "LORA",
        "r": method.rank,
        "lora_alpha": method.alpha,
        "target_modules": sorted(targets),
        "lora_dropout": method.dropout,
        "use_rslora": method.rank_stabilized,
        "bias": "none",
        "fan_in_fan_out": not model.config.is_llama,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "use_dora": False,
        "modules_to_save": None,
        "init_lora_weights": True,
    }
    return settings, arrays


def _stacked(layers: list[Any]) -> tuple[np.ndarray, np.ndarray, float]:
    """One pair of factors for layers that are one matrix in the base (`peft.split-factors`)."""
    found = [layer for layer in layers if isinstance(layer, LoRALinear)]
    scale = found[0].scale
    if len(layers) == 1 or (len(found) == len(layers) and len({id(layer.lora_A) for layer in found}) == 1):
        return found[0].lora_A.data, np.concatenate([layer.lora_B.data for layer in found]), scale
    A = np.concatenate([layer.lora_A.data for layer in found])
    B = np.zeros((sum(len(layer.weight.data) for layer in layers), len(A)), A.dtype)
    row = column = 0
    for layer in layers:
        m = len(layer.weight.data)
        if isinstance(layer, LoRALinear):
            r = len(layer.lora_A.data)
            B[row : row + m, column : column + r] = layer.lora_B.data * (layer.scale / scale)
            column += r
        row += m
    return A, B, scale


# --- reading


def read_method(directory: Path | str) -> LoRA | Adapter | PrefixTuning | PromptTuning:
    """
    What an adapter is, by its configuration.

    Parameters
    ----------
    directory
        With `adapter_config.json`.

    Returns
    -------
    LoRA, Adapter, PrefixTuning or PromptTuning
        For LoRA the targets are all that this package knows: which layers have factors is in the other file.

    Raises
    ------
    ValueError
        If the file is missing or damaged, or asks for what is not known here.
    """
    return _method(_settings(directory), directory)


def load_adapter(
    model: Transformer, directory: Path | str, *, rng: np.random.Generator | None = None, trainable: bool = True
) -> Tuned:
    """
    Wrap a model with an adapter from disk, whether written here or by `peft`.

    Parameters
    ----------
    model
        The base; unchanged.
    directory
        With `adapter_config.json` and `adapter_model.safetensors`.
    rng
        What dropout draws from if the adapter is trained on.
    trainable
        Whether it is to be trained on.

    Returns
    -------
    Tuned
        In the mode of the model.

    Raises
    ------
    ValueError
        If a file is missing or damaged, asks for what is not known here, or does not fit the model; all misfits are
        listed.
    """
    settings = _settings(directory)
    method = _method(settings, directory)
    path = Path(directory) / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{directory} has no {WEIGHTS}; older adapters in .bin files are pickles and are not opened")
    arrays = load_tensors(path)
    if isinstance(method, LoRA):
        tuned = _with_factors(model, method, settings, arrays, path)
    else:
        tuned = wrap(model, method)
        _fill(tuned, method, arrays, path)
    if rng is not None:
        tuned.draw_from(rng)
    if not trainable:
        tuned.freeze()
    return tuned


def _settings(directory: Path | str) -> dict[str, Any]:
    path = Path(directory) / CONFIG
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{directory} is no adapter: it has no {CONFIG}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object, got {type(found).__name__}")
    return found


_REFUSED = {
    "use_dora": (False, None),
    "bias": ("none", None),
    "modules_to_save": (None, []),
    "layers_pattern": (None, ""),
    "layers_to_transform": (None,),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "lora_bias": (False, None),
    "exclude_modules": (None, []),
    "prefix_projection": (False, None),
    "use_qalora": (False, None),
    "alora_invocation_tokens": (None,),
    "use_bdlora": (None, False),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "velora_config": (None,),
    "monteclora_config": (None,),
}
"""Options of `peft` that change what the arrays mean, and the values that leave it."""


def _method(settings: Mapping[str, Any], where: Path | str) -> LoRA | Adapter | PrefixTuning | PromptTuning:
    kind = settings.get("peft_type")
    for name, harmless in _REFUSED.items():
        if name in settings and settings[name] not in harmless:
            raise ValueError(f"{where}: {name} is {settings[name]!r}, which is not supported; only {harmless[0]!r} is")
    try:
        if kind == "LORA":
            return LoRA(
                rank=settings["r"],
                alpha=settings.get("lora_alpha", 8),
                dropout=settings.get("lora_dropout", 0.0),
                rank_stabilized=bool(settings.get("use_rslora", False)),
            )
        if kind == "FP_ADAPTER":
            return Adapter(width=settings["width"], where=settings["where"])
        if kind in ("PREFIX_TUNING", "PROMPT_TUNING"):
            return (PrefixTuning if kind == "PREFIX_TUNING" else PromptTuning)(length=settings["num_virtual_tokens"])
    except KeyError as error:
        raise ValueError(f"{where}: the configuration of {kind} lacks {error}") from None
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None
    raise ValueError(
        f"{where}: peft_type is {kind!r}; known here are LORA, PREFIX_TUNING, PROMPT_TUNING and FP_ADAPTER"
    )


def _pattern(patterns: Any, name: str, default: Any) -> Any:
    """What a pattern of `peft` says of a layer: its keys are regular expressions for the end of the name."""
    for key, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({key})", name):
            return value
    return default


def _with_factors(
    model: Transformer, method: LoRA, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: Path
) -> Tuned:
    left = dict(arrays)
    faults: list[str] = []
    new: list[tuple[int, tuple[str, ...], np.ndarray, np.ndarray, float]] = []
    for name, i, parts in _places(model.config):
        A, B = (left.pop(f"{_BASE}{name}.lora_{x}.weight", None) for x in "AB")
        if A is None and B is None:
            continue
        if A is None or B is None:
            faults.append(f"{name} has one factor only")
            continue
        homes = linear_parts(model.blocks[i])
        shapes = [getattr(*homes[part]).weight.shape for part in parts]
        m, n = sum(shape[0] for shape in shapes), shapes[0][1]
        rank = _pattern(settings.get("rank_pattern"), name, method.rank)
        if A.shape != (rank, n) or B.shape != (m, rank):
            faults.append(
                f"{name} has factors of shape {A.shape} and {B.shape}, rank {rank} asks for {(rank, n)} and {(m, rank)}"
            )
            continue
        alpha = _pattern(settings.get("alpha_pattern"), name, method.alpha)
        new.append((i, parts, A, B, float(alpha) / (math.sqrt(rank) if method.rank_stabilized else rank)))
    faults += [f"unexpected: {name}" for name in left]
    if faults or not new:
        raise ValueError(
            f"{path} does not fit this model of the {model.config.family} family: {'; '.join(faults) or 'no factors'}"
        )
    targets = tuple(dict.fromkeys(part for _, parts, *_ in new for part in parts))
    method = LoRA(method.rank, method.alpha, targets, method.dropout, method.rank_stabilized)
    tuned = wrap(model, LoRA(1, 1, targets, method.dropout))
    tuned.method = method
    adapted = {(i, part) for i, parts, *_ in new for part in parts}
    for i, block in enumerate(tuned.blocks):
        for part, (owner, attribute) in linear_parts(block).items():
            layer = getattr(owner, attribute)
            if isinstance(layer, LoRALinear) and (i, part) not in adapted:
                setattr(owner, attribute, layer.base)
    for i, parts, A, B, scale in new:
        homes = linear_parts(tuned.blocks[i])
        shared, row = Parameter(A.astype(model.dtype)), 0
        for part in parts:
            layer = getattr(*homes[part])
            m = len(layer.weight.data)
            layer.lora_A, layer.lora_B = shared, Parameter(np.ascontiguousarray(B[row : row + m], model.dtype))
            layer.scale, row = scale, row + m
    return tuned


def _fill(tuned: Tuned, method: Any, arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Give adapters, prefixes or rows their numbers."""
    expected: dict[str, tuple[int, ...]]
    if isinstance(method, Adapter):
        expected = {name: p.shape for name, p in tuned.trainable().items()}
    elif isinstance(method, PromptTuning):
        expected = {"prompt_embeddings": (method.length, tuned.config.d_model)}
    else:
        sizes = tuned.config
        expected = {"prompt_embeddings": (method.length, 2 * sizes.n_layers * sizes.n_kv_heads * sizes.d_head)}
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        wrong = sorted({name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)})
        name = wrong[0]
        raise ValueError(
            f"{path} does not fit this model: {len(wrong)} arrays differ, the first is {name}, with the shape "
            f"{found.get(name, 'of nothing')}, where {expected.get(name, 'none')} is needed"
        )
    if isinstance(method, Adapter):
        for name, p in tuned.trainable().items():
            p.data[...] = arrays[name]
    elif isinstance(method, PromptTuning):
        assert tuned.prompt is not None
        tuned.prompt.data[...] = arrays["prompt_embeddings"]
    else:
        table = arrays["prompt_embeddings"]
        n, H, D = method.length, tuned.config.n_kv_heads, tuned.config.d_head
        layers = table.reshape(n, tuned.config.n_layers, 2, H, D).transpose(1, 2, 3, 0, 4)
        for block, (keys, values) in zip(tuned.blocks, layers, strict=True):
            for name, numbers in (("prefix_keys", keys), ("prefix_values", values)):
                setattr(block.attention, name, Parameter(np.ascontiguousarray(numbers, tuned.dtype)))
