r"""
Regularization: a model that sees a word cut in several ways.

A tokenizer cuts every word in one way, and a model trained behind it never learns that "unlike" and "un|like" spell the
same. A misspelling, a rare ending, a prompt that ends inside a word, and it meets sequences that training never showed.
The remedy is to cut at random while training. This section says what is then minimised, and draws segmentations for
Unigram, which has probabilities for them, and for BPE, which has none.

You need: `fp_tokenize.cost`, `fp_tokenize.lattice`, `fp_tokenize.merges`; divergences in `fp_markov.information`.

## What training on samples minimises

Let $P$ be a model's distribution over token sequences $x$, and $P(s)$ the sum over all $x$ that spell the text $s$. For
each text draw $x$ from a distribution $q$ over the sequences that spell it, and train on $-\ln P(x)$. The proof of
`tokenize.segmentation-average` splits the mean loss into three parts,

$$
\sum_x q(x) \big( -\ln P(x) \big) = -\ln P(s) + D\big( q \,\|\, P(\cdot \mid s) \big) + H(q), \qquad \text{(E1)}
$$

of which the last does not depend on the model. So training on samples lowers the cost of the *text*, however it is cut,
and draws the model's opinion about segmentations towards $q$. With a single segmentation that opinion is to put all
others at zero. And a test loss on samples can be compared with others after $H(q)$ has been taken off.

## Unigram

Unigram has a posterior over segmentations, and `UnigramTokenizer.sample` draws from its power $a$
(`tokenize.backward-sampling`): $q(\pi) \propto P(\pi)^a$, from uniform over all segmentations at $a = 0$ to the best
one as $a$ grows. Small $a$, 0.1 or 0.2, is usual: the entropy of a word's segmentation, here at four powers,

>>> edges = lattice.edges_of("hugs", {"h": -4, "u": -4, "g": -4, "s": -3, "hug": -5, "ug": -4.5, "gs": -5})
>>> [round(lattice.entropy(lattice.tempered(edges, a)), 2) for a in (0, 0.2, 1, 5)]
[1.39, 1.25, 0.18, 0.0]

is $\ln 4$ at first, as the word has four, and always falls (`markov.temperature-entropy`).

## BPE-dropout

BPE has no probabilities. It can be made to forget instead. A **step** with dropout $p$ (E2): look at all places of the
word where a pair of the list stands, the *candidates*; drop each with probability $p$, independently; of those left
make the replacement of lowest rank, of several the leftmost; if none is left, stop. Steps are repeated until they stop.
What was dropped in one step is a candidate again in the next.

**Claim** `tokenize.dropout-lazy`. Let the candidates of a word be $1, \dots, m$ in the order of rank, and of equal rank
from left to right. A step makes the replacement $r$ with probability $p^{r-1} (1 - p)$ and stops with probability
$p^m$. So it may as well go through the candidates in order, toss a coin for each, and make the first that is kept.

**Proof.** Replacement $r$ is made if candidates $1, \dots, r - 1$ are dropped and $r$ is kept, whatever happens to the
others: the drops are independent, so that is $p^{r-1} (1 - p)$. The step stops if all are dropped: $p^m$. Going in
order asks for the coins $1, \dots, r$ alone, and gives the same. $\blacksquare$

By this claim the distribution over results can be computed, step after step, for words that are not too long
(`dropout_distribution`):

>>> from fp_tokenize.merges import joined
>>> merges = joined([("e", "r"), ("l", "o"), ("lo", "w"), ("low", "er")])
>>> for result, probability in dropout_distribution("lower", merges, 0.25).items():
...     print("|".join(result), round(probability, 4))
lower 0.4153
l|o|w|er 0.1875
lo|w|er 0.1758
low|er 0.1384
l|o|w|e|r 0.0625
lo|w|e|r 0.0117
low|e|r 0.0088

**Claim** `tokenize.dropout-ends`. With $p = 0$ the result is rank order's (E2 of `fp_tokenize.merges`), with $p = 1$
the word itself. If rank order makes $k$ replacements in a word that has $m$ candidates at first, its result has a
probability of at least $(1 - p)^k$, and the word stays as it is with probability $p^m$.

**Proof.** With $p = 0$ every candidate is kept ($p^0 = 1$), so each step makes the replacement that rank order makes,
and they end together. With $p = 1$ none is kept. In general each of the first $k$ steps makes rank order's replacement
with probability $1 - p$, given that the earlier ones did (`tokenize.dropout-lazy`, $r = 1$), and where rank order ends
there is no candidate and the steps stop. A replacement makes the word shorter for good, so it stays as it is only if
the first step stops. $\blacksquare$

Which results are possible at all? Fewer than for Unigram, where all segmentations are. Call a symbol **buildable**
from a sequence of base symbols if it is that one base symbol, or the result of a merge $ab \to c$ where the sequence is
$uv$, $a$ is buildable from $u$ and $b$ from $v$.

**Claim** `tokenize.dropout-support`. Let $0 < p < 1$. The results of positive probability are exactly the sequences
$t_1 \cdots t_j$ such that the word is $w_1 \cdots w_j$ with $t_i$ buildable from $w_i$. If each merge's result spells
what its operands spell one after the other, all of them spell what the word spells.

**Proof.** A replacement puts $c$, buildable from $uv$, in the place of $a$ and $b$, buildable from $u$ and $v$. So
after every step each symbol is buildable from the part of the word that it covers, and spells what that part spells.
Conversely let such a sequence be given. If a symbol is buildable from its part, a series of replacements inside the
part makes it: none if it is the base symbol; else first those that make $a$ of $u$ and $b$ of $v$, then $ab \to c$.
Do this for all parts. Each of these replacements is a candidate when its turn comes, and is made with the positive
probability $p^{r-1}(1 - p)$; at the end the step stops with the positive probability $p^m$. The product of finitely
many positive numbers is positive. $\blacksquare$

## In practice

Models for translation gain most, small ones on little text above all; large language models are trained without.
Usual is $p = 0.1$, and $0$ when the model is used. How much longer do texts become?

>>> from pydoc_data.topics import topics
>>> text = "".join(topics[name] for name in sorted(topics))[:100_000]
>>> tokenizer = BPETokenizer.train([text], 1024)
>>> text = text[:5_000]
>>> longer = len(encode_dropout(tokenizer, text, 0.1, np.random.default_rng(0))) / len(tokenizer.encode(text))
>>> 1.15 < longer < 1.3
True

Programs differ in what they drop. Hugging Face's library does (E2), but for pairs that have lost a symbol to another:
they stay in its queue, and when such a one is kept, what was dropped before it gets another chance. subword-nmt tosses
(E2)'s coins and then joins all kept places of the best pair at once. SentencePiece tosses one coin for a pair when it
first becomes a candidate and does not ask again, so that more stays apart; with two pairs that do not touch, the first
is joined with probability

>>> apart = joined([("a", "b"), ("c", "d")])
>>> again = sum(q for result, q in dropout_distribution("abcd", apart, 0.5).items() if "ab" in result)
>>> again, 1 - 0.5
(0.625, 0.5)

here and there.

References: T. Kudo, "Subword regularization", 2018; I. Provilkov, D. Emelianenko and E. Voita, "BPE-dropout", 2020.
"""

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

