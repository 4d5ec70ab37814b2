r"""
Attention by hand.

Level: concept. You need `fp_attention.lookup` and `fp_attention.masks`.

Three tokens have the values 8, 16 and 0. The last one asks: its scores with the three keys have the exponentials 1, 2
and 5. No calculator is needed, as softmax divides by their sum, 8. Take a pencil and answer before you compute. How
much does it read from each, and what is the result? What if it may not look at tokens after its own, and which of the
three tokens does that concern? What does a query twice as long see, and what changes if the last token occurs twice?
By how much does the result move when the first value grows a little, and when the first score does? Then write each
answer as the formula that you used, for $T$ tokens, in the exponentials $e^{s_{ij}}$ of the score of query $i$ and key
$j$, here called odds.

The last question asks which of these statements are false, in that some example breaks them. Nothing is masked in them,
and positions enter nowhere.

- A. Adding the same number to all scores of one query does not change its result.
- B. Adding the same vector to all keys changes no result.
- C. Adding the same vector to all queries changes no result.
- D. Adding the same vector to all values adds it to every result.
- E. The key that is nearest to a query gets the largest weight of that query.
- F. If two tokens change places, keys and values, some query's result changes.

You learn to see what attention can be made to do and what it cannot, and to tell at a glance whether a table of weights
can be right.
"""

import math
from typing import Any

HINTS = (
    "Each query has weights of its own that sum to 1: divide a row of odds by the sum of that row. The result is the "
    "mean of the values with these weights.",
    "A masked key is left out before the division, so the weights that remain still sum to 1. A query twice as long "
    "has scores twice as large, and the odds are squared. A token that occurs twice is in the sum twice.",
    "In its score, a weight has the slope p (1 - p), and each other weight p' the slope -p p'. Put that into the mean: "
    "what comes out is p_0 times the distance of v_0 from the result. For E try a long key and a short one.",
)


