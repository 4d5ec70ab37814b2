r"""
Comparison: is one model better than another, or was it the text?

Two models were scored on the same held-out text; one has the lower mean loss. Another text would have given another
difference. This section estimates by how much, without pretending that neighbouring tokens are independent.

You need: mean, variance and covariance.

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

## Neighbours are not independent

Let $d_1, \dots, d_T$ be **stationary**: the mean and the covariances $\gamma(h) = \operatorname{Cov}(d_t, d_{t+h})$ do
not depend on $t$.

**Claim** `markov.dependent-mean`. For stationary $d$ with finite variance,

$$
\operatorname{Var}(\bar d)
  = \frac{1}{T} \Big( \gamma(0) + 2 \sum_{h=1}^{T-1} \Big( 1 - \frac{h}{T} \Big) \gamma(h) \Big). \qquad \text{(E1)}
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
\qquad \text{(E2)}
$$

where $\hat\gamma(h) = \frac{1}{T} \sum_t (d_t - \bar d)(d_{t+h} - \bar d)$ with indices around the circle.

**Proof.** Every $d_t$ is in $\ell$ blocks with weight $1/\ell$ each, so the mean of a random block is
$\frac1T \sum_s b_s = \bar d$, and so is that of $m$. The $k$ draws are independent and identically distributed, so
$\operatorname{Var}(m)$ is $1/k$ of one block mean's variance, which is the first expression. Expand the square of
$b_s - \bar d = \frac{1}{\ell} \sum_{i<\ell} (d_{s+i} - \bar d)$: of its $\ell^2$ products, $\ell$ have equal indices
and $2 (\ell - h)$ have indices $h$ apart; averaged over $s$ a product at distance $h$ is $\hat\gamma(h)$. So the
variance of $b_s$ is $\frac{1}{\ell} \big( \hat\gamma(0) + 2 \sum_{h} (1 - h/\ell)\, \hat\gamma(h) \big)$. Divide by
$k$, with $k \ell = T$. $\blacksquare$

Compare (E2) with (E1): the covariances are estimated, the sum is cut off at $\ell$, and the weights are
$1 - h / \ell$, which for $\ell < T$ is less than $1 - h / T$. Blocks must be much longer than the dependence, or
covariance is lost (and, where it is positive, the error is understated); and much shorter than the text, or few of them
fit and the estimate itself is noise. With $\ell = 1$, (E2) is the familiar formula.

If $\ell$ does not divide $T$, say $T = k \ell + r$ with $0 < r < \ell$, one more block is drawn and cut to its first
$r$ tokens, so that a resample has exactly $T$ tokens. The $k + 1$ draws are independent, and weighted by their
lengths: again $\mathbb{E}\, m = \bar d$, and if $v_j$ is the variance of a random block mean of length $j$,

$$
\operatorname{Var}(m) = \frac{k\, \ell^2\, v_\ell + r^2\, v_r}{T^2}. \qquad \text{(E3)}
$$

## In practice

For losses on text, blocks of a few hundred to a few thousand tokens: longer than a paragraph, and at least twenty in
the text. Double the length; if the error grows, it was too short. The distribution of a mean of many blocks is close
to normal, so a difference beyond two standard errors is what people call significant. It speaks about texts like this
one, and about these two sets of weights: training again with another seed is another source of noise, which no
resampling of tokens can see.

References: H. Künsch, 1989, for blocks; D. Politis and J. Romano, 1992, for the circle.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["block_bootstrap"]


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
        Standard deviation of the resampled means: up to that share the root of (E2) if `block_length` divides T, else
        of (E3).

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

    means = np.empty(n_resamples)
    rows = max(1, 2**20 // (whole + 1))  # resamples at a time: bounds the memory whatever T is
    for i in range(0, n_resamples, rows):
        out = means[i : i + rows]
        starts = rng.integers(0, T, size=(len(out), whole))
        np.sum(prefix[starts + block_length] - prefix[starts], axis=1, out=out)
        starts = rng.integers(0, T, size=len(out))
        out += prefix[starts + rest] - prefix[starts]  # the block that is cut short; nothing if none is
    return mean, float(means.std(ddof=1) / T)
