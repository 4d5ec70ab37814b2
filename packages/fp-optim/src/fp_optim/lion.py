r"""
Lion: follow the sign.

Adam divides each gradient by its usual size, and what is left of a steady gradient is its sign. Why keep a mean of
squares for that? Lion keeps one buffer, takes the sign of it, and moves every coordinate by the same length. This
section shows in which sense the sign is the steepest direction, how far Lion's steps and Lion's weights can go, and at
what rate it comes to rest where gradients are exact.

You need: `optim.dual-norm`, `optim.smooth-bound`, `fp_optim.adaptive` (Adam).

## The steepest direction in the largest norm

Let no coordinate move by more than the rate: a step $d$ with $|d|_\infty \le 1$, times $\eta$. By `optim.dual-norm` the
steepest such step is $d = -\operatorname{sign}(g)$, with $\operatorname{sign}(0) = 0$, and makes $g \cdot d = -|g|_1$.
This is **sign descent**, $w \leftarrow w - \eta \operatorname{sign}(g)$. Adam without memory is nearly that:

**Claim** `optim.adam-sign`. With $\beta_1 = \beta_2 = 0$ Adam moves a coordinate with gradient $g$ by
$-\eta \operatorname{sign}(g) \frac{|g|}{|g| + \varepsilon}$, which tends to sign descent as $\varepsilon \to 0$.

**Proof.** $\hat m_t = m_t = g$ and $\hat v_t = v_t = g^2$, so the step is $-\eta \frac{g}{|g| + \varepsilon}$.
$\blacksquare$

## Lion

A sign is all or nothing, and the sign of a noisy gradient is noisy too. Lion takes the sign of a mean, of the gradient
with a buffer $m$, and lets the buffer fade more slowly than that; decay stands outside, as in AdamW. With $m_0 = 0$ and
$0 \le \beta_1, \beta_2 < 1$:

$$
\begin{aligned}
c_t &= \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, &\text{(E1)} \\
w_{t+1} &= (1 - \eta \lambda)\, w_t - \eta \operatorname{sign}(c_t), &\text{(E2)} \\
m_t &= \beta_2 m_{t-1} + (1 - \beta_2)\, g_t. &\text{(E3)}
\end{aligned}
$$

With $\beta_1 = 0$ it is sign descent, with $\beta_1 = \beta_2$ the sign of the usual buffer.

**Claim** `optim.lion-step`. With $\lambda = 0$ every coordinate moves by $\eta$ exactly, or by $0$ where $c_{t,i} = 0$.
So $|w_{t+1} - w_t|_\infty \le \eta$, and $|w_{t+1} - w_t|_2 = \eta \sqrt k$ where $k$ coordinates of $c_t$ are not
zero. Multiplying all gradients by one positive number changes nothing.

**Proof.** $|\operatorname{sign}|$ is $1$ or $0$, and $|{-\eta} \operatorname{sign}(c)|_2^2 = k \eta^2$. All $m_t$ and
$c_t$ are sums of gradients with fixed weights, so they are multiplied by the number too, and keep their signs.
$\blacksquare$

So the size of a Lion step is known in advance, as Adam's is only up to the bound of `optim.adam-bounded`; and it does
not shrink near a minimum, unless the rate does.

**Claim** `optim.lion-box`. Let $\lambda > 0$ and $0 < \eta \lambda \le 1$. For every coordinate, whatever the
gradients,

$$|w_{t+1}| - \tfrac1\lambda \le (1 - \eta \lambda) \big( |w_t| - \tfrac1\lambda \big).$$

So weights in $[-\frac1\lambda, \frac1\lambda]$ stay there, and others approach it geometrically. A coordinate whose
$c_t$ keeps one sign $\sigma$ tends to $-\frac\sigma\lambda$.

**Proof.** $|w_{t+1}| \le (1 - \eta \lambda) |w_t| + \eta$ by (E2), as $1 - \eta \lambda \ge 0$. Subtract
$\frac1\lambda = (1 - \eta \lambda) \frac1\lambda + \eta$. If the right side is not positive neither is the left. With
the sign fixed, (E2) is $w_{t+1} + \frac\sigma\lambda = (1 - \eta \lambda) \big( w_t + \frac\sigma\lambda \big)$, and
$0 \le 1 - \eta \lambda < 1$. $\blacksquare$

The decay thus decides how large a weight can become at all: a strength of $0.1$ allows weights up to $10$, a strength
of $1$ up to $1$. AdamW has such a box too, with the bound on its step in place of $1$ (`optim.adam-bounded-in-time`).

## How fast

**Claim** `optim.lion-rate`. Let $f$ on $\mathbb{R}^n$ be smooth with the constant $L$ and at least $f_*$ everywhere,
convex or not. Let $g_t = \nabla f(w_t)$ in (E1) to (E3), $\lambda = 0$ and $\eta > 0$. Then for every $T \ge 1$

$$
\min_{1 \le t \le T} |g_t|_1 \le \frac{f(w_1) - f_*}{\eta\, T} + \frac{n L \eta}{2}
  + \frac{2 \beta_1}{1 - \beta_2} \Big( \frac{|g_1|_1}{T} + n L \eta \Big).
$$

For sign descent, $\beta_1 = 0$, the bound is smallest for $\eta = \sqrt{2 (f(w_1) - f_*) / (n L T)}$, where it is
$\sqrt{2 n L\, (f(w_1) - f_*) / T}$.

**Proof.** By `optim.smooth-bound`, with $|w_{t+1} - w_t|_2^2 \le n \eta^2$ from `optim.lion-step`,

$$f(w_{t+1}) \le f(w_t) - \eta\, g_t \cdot \operatorname{sign}(c_t) + \tfrac12 n L \eta^2. \qquad \text{(E4)}$$

For two numbers $g \operatorname{sign}(c) \ge |g| - 2 |g - c|$: if $g = 0$ both sides are at most $0$, the left one
being $0$; if the signs are equal the left side is $|g|$; otherwise $c$ is $0$ or on the other side of $0$, so
$|g - c| \ge |g|$, and $g \operatorname{sign}(c) \ge -|g| \ge |g| - 2 |g - c|$. Sum over the coordinates; by (E1)
$g_t - c_t = \beta_1 (g_t - m_{t-1})$, so with $a_t = |g_t - m_{t-1}|_1$

$$f(w_{t+1}) \le f(w_t) - \eta\, |g_t|_1 + 2 \eta \beta_1 a_t + \tfrac12 n L \eta^2. \qquad \text{(E5)}$$

By (E3) $g_t - m_t = \beta_2 (g_t - m_{t-1})$. The gradient moves little: $|x|_1 \le \sqrt n\, |x|_2$ by `optim.norms`,
so $|g_{t+1} - g_t|_1 \le \sqrt n\, L\, |w_{t+1} - w_t|_2 \le n L \eta$. Together
$a_{t+1} \le |g_{t+1} - g_t|_1 + |g_t - m_t|_1 \le n L \eta + \beta_2 a_t$, and $a_1 = |g_1|_1$. Sum this over
$t = 1, \dots, T - 1$ and add $a_1$: with $A = a_1 + \dots + a_T$, $A \le |g_1|_1 + T n L \eta + \beta_2 A$, so

$$A \le \frac{|g_1|_1 + T n L \eta}{1 - \beta_2}. \qquad \text{(E6)}$$

Sum (E5) over $t = 1, \dots, T$, use $f(w_{T+1}) \ge f_*$ and (E6), and divide by $\eta T$; the mean of the $|g_t|_1$ is
at least the smallest. For $\beta_1 = 0$ the bound is $\frac a\eta + b \eta$ with $a = (f(w_1) - f_*) / T$ and
$b = \frac12 n L$, which is $2 \sqrt{a b} + \big( \sqrt{a / \eta} - \sqrt{b \eta} \big)^2$. $\blacksquare$

Compare $\min |g_t|_2^2 \le 2 L (f(w_1) - f_*) / T$ for gradient descent (`optim.stationary-rate`). Where all
coordinates of the gradient are of one size, $|g|_1 = \sqrt n\, |g|_2$, and the two bounds are the same; where few are
large, sign descent has the weaker one. But $n L$ stands for what $L$ is in the largest norm, and where the function is
steep in few coordinates only, that is much less than $n L$.

## In practice

Lion was not derived: it was found by a search over programs, and simplified. Since each of its coordinates moves by the
full rate, its rates are three to ten times smaller than AdamW's, and its decay as much larger, so that $\eta \lambda$
stays. It keeps one array per parameter where Adam keeps two. The bound above needs exact gradients. Where the noise of
a coordinate is larger than its mean gradient, the sign is right only a little more often than wrong, so batches should
be large.

`Lion` computes the sign of $\frac{\beta_1}{1 - \beta_1} m_{t-1} + g_t$, which is that of (E1) and needs no second
scratch array.

References: Chen et al., *Symbolic discovery of optimization algorithms* (arXiv 2302.06675); Chen, Liu, Liang and Liu,
*Lion secretly solves constrained optimization* (arXiv 2310.05898), for the box; Bernstein et al., *signSGD* (arXiv
1802.04434).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fp_optim.optimizer import Array, Optimizer

__all__ = ["Lion", "lion_bound"]


class Lion(Optimizer):
    r"""
    Lion (E1) to (E3) on named arrays, in place.

    Parameters
    ----------
    parameters, lr
        As for `fp_optim.optimizer.Optimizer`.
    betas
        $\beta_1$ for the mean whose sign is taken and $\beta_2$ for the buffer, each in `[0, 1)`.
    weight_decay
        The strength $\lambda$ of the decoupled decay, not negative.
    **common
        `groups`, `decay`, `check_finite` and `threads` of `fp_optim.optimizer.Optimizer`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> parameters = {"w": np.array([1.0, 1.0, 1.0])}
    >>> optimizer = Lion(parameters, lr=0.25)
    >>> optimizer.step({"w": np.array([1e-9, -1e9, 0.0])})
    >>> parameters["w"].tolist()
    [0.75, 1.25, 1.0]
    """

    STATE = ("m",)

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int = 1e-4,
        betas: tuple[float | int, float | int] = (0.9, 0.99),
        weight_decay: float | int = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, weight_decay=weight_decay, **common)

    def check(self, betas: tuple[float | int, float | int]) -> None:  # type: ignore[override]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"the two betas must lie in [0, 1), got {betas}")

    def update(  # type: ignore[override]
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, m: np.ndarray,
        *, betas: tuple[float | int, float | int],
    ) -> None:  # fmt: skip
        beta1, beta2 = betas
        np.multiply(m, beta1 / (1 - beta1), out=s)  # (E1), divided by 1 - beta1
        s += g
        for a in range(0, s.size, 4096):  # in place, NumPy takes ten times as long for it
            s[a : a + 4096] = np.sign(s[a : a + 4096])  # (E2)
        s *= lr
        p -= s
        np.multiply(g, 1 - beta2, out=s)  # (E3)
        m *= beta2
        m += s


def lion_bound(
    L: float | int,
    n: int,
    gap: float | int,
    size: float | int,
    T: int,
    lr: float | int,
    betas: tuple[float | int, float | int] = (0.9, 0.99),
) -> float:
    """
    The bound of `optim.lion-rate` on the smallest $|g_t|_1$ of $T$ steps.

    Parameters
    ----------
    L
        A Lipschitz constant of the gradient.
    n
        Coordinates.
    gap
        $f(w_1) - f_*$.
    size
        $|g_1|_1$.
    T
        Steps.
    lr, betas
        As for `Lion`; the rate positive.

    Raises
    ------
    ValueError
        If the rate or the number of steps is not positive.

    Examples
    --------
    >>> lion_bound(1.0, 2, gap=4.0, size=3.0, T=100, lr=0.2, betas=(0.0, 0.0))  # the best rate: sqrt(2 2 1 4 / 100)
    0.4
    """
    if not (lr > 0 and T >= 1):
        raise ValueError(f"the bound needs lr > 0 and T >= 1, got lr={lr}, T={T}")
    beta1, beta2 = betas
    return gap / (lr * T) + n * L * lr / 2 + 2 * beta1 / (1 - beta2) * (size / T + n * L * lr)
