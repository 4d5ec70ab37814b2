r"""
Fine-tuning: from a file of examples to a model that has learned them.

All parts are there: a model, something small to train in it, data, an optimizer. This section runs them, and measures
what a fine-tuning is worth: the loss on examples that it did not see, before and after.

You need: `fp_peft.wrapping`, `fp_peft.data`, AdamW and schedules from `fp_optim`.

## The rate

The methods want very different rates. A full fine-tuning moves every weight by about the rate in each step of Adam
(`optim.adam-bounded`), all of them in agreement, and $10^{-5}$ to $10^{-3}$ is a large change already. Of a low-rank
update the weights feel $s B A$: while $B$ is near zero a step of size $\eta$ in its entries moves an entry of $B A$ by
at most $\eta \sum_i |a_i|$, a sum of $r$ numbers of size $1 / \sqrt n$. So rates are five to ten times higher. Prompts
and prefixes have few numbers, far from the loss, and want more still. The defaults here are for small models:

>>> {name: Settings(method=name).rate for name in METHODS}
{'full': 0.0003, 'lora': 0.002, 'adapter': 0.002, 'prefix': 0.01, 'prompt': 0.03}

They rise over the first twentieth of the steps and fall to a tenth along a cosine (`fp_optim.schedules`); gradients are
clipped to length one; weights that are few and begin near zero are not decayed.

>>> from fp_peft.data import Text
>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=7, context_length=16, n_layers=1, n_heads=2, d_model=16)
>>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
>>> text = Text(np.arange(700) % 7, length=12)
>>> result = fine_tune(model, text, Settings(method="lora", rank=4, steps=60, batch_size=4, lr=0.03))
>>> round(result.before, 2), round(result.after, 2), result.n_trainable
(1.95, 1.67, 1280)

## What is kept

`fp-peft finetune` writes a directory:

| file | contents |
| --- | --- |
| `adapter/` | what was added, in the layout of `peft` (`fp_peft.interchange`) |
| `model/` | for `full`, and with `--merge`: the model, which `fp-capstone generate` and every other program open |
| `metrics.csv` | step, loss, rate, tokens |
| `finetune.json` | the settings, and the losses before and after |

## In practice

Each measurement of a held-out loss costs a pass over the held-out part; on a large model a few thousand tokens of it
are enough to see whether the tuning works. A tuned model forgets: the loss on *other* texts rises, the more the longer
and the higher the rate. `--also` measures it.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fp_autograd.tensor import no_grad
from fp_markov._files import replacing
from fp_optim.adaptive import AdamW
from fp_optim.clipping import clip_by_global_norm
from fp_optim.schedules import warmup_cosine
from fp_peft.adapters import Adapter
from fp_peft.data import IGNORE, Data
from fp_peft.lora import LoRA
from fp_peft.prefix import PrefixTuning, PromptTuning
from fp_peft.wrapping import Method, Tuned, wrap
from fp_transformer.model import Transformer

__all__ = ["METHODS", "Settings", "Result", "fine_tune", "held_out_loss", "write_report"]  # the order of the page

METHODS = {"full": 3e-4, "lora": 2e-3, "adapter": 2e-3, "prefix": 1e-2, "prompt": 3e-2}
"""Ways to tune, and the rate of each if none is given."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    r"""
    How to tune a model.

    Parameters
    ----------
    method
        One of `METHODS`.
    rank
        The rank of factors, the width of adapters, or the length of a prefix or prompt.
    alpha
        $\alpha$ of `LoRA`; twice the rank by default.
    targets
        Of `LoRA`.
    lr
        The highest rate; that of the method by default.
    steps
        How many updates.
    batch_size
        Texts in each.
    weight_decay
        Of AdamW.
    clip
        The longest gradient.
    seed
        Of everything that is drawn.

    Raises
    ------
    ValueError
        If a setting is unknown or out of its range.
    """

    method: str = "lora"
    rank: int = 8
    alpha: float | int | None = None
    targets: Any = "all"
    lr: float | int | None = None
    steps: int = 200
    batch_size: int = 8
    weight_decay: float | int = 0.0
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"the method is one of {', '.join(METHODS)}, got {self.method!r}")
        for name in ("rank", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")
        if not 0 < self.rate < math.inf:
            raise ValueError(f"a rate is a positive number, got {self.rate}")
        if self.seed < 0:
            raise ValueError(f"a seed is at least 0, got {self.seed}")

    @property
    def rate(self) -> float:
        """The highest rate."""
        return METHODS[self.method] if self.lr is None else float(self.lr)

    def make(self, init_ids: Any = None) -> Method | None:
        """What to add to the model; None in a full fine-tuning."""
        if self.method == "lora":
            return LoRA(self.rank, 2 * self.rank if self.alpha is None else self.alpha, self.targets)
        if self.method == "adapter":
            return Adapter(self.rank)
        if self.method == "full":
            return None
        return (PrefixTuning if self.method == "prefix" else PromptTuning)(self.rank, init_ids)


@dataclass
class Result:
    """What came of it."""

    model: Transformer
    """Tuned: a `Tuned`, or in a full fine-tuning a plain model."""
    before: float
    """The held-out loss, in nats per token, without tuning."""
    after: float
    """… and with it."""
    n_trainable: int
    """How many numbers were trained."""
    seconds: float
    """Spent in steps."""
    history: list[dict[str, float]] = field(default_factory=list)
    """`step`, `loss`, `lr` and `tokens` of each step."""

    def report(self, settings: Settings) -> dict[str, Any]:
        """Plain data for a file."""
        return {
            "settings": asdict(settings) | {"lr": settings.rate},
            "n_trainable": self.n_trainable,
            "n_parameters": self.model.n_parameters - (self.n_trainable if isinstance(self.model, Tuned) else 0),
            "held_out_loss": {"before": self.before, "after": self.after},
            "seconds": round(self.seconds, 2),
        }


def held_out_loss(model: Transformer, data: Data, batch_size: int = 8) -> float:
    """
    The mean loss on what is held out, over all its tokens that count.

    Parameters
    ----------
    model
        Any; its mode is kept.
    data
        Its `held_out` is read once.
    batch_size
        Texts at once.

    Returns
    -------
    float
        In nats per token (`peft.masked-loss`).

    Raises
    ------
    ValueError
        If the batch size is not positive or nothing is held out.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is at least 1, got {batch_size}")
    training, total, count = model.training, 0.0, 0
    model.eval()
    with no_grad():
        for ids, targets in data.held_out(batch_size):
            n = int((targets != IGNORE).sum())
            if n:
                total += n * float(model.loss(ids, targets, ignore=IGNORE).item())
                count += n
    model.train(training)
    if not count:
        raise ValueError("nothing is held out, so there is no loss to measure")
    return total / count


