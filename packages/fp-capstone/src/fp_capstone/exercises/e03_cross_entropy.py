r"""
The loss, and where the way back begins.

Level: implement. You need logarithms, exponentials and the chain rule. Derive first; `fp_capstone.cross_entropy` has
the answer.

For each of $N$ places the model has a row of $V$ logits, and a token $y_n$ came. The loss is the mean surprise in nats:

$$
\ell = \frac1N \sum_n \Big( \log \sum_j e^{z_{nj}} - z_{n, y_n} \Big).
$$

Compute it, and its gradient $\partial \ell / \partial z_{ni}$ with it: both need the same exponentials. Logits may be
large, where $e^z$ overflows. To take a number from all logits of a row, its largest for instance, changes nothing
(why?).

You learn what arrives at the top of every language model: belief minus truth.
"""

from typing import Any

import numpy as np

HINTS = (
    "One place: the slope of log(sum_j e^z_j) in z_i is e^z_i over that sum, which is the probability p_i; the slope "
    "of z_y in z_i is 1 for i = y and 0 for the others.",
    "So the gradient is p with 1 taken from the entry of the token that came, divided by N. Subtract the largest logit "
    "of each row first: it leaves the sum as a factor e^max and comes back as a summand, so the loss is the same.",
    "`e = np.exp(z - z.max(axis=1, keepdims=True))`, `p = e / e.sum(axis=1, keepdims=True)`, "
    "`p[np.arange(N), y] -= 1`, and everything over N. Take the loss from the shifted logits and the log of the sum, "
    "not from log(p), which may be log(0).",
)


def cross_entropy(z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """
    Mean loss in nats, and its gradient in the logits.

    Parameters
    ----------
    z
        Logits, floats of shape `(N, V)`.
    y
        The tokens that came, integers in `[0, V)` of shape `(N,)`.

    Returns
    -------
    loss : float
        The mean over the N places.
    dz : ndarray
        The gradient of that mean, of shape `(N, V)`.

    Examples
    --------
    >>> loss, dz = cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> round(loss, 4), dz.tolist()
    (1.3863, [[0.25, 0.25, -0.75, 0.25]])
    """
    places = np.arange(len(y))
    shifted = z - z.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - shifted[places, y]).mean())
    dz = e / total
    dz[places, y] -= 1
    return loss, dz / len(y)


