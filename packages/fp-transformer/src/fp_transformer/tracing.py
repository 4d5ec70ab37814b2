r"""
Tracing: what goes through a model, seen from outside.

A model is a few lines of code and a lot of numbers. Which shapes do they have on their way? What would the model say if
it stopped halfway up? And which block is it that makes it say what it says?

You need: `fp_transformer.model`, `fp_transformer.residual`, `fp_attention.maps`.

## Every shape

`trace_shapes` prints each operation of a call with the module that asked for it: the map to have at hand while reading
the code.

>>> from fp_transformer.config import TransformerConfig
>>> from fp_transformer.model import Transformer
>>> config = TransformerConfig.llama(vocab_size=50, context_length=8, n_layers=1, n_heads=2, n_kv_heads=1, d_model=12)
>>> model, ids = Transformer(config, rng=np.random.default_rng(0)), np.array([[3, 1, 4, 1]])
>>> trace = trace_shapes(model, ids)
module                          operation               shapes
embedding                       index                   (50, 12) -> (1, 4, 12)
blocks.0.norm1                  transformer.rms_norm    (1, 4, 12) (12,) -> (1, 4, 12)
blocks.0.attention.q_proj       neural.linear_unbiased  (1, 4, 12) (12, 12) -> (1, 4, 12)
blocks.0.attention              reshape                 (1, 4, 12) -> (1, 4, 2, 6)
blocks.0.attention              transpose               (1, 4, 2, 6) -> (1, 2, 4, 6)
blocks.0.attention              attention.rotate        (1, 2, 4, 6) -> (1, 2, 4, 6)
blocks.0.attention.k_proj       neural.linear_unbiased  (1, 4, 12) (6, 12) -> (1, 4, 6)
blocks.0.attention              reshape                 (1, 4, 6) -> (1, 4, 1, 6)
blocks.0.attention              transpose               (1, 4, 1, 6) -> (1, 1, 4, 6)
blocks.0.attention              attention.rotate        (1, 1, 4, 6) -> (1, 1, 4, 6)
blocks.0.attention.v_proj       neural.linear_unbiased  (1, 4, 12) (6, 12) -> (1, 4, 6)
blocks.0.attention              reshape                 (1, 4, 6) -> (1, 4, 1, 6)
blocks.0.attention              transpose               (1, 4, 1, 6) -> (1, 1, 4, 6)
blocks.0.attention              attention.scaled_dot    (1, 2, 4, 6) (1, 1, 4, 6) (1, 1, 4, 6) -> (1, 2, 4, 6)
blocks.0.attention              transpose               (1, 2, 4, 6) -> (1, 4, 2, 6)
blocks.0.attention              reshape                 (1, 4, 2, 6) -> (1, 4, 12)
blocks.0.attention.o_proj       neural.linear_unbiased  (1, 4, 12) (12, 12) -> (1, 4, 12)
blocks.0                        add                     (1, 4, 12) (1, 4, 12) -> (1, 4, 12)
blocks.0.norm2                  transformer.rms_norm    (1, 4, 12) (12,) -> (1, 4, 12)
blocks.0.feedforward.gate_proj  neural.linear_unbiased  (1, 4, 12) (32, 12) -> (1, 4, 32)
blocks.0.feedforward.up_proj    neural.linear_unbiased  (1, 4, 12) (32, 12) -> (1, 4, 32)
blocks.0.feedforward            transformer.swiglu      (1, 4, 32) (1, 4, 32) -> (1, 4, 32)
blocks.0.feedforward.down_proj  neural.linear_unbiased  (1, 4, 32) (12, 32) -> (1, 4, 12)
blocks.0                        add                     (1, 4, 12) (1, 4, 12) -> (1, 4, 12)
norm                            transformer.rms_norm    (1, 4, 12) (12,) -> (1, 4, 12)
Transformer                     neural.linear_unbiased  (1, 4, 12) (50, 12) -> (1, 4, 50)

The heads are an axis of their own between two of the transposes, keys and values have fewer of them, and the only step
at which rows of different positions meet is that of `fp_attention.scaled_dot`.

## The logit lens

The stream has the width of its end all the way up, and each block adds to it. So the last line of the model, norm and
output, may be tried on the stream at any height:

$$z^{(l)}_n = U \operatorname{norm} \big( x^{(l)}_n \big), \qquad l = 0, \dots, L. \qquad \text{(E1)}$$

$z^{(L)}$ are the model's logits. Early on the lens sees little more than the token itself; somewhere in the middle a
guess appears, and the blocks above sharpen it. Nothing says that it has to be so: the model was trained to be right at
the top only, and what a block writes may be meant for another block and not for $U$.

## Who said it

At the top the logits can be taken apart: by `transformer.residual-sum` each is a sum of one number for the embedding,
one for each block, and one for the bias of the last norm. `attribution` computes them. The parts add up exactly, and
say who wrote what was read. They do not say what the logits would be without a block: the blocks above it read what it
wrote, and the size by which the norm divides would be another.

## In practice

The lens is nostalgebraist's (2020); N. Belrose and others (2023) train a small map for each height, the *tuned lens*,
because early streams stand in another basis. Attribution and its limits: N. Elhage and others (2021).
"""

import sys
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from fp_autograd.rules import softmax
from fp_autograd.tensor import Mode, no_grad
from fp_autograd.tracing import Box, value_of
from fp_neural.module import Module
from fp_transformer.model import Transformer
from fp_transformer.residual import normalized_terms

__all__ = ["trace_shapes", "ShapeTrace", "Shapes", "logit_lens", "attribution", "attention_maps"]


