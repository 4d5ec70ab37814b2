r"""
From a stack of blocks to a prediction.

Level: concept. You need `fp_transformer.model`, `fp_transformer.residual` and `neural.cross-entropy-gradient`.

Look at one position of a model with a tied table $E$, one row of $C$ numbers for each of $V$ tokens. The stream at its
top is the row of the token that stands there, and what the branches of all blocks have added,

$$x = E_{\text{token}} + b_1 + b_2 + \dots, \qquad h = \frac{x}{\sqrt{v}}, \quad v = \frac1C \sum_c x_c^2, \qquad
z = E\, h :$$

the final norm is RMSNorm with $\varepsilon = 0$ and without gain, and the scores of the next token are products with
the same table. Take the numbers of the example below and a pencil. What are the scores? What would they be if all rows
that make up the stream were twice as large, and what if the final norm had been forgotten? What if the stream were read
in front of the first block, the logit lens at height zero? How much of the score of the token that came next, the
target, is due to each term of the stream?

Then go back. The loss is $-\ln \operatorname{softmax}(z)$ at the target. What is its gradient in the scores? The table
was used twice: what does the row of the target get from its use as output, what does the row of `token` get from its
use as input (let what the branches add stay as it is), and what does that row get in all? And if the model's next token
is the one with the largest score: what is the derivative of its number in a score?

A text of `length` tokens is there to be learned from: how many predictions does it give? A prompt of `length` tokens is
to be continued by a model of `context` positions: how many tokens can be generated before it would have to look at
more positions than there are?

The last question asks which statements are false, in that some example breaks them:

- A. Two blocks may change places, and the model computes the same, since what they add is summed.
- B. In a tied model also the rows of tokens that do not occur in a text get a gradient from it.
- C. If the table is not tied, a token's row of the embedding that does not occur in a text gets none.
- D. With a tied table and no blocks at all, the likeliest next token is always the token itself.
- E. Adding the same number to all scores changes no probability and no gradient.
- F. A model with learned positions can be given longer texts than its table of positions, only with worse results.

You learn how the pieces of a stack add up to a prediction, and what comes back through a table with two uses.
"""

import math
from typing import Any

HINTS = (
    "x is a sum, and h is x divided by one number: so is each score a sum over the terms, all divided by the same "
    "number. Twice as large a stream is divided by twice as much.",
    "The gradient in the scores is p minus one at the target. In z_v = E_v . h it sends (p_v - [v = target]) h to row "
    "v of the table, and to h the sum of (p_v - [v = target]) E_v.",
    "Back through the norm: dx = (dh - h * mean(h * dh)) / sqrt(v). x contains the row of the token, so this is what "
    "the row gets as input. A token that was generated last need not be looked at any more.",
)


