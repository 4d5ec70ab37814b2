r"""
Approximation: one hidden layer of rectifiers comes near every continuous function.

Layers without a bend are one layer. What can a single hidden layer with the plainest bend do, and with how many units?
Everything, on a closed interval, and the weights can be written down.

You need: `fp_neural.layers`, `fp_neural.activations`, and bisection and continuity from `fp_markov.mathematics`.

Throughout, $a < b$, and a **network** is one number in, one hidden layer of rectifiers, one number out:

$$N(x) = c + \sum_{j=1}^{m} v_j\, \operatorname{relu}(w_j x + \beta_j). \qquad \text{(E1)}$$

## What networks are

A function on $[a, b]$ is **piecewise linear** with the **kinks** $x_1 < \dots < x_k$ inside $(a, b)$ if it is
continuous, linear between neighbouring kinks and up to the ends, and at each kink its slopes left and right differ. Let
$s_0$ be its slope before the first kink and $d_i \ne 0$ the **jump** of the slope at $x_i$.

**Claim** `neural.piecewise-linear`. On $[a, b]$ every network is piecewise linear, with at most as many kinks as units;
and every piecewise linear $f$ is a network,

$$f(x) = f(a) + s_0 \operatorname{relu}(x - a) + \sum_{i=1}^k d_i \operatorname{relu}(x - x_i), \qquad
a \le x \le b. \qquad \text{(E2)}$$

**Proof.** A unit with $w_j \ne 0$ is linear on either side of its **bend** $-\beta_j / w_j$, and one with $w_j = 0$ is
constant. So between neighbouring bends $N$ is a sum of linear functions, hence linear; it is continuous as a sum of
continuous functions; and its kinks are bends, of which there are no more than units. Now $f$. Both sides of (E2) are
$f(a)$ at $a$. On $[a, x_1]$ only the first unit is not zero, and both sides have the slope $s_0$. Each $x_i$ that is
passed adds $d_i$ to the slope of both sides. So the slopes agree on every piece, the difference of the two sides is
constant on each (`markov.slope-bound`), and being continuous and zero at $a$ it is zero throughout. $\blacksquare$

That takes $k + 1$ units for $k$ kinks. Is it ever possible with fewer?

**Claim** `neural.hidden-units`. Let $f$ be piecewise linear on $[a, b]$ with $k$ kinks. Fewer than $k$ units are never
enough. $k$ units are enough if and only if for some set $S$ of kinks, which may be empty,

$$s_0 + \sum_{i \in S} d_i = 0. \qquad \text{(E3)}$$

In all other cases the least number is $k + 1$.

**Proof.** Kinks are bends, so each of the $k$ kinks needs a unit that bends there, and a unit bends at one place only.
Let there be exactly $k$ units. Then each kink has one, say $j$ bends at $x_j$, and none is left over. Its slope is
$v_j w_j$ on the side where it is active, right if $w_j > 0$ and left if $w_j < 0$, and $0$ on the other; in both cases
the jump is $v_j |w_j|$, so $v_j |w_j| = d_j$. Before the first kink those with $w_j < 0$ are active, and no others:
$s_0 = \sum_{w_j < 0} v_j w_j = -\sum_{w_j < 0} d_j$, which is (E3) with these as $S$. Conversely, given $S$, take
$w_j = -1$ for $j$ in $S$, $w_j = 1$ for the others, $\beta_j = -w_j x_j$ and $v_j = d_j$: the network has the jumps of
$f$ and, by (E3), the slope $s_0$ at the left. So it has its slopes on every piece, and the right $c$ makes it equal to
$f$ at $a$. If (E3) fails for every $S$, $k$ units are too few, and (E2) has $k + 1$. $\blacksquare$

## What they come near

Cut $[a, b]$ at the **knots** $x_i = a + i h$ into $n$ pieces of the width $h = \frac{b - a}{n}$ and let $p$ be the
function that is $f$ at all knots and linear between them. By (E2) it is a network of at most $n$ units, as it has at
most $n - 1$ kinks. How far is it from $f$? At $x = (1 - w)\, x_i + w\, x_{i+1}$, $0 \le w \le 1$, it is a mean:

$$p(x) = (1 - w)\, f(x_i) + w\, f(x_{i+1}). \qquad \text{(E4)}$$

**Claim** `neural.lipschitz-approximation`. Let $|f(x) - f(y)| \le L\, |x - y|$ for all $x$ and $y$ in $[a, b]$. Then
$|f(x) - p(x)| \le \frac{L h}{2} = \frac{L\, (b - a)}{2n}$ there, and no smaller bound holds for all such $f$. So
$n \ge \frac{L\, (b - a)}{2 \varepsilon}$ units are enough for an error of at most $\varepsilon$.

**Proof.** $x$ is $w h$ away from $x_i$ and $(1 - w)\, h$ from $x_{i+1}$. By (E4), as the weights sum to one,

$$
\begin{aligned}
|f(x) - p(x)| &\le (1 - w)\, |f(x) - f(x_i)| + w\, |f(x) - f(x_{i+1})| \\
  &\le (1 - w)\, L w h + w\, L (1 - w)\, h = 2 w (1 - w)\, L h,
\end{aligned}
$$

and $w (1 - w) = \frac14 - (w - \frac12)^2 \le \frac14$. Now let $f(x)$ be $L$ times the distance to the nearest knot.
It meets the hypothesis: from $x$ to the knot nearest to $y$ is no farther than $|x - y|$ and from $y$ to that knot, so
$f(x) \le f(y) + L\, |x - y|$, and the same with $x$ and $y$ exchanged. Here $p = 0$, and in the middle of a piece $f$
is $\frac{L h}{2}$. $\blacksquare$

A function that bends gently is met far better.

**Claim** `neural.smooth-approximation`. If $f$ has a second slope with $|f''| \le M$ on $[a, b]$, then
$|f(x) - p(x)| \le \frac{M h^2}{8}$ there.

**Proof.** On a piece let $q(x) = f(x) - p(x) - \frac{M}{2} (x - x_i)(x_{i+1} - x)$. As $p$ is linear there, $q'' = f''
+ M \ge 0$, so $q$ is convex (`markov.concave-second-derivative`) and lies below its chord; it is $0$ at both knots, so
$q \le 0$: $f - p \le \frac{M}{2} (x - x_i)(x_{i+1} - x)$. The same holds for $-f$ and $-p$. And $(x - x_i)(x_{i+1} - x)
= w (1 - w)\, h^2 \le \frac{h^2}{4}$. $\blacksquare$

What if $f$ is continuous, and nothing more is known? At every point it varies little nearby. That on a closed interval
one width serves all points has to be proven; $\frac1x$ on $(0, 1]$ has none.

**Claim** `neural.uniform-continuity`. Let $f$ be continuous at every point of $[a, b]$. For every $\varepsilon > 0$
there is a $\delta > 0$ such that $|f(x) - f(y)| < \varepsilon$ for all $x$ and $y$ in $[a, b]$ with
$|x - y| < \delta$.

**Proof.** Call an interval good if it can be cut into finitely many closed pieces such that any two values of $f$ on
the same piece differ by less than $\frac{\varepsilon}{2}$. If both halves of an interval are good, so is the interval.
Suppose $[a, b]$ is not good. Then one half is not; bisect on, always into a half that is not good, and let $c$ be the
common point. As $f$ is continuous at $c$, on some interval around $c$ it differs from $f(c)$ by less than
$\frac{\varepsilon}{4}$, so two of its values there differ by less than $\frac{\varepsilon}{2}$. A late half lies within
that interval and is good uncut: a contradiction. So $[a, b]$ is good. Let $\delta$ be the length of the shortest of its
pieces. Points nearer to each other than $\delta$ lie on the same piece, or on neighbouring ones with a common end $z$,
and then $|f(x) - f(y)| \le |f(x) - f(z)| + |f(z) - f(y)| < \frac{\varepsilon}{2} + \frac{\varepsilon}{2}$.
$\blacksquare$

**Claim** `neural.universal-approximation`. Let $f$ be continuous on $[a, b]$. For every $\varepsilon > 0$ some network
(E1) has $|f(x) - N(x)| < \varepsilon$ for all $x$ in $[a, b]$.

**Proof.** Take $\delta$ from the claim before, $n$ with $\frac{b - a}{n} < \delta$, and $N = p$. In (E4) $f(x_i)$ and
$f(x_{i+1})$ are both within $\varepsilon$ of $f(x)$, because $x_i$ and $x_{i+1}$ are within $h < \delta$ of $x$. So
their mean is. $\blacksquare$

>>> x = np.linspace(0, 1, 4001)[:, None]
>>> for n in (10, 100, 1000):
...     errors = (f(x) - interpolating_network(f, 0, 1, n)(x).data for f in (np.sqrt, lambda x: np.sin(6 * x)))
...     print(n, *(f"{np.abs(e).max():.1e}" for e in errors), f"bound for the sine {36 / 8 / n**2:.1e}")
10 7.9e-02 4.5e-02 bound for the sine 4.5e-02
100 2.5e-02 4.5e-04 bound for the sine 4.5e-04
1000 7.9e-03 4.5e-06 bound for the sine 4.5e-06

The square root has no Lipschitz bound, as its slope grows without bound at $0$, and still is approximated. A function
with a jump is not: networks are continuous, so near the jump one of the two sides is missed by half of it.

## In practice

The theorem says that weights exist. It does not say that descent finds them, nor that a function learned from examples
is right between the examples, and with many inputs a grid of knots is hopeless: $n$ a side are $n^d$. For functions of
many inputs the same holds, with other proofs (G. Cybenko, 1989; K. Hornik, 1991; M. Leshno and others, 1993: every bend
that is not a polynomial does). Depth makes kinks cheaper: a layer can fold the line, so that the next one's units bend
in several places at once, and their number can double from layer to layer (M. Telgarsky, 2016).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_neural.activations import ReLU
from fp_neural.layers import Linear, Sequential

__all__ = ["interpolating_network", "piecewise_linear_network"]  # the order of the page


def piecewise_linear_network(
    knots: Float[np.ndarray, " K"], values: Float[np.ndarray, " K"], dtype: Any = np.float64
) -> Sequential:
    """
    The network (E2) that has given values at the knots and is linear between them.

    Parameters
    ----------
    knots
        Strictly rising, two at least.
    values
        Finite.
    dtype
        Of the parameters.

    Returns
    -------
    Sequential
        From shape `(..., 1)` to shape `(..., 1)`, with a hidden unit for each piece; left of the first knot it is
        constant, right of the last one it goes on.

    Raises
    ------
    ValueError
        If the knots do not rise or a value is not finite.

    Examples
    --------
    >>> tent = piecewise_linear_network(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.0]))
    >>> tent(np.array([[0.0], [0.25], [1.0], [1.5]])).data.ravel()
    array([0.  , 0.25, 1.  , 0.5 ])
    """
    if len(knots) < 2 or len(knots) != len(values) or not (np.diff(knots) > 0).all():
        raise ValueError(f"needs two or more knots that rise strictly, with a value for each, got {knots} and {values}")
    if not np.isfinite(values).all():
        raise ValueError(f"the values have to be finite, got {values}")
    slopes = np.diff(values) / np.diff(knots)
    n = len(slopes)
    rng = np.random.default_rng(0)  # what it draws is replaced
    network = Sequential(Linear(1, n, rng=rng, dtype=dtype), ReLU(), Linear(n, 1, rng=rng, dtype=dtype))
    network.load_state_dict(
        {
            "layers.0.weight": np.ones((n, 1)),
            "layers.0.bias": -knots[:-1],
            "layers.2.weight": np.diff(slopes, prepend=0)[None],  # s_0, d_1, d_2, ...
            "layers.2.bias": values[:1],
        }
    )
    return network


def interpolating_network(
    f: Callable[[Any], Any], a: float | int, b: float | int, n: int, dtype: Any = np.float64
) -> Sequential:
    """
    The network that agrees with a function at evenly spaced knots and is linear between them.

    Parameters
    ----------
    f
        From a number to a number.
    a, b
        The ends of the interval, `a < b`.
    n
        How many pieces, and hidden units.
    dtype
        Of the parameters.

    Returns
    -------
    Sequential
        From shape `(..., 1)` to shape `(..., 1)`; how far off it is, say `neural.lipschitz-approximation` and
        `neural.smooth-approximation`.

    Raises
    ------
    ValueError
        If the interval is empty or infinite, there is no piece, or `f` is not finite at a knot.

    Examples
    --------
    >>> network = interpolating_network(lambda x: x * x, -1, 1, 4)
    >>> network(np.array([[-1.0], [0.25], [0.5]])).data.ravel()
    array([1.   , 0.125, 0.25 ])
    """
    if not (np.isfinite(a) and np.isfinite(b) and a < b) or n < 1:
        raise ValueError(f"needs finite ends a < b and at least one piece, got a = {a}, b = {b}, n = {n}")
    knots = np.linspace(a, b, n + 1)
    return piecewise_linear_network(knots, np.array([float(f(x)) for x in knots]), dtype)
