"""Every rule, and ten programs, first and second order, against frozen results of PyTorch (tools/oracles)."""

import json
from pathlib import Path

import numpy as np
import pytest

from fp_autograd.functional import grad, hvp, jvp, tree_leaves, tree_map
from fp_autograd.rules import (
    RULES,
    concatenate,
    exp,
    log_softmax,
    logsumexp,
    maximum,
    relu,
    sigmoid,
    softmax,
    softplus,
    sqrt,
    stack,
    tanh,
    where,
)
from fp_autograd.tracing import apply

TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text(encoding="utf-8"))
WORDS = {"new": None, "...": Ellipsis}

# Results are sums of some dozen terms, each rounded to 2^-53 of its size a few times; terms that cancel leave the error
# of what they were, and those are below 100 here but for powers.
RTOL, ATOL = 1e-12, 1e-13


def the_same(ours, theirs, what):
    ours, theirs = tree_leaves(ours), list(theirs)
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, np.array(y, float), rtol=RTOL, atol=ATOL, err_msg=what)
        assert x.dtype == float


def both_orders_agree(f, variables, v, frozen):
    """Gradient and, by two paths, product with the Hessian; the slope along `v` in forward mode."""
    gradient = grad(f)(variables)
    the_same(gradient, frozen["gradient"], "gradient")
    slope = sum(np.sum(np.array(g) * w) for g, w in zip(frozen["gradient"], tree_leaves(v), strict=True))
    # a sum of up to 70 products, which may cancel to a tenth
    np.testing.assert_allclose(jvp(f, (variables,), (v,))[1], slope, rtol=1e-11, atol=1e-12)
    if "product" not in frozen:
        return

    def along(x):
        return sum((g * w).sum() for g, w in zip(tree_leaves(grad(f)(x)), tree_leaves(v), strict=True))

    the_same(hvp(f)(variables, v), frozen["product"], "forward over reverse")
    the_same(grad(along)(variables), frozen["product"], "reverse over reverse")
    second = jvp(lambda x: jvp(f, (x,), (v,))[1], (variables,), (v,))[1]
    curvature = sum(np.sum(np.array(p) * w) for p, w in zip(frozen["product"], tree_leaves(v), strict=True))
    np.testing.assert_allclose(second, curvature, rtol=1e-11, atol=1e-12, err_msg="forward over forward")


# --- rules


def decoded(index):
    def part(x):
        if isinstance(x, dict):
            ((kind, value),) = x.items()
            return slice(*value) if kind == "slice" else np.array(value)
        return WORDS[x] if isinstance(x, str) else x

    return tuple(map(part, index))


def setting(key, value):
    if key == "index":
        return decoded(value)
    return tuple(value) if isinstance(value, list) else value


def title(case):
    shapes = ["x".join(map(str, np.shape(x))) or str(x) for x in case["operands"]]
    return "-".join([case["rule"], *shapes, *(f"{key}={value}" for key, value in case["settings"].items())])


@pytest.mark.parametrize("case", TORCH["rules"], ids=title)
def test_a_rule_agrees_with_torch(case):
    operands = [np.array(x) if isinstance(x, list) else x for x in case["operands"]]
    moving = [i for i, x in enumerate(operands) if isinstance(x, np.ndarray) and x.dtype == float]
    settings = {key: setting(key, value) for key, value in case["settings"].items()}
    c = np.array(case["c"])

    def operation(variables):
        mixed = list(operands)
        for i, x in zip(moving, variables, strict=True):
            mixed[i] = x
        return apply(RULES[case["rule"]], *mixed, **settings)

    def number(variables):
        out = operation(variables)
        return (c * out + out * out / 2).sum()

    variables = [operands[i] for i in moving]
    np.testing.assert_allclose(operation(variables), np.array(case["out"], float), rtol=RTOL, atol=ATOL)
    both_orders_agree(number, variables, [np.array(x) for x in case["v"]], case)


def test_every_rule_of_the_table_is_frozen():
    assert {case["rule"] for case in TORCH["rules"]} == {name for name in RULES if "." not in name}


# --- programs, written here with our operations


def cross_entropy(logits, labels):
    return -log_softmax(logits)[np.arange(len(labels)), labels].mean()


def mlp(p, x, y):
    return cross_entropy(tanh(relu(x @ p["W"] + p["b"])) @ p["U"] + p["a"], y)


def layer_norm(p, target):
    centred = p["x"] - p["x"].mean(axis=-1, keepdims=True)
    scale = sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    return ((centred / scale * p["gain"] + p["bias"] - target) ** 2).mean()


