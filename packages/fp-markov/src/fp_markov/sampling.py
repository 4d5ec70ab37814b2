r"""
Sampling: from scores to one token.

A model ends in **logits**: real scores $z \in \mathbb{R}^V$, one for each token of the vocabulary. This section
reshapes them (temperature), cuts away the tokens that are not worth a risk (top-k, top-p, min-p) and draws. Every later
stage that generates text calls these functions; there is no second implementation.

You need: `fp_markov.mathematics` for slopes and the exponential, `fp_markov.information`.

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

Why exponentials, of all ways to favour high scores? Because they do it with the least prejudice. Let $z$ be finite,
$Z(T) = \sum_j e^{z_j / T}$, and let $q$ be any distribution over the tokens. By (E2)
$\ln p_i(T) = z_i / T - \ln Z(T)$, and so

$$
D(q \,\|\, p(T)) = -H(q) - \sum_i q_i \ln p_i(T) = -H(q) - \frac{1}{T} \sum_i q_i z_i + \ln Z(T).
\qquad \text{(E3)}
$$

**Claim** `markov.temperature-max-entropy`. Let $z$ be finite and $T > 0$. Among all distributions $q$ whose mean score
$\sum_i q_i z_i$ is at least that of $p(T)$, $p(T)$ alone has the greatest entropy. Among all distributions whatever,
$p(T)$ alone maximises $\sum_i q_i z_i + T H(q)$, at the value $T \ln Z(T)$.

**Proof.** Write (E3) for $q$ and for $p(T)$ itself, where the left side is $0$, and subtract:

$$D(q \,\|\, p(T)) = H(p(T)) - H(q) - \frac{1}{T} \Big( \sum_i q_i z_i - \sum_i p_i(T)\, z_i \Big).$$

If the bracket is not negative, $H(q) \le H(p(T)) - D(q \,\|\, p(T))$, and by `markov.gibbs` that is below $H(p(T))$
unless $q = p(T)$. For the second statement (E3) times $T$ says
$\sum_i q_i z_i + T H(q) = T \ln Z(T) - T D(q \,\|\, p(T))$, and again $D$ is $0$ for $q = p(T)$ and positive for every
other $q$. $\blacksquare$

Lagrange's multipliers find the same candidate, $\partial / \partial q_i$ of
$H(q) + \beta \sum_i q_i z_i + \lambda \sum_i q_i$ being zero where $\ln q_i = \beta z_i + \lambda - 1$, with
$\beta = 1/T$; the divergence proves that it is the maximum. $T$ is a price: the score that one nat of entropy is worth.

**Claim** `markov.temperature-entropy`. Let $z$ be finite, $m(T) = \sum_i p_i(T)\, z_i$ the mean score,
$v(T) = \sum_i p_i(T) (z_i - m(T))^2$ its variance and $H(T)$ the entropy of $p(T)$. Then for all $T > 0$

$$\frac{dm}{dT} = -\frac{v}{T^2}, \qquad \frac{dH}{dT} = \frac{v}{T^3}. \qquad \text{(E4)}$$

Unless all logits are equal, the mean score strictly falls and the entropy strictly rises with $T$.

**Proof.** The slope of $z_i / T$ is $-z_i / T^2$, so by the chain rule that of $e^{z_i / T}$ is
$-\frac{z_i}{T^2} e^{z_i / T}$. Sum and divide by $Z$: the slope of $\ln Z$ is
$-\frac{1}{T^2} \sum_i z_i p_i = -m / T^2$. Hence $\ln p_i = z_i / T - \ln Z$ has the slope $-(z_i - m) / T^2$, and
since the slope of $\ln p_i$ is that of $p_i$ divided by $p_i$,

$$\frac{dp_i}{dT} = -\frac{p_i\, (z_i - m)}{T^2}.$$

Multiply by $z_i$ and sum:
$\frac{dm}{dT} = -\frac{1}{T^2} \sum_i p_i (z_i - m) z_i = -\frac{1}{T^2} \sum_i p_i (z_i - m)(z_i - m) = -v / T^2$, for
$\sum_i p_i (z_i - m)\, m = (m - m)\, m = 0$. The mean of $-\ln p_i = \ln Z - z_i / T$ is $H = \ln Z - m / T$, and by
the product rule

$$\frac{dH}{dT} = -\frac{m}{T^2} - \frac{1}{T} \frac{dm}{dT} + \frac{m}{T^2} = \frac{v}{T^3}.$$

All $p_i$ are positive, so $v = 0$ only if every $z_i$ is $m$. Otherwise $v > 0$ at every $T$, and a function whose
slope is positive everywhere strictly rises, one whose slope is negative everywhere strictly falls. $\blacksquare$

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

**Min-p** asks each token alone: it keeps those at least $p$ times as likely as the likeliest.

$$p_i \ge p\, \max_j p_j, \qquad \text{that is} \qquad z_i \ge \max_j z_j + \ln p, \qquad 0 < p \le 1.
\qquad \text{(E5)}$$

**Claim** `markov.min-p`. (a) The two conditions in (E5) are the same. (b) If other tokens are cut first, but not all of
the likeliest, min-p keeps the same of those that are left. (c) If the likeliest token has probability $p_1$, min-p
keeps at most $1 / (p\, p_1)$ tokens. (d) Min-p with $p$ after temperature $T$ keeps the tokens that min-p with $p^T$
would keep before it.

**Proof.** (a) By (E1) $p_i / p_j = e^{z_i - z_j}$. With $j$ a likeliest token, $p_i / p_j \ge p$ if and only if
$z_i - z_j \ge \ln p$, since the logarithm strictly rises. (b) The right condition in (E5) contains $z_i$ and the
largest logit, and a cut that leaves a likeliest token changes neither. (c) Each of the $K$ kept tokens has at least
$p\, p_1$, and together they have at most one: $K p\, p_1 \le 1$. (d) After the temperature the right condition is
$z_i / T \ge \max_j z_j / T + \ln p$; times $T$ it is (E5) with $T \ln p = \ln p^T$. $\blacksquare$

So where the model is sure min-p keeps few tokens, as top-p does, but in a long flat tail it keeps none that is far
below the top, however many of them there are.

In `draw` the order is fixed: temperature, top-k, top-p, min-p. Temperature comes first because the masses of top-p and
the ratios of min-p are meant to be those of the distribution that is drawn from. Top-k before top-p makes the mass that
of the $k$ tokens left. Min-p comes last because by (b) nothing before it disturbs it, as none of these cuts away the
likeliest token; before top-p it would raise the share of the tokens that it leaves, and top-p would cut more of them.

## Drawing

Let $F_i = p_0 + \dots + p_i$, with $F_{-1} = 0$, and let $U$ be uniform on $[0, 1)$. Return

$$\text{the first } i \text{ with } F_i > U. \qquad \text{(E6)}$$

**Claim** `markov.inverse-cdf`. (E6) returns token $i$ with probability $p_i$; a token of probability zero is never
returned.

**Proof.** $F$ never falls, so the first $i$ with $F_i > U$ is the $i$ with $F_{i-1} \le U < F_i$. It exists because
$F_{V-1} = 1 > U$. That interval lies in $[0, 1)$ and has length $p_i$, which is the probability that $U$ falls into
it. If $p_i = 0$ it is empty. $\blacksquare$

In floating point the sums are rounded, yet $F_{i-1} = F_i$ still holds exactly where $p_i = 0$. Instead of dividing by
the total $F_{V-1}$, the code multiplies $U$ by it: NumPy's $U$ is at most $1 - 2^{-53}$, and $(1 - 2^{-53}) F$ lies at
least half a unit in the last place of $F$ below it, so it rounds to less than $F$ and a token is always found.

Another way draws without sums. Add to each logit its own noise and take the largest:

$$\arg\max_i\, (z_i + G_i), \qquad G_i = -\ln(-\ln U_i), \qquad U_i \text{ independent and uniform on } (0, 1).
\qquad \text{(E7)}$$

$G \le x$ means $-\ln U \ge e^{-x}$, that is $U \le e^{-e^{-x}}$: $P(G \le x) = e^{-e^{-x}}$, **Gumbel's** distribution.

**Claim** `markov.gumbel-max`. If not all tokens are cut, (E7) is token $i$ with probability $e^{z_i} / \sum_j e^{z_j}$,
where a cut token, with $z_i = -\infty$, never wins; two tokens share the maximum with probability zero.

**Proof.** Leave out the cut tokens, whose sum in (E7) is $-\infty$ and loses to every finite one. Let $w_i = e^{z_i}$,
$W = \sum_j w_j$ and $X_i = -\ln U_i / w_i$. Then $z_i + G_i = \ln w_i - \ln(-\ln U_i) = -\ln X_i$, which falls as $X_i$
rises: the largest sum is the smallest $X_i$. For $t \ge 0$

$$P(X_i \ge t) = P(U_i \le e^{-w_i t}) = e^{-w_i t}.$$

So (E7) is a race: $X_i$ is a waiting time, and the first arrival wins. Choose a short $h > 0$ and cut time into slots
$[kh, (k+1)h)$, $k = 0, 1, 2, \dots$ Token $i$ arrives in slot $k$ with probability
$e^{-w_i k h} - e^{-w_i (k+1) h} = e^{-w_i k h} (1 - e^{-w_i h})$. If it is alone the first, and arrives in slot $k$,
the others arrive at $kh$ or later; if the others arrive at $(k+1)h$ or later, it is alone the first. All are
independent, so with $\sum_{j \ne i} w_j = W - w_i$

$$
\sum_{k \ge 0} e^{-w_i k h} (1 - e^{-w_i h})\, e^{-(W - w_i)(k+1) h} \;\le\; P(i \text{ alone is first})
  \;\le\; \sum_{k \ge 0} e^{-w_i k h} (1 - e^{-w_i h})\, e^{-(W - w_i) k h}.
$$

On the right stands $(1 - e^{-w_i h})$ times the geometric series $\sum_k e^{-W k h} = 1 / (1 - e^{-W h})$; on the left
the same times $e^{-(W - w_i) h}$, which tends to $1$ as $h \to 0$. The exponential has slope $1$ at $0$, so
$(1 - e^{-a h}) / h$ tends to $a$, and

$$\frac{1 - e^{-w_i h}}{1 - e^{-W h}} = \frac{(1 - e^{-w_i h}) / h}{(1 - e^{-W h}) / h} \to \frac{w_i}{W}.$$

The probability in the middle does not depend on $h$ and lies between two numbers that both tend to $w_i / W$: it is
$w_i / W$. Over all tokens these probabilities sum to one, which leaves zero for a shared first place. $\blacksquare$

Each row of (E6) takes one uniform number and a running sum; (E7) takes $V$ numbers and only compares, so it can be
split over machines that hold a part of the vocabulary each. In floating point both resolve probabilities down to about
$2^{-53}$, the step between the values that $U$ takes.

## In practice

Servers offer these four settings, in this order or with min-p earlier, and add penalties for repetition. Greedy
decoding is for answers that are checked; its prose loops. Drawing costs one pass over the vocabulary, top-p one sort of
it: next to the matrix products that made the logits neither matters. Gumbel noise also draws $k$ different tokens at
once (the $k$ largest sums), and gives gradients to a discrete choice when its maximum is softened.

References: A. Fan and others, 2018, for top-k; A. Holtzman and others, 2020, for top-p; M. Nguyen and others, 2024, for
min-p; E. Gumbel, 1954, and C. Maddison, D. Tarlow and T. Minka, 2014, for (E7); E. Jaynes, 1957, for maximum entropy.
"""

