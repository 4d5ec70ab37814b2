r"""
Growth: why counting fails.

More context predicts better, and counting more context needs more text. This section says how much more: how fast the
number of contexts grows with the order, how fast new words keep coming, and what a model loses by looking at few tokens
only. Between these two losses every model that counts is caught.

You need: `fp_markov.mathematics`, `fp_markov.probability`, `fp_markov.information`, `fp_markov.counting`.

## Contexts grow as a power

**Claim** `markov.context-growth`. Over a vocabulary of $V$ tokens there are $V^n$ different $n$-grams. A text of
$T \ge n$ tokens holds at most $T - n + 1$ of them, a share of at most $\frac{T - n + 1}{V^n}$; if the next $n$-gram is
drawn from a distribution under which none has a probability above $m$, it has occurred in the text with probability at
most $m\,(T - n + 1)$.

**Proof.** Each of the $n$ places takes any of $V$ tokens: $V$ choices for the first, and for every beginning $V$
choices of the next. An $n$-gram of the text starts at one of $T - n + 1$ positions, each of which holds one. The set of
those that occurred has at most that many members; its probability is their sum. $\blacksquare$

Of a vocabulary of 65 characters there are $65^7$ sequences of seven,

>>> f"{65**7:.1e}"
'4.9e+12'

of which a text of a million characters holds a million at most. Most of them are never written by anybody,
and so the share of those that a person *would* write is what counts. It can be measured: `seen_fraction`, on text that
was held out.

>>> import re
>>> from pydoc_data.topics import topics
>>> words = np.unique(re.findall(r"\w+", " ".join(topics.values())), return_inverse=True)[1]
>>> split = len(words) * 9 // 10
>>> seen = seen_fraction(words[:split], words[split:], order=4, vocab_size=int(words.max()) + 1)
>>> bool(seen[0] > 0.8), bool(seen[3] < 0.5), bool((np.diff(seen) < 0).all())
(True, True, True)

## How many types, and how many still to come

Draw $T$ tokens independently, type $i$ with probability $p_i$, and let $V(T)$ be the number of different types drawn.

**Claim** `markov.expected-types`. $\mathbb{E} V(T) = \sum_i \big( 1 - (1 - p_i)^T \big)$.

**Proof.** $V(T)$ is the sum over the types of the indicator that type $i$ was drawn. Its expectation is that event's
probability; the type is missed by all $T$ independent draws with probability $(1 - p_i)^T$. Expectation is linear
(`markov.expectation-linear`). $\blacksquare$

**Claim** `markov.new-type`. The draw after $T \ge 1$ draws is of a new type with probability

$$
\sum_i p_i\, (1 - p_i)^T = \mathbb{E} V(T + 1) - \mathbb{E} V(T), \qquad \text{(E1)}
$$

which, with $K$ types, is at most $\frac{K}{eT}$.

**Proof.** The draw is of type $i$ with probability $p_i$, independently of whether the first $T$ missed $i$; add over
$i$. By `markov.expected-types` the right side of (E1) is $\sum_i \big( (1 - p_i)^T - (1 - p_i)^{T+1} \big)$, and in
each bracket $(1 - p_i)^T$ times $1 - (1 - p_i)$ remains. For the bound, `markov.log-tangent` gives
$1 - p \le e^{-p}$, and $\ln y \le y - 1$ with $y = pT$ gives $y \le e^{y - 1}$, which is $y e^{-y} \le 1/e$. So
$p\, (1 - p)^T \le \frac1T\, pT e^{-pT} \le \frac{1}{eT}$. $\blacksquare$

So the curve of types against length and the share of the unseen are one thing: the curve's steepness at $T$ is the
probability that the next token is new. To be sure, without knowing the $p_i$, that it is below $\varepsilon$, the bound
asks for $T = K / (e \varepsilon)$ draws: in proportion to the number of types, which for $n$-grams is $V^n$.

## Zipf

In most texts the $r$-th most frequent word occurs about $1/r$ times as often as the first. **Zipf's law** says

$$p_r = \frac{r^{-s}}{Z(s)}, \qquad Z(s) = \sum_{r=1}^{K} r^{-s}, \qquad \text{(E2)}$$

with an exponent $s$ near one. Let $n_r$ be the count of the $r$-th most frequent type, $N = \sum_r n_r$. Read (E2) as a
model of independent tokens and make the text as likely as possible.

**Claim** `markov.zipf-likelihood`. Let $n_1 \ge n_2 \ge \dots \ge n_K \ge 0$ with $n_2 > 0$. The logarithm of the
likelihood $\ell(s) = \sum_r n_r \ln p_r$ is strictly concave in $s$, and it is largest at the one $s$ where the mean of
$\ln r$ under (E2) is the mean in the text:

$$\sum_r p_r \ln r = \frac1N \sum_r n_r \ln r. \qquad \text{(E3)}$$

That $s$ exists and is not negative.

**Proof.** $\ell(s) = -s \sum_r n_r \ln r - N \ln Z(s)$. As $(r^{-s})' = -r^{-s} \ln r$,

$$
\begin{aligned}
\frac{Z'}{Z} &= -\sum_r p_r \ln r = -m(s), \qquad \frac{Z''}{Z} = \sum_r p_r (\ln r)^2, \\
(\ln Z)'' &= \frac{Z''}{Z} - \Big( \frac{Z'}{Z} \Big)^2 = \sum_r p_r \big( \ln r - m(s) \big)^2.
\end{aligned}
$$

The last is the variance of $\ln r$, positive because $K \ge 2$ and all $p_r > 0$. So $\ell'' = -N (\ln Z)'' < 0$:
strictly concave by `markov.concave-second-derivative`, and by `markov.concave-maximum` largest where
$\ell'(s) = -\sum_r n_r \ln r + N m(s) = 0$, which is (E3), if there is such an $s$. At $s = 0$ all $p_r$ are equal, and
$m(0)$ is at least the text's mean: for any two ranks $q < r$, $(n_q - n_r)(\ln r - \ln q) \ge 0$, and summed over all
pairs that is $N \sum_r \ln r - K \sum_r n_r \ln r \ge 0$. As $s$ grows $p_1 = 1 / (1 + \sum_{r>1} r^{-s}) \to 1$ and
$m(s) \to 0$, while the text's mean is positive because $n_2 > 0$. Between, the continuous $m$, which falls because
$m' = -(\ln Z)'' < 0$, takes the text's mean once. $\blacksquare$

`zipf` solves (E3) by bisection.

>>> counts = np.bincount(words)
>>> 0.8 < zipf(counts).exponent < 1.2
True

Take the result for a summary and not for a law. The ranks come from the same counts that they are to explain, so the
largest counts are too large for their rank and the many types that occurred once are in an arbitrary order; tokens of a
text are not independent, so the spread of $s$ that the likelihood suggests is too small; and no one exponent fits all
ranks: the frequent words fall off more slowly than the others.

>>> zipf(counts, last=100).exponent < zipf(counts).exponent < zipf(counts, first=100).exponent
True

Hence `zipf` takes a range of ranks. A straight line through the logarithms of ranks and counts has all those faults
too, and gives the tail, where most of the points and least of the tokens are, the most weight.

## Heaps

**Heaps' law** says $V(T) \approx k\, T^\beta$ with $\beta < 1$: new words become rarer, and never stop. It follows from
Zipf's.

**Claim** `markov.heaps-from-zipf`. Let $s > 1$ and $0 < A \le B$, and let $A r^{-s} \le p_r \le B r^{-s}$ for
$r = 1, \dots, K$. Then for $1 \le T \le K^s$

$$
\frac{1 - e^{-A}}{2}\, T^{1/s} \le \mathbb{E} V(T) \le \Big( 1 + \frac{2^{s-1} B}{s - 1} \Big)\, T^{1/s}.
$$

**Proof.** Let $R = T^{1/s}$, $1 \le R \le K$, and $m$ the whole number with $m \le R < m + 1$; then
$R / 2 \le m \le K$. For $r \le m$, $p_r \ge A R^{-s} = A / T$, and so
$1 - (1 - p_r)^T \ge 1 - e^{-p_r T} \ge 1 - e^{-A}$, as $1 - p \le e^{-p}$. These $m \ge R / 2$ terms of
`markov.expected-types` give the lower bound. For the upper one, no term exceeds one and none exceeds $T p_r$, because
an event in $T$ draws has at most the sum of their probabilities. Take the first bound for $r \le m$ and the second
for the others. As $x^{-s} \ge r^{-s}$ on $[r - 1, r]$, and $x^{1-s} / (1 - s)$ has the slope $x^{-s}$,

$$
\sum_{r=m+1}^{K} r^{-s} \le \int_m^K x^{-s}\, dx \le \frac{m^{1-s}}{s - 1} \le \frac{(R / 2)^{1-s}}{s - 1},
$$

so that $\mathbb{E} V(T) \le R + T B\, \frac{2^{s-1} R^{1-s}}{s - 1}$, and $T = R^s$. $\blacksquare$

So $\beta = 1/s$ while there are types left to find. With $s \le 1$, as in many texts, the number of types must be
finite ($\sum_r r^{-s}$ grows without bound), and growth is nearly proportional to the text until they run out. On the
text itself, $\ln V(T) \approx \ln k + \beta \ln T$ is fitted by least squares.

**Claim** `markov.least-squares`. Let $x_1, \dots, x_n$ not all be equal, with mean $\bar x$, and $y_1, \dots, y_n$ any
numbers with mean $\bar y$. Of all lines, $\bar y + \beta (x - \bar x)$ with

$$\beta = \frac{\sum_i (x_i - \bar x)(y_i - \bar y)}{\sum_i (x_i - \bar x)^2} \qquad \text{(E4)}$$

alone has the smallest sum of squares of the vertical distances to the points.

**Proof.** Write any line as $\bar y + c + b (x - \bar x)$. With $u_i = x_i - \bar x$ and $v_i = y_i - \bar y$, which
sum to zero, and $S = \sum_i u_i^2 > 0$,

$$
\sum_i (v_i - c - b u_i)^2 = n c^2 + \sum_i v_i^2 - 2 b \sum_i u_i v_i + b^2 S
  = n c^2 + S\, (b - \beta)^2 + \sum_i v_i^2 - S \beta^2,
$$

which is smallest for $c = 0$ and $b = \beta$ only. $\blacksquare$

>>> 0.4 < heaps(words).exponent < 0.9
True

The points of one curve are not independent, so the fit's residuals say nothing about its error. The exponent falls as
the text grows, slowly:

>>> heaps(words).exponent < heaps(words[: len(words) // 10]).exponent
True

A vocabulary of words is never complete.

## What the short memory costs

Now the other side. Let $P$ be the true distribution of texts of $T$ tokens, $C_t$ the last $n - 1$ tokens before
position $t$ (all of them where there are fewer), and $Z_t$ those before $C_t$. A model of order $n$ states
$Q(w) = \prod_t q_t(w_t \mid c_t)$. The **conditional mutual information** of $W_t$ and $Z_t$ given $C_t$ is

$$I(W_t; Z_t \mid C_t) = \sum_w P(w) \ln \frac{P(w_t \mid c_t, z_t)}{P(w_t \mid c_t)}
  = H(W_t \mid C_t) - H(W_t \mid C_t, Z_t), \qquad \text{(E5)}$$

over the texts $w$ of positive probability: by how many nats the farther past shortens the surprisal of the token for
one who knows the context.

**Claim** `markov.markov-loss`. For every model $Q$ of order $n$,
$D(P \,\|\, Q) \ge \sum_{t=1}^{T} I(W_t; Z_t \mid C_t)$, with equality for $q_t(w \mid c) = P(w \mid c)$, the true
probability of $w$ at position $t$ given the context. Every term of the sum is at least zero, and it is zero exactly if
$W_t$ and $Z_t$ are conditionally independent given $C_t$.

**Proof.** Expand $P$ by `markov.chain-rule`, and put $P(w_t \mid c_t)$ in between:

$$
\begin{aligned}
D(P \,\|\, Q) &= \sum_w P(w) \sum_t \ln \frac{P(w_t \mid c_t, z_t)}{q_t(w_t \mid c_t)} \\
  &= \sum_t \sum_w P(w) \ln \frac{P(w_t \mid c_t, z_t)}{P(w_t \mid c_t)}
   + \sum_t \sum_w P(w) \ln \frac{P(w_t \mid c_t)}{q_t(w_t \mid c_t)} \\
  &= \sum_t I(W_t; Z_t \mid C_t) + \sum_t \sum_c P(C_t = c)\, D\big( P(\cdot \mid c) \,\|\, q_t(\cdot \mid c) \big),
\end{aligned}
$$

where, in the last sum, the tokens that a term does not mention have been summed out. By `markov.gibbs` the divergences
are at least zero, and zero if $q_t$ is $P$; where one of them is infinite, so is the left side. By
`markov.conditioning` (E5) is at least zero, and zero exactly if $P(w_t \mid c_t, z_t) = P(w_t \mid c_t)$ wherever
$P(c_t, z_t) > 0$: the second form of `markov.markov-assumption`. $\blacksquare$

A larger order moves tokens from $Z_t$ to $C_t$. A model of order $n$ is also one of order $n + 1$, which ignores a
token; so the best of the larger order is no worse and the sum never rises. But the true $P(w \mid c)$ has to be
estimated, from counts that by the first half of this section get thinner by a factor of up to $V$ with every order. The
order with the least held-out loss is where the two meet.

## In practice

Neural language models leave this trade: they do not store contexts, they compute with them, and contexts that were
never seen share parameters with similar ones that were. Sub-word vocabularies (stage 7) end the growth of the
vocabulary, since every new word is spelled from old pieces; the growth of the contexts remains. The exponents of Zipf
and Heaps are reported for most corpora; estimates on their counts should use maximum likelihood.

References: G. Zipf, 1949; H. Heaps, 1978; A. Clauset, C. Shalizi and M. Newman, 2009, on fitting such laws.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer

from fp_markov.counting import check_ids, count_ngrams, find
from fp_markov.information import conditional_entropy

__all__ = ["seen_fraction", "expected_types", "Zipf", "zipf", "Heaps", "heaps", "markov_loss"]  # the order of the page


def seen_fraction(
    train: Integer[np.ndarray, " T"], held_out: Integer[np.ndarray, " S"], order: int, vocab_size: int
) -> Float[np.ndarray, " order"]:
    """
    Share of the n-grams of a held-out text that occur in the training text, for each length.

    Parameters
    ----------
    train, held_out
        Texts as token ids in `[0, vocab_size)`.
    order
        Longest n-gram, from 1 to the length of the shorter text.
    vocab_size
        Number of tokens that could occur.

    Returns
    -------
    ndarray
        For n = 1 to `order`: the share, from 0 to 1, counting an n-gram as often as the held-out text repeats it.

    Raises
    ------
    ValueError
        If `order` is below 1 or above the length of a text, or if an id lies outside the vocabulary.

    Examples
    --------
    Of the bigrams of "abba", "ab" and "ba" occur in "abab", "bb" does not:

    >>> seen_fraction(np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0]), order=2, vocab_size=2).round(3)
    array([1.   , 0.667])
    """
    if order > len(held_out):
        raise ValueError(
            f"n-grams of order {order} need a held-out text of at least as many tokens, got {len(held_out)}"
        )
    check_ids(held_out, vocab_size)
    levels = count_ngrams(train, order, vocab_size)
    seen = np.empty(order)
    ranks = np.zeros(len(held_out) + 1, np.int64)  # of the (n-1)-gram that starts at each position; -1 if absent
    for n, level in enumerate(levels, start=1):
        ranks = find(level.keys, vocab_size, ranks[:-1], held_out[n - 1 :].astype(np.int64, copy=False))
        seen[n - 1] = np.mean(ranks >= 0)
    return seen


def expected_types(p: Float[np.ndarray, " K"], lengths: Int[np.ndarray, " L"]) -> Float[np.ndarray, " L"]:
    """
    Expected number of different types among independent draws (`markov.expected-types`).

    Parameters
    ----------
    p
        Probability of each type.
    lengths
        Numbers of draws, zero or more.

    Returns
    -------
    ndarray
        The expectation for each number of draws.

    Raises
    ------
    ValueError
        If `p` is not a distribution or a length is negative.

    Examples
    --------
    Two throws of a fair coin show both sides half of the time:

    >>> expected_types(np.array([0.5, 0.5]), np.array([0, 1, 2]))
    array([0. , 1. , 1.5])
    """
    if not ((p >= 0).all() and abs(p.sum() - 1) <= 1e-5):  # float32 rounding
        raise ValueError(f"p must be a distribution, none negative and of sum one, got a sum of {p.sum():.6g}")
    if (lengths < 0).any():
        raise ValueError(f"a number of draws is zero or more, got {lengths.min()}")
    with np.errstate(divide="ignore"):
        missed = np.log1p(-np.minimum(p, 1.0))  # for small p, 1 - p would lose the digits that T multiplies
    # a type of probability one is missed by no draw; without draws by all: -inf * 0 has to be zero
    return np.array([-np.sum(np.expm1(T * missed)) if T else 0.0 for T in lengths.tolist()], np.float64)


@dataclass(frozen=True)
class Zipf:
    """Zipf's law (E2) over a range of ranks: counts are about `constant * rank ** -exponent`."""

    exponent: float
    """The s that makes the counts most likely."""
    constant: float
    """The expected count at rank one, if the range reached there."""


