r"""
Evaluation: is it better, by how much, and what did it cost?

A model has been aligned and scores higher. Three questions are left. Does it win against the one that it came from, or
was that luck? How far has it gone from it? And what has it forgotten? Each is answered by a number with its error.

You need: `fp_align.preferences`, `fp_align.kl`, the standard error of a mean (`fp_markov.comparison`),
`markov.chain-rule`.

## Who wins

Both models answer the same $n$ prompts, a judge says which answer is better, and $\hat p$ is the share of wins. If each
is won with probability $p$, and prompts are drawn independently, $\hat p$ has the mean $p$ and the standard deviation
$\sqrt{p (1 - p) / n}$. Usually it lies within $z = 1.96$ of these. So keep all $p$ for which it does:

$$
(\hat p - p)^2 \le z^2\, \frac{p (1 - p)}{n}. \qquad \text{(E1)}
$$

**Claim** `align.wilson`. Let $0 \le \hat p \le 1$ and $n, z > 0$. (E1) holds exactly for the $p$ in the interval

$$
\frac{1}{1 + z^2 / n} \left( \hat p + \frac{z^2}{2 n}
\pm z \sqrt{\frac{\hat p (1 - \hat p)}{n} + \frac{z^2}{4 n^2}} \right), \qquad \text{(E2)}
$$

which lies within $[0, 1]$, contains $\hat p$, and has a positive length.

**Proof.** Put $a = z^2 / n$ and bring everything to one side: $(1 + a)\, p^2 - (2 \hat p + a)\, p + \hat p^2 \le 0$.
The left side is a parabola in $p$ that opens upwards, so the inequality holds exactly between its zeros, which are

$$
p = \frac{2 \hat p + a \pm \sqrt{(2 \hat p + a)^2 - 4 (1 + a) \hat p^2}}{2 (1 + a)}.
$$

Under the root, $4 \hat p^2 + 4 a \hat p + a^2 - 4 \hat p^2 - 4 a \hat p^2 = 4 a \hat p (1 - \hat p) + a^2 > 0$. Divide
numerator and denominator by two: this is (E2), and the zeros differ. At $p = \hat p$ (E1) holds. For $p < 0$ or $p > 1$
its right side is negative and its left is not, so no such $p$ lies in the interval. $\blacksquare$

The textbook's interval puts $\hat p$ for $p$ on the right of (E1). Then it has no length at $\hat p = 1$, and misses
$p$ too often near the ends. How often an interval holds $p$ is a finite sum, here with 50 prompts:

>>> for p in (0.5, 0.9, 0.98):
...     print(p, [round(coverage(p, 50, interval), 3) for interval in (textbook, wilson)])
0.5 [0.935, 0.935]
0.9 [0.879, 0.97]
0.98 [0.635, 0.922]

Judges also see ties, which count half.

**Claim** `align.tie-variance`. A score in $[0, 1]$ with the mean $p$ has a variance of at most $p (1 - p)$, with
equality only if it is always $0$ or $1$.

**Proof.** $s^2 \le s$ for $0 \le s \le 1$, with equality only at the ends. So the variance $\mathbb{E} s^2 - p^2$ is at
most $p - p^2$, and equal only if $s$ is $0$ or $1$ with probability one. $\blacksquare$

So with ties (E2) is on the safe side.

## How far

Responses are drawn from the policy $\pi$, and $k_1$ and $k_3$ of `fp_align.kl` estimate its divergence from the
reference $\pi_0$. There is a third estimate, since at each place of a response $y$ both distributions of the next token
are at hand:

$$
k_{\text{sum}}(y) = \sum_t D \big( \pi(\cdot \mid y_{< t}) \,\|\, \pi_0(\cdot \mid y_{< t}) \big). \qquad \text{(E3)}
$$

**Claim** `align.kl-chain`. Let $\pi_0$ be positive where $\pi$ is. With responses from $\pi$, of at most $N$ tokens,
$\mathbb{E}\, k_{\text{sum}} = D(\pi \,\|\, \pi_0)$.

**Proof.** By `markov.chain-rule` $k_1(y) = \ln \frac{\pi(y)}{\pi_0(y)}$ is the sum over the places $t$ of
$u_t = \ln \frac{\pi(y_t \mid y_{< t})}{\pi_0(y_t \mid y_{< t})}$, with $u_t = 0$ behind the end of the response.
Given $y_{< t}$, the token $y_t$ is drawn from $\pi(\cdot \mid y_{< t})$, so the mean of $u_t$ is
$D(\pi(\cdot \mid y_{< t}) \,\|\, \pi_0(\cdot \mid y_{< t}))$ by definition, or $0$ if the response has ended. Averaging
over $y_{< t}$ as well, $\mathbb{E}\, u_t$ is the mean of the term $t$ in (E3). Sum over $t$: the left sides add up to
$\mathbb{E}\, k_1 = D(\pi \,\|\, \pi_0)$ (`align.k1-unbiased`). $\blacksquare$

It is never negative, and has no noise from the last draw at each place. Far from the reference, $k_3$ of a whole
response is useless: its mean is right, and hangs on responses that one never sees.

## What was forgotten

The loss on held-out text, in nats per token, before and after: what it has risen by is the **alignment tax**. A little
is no fault; a model that answers in one style is no longer a model of all styles.

## In practice

Where no gold reward exists, people judge, or a larger model does, and the judge's own errors are in $\hat p$: position,
length, style. Answers of equal length, or win rates controlled for length (AlpacaEval 2), and judges who see both
orders keep the worst away. Many report a reward model's score alone, which the next policy learns to please. E. B.
Wilson (1927) has (E2); L. Brown, T. Cai and A. DasGupta (2001) compare intervals.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fp_align.kl import k1, k3
from fp_align.preferences import padded
from fp_autograd.rules import log_softmax
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import value_of

__all__ = [
    "Estimate",
    "estimate",
    "wilson",
    "textbook",
    "coverage",
    "win_scores",
    "divergences",
    "held_out_loss",
]  # the order of the page


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error."""

    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.error:.3f}"


