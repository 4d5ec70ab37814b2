r"""
Dropout, forward and backward.

Level: implement. You need `fp_neural.dropout` and `fp_markov.probability` up to expectations.

While a model trains, dropout sets each entry of an array to 0 with probability $p$, each independently of all others.
What stays is scaled so that the *expectation* of every entry is what it was without dropout; so nothing is left to do
in evaluation, where every entry passes as it is. Dropout in this form is called inverted.

Write the forward and, since both need the same random choice, the backward with it: `g` comes in, the derivative of the
loss in each entry of the answer, and the derivative in each entry of `x` goes out. All randomness comes from `rng`, so
that a run can be repeated: `rng.random(shape)` gives independent numbers, uniform from 0 to 1.

Each of the usual mistakes still trains, only worse, or works in training and fails in evaluation. The size of the
expectation is what tells them apart.
"""

from typing import Any

import numpy as np

HINTS = (
    "An entry survives with probability 1 - p. If it is multiplied by c when it survives, its expectation is "
    "(1 - p) c x: which c makes that x?",
    "Make one array, in the shape of x, that holds 0 where an entry is dropped and c where it stays. Forward "
    "multiplies by it entry by entry; what is the derivative of that in x?",
    "`scale = (rng.random(x.shape) >= p) / (1 - p)` in training, and ones in evaluation. The answer is "
    "`x * scale, g * scale`.",
)


