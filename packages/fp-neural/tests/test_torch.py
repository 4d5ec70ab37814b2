"""Every layer and loss, first and second order, and steps of training, against frozen results of PyTorch."""

import json
from pathlib import Path

import numpy as np
import pytest

from fp_autograd.functional import grad, hvp, jvp, tree_leaves
from fp_autograd.rules import log_softmax
from fp_neural.activations import GELU, ReLU, Sigmoid, SiLU, Tanh
from fp_neural.dropout import Dropout
from fp_neural.embedding import Embedding
from fp_neural.initialization import gain, he_normal, xavier_normal, xavier_uniform
from fp_neural.language_model import MLPLanguageModel
from fp_neural.layers import Linear
from fp_neural.losses import cross_entropy, mse, nll
from fp_neural.module import Parameter
from fp_neural.normalization import BatchNorm1d
from fp_neural.recurrent import LSTM, RNN, lstm_sequence
from fp_neural.recurrent_model import RecurrentLanguageModel
from fp_neural.training import clip_norm, gradient_step

TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text(encoding="utf-8"))
RNG = np.random.default_rng(0)  # of numbers that are replaced

# Results are sums of some dozen terms, each rounded to 2^-53 of its size a few times, and smaller than 10 or so.
RTOL, ATOL = 1e-12, 1e-13


def the_same(ours, theirs, what):
    np.testing.assert_allclose(ours, np.array(theirs, float), rtol=RTOL, atol=ATOL, err_msg=what)
    assert np.asarray(ours).dtype == float


# --- layers and losses, of variables and constants


def named(p, *names):
    return {name: p[name] for name in names if name in p}


def linear(p, c):
    layer = Linear(5, np.shape(p["weight"])[0], rng=RNG, bias="bias" in p)
    return layer.functional(named(p, "weight", "bias"), p["x"])


def embedding(p, c):
    return Embedding(5, 3, rng=RNG).functional(p, c["ids"])


def batch_norm(p, c, eps, training):
    layer = BatchNorm1d(3, eps=eps, dtype=float).train(training)
    return layer.functional(named(p, "weight", "bias") | c, p["x"])


def negative_log_likelihood(p, c, **settings):
    return nll(log_softmax(p["logits"]), c["targets"], **settings)


def rnn(p, c):
    (H, D), x = np.shape(p["weight_ih"]), p["x"]
    weights = named(p, "weight_ih", "weight_hh") | {"bias": p["bias_ih"] + p["bias_hh"]}
    return RNN(D, H, rng=RNG, dtype=float).functional(weights, x, p["h_0"])[0]


def lstm(p, c):
    """The states and the last cell; the layer itself hands the cell on as a constant."""
    return lstm_sequence(p["x"], p["h_0"], p["c_0"], p["weight_ih"], p["weight_hh"], p["bias_ih"] + p["bias_hh"])


PLACES = {"C": "embedding.weight"} | {
    f"{letter}{i + 1}": f"layers.layers.{2 * i}.{name}"
    for i in (0, 1)
    for letter, name in (("W", "weight"), ("b", "bias"))
}


def mlp_language_model(p, c):
    model = MLPLanguageModel(5, context=3, dim=2, hidden=7, rng=RNG, dtype=float)
    return cross_entropy(model.functional({PLACES[name]: x for name, x in p.items()}, c["x"]), c["y"])


OURS = {
    "linear": linear,
    "embedding": embedding,
    "relu": lambda p, c: ReLU()(p["x"]),
    "tanh": lambda p, c: Tanh()(p["x"]),
    "sigmoid": lambda p, c: Sigmoid()(p["x"]),
    "silu": lambda p, c: SiLU()(p["x"]),
    "gelu": lambda p, c, approximate: GELU(approximate)(p["x"]),
    "batch_norm": batch_norm,
    "cross_entropy": lambda p, c, **settings: cross_entropy(p["logits"], c["targets"], **settings),
    "nll": negative_log_likelihood,
    "mse": lambda p, c, reduction: mse(p["x"], p["y"], reduction=reduction),
    "rnn": rnn,
    "lstm": lstm,
    "mlp_language_model": mlp_language_model,
}


def title(case):
    shapes = ["x".join(map(str, np.shape(x))) for x in case["variables"].values()]
    return "-".join([case["of"], *shapes, *(f"{key}={value}" for key, value in case["settings"].items())])


