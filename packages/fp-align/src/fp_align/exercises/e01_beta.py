r"""
What beta does.

Level: concept. You need `fp_align.exact` and `fp_align.preferences`.

A reference gives two responses, A with the probability $p$ and B with $1 - p$. The rewards are $r$ for A and 0 for B.
Alignment looks for the policy that maximises

$$
\mathbb{E}_\pi [\text{reward}] - \beta\, D(\pi \,\|\, \pi_0).
$$

Predict before you compute. Which way do the odds of A go, and does it matter how likely A was before? What is left of
the policy if $\beta$ is huge, and what if it is tiny? If all rewards are doubled, what must $\beta$ be for the same
policy? If all rewards rise by 5, what changes? And if a judge of Bradley and Terry compares A and B, how often does A
win, and does the judge care about $p$? Then write the answers as formulas.

The last question asks which of these statements are false, in that some example breaks them:

- A. The optimum gives a positive probability to whatever the reference gives one.
- B. The best response gets the largest probability at every $\beta$.
- C. A policy that wins nine of ten games against the reference is closer to it than one that wins all.
- D. Verdicts of a Bradley-Terry judge say which reward a response has, up to one number for each prompt.
- E. With a smaller $\beta$ the optimum never earns less reward.
- F. Two policies of the same divergence from the reference earn the same reward.

You learn that everything happens in the odds: the reference has its say, and the reward, divided by $\beta$, has its.
"""

import math
from typing import Any

HINTS = (
    "The optimum is the reference times exp(reward / beta), scaled to sum to one. Write the odds of A against B: the "
    "scaling cancels.",
    "log-odds = log(p / (1 - p)) + r / beta. A number added to both rewards cancels; both rewards and beta times two "
    "leave r / beta as it is.",
    "Bradley and Terry: A wins with the sigmoid of the difference of rewards. For the statements try a reference that "
    "gives the best response one in a thousand, and a policy that moves towards B.",
)


def beta(p: float, r: float, beta: float) -> dict[str, float | str]:
    """
    Answer nine questions about two responses.

    Parameters
    ----------
    p
        What the reference gives to A, between 0 and 1.
    r
        Reward of A; that of B is 0.
    beta
        The price of a nat, above 0.

    Returns
    -------
    dict
        One answer for each name:

        - `"log_odds"`: of A against B under the optimum.
        - `"a"`: the probability of A under the optimum.
        - `"shift"`: by how much the log-odds of A are larger than under the reference.
        - `"value"`: the largest value of the objective.
        - `"huge"`: the limit of the probability of A as beta goes to infinity.
        - `"doubled"`: the beta that gives the same policy if both rewards are doubled.
        - `"raised"`: the probability of A under the optimum, if both rewards are 5 larger.
        - `"wins"`: how often a Bradley-Terry judge prefers A to B.
        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = beta(p=0.5, r=1.0, beta=0.5)
    >>> answers["log_odds"], round(answers["a"], 3)
    (2.0, 0.881)
    >>> sorted(answers)
    ['a', 'doubled', 'false', 'huge', 'log_odds', 'raised', 'shift', 'value', 'wins']
    """
    log_odds = math.log(p / (1 - p)) + r / beta
    a = _sigmoid(log_odds)
    holds = {
        "A": all(_sigmoid(math.log(q / (1 - q)) + s / 0.1) > 0 for q in (0.001, 0.5) for s in (-2.0, 2.0)),
        "B": _sigmoid(math.log(0.001 / 0.999) + 1.0) > 0.5,  # the better response, and one in a thousand before
        "C": False,  # to win rarely one can go far the other way; games do not measure distance
        "D": True,  # differences of rewards are the log-odds of verdicts
        "E": _sigmoid(1 / 0.1) >= _sigmoid(1 / 1.0),
        "F": False,  # as far towards B is as far and earns less
    }
    return {
        "log_odds": log_odds,
        "a": a,
        "shift": r / beta,
        "value": _value(p, r, beta),
        "huge": p,
        "doubled": 2 * beta,
        "raised": a,
        "wins": _sigmoid(r),
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _sigmoid(u: float) -> float:
    return 1 / (1 + math.exp(-u)) if u >= 0 else math.exp(u) / (1 + math.exp(u))


def _value(p: float, r: float, beta: float) -> float:
    """beta log Z, with the larger exponent taken out."""
    top = max(r / beta, 0.0)
    return beta * (top + math.log(p * math.exp(r / beta - top) + (1 - p) * math.exp(-top)))


_WHY = {
    "log_odds": "Multiply the reference's odds p / (1 - p) by exp(r / beta), and take the logarithm.",
    "a": "From log-odds to a probability leads the sigmoid.",
    "shift": "It is r / beta, whatever p is.",
    "value": "It is beta times the logarithm of Z = p exp(r / beta) + 1 - p.",
    "huge": "Then no reward is worth any distance, and the reference stays.",
    "doubled": "Only r / beta counts.",
    "raised": "A number added to all rewards cancels in the odds.",
    "wins": "It is the sigmoid of the difference of the rewards; neither p nor beta is in it.",
    "false": "One example is enough to break a statement; those that no example breaks follow from a few lines.",
}

PROBES = ((0.5, 1.0, 0.5), (0.01, 2.0, 0.4), (0.9, -1.5, 0.7), (0.3, 3.0, 2.0), (0.2, 0.5, 0.05))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for p, r, price in PROBES:
        got = learner.beta(p, r, price)
        assert isinstance(got, dict), f"expected a dict of nine answers, got {got!r:.80}"
        for key, expected in beta(p, r, price).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"{_what_is_wrong(f'p = {p:g}, r = {r:g} and beta = {price:g}', key, expected, got[key])} {_WHY[key]}"
            )


