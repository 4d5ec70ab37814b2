r"""
Stage 5 of 10: attention.

A network that reads a fixed window treats position 3 always the same way, whatever stands there. A pronoun asks for its
noun, wherever that is. How can a token decide, by content, which others to read from, in a way that has a gradient?
This chapter derives the answer, proves what it can and cannot do, and builds it in every variant that language models
of today use: several heads, shared keys, positions of all kinds, windows, caches, and tiles that never hold the table.

>>> import numpy as np
>>> from fp_attention import Causal, MultiHeadAttention, RoPE
>>> rng = np.random.default_rng(0)
>>> layer = MultiHeadAttention(64, 8, n_kv_heads=2, positions=RoPE(8), mask=Causal(), rng=rng)
>>> x = rng.normal(size=(4, 10, 64)).astype(np.float32)  # four texts of ten tokens
>>> y = layer(x)
>>> (y**2).mean().backward()
>>> y.shape, layer.k_proj.weight.grad.shape
((4, 10, 64), (16, 64))

## The chapter as a problem

**Understand.** *What is unknown?* For each token, which others it should read from, and what. *What is given?* A vector
for each token, and the gradient of any loss. *What would count as an answer?* A function of the whole sequence that has
a slope in everything, works for every length, and does not see the future.

**Plan.** *Do you know a related problem?* Looking up a word in a dictionary; and estimating a curve from points nearby,
which statisticians have done for sixty years. *Could you soften the problem?* Instead of one entry, all of them, with
weights that say how well each fits. *Did you use all the data?* A weighted mean does not know the order of what it
averages: positions have to be brought in from outside.

**Execute.** Derive the weights, their scale and their gradient. Say who may look at whom. Ask several questions at
once. Bring in positions, in one of three places. Keep what need not be computed again, and never hold what is too large
to hold.

**Reflect.** *Can you check the result?* Each kernel against its definition, against differences and against PyTorch;
each variant against the plain one where they should agree. *Can you see it at a glance?* Draw the weights: a head that
looks at the token before it is a line beside the diagonal. *What does it cost?* The square of the length, and the
chapter says where that matters.

## The sections

| section | the question it answers |
| --- | --- |
| `fp_attention.lookup` | What is a dictionary that has a gradient? |
| `fp_attention.scaling` | Why is the score divided by $\sqrt d$? |
| `fp_attention.masks` | Who may look at whom? |
| `fp_attention.scaled_dot` | How is it computed, and differentiated? |
| `fp_attention.symmetry` | What does it know about order? |
| `fp_attention.multihead` | What if a token has several questions? |
| `fp_attention.rotations` | How do turns of the plane add up? |
| `fp_attention.positions` | How does a vector say where it stands? |
| `fp_attention.rotary` | … so that only distances count? |
| `fp_attention.relative` | … or by a price on distance? |
| `fp_attention.kv_cache` | What need not be computed again? |
| `fp_attention.softmax` | Can a softmax be taken in one pass? |
| `fp_attention.tiled` | … and attention without its table? |
| `fp_attention.windows` | What if it looks back only so far? |
| `fp_attention.cost` | What does it cost, and where? |
| `fp_attention.maps` | What can be read off the weights? |
| `fp_attention.experiment` | Does it learn to look? |
| `fp_attention.mistakes` | What goes wrong without an error? |
| `fp_attention.exercises` | Can you do it yourself? |

You need chapter 1 for probability, chapter 2 for matrices and gradients, and chapter 3 for the softmax, rank and
modules. This chapter adds rotations of the plane, and the addition theorems of sine and cosine.

## In modern language models

Nearly all of this chapter is in use as it stands: causal masks, $1 / \sqrt d$, grouped keys, rotary positions, caches,
tiles. Sinusoidal and learned positions are rare since about 2022, ALiBi was common for a while, T5's buckets live on in
encoders. Sliding windows alternate with full layers in several families (Gemma, gpt-oss), the latter with learned
sinks. What is added around it, residual streams, norms and feed-forward layers,
is the next chapter.

**Left out**: additive attention (D. Bahdanau and others, 2014), from which it all came; sparse patterns beyond windows
and sinks; linear attention and state space models; latent attention; attention over sets of retrieved texts.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_attention.kv_cache import KVCache as KVCache
    from fp_attention.maps import attention_svg as attention_svg
    from fp_attention.masks import Causal as Causal
    from fp_attention.masks import Dense as Dense
    from fp_attention.masks import Documents as Documents
    from fp_attention.masks import First as First
    from fp_attention.masks import Itself as Itself
    from fp_attention.masks import Mask as Mask
    from fp_attention.masks import Padding as Padding
    from fp_attention.masks import SlidingWindow as SlidingWindow
    from fp_attention.multihead import MultiHeadAttention as MultiHeadAttention
    from fp_attention.positions import LearnedPositions as LearnedPositions
    from fp_attention.positions import Positions as Positions
    from fp_attention.positions import SinusoidalPositions as SinusoidalPositions
    from fp_attention.relative import ALiBi as ALiBi
    from fp_attention.relative import RelativeBias as RelativeBias
    from fp_attention.rotary import RoPE as RoPE
    from fp_attention.scaled_dot import attention_weights as attention_weights
    from fp_attention.scaled_dot import scaled_dot_product_attention as scaled_dot_product_attention
    from fp_attention.tiled import tiled_attention as tiled_attention

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
