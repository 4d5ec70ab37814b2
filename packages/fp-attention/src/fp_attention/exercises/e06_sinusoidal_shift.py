r"""
What a shift does to sinusoidal positions.

Level: concept. You need `fp_attention.rotations` and `fp_attention.positions`.

Position $p$ is written as $D$ numbers, $D/2$ pairs. Pair $i$, counted from 0, is a point on a circle,

$$\big(\sin \theta_i p,\; \cos \theta_i p\big), \qquad \theta_i = b^{-2i/D} ,$$

with the base $b$. The pairs are hands of a clock that run at different speeds: the first turns by one radian a token,
each next one more slowly.

Take a pencil and predict before you compute. With $D = 4$ and $b = 100$: how fast are the two hands? How far does each
of them turn between token 7 and token 10? Does that depend on the 7? Write down the table of four numbers that takes
the pair of token 7 to that of token 10, with the addition theorems; then the one that takes it back. Now the dot
product of the two positions, all four numbers of them: what is left of 7 and 10? How long is a position, and how far
apart are two? Then write each answer as the formula that you used.

You learn why a linear layer can look a fixed number of tokens back without knowing where it is, and what a dot product
of two positions says: how far apart they are, and not which comes first.
"""

import math
from typing import Any

HINTS = (
    "sin(a + t) = sin a cos t + cos a sin t and cos(a + t) = cos a cos t - sin a sin t. With t = theta times the shift "
    "the right sides are made of sin a and cos a, with factors in which the position does not occur.",
    "The matrix for one pair is ((cos t, sin t), (-sin t, cos t)). Going back is the shift -k: the cosines stay, the "
    "sines change their sign. Two shifts after one another are one shift by their sum.",
    "For one pair the dot product is sin a sin a' + cos a cos a' = cos(a - a'), so for all pairs it is the sum of the "
    "cosines of the angles turned; with a' = a it is D/2. A squared distance is |x|^2 + |y|^2 - 2 x.y.",
)


