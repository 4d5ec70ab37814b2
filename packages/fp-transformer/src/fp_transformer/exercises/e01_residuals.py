r"""
A line with branches beside it.

Level: concept. You need `fp_transformer.residual` and `fp_transformer.norms`.

Take a stream of one number, $x_{l+1} = x_l + s_l x_l$: branch $l$ multiplies what it reads by its slope $s_l$ and adds
that. Three branches have the slopes $-1$, $\frac12$ and $2$. Take a pencil. How does $x_3$ move if $x_0$ moves by a
little? What would it be if each branch *replaced* the stream by $s_l x_l$? Multiply the first answer out: how many
terms are there, which of them has passed no branch, and what do those through exactly one, and exactly two, add up to?
What if the second branch is saturated, so that its slope is 0?

Then leave slopes and count sizes. The stream starts with the mean square $a$ in each entry. Each of $n$ branches ends
in a matrix that was drawn at random, independent of all else, and adds entries of the mean square $v$; what the matrix
is applied to has been through a norm, and has the same mean square whatever the stream is. How large is the mean square
in the end? What if every matrix was divided by $\sqrt n$, and what if by $n$? Of the final mean square, which share did
the last branch bring? The final norm (RMSNorm, $\varepsilon = 0$, no gain) hands a gradient back to the stream: what
becomes of it if the stream becomes three times as large, and the gradient behind the norm stays? And in a **post-norm**
stack, where the same norm follows each addition, let the stream start at size one, and let every branch add a constant
row that is orthogonal to the stream and as long as it: what is left, after $n$ branches, of a gradient that is
orthogonal to the stream at every depth?

The last question asks which statements are false, in that some example breaks them:

- A. If all branches of a pre-norm network are saturated, so that none passes a gradient back, the gradient at the
  bottom is that at the top of the stream.
- B. The gradient at the bottom of a pre-norm network is never shorter than that at the top of the stream.
- C. With $\varepsilon = 0$, a pre-norm network whose embedding and branches are all divided by the same number computes
  the same.
- D. A branch that is left out of a trained network is missing from the sum, and all other terms stay.
- E. In a post-norm network (RMSNorm, $\varepsilon = 0$, no gain) the stream has the same size at every depth.
- F. Without the line, doubling all slopes doubles the gradient that arrives at the bottom.

You learn to read a residual network as a sum over paths, and what that promises and what not.
"""

import math
from itertools import combinations
from typing import Any

HINTS = (
    "Each branch multiplies the slope of the stream by 1 + s: the line itself, and what the branch adds. Multiplied "
    "out, each factor gives the 1 or the s, so there is a term for each choice of branches.",
    "Independent terms of mean zero: their mean squares add, and the middle terms vanish. A matrix divided by c "
    "adds a mean square divided by c squared.",
    "At eps = 0 a norm multiplies by 1 over the size of what it reads, on the way back too. Row and branch of the same "
    "length, at right angles, have twice the mean square together: the norm divides by the root of 2, each time.",
)


