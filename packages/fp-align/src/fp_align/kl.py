r"""
Three estimates of a divergence.

The price $D(\pi \,\|\, \pi_0)$ is a sum over all responses, and there are too many. Draw a few responses from $\pi$
instead and average some function of their two probabilities. Which function? One is obvious, one is sure to be positive
and steady, and one is wrong but has the right gradient.

You need: `markov.gibbs`, `markov.log-tangent`, `autograd.taylor`, `fp_align.exact`.

## Three functions

For distributions $p$ and $q$ over finitely many outcomes and an outcome drawn from $p$ let

$$
\begin{aligned}
u &= \ln q(y) - \ln p(y), && \text{(E1)} \\
k_1 &= -u, \qquad k_2 = \tfrac12 u^2, \qquad k_3 = e^u - 1 - u. && \text{(E2)}
\end{aligned}
$$

Wanted is $D(p \,\|\, q) = \mathbb{E}_p [-u]$. In alignment $p$ is the policy, from which one has samples, and $q$ the
reference.

**Claim** `align.k1-unbiased`. $\mathbb{E}_p\, k_1 = D(p \,\|\, q)$ wherever $q$ is positive where $p$ is.

**Proof.** $\mathbb{E}_p\, k_1 = \sum_y p(y)\, \big( \ln p(y) - \ln q(y) \big)$, the definition. $\blacksquare$

But single values are negative where $q$ is larger, though the divergence never is, and they scatter widely.

**Claim** `align.k3-unbiased`. Let $p$ and $q$ be positive at the same outcomes. Then $\mathbb{E}_p\, k_3 =
D(p \,\|\, q)$. If $q$ gives a share $s$ of its probability to outcomes that $p$ never gives, it is
$D(p \,\|\, q) - s$.

**Proof.** $\mathbb{E}_p\, e^u = \sum_{y : p(y) > 0} p(y)\, \frac{q(y)}{p(y)}$, which is the probability under $q$ of
what $p$ can give: $1 - s$. So $\mathbb{E}_p\, k_3 = (1 - s) - 1 + \mathbb{E}_p [-u] = D - s$. $\blacksquare$

So $e^u - 1$ is a number of mean zero that is added to $k_1$. It moves against it: where $k_1$ is too low, $e^u - 1$ is
positive. Such a helper is called a **control variate**.

**Claim** `align.k3-nonnegative`. $k_3 \ge 0$, and $k_3 = 0$ only if $u = 0$. Moreover
$\frac12 u^2 e^{-|u|} \le k_3 \le \frac12 u^2 e^{|u|}$.

**Proof.** By `markov.log-tangent` with $e^u$ for $x$, $u \le e^u - 1$, with equality only at $e^u = 1$. For the bounds
let $|u| \le c$. Between $0$ and $u$ the second slope of $k_3$, $e^u$, lies between $e^{-c}$ and $e^c$. So
$k_3 - \frac12 e^{-c} u^2$ and $\frac12 e^c u^2 - k_3$ have second slopes that are not negative there; both are zero at
$u = 0$ with slope zero, so their slopes have the sign of $u$ or are $0$, and both are at least zero. Take $c = |u|$.
$\blacksquare$

**Claim** `align.k3-variance`. Let $|u| \le \delta$ for every outcome, both distributions be positive, and
$c = \frac14 \delta^2 e^{2 \delta} < 1$. Then

$$\operatorname{Var} k_3 \le c\, \mathbb{E}\, u^2, \qquad \operatorname{Var} k_1 \ge (1 - c)\, \mathbb{E}\, u^2.
\qquad \text{(E3)}$$

**Proof.** By `align.k3-nonnegative` $k_3^2 \le \frac14 u^4 e^{2 |u|} \le c\, u^2$. So
$\operatorname{Var} k_3 \le \mathbb{E}\, k_3^2 \le c\, \mathbb{E}\, u^2$. The variance of $k_1 = -u$ is
$\mathbb{E}\, u^2 - D^2$, and as $D = \mathbb{E}\, k_3$ and a variance is not negative,
$D^2 \le \mathbb{E}\, k_3^2 \le c\, \mathbb{E}\, u^2$. $\blacksquare$

So near the reference $k_3$ needs about $c$ times as many samples as $k_1$. Far from it the exponential takes over: one
outcome that $q$ finds eighty times as probable as $p$ is a $k_3$ of 75.

>>> p = np.array([0.69, 0.3, 0.01])
>>> for q in (np.array([0.66, 0.33, 0.01]), np.array([0.1, 0.1, 0.8])):
...     print([f"{name}: {m.mean:.4f}, variance {m.variance:.2g}" for name, m in moments(p, q).items()])
['k1: 0.0021, variance 0.0041', 'k2: 0.0020, variance 2.7e-06', 'k3: 0.0021, variance 2.9e-06']
['k1: 1.6185, variance 0.51', 'k2: 1.5642, variance 0.99', 'k3: 1.6185, variance 54']

## The wrong one

**Claim** `align.k2-second-order`. Let $q(y) = p(y)\, (1 + \varepsilon h(y))$ with $p > 0$, $\sum_y p(y)\, h(y) = 0$ and
$|\varepsilon h| \le \frac12$. Then

$$\Big| \mathbb{E}_p\, k_2 - D(p \,\|\, q) + \frac{\varepsilon^3}{6}\, \mathbb{E}_p\, h^3 \Big|
\le 6.2\, \varepsilon^4\, \mathbb{E}_p\, h^4. \qquad \text{(E4)}$$

**Proof.** With $t = \varepsilon h$ we have $u = \ln (1 + t)$ and $\mathbb{E}_p\, t = 0$, so
$\mathbb{E}_p\, k_2 - D = \mathbb{E}_p\, \varphi(t)$ for $\varphi(t) = \frac12 \ln^2 (1 + t) + \ln (1 + t) - t$. Its
slopes are, with $l = \ln (1 + t)$,

$$
\varphi' = \frac{l + 1}{1 + t} - 1, \quad \varphi'' = \frac{-l}{(1 + t)^2}, \quad
\varphi''' = \frac{2 l - 1}{(1 + t)^3}, \quad \varphi'''' = \frac{5 - 6 l}{(1 + t)^4}.
$$

At $t = 0$ the first two and $\varphi$ are $0$, and the third is $-1$. For $|t| \le \frac12$ the last is at most
$(5 + 6 \ln 2) \cdot 16 < 147$ in size. By `autograd.taylor` $\varphi(t) = -\frac16 t^3 + R$ with
$|R| \le \frac{147}{24} t^4 < 6.2\, t^4$. Take means. $\blacksquare$

The divergence itself is of the order $\varepsilon^2$, so $k_2$ is wrong by a share of the order $\varepsilon$. As a
*measurement* $k_3$ is better. As a *loss* it is not:

**Claim** `align.kl-loss-gradients`. Let $p_\theta > 0$ depend smoothly on $\theta$, let $q > 0$ be fixed, and
differentiate the $k$ of given samples in $\theta$, as a program does. The means of these gradients over samples from
$p_\theta$ are

$$
\mathbb{E}\, \nabla k_1 = 0, \qquad \mathbb{E}\, \nabla k_2 = \nabla D(p_\theta \,\|\, q), \qquad
\mathbb{E}\, \nabla k_3 = \nabla D(q \,\|\, p_\theta). \qquad \text{(E5)}
$$

**Proof.** Write $s(y) = \nabla \ln p_\theta(y)$. Since $p\, s = \nabla p$, $\sum_y p\, s = \nabla \sum_y p = \nabla 1 =
0$. As $\nabla u = -s$, the chain rule gives $\nabla k_1 = s$, $\nabla k_2 = -u s$ and $\nabla k_3 = (1 - e^u)\, s$. The
mean of the first is $0$. The divergence is $D(p \,\|\, q) = -\sum_y p\, u$, whose gradient is
$-\sum_y (\nabla p)\, u + \sum_y p\, s = -\sum_y p\, u\, s = \mathbb{E}\, \nabla k_2$. And
$\mathbb{E}\, \nabla k_3 = \sum_y p\, s - \sum_y q\, s = -\sum_y q\, \nabla \ln p$, which is the gradient of
$D(q \,\|\, p) = \sum_y q \ln q - \sum_y q \ln p$. $\blacksquare$

So the unbiased $k_1$, put into the loss, pulls nowhere, and $k_3$ pulls towards another divergence. The reason: the
samples come from $p_\theta$ too, and a program that takes them as given misses that half of the gradient
(`align.policy-gradient`). Whoever wants the gradient of the divergence puts $k_1$ into the *reward*, as
`fp_align.ppo` does, or $k_2$ into the loss.

## In practice

J. Schulman's note (2020) named $k_1$, $k_2$ and $k_3$; GRPO (Z. Shao and others, 2024) puts $k_3$ into the loss. With
one sample for each token, the divergences of the next token along a text add up, on average, to that of the text.
Since the whole next-token distribution is at hand at each place, summing over the vocabulary there has no sampling
error but that of the text so far.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fp_autograd.rules import exp
from fp_autograd.tracing import Operand
from fp_markov.information import check_distribution

__all__ = ["k1", "k2", "k3", "moments", "Moments"]  # the order of the page


class Moments(NamedTuple):
    """Mean and variance of an estimate from one sample."""

    mean: float
    """In nats."""
    variance: float
    """In nats squared; of `n` samples it is one `n`-th of that."""


def k1(logp: Operand, logq: Operand) -> Any:
    """
    The plain estimate of the divergence from a sample (E2).

    Parameters
    ----------
    logp
        Logarithms of the probabilities that the sampled distribution gives to what was drawn from it.
    logq
        Those of the other one, of the same shape.

    Returns
    -------
    ndarray or Tensor
        Nats, one for each sample, of either sign.

    Examples
    --------
    >>> k1(np.log(np.array([0.5, 0.2])), np.log(np.array([0.25, 0.4]))).round(3)
    array([ 0.693, -0.693])
    """
    return logp - logq


def k2(logp: Operand, logq: Operand) -> Any:
    """
    The biased estimate whose gradient is right (E2), `align.kl-loss-gradients`.

    Parameters
    ----------
    logp, logq
        As for `k1`.

    Returns
    -------
    ndarray or Tensor
        Nats, not negative.

    Examples
    --------
    >>> k2(np.log(np.array([0.5, 0.2])), np.log(np.array([0.25, 0.4]))).round(3)
    array([0.24, 0.24])
    """
    u = logq - logp
    return 0.5 * u * u


def k3(logp: Operand, logq: Operand) -> Any:
    """
    The unbiased estimate that is never negative (E2).

    Parameters
    ----------
    logp, logq
        As for `k1`.

    Returns
    -------
    ndarray or Tensor
        Nats, not negative.

    Examples
    --------
    >>> k3(np.log(np.array([0.5, 0.2])), np.log(np.array([0.25, 0.4]))).round(3)
    array([0.193, 0.307])
    """
    u = logq - logp
    return exp(u) - 1.0 - u


def moments(p: Float[np.ndarray, " Y"], q: Float[np.ndarray, " Y"]) -> dict[str, Moments]:
    """
    Mean and variance of each estimate, as sums over all outcomes.

    Parameters
    ----------
    p
        The distribution that is sampled.
    q
        The other one, positive where `p` is.

    Returns
    -------
    dict of str to Moments
        For `k1`, `k2` and `k3`.

    Raises
    ------
    ValueError
        If one is no distribution, their shapes differ, or `q` is zero where `p` is not.

    Examples
    --------
    >>> round(moments(np.array([0.5, 0.5]), np.array([0.25, 0.75]))["k3"].mean, 4)
    0.1438
    """
    p, q = check_distribution(p, "p"), check_distribution(q, "q")
    if p.shape != q.shape or p.ndim != 1:
        raise ValueError(
            f"p and q are two distributions over the same outcomes, got the shapes {p.shape} and {q.shape}"
        )
    drawn = p > 0
    if not (q[drawn] > 0).all():
        raise ValueError("q is positive where p is, else the divergence is infinite: leave those outcomes out of p")
    logp, logq = np.log(p[drawn]), np.log(q[drawn])
    found = {}
    for name, k in (("k1", k1), ("k2", k2), ("k3", k3)):
        values = k(logp, logq)
        mean = float(p[drawn] @ values)
        found[name] = Moments(mean, float(p[drawn] @ (values - mean) ** 2))
    return found
