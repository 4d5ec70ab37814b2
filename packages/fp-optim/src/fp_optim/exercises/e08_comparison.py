r"""
Which optimizer is better?

Level: concept. You need `fp_markov.comparison` for paired differences, and to have seen how much a rate decides.

Somebody has trained a model with several optimizers, each with the same grid of learning rates, and each of these with
several seeds; a seed sets the first weights and the order of the data, and is the same for all. Two tables give the
loss at the end, on a validation part, which is there for choosing, and on a test part, which is there for reporting. A
run that diverged has NaN in both.

Predict before you compute. Optimizer A with its best rate has 3.10, B has 3.12, and the seeds of each differ by 0.05:
is A better? Might four seeds settle that all the same, and how? All optimizers ran at the rate that A's authors
recommend: whom does that favour? B's best rate is the largest of the grid: what do you know about B? One of the four
seeds diverged at the rate with the lowest mean of the others: would you ship it?

Most new optimizers won against a rate that nobody had tuned. You learn to decide by a rule that was fixed before: tune
each by the mean on the validation part, report on the test part, compare seed by seed, and say where the grid ended.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Take the mean of the validation table over its last axis; where a seed diverged it is NaN, and `np.where(np.isnan("
    "x), np.inf, x)` lets such a rate lose. `argmin` over the rates gives `tuned`.",
    "`reported` looks up the test table at the tuned rates. For the comparison take winner and runner-up at their "
    "tuned rates, one difference for each seed; what the seeds have in common drops out of it.",
    "The standard error is `d.std(ddof=1) / sqrt(len(d))` for the differences d. A tuned rate with index 0 or R - 1 is "
    "at the edge: the minimum may lie outside.",
)


def compare(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> dict[str, Any]:
    """
    Answer eleven questions about a comparison of optimizers.

    Parameters
    ----------
    validation
        Losses at the end of training on the validation part, of shape `(O, R, S)`: optimizer, rate (rising), seed. NaN
        if the run diverged; for each optimizer there is a rate without NaN, and no two means are equal. O and R are at
        least 2, S at least 2.
    test
        The losses of the same runs on the test part.
    default
        The index of one of the rates; at least one optimizer diverged with none of its seeds there.
    tolerance
        A difference of losses, at least 0.

    Returns
    -------
    dict
        One answer for each name. A rate with which a seed diverged never counts as good:

        - `"tuned"`: for each optimizer the index of the rate with the lowest mean validation loss, a list.
        - `"reported"`: for each optimizer the mean test loss with that rate, a list.
        - `"winner"`, `"runner_up"`: the optimizers with the lowest and the second lowest of these.
        - `"untuned"`: the optimizer with the lowest mean test loss if all are given the rate `default`.
        - `"unfinished"`: the optimizers, in order, whose grid should have gone on, because the tuned rate is at its
          edge, a list.
        - `"robust"`: for each optimizer the number of rates whose mean validation loss is at most `tolerance` above
          that of the tuned one, which counts too, a list.
        - `"difference"`: the mean over seeds of the runner-up's test loss less the winner's, both with their tuned
          rates.
        - `"error"`: its standard error, from the differences seed by seed.
        - `"settled"`: whether the difference is more than two standard errors.
        - `"flattered"`: by how much the best validation loss of any single run of the winner is below what is reported
          for it.

    Examples
    --------
    >>> validation = np.array([[[3.0, 3.5], [2.0, 2.5]], [[2.25, 2.5], [4.0, np.nan]]])
    >>> answers = compare(validation, validation + 0.25, default=0, tolerance=0.5)
    >>> answers["tuned"], answers["reported"], answers["difference"]
    ([1, 0], [2.5, 2.625], 0.125)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['difference', 'error', 'flattered', 'reported', 'robust', 'runner_up', 'settled', 'tuned', 'unfinished', 'untuned',
     'winner']
    """
    n_optimizers, n_rates, n_seeds = validation.shape
    everyone = np.arange(n_optimizers)
    means = _mean(validation)
    tuned = means.argmin(axis=1)
    runs = test[everyone, tuned]
    reported = runs.mean(axis=1)
    winner, runner_up = (int(i) for i in reported.argsort()[:2])
    d = runs[runner_up] - runs[winner]
    difference, error = float(d.mean()), float(d.std(ddof=1) / math.sqrt(n_seeds))
    return {
        "tuned": tuned.tolist(),
        "reported": reported.tolist(),
        "winner": winner,
        "runner_up": runner_up,
        "untuned": int(_mean(test)[:, default].argmin()),
        "unfinished": np.flatnonzero((tuned == 0) | (tuned == n_rates - 1)).tolist(),
        "robust": (means <= means.min(axis=1, keepdims=True) + tolerance).sum(axis=1).tolist(),
        "difference": difference,
        "error": error,
        "settled": difference > 2 * error,
        "flattered": float(reported[winner] - np.nanmin(validation[winner])),
    }


def _mean(losses: np.ndarray) -> np.ndarray:
    """The mean over seeds, infinite where one diverged."""
    means = losses.mean(axis=2)
    return np.where(np.isnan(means), np.inf, means)


_WHY = {
    "tuned": "Each optimizer has its own best rate: that of the lowest mean over all seeds, on the validation part, "
    "among the rates with which no seed diverged.",
    "reported": "Choose by the validation part, report the mean over the seeds on the test part.",
    "winner": "The lowest of the reported means, each optimizer with its own rate.",
    "runner_up": "The second lowest of the reported means.",
    "untuned": "Compare the mean test losses in the one column of this rate; whoever diverged with a seed loses.",
    "unfinished": "If the best rate is the smallest or the largest that was tried, a better one may lie outside.",
    "robust": "Count the rates whose mean is at most the tuned one's plus the tolerance.",
    "difference": "Take it seed by seed, runner-up less winner, and then the mean.",
    "error": "One difference for each of the S seeds: their standard deviation (divided by S - 1) over the root of S.",
    "settled": "More than two standard errors, and not just above zero.",
    "flattered": "The best of many runs is lucky, and it was looked for: compare it with the reported mean.",
}


def _table(
    bottoms: list[float], best: list[float], n_rates: int, n_seeds: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Losses that are parabolas in the logarithm of the rate; seeds are good or bad for all optimizers alike."""
    rng = np.random.default_rng(seed)
    steps = np.arange(n_rates)[None, :, None] - np.array(best)[:, None, None]
    losses = np.array(bottoms)[:, None, None] + 0.04 * steps**2 + 0.05 * rng.normal(size=n_seeds)
    validation, test = (losses + 0.01 * rng.normal(size=losses.shape) for _ in range(2))
    validation[steps[:, :, 0] > 2.4] = test[steps[:, :, 0] > 2.4] = np.nan
    return validation, test + 0.03


