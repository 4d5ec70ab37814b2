r"""
Counting: the first language model, and how to count fast.

What is the probability of a text? This section throws away all but the last few tokens of each condition of the chain
rule, and shows that the best estimates of what remains are relative frequencies. Then it counts.

You need: `fp_markov.mathematics` for slopes and multipliers, `fp_markov.probability`, `fp_markov.information`.

## One factor for each token

The chain rule (`markov.chain-rule`) writes the probability of a text as a product with one factor a token,

$$P(w_1, \dots, w_T) = \prod_{t=1}^{T} P(w_t \mid w_1, \dots, w_{t-1}). \qquad \text{(E1)}$$

No model is assumed so far. The factors are the trouble: there are $V^{t-1}$ different conditions, and a text of any
length has seen almost none of them. The **Markov assumption of order $n$** replaces each by the last $n - 1$ tokens:

$$P(w_t \mid w_1, \dots, w_{t-1}) \approx q(w_t \mid c_t), \qquad c_t = w_{t-n+1}, \dots, w_{t-1}. \qquad \text{(E2)}$$

It is false for language, which agrees verbs with subjects many words away, and it is where every model of this stage
stops. The tokens $w_{t-n+1}, \dots, w_t$ are an **$n$-gram**, $c_t$ is its **context**.

## Counting is maximum likelihood

Let $N(cw)$ be how often context $c$ is followed by token $w$ in a text, and $N(c) = \sum_w N(cw)$. Collect equal
factors of the log-likelihood under (E2):

$$\sum_{t \ge n} \ln q(w_t \mid c_t) = \sum_c \sum_w N(cw) \ln q(w \mid c). \qquad \text{(E3)}$$

The first $n - 1$ tokens have shorter contexts and are left out.

Each context has a distribution of its own, so each inner sum may be made as large as it can be by itself.

**Claim** `markov.mle-lagrange`. Let $n_1, \dots, n_V \ge 0$ be numbers, such as counts, with sum $n > 0$. Among all
distributions $q$ on the $V$ tokens, $L(q) = \sum_i n_i \ln q_i$ is largest at $q_i = n_i / n$ and nowhere else.

**Proof.** Here $0 \ln 0 = 0$, and $\ln 0 = -\infty$ where the count is positive. Let $S$ be the tokens with $n_i > 0$.
A $q$ that puts mass $m > 0$ outside $S$ is beaten by the one that moves the mass into $S$, a share $m / |S|$ to each of
its tokens: every $q_i$ in $S$ rises, and so does $L$, if need be from $-\infty$ to a finite number. A $q$ with
$q_i = 0$ for a token of $S$ has $L = -\infty$ and is beaten too. So look for the maximum among positive $q$ on $S$ with
$\sum_{i \in S} q_i = 1$. For any number $\lambda$ the Lagrangian is

$$\Lambda(q) = \sum_{i \in S} n_i \ln q_i - \lambda \Big( \sum_{i \in S} q_i - 1 \Big), \qquad
\frac{\partial \Lambda}{\partial q_i} = \frac{n_i}{q_i} - \lambda, \qquad
\frac{\partial^2 \Lambda}{\partial q_i^2} = -\frac{n_i}{q_i^2} < 0.$$

It is a sum of functions of one variable each, strictly concave by their second derivatives, so each is largest where
its slope is zero and nowhere else: at $q_i = n_i / \lambda$. Choose $\lambda = n$, and these add up to one: the
constraint holds. For every other distribution $q$ on $S$ the bracket is zero as well, hence
$L(q) = \Lambda(q) < \Lambda(n_i / n) = L(n_i / n)$ (this is `markov.lagrange-sufficient`). $\blacksquare$

The second derivatives matter: a vanishing slope alone could be a minimum or a saddle.

**Claim** `markov.counting-is-mle`. Among all families of distributions $q(\cdot \mid c)$, the text's likelihood under
(E2) is largest exactly when $q(w \mid c) = N(cw) / N(c)$ for every $w$ and every $c$ with $N(c) > 0$. With
$\hat p_c(w) = N(cw) / N(c)$ and $q_c$ for $q(\cdot \mid c)$, that is also where the weighted sum of divergences
$\sum_c N(c)\, D(\hat p_c \,\|\, q_c)$ from what was observed is least.

**Proof.** In (E3) the inner sum of context $c$ is largest at $\hat p_c$ and nowhere else, by `markov.mle-lagrange`;
contexts with $N(c) = 0$ do not occur in it. For the second part use `markov.cross-entropy-split`:

$$
\begin{aligned}
\sum_c \sum_w N(cw) \ln q(w \mid c) &= -\sum_c N(c) \, H(\hat p_c, q_c) \\
  &= -\sum_c N(c) \, H(\hat p_c) - \sum_c N(c) \, D(\hat p_c \,\|\, q_c).
\end{aligned}
$$

The first sum does not depend on $q$, so the likelihood rises exactly as the divergences fall; by `markov.gibbs` each is
$0$ when $q_c = \hat p_c$ and positive otherwise, which proves the first part a second time. $\blacksquare$

Training a network by cross-entropy is the same maximisation, over the distributions that the network can express.

The best fit to the past is not the best guess about the future: it gives probability zero to whatever has not been
seen. `fp_markov.smoothing` repairs that; counts are all it needs.

## How to count

A table of $V^n$ entries is out of the question, and a dictionary of tuples costs a Python step for each token. Instead
every $n$-gram of the text becomes one integer. Let the **rank** of an $n$-gram be its position, from $0$, among the
distinct $n$-grams of the text in sorted order; the empty one has rank $0$. An $n$-gram is its context, itself an
$(n-1)$-gram of the text, followed by a token $w$:

$$\text{key}(cw) = \text{rank}(c) \cdot V + w, \qquad 0 \le w < V. \qquad \text{(E4)}$$

**Claim** `markov.packed-keys`. Different $n$-grams have different keys, keys sort as the $n$-grams do (token by
token), and for a text of $T$ tokens every key is below $(T + 1) V$.

**Proof.** Division of the key by $V$ with remainder returns $\text{rank}(c)$ and $w$, since $0 \le w < V$; and ranks
differ where contexts do. A higher context rank makes a higher key whatever the tokens, because $w \le V - 1 < V$;
equal contexts leave it to the tokens: this is token-by-token order. There are at most $T + 1$ distinct contexts (the
empty one, or at most one at each position), so $\text{rank}(c) \le T$ and the key is at most $TV + V - 1$.
$\blacksquare$

Packing the tokens themselves, as digits in base $V$, would overflow 64 bits at five tokens of a vocabulary of 50,000;
(E4) never does on a text that fits a disk. Sorting the keys of all positions yields the distinct $n$-grams, their
counts and the rank at each position, from which the next order starts: $n$ sorts in all, no Python step for a token.
The contexts' children lie next to each other in the sorted keys, so the levels form a search tree that is walked by
binary search.

Keys are whole numbers of a known size, and those are sorted without comparing them. Write a key in digits, base $R$.
To sort by one digit, go through the keys and append each to one of $R$ piles; then put the piles together. Such a pass
takes the same few steps for every key, and it is **stable**: keys with the same digit keep their order.

**Claim** `markov.radix-sort`. Sort a list of whole numbers below $R^d$ stably by their last digit in base $R$, the
result stably by the last but one, and so on to the first of $d$ digits. The result is sorted, and equal numbers keep
their order.

**Proof.** After $k$ passes the list is sorted by the numbers that the last $k$ digits form, equal ones in their first
order. For $k = 0$ these numbers are all $0$, and nothing has moved. Suppose it holds for $k$, and take $x$ before $y$
after pass $k + 1$. That pass sorted by digit $k + 1$ from the end, so that digit of $x$ is at most that of $y$. If it
is smaller, then $x$ is smaller in the last $k + 1$ digits, whatever the $k$ digits behind it. If it is equal, then $x$
stood before $y$ already, since the pass is stable: by assumption it is smaller in the last $k$ digits, hence in the
last $k + 1$, or equal in them and first from the beginning. At $k = d$ the digits are the whole number.
$\blacksquare$

A key of $b$ bits has $\lceil b / 16 \rceil$ digits in base $2^{16}$: two for most texts, so the time is $O(n T)$ times
that number. Where the keys are hardly larger than the text is long, one pile for each key will do, which is a table of
counters. Characters at low orders are like that.

## Sentences

A text may be one long sequence, or sentences that have nothing to do with each other. Then each begins with a token of
its own, `bos` (begin of sentence, often written `<s>`), which is a context and never a prediction: the model is told
that a sentence begins. An $n$-gram with `bos` anywhere but in front would reach across two sentences and is not
counted, and as a token `bos` has the count $0$. The end of a sentence, `</s>`, is a token like any other: a model has
to learn when to stop. `Level.starts` remembers the $n$-grams that open the text, or a sentence, and so have no left
neighbour there, for smoothings that count neighbours.

## In practice

Models of the web counted $10^{12}$ words this way, on disk and over many machines, by merging sorted runs. Hash tables
are the alternative: faster to look up, larger, and without order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral

import numpy as np
from jaxtyping import Int, Integer

__all__ = ["Level", "count_ngrams"]  # the order of the page


@dataclass(frozen=True)
class Level:
    """The distinct n-grams of one length in a text, by rank."""

    keys: Int[np.ndarray, " G"]
    """Sorted keys (E4)."""
    counts: Int[np.ndarray, " G"]
    """How often each occurs; zero for `bos` alone."""
    suffixes: Int[np.ndarray, " G"]
    """Rank, one level below, of each without its first token."""
    starts: Int[np.ndarray, " B"]
    """Ranks of those that open the text, or that open a sentence of at least their length."""
    n_contexts: int
    """How many (n-1)-grams the text has, those included that nothing follows."""
    vocab_size: int
    """V of (E4)."""
    bos: int | None = None
    """The token that begins a sentence, which is never predicted."""

    @property
    def contexts(self) -> Int[np.ndarray, " G"]:
        """Rank, one level below, of each without its last token."""
        return np.asarray(self.keys // self.vocab_size)

    @property
    def tokens(self) -> Int[np.ndarray, " G"]:
        """The last token of each."""
        return np.asarray(self.keys % self.vocab_size)

    @property
    def n_outcomes(self) -> int:
        """How many different tokens may be predicted: all but `bos`."""
        return self.vocab_size - (self.bos is not None)


def find(
    keys: Int[np.ndarray, " G"], vocab_size: int, contexts: Int[np.ndarray, " T"], tokens: Integer[np.ndarray, " T"]
) -> Int[np.ndarray, " T"]:
    """
    Ranks of the n-grams made of a context's rank and a token; -1 where the text has no such n-gram.

    Parameters
    ----------
    keys
        The sorted keys of a level, at least one.
    vocab_size
        V of (E4).
    contexts
        Ranks one level below; -1 for a context that the text lacks.
    tokens
        Last tokens, in `[0, V)`.
    """
    wanted = contexts * vocab_size + tokens  # negative, so absent, where the context is
    ranks = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[ranks] == wanted, ranks, -1)


def count_ngrams(ids: Integer[np.ndarray, " T"], order: int, vocab_size: int, bos: int | None = None) -> list[Level]:
    """
    Count the n-grams of lengths 1 to `order`.

    Parameters
    ----------
    ids
        A text as token ids in `[0, vocab_size)`; with `bos`, sentences one after the other, each behind a `bos`.
    order
        Longest n-gram to count, from 1 to the length of the text, or of its longest sentence and its `bos`.
    vocab_size
        Number of tokens that could occur, `bos` included.
    bos
        The token that begins a sentence; `None` for one text without sentences.

    Returns
    -------
    list of Level
        One for each length, shortest first.

    Raises
    ------
    ValueError
        If `order` is below 1 or above that length, if an id lies outside the vocabulary, or if there is a `bos` and
        the text does not begin with it or holds no other token.
    TypeError
        If the ids, the order or the size are no integers.

    Examples
    --------
    In "abab" the bigram "ab" occurs twice and "ba" once:

    >>> unigrams, bigrams = count_ngrams(np.array([0, 1, 0, 1]), order=2, vocab_size=2)
    >>> bigrams.keys, bigrams.counts
    (array([1, 2]), array([2, 1]))
    """
    order, vocab_size = check_order(order), check_integer(vocab_size, "vocab_size")
    ids = as_ids(ids, "count_ngrams", allow_empty=True)
    check_ids(ids, vocab_size, bos)
    check_length(len(ids), order, vocab_size)
    keep_freed_memory()
    ids = ids.astype(np.int64, copy=False)
    begins = np.zeros(1, np.int64) if bos is None else np.flatnonzero(ids == bos)
    goes_on = ids != (-1 if bos is None else bos)  # no sentence begins here
    levels: list[Level] = []
    n_contexts = 1
    there = np.ones(len(ids), bool)  # whether an n-gram starts here, within the text and one sentence
    ranks = np.zeros(len(ids) + 1, np.int64)  # of the (n-1)-gram that starts at each position; -1 where none does
    for n in range(1, order + 1):
        if n > 1:
            there = there[:-1] & goes_on[n - 1 :]
        at = np.flatnonzero(there)
        if not len(at):
            raise too_short(order)
        wanted = ranks[: len(there)] * vocab_size
        wanted += ids[n - 1 :]
        keys, first, n_ranks, counts = distinct(wanted.take(at))
        suffixes = ranks.take(at.take(first) + 1)
        ranks = np.full(len(ids) + 1, -1)
        ranks[at] = n_ranks
        starts = ranks[begins[ranks[begins] >= 0]]
        if bos is not None and n == 1:
            counts[keys == bos] = 0
            starts = starts[:0]
            if not counts.any():
                raise too_short(order)
        levels.append(Level(keys, counts, suffixes, starts, n_contexts, vocab_size, bos))
        n_contexts = len(keys)
    return levels


def distinct(
    keys: Int[np.ndarray, " T"],
) -> tuple[Int[np.ndarray, " G"], Int[np.ndarray, " G"], Int[np.ndarray, " T"], Int[np.ndarray, " G"]]:
    """
    What `numpy.unique` returns with all its extras, for keys that are not negative, several times faster.

    Parameters
    ----------
    keys
        In any order, at least one.

    Returns
    -------
    distinct, first, inverse, counts : ndarray
        The different keys, sorted; where each stands first; the rank of every key; how often each occurs.

    Examples
    --------
    >>> [part.tolist() for part in distinct(np.array([7, 2, 7]))]
    [[2, 7], [1, 0], [1, 0, 1], [1, 2]]
    """
    if int(keys.max()) < 4 * len(keys):  # a counter for each key that could be
        counters = np.bincount(keys)
        found = np.flatnonzero(counters)
        rank_of = np.empty(len(counters), np.int64)
        rank_of[found] = np.arange(len(found))
        inverse = rank_of.take(keys)
        first = np.empty(len(found), np.int64)
        first[inverse[::-1]] = np.arange(len(keys))[::-1]  # the last that is written stays
        return found, first, inverse, counters.take(found)
    order = sorting_order(keys)
    ordered = keys.take(order)
    new = np.empty(len(keys), bool)
    new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    at = np.flatnonzero(new)
    inverse = np.empty(len(keys), np.int64)
    inverse[order] = np.cumsum(new) - 1
    return ordered.take(at), order.take(at), inverse, np.diff(at, append=len(keys))


def sorting_order(keys: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    """
    Stable `numpy.argsort` of keys that are not negative, digit by digit as in `markov.radix-sort`.

    Examples
    --------
    >>> sorting_order(np.array([70000, 5, 70000, 65536])).tolist()
    [1, 3, 0, 2]
    """
    order = keys.astype(np.uint16).argsort(kind="stable")  # numpy sorts 16 bits in piles
    for shift in range(16, int(keys.max()).bit_length(), 16):
        digits = (keys >> shift).astype(np.uint16).take(order)
        order = order.take(digits.argsort(kind="stable"))
    return order


@cache
def keep_freed_memory() -> None:
    """
    Have the C library keep freed memory at hand for the next array, from now on.

    That of Linux returns arrays to the system as they are freed, and clearing fresh pages for the next ones took much
    of the time of counting. It stops for sizes up to the largest that it has seen freed, if below 32 MiB. Memory that
    is never touched costs nothing.
    """
    np.empty(31 * 2**20, np.uint8)


def check_integer(value: object, name: str) -> int:
    """`value` as Python's own integer, which NumPy's are no less than; `TypeError` for what is none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    return int(value)


