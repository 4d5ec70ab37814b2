r"""
Building a trigram model.

Level: implement. You need `fp_markov.counting` up to `markov.counting-is-mle`.

A trigram model predicts the next token from the last two. Its maximum-likelihood estimate is a relative frequency: of
all the times that the pair $ab$ was followed by some token, in which share was it $w$? Write the function that turns a
text into these distributions, one for each pair that has a next token.

This is a language model in full, and what a large one does too: given a context, it returns a distribution over the
vocabulary. The large one computes it from the context with shared parameters; this one keeps a table, and so has
nothing to say about a pair that it has never seen.

Two things to get right. The result is *conditional*: each distribution sums to one by itself. And a text has edges: its
last pair has no next token, and its end is not followed by its beginning.

A dictionary and one pass over the text are fine here. `fp_markov.counting` shows how to do it without a Python step for
a token.
"""

from itertools import pairwise
from typing import Any

import numpy as np

HINTS = (
    "How many trigrams has a text of T tokens? List them for the text 0 1 0 1 2 0 1 on paper, grouped by their first "
    "two tokens.",
    "Count first, divide at the end. A dictionary can hold a row of `vocab_size` counts for each pair: what does one "
    "trigram change in it, and what if its pair is new? By which number must a row be divided to sum to one?",
    "Walk over `zip(ids[:-2], ids[1:-1], ids[2:])`: two tokens of context and the one that follows. Give each pair a "
    "row of zeros when you first meet it, and add one at the token that follows. At the end divide each row by its own "
    "sum, which counts how often the pair was followed by a token.",
)


def trigram(ids: np.ndarray, vocab_size: int) -> dict[tuple[int, int], np.ndarray]:
    """
    Maximum-likelihood distribution of the next token after every pair of tokens.

    Parameters
    ----------
    ids
        A text: token ids, integers in `[0, vocab_size)`, shape `(T,)`.
    vocab_size
        V, the number of tokens that could occur.

    Returns
    -------
    dict
        For each pair `(a, b)` of neighbours in the text that is followed by a token at least once: an array of shape
        `(V,)` whose entry `w` is the probability that `w` follows `a b`. A text shorter than three tokens gives an
        empty dictionary.

    Examples
    --------
    After 0 1 came 0 once and 2 once; after 2 0 came 1. The 0 1 at the end is followed by nothing:

    >>> model = trigram(np.array([0, 1, 0, 1, 2, 0, 1]), vocab_size=3)
    >>> sorted(model)
    [(0, 1), (1, 0), (1, 2), (2, 0)]
    >>> model[0, 1].tolist(), model[2, 0].tolist()
    ([0.5, 0.0, 0.5], [0.0, 1.0, 0.0])
    """
    counts: dict[tuple[int, int], np.ndarray] = {}
    for a, b, w in zip(ids[:-2].tolist(), ids[1:-1].tolist(), ids[2:].tolist(), strict=True):
        counts.setdefault((a, b), np.zeros(vocab_size))[w] += 1
    return {context: row / row.sum() for context, row in counts.items()}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    random_text = np.random.default_rng(5).integers(0, 5, size=97)
    for ids, V in (
        (np.array([0, 1, 0, 1, 2, 0, 1]), 3),
        (np.array([3, 0, 2]), 5),
        (np.array([4, 1]), 5),
        (np.array([], dtype=np.int64), 5),
        (random_text, 7),
    ):
        text = f"the text {ids.tolist()}" if len(ids) < 10 else f"a random text of {len(ids)} tokens"
        contexts = set(zip(ids[:-2].tolist(), ids[1:-1].tolist(), strict=True))
        got = learner.trigram(ids.copy(), V)
        assert isinstance(got, dict), (
            f"expected a dict from pairs (a, b) to arrays, got {type(got).__name__}: {got!r:.80}"
        )
        missing = sorted(contexts - set(got))
        assert not missing, (
            f"{text} needs a distribution after {missing[0]}, because there a token follows these two, in this order; "
            f"yours has the contexts {list(got)[:9]!r:.200}"
        )
        extra = [context for context in got if context not in contexts]
        around = set(pairwise([*ids[-2:].tolist(), *ids[:1].tolist()]))  # the last pair; last and first token
        assert not extra, (
            f"in {text} no token ever follows {extra[0]!r:.80}, so there is nothing to estimate, but your "
            "dictionary has this context. "
            + (
                "A text's last pair has no next token, and its end is not followed by its beginning."
                if around.issuperset(extra)
                else "Leave such pairs out."
            )
        )
        for a, b in sorted(contexts):
            row = got[a, b]
            assert isinstance(row, np.ndarray) and row.dtype.kind in "iuf" and row.shape == (V,), (
                f"expected an array of {V} numbers after {(a, b)}, one for each token of the vocabulary, "
                f"got {row!r:.80}"
            )
            followers = ids[2:][(ids[:-2] == a) & (ids[1:-1] == b)]
            expected = np.bincount(followers, minlength=V) / len(followers)
            assert np.allclose(row, expected, rtol=0, atol=1e-9), (
                f"in {text} the pair {(a, b)} is followed by the tokens {followers.tolist()}, so the next token has "
                f"the distribution {expected.round(3).tolist()}, with sum 1; got {row.round(3).tolist()}, with sum "
                f"{row.sum():.3g}"
            )