def residuals(slopes: list[float], a: float, v: float) -> dict[str, float | int | str]:
    """
    Answer sixteen questions about a residual network.

    Parameters
    ----------
    slopes
        The slope of each of n branches, two at least.
    a, v
        The mean square of the embedding's entries, and of what each branch adds; positive.

    Returns
    -------
    dict
        One answer for each name. Of a stream of one number and n branches with these slopes:

        - `"gradient"`: the derivative of the last number in the first.
        - `"chain"`: the same if each branch replaces the stream by what it makes of it.
        - `"paths"`: the number of terms when `"gradient"` is multiplied out.
        - `"direct"`: the term that passes no branch.
        - `"through_one"`: the sum of the terms that pass exactly one branch.
        - `"through_two"`: the sum of the terms that pass exactly two.
        - `"saturated"`: `"gradient"` if branch 1, the second, has the slope 0 instead of its own.
        - `"saturated_chain"`: `"chain"` if branch 1 has the slope 0.

        Of a stream of mean square `a` and n branches, each of which adds the mean square `v` by a matrix applied to
        rows whose mean square does not depend on the stream:

        - `"size"`: the mean square of the last stream.
        - `"by_root"`: the same if the last matrix of each branch is divided by the root of n.
        - `"by_n"`: the same if it is divided by n.
        - `"last_share"`: the share that the last branch brought to `"size"`.

        Of norms:

        - `"larger"`: by what factor the gradient is multiplied that a final norm hands back to a stream of any width,
          if the stream becomes three times as large and the gradient behind the norm stays.
        - `"post_norm"`: by what factor a gradient is multiplied on its way down a post-norm stack of n branches whose
          stream starts at size one, if each branch adds a constant row, orthogonal to the stream and as long as it, and
          the gradient is orthogonal to the stream at every depth.

        And:

        - `"embedding_share"`: the share of the embedding in the last stream's mean square, if each last matrix is
          divided by the root of n.
        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = residuals([-0.5, 1.0], a=1.0, v=3.0)
    >>> answers["gradient"], answers["chain"], answers["direct"]
    (1.0, -0.5, 1.0)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['by_n', 'by_root', 'chain', 'direct', 'embedding_share', 'false', 'gradient', 'larger', 'last_share', 'paths',
     'post_norm', 'saturated', 'saturated_chain', 'size', 'through_one', 'through_two']
    """
    n = len(slopes)
    saturated = [0.0 if i == 1 else s for i, s in enumerate(slopes)]
    row, branches = (3.0, 4.0), ((1.0, -1.0), (0.5, 2.0))
    doubled = [tuple(2 * e for e in branch) for branch in branches]
    total = [math.fsum(entries) for entries in zip(row, *branches, strict=True)]
    holds = {
        "A": _gradient([0.0, 0.0, 0.0]) == 1.0,
        "B": abs(_gradient([-1.0, 0.5])) >= 1.0,
        "C": _close(_normed([2 * e + d + f for e, d, f in zip(row, *doubled, strict=True)]), _normed(total)),
        "D": math.isclose(_stream([0.5, 2.0]) - _stream([2.0]), 0.5),  # branch 0 adds 0.5 to a stream of 1
        "E": math.isclose(_size(_normed(total)), _size(_normed(list(row)))),
        "F": math.isclose(math.prod(2 * s for s in (0.5, 3.0)), 2 * math.prod((0.5, 3.0))),
    }
    return {
        "gradient": _gradient(slopes),
        "chain": math.prod(slopes),
        "paths": 2**n,
        "direct": 1.0,
        "through_one": math.fsum(slopes),
        "through_two": math.fsum(x * y for x, y in combinations(slopes, 2)),
        "saturated": _gradient(saturated),
        "saturated_chain": 0.0,
        "size": a + n * v,
        "by_root": a + v,
        "by_n": a + v / n,
        "last_share": v / (a + n * v),
        "larger": 1 / 3,
        "post_norm": 2 ** (-n / 2),
        "embedding_share": a / (a + v),
        "false": "".join(letter for letter, true in holds.items() if not true),
    }


def _gradient(slopes: list[float]) -> float:
    return math.prod(1 + s for s in slopes)


def _stream(slopes: list[float]) -> float:
    """The last number of a stream that starts with 1."""
    x = 1.0
    for s in slopes:
        x += s * x
    return x


def _size(row: list[float]) -> float:
    return math.sqrt(math.fsum(e * e for e in row) / len(row))


def _normed(row: list[float]) -> list[float]:
    return [e / _size(row) for e in row]


def _close(a: list[float], b: list[float]) -> bool:
    return all(map(math.isclose, a, b))


