r"""
Inspection: a model in numbers, before it is loaded.

Does it fit into memory, how fast can it be, what was it made for? All of that follows from a few sizes, and the file
says them at its beginning. `describe` reads those, counts (`fp_transformer.counting`), and does not touch the weights:
a model of any size is described at once.

You need: `fp_transformer.counting`, `fp_capstone.pretrained`.

## What the numbers mean

| number | what it tells |
| --- | --- |
| parameters, and bytes of the file | how many there are, and at how many bits each was kept |
| weights in memory | they are widened to float32 when loaded: four bytes each |
| cache | keys and values of the whole context, for one text (`attention.cache-memory`) |
| flops a token | forward, the mean over a text (`transformer.flops`); training takes three times as many |
| bytes a token | what one new token reads, nearly all of it weights (`attention.decode-intensity`) |
| training | weights, gradients, Adam's two numbers for each, and the activations of one text |

A machine that reads 20 gigabytes a second from memory writes at most 20 divided by the gigabytes of a token, in tokens
a second, whatever its arithmetic: this is the first thing to know about a model.

## In practice

Model cards list the same numbers. What cannot be read off a file is what a model is good at: `fp-capstone eval`
measures one thing, the loss on a text of yours.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from fp_capstone.pretrained import read_chat_template, tokenizer_of

if TYPE_CHECKING:
    from fp_transformer.checkpoint import Stored
    from fp_transformer.config import TransformerConfig

__all__ = ["describe", "show"]


def describe(path: Path, length: int | None = None) -> dict[str, Any]:
    """
    What can be said of a model without loading it.

    Parameters
    ----------
    path
        A model directory or a GGUF file, from `fp_capstone.pretrained.find_model`.
    length
        Tokens of a text, for flops and memory; the model's context by default.

    Returns
    -------
    dict
        Plain values: `model`, `tokenizer`, `numbers`, and `parts`, a list of rows.

    Raises
    ------
    ValueError
        If something is missing, damaged or unknown, or the length is not between 1 and the context.
    """
    from fp_transformer.counting import decode_bytes, forward_flops, summary, training_memory

    config, arrays = _open(path)
    T = config.context_length if length is None else length
    if not 1 <= T <= config.context_length:
        raise ValueError(f"--length must lie in [1, {config.context_length}], the model's context; got {length}")
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    size = sum(file.stat().st_size for file in files)
    table = summary(config, 1, T)
    memory = training_memory(config, 1, T)
    tokenizer = _tokenizer(path)
    template = read_chat_template(path)
    return {
        "path": str(path),
        "model": {
            "family": config.family,
            "layers": config.n_layers,
            "width": config.d_model,
            "heads": config.n_heads,
            "key_heads": config.n_kv_heads,
            "feedforward": config.d_ff,
            "vocabulary": config.vocab_size,
            "context": config.context_length,
            "tied": config.tied,
            "rope_base": config.rope_base or None,
            "stored_as": _kinds(arrays),
        },
        "tokenizer": tokenizer,
        "chat_template": template is not None,
        "numbers": {
            "parameters": config.n_parameters,
            "file_bytes": size,
            "bits_per_parameter": 8 * size / config.n_parameters,
            "length": T,
            "weight_bytes": 4 * config.n_parameters,
            "cache_bytes": table.total.cache,
            "flops_per_token": forward_flops(config, T) / T,
            "bytes_per_token": decode_bytes(config, T),
            "training_bytes": memory.total,
        },
        "parts": [vars(row) for row in (*table.rows, table.total)],
    }


def show(about: dict[str, Any], console: Console) -> None:
    """
    Print what `describe` found, for people.

    Parameters
    ----------
    about
        From `describe`.
    console
        Where to.
    """
    model, numbers, tokenizer = about["model"], about["numbers"], about["tokenizer"]
    heads = f"{model['heads']} heads" + (
        f" over {model['key_heads']} key heads" if model["key_heads"] != model["heads"] else ""
    )
    rope = f", rotary positions of base {model['rope_base']:,.0f}" if model["rope_base"] else ", learned positions"
    stored = ", ".join(f"{kind} {n / numbers['parameters']:.0%}" for kind, n in model["stored_as"].items())
    known = "none"
    if tokenizer:
        special = f"{tokenizer['special_tokens']} of them special"
        known = f"{tokenizer['kind']}, {tokenizer['vocabulary']:,} tokens, {special}"
    lines = [
        ("file", f"{about['path']}"),
        ("family", f"{model['family']}: {model['layers']} layers, width {model['width']}, {heads}{rope}"),
        ("context", f"{model['context']:,} tokens"),
        ("tokenizer", known),
        ("chat template", "yes" if about["chat_template"] else "no, a base model"),
        ("parameters", f"{numbers['parameters']:,}" + (", the output tied to the embedding" if model["tied"] else "")),
        ("stored as", f"{stored}; {_size(numbers['file_bytes'])}, {numbers['bits_per_parameter']:.1f} bits each"),
        ("loaded", f"{_size(numbers['weight_bytes'])} in float32, and {_size(numbers['cache_bytes'])} for that cache"),
        ("a new token", f"reads {_size(numbers['bytes_per_token'])} when the cache holds {numbers['length']:,} tokens"),
        ("training", f"{_size(numbers['training_bytes'])} with Adam on one text of {numbers['length']:,} tokens"),
    ]
    for name, value in lines:
        console.print(f"{name:14}{value}", markup=False, highlight=False, soft_wrap=True)
    table = Table(title=f"texts of {numbers['length']:,} tokens", box=None, title_justify="left", header_style="bold")
    table.add_column("part", no_wrap=True)
    for name in ("parameters", "flops a token", "kept to train", "cache"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in about["parts"]:
        name = row["part"] if row["count"] == 1 else f"{row['count']} x {row['part']}"
        cells = [f"{row['parameters']:,}", f"{row['flops']:,}", _size(row["activations"]), _size(row["cache"])]
        table.add_row(name, *cells, style="bold" if row["part"] == "total" else None)
    console.print()
    console.print(table)


def _size(n: float | int) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            break
        n /= 1000
    return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"


def _open(path: Path) -> "tuple[TransformerConfig, Stored]":
    from fp_transformer.checkpoint import open_model

    if path.is_file():
        from fp_transformer.gguf_file import read_gguf

        return read_gguf(path)
    return open_model(path)


def _kinds(arrays: "Stored") -> dict[str, int]:
    """How many numbers are stored as what."""
    kinds: dict[str, int] = {}
    for name, kind in arrays.types.items():
        size = 1
        for n in arrays.shapes[name]:
            size *= n
        kinds[kind] = kinds.get(kind, 0) + size
    return dict(sorted(kinds.items(), key=lambda item: -item[1]))


def _tokenizer(path: Path) -> dict[str, Any] | None:
    """None if there is none, which is no reason not to look at the rest."""
    if path.is_dir() and not (path / "tokenizer.json").exists():
        return None
    tokenizer = tokenizer_of(path)
    return {
        "kind": type(tokenizer).__name__,
        "vocabulary": tokenizer.vocab_size,
        "special_tokens": len(tokenizer.special_tokens),
    }
