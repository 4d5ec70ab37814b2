r"""
Advantages for responses of different lengths.

Level: challenge. You need `fp_align.ppo`.

A batch holds $B$ responses, filled up to $T$ places. Token $t$ of a response has got the reward $r_t$, and the value
model has said $v_t$ of the state *before* it. A mask is True at the tokens of each response, which begin at place 0;
what stands elsewhere in the arrays is garbage and may be NaN. Behind the end of a response nothing is earned. Return
the advantages of generalized advantage estimation,

$$
\hat A_t = \sum_{l \ge 0} (\gamma \lambda)^l\, \delta_{t+l}, \qquad
\delta_t = r_t + \gamma\, v_{t+1} - v_t,
$$

**whitened**: less their mean and divided by their standard deviation, both over all tokens that the mask marks, with
$10^{-8}$ added to the deviation; and the targets of the value model, $\hat A_t + v_t$ with the advantage *before* it
was whitened. Both are zero where the mask is False.

You learn where the end of a response is felt, and what padding can spoil.
"""

from typing import Any

import numpy as np

HINTS = (
    "Put zeros where the mask is False first, with np.where: NaN times zero is NaN. Then the recursion "
    "A_t = delta_t + gamma lambda A_{t+1} from the end needs no special case, if behind a response all is zero.",
    "With rewards and values zero there, delta is zero behind the end, and at the last token the next value is the "
    "zero of the padding, or, in the last column, nothing.",
    "Mean and deviation are those of `advantages[mask]`, a list of tokens in which long responses have more of them. "
    "Whiten, then put zeros outside of the mask again.",
)


def advantages(
    rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float
) -> tuple[np.ndarray, np.ndarray]:
    """
    Whitened advantages and the targets of the value model.

    Parameters
    ----------
    rewards, values
        Floats of shape `(B, T)`; anything where the mask is False. Not to be changed.
    mask
        True at the tokens of each response, shape `(B, T)`; each row begins with one.
    gamma, lam
        From 0 to 1.

    Returns
    -------
    advantages, targets : ndarray
        Shape `(B, T)`, zero where the mask is False.

    Examples
    --------
    >>> rewards, values = np.array([[0.0, 1.0], [3.0, np.nan]]), np.array([[0.5, 0.5], [1.0, np.nan]])
    >>> mask = np.array([[True, True], [True, False]])
    >>> whitened, targets = advantages(rewards, values, mask, 1.0, 1.0)
    >>> whitened.round(3).tolist(), targets.tolist()
    ([[-0.707, -0.707], [1.414, 0.0]], [[1.0, 1.0], [3.0, 0.0]])
    """
    return _computed(rewards, values, mask, gamma, lam)


def _computed(
    rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float, **parts: Any
) -> tuple[np.ndarray, np.ndarray]:
    """As `advantages`; `parts` exchanges something, for the mistakes."""
    r, v = (np.where(mask, np.nan_to_num(x), 0.0) for x in (rewards, values))
    if parts.get("padding_kept"):
        v = np.nan_to_num(values)
    out = np.zeros_like(r)
    following, value = np.zeros(len(r)), np.zeros(len(r))
    for t in reversed(range(r.shape[1])):
        delta = r[:, t] + (1.0 if parts.get("value_undiscounted") else gamma) * value - v[:, t]
        following = delta + parts.get("factor", gamma * lam) * following
        out[:, t], value = following, v[:, t]
    if parts.get("no_bootstrap"):
        following = np.zeros(len(r))
        for t in reversed(range(r.shape[1])):
            following = r[:, t] - v[:, t] + gamma * lam * following
            out[:, t] = following
    targets = np.where(mask, out + v, 0.0)
    chosen = out[mask] if not parts.get("padding_whitened") else np.where(mask, out, 0.0)
    if parts.get("row_by_row"):
        counts = mask.sum(axis=1, keepdims=True)
        mean = np.where(mask, out, 0.0).sum(axis=1, keepdims=True) / counts
        spread = np.sqrt(np.where(mask, (out - mean) ** 2, 0.0).sum(axis=1, keepdims=True) / counts)
        whitened = (out - mean) / (spread + 1e-8)
    elif parts.get("plain"):
        whitened = out
    else:
        whitened = (out - chosen.mean()) / (chosen.std() + 1e-8)
    if parts.get("targets_whitened"):
        targets = np.where(mask, whitened + v, 0.0)
    return (whitened if parts.get("padding_not_zero") else np.where(mask, whitened, 0.0)), targets


