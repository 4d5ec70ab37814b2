r"""
Comparison: is one model better than another, or was it the text?

Two models were scored on the same held-out text; one has the lower mean loss. Another text would have given another
difference. This section estimates by how much, without pretending that neighbouring tokens are independent.

You need: `fp_markov.probability` for means and variances, `fp_markov.mathematics` for slopes.

For random variables of finite variance let
$\operatorname{Cov}(X, Y) = \mathbb{E} (X - \mathbb{E} X)(Y - \mathbb{E} Y)$, the **covariance**: positive if they tend
to be high together, zero if they are independent.

## Pair first

Let $X_t$ and $Y_t$ be the two models' losses on token $t$, with means $\bar X$, $\bar Y$ over the $T$ tokens.

**Claim** `markov.paired-variance`. If the losses have finite variance, then

$$
\operatorname{Var}(\bar X - \bar Y)
  = \operatorname{Var}(\bar X) + \operatorname{Var}(\bar Y) - 2 \operatorname{Cov}(\bar X, \bar Y).
$$

So comparing on one text beats comparing on two independent ones exactly when the covariance is positive.

**Proof.** With $x = \bar X - \mathbb{E} \bar X$ and $y = \bar Y - \mathbb{E} \bar Y$, the left side is
$\mathbb{E} (x - y)^2 = \mathbb{E} x^2 + \mathbb{E} y^2 - 2\, \mathbb{E}\, xy$. On independent texts the last term is
zero. $\blacksquare$

What is hard for one model is hard for the other, so the covariance is large and most of the noise cancels. All that
follows works on the differences $d_t = X_t - Y_t$, whose mean is the quantity of interest.

## If the differences were independent and bounded

How far can the mean of independent numbers be from its expectation? Chebyshev's inequality (`markov.chebyshev`)
answers in terms of the variance. If the numbers are bounded one can do far better, and without knowing the variance.

**Claim** `markov.hoeffding-lemma`. Let $X$ take finitely many values, all in $[a, b]$, and let $\mathbb{E} X = 0$. Then
$\mathbb{E} e^{\lambda X} \le e^{\lambda^2 (b - a)^2 / 8}$ for every $\lambda$.

**Proof.** Let $x_1, \dots, x_k$ be the values, with probabilities $p_i > 0$, and
$\psi(\lambda) = \ln \sum_i p_i e^{\lambda x_i}$. With
$r_i = p_i e^{\lambda x_i} / \sum_j p_j e^{\lambda x_j}$, a distribution, the rules for slopes give

$$
\psi'(\lambda) = \frac{\sum_i p_i x_i e^{\lambda x_i}}{\sum_j p_j e^{\lambda x_j}} = \sum_i r_i x_i, \qquad
\psi''(\lambda) = \frac{\sum_i p_i x_i^2 e^{\lambda x_i}}{\sum_j p_j e^{\lambda x_j}} - \psi'(\lambda)^2
  = \sum_i r_i x_i^2 - \Big( \sum_i r_i x_i \Big)^2,
$$

the mean and the variance of the values under $r$. A variance is at most the mean square distance from any point $c$,
because $\sum_i r_i (x_i - c)^2$ exceeds it by the square of the mean's distance from $c$; and from the middle of
$[a, b]$ no value is farther than $\frac{b - a}{2}$. So $0 \le \psi'' \le \frac{(b - a)^2}{4}$. As $\psi(0) = \ln 1 = 0$
and $\psi'(0) = \mathbb{E} X = 0$, for $\lambda > 0$ `markov.slope-bound` gives
$\psi'(\lambda) \le \lambda \frac{(b - a)^2}{4}$, and used on $\lambda^2 \frac{(b - a)^2}{8} - \psi(\lambda)$, whose
slope is then not negative, $\psi(\lambda) \le \lambda^2 \frac{(b - a)^2}{8}$. For $\lambda < 0$ apply this to $-X$,
with values in $[-b, -a]$; for $\lambda = 0$ both sides are $1$. $\blacksquare$

**Claim** `markov.hoeffding`. Let $d_1, \dots, d_T$ be independent, each with finitely many values, all in $[a, b]$. For
every $\varepsilon > 0$,

$$
P \big( |\bar d - \mathbb{E} \bar d| \ge \varepsilon \big) \le 2 e^{-2 T \varepsilon^2 / (b - a)^2},
\qquad a < b. \qquad \text{(E1)}
$$

**Proof.** Let $X_t = d_t - \mathbb{E} d_t$, which lies in an interval of the same length, and $\lambda > 0$. As the
exponential increases, $\bar d - \mathbb{E} \bar d \ge \varepsilon$ is the event
$e^{\lambda \sum_t X_t} \ge e^{\lambda T \varepsilon}$. `markov.markov-inequality`, the independence of
the factors $e^{\lambda X_t}$ and the lemma give

$$
P(\bar d - \mathbb{E} \bar d \ge \varepsilon)
  \le e^{-\lambda T \varepsilon}\, \mathbb{E} \prod_t e^{\lambda X_t}
  = e^{-\lambda T \varepsilon} \prod_t \mathbb{E} e^{\lambda X_t}
  \le e^{-\lambda T \varepsilon + T \lambda^2 (b - a)^2 / 8}.
$$

The exponent is smallest where its slope in $\lambda$ is zero, at $\lambda = 4 \varepsilon / (b - a)^2$, with the value
$-2 T \varepsilon^2 / (b - a)^2$. The same holds for $-d$; the two events together have at most the sum of their
probabilities. $\blacksquare$

With the right side set to $\delta$, the mean is within $(b - a) \sqrt{\ln (2 / \delta) / 2T}$ of its expectation with
probability at least $1 - \delta$: `hoeffding_radius`. (Computed numbers are finitely many, so that hypothesis costs
nothing; the bound holds without it.) It is a guarantee and not an estimate: for a yes-or-no score on independent
questions, say which of two models answers right, it is the honest one. For losses it falls short twice. A loss
$-\ln q$ is bounded only if the model's probabilities have a floor, $q \ge q_0 > 0$, as smoothing with a share of the
uniform distribution gives; then two models' differences lie in $[\ln q_0, -\ln q_0]$, which is wide next to their
typical size. And the losses of neighbouring tokens are not independent.

## Neighbours are not independent

Let $d_1, \dots, d_T$ be **stationary**: the mean and the covariances $\gamma(h) = \operatorname{Cov}(d_t, d_{t+h})$ do
not depend on $t$.

**Claim** `markov.dependent-mean`. For stationary $d$ with finite variance,

$$
\operatorname{Var}(\bar d)
  = \frac{1}{T} \Big( \gamma(0) + 2 \sum_{h=1}^{T-1} \Big( 1 - \frac{h}{T} \Big) \gamma(h) \Big). \qquad \text{(E2)}
$$

**Proof.** $\operatorname{Var}(\bar d) = T^{-2} \sum_{s} \sum_{t} \operatorname{Cov}(d_s, d_t)$. Of the $T^2$ pairs,
$T$ have $s = t$, and $2 (T - h)$ have $|s - t| = h$ for each $1 \le h < T$. Divide by $T^2$. $\blacksquare$

The familiar $s / \sqrt{T}$ keeps $\gamma(0)$ only. Losses in a hard paragraph are high together; their covariances are
positive and that formula is too small.

## Resample blocks

The **bootstrap** treats the sample as the world: draw new samples from it, and see how much their means vary. Drawing
single tokens would break the dependence, and return $s / \sqrt{T}$. Drawing whole blocks of $\ell$ neighbours,
$1 \le \ell \le T$, keeps it inside the blocks. Here the blocks are **circular**: any of the $T$ positions may start
one, and the text's end continues at its beginning, so that every token is in exactly $\ell$ of the $T$ blocks. Let
$b_s$ be the mean of the block that starts at $s$; draw $k = T / \ell$ starts independently and uniformly and let $m$ be
the mean of the $k$ block means.

**Claim** `markov.circular-blocks`. Given the sample, and if $\ell$ divides $T$, $\mathbb{E}\, m = \bar d$ and

$$
\operatorname{Var}(m) = \frac{1}{k} \cdot \frac{1}{T} \sum_{s=1}^{T} (b_s - \bar d)^2
  = \frac{1}{T} \Big( \hat\gamma(0) + 2 \sum_{h=1}^{\ell-1} \Big( 1 - \frac{h}{\ell} \Big) \hat\gamma(h) \Big),
\qquad \text{(E3)}
$$

where $\hat\gamma(h) = \frac{1}{T} \sum_t (d_t - \bar d)(d_{t+h} - \bar d)$ with indices around the circle.

**Proof.** Every $d_t$ is in $\ell$ blocks with weight $1/\ell$ each, so the mean of a random block is
$\frac1T \sum_s b_s = \bar d$, and so is that of $m$. The $k$ draws are independent and identically distributed, so
$\operatorname{Var}(m)$ is $1/k$ of one block mean's variance, which is the first expression. Expand the square of
$b_s - \bar d = \frac{1}{\ell} \sum_{i<\ell} (d_{s+i} - \bar d)$: of its $\ell^2$ products, $\ell$ have equal indices
and $2 (\ell - h)$ have indices $h$ apart; averaged over $s$ a product at distance $h$ is $\hat\gamma(h)$. So the
variance of $b_s$ is $\frac{1}{\ell} \big( \hat\gamma(0) + 2 \sum_{h} (1 - h/\ell)\, \hat\gamma(h) \big)$. Divide by
$k$, with $k \ell = T$. $\blacksquare$

Compare (E3) with (E2): the covariances are estimated, the sum is cut off at $\ell$, and the weights are
$1 - h / \ell$, which for $\ell < T$ is less than $1 - h / T$. Blocks must be much longer than the dependence, or
covariance is lost (and, where it is positive, the error is understated); and much shorter than the text, or few of them
fit and the estimate itself is noise. With $\ell = 1$, (E3) is the familiar formula.

If $\ell$ does not divide $T$, say $T = k \ell + r$ with $0 < r < \ell$, one more block is drawn and cut to its first
$r$ tokens, so that a resample has exactly $T$ tokens. The $k + 1$ draws are independent, and weighted by their
lengths: again $\mathbb{E}\, m = \bar d$, and if $v_j$ is the variance of a random block mean of length $j$,

$$
\operatorname{Var}(m) = \frac{k\, \ell^2\, v_\ell + r^2\, v_r}{T^2}. \qquad \text{(E4)}
$$

## In practice

For losses on text, blocks of a few hundred to a few thousand tokens: longer than a paragraph, and at least twenty in
the text. Double the length; if the error grows, it was too short. The distribution of a mean of many blocks is close
to normal, so a difference beyond two standard errors is what people call significant. It speaks about texts like this
one, and about these two sets of weights: training again with another seed is another source of noise, which no
resampling of tokens can see.

Where the units *are* independent, such as the questions of a test, sentences drawn from many books, or documents, give
one difference for each and take $\ell = 1$: this is the **paired bootstrap** of the literature on translation, a case
of the above and no second method. If documents differ in length and the loss per token is what matters, the difference
of a document is its summed difference divided by the mean number of tokens in a document. Papers often report the
interval that holds the middle 95% of the resampled means, `bootstrap_interval`, and call a difference significant if
zero is outside; where the resampled means are close to normal that is about two standard errors to either side. No
theorem promises its share of hits for a given $T$; in the tests it is measured.

References: W. Hoeffding, 1963; B. Efron, 1979, for the bootstrap; H. Künsch, 1989, for blocks; D. Politis and
J. Romano, 1992, for the circle; P. Koehn, 2004, for pairs of systems on one test set.
"""

