"""Live: random programs, first and second order, in PyTorch, JAX and HIPS/autograd against `fp_autograd`."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.oracles import autograd_rules as oracle

from fp_autograd import rules
from fp_autograd.functional import grad, hvp, value_and_grad
from fp_autograd.tensor import Mode

SHAPE = (3, 5)
MASK = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 0, 1], [1, 1, 0, 1, 0]], bool)

# From two arrays of SHAPE to one of SHAPE, in the words of a library L; together they use every rule. Values stay
# small, or the comparison would be of rounding errors. Extremes are taken along axis 1 and not along axis 0, whose
# entries may be equal but for rounding, after which libraries choose differently.
STEPS = {
    "add": lambda L, x, y: x + 0.5 * y[0],
    "subtract": lambda L, x, y: y[:, 1:2] - x,
    "multiply": lambda L, x, y: L.tanh(x) * y,
    "divide": lambda L, x, y: x / (2 + L.cos(y)),
    "power": lambda L, x, y: (0.5 + L.sigmoid(x)) ** L.sin(y),
    "whole power": lambda L, x, y: L.tanh(x) ** 3 - 1.5**-y,
    "negative": lambda L, x, y: -x,
    "exp": lambda L, x, y: L.exp(-L.absolute(x)),
    "expm1": lambda L, x, y: L.expm1(L.sin(x)),
    "log": lambda L, x, y: L.log(1.5 + L.sin(x)),
    "log1p": lambda L, x, y: L.log1p(L.relu(x)),
    "sqrt": lambda L, x, y: L.sqrt(0.25 + x * x),
    "softplus": lambda L, x, y: L.softplus(2 * x),
    "maximum": lambda L, x, y: L.maximum(x, y),
    "minimum": lambda L, x, y: L.minimum(x, 0.5 * y),
    "where": lambda L, x, y: L.where(MASK, x, y),
    "sum": lambda L, x, y: x - L.sum(y, 0, True) / 3,
    "mean": lambda L, x, y: y * L.mean(x, 1, True),
    "max": lambda L, x, y: x - L.max(x, 1, True),
    "min": lambda L, x, y: x * L.min(L.sin(y), 1, True),
    "cumsum": lambda L, x, y: L.cumsum(x, 1) / 3,
    "logsumexp": lambda L, x, y: y - L.logsumexp(x, 1, True),
    "softmax": lambda L, x, y: L.softmax(x, 0) + y,
    "log_softmax": lambda L, x, y: 0.5 * L.log_softmax(x, 1),
    "matmul": lambda L, x, y: L.softmax(x @ L.transpose(y), -1) @ y,
    "broadcast_to": lambda L, x, y: y + L.broadcast_to(x[2:, :], SHAPE),
    "reshape": lambda L, x, y: L.reshape(L.transpose(x), SHAPE),
    "index": lambda L, x, y: x[np.array([2, 0, 2])] + y,
    "entries": lambda L, x, y: x * y[np.array([1, 1, 0]), np.array([4, 0, 4])][:, None],
    "concatenate": lambda L, x, y: L.concatenate([x[:, 3:], y[:, ::2]], 1),
}


def run(L, steps, a, b):
    """A number: each step works on two of the arrays that are there, and adds one."""
    arrays = [a, b]
    for name, i, j in steps:
        arrays.append(STEPS[name](L, arrays[i % len(arrays)], arrays[j % len(arrays)]))
    return sum(L.mean(L.tanh(x), None, False) for x in arrays[-3:])


# --- the libraries


def named(module, names):
    """Functions of the same names."""
    return {name: getattr(module, name) for name in names.split()}


OURS = SimpleNamespace(
    **named(rules, "exp expm1 log log1p sqrt sin cos tanh sigmoid softplus relu absolute maximum minimum where cumsum"),
    **named(rules, "logsumexp softmax log_softmax broadcast_to concatenate"),
    sum=lambda x, axis, keepdims: x.sum(axis, keepdims),
    mean=lambda x, axis, keepdims: x.mean(axis, keepdims),
    max=lambda x, axis, keepdims: x.max(axis, keepdims),
    min=lambda x, axis, keepdims: x.min(axis, keepdims),
    transpose=lambda x: x.T,
    reshape=lambda x, shape: x.reshape(shape),
)


def numpy_like(np_, **more):
    """JAX and HIPS/autograd, which call their functions as NumPy does."""
    names = "exp expm1 log log1p sqrt sin cos tanh absolute maximum minimum where cumsum broadcast_to concatenate"

    def reduced(function):
        return lambda x, axis, keepdims: function(x, axis=axis, keepdims=keepdims)

    return SimpleNamespace(
        **named(np_, names),
        **{key: reduced(getattr(np_, key)) for key in ("sum", "mean", "max", "min")},
        transpose=np_.transpose,
        reshape=np_.reshape,
        **more,
    )


@pytest.fixture(scope="module")
def torch_():
    torch = pytest.importorskip("torch")
    names = "exp expm1 log log1p sqrt sin cos tanh sigmoid relu absolute maximum minimum cumsum"
    L = SimpleNamespace(
        **named(torch, names),
        softplus=lambda x: torch.logaddexp(x, torch.zeros_like(x)),
        where=lambda c, x, y: torch.where(torch.from_numpy(c), x, y),
        **named(torch, "logsumexp softmax log_softmax broadcast_to reshape"),
        concatenate=lambda parts, axis: torch.cat(parts, axis),
        sum=torch.sum,
        mean=lambda x, axis, keepdims: torch.mean(x, axis, keepdims),
        max=torch.amax,
        min=torch.amin,
        transpose=lambda x: x.T,
    )

    def derivatives(f, args, v):
        leaves = [torch.tensor(x, requires_grad=True) for x in args]
        value = f(L, *leaves)
        g = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
        slope = sum((a * torch.tensor(w)).sum() for a, w in zip(g, v, strict=True))
        moved = [torch.zeros_like(x) for x in leaves]
        if slope.requires_grad:
            moved = torch.autograd.grad(slope, leaves, materialize_grads=True)
        return value.item(), [a.detach().numpy() for a in g], [a.detach().numpy() for a in moved]

    return derivatives


@pytest.fixture(scope="module")
def jax_():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    nn = named(jax.nn, "sigmoid softplus relu softmax log_softmax")
    L = numpy_like(
        jax.numpy, **nn, logsumexp=lambda x, axis, keepdims: jax.nn.logsumexp(x, axis=axis, keepdims=keepdims)
    )

    def derivatives(f, args, v):
        args, v = [tuple(map(jax.numpy.asarray, arrays)) for arrays in (args, v)]
        value, g = jax.value_and_grad(lambda p: f(L, *p))(args)
        moved = jax.jvp(jax.grad(lambda p: f(L, *p)), (args,), (v,))[1]
        return float(value), list(map(np.asarray, g)), list(map(np.asarray, moved))

    return derivatives


@pytest.fixture(scope="module")
def hips():
    """It has no softmax and no sigmoid: they are written out."""
    autograd = pytest.importorskip("autograd")
    import autograd.numpy as anp

    def logsumexp(x, axis, keepdims):
        m = anp.max(x, axis=axis, keepdims=True)
        out = anp.log(anp.sum(anp.exp(x - m), axis=axis, keepdims=True)) + m
        return out if keepdims else anp.squeeze(out, axis)

    L = numpy_like(
        anp,
        logsumexp=logsumexp,
        softmax=lambda x, axis: anp.exp(x - logsumexp(x, axis, True)),
        log_softmax=lambda x, axis: x - logsumexp(x, axis, True),
        sigmoid=lambda x: 0.5 + 0.5 * anp.tanh(0.5 * x),
        softplus=lambda x: anp.logaddexp(x, 0.0),
        relu=lambda x: x * (x > 0),
    )

    def derivatives(f, args, v):
        def of(p):
            return f(L, *p)

        args, v = autograd.builtins.tuple(tuple(args)), autograd.builtins.tuple(tuple(v))
        value, g = autograd.value_and_grad(of)(args)

        def slope(p):
            return sum(anp.sum(a * w) for a, w in zip(autograd.grad(of)(p), v, strict=True))

        return float(value), list(g), list(autograd.grad(slope)(args))

    return derivatives


def ours(f, args, v):
    def of(p):
        return f(OURS, *p)

    value, g = value_and_grad(of)(list(args))
    return float(value), g, hvp(of)(list(args), list(v))


steps = st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 20), st.integers(0, 20))
programs = st.lists(steps, min_size=1, max_size=9)


def the_same_as(theirs, steps, seed):
    rng = np.random.default_rng(seed)
    args = [rng.normal(size=SHAPE) for _ in "ab"]
    v = [rng.normal(size=SHAPE) for _ in "ab"]

    def f(L, a, b):
        return run(L, steps, a, b)

    value, g, moved = ours(f, args, v)
    their_value, their_g, their_moved = theirs(f, args, v)
    # up to 9 steps, each of which enlarges a rounding error of 1e-16 a few times, and derivatives once more
    np.testing.assert_allclose(value, their_value, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(g, their_g, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(moved, their_moved, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_in_torch(torch_, name):
    the_same_as(torch_, [(name, 0, 1), (name, 2, 0)], 1)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_in_jax(jax_, name):
    the_same_as(jax_, [(name, 0, 1), (name, 2, 0)], 2)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_in_hips_autograd(hips, name):
    the_same_as(hips, [(name, 0, 1), (name, 2, 0)], 3)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(steps=programs, seed=st.integers(0, 2**32 - 1))
def test_random_programs_in_torch(torch_, steps, seed):
    the_same_as(torch_, steps, seed)


@settings(max_examples=100, deadline=None, derandomize=True)  # JAX compiles whatever it has not met
@given(steps=programs, seed=st.integers(0, 2**32 - 1))
def test_random_programs_in_jax(jax_, steps, seed):
    the_same_as(jax_, steps, seed)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(steps=programs, seed=st.integers(0, 2**32 - 1))
def test_random_programs_in_hips_autograd(hips, steps, seed):
    the_same_as(hips, steps, seed)


def test_the_steps_use_every_rule(monkeypatch):
    used = set()
    monkeypatch.setattr(Mode, "made", lambda out, rule, operands: used.add(rule.name))
    steps = [(name, i, i + 1) for i, name in enumerate(STEPS)]
    x = np.random.default_rng(5).normal(size=SHAPE)
    grad(lambda a: grad(lambda b: run(OURS, steps, a, b))(x).sum())(x)
    assert used == set(rules.RULES)


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
        elif isinstance(then, int | float) or (
            isinstance(then, list) and all(isinstance(x, int | float) for x in then)
        ):
            # another version, or another processor, may order sums otherwise
            np.testing.assert_allclose(then, now, rtol=1e-12, atol=1e-13)
        else:
            assert then == now

    compare(frozen, today)
