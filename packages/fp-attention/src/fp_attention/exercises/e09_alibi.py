r"""
What ALiBi takes off.

Level: concept. You need `fp_attention.relative` and `fp_attention.softmax`.

ALiBi has no positions. To the score of a key that stands $n$ tokens before the query, head $h$ of $H$ adds

$$-\,m_h\, n , \qquad m_h = 2^{-8(h+1)/H} , \qquad h = 0, \dots, H - 1 ,$$

where $H$ is a power of two, and the score is $q \cdot k / \sqrt d$ as ever. Softmax turns what is added into a factor:
$e^{-m_h n}$. So each head forgets at a rate of its own, and none of them has anything to learn for it.

Take a pencil and predict before you compute. What are the slopes of 8 heads? Which of them looks farthest back? Where
all scores are equal, how do the weights of the keys fall with their distance, and how many of the newest keys hold nine
tenths of the weight, if the past has no end? By how much must the product $q \cdot k$ of a key 100 tokens away be
larger than that of the newest one, to get the same weight? The sum you need is that of the geometric series,
$1 + r + r^2 + \dots = 1/(1 - r)$. Then write each answer as the formula that you used.

You learn to read a bias as a window: how wide each head is that can be told before training, and that no window is
closed, since a score that is large enough gets through.
"""

import math
from typing import Any

HINTS = (
    "Subtracting m n inside the exponential multiplies by r^n, with r = exp(-m). For equal scores the weights are a "
    "geometric series: 1, r, r^2, ..., divided by their sum.",
    "The first n terms of an endless geometric series hold the share 1 - r^n of its sum. For which n does that reach "
    "`share`? Take logarithms, mind the sign, and round up.",
    "The mean distance is the sum of n r^n over the sum of r^n, and that is r / (1 - r). The bias is added to "
    "q.k / sqrt(d): a difference of m n there is one of m n sqrt(d) in q.k.",
)