import numpy as np

from fp_tokenize import lattice
from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.merges import Merges, S

__all__ = [
    "segmentation_distribution",
    "bpe_dropout",
    "dropout_distribution",
    "encode_dropout",
]  # the order of the page

Real = float | int | Fraction  # fractions for exact probabilities


def segmentation_distribution(edges: lattice.Edges, a: float | int = 1) -> dict[tuple[int, ...], float]:
    """
    The probability of each segmentation of a lattice, in proportion to the power `a` of its own, by trying all.

    Parameters
    ----------
    edges
        The lattice (`fp_tokenize.lattice`) of a short word.
    a
        Not negative and finite.

    Returns
    -------
    dict
        Probabilities, by the places where the segmentation stops.

    Raises
    ------
    ValueError
        If `a` is negative or not finite.

    Examples
    --------
    >>> segmentation_distribution(lattice.edges_of("ab", {"a": -1.0, "b": 0.0, "ab": -3.0}), a=0)
    {(0, 1, 2): 0.5, (0, 2): 0.5}
    """
    edges = lattice.tempered(edges, a)
    log_z = lattice.log_likelihood(edges)
    score = {(i, j): s for i, out in enumerate(edges) for j, s in out}
    return {
        tuple(places): float(np.exp(sum(map(score.__getitem__, pairwise(places))) - log_z))
        for places in lattice.segmentations(edges)
    }