def _spoiled(validation: np.ndarray, test: np.ndarray, *runs: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """With these runs diverged, and all others with their optimizer and rate lucky."""
    for optimizer, rate, seed in runs:
        for losses in (validation, test):
            losses[optimizer, rate] -= 0.2
            losses[optimizer, rate, seed] = np.nan
    return validation, test


PROBES = (
    (*_table([3.10, 3.12, 3.3], [2.3, 4.2, 1.1], 6, 4, 1), 2, 0.05),
    (*_spoiled(*_table([2.0, 2.2], [1.6, 3.4], 5, 5, 2), (0, 3, 1), (1, 2, 4)), 1, 0.1),
    (*_table([1.5, 1.6, 1.4, 1.49], [0.2, 1.0, 2.9, 4.6], 5, 3, 3), 0, 0.2),
    (*_table([4.0, 4.004], [1.0, 2.0], 4, 3, 6), 1, 0.03),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for validation, test, default, tolerance in PROBES:
        got = learner.compare(validation.copy(), test.copy(), default, tolerance)
        assert isinstance(got, dict), f"expected a dict of eleven answers, got {got!r:.80}"
        O, R, S = validation.shape
        for key, expected in compare(validation, test, default, tolerance).items():
            at_default = test[:, default].mean(axis=1).round(3).tolist()
            table = f", mean validation losses {validation.mean(axis=2).round(3).tolist()}"
            case = f"{O} optimizers, {R} rates, {S} seeds" + {
                "tuned": table,
                "reported": f"{table}, test losses {test.mean(axis=2).round(3).tolist()}",
                "untuned": f", default {default}, test losses with it {at_default}",
                "unfinished": table,
                "robust": f", tolerance {tolerance:g}{table}",
            }.get(key, "")
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"for {case}, {key!r} is {_short(expected)}; got {_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, bool):
        return isinstance(got, bool | np.bool_) and bool(got) == expected
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and not isinstance(got, bool) and int(got) == expected
    try:
        if isinstance(expected, list):
            return len(got) == len(expected) and all(map(_same, got, expected))
        return math.isclose(got, expected, rel_tol=1e-9)  # far above rounding, far below any other answer
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    if isinstance(answer, list | tuple | np.ndarray) and all(isinstance(x, float | int) for x in answer):
        return f"[{', '.join(f'{x:.6g}' for x in answer)}]"[:100]
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, Any]


def _tuned_by_test(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    return compare(test, test, default, tolerance)


def _reports_validation(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    return compare(validation, validation, default, tolerance)


def _by_the_best_seed(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    best = np.where(np.isnan(validation), np.inf, validation).min(axis=2)
    return {**compare(validation, test, default, tolerance), "tuned": best.argmin(axis=1).tolist()}


def _diverged_left_out(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    def filled(losses: np.ndarray) -> np.ndarray:
        lost = np.isnan(losses)
        means = np.where(lost, 0, losses).sum(axis=2) / np.maximum((~lost).sum(axis=2), 1)
        return np.where(lost & ~lost.all(axis=2, keepdims=True), means[:, :, None], losses)

    return compare(filled(validation), filled(test), default, tolerance)


def _one_rate_for_all(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    answers = compare(validation, test, default, tolerance)
    return {**answers, "winner": answers["untuned"]}


def _edges_are_as_good(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    return {**compare(validation, test, default, tolerance), "unfinished": []}


def _upper_edge_only(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    answers = compare(validation, test, default, tolerance)
    at_the_end = np.flatnonzero(_mean(validation).argmin(axis=1) == validation.shape[1] - 1).tolist()
    return {**answers, "unfinished": at_the_end}


def _with_error(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float, how: str) -> _Answers:
    """The comparison with another standard error."""
    answers = compare(validation, test, default, tolerance)
    a, b = (test[i, _mean(validation)[i].argmin()] for i in (answers["winner"], answers["runner_up"]))
    error = {
        "unpaired": math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a)),
        "deviation": float((b - a).std(ddof=1)),
        "by S": float((b - a).std() / math.sqrt(len(a))),
    }[how]
    return {**answers, "error": error, "settled": float((b - a).mean()) > 2 * error}


def _unpaired(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    return _with_error(validation, test, default, tolerance, "unpaired")


def _deviation_for_error(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    return _with_error(validation, test, default, tolerance, "deviation")


def _divided_by_all(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    return _with_error(validation, test, default, tolerance, "by S")


def _any_difference_settles(validation: np.ndarray, test: np.ndarray, default: int, tolerance: float) -> _Answers:
    return {**compare(validation, test, default, tolerance), "settled": True}


MISTAKES = (
    (
        _tuned_by_test,
        "You tune on the test part. What was chosen for being low there is low by luck too; choose on the validation "
        "part and leave the test part for the report.",
    ),
    (
        _reports_validation,
        "You report the validation losses. The rates were chosen for these, so they flatter everyone, and most of all "
        "whoever had the most to choose from.",
    ),
    (
        _by_the_best_seed,
        "You tune by the best seed. One lucky run does not make a good rate: take the mean over the seeds.",
    ),
    (
        _diverged_left_out,
        "You leave the runs that diverged out of the mean. A rate with which one run in four is lost looks good that "
        "way; it does not count.",
    ),
    (
        _one_rate_for_all,
        "You let all optimizers compete at one rate. A rate means another thing to each of them, and the one that it "
        "happens to suit wins: tune each by itself.",
    ),
    (
        _edges_are_as_good,
        "You take a best rate at the edge of the grid for found. The loss was still falling there: that optimizer has "
        "not been tuned yet.",
    ),
    (
        _upper_edge_only,
        "You look at one edge of the grid. The smallest rate that was tried is an edge too.",
    ),
    (
        _unpaired,
        "You treat the seeds of the two as independent. A seed that is bad for one is bad for the other, which drops "
        "out of their difference: take differences first, then their spread.",
    ),
    (
        _deviation_for_error,
        "You give the standard deviation of the differences. That of their mean is smaller by the root of S.",
    ),
    (
        _divided_by_all,
        "You divide the squares by S. Their mean was taken from the same S numbers, so divide by S - 1: with few seeds "
        "that is a great difference.",
    ),
    (
        _any_difference_settles,
        "You call every difference settled. Other seeds would give another one: compare it with its standard error.",
    ),
)
