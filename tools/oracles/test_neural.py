"""Live: layers and losses of random sizes in PyTorch and JAX against `fp_neural`. Run in the oracles environment."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.oracles import neural_layers as oracle

from fp_autograd.functional import grad, hvp
from fp_autograd.rules import log_softmax, tanh
from fp_neural.activations import GELU, Tanh, gelu, silu
from fp_neural.embedding import Embedding
from fp_neural.layers import Linear, Sequential, linear
from fp_neural.losses import cross_entropy, mse, nll
from fp_neural.normalization import BatchNorm1d, batch_norm
from fp_neural.recurrent import LSTM, RNN, lstm_sequence, rnn_sequence

RNG = np.random.default_rng(0)  # of numbers that are replaced


def biased(p):
    return p["weight_ih"], p["weight_hh"], p["bias_ih"] + p["bias_hh"]


def in_use(p, c, eps):
    layer = BatchNorm1d(len(c["running_mean"]), eps=eps, dtype=float).eval()
    return layer.functional({"weight": p["weight"], "bias": p["bias"]} | c, p["x"])


OURS = {
    "linear": lambda p, c: linear(p["x"], p["weight"], p["bias"]),
    "embedding": lambda p, c: Embedding(*p["weight"].shape, rng=RNG).functional(p, c["ids"]),
    "tanh": lambda p, c: tanh(p["x"]),
    "silu": lambda p, c: silu(p["x"]),
    "gelu": lambda p, c, approximate: gelu(p["x"], approximate),
    "batch_norm": lambda p, c, eps, training: (
        batch_norm(p["x"], p["weight"], p["bias"], eps=eps) if training else in_use(p, c, eps)
    ),
    "cross_entropy": lambda p, c, **how: cross_entropy(p["logits"], c["targets"], **how),
    "nll": lambda p, c, **how: nll(log_softmax(p["logits"]), c["targets"], **how),
    "mse": lambda p, c, reduction: mse(p["x"], p["y"], reduction=reduction),
    "rnn": lambda p, c: rnn_sequence(p["x"], p["h_0"], *biased(p)),
    "lstm": lambda p, c: lstm_sequence(p["x"], p["h_0"], p["c_0"], *biased(p)),
}


@st.composite
def cases(draw, names=tuple(OURS)):
    """One of them with sizes, settings and numbers."""
    size = st.integers(1, 6)
    of, a, b, n, m, T = draw(st.sampled_from(names)), draw(size), draw(size), draw(size), draw(size), draw(size)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lead = (a, b) if draw(st.booleans()) else (a,)
    variables, constants, how = {"x": rng.normal(size=(*lead, n))}, {}, {}
    if of == "linear":
        variables |= {"weight": rng.normal(size=(m, n)), "bias": rng.normal(size=m)}
    elif of == "embedding":
        variables, constants = {"weight": rng.normal(size=(n, m))}, {"ids": rng.integers(0, n, lead)}
    elif of == "gelu":
        how = {"approximate": draw(st.sampled_from(["none", "tanh"]))}
    elif of == "batch_norm":
        # two rows of nearly the same numbers lose digits to their mean; three drawn ones are not as close
        variables = {"x": rng.normal(size=(a + 2, *lead[1:], n))}
        variables |= {"weight": rng.normal(size=n), "bias": rng.normal(size=n)}
        how = {"eps": draw(st.sampled_from([1e-5, 0.1])), "training": draw(st.booleans())}
        if not how["training"]:
            constants = {"running_mean": rng.normal(size=n), "running_var": rng.uniform(0.1, 3, n)}
    elif of in ("cross_entropy", "nll"):
        variables = {"logits": 3 * rng.normal(size=(*lead, n))}
        constants, how = (
            {"targets": rng.integers(0, n, lead)},
            {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))},
        )
        if of == "cross_entropy":
            how["label_smoothing"] = draw(st.sampled_from([0.0, 0.1, 0.9]))
        if draw(st.booleans()):
            how["ignore"] = -7
            constants["targets"][rng.random(lead) < 0.3] = -7
            constants["targets"].flat[0] = n - 1  # the mean of none is an error here, NaN there
    elif of == "mse":
        variables["y"] = rng.normal(size=(*lead, n))
        how = {"reduction": draw(st.sampled_from(["mean", "sum", "none"]))}
    elif of in ("rnn", "lstm"):
        G = (4 if of == "lstm" else 1) * m
        shapes = {"x": (a, T, n), "h_0": (a, m)} | ({"c_0": (a, m)} if of == "lstm" else {})
        shapes |= {"weight_ih": (G, n), "weight_hh": (G, m), "bias_ih": (G,), "bias_hh": (G,)}
        variables = {name: 0.7 * rng.normal(size=shape) for name, shape in shapes.items()}
    return of, variables, constants, how, rng


def the_same(case, theirs):
    """Value, gradient and product of the Hessian with a vector of sum(c out + out^2 / 2)."""
    of, variables, constants, how, rng = case
    out = OURS[of](variables, constants, **how)
    out = np.asarray(getattr(out, "data", out) if not isinstance(out, np.ndarray) else out)
    c = rng.uniform(-1, 1, out.shape)
    v = {name: rng.uniform(-1, 1, x.shape) for name, x in variables.items()}

    def number(p):
        y = OURS[of](p, constants, **how)
        return (c * y + y * y / 2).sum()

    value, gradient, product = theirs(of, variables, constants, how, c, v)
    g, moved = grad(number)(variables), hvp(number)(variables, v)
    # a few dozen terms below 100, after up to six steps that enlarge a rounding error of 1e-16 a few times
    np.testing.assert_allclose(out, value, rtol=1e-11, atol=1e-12)
    for name in variables:
        np.testing.assert_allclose(g[name], gradient[name], rtol=1e-9, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(moved[name], product[name], rtol=1e-7, atol=1e-8, err_msg=name)


@pytest.fixture(scope="module")
def torch_():
    torch = pytest.importorskip("torch")

    def derivatives(of, variables, constants, how, c, v):
        leaves = {name: torch.tensor(x, requires_grad=True) for name, x in variables.items()}
        fixed = {name: torch.from_numpy(x) for name, x in constants.items()}
        out = oracle.functions()[of](leaves, fixed, **how)
        L = (torch.tensor(c) * out + out * out / 2).sum()
        g, products = oracle.derivatives(L, list(leaves.values()), [x.tolist() for x in v.values()])
        return out.detach().numpy(), dict(zip(leaves, g, strict=True)), dict(zip(leaves, products, strict=True))

    return derivatives


@pytest.fixture(scope="module")
def jax_():
    """Written out where JAX has no such layer."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp, nn = jax.numpy, jax.nn

    def normalized(p, c, eps, training):
        axes = tuple(range(p["x"].ndim - 1))
        mean = p["x"].mean(axes) if training else c["running_mean"]
        var = p["x"].var(axes) if training else c["running_var"]
        return (p["x"] - mean) / jnp.sqrt(var + eps) * p["weight"] + p["bias"]

    def reduced(losses, counted, reduction):
        losses = jnp.where(counted, losses, 0)
        return losses if reduction == "none" else losses.sum() / (counted.sum() if reduction == "mean" else 1)

    def entropy(p, c, reduction, label_smoothing=0.0, ignore=None):
        counted = c["targets"] != (ignore if ignore is not None else -100)
        V = p["logits"].shape[-1]
        wanted = (1 - label_smoothing) * nn.one_hot(c["targets"], V) + label_smoothing / V
        return reduced(-(wanted * nn.log_softmax(p["logits"])).sum(-1), counted, reduction)

    def recurrent(p, step, state):
        def through(state, x):
            h, state = step(x @ p["weight_ih"].T + state[0] @ p["weight_hh"].T + p["bias_ih"] + p["bias_hh"], state)
            return state, h

        state, out = jax.lax.scan(through, state, p["x"].swapaxes(0, 1))
        return jnp.concatenate([out, *(part[None] for part in state[1:])]).swapaxes(0, 1)

    def plain(a, state):
        return (h := jnp.tanh(a)), (h,)

    def gated(a, state):
        i, f, n, o = jnp.split(a, 4, axis=1)
        c = nn.sigmoid(f) * state[1] + nn.sigmoid(i) * jnp.tanh(n)
        return (h := nn.sigmoid(o) * jnp.tanh(c)), (h, c)

    def squared(p, c, reduction):
        return reduced((p["x"] - p["y"]) ** 2, jnp.ones(p["x"].shape), reduction)

    theirs = {
        "linear": lambda p, c: p["x"] @ p["weight"].T + p["bias"],
        "embedding": lambda p, c: p["weight"][c["ids"]],
        "tanh": lambda p, c: jnp.tanh(p["x"]),
        "silu": lambda p, c: nn.silu(p["x"]),
        "gelu": lambda p, c, approximate: nn.gelu(p["x"], approximate=approximate == "tanh"),
        "batch_norm": normalized,
        "cross_entropy": entropy,
        "nll": entropy,
        "mse": squared,
        "rnn": lambda p, c: recurrent(p, plain, (p["h_0"],)),
        "lstm": lambda p, c: recurrent(p, gated, (p["h_0"], p["c_0"])),
    }

    def derivatives(of, variables, constants, how, c, v):
        def number(p):
            out = theirs[of](p, constants, **how)
            return (c * out + out * out / 2).sum()

        @jax.jit  # one program to compile instead of one for each operation
        def all_three(p):
            g, moved = jax.jvp(jax.grad(number), (p,), (v,))
            return theirs[of](p, constants, **how), g, moved

        return all_three(variables)

    return derivatives


