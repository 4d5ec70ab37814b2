r"""
Unigram training: which pieces make the text likely, and which can go?

Unigram gives every piece a probability and every segmentation of a word the product of its pieces' probabilities.
Training has to find the pieces and the probabilities, and nobody has segmented the text for it. Were the segmentations
known, the probabilities would be counts; were the probabilities known, so would be the segmentations. EM goes back and
forth between the two, and pruning takes away, in between, the pieces that the text misses least.

You need: `fp_tokenize.seed_pieces`, `fp_tokenize.trellis`, `fp_tokenize.digamma`; Jensen's inequality
(`markov.jensen`) and Gibbs' (`markov.gibbs`).

## The likelihood

Let the word $w$ occur $N_w$ times, let $\theta_x$ be the probability of the piece $x$, and let a segmentation $z$ use
it $C_x(z)$ times. Each word has been cut in some way, and we do not know which:

$$
P_\theta(z) = \prod_x \theta_x^{C_x(z)}, \qquad P_\theta(w) = \sum_{z \text{ of } w} P_\theta(z), \qquad
L(\theta) = \sum_w N_w \ln P_\theta(w). \qquad \text{(E1)}
$$

**Claim** `tokenize.always-segmented`. If all characters of the words are pieces with positive probability, every word
has a segmentation of positive probability, and $L$ is finite.

**Proof.** Cut the word into its characters: $P_\theta(w)$ is at least the product of their probabilities.
$\blacksquare$

So single characters are never pruned, whatever becomes of the other pieces, and their probabilities are kept off zero
by a **pseudo-count** $\kappa_x > 0$. For longer pieces $\kappa_x = 0$.

## Expectation maximisation

Let $c_x(\theta) = \sum_w N_w\, \mathbb{E}\big[ C_x \mid w \big]$ be the expected counts: how often the piece is used on
average, when every occurrence of a word is segmented at random with the probabilities $P_\theta(z) / P_\theta(w)$
(`fp_tokenize.trellis` computes them). One step takes these counts for the fact:

$$\theta'_x = \frac{c_x(\theta) + \kappa_x}{\sum_y \big( c_y(\theta) + \kappa_y \big)}. \qquad \text{(E2)}$$

**Claim** `tokenize.unigram-em`. Let $\theta_x \ge 0$ with $\sum_x \theta_x \le 1$, let $\kappa_x \ge 0$, and let
$F(\theta) = L(\theta) + \sum_x \kappa_x \ln \theta_x$ be finite (with $0 \ln 0 = 0$). Then $F(\theta') \ge F(\theta)$,
with equality only if $\theta' = \theta$. If $\theta' = \theta$, all pieces with $\theta_x > 0$ have the same slope
$\partial F / \partial \theta_x$, as at a maximum among the distributions on these pieces (`markov.lagrange-necessary`).

**Proof.** For a word $w$ let $q(z) = P_\theta(z) / P_\theta(w)$, and sum over the $z$ with $q(z) > 0$. As $\ln$ is
concave, by `markov.jensen` with the weights $q$,

$$
\ln P_{\theta'}(w) \ge \ln \sum_z q(z)\, \frac{P_{\theta'}(z)}{q(z)} \ge \sum_z q(z) \ln \frac{P_{\theta'}(z)}{q(z)}
  = \ln P_\theta(w) + \sum_z q(z) \ln \frac{P_{\theta'}(z)}{P_\theta(z)}.
$$

(No $\theta'_x$ that occurs is zero: a piece of a $z$ with $q(z) > 0$ has $c_x > 0$.) The last sum is
$\sum_x \mathbb{E}[C_x \mid w] \ln (\theta'_x / \theta_x)$. Times $N_w$, summed over the words, and with the
pseudo-counts,

$$
F(\theta') - F(\theta) \ge \sum_x (c_x + \kappa_x) \ln \frac{\theta'_x}{\theta_x}. \qquad \text{(E3)}
$$

Let $s = \sum_x \theta_x \le 1$. By `markov.mle-lagrange` the distribution that makes
$\sum_x (c_x + \kappa_x) \ln p_x$ largest is $p = \theta'$, and no other. So with $\theta / s$ in place of $\theta$
the right side is not negative, and zero only if $\theta / s = \theta'$. Putting $\theta$ back adds
$-\ln s \sum_x (c_x + \kappa_x)$ to it, which is positive unless $s = 1$.

By `tokenize.expected-counts` and the chain rule, with $s_x = \ln \theta_x$ as score,
$\partial L / \partial \theta_x = c_x / \theta_x$. If $\theta' = \theta$, then by (E2)
$\partial F / \partial \theta_x = (c_x + \kappa_x) / \theta_x = \sum_y (c_y + \kappa_y)$ for every $x$ with
$\theta_x > 0$. $\blacksquare$

A point of rest need not be the best of all: a piece of probability zero is never used, so it stays at zero, even if it
is the word itself.

>>> trellis, once = Trellis(["ab"], ["a", "b", "ab"]), np.ones(1)
>>> for start in ([0.5, 0.5, 1e-300], [0.4, 0.4, 0.2]):
...     theta = np.array(start)
...     for _ in range(50):
...         theta = trellis.expected(np.log(theta), once)[0]
...         theta /= theta.sum()
...         theta[theta < 1e-300] = 1e-300
...     print(theta.round(6), np.exp(trellis.expected(np.log(theta), once)[1]).round(6))
[0.5 0.5 0. ] 0.25
[0. 0. 1.] 1.0

## A step that prunes

(E2) is slow to give up: a useless piece keeps a small count for many steps. SentencePiece takes instead

$$
s_x = \psi(c_x + \kappa_x) - \psi\Big( \sum_y (c_y + \kappa_y) \Big), \qquad \text{(E4)}
$$

which takes about one half away from every count (`tokenize.count-loses-half`). This is a step of EM for another
question: not for the best $\theta$, but for the best segmentations with $\theta$ averaged out. Believe of $\theta$ what
a Dirichlet density with the exponents $\kappa_x - 1$ says, as in `fp_markov.additive`, and let $q$ be any distribution
over the segmentations $z$ of the whole text. With $D$ as in `fp_tokenize.digamma`, the entropy $H(q)$, and $c_x(q)$ for
the mean of $C_x(z)$ under $q$, let

$$G(q) = H(q) + \ln D\big( c(q) + \kappa \big). \qquad \text{(E5)}$$

**Claim** `tokenize.sparse-step`. Let $\kappa_x \ge 0$ and $c_x(q) + \kappa_x > 0$ for every piece. Let $q'(z)$ be
proportional to $e^{\sum_x C_x(z)\, s_x}$ with (E4) for $c = c(q)$. Then $G(q') \ge G(q)$, with equality only if
$q' = q$. If all $\kappa_x > 0$, then $G(q) - \ln D(\kappa)$ is at most the logarithm of the text's probability under
that belief.

**Proof.** $c(q') + \kappa$ has positive entries too: $q'$ gives every segmentation a positive probability, so $c_x(q')$
is zero only if no segmentation uses $x$, and then $c_x(q)$ is zero as well. By `tokenize.dirichlet-tangent`

$$
G(q') - G(q) \ge H(q') - H(q) + \sum_x \big( c_x(q') - c_x(q) \big)\, s_x
  = \Big( H(q') + \mathbb{E}_{q'}\, s(z) \Big) - \Big( H(q) + \mathbb{E}_q\, s(z) \Big),
$$

with $s(z) = \sum_x C_x(z)\, s_x$, whose mean is $\sum_x c_x s_x$. As $q'(z) = e^{s(z)} / Z$, any $q$ has
$H(q) + \mathbb{E}_q\, s(z) = \sum_z q(z) \ln \frac{q'(z) Z}{q(z)} = \ln Z - D(q \,\|\, q')$. The difference of the two
brackets is $D(q \,\|\, q')$, which is positive unless $q = q'$ (`markov.gibbs`).

For the bound: averaged over $\theta$, the segmentation $z$ has the probability
$P(z) = D\big( C(z) + \kappa \big) / D(\kappa)$ by `markov.dirichlet-integral`, and by `markov.jensen`
$\ln \sum_z P(z) \ge \sum_z q(z) \ln \frac{P(z)}{q(z)} = H(q) + \mathbb{E}_q \ln P(z)$. By
`tokenize.dirichlet-tangent`, $\ln D(C(z) + \kappa) \ge \ln D(c(q) + \kappa) + \sum_x (C_x(z) - c_x(q))\, s_x$, and the
mean of the last sum under $q$ is zero. $\blacksquare$

The posterior factorises, so $q'$ segments every occurrence of a word on its own, with the scores $s_x$, and its counts
are those of `fp_tokenize.trellis`. With $\kappa_x = 0$ for longer pieces, $\ln D$ has a $\ln \Gamma(c_x)$ that grows
without bound as $c_x \to 0$: $G$ *wants* pieces to die. The training helps: pieces that are expected less than half a
time are dropped. There the claim ends, as it holds for fixed pieces.

The $e^{s_x}$ add up to at most one (`tokenize.posterior-scores`), so they are no distribution. The last step of the
training is therefore (E2), which makes them one, and by `tokenize.unigram-em` raises $F$.

## What a piece is worth

When the counts no longer change much, some pieces must go. How much likelihood does a piece contribute? Count with best
segmentations (`tokenize.viterbi`): let $f_x$ be how often they use $x$, and $S = \sum_x f_x$. The likelihood of these
segmentations under relative frequencies is

$$M = \sum_x f_x \ln \frac{f_x}{S} = \sum_x \varphi(f_x) - \varphi(S), \qquad \varphi(t) = t \ln t.$$

**Claim** `tokenize.beaten-piece`. If a string that is a piece has a segmentation into two or more pieces with a higher
score than its own, no best segmentation of any word uses it.

**Proof.** Put that segmentation in the piece's place: the score of the word's segmentation rises. $\blacksquare$

Pieces with $f_x = 0$ are dropped without loss; by the claim all beaten ones are among them. Another piece $x$ would be
replaced by its best split (`tokenize.best-split`): let it use the piece $y$ $m_y$ times, $k = \sum_y m_y \ge 2$ in
all. Replaced everywhere, $f_y$ becomes $f_y + m_y f_x$, $f_x$ becomes $0$, and $S$ becomes $S' = S + (k - 1) f_x$.

**Claim** `tokenize.replacement-loss`. Replacing $x$ everywhere lowers $M$ by

$$
\Delta_x = \varphi(f_x) - \sum_y \big( \varphi(f_y + m_y f_x) - \varphi(f_y) \big) + \varphi(S') - \varphi(S).
\qquad \text{(E6)}
$$

Without $x$, some segmentations of all words and some probabilities of the other pieces have a likelihood of at least
$M - \Delta_x$.

**Proof.** (E6) is $M$ before, minus $M$ after: all other terms are the same. After the replacement there are
segmentations without $x$, and relative frequencies, with that likelihood. $\blacksquare$

SentencePiece takes

$$
\tilde\Delta_x = f_x \Big( \ln \frac{f_x}{S} - \sum_y m_y \ln \frac{f_y + f_x}{S'} \Big), \qquad \text{(E7)}
$$

the loss at the places where $x$ stood. It neglects that the probabilities change everywhere else: that of a part $y$
rises, and the total $S'$ lowers all.

**Claim** `tokenize.neglected-loss`. If all parts are different ($m_y \le 1$),
$-f_x \le \Delta_x - \tilde\Delta_x \le (k - 1) f_x$.

**Proof.** Let $f'_y = f_y + m_y f_x$. All sums are over the pieces $y \ne x$. (E6) is

$$
\Delta_x = f_x \ln \frac{f_x}{S} + \sum_y f_y \ln \frac{f_y}{S} - \sum_y (f_y + m_y f_x) \ln \frac{f'_y}{S'},
$$

and $m_y f_x \ln \frac{f'_y}{S'}$ is what (E7) has for each part. So

$$\Delta_x - \tilde\Delta_x = \sum_y f_y \ln \Big( \frac{f_y}{S} \Big/ \frac{f'_y}{S'} \Big).$$

By `markov.log-tangent` $\ln t = -\ln \frac1t \ge 1 - \frac1t$, so this is at least
$\sum_y f_y - S \sum_y \frac{f'_y}{S'} \ge (S - f_x) - S = -f_x$, since the $f'_y / S'$ add up to one. And as
$f_y \le f'_y$, it is at most $\sum_y f_y \ln \frac{S'}{S} \le S \big( \frac{S'}{S} - 1 \big) = (k - 1) f_x$.
$\blacksquare$

So (E7) may be wrong by a nat, or $k - 1$ nats, for each use of $x$, of a loss that is itself a few nats a use; and (E6)
costs no more. Both look at one piece at a time, though a quarter of the pieces goes at once, parts of each other's
replacements among them.

## The whole

1. Begin with the seed pieces, and their scores as counts.
2. Twice: expected counts; drop longer pieces below $\frac12$; scores (E4).
3. If there are at most $1.1$ times as many pieces as asked for, go on to 5.
4. Drop unused pieces, and those of the smallest loss, until `shrink` of the pieces are left. Back to 2.
5. Keep all characters and the pieces of the highest scores. One step (E2).

Every pruning leaves fewer pieces, so the end is reached. Scores are rounded to multiples of $2^{-32}$, so that by
`tokenize.exact-sums` `ab|a` and `a|ba` tie if they should, and a rule decides between them, not rounding.

## In practice

`like_sentencepiece` makes the seeds, the losses (E7) and the end as SentencePiece has them for a text without line
breaks. The vocabularies are then nearly the same. By default the seeds keep whole words that SentencePiece loses
(`fp_tokenize.seed_pieces`), losses are (E6), and the last step is added; on the texts measured each makes the text
likelier. SentencePiece also prunes single characters like other pieces, and brings them back at the end with the lowest
score.

Hugging Face's trainer is a port of SentencePiece's. Unigram was introduced together with sampling from the
segmentations (`fp_tokenize.regularization`); T5, XLM-R and ALBERT use it.

References: T. Kudo, "Subword regularization", 2018; A. Dempster, N. Laird and D. Rubin, 1977, for EM; P. Liang and D.
Klein, 2007, for (E4).
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import compress

import numpy as np
from jaxtyping import Bool, Float, Int

from fp_markov.counting import check_integer
from fp_tokenize.digamma import posterior_scores
from fp_tokenize.frame import check_text
from fp_tokenize.seed_pieces import seed_pieces, seed_reference
from fp_tokenize.trellis import SeparateLattices, Trellis

__all__ = ["train_unigram", "likeliest_scores", "replacement_losses", "log_likelihood"]  # the order of the page

PSEUDO = 0.5
"""kappa of a single character; that of longer pieces is zero."""
LEAST = 0.5
"""Longer pieces that are expected less often are dropped."""
SPARE = 1.1
"""Pruning by loss stops at so many times the size asked for; the scores choose among the rest."""


def train_unigram(
    counts: Mapping[str, int],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    seed_size: int = 1_000_000,
    shrink: float = 0.75,
    sub_iterations: int = 2,
    max_piece: int = 16,
    character_coverage: float | int = 0.9995,
    by_script: bool = True,
    like_sentencepiece: bool = False,
    reference: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, float]]:
    """
    A Unigram vocabulary for some words.

    Parameters
    ----------
    counts
        How often each word occurs, as `fp_tokenize.words.count_words` returns it.
    vocab_size
        How many pieces to return, special tokens and single characters included.
    special_tokens
        Names that get the first ids, and the score zero.
    seed_size
        How many substrings to begin with, the single characters not counted.
    shrink
        The share of the pieces that a pruning leaves, between 0 and 1.
    sub_iterations
        EM steps between two prunings.
    max_piece
        How many characters a piece may have.
    character_coverage
        The share of the text's characters that the kept ones cover at least. The most frequent are kept; words are cut
        at the others, which the tokenizer will not know.
    by_script
        Whether a piece must stay within one script (digits and signs count as one).
    like_sentencepiece
        Whether to choose seeds as SentencePiece does for a text in one line, to take its losses, and to leave out the
        last step.
    reference
        Whether to use the plain loops that the fast version is tested against.
    progress
        Called with the prunings that are done, and an upper bound of their number; at the end with that bound twice.

    Returns
    -------
    list of tuple
        Name and score in nats: the special tokens, then the pieces by falling score, of equal ones by code points.
        They are fewer than `vocab_size` if the words do not offer so many.

    Raises
    ------
    ValueError
        If there is no word, or a word is empty or holds a lone surrogate; if a count is not positive; if the vocabulary
        is too small for the special tokens and the characters; if a special token is empty, comes twice or is one of
        the characters; or if an option is out of its range.
    TypeError
        If a count or a size is no integer.

    Examples
    --------
    >>> counts = {"▁low": 5, "▁lower": 2, "▁newer": 6, "▁wider": 3}
    >>> vocabulary = train_unigram(counts, 14, ["<unk>"])
    >>> [(piece, round(score, 2)) for piece, score in vocabulary if len(piece) > 1]
    [('<unk>', 0.0), ('▁newer', -1.23), ('▁low', -1.41), ('▁wider', -1.92), ('▁lower', -2.33)]
    """
    sizes = (("vocab_size", vocab_size), ("seed_size", seed_size), ("sub_iterations", sub_iterations))
    vocab_size, seed_size, sub_iterations, max_piece = (
        _positive(value, name) for name, value in (*sizes, ("max_piece", max_piece))
    )
    if not 0 < shrink < 1:
        raise ValueError(f"shrink is the share that a pruning leaves, between 0 and 1, got {shrink}")
    fragments, alphabet = _covered(counts, character_coverage)
    _check_special(special_tokens, alphabet)
    if vocab_size < len(special_tokens) + len(alphabet):
        raise ValueError(
            f"vocab_size must be at least {len(special_tokens) + len(alphabet)}, for {len(special_tokens)} special "
            f"tokens and {len(alphabet)} characters, got {vocab_size}. Make it larger or lower character_coverage"
        )
    seeds = (seed_reference if reference else seed_pieces)(
        fragments, seed_size, max_piece, by_script, ends_apart=not like_sentencepiece
    )
    seeds = [seed for seed in seeds if seed[0] not in special_tokens]
    lattices = SeparateLattices if reference else Trellis

    words, n = list(fragments), np.fromiter(fragments.values(), np.float64, len(fragments))
    pieces = [piece for piece, _ in seeds]
    single = np.array([len(piece) == 1 for piece in pieces])
    weights = np.array([score for _, score in seeds], np.float64)
    scores = _on_grid(likeliest_scores(weights))
    del seeds
    model = lattices(words, pieces)

    def keep(kept: Bool[np.ndarray, " K"]) -> None:
        nonlocal pieces, single, scores
        model.keep(kept)
        pieces, single, scores = list(compress(pieces, kept)), single[kept], scores[kept]

    goal = int(SPARE * vocab_size)
    rounds, at_most = 0, max(0, int(np.ceil(np.log(goal / len(pieces)) / np.log(shrink))))
    while True:
        for _ in range(sub_iterations):
            expected, _ = model.expected(scores, n)
            kept = single | (expected.astype(np.float32) >= LEAST)  # rounding must not decide at one half
            keep(kept)
            scores = _on_grid(posterior_scores(expected[kept] + PSEUDO * single))
        if progress is not None:
            progress(rounds, at_most)
        if len(pieces) <= goal:
            break
        used, _ = model.best_counts(scores, n)
        candidates = np.flatnonzero(~single & (used > 0))
        parts_of = lattices([pieces[i] for i in candidates], pieces).alternatives(scores)
        losses = replacement_losses(used, candidates, *parts_of, exact=not like_sentencepiece)
        keep(_with_largest(single, candidates, losses, max(goal, int(shrink * len(pieces)))))
        rounds += 1

    others = np.flatnonzero(~single)
    keep(_with_largest(single, others, scores[others], vocab_size - len(special_tokens)))
    if not like_sentencepiece:
        expected, _ = model.expected(scores, n)
        scores = _on_grid(likeliest_scores(expected + PSEUDO * single))
    if progress is not None:
        progress(at_most, at_most)
    by_score = sorted(zip(pieces, scores.tolist(), strict=True), key=lambda item: (-item[1], item[0]))
    return [(token, 0.0) for token in special_tokens] + by_score


def likeliest_scores(amounts: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    """
    The scores (E3) that make given counts most likely.

    Parameters
    ----------
    amounts
        Expected counts with pseudo-counts added, all positive.

    Examples
    --------
    >>> np.exp(likeliest_scores(np.array([3.0, 1.0])))
    array([0.75, 0.25])
    """
    return np.log(amounts / amounts.sum())


def replacement_losses(
    used: Float[np.ndarray, " K"],
    candidates: Int[np.ndarray, " C"],
    owners: Int[np.ndarray, " P"],
    parts: Int[np.ndarray, " P"],
    exact: bool = True,
) -> Float[np.ndarray, " C"]:
    """
    The loss of likelihood (E6) for each of some pieces, if it were replaced wherever it is used.

    Parameters
    ----------
    used
        How often the best segmentations use each piece.
    candidates
        The pieces in question, each used at least once.
    owners, parts
        What replaces them, as `fp_tokenize.trellis.Trellis.alternatives` returns it for these pieces as strings.
    exact
        Whether to compute (E6), or SentencePiece's (E7).

    Returns
    -------
    ndarray
        In nats, one a candidate.
    """
    S, f = used.sum(), used[candidates]
    added = f * (np.bincount(owners, minlength=len(candidates)) - 1)  # S' - S
    if not exact:
        inside = np.bincount(owners, np.log(used[parts] + f[owners]) - np.log(S + added)[owners], len(f))
        return f * (np.log(f / S) - inside)
    # equal parts of one replacement stand together: m of them
    first = np.flatnonzero(np.diff(owners, prepend=-1) | np.diff(parts, prepend=-1))
    owners, parts, m = owners[first], parts[first], np.diff(first, append=len(owners))
    gained = _x_ln_x(used[parts] + m * f[owners]) - _x_ln_x(used[parts])
    return _x_ln_x(f) + S * np.log1p(added / S) + added * np.log(S + added) - np.bincount(owners, gained, len(f))


def log_likelihood(counts: Mapping[str, int], pieces: Sequence[tuple[str, float]]) -> float:
    """
    The logarithm of the probability of some words, over all their segmentations (E1).

    Parameters
    ----------
    counts
        How often each word occurs.
    pieces
        Name and score of each piece; every character of the words is one.

    Returns
    -------
    float
        In nats. Divided by the number of bytes it can be compared between vocabularies.

    Raises
    ------
    ValueError
        If a word is empty, or has a character that is no piece.

    Examples
    --------
    >>> halves = [("a", np.log(0.5)), ("b", np.log(0.25)), ("ab", np.log(0.25))]
    >>> round(float(np.exp(log_likelihood({"ab": 1}, halves))), 12)  # 1/2 times 1/4, and 1/4
    0.375
    """
    trellis = Trellis(list(counts), [piece for piece, _ in pieces])
    n = np.fromiter(counts.values(), np.float64, len(counts))
    return trellis.expected(np.array([score for _, score in pieces], np.float64), n)[1]


def _with_largest(
    single: Bool[np.ndarray, " K"], ids: Int[np.ndarray, " C"], values: Float[np.ndarray, " C"], size: int
) -> Bool[np.ndarray, " K"]:
    """All single characters, and of the others those of the largest values, of equal ones the first, up to a size."""
    kept = single.copy()
    ranking = -values.astype(np.float32)  # what differs by rounding only is equal
    kept[ids[np.argsort(ranking, kind="stable")[: size - int(single.sum())]]] = True
    return kept


def _on_grid(scores: Float[np.ndarray, " K"]) -> Float[np.ndarray, " K"]:
    """Scores as multiples of 2^-32, whose sums are exact (`tokenize.exact-sums`)."""
    return np.round(scores * 2.0**32) / 2.0**32


def _x_ln_x(x: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    return x * np.log(np.where(x > 0, x, 1))


def _covered(counts: Mapping[str, int], coverage: float | int) -> tuple[dict[str, int], str]:
    """The words cut at the characters beyond coverage, and the alphabet that is left."""
    if not 0 < coverage <= 1:
        raise ValueError(f"character_coverage is a share, above 0 and at most 1, got {coverage}")
    occurrences: Counter[str] = Counter()
    for word, n in counts.items():
        check_text(word)
        if not word:
            raise ValueError("a word has at least one character, got ''")
        if _positive(n, f"the count of {word!r}"):
            for character in word:
                occurrences[character] += n
    if not occurrences:
        raise ValueError("training needs at least one word, got none. Is the corpus empty?")
    total, so_far, alphabet = sum(occurrences.values()), 0, ""
    for character, n in sorted(occurrences.items(), key=lambda item: (-item[1], item[0])):
        if so_far >= coverage * total:
            break
        so_far, alphabet = so_far + n, alphabet + character
    if len(alphabet) == len(occurrences):
        return dict(counts), alphabet
    inside = re.compile(f"[{re.escape(alphabet)}]+")
    fragments: Counter[str] = Counter()
    for word, n in counts.items():
        for fragment in inside.findall(word):
            fragments[fragment] += n
    return dict(fragments), alphabet


def _check_special(special_tokens: Sequence[str], alphabet: str) -> None:
    if isinstance(special_tokens, str):
        raise TypeError(f"special tokens are a list of names, got the string {special_tokens!r}")
    for token in special_tokens:
        if not isinstance(token, str) or not token or token in [*alphabet] or [*special_tokens].count(token) > 1:
            raise ValueError(
                f"special tokens must differ from each other and from the text's characters, got {token!r} among "
                f"{[*special_tokens]}. Choose names such as '<s>'"
            )


def _positive(value: object, name: str) -> int:
    number = check_integer(value, name)
    if number < 1:
        raise ValueError(f"{name} must be 1 or more, got {number}")
    return number
