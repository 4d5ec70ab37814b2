"""
Bases: the model that is to be tuned, whoever wrote it.

A base is a model directory in Hugging Face's layout, a GGUF file, a run of `fp-capstone train`, or a model that
`fp-capstone fetch` has put into the cache. Of each one needs the weights, the tokenizer, and, if there is one, the
template that says how conversations are written. What was tuned goes back into a directory with all of it, so that the
program that ran the base runs the tuned one.

You need: `fp_transformer.checkpoint`, `fp_tokenize.interchange`.

## In practice

Beside the weights, `config.json` and `tokenizer.json`, a directory may hold settings of the tokenizer, of generation,
and the template; they are copied as they are. A GGUF file has them in its header, and the few that a program needs to
talk to the model are written out. `FP_CAPSTONE_CACHE` says where the cache is, if it is set.
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fp_tokenize._wire import GGUF
from fp_tokenize.frame import Frame
from fp_tokenize.interchange import from_gguf, from_huggingface
from fp_transformer.checkpoint import load, save
from fp_transformer.model import Transformer

__all__ = ["Base", "find_base", "open_base", "save_beside"]  # the order of the page

FETCHED = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf"}
_BESIDE = ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "chat_template.jinja")


@dataclass
class Base:
    """A model and what belongs to it."""

    path: Path
    """A directory or a GGUF file."""
    model: Transformer
    """In the mode for use."""
    tokenizer: Frame
    """Its own."""
    template: str | None
    """How it writes conversations, in Jinja."""


def _cache() -> Path:
    chosen = os.environ.get("FP_CAPSTONE_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fp-capstone"


def find_base(name: str | Path) -> Path:
    """
    Where a model is.

    Parameters
    ----------
    name
        A model directory, a run, a `.gguf` file, or the name of one that was fetched. A path that exists wins.

    Returns
    -------
    Path
        A model directory or a GGUF file.

    Raises
    ------
    ValueError
        If there is none.
    """
    path = Path(name)
    if path.is_dir():
        inside = path / "model"  # a run keeps its finished model there
        for folder in (path, inside):
            if (folder / "config.json").is_file():
                return folder
        raise ValueError(
            f"{path} is no model: a model directory has a config.json, a finished run of fp-capstone a folder model"
        )
    if path.is_file():
        if path.suffix == ".gguf":
            return path
        raise ValueError(f"{path} is no model: name its directory, a run, or a .gguf file")
    if str(name) in FETCHED:
        file = _cache() / FETCHED[str(name)]
        if not file.is_file():
            raise ValueError(f"{name} has not been fetched yet: run  fp-capstone fetch {name}")
        return file
    raise ValueError(f"there is no model at {name}, and it is not the name of one that can be fetched: {list(FETCHED)}")


def open_base(name: str | Path) -> Base:
    """
    Load a model with what belongs to it.

    Parameters
    ----------
    name
        As for `find_base`.

    Raises
    ------
    ValueError
        If something is missing, damaged or does not belong together.
    """
    path = find_base(name)
    if path.is_file():
        tokenizer = from_gguf(path)
    elif (path / "tokenizer.json").is_file():
        tokenizer = from_huggingface(path)
    else:
        raise ValueError(f"{path} has no tokenizer.json, so there is no telling which text its tokens stand for")
    model = load(path)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} ids and the model rows for {model.config.vocab_size}: "
            "they do not belong together"
        )
    return Base(path, model, tokenizer, _template(path))


def _template(path: Path) -> str | None:
    if path.is_file():
        found = GGUF(path, "tokenizer.chat_template").entries.get("tokenizer.chat_template")
        return found.decode("utf-8", "replace") if isinstance(found, bytes) else None
    file = path / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    settings = path / "tokenizer_config.json"
    found = json.loads(settings.read_text(encoding="utf-8")).get("chat_template") if settings.is_file() else None
    return found if isinstance(found, str) else None


def save_beside(base: Base, model: Transformer, directory: Path) -> None:
    """
    Write a plain model with everything that belongs to its base.

    Parameters
    ----------
    base
        What it was made from.
    model
        Merged or tuned in full.
    directory
        Made if absent.

    Raises
    ------
    ValueError
        If the model has parts that its family does not have.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if base.path.is_dir():
        for name in _BESIDE:
            if (base.path / name).is_file():
                shutil.copyfile(base.path / name, directory / name)
    else:
        if base.template is not None:
            (directory / "chat_template.jinja").write_text(base.template, encoding="utf-8")
        (directory / "tokenizer_config.json").write_text(json.dumps(_marks(base), indent=2) + "\n", encoding="utf-8")
    save(model, directory, base.tokenizer)  # last, and whole or absent


def _marks(base: Base) -> dict[str, Any]:
    """The special tokens that a GGUF file names, by their spelling."""
    marks = {}
    for key, value in GGUF(base.path, "tokenizer.ggml.").entries.items():
        name = key.removeprefix("tokenizer.ggml.").removesuffix("_id")
        if name in ("bos_token", "eos_token") and isinstance(value, int):
            marks[name] = base.tokenizer.id_to_token(value)
    return marks
