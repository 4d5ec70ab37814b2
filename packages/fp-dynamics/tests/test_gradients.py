"""Mirrors src/fp_dynamics/gradients.py."""

from itertools import pairwise

import numpy as np
import pytest

from fp_autograd.functional import vjp
from fp_autograd.rules import tanh
from fp_autograd.tensor import no_grad
from fp_dynamics.gradients import cotangent_norms, depth_profile, singular_range
from fp_dynamics.recorder import loss_and_gradients
from fp_neural.layers import Linear, Sequential
from fp_neural.module import Module


class Tanh(Module):
    def forward(self, x):
        return tanh(x)


def layers_of_a_net(widths, seed):
    rng = np.random.default_rng(seed)
    return [Sequential(Linear(i, o, rng=rng, dtype=np.float64), Tanh()) for i, o in pairwise(widths)]


def ranges(layers, x):
    found = []
    for layer in layers:
        found.append(singular_range(layer, x))
        with no_grad():
            x = np.asarray(vjp(layer, x)[0])
    return np.array(found), x


@pytest.mark.claim("dynamics.gradient-product")
@pytest.mark.parametrize("widths", [(5, 5, 5, 5, 5), (7, 5, 3, 2), (2, 3, 5, 7)])
def test_a_net_keeps_between_the_products_of_its_singular_values(widths):
    layers, x = layers_of_a_net(widths, seed=3), np.random.default_rng(4).normal(size=(1, widths[0]))
    found, out = ranges(layers, x)
    for seed in range(5):
        g = np.random.default_rng(seed).normal(size=out.shape)
        norms = cotangent_norms(layers, x, g)
        slack = 1 + 1e-9  # of rounding in the singular values
        gains = norms[:-1] / norms[1:]
        assert (found[:, 0] <= gains * slack).all() and (gains <= found[:, 1] * slack).all()
        assert found[:, 0].prod() * norms[-1] <= norms[0] * slack and norms[0] <= found[:, 1].prod() * norms[-1] * slack
    if widths[-1] > widths[0]:  # more outputs than inputs: some cotangents are lost altogether
        assert (found[:, 0] == 0).all()
    else:
        assert (found[:, 0] > 0).all()


@pytest.mark.claim("dynamics.gradient-product")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_blocks_of_a_transformer_keep_between_them_too(small, family, shapes_unchecked):
    model = small(family, d_model=4, d_ff=7).eval()
    with no_grad():
        x = next(model.stream(np.array([[3, 1]]))).data
    found, out = ranges(model.blocks, x)
    norms = cotangent_norms(model.blocks, x, np.random.default_rng(0).normal(size=out.shape))
    gains = norms[:-1] / norms[1:]
    assert (found[:, 0] <= gains * (1 + 1e-9)).all() and (gains <= found[:, 1] * (1 + 1e-9)).all()  # rounding
    assert (found[:, 0] > 0).all()  # a line past the branches: nothing is lost


@pytest.mark.claim("dynamics.gradient-product")
def test_both_sides_are_reached_and_small_gains_leave_nothing():
    D = [np.array([3.0, 0.5]), np.array([2.0, 0.25])]
    layers = [lambda x, d=d: x * d for d in D]
    assert cotangent_norms(layers, np.ones(2), np.array([1.0, 0.0]))[0] == 6.0
    assert cotangent_norms(layers, np.ones(2), np.array([0.0, 1.0]))[0] == 0.125
    b, share = 0.8, 1e-3
    L = int(np.log(1 / share) / np.log(1 / b)) + 1
    deep = cotangent_norms([lambda x: b * x] * L, np.ones(1), np.ones(1))
    assert deep[0] < share <= deep[1]
    square = np.random.default_rng(0).normal(size=(4, 4))
    eigenvalues = np.linalg.eigvalsh(square @ square.T)
    assert singular_range(lambda x: square @ x, np.ones(4)) == pytest.approx(tuple(np.sqrt(eigenvalues[[0, -1]])))


@pytest.mark.claim("dynamics.typical-gradient")
def test_what_is_typical_vanishes_although_the_mean_does_not():
    """Two gains, each with the probability one half, whose squares have the mean one: all products can be summed."""
    from math import comb

    a, b = 0.5, np.sqrt(2 - 0.25)
    mu, v = np.log(a * b) / 2, (np.log(b / a) / 2) ** 2
    assert mu < 0
    for L in (4, 20, 60):
        k = np.arange(L + 1)
        p = np.array([comb(L, i) for i in k]) / 2.0**L
        log = k * np.log(b) + (L - k) * np.log(a)
        assert (p * np.exp(2 * log)).sum() == pytest.approx(1, rel=1e-12)
        for eps in (0.05, 0.2):
            assert p[log >= (mu + eps) * L].sum() <= v / (eps**2 * L)
    assert p[log >= 0].sum() < 0.1  # at depth 60 nine in ten are shorter than they were


def test_lengths_by_hand():
    layers = [lambda x: x @ np.array([[2.0, 0.0], [0.0, 1.0]]), lambda x: x * x]
    norms = cotangent_norms(layers, np.array([1.0, 3.0]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(norms, [8.0, 4.0, 1.0])  # 2 * 2x at x = 2, then times 2


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_profile_ends_in_the_gradient_of_the_embedding(small, batch, family):
    """Every token once, so that nothing adds up in its row: the stream's gradient is that of the table below."""
    ids, targets = np.array([[3, 1, 4, 0]]), np.array([[1, 4, 0, 2]])
    model = small(family, tied=False)
    norms = depth_profile(model, ids, targets)
    _, grads = loss_and_gradients(model, ids, targets)
    assert norms.shape == (3,)
    assert norms[0] == pytest.approx(np.linalg.norm(grads["embedding.weight"]), rel=1e-9)
    assert model.training


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="there are no layers to go through"):
        cotangent_norms([], np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"gives an array of shape \(2,\), and g has shape \(3,\)"):
        cotangent_norms([lambda x: x], np.ones(2), np.ones(3))
