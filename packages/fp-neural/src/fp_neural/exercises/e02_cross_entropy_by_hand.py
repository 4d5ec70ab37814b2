r"""
Cross-entropy by hand.

Level: concept. You need `fp_neural.softmax` and `fp_neural.losses`.

A model gives three tokens logits whose exponentials are 1, 2 and 5, and the second is the right one. No calculator is
needed: softmax divides by their sum, 8. Take a pencil and answer before you compute. What is the loss, in nats and in
bits? Which logit does the gradient push up, which down, and how hard? What if all logits are doubled, or the target is
smoothed? Then write each answer as the formula that you used, in the exponentials $e^{z_i}$ of the logits $z_i$, here
called odds.

Label smoothing with $\varepsilon$ compares the prediction with $(1 - \varepsilon)\,y + \varepsilon / V$ in place of
$y$, which is 1 at the target and 0 elsewhere: of $V$ tokens each gets $\varepsilon / V$, the target too.

The last question asks which of these statements are false, in that some example breaks them:

- A. Adding the same number to all logits changes no probability.
- B. Multiplying all logits by the same positive number changes no probability.
- C. The entries of the gradient in the logits sum to 0.
- D. If the target has the highest probability of all, the loss is below log 2.
- E. If the loss is below log 2, the target has the highest probability of all.
- F. As the probability of the target falls to 0, the gradient in its logit grows without bound.

You learn to see at a glance whether a loss, or a gradient, can be right: a dozen numbers by hand find more errors than
an hour of training.
"""

import math
from typing import Any

HINTS = (
    "Softmax divides each exponential by the sum of all. The loss is the surprisal of the target alone; the other "
    "probabilities act through the sum.",
    "In the logits the gradient is p - y. Its slope, in the target's logit, is that of p itself. Doubling a logit "
    "squares its exponential.",
    "With smoothing the loss is the sum of -q_i log p_i over all tokens, q = (1 - e) y + e / V, and by Gibbs's "
    "inequality it is lowest at p = q. For D try odds 4, 3, 3, for F a target whose odds are one in a million.",
)


