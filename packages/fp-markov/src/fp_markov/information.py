r"""
Information: what an event tells, what a belief costs, and in which unit to compare two models.

A language model states a probability for each token that could come next. This section turns such a belief and what
then came into one number, and finds the least value that the number can take. Everything later in the course that is
called a loss is that number.

You need: logarithms, the area under a curve, sums over a finite set.

## One inequality

The natural logarithm of $x$ is the area under $1/t$ between $1$ and $x$, counted negative when $x < 1$.

**Claim** `markov.log-tangent`. For every $x > 0$, $\ln x \le x - 1$, with equality only at $x = 1$.

**Proof.** Let $x > 1$. Between $1$ and $x$ the curve $1/t$ lies below $1$, except at its left end, so the area under
it is smaller than that of a rectangle of height $1$ and width $x - 1$: $\ln x < x - 1$. Let $x < 1$. Between $x$ and
$1$ the curve lies above $1$, except at its right end, so that area exceeds $1 - x$; counted negative,
$\ln x < -(1 - x) = x - 1$. At $x = 1$ both sides are $0$. $\blacksquare$

## Surprisal, entropy, cross-entropy

An event of probability $p$ has **surprisal** $-\ln p$, in *nats*: nothing if it was certain, more the rarer it was.
Two independent events have probability $pq$ and surprisal $-\ln pq = -\ln p - \ln q$: surprisals add. Divided by
$\ln 2$ it is in *bits*. Let $p$ and $q$ be distributions over the same $V$ tokens, with $0 \ln 0 = 0$, the limit of
$x \ln x$ at zero.

$$
\begin{aligned}
H(p) &= -\sum_i p_i \ln p_i && \text{entropy: mean surprisal to one who believes the truth} \qquad \text{(E1)} \\
H(p, q) &= -\sum_i p_i \ln q_i && \text{cross-entropy: tokens from } p \text{, belief } q \qquad \text{(E2)} \\
D(p \,\|\, q) &= \sum_i p_i \ln \frac{p_i}{q_i} && \text{Kullback-Leibler divergence} \qquad \text{(E3)}
\end{aligned}
$$

Where $q_i = 0 < p_i$, what was thought impossible happens: (E2) and (E3) are infinite.

**Claim** `markov.gibbs`. $D(p \,\|\, q) \ge 0$ for all distributions $p$, $q$, and it is $0$ only if $p = q$.

**Proof.** If some $q_i = 0 < p_i$ then $D = \infty$. Otherwise let $S$ hold the tokens with $p_i > 0$; on it
$q_i > 0$, and

$$
-D(p \,\|\, q) = \sum_{i \in S} p_i \ln \frac{q_i}{p_i}
  \le \sum_{i \in S} p_i \Big( \frac{q_i}{p_i} - 1 \Big)
  = \sum_{i \in S} q_i - 1 \le 0,
$$

by `markov.log-tangent` with $x = q_i / p_i$, term by term. If $D = 0$, both inequalities are equalities: from the
first $q_i = p_i$ on $S$, from the second $q$ puts all its mass on $S$, so outside it $q_i = 0 = p_i$. $\blacksquare$

**Claim** `markov.cross-entropy-split`. $H(p, q) = H(p) + D(p \,\|\, q)$.

**Proof.** If some $q_i = 0 < p_i$, both sides are infinite. Otherwise, over the tokens with $p_i > 0$,
$-p_i \ln q_i = -p_i \ln p_i + p_i (\ln p_i - \ln q_i)$; sum over them. $\blacksquare$

So a loss has a floor: no belief costs less on average than $H(p)$, only $q = p$ costs that little, and whatever a
model pays above it is the divergence between the truth and its belief.

**Claim** `markov.max-entropy`. $H(p) \le \ln V$, with equality only for the uniform distribution.

**Proof.** Let $u_i = 1/V$. Then $H(p, u) = -\sum_i p_i \ln (1/V) = \ln V$ for every $p$, so by the previous two claims
$H(p) = \ln V - D(p \,\|\, u) \le \ln V$, with equality only if $p = u$. $\blacksquare$

## Perplexity

$e^{H(p, q)}$ is the **perplexity**: the number of equally likely tokens that would surprise as much, since on $V$ of
them (E1) is $\ln V$. Fair dice of six and of twenty sides have perplexities 6 and 20; a character model at 1.3 nats is
as uncertain as a die of

>>> round(perplexity(1.3), 2)
3.67

sides. It says the same as the loss, on another scale, and it inherits a trap: it is *per token*.

## One unit for every tokenizer

Let a model give a text of $N$ tokens the probability $P$. Its mean loss is $\ell = -\frac{1}{N} \ln P$. Another
tokenizer cuts the same text into fewer, larger tokens; each is then harder to guess, so $\ell$ rises although the
model may be better. But $N \ell = -\ln P$ belongs to the text. Spread it over something that tokenizers do not change,
the $B$ bytes of the text in UTF-8:

$$\text{bits per byte} = \frac{N \ell}{B \ln 2} = -\frac{\log_2 P}{B}. \qquad \text{(E4)}$$

**Claim** `markov.bits-per-byte`. Two models, over any two tokenizations of a text, that give the text the same
probability $P < 1$ have the same bits per byte. Their perplexities are the same only if the numbers of tokens are.

**Proof.** The right side of (E4) mentions the text and $P$ only. The perplexities are $e^{-\ln P / N}$ and
$e^{-\ln P / M}$; as the exponential is strictly increasing they agree only if $\ln P / N = \ln P / M$, and since
$\ln P \ne 0$ only if $N = M$. $\blacksquare$

## In practice

Papers report perplexity per token, per word or bits per byte; only the last compares models with different
vocabularies. Where a text has several tokenizations, its probability is a sum over all of them, and one of them bounds
it from below: the bits per byte that a tokenizer's own segmentation gives are then an upper bound. A compressor is a
language model and the reverse: (E4) is the size of the file that an ideal arithmetic coder would write, for each byte
of input.
"""

