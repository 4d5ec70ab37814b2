r"""
Predicting what the temperature does.

Level: concept. You need the section on temperature in `fp_markov.sampling`.

A model likes one token best; the next $k$ tokens are equally likely, and each of their logits lies a gap $g$ (in nats)
below the best one's. Nothing else has any probability. Somebody turns the temperature. Before computing anything,
predict: what happens to the odds between the best token and one of the others when the temperature is halved? Where
does the best token end up when it is raised without limit? And which of these change at all: the entropy, the order of
the tokens, which tokens are possible, the best token's probability?

Then write down each answer as a formula in $g$, $k$ and $T$. You learn to predict a sampler's behaviour without
running it.
"""

import math
from typing import Any

import numpy as np

from fp_markov.information import entropy
from fp_markov.sampling import temperature

HINTS = (
    "Temperature divides the logits. So what does it do to the gap, and what does a gap mean for the odds?",
    "Odds are exp(gap / T). The best token's probability is 1 / (1 + k / odds), because the k others weigh 1 / odds "
    "each where it weighs 1.",
    "At probability 1/2 the k others together weigh as much as the best one: k / odds = 1. Solve exp(g / T) = k for T. "
    "And `exp(g / (T / 2))` is `exp(g / T) ** 2`.",
)


def predict(g: float, k: int, T: float) -> dict[str, float | list[str]]:
    """
    Predict six effects of temperature on one best token and `k` equal others whose logits are lower by `g`.

    Parameters
    ----------
    g
        Gap between the logits, in nats, above 0.
    k
        Number of other tokens, at least 2.
    T
        Temperature, above 0.

    Returns
    -------
    dict
        One answer for each name:

        - `"odds"`: probability of the best token divided by that of one of the others, at temperature `T`.
        - `"top"`: probability of the best token at temperature `T`.
        - `"halved"`: the odds at temperature `T / 2`.
        - `"half"`: the temperature at which the best token has probability one half.
        - `"hot"`: what the best token's probability tends to as the temperature grows without limit.
        - `"unchanged"`: a list, in alphabetical order, of what is the same at every temperature above 0. Choose from
          `"entropy"`; `"order"`, of the tokens by probability; `"possible"`, which tokens have positive probability;
          `"top"`, the best token's probability.

    Examples
    --------
    At temperature 1 a gap of ln 8 means that the best token is 8 times as likely as each other one:

    >>> import math
    >>> answers = predict(g=math.log(8), k=4, T=1.0)
    >>> round(answers["odds"], 9)
    8.0
    >>> sorted(answers)
    ['half', 'halved', 'hot', 'odds', 'top', 'unchanged']
    """
    odds = math.exp(g / T)
    logits = np.array([g] + [0.0] * k)
    one, other = (np.exp(z - z.max()) / np.exp(z - z.max()).sum() for z in (logits, temperature(logits, 2.0)))
    same = {
        "entropy": bool(np.isclose(entropy(one), entropy(other))),
        "order": bool((np.argsort(-one, kind="stable") == np.argsort(-other, kind="stable")).all()),
        "possible": bool(((one > 0) == (other > 0)).all()),
        "top": bool(np.isclose(one[0], other[0])),
    }
    return {
        "odds": odds,
        "top": 1 / (1 + k / odds),
        "halved": odds**2,
        "half": g / math.log(k),
        "hot": 1 / (1 + k),
        "unchanged": [name for name, is_same in same.items() if is_same],
    }


_WHY = {
    "odds": "Softmax turns a difference of logits into a ratio, exp(difference), and temperature divides the logits.",
    "top": "The k others weigh 1/odds each where the best one weighs 1, and the weights are divided by their sum.",
    "halved": "Half the temperature is twice the gap, and the exponential of twice the gap is the odds squared.",
    "half": "The best token has one half when the k others together weigh as much: exp(g / T) = k.",
    "hot": "Divided by an ever larger temperature, all gaps vanish: the best token becomes one among k + 1 equals.",
    "unchanged": "Dividing by a positive number keeps the order, and softmax of finite logits is never zero; but the "
    "gaps shrink, so probability moves from the best token to the others.",
}

