r"""
The block: attention and a feed-forward layer, each added to a stream that runs straight through.

Attention carries things from place to place; the feed-forward layer works on what has arrived, place by place. One of
each, with a norm in front, makes a block, and a transformer is blocks and little else. In what order do they stand, and
what is the gradient of one?

You need: `fp_attention.multihead`, `fp_transformer.norms`, `fp_transformer.residual`, `fp_transformer.feedforward`.

## Two lines

The stream $x$ (`fp_transformer.residual`) has a row of $C$ numbers for each position. A block reads it twice, each time
through a norm, and each time adds what it found:

$$
x' = x + \operatorname{attention} \big( \operatorname{norm}_1(x) \big), \qquad
x'' = x' + \operatorname{feedforward} \big( \operatorname{norm}_2(x') \big). \qquad \text{(E1)}
$$

Attention is causal, with several heads (`fp_attention.multihead`). The families differ in the parts:

| | GPT-2 | Llama |
| --- | --- | --- |
| norm | LayerNorm | RMSNorm |
| positions | learned, added to the input of the first block | rotary, in every block |
| feed-forward | $\operatorname{gelu}(n W_1 + b_1)\, W_2 + b_2$ | SwiGLU |
| biases | everywhere | none |
| key heads | as many as query heads | possibly fewer |

With dropout each branch is dropped from before it is added, and in the GPT-2 family weights of attention too.

**Claim** `transformer.block-gradient`. Let $J_a$ and $J_f$ be the Jacobians of the branches $a(x) =
\operatorname{attention}(\operatorname{norm}_1(x))$ and $f(x') = \operatorname{feedforward}(\operatorname{norm}_2(x'))$,
all positions of a text as one vector. The cotangent of $x$ is

$$\bar x = (I + J_a^\top)(I + J_f^\top)\, g = g + J_f^\top g + J_a^\top g + J_a^\top J_f^\top g, \qquad \text{(E2)}$$

where $g$ is that of $x''$, $J_a$ is taken at $x$ and $J_f$ at $x'$.

**Proof.** It is (E3) of `fp_transformer.residual` (`transformer.pre-norm-gradient`) for two branches, transposed:
$I + J_a^\top + J_f^\top + (J_f J_a)^\top$. $\blacksquare$

Four ways back, one of which touches nothing. `fp_transformer.residual` follows them through many blocks.

**Claim** `transformer.block-causal`. Row $t$ of $x''$ depends on the rows of $x$ up to $t$ only.

**Proof.** Norms and the feed-forward layer act on each row by itself. Attention with a causal mask has in row $t$ a
function of rows up to $t$ (`attention.causal-independence`). Sums of rows do not change that. $\blacksquare$

## In practice

The first transformer (A. Vaswani and others, 2017) normalised the stream itself, after each addition; GPT-2 moved the
norm into the branch, and nearly all models since have it there. Some have it on both sides of a branch (Gemma 2), or
compute both branches from one norm in parallel (GPT-J, PaLM), which changes (E1) to $x + a(n) + f(n)$ and saves a wait
between machines.
"""

from typing import Any

import numpy as np

from fp_attention.kv_cache import KVCache
from fp_attention.masks import Causal, Mask
from fp_attention.multihead import MultiHeadAttention
from fp_attention.rotary import RoPE
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import Operand
from fp_neural.dropout import Dropout
from fp_neural.module import Module
from fp_transformer.config import TransformerConfig
from fp_transformer.feedforward import FeedForward, SwiGLU
from fp_transformer.norms import LayerNorm, RMSNorm

__all__ = ["Block", "norm_of"]


def norm_of(config: TransformerConfig, dtype: Any = np.float32) -> LayerNorm | RMSNorm:
    """
    The norm of a family.

    Parameters
    ----------
    config
        Says which, and its epsilon.
    dtype
        Of its parameters.

    Returns
    -------
    LayerNorm or RMSNorm
        Of the width of the stream.
    """
    return (RMSNorm if config.is_llama else LayerNorm)(config.d_model, config.norm_eps, dtype=dtype)


class Block(Module):
    """
    One block (E1) of a family.

    Parameters
    ----------
    config
        Family and sizes.
    rng
        Draws the weights, and what dropout drops. None leaves the weights at zero, for those that will be loaded.
    dtype
        Of the parameters.

    Attributes
    ----------
    norm1, norm2 : LayerNorm or RMSNorm
        In front of the two branches.
    attention : MultiHeadAttention
        The first branch, causal.
    feedforward : FeedForward or SwiGLU
        The second.
    """

    def __init__(self, config: TransformerConfig, *, rng: np.random.Generator | None, dtype: Any = np.float32) -> None:
        super().__init__()
        C, llama = config.d_model, config.is_llama
        self.norm1 = norm_of(config, dtype)
        self.attention = MultiHeadAttention(
            C,
            config.n_heads,
            n_kv_heads=config.n_kv_heads,
            bias=not llama,
            positions=RoPE(config.d_head, config.rope_base) if llama else None,
            mask=Causal(),
            dropout=0.0 if llama else config.dropout,
            rng=rng,
            dtype=dtype,
        )
        self.norm2 = norm_of(config, dtype)
        self.feedforward = (SwiGLU if llama else FeedForward)(C, config.d_ff, rng=rng, dtype=dtype)
        self.dropout = Dropout(config.dropout, rng=np.random.default_rng(0) if rng is None else rng)

    def forward(self, x: Operand, *, mask: Mask | np.ndarray | None = None, cache: KVCache | None = None) -> Any:
        """
        Add what the two branches found.

        Parameters
        ----------
        x
            The stream, of shape (B, T, C).
        mask
            Beside the causal one, such as `Padding`.
        cache
            The keys and values of this block for the tokens before. Nothing is recorded or dropped then.

        Returns
        -------
        ndarray or Box
            The stream, of shape (B, T, C).
        """
        if cache is None:
            x = x + self.dropout(self.attention(self.norm1(x), mask=mask))
        else:  # what is kept has no gradient and is left to no chance
            with no_grad():
                x = x + self.attention(self.norm1(x), mask=mask, cache=cache)
                return x + self.feedforward(self.norm2(x))
        return x + self.dropout(self.feedforward(self.norm2(x)))