@pytest.mark.parametrize("of", OURS)
def test_each_in_torch(torch_, of):
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(case=cases((of,)))
    def of_random_sizes(case):
        the_same(case, torch_)

    of_random_sizes()


@pytest.mark.parametrize("of", OURS)
def test_each_in_jax(jax_, of):
    @settings(max_examples=4, deadline=None, derandomize=True)  # JAX compiles each anew
    @given(case=cases((of,)))
    def of_random_sizes(case):
        the_same(case, jax_)

    of_random_sizes()


# --- single precision, as in training


def in_single(module, peer, x, out=lambda y: y):
    """Outcomes, and gradients of the sum of their squares, of a module and of PyTorch's with the same parameters."""
    import torch

    ours, leaf = out(module(x)), torch.from_numpy(x)
    theirs = out(peer(leaf))
    (ours * ours).sum().backward()
    theirs.square().sum().backward()
    np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-4, atol=2e-6)
    return {name: p.grad.numpy() for name, p in peer.named_parameters()}


def close(ours, theirs):
    # sums of a few thousand terms of both signs, each rounded to 2^-24
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("layer", [RNN, LSTM])
def test_recurrent_layers_in_single_precision(layer):
    torch = pytest.importorskip("torch")
    module = layer(37, 61, rng=np.random.default_rng(5))
    peer = getattr(torch.nn, layer.__name__)(37, 61, batch_first=True)
    with torch.no_grad():
        peer.bias_hh_l0.zero_()
        for name, ours in (("weight_ih", module.weight_ih), ("weight_hh", module.weight_hh), ("bias_ih", module.bias)):
            getattr(peer, f"{name}_l0").copy_(torch.from_numpy(ours.data))
    x = np.random.default_rng(6).normal(size=(11, 41, 37)).astype(np.float32)
    theirs = in_single(module, peer, x, lambda y: y[0])
    for name, ours in (("weight_ih", module.weight_ih), ("weight_hh", module.weight_hh), ("bias_hh", module.bias)):
        close(ours.grad, theirs[f"{name}_l0"])


