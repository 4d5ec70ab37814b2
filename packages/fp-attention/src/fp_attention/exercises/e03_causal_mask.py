r"""
The causal mask.

Level: implement. You need `fp_attention.masks`.

A language model is trained on all positions of a text at once, and at each of them it has to predict the next token.
If a query could look at later keys it would find the answer there. So from scores $S_{ij}$ make weights $P_{ij}$ that
are exactly zero wherever the key is later than the query, and that sum to 1 in each row:

$$
P_{ij} = \frac{M_{ij}\, e^{S_{ij}}}{\sum_{l} M_{il}\, e^{S_{il}}}, \qquad
M_{ij} = 1 \text{ if key } j \text{ is not later than query } i, \text{ else } 0.
$$

Two things make it more than one line. There may be more keys than queries: when a text is continued, the keys of its
beginning are there already, and the last query stands beside the last key, the one before it beside the one before,
and so on. And scores may be as large as 10,000, so the exponentials of the formula are not numbers; a masked score may
be the largest of all, and must not have a say in that either.

You learn where the mask has to act, before the division, and how it is placed: two mistakes in it look alike in the
loss of an untrained model, and one of them makes the loss of a trained one too good to be true.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Which position does the query in row r have, if there are Tq queries and Tk keys and the last ones stand side by "
    "side? Compare it with the positions of the keys: a column against a row of numbers gives the whole table.",
    "Put minus infinity where a key is masked, before anything else: its exponential is 0, and it is never the "
    "largest. Every query sees at least its own key, so something finite is left in each row.",
    "`seen = np.arange(Tk) <= np.arange(Tq)[:, None] + Tk - Tq`; then `np.where(seen, scores, -np.inf)`, subtract the "
    "largest of each row, take exponentials and divide by the sum over the last axis.",
)


def causal_weights(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    The causal mask, and the weights under it.

    Parameters
    ----------
    scores
        Floats of the shape (..., Tq, Tk), with any leading axes or none: row i, column j is the score of query i and
        key j. There are at least as many keys as queries, and the last query stands beside the last key.

    Returns
    -------
    seen : ndarray
        bool, shape (Tq, Tk): True where the key is not later than the query.
    weights : ndarray
        In the shape of `scores`. Where `seen` is False they are exactly 0, and every row sums to 1.

    Examples
    --------
    >>> seen, weights = causal_weights(np.log(np.array([[4.0, 1.0, 1.0], [1.0, 3.0, 2.0], [1.0, 2.0, 5.0]])))
    >>> seen.astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    >>> weights.round(6).tolist()
    [[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.125, 0.25, 0.625]]
    """
    Tq, Tk = scores.shape[-2:]
    seen = np.arange(Tk) <= np.arange(Tq)[:, None] + Tk - Tq
    masked = np.where(seen, scores, -np.inf)
    e = np.exp(masked - masked.max(axis=-1, keepdims=True))
    return seen, e / e.sum(axis=-1, keepdims=True)


