r"""
What the numbers of a run say.

Level: concept. You need `fp_dynamics.history`, `fp_dynamics.stability` and `fp_dynamics.sanity`.

Four numbers of four runs; take a pencil.

The loss is smoothed with $m_t = \beta\, m_{t-1} + (1 - \beta)\, x_t$, $m_0 = 0$, $\beta = 0.9$. All losses are $1$:
what is $m_1$, and what $m_5$? By what does one have to divide $m_5$? The corrected curve follows a line that falls
steadily, and has done so for long: how many steps does it lag behind? Of how many losses does a plain mean have the
same variance in the long run?

A parabola has the curvature $\lambda = 4$, and the rate is $\eta = 0.4$. By which factor does a step multiply the
distance from the minimum? Does it converge? Which rates do: below which limit? And by which factor does that step
multiply the loss, whose smallest value is zero?

A language model has $V = 50$ tokens. What is its first loss if all logits are equal? What is it, nearly, if there are
very many tokens whose logits are independent normal numbers of variance $\sigma^2 = 2$: how far above the logarithm?

A layer's weights move by at most the share $\rho = 0.01$ of their length in a step. After how many steps can the
length be twice what it was, at the earliest?

The last question asks which statements are false, in that some example breaks them:

- A. For targets that are drawn uniformly and independently of the logits, the mean loss is at least $\ln V$.
- B. A relu unit that is zero for everything in this batch has a zero gradient for this batch.
- C. A relu unit that is zero for everything in this batch is dead for ever.
- D. If the loss of a batch falls after a step of gradient descent on it, the rate was below $2$ over the largest
  eigenvalue of the Hessian.
- E. A model whose loss on a batch is below the mean entropy of the targets given their prefixes is not causal.
- F. Two curves that were smoothed with different $\beta$ may be compared where both are flat.

You learn to read curves as what they are, and not as what they look like.
"""

import math
from typing import Any

HINTS = (
    "The weights of the fading average sum to one less beta to the power of t. Its lag is beta / (1 - beta), and it "
    "averages as much as (1 + beta) / (1 - beta) losses.",
    "A step multiplies the distance by 1 - eta * lambda, and the loss by the square of that. It converges exactly if "
    "eta * lambda lies between 0 and 2.",
    "D: think of a start from which the steepest direction is not touched. E: the floor. A: convexity gives ln V as "
    "the least mean.",
)

_Answers = dict[str, float | int | str]


def readings(
    beta: float, t: int, curvature: float, rate: float, vocab_size: int, variance: float, share: float
) -> dict[str, float | int | str]:
    r"""
    Answer thirteen questions about measurements of training runs.

    Parameters
    ----------
    beta
        Decay of the smoothing, above 0 and below 1.
    t
        A number of steps, at least 2.
    curvature, rate
        Of the parabola, and of the steps; positive.
    vocab_size
        V, at least 2.
    variance
        Of the logits.
    share
        rho, above 0 and below 1.

    Returns
    -------
    dict
        `"first"`, `"after"`: the average of losses that are 1, uncorrected, after one step and after t; `"divisor"`:
        what the latter has to be divided by; `"lag"`: in steps, in the long run; `"averages"`: of how many losses a
        plain mean has the same variance; `"factor"`: of the distance, with its sign; `"converges"`: `"yes"` or `"no"`;
        `"limit"`: rates below it converge; `"loss_factor"`: of the loss; `"equal"`: the loss for equal logits, in nats;
        `"above"`: the loss for random ones, less the logarithm of V; `"doubling"`: a whole number of steps; `"false"`:
        the letters of the false statements, in order.

    Examples
    --------
    >>> answers = readings(0.5, 3, 1.0, 1.0, 2, 1.0, 0.5)
    >>> answers["after"], answers["factor"], answers["doubling"]
    (0.875, 0.0, 2)
    """
    factor = 1 - rate * curvature
    return {
        "first": 1 - beta,
        "after": 1 - beta**t,
        "divisor": 1 - beta**t,
        "lag": beta / (1 - beta),
        "averages": (1 + beta) / (1 - beta),
        "factor": factor,
        "converges": "yes" if abs(factor) < 1 else "no",
        "limit": 2 / curvature,
        "loss_factor": factor**2,
        "equal": math.log(vocab_size),
        "above": variance / 2,
        "doubling": math.ceil(math.log(2) / math.log1p(share)),
        "false": "CD",
    }