def test_a_state_travels_to_torch_and_back():
    """The names of the parameters are PyTorch's, layer by layer."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    ours = Sequential(
        Linear(13, 31, rng=rng), BatchNorm1d(31), Tanh(), Linear(31, 29, rng=rng), GELU(), Linear(29, 5, rng=rng)
    )
    nn = torch.nn
    theirs = nn.Sequential(
        nn.Linear(13, 31), nn.BatchNorm1d(31), nn.Tanh(), nn.Linear(31, 29), nn.GELU(), nn.Linear(29, 5)
    )
    given = {name.removeprefix("layers."): torch.from_numpy(x) for name, x in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(given, strict=False)
    assert not unexpected and {*missing} <= {"1.num_batches_tracked"}
    x = rng.normal(size=(67, 13)).astype(np.float32)
    gradients = in_single(ours, theirs, x)
    for name, p in ours.named_parameters().items():
        if name != "layers.0.bias":  # a shift before the normalization: zero, but for rounding
            close(p.grad, gradients[name.removeprefix("layers.")])
    back = {
        f"layers.{name}": x.numpy() for name, x in theirs.state_dict().items() if not name.endswith("batches_tracked")
    }
    ours.load_state_dict(back)
    in_use = theirs.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours.eval()(x).data, in_use, rtol=1e-4, atol=1e-5)


def test_the_fixture_is_what_torch_says_today():
    pytest.importorskip("torch")
    frozen, today = json.loads(oracle.FIXTURE.read_text(encoding="utf-8")), oracle.compute()

    def compare(then, now):
        if isinstance(then, dict):
            assert then.keys() == now.keys()
            for key in then:
                compare(then[key], now[key])
        elif isinstance(then, list) and then and isinstance(then[0], list | dict):
            for a, b in zip(then, now, strict=True):
                compare(a, b)
        elif isinstance(then, str | bool):
            assert then == now
        else:  # another version, or another processor, may order sums otherwise
            np.testing.assert_allclose(np.array(then, float), np.array(now, float), rtol=1e-12, atol=1e-13)

    compare(frozen, today)