def _joint(ids: np.ndarray, vocab_size: int) -> dict[tuple[int, int], np.ndarray]:
    counts: dict[tuple[int, int], np.ndarray] = {}
    for a, b, w in zip(ids[:-2].tolist(), ids[1:-1].tolist(), ids[2:].tolist(), strict=True):
        counts.setdefault((a, b), np.zeros(vocab_size))[w] += 1
    return {context: row / (len(ids) - 2) for context, row in counts.items()}


def _divides_by_all_pairs(ids: np.ndarray, vocab_size: int) -> dict[tuple[int, int], np.ndarray]:
    pairs = list(zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True))
    counts: dict[tuple[int, int], np.ndarray] = {}
    for context, w in zip(pairs[:-1], ids[2:].tolist(), strict=False):
        counts.setdefault(context, np.zeros(vocab_size))[w] += 1
    return {context: row / pairs.count(context) for context, row in counts.items()}


def _divides_by_the_last_token(ids: np.ndarray, vocab_size: int) -> dict[tuple[int, int], np.ndarray]:
    text = ids.tolist()
    counts: dict[tuple[int, int], np.ndarray] = {}
    for a, b, w in zip(text[:-2], text[1:-1], text[2:], strict=True):
        counts.setdefault((a, b), np.zeros(vocab_size))[w] += 1
    return {(a, b): row / text.count(b) for (a, b), row in counts.items()}


def _wraps_around(ids: np.ndarray, vocab_size: int) -> dict[tuple[int, int], np.ndarray]:
    return trigram(np.concatenate([ids, ids[:2]]), vocab_size)


def _latest_token_first(ids: np.ndarray, vocab_size: int) -> dict[tuple[int, int], np.ndarray]:
    return {(b, a): row for (a, b), row in trigram(ids, vocab_size).items()}


def _reads_backwards(ids: np.ndarray, vocab_size: int) -> dict[tuple[int, int], np.ndarray]:
    return trigram(ids[::-1], vocab_size)


def _keeps_the_last_pair(ids: np.ndarray, vocab_size: int) -> dict[tuple[int, int], np.ndarray]:
    pairs = zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True)
    return {pair: np.zeros(vocab_size) for pair in pairs} | trigram(ids, vocab_size)


MISTAKES = (
    (
        _joint,
        "You divide by the number of trigrams in the text. That is the joint probability of all three tokens; the "
        "model needs the conditional one, so each pair's counts are divided by their own sum.",
    ),
    (
        _divides_by_all_pairs,
        "You divide by how often the pair occurs anywhere. The pair that ends the text has no next token there, so its "
        "distribution sums to less than one: count only the pairs that a token follows.",
    ),
    (
        _divides_by_the_last_token,
        "You divide by the count of the single token in front. Given two tokens of context, divide by the count of the "
        "two together.",
    ),
    (
        _wraps_around,
        "You let the beginning of the text follow its end, as `np.roll` does. Nobody wrote that: T tokens hold T - 2 "
        "trigrams.",
    ),
    (_latest_token_first, "Your contexts stand in reverse. A context (a, b) reads as the text does: a comes before b."),
    (
        _reads_backwards,
        "You read the text from its end, so each row tells which token stands in front of the pair. A language model "
        "predicts the one that comes after it: read forwards.",
    ),
    (
        _keeps_the_last_pair,
        "You list a pair that no token follows; its row of zeros is no distribution. A pair becomes a context when "
        "something follows it.",
    ),
)

PROBES = (
    (np.array([0, 1, 0, 1, 2, 0, 1]), 3),
    (np.array([1, 1, 0, 2]), 3),
)
