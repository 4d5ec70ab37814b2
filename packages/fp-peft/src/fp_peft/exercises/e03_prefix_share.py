r"""
Take the prefix out again.

Level: challenge. You need `fp_peft.prefix` and `fp_attention.softmax`.

Somebody computed attention with a prefix in front and kept, for each query, the output $y'$ and the log-sum-exp $L'$ of
all scores. You have the queries, and the keys and values of the prefix; the text is gone. What would attention to the
text alone have given?

Scores are $q \cdot k / \sqrt D$. The text was not empty, all numbers are finite, and scores may be as large as a
thousand: exponentials of them are not numbers.

You learn that a mixture can be undone if its share is known, and how to compute a share without its parts.
"""

from typing import Any

import numpy as np

HINTS = (
    "y' = (1 - share) y + share y_P. The prefix's own output and log-sum-exp can be computed; what is the share?",
    "share = exp(L_P - L'), where L_P is the log-sum-exp of the prefix's scores; it is below one: no overflow.",
    "`y = (y' - share * y_P) / (1 - share)`, with `1 - share = -np.expm1(L_P - L')`.",
)


def without_prefix(
    y: np.ndarray, total: np.ndarray, q: np.ndarray, prefix_k: np.ndarray, prefix_v: np.ndarray
) -> np.ndarray:
    """
    Attention to a text, from attention to a prefix and the text.

    Parameters
    ----------
    y
        The outputs with the prefix, shape `(T, D)`.
    total
        The log-sum-exp of all scores of each query, prefix and text, shape `(T,)`.
    q
        The queries, `(T, D)`.
    prefix_k, prefix_v
        Keys and values of the prefix, `(n, D)`.

    Returns
    -------
    ndarray
        The outputs without the prefix, `(T, D)`.

    Examples
    --------
    Two equal scores, one of them the prefix's:

    >>> q, k, v = np.zeros((1, 1)), np.zeros((1, 1)), np.array([[6.0]])
    >>> without_prefix(np.array([[5.0]]), np.log([2.0]), q, k, v).round(6).tolist()
    [[4.0]]
    """
    s = q @ prefix_k.T / np.sqrt(q.shape[1])
    top = s.max(axis=1, keepdims=True)
    e = np.exp(s - top)
    own = e @ prefix_v / e.sum(axis=1, keepdims=True)
    log_share = (top[:, 0] + np.log(e.sum(axis=1)) - total)[:, None]
    return np.asarray((y - np.exp(log_share) * own) / -np.expm1(log_share))


_Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _drawn(T: int, n: int, D: int, seed: int) -> _Case:
    """The five arguments, and the answer."""
    rng = np.random.default_rng(seed)
    q, k, v = rng.normal(size=(3, T, D))
    pk, pv = rng.normal(size=(2, n, D))
    s, t = q @ k.T / np.sqrt(D), q @ pk.T / np.sqrt(D)
    both = np.concatenate([t, s], axis=1)
    top = both.max(axis=1, keepdims=True)
    e = np.exp(both - top)
    total = top[:, 0] + np.log(e.sum(axis=1))
    y = e @ np.concatenate([pv, v]) / e.sum(axis=1, keepdims=True)
    f = np.exp(s - s.max(axis=1, keepdims=True))
    return y, total, q, pk, pv, f @ v / f.sum(axis=1, keepdims=True)


def _large() -> _Case:
    """Scores near a thousand, prefix and text one apart."""
    q, v = np.full((1, 1), 1000.0), np.array([[2.0]])  # the text's one key is 1
    pk, pv = np.array([[0.999], [0.998]]), np.array([[10.0], [-3.0]])
    e = np.exp([-1.0, -2.0, 0.0])
    y = (e[0] * 10 - e[1] * 3 + e[2] * 2) / e.sum()
    return np.array([[y]]), np.array([1000 + np.log(e.sum())]), q, pk, pv, v


_CASES = (
    ("three queries and a prefix of two", _drawn(3, 2, 4, 0)),
    ("five queries and a prefix of one", _drawn(5, 1, 3, 1)),
    ("a prefix longer than the text", _drawn(2, 6, 4, 2)),
    ("scores near a thousand", _large()),
)
PROBES = tuple(case[:5] for _, case in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, case in _CASES:
        expected = case[5]
        with np.errstate(all="ignore"):
            got = learner.without_prefix(*(p.copy() for p in case[:5]))
        assert isinstance(got, np.ndarray) and got.shape == expected.shape, (
            f"{name}: expected an array of shape {expected.shape}, got {np.shape(got)}"
        )
        for i in np.ndindex(expected.shape):
            # dividing by 1 - share multiplies the rounding of float64 by at most a few hundred here
            assert abs(got[i] - expected[i]) <= 1e-7, (
                f"{name}: the output at {list(i)} without the prefix is {expected[i]:.8g}, yours is {got[i]:.8g}"
            )


def _share_of(q: Any, prefix_k: Any, total: Any, scale: bool = True) -> Any:
    s = q @ prefix_k.T / (np.sqrt(q.shape[1]) if scale else 1.0)
    return np.exp(s - total[:, None])


def _subtracted_only(y: Any, total: Any, q: Any, prefix_k: Any, prefix_v: Any) -> Any:
    return y - _share_of(q, prefix_k, total) @ prefix_v


def _nothing_subtracted(y: Any, total: Any, q: Any, prefix_k: Any, prefix_v: Any) -> Any:
    return y / (1 - _share_of(q, prefix_k, total).sum(axis=1, keepdims=True))


def _unscaled(y: Any, total: Any, q: Any, prefix_k: Any, prefix_v: Any) -> Any:
    p = _share_of(q, prefix_k, total, scale=False)
    return (y - p @ prefix_v) / (1 - p.sum(axis=1, keepdims=True))


def _mean_of_values(y: Any, total: Any, q: Any, prefix_k: Any, prefix_v: Any) -> Any:
    share = _share_of(q, prefix_k, total).sum(axis=1, keepdims=True)
    return (y - share * prefix_v.mean(axis=0)) / (1 - share)


def _overflows(y: Any, total: Any, q: Any, prefix_k: Any, prefix_v: Any) -> Any:
    e = np.exp(q @ prefix_k.T / np.sqrt(q.shape[1]))
    whole = np.exp(total)[:, None]
    return (y * whole - e @ prefix_v) / (whole - e.sum(axis=1, keepdims=True))


def _added_back(y: Any, total: Any, q: Any, prefix_k: Any, prefix_v: Any) -> Any:
    p = _share_of(q, prefix_k, total)
    return (y + p @ prefix_v) / (1 - p.sum(axis=1, keepdims=True))


MISTAKES = (
    (
        _subtracted_only,
        "You subtract the prefix's part and stop. What is left has weights that sum to 1 - share: divide by that.",
    ),
    (_nothing_subtracted, "You divide by 1 - share and leave the prefix's values in. Subtract its part first."),
    (_unscaled, "You leave out the root of D in the prefix's scores. They have to be the scores that were used."),
    (_mean_of_values, "You take the plain mean of the prefix's values. Each counts with its own weight."),
    (_added_back, "You add the prefix's part. It is in y already: it has to be taken out."),
    (
        _overflows,
        "You compute exponentials of the scores themselves. A thousand is too much: take the share as the exponential "
        "of a difference of logarithms.",
    ),
)
