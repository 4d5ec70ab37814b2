r"""
Softmax: how it moves, how it bends, and how exactly it can be computed.

A network ends in $V$ real numbers, its scores or **logits**, and has to end in probabilities. Softmax makes them. This
section asks of it what training will depend on: whether a loss made of it has valleys that are not the deepest, how far
its outputs move with its inputs, and how many digits survive.

You need: `neural.softmax-classes`, `fp_autograd.rules` for its derivatives, `fp_autograd.floating_point` for rounding,
`fp_markov.mathematics` for concave functions, `fp_markov.information` for entropy.

## What it forgets

As in (E1) of `fp_neural.tables`, for scores $z \in \mathbb{R}^V$

$$
p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}, \qquad \ell(z) = \ln \sum_j e^{z_j}, \qquad \ln p_i = z_i - \ell(z).
\qquad \text{(E1)}
$$

By `neural.softmax-classes` a number added to all scores changes nothing, and nothing else can be added: $V$ scores
carry $V - 1$ numbers of meaning, their differences $z_i - z_j = \ln \frac{p_i}{p_j}$. `centred_logits` picks, of all
scores of a distribution, those with the mean zero.

>>> centred_logits(np.array([0.5, 0.25, 0.25])).round(3)
array([ 0.462, -0.231, -0.231])

## How it moves

By `autograd.logsumexp-rule` the gradient of $\ell$ is $p$, and by `autograd.softmax-rule` the Jacobian of $p$ is

$$H = \operatorname{diag}(p) - p\, p^\top, \qquad (H v)_i = p_i\, (v_i - \bar v), \qquad \bar v = \sum_j p_j v_j,
\qquad \text{(E2)}$$

so that $H$ is also the Hessian of $\ell$. It is symmetric. Recall that $H$ is positive semidefinite if
$v \cdot H v \ge 0$ for every $v$ (`neural.semidefinite`). The vectors with $H v = 0$ are its **kernel**.

**Claim** `neural.logsumexp-hessian`. For every $v$

$$v \cdot H v = \sum_i p_i\, (v_i - \bar v)^2, \qquad \text{(E3)}$$

the variance of the number $v_i$ under $p$. So $H$ is positive semidefinite, $v \cdot H v = 0$ exactly if all $v_i$ are
equal, and these $v$ are the kernel. Moreover $v \cdot H v \le \frac12 |v|^2$, and if $V \ge 2$ no smaller number than
$\frac12$ serves for all scores.

**Proof.** By (E2) $v \cdot H v = \sum_i p_i v_i (v_i - \bar v)$. Write the first $v_i$ as $(v_i - \bar v) + \bar v$:
the second part contributes $\bar v \sum_i p_i (v_i - \bar v) = \bar v\, (\bar v - \bar v) = 0$, and (E3) is left. No
$p_i$ is zero, so (E3) is zero only if every $v_i$ is $\bar v$. If all $v_i$ are equal, $v_i = \bar v$ and $H v = 0$ by
(E2); if $H v = 0$, then $v \cdot H v = 0$ and all are equal. For the bound let $a$ be the least and $b$ the largest of
the $v_i$, and $c = \frac{a + b}{2}$. Then

$$
\sum_i p_i (v_i - c)^2 = \sum_i p_i (v_i - \bar v)^2 + 2 (\bar v - c) \sum_i p_i (v_i - \bar v) + (\bar v - c)^2
  = v \cdot H v + (\bar v - c)^2,
$$

so $v \cdot H v \le \sum_i p_i (v_i - c)^2 \le \frac{(b - a)^2}{4}$, as every $|v_i - c| \le \frac{b - a}{2}$. If
$a = b$ this is zero. Otherwise $a$ and $b$ are two different entries, so
$|v|^2 \ge a^2 + b^2 = \frac{(b - a)^2}{2} + \frac{(b + a)^2}{2} \ge \frac{(b - a)^2}{2}$. Now take $v_1 = 1$,
$v_2 = -1$, zeros elsewhere, and scores $s, s, 0, \dots, 0$ with large $s$: $p_1 = p_2$ come as near to $\frac12$ as one
likes, and as $\bar v = 0$, $v \cdot H v = p_1 + p_2$ comes as near to $1 = \frac12 |v|^2$. $\blacksquare$

## A loss without false valleys

A function $f$ is **convex** if $-f$ is concave (`fp_markov.mathematics`), that is if it never lies above its chords:
$f((1 - w) x + w y) \le (1 - w) f(x) + w f(y)$ for all $x$, $y$ and $0 \le w \le 1$. In one variable it is enough that
the second slope is never negative (`markov.concave-second-derivative`). In many:

**Claim** `neural.convex-hessian`. Let $f$ have continuous partial derivatives up to order two on all of
$\mathbb{R}^n$, with the Hessian $H(x)$ at $x$. If $H(x)$ is positive semidefinite at every $x$, $f$ is convex. For two
points $x \ne y$ with $u \cdot H(x + t u)\, u > 0$ for $u = y - x$ and all $0 \le t \le 1$, the chord inequality is
strict for $0 < w < 1$.

**Proof.** Walk from $x$ to $y$: let $\varphi(t) = f(x + t u)$ for $0 \le t \le 1$. By `autograd.taylor-line`
$\varphi''(t) = \sum_i \sum_j u_i u_j\, \partial_i \partial_j f(x + tu) = u \cdot H(x + tu)\, u$, which is not negative.
By `markov.concave-second-derivative` $-\varphi$ is concave, strictly if $\varphi'' > 0$ everywhere. The chord
inequality of $\varphi$ between $0$ and $1$ is $\varphi(w) \le (1 - w)\, \varphi(0) + w\, \varphi(1)$, and that is the
one of $f$ between $x$ and $y$. $\blacksquare$

**Claim** `neural.logsumexp-convex`. $\ell$ is convex. If $y - x$ is not constant, the chord inequality is strict for
$0 < w < 1$; and $\ell(x + c) = \ell(x) + c$ for a number $c$ added to all scores.

**Proof.** The Hessian of $\ell$ is $H$, whose entries are continuous in $z$. By `neural.logsumexp-hessian`
$u \cdot H u \ge 0$ for every $u$, and $> 0$ if $u$ is not constant, at every point: this is what
`neural.convex-hessian` asks for. The last is `autograd.exponential-shift`. $\blacksquare$

So $\ell$ is a trough: straight along the constants, and curved upwards in every other direction.

## Between the largest and the mean

**Claim** `neural.logsumexp-bounds`. Let $m$ be the largest of $V$ scores and $\bar z$ their mean. Then

$$\max \big( m,\ \bar z + \ln V \big) \le \ell(z) \le m + \ln V, \qquad
| \ell(x) - \ell(z) | \le \max_i |x_i - z_i|. \qquad \text{(E4)}$$

Each of the two bounds with $\ln V$ is reached if all scores are equal, and only then.

**Proof.** $m \le \ell \le m + \ln V$ is `autograd.exponential-shift`; the sum of $V$ numbers $e^{z_j - m} \le 1$ is $V$
only if all are $1$. By `markov.jensen` for $\ln$, which is strictly concave, with weights $\frac1V$ and the points
$e^{z_j}$: $\ln \big( \frac1V \sum_j e^{z_j} \big) \ge \frac1V \sum_j z_j$, with equality only if all points are the
same. Last, let $c = \max_i |x_i - z_i|$. Then $x_i \le z_i + c$, so $\sum_i e^{x_i} \le e^c \sum_i e^{z_i}$ and
$\ell(x) \le \ell(z) + c$; the same with $x$ and $z$ exchanged. $\blacksquare$

## How exactly it is computed

As it stands, (E1) fails in floating point for scores that are not large:

>>> with np.errstate(over="ignore", invalid="ignore"):
...     naive_softmax(np.array([0.0, 90.0], np.float32))
array([ 0., nan], dtype=float32)

With the largest score subtracted nothing overflows. What remains of the digits? Let $u$ be the unit roundoff. Let $c$
be the largest of the scores $z_1, \dots, z_n$, which are floating-point numbers, and compute

1. $\hat d_i = \operatorname{fl}(z_i - c)$;
2. $\hat e_i \ge 0$ with $|\hat e_i - e^{\hat d_i}| \le \eta\, e^{\hat d_i} + \omega$: the library's exponential is off
   by a share $\eta$ at most, or, where it is below the range of numbers, by $\omega$;
3. their sum $\hat s$, in which each $\hat e_i$ is rounded at most $k$ times: $k = n - 1$ in any order
   (`autograd.dot-error`), $k = \lceil \log_2 n \rceil$ for pairwise summation (`autograd.pairwise-sum`);
4. $\hat l = (1 + \eta') \ln \hat s$ with $|\eta'| \le \eta$, and $\hat \ell = \operatorname{fl}(c + \hat l)$.

**Claim** `neural.logsumexp-rounding`. Let $u < 1$ and $\varepsilon = \eta + n\, \omega < 1$. Then

$$
|\hat \ell - \ell(z)| \le B + u\, \big( |\ell(z)| + B \big), \qquad
B = A + \eta\, (\ln n + A), \qquad
A = \frac{u \ln n}{1 - u} + \frac{\varepsilon}{1 - \varepsilon} + \frac{k u}{1 - u}. \qquad \text{(E5)}
$$

Without the shift, with $c = 0$ and provided that nothing overflows and $\omega = 0$, the error of $\hat l$ is at most
$A_0 + \eta\, (|\ell(z)| + A_0)$ with $A_0 = \frac{\eta}{1 - \eta} + \frac{k u}{1 - u}$.

**Proof.** *Subtracting.* Let $d_i = z_i - c \le 0$. By (E1) of `fp_autograd.floating_point`
$\hat d_i = d_i (1 + \delta_i)$ with $|\delta_i| \le u$. For $0 \le \theta \le 1$ let
$z_i(\theta) = c + d_i (1 + \theta \delta_i)$, a walk from $z$ to what was used, and let $p$ be its softmax. By
`markov.slope-along-line` the slope of $\ell(z(\theta))$ is $\sum_i p_i d_i \delta_i$. The largest of the
$z_i(\theta)$ is $c$, as $1 + \theta \delta_i > 0$, and
$c - z_i(\theta) = |d_i| (1 + \theta \delta_i) \ge (1 - u)\, |d_i|$, so

$$
\Big| \sum_i p_i d_i \delta_i \Big| \le u \sum_i p_i |d_i| \le \frac{u}{1 - u} \sum_i p_i\, \big( c - z_i(\theta) \big).
$$

The entropy of $p$ is $H(p) = -\sum_i p_i\, (z_i(\theta) - \ell) = \ell - \sum_i p_i z_i(\theta)$, so the last sum is
$H(p) - (\ell - c)$. By (E4) $\ell \ge c$, and by `markov.max-entropy` $H(p) \le \ln n$: the sum is at most $\ln n$. So
by `markov.slope-bound` $c + \ln \tilde s$ with $\tilde s = \sum_i e^{\hat d_i}$, the end of the walk, differs from
$\ell(z)$ by at most $\frac{u}{1 - u} \ln n$.

*Exponentials and their sum.* One $\hat d_i$ is zero, so $\tilde s \ge 1$, and $\sum_i \hat e_i$ differs from $\tilde s$
by at most $\eta\, \tilde s + n\, \omega \le \varepsilon\, \tilde s$. In $\hat s = \sum_i \hat e_i P_i$ each $P_i$ is a
product of at most $k$ factors between $1 - u$ and $1 + u$. So
$(1 - u)^k (1 - \varepsilon) \le \hat s / \tilde s \le (1 + u)^k (1 + \varepsilon)$. By `markov.log-tangent`
$\ln (1 + y) \le y$, and for $0 \le y < 1$ also $-\ln (1 - y) = \ln \frac{1}{1 - y} \le \frac{1}{1 - y} - 1 =
\frac{y}{1 - y}$, which is no smaller. So $|\ln \hat s - \ln \tilde s| \le
\frac{k u}{1 - u} + \frac{\varepsilon}{1 - \varepsilon}$, and with the first part
$|c + \ln \hat s - \ell(z)| \le A$.

*The logarithm and the last addition.* As $1 \le \tilde s \le n$, $|\ln \hat s| \le \ln n + A$. So $c + \hat l$ differs
from $\ell(z)$ by at most $A + \eta\, (\ln n + A) = B$, and rounding it adds $u\, |c + \hat l| \le u\, (|\ell(z)| + B)$.

*Without the shift* $\hat d_i = z_i$ is exact, $\tilde s = e^{\ell(z)}$, the second part holds with $\omega = 0$ and
$\varepsilon = \eta$, and $|\ln \hat s| \le |\ell(z)| + A_0$. $\blacksquare$

Subtracting costs $u \ln n$ and not $u$ times the spread of the scores: a score far below the largest is rounded
coarsely, and weighs nothing. The bound is in nats and absolute. For the exponentials and logarithms of NumPy, which are
off by less than four units in the last place, and the vocabulary of GPT-2:

>>> f"{logsumexp_error(50257, 20.0, roundings=16):.1e}", f"{logsumexp_error(50257, 20.0):.1e}"
('8.4e-06', '3.0e-03')

The first is for pairwise sums. The second allows any order, of which actual ones come nowhere near. A loss
$\ell - z_y$ that is smaller than such an error has no right digit, in this form or any that adds all terms first:
$\ln (1 + x)$ with the $x$ of the others alone would have.

## In practice

The shift is in every library. Where the row is too long to be read twice, as in attention over long texts, the largest
and the sum are kept up to date while reading, and the sum is multiplied by $e^{c - c'}$ whenever the largest changes
(M. Milakov and N. Gimelshein, 2018): a later chapter builds on it. The bound $\frac12$ in `neural.logsumexp-hessian`
says how far a step of gradient descent on the scores may go. How softmax and log-sum-exp behave in half precision is
analysed by P. Blanchard, D. Higham and N. Higham (2021).
"""