import math

import numpy as np
from jaxtyping import Float

__all__ = ["hoeffding_radius", "block_bootstrap", "bootstrap_interval"]  # the order of the page


def hoeffding_radius(n: int, low: float | int, high: float | int, confidence: float = 0.95) -> float:
    """
    How far a mean of independent bounded numbers may be from its expectation, by (E1).

    Parameters
    ----------
    n
        How many numbers the mean is taken over.
    low, high
        Bounds that every number obeys whatever happens, known beforehand and not read off the sample.
    confidence
        Least probability that the mean is closer than the radius, in (0, 1).

    Returns
    -------
    float
        The radius, in the unit of the numbers.

    Raises
    ------
    ValueError
        If `n` is below 1, the bounds are not finite with `low < high`, or the confidence lies outside (0, 1).

    Examples
    --------
    A score of right or wrong on a thousand questions is known to about four points in a hundred:

    >>> round(hoeffding_radius(1000, 0, 1), 3)
    0.043
    """
    if n < 1:
        raise ValueError(f"a mean needs at least one number, got {n}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"the bounds must be finite with low < high, got {low} and {high}. "
            "The loss of a model that allows probability zero has none."
        )
    _check_confidence(confidence)
    return (high - low) * math.sqrt(math.log(2 / (1 - confidence)) / (2 * n))


