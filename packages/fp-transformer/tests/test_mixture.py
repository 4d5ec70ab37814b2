"""Mirrors src/fp_transformer/mixture.py. Sizes are distinct primes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import gradcheck, vjp
from fp_autograd.tensor import Tensor
from fp_transformer.mixture import MixtureOfExperts, balance_loss, reference_mixture

C, F, E, N = 5, 3, 7, 11


def made(k, renormalise=None, seed=0):
    layer = MixtureOfExperts(C, F, E, k, rng=np.random.default_rng(seed), renormalise=renormalise, dtype=np.float64)
    return layer.freeze(), np.random.default_rng(seed + 1).normal(size=(N, C))


CASES = [(1, False), (2, True), (2, False), (3, True), (E, True), (E, False)]


@pytest.mark.parametrize(("k", "renormalise"), CASES)
def test_sorted_by_expert_is_every_expert_on_every_token(k, renormalise):
    layer, x = made(k, renormalise)
    np.testing.assert_allclose(np.asarray(layer(x)), np.asarray(reference_mixture(layer, x)), rtol=1e-11, atol=1e-13)
    deep = np.asarray(layer(x.reshape(1, N, C)))
    np.testing.assert_array_equal(deep, np.asarray(layer(x))[None])


@pytest.mark.parametrize(("k", "renormalise"), [(1, False), (2, True)])
def test_derivatives_of_both_orders(k, renormalise):
    layer = MixtureOfExperts(2, 3, 3, k, rng=np.random.default_rng(1), renormalise=renormalise, dtype=np.float64)
    x = np.random.default_rng(2).normal(size=(5, 2))
    assert np.abs(np.diff(np.sort(x @ layer.router.weight.data.T, axis=1))).min() > 1e-2  # far from ties
    gradcheck(lambda state, x: layer.functional(state, x), layer.state_dict(), x)


@pytest.mark.parametrize(("k", "renormalise"), CASES)
def test_every_parameter_has_its_gradient(k, renormalise):
    """Away from ties: scores in and outside of the choice differ by far more than the steps of the check."""
    layer, x = made(k, renormalise)
    r = np.sort(x @ layer.router.weight.data.T, axis=1)
    assert k == E or (r[:, E - k] - r[:, E - k - 1]).min() > 1e-3
    layer.unfreeze()
    g = np.random.default_rng(5).normal(size=(N, C))
    grads = []
    for f in (layer, lambda x: reference_mixture(layer, x)):
        layer.zero_grad()
        t = Tensor(x, requires_grad=True)
        f(t).backward(g)
        grads.append([t.grad, *(np.zeros(p.shape) if p.grad is None else p.grad for p in layer.parameters())])
    for ours, dense in zip(*grads, strict=True):
        np.testing.assert_allclose(ours, dense, atol=1e-12)


def test_by_hand():
    """Two experts chosen of three, with the weights 3/4 and 1/4."""
    layer = MixtureOfExperts(1, 1, 3, 2, rng=None, dtype=np.float64).freeze()
    layer.router.weight.data[:] = [[0.0], [math.log(3)], [-5.0]]
    for e, expert in enumerate(layer.experts):
        expert.gate_proj.weight.data[:] = math.log(3)  # silu is 3/4 ln 3
        expert.up_proj.weight.data[:] = e + 1
        expert.down_proj.weight.data[:] = 4 / 3 / math.log(3)
    y, routing = layer.routed(np.ones((1, 1)))
    np.testing.assert_array_equal(routing.chosen, [[1, 0]])
    np.testing.assert_allclose(np.asarray(routing.weights), [[0.75, 0.25]], rtol=1e-15)
    np.testing.assert_allclose(np.asarray(y), [[0.75 * 2 + 0.25 * 1]], rtol=1e-14)


def test_ties_go_to_the_smaller_number():
    layer = MixtureOfExperts(C, F, E, 2, rng=None)
    np.testing.assert_array_equal(layer.route(np.ones((3, C), np.float32)).chosen, [[0, 1]] * 3)


@pytest.mark.claim("transformer.router-gradient")
@pytest.mark.parametrize("renormalise", [True, False])
def test_gradient_of_the_scores(renormalise):
    """(E3) and (E4), and the choice is the same nearby."""
    k = 3
    layer, x = made(k, renormalise, seed=3)
    g = np.random.default_rng(9).normal(size=(N, C))
    r = x @ layer.router.weight.data.T
    p = np.exp(r) / np.exp(r).sum(axis=1, keepdims=True)
    r_bar = np.zeros((N, E))
    for t in range(N):
        S = sorted(range(E), key=lambda e, t=t: -r[t, e])[:k]
        c = {e: float(g[t] @ np.asarray(layer.experts[e](x[t : t + 1]))[0]) for e in S}
        w = {e: p[t, e] / (sum(p[t, h] for h in S) if renormalise else 1) for e in S}
        mean = sum(w[e] * c[e] for e in S)
        for e in range(E):
            if renormalise:
                r_bar[t, e] = w[e] * (c[e] - mean) if e in S else 0
            else:
                r_bar[t, e] = p[t, e] * ((c[e] if e in S else 0) - mean)
    W = layer.router.weight.data
    found = vjp(lambda W: layer.functional({"router.weight": W}, x), W)[1](g)[0]
    np.testing.assert_allclose(np.asarray(found), r_bar.T @ x, rtol=1e-11, atol=1e-13)
    gaps = np.sort(r, axis=1)[:, E - k] - np.sort(r, axis=1)[:, E - k - 1]
    moved = r + np.random.default_rng(2).uniform(-0.499, 0.499, r.shape) * gaps[:, None]
    for before, after in zip(r, moved, strict=True):
        assert set(np.argsort(-before)[:k]) == set(np.argsort(-after)[:k])


@pytest.mark.claim("transformer.router-frozen")
def test_a_single_renormalised_choice_freezes_the_router():
    layer, x = made(1, False)
    layer.renormalise = True  # what the constructor refuses
    W, g = layer.router.weight.data, np.random.default_rng(9).normal(size=(N, C))

    def slope():
        return np.asarray(vjp(lambda W: layer.functional({"router.weight": W}, x), W)[1](g)[0])

    np.testing.assert_array_equal(slope(), 0)
    layer.renormalise = False
    assert np.abs(slope()).max() > 1e-3


def shares(chosen, n):
    return np.bincount(np.ravel(chosen), minlength=n) / np.size(chosen)


@pytest.mark.claim("transformer.balance-loss")
@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 10**6))
def test_balance_is_one_plus_the_pairs(n, tokens, seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, n + 1))
    p = rng.dirichlet(np.full(n, 0.5), size=tokens)
    chosen = np.argsort(-p, axis=1)[:, :k]
    phi, P = shares(chosen, n), p.mean(axis=0)
    L = float(balance_loss(p, chosen))
    pairs = sum((phi[e] - phi[h]) * (P[e] - P[h]) for e, h in itertools.product(range(n), repeat=2))
    assert abs(L - 1 - pairs / 2) < 1e-13
    if all((phi[e] - phi[h]) * (P[e] - P[h]) >= 0 for e, h in itertools.product(range(n), repeat=2)):
        assert L >= 1 - 1e-13
    assert float(balance_loss(np.full((n, n), 1 / n), np.zeros((n, 1), int))) == pytest.approx(1)  # P uniform
    even = balance_loss(rng.dirichlet(np.ones(n), size=n), np.arange(n)[:, None])
    assert float(even) == pytest.approx(1)  # phi uniform


@pytest.mark.claim("transformer.balance-loss")
def test_with_equal_shares_and_probabilities_only_the_uniform_is_balanced():
    """All shares in sixths of three experts: P is one-hot rows, so that it equals phi."""
    for counts in itertools.product(range(7), repeat=3):
        if sum(counts) == 6:
            chosen = np.repeat(np.arange(3), counts)[:, None]
            L = float(balance_loss(np.eye(3)[chosen[:, 0]], chosen))
            assert (L < 1 + 1e-12) == (counts == (2, 2, 2))


@pytest.mark.claim("transformer.balance-loss")
def test_slope_of_the_balance():
    """(E7), which lowers the scores of what is chosen too often; following it evens the choices out."""
    rng = np.random.default_rng(0)
    r = rng.normal(size=(200, 4)) * 0.3 + np.array([1.0, 0, 0, -1])

    def softmax(r):
        return np.exp(r) / np.exp(r).sum(axis=1, keepdims=True)

    def loss(r, chosen):
        from fp_autograd import rules

        return balance_loss(rules.softmax(r), chosen)

    spread = []
    for _ in range(300):
        p = softmax(r)
        chosen = p.argmax(axis=1)[:, None]
        phi = shares(chosen, 4)
        spread.append(phi.max())
        step = vjp(lambda r, chosen=chosen: loss(r, chosen), r)[1](1.0)[0]
        np.testing.assert_allclose(step, 4 / 200 * p * (phi - (p @ phi)[:, None]), atol=1e-15)
        r = r - 20 * step
    assert spread[0] > 0.8
    assert spread[-1] < 0.35


@pytest.mark.claim("transformer.mixture-count")
@pytest.mark.parametrize("k", [2, 3])
def test_parameters_and_those_in_use(k, monkeypatch):
    layer, x = made(k)
    assert layer.n_parameters == 3 * E * C * F + E * C
    assert layer.n_active == 3 * k * C * F + E * C
    seen = []
    for e, expert in enumerate(layer.experts):

        def counted(rows, forward=expert.forward, e=e):
            seen.append((e, len(rows)))
            return forward(rows)

        monkeypatch.setattr(expert, "forward", counted)
    layer(x)
    assert sum(n for _, n in seen) * 3 * C * F + N * E * C == N * layer.n_active  # multiplications by weights
    assert len({e for e, _ in seen}) == len(seen) <= E  # a call an expert, none a token


def test_experts_alike_make_no_mixture():
    layer, x = made(3, True)
    for expert in layer.experts[1:]:
        expert.load_state_dict(layer.experts[0].state_dict())
    np.testing.assert_allclose(np.asarray(layer(x)), np.asarray(layer.experts[0](x)), rtol=1e-12)


def test_an_expert_without_tokens_learns_nothing():
    layer, x = made(1, False)
    layer.unfreeze()
    y, routing = layer.routed(x)
    y.sum().backward()
    used = set(routing.chosen.ravel())
    assert 0 < len(used) < E
    for e, expert in enumerate(layer.experts):
        assert (expert.down_proj.weight.grad is not None) == (e in used)


def test_no_token_at_all():
    layer, x = made(2)
    assert layer(x[:0]).shape == (0, C)


def test_float32():
    layer = MixtureOfExperts(C, F, E, 2, rng=np.random.default_rng(0))
    y, routing = layer.routed(np.ones((2, 3, C), np.float32))
    assert y.dtype == routing.weights.dtype == balance_loss(routing.probabilities, routing.chosen).dtype == np.float32


def test_bad_input(shapes_unchecked):
    rng = np.random.default_rng(0)
    for k in (0, 8):
        with pytest.raises(ValueError, match=f"at least one and at most all experts, got k={k} of n_experts=7"):
            MixtureOfExperts(C, F, E, k, rng=rng)
    with pytest.raises(ValueError, match="leaves the router without a gradient"):
        MixtureOfExperts(C, F, E, 1, rng=rng, renormalise=True)
    with pytest.raises(ValueError, match=r"at least one token.*got \(0, 3\) and \(0, 1\)"):
        balance_loss(np.ones((0, 3)), np.ones((0, 1), int))
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(4, 1\)"):
        balance_loss(np.ones((2, 3)), np.ones((4, 1), int))
    with pytest.raises(ValueError, match="from 0 to 2, got 0 to 3"):
        balance_loss(np.ones((2, 3)), np.array([[0], [3]]))
