r"""
The explosion of contexts.

Level: concept. You need `fp_markov.counting`.

A model of order $n$ looks at $n - 1$ tokens and keeps a row of probabilities for each such context. How many contexts
could there be, and how many of them can a text possibly have shown? Guess first: a library of a billion words, a
vocabulary of fifty thousand. At which order does the text, however well chosen, fail to show every context even once?

Then write the answers as formulas, exact whole numbers for any size. You learn why counting stops at a handful of
tokens, whatever the computer, and why it must be helped by models that share what they learn between contexts.
"""

from typing import Any

import numpy as np

HINTS = (
    "Order n means n - 1 tokens of context. Each of the n - 1 places can hold any of the V tokens: do the choices add "
    "or multiply?",
    "How many windows of n neighbouring tokens does a text of T tokens have? Try T = 5 and n = 2 on paper. Each window "
    "shows one context, and a text cannot show more contexts than there are.",
    "Python's own integers never overflow, NumPy's do at `2**63`. For `unseen_from` try the orders from 1 up; for "
    "`shortest` solve `T - n + 1 = V**(n - 1)` for T.",
)


def count_contexts(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    """
    Answer six questions on the contexts of a model and those of a text, in exact integers.

    Parameters
    ----------
    vocab_size
        Number of different tokens V, at least 2.
    n_tokens
        Tokens T of a text, at least `order`.
    order
        Order n of the model, at least 1: it predicts a token from the n - 1 before it.

    Returns
    -------
    dict
        One answer for each name:

        - `"possible"`: the number of different contexts of the model.
        - `"shown"`: at most how many of them a text of `n_tokens` tokens shows, each with a token after it.
        - `"free"`: how many probabilities of a complete model can be chosen freely, given that those after each context
          sum to one.
        - `"bytes"`: the size of a table with one number of 4 bytes for every context and every token after it.
        - `"shortest"`: the length in tokens of the shortest text that shows every possible context with a token after
          it. Texts that show each exactly once exist (de Bruijn sequences), so counting windows is enough.
        - `"unseen_from"`: the lowest order at which a text of `n_tokens` tokens is certain to leave some context
          unshown. It does not depend on `order`, and it may be larger.

    Examples
    --------
    Order 1 predicts from nothing at all, which is one context:

    >>> answers = count_contexts(vocab_size=27, n_tokens=1000, order=1)
    >>> answers["possible"], answers["shown"]
    (1, 1)
    >>> sorted(answers)
    ['bytes', 'free', 'possible', 'shortest', 'shown', 'unseen_from']
    """
    V, T, n = vocab_size, n_tokens, order
    possible = V ** (n - 1)
    unseen_from = 1
    while V ** (unseen_from - 1) <= T - unseen_from + 1:
        unseen_from += 1
    return {
        "possible": possible,
        "shown": min(possible, T - n + 1),
        "free": possible * (V - 1),
        "bytes": 4 * possible * V,
        "shortest": possible + n - 1,
        "unseen_from": unseen_from,
    }


_WHY = {
    "possible": "Each of the n - 1 places of a context holds any of the V tokens, and independent choices multiply.",
    "shown": "Every window of n neighbouring tokens shows one context and a token after it; a text of T tokens has "
    "T - n + 1 windows, and it cannot show more contexts than there are.",
    "free": "After each context V probabilities sum to one: when all but one are chosen, the last is settled.",
    "bytes": "The table has a row for each context and a column for each of the V tokens, 4 bytes a cell.",
    "shortest": "Every context needs a window of its own, and a text of T tokens has T - n + 1 windows.",
    "unseen_from": "A context is certain to be missing once there are more contexts, V ** (n - 1), than windows, "
    "T - n + 1.",
}

PROBES = ((27, 1000, 3), (27, 1000, 1), (2, 12, 4), (2, 11, 4), (50_257, 10**9, 5), (3, 10, 3), (3, 5, 2))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for V, T, n in PROBES:
        got = learner.count_contexts(V, T, n)
        assert isinstance(got, dict), f"expected a dict of six whole numbers, got {got!r:.80}"
        for key, expected in count_contexts(V, T, n).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert isinstance(got[key], (int, np.integer)) and int(got[key]) == expected, (
                f"{V} tokens in the vocabulary, {T} in the text, order {n}: {key!r} is the whole number {expected}; "
                f"got {got[key]!r:.80}. {_WHY[key]}"
            )


def _choices_add(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    possible = vocab_size * (order - 1)
    return {**count_contexts(vocab_size, n_tokens, order), "possible": possible, "bytes": 4 * possible * vocab_size}


def _context_as_long_as_order(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    return count_contexts(vocab_size, n_tokens, order + 1)


def _every_position_counts(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    answers = count_contexts(vocab_size, n_tokens, order)
    shown, shortest, unseen_from = min(answers["possible"], n_tokens), answers["possible"], 1
    while vocab_size ** (unseen_from - 1) <= n_tokens:
        unseen_from += 1
    return {**answers, "shown": shown, "shortest": shortest, "unseen_from": unseen_from}


def _no_token_after(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    answers = count_contexts(vocab_size, n_tokens, order)
    return {
        **answers,
        "shown": min(answers["possible"], n_tokens - order + 2),
        "shortest": answers["possible"] + order - 2,
    }


def _more_than_there_are(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    return {**count_contexts(vocab_size, n_tokens, order), "shown": n_tokens - order + 1}


def _all_free(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    return {**count_contexts(vocab_size, n_tokens, order), "free": vocab_size**order}


def _one_number_a_context(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    answers = count_contexts(vocab_size, n_tokens, order)
    return {**answers, "bytes": 4 * answers["possible"]}


def _overflowing(vocab_size: int, n_tokens: int, order: int) -> dict[str, int]:
    answers = count_contexts(vocab_size, n_tokens, order)
    return {key: (value + 2**63) % 2**64 - 2**63 for key, value in answers.items()}


MISTAKES = (
    (
        _choices_add,
        "You add the choices, V for each place of the context. They multiply: every token can follow every other.",
    ),
    (
        _context_as_long_as_order,
        "You give a model of order n a context of n tokens. The n-gram has n tokens, the last of which is predicted: "
        "n - 1 are left for the context.",
    ),
    (
        _every_position_counts,
        "You count a context at every token. The first n - 1 tokens have fewer than n - 1 tokens before them, so "
        "T - n + 1 windows remain.",
    ),
    (
        _no_token_after,
        "You count the context at the very end of the text, after which no token comes. It has nothing to teach: the "
        "window must hold n tokens.",
    ),
    (
        _more_than_there_are,
        "You count windows, and a long text has more windows than there are contexts. It shows the same ones again: "
        "take the smaller number.",
    ),
    (
        _all_free,
        "You count every probability as free. Those after one context sum to one, so the last of them is settled.",
    ),
    (_one_number_a_context, "You store one number for each context. A row holds a number for each of the V tokens."),
    (
        _overflowing,
        "Your numbers wrapped around at `2**63`, as NumPy's 64-bit integers do. Compute with Python's own integers.",
    ),
)
