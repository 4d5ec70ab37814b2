r"""
Information: what an event tells, what a belief costs, and in which unit to compare two models.

A language model states a probability for each token that could come next. This section turns such a belief and what
then came into one number, and finds the least value that the number can take. Everything later in the course that is
called a loss is that number.

You need: `fp_markov.mathematics` for logarithms and areas, `fp_markov.probability` for events and expectations.

## One inequality

The natural logarithm of $x$ is the area under $1/t$ between $1$ and $x$, counted negative when $x < 1$.

**Claim** `markov.log-tangent`. For every $x > 0$, $\ln x \le x - 1$, with equality only at $x = 1$.

**Proof.** Let $x > 1$. Between $1$ and $x$ the curve $1/t$ lies below $1$, except at its left end, so the area under
it is smaller than that of a rectangle of height $1$ and width $x - 1$: $\ln x < x - 1$. Let $x < 1$. Between $x$ and
$1$ the curve lies above $1$, except at its right end, so that area exceeds $1 - x$; counted negative,
$\ln x < -(1 - x) = x - 1$. At $x = 1$ both sides are $0$. $\blacksquare$

## Surprisal

How much does an event tell that had probability $p$? Ask two things of a measure $f(p)$. The rarer the event, the more
it tells. And two independent events, which together have probability $pq$, tell together what they tell one by one:

$$f(pq) = f(p) + f(q) \qquad \text{for all } p, q \in (0, 1]. \qquad \text{(E1)}$$

**Claim** `markov.surprisal`. Let $f : (0, 1] \to \mathbb{R}$ satisfy (E1), and let $f$ be monotone, or let $f$ be
continuous; one of the two is enough. Then $f(p) = -k \ln p$ for all $p$, with $k = f(1/e)$. If $f$ falls strictly,
$k > 0$. Conversely, for every $k > 0$ the function $-k \ln p$ satisfies (E1), falls strictly and is continuous.

**Proof.** Every $p \in (0, 1]$ is $e^{-x}$ with $x = -\ln p \ge 0$, and every $x \ge 0$ occurs. Put $g(x) = f(e^{-x})$.
Since $e^{-x} e^{-y} = e^{-(x + y)}$, (E1) becomes Cauchy's equation $g(x + y) = g(x) + g(y)$ for $x, y \ge 0$. Let
$k = g(1) = f(1/e)$.

*Rational $x$.* With $x = y = 0$, $g(0) = 2 g(0)$, so $g(0) = 0$. Adding $x$ one more time adds $g(x)$ one more time, so
by induction $g(n x) = n g(x)$ for $n = 0, 1, 2, \dots$ Take $x = m/n$ with whole $m \ge 0$, $n \ge 1$:
$n\, g(m/n) = g(m) = m\, g(1)$, so $g(m/n) = k\, m/n$.

*Real $x$, $f$ monotone.* If $f$ rises, $-f$ falls and satisfies (E1) too, so let $f$ fall or stay; then $g$ rises or
stays, and $k = g(1) \ge g(0) = 0$. For any $x \ge 0$ and $n \ge 1$ let $r = \lfloor n x \rfloor / n$ and
$s = r + 1/n$, rational numbers with $r \le x < s$. Then $k r = g(r) \le g(x) \le g(s) = k s$, and also
$k r \le k x \le k s$. Both $g(x)$ and $k x$ lie in an interval of length $k / n$, so $|g(x) - k x| \le k / n$ for every
$n$: the two are equal.

*Real $x$, $f$ continuous.* Then so is $g$. The rational numbers $r_n = \lfloor n x \rfloor / n$ tend to $x$, so
$g(x) = \lim g(r_n) = \lim k r_n = k x$.

In both cases $f(p) = g(-\ln p) = -k \ln p$. If $f$ falls strictly, $k = f(1/e) > f(1) = g(0) = 0$. The converse:
$-k \ln pq = -k \ln p - k \ln q$, and $\ln$ rises strictly and is continuous. $\blacksquare$

So the measure is unique up to $k$, which is the choice of a unit: $k = 1$ is the **nat**, $k = 1 / \ln 2$ the **bit**,
which a fair coin's toss tells. This course computes in nats:

$$s(p) = -\ln p \qquad \text{surprisal of an event of probability } p. \qquad \text{(E2)}$$

Additivity alone would not do: (E1) has other solutions, neither monotone nor continuous anywhere (G. Hamel, 1905).

## Entropy and cross-entropy

Let $p$ and $q$ be distributions over the same $V$ tokens, with $0 \ln 0 = 0$, the limit of $x \ln x$ at zero.

$$
\begin{aligned}
H(p) &= -\sum_i p_i \ln p_i && \text{entropy: mean surprisal to one who believes the truth} \qquad \text{(E3)} \\
H(p, q) &= -\sum_i p_i \ln q_i && \text{cross-entropy: tokens from } p \text{, belief } q \qquad \text{(E4)} \\
D(p \,\|\, q) &= \sum_i p_i \ln \frac{p_i}{q_i} && \text{Kullback-Leibler divergence} \qquad \text{(E5)}
\end{aligned}
$$

Where $q_i = 0 < p_i$, what was thought impossible happens: (E4) and (E5) are infinite.

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

## What a context tells

A model sees a context before it predicts. Let $P(c, w)$ be the probability of context $c$ and next token $w$ together,
$P(c) = \sum_w P(c, w)$ and $P(w) = \sum_c P(c, w)$, and for $P(c) > 0$ let $P(w \mid c) = P(c, w) / P(c)$.

$$
\begin{aligned}
H(W \mid C) &= -\sum_{c, w} P(c, w) \ln P(w \mid c) = \sum_c P(c)\, H\big(P(\cdot \mid c)\big)
  && \text{conditional entropy} \qquad \text{(E6)} \\
I(C; W) &= \sum_{c, w} P(c, w) \ln \frac{P(c, w)}{P(c)\, P(w)} && \text{mutual information} \qquad \text{(E7)}
\end{aligned}
$$

**Claim** `markov.joint-entropy`. $H(C, W) = H(C) + H(W \mid C)$ and $I(C; W) = H(W) - H(W \mid C)$. If $C$ and $W$ are
independent, $H(C, W) = H(C) + H(W)$.

**Proof.** All sums are over the pairs with $P(c, w) > 0$; the others contribute nothing. In
$-\ln P(c, w) = -\ln P(c) - \ln P(w \mid c)$ take the mean over the pairs; as $\sum_w P(c, w) = P(c)$, the first term on
the right has mean $H(C)$, and the second has mean $H(W \mid C)$. In (E7) the logarithm is $\ln P(w \mid c) - \ln P(w)$;
its first term has mean $-H(W \mid C)$, and $-\ln P(w)$, as $\sum_c P(c, w) = P(w)$, has mean $H(W)$. If $C$ and $W$ are
independent, $P(w \mid c) = P(w)$, so (E7) is $0$ and $H(W \mid C) = H(W)$. $\blacksquare$

**Claim** `markov.conditioning`. Lengthen the context $C$ by something more, $B$. Then
$H(W \mid B, C) \le H(W \mid C)$, with equality exactly if $P(w \mid b, c) = P(w \mid c)$ for all $w$ and all $b$, $c$
with $P(b, c) > 0$: given $C$, the next token is independent of $B$. In particular $H(W \mid C) \le H(W)$ and
$I(C; W) \ge 0$, with equality exactly if $C$ and $W$ are independent.

**Proof.** As $P(c, w) = \sum_b P(b, c, w)$, (E6) for the short context is
$H(W \mid C) = -\sum_{b, c, w} P(b, c, w) \ln P(w \mid c)$. If $P(b, c, w) > 0$ then $P(c, w) > 0$, so every logarithm
below is finite:

$$
H(W \mid C) - H(W \mid B, C) = \sum_{b, c, w} P(b, c, w) \ln \frac{P(w \mid b, c)}{P(w \mid c)}
  = \sum_{b, c} P(b, c)\, D\big(P(\cdot \mid b, c) \,\|\, P(\cdot \mid c)\big).
$$

By `markov.gibbs` no divergence on the right is negative, and the sum is $0$ only if each with $P(b, c) > 0$ is, which
means equal distributions. For the rest let $C$ be empty, always the same: then $H(W \mid C) = H(W)$ and
$H(W \mid B, C) = H(W \mid B)$, with $B$ as the only context, and `markov.joint-entropy` turns the difference into the
mutual information. $\blacksquare$

So for a model that knows the truth the entropy of the next token never rises with the order. A model that counts does
not know the truth. Here each token, out of three, is the successor of the last one with probability 0.8 and otherwise
the same again, so that only the last one matters. The $n$-grams are counted around the circle: then each table of
counts sums to the next shorter one, and on the text itself the loss of plain counts, which is a conditional entropy,
falls with the order from 1 to 5. On new text from the same source the loss of the same counts, each raised by a half so
that none is zero, falls once and then rises:

>>> rng = np.random.default_rng(2)
>>> old, new = np.cumsum(rng.random((2, 60)) < 0.8, axis=1) % 3
>>> def count(text, order):
...     counts = np.zeros((3,) * order)
...     np.add.at(counts, tuple(np.roll(text, -i) for i in range(order)), 1)
...     return counts
>>> [round(conditional_entropy(count(old, n) / 60), 2) for n in range(1, 6)]
[1.1, 0.5, 0.47, 0.44, 0.37]
>>> def held_out(order):
...     belief = count(old, order) + 0.5
...     belief /= belief.sum(axis=-1, keepdims=True)
...     return round(float(-(count(new, order) / 60 * np.log(belief)).sum()), 2)
>>> [held_out(n) for n in range(1, 6)]
[1.1, 0.51, 0.54, 0.58, 0.64]

The first list is not what the source is like but what was seen of it: the entropy of the source given any context is

>>> entropy(np.array([0.8, 0.2])).round(2).item()
0.5

nats, and what lies below that was memorised.

## Perplexity

$e^{H(p, q)}$ is the **perplexity**: the number of equally likely tokens that would surprise as much, since on $V$ of
them (E3) is $\ln V$. Fair dice of six and of twenty sides have perplexities 6 and 20; a character model at 1.3 nats is
as uncertain as a die of

>>> round(perplexity(1.3), 2)
3.67

sides. It says the same as the loss, on another scale, and it inherits a trap: it is *per token*.

## One unit for every tokenizer

Let a model give a text of $N$ tokens the probability $P$. Its mean loss is $\ell = -\frac{1}{N} \ln P$. Another
tokenizer cuts the same text into fewer, larger tokens; each is then harder to guess, so $\ell$ rises although the
model may be better. But $N \ell = -\ln P$ belongs to the text. Spread it over something that tokenizers do not change,
the $B$ bytes of the text in UTF-8:

$$\text{bits per byte} = \frac{N \ell}{B \ln 2} = -\frac{\log_2 P}{B}. \qquad \text{(E8)}$$

With the number of characters in place of $B$ it is **bits per character**. UTF-8 writes a character in one to four
bytes, so the bits per character are one to four times those per byte, and the same for a text in ASCII:

>>> text = "smørrebrød"
>>> n_bytes = len(text.encode())
>>> round(bits_per_byte(math.log(8), n_tokens=len(text), n_bytes=n_bytes), 2)
2.5
>>> round(bits_per_character(math.log(8), n_tokens=len(text), n_characters=len(text)), 2)
3.0

**Claim** `markov.bits-per-byte`. Two models, over any two tokenizations of a text, that give the text the same
probability $P < 1$ have the same bits per byte. Their perplexities are the same only if the numbers of tokens are.

**Proof.** The right side of (E8) mentions the text and $P$ only. The perplexities are $e^{-\ln P / N}$ and
$e^{-\ln P / M}$; as the exponential is strictly increasing they agree only if $\ln P / N = \ln P / M$, and since
$\ln P \ne 0$ only if $N = M$. $\blacksquare$

## In practice

Papers report perplexity per token, per word, bits per character or per byte; only the last two compare models with
different vocabularies, and of these bytes are the surer unit, since Unicode has letters that are one character or two.
Where a text has several tokenizations, its probability is a sum over all of them, and one of them bounds it from below:
the bits per byte that a tokenizer's own segmentation gives are then an upper bound. A compressor is a language model
and the reverse: (E8) is the size of the file, for each byte of input, that the arithmetic coder of `fp_markov.coding`
writes.

More context helps a large language model for thousands of tokens and a counting model for a handful: both obey
`markov.conditioning`, which says that the truth does no worse for looking further back, and differ in what they can
learn from contexts that they never saw.

References: C. Shannon, *A Mathematical Theory of Communication*, 1948; T. Cover and J. Thomas, *Elements of Information
Theory*, 2006, chapter 2.
"""