def _drawn(N: int, V: int, seed: int, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return size * rng.normal(size=(N, V)), rng.integers(V, size=N)


_CASES = (
    ("one place, four equal logits", (np.zeros((1, 4)), np.array([2]))),
    ("one place, three logits", _drawn(1, 3, 0)),
    ("three places, three logits", _drawn(3, 3, 1)),
    ("five places, two logits", _drawn(5, 2, 2)),
    ("three places that wait for the same token", (_drawn(3, 5, 3)[0], np.array([4, 4, 4]))),
    ("logits near 2000", _drawn(2, 3, 4, 2000.0)),
)
PROBES = tuple(given for _, given in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, (z, y) in _CASES:
        got = learner.cross_entropy(z.copy(), y.copy())
        assert isinstance(got, tuple | list) and len(got) == 2, f"{case}: expected the loss and dz, got {got!r:.80}"
        loss, dz = got
        assert isinstance(loss, float | np.floating), f"{case}: the loss is a float, got {loss!r:.80}"
        expected = float(_loss(z, y).real)
        assert abs(float(loss) - expected) <= 1e-9 * max(1.0, expected), (  # a few roundings
            f"{case}: the loss is {expected:.8g} nats, yours is {loss:.8g}. It is the mean over the places of the "
            "negative natural logarithm of the probability of the token that came"
        )
        assert isinstance(dz, np.ndarray) and dz.dtype.kind == "f" and dz.shape == z.shape, (
            f"{case}: dz is an array of floats of shape {z.shape}, got "
            + (f"{dz.dtype} of shape {dz.shape}" if isinstance(dz, np.ndarray) else f"{dz!r:.80}")
        )
        for n, i in np.ndindex(z.shape):
            moved = z.astype(complex)
            moved[n, i] += 1e-100j  # a complex step: no difference is taken, so nothing cancels
            slope = _loss(moved, y).imag / 1e-100
            assert abs(dz[n, i] - slope) <= 1e-9, (
                f"{case}: the slope of the loss in z[{n}, {i}] is {slope:.8g}, yours is {dz[n, i]:.8g}; the token that "
                f"came at place {n} is {y[n]}. If that logit grows, its probability grows and takes from the others"
            )


def _loss(z: np.ndarray, y: np.ndarray) -> complex:
    """The formula, for logits that may be complex."""
    total = 0j
    for row, token in zip(z, y, strict=True):
        shift = row.real.max()
        total += shift + np.log(np.exp(row - shift).sum()) - row[token]
    return complex(total / len(y))


_Answer = tuple[float, np.ndarray]


def _mean_forgotten(z: np.ndarray, y: np.ndarray) -> _Answer:
    loss, dz = cross_entropy(z, y)
    return loss, dz * len(y)


def _sum_for_mean(z: np.ndarray, y: np.ndarray) -> _Answer:
    loss, dz = cross_entropy(z, y)
    return loss * len(y), dz * len(y)


def _truth_minus_belief(z: np.ndarray, y: np.ndarray) -> _Answer:
    loss, dz = cross_entropy(z, y)
    return loss, -dz


def _truth_forgotten(z: np.ndarray, y: np.ndarray) -> _Answer:
    loss, dz = cross_entropy(z, y)
    dz[np.arange(len(y)), y] += 1 / len(y)
    return loss, dz


def _columns_for_entries(z: np.ndarray, y: np.ndarray) -> _Answer:
    loss, _ = cross_entropy(z, y)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    dz = e / e.sum(axis=1, keepdims=True)
    dz[:, y] -= 1
    return loss, dz / len(y)


def _over_places(z: np.ndarray, y: np.ndarray) -> _Answer:
    e = np.exp(z - z.max(axis=0))
    with np.errstate(divide="ignore"):
        p = e / e.sum(axis=0)
        loss = float(-np.log(p[np.arange(len(y)), y]).mean())
    p[np.arange(len(y)), y] -= 1
    return loss, p / len(y)


def _not_shifted(z: np.ndarray, y: np.ndarray) -> _Answer:
    with np.errstate(all="ignore"):
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        loss = float(-np.log(p[np.arange(len(y)), y]).mean())
    p[np.arange(len(y)), y] -= 1
    return loss, p / len(y)


def _mean_over_entries(z: np.ndarray, y: np.ndarray) -> _Answer:
    loss, dz = cross_entropy(z, y)
    return loss, dz / z.shape[1]


MISTAKES = (
    (
        _mean_forgotten,
        "You forget the mean on the way back. The loss is divided by the number of places, and so is each row of its "
        "gradient.",
    ),
    (
        _sum_for_mean,
        "You sum the losses. It is their mean, in the loss and in the gradient, or the steps would grow with the "
        "batch.",
    ),
    (
        _truth_minus_belief,
        "Your sign is wrong: truth minus belief is the way down. The gradient points to where the loss grows, belief "
        "minus truth.",
    ),
    (
        _truth_forgotten,
        "You return the probabilities. The loss also has the term -z_y, whose slope takes 1 from the entry of the "
        "token that came.",
    ),
    (
        _columns_for_entries,
        "You write `[:, y] -= 1`, which reaches the columns of all the tokens in every row. Each row has one entry to "
        "lower: `[np.arange(N), y] -= 1`.",
    ),
    (
        _over_places,
        "You take the softmax over the places. The tokens of one place compete with each other: the last axis.",
    ),
    (
        _not_shifted,
        "You take exponentials of the logits as they are. Large ones overflow: subtract the largest of each row first.",
    ),
    (
        _mean_over_entries,
        "You divide the gradient by all entries of z. The loss is a mean over N places, not over N times V logits.",
    ),
)
