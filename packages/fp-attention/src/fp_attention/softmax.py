r"""
The softmax online: a weighted mean in one pass.

A softmax divides by a sum over the whole row, and for safety shifts by the largest score of the whole row. So it seems
that a row has to be read to its end before its first weight is known, and kept, in order to be read again. But nobody
wants the weights; what is wanted is a mean with these weights. Can that be had from one pass over scores and values, a
block at a time, each block forgotten when it is done?

You need: `autograd.exponential-shift`, `fp_neural.softmax` for rounding.

## Three numbers to remember

Let scores $s_1, s_2, \dots$ and values $v_1, v_2, \dots \in \mathbb{R}^{D}$ come one after the other. For a nonempty
set $J$ of them let

$$
m_J = \max_{j \in J} s_j, \qquad l_J = \sum_{j \in J} e^{s_j - m_J}, \qquad a_J = \sum_{j \in J} e^{s_j - m_J}\, v_j :
\qquad \text{(E1)}
$$

the largest score, and with it as shift the sum of the exponentials and the sum of the values weighted by them. The mean
that is wanted over $J$, and the logarithm of the sum of its exponentials, are

$$y_J = \frac{a_J}{l_J}, \qquad \ln \sum_{j \in J} e^{s_j} = m_J + \ln l_J, \qquad \text{(E2)}$$

by `autograd.exponential-shift`, whose shift cancels in the quotient. No exponent in (E1) is above zero, and one is
zero, so $1 \le l_J \le |J|$: nothing overflows, and the division is safe. What is known of two parts is enough for the
whole:

**Claim** `attention.merge`. For disjoint nonempty $I$ and $J$, with $m = \max(m_I, m_J)$,

$$
m_{I \cup J} = m, \qquad l_{I \cup J} = e^{m_I - m}\, l_I + e^{m_J - m}\, l_J, \qquad
a_{I \cup J} = e^{m_I - m}\, a_I + e^{m_J - m}\, a_J. \qquad \text{(E3)}
$$

**Proof.** The largest of a union is the larger of the two largest. In $l_{I \cup J} = \sum_{j \in I \cup J} e^{s_j -
m}$ the terms with $j \in I$ are $e^{s_j - m} = e^{s_j - m_I}\, e^{m_I - m}$ (`markov.exp-sum`), together $e^{m_I - m}\,
l_I$, and likewise those with $j \in J$. The same with the factor $v_j$ in each term. $\blacksquare$

The empty set may be given $m = -\infty$, $l = 0$ and $a = 0$; then (E3) holds if one of the two is empty, reading
$e^{-\infty}$ as $0$.

**Claim** `attention.online-softmax`. Start with the empty set and take in blocks $J_1, J_2, \dots, J_n$, none of them
empty, by (E3). After any number of blocks, (E2) is the softmax-weighted mean, and the log-sum-exp, of all scores so
far, exactly.

**Proof.** By induction: after no block the numbers are those of the empty set. If after $k$ blocks they are those of
$I = J_1 \cup \dots \cup J_k$, then by `attention.merge` they are those of $I \cup J_{k+1}$ after the next. The rest is
(E2). $\blacksquare$

**Claim** `attention.merge-order`. (E3) does not depend on the order of the blocks, nor on which are united first.

**Proof.** Both sides of (E3) are (E1) for the union, and $I \cup J = J \cup I$, $(I \cup J) \cup K = I \cup (J \cup
K)$. $\blacksquare$

So blocks may be computed by different processors, and united when they are done, as decoding over a long cache does.

>>> rng = np.random.default_rng(0)
>>> s, v = rng.normal(size=100) * 20, rng.normal(size=(100, 3))
>>> running = OnlineSoftmax.empty((), 3)
>>> for block in np.split(np.arange(100), [7, 8, 50]):
...     running = running.merge(OnlineSoftmax.of(s[block], v[block]))
>>> p = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
>>> bool(np.allclose(running.mean, p @ v, rtol=1e-13)), bool(np.isclose(running.logsumexp, np.log(np.exp(s).sum())))
(True, True)

## What rounding adds

Each merge multiplies one side, or both, by a computed factor $e^{m_I - m}$ or $e^{m_J - m}$. Does that add up over many
blocks? Let $u$ be the unit roundoff, and let each computed exponential be off by a share of at most $\eta$, and nothing
underflow.

**Claim** `attention.online-rounding`. Take in $n$ blocks of finite scores one after the other by (E3), and let all
differences of a score or a maximum and a maximum be computed exactly. Let a term of block $i$ take part in $k$
additions, and let $r$ be the number of those of the blocks $i, i + 1, \dots, n$ at which one side's factor is not $1$
for the side that holds the term. Then it contributes to the computed $l$ the exact $e^{s_j - m}$ times a number between

$$(1 - \eta)^{1 + r} (1 - u)^{r + k} \quad \text{and} \quad (1 + \eta)^{1 + r} (1 + u)^{r + k}. \qquad \text{(E4)}$$

$r$ is at most one (its own block has a lower maximum than what came before) and one for each later block that raises
the maximum. If the maxima of the blocks are all different and come in random order, the maximum is set or raised $1 +
\frac12 + \dots + \frac1n$ times on average.

**Proof.** A term starts as a computed exponential, a factor between $1 - \eta$ and $1 + \eta$. In a merge its side is
multiplied by the exponential of a difference: if that is zero, by $e^0 = 1$, and the product is exact; otherwise by
another computed exponential, and the product is rounded, a factor between $1 - u$ and $1 + u$. The merge at block $i$
multiplies the new side by something else than $1$ only if its maximum is the lower one, and a later merge multiplies
the old side only if the new maximum is higher. Each addition rounds once. The exact factors multiply to
$e^{s_j - m_i} e^{m_i - m'} e^{m' - m''} \cdots = e^{s_j - m}$. For the last sentence: block $i$ sets or raises the
maximum if its own is the largest of the first $i$, which in random order has probability $\frac1i$, as each of the $i$
is equally likely to be it; means add (`markov.expectation-linear`). $\blacksquare$

So the error grows with the number of *changes*, about $\ln n$ for $n$ blocks in no particular order, and $n$ at worst,
when scores rise all the way. The choice of the shift is free: any number that keeps the sums in range does as well as
the maximum, so kernels change it only when it has fallen behind by a lot.

## In practice

M. Milakov and N. Gimelshein (2018) for the softmax, M. Rabe and C. Staats (2021) for attention, T. Dao et al. (2022)
for a kernel that does it in a processor's fast memory. `fp_attention.tiled` is that kernel here. Parts of a long cache
can be read by several processors, which then merge their three numbers (Flash-Decoding, T. Dao and others, 2023); in
*ring attention* (H. Liu et al., 2023) keys and values travel instead, and each machine merges what it sees.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["OnlineSoftmax"]


class OnlineSoftmax(NamedTuple):
    """
    What is known of the scores and values so far (E1), for any number of rows at once.

    Make one `of` each block, and `merge` them, in any order.
    """

    largest: np.ndarray
    """$m$, of shape `(...)`; minus infinity for no score."""
    total: np.ndarray
    """$l$, of shape `(...)`."""
    weighted: np.ndarray
    """$a$, of shape `(..., D)`."""

    @classmethod
    def empty(cls, shape: tuple[int, ...], width: int) -> "OnlineSoftmax":
        """
        Nothing seen yet.

        Parameters
        ----------
        shape
            Of the rows, `()` for one.
        width
            $D$, how many numbers a value has.

        Returns
        -------
        OnlineSoftmax
            To merge into.
        """
        return cls(np.full(shape, -np.inf), np.zeros(shape), np.zeros((*shape, width)))

    @classmethod
    def of(cls, scores: Float[np.ndarray, "*rows T"], values: Float[np.ndarray, "*others T D"]) -> "OnlineSoftmax":
        """
        A block (E1).

        Parameters
        ----------
        scores
            Of shape `(..., T)`. Minus infinity is a score that does not count.
        values
            Of shape `(..., T, D)`, with leading axes that broadcast against those of the scores: `(T, D)` for all rows.

        Returns
        -------
        OnlineSoftmax
            Of the block alone.

        Raises
        ------
        ValueError
            If there are not as many values as scores.
        """
        if scores.shape[-1:] != values.shape[-2:-1]:
            raise ValueError(
                f"each score has a value: got {scores.shape[-1:]} scores a row and {values.shape[-2:-1]} values"
            )
        m = scores.max(axis=-1, initial=-np.inf)
        e = np.exp(scores - np.where(np.isneginf(m), 0, m)[..., None])
        return cls(m, e.sum(axis=-1), (e[..., None, :] @ values)[..., 0, :])

    def merge(self, other: "OnlineSoftmax") -> "OnlineSoftmax":
        """
        The two together (E3).

        Parameters
        ----------
        other
            Of other scores, and as many rows.

        Returns
        -------
        OnlineSoftmax
            Of all of them.
        """
        m = np.maximum(self.largest, other.largest)
        shift = np.where(np.isneginf(m), 0, m)
        mine, theirs = np.exp(self.largest - shift), np.exp(other.largest - shift)
        return OnlineSoftmax(
            m,
            mine * self.total + theirs * other.total,
            mine[..., None] * self.weighted + theirs[..., None] * other.weighted,
        )

    @property
    def mean(self) -> np.ndarray:
        """The softmax-weighted mean of the values (E2), of shape `(..., D)`; not a number where there was no score."""
        with np.errstate(invalid="ignore"):
            return self.weighted / self.total[..., None]

    @property
    def logsumexp(self) -> np.ndarray:
        """The logarithm of the sum of the exponentials (E2), of shape `(...)`."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.largest + np.log(self.total))
