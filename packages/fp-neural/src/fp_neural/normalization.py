r"""
Batch normalization: numbers measured against the rest of their batch.

Initialization sets the sizes inside a network right before the first step. Every step after it moves them. S. Ioffe's
and C. Szegedy's remedy sets them right at each step: subtract from each number the mean, over the batch, of the numbers
in its place, and divide by their standard deviation. Then every example's output depends on its whole batch. What does
that do to the gradient, and what becomes of a single example when the training is over?

You need: `fp_neural.module`, `fp_neural.initialization`; `fp_autograd.extend` for fused operations.

## Forward

Let $x \in \mathbb{R}^{N \times C}$: $N$ examples (or $N = BT$ positions of $B$ texts) of $C$ **features**. Everything
below happens in each feature, each column, by itself; for one column,

$$
\mu = \frac1N \sum_n x_n, \qquad v = \frac1N \sum_n (x_n - \mu)^2, \qquad r = \frac{1}{\sqrt{v + \varepsilon}}, \qquad
\hat x_n = r\, (x_n - \mu), \qquad y_n = \gamma \hat x_n + \beta. \qquad \text{(E1)}
$$

$\varepsilon > 0$ keeps the root away from zero. $\gamma$ and $\beta$, one of each a feature, are trained: they can give
the feature any mean and size, but now by two numbers of its own, and not by all of the weights before it.

**Claim** `neural.batchnorm-standard`. $\sum_n \hat x_n = 0$ and
$\frac1N \sum_n \hat x_n^2 = \frac{v}{v + \varepsilon} < 1$. So $y$ has the mean $\beta$ and the variance
$\gamma^2 \frac{v}{v + \varepsilon}$ over the batch.

**Proof.** $\sum_n (x_n - \mu) = N \mu - N \mu = 0$, and $\frac1N \sum_n r^2 (x_n - \mu)^2 = r^2 v$. Then
$\frac1N \sum_n y_n = \beta$, and $y_n - \beta = \gamma \hat x_n$. $\blacksquare$

With $N = 1$, $\hat x = 0$ whatever $x$ is: nothing of the input is left, and that is refused.

## What it does not see

**Claim** `neural.batchnorm-invariance`. Write $\hat x_\varepsilon(x)$ for (E1). For every shift $b$ and every
$a \ne 0$, $\hat x_\varepsilon(a x + b) = \operatorname{sign}(a)\, \hat x_{\varepsilon / a^2}(x)$. So a shift of the
input changes nothing, and a positive factor changes nothing but the weight of $\varepsilon$.

**Proof.** The mean of $ax + b$ is $a \mu + b$, so the shift cancels in $a x_n + b - (a \mu + b) = a (x_n - \mu)$; the
variance is $a^2 v$. Hence

$$
\hat x_\varepsilon(ax + b)_n = \frac{a (x_n - \mu)}{\sqrt{a^2 v + \varepsilon}}
  = \frac{a}{|a|} \cdot \frac{x_n - \mu}{\sqrt{v + \varepsilon / a^2}}. \qquad \blacksquare
$$

Two consequences for a layer $x = u W^\top + c$ before the normalization. Its bias $c$ is a shift: it does nothing and
has the gradient zero, which is why such layers have none. And multiplying a row $w$ of $W$ by $a > 0$ does nothing
either, as far as $\varepsilon$ is small next to $v$.

**Claim** `neural.scale-free-weights`. Let $\ell(w)$ be differentiable for $w \ne 0$, with $\ell(a w) = \ell(w)$ for all
$a > 0$. Then $\nabla \ell(w) \cdot w = 0$ and $\nabla \ell(a w) = \frac1a \nabla \ell(w)$. So every plain gradient step
$w' = w - \eta \nabla \ell(w)$ makes $w$ longer, unless the gradient is zero:
$|w'|^2 = |w|^2 + \eta^2 |\nabla \ell(w)|^2$.

**Proof.** $a \mapsto \ell(a w)$ is constant, and its slope at $a = 1$ is $\nabla \ell(w) \cdot w$
(`markov.slope-along-line`). Next, $\ell(a w + a u) = \ell(w + u)$ for small $u$. In $u$ the left side has the gradient
$a \nabla \ell(a w)$ at $u = 0$ (`autograd.jacobian-chain`), the right side $\nabla \ell(w)$. Last, in
$|w - \eta \nabla \ell|^2 = |w|^2 - 2 \eta\, w \cdot \nabla \ell + \eta^2 |\nabla \ell|^2$ the middle term is zero.
$\blacksquare$

So weights before a normalization grow, and as they grow their gradients shrink: the step, relative to the weights,
lowers itself.

## Backward

Let $g_n$ be the cotangent of $y_n$. From $y_n = \gamma \hat x_n + \beta$,

$$
d\beta = \sum_n g_n, \qquad d\gamma = \sum_n g_n \hat x_n, \qquad d\hat x_n = \gamma g_n. \qquad \text{(E2)}
$$

**Claim** `neural.batchnorm-backward`. The Jacobian of $x \mapsto \hat x$ is symmetric; JVP and VJP are one map, which
takes $t$ to

$$
r \Big( t_n - \frac1N \sum_m t_m - \hat x_n \cdot \frac1N \sum_m t_m \hat x_m \Big). \qquad \text{(E3)}
$$

Therefore, with (E2),

$$
dx_n = \gamma r \Big( g_n - \frac{d\beta}{N} - \hat x_n \frac{d\gamma}{N} \Big). \qquad \text{(E4)}
$$

**Proof.** Take the steps of (E1) one after the other, with $c_n = x_n - \mu$. Let $x$ move along $t$; a dot marks what
follows.

$$
\begin{aligned}
\dot\mu &= \frac1N \sum_m t_m, \qquad \dot c_n = t_n - \dot\mu, \\
\dot v &= \frac2N \sum_m c_m \dot c_m = \frac2N \sum_m c_m t_m && \text{as } \textstyle\sum_m c_m = 0, \\
\dot r &= -\tfrac12 (v + \varepsilon)^{-3/2}\, \dot v = -\frac{r^3}{N} \sum_m c_m t_m, \\
\dot{\hat x}_n &= r \dot c_n + c_n \dot r
  = r \Big( t_n - \dot\mu - (r c_n) \cdot \frac1N \sum_m (r c_m)\, t_m \Big),
\end{aligned}
$$

which is (E3), as $r c_n = \hat x_n$. Entry $(n, m)$ of the Jacobian is
$r \big( \delta_{nm} - \frac1N - \frac1N \hat x_n \hat x_m \big)$, with $\delta_{nm} = 1$ if $n = m$, else $0$:
exchanging $n$ and $m$ changes nothing, so it is its own transpose. Put $t = \gamma g$ in (E3), with the sums of (E2).
$\blacksquare$

In words: from the cotangent, its mean is taken away, and its part along $\hat x$.

**Claim** `neural.batchnorm-gradient`. In each feature $\sum_n dx_n = 0$ and
$\sum_n dx_n\, \hat x_n = \gamma r \frac{\varepsilon}{v + \varepsilon}\, d\gamma$. So $dx$ is orthogonal to
$(1, \dots, 1)$, and orthogonal to $\hat x$ up to the share of $\varepsilon$.

**Proof.** Sum (E4) over $n$: $\gamma r (d\beta - d\beta - 0) = 0$, by `neural.batchnorm-standard`. Multiply by
$\hat x_n$ and sum: $\gamma r \big( d\gamma - 0 - \frac{v}{v + \varepsilon}\, d\gamma \big)$. $\blacksquare$

It says for $dx$ what the invariance says for the function: to shift the input, or to stretch it, is no use.

## One example at a time

In use there may be no batch, and the answer to one question should not depend on the others that happen to be asked.
So training keeps running averages of the batches' means and variances, with a momentum $0 < m \le 1$,

$$
\hat\mu_t = (1 - m)\, \hat\mu_{t-1} + m\, \mu_t, \qquad
\hat v_t = (1 - m)\, \hat v_{t-1} + m\, \frac{N}{N - 1} v_t, \qquad \hat\mu_0 = 0, \ \hat v_0 = 1, \qquad \text{(E5)}
$$

and in use $y = \gamma \frac{x - \hat\mu}{\sqrt{\hat v + \varepsilon}} + \beta$, with constants: each row by itself.

**Claim** `neural.batch-variance`. For $N \ge 2$ independent $x_n$ of one mean and one variance $\sigma^2$,
$\mathbb{E}\, v = \frac{N - 1}{N} \sigma^2$. So the factor in (E5) makes the estimate right in the mean.

**Proof.** Both sides stay the same if the mean $\mathbb{E} x_n$ is subtracted from every $x_n$, so let it be zero.
Expanding the square, $v = \frac1N \sum_n x_n^2 - \mu^2$. The means of the two terms are $\sigma^2$ and, by
`markov.variance-of-mean`, $\sigma^2 / N$. $\blacksquare$

**Claim** `neural.running-average`. After $t$ batches

$$
\hat\mu_t = \sum_{k=0}^{t-1} m (1 - m)^k \mu_{t-k} + (1 - m)^t \hat\mu_0: \qquad \text{(E6)}
$$

a weighted mean of the batches, the last one weighing most, and of the starting value. If all $\mu_t$ have the mean
$\bar\mu$, then $\mathbb{E} \hat\mu_t - \bar\mu = (1 - m)^t (\hat\mu_0 - \bar\mu)$. The same holds for $\hat v_t$.

**Proof.** For $t = 0$ (E6) says $\hat\mu_0 = \hat\mu_0$. If it holds for $t - 1$, (E5) multiplies each weight by
$1 - m$ and adds $m \mu_t$, which is (E6) for $t$. The weights of the batches sum to $1 - (1 - m)^t$: $1$ minus this sum
is multiplied by $1 - m$ at each step, as $1 - (1 - m) S - m = (1 - m)(1 - S)$, and is $1$ at first. Take the mean.
$\blacksquare$

Of the starting values, after 10, 50 and 100 batches with $m = 0.1$, there remain

>>> [f"{0.9**t:.1e}" for t in (10, 50, 100)]
['3.5e-01', '5.2e-03', '2.7e-05']

so a model that was trained for a few steps only is judged wrongly in use. And the averages lag: while the weights move,
they mix statistics of networks that no longer exist.

>>> layer = BatchNorm1d(3)
>>> rng = np.random.default_rng(0)
>>> for _ in range(100):
...     y = layer(rng.normal(5, 2, size=(64, 3)).astype(np.float32))
>>> bool(np.abs(y.data.mean(axis=0)).max() < 1e-6), y.data.std(axis=0).round(3)
(True, array([1., 1., 1.], dtype=float32))
>>> layer.running_mean.round(), layer.running_var.round()
(array([5., 5., 5.], dtype=float32), array([4., 4., 4.], dtype=float32))
>>> layer.eval()(np.full((1, 3), 7, np.float32)).data.round()
array([[1., 1., 1.]], dtype=float32)

## In practice

PyTorch's `BatchNorm1d` has the same state names (and a count of batches that is not kept here), the same momentum, and
the biased variance in (E1) but the unbiased one in (E5). For three axes its layout is `(N, C, T)`, features second;
here they are last, as everywhere in these chapters: transpose before comparing. Language models normalize differently.
In a batch of texts the examples of a batch differ in length and the positions of one text depend on each other;
sampling runs with a batch of one; and the statistics of a causal model's batch would carry information from later
positions to earlier ones. So they divide each position by its own size instead (layer and RMS normalization, stage 6).
Left out: synchronizing the statistics of several devices, and recomputing them after training.

Source: S. Ioffe and C. Szegedy, 2015. That it works by smoothing the loss, and not by what its authors thought, is
argued by S. Santurkar and others, 2018.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_autograd.extend import operation
from fp_autograd.rules import sqrt
from fp_autograd.tracing import value_of
from fp_neural.module import Module, Parameter

__all__ = ["batch_norm", "reference_batch_norm", "BatchNorm1d"]  # the order of the page

Real = float | int


def reference_batch_norm(x: Any, weight: Any, bias: Any, *, eps: Real = 1e-5) -> Any:
    """(E1), line by line, as `batch_norm` computes it at once."""
    axes = tuple(range(len(x.shape) - 1))
    centred = x - x.mean(axis=axes, keepdims=True)
    v = (centred * centred).mean(axis=axes, keepdims=True)
    return centred / sqrt(v + eps) * weight + bias


def _statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of `x` less their mean, the mean, the variance."""
    rows = x.reshape(-1, x.shape[-1])
    mean = rows.mean(axis=0)
    centred = rows - mean
    return centred, mean, np.einsum("nc,nc->c", centred, centred) / x.dtype.type(len(rows))


