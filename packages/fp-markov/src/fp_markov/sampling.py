r"""
Sampling: from scores to one token.

A model ends in **logits**: real scores $z \in \mathbb{R}^V$, one for each token of the vocabulary. This section
reshapes them (temperature), cuts away the tokens that are not worth a risk (top-k, top-p) and draws. Every later stage
that generates text calls these functions; there is no second implementation.

You need: `fp_markov.information`.

Softmax makes scores a distribution, and a cut token is one whose score is $-\infty$, since $e^{-\infty} = 0$:

$$p_i = \frac{e^{z_i}}{\sum_j e^{z_j}}. \qquad \text{(E1)}$$

So every step below is a function from logits to logits, steps compose, and one function at the end draws. A constant
added to all logits cancels in (E1); subtracting the largest makes every exponent zero or less, and nothing overflows.

## Temperature

$$p_i(T) \propto e^{z_i / T}, \qquad \frac{p_i(T)}{p_j(T)} = e^{(z_i - z_j) / T}, \qquad T > 0. \qquad \text{(E2)}$$

Below $T = 1$ the ratios between likely and unlikely tokens grow, above it they shrink; the order never changes.

**Claim** `markov.temperature-limits`. Let $z$ be finite, let $m$ be its maximum and $M$ the set of tokens with
$z_i = m$. As $T \to 0$, $p(T)$ tends to the uniform distribution on $M$; as $T \to \infty$, to the uniform
distribution on all tokens.

**Proof.** Subtract $m$ from all logits: $p_i(T) = e^{-d_i / T} / \sum_j e^{-d_j / T}$ with $d_i = m - z_i \ge 0$. As
$T \to 0$ the terms with $d_i = 0$, those of $M$, stay $1$ and the others vanish, so the sum tends to $|M|$ and $p_i$
to $1/|M|$ on $M$ and $0$ elsewhere. As $T \to \infty$ every exponent tends to $0$, every term to $1$ and the sum to
$V$. $\blacksquare$

(E2) divides by $T$, so $T = 0$ itself is no setting of `temperature`: its limit is `greedy`, up to ties, of which
`greedy` takes the lowest id so that it is deterministic.

## Cutting the tail

A model's small probabilities are its worst estimates, and there are thousands of them: together they derail a text
every few sentences. **Top-k** keeps the $k$ most likely tokens; **top-p** keeps the most likely tokens until their
mass reaches $p$, few where the model is sure and many where it is not. What is kept is renormalised by (E1).

**Claim** `markov.truncation-kl`. Let $S$ be a set of tokens with $p(S) = \sum_{i \in S} p_i > 0$, and $p_S$ the
distribution $p_i / p(S)$ on $S$. Among all distributions $q$ supported in $S$, $p_S$ alone minimises $D(q \,\|\, p)$,
at the value $-\ln p(S)$.

**Proof.** If $q$ puts mass where $p$ has none, both divergences below are infinite. Otherwise $p_i = p(S)\, p_{S,i}$
on $S$, so

$$
D(q \,\|\, p) = \sum_{i \in S} q_i \ln \frac{q_i}{p_i}
  = \sum_{i \in S} q_i \ln \frac{q_i}{p_{S,i}} - \ln p(S)
  = D(q \,\|\, p_S) - \ln p(S),
$$

and by `markov.gibbs` the divergence on the right is $0$ for $q = p_S$ and positive for every other $q$. $\blacksquare$

Renormalising is thus the smallest change, measured in nats, that keeps to $S$. And the formula says which $S$ of a
given size to keep: the likeliest, whose $p(S)$ is largest.

**Claim** `markov.top-p-smallest`. Let $0 < p \le 1$ and let top-p keep the shortest prefix, in order of falling
probability, whose mass is at least $p$. No set with fewer tokens has mass at least $p$.

**Proof.** Say it keeps $k$ tokens. Among all sets of $k - 1$ tokens the one with the $k - 1$ largest probabilities has
the largest mass: exchanging a member for a likelier token outside never lowers the mass, and finitely many exchanges
lead to it. That set is the prefix of length $k - 1$, whose mass is below $p$ by the choice of $k$; so every set of
$k - 1$ tokens, and every smaller one, falls short. $\blacksquare$

Top-p depends on the temperature before it, top-k does not (the order stays): hence one fixed order in `draw`,
temperature, top-k, top-p.

## Drawing

Let $F_i = p_0 + \dots + p_i$, with $F_{-1} = 0$, and let $U$ be uniform on $[0, 1)$. Return the first $i$ with
$F_i > U$. (E3)

**Claim** `markov.inverse-cdf`. (E3) returns token $i$ with probability $p_i$; a token of probability zero is never
returned.

**Proof.** $F$ never falls, so the first $i$ with $F_i > U$ is the $i$ with $F_{i-1} \le U < F_i$. It exists because
$F_{V-1} = 1 > U$. That interval lies in $[0, 1)$ and has length $p_i$, which is the probability that $U$ falls into
it. If $p_i = 0$ it is empty. $\blacksquare$

In floating point the sums are rounded, yet $F_{i-1} = F_i$ still holds exactly where $p_i = 0$. Instead of dividing by
the total $F_{V-1}$, the code multiplies $U$ by it: NumPy's $U$ is at most $1 - 2^{-53}$, and $(1 - 2^{-53}) F$ lies at
least half a unit in the last place of $F$ below it, so it rounds to less than $F$ and a token is always found.

## In practice

Servers add penalties for repetition and a minimum probability relative to the largest (`min-p`). Greedy decoding is
for answers that are checked; its prose loops. Drawing costs one pass over the vocabulary, top-p one sort of it: next
to the matrix products that made the logits neither matters.
"""

