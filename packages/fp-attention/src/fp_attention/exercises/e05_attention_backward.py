r"""
The way back through attention.

Level: challenge. You need `fp_attention.scaled_dot` and `autograd.matmul-rule`.

One head takes queries $Q$, keys $K$ and values $V$, a row for each position, and computes

$$
S = \frac{Q K^\top}{\sqrt d}, \qquad
P_{ij} = \frac{M_{ij}\, e^{S_{ij}}}{\sum_l M_{il}\, e^{S_{il}}}, \qquad
Y = P V,
$$

where $M_{ij}$ is 1 if query $i$ sees key $j$ and 0 if not. A loss was computed from $Y$, and its gradient $G$ in $Y$
has arrived: $G_{ic} = \partial \ell / \partial Y_{ic}$. What are the gradients in $Q$, $K$ and $V$?

Go back the way you came. Two of the three steps are matrix products. The one between them is a softmax in each row: a
score moves every weight of its row, so every entry of the row's gradient has a part in the gradient of each score.
Scores may run into the thousands, where exponentials overflow; to take one number from all scores of a row changes no
weight.
Write the three lines on paper, check their shapes, and only then type. There are Tq queries of width d, Tk keys of
width d and Tk values of width e, so that a transpose in the wrong place mostly does not even run.

No automatic differentiation, please: this is what is inside it. Your answer is compared with finite differences of the
three formulas above.

You learn which way the gradient takes in a transformer, and why it dies where the softmax saturates.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "For a product A = B C the gradients are dB = dA C^T and dC = B^T dA. So the gradient in V is P^T G, and that in P "
    "is G V^T. The third product is Q K^T / sqrt(d), whose factor stays a factor on the way back, for both.",
    "The Jacobian of a softmax is diag(p) - p p^T. Applied to the gradient dP of a row of weights it gives "
    "p_j (dP_j - sum over l of p_l dP_l): the same number is taken from all entries of a row.",
    "`dP = g @ v.T`, then `dS = P * (dP - (P * dP).sum(axis=1, keepdims=True))`, and `dS @ k / np.sqrt(d)` for the "
    "queries, `dS.T @ q / np.sqrt(d)` for the keys. A masked weight is 0, and so is the gradient of its score.",
)


def attention_backward(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Gradients of a loss in the queries, keys and values of one head.

    Parameters
    ----------
    q
        Queries, float64, shape (Tq, d).
    k, v
        Keys, (Tk, d), and values, (Tk, e).
    seen
        bool, shape (Tq, Tk): which query sees which key. Every query sees at least one.
    g
        The gradient of the loss in the result, (Tq, e).

    Returns
    -------
    dq, dk, dv : ndarray
        The gradients of the loss, in the shapes of `q`, `k` and `v`.

    Examples
    --------
    A query with equal scores for two keys, whose values are 2 and 6. The loss is the result itself:

    >>> q, k, v = np.array([[0.0]]), np.array([[1.0], [-1.0]]), np.array([[2.0], [6.0]])
    >>> dq, dk, dv = attention_backward(q, k, v, np.array([[True, True]]), np.array([[1.0]]))
    >>> dq.tolist(), dk.tolist(), dv.tolist()
    ([[-2.0]], [[0.0], [0.0]], [[0.5], [0.5]])
    """
    scale = 1 / math.sqrt(q.shape[1])
    P = _weights(q, k, seen)
    dv = P.T @ g
    dP = g @ v.T
    dS = P * (dP - (P * dP).sum(axis=1, keepdims=True))
    return scale * dS @ k, scale * dS.T @ q, dv


def _weights(q: np.ndarray, k: np.ndarray, seen: np.ndarray) -> np.ndarray:
    scores = np.where(seen, q @ k.T / math.sqrt(q.shape[1]), -np.inf)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _case(Tq: int, Tk: int, d: int, e: int, mask: str, seed: int, size: float | int = 1) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    q, k, v, g = (rng.normal(size=s) for s in ((Tq, d), (Tk, d), (Tk, e), (Tq, e)))
    i, j = np.arange(Tq)[:, None] + Tk - Tq, np.arange(Tk)
    seen = {"all": j >= 0, "causal": j <= i, "window": (j <= i) & (j > i - 2)}[mask] & np.ones((Tq, 1), bool)
    return size * q, k, v, seen, g


