r"""
The block: attention, then a feed-forward layer, each added to a stream that runs straight through.

You need: all the sections before this one.

## Derivation

The **residual stream** $x$, one row of width $C$ a position, passes through the blocks. Each block reads it through a
norm and adds what it found, first by attention, then by a feed-forward layer:

$$
\begin{aligned}
x' &= x + \operatorname{attention}(\operatorname{norm}_1(x)), && \text{(B1)} \\
x'' &= x' + \operatorname{feedforward}(\operatorname{norm}_2(x')). && \text{(B2)}
\end{aligned}
$$

Both are linear maps around an operation of an earlier section. With $n$ for the normalised stream,

$$
\begin{aligned}
\operatorname{attention}(n) &= \operatorname{attend}(R\, n W_Q,\; R\, n W_K,\; n W_V)\, W_O, && \text{(B3)} \\
\operatorname{feedforward}(n) &= \operatorname{gelu}(n W_1)\, W_2 \quad \text{(GPT-2)}, && \text{(B4)} \\
\operatorname{feedforward}(n) &= \big( \operatorname{silu}(n W_g) \odot n W_u \big) W_d
  \quad \text{(Llama)}, && \text{(B5)}
\end{aligned}
$$

where attend is (T1) to (T3) of `fp_capstone.attention`, head by head on slices of the width, $R$ turns each head by its
position (`fp_capstone.rotary`; the identity in GPT-2), $\odot$ multiplies entry by entry, and in GPT-2 every product
with a matrix also adds a bias.

**Claim** `capstone.residual-backward`. For $y = x + f(x)$ and the cotangent $g$,
$\partial \ell / \partial x = g + J_f(x)^\top g$, where $J_f$ is the matrix of partial derivatives of $f$: whatever $f$
does, the gradient itself arrives unchanged, plus what comes back through $f$.

**Proof.** $\partial y_i / \partial x_j = [i = j] + \partial f_i / \partial x_j$. Multiply by $g_i$ and sum over $i$.
$\blacksquare$

So after any number of blocks the gradient at the bottom contains the gradient at the top as a summand: it vanishes only
if what comes back through the branches cancels it exactly. Because norms stand inside the branches ("pre-norm"),
nothing on the stream itself ever rescales it.

The rest of the backward pass is the forward pass read from the bottom up, each line replaced by its backward line.

## In practice

The first transformers normalised the stream itself, after each addition, and needed careful warmup; GPT-2 moved the
norm into the branch, and nearly all models since keep it there. Dropout acts on the embedding and on each
branch before it is added, and in the GPT-2 family on the attention weights too.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from fp_capstone.activations import gelu, gelu_backward, swiglu, swiglu_backward
from fp_capstone.attention import AttentionTape, causal_attention, causal_attention_backward
from fp_capstone.dropout import dropout_mask
from fp_capstone.linear import linear, linear_backward
from fp_capstone.memory import HEAP, Memory
from fp_capstone.norms import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from fp_capstone.parameters import LayerArrays
from fp_capstone.rotary import rotate, rotate_back
from fp_transformer.config import TransformerConfig

__all__ = ["block", "block_backward", "norm", "norm_backward", "BlockTape", "Past"]

Rotary = tuple[np.ndarray, np.ndarray]
NormTape = tuple[np.ndarray, np.ndarray]


@runtime_checkable
class Past(Protocol):
    """Where the keys and values of earlier positions are kept (`fp_capstone.generation.LayerCache`)."""

    def extend(self, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Append the new positions' keys and values; return those of all positions."""
        ...


class BlockTape(NamedTuple):
    """What the backward pass of one block needs, in the order in which the forward pass made it."""

    n1: np.ndarray
    norm1: NormTape
    attention: AttentionTape
    mask1: np.ndarray | None
    n2: np.ndarray
    norm2: NormTape
    slope: np.ndarray
    f: np.ndarray
    mask2: np.ndarray | None


def block(
    x: Float[np.ndarray, "B T C"],
    p: LayerArrays,
    config: TransformerConfig,
    rotary: Rotary | None,
    rng: np.random.Generator | None = None,
    past: Past | None = None,
    keep: bool = False,
    memory: Memory = HEAP,
) -> BlockTape | None:
    """
    One block, (B1) then (B2), on the stream itself.

    Parameters
    ----------
    x
        The residual stream, shape `B T C`, contiguous; overwritten with the stream after the block, since no backward
        pass reads it.
    p
        The block's parameters.
    config
        Heads, family, dropout.
    rotary
        Cosines and sines of these positions, or None for learned positions.
    rng
        Source of dropout's randomness; without it nothing is erased.
    past
        Keys and values of earlier positions, in generation.
    keep
        Keep what the backward pass needs.
    memory
        Where the tape and scratch lie.

    Returns
    -------
    BlockTape or None
        For `block_backward`.
    """
    B, T, C = x.shape
    H, K, D = config.n_heads, config.n_kv_heads, config.d_head
    stream = x.reshape(-1, C)
    start = memory.mark()

    n1, tape1 = norm(stream, p.norm1, p.norm1_bias, config.norm_eps, memory)
    qkv = linear(n1, p.qkv, p.qkv_bias, memory).reshape(B, T, H + 2 * K, D)
    q, k, v = qkv[:, :, :H], qkv[:, :, H : H + K], qkv[:, :, H + K :]
    if rotary is not None:
        rotate(q, *rotary, out=q)
        rotate(k, *rotary, out=k)
    if past is not None:
        k, v = past.extend(k, v)
    erased = 0.0 if config.is_llama else config.dropout
    y, attention = causal_attention(q, k, v, erased, rng, keep, memory)
    mark = memory.mark()
    branch = linear(y.reshape(-1, C), p.out, p.out_bias, memory)
    mask1 = _erase(branch, config, rng)
    stream += branch  # (B1)
    memory.release(mark)

    n2, tape2 = norm(stream, p.norm2, p.norm2_bias, config.norm_eps, memory)
    h = linear(n2, p.up, p.up_bias, memory)
    slope = h if keep else None  # the slope takes the place of what the bend has read
    f = swiglu(h, slope, memory) if config.is_llama else gelu(h, slope, memory)
    mark = memory.mark()
    branch = linear(f, p.down, p.down_bias, memory)
    mask2 = _erase(branch, config, rng)
    stream += branch  # (B2)
    memory.release(mark)

    if keep and attention is not None:
        return BlockTape(n1, tape1, attention, mask1, n2, tape2, h, f, mask2)
    memory.release(start)
    return None


