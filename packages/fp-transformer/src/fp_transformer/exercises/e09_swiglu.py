r"""
A layer with gates, there and back.

Level: implement. You need `fp_transformer.feedforward` and `neural.linear-gradient`.

The feed-forward layer of the Llama family has three matrices. With a row $x$ of $C$ numbers, and $W_g, W_u$ of shape
$F \times C$, $W_d$ of shape $C \times F$,

$$
a = W_g\, x, \qquad b = W_u\, x, \qquad h = \operatorname{silu}(a) \odot b, \qquad y = W_d\, h, \qquad
\operatorname{silu}(a) = \frac{a}{1 + e^{-a}} ,
$$

where $\odot$ multiplies entry by entry. A loss was computed from the $y$ of all rows, and its gradient in them has
arrived. Compute $y$, and the gradients of the loss in $x$ and in the three matrices. Entries of $a$ may be a thousand
or minus a thousand, where $e^{\pm a}$ overflows; the layer and all its slopes are finite there.

No automatic differentiation, please. Your gradients are compared with derivatives of the four formulas.

You learn that $x$ goes two ways through the layer and collects from both on the way back, and which of the two ways is
the gate.
"""

from typing import Any

import numpy as np

HINTS = (
    "Rows stand in rows: `a = x @ gate.T`. On the way back a product `y = h @ W.T` gives `dh = dy @ W` and "
    "`dW = dy.T @ h`, the latter summed over all rows. x was used twice: its gradients add up.",
    "With s = sigmoid(a), silu is a * s, and its slope is s * (1 + a * (1 - s)). The gradient in a is that of h times "
    "b times this slope, the gradient in b is that of h times silu(a).",
    "A sigmoid that never overflows: `0.5 * (1 + np.tanh(a / 2))`. For rows (B, T, C), flatten: "
    "`x.reshape(-1, x.shape[-1])`.",
)


def swiglu_layer(
    x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray
) -> dict[str, np.ndarray]:
    """
    A gated feed-forward layer, and the gradients of a loss in all that goes in.

    Parameters
    ----------
    x
        Floats of shape `(B, T, C)`.
    gate, up
        The matrices W_g and W_u, `(F, C)`.
    down
        The matrix W_d, `(C, F)`.
    dy
        The gradient of the loss in `y`, `(B, T, C)`.

    Returns
    -------
    dict
        `"y"` and `"x"` of shape `(B, T, C)`, `"gate"` and `"up"` of shape `(F, C)`, `"down"` of shape `(C, F)`: the
        result, and the gradients in the four inputs.

    Examples
    --------
    One number in, a gate of 100, of 1 and of 0, and 3 to pass through it:

    >>> x, one = np.array([[[1.0]]]), np.array([[1.0]])
    >>> [swiglu_layer(x, a * one, 3 * one, one, x)["y"].round(6).item() for a in (100.0, 1.0, 0.0)]
    [300.0, 2.193176, 0.0]
    >>> sorted(swiglu_layer(x, one, one, one, x))
    ['down', 'gate', 'up', 'x', 'y']
    """
    rows, g = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
    a, b = rows @ gate.T, rows @ up.T
    s = _sigmoid(a)
    h = a * s * b
    dh = g @ down
    da, db = dh * b * s * (1 + a * (1 - s)), dh * a * s
    return {
        "y": (h @ down.T).reshape(x.shape),
        "x": (da @ gate + db @ up).reshape(x.shape),
        "gate": da.T @ rows,
        "up": db.T @ rows,
        "down": g.T @ h,
    }


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(a / 2)))


_Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _case(B: int, T: int, C: int, F: int, seed: int, steep: float = 1.0) -> _Case:
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(size=(2, B, T, C))
    gate, up, down = rng.normal(size=(F, C)), rng.normal(size=(F, C)), rng.normal(size=(C, F))
    return x, steep * gate, up, down, dy


_CASES = (
    ("one row of one number, one gate", _case(1, 1, 1, 1, 0)),
    ("one row of three numbers, three gates", _case(1, 1, 3, 3, 1)),
    ("three rows of three numbers, three gates", _case(1, 3, 3, 3, 2)),
    ("two texts of three rows of two numbers, five gates", _case(2, 3, 2, 5, 3)),
    ("gates of a thousand and more", _case(1, 2, 3, 4, 4, 2000.0)),
)

PROBES = tuple(case for _, case in _CASES)

