r"""
Training: draw a batch, find the gradient, take a step; and be able to stop at any step without a trace.

All parts are there: a model with a gradient, an optimizer, a schedule, clipping. This section is the loop that turns
them, one `Trainer.step` at a time, and answers two questions that decide whether a run can be trusted: which tokens
does it learn from, and does a run that was interrupted become the same model?

You need: the model (`fp_capstone.model`), optimizers and schedules (stage 4).

## Which tokens

The training text has tokens $x_0, \dots, x_{n-1}$. An **epoch** draws an offset $o$ uniformly from
$\{0, \dots, T - 1\}$ and cuts the text from there into disjoint windows: window $k$ has the targets
$x_{o + kT + 1}, \dots, x_{o + kT + T}$, for all $k$ for which these exist. It visits them in random order, and then the
next epoch draws a new offset.

**Claim** `capstone.epoch-coverage`. Let $n \ge 2T$. In one epoch every token is a target at most once; those that never
are number at most $2T - 1$, at the two ends of the text. And a token $x_t$ with $T \le t \le n - T$ is a target with
certainty, and its place in its window is uniform on $1, \dots, T$.

**Proof.** The windows' targets are disjoint runs of $T$, one after the other, so no token is a target twice. The first
run begins at $o + 1 \le T$ and ends at $o + T \le 2T - 1 \le n - 1$: for every offset there is at least one (this is
what $n \ge 2T$ is for), and it leaves out $x_0, \dots, x_o$, at most $T$ tokens. The runs go on while they fit, so that
fewer than $T$ are left after the last: together at most $T + (T - 1)$. Let $T \le t \le n - T$. Then $t \ge o + 1$, so
$k = \lfloor (t - o - 1) / T \rfloor \ge 0$, and the run with that $k$ holds $t$ and ends at most $T - 1$ after it, at
$n - 1$ or before: it exists. The place of $t$ in it is $(t - o - 1) \bmod T + 1$, and as $o$ runs through $T$
successive integers this takes every value of $1, \dots, T$ once. $\blacksquare$

So every token with $T \le t \le n - T$ is learned from equally often, once an epoch, and, over epochs, with every
length of context. A window drawn independently of the others misses such a token with probability about $1 - T / n$; in
the time of one epoch $n / T$ of them are drawn, and would leave a share of about $(1 - T / n)^{n / T}$ of the text
unseen, which for $n$ much larger than $T$ is nearly $e^{-1} = 37\%$.

## Averages of averages

A large batch that does not fit into memory is split into micro-batches $s$ of $N_s$ tokens, whose mean losses are
$\ell_s$.

**Claim** `capstone.accumulation`. The gradient of the mean loss over all $N = \sum_s N_s$ tokens is
$\sum_s \frac{N_s}{N} \nabla \ell_s$.

**Proof.** $N_s \ell_s$ is the sum of the losses of the tokens in $s$, so the mean loss over all tokens is
$\frac{1}{N} \sum_s N_s \ell_s$, and differentiation is linear. $\blacksquare$

## Stopping without a trace

**Claim** `capstone.resume`. Let the state of a run after step $i$ be $S_i$: the parameters, the optimizers' arrays and
counts, the generator's state, the rest of the epoch's order and the window that it was cut for, the number of tokens
learned from, and $i$. Fix the text, the settings (the number of threads included), the libraries and the machine, and
let a step be a deterministic function of the state, $S_{i+1} = f(S_i)$. Then a run of $2N$ steps, and a run of $N$
steps, a save, a load and $N$ more steps, end in the same state, bit for bit.

**Proof.** Saving and loading return the same bits: safetensors holds the bytes of the arrays, and JSON holds the
integers, to the last digit: the generator's state (with the generator's name), the window, the number of tokens and
$i$. So the second run goes on from $S_N$, and by induction $S_{N + j} = f(f(\dots f(S_N)))$ is the same in both runs
for every $j$. $\blacksquare$

All the work is in the premise. Whatever a step reads must be in the state: the schedule reads $i$, not the clock;
dropout draws from the saved generator; sums over threads are taken in a fixed order, which is another for another
number of threads. And whatever is not in the state must be fixed: another BLAS adds in another order.

## The step

Muon takes the matrices inside the blocks, AdamW everything else (embeddings, output layer, norms, biases); weight decay
pulls on matrices only, and beside Muon only on Muon's. The rate of step $i$ is the peak times the schedule's factor,
and the first step runs at the first rate of the warmup, $1 / \text{warmup}$ of the peak: AdamW's first step is a sign,
as long for a tiny gradient as for a large one.

A run may begin with shorter windows (`short_window`), more of them to a batch: early on a model learns what the nearest
tokens tell, and attention over short windows is cheaper. As long as it trains on short windows it is evaluated on short
windows too, for it has not seen the longer distances; the closing table always stands for the full window.

## In practice

Large runs store the order of all windows in advance, shard it over machines, and checkpoint asynchronously; bit-exact
resumption is what lets them find out whether a spike in the loss was the data's or the hardware's.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from fp_capstone.settings import Settings
from fp_optim.accumulation import Accumulator
from fp_optim.adaptive import AdamW
from fp_optim.clipping import clip_by_global_norm
from fp_optim.muon import Muon
from fp_optim.schedules import warmup_cosine, warmup_linear
from fp_transformer.config import TransformerConfig

__all__ = ["Windows", "StepRecord", "Trainer", "model_config"]


@runtime_checkable
class _Model(Protocol):
    def parameters(self) -> dict[str, np.ndarray]: ...


_Gradients = Callable[..., tuple[float, dict[str, np.ndarray]]]


def model_config(settings: Settings, vocab_size: int) -> TransformerConfig:
    """
    The sizes of the model that settings ask for.

    Parameters
    ----------
    settings
        Family and sizes.
    vocab_size
        Of the tokenizer.

    Raises
    ------
    ValueError
        If the sizes do not fit together; the message says which and why.

    Examples
    --------
    >>> model_config(Settings(d_model=48, n_heads=3), vocab_size=65).d_head
    16
    """
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "context_length": settings.context_length,
        "n_layers": settings.n_layers,
        "n_heads": settings.n_heads,
        "d_model": settings.d_model,
        "d_ff": settings.d_ff,
        "tied": settings.tied,
        "dropout": settings.dropout,
    }
    if settings.family == "llama":
        return TransformerConfig.llama(**sizes, n_kv_heads=settings.n_kv_heads)
    if settings.n_kv_heads not in (None, settings.n_heads):
        raise ValueError(
            f"the gpt2 family has one key-value head per query head, got n_kv_heads={settings.n_kv_heads}; "
            "take --family llama"
        )
    return TransformerConfig.gpt2(**sizes)


class Windows:
    """
    Windows of a text in random order, epoch by epoch (`capstone.epoch-coverage`).

    Parameters
    ----------
    ids
        Token ids of the training text.
    rng
        Source of offsets and orders.

    Attributes
    ----------
    window : int
        Tokens of the windows in `order`.
    order : ndarray
        Where the windows begin that are left of this epoch.
    """

    def __init__(self, ids: Int[np.ndarray, " n"], rng: np.random.Generator) -> None:
        self._ids, self._rng = ids, rng
        self.window = 0
        self.order: Int[np.ndarray, " k"] = np.zeros(0, dtype=np.int64)

    def draw(self, window: int, batch_size: int) -> tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "B T"]]:
        """
        The next windows and their targets.

        Parameters
        ----------
        window
            Tokens of a window, fewer than the text has. Another length than the last one begins a new epoch.
        batch_size
            How many windows.

        Raises
        ------
        ValueError
            If the text is too short for one window.

        Examples
        --------
        >>> inputs, targets = Windows(np.arange(97), np.random.default_rng(3)).draw(window=5, batch_size=2)
        >>> inputs.shape, bool((targets == inputs + 1).all())
        ((2, 5), True)
        """
        spare = self._ids.size - 1 - window
        if window < 1 or spare < 0:
            raise ValueError(
                f"a window of {window} tokens and its last target need {window + 1} tokens, "
                f"the text has {self._ids.size}"
            )
        if window != self.window:
            self.window, self.order = window, self.order[:0]
        while self.order.size < batch_size:
            offset = int(self._rng.integers(min(window, spare + 1)))
            starts = np.arange(offset, spare + 1, window, dtype=np.int64)
            self.order = np.concatenate([self.order, self._rng.permutation(starts)])
        starts, self.order = self.order[:batch_size], self.order[batch_size:]
        rows = self._ids[starts[:, None] + np.arange(window + 1)]
        return rows[:, :-1], rows[:, 1:]


@dataclass(frozen=True)
class StepRecord:
    """
    What a step reports.

    Parameters
    ----------
    step
        Steps done, this one included.
    loss
        Mean over the step's tokens before the step, in nats per token.
    grad_norm
        Global norm before clipping.
    lr
        AdamW's learning rate.
    window, tokens
        Tokens of a window and of the step.
    seconds
        How long it took.
    """

    step: int
    loss: float
    grad_norm: float
    lr: float
    window: int
    tokens: int
    seconds: float


class Trainer:
    """
    The training loop's state and its step.

    Parameters
    ----------
    model
        Anything with `parameters()`, live arrays by name.
    gradients
        `(ids, targets, rng) -> (loss, grads)`, for instance `ThreadedGradients(model, n)`.
    ids
        Token ids of the training text.
    settings
        Batch, optimizer, schedule, seed.

    Attributes
    ----------
    step_number : int
        Steps done.
    n_tokens : int
        Tokens learned from.
    """

    def __init__(self, model: _Model, gradients: _Gradients, ids: Int[np.ndarray, " n"], settings: Settings) -> None:
        self.settings = settings
        self.step_number = 0
        self.n_tokens = 0
        self._gradients = gradients
        self._rng = np.random.default_rng([settings.seed, 1])  # the weights are drawn from [seed, 0]
        self.windows = Windows(ids, self._rng)
        self._parameters = model.parameters()
        self._optimizers = _build_optimizers(self._parameters, settings)
        self._pool = ThreadPoolExecutor(settings.threads or 1)
        self._accumulator = Accumulator(self._parameters)

    def factor(self, step: int) -> float:
        """The schedule's share of the peak rate in step `step`, counted from 0."""
        s = self.settings
        if s.schedule == "constant":
            return min(1.0, (step + 1) / s.warmup)
        schedule = warmup_cosine if s.schedule == "cosine" else warmup_linear
        return schedule(step, n_steps=s.n_steps, warmup=s.warmup, floor=s.floor)

    @property
    def window(self) -> int:
        """Tokens of a window in the next step."""
        s = self.settings
        if s.short_window is not None and self.step_number < s.short_share * s.n_steps:
            return min(s.short_window, s.context_length)
        return s.context_length

    def step(self) -> StepRecord:
        """
        Draw a batch, find its gradient, clip it, and let the optimizers step.

        Returns
        -------
        StepRecord
            What happened.

        Raises
        ------
        FloatingPointError
            If the loss or the gradient is no longer a number. No parameter, optimizer array or step count has changed;
            the batch's windows and random numbers are spent, and its gradients dropped.
        """
        started, s = time.perf_counter(), self.settings
        self._accumulator.clear()  # of a step that failed between two micro-batches
        window = self.window
        batch_size = s.batch_size * s.context_length // window
        rng = self._rng if s.dropout else None
        tokens, total = 0, 0.0
        for _ in range(s.accumulation):
            ids, targets = self.windows.draw(window, batch_size)
            loss, grads = self._gradients(ids, targets, rng)
            tokens, total = tokens + ids.size, total + ids.size * loss
            if s.accumulation > 1:
                self._accumulator.add(grads, ids.size)
        if s.accumulation > 1:
            loss, grads = total / tokens, self._accumulator.mean()
        norm = clip_by_global_norm(grads, s.clip)
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise FloatingPointError(
                f"training diverged in step {self.step_number + 1}: loss {loss}, gradient norm {norm}. "
                "Lower --lr and --muon-lr, or lengthen --warmup"
            )
        factor = self.factor(self.step_number)
        updates = [
            self._pool.submit(optimizer.step, {name: grads[name] for name in optimizer.parameters}, lr=peak * factor)
            for _, optimizer, peak in self._optimizers
        ]
        try:
            for update in updates:
                update.result()
        finally:  # an interrupt finds the step done and counted
            wait(updates)
            if all(update.exception() is None for update in updates):
                self.step_number += 1
                self.n_tokens += tokens
        return StepRecord(self.step_number, loss, norm, s.lr * factor, window, tokens, time.perf_counter() - started)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the state, the parameters aside (`capstone.resume`)."""
        arrays = {"order": self.windows.order}
        for kind, optimizer, _ in self._optimizers:
            arrays |= {f"{kind}/{key}": array for key, array in optimizer.state_dict().items()}
        return arrays

    def state(self) -> dict[str, Any]:
        """The rest of the state, values that JSON holds exactly."""
        return {
            "step": self.step_number,
            "n_tokens": self.n_tokens,
            "window": self.windows.window,
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
        """
        Take over what `tensors` and `state` returned; the parameters are the model's.

        Raises
        ------
        ValueError
            If it is the state of another training.
        """
        for kind, optimizer, _ in self._optimizers:
            saved = {key: tensors.get(f"{kind}/{key}") for key in optimizer.state_dict()}
            optimizer.load_state_dict({key: array for key, array in saved.items() if array is not None})
        self.step_number, self.n_tokens = int(state["step"]), int(state["n_tokens"])
        self.windows.window, self.windows.order = int(state["window"]), tensors["order"]
        self._rng.bit_generator.state = state["rng"]


def _build_optimizers(parameters: Mapping[str, np.ndarray], s: Settings) -> list[tuple[str, Any, float]]:
    """
    Kind, optimizer and peak rate: Muon for matrices inside blocks if asked, AdamW for the rest.

    Muon treats each matrix by itself, so the matrices are dealt out to as many optimizers as there are threads. Beside
    it AdamW decays nothing: it is left with embeddings, where a rare token's row would only shrink, and with vectors.
    """
    muon = [name for name, a in parameters.items() if s.optimizer == "muon" and _in_block(name) and a.ndim == 2]
    rest = {name: array for name, array in parameters.items() if name not in muon}
    outputs: Literal["rows", "columns"] = "columns" if s.family == "gpt2" else "rows"  # GPT-2 stores (in, out)
    decay = 0.0 if muon else s.weight_decay
    adamw = AdamW(rest, lr=s.lr, betas=(s.beta1, s.beta2), weight_decay=decay, threads=s.threads or 1)
    optimizers: list[tuple[str, Any, float]] = [("adamw", adamw, s.lr)]
    for first in range(min(s.threads or 1, len(muon))):
        own = {name: parameters[name] for name in muon[first :: s.threads or 1]}
        optimizer = Muon(own, lr=s.muon_lr, momentum=s.momentum, weight_decay=s.weight_decay, outputs=outputs)
        optimizers.append(("muon", optimizer, s.muon_lr))
    return optimizers


def _in_block(name: str) -> bool:
    """Whether a parameter of this name belongs to a block, in either family."""
    return name.startswith(("model.layers.", "transformer.h."))
