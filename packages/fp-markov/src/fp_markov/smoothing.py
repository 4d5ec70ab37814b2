r"""
Smoothing: probability for what has not been seen.

A model that counts (`fp_markov.counting`) gives probability zero to every n-gram that its text lacks, and one such
n-gram makes a whole held-out text impossible. This section derives the repair that won every comparison for twenty
years: interpolated **modified Kneser-Ney**. It takes a little from every count, asks a model with a shorter context to
spread what was taken, and asks *that* model a different question.

You need: `fp_markov.counting`; slopes and concave functions.

## Take a little from every count

Let $a(g)$ be the count of an $n$-gram $g = cw$ and let $D(a)$ be the **discount** for a count $a$, with
$0 < D(a) \le a$ for $a \ge 1$ and $D(0) = 0$. Write $c'$ for the context $c$ without its first token. For $n = 1$ the
context is empty and has no $c'$: there $P_{n-1}(w \mid c')$ stands for $P_0(w)$, the uniform distribution. With the
total $A(c) = \sum_w a(cw)$ and the share that is taken, $\gamma(c) = \sum_w D(a(cw)) / A(c)$,

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

The start of the text counts as one such $v$, a neighbour unlike every token; so every $n$-gram of the text has
$a(g) \ge 1$.

## How much to take

A good discount is one under which the text would have predicted itself. Let $n_r$ be the number of $n$-grams with
count $r$. Take away one occurrence of an $n$-gram and ask the rest for it. If its count was $r \ge 2$, the rest
discounts $r - 1$: a probability proportional to $r - 1 - D$. If its count was $1$, it is now unseen and gets a share
of what was taken, proportional to $D$. An $n$-gram of count $r$ has $r$ occurrences, so up to terms that do not
contain $D$, and neglecting that the removal also changes the lower order, the **leave-one-out log-likelihood** of one
discount $0 < D < 1$ is

$$L(D) = n_1 \ln D + \sum_{r \ge 2} r\, n_r \ln (r - 1 - D). \qquad \text{(E5)}$$

**Claim** `markov.discount-bound`. If $n_1, n_2 > 0$ then $L$ has exactly one maximum $D^*$ in $(0, 1)$, and
$D^* \le Y = n_1 / (n_1 + 2 n_2)$, with equality only if nothing has a count above 2.

**Proof.** Each term is a logarithm of a linear function of $D$, hence concave, the first one strictly, so $L$ is
strictly concave. As $D \to 0$ the first term tends to $-\infty$ and the rest stay bounded; as $D \to 1$ the term
$2 n_2 \ln (1 - D)$ tends to $-\infty$ and the rest stay bounded above. So there is one maximum, inside, where the
slope is zero:

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
D(a) = D_{\min(a, 3)}. \qquad \text{(E6)}
$$

No $D_r$ exceeds $r$, as the first claim asks. But these are estimates, and a short text or a small alphabet can leave
$n_1$, $n_2$ or $n_3$ at zero, or push a $D_r$ to zero or below, where the claim's other hypothesis fails. Then the
whole level falls back on $D = (\tfrac12, 1, \tfrac32)$, the values that KenLM also offers.

## In practice

Until the 2010s modified Kneser-Ney models, the largest of a hundred billion words, ran in most translators and speech
recognisers. They were overtaken by the networks of stage 3, whose contexts do not have to match exactly. It remains
the baseline that a small network must beat, and it is not easily beaten on little text. What is lost here against
plain Kneser-Ney: with one discount, and raw lower-order counts replaced by (E4), the model's bigrams add up to the
text's own unigram frequencies; three discounts give that up for a better fit.

References: R. Kneser and H. Ney, 1995; S. Chen and J. Goodman, "An empirical study of smoothing techniques for
language modeling", 1999.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fp_markov.counting import Level

__all__ = ["Interpolation", "discounts", "modified_kneser_ney"]  # the order of the page

FALLBACK = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Interpolation:
    """One order of an interpolated model: `P_n(w|c) = share(cw) + backoff(c) P_{n-1}(w|c')`."""

    share: Float[np.ndarray, " G"]
    """First term of (E1) for each n-gram, by rank; zero for all others."""
    backoff: Float[np.ndarray, " C"]
    """Gamma of (E1) for each context, by rank; one, as (E2) asks, for all others."""
    discounts: Float[np.ndarray, "3"]
    """The three discounts (E6)."""


def discounts(counts: Int[np.ndarray, " G"]) -> Float[np.ndarray, "3"]:
    """
    Discounts for counts of one, two, and three or more (E6).

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
    Y = n[1] / (n[1] + 2 * n[2])
    D = r - (r + 1) * Y * n[2:5] / n[1:4]
    return D if (D > 0).all() else np.array(FALLBACK)


def modified_kneser_ney(levels: list[Level]) -> list[Interpolation]:
    """
    The weights of every order, from the counts of a text.

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.

    Returns
    -------
    list of Interpolation
        One for each order, lowest first.
    """
    weights = []
    for n, level in enumerate(levels):
        if n + 1 < len(levels):  # (E4): every distinct longer n-gram is one left neighbour of its suffix
            a = np.bincount(levels[n + 1].suffixes, minlength=len(level.keys))
            a[level.opening] += 1
        else:
            a = level.counts
        D = discounts(a)
        taken = D[np.minimum(a, 3) - 1]
        contexts = level.contexts
        n_contexts = len(levels[n - 1].keys) if n else 1
        A = np.bincount(contexts, a, n_contexts)
        share = (a - taken) / A[contexts]
        # the text's last context may have no continuation: A = 0, and (E2) is a backoff of one
        backoff = np.divide(np.bincount(contexts, taken, n_contexts), A, out=np.ones(n_contexts), where=A > 0)
        weights.append(Interpolation(share, backoff, D))
    return weights
