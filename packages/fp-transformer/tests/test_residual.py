"""The residual stream: sums of paths, growth with depth, and norms in the branch or on the line."""

import itertools
import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd.functional import jacobian, vjp
from fp_autograd.rules import tanh
from fp_autograd.tracing import value_of
from fp_neural.layers import linear
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer
from fp_transformer.norms import LayerNorm, RMSNorm, layer_norm, rms_norm
from fp_transformer.residual import Stack, normalized_terms, path_terms, shares, sizes_by_depth

EXACT = 1e-12  # products of a few small matrices in float64


def some(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def model(family: str, n_layers: int = 2) -> Transformer:
    config = getattr(TransformerConfig, family)(
        vocab_size=11, context_length=7, n_layers=n_layers, n_heads=2, d_model=12
    )
    return Transformer(config, rng=np.random.default_rng(3), dtype=np.float64)


# --- a sum


@pytest.mark.claim("transformer.residual-sum")
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_logits_are_sums_over_the_layers(family):
    m, ids = model(family), np.array([[1, 2, 3, 5, 8], [4, 0, 10, 9, 7]])
    for p in m.norm.parameters():
        p.data += some(*p.shape, seed=9)  # gains and biases that matter
    streams = list(m.stream(ids))
    terms = normalized_terms(streams, m.norm)
    assert terms.shape == (3, 2, 5, 12)
    bias = m.norm.bias.data if family == "gpt2" else 0
    table = m.embedding.weight.data if m.output is None else m.output.weight.data
    by_term = terms @ table.T  # layers B T V
    assert np.allclose(by_term.sum(axis=0) + bias @ table.T if family == "gpt2" else by_term.sum(axis=0), m(ids).data)
    assert np.allclose(terms.sum(axis=0) + bias, m.norm(streams[-1]).data, rtol=0, atol=EXACT)


def test_terms_of_a_norm_by_hand():
    # sum (3, 5): mean 4, deviations (-1, 1), size 1. The second term is centred to (-2, 2)
    norm = LayerNorm(2, 0.0, dtype=np.float64)
    norm.weight.data[...] = [1, 10]
    terms = normalized_terms([np.array([2.0, 0.0]), np.array([3.0, 5.0])], norm)
    assert np.allclose(terms, [[1, -10], [-2, 20]], rtol=0, atol=EXACT)


# --- the way back


@pytest.mark.claim("transformer.pre-norm-gradient")
@settings(max_examples=20)
@given(st.integers(0, 5), st.integers(1, 3), st.integers(0, 2**32))
def test_product_is_the_sum_over_all_subsets(n, C, seed):
    J = np.random.default_rng(seed).integers(-3, 4, size=(n, C, C)).astype(float)  # whole numbers: exact
    product = np.eye(C)
    for j in J:
        product = (np.eye(C) + j) @ product
    by_count = np.zeros((n + 1, C, C))
    for k in range(n + 1):
        for S in itertools.combinations(range(n), k):
            term = np.eye(C)
            for l in S:
                term = J[l] @ term
            by_count[k] += term
    assert np.array_equal(by_count.sum(axis=0), product)
    assert np.array_equal(path_terms(J), by_count)
    assert np.array_equal(path_terms(J)[0], np.eye(C))


def test_path_terms_by_algebra():
    z = sympy.symbols("z")
    coefficients = sympy.Poly(sympy.prod([1 + z * a for a in (2, 3, 5, 7)]), z).all_coeffs()[::-1]
    assert path_terms(np.array([2.0, 3.0, 5.0, 7.0]).reshape(4, 1, 1)).ravel().tolist() == [
        int(c) for c in coefficients
    ]


def branch(weights, x, C: int = 5):
    """A norm, a bend, a last matrix."""
    inner, outer = weights
    return linear(tanh(linear(rms_norm(x, np.ones(C), 0.0), inner)), outer)


@pytest.mark.claim("transformer.pre-norm-gradient")
def test_gradient_of_a_pre_norm_stack():
    C, n = 5, 4
    weights = [(some(7, C, seed=i), some(C, 7, seed=50 + i)) for i in range(n)]
    x0, g = some(C, seed=99), some(C, seed=98)
    xs = [x0]
    for w in weights:
        xs.append(xs[-1] + branch(w, xs[-1]))

    def stack(x, first=0):
        for w in weights[first:]:
            x = x + branch(w, x)
        return x

    J = np.array([jacobian(lambda x, w=w: branch(w, x))(x) for w, x in zip(weights, xs[:-1], strict=True)])
    for first in (0, 2):
        dx = vjp(lambda x, first=first: stack(x, first), xs[first])[1](g)[0]
        assert np.allclose(dx, path_terms(J[first:]).sum(axis=0).T @ g, rtol=0, atol=1e-10)
    # without the path that skips everything it would be another gradient
    assert np.linalg.norm(dx - path_terms(J[2:])[1:].sum(axis=0).T @ g - g) < 1e-10


@pytest.mark.claim("transformer.pre-norm-gradient")
@pytest.mark.claim("transformer.post-norm-gradient")
def test_branches_that_pass_nothing_back():
    C, n = 11, 6
    rng = np.random.default_rng(4)
    x = rng.normal(size=C)
    x *= math.sqrt(C) / np.linalg.norm(x)
    xs, constants = [x], []
    for _ in range(n):
        b = rng.normal(size=C)
        b -= (b @ xs[-1]) / C * xs[-1]
        constants.append(b * math.sqrt(C) / np.linalg.norm(b))
        xs.append(rms_norm(xs[-1] + constants[-1], np.ones(C), 0))
    g = rng.normal(size=C)
    Q = np.linalg.qr(np.column_stack(xs[1:]))[0]
    across = g - Q @ (Q.T @ g)

    def post(x):
        for b in constants:
            x = rms_norm(x + b, np.ones(C), 0)
        return x

    def pre(x):
        for b in constants:
            x = x + b
        return x

    assert np.allclose(vjp(post, x)[1](across)[0], 2 ** (-n / 2) * across, rtol=0, atol=EXACT)
    assert np.allclose(vjp(pre, x)[1](g)[0], g, rtol=0, atol=0)
    assert np.linalg.norm(vjp(post, x)[1](g)[0]) <= 2 ** (-n / 2) * np.linalg.norm(g)


@pytest.mark.claim("transformer.post-norm-gradient")
@pytest.mark.parametrize("kind", ["rms", "layer"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_post_norm_product_and_bound(kind, eps):
    C, n = 5, 3
    weights = [(some(7, C, seed=i), 0.3 * some(C, 7, seed=50 + i)) for i in range(n)]

    def norm(x):
        return rms_norm(x, np.ones(C), eps) if kind == "rms" else layer_norm(x, np.ones(C), np.zeros(C), eps)

    def stack(x):
        for w in weights:
            x = norm(x + branch(w, x))
        return x

    x, g = some(C, seed=7), some(C, seed=8)
    chain, skipping, bound, sizes = g, g, 1.0, []
    xs = [x]
    for w in weights:
        xs.append(norm(xs[-1] + branch(w, xs[-1])))
    for w, at in reversed(list(zip(weights, xs[:-1], strict=True))):
        total = at + branch(w, at)
        K, J = jacobian(norm)(total), jacobian(lambda x, w=w: branch(w, x))(at)
        z = total - total.mean() * (kind == "layer")
        r = 1 / math.sqrt(np.mean(z**2) + eps)
        chain, skipping = (np.eye(C) + J.T) @ (K @ chain), K @ skipping
        bound *= r * (1 + np.linalg.norm(J, 2))
        sizes.append(r)
    dx = vjp(stack, x)[1](g)[0]
    assert np.allclose(dx, chain, rtol=0, atol=EXACT)
    assert np.linalg.norm(dx) <= bound * np.linalg.norm(g)
    assert np.linalg.norm(skipping) <= math.prod(sizes) * np.linalg.norm(g) * (1 + EXACT)


@pytest.mark.claim("transformer.pre-norm-bounds")
@settings(max_examples=20)
@given(st.integers(1, 6), st.floats(0.01, 1.0), st.integers(0, 2**32))
def test_lengths_of_paths_and_of_the_whole(n, rho, seed):
    rng = np.random.default_rng(seed)
    J = rng.normal(size=(n, 4, 4))
    J *= rho / np.linalg.norm(J, 2, axis=(1, 2))[:, None, None]  # the bound is attained
    g = rng.normal(size=4)
    terms = path_terms(J)
    for k in range(n + 1):
        assert np.linalg.norm(terms[k].T @ g) <= math.comb(n, k) * rho**k * np.linalg.norm(g) * (1 + EXACT)
    whole = np.linalg.norm(terms.sum(axis=0).T @ g)
    assert (1 - rho) ** n * np.linalg.norm(g) * (1 - EXACT) <= whole + EXACT
    assert whole <= (1 + rho) ** n * np.linalg.norm(g) * (1 + EXACT)


def test_both_bounds_are_reached():
    for sign in (1, -1):
        J = sign * 0.5 * np.array([np.eye(2)] * 3)
        assert np.allclose(path_terms(J).sum(axis=0), (1 + sign * 0.5) ** 3 * np.eye(2))


# --- growth


@pytest.mark.claim("transformer.residual-variance")
@pytest.mark.parametrize("scaled", [False, True])
def test_mean_squares_add(scaled):
    """Branches W N(x), with |N(x)|^2 = C: each adds s^2 C, exactly in the mean."""
    C, n, draws, sigma2 = 7, 12, 4000, 0.7
    rng = np.random.default_rng(11)
    x = rng.normal(size=(draws, C)) * 1.3
    for _ in range(n):
        W = rng.normal(size=(draws, C, C)) * math.sqrt(sigma2 / C / (n if scaled else 1))
        h = np.roll(rms_norm(x, np.ones(C), 0), 1, axis=-1)  # any function of the stream
        x = x + np.einsum("dij,dj->di", W, h)
    per_draw = np.mean(x**2, axis=-1)
    expected = 1.3**2 + (1 if scaled else n) * sigma2
    # four standard errors of the mean of 4000 independent draws: one seed in 16,000 falls outside
    assert abs(per_draw.mean() - expected) < 4 * per_draw.std() / math.sqrt(draws)
    assert 4 * per_draw.std() / math.sqrt(draws) < 0.05 * expected


@pytest.mark.claim("transformer.residual-variance")
def test_mean_squares_add_exactly_over_all_signs():
    """Weights plus or minus s, all choices of them: the mean is a finite sum."""
    C, n, s = 2, 2, 0.5
    x0 = np.array([0.3, -1.1])
    total, count = np.zeros(C), 0
    for signs in itertools.product([-s, s], repeat=n * C * C):
        W = np.array(signs).reshape(n, C, C)
        x = x0
        for l in range(n):
            h = np.array([x[0] * x[1], 1 + x[0]]) / math.hypot(x[0] * x[1], 1 + x[0])  # length one, of all of x
            x = x + W[l] @ h
        total += x**2
        count += 1
    assert count == 256
    assert np.allclose(total / count, x0**2 + n * s**2, rtol=1e-13)


@pytest.mark.claim("transformer.residual-variance")
@pytest.mark.parametrize("scaled", [False, True])
def test_branches_that_shrink_with_the_stream_add_less_when_they_are_divided(scaled):
    """h = x, and weights plus or minus s for which each branch adds |x_0|^2: exactly, over all signs."""
    C, n = 2, 2
    x0 = np.array([0.3, -1.1])
    sizes, total, count = [1 / math.sqrt(C * (l + 1) * (n if scaled else 1)) for l in range(n)], 0.0, 0
    for signs in itertools.product([-1.0, 1.0], repeat=n * C * C):
        x = x0
        for s, W in zip(sizes, np.array(signs).reshape(n, C, C), strict=True):
            x = x + s * W @ x
        total += x @ x
        count += 1
    assert total / count / (x0 @ x0) - 1 == pytest.approx(0.875 if scaled else n, rel=1e-13)  # and not 1


@pytest.mark.claim("transformer.residual-share")
@settings(max_examples=20)
@given(st.integers(1, 30), st.fractions(0, 50), st.fractions("1/9", 9))
def test_shares(n, a, sigma2):
    sizes = [a * sigma2]
    for l in range(n):
        sizes.append(sizes[-1] + sigma2)
        assert sigma2 / sizes[-1] == 1 / (l + 1 + a)
    assert sigma2 / sizes[-1] == 1 / (n + a)
    assert n / (n + a) + a / (n + a) == 1


@pytest.mark.claim("transformer.residual-share")
def test_shares_of_a_real_stack_fall_like_one_over_the_depth():
    stack = Stack(32, 24, rng=np.random.default_rng(0))
    x = some(8, 5, 32).astype(np.float32)
    streams = [x]
    for l in range(24):
        streams.append(stack.layer(l, streams[-1]))
    found = shares(streams)
    assert found.shape == (24,)
    feed_forward = found[1::2]  # attention averages over positions, and adds less the later the position
    first, last = feed_forward[:2].mean(), feed_forward[-2:].mean()
    # 1 / (l + 1 + a) with a = 1: from about 1/3 and 1/5 to 1/23 and 1/25, and more as attention adds less than one
    assert 2.5 < first / last < 12


def test_shares_by_hand():
    streams = [np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]]), np.array([[4.0, 1.0]])]
    assert np.allclose(shares(streams), [1 / 2, 9 / 17])