@pytest.mark.parametrize("case", TORCH["cases"], ids=title)
def test_a_layer_or_loss_agrees_with_torch(case):
    variables, v = ({name: np.array(x, float) for name, x in case[key].items()} for key in ("variables", "v"))
    constants = {name: np.array(x) for name, x in case["constants"].items()}
    c = np.array(case["c"])

    def outcome(p):
        return OURS[case["of"]](p, constants, **case["settings"])

    def number(p):
        out = outcome(p)
        return (c * out + out * out / 2).sum()

    def along(p):
        return sum((g * w).sum() for g, w in zip(tree_leaves(grad(number)(p)), tree_leaves(v), strict=True))

    out = outcome(variables)
    the_same(getattr(out, "data", out) if not isinstance(out, np.ndarray) else out, case["out"], "out")
    gradient, over, twice = grad(number)(variables), hvp(number)(variables, v), grad(along)(variables)
    for name in variables:
        the_same(gradient[name], case["gradient"][name], f"gradient in {name}")
        the_same(over[name], case["product"][name], f"forward over reverse, {name}")
        the_same(twice[name], case["product"][name], f"reverse over reverse, {name}")
    slope = sum(np.sum(np.array(case["gradient"][name]) * v[name]) for name in v)
    # a sum of up to 200 products, which may cancel to a tenth
    np.testing.assert_allclose(jvp(number, (variables,), (v,))[1], slope, rtol=1e-11, atol=1e-12)


def test_every_layer_and_loss_is_frozen():
    assert {case["of"] for case in TORCH["cases"]} == set(OURS)


@pytest.mark.parametrize("case", [c for c in TORCH["cases"] if c["of"] in ("rnn", "lstm")], ids=title)
def test_a_recurrent_layer_and_the_state_that_it_returns(case):
    p = {name: np.array(x) for name, x in case["variables"].items()}
    H, D = p["weight_hh"].shape[1], p["weight_ih"].shape[1]
    layer = {"rnn": RNN, "lstm": LSTM}[case["of"]](D, H, rng=RNG, dtype=float)
    layer.load_state_dict(named(p, "weight_ih", "weight_hh") | {"bias": p["bias_ih"] + p["bias_hh"]})
    out, T = np.array(case["out"]), p["x"].shape[1]
    y, state = layer(p["x"], (p["h_0"], p["c_0"]) if case["of"] == "lstm" else p["h_0"])
    the_same(y.data, out[:, :T], "states")
    h, *cell = state if case["of"] == "lstm" else [state]
    the_same(h, out[:, T - 1], "last state")
    if cell:
        the_same(cell[0], out[:, T], "last cell")


# --- what is no function of its inputs


@pytest.mark.parametrize("frozen", TORCH["running"], ids=lambda frozen: str(frozen["momentum"]))
def test_running_statistics_agree_with_torch(frozen):
    layer = BatchNorm1d(3, momentum=frozen["momentum"], dtype=float)
    for step in frozen["steps"]:
        the_same(layer(np.array(step["x"])).data, step["out"], "in training")
        the_same(layer.running_mean, step["running_mean"], "mean")
        the_same(layer.running_var, step["running_var"], "variance")
    layer.eval()
    the_same(layer(np.array(frozen["in use"]["x"])).data, frozen["in use"]["out"], "in use")


def descend(parameters, losses, frozen, twice=()):
    """Plain steps, the gradients of some parameters counting twice, and the frozen losses before each."""
    found = []
    for loss in losses:
        loss.backward()
        for p in twice:
            p.grad *= 2
        gradient_step(parameters, frozen["rate"])
        for p in parameters:
            p.zero_grad()
        found.append(loss.item())
    # each step multiplies the rounding errors of the one before by a few
    np.testing.assert_allclose(found, frozen["losses"], rtol=1e-11)


def arrays(named_lists):
    return {name: np.array(x) for name, x in named_lists.items()}


