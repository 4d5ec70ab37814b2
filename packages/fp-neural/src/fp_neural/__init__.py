r"""
Stage 3 of 10: neural language models.

A table of counts has to see a context before it can say anything of its own about it, and the number of contexts grows
as $V^n$. How can a model share what it learned about one context with all the similar ones, so that it has something
sensible to say about a context that it never saw? By computing its answer, from numbers that all contexts have in
common, and by finding those numbers with the gradients of stage 2. This chapter builds such models from a single matrix
up to a recurrent network, and holds every one of them against the counting models of stage 1, on the same text.

>>> import numpy as np
>>> from fp_neural import MLPLanguageModel, train
>>> ids = np.array([0, 1, 2, 3] * 50)
>>> model = MLPLanguageModel(vocab_size=4, context=2, dim=4, hidden=16, rng=np.random.default_rng(0))
>>> x, y = model.examples(ids)
>>> history = train(model, model.loss, [(x, y)] * 200, rate=1.0)
>>> model.generate([0, 1], 6, np.random.default_rng(0), temperature=0)
array([2, 3, 0, 1, 2, 3])

On any text, from the command line:

    python -m fp_neural FILE --model lstm --steps 3000

## The chapter as a problem

**Understand.** *What is unknown?* A function from contexts to distributions that is good on contexts never seen. *What
is given?* One text, and the slope of any loss in any number of parameters. *What would count as an answer?* A loss on
held-out text below that of the best table. Can a function be better than counting, which fits best? Only where counting
has nothing to count, and that is almost everywhere.

**Plan.** *Do you know a related problem?* The table is a linear layer already; it is too wide. *Could you restate the
problem?* Instead of one number for each context and token, a few for each token, and a few layers that all contexts go
through. *What do you have to find?* How large the first numbers must be for a signal to pass the layers in both
directions; a loss with no other minima where the model is linear in its parameters; how much of a text one step needs.

**Execute.** Prove what a softmax and its loss are. Build layers, each with its gradient. Let the variance of a sum say
where to start. Train, with the plain step and nothing else, and watch text that was held out.

**Reflect.** *Can you check the result?* Each layer against differences and against PyTorch; the loss of an untrained
model against $\ln V$; the whole against an n-gram model on the same characters. *Can you see it at a glance?* Draw the
embedding: letters that behave alike lie together, though nobody said which are vowels. *Could you use the method
elsewhere?* Everything but the last layer's shape is independent of language.

## The sections

| section | the question it answers |
| --- | --- |
| `fp_neural.spectra` | What does a matrix do to lengths, and which directions matter most? |
| `fp_neural.tables` | Why does a table fail, and which network is it? |
| `fp_neural.module` | Who keeps the parameters? |
| `fp_neural.activations` | What stands between two linear layers? |
| `fp_neural.layers` | … and why must something? |
| `fp_neural.approximation` | What can one hidden layer express? |
| `fp_neural.softmax` | What is a softmax, seen from all sides? |
| `fp_neural.losses` | What should be made small, and why that? |
| `fp_neural.embedding` | How does a token become a vector? |
| `fp_neural.initialization` | How large are the first numbers? |
| `fp_neural.dropout` | What if some of them are missing? |
| `fp_neural.normalization` | What if each layer sees numbers of its own scale? |
| `fp_neural.batches` | How much text does one step need? |
| `fp_neural.training` | What is a step, and what does the loop watch? |
| `fp_neural.language_model` | How does a network predict the next token? |
| `fp_neural.recurrent` | What if the context has no fixed length? |
| `fp_neural.recurrent_model` | How is that trained and sampled? |
| `fp_neural.experiment` | Does it beat counting? |
| `fp_neural.embedding_map` | What did it learn about tokens? |
| `fp_neural.mistakes` | What goes wrong without an error? |
| `fp_neural.exercises` | Can you do it yourself? |

You need chapter 1 for entropy, surprisal, the split and sampling, and chapter 2 for vectors, matrices and gradients.
This chapter adds orthogonality, eigenvalues and the singular value decomposition.

## In modern language models

Of this chapter a large model keeps the embedding, the linear layers and their initial scale, the softmax and its loss,
and the loop; dropout is gone where there is more text than one can read twice. Its activations are GELU and SiLU. Batch
normalization gave way to a normalization of each token by itself, since a batch of texts has no common statistics
(stage 6). Recurrence gave way to attention, which looks at all earlier tokens at once (stage 5), and returns, as state
space models and linear attention, where memory must not grow with the text.

**Left out**: convolutions, hierarchical and sampled softmax, pretrained word vectors, gated recurrent units,
bidirectional and sequence-to-sequence models.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_neural.activations import GELU as GELU
    from fp_neural.activations import ReLU as ReLU
    from fp_neural.activations import Sigmoid as Sigmoid
    from fp_neural.activations import SiLU as SiLU
    from fp_neural.activations import Tanh as Tanh
    from fp_neural.activations import gelu as gelu
    from fp_neural.activations import silu as silu
    from fp_neural.batches import TextDataset as TextDataset
    from fp_neural.dropout import Dropout as Dropout
    from fp_neural.embedding import Embedding as Embedding
    from fp_neural.embedding_map import neighbours as neighbours
    from fp_neural.embedding_map import pca as pca
    from fp_neural.language_model import LanguageModel as LanguageModel
    from fp_neural.language_model import MLPLanguageModel as MLPLanguageModel
    from fp_neural.layers import Linear as Linear
    from fp_neural.layers import Sequential as Sequential
    from fp_neural.losses import cross_entropy as cross_entropy
    from fp_neural.losses import mse as mse
    from fp_neural.losses import nll as nll
    from fp_neural.module import Module as Module
    from fp_neural.module import Parameter as Parameter
    from fp_neural.normalization import BatchNorm1d as BatchNorm1d
    from fp_neural.recurrent import LSTM as LSTM
    from fp_neural.recurrent import RNN as RNN
    from fp_neural.recurrent_model import RecurrentLanguageModel as RecurrentLanguageModel
    from fp_neural.training import History as History
    from fp_neural.training import clip_norm as clip_norm
    from fp_neural.training import gradient_step as gradient_step
    from fp_neural.training import train as train

__all__ = [  # sections, in reading order
    "spectra",
    "tables",
    "module",
    "activations",
    "layers",
    "approximation",
    "softmax",
    "losses",
    "embedding",
    "initialization",
    "dropout",
    "normalization",
    "batches",
    "training",
    "language_model",
    "recurrent",
    "recurrent_model",
    "experiment",
    "embedding_map",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "Module": "module",
    "Parameter": "module",
    "Tanh": "activations",
    "ReLU": "activations",
    "GELU": "activations",
    "SiLU": "activations",
    "Sigmoid": "activations",
    "gelu": "activations",
    "silu": "activations",
    "Linear": "layers",
    "Sequential": "layers",
    "cross_entropy": "losses",
    "nll": "losses",
    "mse": "losses",
    "Embedding": "embedding",
    "Dropout": "dropout",
    "BatchNorm1d": "normalization",
    "TextDataset": "batches",
    "train": "training",
    "History": "training",
    "gradient_step": "training",
    "clip_norm": "training",
    "LanguageModel": "language_model",
    "MLPLanguageModel": "language_model",
    "RNN": "recurrent",
    "LSTM": "recurrent",
    "RecurrentLanguageModel": "recurrent_model",
    "pca": "embedding_map",
    "neighbours": "embedding_map",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
