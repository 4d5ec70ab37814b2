"""Width: what a first step moves, in closed form, in samples, and in small transformers."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd.functional import grad
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer
from fp_transformer.mup import coordinate_check, first_step, mup_multipliers, roles

EXACT = 1e-12  # sums of some dozens of numbers of size one in float64
KAPPA = math.sqrt(2 / math.pi)


def network(n: int, sigma: float, seed: int, d: int = 3):
    """(E1) with an input of length one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=d)
    return (
        x / np.linalg.norm(x),
        rng.normal(size=(n, d)),
        rng.normal(size=(n, n)) / math.sqrt(n),
        rng.normal(size=n) * sigma,
    )


def gradients(x, U, W, v, chi):
    """Of chi f in U, W and v, by the engine."""
    return tuple(grad(lambda *w: chi * (w[2] @ (w[1] @ (w[0] @ x))), k)(U, W, v) for k in range(3))


@pytest.mark.claim("transformer.mup-sgd")
@settings(max_examples=10)
@given(st.integers(1, 7), st.floats(0.1, 3), st.sampled_from([-1.5, 0.5, 2.0]), st.integers(0, 2**32))
def test_what_a_step_of_descent_moves_exactly(n, sigma, chi, seed):
    x, U, W, v = network(n, sigma, seed)
    h = U @ x
    z = W @ h
    dU, dW, dv = (-0.3 * g for g in gradients(x, U, W, v, chi))
    assert np.allclose(dv @ z, -0.3 * chi * z @ z, atol=EXACT)
    assert np.allclose(dW @ h, -0.3 * chi * (h @ h) * v, atol=1e-10)
    assert np.allclose(dU @ x, -0.3 * chi * W.T @ v, atol=EXACT)
    assert np.allclose(v @ dW @ h, -0.3 * chi * (h @ h) * (v @ v), atol=1e-10)
    assert np.allclose(v @ W @ dU @ x, -0.3 * chi * np.sum((W.T @ v) ** 2), atol=1e-10)


@pytest.mark.claim("transformer.mup-adam")
@settings(max_examples=10)
@given(st.integers(1, 7), st.floats(0.1, 3), st.sampled_from([-1.5, 0.5, 2.0]), st.integers(0, 2**32))
def test_what_a_step_of_signs_moves_exactly(n, sigma, chi, seed):
    x, U, W, v = network(n, sigma, seed)
    h = U @ x
    z, back, s, p = W @ h, W.T @ v, np.sign(chi), np.abs(x).sum()
    dU, dW, dv = (-0.3 * np.sign(g) for g in gradients(x, U, W, v, chi))
    assert np.allclose(dv @ z, -0.3 * s * np.abs(z).sum(), atol=EXACT)
    assert np.allclose(dW @ h, -0.3 * s * np.sign(v) * np.abs(h).sum(), atol=EXACT)
    assert np.allclose(dU @ x, -0.3 * s * np.sign(back) * p, atol=EXACT)
    assert np.allclose(v @ dW @ h, -0.3 * s * np.abs(v).sum() * np.abs(h).sum(), atol=EXACT)
    assert np.allclose(v @ W @ dU @ x, -0.3 * s * np.abs(back).sum() * p, atol=EXACT)


def mean_within(samples: np.ndarray, low: float, high: float | None = None) -> bool:
    """Within four standard errors of a number, or of an interval; that is under a twelfth of it."""
    error = 4 * samples.std() / math.sqrt(len(samples))
    assert error < low / 12
    return low - error <= samples.mean() <= (low if high is None else high) + error


