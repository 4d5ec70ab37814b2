r"""
Calculus: a slope is a linear approximation.

Before a machine can differentiate, we need the rules that it will apply, each proven, with the conditions under which
it holds. This section turns the slope into a statement about linear approximation, because that form composes: the
chain rule becomes a substitution, and it will carry over to vectors word for word.

You need: `fp_markov.mathematics` for limits, the exponential and the logarithm, slopes (`markov.slope-rules`,
`markov.log-slope`, `markov.slope-bound`) and convex functions.

## A slope is a linear approximation

Write $o(h)$ for any function $r$ of $h$ with $r(0) = 0$ that vanishes faster than $h$: $r(h) / h \to 0$ as $h \to 0$.
Different $o(h)$ may be different functions.

**Claim** `autograd.linear-approximation`. $f$ has the slope $a$ at $x$ if and only if

$$f(x + h) = f(x) + a h + o(h). \qquad \text{(E1)}$$

**Proof.** Let $r(h) = f(x + h) - f(x) - a h$, so that $r(0) = 0$. For $h \ne 0$,

$$\frac{f(x + h) - f(x)}{h} - a = \frac{r(h)}{h}.$$

The left side tends to zero exactly if $a$ is the limit of the quotients, which is the slope; the right side tends to
zero exactly if $r$ is $o(h)$. $\blacksquare$

Limits are unique, so no second number $a$ satisfies (E1). The quotient asks for a division by $h$, and (E1) asks for
none; that is what makes it the better definition to compute with.

## The chain rule, and a proof that fails

Let $y = g(x)$ and call $k = g(x + h) - g(x)$ the **inner increment**. It is tempting to write

$$
\frac{f(g(x + h)) - f(g(x))}{h} = \frac{f(y + k) - f(y)}{k} \cdot \frac{k}{h}
$$

and to let $h \to 0$. But $k$ may be zero, and then the first fraction is not a number. Nor is that the rare case of a
constant $g$, to be treated apart. Take $g(x) = x^2 \sin \frac{2 \pi}{x}$ with $g(0) = 0$, which is `oscillation`. Its
quotients at $0$ are $h \sin \frac{2 \pi}{h}$, at most $|h|$ in size, so its slope there is $0$. Yet $k = 0$ for every
$h = 1/n$: as near to $0$ as you like the increment vanishes, and as near as you like it does not.

>>> [oscillation(2.0**-n) for n in (3, 10, 40)]
[0.0, 0.0, 0.0]
>>> k = oscillation(2.0**-10) - oscillation(0.0)
>>> (math.exp(0.0 + k) - math.exp(0.0)) / k
Traceback (most recent call last):
    ...
ZeroDivisionError: float division by zero

`markov.slope-rules` repaired the quotient. In the form (E1) there is nothing to repair:

**Claim** `autograd.chain-rule`. If $g$ has a slope at $x$ and $f$ has one at $y = g(x)$, then $f(g(x))$ has the slope
$f'(g(x))\, g'(x)$, whether or not inner increments vanish.

**Proof.** By (E1) $k = g'(x)\, h + r(h)$ with $r(h) = o(h)$, and $f(y + k) = f(y) + f'(y)\, k + s(k)$ with
$s(k) = o(k)$. Insert the first into the second:

$$
f(g(x + h)) = f(y + k) = f(y) + f'(y)\, g'(x)\, h + \big( f'(y)\, r(h) + s(k) \big). \qquad \text{(E2)}
$$

It remains that the bracket is $o(h)$. It is $0$ at $h = 0$, where $k = 0$. Divided by $h$, its first term tends to
$f'(y) \cdot 0$. For the second let $\varepsilon(k) = s(k) / k$ for $k \ne 0$ and $\varepsilon(0) = 0$. Then
$s(k) = \varepsilon(k)\, k$ for all $k$, also for $k = 0$ because $s(0) = 0$, and $\varepsilon(k) \to 0$ as $k \to 0$,
whether or not $k$ becomes zero on the way. As $h \to 0$, $k \to 0$ and $k / h \to g'(x)$, so
$s(k) / h = \varepsilon(k) \cdot (k / h) \to 0 \cdot g'(x) = 0$. $\blacksquare$

## Quotients and powers

**Claim** `autograd.quotient-rule`. If $u$ and $v$ have slopes at $x$ and $v(x) \ne 0$, then
$\left( \frac{u}{v} \right)' = \frac{u' v - u v'}{v^2} = \frac{1}{v} \big( u' - \frac{u}{v}\, v' \big)$ there.

**Proof.** First $1/y$ at some $y \ne 0$: for small $k \ne 0$,

$$
\frac{1}{k} \Big( \frac{1}{y + k} - \frac{1}{y} \Big) = \frac{1}{k} \cdot \frac{y - (y + k)}{y\, (y + k)}
  = \frac{-1}{y\, (y + k)} \to -\frac{1}{y^2}.
$$

By `autograd.chain-rule` $1/v$ has the slope $-v' / v^2$, and by the rule for products (`markov.slope-rules`)

$$
\Big( u \cdot \frac{1}{v} \Big)' = u' \cdot \frac{1}{v} + u \cdot \frac{-v'}{v^2} = \frac{u' v - u v'}{v^2}.
\qquad \blacksquare
$$

The second form divides twice by $v$ and reuses the value $u / v$; this is how engines compute it.

**Claim** `autograd.power-rule`. (1) $(x^n)' = n x^{n-1}$ for whole $n \ge 1$ at every $x$, where $x^0 = 1$, and for
whole $n < 0$ at $x \ne 0$. (2) $(x^a)' = a x^{a-1}$ for real $a$ at $x > 0$. (3) If $u$ and $v$ have slopes at $x$ and
$u(x) > 0$, then

$$(u^v)' = v\, u^{v-1}\, u' + u^v \ln u \cdot v'. \qquad \text{(E3)}$$

**Proof.** (1) For $n = 1$, $(x + h) - x = 1 \cdot h$. If it holds for $n$, the rule for products gives
$(x^n \cdot x)' = n x^{n-1} \cdot x + x^n \cdot 1 = (n + 1) x^n$. For $n = -m < 0$, `autograd.quotient-rule` with
$u = 1$ and $v = x^m$ gives $-m x^{m-1} / x^{2m} = n x^{n-1}$. (2) is `markov.log-slope`. (3) $u$ is continuous at $x$,
so it is positive near $x$, where $u^v = e^{v \ln u}$ by definition. The slope of $v \ln u$ is
$v' \ln u + v \cdot \frac{u'}{u}$, by the rules for products and chains, and that of $e^y$ is $e^y$. So
$(u^v)' = u^v \big( v' \ln u + v \frac{u'}{u} \big)$, and $u^v / u = u^{v-1}$. $\blacksquare$

So $x^y$ has, for $x > 0$, the partial derivatives $y x^{y-1}$ in $x$ and $x^y \ln x$ in $y$. Outside of $x > 0$ the
second one has no meaning for negative $x$, where $x^y$ exists for whole $y$ only. At $x = 0$ and $y > 0$ it is the
slope of the constant $0^y = 0$, which is $0$, while the formula reads $0 \cdot \ln 0$: a program has to treat that case
apart, or it returns NaN. And $x^a$ at $x = 0$, seen from the right, has the quotient $h^{a-1}$: the slope is $0$ for
$a > 1$, and for $0 < a < 1$ there is none, as for the square root, whose slope $\frac{1}{2 \sqrt{x}}$ grows without
bound.

## Functions that squash

The **sigmoid** and the hyperbolic **tangent** take every number into an interval:

$$
\sigma(x) = \frac{1}{1 + e^{-x}}, \qquad \tanh x = \frac{e^x - e^{-x}}{e^x + e^{-x}}. \qquad \text{(E4)}
$$

Both have slopes in terms of their own values, so that a program which keeps the value needs no further exponential.

**Claim** `autograd.sigmoid-slope`. $0 < \sigma < 1$, $\sigma(-x) = 1 - \sigma(x)$ and $\sigma' = \sigma (1 - \sigma)$,
which lies in $(0, \frac14]$.

**Proof.** $1 + e^{-x} > 1$, so $\sigma$ lies between $0$ and $1$. Multiplying numerator and denominator of
$\sigma(-x) = \frac{1}{1 + e^x}$ by $e^{-x}$ gives

$$\sigma(-x) = \frac{e^{-x}}{e^{-x} + 1} = \frac{(1 + e^{-x}) - 1}{1 + e^{-x}} = 1 - \sigma(x).$$

By `autograd.quotient-rule` with $u = 1$ and $v = 1 + e^{-x}$, whose slope is $-e^{-x}$,

$$
\sigma'(x) = \frac{e^{-x}}{(1 + e^{-x})^2} = \frac{1}{1 + e^{-x}} \cdot \frac{e^{-x}}{1 + e^{-x}}
  = \sigma(x)\, (1 - \sigma(x)).
$$

Both factors are positive, and $s (1 - s) = \frac14 - (s - \frac12)^2 \le \frac14$. $\blacksquare$

**Claim** `autograd.tanh-slope`. $\tanh x = 2 \sigma(2x) - 1$ and $\tanh' = 1 - \tanh^2$, which lies in $(0, 1]$.

**Proof.** Multiply numerator and denominator of $\tanh$ by $e^{-x}$, then add and subtract one:

$$
\tanh x = \frac{1 - e^{-2x}}{1 + e^{-2x}} = \frac{2 - (1 + e^{-2x})}{1 + e^{-2x}} = 2 \sigma(2x) - 1.
$$

With $s = \sigma(2x)$, `autograd.chain-rule` and `autograd.sigmoid-slope` give the slope $2 \cdot 2 \cdot s (1 - s)$,
and $1 - \tanh^2 x = 1 - (2s - 1)^2 = 4s - 4s^2$ is the same. It is positive because $0 < s < 1$, and at most $1$
because a square is subtracted from one. $\blacksquare$

**Claim** `autograd.softplus-slope`. $\operatorname{softplus}(x) = \ln (1 + e^x)$ has the slope $\sigma(x)$, equals
$\max(0, x) + \ln (1 + e^{-|x|})$, and lies above $\max(0, x)$ by more than $0$ and at most $\ln 2$.

**Proof.** The slope is $\frac{e^x}{1 + e^x} = \frac{1}{e^{-x} + 1}$. For $x \le 0$ the second form is the first. For
$x > 0$, $\ln (1 + e^x) = \ln \big( e^x (e^{-x} + 1) \big) = x + \ln (1 + e^{-x})$. As $0 < e^{-|x|} \le 1$, the second
term lies in $(0, \ln 2]$. $\blacksquare$

The second form of softplus never overflows. Neither does `sigmoid`, which takes (E4) for $x \ge 0$ and
$e^x / (1 + e^x)$ for $x < 0$.

## A corner

$\operatorname{relu}(x) = \max(0, x)$ has at $0$ quotients of $1$ on the right and of $0$ on the left, so it has no
slope there. What takes its place? A number $s$ is a **subgradient** of a convex function $f$ at $x$ if the line through
$(x, f(x))$ with slope $s$ stays below $f$:

$$f(z) \ge f(x) + s\, (z - x) \quad \text{for all } z. \qquad \text{(E5)}$$

$s = 0$ is a subgradient exactly where $f$ is smallest. And the notion extends the slope:

**Claim** `autograd.subgradient-slope`. Where a convex function on an interval has a slope, inside the interval, the
slope is its one and only subgradient.

**Proof.** Let $s$ be a subgradient at $x$. With $z = x + h$, (E5) says $f(x + h) - f(x) \ge s h$. Divide by $h$: the
quotients are at least $s$ for $h > 0$ and at most $s$ for $h < 0$, so $f'(x) \ge s$ and $f'(x) \le s$. And $f'(x)$ is a
subgradient: convexity says $f\big( (1 - w) x + w z \big) \le (1 - w) f(x) + w f(z)$ for $0 < w \le 1$, which is
$\frac{1}{w} \big( f(x + w (z - x)) - f(x) \big) \le f(z) - f(x)$. As $w \to 0$ the left side tends to
$f'(x)\, (z - x)$, by `autograd.chain-rule`. $\blacksquare$

**Claim** `autograd.relu-subgradient`. $\operatorname{relu}$ and $|x|$ are convex. The subgradients of
$\operatorname{relu}$ are $0$ at $x < 0$, $1$ at $x > 0$, and exactly the numbers of $[0, 1]$ at $x = 0$. Those of $|x|$
are $-1$, $1$, and $[-1, 1]$.

**Proof.** The larger of two linear functions is convex: at $(1 - w) x + w z$ either of them is the mean, with weights
$1 - w$ and $w$, of its own values at $x$ and $z$, which are no larger than the maxima there. Here the pairs are $0$,
$x$ and $-x$, $x$. Away from $0$ each is linear near $x$, so the slope exists and `autograd.subgradient-slope` applies.
At $x = 0$, (E5) for relu asks $\max(0, z) \ge s z$ for all $z$: for $z > 0$ it says $s \le 1$, for $z < 0$ it says
$s \ge 0$, for $z = 0$ nothing. For $|z| \ge s z$ the two cases say $s \le 1$ and $s \ge -1$. $\blacksquare$

Software picks one subgradient, for relu and for $|x|$ the number $0$. For a sum of convex functions a sum of
subgradients is again one, by adding (E5). Where a function is subtracted this fails: $\operatorname{relu}(x) -
\operatorname{relu}(-x) = x$ has the slope $1$ everywhere, and rules applied to each part say

>>> relu_slope = ELEMENTARY["relu"].slope
>>> [relu_slope(x, max(0.0, x)) + relu_slope(-x, max(0.0, -x)) for x in (-2.0, 0.0, 2.0)]
[1.0, 0.0, 1.0]

at $0$ a number that is neither slope nor subgradient. Training survives this because exact zeros are rare.

## Taylor's theorem

(E1) says that the error of the linear approximation is small. Taylor says how small, and adds further terms. Write
$f^{(k)}$ for the slope of the slope … of $f$, $k$ times, $f^{(0)} = f$.

**Claim** `autograd.taylor`. Let $f$ have $n + 1$ successive slopes at every point between $x$ and $x + h$, ends
included, and let $|f^{(n+1)}| \le M$ there. Then

$$
f(x + h) = \sum_{k=0}^{n} \frac{f^{(k)}(x)}{k!}\, h^k + R_n, \qquad |R_n| \le M\, \frac{|h|^{n+1}}{(n + 1)!}.
\qquad \text{(E6)}
$$

**Proof.** First $h \ge 0$, by induction on $n$. For $n = 0$ the claim is $|f(x + h) - f(x)| \le M h$, which is
`markov.slope-bound`. Let $n \ge 1$, and for $0 \le t \le h$ let

$$
u(t) = f(x + t) - \sum_{k=0}^{n} \frac{f^{(k)}(x)}{k!}\, t^k, \qquad
u'(t) = f'(x + t) - \sum_{k=1}^{n} \frac{f^{(k)}(x)}{(k - 1)!}\, t^{k-1}.
$$

The second is the remainder of $f'$ after $n$ terms, from $k - 1 = 0$ to $n - 1$, and the $n$-th slope of $f'$ is
$f^{(n+1)}$. By the induction hypothesis $|u'(t)| \le M t^n / n!$, which is the slope of
$v(t) = M t^{n+1} / (n + 1)!$. Both $u$ and $v$ vanish at $0$. So $v - u$ and $v + u$ have slopes that are not negative,
and by `markov.slope-bound` they are not negative at $h$: $|u(h)| \le v(h)$, the claim. For $h < 0$ apply this to
$\tilde f(t) = f(2x - t)$, which mirrors $f$ at $x$: by `autograd.chain-rule` $\tilde f^{(k)}(x) = (-1)^k f^{(k)}(x)$,
and with $(-1)^k (-h)^k = h^k$ its (E6) at $x + |h|$ is that of $f$ at $x + h$. $\blacksquare$

Four terms of $e^{1/2}$ are right to better than $e^{1/2} \cdot \frac{1}{2^4\, 4!}$:

>>> four = taylor_polynomial([1.0, 1.0, 1.0, 1.0], 0.5)
>>> abs(math.exp(0.5) - four) <= taylor_bound(math.exp(0.5), 3, 0.5) < 0.005
True

## Several variables

Walk from $x$ in the direction $u$ and only one variable is left, $\varphi(t) = f(x + tu)$.

**Claim** `autograd.taylor-line`. Let all partial derivatives of $f$ up to order $n + 1$ exist and be continuous in a
ball that contains $x$ and $x + u$. Then for $k \le n + 1$ and $0 \le t \le 1$

$$
\varphi^{(k)}(t) = \sum_{i_1} \cdots \sum_{i_k} u_{i_1} \cdots u_{i_k}\, \partial_{i_1} \cdots \partial_{i_k} f(x + tu),
\qquad \text{(E7)}
$$

and if $|\varphi^{(n+1)}| \le M$ on $[0, 1]$, then $f(x + u)$ differs from $\sum_{k=0}^n \varphi^{(k)}(0) / k!$ by at
most $M / (n + 1)!$.

**Proof.** (E7) holds for $k = 0$. If it holds for $k \le n$, each $F = \partial_{i_1} \cdots \partial_{i_k} f$ has
continuous partial derivatives, so `markov.slope-along-line` at the point $x + tu$ gives $t \mapsto F(x + tu)$ the slope
$\sum_j u_j\, \partial_j F(x + tu)$. Multiply by $u_{i_1} \cdots u_{i_k}$ and sum: this is (E7) for $k + 1$, with $j$ as
a further index, written first instead of last. The second part is `autograd.taylor` for $\varphi$ from $0$ to
$h = 1$. $\blacksquare$

To second order: $f(x + u) \approx f(x) + \sum_i u_i\, \partial_i f(x) + \frac12 \sum_i \sum_j u_i u_j\, \partial_i
\partial_j f(x)$. The table of second derivatives is the **Hessian**, and the order in it does not matter:

**Claim** `autograd.mixed-partials`. If $\partial_i f$, $\partial_j f$, $\partial_i \partial_j f$ and
$\partial_j \partial_i f$ exist near $x$, and the last two are continuous at $x$, they are equal there.

**Proof.** Let $i \ne j$, and let $e_i$ be the direction of the $i$-th coordinate. For small $h > 0$ let

$$D = f(x + h e_i + h e_j) - f(x + h e_i) - f(x + h e_j) + f(x).$$

Then $D = p(h) - p(0)$ with $p(s) = f(x + h e_i + s e_j) - f(x + s e_j)$, whose slope
$p'(s) = \partial_j f(x + h e_i + s e_j) - \partial_j f(x + s e_j)$ is the rise of $\partial_j f$ over a step $h$ in
$x_i$. Let $\varepsilon > 0$. For $h$ small enough, $\partial_i \partial_j f$ is within $\varepsilon$ of its value at
$x$ on the whole square, so by `markov.slope-bound` $p'(s)$ is within $\varepsilon h$ of $h\, \partial_i \partial_j
f(x)$ for all $0 \le s \le h$; and by the same claim, used on $p$, $D$ is within $\varepsilon h^2$ of $h^2\, \partial_i
\partial_j f(x)$. But $D$ stays the same when $i$ and $j$ are exchanged, so $D$ is also within $\varepsilon h^2$ of
$h^2\, \partial_j \partial_i f(x)$. The two second derivatives differ by at most $2 \varepsilon$, for every
$\varepsilon$. $\blacksquare$

## In practice

PyTorch and JAX both give relu and the absolute value the slope $0$ at their corner, and both split a tie of
`maximum(x, y)` into halves, also a subgradient. (PyTorch's `clamp(x, min=0)`, the same function, takes $1$: none of the
three is wrong.) PyTorch keeps the *value* of a sigmoid or tanh for the backward pass
and drops the argument, as their slopes allow. Activations of current language models (GELU, SiLU) are smooth:
$x\, \sigma(x)$ has no corner to decide about. Their slopes follow from the rules above.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["oscillation", "sigmoid", "softplus", "Elementary", "ELEMENTARY", "taylor_polynomial", "taylor_bound"]

Real = float | int


def oscillation(x: Real) -> float:
    r"""
    $x^2 \sin \frac{2 \pi}{x}$, and 0 at 0: slope 0 at 0, though it vanishes at every $\frac1n$.

    Parameters
    ----------
    x
        Any finite number.

    Returns
    -------
    float
        The value, exactly zero where $1 / x$ is a whole number.

    Examples
    --------
    >>> oscillation(0.25), oscillation(0.8) == 0.8**2
    (0.0, True)
    """
    if abs(x) < 1e-300:  # 1 / x would overflow for the smallest numbers, and the square underflows long before
        return 0.0
    turns = math.remainder(1 / x, 1.0)  # exact: the sine has period one in 1 / x
    return x * x * math.sin(2 * math.pi * turns)


def sigmoid(x: Real) -> float:
    r"""
    $\sigma(x) = \frac{1}{1 + e^{-x}}$ (E4), without overflow.

    Parameters
    ----------
    x
        Any number.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> sigmoid(0), sigmoid(-1000), sigmoid(1000)
    (0.5, 0.0, 1.0)
    """
    if x >= 0:
        return 1 / (1 + math.exp(-x))
    return math.exp(x) / (1 + math.exp(x))


def softplus(x: Real) -> float:
    r"""
    $\ln (1 + e^x)$ by the form that cannot overflow (`autograd.softplus-slope`).

    Parameters
    ----------
    x
        Any number.

    Returns
    -------
    float
        The value, whose slope is `sigmoid`.

    Examples
    --------
    >>> softplus(1000), softplus(-1000), softplus(0) == math.log(2)
    (1000.0, 0.0, True)
    """
    return max(0.0, float(x)) + math.log1p(math.exp(-abs(x)))


class Elementary(NamedTuple):
    """A function of one number and its slope."""

    value: Callable[[float], float]
    """From x to the value y."""
    slope: Callable[[float, float], float]
    """From x and y to the slope at x, in at most two further operations."""


ELEMENTARY = {
    "exp": Elementary(math.exp, lambda x, y: y),
    "log": Elementary(math.log, lambda x, y: 1 / x),
    "sqrt": Elementary(math.sqrt, lambda x, y: 0.5 / y),
    "tanh": Elementary(math.tanh, lambda x, y: 1 - y * y),
    "sigmoid": Elementary(sigmoid, lambda x, y: y * (1 - y)),
    "relu": Elementary(lambda x: max(0.0, x), lambda x, y: float(x > 0)),
    "abs": Elementary(abs, lambda x, y: float((x > 0) - (x < 0))),
}
"""The elementary functions of this chapter by name, each slope in terms of what is at hand, argument and value."""


def taylor_polynomial(slopes: Sequence[Real], h: Real) -> float:
    r"""
    $\sum_{k=0}^{n} \frac{f^{(k)}(x)}{k!} h^k$, the sum in (E6).

    Parameters
    ----------
    slopes
        $f(x), f'(x), \dots, f^{(n)}(x)$.
    h
        The step away from $x$.

    Returns
    -------
    float
        The approximation of $f(x + h)$.

    Raises
    ------
    ValueError
        If there is no slope at all.

    Examples
    --------
    >>> taylor_polynomial([5, 7, 4], 3)  # 5 + 7 * 3 + 4 * 9 / 2
    44.0
    """
    if not slopes:
        raise ValueError("a Taylor polynomial needs at least the value f(x), got no number")
    total = 0.0
    for k in range(len(slopes) - 1, 0, -1):  # innermost bracket first: f + h/1 (f' + h/2 (f'' + …))
        total = (total + slopes[k]) * h / k
    return total + slopes[0]


def taylor_bound(largest: Real, n: int, h: Real) -> float:
    r"""
    $M \frac{|h|^{n+1}}{(n+1)!}$, the bound of (E6).

    Parameters
    ----------
    largest
        $M$, which the slope number $n + 1$ does not exceed in size on the way.
    n
        The order of the last term that is kept.
    h
        The step.

    Returns
    -------
    float
        What the remainder is at most, in size.

    Raises
    ------
    ValueError
        If the order or the largest slope is negative.

    Examples
    --------
    >>> taylor_bound(6, 2, -0.5)  # 6 * 0.5 ** 3 / 6
    0.125
    """
    if n < 0 or largest < 0:
        raise ValueError(f"the order and the largest slope are sizes, at least 0, got {n} and {largest}")
    return largest * abs(h) ** (n + 1) / math.factorial(n + 1)
