r"""
Digamma: what a count is worth to one who averages over all distributions.

Counting says that a piece which was used $c$ times out of $C$ has the probability $c / C$. One who is not sure of it
holds many distributions possible, and asks for the mean of the *logarithm* of the probability, since logarithms are
what segmentations add up. The answer is not $\ln (c / C)$ but a little less, and much less for a small count. The
training of Unigram (`fp_tokenize.unigram_training`) prunes with it. This section defines the function behind that,
computes it, and proves the one inequality that training needs.

You need: `fp_markov.mathematics` to its end (areas, $\Gamma$, the Dirichlet integral), binomial coefficients.

## The slope of $\ln \Gamma$

**Claim** `tokenize.digamma`. For every $x > 0$ the limit

$$\psi(x) = \lim_{n \to \infty} \psi_n(x), \qquad \psi_n(x) = \ln n - \sum_{k=0}^{n-1} \frac{1}{x + k} \qquad
\text{(E1)}$$

exists, and $|\psi(x) - \psi_n(x)| \le \frac{x + 1}{n - 1}$ for $n \ge 2$. The function $\psi$, called **digamma**, is
continuous, strictly rises, is the slope of $\ln \Gamma$, and

$$\psi(x + 1) = \psi(x) + \frac1x. \qquad \text{(E2)}$$

**Proof.** *The limit.* Let $d_n = \psi_{n+1}(x) - \psi_n(x) = \ln \frac{n+1}{n} - \frac{1}{x + n}$. The logarithm is
the area under $1/t$ from $n$ to $n + 1$, so it lies between $\frac{1}{n+1}$ and $\frac1n$, and

$$
-\frac{x + 1}{n^2} \le \frac{x - 1}{(n + 1)(x + n)} = \frac{1}{n+1} - \frac{1}{x+n} \le d_n
  \le \frac1n - \frac{1}{x + n} = \frac{x}{n (x + n)} \le \frac{x + 1}{n^2}.
$$

For $k \ge 2$, $\frac{1}{k^2} \le \frac{1}{k - 1} - \frac1k$, and in the sum of the right sides from $k = n$ on all but
$\frac{1}{n-1}$ cancels. So the sum of the positive $d_k$, $k \ge n \ge 2$, never falls and stays below
$\frac{x + 1}{n - 1}$; so does that of the negative ones with their signs turned. Both have limits, hence $\psi_n$ has
one, and from $\psi_n$ it is no further away than the bound.

*Continuous and rising.* For all $x \le b$ the bound is at most $\frac{b + 1}{n - 1}$, so some $\psi_n$ is within
$\varepsilon$ of $\psi$ there. As $\psi_n$ is continuous, $\psi$ changes by less than $3 \varepsilon$ over a short
enough way. If
$x < y$, every term $\frac{1}{x + k} - \frac{1}{y + k}$ is positive, so $\psi_n(y) - \psi_n(x)$ is at least the first of
them, and the same holds in the limit.

*(E2).* $\psi_n(x + 1) = \psi_n(x) + \frac1x - \frac{1}{x + n}$: the sum has lost its first term and won another. Let
$n$ grow.

*The slope.* Let $P_n(x) = n!\, n^{x-1} / \big( x (x + 1) \cdots (x + n - 1) \big)$. The proof of `markov.beta-gamma`
showed that $P_n(x) \to \Gamma(x)$ for $x \ge 1$. Its logarithm, $\ln n! + (x - 1) \ln n - \sum_k \ln (x + k)$, has the
slope $\psi_n(x)$. For $1 \le x < y$, by `markov.fundamental-theorem`,
$\ln P_n(y) - \ln P_n(x) = \int_x^y \psi_n(t)\, dt$, which differs from $\int_x^y \psi(t)\, dt$ by at most
$(y - x) \frac{y + 1}{n - 1}$. In the limit $\ln \Gamma(y) - \ln \Gamma(x) = \int_x^y \psi(t)\, dt$, and by the same
claim the slope of $\ln \Gamma$ is $\psi$. For $0 < x < 1$, $\ln \Gamma(x) = \ln \Gamma(x + 1) - \ln x$ has the slope
$\psi(x + 1) - \frac1x$, which is $\psi(x)$. $\blacksquare$

## Computing it

(E1) converges slowly. But for large $x$ there is a formula in $y = x - \frac12$:

$$S_n(y) = \ln y + \sum_{j=1}^{n} \frac{a_j}{y^{2j}}, \qquad
a_1, \dots, a_4 = \frac{1}{24},\ -\frac{7}{960},\ \frac{31}{8064},\ -\frac{127}{30720}. \qquad \text{(E3)}$$

**Claim** `tokenize.digamma-series`. For $x > \frac12$ and $y = x - \frac12$,

$$S_0(y) < \psi(x) < S_1(y) \qquad \text{and} \qquad S_4(y) < \psi(x) < S_3(y).$$

**Proof.** *It is enough to look at one step.* Let $\delta(x) = \psi(x) - S_n(y)$. By (E2)

$$\delta(x) - \delta(x + 1) = S_n(y + 1) - S_n(y) - \frac1x = e_n(x). \qquad \text{(E4)}$$

By (E1) and (E2) $\psi(x + N) - \ln N = \psi(x) - \psi_N(x) \to 0$, and $S_n(y + N) - \ln N \to 0$ too. So
$\delta(x + N) \to 0$, and adding up (E4) along $x, x + 1, x + 2, \dots$ gives
$\delta(x) = e_n(x) + e_n(x + 1) + \cdots$: $\delta$ has the sign of $e_n$, if that is the same everywhere.

*Two series.* Let $0 \le u \le r < 1$ and $f_k(u) = 2 \sum_{i=0}^{k} \frac{u^{2i+1}}{2i+1}$. Its slope is
$2 \sum_{i \le k} u^{2i} = 2 \frac{1 - u^{2k+2}}{1 - u^2}$, that of $\ln \frac{1+u}{1-u}$ is
$\frac{1}{1+u} + \frac{1}{1-u} = \frac{2}{1 - u^2}$. The slopes differ by at most $\frac{2 r^{2k+2}}{1 - r^2}$ and both
functions are $0$ at $u = 0$, so they differ by at most $r$ times that, which tends to $0$ as $k$ grows:

$$\ln \frac{1 + u}{1 - u} = 2 \sum_{i=0}^{\infty} \frac{u^{2i+1}}{2i + 1}, \qquad
\frac{1}{(1 - u)^m} = \sum_{i=0}^{\infty} \binom{m - 1 + i}{i} u^i \quad (m \ge 1, \ |u| < 1). \qquad \text{(E5)}$$

The second by induction: for $m = 1$, $(1 - u)(1 + \dots + u^k) = 1 - u^{k+1}$ and $u^{k+1} \to 0$. For $m > 1$ take the
sum up to $i = k$ times $1 - u$. As $\binom{m-1+i}{i} - \binom{m-2+i}{i-1} = \binom{m-2+i}{i}$, this is the sum up to
$k$ for $m - 1$, less $\binom{m-1+k}{k} u^{k+1}$. The first tends to $(1 - u)^{1-m}$ by hypothesis. The second is at
most $(k + m)^m |u|^k$ in size, and tends to $0$, as a power of $k$ grows more slowly than $e^{k \ln (1/|u|)}$ ((E9) of
`fp_markov.mathematics`).

*One step as a series.* Let $u = \frac{1}{2x}$, which is less than one. Then $y = x (1 - u)$, $y + 1 = x (1 + u)$ and
$\frac1x = 2u$, so

$$
e_n(x) = \ln \frac{1+u}{1-u} - 2u
  + \sum_{j=1}^{n} a_j (2u)^{2j} \Big( \frac{1}{(1 + u)^{2j}} - \frac{1}{(1 - u)^{2j}} \Big).
$$

By (E5) the bracket is $-2 \sum_i \binom{2j-1+i}{i} u^i$ over the odd $i$. Collect the powers, which are odd in all
terms. $u$ itself cancels, and $u^N$ with $N = 3, 5, 7, \dots$, where $i = N - 2j$, has the coefficient

$$
\frac2N - 2 \sum_{j=1}^n 4^j a_j \binom{N - 1}{2j - 1}
  = \frac2N\, t_n(N), \qquad t_n(N) = 1 - \sum_{j=1}^n b_j \binom{N}{2j}, \quad b_j = 2j\, 4^j a_j,
$$

because $N \binom{N-1}{2j-1} = 2j \binom{N}{2j}$. (If $2j > N$ there is no such $i$, and both binomials are zero.) Here
$b_1, \dots, b_4 = \frac13,\ -\frac{7}{15},\ \frac{31}{21},\ -\frac{127}{15}$, and these polynomials have factors:

$$
\begin{aligned}
t_0(N) &= 1, \\
6\, t_1(N) &= -(N - 3)(N + 2), \\
15120\, t_3(N) &= -(N - 3)(N - 5)(N - 7)\, (31 N^3 + 140 N + 144), \\
604800\, t_4(N) &= (N - 3)(N - 5)(N - 7)(N - 9)\, \big( 127 N^3 (N - 4) + 1300 N^2 + 16 N + 640 \big).
\end{aligned}
$$

At the odd $N \ge 3$ the factors $N - 3$, $N - 5$, … are zero, or all positive: $t_1$ and $t_3$ are never positive
there, $t_0$ and $t_4$ never negative, and all differ from zero for $N \ge 11$. So $e_0, e_4 > 0$ and $e_1, e_3 < 0$ for
every $x > \frac12$. $\blacksquare$

The coefficients are what makes $t_n$ vanish at $3, 5, \dots, 2n + 1$. The last two sums are
$\frac{127}{30720}\, y^{-8}$ apart, which bounds the error of either. `digamma` goes up by (E2) until $x \ge 20$ and
takes $S_4$:

>>> print(f"{127 / 30720 / 19.5**8:.0e}")
2e-13

## A count loses one half

**Claim** `tokenize.count-loses-half`. For $c > \frac12$ and $y = c - \frac12$,
$y < e^{\psi(c)} < y\, e^{1 / (24 y^2)}$.

**Proof.** These are $S_0$ and $S_1$ of `tokenize.digamma-series`. $\blacksquare$

So $e^{\psi(c)} / e^{\psi(C)}$ is close to $(c - \frac12) / (C - \frac12)$: **absolute discounting**, as in
`fp_markov.kneser_ney`, with one half taken from every count. A count below one half has almost nothing left:

>>> np.exp(digamma(np.array([0.1, 0.25, 0.5, 1.0, 2.0, 10.0]))).round(3)
array([0.   , 0.015, 0.14 , 0.561, 1.526, 9.504])

## The inequality

With $a = (a_1, \dots, a_K)$, all $a_i > 0$, let $A = \sum_i a_i$ and let
$D(a) = \prod_i \Gamma(a_i) / \Gamma(A)$, the integral of $\prod_i \theta_i^{a_i - 1}$ over all distributions $\theta$
on $K$ outcomes (`markov.dirichlet-integral`).

**Claim** `tokenize.dirichlet-tangent`. For $a$ and $a'$ with positive entries and $s_i = \psi(a_i) - \psi(A)$,

$$\ln D(a') \ge \ln D(a) + \sum_i (a'_i - a_i)\, s_i. \qquad \text{(E6)}$$

**Proof.** Let $f$ and $g$ be functions with integrals of $f^2$, $g^2$ and $fg$ over the distributions. For every $t$,
$0 \le \int (f - t g)^2 = \int f^2 - 2t \int f g + t^2 \int g^2$; at $t = \int f g / \int g^2$ this says
$(\int f g)^2 \le \int f^2 \int g^2$. Take $f = \prod_i \theta_i^{(b_i - 1)/2}$ and
$g = \prod_i \theta_i^{(b'_i - 1)/2}$. Then $fg = \prod_i \theta_i^{(b_i + b'_i)/2 - 1}$, so

$$2 \ln D \big( \tfrac{b + b'}{2} \big) \le \ln D(b) + \ln D(b'). \qquad \text{(E7)}$$

Let $h(t) = \ln D\big( a + t (a' - a) \big)$ for $0 \le t \le 1$. By (E7) with $b = a$ and
$b' = a + 2^{1-k} (a' - a)$, $h(2^{-k}) \le \frac12 h(0) + \frac12 h(2^{1-k})$, hence
$h(2^{-k}) - h(0) \le \frac12 \big( h(2^{1-k}) - h(0) \big)$, and by induction from $k = 0$ on

$$\frac{h(2^{-k}) - h(0)}{2^{-k}} \le h(1) - h(0).$$

As $k$ grows, the left side tends to the slope of $h$ at $0$. By `tokenize.digamma` and `markov.slope-rules` that is
$\sum_i (a'_i - a_i)\, \psi(a_i) - (A' - A)\, \psi(A)$ with $A' = \sum_i a'_i$, which is $\sum_i (a'_i - a_i)\, s_i$.
$\blacksquare$

**Claim** `tokenize.posterior-scores`. $e^{s_i} \le a_i / A$. So the $e^{s_i}$ add up to at most one.

**Proof.** In (E6) let $a'$ be $a$ with $1$ added to $a_i$. By $\Gamma(x + 1) = x\, \Gamma(x)$ (`markov.beta-gamma`)
$D(a') / D(a) = a_i / A$, so (E6) reads $\ln (a_i / A) \ge s_i$. $\blacksquare$

## In practice

$s_i$ is the mean of $\ln \theta_i$ under the Dirichlet density with exponents $a_i - 1$, which is where the section
began; training needs only (E6), which says that the tangent of $\ln D$ stays below it. Libraries compute $\psi$ the
same way, by (E2) and a series: SciPy's in powers of $1/x$, SentencePiece's in powers of $1/y$ from $x = 7$ on. The
series with infinitely many terms does not converge, at any $x$; its first terms are what is useful.

References: P. Liang and D. Klein, "Structured Bayesian nonparametric models with variational inference", 2007;
E. Artin, *The Gamma Function*, 1931.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["digamma", "posterior_scores"]  # the order of the page

SERIES = (1 / 24, -7 / 960, 31 / 8064, -127 / 30720)
FROM = 20.0
"""From here on the series serves."""


def digamma(x: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    r"""
    $\psi(x)$, by (E2) up to 20 and (E3) from there.

    Parameters
    ----------
    x
        Positive numbers.

    Returns
    -------
    ndarray
        Off by less than 2e-13, and by what rounding adds: a few units in the last place of the largest number in the
        sum, which is $1/x$ for small $x$.

    Raises
    ------
    ValueError
        If a number is not positive and finite.

    Examples
    --------
    >>> digamma(np.array([1.0, 2.0, 1000.0])).round(12)
    array([-0.57721566,  0.42278434,  6.9072552 ])
    """
    fit = np.isfinite(x) & (x > 0)
    if not fit.all():
        raise ValueError(f"digamma is computed for positive finite numbers, got {x[~fit][0]}")
    x, steps = x.astype(np.float64), np.zeros(len(x))
    small = np.flatnonzero(x < FROM)
    while len(small):
        steps[small] += 1 / x[small]
        x[small] += 1
        small = small[x[small] < FROM]
    y = x - 0.5
    series = np.zeros(len(x))
    for a in reversed(SERIES):
        series = (series + a) / (y * y)
    return np.log(y) + series - steps


def posterior_scores(amounts: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    r"""
    $s_i = \psi(a_i) - \psi(A)$ of (E6).

    Parameters
    ----------
    amounts
        The $a_i$: positive counts, pseudo-counts added.

    Returns
    -------
    ndarray
        Scores in nats, below the logarithms of the shares (`tokenize.posterior-scores`).

    Examples
    --------
    Of ten uses in all, shares of 0.7, 0.2 and 0.1 become less, and the small ones lose most:

    >>> np.exp(posterior_scores(np.array([7.0, 2.0, 1.0]))).round(3)
    array([0.685, 0.161, 0.059])
    """
    return digamma(amounts) - digamma(amounts.sum(keepdims=True))
