r"""
Climbing an average by sampling from it.

A reward model says how good an answer is, and has no derivative in the policy: the tokens in between are drawn. The
average reward has one all the same, because the probabilities move. How is its gradient estimated from samples, what
may be subtracted from the reward without changing the mean of that estimate, and which token deserves the credit?

You need: `fp_align.exact`, `markov.expectation-linear`, `markov.total-probability`, `autograd.log-softmax-rule`.

## The theorem

Let $\pi_\theta(y) > 0$ over finitely many responses depend smoothly on parameters $\theta$. (There is a prompt in
front of everything; it is left out.) The gradient of $\ln \pi_\theta(y)$ in $\theta$ is called the **score** of $y$,

$$s(y) = \nabla \ln \pi_\theta(y) = \frac{\nabla \pi_\theta(y)}{\pi_\theta(y)}. \qquad \text{(E1)}$$

**Claim** `align.score-mean`. $\mathbb{E}_\pi\, s = 0$.

**Proof.** $\sum_y \pi(y)\, s(y) = \sum_y \nabla \pi(y) = \nabla \sum_y \pi(y) = \nabla 1 = 0$. $\blacksquare$

**Claim** `align.policy-gradient`. Let $f_\theta(y)$ depend smoothly on $\theta$ or not at all. Then

$$
\nabla\, \mathbb{E}_\pi f = \mathbb{E}_\pi \big[ f\, s \big] + \mathbb{E}_\pi \big[ \nabla f \big].
\qquad \text{(E2)}
$$

For $f = r - \beta \ln \frac{\pi}{\pi_0}$ the second term is zero, so the gradient of the objective of `fp_align.exact`
is $\mathbb{E}_\pi [f\, s]$, with $f$ taken as a number.

**Proof.** The product rule in each term of the sum gives
$\nabla \sum_y \pi\, f = \sum_y (\nabla \pi)\, f + \sum_y \pi\, \nabla f$, and $\nabla \pi = \pi s$ by (E1). For that
$f$, $\nabla f = -\beta s$, whose mean is zero by `align.score-mean`. $\blacksquare$

So sample $y$ from the policy, and step along $f(y)\, s(y)$: **REINFORCE**. It never asks for the slope of the reward.
With a program that differentiates, $f(y)\, s(y)$ is the gradient of $f(y) \ln \pi_\theta(y)$ with $f(y)$ held fixed.

## Baselines

**Claim** `align.baseline`. Let $b$ be a number that does not depend on the sampled response: fixed, or computed from
samples that are independent of it. Then $\mathbb{E} \big[ (f - b)\, s \big] = \mathbb{E} [f\, s]$.

**Proof.** $\mathbb{E} [b\, s] = \mathbb{E}\, b \cdot \mathbb{E}\, s = 0$, by `markov.expectation-linear` for
independent variables, entry by entry of $s$, and `align.score-mean`. $\blacksquare$

It changes the scatter. Measure that by the variance summed over the entries of the gradient.

**Claim** `align.best-baseline`. Let the score not be zero with certainty. Among fixed numbers the variance of
$(f - b)\, s$ is smallest at

$$b^* = \frac{\mathbb{E} \big[ f\, |s|^2 \big]}{\mathbb{E}\, |s|^2} \qquad \text{(E3)}$$

and nowhere else; at $b$ it is larger by $(b - b^*)^2\, \mathbb{E}\, |s|^2$.

**Proof.** The mean is the same for all $b$ (`align.baseline`), so the variance is $\mathbb{E} \big[ (f - b)^2 |s|^2
\big]$ less something fixed. As a function of $b$ that is
$b^2\, \mathbb{E} |s|^2 - 2 b\, \mathbb{E} [f |s|^2] + \mathbb{E} [f^2 |s|^2]$. Complete the square:
$(b - b^*)^2\, \mathbb{E} |s|^2$ plus terms without $b$. $\blacksquare$

The mean reward is not $b^*$: it forgets that rare responses have long scores and matter more. It is cheap, and what
variance it leaves is far less than there was:

>>> world = World(np.array([[0.7, 0.2, 0.1]]), np.array([[10.0, 11.0, 12.0]]))
>>> scores = np.log(world.reference)
>>> best = float(best_baseline(scores, world.rewards)[0])
>>> mean = world.expected_reward(world.reference)
>>> round(best, 3), round(mean, 3)
(11.078, 10.4)
>>> [round(float(gradient_variance(scores, world.rewards, b)[0]), 3) for b in (0.0, mean, best)]
[56.566, 0.322, 0.111]

**Claim** `align.leave-one-out`. Draw $n \ge 2$ independent responses and let $b_i$ be the mean of the other $n - 1$
values $f(y_j)$. Then $\frac1n \sum_i (f(y_i) - b_i)\, s(y_i)$ has the mean $\mathbb{E} [f s]$. With the mean of all
$n$, $\bar f$, in place of $b_i$ it has the mean $\frac{n - 1}{n}\, \mathbb{E} [f s]$.

**Proof.** $b_i$ is a function of the others, which are independent of $y_i$: `align.baseline` for each $i$. For the
second, $f(y_i) - \bar f = f(y_i) - \frac1n f(y_i) - \frac{n - 1}{n} b_i = \frac{n - 1}{n} \big( f(y_i) - b_i \big)$.
$\blacksquare$

So subtracting the group's own mean only shortens the step, by a known factor.

## Credit to tokens

A response is a sequence of tokens $a_1, \dots, a_T$, each drawn given the **state** $x_t$, which is the prompt and the
tokens before, and there may be a reward $r_t$ for each, a function of the tokens up to and including $a_t$. Then $\ln
\pi(y) = \sum_t \ln \pi(a_t \mid x_t)$, the score is a sum of scores $s_t$, and $f = \sum_t r_t$. (Shorter responses are
filled up with steps that have no choice and no reward.)

**Claim** `align.reward-to-go`. With any function $b(x_t)$ of the state,

$$
\mathbb{E} \Big[ \sum_t r_t \sum_t s_t \Big]
= \mathbb{E} \Big[ \sum_t s_t\, \Big( \sum_{u \ge t} r_u - b(x_t) \Big) \Big]. \qquad \text{(E4)}
$$

**Proof.** Given $x_t$, `align.score-mean` for the distribution of the next token says that $s_t$ has the mean zero. A
number $g(x_t)$ that the state fixes is constant then, so $\mathbb{E} [g(x_t)\, s_t \mid x_t] = 0$, and by
`markov.total-probability`, summing over the states with their probabilities, $\mathbb{E} [g(x_t)\, s_t] = 0$. Take
$g = b$, and $g = \sum_{u < t} r_u$, which are rewards of tokens that the state contains. So
$\mathbb{E} \big[ s_t \sum_u r_u \big] = \mathbb{E} \big[ s_t \big( \sum_{u \ge t} r_u - b(x_t) \big) \big]$; sum over
$t$. $\blacksquare$

A token gets no credit for what was earned before it. That is the idea of `fp_align.ppo`, with a trained $b$.

## In practice

R. Williams (1992) named REINFORCE; R. Sutton and others (1999) have the theorem for long runs of decisions. The
leave-one-out baseline (W. Kool and others, 2019) is RLOO in alignment (A. Ahmadian and others, 2024), and GRPO divides
the group's differences by their deviation too, which weights prompts by how alike their answers are. Dividing by a
response's own length, as many programs do, is no longer (E2) for any reward.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fp_align.exact import Real, Table, World
from fp_autograd.rules import where
from fp_autograd.tracing import Operand, value_of

__all__ = [
    "reinforce_loss",
    "leave_one_out",
    "rewards_to_go",
    "best_baseline",
    "gradient_variance",
    "World",
]  # the order of the page


def reinforce_loss(
    log_probabilities: Operand,
    advantages: Float[np.ndarray, "*shape"],
    mask: Bool[np.ndarray, "*shape"] | None = None,
) -> Any:
    r"""
    Minus the mean of $f(y) \ln \pi(y)$, whose gradient is minus the estimate of (E2).

    Parameters
    ----------
    log_probabilities
        Of the sampled responses, of shape (B,), or of their tokens, (B, T).
    advantages
        $f - b$ for each, of the same shape; numbers.
    mask
        Which tokens count; all by default.

    Returns
    -------
    ndarray or Tensor
        One number. It is no loss that should fall: only its gradient means something.

    Raises
    ------
    ValueError
        If the shapes differ, or there is no response.

    Examples
    --------
    >>> float(reinforce_loss(np.log(np.array([0.5, 0.25])), np.array([1.0, -1.0])).round(4))
    -0.3466
    """
    shape = np.shape(value_of(log_probabilities))
    if shape != advantages.shape or not shape or not shape[0] or (mask is not None and mask.shape != shape):
        raise ValueError(
            f"log-probabilities, advantages{'' if mask is None else ' and mask'} have one shape, of one response or "
            f"more; got {shape}, {advantages.shape}{'' if mask is None else f' and {mask.shape}'}"
        )
    if mask is not None:
        log_probabilities = where(mask, log_probabilities, np.zeros_like(value_of(log_probabilities)))
    return -(log_probabilities * advantages).sum() / shape[0]


def leave_one_out(values: Float[np.ndarray, "X n"]) -> Float[np.ndarray, "X n"]:
    """
    Each value less the mean of the others of its row (`align.leave-one-out`).

    Parameters
    ----------
    values
        Of `n` responses to each prompt, at least two.

    Returns
    -------
    ndarray
        Advantages; each row sums to zero.

    Raises
    ------
    ValueError
        If there are fewer than two responses.

    Examples
    --------
    >>> leave_one_out(np.array([[1.0, 2.0, 6.0]]))
    array([[-3. , -1.5,  4.5]])
    """
    n = values.shape[1]
    if n < 2:
        raise ValueError(f"the mean of the others needs two responses to a prompt or more, got {n}: draw more of each")
    return np.asarray((values - values.mean(axis=1, keepdims=True)) * (n / (n - 1)))


def rewards_to_go(rewards: Float[np.ndarray, "B T"], gamma: Real = 1.0) -> Float[np.ndarray, "B T"]:
    r"""
    $\sum_{u \ge t} \gamma^{u - t} r_u$: what is still to come (E4).

    Parameters
    ----------
    rewards
        Of each token; zeros where a short response is filled up.
    gamma
        How much less the next token's reward counts, from 0 to 1; 1 is (E4).

    Returns
    -------
    ndarray
        Of the same shape.

    Raises
    ------
    ValueError
        If `gamma` is out of range.

    Examples
    --------
    >>> rewards_to_go(np.array([[1.0, 0.0, 5.0]]))
    array([[6., 5., 5.]])
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma, how much the next token's reward counts, lies between 0 and 1, got {gamma}")
    out = np.array(rewards)
    for t in range(out.shape[1] - 2, -1, -1):
        out[:, t] += gamma * out[:, t + 1]
    return out


