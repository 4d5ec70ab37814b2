r"""
Project: attention that learns to recall, every gradient by hand.

Level: project. You need `fp_attention.scaled_dot`, `fp_attention.masks`, `fp_neural.losses`, and the exercises on the
backward pass of attention and on the two-layer model.

A text assigns values to names and repeats itself: `c 5 a 7 c 5 b 9 a 7`, names and values in turn. Within a text a name
always has the same value; in the next text it has another one. Whoever reads a name for the second time can know what
comes next, but only by looking back: no table of weights can hold it. Write a small model that learns to do so from
examples, with nothing but NumPy.

*The model.* $V$ tokens, names first, then values; width $D$. The model reads all tokens of a text but the last,
$x_0, \dots, x_{T-1}$, and predicts at each place the token that follows. With the tables $E$ and $F$ for the token
itself and for the one before it, and learned positions $P$,

$$h_t = E_{x_t} + F_{x_{t-1}} + P_t \quad (\text{no } F \text{ for } t = 0), \qquad q_t = h_t W_q, \quad k_t = h_t W_k,
\quad v_t = h_t W_v ,$$

$$a_{ts} = \operatorname{softmax}_{s \le t} \frac{q_t \cdot k_s}{\sqrt D} , \qquad z_t = \Big( \sum_{s \le t} a_{ts} v_s
\Big) U .$$

*The loss.* Only some places can be predicted: those that hold a name that occurred before in the same text. The loss is
the mean, over all such places of all texts of a batch, of $-\ln \operatorname{softmax}(z_t)$ at the token that follows.
Scores of a thousand, in either softmax, must do no harm.

*Training.* For each batch in turn: record the loss, compute its gradient in every parameter, and subtract `rate` times
the gradient from each. No library does it for you: one line forward, one line back.

*Judging.* After training, on texts held out: the share of the places that count at which the largest of the $V$ scores
is that of the token that follows; and the weights $a$, to see where the model looks.

The grader compares the weights, the loss, and the gradient of each single number with its own, in texts of 8 tokens.
Then it trains your model on 400 batches of 32 texts with 7 names and 11 values, and wants 95 percent of what is held
out. That takes about a second. You learn that a model can be taught to look something up, and what it takes: a query
made of the token, a key made of the token before. Language models grow such heads by themselves.
"""

from numbers import Real
from typing import Any

import numpy as np

HINTS = (
    "Work on all texts at once, arrays of shape (B, T, D). The places that count: at t the token is a name (its id is "
    "below n_names) and `(x[:, :t] == x[:, t:t + 1]).any(axis=1)`. Test the forward pass with no batches at all.",
    "Back through the scores: dz is (softmax minus one at the right token) / N at the N places that count, else 0. "
    "Then dU = Y'dz, dY = dz U', dA = dY v', dv = A'dY, dS = A (dA - sum of dA A over the keys), dq = dS k / sqrt(D), "
    "dk = dS'q / sqrt(D), a prime for transposed.",
    "Each W gets h' times its own slope, summed over texts and places; dh = dq Wq' + dk Wk' + dv Wv'. Row x[b, t] of "
    "E receives dh[b, t], row x[b, t - 1] of F too, several times if a token repeats (`np.add.at`), and P[t] the sum "
    "over the texts.",
)