_WHY = {
    "gradient": "Every branch multiplies the stream by 1 + s: the line, and what the branch adds.",
    "chain": "Without the line the slopes are multiplied.",
    "paths": "Each branch is passed or not: two choices, n times.",
    "direct": "The line itself multiplies by nothing.",
    "through_one": "Of one factor take the slope, of all others the 1.",
    "through_two": "Of two factors take the slopes, of all others the 1; each pair counts once.",
    "saturated": "A branch of slope 0 leaves the factor 1 + 0.",
    "saturated_chain": "One factor of 0 is enough.",
    "size": "The branches are independent of the stream and have the mean zero: mean squares add.",
    "by_root": "A matrix divided by c adds a mean square divided by c squared: n times v / n.",
    "by_n": "A matrix divided by c adds a mean square divided by c squared: n times v / n**2.",
    "last_share": "It brought v, like every other branch.",
    "larger": "The norm divides by the size, and so does its Jacobian.",
    "post_norm": "Stream and branch together have twice the mean square, so each norm divides by the root of 2.",
    "embedding_share": "All branches together add v then.",
    "false": "One example is enough to break a statement; those that no example breaks follow from a few lines.",
}

PROBES = (
    ([-1.0, 0.5, 2.0], 1.0, 0.5),
    ([0.5, 3.0], 4.0, 3.0),
    ([0.25, -0.5, 2.0, 1.0, -3.0], 0.5, 2.0),
    ([0.1, 0.2, 0.3, 0.4], 0.02, 1.0),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for slopes, a, v in PROBES:
        got = learner.residuals(list(slopes), a, v)
        assert isinstance(got, dict), f"expected a dict of sixteen answers, got {got!r:.80}"
        for key, expected in residuals(slopes, a, v).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            case = f"the slopes {slopes}, a = {a:g} and v = {v:g}"
            assert _same(got[key], expected), f"{_what_is_wrong(case, key, expected, got[key])} {_WHY[key]}"


def _same(got: Any, expected: float | str) -> bool:
    if isinstance(expected, str):
        return isinstance(got, str) and got == expected
    try:
        # far above rounding, far below any other answer; the absolute part is for an expected 0
        return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-12)
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


_Answers = dict[str, float | int | str]


def _line_forgotten(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "gradient": math.prod(slopes), "saturated": 0.0}


def _branches_in_parallel(slopes: list[float], a: float, v: float) -> _Answers:
    rest = math.fsum(s for i, s in enumerate(slopes) if i != 1)
    return {**residuals(slopes, a, v), "gradient": 1 + math.fsum(slopes), "saturated": 1 + rest}


def _paths_of_layers(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "paths": len(slopes) + 1}


def _direct_is_shared(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "direct": 1 / 2 ** len(slopes)}


def _line_in_each_term(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "through_one": math.fsum(1 + s for s in slopes)}


def _pairs_twice(slopes: list[float], a: float, v: float) -> _Answers:
    answers = residuals(slopes, a, v)
    return {**answers, "through_two": 2 * math.fsum(x * y for x, y in combinations(slopes, 2))}


def _one_dead_branch_kills(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "saturated": 0.0}


def _sizes_add(slopes: list[float], a: float, v: float) -> _Answers:
    n = len(slopes)
    size = (math.sqrt(a) + n * math.sqrt(v)) ** 2
    return {
        **residuals(slopes, a, v),
        "size": size,
        "by_root": (math.sqrt(a) + math.sqrt(n * v)) ** 2,
        "by_n": (math.sqrt(a) + math.sqrt(v)) ** 2,
        "last_share": v / size,
    }


def _sizes_multiply(slopes: list[float], a: float, v: float) -> _Answers:
    n = len(slopes)
    return {
        **residuals(slopes, a, v),
        "size": a * (1 + v) ** n,
        "by_root": a * (1 + v / n) ** n,
        "by_n": a * (1 + v / n**2) ** n,
        "last_share": v / (1 + v),
    }


def _factor_not_squared(slopes: list[float], a: float, v: float) -> _Answers:
    n = len(slopes)
    return {**residuals(slopes, a, v), "by_root": a + math.sqrt(n) * v, "by_n": a + v}