import numpy as np
from jaxtyping import Float, Int

__all__ = ["temperature", "top_k", "top_p", "min_p", "greedy", "sample", "gumbel_max", "draw"]  # the order of the page

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
    TypeError
        If logits are no floating-point numbers.

    Examples
    --------
    >>> temperature(np.array([1.0, 3.0]), 0.5)
    array([-4.,  0.])
    """
    if not 0 < t < np.inf:
        raise ValueError(f"the temperature must be positive and finite, got {t}. For the limit 0 use greedy.")
    shifted = _shifted(logits)
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
    TypeError
        If logits are no floating-point numbers.

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
    TypeError
        If logits are no floating-point numbers.

    Examples
    --------
    >>> top_p(np.log(np.array([0.125, 0.5, 0.375])), 0.6).round(3)
    array([  -inf, -0.693, -0.981])
    """
    shifted = _shifted(logits)
    if not 0 < p <= 1:
        raise ValueError(f"top_p is a probability mass in (0, 1], got {p}. Leave it out to keep all tokens.")
    if p == 1:
        return logits.copy()  # a rounded sum could reach 1 before the last token
    order = np.argsort(-logits, axis=-1, kind="stable")
    F = np.cumsum(np.exp(np.take_along_axis(shifted, order, -1)), axis=-1, dtype=np.float64)
    keep = np.ones(logits.shape, bool)  # a token stays while the mass before it falls short; the first always does
    keep[..., 1:] = F[..., :-1] < p * F[..., -1:]
    cut = np.empty_like(keep)
    np.put_along_axis(cut, order, ~keep, axis=-1)
    return np.where(cut, logits.dtype.type(-np.inf), logits)


