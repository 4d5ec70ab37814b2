r"""
Stage 8 of 10: watching a model learn, and finding out why it does not.

A training run that goes wrong rarely stops with an error. The loss is merely higher than it could be, and nothing says
by how much or why. What can be measured while a model learns, which values do the measurements have when all is well,
and which fault does each sick value point to?

>>> import numpy as np
>>> from fp_dynamics import Recorder, check_initialization, smooth
>>> from fp_optim import AdamW
>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=16)
>>> model = Transformer(config, rng=np.random.default_rng(0))
>>> text = (np.arange(9) + np.arange(11)[:, None]) % 11  # counting upwards, from anywhere
>>> check_initialization(model, text[:, :-1], text[:, 1:]).faults
()
>>> recorder = Recorder(model, AdamW({name: p.data for name, p in model.named_parameters().items()}, lr=1e-2))
>>> for _ in range(30):
...     model.zero_grad()
...     with recorder.watching():
...         loss = model.loss(text[:, :-1], text[:, 1:])
...     loss.backward()
...     record = recorder.step(loss, clip=1.0)
>>> record["layers"]["blocks.0.feedforward"]["dead_share"] < 0.2, record["loss"] < recorder.records[0]["loss"] / 2
(True, True)

## The chapter as a problem

**Understand.** *What is unknown?* The cause of a loss that does not fall as it should. *What is given?* Whatever can be
measured of a run: losses, gradients, weights, activations. *What would count as an answer?* The name of the cause, the
evidence, and what to do.

**Plan.** *Could you look at something simpler?* A parabola, a product of matrices, a model before its first step: there
the right values can be proven. *Could you make the fault yourself?* Break a run on purpose, and see what it does to the
measurements.

**Execute.** Read and smooth what a run writes. Measure each layer by its own activation, gradients on their way down, a
step against the limit of stability. Check a model before it is trained. Then go from the measurements to a name.

**Reflect.** *Can you check the result?* On broken runs that were not used to find the rules, and on healthy ones, in
which nothing may be found.

## The sections

| section | the question it answers |
| --- | --- |
| `fp_dynamics.history` | What does a curve show, and what does smoothing hide? |
| `fp_dynamics.statistics` | Does a unit still work? |
| `fp_dynamics.recorder` | What happens in a step, layer by layer? |
| `fp_dynamics.gradients` | What arrives at the bottom of a deep network? |
| `fp_dynamics.stability` | How long may a step be? |
| `fp_dynamics.sanity` | Is the model right before it is trained? |
| `fp_dynamics.lr_range` | Which learning rate? |
| `fp_dynamics.probes` | What does a live model answer when it is asked? |
| `fp_dynamics.diagnosis` | What is wrong with this run? |
| `fp_dynamics.failures` | … and is the doctor right? |
| `fp_dynamics.report` | What does it look like? |
| `fp_dynamics.cli` | How is it asked from a shell? |
| `fp_dynamics.mistakes` | What goes wrong in measuring? |
| `fp_dynamics.exercises` | Can you do it yourself? |

You need chapters 1 to 4 and 6. The models are `fp_transformer.Transformer`, any other module of the autograd, and
whatever has named arrays, such as the model of `fp_capstone`.

## In modern language models

Runs of months are watched by people and programs around the clock. What they look at is what is here: the loss, the
length of the gradient and its spikes, the sizes of weights and activations by layer, the speed. When a spike does not
heal, the run goes back to a checkpoint and skips the data, or lowers the rate. Many details of today's models (norms on
queries and keys, capped logits, no biases, longer warmup) were answers to something that was seen in such curves.

**Left out**: the scale of gradient noise and the batch size that makes use of it, the spectrum of the Hessian but for
its end, representations and their geometry, sharded runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_dynamics.diagnosis import Finding as Finding
    from fp_dynamics.diagnosis import diagnose as diagnose
    from fp_dynamics.gradients import cotangent_norms as cotangent_norms
    from fp_dynamics.gradients import depth_profile as depth_profile
    from fp_dynamics.gradients import singular_range as singular_range
    from fp_dynamics.history import RunHistory as RunHistory
    from fp_dynamics.history import smooth as smooth
    from fp_dynamics.lr_range import lr_range_test as lr_range_test
    from fp_dynamics.recorder import Recorder as Recorder
    from fp_dynamics.recorder import loss_and_gradients as loss_and_gradients
    from fp_dynamics.recorder import named_arrays as named_arrays
    from fp_dynamics.report import report_html as report_html
    from fp_dynamics.report import write_report as write_report
    from fp_dynamics.sanity import batch_floor as batch_floor
    from fp_dynamics.sanity import check_initialization as check_initialization
    from fp_dynamics.sanity import first_nonfinite as first_nonfinite
    from fp_dynamics.sanity import overfit_one_batch as overfit_one_batch
    from fp_dynamics.stability import sharpness as sharpness
    from fp_dynamics.stability import step_curvature as step_curvature
    from fp_dynamics.statistics import activation_statistics as activation_statistics
    from fp_dynamics.statistics import doubled_share as doubled_share

__all__ = [  # sections, in reading order
    "history",
    "statistics",
    "recorder",
    "gradients",
    "stability",
    "sanity",
    "lr_range",
    "probes",
    "diagnosis",
    "failures",
    "report",
    "cli",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "RunHistory": "history",
    "smooth": "history",
    "activation_statistics": "statistics",
    "doubled_share": "statistics",
    "Recorder": "recorder",
    "named_arrays": "recorder",
    "loss_and_gradients": "recorder",
    "cotangent_norms": "gradients",
    "singular_range": "gradients",
    "depth_profile": "gradients",
    "step_curvature": "stability",
    "sharpness": "stability",
    "check_initialization": "sanity",
    "batch_floor": "sanity",
    "overfit_one_batch": "sanity",
    "first_nonfinite": "sanity",
    "lr_range_test": "lr_range",
    "diagnose": "diagnosis",
    "Finding": "diagnosis",
    "report_html": "report",
    "write_report": "report",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