@pytest.mark.claim("transformer.branch-scale")
@settings(max_examples=15)
@given(st.floats(0.1, 10), st.sampled_from([0.0, 0.3]), st.integers(0, 2**32))
def test_quiet_branches_are_a_loud_embedding(c, eps, seed):
    C, n = 5, 4
    rng = np.random.default_rng(seed)
    weights = [(rng.normal(size=(7, C)), rng.normal(size=(C, 7))) for _ in range(n)]

    def run(x, divisor, eps):
        for inner, outer in weights:
            x = x + np.tanh(rms_norm(x, np.ones(C), eps) @ inner.T) @ outer.T / divisor
        return x, rms_norm(x, np.ones(C), eps)

    x0 = rng.normal(size=(3, C))
    x, read = run(x0, c, eps)
    loud, read_loud = run(c * x0, 1, c * c * eps)
    assert np.allclose(loud, c * x, rtol=1e-9, atol=1e-9)
    assert np.allclose(read_loud, read, rtol=1e-9, atol=1e-9)


# --- the stack


@pytest.mark.parametrize("norm_first", [True, False])
def test_sizes_are_those_of_the_gradient(norm_first):
    stack = Stack(8, 3, rng=np.random.default_rng(2), norm_first=norm_first, scale=0.5, dtype=np.float64)
    x, g = some(2, 5, 8), some(2, 5, 8, seed=1)
    sizes = sizes_by_depth(stack, x, g)
    assert all(p.grad is None for p in stack.parameters())
    y, back = vjp(stack, x)
    assert np.allclose(sizes.gradient[0], np.sqrt(np.mean(value_of(back(g)[0]) ** 2)), rtol=1e-12)
    assert np.allclose(sizes.stream[0], np.sqrt(np.mean(x**2)), rtol=1e-12)
    if not norm_first:
        assert np.allclose(sizes.stream[-1], np.sqrt(np.mean(value_of(y) ** 2)), rtol=1e-12)
        assert np.allclose(sizes.gradient[-1], np.sqrt(np.mean(g**2)), rtol=1e-12)
    stack(x).backward(g)
    for branch, size in zip(stack.branches, sizes.weights, strict=True):
        whole = math.sqrt(sum(np.sum(p.grad**2) for p in branch.parameters()))
        assert np.isclose(size, whole, rtol=1e-12)