def test_steps_of_the_perceptron_language_model_agree_with_torch():
    frozen = TORCH["descent"]["mlp"]
    theirs = {"embedding.weight": "0.weight"} | {
        f"layers.layers.{2 * i}.{name}": f"{2 + 2 * i}.{name}" for i in (0, 1) for name in ("weight", "bias")
    }
    model = MLPLanguageModel(5, context=3, dim=2, hidden=7, rng=RNG, dtype=float)
    model.load_state_dict({ours: np.array(frozen["before"][name]) for ours, name in theirs.items()})
    x, y = np.array(frozen["x"]), np.array(frozen["y"])
    descend(model.parameters(), (model.loss(a, b) for a, b in zip(x, y, strict=True)), frozen)
    for ours, name in theirs.items():
        np.testing.assert_allclose(model.state_dict()[ours], frozen["after"][name], rtol=1e-11, atol=1e-12)


def test_truncated_backpropagation_through_time_agrees_with_torch():
    frozen = TORCH["descent"]["lstm"]
    model = RecurrentLanguageModel(5, dim=2, hidden=7, rng=RNG, dtype=float)

    def ours(p):
        """Biases added up, and a row for nothing before, which does not occur."""
        weights = {f"layers.0.{name}": p[f"lstm.{name}_l0"] for name in ("weight_ih", "weight_hh")}
        weights["layers.0.bias"] = p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"]
        weights["embedding.weight"] = np.append(p["embedding.weight"], [[0, 0]], axis=0)
        return weights | {name: p[name] for name in ("output.weight", "output.bias")}

    model.load_state_dict(ours(arrays(frozen["before"])))
    text, T = np.array(frozen["text"]), frozen["chunk"]

    def losses():
        for t in range(0, text.shape[1] - 1, T):
            yield model.training_loss(text[:, t : t + T], text[:, t + 1 : t + T + 1], anew=t == 0)

    # both of PyTorch's biases move by the gradient of their sum, which therefore moves twice as far as one does
    descend(model.parameters(), losses(), frozen, twice=[model.layers[0].bias])
    for name, theirs in ours(arrays(frozen["after"])).items():
        np.testing.assert_allclose(model.state_dict()[name], theirs, rtol=1e-11, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("frozen", TORCH["clipped"], ids=lambda frozen: str(frozen["max_norm"]))
def test_clipping_agrees_with_torch(frozen):
    parameters = {}
    for i, g in enumerate(map(np.array, frozen["given"])):
        parameters[str(i)] = Parameter(np.zeros_like(g))
        parameters[str(i)].grad = g
    norm = clip_norm(parameters, frozen["max_norm"])
    the_same(norm, frozen["norm"], "norm")
    # PyTorch divides by norm + 1e-6, and clips if that makes the gradient shorter
    factor = norm / (norm + 1e-6) if norm > frozen["max_norm"] else 1.0
    for p, theirs in zip(parameters.values(), frozen["clipped"], strict=True):
        the_same(p.grad * factor, theirs, "clipped")


# --- first weights


class Ones(np.random.Generator):
    """Draws a one, or the upper end, every time."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, shape):
        return np.ones(shape)

    def uniform(self, low, high, shape):
        assert low == -high
        return np.full(shape, high)


@pytest.mark.parametrize("frozen", TORCH["initialization"]["numbers"], ids=str)
def test_first_weights_are_of_the_size_that_torch_gives_them(frozen):
    shape, ours = tuple(frozen["shape"]), {"dtype": float}
    the_same(xavier_normal(shape, Ones(), frozen["gain"], **ours).max(), frozen["xavier_normal"], "deviation")
    the_same(xavier_uniform(shape, Ones(), frozen["gain"], **ours).max(), frozen["xavier_uniform"], "bound")
    if "he_normal" in frozen:
        the_same(he_normal(shape, Ones(), **ours).max(), frozen["he_normal"], "deviation")


def test_gains_agree_with_torch_but_for_tanh():
    theirs = TORCH["initialization"]["gain"]
    for name in ("linear", "relu"):
        np.testing.assert_allclose(gain(name), theirs[name], rtol=1e-9, err_msg=name)  # ours is a sum for an area
    assert theirs["tanh"] == 5 / 3  # a rule of thumb
    np.testing.assert_allclose(gain("tanh"), 5 / 3, rtol=0.05)


def test_what_dropout_keeps_is_as_large_as_in_torch():
    for p, kept in TORCH["initialization"]["dropout"].items():
        out = Dropout(float(p), rng=np.random.default_rng(1))(np.ones(997))
        assert set(np.unique(out)) == {0.0, kept}  # quotients of powers of two and small numbers, rounded once
