r"""
A memory of keys and values.

Level: concept. You need `fp_transformer.feedforward`.

The feed-forward layer of a block, without biases and with relu as its bend, is a sum over $F$ hidden units: each has a
**key** $k_f$, a row of the first matrix, and a **value** $v_f$, a column of the second, both of width $C$, and

$$y = \sum_f \operatorname{relu}(k_f \cdot x)\, v_f .$$

Three units have the keys $(1, 0)$, $(0, 1)$, $(-1, -1)$ and the values $(1, 1)$, $(2, 0)$, $(0, 5)$; the input is
$(3, 2)$. Take a pencil. How strongly does each unit answer, and what comes out? What if the first value is erased, the
input doubled, or turned into its negative? Which keys can learn nothing from this input? How does the first output move
when the first input does? What would attention make of the same keys and values, with the query $x$ and scores
$k_f \cdot x$? And with a gate: let the unit's answer be multiplied by $u_f \cdot x$, where $u_f$ is a second key. What
comes out then, and what if the input is doubled?

The last question asks which statements are false, in that some example breaks them. Layers have no biases in them.

- A. If the positions of a text are permuted in front of the layer, the outputs are permuted in the same way.
- B. Two units may change places, keys and values, and the layer computes the same.
- C. Without the bend, a larger $F$ lets the layer compute more, however large it is.
- D. Where no key fits, the layer gives out the mean of its values, as attention does.
- E. With GELU in place of relu no strength is negative either.
- F. If all keys are multiplied by $c > 0$ and all values divided by $c$, a layer with relu computes the same.

You learn to see a look-up in two matrix products, and in what it differs from that of attention.
"""

import math
from typing import Any

HINTS = (
    "The product of the first matrix with x has one number for each key; the second matrix times the bent numbers is a "
    "sum of its columns, each times one of them.",
    "relu(2 s) = 2 relu(s), so without a gate all is twice as large. A unit with a negative score is silent, and relu "
    "has the slope 0 there: neither its key nor, through it, the input gets a gradient.",
    "The slope of output c in input i is the sum of v_f[c] * k_f[i] over the units that answer. With a gate there are "
    "two factors that double. Widths: two matrices of C F numbers against three of C F'.",
)


