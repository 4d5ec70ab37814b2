r"""
AdamW, and what decays.

Level: implement. You need `fp_optim.adaptive`, the section on settings in `fp_optim.optimizer`, and the exercise on
Adam.

Now a whole model: arrays under names, each with its gradient and its two moments. One step of AdamW computes for every
array

$$
w_t = (1 - \eta \lambda)\, w_{t-1} - \eta\, \frac{\hat m_t}{\sqrt{\hat v_t} + \varepsilon},
$$

with Adam's moments of the *gradient that was given*. The weight decay $\lambda$ holds for arrays with two axes or more,
whatever their names. A bias and the gain of a norm have one axis, a temperature has none; for these $\lambda$ is 0.

A number of a matrix whose gradient is 0, the row of a token that no batch contained, say, must shrink by the factor
$1 - \eta \lambda$ and nothing else. One whose gradient is large must shrink by that factor too, besides what Adam does
to it. Try both before you hand in. The arrays that you were given belong to somebody else: leave them as they are and
return new ones.

Put the decay into the gradient, where it was for thirty years, and Adam divides it away with everything else: its
strength then depends on the size of the gradients, most of all where the gradients are small. You learn where decay
belongs, what it is for, and how a step for one array becomes a step for a model.
"""

from typing import Any

import numpy as np

HINTS = (
    "One loop over the names. In it the six lines of Adam, with the gradient as it came; the decay enters in the last "
    "line alone, as a factor of the old array.",
    "The factor is `1 - lr * decay`, with `decay = weight_decay if w.ndim >= 2 else 0.0`. The number t belongs to the "
    "whole step: it is the same for every array.",
    "`new_w[name] = (1 - lr * decay) * w - lr * m_hat / (np.sqrt(v_hat) + eps)`, and `new_m[name]`, `new_v[name]` for "
    "the moments: three new dicts.",
)

Arrays = dict[str, np.ndarray]


