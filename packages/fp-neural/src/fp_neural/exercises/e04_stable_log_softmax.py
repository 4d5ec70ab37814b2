r"""
A log-softmax that never overflows.

Level: implement. You need `fp_neural.softmax` and `fp_autograd.floating_point`.

Along one axis of an array of logits,

$$\log p_i = \log \frac{e^{z_i}}{\sum_j e^{z_j}} = z_i - \log \sum_j e^{z_j} .$$

Write it for any axis, so that every answer is right to about its last digits, whatever the logits are. That rules out
what the formula says: $e^{z}$ is infinite from $z = 710$ on and 0 below $-746$, and yet $\log p$ is an ordinary number
for logits of 10,000 as for logits that are 10,000 apart. There is an identity to use, that of the shift: for every
number $c$,

$$\log \sum_j e^{z_j} = c + \log \sum_j e^{z_j - c} .$$

A logit may be $-\infty$, as models set it for a token that must not come; its $\log p$ is $-\infty$, and the others are
as if it were not there. At least one logit along the axis is finite, and none is $+\infty$ or NaN.

This is the last line of every language model. Where it fails the loss is NaN, and after one step so is every weight.
"""

from decimal import Context, Decimal, localcontext
from typing import Any

import numpy as np

HINTS = (
    "Which c makes the largest of the shifted exponentials exactly 1? Then none overflows, the sum is at least 1, and "
    "its logarithm is harmless. Each line along the axis has a c of its own.",
    "Do not compute probabilities: a probability too small to be a float has a logarithm that is one. Take the "
    "logarithm of the sum alone, and subtract.",
    "`shifted = logits - logits.max(axis=axis, keepdims=True)`; then subtract "
    "`np.log(np.exp(shifted).sum(axis=axis, keepdims=True))` from it.",
)


def log_softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    """
    Logarithms of the softmax along one axis.

    Parameters
    ----------
    logits
        Floats of any shape with one axis or more, none of size zero. Some may be minus infinity, but not all along
        `axis`.
    axis
        The axis along which the probabilities sum to one; it may be negative.

    Returns
    -------
    ndarray
        The natural logarithm of each probability, in the shape of `logits`.

    Examples
    --------
    >>> log_softmax(np.log(np.array([1.0, 2.0, 5.0])), axis=0).round(6).tolist()
    [-2.079442, -1.386294, -0.470004]
    >>> log_softmax(np.array([[10_000.0, 10_000.0], [0.0, -10_000.0]]), axis=1).round(6).tolist()
    [[-0.693147, -0.693147], [0.0, -10000.0]]
    """
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


_SQUARE = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [2.5, 0.25, -2.0]])
_INF = np.inf
_OWN = "Each line along the axis is a distribution of its own, and sums to 1 in probabilities."


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(4)
    levels = rng.normal(size=(2, 3, 5)) + np.array([-5000.0, 0.0, 3000.0])[:, None]
    for logits, axis, why in (
        (_SQUARE, 1, _OWN),  # square first: a wrong axis then gives a wrong number
        (_SQUARE, 0, _OWN),
        (_SQUARE, -1, _OWN),
        (rng.normal(size=(5, 2, 3)), 0, _OWN),
        (rng.normal(size=(5, 2, 3)), 1, _OWN),
        (rng.normal(size=(5, 2, 3)), -2, _OWN),
        (np.array([3.0]), 0, "The only token there is has probability 1."),
        (np.array([800.0, 801.0]), 0, "exp(800) is infinite: shift before the exponential."),
        (np.array([-801.0, -800.0]), 0, "exp(-800) is 0, and log(0) is infinite: shift before the exponential."),
        (np.array([[0.0, 1e5, 99_998.0]]), 1, "A probability of 0 has no logarithm: do not compute it on the way."),
        (np.array([[1000.0, 1001.0], [-1000.0, -1001.0]]), 1, "Each line along the axis needs a shift of its own."),
        (levels, 2, "Each line along the axis needs a shift of its own."),
        (levels, 1, "A probability of 0 has no logarithm: do not compute it on the way."),
        (np.array([[0.5, -_INF, 2.0], [-_INF, -_INF, 7.0]]), 1, "A logit of minus infinity adds 0 to the sum."),
    ):
        got = learner.log_softmax(logits.copy(), axis)
        case = f"logits of shape {logits.shape}, axis {axis}"
        assert isinstance(got, np.ndarray) and got.dtype.kind == "f", (
            f"{case}: expected an array of floats, got {got!r:.80}"
        )
        assert got.shape == logits.shape, f"{case}: expected the shape of the logits, got {got.shape}"
        lines = np.moveaxis(logits, axis, -1).reshape(-1, logits.shape[axis])
        came = np.moveaxis(got, axis, -1).reshape(lines.shape)
        for line, answers in zip(lines, came, strict=True):
            expected = _by_definition(line)
            # the subtraction of two logits rounds to 1e-16 of the larger; any mistake is far above 1e-9 of it
            size = max(1.0, float(np.abs(line[np.isfinite(line)]).max()))
            assert np.allclose(answers, expected, rtol=0, atol=1e-9 * size), (
                f"{case}: along the axis stand the logits {_show(line)}. Expected {_show(expected)}, got "
                f"{_show(answers)}. {why}"
            )


