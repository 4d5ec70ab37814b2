r"""
Wrapping: a model that shares another's weights and adds a few of its own.

A method says what to add; a model has places where it can be added. `wrap` brings the two together, for either family.
The model that went in is not changed: it and any number of wrapped ones use the same arrays, so that one base serves
several tasks at once, and stands beside its tuned self as a reference without a second copy.

You need: `fp_peft.lora`, `fp_peft.adapters`, `fp_peft.prefix`.

>>> import numpy as np
>>> from fp_peft.lora import LoRA
>>> from fp_transformer import Transformer, TransformerConfig
>>> sizes = dict(vocab_size=11, context_length=16, n_layers=2, n_heads=4, n_kv_heads=2, d_model=16)
>>> model = Transformer(TransformerConfig.llama(**sizes), rng=np.random.default_rng(0))
>>> tuned = wrap(model, LoRA(rank=2, alpha=4, targets=["q_proj", "v_proj"]), rng=np.random.default_rng(1))
>>> sorted(tuned.trainable())[:2], tuned.n_trainable, model.n_parameters
(['blocks.0.attention.q_proj.lora_A', 'blocks.0.attention.q_proj.lora_B'], 224, 6400)
>>> ids = np.array([[3, 1, 4, 1, 5]])
>>> bool((tuned(ids).data == model(ids).data).all())
True

## What is frozen, and what that saves

A parameter of the wrapped model requires a gradient if the method added it, and else none. What does the engine do for
one that requires none? It asks each operation for the cotangents of those operands that lead to a parameter that does,
and for no others (`fp_autograd.tensor`).

**Claim** `peft.frozen-work`. Let a model be a chain of operations $x_i = f_i(x_{i-1}, w_i)$, $i = 1, \dots, N$, with
the loss $x_N$, and let $S$ be the set of $i$ whose $w_i$ is trained, with $m$ the least of them. Reverse mode computes
the cotangents of $w_i$ for $i \in S$, of $x_i$ for $m \le i \le N$, and no others; so the products with the transposed
Jacobian in $w$ are $|S|$, and those in $x$ are $N - m$.

**Proof.** $x_i$ leads to a trained parameter exactly if some $j \le i$ is in $S$, that is if $i \ge m$: then it was
made from $w_m$. For operation $i$ the engine asks for the cotangent of $w_i$ if $i \in S$, and for that of $x_{i-1}$ if
$i - 1 \ge m$: these are $i = m + 1, \dots, N$, in number $N - m$. For $i < m$ nothing is recorded, as no operand
requires a gradient. $\blacksquare$

**Claim** `peft.frozen-flops`. Let a linear layer with $m n$ weights work on $R$ rows. In multiplications, forward and
backward together take $3 R m n$ if the weights are trained, and with frozen weights and factors of rank $r$

$$2 R m n + 3 R r (m + n). \qquad \text{(E1)}$$

**Proof.** Forward takes $R m n$, the cotangent of the input as many, that of the weights as many
(`neural.linear-gradient`). Frozen, the last is not asked for. The factors take $R r n$ and $R r m$ forward; backward,
by (E3) of `fp_peft.lora`, $\bar H$ takes $R m r$, $\bar B$ $R m r$, $\bar A$ $R r n$, and $\bar H A$ $R r n$: twice $R
r (m + n)$. $\blacksquare$

(The code computes $\bar H$ once for $\bar A$ and again for $\bar X$, $R m r$ more, so that either can be left out.)

So for small ranks a step costs two thirds of the products of full fine-tuning, not a small part of them: the gradient
still has to travel through all layers above the lowest trained one. What shrinks to almost nothing is the state of the
optimizer, and the gradients themselves. `work` counts both:

>>> counted = work(tuned, ids[:, :-1], ids[:, 1:])
>>> counted.weight_products, work(model, ids[:, :-1], ids[:, 1:]).weight_products
({'peft.lora_linear_unbiased': 8}, {'neural.linear_unbiased': 15})

Four layers have factors, two each. Trained in full, there are 14 matrices in the blocks and the tied output. Norms and
attention compute the cotangents of all their operands at once: of a frozen gain too, whose cost is that of a few
additions.

## In practice

`peft` changes the model that it is given, and keeps a stack of named adapters in it, which can be exchanged. Training
frameworks check `requires_grad` as is done here. A saving that this does not make: gradients of the frozen layers'
*inputs* are needed, but to store their inputs for the way back is not, as $\bar X = G W$ contains no $X$; programs that
recompute activations save that memory too.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fp_attention.masks import Mask
from fp_autograd.tensor import Mode, Tensor, no_grad
from fp_autograd.tracing import value_of
from fp_neural.module import Module, Parameter
from fp_peft.adapters import AdaptedLinear, Adapter
from fp_peft.lora import LoRA, LoRALinear
from fp_peft.prefix import LaterPositions, PrefixedAttention, PrefixTuning, PromptTuning, new_prefix
from fp_transformer.model import Transformer

__all__ = ["wrap", "Tuned", "Method", "Work", "work", "linear_parts"]  # the order of the page

Method = LoRA | Adapter | PrefixTuning | PromptTuning
"""What `wrap` can add."""


class Tuned(Transformer):
    """
    A model with something added; `wrap` makes it.

    It is used as any `Transformer`: `loss`, `generate`, caches. Its `config` is that of the base, except that
    `context_length` counts the positions that a prefix or prompt leaves for a text, so that whoever cuts texts into
    windows cuts them short enough.

    Attributes
    ----------
    method : LoRA, Adapter, PrefixTuning or PromptTuning
        What was added.
    prompt : Parameter or None
        The rows of prompt tuning, of shape (n, C).
    """

    method: Method
    prompt: Parameter | None
    merged: dict[str, np.ndarray] | None

    def trainable(self) -> dict[str, Parameter]:
        """The parameters that require a gradient, by name."""
        return {name: p for name, p in self.named_parameters().items() if p.requires_grad}

    @property
    def n_trainable(self) -> int:
        """How many numbers are trained."""
        return sum(p.size for p in self.trainable().values())

    @property
    def prefix_length(self) -> int:
        """How many positions of the context the method takes."""
        return self.method.length if isinstance(self.method, PrefixTuning | PromptTuning) else 0

    def stream(self, ids: np.ndarray, *, mask: Mask | np.ndarray | None = None, cache: Any = None) -> Iterator[Any]:
        """The residual stream of the text, in front of the first block and behind each."""
        if self.prefix_length:
            past = 0 if cache is None else cache.length
            limit = self.config.context_length
            if np.ndim(ids) == 2 and past + np.shape(ids)[1] > limit:
                raise ValueError(
                    f"a prefix of {self.prefix_length} leaves {limit} of the model's positions for the text, got "
                    f"{past + np.shape(ids)[1]}: cut the text into windows"
                )
        if self.prompt is not None:
            self._lend_prefixes()
        return super().stream(ids, mask=mask, cache=cache)

    def _lend_prefixes(self) -> None:
        """Let every layer have the keys and values of the soft prompt (`peft.prompt-is-prefix`)."""
        assert self.prompt is not None
        p, positions = self.prompt.reshape((1, *self.prompt.shape)), vars(self)["positions"]
        if positions is not None:
            p = positions.base.on_input(p, 0)
        p = self.dropout(p)
        for block in self.blocks:
            attention = block.attention
            assert isinstance(attention, PrefixedAttention)
            x = block.norm1(p)
            attention.prefix_keys, attention.prefix_values = attention.keys_and_values(x)
            if block is self.blocks[-1]:
                return
            p = p + block.dropout(attention.alone()(x))
            p = p + block.dropout(block.feedforward(block.norm2(p)))


def _sharing(part: Any, memo: dict[int, Any]) -> Any:
    """A copy of a tree of modules whose parameters are new objects around the same arrays."""
    if isinstance(part, Parameter):
        if id(part) not in memo:
            twin = Parameter(np.empty(0, part.data.dtype))
            twin.data, twin.requires_grad = part.data, False
            memo[id(part)] = twin
        return memo[id(part)]
    if isinstance(part, Module):
        if id(part) not in memo:
            memo[id(part)] = copy = type(part).__new__(type(part))
            for name, value in vars(part).items():
                vars(copy)[name] = _sharing(value, memo)
        return memo[id(part)]
    if isinstance(part, list | tuple):
        return type(part)(_sharing(p, memo) for p in part)
    if isinstance(part, dict) and any(isinstance(p, Module) for p in part.values()):
        return {name: _sharing(p, memo) for name, p in part.items()}
    return part


def linear_parts(block: Any) -> dict[str, tuple[Module, str]]:
    """
    Where a block's linear layers are.

    Parameters
    ----------
    block
        A block of either family.

    Returns
    -------
    dict
        Name to the module that holds the layer and the attribute there, for those of `LINEAR_PARTS` that it has.
    """
    found: dict[str, tuple[Module, str]] = {}
    for owner, names in (
        (block.attention, ("q_proj", "k_proj", "v_proj", "o_proj")),
        (block.feedforward, ("gate_proj", "up_proj", "down_proj")),
    ):
        found |= {name: (owner, name) for name in names if hasattr(owner, name)}
    return found


def wrap(model: Transformer, method: Method, *, rng: np.random.Generator | None = None) -> Tuned:
    """
    A model that shares another's weights, frozen, with trained parts added.

    Parameters
    ----------
    model
        Of either family; unchanged. Not wrapped itself.
    method
        What to add.
    rng
        Draws what begins at random, and what dropout drops. None leaves it at zero, for numbers that will be loaded.

    Returns
    -------
    Tuned
        In the mode, for training or use, of `model`.

    Raises
    ------
    TypeError
        If the model or the method is of another kind, or the model is wrapped already.
    ValueError
        If the model has none of the targets, a rank exceeds a matrix, or a prefix leaves no room for a text.

    Examples
    --------
    >>> from fp_transformer import TransformerConfig
    >>> sizes = dict(vocab_size=11, context_length=16, n_layers=2, n_heads=2, d_model=8)
    >>> model = Transformer(TransformerConfig.gpt2(**sizes), rng=np.random.default_rng(0))
    >>> wrap(model, Adapter(width=3), rng=np.random.default_rng(1)).n_trainable  # 4 of 2 * 3 * 8 + 3 + 8
    236
    """
    if not isinstance(model, Transformer) or isinstance(model, Tuned):
        what = "is wrapped already: wrap the model that it was made from, or what merged_model makes of it"
        raise TypeError(
            f"this model {what}"
            if isinstance(model, Tuned)
            else f"wrap takes a Transformer of fp_transformer, got {type(model).__name__}"
        )
    if not isinstance(method, Method):
        raise TypeError(f"a method is made by LoRA, Adapter, PrefixTuning or PromptTuning, got {method!r}")
    n = getattr(method, "length", 0)
    if n >= model.config.context_length:
        raise ValueError(
            f"a prefix of {n} leaves no room in a context of {model.config.context_length}: choose a shorter one"
        )
    outside = [i for i in getattr(method, "init_ids", None) or () if not 0 <= i < model.config.vocab_size]
    if outside:
        raise ValueError(f"init_ids are tokens from 0 to {model.config.vocab_size - 1}, got {outside}")
    tuned = Tuned.__new__(Tuned)
    memo: dict[int, Any] = {}
    for name, value in vars(model).items():
        vars(tuned)[name] = _sharing(value, memo)
    tuned.method, tuned.prompt, tuned.merged = method, None, None
    if isinstance(method, LoRA):
        _add_factors(tuned, method, rng)
    elif isinstance(method, Adapter):
        for block in tuned.blocks:
            for name in method.parts:
                owner, _ = linear_parts(block)[name]
                setattr(owner, name, AdaptedLinear(getattr(owner, name), method.width, rng=rng))
    else:
        _add_prefix(tuned, model, method, rng)
    if rng is not None:
        tuned.draw_from(rng)
    return tuned.train(model.training)


def _add_factors(tuned: Tuned, method: LoRA, rng: np.random.Generator | None) -> None:
    present = {name for block in tuned.blocks for name in linear_parts(block)}
    # "all" names the layers of both families; a list that was written down has to be met
    missing = [] if {*method.targets} >= present else [name for name in method.targets if name not in present]
    if missing:
        raise ValueError(
            f"this model of the {tuned.config.family} family has no {', '.join(missing)}; its linear layers are "
            f"{', '.join(sorted(present))}"
        )
    for block in tuned.blocks:
        for name, (owner, attribute) in linear_parts(block).items():
            if name not in method.targets:
                continue
            base = getattr(owner, attribute)
            if method.rank > min(base.weight.shape):
                raise ValueError(
                    f"a rank of {method.rank} is more than the smaller side of {name}, {base.weight.shape}: choose a "
                    "smaller one, or train the matrix itself"
                )
            setattr(owner, attribute, LoRALinear(base, method.rank, method.scale, rng=rng, dropout=method.dropout))


def _add_prefix(
    tuned: Tuned, model: Transformer, method: PrefixTuning | PromptTuning, rng: np.random.Generator | None
) -> None:
    n = method.length
    tuned.config = replace(tuned.config, context_length=tuned.config.context_length - n)
    for block in tuned.blocks:
        block.attention = PrefixedAttention.around(block.attention, n)
    if tuned.positions is not None:
        tuned.positions = LaterPositions(tuned.positions, n)  # type: ignore[assignment]
    table = value_of(model.embedding.weight)
    if method.init_ids is not None:
        rows = table[list(method.init_ids)]
    elif rng is not None:
        rows = table[rng.integers(0, len(table), n)]
    else:
        rows = np.zeros((n, table.shape[1]), table.dtype)
    if isinstance(method, PromptTuning):
        tuned.prompt = Parameter(rows)
        return
    if method.init_ids is None:
        for block in tuned.blocks:
            assert isinstance(block.attention, PrefixedAttention)
            new_prefix(block.attention, n, rng)
        return
    tuned.prompt = Parameter(rows)
    training = tuned.training
    with no_grad():
        tuned.eval()._lend_prefixes()
    tuned.train(training)
    tuned.prompt = None
    for block in tuned.blocks:
        for name in ("prefix_keys", "prefix_values"):
            setattr(block.attention, name, Parameter(np.ascontiguousarray(value_of(getattr(block.attention, name)))))


@dataclass(frozen=True)
class Work:
    """What one step backward did."""

    recorded: int
    """Operations that were recorded."""
    products: Counter[str]
    """Cotangents that were computed, by the operation's name."""
    weight_products: dict[str, int]
    """Those of them that belong to a matrix of parameters and cost a product of matrices."""


