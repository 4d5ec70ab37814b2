r"""
Witten and Bell: how often was something new before?

Read the tokens that follow a context, one after the other. Some are repetitions, some are the first of their kind. A
reader who has been surprised often expects to be surprised again: that expectation, counted, is this smoothing. It came
from text compression, where a coder must reserve some code space for the next novelty at every step.

You need: `fp_markov.smoothing`.

## Counting novelties

After context $c$ came $N(c)$ tokens, of $T(c)$ different kinds. Each kind was new exactly once, so $T(c)$ of the $N(c)$
events were novelties. Add those events to the books: of $N(c) + T(c)$ events in all, $N(cw)$ were the token $w$ and
$T(c)$ were "something new". On something new the shorter context is asked what it might be:

$$
P_n(w \mid c) = \frac{N(cw)}{N(c) + T(c)} + \frac{T(c)}{N(c) + T(c)}\, P_{n-1}(w \mid c') \qquad \text{if } N(c) > 0,
\qquad \text{(E1)}
$$

and $P_{n-1}(w \mid c')$ otherwise.

**Claim** `markov.witten-bell-proper`. Every $P_n(\cdot \mid c)$ is a distribution in which each of the $V$ tokens has
positive probability. The mass that the shorter context hands out is at most one half, and it is one half only if no
token came twice.

**Proof.** By induction on $n$, from $P_0 = 1/V$. Without $c$ in the text there is nothing to show. Otherwise
$T(c) \ge 1$, so the second term of (E1) is positive; the first sums to $N(c) / (N(c) + T(c))$ over $w$, the second to
$T(c) / (N(c) + T(c))$, together one. Each kind came at least once, so $T(c) \le N(c)$, with equality only if each came
once, and $T / (N + T) \le 1/2$ says the same. $\blacksquare$

It looks at the one thing that additive smoothing ignores: how varied the continuations of *this* context are. After
"San" few kinds follow and the shorter context is hardly asked; after "the" many do.

## In practice

For little text it is close to the best and needs no setting and no counts of counts, which is why it is the usual
fall-back where those of `fp_markov.kneser_ney` do not exist. Compressors of the PPM family know it as method C; others
of the family give the novelty other shares.

Reference: I. Witten and T. Bell, "The zero-frequency problem", 1991.
"""

import numpy as np

from fp_markov.counting import Level
from fp_markov.smoothing import Weights, context_totals, interpolated

__all__ = ["witten_bell"]


def witten_bell(levels: list[Level]) -> list[Weights]:
    """
    Interpolation by the number of different continuations (E1).

    Parameters
    ----------
    levels
        What `fp_markov.counting.count_ngrams` returned.

    Returns
    -------
    list of Weights
        One for each order, lowest first.

    Examples
    --------
    After token 0 came three tokens of two kinds, after token 1 one of one kind:

    >>> from fp_markov.counting import count_ngrams
    >>> witten_bell(count_ngrams(np.array([0, 1, 0, 0, 0]), 2, vocab_size=2))[1].backoff
    array([0.4, 0.5])
    """
    weights: list[Weights] = []
    for level in levels:
        N = context_totals(level, level.counts)
        T = context_totals(level, (level.counts > 0).astype(np.int64))
        events = np.maximum(N + T, 1)  # a context that nothing follows has none
        gamma = np.where(N > 0, T / events, 1.0)
        share = level.counts / events[level.contexts]
        weights.append(interpolated(level, weights[-1] if weights else None, share, gamma))
    return weights