def sinusoidal_shift(dim: int, base: float, position: int, shift: int, pair: int) -> dict[str, float | list[float]]:
    """
    Answer ten questions about a position and the one `shift` tokens later.

    Parameters
    ----------
    dim
        D, even, at least 2.
    base
        The base b, more than 1.
    position
        p, an integer from 0.
    shift
        k, an integer; the other position is p + k.
    pair
        The number of a pair, from 0 to D/2 - 1.

    Returns
    -------
    dict
        One answer for each name:

        - `"speeds"`: the list of the D/2 angles by which the pairs turn from one token to the next, in radians.
        - `"longest"`: after how many tokens, not necessarily a whole number, the slowest pair is where it was.
        - `"angle"`: by how many radians pair `pair` turns from p to p + k; negative if k is.
        - `"matrix"`: the list of four numbers, row by row, of the matrix M for which M times pair `pair` of p, as a
          column (sine above cosine), is the same pair of p + k, for every p.
        - `"back"`: the same for the matrix from p + k to p.
        - `"twice"`: the same for the matrix from p to p + 2k.
        - `"product"`: the dot product of the D numbers of p and those of p + k.
        - `"before"`: the dot product of the D numbers of p + k and those of p + 2k.
        - `"length"`: the length (root of the sum of squares) of the D numbers of p.
        - `"distance"`: the squared distance between the D numbers of p and those of p + k.

    Examples
    --------
    >>> answers = sinusoidal_shift(dim=4, base=100.0, position=7, shift=3, pair=1)
    >>> [round(speed, 6) for speed in answers["speeds"]], round(answers["angle"], 6)
    ([1.0, 0.1], 0.3)
    >>> sorted(answers)
    ['angle', 'back', 'before', 'distance', 'length', 'longest', 'matrix', 'product', 'speeds', 'twice']
    """
    speeds = [base ** (-2 * i / dim) for i in range(dim // 2)]
    angle = shift * speeds[pair]
    product = sum(math.cos(shift * speed) for speed in speeds)
    return {
        "speeds": speeds,
        "longest": 2 * math.pi / speeds[-1],
        "angle": angle,
        "matrix": _turn(angle),
        "back": _turn(-angle),
        "twice": _turn(2 * angle),
        "product": product,
        "before": product,
        "length": math.sqrt(dim / 2),
        "distance": dim - 2 * product,
    }


def _turn(angle: float) -> list[float]:
    """The matrix that adds an angle to that of (sine, cosine)."""
    return [math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle)]


_WHY = {
    "speeds": "The speed of pair i is b to the power -2i/D: 1 for the first, and never below 1/b.",
    "longest": "The slowest pair is the last one, and it is where it was when it has turned by 2 pi.",
    "angle": "The angle of a pair is its speed times the position, so k tokens later it is larger by speed times k.",
    "matrix": "By the addition theorems the new sine is the old sine times cos(angle) plus the old cosine times "
    "sin(angle), and the new cosine is the old cosine times cos(angle) minus the old sine times sin(angle).",
    "back": "Going back is a turn by minus the angle.",
    "twice": "Two turns by an angle, one after the other, are one turn by twice the angle.",
    "product": "sin a sin a' + cos a cos a' is cos(a - a'): each pair adds the cosine of the angle that it turned.",
    "before": "p + k and p + 2k are as far apart as p and p + k, and the dot product depends on nothing else.",
    "length": "Each of the D/2 pairs has squared length sin^2 + cos^2 = 1.",
    "distance": "The squared distance is the sum of both squared lengths minus twice the dot product.",
}

PROBES = (
    (4, 100.0, 7, 3, 1),
    (8, 10_000.0, 11, -5, 2),
    (2, 50.0, 0, 2, 0),
    (6, 20.0, 31, 13, 2),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for dim, base, position, shift, pair in (*PROBES, (512, 10_000.0, 1000, 1, 200), (10, 500.0, 5, 0, 4)):
        got = learner.sinusoidal_shift(dim, base, position, shift, pair)
        assert isinstance(got, dict), f"expected a dict of ten answers, got {got!r:.80}"
        here, there, later = (_position(dim, base, p) for p in (position, position + shift, position + 2 * shift))
        case = f"dim = {dim}, base = {base:g}, position = {position}, shift = {shift}, pair = {pair}"
        expected = sinusoidal_shift(dim, base, position, shift, pair)
        # what can be read off the numbers themselves is read off them
        expected |= {"product": _dot(here, there), "before": _dot(there, later), "length": math.sqrt(_dot(here, here))}
        expected["distance"] = sum((x - y) ** 2 for x, y in zip(here, there, strict=True))
        for key, answer in expected.items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], answer), (
                f"for {case}, {key!r} is {_short(answer)}; got {_short(got[key])}. {_WHY[key]}"
            )


def _position(dim: int, base: float, p: int) -> list[float]:
    angles = [p / base ** (2 * i / dim) for i in range(dim // 2)]
    return [f(angle) for angle in angles for f in (math.sin, math.cos)]


def _dot(x: list[float], y: list[float]) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def _same(got: Any, expected: float | list[float]) -> bool:
    try:
        if not isinstance(expected, list):
            got, expected = [got], [expected]
        # sums of up to 512 terms of size 1 round to 1e-13; wrong answers differ far more
        return len(got) == len(expected) and all(
            math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) for x, y in zip(got, expected, strict=True)
        )
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    if isinstance(answer, list | tuple) and all(isinstance(x, float | int) for x in answer):
        return f"[{', '.join(f'{x:.4g}' for x in answer)}]"[:100]
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, float | list[float]]


