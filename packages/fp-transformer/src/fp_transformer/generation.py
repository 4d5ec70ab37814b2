r"""
Generation: a text that grows token by token.

Choose a token, put it behind the text, ask again: `fp_transformer.decoding` does the first, and `fp_attention.kv_cache`
has shown how to ask without computing anything twice. What is left are three questions of bookkeeping. What happens
when the text outgrows the context? How do several texts of different lengths share one pass? And what of a conversation
is still known when its next turn comes?

You need: `fp_transformer.decoding`, `fp_transformer.model`, `fp_attention.kv_cache`.

## The loop

A model without dropout whose masks are causal is a network as `attention.cache-exact` requires it: the prompt may be
computed in one chunk or in many, each new token is one row more, and in exact arithmetic its scores are those of the
whole text computed at once. With the cache, a text of $n$ tokens takes $n$ rows in place of $\frac{n (n + 1)}{2}$
(`attention.cache-work`). The last token that is chosen is not looked at any more, so $N$ new tokens after a prompt of
$m$ take $m + N - 1$ rows.

>>> from fp_transformer.config import TransformerConfig
>>> from fp_transformer.model import Transformer
>>> config = TransformerConfig.llama(vocab_size=11, context_length=12, n_layers=1, n_heads=2, d_model=8)
>>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
>>> once, again = (list(generate(model, [1, 2, 3], 6, rng=np.random.default_rng(5))) for _ in range(2))
>>> once == again, once == list(generate(model, [1, 2, 3], 6, rng=np.random.default_rng(5), prefill_chunk=2))
(True, True)

The same generator gives the same text. Another length of chunks changes the order of floating-point sums, and so the
last digits of the scores; it can change a token only where the uniform number that draws it falls between two values
of a running sum that differ in these digits, or where two tokens are as good as equally likely.

## When the text outgrows the context

A model of context $T$ has positions for $T$ tokens. What a cache holds cannot be renumbered (`attention.cache-shift`),
so a longer text has to be cut and computed again. If it is cut to the last $T$ tokens, everything has to be computed
again for each new token. It is cheaper to forget more at a time. Let $r = \lceil T / 2 \rceil$, and let the model see
of a text of $n$ tokens what follows the first

$$
\sigma(n) = 0 \quad \text{if } n \le T, \qquad
\sigma(n) = r \left\lceil \frac{n - T}{r} \right\rceil \quad \text{if } n > T. \qquad \text{(E1)}
$$

**Claim** `transformer.slide`. Let $1 \le r \le T$ in (E1).

1. For $n > T$ the model sees more than $T - r$ and at most $T$ tokens; with $r = \lceil T/2 \rceil$, more than
   $\lfloor T / 2 \rfloor$.
2. $\sigma$ changes at $n = T + 1$ and every $r$ tokens from there on. If all that is seen is computed again at each
   change and only the new token otherwise, then $r$ new tokens, from one change to the next, take $T$ rows, and
   $\frac{T (T + 1)}{2}$ pairs of a query and a key in each layer. With $r = \lceil T/2 \rceil$ these are at most two
   rows a token, and at most $T + 1$ pairs.

**Proof.** Let $n > T$ and $c = \lceil \frac{n - T}{r} \rceil$, the integer with $n - T \le r c < n - T + r$. The model
sees $n - \sigma(n) = n - r c$ tokens, and $T - r < n - r c \le T$. With $r = \lceil T / 2 \rceil$,
$T - r = \lfloor T / 2 \rfloor$. That is 1.

$c$ rises by one when $n - T$ passes a multiple of $r$: at $n = T + 1 + j r$ for $j = 0, 1, \dots$ There
$c = j + 1$, and the model sees $T + 1 + j r - r (j + 1) = T - r + 1$ tokens, which are computed. The $r - 1$ tokens
after that take one row each: together $T$. The queries of the $T - r + 1$ rows look at $1, 2, \dots, T - r + 1$ keys,
those of the others at $T - r + 2, \dots, T$. The sum is $1 + 2 + \dots + T = \frac{T (T + 1)}{2}$. As
$r \ge \frac{T}{2}$, $T$ rows for $r$ tokens are at most two a token, and $\frac{T (T + 1)}{2 r} \le T + 1$.
$\blacksquare$

A full cache that could drop one token for free would look at $T$ keys for each new token, so sliding costs twice the
rows and hardly more pairs; in exchange, right after a change the model has forgotten half of what it knew. (E1) depends
on $n$ only. So it makes no difference whether a text was given or written, in one call or in several, alone or in a
batch.

>>> [window_start(n, 8) for n in range(6, 18)]
[0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12]
>>> one = list(generate(model, [1, 2, 3], 30, temperature=0))
>>> first = list(generate(model, [1, 2, 3], 15, temperature=0))
>>> one == first + list(generate(model, [1, 2, 3, *first], 15, temperature=0))
True

## Several texts in one pass

When one token is added, the weights are read for one row; for $B$ rows they are read once too
(`attention.decode-intensity`). But the prompts differ in length, and a row's position is its column. Filled up on the
left, the shorter ones would start at other positions than they have alone, where learned positions have other vectors.
`generate_batch` starts all of them at position zero, and goes on as far as the shortest text goes. There that text gets
a new token, of its own generator; the others have their next token already, from their prompts.

**Claim** `transformer.batch-exact`. In exact arithmetic `generate_batch` gives each prompt the tokens that `generate`
gives it alone with the same generator. If nothing slides, and $N_b$ tokens are chosen, stops included, after a prompt
of $m_b$, the batch takes at most $\max_b (m_b + N_b) - \min_b m_b$ passes.

**Proof.** The layers (E1) of `fp_attention.kv_cache` act on each text of a batch by itself, so a row of the batch has
what its text has alone. Let $n$ be the length of the shortest unfinished text. The batch computes what (E1) lets a
model see of the first $n$ tokens of each text; for a text of exactly $n$ tokens that is what `generate` computes, by
`attention.cache-exact`, however the chunks were cut. Only such texts choose a token, so each takes from its generator
what it takes alone, in the same order, and ends for the same reason. Finished texts leave, and the others do not depend
on them. Each pass ends at a different $n$, since a text of $n$ tokens is given one more or leaves; the first is
$\min_b m_b$, and the last token of a text of $m_b + N_b$ tokens is chosen at $n = m_b + N_b - 1$. $\blacksquare$

When all texts that are left are still within their prompts, $n$ jumps to the end of the shortest, in one chunk.

>>> prompts = [[1, 2, 3, 4, 5], [6], [7, 8]]
>>> together = generate_batch(model, prompts, 4, rng=[np.random.default_rng(i) for i in range(3)])
>>> together == [list(generate(model, p, 4, rng=np.random.default_rng(i))) for i, p in enumerate(prompts)]
True

## A conversation

The next turn's prompt begins with all that has been said. A cache that is kept between calls remembers which tokens it
holds; `generate` compares them with the prompt, takes back what differs (`attention.cache-truncate`), and computes the
rest. One row at least has to be computed, for the scores.

>>> cache = model.new_cache()
>>> said = [1, 2, 3]
>>> said += generate(model, said, 4, temperature=0, cache=cache)
>>> cache.ids == said[:-1], cache.common([*said, 4, 5])
(True, 6)

## In practice

Servers let texts join and leave a running batch at every step (G. Yu and others, 2022), each at a position of its own,
and mix chunks of new prompts into the steps of old texts; a batch filled up on the left is common in scripts, and exact
only with positions counted from each text's own beginning. `generate_batch` is at its best when prompts are of similar
length. Models with sliding-window attention need no (E1), since they never look farther (`attention.cache-window`);
G. Xiao and others (2024) drop the middle, keep the first tokens, and change positions. Prompts are computed in chunks
since the scores of a long one, all pairs at once, would fill the memory of an untiled attention.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from fp_attention.kv_cache import KVCache
from fp_autograd.tracing import value_of
from fp_markov.counting import check_integer
from fp_transformer.decoding import Real, StopMatcher, Stops, check_prompt, check_settings, choose

__all__ = ["Cache", "window_start", "generate", "generate_batch"]


class Cache:
    """
    The caches of all layers of a model, and which tokens they hold.

    Parameters
    ----------
    layers
        A cache of keys and values for each block, equally long. `Transformer.new_cache` makes them.

    Attributes
    ----------
    layers : list of KVCache
        As given.
    ids : list of int
        The tokens that `generate` put in, for one text: what a later call need not compute again.

    Raises
    ------
    ValueError
        If there is no layer.

    Examples
    --------
    >>> cache = Cache([KVCache(1, 1, 2, capacity=8)])
    >>> cache.length, cache.capacity
    (0, 8)
    """

    def __init__(self, layers: Iterable[KVCache]) -> None:
        self.layers = list(layers)
        if not self.layers:
            raise ValueError("a cache has a part for each layer of a model, got none")
        self.ids: list[int] = []

    @property
    def length(self) -> int:
        """How many tokens have been seen, and the position of the next."""
        return self.layers[0].length

    @property
    def capacity(self) -> int:
        """For how many tokens there is room."""
        return min(layer.capacity for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values take (`attention.cache-memory`), free room included."""
        return sum(layer.nbytes for layer in self.layers)

    def common(self, ids: Sequence[int]) -> int:
        """
        How many tokens at the beginning of a text the cache holds.

        Parameters
        ----------
        ids
            The text.

        Returns
        -------
        int
            The length of the longest common beginning.
        """
        held = self.ids[: min(layer.length for layer in self.layers)]
        n = min(len(held), len(ids))
        if held[:n] == list(ids[:n]):
            return n
        return next(i for i in range(n) if held[i] != ids[i])

    def truncate(self, length: int) -> None:
        """
        Forget the tokens from the position `length` on (`attention.cache-truncate`).

        Parameters
        ----------
        length
            How many tokens are left.

        Raises
        ------
        ValueError
            If there are fewer.
        """
        for layer in self.layers:
            layer.truncate(length)
        del self.ids[length:]

    def reorder(self, rows: Any) -> None:
        """
        Let row b become a copy of row `rows[b]`; the number of rows may change.

        Parameters
        ----------
        rows
            Indices of rows.
        """
        for layer in self.layers:
            layer.reorder(rows)
        self.ids = []

    def clear(self) -> None:
        """Forget every token, and keep the memory."""
        for layer in self.layers:
            layer.clear()
        self.ids = []

    def check(self, model: Any) -> None:
        """
        See to it that a model gets a cache of its own.

        Parameters
        ----------
        model
            What is about to use it.

        Raises
        ------
        ValueError
            If another model made it.
        """
        own = model.new_cache(1, 1)
        if [id(layer.owner) for layer in self.layers] != [id(layer.owner) for layer in own.layers]:
            raise ValueError(
                "a cache holds the keys of the model that made it, and this one was made by another: use "
                "model.new_cache() of the model that generates"
            )


