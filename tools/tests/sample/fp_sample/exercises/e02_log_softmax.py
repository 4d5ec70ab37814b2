r"""
A log-softmax that cannot overflow.

Level: implement. You need `fp_sample` up to its first claim.

Softmax turns scores into probabilities, and the loss takes their logarithm. Computed in that order it fails: at a score
of 1000 the exponential overflows, at -1000 the logarithm of zero is minus infinity. Write the two steps as one, so that
scores of any size give finite log-probabilities. Work along the **last** axis, for any number of leading axes.
"""

import numpy as np

HINTS = (
    "The claim `form.lse-shift` lets you subtract any number from all scores of a row. Which one is safe?",
    "Subtract the row's maximum. Then log p_i = z_i - log(sum_j exp(z_j)).",
    "Keep the reduced axis (`keepdims=True`), or the subtraction lines up with the wrong axis.",
)


def log_softmax(z: np.ndarray) -> np.ndarray:
    """Log-probabilities, in nats, along the last axis of `z`; the same shape as `z`."""
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def check(learner) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    got = learner.log_softmax(np.array([[0.0, np.log(3.0)]]))
    assert np.allclose(got, np.log([[0.25, 0.75]])), (
        f"scores [0, log 3] mean probabilities [1/4, 3/4]; got {np.exp(got)}"
    )
    z = np.random.default_rng(0).normal(size=(2, 3, 5))
    got = learner.log_softmax(z)
    assert got.shape == z.shape, f"expected shape {z.shape}, got {got.shape}"
    assert np.allclose(np.exp(got).sum(axis=-1), 1), "each row along the last axis must sum to 1 after exp"
    for size in (1e3, 1e30):
        got = learner.log_softmax(np.array([-size, 0.0, size]))
        expected = np.array([-2 * size, -size, 0.0])
        assert np.allclose(got, expected), f"scores of -{size:g}, 0, {size:g} must give {expected}; got {got}"


def _log_of_softmax(z):
    p = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    return np.log(p)


def _first_axis(z):
    shifted = z - z.max(axis=0, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))


def _clipped(z):
    p = np.exp(np.clip(z, -80, 80))
    return np.log(p / p.sum(axis=-1, keepdims=True) + 1e-12)


MISTAKES = (
    (
        _log_of_softmax,
        "You take the logarithm of a finished softmax: exp overflows first. Join the two steps and cancel.",
    ),
    (_first_axis, "You normalise down the columns. The vocabulary is the last axis."),
    (
        _clipped,
        "Clipping and adding 1e-12 hide the overflow by changing the answer. Shift by the maximum: it changes nothing.",
    ),
)
