r"""
Counting: the first language model, and how to count fast.

What is the probability of a text? This section takes it apart into one factor for each token, throws away all but the
last few tokens of each condition, and shows that the best estimates of what remains are relative frequencies. Then it
counts.

You need: conditional probability $P(A \mid B) = P(A, B) / P(B)$, and `fp_markov.information`.

## One factor for each token

**Claim** `markov.chain-rule`. For random tokens $W_1, \dots, W_T$ and a text $w$ with $P(w_1, \dots, w_T) > 0$,

$$P(w_1, \dots, w_T) = \prod_{t=1}^{T} P(w_t \mid w_1, \dots, w_{t-1}). \qquad \text{(E1)}$$

**Proof.** By induction on $T$. For $T = 1$ both sides are $P(w_1)$. Suppose it holds for $T - 1$. The event
$w_1, \dots, w_{T-1}$ contains the event $w_1, \dots, w_T$, so its probability is positive too and one may condition on
it; by the definition of conditional probability
$P(w_1, \dots, w_T) = P(w_1, \dots, w_{T-1}) \, P(w_T \mid w_1, \dots, w_{T-1})$, and the induction hypothesis expands
the first factor. $\blacksquare$

No model is assumed so far. The factors are the trouble: there are $V^{t-1}$ different conditions, and a text of any
length has seen almost none of them. The **Markov assumption of order $n$** replaces each by the last $n - 1$ tokens:

$$P(w_t \mid w_1, \dots, w_{t-1}) \approx q(w_t \mid c_t), \qquad c_t = w_{t-n+1}, \dots, w_{t-1}. \qquad \text{(E2)}$$

It is false for language, which agrees verbs with subjects many words away, and it is where every model of this stage
stops. The tokens $w_{t-n+1}, \dots, w_t$ are an **$n$-gram**, $c_t$ is its **context**.

## Counting is maximum likelihood

Let $N(cw)$ be how often context $c$ is followed by token $w$ in a text, and $N(c) = \sum_w N(cw)$.

**Claim** `markov.counting-is-mle`. Among all families of distributions $q(\cdot \mid c)$, the text's likelihood under
(E2) is largest exactly when $q(w \mid c) = N(cw) / N(c)$ for every $w$ and every $c$ with $N(c) > 0$.

**Proof.** Write $\hat p_c(w) = N(cw) / N(c)$, a distribution. Collect equal factors of the log-likelihood, then use
`markov.cross-entropy-split`:

$$
\begin{aligned}
\sum_t \ln q(w_t \mid c_t) &= \sum_c \sum_w N(cw) \ln q(w \mid c) \\
  &= -\sum_c N(c) \, H(\hat p_c, q_c) \\
  &= -\sum_c N(c) \big( H(\hat p_c) + D(\hat p_c \,\|\, q_c) \big).
\end{aligned}
$$

Only the divergences depend on $q$. By `markov.gibbs` each is $0$ when $q_c = \hat p_c$ and positive otherwise, and its
weight $N(c)$ is positive. $\blacksquare$

The best fit to the past is not the best guess about the future: it gives probability zero to whatever has not been
seen. `fp_markov.smoothing` repairs that; counts are all it needs.

## How to count

A table of $V^n$ entries is out of the question, and a dictionary of tuples costs a Python step for each token. Instead
every $n$-gram of the text becomes one integer. Let the **rank** of an $n$-gram be its position, from $0$, among the
distinct $n$-grams of the text in sorted order; the empty one has rank $0$. An $n$-gram is its context, itself an
$(n-1)$-gram of the text, followed by a token $w$:

$$\text{key}(cw) = \text{rank}(c) \cdot V + w, \qquad 0 \le w < V. \qquad \text{(E3)}$$

**Claim** `markov.packed-keys`. Different $n$-grams have different keys, keys sort as the $n$-grams do (token by
token), and for a text of $T$ tokens every key is below $(T + 1) V$.

**Proof.** Division of the key by $V$ with remainder returns $\text{rank}(c)$ and $w$, since $0 \le w < V$; and ranks
differ where contexts do. A higher context rank makes a higher key whatever the tokens, because $w \le V - 1 < V$;
equal contexts leave it to the tokens: this is token-by-token order. There are at most $T + 1$ distinct contexts (the
empty one, or at most one at each position), so $\text{rank}(c) \le T$ and the key is at most $TV + V - 1$.
$\blacksquare$

Packing the tokens themselves, as digits in base $V$, would overflow 64 bits at five tokens of a vocabulary of 50,000;
(E3) never does on a text that fits a disk. Sorting the keys of all positions yields the distinct $n$-grams, their
counts and the rank at each position, from which the next order starts: $n$ sorts in all, $O(n T \log T)$ time, no
Python step for a token. The contexts' children lie next to each other in the sorted keys, so the levels form a search
tree that is walked by binary search.

## In practice

Models of the web counted $10^{12}$ words this way, on disk and over many machines, by merging sorted runs. Hash tables
are the alternative: faster to look up, larger, and without order.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Integer

__all__ = ["Level", "count_ngrams"]  # the order of the page


@dataclass(frozen=True)
class Level:
    """The distinct n-grams of one length in a text, by rank."""

    keys: Int[np.ndarray, " G"]
    """Sorted keys (E3)."""
    counts: Int[np.ndarray, " G"]
    """How often each occurs."""
    suffixes: Int[np.ndarray, " G"]
    """Rank, one level below, of each without its first token."""
    opening: int
    """Rank of the one that opens the text."""
    vocab_size: int
    """V of (E3)."""

    @property
    def contexts(self) -> Int[np.ndarray, " G"]:
        """Rank, one level below, of each without its last token."""
        return np.asarray(self.keys // self.vocab_size)

    def find(self, contexts: Int[np.ndarray, " T"], tokens: Integer[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
        """
        Ranks of the n-grams made of a context's rank and a token; -1 where the text has no such n-gram.

        Parameters
        ----------
        contexts
            Ranks one level below; -1 for a context that the text lacks.
        tokens
            Last tokens, in `[0, V)`.
        """
        wanted = contexts * self.vocab_size + tokens  # negative, so absent, where the context is
        ranks = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[ranks] == wanted, ranks, -1)


def count_ngrams(ids: Integer[np.ndarray, " T"], order: int, vocab_size: int) -> list[Level]:
    """
    Count the n-grams of lengths 1 to `order`.

    Parameters
    ----------
    ids
        A text as token ids in `[0, vocab_size)`.
    order
        Longest n-gram to count, from 1 to the length of the text.
    vocab_size
        Number of tokens that could occur.

    Returns
    -------
    list of Level
        One for each length, shortest first.

    Raises
    ------
    ValueError
        If `order` is below 1 or above the length of the text, or if an id lies outside the vocabulary.

    Examples
    --------
    In "abab" the bigram "ab" occurs twice and "ba" once:

    >>> unigrams, bigrams = count_ngrams(np.array([0, 1, 0, 1]), order=2, vocab_size=2)
    >>> bigrams.keys, bigrams.counts
    (array([1, 2]), array([2, 1]))
    """
    if order < 1:
        raise ValueError(f"the order counts the tokens of an n-gram, so it is 1 or more, got {order}")
    if order > len(ids):
        raise ValueError(f"n-grams of order {order} need a text of at least {order} tokens, got {len(ids)}")
    check_ids(ids, vocab_size)
    if (len(ids) + 1) * vocab_size >= 2**63:
        raise ValueError(
            f"(tokens + 1) * vocab_size must stay below 2**63 for the packed keys, got {len(ids)} tokens and a "
            f"vocabulary of {vocab_size}"
        )
    ids = ids.astype(np.int64, copy=False)
    levels = []
    ranks = np.zeros(len(ids) + 1, np.int64)  # of the (n-1)-gram that starts at each position
    for n in range(1, order + 1):
        keys, first, n_ranks, counts = np.unique(
            ranks[:-1] * vocab_size + ids[n - 1 :], return_index=True, return_inverse=True, return_counts=True
        )
        levels.append(Level(keys, counts, ranks[first + 1], int(n_ranks[0]), vocab_size))
        ranks = n_ranks
    return levels


def check_ids(ids: Integer[np.ndarray, " T"], vocab_size: int) -> None:
    """Raise `ValueError` where an id lies outside `[0, vocab_size)`."""
    if len(ids) and (ids.min() < 0 or ids.max() >= vocab_size):
        raise ValueError(
            f"token ids must lie in [0, {vocab_size}), got {ids.min()} to {ids.max()}. "
            "Give vocab_size the size of the tokenizer's vocabulary, and encode every text with that tokenizer."
        )