def window_start(n: int, context: int) -> int:
    r"""
    How many tokens at the beginning of a text a model does not see: $\sigma(n)$ of (E1).

    Parameters
    ----------
    n
        Tokens of the text.
    context
        $T$, positions of the model.

    Returns
    -------
    int
        A multiple of half the context, rounded up.

    Examples
    --------
    >>> window_start(100, 100), window_start(101, 100)
    (0, 50)
    """
    r = context - context // 2
    return r * -(-max(n - context, 0) // r)


def generate(
    model: Any,
    prompt_ids: Sequence[int] | np.ndarray,
    max_new_tokens: int,
    *,
    rng: np.random.Generator | None = None,
    temperature: Real = 1.0,
    top_k: int | None = None,
    top_p: Real | None = None,
    min_p: Real | None = None,
    stop: Stops = (),
    on_overflow: Literal["slide", "error"] = "slide",
    prefill_chunk: int | None = None,
    cache: Cache | None = None,
) -> Iterator[int]:
    """
    Continue a prompt, and give each new token as soon as it can be shown.

    Parameters
    ----------
    model
        A `Transformer`, or anything with its `config`, `forward` and `new_cache`.
    prompt_ids
        At least one token.
    max_new_tokens
        How many tokens to choose at most.
    rng
        One uniform number is taken for each token; not needed at temperature zero.
    temperature, top_k, top_p, min_p
        As for `fp_transformer.decoding.choose`.
    stop
        Ids, and sequences of ids, that end the text. They are not given out, and what may belong to one is given out
        when it is known that it does not (`transformer.stop-incremental`).
    on_overflow
        When the text outgrows the context: `"slide"` forgets its older half (`transformer.slide`), `"error"` refuses
        before any work if prompt and `max_new_tokens` would not fit.
    prefill_chunk
        The prompt is computed in chunks of that many tokens, which takes less memory; all at once by default.
    cache
        Of `model.new_cache()`, kept between calls: the beginning that it shares with the prompt is not computed again.
        It holds one text. It must not be used for anything else while tokens are being drawn from here.

    Returns
    -------
    iterator of int
        The new tokens. Arguments are checked at the call, work is done when a token is asked for.

    Raises
    ------
    ValueError
        If a setting lies outside its range, the text will not fit into the context or the cache, the cache is of
        another model, or the model is in training mode with dropout.
    TypeError
        If ids are no integers, or a generator is missing.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> from fp_transformer.model import Transformer
    >>> config = TransformerConfig.gpt2(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
    >>> len(list(generate(model, [1, 2], 20, rng=np.random.default_rng(0), temperature=0.7, top_p=0.9)))
    20
    """
    T, V = model.config.context_length, model.config.vocab_size
    text = check_prompt(prompt_ids, V, "generate")
    check_settings(V, rng, temperature, top_k, top_p, min_p)
    matcher = StopMatcher(stop)
    N = check_run(model, [text], max_new_tokens, on_overflow)
    if prefill_chunk is not None and check_integer(prefill_chunk, "prefill_chunk") < 1:
        raise ValueError(f"prefill_chunk is the number of tokens in a chunk, at least 1, got {prefill_chunk}")
    needed = min(T, len(text) + max(N, 1) - 1)
    if cache is None:
        cache = model.new_cache(1, needed)
    else:
        cache.check(model)
        if cache.capacity < needed:
            raise ValueError(
                f"this text needs a cache with room for {needed} tokens, got one for {cache.capacity}: make it with "
                "model.new_cache(), which takes the whole context"
            )
    return _stream(model, text, N, matcher, cache, prefill_chunk, rng, (temperature, top_k, top_p, min_p))


def _stream(
    model: Any,
    text: list[int],
    N: int,
    matcher: StopMatcher,
    cache: Cache,
    chunk: int | None,
    rng: np.random.Generator | None,
    settings: tuple[Any, ...],
) -> Iterator[int]:
    T = model.config.context_length
    start = window_start(len(text), T)
    seen = text[start:]
    cache.truncate(min(cache.common(seen), len(seen) - 1))
    new = seen[cache.length :]
    for left in range(N, 0, -1):
        token = choose(feed(model, np.array([new]), cache, chunk)[0], rng, *settings)
        text.append(token)
        yield from matcher.push(token)
        if matcher.stopped:
            return
        new = [token]
        if window_start(len(text), T) != start and left > 1:
            start = window_start(len(text), T)
            cache.clear()
            new = text[start:]
    yield from matcher.held


def feed(model: Any, ids: Int[np.ndarray, "B T"], cache: Cache, chunk: int | None = None) -> Float[np.ndarray, "B V"]:
    """
    Compute tokens into a cache.

    Parameters
    ----------
    model, cache
        As for `generate`.
    ids
        The next tokens of each text.
    chunk
        How many at a time; all by default.

    Returns
    -------
    ndarray
        The scores after the last.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> from fp_transformer.model import Transformer
    >>> config = TransformerConfig.gpt2(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
    >>> cache = model.new_cache()
    >>> feed(model, np.array([[1, 2, 3]]), cache, chunk=2).shape, cache.ids
    ((1, 7), [1, 2, 3])
    """
    chunk = chunk or ids.shape[1]
    for i in range(0, ids.shape[1], chunk):
        logits = model.forward(ids[:, i : i + chunk], cache=cache, last=True)
        if len(ids) == 1:
            cache.ids += ids[0, i : i + chunk].tolist()
    return value_of(logits)[:, -1]


def check_run(model: Any, prompts: list[list[int]], max_new_tokens: int, on_overflow: str) -> int:
    """
    See to it that a model can continue some prompts.

    Parameters
    ----------
    model, max_new_tokens, on_overflow
        As for `generate`.
    prompts
        Lists of ids.

    Returns
    -------
    int
        `max_new_tokens` as Python's own integer.

    Raises
    ------
    ValueError, TypeError
        As `generate`.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> from fp_transformer.model import Transformer
    >>> config = TransformerConfig.gpt2(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> check_run(Transformer(config), [[1, 2, 3]], 6, "error")
    6
    """
    N, T = check_integer(max_new_tokens, "max_new_tokens"), model.config.context_length
    if N < 0:
        raise ValueError(f"max_new_tokens is zero or more, got {N}")
    if on_overflow not in ("slide", "error"):
        raise ValueError(f"on_overflow is 'slide' or 'error', got {on_overflow!r}")
    longest = max(map(len, prompts))
    if on_overflow == "error" and longest + max(N, 1) - 1 > T:  # the last token is not looked at
        raise ValueError(
            f"a prompt of {longest} tokens and {N} new ones do not fit into the context of {T}: shorten one of them, "
            "or let the text slide with on_overflow='slide'"
        )
    if getattr(model, "training", False) and getattr(model.config, "dropout", 0):
        raise ValueError(
            f"the model is in training mode and would drop {model.config.dropout:.0%} of its activations: call "
            "model.eval() before generating"
        )
    return N


def generate_batch(
    model: Any,
    prompts: Sequence[Sequence[int] | np.ndarray],
    max_new_tokens: int,
    *,
    rng: np.random.Generator | Sequence[np.random.Generator] | None = None,
    temperature: Real = 1.0,
    top_k: int | None = None,
    top_p: Real | None = None,
    min_p: Real | None = None,
    stop: Stops = (),
    on_overflow: Literal["slide", "error"] = "slide",
) -> list[list[int]]:
    """
    Continue several prompts at once (`transformer.batch-exact`).

    Parameters
    ----------
    model
        As for `generate`.
    prompts
        Token ids of each, at least one; their lengths may differ.
    max_new_tokens
        How many tokens to choose at most, for each.
    rng
        A generator for each prompt, or one from which as many are spawned; not needed at temperature zero.
    temperature, top_k, top_p, min_p, stop, on_overflow
        As for `generate`.

    Returns
    -------
    list of list of int
        The new tokens of each prompt, without the stop.

    Raises
    ------
    ValueError, TypeError
        As `generate`, and if there is no prompt, or the generators are not as many.

    Examples
    --------
    >>> from fp_transformer.config import TransformerConfig
    >>> from fp_transformer.model import Transformer
    >>> config = TransformerConfig.gpt2(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
    >>> model = Transformer(config, rng=np.random.default_rng(0)).eval()
    >>> [len(new) for new in generate_batch(model, [[1, 2, 3], [4]], 5, temperature=0)]
    [5, 5]
    """
    T, V = model.config.context_length, model.config.vocab_size
    texts = [check_prompt(p, V, "generate_batch") for p in prompts]
    if not texts:
        raise ValueError("generate_batch continues one prompt or more, got none")
    rngs: list[Any] = [None] * len(texts)
    if rng is not None:
        rngs = rng.spawn(len(texts)) if isinstance(rng, np.random.Generator) else list(rng)
    if len(rngs) != len(texts):
        raise ValueError(f"each prompt needs a generator of its own, got {len(rngs)} for {len(texts)} prompts")
    for one in rngs:
        check_settings(V, one, temperature, top_k, top_p, min_p)
    matchers = [StopMatcher(stop) for _ in texts]
    N = check_run(model, texts, max_new_tokens, on_overflow)
    ends = [len(text) + N for text in texts]
    shown: list[list[int]] = [[] for _ in texts]
    if N == 0:
        return shown
    rows = list(range(len(texts)))  # the unfinished
    cache, start = model.new_cache(len(rows), min(T, max(ends) - 1)), 0
    while True:
        n = min(len(texts[b]) for b in rows)
        if window_start(n, T) != start:
            start = window_start(n, T)
            cache.clear()
        ids = np.array([texts[b][start + cache.length : n] for b in rows])
        logits = feed(model, ids, cache)
        for row, b in enumerate(rows):
            if len(texts[b]) == n:
                token = choose(logits[row], rngs[b], temperature, top_k, top_p, min_p)
                texts[b].append(token)
                shown[b] += matchers[b].push(token)
        going = [row for row, b in enumerate(rows) if not matchers[b].stopped and len(texts[b]) < ends[b]]
        if not going:
            break
        if len(going) < len(rows):
            cache.reorder(going)
            rows = [rows[row] for row in going]
    return [s + m.held for s, m in zip(shown, matchers, strict=True)]
