"""Mirrors src/fp_neural/losses.py."""

from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd.checking import gradcheck
from fp_autograd.functional import grad, hessian, hvp, jvp
from fp_autograd.rules import log_softmax, softmax
from fp_autograd.tensor import Tensor, no_grad
from fp_markov import information
from fp_neural.losses import cross_entropy, mse, nll, reference_cross_entropy
from fp_neural.softmax import logsumexp_error, softmax_jacobian

CLOSE = {"rtol": 1e-12, "atol": 1e-13}  # a few dozen roundings of numbers of magnitude one
repeatable = settings(derandomize=True, deadline=None)
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
SETTINGS = {
    "plain": {},
    "smooth": {"label_smoothing": 0.3},
    "ignore": {"ignore": 2},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "all": {"label_smoothing": 0.1, "ignore": 0, "reduction": "none"},
    "mean of all": {"label_smoothing": 0.1, "ignore": 0},
}


def some(shape, seed=0, scale=1.0):
    """Logits and targets; every shape here has at least two positions with different targets."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=shape) * scale
    return z, np.arange(z[..., 0].size).reshape(shape[:-1]) % shape[-1]


def backward(z, y, **keywords):
    z = Tensor(z, requires_grad=True)
    cross_entropy(z, y, **keywords).sum().backward()
    return z.grad


# --- the operation


def test_by_hand():
    z = np.log(np.array([[1.0, 3.0], [2.0, 2.0]]))
    assert float(cross_entropy(z, [1, 0])) == pytest.approx(-np.log(3 / 4 * 1 / 2) / 2, rel=1e-15)
    # (p - [j = y]) / 2 with p = (1/4, 3/4) and (1/2, 1/2)
    np.testing.assert_allclose(backward(z, [1, 0]), [[1 / 8, -1 / 8], [-1 / 4, 1 / 4]], **CLOSE)
    # with a half of smoothing the wish is (1/4, 3/4) and (3/4, 1/4)
    np.testing.assert_allclose(backward(z, [1, 0], label_smoothing=0.5), [[0, 0], [-1 / 8, 1 / 8]], **CLOSE)
    np.testing.assert_allclose(backward(z, [1, 0], ignore=1), [[0, 0], [-1 / 2, 1 / 2]], **CLOSE)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 7)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 40.0, 1000.0])
@pytest.mark.parametrize("keywords", SETTINGS.values(), ids=SETTINGS)
def test_the_fused_operation_is_the_reference(shape, scale, keywords):
    z, y = some(shape, scale=scale)
    if len(shape) == 1:
        y = np.array(1)
    value, expected = (f(z, y, **keywords) for f in (cross_entropy, reference_cross_entropy))
    assert value.shape == expected.shape == (() if keywords.get("reduction") != "none" else y.shape)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-15 * scale)  # the reference subtracts near scores
    g = np.random.default_rng(1).normal(size=value.shape)
    slopes = [grad(lambda z, f=f: (f(z, y, **keywords) * g).sum())(z) for f in (cross_entropy, reference_cross_entropy)]
    np.testing.assert_allclose(*slopes, rtol=1e-12, atol=1e-15 * scale)


@pytest.mark.parametrize("keywords", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("f", [cross_entropy, reference_cross_entropy])
def test_derivatives_in_both_modes(f, keywords):
    z, y = some((2, 3, 5))
    gradcheck(lambda z: f(2 * z, y, **keywords) * z[0, 0, 0], z)


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_third_derivatives(scale):
    z, y = some((3, 5), scale=scale)
    t, s = np.random.default_rng(2).normal(size=(2, 3, 5))

    def third(f):
        loss = lambda z: f(z, y, label_smoothing=0.1)  # noqa: E731
        return grad(lambda z: (hvp(loss)(z, t) * s).sum())(z), jvp(lambda z: hvp(loss)(z, t), (z,), (s,))[1]

    a, b = third(cross_entropy), third(reference_cross_entropy)
    np.testing.assert_allclose(a[0], a[1], **CLOSE)
    np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("kind", INTEGERS)
def test_targets_of_every_integer_type(kind):
    z, y = some((3, 5))
    expected = cross_entropy(z, y, ignore=-100)
    for targets in (y.astype(kind), Tensor(y.astype(kind)), np.asfortranarray(y.astype(kind))):
        assert float(cross_entropy(z, targets, ignore=-100)) == float(expected)
    largest = np.iinfo(kind).max
    with pytest.raises(ValueError, match=rf"got {largest} at position \(1,\)"):
        cross_entropy(z, np.array([0, largest, 0], kind))
    ignored = cross_entropy(z, np.array([0, largest, 2], kind), ignore=int(largest))
    assert float(ignored) == pytest.approx(float(cross_entropy(z[[0, 2]], [0, 2])), rel=1e-15)


def test_what_comes_in_stays_as_it_is():
    for scale in (1.0, 100.0):
        z, y = some((4, 5), scale=scale)
        before, ids = z.copy(), y.copy()
        backward(z, y, label_smoothing=0.1, ignore=1)
        np.testing.assert_array_equal(z, before)
        np.testing.assert_array_equal(y, ids)
        # of any layout
        expected = backward(z, y)
        np.testing.assert_array_equal(backward(np.asfortranarray(z), y), expected)
        np.testing.assert_array_equal(backward(np.repeat(z, 2, axis=1)[:, ::2], y), expected)


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("keywords", SETTINGS.values(), ids=SETTINGS)
def test_a_second_sweep_finds_what_the_first_used_up(scale, keywords):
    z, y = some((4, 5), scale=scale)
    z = Tensor(z, requires_grad=True)
    loss = cross_entropy(z, y, **keywords).sum()
    loss.backward(retain_graph=True)
    first = z.grad.copy()
    loss.backward(retain_graph=True)
    loss.backward()
    np.testing.assert_allclose(z.grad, 3 * first, **CLOSE)


def test_two_uses_of_the_same_logits():
    z, y = some((4, 5))
    z = Tensor(z, requires_grad=True)
    (cross_entropy(z, y) + 2 * cross_entropy(z, y[::-1].copy())).backward()
    np.testing.assert_allclose(z.grad, backward(z.data, y) + 2 * backward(z.data, y[::-1]), **CLOSE)
    with no_grad():
        assert not cross_entropy(z, y).requires_grad


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_logits_is_that_of_everything(dtype):
    z, y = some((4, 5))
    for keywords in SETTINGS.values():
        assert cross_entropy(z.astype(dtype), y, **keywords).dtype == dtype
        assert backward(z.astype(dtype), y, **keywords).dtype == dtype


def test_a_share_of_numpy_s_own_type_does_not_widen_the_loss():
    z, y = some((4, 5))
    for f in (cross_entropy, reference_cross_entropy):
        assert f(z.astype(np.float32), y, label_smoothing=np.float64(0.25)).dtype == np.float32


@pytest.mark.parametrize("f", [cross_entropy, reference_cross_entropy])
@pytest.mark.parametrize("target", [2, -1])
def test_a_single_position_that_does_not_count(f, target):
    z = np.array([0.0, 1.0, -np.inf])
    for reduction in ("sum", "none"):
        assert f(z, target, ignore=target, reduction=reduction) == 0
        assert not grad(lambda z, r=reduction: f(z, target, ignore=target, reduction=r))(z).any()


def test_a_token_that_cannot_come():
    for z in (np.array([[0.0, -np.inf, 0.0]]), np.array([[0.0, -np.inf, 200.0]])):
        assert np.isfinite(cross_entropy(z, [0]))
        assert backward(z, [0])[0, 1] == 0
        assert cross_entropy(z, [1]) == np.inf
        for f in (cross_entropy, reference_cross_entropy):
            assert f(np.concatenate([z, z]), [0, 1], ignore=1) == f(z, [0])
            # and an ignored row's first score may be that one
            assert f(np.concatenate([z, z[:, [1, 0, 2]]]), [0, 9], ignore=9) == f(z, [0])


def test_an_unlikely_token_in_single_precision():
    """e**80 and e**-30 are in its range, and their quotient is not."""
    assert cross_entropy(np.array([80, -30], np.float32), 1) == pytest.approx(110, rel=1e-6)
    assert backward(np.array([80, -30], np.float32), 1).tolist() == [1, -1]


@repeatable
@given(st.integers(0, 2**32), st.sampled_from([0.1, 5.0, 40.0, 300.0]), st.sampled_from([np.float32, np.float64]))
def test_a_loss_is_never_negative(seed, scale, dtype):
    rng = np.random.default_rng(seed)
    z = (rng.normal(size=(7, 5)) * scale).astype(dtype)
    losses = cross_entropy(z, z.argmax(axis=1), reduction="none")
    assert (losses >= 0).all()
    assert not np.signbit(losses).any()
    alone = cross_entropy(z[:, :1], np.zeros(7, int), reduction="none")
    assert not alone.any()
    assert not np.signbit(alone).any()


@pytest.mark.parametrize(("scale", "V"), [(1.0, 50257), (20.0, 1009), (1e4, 65)])
def test_single_precision_is_as_exact_as_proven(scale, V):
    z, y = some((11, V), scale=scale)
    z = z.astype(np.float32)
    exact = z.astype(np.float64)
    losses, slopes = cross_entropy(z, y, reduction="none"), backward(z, y)
    size = np.abs(exact).max() + np.log(V)
    # the log-sum-exp, and one rounding each of z_y - c and of the difference
    bound = logsumexp_error(V, size) + 2.0**-23 * 2 * size
    assert np.abs(losses - cross_entropy(exact, y, reduction="none")).max() <= bound
    # a probability is off by the share by which its exponent is
    assert np.abs(slopes - backward(exact, y)).max() <= np.expm1(2 * bound) / 11


# --- the claims


@pytest.mark.claim("neural.cross-entropy-gradient")
def test_the_gradient_in_symbols():
    """With e**z_i as a symbol of its own every slope is a quotient of polynomials."""
    z, w = sympy.symbols("z:3", real=True), sympy.symbols("w:3", positive=True)
    q = [*sympy.symbols("q:2", real=True)]
    q.append(1 - sum(q))
    total = sum(map(sympy.exp, z))
    p = [sympy.exp(x) / total for x in z]
    loss = -sum(a * sympy.log(b) for a, b in zip(q, p, strict=True))

    def is_zero(slope):
        return sympy.cancel(slope.subs(dict(zip(map(sympy.exp, z), w, strict=True)))) == 0

    for i, x in enumerate(z):
        assert is_zero(sympy.diff(loss, x) - (p[i] - q[i]))
        for j, other in enumerate(z):
            assert is_zero(sympy.diff(loss, x, other) - (p[i] * int(i == j) - p[i] * p[j]))


@pytest.mark.claim("neural.cross-entropy-gradient")
def test_the_gradient_is_what_is_there_less_what_is_wanted():
    z, y = some((3, 5))
    p = softmax(z)
    np.testing.assert_allclose(backward(z, y, reduction="sum"), p - np.eye(5)[y], **CLOSE)
    wanted = 0.7 * np.eye(5)[y] + 0.3 / 5
    np.testing.assert_allclose(backward(z, y, reduction="sum", label_smoothing=0.3), p - wanted, **CLOSE)
    for token in range(5):
        np.testing.assert_allclose(
            hessian(lambda z, y=token: cross_entropy(z, y))(z[0]), softmax_jacobian(p[0]), **CLOSE
        )


@pytest.mark.claim("neural.cross-entropy-convex")
@repeatable
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_the_loss_of_a_linear_model_lies_below_its_chords(seed, w):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(7, 3)), rng.integers(0, 5, 7)
    W, W2 = rng.normal(size=(2, 3, 5)) * rng.choice([0.1, 1, 10], size=(2, 1, 1))
    b, b2 = rng.normal(size=(2, 5))

    def loss(W, b):
        return float(cross_entropy(x @ W + b, y, label_smoothing=0.1))

    chord = (1 - w) * loss(W, b) + w * loss(W2, b2)
    assert loss((1 - w) * W + w * W2, (1 - w) * b + w * b2) <= chord * (1 + 1e-13) + 1e-13


@pytest.mark.claim("neural.cross-entropy-convex")
def test_where_a_linear_model_has_no_slope_nothing_is_better():
    """The table of counts, all of them positive, is such a point."""
    rng = np.random.default_rng(3)
    contexts = np.repeat(np.arange(3), 12)
    tokens = np.concatenate([np.arange(36) % 4])
    tokens[::5] = 2
    counts = np.zeros((3, 4))
    np.add.at(counts, (contexts, tokens), 1)
    assert (counts > 0).all()
    best = np.log(counts / counts.sum(axis=1, keepdims=True))

    def loss(W):
        return cross_entropy(W[contexts], tokens)

    assert np.abs(grad(loss)(best)).max() < 1e-15
    for scale in (0.01, 0.1, 1.0, 10.0):
        for _ in range(20):
            assert loss(best + scale * rng.normal(size=(3, 4))) > loss(best)


def distributions(denominator, V):
    return [
        tuple(Fraction(n, denominator) for n in counts)
        for counts in product(range(denominator + 1), repeat=V)
        if sum(counts) == denominator
    ]


@pytest.mark.claim("neural.proper-score")
def test_honesty_is_cheapest_among_all_beliefs_in_sixths():
    """Exhaustive: three tokens, all truths and all beliefs; and of two other scores."""
    beliefs = distributions(6, 3)

    def cheapest(P, S):
        costs = {q: sum(float(P[y]) * S(q, y) for y in range(3) if P[y]) for q in beliefs}
        least = min(costs.values())
        return [q for q, cost in costs.items() if cost < least + 1e-12]

    logarithmic = lambda q, y: -np.log(float(q[y])) if q[y] else np.inf  # noqa: E731
    linear = lambda q, y: 1 - float(q[y])  # noqa: E731
    for P in beliefs:
        assert cheapest(P, logarithmic) == [P]
    assert cheapest((Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)), linear) == [(1, 0, 0)]


@pytest.mark.claim("neural.nll-is-cross-entropy")
def test_the_mean_loss_is_the_cross_entropy_with_what_was_observed():
    """Exhaustive: all texts of four pairs of two contexts and two tokens, three models of tenths."""
    models = np.array([[[0.1, 0.9], [0.5, 0.5]], [[0.3, 0.7], [0.8, 0.2]], [[0.5, 0.5], [0.25, 0.75]]])
    for contexts, tokens in product(product((0, 1), repeat=4), repeat=2):
        counts = np.zeros((2, 2))
        np.add.at(counts, (np.array(contexts), np.array(tokens)), 1)
        share = counts.sum(axis=1) / 4
        observed = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        here = [c for c in range(2) if share[c]]
        floor = sum(share[c] * float(information.entropy(observed[c])) for c in here)
        for q in models:
            loss = float(cross_entropy(np.log(q[list(contexts)]), list(tokens)))
            against = sum(share[c] * float(information.cross_entropy(observed[c], q[c])) for c in here)
            assert loss == pytest.approx(against, rel=1e-13)
            assert loss >= floor - 1e-14
            assert (loss < floor + 1e-12) == all(np.allclose(observed[c], q[c]) for c in here)


@pytest.mark.claim("neural.label-smoothing")
@pytest.mark.parametrize("epsilon", [0.01, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("P", [(0.0, 1.0, 0.0), (0.5, 0.5, 0.0), (0.2, 0.3, 0.5)])
def test_where_the_smoothed_loss_is_least(epsilon, P):
    P = np.array(P)
    best = (1 - epsilon) * P + epsilon / 3

    def mean(z):
        return sum(P[y] * cross_entropy(z, y, label_smoothing=epsilon) for y in range(3))

    z = np.log(best)
    assert np.abs(grad(mean)(z)).max() < 1e-15
    assert float(mean(z)) == pytest.approx(float(information.entropy(best)), rel=1e-13)
    rng = np.random.default_rng(4)
    for scale in (0.01, 0.1, 1.0, 10.0):
        step = scale * rng.normal(size=3)
        assert mean(z + step) > mean(z)
        assert mean(z + scale) == pytest.approx(float(mean(z)), rel=1e-12)  # the scores are free in common
    if P.max() == 1:
        np.testing.assert_allclose(z[1] - z[[0, 2]], np.log(1 + (1 - epsilon) * 3 / epsilon), **CLOSE)


@pytest.mark.claim("neural.label-smoothing")
def test_without_smoothing_the_loss_falls_for_ever():
    losses = [float(cross_entropy(np.array([s, 0.0, 0.0]), 0)) for s in range(30)]
    assert all(b < a for a, b in pairwise(losses))
    assert 0 < losses[-1] < 1e-12
    z, _ = some((50, 3), scale=5.0)
    assert (cross_entropy(z, np.zeros(50, int), reduction="none") > 0).all()


# --- the other losses


@pytest.mark.parametrize("keywords", [{}, {"ignore": 2}, {"reduction": "sum"}, {"reduction": "none", "ignore": 0}])
def test_nll_of_a_log_softmax_is_the_cross_entropy(keywords):
    z, y = some((2, 3, 5))
    np.testing.assert_allclose(nll(log_softmax(z), y, **keywords), cross_entropy(z, y, **keywords), **CLOSE)
    gradcheck(lambda z: nll(log_softmax(z), y, **keywords), z)


def test_nll_of_what_is_no_logarithm():
    z, y = some((2, 3, 5))
    with pytest.raises(ValueError, match=r"at most 0, got 0\.[0-9]+: pass log_softmax"):
        nll(softmax(z), y)
    with pytest.raises(ValueError, match="at most 0, got nan"):
        nll(np.full((2, 3, 5), np.nan), y)


def test_mse_by_hand_and_by_differences():
    x, y = np.random.default_rng(5).normal(size=(2, 3, 5))
    assert float(mse(x, y)) == pytest.approx(sum((a - b) ** 2 for a, b in zip(x.flat, y.flat, strict=True)) / 15)
    assert float(mse(x, y, reduction="sum")) == pytest.approx(15 * float(mse(x, y)), rel=1e-14)
    np.testing.assert_array_equal(mse(x, y, reduction="none"), (x - y) ** 2)
    np.testing.assert_allclose(grad(mse)(x, y), 2 * (x - y) / 15, **CLOSE)
    gradcheck(mse, x, y)


# --- bad input


@pytest.mark.parametrize("f", [cross_entropy, reference_cross_entropy])
def test_bad_input(f, shapes_unchecked):
    z, y = some((3, 5))
    with pytest.raises(ValueError, match=r"ids from 0 to 4 of the 5 tokens .* got 5 at position \(2,\)"):
        f(z, [0, 1, 5])
    with pytest.raises(ValueError, match=r"got -1 at position \(1,\)"):
        f(z, [0, -1, 5])
    with pytest.raises(ValueError, match=r"got 7 at position \(\)"):
        f(z[0], 7)
    with pytest.raises(ValueError, match=r"logits of shape \(3, 5\) need targets of shape \(3,\), got \(2,\)"):
        f(z, y[:2])
    with pytest.raises(TypeError, match="whole numbers, got float64"):
        f(z, y.astype(float))
    with pytest.raises(TypeError, match="whole numbers, got bool"):
        f(z, y > 0)
    for wrong, got in [
        (z.astype(int), "int64"),
        (z.astype(np.float16), "float16"),
        (np.float64(3), "float64 of shape"),
    ]:
        with pytest.raises(TypeError, match=f"float32 or float64 .* got {got}"):
            f(wrong, y)
    with pytest.raises(TypeError, match="got list"):
        f(z.tolist(), y)
    with pytest.raises(TypeError, match=r"shape \(3, 0\)"):
        f(z[:, :0], y)
    with pytest.raises(ValueError, match=r"label_smoothing is a share, at least 0 and below 1, got 1\.0"):
        f(z, y, label_smoothing=1.0)
    with pytest.raises(ValueError, match="reduction is 'mean', 'sum' or 'none', got 'max'"):
        f(z, y, reduction="max")
    with pytest.raises(ValueError, match="of 3 positions none counts, every target is ignore=1"):
        f(z, [1, 1, 1], ignore=1)
    with pytest.raises(ValueError, match="of 0 positions none counts"):
        f(z[:0], [])


def test_nothing_to_add_up():
    z, _ = some((3, 5))
    assert cross_entropy(z[:0], [], reduction="sum") == 0
    assert cross_entropy(z[:0], [], reduction="none").shape == (0,)
    assert cross_entropy(z, [1, 1, 1], ignore=1, reduction="sum") == 0
    assert backward(z[:0], [], reduction="sum").shape == (0, 5)
    assert not backward(z, [1, 1, 1], ignore=1, reduction="sum").any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_a_number_says_why(bad):
    z, y = some((2, 3, 5))
    z[1, 0, 4] = bad
    for logits in (z, z.astype(np.float32), Tensor(z, requires_grad=True)):
        with pytest.raises(
            ValueError, match=rf"1 of the 30 logits are NaN or infinite, the first is {bad} at \(1, 0, 4\)"
        ):
            cross_entropy(logits, y)
    with pytest.raises(ValueError, match="the loss is not a number"):
        cross_entropy(z, y, reduction="none")
    z[1, 0] = -np.inf
    with pytest.raises(ValueError, match=r"all logits at position \(1, 0\) are -inf"):
        cross_entropy(z, y)


def test_bad_input_of_mse(shapes_unchecked):
    with pytest.raises(ValueError, match=r"arrays of one shape, got \(3,\) and \(3, 1\)"):
        mse(np.zeros(3), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="mean of no number"):
        mse(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(ValueError, match="reduction is"):
        mse(np.zeros(3), np.zeros(3), reduction="max")
