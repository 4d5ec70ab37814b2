r"""
Layers: a matrix and a bend, stacked.

A layer of neurons takes every weighted sum of its inputs that it likes. What do two of them make that one does not, and
how is a layer computed and differentiated without a step too many?

You need: `fp_autograd.linear_algebra`, `fp_autograd.rules`, `fp_neural.spectra` for the rank, `fp_neural.module`,
`fp_neural.activations`.

## A linear layer

Let each of $B$ inputs be a row of $X \in \mathbb{R}^{B \times n}$. A **linear layer** with weights
$W \in \mathbb{R}^{m \times n}$, a row for each of its $m$ units, and biases $b \in \mathbb{R}^m$ computes

$$Y = X W^\top + 1 b^\top, \qquad y = W x + b \ \text{ for each row}, \qquad \text{(E1)}$$

where $1$ is a column of $B$ ones: every row gets the same $b$. A map $x \mapsto W x + b$ is called **affine**. Inputs
with more axes, such as text by position by channel, are rows all the same; only the last axis is summed over.

**Claim** `neural.linear-gradient`. With the cotangent $G$ of $Y$, the cotangents in (E1) are

$$\bar X = G\, W, \qquad \bar W = G^\top X, \qquad \bar b = G^\top 1, \text{ the sum of the rows of } G.
\qquad \text{(E2)}$$

**Proof.** By `autograd.matmul-rule` with $W^\top$ as the second factor, the cotangent of $X$ is $G\, (W^\top)^\top = G
W$, and that of $W^\top$ is $X^\top G$; transposing is its own transpose as a map of matrices, so $\bar W = (X^\top
G)^\top = G^\top X$. As $1 b^\top$ is $b$ repeated for each row, `autograd.broadcast-rule` gives the sum over rows.
$\blacksquare$

Each of the three products takes $B\, n\, m$ multiplications: a step backward costs two steps forward. Composed of the
table's operations, (E1) keeps the product and the sum, two arrays of $B \times m$ numbers; `linear` adds the bias in
place and keeps one.

## Linear layers collapse

**Claim** `neural.linear-collapse`. Linear layers one after the other are one linear layer: for
$y = W_k (\cdots W_2 (W_1 x + b_1) + b_2 \cdots) + b_k$,

$$y = W x + b, \qquad W = W_k \cdots W_2 W_1, \qquad
b = b_k + \sum_{i=1}^{k-1} W_k \cdots W_{i+1}\, b_i. \qquad \text{(E3)}$$

**Proof.** By induction. For $k = 1$ there is nothing to prove. If the first $k - 1$ layers are $x \mapsto W' x + b'$ of
that form, the next makes $W_k (W' x + b') + b_k = (W_k W')\, x + (W_k b' + b_k)$ (`autograd.matrix-product`), and
$W_k b'$ multiplies each term of $b'$ by $W_k$. $\blacksquare$

So a stack has more parameters than one layer and computes nothing new. It may compute less.

**Claim** `neural.narrow-layer`. If one of the layers in (E3) has $m$ units, the rank of $W$ is at most $m$. If
moreover $m$ is less than the number $n$ of inputs, some $v \ne 0$ makes no difference: $W v = 0$, so all $x + s v$ have
the same $y$.

**Proof.** Write $W = Q P$, where $P$ is the product of the matrices up to that layer, with $m$ rows, and $Q$ that of
those after it, or $I$. Let the orthonormal $p_1, \dots, p_r$ span the columns of $W$, so that $r$ is the rank. Each is
a combination of columns, $p_j = W u_j = Q P u_j$. Suppose $r > m$. That $\sum_j c_j P u_j = 0$ asks for $m$ equations
in $r$ unknowns, which have a solution $c \ne 0$ (below `autograd.vjp-chain`). Then $\sum_j c_j p_j = Q \sum_j c_j P u_j
= 0$, against `neural.pythagoras`. Last, $P v = 0$ asks for $m$ equations in $n$ unknowns, and for $n > m$ it has a
solution $v \ne 0$; then $W v = Q P v = 0$. $\blacksquare$

A narrow middle is used on purpose where few parameters should describe a large matrix. A bend between the layers
undoes the collapse: no affine map computes exclusive-or, and two layers with a rectifier between them do
(`autograd.xor`).

>>> from fp_neural.activations import ReLU
>>> rng = np.random.default_rng(0)
>>> stack = Sequential(Linear(6, 2, rng=rng), Linear(2, 5, rng=rng))
>>> bent = Sequential(stack[0], ReLU(), stack[1])
>>> def affine(f):  # is the value in the middle of two points the mean of their values?
...     x, y = np.eye(6, dtype=np.float32)[:2]
...     return bool(np.allclose(2 * f((x + y) / 2).data, (f(x) + f(y)).data, atol=1e-6))
>>> affine(stack), affine(bent)
(True, False)

## The first weights

They are drawn from the normal distribution with the deviation $1 / \sqrt n$, and biases begin at zero: then outputs
have the mean square of the inputs (`autograd.neuron-variance`). What the bends after it change about this, and `gain`
undoes, is the subject of `fp_neural.initialization`.

## In practice

PyTorch's `Linear` has the same shapes and names; its weights and biases are drawn evenly between $-1 / \sqrt n$ and
$1 / \sqrt n$, which is a third of this variance. Most recent large models have no biases here. Almost all of a
transformer's arithmetic is (E1) and (E2); `fp_capstone` counts it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fp_autograd.extend import operation
from fp_autograd.rules import matmul
from fp_autograd.tracing import Operand
from fp_neural.module import Module, Parameter

__all__ = ["linear", "reference_linear", "Linear", "Sequential"]  # the order of the page


def _rows(x: Any) -> Any:
    """All axes but the last as one."""
    return x if len(x.shape) == 2 else x.reshape((-1, x.shape[-1]))


def _product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    y = _rows(x) @ w.T
    return y if x.ndim == 2 else y.reshape((*x.shape[:-1], w.shape[0]))


def _affine(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    y = _product(x, w)
    if np.result_type(y, b) != y.dtype:
        return y + b
    y += b
    return y


def reference_linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Any:
    """`linear` composed of operations of the table (E1)."""
    y = matmul(x, weight.T)
    return y if bias is None else y + bias


def _dx(g: Any, out: Any, x: Any, w: Any, *b: Any) -> Any:
    return (_rows(g) @ w).reshape(x.shape)


def _dw(g: Any, out: Any, x: Any, w: Any, *b: Any) -> Any:
    return _rows(g).T @ _rows(x)


def _db(g: Any, out: Any, x: Any, w: Any, b: Any) -> Any:
    return _rows(g).sum(axis=0)


_linear = operation("neural.linear", _affine, (_dx, _dw, _db), reference=reference_linear, fresh=True)
_linear_unbiased = operation("neural.linear_unbiased", _product, (_dx, _dw), reference=reference_linear, fresh=True)


def linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Any:
    """
    The affine map (E1) of the last axis, in one operation with the derivatives (E2).

    Parameters
    ----------
    x
        Of shape `(..., n)`, with at least one axis.
    weight
        Of shape `(m, n)`.
    bias
        Of shape `(m,)`; none is as zeros.

    Returns
    -------
    ndarray or Box
        Of shape `(..., m)`.

    Raises
    ------
    ValueError
        If the last axis of `x` is not as long as the rows of the weights, or the bias not as their columns.

    Examples
    --------
    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0], [0.0, 1.0]]), np.array([0.0, 0.0, 10.0]))
    array([[11., 17., 12.]])
    """
    if np.ndim(x) == 0 or np.shape(weight)[1:] != np.shape(x)[-1:]:
        raise ValueError(
            f"a linear layer with weights of shape {np.shape(weight)} takes inputs whose last axis has the length "
            f"{np.shape(weight)[-1]}, got the shape {np.shape(x)}"
        )
    if bias is None:
        return _linear_unbiased(x, weight)
    if np.shape(bias) != np.shape(weight)[:1]:
        raise ValueError(f"weights of shape {np.shape(weight)} go with one bias a row, got the shape {np.shape(bias)}")
    return _linear(x, weight, bias)


class Linear(Module):
    """
    A linear layer (E1) over the last axis.

    Parameters
    ----------
    n_in, n_out
        How many numbers come in and go out.
    rng
        Draws the weights; None leaves them at zero, for weights that will be loaded.
    bias
        Whether there are biases; they begin at zero.
    gain
        The weights have the deviation `gain / sqrt(n_in)`.
    dtype
        Of the parameters.

    Attributes
    ----------
    weight : Parameter
        Of shape `(n_out, n_in)`.
    bias : Parameter or None
        Of shape `(n_out,)`.

    Raises
    ------
    ValueError
        If a size is not positive; when called, if the last axis of the input is not `n_in` long.

    Examples
    --------
    >>> layer = Linear(3, 5, rng=np.random.default_rng(0))
    >>> layer(np.ones((2, 7, 3), np.float32)).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        rng: np.random.Generator | None,
        bias: bool = True,
        gain: float | int = 1.0,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        if n_in < 1 or n_out < 1:
            raise ValueError(f"a linear layer has at least one input and one output, got {n_in} and {n_out}")
        if rng is None:
            self.weight = Parameter(np.zeros((n_out, n_in), dtype))
        else:
            self.weight = Parameter((rng.normal(size=(n_out, n_in)) * (gain / n_in**0.5)).astype(dtype))
        self.bias = Parameter(np.zeros(n_out, dtype)) if bias else None

    def forward(self, x: Operand) -> Any:
        """Of shape `(..., n_out)` for an input of shape `(..., n_in)`."""
        return linear(x, self.weight, self.bias)


class Sequential(Module):
    """
    Modules one after the other.

    Parameters
    ----------
    *modules
        Each is called with what the one before returned.

    Attributes
    ----------
    layers : list of Module
        The modules.

    Raises
    ------
    TypeError
        If one is not a module.
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(
                    f"Sequential is made of modules, but number {i} is of type {type(module).__name__}: write "
                    "Sequential(a, b, c), not a list, and a function as a Module with a forward"
                )
        self.layers = list(modules)

    def forward(self, x: Any) -> Any:
        """What the last module returns."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, i: int) -> Module:
        return self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)
