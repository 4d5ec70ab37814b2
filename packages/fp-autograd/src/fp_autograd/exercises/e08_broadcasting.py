r"""
Broadcasting's gradient.

Level: implement. You need `fp_autograd.rules`.

A bias of shape $(C,)$ is added to a batch of shape $(B, C)$ as if it were written out $B$ times. On the way forward
the copies cost nothing. On the way back each copy has a gradient of its own, and the bias has only one: every copy
moves when the bias moves, so its slope is the sum of theirs.

In general, let $y$ be $x$ broadcast to a larger shape. Each entry of $y$ is a copy of one entry of $x$, and the
gradient of $x_j$ adds up the gradients $g_i$ of all entries $y_i$ that were copied from it. NumPy copies along an axis
for two reasons. The axis is *missing* in $x$: shapes are aligned at their last axes and filled up with ones in front.
Or the axis is there and has *size one*. Undo both, and return the shape that $x$ had.

Write it once and every operation of two arrays can use it: compute the gradient as if there were no broadcasting, then
bring it to the shape of the operand. In a transformer it is what turns the gradients of all tokens into the one
gradient of a bias or of a normalisation's gain.
"""

from typing import Any

import numpy as np

HINTS = (
    "Take g of shape (5, 3). If x had shape (3,), over which axis do you sum? And if it had shape (5, 1)? What must "
    "the shape of the result be in each case?",
    "There are `g.ndim - len(shape)` missing axes, and they are the first ones. Sum over those, and g has as many axes "
    "as x; then sum over the axes where `shape` is 1.",
    "`g.sum(axis=tuple(range(missing)))`, then `.sum(axis=..., keepdims=True)`: an axis of size one stays, a missing "
    "one goes. `axis=()` sums over nothing.",
)


def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """
    Gradient of an array that was broadcast, from the gradient of what it was broadcast to.

    Parameters
    ----------
    g
        Gradient of the broadcast array, a shape to which `shape` broadcasts.
    shape
        The shape before broadcasting; `()` for a single number.

    Returns
    -------
    ndarray
        The sum of `g` over all copies of each entry, of shape `shape`.

    Examples
    --------
    >>> g = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    >>> unbroadcast(g, (3,)).tolist()
    [11.0, 22.0, 33.0]
    >>> unbroadcast(g, (2, 1)).tolist()
    [[6.0], [60.0]]
    >>> unbroadcast(g, (2, 3)).tolist()
    [[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]
    """
    missing = g.ndim - len(shape)
    g = np.asarray(g.sum(axis=tuple(range(missing))))
    stretched = tuple(i for i, size in enumerate(shape) if size == 1)
    return np.asarray(g.sum(axis=stretched, keepdims=True))


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(8)
    for large, shape in (
        ((2, 3), (3,)),
        ((2, 3), (1, 3)),
        ((2, 3), (2, 1)),
        ((2, 3), (2, 3)),
        ((2, 3), ()),
        ((3, 3), (3,)),
        ((3, 3), (3, 1)),
        ((5,), (1,)),
        ((7, 2, 5, 3), (2, 1, 3)),
        ((7, 2, 5, 3), (1, 2, 5, 1)),
        ((2, 1, 3), (1, 3)),
        ((0, 3), (1, 3)),
    ):
        g = rng.integers(-9, 10, size=large).astype(float)  # whole numbers: their sums are exact
        case = f"shape {shape} broadcast to {large}"
        got = learner.unbroadcast(g.copy(), shape)
        assert isinstance(got, (np.ndarray, np.generic)) and got.dtype.kind in "iuf", (
            f"{case}: expected an array of numbers, got {got!r:.80}"
        )
        got = np.asarray(got)  # a sum over all axes may come as a single number of NumPy's
        assert got.shape == shape, f"{case}: the gradient of x has the shape of x, {shape}, but yours has {got.shape}"
        expected, copies = _collect(g, shape)
        for j in np.ndindex(shape):
            place = ", ".join(map(str, j))
            assert np.isclose(got[j], expected[j], rtol=0, atol=1e-9), (
                f"{case}: x[{place}] was copied to {copies} places. Expected the sum of their gradients, "
                f"{expected[j]:g}, got {got[j]:g}. All of g: {g.tolist()!s:.200}"
            )