def feed_forward(
    x: list[float], keys: list[list[float]], ups: list[list[float]], values: list[list[float]]
) -> dict[str, Any]:
    """
    Answer fourteen questions about a feed-forward layer.

    Parameters
    ----------
    x
        The input, C numbers.
    keys, ups, values
        F rows of C numbers each: the keys, the second keys of gated units, the values. No key is orthogonal to x.

    Returns
    -------
    dict
        One answer for each name. Of the layer with relu and without gates:

        - `"strengths"`: a list, how strongly each unit answers.
        - `"output"`: a list of C numbers.
        - `"erased"`: the output if the value of unit 0 is put to zero.
        - `"doubled"`: the output for the input 2 x.
        - `"negated"`: the output for the input -x.
        - `"learning"`: a list of the units, by number and rising, whose key can get a gradient from this input.
        - `"slope"`: the derivative of the first output in the first input.
        - `"parameters"`: how many numbers keys and values are.

        Of other layers:

        - `"linear"`: the output without a bend.
        - `"attention"`: the output of attention with the query x, to these keys and values, with scores that are not
          divided by anything.
        - `"gated"`: the output if the strength of unit f is multiplied by the product of `ups[f]` and x.
        - `"gated_doubled"`: the output of the gated layer for the input 2 x.
        - `"gated_width"`: how many units, a number that need not be whole, a gated layer has that has as many
          parameters as this one without gates.

        And:

        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = feed_forward(
    ...     [2.0, -1.0], [[1.0, 0.0], [1.0, 3.0]], [[0.0, 1.0], [1.0, 1.0]], [[1.0, 5.0], [4.0, 0.0]]
    ... )
    >>> answers["strengths"], answers["output"], answers["learning"]
    ([2.0, 0.0], [2.0, 10.0], [0])
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['attention', 'doubled', 'erased', 'false', 'gated', 'gated_doubled', 'gated_width', 'learning', 'linear',
     'negated', 'output', 'parameters', 'slope', 'strengths']
    """
    scores = [_dot(key, x) for key in keys]
    strengths = [max(score, 0.0) for score in scores]
    through = [_dot(up, x) for up in ups]
    gated = _sum([s * u for s, u in zip(strengths, through, strict=True)], values)
    exponentials = [math.exp(score - max(scores)) for score in scores]
    learning = [f for f, score in enumerate(scores) if score > 0]
    holds = {
        "A": [_square(t) for t in (3.0, -1.0, 2.0)][::-1] == [_square(t) for t in (2.0, -1.0, 3.0)],
        "B": math.isclose(_square(1.5, (2.0, -1.0), (3.0, 7.0)), _square(1.5, (-1.0, 2.0), (7.0, 3.0))),
        "C": len({2.0 * 3.0, 1.0 * 2.0 + 4.0 * 1.0}) > 1,  # width one: one unit, and two, give the same 6 x
        "D": math.isclose(_square(1.0, (-2.0, -1.0), (3.0, 7.0)), 5.0),
        "E": 0.5 * -1.0 * (1 + math.erf(-1.0 / math.sqrt(2))) >= 0,
        "F": math.isclose(_square(1.5, (4.0, -2.0), (1.5, 3.5)), _square(1.5, (2.0, -1.0), (3.0, 7.0))),
    }
    return {
        "strengths": strengths,
        "output": _sum(strengths, values),
        "erased": _sum([0.0, *strengths[1:]], values),
        "doubled": _sum([2 * s for s in strengths], values),
        "negated": _sum([max(-score, 0.0) for score in scores], values),
        "learning": learning,
        "slope": sum(keys[f][0] * values[f][0] for f in learning),
        "parameters": 2 * len(keys) * len(x),
        "linear": _sum(scores, values),
        "attention": [y / sum(exponentials) for y in _sum(exponentials, values)],
        "gated": gated,
        "gated_doubled": [4 * y for y in gated],
        "gated_width": 2 * len(keys) / 3,
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _dot(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def _sum(weights: list[float], values: list[list[float]]) -> list[float]:
    """A weighted sum of rows."""
    return [sum(w * v for w, v in zip(weights, column, strict=True)) for column in zip(*values, strict=True)]


def _square(x: float, keys: tuple[float, ...] = (2.0, -1.0), values: tuple[float, ...] = (3.0, 7.0)) -> float:
    """A layer of width one, for the statements."""
    return sum(max(k * x, 0.0) * v for k, v in zip(keys, values, strict=True))


_WHY = {
    "strengths": "A strength is relu of the product of key and input.",
    "output": "It is the sum of strength times value over all units.",
    "erased": "The others answer as before: here they do not compete.",
    "doubled": "All scores double, relu(2 s) = 2 relu(s), and the values stay.",
    "negated": "Now those answer that were silent.",
    "learning": "Where the score is negative relu is flat, and nothing passes back to the key.",
    "slope": "The sum of v[0] * k[0] over the units that answer.",
    "parameters": "Each unit has a key and a value of C numbers.",
    "linear": "Without a bend silent units speak with a negative strength.",
    "attention": "Softmax of the scores: exponentials divided by their sum.",
    "gated": "Each strength takes another factor, which may be negative.",
    "gated_doubled": "Two factors double, the strength and what passes through.",
    "gated_width": "A gated unit has three rows of C numbers.",
    "false": "One example is enough to break a statement; those that no example breaks follow from a few lines.",
}

_THREE = [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]

PROBES = (
    ([3.0, 2.0], _THREE, [[1.0, 1.0], [0.5, -1.0], [2.0, 0.0]], [[1.0, 1.0], [2.0, 0.0], [0.0, 5.0]]),
    ([1.0, -0.5], _THREE, [[1.0, 4.0], [2.0, 1.0], [1.0, 1.0]], [[1.0, -2.0], [2.0, 0.5], [3.0, 5.0]]),
    (
        [0.5, -1.0, 2.0],
        [[2.0, 1.0, 0.25], [1.0, 1.0, -1.0], [0.0, -1.0, 0.5], [-1.0, 0.0, 1.0], [0.5, 0.5, -0.25]],
        [[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [1.0, -1.0, 1.0], [0.0, 1.0, -0.5], [2.0, 2.0, 2.0]],
        [[1.0, 0.0, 3.0], [0.0, 4.0, -1.0], [2.0, -2.0, 1.0], [-1.0, 1.0, 0.5], [3.0, 1.0, 1.0]],
    ),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for x, keys, ups, values in PROBES:
        got = learner.feed_forward(list(x), *([list(row) for row in rows] for rows in (keys, ups, values)))
        assert isinstance(got, dict), f"expected a dict of fourteen answers, got {got!r:.80}"
        for key, expected in feed_forward(x, keys, ups, values).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            case = f"the input {x}, the keys {keys}, the second keys {ups} and the values {values}"
            assert _same(got[key], expected), f"{_what_is_wrong(case, key, expected, got[key])} {_WHY[key]}"


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        if isinstance(expected, list):
            return len(got) == len(expected) and all(_same(x, y) for x, y in zip(got, expected, strict=True))
        # far above rounding, far below any other answer; the absolute part is for an expected 0
        return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)
    except (TypeError, ValueError):
        return False


def _what_is_wrong(case: str, key: str, expected: Any, got: Any) -> str:
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


_Rows = list[list[float]]
_Answers = dict[str, Any]


def _bend_forgotten(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    answers = feed_forward(x, keys, ups, values)
    scores, output = [_dot(key, x) for key in keys], answers["linear"]
    return {
        **answers,
        "strengths": scores,
        "output": output,
        "erased": _sum([0.0, *scores[1:]], values),
        "doubled": [2 * y for y in output],
        "negated": [-y for y in output],
    }


def _strengths_compete(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    answers = feed_forward(x, keys, ups, values)
    total = sum(answers["strengths"])
    return {
        **answers,
        "strengths": [s / total for s in answers["strengths"]],
        "output": [y / total for y in answers["output"]],
    }


def _others_take_over(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    answers = feed_forward(x, keys, ups, values)
    total, rest = sum(answers["strengths"]), sum(answers["strengths"][1:])
    grown = [y * total / rest for y in answers["erased"]] if rest else answers["erased"]
    return {**answers, "erased": grown}


def _doubling_cancels(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    answers = feed_forward(x, keys, ups, values)
    return {**answers, "doubled": answers["output"], "gated_doubled": answers["gated"]}


def _odd_as_a_line(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    answers = feed_forward(x, keys, ups, values)
    return {**answers, "negated": [-y for y in answers["output"]]}


def _silent_to_minus(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    return {**feed_forward(x, keys, ups, values), "negated": [0.0] * len(x)}


def _silent_keys_learn(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    return {**feed_forward(x, keys, ups, values), "learning": list(range(len(keys)))}


def _slope_through_all(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    slope = sum(key[0] * value[0] for key, value in zip(keys, values, strict=True))
    return {**feed_forward(x, keys, ups, values), "slope": slope}


def _slope_with_strengths(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    answers = feed_forward(x, keys, ups, values)
    triples = zip(answers["strengths"], keys, values, strict=True)
    return {**answers, "slope": sum(s * key[0] * value[0] for s, key, value in triples)}


def _scores_divided(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    e = [math.exp(_dot(key, x) / math.sqrt(len(x))) for key in keys]
    return {**feed_forward(x, keys, ups, values), "attention": [y / sum(e) for y in _sum(e, values)]}


def _softmax_of_strengths(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    e = [math.exp(max(_dot(key, x), 0.0)) for key in keys]
    return {**feed_forward(x, keys, ups, values), "attention": [y / sum(e) for y in _sum(e, values)]}


def _relu_on_the_wrong_branch(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    answers = feed_forward(x, ups, keys, values)
    own = feed_forward(x, keys, ups, values)
    return {**own, "gated": answers["gated"], "gated_doubled": answers["gated_doubled"]}


def _both_bent(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    gates = [max(_dot(key, x), 0.0) * max(_dot(up, x), 0.0) for key, up in zip(keys, ups, strict=True)]
    gated = _sum(gates, values)
    return {**feed_forward(x, keys, ups, values), "gated": gated, "gated_doubled": [4 * y for y in gated]}


def _one_factor_doubles(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    answers = feed_forward(x, keys, ups, values)
    return {**answers, "gated_doubled": [2 * y for y in answers["gated"]]}


def _keys_alone_counted(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    return {**feed_forward(x, keys, ups, values), "parameters": len(keys) * len(x)}


def _width_kept(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    return {**feed_forward(x, keys, ups, values), "gated_width": float(len(keys))}


def _wider_without_a_bend(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    return {**feed_forward(x, keys, ups, values), "false": "DE"}


def _must_speak(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    return {**feed_forward(x, keys, ups, values), "false": "CE"}


def _positions_matter(x: list[float], keys: _Rows, ups: _Rows, values: _Rows) -> _Answers:
    return {**feed_forward(x, keys, ups, values), "false": "ACDE"}


MISTAKES = (
    (
        _bend_forgotten,
        "You leave out the bend. A unit whose key points away from the input is silent, it does not speak against its "
        "value.",
    ),
    (
        _strengths_compete,
        "You divide the strengths by their sum, as attention does. The units of this layer do not compete: each "
        "answers by itself.",
    ),
    (
        _others_take_over,
        "You let the others take over when a value is erased. That happens in attention, where weights sum to 1; here "
        "the output loses one term, and nothing else changes.",
    ),
    (
        _doubling_cancels,
        "You let the size of the input cancel. Nothing divides by it in this layer; it is the norm in front that does.",
    ),
    (
        _odd_as_a_line,
        "You turn the sign of the output with that of the input. The bend is no straight line: for -x other units "
        "answer.",
    ),
    (
        _silent_to_minus,
        "You let all units be silent for -x. Those that were silent for x have positive scores now.",
    ),
    (
        _silent_keys_learn,
        "You let silent units learn. Their strength is 0 and stays 0 when the key moves a little: relu is flat there.",
    ),
    (
        _slope_through_all,
        "You take the slope through all units. A silent one passes nothing on, there or back.",
    ),
    (
        _slope_with_strengths,
        "You multiply the slope by the strengths. The slope of relu is 1 for every unit that answers, however loudly.",
    ),
    (
        _scores_divided,
        "You divide the scores by the root of the width. So does attention in a transformer; here the scores are to be "
        "taken as they are.",
    ),
    (
        _softmax_of_strengths,
        "You take the softmax of the strengths. Attention has no relu: it takes exponentials of the scores themselves.",
    ),
    (
        _relu_on_the_wrong_branch,
        "You exchange gate and value: relu is on the wrong branch. The first key is bent, the second passes through as "
        "it is.",
    ),
    (
        _both_bent,
        "You bend both factors. The product with the second key stays as it is, and may be negative.",
    ),
    (
        _one_factor_doubles,
        "You double the gated output with the input. Both factors double: it is four times as large.",
    ),
    (
        _keys_alone_counted,
        "You count the keys alone. Each unit has a value too.",
    ),
    (
        _width_kept,
        "You keep the width. A gated unit has three rows in place of two, so for the same number of parameters there "
        "are two thirds as many: 8/3 C in place of 4 C.",
    ),
    (
        _wider_without_a_bend,
        "You think that without a bend more units can do more. Two matrices are one then, of a rank of at most C: what "
        "several units of width one do, a single one can do.",
    ),
    (
        _must_speak,
        "You let the layer speak where nothing fits. That is attention, whose weights sum to 1; here all strengths are "
        "0, and the output is.",
    ),
    (
        _positions_matter,
        "You think that the layer sees the order of the positions. It acts on each by itself, by one function.",
    ),
)
