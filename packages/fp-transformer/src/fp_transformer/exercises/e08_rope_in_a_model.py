r"""
Rotary positions in a model that writes.

Level: implement. You need `fp_attention.rotary`, `fp_attention.kv_cache` and `fp_transformer.block`.

In models of the Llama family positions enter in one place only: queries and keys are turned, in every layer, after the
projections and head by head. Write the attention of such a layer for the next $n$ tokens of a text, whose `length`
tokens before are in a cache. The rows $x_0, \dots, x_{n-1}$, already normalised, are for the positions
$p_r = \text{length} + r$.

- $x W_q$ has $H D$ columns, those of head 0 first; $x W_k$ and $x W_v$ have $H_{kv} D$, for fewer heads: the query
  heads $0, \dots, G - 1$ share key head 0, the next $G$ share key head 1, and so on, with $G = H / H_{kv}$.
- In each head entry $i$ goes with entry $i + D/2$, for $i < D/2$. At position $p$ such a pair $(a, b)$ is turned by
  the angle $\alpha = p\, \theta^{-2i/D}$, with the base $\theta$, to
  $(a \cos \alpha - b \sin \alpha,\; a \sin \alpha + b \cos \alpha)$.
- The cache keeps keys as they are after the turn, and values as they are.
- Query $r$ attends to all keys up to and including its own position, with scores divided by $\sqrt D$; the results of
  the heads stand side by side in front of $W_o$.

What you write is right if a text that goes through it in any portions gives what it gives in one piece, and if a text
that begins at another position gives the same answers. You learn where the angle of a cached key comes from, and in how
many places a rotation can be put where it does not belong.
"""

from typing import Any

import numpy as np

HINTS = (
    "Split into heads first: `(x @ Wq).reshape(n, H, D).swapaxes(0, 1)`. The angles are a table of n rows and D/2 "
    "columns, the same for all heads: `np.outer(positions, base ** (-np.arange(D // 2) / (D // 2)))`.",
    "Turn the new queries and the new keys, nothing else: the keys from the cache were turned when they were new. Then "
    "put the new keys and values behind those of the cache, along the axis of positions.",
    "Repeat the key heads with `np.repeat(k, H // Hkv, axis=0)`. Query r sees the keys up to length + r: "
    "`np.arange(length + n) <= length + np.arange(n)[:, None]`.",
)


def attend(
    x: np.ndarray, params: dict[str, np.ndarray], cache: dict[str, np.ndarray], n_heads: int, base: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """
    Attention of the next tokens of a text, with rotary positions and a cache.

    Parameters
    ----------
    x
        Normalised rows of the new tokens, floats of shape `(n, C)`, n at least 1.
    params
        `"Wq"` of shape `(C, H * D)`, `"Wk"` and `"Wv"` of shape `(C, Hkv * D)`, `"Wo"` of shape `(H * D, C)`; D is
        even, and H a multiple of Hkv.
    cache
        `"k"` and `"v"` of shape `(Hkv, length, D)`: turned keys, and values, of the tokens before; length may be 0.
    n_heads
        H.
    base
        The base of the angles, above 1.

    Returns
    -------
    (ndarray, dict)
        What is to be added to the stream, `(n, C)`, and the cache with the new tokens in it.

    Examples
    --------
    One head of width two. The second token, turned by one radian:

    >>> params = {name: np.eye(2) for name in ("Wq", "Wk", "Wv", "Wo")}
    >>> empty = {"k": np.zeros((1, 0, 2)), "v": np.zeros((1, 0, 2))}
    >>> y, cache = attend(np.array([[1.0, 0.0]]), params, empty, 1, 10.0)
    >>> y, cache = attend(np.array([[0.0, 0.0]]), params, cache, 1, 10.0)  # a query of zeros: equal weights
    >>> y.tolist(), cache["k"].shape
    ([[0.5, 0.0]], (1, 2, 2))
    """
    Hkv, length, D = cache["k"].shape
    q, k, v = _split(x @ params["Wq"], D), _split(x @ params["Wk"], D), _split(x @ params["Wv"], D)
    positions = np.arange(length, length + len(x))
    k = np.concatenate([cache["k"], _turned(k, positions, base)], axis=1)
    v = np.concatenate([cache["v"], v], axis=1)
    keys, values = (np.repeat(a, n_heads // Hkv, axis=0) for a in (k, v))
    y = _read(_turned(q, positions, base), keys, values, length)
    return y @ params["Wo"], {"k": k, "v": v}


def _split(rows: np.ndarray, D: int) -> np.ndarray:
    """(n, H * D) to (H, n, D)."""
    return rows.reshape(len(rows), -1, D).swapaxes(0, 1)


def _turned(x: np.ndarray, positions: np.ndarray, base: float, sign: int = 1) -> np.ndarray:
    """Each row turned as its position says; x has the shape (..., n, D)."""
    half = x.shape[-1] // 2
    angles = sign * np.outer(positions, base ** (-np.arange(half) / half))
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)], axis=-1)


