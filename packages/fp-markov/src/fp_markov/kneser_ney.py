r"""
Kneser and Ney: take a little from every count, and ask a better question.

Good and Turing's estimates (`fp_markov.good_turing`) lie below the counts by an amount that, from counts of two on,
hardly grows. So subtract a constant: **absolute discounting**. Then look at the shorter model, which spreads what was
taken. It is asked only where the longer context has little to say, and for that question raw counts are the wrong
statistics. **Kneser-Ney** gives it the right ones, and **modified** Kneser-Ney, with three constants in place of one,
won the comparisons of its time.

You need: `fp_markov.smoothing`, `fp_markov.good_turing`; slopes and concave functions.

## Take a little from every count

Let $a(g)$ be the count of an $n$-gram $g = cw$ and let $D(a)$ be the **discount** for a count $a$, with
$0 < D(a) \le a$ for $a \ge 1$ and $D(0) = 0$. Write $c'$ for the context $c$ without its first token, and at $n = 1$
let $P_{n-1}(w \mid c')$ stand for the uniform distribution $P_0(w)$. With the total $A(c) = \sum_w a(cw)$ and the
share that is taken, $\gamma(c) = \sum_w D(a(cw)) / A(c)$,

$$
\begin{aligned}
P_n(w \mid c) &= \frac{a(cw) - D(a(cw))}{A(c)} + \gamma(c)\, P_{n-1}(w \mid c') && \text{if } A(c) > 0,
  & \qquad \text{(E1)} \\
P_n(w \mid c) &= P_{n-1}(w \mid c') && \text{if } A(c) = 0, & \qquad \text{(E2)} \\
P_0(w) &= 1 / V. &&& \qquad \text{(E3)}
\end{aligned}
$$

**Claim** `markov.kneser-ney-proper`. For every context $c$, seen or not, $P_n(\cdot \mid c)$ is a distribution, and
every one of the $V$ tokens has positive probability.

**Proof.** By induction on $n$. $P_0$ is such a distribution. Suppose $P_{n-1}(\cdot \mid c')$ is. Under (E2) there is
nothing to show. Under (E1) the first term is not negative, since $D(a) \le a$. Some $a(cw) \ge 1$, whose discount is
positive, so $\gamma(c) > 0$ and the second term is positive. Summed over $w$, the first term gives
$(A(c) - \sum_w D(a(cw))) / A(c) = 1 - \gamma(c)$ and the second $\gamma(c) \cdot 1$. $\blacksquare$

The taken mass is largest, relative to $A(c)$, after contexts that are followed by many different tokens: exactly those
that are hard to predict.

With the bare counts of every order for $a$ and one constant for all of them this is `absolute_discounting`.

## Ask the shorter model a different question

When is $P_{n-1}$ consulted? Where the longer context has little to say. In English text "Francisco" is a frequent
word, but nearly always after "San", and there the bigram already knows it. After any other word its high count
misleads. What matters is in how many *different* places a word turns up. So below the top order, counts are replaced
by **continuation counts**:

$$
a(g) = \begin{cases}
N(g), \text{ how often } g \text{ occurs} & n = \text{order}, \\
\text{how many different } v \text{ occur before } g & n < \text{order}.
\end{cases} \qquad \text{(E4)}
$$

The start of the text, or of a sentence, counts as such a $v$ at each place where $g$ stands there, a neighbour unlike
every token and unlike every other start; so every $n$-gram of the text has $a(g) \ge 1$, and one that begins with `bos`
keeps its count.

There is a second reason, in figures. Let $n = 2$, and let $N(v)$ count how often $v$ is followed by a token. The
two-token model $P_2$, averaged over the contexts of the text, has a **marginal**: its own opinion about single tokens.
Does it agree with the text?

**Claim** `markov.kneser-ney-marginals`. Let $a = N$ in (E1) at $n = 2$, let $P_1$ be any distribution, let
$\delta(w) = \sum_v D(N(vw))$ be all that is taken from $w$, and $\Delta = \sum_w \delta(w)$. Then

$$
\sum_v \frac{N(v)}{N} \, P_2(w \mid v) = \frac{1}{N} \sum_v N(vw) \quad \text{for every } w \qquad \text{(E5)}
$$

if and only if $P_1(w) = \delta(w) / \Delta$ for every $w$, where $N = \sum_v N(v) > 0$. With one discount $D$ for all
counts, $\delta(w) / \Delta$ is the share of $w$ in the numbers of different tokens $v$ before $w$: the continuation
counts (E4), undiscounted, but for the start of a text without sentences, which is no token and which $N(vw)$ does not
know. With `bos` the two agree.

**Proof.** For $N(v) > 0$ multiply (E1) by $A(v) = N(v)$, where $\gamma(v) N(v) = \sum_w D(N(vw))$, and sum over these
$v$; the others add nothing to either side.

$$
\begin{aligned}
\sum_v N(v)\, P_2(w \mid v) &= \sum_v \big( N(vw) - D(N(vw)) \big) + P_1(w) \sum_v \sum_u D(N(vu)) \\
  &= \sum_v N(vw) - \delta(w) + P_1(w)\, \Delta.
\end{aligned}
$$

This is $\sum_v N(vw)$ exactly if $P_1(w)\, \Delta = \delta(w)$, and $\Delta > 0$ since discounts of positive counts
are. If $D(a) = D$ for all $a \ge 1$, then $\delta(w)$ is $D$ times the number of different $v$ before $w$, $\Delta$ is
$D$ times the sum of those numbers, and $D$ cancels. $\blacksquare$

For longer contexts the same holds with $vc'$ for $v$ and the $n$-grams $c'w$ for $w$. So with one discount, and
undiscounted continuation counts below, the model keeps the marginals of its text; raw counts below would overrate
"Francisco". But a lower order that is smoothed itself, as it must be where tokens are unseen, departs from (E5), and so
does the modified form, whose $\delta$ weighs neighbours seen once, twice and more often differently. How far do the
marginals of the fitted models move? On six thousand words of a text, as the sum over $w$ of what the two sides of (E5)
differ by:

>>> import numpy as np
>>> from pydoc_data.topics import topics
>>> from fp_markov.counting import count_ngrams
>>> from fp_markov.ngram import NGramModel
>>> words = " ".join(topics[name] for name in sorted(topics)).split()[:6000]
>>> ids = np.unique(words, return_inverse=True)[1]
>>> V = int(ids.max()) + 1
>>> N, after = np.bincount(ids[:-1], minlength=V), np.bincount(ids[1:], minlength=V)
>>> def moved(model):
...     P_2 = np.array([model.next_distribution([v]) for v in range(V)])
...     return float(np.abs(N @ P_2 - after).sum() / N.sum())
>>> plain, modified, absolute = (
...     moved(NGramModel(2, V, smoothing).fit(ids))
...     for smoothing in ("kneser_ney", "modified_kneser_ney", "absolute_discounting")
... )
>>> plain < 0.001, 0.05 < modified < absolute
(True, True)

With the lower order undiscounted, nothing moves but the last digits of the arithmetic:

>>> unigrams, bigrams = count_ngrams(ids, 2, V)
>>> neighbours = np.bincount(bigrams.suffixes, minlength=V)
>>> model = NGramModel(2, V).fit(ids)
>>> lower = Weights(unigrams.keys, neighbours / neighbours.sum(), np.zeros(1))
>>> kinds = context_totals(bigrams, np.ones(len(bigrams.keys)))
>>> gamma = 0.75 * kinds / np.maximum(context_totals(bigrams, bigrams.counts), 1)
>>> share = (bigrams.counts - 0.75) / context_totals(bigrams, bigrams.counts)[bigrams.contexts]
>>> model.weights = [lower, interpolated(bigrams, lower, share, gamma)]
>>> moved(model) < 1e-12
True

## How much to take

A good discount is one under which the text would have predicted itself. Let $n_r$ be the number of $n$-grams with
count $r$. Take away one occurrence of an $n$-gram and ask the rest for it. If its count was $r \ge 2$, the rest
discounts $r - 1$: a probability proportional to $r - 1 - D$. If its count was $1$, it is now unseen and gets a share
of what was taken, proportional to $D$. An $n$-gram of count $r$ has $r$ occurrences, so up to terms that do not
contain $D$, and neglecting that the removal also changes the lower order, the **leave-one-out log-likelihood** of one
discount $0 < D < 1$ is

$$L(D) = n_1 \ln D + \sum_{r \ge 2} r\, n_r \ln (r - 1 - D). \qquad \text{(E6)}$$

**Claim** `markov.discount-bound`. If $n_1, n_2 > 0$ then $L$ has exactly one maximum $D^*$ in $(0, 1)$, and
$D^* \le Y = n_1 / (n_1 + 2 n_2)$, with equality only if nothing has a count above 2.

**Proof.** The slope $L'(D) = \frac{n_1}{D} - \sum_{r \ge 2} \frac{r\, n_r}{r - 1 - D}$ is continuous and strictly
falls: $n_1 / D$ falls, and each term that is subtracted rises with $D$. As $D \to 0$ it grows without bound, since
$n_1 > 0$; as $D \to 1$ it falls without bound, through the term of $r = 2$, since $n_2 > 0$. So it is zero at exactly
one $D^*$ in between (`markov.log-slope`, and a continuous function takes every value between two of its values),
positive before and negative after: $L$ rises up to $D^*$ and falls from there. At $D^*$

$$\frac{n_1}{D^*} = \frac{2 n_2}{1 - D^*} + \sum_{r \ge 3} \frac{r\, n_r}{r - 1 - D^*}.$$

The last sum is zero if no $n_r$ with $r \ge 3$ is positive, else positive. Drop it: $n_1 (1 - D^*) \ge 2 n_2 D^*$,
that is, $D^* (n_1 + 2 n_2) \le n_1$. $\blacksquare$

One discount for all counts is crude. Let instead each count $r$ have its own estimate $r - D_r$. The same idea with
free probabilities $\lambda_r$ for the $n$-grams seen $r$ times (leaving one out turns a count of $r + 1$ into $r$)
maximises $\sum_r (r + 1)\, n_{r+1} \ln \lambda_r$ with $\sum_r n_r \lambda_r$ fixed, which by `markov.gibbs` makes
$n_r \lambda_r$ proportional to $(r + 1)\, n_{r+1}$: Good and Turing's estimate $r - D_r = Y (r + 1)\, n_{r+1} / n_r$
with a common factor $Y$. Ask that $D_1$ equal the bound above, and $1 - 2 Y n_2 / n_1 = n_1 / (n_1 + 2 n_2)$ gives
$Y = n_1 / (n_1 + 2 n_2)$. Chen and Goodman use three such discounts, the last for all counts from 3:

$$
D_r = r - (r + 1)\, Y\, \frac{n_{r+1}}{n_r}, \quad r = 1, 2, 3, \qquad Y = \frac{n_1}{n_1 + 2 n_2}, \qquad
D(a) = D_{\min(a, 3)}. \qquad \text{(E7)}
$$

No $D_r$ exceeds $r$, as the first claim asks. But these are estimates, and a short text or a small alphabet can leave
$n_1$, $n_2$ or $n_3$ at zero, or push a $D_r$ to zero or below, where the claim's other hypothesis fails. Then the
whole level falls back on $D = (\tfrac12, 1, \tfrac32)$, the values that KenLM also offers.

## In practice

Until the 2010s modified Kneser-Ney models, the largest of a hundred billion words, ran in most translators and speech
recognisers. They were overtaken by the networks of stage 3, whose contexts do not have to match exactly. It remains
the baseline that a small network must beat, and it is not easily beaten on little text. KenLM counts by external
sorting, as `fp_markov.streaming` does; its estimates and those of `modified_kneser_ney` agree, as a test shows.

References: R. Kneser and H. Ney, 1995; S. Chen and J. Goodman, "An empirical study of smoothing techniques for
language modeling", 1999.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from fp_markov.counting import Level
from fp_markov.smoothing import Weights, context_totals, interpolated

__all__ = [  # the order of the page
    "absolute_discounting",
    "kneser_ney",
    "modified_kneser_ney",
    "continuation_counts",
    "discount",
    "discounts",
]

FALLBACK = (0.5, 1.0, 1.5)


def absolute_discounting(levels: list[Level], discount: float | int | None = None) -> list[Weights]:
    """
    Interpolation (E1) with one discount an order, and bare counts in all orders.

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.
    discount
        D for all orders, in (0, 1]; `None` estimates one for each (`discount`).

    Returns
    -------
    list of Weights
        One for each order, lowest first.

    Raises
    ------
    ValueError
        If the discount lies outside (0, 1].
    """
    return _discounted(levels, [level.counts for level in levels], _one(discount))


def kneser_ney(levels: list[Level], discount: float | int | None = None) -> list[Weights]:
    """
    Interpolation (E1) with one discount an order, and continuation counts (E4) below the highest.

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.
    discount
        D for all orders, in (0, 1]; `None` estimates one for each (`discount`).

    Returns
    -------
    list of Weights
        One for each order, lowest first.

    Raises
    ------
    ValueError
        If the discount lies outside (0, 1].
    """
    return _discounted(levels, continuation_counts(levels), _one(discount))


def modified_kneser_ney(levels: list[Level]) -> list[Weights]:
    """
    Interpolation (E1) with three discounts an order (E7), and continuation counts (E4) below the highest.

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.

    Returns
    -------
    list of Weights
        One for each order, lowest first.
    """
    return _discounted(levels, continuation_counts(levels), discounts)


def continuation_counts(levels: list[Level]) -> list[Int[np.ndarray, " _"]]:
    """
    The counts (E4) of each order, lowest first.

    Examples
    --------
    In "aab", "a" stands behind the start and behind "a", "b" behind "a":

    >>> from fp_markov.counting import count_ngrams
    >>> [a.tolist() for a in continuation_counts(count_ngrams(np.array([0, 0, 1]), 2, vocab_size=2))]
    [[2, 1], [1, 1]]
    """
    counts = []
    for level, longer in pairwise(levels):
        # every different longer n-gram is one left neighbour of its suffix
        neighbours = np.bincount(longer.suffixes, minlength=len(level.keys))
        counts.append(neighbours + np.bincount(level.starts, minlength=len(level.keys)))
    return [*counts, levels[-1].counts]


def discount(counts: Int[np.ndarray, " G"]) -> Float[np.ndarray, "1"]:
    """
    One discount for all counts: the bound Y of `markov.discount-bound`.

    Parameters
    ----------
    counts
        `a(g)` of all n-grams of one length.

    Returns
    -------
    ndarray
        Y, or the first of `FALLBACK` where no count is one or none is two.

    Examples
    --------
    Four n-grams seen once, two twice:

    >>> discount(np.array([1, 1, 1, 1, 2, 2, 3]))
    array([0.5])
    """
    n_1, n_2 = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    return np.array([n_1 / (n_1 + 2 * n_2) if n_1 and n_2 else FALLBACK[0]])


def discounts(counts: Int[np.ndarray, " G"]) -> Float[np.ndarray, "3"]:
    """
    Discounts for counts of one, two, and three or more (E7).

    Parameters
    ----------
    counts
        `a(g)` of all n-grams of one length.

    Returns
    -------
    ndarray
        The estimates, or `FALLBACK` where they do not exist or one is not positive.

    Examples
    --------
    Four n-grams seen once, two seen twice, one each three and four times, so Y = 4 / 8:

    >>> discounts(np.array([1, 1, 1, 1, 2, 2, 3, 4]))
    array([0.5 , 1.25, 1.  ])
    """
    n = np.bincount(counts[counts <= 4], minlength=5).astype(np.float64)
    if not n[1:4].all():
        return np.array(FALLBACK)
    r = np.arange(1.0, 4.0)
    D = r - (r + 1) * discount(counts) * n[2:5] / n[1:4]
    return D if (D > 0).all() else np.array(FALLBACK)


Estimate = Callable[[Int[np.ndarray, " G"]], Float[np.ndarray, " D"]]


def _one(fixed: float | int | None) -> Estimate:
    if fixed is None:
        return discount
    if not 0 < fixed <= 1:
        raise ValueError(f"a discount is taken from counts of one and more and must lie in (0, 1], got {fixed}")
    return lambda _: np.array([float(fixed)])


def _discounted(levels: list[Level], counts: list[Int[np.ndarray, " _"]], estimate: Estimate) -> list[Weights]:
    weights: list[Weights] = []
    for level, a in zip(levels, counts, strict=True):
        D = estimate(a)
        taken = np.concatenate(([0.0], D))[np.minimum(a, len(D))]
        A = context_totals(level, a)
        # the text's last context may have no continuation: A = 0, and (E2) is a back-off of one
        gamma = np.divide(context_totals(level, taken), A, out=np.ones(len(A)), where=A > 0)
        share = (a - taken) / A[level.contexts]
        lower = weights[-1] if weights else None
        weights.append(replace(interpolated(level, lower, share, gamma), discounts=D))
    return weights
