r"""
The best model under a memory budget.

Level: project. You need `fp_markov.counting`, `fp_markov.kneser_ney` and a free afternoon.

A model of order 5 predicts well and is large: most of its n-grams were seen once or twice. A model of order 2 is small
and predicts badly. You get a text and a number of bytes. Build the model that predicts new text of the same kind best
and is no larger.

Every model here has one form, so that its size can be measured and its losses computed by somebody else. It is a list;
item $n - 1$ is a pair of arrays `(grams, shares)` for the n-grams of length $n$. `grams` holds token ids, one n-gram a
row; `shares` holds one number $s$ for each of them, and an n-gram that is not listed has $s = 0$. With $c'$ for the
context $c$ without its first token,

$$P_n(w \mid c) = s(cw) + \Big( 1 - \sum_v s(cv) \Big) P_{n-1}(w \mid c'), \qquad P_0(w) = \frac1V. \qquad \text{(E1)}$$

Whatever you list, $P_n$ sums to one: what the listed n-grams of a context leave over goes to the shorter context. All
shares must be zero or more, and those of one context must not add up to more than one. The model's size is that of its
arrays, `grams.nbytes + shares.nbytes` over all items, so their types are your choice too.

You decide the orders, the smoothing (which sets the shares), and above all which n-grams are worth their bytes. The
grader builds a model of nine tenths of the language reference that Python carries (`pydoc_data.topics`, as characters)
in 80,000 bytes and scores it on the last tenth. Two complete modified Kneser-Ney models set the mark: the one of the
largest order that fits the budget at one byte a token and two a share, and the one two orders above it, which does not
fit. Close at least half of the distance between their losses. The model answer closes more; how much can you?

What you practise is everything before it, and one thing more: a model is worth what it saves on text *per byte*. The
choice made here by counting is made for neural networks too, when they are pruned and quantised.
"""

from collections.abc import Callable
from functools import cache
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from fp_markov.counting import count_ngrams
from fp_markov.kneser_ney import modified_kneser_ney
from fp_markov.ngram import NGramModel
from fp_markov.smoothing import below, context_totals

HINTS = (
    "Begin with a complete model of a low order. `modified_kneser_ney(count_ngrams(...))` gives the probability p of "
    "each n-gram and the back-off weight of each context; then s(cw) = p(cw) - backoff(c) * p(c'w), where `below` of "
    "`fp_markov.smoothing` computes p(c'w). Token ids below 256 fit into one byte, shares into two (`np.float16`; "
    "round them down, or those of one context may add up to more than one).",
    "Now list fewer n-grams of a higher order. What does an n-gram save on the text that was counted? It occurs N "
    "times; with it the token costs -ln p, without it the share falls to the shorter context and the token costs "
    "-ln((backoff(c) + s) p(c'w)). Some n-grams save next to nothing, however frequent they are.",
    "Divide what each n-gram saves, N ln(p / ((backoff + s) p(c'w))), by its bytes, n + 2; sort all n-grams of all "
    "lengths together and keep the first that fit. Choose the order on the last tenth of the text that you were "
    "given; `_log_prob(model, vocab_size, ids)` in this exercise's own module computes (E1).",
)