def adamw_step(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    """
    One step of AdamW for all parameters of a model.

    Parameters
    ----------
    parameters
        Name to array, floats of any shape, `()` included.
    gradients
        The same names, with the gradients, each in the shape of its array.
    m, v
        The same names, with the moments after step t - 1; zeros before the first.
    t
        The number of this step, counted from 1.
    lr
        The rate, above 0.
    weight_decay
        The strength of the decay of arrays with two axes or more, at least 0.
    beta1, beta2, eps
        As in Adam.

    Returns
    -------
    (dict, dict, dict)
        The new parameters and both moments, under the same names; none of the given arrays is changed.

    Examples
    --------
    >>> parameters = {"weight": np.array([[8.0, -2.0]]), "bias": np.array([8.0])}
    >>> gradients = {"weight": np.array([[0.0, 3.0]]), "bias": np.array([0.0])}
    >>> zeros = {"weight": np.zeros((1, 2)), "bias": np.zeros(1)}
    >>> new, m, v = adamw_step(parameters, gradients, zeros, zeros, t=1, lr=0.5, weight_decay=0.25)
    >>> {name: array.round(6).tolist() for name, array in new.items()}
    {'weight': [[7.0, -2.25]], 'bias': [8.0]}
    """
    new_w, new_m, new_v = {}, {}, {}
    for name, w in parameters.items():
        g = gradients[name]
        new_m[name] = beta1 * m[name] + (1 - beta1) * g
        new_v[name] = beta2 * v[name] + (1 - beta2) * g**2
        m_hat, v_hat = new_m[name] / (1 - beta1**t), new_v[name] / (1 - beta2**t)
        decay = weight_decay if w.ndim >= 2 else 0.0
        new_w[name] = (1 - lr * decay) * w - lr * m_hat / (np.sqrt(v_hat) + eps)
    return new_w, new_m, new_v


_SHAPES = {
    "embedding.weight": (5, 3),
    "norm.gain": (3,),
    "layer.weight": (2, 3),
    "layer.bias": (2,),
    "bias_table": (3, 2),
    "temperature": (),
    "heads": (2, 3, 2),
}


def _model(seed: int, n_steps: int) -> tuple[Arrays, list[Arrays]]:
    """Parameters, and gradients of several sizes for each step; one row of the embedding never has any."""
    rng = np.random.default_rng(seed)
    parameters = {name: np.asarray(rng.normal(size=shape)) for name, shape in _SHAPES.items()}
    sizes = dict(zip(_SHAPES, (1e-3, 0.1, 1.0, 10.0, 1e-5, 1.0, 100.0), strict=True))
    steps = [
        {name: np.asarray(sizes[name] * rng.normal(size=s)) for name, s in _SHAPES.items()} for _ in range(n_steps)
    ]
    for gradients in steps:
        gradients["embedding.weight"][3] = 0
    return parameters, steps


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for seed, n_steps, lr, weight_decay in ((1, 1, 0.1, 0.0), (2, 1, 0.1, 0.5), (3, 6, 0.02, 0.1), (4, 3, 0.001, 20.0)):
        parameters, steps = _model(seed, n_steps)
        m = v = {name: np.zeros_like(array) for name, array in parameters.items()}
        for t, gradients in enumerate(steps, start=1):
            lent = [_copy(arrays) for arrays in (parameters, gradients, m, v)]
            owned = [list(arrays.items()) for arrays in lent]
            case = f"lr = {lr:g}, weight_decay = {weight_decay:g}, step {t}"
            got = learner.adamw_step(*lent, t, lr, weight_decay)
            expected = adamw_step(parameters, gradients, m, v, t, lr, weight_decay)
            assert isinstance(got, tuple | list) and len(got) == 3, (
                f"{case}: expected three dicts, the parameters, m and v, got {got!r:.80}"
            )
            for label, came, right in zip(("parameters", "m", "v"), got, expected, strict=True):
                assert isinstance(came, dict) and came.keys() == right.keys(), (
                    f"{case}: expected {label} as a dict with the names {', '.join(right)}; got {came!r:.80}"
                )
            # the moments first: wrong parameters may come of them
            for label, came, right in (("m", got[1], expected[1]), ("v", got[2], expected[2])):
                why = (
                    f"It fades, and takes in the {'gradient' if label == 'm' else 'square of the gradient'} as it came."
                )
                for name in right:
                    _compare(f"{case}, {label} of {name}", came[name], right[name], 0.0, why)
            for name, array in expected[0].items():
                w, g = parameters[name], gradients[name]
                why = (
                    f"An array of shape {w.shape} "
                    + ("decays" if w.ndim >= 2 else "does not decay")
                    + f"; with a gradient of 0 its entries are multiplied by {1 - lr * weight_decay * (w.ndim >= 2):g}."
                )
                _compare(f"{case}, {name}", got[0][name], array, 1e-13, why, w, g)
            originals = zip(("parameters", "gradients", "m", "v"), owned, (parameters, gradients, m, v), strict=True)
            for label, arrays, before in originals:
                for name, array in arrays:
                    changed = np.flatnonzero(array != before[name])
                    assert not changed.size, (
                        f"{case}: the array of {name} in {label} belongs to somebody else and must stay as it is; "
                        f"yours has changed {before[name].flat[changed[0]]:g} in it to {array.flat[changed[0]]:g}: "
                        "make a new one"
                    )
            parameters, m, v = (_copy(arrays) for arrays in expected)


def _copy(arrays: Arrays) -> Arrays:
    return {name: np.array(array) for name, array in arrays.items()}


def _compare(
    case: str, came: Any, expected: Any, floor: float, why: str, w: np.ndarray | None = None, g: Any = None
) -> None:
    """One array entry by entry; `floor` is far above the rounding of a sum of numbers near 1."""
    assert isinstance(came, np.ndarray | np.generic) and came.dtype.kind in "iuf" and came.shape == expected.shape, (
        f"{case}: expected an array of floats of shape {expected.shape}, got {came!r:.80}"
    )
    wrong = ~np.isclose(came, expected, rtol=1e-9, atol=floor)
    if wrong.any():
        at = np.unravel_index(int(wrong.argmax()), wrong.shape)
        before = "" if w is None else f" where it was {w[at]:.6g} and its gradient {g[at]:.4g}"
        raise AssertionError(
            f"{case}: expected {np.asarray(expected)[at]:.6g}{before}, got {np.asarray(came)[at]:.6g}. {why}"
        )


def _decay_in_the_gradient(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    pulled = {name: g + weight_decay * (g.ndim >= 2) * parameters[name] for name, g in gradients.items()}
    return adamw_step(parameters, pulled, m, v, t, lr, 0.0, beta1, beta2, eps)


def _decay_divided_too(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    new_w, new_m, new_v = adamw_step(parameters, gradients, m, v, t, lr, 0.0, beta1, beta2, eps)
    for name, w in parameters.items():
        decay = weight_decay if w.ndim >= 2 else 0.0
        new_w[name] = new_w[name] - lr * decay * w / (np.sqrt(new_v[name] / (1 - beta2**t)) + eps)
    return new_w, new_m, new_v


def _everything_decays(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    new_w, new_m, new_v = adamw_step(parameters, gradients, m, v, t, lr, 0.0, beta1, beta2, eps)
    kept = 1 - lr * weight_decay
    for name, w in parameters.items():
        if True:
            new_w[name] = new_w[name] - (1 - kept) * w
    return new_w, new_m, new_v


def _decay_by_name(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    new_w, new_m, new_v = adamw_step(parameters, gradients, m, v, t, lr, 0.0, beta1, beta2, eps)
    kept = 1 - lr * weight_decay
    for name, w in parameters.items():
        if "bias" not in name:
            new_w[name] = new_w[name] - (1 - kept) * w
    return new_w, new_m, new_v


def _matrices_only(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    new_w, new_m, new_v = adamw_step(parameters, gradients, m, v, t, lr, 0.0, beta1, beta2, eps)
    kept = 1 - lr * weight_decay
    for name, w in parameters.items():
        if w.ndim == 2:
            new_w[name] = new_w[name] - (1 - kept) * w
    return new_w, new_m, new_v


def _rate_forgotten(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    new_w, new_m, new_v = adamw_step(parameters, gradients, m, v, t, lr, 0.0, beta1, beta2, eps)
    kept = 1 - weight_decay
    for name, w in parameters.items():
        if w.ndim >= 2:
            new_w[name] = new_w[name] - (1 - kept) * w
    return new_w, new_m, new_v


def _decay_afterwards(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    new_w, new_m, new_v = adamw_step(parameters, gradients, m, v, t, lr, 0.0, beta1, beta2, eps)
    for name, w in new_w.items():
        new_w[name] = w * (1 - lr * weight_decay * (w.ndim >= 2))
    return new_w, new_m, new_v


def _weights_grow(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    return adamw_step(parameters, gradients, m, v, t, lr, -weight_decay, beta1, beta2, eps)


def _only_where_there_is_a_gradient(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    new_w, new_m, new_v = adamw_step(parameters, gradients, m, v, t, lr, weight_decay, beta1, beta2, eps)
    for name, g in gradients.items():
        new_w[name] = np.where(g == 0, parameters[name], new_w[name])
    return new_w, new_m, new_v


def _a_step_for_each_array(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    new_w: Arrays = {}
    new_m: Arrays = {}
    new_v: Arrays = {}
    for name in parameters:
        p, g, a, b = ({name: arrays[name]} for arrays in (parameters, gradients, m, v))
        w, first, second = adamw_step(p, g, a, b, t, lr, weight_decay, beta1, beta2, eps)
        new_w |= w
        new_m |= first
        new_v |= second
        t += 1
    return new_w, new_m, new_v


def _half_of_it(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    return adamw_step(parameters, gradients, m, v, t, lr, weight_decay / 2, beta1, beta2, eps)


def _no_bias_correction(
    parameters: Arrays,
    gradients: Arrays,
    m: Arrays,
    v: Arrays,
    t: int,
    lr: float,
    weight_decay: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Arrays, Arrays, Arrays]:
    return adamw_step(parameters, gradients, m, v, 10**9, lr, weight_decay, beta1, beta2, eps)


MISTAKES = (
    (
        _decay_in_the_gradient,
        "Your decay goes through the gradient. Adam then divides it by the size of the gradients, and nothing of its "
        "strength is left where they are large: decay stays outside.",
    ),
    (
        _decay_divided_too,
        "You keep the decay out of the moments and divide it by the root of the second one all the same. It is to be "
        "the same for an entry with large gradients as for one with small.",
    ),
    (
        _everything_decays,
        "You let everything decay, norms and biases too. A gain of 0 silences its channel, and an offset has no "
        "reason to be near 0: decay is for arrays with two axes or more.",
    ),
    (
        _decay_by_name,
        "You choose what decays by the word bias in the name. Then the gains of norms decay, and a table that happens "
        "to have the word in its name does not: go by the number of axes.",
    ),
    (
        _matrices_only,
        "You let arrays with exactly two axes decay. Weights of several heads, or the kernel of a convolution, have "
        "more: it is two or more.",
    ),
    (
        _rate_forgotten,
        "You do not scale the decay by the rate. The factor is 1 - lr * weight_decay: a schedule that lowers the rate "
        "lowers the decay with it.",
    ),
    (
        _decay_afterwards,
        "You let the new weights decay, after Adam's step. The formula multiplies the old ones: the step itself does "
        "not shrink.",
    ),
    (
        _weights_grow,
        "Your decay has the wrong sign: the weights grow, and the faster the larger they are.",
    ),
    (
        _only_where_there_is_a_gradient,
        "You leave out the numbers that have no gradient in this step. The formula holds for them as well: they "
        "decay, and what their moments remember moves them on.",
    ),
    (
        _a_step_for_each_array,
        "You count a step for every array. One step moves the whole model, and t is the same for all of it.",
    ),
    (
        _half_of_it,
        "You take the half of the penalty's formula along. The half there is what its slope takes away again: the "
        "factor is 1 - lr * weight_decay.",
    ),
    (
        _no_bias_correction,
        "You leave the bias correction out: both moments start at zero, and are divided by 1 - beta**t to make up for "
        "it.",
    ),
)

_parameters, (_first, _second) = _model(7, 2)
_zeros: Arrays = {name: np.zeros(shape) for name, shape in _SHAPES.items()}
_moments = adamw_step(_parameters, _first, _zeros, _zeros, 1, 0.05, 0.5)[1:]
PROBES = ((_parameters, _second, *_moments, 2, 0.05, 0.5),)