def zipf(counts: Integer[np.ndarray, " K"], first: int = 1, last: int | None = None) -> Zipf:
    """
    Fit Zipf's law to the counts of types, by maximum likelihood (E3).

    Parameters
    ----------
    counts
        How often each type occurs, in any order.
    first, last
        Range of ranks to fit, both included; `None` is the last rank. Ranks outside it are taken as not drawn.

    Returns
    -------
    Zipf
        Exponent and constant.

    Raises
    ------
    ValueError
        If a count is negative, or the range has fewer than two ranks with a positive count.

    Examples
    --------
    >>> ranks = np.arange(1, 101)
    >>> law = zipf(np.round(1e6 / ranks).astype(int))
    >>> round(law.exponent, 3), round(law.constant, -3)
    (1.0, 1000000.0)
    """
    last = len(counts) if last is None else last
    if not 1 <= first < last <= len(counts):
        raise ValueError(
            f"the range of ranks needs at least two from 1 to the {len(counts)} types, got {first} to {last}"
        )
    n = np.sort(counts)[::-1][first - 1 : last].astype(np.float64)
    if n[-1] < 0 or n[1] == 0:
        raise ValueError(
            f"counts must not be negative, and at least two positive, got {np.count_nonzero(n > 0)} positive and a "
            f"minimum of {n[-1]:.0f}"
        )
    x = np.log(np.arange(first, last + 1) / first)  # in units of the first rank: both sides of (E3) lose its logarithm
    target = n @ x / n.sum()

    def excess(s: float) -> float:
        weights = np.exp(-s * x)
        return float(weights @ x / weights.sum() - target)

    low, high = 0.0, 1.0
    while excess(high) > 0:
        low, high = high, 2 * high
    for _ in range(60):  # 2^-60 of the bracket is below the rounding of the means
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    at_first = n.sum() / np.exp(-high * x).sum()
    with np.errstate(over="ignore"):  # a steep fall far from rank one: there is no float64 for the constant
        return Zipf(high, float(at_first * np.float64(first) ** high))