def recall(
    params: dict[str, np.ndarray], batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    """
    Train an attention model by gradient descent and judge it on other texts.

    Parameters
    ----------
    params
        Where training starts: `"E"` and `"F"` of shape `(V, D)`, `"P"` of shape `(places, D)` with at least T places,
        `"Wq"`, `"Wk"`, `"Wv"` of shape `(D, D)`, `"U"` of shape `(D, V)`, all float64. They are not to be changed.
    batches
        For each step an array of ids of shape `(B, T + 1)`, a text in each row; there may be none. In each batch some
        place counts.
    held_out
        Texts to judge the model by, ids of shape `(N, T + 1)`.
    n_names
        The ids below are names, the others values. Texts begin with a name.
    rate
        The step size.

    Returns
    -------
    dict
        `"params"`: the parameters after training, in a dict like the one given;
        `"losses"`: the list of the losses in nats, for each batch before its step;
        `"accuracy"`: the share of the places that count in `held_out` where the largest score is the right one;
        `"weights"`: the weights a in the held-out texts after training, shape `(N, T, T)`.

    Examples
    --------
    Without training, and with parameters of zero, all weights are equal and so are all scores:

    >>> shapes = {"E": (4, 2), "F": (4, 2), "P": (3, 2), "Wq": (2, 2), "Wk": (2, 2), "Wv": (2, 2), "U": (2, 4)}
    >>> params = {name: np.zeros(shape) for name, shape in shapes.items()}
    >>> texts = np.array([[0, 3, 0, 3], [1, 2, 1, 2]])
    >>> answer = recall(params, [texts], texts, n_names=2, rate=1.0)
    >>> answer["weights"][0].round(2).tolist()
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.33, 0.33, 0.33]]
    >>> round(answer["losses"][0], 6) == round(float(np.log(4)), 6)
    True
    """
    params = {name: value.copy() for name, value in params.items()}
    losses = []
    for texts in batches:
        h, q, k, v, A, Y, log_p = _forward(params, texts)
        D, (B, T) = h.shape[-1], h.shape[:2]
        x, y, counts = texts[:, :-1], texts[:, 1:], _counts(texts, n_names)
        b, t = np.nonzero(counts)
        losses.append(-float(log_p[b, t, y[b, t]].mean()))

        dz = np.zeros_like(log_p)
        dz[b, t] = np.exp(log_p[b, t])
        dz[b, t, y[b, t]] -= 1
        dz /= len(b)
        dY = dz @ params["U"].T
        dA, dv = dY @ v.swapaxes(1, 2), A.swapaxes(1, 2) @ dY
        dS = A * (dA - (dA * A).sum(axis=2, keepdims=True)) / np.sqrt(D)
        dq, dk = dS @ k, dS.swapaxes(1, 2) @ q
        dh = dq @ params["Wq"].T + dk @ params["Wk"].T + dv @ params["Wv"].T
        rows = h.reshape(B * T, D).T  # a sum over texts and places at once
        grads = {name: np.zeros_like(params[name]) for name in ("E", "F", "P")}
        np.add.at(grads["E"], x, dh)
        np.add.at(grads["F"], x[:, :-1], dh[:, 1:])
        grads["P"][:T] = dh.sum(axis=0)
        grads |= {name: rows @ d.reshape(B * T, D) for name, d in (("Wq", dq), ("Wk", dk), ("Wv", dv))}
        grads["U"] = Y.reshape(B * T, D).T @ dz.reshape(B * T, -1)
        for name, gradient in grads.items():
            params[name] -= rate * gradient
    _, _, _, _, A, _, log_p = _forward(params, held_out)
    right = log_p.argmax(axis=2) == held_out[:, 1:]
    return {
        "params": params,
        "losses": losses,
        "accuracy": float(right[_counts(held_out, n_names)].mean()),
        "weights": A,
    }


def _forward(params: dict[str, np.ndarray], texts: np.ndarray) -> tuple[np.ndarray, ...]:
    """What the backward pass needs, and the logarithms of all predictions, shape (B, T, V)."""
    x = texts[:, :-1]
    T = x.shape[1]
    h = params["E"][x] + params["P"][:T]
    h[:, 1:] += params["F"][x[:, :-1]]
    q, k, v = h @ params["Wq"], h @ params["Wk"], h @ params["Wv"]
    S = np.where(np.tri(T, dtype=bool), q @ k.swapaxes(1, 2) / np.sqrt(h.shape[2]), -np.inf)
    A = np.exp(S - S.max(axis=2, keepdims=True))
    A /= A.sum(axis=2, keepdims=True)
    Y = A @ v
    z = Y @ params["U"]
    z -= z.max(axis=2, keepdims=True)
    return h, q, k, v, A, Y, z - np.log(np.exp(z).sum(axis=2, keepdims=True))


def _counts(texts: np.ndarray, n_names: int) -> np.ndarray:
    """Where a name is read that occurred before in its text, shape (B, T)."""
    x = texts[:, :-1]
    before = np.tri(x.shape[1], k=-1, dtype=bool)
    return ((x[:, :, None] == x[:, None]) & before).any(axis=2) & (x < n_names)


_Params = dict[str, np.ndarray]


def _texts(seed: int, n: int, n_pairs: int, n_names: int, n_values: int) -> np.ndarray:
    """Texts of names and values in turn; each text has its own value for each name."""
    rng = np.random.default_rng(seed)
    values = n_names + rng.integers(n_values, size=(n, n_names))
    names = rng.integers(n_names, size=(n, n_pairs))
    return np.stack([names, np.take_along_axis(values, names, axis=1)], axis=2).reshape(n, 2 * n_pairs)


def _start(seed: int, V: int, places: int, D: int) -> _Params:
    rng = np.random.default_rng(seed)
    tables = {name: rng.normal(size=(n, D)) for name, n in (("E", V), ("F", V), ("P", places))}
    matrices = {name: rng.normal(size=(D, D)) / np.sqrt(D) for name in ("Wq", "Wk", "Wv")}
    return {**tables, **matrices, "U": rng.normal(size=(D, V)) / np.sqrt(D)}


_NAMES, _VALUES, _D, _PLACES = 2, 3, 3, 11
_SMALL = [_texts(seed, n, 4, _NAMES, _VALUES) for seed, n in ((1, 1), (2, 5), (3, 2))]
_HELD_OUT = _texts(4, 7, 4, _NAMES, _VALUES)
_SHARP = {name: 1000 * x if name in ("Wq", "U") else x for name, x in _start(3, 5, _PLACES, _D).items()}

PROBES: tuple[tuple[Any, ...], ...] = (
    (_start(1, 5, _PLACES, _D), [], _HELD_OUT, _NAMES, 0.0),
    (_start(1, 5, _PLACES, _D), _SMALL[1:2], _HELD_OUT, _NAMES, 1.0),
    (_start(2, 5, _PLACES, _D), _SMALL, _HELD_OUT, _NAMES, 0.5),
    (_SHARP, _SMALL[1:2], _HELD_OUT, _NAMES, 0.0),
)

_REMINDERS = {
    "U": "It is the sum over texts and places of the weighted value times the slope in z; that is 0 at places that do "
    "not count.",
    "Wv": "A value reaches every place that looks at it: its slope is the sum of theirs, each with its weight.",
    "Wq": "The slope in a score is a_ts times (the slope in a_ts minus the mean of the row's, weighted by a), and "
    "1/sqrt(D) of it reaches the product q.k.",
    "Wk": "A key's slope is the sum over the queries of the slope in their score times the query, over sqrt(D).",
    "P": "P[t] receives the slope in h at place t from every text of the batch, by way of queries, keys and values.",
    "F": "Row x[t - 1] receives the slope in h at place t, and adds up all of them.",
    "E": "Row x[t] receives the slope in h at place t, by way of queries, keys and values, and adds up all of them.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    start = _start(1, 5, _PLACES, _D)
    answer = _graded(learner, "no batches, so no training", start, [], _HELD_OUT, _NAMES, 0.0)
    _expect_weights("before training", answer["weights"], start, _HELD_OUT)
    _expect_accuracy("before training", answer, _HELD_OUT, _NAMES)
    sharp = _graded(learner, "scores near a thousand, a rate of 0", _SHARP, _SMALL[1:2], _HELD_OUT, _NAMES, 0.0)
    _expect_losses("scores near a thousand", sharp["losses"], [_SHARP], _SMALL[1:2])
    for i, batch in enumerate(_SMALL):
        case = f"one batch, {len(batch)} x 8 tokens"
        answer = _graded(learner, case, start, [batch], _HELD_OUT, _NAMES, 1.0)
        _expect_losses(case, answer["losses"], [start], [batch])
        if i < 2:
            _expect_step(case, answer["params"], start, batch)
    one_by_one = [start]
    for batch in _SMALL[:2]:
        one_by_one.append(_graded(learner, "a step", one_by_one[-1], [batch], _HELD_OUT, _NAMES, 0.5)["params"])
    answer = _graded(learner, "three batches", start, list(_SMALL), _HELD_OUT, _NAMES, 0.5)
    _expect_losses("three batches, rate 0.5", answer["losses"], one_by_one, _SMALL)
    _expect_weights("after three batches", answer["weights"], answer["params"], _HELD_OUT)
    _expect_accuracy("after three batches", answer, _HELD_OUT, _NAMES)
    _expect_recall(learner)


def _graded(
    learner: Any, case: str, start: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    """The learner's answer, after everything that is asked of every answer."""
    given = {name: value.copy() for name, value in start.items()}
    answer = learner.recall(given, [batch.copy() for batch in batches], held_out.copy(), n_names, rate)
    assert isinstance(answer, dict) and set(answer) == {"params", "losses", "accuracy", "weights"}, (
        f"expected a dict of params, losses, accuracy and weights, got {answer!r:.80}"
    )
    N, T = held_out.shape[0], held_out.shape[1] - 1
    params = answer["params"]
    assert isinstance(params, dict) and set(params) == set(start), (
        f"{case}: expected the trained parameters under the names {sorted(start)}, got {params!r:.80}"
    )
    for name, value in params.items():
        _expect_array(f"{case}: the parameter {name} after training", value, start[name].shape)
        assert np.isfinite(value).all(), f"{case}: after training {name} is not finite"
    _expect_array(f"{case}: the weights", answer["weights"], (N, T, T))
    losses = answer["losses"]
    assert isinstance(losses, list | tuple) and all(isinstance(loss, Real) for loss in losses), (
        f"{case}: expected a list of losses, got {losses!r:.80}"
    )
    assert len(losses) == len(batches), f"{case}: expected a loss for each of {len(batches)} steps, got {len(losses)}"
    return answer


def _expect_accuracy(case: str, answer: dict[str, Any], held_out: np.ndarray, n_names: int) -> None:
    accuracy, right = answer["accuracy"], _right(answer["params"], held_out)
    places = _places(held_out, n_names)
    expected = sum(right[b, t] for b, t in places) / len(places)
    assert isinstance(accuracy, Real) and abs(float(accuracy) - expected) <= 1e-9, (
        f"{case}: with the parameters that you return {expected:.1%} of the {len(places)} places that count in the "
        f"held-out texts are predicted rightly; you report {accuracy!r:.20}. A place counts where a name is read that "
        "occurred before in the same text."
    )


def _expect_array(what: str, value: Any, shape: tuple[int, ...]) -> None:
    assert isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == shape, (
        f"{what} must be an array of floats of shape {shape}, got "
        + (f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.80}")
    )


def _expect_weights(case: str, A: np.ndarray, params: _Params, texts: np.ndarray) -> None:
    for b, text in enumerate(texts.tolist()):
        for t, row in enumerate(_by_definition(params, text)[0]):
            later = np.abs(A[b, t, t + 1 :])
            assert not (later > 1e-12).any(), (
                f"{case}: in the text {text} place {t} gives place {t + 1 + int(later.argmax())} the weight "
                f"{later.max():.4f}. It must not look at what follows, which it is to predict: mask before the softmax."
            )
            for s in range(t + 1):
                assert abs(A[b, t, s] - row[s]) <= 1e-9, (  # two ways round, a few sums long: 1e-15
                    f"{case}: in the text {text} place {t} gives place {s} the weight {row[s].real:.6f}, yours is "
                    f"{A[b, t, s]:.6f}. It is a softmax over the places up to {t}, of q.k over the root of D, made of "
                    "h: the token, the one before it, and the position, each once."
                )


def _expect_losses(case: str, losses: Any, params: list[_Params], batches: list[np.ndarray]) -> None:
    for i, (loss, p, batch) in enumerate(zip(losses, params, batches, strict=True)):
        expected = _loss(p, batch).real
        assert abs(loss - expected) <= 1e-9 * max(1.0, abs(expected)), (
            f"{case}: before step {i} the loss is {expected:.6f} nats, you recorded {loss:.6f}. It is the mean over "
            "the places where a name is read that occurred before in the same text; the target is the token after it, "
            "and the sum of exponentials runs over all V tokens. Each step begins with gradients of zero."
        )


def _expect_step(case: str, params: _Params, start: _Params, batch: np.ndarray) -> None:
    for name, reminder in _REMINDERS.items():  # from the end of the network to its beginning
        for i in np.ndindex(start[name].shape):
            moved = {**start, name: start[name].astype(complex)}
            moved[name][i] += 1e-100j  # a complex step: no difference is taken, so nothing cancels
            slope = _loss(moved, batch).imag / 1e-100
            yours = start[name][i] - params[name][i]
            assert abs(yours - slope) <= 1e-9, (
                f"{case}, rate 1: the slope of the loss in {name}[{', '.join(map(str, i))}] is {slope:.6f}, measured "
                f"on the loss alone; your step subtracts {yours:.6f}. {reminder}"
            )


def _expect_recall(learner: Any) -> None:
    batches = [_texts(100 + i, 32, 12, 7, 11) for i in range(400)]
    held_out = _texts(99, 200, 12, 7, 11)
    case = "400 batches of texts with 7 names and 11 values"
    answer = _graded(learner, case, _start(5, 18, 23, 16), batches, held_out, 7, 0.5)
    _expect_accuracy(case, answer, held_out, 7)
    first, last = (float(np.mean(part)) for part in (answer["losses"][:10], answer["losses"][-10:]))
    assert answer["accuracy"] >= 0.95, (
        f"{case}: your model recalls {answer['accuracy']:.1%} of the values in held-out texts, at least 95% is wanted. "
        f"Its loss went from {first:.3f} to {last:.3f}."
    )


def _by_definition(params: _Params, text: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The weights and the scores at each place, place by place, for parameters that may be complex."""
    h = [params["E"][token] + params["P"][t] for t, token in enumerate(text[:-1])]
    h = [h[0]] + [h[t] + params["F"][text[t - 1]] for t in range(1, len(h))]
    k, v = (np.array([row @ params[name] for row in h]) for name in ("Wk", "Wv"))
    weights, scores = [], []
    for t, row in enumerate(h):
        s = k[: t + 1] @ (row @ params["Wq"]) / len(row) ** 0.5
        e = np.exp(s - s.real.max())
        weights.append(e / e.sum())
        scores.append((weights[-1] @ v[: t + 1]) @ params["U"])
    return weights, scores


def _places(texts: np.ndarray, n_names: int) -> list[tuple[int, int]]:
    return [
        (b, t)
        for b, text in enumerate(texts.tolist())
        for t, token in enumerate(text[:-1])
        if token < n_names and token in text[:t]
    ]


def _loss(params: _Params, texts: np.ndarray) -> complex:
    total, places = 0j, _places(texts, _NAMES)
    scores = [_by_definition(params, text)[1] for text in texts.tolist()]
    for b, t in places:
        z = scores[b][t]
        shift = z.real.max()
        total += shift + np.log(np.exp(z - shift).sum()) - z[texts[b, t + 1]]
    return total / len(places)


def _right(params: _Params, texts: np.ndarray) -> np.ndarray:
    """Where the largest score is the right one, for parameters that are finite."""
    guesses = [[int(z.argmax()) for z in _by_definition(params, text)[1]] for text in texts.tolist()]
    return np.array(guesses) == texts[:, 1:]


def _varied(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float, **parts: Any
) -> dict[str, Any]:
    """The reference once more, with parts exchanged."""
    params = {name: value.copy() for name, value in params.items()}
    D = params["E"].shape[1]
    scale = parts.get("scale", 1 / np.sqrt(D))
    counted = parts.get("counted", lambda texts: _counts(texts, n_names))
    target = parts.get("target", lambda texts: texts[:, 1:])

    def forward(texts: np.ndarray) -> tuple[np.ndarray, ...]:
        x = texts[:, :-1]
        T = x.shape[1]
        h = params["E"][x] + parts.get("times", 1) * params["P"][:T]
        if parts.get("ahead"):
            h[:, :-1] += params["F"][x[:, 1:]]
        else:
            h[:, 1:] += params["F"][x[:, :-1]]
        q, k, v = h @ params["Wq"], h @ params["Wk"], h @ params["Wv"]
        S = scale * q @ k.swapaxes(1, 2)
        seen = parts.get("seen", np.tri(T, dtype=bool))
        after = parts.get("masked_after", False)
        axis = parts.get("axis", 2)
        S = S if after else np.where(seen, S, -np.inf)
        A = np.exp(S - S.max(axis=axis, keepdims=True))
        A = A / A.sum(axis=axis, keepdims=True) * (seen if after else 1)
        Y = A @ v
        z = Y @ params["U"]
        z = z - z.max(axis=2, keepdims=True)
        return h, q, k, v, A, Y, z - np.log(np.exp(z).sum(axis=2, keepdims=True))

    losses = []
    for texts in batches:
        h, q, k, v, A, Y, log_p = forward(texts)
        x, y, T = texts[:, :-1], target(texts), texts.shape[1] - 1
        b, t = np.nonzero(counted(texts))
        losses.append(-float(log_p[b, t, y[b, t]].mean()))
        dz = np.zeros_like(log_p)
        dz[b, t] = np.exp(log_p[b, t])
        dz[b, t, y[b, t]] -= 1
        dz /= parts.get("share", len(b))
        dY = dz @ params["U"].T
        dA, dv = dY @ v.swapaxes(1, 2), A.swapaxes(1, 2) @ dY
        dS = A * (dA - parts.get("centred", 1) * (dA * A).sum(axis=2, keepdims=True)) * parts.get("back", scale)
        dq, dk = dS @ k, (dS if parts.get("crossed") else dS.swapaxes(1, 2)) @ q
        dh = dq @ params["Wq"].T + dk @ params["Wk"].T
        dh = dh if parts.get("values_forgotten") else dh + dv @ params["Wv"].T
        grads = {name: np.zeros_like(params[name]) for name in ("E", "F", "P")}
        ahead = parts.get("ahead", False)
        pieces = (("E", x, dh), ("F", x[:, 1:], dh[:, :-1]) if ahead else ("F", x[:, :-1], dh[:, 1:]))
        for name, rows, slopes in pieces:
            if parts.get("overwritten"):
                grads[name][rows] = slopes
            else:
                np.add.at(grads[name], rows, slopes)
        grads["P"][:T] = parts.get("times", 1) * (dh.mean(axis=0) if parts.get("mean") else dh.sum(axis=0))
        grads |= {n: np.einsum("btc,btd->cd", h, d) for n, d in (("Wq", dq), ("Wk", dk), ("Wv", dv))}
        grads["U"] = np.einsum("btd,btv->dv", Y, dz)
        for name, gradient in grads.items():
            params[name] -= rate * gradient
    judged = parts.get("judged", lambda batches, texts: texts)(batches, held_out)
    log_p = forward(judged)[-1]
    right = log_p.argmax(axis=2) == target(judged)
    return {
        "params": params,
        "losses": losses,
        "accuracy": float(right[counted(judged)].mean()),
        "weights": forward(held_out)[4],
    }


def _no_mask(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, seen=True)


def _mask_after_the_softmax(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, masked_after=True)


def _before(T: int) -> np.ndarray:
    """The mask shifted by one; the first place, which would have nothing, keeps itself."""
    seen = np.tri(T, k=-1, dtype=bool)
    seen[0, 0] = True
    return seen


def _mask_shifted(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, seen=_before(held_out.shape[1] - 1))


def _scale_missing(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, scale=1.0)


def _divided_by_the_width(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, scale=1 / params["E"].shape[1])


def _softmax_over_queries(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, axis=1)


def _positions_twice(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, times=2)


def _the_token_after(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, ahead=True)


def _labels_off_by_one(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, target=lambda texts: texts[:, :-1])


def _every_name_counts(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, counted=lambda texts: texts[:, :-1] < n_names)


def _every_place_counts(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, counted=lambda texts: texts[:, :-1] >= 0)


def _the_sum(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, share=1)


def _values_forgotten(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, values_forgotten=True)


def _row_mean_forgotten(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, centred=0)


def _scale_forgotten_on_the_way_back(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, back=1.0)


def _keys_not_transposed(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, crossed=True)


def _overwritten(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, overwritten=True)


def _one_text_for_the_positions(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, mean=True)


def _judged_by_the_training(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return _varied(params, batches, held_out, n_names, rate, judged=lambda batches, texts: [texts, *batches][-1])


def _old_gradients_kept(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    at, sums, losses = params, {name: np.zeros_like(value) for name, value in params.items()}, []
    for batch in batches:
        answer = recall(at, [batch], held_out, n_names, 1.0)
        losses += answer["losses"]
        sums = {name: sums[name] + at[name] - answer["params"][name] for name in sums}
        at = {name: at[name] - rate * sums[name] for name in sums}
    return {**recall(at, [], held_out, n_names, rate), "losses": losses}


def _up_the_hill(
    params: _Params, batches: list[np.ndarray], held_out: np.ndarray, n_names: int, rate: float
) -> dict[str, Any]:
    return recall(params, batches, held_out, n_names, -rate)


MISTAKES = (
    (
        _no_mask,
        "You use no mask. A place then looks at the token that it is to predict, the loss falls to zero and nothing is "
        "recalled: scores of later places become minus infinity before the softmax.",
    ),
    (
        _mask_after_the_softmax,
        "You mask after the softmax. The weights left do not sum to 1, and the sum that they were divided by still "
        "depends on what follows.",
    ),
    (
        _mask_shifted,
        "Your mask is shifted by one: a place does not look at itself. Its own key holds the token before it, and its "
        "value the token itself.",
    ),
    (
        _scale_missing,
        "You do not divide q.k by the root of D. Products of independent entries grow with D, and the softmax "
        "saturates.",
    ),
    (
        _divided_by_the_width,
        "You divide q.k by D. Its standard deviation grows with the root of D, so that is what it is divided by.",
    ),
    (
        _softmax_over_queries,
        "Your softmax runs over the queries. The weights of one query, over the keys, sum to 1: the last axis.",
    ),
    (
        _positions_twice,
        "You add the positions twice. To train so does no harm; but a model that was trained with them once is another "
        "one with them twice.",
    ),
    (
        _the_token_after,
        "You take F from the token that follows. It is the answer, which no place may know; the row is that of the "
        "token before.",
    ),
    (
        _labels_off_by_one,
        "Your labels are off by one: the target is the token that is read, so the model learns to copy. It is the "
        "token after.",
    ),
    (
        _every_name_counts,
        "You count every place that holds a name. Where it occurs for the first time nobody can know what follows, and "
        "the loss has a floor.",
    ),
    (
        _every_place_counts,
        "You count every place. Which name comes next nobody can know, and the first value of a name neither.",
    ),
    (
        _the_sum,
        "Your gradient is that of the sum, and the loss a mean. Divide the slopes in z by the number of places that "
        "count.",
    ),
    (
        _values_forgotten,
        "You forget the way through the values: h is also what the values are made of, and dv Wv' belongs to its "
        "gradient.",
    ),
    (
        _row_mean_forgotten,
        "You leave out the mean in the slope of the softmax. If one weight grows the others shrink: from each slope "
        "the mean of the row is subtracted, each with its weight.",
    ),
    (
        _scale_forgotten_on_the_way_back,
        "You divide by the root of D on the way forward and not on the way back. Every operation on the way forward is "
        "a factor on the way back.",
    ),
    (
        _keys_not_transposed,
        "You do not transpose the slopes in the scores for the keys. A key adds up over the queries that look at it, a "
        "column, not a row.",
    ),
    (
        _overwritten,
        "You overwrite in the gradients of E and F where a token stands at several places. `dE[x] = ...` and `dE[x] += "
        "...` both write a repeated row once; np.add.at adds all pieces.",
    ),
    (
        _one_text_for_the_positions,
        "You average the gradient of the positions over the texts. Each text adds its slope; the mean is in the loss "
        "already.",
    ),
    (
        _judged_by_the_training,
        "You report the accuracy on the last batch. What counts is how the model does on texts that it was not trained "
        "on.",
    ),
    (
        _old_gradients_kept,
        "You keep the gradients of the steps before and add to them. Every step needs gradients that begin at zero.",
    ),
    (
        _up_the_hill,
        "You step up the hill: the gradient is subtracted, since the loss is to fall.",
    ),
)
