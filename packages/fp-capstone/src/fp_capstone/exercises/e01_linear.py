r"""
Back through a matrix.

Level: implement. You need the chain rule. Derive first; `fp_capstone.linear` has the answer.

$N$ rows of $I$ numbers, stacked in $X$, are mapped to $N$ rows of $O$ numbers:

$$
Y_{no} = \sum_i X_{ni} W_{io} + b_o .
$$

A loss $\ell$ was computed from $Y$, and its gradient has arrived: $G_{no} = \partial \ell / \partial Y_{no}$. What are
the gradients in $X$, in $W$ and in $b$?

Take one number, say $W_{jp}$. Which entries of $Y$ does it touch, and how fast does each of them move when it moves?
Multiply by what the loss makes of that, and add over all that it touches. Only when the sum stands there, look for the
matrix product that it is.

A transformer's step is nearly all linear maps, and this is why it costs three times its forward pass: for the one
product on the way there are two on the way back.
"""

from typing import Any

import numpy as np

HINTS = (
    "X_nj touches row n of Y alone, and there every entry: Y_no moves by W_jo. W_jp touches column p alone, and there "
    "every row: Y_np moves by X_nj. b_p touches column p, every row, with the slope 1.",
    "So dX_nj is the sum over o of G_no W_jo, and dW_jp is the sum over n of X_nj G_np. Write both as products of "
    "matrices: which index is summed, and in which place does it stand in each factor?",
    "`dx = g @ W.T`, `dW = x.T @ g`, `db = g.sum(axis=0)`.",
)


def linear_backward(g: np.ndarray, x: np.ndarray, W: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Gradients of a loss in the rows, the weights and the bias of a linear map.

    Parameters
    ----------
    g
        The gradient of the loss in the result, floats of shape `(N, O)`.
    x
        The rows that were mapped, `(N, I)`.
    W
        The weights, `(I, O)`.

    Returns
    -------
    dx, dW, db : ndarray
        Of the shapes `(N, I)`, `(I, O)` and `(O,)`.

    Examples
    --------
    Two rows of one number, times 10; the loss is the first result plus twice the second:

    >>> dx, dW, db = linear_backward(np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]]), np.array([[10.0]]))
    >>> dx.tolist(), dW.tolist(), db.tolist()
    ([[10.0], [20.0]], [[11.0]], [3.0])
    """
    return g @ W.T, x.T @ g, g.sum(axis=0)


def _drawn(N: int, I: int, O: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, O)), rng.normal(size=(N, I)), rng.normal(size=(I, O))


_CASES = (
    ("one row, one number to one", _drawn(1, 1, 1, 0)),
    ("one row of two numbers to three", _drawn(1, 2, 3, 1)),
    ("three rows of three numbers to three", _drawn(3, 3, 3, 2)),  # square: a wrong transpose runs
    ("five rows of two numbers to three", _drawn(5, 2, 3, 3)),
    ("two rows of seven numbers to five", _drawn(2, 7, 5, 4)),
)
PROBES = tuple(given for _, given in _CASES)

_WHY = {
    "db": "The bias is added to every row, so what arrives at all rows adds up.",
    "dW": "W[i, o] carries x[n, i] into y[n, o], in every row n.",
    "dx": "x[n, i] goes into every y[n, o], with the weight W[i, o].",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, (g, x, W) in _CASES:
        got = learner.linear_backward(g.copy(), x.copy(), W.copy())
        assert isinstance(got, tuple | list) and len(got) == 3, f"{case}: expected dx, dW and db, got {got!r:.80}"
        b = np.zeros(W.shape[1])

        def loss(b: np.ndarray, W: np.ndarray, x: np.ndarray, g: np.ndarray = g) -> Any:
            return (g * (x @ W + b)).sum()

        for at, name in enumerate(("db", "dW", "dx")):
            expected = _slopes(loss, [b, W, x], at)
            _compare(case, name, got[2 - at], expected, _WHY[name])


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
    wrong = ~(np.abs(got - expected) <= 1e-9 * max(1.0, float(np.abs(expected).max())))
    if wrong.any():
        i = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise AssertionError(f"{case}: {name}{list(i)} is {expected[i]:.8g}, yours is {got[i]:.8g}. {why}")


_Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]


def _weights_not_transposed(g: np.ndarray, x: np.ndarray, W: np.ndarray) -> _Gradients:
    return g @ W, x.T @ g, g.sum(axis=0)


def _input_not_transposed(g: np.ndarray, x: np.ndarray, W: np.ndarray) -> _Gradients:
    return g @ W.T, x @ g, g.sum(axis=0)


def _factors_exchanged(g: np.ndarray, x: np.ndarray, W: np.ndarray) -> _Gradients:
    return g @ W.T, g.T @ x, g.sum(axis=0)


def _bias_not_summed(g: np.ndarray, x: np.ndarray, W: np.ndarray) -> _Gradients:
    return g @ W.T, x.T @ g, g.copy()


def _bias_averaged(g: np.ndarray, x: np.ndarray, W: np.ndarray) -> _Gradients:
    return g @ W.T, x.T @ g, g.mean(axis=0)


def _bias_over_columns(g: np.ndarray, x: np.ndarray, W: np.ndarray) -> _Gradients:
    return g @ W.T, x.T @ g, g.sum(axis=1)


def _weights_averaged(g: np.ndarray, x: np.ndarray, W: np.ndarray) -> _Gradients:
    return g @ W.T, x.T @ g / len(x), g.sum(axis=0)


MISTAKES = (
    (
        _weights_not_transposed,
        "You multiply the gradient by W as it is. On the way back the sum runs over the outputs, and these are the "
        "columns of W: G times W transposed.",
    ),
    (
        _input_not_transposed,
        "You multiply X by the gradient as it is. A weight was used by all rows, so the sum runs over the rows of "
        "both: X transposed times G.",
    ),
    (
        _factors_exchanged,
        "You have the weights' gradient transposed, outputs by inputs. It has the shape of W: X transposed times G, "
        "not G transposed times X.",
    ),
    (
        _bias_not_summed,
        "You return a gradient of the bias for each row. There is one bias, added to all rows: its gradient is the "
        "sum over them.",
    ),
    (
        _bias_averaged,
        "You average the gradient of the bias over the rows. Every row used the bias, and small changes add.",
    ),
    (
        _bias_over_columns,
        "You sum the gradient of the bias over the outputs. Each output has a bias of its own: the sum runs over the "
        "rows, axis 0.",
    ),
    (
        _weights_averaged,
        "You divide the weights' gradient by the number of rows. If the loss is a mean, the gradient that arrives "
        "has been divided already.",
    ),
)
