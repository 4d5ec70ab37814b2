r"""
Project: a whole transformer that learns to copy.

Level: project. You need everything: tokens and positions, norms, attention with heads and masks, feed-forward layers,
the residual stream, the loss, descent. The gradient you need not write: `fp_autograd` is there, and so are `fp_neural`
and `fp_attention`; or write it, or use your own.

*Reading.* Texts are rows of ids. Shorter ones are filled up **in front** with $-1$, which is no token. The model has
$T$ positions. Of a text with more tokens it reads the last $T$. The first token that is read has position 0, the next
one position 1, wherever in the row they stand.

*The model.* With the tables $E \in \mathbb{R}^{V \times C}$ and $P \in \mathbb{R}^{T \times C}$,

$$
\begin{aligned}
x &= E_{\text{token}} + P_{\text{position}}, \\
x &\leftarrow x + \operatorname{attention}_l \big( \operatorname{norm}(x; g_l) \big), \qquad
x \leftarrow x + \operatorname{relu} \big( \operatorname{norm}(x; h_l)\, W_{1,l} \big)\, W_{2,l},
\qquad l = 0, \dots, L - 1, \\
z &= \operatorname{norm}(x; g)\, E^\top .
\end{aligned}
$$

The norm divides each row by the root of the mean of its squares plus $10^{-5}$, and multiplies by a gain:
$\operatorname{norm}(x; g)_c = g_c\, x_c / \sqrt{\tfrac1C \sum_j x_j^2 + 10^{-5}}$. Attention has $H$ heads of width
$D = C / H$: columns $hD, \dots, (h+1) D - 1$ of $n W_q$, $n W_k$, $n W_v$ belong to head $h$, weights are
$\operatorname{softmax}(q \cdot k / \sqrt D)$ over the tokens of the same text up to the place itself, and the heads'
means of values, side by side, are multiplied by $W_o$. Padding is looked at by nobody; what the model computes *at* a
place that holds padding is of no interest, and the logits that you return are 0 there.

*The loss* of a batch is the mean of $-\ln \operatorname{softmax}(z)$ at the token that follows, over all places of all
texts that hold a token and are followed by one. *Training*: for each batch in turn record the loss and subtract `rate`
times the gradient from every parameter. $E$ occurs twice in the model, and both uses have a part in its gradient.

The grader compares logits with its own, place by place, for short texts and long ones; then the steps, number by
number. Then it trains your model on 250 batches of texts that repeat themselves, `c a d c a d c a`, of different
lengths, and wants a loss near what is possible. That takes a few seconds. You learn nothing new; you learn that
you have everything.
"""

from numbers import Real
from typing import Any

import numpy as np

from fp_autograd.functional import value_and_grad
from fp_autograd.rules import log_softmax, relu, softmax, sqrt, where
from fp_autograd.tracing import value_of

HINTS = (
    "Begin with the forward pass for one text without padding, then several, then padding, then long ones: "
    "`ids = ids[:, -T:]`, `real = ids >= 0`, and the position of a token is `np.cumsum(real, axis=1) - 1` (at padding "
    "take any row, such as 0). Read padding as token 0: nobody looks there.",
    "What may be seen: `np.tri(n, dtype=bool) & real[:, None, :]`, with an axis for the heads. Rows at padding would "
    "see nothing, and the softmax of nothing is NaN, which spreads in the gradient: let every place see itself, or use "
    "-1e30 in place of minus infinity.",
    "`loss, grads = value_and_grad(f)(params)` takes a function of a dict of arrays and gives a dict of gradients. "
    "Inside f use the methods and functions of `fp_autograd` (`softmax`, `where`, `reshape`, `swapaxes`, indexing). "
    "Input places are `ids[:, :-1]`, targets `ids[:, 1:]`, and a place counts where both are tokens.",
)


