r"""
Dual numbers: a value that carries its slope along.

The rules of slopes are mechanical: whoever knows the values and slopes of $u$ and $v$ knows those of $u + v$, $u v$ and
$\tanh u$. So let every number of a computation be a pair, value and slope, and let the operations work on pairs. What
comes out at the end is the slope of the whole computation, exact up to rounding, with no graph and no memory. With
$n + 1$ numbers in place of two it gives the first $n$ slopes.

You need: `fp_autograd.calculus` for the rules and for Taylor's theorem, `fp_autograd.linear_algebra` for directions.

## An algebra in which small means zero

Fix a whole $n \ge 1$. A **series** of order $n$ is $u = u_0 + u_1 \varepsilon + \dots + u_n \varepsilon^n$, a list of
$n + 1$ numbers written with a symbol $\varepsilon$. Calculate as with polynomials, and then set
$\varepsilon^{n+1} = 0$:

$$(u + v)_k = u_k + v_k, \qquad (u v)_k = \sum_{j=0}^{k} u_j\, v_{k-j}, \qquad k = 0, \dots, n. \qquad \text{(E1)}$$

With $n = 1$ these are the **dual numbers** $a + b \varepsilon$, $\varepsilon^2 = 0$; $a$ is the value, $b$ the
**tangent**:

$$(a + b \varepsilon)(c + d \varepsilon) = a c + (a d + b c)\, \varepsilon. \qquad \text{(E2)}$$

**Claim** `autograd.truncated-ring`. Series of order $n$ obey the laws of addition and multiplication: both are
commutative and associative, multiplication distributes over addition, $0$ and $1$ are neutral, and there are opposites.
If $v_0 \ne 0$, there is exactly one series $q$ with $q v = u$, and

$$q_k = \frac{1}{v_0} \Big( u_k - \sum_{j=1}^{k} v_j\, q_{k-j} \Big). \qquad \text{(E3)}$$

If $v_0 = 0$ there is none for $u = 1$.

**Proof.** Addition is that of $n + 1$ separate numbers. Put $k - j$ for $j$ in (E1): $uv = vu$. The coefficient $k$ of
$(uv)w$ is $\sum_{i + l = k} \big( \sum_{j + m = i} u_j v_m \big) w_l$, the sum of $u_j v_m w_l$ over all
$j + m + l = k$; that of $u(vw)$ is the same sum, grouped otherwise. $(u (v + w))_k = \sum_j u_j (v_{k-j} + w_{k-j})$ is
$(uv)_k + (uw)_k$. In $(1 \cdot v)_k$ only $j = 0$ contributes, $v_k$. The equation $(qv)_k = u_k$ reads
$v_0\, q_k + \sum_{j \ge 1} v_j\, q_{k-j} = u_k$, where the sum contains only $q_0, \dots, q_{k-1}$: for $v_0 \ne 0$ it
has one solution $q_k$ after the other, (E3). If $v_0 = 0$, then $(qv)_0 = 0 \ne 1$. $\blacksquare$

For dual numbers (E3) is the quotient rule: $\frac{a + b \varepsilon}{c + d \varepsilon}
= \frac{a}{c} + \frac{1}{c} \big( b - \frac{a}{c} d \big)\, \varepsilon$.

## One slope

What is $f$ of a dual number? Taylor's formula around $a$ would be
$f(a) + f'(a)\, b \varepsilon + \frac12 f''(a)\, b^2 \varepsilon^2 + \dots$, and from the third term on all is zero:

$$f(a + b \varepsilon) = f(a) + f'(a)\, b\, \varepsilon, \qquad f = \exp, \ln, \tanh, \sigma, \operatorname{relu},
\text{ constant powers}. \qquad \text{(E4)}$$

A variable power is $u^v = e^{v \ln u}$, for $u > 0$. For a single function (E4) is a definition. That it holds for
whole programs is not.

**Claim** `autograd.dual-numbers`. Let a program compute $f(x_1, \dots, x_m)$ in steps of $+$, $-$, $\times$, $\div$,
powers and the functions of (E4), and at $x$ let each of these functions have a slope at the argument it meets. Run on
the dual numbers $x_i + b_i \varepsilon$ it gives $f(x) + D \varepsilon$, where $D$ is the slope of $f(x + t b)$ in $t$
at $t = 0$. In particular, for one input, $f(x + b \varepsilon) = f(x) + f'(x)\, b\, \varepsilon$.

**Proof.** Put $x_i + t b_i$ into the program: every number in it becomes a function $u(t)$. By induction over the
steps, the dual number that stands there is $u(0) + u'(0)\, \varepsilon$. An input is $x_i + t b_i$, with slope $b_i$; a
constant $c$ has slope $0$, and is $c + 0 \varepsilon$. Sums, differences and products: (E1) and (E2) are the rules of
`markov.slope-rules`, $(uv)' = u v' + u' v$. Quotients: `autograd.quotient-rule` is
$\big( \frac{u}{v} \big)' = \frac{u' v - u v'}{v^2} = \frac{1}{v} \big( u' - \frac{u}{v} v' \big)$. Functions: by (E4)
the tangent is $g'(u(0))\, u'(0)$, which is `autograd.chain-rule`. A variable power is made of these steps. The last
number of the program is $f(x + tb)$. $\blacksquare$

The tangent is the Jacobian-vector product of `fp_autograd.linear_algebra`: forward mode. `gradient` puts 1 into one
tangent at a time.

**Claim** `autograd.forward-cost`. A run on dual numbers takes at most nine times the operations of a run on numbers,
counted as for `autograd.cheap-gradient-scalar`. The gradient in $m$ inputs takes $m$ such runs, and no choice of fewer
directions is enough; one sweep back takes at most ten times the operations in all.

**Proof.** The number of operations on the value alone, and on value and tangent as they are written below:

| | $u + v$ | $u v$ | $u / v$ | $u^c$ | $u^v$ | $e^u$ | $\ln u$ | $\tanh u$ | $\sigma(u)$ | $\max(u, 0)$ |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| value | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 5 | 1 |
| both | 2 | 4 | 4 | 5 | 9 | 2 | 3 | 9 | 8 | 2 |

Differences and changes of sign cost as sums; a constant instead of $u$ or $v$ saves operations. Each entry below is at
most nine times the one above, and so is the sum. That fewer than $m$ directions do not determine $m$ partial
derivatives is part of `autograd.vjp-chain`; the last statement is `autograd.cheap-gradient-scalar`. $\blacksquare$

The same table of functions and slopes serves both modes. Two of its slopes have a form that must not be used, since it
subtracts nearly equal numbers:

**Claim** `autograd.saturated-slopes`. With $z = e^{-2|u|}$, $1 - \tanh^2 u = \frac{4 z}{(1 + z)^2}$. With
$z = e^{-|u|}$, $\sigma(u) (1 - \sigma(u)) = \frac{z}{(1 + z)^2}$, and $\sigma(u)$ is $\frac{1}{1 + z}$ for $u \ge 0$,
$\frac{z}{1 + z}$ for $u < 0$. In all of them $0 < z \le 1$.

**Proof.** $-2|u| \le 0$, so $z$ is positive and at most $e^0 = 1$. Both slopes are the same at $u$ and $-u$: $\tanh$
changes its sign only, and $\sigma(-u) = \frac{1}{1 + e^u} = \frac{e^{-u}}{e^{-u} + 1} = 1 - \sigma(u)$. So let
$u \ge 0$. In $\tanh u = \frac{e^u - e^{-u}}{e^u + e^{-u}}$ multiply above and below by $e^{-u}$; with $z = e^{-2u}$ it
is $\frac{1 - z}{1 + z}$, and
$1 - \frac{(1 - z)^2}{(1 + z)^2} = \frac{(1 + z)^2 - (1 - z)^2}{(1 + z)^2} = \frac{4z}{(1 + z)^2}$. With $z = e^{-u}$,
$\sigma(u) = \frac{1}{1 + z}$, $1 - \sigma(u) = \frac{z}{1 + z}$, and their product is $\frac{z}{(1 + z)^2}$. For
$u < 0$, $\sigma(u) = 1 - \sigma(|u|) = \frac{z}{1 + z}$. $\blacksquare$

So no exponential overflows, and nothing nearly equal is subtracted. It matters where $\tanh$ is flat: from about 19 on
it rounds to 1, and $1 - \tanh^2$ would be zero, as if learning had stopped for good.

>>> y = Dual(25.0, 1.0).tanh()
>>> 1 - y.value**2 == 0, 0 < y.tangent < 1e-20
(True, True)

## Many slopes

Write $D_k u = \frac{u^{(k)}(0)}{k!}$ for the **Taylor coefficients** of a function $u(t)$ at $0$. Then
$D_{k-1} u' = k\, D_k u$, because the left side is $\frac{u^{(k)}(0)}{(k - 1)!}$.

**Claim** `autograd.leibniz`. If $u$ and $v$ have $k$ successive slopes near $0$, then
$D_k (uv) = \sum_{j=0}^k D_j u\, D_{k-j} v$.

**Proof.** By induction on $k$; for $k = 0$ it is $(uv)(0) = u(0)\, v(0)$. Let $k \ge 1$. By the product rule and the
induction hypothesis for $u', v$ and for $u, v'$,

$$
\begin{aligned}
k\, D_k (uv) &= D_{k-1} (u' v + u v')
  = \sum_{j=1}^{k} D_{j-1} u'\, D_{k-j} v + \sum_{j=0}^{k-1} D_j u\, D_{k-1-j} v' \\
  &= \sum_{j=1}^{k} j\, D_j u\, D_{k-j} v + \sum_{j=0}^{k-1} (k - j)\, D_j u\, D_{k-j} v
  = \sum_{j=0}^{k} k\, D_j u\, D_{k-j} v,
\end{aligned}
$$

where the terms that are added in the last step, $j = 0$ in the first sum and $j = k$ in the second, are zero. Divide by
$k$. $\blacksquare$

So (E1) multiplies Taylor coefficients. For the functions, each satisfies an equation with its own slope in it, and that
equation, read coefficient by coefficient, gives $y_k$ from those before it:

$$
\begin{array}{lll}
y = e^u & y' = u' y & k\, y_k = \sum_{j=1}^{k} j\, u_j\, y_{k-j} \\
y = \tanh u & y' = u' g, \; g = 1 - y^2 & k\, y_k = \sum_{j=1}^{k} j\, u_j\, g_{k-j}, \;
  g_i = - \sum_{j=0}^{i} y_j\, y_{i-j} \; (i \ge 1) \\
y = \sigma(u) & y' = u' g, \; g = y - y^2 & k\, y_k = \sum_{j=1}^{k} j\, u_j\, g_{k-j}, \;
  g_i = y_i - \sum_{j=0}^{i} y_j\, y_{i-j} \; (i \ge 1) \\
y = \ln u & y' = u' / u & k\, y_k = (u' / u)_{k-1} \\
y = u^c & u y' = c\, u' y & k\, u_0\, y_k = \sum_{j=1}^{k} \big( c j - (k - j) \big)\, u_j\, y_{k-j}
\end{array}
\qquad \text{(E5)}
$$

The first coefficients are $y_0 = f(u_0)$ and $g_0 = f'(u_0)$. The rectifier is $u$ for $u_0 > 0$ and $0$ otherwise.

**Claim** `autograd.taylor-series`. Let a program compute $f(x)$ in steps of $+$, $-$, $\times$, $\div$, powers and the
functions of (E5), each met where it has slopes of every order. Run on the series $x + \varepsilon$ of order $n$ it
gives $f(x) + f'(x)\, \varepsilon + \dots + \frac{f^{(n)}(x)}{n!} \varepsilon^n$.

**Proof.** Put $x + t$ into the program: every number in it is a function $u(t)$ with slopes of every order, by
`markov.slope-rules`, again and again. By induction over the steps, the series that stands there has the coefficients
$D_k u$. The input $x + t$ has $x, 1, 0, \dots$, a constant $c$ has $c, 0, \dots$, and slopes add. Products:
`autograd.leibniz`. Quotients: if $q = u / v$ then $q v = u$, so the $D_k q$ satisfy (E1) with $u$ on the left, and by
`autograd.truncated-ring` only (E3) does. Functions: the equations in the middle of (E5) are the chain rule with the
slopes of `markov.log-slope`, `autograd.tanh-slope` and `autograd.sigmoid-slope`; the last is
$u y' = u\, c\, u^{c-1} u' = c\, u'\, y$. Take $D_{k-1}$ on both sides. On the left of the first four stands
$k\, D_k y$; on the right $\sum_{j=1}^{k} D_{j-1} u'\, D_{k-j} g = \sum_{j=1}^{k} j\, D_j u\, D_{k-j} g$ by
`autograd.leibniz`, with $y$ for $g$ in the first line, and $D_{k-1} (u' / u)$ in the fourth. In the last,
$\sum_{i=0}^{k-1} D_i u\, (k - i)\, D_{k-i} y = c \sum_{j=1}^{k} j\, D_j u\, D_{k-j} y$; leave $k\, u_0\, y_k$, the term
$i = 0$, on the left. A variable power is made of these steps. $\blacksquare$

Where $u_0 = 0$ the last line of (E5) says nothing, and a power with whole $c \ge 0$ is done by multiplication; others
have no Taylor coefficients there. With $n = 1$ all of it is (E4) again.

>>> [round(d, 3) for d in derivatives(lambda x: x.tanh(), 0.5, 4)]
[0.462, 0.786, -0.727, -0.565, 3.952]

## In practice

Forward mode is for functions of few inputs, for a directional derivative of many, and, laid over a reverse sweep, for
Hessian-vector products: one more pass whatever the number of parameters (`fp_autograd.functional`). JAX calls it `jvp`,
and its `jet` is (E5); PyTorch has both as `torch.func.jvp` and `torch.autograd.forward_ad`. The memory of forward mode
does not grow with the length of a computation, while a reverse sweep keeps all of it. Training has one output and
billions of inputs, so there it loses all the same. Dual numbers inside dual numbers would need two different
$\varepsilon$, kept apart; the tangents here are plain numbers, and higher slopes are the work of `Series`.

References: W. Clifford, 1873, for dual numbers; R. Wengert, 1964, for forward mode; R. Moore, *Interval Analysis*,
1966, and A. Griewank and A. Walther, 2008, chapter 13, for (E5).
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from numbers import Real
from operator import add, mul, sub
from typing import Any, TypeVar

__all__ = ["Scalar", "Dual", "derivative", "gradient", "Series", "derivatives"]  # the order of the page

Number = float | int
WithSlope = tuple[float, float]
S = TypeVar("S", bound="Scalar")
LARGEST = math.log(sys.float_info.max)


def number(x: object) -> float:
    """A Python float from a real number of any kind."""
    if isinstance(x, bool) or not isinstance(x, (float, int, Real)):
        advice = "Take one entry of an array with .item(), turn a truth value into a number with int()."
        raise TypeError(f"a number is needed here, an int or a float, got {type(x).__name__}. {advice}")
    return float(x)


def exp(x: float) -> WithSlope:
    """The function and its slope (E4), as its neighbours below."""
    y = math.inf if x > LARGEST else math.exp(x)
    return y, y


def log(x: float) -> WithSlope:
    if x <= 0:
        raise ValueError(f"log needs a positive number, got {x}. Add a small constant to what may vanish.")
    return math.log(x), 1.0 / x


def tanh(x: float) -> WithSlope:
    z = math.exp(-2.0 * abs(x))  # autograd.saturated-slopes
    s = 1.0 + z
    return math.tanh(x), 4.0 * z / (s * s)


def sigmoid(x: float) -> WithSlope:
    z = math.exp(-abs(x))
    s = 1.0 + z
    return (1.0 if x >= 0 else z) / s, z / (s * s)


def relu(x: float) -> WithSlope:
    return (0.0, 0.0) if x <= 0 else (x, 1.0)  # asked this way round, NaN passes through


def quotient(u: float, v: float) -> float:
    if v == 0:
        raise ZeroDivisionError(f"a divisor must not be zero, got {u} / {v}. Add a small constant to what may vanish.")
    return u / v


def power(u: float, c: float) -> WithSlope:
    """`u**c` and its slope in `u`, infinite where the tangent is vertical."""
    if u < 0 and not c.is_integer():
        raise ValueError(f"a negative base needs a whole exponent, got {u} ** {c}. The square u * u has every power.")
    if u == 0 and c < 0:
        raise ZeroDivisionError(f"zero has no negative power, got {u} ** {c}. Add a small constant to what may vanish.")
    return raised(u, c), c * raised(u, c - 1.0) if c else 0.0


def power_both(u: float, v: float) -> tuple[float, float, float]:
    """`u**v` and its slopes in `u` and `v`."""
    if u <= 0:
        raise ValueError(f"a variable exponent needs a positive base, got {u} ** {v}. Give a constant one as a number.")
    y = raised(u, v)
    return y, v * raised(u, v - 1.0), y * math.log(u)


def raised(u: float, c: float) -> float:
    """The power, infinite where Python has errors."""
    try:
        return math.pow(u, c)
    except OverflowError:
        return -math.inf if u < 0 and c % 2 == 1 else math.inf
    except ValueError:  # zero to a negative power, which occurs in slopes
        return math.inf


class Scalar:
    """What values, dual numbers and series share: the functions, the order, and that NumPy does not take them apart."""

    __slots__ = ()
    __array_ufunc__ = None  # NumPy leaves `array * value` to the value, which refuses it in one sentence

    def apply(self, function: Callable[[float], WithSlope]) -> Any:
        """The function of this number, with what follows from its slope."""
        raise NotImplementedError

    def exp(self: S) -> S:
        """$e^u$; infinite where it overflows."""
        return self.apply(exp)

    def log(self: S) -> S:
        r"""$\ln u$; a `ValueError` if $u \le 0$."""
        return self.apply(log)

    def tanh(self: S) -> S:
        r"""$\tanh u$."""
        return self.apply(tanh)

    def sigmoid(self: S) -> S:
        r"""$\sigma(u) = \frac{1}{1 + e^{-u}}$."""
        return self.apply(sigmoid)

    def relu(self: S) -> S:
        r"""$\max(u, 0)$, with slope 0 at 0."""
        return self.apply(relu)

    def __float__(self) -> float:
        raise NotImplementedError

    def __lt__(self, other: object) -> bool:
        return float(self) < plain(other)

    def __le__(self, other: object) -> bool:
        return float(self) <= plain(other)

    def __gt__(self, other: object) -> bool:
        return float(self) > plain(other)

    def __ge__(self, other: object) -> bool:
        return float(self) >= plain(other)


def plain(x: object) -> float:
    return float(x) if isinstance(x, Scalar) else number(x)


class Dual(Scalar):
    r"""
    A dual number $a + b \varepsilon$, $\varepsilon^2 = 0$.

    It calculates with dual numbers and plain numbers on either side, has the functions of (E4) as methods, and compares
    by its value.

    Parameters
    ----------
    value
        $a$.
    tangent
        $b$, the slope of this number in whatever is being varied.

    Raises
    ------
    TypeError
        If a part, or a partner in an operation, is no number.

    Examples
    --------
    >>> x = Dual(3, 1)
    >>> x * x + 2 / x
    Dual(9.66667, 5.77778)
    """

    __slots__ = ("tangent", "value")

    def __init__(self, value: Number, tangent: Number = 0.0) -> None:
        self.value = number(value)
        self.tangent = number(tangent)

    def __add__(self, other: "Dual | Number") -> "Dual":
        o = dual(other)
        return Dual(self.value + o.value, self.tangent + o.tangent)

    def __sub__(self, other: "Dual | Number") -> "Dual":
        o = dual(other)
        return Dual(self.value - o.value, self.tangent - o.tangent)

    def __mul__(self, other: "Dual | Number") -> "Dual":
        o = dual(other)
        return Dual(self.value * o.value, self.value * o.tangent + self.tangent * o.value)  # (E2)

    def __truediv__(self, other: "Dual | Number") -> "Dual":
        o = dual(other)
        y = quotient(self.value, o.value)
        return Dual(y, (self.tangent - y * o.tangent) / o.value)  # (E3)

    def __pow__(self, other: "Dual | Number") -> "Dual":
        if isinstance(other, Dual):
            y, du, dv = power_both(self.value, other.value)
            return Dual(y, du * self.tangent + dv * other.tangent)
        y, slope = power(self.value, number(other))
        return Dual(y, slope * self.tangent)

    def __rsub__(self, other: Number) -> "Dual":
        return dual(other) - self

    def __rtruediv__(self, other: Number) -> "Dual":
        return dual(other) / self

    def __rpow__(self, other: Number) -> "Dual":
        return dual(other) ** self

    def __neg__(self) -> "Dual":
        return Dual(-self.value, -self.tangent)

    __radd__, __rmul__ = __add__, __mul__

    def apply(self, function: Callable[[float], WithSlope]) -> "Dual":
        y, slope = function(self.value)
        return Dual(y, slope * self.tangent)  # (E4)

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return f"Dual({self.value:g}, {self.tangent:g})"


def dual(x: object) -> Dual:
    return x if isinstance(x, Dual) else Dual(number(x))


class Series(Scalar):
    r"""
    A series $u_0 + u_1 \varepsilon + \dots + u_n \varepsilon^n$, $\varepsilon^{n+1} = 0$.

    It calculates with series of the same order and with plain numbers on either side, has the functions of (E5) as
    methods, and compares by $u_0$.

    Parameters
    ----------
    coefficients
        $u_0, \dots, u_n$.

    Raises
    ------
    TypeError
        If a coefficient, or a partner in an operation, is no number.
    ValueError
        If there is no coefficient, or two series differ in order.

    Examples
    --------
    >>> 1 / (1 - Series([0, 1, 0, 0]))
    Series([1, 1, 1, 1])
    """

    __slots__ = ("coefficients",)

    def __init__(self, coefficients: Iterable[Number]) -> None:
        self.coefficients = tuple(map(number, coefficients))
        if not self.coefficients:
            raise ValueError("a series needs at least one coefficient, got none. The first is its value.")

    def like(self, other: object) -> tuple[float, ...]:
        """The coefficients of the partner in an operation."""
        if not isinstance(other, Series):
            return (number(other), *(0.0 for _ in self.coefficients[1:]))
        if len(other.coefficients) != len(self.coefficients):
            orders = f"{len(self.coefficients) - 1} and {len(other.coefficients) - 1}"
            raise ValueError(f"two series must be of one order, got {orders}. Fill the shorter one with what is known.")
        return other.coefficients

    def __add__(self, other: "Series | Number") -> "Series":
        return Series(map(add, self.coefficients, self.like(other)))

    def __sub__(self, other: "Series | Number") -> "Series":
        return Series(map(sub, self.coefficients, self.like(other)))

    def __mul__(self, other: "Series | Number") -> "Series":
        u, v = self.coefficients, self.like(other)
        return Series(product(u, v, k) for k in range(len(u)))

    def __truediv__(self, other: "Series | Number") -> "Series":
        u, v = self.coefficients, self.like(other)
        q: list[float] = []
        for k in range(len(u)):  # (E3)
            q.append(quotient(u[k] - sum(v[j] * q[k - j] for j in range(1, k + 1)), v[0]))
        return Series(q)

    def __pow__(self, other: "Series | Number") -> "Series":
        if isinstance(other, Series):
            power_both(self.coefficients[0], self.like(other)[0])  # asks for a positive base
            return (other * self.log()).exp()
        c, u, n = number(other), self.coefficients, len(self.coefficients)
        y = [power(u[0], c)[0]]
        if u[0] == 0:
            if not c.is_integer():
                raise ValueError(f"a series whose value is zero has whole powers only, got the exponent {c}.")
            # beyond the order every power of a multiple of epsilon is zero
            return reduce(mul, [self] * min(int(c), n), self * 0.0 + 1.0)
        for k in range(1, n):
            y.append(sum((c * j - (k - j)) * u[j] * y[k - j] for j in range(1, k + 1)) / (k * u[0]))
        return Series(y)

    def __rsub__(self, other: Number) -> "Series":
        return Series(self.like(other)) - self

    def __rtruediv__(self, other: Number) -> "Series":
        return Series(self.like(other)) / self

    def __rpow__(self, other: Number) -> "Series":
        return Series(self.like(other)) ** self

    def __neg__(self) -> "Series":
        return Series(-u for u in self.coefficients)

    __radd__, __rmul__ = __add__, __mul__

    def log(self) -> "Series":
        n, y = len(self.coefficients), log(self.coefficients[0])[0]
        slope = Series([*(k * self.coefficients[k] for k in range(1, n)), 0.0]) / self
        return Series([y, *(slope.coefficients[k - 1] / k for k in range(1, n))])

    def apply(self, function: Callable[[float], WithSlope]) -> "Series":
        u, (y0, g0) = self.coefficients, function(self.coefficients[0])
        if function is relu:
            return self * g0
        y, g = [y0], [g0]
        for k in range(1, len(u)):  # (E5), lines one to three
            y.append(sum(j * u[j] * g[k - j] for j in range(1, k + 1)) / k)
            g.append(y[k] * (function is not tanh) - product(y, y, k) * (function is not exp))
        return Series(y)

    def __float__(self) -> float:
        return self.coefficients[0]

    def __repr__(self) -> str:
        return f"Series([{', '.join(f'{u:g}' for u in self.coefficients)}])"


def product(u: Sequence[float], v: Sequence[float], k: int) -> float:
    """Coefficient k of a product, (E1)."""
    return sum(u[j] * v[k - j] for j in range(k + 1))


def derivative(f: Callable[[Dual], Dual | Number], x: Number) -> float:
    """
    The slope of `f` at `x`, by one run on a dual number.

    Parameters
    ----------
    f
        Takes and returns one number, and does with it what dual numbers can do.
    x
        Where.

    Returns
    -------
    float
        Exact up to rounding.

    Examples
    --------
    >>> derivative(lambda x: x**3, 2)
    12.0
    """
    return dual(f(Dual(x, 1.0))).tangent


def gradient(f: Callable[[list[Dual]], Dual | Number], xs: Sequence[Number]) -> list[float]:
    """
    All partial derivatives of `f`, by one run for each input (`autograd.forward-cost`).

    Parameters
    ----------
    f
        Takes a list of numbers and returns one.
    xs
        Where.

    Returns
    -------
    list of float
        One for each input.

    Examples
    --------
    >>> gradient(lambda v: v[0] * v[1] + v[1], [2, 3])
    [3.0, 3.0]
    """
    return [dual(f([Dual(x, float(i == j)) for j, x in enumerate(xs)])).tangent for i in range(len(xs))]


def derivatives(f: Callable[[Series], Series | Number], x: Number, order: int) -> list[float]:
    r"""
    $f(x), f'(x), \dots, f^{(n)}(x)$, by one run on a series (`autograd.taylor-series`).

    Parameters
    ----------
    f
        Takes and returns one number.
    x
        Where.
    order
        $n$, zero or more.

    Returns
    -------
    list of float
        $n + 1$ numbers.

    Raises
    ------
    ValueError
        If the order is below zero.

    Examples
    --------
    >>> derivatives(lambda x: x**3, 2, 4)
    [8.0, 12.0, 12.0, 6.0, 0.0]
    """
    if order < 0:
        raise ValueError(f"the order counts slopes, from zero up, got {order}.")
    variable = Series([x, 1.0, *[0.0] * (order - 1)][: order + 1])
    return [math.factorial(k) * y for k, y in enumerate(variable.like(f(variable)))]
