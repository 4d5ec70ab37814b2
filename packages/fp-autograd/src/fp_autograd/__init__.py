r"""
Stage 2 of 10: automatic differentiation.

**This chapter is not written yet.** The package installs and imports, and holds this page and nothing else.
What follows is the plan of it.

## The question

A model is a function of millions of numbers, and to improve it we need the slope of its loss in each of them. Nudging
one number at a time would cost one evaluation of the model for every number. How can all the slopes together cost no
more than a few evaluations, and come out exact instead of approximate?

## The sections

| section | what it will hold |
| --- | --- |
| `value` | A small scalar engine: operators build a graph, and one sweep back over it gives every derivative |
| `dual` | Forward mode: numbers $a + b\varepsilon$ with $\varepsilon^2 = 0$ carry a derivative along with a value |
| `tensor` | The same engine on NumPy arrays, with broadcasting, and with memory freed as the sweep goes back |
| `rules` | Every operation's derivative in one table, forward beside backward |
| `functional` | `grad`, `vjp`, `jvp`, `jacobian`, `hessian` and `hvp` as functions of functions |
| `gradcheck` | Finite differences as a judge, and what floating point lets them see |
| `draw` | The graph as a picture, with values, gradients and local derivatives on it |

## What it will prove

- The rules of differentiation from the limit, among them the chain rule in the case where the inner increment is zero,
  which short proofs divide by.
- In a graph, the derivative of an output with respect to an input is the sum over all paths between them of the product
  of the local derivatives; visiting nodes in reverse topological order adds up that sum without listing its paths.
- A Jacobian $J$ meets us twice: forward mode computes $Jv$, reverse mode computes $J^\top g$, and
  $g^\top (J v) = (J^\top g)^\top v$ ties one to the other. This identity is how each rule of the table is tested.
- The gradient of a function of $n$ inputs costs a constant times one evaluation, whatever $n$ is; the constant, and the
  operations that break it when they are written carelessly.
- The derivative of each operation: products of matrices, sums over axes that were broadcast, gathered rows,
  maxima with ties, powers in both arguments, the softmax family.
- The error of one-sided and of central differences, hence the best step size at a given precision, and why a gradient
  check in single precision says so little.

## What it will need and add

From stage 1: exponentials, logarithms, slopes and partial derivatives. It will add vectors, matrices, Taylor's theorem
and the error of floating-point arithmetic.
"""

__all__: list[str] = []
__version__ = "0.1.0"