_CASES = (
    _case(1, 2, 1, 1, "all", 0),
    _case(3, 3, 3, 3, "all", 1),  # square: a transpose in the wrong place gives a wrong number, and no error
    _case(3, 3, 3, 3, "causal", 2),
    _case(2, 5, 3, 7, "all", 3),
    _case(3, 5, 2, 4, "causal", 4),
    _case(5, 5, 3, 2, "window", 5),
    _case(3, 3, 2, 2, "causal", 6, 2000),
)

_WHY = {
    "dv": "V enters by Y = P V alone, so its gradient is P^T G.",
    "dq": "Q enters by S = Q K^T / sqrt(d). Are the factor, and the term common to a row of weights, both there?",
    "dk": "K enters by S = Q K^T / sqrt(d). Its gradient collects from all queries: dS^T Q, with the factor.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for q, k, v, seen, g in _CASES:
        got = learner.attention_backward(q.copy(), k.copy(), v.copy(), seen.copy(), g.copy())
        case = f"{len(q)} queries and {len(k)} keys of width {q.shape[1]}, values of width {v.shape[1]}"
        case += "" if seen.all() else f", mask {seen.astype(int).tolist()}"
        assert isinstance(got, tuple | list) and len(got) == 3, f"{case}: expected dq, dk and dv, got {got!r:.80}"
        for name, x, dx in zip(("dq", "dk", "dv"), (q, k, v), got, strict=True):
            assert isinstance(dx, np.ndarray) and dx.dtype.kind == "f" and dx.shape == x.shape, (
                f"{case}: {name} is an array of floats of shape {x.shape}, got {_what(dx)}"
            )
        # the values first: who has these wrong need not look at what is harder
        for name, at in (("dv", 2), ("dq", 0), ("dk", 1)):
            expected = _differences([q, k, v], at, seen, g)
            # central differences are off by the step squared and by rounding over the step, both near 1e-10 of the
            # largest; a mistake is far above 1e-6
            size = max(1.0, float(np.abs(expected).max()))
            wrong = ~(np.abs(got[at] - expected) <= 1e-6 * size)
            if wrong.any():
                i, j = (int(x) for x in np.argwhere(wrong)[0])
                raise AssertionError(
                    f"{case}: {name}[{i}, {j}] is {expected[i, j]:.8g} by finite differences, got "
                    f"{got[at][i, j]:.8g}. {_WHY[name]}"
                )


def _differences(qkv: list[np.ndarray], at: int, seen: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The gradient of the loss sum(g * Y) in one of the three, by central differences."""
    gradient, step = np.zeros_like(qkv[at]), 1e-5
    for where in np.ndindex(gradient.shape):
        ends = []
        for sign in (1, -1):
            moved = [x.copy() for x in qkv]
            moved[at][where] += sign * step
            q, k, v = moved
            ends.append(float((g * (_weights(q, k, seen) @ v)).sum()))
        gradient[where] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def _what(x: Any) -> str:
    return f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else f"{x!r:.80}"


_Gradients = tuple[np.ndarray, np.ndarray, np.ndarray]


def _back(P: np.ndarray, dS: np.ndarray, q: np.ndarray, k: np.ndarray, g: np.ndarray) -> _Gradients:
    """The products of the way back, for weights and a gradient of scores that may be wrong."""
    scale = 1 / math.sqrt(q.shape[1])
    return scale * dS @ k, scale * dS.T @ q, P.T @ g


def _no_factor(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    dq, dk, dv = attention_backward(q, k, v, seen, g)
    return math.sqrt(q.shape[1]) * dq, math.sqrt(q.shape[1]) * dk, dv


def _factor_for_queries_only(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray
) -> _Gradients:
    dq, dk, dv = attention_backward(q, k, v, seen, g)
    return dq, math.sqrt(q.shape[1]) * dk, dv


def _no_row_term(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    P = _weights(q, k, seen)
    return _back(P, P * (g @ v.T), q, k, g)


def _diagonal_alone(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    P = _weights(q, k, seen)
    return _back(P, P * (1 - P) * (g @ v.T), q, k, g)


def _row_term_without_weights(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray
) -> _Gradients:
    P, dP = _weights(q, k, seen), g @ v.T
    return _back(P, P * (dP - dP.mean(axis=1, keepdims=True)), q, k, g)


def _sum_over_queries(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    P, dP = _weights(q, k, seen), g @ v.T
    return _back(P, P * (dP - (P * dP).sum(axis=0, keepdims=True)), q, k, g)


def _softmax_skipped(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    return _back(_weights(q, k, seen), np.where(seen, g @ v.T, 0), q, k, g)


def _keys_not_transposed(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    P, dP = _weights(q, k, seen), g @ v.T
    dS = P * (dP - (P * dP).sum(axis=1, keepdims=True)) / math.sqrt(q.shape[1])
    return dS @ k, dS @ q, P.T @ g


def _values_not_transposed(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    dq, dk, _ = attention_backward(q, k, v, seen, g)
    return dq, dk, _weights(q, k, seen) @ g


def _mask_forgotten(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    return attention_backward(q, k, v, np.ones_like(seen), g)


def _mask_after_softmax(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    everything = _weights(q, k, np.ones_like(seen))
    P, dP = everything * seen, (g @ v.T) * seen
    return _back(P, everything * (dP - (everything * dP).sum(axis=1, keepdims=True)), q, k, g)


def _no_shift(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray, g: np.ndarray) -> _Gradients:
    dP = g @ v.T
    with np.errstate(all="ignore"):
        e = np.where(seen, np.exp(q @ k.T / math.sqrt(q.shape[1])), 0)
        P = e / e.sum(axis=1, keepdims=True)
        return _back(P, P * (dP - (P * dP).sum(axis=1, keepdims=True)), q, k, g)


MISTAKES = (
    (
        _no_factor,
        "You leave out 1 / sqrt(d) on the way back. The scores are the product times a factor, and by the chain rule "
        "so are the gradients of queries and keys.",
    ),
    (
        _factor_for_queries_only,
        "You give the factor 1 / sqrt(d) to the queries' gradient only. It stands in front of the whole product, so "
        "both sides of the product get it.",
    ),
    (
        _no_row_term,
        "You multiply by the weights and stop. All weights of a row share one sum: when a score grows the other "
        "weights shrink, so the mean of the row's gradient under its weights is subtracted.",
    ),
    (
        _diagonal_alone,
        "You use p (1 - p), the diagonal of the Jacobian. A score moves all weights of its row, and their gradients "
        "come back to it through -p_i p_j.",
    ),
    (
        _row_term_without_weights,
        "You subtract the plain mean of the row's gradient. It is the mean under the weights that is subtracted: the "
        "sum of p_j times its gradient.",
    ),
    (
        _sum_over_queries,
        "You sum the common term over the queries. Each row has a softmax of its own: the sum runs over the keys of "
        "one query.",
    ),
    (
        _softmax_skipped,
        "You pass the gradient of the weights on to the scores as it is. Between the two is the softmax, and it has a "
        "Jacobian.",
    ),
    (
        _keys_not_transposed,
        "You forget the transpose in the keys' gradient. Row j of it collects from all queries i the numbers dS_ij, "
        "and these stand in column j: dS^T Q.",
    ),
    (
        _values_not_transposed,
        "You forget the transpose in the values' gradient. Value j was read by all queries i with the weights P_ij, "
        "and what it gets back is column j: P^T G.",
    ),
    (
        _mask_forgotten,
        "You compute the weights without the mask. The way back is through the weights that were used: a masked weight "
        "is 0, and the others of its row are larger.",
    ),
    (
        _mask_after_softmax,
        "You mask after the softmax. The masked scores are then still in the sum that the others were divided by, and "
        "so get a gradient.",
    ),
    (
        _no_shift,
        "You take exponentials of the scores as they are. Large ones overflow: subtract the largest that is seen in "
        "each row first.",
    ),
)

PROBES = _CASES
