r"""
Stage 2 of 10: automatic differentiation.

A model is a function of millions of numbers, and to improve it one needs the slope of its loss in each of them. Nudging
one number at a time costs an evaluation of the model for every number, and gives slopes that are off in the eighth
digit at best. This chapter computes all of them exactly, in the time of a few evaluations, for any program made of
operations whose own slopes are known. It is the engine under every later stage but the capstone, which works by hand
what is automatic here.

>>> import numpy as np
>>> from fp_autograd import Tensor, grad
>>> w = Tensor(np.array([1.0, 2.0, 3.0]), requires_grad=True)
>>> loss = ((w * np.array([1.0, 0.0, -1.0])).sum() ** 2).log()
>>> loss.backward()
>>> w.grad
array([-1., -0.,  1.])
>>> grad(grad(lambda x: x**3))(np.array(2.0))
array(12.)

## The chapter as a problem

**Understand.** *What is unknown?* The slope of one number, the loss, in each of $n$ numbers. *What is given?* A program
that computes the loss, operation by operation. *What would count as an answer?* All $n$ slopes, to the last digit that
the loss itself has, at a cost that does not grow with $n$. Is it possible at all that a million slopes cost no more
than a few losses? They share almost all of their work, if it is done in the right order.

**Plan.** *Do you know a related problem?* The slope of one operation, from school. *Can you put together the answers?*
The chain rule does. *Which way round?* Products of matrices may be multiplied from either end; from the end of the
loss, which is a single number, all intermediate results are vectors. So record what the program does, and go back.

**Execute.** Work out each operation's derivative as a linear map and as its transpose. Write both into one table. Run
the program, keep a record, go back over it once, every tensor after all its users. Then check each line against
differences, each direction against the other, and the whole against other people's engines.

**Reflect.** *Can you check the result?* $g \cdot (Jt) = (J^\top g) \cdot t$ ties the two directions together, and both
to the program itself through differences. *Can you use the result?* The gradient is a program too: differentiate it
again. *What did it cost?* Memory: going back needs what was computed on the way.

## The sections

| section | the question it answers |
| --- | --- |
| `fp_autograd.calculus` | What is a slope, and which slopes do you need to know? |
| `fp_autograd.linear_algebra` | What is the derivative of a function of many numbers, and its transpose? |
| `fp_autograd.dual` | How does a program carry its slopes along? |
| `fp_autograd.value` | How does it send them back instead, all at once? |
| `fp_autograd.mlp` | Can that train a network? |
| `fp_autograd.graph` | In which order, and at what cost? |
| `fp_autograd.tracing` | How does an operation know that it is being watched? |
| `fp_autograd.rules` | What is the derivative of each operation on arrays? |
| `fp_autograd.tensor` | How are arrays differentiated fast, and with little memory? |
| `fp_autograd.functional` | What about Jacobians, Hessians, and derivatives of derivatives? |
| `fp_autograd.floating_point` | What do rounding errors do to a slope? |
| `fp_autograd.checking` | Is this derivative right? |
| `fp_autograd.extend` | How does one add an operation? |
| `fp_autograd.debugging` | Where did the first infinity come from? |
| `fp_autograd.drawing` | What does a computation look like? |
| `fp_autograd.trace` | What happened, step by step? |
| `fp_autograd.mistakes` | What goes wrong without an error? |
| `fp_autograd.exercises` | Can you do it yourself? |

You need chapter 1 for logarithms, slopes, areas and partial derivatives. This chapter adds vectors, matrices, Taylor's
theorem and the error of floating-point arithmetic.

## In modern language models

Every large model is trained by this sweep, with the operations as kernels on a graphics processor and the record in
C++. What is added there: parts of the record are thrown away and computed again to save memory; numbers have 16 bits or
fewer, so that the scale of cotangents has to be watched; several devices hold parts of one tensor, and a rule's
transpose is then a message from one to another. Forward mode is rare in training, and common where Jacobians are
multiplied: in measuring curvature, and in simulation.

**Left out**: compilation of traced programs, vectorising over examples (`vmap`), complex numbers, sparse arrays,
implicit differentiation, and devices other than the processor.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fp_autograd.checking import GradientMismatch as GradientMismatch
    from fp_autograd.checking import gradcheck as gradcheck
    from fp_autograd.debugging import anomaly as anomaly
    from fp_autograd.debugging import shape_trace as shape_trace
    from fp_autograd.dual import Dual as Dual
    from fp_autograd.extend import operation as operation
    from fp_autograd.functional import grad as grad
    from fp_autograd.functional import hessian as hessian
    from fp_autograd.functional import hvp as hvp
    from fp_autograd.functional import jacobian as jacobian
    from fp_autograd.functional import jvp as jvp
    from fp_autograd.functional import value_and_grad as value_and_grad
    from fp_autograd.functional import vjp as vjp
    from fp_autograd.mlp import MLP as MLP
    from fp_autograd.mlp import Layer as Layer
    from fp_autograd.mlp import Neuron as Neuron
    from fp_autograd.tensor import Tensor as Tensor
    from fp_autograd.tensor import no_grad as no_grad
    from fp_autograd.value import Value as Value

__all__ = [  # sections, in reading order
    "calculus",
    "linear_algebra",
    "dual",
    "value",
    "mlp",
    "graph",
    "tracing",
    "rules",
    "tensor",
    "functional",
    "floating_point",
    "checking",
    "extend",
    "debugging",
    "drawing",
    "trace",
    "mistakes",
    "exercises",
]
__version__ = "0.2.0"

_SECTION_OF = {
    "Value": "value",
    "Neuron": "mlp",
    "Layer": "mlp",
    "MLP": "mlp",
    "Dual": "dual",
    "Tensor": "tensor",
    "no_grad": "tensor",
    "grad": "functional",
    "value_and_grad": "functional",
    "vjp": "functional",
    "jvp": "functional",
    "hvp": "functional",
    "jacobian": "functional",
    "hessian": "functional",
    "gradcheck": "checking",
    "GradientMismatch": "checking",
    "operation": "extend",
    "anomaly": "debugging",
    "shape_trace": "debugging",
}


def __getattr__(name: str) -> object:
    if name in _SECTION_OF:
        return getattr(import_module(f"{__name__}.{_SECTION_OF[name]}"), name)
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SECTION_OF})
