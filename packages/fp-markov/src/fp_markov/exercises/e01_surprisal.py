r"""
Surprisal: what each event tells you.

Level: concept. You need `fp_markov.information` up to its definition of entropy.

In English nearly every q is followed by u. Whoever reads "q" and then "u" has learned almost nothing, and whoever reads
"q" and then anything else has learned a lot: surprisal is the measure of it. Take a pencil and answer before you
compute: which of the events below is the least surprising, which the most? What is the surprisal of two things
together, and what of *one or the other*? Then write each answer as the formula that you used, so that it holds for
every probability of u.

The last question asks which of these statements are false, in that some example breaks them:

- A. An event half as probable as another carries one bit more.
- B. If two events exclude each other, the surprisal of "one or the other" is the sum of their surprisals.
- C. The rarest outcome contributes the most to the mean surprisal.
- D. Some events carry more than a thousand bits.
- E. If one event is a case of another, it is at least as surprising.
- F. An event twice as surprising as another is half as probable.

You learn to think in bits: what adds, what multiplies, and why a mean is taken with the probabilities as weights.
"""

import math
from typing import Any

HINTS = (
    "An event of probability p carries -log2(p) bits. So find each event's probability first, and only then its bits.",
    "Independent events: their probabilities multiply. Events that exclude each other: their probabilities add. "
    "The mean weighs each outcome's bits by how often it happens.",
    "A statement is false as soon as one example breaks it. Try B and F on the sides of a die, and C on outcomes of "
    "probabilities 1/2, 1/4, 1/8, 1/8.",
)


def surprise_in_bits(p_u: float) -> dict[str, float | str | list[str]]:
    """
    Answer nine questions about surprisal, in bits.

    Parameters
    ----------
    p_u
        Probability that the letter after a q is u, strictly between 0 and 1.

    Returns
    -------
    dict
        One answer for each name:

        - `"coin"`: the bits of a fair coin showing heads.
        - `"six"`: of a fair die showing six.
        - `"u"`: of a q being followed by u.
        - `"not_u"`: of a q being followed by anything else.
        - `"both_u"`: of two q, independent of each other, both being followed by u.
        - `"one_or_two"`: of being told that a fair die shows one or two, and not which.
        - `"mean"`: the mean, over all q, of the bits in being told whether u followed or not.
        - `"order"`: a list of the first six names above, from the least surprising to the most.
        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = surprise_in_bits(0.98)
    >>> answers["coin"]
    1.0
    >>> sorted(answers)
    ['both_u', 'coin', 'false', 'mean', 'not_u', 'one_or_two', 'order', 'six', 'u']
    """
    probability = {"coin": 1 / 2, "six": 1 / 6, "u": p_u, "not_u": 1 - p_u, "both_u": p_u**2, "one_or_two": 2 / 6}
    bits = {event: -math.log2(p) for event, p in probability.items()}
    holds = {
        "A": math.isclose(-math.log2(p_u / 2), bits["u"] + 1),
        "B": math.isclose(bits["one_or_two"], 2 * bits["six"]),
        "C": 1 / 8 * -math.log2(1 / 8) >= 1 / 2 * -math.log2(1 / 2),
        "D": -math.log2(2.0**-1001) > 1000,
        "E": bits["six"] >= bits["one_or_two"] and bits["both_u"] >= bits["u"],
        "F": math.isclose(-math.log2(1 / 6 / 2), 2 * bits["six"]),
    }
    return {
        **bits,
        "mean": p_u * bits["u"] + (1 - p_u) * bits["not_u"],
        "order": sorted(bits, key=lambda event: bits[event]),
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


_WHY = {
    "coin": "Heads has probability 1/2, and -log2(1/2) is the unit of the measure.",
    "six": "A six has probability 1/6. Bits are logarithms to base 2, with the sign that makes them positive.",
    "u": "The expected carries little: a probability near 1 has a logarithm near 0.",
    "not_u": "Anything else has the probability that u leaves over, 1 - p_u.",
    "both_u": "Independent events multiply their probabilities, so their bits add.",
    "one_or_two": "Events that exclude each other add their probabilities: 1/6 + 1/6. Take the bits of the sum.",
    "mean": "Each outcome counts as often as it happens: weigh its bits by its probability.",
    "order": "The less probable, the more surprising; compare the six probabilities.",
    "false": "One example is enough to break a statement, and those that no example breaks follow from -log2(p).",
}

PROBES = ((0.98,), (0.7,), (0.875,))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for p_u in (0.98, 0.7, 0.875):
        got = learner.surprise_in_bits(p_u)
        assert isinstance(got, dict), f"expected a dict of nine answers, got {got!r:.80}"
        for key, expected in surprise_in_bits(p_u).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), f"{_what_is_wrong(p_u, key, expected, got[key])} {_WHY[key]}"


