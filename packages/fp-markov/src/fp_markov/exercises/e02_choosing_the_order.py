r"""
Choosing the order from a table of losses.

Level: concept. You need `fp_markov.counting` and the standard error of a mean (`fp_markov.comparison`).

A colleague fitted models of orders 1, 2, 3, … to one text and sends a table: for each order the loss on the text that
it was fitted to, the loss on held-out text with its standard error, and the number of distinct n-grams of that length
in the fitted text. Look at the example below and decide before you write: which order predicts best, which would you
ship, and which of them could you have ruled out without any loss at all, from the counts alone?

One thing to see first: the more a model may condition on, the better it can fit the text that it was fitted to. So a
low loss there is no merit. A low held-out loss is: it falls as long as longer contexts help, and it rises once most of
them have been seen too rarely to be believed.

You learn to read such a table, and to make the rule for the decision before seeing the numbers.
"""

from typing import Any

import numpy as np

from fp_markov.counting import count_ngrams

HINTS = (
    "Row i of the table is order i + 1. The loss on the fitted text answers only one of the five questions.",
    "`best` is the minimum of the held-out losses, the lowest order among equals. `cautious` compares every held-out "
    "loss with one fixed number: the best one plus the standard error in the same row.",
    "A text of T tokens has T - n + 1 n-grams of length n; divide by how many of them are distinct to get how often "
    "each was seen on average.",
)


def choose_order(
    fitted: np.ndarray, held_out: np.ndarray, errors: np.ndarray, distinct: np.ndarray, n_tokens: int, budget: int
) -> dict[str, int]:
    """
    Answer five questions about a table of orders; row `i` of each array is order `i + 1`.

    Parameters
    ----------
    fitted
        Mean loss of each order on the text that it was fitted to, in nats per token.
    held_out
        Mean loss on held-out text, in nats per token.
    errors
        Standard errors of the held-out losses.
    distinct
        Number of distinct n-grams of each length in the fitted text.
    n_tokens
        Tokens of the fitted text.
    budget
        Number of n-grams that fit into memory; a model of order n stores those of lengths 1 to n.

    Returns
    -------
    dict
        One answer for each name:

        - `"best"`: the order with the lowest held-out loss; the lowest of several.
        - `"cautious"`: the lowest order whose held-out loss is at most the best loss plus that one's standard error.
        - `"affordable"`: the best order among those that fit the budget; the lowest of several; 0 if none fits.
        - `"overfits"`: the lowest order that has a lower loss than the order below it on the fitted text and a higher
          one on held-out text; 0 if there is none.
        - `"thin"`: from counts alone, the lowest order whose n-grams occur fewer than twice on average; 0 if there is
          none.

    Examples
    --------
    >>> answers = choose_order(
    ...     fitted=np.array([2.9, 2.3, 1.7, 1.0, 0.4]),
    ...     held_out=np.array([2.9, 2.4, 2.1, 2.0, 2.3]),
    ...     errors=np.array([0.1, 0.1, 0.2, 0.2, 0.3]),
    ...     distinct=np.array([30, 300, 1500, 5000, 8000]),
    ...     n_tokens=12_000,
    ...     budget=1600,
    ... )
    >>> answers["best"]
    4
    >>> sorted(answers)
    ['affordable', 'best', 'cautious', 'overfits', 'thin']
    """
    orders = np.arange(1, len(held_out) + 1)
    best = int(held_out.argmin())  # argmin returns the first of several, which is the lowest order
    close = held_out <= held_out[best] + errors[best]
    fits = np.cumsum(distinct) <= budget
    overfits = (fitted[1:] < fitted[:-1]) & (held_out[1:] > held_out[:-1])
    thin = (n_tokens - orders + 1) / distinct < 2
    return {
        "best": best + 1,
        "cautious": int(orders[close][0]),
        "affordable": int(np.where(fits, held_out, np.inf).argmin()) + 1 if fits.any() else 0,
        "overfits": int(orders[1:][overfits][0]) if overfits.any() else 0,
        "thin": int(orders[thin][0]) if thin.any() else 0,
    }


