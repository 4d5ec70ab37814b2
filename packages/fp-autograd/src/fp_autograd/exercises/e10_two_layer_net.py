r"""
A two-layer network by hand.

Level: challenge. You need `fp_autograd.rules`, and the exercises on broadcasting and on the matrix product.

An engine would do it for you; do it once without. The network reads one token and predicts the next. It has one matrix
of embeddings $E$, shape $(V, C)$, which it uses twice: the row $E_{x}$ stands for the token $x$ that is read, and the
score of a token $v$ as the next one is its row's product with the hidden layer. With $t$ for the pair of tokens,

$$e_t = E_{x_t}, \qquad a_t = e_t W + b, \qquad h_t = \tanh a_t, \qquad z_t = h_t E^\top + c,$$

$$L = \frac1T \sum_{t=1}^{T} \Big( \ln \sum_v \exp z_{tv} - z_{t, y_t} \Big).$$

$W$ has shape $(C, C)$, $b$ has $(C,)$ and $c$ has $(V,)$. The loss is the mean surprisal of the $T$ next tokens, in
nats. Return it with its gradient in every parameter, and let it survive scores of $\pm 1000$.

Go back as you came: from the slope of $L$ in $z$, which you derive from the last line, to $c$ and $h$, to $a$, to $W$,
$b$ and $e$. What is $E$'s gradient? It is used at both ends, and a token that is read five times has five copies of
its row. For every array on the way, its gradient has its shape: that alone catches half of all errors.

Tying the two ends is done in GPT-2, in Gemma and in many small models, and the scores, the loss and the sums over all
tokens are those of every language model; between $e$ and $h$ they have more layers.
"""

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

HINTS = (
    "Show first that the slope of L in z_tv is (p_tv - [v = y_t]) / T, with p_t the softmax of z_t. Everything else "
    "follows from it: dc is its sum over t, dh = dz E, and E gets dz^T h from this end.",
    "Through tanh: da = dh (1 - h^2), with the output h. Then db is the sum of da over t, dW = e^T da, de = da W^T. "
    "Subtract the largest score of each row before exp, and add it back after ln.",
    "E's gradient is dz^T h plus, in row x_t, de_t for every t. `dE[x] += de` adds one of several rows with the same "
    "token; `np.add.at(dE, x, de)` adds them all.",
)


