r"""
Merging: one matrix again, and back.

While it is trained, a low-rank update is two thin products more. Afterwards it can be added to the matrix, and nothing
is left of it at use: no product, no memory, and a file that any program opens. Does the merged model compute the same,
and can the original be had back?

You need: `fp_peft.wrapping`, rounding from `fp_autograd.floating_point`.

## The same function

**Claim** `peft.merge`. In exact arithmetic a layer with the weights $W$ and the factors $A$, $B$, and the layer with
the weights $W + s B A$ and none, have the same output for every input, and the same derivative in it.

**Proof.** $W x + b + s B (A x) = (W + s B A)\, x + b$, as a product of matrices applied to $x$ is one after the other
(`autograd.matrix-product`). Equal functions have equal derivatives. $\blacksquare$

So a model whose only additions are such factors can be merged matrix by matrix. Adapters bend
(`peft.adapter-not-linear`), and prefixes add a term to the softmax's denominator (`peft.prefix-mixture`): neither is a
change of weights, and `merge` refuses both.

With floating point the two paths round differently. Both are within rounding of the exact value, and so of each other:
in single precision about six digits of the logits agree.

## Back again

To unmerge is to subtract the same update. Is the original then restored? Write $u$ for the unit of rounding and let no
overflow or underflow occur.

**Claim** `peft.merge-rounding`. Let $w$ and $\delta$ be floating-point numbers, $\mu = \operatorname{fl}(w + \delta)$
the merged and $\omega = \operatorname{fl}(\mu - \delta)$ the unmerged. Then

$$|\omega - w| \le u\, (1 + u)\, |w + \delta| + u\, |w|, \qquad \text{(E1)}$$

and $\omega = w$ if $\mu = w + \delta$ without rounding. There are $w$ and $\delta$ with $\omega \ne w$.

**Proof.** By `autograd.rounding` $\mu = (w + \delta)(1 + e)$ and $\omega = (\mu - \delta)(1 + f)$ with $|e|, |f| \le
u$. So $\mu - \delta = w + (w + \delta)\, e$, and

$$\omega - w = (w + \delta)\, e\, (1 + f) + w f,$$

whose size is at most (E1). If $\mu = w + \delta$, then $\mu - \delta = w$ is a floating-point number, and rounding
leaves it. For the last, $\delta = 1$ and $w = u / 2$: $\mu = 1$ and $\omega = 0$. $\blacksquare$

>>> w, delta = np.float32(1e-9), np.float32(1)
>>> float((w + delta) - delta)
0.0

Small weights with large updates lose most: all of their digits. Merging and unmerging a hundred times adds a hundred
such errors. So `merge` keeps the replaced matrices, if it is not told otherwise, and `unmerge` puts them back, bit for
bit; without them it subtracts, within (E1).

>>> from fp_peft.lora import LoRA
>>> from fp_peft.wrapping import wrap
>>> from fp_transformer import Transformer, TransformerConfig
>>> sizes = dict(vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=8)
>>> model = Transformer(TransformerConfig.llama(**sizes), rng=np.random.default_rng(0)).eval()
>>> tuned = wrap(model, LoRA(rank=2, alpha=4), rng=np.random.default_rng(1))
>>> for layer in lora_layers(tuned).values():
...     layer.lora_B.data[...] = 0.1
>>> ids = np.array([[3, 1, 4]])
>>> apart, before = tuned(ids).data, tuned.blocks[0].attention.q_proj.weight.data.copy()
>>> merge(tuned)
>>> bool(np.allclose(tuned(ids).data, apart, atol=1e-6))
True
>>> unmerge(tuned)
>>> bool((tuned.blocks[0].attention.q_proj.weight.data == before).all())
True

## In practice

`peft` merges in place and unmerges by subtraction; in half precision, with $u = 2^{-11}$, (E1) is not small, and
weights in four bits cannot hold a small update at all. Servers with many tenants do not merge: they keep one base and
hundreds of factors, and compute the thin products for each request's own (vLLM, S-LoRA).
"""

from typing import Any

import numpy as np

from fp_neural.module import Parameter
from fp_peft.lora import LoRALinear
from fp_peft.wrapping import Tuned, linear_parts
from fp_transformer.model import Transformer

