r"""
Cost: why tokens at all, and what a loss per token hides.

Characters or words? `fp_markov.vocabulary` left the question open, with a hint that something between is better. This
section says what each end costs, puts a price on a token in a transformer, derives from it how large a vocabulary
should be, and then turns to the price in nats: which numbers two tokenizers can be compared by, and what is lost when a
text that could be cut in many ways is charged for one.

You need: `fp_markov.information`, `fp_markov.growth`, and the layers of a transformer (stage 6).

## Two ends

The shorter the units, the fewer of them there are to know, and the longer the text. Here is a text cut three ways,
known to nine tenths; `units` counts tokens for each byte of the rest, and the share of them that were never seen:

>>> from pydoc_data.topics import topics
>>> text = "\n".join(topics[name] for name in sorted(topics))
>>> known, new = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
>>> characters, words, lines = units(known, new)
>>> [unit.name for unit in (characters, words, lines)]
['characters', 'words', 'lines']
>>> characters.vocabulary < 200, 4_000 < words.vocabulary < 8_000, lines.vocabulary > words.vocabulary
(True, True, True)
>>> characters.tokens_per_byte > 0.9, 0.3 < words.tokens_per_byte < 0.4, lines.tokens_per_byte < 0.05
(True, True, True)
>>> characters.unseen < 0.001, 0.01 < words.unseen < 0.05, lines.unseen > 0.5
(True, True, True)

Longer units make the text short and the unseen frequent, and no amount of text ends that: by `markov.new-type` the
share of unseen tokens is the steepness of the curve of types, and by Heaps' law (`markov.heaps-from-zipf`) that curve
keeps rising, here like a power of the text's length in words:

>>> from fp_markov.growth import heaps
>>> found = np.unique(WORD.findall(text), return_inverse=True)[1]
>>> 0.6 < heaps(found).exponent < 0.8
True

A vocabulary of **subwords** takes what is good of both ends. It holds the characters (or bytes), so that nothing is
unseen, and besides them what is frequent, so that the text is short. How many such pieces should there be?

## The bill of a transformer

Let $T$ tokens pass through $L$ layers of width $C$. A layer holds four $C \times C$ matrices for queries, keys, values
and output, and a feed-forward part from $C$ to $4C$ and back. At the end a $C \times V$ matrix scores every token of
the vocabulary. One multiplication with the addition that follows it is one **multiply-add**.

**Claim** `tokenize.text-cost`. The matrix products of a causal forward pass over $T$ tokens, none computed twice, take

$$W(T) = T\,\big( 12 L C^2 + V C \big) + L C\, T (T + 1) \quad \text{multiply-adds.} \qquad \text{(E1)}$$

**Proof.** A vector of $m$ numbers times an $m \times n$ matrix takes $mn$ multiply-adds. In each layer a token meets
the four square matrices, $4 C^2$, and the two of the feed-forward part, $C \cdot 4C + 4C \cdot C = 8 C^2$. At position
$t$ the query is compared with $t$ keys, and $t$ values are added up with their weights; over all heads together a key
and a value have $C$ numbers, so that is $2 C t$. Over the positions $\sum_{t=1}^{T} 2 C t = C\, T (T + 1)$. The scores
at the end take $C V$ a token. Looking up an embedding multiplies nothing. $\blacksquare$

Per token the bill is $C\,(A + V)$ with

$$A = L\,(12 C + T + 1), \qquad \text{(E2)}$$

the part that every token pays whatever the vocabulary. The parameters of the layers are $12 L C^2$, to which the
vocabulary adds $V C$ where input and output share one matrix, and twice that where they do not. In the smallest GPT-2,
a third of all parameters are rows for tokens:

>>> round(vocabulary_share(50_257, width=768, layers=12), 2)
0.31

## How many tokens

A larger vocabulary makes each token dearer and the text shorter. Let $r(V)$ be the bytes that a token covers on average
when the vocabulary has $V$ tokens, so that a byte costs $w(V) = C\,(A + V) / r(V)$. For trained subwords each doubling
of the vocabulary adds to $r$, and never more than the doubling before: the frequent words come first, and once they are
whole no token can span two of them (`fp_tokenize.metrics` measures it). That is all that is needed.

**Claim** `tokenize.best-vocabulary`. Let $A > 0$, and on a range of $V > 0$ let $r$ be positive with a slope
$r'(V) > 0$, and concave as a function of $\ln V$: $V r'(V)$ does not rise. Put

$$G(V) = \frac{r(V)}{r'(V)} - V. \qquad \text{(E3)}$$

Then $w$ falls where $G(V) < A$ and rises where $G(V) > A$, and $G - A$ changes its sign at most once in the range, from
negative to positive. So at most one size $V^*$ solves $G(V^*) = A$; a byte costs least there, and $V^*$ grows with $A$.

**Proof.** By the rules for slopes (`markov.slope-rules`)

$$\frac{w'(V)}{C} = \frac{r(V) - (A + V)\, r'(V)}{r(V)^2} = \frac{r'(V)}{r(V)^2} \big( G(V) - A \big),$$

with a positive factor before the bracket. Put $q(V) = V r'(V) > 0$; then $G(V) = V \big( r(V) / q(V) - 1 \big)$. As $r$
rises and $q$ does not, $r / q$ rises. Where it is at most one, $G \le 0 < A$. From where it exceeds one, $G$ is the
product of two positive numbers that rise, and rises. So once $G$ has reached $A$ it stays above. A larger $A$ is
reached at a larger $V$. $\blacksquare$

A curve that fits measurements well is

$$r(V) = a + b \ln V + c\, (\ln V)^2, \qquad b > 0 \ge c, \qquad \text{(E4)}$$

on the range where it is positive and rises: there $V r'(V) = b + 2 c \ln V$, which does not rise. (E3) is $-V$ where
$r = 0$, and grows without bound: for $c = 0$ it is $V\, (\ln V + a / b - 1)$, and for $c < 0$ its denominator tends to
zero at the top of the curve. So there $V^*$ exists. With the curve of byte-pair
encoding on nine megabytes of English, measured in `fp_tokenize.metrics`, the best size follows the model's:

>>> curve = Compression(a=-8.19, b=2.269, c=-0.0989)
>>> [f"{best_vocabulary(curve, width=C, layers=L, tokens=1024):,.0f}" for C, L in [(256, 4), (768, 12), (4096, 32)]]
['3,486', '12,409', '47,754']

The claim prices arithmetic only. A row of the embedding that occurs rarely is also learned from few examples, which
asks for fewer tokens on little text; and a window of $T$ tokens holds $T\, r(V)$ bytes, which asks for more where long
texts matter. Stage 6 measures losses.

## Which losses compare

By `markov.bits-per-byte` the unit that does not depend on the tokenizer is the byte of the text. Here two models of one
text: one reads characters and looks back at two of them, the other reads pairs of characters and looks back at one
pair. The second is the better model of the text, and has nearly twice the loss per token.

>>> from fp_markov.ngram import NGramModel
>>> point = np.unique(np.array([ord(c) for c in text]), return_inverse=True)[1]
>>> pair = np.unique(point[: len(point) // 2 * 2].reshape(-1, 2) @ [1000, 1], return_inverse=True)[1]
>>> def nats(ids, order):
...     cut = len(ids) * 9 // 10
...     return NGramModel(order, int(ids.max()) + 1).fit(ids[:cut]).cross_entropy(ids[cut:])
>>> by_character, by_pair = nats(point, 3), nats(pair, 2)
>>> 1.7 < by_pair / by_character < 2, by_pair / 2 < by_character
(True, True)

Half of a loss per pair is a loss per character, and only there do the two models stand on one scale.

## One segmentation is not the text

A model over tokens gives a probability to every sequence of tokens, and several sequences spell one text: `the` can
come as one token or as `t`, `he`. Let $P$ be the model's distribution over finite token sequences $x$, each closed by
an end token, and $d(x)$ the bytes that $x$ spells. The probability of a text $s$ is

$$P(s) = \sum_{x :\, d(x) = s} P(x), \qquad \text{(E5)}$$

and an encoder shows the model only one of these $x$.

**Claim** `tokenize.segmentation-bound`. (E5) is a distribution over byte strings, and for every $x$ with $d(x) = s$,

$$-\ln P(s) \le -\ln P(x).$$

If $P(x) > 0$, the difference is $-\ln P(x \mid s)$, the surprisal of the segmentation to one who has read the text. It
is zero if and only if all other sequences that spell $s$ have probability zero.

**Proof.** Every $x$ spells exactly one string, so the sums (E5) for all $s$ together contain every $P(x)$ once, and
their total is one. $P(x)$ is one term of (E5) and the others are not negative: $P(x) \le P(s)$. The logarithm rises,
which is the inequality. If $P(x) > 0$ then $P(s) > 0$ and $P(x \mid s) = P(x) / P(s)$, whose negative logarithm is the
difference. It is zero exactly if $P(x) = P(s)$, that is, if the other terms add up to zero; as none is negative, each
is then zero. $\blacksquare$

So the bits per byte that are reported, from the encoder's own segmentation, bound from above those of the model as a
model of text. Take independent tokens $a$, $b$, $ab$ with probabilities 0.4, 0.3 and 0.2, and 0.1 for the end. An
encoder that prefers long tokens cuts `abab` in two:

>>> price = {b"a": -math.log(0.4), b"b": -math.log(0.3), b"ab": -math.log(0.2)}
>>> def surprisal(pieces):
...     return sum(price[piece] for piece in pieces) - math.log(0.1)
>>> round(surprisal([b"ab", b"ab"]), 3), round(text_surprisal(b"abab", price, surprisal), 3)
(5.521, 4.581)
>>> for pieces in segmentations(b"abab", price):
...     print(pieces, round(math.exp(-surprisal(pieces)), 5))
(b'a', b'b', b'a', b'b') 0.00144
(b'a', b'b', b'ab') 0.0024
(b'ab', b'a', b'b') 0.0024
(b'ab', b'ab') 0.004

The four probabilities add up to 0.01024. A model that has seen only encoded text gives little to the other three, but
not zero: a softmax gives zero to nothing.

What if the segmentation is drawn at random, as in training with `fp_tokenize.regularization`?

**Claim** `tokenize.segmentation-average`. Let $P(s) > 0$, let finitely many sequences spell $s$ (as when every token
spells at least one byte), and let $q$ be any distribution over them. Then

$$-\ln P(s) \le \sum_x q(x) \big( -\ln P(x) \big) - H(q), \qquad \text{(E6)}$$

with equality if and only if $q(x) = P(x \mid s)$ for all $x$.

**Proof.** If $q(x) > 0 = P(x)$ for some $x$, the right side is infinite and $q$ is not $P(\cdot \mid s)$. Otherwise put
$P(x) = P(s)\, P(x \mid s)$ and $H(q) = -\sum_x q(x) \ln q(x)$, sums being over $q(x) > 0$. The right side becomes

$$
-\ln P(s) + \sum_x q(x) \big( -\ln P(x \mid s) + \ln q(x) \big) = -\ln P(s) + D\big( q \,\|\, P(\cdot \mid s) \big),
$$

and `markov.gibbs` says that the divergence is at least zero, and zero only if the two are equal. $\blacksquare$

With all of $q$ on one $x$ this is the bound before it. In words: random segmentations cost more on average than the
text is worth, by exactly as much as was spent on the random choice, if the choice is made as the model would.

## In practice

Vocabularies of language models grew from 32,000 to 256,000 with the models, as (E3) says they should; Tao and others
(2024) measure it with losses in place of (E1) and find a growth slower than the parameters'. Counting one
segmentation for the text loses less than one percent of the bits per byte for large models and ordinary text (Cao and
Rimell 2021; Chirkova and others 2023), more for texts unlike those seen. Another cost appears at the edge of a text:
the tokens of a beginning are not always the beginning of the tokens, which is the subject of `fp_tokenize.healing`.

References: H. Heaps, 1978; C. Tao and others, *Scaling laws with vocabulary*, 2024; K. Cao and L. Rimell, *You should
evaluate your language model on marginal likelihood over tokenisations*, 2021; N. Chirkova and others, *Should you
marginalize over possible tokenizations?*, 2023.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [  # the order of the page
    "Unit",
    "units",
    "multiply_adds",
    "vocabulary_share",
    "Compression",
    "fit_compression",
    "best_vocabulary",
    "segmentations",
    "text_surprisal",
]

WORD = re.compile(r"\w+|[^\w\s]+|\s+")
UNITS = {"characters": re.compile("(?s:.)"), "words": WORD, "lines": re.compile("[^\n]*\n|[^\n]+")}


@dataclass(frozen=True)
class Unit:
    """What it costs to cut texts into one kind of unit: `vocabulary` different ones were seen in the known text."""

    name: str
    vocabulary: int
    tokens_per_byte: float
    unseen: float
    """Share of the new text's tokens that the known text lacks."""