def loss_and_grads(params: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """
    Mean loss of a two-layer network with tied embeddings, and its gradient in each parameter.

    Parameters
    ----------
    params
        `"E"` of shape `(V, C)`, `"W"` of shape `(C, C)`, `"b"` of shape `(C,)`, `"c"` of shape `(V,)`, all float64.
    x
        The tokens that are read, ids in `[0, V)`, shape `(T,)`; an id may come more than once.
    y
        The token that follows each, shape `(T,)`.

    Returns
    -------
    (float, dict)
        The loss in nats a token, and for each name in `params` an array of the parameter's shape: the slope of the loss
        in each entry.

    Examples
    --------
    Where E is zero all scores are equal, whatever W is, and three tokens are equally likely:

    >>> params = {"E": np.zeros((3, 2)), "W": np.eye(2), "b": np.zeros(2), "c": np.zeros(3)}
    >>> loss, grads = loss_and_grads(params, x=np.array([0, 1]), y=np.array([1, 1]))
    >>> round(loss, 6) == round(float(np.log(3)), 6)
    True
    >>> grads["c"].round(3).tolist()
    [0.333, -0.667, 0.333]
    """
    E, W, b, c = (params[name] for name in ("E", "W", "b", "c"))
    T = len(x)
    t = np.arange(T)
    e = E[x]
    h = np.tanh(e @ W + b)
    z = h @ E.T + c
    z = z - z.max(axis=1, keepdims=True)  # the loss stays: both of its terms move alike
    log_sum = np.log(np.exp(z).sum(axis=1, keepdims=True))
    loss = float((log_sum[:, 0] - z[t, y]).mean())

    dz = np.exp(z - log_sum)
    dz[t, y] -= 1
    dz /= T
    da = (dz @ E) * (1 - h**2)
    dE = dz.T @ h  # as the matrix that scores
    np.add.at(dE, x, da @ W.T)  # and as the rows that are read
    return loss, {"E": dE, "W": e.T @ da, "b": da.sum(axis=0), "c": dz.sum(axis=0)}


def _example(V: int, C: int, x: list[int], y: list[int], scale: float = 1.0) -> tuple[Any, ...]:
    """Arguments of the function, with parameters drawn at random."""
    rng = np.random.default_rng(10)
    shapes = {"E": (V, C), "W": (C, C), "b": (C,), "c": (V,)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    params["c"] *= scale
    return params, np.array(x), np.array(y)


_SMALL = _example(3, 2, [0], [1])
_OPEN = _example(7, 3, [0, 2, 5, 1], [3, 3, 6, 4])
_REPEATED = _example(5, 2, [1, 3, 1, 1, 0, 3, 1], [3, 1, 1, 0, 3, 1, 2])
_LARGE = _example(5, 3, [2, 4, 0], [1, 0, 3], scale=1000.0)

_CASES = (
    ("V = 3, C = 2 and one pair of tokens, 0 then 1", _SMALL),
    ("V = 7, C = 3, T = 4, no token read twice", _OPEN),
    ("V = 5, C = 2, T = 7, token 1 read four times", _REPEATED),
    ("scores near a thousand", _LARGE),
)

_REMINDERS = {
    "c": "It is the sum over t of the slopes in z: the softmax of the scores, minus one at the right token, over T.",
    "b": "It is the sum over t of the slopes in a, which are those in h times the slope of tanh.",
    "W": "It is e transposed times the slopes in a.",
    "E": "It has two parts that add: from the scores, and from every place where its row was read.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for case, (params, x, y) in _CASES:
        given = {name: value.copy() for name, value in params.items()}
        got = learner.loss_and_grads(given, x.copy(), y.copy())
        assert isinstance(got, (tuple, list)) and len(got) == 2, (
            f"expected a tuple of the loss and a dict of gradients, got {got!r:.80}"
        )
        loss, grads = got
        expected = float(_loss(params, x, y).real)
        assert isinstance(loss, Real), f"expected the loss as a float, got {loss!r:.80}"
        assert abs(float(loss) - expected) <= 1e-9 * max(1, abs(expected)), (
            f"{case}: expected a loss of {expected:.6f} nats, got {float(loss):.6f}. It is the mean over the tokens, "
            "and no exp may overflow, nor ln meet a zero."
        )
        assert isinstance(grads, dict) and set(grads) == set(params), (
            f"expected a dict of gradients with the names of the parameters, E, W, b and c, got {grads!r:.80}"
        )
        for name, reminder in _REMINDERS.items():  # from the end of the network to its beginning
            gradient, parameter = grads[name], params[name]
            assert isinstance(gradient, np.ndarray) and gradient.dtype.kind in "iuf", (
                f"{case}: expected an array of numbers as the gradient of {name}, got {gradient!r:.80}"
            )
            assert gradient.shape == parameter.shape, (
                f"{case}: the gradient of {name} has the shape of {name}, {parameter.shape}, but yours has "
                f"{gradient.shape}"
            )
            for i in np.ndindex(parameter.shape):
                slope = _slope(params, name, i, x, y)
                place = ", ".join(map(str, i))
                assert abs(gradient[i] - slope) <= 1e-9, (  # both are exact to rounding, of slopes of size one
                    f"{case}: the slope of the loss in {name}[{place}] is {slope:.6f}, measured on the loss alone; "
                    f"your gradient has {gradient[i]:.6f}. {reminder}"
                )


def _loss(params: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> complex:
    """The loss, token by token, for parameters that may be complex."""
    total = 0j
    for read, follows in zip(x.tolist(), y.tolist(), strict=True):
        h = np.tanh(params["E"][read] @ params["W"] + params["b"])
        z = params["E"] @ h + params["c"]
        shift = z.real.max()
        total += shift + np.log(np.exp(z - shift).sum()) - z[follows]
    return total / len(x)


def _slope(params: dict[str, np.ndarray], name: str, i: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> float:
    """Slope of the loss in one entry, by a complex step: no difference is taken, so nothing cancels."""
    moved = params[name].astype(complex)
    moved[i] += 1e-100j
    return float(_loss({**params, name: moved}, x, y).imag / 1e-100)


_Params = dict[str, np.ndarray]
_Answer = tuple[float, dict[str, np.ndarray]]


def _backward(
    params: _Params, x: np.ndarray, y: np.ndarray, slope: Callable[..., Any] = lambda a, h: 1 - h**2
) -> _Answer:
    """The answer, the arrays on the way, and the two parts of E's gradient on their own."""
    E, W, b, c = (params[name] for name in ("E", "W", "b", "c"))
    a = E[x] @ W + b
    h = np.tanh(a)
    z = h @ E.T + c
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    dz = (p - (y[:, None] == np.arange(len(c)))) / len(x)
    da = (dz @ E) * slope(a, h)
    read = np.zeros_like(E)
    np.add.at(read, x, da @ W.T)
    scored = dz.T @ h
    grads = {"E": scored + read, "W": E[x].T @ da, "b": da.sum(axis=0), "c": dz.sum(axis=0)}
    loss = float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(x)), y]).mean())
    return loss, grads | {"da": da, "dz": dz, "de": da @ W.T, "read": read, "scored": scored}


def _four(loss: float, grads: _Params) -> _Answer:
    return loss, {name: grads[name] for name in ("E", "W", "b", "c")}


def _biases_not_summed(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    loss, grads = _backward(params, x, y)
    return _four(loss, grads | {"b": grads["da"], "c": grads["dz"]})


def _gradient_of_the_sum(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    loss, grads = loss_and_grads(params, x, y)
    return loss, {name: gradient * len(x) for name, gradient in grads.items()}


def _loss_of_the_sum(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    loss, grads = loss_and_grads(params, x, y)
    return loss * len(x), {name: gradient * len(x) for name, gradient in grads.items()}


def _slope_from_the_input(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _four(*_backward(params, x, y, slope=lambda a, h: 1 - a**2))


def _tanh_twice(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _four(*_backward(params, x, y, slope=lambda a, h: 1 - np.tanh(h) ** 2))


def _past_the_tanh(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    return _four(*_backward(params, x, y, slope=lambda a, h: 1.0))


def _scores_forgotten(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    loss, grads = _backward(params, x, y)
    return _four(loss, grads | {"E": grads["read"]})


def _reading_forgotten(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    loss, grads = _backward(params, x, y)
    return _four(loss, grads | {"E": grads["scored"]})


def _repeats_lost(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    loss, grads = _backward(params, x, y)
    dE = grads["scored"]
    dE[x] += grads["de"]
    return _four(loss, grads | {"E": dE})


def _up_the_hill(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    loss, grads = loss_and_grads(params, x, y)
    return loss, {name: -gradient for name, gradient in grads.items()}


def _w_not_transposed(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    loss, grads = _backward(params, x, y)
    dE = grads["scored"]
    np.add.at(dE, x, grads["da"] @ params["W"])
    return _four(loss, grads | {"E": dE})


def _overflows(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    z = np.tanh(params["E"][x] @ params["W"] + params["b"]) @ params["E"].T + params["c"]
    _, grads = loss_and_grads(params, x, y)
    with np.errstate(over="ignore"):
        total = np.exp(z).sum(axis=1)
    if np.isinf(total).any():
        grads = {name: np.full_like(gradient, np.nan) for name, gradient in grads.items()}
    return float((np.log(total) - z[np.arange(len(x)), y]).mean()), grads


def _logarithm_of_zero(params: _Params, x: np.ndarray, y: np.ndarray) -> _Answer:
    z = np.tanh(params["E"][x] @ params["W"] + params["b"]) @ params["E"].T + params["c"]
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return -float(np.log(p[np.arange(len(x)), y]).mean()), loss_and_grads(params, x, y)[1]


MISTAKES = (
    (
        _biases_not_summed,
        "You return a gradient for every token as that of a bias. One bias serves all tokens: sum over them.",
    ),
    (
        _gradient_of_the_sum,
        "Your loss is a mean and your gradient that of the sum: the factor 1/T is missing on the way back.",
    ),
    (
        _loss_of_the_sum,
        "You add up the tokens' losses. Their mean keeps its size, and so does the step, when the batch grows: divide "
        "loss and gradients by T.",
    ),
    (
        _slope_from_the_input,
        "You put the input of tanh into 1 - h^2. The slope of tanh is one minus the square of its output.",
    ),
    (
        _tanh_twice,
        "You apply tanh again to take its slope. h is the output of tanh already: its slope is 1 - h^2.",
    ),
    (
        _past_the_tanh,
        "You go back past the tanh without its slope. Every operation on the way forward is a factor on the way back.",
    ),
    (
        _scores_forgotten,
        "Your gradient of E holds what comes from reading alone; the part from the scores is overwritten or missing. A "
        "parameter that is used twice gets the sum of both.",
    ),
    (
        _reading_forgotten,
        "Your gradient of E holds what comes from the scores alone; the rows that were read move the loss as well. A "
        "parameter that is used twice gets the sum of both.",
    ),
    (
        _repeats_lost,
        "A token that is read several times counts once in your gradient of E. `dE[x] += de` writes a repeated row one "
        "time; np.add.at adds them all.",
    ),
    (
        _w_not_transposed,
        "You send the gradient back through W as it came forward. e W on the way there is da W^T on the way back; W is "
        "square, so the shapes do not tell.",
    ),
    (
        _up_the_hill,
        "Your gradients have the wrong sign: softmax minus one at the right token is the slope of the loss, its "
        "negative that of the log-probability.",
    ),
    (
        _overflows,
        "Your exp overflows, and what follows is infinite or NaN. Subtract the largest score of each row first; the "
        "loss does not change.",
    ),
    (
        _logarithm_of_zero,
        "You take the logarithm of a probability that was rounded to zero. Stay with logarithms: ln p is the score "
        "minus the logarithm of the sum.",
    ),
)

PROBES = tuple(arguments for _, arguments in _CASES)