import numpy as np
from jaxtyping import Float, Int

__all__ = ["temperature", "top_k", "top_p", "greedy", "sample", "draw"]  # the order of the page

Real = float | int  # run-time type checks do not take an int, such as a temperature of 0, for a float


def temperature(logits: Float[np.ndarray, "*batch V"], t: Real) -> Float[np.ndarray, "*batch V"]:
    """
    Logits of the distribution at temperature `t` (E2), with the largest moved to zero.

    Parameters
    ----------
    logits
        Scores; minus infinity where a token is cut.
    t
        Positive and finite; 1 changes nothing.

    Returns
    -------
    ndarray
        New logits of the same shape and dtype.

    Raises
    ------
    ValueError
        If `t` is not positive and finite, or if logits are NaN, plus infinity, or all cut.

    Examples
    --------
    >>> temperature(np.array([1.0, 3.0]), 0.5)
    array([-4.,  0.])
    """
    if not 0 < t < np.inf:
        raise ValueError(f"the temperature must be positive and finite, got {t}. For the limit 0 use greedy.")
    shifted: np.ndarray = logits - _largest(logits)
    with np.errstate(over="ignore"):  # at a tiny temperature a score far below the largest may reach -inf, as it should
        shifted /= t
    return shifted


def top_k(logits: Float[np.ndarray, "*batch V"], k: int) -> Float[np.ndarray, "*batch V"]:
    """
    Cut all but the `k` most likely tokens. Of equal ones at the border the lower ids stay.

    Parameters
    ----------
    logits
        Scores; minus infinity where a token is cut already.
    k
        How many to keep, from 1 to V.

    Returns
    -------
    ndarray
        New logits of the same shape and dtype.

    Raises
    ------
    ValueError
        If `k` is below 1 or above V, or if logits are NaN, plus infinity, or all cut.

    Examples
    --------
    >>> top_k(np.array([0.0, 2.0, 1.0, 1.0]), 2)
    array([-inf,   2.,   1., -inf])
    """
    _largest(logits)
    V = logits.shape[-1]
    if not 1 <= k <= V:
        raise ValueError(
            f"top_k must lie between 1 and the vocabulary's {V} tokens, got {k}. Leave it out to keep all."
        )
    border = np.partition(logits, V - k, axis=-1)[..., V - k, None]  # the k-th largest
    above, equal = logits > border, logits == border
    room = k - above.sum(axis=-1, keepdims=True)
    keep = above | (equal & (np.cumsum(equal, axis=-1) <= room))
    return np.where(keep, logits, logits.dtype.type(-np.inf))


def top_p(logits: Float[np.ndarray, "*batch V"], p: Real) -> Float[np.ndarray, "*batch V"]:
    """
    Keep the smallest set of tokens whose mass is at least `p` (`markov.top-p-smallest`); lower ids first among equals.

    Parameters
    ----------
    logits
        Scores; minus infinity where a token is cut already.
    p
        Mass to keep, in (0, 1]; 1 keeps everything.

    Returns
    -------
    ndarray
        New logits of the same shape and dtype.

    Raises
    ------
    ValueError
        If `p` lies outside (0, 1], or if logits are NaN, plus infinity, or all cut.

    Examples
    --------
    >>> top_p(np.log(np.array([0.125, 0.5, 0.375])), 0.6).round(3)
    array([  -inf, -0.693, -0.981])
    """
    largest = _largest(logits)
    if not 0 < p <= 1:
        raise ValueError(f"top_p is a probability mass in (0, 1], got {p}. Leave it out to keep all tokens.")
    if p == 1:
        return logits.copy()  # a rounded sum could reach 1 before the last token
    order = np.argsort(-logits, axis=-1, kind="stable")
    F = np.cumsum(np.exp(np.take_along_axis(logits, order, -1) - largest), axis=-1, dtype=np.float64)
    keep = np.ones(logits.shape, bool)  # a token stays while the mass before it falls short; the first always does
    keep[..., 1:] = F[..., :-1] < p * F[..., -1:]
    cut = np.empty_like(keep)
    np.put_along_axis(cut, order, ~keep, axis=-1)
    return np.where(cut, logits.dtype.type(-np.inf), logits)


