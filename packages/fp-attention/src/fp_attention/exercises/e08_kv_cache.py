r"""
Going on with a text: attention with a cache.

Level: implement. You need `fp_attention.kv_cache`, `fp_attention.masks` and `fp_attention.positions`.

A model writes token after token. Under a causal mask what it computed for the tokens so far does not change when
another one comes, so their keys and values are kept, and a new token costs one row of scores. Write one such step of
one head, for $n$ new tokens: one when a text is written, many when a prompt is read.

The new tokens $x_0, \dots, x_{n-1}$ follow the `length` tokens whose keys and values the cache holds, so that $x_r$ has
the position $p_r = \text{length} + r$. With the learned position $P_{p_r}$,

$$h_r = x_r + P_{p_r} , \qquad q_r = h_r W_q , \quad k_r = h_r W_k , \quad v_r = h_r W_v .$$

Keys and values go into the cache, each at the place of its position, and query $r$ attends to all keys up to and
including its own position, with scores divided by $\sqrt D$.

The arrays of the cache have room for more tokens than it holds: what stands in slots that were not written yet is
arbitrary. Whether you write into the arrays given or into new ones is up to you. If the new tokens do not fit, raise
`ValueError` before anything is changed.

What you write has one property that settles whether it is right: a text that goes through it in any portions gives what
it gives in one piece, to rounding. You learn where a cache breaks it: in the positions, in the mask, in the order of
writing and reading.
"""

from typing import Any

import numpy as np

HINTS = (
    "Position, slot and mask are all counted from `length`, not from 0: the new tokens' positions are "
    "`np.arange(length, length + n)`, and with them everything follows.",
    "First write the new keys and values into the slots `length` to `length + n`, then read the slots 0 to "
    "`length + n`, old and new, and nothing after them.",
    "Query r may look at the slots up to length + r: `np.arange(length + n) <= length + np.arange(n)[:, None]`, an "
    "array of shape (n, length + n). Set the other scores to minus infinity before the softmax over the keys.",
)


