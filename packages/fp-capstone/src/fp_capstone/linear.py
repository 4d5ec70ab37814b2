r"""
The linear map: where nearly all of a transformer's arithmetic is.

Every other operation of the model rearranges, rescales or bends numbers; the linear map mixes them. A row
$x \in \mathbb{R}^I$ goes in, a row $y \in \mathbb{R}^O$ comes out, and the matrix $W \in \mathbb{R}^{I \times O}$ holds
what was learned.

You need: matrix products, and the chain rule: if $\ell$ depends on $\theta$ only through some quantities
$Y_1, Y_2, \dots$, then
$\partial \ell / \partial \theta = \sum_k (\partial \ell / \partial Y_k) (\partial Y_k / \partial \theta)$. Each $Y_k$
passes its share of the change on, and small changes add. (Stage 2 will prove it.)

## Derivation

For $N$ rows at once, stacked in $X \in \mathbb{R}^{N \times I}$, with one bias $b \in \mathbb{R}^O$ for all of them,

$$Y = X W + b, \qquad Y_{no} = \sum_i X_{ni} W_{io} + b_o. \qquad \text{(L1)}$$

A loss $\ell$ depends on $X$, $W$ and $b$ only through $Y$. Write $G_{no} = \partial \ell / \partial Y_{no}$ for the
gradient that arrives from above (the **cotangent**), and $[\dots]$ for a bracket that is $1$ if what it holds is true
and $0$ if not.

**Claim** `capstone.linear-backward`. If $Y = XW + b$ and $G = \partial \ell / \partial Y$, then

$$
\frac{\partial \ell}{\partial X} = G W^\top, \qquad
\frac{\partial \ell}{\partial W} = X^\top G, \qquad
\frac{\partial \ell}{\partial b_o} = \sum_n G_{no}. \qquad \text{(L2)}
$$

**Proof.** By the chain rule over all entries of $Y$, for any scalar $\theta$ that $Y$ depends on,

$$
\frac{\partial \ell}{\partial \theta} = \sum_{n, o} G_{no} \frac{\partial Y_{no}}{\partial \theta}. \qquad \text{(L3)}
$$

1. Take $\theta = X_{mj}$. By (L1), $\partial Y_{no} / \partial X_{mj} = [n = m]\, W_{jo}$, so only the
   terms with $n = m$ stay:
   $\partial \ell / \partial X_{mj} = \sum_o G_{mo} W_{jo} = (G W^\top)_{mj}$.
2. Take $\theta = W_{jp}$. Then $\partial Y_{no} / \partial W_{jp} = X_{nj} [o = p]$, so only the terms with $o = p$
   stay: $\partial \ell / \partial W_{jp} = \sum_n X_{nj} G_{np} = (X^\top G)_{jp}$.
3. Take $\theta = b_p$. Then $\partial Y_{no} / \partial b_p = [o = p]$, which leaves $\sum_n G_{np}$. $\blacksquare$

The shapes alone nearly give the answer: $G W^\top$ is the only product of $G$ and $W$ with the shape of $X$.

**Cost.** The forward pass takes $2NIO$ floating-point operations, a multiplication and an addition for each triple
$(n, i, o)$; the backward pass takes two products of the same size, $4NIO$. So a training step takes six
operations per token (a row) and per parameter of $W$: two forward, four backward.

## In practice

Two conventions are in use. PyTorch's `Linear`, and so the Llama family's files, keep $W^\top$, of shape (out, in);
GPT-2's files keep $W$, of shape (in, out). The model stores what the files store and hands a transposed *view* to the
functions below: BLAS reads either order at full speed, so nothing is copied.

All arrays that are made come from `memory` (`fp_capstone.memory`), in this function and in those of the next sections:
new ones if nothing else is said, and those of the step before in training.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from fp_capstone.memory import HEAP, Memory

__all__ = ["linear", "linear_backward", "column_sums", "ones"]


def linear(
    x: Float[np.ndarray, "N I"],
    W: Float[np.ndarray, "I O"],
    b: Float[np.ndarray, " O"] | None = None,
    memory: Memory = HEAP,
) -> Float[np.ndarray, "N O"]:
    """
    Apply the linear map (L1) to every row.

    Parameters
    ----------
    x
        Rows, shape `N I`.
    W
        Weights, shape `I O`; a transposed view will do.
    b
        Bias, shape `O`, or None.
    memory
        Where the result lies.

    Returns
    -------
    ndarray
        `x @ W + b`, shape `N O`.

    Examples
    --------
    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]), np.array([5.0]))
    array([[16.]])
    """
    y = np.matmul(x, W, out=memory.empty((x.shape[0], W.shape[1]), x.dtype))
    if b is not None:
        y += b
    return y


def linear_backward(
    g: Float[np.ndarray, "N O"],
    x: Float[np.ndarray, "N I"],
    W: Float[np.ndarray, "I O"],
    dW: Float[np.ndarray, "I O"],
    db: Float[np.ndarray, " O"] | None = None,
    memory: Memory = HEAP,
) -> Float[np.ndarray, "N I"]:
    """
    Gradients (L2) of the linear map.

    Parameters
    ----------
    g
        Gradient of the loss with respect to the output, shape `N O`.
    x, W
        What the forward pass was given.
    dW, db
        Overwritten with the gradients of the weights and of the bias.
    memory
        Where the result lies.

    Returns
    -------
    ndarray
        Gradient with respect to `x`, shape `N I`.
    """
    np.matmul(x.T, g, out=dW)  # forward: Y = X W, so dW = X^T G
    if db is not None:
        column_sums(g, out=db)  # forward: + b on every row
    return np.matmul(g, W.T, out=memory.empty(x.shape, x.dtype))  # forward: Y = X W, so dX = G W^T


def column_sums(g: Float[np.ndarray, "N O"], out: Float[np.ndarray, " O"]) -> None:
    """
    The sum over all rows, as the product with a row of ones: BLAS adds several times faster than `numpy.sum`.

    Examples
    --------
    >>> column_sums(np.array([[1.0, 2.0], [3.0, 4.0]]), out=(total := np.empty(2)))
    >>> total
    array([4., 6.])
    """
    np.matmul(ones(len(g), g.dtype), g, out=out)


@lru_cache(maxsize=64)
def ones(n: int, dtype: np.dtype) -> Float[np.ndarray, " n"]:
    """A vector of ones, made once for each length and type; only to be read."""
    return np.ones(n, dtype)
