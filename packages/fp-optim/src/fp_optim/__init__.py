r"""
Stage 4 of 10: optimizers, how a gradient becomes a step.

A gradient says which way is down, here, for a very small step. Everything else is left open: how long the step is, how
it differs between coordinates that have nothing in common, what to do with a gradient that is wrong, noisy or a hundred
times too long, and what the steps before have to say. This chapter derives the answers that language models are trained
with, proves how fast they go where that can be proven, and measures every proven rate. They work on plain named arrays,
in place, so that every model of this book uses the same code.

>>> import numpy as np
>>> from fp_optim import AdamW, warmup_cosine
>>> w = {"w": np.array([[3.0, -2.0]])}
>>> optimizer = AdamW(w, weight_decay=0.0)
>>> for n in range(200):
...     optimizer.step({"w": w["w"] * [100.0, 0.01]}, lr=warmup_cosine(n, n_steps=200, warmup=20, peak=0.1))
>>> bool((abs(w["w"]) < 0.01).all())
True

## The chapter as a problem

**Understand.** *What is unknown?* The parameters at which a loss is small. *What is given?* Its value and its slope,
wherever one asks, and often only an estimate of the slope, from a batch. *What would count as an answer?* A rule for
the next step, and a promise how far from the smallest loss it is after $T$ of them. Is any promise possible? Not
without saying something about the function: one that may do anything between two points keeps its minimum to itself.

**Plan.** *Do you know a related problem?* A parabola in one variable, where one step suffices. *Could you solve a part
of it?* Quadratics in many variables, where each direction is a parabola of its own, and one rate has to serve all of
them. *Could you restate it?* Bound the function by a parabola from above, and go to the minimum of that.

**Execute.** Say what smooth and convex mean. Prove the descent lemma, and read the rates off it. Remember past steps;
scale each coordinate by what it has seen; measure lengths otherwise than Euclid. Then add what practice knows: warmup,
decay, clipping, averaging, batches.

**Reflect.** *Can you check the result?* Each bound against a run that it bounds, and each rule against the library that
everybody uses, to the last digits. *Did you use all the hypotheses?* No network is convex. What survives without it is
the weakest of the theorems; that the others describe training so well is an observation, and the chapter says so.

## The sections

| section | the question it answers |
| --- | --- |
| `fp_optim.norms` | What is a length, and when does downhill lead to the bottom? |
| `fp_optim.problems` | On which functions is everything measured? |
| `fp_optim.descent` | How fast does the plain step go? |
| `fp_optim.stochastic` | What if the slope is an estimate? |
| `fp_optim.accumulation` | How is a batch put together from pieces of different sizes? |
| `fp_optim.optimizer` | What do all rules for a step have in common? |
| `fp_optim.momentum` | What do past steps have to say? |
| `fp_optim.adagrad` | What if every coordinate has gradients of another size? |
| `fp_optim.adaptive` | … and old gradients should be forgotten? |
| `fp_optim.amsgrad` | When does that fail? |
| `fp_optim.lion` | What if only the signs count? |
| `fp_optim.muon` | What is the steepest step for a matrix, as a map? |
| `fp_optim.schedules` | How fast to learn, and when? |
| `fp_optim.clipping` | How is a single bad batch kept from doing harm? |
| `fp_optim.surfaces` | What does it look like? |
| `fp_optim.race` | Which one is first? |
| `fp_optim.mistakes` | What goes wrong without an error? |
| `fp_optim.exercises` | Can you do it yourself? |

You need chapter 2 for vectors, gradients and Taylor's theorem, and eigenvalues from chapter 3. This chapter adds norms
and convexity.

## In modern language models

AdamW with warmup and a cosine has trained most of them, with $\beta_2$ at 0.95 and the gradient clipped to norm 1;
schedules with a constant middle part spread because a run can then be prolonged, and Muon because its steps on matrices
are worth more than they cost. Everything is sharded there: moments and parameters lie on different devices, in mixed
precision, which changes where the arrays are and nothing in the formulas.

**Left out**: second-order methods (Newton's appears as a tool, K-FAC and Shampoo do not), line search, conjugate
gradients, constrained problems beyond a box, and variance reduction.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_optim.accumulation import Accumulator as Accumulator
    from fp_optim.adagrad import AdaGrad as AdaGrad
    from fp_optim.adagrad import RMSprop as RMSprop
    from fp_optim.adaptive import AdamW as AdamW
    from fp_optim.amsgrad import Adam as Adam
    from fp_optim.amsgrad import AMSGrad as AMSGrad
    from fp_optim.clipping import clip_by_global_norm as clip_by_global_norm
    from fp_optim.clipping import clip_by_value as clip_by_value
    from fp_optim.clipping import global_norm as global_norm
    from fp_optim.lion import Lion as Lion
    from fp_optim.momentum import Momentum as Momentum
    from fp_optim.momentum import Nesterov as Nesterov
    from fp_optim.muon import Muon as Muon
    from fp_optim.muon import orthogonalize as orthogonalize
    from fp_optim.optimizer import SGD as SGD
    from fp_optim.optimizer import Optimizer as Optimizer
    from fp_optim.optimizer import is_matrix as is_matrix
    from fp_optim.schedules import one_cycle as one_cycle
    from fp_optim.schedules import sgdr as sgdr
    from fp_optim.schedules import step_decay as step_decay
    from fp_optim.schedules import warmup_cosine as warmup_cosine
    from fp_optim.schedules import warmup_linear as warmup_linear
    from fp_optim.schedules import warmup_stable_decay as warmup_stable_decay
    from fp_optim.stochastic import WeightAverage as WeightAverage

__all__ = [  # sections, in reading order
    "norms",
    "problems",
    "descent",
    "stochastic",
    "accumulation",
    "optimizer",
    "momentum",
    "adagrad",
    "adaptive",
    "amsgrad",
    "lion",
    "muon",
    "schedules",
    "clipping",
    "surfaces",
    "race",
    "mistakes",
    "exercises",
]
__version__ = "0.2.1"

_SECTION_OF = {
    "SGD": "optimizer",
    "Optimizer": "optimizer",
    "is_matrix": "optimizer",
    "Momentum": "momentum",
    "Nesterov": "momentum",
    "AdaGrad": "adagrad",
    "RMSprop": "adagrad",
    "AdamW": "adaptive",
    "Adam": "amsgrad",
    "AMSGrad": "amsgrad",
    "Lion": "lion",
    "Muon": "muon",
    "orthogonalize": "muon",
    "warmup_cosine": "schedules",
    "warmup_linear": "schedules",
    "step_decay": "schedules",
    "one_cycle": "schedules",
    "sgdr": "schedules",
    "warmup_stable_decay": "schedules",
    "global_norm": "clipping",
    "clip_by_global_norm": "clipping",
    "clip_by_value": "clipping",
    "Accumulator": "accumulation",
    "WeightAverage": "stochastic",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
