r"""
Adam and AdamW: one learning rate for parameters whose gradients differ a thousandfold.

Gradient descent moves every parameter by the learning rate times its gradient. In a deep network the gradients of an
embedding row, a norm's gain and an attention matrix differ by orders of magnitude, so a rate that is right for one is
wrong for the others. Adam divides every coordinate by a running estimate of its own gradient's size. This section
derives its two running means, repairs their start, bounds the step, and shows why weight decay has to stay outside.

You need: expectation, Cauchy-Schwarz.

## Two running means

For one coordinate let $g_1, g_2, \dots$ be its gradients. Adam keeps exponential means of them and of their squares,
with $m_0 = v_0 = 0$ and $0 \le \beta_1, \beta_2 < 1$:

$$
\begin{aligned}
m_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t,   &\text{(E1)} \\
v_t &= \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2. &\text{(E2)}
\end{aligned}
$$

Unrolling (E1) gives $m_t = (1 - \beta_1) \sum_{s=1}^{t} \beta_1^{t-s} g_s$: a sum with weights that fade into the past.

**Claim** `optim.adam-bias`. The weights of $m_t$ sum to $1 - \beta_1^t$. Hence $\hat m_t = m_t / (1 - \beta_1^t)$ is a
weighted mean of $g_1, \dots, g_t$, and if these have a common expectation $\mu$, then $\mathbb{E}\, \hat m_t = \mu$.
The same holds for $\hat v_t = v_t / (1 - \beta_2^t)$ and the squares.

**Proof.** The sum is geometric:
$(1 - \beta_1) \sum_{k=0}^{t-1} \beta_1^k = (1 - \beta_1) \frac{1 - \beta_1^t}{1 - \beta_1} = 1 - \beta_1^t$. Divided
by it, the weights are not negative and sum to one. Expectation is linear, so
$\mathbb{E}\, \hat m_t = \sum_s w_s\, \mathbb{E}\, g_s = \mu \sum_s w_s = \mu$. Nothing about $g$ was used that does
not hold for $g^2$. $\blacksquare$

Starting from zero pulls $m_t$ towards zero, by a factor of 10 after one step at $\beta_1 = 0.9$; the division undoes
exactly that. The step is, with a small $\varepsilon > 0$,

$$
\theta_t = \theta_{t-1} - \eta\, \frac{\hat m_t}{\sqrt{\hat v_t} + \varepsilon}. \qquad \text{(E3)}
$$

To spare two passes over memory, multiply numerator and denominator by $r_t = \sqrt{1 - \beta_2^t}$:

$$
\theta_t = \theta_{t-1} - \frac{\eta\, r_t}{1 - \beta_1^t} \cdot \frac{m_t}{\sqrt{v_t} + \varepsilon r_t}.
\qquad \text{(E4)}
$$

## How far a step goes

**Claim** `optim.adam-first-step`. The first step moves each coordinate with $g_1 \ne 0$ by
$\eta\, |g_1| / (|g_1| + \varepsilon) < \eta$ against the sign of its gradient: nearly $\eta$, however large or small
the gradient. Without the two corrections (and with $\varepsilon = 0$) it would be
$\eta (1 - \beta_1) / \sqrt{1 - \beta_2}$.

**Proof.** $\hat m_1 = g_1$ and $\hat v_1 = g_1^2$, so (E3) subtracts $\eta\, g_1 / (|g_1| + \varepsilon)$. Uncorrected,
$m_1 / \sqrt{v_1} = (1 - \beta_1) g_1 / (\sqrt{1 - \beta_2}\, |g_1|)$. $\blacksquare$

Every coordinate takes a full step on the word of a single batch: this is one reason why a training run starts with a
small rate (`fp_optim.schedules`).

**Claim** `optim.adam-bounded`. Let $\beta_2 > 0$ and $v_t > 0$. Whatever the gradients were,

$$
\frac{|\hat m_t|}{\sqrt{\hat v_t}} \le R_t, \qquad
R_t^2 = \frac{(1 - \beta_1)^2 (1 - \beta_2^t)}{(1 - \beta_2) (1 - \beta_1^t)^2}
  \sum_{k=0}^{t-1} \Big( \frac{\beta_1^2}{\beta_2} \Big)^k,
$$

and some sequence of gradients attains it. So the Adam part of a step (E3) is at most $\eta R_t$.

**Proof.** By `optim.adam-bias`, $\hat m_t = \sum_s w_s g_s$ and $\hat v_t = \sum_s u_s g_s^2$ with
$w_s = (1 - \beta_1) \beta_1^{t-s} / (1 - \beta_1^t)$ and $u_s = (1 - \beta_2) \beta_2^{t-s} / (1 - \beta_2^t)$. By
Cauchy-Schwarz

$$
|\hat m_t| = \Big| \sum_s \frac{w_s}{\sqrt{u_s}} \cdot \sqrt{u_s}\, g_s \Big|
  \le \sqrt{\sum_s \frac{w_s^2}{u_s}}\; \sqrt{\sum_s u_s g_s^2} = \sqrt{\sum_s \frac{w_s^2}{u_s}}\; \sqrt{\hat v_t}.
$$

Insert the weights, with $k = t - s$: $\sum_s w_s^2 / u_s = R_t^2$. Equality in Cauchy-Schwarz holds when
$\sqrt{u_s}\, g_s$ is proportional to $w_s / \sqrt{u_s}$, that is for $g_s = w_s / u_s$; it has $\hat v_t > 0$, since
$w_t > 0$. In (E3) the denominator is larger than $\sqrt{\hat v_t}$, because $\varepsilon > 0$. $\blacksquare$

(If $v_t = 0$, all gradients so far were zero and the Adam part of the step is zero.)

**Claim** `optim.adam-bounded-in-time`. If $\beta_1^2 < \beta_2$, then $R_t$ stays bounded as $t$ grows, and

$$
R_t^2 \to \frac{(1 - \beta_1)^2}{(1 - \beta_2)\, (1 - \beta_1^2 / \beta_2)}.
$$

If $\beta_1^2 \ge \beta_2 > 0$, then $R_t \to \infty$.

**Proof.** As $t \to \infty$, $\beta_1^t$ and $\beta_2^t$ tend to zero, so that the factor before the sum tends to
$(1 - \beta_1)^2 / (1 - \beta_2) > 0$. The sum is geometric: for a ratio $\beta_1^2 / \beta_2 < 1$ it tends to
$1 / (1 - \beta_1^2 / \beta_2)$, and a convergent sequence is bounded; for a ratio of $1$ or more it is at least $t$.
$\blacksquare$

`largest_step` computes $R_t$. For steady gradients the ratio is near 1; the bound, whose limit for the usual $\beta$ is
7.27, is approached when a coordinate that was silent for long suddenly gets gradients.

## Decay outside

Weight decay pulls parameters towards zero, so that a network does not lean on large weights. With plain gradient
descent it does not matter whether $\lambda \theta$ is added to the gradient (an L2 penalty) or subtracted beside it.
With (E3) it does. AdamW decouples:

$$
\theta_t = (1 - \eta \lambda)\, \theta_{t-1} - \eta\, \frac{\hat m_t}{\sqrt{\hat v_t} + \varepsilon}. \qquad \text{(E5)}
$$

**Claim** `optim.decoupled-decay`. Consider a coordinate whose loss gradient is always zero. Under (E5) with constant
$\eta$, $\theta_t = (1 - \eta \lambda)^t\, \theta_0$. Under (E3) with the penalty inside, $g_t = \lambda \theta_{t-1}$,
and $\lambda \theta_0 \ne 0$ the first step has length
$\eta\, \lambda |\theta_0| / (\lambda |\theta_0| + \varepsilon)$, which tends to $\eta$ as $\varepsilon \to 0$: it
depends neither on $\lambda$ nor on $\theta_0$.

**Proof.** With all $g_t = 0$ the moments stay zero, so (E5) multiplies by $1 - \eta \lambda$ each time. The second
part is `optim.adam-first-step` for $g_1 = \lambda \theta_0$. $\blacksquare$

A penalty inside is normalised away like any other gradient: its strength $\lambda$ no longer says how strong it is.

Decay belongs on matrices, which multiply. A norm's gain, a bias, anything with a single axis sets a scale or an
offset, and zero is not its neutral value; by default these are left alone.

## In practice

(E5) is what PyTorch's `AdamW` computes, to rounding. It adds `fused` kernels that do a step in one pass over memory;
the code here reaches for the same by working in pieces that stay in the cache (`optim.pieces`). Where Adam fails, and
what repairs it, is the subject of `fp_optim.amsgrad`.

References: Kingma and Ba, *Adam* (arXiv 1412.6980); Loshchilov and Hutter, *Decoupled Weight Decay Regularization*
(arXiv 1711.05101).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fp_optim.optimizer import Array, Optimizer

__all__ = ["AdamW", "largest_step"]


class AdamW(Optimizer):
    """
    AdamW (E5) on named arrays, in place and without allocating.

    Parameters
    ----------
    parameters
        Name to array; the arrays are updated where they are.
    lr
        Learning rate, not negative. The attribute `lr` may be changed at any time.
    betas
        The two fading factors, each in `[0, 1)`.
    eps
        Positive; what is added to the root.
    weight_decay
        The strength of the decay, not negative.
    **common
        `groups`, `decay`, `check_finite` and `threads` of `fp_optim.optimizer.Optimizer`.

    Raises
    ------
    ValueError
        If a number is out of range or a parameter cannot be updated in place.

    Examples
    --------
    >>> parameters = {"w": np.array([[1.0, -2.0]]), "b": np.array([1.0, -2.0])}
    >>> optimizer = AdamW(parameters, lr=0.1, weight_decay=0.5)
    >>> optimizer.step({"w": np.zeros((1, 2)), "b": np.array([3.0, -1e-3])})
    >>> {name: array.round(3).tolist() for name, array in parameters.items()}
    {'w': [[0.95, -1.9]], 'b': [0.9, -1.9]}
    """

    STATE = ("m", "v")

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int = 1e-3,
        betas: tuple[float | int, float | int] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | int = 0.01,
        **common: Any,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay, **common)

    def check(self, betas: tuple[float | int, float | int], eps: float | int) -> None:  # type: ignore[override]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"the two betas must lie in [0, 1), got {betas}")
        if not (eps > 0 and math.isfinite(eps)):
            raise ValueError(f"eps must be positive and finite, got {eps}")

    def update(  # type: ignore[override]
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, m: np.ndarray, v: np.ndarray,
        *largest: np.ndarray, betas: tuple[float | int, float | int], eps: float | int,
    ) -> None:  # fmt: skip
        beta1, beta2 = betas
        root = math.sqrt(1 - beta2**t)
        np.multiply(g, 1 - beta1, out=s)  # (E1)
        m *= beta1
        m += s
        np.multiply(g, g, out=s)  # (E2)
        s *= 1 - beta2
        v *= beta2
        v += s
        np.sqrt(self.scale(v, *largest), out=s)  # (E4)
        s += eps * root
        np.divide(m, s, out=s)
        s *= lr * root / (1 - beta1**t)
        p -= s

    def scale(self, v: np.ndarray) -> np.ndarray:
        """The mean square that the step is divided by the root of."""
        return v


def largest_step(t: int, betas: tuple[float, float] = (0.9, 0.999)) -> float:
    """
    The bound $R_t$ of `optim.adam-bounded`, in units of the learning rate, for betas that keep it finite for all $t$.

    Examples
    --------
    >>> [round(largest_step(t), 2) for t in (1, 10, 100, 10_000)]
    [1.0, 1.04, 2.24, 7.27]
    """
    beta1, beta2 = betas
    if t < 1 or not (0 <= beta1 < 1 and 0 <= beta2 < 1 and beta1**2 < beta2):
        raise ValueError(
            f"a bound that stays finite needs t >= 1 and betas in [0, 1) with beta1^2 < beta2, got t={t}, betas={betas}"
        )
    ratio = beta1**2 / beta2
    total = (1 - ratio**t) / (1 - ratio)
    return math.sqrt((1 - beta1) ** 2 * (1 - beta2**t) / ((1 - beta2) * (1 - beta1**t) ** 2) * total)
