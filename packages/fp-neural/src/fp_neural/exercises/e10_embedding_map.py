r"""
A map of an embedding.

Level: challenge. You need `fp_neural.spectra`.

An embedding gives each of $V$ tokens a row of $D$ numbers. What did training write there? Two views answer: a map, and
a list of neighbours.

*The map.* Take the mean of all rows off every row. Find the direction in which the rows then vary most, next the one
that varies most among all directions orthogonal to the first, and so on: the principal directions, orthonormal. The
coordinates of a token are the dot products of its row, less the mean, with the first $k$ of them. By
`neural.pca` no other $k$ directions lose less. How much they keep is the share of the total variance, over all
$D$ directions, that lies in each.

A direction is as good as its opposite, and where two of them vary alike any two orthogonal ones in their plane would
do. So the map is settled up to reflections, and up to rotations among equals; the grader accepts every right one.

*The neighbours.* The closest tokens by the cosine of the angle between the rows themselves, in all $D$ dimensions and
not less their mean: length, which grows with a token's frequency, is not to count. What lies close on the map may be
far apart behind it.

You learn to look into a model, with the singular value decomposition: `np.linalg.svd` is allowed. The same few lines
are used on the activations of large models.
"""

from typing import Any

import numpy as np

HINTS = (
    "`X = E - E.mean(axis=0)`, then `U, S, Vt = np.linalg.svd(X, full_matrices=False)`. Which of the three holds the "
    "directions, as rows or as columns, and in which order?",
    "The directions are the rows of Vt, so the coordinates are `X @ Vt[:k].T`. The variance along a direction is the "
    "square of its singular value over V: for the shares only the squares matter, over the sum of all of them.",
    "Divide each row of E by its length; the product of that matrix with its transpose holds all cosines. Put minus "
    "infinity on its diagonal, so that nobody is his own neighbour, and sort each row, the largest first.",
)


def embedding_map(E: np.ndarray, k: int, n_neighbours: int) -> dict[str, np.ndarray]:
    """
    Coordinates on the k axes of largest variance, their shares of it, and each token's nearest neighbours.

    Parameters
    ----------
    E
        An embedding, a row for each token, no two rows equal and none zero, shape `(V, D)`.
    k
        Number of axes, at least 1 and at most the smaller of V and D.
    n_neighbours
        How many neighbours of each token, from 1 to `V - 1`.

    Returns
    -------
    dict
        `"coordinates"`: shape `(V, k)`, the axis of largest variance first;
        `"explained"`: shape `(k,)`, each axis's share of the total variance;
        `"neighbours"`: integers of shape `(V, n_neighbours)`, in row i the ids of the tokens with the largest cosine to
        token i, the largest first, without i itself.

    Examples
    --------
    Four tokens that differ much along one direction and little along another:

    >>> E = np.array([[9.0, 1.0], [9.0, 3.0], [1.0, 1.0], [1.0, 3.0]])
    >>> answer = embedding_map(E, k=1, n_neighbours=1)
    >>> abs(answer["coordinates"]).round(6).tolist()
    [[4.0], [4.0], [4.0], [4.0]]
    >>> answer["explained"].round(3).tolist(), answer["neighbours"].tolist()
    ([0.941], [[1], [0], [1], [2]])
    """
    X = E - E.mean(axis=0)
    _, S, Vt = np.linalg.svd(X, full_matrices=False)
    unit = E / np.sqrt((E**2).sum(axis=1, keepdims=True))
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    return {
        "coordinates": X @ Vt[:k].T,
        "explained": S[:k] ** 2 / (S**2).sum(),
        "neighbours": np.argsort(-cosine, axis=1, kind="stable")[:, :n_neighbours],
    }


def _with_variances(V: int, deviations: list[float], offset: float, seed: int) -> np.ndarray:
    """An embedding whose principal directions have these standard deviations, exactly, away from the origin."""
    rng = np.random.default_rng(seed)
    D = len(deviations)
    U = rng.normal(size=(V, D))
    U, _ = np.linalg.qr(U - U.mean(axis=0))
    turn, _ = np.linalg.qr(rng.normal(size=(D, D)))
    return (np.sqrt(V) * U * deviations) @ turn.T + offset * rng.normal(size=D)