def attention(p, target):
    scores = p["q"] @ p["k"].swapaxes(-1, -2) / np.sqrt(3)
    masked = where(np.tri(5, dtype=bool), scores, -np.inf)
    return sigmoid((softmax(masked) @ p["v"] * target).sum())


def logistic_regression(p, x, y):
    z = x @ p["w"] + p["b"]
    return (softplus(z) - y * z).mean() + 0.1 * (p["w"] * p["w"]).sum()


def mixture(p, x):
    z = (x[:, None, :] - p["means"]) / exp(p["log_scales"])[:, None]
    log_normal = -0.5 * (z * z).sum(axis=-1) - 2 * p["log_scales"] - np.log(2 * np.pi)
    return -logsumexp(log_normal + log_softmax(p["logits"]), axis=1).mean()


def recurrent(p, x):
    h, total, states = p["start"], 0.0, []
    for t in range(5):
        h = tanh(x[t] @ p["U"] + h @ p["W"] + p["b"])
        total = total + h
        states.append(total)
    return (stack(states) ** 2).mean()


def language_model(p, ids, following):
    return cross_entropy((p["E"][ids] + p["P"]) @ p["E"].T, following)


def convolution(p, x, c):
    windows = x[np.arange(9)[:, None] + np.arange(3)]
    places = softplus(windows @ p["kernel"].T + p["bias"])
    return (places.T.reshape(2, 3, 3).max(axis=-1) * c).sum()


def norms(p):
    x, q = abs(p["x"]), p["p"]
    return (((x**3).sum() ** (1 / 3) + (x**1.5).sum() ** (1 / 1.5)) + (x**q).sum() ** (1 / q)).sum()


def particles(p):
    d = p["x"][:, None] - p["y"]
    r2 = (d * d).sum(axis=-1) + 0.5
    return (r2**-6 - r2**-3).sum() + exp(-sqrt(r2)).sum()


PROGRAMS = (
    mlp,
    layer_norm,
    attention,
    logistic_regression,
    mixture,
    recurrent,
    language_model,
    convolution,
    norms,
    particles,
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_agrees_with_torch(program):
    frozen = TORCH["programs"][program.__name__]
    variables = {key: np.array(x) for key, x in frozen["variables"].items()}
    constants = [np.array(x) for x in frozen["constants"].values()]
    v = dict(zip(variables, map(np.array, frozen["v"]), strict=True))

    def f(p):
        return program(p, *constants)

    np.testing.assert_allclose(f(variables), frozen["value"], rtol=RTOL)
    both_orders_agree(f, variables, v, frozen)


def test_all_frozen_programs_are_written_here():
    assert [program.__name__ for program in PROGRAMS] == list(TORCH["programs"])


# --- where the derivative does not exist


@pytest.mark.parametrize(
    ("rule", "x", "slopes"),
    [
        (lambda x: x.max(), [1.0, 3.0, 3.0], [0.0, 0.5, 0.5]),  # torch.amax; torch.max(x, dim) answers [0, 1, 0]
        (lambda x: x.min(), [1.0, 1.0, 1.0, 3.0], [1 / 3, 1 / 3, 1 / 3, 0.0]),
        (lambda x: maximum(x, 0.0).sum(), [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
        (lambda x: relu(x).sum(), [-1.0, 0.0, 1.0], [0.0, 0.0, 1.0]),
        (lambda x: abs(x).sum(), [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]),
        (lambda x: (x**0).sum(), [0.0, 2.0], [0.0, 0.0]),
        (lambda x: (0.0**x).sum(), [1.0, 2.0], [0.0, 0.0]),
        (lambda x: concatenate([x, x]).max(), [2.0, 2.0], [0.5, 0.5]),  # four share, two go to each
    ],
    ids=["max", "min", "maximum", "relu", "absolute", "power 0", "base 0", "repeated"],
)
def test_the_conventions_by_hand(rule, x, slopes):
    np.testing.assert_array_equal(grad(rule)(np.array(x)), slopes)


def test_the_slope_in_the_exponent_of_a_negative_base_does_not_exist():
    """NaN, as PyTorch answers; NumPy warns of the logarithm."""
    bases, exponents = np.array([-2.0, 2.0]), np.array([3.0, 3.0])
    with np.errstate(invalid="ignore"):
        slope = grad(lambda y: (bases**y).sum())(exponents)
    np.testing.assert_allclose(slope, [np.nan, 8 * np.log(2)], rtol=1e-15)  # one product of rounded factors


def test_containers_keep_their_form():
    tree = {"a": [np.array([1.0, 2.0])], "b": (np.array(3.0),)}
    gradient = grad(lambda t: (t["a"][0] * t["b"][0]).sum())(tree)
    assert tree_map(lambda g: g.tolist(), gradient) == {"a": [[3.0, 3.0]], "b": (3.0,)}
