r"""
What a larger batch is worth.

Level: challenge. You need `fp_optim.stochastic` from `optim.critical-batch` to `optim.root-scaling`.

You have more machines and could take a larger batch. How many steps will that save, what does it cost in examples, and
which settings have to change with it? All of it follows from one number, the critical batch size, and that number can
be measured while you train: accumulation over micro-batches gives gradients of two batch sizes for nothing.

In each of $K$ steps, each at another point, you have the gradients of $N$ examples. Consecutive ones form micro-batches
of $b$ examples; the mean over all $N$ is the large batch. From (E12) each step gives one estimate of the signal $|g|^2$
and one of the noise $\operatorname{tr} \Sigma$, both right in the mean and both rather bad. The critical batch size is
the noise over the signal, each taken as its mean over all the steps.

Then plan. A run was tuned with the batch `now` and is to be made with the batch `then`. Take the steps to be as in
`optim.steps-and-examples`, SGD's best rate as in (E10), and Adam's as in (E13), where $a$ is the share of the signal in
the mean squared length of the gradient of the batch `now`. Adam's second moment is to remember as many *examples* as
before, so its factor must fade as much over one large step as it did over the small steps that this one replaces.

You learn to measure the noise of gradients without fooling yourself: means of quotients, squared norms of noisy means
and variances of few numbers all lie in a direction that is known beforehand.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "One step: `micro = g.reshape(N // b, b, D).mean(axis=1)` are the gradients of the micro-batches. `small` is the "
    "mean of their squared lengths, `large` the squared length of `g.mean(axis=0)`. Put both into (E12).",
    "Average the K signals and the K noises, and divide after that. Steps go like 1 + critical / batch, SGD's rate "
    "like one over that, and examples are steps times batch.",
    "Let k = then / now. Adam's rate is `rate * sqrt(k**2 * a + k * (1 - a))` with `a = signal / (signal + noise / "
    "now)`, and its beta2 becomes `beta2**k`. Steps are (1 + slack) times the fewest where critical / batch is slack.",
)


def batch_scaling(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    """
    Measure the critical batch size, and plan a run with another batch.

    Parameters
    ----------
    gradients
        Gradients of single examples, of shape `(K, N, D)`: step, example, coordinate.
    b
        Examples of a micro-batch, at least 1; N is a multiple of it and at least twice as large.
    now, then
        The batch sizes of the run that was tuned and of the run that is planned.
    n_steps
        Steps of the run that was tuned.
    rate
        Its rate.
    beta2
        Its factor for Adam's second moment, above 0 and below 1.
    slack
        Above 0.

    Returns
    -------
    dict
        One number for each name:

        - `"signal"`, `"noise"`: the estimates of the squared length of the true gradient, and of the trace of the
          covariance of a single example's gradient, each a mean over the K steps.
        - `"critical"`: the critical batch size.
        - `"steps"`: the steps, not rounded, that the run takes with the batch `then` to get as far as before.
        - `"examples"`: the examples that it takes.
        - `"sgd_rate"`: its rate for SGD, if `rate` was the best for `now`.
        - `"adam_rate"`: its rate for Adam by (E13).
        - `"beta2"`: its factor for Adam's second moment.
        - `"fast"`: the batch size with which the run takes `1 + slack` times the fewest steps that any batch could do
          with.

    Examples
    --------
    >>> gradients = np.array([[[3.0, 0.0], [1.0, 2.0], [1.0, -2.0], [3.0, 0.0]]])
    >>> plan = batch_scaling(gradients, b=1, now=4, then=8, n_steps=300, rate=0.5, beta2=0.75, slack=0.25)
    >>> round(plan["signal"], 6), round(plan["noise"], 6), round(plan["steps"], 6), plan["beta2"]
    (3.0, 4.0, 262.5, 0.5625)
    """
    estimates = np.array([_estimate(g, b) for g in gradients])
    signal, noise = (float(x) for x in estimates.mean(axis=0))
    return _plan(signal, noise, noise / signal, now, then, n_steps, rate, beta2, slack)


def _estimate(g: np.ndarray, b: int) -> tuple[float, float]:
    """Signal and noise from one step (E12)."""
    n, d = g.shape
    small = float((g.reshape(n // b, b, d).mean(axis=1) ** 2).sum(axis=1).mean())
    large = float((g.mean(axis=0) ** 2).sum())
    return (n * large - b * small) / (n - b), (small - large) / (1 / b - 1 / n)


def _plan(
    signal: float,
    noise: float,
    critical: float,
    now: int,
    then: int,
    n_steps: int,
    rate: float,
    beta2: float,
    slack: float,
) -> dict[str, float]:
    """The plan that follows from the measurements."""
    steps = n_steps * (1 + critical / then) / (1 + critical / now)
    k, share = then / now, signal / (signal + noise / now)
    return {
        "signal": signal,
        "noise": noise,
        "critical": critical,
        "steps": steps,
        "examples": steps * then,
        "sgd_rate": rate * (1 + critical / now) / (1 + critical / then),
        "adam_rate": rate * math.sqrt(k**2 * share + k * (1 - share)),
        "beta2": beta2**k,
        "fast": critical / slack,
    }


_WHY = {
    "signal": "In each step it is (N |G|² - b |G_b|²) / (N - b), with the mean over the micro-batches for |G_b|²; the "
    "squared length of a noisy mean alone is too large.",
    "noise": "In each step it is (|G_b|² - |G|²) / (1 / b - 1 / N), the variance of one example and not of a batch.",
    "critical": "Divide the mean noise by the mean signal, once.",
    "steps": "The number of steps is in proportion to 1 + critical / batch.",
    "examples": "Examples are steps times batch.",
    "sgd_rate": "The best rate is in proportion to 1 / (1 + critical / batch): linear at first, then no more.",
    "adam_rate": "By (E13), with the share signal / (signal + noise / now).",
    "beta2": "One large step stands for then / now small ones, each of which multiplied by beta2.",
    "fast": "Steps are 1 + critical / batch times the fewest.",
}


def _measured(K: int, N: int, D: int, length: float, seed: int) -> np.ndarray:
    """Gradients of examples whose mean moves on from step to step."""
    rng = np.random.default_rng(seed)
    mean = length * np.cumsum(rng.normal(size=(K, 1, D)), axis=0) / math.sqrt(D)
    return np.asarray(mean + rng.normal(size=(K, N, D)) * np.geomspace(0.1, 2.0, D))


PROBES = (
    (_measured(3, 4, 2, 1.0, 1), 1, 32, 256, 1000, 0.1, 0.95, 0.25),
    (_measured(10, 12, 5, 0.3, 2), 3, 64, 128, 5000, 3e-4, 0.999, 0.5),
    (_measured(25, 16, 8, 0.1, 3), 4, 8, 2048, 20_000, 0.02, 0.99, 1.0),
    (_measured(12, 6, 3, 0.4, 4), 2, 512, 64, 300, 1.0, 0.9, 0.1),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for gradients, b, now, then, n_steps, rate, beta2, slack in PROBES:
        settings = (b, now, then, n_steps, rate, beta2, slack)
        got = learner.batch_scaling(gradients.copy(), *settings)
        assert isinstance(got, dict), f"expected a dict of nine numbers, got {got!r:.80}"
        expected = batch_scaling(gradients, *settings)
        K, N, D = gradients.shape
        measured = f"{K} steps of {N} gradients with {D} entries, micro-batches of {b}"
        planned = f"signal {expected['signal']:.6g}, noise {expected['noise']:.6g}, now = {now}, then = {then}"
        for key, right in expected.items():
            case = {
                "signal": measured,
                "noise": measured,
                "critical": measured,
                "steps": f"{planned} and {n_steps} steps",
                "examples": f"{planned} and {n_steps} steps",
                "beta2": f"{planned} and beta2 = {beta2:g}",
                "fast": f"{planned} and slack {slack:g}",
            }.get(key, f"{planned} and rate {rate:g}")
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], right), f"for {case}, {key!r} is {right:.6g}; got {_short(got[key])}. {_WHY[key]}"


def _same(got: Any, expected: float) -> bool:
    try:
        return math.isclose(got, expected, rel_tol=1e-8)  # differences of sums of squares lose a digit or two
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


def _mean_of_quotients(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    answers = batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack)
    critical = float(np.mean([noise / signal for signal, noise in (_estimate(g, b) for g in gradients)]))
    return _plan(answers["signal"], answers["noise"], critical, now, then, n_steps, rate, beta2, slack)


def _noise_in_the_signal(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    noise = batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack)["noise"]
    signal = float((gradients.mean(axis=1) ** 2).sum(axis=1).mean())
    return _plan(signal, noise, noise / signal, now, then, n_steps, rate, beta2, slack)


def _noise_of_the_whole_batch(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    answers = batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack)
    noise = answers["noise"] / gradients.shape[1]
    return _plan(answers["signal"], noise, noise / answers["signal"], now, then, n_steps, rate, beta2, slack)


def _divided_by_all(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    answers = batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack)
    n = gradients.shape[1] // b
    noise = answers["noise"] * (n - 1) / n
    return _plan(answers["signal"], noise, noise / answers["signal"], now, then, n_steps, rate, beta2, slack)


def _all_steps_as_one(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    signal, noise = _estimate(gradients.reshape(-1, gradients.shape[2]), b)
    return _plan(signal, noise, noise / signal, now, then, n_steps, rate, beta2, slack)


def _perfect_scaling(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    answers = batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack)
    return {**answers, "steps": n_steps * now / then, "examples": float(n_steps * now)}


def _nothing_is_saved(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    return {
        **batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack),
        "steps": float(n_steps),
        "examples": float(n_steps * then),
    }


def _linear_for_ever(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    return {**batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack), "sgd_rate": rate * then / now}


def _root_for_sgd(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    return {
        **batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack),
        "sgd_rate": rate * math.sqrt(then / now),
    }


def _linear_for_adam(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    return {**batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack), "adam_rate": rate * then / now}


def _root_for_adam(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    return {
        **batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack),
        "adam_rate": rate * math.sqrt(then / now),
    }


def _share_with_the_new_batch(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    answers = batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack)
    k, share = then / now, 1 / (1 + answers["critical"] / then)
    return {**answers, "adam_rate": rate * math.sqrt(k**2 * share + k * (1 - share))}


def _memory_in_steps(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    return {**batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack), "beta2": beta2}


def _memory_to_first_order(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    return {
        **batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack),
        "beta2": 1 - (1 - beta2) * then / now,
    }


def _slack_upside_down(
    gradients: np.ndarray, b: int, now: int, then: int, n_steps: int, rate: float, beta2: float, slack: float
) -> dict[str, float]:
    answers = batch_scaling(gradients, b, now, then, n_steps, rate, beta2, slack)
    return {**answers, "fast": answers["critical"] * slack}


MISTAKES = (
    (
        _mean_of_quotients,
        "You take the mean of the quotients. In a single step the signal may be near zero or below, and such steps "
        "decide everything: average both first and divide once.",
    ),
    (
        _noise_in_the_signal,
        "You take the squared length of the mean gradient for the signal. Its noise has a square too, so that is too "
        "large: by the noise over N, on average.",
    ),
    (
        _noise_of_the_whole_batch,
        "You give the variance of the mean of all N examples. The noise is that of a single example, N times as "
        "large, so that any batch size can be put in.",
    ),
    (
        _divided_by_all,
        "Your noise is too small: the distances of the micro-batches from their own mean are divided by the number of "
        "them, and not by one less.",
    ),
    (
        _all_steps_as_one,
        "You put the examples of all steps into one large batch. The true gradient moves on from step to step, and "
        "you count that as noise: each step is measured by itself.",
    ),
    (
        _perfect_scaling,
        "You let twice the batch save half of the steps, always. That holds far below the critical batch size; above "
        "it next to nothing is saved.",
    ),
    (
        _nothing_is_saved,
        "You let the number of steps be the same. A larger batch has less noise, so its rate can be larger, and each "
        "step gains more.",
    ),
    (
        _linear_for_ever,
        "You scale SGD's rate with the batch without an end. The linear rule holds far below the critical batch size; "
        "no batch stands more than the rate that is best without noise.",
    ),
    (
        _root_for_sgd,
        "You use the square-root rule for SGD. It is for steps that are divided by the gradient's own size, where "
        "that is mostly noise.",
    ),
    (
        _linear_for_adam,
        "You use the linear rule for Adam. Its steps are divided by the size of the gradients, noise included, which "
        "shrinks as the batch grows; so they grow by themselves already.",
    ),
    (
        _root_for_adam,
        "You use the square-root rule for Adam. It is right where noise is all that there is; here a share of the "
        "squared gradient is signal, and (E13) lies between root and line.",
    ),
    (
        _share_with_the_new_batch,
        "You take the share of the signal in the new batch. (E13) starts from the batch that the rate was tuned for.",
    ),
    (
        _memory_in_steps,
        "You keep beta2. The second moment then remembers as many steps as before, which are other numbers of "
        "examples: its power is to make up for that.",
    ),
    (
        _memory_to_first_order,
        "You multiply 1 - beta2 by the ratio of the batches. That is near only while little fades; eight steps that "
        "each keep 0.95 keep 0.95**8.",
    ),
    (
        _slack_upside_down,
        "You multiply the critical batch size by the slack. To come nearer to the fewest steps takes a larger batch: "
        "divide by it.",
    ),
)