def alibi(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> dict[str, Any]:
    """
    Answer ten questions about ALiBi.

    Parameters
    ----------
    n_heads
        H, a power of two.
    head
        h, the head that is asked about, from 0.
    query
        The position of a query, from 0; keys stand at 0 to `query`.
    distance
        How many tokens a key stands before the query, at least 1.
    d
        The width of a head.
    share
        A number between 0 and 1.

    Returns
    -------
    dict
        One answer for each name, all about head `head` except the first two:

        - `"slopes"`: the list of the H slopes, that of head 0 first.
        - `"farthest"`: the number of the head that looks farthest back.
        - `"bias"`: the list of what is added to the scores of the keys 0 to `query`, in this order.
        - `"weights"`: the list of the weights of these keys, if all their scores are equal.
        - `"factor"`: the weight of a key `distance` tokens back over that of the query's own position, for equal
          scores.
        - `"raw"`: by how much q.k must be larger for the key `distance` tokens back than for the query's own position,
          so that both get the same weight.
        - `"window"`: the smallest number of the newest keys, the query's own position included, that hold at least
          the share `share` of the weight, if all scores are equal and the past has no end.
        - `"mean"`: the mean distance, weighted by the weights, if all scores are equal and the past has no end.
        - `"moved"`: what is added to the score of a key at position 1000, for a query `distance` tokens after it.
        - `"parameters"`: how many numbers all H heads together learn for it.

    Examples
    --------
    >>> answers = alibi(n_heads=8, head=0, query=2, distance=4, d=64, share=0.9)
    >>> answers["slopes"][:3], answers["bias"], answers["window"]
    ([0.5, 0.25, 0.125], [-1.0, -0.5, 0.0], 5)
    >>> sorted(answers)
    ['bias', 'factor', 'farthest', 'mean', 'moved', 'parameters', 'raw', 'slopes', 'weights', 'window']
    """
    slopes = [2.0 ** (-8 * (h + 1) / n_heads) for h in range(n_heads)]
    m = slopes[head]
    r = math.exp(-m)
    powers = [r ** (query - j) for j in range(query + 1)]
    return {
        "slopes": slopes,
        "farthest": n_heads - 1,
        "bias": [-m * (query - j) if j < query else 0.0 for j in range(query + 1)],
        "weights": [power / sum(powers) for power in powers],
        "factor": math.exp(-m * distance),
        "raw": m * distance * math.sqrt(d),
        "window": math.ceil(-math.log(1 - share) / m),
        "mean": r / (1 - r),
        "moved": -m * distance,
        "parameters": 0,
    }


_WHY = {
    "slopes": "The slopes are a geometric series from 2^(-8/H) down to 2^-8.",
    "farthest": "The smaller the slope, the less distance costs.",
    "bias": "The newest key, at the query's own position, loses nothing, and each key before it loses m more.",
    "weights": "The weights are a softmax of the biases over the keys there are, so they sum to 1.",
    "factor": "Softmax divides both by the same sum, which leaves the exponential of the difference of the biases.",
    "raw": "The bias is added to q.k / sqrt(d), after the division.",
    "window": "The newest n keys hold 1 - exp(-m n) of the weight; n is the first whole number at which that reaches "
    "the share.",
    "mean": "With r = exp(-m) it is the sum of n r^n over the sum of r^n, for n from 0.",
    "moved": "Where the two stand does not matter, only the distance between them.",
    "parameters": "The slopes are fixed before training.",
}

PROBES = (
    (8, 0, 4, 4, 64, 0.9),
    (4, 2, 3, 100, 16, 0.5),
    (2, 1, 6, 7, 25, 0.99),
    (16, 10, 2, 30, 128, 0.25),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for n_heads, head, query, distance, d, share in (*PROBES, (1, 0, 0, 1, 1, 0.75), (32, 31, 9, 1000, 80, 0.95)):
        got = learner.alibi(n_heads, head, query, distance, d, share)
        assert isinstance(got, dict), f"expected a dict of ten answers, got {got!r:.80}"
        case = f"{n_heads} heads, head {head}, query {query}, distance {distance}, d = {d}, share = {share}"
        expected = alibi(n_heads, head, query, distance, d, share)
        m = 2.0 ** (-8 * (head + 1) / n_heads)
        # the endless past, added up as far as a float can tell
        past = [math.exp(-m * n) for n in range(math.ceil(40 / m))]
        total = math.fsum(past)
        expected["mean"] = math.fsum(n * x for n, x in enumerate(past)) / total
        held = 0.0
        expected["window"] = next(n for n, x in enumerate(past, 1) if (held := held + x) >= share * total)
        for key, answer in expected.items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], answer), (
                f"for {case}, {key!r} is {_short(answer)}; got {_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: Any) -> bool:
    try:
        if isinstance(expected, int):
            return not isinstance(got, bool) and int(got) == got == expected
        if not isinstance(expected, list):
            got, expected = [got], [expected]
        # a geometric series of ten thousand terms rounds to 1e-12 of its sum; wrong answers differ far more
        return len(got) == len(expected) and all(
            math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-12) for x, y in zip(got, expected, strict=True)
        )
    except (TypeError, ValueError, OverflowError):
        return False


def _short(answer: Any) -> str:
    if isinstance(answer, list | tuple) and all(isinstance(x, float | int) for x in answer):
        return f"[{', '.join(f'{x:.4g}' for x in answer)}]"[:100]
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, Any]


def _slope(n_heads: int, head: int) -> float:
    return float(2.0 ** (-8 * (head + 1) / n_heads))


