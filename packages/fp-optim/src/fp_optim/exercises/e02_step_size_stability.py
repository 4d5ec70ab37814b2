r"""
Which rate is too large?

Level: concept. You need `optim.contraction` and `optim.quadratic-descent` of `fp_optim.descent`, and the heavy ball of
`fp_optim.momentum` up to `optim.heavy-ball-roots`.

A loss is the quadratic

$$f(x) = \tfrac12 \sum_i \lambda_i x_i^2$$

with curvatures $\lambda_i > 0$, not all equal; $L$ is the largest, $\mu$ the smallest. Gradient descent steps with the
rate $\eta$.

Predict before you compute, with curvatures 1 and 100. One direction explodes at $\eta = 0.021$: which, and can the
other one hold it back? Is the best rate the one at which the steep direction arrives in a single step? Somebody sums
the loss over a batch of 32 examples where he took the mean before: what must he do to the rate? The inputs are given in
metres in place of centimetres, so the parameters get a hundred times larger: what happens to the largest rate? Does
momentum 0.9, under which steps grow up to tenfold, call for a tenth of the rate? Then write each answer as a formula.

You learn what sets the largest rate (the steepest direction), what sets the time (the flattest), and which changes of
a training script move either without anybody having touched the rate.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "A step multiplies coordinate i by 1 - η λ_i. It shrinks if that lies between -1 and 1, and it keeps its sign if "
    "it is not negative. All answers follow from these factors.",
    "The distance shrinks per step by max |1 - η λ_i| at worst, which is either the steepest coordinate or the "
    "flattest; the best rate makes the two equal in size. Multiplying the loss by a number multiplies every λ_i by it.",
    "With x = u / c, f has the curvatures λ_i / c² in u. A penalty ω |x|² / 2 adds ω to every λ_i. The heavy ball is "
    "stable up to η λ = 2 (1 + β). For `steps` solve q^k <= 1e-6 with the factor q of the best rate.",
)


def step_size(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> dict[str, float | int | bool]:
    """
    Answer thirteen questions about the rate of gradient descent on a quadratic.

    Parameters
    ----------
    curvatures
        The curvatures, all above 0, not all equal.
    start
        The coordinates of the start, as many; some may be exactly 0, not all are.
    rate
        A rate, above 0.
    n_steps
        A number of steps, at least 1.
    scale
        A number above 1.
    decay
        The strength of a penalty, above 0.
    momentum
        Of the heavy ball, above 0 and below 1.

    Returns
    -------
    dict
        One answer for each name:

        - `"limit"`: the rate below which descent tends to the minimum from every start, and above which it does not.
        - `"settles"`: whether it tends to the minimum from `start` with `rate`, computed without rounding.
        - `"after"`: the loss after `n_steps` steps from `start` with `rate`.
        - `"last"`: with `rate`, the curvature of the direction whose coordinate shrinks the least, or grows the most,
          per step (from a start with no zeros; it is one direction in all questions asked).
        - `"no_crossing"`: the largest rate with which no coordinate ever changes its sign.
        - `"best"`: the rate with which the distance to the minimum shrinks fastest from the worst start.
        - `"steps"`: the least number of steps with the best rate after which the distance is at most a millionth of
          what it was, from every start.
        - `"edge"`: the curvature at which training with `rate` becomes unstable.
        - `"summed"`: the limit if the loss is `scale` times as large.
        - `"rescaled"`: the limit for descent in u, where `x = u / scale`.
        - `"penalised"`: the limit if `decay` times half the squared length of x is added to the loss.
        - `"condition"`: the condition number of the loss with that penalty.
        - `"heavy"`: the limit for the heavy ball with `momentum`, in the form `b = momentum * b + g`, `x = x - rate *
          b`.

    Examples
    --------
    >>> answers = step_size([4.0, 1.0], [1.0, 2.0], rate=0.25, n_steps=1, scale=10.0, decay=1.0, momentum=0.5)
    >>> answers["limit"], answers["after"], answers["last"]
    (0.5, 1.125, 1.0)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['after', 'best', 'condition', 'edge', 'heavy', 'last', 'limit', 'no_crossing', 'penalised', 'rescaled', 'settles',
     'steps', 'summed']
    """
    L, mu = max(curvatures), min(curvatures)
    moved = [k for k, x in zip(curvatures, start, strict=True) if x != 0]
    return {
        "limit": 2 / L,
        "settles": rate < 2 / max(moved),
        "after": 0.5 * sum(k * ((1 - rate * k) ** n_steps * x) ** 2 for k, x in zip(curvatures, start, strict=True)),
        "last": max(curvatures, key=lambda k: abs(1 - rate * k)),
        "no_crossing": 1 / L,
        "best": 2 / (L + mu),
        "steps": math.ceil(math.log(1e-6) / math.log((L - mu) / (L + mu))),
        "edge": 2 / rate,
        "summed": 2 / (scale * L),
        "rescaled": 2 * scale**2 / L,
        "penalised": 2 / (L + decay),
        "condition": (L + decay) / (mu + decay),
        "heavy": 2 * (1 + momentum) / L,
    }


_WHY = {
    "limit": "The steepest coordinate is multiplied by 1 - rate * L, which must stay above -1.",
    "settles": "A coordinate that is 0 stays 0: only the steepest of the others must shrink.",
    "after": "Each coordinate is multiplied by 1 - rate * λ at every step, and the loss takes its square.",
    "last": "Compare the sizes of 1 - rate * λ: with a small rate the flattest is last, with a large one the steepest.",
    "no_crossing": "A coordinate keeps its sign as long as 1 - rate * λ is not negative.",
    "best": "The best rate makes 1 - rate * μ and rate * L - 1 equal.",
    "steps": "The factor of the best rate is (L - μ) / (L + μ), and its powers must come down to 1e-6.",
    "edge": "Turn the limit round: rate = 2 / curvature.",
    "summed": "A multiple of the loss has the same multiple of every curvature.",
    "rescaled": "The gradient in u is that in x divided by scale, and x moves by a scale-th of what u moves: both "
    "count.",
    "penalised": "The penalty adds its strength to every curvature.",
    "condition": "The penalty adds its strength to every curvature, and the condition number is their largest "
    "quotient.",
    "heavy": "The roots of r² - (1 + β - rate λ) r + β lie within the unit circle for rate λ < 2 (1 + β).",
}

PROBES = (
    ([100.0, 1.0], [1.0, 1.0], 0.021, 3, 32.0, 4.0, 0.9),
    ([8.0, 2.0, 0.5], [1.0, -2.0, 4.0], 0.2, 5, 10.0, 0.25, 0.5),
    ([5.0, 40.0, 1.0], [2.0, 0.0, -1.0], 0.06, 2, 3.0, 10.0, 0.95),
    ([0.001, 0.03], [0.5, 0.5], 20.0, 40, 100.0, 0.001, 0.8),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for curvatures, start, rate, n_steps, scale, decay, momentum in PROBES:
        arguments = (rate, n_steps, scale, decay, momentum)
        got = learner.step_size(list(curvatures), list(start), *arguments)
        assert isinstance(got, dict), f"expected a dict of thirteen answers, got {got!r:.80}"
        for key, expected in step_size(curvatures, start, *arguments).items():
            case = {
                "settles": f", start {start} and rate {rate:g}",
                "after": f", start {start}, rate {rate:g} and {n_steps} steps",
                "last": f" and rate {rate:g}",
                "edge": f" and rate {rate:g}",
                "summed": f" and scale {scale:g}",
                "rescaled": f" and scale {scale:g}",
                "penalised": f" and decay {decay:g}",
                "condition": f" and decay {decay:g}",
                "heavy": f" and momentum {momentum:g}",
            }.get(key, "")
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"for curvatures {curvatures}{case}, {key!r} is {_short(expected)}; got {_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, bool):
        return isinstance(got, bool | np.bool_) and bool(got) == expected
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and not isinstance(got, bool) and int(got) == expected
    try:
        return math.isclose(got, expected, rel_tol=1e-9)  # far above rounding, far below any other answer
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, float | int | bool]


def _limit_of_the_gain(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    answers = step_size(curvatures, start, rate, n_steps, scale, decay, momentum)
    L = max(curvatures)
    edges = {"edge": 1 / rate, "settles": rate < 1 / L, "summed": 1 / (scale * L), "rescaled": scale**2 / L}
    return {**answers, "limit": 1 / L, **edges, "penalised": 1 / (L + decay), "heavy": (1 + momentum) / L}


def _flattest_limits(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    mu = min(curvatures)
    answers = step_size(curvatures, start, rate, n_steps, scale, decay, momentum)
    return {**answers, "limit": 2 / mu, "settles": rate < 2 / mu, "no_crossing": 1 / mu}


def _mean_curvature_limits(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    limit = 2 * len(curvatures) / sum(curvatures)
    answers = step_size(curvatures, start, rate, n_steps, scale, decay, momentum)
    return {**answers, "limit": limit, "settles": rate < limit}


def _as_from_every_start(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    settles = rate < 2 / max(curvatures)
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "settles": settles}


def _flattest_is_last(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "last": min(curvatures)}


def _best_for_the_steepest(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    L, mu = max(curvatures), min(curvatures)
    steps = math.ceil(math.log(1e-6) / math.log(1 - mu / L))
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "best": 1 / L, "steps": steps}


def _loss_for_distance(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    L, mu = max(curvatures), min(curvatures)
    steps = math.ceil(math.log(1e-6) / math.log(((L - mu) / (L + mu)) ** 2))
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "steps": steps}


def _square_forgotten(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    after = 0.5 * sum(k * (1 - rate * k) ** n_steps * x**2 for k, x in zip(curvatures, start, strict=True))
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "after": after}


def _sum_calls_for_more(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    summed = 2 * scale / max(curvatures)
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "summed": summed}


def _units_do_not_matter(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    rescaled = 2 / max(curvatures)
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "rescaled": rescaled}


def _units_matter_once(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    rescaled = 2 * scale / max(curvatures)
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "rescaled": rescaled}


def _penalty_makes_room(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    answers = step_size(curvatures, start, rate, n_steps, scale, decay, momentum)
    L, mu = max(curvatures), min(curvatures)
    return {**answers, "penalised": 2 / L + decay, "condition": L / mu + decay}


def _momentum_shrinks_the_limit(
    curvatures: list[float], start: list[float], rate: float, n_steps: int, scale: float, decay: float, momentum: float
) -> _Answers:
    heavy = 2 * (1 - momentum) / max(curvatures)
    return {**step_size(curvatures, start, rate, n_steps, scale, decay, momentum), "heavy": heavy}


MISTAKES = (
    (
        _limit_of_the_gain,
        "You take 1 / L for the limit. With that rate the steepest coordinate arrives in one step; beyond it, it only "
        "crosses over and still comes nearer, until the rate is 2 / L.",
    ),
    (
        _flattest_limits,
        "You let the flattest direction set the limit. It sets the time; the steepest explodes first.",
    ),
    (
        _mean_curvature_limits,
        "You let the mean curvature set the limit. Each direction is on its own: that others are flat does not hold "
        "the steepest back.",
    ),
    (
        _as_from_every_start,
        "You judge the start by the limit for all starts. A coordinate that is exactly 0 has no gradient, so it stays "
        "0 however large the rate.",
    ),
    (
        _flattest_is_last,
        "You take the flattest direction for the slowest at any rate. Near the limit the steepest one, which jumps "
        "from side to side, is slower.",
    ),
    (
        _best_for_the_steepest,
        "You take the rate that is best for the steepest direction. It may cross over a little, if that helps the "
        "flattest one: the best rate balances the two, at 2 / (L + μ).",
    ),
    (
        _loss_for_distance,
        "You bring the loss down to a millionth, not the distance. The loss is like the square of the distance, so the "
        "distance takes twice as many steps.",
    ),
    (
        _square_forgotten,
        "You multiply the loss by 1 - rate * λ at each step. That is what happens to the coordinate; its square is in "
        "the loss.",
    ),
    (
        _sum_calls_for_more,
        "You allow a larger rate for the larger loss. Its gradient is larger by as much, and the rate must make up for "
        "that: the limit goes down.",
    ),
    (
        _units_do_not_matter,
        "You let the limit be the same in other units. Plain gradient descent is not the same in u: the curvature is "
        "scale² times smaller there.",
    ),
    (
        _units_matter_once,
        "You count the scale once. It enters twice: the gradient in u is smaller by scale, and a step in u moves x by "
        "a scale-th of it.",
    ),
    (
        _penalty_makes_room,
        "You add the penalty to the limit. It adds to the curvatures, so the limit becomes smaller, and the condition "
        "number too.",
    ),
    (
        _momentum_shrinks_the_limit,
        "You shrink the limit by the tenfold step that momentum can build up. That happens where gradients agree; at "
        "the limit they alternate and cancel in the buffer, and the heavy ball stands up to 2 (1 + β) / L.",
    ),
)
