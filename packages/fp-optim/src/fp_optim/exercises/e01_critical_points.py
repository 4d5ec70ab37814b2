r"""
What a point with no gradient may be.

Level: concept. You need the sections on saddles and on quadratic functions in `fp_optim.descent`.

Where the gradient of a smooth function is zero, descent has nothing to go by: such a point is called critical. Near one
a function is about a quadratic, so take one that is exactly that,

$$f(x) = c \cdot x + \tfrac12\, x \cdot S x,$$

where the symmetric $S$ has no eigenvalue 0. Its one critical point is a *minimum* if $f$ rises from it in every
direction, a *maximum* if it falls in every one, and a *saddle* if there are directions of both kinds.

Predict before you compute. Both entries on the diagonal of $S$ are positive: can $f$ fall from its critical point? You
put a point exactly beside a saddle, a millionth away: does descent come back, stay, or leave, and how long does it
take? If the second derivative is zero too, as for $t^3$ and $t^4$ at 0, what is the point then? A function of 100
coordinates is a sum of 100 functions, each with two valleys and a hill between them: how many of its critical points
are minima?

You learn to tell critical points apart by their curvatures, and why descent in many dimensions fears plateaus and
saddles more than bad minima.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "The gradient is c + S x. How f changes as one walks away from the critical point is all in S: along a direction q "
    "of length 1 the second derivative is q · S q, and its smallest value over all q is the smallest eigenvalue.",
    "Along an eigenvector with the eigenvalue λ a step multiplies the distance by 1 - rate λ. For λ < 0 that is above "
    "1, so what matters of the start is whether any of it lies along such an eigenvector.",
    "`w, Q = np.linalg.eigh(S)` sorts the eigenvalues; the start has the coordinates `Q.T @ (start - point)`. The sum "
    "of double wells is critical where every coordinate is -1, 0 or 1, and each choice is made by itself.",
)


def critical_point(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    """
    Answer eleven questions about points where a gradient is zero.

    Parameters
    ----------
    S
        A symmetric matrix without the eigenvalue 0, shape `(n, n)`.
    c
        Shape `(n,)`.
    start
        Where gradient descent on f begins, shape `(n,)`; not the critical point.
    rate
        Its rate, above 0 and below 1 over the largest size of an eigenvalue of S.
    direction
        A direction of any length above 0, shape `(n,)`.
    power
        A whole number, at least 2.

    Returns
    -------
    dict
        One answer for each name:

        - `"point"`: the critical point of f, as a list of n numbers.
        - `"value"`: what f is there.
        - `"kind"`: `"minimum"`, `"maximum"` or `"saddle"`.
        - `"falling"`: the largest number of directions, at right angles to each other, along each of which f falls from
          the critical point.
        - `"curvature"`: the second derivative of f along `direction`, for each unit of length.
        - `"approaches"`: whether descent from `start` tends to the critical point, computed without rounding (take a
          coordinate below 1e-9 for 0).
        - `"factor"`: by what a step of descent multiplies the distance from the critical point, for a point that lies
          in the direction in which f rises least or falls most.
        - `"steps"`: the least number of steps after which such a point, a millionth away at first, is at least 1 away;
          0 if that never happens.
        - `"power"`: what 0 is for the function `t**power`: `"minimum"`, `"maximum"` or `"neither"`.
        - `"minima"`: the number of minima, by the same test in every direction, of the sum of `(x_i**2 - 1)**2` over
          n coordinates.
        - `"saddles"`: the number of critical points of this sum that are neither minima nor maxima.

    Examples
    --------
    >>> answers = critical_point(
    ...     np.array([[2.0, 0.0], [0.0, -4.0]]),
    ...     np.array([-2.0, 0.0]),
    ...     np.array([3.0, 0.0]),
    ...     0.1,
    ...     np.array([0.0, 3.0]),
    ...     power=2,
    ... )
    >>> answers["point"], answers["curvature"], answers["minima"]
    ([1.0, 0.0], -4.0, 4)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['approaches', 'curvature', 'factor', 'falling', 'kind', 'minima', 'point', 'power', 'saddles', 'steps', 'value']
    """
    n = len(c)
    point = -np.linalg.solve(S, c) + 0.0  # no -0.0
    w, Q = np.linalg.eigh(S)
    falling = int((w < 0).sum())
    factor = 1 - rate * float(w[0])
    return {
        "point": point.tolist(),
        "value": float(c @ point + point @ S @ point / 2),
        "kind": "minimum" if falling == 0 else "maximum" if falling == n else "saddle",
        "falling": falling,
        "curvature": float(direction @ S @ direction / (direction @ direction)),
        "approaches": bool((np.abs(Q.T @ (start - point))[w < 0] < 1e-9).all()),
        "factor": factor,
        "steps": math.ceil(math.log(1e6) / math.log(factor)) if factor > 1 else 0,
        "power": "minimum" if power % 2 == 0 else "neither",
        "minima": 2**n,
        "saddles": 3**n - 2**n - 1,
    }


_WHY = {
    "point": "The gradient of f is c + S x, and it is zero where S x = -c.",
    "value": "Put the critical point into f; the half before x · S x counts.",
    "kind": "The eigenvalues of S decide: all positive, all negative, or both.",
    "falling": "f falls along each eigenvector of S with a negative eigenvalue, and these are at right angles.",
    "curvature": "For q of length 1 it is q · S q: divide d · S d by the square of the length of d.",
    "approaches": "Descent comes to the point exactly if no part of the start lies along an eigenvector with a "
    "negative eigenvalue, for every other part shrinks.",
    "factor": "It is 1 - rate * λ for the smallest eigenvalue λ: the distance shrinks if λ > 0 and grows if λ < 0.",
    "steps": "The distance is multiplied at every step, so it takes log(1e6) / log(factor) of them, rounded up.",
    "power": "An even power is positive on both sides of 0, an odd one changes its sign; no second derivative is "
    "needed.",
    "minima": "Each coordinate is in one of its two valleys, whatever the others do.",
    "saddles": "Each coordinate is at -1, 0 or 1: take off the points without a 0, and the one with zeros only.",
}

PROBES = (
    (np.array([[1.0, 3.0], [3.0, 1.0]]), np.array([-4.0, -4.0]), np.array([2.5, 2.5]), 0.1, np.array([1.0, -2.0]), 4),
    (np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, -2.0]), np.array([5.0, 1.0]), 0.2, np.array([3.0, 4.0]), 3),
    (
        np.array([[-2.0, 1.0, 0.0], [1.0, -3.0, 1.0], [0.0, 1.0, -2.0]]),
        np.array([1.0, 2.0, -3.0]),
        np.array([1.0, 1.0, 1.0]),
        0.05,
        np.array([1.0, 1.0, 1.0]),
        2,
    ),
    (
        np.array([[1.0, 0.0, 2.0], [0.0, -1.0, 0.0], [2.0, 0.0, 1.0]]),
        np.array([1.0, 0.5, -1.0]),
        np.array([0.5, 2.0, 0.25]),
        0.25,
        np.array([0.0, 0.5, 0.0]),
        5,
    ),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for S, c, start, rate, direction, power in PROBES:
        got = learner.critical_point(S.copy(), c.copy(), start.copy(), rate, direction.copy(), power)
        assert isinstance(got, dict), f"expected a dict of eleven answers, got {got!r:.80}"
        for key, expected in critical_point(S, c, start, rate, direction, power).items():
            case = {
                "curvature": f"S = {S.tolist()} and direction = {direction.tolist()}",
                "approaches": f"S = {S.tolist()}, c = {c.tolist()} and start = {start.tolist()}",
                "factor": f"S = {S.tolist()} and rate = {rate:g}",
                "steps": f"S = {S.tolist()} and rate = {rate:g}",
                "power": f"power = {power}",
                "minima": f"n = {len(c)}",
                "saddles": f"n = {len(c)}",
            }.get(key, f"S = {S.tolist()} and c = {c.tolist()}")
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"for {case}, {key!r} is {_short(expected)}; got {_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: Any) -> bool:
    if isinstance(expected, str | bool):
        return isinstance(got, str | bool | np.bool_) and bool(got == expected)
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and not isinstance(got, bool) and int(got) == expected
    try:
        if isinstance(expected, list):
            return len(got) == len(expected) and all(map(_same, got, expected))
        # far above rounding, far below any other answer; the absolute part is for an expected 0
        return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    if isinstance(answer, list | tuple | np.ndarray) and all(isinstance(x, float | int) for x in answer):
        return f"[{', '.join(f'{x:.6g}' for x in answer)}]"[:100]
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


def _every_one_a_minimum(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    answers = critical_point(S, c, start, rate, direction, power)
    return {**answers, "kind": "minimum", "falling": 0, "power": "minimum"}


def _by_the_diagonal(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    answers = critical_point(S, c, start, rate, direction, power)
    seen = critical_point(np.diag(np.diag(S)), c, start, rate, direction, power)
    return {**answers, "kind": seen["kind"], "falling": seen["falling"]}


def _by_the_determinant(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    kind = "minimum" if np.linalg.det(S) > 0 else "saddle"
    return {**critical_point(S, c, start, rate, direction, power), "kind": kind}


def _half_in_the_gradient(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    point = -2 * np.linalg.solve(S, c)
    value = float(c @ point + point @ S @ point / 2)
    return {**critical_point(S, c, start, rate, direction, power), "point": point.tolist(), "value": value}


def _wrong_sign(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    point = np.linalg.solve(S, c)
    value = float(c @ point + point @ S @ point / 2)
    return {**critical_point(S, c, start, rate, direction, power), "point": point.tolist(), "value": value}


def _half_forgotten(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    answers = critical_point(S, c, start, rate, direction, power)
    point = np.array(answers["point"])
    return {**answers, "value": float(c @ point + point @ S @ point)}


def _length_counts(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    answers = critical_point(S, c, start, rate, direction, power)
    return {**answers, "curvature": float(direction @ S @ direction)}


def _always_stuck(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    return {**critical_point(S, c, start, rate, direction, power), "approaches": True}


def _never_stuck(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    answers = critical_point(S, c, start, rate, direction, power)
    return {**answers, "approaches": answers["kind"] == "minimum"}


def _largest_eigenvalue(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    factor = 1 + rate * float(np.abs(np.linalg.eigvalsh(S)).max())
    steps = math.ceil(math.log(1e6) / math.log(factor))
    return {**critical_point(S, c, start, rate, direction, power), "factor": factor, "steps": steps}


def _even_steps(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    answers = critical_point(S, c, start, rate, direction, power)
    first = 1e-6 * (answers["factor"] - 1)
    return {**answers, "steps": math.ceil((1 - 1e-6) / first) if first > 0 else 0}


def _second_derivative_decides(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    answers = critical_point(S, c, start, rate, direction, power)
    return {**answers, "power": "minimum" if power == 2 else "neither"}


def _choices_add(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    n = len(c)
    return {**critical_point(S, c, start, rate, direction, power), "minima": 2 * n, "saddles": 3 * n - 2 * n - 1}


def _the_hilltop_is_a_saddle(
    S: np.ndarray, c: np.ndarray, start: np.ndarray, rate: float, direction: np.ndarray, power: int
) -> dict[str, Any]:
    answers = critical_point(S, c, start, rate, direction, power)
    return {**answers, "saddles": answers["saddles"] + 1}


MISTAKES = (
    (
        _every_one_a_minimum,
        "You take every point without a gradient for a minimum. It may as well be a maximum or a saddle; only the "
        "curvatures can tell.",
    ),
    (
        _by_the_diagonal,
        "You read the curvatures off the diagonal of S. Those are the curvatures along the axes; between the axes f "
        "may curve the other way, and the eigenvalues say whether it does.",
    ),
    (
        _by_the_determinant,
        "You decide by the sign of the determinant. It is the product of the eigenvalues, so two negative ones hide "
        "each other, and a maximum is left out.",
    ),
    (
        _half_in_the_gradient,
        "You take the gradient of x · S x / 2 for S x / 2. Each x stands there twice, which takes the half away: it is "
        "S x.",
    ),
    (_wrong_sign, "You solve S x = c. The gradient c + S x is zero where S x is minus c."),
    (_half_forgotten, "You leave out the half before x · S x in the value of f."),
    (
        _length_counts,
        "You let the length of the direction count. d · S d grows with the square of the length; the curvature belongs "
        "to the direction, so divide by d · d.",
    ),
    (
        _always_stuck,
        "You let every critical point draw descent in. Along a negative curvature each step leads farther away, so a "
        "saddle keeps only the starts that lie across all of these directions.",
    ),
    (
        _never_stuck,
        "You let descent come to minima only. From a start without any part along a negative curvature it runs "
        "straight into a saddle; such starts have probability zero, but they exist.",
    ),
    (
        _largest_eigenvalue,
        "You take the eigenvalue of the largest size. It may belong to a direction in which f rises, where the "
        "distance shrinks; one leaves along the smallest eigenvalue, with its sign.",
    ),
    (
        _even_steps,
        "You let the distance grow by equal amounts. The gradient grows with the distance, so the distance is "
        "multiplied at each step: leaving takes a logarithm of 1e6, not a million.",
    ),
    (
        _second_derivative_decides,
        "You take a point with the second derivative 0 for no minimum. The second derivative is silent there: t**4 has "
        "a minimum at 0, and t**3 has none.",
    ),
    (
        _choices_add,
        "You add over the coordinates. Each is in one of its places whatever the others do, so the choices multiply.",
    ),
    (
        _the_hilltop_is_a_saddle,
        "You count the hilltop among the saddles. Where all coordinates are 0 the sum falls in every direction: that "
        "one point is a maximum.",
    ),
)
