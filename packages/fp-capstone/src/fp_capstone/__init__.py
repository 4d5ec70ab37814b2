r"""
Capstone: a transformer trained with every backward pass written by hand.

A language model is a function from the tokens so far to a distribution over the next one. This chapter builds the
function that modern models use, a decoder-only transformer, from a dozen operations, and derives for each of them how a
small change of its inputs changes the loss. Put together, the derivations *are* the training code: no automatic
differentiation runs anywhere. At the end the model trains on real text, in minutes, on a laptop's processor, and
predicts text that it has never seen better than n-gram models of any order up to five.

| section | the question it answers |
| --- | --- |
| `fp_capstone.memory` | Where do a step's arrays lie, and who takes them back? |
| `fp_capstone.linear` | How does a matrix learn from the error at its output? |
| `fp_capstone.embedding` | How does a token become a vector, and where does its gradient go? |
| `fp_capstone.norms` | What keeps activations from growing, and what does that cost on the way back? |
| `fp_capstone.activations` | Where does the bend come from that makes depth useful? |
| `fp_capstone.dropout` | How does forgetting at random help? |
| `fp_capstone.rotary` | How can an inner product know a distance? |
| `fp_capstone.cross_entropy` | What does a wrong belief cost? |
| `fp_capstone.attention` | How does one position read from others, and only from earlier ones? |
| `fp_capstone.parameters` | Where do the numbers live? |
| `fp_capstone.block` | Why can a gradient pass through a hundred layers? |
| `fp_capstone.recomputation` | What does it cost to keep less? |
| `fp_capstone.model` | How do the parts make one model and one gradient? |
| `fp_capstone.gradient_checks` | Is every gradient right, and how would we know? |
| `fp_capstone.automatic` | What does automatic differentiation do for you? |
| `fp_capstone.generation` | How does the model write, and compute each position once? |
| `fp_capstone.mistakes` | Which mistakes train anyway, and what sees them? |
| `fp_capstone.parallel` | How do several cores share a step? |
| `fp_capstone.ladder` | What does each idea that makes a step faster save, and where does it end? |
| `fp_capstone.growth` | What does more cost? |
| `fp_capstone.corpus` | Which text does the model see, and which does it never see? |
| `fp_capstone.evaluation` | Is it better than counting, beyond chance? |
| `fp_capstone.settings` | What can be chosen? |
| `fp_capstone.training` | How does one step follow another, so that a resumed run is the same run? |
| `fp_capstone.adapters` | How do somebody else's backward passes train our model? |
| `fp_capstone.run` | What does a run leave behind, whatever kills it? |
| `fp_capstone.figures` | What did the run look like? |
| `fp_capstone.display` | What does it look like while it runs? |
| `fp_capstone.story` | What happens while it learns? |
| `fp_capstone.chat_template` | How is a conversation one text, and who may write its marks? |
| `fp_capstone.pretrained` | Where does a pretrained model come from, and what must be known of it? |
| `fp_capstone.chat` | What does a model remember of a conversation? |
| `fp_capstone.inspection` | What does a model cost, before it is loaded? |
| `fp_capstone.cli` | The commands `fp-capstone train`, `generate`, `eval`, `fetch`, `chat` and `inspect`. |
| `fp_capstone.exercises` | Nine backward passes, and a model that trains with yours. |

You need stages 1 and 2 for the mathematics (probability, logarithms, the chain rule); the rest is derived where it is
used. Weights and settings are those of Hugging Face's Llama and GPT-2 families (`fp_transformer.config`).

## How to work through it

Polya's four steps, for each backward pass. *Understand*: write the forward line with all its indices, and name what the
loss depends on. *Plan*: which quantities does one entry of the input touch, and by which paths? *Carry out*: apply the
chain rule to one entry, sum over the paths, and only then look for a matrix product. *Look back*: do the shapes agree,
does a case by hand, do central differences, and what does the formula say in words? Then ask yourself, without the
page: why does a causal model need no second pass for the keys it has cached? What would change in the backward pass if
the norm stood on the stream? Which of the gradients would survive if all weights of a block were zero?

## In modern LLMs

The Llama family here is, operation by operation, that of models a hundred thousand times its size. What they add lies
around it: attention in tiles that never store the weights, arithmetic in bfloat16 with float32 sums, layers spread over
machines, mixtures of experts in place of one feed-forward layer, tokens of several characters, and data.

**Left out here**: training on several machines, in half precision, and with tensors split between processes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fp_capstone.gradient_checks import gradient_error as gradient_error
    from fp_capstone.memory import Arena as Arena
    from fp_capstone.model import Model as Model
    from fp_capstone.parallel import ThreadedGradients as ThreadedGradients

__all__ = [
    "memory",
    "linear",
    "embedding",
    "norms",
    "activations",
    "dropout",
    "rotary",
    "cross_entropy",
    "attention",
    "parameters",
    "block",
    "recomputation",
    "model",
    "gradient_checks",
    "automatic",
    "generation",
    "mistakes",
    "parallel",
    "ladder",
    "growth",
    "corpus",
    "evaluation",
    "settings",
    "training",
    "adapters",
    "run",
    "figures",
    "display",
    "story",
    "chat_template",
    "pretrained",
    "chat",
    "inspection",
    "cli",
    "exercises",
]  # the sections, in reading order
__version__ = "0.3.0"

_SECTION_OF = {
    "Arena": "memory",
    "Model": "model",
    "ThreadedGradients": "parallel",
    "gradient_error": "gradient_checks",
}


def __getattr__(name: str) -> Any:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SECTION_OF])