@dataclass(frozen=True)
class Heaps:
    """Heaps' law fitted to one text: types are about `constant * length ** exponent`."""

    exponent: float
    """The slope (E4) of log types against log length."""
    constant: float
    """Types at length one, on the fitted line."""
    lengths: Int[np.ndarray, " L"]
    """Where the text's own curve was read."""
    types: Int[np.ndarray, " L"]
    """Different tokens among the first so many."""


def heaps(ids: Integer[np.ndarray, " T"], points: int = 50) -> Heaps:
    """
    Read how many different tokens the beginnings of a text hold, and fit Heaps' law (E4).

    Parameters
    ----------
    ids
        A text as token ids.
    points
        Lengths to read, in nearly equal ratios from 1 to T; fewer if the text is too short for so many.

    Returns
    -------
    Heaps
        The fit and the curve.

    Raises
    ------
    ValueError
        If the text has fewer than two tokens or fewer than two points are asked for.

    Examples
    --------
    A text that never repeats a token:

    >>> law = heaps(np.arange(1000))
    >>> round(law.exponent, 9), round(law.constant, 9)
    (1.0, 1.0)
    """
    T = len(ids)
    if T < 2 or points < 2:
        raise ValueError(f"a line needs two points and a text of two tokens, got {points} points and {T} tokens")
    first = np.sort(np.unique(ids, return_index=True)[1])  # where each type comes for the first time
    lengths = np.unique(np.round(np.geomspace(1, T, points)).astype(np.int64))
    types = np.searchsorted(first, lengths).astype(np.int64)  # first occurrences before position `length`
    x, y = np.log(lengths), np.log(types)
    u = x - x.mean()
    exponent = float(u @ (y - y.mean()) / (u @ u))
    return Heaps(exponent, math.exp(float(y.mean() - exponent * x.mean())), lengths, types)