def min_p(logits: Float[np.ndarray, "*batch V"], p: Real) -> Float[np.ndarray, "*batch V"]:
    """
    Cut the tokens less than `p` times as likely as the likeliest (E5).

    Parameters
    ----------
    logits
        Scores; minus infinity where a token is cut already.
    p
        Share of the largest probability, in (0, 1]; 1 keeps the likeliest and its equals only.

    Returns
    -------
    ndarray
        New logits of the same shape and dtype.

    Raises
    ------
    ValueError
        If `p` lies outside (0, 1], or if logits are NaN, plus infinity, or all cut.
    TypeError
        If logits are no floating-point numbers.

    Examples
    --------
    >>> min_p(np.log(np.array([0.125, 0.5, 0.375])), 0.5).round(3)
    array([  -inf, -0.693, -0.981])
    """
    shifted = _shifted(logits)
    if not 0 < p <= 1:
        raise ValueError(f"min_p is a share of the largest probability, in (0, 1], got {p}. Leave it out to keep all.")
    return np.where(shifted >= np.log(p), logits, logits.dtype.type(-np.inf))


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
    TypeError
        If logits are no floating-point numbers.

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
    TypeError
        If logits are no floating-point numbers.

    Examples
    --------
    >>> sample(np.array([[-np.inf, 0.0], [0.0, -np.inf]]), np.random.default_rng(0))
    array([1, 0])
    """
    return _first_above(logits, rng.random(logits.shape[:-1]))


def gumbel_max(logits: Float[np.ndarray, "*batch V"], rng: np.random.Generator) -> Int[np.ndarray, "*batch"]:
    """
    Draw one token from the softmax of each row, exactly, as the largest of its noisy logits (`markov.gumbel-max`).

    Parameters
    ----------
    logits
        Scores; minus infinity where a token is cut.
    rng
        Source of one Gumbel number for each logit.

    Returns
    -------
    ndarray
        Ids, one for each row.

    Raises
    ------
    ValueError
        If logits are NaN, plus infinity, or all cut.
    TypeError
        If logits are no floating-point numbers.

    Examples
    --------
    >>> gumbel_max(np.array([[-np.inf, 0.0], [0.0, -np.inf]]), np.random.default_rng(0))
    array([1, 0])
    """
    # shifted, the logits that can win are small numbers, and adding to them rounds little of the noise away
    return np.asarray((_shifted(logits) + rng.gumbel(size=logits.shape)).argmax(axis=-1))  # (E7)


def draw(
    logits: Float[np.ndarray, "*batch V"],
    rng: np.random.Generator,
    temperature: Real = 1.0,
    top_k: int | None = None,
    top_p: Real | None = None,
    min_p: Real | None = None,
) -> Int[np.ndarray, "*batch"]:
    """
    Draw one token a row: temperature, top-k, top-p, min-p, in this order, then `sample`; `greedy` at temperature zero.

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
    min_p
        Keep what is at least this many times as likely as the likeliest; `None` keeps all.

    Returns
    -------
    ndarray
        Ids, one for each row.

    Raises
    ------
    ValueError
        If a setting lies outside its range, or if logits are NaN, plus infinity, or all cut.
    TypeError
        If logits are no floating-point numbers.

    Examples
    --------
    >>> logits = np.log(np.array([0.1, 0.6, 0.3]))
    >>> int(draw(logits, np.random.default_rng(0), temperature=0))
    1
    """
    if not 0 <= temperature < np.inf:
        raise ValueError(f"the temperature must be zero or more and finite, got {temperature}. Zero is greedy.")
    if temperature != 0:
        logits = _by_temperature(logits, temperature)
    if top_k is not None:
        logits = _to_top_k(logits, top_k)
    if top_p is not None:
        logits = _to_top_p(logits, top_p)
    if min_p is not None:
        logits = _to_min_p(logits, min_p)
    return greedy(logits) if temperature == 0 else sample(logits, rng)


_by_temperature, _to_top_k, _to_top_p, _to_min_p = (
    temperature,
    top_k,
    top_p,
    min_p,
)  # inside `draw` its settings hide these names


def _first_above(
    logits: Float[np.ndarray, "*batch V"], u: Real | Float[np.ndarray, "*batch"]
) -> Int[np.ndarray, "*batch"]:
    """(E6) at given uniform numbers."""
    F = np.cumsum(np.exp(_shifted(logits)), axis=-1, dtype=np.float64)
    # F never falls, so the first i with F_i > u F_total is the number of those that are not above it
    return np.asarray((np.asarray(u)[..., None] * F[..., -1:] >= F).sum(axis=-1))


def _shifted(logits: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch V"]:
    """New logits with the largest of each row moved to zero."""
    with np.errstate(over="ignore"):  # the lowest may reach minus infinity, where its probability is zero anyway
        return np.asarray(logits - _largest(logits))


def _largest(logits: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch 1"]:
    """The largest logit of each row, after the checks that all functions share."""
    if logits.dtype.kind in "biuc":
        raise TypeError(
            f"logits are real floating-point numbers, got {logits.dtype}. Convert them: logits.astype(np.float64)."
        )
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
