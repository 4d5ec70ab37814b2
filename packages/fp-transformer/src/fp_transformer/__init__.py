r"""
Stage 6 of 10: the transformer, and it runs a real one.

Attention mixes positions, a layer of neurons works on each. What does it take to stack a hundred of them so that they
can be trained; what is each part for, how many numbers does it have and what does it cost; and is what comes out really
the thing that everybody talks about? This chapter derives the architecture part by part, generates with it, says how
large each part should be, and in the end loads a language model that others have trained and asks it a question.

>>> import numpy as np
>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=65, context_length=32, n_layers=2, n_heads=4, n_kv_heads=2, d_model=48)
>>> model = Transformer(config, rng=np.random.default_rng(0))
>>> ids = np.random.default_rng(1).integers(0, 65, (4, 33))
>>> loss = model.loss(ids[:, :-1], ids[:, 1:])
>>> loss.backward()
>>> bool(abs(loss.item() - np.log(65)) < 0.2), model.blocks[0].attention.q_proj.weight.grad.shape
(True, (48, 48))
>>> len(list(model.eval().generate([1, 2, 3], 5, rng=np.random.default_rng(2))))
5

## The chapter as a problem

**Understand.** *What is unknown?* A function from texts to distributions of the next token, better than any so far, and
its size. *What is given?* Attention, layers, and gradients; text; so and so many operations per second. *What would
count as an answer?* A model whose loss falls when it grows, that trains at any depth, and whose numbers are those of
models that exist.

**Plan.** *Do you know a related problem?* A deep network of plain layers, whose signals and gradients die on the way
(chapter 3). *Could you keep part of it fixed?* Let every layer only add to what is there. *Could you vary the problem?*
What holds for one block holds for all; what holds for one width should say what to do at the next.

**Execute.** Norms that keep sizes, a stream that keeps the gradient, blocks of two branches. Count everything. Generate
with a cache. Write models so that others open them, and open theirs. Ask how many parameters and how much text a given
number of operations is best spent on.

**Reflect.** *Can you check the result?* Every gradient against differences and against a second model in which all are
written by hand; every logit against Hugging Face's. *Can you see it at a glance?* Print every shape; look at what the
model would say at each height. *Can you use it?* Fine-tuning and alignment begin with these models.

## The sections

| section | the question it answers |
| --- | --- |
| `fp_transformer.config` | Which arrays does a transformer consist of, and how many numbers is that? |
| `fp_transformer.norms` | How does a signal keep its size? |
| `fp_transformer.residual` | … and a gradient its way? |
| `fp_transformer.feedforward` | What does a position do with what it has read? |
| `fp_transformer.initialization` | How large are the first numbers? |
| `fp_transformer.block` | What is a block? |
| `fp_transformer.model` | What is the whole? |
| `fp_transformer.tracing` | What goes through it? |
| `fp_transformer.counting` | What does it cost? |
| `fp_transformer.checkpoint` | How is a model kept, so that it is whole or absent at every moment? |
| `fp_transformer.gguf_file` | … in four bits a number? |
| `fp_transformer.decoding` | Which token next? |
| `fp_transformer.generation` | … and the one after that, quickly? |
| `fp_transformer.speculative` | Can a small model do the work of a large one? |
| `fp_transformer.encoder` | What if the text to be read is not the one to be written? |
| `fp_transformer.mixture` | Can parameters be had without operations? |
| `fp_transformer.mup` | Do settings of a small model serve a large one? |
| `fp_transformer.scaling` | How large, and how much text? |
| `fp_transformer.mistakes` | What goes wrong without an error? |
| `fp_transformer.exercises` | Can you do it yourself? |

You need chapters 1 to 3 and 5. The trainable model with every backward pass written by hand is `fp_capstone`'s; it
reads and writes the same directories.

## In modern language models

The Llama family as it stands here is what most open models of today are: RMSNorm before each branch, rotary positions,
grouped keys, SwiGLU. What varies is in the details: norms on queries and keys, windows in some layers, experts in
place of the feed-forward layer, other position scalings. The scaling laws decided the sizes of the models since 2022;
since then many are trained on far more text than is optimal for training alone, because they are used more than they
are trained.

**Left out**: state space models, diffusion models of text, multi-token prediction, mixtures with shared experts,
pictures and sound.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_transformer.block import Block as Block
    from fp_transformer.checkpoint import load as load
    from fp_transformer.checkpoint import load_metadata as load_metadata
    from fp_transformer.checkpoint import load_model as load_model
    from fp_transformer.checkpoint import load_tensors as load_tensors
    from fp_transformer.checkpoint import save as save
    from fp_transformer.checkpoint import save_model as save_model
    from fp_transformer.checkpoint import save_tensors as save_tensors
    from fp_transformer.config import TransformerConfig as TransformerConfig
    from fp_transformer.counting import summary as summary
    from fp_transformer.decoding import Hypothesis as Hypothesis
    from fp_transformer.decoding import StopMatcher as StopMatcher
    from fp_transformer.decoding import beam_search as beam_search
    from fp_transformer.decoding import choose as choose
    from fp_transformer.decoding import distribution as distribution
    from fp_transformer.encoder import Encoder as Encoder
    from fp_transformer.encoder import EncoderDecoder as EncoderDecoder
    from fp_transformer.feedforward import FeedForward as FeedForward
    from fp_transformer.feedforward import SwiGLU as SwiGLU
    from fp_transformer.feedforward import swiglu as swiglu
    from fp_transformer.generation import Cache as Cache
    from fp_transformer.generation import generate as generate
    from fp_transformer.generation import generate_batch as generate_batch
    from fp_transformer.gguf_file import read_gguf as read_gguf
    from fp_transformer.mixture import MixtureOfExperts as MixtureOfExperts
    from fp_transformer.mixture import balance_loss as balance_loss
    from fp_transformer.model import Transformer as Transformer
    from fp_transformer.mup import coordinate_check as coordinate_check
    from fp_transformer.mup import mup_multipliers as mup_multipliers
    from fp_transformer.norms import LayerNorm as LayerNorm
    from fp_transformer.norms import RMSNorm as RMSNorm
    from fp_transformer.norms import layer_norm as layer_norm
    from fp_transformer.norms import rms_norm as rms_norm
    from fp_transformer.scaling import ParametricLoss as ParametricLoss
    from fp_transformer.speculative import speculative_generate as speculative_generate
    from fp_transformer.tracing import attention_maps as attention_maps
    from fp_transformer.tracing import attribution as attribution
    from fp_transformer.tracing import logit_lens as logit_lens
    from fp_transformer.tracing import trace_shapes as trace_shapes

__all__ = [  # sections, in reading order
    "config",
    "norms",
    "residual",
    "feedforward",
    "initialization",
    "block",
    "model",
    "tracing",
    "counting",
    "checkpoint",
    "gguf_file",
    "decoding",
    "generation",
    "speculative",
    "encoder",
    "mixture",
    "mup",
    "scaling",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "TransformerConfig": "config",
    "LayerNorm": "norms",
    "RMSNorm": "norms",
    "layer_norm": "norms",
    "rms_norm": "norms",
    "FeedForward": "feedforward",
    "SwiGLU": "feedforward",
    "swiglu": "feedforward",
    "Block": "block",
    "Transformer": "model",
    "trace_shapes": "tracing",
    "logit_lens": "tracing",
    "attribution": "tracing",
    "attention_maps": "tracing",
    "summary": "counting",
    "load": "checkpoint",
    "save": "checkpoint",
    "save_model": "checkpoint",
    "load_model": "checkpoint",
    "save_tensors": "checkpoint",
    "load_tensors": "checkpoint",
    "load_metadata": "checkpoint",
    "read_gguf": "gguf_file",
    "choose": "decoding",
    "distribution": "decoding",
    "beam_search": "decoding",
    "Hypothesis": "decoding",
    "StopMatcher": "decoding",
    "Cache": "generation",
    "generate": "generation",
    "generate_batch": "generation",
    "speculative_generate": "speculative",
    "Encoder": "encoder",
    "EncoderDecoder": "encoder",
    "MixtureOfExperts": "mixture",
    "balance_loss": "mixture",
    "mup_multipliers": "mup",
    "coordinate_check": "mup",
    "ParametricLoss": "scaling",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
