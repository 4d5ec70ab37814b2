r"""
Recomputation: paying for memory with arithmetic.

A training step needs, beside parameters and their like, the tapes of all blocks at once: they are made on the way
forward and read on the way back (`capstone.arena-peak`). For long windows and deep models that is most of the memory.
But a tape can be made again from what the block was given.

You need: `fp_capstone.memory`, `fp_capstone.block`.

## Keep the stream, and compute the block twice

Let the blocks be $x^{(l)} = f_l(x^{(l-1)})$, $l = 1, \dots, L$, with tapes of $t$ bytes each and a stream of $m$ bytes.
Instead of the tape $t_l$, keep the stream $x^{(l-1)}$ in front of block $l$. When the backward pass arrives at block
$l$, run the block forward once more, from there, with its tape; go back through it; and forget the tape again.

**Claim** `capstone.recomputation-exact`. Loss and gradients are the same to the bit, if a block is a deterministic
function of the stream in front of it, its parameters and the state of the generator that it draws from, and these are
the same at both times.

**Proof.** The second run of block $l$ gets the same stream (a copy was kept, and the first run overwrites only the
original), the same parameters (they change only after the step) and a generator in the same state (a copy was kept).
So it makes the same tape, and the backward pass, which is a function of tape, parameters and cotangent, does the same.
$\blacksquare$

A generator that was not copied would draw other dropout masks the second time: the gradient of another function.

**Claim** `capstone.recomputation-cost`. Beside one block's scratch the step holds $Lt$ bytes without recomputation and
$Lm + t$ with it; and if a step takes the time $F$ for the blocks forward and $2F$ for the blocks backward, it takes
$4F$ in place of $3F$.

**Proof.** At the start of the backward pass all streams are there, $Lm$ bytes; in block $l$ the tape of that block
alone is added, $t$ bytes, and it is released before the next. Each block is run forward once more. $\blacksquare$

**Claim** `capstone.recomputation-segments`. Let only every $k$-th stream be kept, $k$ dividing $L$, and let a segment
of $k$ blocks be run again with all its tapes before its backward pass. Then the step holds $\frac{L}{k} m + k t$ bytes.
Over real $k > 0$ this is least at $k = \sqrt{L m / t}$, where it is $2 \sqrt{L m t}$.

**Proof.** $L / k$ streams are kept and the tapes of $k$ blocks at a time. With
$\big( \sqrt{L m / k} - \sqrt{k t} \big)^2 \ge 0$ we have $\frac{L m}{k} + k t \ge 2 \sqrt{L m t}$, with equality
exactly if $L m / k = k t$. $\blacksquare$

This is where the square root of the depth in the papers comes from. It needs $t \ll L m$, so that $k > 1$. In a
transformer the tape of a block is many times its stream (`capstone.tape-numbers`), and $k \le 1$, every stream, is
right for as many blocks as the tape has streams: some twenty. So that is what is built here.

## In practice

`Model.loss_and_grads(..., recompute=True)`, `ThreadedGradients(model, n, recompute=True)` and `fp-capstone train
--recompute`. What both ways hold, and what a process takes, is measured in `fp_capstone.growth`; what it costs in
time is in the package's README.

The idea is that of Griewank's checkpoints for differentiating programs (1992); Chen and others (2016) brought it to
deep networks. Large systems recompute selectively: what is cheap to compute and large to keep (attention's table,
activations) but not the matrix products (Korthikanti and others 2022). FlashAttention recomputes the table of weights
always, which makes it faster, because memory is slower than arithmetic.
"""

import copy
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fp_capstone.memory import Memory

__all__ = ["Recomputed"]


class Recomputed(NamedTuple):
    """
    What is kept in place of a block's tape.

    Parameters
    ----------
    x
        The stream in front of the block, shape `B T C`.
    rng
        The generator as it was then, whose draws are to be repeated; None without dropout.
    """

    x: np.ndarray
    rng: np.random.Generator | None

    @classmethod
    def before(cls, x: Float[np.ndarray, "B T C"], rng: np.random.Generator | None, memory: Memory) -> "Recomputed":
        """
        Copies of both, to be taken before the block runs, since it overwrites `x` and draws from `rng`.

        Parameters
        ----------
        x, rng
            What the block will be given.
        memory
            Where the copy of `x` lies.

        Examples
        --------
        >>> from fp_capstone.memory import HEAP
        >>> x, rng = np.zeros((1, 1, 2)), np.random.default_rng(0)
        >>> kept = Recomputed.before(x, rng, HEAP)
        >>> x += 1
        >>> float(kept.x.sum()), rng.random() == kept.rng.random()
        (0.0, True)
        """
        kept = memory.empty(x.shape, x.dtype)
        kept[:] = x
        return cls(kept, copy.deepcopy(rng))
