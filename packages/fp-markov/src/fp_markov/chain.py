r"""
Chains: where a text goes when its next token depends on the last one alone.

A bigram model is a machine with one state for each token. It draws the next state, forgets how it came there, and
draws again. Run it for long: how often is it in each state, does that depend on where it started, and how many nats
does it produce at each step? For a machine this small, all three questions have complete answers.

You need: `fp_markov.probability` and `fp_markov.information`; division with remainder.

## Steps are products

Let $P_{ij}$ be the probability that state $j$ follows state $i$, for $V$ states: no entry is negative and every row
sums to one. If $W_0$ has distribution $p$, the **chain** is

$$P(W_0 = w_0, \dots, W_T = w_T) = p_{w_0} P_{w_0 w_1} P_{w_1 w_2} \cdots P_{w_{T-1} w_T}. \qquad \text{(E1)}$$

Two tables of numbers are multiplied by $(AB)_{ij} = \sum_k A_{ik} B_{kj}$, and a row of numbers and a table by
$(pA)_j = \sum_i p_i A_{ij}$. The grouping does not matter, since both $((AB)C)_{ij}$ and $(A(BC))_{ij}$ are the sum of
$A_{ik} B_{kl} C_{lj}$ over all $k$ and $l$. So $P^t$, the product of $t$ factors $P$, is unambiguous, and
$P^{s+t} = P^s P^t$. Let $P^0$ have ones on its diagonal and zeros elsewhere: a product with it changes nothing.

**Claim** `markov.chapman-kolmogorov`. For all $s, t \ge 0$ and every state $i$ with $P(W_s = i) > 0$, the chain (E1)
has $P(W_{s+t} = j \mid W_s = i) = (P^t)_{ij}$. Every $P^t$ has rows that are distributions, and $W_t$ has distribution
$p P^t$.

**Proof.** By (E1), one more step multiplies the probability of a path by one factor:
$P(w_0, \dots, w_{s+t}, j) = P(w_0, \dots, w_{s+t}) \, P_{w_{s+t}\, j}$. Sum this over all paths with $w_s = i$ and
$w_{s+t} = k$, for which the factor is the same:

$$P(W_s = i, W_{s+t} = k, W_{s+t+1} = j) = P(W_s = i, W_{s+t} = k) \, P_{kj}. \qquad \text{(E2)}$$

Now use induction on $t$. For $t = 0$, $P(W_s = j \mid W_s = i)$ is $1$ if $j = i$ and $0$ otherwise. Suppose the
statement holds for $t$. Sum (E2) over $k$ and divide by $P(W_s = i)$:

$$P(W_{s+t+1} = j \mid W_s = i) = \sum_k P(W_{s+t} = k \mid W_s = i) \, P_{kj} = \sum_k (P^t)_{ik} P_{kj}
  = (P^{t+1})_{ij}.$$

The entries of $P^{t+1}$ are sums of products of numbers that are not negative, and its rows sum to
$\sum_k (P^t)_{ik} \sum_j P_{kj} = \sum_k (P^t)_{ik} = 1$. At last, by `markov.total-probability`,
$P(W_t = j) = \sum_i P(W_0 = i) (P^t)_{ij} = (p P^t)_j$, where states with $P(W_0 = i) = 0$ add nothing on either side.
$\blacksquare$

## Who reaches whom

State $i$ **reaches** $j$ if $(P^t)_{ij} > 0$ for some $t \ge 0$. If $i$ reaches $j$ in $s$ steps and $j$ reaches $k$
in $t$, then $(P^{s+t})_{ik} \ge (P^s)_{ij} (P^t)_{jk} > 0$, so $i$ reaches $k$. A **closed class** is a set of states
that all reach each other and reach nothing else: once in, the chain never leaves. The chain is **irreducible** if all
states reach each other, so that they form one closed class.

Every state $i$ reaches a closed class. Among the states that $i$ reaches let $k$ be one that reaches the fewest, and
let $R$ be the set that $k$ reaches. A state $j$ of $R$ reaches only states of $R$, and not fewer, by the choice of $k$:
so it reaches all of $R$. Hence $R$ is a closed class.

## Stationary distributions

A distribution $\pi$ is **stationary** if $\pi P = \pi$: a chain that starts in it stays in it, though its state keeps
moving.

**Claim** `markov.stationary-exists`. Every finite chain has a stationary distribution.

**Proof.** Take a closed class and number its states $0, \dots, n$. Their rows have all their mass inside the class. A
stationary distribution of the class, with zeros elsewhere, is one of the whole chain. So let the chain be irreducible
and use induction on $n$. For $n = 0$ there is one state, and $\pi_0 = 1$. For $n \ge 1$, watch the chain only while it
is not in state $n$. Put $s = \sum_{j<n} P_{nj}$, which is positive, since state $n$ reaches the others; what is left
of its row is $P_{nn} = 1 - s$. From $i < n$ the chain either goes to $j < n$ at once or enters $n$, and leaves it for
$j$ with probability $P_{nj} / s$:

$$P'_{ij} = P_{ij} + \frac{P_{in}}{s} P_{nj}, \qquad i, j < n. \qquad \text{(E3)}$$

These entries are not negative, and row $i$ sums to $\sum_{j<n} P_{ij} + P_{in} = 1$. The chain $P'$ is irreducible: a
path of positive probability between two of its states becomes one of $P'$ when its visits to $n$ are left out, because
$P_{in} P_{nj} > 0$ makes $P'_{ij} > 0$. By the induction hypothesis there is $\pi' = \pi' P'$ on the states below $n$.
Let

$$x_i = \pi'_i \ \text{ for } i < n, \qquad x_n = \frac{1}{s} \sum_{i<n} x_i P_{in}. \qquad \text{(E4)}$$

For $j < n$, $\sum_{i<n} x_i P_{ij} + x_n P_{nj} = \sum_{i<n} x_i P'_{ij} = x_j$. For state $n$,
$\sum_{i<n} x_i P_{in} + x_n P_{nn} = s x_n + (1 - s) x_n = x_n$. So $x P = x$, and dividing $x$ by its sum makes it a
distribution. $\blacksquare$

The proof is also the algorithm: eliminate states by (E3), return by (E4). It never subtracts, so no digits cancel, and
even a probability of $10^{-150}$ comes out with a small relative error.

**Claim** `markov.stationary-unique`. A finite chain has exactly one stationary distribution if and only if it has
exactly one closed class. That distribution is positive on the class and zero elsewhere. So an irreducible chain has
exactly one, and all its entries are positive.

**Proof.** By the last proof each closed class carries a stationary distribution, and those of two classes differ. So
let there be one closed class $C$, and let $\pi$ be stationary.

*Zero elsewhere.* Write $q_i(t) = \sum_{j \in C} (P^t)_{ij}$, which is $1$ for $i \in C$. Since $\pi = \pi P^t$,

$$\sum_{i \in C} \pi_i = \sum_i \pi_i q_i(t) = \sum_{i \in C} \pi_i + \sum_{i \notin C} \pi_i q_i(t),$$

so $\pi_i q_i(t) = 0$ for every $i \notin C$ and every $t$. As $i$ reaches a closed class and $C$ is the only one,
$q_i(t) > 0$ for some $t$. Hence $\pi_i = 0$.

*Positive on the class.* Let $x$ have entries that are not negative, with $x P = x$ and $x = 0$ outside $C$. If
$x_i > 0$ for one $i \in C$, then for each $j \in C$ some $t$ has $x_j = (x P^t)_j \ge x_i (P^t)_{ij} > 0$. So $x$ is
positive on all of $C$ or zero on all of it. And $\pi$ is not zero, since it sums to one.

*One only.* Let $\sigma$ be stationary too, let $c$ be the least of the ratios $\sigma_i / \pi_i$ over $C$, and let it
be reached at $k$. Then $x = \sigma - c \pi$ is not negative, $x P = x$, and $x_k = 0$. By the last paragraph $x = 0$:
$\sigma = c \pi$. Both sum to one, so $c = 1$. $\blacksquare$

A chain with two closed classes remembers where it started:

>>> two_islands = StationaryChain(np.array([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0.9, 0.1], [0, 0, 0.2, 0.8]]))
>>> two_islands.step(np.array([1.0, 0, 0, 0]), 1000).round(3), two_islands.step(np.array([0, 0, 0, 1.0]), 1000).round(3)
(array([0.5, 0.5, 0. , 0. ]), array([0.   , 0.   , 0.667, 0.333]))

## The period

A stationary distribution need not be a limit. Two states that only lead to each other have $\pi = (1/2, 1/2)$, and yet

>>> flip = StationaryChain(np.array([[0.0, 1.0], [1.0, 0.0]]))
>>> [flip.step(np.array([1.0, 0.0]), t).tolist() for t in (100, 101)]
[[1.0, 0.0], [0.0, 1.0]]

Let $S_i = \{t \ge 1 : (P^t)_{ii} > 0\}$ be the **return times** of $i$. The **period** of an irreducible chain is the
greatest common divisor of $S_i$; the chain is **aperiodic** if it is $1$. Let $\ell(i)$ be the least number of steps
in which state $0$ reaches $i$.

**Claim** `markov.period`. In an irreducible finite chain all $S_i$ have the same greatest common divisor, and it is
that of the numbers $\ell(i) + 1 - \ell(j)$ over all $i$, $j$ with $P_{ij} > 0$.

**Proof.** Let $d_i$ be the divisor of $S_i$. Say $i$ reaches $j$ in $a$ steps and $j$ reaches $i$ in $b$. For every
$t \in S_j$ both $a + b$ and $a + t + b$ are return times of $i$, so $d_i$ divides their difference $t$. As it divides
all of $S_j$, it divides $d_j$. With $i$ and $j$ exchanged, $d_j$ divides $d_i$. So they are equal; call them $d$.

Let $g$ be the divisor of the differences. Along a path from $0$ back to $0$ in $t$ steps, add the differences of its
steps: every $\ell$ appears once with a plus and once with a minus, and what remains is $t$. So $g$ divides all of
$S_0$, hence $d$. Now let $P_{ij} > 0$, and let $j$ reach $0$ in $b$ steps. One may return from $0$ to $0$ over $i$ and
$j$ in $\ell(i) + 1 + b$ steps, or over $j$ in $\ell(j) + b$. So $d$ divides the difference $\ell(i) + 1 - \ell(j)$,
for every such $i$ and $j$, hence $g$. $\blacksquare$

**Claim** `markov.return-times`. Let $S$ be a set of positive integers with $a + b \in S$ for all $a, b \in S$, and let
$1$ be the greatest common divisor of $S$. Then $S$ contains all integers from some point on.

**Proof.** Let $G$ be the set of all differences of two elements of $S$. Sums and differences of elements of $G$ are in
$G$: $(a - b) + (c - e) = (a + c) - (b + e)$, and $-(a - b) = b - a$. Let $k$ be its least positive element. (There is
one: $a \in S$ gives $2a - a = a \in G$.) For $a \in S$ divide with remainder, $a = qk + r$ with $0 \le r < k$. Then
$r = a - qk \in G$, and $r = 0$ because $k$ is the least positive one. So $k$ divides all of $S$, and $k = 1$: there is
$b$ with $b \in S$ and $b + 1 \in S$. For $n \ge b^2$ write $n = qb + r$ with $0 \le r < b$. Then $q \ge b > r$, and
$n = (q - r)\, b + r\, (b + 1)$ is a sum of elements of $S$. $\blacksquare$

## Forgetting

How far apart two distributions are is half the sum of their differences, the **total variation**
$d(p, q) = \frac12 \sum_j |p_j - q_j|$: $0$ if they are equal, $1$ if no state has mass in both. Since
$|a - b| = a + b - 2 \min(a, b)$, it is also $1 - \sum_j \min(p_j, q_j)$. The largest distance between two rows of a
chain is its **contraction coefficient**, with $P_i$ for row $i$:

$$\delta(P) = \max_{i, k}\ d(P_i, P_k) = 1 - \min_{i, k} \sum_j \min(P_{ij}, P_{kj}). \qquad \text{(E5)}$$

**Claim** `markov.contraction`. $d(pP, qP) \le \delta(P) \, d(p, q)$ for all distributions $p$, $q$, and no smaller
factor will do.

**Proof.** Let $h = d(p, q)$; if it is $0$, both sides are. Let $a_i = \max(p_i - q_i, 0)$ and
$b_i = \max(q_i - p_i, 0)$, so that $p - q = a - b$. Both sum to $h$: their sums are equal because $p$ and $q$ have
equal sums, and they add up to $2h$. So $a_i = \frac1h \sum_k a_i b_k$ and $b_k = \frac1h \sum_i a_i b_k$, and

$$(pP)_j - (qP)_j = \sum_i a_i P_{ij} - \sum_k b_k P_{kj} = \frac1h \sum_{i, k} a_i b_k (P_{ij} - P_{kj}).$$

The absolute value of a sum is at most the sum of the absolute values. Sum over $j$ and halve:
$d(pP, qP) \le \frac1h \sum_{i,k} a_i b_k \, d(P_i, P_k) \le \frac1h \cdot h \cdot h \cdot \delta(P)$. If $p$ is
certain of state $i$ and $q$ of another state $k$, then $d(p, q) = 1$ and $d(pP, qP) = d(P_i, P_k)$, whose largest value
is $\delta(P)$. $\blacksquare$

**Claim** `markov.stationary-limit`. Let a finite chain be irreducible and aperiodic, with stationary distribution
$\pi$. There is an $m \ge 1$ such that all entries of $P^m$ are positive. Then $\delta(P^m) < 1$, and for every
distribution $p$ and every $t \ge 0$,

$$d(pP^t, \pi) \le \delta(P^m)^{\lfloor t / m \rfloor}. \qquad \text{(E6)}$$

**Proof.** Sums of return times of $i$ are return times of $i$, and aperiodic means that their greatest common divisor
is $1$. By `markov.return-times` there is $N_i$ such that every $t \ge N_i$ is one; let $N$ be the largest $N_i$. Let
$i$ reach $j$ in $a_{ij}$ steps, and let $A$ be the largest $a_{ij}$. Put $m = N + A$. Then $m - a_{ij} \ge N$, so
$(P^m)_{ij} \ge (P^{m - a_{ij}})_{ii} (P^{a_{ij}})_{ij} > 0$. By the second form of (E5), $\delta(P^m) < 1$.

Write $t = m \lfloor t/m \rfloor + r$. As $\pi = \pi P^t$, the claim `markov.contraction`, used $\lfloor t/m \rfloor$
times for $P^m$ and once for $P^r$, whose coefficient is at most $1$, gives
$d(pP^t, \pi P^t) \le \delta(P^m)^{\lfloor t/m \rfloor} d(p, \pi)$, and no distance exceeds $1$. $\blacksquare$

So the past is forgotten at a geometric rate, and the limit does not depend on the start. The two examples above show
that neither hypothesis can be dropped.

## The entropy rate

Start a chain in a stationary distribution, so that every $W_t$ has distribution $\pi$. How much does a text of $T$
tokens tell? Let $H(W_1, \dots, W_T)$ be the entropy of the distribution of the texts, and let $H(W_T \mid W_{<T})$ be
the mean, over the texts $w_{<T}$ of the first $T - 1$ tokens, of the entropy of the next token given $w_{<T}$.

$$h = \sum_i \pi_i H(P_i) \qquad \text{(E7)}$$

**Claim** `markov.entropy-rate`. For a finite chain that starts in a stationary distribution $\pi$,
$H(W_T \mid W_{<T}) = h$ for every $T \ge 2$, and

$$\frac{H(W_1, \dots, W_T)}{T} = h + \frac{H(\pi) - h}{T}, \qquad H(\pi) - h = \sum_i \pi_i D(P_i \,\|\, \pi) \ge 0.
  \qquad \text{(E8)}$$

So the entropy per token never increases with $T$ and tends to $h$. It is constant only if every row with $\pi_i > 0$
equals $\pi$: tokens that are drawn independently.

**Proof.** By (E1) the next token after a text $w_{<T}$ of positive probability has distribution $P_{w_{T-1}}$, whatever
came before. Its entropy depends on $w_{T-1}$ alone, which is $i$ with probability $\pi_i$: the mean is $h$.

The logarithm of (E1), for a text $w_1, \dots, w_T$, is
$-\ln P(w_1, \dots, w_T) = -\ln \pi_{w_1} - \sum_{t=1}^{T-1} \ln P_{w_t w_{t+1}}$. Take the mean over texts. The first
term gives $H(\pi)$. In each of the $T - 1$ others the pair $(w_t, w_{t+1})$ is $(i, j)$ with probability
$\pi_i P_{ij}$, so that its mean is $-\sum_i \pi_i \sum_j P_{ij} \ln P_{ij} = h$. Together
$H(W_1, \dots, W_T) = H(\pi) + (T - 1) h$. Divide by $T$.

For the second half, $\pi_j = \sum_i \pi_i P_{ij}$, so $H(\pi) = -\sum_i \pi_i \sum_j P_{ij} \ln \pi_j$. Subtract $h$:
$H(\pi) - h = \sum_i \pi_i \sum_j P_{ij} \ln (P_{ij} / \pi_j)$, the sum of divergences. By `markov.gibbs` none is
negative, and all with $\pi_i > 0$ are zero only if those rows equal $\pi$. $\blacksquare$

The first token costs $H(\pi)$, every later one $h$. How much less that is says what one token of context is worth:

>>> weather = StationaryChain(np.array([[0.9, 0.1], [0.5, 0.5]]))
>>> round(float(entropy(weather.stationary())), 3), round(weather.entropy_rate(), 3)
(0.451, 0.386)

## In practice

A model of order $n$ is a chain too: its states are the contexts of $n - 1$ tokens, and from a context only those
contexts follow that repeat its last $n - 2$ tokens. A language model with a window of $n$ tokens is such a chain with
$V^n$ states, far too many for a table, but all claims hold for it: at any temperature above zero every token has
positive probability, so it is irreducible and aperiodic, and left alone for long enough it forgets its prompt. In most
applications an end token stops it first: that makes a closed class of one state. Web search began with the stationary
distribution of a chain over pages (PageRank), which was made irreducible by the same trick as here, a small probability
of jumping anywhere. The elimination (E3) is by Grassmann, Taksar and Heyman (1985); the coefficient (E5) is Dobrushin's
(1956).
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from fp_markov.counting import as_ids, check_ids
from fp_markov.information import check_distribution, entropy

__all__ = ["StationaryChain"]


class StationaryChain:
    """
    A chain whose step is the same at every time, given by the table of its probabilities.

    Parameters
    ----------
    P
        Row `i` is the distribution of the state after `i`.

    Attributes
    ----------
    P : ndarray
        The table in float64, each row divided by its sum; not writable.

    Raises
    ------
    ValueError
        If `P` is not square, or if a row is not a distribution.

    Examples
    --------
    Two sunny days of three: from sun to rain with probability 0.2, back with 0.4.

    >>> weather = StationaryChain(np.array([[0.8, 0.2], [0.4, 0.6]]))
    >>> weather.stationary().round(3)
    array([0.667, 0.333])
    """

    def __init__(self, P: Float[np.ndarray, "V V"]) -> None:
        P = np.asarray(P, np.float64)
        if P.ndim != 2 or P.shape[0] != P.shape[1] or not len(P):
            raise ValueError(f"a chain needs a square table, a row and a column for each state, got shape {P.shape}")
        totals = P.sum(axis=1)
        if not (P >= 0).all():
            raise ValueError(f"the table must hold probabilities, none negative or NaN; its minimum is {P.min()}")
        if not (np.abs(totals - 1) <= 1e-5).all():  # a float32 table of 100,000 states is off by a few 1e-6
            worst = int(np.abs(totals - 1).argmax())
            raise ValueError(
                f"each row must sum to one, but row {worst} sums to {totals[worst]:.6g}. "
                "Divide each row by its sum; if the columns sum to one, transpose."
            )
        self.P = P / totals[:, None]
        self.P.flags.writeable = False

    @classmethod
    def from_text(
        cls, ids: Integer[np.ndarray, " T"] | Sequence[int], vocab_size: int, alpha: float | int = 0.0
    ) -> "StationaryChain":
        """
        The chain of maximum likelihood, `markov.counting-is-mle`, or with every count raised by `alpha`.

        Parameters
        ----------
        ids
            A text.
        vocab_size
            Number of states.
        alpha
            Added to each count. Zero is maximum likelihood; above zero the chain is irreducible and aperiodic.

        Returns
        -------
        StationaryChain
            Its row `i` are the relative frequencies of what follows `i` in the text.

        Raises
        ------
        ValueError
            If the text has less than two tokens, an id lies outside the vocabulary, `alpha` is negative or not finite,
            or it is zero and nothing follows some state in the text.
        TypeError
            If the ids are no integers.

        Examples
        --------
        >>> StationaryChain.from_text([0, 1, 0, 0, 1, 0], vocab_size=2).P.round(3)
        array([[0.333, 0.667],
               [1.   , 0.   ]])
        """
        ids = as_ids(ids, "from_text", allow_empty=True)
        if len(ids) < 2:
            raise ValueError(f"a chain is estimated from a text of at least two tokens, got {len(ids)}")
        if not 0 <= alpha < np.inf:
            raise ValueError(f"alpha is added to counts, so it is zero or more and finite, got {alpha}")
        check_ids(ids, vocab_size)
        ids = ids.astype(np.int64, copy=False)
        pairs = ids[:-1] * vocab_size + ids[1:]
        counts = np.bincount(pairs, minlength=vocab_size**2).reshape(vocab_size, vocab_size) + alpha
        totals = counts.sum(axis=1, keepdims=True)
        if not totals.all():
            raise ValueError(
                f"nothing follows state {int(totals.argmin())} in the text, so its row has no relative frequencies. "
                "Give alpha a positive value, or leave states that the text lacks out of the vocabulary."
            )
        return cls(counts / totals)

    def is_irreducible(self) -> bool:
        """Whether all states reach each other."""
        return bool(self._reaches.all())

    def period(self) -> int:
        """
        The greatest common divisor of the return times, by `markov.period`.

        Raises
        ------
        ValueError
            If the chain is not irreducible: its states may differ in period.

        Examples
        --------
        >>> StationaryChain(np.array([[0, 1.0, 0], [0, 0, 1.0], [1.0, 0, 0]])).period()
        3
        """
        if not self.is_irreducible():
            i, j = (int(k) for k in np.argwhere(~self._reaches)[0])
            raise ValueError(f"only an irreducible chain has one period, but state {i} never reaches state {j}")
        level = np.full(len(self.P), -1)
        frontier = np.arange(len(self.P)) == 0
        steps = 0
        while frontier.any():
            level[frontier] = steps
            frontier = (self.P[frontier] > 0).any(axis=0) & (level < 0)
            steps += 1
        source, target = np.nonzero(self.P)
        return int(np.gcd.reduce(level[source] + 1 - level[target]))

    def is_aperiodic(self) -> bool:
        """
        Whether the period is one.

        Raises
        ------
        ValueError
            If the chain is not irreducible.
        """
        return self.period() == 1

    def stationary(self) -> Float[np.ndarray, " V"]:
        """
        The stationary distribution, if there is exactly one (`markov.stationary-unique`).

        Returns
        -------
        ndarray
            Float64, summing to one.

        Raises
        ------
        ValueError
            If there are several, because the chain has several closed classes.

        Examples
        --------
        A state that is left for good has no mass:

        >>> StationaryChain(np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 1.0, 0]])).stationary().round(3)
        array([0.   , 0.667, 0.333])
        """
        # i is in a closed class if every state that it reaches reaches it
        closed = np.flatnonzero((self._reaches <= self._reaches.T).all(axis=1))
        inside = self._reaches[closed[0]]
        if outside := [int(k) for k in closed if not inside[k]]:
            raise ValueError(
                f"the chain has several stationary distributions: states {int(closed[0])} and {outside[0]} belong to "
                "different closed classes, and neither reaches the other. Make a chain of one class, or smooth the "
                "table (alpha of from_text)."
            )
        pi = np.zeros(len(self.P))
        pi[inside] = _eliminate(self.P[np.ix_(inside, inside)])
        return pi

    def entropy_rate(self) -> float:
        """
        Nats per token (E7) of a text that the chain writes.

        Raises
        ------
        ValueError
            If the stationary distribution is not unique.

        Examples
        --------
        Eight states at random are three fair coins, so three bits:

        >>> round(StationaryChain(np.full((8, 8), 1 / 8)).entropy_rate() / float(np.log(2)), 9)
        3.0
        """
        return float(self.stationary() @ entropy(self.P))

    def step(self, p: Float[np.ndarray, "*batch V"], n: int = 1) -> Float[np.ndarray, "*batch V"]:
        """
        The distribution after `n` steps from `p`: `p` times the n-th power of the table.

        Raises
        ------
        ValueError
            If `n` is negative, or `p` is no distribution over the states.
        """
        p = np.asarray(p, np.float64)
        if p.ndim == 0 or p.shape[-1] != len(self.P):
            raise ValueError(f"p needs {len(self.P)} entries, one for each state, got shape {p.shape}")
        return check_distribution(p, "each row of p") @ self._power(n)

    def contraction(self, n: int = 1) -> float:
        """
        The coefficient (E5) of `n` steps: distances between distributions shrink by this factor at least.

        Raises
        ------
        ValueError
            If `n` is negative.

        Examples
        --------
        A day of the weather above leaves 0.4 of every difference, a week almost nothing:

        >>> weather = StationaryChain(np.array([[0.8, 0.2], [0.4, 0.6]]))
        >>> round(weather.contraction(), 3), round(weather.contraction(7), 3)
        (0.4, 0.002)
        """
        power = self._power(n)
        return float(max(np.abs(power - row).sum(axis=1).max() for row in power)) / 2

    def sample(self, n: int, rng: np.random.Generator, start: int | None = None) -> Int[np.ndarray, " n"]:
        """
        A path of `n` states, each drawn exactly by inverting the distribution function.

        Parameters
        ----------
        n
            Length of the path.
        rng
            Source of one uniform number for each state that is drawn.
        start
            First state of the path; `None` draws it from the stationary distribution.

        Returns
        -------
        ndarray
            States.

        Raises
        ------
        ValueError
            If `n` is below 1, `start` is no state, or it is `None` and the stationary distribution is not unique.

        Examples
        --------
        >>> flip = StationaryChain(np.array([[0.0, 1.0], [1.0, 0.0]]))
        >>> flip.sample(5, np.random.default_rng(0), start=1).tolist()
        [1, 0, 1, 0, 1]
        """
        if n < 1:
            raise ValueError(f"a path has at least one state, got n = {n}")
        if start is not None and not 0 <= start < len(self.P):
            raise ValueError(f"start must be a state in [0, {len(self.P)}), got {start}")
        first = self.stationary() if start is None else (np.arange(len(self.P)) == start).astype(np.float64)
        # one row of cumulated probabilities for each state and one, the last, for the start; each ends in exactly 1
        F = np.cumsum(np.vstack([self.P, first]), axis=1)
        rows = (F / F[:, -1:]).tolist()
        path, state = [], len(self.P)
        for u in rng.random(n).tolist():  # each draw needs the one before
            state = bisect_right(rows[state], u)  # the first state whose cumulated probability exceeds u
            path.append(state)
        return np.array(path)

    @cached_property
    def _reaches(self) -> Bool[np.ndarray, "V V"]:
        reaches = (self.P > 0) | np.eye(len(self.P), dtype=bool)
        for _ in range(len(self.P).bit_length()):  # paths of up to 1, 2, 4, ... steps; V - 1 are enough
            reaches = reaches.astype(np.float32) @ reaches > 0
        return reaches

    def _power(self, n: int) -> Float[np.ndarray, "V V"]:
        if n < 0:
            raise ValueError(f"a chain takes zero or more steps, got {n}")
        return np.linalg.matrix_power(self.P, n)


def _eliminate(P: Float[np.ndarray, "V V"]) -> Float[np.ndarray, " V"]:
    """The stationary distribution of an irreducible chain, as `markov.stationary-exists` constructs it."""
    P = P.copy()
    for n in range(len(P) - 1, 0, -1):
        P[:n, n] /= P[n, :n].sum()  # P_in / s
        P[:n, :n] += np.outer(P[:n, n], P[n, :n])  # (E3)
    pi = np.ones(len(P))
    for n in range(1, len(P)):
        pi[n] = pi[:n] @ P[:n, n]  # (E4)
        pi[: n + 1] /= pi[: n + 1].sum()  # at every step, lest a rare first state make the others overflow
    return pi