def transformer(
    params: dict[str, np.ndarray], batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    """
    Train a transformer by gradient descent and let it read some texts.

    Parameters
    ----------
    params
        Where training starts, float64, not to be changed: `"E"` of shape `(V, C)`, `"P"` of shape `(T, C)`, `"g"` of
        shape `(C,)`; and for each layer l, counted from 0, `"g.l"` and `"h.l"` of shape `(C,)`, `"Wq.l"`, `"Wk.l"`,
        `"Wv.l"`, `"Wo.l"` of shape `(C, C)`, `"W1.l"` of shape `(C, F)`, `"W2.l"` of shape `(F, C)`.
    batches
        For each step ids of shape `(B, n)`, -1 for padding in front, n at most T + 1; there may be none.
    texts
        Ids of shape `(N, m)`, -1 for padding in front; each row has a token at its end. m may be larger than T.
    n_heads
        H, a divisor of C.
    rate
        The step size.

    Returns
    -------
    dict
        `"params"`: after training, in a dict like the one given; `"losses"`: for each batch the loss in nats before its
        step; `"logits"`: z after training for `texts`, of shape `(N, min(m, T), V)`, 0 at padding.

    Examples
    --------
    With gains of zero all logits are zero:

    >>> shapes = {"E": (5, 2), "P": (3, 2), "g": 2, "g.0": 2, "h.0": 2, "W1.0": (2, 4), "W2.0": (4, 2)}
    >>> shapes |= dict.fromkeys(("Wq.0", "Wk.0", "Wv.0", "Wo.0"), (2, 2))
    >>> params = {name: np.zeros(shape) for name, shape in shapes.items()}
    >>> answer = transformer(params, [np.array([[1, 2, 3], [-1, 4, 0]])], np.array([[1, 2, 3, 4]]), 1, 0.1)
    >>> answer["logits"].shape, float(answer["losses"][0]) == float(np.log(5))
    ((1, 3, 5), True)
    """
    return _trained(params, batches, texts, n_heads, rate)


def _trained(
    params: dict[str, np.ndarray],
    batches: list[np.ndarray],
    texts: np.ndarray,
    n_heads: int,
    rate: float,
    **parts: Any,
) -> dict[str, Any]:
    """As `transformer`; `parts` exchanges something, for the mistakes."""
    params, losses = {name: value.copy() for name, value in params.items()}, []
    for batch in batches:
        loss, grads = value_and_grad(lambda p, ids=batch: _loss(p, ids, n_heads, parts))(params)
        losses.append(float(loss))
        params = {name: value - rate * grads[name] for name, value in params.items()}
    logits = np.asarray(_logits(params, texts, n_heads, parts))
    real = _read(texts, len(params["P"]), parts) >= 0
    return {"params": params, "losses": losses, "logits": np.where(real[..., None], logits, 0)}


def _loss(params: Any, ids: np.ndarray, n_heads: int, parts: dict[str, Any]) -> Any:
    z = _logits(params, ids[:, :-1], n_heads, parts)
    target = ids[:, :-1] if parts.get("unshifted") else ids[:, 1:]
    b, t = np.nonzero((target >= 0) & ((ids[:, :-1] >= 0) | bool(parts.get("padding_counts"))))
    losses = -log_softmax(z, axis=-1)[b, t, target[b, t]]
    return losses.sum() if parts.get("summed") else losses.mean()


def _logits(params: Any, ids: np.ndarray, n_heads: int, parts: dict[str, Any]) -> Any:
    T = len(params["P"])
    ids = _read(ids, T, parts)
    real = ids >= 0
    places = np.arange(ids.shape[1]) if parts.get("places_of_the_row") else np.maximum(np.cumsum(real, axis=1) - 1, 0)
    x = params["E"][np.maximum(ids, 0)] + params["P"][places % T]
    n = ids.shape[1]
    seen = np.tri(n, dtype=bool) if not parts.get("unmasked") else np.ones((n, n), bool)
    if not parts.get("padding_seen"):
        seen = seen & (real[:, None, :] | np.eye(n, dtype=bool))  # padding sees itself, or its softmax would be NaN
    else:
        seen = np.broadcast_to(seen, (len(ids), n, n))
    axis, added = parts.get("axis", -1), parts.get("added", 1)
    for layer in range(sum(name.startswith("Wq.") for name in params)):
        p = {name: params[f"{name}.{layer}"] for name in ("g", "h", "Wq", "Wk", "Wv", "Wo", "W1", "W2")}
        for gain, branch in (("g", _attention), ("h", _feedforward)):
            if parts.get("post_norm"):
                x = _norm(x + branch(x, p, n_heads, seen, parts), p[gain], axis)
            else:
                x = added * x + branch(_norm(x, p[gain], axis), p, n_heads, seen, parts)
    x = x if parts.get("no_final_norm") else _norm(x, params["g"], axis)
    table = params["E"]
    if parts.get("tied_once"):
        table = value_of(table)
    return x @ table.T


def _read(ids: np.ndarray, T: int, parts: dict[str, Any]) -> np.ndarray:
    return ids[:, :T] if parts.get("first_kept") else ids if parts.get("beyond") else ids[:, -T:]


def _norm(x: Any, gain: Any, axis: int = -1) -> Any:
    return x / sqrt((x * x).mean(axis=axis, keepdims=True) + 1e-5) * gain


def _attention(x: Any, p: dict[str, Any], n_heads: int, seen: np.ndarray, parts: dict[str, Any]) -> Any:
    B, n, C = x.shape
    q, k, v = ((x @ p[w]).reshape(B, n, n_heads, C // n_heads).swapaxes(1, 2) for w in ("Wq", "Wk", "Wv"))
    scores = q @ k.swapaxes(2, 3) * (1 if parts.get("unscaled") else (n_heads / C) ** 0.5)
    weights = softmax(where(seen[:, None], scores, -np.inf), axis=-1)
    return (weights @ v).swapaxes(1, 2).reshape(B, n, C) @ p["Wo"]


def _feedforward(x: Any, p: dict[str, Any], n_heads: int, seen: np.ndarray, parts: dict[str, Any]) -> Any:
    return relu(x @ p["W1"]) @ p["W2"]


_Params = dict[str, np.ndarray]


def _start(seed: int, V: int, T: int, C: int, F: int, L: int, spread: float = 0.0) -> _Params:
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=(n, C)) / np.sqrt(C) for name, n in (("E", V), ("P", T))}
    names = ["g", *(f"{name}.{layer}" for layer in range(L) for name in ("g", "h"))]
    params |= {name: 1 + spread * rng.normal(size=C) for name in names}
    for layer in range(L):
        params |= {f"{w}.{layer}": rng.normal(size=(C, C)) / np.sqrt(C) for w in ("Wq", "Wk", "Wv", "Wo")}
        params[f"W1.{layer}"] = rng.normal(size=(C, F)) / np.sqrt(C)
        params[f"W2.{layer}"] = rng.normal(size=(F, C)) / np.sqrt(F)
    return params


def _texts(seed: int, N: int, n: int, V: int, period: int, least: int) -> np.ndarray:
    """Texts that repeat themselves, of `least` to n tokens, with padding in front."""
    rng = np.random.default_rng(seed)
    ids = np.full((N, n), -1)
    for row in ids:
        length = int(rng.integers(least, n + 1))
        row[n - length :] = np.resize(rng.integers(V, size=period), length)
    return ids


_V, _T, _HEADS = 5, 6, 2
_PARAMS = _start(1, _V, _T, 4, 3, 2, spread=0.3)
_ONE = np.array([[3, 0, 4, 1]])
_EQUAL = np.array([[3, 0, 4, 1, 1], [2, 2, 0, 1, 4]])
_PADDED = np.array([[-1, -1, 3, 0, 4], [2, 2, 0, 1, 4], [-1, -1, -1, -1, 1]])
_LONG = np.array([[3, 0, 4, 1, 1, 2, 0, 3, 4], [-1, -1, -1, -1, 2, 0, 0, 1, 4], [-1, 4, 1, 0, 2, 2, 3, 1, 0]])
_BATCHES = [
    np.array([[3, 0, 4, 1, 1, 2, 0]]),
    np.array([[-1, -1, 4, 1, 3], [0, 2, 1, 1, 2], [-1, -1, -1, 2, 0]]),
    np.array([[1, 3, 3, 0], [-1, 4, 2, 0]]),
]
_PERIOD, _LEAST = 3, 8  # of the texts that the model is trained on

PROBES: tuple[tuple[Any, ...], ...] = (
    (_PARAMS, [], _EQUAL, _HEADS, 0.0),
    (_PARAMS, [], _LONG, _HEADS, 0.0),
    (_PARAMS, [], _PADDED, _HEADS, 0.0),
    (_PARAMS, _BATCHES, _EQUAL, _HEADS, 0.5),
)

_REMINDERS = {
    "E": "It is the sum of two parts: its rows are read at the bottom, and it is the matrix of the output at the top.",
    "P": "Row t receives what arrives at the places with position t, which are counted from the first token of each "
    "text.",
    "g": "The last norm's gain is multiplied with every row in front of the output.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, texts, why in (
        ("one text of four tokens", _ONE, "Each branch reads the norm of the stream and is added to the stream."),
        ("two texts of five tokens", _EQUAL, "Texts do not see each other, and no place sees what follows."),
        (
            "texts of different lengths, padding in front",
            _PADDED,
            "Positions count from the first token of a text, and no token looks at padding.",
        ),
        (
            "texts with more tokens than there are positions",
            _LONG,
            "Of these the last T are read, the first of them at position 0.",
        ),
    ):
        answer = _graded(learner, case, _PARAMS, [], texts, _HEADS, 0.0)
        _expect_logits(case, answer["logits"], _PARAMS, texts, why)
    for batch in _BATCHES:
        case = f"one batch of {len(batch)}, rate 1"
        answer = _graded(learner, case, _PARAMS, [batch], _ONE, _HEADS, 1.0)
        _expect_loss(case, answer["losses"][0], _PARAMS, batch)
    _expect_step(learner, _BATCHES[1])
    after = _graded(learner, "one batch, rate 0.5", _PARAMS, _BATCHES[:1], _ONE, _HEADS, 0.5)
    case = "three batches, rate 0.5"
    answer = _graded(learner, case, _PARAMS, _BATCHES, _EQUAL, _HEADS, 0.5)
    _expect_loss(f"{case}, the second", answer["losses"][1], after["params"], _BATCHES[1])
    _expect_logits(f"{case}, afterwards", answer["logits"], answer["params"], _EQUAL, "They are those after training.")
    _expect_learning(learner)


def _graded(
    learner: Any, case: str, start: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    """The learner's answer, after everything that is asked of every answer."""
    given = {name: value.copy() for name, value in start.items()}
    answer = learner.transformer(given, [batch.copy() for batch in batches], texts.copy(), n_heads, rate)
    assert isinstance(answer, dict) and set(answer) == {"params", "losses", "logits"}, (
        f"expected a dict of params, losses and logits, got {answer!r:.80}"
    )
    params, losses = answer["params"], answer["losses"]
    assert isinstance(params, dict) and set(params) == set(start), (
        f"{case}: expected the trained parameters under the names {sorted(start)}, got {params!r:.80}"
    )
    for name, value in params.items():
        _expect_array(f"{case}: the parameter {name} after training", value, start[name].shape)
        assert np.isfinite(value).all(), f"{case}: after training {name} is not finite"
    assert isinstance(losses, list | tuple) and all(isinstance(loss, Real) for loss in losses), (
        f"{case}: expected a list of losses, got {losses!r:.80}"
    )
    assert len(losses) == len(batches), f"{case}: expected a loss for each of {len(batches)} steps, got {len(losses)}"
    T, V = len(start["P"]), len(start["E"])
    shape = (len(texts), min(texts.shape[1], T), V)
    _expect_array(f"{case}: the logits, for a model with {T} positions", answer["logits"], shape)
    return answer


def _expect_array(what: str, value: Any, shape: tuple[int, ...]) -> None:
    assert isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == shape, (
        f"{what} must be an array of floats of shape {shape}, got "
        + (f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.80}")
    )


def _expect_logits(case: str, logits: np.ndarray, params: _Params, texts: np.ndarray, why: str) -> None:
    for b, row in enumerate(texts.tolist()):
        text = [token for token in row if token >= 0][-len(params["P"]) :]
        assert not logits[b, : logits.shape[1] - len(text)].any(), f"{case}: logits at padding are to be 0"
        for t, z in enumerate(_by_definition(params, text)):
            yours = logits[b, t - len(text)]
            i = int(np.abs(yours - z).argmax())
            assert abs(yours[i] - z[i]) <= 1e-9, (  # two ways round, a few hundred roundings: 1e-14
                f"{case}: after {text[: t + 1]}, in the row {row}, token {i} has the logit {z[i].real:.6f}, yours is "
                f"{yours[i]:.6f}. {why}"
            )


def _expect_loss(case: str, loss: float, params: _Params, batch: np.ndarray) -> None:
    expected = _mean_loss(params, batch).real
    assert abs(loss - expected) <= 1e-9, (
        f"{case}: the loss is {expected:.6f} nats, you recorded {loss:.6f}. It is the mean over all places that hold a "
        "token and are followed by one, over all texts alike; the target is the token that follows."
    )


def _expect_step(learner: Any, batch: np.ndarray) -> None:
    answer = _graded(learner, "one batch, rate 1", _PARAMS, [batch], _ONE, _HEADS, 1.0)
    for name, value in _PARAMS.items():
        for i in np.ndindex(value.shape):
            moved = {**_PARAMS, name: value.astype(complex)}
            moved[name][i] += 1e-100j  # a complex step: no difference is taken, so nothing cancels
            slope = _mean_loss(moved, batch).imag / 1e-100
            yours = value[i] - answer["params"][name][i]
            assert abs(yours - slope) <= 1e-9, (
                f"one batch, rate 1: the slope of the loss in {name}[{', '.join(map(str, i))}] is {slope:.6f}, "
                f"measured on the loss alone; your step subtracts {yours:.6f}. "
                + _REMINDERS.get(name, "Is every step made with the gradient of this batch alone?")
            )


def _expect_learning(learner: Any) -> None:
    V, T = 8, 15
    start = _start(5, V, T, 16, 32, 2)
    batches = [_texts(100 + i, 16, T + 1, V, _PERIOD, _LEAST) for i in range(250)]
    held_out = _texts(99, 60, T + 1, V, _PERIOD, _LEAST)
    case = "250 batches of texts that repeat three tokens"
    answer = _graded(learner, case, start, batches, held_out[:2], 2, 0.5)
    reached = _mean_loss(answer["params"], held_out).real
    # of a text's n - 1 predictions the first two are of tokens drawn at random
    possible = np.log(V) * 2 * len(held_out) / ((held_out >= 0).sum(axis=1) - 1).sum()
    assert reached <= possible + 0.1, (
        f"{case}: on texts held out your model's loss is {reached:.3f} nats. Whoever copies pays {possible:.3f}, for "
        f"the tokens that nobody can know, and at most 0.1 more is wanted. Your losses went from "
        f"{answer['losses'][0]:.3f} to {answer['losses'][-1]:.3f}."
    )


def _by_definition(params: _Params, text: list[int]) -> list[np.ndarray]:
    """Logits at each place of a text without padding, head by head, for parameters that may be complex."""
    x = np.array([params["E"][token] + params["P"][t] for t, token in enumerate(text)])
    n, C = x.shape
    H = _HEADS
    for layer in range(sum(name.startswith("Wq.") for name in params)):
        p = {name: params[f"{name}.{layer}"] for name in ("g", "h", "Wq", "Wk", "Wv", "Wo", "W1", "W2")}
        rows = np.array([_normed(row, p["g"]) for row in x])
        q, k, v = rows @ p["Wq"], rows @ p["Wk"], rows @ p["Wv"]
        heads = []
        for columns in np.split(np.arange(C), H):
            out = []
            for t in range(n):
                s = k[: t + 1, columns] @ q[t, columns] / (C / H) ** 0.5
                e = np.exp(s - s.real.max())
                out.append(e / e.sum() @ v[: t + 1, columns])
            heads.append(np.array(out))
        x = x + np.concatenate(heads, axis=1) @ p["Wo"]
        hidden = np.array([_normed(row, p["h"]) for row in x]) @ p["W1"]
        x = x + np.where(hidden.real > 0, hidden, 0) @ p["W2"]
    return [params["E"] @ _normed(row, params["g"]) for row in x]


def _normed(row: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return np.asarray(row / np.sqrt((row * row).sum() / len(row) + 1e-5) * gain)


def _mean_loss(params: _Params, batch: np.ndarray) -> complex:
    total, count = 0j, 0
    for row in batch.tolist():
        text = [token for token in row if token >= 0]
        for z, target in zip(_by_definition(params, text[:-1]), text[1:], strict=True):
            shift = z.real.max()
            total += shift + np.log(np.exp(z - shift).sum()) - z[target]
            count += 1
    return complex(total / count)


def _unmasked(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, unmasked=True)


def _padding_attended(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, padding_seen=True)


def _places_of_the_row(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, places_of_the_row=True)


def _past_the_context(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, beyond=True)


def _first_tokens_kept(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, first_kept=True)


def _post_norm(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, post_norm=True)


def _residual_forgotten(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, added=0)


def _final_norm_forgotten(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, no_final_norm=True)


def _norm_over_places(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, axis=1)


def _unscaled(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, unscaled=True)


def _labels_not_shifted(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, unshifted=True)


def _padding_counts(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, padding_counts=True)


def _tied_once(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, tied_once=True)


def _summed(params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float) -> dict[str, Any]:
    return _trained(params, batches, texts, n_heads, rate, summed=True)


def _up_the_hill(
    params: _Params, batches: list[np.ndarray], texts: np.ndarray, n_heads: int, rate: float
) -> dict[str, Any]:
    return transformer(params, batches, texts, n_heads, -rate)


MISTAKES = (
    (
        _unmasked,
        "You do not mask what follows. A place then sees the token that it is to predict, and the loss falls while "
        "nothing is learned.",
    ),
    (
        _padding_attended,
        "You let tokens look at padding. It is in the row and not in the text: its weights take away from those of "
        "the tokens, and how much padding there is changes the answer.",
    ),
    (
        _places_of_the_row,
        "You number the places of the row. Padding stands in front, so a text would have other positions in "
        "another batch: position 0 is that of its first token.",
    ),
    (
        _past_the_context,
        "You read more tokens than there are positions, and begin again with position 0. The model was never "
        "trained to see two tokens at one position: of a long text it reads the last T.",
    ),
    (
        _first_tokens_kept,
        "You keep the first T tokens of a long text. What comes next depends most on what came last.",
    ),
    (
        _post_norm,
        "You normalise the sum of stream and branch. The norm belongs in front of the branch, and the stream runs "
        "past it untouched.",
    ),
    (
        _residual_forgotten,
        "You forget to add the stream to what a branch found. Nothing of the token gets past a layer then but by "
        "way of its branches.",
    ),
    (
        _final_norm_forgotten,
        "You forget the last norm. The stream has grown from layer to layer, and the logits with it.",
    ),
    (
        _norm_over_places,
        "Your norm takes the mean over the places. It is over the channels of one place, the last axis: other "
        "places, and padding, have no part in it.",
    ),
    (
        _unscaled,
        "You do not divide q.k by the root of the head's width D.",
    ),
    (
        _labels_not_shifted,
        "Your labels are not shifted: the target is the token that is read, and to repeat that is easy. It is the "
        "token that follows.",
    ),
    (
        _padding_counts,
        "You count the place in front of a text's first token. It holds padding, from which nothing can be predicted.",
    ),
    (
        _tied_once,
        "You give E the gradient of one of its two uses. It is read at the bottom and multiplied at the top, and "
        "both parts add up.",
    ),
    (
        _summed,
        "You take the sum of the losses of a batch, so that your steps grow with its size. It is the mean.",
    ),
    (
        _up_the_hill,
        "You add the gradient. It points to where the loss grows: subtract it.",
    ),
)