def greedy(logits: Float[np.ndarray, "*batch V"]) -> Int[np.ndarray, "*batch"]:
    """
    The most likely token; of equal ones the lowest id.

    Parameters
    ----------
    logits
        Scores.

    Returns
    -------
    ndarray
        Ids, one for each row.

    Raises
    ------
    ValueError
        If logits are NaN, plus infinity, or all cut.

    Examples
    --------
    >>> greedy(np.array([[0.0, 5.0, 5.0], [2.0, 1.0, 0.0]]))
    array([1, 0])
    """
    _largest(logits)
    return np.asarray(logits.argmax(axis=-1))


def sample(logits: Float[np.ndarray, "*batch V"], rng: np.random.Generator) -> Int[np.ndarray, "*batch"]:
    """
    Draw one token from the softmax of each row, exactly (`markov.inverse-cdf`).

    Parameters
    ----------
    logits
        Scores; minus infinity where a token is cut.
    rng
        Source of one uniform number for each row.

    Returns
    -------
    ndarray
        Ids, one for each row.

    Raises
    ------
    ValueError
        If logits are NaN, plus infinity, or all cut.

    Examples
    --------
    >>> sample(np.array([[-np.inf, 0.0], [0.0, -np.inf]]), np.random.default_rng(0))
    array([1, 0])
    """
    return _first_above(logits, rng.random(logits.shape[:-1]))


def draw(
    logits: Float[np.ndarray, "*batch V"],
    rng: np.random.Generator,
    temperature: Real = 1.0,
    top_k: int | None = None,
    top_p: Real | None = None,
) -> Int[np.ndarray, "*batch"]:
    """
    Draw one token a row: temperature, then top-k, then top-p, then `sample`; `greedy` at temperature zero.

    Parameters
    ----------
    logits
        Scores, as a model gives them.
    rng
        Source of randomness; left untouched at temperature zero.
    temperature
        Zero or more; 0 is greedy, 1 is the model's own distribution.
    top_k
        Keep this many tokens at most; `None` keeps all.
    top_p
        Keep this much mass; `None` keeps all.

    Returns
    -------
    ndarray
        Ids, one for each row.

    Raises
    ------
    ValueError
        If a setting lies outside its range, or if logits are NaN, plus infinity, or all cut.

    Examples
    --------
    >>> logits = np.log(np.array([0.1, 0.6, 0.3]))
    >>> int(draw(logits, np.random.default_rng(0), temperature=0))
    1
    """
    if temperature != 0:
        logits = _by_temperature(logits, temperature)
    if top_k is not None:
        logits = _to_top_k(logits, top_k)
    if top_p is not None:
        logits = _to_top_p(logits, top_p)
    return greedy(logits) if temperature == 0 else sample(logits, rng)


_by_temperature, _to_top_k, _to_top_p = temperature, top_k, top_p  # inside `draw` its settings hide these names


def _first_above(
    logits: Float[np.ndarray, "*batch V"], u: Real | Float[np.ndarray, "*batch"]
) -> Int[np.ndarray, "*batch"]:
    """(E3) at given uniform numbers."""
    F = np.cumsum(np.exp(logits - _largest(logits)), axis=-1, dtype=np.float64)
    # F never falls, so the first i with F_i > u F_total is the number of those that are not above it
    return np.asarray((np.asarray(u)[..., None] * F[..., -1:] >= F).sum(axis=-1))


def _largest(logits: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch 1"]:
    """The largest logit of each row, after the checks that all functions share."""
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits need a last axis of at least one token, got shape {logits.shape}")
    largest: np.ndarray = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(largest).all():
        if np.isnan(largest).any():
            raise ValueError("logits must be numbers, got NaN. Has the model diverged?")
        if (largest == np.inf).any():
            raise ValueError("logits must be below plus infinity, which has no softmax. Has the model overflowed?")
        raise ValueError("a row of logits is minus infinity throughout: every token is cut, so none can be drawn")
    return largest
