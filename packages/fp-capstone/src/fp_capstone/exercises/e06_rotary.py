r"""
Back through a rotation.

Level: implement. You need sine and cosine. Derive first; `fp_capstone.rotary` has the answer.

Rotary positions turn queries and keys by angles that grow with the position. A head of $D$ numbers is read as $D/2$
points of the plane: entries $i$ and $i + D/2$ are the two coordinates of point $i$. At position $t$ it is turned by the
angle $\varphi_{ti}$, in every head alike:

$$
\begin{aligned}
y_i &= x_i \cos \varphi_{ti} - x_{i + D/2} \sin \varphi_{ti}, \\
y_{i + D/2} &= x_i \sin \varphi_{ti} + x_{i + D/2} \cos \varphi_{ti} .
\end{aligned}
$$

The gradient of the loss in $y$ has arrived, together with the cosines and sines. What is it in $x$?

Which outputs does $x_i$ touch, and with which slopes? Which ones does $x_{i + D/2}$ touch? Then say in words what you
have found.
"""

from typing import Any

import numpy as np

HINTS = (
    "x_i goes into y_i with the slope cos and into y_(i + D/2) with the slope sin. x_(i + D/2) goes into y_i with the "
    "slope -sin and into y_(i + D/2) with the slope cos.",
    "The gradient of a linear map is its transposed matrix. That of a rotation is the rotation by the opposite angle: "
    "the sines change their sign.",
    "With `g1, g2 = np.split(g, 2, axis=-1)` and `c, s = cos[:, None], sin[:, None]`, which adds the axis of heads: "
    "`np.concatenate((g1 * c + g2 * s, g2 * c - g1 * s), axis=-1)`.",
)


def rotary_backward(g: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """
    Gradient of a loss in vectors that were turned by their positions.

    Parameters
    ----------
    g
        The gradient of the loss in the turned vectors, floats of shape `(B, T, H, D)`, D even.
    cos, sin
        Of the angle of each position and point, `(T, D / 2)`.

    Returns
    -------
    dx : ndarray
        In the shape of `g`.

    Examples
    --------
    One vector, turned by a quarter:

    >>> g = np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    >>> rotary_backward(g, np.array([[0.0]]), np.array([[1.0]])).ravel().tolist()
    [1.0, 0.0]
    """
    g1, g2 = np.split(g, 2, axis=-1)
    c, s = cos[:, None], sin[:, None]  # T 1 D/2
    return np.concatenate((g1 * c + g2 * s, g2 * c - g1 * s), axis=-1)


def _drawn(B: int, T: int, H: int, D: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    angles = np.arange(T)[:, None] * rng.uniform(0.3, 1.2, D // 2)
    return rng.normal(size=(B, T, H, D)), np.cos(angles), np.sin(angles)


_HALF, _ROOT = np.array([[0.5]]), np.array([[0.75**0.5]])  # cosine and sine of 60 degrees
_CASES = (
    (
        "one vector of two, turned by 60 degrees",
        (np.array([[[[1.0, 2.0]]]]), np.array([[0.5]]), np.array([[0.75**0.5]])),
    ),
    ("three positions, one head of two", _drawn(1, 3, 1, 2, 1)),
    ("three positions, three heads of four", _drawn(1, 3, 3, 4, 2)),  # T = H: a wrong axis runs
    ("two texts of five positions, three heads of six", _drawn(2, 5, 3, 6, 3)),
)
PROBES = tuple(given for _, given in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, (g, cos, sin) in _CASES:
        got = learner.rotary_backward(g.copy(), cos.copy(), sin.copy())
        assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == g.shape, (
            f"{case}: dx is an array of floats of shape {g.shape}, got "
            + (f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else f"{got!r:.80}")
        )
        half = g.shape[3] // 2
        for b, t, h, i in np.ndindex(g.shape):
            point = i % half
            c, s = cos[t, point], sin[t, point]
            slopes = (c, s) if i < half else (-s, c)  # of the point's two coordinates in x_i
            expected = slopes[0] * g[b, t, h, point] + slopes[1] * g[b, t, h, point + half]
            assert abs(got[b, t, h, i] - expected) <= 1e-12, (  # two products near 1
                f"{case}: dx[{b}, {t}, {h}, {i}] is {expected:.8g}, yours is {got[b, t, h, i]:.8g}. x[{i}] goes into "
                f"y[{point}] with the slope {slopes[0]:.4g} and into y[{point + half}] with the slope {slopes[1]:.4g}"
            )


def _turned_on(g: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    return rotary_backward(g, cos, -sin)


def _neighbours_paired(g: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    D = g.shape[-1]
    order = np.argsort(np.arange(D) % 2, kind="stable")  # even entries, then odd ones
    turned = np.empty_like(g)
    turned[..., order] = rotary_backward(g[..., order], cos, sin)
    return turned


def _heads_for_positions(g: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    g1, g2 = np.split(g, 2, axis=-1)
    return np.concatenate((g1 * cos + g2 * sin, g2 * cos - g1 * sin), axis=-1)


def _sines_left_out(g: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    return rotary_backward(g, cos, np.zeros_like(sin))


def _both_signs_minus(g: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    return rotary_backward(g, -cos, -sin)


def _halves_exchanged(g: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    return np.roll(rotary_backward(g, cos, sin), g.shape[-1] // 2, axis=-1)


MISTAKES = (
    (
        _turned_on,
        "You turn the gradient on, in the direction of the way forward. The transposed matrix of a rotation turns by "
        "the opposite angle: the sines change their sign.",
    ),
    (
        _neighbours_paired,
        "You pair neighbours, entries 2i and 2i + 1. Here the coordinates of a point stand half a head apart, as they "
        "do in the Llama family's files.",
    ),
    (
        _heads_for_positions,
        "You let the angles grow with the head. They belong to the positions, axis 1: give them an axis for the heads "
        "with `cos[:, None]`.",
    ),
    (
        _sines_left_out,
        "You leave the sines out. Each coordinate went into both coordinates of its point, and both gradients come "
        "back.",
    ),
    (
        _both_signs_minus,
        "You change the sign of the cosines too. That is another half turn: the opposite angle has the same cosine.",
    ),
    (
        _halves_exchanged,
        "You exchange the halves of the head. The gradient of entry i stands at i.",
    ),
)
