r"""
Rotary positions, and what is left of them in a score.

Level: challenge. You need `fp_attention.rotary` and `fp_attention.scaled_dot`.

A head of width $D$ has $D/2$ pairs, in halves: entry $i$ goes with entry $i + D/2$, for $i$ from 0. At position $p$ a
pair $(x, y)$ of a query or key is turned by the angle $\theta_i p$, with $\theta_i = b^{-2i/D}$ and the base $b$,

$$(x, y) \;\mapsto\; (x \cos \theta_i p - y \sin \theta_i p,\;\; x \sin \theta_i p + y \cos \theta_i p) .$$

Do that, compute the attention of every query to every key, no mask, and then three things that the chapter does not do.

*The formula of a score.* Take query $r$ and key $c$ before the turns. For each pair there are two numbers, $A_i$ and
$B_i$, so that for all positions the product of the turned vectors is

$$\tilde q_r \cdot \tilde k_c = \sum_i \big( A_i \cos \theta_i n + B_i \sin \theta_i n \big), \qquad n = p_c - p_r .$$

Find them: no position occurs in them. Seen so, a score is a sum of waves in the distance.

*A move.* A cache holds turned keys, and nobody kept the ones before the turns. Now `dropped` tokens in front of the
text are removed, and every token moves to a position smaller by `dropped`. Correct the turned keys.

*A stretch.* To read texts longer than any in training one can give every token the position $p / f$, which need not be
a whole number. Turn the keys so.

You learn that a rotation can be undone and composed: caches that forget their beginning, and contexts that are
stretched after training, are built on it.
"""

from typing import Any

import numpy as np

HINTS = (
    "With `x, y = k[:, :D // 2], k[:, D // 2:]` and the angles as a table (T, D/2), `np.outer(positions, speeds)`, the "
    "turned pair is `(x * cos - y * sin, x * sin + y * cos)`; write both from the old x and y, then join the halves.",
    "Turning both vectors by the same angle changes no product of them: turn back by the query's angle, and only the "
    "key is turned, by theta n. Multiply that out and collect what stands before the cosine and before the sine.",
    "A = q_x k_x + q_y k_y and B = q_y k_x - q_x k_y. Two turns one after the other add their angles, so the move is a "
    "turn by the position -dropped, of keys that were turned already. Values have no position.",
)


def rope(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> dict[str, np.ndarray]:
    """
    Attention with rotary positions, the waves its scores are made of, and two ways to change positions.

    Parameters
    ----------
    q, k
        Queries and keys of the same T tokens, floats of shape `(T, D)`, D even.
    v
        Values, floats of shape `(T, Dv)`.
    positions
        The position of each token, integers of shape `(T,)`, rising; there may be gaps.
    base
        The base of the speeds, above 1.
    dropped
        How many tokens in front are removed, at most `positions[0]`.
    stretch
        The factor f, at least 1.

    Returns
    -------
    dict
        `"queries"`, `"keys"`: the turned queries and keys, shape `(T, D)`;
        `"output"`: for each query the mean of the values with the weights softmax over the keys of the products of
        turned queries and keys divided by the root of D, shape `(T, Dv)`;
        `"cosine"`, `"sine"`: the numbers A and B of query r, key c and pair i in entry `[r, c, i]`, shape
        `(T, T, D/2)`;
        `"moved"`: the turned keys after the removal, shape `(T, D)`;
        `"stretched"`: the keys turned for stretched positions, shape `(T, D)`.

    Examples
    --------
    >>> q, k = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [0.0, 2.0]])
    >>> answer = rope(q, k, v=np.eye(2), positions=np.array([3, 5]), base=10.0, dropped=3, stretch=2.0)
    >>> answer["queries"].round(6).tolist()[0] == [np.cos(3).round(6), np.sin(3).round(6)]
    True
    >>> answer["moved"].round(6).tolist()[0], answer["cosine"][0, 1].tolist(), answer["sine"][0, 1].tolist()
    ([0.0, 2.0], [0.0], [-2.0])
    """
    D = q.shape[1]
    queries, keys = _turned(q, positions, base), _turned(k, positions, base)
    scores = queries @ keys.T / np.sqrt(D)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    (qa, qb), (ka, kb) = np.split(q[:, None], 2, axis=2), np.split(k[None], 2, axis=2)
    return {
        "queries": queries,
        "keys": keys,
        "output": e @ v / e.sum(axis=1, keepdims=True),
        "cosine": qa * ka + qb * kb,
        "sine": qb * ka - qa * kb,
        "moved": _turned(keys, np.full(len(keys), -dropped), base),
        "stretched": _turned(k, positions / stretch, base),
    }


def _turned(x: np.ndarray, positions: np.ndarray, base: float) -> np.ndarray:
    """Each row turned as its position says."""
    half = x.shape[1] // 2
    angles = np.outer(positions, base ** (-np.arange(half) / half))
    cos, sin = np.cos(angles), np.sin(angles)
    a, b = x[:, :half], x[:, half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)


_Arguments = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, int, float]


