r"""
How low can it go?

Level: challenge. You need `fp_dynamics.sanity` as far as the first loss, and entropy (`fp_markov.information`).

To see whether a model can learn at all, let it learn one small batch by heart. Then its loss should come down to zero?
Not quite: two texts of the batch may begin alike and go on differently, and a causal model, which at each place sees
the tokens up to there and nothing else, must give both places the same distribution.

Find the lowest mean loss, in nats per token, that any causal model can have on a batch. At place $t$ of a text the
model sees the tokens at places $0, \dots, t$ of that text; `targets` holds what it should predict there. Places whose
target is $-1$ do not count, neither in the loss nor in the mean, but their tokens are seen by the places after them.

Derive first: which places have to be treated alike, and what is the best distribution for them?

You learn what a fair expectation is, and get a test for leaks: a loss below the floor is a proof.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Places with the same tokens up to there form a group. If a group has targets with counts n_y of n, its best "
    "distribution is n_y / n (Gibbs' inequality), and its summed loss then is the sum of n_y ln(n / n_y).",
    "A dictionary from `tuple(ids[b, : t + 1])` to a dictionary of counts. Skip a place whose target is -1.",
    "Add up `count * math.log(n / count)` over all groups and targets, and divide by the number of places that count; "
    "if there are none, the answer is 0.",
)


def floor_of(ids: np.ndarray, targets: np.ndarray) -> float:
    """
    The lowest mean loss of a causal model on a batch.

    Parameters
    ----------
    ids
        Tokens, integers of shape `(B, T)`.
    targets
        Of the same shape; -1 where nothing is predicted.

    Returns
    -------
    float
        In nats per place that counts; 0 if none does.

    Examples
    --------
    Two texts that begin alike; of four places two cannot be told apart:

    >>> floor_of(np.array([[1, 2], [1, 3]]), np.array([[2, 5], [3, 6]])) == math.log(2) / 2
    True
    """
    groups: dict[tuple[int, ...], dict[int, int]] = {}
    for row, nexts in zip(ids.tolist(), targets.tolist(), strict=True):
        for t, y in enumerate(nexts):
            if y != -1:
                counts = groups.setdefault(tuple(row[: t + 1]), {})
                counts[y] = counts.get(y, 0) + 1
    return _mean(groups)


def _mean(groups: dict[Any, dict[int, int]]) -> float:
    total = sum(sum(counts.values()) for counts in groups.values())
    cost = 0.0
    for counts in groups.values():
        n = sum(counts.values())
        cost += sum(c * math.log(n / c) for c in counts.values())
    return cost / total if total else 0.0


def _drawn(shape: tuple[int, int], vocabulary: int, seed: int, left_out: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, vocabulary, (shape[0], shape[1] + 1))
    targets = rows[:, 1:].copy()
    targets[rng.random(shape) < left_out] = -1
    return rows[:, :-1], targets


PROBES = (
    (np.array([[1, 2], [1, 3]]), np.array([[2, 5], [3, 6]])),
    _drawn((3, 1), 2, 0),
    _drawn((7, 3), 2, 1),
    _drawn((11, 2), 3, 2),
    _drawn((5, 4), 2, 3, left_out=0.4),
    _drawn((9, 3), 3, 4, left_out=0.2),
    (np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 1]])),
    (np.array([[1, 2]]), np.array([[-1, -1]])),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for ids, targets in PROBES:
        got, expected = learner.floor_of(ids.copy(), targets.copy()), floor_of(ids, targets)
        case = f"the ids {ids.tolist()} with the targets {targets.tolist()}"
        assert isinstance(got, float | int | np.floating), f"{case}: expected one number, got {got!r:.80}"
        # a sum of a few logarithms
        assert abs(float(got) - expected) < 1e-9, (
            f"{case}: no causal model gets below {expected:.8g}, and one gets there; your floor is {got:.8g}"
        )


def _grouped(ids: np.ndarray, targets: np.ndarray, key: Any, skip: bool = True) -> dict[Any, dict[int, int]]:
    groups: dict[Any, dict[int, int]] = {}
    for b, t in np.ndindex(ids.shape):
        y = int(targets[b, t])
        if y != -1 or not skip:
            counts = groups.setdefault(key(ids[b].tolist(), t), {})
            counts[y] = counts.get(y, 0) + 1
    return groups


def _zero(ids: np.ndarray, targets: np.ndarray) -> float:
    return 0.0


def _last_token_only(ids: np.ndarray, targets: np.ndarray) -> float:
    return _mean(_grouped(ids, targets, lambda row, t: row[t]))


def _token_and_place(ids: np.ndarray, targets: np.ndarray) -> float:
    return _mean(_grouped(ids, targets, lambda row, t: (t, row[t])))


def _whole_text(ids: np.ndarray, targets: np.ndarray) -> float:
    return _mean(_grouped(ids, targets, lambda row, t: (t, *row)))


def _without_the_token_itself(ids: np.ndarray, targets: np.ndarray) -> float:
    return _mean(_grouped(ids, targets, lambda row, t: (t, *row[:t])))


def _set_of_tokens(ids: np.ndarray, targets: np.ndarray) -> float:
    return _mean(_grouped(ids, targets, lambda row, t: frozenset(row[: t + 1])))


def _groups_count_alike(ids: np.ndarray, targets: np.ndarray) -> float:
    groups = _grouped(ids, targets, lambda row, t: tuple(row[: t + 1]))
    return sum(_mean({0: counts}) for counts in groups.values()) / max(1, len(groups))


def _left_out_is_a_token(ids: np.ndarray, targets: np.ndarray) -> float:
    return _mean(_grouped(ids, targets, lambda row, t: tuple(row[: t + 1]), skip=False))


def _divided_by_all(ids: np.ndarray, targets: np.ndarray) -> float:
    return floor_of(ids, targets) * float((targets != -1).mean())


def _bits(ids: np.ndarray, targets: np.ndarray) -> float:
    return floor_of(ids, targets) / math.log(2)


MISTAKES = (
    (_zero, "You expect zero. Texts that begin alike and go on differently cannot both be predicted with certainty."),
    (
        _last_token_only,
        "You group by the last token. A causal model sees all tokens up to there, and may tell these places apart.",
    ),
    (_token_and_place, "You group by place and token. The tokens before count too: the model has read them."),
    (_whole_text, "You group by the whole text. At a place the tokens after it are not seen yet."),
    (_without_the_token_itself, "You leave out the token at the place itself. The model has read that one as well."),
    (_set_of_tokens, "You forget order and number of the tokens. A model knows in which order it read them."),
    (_groups_count_alike, "You average over groups. A group counts as often as it has places."),
    (_left_out_is_a_token, "You count -1 as a target. At such a place nothing is predicted."),
    (_divided_by_all, "You divide by all places. Those whose target is -1 are not among those of the mean."),
    (_bits, "You measure in bits. The loss is in nats, with the natural logarithm."),
)