import math

import numpy as np
from jaxtyping import Float

__all__ = ["entropy", "cross_entropy", "kl_divergence", "perplexity", "bits_per_byte"]  # the order of the page


def entropy(p: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch"]:
    """
    Entropy (E1) of each distribution along the last axis.

    Parameters
    ----------
    p
        Distributions: not negative, each summing to one.

    Returns
    -------
    ndarray
        Nats, float64, one for each distribution.

    Raises
    ------
    ValueError
        If a row of `p` is not a distribution.

    Examples
    --------
    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).round(3)
    array([0.693, 0.   ])
    """
    return cross_entropy(p, p)


def cross_entropy(p: Float[np.ndarray, "*batch V"], q: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch"]:
    """
    Cross-entropy (E2): the mean surprisal of tokens from `p` to one who believes `q`.

    Parameters
    ----------
    p, q
        Distributions of one shape: the truth and the belief.

    Returns
    -------
    ndarray
        Nats, float64, one for each pair; infinite where `q` excludes what `p` allows.

    Raises
    ------
    ValueError
        If a row is not a distribution.

    Examples
    --------
    >>> bool(cross_entropy(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == np.inf)
    True
    """
    p, q = _distribution(p, "p"), _distribution(q, "q")
    terms = np.zeros_like(p)  # 0 ln 0 = 0: stays where p is zero
    with np.errstate(divide="ignore"):
        np.multiply(p, -np.log(q), out=terms, where=p > 0)
    return np.asarray(terms.sum(axis=-1))


def kl_divergence(p: Float[np.ndarray, "*batch V"], q: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch"]:
    """
    Kullback-Leibler divergence (E3), what believing `q` costs beyond the truth `p`.

    Parameters
    ----------
    p, q
        Distributions of one shape: the truth and the belief.

    Returns
    -------
    ndarray
        Nats, float64, not negative; infinite where `q` excludes what `p` allows.

    Raises
    ------
    ValueError
        If a row is not a distribution.

    Examples
    --------
    Not symmetric, so not a distance:

    >>> p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    >>> kl_divergence(p, q).round(3).item(), kl_divergence(q, p).round(3).item()
    (0.511, 0.368)
    """
    p, q = _distribution(p, "p"), _distribution(q, "q")
    terms = np.zeros_like(p)
    with np.errstate(divide="ignore", invalid="ignore"):  # rows with p = 0 are computed and left out
        np.multiply(p, np.log(p) - np.log(q), out=terms, where=p > 0)
    return np.asarray(np.maximum(terms.sum(axis=-1), 0.0))  # rounding may leave -1e-17 where `markov.gibbs` says 0


def perplexity(nats_per_token: float) -> float:
    """
    The number of equally likely tokens that would surprise as much.

    Parameters
    ----------
    nats_per_token
        A mean loss, an entropy or a cross-entropy.

    Returns
    -------
    float
        `exp(nats_per_token)`; infinite where that overflows.

    Raises
    ------
    ValueError
        If the loss is negative or not a number.

    Examples
    --------
    >>> round(perplexity(math.log(20)), 9)
    20.0
    """
    _check_loss(nats_per_token)
    return math.exp(nats_per_token) if nats_per_token < 709 else math.inf


def bits_per_byte(nats_per_token: float, *, n_tokens: int, n_bytes: int) -> float:
    """
    A mean loss as bits for each byte of the text (E4), which compares across tokenizers.

    Parameters
    ----------
    nats_per_token
        Mean loss over the tokens of a text.
    n_tokens
        How many tokens the mean was taken over.
    n_bytes
        How many bytes of UTF-8 those tokens stand for.

    Returns
    -------
    float
        Bits per byte.

    Raises
    ------
    ValueError
        If the loss is negative or not a number, or if there are no tokens or no bytes.

    Examples
    --------
    A uniform belief over bytes costs eight bits a byte:

    >>> round(bits_per_byte(math.log(256), n_tokens=7, n_bytes=7), 9)
    8.0
    """
    _check_loss(nats_per_token)
    if n_tokens < 1 or n_bytes < 1:
        raise ValueError(f"bits per byte need at least one token and one byte, got {n_tokens} and {n_bytes}")
    return nats_per_token * n_tokens / (n_bytes * math.log(2))


def _check_loss(nats: float) -> None:
    if not nats >= 0:
        raise ValueError(
            f"a mean loss in nats is zero or more, got {nats}. Was a log-probability passed without its minus sign?"
        )


def _distribution(p: Float[np.ndarray, "*batch V"], name: str) -> Float[np.ndarray, "*batch V"]:
    p = np.asarray(p, np.float64)
    if p.ndim == 0 or p.shape[-1] == 0:
        raise ValueError(f"{name} needs a last axis of at least one token, got shape {p.shape}")
    if not (p >= 0).all():
        raise ValueError(
            f"{name} must hold probabilities, none negative or NaN; its minimum is {p.min()}. Were logits passed?"
        )
    totals = p.sum(axis=-1)
    # 1e-5: a float32 softmax over 100,000 tokens sums to one within a few 1e-6
    if not (np.abs(totals - 1) <= 1e-5).all():
        worst = totals.flat[np.abs(totals - 1).argmax()]
        raise ValueError(f"each row of {name} must sum to one, got a row that sums to {worst:.6g}. Normalise it first.")
    return p
