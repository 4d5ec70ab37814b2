r"""
Metrics: what to measure of a tokenizer before a model is trained on it.

A tokenizer is chosen once and stays. This section measures what can be known beforehand: how much it shortens texts,
what it loses, how well its vocabulary is used, and what it charges to whom. Everything here works on any object with
`encode`, `id_to_bytes` and `vocab_size`.

You need: `fp_tokenize.cost`, `fp_markov.probability`, `fp_markov.information`.

## Length

On a text of $B$ bytes, cut into $N$ tokens, of $M$ words (what stands between white space),

- **bytes per token** is $B / N$: the compression, by which contexts grow and bills shrink (`tokenize.text-cost`);
- **fertility** is $N / M$: tokens per word, near one where the vocabulary holds most words whole.

Both depend on the text, and one number without an error is worth little. They are quotients of sums, so their error is
not that of a mean of quotients: long paragraphs count more.

**Claim** `tokenize.ratio-error`. Let $(X_i, Y_i)$, $i = 1, \dots, n$, be independent draws of one pair with $X > 0$ and
finite variances, $R = \mathbb{E} Y / \mathbb{E} X$ and $\hat R = \sum_i Y_i / \sum_i X_i$. Then

$$\hat R - R = \frac{\sum_i (Y_i - R X_i)}{\sum_i X_i}, \qquad \text{(E1)}$$

whose numerator has mean zero and variance $n \operatorname{Var}(Y - R X)$. The residuals $e_i = Y_i - \hat R X_i$ have
the sum zero.

**Proof.** $\sum_i (Y_i - R X_i) = \hat R \sum_i X_i - R \sum_i X_i$; divide by $\sum_i X_i > 0$. Each term of the
numerator has mean $\mathbb{E} Y - R\, \mathbb{E} X = 0$. The numerator is $n$ times an average of independent terms, so
by `markov.variance-of-mean` its variance is $n^2 \operatorname{Var}(Y - RX) / n$. With $\hat R$ in place of $R$ the
first line says that the residuals sum to zero. $\blacksquare$

The denominator hardly varies when $n$ is large, so with the residuals' own variance for the unknown one the standard
error is

$$\frac{1}{\sum_i X_i} \sqrt{\frac{n}{n - 1} \sum_i e_i^2}. \qquad \text{(E2)}$$

`ratio` computes it; the draws are paragraphs, or whatever texts are given. Neighbours resemble each other, which makes
(E2) too small by as much as they do (`markov.dependent-mean`).

>>> from pydoc_data.topics import topics
>>> from fp_tokenize import ByteTokenizer, CharTokenizer
>>> paragraphs = [line for name in sorted(topics) for line in topics[name].split("\n\n")]
>>> measured = measure(ByteTokenizer(), paragraphs)
>>> measured.bytes_per_token, 5 < measured.fertility.value < 10, 0 < measured.fertility.error < 0.5
(Estimate(value=1.0, error=0.0), True, True)

For bytes the fertility is the length of a word and of the space beside it.

## What is lost

A tokenizer that has no token for a piece of text writes its unknown token or drops it. `coverage` asks of each word
whether it comes out without an unknown token (**known**) and byte for byte (**exact**, which normalisation forbids,
too). A loss per token that was measured over unknown tokens says little: they are easy to predict
(`markov.merged-tokens`).

>>> coverage(CharTokenizer.train(["to be or not"]), ["to be or to do"])
Coverage(words=5, known=0.8, exact=0.8)

## How the vocabulary is used

Every token is a row of the embedding. One that a model meets twice in training has hardly been learned. `usage` counts;
`tokens_needed` says how few tokens make up most of a text, and a vocabulary that was trained on other texts shows
itself by tokens that never come. Some never can: a token that was only a step on the way to a longer one.

<!-- figure: vocabulary_use -->

Is there one number for how evenly tokens are used? For a distribution $p$ over $V$ tokens, **Rényi's entropy** of order
$\alpha > 0$, $\alpha \ne 1$, is

$$H_\alpha(p) = \frac{1}{1 - \alpha} \ln \sum_i p_i^\alpha, \qquad \text{(E3)}$$

and $H_1 = H$, the entropy of `fp_markov.information`. A larger order listens more to the frequent tokens.

**Claim** `tokenize.renyi`. $H_\alpha(p)$ does not rise with $\alpha$, and $H_1$ is its limit as $\alpha \to 1$.
$0 \le H_\alpha(p) \le \ln V$, and the upper bound is reached only by the uniform distribution.

**Proof.** Sums are over the $K \le V$ tokens with $p_i > 0$. Put $s = \alpha - 1 > -1$ and
$\varphi(s) = \ln \sum_i p_i\, p_i^s$, so that $\varphi(0) = 0$ and $H_\alpha = -\varphi(s) / s$. With the weights
$w_i = p_i^{1 + s} / \sum_j p_j^{1 + s}$, and $p_i^s = e^{s \ln p_i}$,

$$
\varphi'(s) = \sum_i w_i \ln p_i, \qquad
\varphi''(s) = \sum_i w_i (\ln p_i)^2 - \Big( \sum_i w_i \ln p_i \Big)^2 \ge 0,
$$

a variance. The slope of $\varphi(s) / s$ is $\psi(s) / s^2$ with $\psi(s) = s \varphi'(s) - \varphi(s)$. As $\psi(0) =
0$ and $\psi'(s) = s \varphi''(s)$ is at most zero before $0$ and at least zero after, $\psi \ge 0$: the quotient does
not fall on either side of $s = 0$, and at $0$ both sides tend to the slope $\varphi'(0) = \sum_i p_i \ln p_i = -H_1$.
So $H_\alpha$ does not rise. At $s = -1$ the quotient is $-\varphi(-1) = -\ln K$; it is not smaller for larger $s$, so
$H_\alpha \le \ln K \le \ln V$. If $H_\alpha = \ln V$ then $K = V$ and the quotient has one value from $-1$ to $s$, so
that $\psi$ and hence $\varphi''$ is zero between: a variance with positive weights is zero only if all $\ln p_i$ are
the same. Conversely, for $p_i = 1/V$ every $H_\alpha$ is $\ln V$. Finally $\sum_i p_i^\alpha$ is at most $\sum_i p_i =
1$ for $\alpha > 1$ and at least that for $\alpha < 1$, so (E3) is not negative. $\blacksquare$

$H_\alpha / \ln V$ is the **efficiency** of order $\alpha$. Zouhar and others (2023) found that of the order 2.5 to go
with the quality of translation models better than length does; others have since built tokenizers with high efficiency
that translate badly. It is a warning light and no aim: characters in a random cipher are perfectly even.

## Length against the size of the vocabulary

A token is a sequence of bytes; how long are those in the vocabulary, and those in a text?

<!-- figure: token_lengths -->

Larger vocabularies shorten texts, each doubling by less than the one before. The figure shows it on text that the
training did not see, fits (E4) of `fp_tokenize.cost`, and prices the curve by `tokenize.best-vocabulary`:

<!-- figure: compression -->

## Who pays

The same content costs different numbers of tokens in different languages: in money where tokens are sold, in context
and in time everywhere. The **premium** of a language is the number of its tokens for each token of a reference language
that says the same.

**Claim** `tokenize.premium`. Let a document have $B_\ell$ bytes and $N_\ell$ tokens in language $\ell$, and
$r_\ell = B_\ell / N_\ell$; let $e$ be the reference. Then

$$\frac{N_\ell}{N_e} = \frac{B_\ell}{B_e} \cdot \frac{r_e}{r_\ell}. \qquad \text{(E4)}$$

If every token spells at least one byte of the text, and none is lost or added, the premium is at most
$r_e\, B_\ell / B_e$, and with one token for each byte it is $B_\ell / B_e$.

**Proof.** $N_\ell = B_\ell / r_\ell$, and the same for $e$; divide. Tokens that spell at least one byte each and
together all bytes number at most $B_\ell$, so $r_\ell \ge 1$; for single bytes $r_\ell = r_e = 1$. $\blacksquare$

The first factor belongs to the language and to UTF-8, which writes a Latin letter in one byte and a Devanagari letter
in three. The second is the tokenizer's doing: how much better it knows the reference language.

<!-- figure: fairness -->

A byte tokenizer is not fair either, but no trained one can exceed its premium by more than $r_e$, the reference's own
compression. By (E1) of `fp_tokenize.cost` time grows faster than the premium where attention dominates, up to its
square.

## In practice

Petrov and others (2023) found premiums up to 15 on translations of the same sentences; vocabularies since then are
trained on more languages and are larger. Fertility and premium of a vocabulary depend on its training texts far more
than on the algorithm. None of these numbers replaces training a small model and comparing bits per byte
(`markov.bits-per-byte`).

References: P. Rust and others, *How good is your tokenizer?*, 2021, on fertility; A. Petrov and others, *Language model
tokenizers introduce unfairness between languages*, 2023; V. Zouhar and others, *Tokenization and the noiseless
channel*, 2023; M. Cognetta and others, *Two counterexamples to tokenization and the noiseless channel*, 2024;
A. Rényi, 1961; W. Cochran, *Sampling techniques*, 1977, on ratios.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Real

from fp_tokenize._cutter import Cutter

__all__ = [  # the order of the page
    "Estimate",
    "ratio",
    "Measured",
    "measure",
    "Coverage",
    "coverage",
    "usage",
    "tokens_needed",
    "efficiency",
    "token_lengths",
    "Premium",
    "premiums",
]


@dataclass(frozen=True)
class Estimate:
    """A measured number and its standard error (E2); the error of a single text is not known, and is NaN."""

    value: float
    error: float


def ratio(y: Real[np.ndarray, " n"], x: Real[np.ndarray, " n"]) -> Estimate:
    """
    The quotient of two sums over the same draws, with its error (`tokenize.ratio-error`).

    Parameters
    ----------
    y, x
        Numbers of each draw; those of `x` not negative and not all zero.

    Raises
    ------
    ValueError
        If the two have different lengths, or `x` a negative number or no positive one.

    Examples
    --------
    >>> ratio(np.array([2.0, 4.0, 6.5]), np.array([1, 2, 3])).value.__round__(4)
    2.0833
    """
    if len(x) != len(y) or not len(x) or min(x) < 0 or not sum(x) > 0:
        raise ValueError(
            f"a quotient of sums needs as many x as y, none negative and their sum positive, got {x} and {y}"
        )
    n, total = len(x), float(x.sum())
    value = float(y.sum()) / total
    residuals = np.asarray(y, np.float64) - value * x
    error = float(np.sqrt(n / (n - 1) * (residuals**2).sum())) / total if n > 1 else float("nan")
    return Estimate(value, error)


@dataclass(frozen=True)
class Measured:
    """What `measure` counted: totals, and quotients with errors."""

    texts: int
    bytes: int
    characters: int
    words: int
    tokens: int
    vocab_size: int
    used: int
    """Different tokens that occurred."""
    unknown: int
    """Occurrences of the unknown token."""
    fertility: Estimate
    bytes_per_token: Estimate
    characters_per_token: Estimate


def measure(tokenizer: Cutter, texts: Iterable[str]) -> Measured:
    """
    The lengths of some texts in tokens.

    Parameters
    ----------
    tokenizer
        Anything with `encode` and `vocab_size`; an attribute `unknown` names the id of its unknown token.
    texts
        Texts, each encoded by itself: paragraphs, so that the errors mean something.

    Returns
    -------
    Measured
        Counts and quotients.

    Raises
    ------
    TypeError
        If `texts` is a single string.
    ValueError
        If there is no word in them, or no token.

    Examples
    --------
    >>> from fp_tokenize import ByteTokenizer
    >>> measured = measure(ByteTokenizer(), ["to be", "or not to be"])
    >>> measured.tokens, measured.words, measured.used, round(measured.fertility.value, 3)
    (17, 6, 7, 2.833)
    """
    rows, used, lost = [], set[int](), 0
    unknown = getattr(tokenizer, "unknown", None)
    for text in _texts(texts):
        ids = tokenizer.encode(text)
        used.update(ids)
        lost += 0 if unknown is None else list(ids).count(unknown)
        rows.append((len(text.encode()), len(text), len(text.split()), len(ids)))
    n_bytes, characters, words, tokens = np.array(rows, np.int64).reshape(-1, 4).T
    if not words.sum() or not tokens.sum():
        raise ValueError(f"measuring needs words and tokens, got {words.sum()} and {tokens.sum()} in {len(rows)} texts")
    return Measured(
        texts=len(rows),
        bytes=int(n_bytes.sum()),
        characters=int(characters.sum()),
        words=int(words.sum()),
        tokens=int(tokens.sum()),
        vocab_size=tokenizer.vocab_size,
        used=len(used),
        unknown=lost,
        fertility=ratio(tokens, words),
        bytes_per_token=ratio(n_bytes, tokens),
        characters_per_token=ratio(characters, tokens),
    )


@dataclass(frozen=True)
class Coverage:
    """Words of a text, and the shares of them that come out without an unknown token and byte for byte."""

    words: int
    known: float
    exact: float


def coverage(tokenizer: Cutter, texts: Iterable[str]) -> Coverage:
    """
    Which words of some texts a tokenizer can write.

    Parameters
    ----------
    tokenizer
        Any; an attribute `unknown` names the id of its unknown token.
    texts
        Texts; each different word, between white space, is encoded once and by itself.

    Returns
    -------
    Coverage
        Shares of the words, weighed by how often each occurs. A space that the tokenizer puts before a word is ignored.

    Raises
    ------
    TypeError
        If `texts` is a single string.
    ValueError
        If there is no word in them.
    """
    words = Counter(word for text in _texts(texts) for word in text.split())
    if not (total := words.total()):
        raise ValueError("coverage is a share of words, and there are none in these texts")
    unknown = getattr(tokenizer, "unknown", None)
    known = exact = 0
    for word, count in words.items():
        ids = tokenizer.encode(word)
        known += count * (unknown is None or unknown not in ids)
        exact += count * (b"".join(map(tokenizer.id_to_bytes, ids)).removeprefix(b" ") == word.encode())
    return Coverage(total, known / total, exact / total)


def usage(tokenizer: Cutter, texts: Iterable[str]) -> Int64[np.ndarray, " V"]:
    """
    How often each token occurs in some texts.

    Parameters
    ----------
    tokenizer
        Anything with `encode` and `vocab_size`.
    texts
        Texts, each encoded by itself.

    Returns
    -------
    ndarray
        Counts by id, int64.

    Raises
    ------
    TypeError
        If `texts` is a single string.

    Examples
    --------
    >>> from fp_tokenize import CharTokenizer
    >>> usage(CharTokenizer("abc"), ["abba"]).tolist()
    [0, 2, 2, 0]
    """
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for text in _texts(texts):
        counts += np.bincount(np.asarray(tokenizer.encode(text), np.int64), minlength=len(counts))
    return counts


def tokens_needed(counts: Int64[np.ndarray, " V"], share: float | int) -> int:
    """
    The least number of different tokens that make up a share of all occurrences.

    Parameters
    ----------
    counts
        Counts by id, not all zero.
    share
        In [0, 1].

    Raises
    ------
    ValueError
        If the share lies outside, or nothing was counted.

    Examples
    --------
    >>> tokens_needed(np.array([1, 6, 0, 3]), 0.9)
    2
    """
    if not 0 <= share <= 1 or not counts.sum():
        raise ValueError(f"a share of some occurrences lies in [0, 1], got {share} of {counts.sum()}")
    reached = np.concatenate(([0], np.cumsum(np.sort(counts)[::-1])))
    return int(np.searchsorted(reached, share * reached[-1]))


def efficiency(counts: Int64[np.ndarray, " V"], order: float | int = 2.5) -> float:
    """
    How evenly a vocabulary is used: Rényi's entropy (E3) as a share of its largest value.

    Parameters
    ----------
    counts
        Counts by id, not all zero, of two tokens or more.
    order
        Positive; 1 is the entropy.

    Returns
    -------
    float
        In [0, 1]; one if all tokens occur equally often (`tokenize.renyi`).

    Raises
    ------
    ValueError
        If the order is not positive, or there are no counts or fewer than two tokens.

    Examples
    --------
    >>> efficiency(np.array([5, 5, 5, 5])), round(efficiency(np.array([17, 1, 1, 1]), order=1), 3)
    (1.0, 0.424)
    """
    if not order > 0 or len(counts) < 2 or not counts.sum():
        raise ValueError(
            "efficiency compares some occurrences of two or more tokens, at a positive order, with the even case; got "
            f"the order {order}, {len(counts)} tokens and {counts.sum()} occurrences"
        )
    p = counts[counts > 0] / counts.sum()
    if order == 1:
        entropy = -(p * np.log(p)).sum()
    else:  # the largest taken out of the sum, so that high orders do not underflow
        most = p.max()
        entropy = (order * np.log(most) + np.log(((p / most) ** order).sum())) / (1 - order)
    return float(np.clip(entropy / np.log(len(counts)), 0, 1))


def token_lengths(tokenizer: Cutter, counts: Int64[np.ndarray, " V"] | None = None) -> Int64[np.ndarray, " n"]:
    """
    How many tokens have each length.

    Parameters
    ----------
    tokenizer
        Anything with `id_to_bytes` and `vocab_size`.
    counts
        How often each token counts (`usage`); `None` counts each once.

    Returns
    -------
    ndarray
        At index n the number of tokens of n bytes, int64.

    Raises
    ------
    ValueError
        If there is not one count for each token.

    Examples
    --------
    >>> from fp_tokenize import CharTokenizer
    >>> token_lengths(CharTokenizer("aé")).tolist()  # and three bytes of <unk>
    [0, 1, 1, 1]
    """
    if counts is None:
        counts = np.ones(tokenizer.vocab_size, np.int64)
    if len(counts) != tokenizer.vocab_size:
        raise ValueError(f"each of {tokenizer.vocab_size} tokens has one count, got {len(counts)}")
    lengths = np.array([len(tokenizer.id_to_bytes(i)) for i in range(tokenizer.vocab_size)], np.int64)
    found = np.zeros(int(lengths.max()) + 1, np.int64)
    np.add.at(found, lengths, counts)
    return found


@dataclass(frozen=True)
class Premium:
    """Tokens of a language for each of the reference's, and the two factors of (E4)."""

    tokens: Estimate
    bytes: float
    compression: float


