r"""
Why scores are divided by the root of the width.

Level: concept. You need `fp_attention.scaling`.

A query $q$ and a key $k$ have $d$ entries each. All of these are independent and have the mean 0; those of the query
have the standard deviation $a$, those of the key $b$. The raw score is $q \cdot k = \sum_i q_i k_i$, and attention
multiplies it by $\frac{1}{\sqrt d}$ before the softmax.

Predict before you compute. The heads get four times as wide: by what factor do the raw scores spread more? What happens
if one divides by $d$ instead, so as to be on the safe side? And what does a raw score look like when the query is equal
to the key, as it may be after training? Then look at the gradient. Of two keys, one has a scaled score that is larger
by a gap. How large are its weight, and the slope of that weight? If the same query and keys are used *without* the
factor, by what does the gap grow, and by what does the slope shrink? Then write the answers as formulas.

The last question asks which of these statements are false, in that some example breaks them:

- A. Divided by $\sqrt d$, scores have the variance 1, whatever query and key the network computes.
- B. The key with the largest weight is the same with the factor and without.
- C. As one weight goes to 1, the gradient in the value of that key goes to 0.
- D. The factor could be left out if the queries' weights were made smaller by it: the results would be the same.
- E. Subtracting the largest score before the exponential keeps large scores from saturating the softmax.
- F. With two keys, the slope of a weight in its own score is never above $\frac14$.

You learn why a head that starts saturated hardly learns where to look, and to see the one factor that prevents it.
"""

import math
from typing import Any

HINTS = (
    "A product of two independent numbers of mean 0 has the product of their variances, and variances of independent "
    "terms add: d terms. A standard deviation is the root of that.",
    "If query and key are equal, the score is a sum of squares, and every term has the mean a**2: nothing cancels. Of "
    "two keys the better has the weight 1 / (1 + exp(-gap)).",
    "The slope of a weight p in its own score is p (1 - p). Without the factor the gap is sqrt(d) times as large; in "
    "the raw score itself the chain rule multiplies the slope by the factor, if there is one.",
)


