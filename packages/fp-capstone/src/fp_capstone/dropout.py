r"""
Dropout: training many thinned networks at once.

A network that is large for its text learns the text by heart. Dropout makes that hard: while training it erases each
activation with probability $p$, so no unit can rely on the presence of another. At evaluation nothing is erased.

You need: expectation (stage 1).

## Derivation

Draw an independent $m_i$ for each entry, $0$ with probability $p$ and $1 / (1 - p)$ otherwise, with $0 \le p < 1$, and
let

$$y_i = m_i x_i. \qquad \text{(D1)}$$

**Claim** `capstone.dropout-mean`. $\mathbb{E}[y_i] = x_i$, so evaluation needs no rescaling; and
$\operatorname{Var}[y_i] = x_i^2\, p / (1 - p)$.

**Proof.** $\mathbb{E}[m_i] = p \cdot 0 + (1 - p) \cdot \frac{1}{1 - p} = 1$, and
$\mathbb{E}[m_i^2] = (1 - p) \cdot \frac{1}{(1 - p)^2} = \frac{1}{1 - p}$. Hence $\mathbb{E}[y_i] = x_i$ and
$\operatorname{Var}[y_i] = x_i^2 \big( \frac{1}{1 - p} - 1 \big) = x_i^2 \frac{p}{1 - p}$. $\blacksquare$

**The gradient.** For a given draw, $y_i = m_i x_i$ is linear with slope $m_i$:
$\partial \ell / \partial x_i = m_i\, g_i$, with the *same* mask. Drawing a new one in the backward pass is a mistake
that trains, slowly, and never says why.

## In practice

This is *inverted* dropout, which every library uses; the first paper (Srivastava and others 2014) rescaled at
evaluation instead. Large models that see each token once hardly use dropout; small models on small texts, like the ones
of this book, do.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["dropout_mask"]


def dropout_mask(
    shape: tuple[int, ...], p: float, rng: np.random.Generator, dtype: np.dtype
) -> Float[np.ndarray, "..."]:
    """
    Draw the factors $m$ of (D1). Forward multiplies by them, and backward multiplies by the same ones.

    Parameters
    ----------
    shape
        Shape of the activations.
    p
        Probability of erasing an entry, in `[0, 1)`.
    rng
        Source of randomness.
    dtype
        Data type of the result.

    Returns
    -------
    ndarray
        Zeros with probability `p`, else `1 / (1 - p)`.

    Examples
    --------
    >>> m = dropout_mask((1000,), 0.5, np.random.default_rng(0), np.dtype("float32"))
    >>> sorted(set(m.tolist()))
    [0.0, 2.0]
    """
    keep = rng.random(shape, dtype=np.float32) >= p
    return keep.astype(dtype) * dtype.type(1 / (1 - p))
