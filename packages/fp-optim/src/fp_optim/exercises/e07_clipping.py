r"""
What clipping leaves of a gradient.

Level: concept. You need `fp_optim.clipping`, and `optim.adam-first-step`.

The gradients of a model are several arrays, and they are one vector: $n$ numbers. One bad batch has made some of them
large. There are three ways to cut that down to a limit $c$: multiply all arrays by one number so that the norm of the
whole is at most $c$ ("global"); do so for each array by itself ("separate"); or put each number into $[-a, a]$ ("by
value"). None of them touches a gradient that is within its limit already.

Predict before you compute. Which of the three keep the direction? Twelve arrays are clipped separately at norm 1: how
long may the whole still be? How far can clipping by value turn a gradient of a million numbers, and can it turn it
uphill? A single number has overflowed to infinity: what is it after clipping, and what has become of the others? And if
it is NaN? The loss was multiplied by 1024, as one does in half precision, and the gradients have not been divided yet:
what should the limit be? Does Adam step less far if all the gradients of a run are a hundred times shorter?

You learn what the one line `clip_grad_norm_` does and does not do, and why it must see all gradients together, in
their final scale.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Put all numbers into one vector, `np.concatenate([g.ravel() for g in gradients.values()])`, and its norm is the "
    "root of the sum of all squares, which is also the root of the sum of the squares of the arrays' norms.",
    "A vector multiplied by one positive number keeps its direction; arrays multiplied by different numbers, or "
    "entries that are cut one by one, do not. The cosine of two vectors is their inner product over both lengths.",
    "If the norm is infinite the factor is limit / inf = 0, and 0 * inf is NaN while 0 * 2 is 0. If it is NaN, so is "
    "the factor. For `worst` let one number be huge and all others equal to the limit.",
)

Arrays = dict[str, np.ndarray]


def clipping(gradients: Arrays, limit: float, value: float, scale: float) -> dict[str, float | int]:
    """
    Answer thirteen questions about clipping.

    Parameters
    ----------
    gradients
        Name to array, floats of any shape, not all 0.
    limit
        The norm c to which is clipped, globally or separately; above 0.
    value
        The size a to which each number is clipped by value; above 0.
    scale
        A number above 1.

    Returns
    -------
    dict
        One answer for each name. n is the number of all entries:

        - `"norm"`: the norm of all gradients together.
        - `"factor"`: the number by which global clipping multiplies every entry.
        - `"after"`: the norm of all gradients together after global clipping.
        - `"separate"`: the same after separate clipping of each array to `limit`.
        - `"turned"`: the cosine of the angle between the gradients before and after separate clipping.
        - `"longest"`: the largest norm of all together that separate clipping can leave, whatever the numbers in these
          arrays.
        - `"by_value"`: the norm of all together after clipping by value.
        - `"cosine"`: the cosine of the angle between the gradients before and after clipping by value.
        - `"worst"`: the largest number that this cosine stays above, whatever the numbers and the limit.
        - `"unscaled"`: the loss, and with it every gradient, was multiplied by `scale`. What must global clipping take
          for its limit, so that after division by `scale` the result is the same?
        - `"adam"`: all gradients of a run, from first to last, are multiplied by `"factor"`. By what number are Adam's
          steps multiplied, if eps is negligible?
        - `"infinite"`: how many of the n entries are NaN after global clipping, if one entry was infinite.
        - `"nan"`: how many are, if one entry was NaN. (The factor is the smaller of 1 and limit / norm, or NaN if that
          quotient is.)

    Examples
    --------
    >>> answers = clipping({"a": np.array([3.0]), "b": np.array([4.0])}, limit=2.5, value=1.0, scale=1024.0)
    >>> answers["norm"], answers["factor"], round(answers["cosine"], 4)
    (5.0, 0.5, 0.9899)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['adam', 'after', 'by_value', 'cosine', 'factor', 'infinite', 'longest', 'nan', 'norm', 'separate', 'turned',
     'unscaled', 'worst']
    """
    g = np.concatenate([array.ravel() for array in gradients.values()])
    norm = _norm(g)
    separate = np.concatenate([array.ravel() * min(1, limit / (_norm(array) or 1)) for array in gradients.values()])
    cut = np.clip(g, -value, value)
    return {
        "norm": norm,
        "factor": min(1.0, limit / norm),
        "after": min(norm, limit),
        "separate": _norm(separate),
        "turned": _cosine(g, separate),
        "longest": limit * math.sqrt(len(gradients)),
        "by_value": _norm(cut),
        "cosine": _cosine(g, cut),
        "worst": 1 / math.sqrt(g.size),
        "unscaled": limit * scale,
        "adam": 1.0,
        "infinite": 1,
        "nan": g.size,
    }


def _norm(x: np.ndarray) -> float:
    return float(np.sqrt((x**2).sum()))


def _cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y) / (_norm(x) * _norm(y))


_WHY = {
    "norm": "It is the root of the sum of the squares of all entries of all arrays.",
    "factor": "It is limit / norm if the norm is above the limit, and 1 if it is not.",
    "after": "A gradient that is too long comes down to the limit, one that is not keeps its norm.",
    "separate": "Each array comes down to the limit if its own norm is above; then their squares add.",
    "turned": "Arrays that were cut by different factors have other sizes relative to each other than before.",
    "longest": "Each array may keep a norm as large as the limit, and the squares of their norms add.",
    "by_value": "Cut each entry into [-value, value] and take the norm of what is left.",
    "cosine": "Cut each entry, then divide the inner product of before and after by both lengths.",
    "worst": "With one huge entry and all others just at the limit, the result has equal entries everywhere.",
    "unscaled": "All gradients are scale times as long, so the limit has to be as well.",
    "adam": "Both m and the root of v carry the number, and in their quotient it cancels.",
    "infinite": "The norm is infinite and the factor 0, so finite entries become 0, and 0 times infinity is NaN.",
    "nan": "The norm is NaN, and so is the factor that multiplies every entry.",
}

PROBES = (
    ({"w": np.array([[3.0, -1.0], [0.5, 2.0]]), "b": np.array([0.25, -12.0])}, 1.0, 1.5, 1024.0),
    ({"u": np.array([0.1, 0.2, -0.2]), "v": np.array([[4.0], [0.0]]), "s": np.array(-0.4)}, 2.0, 0.3, 64.0),
    ({"w": np.array([[0.25, -0.5], [0.125, 0.75], [0.5, 0.0]]), "b": np.array([0.5])}, 5.0, 0.6, 8.0),
    ({f"layer{i}": np.array([1.0 + i, -0.5 * i, 2.0]) for i in range(12)}, 1.0, 10.0, 2.0**15),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for gradients, limit, value, scale in PROBES:
        lent = {name: array.copy() for name, array in gradients.items()}
        got = learner.clipping(lent, limit, value, scale)
        assert isinstance(got, dict), f"expected a dict of thirteen answers, got {got!r:.80}"
        shown = ", ".join(f"{name} = {array.tolist()}" for name, array in list(gradients.items())[:3])
        rest = f" and {len(gradients) - 3} more arrays" if len(gradients) > 3 else ""
        for key, expected in clipping(gradients, limit, value, scale).items():
            settings = {"by_value": f"value {value:g}", "cosine": f"value {value:g}", "norm": "any limit"}
            case = f"{settings.get(key, f'limit {limit:g}')}{f', scale {scale:g}' if key == 'unscaled' else ''}"
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"for the gradients {shown}{rest} and {case}, {key!r} is {_short(expected)}; got {_short(got[key])}. "
                f"{_WHY[key]}"
            )


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and not isinstance(got, bool) and int(got) == expected
    try:
        return math.isclose(got, expected, rel_tol=1e-9)  # far above rounding, far below any other answer
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, float | int]


def _the_longest_array_decides(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    answers = clipping(gradients, limit, value, scale)
    factor = min(1.0, limit / max(map(_norm, gradients.values())))
    return {**answers, "factor": factor, "after": answers["norm"] * factor}


def _separately(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    answers = clipping(gradients, limit, value, scale)
    return {**answers, "after": answers["separate"], "turned": 1.0}


def _norms_add(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    norm = sum(map(_norm, gradients.values()))
    answers = clipping(gradients, limit, value, scale)
    return {**answers, "norm": norm, "factor": min(1.0, limit / norm), "longest": limit * len(gradients)}


def _mean_of_the_squares(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    answers = clipping(gradients, limit, value, scale)
    norm = answers["norm"] / math.sqrt(answers["nan"])
    return {**answers, "norm": norm, "factor": min(1.0, limit / norm), "after": min(norm, limit)}


def _always_to_the_limit(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    answers = clipping(gradients, limit, value, scale)
    return {**answers, "factor": limit / answers["norm"], "after": limit}


def _within_the_limit_together(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    answers = clipping(gradients, limit, value, scale)
    return {**answers, "longest": limit, "separate": min(answers["separate"], limit)}


def _value_keeps_the_direction(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    return {**clipping(gradients, limit, value, scale), "cosine": 1.0, "worst": 1.0}


def _any_angle(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    return {**clipping(gradients, limit, value, scale), "worst": -1.0}


def _scale_forgotten(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    return {**clipping(gradients, limit, value, scale), "unscaled": limit}


def _scale_the_wrong_way(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    return {**clipping(gradients, limit, value, scale), "unscaled": limit / scale}


def _adam_steps_less_far(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    answers = clipping(gradients, limit, value, scale)
    return {**answers, "adam": answers["factor"]}


def _infinity_is_cut(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    return {**clipping(gradients, limit, value, scale), "infinite": 0}


def _nan_stays_alone(gradients: Arrays, limit: float, value: float, scale: float) -> _Answers:
    return {**clipping(gradients, limit, value, scale), "nan": 1}


MISTAKES = (
    (
        _the_longest_array_decides,
        "You clip by the norm of the longest array. All gradients together are one vector, whose norm is larger than "
        "that of any part.",
    ),
    (
        _separately,
        "You clip each array by itself and take that for global clipping. Arrays are then cut by different factors, "
        "which turns the whole gradient; one factor for all of them keeps its direction.",
    ),
    (
        _norms_add,
        "You add the norms of the arrays. Their squares add: the arrays are parts of one vector, at right angles.",
    ),
    (
        _mean_of_the_squares,
        "You take the root of the mean of the squares. A norm is the root of their sum, which grows with the model.",
    ),
    (
        _always_to_the_limit,
        "You bring every gradient to the limit, short ones too. Clipping only shortens: the factor is never above 1.",
    ),
    (
        _within_the_limit_together,
        "You let separately clipped arrays be within the limit together. Each may be as long as the limit, and k of "
        "them sqrt(k) times as long.",
    ),
    (
        _value_keeps_the_direction,
        "You let clipping by value keep the direction. It cuts the large entries and not the small ones, so they come "
        "nearer to each other.",
    ),
    (
        _any_angle,
        "You let clipping by value turn a gradient uphill. Every entry keeps its sign, so the inner product with the "
        "gradient stays positive; ask how small the cosine can get.",
    ),
    (
        _scale_forgotten,
        "You clip gradients of a scaled loss at the limit for unscaled ones. They are scale times too long, so all of "
        "them are cut: divide before clipping, or multiply the limit.",
    ),
    (
        _scale_the_wrong_way,
        "You divide the limit by the scale. The gradients are scale times as long, and so is what may be left of them.",
    ),
    (
        _adam_steps_less_far,
        "You let Adam step less far with shorter gradients. It divides by their own size: what is the same for all "
        "gradients of a run cancels. Clipping matters to it when single gradients stand out.",
    ),
    (
        _infinity_is_cut,
        "You let clipping cut an infinite entry down to the limit. The factor is 0 then, and 0 times infinity is NaN: "
        "clipping is no protection from overflow.",
    ),
    (
        _nan_stays_alone,
        "You let a NaN stay where it is. It makes the norm NaN, and the factor multiplies everything: one bad entry "
        "spoils the whole model.",
    ),
)
