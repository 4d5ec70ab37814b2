r"""
A block: two branches beside a line.

Level: implement. You need `fp_transformer.block`, `fp_attention.multihead` and `fp_attention.masks`.

Put together what you have: from the stream $x$, a row of $C$ numbers for each position, a block makes

$$
x' = x + \operatorname{attention} \big( \operatorname{norm}(x, \gamma_1) \big)\, W_o, \qquad
x'' = x' + \operatorname{relu} \big( \operatorname{norm}(x', \gamma_2)\, W_1 \big)\, W_2 ,
$$

where $\operatorname{norm}(x, \gamma)$ divides each row by $\sqrt{v + \varepsilon}$, with $v$ the mean of its squares,
and multiplies by the gain $\gamma$. Attention reads its queries, keys and values from the norm,
$Q = n W_q$, $K = n W_k$, $V = n W_v$. The columns of each are those of head 0 first, then those of head 1, and so on;
each head has the width $D = C / H$ and scores divided by $\sqrt D$; the results stand side by side again in front of
$W_o$.

A token looks at itself and at those before it that are no padding. The texts of a batch have different lengths and were
filled up, in front or behind: `real` says which places hold a token. What stands in a place of padding must not reach
any other. That place itself has a result too, of which nothing is asked but that it is what the formulas give, if
padding looks at itself as everybody does, and at the real tokens before it.

You learn that a block is one line, and to tell where each of its parts is attached to it.
"""

from typing import Any

import numpy as np

HINTS = (
    "Two lines of your code should look like the two formulas. Each branch gets the norm of the stream as it is *now*, "
    "and its result is added to that same stream, which no norm has touched.",
    "Heads: `(n @ W).reshape(B, T, H, D).swapaxes(1, 2)`, and back by `y.swapaxes(1, 2).reshape(B, T, C)`. Set scores "
    "that may not be seen to minus infinity before the softmax over the keys, the last axis.",
    "What may be seen, for all heads: `np.tri(T, dtype=bool) & (real[:, None, :] | np.eye(T, dtype=bool))`, of shape "
    "(B, T, T); give it an axis for the heads.",
)


def block(x: np.ndarray, params: dict[str, np.ndarray], n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    """
    Add to the stream what attention and the feed-forward layer find.

    Parameters
    ----------
    x
        The stream, floats of shape `(B, T, C)`.
    params
        `"gain1"`, `"gain2"` of shape `(C,)`; `"Wq"`, `"Wk"`, `"Wv"`, `"Wo"` of shape `(C, C)`; `"W1"` of shape
        `(C, F)`, `"W2"` of shape `(F, C)`.
    n_heads
        H, a divisor of C.
    eps
        As in the norm; positive.
    real
        bool, shape `(B, T)`: which places hold a token; the others are padding.

    Returns
    -------
    ndarray
        The stream, `(B, T, C)`.

    Examples
    --------
    With all matrices zero the branches find nothing, and the stream runs through:

    >>> shapes = {"gain1": 2, "gain2": 2, "Wq": (2, 2), "Wk": (2, 2), "Wv": (2, 2), "Wo": (2, 2), "W1": (2, 3)}
    >>> params = {name: np.zeros(shape) for name, shape in {**shapes, "W2": (3, 2)}.items()}
    >>> block(np.array([[[3.0, 4.0]]]), params, 1, 1e-5, np.array([[True]])).tolist()
    [[[3.0, 4.0]]]
    """
    n = _norm(x, params["gain1"], eps)
    x = x + _attention(n, params, n_heads, _seen(real)) @ params["Wo"]
    n = _norm(x, params["gain2"], eps)
    return np.asarray(x + np.maximum(n @ params["W1"], 0) @ params["W2"])


def _norm(x: np.ndarray, gain: np.ndarray, eps: float, axis: int = -1) -> np.ndarray:
    return np.asarray(x / np.sqrt((x * x).mean(axis=axis, keepdims=True) + eps) * gain)


def _seen(real: np.ndarray) -> np.ndarray:
    T = real.shape[1]
    return np.asarray(np.tri(T, dtype=bool) & (real[:, None, :] | np.eye(T, dtype=bool)))


def _attention(n: np.ndarray, params: dict[str, np.ndarray], n_heads: int, seen: np.ndarray) -> np.ndarray:
    B, T, C = n.shape
    q, k, v = ((n @ params[w]).reshape(B, T, n_heads, -1).swapaxes(1, 2) for w in ("Wq", "Wk", "Wv"))
    scores = np.where(seen[:, None], q @ k.swapaxes(-1, -2) / np.sqrt(C / n_heads), -np.inf)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True) @ v).swapaxes(1, 2).reshape(B, T, C)


_Params = dict[str, np.ndarray]
_Case = tuple[np.ndarray, _Params, int, float, np.ndarray]