def units(known: str, new: str) -> list[Unit]:
    """
    Characters, words with what separates them, and lines: what each makes of a new text after a known one.

    Parameters
    ----------
    known
        The text whose units are the vocabulary.
    new
        The text that is cut, not empty.

    Returns
    -------
    list of Unit
        From the shortest units to the longest.

    Raises
    ------
    ValueError
        If `new` is empty.

    Examples
    --------
    >>> [(unit.vocabulary, unit.tokens_per_byte, unit.unseen) for unit in units("to be or not", "to do")]
    [(7, 1.0, 0.2), (5, 0.6, 0.3333333333333333), (1, 0.2, 1.0)]
    """
    if not new:
        raise ValueError("shares are of the tokens of the new text, which must not be empty")
    n_bytes = len(new.encode())
    found = []
    for name, pattern in UNITS.items():
        vocabulary, tokens = set(pattern.findall(known)), pattern.findall(new)
        unseen = sum(token not in vocabulary for token in tokens) / len(tokens)
        found.append(Unit(name, len(vocabulary), len(tokens) / n_bytes, unseen))
    return found


def multiply_adds(tokens: int, vocab_size: int, *, width: int, layers: int) -> int:
    """
    The bill (E1) of a forward pass.

    Parameters
    ----------
    tokens, vocab_size, width, layers
        T, V, C and L.

    Returns
    -------
    int
        Multiply-adds of the matrix products; a training step takes about three times as many.

    Raises
    ------
    ValueError
        If one of the numbers is negative.

    Examples
    --------
    A thousand characters, or the same text in 250 tokens of a larger vocabulary:

    >>> f"{multiply_adds(1000, 100, width=256, layers=4):.2e}", f"{multiply_adds(250, 5000, width=256, layers=4):.2e}"
    ('4.20e+09', '1.17e+09')
    """
    _check(tokens=tokens, vocab_size=vocab_size, width=width, layers=layers)
    return tokens * (12 * layers * width**2 + vocab_size * width) + layers * width * tokens * (tokens + 1)


