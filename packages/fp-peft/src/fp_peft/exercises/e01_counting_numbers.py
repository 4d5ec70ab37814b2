r"""
How many numbers are trained, and how much work is saved?

Level: concept. You need `fp_peft.lora`, `fp_peft.adapters`, `fp_peft.prefix` and `fp_peft.wrapping`.

A square layer has $n \times n$ weights and no biases. Take a pencil. How many numbers has its LoRA of rank $r$? An
adapter of width $r$ behind it, biases included? A prefix of length $m$ for an attention layer with $h$ key heads of
width $d$?

Then count multiplications for one row through the layer, forward and backward together (backward includes the gradient
of the input): trained in full; frozen without anything added; frozen with LoRA of rank $r$, as (E3) of `fp_peft.lora`
computes it. What is the last divided by the first for very large $n$ and fixed $r$?

Last: which matrices has a rank-$r$ update out of reach? Of these statements, which are false?

- A. With $B = 0$ the gradient of $A$ is zero at the first step.
- B. With $B = 0$ the gradient of $B$ is zero at the first step.
- C. Twice the rank at the same $\alpha$ multiplies the update by $\frac12$ if $B A$ stays.
- D. The sum of two updates of rank $r$ has rank at most $r$.
- E. A prefix can double the weight of one key of the text and leave the others.

You learn what is small about fine-tuning with few parameters, and what is not.
"""

from typing import Any

HINTS = (
    "Factors: r rows of n and n rows of r. An adapter has two such matrices, and a bias for each of r and n outputs.",
    "Each product takes as many multiplications as its matrix has entries: forward once, for the input's gradient "
    "once, for the matrix's own gradient once. A frozen matrix has no third; each thin factor has all three.",
)


def counting(n: int, r: int, m: int, h: int, d: int) -> dict[str, float | int | str]:
    """
    Answer nine questions about sizes and work.

    Parameters
    ----------
    n
        The width of a square layer.
    r
        The rank of factors, and the width of an adapter.
    m, h, d
        The length of a prefix, the number of key heads, and their width.

    Returns
    -------
    dict
        One answer for each name:

        - `"lora"`, `"adapter"`, `"prefix"`: how many numbers each trains.
        - `"full_work"`, `"frozen_work"`, `"lora_work"`: multiplications for one row, forward and backward.
        - `"limit"`: `lora_work / full_work` for n without end and r fixed.
        - `"largest_rank"`: the largest rank of the sum of two updates of rank r, if 2 r is at most n.
        - `"false"`: the letters of all false statements, in alphabetical order, as one string such as `"AD"`.

    Examples
    --------
    >>> answers = counting(n=10, r=1, m=2, h=1, d=3)
    >>> answers["lora"], answers["full_work"]
    (20, 300)
    """
    return {
        "lora": 2 * r * n,
        "adapter": 2 * r * n + r + n,
        "prefix": 2 * m * h * d,
        "full_work": 3 * n * n,
        "frozen_work": 2 * n * n,
        "lora_work": 2 * n * n + 6 * r * n,
        "limit": 2 / 3,
        "largest_rank": 2 * r,
        "false": "BDE",
    }


_CASES = ((10, 1, 2, 1, 3), (576, 8, 16, 3, 64), (96, 16, 5, 4, 24))
PROBES = _CASES
_WHY = {
    "lora": "A has r rows of n numbers, B n rows of r.",
    "adapter": "Two matrices of r n numbers, and a bias for each of r and of n outputs.",
    "prefix": "For each of m places and h heads a key of d numbers and a value of d.",
    "full_work": "Forward, the gradient of the input, the gradient of the weights: n n each.",
    "frozen_work": "The gradient still travels through a frozen layer: only that of the weights is left out.",
    "lora_work": "The frozen layer, and three products for each of the two thin factors.",
    "limit": "The thin products grow as n, the others as n n: two of three are left.",
    "largest_rank": "The images of a sum lie in the span of both: ranks add.",
    "false": "Gradient of A: s B' G' X; of B: s G' X A'. The scale is alpha / r. Ranks add. Proportions stay.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case in _CASES:
        got, expected = learner.counting(*case), counting(*case)
        assert isinstance(got, dict), f"expected a dictionary with the nine answers, got {got!r:.80}"
        for name, want in expected.items():
            assert name in got, f"the answer {name!r} is missing"
            given = got[name]
            right = (
                given == want if isinstance(want, str) else isinstance(given, int | float) and abs(given - want) < 1e-9
            )
            assert right, f"n, r, m, h, d = {case}: {name!r} should be {want!r}, yours is {given!r}. {_WHY[name]}"


def _only_one_factor(n: int, r: int, m: int, h: int, d: int) -> dict[str, Any]:
    return counting(n, r, m, h, d) | {"lora": r * n}


def _no_biases(n: int, r: int, m: int, h: int, d: int) -> dict[str, Any]:
    return counting(n, r, m, h, d) | {"adapter": 2 * r * n}


def _keys_alone(n: int, r: int, m: int, h: int, d: int) -> dict[str, Any]:
    return counting(n, r, m, h, d) | {"prefix": m * h * d}


def _nothing_backward(n: int, r: int, m: int, h: int, d: int) -> dict[str, Any]:
    return counting(n, r, m, h, d) | {"frozen_work": n * n}


def _thin_forward_alone(n: int, r: int, m: int, h: int, d: int) -> dict[str, Any]:
    return counting(n, r, m, h, d) | {"lora_work": 2 * n * n + 2 * r * n}


def _free(n: int, r: int, m: int, h: int, d: int) -> dict[str, Any]:
    return counting(n, r, m, h, d) | {"limit": 0.0}


MISTAKES = (
    (_only_one_factor, "You count one factor. There are two: r rows of n, and n rows of r."),
    (_no_biases, "You forget the adapter's biases: r in the middle and n at the end."),
    (_keys_alone, "You count the keys of the prefix and not its values."),
    (
        _nothing_backward,
        "You let the gradient stop at a frozen layer. What lies below it may be trained: the product for the input's "
        "gradient remains.",
    ),
    (_thin_forward_alone, "You count the thin factors forward only. They are trained: each has two products backward."),
    (
        _free,
        "You expect the work to shrink with the number of trained parameters. Forward and the gradient of the input "
        "remain: two thirds.",
    ),
)