def _case(B: int, T: int, H: int, D: int, F: int, seed: int, eps: float = 1e-5, real: Any = None) -> _Case:
    rng = np.random.default_rng(seed)
    C = H * D
    shapes = dict.fromkeys(("Wq", "Wk", "Wv", "Wo"), (C, C)) | {"W1": (C, F), "W2": (F, C)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    params |= {name: rng.uniform(0.5, 2, C) for name in ("gain1", "gain2")}
    mask = np.ones((B, T), bool) if real is None else np.array(real, bool)
    return 2 * rng.normal(size=(B, T, C)), params, H, eps, mask


_CASES = (
    ("one text of one token, one head", _case(1, 1, 1, 3, 5, 0)),
    ("one text of three tokens, one head", _case(1, 3, 1, 3, 2, 1)),
    ("one text of five tokens, two heads, a large eps", _case(1, 5, 2, 3, 7, 2, eps=2.0)),
    ("two texts of four tokens, three heads", _case(2, 4, 3, 2, 5, 3)),
    (
        "three texts, two of them with padding in front",
        _case(3, 4, 2, 2, 3, 4, real=[[0, 0, 1, 1], [1] * 4, [0, 1, 1, 1]]),
    ),
    ("two texts, one of them with padding behind", _case(2, 3, 1, 4, 3, 5, real=[[1, 1, 0], [1, 1, 1]])),
)

PROBES = tuple(case for _, case in _CASES)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, (x, params, H, eps, real) in _CASES:
        got = learner.block(x.copy(), {k: p.copy() for k, p in params.items()}, H, eps, real.copy())
        assert isinstance(got, np.ndarray) and got.dtype.kind == "f" and got.shape == x.shape, (
            f"{name}: expected an array of floats of shape {x.shape}, got "
            + (f"{got.dtype} of shape {got.shape}" if isinstance(got, np.ndarray) else f"{got!r:.80}")
        )
        for b, t in np.ndindex(real.shape):
            before = [s for s in range(t) if real[b, s]]
            expected = _one(x[b, [*before, t]], params, H, eps)
            # two ways round of a few sums: 1e-13
            assert np.allclose(got[b, t], expected, rtol=0, atol=1e-9), (
                f"{name}: in text {b}, place {t} {'' if real[b, t] else '(padding) '}looks at the places "
                f"{[*before, t]}; cut down to these, the text gives {_show(expected)}, yours is {_show(got[b, t])}. "
                f"{_why(real, b, len(before), H)}"
            )


def _one(rows: np.ndarray, params: _Params, H: int, eps: float) -> np.ndarray:
    """The last row of a text all of whose rows may be seen, head by head."""
    normed = [params["gain1"] * row / np.sqrt(np.dot(row, row) / len(row) + eps) for row in rows]
    D, found = len(params["gain1"]) // H, []
    for h in range(H):
        own = slice(h * D, (h + 1) * D)
        q, keys, values = (
            normed[-1] @ params["Wq"][:, own],
            np.array([n @ params["Wk"][:, own] for n in normed]),
            np.array([n @ params["Wv"][:, own] for n in normed]),
        )
        weights = np.exp((keys @ q - (keys @ q).max()) / np.sqrt(D))
        found += (weights @ values / weights.sum()).tolist()
    stream = rows[-1] + np.array(found) @ params["Wo"]
    normed2 = params["gain2"] * stream / np.sqrt(np.dot(stream, stream) / len(stream) + eps)
    return np.asarray(stream + np.where(normed2 @ params["W1"] > 0, normed2 @ params["W1"], 0) @ params["W2"])


def _why(real: np.ndarray, b: int, before: int, H: int) -> str:
    if not real.all():
        return "What stands in a place of padding is seen by no other; scores of keys that may not be seen go first."
    if before == 0:
        return "A token that sees itself alone reads its own value. What is each branch given, and added to?"
    if H > 1:
        return "Each head has D neighbouring columns, scores and weights of its own."
    return "A token looks at itself and at those before it, and its norm is its own."


def _show(row: np.ndarray) -> str:
    return f"[{', '.join(f'{x:.4g}' for x in row)}]"


def _built(
    x: np.ndarray,
    params: _Params,
    n_heads: int,
    eps: float,
    real: np.ndarray,
    axis: int = -1,
    seen: np.ndarray | None = None,
    first: float = 1.0,
    second: float = 1.0,
    out: bool = True,
    gains: tuple[str, str] = ("gain1", "gain2"),
    read: str = "now",
    onto: str = "now",
) -> np.ndarray:
    """The reference with parts exchanged."""
    n = _norm(x, params[gains[0]], eps, axis)
    found = _attention(n, params, n_heads, _seen(real) if seen is None else seen)
    middle = first * x + (found @ params["Wo"] if out else found)
    n = {"now": _norm(middle, params[gains[1]], eps, axis), "before": _norm(x, params[gains[1]], eps), "bare": middle}[
        read
    ]
    return np.asarray(second * (middle if onto == "now" else x) + np.maximum(n @ params["W1"], 0) @ params["W2"])


def _post_norm(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    x = _norm(x + _attention(x, params, n_heads, _seen(real)) @ params["Wo"], params["gain1"], eps)
    return _norm(x + np.maximum(x @ params["W1"], 0) @ params["W2"], params["gain2"], eps)


def _normalised_stream(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    x = _norm(x, params["gain1"], eps)
    x = x + _attention(x, params, n_heads, _seen(real)) @ params["Wo"]
    x = _norm(x, params["gain2"], eps)
    return np.asarray(x + np.maximum(x @ params["W1"], 0) @ params["W2"])


def _first_residual_forgotten(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, first=0.0)


def _second_residual_forgotten(
    x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray
) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, second=0.0)


def _both_residuals_forgotten(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, first=0.0, second=0.0)


def _added_to_the_old(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, onto="before")


def _in_parallel(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, read="before")


def _second_norm_forgotten(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, read="bare")


def _one_gain_twice(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, gains=("gain1", "gain1"))


def _norm_over_positions(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, axis=1)


def _mean_subtracted(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return _norm(x - x.mean(axis=-1, keepdims=True), gain, eps)

    x = x + _attention(norm(x, params["gain1"]), params, n_heads, _seen(real)) @ params["Wo"]
    return np.asarray(x + np.maximum(norm(x, params["gain2"]) @ params["W1"], 0) @ params["W2"])


def _padding_attended(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, seen=np.tri(x.shape[1], dtype=bool)[None])


def _padding_zeroed(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _padding_attended(np.where(real[..., None], x, 0), params, n_heads, eps, real)


def _queries_masked(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    T = x.shape[1]
    seen = np.tri(T, dtype=bool) & (real[:, :, None] | np.eye(T, dtype=bool))
    return _built(x, params, n_heads, eps, real, seen=seen)


def _future_seen(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    seen = real[:, None, :] | np.eye(x.shape[1], dtype=bool)
    return _built(x, params, n_heads, eps, real, seen=seen)


def _one_head(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, 1, eps, real)


def _output_matrix_forgotten(x: np.ndarray, params: _Params, n_heads: int, eps: float, real: np.ndarray) -> np.ndarray:
    return _built(x, params, n_heads, eps, real, out=False)


MISTAKES = (
    (
        _post_norm,
        "You put the norms on the line, behind each addition: post-norm, as in the first transformer. Here the norm "
        "belongs to the branch, and the stream itself is never divided by anything.",
    ),
    (
        _normalised_stream,
        "You go on with the normalised stream. The norm is for the branch alone: what is added to is x as it was.",
    ),
    (
        _first_residual_forgotten,
        "You forget the residual around attention. Its result is added to the stream and does not replace it: a token "
        "would lose what it was.",
    ),
    (
        _second_residual_forgotten,
        "You forget the residual around the feed-forward layer. Its result is added to the stream and does not replace "
        "it.",
    ),
    (
        _both_residuals_forgotten,
        "You forget both residuals: each branch replaces the stream. Then a deep stack multiplies its Jacobians, and "
        "nothing runs straight through.",
    ),
    (
        _added_to_the_old,
        "You add the feed-forward layer's result to the stream in front of the block. What attention added is lost "
        "from the line: the second branch adds to x'.",
    ),
    (
        _in_parallel,
        "Your feed-forward layer reads the stream in front of attention. Some models do that, to compute both at once; "
        "here it reads x', with what attention brought.",
    ),
    (
        _second_norm_forgotten,
        "You give the feed-forward layer the stream without a norm. The stream grows from block to block; each branch "
        "has a norm in front.",
    ),
    (
        _one_gain_twice,
        "You use the first norm's gain for both. Each norm has a gain of its own.",
    ),
    (
        _norm_over_positions,
        "Your norm runs over the positions. A row is measured over its features, the last axis; over positions it "
        "would learn from tokens that come later.",
    ),
    (
        _mean_subtracted,
        "You subtract the mean, as LayerNorm does. This norm divides the row by its size and centres nothing.",
    ),
    (
        _padding_attended,
        "You let padding be attended. What fills up a short text then takes weight from its tokens, and the answer "
        "depends on how long the other texts are.",
    ),
    (
        _padding_zeroed,
        "You set padding to zero and let it be attended. A key of zeros has the score zero, whose exponential is one: "
        "it takes weight all the same. Its score has to be minus infinity.",
    ),
    (
        _queries_masked,
        "Your padding mask is on the wrong axis: it takes what padding asks for, not what it is asked. `real` belongs "
        "to the keys, the last axis of the scores.",
    ),
    (
        _future_seen,
        "You have no causal mask. A token may look at itself and at those before it; the next one is what is to be "
        "predicted.",
    ),
    (
        _one_head,
        "You compute one head as wide as the stream. Each of the H heads has scores, weights and columns of its own.",
    ),
    (
        _output_matrix_forgotten,
        "You leave out W_o. What the heads found is mixed by it before it is added to the stream.",
    ),
)