_SQUARE = np.log(np.array([[4.0, 1.0, 1.0], [1.0, 3.0, 2.0], [1.0, 2.0, 5.0]]))
_WIDE = np.log(np.array([[2.0, 6.0, 1.0, 3.0], [1.0, 2.0, 5.0, 8.0]]))
_LARGE = np.array([[1000.0, 0.0, 0.0], [9000.0, 9001.0, 0.0], [-5000.0, -5000.0, -5001.0]])
_HIDDEN = np.array([[0.0, 900.0, 10_000.0], [1.0, 2.0, 10_000.0], [0.0, 1.0, 0.5]])
_LOW = np.array([[-10_000.0, 5.0], [-10_000.0, -9_999.0]])


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(3)
    for scores, why in (
        (_SQUARE, "Each query shares out its attention among the keys up to its own."),
        (_WIDE, "The last query stands beside the last key, the first of two beside the last but one."),
        (np.array([[0.5]]), "The only key there is has the weight 1."),
        (np.zeros((1, 5)), "A single query at the end of the text sees every key."),
        (rng.normal(size=(5, 5)), "Each query shares out its attention among the keys up to its own."),
        (rng.normal(size=(2, 3, 4, 7)), "Leading axes, such as texts and heads, are all treated alike."),
        (_LARGE, "Subtract the largest score of each row before the exponential."),
        (_HIDDEN, "A masked score must have no say in anything, be it ever so large."),
        (_LOW, "A masked score must have no say in anything, however low the others are."),
    ):
        got = learner.causal_weights(scores.copy())
        case = f"scores of shape {scores.shape}"
        assert isinstance(got, tuple | list) and len(got) == 2, f"{case}: expected a mask and weights, got {got!r:.80}"
        seen, weights = got
        Tq, Tk = scores.shape[-2:]
        assert isinstance(seen, np.ndarray) and seen.dtype == bool and seen.shape == (Tq, Tk), (
            f"{case}: expected a Boolean mask of shape {(Tq, Tk)}, got {_what(seen)}"
        )
        for i in range(Tq):
            last = Tk - Tq + i  # the query's own position
            right = [j <= last for j in range(Tk)]
            assert seen[i].tolist() == right, (
                f"{case}: query {i} stands at position {last} and sees {_bits(right)}, got {_bits(seen[i])}. A key "
                "at the query's own position is seen, and none after it."
            )
        assert isinstance(weights, np.ndarray) and weights.dtype.kind == "f" and weights.shape == scores.shape, (
            f"{case}: expected weights of the shape of the scores, got {_what(weights)}"
        )
        rows = zip(scores.reshape(-1, Tk), weights.reshape(-1, Tk), strict=True)
        for n, (row, came) in enumerate(rows):
            last = Tk - Tq + n % Tq
            allowed = row[: last + 1].tolist()
            e = [math.exp(s - max(allowed)) for s in allowed]
            expected = [x / math.fsum(e) for x in e] + [0.0] * (Tk - last - 1)
            # rounding is near 1e-16, and any mistake far above 1e-9
            assert np.allclose(came, expected, rtol=0, atol=1e-9), (
                f"{case}: a query at position {last} has the scores {_show(row)}. Expected the weights "
                f"{_show(expected)}, got {_show(came)}. {why}"
            )
            assert not came[last + 1 :].any(), (
                f"{case}: a query at position {last} gives masked keys the weights {_show(came[last + 1 :])}; they "
                "are exactly 0, or the future leaks through them"
            )


def _what(x: Any) -> str:
    return f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else f"{x!r:.80}"


def _bits(row: Any) -> str:
    return "".join("1" if x else "0" for x in row)


def _show(line: Any) -> str:
    return f"[{', '.join(f'{x:.6g}' for x in line)}]"


_Answer = tuple[np.ndarray, np.ndarray]


