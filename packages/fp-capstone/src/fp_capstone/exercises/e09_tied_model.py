r"""
Back through a whole model, whose table is used twice.

Level: challenge. You need the exercises on the linear map and on the embedding; both answers may be used again. Derive
first; `fp_capstone.model` has the answer.

For texts of $T$ tokens, $t$ the place and $b$ the text, a model reads its embedding at the bottom, adds learned
positions, sends the stream through all its blocks and the last norm, and reads the *same* table at the top:

$$
x_{btc} = E_{\text{ids}_{bt},\, c} + W_{tc}, \qquad n = f(x), \qquad z_{btv} = \sum_c n_{btc} E_{vc} .
$$

All of $f$ can be gone through backwards already: `back` takes a gradient in $n$ and returns the gradient in $x$. The
gradient of the loss in the logits $z$ has arrived. What are the gradients in $E$ and in $W$?

$E$ occurs twice. Pretend for a moment that it were two tables. The table $W$ has rows for `positions` places, of which
the texts use the first $T$; some models have no such table, and then `positions` is 0.

You learn why "tied" weights count twice, and have the last piece of a backward pass through a transformer.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

HINTS = (
    "If the loss is l(E, U) with one table at the bottom and another at the top, and then U = E, the chain rule adds: "
    "the gradient is that in the first place plus that in the second.",
    "The top is a linear map with the weights E transposed: from dz come dn = dz E and the table's gradient, the sum "
    "over all places of dz_v n_c. The bottom is an embedding: row v adds up dx at the places whose token was v.",
    "`dx = back(dz @ E)`, `dE = np.einsum('btv,btc->vc', dz, n)`, `np.add.at(dE, ids, dx)`; "
    "`dW = np.zeros((positions, C))`, and if there are positions `dW[:T] = dx.sum(axis=0)`.",
)


def model_backward(
    dz: np.ndarray,
    n: np.ndarray,
    ids: np.ndarray,
    E: np.ndarray,
    positions: int,
    back: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """
    Gradients of a loss in the embedding, which is the output too, and in the table of positions.

    Parameters
    ----------
    dz
        The gradient of the loss in the logits, floats of shape `(B, T, V)`.
    n
        What the output was computed from, `(B, T, C)`.
    ids
        The tokens that were read, integers of shape `(B, T)`.
    E
        The table, `(V, C)`.
    positions
        The number of rows of the table of positions, at least T; or 0, for a model that has none.
    back
        From a gradient in `n` to the gradient in `x`, both of shape `(B, T, C)`.

    Returns
    -------
    dE, dW : ndarray
        Of the shapes `(V, C)` and `(positions, C)`.

    Examples
    --------
    One token, number 1 of two, in a model whose blocks multiply by 10; the loss is the first logit:

    >>> dE, dW = model_backward(
    ...     np.array([[[1.0, 0.0]]]),
    ...     np.array([[[20.0]]]),
    ...     np.array([[1]]),
    ...     np.array([[1.0], [2.0]]),
    ...     3,
    ...     lambda g: 10 * g,
    ... )
    >>> dE.ravel().tolist(), dW.ravel().tolist()
    ([20.0, 10.0], [10.0, 0.0, 0.0])
    """
    dx = back(dz @ E)
    dE = np.einsum("btv,btc->vc", dz, n)
    np.add.at(dE, ids, dx)
    dW = np.zeros((positions, E.shape[1]))
    if positions:
        dW[: ids.shape[1]] = dx.sum(axis=0)
    return dE, dW


_Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _forward(E: np.ndarray, W: np.ndarray, ids: np.ndarray, A: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stream at the bottom, what the blocks make of it (here sin(x A)), and the logits; for complex numbers too."""
    x = E[ids] + (W[: ids.shape[1]] if len(W) else 0)
    n = np.sin(x @ A)
    return x, n, n @ E.T


def _drawn(ids: list[list[int]], V: int, C: int, positions: int, seed: int) -> _Drawn:
    rng = np.random.default_rng(seed)
    shapes = (len(ids), len(ids[0]), V), (V, C), (positions, C), (C, C)
    g, E, W, A = (rng.normal(size=shape) for shape in shapes)
    return g, E, W, np.array(ids), A


_CASES: tuple[tuple[str, _Drawn], ...] = (
    ("one token, no positions", _drawn([[1]], 3, 2, 0, 0)),
    ("one text, every token once, no positions", _drawn([[2, 0, 1]], 3, 3, 0, 1)),
    ("one text with a token twice, no positions", _drawn([[3, 1, 3]], 5, 2, 0, 2)),
    ("one text, as many positions as tokens", _drawn([[0, 2]], 3, 2, 2, 3)),
    ("three texts, more positions than tokens", _drawn([[0, 4], [4, 4], [1, 0]], 5, 3, 7, 4)),
)


def _arguments(case: _Drawn) -> tuple[Any, ...]:
    g, E, W, ids, A = case
    x, n, _ = _forward(E, W, ids, A)
    return g, n, ids, E, len(W), lambda dn: (dn * np.cos(x @ A)) @ A.T


PROBES = tuple(_arguments(case) for _, case in _CASES)

