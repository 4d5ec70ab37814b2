r"""
Smoothing: probability for what has not been seen.

A model that counts (`fp_markov.counting`) gives probability zero to every n-gram that its text lacks, and one such
n-gram makes a whole held-out text impossible. It does not take long: of a text of ten words, count the pairs of
neighbours in the first half. Of those in the second half, it has not seen one:

>>> text = "the cat sat on the mat and the rat sat".split()
>>> seen, new = set(zip(text[:5], text[1:6])), list(zip(text[5:], text[6:]))
>>> sum(pair not in seen for pair in new), len(new)
(4, 4)

The sections that follow repair it, each in another way: `fp_markov.additive` pretends to have seen everything a little,
`fp_markov.jelinek_mercer` mixes long contexts with short ones, `fp_markov.good_turing` asks how much of a text is new,
`fp_markov.witten_bell` counts how often something was new before, and `fp_markov.kneser_ney` takes a little from every
count and asks the shorter contexts a better question. This section has what they share: the form in which a smoothed
model is kept.

You need: `fp_markov.counting`.

## One form for all of them

Write $c'$ for the context $c$ without its first token. Every smoothing of this chapter can be written as

$$
P_n(w \mid c) = \begin{cases}
p(cw) & \text{if the text has } cw, \\
\beta(c)\, P_{n-1}(w \mid c') & \text{if it has only } c, \text{ followed by other tokens or none}, \\
P_{n-1}(w \mid c') & \text{if it does not have } c,
\end{cases} \qquad \text{(E1)}
$$

with $P_0(w) = 1/V$, and $c' = c$ the empty context at $n = 1$, where $P_{n-1}(w \mid c')$ stands for $P_0(w)$. The
numbers $p(cw)$ and $\beta(c)$ are all there is to a model: one probability for each $n$-gram of the text, one
**back-off weight** for each context.

A smoothing that **interpolates** gives also the seen tokens a part of the shorter context's belief,

$$P_n(w \mid c) = s(cw) + \gamma(c)\, P_{n-1}(w \mid c'), \qquad s(cw) = 0 \text{ where the text lacks } cw.
\qquad \text{(E2)}$$

**Claim** `markov.backoff-form`. Let (E2) hold for every context of the text, and $P_n(w \mid c) = P_{n-1}(w \mid c')$
for all others. Then (E1) gives the same probabilities with

$$p(cw) = s(cw) + \gamma(c)\, p(c'w), \qquad \beta(c) = \gamma(c), \qquad \text{(E3)}$$

where $p(c'w)$ is $P_0(w)$ if $n = 1$.

**Proof.** By induction on $n$; $P_0$ is the same in both. Where the text lacks $c$, both pass on to $P_{n-1}$. Where it
has $c$ but not $cw$, the share is $0$ and (E2) is the second line of (E1). Where it has $cw$, it has $c'w$ as well, the
end of the same piece of text; so $P_{n-1}(w \mid c')$ is $p(c'w)$ by the first line of (E1) for $n - 1$, and (E2) is
(E3). $\blacksquare$

The form is that of the ARPA files (`fp_markov.arpa`) in which such models have been exchanged since the 1990s. The
numbers of the highest order that is found are all it needs; (E2) needs those of every order.

**Claim** `markov.backoff-proper`. Let $P_{n-1}(\cdot \mid c')$ be a distribution and let $S$ be the tokens that follow
$c$ in the text. With $p(cw) \ge 0$ and $\beta(c) \ge 0$, (E1) is a distribution if and only if

$$\sum_{w \in S} p(cw) + \beta(c) \Big( 1 - \sum_{w \in S} P_{n-1}(w \mid c') \Big) = 1. \qquad \text{(E4)}$$

**Proof.** No term is negative. The tokens outside $S$ have the mass
$\sum_{w \notin S} \beta(c) P_{n-1}(w \mid c') = \beta(c) \big( 1 - \sum_{w \in S} P_{n-1}(w \mid c') \big)$, those of
$S$ have $\sum_{w \in S} p(cw)$: the left side of (E4) is the sum over all tokens. $\blacksquare$

Two smoothings, additive and Good and Turing's, know no shorter contexts: what is unseen is equally likely. For them
$P_{n-1}(w \mid c')$ in (E1) is replaced by $1/V$ at every $n$ (`Weights.uniform_below`).

Where sentences begin with a token `bos` of their own, it is never predicted: $P_0$ is $0$ for it and $1/(V-1)$ for all
others.

## In practice

Zeros are not a matter of little text: `fp_markov.growth` shows that every text is little. A network that ends in a
softmax has no zeros, and so no smoothing by this name; its label smoothing is the additive kind, and its mixtures of
experts and speculative drafts reuse the arithmetic of this page.

Reference: S. Chen and J. Goodman, "An empirical study of smoothing techniques for language modeling", 1999, which
compares all of them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fp_markov.counting import Level

__all__ = ["Weights", "below", "context_totals", "interpolated"]  # the order of the page


@dataclass(frozen=True)
class Weights:
    """One order of a smoothed model, in the form (E1)."""

    keys: Int[np.ndarray, " G"]
    """The n-grams, sorted, as `fp_markov.counting.Level.keys`."""
    probability: Float[np.ndarray, " G"]
    """p of (E1) for each n-gram, by rank."""
    backoff: Float[np.ndarray, " C"]
    """Beta of (E1) for each context, by rank; one where nothing follows."""
    uniform_below: bool = False
    """Whether what is unseen is equally likely, instead of asking the shorter context."""
    discounts: Float[np.ndarray, " D"] | None = None
    """What was taken from counts of 1, 2, …, the last for all higher ones; `None` for other smoothings."""


def below(level: Level, lower: Weights | None) -> Float[np.ndarray, " G"]:
    """
    The probability, under the shorter context, of the last token of each n-gram: p(c'w) of (E3).

    Parameters
    ----------
    level
        The n-grams.
    lower
        The order below; `None` for the uniform distribution, which gives `bos` nothing.

    Examples
    --------
    >>> from fp_markov.counting import count_ngrams
    >>> below(count_ngrams(np.array([0, 2, 1, 0, 2]), 1, vocab_size=3, bos=0)[0], None)
    array([0. , 0.5, 0.5])
    """
    if lower is not None:
        return lower.probability[level.suffixes]
    P = np.full(len(level.keys), 1 / level.n_outcomes)
    if level.bos is not None:
        P[level.tokens == level.bos] = 0
    return P


def context_totals(level: Level, values: Float[np.ndarray, " G"] | Int[np.ndarray, " G"]) -> Float[np.ndarray, " C"]:
    """
    Sum of a number that each n-gram has, over the n-grams of each context, by the context's rank.

    Examples
    --------
    The n-grams of "abab" of length two are "ab", twice, and "ba":

    >>> from fp_markov.counting import count_ngrams
    >>> level = count_ngrams(np.array([0, 1, 0, 1]), 2, vocab_size=2)[1]
    >>> context_totals(level, level.counts)
    array([2., 1.])
    """
    return np.bincount(level.contexts, values, level.n_contexts)


def interpolated(
    level: Level, lower: Weights | None, share: Float[np.ndarray, " G"], gamma: Float[np.ndarray, " C"]
) -> Weights:
    """
    The form (E1) of an order that interpolates (E2), by (E3).

    Parameters
    ----------
    level
        The n-grams.
    lower
        The order below; `None` for the uniform distribution.
    share
        s of (E2), for each n-gram.
    gamma
        Gamma of (E2), for each context.
    """
    return Weights(level.keys, share + gamma[level.contexts] * below(level, lower), gamma)