def _softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def _under(seen: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Weights under another mask; a row that sees nothing gets zeros."""
    masked = np.where(seen, scores, -np.inf)
    largest = masked.max(axis=-1, keepdims=True)
    e = np.exp(masked - np.where(np.isinf(largest), 0, largest))
    return np.asarray(e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-300))


def _own_position(scores: np.ndarray) -> np.ndarray:
    Tq, Tk = scores.shape[-2:]
    return np.arange(Tq)[:, None] + Tk - Tq


def _after_softmax(scores: np.ndarray) -> _Answer:
    seen = causal_weights(scores)[0]
    return seen, _softmax(scores) * seen


def _after_softmax_and_divided(scores: np.ndarray) -> _Answer:
    seen, p = _after_softmax(scores)
    with np.errstate(all="ignore"):
        return seen, p / p.sum(axis=-1, keepdims=True)


def _not_itself(scores: np.ndarray) -> _Answer:
    seen = np.arange(scores.shape[-1]) < _own_position(scores)
    return seen, _under(seen, scores)


def _one_ahead(scores: np.ndarray) -> _Answer:
    seen = np.arange(scores.shape[-1]) <= _own_position(scores) + 1
    return seen, _under(seen, scores)


def _towards_the_end(scores: np.ndarray) -> _Answer:
    seen = np.arange(scores.shape[-1]) >= _own_position(scores)
    return seen, _under(seen, scores)


def _inverted(scores: np.ndarray) -> _Answer:
    seen, weights = causal_weights(scores)
    return ~seen, weights


def _from_the_start(scores: np.ndarray) -> _Answer:
    seen = np.tri(*scores.shape[-2:]) > 0
    return seen, _under(seen, scores)


def _over_queries(scores: np.ndarray) -> _Answer:
    seen = causal_weights(scores)[0]
    masked = np.where(seen, scores, -np.inf)
    e = np.exp(masked - masked.max(axis=-2, keepdims=True))
    return seen, np.asarray(e / e.sum(axis=-2, keepdims=True))


def _score_times_mask(scores: np.ndarray) -> _Answer:
    seen = causal_weights(scores)[0]
    return seen, _softmax(scores * seen)


def _a_little_less(scores: np.ndarray) -> _Answer:
    seen = causal_weights(scores)[0]
    return seen, _softmax(np.where(seen, scores, scores - 100))


def _a_low_score(scores: np.ndarray) -> _Answer:
    seen = causal_weights(scores)[0]
    return seen, _softmax(np.where(seen, scores, -100.0))


def _penalty_after_softmax(scores: np.ndarray) -> _Answer:
    seen = causal_weights(scores)[0]
    return seen, np.where(seen, _softmax(scores), _softmax(scores) - 1e9)


def _no_shift(scores: np.ndarray) -> _Answer:
    seen = causal_weights(scores)[0]
    with np.errstate(all="ignore"):
        e = np.where(seen, np.exp(scores), 0)
        return seen, np.asarray(e / e.sum(axis=-1, keepdims=True))


MISTAKES = (
    (
        _after_softmax,
        "You mask after the softmax. The weights that are left no longer sum to 1, and each still depends on the "
        "hidden scores through the sum it was divided by: the future leaks.",
    ),
    (
        _after_softmax_and_divided,
        "You mask after the softmax and divide once more. On paper that is right; but if a hidden score is much larger "
        "than the others, nothing but zeros is left of these, and 0 / 0 is no number.",
    ),
    (
        _not_itself,
        "Your mask is shifted by one: no query sees its own position, and the first sees nothing. The token at the "
        "query's position has been read; it is the next one that has to be predicted.",
    ),
    (
        _one_ahead,
        "Your mask is shifted by one: every query sees the next token, the one that it is to predict. The training "
        "loss will be wonderful, and the model will have learned to copy.",
    ),
    (
        _towards_the_end,
        "Your mask is the transpose of the right one. Rows are queries and columns are keys: what is earlier is to the "
        "left of the diagonal.",
    ),
    (
        _inverted,
        "You return the mask of what is hidden. Here True means that a key may be seen; libraries differ in this, so "
        "that it is worth a look each time.",
    ),
    (
        _from_the_start,
        "You set the first query beside the first key. With more keys than queries it is the last ones that stand side "
        "by side: a single new query at the end of a text sees all of it.",
    ),
    (
        _over_queries,
        "You divide by sums over the queries. It is each query, a row, whose weights sum to 1: the sum runs over the "
        "keys, the last axis.",
    ),
    (
        _score_times_mask,
        "You multiply scores by the mask. A score of 0 is not nothing: its exponential is 1. Nothing is a score of "
        "minus infinity.",
    ),
    (
        _a_little_less,
        "You lower hidden scores by a fixed amount. A hidden score may exceed the others by more than that, and what "
        "is hidden must not depend on what it is: put minus infinity.",
    ),
    (
        _a_low_score,
        "You replace hidden scores by a low number. Scores may all be lower than that, and then the hidden keys win: "
        "put minus infinity.",
    ),
    (
        _penalty_after_softmax,
        "You subtract the large number from the weights. It belongs to the scores, before the softmax; a weight is "
        "never negative.",
    ),
    (
        _no_shift,
        "You take exponentials of the scores as they are. From 710 on they are infinite, and far below 0 nothing is "
        "left of a row: subtract the largest visible score of each row first.",
    ),
)

PROBES = ((_SQUARE,), (_WIDE,), (_LARGE,), (_HIDDEN,), (_LOW,))