def scaling(d: int, a: float, b: float, gap: float) -> dict[str, float | str]:
    """
    Answer twelve questions about the spread of scores and the slope of weights.

    Parameters
    ----------
    d
        Width of a head, at least 1.
    a, b
        Standard deviations of the entries of queries and keys, above 0.
    gap
        By how much the scaled score of the better of two keys exceeds that of the other, above 0.

    Returns
    -------
    dict
        One answer for each name. Of a query and a key that are independent:

        - `"raw"`: the variance of the raw score.
        - `"scaled"`: the variance of the raw score divided by the root of d.
        - `"by_d"`: the variance of the raw score divided by d.
        - `"factor"`: the number to multiply the raw score by for a variance of 1.
        - `"wider"`: by what factor the standard deviation of the raw score grows if d becomes 4 d.

        Of a key that is equal to the query, whose entries have the standard deviation `a`:

        - `"alike"`: the mean of the raw score divided by the root of d.

        Of two keys, with the scores scaled by the root of d:

        - `"weight"`: the weight of the better key.
        - `"slope"`: the derivative of `"weight"` in the scaled score of that key.
        - `"slope_in_raw"`: the derivative of `"weight"` in the raw score of that key.

        Of the same query and the same two keys, if the factor is left out:

        - `"bare_weight"`: the weight of the better key.
        - `"bare_slope"`: the derivative of `"bare_weight"` in the raw score of that key.

        And of the statements:

        - `"false"`: the letters of all false ones, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = scaling(d=64, a=1.0, b=0.5, gap=1.0)
    >>> answers["raw"], answers["factor"], answers["alike"]
    (16.0, 0.25, 8.0)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['alike', 'bare_slope', 'bare_weight', 'by_d', 'factor', 'false', 'raw', 'scaled', 'slope', 'slope_in_raw',
     'weight', 'wider']
    """
    root = math.sqrt(d)
    p, bare = _better(gap), _better(root * gap)
    scores = [0.5, 2.0, -1.0]
    holds = {
        "A": math.isclose(64 * 2.0**2 * 1.0**2 / 64, 1),  # queries of standard deviation 2, keys of 1
        "B": scores.index(max(scores)) == [8 * s for s in scores].index(max(8 * s for s in scores)),
        "C": _better(30.0) < 0.5,  # the gradient in a value is its weight times that of the result
        "D": math.isclose((3.0 * 5.0) / 8, (3.0 / 8) * 5.0),
        "E": not math.isclose(math.exp(0) / (math.exp(0) + math.exp(-30)), _better(30)),  # shifted, and as saturated
        "F": all(_slope(_better(x / 10)) <= 0.25 for x in range(100)),
    }
    return {
        "raw": d * a**2 * b**2,
        "scaled": a**2 * b**2,
        "by_d": a**2 * b**2 / d,
        "factor": 1 / (root * a * b),
        "wider": 2.0,
        "alike": root * a**2,
        "weight": p,
        "slope": _slope(p),
        "slope_in_raw": _slope(p) / root,
        "bare_weight": bare,
        "bare_slope": _bare_slope(root * gap),
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _better(gap: float | int) -> float:
    """The weight of the better of two keys."""
    return 1 / (1 + math.exp(-gap))


def _slope(p: float) -> float:
    return p * (1 - p)


def _bare_slope(gap: float) -> float:
    """`_slope(_better(gap))`, with all digits where the weight is 1 but for rounding."""
    return math.exp(-gap) / (1 + math.exp(-gap)) ** 2


_WHY = {
    "raw": "It is a sum of d independent terms, each with the variance a**2 b**2.",
    "scaled": "A factor c multiplies a variance by c**2: here by 1 / d.",
    "by_d": "A factor c multiplies a variance by c**2: here by 1 / d**2.",
    "factor": "The standard deviation of the raw score is sqrt(d) a b, and the factor is 1 over that.",
    "wider": "The variance grows with d, and the standard deviation with its root.",
    "alike": "The raw score is a sum of d squares of mean a**2, and none of them cancels another.",
    "weight": "Of two keys it is exp(s) / (exp(s) + exp(s - gap)): divide both by exp(s).",
    "slope": "A weight p has the slope p (1 - p) in its own score.",
    "slope_in_raw": "The scaled score is the raw one times 1 / sqrt(d): by the chain rule the slope is too.",
    "bare_weight": "Without the factor all scores, and so the gap between them, are sqrt(d) times as large.",
    "bare_slope": "It is p (1 - p) for the weight without the factor, whose raw score is what the softmax is given.",
    "false": "One example is enough to break a statement; those that no example breaks follow from a few lines.",
}

PROBES = ((64, 1.0, 0.5, 1.0), (4, 2.0, 3.0, 0.5), (128, 1.0, 1.0, 2.5), (1, 0.5, 1.5, 1.0), (9, 0.1, 4.0, 0.25))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for d, a, b, gap in PROBES:
        got = learner.scaling(d, a, b, gap)
        assert isinstance(got, dict), f"expected a dict of twelve answers, got {got!r:.80}"
        for key, expected in scaling(d, a, b, gap).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"{_what_is_wrong(f'd = {d}, a = {a:g}, b = {b:g} and gap = {gap:g}', key, expected, got[key])} "
                f"{_WHY[key]}"
            )


def _same(got: Any, expected: float | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        # far above rounding, far below any other answer; 1 - p of a saturated weight has an absolute error of 1e-16
        return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-15)
    except (TypeError, ValueError):
        return False


def _what_is_wrong(case: str, key: str, expected: float | str, got: Any) -> str:
    if not isinstance(expected, str):
        return f"for {case}, {key!r} is {expected:.6g}; got {_short(got)}."
    if not isinstance(got, str) or list(got) != sorted(set(got) & set("ABCDEF")):
        return f"{key!r} is a string of letters from A to F in alphabetical order; got {_short(got)}."
    letter = min(set(got) ^ set(expected))  # one alone: the other letters remain to be thought about
    if letter in got:
        return f"your {key!r} is {got!r}, but statement {letter} is true: no example breaks it."
    return f"your {key!r} is {got!r}, but statement {letter} is false too: some example breaks it."


def _short(answer: Any) -> str:
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, float | str]


def _deviations_add(d: int, a: float, b: float, gap: float) -> _Answers:
    return {
        **scaling(d, a, b, gap),
        "raw": (d * a * b) ** 2,
        "scaled": d * (a * b) ** 2,
        "by_d": (a * b) ** 2,
        "factor": 1 / (d * a * b),
        "wider": 4.0,
    }


def _deviation_for_variance(d: int, a: float, b: float, gap: float) -> _Answers:
    spread = a * b
    return {**scaling(d, a, b, gap), "raw": math.sqrt(d) * spread, "scaled": spread, "by_d": spread / math.sqrt(d)}


