r"""
A two-layer language model by hand.

Level: implement. You need `fp_neural.embedding`, `fp_neural.layers`, `fp_neural.losses`, and the exercises on each of
them.

The model of Bengio and others (2003): look up $k$ tokens, write their rows one after another, go through a hidden layer
of $\tanh$ and a linear one to a score for each token that could come next. For example $i$ of $B$, with the tokens
$x_{i1}, \dots, x_{ik}$, the oldest first, and the next token $y_i$,

$$
e_i = (C_{x_{i1}}, \dots, C_{x_{ik}}), \qquad h_i = \tanh(W_1 e_i + b_1), \qquad z_i = W_2 h_i + b_2,
$$

$$L = \frac1B \sum_{i=1}^{B} \Big( \ln \sum_v \exp z_{iv} - z_{i, y_i} \Big).$$

$C$ has shape $(V, D)$, $W_1$ has $(H, kD)$, $b_1$ has $(H,)$, $W_2$ has $(V, H)$ and $b_2$ has $(V,)$: a row of weights
for each unit. Return the scores, the loss in nats, and the slope of the loss in every parameter. Scores of $\pm 1000$
must do no harm.

Walk back the way you came: the slope in $z$, then $b_2$, $W_2$ and $h$, through the $\tanh$, then $b_1$, $W_1$ and $e$.
The last step is a lookup, backwards: which row of $C$ does each piece of the gradient of $e$ belong to, and what if one
token stands at several places? Every gradient has the shape of what it belongs to.

This is the whole of a training step, and `fp_neural.language_model` does no more. You learn what an engine does for you
there.
"""

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

HINTS = (
    "All examples at once: `e = C[x].reshape(B, k * D)`, `h = np.tanh(e @ W1.T + b1)`, `z = h @ W2.T + b2`. The loss "
    "is a mean of log-sum-exp minus the right score; subtract each row's largest score before exp.",
    "The slope of L in z is (softmax of each row, minus one at the right token) / B. From there: `dW2 = dz.T @ h`, "
    "`dh = dz @ W2`, times 1 - h^2 for the slope in the hidden sums, and the same two products again for W1 and e.",
    "Cut the gradient of e back into pieces, `de.reshape(B, k, D)`: piece [i, j] belongs to row x[i, j]. "
    "`dC[x] = ...` keeps one of several pieces, `np.add.at(dC, x, ...)` adds them all.",
)


def loss_and_grads(
    params: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, float, dict[str, np.ndarray]]:
    """
    Scores, mean loss, and the gradient of the loss in each parameter.

    Parameters
    ----------
    params
        `"C"` of shape `(V, D)`, `"W1"` of shape `(H, k * D)`, `"b1"` of shape `(H,)`, `"W2"` of shape `(V, H)`, `"b2"`
        of shape `(V,)`, all float64.
    x
        Contexts, ids in `[0, V)`, shape `(B, k)`, the oldest token first; an id may come more than once.
    y
        The token that follows each context, shape `(B,)`.

    Returns
    -------
    (ndarray, float, dict)
        The scores, shape `(B, V)`; the loss in nats a token; for each name in `params` an array of its shape.

    Examples
    --------
    Where W2 and b2 are zero all scores are equal, and four tokens are equally likely:

    >>> params = {"C": np.ones((4, 2)), "W1": np.ones((3, 4)), "b1": np.zeros(3)}
    >>> params |= {"W2": np.zeros((4, 3)), "b2": np.zeros(4)}
    >>> z, loss, grads = loss_and_grads(params, x=np.array([[0, 1], [1, 1]]), y=np.array([2, 2]))
    >>> z.shape, round(loss, 6) == round(float(np.log(4)), 6)
    ((2, 4), True)
    >>> grads["b2"].tolist(), grads["C"].shape
    ([0.25, 0.25, -0.75, 0.25], (4, 2))
    """
    C, W1, b1, W2, b2 = (params[name] for name in ("C", "W1", "b1", "W2", "b2"))
    (B, k), D = x.shape, C.shape[1]
    e = C[x].reshape(B, k * D)
    h = np.tanh(e @ W1.T + b1)
    z = h @ W2.T + b2
    shifted = z - z.max(axis=1, keepdims=True)  # the loss stays: both of its terms move alike
    log_sum = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = float((log_sum[:, 0] - shifted[np.arange(B), y]).mean())

    dz = np.exp(shifted - log_sum)
    dz[np.arange(B), y] -= 1
    dz /= B
    da = (dz @ W2) * (1 - h**2)
    dC = np.zeros_like(C)
    np.add.at(dC, x, (da @ W1).reshape(B, k, D))
    return z, loss, {"C": dC, "W1": da.T @ e, "b1": da.sum(axis=0), "W2": dz.T @ h, "b2": dz.sum(axis=0)}