__all__ = ["lora_layers", "merge", "unmerge", "merged_model"]  # the order of the page


def lora_layers(model: Transformer) -> dict[str, LoRALinear]:
    """
    The layers with factors.

    Parameters
    ----------
    model
        Of any kind.

    Returns
    -------
    dict
        Path such as `blocks.0.attention.q_proj` to the layer; empty if there are none.
    """
    return {name: part for name, part in model.named_modules() if isinstance(part, LoRALinear)}


def merge(model: Tuned, *, keep: bool = True) -> None:
    """
    Add the updates to the weights, in new arrays; the model that was wrapped is not changed.

    The factors stay in the model, and are not used while it is merged: their `scale` is zero, and they are frozen,
    since the loss does not lead to them. To train on, `unmerge`.

    Parameters
    ----------
    model
        With factors, not merged.
    keep
        Whether to keep the replaced matrices, so that `unmerge` is exact.

    Raises
    ------
    ValueError
        If there are no factors, or the model is merged already.
    """
    layers = _mergeable(model)
    if model.merged is not None:
        raise ValueError("this model is merged already: unmerge it first")
    model.merged = {}
    for name, layer in layers.items():
        base, change = layer.base.weight, layer.update()
        model.merged[name + ".scale"] = np.array(layer.scale)
        factors = (layer.lora_A, layer.lora_B)
        model.merged[name + ".trained"] = np.array([factor.requires_grad for factor in factors])
        if keep:
            model.merged[name] = base.data
        layer.base.weight = _frozen(base.data + change)
        layer.scale = 0.0
    for layer in layers.values():  # after all flags are read: layers may share a factor
        layer.lora_A.requires_grad = layer.lora_B.requires_grad = False


def unmerge(model: Tuned) -> None:
    """
    Take the updates out of the weights again.

    Exactly, if `merge` kept the originals, and within (E1) otherwise.

    Parameters
    ----------
    model
        A merged model.

    Raises
    ------
    ValueError
        If it is not merged.
    """
    layers = _mergeable(model)
    if model.merged is None:
        raise ValueError("this model is not merged")
    for name, layer in layers.items():
        layer.scale = float(model.merged[name + ".scale"])
        for factor, trained in zip((layer.lora_A, layer.lora_B), model.merged[name + ".trained"], strict=True):
            factor.requires_grad = bool(trained)
        kept = model.merged.get(name)
        layer.base.weight = _frozen(layer.base.weight.data - layer.update() if kept is None else kept)
    model.merged = None


def merged_model(model: Tuned) -> Transformer:
    """
    A plain model with the updates in its weights, to be saved or trained on.

    Parameters
    ----------
    model
        With factors; unchanged.

    Returns
    -------
    Transformer
        It shares no array with the other.

    Raises
    ------
    ValueError
        If the method is none that can be merged.
    """
    _mergeable(model)
    plain = Transformer(model.config, dtype=model.dtype)
    arrays = {name.replace(".base.", "."): p.data for name, p in model.named_parameters().items()}
    for name, parameter in plain.named_parameters().items():
        parameter.data[...] = arrays[name]
    for block, own in zip(plain.blocks, model.blocks, strict=True):
        theirs = linear_parts(own)
        for name, (owner, attribute) in linear_parts(block).items():
            layer = getattr(*theirs[name])
            if isinstance(layer, LoRALinear) and model.merged is None:
                getattr(owner, attribute).weight.data[...] += layer.update()
    return plain.train(model.training)


def _frozen(data: np.ndarray) -> Parameter:
    parameter = Parameter(np.empty(0, data.dtype))
    parameter.data, parameter.requires_grad = data, False
    return parameter


def _mergeable(model: Any) -> dict[str, LoRALinear]:
    layers = lora_layers(model)
    if not layers or not isinstance(model, Tuned):
        method = type(model.method).__name__ if isinstance(model, Tuned) else "no method"
        raise ValueError(
            f"only the low-rank updates of LoRA are changes of weights and can be merged; this model has {method}. "
            "Keep the adapter beside the model"
        )
    return layers
