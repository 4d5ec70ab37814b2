r"""
Stage 5 of 10: attention.

**This chapter is not written yet.** The package installs and imports, and holds this page and nothing else.
What follows is the plan of it.

## The question

A network that reads a fixed window treats position 3 always the same way, whatever stands there. A pronoun asks for
its noun, wherever that is. How can a token decide, by content, which earlier tokens to read from, in a way that has a
gradient?

## The sections

| section | what it will hold |
| --- | --- |
| `softmax` | Its Jacobian, its stable form, and its value computed online, one block at a time |
| `masks` | Causal, padding, prefix and sliding-window masks, and why they act before the softmax |
| `scaled_dot` | $\operatorname{softmax}(QK^\top/\sqrt{d})\,V$, forward and backward, as one fused rule |
| `multihead` | Several heads, grouped and shared keys, cross-attention |
| `positions` | Sinusoidal, learned, rotary and linear-bias positions |
| `kv_cache` | Generating one token without recomputing the ones before it |
| `tiled` | The same result with memory that grows linearly in the length |

## What it will prove

- Attention is kernel regression: a weighted mean of values, the weights given by how alike query and key are.
- For independent entries of mean $0$ and variance $1$, $\operatorname{Var}(q \cdot k) = d$; hence the division by
  $\sqrt{d}$, and what a saturated softmax does to the gradient without it.
- Without a mask and without positions, attention commutes with every permutation of the tokens: it sees a bag
  of tokens, not a sequence.
- Under a causal mask the output at $t$ does not depend on the input after $t$; masking *after* the softmax breaks this.
- Rotary scores depend on the two tokens' positions only through their difference, and rotating preserves norms.
- A shift of sinusoidal positions is a rotation.
- Cached generation equals generation from scratch.
- The online softmax is exact (by induction over the blocks), and so attention over $T$ tokens needs memory of order
  $T$, in the backward pass too.

## What it will need and add

From stage 2: a way to add an operation with a derivative of its own. From stage 3: modules, initialization, softmax.
"""

__all__: list[str] = []
__version__ = "0.1.0"
