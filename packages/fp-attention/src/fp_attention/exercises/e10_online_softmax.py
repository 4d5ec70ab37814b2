r"""
A softmax that sees each score once.

Level: implement. You need `fp_attention.softmax`.

The output of attention for one query is a mean of values, weighted by the exponentials of the scores,

$$y = \frac{\sum_j e^{s_j}\, v_j}{\sum_j e^{s_j}} ,$$

and beside it a backward pass wants the logarithm of the sum below, $\ell = \log \sum_j e^{s_j}$. Exponentials overflow,
so the largest score is taken off first; but here the scores come in blocks, a block is gone when the next one comes,
and the largest of all may be in the last. What may be kept between two blocks does not grow with their number: a
maximum, a sum, and a sum of values.

Write it so that scores of a thousand and of minus a thousand are as good as any others. A score may be $-\infty$: the
key is masked, and what its value holds does not count, though it is an ordinary number. A whole block may be
masked, the first one too; not all of them.

The blocks are handed out one after another, all in the same memory: a block that you keep is overwritten by the next.

You learn the step on which tiled attention rests: how two partial results with different shifts become one, so that
nobody ever needs a whole row of scores.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

HINTS = (
    "Keep m, the largest score so far, l, the sum of exp(s - m), and a, the sum of exp(s - m) v. When a block raises m "
    "to M, every exponential so far was taken with the wrong shift. By which one factor are they all wrong?",
    "exp(s - M) = exp(s - m) exp(m - M), so l and a are both multiplied by exp(m - M), which is at most 1. Then the "
    "block adds its own terms, taken with M. Divide once, at the end.",
    "Start with m = -inf, l = 0, a = 0: the first factor is exp(-inf) = 0. As long as M is -inf only masked keys have "
    "come: skip the block, for -inf - -inf is NaN. At the end y = a / l and log-sum-exp = m + log(l).",
)


def online_softmax(blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, float]:
    """
    Mean of values weighted by the softmax of their scores, and the logarithm of the sum of exponentials.

    Parameters
    ----------
    blocks
        Pairs of the scores of some keys, floats of shape `(n,)`, and their values, floats of shape `(n, D)`; n is at
        least 1 and may differ, D may not. They can be read once. Scores may be minus infinity, but not all.

    Returns
    -------
    (ndarray, float)
        The weighted mean, shape `(D,)`; the log-sum-exp of all scores.

    Examples
    --------
    >>> first = np.array([0.0, np.log(2.0)]), np.array([[8.0, 0.0], [8.0, 4.0]])
    >>> second = np.array([np.log(5.0)]), np.array([[0.0, 8.0]])
    >>> y, log_sum = online_softmax([first, second])
    >>> y.round(6).tolist(), round(log_sum, 6) == round(np.log(8.0).item(), 6)
    ([3.0, 6.0], True)
    """
    largest, total, summed = -math.inf, 0.0, np.zeros(1)  # one zero repeats to any D
    for scores, values in blocks:
        new = max(largest, float(scores.max()))
        if new == -math.inf:  # masked, all of it so far
            continue
        factor, e = math.exp(largest - new), np.exp(scores - new)
        total = factor * total + float(e.sum())
        summed = factor * summed + e @ values
        largest = new
    return summed / total, largest + math.log(total)


_Blocks = list[tuple[np.ndarray, np.ndarray]]
_INF = math.inf


def _cut(scores: list[float], sizes: list[int], seed: int, D: int = 3) -> _Blocks:
    """Blocks of these sizes, with values drawn at random."""
    values = np.random.default_rng(seed).normal(size=(len(scores), D))
    ends = np.cumsum(sizes)[:-1]
    return list(zip(np.split(np.array(scores), ends), np.split(values, ends), strict=True))


_ONE = _cut([0.5, 2.0, -1.0], [3], 1)
_FALLING = _cut([3.0, 2.0, 1.0, 0.5, 0.25], [2, 3], 2)
_RISING = _cut([0.25, -0.5, 1.0, 2.0, 1.5, 3.0, 4.5], [2, 1, 3, 1], 3)
_HIGH = _cut([1000.0, 1001.0, 1003.0, 999.0], [1, 1, 2], 4, D=5)
_LOW = _cut([-1001.0, -1000.0, -1002.0, -1003.0], [2, 2], 5, D=2)
_APART = _cut([-900.0, 900.0, 0.0, -5000.0, 899.5], [1, 2, 1, 1], 6)
_SOME_MASKED = _cut([1.0, -_INF, 2.5, -_INF, -_INF, 0.5], [2, 1, 2, 1], 7)
_FIRST_MASKED = _cut([-_INF, -_INF, 1.0, 2.0, -_INF], [2, 2, 1], 8, D=1)

_CASES = (
    ("one block", _ONE, "The weights are the exponentials over their sum."),
    ("two blocks, the largest score first", _FALLING, "Divide once at the end, not block by block."),
    (
        "blocks that raise the maximum",
        _RISING,
        "When the maximum grows from m to M, the sum and the summed values so far both take the factor exp(m - M).",
    ),
    ("scores near a thousand", _HIGH, "exp(1000) is infinite: take off the largest score so far."),
    (
        "scores near minus a thousand",
        _LOW,
        "exp(-1000) is 0: the largest score has to become 0, also where all are negative. Which maximum do you begin "
        "with?",
    ),
    ("scores far apart", _APART, "A block that is far below the maximum adds nothing, one far above replaces all."),
    ("masked keys in some blocks", _SOME_MASKED, "A score of minus infinity adds exp(-inf) = 0."),
    (
        "a first block that is masked altogether",
        _FIRST_MASKED,
        "Where nothing but masked keys has come, the maximum is still minus infinity, and -inf - -inf is NaN.",
    ),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(10)
    long = _cut(np.sort(rng.normal(0, 30, size=997)).tolist(), [1] * 96 + [53] * 17, 9)
    for name, blocks, why in (*_CASES, ("a thousand keys, the largest scores last", long, _CASES[2][2])):
        got = learner.online_softmax([(s.copy(), v.copy()) for s, v in blocks])
        case = f"{name}: the scores {_show(blocks)}"
        assert isinstance(got, tuple | list) and len(got) == 2, (
            f"expected a tuple of the weighted mean and the log-sum-exp, got {got!r:.80}"
        )
        y, log_sum = got
        shape = (blocks[0][1].shape[1],)
        assert isinstance(y, np.ndarray) and y.dtype.kind == "f" and y.shape == shape, (
            f"{case}: the mean must be an array of floats of shape {shape}, got {y!r:.80}"
        )
        assert isinstance(log_sum, float | np.floating) or (isinstance(log_sum, np.ndarray) and log_sum.ndim == 0), (
            f"{case}: the log-sum-exp must be a float, got {log_sum!r:.80}"
        )
        mean, logarithm = _all_at_once(blocks)
        # sums of a thousand terms round to 1e-13
        assert np.allclose(y, mean, rtol=0, atol=1e-9), (
            f"{case}: the mean of the values is {mean.round(6).tolist()}, got {y.round(6).tolist()}. {why}"
        )
        assert math.isclose(float(log_sum), logarithm, rel_tol=1e-12, abs_tol=1e-9), (
            f"{case}: the log-sum-exp is {logarithm:.6f}, got {float(log_sum):.6f}. The logarithm of the sum lacks the "
            "shift: add the largest score."
        )
        again = learner.online_softmax(_in_one_memory(blocks))
        assert np.allclose(again[0], mean, rtol=0, atol=1e-9), (
            f"{case}: handed out one after another in the same memory, the same blocks give the mean "
            f"{np.asarray(again[0]).round(6).tolist()} instead of {mean.round(6).tolist()}. A block that you keep is "
            "overwritten by the next: keep a maximum, a sum, and a sum of values."
        )


def _all_at_once(blocks: _Blocks) -> tuple[np.ndarray, float]:
    """By definition, with the whole row of scores."""
    scores, values = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    e = np.exp(scores - scores.max())
    return (e[:, None] * values).sum(axis=0) / e.sum(), float(scores.max() + np.log(e.sum()))


def _in_one_memory(blocks: _Blocks) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    n, D = max(len(scores) for scores, _ in blocks), blocks[0][1].shape[1]
    memory = np.zeros(n), np.zeros((n, D))
    for block in blocks:
        yield tuple(_filled(m, part) for m, part in zip(memory, block, strict=True))  # type: ignore[misc]
        memory[0].fill(7.0)
        memory[1].fill(-7.0)


def _filled(memory: np.ndarray, part: np.ndarray) -> np.ndarray:
    memory[: len(part)] = part
    return memory[: len(part)]


def _show(blocks: _Blocks) -> str:
    return " | ".join(", ".join(f"{s:.4g}" for s in scores) for scores, _ in blocks)[:100]


_Source = Iterable[tuple[np.ndarray, np.ndarray]]
_Answer = tuple[np.ndarray, float]


def _merged(
    blocks: _Source,
    start: float = -_INF,
    sum_factor: bool = True,
    value_factor: bool = True,
    sign: float = 1.0,
    followed: bool = True,
    skipped: bool = True,
) -> _Answer:
    """The reference with parts exchanged."""
    m, l, a = start, 0.0, np.zeros(1)
    with np.errstate(all="ignore"):
        for i, (scores, values) in enumerate(blocks):
            new = np.maximum(m, scores.max()) if followed or i == 0 else m
            if skipped and new == -_INF:
                continue
            factor = np.exp(sign * (m - new)) if l or sign > 0 else np.float64(0.0)
            e = np.exp(scores - new)
            l = (factor if sum_factor else 1.0) * l + e.sum()
            a = (factor if value_factor else 1.0) * a + e @ values
            m = new
        return np.asarray(a / l), float(m + np.log(l))


def _values_not_rescaled(blocks: _Source) -> _Answer:
    return _merged(blocks, value_factor=False)


def _sum_not_rescaled(blocks: _Source) -> _Answer:
    return _merged(blocks, sum_factor=False)


def _nothing_rescaled(blocks: _Source) -> _Answer:
    return _merged(blocks, sum_factor=False, value_factor=False)


def _rescaled_the_other_way(blocks: _Source) -> _Answer:
    return _merged(blocks, sign=-1.0)


def _first_maximum_kept(blocks: _Source) -> _Answer:
    return _merged(blocks, followed=False)


def _maximum_from_zero(blocks: _Source) -> _Answer:
    return _merged(blocks, start=0.0)


def _infinity_less_infinity(blocks: _Source) -> _Answer:
    return _merged(blocks, skipped=False)


def _no_maximum(blocks: _Source) -> _Answer:
    total, summed = 0.0, np.zeros(1)
    with np.errstate(all="ignore"):
        for scores, values in blocks:
            total, summed = total + np.exp(scores).sum(), summed + np.exp(scores) @ values
        return np.asarray(summed / total), float(np.log(total))


def _maximum_of_the_block(blocks: _Source) -> _Answer:
    m, l, a = -_INF, np.float64(0.0), np.zeros(1)
    with np.errstate(all="ignore"):
        for scores, values in blocks:
            if (new := scores.max()) > -_INF:
                factor, e = np.exp(m - new), np.exp(scores - new)
                l, a, m = factor * l + e.sum(), factor * a + e @ values, new
        return np.asarray(a / l), float(m + np.log(l))


def _each_block_normalised(blocks: _Source) -> _Answer:
    parts = [_all_at_once([block]) for block in blocks if block[0].max() > -_INF]
    return np.mean([y for y, _ in parts], axis=0), _log_sum([log_sum for _, log_sum in parts])


def _weighted_by_size(blocks: _Source) -> _Answer:
    parts = [(_all_at_once([block]), len(block[0])) for block in blocks if block[0].max() > -_INF]
    y = np.average([y for (y, _), _ in parts], axis=0, weights=[n for _, n in parts])
    return y, _log_sum([log_sum for (_, log_sum), _ in parts])


def _log_sum(logarithms: list[float]) -> float:
    return max(logarithms) + math.log(sum(math.exp(x - max(logarithms)) for x in logarithms))


def _maximum_not_added(blocks: _Source) -> _Answer:
    y, log_sum = online_softmax(blocks := list(blocks))
    return y, log_sum - max(float(scores.max()) for scores, _ in blocks)


def _never_divided(blocks: _Source) -> _Answer:
    y, log_sum = online_softmax(blocks := list(blocks))
    return y * math.exp(log_sum - max(float(scores.max()) for scores, _ in blocks)), log_sum


MISTAKES = (
    (
        _values_not_rescaled,
        "You rescale the sum and not the summed values. Both were made of exponentials with the old maximum, and both "
        "take the factor exp(old - new).",
    ),
    (
        _sum_not_rescaled,
        "You rescale the summed values and not the sum. Both were made of exponentials with the old maximum, and both "
        "take the factor exp(old - new).",
    ),
    (
        _nothing_rescaled,
        "You take each block with the maximum at its time, and never correct those before. Exponentials with different "
        "shifts cannot be added: when the maximum grows, what is there takes the factor exp(old - new).",
    ),
    (
        _rescaled_the_other_way,
        "You multiply by exp(new - old). What was divided by exp(old) shall be divided by exp(new): the factor is "
        "exp(old - new), and at most 1.",
    ),
    (
        _first_maximum_kept,
        "You keep the maximum of the first block. A later score may be a thousand above it, and its exponential is "
        "infinite.",
    ),
    (
        _maximum_from_zero,
        "You begin with the maximum 0. Where all scores are far below 0 it stays the largest, and every exponential is "
        "0: begin with minus infinity.",
    ),
    (
        _infinity_less_infinity,
        "You subtract minus infinity from minus infinity in a block that is masked altogether. That is NaN, and NaN "
        "stays: as long as the maximum is minus infinity there is nothing to add.",
    ),
    (
        _no_maximum,
        "You do not shift. From 710 on an exponential is infinite, and below -746 it is 0.",
    ),
    (
        _maximum_of_the_block,
        "You go over to the maximum of the newest block even where it is lower, and exp(old - new) overflows. The "
        "maximum is that of everything so far and never falls, so that no factor is above 1.",
    ),
    (
        _each_block_normalised,
        "You take a softmax of each block and average. A block of small scores counts as much as one of large ones "
        "then: divide once, at the end.",
    ),
    (
        _weighted_by_size,
        "You weigh the blocks by how many keys they hold. A block's weight is the sum of its exponentials.",
    ),
    (
        _maximum_not_added,
        "You return the logarithm of the shifted sum. The maximum that was taken off has to be added again.",
    ),
    (
        _never_divided,
        "You return the summed values without dividing by the sum. A mean's weights sum to 1.",
    ),
)

PROBES = tuple((blocks,) for _, blocks, _ in _CASES)