def _example(V: int, D: int, H: int, x: list[list[int]], y: list[int], scale: float = 1.0) -> tuple[Any, ...]:
    """Arguments of the function, with parameters drawn at random."""
    rng = np.random.default_rng(8)
    shapes = {"C": (V, D), "W1": (H, len(x[0]) * D), "b1": (H,), "W2": (V, H), "b2": (V,)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    params["b2"] *= scale
    return params, np.array(x), np.array(y)


_ONE = _example(3, 2, 5, [[0]], [1])
_OPEN = _example(7, 2, 3, [[0, 2, 5], [1, 3, 4]], [3, 6])
_REPEATED = _example(5, 3, 2, [[1, 1], [3, 1], [1, 0], [1, 1], [2, 3]], [1, 0, 1, 4, 4])
_LARGE = _example(5, 2, 3, [[2, 4], [0, 1], [1, 0]], [1, 0, 3], scale=1000.0)

_CASES = (
    ("V = 3, D = 2, H = 5, one example with one token of context", _ONE),
    ("V = 7, D = 2, H = 3, two examples with three tokens of context, no token read twice", _OPEN),
    ("V = 5, D = 3, H = 2, five examples with two tokens of context, token 1 read six times", _REPEATED),
    ("scores near a thousand", _LARGE),
)

_REMINDERS = {
    "b2": "It is the sum over the examples of the slopes in z: the softmax of the scores, minus one at the right "
    "token, over B.",
    "W2": "Its row v is the sum over the examples of the slope in z_v times h.",
    "b1": "It is the sum over the examples of the slopes in h times the slope of tanh.",
    "W1": "Its row j is the sum over the examples of the slope in unit j's sum, before the tanh, times e.",
    "C": "Row v adds up the pieces of the gradient of e from all places where token v was read.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, (params, x, y) in _CASES:
        given = {name: value.copy() for name, value in params.items()}
        got = learner.loss_and_grads(given, x.copy(), y.copy())
        assert isinstance(got, (tuple, list)) and len(got) == 3, (
            f"expected a tuple of the scores, the loss and a dict of gradients, got {got!r:.80}"
        )
        z, loss, grads = got
        scores = np.array([_scores(params, context) for context in x.tolist()])
        _expect_array(f"{case}: the scores", z, scores.shape)
        for i, v in np.ndindex(scores.shape):
            assert abs(z[i, v] - scores[i, v]) <= 1e-9 * max(1.0, abs(float(scores[i, v]))), (
                f"{case}: example {i} reads {x[i].tolist()} and scores token {v} with {scores[i, v]:.6f}; yours is "
                f"{z[i, v]:.6f}. Are the rows written one after another, the oldest first, and both biases added?"
            )
        expected = float(_loss(params, x, y).real)
        assert isinstance(loss, Real), f"expected the loss as a float, got {loss!r:.80}"
        assert abs(float(loss) - expected) <= 1e-9 * max(1, abs(expected)), (
            f"{case}: expected a loss of {expected:.6f} nats, got {float(loss):.6f}. Each example has a softmax of its "
            "own, over the tokens; the loss is the mean over the examples, and no exp may overflow, nor ln meet a zero."
        )
        assert isinstance(grads, dict) and set(grads) == set(params), (
            f"expected a dict of gradients with the names of the parameters, C, W1, b1, W2 and b2, got {grads!r:.80}"
        )
        for name, reminder in _REMINDERS.items():  # from the end of the network to its beginning
            gradient = grads[name]
            _expect_array(f"{case}: the gradient of {name}", gradient, params[name].shape)
            for i in np.ndindex(params[name].shape):
                slope = _slope(params, name, i, x, y)
                place = ", ".join(map(str, i))
                assert abs(gradient[i] - slope) <= 1e-9, (  # both are exact to rounding, of slopes of size one
                    f"{case}: the slope of the loss in {name}[{place}] is {slope:.6f}, measured on the loss alone; "
                    f"your gradient has {gradient[i]:.6f}. {reminder}"
                )


def _expect_array(what: str, value: Any, shape: tuple[int, ...]) -> None:
    assert isinstance(value, np.ndarray) and value.dtype.kind in "iuf", (
        f"{what} must be an array of numbers, got {value!r:.80}"
    )
    assert value.shape == shape, f"{what} must have shape {shape}, got shape {value.shape}"


def _scores(params: dict[str, np.ndarray], context: list[int]) -> np.ndarray:
    """The scores after one context, place by place."""
    D = params["C"].shape[1]
    a = params["b1"].copy()
    for j, token in enumerate(context):
        a = a + params["W1"][:, j * D : (j + 1) * D] @ params["C"][token]
    return params["W2"] @ np.tanh(a) + params["b2"]


def _loss(params: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> complex:
    """The loss, example by example, for parameters that may be complex."""
    total = 0j
    for context, follows in zip(x.tolist(), y.tolist(), strict=True):
        z = _scores(params, context)
        shift = z.real.max()
        total += shift + np.log(np.exp(z - shift).sum()) - z[follows]
    return total / len(x)


def _slope(params: dict[str, np.ndarray], name: str, i: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> float:
    """Slope of the loss in one entry, by a complex step: no difference is taken, so nothing cancels."""
    moved = params[name].astype(complex)
    moved[i] += 1e-100j
    return float(_loss({**params, name: moved}, x, y).imag / 1e-100)


_Params = dict[str, np.ndarray]
_Answer = tuple[np.ndarray, float, dict[str, np.ndarray]]


def _model(
    params: _Params,
    x: np.ndarray,
    y: np.ndarray,
    axis: int = 1,
    slope: Callable[..., Any] = lambda a, h: 1 - h**2,
    flat: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
    share: Callable[[np.ndarray], Any] = len,
    right: float = 1.0,
) -> tuple[_Answer, np.ndarray]:
    """The answer with parts exchanged, and the gradient of the rows that were looked up, shape (B, k, D)."""
    C, W1, b1, W2, b2 = (params[name] for name in ("C", "W1", "b1", "W2", "b2"))
    (B, k), D = x.shape, C.shape[1]
    places = flat(np.arange(B * k * D).reshape(B, k, D)).reshape(B, k * D)
    e = C[x].ravel()[places]
    a = e @ W1.T + b1
    h = np.tanh(a)
    z = h @ W2.T + b2
    shifted = z - z.max(axis=axis, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    dz = (np.exp(log_p) - right * np.eye(len(C))[y]) / share(z)
    da = (dz @ W2) * slope(a, h)
    de = np.zeros(B * k * D)
    de[places.ravel()] = (da @ W1).ravel()
    rows = de.reshape(B, k, D)
    dC = np.zeros_like(C)
    np.add.at(dC, x, rows)
    grads = {"C": dC, "W1": da.T @ e, "b1": da.sum(axis=0), "W2": dz.T @ h, "b2": dz.sum(axis=0)}
    return (z, -float(log_p[np.arange(B), y].mean()), grads), rows


def _biases_forgotten(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return loss_and_grads({**params, "b1": np.zeros_like(params["b1"]), "b2": np.zeros_like(params["b2"])}, x, y)


def _hidden_bias_forgotten(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return loss_and_grads({**params, "b1": np.zeros_like(params["b1"])}, x, y)


def _interleaved(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, flat=lambda rows: rows.swapaxes(1, 2))[0]


def _newest_first(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, flat=lambda rows: rows[:, ::-1])[0]


def _softmax_over_the_batch(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, axis=0)[0]


def _gradient_of_the_sum(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, share=lambda z: 1)[0]


def _loss_of_the_sum(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    z, loss, grads = _gradient_of_the_sum(params, x, y)
    return z, loss * len(x), grads


def _divided_by_everything(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, share=np.size)[0]


def _slope_from_the_input(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, slope=lambda a, h: 1 - a**2)[0]


def _past_the_tanh(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, slope=lambda a, h: 1.0)[0]


def _overwritten(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    (z, loss, grads), rows = _model(params, x, y)
    dC = np.zeros_like(params["C"])
    dC[x] = rows
    return z, loss, grads | {"C": dC}


def _last_place_only(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    (z, loss, grads), rows = _model(params, x, y)
    dC = np.zeros_like(params["C"])
    np.add.at(dC, x[:, -1], rows[:, -1])
    return z, loss, grads | {"C": dC}


def _up_the_hill(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, share=lambda z: -len(z))[0]


def _right_token_forgotten(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _model(params, x, y, right=0.0)[0]


def _logarithm_of_a_softmax(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    z, _, grads = loss_and_grads(params, x, y)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return z, -float(np.log(p[np.arange(len(x)), y]).mean()), grads


MISTAKES = (
    (
        _biases_forgotten,
        "You leave the biases out on the way forward. Without them a context of zeros would have to score all tokens "
        "alike: add b1 before the tanh and b2 after the second product.",
    ),
    (
        _hidden_bias_forgotten,
        "You forget b1. Each hidden unit adds its own bias before the tanh.",
    ),
    (
        _interleaved,
        "You write the rows out number by number instead of one after another: the axes of place and of dimension are "
        "swapped when you flatten. `C[x]` has shape (B, k, D); reshape it as it is.",
    ),
    (
        _newest_first,
        "You write the rows in the wrong order, the newest token first. The first block of W1 belongs to the oldest "
        "token, x[:, 0].",
    ),
    (
        _softmax_over_the_batch,
        "Your softmax runs over the examples. It belongs to one example and runs over the tokens that could come "
        "next: the axis of size V.",
    ),
    (
        _gradient_of_the_sum,
        "Your loss is a mean and your gradient that of the sum: the factor 1/B is missing on the way back.",
    ),
    (
        _loss_of_the_sum,
        "You add up the losses of the examples. Their mean keeps its size, and so does the step, when the batch grows: "
        "divide loss and gradients by B.",
    ),
    (
        _divided_by_everything,
        "You divide the slopes in z by B times V. The loss is a mean over the B examples; over the tokens it is a sum.",
    ),
    (
        _slope_from_the_input,
        "You put the input of tanh into 1 - h^2. The slope of tanh is one minus the square of its output.",
    ),
    (
        _past_the_tanh,
        "You go back past the tanh without its slope. Every operation on the way forward is a factor on the way back.",
    ),
    (
        _overwritten,
        "You overwrite in the gradient of C where a token stands at several places, so that one of them counts. "
        "`dC[x] = ...` and `dC[x] += ...` both write a repeated row once; np.add.at adds all pieces.",
    ),
    (
        _last_place_only,
        "You send the gradient to the rows of the newest tokens alone. All k places of the context were looked up in "
        "the same table.",
    ),
    (
        _up_the_hill,
        "Your gradients have the wrong sign: softmax minus one at the right token is the slope of the loss, its "
        "negative that of the log-probability.",
    ),
    (
        _right_token_forgotten,
        "You take the softmax alone as the slope in z. The loss has two terms: the right token's own score lowers it, "
        "which takes one off there.",
    ),
    (
        _logarithm_of_a_softmax,
        "You take the logarithm of a probability that was rounded to zero. Stay with logarithms: ln p is the score "
        "minus the logarithm of the sum.",
    ),
)

PROBES = tuple(arguments for _, arguments in _CASES)
