r"""
Good and Turing: how much of the next text is new?

At Bletchley Park I. J. Good and A. Turing had a sample of code groups and asked how often the next one would be one
that they had never seen. Their answer is exact on average, for a sample one draw shorter, needs no assumption about how
the groups are distributed, and seems to come from nowhere. This section proves it, shows why it cannot be used raw, and
builds Katz's back-off on it.

You need: `fp_markov.smoothing`, `fp_markov.probability`.

## The mass of what was seen $r$ times

Draw $N$ tokens independently from a distribution $p$ over any finite set of kinds. Let $n_r(N)$ be the number of kinds
that came exactly $r$ times, and $M_r(N) = \sum_{i \text{ came } r \text{ times}} p_i$ their true mass together.
$M_0(N)$ is the probability that the next token is new.

**Claim** `markov.good-turing-mass`. For independent draws and every $0 \le r \le N$,

$$\mathbb{E}\, M_r(N) = \frac{r + 1}{N + 1}\, \mathbb{E}\, n_{r+1}(N + 1). \qquad \text{(E1)}$$

**Proof.** There are $\binom{N}{r} = \frac{N!}{r!\,(N-r)!}$ ways to choose at which $r$ of the $N$ draws kind $i$ comes,
and each has probability $p_i^r (1 - p_i)^{N-r}$, the draws being independent. These events exclude each other, so kind
$i$ comes $r$ times with probability $\binom{N}{r} p_i^r (1 - p_i)^{N-r}$. Expectations add, so

$$
\begin{aligned}
\mathbb{E}\, M_r(N) &= \sum_i p_i \binom{N}{r} p_i^r (1 - p_i)^{N-r}, \\
\mathbb{E}\, n_{r+1}(N+1) &= \sum_i \binom{N+1}{r+1} p_i^{r+1} (1 - p_i)^{N-r}.
\end{aligned}
$$

The powers agree term by term, and
$\binom{N+1}{r+1} = \frac{(N+1)!}{(r+1)!\,(N-r)!} = \frac{N+1}{r+1} \binom{N}{r}$. $\blacksquare$

Put what was observed for what is expected, and one draw less: the $n_r$ kinds that came $r$ times have together the
mass $(r + 1)\, n_{r+1} / N$, as if each had come

$$r^* = (r + 1)\, \frac{n_{r+1}}{n_r} \qquad \text{(E2)}$$

times, and all the unseen have together the mass $n_1 / N$: the share of the text that consists of one-time tokens.

## Why the counts of counts are smoothed

(E2) divides noise by noise. At small $r$ there are thousands of kinds and it is sharp; the most frequent kind, with
$n_{r+1} = 0$, would get the estimate $0$. Gale and Sampson's repair spreads each $n_r$ over the gap between its
neighbours $q < r < t$ among the counts that occur, $Z_r = n_r / \frac12 (t - q)$ (with $q = 0$ before the first, and
$t = 2r - q$ after the last), fits a line $\ln Z_r \approx a + b \ln r$ by least squares (`markov.least-squares`), and
reads (E2) off the line:

$$r^* = (r + 1)\, \frac{e^a (r + 1)^b}{e^a\, r^b} = r \Big( 1 + \frac1r \Big)^{b+1}. \qquad \text{(E3)}$$

From $r = 1$ up it keeps the raw (E2) as long as that differs from (E3) by more than $1.65$ of its standard deviations
(the root of the variance), estimated as $\frac{r+1}{n_r} \sqrt{n_{r+1} (1 + n_{r+1} / n_r)}$, and from the first $r$
where it does not, or where $n_{r+1} = 0$, it uses the line. The estimates lie below the counts only if the line falls
faster than $1/r$, that is $b < -1$.

## As a language model

`good_turing` takes all $V^n$ possible $n$-grams for kinds. Those seen $r$ times have the count $r^*$; the
$n_0 = V^n - \sum_{r \ge 1} n_r$ others have $r_0^* = n_1 / n_0$ each (where $n_1$ or $n_0$ is $0$, with $1$ in its
place). Dividing by their sum in each context,

$$
P(w \mid c) = \frac{r^*(cw)}{\sum_u r^*(cu)}, \qquad
\sum_u r^*(cu) = \sum_{u \text{ seen after } c} r^*(cu) + (\text{number unseen after } c)\, r_0^*. \qquad \text{(E4)}
$$

A context that was never seen has equal $r^*$ for all tokens and gets the uniform distribution. The model treats all
unseen continuations alike, and most possible $n$-grams are nonsense, so at high orders nearly all of its unseen mass
goes to nonsense. Alone it is a poor model; what it knows is *how much* to take away, not whom to give it.

## Katz: give it to the shorter context

Katz discounts the counts up to $k = 5$, which are the unreliable ones, and trusts the others: a count $r$ becomes
$d_r r$. The amount taken from a count is to be a fixed multiple of what Good and Turing take, and all that is taken is
to be the $n_1$ that they give to the unseen.

**Claim** `markov.katz-discounts`. Let $n_1, \dots, n_{k+1} > 0$ with $(k+1)\, n_{k+1} < n_1$. The only numbers with
$1 - d_r = \mu\, (1 - r^* / r)$ for $1 \le r \le k$ and some $\mu$, and $\sum_{r=1}^{k} n_r\, (1 - d_r)\, r = n_1$, are

$$d_r = \frac{r^*/r - A}{1 - A}, \qquad A = \frac{(k+1)\, n_{k+1}}{n_1}. \qquad \text{(E5)}$$

**Proof.** By (E2), $n_r\, (r - r^*) = r\, n_r - (r+1)\, n_{r+1}$, and the sum over $r = 1, \dots, k$ telescopes to
$n_1 - (k+1)\, n_{k+1}$. So the second condition reads $\mu\, (n_1 - (k+1)\, n_{k+1}) = n_1$, that is,
$\mu = 1 / (1 - A)$, and $d_r = 1 - \mu + \mu\, r^*/r = (1 - A - 1 + r^*/r) / (1 - A)$. $\blacksquare$

Where the hypothesis fails, or a $d_r$ falls outside $(0, 1)$, as it does on short texts and small alphabets, the order
takes one half from each count up to $k$: $d_r = 1 - 1/(2r)$. The probabilities are, in the form (E1) of
`fp_markov.smoothing`,

$$
p(cw) = \frac{d_{N(cw)} N(cw)}{N(c)}, \qquad
\beta(c) = \frac{1 - \sum_{w \in S} p(cw)}{1 - \sum_{w \in S} P_{n-1}(w \mid c')}, \qquad
S = \{ w : N(cw) > 0 \}. \qquad \text{(E6)}
$$

**Claim** `markov.katz-proper`. With (E6), and $P_{n-1}$ positive for some token outside $S$, $P_n(\cdot \mid c)$ is a
distribution.

**Proof.** Then the denominator of $\beta(c)$ is positive; $d_r \le 1$ makes the numerator not negative. Multiply out:
this is (E4) of `fp_markov.smoothing`, to which `markov.backoff-proper` applies. $\blacksquare$

Two cases remain. If every token was seen after $c$, there is nobody to give to: the $p(cw)$ are divided by their sum.
If nothing was taken, because all counts exceed $k$, the unseen would get nothing: then one more event is added to
$N(c)$, which leaves them $1 / (N(c) + 1)$.

## In practice

Katz back-off was the standard of speech recognition before Kneser-Ney. Note what back-off does differently from
interpolation: a token that was seen once keeps its own discounted estimate, and the shorter context has no say in it.
The same missing-mass estimate tells biologists how many species a survey missed, and measures how much of a language
model's training set is still news.

References: I. J. Good, 1953; S. Katz, 1987; W. Gale and G. Sampson, "Good-Turing frequency estimation without tears",
1995.
"""