def dropout(
    x: np.ndarray, p: float, training: bool, rng: np.random.Generator, g: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """
    Inverted dropout, and the gradient of its argument.

    Parameters
    ----------
    x
        Floats of any shape; the first axis is the batch.
    p
        Probability that an entry is dropped, at least 0 and below 1.
    training
        Whether the model trains; otherwise nothing is dropped.
    rng
        What to draw from.
    g
        The gradient that comes back: the derivative of the loss in each entry of `y`, in the shape of `x`.

    Returns
    -------
    y : ndarray
        What is left of `x`, in its shape.
    dx : ndarray
        Derivative of the loss in each entry of `x`, in its shape.

    Examples
    --------
    >>> x, g = np.full(6, 3.0), np.full(6, 10.0)
    >>> y, dx = dropout(x, 0.25, False, np.random.default_rng(0), g)
    >>> y.tolist() == x.tolist(), dx.tolist() == g.tolist()
    (True, True)
    >>> y, dx = dropout(x, 0.25, True, np.random.default_rng(0), g)
    >>> set(y.tolist()) <= {0.0, 4.0}
    True
    """
    scale = (rng.random(x.shape) >= p) / (1 - p) if training else np.ones(x.shape)
    return x * scale, g * scale


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    numbers = np.random.default_rng(6)
    for shape, p in (((40, 50), 0.25), ((5, 7), 0.5), ((20, 10, 15), 0.8), ((5, 3), 0.0)):
        # away from 0, so that a 0 in the answer has been dropped
        x = numbers.uniform(0.5, 2.0, shape) * numbers.choice([-1.0, 1.0], shape)
        g = numbers.uniform(0.5, 2.0, shape) * numbers.choice([-1.0, 1.0], shape)
        case = f"x of shape {shape}, p = {p}, in evaluation"
        y, dx = _arrays(learner, case, x, p, False, np.random.default_rng(1), g)
        for name, came, given in (("y", y, x), ("dx", dx, g)):
            _all_equal(case, name, came, given, "In evaluation every entry passes as it is.")

        case = f"x of shape {shape}, p = {p}, in training"
        rng = np.random.default_rng(2)
        y, dx = _arrays(learner, case, x, p, True, rng, g)
        _all_equal(
            case, "y", y, np.where(y == 0, 0.0, x / (1 - p)), f"Survivors are scaled by 1 / (1 - p) = {1 / (1 - p):g}."
        )
        _all_equal(
            case,
            "dx",
            dx,
            np.where(y == 0, 0.0, g / (1 - p)),
            "The backward multiplies by what the forward multiplied by: 0 where an entry of y is 0, 1 / (1 - p) where "
            "it is not.",
        )
        dropped = y == 0
        many = x.size > 1000  # with fewer entries lines may be alike by chance
        for axis in range(x.ndim if many else 0):
            lines = dropped.any(axis=axis)
            assert dropped.sum() < lines.sum() * shape[axis], (
                f"{case}: expected each entry to be dropped by itself, but along axis {axis} all entries are "
                "dropped or none"
            )
        # of independent entries, each dropped with probability p, the share is within five standard deviations of p;
        # one time in a million it is not
        bound = 5 * (p * (1 - p) / x.size) ** 0.5
        assert abs(dropped.mean() - p) <= bound, (
            f"{case}: expected a share of {p} dropped, up to {bound:.2g} more or less; got {dropped.mean():.4g}"
        )
        if not many:
            continue
        again, _ = _arrays(learner, case, x, p, True, np.random.default_rng(2), g)
        _all_equal(case, "y", again, y, "Two generators of the same seed must give the same answer: draw from rng.")
        later, _ = _arrays(learner, case, x, p, True, rng, g)
        assert (later != y).any(), (
            f"{case}: expected another choice of entries at the second call with the same generator; both are alike"
        )


def _arrays(learner: Any, case: str, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the learner answers to copies of the arrays, if it is two arrays of the shape of x."""
    shape = arguments[0].shape
    got = learner.dropout(*(a.copy() if isinstance(a, np.ndarray) else a for a in arguments))
    assert isinstance(got, tuple | list) and len(got) == 2, f"{case}: expected two arrays, y and dx, got {got!r:.80}"
    for name, array in zip(("y", "dx"), got, strict=True):
        assert isinstance(array, np.ndarray) and array.dtype.kind in "iuf" and array.shape == shape, (
            f"{case}: {name} must be an array of numbers of the shape of x, {shape}, got {array!r:.80}"
        )
    return got[0], got[1]


def _all_equal(case: str, name: str, came: np.ndarray, expected: np.ndarray, why: str) -> None:
    wrong = ~np.isclose(came, expected, rtol=1e-6, atol=0)  # float32 will do; the smallest mistake is far above
    if wrong.any():
        place = np.unravel_index(int(wrong.argmax()), wrong.shape)
        at = ", ".join(map(str, map(int, place)))
        raise AssertionError(f"{case}: expected {name}[{at}] = {expected[place]:.6g}, got {came[place]:.6g}. {why}")


_Generator = np.random.Generator
_Pair = tuple[np.ndarray, np.ndarray]


def _not_inverted(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    keep = rng.random(x.shape) >= p if training else np.ones(x.shape)
    return x * keep, g * keep


def _scaled_in_evaluation_instead(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    keep = rng.random(x.shape) >= p if training else np.full(x.shape, 1 - p)
    return x * keep, g * keep


def _scaled_in_evaluation_too(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    scale = (rng.random(x.shape) >= p) / (1 - p) if training else np.full(x.shape, 1 - p)
    return x * scale, g * scale


def _dropped_in_evaluation(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    return dropout(x, p, True, rng, g)


def _one_mask_for_the_batch(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    scale = (rng.random(x.shape[1:]) >= p) / (1 - p) if training else np.ones(x.shape)
    return x * scale, g * scale


def _whole_rows(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    kept = rng.random(len(x)) >= p
    scale = kept.reshape(-1, *[1] * (x.ndim - 1)) / (1 - p) if training else np.ones(x.shape)
    return x * scale, g * scale


def _kept_for_dropped(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    scale = (rng.random(x.shape) < p) / (1 - p) if training else np.ones(x.shape)
    return x * scale, g * scale


def _scaled_by_p(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    scale = (rng.random(x.shape) >= p) / p if training else np.ones(x.shape)
    return x * scale, g * scale


def _p_for_keeping(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    scale = (rng.random(x.shape) < p) / max(p, 1e-9) if training else np.ones(x.shape)
    return x * scale, g * scale


def _another_choice_backward(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    return dropout(x, p, training, rng, g)[0], dropout(x, p, training, rng, g)[1]


def _gradient_passes(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    return dropout(x, p, training, rng, g)[0], g.copy()


def _gradient_not_scaled(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    y, dx = dropout(x, p, training, rng, g)
    return y, np.where(dx == 0, 0.0, g)


def _the_same_choice_always(x: np.ndarray, p: float, training: bool, rng: _Generator, g: np.ndarray) -> _Pair:
    return dropout(x, p, training, np.random.default_rng(0), g)


MISTAKES = (
    (
        _not_inverted,
        "You drop entries and do not scale the others. The sums behind are then smaller in training than in "
        "evaluation, by the factor 1 - p: divide what stays by it.",
    ),
    (
        _scaled_in_evaluation_instead,
        "You scale by 1 - p in evaluation and not in training. That is dropout as it was first published, and the "
        "expectations agree; the inverted form scales in training, so that evaluation has nothing to do.",
    ),
    (
        _scaled_in_evaluation_too,
        "You scale in training and again in evaluation. Training has the right expectation already: in evaluation "
        "every entry passes as it is.",
    ),
    (
        _dropped_in_evaluation,
        "You drop entries in evaluation too. The same input would give another answer each time: look at `training`.",
    ),
    (
        _one_mask_for_the_batch,
        "You make one choice for the whole batch: every example loses the same entries. The choice is made for each "
        "entry, in the shape of x.",
    ),
    (
        _whole_rows,
        "You drop whole examples of the batch. The choice is made for each entry, in the shape of x.",
    ),
    (
        _kept_for_dropped,
        "You have kept and dropped exchanged: entries stay with probability p. p is the probability of being "
        "*dropped*, so an entry stays where the number drawn is at least p.",
    ),
    (
        _scaled_by_p,
        "You divide by p. An entry stays with probability 1 - p, so that is what keeps its expectation when you divide "
        "by it.",
    ),
    (
        _p_for_keeping,
        "You take p for the probability of keeping, as some older libraries do, and scale by 1 / p to match. Here p is "
        "the probability of being *dropped*: both the choice and the scale go by 1 - p.",
    ),
    (
        _another_choice_backward,
        "You draw anew for the backward. The gradient belongs to the choice that the forward made: draw once and use "
        "it for both.",
    ),
    (
        _gradient_passes,
        "You let the gradient pass as it came. A dropped entry had no influence on the loss, so its gradient is 0, and "
        "a scaled one had more.",
    ),
    (
        _gradient_not_scaled,
        "You drop entries of the gradient and do not scale the others. The slope of c x in x is c: the backward "
        "multiplies by what the forward multiplied by.",
    ),
    (
        _the_same_choice_always,
        "You make a generator of your own with a fixed seed, so that the same entries are dropped at every step and "
        "never learn. Draw from `rng`.",
    ),
)

_batch = np.arange(1.0, 36.0).reshape(5, 7)
PROBES = (
    (_batch, 0.25, True, np.random.default_rng(7), _batch**2),
    (_batch, 0.25, False, np.random.default_rng(7), _batch**2),
)
