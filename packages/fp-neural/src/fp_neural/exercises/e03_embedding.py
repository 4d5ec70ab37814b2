r"""
An embedding, forward and backward.

Level: implement. You need `fp_neural.embedding` and the index rule of `fp_autograd.rules`.

An embedding of $V$ tokens is a table with a row of $D$ numbers for each. Forward it looks up rows: where token $i$
stands in the batch of ids, row $i$ of the table stands in the answer. Backward a gradient $g$ comes in, the derivative
of the loss in each entry of the answer, and the derivative in each entry of the table goes out, rows that were never
looked up included.

Write both. `ids` has any number of axes: `(B, T)` for a batch of texts, `(T,)` for one. A token may occur many times,
within one text and in several, and it may not occur at all. An id outside of 0 to $V - 1$ is a `ValueError`: NumPy
takes -1 for the last row without a word, and a padding id that was not replaced would train that row.

In a language model nearly every token of a batch is a repetition of some other. If repetitions are lost, frequent
tokens learn too slowly, and no error says so: the loss still goes down.
"""

from typing import Any

import numpy as np

HINTS = (
    "Forward, an array of ids is an index: NumPy reads rows for ids of any shape. Backward, think of one row of the "
    "table that was copied to three places: how does the loss depend on it?",
    "The gradient of a row is the sum of the rows of g at all places where its token stands; it is 0 if there is none. "
    "Beware: with repeated ids, `dweight[ids] += g` reads every row once, adds, and writes once for each place; the "
    "last one stays.",
    "`np.add.at(dweight, ids, g)` adds place by place, on `dweight = np.zeros_like(weight)`. Before that, raise if "
    "`((ids < 0) | (ids >= len(weight))).any()`.",
)