_Case = tuple[np.ndarray, np.ndarray, np.ndarray, float, float]


def _drawn(lengths: tuple[int, ...], gamma: float, lam: float, seed: int, garbage: float = 0.0) -> _Case:
    rng = np.random.default_rng(seed)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    rewards, values = (np.where(mask, rng.normal(size=mask.shape), garbage) for _ in range(2))
    return rewards, values, mask, gamma, lam


_CASES = (
    ("one response, gamma and lambda 1", _drawn((4,), 1.0, 1.0, 1)),
    ("one response, lambda 0", _drawn((4,), 1.0, 0.0, 2)),
    ("one response, gamma 0.9 and lambda 0.5", _drawn((5,), 0.9, 0.5, 3)),
    ("three responses of one length", _drawn((3, 3, 3), 0.7, 0.8, 4)),
    ("responses of 2, 5 and 3 tokens, zeros behind them", _drawn((2, 5, 3), 0.9, 0.95, 5)),
    ("responses of 2, 5 and 3 tokens, sevens behind them", _drawn((2, 5, 3), 0.9, 0.95, 6, 7.0)),
    ("responses of 1 and 4 tokens, NaN behind them", _drawn((1, 4), 1.0, 0.9, 7, np.nan)),
)

PROBES: tuple[_Case, ...] = tuple(case for _, case in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, case in _CASES:
        got = learner.advantages(*(x.copy() if isinstance(x, np.ndarray) else x for x in case))
        assert isinstance(got, tuple | list) and len(got) == 2, (
            f"{name}: expected advantages and targets, got {got!r:.80}"
        )
        for what, answer, expected in zip(("target", "advantage"), got[::-1], advantages(*case)[::-1], strict=True):
            assert isinstance(answer, np.ndarray) and answer.shape == expected.shape and answer.dtype.kind == "f", (
                f"{name}: the {what}s are an array of floats of shape {expected.shape}, got {answer!r:.80}"
            )
            for b, t in np.ndindex(expected.shape):
                # rounding is 1e-16 of sums of a few numbers near one; whitening may magnify it a little
                assert abs(answer[b, t] - expected[b, t]) <= 1e-8, (
                    f"{name}: the {what} of token {t} in response {b} is {expected[b, t]:.6g}, yours is "
                    f"{answer[b, t]:.6g}. {_WHY[what] if case[2][b, t] else 'Behind the response it is zero.'}"
                )


_WHY = {
    "target": "It is the advantage before whitening plus the value, and behind the end nothing is to come.",
    "advantage": "Whiten with mean and deviation of the tokens that count, all responses together.",
}

_Answer = tuple[np.ndarray, np.ndarray]


def _lambda_only(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, factor=lam)


def _gamma_only(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, factor=gamma)


def _value_undiscounted(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, value_undiscounted=True)


def _no_bootstrap(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, no_bootstrap=True)


def _padding_kept(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, padding_kept=True)


def _padding_whitened(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, padding_whitened=True)


def _row_by_row(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, row_by_row=True)


def _plain(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, plain=True)


def _targets_whitened(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, targets_whitened=True)


def _padding_not_zero(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> _Answer:
    return _computed(rewards, values, mask, gamma, lam, padding_not_zero=True)


MISTAKES = (
    (_lambda_only, "You fade later surprises by lambda alone. They lie later too: the factor is gamma times lambda."),
    (_gamma_only, "You fade later surprises by gamma alone. That is lambda 1, the estimate that scatters most."),
    (_value_undiscounted, "You take the next value as it is. It lies one step ahead, so it is multiplied by gamma."),
    (
        _no_bootstrap,
        "You leave the next value out of the surprise. It is what the state was worth after the token; without it each "
        "token is blamed for the whole value before it.",
    ),
    (
        _padding_kept,
        "You let the value of the padding count after the last token. Behind the end nothing is to come: it is zero.",
    ),
    (
        _padding_whitened,
        "You count the padding's zeros in the mean and the deviation. Short responses in the batch would change the "
        "size of every advantage.",
    ),
    (
        _row_by_row,
        "You whiten each response by itself. Then a good response and a bad one have the same mean advantage, zero, "
        "and nothing says which of them was better.",
    ),
    (_plain, "You forget to whiten. The size of a step would depend on the unit of the reward."),
    (_targets_whitened, "You add the whitened advantage to the value. The target is in the unit of the reward."),
    (
        _padding_not_zero,
        "You leave numbers behind the responses. Less the mean, zeros are no longer zeros: mask again.",
    ),
)