def best_baseline(scores: Table, values: Table) -> Float[np.ndarray, " X"]:
    """
    The number (E3) for each prompt, for a policy that is the softmax of the scores, in these scores.

    Parameters
    ----------
    scores
        A row for each prompt.
    values
        $f$ for each prompt and response.

    Returns
    -------
    ndarray
        In the unit of the values.
    """
    p, weight = _weights(scores)
    return np.asarray((p * weight * values).sum(axis=1) / (p * weight).sum(axis=1))


def gradient_variance(scores: Table, values: Table, baseline: Real) -> Float[np.ndarray, " X"]:
    r"""
    The variance of $(f - b)\, s$, summed over the entries, as a sum over all responses.

    Parameters
    ----------
    scores, values
        As for `best_baseline`.
    baseline
        $b$.

    Returns
    -------
    ndarray
        One number for each prompt.
    """
    p, weight = _weights(scores)
    mean = p * (values - (p * values).sum(axis=1, keepdims=True))  # of every baseline
    return np.asarray((p * weight * (values - baseline) ** 2).sum(axis=1) - (mean**2).sum(axis=1))


def _weights(scores: Table) -> tuple[Table, Table]:
    """Probabilities, and the squared lengths of the scores of the responses: 1 - 2 p(y) + the sum of all p squared."""
    p = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
    return p, 1 - 2 * p + (p**2).sum(axis=1, keepdims=True)
