r"""
Floating point: how wrong is a computed number, and what do differences of them tell?

A derivative that was computed by rules is compared with one that was computed by differences. They never agree exactly.
Whether they agree well enough is a question about rounding, and this section answers it: where rounding errors come
from, how they add up, which step makes a difference quotient best, and how far such a check can be trusted at each
precision.

You need: Taylor's theorem from `fp_autograd.calculus`, and `markov.central-difference`.

## Numbers with gaps

A **floating-point number** of precision $p$ is $0$ or $\pm m \cdot 2^e$ with whole $m$, $2^{p-1} \le m < 2^p$, and
whole $e$. From $2^k$ up to $2^{k+1}$ they stand at equal distances, the **spacing** $2^{k-p+1}$. Half the spacing at
one is the **unit roundoff** $u = 2^{-p}$; the spacing itself, $2u$, is often written $\epsilon$. We leave aside that
$e$ has a limited range: assume that nothing overflows, and that no product or quotient gets so small that digits are
lost.

>>> spacing(1.0) == 2.0**-52 and spacing(1.0, bits=24) == 2.0**-23  # float64 and float32
True
>>> spacing(2048.0, bits=11)  # in float16 there is nothing between 2048 and 2050
2.0

Let $\operatorname{fl}(x)$ be the floating-point number nearest to $x$; of two that are equally near, the one with even
$m$.

**Claim** `autograd.rounding`. $\operatorname{fl}(x) = x\, (1 + \delta)$ with $|\delta| \le u$.

**Proof.** $\operatorname{fl}(0) = 0$. Otherwise $2^k \le |x| < 2^{k+1}$ for some $k$. The numbers in this range, with
its ends, stand at distances of $2^{k-p+1}$, so the nearest is at most half of that away:
$|\operatorname{fl}(x) - x| \le 2^{k-p} = u\, 2^k \le u\, |x|$. $\blacksquare$

How a processor adds is not for us to prove. The standard IEEE 754 requires, and we take as an **axiom**, that each of
$+$, $-$, $\times$, $\div$ and the square root returns $\operatorname{fl}$ of the exact result. With the claim, for each
of them,

$$\operatorname{fl}(a \circ b) = (a \circ b)\, (1 + \delta), \qquad |\delta| \le u. \qquad \text{(E1)}$$

## Cancellation

One operation is never far off. What follows it can be.

**Claim** `autograd.exact-subtraction`. If $a$ and $b$ are floating-point numbers and $\frac{b}{2} \le a \le 2b$, then
$a - b$ is a floating-point number: the subtraction makes no error.

**Proof.** Then $b \ge 0$ and $a \ge 0$, and if one is zero so is the other. The hypothesis is the same with $a$ and $b$
exchanged, so let $a \ge b > 0$, and let $s$ be the spacing at $b = m s$. Both are whole multiples of $s$, since the
spacing at $a$ is $s$ times a power of two that is at least one. So $a - b = m' s$ with whole $m' \ge 0$, and
$a - b \le b$ says $m' \le m < 2^p$. If $m' = 0$ the difference is $0$; otherwise double $m'$ and halve $s$ until
$m' \ge 2^{p-1}$. $\blacksquare$

**Claim** `autograd.cancellation`. Let $\hat a = a (1 + \delta_1)$ and $\hat b = b (1 + \delta_2)$ with
$|\delta_1|, |\delta_2| \le \eta$, and $a \ne b$. Then the relative error of $\hat a - \hat b$ is at most
$\eta\, \frac{|a| + |b|}{|a - b|}$, and no smaller bound holds.

**Proof.** $(\hat a - \hat b) - (a - b) = a \delta_1 - b \delta_2$ is at most $\eta\, (|a| + |b|)$ in size. With
$\delta_1 = \eta$ or $-\eta$ as $a$ is positive or negative, and $\delta_2$ the other way round for $b$, it is equal to
that. $\blacksquare$

Together: where two numbers nearly agree their difference is computed without error, and its digits are the errors of
everything before. $1 - \sigma(x)$ for large $x$ is an example, and $\sigma(-x)$, the same number
(`autograd.sigmoid-slope`), is the cure:

>>> from fp_autograd.calculus import sigmoid
>>> 1 - sigmoid(40), sigmoid(-40) > 4e-18
(0.0, True)

## Sums

**Claim** `autograd.sum-error`. Let $x_1, \dots, x_n$ be floating-point numbers, added from left to right,
$\hat s_1 = x_1$ and $\hat s_k = \operatorname{fl}(\hat s_{k-1} + x_k)$. Then, for every $n$,

$$\Big| \hat s_n - \sum_{i=1}^n x_i \Big| \le (n - 1)\, u \sum_{i=1}^n |x_i|. \qquad \text{(E2)}$$

**Proof.** Write $s_k = \sum_{i \le k} x_i$ and $S_k = \sum_{i \le k} |x_i|$. By induction; for $n = 1$ both sides are
$0$. Let $d$ be the error of the last addition, $\hat s_n = \hat s_{n-1} + x_n + d$, so that
$|\hat s_n - s_n| \le |\hat s_{n-1} - s_{n-1}| + |d| \le (n - 2)\, u\, S_{n-1} + |d|$. Two bounds hold for $d$. No
floating-point number is nearer to $\hat s_{n-1} + x_n$ than the result; $\hat s_{n-1}$ is one, so $|d| \le |x_n|$. And
$|d| \le u\, |\hat s_{n-1} + x_n|$ by (E1). If $|x_n| \le u\, S_{n-1}$, the first bound gives
$(n - 2)\, u\, S_{n-1} + u\, S_{n-1} \le (n - 1)\, u\, S_n$. Otherwise $u\, S_{n-1} < |x_n|$, and the second gives

$$
|d| \le u \big( |\hat s_{n-1} - s_{n-1}| + |s_n| \big) \le u \big( (n - 2)\, u\, S_{n-1} + S_n \big)
  \le u \big( (n - 2)\, |x_n| + S_n \big),
$$

so the error is at most $(n - 2)\, u\, (S_{n-1} + |x_n|) + u\, S_n = (n - 1)\, u\, S_n$. $\blacksquare$

Every number may be hit by many roundings: $x_1$ takes part in all $n - 1$ additions. Halve the list instead, sum the
halves in the same way, and add the two results: `pairwise_sum`. Then each number takes part in few.

**Claim** `autograd.pairwise-sum`. Let $h = \lceil \log_2 n \rceil$, the least whole number with $n \le 2^h$. Pairwise
summation of $n$ numbers has an error of at most $\big( (1 + u)^h - 1 \big) \sum_i |x_i|$, and if $h u < 1$, of at most
$\frac{h u}{1 - h u} \sum_i |x_i|$.

**Proof.** The larger half of $n \le 2^h$ numbers has at most $2^{h-1}$, so after $h$ halvings one number is left and
each $x_i$ takes part in at most $h$ additions. By (E1) each of these multiplies it by some $1 + \delta$. So the result
is $\sum_i x_i P_i$ with $P_i$ a product of at most $h$ such factors, and

$$1 - h u \le (1 - u)^h \le P_i \le (1 + u)^h, \qquad \text{(E3)}$$

the first step by induction: $(1 - u)^{j+1} \ge (1 - j u)(1 - u) \ge 1 - (j + 1) u$. In the same way
$(1 + u)^h \ge 1 + h u$, so $|P_i - 1| \le (1 + u)^h - 1$. If $h u < 1$, then
$(1 + u)^h (1 - h u) \le (1 + u)^h (1 - u)^h = (1 - u^2)^h \le 1$, so
$(1 + u)^h - 1 \le \frac{1}{1 - hu} - 1 = \frac{h u}{1 - h u}$. $\blacksquare$

In float16 a running sum of ones stops growing where the spacing reaches two:

>>> ones = np.ones(4096, np.float16)
>>> running_sum(ones), pairwise_sum(ones)
(2048.0, 4096.0)

**Claim** `autograd.dot-error`. A dot product of $n$ terms, whose products are added in any order, has an error of at
most $\big( (1 + u)^n - 1 \big) \sum_i |x_i y_i|$.

**Proof.** Each product is rounded once and takes part in at most $n - 1$ additions, so it is multiplied by at most $n$
factors $1 + \delta$. The bound on $|P_i - 1|$ above, with $n$ for $h$, holds for it. $\blacksquare$

The bounds compare with $\sum_i |x_i y_i|$, not with the sum. If terms cancel, the relative error can be anything.

## Exponentials that overflow

$e^x$ exceeds the largest number from here on:

>>> for dtype in (np.float16, np.float32, np.float64):
...     print(np.dtype(dtype).name, round(math.log(float(np.finfo(dtype).max)), 2))
float16 11.09
float32 88.72
float64 709.78

so $e^{x_i} / \sum_j e^{x_j}$ is NaN for scores of a few hundred, although the quotient is an ordinary number.

**Claim** `autograd.exponential-shift`. For every number $c$,

$$
\frac{e^{x_i}}{\sum_j e^{x_j}} = \frac{e^{x_i - c}}{\sum_j e^{x_j - c}}, \qquad
\ln \sum_j e^{x_j} = c + \ln \sum_j e^{x_j - c}. \qquad \text{(E4)}
$$

With $c = \max_j x_j$ all exponentials on the right lie in $(0, 1]$ and their sum in $[1, n]$; so
$\max_j x_j \le \ln \sum_j e^{x_j} \le \max_j x_j + \ln n$.

**Proof.** $e^{x_j} = e^c e^{x_j - c}$. The factor $e^c$ stands above and below in the quotient and cancels; under the
logarithm it comes out as $c$ (`markov.log-product`). If $c$ is the maximum, every $x_j - c \le 0$, so $e^{x_j - c}$
lies in $(0, 1]$, and for the maximum itself it is $1$: the sum of $n$ of them lies in $[1, n]$, its logarithm in
$[0, \ln n]$. $\blacksquare$

What underflows to zero on the right is smaller than the sum by more than any rounding.

## Differences as a judge

Let $f$ be computed with errors: $|\hat f - f| \le \eta F$, where $F$ stands for the size of $f$ near $x$; only the
product $\eta F$ will matter. The best that can be hoped for is $\eta = u$; a function of many steps has more, and
$\eta = \epsilon$ is the usual guess. A difference quotient has two errors that pull the step $h$ in opposite
directions: the curve bends over a long step, and over a short one the errors of $\hat f$ are divided by little.

**Claim** `autograd.one-sided-step`. Let $h > 0$, $|f''| \le M$ between $x$ and $x + h$, and $M, F, \eta > 0$. Then

$$
\left| \frac{\hat f(x + h) - \hat f(x)}{h} - f'(x) \right| \le \frac{M h}{2} + \frac{2 \eta F}{h}. \qquad \text{(E5)}
$$

This bound can be reached. It is smallest at $h = 2 \sqrt{\eta F / M}$, where it is $2 \sqrt{\eta M F}$.

**Proof.** By `autograd.taylor` with $n = 1$, $f(x + h) = f(x) + f'(x) h + R$ with $|R| \le M h^2 / 2$. The two computed
values add at most $2 \eta F$ to the numerator. Divide by $h$. For $f(t) = \frac{M}{2} (t - x)^2$, with $\hat f$ too
large by $\eta F$ at $x + h$ and too small by it at $x$, both errors are as large as they may be, with the same sign.
Last, with $a = M / 2$ and $b = 2 \eta F$,

$$a h + \frac{b}{h} = 2 \sqrt{ab} + \Big( \sqrt{a h} - \sqrt{b / h} \Big)^2,$$

which is smallest where $a h = b / h$, at $h = \sqrt{b / a}$, and is $2 \sqrt{ab}$ there. $\blacksquare$

**Claim** `autograd.central-step`. Let $h > 0$, $|f'''| \le M$ on $[x - h, x + h]$, and $M, F, \eta > 0$. Then

$$
\left| \frac{\hat f(x + h) - \hat f(x - h)}{2h} - f'(x) \right| \le \frac{M h^2}{6} + \frac{\eta F}{h}.
\qquad \text{(E6)}
$$

This bound can be reached. It is smallest at $h = (3 \eta F / M)^{1/3}$, where it is
$\frac12 M^{1/3} (3 \eta F)^{2/3}$.

**Proof.** The first term is `markov.central-difference`; the two computed values add $2 \eta F / 2h$. Both are reached
by $f(t) = \frac{M}{6} (t - x)^3$ with errors $\pm \eta F$ on the two sides. Let
$B(h) = \frac{M}{6} h^2 + \eta F h^{-1}$. Its slope $\frac{M}{3} h - \eta F h^{-2}$ has the sign of
$h^3 - 3 \eta F / M$: negative before the named $h$, positive after it, so by `markov.slope-bound` $B$ falls and then
rises. There $\eta F = \frac{M}{3} h^3$, so $B = \frac{M}{6} h^2 + \frac{M}{3} h^2 = \frac{M}{2} h^2$ with
$h^2 = (3 \eta F)^{2/3} M^{-2/3}$. $\blacksquare$

(The last subtraction and division add about $2u$ of the quotient: nothing next to these, unless the slope is larger
than the values by many powers of ten. That $x + h$ is rounded matters more; so the functions below divide by the
distance that the rounded points have.) The best error is of the order $\eta^{1/2}$ for one-sided and $\eta^{2/3}$ for
central differences: half of the digits, and two thirds. `best_step` and `difference_error` are (E5) and (E6) for
$F = M = 1$:

>>> for name, bits in [("float64", 53), ("float32", 24), ("float16", 11), ("bfloat16", 8)]:
...     eps = 2.0 ** (1 - bits)
...     print(f"{name:8}", *(f"{difference_error(best_step(eps, k), eps, k):.1e}" for k in (1, 2)))
float64  3.0e-08 3.8e-11
float32  6.9e-04 2.5e-05
float16  6.2e-02 1.0e-02
bfloat16 1.8e-01 4.1e-02

## Why checks in float32 lie

A central difference in float32 is off by a few parts in a hundred thousand if the function, its derivative and its
third derivative are all near one. But (E6) is an absolute error. Take a loss near ten with a slope of a thousandth,
which is common for a single weight, at two neighbouring points:

>>> loss = lambda w: np.float32(10) + np.float32(0.001) * np.float32(w)
>>> for h in (1e-1, 1e-2, 1e-3, 1e-4):
...     print(h, [round(central(loss, w, h), 5) for w in (0.9, 1.0)])
0.1 [0.001, 0.001]
0.01 [0.001, 0.001]
0.001 [0.00095, 0.00095]
0.0001 [0.0, 0.00477]

Values near ten move in jumps of $2^{-20}$, about a millionth. A step that is small enough for a curved function is too
small to make this one move, and then the quotient is zero or several times too large. A check that has to accept the
right gradients under such errors accepts wrong ones too. So check in float64, where the error is a billionth of this,
and use the rules in float32 afterwards: they are the same rules.

## A step into the complex plane

Take numbers $a + b\, i$ with $i^2 = -1$, added and multiplied by the usual rules; $a$ is the **real part**, $b$ the
**imaginary part**, and an infinite sum is taken in both parts, each by itself. A function that is built from
$+, -, \times, \div$ and power series accepts them.

**Claim** `autograd.complex-step`. Let $f(x + z) = \sum_{k \ge 0} a_k z^k$ for $z = t$ and $z = i t$ with all real $t$,
$|t| \le r$, where $r > 0$, the $a_k$ are real, and $C = \sum_k |a_k|\, r^k$ is finite. Then $a_1 = f'(x)$, and for
$0 < h \le r$

$$
\left| \frac{\operatorname{Im} f(x + i h)}{h} - f'(x) \right| \le \frac{C}{r^3}\, h^2. \qquad \text{(E7)}
$$

**Proof.** For real $t \ne 0$, $|t| \le r$, as $a_0 = f(x)$,

$$
\left| \frac{f(x + t) - f(x)}{t} - a_1 \right| = \Big| \sum_{k \ge 2} a_k t^{k-1} \Big|
  \le |t| \sum_{k \ge 2} |a_k|\, r^{k-2} \le |t|\, \frac{C}{r^2},
$$

because $|t|^{k-2} \le r^{k-2}$. It tends to zero with $t$, so $a_1$ is the slope. The powers $i^k$ are
$1, i, -1, -i, 1, \dots$: $(i h)^k$ is real for even $k$, and has the imaginary part $h^k$ or $-h^k$ for odd $k$,
$h$ for $k = 1$. So $\operatorname{Im} f(x + ih) / h = a_1 - a_3 h^2 + a_5 h^4 - \dots$, which differs from $a_1$ by at
most $\sum_{k \ge 3} |a_k|\, h^{k-1} = h^2 \sum_{k \ge 3} |a_k|\, h^{k-3} \le h^2 \sum_{k \ge 3} |a_k|\, r^{k-3} \le
h^2\, C / r^3$. $\blacksquare$

Nothing is subtracted, so nothing cancels, and $h$ may be as small as one likes. At $h = 10^{-20}$ the error of (E7) is
far below the spacing, and only the roundings inside $f$ remain:

>>> import cmath
>>> abs(central(math.exp, 1.0, 1e-12) - math.e) > 1e-6, abs(complex_step(cmath.exp, 1.0) - math.e) < 1e-15
(True, True)

Look at what the processor does: $(a + ib)(c + id)$ has the imaginary part $ad + bc$, the rule for products, and the
real part $ac - bd$, from which $bd$, of the order $h^2$, disappears by rounding. A complex step is forward mode in
disguise; `fp_autograd.dual` does it without one, with an $\varepsilon$ for which $\varepsilon^2$ is zero. The disguise
has its limits. The absolute value of a complex number is real, and so the derivative seems to be zero; the same goes
for anything that conjugates, as a transpose often does; `max` and `<` are not defined; and roots and logarithms jump
across a cut.

>>> complex_step(abs, -2.0)  # the slope is -1
0.0

## In practice

NumPy's and PyTorch's sums are pairwise over blocks, and their dot products, in BLAS, add in several running sums at
once: (E2) was proven for neither, and the bound of `autograd.dot-error`, which allows any order, covers both. Matrix
products on bfloat16 keep their sums in float32, because with $u = 2^{-8}$ a running sum of a few hundred terms could be
off by its own size. Softmax is shifted everywhere. PyTorch's `gradcheck` takes central differences with the step
$10^{-6}$ and warns if the input is not in double precision.

Higham: *Accuracy and Stability of Numerical Algorithms* (2002). Rump: *Error estimation of floating-point summation and
dot product* (2012), for (E2) without terms of second order. Squire and Trapp: *Using complex variables to estimate
derivatives of real functions* (1998).
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

__all__ = [
    "spacing",
    "rounded",
    "running_sum",
    "pairwise_sum",
    "one_sided",
    "central",
    "best_step",
    "difference_error",
    "complex_step",
]

Real = float | int
Order = Literal[1, 2]


def spacing(x: Real, bits: int = 53) -> float:
    r"""
    The distance of neighbouring numbers at `x`, $2^{k-p+1}$ for $2^k \le |x| < 2^{k+1}$.

    Parameters
    ----------
    x
        A finite number other than zero.
    bits
        The precision $p$: 53 for float64, 24 for float32, 11 for float16, 8 for bfloat16.

    Returns
    -------
    float
        The spacing, as if the exponent had no limits.

    Raises
    ------
    ValueError
        If `x` is zero or not finite, or the precision is not positive.

    Examples
    --------
    >>> spacing(1.0, bits=4), spacing(1.9, bits=4), spacing(-2.0, bits=4)
    (0.125, 0.125, 0.25)
    """
    if not math.isfinite(x) or x == 0 or bits < 1:
        raise ValueError(f"spacing needs a finite number other than 0 and at least one bit, got {x} and {bits}")
    return math.ldexp(1.0, math.frexp(x)[1] - bits)  # frexp: x = m * 2^e with 1/2 <= |m| < 1


def rounded(x: Real, bits: int) -> float:
    r"""
    $\operatorname{fl}(x)$ in a precision of `bits`, as if the exponent had no limits.

    Parameters
    ----------
    x
        A finite number.
    bits
        The precision $p$, from 1 to 53.

    Returns
    -------
    float
        The nearest number; of two equally near, the one with an even last digit.

    Raises
    ------
    ValueError
        If `x` is not finite, or float64 does not hold the precision.

    Examples
    --------
    >>> rounded(math.pi, 4), rounded(1.0625, 4), rounded(1.1875, 4)
    (3.25, 1.0, 1.25)
    """
    if not math.isfinite(x) or not 1 <= bits <= 53:
        raise ValueError(f"rounding needs a finite number and from 1 to 53 bits, got {x} and {bits}")
    m, e = math.frexp(x)
    return math.ldexp(round(math.ldexp(m, bits)), e - bits)  # round() takes ties to even


def running_sum(x: Float[np.ndarray, " n"]) -> float:
    """
    Sum from left to right, every partial sum rounded to the array's own precision (E2).

    Parameters
    ----------
    x
        Numbers of any floating-point type.

    Returns
    -------
    float
        The last partial sum; 0 for no number.

    Examples
    --------
    >>> running_sum(np.array([2048.0, 1.0, 1.0], np.float16))
    2048.0
    """
    total = x.dtype.type(0)
    for value in x:
        total = total + value
    return float(total)


def pairwise_sum(x: Float[np.ndarray, " n"]) -> float:
    """
    Sum of the sums of both halves, rounded to the array's own precision (`autograd.pairwise-sum`).

    Parameters
    ----------
    x
        Numbers of any floating-point type.

    Returns
    -------
    float
        The sum; 0 for no number.

    Examples
    --------
    >>> pairwise_sum(np.array([2048.0, 1.0, 1.0], np.float16))
    2050.0
    """
    if len(x) < 2:
        return float(x[0]) if len(x) else 0.0
    half = len(x) // 2
    kind = x.dtype.type
    return float(kind(pairwise_sum(x[:half])) + kind(pairwise_sum(x[half:])))


def _checked(x: Real, h: Real) -> None:
    if not (math.isfinite(x) and math.isfinite(h)) or x + h == x or h <= 0:
        raise ValueError(
            f"a difference needs a finite point and a positive step that moves it, got x={x} and h={h}: "
            "take a larger step, such as best_step gives"
        )


def one_sided(f: Callable[[float], float], x: Real, h: Real) -> float:
    """
    The one-sided difference quotient, with the error (E5).

    Parameters
    ----------
    f
        A function of one number.
    x, h
        Where, and the step to the right.

    Returns
    -------
    float
        An estimate of the slope.

    Raises
    ------
    ValueError
        If the point or the step is not finite, or the step does not move the point to the right.

    Examples
    --------
    >>> abs(one_sided(math.exp, 0, best_step(2.0**-52, 1)) - 1) < 3e-8
    True
    """
    _checked(x, h)
    right = x + h
    return (float(f(right)) - float(f(x))) / (right - x)  # the distance that the rounded points have


def central(f: Callable[[float], float], x: Real, h: Real) -> float:
    """
    The central difference quotient, with the error (E6).

    Parameters
    ----------
    f
        A function of one number.
    x, h
        Where, and the step to both sides.

    Returns
    -------
    float
        An estimate of the slope.

    Raises
    ------
    ValueError
        If the point or the step is not finite, or the step does not move the point.

    Examples
    --------
    >>> abs(central(math.exp, 0, best_step(2.0**-52, 2)) - 1) < 4e-11
    True
    """
    _checked(x, h)
    right, left = x + h, x - h
    return (float(f(right)) - float(f(left))) / (right - left)


def best_step(precision: float, order: Order) -> float:
    r"""
    The step with the smallest bound, $2 \eta^{1/2}$ or $(3 \eta)^{1/3}$, for $F = M = 1$.

    Parameters
    ----------
    precision
        $\eta$, the relative error of computed values; `numpy.finfo(dtype).eps` for want of better.
    order
        1 for one-sided, 2 for central differences: the power of the step in the first term of the error.

    Returns
    -------
    float
        The step. Multiply it by $\sqrt{F / M}$ or $(F / M)^{1/3}$ where these are known.

    Raises
    ------
    ValueError
        If the precision is not between 0 and 1, or the order neither 1 nor 2.

    Examples
    --------
    >>> best_step(2.0**-52, 1) == 2.0**-25, f"{best_step(2.0**-52, 2):.1e}"
    (True, '8.7e-06')
    """
    if not 0 < precision < 1 or order not in (1, 2):
        raise ValueError(f"the precision lies between 0 and 1 and the order is 1 or 2, got {precision} and {order}")
    return 2 * math.sqrt(precision) if order == 1 else math.cbrt(3 * precision)


def difference_error(h: Real, precision: float, order: Order) -> float:
    r"""
    The bound (E5) or (E6) for $F = M = 1$.

    Parameters
    ----------
    h
        The step, positive.
    precision
        $\eta$, the relative error of computed values.
    order
        1 for one-sided, 2 for central differences.

    Returns
    -------
    float
        What the error is at most.

    Raises
    ------
    ValueError
        If the step is not positive, or the order neither 1 nor 2.

    Examples
    --------
    >>> difference_error(0.5, 0.25, 1), difference_error(0.5, 0.25, 2) == 0.25 / 6 + 0.5
    (1.25, True)
    """
    if not h > 0 or order not in (1, 2):
        raise ValueError(f"the step is positive and the order is 1 or 2, got {h} and {order}")
    return h / 2 + 2 * precision / h if order == 1 else h * h / 6 + precision / h


def complex_step(f: Callable[[complex], complex], x: Real, h: float = 1e-20) -> float:
    r"""
    $\operatorname{Im} f(x + ih) / h$: the slope up to rounding, with the error (E7).

    Parameters
    ----------
    f
        A function that is a power series near `x` and computes with complex numbers: no `abs`, no comparison, no
        conjugation.
    x
        Where.
    h
        The step, which nothing forbids to be tiny.

    Returns
    -------
    float
        The slope.

    Raises
    ------
    ValueError
        If the step is not positive.

    Examples
    --------
    >>> abs(complex_step(lambda z: z**3 / (1 + z), 1.0) - 1.25) < 1e-15  # (3 * 2 - 1) / 4
    True
    """
    if not h > 0:
        raise ValueError(f"the step must be positive, got {h}")
    return complex(f(complex(x, h))).imag / h