def attention_by_hand(odds: list[list[float]], values: list[float]) -> dict[str, float | list[float] | str]:
    """
    Answer ten questions about one head of attention, whose values are single numbers.

    Parameters
    ----------
    odds
        T rows of T positive numbers, T at least two: in row i and column j the exponential of the score of query i
        and key j.
    values
        T numbers, the value of each token.

    Returns
    -------
    dict
        One answer for each name:

        - `"weights"`: a list, the weights of the last query.
        - `"result"`: the result of the last query.
        - `"causal"`: a list, the results of all queries, in order, if no query looks at a token after its own.
        - `"unmasked"`: a list, the results of all queries if each looks at every token.
        - `"equal"`: the result of the last query if all its scores are equal.
        - `"doubled"`: the result of the last query if its query vector is twice as long.
        - `"twice"`: the result of the last query if the last token, key and value, is there twice.
        - `"in_value"`: the derivative of `"result"` in the value of the first token.
        - `"in_score"`: the derivative of `"result"` in the score of the last query with the first key.
        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = attention_by_hand([[4.0, 1.0, 1.0], [1.0, 3.0, 2.0], [1.0, 2.0, 5.0]], [8.0, 16.0, 0.0])
    >>> answers["weights"], answers["result"], answers["causal"]
    ([0.125, 0.25, 0.625], 5.0, [8.0, 14.0, 5.0])
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['causal', 'doubled', 'equal', 'false', 'in_score', 'in_value', 'result', 'twice', 'unmasked', 'weights']
    """
    last = odds[-1]
    weights = _shares(last)
    result = _mean(last, values)
    keys, q, c = [1.0, -2.0, 0.5], 1.5, 0.75  # one query, three keys and the vector that is added, all of width one
    scores = [q * k for k in keys]
    nearest = min(range(2), key=lambda j: abs(1.0 - [1.0, 3.0][j]))  # of the keys 1 and 3 to the query 1
    largest = max(range(2), key=lambda j: 1.0 * [1.0, 3.0][j])
    holds = {
        "A": _close(_softmax([s + c for s in scores]), _softmax(scores)),
        "B": _close(_softmax([q * (k + c) for k in keys]), _softmax(scores)),
        "C": _close(_softmax([(q + c) * k for k in keys]), _softmax(scores)),
        "D": math.isclose(_mean(last, [v + c for v in values]), result + c),
        "E": nearest == largest,
        "F": not math.isclose(_mean(last[::-1], values[::-1]), result),
    }
    return {
        "weights": weights,
        "result": result,
        "causal": [_mean(row[: i + 1], values[: i + 1]) for i, row in enumerate(odds)],
        "unmasked": [_mean(row, values) for row in odds],
        "equal": sum(values) / len(values),
        "doubled": _mean([odd**2 for odd in last], values),
        "twice": _mean([*last, last[-1]], [*values, values[-1]]),
        "in_value": weights[0],
        "in_score": weights[0] * (values[0] - result),
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _shares(odds: list[float]) -> list[float]:
    """Each number divided by the sum of all: softmax of the logarithms."""
    total = sum(odds)
    return [odd / total for odd in odds]


def _softmax(scores: list[float]) -> list[float]:
    return _shares([math.exp(score) for score in scores])


def _mean(odds: list[float], values: list[float]) -> float:
    """The mean of the values, weighted by odds."""
    return sum(odd * value for odd, value in zip(odds, values, strict=True)) / sum(odds)


def _close(a: list[float], b: list[float]) -> bool:
    return all(map(math.isclose, a, b))


_WHY = {
    "weights": "The odds are exponentials of scores already: softmax divides each by the sum of its row.",
    "result": "It is the sum of weight times value over all tokens.",
    "causal": "Query i looks at the tokens 0 to i, and its weights among these sum to 1.",
    "unmasked": "Each query divides its own row of odds by the sum of that row.",
    "equal": "Equal scores give equal weights, and the result is the mean of the values.",
    "doubled": "All scores double, and exp(2 s) is the square of exp(s): square the odds, then divide anew.",
    "twice": "Both copies have the odds of the last token, and both are in the sum that softmax divides by.",
    "in_value": "The result is a sum of weight times value, so its slope in a value is the weight.",
    "in_score": "When one weight grows the others shrink: the slope is p_0 (v_0 - result).",
    "false": "One example is enough to break a statement; those that no example breaks follow from a few lines.",
}

PROBES = (
    ([[4.0, 1.0, 1.0], [1.0, 3.0, 2.0], [1.0, 2.0, 5.0]], [8.0, 16.0, 0.0]),
    ([[1.0, 7.0], [3.0, 1.0]], [-4.0, 12.0]),
    (
        [[2.0, 1.0, 0.5, 4.0], [1.0, 1.0, 6.0, 8.0], [0.25, 0.5, 0.25, 3.0], [2.0, 8.0, 4.0, 2.0]],
        [1.0, -3.0, 10.0, 2.0],
    ),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for odds, values in PROBES:
        got = learner.attention_by_hand([list(row) for row in odds], list(values))
        assert isinstance(got, dict), f"expected a dict of ten answers, got {got!r:.80}"
        for key, expected in attention_by_hand(odds, values).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            case = f"the odds {odds} and the values {values}"
            assert _same(got[key], expected), f"{_what_is_wrong(case, key, expected, got[key])} {_WHY[key]}"


def _same(got: Any, expected: float | list[float] | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        if isinstance(expected, list):
            return len(got) == len(expected) and all(_same(x, y) for x, y in zip(got, expected, strict=True))
        # far above rounding, far below any other answer; the absolute part is for an expected 0
        return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)
    except (TypeError, ValueError):
        return False


def _what_is_wrong(case: str, key: str, expected: float | list[float] | str, got: Any) -> str:
    if not isinstance(expected, str):
        return f"for {case}, {key!r} is {_short(expected)}; got {_short(got)}."
    if not isinstance(got, str) or list(got) != sorted(set(got) & set("ABCDEF")):
        return f"{key!r} is a string of letters from A to F in alphabetical order; got {_short(got)}."
    letter = min(set(got) ^ set(expected))  # one alone: the other letters remain to be thought about
    if letter in got:
        return f"your {key!r} is {got!r}, but statement {letter} is true: no example breaks it."
    return f"your {key!r} is {got!r}, but statement {letter} is false too: some example breaks it."


def _short(answer: Any) -> str:
    if isinstance(answer, list | tuple):
        return f"[{', '.join(map(_short, answer))}]"[:100]
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, float | list[float] | str]


def _odds_for_scores(odds: list[list[float]], values: list[float]) -> _Answers:
    return attention_by_hand([[math.exp(odd) for odd in row] for row in odds], values)


def _over_queries(odds: list[list[float]], values: list[float]) -> _Answers:
    sums = [sum(column) for column in zip(*odds, strict=True)]
    results = [sum(odd / s * v for odd, s, v in zip(row, sums, values, strict=True)) for row in odds]
    answers = attention_by_hand(odds, values)
    weights = [odd / s for odd, s in zip(odds[-1], sums, strict=True)]
    return {**answers, "weights": weights, "unmasked": results, "result": results[-1], "in_value": weights[0]}


def _largest_alone(odds: list[list[float]], values: list[float]) -> _Answers:
    answers: dict[str, Any] = attention_by_hand(odds, values)
    best = [values[row.index(max(row))] for row in odds]
    return {**answers, "result": best[-1], "unmasked": best, "doubled": best[-1]}


def _masked_after_softmax(odds: list[list[float]], values: list[float]) -> _Answers:
    results = []
    for i, row in enumerate(odds):
        p = _shares(row)
        results.append(sum(p[j] * values[j] for j in range(i + 1)))
    return {**attention_by_hand(odds, values), "causal": results}


def _not_itself(odds: list[list[float]], values: list[float]) -> _Answers:
    results = [_mean(row[:i], values[:i]) if i else 0.0 for i, row in enumerate(odds)]
    return {**attention_by_hand(odds, values), "causal": results}


def _one_ahead(odds: list[list[float]], values: list[float]) -> _Answers:
    results = [_mean(row[: i + 2], values[: i + 2]) for i, row in enumerate(odds)]
    return {**attention_by_hand(odds, values), "causal": results}


def _towards_the_end(odds: list[list[float]], values: list[float]) -> _Answers:
    results = [_mean(row[i:], values[i:]) for i, row in enumerate(odds)]
    return {**attention_by_hand(odds, values), "causal": results}


def _length_cancels(odds: list[list[float]], values: list[float]) -> _Answers:
    answers = attention_by_hand(odds, values)
    return {**answers, "doubled": answers["result"]}


def _result_doubles(odds: list[list[float]], values: list[float]) -> _Answers:
    answers: dict[str, Any] = attention_by_hand(odds, values)
    return {**answers, "doubled": 2 * answers["result"]}


def _twice_is_once(odds: list[list[float]], values: list[float]) -> _Answers:
    answers = attention_by_hand(odds, values)
    return {**answers, "twice": answers["result"]}


def _other_weights_stay(odds: list[list[float]], values: list[float]) -> _Answers:
    p = _shares(odds[-1])[0]
    return {**attention_by_hand(odds, values), "in_score": p * (1 - p) * values[0]}


def _nearest_wins(odds: list[list[float]], values: list[float]) -> _Answers:
    return {**attention_by_hand(odds, values), "false": "CF"}


def _order_matters(odds: list[list[float]], values: list[float]) -> _Answers:
    return {**attention_by_hand(odds, values), "false": "CE"}


def _keys_like_queries(odds: list[list[float]], values: list[float]) -> _Answers:
    return {**attention_by_hand(odds, values), "false": "BCEF"}


MISTAKES = (
    (
        _odds_for_scores,
        "You take exponentials of the odds. They are exponentials of the scores already: what is left of softmax is to "
        "divide by the sum.",
    ),
    (
        _over_queries,
        "You divide by sums over the queries. A query shares out its attention among the keys: the weights of each "
        "query, a row, sum to 1.",
    ),
    (
        _largest_alone,
        "You read from the best key alone. Attention is a soft lookup: each value counts by its weight, or there would "
        "be no gradient.",
    ),
    (
        _masked_after_softmax,
        "You mask after the softmax. The weights that are left no longer sum to 1, and how large they are still tells "
        "of the tokens that were to be hidden: leave the masked keys out of the sum.",
    ),
    (
        _not_itself,
        "Your mask is shifted by one: no query sees its own token, and the first sees nothing at all. A query may look "
        "at what stands at its own position.",
    ),
    (
        _one_ahead,
        "Your mask is shifted by one: each query sees the next token too, which is the very one that the model is to "
        "predict.",
    ),
    (
        _towards_the_end,
        "Your mask looks the wrong way. Query i is a row, and may look at the columns up to i, at what was before.",
    ),
    (
        _length_cancels,
        "You let the length of the query cancel. What cancels is a number *added* to all its scores; a factor raises "
        "the odds to a power, and a long query is a sharp one.",
    ),
    (
        _result_doubles,
        "You double the result along with the query. The query only says where to look; what is read there are values, "
        "and their mean stays among them.",
    ),
    (
        _twice_is_once,
        "You count a token that is there twice only once. Both copies are in the sum, so together they get more "
        "weight: attention sees how often something occurs.",
    ),
    (
        _other_weights_stay,
        "You let one weight grow and the others stay. All weights sum to 1, so the others shrink, and what they "
        "read counts less: the slope is p_0 (v_0 - result).",
    ),
    (
        _nearest_wins,
        "You take the nearest key for the one with the largest score. A product grows with the length of the key: to "
        "the query 1 the key 1 is nearer, and the key 3 has the larger score.",
    ),
    (
        _order_matters,
        "You think that attention sees the order of the tokens. A sum does not depend on its order: without positions "
        "the tokens are a bag, and a token that moves takes its weight along.",
    ),
    (
        _keys_like_queries,
        "You treat keys like queries. A vector added to all keys adds the same number to all scores of a query, and "
        "that cancels; added to the queries it adds a different number for each key.",
    ),
)
