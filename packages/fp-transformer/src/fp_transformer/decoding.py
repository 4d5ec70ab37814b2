r"""
Decoding: from scores to a text.

The model of `fp_transformer.model` ends in scores for one next token, and a text needs many tokens. How is one chosen
from the scores? Is the best next token the beginning of the best text? And when is a text at its end?

You need: `fp_markov.sampling` for one token, `fp_transformer.model`, `fp_attention.kv_cache`.

## One token

Stage 1 has the answer to the first question, and this stage calls it. `fp_markov.sampling.draw` applies a temperature,
cuts the tail (top-k, top-p, min-p) and draws exactly from what is left (`markov.inverse-cdf`). Temperature zero stands
for the limit of small ones (`markov.temperature-limits`): **greedy** decoding, which takes the likeliest token and of
equal ones the lowest id. `choose` is this for one row of scores; `distribution` gives the probabilities it draws from.

## The best next token is not the best text

Write $x_{1:n} = x_1 \dots x_n$ for the new tokens; the prompt is fixed and left out. By the chain rule
(`markov.chain-rule`)

$$\ln p(x_{1:n}) = \sum_{t=1}^{n} \ln p(x_t \mid x_{1:t-1}). \qquad \text{(E1)}$$

Greedy decoding takes the largest term it can get, given the terms before. That is not the largest sum.

**Claim** `transformer.greedy-not-likeliest`. For all $V \ge 2$ and $n \ge 2$ there is a model whose greedy text of $n$
tokens is only $\frac32 V^{-(n-1)} \le \frac34$ times as likely as another text of $n$ tokens.

**Proof.** Let the first token be $0$ with probability $\frac35$ and $1$ with $\frac25$. After a text that begins with
$0$ let all tokens be equally likely, after one that begins with $1$ let $1$ be certain. Greedy begins with $0$, and
whatever follows, its text has the probability $\frac35 V^{-(n-1)}$. The text of ones has $\frac25$. The first divided
by the second is $\frac32 V^{-(n-1)}$, and $V^{n-1} \ge 2$. $\blacksquare$

Trying all $V^n$ texts is out of the question. **Beam search** keeps the $b$ best beginnings in place of one. In each
step it extends every text that it keeps by every token, and keeps the $b$ best of the results. A text is **complete**
when it ends with one of the stops or has $n$ tokens; of the complete ones it remembers the best so far and extends
none. The score of $x_{1:m}$ is

$$s(x_{1:m}) = \frac{\ln p(x_{1:m})}{m^\alpha}, \qquad \alpha \ge 0, \qquad \text{(E2)}$$

for now with $\alpha = 0$, the logarithm itself.

**Claim** `transformer.beam-greedy`. With $b = 1$, beam search gives the greedy text, whatever the stops and $\alpha$.

**Proof.** As long as the one text kept is not complete, the candidates are its $V$ extensions. They have one length $m$
and one beginning, so by (E1) and (E2) $s$ is ordered as $p(x_m \mid x_{1:m-1})$ is. Both take the largest, and of equal
ones the lowest id. Both end when the text is complete. $\blacksquare$

**Claim** `transformer.beam-exact`. With $b \ge V^{n-1}$, beam search gives a text of the greatest score among all
complete texts, whatever the stops and $\alpha$.

**Proof.** The texts compared in step $m$ are different texts of $m$ tokens: at most $V^m$. In the steps $m < n$ these
are at most $V^{n-1} \le b$, so all are kept, and every complete text of $m$ tokens is among them, since its beginnings
were kept and are not complete. In step $n$ all complete texts of $n$ tokens are compared, and the best is kept. So the
best remembered is the best of all. $\blacksquare$

Between these two, more is not always better.

**Claim** `transformer.beam-not-monotone`. There is a model of three tokens for which beam search with $b = 2$ finds a
less likely text of three tokens than with $b = 1$, that is, than greedy decoding.

**Proof.** Let the first token be $0, 1, 2$ with probabilities $0.4,\ 0.35,\ 0.25$. Let the second be so after $0$ with
$0.4,\ 0.3,\ 0.3$ and after $1$ with $0.5,\ 0.5,\ 0$. Let $0$ be certain after $00$, and all tokens equally likely after
$10$ and $11$. The rest does not matter. Greedy takes $0$, $00$ and $000$, which has the probability $0.4 \cdot 0.4 =
0.16$. With $b = 2$, the texts $0$ and $1$ are kept. Of their extensions $10$ and $11$ have $0.35 \cdot 0.5 = 0.175$,
and $00$ with $0.16$ and $01$, $02$ with $0.12$ are dropped. What follows divides $0.175$ by three, and
$0.175 / 3 < 0.06 < 0.16$. $\blacksquare$

A search may end before all its texts are complete:

**Claim** `transformer.beam-bound`. If $x_{1:m}$ has the log-probability $\ell$, every text of at most $n$ tokens that
begins with it has a score of at most $\ell / n^\alpha$. So once a complete text has a score of at least
$\ell / n^\alpha$ for every incomplete text that is kept, no later text beats it.

**Proof.** Let $\ell'$ and $m' \le n$ be those of the longer text. The terms of (E1) are logarithms of probabilities and
so not positive, hence $\ell' \le \ell \le 0$. Then $\ell' / m'^\alpha \le \ell / m'^\alpha$, as $m'^\alpha > 0$, and
$\ell / m'^\alpha \le \ell / n^\alpha$, as $\ell \le 0$ and $m'^\alpha \le n^\alpha$. Every later text begins with an
incomplete one that is kept. $\blacksquare$

## Short texts win

**Claim** `transformer.length-bias`. With $\alpha = 0$:

1. no text has a greater score than one of its beginnings;
2. if the stop comes first with probability $s > 0$, and every token but the stop has at most the probability $q < 1$
   after every text, then the empty answer, the stop alone, is likelier than every answer that has more than
   $\ln s / \ln q$ tokens before its stop.

**Proof.** The terms of (E1) are not positive: that is 1. For 2, an answer with $k$ tokens before its stop has a
probability of at most $q^k$, and $k > \ln s / \ln q$ means $k \ln q < \ln s$, as $\ln q < 0$: $q^k < s$. $\blacksquare$

A model that is $90\%$ sure of each token and has one chance in a million of saying nothing prefers nothing to every
answer of more than this number of tokens:

>>> round(float(np.log(1e-6) / np.log(0.9)), 1)
131.1

So a better search gives worse texts: on real models the likeliest text of all is often the empty one (F. Stahlberg and
B. Byrne, 2019). The exponent $\alpha$ in (E2) is the usual correction.

**Claim** `transformer.length-penalty`. Let $\ell$ be the log-probability of $m \ge 1$ tokens. One more token of
probability $p$ raises the score (E2) if and only if

$$\ln p > \ell\, \Big( \big( 1 + \tfrac1m \big)^\alpha - 1 \Big). \qquad \text{(E3)}$$

With $\alpha = 0$ it never does. With $\alpha = 1$ it does if and only if $\ln p > \ell / m$: if $p$ exceeds the
geometric mean of the probabilities before.

**Proof.** $\frac{\ell + \ln p}{(m+1)^\alpha} > \frac{\ell}{m^\alpha}$ is, times $(m + 1)^\alpha$,
$\ell + \ln p > \ell\, \big( \frac{m+1}{m} \big)^\alpha$, which is (E3). For $\alpha = 0$ its right side is $0$, and
$\ln p \le 0$. For $\alpha = 1$ it is $\ell / m$, and $e^{\ell / m}$ is the $m$-th root of the product of $m$
probabilities, their geometric mean. $\blacksquare$

With $\alpha = 1$, $-s$ is the mean loss a token that training minimises.

## Greedy texts run in circles

**Claim** `transformer.greedy-cycles`. Let the scores of a model over $V$ tokens depend on the last $w$ tokens only, and
let it continue a text of at least $w$ tokens greedily and without end. From some token on, which is among the first
$V^w$ new ones, the text repeats the same at most $V^w$ tokens for ever.

**Proof.** Look at the last $w$ tokens before each new one. There are $V^w$ possible values, so among the first
$V^w + 1$ moments two are alike, the moments $i < j$. Greedy choice is a function of these $w$ tokens, and so are the
last $w$ tokens one moment later. So the moments $i + 1$ and $j + 1$ are alike, by induction $i + t$ and $j + t$ for all
$t$, and the tokens chosen there: from the token chosen at moment $i \le V^w - 1$ on, counted from zero, the text has
the period $j - i \le V^w$. $\blacksquare$

The bound is astronomical, and real texts circle much sooner, since a repetition once begun makes its own continuation
likelier. Drawing breaks the circle. So do penalties that lower the scores of tokens that have occurred, which also
lower those of names and commas that should occur again; none is built in here.

## When to stop

A text ends with a stop, a token such as an end-of-turn mark, or a sequence of tokens such as those of a blank line and
"User:". Tokens arrive one by one and shall be shown at once, but no part of a stop shall be shown. What has to wait?

Let $S$ be a finite set of non-empty sequences. After each token let the **tail** be the longest end of the text that is
the beginning of some stop, but not all of it; it may be empty. Show what stands before the tail.

**Claim** `transformer.stop-incremental`. As long as no stop has ended, a new token $x$ ends a stop if and only if that
stop is an end of the old tail with $x$ behind it, and the new tail is the longest end of *that* which is a proper
beginning of a stop. No token of a stop is shown before the stop ends. And what waits has to: the tail is the beginning
of a stop that the next tokens can complete.

**Proof.** Let $y$ be an end of the text with $x$ that is a beginning of a stop, or all of it. If $y$ is not empty, it
is $y' x$, where $y'$ is an end of the old text and a proper beginning of that stop. So $y'$ is at most as long as the
old tail, and being an end of the same text, an end of the tail. So every such $y$ is an end of the old tail with $x$
behind it, and what is an end of that is an end of the text: the first statement. A stop that ends later, and of which a
token has arrived, has a proper beginning that is an end of the text now; it is at most as long as the tail, so none of
its tokens is shown. The last statement is what the tail is. $\blacksquare$

>>> stops = StopMatcher([(5, 6, 7), (6, 8), 9])
>>> [stops.push(token) for token in (1, 5, 6, 5, 6, 8)], stops.stopped
([[1], [], [], [5, 6], [], [5]], True)

The first 5, 6 waits for a 7 and is shown when 5 comes instead. The second ends with the stop 6, 8, and its 5 is shown.
If two stops end at once, the longer is taken away.

## In practice

Chat models are sampled at temperatures around $0.7$ with top-p or min-p; code and arithmetic are often decoded
greedily. Beam search is for tasks with one right answer, such as translation and speech, with $b$ from 4 to 10; a wider
beam is worse there too (P. Koehn and R. Knowles, 2017). The penalty of Y. Wu and others (2016) divides by
$\big( (5 + m) / 6 \big)^\alpha$ in place of $m^\alpha$. Stops given as strings are matched in the decoded text, since
the same characters may come in other tokens: `fp-capstone` works on text. Grammars that allow only some tokens next set
all other scores to minus infinity, like the cuts of stage 1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from fp_autograd.tracing import value_of
from fp_markov import sampling
from fp_markov.counting import as_ids, check_ids, check_integer

__all__ = ["choose", "distribution", "StopMatcher", "Hypothesis", "beam_search"]

Real = float | int
Stops = Iterable[int | Sequence[int]]


def choose(
    logits: Float[np.ndarray, " V"],
    rng: np.random.Generator | None = None,
    temperature: Real = 1.0,
    top_k: int | None = None,
    top_p: Real | None = None,
    min_p: Real | None = None,
) -> int:
    """
    One token from one row of scores.

    Parameters
    ----------
    logits
        Scores of the V tokens.
    rng
        One uniform number is taken from it; none, and no generator is needed, at temperature zero.
    temperature, top_k, top_p, min_p
        As for `fp_markov.sampling.draw`.

    Returns
    -------
    int
        Its id.

    Raises
    ------
    ValueError
        If a setting lies outside its range, or scores are NaN, plus infinity, or all cut.
    TypeError
        If there is no generator at a temperature above zero, or scores are no floating-point numbers.

    Examples
    --------
    >>> scores = np.array([0.0, 2.0, 1.0])
    >>> choose(scores, temperature=0), choose(scores, np.random.default_rng(1), top_k=2)
    (1, 1)
    """
    if temperature == 0:
        return int(sampling.greedy(logits))  # the cuts of stage 1 all leave the likeliest token
    if rng is None:
        raise TypeError(_NO_GENERATOR.format(temperature))
    if top_k is None:
        return int(sampling.draw(logits, rng, temperature, None, top_p, min_p))
    logits = sampling.top_k(sampling.temperature(logits, temperature), top_k)
    left = np.flatnonzero(logits > -np.inf)  # of many thousands a few are left: to go on with them gives the same token
    return int(left[sampling.draw(logits[left], rng, 1, None, top_p, min_p)])


def distribution(
    logits: Float[np.ndarray, "*batch V"],
    temperature: Real = 1.0,
    top_k: int | None = None,
    top_p: Real | None = None,
    min_p: Real | None = None,
) -> Float[np.ndarray, "*batch V"]:
    """
    The probabilities with which `choose` takes each token.

    Parameters
    ----------
    logits
        Scores of the V tokens.
    temperature, top_k, top_p, min_p
        As for `choose`; at temperature zero all probability is on the greedy token.

    Returns
    -------
    ndarray
        float64, each row summing to one.

    Raises
    ------
    ValueError
        If a setting lies outside its range, or scores are NaN, plus infinity, or all cut.
    TypeError
        If scores are no floating-point numbers.

    Examples
    --------
    >>> scores = np.log(np.array([0.1, 0.6, 0.3]))
    >>> distribution(scores, top_k=2).round(3), distribution(scores, temperature=0)
    (array([0.   , 0.667, 0.333]), array([0., 1., 0.]))
    """
    if temperature == 0:
        best = sampling.greedy(logits)
        return np.asarray(np.arange(logits.shape[-1]) == best[..., None], np.float64)
    logits = sampling.temperature(logits, temperature)
    if top_k is not None:
        logits = sampling.top_k(logits, top_k)
    if top_p is not None:
        logits = sampling.top_p(logits, top_p)
    if min_p is not None:
        logits = sampling.min_p(logits, min_p)
    weights = np.exp(logits, dtype=np.float64)  # the largest is e^0
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def check_settings(
    vocab_size: int,
    rng: np.random.Generator | None,
    temperature: Real,
    top_k: int | None,
    top_p: Real | None,
    min_p: Real | None,
) -> None:
    """
    Refuse what `choose` would refuse, before a model has done any work.

    Parameters
    ----------
    vocab_size
        How many tokens there are to choose from.
    rng, temperature, top_k, top_p, min_p
        As for `choose`.

    Raises
    ------
    ValueError, TypeError
        As `choose`.

    Examples
    --------
    >>> check_settings(7, np.random.default_rng(0), 0.7, None, 0.9, None)
    """
    if not isinstance(temperature, float | int | np.number):
        raise TypeError(f"temperature is a number, got {temperature!r} of type {type(temperature).__name__}")
    if rng is None and temperature != 0:
        raise TypeError(_NO_GENERATOR.format(temperature))
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is a generator such as np.random.default_rng(0), got {rng!r}")
    # stage 1 knows the ranges; the generator here is not the caller's, which stays as it is
    sampling.draw(np.zeros(vocab_size), np.random.default_rng(0), temperature, top_k, top_p, min_p)


_NO_GENERATOR = (
    "to draw at temperature {} takes a generator: pass rng=np.random.default_rng(seed), or temperature=0 to take the "
    "likeliest token each time"
)


def check_prompt(prompt_ids: Any, vocab_size: int, caller: str) -> list[int]:
    """
    A prompt as a list.

    Parameters
    ----------
    prompt_ids
        Token ids, one or more.
    vocab_size
        They lie below it.
    caller
        Who asks, for the message.

    Returns
    -------
    list of int
        The same ids.

    Raises
    ------
    ValueError
        If there is none, one lies outside the vocabulary, or there are several axes.
    TypeError
        If they are no integers.

    Examples
    --------
    >>> check_prompt(np.array([3, 1]), 7, "generate")
    [3, 1]
    """
    ids = as_ids(prompt_ids, caller)
    check_ids(ids, vocab_size)
    return [int(i) for i in ids]


class StopMatcher:
    """
    What of a stream of tokens may be shown, and whether it is at its end (`transformer.stop-incremental`).

    Parameters
    ----------
    stop
        Ids, and sequences of ids.

    Attributes
    ----------
    held : list of int
        The tail: tokens that may turn out to belong to a stop.
    stopped : bool
        Whether a stop has ended.

    Raises
    ------
    ValueError
        If a sequence is empty, or an id negative.
    TypeError
        If something is neither an integer nor a sequence of integers.

    Examples
    --------
    >>> stops = StopMatcher([2, (0, 0)])
    >>> [stops.push(token) for token in (0, 1, 0, 0)], stops.stopped
    ([[], [0, 1], [], []], True)
    """

    def __init__(self, stop: Stops = ()) -> None:
        if isinstance(stop, str | bytes) or not isinstance(stop, Iterable):
            raise TypeError(f"stop lists ids and sequences of ids, such as [2, (13, 13)], got {stop!r}")
        self.stops = sorted({_sequence(s) for s in stop}, key=len, reverse=True)
        self._beginnings = {s[:i] for s in self.stops for i in range(1, len(s))}
        self._longest = max((len(s) - 1 for s in self.stops), default=0)
        self.held: list[int] = []
        self.stopped = False

    def push(self, token: int) -> list[int]:
        """
        Take in the next token.

        Parameters
        ----------
        token
            Its id.

        Returns
        -------
        list of int
            What can be shown now, in order; none of it belongs to a stop.
        """
        self.held.append(token)
        end = stop_length(self.held, self.stops)
        if end:
            shown, self.held, self.stopped = self.held[: len(self.held) - end], [], True
            return shown
        n = len(self.held)
        tail = min(n, self._longest)
        while tail and tuple(self.held[n - tail :]) not in self._beginnings:
            tail -= 1
        shown, self.held = self.held[: n - tail], self.held[n - tail :]
        return shown


def _sequence(stop: Any) -> tuple[int, ...]:
    """One stop as a tuple."""
    if isinstance(stop, int | np.integer) and not isinstance(stop, bool):
        stop = (stop,)
    if isinstance(stop, str | bytes) or not isinstance(stop, Sequence | np.ndarray):
        raise TypeError(f"a stop is an id or a sequence of ids, got {stop!r}; encode a text first")
    ids = tuple(int(check_integer(i, "an id of a stop")) for i in stop)
    if not ids or min(ids) < 0:
        raise ValueError(f"a stop has at least one id, none of them negative, got {stop!r}")
    return ids


def stop_length(ids: Sequence[int], stops: Sequence[tuple[int, ...]]) -> int:
    """
    How many tokens at the end of a text are a stop.

    Parameters
    ----------
    ids
        The text.
    stops
        Sequences, the longest first.

    Returns
    -------
    int
        The length of the longest that the text ends with, or zero.

    Examples
    --------
    >>> stop_length([1, 2, 3], [(2, 3), (3,)]), stop_length([1], [(1, 1)])
    (2, 0)
    """
    return next((len(s) for s in stops if tuple(ids[max(len(ids) - len(s), 0) :]) == s), 0)


@dataclass(frozen=True)
class Hypothesis:
    """
    A text that a search found.

    Parameters
    ----------
    ids
        Its new tokens, without the stop.
    log_prob
        The logarithm of its probability (E1), in nats; the stop counts.
    score
        What it was compared by (E2).
    stopped
        Whether it ended with a stop.
    """

    ids: list[int]
    log_prob: float
    score: float
    stopped: bool


def beam_search(
    model: Any,
    prompt_ids: Sequence[int] | np.ndarray,
    max_new_tokens: int,
    *,
    beams: int = 4,
    length_penalty: Real = 0.0,
    stop: Stops = (),
) -> Hypothesis:
    r"""
    The best text that beam search finds.

    Parameters
    ----------
    model
        A `Transformer`, or anything with its `config`, `forward` and `new_cache`.
    prompt_ids
        What the text continues, at least one token.
    max_new_tokens
        $n$, at least 1.
    beams
        $b$, how many texts are kept.
    length_penalty
        $\alpha$ of (E2), from 0 to 100.
    stop
        Ids, and sequences of ids, that end a text.

    Returns
    -------
    Hypothesis
        The best of the texts that are complete.

    Raises
    ------
    ValueError
        If a number lies outside its range, or prompt and text do not fit into the context.
    TypeError
        If ids are no integers.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> from fp_transformer.model import Transformer
    >>> config = TransformerConfig.llama(vocab_size=7, context_length=16, n_layers=1, n_heads=2, d_model=8)
    >>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
    >>> greedy, wide = (beam_search(model, [1, 2], 4, beams=b) for b in (1, 7**3))
    >>> greedy.ids == list(model.generate([1, 2], 4, temperature=0)), greedy.log_prob <= wide.log_prob
    (True, True)
    """
    V, n = model.config.vocab_size, check_integer(max_new_tokens, "max_new_tokens")
    prompt = check_prompt(prompt_ids, V, "beam_search")
    if n < 1 or check_integer(beams, "beams") < 1:
        raise ValueError(f"a search takes at least one new token and one beam, got {n} and {beams}")
    if not 0 <= length_penalty <= 100:  # powers beyond overflow
        raise ValueError(f"length_penalty lies from 0 to 100, got {length_penalty}")
    capacity = len(prompt) + n - 1  # the last token is not looked at
    if capacity > model.config.context_length:
        raise ValueError(
            f"a prompt of {len(prompt)} tokens and {n} new ones do not fit into the context of "
            f"{model.config.context_length}: shorten one of them; a search does not slide"
        )
    stops = StopMatcher(stop).stops
    cache = model.new_cache(1, capacity)
    ids = np.array([prompt])
    live: list[tuple[int, ...]] = [()]  # the texts that go on,
    total = np.zeros(1)  # and their log-probabilities
    best: Hypothesis | None = None  # of the complete texts
    for m in range(1, n + 1):
        log_p = total[:, None] + _log_softmax(value_of(model.forward(ids, cache=cache, last=True))[:, -1])
        if np.isnan(log_p).any():
            raise ValueError("logits must be numbers, got NaN. Has the model diverged?")
        going = []
        for row, token in (divmod(i, V) for i in _largest(log_p.ravel(), beams)):
            ell, text = float(log_p[row, token]), (*live[row], token)
            score, end = ell / m**length_penalty, stop_length(text, stops)
            if not end and m < n:
                going.append((row, text, ell))
            elif best is None or score > best.score:
                best = Hypothesis(list(text[: m - end]), ell, score, end > 0)
        if best and all(best.score >= ell / n**length_penalty for _, _, ell in going):  # `transformer.beam-bound`
            return best
        live, total = [text for _, text, _ in going], np.array([ell for *_, ell in going])
        cache.reorder([row for row, _, _ in going])
        ids = np.array([[text[-1]] for text in live])
    raise AssertionError("the last step completes at least one text")


def _largest(x: Float[np.ndarray, " N"], k: int) -> list[int]:
    """Where the `k` largest stand that are not minus infinity, falling; of equal ones the first."""
    if k < len(x):
        border = np.partition(x, len(x) - k)[len(x) - k]
        where = np.flatnonzero((x >= border) & (x > -np.inf))
    else:
        where = np.flatnonzero(x > -np.inf)
    return where[np.argsort(-x[where], kind="stable")][:k].tolist()


def _log_softmax(logits: Float[np.ndarray, "B V"]) -> Float[np.ndarray, "B V"]:
    """Log-probabilities in float64 (`neural.logsumexp-rounding` on why the largest goes first)."""
    z = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))