def vocabulary_share(vocab_size: int, *, width: int, layers: int, tied: bool = True) -> float:
    """
    The share of a transformer's matrix parameters that belongs to its vocabulary.

    Parameters
    ----------
    vocab_size, width, layers
        V, C and L.
    tied
        Whether one matrix serves as embedding and as output.

    Returns
    -------
    float
        V C, or twice that, over the sum of it and 12 L C^2.

    Raises
    ------
    ValueError
        If one of the numbers is negative, or all parameters are zero.

    Examples
    --------
    >>> round(vocabulary_share(32_000, width=4096, layers=32, tied=False), 3)
    0.039
    """
    _check(vocab_size=vocab_size, width=width, layers=layers)
    rows = vocab_size * width * (1 if tied else 2)
    if not rows + layers * width:
        raise ValueError(
            "a share is of some parameters, and this model has none: raise width, and vocab_size or layers"
        )
    return rows / (rows + 12 * layers * width**2)


@dataclass(frozen=True)
class Compression:
    """
    Bytes per token as a function of the size of the vocabulary (E4).

    Parameters
    ----------
    a, b, c
        Height at one token, slope and bend over the logarithm of the size.
    """

    a: float | int
    b: float | int
    c: float | int = 0.0

    def __call__(self, vocab_size: float | int) -> float:
        """Bytes per token at that size."""
        u = math.log(vocab_size)
        return self.a + self.b * u + self.c * u**2


