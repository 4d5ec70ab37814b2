r"""
What is left of a gradient behind many layers.

Level: concept. You need `fp_autograd.calculus` and `fp_autograd.floating_point`.

A chain of $n$ layers, one number wide: layer $k$ computes $\phi(z_k)$ from $z_k = w h + b_k$, where $h$ is what the
layer before it gave. All have the same weight $w$; the biases make the $z_k$ whatever they are. A gradient of 1 comes
back at the end. What arrives at the beginning?

Predict before you compute, with $w = 1$ and ten layers that all have $z = 2$: how many zeros has the gradient behind
the point if $\phi$ is tanh? If it is relu, $\max(z, 0)$? What if one of the ten has $z = -2$? And if every layer
*adds* what it computes to what it was given, $h + \phi(z)$, does the gradient still shrink? Write the answers as
formulas in $w$ and $z_1, \dots, z_n$.

You learn what a very deep network needs: activations that let gradients through, weights whose size suits the depth,
and residual connections, which make the other two matter less. Large models are built on the third.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "By the chain rule the derivative of a chain is the product of the derivatives of its layers. A layer's derivative "
    "in what it was given has two factors: one from the activation, one from w h.",
    "A layer of tanh has the slope w (1 - tanh(z)**2), one of relu w or 0. A layer that adds its answer to what it was "
    "given has 1 more than that. Multiply those out for two layers: how many terms are there?",
    "`best_weight` solves |w|**n times the product of the slopes of tanh = 1. For `copies` try m = 1, 2, 3, … and stop "
    "when `abs(tanh) ** m` lies outside of `np.finfo(np.float32).tiny` to `np.finfo(np.float32).max`.",
)


def gradient_flow(w: float, z: list[float]) -> dict[str, float | int]:
    """
    Answer seven questions about the gradient that reaches the beginning of a chain of layers.

    Parameters
    ----------
    w
        Weight of every layer, not 0.
    z
        What the activation of each layer is applied to, at least one number.

    Returns
    -------
    dict
        One answer for each name; the gradient at the end is 1, and "the gradient" is the one at the beginning:

        - `"tanh"`: the gradient if every layer computes `tanh(z)`.
        - `"relu"`: the gradient if every layer computes `max(z, 0)`, whose slope at 0 is taken to be 0, as engines do.
        - `"residual"`: the gradient if every layer gives `h + tanh(z)`, where `h` is what it was given.
        - `"one_skip"`: the gradient if the layers compute `tanh(z)`, and what the first was given is added once, to
          what the last one gives.
        - `"paths"`: the number of different paths from end to beginning in the chain of `"residual"`.
        - `"best_weight"`: the positive weight with which the gradient of `"tanh"` would be 1, for the same `z`.
        - `"copies"`: how many copies of the chain of `"tanh"`, each with the same `w` and `z`, must stand behind one
          another for the gradient to leave the range of normal float32 numbers: its size below
          `np.finfo(np.float32).tiny` or above `np.finfo(np.float32).max`. 0 if no number of copies does that.

    Examples
    --------
    >>> answers = gradient_flow(2.0, [1.0])
    >>> round(answers["tanh"], 6), answers["relu"], round(answers["residual"], 6)
    (0.839949, 2.0, 1.839949)
    >>> sorted(answers)
    ['best_weight', 'copies', 'one_skip', 'paths', 'relu', 'residual', 'tanh']
    """
    slopes = [1 - math.tanh(x) ** 2 for x in z]
    tanh, n = math.prod(w * s for s in slopes), len(z)
    return {
        "tanh": tanh,
        "relu": math.prod(w if x > 0 else 0.0 for x in z),
        "residual": math.prod(1 + w * s for s in slopes),
        "one_skip": 1 + tanh,
        "paths": 2**n,  # at each layer either around it or through it
        "best_weight": math.prod(slopes) ** (-1 / n),
        "copies": _copies_until_lost(abs(tanh), np.finfo(np.float32)),
    }


def _copies_until_lost(factor: float, numbers: Any) -> int:
    """The least `m` for which `factor ** m` is no normal number; 0 if there is none."""
    smallest, largest, m = float(numbers.tiny), float(numbers.max), 1
    while factor != 1 and smallest <= factor**m <= largest:
        m += 1
    return 0 if factor == 1 else m


_WHY = {
    "tanh": "Slopes along a chain multiply, and the slope of tanh(w h + b) in h is w times 1 - tanh(z)**2.",
    "relu": "The slope of max(z, 0) is 1 or 0, whatever the size of z: each layer multiplies by w, or ends it all.",
    "residual": "The slope of h + tanh(z) in h is 1 plus the slope of tanh(z), in every layer.",
    "one_skip": "The derivative of a sum is the sum of the derivatives: 1 for the short way and the product for the "
    "long one.",
    "paths": "At each layer a path goes either around it or through it, and choices multiply.",
    "best_weight": "n factors of w stand against the product of the n slopes, so w is that product to the power -1/n.",
    "copies": "m copies multiply the gradient m times by that of one: find the least m that leaves the range.",
}

PROBES = (
    (1.0, [2.0] * 10),
    (1.5, [0.5, 2.0, -0.25]),
    (-0.75, [0.5, 1.0]),
    (3.0, [0.5, -0.5, 0.75, 0.25, 1.0]),
    (1.0, [0.0]),
    (0.5, [0.0]),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for w, z in (*PROBES, (1.25, [0.25 + 0.125 * k for k in range(23)])):
        got = learner.gradient_flow(w, list(z))
        assert isinstance(got, dict), f"expected a dict of seven numbers, got {got!r:.80}"
        for key, expected in gradient_flow(w, z).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            shown = f"[{', '.join(f'{x:g}' for x in z[:10])}{', …' if len(z) > 10 else ''}]"
            assert _same(got[key], expected), (
                f"for w = {w:g} and z = {shown}, {key!r} is {expected:.6g}; got {got[key]!r:.80}. {_WHY[key]}"
            )


def _same(got: Any, expected: float | int) -> bool:
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and int(got) == expected
    try:
        return math.isclose(got, expected, rel_tol=1e-9)  # 1 - tanh(2)**2 has lost about two of its sixteen digits
    except (TypeError, ValueError):
        return False


def _with_tanh(w: float, z: list[float], tanh: float) -> dict[str, float | int]:
    """The answers of somebody whose chain of tanh has this gradient."""
    copies = _copies_until_lost(abs(tanh), np.finfo(np.float32))
    return {**gradient_flow(w, z), "tanh": tanh, "one_skip": 1 + tanh, "copies": copies}


def _slopes_add(w: float, z: list[float]) -> dict[str, float | int]:
    slopes = [w * (1 - math.tanh(x) ** 2) for x in z]
    return {**_with_tanh(w, z, sum(slopes)), "residual": len(z) + sum(slopes), "best_weight": w / sum(slopes)}


def _weight_once(w: float, z: list[float]) -> dict[str, float | int]:
    product = math.prod(1 - math.tanh(x) ** 2 for x in z)
    return {**_with_tanh(w, z, w * product), "best_weight": 1 / product}


def _argument_for_value(w: float, z: list[float]) -> dict[str, float | int]:
    slopes = [1 - x**2 for x in z]
    answers = _with_tanh(w, z, math.prod(w * s for s in slopes))
    return {
        **answers,
        "residual": math.prod(1 + w * s for s in slopes),
        "best_weight": math.prod(slopes) ** (-1 / len(z)),  # what Python makes of it, a complex number too
    }


def _relu_passes_its_value(w: float, z: list[float]) -> dict[str, float | int]:
    return {**gradient_flow(w, z), "relu": math.prod(w * max(x, 0.0) for x in z)}


def _a_dead_layer_is_skipped(w: float, z: list[float]) -> dict[str, float | int]:
    return {**gradient_flow(w, z), "relu": math.prod(w for x in z if x > 0)}


def _one_skip_around_all(w: float, z: list[float]) -> dict[str, float | int]:
    answers = gradient_flow(w, z)
    return {**answers, "residual": answers["one_skip"]}


def _paths_add(w: float, z: list[float]) -> dict[str, float | int]:
    return {**gradient_flow(w, z), "paths": len(z) + 1}


def _mean_slope(w: float, z: list[float]) -> dict[str, float | int]:
    return {**gradient_flow(w, z), "best_weight": len(z) / sum(1 - math.tanh(x) ** 2 for x in z)}


def _in_double_precision(w: float, z: list[float]) -> dict[str, float | int]:
    answers = gradient_flow(w, z)
    factor = abs(answers["tanh"])
    if factor == 1:
        return answers
    limit = np.finfo(np.float64).tiny if factor < 1 else np.finfo(np.float64).max
    return {**answers, "copies": int(math.log(limit) / math.log(factor)) + 1}


MISTAKES = (
    (_slopes_add, "You add the slopes of the layers. One layer acts on what the one before it gave: slopes multiply."),
    (
        _weight_once,
        "You count the weight once. Each of the n layers multiplies by it, on the way back as on the way there.",
    ),
    (
        _argument_for_value,
        "You use 1 - z**2 for the slope of tanh. It is 1 - tanh(z)**2: what is squared is the value.",
    ),
    (
        _relu_passes_its_value,
        "You multiply by what the relu gives. A derivative asks how that changes: by 1 where z is positive, however "
        "large it is.",
    ),
    (
        _a_dead_layer_is_skipped,
        "You leave a relu with negative z out of the product. It does not step aside, it multiplies by 0: nothing "
        "before it learns.",
    ),
    (
        _one_skip_around_all,
        "You add 1 to the product, as if one connection led around all the layers. Each layer has its own: 1 is added "
        "to each factor.",
    ),
    (
        _paths_add,
        "You count one path around each layer. At every layer a path has two ways on, whatever it did before, and "
        "choices multiply.",
    ),
    (
        _mean_slope,
        "You balance the weight against the mean slope. The slopes multiply, so their geometric mean is what counts.",
    ),
    (
        _in_double_precision,
        "You take the limits of 64-bit floats. Models train in 32 bits or fewer, where the range ends far sooner.",
    ),
)
