r"""
Stage 9 of 10: fine-tuning with few parameters.

To fine-tune a model in full is to store a whole new model, and during training several times that in gradients and
optimizer state. The change that a new task needs is often far simpler than the model it changes. How few numbers can
describe it, what is lost, and what does it cost to find them?

>>> import numpy as np
>>> from fp_peft import LoRA, merged_model, wrap
>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=65, context_length=32, n_layers=2, n_heads=4, n_kv_heads=2, d_model=48)
>>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
>>> tuned = wrap(model, LoRA(rank=4, alpha=8, targets=["q_proj", "v_proj"]), rng=np.random.default_rng(1))
>>> ids = np.random.default_rng(2).integers(0, 65, (4, 33))
>>> tuned.loss(ids[:, :-1], ids[:, 1:]).backward()  # gradients of the added numbers, and of no others
>>> tuned.n_trainable, model.n_parameters
(1344, 54048)
>>> plain = merged_model(tuned)  # a model of its family again, to be saved and used by any program

## The chapter as a problem

**Understand.** *What is unknown?* A change of a trained model that makes a loss on new data small. *What is given?* The
model, some examples, one machine. *What is the condition?* Few numbers are trained, and the model that we began with is
not lost.

**Plan.** *Do you know a related problem?* The nearest matrix of small rank (chapter 3); attention over two sets of keys
(chapter 5). *Could you begin where nothing changes?* Then every step is for the better. *Could you add instead of
change?* Then what was there stays.

**Execute.** Two thin factors beside a matrix; a small bent network behind a branch; keys and values that no token
wrote. Wrap any model with one of these, freeze the rest, count what that saves. Merge. Exchange files with others.

**Reflect.** *Can you check the result?* At the first step the model is bit for bit the old one; merged and unmerged
agree; what `peft` saved gives the same logits and gradients here. *Can you see it at a glance?* What a prefix can do to
a head is to mix. *Can you use it?* Alignment trains factors, and has its reference model for nothing.

## The sections

| section | the question it answers |
| --- | --- |
| `fp_peft.low_rank` | What can a product of two thin matrices say? |
| `fp_peft.lora` | How does a matrix learn without being changed? |
| `fp_peft.adapters` | What if the addition may bend? |
| `fp_peft.prefix` | … or stands in front of the text? |
| `fp_peft.wrapping` | How is it put into a model, and what does a step cost then? |
| `fp_peft.merging` | Is it one matrix again afterwards, and can it be taken out? |
| `fp_peft.interchange` | How do others read it? |
| `fp_peft.data` | Which tokens are to be learned? |
| `fp_peft.bases` | Which model is to be tuned? |
| `fp_peft.finetune` | From a file of examples to a tuned model |
| `fp_peft.mistakes` | What goes wrong without an error? |
| `fp_peft.exercises` | Can you do it yourself? |

You need chapters 2 to 7. The command is `fp-peft finetune MODEL --data FILE`.

## In modern language models

Nearly all fine-tuning of open models outside of large companies is LoRA on all matrices of the blocks, often with the
frozen weights in four bits. Services that answer for many customers keep one base in memory and a pair of factors for
each. Prefixes and prompts came first, and have become rare; long prompts of real words, kept as their keys and values,
are what is left of them.

**Left out**: frozen weights in few bits, DoRA and other relatives of LoRA, factors for embeddings and experts, several
adapters at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_peft.adapters import Adapter as Adapter
    from fp_peft.finetune import Settings as Settings
    from fp_peft.finetune import fine_tune as fine_tune
    from fp_peft.finetune import held_out_loss as held_out_loss
    from fp_peft.interchange import load_adapter as load_adapter
    from fp_peft.interchange import save_adapter as save_adapter
    from fp_peft.lora import LoRA as LoRA
    from fp_peft.lora import LoRALinear as LoRALinear
    from fp_peft.merging import merge as merge
    from fp_peft.merging import merged_model as merged_model
    from fp_peft.merging import unmerge as unmerge
    from fp_peft.prefix import PrefixTuning as PrefixTuning
    from fp_peft.prefix import PromptTuning as PromptTuning
    from fp_peft.wrapping import Tuned as Tuned
    from fp_peft.wrapping import work as work
    from fp_peft.wrapping import wrap as wrap

__all__ = [  # sections, in reading order
    "low_rank",
    "lora",
    "adapters",
    "prefix",
    "wrapping",
    "merging",
    "interchange",
    "data",
    "bases",
    "finetune",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "LoRA": "lora",
    "LoRALinear": "lora",
    "Adapter": "adapters",
    "PrefixTuning": "prefix",
    "PromptTuning": "prefix",
    "wrap": "wrapping",
    "Tuned": "wrapping",
    "work": "wrapping",
    "merge": "merging",
    "unmerge": "merging",
    "merged_model": "merging",
    "save_adapter": "interchange",
    "load_adapter": "interchange",
    "Settings": "finetune",
    "fine_tune": "finetune",
    "held_out_loss": "finetune",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