def estimate(values: Float[np.ndarray, " n"]) -> Estimate:
    """
    The mean of independent values, and its standard error.

    Parameters
    ----------
    values
        Two or more.

    Returns
    -------
    Estimate
        In the unit of the values.

    Raises
    ------
    ValueError
        If there are fewer than two.

    Examples
    --------
    >>> print(estimate(np.array([1.0, 2.0, 3.0])))
    2.000 ± 0.577
    """
    if len(values) < 2:
        raise ValueError(f"a standard error takes two values or more, got {len(values)}: evaluate on more prompts")
    return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))


def wilson(share: float | int, n: int, z: float | int = 1.96) -> tuple[float, float]:
    """
    The interval (E2) for a probability.

    Parameters
    ----------
    share
        Of wins, ties counted half; from 0 to 1.
    n
        Of how many comparisons.
    z
        How many standard deviations are usual: 1.96 is meant to hold 95 times in 100.

    Returns
    -------
    low, high : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> [round(bound, 3) for bound in wilson(0.6, 100)], [round(bound, 3) for bound in wilson(1, 10)]
    ([0.502, 0.691], [0.722, 1.0])
    """
    if not 0 <= share <= 1 or n < 1 or not z > 0:
        raise ValueError(
            f"the share of wins lies in [0, 1], of at least one comparison, and z is positive; got {share}, {n}, {z}"
        )
    a = z * z / n
    middle = share + a / 2
    half = z * math.sqrt(share * (1 - share) / n + a / (4 * n))
    return max(0.0, (middle - half) / (1 + a)), min(1.0, (middle + half) / (1 + a))


def textbook(share: float | int, n: int, z: float | int = 1.96) -> tuple[float, float]:
    """
    The interval of a normal distribution with the standard deviation of the share itself, for comparison.

    Parameters
    ----------
    share, n, z
        As for `wilson`.

    Returns
    -------
    low, high : float
        These may lie outside of [0, 1], or coincide.
    """
    half = z * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


def coverage(p: float, n: int, interval: Callable[[float, int], tuple[float, float]] = wilson) -> float:
    """
    How often an interval from $n$ games holds the true probability of winning: a sum over the number of wins.

    Parameters
    ----------
    p
        The probability, between 0 and 1, both excluded.
    n
        Games.
    interval
        From share of wins and `n` to its ends.

    Returns
    -------
    float
        A probability.
    """
    hits = [k for k in range(n + 1) if interval(k / n, n)[0] <= p <= interval(k / n, n)[1]]
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in hits)