_TELLING = (_with_variances(17, [3.0, 2.0, 1.0, 0.5, 0.25], 1.5, 1), 2, 3)
_CASES: tuple[tuple[str, tuple[np.ndarray, int, int]], ...] = (
    ("four tokens in a rectangle", (np.array([[9.0, 1.0], [9.0, 3.0], [1.0, 1.0], [1.0, 3.0]]), 1, 1)),
    ("17 tokens in 5 dimensions, far from the origin", _TELLING),
    ("as many tokens as dimensions", (_with_variances(7, [1.0, 4.0, 2.0, 0.5, 3.0, 0.1], 0.3, 2), 3, 6)),
    ("more dimensions than tokens", (np.random.default_rng(3).normal(size=(5, 11)) + 1.0, 4, 2)),
    ("two axes of equal variance", (_with_variances(23, [2.0, 2.0, 0.5], 1.0, 4), 2, 5)),
    ("all axes", (_with_variances(13, [0.5, 1.0, 2.0], 4.0, 5), 3, 12)),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, (E, k, n) in _CASES:
        got = learner.embedding_map(E.copy(), k, n)
        V, D = E.shape
        case = f"{name}, V = {V}, D = {D}, k = {k}"
        assert isinstance(got, dict) and set(got) == {"coordinates", "explained", "neighbours"}, (
            f"expected a dict of coordinates, explained and neighbours, got {got!r:.80}"
        )
        for key, shape, kinds in (
            ("coordinates", (V, k), "f"),
            ("explained", (k,), "f"),
            ("neighbours", (V, n), "iu"),
        ):
            value = got[key]
            assert isinstance(value, np.ndarray) and value.dtype.kind in kinds and value.shape == shape, (
                f"{case}: {key!r} must be an array of {'floats' if kinds == 'f' else 'integers'} of shape {shape}, got "
                + (f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.80}")
            )
        _check_map(case, E, got["coordinates"], got["explained"])
        _check_neighbours(case, E, got["neighbours"])


def _check_map(case: str, E: np.ndarray, coordinates: np.ndarray, explained: np.ndarray) -> None:
    V, k = coordinates.shape
    X = E - E.sum(axis=0) / V
    values, vectors = np.linalg.eigh(X @ X.T / V)  # of tokens with tokens: another way than the reference's
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    close = 1e-9 * float(values.sum())  # both ways round at 1e-15 of the total variance
    mean = coordinates.mean(axis=0)
    assert (mean**2 <= close).all(), (
        f"{case}: the map's centre is the mean of all rows, so each coordinate has the mean 0; yours have {mean}. "
        "Which mean is taken off, and off what?"
    )
    for i in range(k):
        variance = float((coordinates[:, i] ** 2).mean())
        assert abs(variance - values[i]) <= close, (
            f"{case}: the variance along axis {i} is {values[i]:.6g}, got {variance:.6g}. The variances of all axes "
            f"are {values[: min(E.shape)].round(4).tolist()}; the largest come first."
        )
        for j in range(i):
            both = float((coordinates[:, i] * coordinates[:, j]).mean())
            assert abs(both) <= close, (
                f"{case}: the axes of a map are orthogonal and their coordinates have covariance 0; axes {j} and {i} "
                f"have {both:.6g}"
            )
    gram = (vectors[:, :k] * values[:k]) @ vectors[:, :k].T * V  # dot products do not see reflections and rotations
    for a, b in np.ndindex(V, V):
        product = float(coordinates[a] @ coordinates[b])
        assert abs(product - gram[a, b]) <= 10 * V * close, (
            f"{case}: on the map the dot product of tokens {a} and {b} is {gram[a, b]:.6g}, however it is turned; got "
            f"{product:.6g}. Each coordinate is the dot product of a centred row with one principal direction."
        )
    shares = values[:k] / values.sum()
    for i in range(k):
        assert abs(explained[i] - shares[i]) <= 1e-9, (
            f"{case}: axis {i} has {shares[i]:.6f} of the total variance, got {explained[i]:.6f}. The variance is the "
            "square of a deviation, and the total is that of all axes, drawn or not."
        )


def _check_neighbours(case: str, E: np.ndarray, neighbours: np.ndarray) -> None:
    V, n = neighbours.shape
    for i in range(V):
        cosines = {j: float(E[i] @ E[j] / np.sqrt((E[i] @ E[i]) * (E[j] @ E[j]))) for j in range(V) if j != i}
        expected = sorted(cosines, key=lambda j: -cosines[j])[:n]
        row = neighbours[i].tolist()
        assert i not in row, f"{case}: token {i} is not its own neighbour, got {row}"
        assert len(set(row)) == n and set(row) <= set(cosines), (
            f"{case}: expected {n} different ids from 0 to {V - 1} as the neighbours of token {i}, got {row}"
        )
        for a, b in zip(expected, row, strict=True):
            assert abs(cosines[a] - cosines[b]) <= 1e-9, (  # equal cosines may come in any order
                f"{case}: the neighbours of token {i} are {expected}, with the cosines "
                f"{[round(cosines[j], 4) for j in expected]}; got {row}, with "
                f"{[round(cosines[j], 4) for j in row]}, the largest first"
            )


_Answer = dict[str, np.ndarray]


def _of(E: np.ndarray, X: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    """The answer with a map of the rows of X, whatever was done to them."""
    _, S, Vt = np.linalg.svd(X, full_matrices=False)
    answer = {"coordinates": X @ Vt[:k].T, "explained": S[:k] ** 2 / (S**2).sum()}
    return {**embedding_map(E, k, n_neighbours), **answer}


def _closest(E: np.ndarray, k: int, n_neighbours: int, likeness: np.ndarray) -> _Answer:
    """The answer with the neighbours of largest likeness."""
    likeness = likeness.copy()
    np.fill_diagonal(likeness, -np.inf)
    ranked = np.argsort(-likeness, axis=1, kind="stable")[:, :n_neighbours]
    return {**embedding_map(E, k, n_neighbours), "neighbours": ranked}


def _cosines(E: np.ndarray) -> np.ndarray:
    unit = E / np.sqrt((E**2).sum(axis=1, keepdims=True))
    return np.asarray(unit @ unit.T)


def _not_centred(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    return _of(E, E, k, n_neighbours)


def _tokens_centred(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    return _of(E, E - E.mean(axis=1, keepdims=True), k, n_neighbours)


def _columns_scaled(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    X = E - E.mean(axis=0)
    return _of(E, X / X.std(axis=0), k, n_neighbours)


def _columns_of_vt(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    X = E - E.mean(axis=0)
    Vt = np.linalg.svd(X)[2]
    return {**embedding_map(E, k, n_neighbours), "coordinates": X @ Vt[:, :k]}


def _directions_for_coordinates(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    U = np.linalg.svd(E - E.mean(axis=0), full_matrices=False)[0]
    return {**embedding_map(E, k, n_neighbours), "coordinates": U[:, :k]}


def _smallest_first(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    X = E - E.mean(axis=0)
    values, vectors = np.linalg.eigh(X.T @ X)
    answer = {"coordinates": X @ vectors[:, :k], "explained": values[:k] / values.sum()}
    return {**embedding_map(E, k, n_neighbours), **answer}


def _deviations_for_variances(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    S = np.linalg.svd(E - E.mean(axis=0))[1]
    return {**embedding_map(E, k, n_neighbours), "explained": S[:k] / S.sum()}


def _share_of_the_map(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    answer = embedding_map(E, k, n_neighbours)
    return {**answer, "explained": answer["explained"] / answer["explained"].sum()}


def _by_dot_product(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    return _closest(E, k, n_neighbours, E @ E.T)


def _by_distance(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    return _closest(E, k, n_neighbours, -((E[:, None] - E) ** 2).sum(axis=2))


def _on_the_map(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    return _closest(E, k, n_neighbours, _cosines(embedding_map(E, k, n_neighbours)["coordinates"]))


def _of_centred_rows(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    return _closest(E, k, n_neighbours, _cosines(E - E.mean(axis=0)))


def _itself_first(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    ranked = np.argsort(-_cosines(E), axis=1, kind="stable")[:, :n_neighbours]
    return {**embedding_map(E, k, n_neighbours), "neighbours": ranked}


def _least_similar(E: np.ndarray, k: int, n_neighbours: int) -> _Answer:
    ranked = np.argsort(_cosines(E), axis=1, kind="stable")[:, :n_neighbours]
    return {**embedding_map(E, k, n_neighbours), "neighbours": ranked}


MISTAKES = (
    (
        _not_centred,
        "You do not centre the rows. The first axis then points at their mean, which all tokens share and which tells "
        "none from another.",
    ),
    (
        _tokens_centred,
        "You take off each row's own mean. The mean to take off is that of all tokens: one number for each column.",
    ),
    (
        _columns_scaled,
        "You divide the columns by their deviations. The axes should show how much the rows vary in each direction, "
        "and that was divided out.",
    ),
    (
        _columns_of_vt,
        "You take columns of what svd returns third. It is the transpose already: the directions are its rows.",
    ),
    (
        _directions_for_coordinates,
        "You take the columns of U as coordinates. They all have length one; times the singular values they are the "
        "coordinates, and the first axis is the longest again.",
    ),
    (
        _smallest_first,
        "You take the eigenvalues in ascending order, as eigh returns them: your axes are those of least variance. The "
        "largest come last there.",
    ),
    (
        _deviations_for_variances,
        "You take singular values for variances. Variances add up to the total, and they go with the squares.",
    ),
    (
        _share_of_the_map,
        "Your shares add up to one, as if there were no other axes. The total is that of all D directions.",
    ),
    (
        _by_dot_product,
        "You rank by the dot product. A long row is everybody's neighbour then: divide by both lengths.",
    ),
    (
        _by_distance,
        "You rank by distance. Two rows of one direction and different lengths are far apart, and have the cosine 1.",
    ),
    (
        _on_the_map,
        "You look for neighbours on the map. It shows k of the D dimensions: use the whole rows.",
    ),
    (
        _of_centred_rows,
        "You take the mean off before the cosine. The map needs that; here the angle is the one between the rows "
        "themselves.",
    ),
    (
        _itself_first,
        "You list each token as its own nearest neighbour. Its cosine with itself is 1, always: leave it out.",
    ),
    (
        _least_similar,
        "You sort the cosines from the smallest. The nearest neighbour has the largest.",
    ),
)

PROBES = (_TELLING,)
