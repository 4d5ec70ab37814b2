r"""
Back through a table of rows.

Level: implement. You need `linear_backward`, the exercise before. Derive first; `fp_capstone.embedding` has the answer.

An embedding looks up a row of the table $E$ for each token id of $B$ texts of $T$ tokens:

$$
Y_{btc} = E_{\text{ids}_{bt},\, c} .
$$

The gradient $G_{btc} = \partial \ell / \partial Y_{btc}$ has arrived. What is $\partial \ell / \partial E$, for a table
of $V$ rows?

Take one entry $E_{vc}$. Where in $Y$ does it stand? Perhaps in many places, perhaps in none. Or see it as a linear map:
the row $Y_{bt}$ is a row of zeros with a single one, times $E$.

You learn what `dE[ids] += g` does in NumPy, and why it is the most frequent wrong line in transformers written by hand.
"""

from typing import Any

import numpy as np

HINTS = (
    "E[v, c] stands in Y at every place whose id is v, with the slope 1. So row v of the gradient is the sum of g over "
    "the places whose id is v, and a row that nobody looked up is zero.",
    "`dE[ids] += g` reads all rows, adds, and writes all rows back: of several places with one id the last one wins. "
    "What is wanted is one addition after the other.",
    "`dE = np.zeros((V, g.shape[-1]))`, then `np.add.at(dE, ids, g)`. Faster: sort the places by id and use "
    "`np.add.reduceat`.",
)


def embedding_backward(g: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    """
    Gradient of a loss in a table whose rows were looked up.

    Parameters
    ----------
    g
        The gradient of the loss in the rows that were found, floats of shape `(B, T, C)`.
    ids
        The ids that were looked up, integers in `[0, V)` of shape `(B, T)`.
    V
        The number of rows of the table.

    Returns
    -------
    dE : ndarray
        Of shape `(V, C)`.

    Examples
    --------
    >>> embedding_backward(np.array([[[1.0], [10.0], [100.0]]]), np.array([[2, 0, 2]]), 4).ravel().tolist()
    [10.0, 0.0, 101.0, 0.0]
    """
    dE = np.zeros((V, g.shape[-1]), g.dtype)
    np.add.at(dE, ids, g)
    return dE


def _drawn(ids: list[list[int]], V: int, C: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    return np.random.default_rng(seed).normal(size=(len(ids), len(ids[0]), C)), np.array(ids), V


_CASES = (
    ("one text, every token once, in order", _drawn([[0, 1, 2]], 3, 2, 0)),
    ("one text, every token once", _drawn([[2, 0, 1]], 3, 2, 1)),
    ("one text, a token never used", _drawn([[3, 0, 1]], 5, 2, 2)),
    ("one text, a token three times", _drawn([[2, 2, 0, 2]], 3, 2, 3)),
    ("two texts with tokens in common", _drawn([[4, 1, 1], [1, 0, 4]], 7, 3, 4)),
    ("three texts of one token", _drawn([[1], [1], [1]], 2, 5, 5)),
)
PROBES = tuple(given for _, given in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, (g, ids, V) in _CASES:
        got = learner.embedding_backward(g.copy(), ids.copy(), V)
        C = g.shape[-1]
        assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == (V, C), (
            f"{case}: the gradient of a table of {V} rows of {C} is an array of floats of shape {(V, C)}, got "
            + (f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else f"{got!r:.80}")
        )
        for v, c in np.ndindex(V, C):
            terms = [float(g[place][c]) for place in np.ndindex(ids.shape) if ids[place] == v]
            assert abs(got[v, c] - sum(terms)) <= 1e-12, (  # a sum of at most four numbers near 1
                f"{case}: ids are {ids.tolist()}, so the gradient in E[{v}, {c}] is "
                + (" + ".join(f"({term:.4g})" for term in terms) + f" = {sum(terms):.8g}" if terms else "0")
                + f", yours is {got[v, c]:.8g}. A row collects from the places where its token stood, and from no other"
            )


def _last_one_kept(g: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    dE = np.zeros((V, g.shape[-1]))
    dE[ids] += g
    return dE


def _first_one_kept(g: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    return _last_one_kept(g[::-1, ::-1], ids[::-1, ::-1], V)


def _averaged(g: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    return embedding_backward(g, ids, V) / np.maximum(np.bincount(ids.ravel(), minlength=V), 1)[:, None]


def _rows_of_places(g: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    return embedding_backward(g, np.arange(ids.size).reshape(ids.shape) % V, V)


def _seen_tokens_only(g: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    return embedding_backward(g, ids, V)[np.unique(ids)]


def _first_text_only(g: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    return embedding_backward(g[:1], ids[:1], V)


def _everywhere(g: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    return np.asarray(np.ones((V, 1)) * g.sum(axis=(0, 1)))


MISTAKES = (
    (
        _last_one_kept,
        "You use `dE[ids] += g` or `dE[ids] = g`. Where an id occurs several times NumPy writes several times to one "
        "row, and only the last stays: the other places are lost.",
    ),
    (
        _first_one_kept,
        "You keep the first place at which a token stood. Every place looked the row up, and what arrives at all of "
        "them adds up.",
    ),
    (
        _averaged,
        "You take the mean over the places of a token. All of them moved with the row, and small changes add: it is "
        "the sum.",
    ),
    (
        _rows_of_places,
        "You write the gradient into the rows in the order of the places. Row v belongs to the token with the id v, "
        "wherever it stood.",
    ),
    (
        _seen_tokens_only,
        "You return rows for the tokens that occur. The gradient has the shape of the table: rows of other tokens "
        "are zero.",
    ),
    (
        _first_text_only,
        "You use the first text alone. All texts of a batch read the same table, and their gradients add up.",
    ),
    (
        _everywhere,
        "You give every row the sum of all places. A row moves only the places where its own token stood.",
    ),
)