def fit_compression(sizes: Sequence[int], bytes_per_token: Sequence[float | int]) -> Compression:
    """
    The curve (E4) through measured points, by least squares.

    Parameters
    ----------
    sizes
        Vocabulary sizes, at least two different ones.
    bytes_per_token
        What was measured at each.

    Returns
    -------
    Compression
        A straight line over the logarithm of the size (c = 0) if there are two sizes, or the points bend upwards.

    Raises
    ------
    ValueError
        If there are not as many measurements as sizes, or all sizes are equal, or one is not positive.

    Examples
    --------
    >>> curve = fit_compression([1000, 2000, 4000], [2.0, 2.5, 2.8])
    >>> round(curve(2000), 6), round(curve(8000), 6)
    (2.5, 2.9)
    """
    if len(sizes) != len(bytes_per_token) or len(set(sizes)) < 2 or min(sizes) <= 0:
        raise ValueError(
            "a curve needs one measurement for each of two or more different positive sizes, got the sizes "
            f"{list(sizes)} and {len(bytes_per_token)} measurements"
        )
    u, y = np.log(np.asarray(sizes, np.float64)), np.asarray(bytes_per_token, np.float64)
    for degree in (2, 1):
        coefficients = np.linalg.lstsq(np.vander(u, degree + 1, increasing=True), y)[0].tolist()
        if degree == 1 or (len(set(sizes)) > 2 and coefficients[2] < 0):
            break
    return Compression(*coefficients)