_WHY = {
    "dE": "E is read at the bottom, row by row, and at the top, as a matrix. Both gradients are needed, and they add "
    "up, over all places.",
    "dW": "Row t is added at place t of every text, so what arrives there adds up over the texts; no other row moves "
    "anything.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for (case, (g, E, W, ids, A)), given in zip(_CASES, PROBES, strict=True):
        got = learner.model_backward(*(a.copy() if isinstance(a, np.ndarray) else a for a in given))
        assert isinstance(got, tuple | list) and len(got) == 2, f"{case}: expected dE and dW, got {got!r:.80}"

        def loss(E: np.ndarray, W: np.ndarray, g: np.ndarray = g, rest: Any = (ids, A)) -> Any:
            return (g * _forward(E, W, *rest)[2]).sum()

        for at, name in ((1, "dW"), (0, "dE")):
            _compare(f"{case}, ids {ids.tolist()}", name, got[at], _slopes(loss, [E, W], at), _WHY[name])


def _slopes(loss: Any, arrays: list[np.ndarray], at: int) -> np.ndarray:
    """The gradient of a loss in one array, by complex steps: no difference is taken, so nothing cancels."""
    moved = [a.astype(complex) for a in arrays]
    gradient = np.empty(arrays[at].shape)
    for i in np.ndindex(gradient.shape):
        moved[at][i] += 1e-100j
        gradient[i] = loss(*moved).imag / 1e-100
        moved[at][i] = arrays[at][i]
    return gradient


def _compare(case: str, name: str, got: Any, expected: np.ndarray, why: str) -> None:
    """The form of an answer, then its first entry that is wrong."""
    assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == expected.shape, (
        f"{case}: {name} is an array of floats of shape {expected.shape}, got "
        + (f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else f"{got!r:.80}")
    )
    # sums of a few products round near 1e-15
    wrong = ~(np.abs(got - expected) <= 1e-9 * max(1.0, float(np.abs(expected).max(initial=0))))
    if wrong.any():
        i = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise AssertionError(f"{case}: {name}{list(i)} is {expected[i]:.8g}, yours is {got[i]:.8g}. {why}")


_Gradients = tuple[np.ndarray, np.ndarray]


def _tied_once(dz: Any, n: Any, ids: Any, E: Any, positions: Any, back: Any) -> _Gradients:
    return np.einsum("btv,btc->vc", dz, n), model_backward(dz, n, ids, E, positions, back)[1]


def _bottom_alone(dz: Any, n: Any, ids: Any, E: Any, positions: Any, back: Any) -> _Gradients:
    return model_backward(dz, np.zeros_like(n), ids, E, positions, back)


def _repeats_dropped(dz: Any, n: Any, ids: Any, E: Any, positions: Any, back: Any) -> _Gradients:
    dE = np.einsum("btv,btc->vc", dz, n)
    dE[ids] += back(dz @ E)
    return dE, model_backward(dz, n, ids, E, positions, back)[1]


def _mean_of_both(dz: Any, n: Any, ids: Any, E: Any, positions: Any, back: Any) -> _Gradients:
    dE, dW = model_backward(dz, n, ids, E, positions, back)
    return dE / 2, dW


def _blocks_skipped(dz: Any, n: Any, ids: Any, E: Any, positions: Any, back: Any) -> _Gradients:
    return model_backward(dz, n, ids, E, positions, lambda dn: dn)


def _positions_averaged(dz: Any, n: Any, ids: Any, E: Any, positions: Any, back: Any) -> _Gradients:
    dE, dW = model_backward(dz, n, ids, E, positions, back)
    return dE, dW / len(ids)


def _positions_of_the_last_text(dz: Any, n: Any, ids: Any, E: Any, positions: Any, back: Any) -> _Gradients:
    dE, dW = model_backward(dz, n, ids, E, positions, back)
    if positions:
        dW[: ids.shape[1]] = back(dz @ E)[-1]
    return dE, dW


def _positions_without_blocks(dz: Any, n: Any, ids: Any, E: Any, positions: Any, back: Any) -> _Gradients:
    dE, dW = model_backward(dz, n, ids, E, positions, back)
    if positions:
        dW[: ids.shape[1]] = (dz @ E).sum(axis=0)
    return dE, dW


MISTAKES = (
    (
        _tied_once,
        "You count the tied table once, at the top. It is read at the bottom too, and what comes back through all "
        "blocks is added to the rows of the tokens that were read.",
    ),
    (
        _bottom_alone,
        "You count the tied table once, at the bottom. It is the matrix of the output too: a token that was never "
        "read still learns not to be predicted.",
    ),
    (
        _repeats_dropped,
        "You use `dE[ids] += dx`. Where a token stands several times NumPy keeps the last place only: use `np.add.at`.",
    ),
    (
        _mean_of_both,
        "You average the two gradients of the tied table. Both uses move the loss, and small changes add.",
    ),
    (
        _blocks_skipped,
        "You hand the gradient at the output's input down to the embedding. Between the two stand all the blocks: "
        "send it through `back`.",
    ),
    (
        _positions_averaged,
        "You average the positions' gradient over the texts. Every text read the row, and what comes back adds up.",
    ),
    (
        _positions_of_the_last_text,
        "You keep the positions' gradient of one text. The row is read in every text, so sum over the first axis.",
    ),
    (
        _positions_without_blocks,
        "You take the positions' gradient at the top. Positions are added at the bottom, in front of the blocks: it "
        "is what `back` returns that arrives there.",
    ),
)