def stacking(
    table: list[list[float]], token: int, branches: list[list[float]], target: int, length: int, context: int
) -> dict[str, Any]:
    """
    Answer fourteen questions about a stack of blocks with a tied table.

    Parameters
    ----------
    table
        V rows of C numbers.
    token
        The token at this position, another than `target`.
    branches
        What each branch has added to the stream here, rows of C numbers, one at least.
    target
        The token that came next.
    length
        The number of tokens of a text, two at least.
    context
        The number of positions of the model, not below `length`.

    Returns
    -------
    dict
        One answer for each name:

        - `"scores"`: a list of V numbers, z.
        - `"doubled"`: the scores if all terms of the stream (but not the table of the output) were twice as large.
        - `"unnormed"`: the scores without the final norm, from x as it is.
        - `"lens"`: the scores that are read, through the norm, in front of the first block.
        - `"terms"`: a list, how much of the score of `target` is due to the embedding and to each branch, in order.
        - `"loss"`: in nats.
        - `"in_scores"`: the gradient of the loss in the scores.
        - `"as_output"`: the gradient of the loss in the row of `target`, from its use as output.
        - `"as_input"`: the gradient of the loss in the row of `token`, from its use as input, with the branches fixed.
        - `"tied"`: the gradient of the loss in the row of `token` from both uses.
        - `"in_choice"`: the derivative of the number of the likeliest token in the score of `target`, where there is no
          tie.
        - `"predictions"`: how many predictions a text of `length` tokens gives to learn from.
        - `"room"`: how many tokens can be generated, one after the other, behind a prompt of `length` tokens, if the
          model never looks at more than `context` positions.
        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = stacking([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]], 0, [[0.0, 3.0], [0.0, 4.0]], 2, 5, 8)
    >>> [round(z, 6) for z in answers["scores"]], [round(z, 6) for z in answers["terms"]]
    ([0.2, 2.0, 2.8], [0.0, 1.2, 1.6])
    >>> answers["unnormed"]
    [1.0, 10.0, 14.0]
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['as_input', 'as_output', 'doubled', 'false', 'in_choice', 'in_scores', 'lens', 'loss', 'predictions', 'room',
     'scores', 'terms', 'tied', 'unnormed']
    """
    terms = [table[token], *branches]
    x = _total(terms)
    h = _normed(x)
    scores = _times(table, h)
    p = _softmax(scores)
    dz = [probability - (v == target) for v, probability in enumerate(p)]
    dh = [sum(g * row[c] for g, row in zip(dz, table, strict=True)) for c in range(len(x))]
    as_input = _norm_back(dh, h, _size(x))
    holds = {
        "A": math.isclose(2 * (1.0 + 3.0), 2 * 1.0 + 3.0),  # x -> x + x and x -> x + 3, in either order
        "B": all(g != 0 for g in dz),
        "C": not any(row == 3 for row in (0, 1, 2)),  # only rows that were read get the cotangent of the stream
        "D": _largest(_times([[1.0, 0.0], [3.0, 1.0]], [1.0, 0.0])) == 0,
        "E": _close(_softmax([z + 5 for z in scores]), p),
        "F": len([0.1, 0.2, 0.3]) > 3,  # a table of three positions has no fourth
    }
    return {
        "scores": scores,
        "doubled": _times(table, _normed([2 * e for e in x])),
        "unnormed": _times(table, x),
        "lens": _times(table, _normed(table[token])),
        "terms": [_dot(table[target], term) / _size(x) for term in terms],
        "loss": -math.log(p[target]),
        "in_scores": dz,
        "as_output": [dz[target] * e for e in h],
        "as_input": as_input,
        "tied": [dz[token] * e + d for e, d in zip(h, as_input, strict=True)],
        "in_choice": 0.0,
        "predictions": length - 1,
        "room": context - length + 1,
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _total(rows: list[list[float]]) -> list[float]:
    return [math.fsum(column) for column in zip(*rows, strict=True)]


def _dot(a: list[float], b: list[float]) -> float:
    return math.fsum(p * q for p, q in zip(a, b, strict=True))


def _times(table: list[list[float]], h: list[float]) -> list[float]:
    return [_dot(row, h) for row in table]


def _size(x: list[float]) -> float:
    return math.sqrt(_dot(x, x) / len(x))


def _normed(x: list[float]) -> list[float]:
    return [e / _size(x) for e in x]


def _norm_back(dh: list[float], h: list[float], size: float) -> list[float]:
    along = _dot(h, dh) / len(h)
    return [(d - along * e) / size for d, e in zip(dh, h, strict=True)]


def _softmax(scores: list[float]) -> list[float]:
    e = [math.exp(z - max(scores)) for z in scores]
    return [x / sum(e) for x in e]


def _largest(scores: list[float]) -> int:
    return scores.index(max(scores))


def _close(a: list[float], b: list[float]) -> bool:
    return all(map(math.isclose, a, b))


_WHY = {
    "scores": "Add up the stream, divide it by the root of its mean square, multiply by each row of the table.",
    "doubled": "The norm divides by the size of the stream, and takes the factor out again.",
    "unnormed": "Products of the rows with the stream as it is.",
    "lens": "In front of the first block the stream is the token's row alone; it is read through the same norm.",
    "terms": "The product of the target's row with each term, divided by the size of the whole stream: they add up to "
    "its score.",
    "loss": "Minus the logarithm of the softmax of the scores, at the target.",
    "in_scores": "Softmax minus one at the target.",
    "as_output": "The slope in its score times what it was multiplied with, h.",
    "as_input": "Collect from all scores into h, then go back through the norm; the row is a term of the stream.",
    "tied": "The row of the token was used twice, as a term of the stream and for its own score: both are added.",
    "in_choice": "The number of the largest score stays the same when a score moves a little.",
    "predictions": "Each token but the first is predicted from those before it.",
    "room": "The last token that is generated is not looked at any more.",
    "false": "One example is enough to break a statement; those that no example breaks follow from a few lines.",
}

PROBES = (
    ([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]], 0, [[0.0, 3.0], [0.0, 4.0]], 2, 5, 8),
    ([[1.0, 0.5, -1.0], [0.0, 1.0, 2.0], [2.0, -1.0, 0.5], [-1.0, 0.0, 1.0]], 2, [[0.5, 1.0, 0.0]], 1, 16, 16),
    (
        [[0.5, 0.25], [-1.0, 1.0], [1.0, 1.0], [0.0, -0.5], [2.0, 0.0]],
        4,
        [[-1.0, 0.5], [0.5, 0.5], [0.25, -2.0]],
        3,
        2,
        100,
    ),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for table, token, branches, target, length, context in PROBES:
        rows = [list(row) for row in table]
        got = learner.stacking(rows, token, [list(row) for row in branches], target, length, context)
        assert isinstance(got, dict), f"expected a dict of fourteen answers, got {got!r:.80}"
        for key, expected in stacking(table, token, branches, target, length, context).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            case = (
                f"the table {table}, token {token}, branches {branches}, target {target}, length {length} and context "
                f"{context}"
            )
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


def _final_norm_forgotten(
    table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int
) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    terms = [table[token], *branches]
    return {
        **answers,
        "scores": answers["unnormed"],
        "doubled": [2 * z for z in answers["unnormed"]],
        "lens": _times(table, table[token]),
        "terms": [_dot(table[target], term) for term in terms],
    }


def _stream_replaced(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    last = _times(table, _normed(branches[-1]))
    return {**answers, "scores": last, "doubled": last, "unnormed": _times(table, branches[-1])}


def _terms_normed_alone(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    terms = [table[token], *branches]
    return {**answers, "terms": [_dot(table[target], _normed(term)) for term in terms]}


def _doubled_scores(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    return {**answers, "doubled": [2 * z for z in answers["scores"]]}


def _lens_without_norm(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    return {**answers, "lens": _times(table, table[token])}


def _target_forgotten(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    p, h = _softmax(answers["scores"]), _normed(_total([table[token], *branches]))
    return {**answers, "in_scores": p, "as_output": [p[target] * e for e in h]}


def _only_the_target(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    dz = [g if v == target else 0.0 for v, g in enumerate(answers["in_scores"])]
    return {**answers, "in_scores": dz}


def _input_use_forgotten(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    return {**answers, "tied": [t - d for t, d in zip(answers["tied"], answers["as_input"], strict=True)]}


def _output_use_forgotten(
    table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int
) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    return {**answers, "tied": answers["as_input"]}


def _size_held_fixed(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    x = _total([table[token], *branches])
    dh = [sum(g * row[c] for g, row in zip(answers["in_scores"], table, strict=True)) for c in range(len(x))]
    as_input = [d / _size(x) for d in dh]
    output = [t - d for t, d in zip(answers["tied"], answers["as_input"], strict=True)]
    return {**answers, "as_input": as_input, "tied": [o + d for o, d in zip(output, as_input, strict=True)]}


def _norm_skipped_back(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    C = len(table[0])
    dh = [sum(g * row[c] for g, row in zip(answers["in_scores"], table, strict=True)) for c in range(C)]
    output = [t - d for t, d in zip(answers["tied"], answers["as_input"], strict=True)]
    return {**answers, "as_input": dh, "tied": [o + d for o, d in zip(output, dh, strict=True)]}


def _choice_for_gradient(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    return {**answers, "in_choice": answers["in_scores"][target]}


def _a_prediction_each(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    return {**stacking(table, token, branches, target, length, context), "predictions": length}


def _last_is_looked_at(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    return {**stacking(table, token, branches, target, length, context), "room": context - length}


def _past_the_context(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    answers = stacking(table, token, branches, target, length, context)
    return {**answers, "room": context, "false": "AD"}


def _blocks_commute(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    return {**stacking(table, token, branches, target, length, context), "false": "DF"}


def _itself_is_likeliest(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    return {**stacking(table, token, branches, target, length, context), "false": "AF"}


def _absent_rows_rest(table: _Rows, token: int, branches: _Rows, target: int, length: int, context: int) -> _Answers:
    return {**stacking(table, token, branches, target, length, context), "false": "ABDF"}


MISTAKES = (
    (
        _final_norm_forgotten,
        "You forget the final norm. A stream grows from block to block, and without it the scores grow along: the "
        "model is surer of itself the deeper it is.",
    ),
    (
        _stream_replaced,
        "You read the last branch alone. The stream is the sum of the embedding and of all that was added.",
    ),
    (
        _terms_normed_alone,
        "You divide each term by its own size. The norm divides the sum by one number, so the terms' shares add up to "
        "the score.",
    ),
    (
        _doubled_scores,
        "You double the scores with the stream. The norm divides by its size: at eps = 0 the factor is gone.",
    ),
    (
        _lens_without_norm,
        "You read the logit lens without the norm. The stream is read at every height as it is at the top: through the "
        "final norm.",
    ),
    (
        _target_forgotten,
        "You take the softmax alone for the gradient. The loss has the target's own score in it, which takes one off "
        "there.",
    ),
    (
        _only_the_target,
        "You send the gradient to the target's score alone. Softmax divides by a sum of all: each other score has the "
        "slope p.",
    ),
    (
        _input_use_forgotten,
        "You count the tied gradient once, as output. The row of the token is a term of the stream as well, and what "
        "comes back there is added.",
    ),
    (
        _output_use_forgotten,
        "You count the tied gradient once, as input. The row of the token also made a score, that of the token itself, "
        "and every score has a slope.",
    ),
    (
        _size_held_fixed,
        "You treat the size in the norm as a constant. It is made of the stream too: the part of the gradient along h "
        "is taken away.",
    ),
    (
        _norm_skipped_back,
        "You pass the gradient from h to x as it is. Between the two stands the norm, with its Jacobian.",
    ),
    (
        _choice_for_gradient,
        "You put an arg-max in place of a gradient. The number of the largest score does not move when a score moves a "
        "little: its derivative is 0, and nothing can be learned through a choice. What has a slope is a probability.",
    ),
    (
        _a_prediction_each,
        "You count a prediction for each token. The first has nothing in front of it, and behind the last there is "
        "nothing to compare with.",
    ),
    (
        _last_is_looked_at,
        "You let the last new token be looked at. To choose it the model has to see the tokens before; that the text "
        "grows by it costs no position.",
    ),
    (
        _past_the_context,
        "You go past the context. Prompt and new tokens share the positions, and a table of positions has no row "
        "behind its last.",
    ),
    (
        _blocks_commute,
        "You think that the order of blocks does not matter. What they add is summed, but each reads what those below "
        "have added.",
    ),
    (
        _itself_is_likeliest,
        "You think that a row fits itself best. The score is a product: a longer row in a similar direction has a "
        "larger one.",
    ),
    (
        _absent_rows_rest,
        "You think that rows of tokens that do not occur rest. As outputs all tokens have a probability, and each is "
        "pushed down by it.",
    ),
)