def _read(q: np.ndarray, k: np.ndarray, v: np.ndarray, length: int, scale: float | None = None) -> np.ndarray:
    """Causal attention of queries that follow `length` tokens, the heads side by side."""
    H, n, D = q.shape
    scores = q @ k.swapaxes(1, 2) * (D**-0.5 if scale is None else scale)
    scores = np.where(np.arange(k.shape[1]) <= length + np.arange(n)[:, None], scores, -np.inf)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True) @ v).swapaxes(0, 1).reshape(n, H * D)


_Params = dict[str, np.ndarray]
_Cache = dict[str, np.ndarray]
_Sizes = tuple[int, int, int, int]


def _params(sizes: _Sizes) -> _Params:
    C, H, Hkv, D = sizes
    rng = np.random.default_rng(D)
    shapes = {"Wq": (C, H * D), "Wk": (C, Hkv * D), "Wv": (C, Hkv * D), "Wo": (H * D, C)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def _text(T: int, C: int) -> np.ndarray:
    return np.random.default_rng(T).normal(size=(T, C))


def _empty(sizes: _Sizes) -> _Cache:
    _, _, Hkv, D = sizes
    return {"k": np.zeros((Hkv, 0, D)), "v": np.zeros((Hkv, 0, D))}


_CASES: tuple[tuple[str, _Sizes, list[int]], ...] = (
    ("one head, one token", (3, 1, 1, 2), [1]),
    ("one head of width 2, a prompt of three tokens", (3, 1, 1, 2), [3]),
    ("one head of width 4, a prompt of three tokens", (5, 1, 1, 4), [3]),
    ("two heads of width 4, a prompt of four tokens", (3, 2, 2, 4), [4]),
    ("four query heads and two key heads of width 2", (7, 4, 2, 2), [3]),
    ("six query heads and three key heads of width 4, token by token", (5, 6, 3, 4), [1, 1, 1, 1]),
    ("four query heads and two key heads of width 6, portions of 3, 1 and 2 tokens", (5, 4, 2, 6), [3, 1, 2]),
)
_BASE = 100.0


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, sizes, portions in _CASES:
        (C, H, Hkv, D), params, cache, start = sizes, _params(sizes), _empty(sizes), 0
        text = _text(sum(portions), C)
        for n in portions:
            held = {key: array.copy() for key, array in cache.items()}
            got = learner.attend(
                text[start : start + n].copy(), {k: p.copy() for k, p in params.items()}, held, H, _BASE
            )
            end = start + n
            case = f"{name} (length = {start}, n = {n})"
            assert isinstance(got, tuple | list) and len(got) == 2 and isinstance(got[1], dict), (
                f"expected a tuple of the rows and the cache, got {got!r:.80}"
            )
            y, cache = got
            assert set(cache) == {"k", "v"}, f"{case}: the cache is a dict of k and v, got {sorted(map(str, cache))}"
            _expect_array(f"{case}: what is added to the stream", y, (n, C))
            for key, why in (("v", "Values have no position."), ("k", "Keys are kept as they are after the turn.")):
                _expect_array(f"{case}: the cache's {key!r}", cache[key], (Hkv, end, D))
                for h, p in np.ndindex(Hkv, end):
                    expected = _of_head(text[p], params["W" + key], h, D, p if key == "k" else 0)
                    assert np.allclose(cache[key][h, p], expected, rtol=0, atol=1e-9), (
                        f"{case}: {key!r} of head {h} at position {p} should be {_show(expected)}, it is "
                        f"{_show(cache[key][h, p])}. Positions go on from the cache's length. {why}"
                    )
            for r in range(n):
                expected = _one(text[: start + r + 1], params, H, Hkv, D)
                # two ways round of a few sums: 1e-14
                assert np.allclose(y[r], expected, rtol=0, atol=1e-9), (
                    f"{case}: the token at position {start + r} adds {_show(expected)} to the stream, computed in one "
                    f"piece; yours is {_show(y[r])}. {_why(start, n, H, Hkv)}"
                )
            y, cache = None, {key: array.copy() for key, array in cache.items()}
            start = end


def _of_head(row: np.ndarray, W: np.ndarray, h: int, D: int, position: int) -> np.ndarray:
    """One head's numbers of one token, turned pair by pair: each pair is a complex number, a turn is a product."""
    own, half = row @ W[:, h * D : (h + 1) * D], D // 2
    turned = [complex(own[i], own[i + half]) * np.exp(1j * position / _BASE ** (i / half)) for i in range(half)]
    return np.array([z.real for z in turned] + [z.imag for z in turned])


def _one(rows: np.ndarray, params: _Params, H: int, Hkv: int, D: int) -> np.ndarray:
    """What the last token of a text adds to the stream, head by head."""
    found: list[float] = []
    for h in range(H):
        shared, last = h // (H // Hkv), len(rows) - 1
        q = _of_head(rows[last], params["Wq"], h, D, last)
        keys = [_of_head(row, params["Wk"], shared, D, p) for p, row in enumerate(rows)]
        weights = np.exp([np.dot(q, k) / D**0.5 for k in keys])
        values = np.array([row @ params["Wv"][:, shared * D : (shared + 1) * D] for row in rows])
        found += (weights @ values / weights.sum()).tolist()
    return np.asarray(np.array(found) @ params["Wo"])


def _why(start: int, n: int, H: int, Hkv: int) -> str:
    if start:
        return "The new queries have the positions from the cache's length on, and see the old keys and their own."
    if Hkv < H:
        return "Neighbouring query heads share a key head: 0 and 1 the first."
    return "Queries are turned as keys are; the softmax runs over the keys up to the query's position."


def _expect_array(what: str, value: Any, shape: tuple[int, ...]) -> None:
    assert isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == shape, (
        f"{what} must be an array of floats of shape {shape}, got "
        + (f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.80}")
    )


def _show(row: Any) -> str:
    return f"[{', '.join(f'{x:.4g}' for x in row)}]"


_Answer = tuple[np.ndarray, _Cache]


def _layer(
    x: np.ndarray,
    params: _Params,
    cache: _Cache,
    n_heads: int,
    base: float,
    positions: np.ndarray | None = None,
    turn: Any = _turned,
    turned: str = "qk",
    cached: Any = None,
    repeat: Any = np.repeat,
    seen: int | None = None,
    scale: float | None = None,
) -> _Answer:
    """The reference with parts exchanged."""
    Hkv, length, D = cache["k"].shape
    at = np.arange(length, length + len(x)) if positions is None else positions
    q, k, v = (_split(x @ params["W" + name], D) for name in "qkv")
    q, k, v = (turn(a, at, base) if name in turned else a for name, a in zip("qkv", (q, k, v), strict=True))
    k = np.concatenate([cache["k"] if cached is None else cached(cache["k"]), k], axis=1)
    v = np.concatenate([cache["v"], v], axis=1)
    heads = [repeat(a, n_heads // Hkv, axis=0) for a in (k, v)]
    return _read(q, heads[0], heads[1], length if seen is None else seen, scale) @ params["Wo"], {"k": k, "v": v}


def _values_turned(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, turned="qkv")


def _queries_not_turned(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, turned="k")


def _keys_not_turned(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, turned="q")


def _positions_from_zero(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, positions=np.arange(len(x)))


def _positions_from_one(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    length = cache["k"].shape[1]
    return _layer(x, params, cache, n_heads, base, positions=np.arange(length + 1, length + len(x) + 1))


def _one_position_for_all(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    length = cache["k"].shape[1]
    return _layer(x, params, cache, n_heads, base, positions=np.full(len(x), length))


def _turned_again(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, cached=lambda k: _turned(k, np.arange(k.shape[1]), base))


def _opposite_ways(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, turn=lambda a, at, b: _turned(a, at, b, sign=-1))


def _neighbours(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    def turn(a: np.ndarray, at: np.ndarray, base: float) -> np.ndarray:
        D = a.shape[-1]
        order = np.concatenate([np.arange(0, D, 2), np.arange(1, D, 2)])
        return _turned(a[..., order], at, base)[..., np.argsort(order)]

    return _layer(x, params, cache, n_heads, base, turn=turn)


def _before_the_split(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    def turn(a: np.ndarray, at: np.ndarray, base: float) -> np.ndarray:
        H, n, D = a.shape
        return _split(_turned(a.swapaxes(0, 1).reshape(n, H * D), at, base), D)

    return _layer(x, params, cache, n_heads, base, turn=turn)


def _half_the_exponent(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, turn=lambda a, at, b: _turned(a, at, b**0.5))


def _one_speed(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, turn=lambda a, at, b: _turned(a, at, 1.0))


def _key_heads_in_turn(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    def repeat(a: np.ndarray, times: int, axis: int) -> np.ndarray:
        return np.tile(a, (times, 1, 1))

    return _layer(x, params, cache, n_heads, base, repeat=repeat)


def _mask_from_the_corner(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, seen=0)


def _future_seen(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, seen=cache["k"].shape[1] + len(x))


def _scaled_by_the_whole_width(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    return _layer(x, params, cache, n_heads, base, scale=params["Wq"].shape[1] ** -0.5)


def _kept_without_turn(x: np.ndarray, params: _Params, cache: _Cache, n_heads: int, base: float) -> _Answer:
    y, after = _layer(x, params, cache, n_heads, base)
    length = cache["k"].shape[1]
    bare = _split(x @ params["Wk"], cache["k"].shape[2])
    return y, {**after, "k": np.concatenate([after["k"][:, :length], bare], axis=1)}


MISTAKES = (
    (
        _values_turned,
        "You turn the values. Queries and keys meet in a product, in which the common part of the turns cancels; "
        "values are added up, and nothing turns them back.",
    ),
    (
        _queries_not_turned,
        "You turn the keys alone. A score then depends on where in the text the key stands, and not on the distance: "
        "queries are turned too, by their own positions.",
    ),
    (
        _keys_not_turned,
        "You turn the queries alone. A score then depends on where in the text the query stands, and not on the "
        "distance: keys are turned too, by their own positions.",
    ),
    (
        _positions_from_zero,
        "You count the positions of the new tokens from 0. The cache holds those before: the first new one has the "
        "position `length`, and the wrong offset shows from the second portion on.",
    ),
    (
        _positions_from_one,
        "Your positions are one too large. Scores do not notice, as all distances are right; keys that somebody else "
        "put into the cache do.",
    ),
    (
        _one_position_for_all,
        "You give all new tokens the position of the first. Each has its own, length + r.",
    ),
    (
        _turned_again,
        "You turn the keys of the cache again. They were turned when they were new, by their own positions, and that "
        "is how they are kept.",
    ),
    (
        _opposite_ways,
        "You turn the other way round. Scores are the same, as queries and keys agree; the keys in the cache are not "
        "those of the formulas.",
    ),
    (
        _neighbours,
        "You pair neighbouring entries. It is a rotary position too, but weights that were trained for halves give "
        "noise with it: entry i goes with entry i + D/2.",
    ),
    (
        _before_the_split,
        "You turn before the heads are split. The pairs then reach across the whole row, from one head into another: "
        "split first, so that i + D/2 is counted within a head.",
    ),
    (
        _half_the_exponent,
        "Your speeds fall only half as fast. There are D/2 pairs, and the exponent of pair i is -2i/D.",
    ),
    (
        _one_speed,
        "You turn all pairs at one speed. Pair i has the speed base ** (-2i/D): the first is fast, the last is slow.",
    ),
    (
        _key_heads_in_turn,
        "You hand the key heads out in turn, 0, 1, 0, 1. Neighbouring query heads share one: 0, 0, 1, 1.",
    ),
    (
        _mask_from_the_corner,
        "You lay the triangle of the mask into the corner. Query r stands at position length + r, and sees the whole "
        "cache.",
    ),
    (
        _future_seen,
        "You use no mask among the new tokens. In a prompt that comes in one piece, a token must not see the next.",
    ),
    (
        _scaled_by_the_whole_width,
        "You divide by the root of all heads' width. A score is a sum of D products, those of one head.",
    ),
    (
        _kept_without_turn,
        "You keep the keys as they were before the turn. The next call takes what it finds for turned ones.",
    ),
)

PROBES = tuple(
    (
        _text(sum(p), s[0])[3:],
        _params(s),
        attend(_text(sum(p), s[0])[:3], _params(s), _empty(s), s[1], _BASE)[1],
        s[1],
        _BASE,
    )
    for _, s, p in _CASES[-2:]
) + tuple((_text(sum(p), s[0]), _params(s), _empty(s), s[1], _BASE) for _, s, p in _CASES[1:5])
