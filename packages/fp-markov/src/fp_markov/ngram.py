r"""
The n-gram model: a text predicted from its last few tokens.

Here the counts of `fp_markov.counting` and the weights of `fp_markov.smoothing` become a language model: something
that gives every next token a probability. Its loss on held-out text is the number that the networks of later stages
have to beat.

## From weights to probabilities

`fp_markov.smoothing` leaves two arrays for each order: a share for each $n$-gram of the text and a back-off weight for
each context. With the convention that an absent $n$-gram has share $0$ and an absent context back-off $1$, all cases
of its recursion are one line,

$$P_n(w \mid c) = \text{share}(cw) + \text{backoff}(c) \, P_{n-1}(w \mid c'), \qquad P_0 = 1/V. \qquad \text{(E1)}$$

`reference_distribution` computes it from first definitions, with dictionaries. `NGramModel` computes it for all
positions of a text at once: let $\rho_n[t]$ be the rank of the $n$-gram that ends at position $t$, or $-1$ if the
fitted text lacks it. Its context ends one position earlier, so

$$\rho_n[t] = \text{find}_n(\rho_{n-1}[t-1],\, w_t), \qquad \rho_0[t] = 0, \qquad \text{(E2)}$$

and one binary search an order finds both the shares, at $\rho_n[t]$, and the back-off weights, at $\rho_{n-1}[t-1]$.
The token at position $t < n$ has only $t$ tokens before it (positions count from $0$); its probability is $P_{t+1}$, a
shorter context, and the mean loss includes it.

## In practice

By (E1) of `fp_markov.counting` the losses of all tokens add up to the text's negative log-probability, so the mean is
comparable with any model's on the same tokens. Mind what is held out: a text that repeats itself, as licences and
tables do, favours high orders, which memorise. Orders beyond 5 or 6 characters gain little: most long contexts of new
text were never seen, and (E2) answers $-1$.

How the mean loss falls with the order, on the fitted text itself, which repeats one word:

>>> word = np.array([0, 1, 2, 0, 3, 0, 1, 4, 0, 2] * 5)
>>> [round(NGramModel(order).fit(word).cross_entropy(word), 2) for order in (1, 2, 3, 4)]
[1.47, 0.73, 0.44, 0.18]
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer

from fp_markov import information
from fp_markov.counting import Level, check_ids, count_ngrams
from fp_markov.smoothing import Interpolation, discounts, modified_kneser_ney

__all__ = ["NGramModel", "reference_distribution"]  # the order of the page

SMOOTHINGS = {"modified_kneser_ney": modified_kneser_ney}


class NGramModel:
    """
    A language model that counts.

    Parameters
    ----------
    order
        Tokens of an n-gram: order n predicts from n - 1 tokens of context.
    vocab_size
        Number of tokens that could occur; `None` takes the largest id of the fitted text plus one.
    smoothing
        How unseen n-grams get probability: `"modified_kneser_ney"`.

    Attributes
    ----------
    discounts : list of ndarray
        The three discounts of each order, lowest first, after `fit`.

    Raises
    ------
    ValueError
        If the order is below 1, the vocabulary is empty, or the smoothing is unknown.

    Examples
    --------
    >>> model = NGramModel(order=3).fit(np.frombuffer(b"abracadabra", np.uint8) - 97)
    >>> p = model.next_distribution([0, 1])  # after "ab"
    >>> "abcdefghijklmnopqr"[p.argmax()], round(float(p.sum()), 12)
    ('r', 1.0)
    """

    def __init__(self, order: int, vocab_size: int | None = None, smoothing: str = "modified_kneser_ney") -> None:
        if order < 1:
            raise ValueError(f"the order counts the tokens of an n-gram, so it is 1 or more, got {order}")
        if vocab_size is not None and vocab_size < 1:
            raise ValueError(f"vocab_size must be 1 or more, got {vocab_size}")
        if smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing must be one of {sorted(SMOOTHINGS)}, got {smoothing!r}")
        self.order = order
        self.vocab_size = vocab_size
        self.smoothing = smoothing
        self._levels: list[Level] = []
        self._weights: list[Interpolation] = []

    @property
    def discounts(self) -> list[Float[np.ndarray, "3"]]:
        return [weights.discounts for weights in self._weights]

    def fit(self, ids: Integer[np.ndarray, " T"] | Sequence[int]) -> "NGramModel":
        """
        Count a text and weigh the counts; a second call starts afresh.

        Parameters
        ----------
        ids
            The text as token ids.

        Returns
        -------
        NGramModel
            The model itself.

        Raises
        ------
        ValueError
            If the text is empty or shorter than the order, or if an id lies outside the vocabulary.
        """
        ids = _as_ids(ids, "fit")
        if self.vocab_size is None:
            check_ids(ids, 2**62)
            self.vocab_size = int(ids.max()) + 1
        self._levels = count_ngrams(ids, self.order, self.vocab_size)
        self._weights = SMOOTHINGS[self.smoothing](self._levels)
        return self

    def log_prob(self, ids: Integer[np.ndarray, " T"] | Sequence[int]) -> Float[np.ndarray, " T"]:
        """
        Log-probability of each token of a text, given the tokens before it in the text.

        Parameters
        ----------
        ids
            The text as token ids.

        Returns
        -------
        ndarray
            Nats, float64, zero or less, one for each token.

        Raises
        ------
        ValueError
            If the text is empty, an id lies outside the vocabulary, or the model is not fitted.
        """
        V = self._fitted_vocabulary()
        ids = _as_ids(ids, "log_prob")
        check_ids(ids, V)
        T = len(ids)
        P = np.full(T, 1 / V)
        ranks = np.zeros(T + 1, np.int64)  # of the (n-1)-gram that ends before each position; -1 if absent
        for n, (level, weights) in enumerate(zip(self._levels, self._weights, strict=True)):
            if n >= T:
                break
            contexts = ranks[:-1]
            ranks = level.find(contexts, ids[n:])  # (E2)
            P[n:] *= np.where(contexts >= 0, weights.backoff[contexts], 1)  # (E1)
            P[n:] += np.where(ranks >= 0, weights.share[ranks], 0)
        log_p: np.ndarray = np.log(P)
        return log_p

    def next_distribution(self, context: Integer[np.ndarray, " T"] | Sequence[int]) -> Float[np.ndarray, " V"]:
        """
        Probabilities of every token after a context.

        Parameters
        ----------
        context
            Token ids, possibly none. Only the last `order - 1` are used; fewer mean a shorter context.

        Returns
        -------
        ndarray
            Float64, positive, summing to one.

        Raises
        ------
        ValueError
            If an id lies outside the vocabulary, or the model is not fitted.
        """
        V = self._fitted_vocabulary()
        context = _as_ids(context, "next_distribution", allow_empty=True)
        check_ids(context, V)
        context = context[max(len(context) - self.order + 1, 0) :]
        P = np.full(V, 1 / V)
        for n, (level, weights) in enumerate(zip(self._levels, self._weights, strict=True)):
            if n > len(context):
                break
            c = self._rank(context[len(context) - n :])
            if c < 0:
                break  # nor do longer contexts occur, which end in this one
            start, stop = np.searchsorted(level.keys, (c * V, (c + 1) * V))
            P *= weights.backoff[c]
            P[level.keys[start:stop] - c * V] += weights.share[start:stop]
        return P

    def cross_entropy(self, ids: Integer[np.ndarray, " T"] | Sequence[int]) -> float:
        """
        Mean loss of a text in nats per token.

        Raises
        ------
        ValueError
            If the text is empty, an id lies outside the vocabulary, or the model is not fitted.
        """
        return float(-self.log_prob(ids).mean())

    def perplexity(self, ids: Integer[np.ndarray, " T"] | Sequence[int]) -> float:
        """
        `fp_markov.information.perplexity` of `cross_entropy`.

        Raises
        ------
        ValueError
            If the text is empty, an id lies outside the vocabulary, or the model is not fitted.
        """
        return information.perplexity(self.cross_entropy(ids))

    def _rank(self, gram: Int[np.ndarray, " n"]) -> int:
        rank = np.zeros(1, np.int64)
        for level, token in zip(self._levels, gram, strict=False):
            rank = level.find(rank, token[None])
        return int(rank[0])

    def _fitted_vocabulary(self) -> int:
        if not self._levels or self.vocab_size is None:
            raise ValueError("the model has not counted a text yet: call fit(ids) first")
        return self.vocab_size


def reference_distribution(ids: Sequence[int], context: Sequence[int], order: int, vocab_size: int) -> list[float]:
    """
    `NGramModel(order, vocab_size).fit(ids).next_distribution(context)`, slowly, from the definitions.

    Parameters
    ----------
    ids
        The text to count.
    context
        At most `order - 1` tokens.
    order, vocab_size
        As for `NGramModel`.

    Returns
    -------
    list of float
        A probability for each token.

    Examples
    --------
    >>> [round(p, 3) for p in reference_distribution([0, 0, 1, 0], [0], order=2, vocab_size=3)]
    [0.521, 0.396, 0.083]
    """
    n, context = len(context) + 1, tuple(context)
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    if n == order:
        a = Counter(grams)
    else:  # distinct left neighbours, where None stands before the text
        a = Counter(gram for _, gram in set(zip([None, *ids], grams, strict=False)))
    D = [0.0, *discounts(np.array(list(a.values()))).tolist()]

    lower = [1 / vocab_size] * vocab_size if n == 1 else reference_distribution(ids, context[1:], order, vocab_size)
    counts = [a[(*context, w)] for w in range(vocab_size)]
    A = sum(counts)
    if A == 0:
        return lower
    gamma = sum(D[min(count, 3)] for count in counts) / A
    return [(count - D[min(count, 3)]) / A + gamma * p for count, p in zip(counts, lower, strict=True)]


def _as_ids(
    ids: Integer[np.ndarray, " T"] | Sequence[int], caller: str, *, allow_empty: bool = False
) -> Integer[np.ndarray, " T"]:
    ids = np.asarray(ids) if len(ids) else np.empty(0, np.int64)  # an empty list has no integer type
    if ids.ndim != 1:
        raise ValueError(f"{caller} needs one text, a sequence of token ids, got an array of shape {ids.shape}")
    if len(ids) == 0 and not allow_empty:
        raise ValueError(f"{caller} needs at least one token, got an empty text")
    if ids.dtype.kind not in "iu":
        raise TypeError(f"token ids must be integers, got {ids.dtype}. Encode the text first.")
    return ids