def best_vocabulary(compression: Compression, *, width: int, layers: int, tokens: int) -> float:
    """
    The size V* at which a byte costs least (`tokenize.best-vocabulary`).

    Parameters
    ----------
    compression
        Bytes per token at each size, as (E4) asks.
    width, layers, tokens
        C, L and T of (E2).

    Returns
    -------
    float
        Where (E3) is A, found by bisection to twelve digits.

    Raises
    ------
    ValueError
        If the curve does not rise, bends upwards or is nowhere positive while it rises, or the model has no layers or
        no width.
    """
    a, b, c = compression.a, compression.b, compression.c
    if not b > 0 >= c or (c < 0 and a - b * b / (4 * c) <= 0):
        raise ValueError(f"a best size exists on a curve that rises and bends down, b > 0 >= c, got {compression}")
    _check(width=width, layers=layers, tokens=tokens)
    if not width or not layers:
        raise ValueError(f"a transformer has layers and a width, got layers={layers} and width={width}")
    A = layers * (12 * width + tokens + 1)

    def excess(u: float) -> float:  # (E3) less A, at V = e^u
        return math.exp(u) * ((a + b * u + c * u * u) / (b + 2 * c * u) - 1) - A

    low, high = 0.0, -b / (2 * c) if c else 1.0  # the curve rises up to there, and (E3) grows without bound
    low = min(low, high - 1)
    while excess(low) >= 0:
        low -= 1
    while not c and excess(high) < 0:
        high += 1
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return math.exp(high)


def segmentations(data: bytes, pieces: Collection[bytes]) -> Iterator[tuple[bytes, ...]]:
    """
    All ways to write some bytes as a sequence of pieces: up to 2^(n - 1) for n bytes.

    Parameters
    ----------
    data
        The bytes.
    pieces
        The vocabulary, none of it empty.

    Yields
    ------
    tuple of bytes
        Each sequence once, those with a shorter first piece earlier.

    Raises
    ------
    ValueError
        If a piece is empty: it could be inserted without end.

    Examples
    --------
    >>> list(segmentations(b"abc", {b"a", b"b", b"ab", b"c"}))
    [(b'a', b'b', b'c'), (b'ab', b'c')]
    """
    if b"" in pieces:
        raise ValueError("a piece has at least one byte, got an empty one")
    return _segmentations(data, frozenset(pieces))


def text_surprisal(
    data: bytes, pieces: Collection[bytes], surprisal: Callable[[tuple[bytes, ...]], float | int]
) -> float:
    """
    The surprisal of a text under a model of pieces: all segmentations added up (E5).

    Parameters
    ----------
    data
        The text's bytes, few of them: the sum has one term for each segmentation.
    pieces
        The vocabulary.
    surprisal
        The model: minus the logarithm of the probability of a sequence of pieces, its end included.

    Returns
    -------
    float
        Nats; infinite if the text cannot be written, or only with probability zero.

    Raises
    ------
    ValueError
        If a piece is empty.
    """
    found = np.array([surprisal(sequence) for sequence in segmentations(data, pieces)], np.float64)
    if not len(found) or np.isinf(least := found.min()):
        return math.inf
    return float(least - np.log(np.exp(least - found).sum()))  # the likeliest term taken out, so that none underflows


def _segmentations(data: bytes, pieces: frozenset[bytes]) -> Iterator[tuple[bytes, ...]]:
    if not data:
        yield ()
    for end in range(1, len(data) + 1):
        if data[:end] in pieces:
            for rest in _segmentations(data[end:], pieces):
                yield (data[:end], *rest)


def _check(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 0:
            raise ValueError(f"{name} is a number of things and must not be negative, got {size}")
