r"""
Softmax cross-entropy: what a wrong belief costs, and the first gradient of every backward pass.

The last linear map gives **logits** $z \in \mathbb{R}^V$, a score for each token that may come next. Then the text
reveals the token $y$ that came.

You need: logarithms and cross-entropy (stage 1).

## Derivation

Softmax makes the scores a distribution, $p_i = e^{z_i} / \sum_j e^{z_j}$, and maximum likelihood charges the negative
logarithm of what it gave to $y$:

$$\ell(z, y) = -\log p_y = \log \sum_j e^{z_j} - z_y. \qquad \text{(C1)}$$

**Claim** `capstone.log-sum-exp-shift`. $\log \sum_j e^{z_j} = m + \log \sum_j e^{z_j - m}$ for every $m$. With
$m = \max_j z_j$ no exponential overflows, and the argument of the logarithm lies in $[1, V]$.

**Proof.** $\sum_j e^{z_j} = e^m \sum_j e^{z_j - m}$; take logarithms. With the maximum for $m$, every exponent is at
most $0$, so every term lies in $(0, 1]$, and the term of the maximum is $1$. $\blacksquare$

**Claim** `capstone.cross-entropy-backward`. $\partial \ell / \partial z_i = p_i - [i = y]$, and these entries sum to
zero.

**Proof.** By the chain rule the derivative of $\log \sum_j e^{z_j}$ by $z_i$ is $e^{z_i} / \sum_j e^{z_j} = p_i$, and
that of $z_y$ is $[i = y]$. Their difference sums to $\sum_i p_i - 1 = 0$. $\blacksquare$

Belief minus truth. For the mean over $N$ tokens each row is divided by $N$.

**Claim** `capstone.uniform-loss`. Equal logits cost $\log V$ nats, whatever the token.

**Proof.** Let every $z_j = c$. Then (C1) is $\log (V e^c) - c = \log V + c - c$. $\blacksquare$

A model that does not start near $\log V$ has a bug: the cheapest test of a training run.

## In practice

The logits are the largest array of a training step once $V$ is large, so the gradient is written over them, and the
shift is made only where it is needed: while all logits lie within 32 of zero, a row's sum times the number of tokens,
by which the gradient is divided, is far from the largest float32.
`n_total` is for those who split a batch: the parts' losses and gradients then simply add up to those of the whole.
"""

import numpy as np
from jaxtyping import Float, Int

from fp_capstone.linear import ones

SAFE = 32.0  # logits up to here need no shift: float32 holds e^32 times 10^6 entries times 10^10 tokens

__all__ = ["token_losses", "cross_entropy_with_gradient"]


def token_losses(z: Float[np.ndarray, "N V"], y: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """
    The loss (C1) of every token, in nats.

    Parameters
    ----------
    z
        Logits, shape `N V`.
    y
        The tokens that came, each in `[0, V)`.

    Returns
    -------
    ndarray
        Losses in nats, shape `N`.

    Examples
    --------
    >>> token_losses(np.log([[0.25, 0.75]]), np.array([0])).round(4)
    array([1.3863])
    """
    top = z.max(axis=1)
    total = np.exp(z - top[:, None]).sum(axis=1)
    return np.log(total) + top - z[np.arange(len(y)), y]


def cross_entropy_with_gradient(
    z: Float[np.ndarray, "N V"], y: Int[np.ndarray, " N"], n_total: int | None = None
) -> tuple[float, Float[np.ndarray, "N V"]]:
    """
    Mean loss in nats per token, and its gradient (`capstone.cross-entropy-backward`) in the memory of `z`.

    Parameters
    ----------
    z
        Logits, shape `N V`; overwritten.
    y
        The tokens that came, each in `[0, V)`.
    n_total
        What sums are divided by, if these are `N` of more tokens whose mean is wanted; `N` if not given.

    Returns
    -------
    loss : float
        The sum of (C1) over the tokens, divided by `n_total`.
    dz : ndarray
        The array `z`, which now holds `(p - onehot(y)) / n_total`.

    Examples
    --------
    >>> cross_entropy_with_gradient(np.zeros((1, 2)), np.array([0]))[1]
    array([[-0.5,  0.5]])
    """
    N, V = z.shape
    n_total = N if n_total is None else n_total
    flat, at_y = z.reshape(-1), np.arange(0, N * V, V) + y

    # forward: l = log sum_j exp(z_j) - z_y
    if not (z.max() <= SAFE and z.min() >= -SAFE):
        z -= z.max(axis=1, keepdims=True)
    z_y = flat[at_y]
    np.exp(z, out=z)
    total = np.matmul(z, ones(V, z.dtype))
    loss = float((np.log(total) - z_y).astype(np.float64).sum()) / n_total

    # backward: dl/dz = p - [i = y]
    z *= (1 / (n_total * total))[:, None]
    flat[at_y] -= z.dtype.type(1 / n_total)
    return loss, z