def attend(x: np.ndarray, params: dict[str, np.ndarray], cache: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """
    Attention of the next tokens of a text to themselves and to all before them.

    Parameters
    ----------
    x
        The new tokens' vectors, floats of shape `(n, C)`, n at least 1.
    params
        `"Wq"` and `"Wk"` of shape `(C, D)`, `"Wv"` of shape `(C, Dv)`, `"P"` of shape `(capacity, C)`.
    cache
        `"length"`, how many tokens it holds, from 0; `"k"` of shape `(capacity, D)` and `"v"` of shape
        `(capacity, Dv)`, whose first `length` rows are their keys and values.

    Returns
    -------
    (ndarray, dict)
        The outputs of the new tokens, shape `(n, Dv)`, and the cache with them in it, of the form above.

    Raises
    ------
    ValueError
        If the cache has no room for n more tokens.

    Examples
    --------
    >>> params = {"Wq": np.eye(2), "Wk": np.zeros((2, 2)), "Wv": np.eye(2), "P": np.zeros((3, 2))}
    >>> cache = {"length": 0, "k": np.empty((3, 2)), "v": np.empty((3, 2))}
    >>> output, cache = attend(np.array([[1.0, 2.0]]), params, cache)
    >>> output.tolist(), cache["length"]
    ([[1.0, 2.0]], 1)
    >>> output, cache = attend(np.array([[3.0, 6.0]]), params, cache)  # all scores are 0: a mean
    >>> output.tolist(), cache["length"]
    ([[2.0, 4.0]], 2)
    """
    n, start, capacity = len(x), cache["length"], len(cache["k"])
    end = start + n
    if end > capacity:
        raise ValueError(f"the cache holds {start} tokens and has room for {capacity}: {n} more do not fit")
    h = x + params["P"][start:end]
    k, v = cache["k"], cache["v"]
    k[start:end], v[start:end] = h @ params["Wk"], h @ params["Wv"]
    scores = h @ params["Wq"] @ k[:end].T / np.sqrt(k.shape[1])
    scores[np.arange(end) > start + np.arange(n)[:, None]] = -np.inf
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e @ v[:end] / e.sum(axis=1, keepdims=True), {"k": k, "v": v, "length": end}


_C, _D, _DV, _CAPACITY = 3, 2, 5, 11


def _params(seed: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"Wq": (_C, _D), "Wk": (_C, _D), "Wv": (_C, _DV), "P": (_CAPACITY, _C)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def _text(T: int) -> np.ndarray:
    return np.random.default_rng(T).normal(size=(T, _C))


def _empty() -> dict[str, Any]:
    """A cache that holds nothing; no slot that was not written may be used, and using one shows."""
    return {"length": 0, "k": np.full((_CAPACITY, _D), 50.0), "v": np.full((_CAPACITY, _DV), 1000.0)}


def _after(T: int) -> dict[str, Any]:
    """The cache after the first T tokens of the text of 7, as it has to be."""
    cache, params = _empty(), _params()
    h = _text(7)[:T] + params["P"][:T]
    cache["k"][:T], cache["v"][:T] = h @ params["Wk"], h @ params["Wv"]
    return {**cache, "length": T}


_PORTIONS = (
    ([1], "the first token of a text"),
    ([1, 1, 1, 1, 1], "token by token"),
    ([5], "a prompt of five tokens in one piece"),
    ([4, 1, 1], "a prompt of four tokens, then token by token"),
    ([2, 3, 1, 5], "portions of 2, 3, 1 and 5 tokens, up to the last slot"),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for portions, name in _PORTIONS:
        params, text = _params(), _text(sum(portions))
        expected = _from_scratch(text, params)
        cache, start = _empty(), 0
        for n in portions:
            held = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in cache.items()}
            got = learner.attend(text[start : start + n].copy(), {k: p.copy() for k, p in params.items()}, held)
            end = start + n
            case = f"{name}, with length = {start} and n = {n}"
            assert isinstance(got, tuple | list) and len(got) == 2, (
                f"expected a tuple of the outputs and the cache, got {got!r:.80}"
            )
            output, cache = got
            _expect_array(f"{case}: the outputs", output, (n, _DV))
            _expect_cache(case, cache, end, text, params)
            for r in range(n):
                # two ways round, a few sums long: 1e-15
                assert np.allclose(output[r], expected[start + r], rtol=0, atol=1e-9), (
                    f"{case}: token {start + r} attends to the tokens 0 to {start + r}; in one piece its output is "
                    f"{_show(expected[start + r])}, yours is {_show(output[r])}. {_why(n, start)}"
                )
            start = end
    _expect_refusal(learner)


def _why(n: int, start: int) -> str:
    if start == 0 and n == 1:
        return "A token that is alone gives its own value."
    if start == 0:
        return "Query r may look at the keys 0 to r, and the softmax runs over them alone."
    if n == 1:
        return "It attends to all slots up to its own and none after, with a query of its own position."
    return f"Query r of the new ones may look at the slots 0 to {start} + r."


def _expect_cache(case: str, cache: Any, end: int, text: np.ndarray, params: dict[str, np.ndarray]) -> None:
    assert isinstance(cache, dict) and set(cache) == {"k", "v", "length"}, (
        f"{case}: expected the cache as a dict of k, v and length, got {cache!r:.80}"
    )
    assert isinstance(cache["length"], int | np.integer) and cache["length"] == end, (
        f"{case}: the cache holds {end} tokens now, its length says {cache['length']!r:.80}"
    )
    h = text[:end] + params["P"][:end]
    for key, W in (("k", params["Wk"]), ("v", params["Wv"])):
        _expect_array(f"{case}: the cache's {key!r}", cache[key], (_CAPACITY, W.shape[1]))
        for p, row in enumerate(h @ W):
            assert np.allclose(cache[key][p], row, rtol=0, atol=1e-9), (
                f"{case}: slot {p} of {key!r} belongs to token {p}, with position {p}, and should hold {_show(row)}; "
                f"it holds {_show(cache[key][p])}. Slots and positions are counted from the length of the cache."
            )


def _expect_refusal(learner: Any) -> None:
    for T, n in ((_CAPACITY, 1), (7, 5)):
        held = _empty() | {"length": T}
        before = [held[key].copy() for key in ("k", "v")]
        arrays = [held[key] for key in ("k", "v")]
        try:
            learner.attend(_text(n), _params(), held)
        except ValueError:
            same = all((old == new).all() for old, new in zip(before, arrays, strict=True))
            assert same and held["length"] == T, (
                "before the ValueError the cache was changed; look first whether there is room"
            )
            continue
        raise AssertionError(
            f"the cache has room for {_CAPACITY} tokens and holds {T}: {n} more do not fit; expected a ValueError"
        )


def _expect_array(what: str, value: Any, shape: tuple[int, ...]) -> None:
    assert isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == shape, (
        f"{what} must be an array of floats of shape {shape}, got "
        + (f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.80}")
    )


def _show(row: np.ndarray) -> str:
    return f"[{', '.join(f'{x:.4g}' for x in row)}]"


def _from_scratch(text: np.ndarray, params: dict[str, np.ndarray]) -> np.ndarray:
    """The outputs of a text in one piece, token by token, by definition."""
    outputs = []
    for t in range(len(text)):
        h = text[: t + 1] + params["P"][: t + 1]
        scores = (h @ params["Wk"]) @ (h[t] @ params["Wq"]) / np.sqrt(_D)
        weights = np.exp(scores - scores.max())
        outputs.append(weights @ (h @ params["Wv"]) / weights.sum())
    return np.array(outputs)


_Params = dict[str, np.ndarray]
_Cache = dict[str, Any]
_Answer = tuple[np.ndarray, _Cache]


def _step(
    x: np.ndarray,
    params: _Params,
    cache: _Cache,
    at: int | None = None,
    position: int | None = None,
    allowed: Any = None,
    seen: slice | None = None,
    scale: float | None = None,
    unplaced: str = "",
    axis: int = 1,
) -> _Answer:
    """The reference with parts exchanged: slot and position of the first new token, mask, slots that are read."""
    n, start = len(x), cache["length"]
    end = start + n
    if end > len(cache["k"]):
        raise ValueError(f"the cache holds {start} tokens: {n} more do not fit")
    position, at = start if position is None else position, start if at is None else at
    h = x + params["P"][np.arange(position, position + n) % len(params["P"])]
    k, v = cache["k"].copy(), cache["v"].copy()
    k[at : at + n], v[at : at + n] = ((x if name in unplaced else h) @ params[name] for name in ("Wk", "Wv"))
    read = slice(end) if seen is None else seen
    scores = h @ params["Wq"] @ k[read].T * (1 / np.sqrt(k.shape[1]) if scale is None else scale)
    if allowed is None:
        allowed = np.arange(len(k))[read] <= start + np.arange(n)[:, None]
    with np.errstate(invalid="ignore"):
        scores = np.where(allowed, scores, -np.inf)
        e = np.exp(scores - scores.max(axis=axis, keepdims=True))
        return (e / e.sum(axis=axis, keepdims=True)) @ v[read], {"k": k, "v": v, "length": end}


def _positions_from_zero(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, position=0)


def _positions_one_late(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, position=cache["length"] + 1)


def _one_position_for_all(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    shifted = x + params["P"][cache["length"]] - params["P"][cache["length"] : cache["length"] + len(x)]
    return _step(shifted, params, cache)


def _always_the_first_slots(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, at=0)


def _over_the_last(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, at=max(cache["length"] - 1, 0))


def _written_after_reading(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    _, after = _step(x, params, cache)
    old = slice(max(cache["length"], 1))
    return _step(x, params, cache, seen=old, allowed=True)[0], after


def _only_the_new(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    new = slice(cache["length"], cache["length"] + len(x))
    return _step(x, params, cache, seen=new)


def _mask_from_the_corner(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, allowed=np.tri(len(x), cache["length"] + len(x), dtype=bool))


def _no_mask(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, allowed=True)


def _not_itself(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    n, start = len(x), cache["length"]
    allowed = np.arange(start + n) < np.maximum(start + np.arange(n)[:, None], 1)  # the first token has only itself
    return _step(x, params, cache, allowed=allowed)


def _the_whole_cache(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, seen=slice(None), allowed=True)


def _softmax_over_queries(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, axis=0)


def _scale_forgotten(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, scale=1.0)


def _keys_without_position(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    return _step(x, params, cache, unplaced="Wk")


def _length_not_counted(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    output, after = _step(x, params, cache)
    return output, {**after, "length": cache["length"]}


def _counted_by_calls(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    output, after = _step(x, params, cache)
    return output, {**after, "length": cache["length"] + 1}


def _oldest_pushed_out(x: np.ndarray, params: _Params, cache: _Cache) -> _Answer:
    over = cache["length"] + len(x) - len(cache["k"])
    if over <= 0:
        return _step(x, params, cache)
    moved = {key: np.roll(cache[key], -over, axis=0) for key in ("k", "v")}
    return _step(x, params, {**moved, "length": cache["length"] - over})


MISTAKES = (
    (
        _positions_from_zero,
        "You count the positions of the new tokens from 0. They follow what the cache holds: the first new one has the "
        "position `length`.",
    ),
    (
        _positions_one_late,
        "Your positions are one too large. A cache of `length` tokens holds the positions 0 to length - 1, so the next "
        "is `length`.",
    ),
    (
        _one_position_for_all,
        "You give all the new tokens one position. Each has its own, length + r.",
    ),
    (
        _always_the_first_slots,
        "You write into the first slots each time, over the tokens that stand there. New keys and values go behind the "
        "old ones, into the slots from `length` on.",
    ),
    (
        _over_the_last,
        "You begin to write one slot early, over the newest token that the cache holds. Slot `length` is the first "
        "free one.",
    ),
    (
        _written_after_reading,
        "You attend before the new keys and values are in the cache. A token attends to itself too, and to new ones "
        "before it: write first, then read.",
    ),
    (
        _only_the_new,
        "You attend to the new tokens alone. The cache is kept so that they can look at all that came before.",
    ),
    (
        _mask_from_the_corner,
        "You lay the triangle into the upper left corner, as if query 0 were the first token of the text. It stands at "
        "position `length`, and may look at that many keys and itself.",
    ),
    (
        _no_mask,
        "You use no mask among the new tokens. Token by token none is needed, since nothing after the query is there; "
        "in a prompt that is read in one piece it is.",
    ),
    (
        _not_itself,
        "Your mask is shifted by one: a query looks at the keys before its own position and not at its own.",
    ),
    (
        _the_whole_cache,
        "You attend to the whole array of the cache. The slots from length + n on were never written, and hold "
        "anything.",
    ),
    (
        _softmax_over_queries,
        "Your softmax runs over the queries. Each query's weights sum to 1 over its keys; how many others are asked "
        "along with it must not matter.",
    ),
    (
        _scale_forgotten,
        "You forget to divide the scores by the root of D. A cache changes nothing in what attention is.",
    ),
    (
        _keys_without_position,
        "You make the keys of x itself. Queries, keys and values are all made of h, the token with its position.",
    ),
    (
        _length_not_counted,
        "You return the old length. The next call would take the tokens just written for free slots.",
    ),
    (
        _counted_by_calls,
        "You count calls in `length`. It counts tokens, and n of them have come.",
    ),
    (
        _oldest_pushed_out,
        "You push out the oldest tokens when the cache is full. The others would change their positions, with keys "
        "made for the old ones: what does not fit is refused.",
    ),
)

PROBES = (
    (_text(7)[:5], _params(), _empty()),
    (_text(7)[4:5], _params(), _after(4)),
    (_text(7)[3:6], _params(), _after(3)),
    (_text(5), _params(), _after(7)),
)