def _by_definition(line: np.ndarray) -> np.ndarray:
    """As the formula says, in decimal numbers of 40 digits, whose exponents have room for all of it."""
    with localcontext(Context(prec=40, Emax=10**9, Emin=-(10**9))):
        z = [Decimal(float(x)) for x in line]
        log_sum = sum((x.exp() for x in z), Decimal(0)).ln()
        return np.array([float(x - log_sum) for x in z])


def _show(line: np.ndarray) -> str:
    return f"[{', '.join(f'{x:.8g}' for x in line)}]"


def _always_the_last_axis(logits: np.ndarray, axis: int) -> np.ndarray:
    return log_softmax(logits, -1)


def _over_everything(logits: np.ndarray, axis: int) -> np.ndarray:
    return log_softmax(logits.ravel(), 0).reshape(logits.shape)


def _log_of_a_softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    with np.errstate(all="ignore"):
        return np.asarray(np.log(e / e.sum(axis=axis, keepdims=True)))


def _log_of_a_raised_softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(np.log(e / e.sum(axis=axis, keepdims=True) + 1e-12))


def _no_shift(logits: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(logits - np.log(np.exp(logits).sum(axis=axis, keepdims=True)))


def _shift_not_given_back(logits: np.ndarray, axis: int) -> np.ndarray:
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return np.asarray(logits - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def _one_shift_for_all(logits: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return _no_shift(logits - logits.max(), axis)


def _shift_by_the_size(logits: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return _no_shift(logits - np.abs(logits).max(axis=axis, keepdims=True), axis)


def _shift_of_another_axis(logits: np.ndarray, axis: int) -> np.ndarray:
    other = (axis - 1) % logits.ndim
    with np.errstate(all="ignore"):
        return log_softmax(logits - logits.max(axis=other, keepdims=True), axis)


def _sum_out_of_line(logits: np.ndarray, axis: int) -> np.ndarray:
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis)))


MISTAKES = (
    (
        _always_the_last_axis,
        "You take the softmax over the last axis, whatever `axis` says. Each line along the named axis is a "
        "distribution of its own; the sums along another mean nothing.",
    ),
    (
        _over_everything,
        "You divide by one sum over the whole array. Each line along the axis is a distribution of its own and has a "
        "sum of its own.",
    ),
    (
        _log_of_a_softmax,
        "You take the log of a finished softmax. A probability below 1e-323 is 0 by then and its logarithm minus "
        "infinity, though the true one is an ordinary number: subtract the log of the sum from the logits.",
    ),
    (
        _log_of_a_raised_softmax,
        "You add a small number before the logarithm, which hides the infinity and not the error: no answer is below "
        "-27.7, and the gradient of a hopeless token is lost. Subtract the log of the sum from the logits.",
    ),
    (
        _no_shift,
        "You do not shift. From 710 on an exponential is infinite, and all of them are 0 below -746: take the largest "
        "logit of each line away first.",
    ),
    (
        _shift_not_given_back,
        "You shift inside the sum and not outside. The log of the shifted sum is smaller by the shift: subtract it "
        "from the shifted logits, or add the maximum again.",
    ),
    (
        _one_shift_for_all,
        "You shift by the largest logit of the whole array. A line far below it has only zeros left to sum: each line "
        "needs the maximum of its own.",
    ),
    (
        _shift_by_the_size,
        "You shift by the largest absolute value. Logits far below 0 are pushed farther down by it, and every "
        "exponential is 0: what makes the largest of them 1 is the largest logit itself, sign included.",
    ),
    (
        _shift_of_another_axis,
        "You shift by the maxima along another axis. A shift cancels only if it is one number for the whole line; "
        "yours differ within it and change the probabilities.",
    ),
    (
        _sum_out_of_line,
        "You subtract the sums without the axis they were taken along, so broadcasting lines them up with the wrong "
        "lines, or not at all. keepdims=True leaves the axis in place.",
    ),
)

PROBES = (
    (_SQUARE, 1),
    (_SQUARE, 0),
    (np.array([[1000.0, 1001.0], [-1000.0, -1001.0]]), 1),
    (np.array([[0.0, 1e5, 99_998.0]]), 1),
    (np.array([[-801.0, -800.0]]), 1),
)