def _same(got: Any, expected: float | str | list[str]) -> bool:
    if isinstance(expected, float):
        try:
            return math.isclose(got, expected, rel_tol=1e-9)  # far above rounding, far below any other answer
        except (TypeError, ValueError):
            return False
    return isinstance(got, type(expected)) and got == expected


def _what_is_wrong(p_u: float, key: str, expected: float | str | list[str], got: Any) -> str:
    if not isinstance(expected, str):
        return f"for p_u = {p_u}, {key!r} is {_short(expected)}; got {_short(got)}."
    if not isinstance(got, str) or list(got) != sorted(set(got) & set("ABCDEF")):
        return f"{key!r} is a string of letters from A to F in alphabetical order; got {_short(got)}."
    letter = min(set(got) ^ set(expected))  # one alone: the other letters remain to be thought about
    if letter in got:
        return f"your {key!r} is {got!r}, but statement {letter} is true: no example breaks it."
    return f"your {key!r} is {got!r}, but statement {letter} is false too: some example breaks it."


def _short(answer: Any) -> str:
    # ten digits show every difference that `_same` sees
    return f"{answer:.10g}" if isinstance(answer, float) else f"{answer!r:.80}"


def _in_nats(p_u: float) -> dict[str, float | str | list[str]]:
    answers = surprise_in_bits(p_u)
    return {key: value * math.log(2) if isinstance(value, float) else value for key, value in answers.items()}


def _without_the_minus(p_u: float) -> dict[str, float | str | list[str]]:
    answers = surprise_in_bits(p_u)
    negative = {key: -value if isinstance(value, float) else value for key, value in answers.items()}
    return {**negative, "order": list(reversed(answers["order"]))}  # type: ignore[arg-type]


def _improbability(p_u: float) -> dict[str, float | str | list[str]]:
    probability = {"coin": 1 / 2, "six": 1 / 6, "u": p_u, "not_u": 1 - p_u, "both_u": p_u**2, "one_or_two": 2 / 6}
    answers = surprise_in_bits(p_u)
    return {**answers, **{event: 1 - p for event, p in probability.items()}, "mean": 2 * p_u * (1 - p_u)}


def _surprisals_multiply(p_u: float) -> dict[str, float | str | list[str]]:
    return _reordered(p_u, "both_u", math.log2(p_u) ** 2)


def _surprisals_always_add(p_u: float) -> dict[str, float | str | list[str]]:
    return {**_reordered(p_u, "one_or_two", 2 * math.log2(6)), "false": "CF"}


def _plain_mean(p_u: float) -> dict[str, float | str | list[str]]:
    return {**surprise_in_bits(p_u), "mean": -(math.log2(p_u) + math.log2(1 - p_u)) / 2}


def _bits_halve_with_probability(p_u: float) -> dict[str, float | str | list[str]]:
    return {**surprise_in_bits(p_u), "false": "ABC"}


def _reordered(p_u: float, event: str, bits: float) -> dict[str, float | str | list[str]]:
    answers: dict[str, Any] = {**surprise_in_bits(p_u), event: bits}
    return {**answers, "order": sorted(answers["order"], key=lambda name: answers[name])}


MISTAKES = (
    (_in_nats, "You take the natural logarithm: those are nats. Bits are logarithms to base 2."),
    (
        _without_the_minus,
        "You take log2(p) without its minus sign. A probability is at most 1, so its logarithm is negative or zero; "
        "surprisal is not.",
    ),
    (
        _improbability,
        "You take 1 - p for the surprisal. It grows as p falls, but it does not add: two coins would carry 3/4 and "
        "not twice 1/2.",
    ),
    (
        _surprisals_multiply,
        "You multiply surprisals of independent events. Their probabilities multiply; the logarithm turns that into "
        "a sum.",
    ),
    (
        _surprisals_always_add,
        "You add surprisals of events that exclude each other. Being told less (one or two) cannot carry more than "
        "being told more (a six); add the probabilities, then take the bits.",
    ),
    (
        _plain_mean,
        "You average the two surprisals with equal weights. In a long text u comes p_u of the time and the rest only "
        "1 - p_u of it.",
    ),
    (
        _bits_halve_with_probability,
        "You take bits and probability for proportional. Half as probable is one bit *more* (A is true); twice as "
        "surprising is the probability *squared* (F is false).",
    ),
)
