r"""
Watching a model learn, layer by layer.

The loss is one number, and it is the same whether one layer learns too fast, another not at all, or all of them a
little too slowly. What else can be seen of a training step, at what price, and without changing the model's code?

You need: `fp_dynamics.statistics`; the autograd's listeners (`fp_autograd.tensor`), optimizers (`fp_optim.optimizer`).

## What a step shows

Forward, each layer gives numbers whose size should stay within bounds, and its units should be alive. Backward, each
parameter gets a gradient. Then the optimizer moves the weights $W$ of a layer by $\Delta$, and what counts is

$$\rho = \frac{|\Delta|}{|W|}, \qquad \text{(E1)}$$

the **update ratio**: the gradient's size says little, because AdamW divides it out (`optim.adam-first-step`).

**Claim** `dynamics.update-ratio`. Let a weight matrix be $W_0 \ne 0$ at first, and let every step change it by at most
$\rho$ of its length, $|W_{t+1} - W_t| \le \rho\, |W_t|$ with $0 < \rho < 1$. Then

$$(1 - \rho)^t\, |W_0| \le |W_t| \le (1 + \rho)^t\, |W_0|, \qquad |W_t - W_0| \le \big( (1 + \rho)^t - 1 \big)\, |W_0|,
\qquad \text{(E2)}$$

and each of the bounds can be reached. $W_t$ orthogonal to $W_0$, in which nothing is left of the first weights, takes
$t \ge \frac{\ln 2}{\ln (1 + \rho)} > \frac{\ln 2}{\rho}$ steps.

**Proof.** $|W_{t+1}| \le |W_t| + |W_{t+1} - W_t| \le (1 + \rho)\, |W_t|$, and
$|W_t| \le |W_{t+1}| + |W_t - W_{t+1}|$ gives $|W_{t+1}| \ge (1 - \rho)\, |W_t|$: the first two by induction. Next,
$|W_t - W_0| \le \sum_{s<t} |W_{s+1} - W_s| \le \sum_{s<t} \rho\, (1 + \rho)^s\, |W_0|$, whose terms are
$(1 + \rho)^{s+1} - (1 + \rho)^s$ times $|W_0|$ and leave $(1 + \rho)^t - 1$. Steps of $\rho W_t$, always outwards or
always inwards, reach the bounds. If $W_t \cdot W_0 = 0$, then $|W_t - W_0|^2 = |W_t|^2 + |W_0|^2 \ge |W_0|^2$
(`neural.pythagoras`), so $(1 + \rho)^t \ge 2$; take logarithms, and $\ln (1 + \rho) < \rho$ by `markov.log-tangent`.
$\blacksquare$

At $\rho = 10^{-3}$, the customary value, that is some 700 steps for a layer to become another one; at $10^{-1}$ it is
eight; at $10^{-6}$ the layer stands still.

>>> [math.ceil(math.log(2) / math.log1p(rho)) for rho in (1e-1, 1e-3, 1e-6)]
[8, 694, 693148]

## How to listen

Every tensor of the autograd is made in one place, which calls a listener if there is one, and every module is called
through one function. While a `Recorder` watches, it listens at both: it learns which layer has just bent which numbers,
and by which activation. The model knows nothing of it. A model whose backward pass is written by hand, such as the
capstone's, has nothing to listen to; but its weights fit `fp_transformer.Transformer`, so a twin made of them shows
what goes through it (`Recorder.observe`).

>>> from fp_optim import AdamW
>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.gpt2(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=12)
>>> model = Transformer(config, rng=np.random.default_rng(0))
>>> recorder = Recorder(model, AdamW({name: p.data for name, p in model.named_parameters().items()}, lr=1e-3))
>>> ids = np.random.default_rng(1).integers(0, 11, (4, 9))
>>> for _ in range(2):
...     model.zero_grad()
...     with recorder.watching():
...         loss = model.loss(ids[:, :-1], ids[:, 1:])
...     loss.backward()
...     record = recorder.step(loss)
>>> record["step"], record["lr"], record["layers"]["blocks.1.feedforward"]["activation"]
(2, 0.001, 'gelu')
>>> 1e-4 < record["layers"]["blocks.1.feedforward.up_proj"]["update_ratio"] < 1e-1
True

## In practice

Watching reads every activation once more, and a record of the updates needs a copy of the weights: a few percent of a
large step, more of a small one, so `every` says how often. Trackers log histograms as well. PyTorch's hooks on modules
and tensors serve for the same; JAX programs return what they want to see.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from fp_autograd.tensor import Mode, no_grad
from fp_autograd.tracing import Box, value_of
from fp_dynamics.statistics import ACTIVATIONS, activation_statistics
from fp_neural.module import Module
from fp_optim.clipping import clip_by_global_norm, global_norm
from fp_transformer.checkpoint import from_arrays
from fp_transformer.model import Transformer

__all__ = ["named_arrays", "loss_and_gradients", "Recorder"]  # the order of the page


def named_arrays(model: Any) -> dict[str, np.ndarray]:
    """
    The arrays that a model trains, by name: the arrays themselves, not copies.

    Parameters
    ----------
    model
        A module of the autograd, anything whose `parameters()` gives named arrays, or a mapping of them.

    Raises
    ------
    TypeError
        If it is none of these.

    Examples
    --------
    >>> list(named_arrays({"w": np.zeros(3)}))
    ['w']
    """
    if isinstance(model, Module):
        return {name: value_of(p) for name, p in model.named_parameters().items()}
    found = model if isinstance(model, Mapping) else getattr(model, "parameters", lambda: None)()
    if not isinstance(found, Mapping) or not all(isinstance(a, np.ndarray) for a in found.values()):
        raise TypeError(
            f"a model is a module, or has parameters() that gives a dict of arrays; got {type(model).__name__}"
        )
    return dict(found)


def loss_and_gradients(
    model: Any, ids: Integer[np.ndarray, "B T"], targets: Integer[np.ndarray, "B T"]
) -> tuple[float, dict[str, np.ndarray]]:
    """
    A language model's mean loss on a batch, and its gradient; what the model held of gradients before, it holds after.

    Parameters
    ----------
    model
        A module whose `loss(ids, targets)` gives a tensor, or anything with `loss_and_grads(ids, targets)`.
    ids, targets
        Tokens, and those that came next.

    Returns
    -------
    loss : float
        Nats per token.
    grads : dict
        By name; a parameter that no gradient reached is not in it.

    Raises
    ------
    TypeError
        If the model has neither.
    """
    if hasattr(model, "loss_and_grads"):
        loss, grads = model.loss_and_grads(ids, targets)
        return float(loss), dict(grads)
    if not isinstance(model, Module) or not hasattr(model, "loss"):
        raise TypeError(f"a language model has loss_and_grads, or is a module with loss; got {type(model).__name__}")
    parameters = model.named_parameters()
    before = {name: p.grad for name, p in parameters.items()}
    try:
        model.zero_grad()
        out = model.loss(ids, targets)
        out.backward()
        return out.item(), {name: p.grad for name, p in parameters.items() if p.grad is not None}
    finally:
        for name, p in parameters.items():
            p.grad = before[name]


class Recorder:
    """
    Measures training steps.

    Parameters
    ----------
    model
        As for `named_arrays`.
    optimizer
        Whose `step(grads, lr)` moves the arrays; None if `step` is told how they are moved.
    path
        A file that each record is appended to, as a line of JSON: `layers.jsonl` in a run directory is what
        `RunHistory` looks for.
    every
        Layers are measured in every so-manieth step, from the first.

    Attributes
    ----------
    records : list of dict
        One for each step, of plain numbers: `step`, `loss`, `grad_norm`, `lr`, and `layers`, from the name of a layer
        to what was measured of it. For a layer with parameters, all of them together: `weight_norm`, `grad_norm`
        (absent if no gradient reached it), `update_norm`, `update_ratio` (E1). For a module that was called under
        `watching`: `output_rms`. For one that bends: `activation`, its kind, and what `activation_statistics` says.

    Raises
    ------
    TypeError
        If the model has no named arrays.
    ValueError
        If `every` is below 1.
    """

    def __init__(self, model: Any, optimizer: Any = None, *, path: str | Path | None = None, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every is at least 1, got {every}")
        named_arrays(model)
        self.model, self.optimizer, self.every = model, optimizer, every
        self.path = None if path is None else Path(path)
        self.records: list[dict[str, Any]] = []
        self.step_number = 0
        self._seen: dict[str, dict[str, Any]] = {}

    @property
    def due(self) -> bool:
        """Whether the next step is one whose layers are measured."""
        return self.step_number % self.every == 0

    # --- forward

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Listen to the model's calls until the end of the `with` block; of several the last counts."""
        if not isinstance(self.model, Module):
            raise TypeError(
                f"{type(self.model).__name__} is no module of the autograd, whose calls can be listened to: "
                "observe(ids) shows what goes through its weights"
            )
        if not self.due:
            yield
            return
        with _listening(self.model, self._seen):
            yield

    def observe(self, ids: Integer[np.ndarray, "B T"]) -> dict[str, dict[str, Any]]:
        """
        Look at what goes through a transformer on some tokens, without training on them and without dropout.

        Parameters
        ----------
        ids
            Token ids.

        Returns
        -------
        dict
            The layers, as in a record; the next record has them too.

        Raises
        ------
        TypeError
            If the model is no transformer, nor one whose `config` and arrays are those of one.
        """
        seen: dict[str, dict[str, Any]] = {}
        model: Any = self.model
        rename: Callable[[str], str] = str
        if not isinstance(model, Module):
            config: Any = getattr(model, "config", None)
            arrays = named_arrays(model)
            if not hasattr(config, "parameter_shapes"):
                raise TypeError(f"{type(model).__name__} has no config that says which transformer its arrays make")
            model = Transformer(config, dtype=next(iter(arrays.values())).dtype)
            from_arrays(model, arrays)
            rename = _file_names(arrays)
        training = [(m, m.training) for m in model.modules()]
        model.eval()
        try:
            with no_grad(), _listening(model, seen):
                model(ids)
        finally:
            for m, mode in training:
                m.training = mode
        seen = {rename(name): values for name, values in seen.items()}
        self._seen.update(seen)
        return seen

    # --- the step

    def step(
        self,
        loss: Any,
        grads: Mapping[str, np.ndarray] | None = None,
        *,
        lr: float | int | None = None,
        clip: float | int | None = None,
        update: Callable[[], Any] | None = None,
    ) -> dict[str, Any]:
        """
        Take the optimizer's step, and write down what it does.

        Parameters
        ----------
        loss
            Of this step: a number, or a tensor of one.
        grads
            By the names of the arrays; those that `backward` left in the parameters if not given. A parameter without
            one, a frozen one for instance, is not measured, and stands still: decay does not move it either.
        lr
            The rate of this step; the optimizer's own if not given.
        clip
            If given, the gradients are clipped to this global norm, after they have been measured.
        update
            Moves the arrays, in place of the optimizer.

        Returns
        -------
        dict
            The record, which is the last of `records` now.

        Raises
        ------
        ValueError
            If there is neither an optimizer nor an update, or gradients have names that the model does not have.
        """
        if self.optimizer is None and update is None:
            raise ValueError("nothing moves the weights: give the Recorder an optimizer, or step an update to call")
        arrays = named_arrays(self.model)
        grads = self._gradients() if grads is None else dict(grads)
        if unknown := grads.keys() - arrays.keys():
            raise ValueError(f"the model has no parameter {', '.join(sorted(unknown))}, for which there is a gradient")
        due = self.due
        before = {name: array.copy() for name, array in arrays.items()} if due else {}
        layers = _by_layer(grads, "grad_norm") if due else {}
        norm = global_norm(grads) if grads else math.nan
        if clip is not None and grads:
            clip_by_global_norm(grads, float(clip))
        if update is not None:
            update()
        else:
            needed = getattr(self.optimizer, "parameters", arrays)
            still = {n: a.copy() for n, a in needed.items() if n not in grads}  # decay and momentum would move them
            self.optimizer.step({n: grads[n] if n in grads else np.zeros_like(a) for n, a in needed.items()}, lr)
            for name, array in still.items():
                needed[name][...] = array
        rate = lr if lr is not None else getattr(self.optimizer, "lr", None)
        self.step_number += 1
        record: dict[str, Any] = {"step": self.step_number, "loss": float(value_of(loss)), "grad_norm": norm}
        if rate is not None:
            record["lr"] = float(rate)
        if due:
            moved = {name: array - before[name] for name, array in named_arrays(self.model).items()}
            record["layers"] = _merged(
                self._seen, _by_layer(before, "weight_norm"), layers, _by_layer(moved, "update_norm")
            )
            self._seen = {}
        self._keep(record)
        return record

    def _gradients(self) -> dict[str, np.ndarray]:
        if not isinstance(self.model, Module):
            raise ValueError(f"{type(self.model).__name__} keeps no gradients: pass them to step by name")
        found = {name: p.grad for name, p in self.model.named_parameters().items()}
        return {name: value_of(grad) for name, grad in found.items() if grad is not None}

    def _keep(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


@contextmanager
def _listening(model: Module, seen: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Write down what the modules of a model make, under their paths."""
    name_of = {id(m): path or type(m).__name__ for path, m in model.named_modules()}
    measured = {id(m) for m in model.modules() if m.parameters()}
    active = [type(model).__name__]
    before, call = Mode.made, Module.__call__

    def made(out: Any, rule: Any, operands: Any) -> None:
        if before is not None:
            before(out, rule, operands)
        kind = ACTIVATIONS.get(rule.name)
        x, y = value_of(operands[0]), value_of(out)
        if kind is not None and not isinstance(getattr(out, "data", None), Box) and np.ndim(x) > 0 and np.size(x) > 0:
            seen.setdefault(active[-1], {}).update(activation=kind, **activation_statistics(kind, x, y))

    def called(self: Module, *args: Any, **kwargs: Any) -> Any:
        active.append(name_of.get(id(self), active[-1]))
        try:
            out = call(self, *args, **kwargs)
            if id(self) in measured and isinstance(out, Box | np.ndarray):
                seen.setdefault(active[-1], {})["output_rms"] = _rms(value_of(out))
            return out
        finally:
            active.pop()

    Mode.made, Module.__call__ = made, called  # type: ignore[method-assign]
    try:
        yield
    finally:
        Mode.made, Module.__call__ = before, call  # type: ignore[method-assign]


def _rms(x: np.ndarray) -> float:
    """The root of the mean square."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def _by_layer(arrays: Mapping[str, np.ndarray], key: str) -> dict[str, dict[str, Any]]:
    """The norm of all arrays of each layer, whose name is theirs without its last part."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        groups.setdefault(name.rpartition(".")[0] or name, {})[name] = array
    return {layer: {key: global_norm(group)} for layer, group in groups.items()}


def _merged(*parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is known of each layer, with the ratio (E1) where it has both its norms."""
    layers: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, values in part.items():
            layers.setdefault(name, {}).update(values)
    for values in layers.values():
        if values.get("weight_norm"):
            values["update_ratio"] = values["update_norm"] / values["weight_norm"]
    return layers


def _file_names(arrays: Mapping[str, np.ndarray]) -> Callable[[str], str]:
    """From a module's path in `Transformer` to the name that its arrays have in files."""
    blocks = next((name.partition(".0.")[0] for name in arrays if ".0." in name), "")
    if blocks.startswith("model."):
        top = {"embedding": "model.embed_tokens", "norm": "model.norm", "unembedding": "lm_head"}
        parts = {
            "feedforward": "mlp", "attention": "self_attn", "norm1": "input_layernorm",
            "norm2": "post_attention_layernorm",
        }  # fmt: skip
    else:
        top = {"embedding": "transformer.wte", "norm": "transformer.ln_f", "unembedding": "lm_head"}
        parts = {
            "feedforward": "mlp", "attention": "attn", "norm1": "ln_1", "norm2": "ln_2", "up_proj": "c_fc",
            "down_proj": "c_proj", "o_proj": "c_proj",
        }  # fmt: skip

    def renamed(path: str) -> str:
        first, *rest = path.split(".")
        if not blocks:
            return path
        if first != "blocks":
            return top.get(path, path)
        return ".".join([blocks, *(parts.get(part, part) for part in rest)])

    return renamed