def _embedding_is_scaled_too(slopes: list[float], a: float, v: float) -> _Answers:
    n = len(slopes)
    return {
        **residuals(slopes, a, v),
        "by_root": a / n + v,
        "by_n": a / n**2 + v / n,
        "embedding_share": a / (a + n * v),
    }


def _shares_are_equal(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "last_share": 1 / (len(slopes) + 1), "embedding_share": 1 / (len(slopes) + 1)}


def _norm_is_blind_both_ways(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "larger": 1.0}


def _norm_hands_back_more(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "larger": 3.0}


def _post_norm_like_pre_norm(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "post_norm": 1.0}


def _halved_each_time(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "post_norm": 0.5 ** len(slopes)}


def _never_shorter(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "false": "DF"}


def _others_do_not_notice(slopes: list[float], a: float, v: float) -> _Answers:
    return {**residuals(slopes, a, v), "false": "BF"}


MISTAKES = (
    (
        _line_forgotten,
        "You forget the residual: the line beside the branch. A branch adds to the stream, and its factor is 1 + s.",
    ),
    (
        _branches_in_parallel,
        "You add the branches as if all of them read the first number. Each reads what those before have added, so the "
        "factors multiply.",
    ),
    (
        _paths_of_layers,
        "You count a path for each branch, and the line. Branches can be passed in any combination: each is passed or "
        "not.",
    ),
    (
        _direct_is_shared,
        "You share the line out among the paths. They are the terms of a sum, and the one that passes no branch is 1: "
        "the gradient itself, undiminished.",
    ),
    (
        _line_in_each_term,
        "You add a 1 for each branch. The line is one path; a path through exactly one branch has its slope, and ones "
        "as factors.",
    ),
    (
        _pairs_twice,
        "You count each pair of branches twice. The stream meets them in one order only.",
    ),
    (
        _one_dead_branch_kills,
        "You let one saturated branch stop everything. That is what happens without the line; with it the factor of "
        "that branch is 1.",
    ),
    (
        _sizes_add,
        "You add sizes where mean squares add. What an independent branch adds points anywhere, along the stream or "
        "against it: the products of the two cancel in the mean.",
    ),
    (
        _sizes_multiply,
        "You multiply sizes. Behind a norm each branch adds the same amount whatever the stream's size: growth is "
        "linear.",
    ),
    (
        _factor_not_squared,
        "You divide the mean square by what the matrix is divided by. A mean square takes the factor squared, which is "
        "why it is the root of n that makes all branches together as large as one.",
    ),
    (
        _embedding_is_scaled_too,
        "You divide the embedding too. Only the last matrices of the branches are made smaller; that is why the "
        "embedding's share grows.",
    ),
    (
        _shares_are_equal,
        "You give the embedding the share of a branch. It has the mean square a, and a branch v.",
    ),
    (
        _norm_is_blind_both_ways,
        "You think that the gradient does not notice the stream's size either. The output of the norm stays; so a step "
        "of the same length matters less to a larger stream, and the gradient says so.",
    ),
    (
        _norm_hands_back_more,
        "You let the gradient grow with the stream. The norm divides by the stream's size, on the way there and on the "
        "way back.",
    ),
    (
        _post_norm_like_pre_norm,
        "You send the gradient past the norms. In a post-norm stack they stand on the line: there is no way around "
        "them.",
    ),
    (
        _halved_each_time,
        "You halve the gradient at each norm. The mean square doubles, and the norm divides by its root.",
    ),
    (
        _never_shorter,
        "You think that the line bounds the gradient from below. It contributes its term always, and the other terms "
        "may cancel it: a branch of slope -1 takes everything away.",
    ),
    (
        _others_do_not_notice,
        "You think that the other branches do not notice one that is left out. All later ones read a stream without "
        "it, and add something else.",
    ),
)
