r"""
Stage 4 of 10: optimizers, how a gradient becomes a step.

A gradient says which way is down, here, for a very small step. Everything else is left open: how long the step is, how
it differs between coordinates that have nothing in common, what to do with a gradient that is wrong, noisy or
a hundred times too long. This chapter derives the answers that language models are trained with. They work on plain
named arrays, in place, so that every model of this book uses the same code.

| section | the question it answers |
| --- | --- |
| `fp_optim.optimizer` | What do all rules for a step have in common? |
| `fp_optim.adaptive` | What is the right step when every coordinate has gradients of another size? |
| `fp_optim.muon` | What is the steepest step for a matrix, as a map? |
| `fp_optim.schedules` | How fast to learn, and when? |
| `fp_optim.clipping` | How is a single bad batch kept from doing harm? |
| `fp_optim.accumulation` | How is a batch put together from pieces of different sizes? |

**Not here yet**: gradient descent, momentum and their rates of convergence, AdaGrad, RMSprop, AMSGrad and Lion,
parameter groups, test surfaces and exercises. They come in later versions of this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_optim.accumulation import Accumulator as Accumulator
    from fp_optim.adaptive import AdamW as AdamW
    from fp_optim.clipping import clip_by_global_norm as clip_by_global_norm
    from fp_optim.clipping import global_norm as global_norm
    from fp_optim.muon import Muon as Muon
    from fp_optim.muon import orthogonalize as orthogonalize
    from fp_optim.optimizer import SGD as SGD
    from fp_optim.optimizer import Optimizer as Optimizer
    from fp_optim.schedules import warmup_cosine as warmup_cosine
    from fp_optim.schedules import warmup_linear as warmup_linear

__all__ = ["optimizer", "adaptive", "muon", "schedules", "clipping", "accumulation"]  # the sections, in reading order
__version__ = "0.1.0"

_SECTION_OF = {
    "Optimizer": "optimizer",
    "SGD": "optimizer",
    "AdamW": "adaptive",
    "Muon": "muon",
    "orthogonalize": "muon",
    "warmup_cosine": "schedules",
    "warmup_linear": "schedules",
    "global_norm": "clipping",
    "clip_by_global_norm": "clipping",
    "Accumulator": "accumulation",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SECTION_OF})
