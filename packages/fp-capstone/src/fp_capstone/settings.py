r"""
Settings: every knob of a training run, in one frozen record.

A result that cannot be repeated is a rumour. What determines a run (text, sizes, rates, seed) is therefore one
immutable value, checked when it is made, and written into the run's directory before the first step.

Settings come from four places, and the later one wins:

1. the defaults of `Settings`;
2. a **preset**, a named set of sizes and rates that go well together: `tiny` for trying things (seconds), `small` for
   the default run (one to two minutes on two cores), `base` for texts of a megabyte or more, and patience;
3. a TOML file, whose keys are the fields of `Settings` and `preset`;
4. options of the command line, which have the same names with `-` for `_`.

The file that a run leaves behind, `settings.toml`, is such a TOML file: `--config` repeats the run. A relative `text`
in a file is looked for in the file's own folder.

## In practice

Frameworks of research laboratories compose settings from many nested files (Hydra, gin). For a single model one flat
table is easier to read and to compare: `diff` of two runs' settings is the list of what was changed.
"""

import difflib
import json
import math
import os
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

__all__ = ["Settings", "PRESETS", "read_settings", "resolve_settings"]

MOST_THREADS = 256


def _knob(default: Any, help: str, *, choices: tuple[str, ...] = (), at_least: int | None = None) -> Any:
    """A field with a sentence for `--help` and what its values must satisfy."""
    return field(default=default, metadata={"help": help, "choices": choices, "at_least": at_least})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    What determines a training run.

    Every field is an option of `fp-capstone train` and a key of its TOML file; the sentence beside it is its help.

    Raises
    ------
    TypeError
        If a value has the wrong type.
    ValueError
        If a value is out of range.

    Examples
    --------
    >>> Settings(n_layers=2).tokens_per_step
    4096
    >>> Settings(batch_size=0)
    Traceback (most recent call last):
        ...
    ValueError: batch_size must be at least 1, got 0
    """

    text: str | None = _knob(
        None, "A file, a folder, or - for standard input; default: Python's own language reference."
    )
    encoding: str = _knob("utf-8", "How the bytes of the text spell characters.")
    tokenizer: str = _knob("chars", "What a token is.", choices=("chars", "bytes"))
    family: str = _knob("llama", "The architecture.", choices=("llama", "gpt2"))
    n_layers: int = _knob(4, "Blocks.", at_least=1)
    n_heads: int = _knob(4, "Query heads of a block.", at_least=1)
    n_kv_heads: int | None = _knob(None, "Key-value heads of a block (llama); default: one per query head.", at_least=1)
    d_model: int = _knob(128, "Width of the residual stream.", at_least=1)
    d_ff: int | None = _knob(
        None, "Width of the feed-forward layer; without a number, by the family's rule.", at_least=1
    )
    context_length: int = _knob(128, "Tokens of a window, in training and in evaluation.", at_least=1)
    short_window: int | None = _knob(
        None, "Tokens of a window in the first part of training, if it has such a part.", at_least=1
    )
    short_share: float = _knob(0.5, "The share of the steps that is the first part.", at_least=0)
    tied: bool = _knob(True, "Whether the output layer is the embedding.")
    dropout: float = _knob(0.0, "Dropout rate.", at_least=0)
    batch_size: int = _knob(32, "Windows of a micro-batch.", at_least=1)
    accumulation: int = _knob(1, "Micro-batches of a step, whose gradients are averaged.", at_least=1)
    optimizer: str = _knob("muon", "Muon takes matrices in blocks only, AdamW the rest.", choices=("muon", "adamw"))
    lr: float = _knob(3e-3, "Peak learning rate of AdamW.", at_least=0)
    muon_lr: float = _knob(0.02, "Peak learning rate of Muon.", at_least=0)
    beta1: float = _knob(0.9, "AdamW's decay of the mean gradient.", at_least=0)
    beta2: float = _knob(0.99, "AdamW's decay of the mean square.", at_least=0)
    momentum: float = _knob(0.95, "Muon's momentum.", at_least=0)
    weight_decay: float = _knob(
        0.1, "Decay of matrices, per unit of learning rate; beside Muon only of its own.", at_least=0
    )
    schedule: str = _knob("cosine", "How the rate falls after the warmup.", choices=("cosine", "linear", "constant"))
    warmup: int = _knob(50, "Steps over which the rate rises to its peak.", at_least=1)
    floor: float = _knob(0.0, "The last rate, as a share of the peak.", at_least=0)
    clip: float = _knob(1.0, "Largest global norm of a gradient.", at_least=0)
    n_steps: int = _knob(1000, "Optimizer steps.", at_least=1)
    seconds: float | None = _knob(
        None, "Stop after so many seconds of training, even before the last step.", at_least=0
    )
    eval_every: int = _knob(100, "Steps between evaluations on the whole held-out text.", at_least=1)
    sample_every: int = _knob(200, "Steps between samples.", at_least=1)
    checkpoint_every: int = _knob(200, "Steps between checkpoints.", at_least=1)
    seed: int = _knob(1, "Seed of everything random.", at_least=0)
    threads: int | None = _knob(None, "Threads over the batch; default: one per core.", at_least=1)
    recompute: bool = _knob(False, "Keep less of each block and compute it twice: less memory, a third more time.")
    run_dir: str | None = _knob(None, "Where the run is written; default: a new folder under runs/.")

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            allowed = _types(knob.name)
            if value is None and type(None) in allowed:
                continue
            if isinstance(value, bool) is not (bool in allowed) or not isinstance(value, allowed):
                names = " or ".join(kind.__name__ for kind in allowed if kind is not type(None))
                raise TypeError(f"{knob.name} must be of type {names}, got {value!r} of type {type(value).__name__}")
            if float in allowed:
                value = float(getattr(self, knob.name))  # a whole number will do
                object.__setattr__(self, knob.name, value)
            if knob.metadata["choices"] and value not in knob.metadata["choices"]:
                raise ValueError(f"{knob.name} must be one of {', '.join(knob.metadata['choices'])}; got {value!r}")
            least = knob.metadata["at_least"]
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{knob.name} must be a finite number, got {value}")
            if least is not None and value < least:
                raise ValueError(f"{knob.name} must be at least {least}, got {value}")
        for name in ("beta1", "beta2", "momentum", "dropout"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} must be below 1, got {getattr(self, name)}")
        if self.warmup > self.n_steps:
            raise ValueError(f"warmup must not exceed n_steps, got {self.warmup} and {self.n_steps}")
        if not self.clip > 0:
            raise ValueError(f"clip must be positive, got {self.clip}; a large number such as 1e9 turns clipping off")
        if self.floor > 1:
            raise ValueError(f"floor is a share of the peak rate, at most 1; got {self.floor}")

    @property
    def tokens_per_step(self) -> int:
        """Tokens that one optimizer step learns from."""
        return self.batch_size * self.accumulation * self.context_length

    def resolved(self) -> "Settings":
        """
        The same settings with the number of threads filled in: it decides the order of sums, so it is saved.

        Raises
        ------
        ValueError
            If there are more threads than four per core, or more than 256.
        """
        if self.threads is None:
            return replace(self, threads=min(_cores(), MOST_THREADS))
        most = min(4 * _cores(), MOST_THREADS)
        if self.threads > most:
            raise ValueError(
                f"threads must be at most {most} on this machine, four per core and never more than {MOST_THREADS}; "
                f"got {self.threads}. One per core (--threads {min(_cores(), MOST_THREADS)}) is fastest"
            )
        return self

    def to_toml(self) -> str:
        """
        One line per field that has a value, readable by `read_settings`.

        Examples
        --------
        >>> print(Settings(text="my text.txt").to_toml().splitlines()[0])
        text = "my text.txt"
        """
        pairs = ((knob.name, getattr(self, knob.name)) for knob in fields(self))
        # a JSON string, number or boolean is a TOML one
        return "".join(
            f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in pairs if value is not None
        )


def _types(name: str) -> tuple[type, ...]:
    """What a field's value may be; a whole number will do for a float."""
    hint = get_type_hints(Settings)[name]
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return (*kinds, int) if float in kinds else kinds


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "n_layers": 2,
        "n_heads": 2,
        "d_model": 64,
        "context_length": 64,
        "batch_size": 16,
        "n_steps": 300,
        "warmup": 20,
        "eval_every": 100,
        "sample_every": 100,
        "checkpoint_every": 100,
    },
    "small": {
        "n_layers": 4,
        "n_heads": 4,
        "d_model": 128,
        "d_ff": 384,
        "tied": False,
        "context_length": 256,
        "short_window": 128,
        "short_share": 0.6,
        "batch_size": 4,
        "dropout": 0.1,
        "lr": 6e-3,
        "beta2": 0.95,
        "schedule": "linear",
        "warmup": 50,
        "n_steps": 1500,
        "eval_every": 200,
        "sample_every": 600,
        "checkpoint_every": 200,
    },
    "base": {
        "n_layers": 6,
        "n_heads": 6,
        "d_model": 192,
        "tied": False,
        "context_length": 256,
        "batch_size": 8,
        "beta2": 0.95,
        "schedule": "linear",
        "warmup": 100,
        "n_steps": 4000,
        "eval_every": 200,
        "sample_every": 1000,
        "checkpoint_every": 200,
    },
}


