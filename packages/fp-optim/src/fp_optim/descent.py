r"""
Gradient descent: what a step gains, how many steps it takes, and which rate is too large.

Everything that trains a network is gradient descent with something added. Before adding anything: what does the plain
step promise? Each theorem of this section names what it asks of the function, and says how far from the goal one can
still be after $T$ steps. Every one is then held against measurements, and against the worst function that there is for
it.

You need: `fp_optim.norms` and `fp_optim.problems`.

## The step

By `autograd.steepest-ascent` a function falls fastest against its gradient. `neural.descent` went that way with a step
so small that nothing could go wrong. With the **rate** $\eta$, and $g_t = \nabla f(x_t)$,

$$x_{t+1} = x_t - \eta\, g_t. \qquad \text{(E1)}$$

**Claim** `optim.descent-step`. Let $f$ be smooth with the constant $L$. For every $\eta \ge 0$

$$f(x_{t+1}) \le f(x_t) - \eta\, \big( 1 - \tfrac{L \eta}{2} \big)\, |g_t|^2. \qquad \text{(E2)}$$

So $f$ falls if $0 < \eta < \frac2L$ and $g_t \ne 0$. The promise is largest for $\eta = \frac1L$, where it is
$\frac{1}{2L} |g_t|^2$. For $f(x) = \frac{L}{2} |x|^2$, (E2) is an equality for every $\eta$.

**Proof.** Put $y = x_t - \eta g_t$ into `optim.smooth-bound`:
$f(y) \le f(x_t) - \eta\, |g_t|^2 + \frac{L}{2} \eta^2 |g_t|^2$. The factor
$\eta - \frac{L}{2} \eta^2 = \frac{1}{2L} - \frac{L}{2} \big( \eta - \frac1L \big)^2$ is positive between $0$ and
$\frac2L$, and largest at $\frac1L$. For the parabola $g_t = L x_t$ and $x_{t+1} = (1 - L \eta)\, x_t$; as
$\frac{L}{2} (1 - L \eta)^2 = \frac{L}{2} - \eta\, \big( 1 - \frac{L \eta}{2} \big) L^2$, both sides agree.
$\blacksquare$

## With no more than that

**Claim** `optim.stationary-rate`. Let $f$ be smooth with the constant $L$ and $f \ge m$ everywhere, and
$0 < \eta < \frac2L$. Then for every $T \ge 1$

$$
\min_{t < T} |g_t|^2 \le \frac{f(x_0) - m}{\eta\, \big( 1 - \frac{L \eta}{2} \big)\, T}, \qquad
\text{which is } \frac{2 L\, (f(x_0) - m)}{T} \text{ for } \eta = \frac1L, \qquad \text{(E3)}
$$

and $g_t \to 0$.

**Proof.** Add (E2) for $t = 0, \dots, T - 1$:
$\eta\, \big( 1 - \frac{L \eta}{2} \big) \sum_{t < T} |g_t|^2 \le f(x_0) - f(x_T) \le f(x_0) - m$. The sum is at least
$T$ times its smallest term. It stays bounded as $T$ grows, so for every $\varepsilon > 0$ only finitely many of its
terms exceed $\varepsilon$: they tend to zero. $\blacksquare$

Nothing was said of minima: points with a short gradient may be saddles, or anywhere on a long plateau. For the loss of
a network this is the theorem that there is, and (E3) is what it says: to halve the gradient, four times the steps.

## Convex

**Claim** `optim.never-farther`. Let $f$ be convex and smooth with the constant $L$, and $0 \le \eta \le \frac2L$. Steps
(E1) from two points never take them farther apart. If $f$ is smallest at $x^\star$, then

$$|x_{t+1} - x^\star|^2 \le |x_t - x^\star|^2 - \eta\, \big( \tfrac2L - \eta \big)\, |g_t|^2. \qquad \text{(E4)}$$

**Proof.** Let $v = x - y$ and $w = \nabla f(x) - \nabla f(y)$. By (E10) of `fp_optim.norms`
$w \cdot v \ge \frac1L |w|^2$, so

$$
|v - \eta w|^2 = |v|^2 - 2 \eta\, (w \cdot v) + \eta^2 |w|^2 \le |v|^2 - \eta\, \big( \tfrac2L - \eta \big)\, |w|^2.
$$

The last term is not positive. With $y = x^\star$, where the gradient is zero (`optim.convex-minimum`), it is (E4).
$\blacksquare$

**Claim** `optim.convex-rate`. Let $f$ be convex, smooth with the constant $L$, and smallest at $x^\star$, with
$f^\star = f(x^\star)$. If $0 < \eta \le \frac1L$, then for every $T \ge 1$

$$f(x_T) - f^\star \le \frac{|x_0 - x^\star|^2}{2 \eta\, T}. \qquad \text{(E5)}$$

**Proof.** Since $1 - \frac{L \eta}{2} \ge \frac12$, (E2) says $f(x_{t+1}) \le f(x_t) - \frac{\eta}{2} |g_t|^2$; and
$f(x_t) \le f^\star + g_t \cdot (x_t - x^\star)$ is (E5) of `fp_optim.norms`. Together

$$
\begin{aligned}
f(x_{t+1}) - f^\star &\le g_t \cdot (x_t - x^\star) - \tfrac{\eta}{2}\, |g_t|^2 \\
  &= \tfrac{1}{2 \eta} \big( |x_t - x^\star|^2 - |x_t - x^\star - \eta g_t|^2 \big)
   = \tfrac{1}{2 \eta} \big( |x_t - x^\star|^2 - |x_{t+1} - x^\star|^2 \big).
\end{aligned}
$$

Add for $t = 0, \dots, T - 1$: the right sides leave
$\frac{1}{2 \eta} \big( |x_0 - x^\star|^2 - |x_T - x^\star|^2 \big)$, at most $\frac{1}{2 \eta} |x_0 - x^\star|^2$. On
the left stand $T$ terms, none of them below the last one, because $f(x_t)$ never rises. $\blacksquare$

## Strongly convex

**Claim** `optim.linear-rate`. Let $f$ be smooth with the constant $L$, smallest with the value $f^\star$, and let PL
hold, $|\nabla f(x)|^2 \ge 2 \mu\, (f(x) - f^\star)$ for all $x$ with $\mu > 0$, as it does by `optim.strong-convexity`
if $f$ is strongly convex. For $0 < \eta < \frac2L$ and every $T$

$$
f(x_T) - f^\star \le \big( 1 - 2 \mu \eta\, (1 - \tfrac{L \eta}{2}) \big)^T\, (f(x_0) - f^\star), \qquad
\text{with the factor } 1 - \frac{\mu}{L} \text{ for } \eta = \frac1L. \qquad \text{(E6)}
$$

**Proof.** Subtract $f^\star$ from (E2) and insert PL, which is allowed because $\eta (1 - \frac{L \eta}{2}) > 0$:
$f(x_{t+1}) - f^\star \le \big( 1 - 2 \mu \eta\, (1 - \frac{L \eta}{2}) \big) (f(x_t) - f^\star)$. The factor is not
negative: with $2 \eta\, (1 - \frac{L \eta}{2}) \le \frac1L$ it is at least $1 - \frac{\mu}{L}$, and $\mu \le L$ by
`optim.gradient-gap`, unless $f = f^\star$ everywhere and both sides are zero. So it can be applied $T$ times.
$\blacksquare$

This is called a linear rate: each step gains a fixed part of a digit. As $1 - x \le e^{-x}$, to come $e^k$ times as
close takes at most $k \kappa$ steps, with $\kappa = L / \mu$. For a thousandth of the gap at $\kappa = 100$:

>>> T = next(T for T in range(10_000) if linear_bound(1.0, 0.01, gap=1.0, T=T) <= 1e-3)
>>> T, T <= math.log(1e3) * 100
(688, True)

The points themselves, and not only the values, come nearer; and here the best rate is not $\frac1L$.

**Claim** `optim.contraction`. Let $f$ be strongly convex with the constant $\mu$ and smooth with the constant $L$. For
every $\eta \ge 0$ a step (E1) from two points brings their distance down to at most $q$ times what it was, and so

$$
|x_T - x^\star| \le q^T\, |x_0 - x^\star|, \qquad q = \max \big( |1 - \eta \mu|, |1 - \eta L| \big). \qquad \text{(E7)}
$$

$q < 1$ exactly if $0 < \eta < \frac2L$. It is smallest for $\eta = \frac{2}{L + \mu}$, where it is
$\frac{\kappa - 1}{\kappa + 1}$.

**Proof.** Let $v = x - y$ and $w = \nabla f(x) - \nabla f(y)$. By `optim.strong-cocoercive`

$$
|v - \eta w|^2 = |v|^2 - 2 \eta\, (w \cdot v) + \eta^2 |w|^2
  \le \Big( 1 - \frac{2 \eta \mu L}{L + \mu} \Big) |v|^2 + \eta\, \Big( \eta - \frac{2}{L + \mu} \Big) |w|^2.
$$

By (E7) of `fp_optim.norms`, and by its (E12) with `autograd.cauchy-schwarz`, $\mu |v| \le |w| \le L |v|$. If
$\eta \le \frac{2}{L + \mu}$ the last term is largest for the smallest $|w|$; insert $\mu |v|$, and the factor of
$|v|^2$ becomes

$$
1 - \frac{2 \eta \mu L}{L + \mu} + \eta^2 \mu^2 - \frac{2 \eta \mu^2}{L + \mu} = 1 - 2 \eta \mu + \eta^2 \mu^2
  = (1 - \eta \mu)^2.
$$

If $\eta \ge \frac{2}{L + \mu}$, insert $L |v|$, and it becomes $(1 - \eta L)^2$ in the same way. With $y = x^\star$,
which a step leaves where it is, $T$ steps give (E7). At $\eta = \frac{2}{L + \mu}$ the two numbers $1 - \eta \mu$ and
$\eta L - 1$ are both $\frac{L - \mu}{L + \mu}$; for a smaller $\eta$ the first is larger, for a larger $\eta$ the
second. Last, as $0 < \mu \le L$, $|1 - \eta \mu| < 1$ and $|1 - \eta L| < 1$ say $0 < \eta < \frac2\mu$ and
$0 < \eta < \frac2L$; the second is the narrower. $\blacksquare$

By (E8) of `fp_optim.norms`,
$f(x_T) - f^\star \le \frac{L}{2} |x_T - x^\star|^2 \le \frac{L}{2}\, q^{2T} |x_0 - x^\star|^2$.

## Quadratic functions, exactly

For these there is nothing to estimate. In the coordinates of the eigenvectors (E1) falls apart into parabolas, and
`neural.parabola-rate` does the rest.

**Claim** `optim.quadratic-descent`. Let $f(x) = \frac12 (x - x^\star) \cdot S (x - x^\star)$, where $S$ has the
orthonormal eigenvectors $q_i$ with the eigenvalues $L = \lambda_1 \ge \dots \ge \lambda_n = \mu \ge 0$, $L > 0$. With
$c_i(t) = q_i \cdot (x_t - x^\star)$,

$$
c_i(t) = (1 - \eta \lambda_i)^t\, c_i(0), \qquad
f(x_t) = \tfrac12 \sum_i \lambda_i\, (1 - \eta \lambda_i)^{2t}\, c_i(0)^2. \qquad \text{(E8)}
$$

$f(x_t) \to 0$ from every start exactly if $0 < \eta < \frac2L$. If $\eta > \frac2L$, then $f(x_t)$ grows without bound
from every start with $c_1(0) \ne 0$. If $\mu > 0$, (E7) is an equality for all $T$ from $x_0 = x^\star + q_1$ or from
$x_0 = x^\star + q_n$; at $\eta = \frac{2}{L + \mu}$ from both.

**Proof.** The gradient is $S (x - x^\star)$, and $q_i \cdot S (x - x^\star) = \lambda_i\, (q_i \cdot (x - x^\star))$.
So (E1) is $c_i(t + 1) = c_i(t) - \eta \lambda_i\, c_i(t)$ in each coordinate, and $f = \frac12 \sum_i \lambda_i c_i^2$
by `neural.spectral-theorem`. For $0 < \eta < \frac2L$ and $\lambda_i > 0$, $|1 - \eta \lambda_i| < 1$; terms with
$\lambda_i = 0$ are zero in $f$. For other $\eta$ the start $x^\star + q_1$ has
$f(x_t) = \frac{L}{2} (1 - \eta L)^{2t}$, which does not tend to zero, as $|1 - \eta L| \ge 1$. For $\eta > \frac2L$
that is above $1$, and $f(x_t) \ge \frac{L}{2} (\eta L - 1)^{2t} c_1(0)^2$. Last, from $x^\star + q_i$,
$|x_T - x^\star| = |1 - \eta \lambda_i|^T$, and $q$ is this number for $i = 1$ or for $i = n$. $\blacksquare$

With $\eta = \frac2L$ the steepest coordinate changes its sign for ever. A random start has all coordinates: just beyond
$\frac2L$ the steepest one explodes, however small it began.

>>> from fp_optim.problems import quadratic
>>> bowl = quadratic(np.array([1.0, 0.01]))
>>> start = np.array([1e-6, 1.0])
>>> for lr in (1.0, 1.98, 2.1):
...     print(f"{bowl.f(gradient_descent(bowl.grad, start, lr, 300)[-1]):.1e}")
1.2e-05
3.1e-08
3.4e+12

So the rate is set by the steepest direction, and the time by the flattest. That is the whole trouble of $\kappa$, and
what momentum is for.

## Are the bounds any good?

A bound might be true and far from anything that happens. On a quadratic function (E5) is: there the gap falls
geometrically. The Huber function of `fp_optim.problems`, with a plateau that lasts just as long as the run, shows that
nothing much better is true of all convex functions.

**Claim** `optim.worst-function`. Let $L, r > 0$, $T \ge 1$ and $\eta = \frac1L$, and start from $x_0 = r$. On the Huber
function with the constant $L$ and the width $w = \frac{r}{2T + 1}$

$$h(x_T) - h^* = \frac{L r^2}{4T + 2}, \qquad \text{(E9)}$$

so (E5), which says $\frac{L r^2}{2T}$, exceeds the truth by the factor $2 + \frac1T$. On the one with the width
$w = \frac{r}{T}$ (E3) exceeds the truth by the factor $2 - \frac1T$.

**Proof.** As long as $x_t \ge w$ the slope is $L w$, by `optim.huber`, and the step $w$. So $x_t = r - t w$ for $t$ up
to and with the first at which $r - t w < w$. In the first case $x_T = (2T + 1 - T)\, w = (T + 1)\, w$, and
$h(x_T) = L w\, \big( x_T - \frac{w}{2} \big) = L w^2\, \big( T + \frac12 \big) = \frac{L r^2}{2\, (2T + 1)}$; the
quotient of the two is $\frac{4T + 2}{2T}$. In the second case $x_t = (T - t)\, w \ge w$ for all $t < T$, so every
$|h'(x_t)|^2 = L^2 w^2$, and $h(x_0) = L w\, \big( T w - \frac{w}{2} \big) = L w^2\, \big( T - \frac12 \big)$. Then (E3)
is $\frac{2 L}{T}\, L w^2\, \big( T - \frac12 \big) = \big( 2 - \frac1T \big) L^2 w^2$. $\blacksquare$

(E9) is the best possible bound for all convex functions (Y. Drori and M. Teboulle, arXiv 1206.3209), with a longer
proof than (E5). The distances (E7) are exact on quadratic functions. Inserted into $f$ they say $q^{2T}$, with
$1 - \frac{\mu}{L}$ for $q$ at $\eta = \frac1L$: to strongly convex functions (E6) promises half the digits that arrive.

## Saddles

Where the gradient vanishes, the surface may go up in some directions and down in others. Does descent get stuck there?

**Claim** `optim.saddle-escape`. Let $f(x) = \frac12\, x \cdot S x$, where the symmetric $S$ has orthonormal
eigenvectors $q_i$ with the eigenvalues $\lambda_i$, none of them zero, some of them negative, and the largest in size
$L$; let $0 < \eta < \frac2L$. If $q_i \cdot x_0 = 0$ for all $i$ with $\lambda_i < 0$, then $x_t \to 0$, the saddle.
From every other start $|x_t|$ grows without bound and $f(x_t)$ falls below every number. If the coordinates of $x_0$
are drawn independently, each from a density, the first happens with probability zero.

**Proof.** As for (E8), $c_i(t) = (1 - \eta \lambda_i)^t\, c_i(0)$ with $c_i(t) = q_i \cdot x_t$. For $\lambda_i > 0$
the factor lies between $-1$ and $1$, so $c_i(t) \to 0$. For $\lambda_i < 0$ it is $1 + \eta |\lambda_i| > 1$: $c_i(t)$
stays $0$ if it is $0$, and otherwise grows without bound. If all of these are $0$, then
$|x_t|^2 = \sum_i c_i(t)^2 \to 0$. If one is not, $|x_t| \ge |c_i(t)|$ grows without bound; and in
$f(x_t) = \frac12 \sum_j \lambda_j c_j(t)^2$ the terms with $\lambda_j > 0$ tend to zero, those with $\lambda_j < 0$ are
not positive, and $\frac12 \lambda_i c_i(t)^2$ falls below every number. Last, let $\lambda_i < 0$. Some entry $j$ of
$q_i$ is not zero. Whatever the other coordinates of $x_0$ are, exactly one value of its coordinate $j$ makes
$q_i \cdot x_0 = 0$, and a single value has an area of zero under a density. $\blacksquare$

So descent does not stay at saddles, but it may linger: from a distance $\delta$ along $q_i$ it takes
$\ln \frac1\delta / \ln (1 + \eta |\lambda_i|)$ steps to be one away.

>>> saddle = np.array([1.0, -0.1])
>>> [round(math.log(1 / delta) / math.log(1.1)) for delta in (1e-3, 1e-6)]
[72, 145]
>>> gradient_descent(lambda x: saddle * x, np.array([1.0, 1e-6]), 1.0, 145)[-1].round(2)
array([0., 1.])

## Seen

Two problems and the worst functions, with $\eta = \frac1L$. The quadratic function has 50 eigenvalues from $10^{-3}$ to
$1$ in equal ratios, logistic regression 7 weights and a penalty of $10^{-3}$; the Huber function is another one for
each $T$. No measured line is above a bound.

<!-- figure: rates -->

On both strongly convex functions (E5) is for a long while the better of the two bounds: (E6) allows for a start along
the flattest direction, and until that direction is all that is left, it says less. Measured, the gap falls like a power
of $T$ as long as the steeper directions die out one after the other, and then like (E6), twice as fast.

## In practice

Nobody knows $L$ of a network. One takes the largest rate that does not diverge, which is the same thing measured: with
a fixed rate, full-batch training drives the largest eigenvalue of the Hessian up to $\frac2\eta$ and stays there (J.
Cohen and others, "Gradient descent on neural networks typically occurs at the edge of stability", arXiv 2103.00065).
$\frac2L$ is a limit for all functions with this $L$ together. A single one may be flatter where it matters, and stand
more. Line search tries rates until (E2) is met with a smaller constant, as (E8) of `fp_optim.problems` does; with noisy
gradients it is misled.

That saddles of curved functions are left too, from all starts but a set of volume zero, needs more tools (J. Lee and
others, "Gradient descent only converges to minimizers", 2016). Gradient descent is from A.-L. Cauchy (1847); (E6) under
PL from B. Polyak (1963), of which H. Karimi, J. Nutini and M. Schmidt (arXiv 1608.04636) give an overview. That no
method with gradients alone can be faster on all such functions than a constant over $T^2$, or bring the distance down
by a better factor than about $1 - 2 / \sqrt{\kappa}$ a step, is in Y. Nesterov's *Lectures on Convex Optimization*
(2018), and so are the methods that come up to it.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from fp_optim._named import check_rate

__all__ = [  # the order of the page
    "gradient_descent",
    "stationary_bound",
    "convex_bound",
    "linear_bound",
    "contraction",
    "best_rate",
]

Real = float | int
Steps = int | Int[np.ndarray, " m"]
Bound = float | Float[np.ndarray, " m"]


def gradient_descent(
    grad: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]],
    x0: Float[np.ndarray, " n"],
    lr: Real,
    n_steps: int,
) -> Float[np.ndarray, "steps n"]:
    """
    The points of gradient descent (E1), all of them.

    Parameters
    ----------
    grad
        The gradient at a point.
    x0
        Where to start; not changed.
    lr
        The rate, finite and not negative.
    n_steps
        How many steps, not negative.

    Returns
    -------
    ndarray
        `n_steps + 1` points, the first one `x0`. They are not checked: with too large a rate they grow to infinity.

    Raises
    ------
    ValueError
        If the rate or the number of steps is out of range.

    Examples
    --------
    >>> gradient_descent(lambda x: x, np.array([8.0]), 0.5, 3).T
    array([[8., 4., 2., 1.]])
    """
    check_rate(lr)
    if n_steps < 0:
        raise ValueError(f"the number of steps is not negative, got {n_steps}")
    path = np.empty((n_steps + 1, *x0.shape), dtype=x0.dtype)
    path[0] = x0
    for t in range(n_steps):
        path[t + 1] = path[t] - lr * grad(path[t])
    return path


def stationary_bound(L: Real, gap: Real, T: Steps, lr: Real | None = None) -> Bound:
    """
    What the smallest squared gradient of `T` steps is at most, for a smooth function (E3).

    Parameters
    ----------
    L
        The constant of smoothness, positive.
    gap
        How far the value at the start is above a lower bound of the function.
    T
        A number of steps, or many, at least 1.
    lr
        The rate, below 2 / L; 1 / L if not given.

    Returns
    -------
    float or ndarray
        One bound for each `T`.

    Raises
    ------
    ValueError
        If a number is out of range; for a rate, because nothing is promised then.

    Examples
    --------
    >>> stationary_bound(2.0, gap=3.0, T=np.array([1, 10]))
    array([12. ,  1.2])
    """
    lr = _check(L, lr, gap, T)
    return gap / (lr * (1 - L * lr / 2) * T)


def convex_bound(L: Real, distance: Real, T: Steps, lr: Real | None = None) -> Bound:
    """
    What the gap is at most after `T` steps, for a smooth convex function (E5).

    Parameters
    ----------
    L
        The constant of smoothness, positive.
    distance
        From the start to a minimum.
    T
        A number of steps, or many, at least 1.
    lr
        The rate, at most 1 / L, which it is if not given.

    Returns
    -------
    float or ndarray
        One bound for each `T`.

    Raises
    ------
    ValueError
        If a number is out of range; for a rate, because this is not promised then.

    Examples
    --------
    >>> convex_bound(2.0, distance=3.0, T=np.array([1, 10]))
    array([9. , 0.9])
    """
    lr = _check(L, lr, distance, T)
    if L * lr > 1 + 1e-12:  # 1 / L may be rounded up
        raise ValueError(f"for this bound the rate must be at most 1 / L = {1 / L}, got {lr}")
    return distance * distance / (2 * lr * T)


def linear_bound(L: Real, mu: Real, gap: Real, T: Steps, lr: Real | None = None) -> Bound:
    """
    What the gap is at most after `T` steps, for a smooth function with PL or a strongly convex one (E6).

    Parameters
    ----------
    L
        The constant of smoothness, positive.
    mu
        The constant of PL or of strong convexity, positive and at most `L`.
    gap
        How far the value at the start is above the smallest one.
    T
        A number of steps, or many, at least 0.
    lr
        The rate, below 2 / L; 1 / L if not given.

    Returns
    -------
    float or ndarray
        One bound for each `T`.

    Raises
    ------
    ValueError
        If a number is out of range; for a rate, because nothing is promised then.

    Examples
    --------
    >>> linear_bound(4.0, 1.0, gap=64.0, T=np.array([0, 1, 3]))
    array([64., 48., 27.])
    """
    _check_constants(L, mu)
    lr = _check(L, lr, gap, T, first=0)
    return gap * (1 - 2 * mu * lr * (1 - L * lr / 2)) ** T


def contraction(L: Real, mu: Real, lr: Real) -> float:
    """
    By how much a step brings two points together, for a smooth and strongly convex function: $q$ of (E7).

    Parameters
    ----------
    L, mu
        The constants of smoothness and of strong convexity, `0 < mu <= L`.
    lr
        The rate, not negative.

    Returns
    -------
    float
        Below 1 if steps with this rate converge; above 1 they diverge on a quadratic function with this `L`.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> contraction(9.0, 1.0, lr=0.1), contraction(9.0, 1.0, best_rate(9.0, 1.0)), contraction(9.0, 1.0, lr=0.5)
    (0.9, 0.8, 3.5)
    """
    _check_constants(L, mu)
    check_rate(lr)
    return float(max(abs(1 - lr * mu), abs(1 - lr * L)))


def best_rate(L: Real, mu: Real) -> float:
    """
    The rate $2 / (L + \\mu)$ with the smallest contraction (`optim.contraction`).

    Parameters
    ----------
    L, mu
        The constants of smoothness and of strong convexity, `0 < mu <= L`.

    Returns
    -------
    float
        Between 1 / L and 2 / L.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> best_rate(9.0, 1.0)
    0.2
    """
    _check_constants(L, mu)
    return 2 / (L + mu)


def _check_constants(L: Real, mu: Real) -> None:
    if not 0 < mu <= L < math.inf:
        raise ValueError(f"the constants must be finite with 0 < mu <= L, got mu={mu} and L={L}")


def _check(L: Real, lr: Real | None, size: Real, T: Steps, first: int = 1) -> Real:
    """The rate of a bound, after checking all that goes into it."""
    if not 0 < L < math.inf:
        raise ValueError(f"the constant of smoothness must be positive and finite, got {L}")
    if not 0 <= size < math.inf:
        raise ValueError(f"a gap or a distance at the start must be finite and not negative, got {size}")
    if np.min(T) < first:
        raise ValueError(f"the bound holds from T={first} on, got T={np.min(T)}")
    if lr is None:
        return 1 / L
    if not 0 < lr < 2 / L:
        raise ValueError(f"a bound needs a rate between 0 and 2 / L = {2 / L}, got {lr}; others may diverge")
    return lr