def cross_entropy_by_hand(odds: list[float], target: int, smoothing: float) -> dict[str, float | list[float] | str]:
    """
    Answer ten questions about the cross-entropy of one prediction.

    Parameters
    ----------
    odds
        Exponentials of the logits, V positive numbers, at least two.
    target
        Which token is right, from 0 to V - 1.
    smoothing
        Amount of label smoothing, above 0 and below 1, used in `"smoothed"` and `"best"` alone.

    Returns
    -------
    dict
        One answer for each name:

        - `"p"`: a list, the probability of each token.
        - `"loss"`: the cross-entropy in nats.
        - `"bits"`: the cross-entropy in bits.
        - `"gradient"`: a list, the derivative of `"loss"` in each logit.
        - `"curvature"`: the second derivative of `"loss"` in the logit of the target.
        - `"doubled"`: the cross-entropy in nats if every logit is twice as large.
        - `"equal"`: the cross-entropy in nats if all V logits are equal.
        - `"smoothed"`: the cross-entropy in nats with the smoothed target.
        - `"best"`: the probability of the target at which `"smoothed"` would be lowest, over all choices of the logits.
        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = cross_entropy_by_hand([1.0, 2.0, 5.0], target=1, smoothing=0.25)
    >>> answers["p"], answers["bits"]
    ([0.125, 0.25, 0.625], 2.0)
    >>> sorted(answers)
    ['best', 'bits', 'curvature', 'doubled', 'equal', 'false', 'gradient', 'loss', 'p', 'smoothed']
    """
    V = len(odds)
    p = _shares(odds)
    y = [float(i == target) for i in range(V)]
    q = [(1 - smoothing) * y_i + smoothing / V for y_i in y]
    loss = -math.log(p[target])
    gradient = [p_i - y_i for p_i, y_i in zip(p, y, strict=True)]
    four = _shares([4.0, 3.0, 3.0])
    holds = {
        "A": all(map(math.isclose, _shares([7.0, 14.0, 35.0]), _shares([1.0, 2.0, 5.0]))),
        "B": all(map(math.isclose, _shares([1.0, 4.0, 25.0]), _shares([1.0, 2.0, 5.0]))),
        "C": math.isclose(sum(gradient), 0, abs_tol=1e-12),
        "D": -math.log(max(four)) < math.log(2),
        "E": max(p) == p[target] or loss >= math.log(2),  # below log 2 it has more than half, the others less
        "F": abs(_shares([1.0, 1e6])[0] - 1) > 1,
    }
    return {
        "p": p,
        "loss": loss,
        "bits": loss / math.log(2),
        "gradient": gradient,
        "curvature": p[target] * (1 - p[target]),
        "doubled": -math.log(_shares([odd**2 for odd in odds])[target]),
        "equal": math.log(V),
        "smoothed": -sum(q_i * math.log(p_i) for q_i, p_i in zip(q, p, strict=True)),
        "best": q[target],
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _shares(odds: list[float]) -> list[float]:
    """Each number divided by the sum of all: softmax of the logarithms."""
    total = sum(odds)
    return [odd / total for odd in odds]


_WHY = {
    "p": "The odds are exponentials of logits already: softmax divides each by the sum of all.",
    "loss": "It is the surprisal of the target, -log of its probability, with the natural logarithm.",
    "bits": "One bit is log(2) nats.",
    "gradient": "In the logits it is p - y: every probability, less 1 at the target.",
    "curvature": "The first derivative there is p - 1, and p has the slope p (1 - p) in its own logit.",
    "doubled": "exp(2 z) is the square of exp(z): square the odds, then divide by their new sum.",
    "equal": "Equal logits give each token the probability 1 / V.",
    "smoothed": "It is the sum of -q log p over all tokens, q = (1 - smoothing) y + smoothing / V.",
    "best": "A cross-entropy with q is lowest at p = q, and q has 1 - smoothing + smoothing / V at the target.",
    "false": "One example is enough to break a statement, and those that no example breaks follow from p and p - y.",
}

PROBES = (
    ([1.0, 2.0, 5.0], 1, 0.25),
    ([3.0, 1.0], 0, 0.1),
    ([0.5, 0.25, 0.125, 8.0, 0.0625], 4, 0.5),
    ([1.0, 1.0, 1.0, 1.0], 2, 0.2),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for odds, target, smoothing in PROBES:
        got = learner.cross_entropy_by_hand(list(odds), target, smoothing)
        assert isinstance(got, dict), f"expected a dict of ten answers, got {got!r:.80}"
        for key, expected in cross_entropy_by_hand(odds, target, smoothing).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            case = f"odds {odds} and target {target}" + (
                f", smoothing {smoothing}" if key in ("smoothed", "best") else ""
            )
            assert _same(got[key], expected), f"{_what_is_wrong(case, key, expected, got[key])} {_WHY[key]}"


def _same(got: Any, expected: float | list[float] | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        if isinstance(expected, list):
            return len(got) == len(expected) and all(_same(x, y) for x, y in zip(got, expected, strict=True))
        # far above rounding, far below any other answer; the absolute part is for an expected 0
        return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)
    except (TypeError, ValueError):
        return False


def _what_is_wrong(case: str, key: str, expected: float | list[float] | str, got: Any) -> str:
    if not isinstance(expected, str):
        return f"for {case}, {key!r} is {_short(expected)}; got {_short(got)}."
    if not isinstance(got, str) or list(got) != sorted(set(got) & set("ABCDEF")):
        return f"{key!r} is a string of letters from A to F in alphabetical order; got {_short(got)}."
    letter = min(set(got) ^ set(expected))  # one alone: the other letters remain to be thought about
    if letter in got:
        return f"your {key!r} is {got!r}, but statement {letter} is true: no example breaks it."
    return f"your {key!r} is {got!r}, but statement {letter} is false too: some example breaks it."


def _short(answer: Any) -> str:
    if isinstance(answer, list | tuple):
        return f"[{', '.join(map(_short, answer))}]"[:100]
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, float | list[float] | str]


def _odds_for_logits(odds: list[float], target: int, smoothing: float) -> _Answers:
    return cross_entropy_by_hand([math.exp(odd) for odd in odds], target, smoothing)


def _in_bits(odds: list[float], target: int, smoothing: float) -> _Answers:
    answers: dict[str, Any] = cross_entropy_by_hand(odds, target, smoothing)
    bits = {key: answers[key] / math.log(2) for key in ("loss", "doubled", "equal", "smoothed")}
    return {**answers, **bits}


def _entropy_of_the_prediction(odds: list[float], target: int, smoothing: float) -> _Answers:
    def entropy(odds: list[float]) -> float:
        return -sum(p * math.log(p) for p in _shares(odds))

    answers = cross_entropy_by_hand(odds, target, smoothing)
    loss, doubled = entropy(odds), entropy([odd**2 for odd in odds])
    return {**answers, "loss": loss, "bits": loss / math.log(2), "doubled": doubled}


def _gradient_turned(odds: list[float], target: int, smoothing: float) -> _Answers:
    answers: dict[str, Any] = cross_entropy_by_hand(odds, target, smoothing)
    return {**answers, "gradient": [-slope for slope in answers["gradient"]]}


def _gradient_in_probabilities(odds: list[float], target: int, smoothing: float) -> _Answers:
    p = _shares(odds)[target]
    gradient = [-1 / p if i == target else 0.0 for i in range(len(odds))]
    return {
        **cross_entropy_by_hand(odds, target, smoothing),
        "gradient": gradient,
        "curvature": 1 / p**2,
        "false": "BCD",
    }


def _target_alone(odds: list[float], target: int, smoothing: float) -> _Answers:
    p = _shares(odds)[target]
    gradient = [p - 1 if i == target else 0.0 for i in range(len(odds))]
    return {**cross_entropy_by_hand(odds, target, smoothing), "gradient": gradient, "false": "BCDF"}


def _scale_cancels(odds: list[float], target: int, smoothing: float) -> _Answers:
    answers = cross_entropy_by_hand(odds, target, smoothing)
    return {**answers, "doubled": answers["loss"], "false": "DF"}


def _loss_doubles(odds: list[float], target: int, smoothing: float) -> _Answers:
    answers: dict[str, Any] = cross_entropy_by_hand(odds, target, smoothing)
    return {**answers, "doubled": 2 * answers["loss"]}


def _smoothed_over_the_others(odds: list[float], target: int, smoothing: float) -> _Answers:
    p = _shares(odds)
    q = [1 - smoothing if i == target else smoothing / (len(p) - 1) for i in range(len(p))]
    smoothed = -sum(q_i * math.log(p_i) for q_i, p_i in zip(q, p, strict=True))
    return {**cross_entropy_by_hand(odds, target, smoothing), "smoothed": smoothed, "best": q[target]}


def _prediction_smoothed(odds: list[float], target: int, smoothing: float) -> _Answers:
    p = (1 - smoothing) * _shares(odds)[target] + smoothing / len(odds)
    return {**cross_entropy_by_hand(odds, target, smoothing), "smoothed": -math.log(p), "best": 1.0}


def _first_means_half(odds: list[float], target: int, smoothing: float) -> _Answers:
    return {**cross_entropy_by_hand(odds, target, smoothing), "false": "BF"}


MISTAKES = (
    (
        _odds_for_logits,
        "You take exponentials of the odds. They are exponentials already: what is left of softmax is to divide by the "
        "sum.",
    ),
    (
        _in_bits,
        "You use the logarithm to base 2 where nats are asked for. Losses and their gradients are in nats, with the "
        "natural logarithm, unless the name says bits.",
    ),
    (
        _entropy_of_the_prediction,
        "You weigh surprisals by the model's own probabilities: that is the entropy of its prediction. Cross-entropy "
        "weighs them by the truth, which has all its weight at the target.",
    ),
    (
        _gradient_turned,
        "Your gradient has the wrong sign. Raising the target's logit lowers the loss, so the entry there is negative: "
        "p - y.",
    ),
    (
        _gradient_in_probabilities,
        "You take the derivative of -log p in p. The question is about logits: through softmax the 1 / p cancels, and "
        "p - y is left, none of it larger than 1.",
    ),
    (
        _target_alone,
        "You give a gradient to the target's logit alone. Every logit is in the sum that softmax divides by, so each "
        "token is pushed down by its probability.",
    ),
    (
        _scale_cancels,
        "You let a factor cancel out of softmax. What cancels is a number *added* to all logits; a factor raises the "
        "odds to a power and sharpens the prediction.",
    ),
    (
        _loss_doubles,
        "You double the loss along with the logits. The sum that softmax divides by changes too: square the odds, then "
        "divide anew.",
    ),
    (
        _smoothed_over_the_others,
        "You share the smoothing among the wrong tokens. Here, as in most libraries, all V tokens get their part, the "
        "target too.",
    ),
    (
        _prediction_smoothed,
        "You smooth the prediction. Label smoothing changes the target that the prediction is compared with; the "
        "prediction stays.",
    ),
    (
        _first_means_half,
        "You take the most probable token for one that has more than half. Among many tokens the first may have far "
        "less: odds 4, 3, 3 give it 0.4, and a loss above log 2.",
    ),
)