def _forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, eps: float, statistics: Any = None
) -> tuple[np.ndarray, Any]:
    """(E1), and what (E4) needs of it. The layer brings the statistics, which it keeps, along."""
    centred, _, v = statistics or _statistics(x)
    r = 1 / np.sqrt(v + v.dtype.type(eps))
    y = centred * (r * weight)
    y += bias
    return y.reshape(x.shape), (centred, r)


def _backward(
    g: np.ndarray, out: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, *, saved: Any, **settings: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E2) and (E4); the centred rows times r are xhat."""
    centred, r = saved
    N, C = centred.shape
    g = g.reshape(N, C)
    dbias = g.sum(axis=0)
    dweight = r * np.einsum("nc,nc->c", g, centred)
    dx = centred * (r * dweight / -N)
    dx += g
    dx -= dbias / N
    dx *= r * weight
    return dx.reshape(x.shape), dweight, dbias


def _along_x(t: Any, out: Any, x: Any, weight: Any, bias: Any, *, saved: Any, **settings: Any) -> Any:
    """(E3), times the weight."""
    centred, r = saved
    N, C = centred.shape
    t = t.reshape(N, C)
    along = r * np.einsum("nc,nc->c", t, centred) / N
    return (r * weight * (t - t.mean(axis=0) - centred * (r * along))).reshape(x.shape)


def _along_weight(t: Any, out: Any, x: Any, weight: Any, bias: Any, *, saved: Any, **settings: Any) -> Any:
    centred, r = saved
    return (centred * (r * t)).reshape(x.shape)


def _along_bias(t: Any, out: Any, *operands: Any, **settings: Any) -> Any:
    return np.broadcast_to(t, out.shape)


_fused = operation(
    "neural.batch_norm",
    _forward,
    _backward,
    jvps=(_along_x, _along_weight, _along_bias),
    reference=lambda x, weight, bias, *, eps, statistics=None: reference_batch_norm(x, weight, bias, eps=eps),
    fresh=True,
)


def batch_norm(x: Any, weight: Any, bias: Any, *, eps: Real = 1e-5) -> Any:
    r"""
    Normalize each feature over the batch, scale and shift it (E1), with the derivative (E4).

    Parameters
    ----------
    x
        Array or tensor of shape `(..., C)`; the batch is all axes but the last, at least two rows.
    weight, bias
        $\gamma$ and $\beta$, of shape `(C,)`.
    eps
        $\varepsilon > 0$, in the square of the unit of `x`.

    Returns
    -------
    ndarray or Tensor
        Of the shape of `x`.

    Raises
    ------
    ValueError
        If `x` has no batch axis, less than two rows or another number of features than `weight` and `bias`, or if
        `eps` is not positive.

    Examples
    --------
    >>> batch_norm(np.array([[1.0, 5.0], [3.0, 5.0]]), np.ones(2), np.zeros(2), eps=1e-12).round(6)
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    _check_batch(x, weight, bias, eps)
    return _fused(x, weight, bias, eps=float(eps))