@pytest.mark.claim("transformer.mup-sgd")
@pytest.mark.claim("transformer.mup-adam")
@pytest.mark.parametrize("n", [5, 17])
def test_means_over_the_weights(n):
    draws, sigma = 12_000, 0.6
    rng = np.random.default_rng(n)
    h = rng.normal(size=(draws, n))  # U x for an x of length one
    W = rng.normal(size=(draws, n, n)) / math.sqrt(n)
    v = rng.normal(size=(draws, n)) * sigma
    z, back = np.einsum("dij,dj->di", W, h), np.einsum("dij,di->dj", W, v)

    def squares(a):
        return np.sum(a * a, axis=-1)

    def sizes(a):
        return np.abs(a).sum(axis=-1)

    assert mean_within(squares(z), n)
    assert mean_within(squares(h) ** 2 * squares(v) / n, sigma**2 * n * (n + 2))
    assert mean_within(back[:, 0] ** 2, sigma**2)  # each entry
    assert mean_within(squares(h) * squares(v), n**2 * sigma**2)
    assert mean_within(squares(back), n * sigma**2)
    assert mean_within(sizes(z), KAPPA**2 * n, KAPPA * n)
    assert mean_within(sizes(h), KAPPA * n)
    assert mean_within(sizes(v) * sizes(h), KAPPA**2 * n**2 * sigma)
    assert mean_within(sizes(back), KAPPA**2 * n * sigma, KAPPA * n * sigma)


def test_moments_by_algebra():
    t, n = sympy.symbols("t n", positive=True)
    density = sympy.exp(-(t**2) / 2) / sympy.sqrt(2 * sympy.pi)
    assert sympy.integrate(t**4 * density, (t, -sympy.oo, sympy.oo)) == 3
    assert sympy.simplify(2 * sympy.integrate(t * density, (t, 0, sympy.oo)) - sympy.sqrt(2 / sympy.pi)) == 0
    assert sympy.expand(3 * n + n * (n - 1) - n * (n + 2)) == 0


def orders(optimizer: str, sigma, eta_v, eta_W, eta_U):
    """The powers of n of the five lines, if sizes and rates are powers of n."""
    if optimizer == "sgd":
        return eta_v + 1, eta_W + sigma + 1, eta_U + sigma, eta_W + 2 + 2 * sigma, eta_U + 1 + 2 * sigma
    return eta_v + 1, eta_W + 1, eta_U, eta_W + 2 + sigma, eta_U + 1 + sigma


@pytest.mark.claim("transformer.mup-sgd")
@pytest.mark.claim("transformer.mup-adam")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_no_other_powers_of_the_width_will_do(optimizer):
    """All combinations of powers in steps of one half: those that keep the first three and bound the rest."""
    halves = [k / 2 for k in range(-4, 5)]
    found = [
        (sigma, v, W, U)
        for sigma in halves
        for v in halves
        for W in halves
        for U in halves
        if orders(optimizer, sigma, v, W, U)[:3] == (0, 0, 0) and max(orders(optimizer, sigma, v, W, U)) <= 0
    ]
    assert max(found)[0] == -1  # the largest size is 1 / n
    (best,) = [f for f in found if f[0] == -1]
    exponents = [
        math.log2(getattr(mup_multipliers(role, 2, optimizer), what))
        for role, what in (("output", "deviation"), ("output", "rate"), ("hidden", "rate"), ("input", "rate"))
    ]
    assert list(best) == exponents


@pytest.mark.claim("transformer.standard-freezes")
def test_standard_sizes_blow_up_or_freeze():
    n, eta, chi = sympy.symbols("n eta chi", positive=True)
    sigma2 = 1 / n
    f = eta * chi * (n + n**2 * sigma2 + n * sigma2)
    assert sympy.simplify(f - eta * chi * (2 * n + 1)) == 0
    c = sympy.symbols("c", positive=True)
    z = sympy.sqrt((eta**2 * chi**2 * sigma2 * n * (n + 2)).subs(eta, c / n))
    h = sympy.sqrt((eta**2 * chi**2 * sigma2).subs(eta, c / n))
    assert sympy.simplify(z - c * chi / sympy.sqrt(n) * sympy.sqrt(1 + 2 / n)) == 0
    assert sympy.simplify(h - c * chi / n ** sympy.Rational(3, 2)) == 0
    draws = 3000
    for width in (4, 16):
        total = np.zeros(draws)
        for i in range(draws):
            x, U, W, v = network(width, width**-0.5, i)
            dU, dW, dv = (-g for g in gradients_by_hand(x, U, W, v))
            total[i] = -(dv @ (W @ (U @ x)) + v @ (dW @ (U @ x)) + v @ (W @ (dU @ x)))
        error = 4 * total.std() / math.sqrt(draws)
        assert abs(total.mean() - (2 * width + 1)) < error < 0.15 * width