def _drawn(T: int, D: int, Dv: int, positions: list[int], base: float, dropped: int, stretch: float) -> _Arguments:
    rng = np.random.default_rng(7)
    q, k, v = rng.normal(size=(T, D)), rng.normal(size=(T, D)), rng.normal(size=(T, Dv))
    return q, k, v, np.array(positions), base, dropped, stretch


_CASES: tuple[tuple[str, _Arguments], ...] = (
    ("three tokens from position 0, one pair", _drawn(3, 2, 5, [0, 1, 2], 100.0, 0, 1.0)),
    ("five tokens from position 4, two pairs", _drawn(5, 4, 3, [4, 5, 6, 7, 8], 100.0, 3, 2.0)),
    ("four tokens with gaps, three pairs", _drawn(4, 6, 2, [2, 3, 11, 30], 1000.0, 2, 8.0)),
    ("seven tokens far into a text, eight pairs", _drawn(7, 16, 11, list(range(4000, 4007)), 10_000.0, 3999, 4.0)),
)

_WHY = {
    "queries": "Entry i and entry i + D/2 are a pair; it is turned counterclockwise by position times base^(-2i/D), "
    "and both new entries are made of the two old ones.",
    "keys": "Keys are turned as queries are, each by its own position.",
    "output": "The scores are products of turned queries and keys over the root of D, the softmax runs over the keys, "
    "and the values are averaged as they are.",
    "cosine": "Turn the key's pair alone, by the angle of the distance, multiply by the query's pair, and collect what "
    "stands before the cosine.",
    "sine": "Turn the key's pair alone, by the angle of the distance, multiply by the query's pair, and collect what "
    "stands before the sine; the distance is the key's position less the query's.",
    "moved": "The keys were turned for their old positions: turn them on, by what is missing to the new ones.",
    "stretched": "The angle is the speed times position / stretch; the speeds stay.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, arguments in _CASES:
        q, _, _, positions, base, dropped, stretch = arguments
        T, D = q.shape
        got = learner.rope(*(x.copy() if isinstance(x, np.ndarray) else x for x in arguments))
        expected = _by_complex_numbers(*arguments)
        case = f"{name} (positions {positions.tolist()[:4]}{'...' if T > 4 else ''}, D = {D}, base = {base:g})"
        assert isinstance(got, dict) and set(got) == set(expected), (
            f"expected a dict of {', '.join(expected)}, got {got!r:.80}"
        )
        for key, answer in expected.items():
            value = got[key]
            assert isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == answer.shape, (
                f"{case}: {key!r} must be an array of floats of shape {answer.shape}, got "
                + (f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.80}")
            )
            for i in np.ndindex(answer.shape):
                # the sine of an angle of 4000 is right to 1e-12, since the angle is rounded; wrong ones differ far more
                assert abs(value[i] - answer[i]) <= 1e-9, (
                    f"{case}{_given(key, dropped, stretch)}: {key!r} has {answer[i]:.6f} at {list(i)}, got "
                    f"{value[i]:.6f}. {_WHY[key]}"
                )


def _given(key: str, dropped: int, stretch: float) -> str:
    return {"moved": f", dropped = {dropped}", "stretched": f", stretch = {stretch:g}"}.get(key, "")


def _by_complex_numbers(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> dict[str, np.ndarray]:
    """The answer by another way: a pair is a complex number, and a turn is a product."""
    half = q.shape[1] // 2
    speeds = np.array([1 / base ** (i / half) for i in range(half)])
    queries, keys = (x[:, :half] + 1j * x[:, half:] for x in (q, k))

    def at(z: np.ndarray, places: np.ndarray) -> np.ndarray:
        return np.array([row * np.exp(1j * speeds * p) for row, p in zip(z, places.tolist(), strict=True)])

    def real(z: np.ndarray) -> np.ndarray:
        return np.hstack([z.real, z.imag])

    output = []
    for query, p in zip(queries, positions.tolist(), strict=True):
        turned = keys * np.exp(1j * speeds * (positions - p)[:, None])  # as the query sees them
        weights = np.exp((query.conj() * turned).real.sum(axis=1) / np.sqrt(2 * half))
        output.append(weights @ v / weights.sum())
    product = queries.conj()[:, None] * keys
    return {
        "queries": real(at(queries, positions)),
        "keys": real(at(keys, positions)),
        "output": np.array(output),
        "cosine": product.real,
        "sine": -product.imag,
        "moved": real(at(keys, positions - dropped)),
        "stretched": real(at(keys, positions / stretch)),
    }


_Answer = dict[str, np.ndarray]


def _attended(queries: np.ndarray, keys: np.ndarray, v: np.ndarray, scale: float | None = None) -> np.ndarray:
    scores = queries @ keys.T * (1 / np.sqrt(queries.shape[1]) if scale is None else scale)
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(e @ v / e.sum(axis=1, keepdims=True))


def _with_turns(
    queries: np.ndarray,
    keys: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    positions: np.ndarray,
    base: float,
    dropped: int,
    stretch: float,
) -> _Answer:
    """The answer with other turned queries and keys."""
    answer = rope(q, k, v, positions, base, dropped, stretch)
    return {**answer, "queries": queries, "keys": keys, "output": _attended(queries, keys, v)}


def _turned_by(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    a, b = np.split(x, 2, axis=1)
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)], axis=1)


