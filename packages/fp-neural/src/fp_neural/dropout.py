r"""
Dropout: train with parts missing.

A network with more parameters than data can lean on accidents: one unit that is active only where another has a
certain value. Make units fail at random in training, and no unit can rely on another's being there. What has to be
changed so that the outputs stay right on average, what noise is added, and what does the noise do to the loss?

You need: `fp_markov.probability` for means and variances, `fp_neural.layers`.

## Kept or dropped

Each number of $x$ is dropped with the probability $p$, independently of all others, and what is kept is enlarged:

$$y_i = \frac{m_i}{1 - p}\, x_i, \qquad P(m_i = 1) = 1 - p, \qquad P(m_i = 0) = p, \qquad 0 \le p < 1.
\qquad \text{(E1)}$$

**Claim** `neural.dropout-mean`. For a fixed $x$, $\mathbb{E}\, y_i = x_i$ and
$\operatorname{Var} y_i = \frac{p}{1 - p}\, x_i^2$. For every weight vector $w$,

$$
\mathbb{E}\, w \cdot y = w \cdot x, \qquad
\operatorname{Var} (w \cdot y) = \frac{p}{1 - p} \sum_i w_i^2 x_i^2. \qquad \text{(E2)}
$$

**Proof.** $\mathbb{E}\, m_i = 1 - p$ gives the first mean. $m_i^2 = m_i$, so $\mathbb{E}\, y_i^2 = \frac{1 -
p}{(1 - p)^2}\, x_i^2 = \frac{x_i^2}{1 - p}$, and the variance is that minus $x_i^2$, as $\frac{1}{1 - p} - 1 =
\frac{p}{1 - p}$. Means add (`markov.expectation-linear`). Let $z_i = w_i (y_i - x_i)$: independent, with mean $0$ and
variance $w_i^2\, \frac{p}{1 - p}\, x_i^2$. In $\mathbb{E} (\sum_i z_i)^2$ the products $z_i z_j$ with $i \ne j$ have
the mean $0$ by the same claim, and the squares remain. $\blacksquare$

So a linear layer after dropout is right on average, and in use, where nothing is dropped, needs no change. The original
dropout multiplied by $m_i$ alone, and the outputs by $1 - p$ in use; to put the factor into training instead, as here,
is called **inverted** dropout.

>>> drop = Dropout(0.25, rng=np.random.default_rng(0))
>>> x = np.ones(8, np.float32)
>>> drop(x)
array([1.3333334, 1.3333334, 1.3333334, 1.3333334, 1.3333334, 0.       ,
       0.       , 0.       ], dtype=float32)
>>> bool((drop.eval()(x) == x).all())
True

After a bend it is right only nearly: $\mathbb{E} f(w \cdot y)$ is not $f(w \cdot x)$, unless $f$ is linear. For convex
$f$ it is no smaller (`markov.jensen`).

## What the noise does to a loss

**Claim** `neural.dropout-ridge`. The mean over dropout of a squared error is

$$\mathbb{E}\, (w \cdot y - b)^2 = (w \cdot x - b)^2 + \frac{p}{1 - p} \sum_i w_i^2 x_i^2. \qquad \text{(E3)}$$

**Proof.** With $S = w \cdot y$, $\mathbb{E} (S - b)^2 = \operatorname{Var} S + (\mathbb{E} S - b)^2$: write
$S - b = (S - \mathbb{E} S) + (\mathbb{E} S - b)$ and square; the product of the two has mean zero, since
$\mathbb{E} (S - \mathbb{E} S) = 0$ and the second is constant. Then (E2). $\blacksquare$

To train with dropout is, for this loss, to train without it and to pay for large weights, the more the larger the
inputs they meet. The pressure towards weights that are small and spread out is what remains of the picture of units
that cannot rely on each other. Over a data set the price of $w_i^2$ is $\frac{p}{1 - p}$ times the mean square of its
input: ridge regression, with a price for each weight that fits its input's scale.

## Its derivative

For a given $m$, (E1) multiplies by a constant, so the cotangent of $x_i$ is $\frac{m_i}{1 - p}\, g_i$
(`autograd.elementwise-rule`): backward drops what forward dropped. A new draw for the way back would be a gradient of
nothing.

## In practice

N. Srivastava and others, 2014. Rates are $0.1$ to $0.5$ where data are few, and $0$ in the pretraining of most large
language models, which see each text about once and have nothing to memorise twice. Recurrent networks drop between
layers, not along time, or keep one mask for all steps. The generator is a part of the state of a training run: one that
is to resume exactly has to save it. A draw in float32 is a multiple of $2^{-24}$, so that the rate is met to within
that.
"""

from typing import Any

import numpy as np

from fp_autograd.tracing import Operand, value_of
from fp_neural.module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """
    Drop numbers at random in training (E1), none in use.

    Parameters
    ----------
    p
        With which probability a number is dropped, in [0, 1).
    rng
        Draws which.

    Raises
    ------
    ValueError
        If `p` is outside of its range.
    """

    def __init__(self, p: float | int, *, rng: np.random.Generator) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(
                f"p is the probability of dropping a number and lies in [0, 1), got {p}; what is to be kept with "
                "probability q has p = 1 - q"
            )
        self.p = p
        self.rng = rng

    def forward(self, x: Operand) -> Any:
        """
        Drop, or not.

        Parameters
        ----------
        x
            Any shape.

        Returns
        -------
        ndarray or Box
            Of the shape of `x`; `x` itself in use or for a rate of zero.
        """
        if not self.training or self.p == 0:
            return x
        dtype = np.result_type(value_of(x), np.float16)
        # float32 draws cost half, and keep the stream of numbers the same in both precisions
        scale = (self.rng.random(np.shape(x), np.float32) >= self.p).astype(dtype)
        scale *= 1 / (1 - self.p)
        return x * scale
