r"""
AdaGrad and RMSprop: a rate for every coordinate, from the gradients seen so far.

A word that occurs once in a thousand batches has a gradient once in a thousand steps. A rate that suits the common
words moves it too little to learn anything from its few occasions. AdaGrad divides each coordinate's rate by the size
of all the gradients that it has had: those that had few keep long steps. Its guarantee asks for nothing but convexity,
not even that the function stays the same. Then RMSprop, which forgets.

You need: `autograd.subgradient-slope` (subgradients), `optim.convex-gradient`, `markov.jensen`,
`autograd.cauchy-schwarz`.

## A game

In round $t = 1, \dots, T$ we choose a point $w_t$ of a box $K = [a_1, b_1] \times \dots \times [a_n, b_n]$; then we are
told a convex function $f_t$ and pay $f_t(w_t)$. What we learn is a subgradient $g_t$ of $f_t$ at $w_t$, a vector with

$$f_t(u) \ge f_t(w_t) + g_t \cdot (u - w_t) \quad \text{for all } u \text{ in } K, \qquad \text{(E1)}$$

the gradient, where there is one (`optim.convex-gradient`). Nothing is assumed of how the functions are chosen; they may
be losses on batches, or an opponent's. The **regret** against a fixed point $u$ of $K$ is what we would have saved by
playing it every time:

$$R_T(u) = \sum_{t=1}^{T} \big( f_t(w_t) - f_t(u) \big). \qquad \text{(E2)}$$

AdaGrad keeps for each coordinate $i$ the sum $S_{t,i} = g_{1,i}^2 + \dots + g_{t,i}^2$ and plays

$$
w_{t+1,i} = \operatorname{clip}_i \Big( w_{t,i} - \eta_i \frac{g_{t,i}}{\sqrt{S_{t,i}} + \varepsilon} \Big),
\qquad \text{(E3)}
$$

where $\operatorname{clip}_i$ takes a number to the nearest one of $[a_i, b_i]$, and $0 / 0$ is to be read as $0$.

**Claim** `optim.clip-closer`. If $u$ lies in $[a, b]$ then $|\operatorname{clip}(x) - u| \le |x - u|$ for every $x$.

**Proof.** If $x$ lies in $[a, b]$ it stays. If $x > b$ then $u \le b < x$, so
$|\operatorname{clip}(x) - u| = b - u < x - u$. For $x < a$ change all signs. $\blacksquare$

**Claim** `optim.root-sum`. For numbers $g_1, \dots, g_T$ with $S_t = g_1^2 + \dots + g_t^2$,
$\sum_{t=1}^{T} \frac{g_t^2}{\sqrt{S_t}} \le 2 \sqrt{S_T}$, where terms with $g_t = 0$ count as $0$.

**Proof.** Let $S_0 = 0$. Since $S_{t-1} \le S_t$,

$$
g_t^2 = S_t - S_{t-1} = \big( \sqrt{S_t} - \sqrt{S_{t-1}} \big) \big( \sqrt{S_t} + \sqrt{S_{t-1}} \big)
  \le \big( \sqrt{S_t} - \sqrt{S_{t-1}} \big)\, 2 \sqrt{S_t} .
$$

Divide by $\sqrt{S_t}$ if $g_t \ne 0$; the differences add up to $\sqrt{S_T}$. $\blacksquare$

**Claim** `optim.adagrad-regret`. Let all $f_t$ be convex on the box $K$, with subgradients $g_t$ as in (E1), let
$D_i = b_i - a_i$, $\eta_i > 0$, $\varepsilon \ge 0$, and $w_1$ in $K$. Whatever the functions, (E3) has for every $u$
in $K$

$$
R_T(u) \le \sum_{i=1}^{n} \Big( \frac{D_i^2}{2 \eta_i} \big( \sqrt{S_{T,i}} + \varepsilon \big)
  + \eta_i \sqrt{S_{T,i}} \Big).
$$

For $\eta_i = D_i / \sqrt2$ and $\varepsilon = 0$ the right side is $\sqrt2\, \sum_i D_i \sqrt{S_{T,i}}$.

**Proof.** By (E1) $f_t(w_t) - f_t(u) \le g_t \cdot (w_t - u)$, so it is enough to bound $\sum_t g_t (w_t - u)$ for each
coordinate, whose index we drop. Let $h_t = \sqrt{S_t} + \varepsilon$. Rounds before the first with $g_t \ne 0$ add
nothing and move nothing; leave them out, so that all $h_t > 0$. By `optim.clip-closer`

$$
(w_{t+1} - u)^2 \le \Big( w_t - u - \eta \frac{g_t}{h_t} \Big)^2
  = (w_t - u)^2 - \frac{2 \eta}{h_t}\, g_t (w_t - u) + \eta^2 \frac{g_t^2}{h_t^2}.
$$

Solve for the product and sum over the rounds:

$$
\sum_{t=1}^{T} g_t (w_t - u) \le \sum_{t=1}^{T} \frac{h_t}{2 \eta} \big( (w_t - u)^2 - (w_{t+1} - u)^2 \big)
  + \frac\eta2 \sum_{t=1}^{T} \frac{g_t^2}{h_t}. \qquad \text{(E4)}
$$

Sort the first sum by squares and leave out the last, $-h_T (w_{T+1} - u)^2$. As $h_t$ never falls and
$(w_t - u)^2 \le D^2$, it is at most

$$
\frac{1}{2 \eta} \Big( h_1 (w_1 - u)^2 + \sum_{t=2}^{T} (h_t - h_{t-1}) (w_t - u)^2 \Big)
  \le \frac{D^2}{2 \eta} \Big( h_1 + \sum_{t=2}^{T} (h_t - h_{t-1}) \Big) = \frac{D^2}{2 \eta}\, h_T. \qquad \text{(E5)}
$$

By `optim.root-sum`, and because $h_t \ge \sqrt{S_t}$, the second sum of (E4) is at most $\eta \sqrt{S_T}$. For the last
statement, $\frac{D^2 \sqrt2}{2 D} + \frac{D}{\sqrt2} = \sqrt2\, D$. $\blacksquare$

If all $|g_{t,i}| \le G$, then $\sqrt{S_{T,i}} \le G \sqrt T$, and the average regret $R_T / T$ is at most a constant
over $\sqrt T$. A coordinate whose gradient is not zero in $k$ rounds only contributes $D G \sqrt{2 k}$ to the sum,
however long the game. The word that is seldom seen costs what its own occasions cost.

**Claim** `optim.adagrad-average`. Let all $f_t$ be one convex function $f$, and let $\bar w_T$ be the mean of
$w_1, \dots, w_T$. Then $f(\bar w_T) - f(u) \le R_T(u) / T$ for every $u$ in $K$.

**Proof.** By `markov.jensen` for the concave $-f$, $f(\bar w_T) \le \frac1T \sum_t f(w_t)$. Subtract $f(u)$.
$\blacksquare$

How much is lost by not knowing the gradients in advance?

**Claim** `optim.adagrad-hindsight`. With fixed rates $\eta_i > 0$,
$w_{t+1,i} = \operatorname{clip}_i (w_{t,i} - \eta_i g_{t,i})$, in the same game

$$R_T(u) \le \sum_i \Big( \frac{D_i^2}{2 \eta_i} + \frac{\eta_i}{2} S_{T,i} \Big).$$

Over all choices of the rates the smallest value of this bound is $\sum_i D_i \sqrt{S_{T,i}}$, if all $S_{T,i} > 0$: for
$\eta_i = D_i / \sqrt{S_{T,i}}$, which can be known only after the game.

**Proof.** (E4) and (E5) hold with $h_t = 1$ for all $t$, with $\frac\eta2 S_T$ as the second sum. And
$\frac{D^2}{2 \eta} + \frac\eta2 S = D \sqrt S + \frac{1}{2 \eta} (D - \eta \sqrt S)^2$, where the square can be made
$0$. $\blacksquare$

So AdaGrad's bound is the best bound of any fixed rates, one for each coordinate and chosen in hindsight, times
$\sqrt2$.

## Forgetting

The sum never falls, so the rates never rise. For a convex problem that is right. In a network the gradients of early
training say little about later ones. **RMSprop** takes a mean that fades in place of the sum:

$$
v_t = \alpha v_{t-1} + (1 - \alpha)\, g_t^2, \qquad w_{t+1} = w_t - \eta \frac{g_t}{\sqrt{v_t} + \varepsilon},
\qquad v_0 = 0, \quad 0 \le \alpha < 1. \qquad \text{(E6)}
$$

**Claim** `optim.rmsprop-forgets`. Let $|g_s| \le C$ for $s \le t$ and $|g_s| = c > 0$ afterwards. After $k$ more rounds

$$
(1 - \alpha^k)\, c^2 \le v_{t+k} \le c^2 + \alpha^k C^2, \qquad \text{while} \quad
\sqrt{S_{t+k}} \ge \sqrt{S_t + k c^2} \ge \sqrt{S_t}.
$$

**Proof.** (E6) $k$ times is
$v_{t+k} = \alpha^k v_t + (1 - \alpha) (1 + \alpha + \dots + \alpha^{k-1})\, c^2 = \alpha^k v_t + (1 - \alpha^k)\, c^2$,
and $0 \le v_t \le (1 - \alpha) (1 + \alpha + \dots + \alpha^{t-1})\, C^2 \le C^2$. And $S_{t+k} = S_t + k c^2$.
$\blacksquare$

The weights of the squares in $v_t$ sum to $1 - \alpha^t$ only (`optim.adam-bias`). Adam corrects that; RMSprop's first
steps are too long:

**Claim** `optim.rmsprop-bounded`. AdaGrad (E3) moves a coordinate by at most $\eta_i$ in a step, and RMSprop by at most
$\eta / \sqrt{1 - \alpha}$. As $\varepsilon \to 0$, both are reached in the first step by every gradient that is not
zero.

**Proof.** $S_t \ge g_t^2$ and $v_t \ge (1 - \alpha)\, g_t^2$; clipping does not lengthen a step that starts in the box,
by `optim.clip-closer` with $u = w_t$. For $t = 1$ the two are equalities, and $\frac{|g|}{|g| + \varepsilon} \to 1$,
$\frac{|g|}{\sqrt{1 - \alpha}\, |g| + \varepsilon} \to \frac{1}{\sqrt{1 - \alpha}}$. $\blacksquare$

For the usual $\alpha = 0.99$ that is ten times the rate.

The **centered** variant divides by a standard deviation: with $m_t = \alpha m_{t-1} + (1 - \alpha)\, g_t$, $m_0 = 0$,
it takes $\sqrt{v_t - m_t^2}$ in place of $\sqrt{v_t}$.

**Claim** `optim.centered-root`. $v_t \ge m_t^2$.

**Proof.** Let $u_s = (1 - \alpha)\, \alpha^{t-s}$, so that $m_t = \sum_s u_s g_s$, $v_t = \sum_s u_s g_s^2$ and
$\sum_s u_s = 1 - \alpha^t \le 1$. By `autograd.cauchy-schwarz`
$m_t^2 = \big( \sum_s \sqrt{u_s} \cdot \sqrt{u_s}\, g_s \big)^2 \le \sum_s u_s \cdot \sum_s u_s g_s^2 \le v_t$.
$\blacksquare$

In floating point a difference of nearly equal numbers may come out negative, so the code below cuts it off at zero.

## In practice

`AdaGrad` and `RMSprop` compute what PyTorch's classes of these names do, decay inside the gradient included; its
`lr_decay` is left to schedules, and its centered RMSprop does not cut off. Neither projects: to play in a box, clip the
parameters after each step. The proof needs the box, because nothing else keeps $(w_t - u)^2$ in (E5) from growing with
$t$, and it says nothing about networks, whose losses are not convex. RMSprop has no such guarantee even where the
losses are (`fp_optim.amsgrad` shows the reason). Full-matrix AdaGrad keeps the sum of $g_t g_t^\top$; Shampoo is its
affordable relative.

References: Duchi, Hazan and Singer, *Adaptive subgradient methods for online learning and stochastic optimization*
(2011); McMahan and Streeter (arXiv 1002.4908); Zinkevich, *Online convex programming* (2003); Hinton, lecture 6 of
*Neural Networks for Machine Learning* (2012), for RMSprop; Graves (arXiv 1308.0850), for the centered form.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_optim._named import check_not_negative
from fp_optim.momentum import check_momentum
from fp_optim.optimizer import Array, Optimizer

__all__ = ["AdaGrad", "adagrad_bound", "RMSprop"]


class AdaGrad(Optimizer):
    r"""
    AdaGrad (E3) without the box: $S \leftarrow S + g^2$, $w \leftarrow w - \eta g / (\sqrt S + \varepsilon)$.

    Parameters
    ----------
    parameters, lr
        As for `fp_optim.optimizer.Optimizer`. `lr_scale` in `groups` gives a parameter its own $\eta_i$.
    eps
        $\varepsilon$, positive.
    initial
        What the sums start from, not negative.
    weight_decay
        The strength $\lambda$ of a penalty $\frac12 \lambda |w|^2$, whose gradient is divided too.
    **common
        `groups`, `decay`, `check_finite` and `threads` of `fp_optim.optimizer.Optimizer`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    The second coordinate has a gradient in every fourth round only, and then moves as far as the first one did when
    it was new:

    >>> w = np.zeros(2)
    >>> optimizer = AdaGrad({"w": w}, lr=1.0)
    >>> for t in range(8):
    ...     optimizer.step({"w": np.array([1.0, 100.0 * (t % 4 == 0)])})
    >>> w.round(2).tolist()
    [-4.37, -1.71]
    """

    PENALTY = True
    STATE = ("total",)

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int = 0.01,
        eps: float = 1e-10,
        initial: float | int = 0.0,
        *,
        weight_decay: float | int = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(parameters, lr, eps=eps, initial=initial, weight_decay=weight_decay, **common)
        for name, total in self.state["total"].items():
            total.fill(self.options[name]["initial"])

    def check(self, eps: float | int, initial: float | int) -> None:  # type: ignore[override]
        check_eps(eps)
        check_not_negative(initial, "initial")

    def update(  # type: ignore[override]
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, total: np.ndarray,
        *, eps: float | int, initial: float | int,
    ) -> None:  # fmt: skip
        np.multiply(g, g, out=s)
        total += s
        np.sqrt(total, out=s)
        s += eps
        np.divide(g, s, out=s)
        s *= lr
        p -= s


def adagrad_bound(
    totals: Float[np.ndarray, "n"],
    widths: Float[np.ndarray, "n"],
    lr: float | int | Float[np.ndarray, "n"],
    eps: float | int = 0.0,
) -> float:
    """
    The bound on the regret of `optim.adagrad-regret`.

    Parameters
    ----------
    totals
        $S_{T,i}$, the sums of squared gradients at the end: `state["total"]` of an `AdaGrad` with `initial=0`.
    widths
        $D_i$, the sides of the box.
    lr
        $\\eta_i$, or one number for all.
    eps
        $\\varepsilon$.

    Examples
    --------
    >>> round(adagrad_bound(np.array([9.0]), np.array([2.0]), 2 / math.sqrt(2)), 3)  # sqrt 2 times 2 times 3
    8.485
    """
    roots = np.sqrt(totals)
    return float((widths**2 / (2 * lr) * (roots + eps) + lr * roots).sum())


class RMSprop(Optimizer):
    r"""
    RMSprop (E6), with momentum and centered if asked.

    Parameters
    ----------
    parameters, lr
        As for `fp_optim.optimizer.Optimizer`.
    alpha
        $\alpha$, in `[0, 1)`.
    eps
        $\varepsilon$, positive.
    momentum
        $\beta$, in `[0, 1)`: with $d$ the quotient in (E6), $b \leftarrow \beta b + d$ and $w \leftarrow w - \eta b$.
        Zero keeps no buffer.
    centered
        Divide by $\sqrt{v - m^2}$, at the price of another array.
    weight_decay
        The strength $\lambda$ of a penalty $\frac12 \lambda |w|^2$, whose gradient is divided too.
    **common
        `groups`, `decay`, `check_finite` and `threads` of `fp_optim.optimizer.Optimizer`.

    Raises
    ------
    ValueError
        If a setting is out of range, or a group asks for momentum or centering when the optimizer does not.

    Examples
    --------
    >>> w = np.zeros(2)
    >>> optimizer = RMSprop({"w": w}, lr=0.1)
    >>> optimizer.step({"w": np.array([1e-3, -1e3])})
    >>> w.round(3).tolist()
    [-1.0, 1.0]
    """

    PENALTY = True

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int = 0.01,
        alpha: float | int = 0.99,
        eps: float = 1e-8,
        *,
        momentum: float | int = 0.0,
        centered: bool = False,
        weight_decay: float | int = 0.0,
        **common: Any,
    ) -> None:
        self.STATE = ("square", *(("mean",) if centered else ()), *(("buffer",) if momentum else ()))
        super().__init__(
            parameters, lr, alpha=alpha, eps=eps, momentum=momentum, centered=centered, weight_decay=weight_decay,
            **common,
        )  # fmt: skip

    def check(  # type: ignore[override]
        self, alpha: float | int, eps: float | int, momentum: float | int, centered: bool
    ) -> None:
        if not 0 <= alpha < 1:
            raise ValueError(f"alpha must lie in [0, 1), got {alpha}")
        check_eps(eps)
        check_momentum(momentum)
        if (momentum and "buffer" not in self.STATE) or (centered and "mean" not in self.STATE):
            raise ValueError(
                "a group may have momentum or be centered only if the optimizer is, got momentum="
                f"{momentum}, centered={centered}; set it for all and switch it off in the other groups"
            )

    def update(  # type: ignore[override]
        self, t: int, lr: float | int, p: np.ndarray, g: np.ndarray, s: np.ndarray, square: np.ndarray,
        *others: np.ndarray, alpha: float | int, eps: float | int, momentum: float | int, centered: bool,
    ) -> None:  # fmt: skip
        square *= alpha
        np.multiply(g, g, out=s)
        s *= 1 - alpha
        square += s
        if centered:
            mean = others[0]
            mean *= alpha
            np.multiply(g, 1 - alpha, out=s)
            mean += s
            np.multiply(mean, mean, out=s)
            np.subtract(square, s, out=s)
            np.maximum(s, 0, out=s)  # `optim.centered-root`, but for rounding
            np.sqrt(s, out=s)
        else:
            np.sqrt(square, out=s)
        s += eps
        np.divide(g, s, out=s)
        if momentum:
            buffer = others[-1]
            buffer *= momentum
            buffer += s
            np.multiply(buffer, lr, out=s)
        else:
            s *= lr
        p -= s


def check_eps(eps: float | int) -> None:
    """Refuse what would divide zero by zero."""
    if not (eps > 0 and math.isfinite(eps)):
        raise ValueError(f"eps must be positive and finite, got {eps}")