def win_scores(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """
    Who wins each comparison, by rewards.

    Parameters
    ----------
    one, other
        Rewards of the two responses to each prompt.

    Returns
    -------
    ndarray
        1 where the first is better, 0.5 for a tie, 0 else.

    Raises
    ------
    ValueError
        If they are not as many, or there are none.

    Examples
    --------
    >>> win_scores(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    if len(one) != len(other) or not len(one):
        raise ValueError(f"each prompt has two responses to compare, got {len(one)} and {len(other)} rewards")
    return 0.5 + 0.5 * np.sign(one - other)


def divergences(
    policy: Any,
    reference: Any,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    batch_size: int = 64,
) -> dict[str, Float[np.ndarray, " n"]]:
    """
    Three estimates of the policy's divergence from the reference, one value a response.

    Parameters
    ----------
    policy, reference
        Called with ids, they return logits of shape (B, T, V).
    prompts, responses
        Token ids; the responses are drawn from the policy, at temperature one and with nothing cut.
    batch_size
        How many are computed at once.

    Returns
    -------
    dict
        `k1`, `k3` of the whole response and `sum`, (E3): nats, float64.

    Raises
    ------
    ValueError
        If there are none, or a prompt or a response is empty.

    Examples
    --------
    >>> one = lambda ids: np.log([0.5, 0.5]) + np.zeros((*ids.shape, 1))
    >>> other = lambda ids: np.log([0.25, 0.75]) + np.zeros((*ids.shape, 1))
    >>> {name: value.round(3).tolist() for name, value in divergences(one, other, [[0]], [[0, 1]]).items()}
    {'k1': [0.288], 'k3': [0.038], 'sum': [0.288]}
    """
    found: dict[str, list[np.ndarray]] = {"k1": [], "k3": [], "sum": []}
    for start in range(0, max(len(prompts), 1), batch_size):
        stop = start + batch_size
        ids, mask = padded(prompts[start:stop], responses[start:stop])
        logp, logq = (_next_tokens(model, ids) for model in (policy, reference))
        b, t = np.indices(ids[:, 1:].shape)
        p, q = (((log[b, t, ids[:, 1:]]) * mask[:, 1:]).sum(axis=1) for log in (logp, logq))
        found["k1"].append(k1(p, q))
        with np.errstate(over="ignore"):  # far from the reference it is infinite, and that is the lesson
            found["k3"].append(k3(p, q))
        found["sum"].append(((np.exp(logp) * (logp - logq)).sum(axis=-1) * mask[:, 1:]).sum(axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _next_tokens(model: Any, ids: Integer[np.ndarray, "B T"]) -> Float[np.ndarray, "B S V"]:
    with no_grad():
        return np.asarray(log_softmax(value_of(model(ids[:, :-1])).astype(np.float64), axis=-1))


def held_out_loss(model: Any, ids: Integer[np.ndarray, " n"], window: int, batch_size: int = 64) -> float:
    """
    The mean loss on a text, cut into disjoint windows; what does not fill the last one is left out.

    Parameters
    ----------
    model
        Called with ids, it returns logits.
    ids
        The text's tokens.
    window
        Predictions in each window.
    batch_size
        How many windows are computed at once.

    Returns
    -------
    float
        Nats per token.

    Raises
    ------
    ValueError
        If the text does not fill one window.

    Examples
    --------
    >>> even = lambda ids: np.zeros((*ids.shape, 4))
    >>> round(held_out_loss(even, np.array([0, 1, 2, 3, 0, 1, 2]), 3), 3)
    1.386
    """
    n = (len(ids) - 1) // window
    if n < 1:
        raise ValueError(
            f"the held-out text has {len(ids)} tokens, and one window with its last target needs "
            f"{window + 1}: take a longer one"
        )
    rows = np.arange(n)[:, None] * window + np.arange(window + 1)
    total = 0.0
    for start in range(0, n, batch_size):
        part = ids[rows[start : start + batch_size]]
        b, t = np.indices(part[:, 1:].shape)
        total -= float(_next_tokens(model, part)[b, t, part[:, 1:]].sum())
    return total / (n * window)
