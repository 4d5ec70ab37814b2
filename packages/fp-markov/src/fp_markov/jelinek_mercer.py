r"""
Jelinek and Mercer: mix long contexts with short ones, and let unseen text choose the mixture.

A long context knows more and was seen less. Mixing all lengths keeps both virtues, if one knows the weights, and the
text that was counted cannot say: it is sure that the longest context is always right. Text that was held out can. This
section finds the weights by **expectation maximisation** (EM), the algorithm for models with a hidden choice inside.

You need: `fp_markov.smoothing`, Gibbs' inequality (`markov.gibbs`), Bayes' rule.

## The model

With $\hat p(w \mid c) = N(cw) / N(c)$ and a weight $\lambda_b$ in $(0, 1)$ for each order and each **bucket** $b$ of
contexts about equally often seen,

$$P_n(w \mid c) = (1 - \lambda_b)\, \hat p(w \mid c) + \lambda_b\, P_{n-1}(w \mid c') \qquad \text{if } N(c) > 0,
\qquad \text{(E1)}$$

and $P_{n-1}(w \mid c')$ otherwise. The bucket of a context is its order and $\lfloor \log_2 N(c) \rfloor$ (but 15 for
all beyond): a context seen a thousand times deserves more trust than one seen once. It interpolates, (E2) of
`fp_markov.smoothing`, with $s(cw) = (1 - \lambda_b)\, \hat p(w \mid c)$ and $\gamma(c) = \lambda_b$.

**Claim** `markov.counted-text-chooses-the-longest`. On the counted text itself, but for its first tokens, whose
contexts are shorter, of all weights in $[0, 1]$ the likelihood of (E1) is largest with all $\lambda_b = 0$ at the
highest order.

**Proof.** There every context has $N(c) > 0$, and (E1) at the highest order is one distribution for each context. By
`markov.counting-is-mle` no family of such distributions has a higher likelihood than $\hat p(\cdot \mid c)$, which is
what $\lambda_b = 0$ gives. $\blacksquare$

So the weights must be judged on other text: this is the reason for held-out data in one line.

## The hidden choice

Read (E1) as a procedure. To produce a token, start at the longest context that was seen; with probability
$1 - \lambda_b$ **stop** and draw from its frequencies, else go **down** to the next shorter one and repeat; below the
single tokens lies the uniform distribution, where one stops. The token's probability is the sum over where it may have
stopped. Had we seen the choices, the best $\lambda_b$ would be a relative frequency: how often it went down in bucket
$b$, among all times it was there. We have not; but the model has an opinion about them. EM takes that opinion for the
fact, re-estimates, and repeats:

1. For each held-out token, with the present weights, compute the probability $d$ that it *went down* and $s$ that it
   *stopped* at each context on its way, given the token. Add them up in each bucket: $D_b$ and $S_b$.
2. Set $\lambda_b = \dfrac{D_b + \kappa}{D_b + S_b + 2 \kappa}$. (E2)

With $\kappa = 0$ no step lowers the likelihood of the held-out text. With $\kappa > 0$ none lowers

$$F(\lambda) = \ln P(\text{held-out text}) + \kappa \sum_b \big( \ln \lambda_b + \ln (1 - \lambda_b) \big),$$

and every weight stays inside $(0, 1)$, also in buckets that the held-out text never visits. Where (E2) is $0/0$, the
weight stays as it is. A point at which the steps come to rest need not be the highest of all: the orders multiply each
other's weights, and $F$ is not concave.

**Claim** `markov.em-monotone`. Let $\kappa \ge 0$ and let all $\lambda_b$ be in $(0, 1)$. One step (E2) never lowers
$F$. It leaves $F$ unchanged only if no $\lambda_b$ changed, except where $D_b + S_b + 2\kappa = 0$ and $F$ does not
depend on $\lambda_b$. With $\kappa = 0$ a step may leave $(0, 1)$: a bucket in which nothing can have stopped gets
$\lambda_b = 1$ and keeps it, and one that nothing can have left gets $0$. Its other factor occurs in no way in which
the text can have been produced, and the claim holds with that factor left out.

**Proof.** Let $z$ be a way of producing the text: where each token stopped. Let $P_\lambda(x, z)$ be the probability of
text and way, $P_\lambda(x) = \sum_z P_\lambda(x, z)$, and $\pi(z) = P_\lambda(x, z) / P_\lambda(x)$ the opinion under
the present $\lambda$. For any other $\mu$ under which the ways $z$ with $\pi(z) > 0$
are possible, $\ln P_\mu(x) = \ln P_\mu(x, z) - \ln P_\mu(z \mid x)$ for these $z$; the $\mu$ of (E2) is such, as it is
$0$ or $1$ only where no way goes down, or stops. Average both sides over $z$ with the weights $\pi$, do the same
for $\lambda$, and subtract:

$$
\ln P_\mu(x) - \ln P_\lambda(x) = \sum_z \pi(z) \ln \frac{P_\mu(x, z)}{P_\lambda(x, z)}
  + D\big( \pi \,\|\, P_\mu(\cdot \mid x) \big). \qquad \text{(E3)}
$$

The divergence is not negative (`markov.gibbs`). In $\ln P_\mu(x, z)$ only the factors of the choices depend on $\mu$: a
$\mu_b$ for each way down and a $1 - \mu_b$ for each stop in bucket $b$. Averaged over $\pi$ their numbers are $D_b$ and
$S_b$, so adding the two penalties,

$$
F(\mu) - F(\lambda) \ge \sum_b \Big( (D_b + \kappa) \ln \frac{\mu_b}{\lambda_b}
  + (S_b + \kappa) \ln \frac{1 - \mu_b}{1 - \lambda_b} \Big).
$$

By `markov.mle-lagrange` for two outcomes with the counts $D_b + \kappa$ and $S_b + \kappa$, each term of the sum over
$b$ is largest at (E2) and nowhere else, unless both counts are $0$; at $\mu_b = \lambda_b$ it is zero. So with $\mu$
from (E2) no term is negative, and one is positive if its $\lambda_b$ changed. With both counts $0$ no way that can have
produced the text visits $b$, and nothing in $F$ depends on $\lambda_b$. $\blacksquare$

How to get $d$ and $s$: let $R_n$ be the probability, given the token, that the procedure reached the context of order
$n$; $R = 1$ at the longest. There

$$
s_n = R_n\, \frac{(1 - \lambda_b)\, \hat p(w \mid c)}{P_n(w \mid c)}, \qquad d_n = R_n - s_n = R_{n-1}, \qquad
\text{(E4)}
$$

because the fraction is, by Bayes' rule, the probability of having stopped given that it came here and produced $w$.

## In practice

Mixtures with a hidden choice are everywhere: Gaussian mixtures, IBM's word alignments, experts behind a gate; networks
learn the same weights by gradients. Jelinek and Mercer's smoothing lost to Kneser-Ney on text, but its idea, that data
which was held out sets what counted data cannot, is how every hyper-parameter is chosen today.

References: F. Jelinek and R. Mercer, 1980; A. Dempster, N. Laird and D. Rubin, 1977.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer

from fp_markov.counting import Level, check_ids, find
from fp_markov.smoothing import Weights, context_totals, interpolated

__all__ = ["jelinek_mercer", "held_out_weights", "buckets"]  # the order of the page

N_BUCKETS = 16  # the last is for all contexts seen 32768 times or more


def jelinek_mercer(levels: list[Level], lambdas: Sequence[Float[np.ndarray, " B"]]) -> list[Weights]:
    """
    Interpolation with given weights (E1).

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.
    lambdas
        For each order the weight of the shorter context in each bucket, as `held_out_weights` returns them.

    Returns
    -------
    list of Weights
        One for each order, lowest first.
    """
    weights: list[Weights] = []
    for level, lam in zip(levels, lambdas, strict=True):
        N = context_totals(level, level.counts)
        gamma = np.where(N > 0, lam[buckets(N)], 1.0)
        share = (1 - gamma)[level.contexts] * level.counts / N[level.contexts]
        weights.append(interpolated(level, weights[-1] if weights else None, share, gamma))
    return weights


def buckets(N: Float[np.ndarray, " C"]) -> Int[np.ndarray, " C"]:
    """
    The bucket, within its order, of contexts seen `N` times.

    Examples
    --------
    >>> buckets(np.array([1.0, 2.0, 3.0, 4.0, 1e6])).tolist()
    [0, 1, 1, 2, 15]
    """
    return np.minimum(np.frexp(np.maximum(N, 1))[1].astype(np.int64) - 1, N_BUCKETS - 1)


def held_out_weights(
    levels: list[Level],
    held_out: Integer[np.ndarray, " T"],
    kappa: float | int = 1,
    tolerance: float = 1e-6,
    max_steps: int = 200,
    history: list[float] | None = None,
) -> list[Float[np.ndarray, " B"]]:
    """
    The weights of all buckets, by expectation maximisation (E2) on held-out text.

    Parameters
    ----------
    levels
        Counts of another text.
    held_out
        The held-out text as token ids.
    kappa
        Pseudo-counts of (E2), zero or more.
    tolerance
        Stop when a step raises the mean objective by less than this, in nats per token.
    max_steps
        Stop after this many steps in any case.
    history
        A list to which F before each step is appended.

    Returns
    -------
    list of ndarray
        For each order, lowest first, one weight a bucket.

    Raises
    ------
    ValueError
        If the held-out text has no token to predict or an id lies outside the vocabulary, or if kappa is negative.

    Examples
    --------
    A held-out text that continues the counted one trusts the longer context, noise does not:

    >>> from fp_markov.counting import count_ngrams
    >>> levels = count_ngrams(np.tile([0, 1, 2], 50), 2, vocab_size=3)
    >>> regular = held_out_weights(levels, np.tile([0, 1, 2], 20))
    >>> noise = held_out_weights(levels, np.random.default_rng(0).integers(0, 3, 60))
    >>> bool(regular[1][5] < 0.05), bool(noise[1][5] > 0.5)  # contexts seen about fifty times
    (True, True)
    """
    if not kappa >= 0:
        raise ValueError(f"kappa counts pseudo-events and must be zero or more, got {kappa}")
    check_ids(held_out, levels[0].vocab_size, levels[0].bos)
    p_hat, bucket, predicted = _components(levels, held_out)
    if not predicted.any():
        raise ValueError("the weights are found on held-out text, got no token to predict")
    T = int(predicted.sum())
    lambdas = [np.full(N_BUCKETS, 0.5) for _ in levels]
    best = -np.inf
    for _ in range(max_steps):
        P = [np.full(len(held_out), 1 / levels[0].n_outcomes)]
        for lam, p, b in zip(lambdas, p_hat, bucket, strict=True):
            gamma = np.where(b >= 0, lam[b], 1)
            P.append((1 - gamma) * p + gamma * P[-1])  # (E1)
        F = float(np.log(P[-1][predicted]).sum())
        if kappa:
            F += kappa * sum(float((np.log(lam) + np.log1p(-lam)).sum()) for lam in lambdas)
        if history is not None:
            history.append(F)
        if F - best < tolerance * T:
            break
        best = F
        reached = predicted.astype(np.float64)
        for n in range(len(levels), 0, -1):
            lam, p, b = lambdas[n - 1], p_hat[n - 1], bucket[n - 1]
            here = b >= 0
            stopped = np.where(here, reached * (1 - lam[b]) * p / P[n], 0)  # (E4)
            down = reached - stopped
            S = np.bincount(b[here], stopped[here], N_BUCKETS)
            D = np.bincount(b[here], down[here], N_BUCKETS)
            total = D + S + 2 * kappa
            lambdas[n - 1] = np.divide(D + kappa, total, out=lam.copy(), where=total > 0)  # (E2)
            reached = down
    return lambdas


def _components(
    levels: list[Level], ids: Integer[np.ndarray, " T"]
) -> tuple[list[Float[np.ndarray, " T"]], list[Int[np.ndarray, " T"]], np.ndarray]:
    """For each order and token its frequency and its context's bucket, -1 where the context is absent; what counts."""
    T = len(ids)
    p_hat, bucket = [], []
    ranks = np.zeros(T + 1, np.int64)  # of the (n-1)-gram that ends before each position, from n - 1 on
    for n, level in enumerate(levels):
        p, b = np.zeros(T), np.full(T, -1)
        if n < T:
            contexts = ranks[:-1]
            ranks = find(level.keys, level.vocab_size, contexts, ids[n:])
            N = context_totals(level, level.counts)
            known = (contexts >= 0) & (N[contexts] > 0)
            b[n:] = np.where(known, buckets(N)[contexts], -1)
            p[n:] = np.where(known & (ranks >= 0), level.counts[ranks] / np.maximum(N[contexts], 1), 0)
        p_hat.append(p)
        bucket.append(b)
    bos = levels[0].bos
    return p_hat, bucket, np.ones(T, bool) if bos is None else ids != bos