import math

import numpy as np
from jaxtyping import Float

__all__ = [  # the order of the page
    "surprisal",
    "entropy",
    "cross_entropy",
    "kl_divergence",
    "conditional_entropy",
    "mutual_information",
    "perplexity",
    "bits_per_byte",
    "bits_per_character",
]

Real = float | int  # run-time type checks do not take an int, such as a probability of 1, for a float


def surprisal(p: Real | Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """
    What events of probability `p` tell (E2).

    Parameters
    ----------
    p
        Probabilities, each on its own: they need not sum to one.

    Returns
    -------
    ndarray
        Nats, float64, of the shape of `p`; infinite where `p` is zero.

    Raises
    ------
    ValueError
        If a probability lies outside [0, 1].

    Examples
    --------
    >>> surprisal(np.array([1.0, 0.5, 0.25])).round(3)
    array([0.   , 0.693, 1.386])
    """
    p = np.asarray(p, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"probabilities lie in [0, 1], got values from {p.min():.6g} to {p.max():.6g}")
    with np.errstate(divide="ignore"):
        return np.asarray(0.0 - np.log(p))  # a minus sign alone would make the surprisal of certainty -0.0


def entropy(p: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch"]:
    """
    Entropy (E3) of each distribution along the last axis.

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
    Cross-entropy (E4): the mean surprisal of tokens from `p` to one who believes `q`.

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
        If a row is not a distribution, or the shapes differ.

    Examples
    --------
    >>> bool(cross_entropy(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == np.inf)
    True
    """
    p, q = _pair(p, q)
    terms = np.zeros_like(p)  # 0 ln 0 = 0: stays where p is zero
    with np.errstate(divide="ignore"):
        np.multiply(p, -np.log(q), out=terms, where=p > 0)
    return np.asarray(terms.sum(axis=-1))


def kl_divergence(p: Float[np.ndarray, "*batch V"], q: Float[np.ndarray, "*batch V"]) -> Float[np.ndarray, "*batch"]:
    """
    Kullback-Leibler divergence (E5), what believing `q` costs beyond the truth `p`.

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
        If a row is not a distribution, or the shapes differ.

    Examples
    --------
    Not symmetric, so not a distance:

    >>> p, q = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    >>> kl_divergence(p, q).round(3).item(), kl_divergence(q, p).round(3).item()
    (0.511, 0.368)
    """
    p, q = _pair(p, q)
    terms = np.zeros_like(p)
    with np.errstate(divide="ignore", invalid="ignore"):  # rows with p = 0 are computed and left out
        np.multiply(p, np.log(p) - np.log(q), out=terms, where=p > 0)
    return np.asarray(np.maximum(terms.sum(axis=-1), 0.0))  # rounding may leave -1e-17 where `markov.gibbs` says 0


def conditional_entropy(joint: Float[np.ndarray, "*context V"]) -> float:
    """
    Mean entropy of the next token given its context (E6), which lengthening the context never raises.

    Parameters
    ----------
    joint
        One joint distribution: the whole table sums to one. The last axis is the next token, all axes before it are the
        context. Summing over an axis forgets that part of the context; a table of one axis has none.

    Returns
    -------
    float
        Nats.

    Raises
    ------
    ValueError
        If the table is not a distribution.

    Examples
    --------
    The next token is the last one, or any of two:

    >>> joint = np.array([[0.25, 0.25], [0.0, 0.5]])
    >>> round(conditional_entropy(joint), 3), round(conditional_entropy(joint.sum(axis=0)), 3)
    (0.347, 0.562)
    """
    joint = _joint(joint)
    context = np.broadcast_to(joint.sum(axis=-1, keepdims=True), joint.shape)
    seen = joint > 0
    return float((joint[seen] * -np.log(joint[seen] / context[seen])).sum() + 0.0)


def mutual_information(joint: Float[np.ndarray, "*context V"]) -> float:
    """
    What the context tells about the next token (E7), as entropy minus conditional entropy (`markov.joint-entropy`).

    Parameters
    ----------
    joint
        One joint distribution, with axes as for `conditional_entropy`.

    Returns
    -------
    float
        Nats, not negative; zero if and only if context and token are independent.

    Raises
    ------
    ValueError
        If the table is not a distribution.

    Examples
    --------
    >>> round(mutual_information(np.array([[0.5, 0.0], [0.0, 0.5]])), 3)  # one toss tells the other: ln 2
    0.693
    """
    joint = _joint(joint)
    token = joint.sum(axis=tuple(range(joint.ndim - 1)))
    return max(float(entropy(token)) - conditional_entropy(joint), 0.0)  # rounding may leave -1e-17


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
    A mean loss as bits for each byte of the text (E8), which compares across tokenizers.

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
    return _bits_per("byte", nats_per_token, n_tokens, n_bytes)


def bits_per_character(nats_per_token: float, *, n_tokens: int, n_characters: int) -> float:
    """
    A mean loss as bits for each character of the text: (E8) with characters in place of bytes.

    Parameters
    ----------
    nats_per_token
        Mean loss over the tokens of a text.
    n_tokens
        How many tokens the mean was taken over.
    n_characters
        How many characters, Unicode code points, those tokens stand for.

    Returns
    -------
    float
        Bits per character.

    Raises
    ------
    ValueError
        If the loss is negative or not a number, or if there are no tokens or no characters.

    Examples
    --------
    A model of characters has one token a character, and changes only its unit:

    >>> round(bits_per_character(math.log(2), n_tokens=5, n_characters=5), 9)
    1.0
    """
    return _bits_per("character", nats_per_token, n_tokens, n_characters)


def _pair(
    p: Float[np.ndarray, "*batch V"], q: Float[np.ndarray, "*batch V"]
) -> tuple[Float[np.ndarray, "*batch V"], Float[np.ndarray, "*batch V"]]:
    p, q = check_distribution(p, "each row of p"), check_distribution(q, "each row of q")
    if p.shape != q.shape:
        raise ValueError(f"p and q are distributions over the same tokens, of one shape, got {p.shape} and {q.shape}")
    return p, q


def _bits_per(unit: str, nats_per_token: float, n_tokens: int, n_units: int) -> float:
    _check_loss(nats_per_token)
    if n_tokens < 1 or n_units < 1:
        raise ValueError(f"bits per {unit} need at least one token and one {unit}, got {n_tokens} and {n_units}")
    return nats_per_token * n_tokens / (n_units * math.log(2))


def _check_loss(nats: float) -> None:
    if not nats >= 0:
        raise ValueError(
            f"a mean loss in nats is zero or more, got {nats}. Was a log-probability passed without its minus sign?"
        )


def _joint(joint: Float[np.ndarray, "*context V"]) -> Float[np.ndarray, "*context V"]:
    """The table in float64, after the check that all of it is one distribution."""
    joint = np.asarray(joint)
    return check_distribution(joint.reshape(-1), "the whole of joint").reshape(joint.shape)


def check_distribution(p: Float[np.ndarray, "*batch V"], name: str) -> Float[np.ndarray, "*batch V"]:
    """`p` in float64, after the check that each row is a distribution; `name` begins the sentence of a refusal."""
    p = np.asarray(p, np.float64)
    if p.ndim == 0 or p.shape[-1] == 0:
        raise ValueError(f"{name} needs at least one token, got shape {p.shape}")
    if not (p >= 0).all():
        raise ValueError(
            f"{name} must hold probabilities, none negative or NaN; its minimum is {p.min()}. Were logits passed?"
        )
    totals = p.sum(axis=-1)
    # 1e-5: a float32 softmax over 100,000 tokens sums to one within a few 1e-6
    if not (np.abs(totals - 1) <= 1e-5).all():
        worst = totals.flat[np.abs(totals - 1).argmax()]
        raise ValueError(f"{name} must sum to one, got a sum of {worst:.6g}. Normalise it first.")
    return p