def block_bootstrap(
    differences: Float[np.ndarray, " T"], block_length: int, n_resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """
    Mean of a dependent sequence, and the standard error of that mean, by the circular moving-block bootstrap.

    Parameters
    ----------
    differences
        One number for each token, in the order of the text: loss of one model minus loss of the other.
    block_length
        Neighbours that are drawn together, from 1 to T.
    n_resamples
        Resampled means; the standard error is itself uncertain by a share of about `1 / sqrt(2 * n_resamples)`.
    rng
        Source of the blocks' starts.

    Returns
    -------
    mean : float
        Mean of `differences`.
    standard_error : float
        Standard deviation of the resampled means: up to that share the root of (E3) if `block_length` divides T, else
        of (E4).

    Raises
    ------
    ValueError
        If there are fewer than two differences, one is not finite, the block length lies outside [1, T], or there are
        fewer than two resamples.

    Examples
    --------
    The familiar formula gives 0.1 here whatever the order of the numbers, but they come in runs of ten:

    >>> runs = np.repeat(np.tile([1.0, -1.0, -1.0, 1.0, 1.0], 2), 10)
    >>> mean, error = block_bootstrap(runs, block_length=10, n_resamples=4000, rng=np.random.default_rng(0))
    >>> round(mean, 2), bool(0.2 < error < 0.3)
    (0.2, True)
    """
    mean, deviations = _resample(differences, block_length, n_resamples, rng)
    return mean, float(deviations.std(ddof=1))


def bootstrap_interval(
    differences: Float[np.ndarray, " T"],
    block_length: int,
    n_resamples: int,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """
    Interval that holds the middle share of the resampled means; `block_length` 1 is the paired bootstrap.

    Parameters
    ----------
    differences
        One number for each token, or each independent unit: loss of one model minus loss of the other.
    block_length
        Neighbours that are drawn together, from 1 (independent units) to T.
    n_resamples
        Resampled means; about `n_resamples * (1 - confidence) / 2` of them lie on either side of the interval.
    rng
        Source of the blocks' starts.
    confidence
        Share of the resampled means inside, in (0, 1).

    Returns
    -------
    low, high : float
        Ends of the interval. The same generator state gives `block_bootstrap` the same resamples.

    Raises
    ------
    ValueError
        As `block_bootstrap`, and if the confidence lies outside (0, 1).

    Examples
    --------
    Of 40 documents the first model is better on 30, by as much as it is worse on the others:

    >>> low, high = bootstrap_interval(np.repeat([-1.0, 1.0], [30, 10]), 1, 4000, np.random.default_rng(0))
    >>> bool(-0.85 < low < -0.65), bool(-0.35 < high < -0.15)
    (True, True)
    """
    _check_confidence(confidence)
    mean, deviations = _resample(differences, block_length, n_resamples, rng)
    low, high = np.quantile(deviations, [(1 - confidence) / 2, (1 + confidence) / 2])
    return mean + float(low), mean + float(high)


def _resample(
    differences: Float[np.ndarray, " T"], block_length: int, n_resamples: int, rng: np.random.Generator
) -> tuple[float, Float[np.ndarray, " N"]]:
    """The mean of `differences`, and by how much the means of `n_resamples` resamples differ from it."""
    T = len(differences)
    if T < 2:
        raise ValueError(f"a standard error needs at least two differences, got {T}")
    if not np.isfinite(differences).all():
        raise ValueError("the differences must be finite, got NaN or infinity. Is one model's loss infinite somewhere?")
    if not 1 <= block_length <= T:
        raise ValueError(f"block_length must lie between 1 and the {T} differences, got {block_length}")
    if n_resamples < 2:
        raise ValueError(f"a standard deviation needs at least two resamples, got {n_resamples}")

    d = differences.astype(np.float64)
    mean = float(d.mean())
    d -= mean  # prefix sums of centred numbers stay small, so their differences keep their digits
    prefix = np.concatenate(([0.0], np.cumsum(np.concatenate((d, d[:block_length])))))  # the circle, opened once
    whole, rest = divmod(T, block_length)

    sums = np.empty(n_resamples)
    rows = max(1, 2**20 // (whole + 1))  # resamples at a time: bounds the memory whatever T is
    for i in range(0, n_resamples, rows):
        out = sums[i : i + rows]
        starts = rng.integers(0, T, size=(len(out), whole))
        np.sum(prefix[starts + block_length] - prefix[starts], axis=1, out=out)
        starts = rng.integers(0, T, size=len(out))
        out += prefix[starts + rest] - prefix[starts]  # the block that is cut short; nothing if none is
    return mean, sums / T


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence is a probability strictly between 0 and 1, got {confidence}")
