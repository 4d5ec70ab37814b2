r"""
Stage 6 of 10: the transformer, what it is made of and how it is kept.

A transformer is a fixed computation over a set of named arrays. This chapter starts from the outside: which arrays
there are, how many numbers they hold, and how they are written to disk so that nothing is lost and other programs can
open them.

| section | the question it answers |
| --- | --- |
| `fp_transformer.config` | Which arrays does a transformer consist of, and how many numbers is that? |
| `fp_transformer.checkpoint` | How is a model kept, so that it is whole or absent at every moment? |

Both families, GPT-2 and Llama, have the names and shapes that Hugging Face transformers uses, so a model directory
written here opens there, and the other way round.

**Not here yet**: the norms, the blocks and the model on the autograd of stage 2, generation, scaling laws, exercises.
They come in later versions of this package; the trainable model with every backward pass written by hand is
`fp_capstone`'s, and it keeps its weights with this chapter's code. Sharded and memory-mapped checkpoints and GGUF
files come with generation.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_transformer.checkpoint import load_metadata as load_metadata
    from fp_transformer.checkpoint import load_model as load_model
    from fp_transformer.checkpoint import load_tensors as load_tensors
    from fp_transformer.checkpoint import save_model as save_model
    from fp_transformer.checkpoint import save_tensors as save_tensors
    from fp_transformer.config import TransformerConfig as TransformerConfig
    from fp_transformer.model import Transformer as Transformer

__all__ = ["config", "checkpoint"]  # the sections, in reading order: the chapter's page lists them
__version__ = "0.2.0"

_SECTION_OF = {
    "TransformerConfig": "config",
    "Transformer": "model",
    "save_model": "checkpoint",
    "load_model": "checkpoint",
    "save_tensors": "checkpoint",
    "load_tensors": "checkpoint",
    "load_metadata": "checkpoint",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SECTION_OF})