def _same(got: Any, expected: float | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)  # far above rounding
    except (TypeError, ValueError):
        return False


def _what_is_wrong(case: str, key: str, expected: float | str, got: Any) -> str:
    if not isinstance(expected, str):
        return f"for {case}, {key!r} is {expected:.6g}; got {_short(got)}."
    if not isinstance(got, str) or list(got) != sorted(set(got) & set("ABCDEF")):
        return f"{key!r} is a string of letters from A to F in alphabetical order; got {_short(got)}."
    letter = min(set(got) ^ set(expected))  # one alone: the other letters remain to be thought about
    if letter in got:
        return f"your {key!r} is {got!r}, but statement {letter} is true: no example breaks it."
    return f"your {key!r} is {got!r}, but statement {letter} is false too: some example breaks it."


def _short(answer: Any) -> str:
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, float | str]


def _times_beta(p: float, r: float, price: float) -> _Answers:
    log_odds = math.log(p / (1 - p)) + r * price
    return {**beta(p, r, price), "log_odds": log_odds, "a": _sigmoid(log_odds), "shift": r * price}


def _without_the_reference(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "log_odds": r / price, "a": _sigmoid(r / price)}


def _always_the_best(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "a": float(r > 0)}


def _value_without_the_price(p: float, r: float, price: float) -> _Answers:
    answers = beta(p, r, price)
    return {**answers, "value": float(answers["a"]) * r}


def _uniform_at_infinity(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "huge": 0.5}


def _halved(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "doubled": price / 2}


def _raised_counts(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "raised": _sigmoid(math.log(p / (1 - p)) + (r + 5) / price)}


def _judge_asks_beta(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "wins": _sigmoid(r / price)}


def _judge_asks_the_reference(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "wins": _sigmoid(math.log(p / (1 - p)) + r)}


def _best_is_likeliest(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "false": "CF"}


def _wins_are_distance(p: float, r: float, price: float) -> _Answers:
    return {**beta(p, r, price), "false": "BF"}


MISTAKES = (
    (
        _times_beta,
        "You multiply the reward by beta. Beta is the price of distance: a high price leaves less to reward.",
    ),
    (
        _without_the_reference,
        "You leave the reference out. The optimum is the reference tilted: what it finds improbable needs more reward.",
    ),
    (
        _always_the_best,
        "You let the policy take the better response always. That is the limit of beta to zero.",
    ),
    (
        _value_without_the_price,
        "You forget what the distance costs. The objective is the reward less beta times the divergence.",
    ),
    (
        _uniform_at_infinity,
        "You take the even distribution for the limit. The distance is one from the reference, which is what stays.",
    ),
    (_halved, "You halve beta. For the same r / beta it has to grow with the rewards."),
    (
        _raised_counts,
        "You let a reward that all get change the policy. It cancels between the responses, as any baseline does.",
    ),
    (
        _judge_asks_beta,
        "You divide by beta in the judge's choice. Beta belongs to the policy; the judge feels the reward.",
    ),
    (
        _judge_asks_the_reference,
        "You let the judge prefer what the reference finds likely. A comparison has both responses on the table.",
    ),
    (
        _best_is_likeliest,
        "You hold B for true. If the best response was one in a thousand, a large beta leaves it rare.",
    ),
    (
        _wins_are_distance,
        "You hold C for true. Games say which of two answers is better, and not how far the policy has gone.",
    ),
)