PROBES = ((2.0, 3, 0.5), (1.5, 7, 3.0), (math.log(8), 4, 1.0))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for g, k, T in PROBES:
        got = learner.predict(g, k, T)
        assert isinstance(got, dict), f"expected a dict of six answers, got {got!r:.80}"
        for key, expected in predict(g, k, T).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"a gap of {g:.6g} nats to {k} others at temperature {T:g}: {key!r} is {_short(expected)}; got "
                f"{_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: float | list[str]) -> bool:
    if isinstance(expected, float):
        try:
            return math.isclose(got, expected, rel_tol=1e-9)  # far above rounding, far below any other answer
        except (TypeError, ValueError):
            return False
    return isinstance(got, list) and got == expected


def _short(answer: Any) -> str:
    # ten digits show every difference that `_same` sees
    return f"{answer:.10g}" if isinstance(answer, float) else f"{answer!r:.80}"


def _times_temperature(g: float, k: int, T: float) -> dict[str, float | list[str]]:
    odds = math.exp(g * T)
    answers = predict(g, k, T)
    return {**answers, "odds": odds, "top": 1 / (1 + k / odds), "halved": math.exp(g * T / 2), "half": math.log(k) / g}


def _divided_probabilities(g: float, k: int, T: float) -> dict[str, float | list[str]]:
    odds = math.exp(g)
    answers = {"odds": odds, "top": 1 / (1 + k / odds), "halved": odds, "half": math.inf, "hot": 1 / (1 + k / odds)}
    return {**answers, "unchanged": ["entropy", "order", "possible", "top"]}


def _odds_divided(g: float, k: int, T: float) -> dict[str, float | list[str]]:
    odds = math.exp(g) / T
    answers = predict(g, k, T)
    return {**answers, "odds": odds, "top": 1 / (1 + k / odds), "halved": 2 * odds, "half": math.exp(g) / k}


def _halving_doubles(g: float, k: int, T: float) -> dict[str, float | list[str]]:
    return {**predict(g, k, T), "halved": 2 * math.exp(g / T)}


def _one_rival(g: float, k: int, T: float) -> dict[str, float | list[str]]:
    return {**predict(g, k, T), "top": 1 / (1 + math.exp(-g / T)), "hot": 1 / 2}


def _hot_reverses(g: float, k: int, T: float) -> dict[str, float | list[str]]:
    return {**predict(g, k, T), "hot": 0.0, "unchanged": ["possible"]}


def _cold_cuts(g: float, k: int, T: float) -> dict[str, float | list[str]]:
    return {**predict(g, k, T), "unchanged": ["order"]}


MISTAKES = (
    (
        _times_temperature,
        "You multiply the logits by T, which is the same as raising the probabilities to the power T. Temperature "
        "divides: it is the power 1/T, and a high temperature flattens.",
    ),
    (
        _divided_probabilities,
        "You divide the probabilities by T and normalise again. The T cancels and nothing changes; temperature acts on "
        "the logits, before the exponential.",
    ),
    (
        _odds_divided,
        "You divide the odds by T. The division happens to the gap, inside the exponential: exp(g / T), not "
        "exp(g) / T.",
    ),
    (
        _halving_doubles,
        "You double the odds when the temperature is halved. The gap doubles, so the odds are squared.",
    ),
    (
        _one_rival,
        "You compare the best token with one rival. There are k of them, and each takes its share of the sum.",
    ),
    (
        _hot_reverses,
        "You expect heat to push the best token below the others. It only shrinks the gaps: the order stays, and the "
        "limit is the uniform distribution.",
    ),
    (
        _cold_cuts,
        "You expect a low temperature to make tokens impossible. At any temperature above 0 every finite logit keeps "
        "a positive probability; cutting is what top-k and top-p do.",
    ),
)