def _check_batch(x: Any, weight: Any, bias: Any, eps: Real) -> None:
    _check(x, weight.shape, eps)
    if bias.shape != weight.shape:
        raise ValueError(f"weight and bias have a number a feature each, got shapes {weight.shape} and {bias.shape}")
    if math.prod(x.shape[:-1]) < 2:
        raise ValueError(
            f"a batch of shape {x.shape} is a single row, whose every number is its own mean: nothing of it would be "
            "left. Train with at least two rows, drop a last batch of one, or call eval() to use running averages."
        )


class BatchNorm1d(Module):
    r"""
    Batch normalization: over the batch in training, by running averages in use.

    A call in training updates the averages; computing the same batch twice, as checkpointing does, counts it twice.

    Parameters
    ----------
    n
        How many features: the length of the last axis.
    momentum
        $m$ in (E5), the weight of the newest batch, in (0, 1].
    eps
        $\varepsilon > 0$ of (E1).
    dtype
        Of the parameters and the averages.

    Attributes
    ----------
    weight, bias : Parameter
        $\gamma$, at first ones, and $\beta$, at first zeros, of shape `(n,)`.
    running_mean, running_var : ndarray
        $\hat\mu$, at first zeros, and $\hat v$, at first ones, of shape `(n,)`; buffers.

    Raises
    ------
    ValueError
        If a setting is out of range. When called, if the input has another number of features; in training also if it
        has one row only, or its statistics are not finite: they would stay in the averages for ever.
    """

    running_mean: Any
    running_var: Any

    def __init__(self, n: int, *, momentum: Real = 0.1, eps: Real = 1e-5, dtype: Any = np.float32) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"a normalization needs at least one feature, got n = {n}")
        if not 0 < momentum <= 1:
            raise ValueError(f"the momentum is the weight of the newest batch, in (0, 1], got {momentum}")
        _check_eps(eps)
        self.momentum, self.eps = float(momentum), float(eps)
        self.weight = Parameter(np.ones(n, dtype))
        self.bias = Parameter(np.zeros(n, dtype))
        self.running_mean = np.zeros(n, dtype)
        self.running_var = np.ones(n, dtype)

    def forward(self, x: Any) -> Any:
        """`x` of shape `(..., n)` normalized, of its shape; in training also one step of (E5)."""
        if not self.training:
            _check(x, self.weight.shape, self.eps)
            return (x - self.running_mean) * (self.weight / sqrt(self.running_var + self.eps)) + self.bias
        _check_batch(x, self.weight, self.bias, self.eps)
        statistics = _statistics(value_of(x))
        y = _fused(x, self.weight, self.bias, eps=self.eps, statistics=statistics)
        self._update(math.prod(x.shape[:-1]), *statistics[1:])
        return y

    def _update(self, N: int, mean: Float[np.ndarray, " C"], v: Float[np.ndarray, " C"]) -> None:
        """(E5)."""
        unbiased = v * (N / (N - 1))
        if not np.isfinite(unbiased).all():  # so is the mean, if this is
            raise ValueError(
                f"feature {int(np.isfinite(unbiased).argmin())} of the batch has no finite mean and variance: look for "
                "NaN or infinity in what comes before this layer"
            )
        m = self.momentum
        dtype = value_of(self.running_mean).dtype
        # new arrays: what `functional` lends must not be written to
        self.running_mean = ((1 - m) * value_of(self.running_mean) + m * mean).astype(dtype)
        self.running_var = ((1 - m) * value_of(self.running_var) + m * unbiased).astype(dtype)


def _check(x: Any, features: tuple[int, ...], eps: Real) -> None:
    _check_eps(eps)
    if len(x.shape) < 2 or x.shape[-1:] != features:
        raise ValueError(
            f"batch normalization of {' x '.join(map(str, features))} features needs an input of shape (N, C) or "
            f"(N, T, C) with that C, got {x.shape}. Features are the last axis."
        )


def _check_eps(eps: Real) -> None:
    if not 0 < eps < math.inf:
        raise ValueError(f"eps keeps a division from being by zero, so it is positive, got {eps}")
