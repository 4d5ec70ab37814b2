r"""
The way back through a low-rank update.

Level: implement. You need `fp_peft.lora`.

A layer computes $Y = X W^\top + s\, X A^\top B^\top$ for rows $X$, with frozen weights $W \in \mathbb{R}^{m \times n}$,
trained factors $A \in \mathbb{R}^{r \times n}$ and $B \in \mathbb{R}^{m \times r}$, and a number $s$. The gradient of a
loss in $Y$ has arrived, $G$. What are the gradients in $X$, in $A$ and in $B$?

Never form a matrix of $m \times n$ numbers on the way, neither $B A$ nor $G^\top X$: with $r$ much smaller than $m$ and
$n$ that is where the saving is. No automatic differentiation, please.

You learn that there are three gradients, and that the third reaches the layers below.
"""

from typing import Any

import numpy as np

HINTS = (
    "Name the middle: H = X A', so that Y = X W' + s H B'. What are the gradients of B and of H, if that of Y is G?",
    "H is a linear layer of X with the weights A: its gradient gives that of A, and a second part of that of X.",
    "`dH = s * G @ B`, `dB = s * G.T @ H`, `dA = dH.T @ X`, `dX = G @ W + dH @ A`.",
)


def lora_backward(
    g: np.ndarray, x: np.ndarray, w: np.ndarray, a: np.ndarray, b: np.ndarray, s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Gradients of a loss in the input and the factors of a layer with a low-rank update.

    Parameters
    ----------
    g
        The gradient in the output, shape `(R, m)`.
    x
        The input, `(R, n)`.
    w, a, b
        The frozen weights `(m, n)`, and the factors `(r, n)` and `(m, r)`.
    s
        The scale of the update.

    Returns
    -------
    dx, da, db : ndarray
        Of the shapes of `x`, `a` and `b`.

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> [float(d[0, 0]) for d in lora_backward(one, 2 * one, 3 * one, 5 * one, 7 * one, 0.5)]
    [20.5, 7.0, 5.0]
    """
    h, dh = x @ a.T, s * (g @ b)
    return g @ w + dh @ a, dh.T @ x, s * (g.T @ h)


_Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]


def _drawn(R: int, m: int, n: int, r: int, s: float, seed: int) -> _Case:
    rng = np.random.default_rng(seed)
    g, x, w, a, b = (rng.normal(size=shape) for shape in ((R, m), (R, n), (m, n), (r, n), (m, r)))
    return g, x, w, a, b, s


_CASES = (
    ("one row of rank one", _drawn(1, 3, 4, 1, 1.0, 0)),
    ("three rows of rank two", _drawn(3, 4, 5, 2, 1.0, 1)),
    ("a scale of 0.25", _drawn(3, 5, 4, 2, 0.25, 2)),
    ("a square layer", _drawn(4, 3, 3, 3, 2.0, 3)),
)
PROBES = tuple(case for _, case in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, case in _CASES:
        s = case[5]
        got = learner.lora_backward(*(p.copy() for p in case[:5]), s)
        assert isinstance(got, tuple | list) and len(got) == 3, (
            f"{name}: expected the gradients in x, a and b, got {got!r:.80}"
        )
        for what, gradient, place in (("b", got[2], 4), ("a", got[1], 3), ("x", got[0], 1)):
            like = case[place]
            assert isinstance(gradient, np.ndarray) and gradient.shape == like.shape, (  # type: ignore[union-attr]
                f"{name}: the gradient in {what} has the shape {like.shape}, got {np.shape(gradient)}"  # type: ignore[union-attr]
            )
            for i in np.ndindex(gradient.shape):
                expected = _slope(case, place, i)
                # a complex step is exact to rounding, near 1e-15
                assert abs(gradient[i] - expected) <= 1e-9 * max(1.0, abs(expected)), (
                    f"{name}: the slope of the loss in {what} at {list(i)} is {expected:.8g}, "
                    f"yours is {gradient[i]:.8g}"
                )


def _slope(case: _Case, place: int, i: tuple[int, ...]) -> float:
    """The slope of sum(g * y) in one number, by a complex step: no difference is taken, so nothing cancels."""
    moved: list[Any] = [np.array(p, complex) for p in case[:5]]
    moved[place][i] += 1e-100j
    g, x, w, a, b = moved
    return float((g * (x @ w.T + case[5] * (x @ a.T) @ b.T)).sum().imag / 1e-100)


_Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]


def _frozen_path_alone(g: Any, x: Any, w: Any, a: Any, b: Any, s: float) -> _Gradients:
    return g @ w, *lora_backward(g, x, w, a, b, s)[1:]


def _update_path_alone(g: Any, x: Any, w: Any, a: Any, b: Any, s: float) -> _Gradients:
    return s * (g @ b) @ a, *lora_backward(g, x, w, a, b, s)[1:]


def _no_scale(g: Any, x: Any, w: Any, a: Any, b: Any, s: float) -> _Gradients:
    return lora_backward(g, x, w, a, b, 1.0)


def _scale_in_one_factor(g: Any, x: Any, w: Any, a: Any, b: Any, s: float) -> _Gradients:
    dx, da, _ = lora_backward(g, x, w, a, b, s)
    return dx, da, g.T @ (x @ a.T)


def _mean_over_rows(g: Any, x: Any, w: Any, a: Any, b: Any, s: float) -> _Gradients:
    dx, da, db = lora_backward(g, x, w, a, b, s)
    return dx, da / len(x), db / len(x)


def _exchanged(g: Any, x: Any, w: Any, a: Any, b: Any, s: float) -> _Gradients:
    dx, da, db = lora_backward(g, x, w, a, b, s)
    return dx, db, da


MISTAKES = (
    (
        _frozen_path_alone,
        "You send the gradient of the input through W alone. The input acts through the factors too, and everything "
        "below this layer would be trained with a wrong gradient.",
    ),
    (_update_path_alone, "You send the gradient of the input through the factors alone. W is frozen, not absent."),
    (_no_scale, "You leave out the scale s on the way back. A factor forward is the same factor back."),
    (_scale_in_one_factor, "You scale the gradient of one factor and not the other. Both stand behind the same s."),
    (_mean_over_rows, "You average over the rows. The loss counts each row, so the gradients of the rows add."),
    (_exchanged, "You return the gradients in another order: first the input's, then that of a, then that of b."),
)