def embedding(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Rows of a table, and the gradient of the table.

    Parameters
    ----------
    weight
        The table, floats of shape `(V, D)`.
    ids
        Tokens, integers of a shape with one axis or more; it may be empty.
    g
        The gradient that comes back: the derivative of the loss in each entry of `y`, in its shape.

    Returns
    -------
    y : ndarray
        The rows of the tokens, of shape `(*ids.shape, D)`.
    dweight : ndarray
        Derivative of the loss in each entry of `weight`, of shape `(V, D)`.

    Raises
    ------
    ValueError
        If an id is below 0 or not below V.

    Examples
    --------
    >>> weight = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> y, dweight = embedding(weight, np.array([2, 0]), g=np.array([[0.5, 0.25], [10.0, 20.0]]))
    >>> y.tolist()
    [[5.0, 6.0], [1.0, 2.0]]
    >>> dweight.tolist()
    [[10.0, 20.0], [0.0, 0.0], [0.5, 0.25]]
    """
    outside = ids[(ids < 0) | (ids >= len(weight))]
    if outside.size:
        raise ValueError(f"ids must be from 0 to {len(weight) - 1}, got {outside[0]}; add rows or map unknown tokens")
    dweight = np.zeros_like(weight)
    np.add.at(dweight, ids, g)
    return weight[ids], dweight


_TABLE = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [7.0, 8.0, 9.0]])


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    rng = np.random.default_rng(3)
    for V, D, ids in (
        (3, 3, [2, 0, 1]),  # square first: rows taken for columns then give a wrong number
        (3, 3, [1, 1, 1]),
        (5, 2, [4, 0, 4, 4, 2, 0, 4]),
        (5, 2, [[1, 3, 1], [3, 0, 1]]),
        (7, 3, [[[1, 1], [6, 0]], [[0, 1], [1, 1]]]),
        (2, 5, []),
    ):
        at = np.array(ids, dtype=np.int64)
        # whole numbers: their sums are exact
        weight = rng.integers(-9, 10, size=(V, D)).astype(float)
        g = rng.integers(-9, 10, size=(*at.shape, D)).astype(float)
        got = learner.embedding(weight.copy(), at.copy(), g.copy())
        case = f"a table of {V} rows of {D}, ids = {ids}"
        assert isinstance(got, tuple | list) and len(got) == 2, (
            f"{case}: expected two arrays, y and dweight, got {got!r:.80}"
        )
        for name, shape, array in (("y", g.shape, got[0]), ("dweight", weight.shape, got[1])):
            assert isinstance(array, np.ndarray) and array.dtype.kind in "iuf", (
                f"{case}: expected an array of numbers as {name}, got {array!r:.80}"
            )
            assert array.shape == shape, f"{case}: {name} has the shape {shape}, but yours has {array.shape}"
        expected = np.zeros((V, D))
        for place in np.ndindex(at.shape):
            token = int(at[place])
            expected[token] += g[place]
            assert np.allclose(got[0][place], weight[token], rtol=0, atol=1e-9), (
                f"{case}: y[{', '.join(map(str, place))}] is row {token} of the table, {weight[token].tolist()}, but "
                f"yours is {got[0][place].tolist()}"
            )
        for token in range(V):
            rows = g[at == token].tolist()
            why = f"is where g has the rows {rows!s:.120}. Expected their sum" if rows else "is nowhere. Expected zeros"
            assert np.allclose(got[1][token], expected[token], rtol=0, atol=1e-9), (
                f"{case}: token {token} {why}, {expected[token].tolist()}, as row {token} of "
                f"dweight; got {got[1][token].tolist()}"
            )
    for ids in ([0, -1], [3, 1], [[1, 2], [2, -3]]):
        at = np.array(ids)
        try:
            learner.embedding(_TABLE.copy(), at, np.ones((*at.shape, 3)))
            came = "an answer"
        except ValueError:
            continue
        except IndexError:
            came = "an IndexError"
        raise AssertionError(f"ids = {ids} with a table of 3 rows: expected a ValueError, got {came}")


def _overwrites(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, dweight = embedding(weight, ids, np.zeros_like(g))
    dweight[ids] = g
    return y, dweight


def _adds_row_by_row(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, dweight = embedding(weight, ids, np.zeros_like(g))
    for place in range(len(ids)):
        dweight[ids[place]] += g[place]
    return y, dweight


def _averages(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, dweight = embedding(weight, ids, g)
    counts = np.bincount(ids.ravel(), minlength=len(weight))
    return y, dweight / np.maximum(counts, 1)[:, None]


def _adds_to_the_table(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, dweight = embedding(weight, ids, g)
    return y, weight + dweight


def _counts(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return embedding(weight, ids, np.ones_like(g))


def _rows_of_g(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return embedding(weight, ids, g)[0], g


def _columns(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dweight = np.zeros_like(weight)
    np.add.at(dweight.T, ids, np.moveaxis(g, 0, -1))
    return weight[:, ids], dweight


def _last_row_for_minus_one(weight: np.ndarray, ids: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dweight = np.zeros_like(weight)
    np.add.at(dweight, ids, g)
    return weight[ids], dweight


MISTAKES = (
    (
        _overwrites,
        "You overwrite instead of adding: of a token that occurs several times, only the last place is heard. "
        "`dweight[ids] += g` does the same as `dweight[ids] = g` there, for it reads before it writes. Add place by "
        "place, with np.add.at.",
    ),
    (
        _adds_row_by_row,
        "You go through the first axis of ids and add a whole text at a time. A token that occurs twice in one text "
        "still loses a place: go through all axes.",
    ),
    (
        _averages,
        "You average over the places of a token. The loss depends on its row through each of them, so their gradients "
        "add; a mean belongs to the loss, and if there is one it is in g already.",
    ),
    (
        _adds_to_the_table,
        "You add the gradient to the table itself. It starts from zeros: what the table holds does not matter to it.",
    ),
    (
        _counts,
        "You count the places and leave out g. The chain rule multiplies each place by the gradient that comes back to "
        "it.",
    ),
    (
        _rows_of_g,
        "You hand g on as it came. The gradient of the table has the shape of the table, with a row for every token: "
        "sort the rows of g into it.",
    ),
    (
        _columns,
        "You look up columns. A token's numbers are a row of the table, so the ids index its first axis.",
    ),
    (
        _last_row_for_minus_one,
        "You let NumPy count negative ids from the end. An id of -1 is a mistake in the data, and would read and train "
        "the last token's row: check before you index.",
    ),
)

PROBES = (
    (_TABLE, np.array([1, 0, 1]), np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25], [10.0, 20.0, 30.0]])),
    (_TABLE, np.array([[1, 1], [2, 1]]), np.arange(1.0, 13.0).reshape(2, 2, 3) ** 2),
    (_TABLE, np.array([-1, 0]), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])),
)
