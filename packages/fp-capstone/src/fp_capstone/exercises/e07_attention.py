r"""
Back through causal attention, with grouped heads and dropout.

Level: challenge. You need `linear_backward`, the softmax and `fp_attention.scaled_dot`. Derive first;
`fp_capstone.attention` has the answer.

There are $B$ texts of $T$ positions, $H$ query heads of width $D$, and $K$ heads of keys and values, where $K$ divides
$H$: query heads $0, \dots, H/K - 1$ read key head 0, the next $H/K$ read key head 1, and so on. Let $k(h)$ be the key
head of query head $h$. For each text and each query head

$$
S_{ij} = \frac{1}{\sqrt D} \sum_d q_{ihd}\, k_{j\,k(h)\,d} \quad (j \le i), \qquad
P_{ij} = \frac{e^{S_{ij}}}{\sum_{l \le i} e^{S_{il}}}, \qquad
Y_{ihd} = \sum_{j \le i} P_{ij} M_{ij}\, v_{j\,k(h)\,d},
$$

with $P_{ij} = 0$ for $j > i$, and with factors $M_{ij}$ that dropout has drawn: 0, or $1/(1-p)$. $P$ and $M$ were kept
from the way forward, and so were $q$, $k$ and $v$; the gradient of the loss in $Y$ has arrived. What are the gradients
in $q$, $k$ and $v$?

Go back the way you came: a product, the mask of dropout, a softmax in each row, a product. Then remember what happens
to the gradient of something that several used.

You learn the one backward pass of a transformer that mixes positions.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Give every query head keys and values of its own first: `np.repeat(k, H // K, axis=2)`. Then V receives "
    "(P * M)^T G, and P * M receives G V^T, so that P receives M * (G V^T), with the M that was drawn.",
    "A row's softmax: dS = P * (dP - sum over l of P_l dP_l). It is zero where P is zero, so nothing crosses the "
    "causal mask. S = Q K^T / sqrt(D): the factor stays, for both. At last a key head adds up what its group has: "
    "reshape `(B, T, H, D)` to `(B, T, K, H // K, D)` and sum over axis 3.",
    "`dP = M * np.einsum('bihd,bjhd->bhij', g, v)`, `dS = P * (dP - (P * dP).sum(axis=-1, keepdims=True)) / sqrt(D)`, "
    "`dq = np.einsum('bhij,bjhd->bihd', dS, k)`, and with `'bhij,bihd->bjhd'` from dS and q the keys' gradient, from "
    "P * M and g the values'.",
)


def attention_backward(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Gradients of a loss in queries, keys and values.

    Parameters
    ----------
    g
        The gradient of the loss in the result, floats of shape `(B, T, H, D)`.
    q
        Queries, `(B, T, H, D)`.
    k, v
        Keys and values, `(B, T, K, D)`.
    P
        The weights before dropout, `(B, H, T, T)`: text, query head, query, key. Zero for keys behind the query.
    M
        What dropout multiplied them by, `(B, H, T, T)`; all ones without dropout.

    Returns
    -------
    dq, dk, dv : ndarray
        In the shapes of `q`, `k` and `v`.

    Examples
    --------
    Two positions, one head of width one, all queries and keys zero; the loss is the second result:

    >>> q, v = np.zeros((1, 2, 1, 1)), np.array([2.0, 6.0]).reshape(1, 2, 1, 1)
    >>> P = np.array([[[[1.0, 0.0], [0.5, 0.5]]]])
    >>> g = np.array([0.0, 1.0]).reshape(1, 2, 1, 1)
    >>> dq, dk, dv = attention_backward(g, q, q, v, P, np.ones_like(P))
    >>> dq.ravel().tolist(), dk.ravel().tolist(), dv.ravel().tolist()
    ([0.0, 0.0], [0.0, 0.0], [0.5, 0.5])
    """
    B, T, H, D = q.shape
    K = k.shape[2]
    k, v = np.repeat(k, H // K, axis=2), np.repeat(v, H // K, axis=2)  # B T H D
    dv = np.einsum("bhij,bihd->bjhd", P * M, g)
    dP = M * np.einsum("bihd,bjhd->bhij", g, v)
    dS = P * (dP - (P * dP).sum(axis=-1, keepdims=True)) / math.sqrt(D)
    dq = np.einsum("bhij,bjhd->bihd", dS, k)
    dk = np.einsum("bhij,bihd->bjhd", dS, q)
    group = B, T, K, H // K, D
    return dq, dk.reshape(group).sum(axis=3), dv.reshape(group).sum(axis=3)


_Given = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _weights(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """P by its definition, for numbers that may be complex."""
    B, T, H, D = q.shape
    P = np.zeros((B, H, T, T), q.dtype)
    for b, h, i in np.ndindex(B, H, T):
        s = k[b, : i + 1, h * k.shape[2] // H] @ q[b, i, h] / D**0.5
        e = np.exp(s - s.real.max())
        P[b, h, i, : i + 1] = e / e.sum()
    return P


def _loss(q: np.ndarray, k: np.ndarray, v: np.ndarray, g: np.ndarray, M: np.ndarray) -> complex:
    """The sum of g * Y, query by query."""
    P, (B, T, H, _) = _weights(q, k) * M, q.shape
    heads = [h * k.shape[2] // H for h in range(H)]
    return complex(sum(g[b, i, h] @ (P[b, h, i] @ v[b, :, heads[h]]) for b, i, h in np.ndindex(B, T, H)))


def _drawn(B: int, T: int, H: int, K: int, D: int, seed: int, rate: float = 0.0) -> _Given:
    rng = np.random.default_rng(seed)
    g, q = rng.normal(size=(2, B, T, H, D))
    k, v = rng.normal(size=(2, B, T, K, D))
    M = (rng.random((B, H, T, T)) >= rate) / (1 - rate)
    return g, q, k, v, _weights(q, k), M


_CASES: tuple[tuple[str, _Given], ...] = (
    ("one head of width one, two positions", _drawn(1, 2, 1, 1, 1, 0)),
    ("one head of width three, three positions", _drawn(1, 3, 1, 1, 3, 1)),
    ("two heads of width three, three positions", _drawn(1, 3, 2, 2, 3, 2)),
    ("two texts, two heads of width two, five positions", _drawn(2, 5, 2, 2, 2, 3)),
    ("four query heads that share two key heads", _drawn(1, 3, 4, 2, 2, 4)),
    ("one head, half of the weights erased by dropout", _drawn(1, 5, 1, 1, 3, 6, 0.5)),
    ("six query heads, two key heads, dropout", _drawn(1, 3, 6, 2, 2, 9, 0.3)),
)
PROBES = tuple(given for _, given in _CASES)

_WHY = {
    "dv": "V enters by Y = (P * M) V: what arrives is (P * M)^T G, added up over the query heads that share a head.",
    "dq": "Q enters by S = Q K^T / sqrt(D). Are the factor, the term common to a row, and dropout's M in dP all there?",
    "dk": "K enters by S = Q K^T / sqrt(D), read by every later query of every head of its group.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, given in _CASES:
        g, q, k, v, _, M = given
        got = learner.attention_backward(*(a.copy() for a in given))
        assert isinstance(got, tuple | list) and len(got) == 3, f"{case}: expected dq, dk and dv, got {got!r:.80}"
        # the values first: who has these wrong need not look at what is harder
        for at, name in ((2, "dv"), (0, "dq"), (1, "dk")):
            expected = _slopes(lambda q, k, v, g=g, M=M: _loss(q, k, v, g, M), [q, k, v], at)
            _compare(case, name, got[at], expected, _WHY[name])


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


def _repeated(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.repeat(k, q.shape[2] // k.shape[2], axis=2)


def _grouped(dk: np.ndarray, K: int) -> np.ndarray:
    B, T, H, D = dk.shape
    return dk.reshape(B, T, K, H // K, D)


def _from_scores(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, P: np.ndarray, M: np.ndarray, dS: np.ndarray
) -> _Gradients:
    """The products of the way back, for a gradient of the scores that may be wrong."""
    K, D = k.shape[2], q.shape[3]
    dq = np.einsum("bhij,bjhd->bihd", dS, _repeated(q, k)) / math.sqrt(D)
    dk = np.einsum("bhij,bihd->bjhd", dS, q) / math.sqrt(D)
    dv = np.einsum("bhij,bihd->bjhd", P * M, g)
    return dq, _grouped(dk, K).sum(axis=3), _grouped(dv, K).sum(axis=3)


def _weights_gradient(g: np.ndarray, q: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.einsum("bihd,bjhd->bhij", g, _repeated(q, v))


def _no_factor(g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray) -> _Gradients:
    dq, dk, dv = attention_backward(g, q, k, v, P, M)
    return dq * math.sqrt(q.shape[3]), dk * math.sqrt(q.shape[3]), dv


def _no_row_term(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    return _from_scores(g, q, k, P, M, P * M * _weights_gradient(g, q, v))


def _rows_and_columns(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    dP = M * _weights_gradient(g, q, v)
    return _from_scores(g, q, k, P, M, P * (dP - (P * dP).sum(axis=-2, keepdims=True)))


def _dropout_forgotten(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    return attention_backward(g, q, k, v, P, np.ones_like(M))


def _dropout_in_the_values_only(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    dq, dk, _ = attention_backward(g, q, k, v, P, np.ones_like(M))
    return dq, dk, attention_backward(g, q, k, v, P, M)[2]


def _fresh_mask(g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray) -> _Gradients:
    kept = 1 / M.max()
    return attention_backward(g, q, k, v, P, (np.random.default_rng(17).random(M.shape) < kept) / kept)


def _dropped_weights_in_the_softmax(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    dP = M * _weights_gradient(g, q, v)
    W = P * M
    return _from_scores(g, q, k, P, M, W * (dP - (W * dP).sum(axis=-1, keepdims=True)))


def _keys_not_transposed(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    K = k.shape[2]
    dP = M * _weights_gradient(g, q, v)
    dS = P * (dP - (P * dP).sum(axis=-1, keepdims=True)) / math.sqrt(q.shape[3])
    dk = np.einsum("bhij,bjhd->bihd", dS, q)
    dv = np.einsum("bhij,bjhd->bihd", P * M, g)
    dq = attention_backward(g, q, k, v, P, M)[0]
    return dq, _grouped(dk, K).sum(axis=3), _grouped(dv, K).sum(axis=3)


def _group_averaged(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    dq, dk, dv = attention_backward(g, q, k, v, P, M)
    size = q.shape[2] // k.shape[2]
    return dq, dk / size, dv / size


def _first_of_the_group(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    K = k.shape[2]
    dq, dk, dv = attention_backward(g, q, _repeated(q, k), _repeated(q, v), P, M)
    return dq, _grouped(dk, K)[:, :, :, 0].copy(), _grouped(dv, K)[:, :, :, 0].copy()


def _heads_in_turn(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, P: np.ndarray, M: np.ndarray
) -> _Gradients:
    B, T, H, D = q.shape
    K = k.shape[2]
    k, v = np.tile(k, (1, 1, H // K, 1)), np.tile(v, (1, 1, H // K, 1))
    dq, dk, dv = attention_backward(g, q, k, v, P, M)
    return dq, dk.reshape(B, T, H // K, K, D).sum(axis=2), dv.reshape(B, T, H // K, K, D).sum(axis=2)


MISTAKES = (
    (
        _no_factor,
        "You leave out 1 / sqrt(D) on the way back. The scores are a product times that factor, and so are the "
        "gradients of queries and keys.",
    ),
    (
        _no_row_term,
        "You multiply by the weights and stop. All weights of a row share one sum: when a score grows the others "
        "shrink, so the mean of the row's gradient under its weights is taken away.",
    ),
    (
        _rows_and_columns,
        "You sum the common term over the queries. Each query has a softmax of its own: the sum runs over the keys, "
        "the last axis.",
    ),
    (
        _dropout_forgotten,
        "You forget dropout on the way back. What was multiplied by M on the way forward is multiplied by M on the "
        "way back, in the values' gradient and in that of the weights.",
    ),
    (
        _dropout_in_the_values_only,
        "You use dropout's M for the values and forget it for the weights. A weight that was erased moves nothing, so "
        "its gradient is zero: dP = M * (G V^T).",
    ),
    (
        _fresh_mask,
        "You draw a new mask on the way back. The gradient belongs to the weights that were erased on the way "
        "forward: use the M that was kept.",
    ),
    (
        _dropped_weights_in_the_softmax,
        "You use the weights after dropout in the softmax's way back. The softmax made P; M came later and is in dP "
        "already.",
    ),
    (
        _keys_not_transposed,
        "You forget the transpose for keys and values. Key j was read by the queries i, and what comes back to it is "
        "column j: the sum runs over i.",
    ),
    (
        _group_averaged,
        "You average over the query heads that share a key head. All of them read it, and small changes add.",
    ),
    (
        _first_of_the_group,
        "You take the first query head of each group for the whole group. A key head was read by all of them, and "
        "their gradients add up.",
    ),
    (
        _heads_in_turn,
        "You deal the query heads out to the key heads in turn. Consecutive ones share: head h reads key head "
        "h // (H / K), as `np.repeat` lays them out, not `np.tile`.",
    ),
)
