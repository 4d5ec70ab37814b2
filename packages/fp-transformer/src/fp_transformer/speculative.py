r"""
Speculative decoding: a small model drafts, the large one checks.

To add one token, a large model reads all its weights from memory; for a few tokens at once it reads them once, and
takes hardly longer (`attention.decode-intensity` counts why). But which tokens, as long as they are not chosen? A small
model can guess them. Can the large one accept or correct the guesses in such a way that the text is *exactly* as if it
had drawn every token itself?

You need: `fp_transformer.generation`; from stage 1 the chain rule and total probability.

## One token

Let $p$ be the distribution of the next token, after temperature and cuts, in the large model, the **target**, and $q$
in the small one, the **draft**. Draw $x$ from $q$. The aim is a token distributed as $p$.

$$
\text{Accept } x \text{ with probability } \min\Big(1, \frac{p(x)}{q(x)}\Big), \qquad
\text{else draw from } r(x) = \frac{(p(x) - q(x))^+}{\sum_y (p(y) - q(y))^+}, \qquad \text{(E1)}
$$

where $a^+$ is $a$ if $a > 0$, else $0$. What $q$ proposes too often is thinned out, and what it proposes too rarely is
filled in when a proposal fails. Let

$$
\beta = \sum_x \min(p(x), q(x)), \qquad \delta = \tfrac12 \sum_x \lvert p(x) - q(x) \rvert \qquad \text{(E2)}
$$

be the **overlap** and the **total variation** of $p$ and $q$.

**Claim** `transformer.speculative-token`. Let $p$ and $q$ be distributions on the same finite set. The result of (E1)
has the distribution $p$, exactly. The proposal is accepted with probability $\beta = 1 - \delta$.

**Proof.** $x$ is proposed only if $q(x) > 0$. It is proposed and accepted with probability

$$q(x) \min\Big(1, \frac{p(x)}{q(x)}\Big) = \min(q(x), p(x)),$$

which is right for $q(x) = 0$ too. The sum over $x$ is $\beta$, the probability of accepting. For two numbers,
$\min(a, b) + (a - b)^+ = a$, so

$$\sum_x (p(x) - q(x))^+ = \sum_x p(x) - \sum_x \min(p(x), q(x)) = 1 - \beta.$$

If $\beta = 1$, a proposal never fails and the result is $x$ with probability $\min(p(x), q(x))$; as $(p(x) - q(x))^+$
has the sum zero and is nowhere negative, it is zero, and $\min(p(x), q(x)) = p(x)$. Otherwise $x$ is the result with
probability

$$
\min(p(x), q(x)) + (1 - \beta)\, \frac{(p(x) - q(x))^+}{1 - \beta} = \min(p(x), q(x)) + (p(x) - q(x))^+ = p(x).
$$

Finally $\lvert a - b \rvert = (a - b)^+ + (b - a)^+$, and with $p$ and $q$ exchanged the sum of the second is
$1 - \beta$ too. So $\delta = \tfrac12 \big( (1 - \beta) + (1 - \beta) \big) = 1 - \beta$. $\blacksquare$

>>> p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.6, 0.2])
>>> round(float(overlap(p, q)), 3), residual(p, q)
(0.7, array([1., 0., 0.]))

**Claim** `transformer.speculative-best`. However a proposal $X$ with the distribution $q$ and a result $Y$ with the
distribution $p$ are drawn together, $P(X = Y) \le \beta$. So no exact rule keeps more of what is drafted than (E1).

**Proof.** $P(X = Y = x)$ is at most $P(X = x) = q(x)$ and at most $P(Y = x) = p(x)$, so at most their minimum. Sum over
$x$. $\blacksquare$

## Many tokens

A **round** takes the text as it is. The draft draws $k$ tokens $x_1, \dots, x_k$, one after another, each from its $q$
after the text and the drafts before it. The target computes in one pass its distributions after the text and after each
of the drafts, $k + 1$ of them. Then (E1) is applied to $x_1$, $x_2$ and so on. The first that fails is replaced by a
draw from its $r$, and the drafts behind it are thrown away. If none fails, the last of the $k + 1$ distributions gives
one more token, the **bonus**. So a round gives between $1$ and $k + 1$ tokens.

**Claim** `transformer.speculative-exact`. Let the target have the distribution $p(\cdot \mid c)$ after each text $c$,
and the draft, in whatever way it makes its choice, $q(\cdot \mid c)$; each may be reshaped by a temperature and by
cuts, also differently. Let all uniform numbers be independent, and let $k$ be chosen anew in each round, if it likes,
from what happened before it. Then the first $n$ tokens that the rounds give after a prompt are $y_{1:n}$ with the
probability $\prod_{t=1}^n p(y_t \mid y_{1:t-1})$, as if all were drawn from the target.

**Proof.** *Drafting lazily.* A draft is looked at only if all drafts before it in its round were accepted. So let the
draft draw $x_{i+1}$ only after $x_i$ was accepted: its distribution depends on the text and $x_1, \dots, x_i$ and not
on the tests, whose uniform numbers are independent of it. The tokens given are the same ones, with the same
probabilities.

*One token.* Now tokens are given one by one. Let $h$ be the drafts that have been looked at before a token is begun,
which of them were accepted, and the tokens given; let $c$ be the text by then. $h$ says which of two things happens
next. Either the token is a bonus, or the round has no drafts left to make, and it is drawn from $p(\cdot \mid c)$; or a
token is drafted from $q(\cdot \mid c)$ and (E1) applied, and the result has the distribution $p(\cdot \mid c)$ by
`transformer.speculative-token`. In both cases the probability of $y$, given $h$, is $p(y \mid c)$, and depends on $h$
through $c$ only.

*All tokens.* By induction on $n$; for $n = 0$ there is nothing to show. By total probability
(`markov.total-probability`), over all $h$, finitely many, in which the text $y_{1:n}$ has been given and nothing of the
next token has been drawn,

$$
P(y_{1:n+1}) = \sum_h P(h)\, P(y_{n+1} \mid h) = p(y_{n+1} \mid y_{1:n}) \sum_h P(h)
  = p(y_{n+1} \mid y_{1:n})\, P(y_{1:n}). \qquad \blacksquare
$$

So it does not matter for the text how good the draft is: a bad one costs time, not quality. A stop or a limit cuts the
text, which is a function of its tokens, so it has the right distribution too.

At temperature zero $p$ and $q$ each put all probability on one token. Then (E1) accepts the draft if and only if it is
the target's choice, and $r$ is the target's choice: the text is the greedy one.

The target looks at all $k$ drafts in one chunk with its cache, and what is thrown away is taken back from both caches;
by `attention.cache-truncate` nothing of it is left.

>>> from fp_transformer.config import TransformerConfig
>>> from fp_transformer.generation import generate
>>> from fp_transformer.model import Transformer
>>> sizes = dict(vocab_size=11, context_length=32, n_heads=2, d_model=8)
>>> model = Transformer(TransformerConfig.llama(n_layers=2, **sizes), rng=np.random.default_rng(0)).eval()
>>> draft = Transformer(TransformerConfig.gpt2(n_layers=1, **sizes), rng=np.random.default_rng(1)).eval()
>>> text = list(speculative_generate(model, draft, [1, 2], 20, k=3, temperature=0))
>>> text == list(generate(model, [1, 2], 20, temperature=0))
True

## What it brings

**Claim** `transformer.speculative-tokens`. Suppose each draft that is tested is accepted with probability $a$, whatever
came before. Then a round with $k$ drafts gives in the mean

$$E_k = 1 + a + a^2 + \dots + a^k = \frac{1 - a^{k+1}}{1 - a} \qquad \text{(E3)}$$

tokens, the last form for $a < 1$.

**Proof.** A round gives $1 + A$ tokens, where $A$ is the number of accepted drafts. $A \ge i$ if the first $i$ tests
succeed, which has the probability $a^i$. $A$ is the sum over $i = 1, \dots, k$ of the indicator of $A \ge i$, so its
mean is $a + \dots + a^k$ (`markov.expectation-linear`). And $(1 - a)(1 + a + \dots + a^k) = 1 - a^{k+1}$, since all
other terms cancel. $\blacksquare$

In a text $a$ is not constant: it is $\beta$ of (E2), near one inside a word and low where a thought begins. Then (E3)
is an approximation.

**Claim** `transformer.speculative-speedup`. Let also a pass of the target over $1$ to $k + 1$ tokens take one unit of
time and a pass of the draft $c > 0$, and let nothing else take time. Then speculative decoding is faster than the
target alone by the factor

$$S_k = \frac{E_k}{k c + 1}. \qquad \text{(E4)}$$

If $a > c$, already $S_1 > 1$; if $a \le c$, no $k$ has $S_k > 1$. For $a < 1$ the sequence $S_0, S_1, S_2, \dots$ rises
strictly up to its maximum, possibly not at all, takes it at one $k$ or at two neighbours, and falls strictly after.

**Proof.** A round takes $k c + 1$ units and gives $E_k$ tokens in the mean, for which the target alone takes $E_k$.
Over many rounds the time for a token is the ratio of the sums, hence of the means.

$S_1 = \frac{1 + a}{1 + c} > 1$ if and only if $a > c$. If $a \le c$, then each of $a, a^2, \dots, a^k$ is at most $c$,
as $a \le 1$, and $E_k \le 1 + k c$.

$S_{k+1} > S_k$ means $(E_k + a^{k+1})(k c + 1) > E_k\, (k c + c + 1)$, that is $g_k > 0$ with

$$g_k = a^{k+1} (k c + 1) - c E_k.$$

By $E_{k+1} = E_k + a^{k+1}$,

$$
\begin{aligned}
g_{k+1} - g_k &= a^{k+2} (k c + c + 1) - a^{k+1} (k c + 1) - c\, a^{k+1} \\
  &= a^{k+1} \big( a\, (k c + c + 1) - (k c + 1 + c) \big) \\
  &= -a^{k+1} (1 - a) (k c + c + 1).
\end{aligned}
$$

For $0 < a < 1$ that is negative: $g$ falls strictly, so it is positive at first, possibly nowhere, then zero at most
once, then negative. It is not positive for ever, for $S_k < \frac{1}{(1 - a)(k c + 1)}$ by (E3), which is below
$S_0 = 1$ for large $k$. For $a = 0$ all $g_k$ are $-c < 0$. $\blacksquare$

How many drafts are best, and what do they bring, if eight tenths are accepted and a draft takes a twentieth of the
time of the target? And if only half is accepted?

>>> [(k := best_k(a, 0.05), round(speed_up(a, k, 0.05), 2)) for a in (0.8, 0.5)]
[(8, 3.09), (3, 1.63)]

## In practice

The rule is from Y. Leviathan and others and C. Chen and others (both 2023). The unit of time in (E4) holds while memory
sets the pace: for one user, not for a server whose batch is large already, where drafts that are thrown away are work
that others wait for. Draft and target must share a vocabulary. A draft need be no model: the continuation of an earlier
occurrence of the last tokens in the text works well for editing and summaries. Heads that are trained on the target's
own last stream draft best (Medusa; Y. Li and others, 2024, EAGLE), and trees of drafts can be checked in one pass with
a mask that lets each node see its ancestors. Here the text does not slide; it has to fit into both contexts. In
floating point $p$ comes from a pass over $k + 1$ tokens, whose sums may differ in the last digits from those of one.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_autograd.tracing import value_of
from fp_markov.counting import check_integer
from fp_markov.sampling import greedy, sample
from fp_transformer.decoding import Real, StopMatcher, Stops, check_prompt, check_settings, choose, distribution
from fp_transformer.generation import Cache, check_run, feed

__all__ = ["overlap", "residual", "verify", "speculative_generate", "expected_tokens", "speed_up", "best_k"]


def overlap(p: Float[np.ndarray, "*batch V"], q: Float[np.ndarray, "*batch V"]) -> Any:
    r"""
    How likely a draft is accepted: $\beta$ of (E2).

    Parameters
    ----------
    p, q
        Probabilities of the target and of the draft.

    Returns
    -------
    float or ndarray
        One number for each pair of rows.

    Examples
    --------
    >>> float(overlap(np.array([1.0, 0.0]), np.array([0.25, 0.75])))
    0.25
    """
    return np.minimum(p, q).sum(axis=-1)


def residual(p: Float[np.ndarray, " V"], q: Float[np.ndarray, " V"]) -> Float[np.ndarray, " V"]:
    """
    What is drawn from when a draft fails: r of (E1).

    Parameters
    ----------
    p, q
        Probabilities of the target and of the draft.

    Returns
    -------
    ndarray
        Probabilities. Where `p` is nowhere above `q` they are equal up to rounding, and it is `p`.

    Examples
    --------
    >>> residual(np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.75, 0.0]))
    array([0.5, 0. , 0.5])
    """
    r = np.maximum(p - q, 0)
    total = r.sum()
    return r / total if total > 0 else p


def verify(
    p: Float[np.ndarray, "n V"],
    q: Float[np.ndarray, "k V"],
    drafted: Sequence[int],
    rng: np.random.Generator,
) -> list[int]:
    """
    The tokens that a round gives.

    Parameters
    ----------
    p
        Probabilities of the target after the text and after each draft.
    q
        Those from which the drafts were drawn.
    drafted
        The k drafts.
    rng
        Draws one uniform number for each test, and one for the last token.

    Returns
    -------
    list of int
        The accepted drafts and one token more.

    Examples
    --------
    >>> p, q = np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([[0.5, 0.5]])
    >>> verify(p, q, [0], np.random.default_rng(0))
    [0, 1]
    """
    for i, x in enumerate(drafted):
        if rng.random() * q[i, x] >= p[i, x]:  # (E1): fails with probability 1 - min(1, p / q)
            return [*drafted[:i], _draw(residual(p[i], q[i]), rng)]
    return [*drafted, _draw(p[-1], rng)]


def _draw(p: Float[np.ndarray, " V"], rng: np.random.Generator) -> int:
    with np.errstate(divide="ignore"):  # the logarithm of zero is minus infinity, a token that is cut
        return int(sample(np.log(p), rng))


def speculative_generate(
    model: Any,
    draft: Any,
    prompt_ids: Sequence[int] | np.ndarray,
    max_new_tokens: int,
    *,
    k: int = 4,
    rng: np.random.Generator | None = None,
    temperature: Real = 1.0,
    top_k: int | None = None,
    top_p: Real | None = None,
    min_p: Real | None = None,
    stop: Stops = (),
    rounds: list[int] | None = None,
) -> Iterator[int]:
    """
    Continue a prompt as `model` would, with the help of a faster one (`transformer.speculative-exact`).

    Parameters
    ----------
    model, draft
        Target and draft, each as for `fp_transformer.generation.generate`, with the same vocabulary.
    prompt_ids
        At least one token.
    max_new_tokens
        How many tokens to give at most.
    k
        Drafts in a round, at least 1.
    rng
        Source of randomness; not needed at temperature zero.
    temperature, top_k, top_p, min_p
        As for `fp_transformer.decoding.choose`. The draft is reshaped likewise.
    stop
        As for `generate`.
    rounds
        If given, the number of tokens that each round gave is appended to it.

    Returns
    -------
    iterator of int
        The new tokens. They are distributed as those of `generate`, but another text for the same generator, except at
        temperature zero.

    Raises
    ------
    ValueError
        If a setting lies outside its range, the vocabularies differ, the text will not fit into both contexts, or a
        model is in training mode with dropout.
    TypeError
        If ids are no integers, or a generator is missing.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> from fp_transformer.model import Transformer
    >>> config = TransformerConfig.gpt2(vocab_size=7, context_length=16, n_layers=1, n_heads=2, d_model=8)
    >>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
    >>> rounds = []
    >>> tokens = list(speculative_generate(model, model, [1], 12, k=3, rng=np.random.default_rng(0), rounds=rounds))
    >>> len(tokens), rounds  # a model accepts all of its own drafts
    (12, [4, 4, 4])
    """
    V = model.config.vocab_size
    text = check_prompt(prompt_ids, V, "speculative_generate")
    check_settings(V, rng, temperature, top_k, top_p, min_p)
    if draft.config.vocab_size != V:
        raise ValueError(
            f"model and draft must share a vocabulary, since one checks the other's ids; got {V} and "
            f"{draft.config.vocab_size} tokens"
        )
    if check_integer(k, "k") < 1:
        raise ValueError(f"k is the number of drafts in a round, at least 1, got {k}; without drafts use generate")
    for each in (model, draft):
        N = check_run(each, [text], max_new_tokens, "error")
    caches = [each.new_cache(1, len(text) + max(N, 1) - 1) for each in (model, draft)]
    rng = None if temperature == 0 else rng
    settings = (temperature, top_k, top_p, min_p)
    return _stream(model, draft, caches, text, N, k, rng, settings, StopMatcher(stop), [] if rounds is None else rounds)


def _stream(
    model: Any,
    draft: Any,
    caches: list[Cache],
    text: list[int],
    N: int,
    k: int,
    rng: np.random.Generator | None,
    settings: tuple[Any, ...],
    matcher: StopMatcher,
    rounds: list[int],
) -> Iterator[int]:
    ours, theirs = caches
    end = len(text) + N
    if N and len(text) > 1:
        feed(model, np.array([text[:-1]]), ours)
    while len(text) < end:
        drafted: list[int] = []
        q = []
        for _ in range(min(k, end - len(text) - 1)):  # a round gives one token more than it drafts
            logits = feed(draft, np.array([(text + drafted)[theirs.length :]]), theirs)[0]
            if rng is None:
                drafted.append(choose(logits, temperature=0))
            else:
                q.append(distribution(logits, *settings))
                drafted.append(_draw(q[-1], rng))
        logits = value_of(model.forward(np.array([text[-1:] + drafted]), cache=ours))[0]
        if rng is None:  # (E1) where all probability is on one token
            best = greedy(logits).tolist()
            agree = next((i for i, x in enumerate(drafted) if x != best[i]), len(drafted))
            given = best[: agree + 1]
        else:
            p = distribution(logits, *settings)
            given = verify(p, np.array(q).reshape(len(drafted), p.shape[-1]), drafted, rng)
        rounds.append(len(given))
        text += given
        for cache in caches:  # the last token given has not been looked at, what failed is taken back
            cache.truncate(min(cache.length, len(text) - 1))
        for token in given:
            yield from matcher.push(token)
            if matcher.stopped:
                return
    yield from matcher.held


def expected_tokens(a: Real, k: int) -> float:
    """
    The mean number of tokens in a round (E3).

    Parameters
    ----------
    a
        Probability of accepting, from 0 to 1.
    k
        Drafts in a round.

    Returns
    -------
    float
        From 1 to k + 1.

    Raises
    ------
    ValueError
        If `a` is no probability, or `k` negative.

    Examples
    --------
    >>> expected_tokens(0.5, 2), expected_tokens(1, 2)
    (1.75, 3.0)
    """
    if not 0 <= a <= 1 or k < 0:
        raise ValueError(f"a is a probability and k not negative, got {a} and {k}")
    return float(sum(a**i for i in range(k + 1)))


def speed_up(a: Real, k: int, c: Real) -> float:
    """
    By what factor speculative decoding is faster (E4).

    Parameters
    ----------
    a
        Probability of accepting, from 0 to 1.
    k
        Drafts in a round.
    c
        The time of a pass of the draft, in passes of the target; positive.

    Returns
    -------
    float
        Below 1 if it is slower.

    Raises
    ------
    ValueError
        If a number lies outside its range.

    Examples
    --------
    >>> speed_up(0.5, 1, 0.25)
    1.2
    """
    if not c > 0:
        raise ValueError(f"c is the time of a draft's pass in passes of the target, positive, got {c}")
    return expected_tokens(a, k) / (k * c + 1)


def best_k(a: Real, c: Real) -> int:
    """
    The number of drafts with the greatest speed-up; 0 if drafts do not help.

    Parameters
    ----------
    a, c
        As for `speed_up`, `a` below 1.

    Returns
    -------
    int
        The smaller of two that are equally good.

    Raises
    ------
    ValueError
        If a number lies outside its range; with `a = 1` there is no best.

    Examples
    --------
    >>> best_k(0.5, 0.25), best_k(0.2, 0.25)
    (1, 0)
    """
    if not 0 <= a < 1:
        raise ValueError(f"with a = 1 every further draft helps, so a lies in [0, 1), got {a}")
    k = 0
    while speed_up(a, k + 1, c) > speed_up(a, k, c):  # it rises up to the best and never after
        k += 1
    return k