def work(model: Transformer, ids: np.ndarray, targets: np.ndarray) -> Work:
    """
    Count what a training step computes on its way back.

    Parameters
    ----------
    model
        Of any kind; its gradients are forgotten.
    ids, targets
        As for `Transformer.loss`.

    Returns
    -------
    Work
        The counts.
    """
    made: list[str] = []
    products: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    matrices = {id(p) for p in model.parameters() if p.ndim == 2}

    def on_made(out: Any, rule: Any, operands: Any) -> None:
        if isinstance(out, Tensor) and out.requires_grad:
            made.append(rule.name)

    owners: dict[int, tuple[Any, ...]] = {}

    def on_made_and_kept(out: Any, rule: Any, operands: Any) -> None:
        on_made(out, rule, operands)
        owners[id(out)] = operands

    def on_returned(node: Any, rule: Any, i: int, gx: Any) -> None:
        products[rule.name] += 1
        if id(owners[id(node)][i]) in matrices and ("linear" in rule.name or rule.name == "matmul"):
            weights[rule.name] += 1

    before = Mode.made, Mode.returned
    Mode.made, Mode.returned = on_made_and_kept, on_returned
    try:
        loss = model.loss(ids, targets)
        loss.backward()
    finally:
        Mode.made, Mode.returned = before
        model.zero_grad()
    return Work(len(made), products, dict(weights))
