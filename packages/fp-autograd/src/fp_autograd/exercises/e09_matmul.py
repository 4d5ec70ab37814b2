r"""
The gradient of a matrix product.

Level: implement. You need `fp_autograd.rules`, and the exercise on broadcasting.

Let $Y = AB$ with $A$ of shape $(T, K)$ and $B$ of shape $(K, N)$, so that $Y_{tn} = \sum_k A_{tk} B_{kn}$. A loss $L$
depends on $Y$, and $G$ of shape $(T, N)$ holds its slopes, $G_{tn} = \partial L / \partial Y_{tn}$. One entry $A_{tk}$
takes part in every $Y_{tn}$ of its row, each time with the factor $B_{kn}$; so

$$\frac{\partial L}{\partial A_{tk}} = \sum_n G_{tn} B_{kn},$$

and $B_{kn}$ takes part in every $Y_{tn}$ of its column. Write down its sum too, read both as matrix products, and turn
them into code.

Then make it work for batches. In front of the last two axes $A$ and $B$ may have others; `A @ B` multiplies matrix by
matrix along them, and broadcasts where one operand lacks an axis or has size one there. Where $A$ has the
shape $(M, T, K)$ and $B$ is a single weight matrix of shape $(K, N)$, that one matrix is used $M$ times, and its
gradient is one matrix too.

Nearly all arithmetic of a large model is matrix products, and these two lines are why its backward pass costs twice
its forward pass: one product forward, two back, all of the same size.
"""

from typing import Any

import numpy as np

HINTS = (
    "Use the shapes. G is (T, N), B is (K, N), and dA must be (T, K): which of the two has to be transposed, and on "
    "which side does it stand? The sum over n says the same.",
    "dA = G B^T and dB = A^T G. With axes in front, transpose the last two alone: `np.swapaxes(b, -1, -2)`. `b.T` "
    "reverses all axes.",
    "Where an operand was broadcast along an axis in front, its gradient comes out too large: sum it over the axes "
    "that the operand lacks or has with size one. Your `unbroadcast` from the exercise before does this; paste it in.",
)


