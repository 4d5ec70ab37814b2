r"""
The lattice: all segmentations of a word at once.

BPE and WordPiece cut a word in one way. Unigram takes every way of cutting it seriously: each has a probability, the
best one is the encoding, and training asks for all of them together. A word of twenty letters can be cut in half a
million ways. This section computes the best way, the sum over all ways, the share of those that use a given piece, and
a random way with the right probability, each in time proportional to the number of places where a piece fits.

You need: `fp_markov.probability`, `fp_markov.sampling` for drawing and temperature, `fp_neural.softmax` for
log-sum-exp.

## Segmentations are paths

Number the **places** of a word of $n$ characters: $0$ before the first, $n$ behind the last, $i$ between the $i$-th and
the next. An **edge** $(i, j)$ with $i < j$ says that the characters between the places $i$ and $j$ are a piece of the
vocabulary, and carries its score $s_{ij}$, for Unigram the logarithm of its probability. Places and edges are the
word's **lattice**. A **segmentation** is a path from $0$ to $n$ along edges, and its **score** is the sum of theirs:

$$s(\pi) = \sum_{(i, j) \in \pi} s_{ij}, \qquad P(\pi) = e^{s(\pi)} = \prod_{(i, j) \in \pi} e^{s_{ij}}. \qquad
\text{(E1)}$$

**Claim** `tokenize.segmentations`. If every substring of a word of $n \ge 1$ characters is a piece, the word has
$2^{n-1}$ segmentations. If the pieces are all substrings of at most $m$ characters, their number is $N_n$ with $N_0 =
1$ and $N_j = N_{j-1} + \dots + N_{\max(j - m,\, 0)}$.

**Proof.** A segmentation is determined by the set of places between $0$ and $n$ at which it stops, and if every
substring is a piece, each set of these $n - 1$ places is one: $2^{n-1}$ sets. In the second case sort the segmentations
of the first $j \ge 1$ characters by where their last piece begins: $j - 1, j - 2, \dots$, down to $j - m$ or $0$. Those
whose last piece begins at $i$ are the segmentations of the first $i$ characters with this piece added, $N_i$ of them.
$\blacksquare$

>>> [sum(1 for _ in segmentations(edges_of("a" * n, {"a": 0.0, "aa": 0.0, "aaa": 0.0}))) for n in (1, 2, 3, 4, 5)]
[1, 2, 4, 7, 13]

## One recursion for all questions

The count was a recursion from place to place. It answers other questions too, if addition and multiplication are
exchanged for others.

**Claim** `tokenize.path-sums`. Let $\oplus$ and $\otimes$ be operations on a set such that $\oplus$ is associative and
commutative and $(a \oplus b) \otimes c = (a \otimes c) \oplus (b \otimes c)$, with elements $0$ and $1$ such that
$0 \oplus a = a$, $0 \otimes a = 0$ and $1 \otimes a = a$. Give each edge a weight $w_{ij}$ of the set. Then

$$
A_0 = 1, \qquad A_j = \bigoplus_{(i, j)} A_i \otimes w_{ij}, \qquad \text{(E2)}
$$

over the edges that end at $j$, is the $\oplus$-sum, over all paths from $0$ to $j$, of the $\otimes$-product of the
weights along the path, multiplied from the left; an empty sum is $0$ and an empty product $1$.

**Proof.** By induction on $j$. From $0$ to $0$ leads only the path without edges: $A_0 = 1$. Let $j \ge 1$. Every path
to $j$ has a last edge $(i, j)$, with $i < j$, behind a path to $i$; and each path to $i$ with that edge added is a path
to $j$. So the paths to $j$ fall into groups, one for each edge that ends there. In the group of $(i, j)$ each product
is that of the path to $i$, times $w_{ij}$. Their sum is, by the rule for brackets, the sum over the paths to $i$ times
$w_{ij}$ (if there is no such path, both are $0 = 0 \otimes w_{ij}$). By hypothesis this is $A_i \otimes w_{ij}$, and
(E2) adds the groups. $\blacksquare$

| question | set | $\oplus$ | $\otimes$ | $0$ | $1$ | weight of an edge |
| --- | --- | --- | --- | --- | --- | --- |
| how many? (`count`) | integers | $+$ | $\times$ | $0$ | $1$ | $1$ |
| how good is the best? (`best`) | scores and $-\infty$ | $\max$ | $+$ | $-\infty$ | $0$ | $s_{ij}$ |
| how likely is the word? (`forward`) | scores and $-\infty$ | $\ln(e^a + e^b)$ | $+$ | $-\infty$ | $0$ | $s_{ij}$ |

In the second row the rule for brackets is $\max(a, b) + c = \max(a + c, b + c)$, in the third
$\ln(e^a + e^b) + c = \ln(e^{a + c} + e^{b + c})$. Each edge is looked at once.

## The best one

The second row gives the best score. To know a path that has it, remember at each place which edge won. Scores can be
equal, as those of "a|aa" and "aa|a" always are, so a rule is needed: at every place, of the edges that reach the
maximum, the one that *begins first* wins.

**Claim** `tokenize.viterbi`. Suppose that there is a path from $0$ to $n$. Following the winners back from $n$ to $0$
gives a segmentation of the greatest score. Among all of that score, it is the one with the longest last piece; among
those that share this piece, the one with the longest piece before it, and so on.

**Proof.** Let $V_j$ be the greatest score of a path to $j$: by `tokenize.path-sums` it is (E2) of the second row. We
show by induction on $j$ that for every place that a path reaches, following the winners back from $j$ gives a path to
$j$ of score $V_j$, and of those the one that the claim describes. For $j = 0$ it is the empty path. Let $j \ge 1$, and
let $(i, j)$ be its winner, so that $V_i + s_{ij} = V_j$, which is finite, so $i$ is reached. By hypothesis the winners
lead from $i$ back to $0$ along a path of score $V_i$; with $(i, j)$ its score is $V_j$. Let $\pi$ be any path to $j$ of
score $V_j$, with the last edge $(i', j)$. Its part up to $i'$ has score $V_j - s_{i'j}$, at most $V_{i'}$, so
$V_{i'} + s_{i'j} \ge V_j$, and by (E2) it is equal: $(i', j)$ reaches the maximum. So $i \le i'$ by the rule: no last
piece is longer than the winner's. If $i' = i$, the part up to $i$ has score $V_i$, and by hypothesis the path of the
winners is the one of these with the longest last piece, and so on. $\blacksquare$

This is **Viterbi**'s algorithm. Taking the longest piece at each step from the left instead is wrong:

>>> scores = {"a": -3.0, "b": -3.0, "c": -3.0, "ab": -2.0, "bc": -1.0}
>>> score, places = best(edges_of("abc", scores))
>>> pieces("abc", places), score, scores["ab"] + scores["c"]
(['a', 'bc'], -4.0, -5.0)

## The sum over all

Let $\alpha_j = \ln \sum e^{s(\pi)}$ over the paths from $0$ to $j$: the third row. Let $\beta_i$ be the same over the
paths from $i$ to $n$. Seen from the other end of the word they obey the same recursion:

$$
\alpha_0 = 0, \quad \alpha_j = \ln \sum_{(i, j)} e^{\alpha_i + s_{ij}}, \qquad\qquad
\beta_n = 0, \quad \beta_i = \ln \sum_{(i, j)} e^{s_{ij} + \beta_j}. \qquad \text{(E3)}
$$

The word has the **marginal** probability $Z = \sum_\pi P(\pi)$, and given the word, a segmentation has the probability
$P(\pi) / Z$.

**Claim** `tokenize.forward-backward`. Suppose that there is a path from $0$ to $n$. Then
$\alpha_n = \beta_0 = \ln Z$. A random segmentation, $\pi$ with probability $P(\pi) / Z$, uses the edge $(i, j)$ with
probability

$$p_{ij} = e^{\alpha_i + s_{ij} + \beta_j - \ln Z}, \qquad \text{(E4)}$$

and stops at the place $i$ with probability $e^{\alpha_i + \beta_i - \ln Z}$. For each character, the $p_{ij}$ of the
edges with that character between their places add up to one.

**Proof.** By `tokenize.path-sums` $\alpha_n$ is the logarithm of the sum over all paths from $0$ to $n$; so is
$\beta_0$, by the same claim for the lattice turned around (place $i$ named $n - i$). A path that uses $(i, j)$ is a
path $\pi'$ from $0$ to $i$, the edge, and a path $\pi''$ from $j$ to $n$, and any two such paths make one with the
edge between. The probability of the whole is the product of the three. So the sum over both parts is
$\sum_{\pi'} \sum_{\pi''} P(\pi')\, e^{s_{ij}} P(\pi'') = e^{\alpha_i} e^{s_{ij}} e^{\beta_j}$, and divided by $Z$ it
is (E4). The same without the edge gives the paths that stop at $i$. Every segmentation has exactly one piece that
contains a given character, so the events "uses $(i, j)$" for the edges around that character exclude each other, and
one of them happens. $\blacksquare$

Added up over the edges that carry a piece $x$, (E4) is the mean number of times that the word uses $x$ (the mean of a
sum is the sum of the means, `markov.expectation-linear`). These **expected counts** are what training needs in place of
counts, and they are a gradient:

**Claim** `tokenize.expected-counts`. Let $s_x$ be the score of piece $x$ and $C_x(\pi)$ how often $\pi$ uses it. The
mean of $C_x$ given the word is $\partial \ln Z / \partial s_x$.

**Proof.** $s(\pi) = \sum_x C_x(\pi)\, s_x$, so by the chain rule $\partial e^{s(\pi)} / \partial s_x = C_x(\pi)\,
e^{s(\pi)}$. Sum over $\pi$ and divide by $Z$, as the slope of $\ln Z$ is that of $Z$ divided by $Z$:
$\frac{\partial \ln Z}{\partial s_x} = \sum_\pi C_x(\pi) \frac{P(\pi)}{Z}$. $\blacksquare$

How much is lost by knowing only the best segmentation? It bounds the word's probability from below, and no worse than
by the number of segmentations:

**Claim** `tokenize.best-and-all`. If there are $N \ge 1$ segmentations and $v$ is the greatest score,
$v \le \ln Z \le v + \ln N$. The entropy of the segmentation given the word is $\ln Z - \sum_{(i,j)} p_{ij} s_{ij}$,
and at most $\ln N$.

**Proof.** $\ln Z$ is the log-sum-exp of the $N$ scores: `neural.logsumexp-bounds`. The entropy is the mean of
$-\ln \frac{P(\pi)}{Z} = \ln Z - s(\pi)$, and the mean of $s(\pi)$, a sum over edges of $s_{ij}$ where $\pi$ uses the
edge and $0$ where not, is $\sum p_{ij} s_{ij}$ (`markov.expectation-linear`). No distribution on $N$ outcomes has more
than $\ln N$ (`markov.max-entropy`). $\blacksquare$

## Why in logarithms

Probabilities of long words leave the range of floating-point numbers, their logarithms do not:

>>> long_word = edges_of("ab" * 400, {"a": -2.0, "b": -2.0})
>>> path_sum(long_word, lambda a, b: a + b, lambda a, s: a * math.exp(s), 0.0, 1.0), log_likelihood(long_word)
(0.0, -1600.0)

At each place the largest term is taken out before exponentials are formed, as in `fp_neural.softmax`, where
`neural.logsumexp-rounding` bounds what one such sum loses. Along the word the losses only add up:

**Claim** `tokenize.forward-error`. Let every $\alpha_i + s_{ij}$ be computed with an error of at most $\delta$, and
every log-sum-exp of computed terms with an error of at most $\varepsilon$. If at most $d$ edges lie on a path from $0$
to $j$, the computed $\hat\alpha_j$ is within $d\, (\delta + \varepsilon)$ of $\alpha_j$.

**Proof.** By induction on $j$. $\hat\alpha_0 = 0$ is exact. Let $(i, j)$ be an edge; paths to $i$ have at most $d - 1$
edges, so by hypothesis $\hat\alpha_i$ is off by at most $(d - 1)(\delta + \varepsilon)$, and the computed
$\hat\alpha_i + s_{ij}$ by at most that plus $\delta$. If no term of a log-sum-exp moves by more than $c$, neither does
the result (`neural.logsumexp-bounds`); computing it adds at most $\varepsilon$. $\blacksquare$

## Drawing one

The sums do more than weigh segmentations: they draw one. Start at $n$. Standing at $j$, choose the edge $(i, j)$ with
probability

$$q_{ij} = e^{\alpha_i + s_{ij} - \alpha_j} \qquad \text{(E5)}$$

and go to $i$, until $0$ is reached: **forward filtering, backward sampling**.

**Claim** `tokenize.backward-sampling`. Suppose that there is a path from $0$ to $n$. The $q_{ij}$ of the edges that end
at a place that is reached add up to one, and the path drawn is $\pi$ with probability $P(\pi) / Z$.

**Proof.** By (E3) $\sum_{(i, j)} e^{\alpha_i + s_{ij}} = e^{\alpha_j}$, which is positive where $j$ is reached; and an
edge from a place that is not reached has $q_{ij} = 0$, so all places visited are reached. The steps are drawn one after
another, each given only its place, so a path through $0 = i_0 < i_1 < \dots < i_m = n$ is drawn with probability
(`markov.chain-rule`)

$$
\prod_{k=1}^{m} e^{\alpha_{i_{k-1}} + s_{i_{k-1} i_k} - \alpha_{i_k}}
  = e^{\alpha_0 - \alpha_n} \prod_{k=1}^m e^{s_{i_{k-1} i_k}} = \frac{P(\pi)}{Z},
$$

as the $\alpha$ between $0$ and $n$ cancel. $\blacksquare$

With all scores multiplied by $a \ge 0$ first (`tempered`) the path $\pi$ has a probability proportional to $P(\pi)^a$.
That is the distribution over segmentations at the temperature $T = 1/a$, so all of `fp_markov.sampling` holds: $a = 1$
draws from the posterior, $a \to \infty$ tends to the best, $a = 0$ is uniform over all segmentations
(`markov.temperature-limits`), and the entropy falls as $a$ rises (`markov.temperature-entropy`).

## The $k$ best

**Claim** `tokenize.n-best`. Keep at each place the $k$ best paths to it (all of them if there are fewer), made from
the lists at the places before: every listed path to $i$, with $(i, j)$ added, for every edge. The list at $n$ holds the
$k$ best segmentations, in order.

**Proof.** By induction on $j$. Order the paths to each place by falling score, and those of equal score by where the
last piece begins, then by the order of what is before it: this is the order in which the lists are made, and no two
paths share a place in it. Let $\pi$ be among the first $k$ paths to $j$, its last edge $(i, j)$, its part before that
$\pi'$. If $\pi'$ was not among the first $k$ at $i$, then $k$ other paths to $i$ precede it, and with $(i, j)$ added
each precedes $\pi$: the same amount is added to both scores, and at equal scores the order is that at $i$. Then $\pi$
would not be among the first $k$. So, by hypothesis, $\pi'$ is on the list at $i$ and $\pi$ is among the candidates; the
first $k$ of the candidates, which are paths to $j$, are therefore the first $k$ of all paths to $j$. $\blacksquare$

With $k = 1$ this is Viterbi's algorithm, ties included.

## In practice

The functions here are meant to be read, and to check others: `fp_tokenize.unigram` finds best paths in bulk, and
`fp_tokenize.unigram_training` computes expected counts for all words together. SentencePiece finds the $k$ best by
searching backwards from the end, guided by Viterbi's scores, which opens fewer lists for small $k$. The same three
recursions, on lattices of other kinds, are what speech recognisers and hidden Markov models run.

References: A. Viterbi, 1967; L. Baum and others, 1970, for forward and backward sums; T. Kudo, "Subword
regularization", 2018; M. Mohri, 2002, for path sums in general.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, pairwise
from typing import TypeVar

import numpy as np
from jaxtyping import Float

__all__ = [  # the order of the page
    "edges_of",
    "pieces",
    "segmentations",
    "path_sum",
    "count",
    "best",
    "forward",
    "backward",
    "log_likelihood",
    "posteriors",
    "expected_counts",
    "entropy",
    "tempered",
    "sample",
    "drawer",
    "n_best",
]

Edges = list[list[tuple[int, float]]]
"""A lattice: for each place, the end and the score of each edge that begins there, ends rising."""

T = TypeVar("T")


def edges_of(word: str, scores: Mapping[str, float | int], unknown: float | int | None = None) -> Edges:
    """
    The lattice of a word.

    Parameters
    ----------
    word
        Any string.
    scores
        Score of each piece, in nats. A piece of score minus infinity is no piece.
    unknown
        Score of an edge over a single character that is no piece; without one there is no such edge.

    Returns
    -------
    list
        One list for each place, the last one empty.

    Raises
    ------
    ValueError
        If a score is NaN or plus infinity.

    Examples
    --------
    >>> edges_of("aba", {"a": -1.0, "ab": -2.0}, unknown=-9.0)
    [[(1, -1.0), (2, -2.0)], [(2, -9.0)], [(3, -1.0)], []]
    """
    longest = max(map(len, scores), default=0)
    edges: Edges = []
    for i in range(len(word)):
        out = []
        for j in range(i + 1, min(i + longest, len(word)) + 1):
            score = scores.get(word[i:j])
            if score is None or score == -math.inf:
                continue
            if not score < math.inf:
                raise ValueError(f"scores are logarithms of probabilities, got {score} for the piece {word[i:j]!r}")
            out.append((j, float(score)))
        if unknown is not None and not (out and out[0][0] == i + 1):
            out.insert(0, (i + 1, float(unknown)))
        edges.append(out)
    return [*edges, []]


def pieces(word: str, places: list[int]) -> list[str]:
    """
    The pieces of a segmentation.

    Parameters
    ----------
    word
        The word.
    places
        Where the segmentation stops, from 0 to the length of the word.

    Examples
    --------
    >>> pieces("unable", [0, 2, 6])
    ['un', 'able']
    """
    return [word[i:j] for i, j in pairwise(places)]


def segmentations(edges: Edges) -> Iterator[list[int]]:
    """
    Every segmentation, by trying all paths: for small words, and to check the rest of this section.

    Yields
    ------
    list of int
        The places where it stops, from 0 to n.
    """
    stack = [[0]]
    while stack:
        places = stack.pop()
        if places[-1] == len(edges) - 1:
            yield places
        stack.extend([*places, j] for j, _ in reversed(edges[places[-1]]))


def path_sum(edges: Edges, add: Callable[[T, T], T], times: Callable[[T, float], T], zero: T, one: T) -> T:
    """
    (E2) for any pair of operations.

    Parameters
    ----------
    edges
        A lattice.
    add
        The operation that puts together what arrives at a place.
    times
        The operation that extends a value by the score of an edge.
    zero, one
        The elements 0 and 1 of `tokenize.path-sums`.

    Returns
    -------
    The value at the last place.

    Examples
    --------
    >>> edges = edges_of("aaaa", {"a": -1.0, "aa": -1.0})
    >>> path_sum(edges, max, lambda a, s: a + s, -math.inf, 0.0)
    -2.0
    """
    values = [one, *[zero] * (len(edges) - 1)]
    for i, out in enumerate(edges):  # when i is reached, all edges that end there have been added
        for j, score in out:
            values[j] = add(values[j], times(values[i], score))
    return values[-1]


def count(edges: Edges) -> int:
    """
    How many segmentations there are, exactly.

    Examples
    --------
    >>> count(edges_of("a" * 101, {"a" * n: 0.0 for n in range(1, 102)})) == 2**100
    True
    """
    return path_sum(edges, lambda a, b: a + b, lambda a, _: a, 0, 1)


def best(edges: Edges) -> tuple[float, list[int]]:
    """
    The best segmentation (`tokenize.viterbi`).

    Returns
    -------
    score : float
        In nats.
    places : list of int
        Where it stops, from 0 to n.

    Raises
    ------
    ValueError
        If there is no segmentation.

    Examples
    --------
    >>> best(edges_of("aaa", {"a": -1.0, "aa": -1.0}))  # a|aa and aa|a score the same
    (-2.0, [0, 1, 3])
    """
    values = [0.0] + [-math.inf] * (len(edges) - 1)
    winners = [0] * len(edges)
    for i, out in enumerate(edges):
        for j, score in out:
            if values[i] + score > values[j]:  # not >=, so that of equals the one that begins first stays
                values[j], winners[j] = values[i] + score, i
    _require_path(values[-1])
    places = [len(edges) - 1]
    while places[-1]:
        places.append(winners[places[-1]])
    return values[-1], places[::-1]


def forward(edges: Edges) -> Float[np.ndarray, " N"]:
    """
    The sums alpha of (E3), one for each place; minus infinity where no path leads.

    Examples
    --------
    >>> np.exp(forward(edges_of("aaa", {"a": math.log(0.5), "aa": math.log(0.25)}))).round(3)
    array([1.   , 0.5  , 0.5  , 0.375])
    """
    alpha = np.zeros(len(edges))
    for j, into in enumerate(_incoming(edges)):
        if j:
            alpha[j] = _log_sum([alpha[i] + score for i, score in into])
    return alpha


def backward(edges: Edges) -> Float[np.ndarray, " N"]:
    """The sums beta of (E3), one for each place; minus infinity from where no path leads to the end."""
    beta = np.zeros(len(edges))
    for i in range(len(edges) - 2, -1, -1):
        beta[i] = _log_sum([score + beta[j] for j, score in edges[i]])
    return beta


def log_likelihood(edges: Edges) -> float:
    """
    The logarithm of the word's marginal probability, ln Z, in nats; minus infinity without a segmentation.

    Examples
    --------
    >>> log_likelihood(edges_of("aaa", {"a": math.log(0.5), "aa": math.log(0.25)})) == math.log(0.375)
    True
    """
    return float(forward(edges)[-1])


def posteriors(edges: Edges) -> list[list[float]]:
    """
    The probability (E4) of each edge given the word, in the layout of `edges`.

    Raises
    ------
    ValueError
        If there is no segmentation.

    Examples
    --------
    "aaa" in thirds: a|a|a, a|aa and aa|a are equally likely.

    >>> [[round(p, 3) for p in out] for out in posteriors(edges_of("aaa", {"a": -1.0, "aa": -2.0}))]
    [[0.667, 0.333], [0.333, 0.333], [0.667], []]
    """
    alpha, beta = forward(edges), backward(edges)
    _require_path(alpha[-1])
    return [[math.exp(alpha[i] + score + beta[j] - alpha[-1]) for j, score in out] for i, out in enumerate(edges)]


def expected_counts(word: str, edges: Edges) -> dict[str, float]:
    """
    How often each piece is used on average, over the segmentations given the word.

    Parameters
    ----------
    word
        The word.
    edges
        Its lattice; an edge over an unknown character counts that character.

    Raises
    ------
    ValueError
        If there is no segmentation.

    Examples
    --------
    >>> {x: round(c, 3) for x, c in expected_counts("aaa", edges_of("aaa", {"a": -1.0, "aa": -2.0})).items()}
    {'a': 1.667, 'aa': 0.667}
    """
    totals: dict[str, float] = {}
    for i, (out, shares) in enumerate(zip(edges, posteriors(edges), strict=True)):
        for (j, _), p in zip(out, shares, strict=True):
            totals[word[i:j]] = totals.get(word[i:j], 0.0) + p
    return totals


def entropy(edges: Edges) -> float:
    """
    The entropy of the segmentation given the word (`tokenize.best-and-all`), in nats.

    Raises
    ------
    ValueError
        If there is no segmentation.

    Examples
    --------
    >>> round(math.exp(entropy(edges_of("aaa", {"a": -1.0, "aa": -2.0}))), 12)
    3.0
    """
    shares = posteriors(edges)
    mean = sum(p * s for out, ps in zip(edges, shares, strict=True) for (_, s), p in zip(out, ps, strict=True))
    return log_likelihood(edges) - mean


def tempered(edges: Edges, a: float | int) -> Edges:
    """
    The lattice with every score multiplied by `a`: segmentations in proportion to the power `a` of their probability.

    Parameters
    ----------
    edges
        A lattice.
    a
        Not negative and finite; 1 changes nothing.

    Raises
    ------
    ValueError
        If `a` is negative or not finite.
    """
    if not 0 <= a < math.inf:
        raise ValueError(f"the power must be finite and not negative, got {a}. For the best segmentation use best()")
    return [[(j, a * score) for j, score in out] for out in edges]


def sample(edges: Edges, rng: np.random.Generator) -> list[int]:
    """
    A random segmentation, in proportion to its probability (`tokenize.backward-sampling`).

    Parameters
    ----------
    edges
        A lattice; `tempered` first for another temperature.
    rng
        Where the randomness comes from: one number for each piece drawn.

    Returns
    -------
    list of int
        The places where it stops, from 0 to n.

    Raises
    ------
    ValueError
        If there is no segmentation.

    Examples
    --------
    >>> edges, rng = edges_of("aaa", {"a": -1.0, "aa": -2.0}), np.random.default_rng(0)
    >>> [pieces("aaa", sample(edges, rng)) for _ in range(3)]
    [['aa', 'a'], ['a', 'aa'], ['a', 'a', 'a']]
    """
    return drawer(edges)(rng)


def drawer(edges: Edges) -> Callable[[np.random.Generator], list[int]]:
    """
    `sample` for drawing many times: the sums are made once.

    Parameters
    ----------
    edges
        A lattice.

    Returns
    -------
    callable
        From a generator to a random segmentation.

    Raises
    ------
    ValueError
        If there is no segmentation.
    """
    alpha = forward(edges)
    _require_path(alpha[-1])
    choices = []  # for each place, where the edges that end there begin, and the running sums of (E5)
    for j, into in enumerate(_incoming(edges)):
        q = accumulate(math.exp(alpha[i] + score - alpha[j]) for i, score in into)
        choices.append(([i for i, _ in into], list(q)) if alpha[j] > -math.inf else ([], []))

    def draw(rng: np.random.Generator) -> list[int]:
        places = [len(edges) - 1]
        while places[-1]:
            begins, sums = choices[places[-1]]
            # the first whose running sum exceeds U (markov.inverse-cdf); times the total, which rounding moves off 1
            places.append(begins[bisect_right(sums, rng.random() * sums[-1])])
        return places[::-1]

    return draw


def n_best(edges: Edges, n: int) -> list[tuple[float, list[int]]]:
    """
    The `n` best segmentations, best first (`tokenize.n-best`); fewer if there are not so many.

    Parameters
    ----------
    edges
        A lattice.
    n
        At least one.

    Returns
    -------
    list of tuple
        Score in nats, and places where it stops.

    Raises
    ------
    ValueError
        If `n` is less than one.

    Examples
    --------
    >>> [(score, pieces("aaa", places)) for score, places in n_best(edges_of("aaa", {"a": -1.0, "aa": -2.5}), 2)]
    [(-3.0, ['a', 'a', 'a']), (-3.5, ['a', 'aa'])]
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    lists: list[list[tuple[float, int, int]]] = [[(0.0, 0, 0)]]  # score, place before, position in the list there
    for into in _incoming(edges)[1:]:
        candidates = [(at[0] + score, i, k) for i, score in into for k, at in enumerate(lists[i])]
        lists.append(sorted(candidates, key=lambda c: -c[0])[:n])  # a stable sort: equal scores stay in this order
    return [(entry[0], _followed_back(lists, k)) for k, entry in enumerate(lists[-1])]


def _followed_back(lists: list[list[tuple[float, int, int]]], k: int) -> list[int]:
    """The places of the k-th path on the last list."""
    places = [len(lists) - 1]
    while places[-1]:
        _, i, k = lists[places[-1]][k]
        places.append(i)
    return places[::-1]


def _incoming(edges: Edges) -> Edges:
    """For each place, the beginning and the score of each edge that ends there, beginnings rising."""
    incoming: Edges = [[] for _ in edges]
    for i, out in enumerate(edges):
        for j, score in out:
            incoming[j].append((i, score))
    return incoming


def _log_sum(terms: list[float]) -> float:
    """Log-sum-exp with the largest term taken out; minus infinity for no terms."""
    m = max(terms, default=-math.inf)
    return m if m == -math.inf else m + math.log(sum(math.exp(t - m) for t in terms))


def _require_path(value: float) -> None:
    if value == -math.inf:
        raise ValueError("the word has no segmentation into these pieces. Give edges_of a score for unknown characters")