def _collect(g: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Every entry of `g` added at the place it was copied from, one by one, and the number of copies of an entry."""
    source = np.broadcast_to(np.arange(np.prod(shape, dtype=int)).reshape(shape), g.shape)
    total = np.zeros(max(1, int(np.prod(shape))))
    for place, value in zip(source.ravel().tolist(), g.ravel().tolist(), strict=True):
        total[place] += value
    return total.reshape(shape), source.size // len(total)


def _not_summed(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return g


def _one_of_the_copies(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    g = g[(0,) * (g.ndim - len(shape))]
    return np.asarray(g[tuple(slice(1) if size == 1 else slice(None) for size in shape)])


def _mean_of_the_copies(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    g = np.asarray(g.mean(axis=tuple(range(g.ndim - len(shape)))))
    return np.asarray(g.mean(axis=tuple(i for i, size in enumerate(shape) if size == 1), keepdims=True))


def _aligned_at_the_front(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    g = np.asarray(g.sum(axis=tuple(range(len(shape), g.ndim))))
    return np.asarray(g.sum(axis=tuple(i for i, size in enumerate(shape) if size == 1), keepdims=True))


def _axes_of_size_one_lost(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    missing = g.ndim - len(shape)
    stretched = tuple(missing + i for i, size in enumerate(shape) if size == 1)
    return np.asarray(g.sum(axis=(*range(missing), *stretched)))


def _missing_axes_kept(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    missing = g.ndim - len(shape)
    stretched = tuple(missing + i for i, size in enumerate(shape) if size == 1)
    return np.asarray(g.sum(axis=(*range(missing), *stretched), keepdims=True))


def _missing_axes_only(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(g.sum(axis=tuple(range(g.ndim - len(shape)))))


def _first_axis_always(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(g if g.shape == shape else g.sum(axis=0, keepdims=g.ndim == len(shape)))


MISTAKES = (
    (
        _not_summed,
        "You hand on the gradient of the broadcast array, in its shape. x is smaller: add up the gradients of the "
        "copies of each entry.",
    ),
    (
        _one_of_the_copies,
        "You take the gradient of the first copy. All copies move with x, so its gradient is the sum over all of them.",
    ),
    (
        _mean_of_the_copies,
        "You average over the copies. Moving x moves every copy by as much, so their effects add: take the sum.",
    ),
    (
        _aligned_at_the_front,
        "You align the shapes at their first axes. Broadcasting aligns them at the last, so the missing axes are in "
        "front.",
    ),
    (
        _axes_of_size_one_lost,
        "You sum over an axis of size one and drop it. x has that axis: keep it with keepdims=True.",
    ),
    (
        _missing_axes_kept,
        "You keep the missing axes with size one. x does not have them: only the axes of size one that x has may stay.",
    ),
    (
        _missing_axes_only,
        "You sum over the missing axes alone. An axis of size one was stretched by copying as well.",
    ),
    (
        _first_axis_always,
        "You sum over the first axis whatever the shape. Sum over the axes that are missing or of size one in x, which "
        "may be several or others.",
    ),
)

PROBES = (
    (np.arange(1.0, 10.0).reshape(3, 3) ** 2, (3,)),
    (np.arange(1.0, 10.0).reshape(3, 3) ** 2, (3, 1)),
    (np.arange(1.0, 10.0).reshape(3, 3) ** 2, (1, 3)),
    (np.arange(1.0, 10.0).reshape(3, 3) ** 2, ()),
    (np.arange(1.0, 28.0).reshape(3, 3, 3) ** 2, (1, 3)),
    (np.arange(1.0, 28.0).reshape(3, 3, 3) ** 2, (3, 1, 3)),
)