def build(train: np.ndarray, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    The n-grams worth keeping, and the share of probability that each takes.

    Parameters
    ----------
    train
        A text of at least 100 tokens: ids in `[0, vocab_size)`, shape `(T,)`.
    vocab_size
        V, the number of tokens that could occur.
    budget
        The largest size of the model in bytes, `sum(grams.nbytes + shares.nbytes for grams, shares in model)`.

    Returns
    -------
    list of (grams, shares)
        Item `n - 1` describes the n-grams of length n, `G` of them, where `G` may be 0: `grams` of an integer type and
        shape `(G, n)`, no row twice; `shares` of a floating type and shape `(G,)`. V to the power of the highest
        order must stay below `2**63`.

    Examples
    --------
    >>> model = build(np.array([0, 1, 0, 1, 2] * 20), vocab_size=3, budget=30)
    >>> sum(grams.nbytes + shares.nbytes for grams, shares in model) <= 30
    True
    >>> all(grams.shape == (len(shares), n) for n, (grams, shares) in enumerate(model, 1))
    True
    """
    cut = len(train) - len(train) // 10

    def loss(order: int) -> float:
        model = _pruned(train[:cut], vocab_size, budget, order, _saving)
        return float(-_log_prob(model, vocab_size, train[cut:]).mean())

    return _pruned(train, vocab_size, budget, min(range(1, 7), key=loss), _saving)


_Value = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _saving(counts: np.ndarray, p: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Nats that each n-gram saves on the counted text, from its probability with it and without it in the model."""
    return counts * np.log(p / without)


def _pruned(
    train: np.ndarray, vocab_size: int, budget: float | int, order: int, value: _Value
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Modified Kneser-Ney without the n-grams of the lowest value for each byte."""
    levels = count_ngrams(train, order, vocab_size)
    token = np.min_scalar_type(vocab_size - 1)
    grams, lower = np.empty((1, 0), token), None
    tables: list[tuple[np.ndarray, np.ndarray]] = []
    values: list[np.ndarray] = []
    costs: list[np.ndarray] = []
    for n, (level, weights) in enumerate(zip(levels, modified_kneser_ney(levels), strict=True), 1):
        p, rest, shorter = weights.probability, weights.backoff[level.contexts], below(level, lower)
        share = np.maximum(p - rest * shorter, 0)
        small = share.astype(np.float16)
        small = np.where(small > share, np.nextafter(small, np.float16(0)), small)  # down: something must be left over
        grams = np.column_stack((grams[level.contexts], level.tokens.astype(token)))
        tables.append((grams, small))
        cost = n * token.itemsize + small.itemsize
        values.append(value(level.counts, p, (rest + share) * shorter) / cost)
        costs.append(np.full(len(p), cost))
        lower = weights
    ranked = np.argsort(-np.concatenate(values), kind="stable")
    keep = np.zeros(len(ranked), bool)
    keep[ranked[np.cumsum(np.concatenate(costs)[ranked]) <= budget]] = True
    kept = np.split(keep, np.cumsum([len(shares) for _, shares in tables])[:-1])
    return [(grams[k], shares[k]) for (grams, shares), k in zip(tables, kept, strict=True)]


def _log_prob(model: list[tuple[np.ndarray, np.ndarray]], vocab_size: int, ids: np.ndarray) -> np.ndarray:
    """Log-probability (E1) of every token of a text, in nats."""
    V, ids = vocab_size, ids.astype(np.int64)
    P = np.full(len(ids), 1 / V)
    for n, (grams, shares) in enumerate(model, 1):
        powers = V ** np.arange(n, dtype=np.int64)[::-1]
        if len(shares) == 0 or n > len(ids):
            continue
        keys = grams.astype(np.int64) @ powers
        ranked = np.argsort(keys)
        keys, s = keys[ranked], shares[ranked].astype(np.float64)
        contexts, of = np.unique(keys // V, return_inverse=True)
        rest = np.maximum(1 - np.bincount(of, s), 0)
        wanted = np.lib.stride_tricks.sliding_window_view(ids, n) @ powers
        c = np.minimum(np.searchsorted(contexts, wanted // V), len(contexts) - 1)
        g = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        P[n - 1 :] *= np.where(contexts[c] == wanted // V, rest[c], 1)
        P[n - 1 :] += np.where(keys[g] == wanted, s[g], 0)
    with np.errstate(divide="ignore"):
        return np.log(P)


@cache
def _reference_manual() -> tuple[np.ndarray, np.ndarray]:
    """Python's language reference as characters, the first nine tenths and the last."""
    text = "\n".join(topics[name] for name in sorted(topics))
    ids = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    cut = len(ids) - len(ids) // 10
    return ids[:cut], ids[cut:]


@cache
def _generated(V: int, n_tokens: int, seed: int) -> np.ndarray:
    """A text whose every token depends on the two before it."""
    rng = np.random.default_rng(seed)
    rows = np.cumsum(rng.dirichlet(np.full(V, 0.1), size=(V, V)), axis=-1)
    text = [0, 1]
    for u in rng.random(n_tokens - 2):
        text.append(min(int((rows[text[-2], text[-1]] <= u).sum()), V - 1))
    return np.array(text)


def _complete(train: np.ndarray, vocab_size: int, budget: int) -> int:
    """The largest order whose n-grams all fit the budget; 0 if not even the tokens do."""
    token, order = np.min_scalar_type(vocab_size - 1).itemsize, 0
    while True:
        levels = count_ngrams(train, order + 1, vocab_size)
        if sum((n * token + 2) * len(level.keys) for n, level in enumerate(levels, 1)) > budget:
            return order
        order += 1


@cache
def _mark(budget: int) -> tuple[int, float, float]:
    """The complete order that fits, its loss on the manual's last tenth, and the loss two orders above it."""
    train, held_out = _reference_manual()
    order = _complete(train, 128, budget)
    fits, above = (NGramModel(n, vocab_size=128).fit(train).cross_entropy(held_out) for n in (order, order + 2))
    return order, fits, above


PROBES = (
    (_generated(11, 3000, 1), 11, 400),
    (_generated(5, 1000, 2), 5, 120),
    (_generated(7, 2000, 3), 7, 10),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for train, V, budget in PROBES:
        model = _checked(learner.build(train.copy(), V, budget), V, budget)
        assert np.isfinite(_log_prob(model, V, train)).all(), (
            f"expected a positive probability for every token of the text that the model was built from, got zero with "
            f"{V} tokens in the vocabulary and a budget of {budget} bytes. Do some context's shares add up to one?"
        )
    train, held_out = _reference_manual()
    budget = 80_000
    model = _checked(learner.build(train.copy(), 128, budget), 128, budget)
    loss = float(-_log_prob(model, 128, held_out).mean())
    order, fits, above = _mark(budget)
    goal = (fits + above) / 2
    remedy = (
        "Keep the n-grams that save the most nats for each byte."
        if np.isfinite(loss)
        else "An infinite loss means that a token of the text was impossible: some context's shares add up to one."
    )
    assert loss <= goal, (
        f"expected at most {goal:.4f} nats a token on the held-out tenth of Python's language reference, half way from "
        f"{fits:.4f} (all n-grams of order {order}, which fit {budget} bytes) to {above:.4f} (order {order + 2}, which "
        f"does not fit); got {loss:.4f}. {remedy}"
    )


def _checked(model: Any, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The learner's model, after everything that the statement asks of its form."""
    assert isinstance(model, (list, tuple)), f"expected a list of pairs (grams, shares), got {model!r:.80}"
    assert vocab_size ** len(model) < 2**63, f"expected orders n with {vocab_size}**n < 2**63, got {len(model)} orders"
    checked: list[tuple[np.ndarray, np.ndarray]] = []
    for n, pair in enumerate(model, 1):
        assert isinstance(pair, (list, tuple)) and len(pair) == 2, (
            f"item {n - 1} of the model must be a pair (grams, shares), got {pair!r:.80}"
        )
        grams, shares = pair
        assert isinstance(grams, np.ndarray) and grams.dtype.kind in "iu" and grams.shape[1:] == (n,), (
            f"the n-grams of length {n} must be an integer array of shape (G, {n}), got {_kind(grams)}"
        )
        assert isinstance(shares, np.ndarray) and shares.dtype.kind == "f" and shares.shape == (len(grams),), (
            f"the shares of length {n} must be a floating array of shape ({len(grams)},), got {_kind(shares)}"
        )
        assert len(grams) == 0 or (grams.min() >= 0 and grams.max() < vocab_size), (
            f"token ids must lie in [0, {vocab_size}), got {grams.min()} to {grams.max()} at length {n}"
        )
        assert np.isfinite(shares).all() and (shares >= 0).all(), (
            f"shares must be numbers of zero or more, got {shares[~(np.isfinite(shares) & (shares >= 0))][0]} at "
            f"length {n}"
        )
        keys = grams.astype(np.int64) @ (vocab_size ** np.arange(n, dtype=np.int64)[::-1])
        assert len(np.unique(keys)) == len(keys), f"every n-gram may be listed once, got one twice at length {n}"
        total = np.bincount(np.unique(keys // vocab_size, return_inverse=True)[1], shares.astype(np.float64))
        assert (total <= 1 + 1e-9).all(), (  # 1e-9: the rounding of the sum itself
            f"the shares of one context must not add up to more than one, got {total.max():.6f} at length {n}. Did "
            "rounding to a smaller type round them up?"
        )
        checked.append((grams, shares))
    size = sum(grams.nbytes + shares.nbytes for grams, shares in checked)
    assert size <= budget, f"expected a model of at most {budget} bytes, got {size} bytes in its arrays"
    return checked


def _kind(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.80}"


def _all_of_a_low_order(train: np.ndarray, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    order = _complete(train, vocab_size, budget)
    return _pruned(train, vocab_size, budget, order, _saving) if order else []


def _all_of_a_high_order(train: np.ndarray, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return _pruned(train, vocab_size, np.inf, 5, _saving)


def _nothing_left_over(train: np.ndarray, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    model, levels = [], count_ngrams(train, 6, vocab_size)
    for level, (grams, _) in zip(levels, _all_of_a_low_order(train, vocab_size, budget), strict=False):
        relative = level.counts / context_totals(level, level.counts)[level.contexts]
        model.append((grams, np.where(relative == 1, relative, relative - relative % 2**-11).astype(np.float16)))
    return model


def _longest_only(train: np.ndarray, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    model = _all_of_a_low_order(train, vocab_size, budget)
    return [(grams[:0], shares[:0]) for grams, shares in model[:-1]] + model[-1:]


def _most_probable(train: np.ndarray, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return _pruned(train, vocab_size, budget, 5, lambda counts, p, without: p)


def _as_if_seen_once(train: np.ndarray, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return _pruned(train, vocab_size, budget, 5, lambda counts, p, without: np.log(p / without))


def _wide_numbers(train: np.ndarray, vocab_size: int, budget: int) -> list[tuple[np.ndarray, np.ndarray]]:
    model = _pruned(train, vocab_size, budget // 7, 5, _saving)  # 8 (n + 1) bytes an n-gram are at most 7 (n + 2)
    return [(grams.astype(np.int64), shares.astype(np.float64)) for grams, shares in model]


MISTAKES = (
    (
        _all_of_a_low_order,
        "You keep every n-gram of a low order. Many of them tell nothing that the shorter context does not know; their "
        "bytes would buy longer ones that do.",
    ),
    (
        _all_of_a_high_order,
        "You keep every n-gram of a high order, whatever the budget. Most of them were seen once: choose.",
    ),
    (
        _nothing_left_over,
        "Your shares are relative frequencies, so those of one context add up to one and nothing is left for tokens "
        "that never followed it. Discount the counts.",
    ),
    (
        _longest_only,
        "You list the longest n-grams alone. A context that they lack then falls through to the uniform distribution; "
        "the shorter ones are cheap and used at every token.",
    ),
    (
        _most_probable,
        "You keep the n-grams of the highest probability. Rare contexts are full of certainties that rarely matter: "
        "count how often each n-gram is used, and what the shorter context would have said.",
    ),
    (
        _as_if_seen_once,
        "You rank n-grams by what they save each time and forget how many times. Multiply by the count.",
    ),
    (
        _wide_numbers,
        "You store every token id and every share in eight bytes. Ids below 256 fit into one, shares into two; the "
        "same bytes then hold several times as many n-grams.",
    ),
)