def markov_loss(joint: Float[np.ndarray, "..."], order: int) -> Float[np.ndarray, " T"]:
    """
    What the best model of an order loses at each position of a text, by `markov.markov-loss`.

    Parameters
    ----------
    joint
        Probability of every text of T tokens: a table with T axes of one length.
    order
        Of the model, 1 or more: it sees the `order - 1` tokens before the next one.

    Returns
    -------
    ndarray
        The conditional mutual informations (E5), in nats; their sum is the divergence of the best model from the truth.

    Raises
    ------
    ValueError
        If `joint` is not a distribution or `order` is below 1.

    Examples
    --------
    Two fair coins and whether they agree: pairs tell nothing, all three tokens everything.

    >>> coins = np.zeros((2, 2, 2))
    >>> coins[0, 0, 1] = coins[1, 1, 1] = coins[0, 1, 0] = coins[1, 0, 0] = 0.25
    >>> markov_loss(coins, order=2).round(3), markov_loss(coins, order=3).round(3)
    (array([0.   , 0.   , 0.693]), array([0., 0., 0.]))
    """
    if order < 1:
        raise ValueError(f"the order counts the tokens of an n-gram, so it is 1 or more, got {order}")
    if not ((joint >= 0).all() and abs(joint.sum() - 1) <= 1e-5):  # float32 rounding
        raise ValueError(f"joint must be a distribution, none negative and of sum one, got a sum of {joint.sum():.6g}")
    T = joint.ndim
    losses = np.zeros(T)
    for t in range(order, T):  # before that the context is the whole past
        whole = joint.sum(axis=tuple(range(t + 1, T)))  # P(z, c, w), its last axis the token at t
        losses[t] = conditional_entropy(whole.sum(axis=tuple(range(t + 1 - order)))) - conditional_entropy(whole)
    return np.maximum(losses, 0.0)  # rounding may leave -1e-17 where the claim says zero