def test_pre_norm_is_the_block_of_the_model():
    """Two branches of a stack with the weights of a block compute that block."""
    m = model("gpt2", n_layers=1)
    block, stack = m.blocks[0], Stack(12, 2, rng=np.random.default_rng(0), dtype=np.float64)
    x = some(2, 5, 12)
    expected = block(x).data
    stack.branches = [block.attention, block.feedforward]
    stack.norms = [block.norm1, block.norm2]
    y = x
    for l in range(2):
        y = stack.layer(l, y)
    assert np.allclose(y.data, expected, rtol=0, atol=EXACT)
    stack.norm_first = False
    assert np.allclose(stack.layer(0, x).data, block.norm1(x + block.attention(x)).data, rtol=0, atol=EXACT)


def test_scale_is_the_factor_of_the_branches():
    whole, half = (Stack(8, 2, rng=np.random.default_rng(2), scale=s, dtype=np.float64) for s in (1.0, 0.5))
    x = some(1, 3, 8)
    for l in range(2):
        assert np.allclose(half.layer(l, x).data - x, 0.5 * (whole.layer(l, x).data - x), rtol=0, atol=EXACT)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: shares([]), r"at least one and all of one shape; got \[\]"),
        (lambda: shares([np.ones(2), np.ones(3)]), r"got \[\(2,\), \(3,\)\]"),
        (lambda: normalized_terms([], RMSNorm(2)), "at least one"),
        (lambda: Stack(8, 0, rng=np.random.default_rng(0)), "at least one branch, got depth = 0"),
        (lambda: Stack(6, 1, rng=np.random.default_rng(0)), "4 heads do not divide a width of 6"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
