r"""
Back along the residual stream.

Level: implement. You need the chain rule. Derive first; `fp_capstone.block` has the answer.

A transformer is a line with branches beside it. Branch $l$ reads the stream and adds what it found, after dropout has
multiplied it by factors $m_l$, entry by entry:

$$
x_{l+1} = x_l + m_l \odot f_l(x_l), \qquad l = 0, \dots, L - 1 .
$$

The gradient of the loss in $x_L$ has arrived. What is it in $x_0$? How to go back through a branch is known already:
`backs[l]` is a function that takes a gradient in the output of $f_l$ and returns the gradient in its input, at the
$x_l$ of this forward pass. All gradients have the shape of $x$.

How many paths lead from $x_l$ to $x_{l+1}$? What comes back along each of them?

You learn why a gradient can pass a hundred layers, and write the loop that goes through all of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

HINTS = (
    "Two paths lead from x_l to x_(l+1), the stream itself with the slope 1, and the branch. What comes back along "
    "both adds up.",
    "The last branch comes first. In front of `backs[l]` the gradient is multiplied by the mask that the branch's "
    "output was multiplied by; the stream was not multiplied by anything.",
    "`for back, mask in zip(reversed(backs), reversed(masks)): g = g + back(g * mask)`.",
)


def stream_backward(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    """
    Gradient of a loss at the beginning of a residual stream.

    Parameters
    ----------
    g
        The gradient of the loss at the end of the stream, floats of any shape.
    backs
        For each branch, the first one first: from a gradient in its output to the gradient in its input.
    masks
        What dropout multiplied the output of each branch by, arrays of the shape of `g`.

    Returns
    -------
    dx : ndarray
        In the shape of `g`.

    Examples
    --------
    One branch that multiplies by 10, half of whose output was erased:

    >>> stream_backward(np.array([1.0, 2.0]), [lambda g: 10 * g], [np.array([0.0, 2.0])]).tolist()
    [1.0, 42.0]
    """
    for back, mask in zip(reversed(backs), reversed(masks), strict=True):
        g = g + back(g * mask)
    return g


_Branch = tuple[np.ndarray, np.ndarray]
_Drawn = tuple[np.ndarray, np.ndarray, list[_Branch], list[np.ndarray]]


def _forward(x: np.ndarray, branches: list[_Branch], masks: list[np.ndarray]) -> list[np.ndarray]:
    """The stream before and after each branch, of which branch l is tanh(x A_l) B_l."""
    stream = [x]
    for (A, B), mask in zip(branches, masks, strict=True):
        stream.append(stream[-1] + mask * (np.tanh(stream[-1] @ A) @ B))
    return stream


def _drawn(N: int, C: int, L: int, seed: int, rate: float = 0.0) -> _Drawn:
    rng = np.random.default_rng(seed)
    g, x = rng.normal(size=(2, N, C))
    branches = [(rng.normal(size=(C, C)), rng.normal(size=(C, C))) for _ in range(L)]
    return g, x, branches, [(rng.random((N, C)) >= rate) / (1 - rate) for _ in range(L)]


def _back(x: np.ndarray, A: np.ndarray, B: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda g: (g @ B.T * (1 - np.tanh(x @ A) ** 2)) @ A.T


_CASES: tuple[tuple[str, _Drawn], ...] = (
    ("no branch", _drawn(1, 2, 0, 0)),
    ("one branch", _drawn(1, 3, 1, 1)),
    ("two branches", _drawn(2, 3, 2, 2)),
    ("one branch, a third erased by dropout", _drawn(3, 2, 1, 3, 1 / 3)),
    ("four branches, half erased by dropout", _drawn(2, 3, 4, 4, 0.5)),
)


def _arguments(case: _Drawn) -> tuple[np.ndarray, list[Callable[[np.ndarray], np.ndarray]], list[np.ndarray]]:
    g, x, branches, masks = case
    stream = _forward(x, branches, masks)
    return g, [_back(before, *branch) for before, branch in zip(stream[:-1], branches, strict=True)], masks


PROBES = tuple(_arguments(case) for _, case in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for (case, (g, x, branches, masks)), (_, backs, _) in zip(_CASES, PROBES, strict=True):
        got = learner.stream_backward(g.copy(), list(backs), [mask.copy() for mask in masks])
        assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == x.shape, (
            f"{case}: dx is an array of floats of shape {x.shape}, got "
            + (f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else f"{got!r:.80}")
        )
        for i in np.ndindex(x.shape):
            moved = x.astype(complex)
            moved[i] += 1e-100j  # a complex step: no difference is taken, so nothing cancels
            slope = float((g * _forward(moved, branches, masks)[-1]).sum().imag / 1e-100)
            # four branches multiply by up to ten each: rounding stays below 1e-12
            assert abs(got[i] - slope) <= 1e-9 * max(1.0, abs(slope)), (
                f"{case}: dx{list(i)} is {slope:.8g}, yours is {got[i]:.8g}. From the end back, each branch: what "
                "arrives goes on along the stream unchanged, and what comes back through the branch is added"
            )


def _stream_forgotten(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    for back, mask in zip(reversed(backs), reversed(masks), strict=True):
        g = back(g * mask)
    return g


def _branches_forgotten(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    return g


def _first_branch_first(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    return stream_backward(g, backs[::-1], masks[::-1])


def _masks_in_the_wrong_order(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    return stream_backward(g, backs, masks[::-1])


def _end_given_to_all(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    return np.asarray(g + sum(back(g * mask) for back, mask in zip(backs, masks, strict=True)))


def _mask_forgotten(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    return stream_backward(g, backs, [np.ones_like(g) for _ in masks])


def _fresh_masks(g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]) -> np.ndarray:
    rng = np.random.default_rng(11)
    return stream_backward(g, backs, [(rng.random(g.shape) < 1 / m.max()) * m.max() for m in masks])


def _mask_behind_the_branch(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    for back, mask in zip(reversed(backs), reversed(masks), strict=True):
        g = g + back(g) * mask
    return g


def _mask_on_the_stream(
    g: np.ndarray, backs: list[Callable[[np.ndarray], np.ndarray]], masks: list[np.ndarray]
) -> np.ndarray:
    for back, mask in zip(reversed(backs), reversed(masks), strict=True):
        g = g * mask + back(g * mask)
    return g


MISTAKES = (
    (
        _stream_forgotten,
        "You forget the stream. Beside the branch x_l goes into x_(l+1) as it is, and what arrives comes back "
        "unchanged as well: add it.",
    ),
    (
        _branches_forgotten,
        "You hand the gradient on along the stream alone. Every branch read the stream too, and what comes back "
        "through it is added.",
    ),
    (
        _first_branch_first,
        "You begin with the first branch. The way back begins at the end: what arrives at a branch has been through "
        "all branches behind it.",
    ),
    (
        _masks_in_the_wrong_order,
        "You go through the branches from the last and through the masks from the first. Each branch has a mask of "
        "its own: turn both lists round.",
    ),
    (
        _end_given_to_all,
        "You give each branch the gradient of the end. Branch l acts through all branches behind it as well: it gets "
        "what has arrived at x_(l+1).",
    ),
    (
        _mask_forgotten,
        "You forget dropout on the way back. What was erased on the way forward has no gradient.",
    ),
    (
        _fresh_masks,
        "You draw new masks on the way back. The gradient belongs to the numbers that were erased on the way forward: "
        "use the masks that were kept.",
    ),
    (
        _mask_behind_the_branch,
        "You multiply by the mask behind the branch. On the way forward it came last, so on the way back it comes "
        "first.",
    ),
    (
        _mask_on_the_stream,
        "You multiply the stream's gradient by the mask. Dropout erased in the branch: the stream ran past it.",
    ),
)