def block_backward(
    g: Float[np.ndarray, "B T C"],
    tape: BlockTape,
    p: LayerArrays,
    dp: LayerArrays,
    config: TransformerConfig,
    rotary: Rotary | None,
    memory: Memory = HEAP,
) -> None:
    """
    The backward pass of `block`, line by line from its end.

    Parameters
    ----------
    g
        Gradient of the loss with respect to the stream after the block, shape `B T C`, contiguous; overwritten with the
        gradient with respect to the stream before it.
    tape
        From the forward pass; it is used up.
    p
        The block's parameters.
    dp
        Overwritten with their gradients.
    config, rotary
        As in the forward pass.
    memory
        Where scratch lies.
    """
    B, T, C = g.shape
    H, K, D = config.n_heads, config.n_kv_heads, config.d_head
    dx = g.reshape(-1, C)
    start = memory.mark()

    # forward: x'' = x' + mask2 * down(bend(up(norm2(x'))))
    branch = dx if tape.mask2 is None else dx * tape.mask2
    df = linear_backward(branch, tape.f, p.down, dp.down, dp.down_bias, memory)
    backward = swiglu_backward if config.is_llama else gelu_backward
    dh = backward(df, tape.slope, out=tape.slope)
    dn2 = linear_backward(dh, tape.n2, p.up, dp.up, dp.up_bias, memory)
    dx += norm_backward(dn2, tape.norm2, p.norm2, dp.norm2, dp.norm2_bias, memory)  # `capstone.residual-backward`
    memory.release(start)

    # forward: x' = x + mask1 * out(attention(rotate(qkv(norm1(x)))))
    branch = dx if tape.mask1 is None else dx * tape.mask1
    y = tape.attention.y
    dy = linear_backward(branch, y.reshape(-1, C), p.out, dp.out, dp.out_bias, memory).reshape(B, T, H, D)
    dqkv = memory.empty((B, T, H + 2 * K, D), dx.dtype)
    dq, dk, dv = dqkv[:, :, :H], dqkv[:, :, H : H + K], dqkv[:, :, H + K :]
    causal_attention_backward(dy, tape.attention, (dq, dk, dv), memory)
    if rotary is not None:
        rotate_back(dq, *rotary, out=dq)
        rotate_back(dk, *rotary, out=dk)
    dn1 = linear_backward(dqkv.reshape(B * T, -1), tape.n1, p.qkv, dp.qkv, dp.qkv_bias, memory)
    dx += norm_backward(dn1, tape.norm1, p.norm1, dp.norm1, dp.norm1_bias, memory)
    memory.release(start)


def norm(
    x: Float[np.ndarray, "N C"],
    gain: Float[np.ndarray, " C"],
    bias: Float[np.ndarray, " C"] | None,
    eps: float,
    memory: Memory = HEAP,
) -> tuple[Float[np.ndarray, "N C"], NormTape]:
    """LayerNorm where there is a bias, RMSNorm where there is none; the output, and what its backward pass needs."""
    if bias is None:
        y, xhat, r = rms_norm(x, gain, eps, memory)
    else:
        y, xhat, r = layer_norm(x, gain, bias, eps, memory)
    return y, (xhat, r)


def norm_backward(
    g: Float[np.ndarray, "N C"],
    tape: NormTape,
    gain: Float[np.ndarray, " C"],
    dgain: Float[np.ndarray, " C"],
    dbias: Float[np.ndarray, " C"] | None,
    memory: Memory = HEAP,
) -> Float[np.ndarray, "N C"]:
    """The backward pass of `norm`: overwrites `dgain` and `dbias`, returns the gradient of `x`."""
    xhat, r = tape
    if dbias is None:
        return rms_norm_backward(g, xhat, r, gain, dgain, memory)
    return layer_norm_backward(g, xhat, r, gain, dgain, dbias, memory)


def _erase(
    branch: Float[np.ndarray, "N C"], config: TransformerConfig, rng: np.random.Generator | None
) -> Float[np.ndarray, "N C"] | None:
    """Dropout in place; the mask, or None where nothing is erased."""
    if rng is None or config.dropout == 0:
        return None
    mask = dropout_mask(branch.shape, config.dropout, rng, branch.dtype)
    branch *= mask
    return mask