def _speeds(dim: int, base: float) -> list[float]:
    return [base ** (-2 * i / dim) for i in range(dim // 2)]


def _half_the_exponent(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    return sinusoidal_shift(dim, math.sqrt(base), position, shift, pair)


def _pairs_from_one(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    speeds = [base ** (-2 * (i + 1) / dim) for i in range(dim // 2)]
    answers = sinusoidal_shift(dim, base, position, shift, pair)
    return {**answers, "speeds": speeds, "longest": 2 * math.pi / speeds[-1], "angle": shift * speeds[pair]}


def _one_speed_for_all(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    return {**sinusoidal_shift(dim, base, position, shift, 0), "product": dim / 2 * math.cos(shift)}


def _angle_of_the_target(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    angle = (position + shift) * _speeds(dim, base)[pair]
    return {**sinusoidal_shift(dim, base, position, shift, pair), "angle": angle, "matrix": _turn(angle)}


def _the_fastest_for_the_slowest(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    return {**sinusoidal_shift(dim, base, position, shift, pair), "longest": 2 * math.pi}


def _base_tokens(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    return {**sinusoidal_shift(dim, base, position, shift, pair), "longest": 2 * math.pi * base}


def _sine_and_cosine_exchanged(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    answers = sinusoidal_shift(dim, base, position, shift, pair)
    return {**answers, "matrix": answers["back"], "back": answers["matrix"]}


def _no_way_back(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    matrix = _turn(shift * _speeds(dim, base)[pair])
    return {**sinusoidal_shift(dim, base, position, shift, pair), "back": [-x for x in matrix]}


def _twice_the_entries(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    matrix = _turn(shift * _speeds(dim, base)[pair])
    return {**sinusoidal_shift(dim, base, position, shift, pair), "twice": [2 * x for x in matrix]}


def _entries_squared(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    matrix = _turn(shift * _speeds(dim, base)[pair])
    return {**sinusoidal_shift(dim, base, position, shift, pair), "twice": [x * x for x in matrix]}


def _cosine_of_the_sum(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    product = sum(math.cos((2 * position + shift) * speed) for speed in _speeds(dim, base))
    return {**sinusoidal_shift(dim, base, position, shift, pair), "product": product}


def _depends_on_the_place(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    product = sum(math.cos(2 * shift * speed) for speed in _speeds(dim, base))
    return {**sinusoidal_shift(dim, base, position, shift, pair), "before": product}


def _a_unit_for_each_number(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    return {**sinusoidal_shift(dim, base, position, shift, pair), "length": math.sqrt(dim)}


def _length_squared(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    return {**sinusoidal_shift(dim, base, position, shift, pair), "length": dim / 2}


def _once_the_product(dim: int, base: float, position: int, shift: int, pair: int) -> _Answers:
    answers = sinusoidal_shift(dim, base, position, shift, pair)
    return {**answers, "distance": dim - sum(math.cos(shift * speed) for speed in _speeds(dim, base))}


MISTAKES = (
    (
        _half_the_exponent,
        "Your exponent is i/D, half of what it should be. There are D/2 pairs, and the exponent 2i/D runs through them "
        "from 0 to nearly 1.",
    ),
    (
        _pairs_from_one,
        "You count the pairs from 1. Pair 0 has the exponent 0: it turns by one radian a token whatever the base is.",
    ),
    (
        _one_speed_for_all,
        "You turn all pairs by the angle of the first. Then positions 44 tokens apart, seven turns and a little, could "
        "hardly be told from equal ones: each pair has a speed of its own.",
    ),
    (
        _angle_of_the_target,
        "You take the angle at which the pair arrives for the angle by which it turns. The place it comes from has to "
        "be subtracted, and then it is gone from the matrix.",
    ),
    (
        _the_fastest_for_the_slowest,
        "You give the period of the fastest pair. The last pair is the slowest, and the longest to come round.",
    ),
    (
        _base_tokens,
        "You give the slowest pair the speed 1/b. The last exponent is 2(D/2 - 1)/D = 1 - 2/D, a little less than 1.",
    ),
    (
        _sine_and_cosine_exchanged,
        "You turn the other way: your matrix leads from p + k to p. That is the one for cosine above sine; here the "
        "sine comes first, and the minus stands in the lower left.",
    ),
    (
        _no_way_back,
        "You change the sign of the matrix to go back. That adds half a turn; the way back is a turn by minus the "
        "angle, in which only the sines change their sign.",
    ),
    (
        _twice_the_entries,
        "You double the entries of the matrix for two shifts. A point on the circle would leave it: it is the angle "
        "that doubles.",
    ),
    (
        _entries_squared,
        "You square the entries of the matrix one by one. One shift after another is the product of the two matrices, "
        "a turn by twice the angle.",
    ),
    (
        _cosine_of_the_sum,
        "You add the two angles in the dot product. sin a sin a' + cos a cos a' is the cosine of their difference.",
    ),
    (
        _depends_on_the_place,
        "You let the dot product of p + k and p + 2k depend on where p is. They are k tokens apart, as p and p + k "
        "are, and nothing else counts.",
    ),
    (
        _a_unit_for_each_number,
        "You count each number as 1 in the length. A sine and a cosine have squares that sum to 1 together.",
    ),
    (_length_squared, "You answer the squared length. The length is its root."),
    (
        _once_the_product,
        "You subtract the dot product once. In the square of a difference it stands twice.",
    ),
)
