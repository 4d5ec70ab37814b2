r"""
Adam and AMSGrad: a convex game that Adam loses for ever, and the line that mends it.

`fp_optim.adagrad` proves that AdaGrad's average regret vanishes. The proof needs that the denominators never fall.
Adam's do fall, because its mean of squares forgets. Is that a gap in a proof, or in the method? This section shows a
game in one dimension, with linear losses, in which Adam ends at the worst point there is and stays; and it proves that
AMSGrad, which remembers the largest mean of squares, does well in every game.

You need: `fp_optim.adaptive` (Adam), `fp_optim.adagrad` (the game, its regret, the proof that is taken up here).

## A loss that is seldom large

The box is $[-1, 1]$. In every $P$-th round, the first of them included, the loss is $C x$; in the others it is $-x$:

$$
f_t(x) = \begin{cases} C x & t = 1,\ P + 1,\ 2 P + 1, \dots \\ -x & \text{otherwise,} \end{cases}
\qquad C > P - 1 \ge 1. \qquad \text{(E1)}
$$

Over a period the losses sum to $(C - (P - 1))\, x$, so the best point is $-1$. Adam with $\beta_1 = 0$ divides each
gradient by a running root mean square. The seldom large one raises its own denominator at once, so that its step is
never longer than $\eta / \sqrt{1 - \beta_2}$, however large $C$ is. The small ones come when most of that is forgotten,
and there are many of them. Up to clipping, Adam plays $x_{t+1} = x_t - \eta_t\, g_t / (\sqrt{\hat v_t} + \varepsilon)$
with $\hat v_t$ as in `optim.adam-bias`.

**Claim** `optim.adam-fooled`. Let $\beta_1 = 0$, $0 \le \beta_2 < 1$, $\varepsilon \ge 0$, $\eta > 0$, and let the
rates be $\eta_t = \eta$ for all $t$ or $\eta_t = \eta / \sqrt t$ for all $t$. Suppose that for $t = 1$ with $c_t = 1$,
and for $t = P + 1$ with $c_t = 1 / \sqrt{1 - \beta_2}$,

$$
\sum_{j=1}^{P-1} \frac{\eta_{t+j} / \eta_t}{\sqrt{1 + \beta_2^j C^2} + \varepsilon} \ge c_t. \qquad \text{(E2)}
$$

Then Adam, clipped to $[-1, 1]$ and started at $x_1 = 1$, is at $1$, the worst point, at the start of every period; and
for every $T$ that is a multiple of $P$

$$\frac{R_T(-1)}{T} \ge \frac{2\, (C - P + 1)}{P} > 0.$$

**Proof.** Let $t$ be the first round of a period and $x_t = 1$. We follow Adam to $x_{t+P}$.

Down: $v_t \ge (1 - \beta_2)\, C^2$, so $\hat v_t = v_t / (1 - \beta_2^t) \ge (1 - \beta_2)\, C^2$, and
$x_{t+1} \ge 1 - d$ with $d = \eta_t C / (\sqrt{\hat v_t} + \varepsilon) \le \eta_t / \sqrt{1 - \beta_2}$. In the very
first round $\hat v_1 = C^2$, so there $d \le \eta_1$. In both cases $d \le c_t \eta_t$, with
$c_t = 1 / \sqrt{1 - \beta_2}$ for all later periods.

Up: after $j \le P - 1$ rounds with squares $1$, $v_{t+j} = \beta_2^j v_t + 1 - \beta_2^j$. All squares up to $t$ are at
most $C^2$, so $v_t \le (1 - \beta_2^t)\, C^2$, and

$$
\hat v_{t+j} \le \frac{\beta_2^j (1 - \beta_2^t)\, C^2 + 1 - \beta_2^j}{1 - \beta_2^{t+j}} \le \beta_2^j C^2 + 1,
$$

because $1 - \beta_2^t \le 1 - \beta_2^{t+j}$ and $1 - \beta_2^j \le 1 - \beta_2^{t+j}$. So round $t + j$ goes up, to
$\min (1, x_{t+j} + s_j)$ with $s_j \ge \eta_{t+j} \big( \sqrt{1 + \beta_2^j C^2} + \varepsilon \big)^{-1}$.

Together $x_{t+P} \ge \min (1, 1 - d + s_1 + \dots + s_{P-1})$, which is $1$ if the $s_j$ sum to $c_t \eta_t$ at least.
That is (E2) for this $t$. For constant rates (E2) does not depend on $t$ otherwise than by $c_t$; for
$\eta_t = \eta / \sqrt t$ the quotients $\sqrt{t / (t + j)}$ grow with $t$. So (E2) for $t = 1$ and $t = P + 1$ is (E2)
for the first rounds of all periods, and from $x_1 = 1$ follows $x_{P+1} = 1$, $x_{2P+1} = 1$, and so on.

The regret of a period: $C \cdot 1 - C \cdot (-1) = 2 C$ in its first round, and $-x_t - 1 \ge -2$ in each of the other
$P - 1$. $\blacksquare$

**Claim** `optim.adam-always-fooled`. For every $\beta_2 < 1$ and $\varepsilon \ge 0$, (E2) holds for both kinds of
rates once $P$ is large enough and $C = P$.

**Proof.** The quotients of rates are $1$ or $\sqrt{t / (t + j)} \ge \sqrt{1 / (1 + j)}$, so at least $1 / \sqrt P$. Let
$J \ge 1$ be the first whole number with $\beta_2^J P^2 \le 1$. If $P > J$, the $P - J$ terms of (E2) from the $J$-th on
are at least $\frac{1}{\sqrt P} \cdot \frac{1}{\sqrt2 + \varepsilon}$, and

$$
\frac{P - J}{\sqrt P\, (\sqrt2 + \varepsilon)} = \frac{1}{\sqrt2 + \varepsilon} \Big( \sqrt P - \frac{J}{\sqrt P} \Big).
$$

For $\beta_2 = 0$, $J = 1$. Otherwise $J \le 1 + 2 \ln P / \ln (1 / \beta_2)$, and by `markov.log-tangent`
$\ln P = 4 \ln P^{1/4} \le 4 P^{1/4}$. So $J / \sqrt P \to 0$ and the sum exceeds every number, $1 / \sqrt{1 - \beta_2}$
too. $\blacksquare$

The shortest periods with $C = P$, to the digits given, that fool Adam at a constant rate:

>>> for beta2, step in ((0.1, 1), (0.9, 1), (0.99, 10), (0.999, 100)):
...     print(beta2, next(P for P in range(step, 20_000, step) if P > 2 and fools_adam(P, P, beta2)))
0.1 3
0.9 39
0.99 730
0.999 10200

With the usual $\beta_2 = 0.999$ the large gradient must be a rare one, once in ten thousand rounds. With
$\beta_2 = 0.1$ a game of three rounds is enough, and can be watched. Here $P = C = 3$, so the claim says at least
$\frac23$:

>>> for make in (Adam, AMSGrad):
...     x = play(lambda p: make(p, lr=0.5, betas=(0.0, 0.1)), period=3, large=3.0, n_rounds=3000, falling=True)
...     average = average_regret(x, period=3, large=3.0)
...     print(make.__name__, [round(average[t - 1].item(), 3) for t in (30, 300, 3000)])
Adam [0.749, 0.693, 0.675]
AMSGrad [0.604, 0.208, 0.028]

## The largest so far

AMSGrad divides by the largest mean of squares that it has seen:

$$
\bar v_t = \max (\bar v_{t-1}, v_t), \quad \bar v_0 = 0, \qquad w_{t+1} = \operatorname{clip} \Big( w_t
  - \eta_t\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{\bar v_t / (1 - \beta_2^t)} + \varepsilon} \Big), \qquad \text{(E3)}
$$

for each coordinate, with $m_t$ and $v_t$ as in Adam (`fp_optim.adaptive`).

**Claim** `optim.amsgrad-regret`. Let all $f_t$ be convex on a box with sides $D_i$, with subgradients of
$|g_{t,i}| \le G_i$. Let $0 \le \beta_1 < 1$, $\beta_1^2 < \beta_2 < 1$, $\varepsilon > 0$, $\eta_t = \eta / \sqrt t$
with $\eta > 0$, and $w_1$ in the box. Then (E3) has for every $u$ in the box

$$
R_T(u) \le \sum_i \bigg( \frac{D_i^2 (G_i + \varepsilon)}{2 \eta} \sqrt T
  + \frac{(1 + \beta_1)\, \eta\, G_i}{(1 - \beta_1) \sqrt{(1 - \beta_2) (1 - \beta_1^2 / \beta_2)}} \sqrt T
  + \frac{\beta_1 D_i G_i}{1 - \beta_1} \bigg).
$$

So the average regret $R_T / T$ is at most a constant over $\sqrt T$.

**Proof.** As for `optim.adagrad-regret` it is enough to bound $\sum_t g_t (w_t - u)$ for each coordinate, whose index
we drop. Write $\beta = \beta_1$, and (E3) as $w_{t+1} = \operatorname{clip} (w_t - m_t / h_t)$ with

$$
h_t = \frac{1 - \beta^t}{\eta} \bigg( \sqrt{\bar v_t} \sqrt{\frac{t}{1 - \beta_2^t}} + \varepsilon \sqrt t \bigg) > 0.
\qquad \text{(E4)}
$$

*It never falls.* $1 - \beta^t$, $\bar v_t$ and $\sqrt t$ do not. Nor does $\frac{t}{1 - \beta_2^t}$, since
$\frac{1 - \beta_2^t}{t} = (1 - \beta_2) \cdot \frac1t (1 + \beta_2 + \dots + \beta_2^{t-1})$ is, up to a factor, the
mean of numbers each of which is no larger than those before it.

*It does not get too large.* $v_t \le (1 - \beta_2^t)\, G^2$, as the weights sum to $1 - \beta_2^t$ (`optim.adam-bias`).
So $\bar v_T \le (1 - \beta_2^T)\, G^2$ and

$$h_T \le \frac{\sqrt T}{\eta} (G + \varepsilon). \qquad \text{(E5)}$$

*It is not too small for $m_t$.* By `autograd.cauchy-schwarz`, with $k$ counting back from $t$,

$$
m_t^2 = \Big( \sum_k (1 - \beta)\, \beta^k g_{t-k} \Big)^2
  \le \sum_k \frac{(1 - \beta)^2 \beta^{2k}}{(1 - \beta_2)\, \beta_2^k} \cdot \sum_k (1 - \beta_2)\, \beta_2^k g_{t-k}^2
  \le \frac{(1 - \beta)^2}{(1 - \beta_2) (1 - \beta^2 / \beta_2)}\; v_t,
$$

so $|m_t| \le (1 - \beta)\, \gamma \sqrt{\bar v_t}$ with
$\gamma = \big( (1 - \beta_2) (1 - \beta^2 / \beta_2) \big)^{-1/2}$. In (E4) $1 - \beta^t \ge 1 - \beta$ and
$1 - \beta_2^t \le 1$, so $h_t \ge \frac{1 - \beta}{\eta} \sqrt{\bar v_t}\, \sqrt t$. With $|m_t| \le G$,
$\frac{1}{\sqrt t} = \frac{2}{2 \sqrt t} \le \frac{2}{\sqrt t + \sqrt{t - 1}} = 2 (\sqrt t - \sqrt{t - 1})$ and these
adding up to $2 \sqrt T$,

$$
\sum_{t=1}^{T} \frac{m_t^2}{h_t} \le \sum_{t=1}^{T} \frac{\eta \gamma\, |m_t|}{\sqrt t} \le 2 \eta \gamma\, G \sqrt T.
\qquad \text{(E6)}
$$

(Where $\bar v_t = 0$ all gradients so far were zero, $m_t = 0$, and the terms are zero.)

*The sum with $m_t$.* By `optim.clip-closer` $(w_{t+1} - u)^2 \le (w_t - u - m_t / h_t)^2$; as in (E4) and (E5) of
`fp_optim.adagrad`, with $\eta = 1$ and $m_t$ in place of $g_t$, because $h_t$ never falls,

$$\sum_{t=1}^{T} m_t (w_t - u) \le \frac{D^2}{2} h_T + \frac12 \sum_{t=1}^{T} \frac{m_t^2}{h_t}. \qquad \text{(E7)}$$

*From $m_t$ to $g_t$.* As $(1 - \beta)\, g_t = m_t - \beta m_{t-1}$ and $m_0 = 0$,

$$
\begin{aligned}
(1 - \beta) \sum_{t=1}^{T} g_t (w_t - u)
  &= \sum_{t=1}^{T} m_t (w_t - u) - \beta \sum_{t=1}^{T-1} m_t (w_{t+1} - u) \\
  &= \sum_{t=1}^{T} m_t (w_t - u) - \beta \sum_{t=1}^{T-1} m_t (w_t - u)
    + \beta \sum_{t=1}^{T-1} m_t (w_t - w_{t+1}) \\
  &= (1 - \beta) \sum_{t=1}^{T} m_t (w_t - u) + \beta\, m_T (w_T - u) + \beta \sum_{t=1}^{T-1} m_t (w_t - w_{t+1}).
\end{aligned}
$$

Here $|m_T (w_T - u)| \le G D$, and $|w_t - w_{t+1}| \le |m_t| / h_t$, by `optim.clip-closer` with $w_t$ for $u$. Divide
by $1 - \beta$ and use (E7), then (E5) and (E6):

$$
\begin{aligned}
\sum_{t=1}^{T} g_t (w_t - u)
  &\le \frac{D^2}{2} h_T + \Big( \frac12 + \frac{\beta}{1 - \beta} \Big) \sum_{t=1}^{T} \frac{m_t^2}{h_t}
    + \frac{\beta D G}{1 - \beta} \\
  &\le \frac{D^2 (G + \varepsilon)}{2 \eta} \sqrt T + \frac{1 + \beta}{1 - \beta}\, \eta \gamma\, G \sqrt T
    + \frac{\beta D G}{1 - \beta}. \qquad \blacksquare
\end{aligned}
$$

For Adam, with $v_t$ in place of $\bar v_t$ in (E4), everything holds but the first step: $h_t$ falls when a large
gradient is forgotten.

## Measured

On the left AdaGrad under `optim.adagrad-regret`: in a game where coordinate $i = 0, \dots, 7$ is called in a fraction
$2^{-i}$ of the rounds and costs $|w_i - c|$ for a fair coin $c = \pm 1$, against the best point of each $T$; and on
one function, logistic regression, the gap of the mean point (`optim.adagrad-average`). In the middle the game (E1) with
$P = C = 3$ and falling rates, as above. On the right sign descent and Lion on logistic regression, under
`optim.lion-rate` of `fp_optim.lion`, each $T$ with the rate that makes its bound smallest. Penalties are $10^{-3}$.

<!-- figure: regret -->

In the game of coins the measured line falls about as its bound does, like $1 / \sqrt T$: a fair coin leaves nothing to
learn. The logistic loss stays the same and is smooth, which the theorem does not use, so there it promises far too
little. The bound of Adam is the floor of `optim.adam-fooled`, and Adam comes down to it. Lion's bound is far
above that of sign descent, since it pays $2 \beta_1 / (1 - \beta_2) = 180$ for the age of its buffer.

## In practice

AMSGrad is seldom used to train networks, where its gains are small; the example asks for a gradient that is both rare
and decisive. What remains is a warning of small $\beta_2$ where rare examples matter. `Adam` keeps its decay inside the
gradient, where `optim.decoupled-decay` says it loses its strength; prefer `fp_optim.adaptive.AdamW`. Both classes agree
with PyTorch's `Adam`, with `amsgrad=True` for the second, which takes the maximum before the correction as (E3) does.

Momentum does not save Adam. With $\beta_1 = \beta_2 = 0.9$, the average regrets after a hundred periods and after three
hundred:

>>> for make in (Adam, AMSGrad):
...     x = play(lambda p: make(p, 0.5, (0.9, 0.9)), period=31, large=45.0, n_rounds=9300, falling=True)
...     print(make.__name__, average_regret(x, 31, 45.0)[[3099, 9299]].round(2).tolist())
Adam [0.41, 0.39]
AMSGrad [0.08, 0.03]

The authors of AMSGrad proved that such games exist for all $\beta_1^2 < \beta_2$. Their bound for AMSGrad asks for a
$\beta_1$ that fades with $t$; that it need not, by the rearrangement above, is due to Alacaoglu and others.

References: Reddi, Kale and Kumar, *On the convergence of Adam and beyond* (arXiv 1904.09237), for the example and
AMSGrad; Alacaoglu, Malitsky, Mertikopoulos and Cevher, *A new regret analysis for Adam-type algorithms* (arXiv
2003.09729); Kingma and Ba, *Adam* (arXiv 1412.6980).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_optim.adaptive import AdamW
from fp_optim.optimizer import Array, Optimizer

__all__ = ["Adam", "AMSGrad", "play", "average_regret", "fools_adam", "amsgrad_bound"]


class Adam(AdamW):
    r"""
    Adam: the rule of `fp_optim.adaptive.AdamW`, with the decay inside the gradient.

    Parameters
    ----------
    parameters, lr
        As for `fp_optim.optimizer.Optimizer`.
    betas
        The two fading factors, each in `[0, 1)`.
    eps
        Positive; what is added to the root.
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
    >>> w = np.array([[1.0, -100.0]])
    >>> Adam({"w": w}, lr=0.1, weight_decay=0.5).step({"w": np.zeros((1, 2))})
    >>> w.round(3).tolist()  # both decay by the rate, whatever their size and the strength
    [[0.9, -99.9]]
    """

    PENALTY = True

    def __init__(
        self,
        parameters: Mapping[str, Array],
        lr: float | int = 1e-3,
        betas: tuple[float | int, float | int] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | int = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay, **common)


class AMSGrad(Adam):
    r"""
    AMSGrad (E3) without the box.

    Parameters
    ----------
    parameters, lr, betas, eps, weight_decay, **common
        As for `Adam`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    After a large gradient the steps of small ones stay short:

    >>> for make in (Adam, AMSGrad):
    ...     w = np.zeros(1)
    ...     optimizer = make({"w": w}, lr=1.0, betas=(0.0, 0.5))
    ...     for g in (100.0, *[-1.0] * 30):
    ...         optimizer.step({"w": np.array([g])})
    ...     print(round(w.item(), 2))
    19.16
    -0.58
    """

    STATE = ("m", "v", "largest")  # type: ignore[assignment]

    def scale(self, v: np.ndarray, largest: np.ndarray) -> np.ndarray:  # type: ignore[override]
        """The largest mean square so far: that of (E3), before the correction of its bias."""
        return np.maximum(largest, v, out=largest)


def play(
    make: Callable[[dict[str, np.ndarray]], Optimizer],
    period: int,
    large: float | int,
    n_rounds: int,
    falling: bool = False,
    start: float | int = 1.0,
) -> Float[np.ndarray, " rounds"]:
    """
    Play the game (E1) with an optimizer, clipped to $[-1, 1]$ after each step.

    Parameters
    ----------
    make
        Makes the optimizer of the parameters it is given, a single number.
    period
        $P$, at least 2.
    large
        $C$, more than $P - 1$.
    n_rounds
        $T$.
    falling
        Divide the optimizer's rate by $\\sqrt t$.
    start
        $x_1$.

    Returns
    -------
    ndarray
        $x_1, \\dots, x_T$.

    Raises
    ------
    ValueError
        If the game is not that of (E1).

    Examples
    --------
    >>> play(lambda p: Adam(p, lr=0.25, betas=(0.0, 0.1)), period=3, large=3.0, n_rounds=7).round(2).tolist()
    [1.0, 0.75, 0.94, 1.0, 0.74, 0.93, 1.0]
    """
    _check_game(period, large)
    x = np.array([float(start)])
    optimizer, points = make({"x": x}), np.empty(n_rounds)
    for t in range(1, n_rounds + 1):
        points[t - 1] = x[0]
        optimizer.step({"x": _slopes(np.array([t]), period, large)}, optimizer.lr / math.sqrt(t) if falling else None)
        np.clip(x, -1, 1, out=x)
    return points


def average_regret(
    points: Float[np.ndarray, " rounds"], period: int, large: float | int
) -> Float[np.ndarray, " rounds"]:
    """
    $R_t(-1) / t$ for $t = 1, \\dots, T$, the average regret against the best point of the game (E1).

    Examples
    --------
    >>> average_regret(np.ones(3), period=3, large=3.0).round(3).tolist()  # 6, 6 - 2, 6 - 2 - 2
    [6.0, 2.0, 0.667]
    """
    _check_game(period, large)
    t = np.arange(1, len(points) + 1)
    return np.cumsum(_slopes(t, period, large) * (points + 1)) / t


def fools_adam(
    period: int, large: float | int, beta2: float | int, eps: float | int = 1e-8, falling: bool = False
) -> bool:
    """
    Whether (E2) holds: the game fools Adam with $\\beta_1 = 0$, whatever its rate.

    Examples
    --------
    >>> fools_adam(3, 3.0, 0.1), fools_adam(3, 3.0, 0.1, falling=True), fools_adam(3, 3.0, 0.9)
    (True, True, False)
    """
    _check_game(period, large)
    j = np.arange(1, period)
    for t, needed in ((1, 1.0), (period + 1, 1 / math.sqrt(1 - beta2))):
        quotients = np.sqrt(t / (t + j)) if falling else np.ones(period - 1)
        if (quotients / (np.sqrt(1 + beta2**j * large**2) + eps)).sum() < needed:
            return False
    return True


def amsgrad_bound(
    T: int,
    widths: Float[np.ndarray, " n"],
    sizes: Float[np.ndarray, " n"],
    lr: float | int,
    betas: tuple[float | int, float | int],
    eps: float | int = 1e-8,
) -> float:
    """
    The bound on the regret of `optim.amsgrad-regret`.

    Parameters
    ----------
    T
        Rounds.
    widths
        $D_i$, the sides of the box.
    sizes
        $G_i$, bounds on the gradients.
    lr
        $\\eta$; round $t$ has the rate $\\eta / \\sqrt t$.
    betas, eps
        As for `AMSGrad`.

    Raises
    ------
    ValueError
        If the betas are not in `[0, 1)` with $\\beta_1^2 < \\beta_2$.

    Examples
    --------
    >>> round(amsgrad_bound(100, np.array([2.0]), np.array([3.0]), 0.5, (0.0, 0.75)), 3)
    150.0
    """
    beta1, beta2 = betas
    if not (0 <= beta1 < 1 and beta1**2 < beta2 < 1):
        raise ValueError(f"the bound needs betas in [0, 1) with beta1^2 < beta2, got {betas}")
    gamma = 1 / math.sqrt((1 - beta2) * (1 - beta1**2 / beta2))
    per_root = widths**2 * (sizes + eps) / (2 * lr) + (1 + beta1) / (1 - beta1) * lr * gamma * sizes
    return float((per_root * math.sqrt(T) + beta1 * widths * sizes / (1 - beta1)).sum())


def _slopes(t: np.ndarray, period: int, large: float | int) -> np.ndarray:
    """The gradients of (E1) in rounds `t`, counted from 1."""
    return np.where(t % period == 1, float(large), -1.0)


def _check_game(period: int, large: float | int) -> None:
    if not (period >= 2 and large > period - 1):
        raise ValueError(f"the game needs period >= 2 and large > period - 1, got period={period}, large={large}")
