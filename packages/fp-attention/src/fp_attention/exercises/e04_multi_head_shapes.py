r"""
Heads: splitting, sharing keys, and merging.

Level: implement. You need `fp_attention.multihead`.

A linear layer has made the queries of all $H$ heads at once: rows of $H D$ numbers, in which the first $D$ belong to
head 0, the next $D$ to head 1, and so on. Keys and values come in the same way, from $H_{kv}$ heads, which may be
fewer: then each serves $G = H / H_{kv}$ neighbouring query heads, the first one the query heads $0, \dots, G - 1$. Each
query head $h$ attends by itself, with no mask,

$$
Y_h = \operatorname{softmax} \Big( \frac{Q_h K_c^\top}{\sqrt D} \Big)\, V_c, \qquad
c = \Big\lfloor \frac{h}{G} \Big\rfloor,
$$

and the results are written side by side again: in each row those of head 0 first, then those of head 1. Values may be
of another width $D_v$ than keys.

Nothing here is hard, and yet most first attempts are wrong: an array can be given any shape that has the right number
of entries, and nobody complains. Work out which axis is which before and after each step.

You learn the pair of steps, reshape and transpose, that splits heads, and why merging needs them in the other order.
"""

import math
from typing import Any

import numpy as np

HINTS = (
    "Reshaping never moves a number, it only names places anew. In the row of a position the number of head h and "
    "entry e stands at h * D + e, so the last axis becomes two: (B, T, H, D). The axes are then transposed to "
    "(B, H, T, D), so that each head is a matrix.",
    "To merge, go back the same way: transpose (B, H, T, Dv) to (B, T, H, Dv), then reshape. For shared keys each key "
    "head is to stand G times in a row, 0, 0, 1, 1 and not 0, 1, 0, 1: `np.repeat` along the axis of heads.",
    "`split = lambda x, n: x.reshape(B, -1, n, x.shape[-1] // n).transpose(0, 2, 1, 3)`. Scores are "
    "`q @ k.swapaxes(-1, -2) / np.sqrt(D)`, the softmax runs over the last axis, and "
    "`y.transpose(0, 2, 1, 3).reshape(B, Tq, -1)` merges.",
)


def multi_head(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    """
    Attention of several heads, from rows that hold all heads side by side.

    Parameters
    ----------
    q
        Queries, (B, Tq, H * D).
    k, v
        Keys, (B, Tk, Hkv * D), and values, (B, Tk, Hkv * Dv).
    n_heads, n_kv_heads
        H and Hkv; H is a multiple of Hkv.

    Returns
    -------
    ndarray
        (B, Tq, H * Dv), the results of all heads side by side.

    Examples
    --------
    >>> v = np.array([[[1.0, 2.0, 30.0, 40.0], [3.0, 4.0, 50.0, 60.0]]])  # two tokens, two heads of width two
    >>> multi_head(np.zeros((1, 1, 4)), np.zeros((1, 2, 4)), v, 2, 2).tolist()  # equal scores, so means
    [[[2.0, 3.0, 40.0, 50.0]]]
    >>> multi_head(np.zeros((1, 1, 8)), np.zeros((1, 2, 4)), v, 4, 2).tolist()  # each key head serves two
    [[[2.0, 3.0, 2.0, 3.0, 40.0, 50.0, 40.0, 50.0]]]
    """
    B, Tq, _ = q.shape
    group = n_heads // n_kv_heads
    qh = _split(q, n_heads)
    kh, vh = (np.repeat(_split(x, n_kv_heads), group, axis=1) for x in (k, v))
    y = _attend(qh, kh, vh)
    return y.transpose(0, 2, 1, 3).reshape(B, Tq, -1)


def _split(x: np.ndarray, n: int) -> np.ndarray:
    """(B, T, n * D) to (B, n, T, D)."""
    B, T, C = x.shape
    return x.reshape(B, T, n, C // n).transpose(0, 2, 1, 3)


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, axis: int = -1, width: float | None = None) -> np.ndarray:
    """Each head by itself."""
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(width or q.shape[-1])
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True) @ v)