def gradients_by_hand(x, U, W, v):
    h = U @ x
    return np.outer(W.T @ v, x), np.outer(v, h), W @ h


# --- the code


@pytest.mark.claim("transformer.mup-sgd")
@pytest.mark.claim("transformer.mup-adam")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_first_step_is_flat_in_width(optimizer):
    """Medians of 9 draws; by the standard the output moves by another order."""

    def effects(width, rules):
        rng = np.random.default_rng(7)
        return np.median([first_step(width, rules, optimizer, rng=rng) for _ in range(9)], axis=0)

    flat = effects(256, "mup") / effects(16, "mup")
    assert (flat > 0.6).all()
    assert (flat < 1.6).all()
    standard = effects(256, "standard") / effects(16, "standard")
    # f_by_v grows with n, f_by_W with n (descent: n^2 sigma^2) or n^{3/2}; sixteen times the width
    assert standard[0] > 8
    assert standard[3] > (8 if optimizer == "sgd" else 32)


def test_first_step_is_the_network():
    """At the base width, against the closed form of signs."""
    rng = np.random.default_rng(3)
    got = first_step(8, "mup", "adam", rng=np.random.default_rng(3), rate=0.5, base=8)
    x = rng.normal(size=3)
    x /= np.linalg.norm(x)
    U, W, v = rng.normal(size=(8, 3)), rng.normal(size=(8, 8)) / 8**0.5, rng.normal(size=8) / 8**0.5
    h, p = U @ x, np.abs(x).sum()
    expected = [
        0.5 / 8 * np.abs(W @ h).sum(),
        0.5 / 8 * np.abs(h).sum(),
        0.5 * p,
        0.5 / 8 * np.abs(v).sum() * np.abs(h).sum(),
        0.5 * p * np.abs(W.T @ v).sum(),
    ]
    assert np.allclose(got, expected, rtol=1e-12)


@pytest.mark.claim("transformer.abc-symmetry")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_multiplier_can_be_moved_into_size_and_rate(optimizer):
    rng = np.random.default_rng(1)
    target, w = rng.normal(size=(2, 5))
    m, eta = 3.0, 0.1

    def train(w, multiplier, rate):
        mean, square, outputs = np.zeros(5), np.zeros(5), []
        for t in range(1, 6):
            outputs.append(multiplier * w)
            g = grad(lambda w: ((multiplier * w - target) ** 2).sum())(w)
            if optimizer == "sgd":
                w = w - rate * g
            else:
                mean, square = 0.9 * mean + 0.1 * g, 0.99 * square + 0.01 * g * g
                w = w - rate * (mean / (1 - 0.9**t)) / np.sqrt(square / (1 - 0.99**t))
        return np.array(outputs)

    moved = train(w / m, m, eta / (m * m if optimizer == "sgd" else m))
    assert np.allclose(moved, train(w, 1.0, eta), rtol=0, atol=EXACT)
    assert not np.allclose(train(w / m, m, eta), train(w, 1.0, eta), atol=0.01)


@pytest.mark.claim("transformer.inverse-width-attention")
@settings(max_examples=15)
@given(st.integers(1, 9), st.floats(0.01, 2), st.integers(0, 2**32))
def test_scores_after_a_step_on_the_query(D, alpha, seed):
    rng = np.random.default_rng(seed)
    A, x, k = rng.normal(size=(D, 4)), rng.normal(size=4), rng.normal(size=D)
    chi, eta = -1.3, 0.2
    dA = -eta * grad(lambda A: chi * alpha * ((A @ x) @ k))(A)
    c = -eta * chi * alpha * (x @ x)
    assert np.allclose(dA @ x, c * k, atol=EXACT)
    assert np.isclose(alpha * (((A + dA) @ x) @ k - (A @ x) @ k), alpha * c * (k @ k), rtol=1e-9, atol=1e-11)