def read_settings(path: str | Path) -> dict[str, Any]:
    """
    The settings that a TOML file names.

    Parameters
    ----------
    path
        A file with keys of `Settings` and perhaps `preset`; `-` may stand for `_` in a key. A relative `text` becomes
        one below the file's folder.

    Returns
    -------
    dict
        Name to value, as far as the file goes.

    Raises
    ------
    ValueError
        If there is no such file, it is not TOML, or a key is unknown (the message names near ones).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"the settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the settings file {path} is not TOML: {error}") from None
    known = [knob.name for knob in fields(Settings)] + ["preset"]
    settings = {}
    for key, value in data.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(known))}"
            raise ValueError(f"the settings file {path} has an unknown key {key!r}: {hint}")
        settings[name] = value
    if isinstance(settings.get("text"), str) and settings["text"] != "-":
        settings["text"] = str(path.parent / settings["text"])
    return settings


def resolve_settings(
    options: Mapping[str, Any], *, preset: str | None = None, config: str | Path | None = None
) -> Settings:
    """
    Settings from a preset, a file and options, the later one winning.

    Parameters
    ----------
    options
        Name to value, of the command line.
    preset
        A key of `PRESETS`; if None the file's, or else `small`.
    config
        A TOML file.

    Returns
    -------
    Settings
        With the number of threads filled in. A warmup that only the preset names is at most a tenth of the steps.

    Raises
    ------
    TypeError, ValueError
        As for `Settings` and `read_settings`, or for an unknown preset.

    Examples
    --------
    >>> resolve_settings({"n_layers": 3}, preset="tiny").n_layers
    3
    """
    from_file = read_settings(config) if config is not None else {}
    named = from_file.pop("preset", None)
    preset = preset or named or "small"
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {preset!r}")
    values = {**PRESETS[preset], **from_file, **options}
    if "warmup" not in {**from_file, **options} and isinstance(values["n_steps"], int):
        values["warmup"] = min(values["warmup"], max(1, values["n_steps"] // 10))
    return Settings(**values).resolved()