def _measured(n_tokens: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, int]:
    """The table of a generated text whose every token depends on the three before it; add-1/2 smoothing."""
    V, rng = 5, np.random.default_rng(seed)
    rows = np.cumsum(rng.dirichlet(np.full(V, 0.3), size=(V, V, V)), axis=-1)
    text = [0, 1, 2]
    for u in rng.random(2 * n_tokens - 3):
        text.append(min(int((rows[text[-3], text[-2], text[-1]] <= u).sum()), V - 1))
    ids = np.array(text)
    windows = np.lib.stride_tricks.sliding_window_view(ids, 6)
    fit, test = windows[: n_tokens - 5], windows[n_tokens:]
    table = []
    for n in range(1, 7):
        powers = V ** np.arange(n)[::-1]
        seen = np.bincount(fit[:, 6 - n :] @ powers, minlength=V**n).reshape(-1, V) + 0.5
        losses = -np.log(seen / seen.sum(axis=1, keepdims=True)).ravel()
        held = losses[test[:, 6 - n :] @ powers]
        table.append((losses[fit[:, 6 - n :] @ powers].mean(), held.mean(), held.std() / np.sqrt(len(held))))
    fitted, held_out, errors = np.array(table).T
    distinct = np.array([len(level.keys) for level in count_ngrams(ids[:n_tokens], 6, V)])
    return fitted, held_out, errors, distinct, n_tokens, int(distinct[:3].sum())


_TABLE = (  # the example of the docstring
    np.array([2.9, 2.3, 1.7, 1.0, 0.4]),
    np.array([2.9, 2.4, 2.1, 2.0, 2.3]),
    np.array([0.1, 0.1, 0.2, 0.2, 0.3]),
    np.array([30, 300, 1500, 5000, 8000]),
    12_000,
    1600,
)
_FALLING = (  # nothing overfits, and the first order is too large for the budget
    np.array([3.0, 2.0, 1.5, 1.5]),
    np.array([3.0, 2.0, 1.75, 1.75]),
    np.array([0.5, 0.25, 0.125, 0.0625]),
    np.array([7, 40, 150, 500]),
    1002,
    6,
)
_RISING = (  # a tiny text: the first order is the best, the second fits exactly
    np.array([1.5, 1.25, 0.5]),
    np.array([2.0, 2.25, 3.0]),
    np.array([0.5, 0.5, 0.5]),
    np.array([5, 11, 12]),
    14,
    16,
)

PROBES = (_TABLE, _FALLING, _RISING, _measured(400, 1), _measured(4000, 2))