_WHY = {
    "first": "m_0 is zero, and the first loss has the weight 1 - beta.",
    "after": "The weights are (1 - beta) beta^k for k below t: one less beta^t in sum.",
    "divisor": "The corrected average divides by the sum of the weights.",
    "lag": "The mean age of the weights (1 - beta) beta^k.",
    "averages": "The sum of the squared weights is (1 - beta) / (1 + beta).",
    "factor": "w - w* becomes w - w* - eta lambda (w - w*).",
    "converges": "Exactly if the factor lies between -1 and 1.",
    "limit": "eta lambda below 2.",
    "loss_factor": "The loss is half the curvature times the squared distance.",
    "equal": "Each token has the probability 1 / V.",
    "above": "The mean of e^z for a normal z of variance s^2 is e^(s^2 / 2).",
    "doubling": "At most (1 + rho)^t times the length: the first t at which that is 2 or more.",
    "false": "C: inputs change, other batches differ, momentum moves on. D: the curvature that a step meets is the one "
    "along the gradient. The others follow from a few lines.",
}

PROBES = (
    (0.9, 5, 4.0, 0.4, 50, 2.0, 0.01),
    (0.5, 3, 2.0, 1.5, 8, 1.0, 0.5),
    (0.75, 4, 0.5, 0.25, 1000, 0.25, 0.1),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for given in PROBES:
        got = learner.readings(*given)
        assert isinstance(got, dict), f"expected a dict of thirteen answers, got {got!r:.80}"
        for key, expected in readings(*given).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"readings{given}: {key!r} is {_short(expected)}, yours is {_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: float | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        return math.isclose(float(got), expected, rel_tol=1e-9, abs_tol=1e-12)  # rounding of a few operations
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.60}"


def _but(given: tuple[Any, ...], **changed: Any) -> _Answers:
    return readings(*given) | changed


def _starts_at_the_first(*given: Any) -> _Answers:
    return _but(given, first=1.0)


def _weight_of_the_oldest(*given: Any) -> _Answers:
    return _but(given, after=(1 - given[0]) * given[0] ** (given[1] - 1))


def _divides_by_beta(*given: Any) -> _Answers:
    return _but(given, divisor=1 - given[0])


def _lag_of_the_window(*given: Any) -> _Answers:
    return _but(given, lag=1 / (1 - given[0]))


def _averages_like_its_horizon(*given: Any) -> _Answers:
    return _but(given, averages=1 / (1 - given[0]))


def _factor_without_one(*given: Any) -> _Answers:
    return _but(given, factor=given[3] * given[2])


def _converges_up_to_one(*given: Any) -> _Answers:
    return _but(given, converges="yes" if given[3] * given[2] <= 1 else "no")


def _limit_of_no_overshoot(*given: Any) -> _Answers:
    return _but(given, limit=1 / given[2])


def _loss_like_distance(*given: Any) -> _Answers:
    return _but(given, loss_factor=abs(1 - given[3] * given[2]))


def _in_bits(*given: Any) -> _Answers:
    return _but(given, equal=math.log2(given[4]))


def _whole_variance(*given: Any) -> _Answers:
    return _but(given, above=given[5])


def _doubling_without_interest(*given: Any) -> _Answers:
    return _but(given, doubling=math.ceil(1 / given[6]))


def _dead_is_dead(*given: Any) -> _Answers:
    return _but(given, false="D")


def _a_fall_proves_the_limit(*given: Any) -> _Answers:
    return _but(given, false="C")


MISTAKES = (
    (_starts_at_the_first, "You start the average at the first loss. Here it starts at zero, and counts one loss."),
    (_weight_of_the_oldest, "You take the weight of the oldest loss. Asked is the sum of the weights of all of them."),
    (_divides_by_beta, "You divide by 1 - beta, which is right after one step only. The sum of the weights grows."),
    (_lag_of_the_window, "You take 1 / (1 - beta) for the lag. The newest loss has the age zero: one step less."),
    (
        _averages_like_its_horizon,
        "You take 1 / (1 - beta) for the number of losses averaged. The variance needs the sum of squared weights.",
    ),
    (_factor_without_one, "You forget what was there: the step is subtracted from the distance."),
    (
        _converges_up_to_one,
        "You let it converge only without overshooting. Changing sides is allowed, as long as the distance shrinks.",
    ),
    (_limit_of_no_overshoot, "You give the rate that arrives in one step. Twice that is the limit."),
    (_loss_like_distance, "You multiply the loss like the distance. It goes with the square of it."),
    (_in_bits, "You measure in bits. Losses here are in nats, with the natural logarithm."),
    (_whole_variance, "You add the whole variance. The mean of the exponential brings half of it."),
    (_doubling_without_interest, "You add the shares up. Each step is a share of what the steps before have made."),
    (_dead_is_dead, "You take a dead unit for dead for ever. The layers below it move, and so do its inputs."),
    (
        _a_fall_proves_the_limit,
        "You take a fall for a proof that the rate is within the limit. It proves it for the curvature along the "
        "gradient alone.",
    ),
)