def matmul_backward(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Gradients of both factors of `a @ b`.

    Parameters
    ----------
    a
        Left factor, shape `(*batch_a, T, K)`.
    b
        Right factor, shape `(*batch_b, K, N)`; `batch_a` and `batch_b` broadcast to each other, and may be empty.
    g
        Gradient of the product, shape `(*batch, T, N)`, that of `a @ b`.

    Returns
    -------
    (ndarray, ndarray)
        The gradient of `a`, of the shape of `a`, and the gradient of `b`, of the shape of `b`.

    Examples
    --------
    >>> a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0, 5.0], [6.0, 7.0, 8.0]])
    >>> da, db = matmul_backward(a, b, g=np.array([[1.0, 0.0, 10.0]]))
    >>> da.tolist(), db.tolist()
    ([[53.0, 86.0]], [[1.0, 0.0, 10.0], [2.0, 0.0, 20.0]])

    One matrix b for a batch of two:

    >>> da, db = matmul_backward(np.stack([a, a]), b, g=np.ones((2, 1, 3)))
    >>> da.shape, db.tolist()
    ((2, 1, 2), [[2.0, 2.0, 2.0], [4.0, 4.0, 4.0]])
    """
    da = g @ np.swapaxes(b, -1, -2)
    db = np.swapaxes(a, -1, -2) @ g
    return _unbroadcast(da, a.shape), _unbroadcast(db, b.shape)


def _unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum over the axes along which an array of this shape was copied."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return np.asarray(g.sum(axis=tuple(i for i, size in enumerate(shape) if size == 1), keepdims=True))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(9)
    for shape_a, shape_b in (
        ((2, 2), (2, 2)),  # square first: a wrong factor then gives a wrong number, which says more than a wrong shape
        ((5, 2), (2, 3)),
        ((3, 3, 3), (3, 3, 3)),
        ((2, 5, 7), (2, 7, 3)),
        ((7, 5, 2), (2, 3)),
        ((5, 2), (7, 2, 3)),
        ((7, 1, 3, 2), (5, 2, 3)),
        ((2, 5, 1), (1, 1, 3)),
    ):
        # whole numbers: sums and products are exact
        a, b = (rng.integers(-5, 6, size=shape).astype(float) for shape in (shape_a, shape_b))
        g = rng.integers(-5, 6, size=(a @ b).shape).astype(float)
        got = learner.matmul_backward(a.copy(), b.copy(), g.copy())
        case = f"a of shape {shape_a}, b of shape {shape_b}, g of shape {g.shape}"
        assert isinstance(got, (tuple, list)) and len(got) == 2, (
            f"{case}: expected two arrays, the gradients of a and of b, got {got!r:.80}"
        )
        for name, operand, gradient in (("a", a, got[0]), ("b", b, got[1])):
            assert isinstance(gradient, np.ndarray) and gradient.dtype.kind in "iuf", (
                f"{case}: expected an array of numbers as the gradient of {name}, got {gradient!r:.80}"
            )
            assert gradient.shape == operand.shape, (
                f"{case}: the gradient of {name} has the shape of {name}, {operand.shape}, but yours has "
                f"{gradient.shape}"
            )
            for i in np.ndindex(operand.shape):
                # L = sum(g * (a @ b)) is linear in one entry: its slope is what a step of one changes
                step = np.zeros_like(operand)
                step[i] = 1
                expected = float((g * (step @ b if name == "a" else a @ step)).sum())
                place = ", ".join(map(str, i))
                assert np.isclose(gradient[i], expected, rtol=0, atol=1e-9), (
                    f"{case}: with L = sum(g * (a @ b)), raising {name}[{place}] by one changes L by {expected:g}, so "
                    f"this is the gradient there; yours is {gradient[i]:g}"
                )


def _swap(x: np.ndarray) -> np.ndarray:
    return np.swapaxes(x, -1, -2)


def _not_transposed(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return g @ b, a @ g


def _order_swapped(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _swap(b) @ g, g @ _swap(a)


def _g_transposed(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _swap(g) @ _swap(b), _swap(a) @ _swap(g)


def _results_transposed(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    da, db = matmul_backward(a, b, g)
    return _swap(da), _swap(db)


def _all_axes_reversed(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return g @ b.T, a.T @ g


def _batch_not_summed(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return g @ _swap(b), _swap(a) @ g


def _batch_averaged(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    da, db = matmul_backward(a, b, g)
    n_a, n_b, n = (x[..., 0, 0].size for x in (a, b, g))
    return da * n_a / n, db * n_b / n


def _gradients_swapped(a: np.ndarray, b: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    da, db = matmul_backward(a, b, g)
    return db, da


MISTAKES = (
    (
        _not_transposed,
        "You multiply by the factors as they are. The sum runs over n, the last index of G and of B, so the factor is "
        "transposed: dA = G B^T, dB = A^T G.",
    ),
    (
        _order_swapped,
        "You transpose the right factors and put them on the wrong side. Matrix products do not commute: each factor "
        "stays on the side where it stood, dA = G B^T and dB = A^T G.",
    ),
    (
        _g_transposed,
        "You transpose G. It has the shape of the product already; what is transposed is the other factor.",
    ),
    (
        _results_transposed,
        "Your gradients come out transposed. A gradient has the shape of its array, entry for entry.",
    ),
    (
        _all_axes_reversed,
        "You transpose with .T, which reverses all axes, those of the batch too. Swap the last two alone.",
    ),
    (
        _batch_not_summed,
        "You leave the batch axes along which a factor was broadcast. One matrix was used for all of them, so its "
        "gradient is the sum over them.",
    ),
    (
        _batch_averaged,
        "You average over the batch axes along which a factor was broadcast. The uses of a matrix add up; a mean "
        "belongs to the loss, and if there is one it is in g already.",
    ),
    (
        _gradients_swapped,
        "You return the gradient of b first. They come in the order of the arguments: a, then b.",
    ),
)

_square = np.arange(1.0, 9.0).reshape(2, 2, 2)
PROBES = (
    (_square[0], _square[1] ** 2, _square[0] ** 3),
    (_square, _square**2, _square**3 + 1),
    (_square, _square[0] ** 2, _square**3),
    (_square[1], _square**2, _square**2 - _square),
)
