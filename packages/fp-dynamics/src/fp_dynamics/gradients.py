r"""
Gradients on their way down.

Backpropagation sends one vector through all layers, and each multiplies it by a matrix. What arrives at the first layer
after thirty such products, and what can be read from its length on the way?

You need: `autograd.vjp-chain`, singular values (`neural.svd`), the stream (`transformer.pre-norm-gradient`).

## A product of matrices

Let layer $l$ have the Jacobian $J_l$ at its input, and let $g_L$ be the cotangent of what the last layer gives. Then

$$g_{l-1} = J_l^\top g_l, \qquad \gamma_l = \frac{|g_{l-1}|}{|g_l|}, \qquad
|g_0| = \gamma_1 \gamma_2 \cdots \gamma_L\, |g_L|. \qquad \text{(E1)}$$

$\gamma_l$ is the **gain** of layer $l$ for this cotangent. Let $\tau_l$ and $\sigma_l$ be the smallest and the largest
of all $|J_l^\top v| / |v|$ with $v \ne 0$.

**Claim** `dynamics.gradient-product`. $\tau_l^2$ and $\sigma_l^2$ are the smallest and the largest eigenvalue of
$J_l J_l^\top$: $\sigma_l$ is the largest singular value of $J_l$, and $\tau_l$ the smallest if $J_l$ has as many
singular values as rows, else $0$. For every $g_L$

$$\tau_1 \tau_2 \cdots \tau_L\, |g_L| \le |g_0| \le \sigma_1 \sigma_2 \cdots \sigma_L\, |g_L|. \qquad \text{(E2)}$$

If all $\sigma_l \le b < 1$, then $|g_0| \le b^L |g_L|$, and less than a share $\varepsilon$ of the length is left from
$L > \ln \frac1\varepsilon / \ln \frac1b$ layers on; if all $\tau_l \ge a > 1$, it grows at least as $a^L$. Both sides
of (E2) are reached by some matrices and vectors.

**Proof.** $|J^\top v|^2 = v \cdot J J^\top v$ by `autograd.transpose`. $J J^\top$ is symmetric; write
$v = \sum_i c_i q_i$ with its orthonormal eigenvectors and eigenvalues $\lambda_1 \ge \dots \ge \lambda_m$
(`neural.spectral-theorem`). Then $v \cdot J J^\top v = \sum_i \lambda_i c_i^2$ lies between $\lambda_m |v|^2$ and
$\lambda_1 |v|^2$, and is one of them for $v = q_m$ or $v = q_1$. The positive $\lambda_i$ are the squares of the
singular values (`neural.svd`); if there are fewer than $m$, $\lambda_m = 0$. So $\tau_l \le \gamma_l \le \sigma_l$
wherever $g_l \ne 0$, and if $g_l = 0$ all below it is zero and (E2) needs $\tau_1 \cdots \tau_L\, |g_L| = 0$: it holds,
as then a factor $\tau_k$ with $k > l$ or $|g_L|$ is zero. Multiply (E1). $b^L < \varepsilon$ says
$L \ln b < \ln \varepsilon$. For diagonal $J_l$ with equal order of their entries, unit vectors reach both sides.
$\blacksquare$

(E8) of `fp_neural.recurrent` is this for the same matrix in every layer.

## What is typical

The bounds are wide: a square matrix of independent normal numbers has singular values from nearly zero to twice their
root mean square. So the gain has to be measured, or taken in the mean: by `neural.layer-lengths` its mean square is
$n_{\text{in}}\, s^2$. But a mean over many networks is not what happens in one of them.

**Claim** `dynamics.typical-gradient`. Let the gains be independent, positive, not constant and of one distribution,
with $\mathbb{E} \gamma^2 = 1$ and $\operatorname{Var} \ln \gamma = v < \infty$. Then $\mathbb{E}\, |g_0|^2 = |g_L|^2$
at every depth (for a fixed $|g_L|$), but $\mu = \mathbb{E} \ln \gamma < 0$, and for every $\varepsilon > 0$

$$P \big( |g_0| \ge e^{(\mu + \varepsilon) L}\, |g_L| \big) \le \frac{v}{\varepsilon^2 L}. \qquad \text{(E3)}$$

**Proof.** The mean of a product of independent numbers is the product of their means (`markov.expectation-linear`):
$\mathbb{E} \prod_l \gamma_l^2 = 1$. By `markov.jensen` for $\ln$, which is strictly concave,
$2 \mu = \mathbb{E} \ln \gamma^2 < \ln \mathbb{E} \gamma^2 = 0$. $\ln (|g_0| / |g_L|)$ is the sum of $L$ independent
$\ln \gamma_l$; divided by $L$ it has the mean $\mu$ and the variance $v / L$ (`markov.variance-of-mean`), so that it
is at least $\mu + \varepsilon$ with a probability of at most $v / (\varepsilon^2 L)$ (`markov.chebyshev`).
$\blacksquare$

The mean is held up by a few networks whose gradient explodes. Narrow layers have gains that vary much, so width keeps
the typical near the mean.

>>> rng = np.random.default_rng(0)
>>> def ratio(width, depth=50):  # linear layers with gains of the mean square one
...     layers = [lambda x, W=rng.normal(size=(width, width)) / width**0.5: x @ W for _ in range(depth)]
...     norms = cotangent_norms(layers, np.ones((1, width)), np.ones((1, width)))
...     return norms[0] / norms[-1]
>>> [round(float(np.median([ratio(width) for _ in range(9)])), 2) for width in (4, 16, 64)]
[0.0, 0.21, 0.92]

## A line past the layers

Where layers are added to a stream, $J_l$ is $I + A_l$, and its gains stay near one if the branches are small
(`transformer.pre-norm-bounds`). `depth_profile` measures a transformer's: the cotangent of the stream in front of each
block.

>>> from fp_transformer import Transformer, TransformerConfig
>>> config = TransformerConfig.llama(vocab_size=11, context_length=8, n_layers=6, n_heads=2, d_model=16)
>>> model = Transformer(config, rng=np.random.default_rng(0))
>>> ids = np.random.default_rng(1).integers(0, 11, (4, 9))
>>> norms = depth_profile(model, ids[:, :-1], ids[:, 1:])
>>> (norms / norms[-1]).round(1)
array([41. ,  2.5,  1.6,  1.3,  1.1,  1. ,  1. ])

All the way down it grows by little; only in the first block by much, whose norm divides by the size of the embedding,
$0.02$ (`transformer.norm-gradient-scale`).

## In practice

In a healthy transformer these norms change little from block to block. A ratio of $10^{-3}$ between two neighbours is a
fault; AdamW hides it from the updates, as it divides lengths out, but not the noise that has come in
instead of the signal. Vanishing gradients are S. Hochreiter's (1991); signal propagation in wide random networks is the
subject of B. Poole, S. Schoenholz and others (2016, 2017).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fp_autograd.functional import jacobian, vjp
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import value_of
from fp_neural.losses import cross_entropy
from fp_transformer.model import Transformer

__all__ = ["cotangent_norms", "singular_range", "depth_profile"]  # the order of the page


def cotangent_norms(
    layers: Sequence[Callable[[Any], Any]], x: Float[np.ndarray, "..."], g: Float[np.ndarray, "..."]
) -> Float[np.ndarray, " depths"]:
    r"""
    The lengths $|g_0|, \dots, |g_L|$ of (E1).

    Parameters
    ----------
    layers
        Functions of an array, the first of which gets `x`.
    x
        What goes in.
    g
        The cotangent of what the last layer gives, of its shape.

    Returns
    -------
    ndarray
        One more than there are layers; the quotients of neighbours are the gains.

    Raises
    ------
    ValueError
        If there are no layers, or `g` has another shape.

    Examples
    --------
    >>> cotangent_norms([lambda x: 2 * x, lambda x: 3 * x], np.zeros(1), np.ones(1))
    array([6., 3., 1.])
    """
    if not layers:
        raise ValueError("there are no layers to go through: give at least one function")
    backs = []
    with no_grad():  # parameters are constants here
        for layer in layers:
            x, back = vjp(layer, x)
            backs.append(back)
        if g.shape != x.shape:
            raise ValueError(f"the last layer gives an array of shape {x.shape}, and g has shape {g.shape}")
        norms = [float(np.linalg.norm(g))]
        for back in reversed(backs):
            (g,) = back(g)
            norms.append(float(np.linalg.norm(g)))
    return np.array(norms[::-1])


def singular_range(f: Callable[[Any], Any], x: Float[np.ndarray, "..."]) -> tuple[float, float]:
    r"""
    The smallest and the largest gain that a layer can have, $\tau$ and $\sigma$ of (E2).

    Parameters
    ----------
    f
        From an array to an array.
    x
        Where.

    Returns
    -------
    smallest, largest : float
        Of all $|J^\top v| / |v|$.

    Examples
    --------
    >>> singular_range(lambda x: x * np.array([3.0, 0.5]), np.ones(2))
    (0.5, 3.0)
    """
    with no_grad():
        J = np.asarray(jacobian(f)(x))
    J = J.reshape(-1, x.size)
    values = np.linalg.svd(J, compute_uv=False)
    return float(values[-1]) if J.shape[0] <= J.shape[1] else 0.0, float(values[0])


def depth_profile(
    model: Transformer, ids: Integer[np.ndarray, "B T"], targets: Integer[np.ndarray, "B T"]
) -> Float[np.ndarray, " depths"]:
    """
    The lengths of the loss's gradient in the stream, in front of each block and behind the last.

    Parameters
    ----------
    model
        A transformer.
    ids, targets
        Tokens, and those that came next.

    Returns
    -------
    ndarray
        Of length L + 1, from below upwards. Without dropout.

    Raises
    ------
    ValueError, TypeError
        As the model's loss.
    """
    training = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with no_grad():
            x = value_of(next(model.stream(ids)))
        layers: list[Callable[[Any], Any]] = [*model.blocks, lambda x: cross_entropy(model.read(x), targets)]
        return cotangent_norms(layers, x, np.ones((), x.dtype))[:-1]
    finally:
        for m, mode in training:
            m.training = mode