def _case(B: int, Tq: int, Tk: int, H: int, Hkv: int, D: int, Dv: int, seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=s) for s in ((B, Tq, H * D), (B, Tk, Hkv * D), (B, Tk, Hkv * Dv)))
    return 2 * q, k, v, H, Hkv


_CASES = (
    (_case(1, 3, 3, 1, 1, 2, 2, 0), "One head is attention as you know it."),
    (_case(1, 3, 3, 3, 3, 3, 3, 1), "Split and merge: every head has its own D neighbouring numbers of each row."),
    (_case(1, 2, 3, 2, 2, 5, 5, 2), "There may be another number of queries than of keys."),
    (
        _case(1, 3, 3, 4, 2, 4, 4, 3),
        "Neighbouring query heads share a key head: 0 and 1 the first, 2 and 3 the other.",
    ),
    (_case(1, 3, 5, 6, 1, 2, 2, 4), "With one key head, all query heads share it."),
    (_case(1, 2, 3, 2, 2, 2, 7, 5), "Values have a width of their own."),
    (_case(3, 4, 5, 6, 3, 2, 7, 6), "Every text is treated alone."),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for (q, k, v, H, Hkv), why in _CASES:
        got = learner.multi_head(q.copy(), k.copy(), v.copy(), H, Hkv)
        B, Tq, _ = q.shape
        D, Dv = q.shape[2] // H, v.shape[2] // Hkv
        case = f"queries {q.shape}, keys {k.shape}, values {v.shape}, {H} heads and {Hkv} key heads"
        assert isinstance(got, np.ndarray) and got.dtype.kind == "f", (
            f"{case}: expected an array of floats, got {got!r:.80}"
        )
        assert got.shape == (B, Tq, H * Dv), f"{case}: expected the shape {(B, Tq, H * Dv)}, got {got.shape}"
        for b in range(B):
            for t in range(Tq):
                for h in range(H):
                    expected = _one(q[b, t], k[b], v[b], h, h // (H // Hkv), D, Dv)
                    came = got[b, t, h * Dv : (h + 1) * Dv]
                    # rounding is near 1e-16, and any mistake far above 1e-9
                    assert np.allclose(came, expected, rtol=0, atol=1e-9), (
                        f"{case}: text {b}, position {t}, head {h}: expected {_show(expected)}, got {_show(came)}. "
                        f"{why}"
                    )


def _one(q: np.ndarray, k: np.ndarray, v: np.ndarray, h: int, shared: int, D: int, Dv: int) -> list[float]:
    """One head of one query, number by number."""
    scores = [sum(float(q[h * D + e] * row[shared * D + e]) for e in range(D)) / math.sqrt(D) for row in k]
    weights = [math.exp(s - max(scores)) for s in scores]
    total = sum(weights)
    return [sum(p * float(row[shared * Dv + e]) for p, row in zip(weights, v, strict=True)) / total for e in range(Dv)]


def _show(line: Any) -> str:
    return f"[{', '.join(f'{x:.6g}' for x in line)}]"


_Three = tuple[np.ndarray, np.ndarray, np.ndarray]


def _merge(y: np.ndarray) -> np.ndarray:
    B, H, T, D = y.shape
    return y.transpose(0, 2, 1, 3).reshape(B, T, H * D)


def _heads(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> _Three:
    group = n_heads // n_kv_heads
    kh, vh = (np.repeat(_split(x, n_kv_heads), group, axis=1) for x in (k, v))
    return _split(q, n_heads), kh, vh


def _split_without_transpose(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    def split(x: np.ndarray, n: int) -> np.ndarray:
        return np.repeat(x.reshape(len(x), n, x.shape[1], -1), n_heads // n, axis=1)

    return _merge(_attend(split(q, n_heads), split(k, n_kv_heads), split(v, n_kv_heads)))


def _every_nth_number(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    def split(x: np.ndarray, n: int) -> np.ndarray:
        B, T, _ = x.shape
        return np.repeat(x.reshape(B, T, -1, n).transpose(0, 3, 1, 2), n_heads // n, axis=1)

    return _merge(_attend(split(q, n_heads), split(k, n_kv_heads), split(v, n_kv_heads)))


def _merged_without_transpose(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    y = _attend(*_heads(q, k, v, n_heads, n_kv_heads))
    return y.reshape(len(q), q.shape[1], -1)


def _merged_by_a_wrong_transpose(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int
) -> np.ndarray:
    y = _attend(*_heads(q, k, v, n_heads, n_kv_heads))
    return y.transpose(0, 2, 3, 1).reshape(len(q), q.shape[1], -1)


def _averaged(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    return np.asarray(_attend(*_heads(q, k, v, n_heads, n_kv_heads)).mean(axis=1))


def _tiled(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    kh, vh = (np.tile(_split(x, n_kv_heads), (1, n_heads // n_kv_heads, 1, 1)) for x in (k, v))
    return _merge(_attend(_split(q, n_heads), kh, vh))


def _one_wide_head(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    group = n_heads // n_kv_heads
    kh, vh = (_merge(np.repeat(_split(x, n_kv_heads), group, axis=1)) for x in (k, v))
    return _attend(q, kh, vh)


def _scaled_by_the_whole_width(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int
) -> np.ndarray:
    return _merge(_attend(*_heads(q, k, v, n_heads, n_kv_heads), width=q.shape[-1]))


def _not_scaled(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    return _merge(_attend(*_heads(q, k, v, n_heads, n_kv_heads), width=1))


def _over_queries(q: np.ndarray, k: np.ndarray, v: np.ndarray, n_heads: int, n_kv_heads: int) -> np.ndarray:
    return _merge(_attend(*_heads(q, k, v, n_heads, n_kv_heads), axis=-2))


MISTAKES = (
    (
        _split_without_transpose,
        "You reshape straight to (B, H, T, D). The numbers of a row are then cut along the positions, and a head gets "
        "pieces of several tokens: reshape to (B, T, H, D), and transpose.",
    ),
    (
        _every_nth_number,
        "You give head h every H-th number, starting with the h-th. A head owns D neighbours: the last axis becomes "
        "(H, D), in this order, and not (D, H).",
    ),
    (
        _merged_without_transpose,
        "You merge by a reshape alone. Behind (B, H, T, Dv) the numbers of one head stand together for all positions, "
        "and a row of yours mixes positions: transpose to (B, T, H, Dv) first.",
    ),
    (
        _merged_by_a_wrong_transpose,
        "You merge by a wrong transpose: to (B, T, Dv, H), which interleaves the heads. Each head's numbers are to "
        "stand side by side: (B, T, H, Dv), then reshape.",
    ),
    (
        _averaged,
        "You average the heads. What one head found would be lost among the others: they are written side by side, and "
        "the layer that follows decides what to make of each.",
    ),
    (
        _tiled,
        "You repeat the key heads as 0, 1, 0, 1. Neighbouring query heads share a key head, as the weights of trained "
        "models expect it: 0, 0, 1, 1.",
    ),
    (
        _one_wide_head,
        "You attend once, with rows that hold all heads. All scores are then added up into one, and there is one set "
        "of weights: each head is to have its own.",
    ),
    (
        _scaled_by_the_whole_width,
        "You divide by the root of the whole width. A score is a sum of D products, and D is the width of one head.",
    ),
    (
        _not_scaled,
        "You leave out the division by sqrt(D). The scores spread with the root of the width, and the softmax "
        "saturates.",
    ),
    (
        _over_queries,
        "You take the softmax over the queries. Each query's weights sum to 1 over the keys, the last axis of the "
        "scores.",
    ),
)

PROBES = tuple(case for case, _ in _CASES)