import math

import numpy as np
from jaxtyping import Float

from fp_markov.information import check_distribution

__all__ = ["centred_logits", "softmax_jacobian", "naive_softmax", "logsumexp_error"]  # the order of the page

Real = float | int


def centred_logits(p: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch V"]:
    r"""
    The scores with mean zero whose softmax is `p` (`neural.softmax-classes`).

    Parameters
    ----------
    p
        Distributions along the last axis, without zeros.

    Returns
    -------
    ndarray
        $\ln p_i$ less its mean over $i$, in nats, float64.

    Raises
    ------
    ValueError
        If `p` is not a distribution, or has a zero, which no finite score has.

    Examples
    --------
    >>> centred_logits(np.array([0.5, 0.5]))
    array([0., 0.])
    """
    p = check_distribution(p, "p")
    if (p == 0).any():
        raise ValueError(
            f"a probability of zero has no finite score, and {int((p == 0).sum())} are zero: smooth the distribution, "
            "or see neural.table-limit"
        )
    z = np.log(p)
    return z - z.mean(axis=-1, keepdims=True)


def softmax_jacobian(p: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch V V"]:
    r"""
    $\operatorname{diag}(p) - p\, p^\top$ (E2): the Jacobian of softmax, and the Hessian of its log-sum-exp.

    Parameters
    ----------
    p
        Probabilities along the last axis, as softmax returned them.

    Returns
    -------
    ndarray
        For each row the matrix, symmetric; its rows sum to zero.

    Examples
    --------
    >>> softmax_jacobian(np.array([0.75, 0.25]))
    array([[ 0.1875, -0.1875],
           [-0.1875,  0.1875]])
    """
    V = p.shape[-1]
    return np.eye(V, dtype=p.dtype) * p[..., None, :] - p[..., :, None] * p[..., None, :]


def naive_softmax(z: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch V"]:
    """
    (E1) as it is written: NaN from scores of 89 on in float32, and where all are below -104.

    Parameters
    ----------
    z
        Scores along the last axis.

    Returns
    -------
    ndarray
        Probabilities, while nothing overflows. `fp_autograd.rules.softmax` is the one to use.

    Examples
    --------
    >>> naive_softmax(np.zeros(4))
    array([0.25, 0.25, 0.25, 0.25])
    """
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


def logsumexp_error(
    n: int, size: Real, *, bits: int = 24, eta: Real | None = None, roundings: int | None = None
) -> float:
    r"""
    The bound (E5) on the error of a shifted log-sum-exp, without underflow.

    Parameters
    ----------
    n
        How many scores.
    size
        $|\ell(z)|$, or a bound on it, in nats.
    bits
        The precision: 24 for float32, 53 for float64.
    eta
        $\eta$, by which share the exponential and the logarithm may be off; four units in the last place by default.
    roundings
        $k$, in how many additions a term of the sum takes part; `n - 1` by default, which holds for any order.

    Returns
    -------
    float
        In nats.

    Raises
    ------
    ValueError
        If there is no score, the size is negative or not finite, or the precision is too low for the bound.

    Examples
    --------
    >>> logsumexp_error(1, 0.0, eta=0)
    0.0
    """
    u = 2.0**-bits
    eta = 8 * u if eta is None else eta
    k = n - 1 if roundings is None else roundings
    if n < 1 or k < 0 or not 0 <= size < math.inf or bits < 1 or not 0 <= eta < 1:
        raise ValueError(
            "the bound needs at least one score, a size that is not negative, at least one bit and 0 <= eta < 1, got "
            f"n={n}, size={size}, bits={bits}, eta={eta}, roundings={k}"
        )
    A = u / (1 - u) * math.log(n) + eta / (1 - eta) + k * u / (1 - u)
    B = A + eta * (math.log(n) + A)
    return B + u * (size + B)