def fine_tune(
    model: Transformer,
    data: Data,
    settings: Settings,
    *,
    init_ids: Any = None,
    note: Callable[[dict[str, float]], None] = lambda _: None,
) -> Result:
    """
    Tune a model.

    Parameters
    ----------
    model
        The base. It is not changed, except in a full fine-tuning, which trains it in place.
    data
        `fp_peft.data.Examples` or `Text`, or anything with their two methods.
    settings
        How.
    init_ids
        Tokens that a prefix or prompt begins as, `settings.rank` of them; tokens from the data by default.
    note
        Told of each step.

    Returns
    -------
    Result
        With the held-out loss before and after.

    Raises
    ------
    ValueError
        If the method does not fit the model or a loss is not finite.
    """
    rng = np.random.default_rng(settings.seed)
    draws = np.random.default_rng([settings.seed, 1])
    before = held_out_loss(model, data, settings.batch_size)
    if init_ids is None and settings.method in ("prefix", "prompt"):
        ids, _ = data.draw(np.random.default_rng([settings.seed, 2]), 1)
        init_ids = np.resize(ids[0], settings.rank).tolist()
    method = settings.make(init_ids)
    tuned = model.unfreeze() if method is None else wrap(model, method, rng=rng)
    tuned.train()
    parameters = {name: p for name, p in tuned.named_parameters().items() if p.requires_grad}
    optimizer = AdamW(
        {name: p.data for name, p in parameters.items()}, lr=settings.rate, weight_decay=settings.weight_decay
    )
    result = Result(tuned, before, before, sum(p.size for p in parameters.values()), 0.0)
    begun = time.perf_counter()
    with np.errstate(over="ignore", invalid="ignore"):  # the loss refuses what is not finite, in words
        for step in range(settings.steps):
            ids, targets = data.draw(draws, settings.batch_size)
            loss = tuned.loss(ids, targets, ignore=IGNORE)
            loss.backward()
            grads = {name: p.grad for name, p in parameters.items()}
            clip_by_global_norm(grads, settings.clip)
            lr = warmup_cosine(
                step,
                n_steps=settings.steps,
                warmup=max(1, settings.steps // 20),
                peak=settings.rate,
                floor=settings.rate / 10,
            )
            optimizer.step(grads, lr=lr)
            tuned.zero_grad()
            row = {"step": step + 1, "loss": float(loss.item()), "lr": lr, "tokens": int((targets != IGNORE).sum())}
            result.history.append(row)
            note(row)
        result.seconds = time.perf_counter() - begun
        tuned.eval()
        result.after = held_out_loss(tuned, data, settings.batch_size)
    return result


def write_report(directory: Path, result: Result, report: dict[str, Any]) -> None:
    """
    Write the two plain files of a fine-tuning, each whole or not at all.

    Parameters
    ----------
    directory
        Exists.
    result
        Its history becomes `metrics.csv`.
    report
        Plain data, for `finetune.json`.
    """
    with replacing(directory / "metrics.csv") as file:
        rows = [
            "step,loss,lr,tokens",
            *(f"{r['step']},{r['loss']!r},{r['lr']!r},{r['tokens']}" for r in result.history),
        ]
        file.write(("\n".join(rows) + "\n").encode())
    with replacing(directory / "finetune.json") as file:
        file.write((json.dumps(report, indent=2) + "\n").encode())