def _neighbours_paired(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    order = np.concatenate([np.arange(0, q.shape[1], 2), np.arange(1, q.shape[1], 2)])
    answer = rope(q[:, order], k[:, order], v, positions, base, dropped, stretch)
    back = np.argsort(order)
    return {**answer, **{key: answer[key][:, back] for key in ("queries", "keys", "moved", "stretched")}}


def _values_turned(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    even = v if v.shape[1] % 2 == 0 else v[:, :-1]
    turned = np.concatenate([_turned(even, positions, base), v[:, even.shape[1] :]], axis=1)
    return rope(q, k, turned, positions, base, dropped, stretch)


def _keys_alone(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return _with_turns(q, _turned(k, positions, base), q, k, v, positions, base, dropped, stretch)


def _queries_alone(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return _with_turns(_turned(q, positions, base), k, q, k, v, positions, base, dropped, stretch)


def _half_the_exponent(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return rope(q, k, v, positions, float(np.sqrt(base)), dropped, stretch)


def _pairs_from_one(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    half = q.shape[1] // 2
    angles = np.outer(positions, base ** (-np.arange(1, half + 1) / half))
    return _with_turns(_turned_by(q, angles), _turned_by(k, angles), q, k, v, positions, base, dropped, stretch)


def _one_speed_for_all(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return rope(q, k, v, positions, 1.0, dropped, stretch)


def _rows_for_positions(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return rope(q, k, v, np.arange(len(q)), base, dropped, stretch)


def _clockwise(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return rope(q, k, v, -positions, base, -dropped, stretch)


def _opposite_turns(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    queries, keys = _turned(q, positions, base), _turned(k, -positions, base)
    return _with_turns(queries, keys, q, k, v, positions, base, dropped, stretch)


def _overwritten_on_the_way(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    half = q.shape[1] // 2
    angles = np.outer(positions, base ** (-np.arange(half) / half))

    def turned(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[:, :half] = x[:, :half] * np.cos(angles) - x[:, half:] * np.sin(angles)
        x[:, half:] = x[:, :half] * np.sin(angles) + x[:, half:] * np.cos(angles)
        return x

    return _with_turns(turned(q), turned(k), q, k, v, positions, base, dropped, stretch)


def _scale_forgotten(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    answer = rope(q, k, v, positions, base, dropped, stretch)
    return {**answer, "output": _attended(answer["queries"], answer["keys"], v, scale=1.0)}


def _turned_coefficients(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    answer = rope(q, k, v, positions, base, dropped, stretch)
    again = rope(answer["queries"], answer["keys"], v, positions, base, dropped, stretch)
    return {**answer, "cosine": again["cosine"], "sine": again["sine"]}


def _query_less_key(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    answer = rope(q, k, v, positions, base, dropped, stretch)
    return {**answer, "sine": -answer["sine"]}


def _turned_from_the_start(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    answer = rope(q, k, v, positions, base, dropped, stretch)
    return {**answer, "moved": _turned(answer["keys"], positions - dropped, base)}


def _moved_forward(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    answer = rope(q, k, v, positions, base, dropped, stretch)
    return {**answer, "moved": _turned(k, positions + dropped, base)}


def _not_moved(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    answer = rope(q, k, v, positions, base, dropped, stretch)
    return {**answer, "moved": answer["keys"]}


def _stretched_faster(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return {
        **rope(q, k, v, positions, base, dropped, stretch),
        "stretched": _turned(k, positions * stretch, base),
    }


def _stretched_base(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return {
        **rope(q, k, v, positions, base, dropped, stretch),
        "stretched": _turned(k, positions, base * stretch),
    }


def _whole_positions(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, base: float, dropped: int, stretch: float
) -> _Answer:
    return {
        **rope(q, k, v, positions, base, dropped, stretch),
        "stretched": _turned(k, positions // stretch, base),
    }


MISTAKES = (
    (
        _neighbours_paired,
        "You pair neighbours, entries 2i and 2i + 1. That is as good a RoPE as any, but not the one of a model whose "
        "pairs are halves: its weights were trained for i and i + D/2.",
    ),
    (
        _values_turned,
        "You turn the values too. In the scores the turns of query and key leave their difference; a value meets no "
        "other vector, so the output would depend on where in the text it all stands.",
    ),
    (
        _keys_alone,
        "You turn the keys alone. Then a score depends on the key's position, not on its distance from the query.",
    ),
    (
        _queries_alone,
        "You turn the queries alone. Then a score depends on the query's position, not on its distance from the key.",
    ),
    (
        _half_the_exponent,
        "Your exponent is i/D, half of what it should be. There are D/2 pairs, and the exponent 2i/D runs through them "
        "from 0 to nearly 1.",
    ),
    (
        _pairs_from_one,
        "You count the pairs from 1. Pair 0 has the exponent 0: it turns by one radian a token whatever the base is.",
    ),
    (
        _one_speed_for_all,
        "You turn all pairs at one speed. After 44 tokens, seven turns and a little, all of them are back at once, and "
        "far looks like near: each pair has a speed of its own.",
    ),
    (
        _rows_for_positions,
        "You take the row number for the position. The tokens' positions are given, and need not begin at 0 nor be "
        "without gaps.",
    ),
    (
        _clockwise,
        "You turn clockwise. The scores are then those of a distance with the other sign: the minus belongs to the "
        "first entry of the pair.",
    ),
    (
        _opposite_turns,
        "You turn the keys against the queries. What is left in the score is then the sum of the two positions; turned "
        "alike, it is their difference.",
    ),
    (
        _overwritten_on_the_way,
        "You write the first half before the second is computed. Both entries of a turned pair are made of the two old "
        "ones: keep a copy.",
    ),
    (
        _scale_forgotten,
        "You forget to divide by the root of D. Turning changes no length, so the products are as large as they were "
        "without it.",
    ),
    (
        _turned_coefficients,
        "You compute A and B from turned vectors. They hold for all positions, so they are made of the vectors before "
        "any turn.",
    ),
    (
        _query_less_key,
        "Your sine has the sign for the distance from key to query. Here n is the key's position less the query's.",
    ),
    (
        _turned_from_the_start,
        "You turn keys that were turned already, by their whole new position. Turns add up: only the difference to the "
        "new position is missing.",
    ),
    (
        _moved_forward,
        "You move the keys the wrong way. Tokens in front are gone, so the positions become smaller.",
    ),
    (
        _not_moved,
        "You leave the keys as they were. The next query would stand at a smaller position than before, and all "
        "distances to these keys would be wrong by what was dropped.",
    ),
    (
        _stretched_faster,
        "You multiply the positions by the factor. Positions that training never saw are to be pressed into the range "
        "that it did see: divide.",
    ),
    (
        _stretched_base,
        "You multiply the base by the factor. That slows the slow pairs and leaves the fast ones, which is another "
        "method; here every angle is divided by the factor.",
    ),
    (
        _whole_positions,
        "You round the stretched positions down. Neighbours would share one, and their order would be lost; an angle "
        "can be any number.",
    ),
)

PROBES = tuple(arguments for _, arguments in _CASES[1:3])
