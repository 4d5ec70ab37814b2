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

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_attention.masks import Mask as Mask
    from fp_attention.masks import Causal as Causal
    from fp_attention.masks import SlidingWindow as SlidingWindow
    from fp_attention.masks import First as First
    from fp_attention.masks import Padding as Padding
    from fp_attention.masks import Documents as Documents
    from fp_attention.masks import Itself as Itself
    from fp_attention.masks import Dense as Dense
    from fp_attention.scaled_dot import scaled_dot_product_attention as scaled_dot_product_attention
    from fp_attention.scaled_dot import attention_weights as attention_weights
    from fp_attention.multihead import MultiHeadAttention as MultiHeadAttention
    from fp_attention.positions import Positions as Positions
    from fp_attention.positions import SinusoidalPositions as SinusoidalPositions
    from fp_attention.positions import LearnedPositions as LearnedPositions
    from fp_attention.rotary import RoPE as RoPE
    from fp_attention.relative import ALiBi as ALiBi
    from fp_attention.relative import RelativeBias as RelativeBias
    from fp_attention.kv_cache import KVCache as KVCache
    from fp_attention.tiled import tiled_attention as tiled_attention
    from fp_attention.maps import attention_svg as attention_svg

__all__ = [  # sections, in reading order
    "lookup",
    "scaling",
    "masks",
    "scaled_dot",
    "symmetry",
    "multihead",
    "rotations",
    "positions",
    "rotary",
    "relative",
    "kv_cache",
    "softmax",
    "tiled",
    "windows",
    "cost",
    "maps",
    "experiment",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "Mask": "masks",
    "Causal": "masks",
    "SlidingWindow": "masks",
    "First": "masks",
    "Padding": "masks",
    "Documents": "masks",
    "Itself": "masks",
    "Dense": "masks",
    "scaled_dot_product_attention": "scaled_dot",
    "attention_weights": "scaled_dot",
    "MultiHeadAttention": "multihead",
    "Positions": "positions",
    "SinusoidalPositions": "positions",
    "LearnedPositions": "positions",
    "RoPE": "rotary",
    "ALiBi": "relative",
    "RelativeBias": "relative",
    "KVCache": "kv_cache",
    "tiled_attention": "tiled",
    "attention_svg": "maps",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