import numpy as np
from jaxtyping import Float, Int

from fp_markov.counting import Level
from fp_markov.smoothing import Weights, below, context_totals

__all__ = ["good_turing", "katz", "good_turing_counts", "katz_discounts"]  # the order of the page

K = 5  # the highest count that Katz discounts


def good_turing(levels: list[Level]) -> list[Weights]:
    """
    Good-Turing counts, normalised in each context (E4).

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.

    Returns
    -------
    list of Weights
        One for each order, lowest first; what is unseen is equally likely.
    """
    weights = []
    for n, level in enumerate(levels, start=1):
        V = level.n_outcomes
        counts = good_turing_counts(level.counts)
        n_seen = np.count_nonzero(level.counts)
        # with bos a context's first place has one token more; V^n is a rough number of kinds in any case
        unseen = max(int(np.count_nonzero(level.counts == 1)), 1) / max(float(V) ** n - n_seen, 1.0)
        kinds = context_totals(level, (level.counts > 0).astype(np.int64))
        Z = context_totals(level, counts) + (V - kinds) * unseen
        probability = counts / Z[level.contexts]
        weights.append(Weights(level.keys, probability, V * unseen / Z, uniform_below=True))
    return weights


def katz(levels: list[Level]) -> list[Weights]:
    """
    Discounts for low counts, back-off for what is unseen (E6).

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.

    Returns
    -------
    list of Weights
        One for each order, lowest first.
    """
    weights: list[Weights] = []
    for level in levels:
        r, contexts = level.counts, level.contexts
        d = katz_discounts(r)
        kept = np.concatenate((d[: K + 1], [1.0]))[np.minimum(r, K + 1)] * r
        N, kinds = context_totals(level, r), context_totals(level, (r > 0).astype(np.int64))
        untouched = (context_totals(level, kept) >= N) & (kinds < level.n_outcomes)
        probability = kept / (N + untouched)[contexts]
        lower = below(level, weights[-1] if weights else None)
        left, room = 1 - context_totals(level, probability), 1 - context_totals(level, lower)
        full = kinds == level.n_outcomes
        backoff = np.divide(left, room, out=np.ones(len(N)), where=(N > 0) & ~full)
        probability /= np.where(full, 1 - left, 1)[contexts]
        weights.append(Weights(level.keys, probability, np.where(full, 1.0, backoff)))
    return weights


