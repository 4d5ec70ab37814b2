r"""
Scaling: why scores are divided by the root of the width.

The score of a key is a sum of $d$ products. Wider queries and keys make larger scores, larger scores make a softmax
that has decided before anything is learned, and a softmax that has decided passes no gradient on. How large are scores,
how much gradient is left, and what does the division by $\sqrt d$ mend?

You need: `fp_attention.lookup`, `fp_markov.probability` for means and variances, `neural.logsumexp-hessian`,
`neural.spectral-theorem`, `neural.gaussian-moments`.

## How large a score is

**Claim** `attention.dot-variance`. Let the random vectors $q$ and $k$ of $\mathbb{R}^d$ be independent of each other,
and let $A_{ij} = \mathbb{E}\, q_i q_j$ and $B_{ij} = \mathbb{E}\, k_i k_j$ be finite. Then

$$
\mathbb{E}\, q \cdot k = \sum_i \mathbb{E} q_i\, \mathbb{E} k_i, \qquad
\operatorname{Var} (q \cdot k) = \sum_i \sum_j A_{ij} B_{ij} - \Big( \sum_i \mathbb{E} q_i\, \mathbb{E} k_i \Big)^2.
\qquad \text{(E1)}
$$

In particular, if all $\mathbb{E} q_i = 0$, $\mathbb{E}\, q_i q_j = 0$ for $i \ne j$, $\mathbb{E} q_i^2 = a^2$ and
$\mathbb{E} k_i^2 = b^2$, then $\mathbb{E}\, q \cdot k = 0$ and $\operatorname{Var} (q \cdot k) = d\, a^2 b^2$: for
$a = b = 1$ it is $d$, and $q \cdot k / \sqrt d$ has the variance $1$.

**Proof.** $q \cdot k = \sum_i q_i k_i$, and $q_i$ and $k_i$ are independent, so by `markov.expectation-linear` its mean
is $\sum_i \mathbb{E} q_i\, \mathbb{E} k_i$. The square is $(q \cdot k)^2 = \sum_i \sum_j q_i k_i q_j k_j$. In each term
$q_i q_j$ is a function of $q$ and $k_i k_j$ one of $k$, so they are independent, and

$$
\mathbb{E}\, (q \cdot k)^2 = \sum_i \sum_j \mathbb{E}\, q_i q_j\, \mathbb{E}\, k_i k_j = \sum_i \sum_j A_{ij} B_{ij}.
$$

For $S = q \cdot k$ with the mean $\mu$, $\mathbb{E} (S - \mu)^2 = \mathbb{E} S^2 - 2 \mu\, \mathbb{E} S + \mu^2 =
\mathbb{E} S^2 - \mu^2$, which is (E1). In the particular case the mean is zero, the terms with $i \ne j$ have $A_{ij} =
0$, and the $d$ others are $a^2 b^2$. Dividing by $\sqrt d$ divides the variance by $d$ (`markov.variance-of-mean`).
$\blacksquare$

Little is asked: that the two vectors are independent of each other, and that *one* of them has mean zero and
uncorrelated coordinates. The first weights provide it: if $q = W_q x$ and the entries of $W_q$ are independent with
mean zero, so are the coordinates of $q$ for a given $x$. All of this is about the beginning of training, and it fails
later.

**Claim** `attention.dot-hypotheses`. (1) If $k = q$, then $\mathbb{E}\, q \cdot k = \sum_i \mathbb{E} q_i^2$, which is
$d\, a^2$ if all $\mathbb{E} q_i^2 = a^2$. (2) If $q$ and $k$ are independent with $\mathbb{E} |q|^2 = d\, a^2$ and
$\mathbb{E} |k|^2 = d\, b^2$, then $\mathbb{E}\, (q \cdot k)^2 \le d^2 a^2 b^2$, and if all coordinates of $q$ are one
number and all of $k$ one number, it is that. (3) A vector $\nu$ that is added to all keys changes no weight.

**Proof.** (1) $q \cdot q = \sum_i q_i^2$. (2) By `autograd.cauchy-schwarz` $(q \cdot k)^2 \le |q|^2 |k|^2$, and the
mean of the right side is $\mathbb{E} |q|^2\, \mathbb{E} |k|^2$. If $q = (x, \dots, x)$ and $k = (z, \dots, z)$, then
$|q|^2 = d x^2$, so $\mathbb{E} x^2 = a^2$, likewise $\mathbb{E} z^2 = b^2$, and $(q \cdot k)^2 = d^2 x^2 z^2$ has the
mean $d^2 a^2 b^2$. (3) $q \cdot (k_j + \nu) = q \cdot k_j + q \cdot \nu$, and the second part is the same number for
all $j$ (`neural.softmax-classes`). $\blacksquare$

Where queries and keys have come to agree, scores grow like $d$ and not like $\sqrt d$, and dividing by $\sqrt d$ is not
enough. Scores of one query with itself as a key, with itself turned round, and with an independent one, divided by
$\sqrt d$:

>>> rng = np.random.default_rng(0)
>>> for d in (16, 64, 256, 1024):
...     q, k = rng.normal(size=(2, 500, d))
...     scores = [(q * other).sum(axis=1) / np.sqrt(d) for other in (q, -q, k)]
...     print(d, *(f"{s.mean():6.2f} +- {s.std():.2f}" for s in scores))
16   4.02 +- 1.36  -4.02 +- 1.36  -0.03 +- 0.99
64   8.04 +- 1.38  -8.04 +- 1.38   0.06 +- 0.98
256  16.08 +- 1.27 -16.08 +- 1.27   0.07 +- 0.98
1024  32.02 +- 1.43 -32.02 +- 1.43   0.04 +- 1.00

## How much gradient is left

By `autograd.softmax-rule` a cotangent $dp$ of the weights becomes $dz = H\, dp$ at the scores, $H =
\operatorname{diag}(p) - p\, p^\top$. By `neural.logsumexp-hessian` $t \cdot H t$ is the variance of $t_i$ under $p$,
and at most $\frac12 |t|^2$ whatever the scores are. If one weight has nearly everything, it is much less.

**Claim** `attention.jacobian-size`. Let $n \ge 2$, let $p$ be positive with the sum $1$, $p_m$ its largest entry, and
$\lambda$ the largest eigenvalue of $H$. Then for every $t$

$$
|H t| \le \lambda\, |t|, \qquad p_m (1 - p_m) \le \lambda \le 2\, p_m (1 - p_m), \qquad
\lambda \le \operatorname{tr} H = 1 - \sum_i p_i^2. \qquad \text{(E2)}
$$

For $n = 2$, $\lambda = 2\, p_m (1 - p_m)$.

**Proof.** *The form as a sum over pairs.* By (E3) of `fp_neural.softmax` $t \cdot H t = \sum_i p_i t_i^2 - \bar t^2$
with $\bar t = \sum_j p_j t_j$, and

$$
\frac12 \sum_i \sum_j p_i p_j (t_i - t_j)^2
  = \frac12 \sum_i \sum_j p_i p_j t_i^2 + \frac12 \sum_i \sum_j p_i p_j t_j^2 - \sum_i \sum_j p_i p_j t_i t_j
  = \sum_i p_i t_i^2 - \bar t^2,
$$

so the two are equal. Now $(t_i - t_j)^2 \le 2 t_i^2 + 2 t_j^2$, as the right side less the left is $(t_i + t_j)^2$. The
terms with $i = j$ are zero, hence

$$
t \cdot H t \le \sum_i \sum_{j \ne i} p_i p_j (t_i^2 + t_j^2) = 2 \sum_i t_i^2\, p_i \sum_{j \ne i} p_j
  = 2 \sum_i p_i (1 - p_i)\, t_i^2. \qquad \text{(E3)}
$$

*The largest factor is that of $m$.* For $i \ne m$, $p_i \le p_m$ and $p_i \le 1 - p_m$. So $p_i \le x$, where $x$ is
the smaller of $p_m$ and $1 - p_m$, at most $\frac12$. As $x (1 - x) - p_i (1 - p_i) = (x - p_i)(1 - x - p_i)$, and
neither factor is negative, $p_i (1 - p_i) \le x (1 - x) = p_m (1 - p_m)$. So (E3) is at most
$2\, p_m (1 - p_m)\, |t|^2$.

*The eigenvalues.* By `neural.spectral-theorem` $H = \sum_i \lambda_i u_i u_i^\top$ with orthonormal $u_i$, and by
`neural.logsumexp-hessian` $\lambda_i = u_i \cdot H u_i \ge 0$. So $\lambda = u \cdot H u \le 2\, p_m (1 - p_m)$ for the
eigenvector $u$ of length one. By `neural.pythagoras` $|H t|^2 = \sum_i \lambda_i^2 (u_i \cdot t)^2 \le \lambda^2 \sum_i
(u_i \cdot t)^2 = \lambda^2 |t|^2$. In the same way $e_m \cdot H e_m = \sum_i \lambda_i (u_i \cdot e_m)^2 \le \lambda$,
and the left side is the entry $p_m - p_m^2$. By `neural.eigenvalue-sums` the trace is $\sum_i \lambda_i \ge \lambda$,
and it is $\sum_i (p_i - p_i^2)$. Last, for $n = 2$ and $t = (1, -1)$, $t_1 - \bar t = 1 - p_1 + p_2 = 2 p_2$ and
$t_2 - \bar t = -2 p_1$, so $H t = 2 p_1 p_2\, t$: an eigenvalue, and $p_1 p_2 = p_m (1 - p_m)$. $\blacksquare$

**Claim** `attention.saturation`. If one of $n \ge 2$ scores is above all others by at least $\gamma > 0$, then
$|H t| \le 2 (n - 1)\, e^{-\gamma}\, |t|$ for every $t$.

**Proof.** By (E2) of `fp_attention.lookup` with $\tau = 1$, $1 - p_m \le (n - 1)\, e^{-\gamma}$, and $p_m \le 1$. Put
that into `attention.jacobian-size`. $\blacksquare$

The gradient vanishes exponentially in the gap. A softmax that has decided on the wrong key hardly learns that it is
wrong. That holds for the scores of attention; at the output of a network the loss $-\ln p_y$ has a slope
$\frac{1}{p_y}$ that makes up for it (`neural.cross-entropy-gradient`). Here nothing does.

>>> p = softmax(np.array([12.0, 2.0, 0.0, 1.0]))
>>> bound = jacobian_bound(p)
>>> f"{np.linalg.eigvalsh(softmax_jacobian(p)).max():.2e} <= {bound:.2e} <= {2 * 3 * np.exp(-10):.2e}"
'1.06e-04 <= 1.36e-04 <= 2.72e-04'

## How often that happens without the division

**Claim** `attention.unscaled-jacobian`. Let $q \ne 0$ be fixed, let the $n \ge 2$ keys have independent standard normal
coordinates, and let $z_j = c\, q \cdot k_j$ with $c > 0$. Then

$$
\mathbb{E} \Big( 1 - \sum_j p_j^2 \Big) = \frac{1}{c^2 |q|^2}\, \mathbb{E} \sum_j p_j z_j
  \le \frac{\sqrt{2 \ln n}}{c\, |q|}. \qquad \text{(E4)}
$$

**Proof.** *By parts.* Let $x$ be coordinate $i$ of $k_j$ and hold all others fixed. Then $p_j$ is a function $u(x)$
between $0$ and $1$. By `autograd.softmax-rule` $\partial p_j / \partial z_j = p_j (1 - p_j)$, and $z_j$ has the slope
$c q_i$ in $x$, so $u' = c q_i\, p_j (1 - p_j)$. Let $\varphi$ be the normal density. As $x \varphi(x)$ is the slope of
$-\varphi(x)$, (E5) of `fp_markov.mathematics` says

$$
\int_{-R}^R u(x)\, x\, \varphi(x)\, dx = -u(R)\, \varphi(R) + u(-R)\, \varphi(-R) + \int_{-R}^R u'(x)\, \varphi(x)\, dx.
$$

As $R \to \infty$ the first two terms vanish: the mean of $x\, u(x)$ is that of $u'(x)$. Take means over the other
coordinates, multiply by $c q_i$ and sum over $i$:

$$\mathbb{E}\, z_j p_j = \sum_i c q_i\, \mathbb{E}\, k_{ji} p_j = c^2 |q|^2\, \mathbb{E}\, p_j (1 - p_j).$$

Sum over $j$: as $\sum_j p_j (1 - p_j) = 1 - \sum_j p_j^2$, this is the equation in (E4).

*The largest of $n$.* A weighted mean is at most the largest, $\sum_j p_j z_j \le M = \max_j z_j$. Let $\theta > 0$. As
$e^{\theta M}$ is one of the $e^{\theta z_j}$, and by `neural.gaussian-moments`,

$$
\mu = \mathbb{E}\, e^{\theta M} \le \sum_j \mathbb{E}\, e^{\theta z_j} = n\, e^{\theta^2 c^2 |q|^2 / 2}.
$$

By `markov.log-tangent` $\theta M - \ln \mu = \ln \frac{e^{\theta M}}{\mu} \le \frac{e^{\theta M}}{\mu} - 1$. The mean
of the right side is $\frac{\mu}{\mu} - 1 = 0$, so

$$
\theta\, \mathbb{E} M \le \ln \mu \le \ln n + \frac{\theta^2 c^2 |q|^2}{2}.
$$

Divide by $\theta$ and choose $\theta = \frac{\sqrt{2 \ln n}}{c |q|}$: both
terms are then $\frac12 \sqrt{2 \ln n}\; c\, |q|$, so $\mathbb{E} M \le \sqrt{2 \ln n}\; c\, |q|$. $\blacksquare$

Coordinates of variance $1$ make $|q|$ about $\sqrt d$. Without a division $c = 1$, and the mean size of $H$ is at most
$\sqrt{2 \ln n / d}$: it falls with the width. By `markov.markov-inequality` $\lambda \ge \varepsilon$ has at most the
probability $\sqrt{2 \ln n / d} / \varepsilon$. With $c = 1 / \sqrt d$ the width is gone from the bound, and from what
is measured. For eight keys, as the mean of the largest weight, the median of $\operatorname{tr} H$, and the mean and
the median length of the cotangent of the query, for a random cotangent of the weights:

>>> for d in (4, 16, 64, 256, 1024):
...     rows = (saturation(d, 8, c, rng=np.random.default_rng(0), draws=400) for c in (1.0, d**-0.5))
...     print(d, *rows, sep=" | ")
4 | 0.52 7e-01 0.55 4e-01 | 0.34 8e-01 0.31 3e-01
16 | 0.74 4e-01 0.84 6e-01 | 0.35 8e-01 0.33 3e-01
64 | 0.90 5e-02 0.92 2e-01 | 0.36 8e-01 0.35 3e-01
256 | 0.94 2e-03 0.95 2e-02 | 0.36 8e-01 0.35 3e-01
1024 | 0.97 5e-07 0.99 6e-06 | 0.37 8e-01 0.34 3e-01

The last columns show what the division is for. Without it the *mean* gradient of the query does not shrink: $dq = c
\sum_j dz_j k_j$ has lost the factor $c = 1 / \sqrt d$ as well. But it comes from a few queries that happen to have a
tie at the top, while the typical query gets nothing. With it the typical query gets about what the mean one gets, at
every width.

## How sharp it must be able to get

**Claim** `attention.focus`. If all scores lie within $\Delta$ of each other, every weight of $n$ is at most

$$p_j \le \frac{1}{1 + (n - 1)\, e^{-\Delta}}, \qquad \text{(E5)}$$

with equality exactly if $z_j$ is $\Delta$ above every other score. So a weight of $w$ on one key of $n \ge 2$ asks for
$\Delta \ge \ln (n - 1) + \ln \frac{w}{1 - w}$.

**Proof.** Divide (E1) of `fp_attention.lookup` above and below by $e^{z_j}$: $\frac{1}{p_j} = 1 + \sum_{l \ne j} e^{z_l
- z_j}$, where each of the $n - 1$ terms is at least $e^{-\Delta}$, with equality exactly if $z_l - z_j = -\Delta$. If
$w \le \frac{1}{1 + (n - 1) e^{-\Delta}}$, then $(n - 1)\, e^{-\Delta} \le \frac1w - 1 = \frac{1 - w}{w}$; take
logarithms. $\blacksquare$

So scores must be able to grow with the logarithm of the length, by training, if one token is to be singled out:

>>> for n in (10, 1000, 100_000):
...     print(n, f"{np.log(n - 1) + np.log(0.9 / 0.1):.1f}")
10 4.4
1000 9.1
100000 13.7

## In practice

The division is a choice of the starting point, not of what can be computed: $W_q / \sqrt d$ in place of $W_q$ does the
same, and T5 has no division and smaller first weights. With the division, descent with one learning rate suits all
widths better. It is right at the start only (`attention.dot-hypotheses`). In the maximal update parametrization (G.
Yang et al., 2022) scores are divided by $d$, because after some training queries and keys have parts in common.

Large models meet the opposite trouble late in training, scores that grow until the softmax saturates and the loss
diverges. Some normalise queries and keys to one length and multiply by learned factors (QK-norm: A. Henry et al., 2020;
M. Dehghani et al., 2023, at 22 billion parameters; now OLMo 2, Qwen 3, Gemma 3). With one factor for all coordinates
this is exactly a Gaussian kernel (`attention.nadaraya-watson`). Gemma 2 caps scores softly, $50 \tanh (z / 50)$. Both
bound $\Delta$, and (E5) says what that costs in long texts; some therefore multiply scores by a number that grows like
$\ln n$ (D. Chiang and P. Cholak, 2022).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fp_autograd.rules import softmax
from fp_neural.softmax import softmax_jacobian

__all__ = ["score_variance", "jacobian_bound", "Saturation", "saturation"]  # the order of the page

Real = float | int


def score_variance(
    second_q: Float[np.ndarray, "D D"],
    second_k: Float[np.ndarray, "D D"],
    mean_q: Float[np.ndarray, " D"] | None = None,
    mean_k: Float[np.ndarray, " D"] | None = None,
) -> float:
    r"""
    The variance of $q \cdot k$ for independent $q$ and $k$ (E1).

    Parameters
    ----------
    second_q, second_k
        The means of the products of two coordinates, $A$ and $B$.
    mean_q, mean_k
        The means of the coordinates; zero if not given.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a matrix is not symmetric, which matrices of such means are.

    Examples
    --------
    Independent coordinates of variance one, and coordinates that are all the same number:

    >>> score_variance(np.eye(64), np.eye(64)), score_variance(np.ones((64, 64)), np.ones((64, 64)))
    (64.0, 4096.0)
    """
    for name, moments in (("second_q", second_q), ("second_k", second_k)):
        if not np.allclose(moments, moments.T):
            raise ValueError(f"{name} holds the means of q_i q_j and is symmetric, got {moments}; see E[x x^T]")
    mean = 0.0 if mean_q is None or mean_k is None else float(mean_q @ mean_k)
    return float((second_q * second_k).sum()) - mean**2


def jacobian_bound(p: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    r"""
    $2\, p_m (1 - p_m)$, which no vector is stretched beyond by the Jacobian of softmax (E2).

    Parameters
    ----------
    p
        Weights along the last axis.

    Returns
    -------
    ndarray
        A number for each row, between zero and a half.

    Examples
    --------
    >>> jacobian_bound(np.array([[0.5, 0.5], [0.75, 0.25]]))
    array([0.5  , 0.375])
    """
    top = p.max(axis=-1)
    return np.asarray(2 * top * (1 - top))


@dataclass(frozen=True)
class Saturation:
    """How far softmax has decided, and what gradient is left; printed as the four numbers that it holds."""

    largest: float
    """The mean of the largest weight."""
    jacobian: float
    r"""The median of $\operatorname{tr} H$."""
    mean_gradient: float
    """The mean length of the cotangent of the query."""
    median_gradient: float
    """Its median."""

    def __str__(self) -> str:
        return f"{self.largest:.2f} {self.jacobian:.0e} {self.mean_gradient:.2f} {self.median_gradient:.0e}"


def saturation(d: int, n_keys: int, scale: Real, *, rng: np.random.Generator, draws: int = 1000) -> Saturation:
    r"""
    Measure softmax and its gradient for random queries and keys.

    Parameters
    ----------
    d
        Their width; all coordinates are independent standard normal numbers.
    n_keys
        How many keys a query sees.
    scale
        $c$, by which scores are multiplied.
    rng
        Draws them.
    draws
        How many queries, each with keys of its own.

    Returns
    -------
    Saturation

    Raises
    ------
    ValueError
        If a count is below one or the scale is not positive.

    Examples
    --------
    >>> scaled, unscaled = (saturation(64, 8, c, rng=np.random.default_rng(0), draws=100) for c in (1 / 8, 1.0))
    >>> scaled.largest < unscaled.largest
    True
    """
    if min(d, n_keys, draws) < 1 or not 0 < scale < np.inf:
        raise ValueError(
            "d, n_keys and draws must be at least 1 and the scale positive, got "
            f"d={d}, n_keys={n_keys}, draws={draws}, scale={scale}; the usual scale is d**-0.5"
        )
    p, gradient = np.empty((draws, n_keys)), np.empty(draws)
    for r in range(draws):
        q, keys = rng.normal(size=d), rng.normal(size=(n_keys, d))
        p[r] = softmax(scale * (keys @ q))
        dz = softmax_jacobian(p[r]) @ rng.normal(size=n_keys)
        gradient[r] = np.linalg.norm(scale * (dz @ keys))
    return Saturation(
        largest=float(p.max(axis=1).mean()),
        jacobian=float(np.median((p * (1 - p)).sum(axis=1))),
        mean_gradient=float(gradient.mean()),
        median_gradient=float(np.median(gradient)),
    )