@pytest.mark.claim("transformer.inverse-width-attention")
def test_scores_of_keys_that_were_found_grow_with_the_width():
    sizes = {}
    for D in (16, 1024):
        q, k = np.random.default_rng(D).normal(size=(2, 200, D))
        before, after = np.sum(q * k, axis=1), np.sum((q + k) * k, axis=1)
        sizes[D] = [
            np.sqrt(np.mean((before / math.sqrt(D)) ** 2)),
            np.mean((after - before) / math.sqrt(D)),
            np.mean((after - before) / D),
        ]
    ratio = np.array(sizes[1024]) / np.array(sizes[16])
    # at the start the root is right; of what training adds, the whole width: 64 times as wide, 8 or 1 times as much
    assert np.allclose(ratio, [1, 8, 1], rtol=0.2)


def test_multipliers_by_the_table():
    n = 16
    table = {
        ("input", "sgd"): (1, n),
        ("input", "adam"): (1, 1),
        ("vector", "sgd"): (1, n),
        ("vector", "adam"): (1, 1),
        ("hidden", "sgd"): (1 / 4, 1),
        ("hidden", "adam"): (1 / 4, 1 / n),
        ("output", "sgd"): (1 / n, 1 / n),
        ("output", "adam"): (1 / n, 1 / n),
    }
    for (role, optimizer), expected in table.items():
        assert mup_multipliers(role, n, optimizer) == expected
        size = 1 / 4 if role in ("hidden", "output") else 1
        assert mup_multipliers(role, n, optimizer, "standard") == (size, 1)
        assert mup_multipliers(role, 1, optimizer) == (1, 1)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_roles(family):
    config = getattr(TransformerConfig, family)(
        vocab_size=11, context_length=7, n_layers=2, n_heads=2, d_model=12, tied=False
    )
    model = Transformer(config)
    found = roles(model)
    assert list(found) == list(model.named_parameters())
    assert found["output.weight"] == "output"
    inputs = [name for name, role in found.items() if role == "input"]
    assert len(inputs) == (2 if family == "gpt2" else 1)
    for name, p in model.named_parameters().items():
        assert (found[name] == "vector") == (p.ndim == 1)
        if name.startswith("blocks") and p.ndim == 2:
            assert found[name] == "hidden"


@pytest.mark.claim("transformer.mup-adam")
def test_transformers_move_alike_at_all_widths():
    """Fixed seeds. Eight times the width: flat by the table, growing by the standard."""
    table = coordinate_check((16, 32, 128), "mup", seeds=2)
    standard = coordinate_check((16, 32, 128), "standard", seeds=2)
    assert table.widths == (16, 32, 128)
    assert np.allclose(table.stream[0], standard.stream[0], rtol=1e-3)  # the same models at the first width
    assert table.stream.shape == table.logits.shape == (3,)
    assert 0.7 < table.stream[-1] / table.stream[0] < 1.4
    assert 0.6 < table.logits[-1] / table.logits[0] < 1.4
    assert standard.stream[-1] / standard.stream[0] > 2
    assert standard.logits[-1] / standard.logits[0] > 1.6


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mup_multipliers("bias", 2), "'input', 'vector', 'hidden' or 'output', got 'bias'"),
        (lambda: mup_multipliers("hidden", 2, "lion"), "'sgd' and 'adam', got 'lion'"),
        (lambda: mup_multipliers("hidden", 2, rules="ntk"), "'mup' or 'standard', got 'ntk'"),
        (lambda: mup_multipliers("hidden", 0), "positive, got 0"),
        (lambda: mup_multipliers("hidden", math.nan), "positive, got nan"),
        (lambda: coordinate_check(()), r"multiples of d_head = 8, at least one of them, got \(\)"),
        (lambda: coordinate_check((16, 20)), r"got \(16, 20\)"),
        (
            lambda: roles(
                Transformer(
                    TransformerConfig.llama(vocab_size=5, context_length=4, n_layers=1, n_heads=1, d_model=4, tied=True)
                )
            ),
            "two roles: build the model with tied=False",
        ),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
