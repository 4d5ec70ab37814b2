r"""
The first numbers of a transformer.

A network that starts with numbers of the wrong size has to repair that before it can learn anything, and a deep one may
never get to it. Which size is right for each of a transformer's arrays, so that its first prediction is a shrug, its
signals neither grow nor fade with depth, and no branch drowns the others?

You need: `fp_transformer.config`, `fp_transformer.residual`, `neural.layer-lengths`, `neural.first-loss`.

## What is asked

- **A shrug.** Before it has seen anything, a model should find all tokens about equally likely, with a loss close to
  $\ln V$. A norm stands in front of the last matrix, so its input $h$ has $|h|^2 = C$ (but for $\varepsilon$), and for
  entries of $U$ drawn with deviation $\sigma$ each logit $u_v \cdot h$ has variance $\sigma^2 C$.
- **No growth.** Norms in front of the branches give them inputs of size one whatever the stream's size; a matrix with
  $I$ inputs and entries of deviation $1 / \sqrt I$ keeps that size (`neural.layer-lengths`).
- **No drowning.** $2L$ branches add to the stream. With the last matrix of each divided by $\sqrt{2L}$, all of them
  together add about as much as one would without (`transformer.residual-variance`).

How far from $\ln V$ does a model start? `neural.first-loss` says: at most $\frac12 s^2$ above it, if its logits are
like normal numbers of variance $s^2$. With $\sigma = 0.02$ and $C = 768$, GPT-2's size, and for a small model that is
drawn:

>>> from fp_neural.initialization import initial_loss_bounds
>>> [round(bound - math.log(50257), 2) for bound in initial_loss_bounds(50257, 0.02 * math.sqrt(768))]
[0.15, 0.15]
>>> config = TransformerConfig.gpt2(vocab_size=65, context_length=16, n_layers=2, n_heads=2, d_model=64)
>>> from fp_transformer.model import Transformer
>>> rng = np.random.default_rng(0)
>>> model, ids = Transformer(config, rng=rng), rng.integers(0, 65, (8, 17))
>>> round(model.loss(ids[:, :-1], ids[:, 1:]).item() - math.log(65), 2)
0.04

## What is drawn

| arrays | GPT-2 | Llama |
| --- | --- | --- |
| gains of norms, biases | 1, 0 | 1 |
| tables of tokens (tied) and positions, the output | 0.02 | 0.02 |
| table of tokens if not tied | 0.5 | 0.5 |
| matrices of blocks | 0.02 | $1 / \sqrt{I}$ |
| … that write to the stream | $0.02 / \sqrt{2L}$ | $1 / \sqrt{2 L I}$ |

A table that is not tied need not be small for the sake of the logits, and the branches, of size up to one, should not
drown it. GPT-2's $0.02$ is its authors' choice; it is $1 / \sqrt I$ at $I = 2500$.

## In practice

$1 / \sqrt{2L}$ is GPT-2's (A. Radford and others, 2019). Other schemes make branches start at zero (ReZero, or zero
last matrices, as in muP practice), or draw from a normal distribution that is cut off at two or three deviations.
`fp_transformer.mup` asks how sizes should change with the width.
"""

import math

import numpy as np

from fp_transformer.config import TransformerConfig

__all__ = ["initial_arrays"]

RESIDUAL = ("o_proj.weight", "down_proj.weight", "c_proj.weight")
"""How the names of matrices end that write to the residual stream."""


def initial_arrays(
    config: TransformerConfig, rng: np.random.Generator, dtype: np.typing.DTypeLike = np.float32
) -> dict[str, np.ndarray]:
    """
    Draw every array of a model.

    Parameters
    ----------
    config
        Family and sizes.
    rng
        Source of randomness. The arrays are drawn in float64 in the order of `config.parameter_shapes()`.
    dtype
        Of the arrays.

    Returns
    -------
    dict
        Arrays by Hugging Face's names.

    Examples
    --------
    >>> config = TransformerConfig.gpt2(vocab_size=50, context_length=8, n_layers=2, n_heads=2, d_model=16)
    >>> arrays = initial_arrays(config, np.random.default_rng(0))
    >>> round(float(arrays["transformer.h.0.mlp.c_fc.weight"].std()), 3)
    0.02
    """
    found = {}
    for name, shape in config.parameter_shapes().items():
        if len(shape) == 1:
            found[name] = np.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype)
        else:
            found[name] = rng.normal(0, _deviation(config, name, shape), shape).astype(dtype)
    return found


def _deviation(config: TransformerConfig, name: str, shape: tuple[int, ...]) -> float:
    table = name in ("model.embed_tokens.weight", "transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight")
    if name.endswith(("embed_tokens.weight", "wte.weight")) and not config.tied:
        return 0.5
    deviation = 1 / math.sqrt(shape[1]) if config.is_llama and not table else 0.02
    return deviation / math.sqrt(2 * config.n_layers) if name.endswith(RESIDUAL) else deviation