def bpe_dropout(symbols: Iterable[S], merges: Merges[S], p: float | int, rng: np.random.Generator) -> list[S]:
    """
    A random result of a list of merges, with dropout (E2).

    Parameters
    ----------
    symbols
        The word.
    merges
        The list.
    p
        The probability that a candidate is dropped, from 0 to 1.
    rng
        Where the randomness comes from.

    Returns
    -------
    list
        The symbols that the word was left in.

    Raises
    ------
    ValueError
        If `p` is not a probability.

    Examples
    --------
    >>> from fp_tokenize.merges import joined
    >>> merges, rng = joined([("e", "r"), ("l", "o"), ("lo", "w")]), np.random.default_rng(3)
    >>> ["|".join(bpe_dropout("lower", merges, 0.5, rng)) for _ in range(3)]
    ['l|o|w|e|r', 'lo|w|er', 'l|o|w|e|r']
    """
    _check(p)
    word = list(symbols)
    while True:
        for k, i in _candidates(word, merges):
            if rng.random() >= p:
                word[i : i + 2] = [merges.result[k]]
                break
        else:
            return word


def dropout_distribution(symbols: Iterable[S], merges: Merges[S], p: Real) -> dict[tuple[S, ...], Real]:
    """
    The probability of each result of `bpe_dropout`, computed.

    Parameters
    ----------
    symbols
        A short word: there can be as many results as ways to cut it.
    merges
        The list.
    p
        The probability that a candidate is dropped, from 0 to 1: a float, or a `Fraction` for exact answers.

    Returns
    -------
    dict
        Probabilities, by result; those of probability zero are left out.

    Raises
    ------
    ValueError
        If `p` is not a probability.

    Examples
    --------
    >>> from fp_tokenize.merges import joined
    >>> dropout_distribution("ab", joined([("a", "b")]), 0.25)
    {('ab',): 0.75, ('a', 'b'): 0.25}
    """
    _check(p)
    results: dict[tuple[S, ...], Real] = {}
    # words of a length, longest first: every replacement makes a word shorter by one
    level: dict[tuple[S, ...], Real] = {tuple(symbols): 1}
    while level:
        shorter: dict[tuple[S, ...], Real] = {}
        for word, reached in level.items():
            rest = reached  # the probability of being here with all candidates so far dropped
            for k, i in _candidates(word, merges):
                after = (*word[:i], merges.result[k], *word[i + 2 :])
                shorter[after] = shorter.get(after, 0) + rest * (1 - p)
                rest = rest * p
            if rest:
                results[word] = rest
        level = {word: q for word, q in shorter.items() if q}
    return dict(sorted(results.items(), key=lambda pair: -pair[1]))


def encode_dropout(tokenizer: BPETokenizer, text: str, p: float | int, rng: np.random.Generator) -> list[int]:
    """
    The ids of a text by a byte-pair tokenizer with dropout, each word for itself.

    Parameters
    ----------
    tokenizer
        Its normaliser and pre-tokenizer are used as they are; special tokens in the text are text.
    text
        The text.
    p
        The probability that a candidate is dropped, from 0 to 1.
    rng
        Where the randomness comes from.

    Raises
    ------
    ValueError
        If `p` is not a probability.

    Examples
    --------
    >>> tokenizer = BPETokenizer.train(["low lower lowest new newer newest"], 256 + 9)
    >>> ids = encode_dropout(tokenizer, "lowest", 0.3, np.random.default_rng(0))
    >>> [tokenizer.id_to_bytes(i) for i in ids], tokenizer.decode(ids)
    ([b'l', b'o', b'we', b's', b't'], 'lowest')
    """
    _check(p)
    if p == 0:
        return tokenizer.encode(text)
    ids: list[int] = []
    for word in tokenizer.words(text):
        symbols = [symbol for symbol, _, _ in tokenizer._symbols(word)]
        ids.extend(bpe_dropout(symbols, tokenizer._encoder.merges, p, rng))
    return ids


def _candidates(word: Iterable[S], merges: Merges[S]) -> list[tuple[int, int]]:
    """Rank and position of each place where a pair stands, in the order of `tokenize.dropout-lazy`."""
    offers = ((merges.rank.get(pair), i) for i, pair in enumerate(pairwise(word)))
    return sorted((k, i) for k, i in offers if k is not None)


def _check(p: Real) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout is a probability from 0 to 1, got {p}")