def good_turing_counts(counts: Int[np.ndarray, " G"]) -> Float[np.ndarray, " G"]:
    """
    The estimate r* of each count: (E2) where it is sharp, else (E3).

    Parameters
    ----------
    counts
        How often each kind was seen.

    Returns
    -------
    ndarray
        In the order of `counts`. Where all counts are equal there is no line to fit, and they are returned.

    Examples
    --------
    Forty kinds were seen once, ten twice, three three times: the estimates lie below the counts.

    >>> good_turing_counts(np.repeat([1, 2, 3], [40, 10, 3]))[[0, 40, 50]].round(2)
    array([0.4 , 1.17, 2.05])
    """
    r, at = np.unique(counts, return_inverse=True)
    n = np.bincount(at).astype(np.float64)
    seen = r > 0
    if seen.sum() < 2:
        return counts.astype(np.float64)
    q = np.concatenate(([0], r[seen][:-1]))
    t = np.concatenate((r[seen][1:], [2 * r[seen][-1] - q[-1]]))
    x, y = np.log(r[seen]), np.log(2 * n[seen] / (t - q))
    b = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    star = np.zeros(len(r))
    star[seen] = r[seen] * (1 + 1 / r[seen]) ** (b + 1)
    for i in np.flatnonzero(seen):
        if i + 1 == len(r) or r[i + 1] != r[i] + 1:
            break
        raw = r[i + 1] * n[i + 1] / n[i]
        deviation = r[i + 1] / n[i] * np.sqrt(n[i + 1] * (1 + n[i + 1] / n[i]))
        if abs(raw - star[i]) <= 1.65 * deviation:
            break
        star[i] = raw
    return star[at]


def katz_discounts(counts: Int[np.ndarray, " G"]) -> Float[np.ndarray, "K"]:
    """
    The factors d_r (E5), or what stands in for them where they do not exist.

    Parameters
    ----------
    counts
        How often each kind was seen.

    Returns
    -------
    ndarray
        Index r is the factor for a count of r, from 0 (which is 1) to 5.

    Examples
    --------
    >>> katz_discounts(np.repeat([1, 2, 3, 4, 5, 6], [90, 30, 16, 9, 6, 4])).round(3)
    array([1.   , 0.545, 0.727, 0.659, 0.773, 0.727])
    """
    n = np.bincount(counts[counts <= K + 1], minlength=K + 2).astype(np.float64)
    r = np.arange(1.0, K + 1)
    if n[1:].all() and (K + 1) * n[K + 1] < n[1]:
        A = (K + 1) * n[K + 1] / n[1]
        d = ((r + 1) * n[2:] / (r * n[1:-1]) - A) / (1 - A)
        if ((d > 0) & (d < 1)).all():
            return np.concatenate(([1.0], d))
    return np.concatenate(([1.0], 1 - 1 / (2 * r)))