def check_order(order: int) -> int:
    """The order as an integer; `ValueError` for one below 1."""
    order = check_integer(order, "order")
    if order < 1:
        raise ValueError(f"the order counts the tokens of an n-gram, so it is 1 or more, got {order}")
    return order


def check_length(n_tokens: int, order: int, vocab_size: int) -> None:
    """Raise `ValueError` where a text is shorter than its n-grams, or too long for `markov.packed-keys` in 64 bits."""
    if order > n_tokens:
        raise ValueError(f"n-grams of order {order} need a text of at least {order} tokens, got {n_tokens}")
    if (n_tokens + 1) * vocab_size >= 2**63:
        raise ValueError(
            f"(tokens + 1) * vocab_size must stay below 2**63 for the packed keys, got {n_tokens} tokens and a "
            f"vocabulary of {vocab_size}"
        )


def too_short(order: int) -> ValueError:
    """The error for a text whose sentences are all shorter than an n-gram with its `bos`, or hold no token."""
    return ValueError(
        f"n-grams of order {order} need a sentence of at least {max(order - 1, 1)} tokens after bos, got none"
    )


def as_ids(
    ids: Integer[np.ndarray, " T"] | Sequence[int], caller: str, *, allow_empty: bool = False
) -> Integer[np.ndarray, " T"]:
    """
    A text as an array of integers.

    Parameters
    ----------
    ids
        The text, of any integer type.
    caller
        Who needs it: the first word of a refusal.
    allow_empty
        Whether a text may have no token.

    Raises
    ------
    ValueError
        If it has more than one axis, or no token.
    TypeError
        If it is no sequence, or not of integers.
    """
    array = np.asarray(ids)
    if array.ndim == 0:
        raise TypeError(
            f"{caller} needs token ids in an array or a list, got {type(ids).__name__}. "
            "Encode the text first, and make a list of an iterator."
        )
    if array.ndim != 1:
        raise ValueError(f"{caller} needs one text, a sequence of token ids, got an array of shape {array.shape}")
    if not len(array):
        if not allow_empty:
            raise ValueError(f"{caller} needs at least one token, got an empty text")
        return np.empty(0, np.int64)  # an empty list has no integer type
    if array.dtype.kind not in "iu":
        raise TypeError(f"token ids must be integers, got {array.dtype}. Encode the text first.")
    return array


def check_ids(ids: Integer[np.ndarray, " T"], vocab_size: int, bos: int | None = None) -> None:
    """Raise `ValueError` where an id lies outside `[0, V)`, or where sentences do not begin with `bos`."""
    if len(ids) and (ids.min() < 0 or ids.max() >= vocab_size):
        raise ValueError(
            f"token ids must lie in [0, {vocab_size}), got {ids.min()} to {ids.max()}. "
            "Give vocab_size the size of the tokenizer's vocabulary, and encode every text with that tokenizer."
        )
    if bos is not None and len(ids) and ids[0] != bos:
        raise ValueError(f"a text of sentences begins with bos, which is {bos}, got {ids[0]}. Put bos before each one.")