_WHY = {
    "best": "The text that a model was fitted to cannot tell how it predicts; of equals, the lower order is cheaper.",
    "cautious": "Orders within one standard error of the best cannot be told from it by this text; take the simplest, "
    "and measure with the standard error of the best.",
    "affordable": "A model of order n stores all n-grams of lengths 1 to n, and of those that fit, the held-out loss "
    "decides, not the size.",
    "overfits": "Two things must happen from one order to the next: the loss on the fitted text falls, and the loss on "
    "held-out text rises.",
    "thin": "A text of T tokens has T - n + 1 n-grams of length n; divided by the distinct ones, that is how often "
    "each was seen.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for fitted, held_out, errors, distinct, n_tokens, budget in PROBES:
        expected = choose_order(fitted, held_out, errors, distinct, n_tokens, budget)
        got = learner.choose_order(fitted.copy(), held_out.copy(), errors.copy(), distinct.copy(), n_tokens, budget)
        assert isinstance(got, dict), f"expected a dict of five orders, got {got!r:.80}"
        for key, order in expected.items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert isinstance(got[key], (int, np.integer)) and got[key] == order, (
                f"fitted {fitted.round(3)}, held out {held_out.round(3)}, standard errors {errors.round(3)}, distinct "
                f"n-grams {distinct}, {n_tokens} tokens, budget {budget}: {key!r} is {order}; got {got[key]!r:.80}. "
                f"{_WHY[key]}"
            )


def _by_fitted_loss(
    fitted: np.ndarray, held_out: np.ndarray, errors: np.ndarray, distinct: np.ndarray, n_tokens: int, budget: int
) -> dict[str, int]:
    answers = choose_order(fitted, fitted, errors, distinct, n_tokens, budget)
    return {**choose_order(fitted, held_out, errors, distinct, n_tokens, budget), "best": answers["best"]}


def _largest(
    fitted: np.ndarray, held_out: np.ndarray, errors: np.ndarray, distinct: np.ndarray, n_tokens: int, budget: int
) -> dict[str, int]:
    answers = choose_order(fitted, held_out, errors, distinct, n_tokens, budget)
    return {**answers, "best": len(fitted), "affordable": int((np.cumsum(distinct) <= budget).sum())}


def _elbow(
    fitted: np.ndarray, held_out: np.ndarray, errors: np.ndarray, distinct: np.ndarray, n_tokens: int, budget: int
) -> dict[str, int]:
    answers = choose_order(fitted, held_out, errors, distinct, n_tokens, budget)
    return {**answers, "best": int((held_out[:-1] - held_out[1:]).argmax()) + 2}


def _smallest_gap(
    fitted: np.ndarray, held_out: np.ndarray, errors: np.ndarray, distinct: np.ndarray, n_tokens: int, budget: int
) -> dict[str, int]:
    answers = choose_order(fitted, held_out, errors, distinct, n_tokens, budget)
    return {**answers, "best": int((held_out - fitted).argmin()) + 1}


def _row_for_order(
    fitted: np.ndarray, held_out: np.ndarray, errors: np.ndarray, distinct: np.ndarray, n_tokens: int, budget: int
) -> dict[str, int]:
    answers = choose_order(fitted, held_out, errors, distinct, n_tokens, budget)
    return {key: max(order - 1, 0) for key, order in answers.items()}


def _largest_within_error(
    fitted: np.ndarray, held_out: np.ndarray, errors: np.ndarray, distinct: np.ndarray, n_tokens: int, budget: int
) -> dict[str, int]:
    answers = choose_order(fitted, held_out, errors, distinct, n_tokens, budget)
    close = held_out <= held_out.min() + errors[held_out.argmin()]
    return {**answers, "cautious": int(np.flatnonzero(close)[-1]) + 1}


def _own_order_only(
    fitted: np.ndarray, held_out: np.ndarray, errors: np.ndarray, distinct: np.ndarray, n_tokens: int, budget: int
) -> dict[str, int]:
    answers = choose_order(fitted, held_out, errors, distinct, n_tokens, budget)
    fits = distinct <= budget
    return {**answers, "affordable": int(np.where(fits, held_out, np.inf).argmin()) + 1 if fits.any() else 0}


MISTAKES = (
    (
        _by_fitted_loss,
        "You choose by the loss on the fitted text. It falls with every order, because a longer context can only fit "
        "better; it says nothing about new text.",
    ),
    (_largest, "You choose the largest order. More context helps only while its counts can be believed."),
    (
        _elbow,
        "You choose the order with the largest gain over the one below. Smaller gains are gains too: the question is "
        "where the held-out loss is lowest.",
    ),
    (
        _smallest_gap,
        "You choose the order whose two losses are closest. Order 1 nearly always wins that contest: it overfits "
        "least because it learns least.",
    ),
    (_row_for_order, "You return the row of the table. Rows count from 0, orders from 1."),
    (
        _largest_within_error,
        "You take the largest order within one standard error. If the text cannot tell two orders apart, the smaller "
        "one is the safer and the cheaper.",
    ),
    (
        _own_order_only,
        "You compare the budget with the n-grams of the last length alone. A model backs off, so it keeps those of "
        "every shorter length too.",
    ),
)
