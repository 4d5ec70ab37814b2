r"""
Additive smoothing: pretend to have seen everything a little.

The oldest repair adds a constant to every count. It is often called a trick; it is what a Bayesian believes who held
all distributions possible before reading, and this section derives it as that. It then turns out to be a poor belief
about words.

You need: `fp_markov.smoothing`; the Dirichlet integral (`markov.dirichlet-integral`).

## The bare counts

Relative frequencies are (E1) of `fp_markov.smoothing` with $p(cw) = N(cw) / N(c)$, and $\beta(c) = 0$ where
$N(c) > 0$: `mle`. They are
the best description of the text that was counted (`markov.counting-is-mle`), and give every other text that has one new
$n$-gram the probability zero. A context that the text lacks has no frequencies; the shorter context is asked.

## A belief about distributions

Let $\theta = (\theta_1, \dots, \theta_V)$ be the unknown distribution of the token after a context: a point of the
simplex $\Delta$, all $\theta_i \ge 0$ with sum one. Before reading, let the belief about it have the **Dirichlet**
density with parameter $\alpha > 0$,

$$f(\theta) = \frac{1}{B(\alpha, \dots, \alpha)} \prod_{i=1}^{V} \theta_i^{\alpha - 1}, \qquad
B(a_1, \dots, a_V) = \int_\Delta \prod_i x_i^{a_i - 1} \, dx = \frac{\prod_i \Gamma(a_i)}{\Gamma(\sum_i a_i)},
\qquad \text{(E1)}$$

where the value of the integral is `markov.dirichlet-integral`. It treats all tokens alike. At $\alpha = 1$ it is flat;
below, it prefers distributions with most of their mass on few tokens, as those after a context are.

**Claim** `markov.dirichlet-posterior`. Read tokens that are independent given $\theta$, token $i$ with probability
$\theta_i$, and let token $i$ come $n_i$ times, $n = \sum_i n_i$. Then the belief after reading is Dirichlet again, with
$\alpha + n_i$ in place of $\alpha$ for each token.

**Proof.** Given $\theta$, what was read has probability $\prod_i \theta_i^{n_i}$. The belief after
reading is defined by Bayes' rule, as for events: its density is proportional, as a function of $\theta$, to prior times
likelihood,

$$\prod_i \theta_i^{\alpha - 1} \prod_i \theta_i^{n_i} = \prod_i \theta_i^{\alpha + n_i - 1},$$

and the factor that makes it integrate to one is $1 / B(\alpha + n_1, \dots, \alpha + n_V)$ by (E1). $\blacksquare$

**Claim** `markov.additive-posterior-mean`. Under that belief the next token is $i$ with probability

$$P(i) = \mathbb{E}\, \theta_i = \frac{n_i + \alpha}{n + \alpha V}. \qquad \text{(E2)}$$

**Proof.** Given $\theta$ the next token is $i$ with probability $\theta_i$; averaged over the belief, with
$a_j = \alpha + n_j$ and $A = \sum_j a_j = n + \alpha V$, and (E1) for both integrals,

$$
\begin{aligned}
P(i) = \int_\Delta \theta_i \, \frac{\prod_j \theta_j^{a_j - 1}}{B(a_1, \dots, a_V)} \, d\theta
  &= \frac{B(a_1, \dots, a_i + 1, \dots, a_V)}{B(a_1, \dots, a_V)} \\
  &= \frac{\Gamma(a_i + 1)}{\Gamma(a_i)} \cdot \frac{\Gamma(A)}{\Gamma(A + 1)} = \frac{a_i}{A}.
\end{aligned}
$$

The last step is $\Gamma(x + 1) = x\, \Gamma(x)$ (`markov.beta-gamma`). $\blacksquare$

So adding $\alpha$ to each count *is* the posterior predictive distribution. Written as

$$
P(i) = \frac{n}{n + \alpha V} \cdot \frac{n_i}{n} + \frac{\alpha V}{n + \alpha V} \cdot \frac{1}{V}, \qquad \text{(E3)}
$$

it is a mixture of the frequencies and the uniform distribution, in which the text outweighs the prior once
$n > \alpha V$. With (E1) of `fp_markov.smoothing`, $\beta(c) = \alpha V / (N(c) + \alpha V)$ and uniform below.

## In practice

The prior is wrong about language. With $V = 50{,}000$ words and $\alpha = 1$ a context must be seen 50,000 times before
its own counts have half the say, and the mass given to the unseen is spread over words that never follow it. A smaller
$\alpha$ helps (choose it on held-out text: `fp_markov.exercises.e07_add_k`), a better prior helps more: that the
distribution resembles the one of the shorter context. A Dirichlet prior around $P_{n-1}$ gives interpolation with
$\gamma(c) = \alpha / (N(c) + \alpha)$, and a heavy-tailed relative of it gives Kneser-Ney (Y. W. Teh, 2006).
"""

import numpy as np

from fp_markov.counting import Level
from fp_markov.smoothing import Weights, below, context_totals

__all__ = ["mle", "additive"]  # the order of the page


def mle(levels: list[Level]) -> list[Weights]:
    """
    Relative frequencies: nothing for what was not seen.

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.

    Returns
    -------
    list of Weights
        One for each order, lowest first.

    Examples
    --------
    >>> from fp_markov.counting import count_ngrams
    >>> mle(count_ngrams(np.array([0, 1, 0, 0]), 2, vocab_size=2))[1].probability
    array([0.5, 0.5, 1. ])
    """
    weights = []
    for level in levels:
        N = context_totals(level, level.counts)
        probability = level.counts / N[level.contexts]
        weights.append(Weights(level.keys, probability, np.where(N > 0, 0.0, 1.0)))
    return weights


def additive(levels: list[Level], alpha: float | int = 1.0) -> list[Weights]:
    """
    Every count plus `alpha` (E2).

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.
    alpha
        Positive: what to add.

    Returns
    -------
    list of Weights
        One for each order, lowest first; what is unseen is equally likely.

    Raises
    ------
    ValueError
        If `alpha` is not positive and finite.

    Examples
    --------
    After token 0 came 1 once and 0 once, token 2 never:

    >>> from fp_markov.counting import count_ngrams
    >>> bigrams = additive(count_ngrams(np.array([0, 1, 0, 0]), 2, vocab_size=3), alpha=1)[1]
    >>> bigrams.probability.round(3), bigrams.backoff.round(3)  # 2/5, 2/5 after 0, 2/4 after 1
    (array([0.4, 0.4, 0.5]), array([0.6 , 0.75]))
    """
    if not 0 < alpha < np.inf:
        raise ValueError(f"alpha, added to every count, must be positive and finite, got {alpha}. To add none use mle.")
    weights = []
    for level in levels:
        V = level.n_outcomes
        N = context_totals(level, level.counts)
        gamma = alpha * V / (N + alpha * V)
        probability = level.counts / (N + alpha * V)[level.contexts]  # (E3)
        probability += gamma[level.contexts] * below(level, None)
        weights.append(Weights(level.keys, probability, gamma, uniform_below=True))
    return weights