def _heads_from_zero(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    slopes = [2.0 ** (-8 * h / n_heads) for h in range(n_heads)]
    return {**alibi(n_heads, head, query, distance, d, share), "slopes": slopes}


def _halved_each_time(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    slopes = [2.0 ** -(h + 1) for h in range(n_heads)]
    return {**alibi(n_heads, head, query, distance, d, share), "slopes": slopes}


def _steep_looks_far(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    return {**alibi(n_heads, head, query, distance, d, share), "farthest": 0}


def _by_the_position(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    answers = alibi(n_heads, head, query, distance, d, share)
    m = _slope(n_heads, head)
    return {**answers, "bias": answers["bias"][::-1], "weights": answers["weights"][::-1], "moved": -m * 1000}


def _a_reward(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    answers = alibi(n_heads, head, query, distance, d, share)
    return {**answers, "bias": [-x for x in answers["bias"]], "moved": -answers["moved"]}


def _distance_from_one(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    answers = alibi(n_heads, head, query, distance, d, share)
    return {**answers, "bias": [x - _slope(n_heads, head) for x in answers["bias"]]}


def _a_power_of_two(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    return {**alibi(n_heads, head, query, distance, d, share), "factor": 2.0 ** (-_slope(n_heads, head) * distance)}


def _linear_weights(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    m = _slope(n_heads, head)
    falling = [max(1 - m * (query - j), 0.0) for j in range(query + 1)]
    answers = alibi(n_heads, head, query, distance, d, share)
    return {**answers, "weights": [x / sum(falling) for x in falling], "factor": max(1 - m * distance, 0.0)}


def _factors_for_weights(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    answers = alibi(n_heads, head, query, distance, d, share)
    return {**answers, "weights": [math.exp(x) for x in answers["bias"]]}


def _before_the_division(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    return {**alibi(n_heads, head, query, distance, d, share), "raw": _slope(n_heads, head) * distance}


def _divided_by_the_root(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    raw = _slope(n_heads, head) * distance / math.sqrt(d)
    return {**alibi(n_heads, head, query, distance, d, share), "raw": raw}


def _one_over_the_slope(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    m = _slope(n_heads, head)
    return {**alibi(n_heads, head, query, distance, d, share), "window": math.ceil(1 / m), "mean": 1 / m}


def _where_the_factor_is_the_share(
    n_heads: int, head: int, query: int, distance: int, d: int, share: float
) -> _Answers:
    window = math.ceil(-math.log(share) / _slope(n_heads, head))
    return {**alibi(n_heads, head, query, distance, d, share), "window": window}


def _learned(n_heads: int, head: int, query: int, distance: int, d: int, share: float) -> _Answers:
    return {**alibi(n_heads, head, query, distance, d, share), "parameters": n_heads}


MISTAKES = (
    (
        _heads_from_zero,
        "Your first head has the slope 1 and your last is too steep. The exponents begin with 8/H, one step from zero, "
        "and end with 8.",
    ),
    (
        _halved_each_time,
        "You halve the slope from head to head, which is right for 8 heads alone. With H of them the exponents go from "
        "8/H to 8 in equal steps.",
    ),
    (
        _steep_looks_far,
        "You take the steepest head for the one that looks farthest. What the slope multiplies is taken off: the "
        "smallest slope looks farthest.",
    ),
    (
        _by_the_position,
        "You count from the beginning of the text. What is taken off grows with the distance from the query, whose own "
        "position loses nothing.",
    ),
    (
        _a_reward,
        "You add for distance. Far keys would then win over near ones: distance costs.",
    ),
    (
        _distance_from_one,
        "You charge the newest key too. Its distance is 0. The weights come out right all the same, since softmax does "
        "not see a shift of all scores; the scores themselves are not what ALiBi makes them.",
    ),
    (
        _a_power_of_two,
        "You turn a bias into a factor with base 2. The slopes are powers of two; softmax takes powers of e.",
    ),
    (
        _linear_weights,
        "You let the weights fall along a line. The bias does; softmax takes its exponential, which never reaches 0.",
    ),
    (
        _factors_for_weights,
        "You forget to divide by the sum. The exponentials of the biases are weights only once they sum to 1.",
    ),
    (
        _before_the_division,
        "You compare the bias with q.k itself. It is added after the division by sqrt(d), so in q.k it weighs sqrt(d) "
        "times as much.",
    ),
    (
        _divided_by_the_root,
        "You divide the bias by sqrt(d) too. It is added to scores that were divided already, so it is q.k that has to "
        "differ by sqrt(d) times as much.",
    ),
    (
        _one_over_the_slope,
        "You take one over the slope for the width. That is about the mean distance of a flat head; the first 1/m keys "
        "hold about 63 percent of the weight, and a steep head is narrower.",
    ),
    (
        _where_the_factor_is_the_share,
        "You look for the key whose own factor is the share. The window is about the sum of the weights up to there: "
        "what is left behind it, r^n, has to be 1 - share.",
    ),
    (
        _learned,
        "You let the heads learn their slopes. They are fixed: the paper's authors tried to train them as well, and "
        "found that such models did not reach far beyond the length of their training texts.",
    ),
)