_NAMES = ("x", "gate", "up", "down")
_WHY = {
    "y": "Gate and value are products of the same row; silu bends the gate alone.",
    "down": "It is a sum over the rows of the gradient in y times the hidden row.",
    "up": "What passes through has the slope silu(a); the matrix collects its slope times x from all rows.",
    "gate": "The gate has the slope b times the slope of silu at a; the matrix collects its slope times x.",
    "x": "x went two ways, through the gate and through the value: both come back and are added.",
}


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for name, case in _CASES:
        inputs = dict(zip((*_NAMES, "dy"), case, strict=True))
        got = learner.swiglu_layer(*(array.copy() for array in case))
        assert isinstance(got, dict) and set(got) == set(_WHY), (
            f"{name}: expected a dict of {', '.join(_WHY)}, got {got!r:.80}"
        )
        for key, why in _WHY.items():  # in the order of the way there and back
            value, shape = got[key], inputs["x" if key == "y" else key].shape
            what = "y" if key == "y" else f"the gradient in {key}"
            assert isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.shape == shape, (
                f"{name}: {what} must be an array of floats of shape {shape}, got "
                + (f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{value!r:.80}")
            )
            expected = _forward(inputs).real if key == "y" else None
            for i in np.ndindex(shape):
                want = _slope(inputs, key, i) if expected is None else float(expected[i])
                # both are exact to rounding; numbers go up to a few thousand
                assert abs(value[i] - want) <= 1e-9 * max(1.0, abs(want)), (
                    f"{name}: {what} at {list(i)} is {want:.8g}, yours is {value[i]:.8g}. {why}"
                )


def _forward(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The four formulas row by row, for numbers that may be complex."""
    y = np.zeros(inputs["x"].shape, complex)
    for i in np.ndindex(y.shape[:-1]):
        a, b = inputs["gate"] @ inputs["x"][i], inputs["up"] @ inputs["x"][i]
        bent = [z / (1 + np.exp(-z)) if np.real(z) > 0 else z * np.exp(z) / (1 + np.exp(z)) for z in a]
        y[i] = inputs["down"] @ (np.array(bent) * b)
    return y


def _slope(inputs: dict[str, np.ndarray], key: str, i: tuple[int, ...]) -> float:
    """The slope of sum(dy * y) in one number, by a complex step: no difference is taken, so nothing cancels."""
    moved = inputs[key].astype(complex)
    moved[i] += 1e-100j
    return float((inputs["dy"] * _forward({**inputs, key: moved})).sum().imag / 1e-100)


_Answer = dict[str, np.ndarray]


def _layer(
    x: np.ndarray,
    gate: np.ndarray,
    up: np.ndarray,
    down: np.ndarray,
    dy: np.ndarray,
    bend: Any = None,
    slope: Any = None,
    opened: Any = None,
    ways: tuple[float, float] = (1.0, 1.0),
) -> _Answer:
    """The reference with parts exchanged: the bend of the gate, its slope, what b has as slope, the ways of x."""
    rows, g = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
    a, b = rows @ gate.T, rows @ up.T
    s = _sigmoid(a)
    bent = a * s if bend is None else bend(a)
    bent_slope = s * (1 + a * (1 - s)) if slope is None else slope(a)
    h, dh = bent * b, g @ down
    da, db = dh * b * bent_slope, dh * (bent if opened is None else opened(a))
    return {
        "y": (h @ down.T).reshape(x.shape),
        "x": (ways[0] * da @ gate + ways[1] * db @ up).reshape(x.shape),
        "gate": da.T @ rows,
        "up": db.T @ rows,
        "down": g.T @ h,
    }


def _exchanged(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    answer = swiglu_layer(x, up, gate, down, dy)
    return {**answer, "gate": answer["up"], "up": answer["gate"]}


def _sigmoid_gate(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    return _layer(x, gate, up, down, dy, bend=_sigmoid, slope=lambda a: _sigmoid(a) * (1 - _sigmoid(a)))


def _relu_gate(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    return _layer(x, gate, up, down, dy, bend=lambda a: np.maximum(a, 0), slope=lambda a: (a > 0).astype(float))


def _no_bend(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    return _layer(x, gate, up, down, dy, bend=lambda a: a, slope=np.ones_like)


def _product_bent(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    rows, g = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
    a, b = rows @ gate.T, rows @ up.T
    s = _sigmoid(a * b)
    h, dp = a * b * s, g @ down * s * (1 + a * b * (1 - s))
    return {
        "y": (h @ down.T).reshape(x.shape),
        "x": (dp * b @ gate + dp * a @ up).reshape(x.shape),
        "gate": (dp * b).T @ rows,
        "up": (dp * a).T @ rows,
        "down": g.T @ h,
    }


def _both_bent(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    rows, g = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
    a, b = rows @ gate.T, rows @ up.T
    s, t = _sigmoid(a), _sigmoid(b)
    h, dh = a * s * b * t, g @ down
    da, db = dh * b * t * s * (1 + a * (1 - s)), dh * a * s * t * (1 + b * (1 - t))
    return {
        "y": (h @ down.T).reshape(x.shape),
        "x": (da @ gate + db @ up).reshape(x.shape),
        "gate": da.T @ rows,
        "up": db.T @ rows,
        "down": g.T @ h,
    }


def _sum_for_product(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    rows, g = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
    a = rows @ gate.T
    s = _sigmoid(a)
    h, db = a * s + rows @ up.T, g @ down
    da = db * s * (1 + a * (1 - s))
    return {
        "y": (h @ down.T).reshape(x.shape),
        "x": (da @ gate + db @ up).reshape(x.shape),
        "gate": da.T @ rows,
        "up": db.T @ rows,
        "down": g.T @ h,
    }


def _slope_of_the_sigmoid(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    return _layer(x, gate, up, down, dy, slope=lambda a: _sigmoid(a) * (1 - _sigmoid(a)))


def _gate_held_fixed(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    return _layer(x, gate, up, down, dy, slope=_sigmoid)


def _back_by_the_value_alone(
    x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray
) -> _Answer:
    return _layer(x, gate, up, down, dy, ways=(0.0, 1.0))


def _back_by_the_gate_alone(
    x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray
) -> _Answer:
    return _layer(x, gate, up, down, dy, ways=(1.0, 0.0))


def _value_by_the_bare_gate(
    x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray
) -> _Answer:
    return _layer(x, gate, up, down, dy, opened=lambda a: a)


def _value_forgotten(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    rows, g = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
    a = rows @ gate.T
    s = _sigmoid(a)
    dh = g @ down
    da, db = dh * s * (1 + a * (1 - s)), dh * a * s
    answer = swiglu_layer(x, gate, up, down, dy)
    return {**answer, "x": (da @ gate + db @ up).reshape(x.shape), "gate": da.T @ rows}


def _weights_averaged(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray) -> _Answer:
    answer, n = swiglu_layer(x, gate, up, down, dy), x.shape[0] * x.shape[1]
    return {key: value / n if key in ("gate", "up", "down") else value for key, value in answer.items()}


def _exponentials_of_the_gate(
    x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray, dy: np.ndarray
) -> _Answer:
    def sigmoid(a: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(a) / (1 + np.exp(a)))

    with np.errstate(over="ignore", invalid="ignore"):
        return _layer(
            x,
            gate,
            up,
            down,
            dy,
            bend=lambda a: a * sigmoid(a),
            slope=lambda a: sigmoid(a) * (1 + a * (1 - sigmoid(a))),
        )


MISTAKES = (
    (
        _exchanged,
        "You exchange gate and value: silu is on the wrong branch. It bends what W_g gives; what W_u gives passes "
        "through as it is. Trained weights know the difference.",
    ),
    (
        _sigmoid_gate,
        "You open the gate by a sigmoid. That is the older GLU; SiLU is a times the sigmoid of a.",
    ),
    (
        _relu_gate,
        "You bend the gate by relu. SiLU is smooth, and lets a little of negative gates through.",
    ),
    (
        _no_bend,
        "You leave out silu. Without a bend the hidden row is a plain product of two linear maps, and no gate ever "
        "shuts.",
    ),
    (
        _product_bent,
        "You bend the product. Only the gate is bent, before it multiplies.",
    ),
    (
        _both_bent,
        "You bend both branches. What passes through the gate stays linear.",
    ),
    (
        _sum_for_product,
        "You add the two branches. The gate multiplies what passes, entry by entry: shut, it lets nothing through.",
    ),
    (
        _slope_of_the_sigmoid,
        "You use the slope of the sigmoid for that of silu. silu is a product, a times sigmoid: its slope is "
        "s + a s (1 - s).",
    ),
    (
        _gate_held_fixed,
        "You treat the sigmoid in silu as a constant. It moves with a too: a s (1 - s) is missing in the slope.",
    ),
    (
        _back_by_the_value_alone,
        "You return to x through the value alone. x made the gate as well, so both gradients are added.",
    ),
    (
        _back_by_the_gate_alone,
        "You return to x through the gate alone. x made the value as well, so both gradients are added.",
    ),
    (
        _value_by_the_bare_gate,
        "You multiply the value's gradient by a. On the way forward it was multiplied by silu(a), and so it is on the "
        "way back.",
    ),
    (
        _value_forgotten,
        "You forget the factor b in the gate's gradient. In a product each factor is the slope of the other.",
    ),
    (
        _weights_averaged,
        "You average the matrices' gradients over the rows. Every row used the matrix, so its slopes add up; a mean is "
        "the business of the loss.",
    ),
    (
        _exponentials_of_the_gate,
        "You compute the sigmoid as exp(a) / (1 + exp(a)). For a gate of a thousand that is infinity over infinity.",
    ),
)
