r"""
Activations: the bend between two layers.

Without something that is not linear between them, layers add nothing to each other (`neural.linear-collapse`); with the
plainest bend, one hidden layer comes near every continuous function (`neural.universal-approximation`). Any bend would
do for that. Which ones are used, what are their slopes, and how does one compute the one that needs an area for which
there is no formula?

You need: `fp_autograd.calculus` for the slopes of sigmoid and $\tanh$ and for the corner of relu, `fp_autograd.extend`
for operations with derivatives of their own, `fp_markov.mathematics` for areas.

## A gate that the number itself opens

Relu multiplies $x$ by $0$ or $1$, according to its sign. Take a smooth switch $G$ in place of the jump, and the corner
is gone:

$$f(x) = x\, G(x), \qquad f'(x) = G(x) + x\, G'(x). \qquad \text{(E1)}$$

**Claim** `neural.gate-symmetry`. Let $G$ have a slope everywhere and $G(x) + G(-x) = 1$. Then $f(x) - f(-x) = x$ and
$f'(x) + f'(-x) = 1$ for $f(x) = x\, G(x)$.

**Proof.** $f(x) - f(-x) = x\, G(x) + x\, G(-x) = x$. Take slopes on both sides: by `autograd.chain-rule` $f(-x)$ has
the slope $-f'(-x)$, so $f'(x) + f'(-x) = 1$. $\blacksquare$

Relu has the same symmetry away from its corner: such gates are relu, rounded. With the sigmoid as $G$ (E1) is called
**SiLU** or swish. By `autograd.sigmoid-slope` its slope is

$$f'(x) = \sigma + x\, \sigma (1 - \sigma) = \sigma \big( 1 + x\, (1 - \sigma) \big), \qquad \sigma = \sigma(x).
\qquad \text{(E2)}$$

**Claim** `neural.silu-slope`. SiLU falls up to a point $x^*$ and rises after it, where $x^*$ is the only solution of
$e^x + x + 1 = 0$; its smallest value is $1 + x^*$.

**Proof.** $1 - \sigma = \frac{1}{1 + e^x}$ by (E4) of `fp_autograd.calculus`, so $f' = \frac{\sigma}{1 + e^x} \big(
1 + e^x + x \big)$, and the first factor is positive. The bracket has the slope $e^x + 1 > 0$, so it strictly rises
(`markov.slope-bound`); it is negative at $-2$, as $e^{-2} < 1$, and positive at $-1$. So it has exactly one zero, and
$f$ falls before and rises after it. There $e^{x^*} = -1 - x^*$, and

$$
f(x^*) = \frac{x^*\, e^{x^*}}{1 + e^{x^*}} = \frac{x^* (-1 - x^*)}{-x^*} = 1 + x^*. \qquad \blacksquare
$$

>>> low, high = -2.0, -1.0
>>> for _ in range(60):  # bisect
...     middle = (low + high) / 2
...     low, high = (middle, high) if math.exp(middle) + middle + 1 < 0 else (low, middle)
>>> round(low, 5), round(float(silu(low)), 5)
(-1.27846, -0.27846)

## The normal distribution

Instead of a switch, toss a coin: keep $x$ if a random number $Z$ is below it, else put $0$. What remains on average is
$x\, P(Z \le x)$. If $Z$ is normally distributed this is **GELU**,

$$
\operatorname{gelu}(x) = x\, \Phi(x), \qquad
\Phi(x) = \frac12 + \int_0^x \varphi(t)\, dt, \qquad
\varphi(x) = \frac{1}{\sqrt{2 \pi}}\, e^{-x^2 / 2}. \qquad \text{(E3)}
$$

That $\Phi$ runs from $0$ to $1$ rests on one area.

**Claim** `neural.gaussian-area`. $\int_0^\infty e^{-t^2}\, dt = \frac{\sqrt \pi}{2}$.

**Proof.** Let $F(s) = \int_1^s x^{-1/2} e^{-x}\, dx$. By the fundamental theorem and the chain rule $F(t^2)$ has the
slope $t^{-1} e^{-t^2} \cdot 2t = 2 e^{-t^2}$ for $t > 0$, so $\int_\alpha^\beta 2 e^{-t^2}\, dt = F(\beta^2) -
F(\alpha^2)$. Let $\alpha \to 0$ and $\beta \to \infty$: $2 \int_0^\infty e^{-t^2}\, dt = \Gamma(\frac12)$. In the same
way let $H(s) = \int_{1/2}^s x^{-1/2} (1 - x)^{-1/2}\, dx$. By `autograd.sine-slope` $H(\sin^2 \theta)$ has, for
$0 < \theta < \frac{\pi}{2}$, the slope

$$\frac{1}{\sin \theta\, \cos \theta} \cdot 2 \sin \theta\, \cos \theta = 2,$$

so it grows by $2 (\beta - \alpha)$ from $\alpha$ to $\beta$. Let these tend to $0$ and $\frac{\pi}{2}$:
$B(\frac12, \frac12) = \pi$. By `markov.beta-gamma` $\Gamma(\frac12)^2 = B(\frac12, \frac12)\, \Gamma(1) = \pi$.
$\blacksquare$

The **error function** is this area up to $x$, made to run to $1$, and what is left over is its complement:

$$
\operatorname{erf}(x) = \frac{2}{\sqrt \pi} \int_0^x e^{-t^2}\, dt, \qquad
\operatorname{erfc}(x) = 1 - \operatorname{erf}(x), \qquad
\Phi(x) = \frac12 \Big( 1 + \operatorname{erf} \frac{x}{\sqrt 2} \Big). \qquad \text{(E4)}
$$

The last by stretching, $t = \sqrt 2\, s$. As $e^{-t^2}$ is the same at $t$ and $-t$, $\operatorname{erf}(-x) =
-\operatorname{erf}(x)$ and $\Phi(x) + \Phi(-x) = 1$.

**Claim** `neural.gelu-slope`. GELU has the slope $\Phi(x) + x\, \varphi(x)$, and $(2 - x^2)\, \varphi(x)$ is the slope
of that. The slope of GELU is largest at $\sqrt 2$ and smallest at $-\sqrt 2$, with the values
$\frac12 \pm \big( \frac12 \operatorname{erf}(1) + \frac{1}{e \sqrt \pi} \big)$.

**Proof.** The first is (E1), with $\Phi' = \varphi$ by `markov.fundamental-theorem`. $\varphi$ has the slope
$-x\, \varphi$, so the slope of the slope is $\varphi + \varphi + x \cdot (-x\, \varphi)$: positive between $-\sqrt 2$
and $\sqrt 2$ and negative outside. Far to the left the slope of GELU tends to $0$ and far to the right to $1$, since
$\Phi$ does, and $x\, \varphi(x) \to 0$ on both sides by (E9) of `fp_markov.mathematics`, as $e^{-x^2/2} \le e^{-|x|}$
for $|x| \ge 2$. Call its values at $\mp \sqrt 2$ $l$ and $r$. Up to $-\sqrt 2$ it falls from the limit $0$ to $l$,
then it rises to $r$, then it falls to the limit $1$: on the three parts it lies in $[l, 0)$, in $[l, r]$ and in
$(1, r]$, and $l < 0$, $r > 1$. So $l$ is its smallest and $r$ its largest value. $r = \Phi(\sqrt 2) + \sqrt 2\,
\varphi(\sqrt 2) = \frac12 + \frac12 \operatorname{erf}(1) + \frac{1}{\sqrt \pi}\, e^{-1}$, and $l = 1 - r$ by
`neural.gate-symmetry`. $\blacksquare$

>>> round(0.5 + math.erf(1) / 2 + math.exp(-1) / math.sqrt(math.pi), 4)
1.1289

## The error function, near and far

No formula of roots, exponentials and logarithms is equal to this area. Near zero a series gives it.

**Claim** `neural.erf-series`. For $x \ge 0$ and every $N \ge 1$, with $(2n + 1)!! = 1 \cdot 3 \cdot 5 \cdots (2n + 1)$,

$$
\int_0^x e^{-t^2}\, dt = e^{-x^2} \sum_{n=0}^{N-1} \frac{2^n\, x^{2n+1}}{(2n + 1)!!} + R_N, \qquad
0 \le R_N \le \frac{2^N\, x^{2N+1}}{(2N + 1)!!}. \qquad \text{(E5)}
$$

**Proof.** Let $A_n = \int_0^x t^{2n} e^{-t^2}\, dt$. By parts, with $t^{2n}$ as the slope of $\frac{t^{2n+1}}{2n+1}$
and $-2t\, e^{-t^2}$ as that of $e^{-t^2}$,

$$A_n = \frac{x^{2n+1}}{2n + 1}\, e^{-x^2} + \frac{2}{2n + 1}\, A_{n+1}.$$

Insert this for $A_1$ into the line for $A_0$, then for $A_2$, and so on $N$ times: the factors multiply to
$\frac{2^n}{(2n+1)!!}$ at $x^{2n+1} e^{-x^2}$, and $R_N = \frac{2^N}{(2N-1)!!}\, A_N$. As $0 \le e^{-t^2} \le 1$,
$0 \le A_N \le \frac{x^{2N+1}}{2N + 1}$. $\blacksquare$

No term is negative, so nothing cancels. Twenty terms leave up to $x = 1$ less than

>>> 2.0**20 / math.prod(range(1, 42, 2)) < 1e-19
True

Far out the tail is as small as $e^{-x^2}$, and taking the series from its limit would cancel all digits.

**Claim** `neural.erfc-fraction`. Let $x > 0$ and $J_n = \int_x^\infty (t - x)^n\, e^{-t^2}\, dt$. The numbers
$r_n = J_n / J_{n-1}$ satisfy

$$
\operatorname{erfc}(x) = \frac{e^{-x^2}}{\sqrt \pi} \cdot \frac{1}{x + r_1}, \qquad
r_n = \frac{n / 2}{x + r_{n+1}}, \qquad 0 < r_n < \frac{n}{2x}. \qquad \text{(E6)}
$$

If $r_N$ is replaced by $0$ and by $\frac{N}{2x}$, the two results that come out have $\operatorname{erfc}(x)$ between
them.

**Proof.** The $J_n$ are finite and positive: for $t \ge 1$ the integrand is at most $t^n e^{-t}$, whose area is finite
by `markov.beta-gamma`. $(t - x)^n e^{-t^2}$, which tends to $0$ as $t$ grows, has for $n \ge 1$ the slope
$n (t - x)^{n-1} e^{-t^2} - 2t\, (t - x)^n e^{-t^2}$. Write $2t = 2 (t - x) + 2x$ and integrate from $x$ on; for $n = 0$
the function starts from $e^{-x^2}$ instead of $0$:

$$
0 = n J_{n-1} - 2 J_{n+1} - 2x J_n \quad (n \ge 1), \qquad -e^{-x^2} = -2 J_1 - 2x J_0.
$$

Divide the first by $2 J_n$: $\frac{n}{2} \cdot \frac{1}{r_n} = r_{n+1} + x$. Divide the second by $2 J_0$: $x + r_1 =
\frac{e^{-x^2}}{2 J_0}$, and $\operatorname{erfc}(x) = \frac{2}{\sqrt \pi} J_0$ by `neural.gaussian-area`. As $r_{n+1} >
0$, $r_n < \frac{n}{2x}$. Last, for $r \ge 0$ the function $\frac{n/2}{x + r}$ falls and is positive. So numbers with
$r_{n+1}$ between them become numbers with $r_n$ between them, with their order exchanged; start with $r_N$ between $0$
and $\frac{N}{2x}$. $\blacksquare$

So a program can say how right it is. Two hundred steps from $x = 1$ on leave nothing open:

>>> for x, steps in [(1.0, 20), (1.0, 200), (3.0, 20), (3.0, 200)]:
...     low, high = erfc_enclosure(x, steps)
...     print(x, steps, "within", f"{high - low:.0e}", low - 1e-16 <= math.erfc(x) <= high + 1e-16)
1.0 20 within 9e-06 True
1.0 200 within 0e+00 True
3.0 20 within 1e-17 True
3.0 200 within 0e+00 True

`reference_erf` takes (E5) up to $1$ and (E6) from there on.

## The same numbers, fast

Two hundred divisions for each number are too many in training. $e^{x^2} \operatorname{erfc}(x)$ is a smooth function
that falls like $\frac{1}{x \sqrt \pi}$, and so $\frac1t e^{x^2} \operatorname{erfc}(x)$ is smooth in

$$t = \frac{2}{2 + x}, \qquad 0 < t \le 1, \qquad \text{(E7)}$$

which brings all $x \ge 0$ into one interval. There a polynomial through a few of its values is close to it everywhere;
they are taken, at first use, from the two claims, at the points where such a polynomial errs least, the cosines of
equal angles. How close it is, we measure: 25 coefficients reach the last digit or two of float64, 11 of float32.

>>> x = np.arange(-7000, 7001) / 1024  # float32 has these numbers too
>>> true = np.array([math.erf(v) for v in x])
>>> [bool(np.abs(erf(x.astype(dtype)) - true).max() < bound) for dtype, bound in [("f8", 1e-15), ("f4", 2e-7)]]
[True, True]
>>> true = x * np.array([math.erfc(-v / math.sqrt(2)) for v in x]) / 2
>>> [bool(np.abs(gelu(x.astype(dtype)) - true).max() < bound) for dtype, bound in [("f8", 2e-15), ("f4", 5e-7)]]
[True, True]

## Without an error function

The authors of GELU gave another formula, for machines that have $\tanh$ and no $\operatorname{erf}$:

$$
\operatorname{gelu}(x) \approx \frac{x}{2} \big( 1 + \tanh u \big), \qquad
u = \sqrt{\tfrac{2}{\pi}}\, \big( x + 0.044715\, x^3 \big). \qquad \text{(E8)}
$$

**Claim** `neural.gelu-tanh-error`. The two sides of (E8) differ by less than $5 \cdot 10^{-4}$ at every $x$.

**Proof.** The difference $e(x) = \frac{x}{2} \big( \tanh u - \operatorname{erf} \frac{x}{\sqrt 2} \big)$ is the same at
$x$ and $-x$, since $\tanh u$ and $\operatorname{erf}$ change sign with $x$. So let $x \ge 0$.

*Its slope is less than $2$ in size.* It is $\frac12 \big( \tanh u - \operatorname{erf} \frac{x}{\sqrt 2} \big) +
\frac12 \big( x u' (1 - \tanh^2 u) - 2x\, \varphi(x) \big)$. The first bracket is a difference of numbers from
$[0, 1]$. In the second, $x u' = \sqrt{2 / \pi}\, (x + 3 \cdot 0.044715\, x^3) \le 3u$ and $1 - \tanh^2 u =
\frac{4}{(e^u + e^{-u})^2} \le 4 e^{-2u}$; $u\, e^{-2u}$, with the slope $(1 - 2u)\, e^{-2u}$, is largest at $\frac12$,
where it is $\frac{1}{2e}$. So the first term of the bracket lies between $0$ and $\frac6e < 2.3$. The second,
$\frac{2}{\sqrt{2\pi}}\, x\, e^{-x^2/2}$, is largest at $1$, and less than $1$. The brackets are at most $1$ and $2.3$
in size; half their sum is less than $2$.

*From $6$ on $|e| < 10^{-7}$.* $\tanh u = 1 - \frac{2}{e^{2u} + 1} > 1 - 2 e^{-2u}$ and $\operatorname{erf} = 1 -
\operatorname{erfc}$ are both at most $1$, so $|e|$ is at most the larger of $x\, e^{-2u}$ and $\frac{x}{2}
\operatorname{erfc} \frac{x}{\sqrt 2}$. The first falls where $2 x u' > 1$, and so from $6$ on, where $u > 12$; at $6$
it is less than $6\, e^{-24}$. The second is less than $\frac{x}{2} \cdot \frac{e^{-x^2/2}}{\sqrt \pi} \cdot
\frac{\sqrt 2}{x} \le \frac{e^{-18}}{\sqrt{2\pi}}$ by (E6). Both are below $10^{-7}$.

*Up to $6$* compute $e$ at all multiples of $2^{-16}$. The largest value is below $4.74 \cdot 10^{-4}$ (a test computes
it), rounding included. Every $x$ is within $2^{-17}$ of such a point, where $e$ differs by less than $2 \cdot 2^{-17} <
1.6 \cdot 10^{-5}$ (`markov.slope-bound`). $\blacksquare$

Where does $0.044715$ come from? Equal third powers of $x$ in $\tanh u$ and $\operatorname{erf}$ would ask for
$\frac{4 - \pi}{6 \pi} = 0.0455$; the number chosen brings $\tanh u$ near $\operatorname{erf}$ over the whole line:

>>> x = np.linspace(0, 6, 6001)
>>> gate = np.array([math.erf(v / math.sqrt(2)) for v in x])
>>> for a in ((4 - math.pi) / (6 * math.pi), 0.0449, 0.044715, 0.0445):
...     print(f"{a:.6f}: {np.abs(np.tanh(math.sqrt(2 / math.pi) * (x + a * x**3)) - gate).max():.5f}")
0.045540: 0.00063
0.044900: 0.00041
0.044715: 0.00036
0.044500: 0.00049

## In practice

GPT-2 was trained with (E8), BERT with (E3), and a checkpoint of one should not be run with the other: the difference is
small, and adds up over layers. Llama and its kin multiply the SiLU of one linear map of the input by another linear map
of it (N. Shazeer, 2020). GELU is from D. Hendrycks and K. Gimpel, 2016, SiLU from S. Elfwing and others,
2017. Libraries compute $\operatorname{erf}$ by quotients of polynomials with typed-in coefficients (W. J. Cody, 1969),
or by one polynomial in (E7), as here, after W. Press and others. The fused operations below work on blocks that fit
the processor's cache, and keep at most one array beside $x$ for the way back.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.polynomial import chebyshev

from fp_autograd import rules
from fp_autograd.extend import operation
from fp_autograd.tracing import Operand
from fp_neural.module import Module

__all__ = [  # the order of the page
    "silu", "gelu", "erf", "reference_silu", "reference_gelu", "reference_erf", "erfc_enclosure", "ReLU", "Tanh",
    "Sigmoid", "SiLU", "GELU",
]  # fmt: skip

Approximate = Literal["none", "tanh"]
ROOT_PI = math.sqrt(math.pi)
ROOT_HALF = math.sqrt(0.5)
K, CUBIC = math.sqrt(2 / math.pi), 0.044715  # (E8)
BLOCK = 2**17  # bytes: a few of them stay in a processor's second cache


# --- the error function, by the two claims


def erfc_enclosure(x: float | int, steps: int) -> tuple[float, float]:
    """
    Two numbers with erfc(x) between them, up to rounding (`neural.erfc-fraction`).

    Parameters
    ----------
    x
        Positive.
    steps
        N, how many of the fraction's levels to go through.

    Returns
    -------
    low, high : float
        The two.

    Raises
    ------
    ValueError
        If `x` is not positive, or there is no step.
    """
    if not x > 0 or steps < 1:
        raise ValueError(f"the fraction needs x > 0 and at least one step, got x = {x} and {steps} steps")
    ends = [0.0, steps / (2 * x)]
    for n in range(steps - 1, 0, -1):
        ends = [n / 2 / (x + r) for r in ends]
    low, high = sorted(math.exp(-x * x) / ROOT_PI / (x + r) for r in ends)
    return low, high


def _scaled_erf(x: Any, terms: int = 20) -> Any:
    """The sum of (E5) without its factor, as exp(x^2) erf(x)."""
    total = 1.0
    for n in range(terms - 1, 0, -1):
        total = 1 + total * (2 * x * x / (2 * n + 1))
    return 2 / ROOT_PI * x * total


def _scaled_erfc(x: Any, steps: int = 200) -> Any:
    """exp(x^2) erfc(x) by (E6)."""
    r = steps / (2 * x)
    for n in range(steps - 1, 0, -1):
        r = n / 2 / (x + r)
    return 1 / (ROOT_PI * (x + r))


def reference_erf(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """
    The error function by (E5) and (E6), number by number.

    Parameters
    ----------
    x
        Any shape; float64 for all digits.

    Returns
    -------
    ndarray
        Between -1 and 1, of the shape and type of `x`.
    """
    z = np.abs(x)
    near, far = np.minimum(z, 1), np.maximum(z, 1)
    out = np.where(z < 1, np.exp(-near * near) * _scaled_erf(near), 1 - np.exp(-far * far) * _scaled_erfc(far))
    return np.copysign(out, x)


# --- the error function, by one polynomial


@cache
def _coefficients(degree: int) -> list[float]:
    """Of the polynomial in u = 2 t - 1 for exp(x^2) erfc(x) / t, lowest power first (E7)."""

    u = chebyshev.chebpts1(degree + 1)
    t = (1 + u) / 2
    x = 2 / t - 2
    near, far = np.minimum(x, 0.5), np.maximum(x, 0.5)
    # below one half the series loses no digit to the subtraction; from there on 1,000 steps are enough
    values = np.where(x < 0.5, np.exp(near * near) - _scaled_erf(near), _scaled_erfc(far, 1000)) / t
    return [float(c) for c in chebyshev.cheb2poly(chebyshev.chebfit(u, values, degree))]


def _erfc(z: np.ndarray) -> np.ndarray:
    """erfc of numbers that are not negative (E7)."""
    p = _coefficients(24 if z.dtype.itemsize > 4 else 10)
    t = z + 2
    np.divide(2, t, out=t)
    u = t + t
    u -= 1
    q = u * p[-1]
    for c in p[-2:0:-1]:
        q += c
        q *= u
    q += p[0]
    q *= t
    np.multiply(z, z, out=u)
    np.negative(u, out=u)
    q *= np.exp(u, out=u)
    return q


# --- the kernels: outputs first, each a block of an array


def _blockwise(kernel: Callable[..., None], n_out: int, *arrays: Any) -> tuple[np.ndarray, ...]:
    """New arrays that a kernel fills, block by block."""
    inputs = [np.asarray(a) for a in arrays]
    dtype = np.result_type(*inputs)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    flat = [np.ascontiguousarray(a, dtype).reshape(-1) for a in inputs]
    outs = [np.empty(flat[0].size, dtype) for _ in range(n_out)]
    step = BLOCK // dtype.itemsize
    with np.errstate(over="ignore"):  # what overflows is an exponential or a square whose inverse is zero
        for i in range(0, flat[0].size, step):
            kernel(*(a[i : i + step] for a in (*outs, *flat)))
    return tuple(out.reshape(inputs[0].shape) for out in outs)


def _erf_kernel(out: np.ndarray, x: np.ndarray) -> None:
    z = np.abs(x)
    near = np.minimum(z, 1)
    np.subtract(1, _erfc(z), out=out)
    np.copyto(out, np.exp(-near * near) * _scaled_erf(near), where=z < 1)  # all digits of small ones too
    np.copysign(out, x, out=out)


def _silu_kernel(out: np.ndarray, x: np.ndarray) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
    np.divide(x, out, out=out)


def _silu_slope(out: np.ndarray, g: np.ndarray, x: np.ndarray) -> None:
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
    np.divide(1, out, out=out)  # sigma
    factor = 1 - out
    factor *= x
    factor += 1
    out *= factor  # (E2)
    out *= g


def _gelu_kernel(out: np.ndarray, Phi: np.ndarray, x: np.ndarray) -> None:
    z = np.abs(x)
    z *= ROOT_HALF
    tail = _erfc(z)
    tail *= 0.5
    np.subtract(x > 0, tail, out=Phi)  # 1 - tail on the right, -tail on the left, without a masked copy, which is slow
    np.abs(Phi, out=Phi)
    np.multiply(x, Phi, out=out)


def _gelu_slope(out: np.ndarray, g: np.ndarray, x: np.ndarray, Phi: np.ndarray) -> None:
    np.multiply(x, x, out=out)
    out *= -0.5
    np.exp(out, out=out)
    out *= x
    out *= 1 / math.sqrt(2 * math.pi)
    out += Phi  # Phi + x phi (neural.gelu-slope)
    out *= g


def _gelu_tanh_kernel(out: np.ndarray, x: np.ndarray) -> None:
    np.multiply(x, x, out=out)
    out *= K * CUBIC
    out += K
    out *= x  # u
    np.tanh(out, out=out)
    out += 1
    out *= x
    out *= 0.5


def _gelu_tanh_slope(out: np.ndarray, g: np.ndarray, x: np.ndarray) -> None:
    x = np.clip(x, -10, 10)  # beyond, tanh u is 1 to the last digit, and x u' may overflow, whose product with 0 is NaN
    square = x * x
    np.multiply(square, K * CUBIC, out=out)
    out += K
    out *= x
    np.tanh(out, out=out)
    square *= 3 * K * CUBIC
    square += K
    square *= x  # x u'
    sech = out * out
    np.subtract(1, sech, out=sech)
    sech *= square
    out += 1
    out += sech
    out *= 0.5  # (1 + tanh u + x u' (1 - tanh^2 u)) / 2
    out *= g


# --- the operations


def reference_silu(x: Operand) -> Any:
    """`silu` composed of operations of the table (E1)."""
    return x * rules.sigmoid(x)


def reference_gelu(x: Operand, approximate: Approximate = "none") -> Any:
    """`gelu` composed of operations of the table and `erf` (E3), (E8)."""
    if approximate == "tanh":
        return x * (0.5 * (1 + rules.tanh(K * (x + CUBIC * x**3))))
    return x * (0.5 * (1 + erf(x * ROOT_HALF)))


def _erf_slope(g: Any, out: Any, x: Any) -> Any:
    return g * (2 / ROOT_PI * rules.exp(-(x * x)))


def _silu_both(g: Any, out: Any, x: Any) -> Any:
    return _blockwise(_silu_slope, 1, g, x)[0]


def _gelu_both(g: Any, out: Any, x: Any, saved: Any) -> Any:
    return _blockwise(_gelu_slope, 1, g, x, saved)[0]


def _gelu_tanh_both(g: Any, out: Any, x: Any) -> Any:
    return _blockwise(_gelu_tanh_slope, 1, g, x)[0]


_erf_operation = operation(
    "neural.erf", lambda x: _blockwise(_erf_kernel, 1, x)[0], (_erf_slope,), (_erf_slope,), fresh=True
)
_silu_operation = operation(
    "neural.silu",
    lambda x: _blockwise(_silu_kernel, 1, x)[0],
    (_silu_both,),  # a diagonal Jacobian: one map serves both ways (autograd.elementwise-rule)
    (_silu_both,),
    reference=reference_silu,
    fresh=True,
)
_gelu_operation = operation(
    "neural.gelu",
    lambda x: _blockwise(_gelu_kernel, 2, x),
    (_gelu_both,),
    (_gelu_both,),
    reference=reference_gelu,
    fresh=True,
)
_gelu_tanh_operation = operation(
    "neural.gelu_tanh",
    lambda x: _blockwise(_gelu_tanh_kernel, 1, x)[0],
    (_gelu_tanh_both,),
    (_gelu_tanh_both,),
    reference=lambda x: reference_gelu(x, "tanh"),
    fresh=True,
)


def erf(x: Operand) -> Any:
    """
    The error function (E4), number by number.

    Parameters
    ----------
    x
        Any shape, array or box.

    Returns
    -------
    ndarray or Box
        Between -1 and 1, of the shape of `x`.

    Examples
    --------
    >>> erf(np.array([-10.0, 0.0, 1e-20, 10.0])) / np.array([1, 1, 1e-20, 1])
    array([-1.        ,  0.        ,  1.12837917,  1.        ])
    """
    return _erf_operation(x)


def silu(x: Operand) -> Any:
    r"""
    $x\, \sigma(x)$, number by number; the slope is (E2).

    Parameters
    ----------
    x
        Any shape, array or box.

    Returns
    -------
    ndarray or Box
        Of the shape of `x`.

    Examples
    --------
    >>> silu(np.array([-1000.0, 0.0, 1000.0]))
    array([  -0.,    0., 1000.])
    """
    return _silu_operation(x)


def gelu(x: Operand, approximate: Approximate = "none") -> Any:
    r"""
    $x\, \Phi(x)$, number by number (E3), or the approximation (E8).

    Parameters
    ----------
    x
        Any shape, array or box.
    approximate
        `"tanh"` for (E8).

    Returns
    -------
    ndarray or Box
        Of the shape of `x`.

    Raises
    ------
    ValueError
        If `approximate` is neither of the two.

    Examples
    --------
    >>> x = np.array([-2.0, 0.0, 2.0])
    >>> np.round(gelu(x), 4), np.round(gelu(x, approximate="tanh"), 4)
    (array([-0.0455,  0.    ,  1.9545]), array([-0.0454,  0.    ,  1.9546]))
    """
    if approximate == "none":
        return _gelu_operation(x)
    if approximate != "tanh":
        raise ValueError(f'approximate has to be "none" or "tanh", got {approximate!r}')
    return _gelu_tanh_operation(x)


class ReLU(Module):
    r"""$\max(0, x)$, with the slope 0 at 0 (`autograd.relu-subgradient`)."""

    def forward(self, x: Operand) -> Any:
        """Of the shape of `x`."""
        return rules.relu(x)


class Tanh(Module):
    r"""$\tanh x$, with the slope $1 - \tanh^2 x$ (`autograd.tanh-slope`)."""

    def forward(self, x: Operand) -> Any:
        """Of the shape of `x`."""
        return rules.tanh(x)


class Sigmoid(Module):
    r"""$\sigma(x)$, with the slope $\sigma (1 - \sigma)$ (`autograd.sigmoid-slope`)."""

    def forward(self, x: Operand) -> Any:
        """Of the shape of `x`."""
        return rules.sigmoid(x)


class SiLU(Module):
    r"""`silu` as a module."""

    def forward(self, x: Operand) -> Any:
        """Of the shape of `x`."""
        return silu(x)


class GELU(Module):
    """
    `gelu` as a module.

    Parameters
    ----------
    approximate
        `"none"` for (E3), `"tanh"` for (E8).

    Raises
    ------
    ValueError
        If it is neither.
    """

    def __init__(self, approximate: Approximate = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f'approximate has to be "none" or "tanh", got {approximate!r}')
        self.approximate = approximate

    def forward(self, x: Operand) -> Any:
        """Of the shape of `x`."""
        return gelu(x, self.approximate)