def _factor_not_squared(d: int, a: float, b: float, gap: float) -> _Answers:
    raw = d * a**2 * b**2
    return {**scaling(d, a, b, gap), "scaled": raw / math.sqrt(d), "by_d": raw / d}


def _variances_of_one(d: int, a: float, b: float, gap: float) -> _Answers:
    return {**scaling(d, a, b, gap), "factor": 1 / math.sqrt(d), "false": "CE"}


def _factor_makes_the_variance(d: int, a: float, b: float, gap: float) -> _Answers:
    return {**scaling(d, a, b, gap), "factor": 1 / (d * a**2 * b**2)}


def _alike_is_independent(d: int, a: float, b: float, gap: float) -> _Answers:
    return {**scaling(d, a, b, gap), "alike": 0.0}


def _alike_stays(d: int, a: float, b: float, gap: float) -> _Answers:
    return {**scaling(d, a, b, gap), "alike": a**2}


def _slope_is_the_weight(d: int, a: float, b: float, gap: float) -> _Answers:
    p, bare = _better(gap), _better(math.sqrt(d) * gap)
    return {**scaling(d, a, b, gap), "slope": p, "slope_in_raw": p / math.sqrt(d), "bare_slope": bare}


def _chain_rule_forgotten(d: int, a: float, b: float, gap: float) -> _Answers:
    return {**scaling(d, a, b, gap), "slope_in_raw": _slope(_better(gap))}


def _gap_stays(d: int, a: float, b: float, gap: float) -> _Answers:
    p = _better(gap)
    return {**scaling(d, a, b, gap), "bare_weight": p, "bare_slope": _slope(p)}


def _gap_times_width(d: int, a: float, b: float, gap: float) -> _Answers:
    return {**scaling(d, a, b, gap), "bare_weight": _better(d * gap), "bare_slope": _bare_slope(d * gap)}


def _values_starve(d: int, a: float, b: float, gap: float) -> _Answers:
    return {**scaling(d, a, b, gap), "false": "AE"}


def _shift_cures(d: int, a: float, b: float, gap: float) -> _Answers:
    return {**scaling(d, a, b, gap), "false": "AC"}


MISTAKES = (
    (
        _deviations_add,
        "You add standard deviations. Independent terms of mean 0 partly cancel: their variances add, so the spread of "
        "a sum of d terms grows with the root of d.",
    ),
    (
        _deviation_for_variance,
        "You give the standard deviation where the variance is asked for. The variance is its square.",
    ),
    (
        _factor_not_squared,
        "You divide the variance by what the scores are divided by. A variance is a mean of squares: a factor c "
        "multiplies it by c squared.",
    ),
    (
        _variances_of_one,
        "You take for granted that the entries of queries and keys have the variance 1. The root of d takes care of "
        "the width alone; the size of the vectors is left to the weights and to normalization.",
    ),
    (
        _factor_makes_the_variance,
        "You divide by the variance. To get the variance 1 divide by its root: the factor is squared in the variance.",
    ),
    (
        _alike_is_independent,
        "You use the mean for independent vectors where query and key are equal. Then every term is a square, and none "
        "cancels another.",
    ),
    (
        _alike_stays,
        "You scale a sum of d equal means as if it were a spread. d terms of mean a**2, divided by the root of d, "
        "still grow with the root of d: a key like the query stands out the more, the wider the head.",
    ),
    (
        _slope_is_the_weight,
        "You take the weight for its slope. Softmax divides by a sum in which the score is too: the slope is "
        "p (1 - p), and vanishes where p is near 1.",
    ),
    (
        _chain_rule_forgotten,
        "You forget the factor on the way back. The scaled score moves by 1 / sqrt(d) when the raw one moves by 1, and "
        "the gradient of queries and keys is smaller by that.",
    ),
    (
        _gap_stays,
        "You keep the gap when the factor is left out. The scores are sqrt(d) times as large then, and so is every "
        "difference of them.",
    ),
    (
        _gap_times_width,
        "You multiply the gap by d. The factor that is left out is 1 / sqrt(d).",
    ),
    (
        _values_starve,
        "You let saturation starve the values. What vanishes is the gradient in the scores; a value that is read with "
        "weight 1 gets all of the result's gradient. It is where to look that is no longer learned.",
    ),
    (
        _shift_cures,
        "You think that subtracting the maximum helps against saturation. It prevents overflow and changes no weight: "
        "the differences of the scores are what they were.",
    ),
)
