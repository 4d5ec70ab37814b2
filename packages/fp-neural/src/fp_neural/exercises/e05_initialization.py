r"""
How large the first weights should be.

Level: concept. You need `fp_neural.initialization`.

A linear layer computes $y_i = \sum_j W_{ij} x_j$ from $n_\text{in}$ entries, and has $n_\text{out}$ of them itself. All
weights are drawn independently, from a normal distribution of mean 0 and standard deviation $s$; there are no biases.
The size of an array is told by its mean square, the expectation of the square of one of its entries; its root is the
"root mean square". Every $x_j$ has the mean square 1.

Predict before you compute. A network has 20 layers, and a weight was drawn ten times too large in each of them: how
large is what comes out? How far from the right value may the standard deviation be, if the end of 20 layers may be ten
times too large and not more? One more layer, and the same question: does the answer change? What does relu take away,
and what changes if each layer *adds* its answer to what it was given? Then write the answers as formulas.

You learn to choose a standard deviation from the fan-in, the activation and the depth. A network whose signal fades or
explodes on the way does not train, and no optimizer will tell you why.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Of independent terms with mean 0 the variances add: y has the mean square n_in times s**2 times that of x. On the "
    "way back the same matrix is transposed, and each entry of x collects n_out terms.",
    "Half of what comes to relu is negative, and its distribution is symmetric, so relu halves the mean square. Over "
    "layers the factors multiply: n factors of r make r**n.",
    "With he = sqrt(2 / n_in), the root mean square behind the layers is (std / he)**depth, and `largest` makes it 10. "
    "In the residual chain a layer multiplies the mean square by 1 + n_in s**2; set the power of that to 2.",
)


def initialization(n_in: int, n_out: int, depth: int, std: float) -> dict[str, float | int]:
    """
    Answer eleven questions about the standard deviation of the first weights.

    Parameters
    ----------
    n_in, n_out
        Entries that a layer is given, and that it gives.
    depth
        Number of layers in a chain, at least 1.
    std
        A standard deviation s that somebody has chosen, above 0.

    Returns
    -------
    dict
        One answer for each name. Of one linear layer from `n_in` to `n_out`:

        - `"forward"`: the standard deviation with which y has the mean square of x.
        - `"backward"`: the standard deviation with which the gradient in x has the mean square of the gradient in y
          (which does not depend on the weights).
        - `"xavier"`: the standard deviation that Xavier's initialization chooses between the two: its variance is 1
          over the mean of the two fans.
        - `"returned"`: by what factor the mean square of a gradient grows on its way back, with `std`.
        - `"logits"`: the layer gives the logits of a softmax, drawn with `std`. By about how much does the first loss
          exceed log(n_out), by the approximation for small random logits?
        - `"distinct"`: a hidden layer of `n_out` units, each followed by relu, feeds a linear layer. In both, all
          weights start at the same value. At most how many different units does the hidden layer have after any
          number of gradient steps?

        Of a chain of `depth` layers from `n_in` to `n_in`, each a linear layer followed by relu:

        - `"he"`: the standard deviation with which the mean square behind each relu is that behind the one before.
        - `"rms"`: the root mean square behind the last relu, with `std`.
        - `"tenfold"`: the root mean square behind the last relu if every layer is drawn with ten times `"he"`.
        - `"largest"`: the largest standard deviation with which the root mean square behind the last relu is at most
          10.

        Of a chain of `depth` residual layers from `n_in` to `n_in`, each of which gives `x + W x`:

        - `"residual"`: the standard deviation with which the mean square at the end is 2.

    Examples
    --------
    >>> answers = initialization(n_in=100, n_out=25, depth=2, std=0.2)
    >>> answers["forward"], answers["tenfold"]
    (0.1, 100.0)
    >>> sorted(answers)  # doctest: +NORMALIZE_WHITESPACE
    ['backward', 'distinct', 'forward', 'he', 'largest', 'logits', 'residual', 'returned', 'rms', 'tenfold', 'xavier']
    """
    he = math.sqrt(2 / n_in)
    return {
        "forward": 1 / math.sqrt(n_in),
        "backward": 1 / math.sqrt(n_out),
        "xavier": math.sqrt(2 / (n_in + n_out)),
        "returned": n_out * std**2,
        "logits": n_in * std**2 / 2,
        "distinct": 1,
        "he": he,
        "rms": (std / he) ** depth,
        "tenfold": 10.0**depth,
        "largest": 10 ** (1 / depth) * he,
        "residual": math.sqrt((2 ** (1 / depth) - 1) / n_in),
    }


_WHY = {
    "forward": "y is a sum of n_in independent terms, so its mean square is n_in s**2 times that of x.",
    "backward": "The gradient in x is a sum of n_out terms, one for each entry of y.",
    "xavier": "The mean of the fans is (n_in + n_out) / 2, its inverse is the variance, and the root of that is s.",
    "returned": "The gradient in x is a sum of n_out independent terms, each with the factor s**2.",
    "logits": "The logits have the variance n_in s**2, and the first loss exceeds log V by about half of it.",
    "distinct": "Units that start alike get the same gradient at every step, so they stay alike for ever.",
    "he": "relu halves the mean square of a symmetric input, so n_in s**2 / 2 is to be 1.",
    "rms": "Each layer multiplies the mean square by n_in s**2 / 2; all of them together, and then the root.",
    "tenfold": "Ten times the weight is ten times the answer, in each of the layers.",
    "largest": "The root mean square is (s / he)**depth; solve that for 10.",
    "residual": "W x is as likely to point along x as against it, so mean squares add: each layer multiplies by "
    "1 + n_in s**2.",
}

PROBES = ((100, 25, 2, 0.2), (64, 64, 1, 0.1), (30, 10_000, 20, 0.3), (768, 3072, 12, 0.02), (5, 7, 50, 1.0))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for n_in, n_out, depth, std in PROBES:
        got = learner.initialization(n_in, n_out, depth, std)
        assert isinstance(got, dict), f"expected a dict of eleven answers, got {got!r:.80}"
        for key, expected in initialization(n_in, n_out, depth, std).items():
            assert key in got, f"the answer {key!r} is missing; got the answers {sorted(map(str, got))}"
            assert _same(got[key], expected), (
                f"for n_in = {n_in}, n_out = {n_out}, depth = {depth} and std = {std:g}, {key!r} is {expected:.6g}; "
                f"got {_short(got[key])}. {_WHY[key]}"
            )


def _same(got: Any, expected: float | int) -> bool:
    if isinstance(expected, int):
        return isinstance(got, int | np.integer) and int(got) == expected
    try:
        return math.isclose(got, expected, rel_tol=1e-9)  # far above rounding, far below any other answer
    except (TypeError, ValueError):
        return False


def _short(answer: Any) -> str:
    return f"{answer:.6g}" if isinstance(answer, float) else f"{answer!r:.80}"


_Answers = dict[str, float | int]


def _variance_for_deviation(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    variances = {"forward": 1 / n_in, "backward": 1 / n_out, "xavier": 2 / (n_in + n_out), "he": 2 / n_in}
    return {**initialization(n_in, n_out, depth, std), **variances, "largest": 10 ** (1 / depth) * 2 / n_in}


def _forward_fan_only(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    forward = 1 / math.sqrt(n_in)
    answers = initialization(n_in, n_out, depth, std)
    return {**answers, "backward": forward, "xavier": forward, "returned": n_in * std**2}


def _mean_of_deviations(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    mean = (1 / math.sqrt(n_in) + 1 / math.sqrt(n_out)) / 2
    return {**initialization(n_in, n_out, depth, std), "xavier": mean}


def _as_if_linear(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    he = 1 / math.sqrt(n_in)
    chain = {"he": he, "rms": (std / he) ** depth, "largest": 10 ** (1 / depth) * he}
    return {**initialization(n_in, n_out, depth, std), **chain}


def _variance_behind_relu(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    he = 1 / math.sqrt(n_in * (1 / 2 - 1 / (2 * math.pi)))
    chain = {"he": he, "rms": (std / he) ** depth, "largest": 10 ** (1 / depth) * he}
    return {**initialization(n_in, n_out, depth, std), **chain}


def _ten_times_too_large(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    answers = initialization(n_in, n_out, depth, std)
    return {**answers, "tenfold": 10.0, "largest": 10 * answers["he"]}


def _layers_add(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    answers = initialization(n_in, n_out, depth, std)
    he = answers["he"]
    return {**answers, "rms": depth * std / he, "tenfold": 10.0 * depth, "largest": 10 / depth * he}


def _root_forgotten(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    answers = initialization(n_in, n_out, depth, std)
    largest = 10 ** (1 / (2 * depth)) * answers["he"]
    return {**answers, "rms": answers["rms"] ** 2, "tenfold": 100.0**depth, "largest": largest}


def _residual_sizes_add(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    residual = (2 ** (1 / (2 * depth)) - 1) / math.sqrt(n_in)
    return {**initialization(n_in, n_out, depth, std), "residual": residual}


def _residual_as_a_plain_chain(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    residual = math.sqrt(2 ** (1 / depth) / n_in)
    return {**initialization(n_in, n_out, depth, std), "residual": residual}


def _logits_as_small_as_weights(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    return {**initialization(n_in, n_out, depth, std), "logits": std**2 / 2}


def _units_find_their_own_way(n_in: int, n_out: int, depth: int, std: float) -> _Answers:
    return {**initialization(n_in, n_out, depth, std), "distinct": n_out}


MISTAKES = (
    (
        _variance_for_deviation,
        "You give variances. A standard deviation is the root of one: 1 / n_in is far too small for weights.",
    ),
    (
        _forward_fan_only,
        "You use the forward fan for the way back too. There each entry of x collects n_out terms, so the gradient has "
        "the size n_out decides; only for square layers is that the same.",
    ),
    (
        _mean_of_deviations,
        "You take the mean of the two standard deviations. Xavier's choice takes the mean of the fans, and one over it "
        "as the variance.",
    ),
    (
        _as_if_linear,
        "You leave relu out. It sets the negative half to 0 and halves the mean square in every layer; the factor 2 in "
        "the variance makes up for it.",
    ),
    (
        _variance_behind_relu,
        "You keep the variance behind relu, taking its mean away. The next layer multiplies the entries as they are, "
        "mean included: what counts is their mean square.",
    ),
    (
        _ten_times_too_large,
        "You allow weights that are ten times too large, as if that made the end ten times too large. Every layer "
        "multiplies by ten once more: what is allowed shrinks with depth, to the power 1 / depth.",
    ),
    (
        _layers_add,
        "You add up over the layers. Each acts on what the one before it gave, so their factors multiply.",
    ),
    (
        _root_forgotten,
        "You give mean squares where their root is asked for. Ten times the weight is ten times the root mean square, "
        "and a hundred times the mean square.",
    ),
    (
        _residual_sizes_add,
        "You add the sizes of x and W x, as if W x pointed the way of x. It points anywhere, and the mean of the "
        "products is 0: mean squares add, not their roots.",
    ),
    (
        _residual_as_a_plain_chain,
        "You treat the residual chain as a plain one. A layer gives x itself as well, so its factor is 1 + n_in s**2, "
        "not n_in s**2.",
    ),
    (
        _logits_as_small_as_weights,
        "You take the variance of a weight for that of a logit. A logit is a sum of n_in terms, and its variance is "
        "n_in times as large.",
    ),
    (
        _units_find_their_own_way,
        "You let units that start alike become different. They compute the same and get the same gradient at every "
        "step; random weights are there to break that tie.",
    ),
)
