r"""
Coding: how many bits a text needs, and a compressor made of a model.

Entropy was introduced as a mean of surprisals. This section gives it a meaning that can be held in the hand: the length
of the shortest file. It derives which lengths code words can have, shows that no code beats the entropy and that good
codes reach it, and ends with a coder that turns any language model into a compressor.

You need: `fp_markov.information`, and from `fp_markov.probability` Chebyshev's inequality.

## Words that need no commas

Give each token $i$ of a vocabulary of $V$ tokens a **code word**, a string of $l_i$ binary digits, and write a text as
its words one after the other. The reader must find where each word ends. A **prefix code** is one in which no word is
the beginning of another's: read digits until they are a word; no longer word begins like that, so this is the token.

Short words are scarce. Whoever takes $0$ for one token has used up half of all strings, those that begin with $0$.

**Claim** `markov.kraft`. A prefix code with word lengths $l_1, \dots, l_V \ge 0$ exists if and only if

$$\sum_i 2^{-l_i} \le 1. \qquad \text{(E1)}$$

**Proof.** *Only if.* Let $L$ be the greatest length. A word of length $l$ is the beginning of exactly $2^{L - l}$ of
the $2^L$ strings of length $L$. No string begins with two words: of two beginnings of one string the shorter is the
beginning of the longer. So the sets that belong to different words have no string in common, together they hold
$\sum_i 2^{L - l_i} \le 2^L$ strings, and division by $2^L$ gives (E1).

*If.* Number the tokens so that the lengths never fall, and let

$$F_i = \sum_{j < i} 2^{-l_j}. \qquad \text{(E2)}$$

By (E1) $F_i + 2^{-l_i} \le 1$, so $F_i < 1$. Each $2^{-l_j}$ with $l_j \le l_i$ is a whole multiple of $2^{-l_i}$, so
$F_i 2^{l_i}$ is a whole number, and it is below $2^{l_i}$. Write it with $l_i$ binary digits: that is word $i$, the
first $l_i$ digits of $F_i$ after the binary point. The numbers in $[0, 1)$ whose digits begin with word $i$ are those
in $[F_i, F_i + 2^{-l_i}) = [F_i, F_{i+1})$. For different tokens these intervals have no number in common. Were word
$i$ the beginning of word $j$, the number $F_j$ would lie in both intervals. $\blacksquare$

The proof is a program: `kraft_sum` computes (E1) and `prefix_code` the words.

## No code beats the entropy

Let every $p_i$ be positive; a token that never occurs needs no word. The **mean length** of a code is
$L = \sum_i p_i l_i$, in bits per token. Let $H_2(p) = H(p) / \ln 2$, $H_2(p, q) = H(p, q) / \ln 2$ and
$D_2(p \,\|\, q) = D(p \,\|\, q) / \ln 2$ be entropy, cross-entropy and divergence in bits.

**Claim** `markov.source-coding`. Every prefix code has $L \ge H_2(p)$, with equality only if $l_i = -\log_2 p_i$ for
all $i$. The lengths

$$l_i = \lceil -\log_2 p_i \rceil, \qquad \text{(E3)}$$

Shannon's, belong to a prefix code, and its mean length is below $H_2(p) + 1$.

**Proof.** By `markov.kraft`, $K = \sum_i 2^{-l_i} \le 1$. The numbers $q_i = 2^{-l_i} / K$ are a distribution, and
$l_i = -\log_2 (K q_i) = -\log_2 q_i - \log_2 K$. Hence

$$
L = -\sum_i p_i \log_2 q_i - \log_2 K = H_2(p, q) - \log_2 K = H_2(p) + D_2(p \,\|\, q) - \log_2 K \ge H_2(p)
$$

by `markov.cross-entropy-split`, `markov.gibbs` and $K \le 1$. Equality needs $D = 0$ and $K = 1$, that is $q = p$ and
$p_i = 2^{-l_i}$. For (E3), rounding up gives

$$-\log_2 p_i \le l_i < -\log_2 p_i + 1. \qquad \text{(E4)}$$

From the left side $2^{-l_i} \le p_i$, and summed over $i$ this is (E1): a prefix code exists. Multiply the right side
by $p_i$ and sum: $L < H_2(p) + 1$. $\blacksquare$

**Claim** `markov.wrong-code`. Let $q_i > 0$ for all $i$. Shannon's code for the belief $q$, used for tokens from $p$,
has $H_2(p, q) \le L < H_2(p, q) + 1$: up to less than a bit, a wrong model costs its cross-entropy, and the excess over
the entropy is $D_2(p \,\|\, q)$.

**Proof.** (E4) with $q_i$ in place of $p_i$, times $p_i$ and summed, is the first statement. The second is
`markov.cross-entropy-split`. $\blacksquare$

**Claim** `markov.block-coding`. Let $n$ tokens be drawn independently from $p$, and give words to whole blocks of $n$
tokens. No prefix code of blocks needs fewer than $H_2(p)$ bits per token, and Shannon's code of blocks needs less than
$H_2(p) + 1/n$.

**Proof.** A block is a token of a larger vocabulary, with probability $p(w_1) \cdots p(w_n)$. By `markov.joint-entropy`
the entropy of independent tokens is the sum of theirs, so by induction that of a block is $n H_2(p)$. By
`markov.source-coding` a code of blocks has a mean length of at least $n H_2(p)$, and Shannon's one below
$n H_2(p) + 1$. Divide by $n$. $\blacksquare$

## The best code for single tokens

Shannon's lengths may be far from the best. For two tokens of probabilities 0.9 and 0.1, which need one digit each, they
are

>>> p = np.array([0.9, 0.1])
>>> shannon_lengths(p)
array([1, 4])

**Huffman's** rule merges the two least likely tokens into one, with the sum of their probabilities, until one is left.
Each merger makes the words of the tokens in it longer by one digit.

**Claim** `markov.huffman`. Let all $p_i$ be positive. No prefix code has a smaller mean length than the one with
Huffman's lengths.

**Proof.** By induction on $V$. For $V = 1$ the empty word is best, for $V = 2$ lengths of one. Let $V > 2$, and let $a$
and $b$ be the tokens that are merged first.

*Among the best codes is one in which $a$ and $b$ have words that differ in the last digit only.* There is a best code:
some code has a mean length $L_0$, no better one has a length above $L_0 / \min_i p_i$, and there are finitely many with
lengths up to that. Take a best code, a word $x$ of its greatest length $m \ge 1$, and let $x'$ be $x$ with its last
digit changed and $y$ be $x$ without it. Then $x'$ is a word: otherwise no word but $x$ would begin with $y$, nor is any
word a beginning of $y$, as it would be one of $x$; then $y$ in place of $x$ gives a prefix code of smaller mean length,
and there is none. If $a$ has neither $x$ nor $x'$, one of the tokens that have them is not $b$; call it $s$ and
exchange the words of $a$ and $s$. As $p_a \le p_s$ and $l_a \le m$, the mean length changes by
$p_a (m - l_a) + p_s (l_a - m) = (p_a - p_s)(m - l_a) \le 0$. Now $a$ has one of $x$, $x'$. If $b$ has not the other,
exchange its word with that of the token that has, which is neither $a$ nor $b$, so that again the mean length does not
grow.

*Merge.* In such a code give the merged token, of probability $p_a + p_b$, the word $y$ in place of $x$ and $x'$. This
is a prefix code for $V - 1$ tokens, and its mean length is less by $(p_a + p_b)\, m - (p_a + p_b)(m - 1) = p_a + p_b$.
Conversely, split the merged token's word $y$ in any prefix code for the $V - 1$ tokens into $y0$ and $y1$: that is a
prefix code for the $V$ tokens, with a mean length greater by $p_a + p_b$. So the least mean length for $V$ tokens is
that for the $V - 1$ tokens plus $p_a + p_b$. Huffman's rule reaches the latter by induction, and adds $p_a + p_b$.
$\blacksquare$

By `markov.source-coding` the best code too lies in $[H_2(p), H_2(p) + 1)$. For 0.9 and 0.1 it spends one bit a token
where the entropy is

>>> from fp_markov.information import entropy
>>> round(float(entropy(p)) / math.log(2), 3)
0.469

and with blocks of $n$ tokens (`markov.block-coding`), $n$ from 1 to 5,

>>> def blocks(n):
...     return p if n == 1 else np.outer(blocks(n - 1), p).ravel()
>>> [round(float(blocks(n) @ huffman_lengths(blocks(n))) / n, 3) for n in range(1, 6)]
[1.0, 0.645, 0.533, 0.493, 0.48]

## One number for the whole text

Blocks have $V^n$ code words to tabulate. **Arithmetic coding** needs no table: it finds the word of the one block that
is to be written, the whole text. Let $w_1, \dots, w_T$ be the text and let the model give its tokens the probabilities
$p_t(i) = P(i \mid w_1, \dots, w_{t-1})$, with sums $F_t(i) = \sum_{j < i} p_t(j)$. Start with the interval $[0, 1)$. At
each token cut the interval into pieces in proportion to the probabilities, and keep the token's piece: from
$[A, A + R)$ go to

$$A \leftarrow A + R\, F_t(w_t), \qquad R \leftarrow R\, p_t(w_t). \qquad \text{(E5)}$$

At the end $R = P(w_1, \dots, w_T)$. Write the number

$$c = \frac{\lceil A\, 2^m \rceil}{2^m}, \qquad m = \lceil -\log_2 R \rceil + 1, \qquad \text{(E6)}$$

as its $m$ binary digits after the point.

**Claim** `markov.arithmetic-coding`. Let the text have positive probability. The code (E6) of a text has fewer than
$-\log_2 P(w_1, \dots, w_T) + 2$ digits. The codes of all texts of positive probability of one length $T$ are a prefix
code, and from any number $x$ whose digits begin with those of $c$ the text is recovered: $w_t$ is the one token with

$$F_t(w_t) \le x < F_t(w_t) + p_t(w_t), \qquad \text{and then} \qquad x \leftarrow \frac{x - F_t(w_t)}{p_t(w_t)}.
\qquad \text{(E7)}$$

**Proof.** Rounding up adds less than one to $-\log_2 R$, hence $m < -\log_2 R + 2$. By (E6) $2^{-m} \le R / 2$. As
rounding up adds less than one, $A \le c < A + 2^{-m}$, so $c + 2^{-m} < A + 2 \cdot 2^{-m} \le A + R \le 1$. The
numbers whose digits begin with those of $c$ are those in $[c, c + 2^{-m})$, and this interval lies in $[A, A + R)$, the
text's.

Different texts of one length have intervals without a common number: at the first token where they differ they keep
different pieces of one interval, and later intervals lie in these. Were one text's digits the beginning of another's,
the other's $c$ would lie in both intervals. For (E7), the pieces of $[0, 1)$ at $t = 1$ cover it without overlap, so
exactly one holds $x$; since $x$ lies in the text's interval, which lies in the piece of $w_1$, that is the one. The
map in (E7) takes this piece to $[0, 1)$, and the text's interval to the interval of $w_2, \dots, w_T$ that (E5) gives
to the model with $w_1$ as its context; so the next step is the first step again, for a shorter text. $\blacksquare$

A computer's decoder must find the encoder's pieces exactly, so the probabilities are rounded to whole frequencies
$f_i \ge 1$ of sum $M = 2^k$, and (E5) to (E7) are computed in whole numbers, which Python does without limit:

$$f_i = 1 + \lfloor p_i\, (M - V) \rfloor, \qquad \text{and what is missing to } M \text{ goes to the likeliest token.}
\qquad \text{(E8)}$$

**Claim** `markov.quantised-coding`. Let $V < M$. The frequencies (E8) are whole, at least one, and sum to $M$. With
$f_i / M$ in place of the model's $p_i$ the code of $T$ tokens has fewer than
$-\log_2 P(w_1, \dots, w_T) + 2 + T \log_2 \frac{M}{M - V}$ digits.

**Proof.** As $\lfloor x \rfloor \le x$, the sum before the addition is at most $V + (M - V) \sum_i p_i = M$, so what is
missing is not negative. As $\lfloor x \rfloor + 1 > x$, $f_i > p_i (M - V)$, so that
$-\log_2 (f_i / M) < -\log_2 p_i + \log_2 \frac{M}{M - V}$ wherever $p_i > 0$. Sum over the text and apply
`markov.arithmetic-coding` to $f_i / M$, which is always positive. (If the text has probability zero, the bound is
infinite and the code is not.) $\blacksquare$

With 32 digits, the default, and a vocabulary of 50,000 tokens the rounding costs, in bits per token,

>>> f"{math.log2(2**32 / (2**32 - 50_000)):.0e}"
'2e-05'

## Why the entropy: the texts that occur

Of the $V^n$ texts of $n$ tokens nearly all the probability belongs to about $e^{n H(p)}$, and these are about equally
likely.

**Claim** `markov.aep`. Let $W_1, \dots, W_n$ be drawn independently from $p$ with all $p_i > 0$, let
$\sigma^2 = \operatorname{Var}(-\ln p(W_1))$ and $\varepsilon > 0$. Call a text **typical** if its surprisal per token
is within $\varepsilon$ of $H(p)$:

$$\Big| -\frac{1}{n} \ln P(w_1, \dots, w_n) - H(p) \Big| \le \varepsilon. \qquad \text{(E9)}$$

A text is typical with probability at least $1 - \delta$, where $\delta = \sigma^2 / (n \varepsilon^2)$. The number $N$
of typical texts satisfies $(1 - \delta)\, e^{n (H(p) - \varepsilon)} \le N \le e^{n (H(p) + \varepsilon)}$.

**Proof.** Independence makes $-\ln P(w_1, \dots, w_n)$ a sum of $n$ independent surprisals, each of mean $H(p)$ and
variance $\sigma^2$. Their mean has mean $H(p)$ and variance $n \sigma^2 / n^2 = \sigma^2 / n$, so by `markov.chebyshev`
it is off by more than $\varepsilon$ with probability at most $\delta$. By (E9) a typical text has probability between
$e^{-n (H(p) + \varepsilon)}$ and $e^{-n (H(p) - \varepsilon)}$. All of them together have at most one, so
$N e^{-n (H(p) + \varepsilon)} \le 1$; and at least $1 - \delta$, so $N e^{-n (H(p) - \varepsilon)} \ge 1 - \delta$.
$\blacksquare$

This is the **asymptotic equipartition property**. Of the texts of 1000 tokens from 0.9 and 0.1, take
$\varepsilon = 0.1$ nats. A text with $r$ of the rarer tokens is typical if $r$ is near 100; the probability of typical
texts, and the logarithm to base two of their number, of $2^{1000}$ texts in all, are

>>> H = float(entropy(p))
>>> def surprisal_per_token(r):
...     return -((1000 - r) * math.log(0.9) + r * math.log(0.1)) / 1000
>>> typical = [r for r in range(1001) if abs(surprisal_per_token(r) - H) <= 0.1]
>>> round(sum(math.comb(1000, r) * math.exp(-1000 * surprisal_per_token(r)) for r in typical), 6)
0.999997
>>> round(math.log2(sum(math.comb(1000, r) for r in typical)))
593

Nearly all texts are not typical, and nearly never occur. For tokens that depend on each other the claim's first
statement still holds in the limit, with the entropy rate of the source in place of $H(p)$, if the source is stationary
and ergodic (the theorem of Shannon, McMillan and Breiman, which is not proven here); `fp_markov.chain` has the entropy
rate of a chain.

## In practice

Compressors write bits as they go: their coders keep 32 bits of $A$ and $R$, and shift out digits that are settled, in
time linear in the text and at a loss of a small fraction of a bit; with whole numbers that grow, as here, the time is
quadratic. Huffman's code is in every PNG and ZIP file, since its tables are fast; arithmetic coding, or its relative
that works as a stack (J. Duda's asymmetric numeral systems), is in newer formats. A language model as compressor needs
the same bits from the model at both ends, which floating-point sums on different machines do not give, and the model
itself: a fair comparison of compressors adds its size. If that is not counted, large models compress text, and even
images, better than the compressors made for them (G. Delétang and others, *Language Modeling Is Compression*, 2023).

References: C. Shannon, 1948; L. Kraft, 1949; D. Huffman, 1952; J. Rissanen and G. Langdon, *Arithmetic Coding*, 1979.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Int, Integer

from fp_markov.information import check_distribution

__all__ = [  # the order of the page
    "kraft_sum",
    "prefix_code",
    "shannon_lengths",
    "huffman_lengths",
    "encode",
    "decode",
]

LONGEST = 1074  # the surprisal, in bits, of the smallest positive float
NextDistribution = Callable[[Sequence[int]], Float[np.ndarray, " V"]]


def kraft_sum(lengths: Sequence[int] | Integer[np.ndarray, " V"]) -> float:
    """
    The sum in (E1): a prefix code with these lengths exists if and only if it is at most one.

    Parameters
    ----------
    lengths
        Digits of each token's word, from 0 to 1074.

    Returns
    -------
    float
        Rounded to the nearest float; `prefix_code` decides without rounding.

    Raises
    ------
    ValueError
        If there are no lengths or one lies outside [0, 1074].

    Examples
    --------
    >>> kraft_sum([1, 2, 2]), kraft_sum([1, 1, 2])
    (1.0, 1.25)
    """
    _check_lengths(lengths)
    return math.fsum(2.0**-l for l in map(int, lengths))


def prefix_code(lengths: Sequence[int] | Integer[np.ndarray, " V"]) -> tuple[str, ...]:
    """
    The words of a prefix code with the given lengths: the first digits of (E2).

    Parameters
    ----------
    lengths
        Digits of each token's word, from 0 to 1074. Of equal lengths the lower id gets the smaller word.

    Returns
    -------
    tuple of str
        A string of `0` and `1` for each token.

    Raises
    ------
    ValueError
        If there are no lengths, one lies outside [0, 1074], or no prefix code has them.

    Examples
    --------
    >>> prefix_code([2, 1, 3, 3])
    ('10', '0', '110', '111')
    """
    _check_lengths(lengths)
    words, F, unit = [""] * len(lengths), 0, 0  # F in units of 2**-unit, a whole number of them as lengths never fall
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        l = int(lengths[i])
        F, unit = F << (l - unit), l
        if F.bit_length() > l:
            raise ValueError(
                f"no prefix code has these lengths: their Kraft sum {kraft_sum(lengths):.6g} exceeds 1. Lengthen some."
            )
        words[i] = format(F, f"0{l}b") if l else ""
        F += 1
    return tuple(words)


def shannon_lengths(p: Float[np.ndarray, " V"]) -> Int[np.ndarray, " V"]:
    """
    Shannon's word lengths (E3), each the surprisal in bits rounded up.

    Parameters
    ----------
    p
        Distribution without zeros.

    Returns
    -------
    ndarray
        Digits of each token's word.

    Raises
    ------
    ValueError
        If `p` is not a distribution or a token has probability zero.

    Examples
    --------
    >>> shannon_lengths(np.array([0.5, 0.3, 0.2]))
    array([1, 2, 3])
    """
    exact = [Fraction(p_i) for p_i in _positive(p).tolist()]  # a rounded logarithm or sum may cost a digit too few
    total = sum(exact)
    # the least l with 2**l >= 1 / p_i is the number of binary digits of the whole number below 1 / p_i
    return np.array([(math.ceil(total / p_i) - 1).bit_length() for p_i in exact], np.int64)


def huffman_lengths(p: Float[np.ndarray, " V"]) -> Int[np.ndarray, " V"]:
    """
    Huffman's word lengths, the best for single tokens (`markov.huffman`).

    Parameters
    ----------
    p
        Distribution without zeros.

    Returns
    -------
    ndarray
        Digits of each token's word; 0 where there is one token only.

    Raises
    ------
    ValueError
        If `p` is not a distribution or a token has probability zero.

    Examples
    --------
    >>> huffman_lengths(np.array([0.5, 0.3, 0.2]))
    array([1, 2, 2])
    """
    p = _positive(p)
    lengths = np.zeros(len(p), np.int64)
    heap = [(float(p_i), i, [i]) for i, p_i in enumerate(p)]  # a group of tokens, and a number that settles ties
    heapq.heapify(heap)
    while len(heap) > 1:
        p_a, _, a = heapq.heappop(heap)
        p_b, tie, b = heapq.heappop(heap)
        lengths[a + b] += 1
        heapq.heappush(heap, (p_a + p_b, tie, a + b))
    return lengths


def encode(
    ids: Sequence[int] | Integer[np.ndarray, " T"], next_distribution: NextDistribution, precision: int = 32
) -> str:
    """
    A text as binary digits, by arithmetic coding in whole numbers (E5, E6).

    Parameters
    ----------
    ids
        The text as token ids.
    next_distribution
        The model: from the list of ids before a token to the probabilities of all tokens. It must neither keep nor
        change the list.
    precision
        Binary digits of the frequencies (E8), up to 32; the vocabulary must have fewer than `2**precision` tokens.

    Returns
    -------
    str
        Digits `0` and `1`, fewer than the bound of `markov.quantised-coding`.

    Raises
    ------
    ValueError
        If an id lies outside the vocabulary, the model gives no distribution, or the precision is out of range.

    Examples
    --------
    >>> coin = lambda context: np.array([0.9, 0.1])
    >>> encode([0] * 30, coin)  # 30 * log2(1 / 0.9) is 4.6 bits
    '000000'
    """
    _check_precision(precision)
    A, R = 0, 1  # in units of M**-t, M = 2**precision
    context: list[int] = []
    for w in map(int, ids):
        f = _frequencies(next_distribution(context), precision)
        if not 0 <= w < len(f):
            raise ValueError(
                f"ids must lie in [0, {len(f)}), the model's vocabulary, got {w} at position {len(context)}"
            )
        A, R = (A << precision) + R * int(f[:w].sum()), R * int(f[w])  # (E5)
        context.append(w)
    scale = precision * len(context)  # A and R are now in units of 2**-scale
    m = scale - (R.bit_length() - 1) + 1  # (E6): the whole part of log2(R) is bit_length - 1
    c = -(-(A << m) >> scale)  # rounded up
    return format(c, f"0{m}b")


def decode(digits: str, n_tokens: int, next_distribution: NextDistribution, precision: int = 32) -> list[int]:
    """
    The text that `encode` wrote (E7).

    Parameters
    ----------
    digits
        What `encode` returned; digits that follow are ignored.
    n_tokens
        Length of the text, which the digits do not tell.
    next_distribution, precision
        As for `encode`, the same to the last bit.

    Returns
    -------
    list of int
        Token ids.

    Raises
    ------
    ValueError
        If `digits` has other characters, the length is negative, the model gives no distribution, or the precision is
        out of range.

    Examples
    --------
    >>> coin = lambda context: np.array([0.9, 0.1])
    >>> decode(encode([0, 0, 1, 0], coin), 4, coin)
    [0, 0, 1, 0]
    """
    _check_precision(precision)
    if not digits or set(digits) - {"0", "1"}:
        raise ValueError(f"a code is a string of the digits 0 and 1, got {digits[:20]!r}. Was it read as text?")
    if n_tokens < 0:
        raise ValueError(f"a text has zero tokens or more, got {n_tokens}")
    numerator, denominator = int(digits, 2), 1 << len(digits)  # x of (E7), exactly
    context: list[int] = []
    for _ in range(n_tokens):
        f = _frequencies(next_distribution(context), precision)
        F = np.cumsum(f)
        numerator <<= precision  # x in units of 1/M, as are f and F
        w = int(np.searchsorted(F, numerator // denominator, side="right"))
        numerator -= denominator * int(F[w] - f[w])
        denominator *= int(f[w])
        context.append(w)
    return context


def _frequencies(p: Float[np.ndarray, " V"], precision: int) -> Int[np.ndarray, " V"]:
    """(E8), the same on every call: encoder and decoder must agree."""
    p = check_distribution(p, "the model's next distribution")
    M, V = 1 << precision, len(p)
    if V >= M:
        raise ValueError(f"{V} tokens need a precision of at least {V.bit_length()} binary digits, got {precision}")
    f = 1 + (p / p.sum() * (M - V)).astype(np.int64)
    f[p.argmax()] += M - f.sum()
    return f


def _positive(p: Float[np.ndarray, " V"]) -> Float[np.ndarray, " V"]:
    p = check_distribution(p, "p")
    if not (p > 0).all():
        raise ValueError(f"token {int(p.argmin())} has probability zero and no finite word. Leave it out, or smooth p.")
    return p


def _check_lengths(lengths: Sequence[int] | Integer[np.ndarray, " V"]) -> None:
    if len(lengths) == 0 or not all(0 <= l <= LONGEST for l in lengths):
        raise ValueError(f"a code needs at least one word, each of 0 to {LONGEST} digits, got lengths {list(lengths)}")


def _check_precision(precision: int) -> None:
    if not 1 <= precision <= 32:
        raise ValueError(f"the precision is a number of binary digits from 1 to 32, got {precision}")
