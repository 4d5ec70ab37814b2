r"""
Training WordPiece: what a merge is worth.

Byte-pair encoding merges the pair that it sees most often. WordPiece asks which merge makes the corpus most likely.
This section derives the answer exactly, shows what the published score keeps of it and what it loses, and trains by
gain, by score or by count, each without counting the corpus again.

You need: slopes in `fp_markov.mathematics`, maximum likelihood in `fp_markov.counting`.

## The likelihood of a cut corpus

A word is cut into tokens. Its first token is spelled as it stands, and those that continue the word carry a prefix:
"hugs" begins as `h ##u ##g ##s`. So the words can be read off the tokens. Let $c(t)$ count token $t$ in the corpus and
let $N = \sum_t c(t)$. Suppose each token is drawn independently of the others. By `markov.mle-lagrange` the corpus is
most likely if $t$ has the probability $c(t)/N$, and then its log-likelihood is

$$
L = \sum_t c(t) \ln \frac{c(t)}{N} = \sum_t f(c(t)) - f(N), \qquad f(x) = x \ln x, \quad f(0) = 0,
\qquad \text{(E1)}
$$

as $\sum_t c(t) \ln N = N \ln N$. Cut the same corpus in another way, and $L$ is another.

## What a merge does to the counts

To **merge** a pair $(a, b)$ into a token $t$ is to go through every word from left to right and to replace each $a$
that stands before a $b$, together with that $b$, by $t$. Let $k$ pairs be replaced. As $t$ is spelled by both, it is
neither.

**Claim** `tokenize.merge-counts`. If $a \ne b$, then $k$ is the number of places at which $a$ stands before $b$. If
$a = b$, a run of $r$ equal tokens, as long as possible, adds $\lfloor r/2 \rfloor$ to $k$. The merge adds $k$ to $c(t)$
and takes $k$ from $N$; it takes $k$ from each of $c(a)$ and $c(b)$ if $a \ne b$, and $2k$ from $c(a)$ if $a = b$. No
other count changes.

**Proof.** A pair occupies two neighbouring positions. Two different pairs of the same kind can only share a position if
one begins where the other ends, and the token there is both $b$ and $a$. So for $a \ne b$ none overlap and all are
replaced. For $a = b$ all pairs lie in runs. From left to right the first and second token of a run are replaced, then
the third and fourth, and so on: $\lfloor r/2 \rfloor$ pairs. Each replacement removes one $a$ and one $b$ and adds one
$t$, which makes one token less. $\blacksquare$

To count the two places of `##a ##a ##a` as two pairs is the usual mistake.

## The exact gain

**Claim** `tokenize.merge-gain`. The merge changes $L$ by

$$
\begin{aligned}
\Delta &= f(c(a) - k) - f(c(a)) + f(c(b) - k) - f(c(b)) \\
  &\quad + f(c(t) + k) - f(c(t)) + f(N) - f(N - k) && \text{if } a \ne b, & \quad \text{(E2)} \\
\Delta &= f(c(a) - 2k) - f(c(a)) \\
  &\quad + f(c(t) + k) - f(c(t)) + f(N) - f(N - k) && \text{if } a = b. & \quad \text{(E3)}
\end{aligned}
$$

**Proof.** Put the counts of `tokenize.merge-counts` into (E1), before and after, and subtract. The terms of all other
tokens cancel. $\blacksquare$

To compute it, avoid the difference of two large numbers: as $\ln (x - k) = \ln x + \ln (1 - k/x)$,

$$f(x - k) - f(x) = (x - k) \ln (1 - k/x) - k \ln x. \qquad \text{(E4)}$$

## The gain to first order

Let $t$ be new, $c(t) = 0$. The counts of $a$ and $b$ and the total change by little of themselves, and there $f$ is
nearly straight, with slope $\ln x + 1$ (`markov.slope-rules`, `markov.log-slope`). At $0$ the slope is infinite: $f(k)$
stays as it is. How good is this? Write $h(r) = (1 - r) \ln (1 - r) + r$, with $h(1) = 1$. Then (E4) is

$$f(x - k) - f(x) = -k\, (\ln x + 1) + x\, h(k/x). \qquad \text{(E5)}$$

Let $M$ be the **pointwise mutual information** of the pair, how much more often it occurs than $c(a)$ and $c(b)$ would
lead to expect if its tokens had nothing to do with each other:

$$M = \ln \frac{k / N}{(c(a)/N)\, (c(b)/N)} = \ln \frac{k N}{c(a)\, c(b)}. \qquad \text{(E6)}$$

**Claim** `tokenize.merge-gain-bounds`. If $c(t) = 0$ and $k > 0$, then $\Delta = k\, (M - 1) + R$ with $0 < R < 2k$.
So the gain for each replaced pair is the pointwise mutual information, up to one nat:

$$M - 1 < \Delta / k < M + 1.$$

**Proof.** By (E5) with $x = c(a)$, $c(b)$ and $N$, (E2) is

$$
\begin{aligned}
\Delta &= -k\, (\ln c(a) + 1) - k\, (\ln c(b) + 1) + k \ln k + k\, (\ln N + 1) + R = k\, (M - 1) + R, \\
R &= c(a)\, h \big( k / c(a) \big) + c(b)\, h \big( k / c(b) \big) - N h(k / N).
\end{aligned}
$$

If $a = b$, then (E5) with $2k$ for $k$ and $x = c(a)$ leads from (E3) to the same line, with
$R = c(a)\, h \big( 2k / c(a) \big) - N h(k/N)$.

Next, $r^2/2 \le h(r) \le r^2$ for $0 \le r \le 1$. At $r = 1$ this is $\frac12 \le 1 \le 1$. For $r < 1$
`markov.log-tangent` says $\ln (1 - r) \le -r$, so $h(r) \le -(1 - r)\, r + r = r^2$. And $h(r) - r^2/2$ is $0$ at
$r = 0$ with slope $-\ln (1 - r) - r \ge 0$, so it never falls (`markov.slope-bound`).

Let $a \ne b$. As both tokens occur, $c(a) < N$ and $c(b) < N$, and
$R \ge \frac{k^2}{2} \big( \frac{1}{c(a)} + \frac{1}{c(b)} \big) - \frac{k^2}{N} > 0$. As $k \le c(a)$ and
$k \le c(b)$, and $h(k/N) > 0$, also $R < \frac{k^2}{c(a)} + \frac{k^2}{c(b)} \le 2k$. Let $a = b$. As
$2k \le c(a) \le N$, $R \ge \frac{2 k^2}{c(a)} - \frac{k^2}{N} > 0$ and $R < \frac{4 k^2}{c(a)} \le 2k$. $\blacksquare$

Often $k M$ is given as the gain. That gives $t$ the probability $k/N$ and leaves all others alone, so they sum to
$1 + k/N$. To scale them back costs $N \ln (1 + k/N)$, nearly $k$: that is the $-1$.

## The published score

$$s(ab) = \frac{k}{c(a)\, c(b)} \qquad \text{(E7)}$$

**Claim** `tokenize.score-is-pmi`. Among the pairs of one corpus, the score ranks by the gain to first order *for each
replaced pair*, $M - 1$.

**Proof.** $M = \ln (N s)$, and $\ln$ strictly increases. $\blacksquare$

But a merge costs one entry of the vocabulary, however many pairs it replaces. What it buys is $\Delta$, about
$k\, (M - 1)$, and the score leaves out the factor $k$.

**Claim** `tokenize.score-prefers-rare`. $s(ab) \le 1 / \max(c(a), c(b))$, and if $a = b$ even $s \le 1 / (2 c(a))$. Two
different tokens that occur once, side by side, score $1$, and no other pair scores as much.

**Proof.** $k \le \min(c(a), c(b))$, and $c(a)\, c(b)$ is the minimum times the maximum; if $a = b$, $2k \le c(a)$. So
$s = 1$ only if $a \ne b$ and $c(a) = c(b) = 1$. $\blacksquare$

A small corpus, and for four of its pairs the count, the exact gain, the gain to first order and the score:

>>> counts = {"the": 12, "this": 4, "hat": 5, "heat": 3, "quiz": 1}
>>> tokens, pairs = Counter(), Counter()
>>> for word, n in counts.items():
...     cut = [word[0], *("##" + letter for letter in word[1:])]
...     for token in cut:
...         tokens[token] += n
...     for pair in pairs_of(cut):
...         pairs[pair] += n
>>> for a, b in [("t", "##h"), ("##a", "##t"), ("##h", "##e"), ("q", "##u")]:
...     of = pairs[a, b], tokens[a], tokens[b]
...     first_order = of[0] * (log(merge_score(*of) * tokens.total()) - 1)
...     print(f"{of[0]:2} {merge_gain(*of, tokens.total()):5.1f} {first_order:5.1f} {merge_score(*of):.4f}", a, b)
16  40.7  10.3 0.0625 t ##h
 8  26.3  10.7 0.1250 ##a ##t
12  17.8   5.1 0.0500 ##h ##e
 1   5.4   3.4 1.0000 q ##u

The exact gain ranks them as shown. By count the second and the third change places, to first order the first and the
second, and by score the last comes first.

## Training without counting again

A merge changes counts of pairs only in the words that contain it. But the worth of a pair depends on $c(a)$, $c(b)$ and
$N$ too, so after a merge of $(a, b)$ *every* pair with $a$ or $b$ is worth something else, and every gain is, because
of $N$. A heap of old values would be wrong in both directions. Which of them matters?

**Claim** `tokenize.worth-monotone`. Let $k$ be fixed. The gain (with $c(t) = 0$), the score and the count of a pair
never rise when $c(a)$ or $c(b)$ rises, and never fall when $N$ rises.

**Proof.** The score is a fraction with $c(a)\, c(b)$ below, and the count is $k$. For $x > k$, $f(x - k) - f(x)$ has
the slope $\ln (x - k) - \ln x < 0$ and falls (`markov.slope-bound`); with $2k$ for $k$ alike; at $x = k$ it is
continuous, since $f(x) \to 0$ as $x \to 0$. And $f(N) - f(N - k)$ has the slope $\ln N - \ln (N - k) > 0$.
$\blacksquare$

$N$ only falls, so values that are old in $N$ are too high at worst, which is harmless: an entry that comes to the top
is computed anew, and goes back if it was too high. What must not happen is an entry that is too low. Counts fall too,
and lower counts mean *higher* worth. So the queue keeps a **floor** below each token's count and bounds a pair's worth
by its value at the floors. It holds until a count falls below its floor; then the floor is lowered to three quarters
and the token's pairs get new bounds. An entry that comes to the top with a bound that is not exact gets its exact
value, and is noted with its two tokens, to be bounded again as soon as either's count falls.

**Claim** `tokenize.wordpiece-training`. `train_wordpiece` returns what `train_wordpiece_reference` returns: the pair
that is merged is worth most; of equals it is the one with the larger count, then the one with the smaller ids.

**Proof.** Call an entry *live* if its count and bound are the last ones noted for its pair. We show that at every
search each pair with at least `min_count` replaceable occurrences, but for those whose result is a special token, has
a live entry whose bound is not below its worth. At the start the bounds are values at the floors, which by
`tokenize.worth-monotone` are not below the worth. When the search replaces an entry, the new one has the exact worth.
A merge changes a pair's worth upwards only through its $k$, its $c(a)$ or its $c(b)$. Pairs whose $k$ may have changed
get new entries. The only tokens whose counts fall are the two that are merged. If one falls below its floor, all its
pairs get new entries. If not, those of its pairs that have exact bounds get new entries, and the bounds of the others
are values at floors that still hold. A count that rises, that of a merged token which existed already, lowers the worth
of its pairs.

The entries are ordered by bound, then count, then ids. An entry is accepted if it is the first of the live ones and
its bound is its worth. Any other pair that could be merged has a live entry behind it, with a bound that is not below
that pair's worth. So no pair is worth more, and one that is worth the same has the same bound and comes later by count
or ids. The pairs whose result is a special token are passed over by both. $\blacksquare$

**Claim** `tokenize.floor-drops`. A token whose count only falls, from $n \ge 1$ on, lowers its floor at most
$1 + \log_{4/3} n$ times; a merge of $(a, b)$ rewrites only the words with that pair, and all merges together rewrite no
more words than the different words have characters.

**Proof.** A floor set at count $x$ is $x - \lfloor x/4 \rfloor$, and is lowered when the count $y$ is less:
$y \le x - \lfloor x/4 \rfloor - 1 \le x - \frac{x - 3}{4} - 1 < \frac34 x$. After $j$ times the count is less than
$(\frac34)^j n$; it was at least $1$ the time before, unless $j = 1$, so $(\frac34)^{j - 1} n \ge 1$. Each rewriting of
a word makes it at least one token shorter. $\blacksquare$

Scores are compared exactly, without fractions:

**Claim** `tokenize.score-key`. Let $N < 2^m$. The whole numbers $\lfloor 2^{4m} k / (c(a)\, c(b)) \rfloor$ are ordered
as the scores are, and equal only for equal scores.

**Proof.** Equal scores give equal numbers. Let $k/q < k'/q'$ with $q, q' \le N^2 < 2^{2m}$. Then
$\frac{k'}{q'} - \frac{k}{q} = \frac{k' q - k q'}{q q'} \ge \frac{1}{q q'} > 2^{-4m}$. Times $2^{4m}$ they differ by
more than $1$, so their whole parts differ, in the same direction. $\blacksquare$

Gains are floating-point numbers. Each is a sum of at most seven terms of size at most $2k\,(1 + \ln N)$, computed by
(E4) with a relative error of a few units of $2^{-53}$; for $N < 2^{40}$ that is an error below $2 \cdot 10^{-13} k$.
When $N$ changes by one, or a token's count, the gain changes by at least $k/N > 9 \cdot 10^{-13} k$, since
$-\ln (1 - k/x) \ge k/x$. So rounding never turns `tokenize.worth-monotone` around. Larger corpora are refused.

## In practice

Which rule is best? By the corpus's own log-likelihood in nats a word, with 500 merges on the words of Python's manual:

>>> import re
>>> from pydoc_data.topics import topics
>>> words = Counter(re.findall("[a-z]+", " ".join(topics.values())))
>>> def loss(rule, min_count=1):
...     names = set(train_wordpiece(words, 553, rule=rule, min_count=min_count))
...     corpus = Counter()
...     for word, n in words.items():
...         for token in cut(word, names):
...             corpus[token] += n
...     return -log_likelihood(corpus.values()) / words.total()
>>> def cut(word, names, prefix=""):
...     ends = (end for end in range(len(word), 0, -1) if prefix + word[:end] in names)
...     end = next(ends)
...     return [prefix + word[:end]] + (cut(word[end:], names, "##") if word[end:] else [])
>>> losses = {rule: loss(rule) for rule in RULES}
>>> losses["gain"] < 1.02 * losses["count"], losses["count"] < 1.02 * losses["gain"]
(True, True)
>>> losses["score"] > 1.4 * losses["gain"], 1.2 * losses["gain"] < loss("score", min_count=20) < losses["score"]
(True, True)

Gain and count are as good as each other; the score fills the vocabulary with rarities, and needs a high `min_count` to
be of use. The paper that introduced WordPiece (M. Schuster and K. Nakajima, 2012) adds the unit that "increases the
likelihood on the training data the most": that is the gain. Google has not published BERT's trainer. The score is the
reading of Hugging Face's course, while the trainer of their library merges by count (its `WordPieceTrainer` is the
trainer for BPE with the prefix). TensorFlow Text learns its vocabularies from the top down: it counts all substrings,
and keeps those that are frequent after the longer ones have taken their share.

Both forms of each character are put into the vocabulary, with and without the prefix, so that every word over the
alphabet can be cut (`tokenize.wordpiece-coverage`).
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import log, log1p
from typing import TypeVar

__all__ = [  # the order of the page
    "log_likelihood",
    "pairs_of",
    "merge_gain",
    "merge_score",
    "train_wordpiece",
    "train_wordpiece_reference",
]

RULES = ("gain", "score", "count")
LARGEST = 1 << 40  # beyond, rounding could reverse the order of two gains

Token = TypeVar("Token", int, str)
Pair = tuple[int, int]  # of ids
Worth = Callable[[int, int, int, int, bool], float]  # of c(ab), c(a), c(b), N, and whether a = b


def log_likelihood(counts: Iterable[int]) -> float:
    """
    The log-likelihood (E1) of a cut corpus.

    Parameters
    ----------
    counts
        How often each token occurs.

    Returns
    -------
    float
        In nats; at most 0.

    Examples
    --------
    >>> round(log_likelihood([2, 1, 1]), 6)  # 4 tokens, of probabilities 1/2, 1/2, 1/4, 1/4: 6 ln 2
    -4.158883
    """
    counts = [count for count in counts if count]
    total = sum(counts)
    return sum((count * log(count / total) for count in counts), 0.0)


def pairs_of(tokens: Sequence[Token]) -> list[tuple[Token, Token]]:
    """
    The pairs of neighbours in a word, without those that overlap one of the same kind before them.

    Parameters
    ----------
    tokens
        The word's tokens, as ids or as names.

    Returns
    -------
    list of tuple
        As many of each pair as a merge of it would replace.

    Examples
    --------
    >>> pairs_of([1, 2, 1, 2]), pairs_of([7, 7, 7, 7, 7])
    ([(1, 2), (2, 1), (1, 2)], [(7, 7), (7, 7)])
    """
    pairs: list[tuple[Token, Token]] = []
    free = True  # whether the last pair leaves its second token to the next
    for pair in pairwise(tokens):
        free = not (free and pairs and pair == pairs[-1] and pair[0] == pair[1])
        if free:
            pairs.append(pair)
    return pairs


def merge_gain(pair: int, left: int, right: int, total: int, same: bool = False, result: int = 0) -> float:
    """
    What merging a pair adds to the log-likelihood, exactly: (E2), (E3), computed by (E4).

    Parameters
    ----------
    pair
        How many pairs are replaced, k.
    left, right
        How often each of the two tokens occurs, c(a) and c(b).
    total
        Number of tokens in the corpus, N.
    same
        Whether the two are the same token.
    result
        How often the merged token occurs already, c(t).

    Returns
    -------
    float
        In nats, of either sign.

    Examples
    --------
    >>> round(merge_gain(2, 3, 2, 10), 4), round(log_likelihood([1, 2, 5]) - log_likelihood([3, 2, 5]), 4)
    (3.0945, 3.0945)
    """
    if same:
        gain = _fall(left, 2 * pair)
    else:
        gain = _fall(left, pair) + _fall(right, pair)
    gain += _rise(result, pair) if result else pair * log(pair)
    return gain - _fall(total, pair)


def merge_score(pair: int, left: int, right: int) -> float:
    """
    The published score of a pair (E7).

    Parameters
    ----------
    pair, left, right
        How often the pair and each of its tokens occur.

    Examples
    --------
    >>> merge_score(2, 4, 5)
    0.1
    """
    return pair / (left * right)


def _fall(x: int, k: int) -> float:
    """f(x - k) - f(x), from small terms."""
    return (x - k) * log1p(-k / x) - k * log(x) if x > k else -k * log(k)


def _rise(x: int, k: int) -> float:
    """f(x + k) - f(x) for x > 0, from small terms."""
    return (x + k) * log1p(k / x) + k * log(x)


def train_wordpiece(
    counts: Mapping[str, int],
    vocab_size: int,
    special_tokens: Sequence[str] = ("[UNK]",),
    *,
    prefix: str = "##",
    rule: str = "gain",
    limit_alphabet: int | None = None,
    min_count: int = 1,
    max_word: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """
    A vocabulary of some words, by merging what is worth most, again and again.

    Parameters
    ----------
    counts
        How often each word occurs.
    vocab_size
        How many tokens to stop at.
    special_tokens
        Names that get the first ids and are never the result of a merge.
    prefix
        What names begin with that continue a word.
    rule
        What a merge is worth: `"gain"` (E2, E3, as if its result were new), `"score"` (E7), or `"count"`, the number
        of pairs.
    limit_alphabet
        How many characters to keep, the most frequent (of equals those of lower code point); `None` keeps all. Words
        with others are unknown words, and left out.
    min_count
        The smallest number of pairs that is merged.
    max_word
        Longer words are unknown words, and left out.
    progress
        Called with the number of tokens so far and `vocab_size`.

    Returns
    -------
    list of str
        Names in the order of their ids: special tokens, characters, the same with the prefix, results of merges. Fewer
        than asked if no merge is left or, by gain, none raises the likelihood.

    Raises
    ------
    ValueError
        If no word is left to train on, the vocabulary is smaller than the special tokens and the alphabet, a special
        token occurs twice or is spelled like a character of it, a count is not positive, an option is out of range, or
        the counts are too large for the gain in double precision.

    Examples
    --------
    >>> train_wordpiece({"hug": 10, "hugs": 5, "pun": 6}, 16)
    ['[UNK]', 'g', 'h', 'n', 'p', 's', 'u', '##g', '##h', '##n', '##p', '##s', '##u', 'hu', 'hug', 'pu']
    """
    names, words, times = _begin(counts, vocab_size, special_tokens, prefix, rule, limit_alphabet, min_count, max_word)
    ids = {name: i for i, name in enumerate(names)}
    corpus = _Corpus(words, times, len(names))
    queue = _Queue(corpus, _worth(rule, corpus.total), min_count, by_tokens=rule != "count")
    while len(names) < vocab_size and (pair := queue.best()):
        name = names[pair[0]] + names[pair[1]].removeprefix(prefix)
        if name in special_tokens:
            continue
        result = ids.setdefault(name, len(names))
        if result == len(names):
            names.append(name)
            corpus.count.append(0)
            if progress:
                progress(len(names), vocab_size)
        queue.update(pair, result, corpus.merge(pair, result))
    return names


def train_wordpiece_reference(
    counts: Mapping[str, int],
    vocab_size: int,
    special_tokens: Sequence[str] = ("[UNK]",),
    *,
    prefix: str = "##",
    rule: str = "gain",
    limit_alphabet: int | None = None,
    min_count: int = 1,
    max_word: int = 100,
) -> list[str]:
    """
    The same vocabulary, counting everything anew for every merge.

    Parameters
    ----------
    counts, vocab_size, special_tokens, prefix, rule, limit_alphabet, min_count, max_word
        As for `train_wordpiece`.

    Returns
    -------
    list of str
        Names in the order of their ids.

    Raises
    ------
    ValueError
        As for `train_wordpiece`.

    Examples
    --------
    >>> train_wordpiece_reference({"hug": 10, "hugs": 5, "pun": 6}, 16, rule="score")[13:]
    ['##gs', 'hu', 'pu']
    """
    names, words, times = _begin(counts, vocab_size, special_tokens, prefix, rule, limit_alphabet, min_count, max_word)

    def merged(pair: Pair) -> str:
        return names[pair[0]] + names[pair[1]].removeprefix(prefix)

    def worth(pair: Pair) -> tuple[Fraction | float, int, int, int]:
        a, b = pair
        k = pairs[pair]
        if rule == "gain":
            return merge_gain(k, tokens[a], tokens[b], tokens.total(), a == b), k, -a, -b
        return Fraction(k, tokens[a] * tokens[b] if rule == "score" else 1), k, -a, -b

    while len(names) < vocab_size:
        tokens: Counter[int] = Counter()
        pairs: Counter[Pair] = Counter()
        for word, n in zip(words, times, strict=True):
            for token in word:
                tokens[token] += n
            for pair in pairs_of(word):
                pairs[pair] += n
        allowed = [pair for pair, k in pairs.items() if k >= min_count and merged(pair) not in special_tokens]
        if not allowed:
            break
        best = max(allowed, key=worth)
        if worth(best)[0] <= 0:
            break
        name = merged(best)
        if name not in names:
            names.append(name)
        words = [_replace(word, best, names.index(name)) for word in words]
    return names


def _begin(
    counts: Mapping[str, int],
    vocab_size: int,
    special_tokens: Sequence[str],
    prefix: str,
    rule: str,
    limit_alphabet: int | None,
    min_count: int,
    max_word: int,
) -> tuple[list[str], list[list[int]], list[int]]:
    """Names to start with, the words cut into characters, and how often each occurs."""
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(map(repr, RULES))}, got {rule!r}")
    for option, value in (("limit_alphabet", limit_alphabet), ("min_count", min_count), ("max_word", max_word)):
        if value is not None and value < 1:
            raise ValueError(f"{option} must be at least 1, got {value}")
    for word, count in counts.items():
        if count < 1 or not word:
            raise ValueError(f"each word needs a character and a positive count, got {count} times {word!r}")
    counts = {word: count for word, count in counts.items() if len(word) <= max_word}
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            characters[character] += count
    kept = sorted(sorted(characters), key=lambda character: -characters[character])[:limit_alphabet]
    alphabet = sorted(kept)
    counts = {word: count for word, count in counts.items() if not set(word).difference(alphabet)}
    if not counts:
        raise ValueError("training needs at least one word, got an empty corpus")
    if rule == "gain" and sum(characters.values()) >= LARGEST:
        raise ValueError(
            f"the counts add up to {sum(characters.values())} characters, and gains can be told apart below {LARGEST}. "
            "Train with rule='count', or divide the counts."
        )
    names = [*special_tokens, *dict.fromkeys([*alphabet, *(prefix + character for character in alphabet)])]
    if len(set(names)) < len(names):
        twice = next(name for name, n in Counter(names).items() if n > 1)
        raise ValueError(f"each token needs a name of its own, the special token {twice!r} is not the only {twice!r}")
    if len(names) > vocab_size:
        raise ValueError(
            f"{len(special_tokens)} special tokens and {len(alphabet)} characters need a vocabulary of {len(names)}, "
            f"got vocab_size={vocab_size}. Raise it, or keep fewer characters with limit_alphabet."
        )
    ids = {name: i for i, name in enumerate(names)}
    words = [[ids[word[0]], *(ids[prefix + character] for character in word[1:])] for word in counts]
    return names, words, list(counts.values())


def _replace(word: list[int], pair: Pair, result: int) -> list[int]:
    """A word with its pairs replaced, from left to right."""
    a, b = pair
    merged: list[int] = []
    for token in word:
        if token == b and merged and merged[-1] == a:
            merged[-1] = result
        else:
            merged.append(token)
    return merged


def _worth(rule: str, total: int) -> Worth:
    if rule == "gain":
        return merge_gain
    if rule == "count":
        return lambda pair, left, right, total, same: pair
    shift = 4 * total.bit_length()  # enough to keep different fractions apart (`tokenize.score-key`)
    return lambda pair, left, right, total, same: (pair << shift) // (left * right)


def _floor(count: int) -> int:
    return count - count // 4


class _Corpus:
    """Words as tokens, with the counts of tokens and pairs kept up to date."""

    def __init__(self, words: list[list[int]], times: list[int], n_tokens: int) -> None:
        self.words, self.times = words, times
        self.count = [0] * n_tokens  # of each token
        self.pairs: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)  # the words in which a pair occurs
        self.partners: defaultdict[int, set[Pair]] = defaultdict(set)  # the pairs in which a token occurs
        for i, (word, n) in enumerate(zip(words, times, strict=True)):
            for token in word:
                self.count[token] += n
            for pair in pairs_of(word):
                self.pairs[pair] += n
                self.where[pair].add(i)
        for pair in self.pairs:
            self.partners[pair[0]].add(pair)
            self.partners[pair[1]].add(pair)
        self.total = sum(self.count)

    def merge(self, pair: Pair, result: int) -> list[Pair]:
        """Replace a pair everywhere; returns the pairs whose counts have changed."""
        k = self.pairs[pair]
        change: defaultdict[Pair, int] = defaultdict(int)
        for i in list(self.where[pair]):
            n, word = self.times[i], self.words[i]
            before, self.words[i] = pairs_of(word), _replace(word, pair, result)
            after = pairs_of(self.words[i])
            for one in before:
                change[one] -= n
            for one in after:
                change[one] += n
            for one in set(before).difference(after):
                self.where[one].discard(i)
            for one in set(after).difference(before):
                self.where[one].add(i)
        self.count[pair[0]] -= k
        self.count[pair[1]] -= k
        self.count[result] += k
        self.total -= k
        changed = [one for one, n in change.items() if n]
        for one in changed:
            self.pairs[one] += change[one]
            if not self.pairs[one]:
                del self.pairs[one], self.where[one]
                self.partners[one[0]].discard(one)
                self.partners[one[1]].discard(one)
            elif self.pairs[one] == change[one]:  # new
                self.partners[one[0]].add(one)
                self.partners[one[1]].add(one)
        return changed


class _Queue:
    """The pairs by upper bounds of their worth (`tokenize.wordpiece-training`)."""

    def __init__(self, corpus: _Corpus, worth: Worth, min_count: int, by_tokens: bool = True) -> None:
        self.corpus, self.worth, self.min_count = corpus, worth, min_count
        self.by_tokens = by_tokens  # whether worth depends on the tokens' counts
        self.floor = list(map(_floor, corpus.count))
        self.exact: defaultdict[int, set[Pair]] = defaultdict(set)  # pairs of a token that have exact bounds
        self.live: dict[Pair, tuple[float, int]] = {}  # bound and count, both negative, of the live entry of a pair
        self.heap: list[tuple[float, int, int, int]] = []
        for pair in corpus.pairs:
            self._push(pair, self.floor)

    def _push(self, pair: Pair, counts: list[int]) -> None:
        """A bound for a pair, from counts that are not above those of its tokens."""
        a, b = pair
        k = self.corpus.pairs.get(pair, 0)
        if k < self.min_count:
            self.live.pop(pair, None)
            return
        least = 2 * k if a == b else k
        bound = self.worth(k, max(counts[a], least), max(counts[b], least), self.corpus.total, a == b)
        entry = -bound, -k
        if self.live.get(pair) != entry:
            self.live[pair] = entry
            heapq.heappush(self.heap, (*entry, a, b))

    def best(self) -> Pair | None:
        """The pair that is worth most, taken out."""
        corpus = self.corpus
        while self.heap:
            bound, k, a, b = heapq.heappop(self.heap)
            pair = a, b
            if self.live.get(pair) != (bound, k):
                continue
            worth = self.worth(-k, corpus.count[a], corpus.count[b], corpus.total, a == b)
            if worth < -bound:
                self.exact[a].add(pair)
                self.exact[b].add(pair)
                self._push(pair, corpus.count)
                continue
            del self.live[pair]
            return pair if worth > 0 else None
        return None

    def update(self, pair: Pair, result: int, changed: list[Pair]) -> None:
        """New bounds after a merge for the pairs whose bounds no longer hold."""
        corpus, floor = self.corpus, self.floor
        if result == len(floor):
            floor.append(_floor(corpus.count[result]))
        again = set(changed)
        for token in pair if self.by_tokens else ():
            count = corpus.count[token]
            if count < floor[token]:
                floor[token] = _floor(count)
                again |= corpus.partners[token]
            else:
                again |= self.exact[token]
            self.exact[token].clear()
        for one in again:
            self._push(one, floor)
