r"""
Generation: one token after another, each position computed once.

The model gives a distribution for the next token. Draw from it, append the token, ask again. Done naively, each new
token costs a pass over all positions before it. But nothing about those positions has changed.

You need: `fp_capstone.attention`, sampling (stage 1).

## Derivation

**Claim** `capstone.kv-cache-exact`. In a causal model without dropout, the keys and values of position $t$ in every
block depend on the tokens $1, \dots, t$ only. So if they are kept, running *only the new positions* through the blocks,
with attention to the kept keys and values, gives the same outputs as running all positions again.

**Proof.** By induction over the blocks, the statement being that the stream at position $t$, entering the block, is a
function of the tokens $1, \dots, t$. The embedding of position $t$ is a function of token $t$ and of the number $t$. In
a block, norms, linear maps, rotations and bends act on each position by itself, so the query, key and value of position
$t$ are functions of the stream at $t$; attention at $t$ is a function of the query at $t$ and of keys and values at
positions $\le t$, by `capstone.causality`; so the stream leaving the block at $t$ is again a function of tokens
$1, \dots, t$. Appending tokens after $t$ therefore changes none of the kept keys and values, and the new positions'
outputs are computed from the same numbers by the same formulas. $\blacksquare$

In floating point the two ways add in different orders, so they agree to rounding, not to the bit.

**Cost.** With $t$ positions behind it, a new token costs one pass over the parameters, $2P$ operations for $P$ of them,
and $O(tC)$ a block for attention. The cache holds $2 L T K D$ numbers a sequence: keys and values, for $L$ blocks, $T$
positions, $K$ heads of width $D$. Grouped-query attention exists to make $K$ small.

**When the context is full.** Positions are numbered from the start of the window, so dropping the oldest token shifts
all others and no key stays valid. The generator then keeps the latter half of the window, runs it through once, and
goes on: amortised over the next $T/2$ tokens that costs one extra pass a token.

## In practice

Serving systems page the cache and share it between requests with a common prefix; the claim above is what allows both.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from fp_markov.sampling import draw
from fp_transformer.config import TransformerConfig

__all__ = ["LayerCache", "Cache", "generate"]


class LayerCache:
    """
    Keys and values of one block, for the positions seen so far.

    Parameters
    ----------
    config
        Gives the sizes.
    batch_size
        Number of sequences.
    dtype
        Data type of keys and values.
    """

    def __init__(self, config: TransformerConfig, batch_size: int, dtype: np.dtype) -> None:
        shape = (batch_size, config.context_length, config.n_kv_heads, config.d_head)
        self.k: Float[np.ndarray, "B T K D"] = np.empty(shape, dtype)
        self.v: Float[np.ndarray, "B T K D"] = np.empty(shape, dtype)
        self.length = 0

    def extend(
        self, k: Float[np.ndarray, "B R K D"], v: Float[np.ndarray, "B R K D"]
    ) -> tuple[Float[np.ndarray, "B S K D"], Float[np.ndarray, "B S K D"]]:
        """
        Append the keys and values of `R` new positions.

        Returns
        -------
        k, v : ndarray
            Views of those of all positions so far.
        """
        start, stop = self.length, self.length + k.shape[1]
        self.k[:, start:stop], self.v[:, start:stop] = k, v
        self.length = stop
        return self.k[:, :stop], self.v[:, :stop]


class Cache:
    """The caches of all blocks, and how many positions they hold."""

    def __init__(self, config: TransformerConfig, batch_size: int, dtype: np.dtype) -> None:
        self.layers = [LayerCache(config, batch_size, dtype) for _ in range(config.n_layers)]

    @property
    def length(self) -> int:
        """Positions seen so far."""
        return self.layers[0].length

    def clear(self) -> None:
        """Forget all positions."""
        for layer in self.layers:
            layer.length = 0


@runtime_checkable
class _Model(Protocol):
    config: TransformerConfig
    dtype: np.dtype

    def forward(self, ids: np.ndarray, cache: Cache | None = None) -> np.ndarray: ...


def generate(
    model: _Model,
    prompt_ids: Sequence[int] | Int[np.ndarray, " R"],
    max_new_tokens: int,
    rng: np.random.Generator,
    temperature: float | int = 1.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
) -> Iterator[int]:
    """
    Continue a prompt.

    Parameters
    ----------
    model
        Anything with `config`, `dtype` and a `forward` that takes a cache.
    prompt_ids
        At least one token id; the last `context_length` are used.
    max_new_tokens
        How many tokens to draw.
    rng
        Source of randomness.
    temperature
        Divides the logits; 0 always takes the largest.
    top_k
        Draw among the `k` likeliest tokens only.
    top_p
        Draw among the smallest set of likeliest tokens that holds probability `p`.

    Returns
    -------
    iterator of int
        The new tokens, each as soon as it is drawn.

    Raises
    ------
    TypeError
        If the prompt is not a sequence of whole numbers, or `rng` no generator.
    ValueError
        If the prompt is empty or holds an id outside the vocabulary, or if a setting is out of its range.
    """
    config = model.config
    prompt = np.asarray(prompt_ids)
    if prompt.size and (prompt.ndim != 1 or not np.issubdtype(prompt.dtype, np.integer)):
        raise TypeError(f"the prompt must be a sequence of token ids, whole numbers; got {prompt_ids!r}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, such as numpy.random.default_rng(0); got {rng!r}")
    ids = prompt.tolist()
    if not ids:
        raise ValueError("the prompt must hold at least one token: the first token has nothing to follow from")
    outside = [i for i in ids if not 0 <= i < config.vocab_size]
    if outside:
        raise ValueError(f"token ids of the prompt must lie in [0, {config.vocab_size}), got {outside[0]}")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must not be negative, got {max_new_tokens}")
    # refuses settings out of range now, not at the first token
    draw(np.zeros(config.vocab_size), np.random.default_rng(0), temperature, top_k, top_p)

    def tokens() -> Iterator[int]:
        cache = Cache(config, 1, model.dtype)
        pending = ids[-config.context_length :]
        for _ in range(max_new_tokens):
            if cache.length + len(pending) > config.context_length:
                cache.clear()
                pending = ids[-max(config.context_length // 2, 1) :]
            logits = model.forward(np.array([pending]), cache)[0, -1]
            token = int(draw(logits, rng, temperature, top_k, top_p))
            yield token
            ids.append(token)
            pending = [token]

    return tokens()