def premiums(tokenizer: Cutter, texts: Mapping[str, Sequence[str]], reference: str = "en") -> dict[str, Premium]:
    """
    What the same content costs in each language (`tokenize.premium`).

    Parameters
    ----------
    tokenizer
        Anything with `encode`.
    texts
        For each language the same number of texts, the n-th of which say the same.
    reference
        The language that the others are compared with.

    Returns
    -------
    dict
        One item a language, the reference included.

    Raises
    ------
    ValueError
        If the reference is missing, or the languages have different numbers of texts, or none.

    Examples
    --------
    >>> from fp_tokenize import ByteTokenizer
    >>> premiums(ByteTokenizer(), {"en": ["two", "yes"], "ru": ["два", "да"]})["ru"].tokens.value.__round__(3)
    1.667
    """
    if reference not in texts:
        raise ValueError(f"premiums are relative to {reference!r}, which is not among {sorted(texts)}")
    numbers = {language: len(lines) for language, lines in texts.items()}
    if len(set(numbers.values())) > 1 or not numbers[reference]:
        raise ValueError(f"all languages say the same, text by text, but their numbers of texts are {numbers}")
    tokens, n_bytes = {}, {}
    for language, lines in texts.items():
        tokens[language] = np.array([len(tokenizer.encode(line)) for line in lines], np.int64)
        n_bytes[language] = sum(len(line.encode()) for line in lines)
    found = {}
    for language, lengths in tokens.items():
        premium = ratio(lengths, tokens[reference])
        size = n_bytes[language] / n_bytes[reference]
        found[language] = Premium(premium, size, premium.value / size)
    return found


def _texts(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise TypeError("several texts are measured, got one string: give its paragraphs, text.splitlines()")
    return texts