class Shapes(NamedTuple):
    """One operation of a `ShapeTrace`."""

    module: str
    """The path of the innermost module that asked for it, or the class of the model itself."""
    operation: str
    inputs: tuple[tuple[int, ...], ...]
    """Shapes of the operands."""
    output: tuple[int, ...]
    """Shape of the result."""


class ShapeTrace(list[Shapes]):
    """The operations of a call in order; as a string a table."""

    def __str__(self) -> str:
        rows = [("module", "operation", "shapes")]
        rows += [(s.module, s.operation, " ".join(map(str, s.inputs)) + f" -> {s.output}") for s in self]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows)

    def __repr__(self) -> str:
        return f"<shapes of {len(self)} operations>"


def trace_shapes(model: Module, *args: Any, file: Any = None, **kwargs: Any) -> ShapeTrace:
    """
    Call a model and print each operation with its module and its shapes.

    Parameters
    ----------
    model
        Any module.
    *args, **kwargs
        What it is called with: for a `Transformer` the ids.
    file
        Where to print, anything with `write`; standard output by default.

    Returns
    -------
    ShapeTrace
        A list of `Shapes`.

    Raises
    ------
    Exception
        Whatever the call raises, after the operations up to there have been printed.
    """
    paths = {id(m): name or type(m).__name__ for name, m in model.named_modules()}
    trace, active = ShapeTrace(), [type(model).__name__]
    before, call = Mode.made, Module.__call__

    def made(out: Any, rule: Any, operands: Any) -> None:
        if before is not None:
            before(out, rule, operands)
        if not isinstance(out.data, Box):
            inputs = tuple(np.shape(value_of(x)) for x in operands)
            trace.append(Shapes(active[-1], rule.name, inputs, out.shape))

    def called(self: Module, *args: Any, **kwargs: Any) -> Any:
        active.append(paths.get(id(self), active[-1]))
        try:
            return call(self, *args, **kwargs)
        finally:
            active.pop()

    Mode.made, Module.__call__ = made, called  # type: ignore[method-assign]
    try:
        model(*args, **kwargs)
    finally:
        Mode.made, Module.__call__ = before, call  # type: ignore[method-assign]
        (sys.stdout if file is None else file).write(f"{trace}\n")
    return trace


def logit_lens(model: Transformer, ids: Integer[np.ndarray, "B T"]) -> Float[np.ndarray, "heights B T V"]:
    """
    What the model would say at each height (E1), as probabilities.

    Parameters
    ----------
    model
        A transformer.
    ids
        Token ids.

    Returns
    -------
    ndarray
        Of shape (L + 1, B, T, V): at the embedding, and behind each block. The last are the model's own.

    Raises
    ------
    ValueError, TypeError
        As a call of the model.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> config = TransformerConfig.llama(vocab_size=50, context_length=8, n_layers=2, n_heads=2, d_model=12)
    >>> model, ids = Transformer(config, rng=np.random.default_rng(0)), np.array([[3, 1, 4]])
    >>> seen = logit_lens(model, ids)
    >>> seen.shape, bool(np.allclose(seen[-1], softmax(model(ids).data)))
    ((3, 1, 3, 50), True)
    """
    with no_grad():
        return np.stack([softmax(value_of(model.read(x)), axis=-1) for x in _in_use(model, ids)])


def attribution(model: Transformer, ids: Integer[np.ndarray, "B T"]) -> Float[np.ndarray, "parts B T V"]:
    """
    What the embedding and each block contribute to the logits (`transformer.residual-sum`).

    Parameters
    ----------
    model
        A transformer.
    ids
        Token ids.

    Returns
    -------
    ndarray
        Of shape (L + 2, B, T, V): the embedding's part, each block's, and that of the last norm's bias. Their sum over
        the first axis is the logits.

    Raises
    ------
    ValueError, TypeError
        As a call of the model.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> config = TransformerConfig.gpt2(vocab_size=50, context_length=8, n_layers=2, n_heads=2, d_model=12)
    >>> model, ids = Transformer(config, rng=np.random.default_rng(0)), np.array([[3, 1, 4]])
    >>> parts = attribution(model, ids)
    >>> parts.shape, bool(np.allclose(parts.sum(axis=0), model(ids).data, atol=1e-5))
    ((4, 1, 3, 50), True)
    """
    with no_grad():
        terms = normalized_terms(_in_use(model, ids), model.norm)
    bias = getattr(model.norm, "bias", None)
    last = np.zeros_like(terms[:1]) if bias is None else np.broadcast_to(bias.data, terms[:1].shape)
    U = (model.embedding if model.output is None else model.output).weight.data
    return np.concatenate([terms, last]) @ U.T


def attention_maps(model: Transformer, ids: Integer[np.ndarray, "B T"]) -> Float[np.ndarray, "L B H T T"]:
    """
    Where each head of each block looks.

    Parameters
    ----------
    model
        A transformer.
    ids
        Token ids.

    Returns
    -------
    ndarray
        Of shape (L, B, H, T, T); each row sums to one. `fp_attention.attention_svg` draws those of a text.

    Raises
    ------
    ValueError, TypeError
        As a call of the model.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> config = TransformerConfig.gpt2(vocab_size=50, context_length=8, n_layers=2, n_heads=3, d_model=12)
    >>> attention_maps(Transformer(config, rng=np.random.default_rng(0)), np.array([[3, 1, 4]])).shape
    (2, 1, 3, 3, 3)
    """
    with no_grad():
        streams = list(_in_use(model, ids))
        return np.stack(
            [block.attention.weights(block.norm1(x)) for block, x in zip(model.blocks, streams[:-1], strict=True)]
        )


def _in_use(model: Transformer, ids: np.ndarray) -> list[Any]:
    """The streams without dropout, whatever the mode is."""
    training = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        return list(model.stream(ids))
    finally:
        for m, mode in training:
            m.training = mode
