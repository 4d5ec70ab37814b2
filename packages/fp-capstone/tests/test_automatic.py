"""Mirrors src/fp_capstone/automatic.py, and of figures/automatic.py that it measures what it says."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from fp_autograd.rules import softmax
from fp_autograd.tensor import Tensor
from fp_capstone.activations import gelu, gelu_backward, swiglu, swiglu_backward
from fp_capstone.attention import causal_attention, causal_attention_backward
from fp_capstone.automatic import code_lines, cross_entropy_by_rules, score_gradient_by_rules, score_gradient_tile
from fp_capstone.cross_entropy import cross_entropy_with_gradient
from fp_transformer.config import TransformerConfig

sys.path.append(str(Path(__file__).parents[1] / "figures"))

import _formulas as formulas
from _tape import record


@pytest.fixture(scope="module")
def figure():
    spec = importlib.util.spec_from_file_location(
        "figure_automatic", Path(__file__).parents[1] / "figures/automatic.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.claim("capstone.tape-length")
@pytest.mark.parametrize("family", ["GPT-2", "Llama, two key heads"])
def test_the_record_grows_by_the_same_operations_with_every_block_and_with_nothing_else(figure, family):
    def lengths(L, batch, length, **sizes):
        config = figure.FAMILIES[family](L, context_length=11, n_heads=4, **sizes)
        ways = figure.ways(config, *figure.batch(config, batch, length), np.float64)
        return {name: way.record().nodes for name, way in ways.items() if way.record}

    small, large = {"vocab_size": 5, "d_model": 8}, {"vocab_size": 13, "d_model": 24}
    one, two, three, four = (lengths(L, 2, 3, **small) for L in (1, 2, 3, 4))
    for name in one:
        b = two[name] - one[name]
        assert b > 0
        assert [n[name] for n in (one, two, three, four)] == [one[name] + i * b for i in range(4)]
    assert lengths(2, 3, 7, **large) == two


@pytest.mark.claim("capstone.one-slope")
def test_gelu_by_rules_reads_six_arrays_and_by_hand_one():
    x = np.random.default_rng(0).normal(size=(5, 7))
    leaf = Tensor(x.copy(), requires_grad=True)
    by_rules = formulas.gelu(leaf)
    assert record(by_rules, []).read == 6 * x.nbytes
    g = np.random.default_rng(1).normal(size=x.shape)
    by_rules.backward(g)
    y = gelu(x, slope := x)  # the slope lies where the input was: nothing else is left of it
    # 1e-15: a dozen roundings of numbers of order one, in float64
    np.testing.assert_allclose(y, by_rules.data, atol=2e-15)
    np.testing.assert_allclose(gelu_backward(g, slope), leaf.grad, atol=4e-15)


@pytest.mark.claim("capstone.one-slope")
def test_a_function_of_two_arrays_needs_two_slopes():
    ab = np.random.default_rng(2).normal(size=(3, 10))
    leaf = Tensor(ab.copy(), requires_grad=True)
    by_rules = formulas.swiglu(leaf)
    assert record(by_rules, []).read > ab.nbytes
    g = np.random.default_rng(3).normal(size=(3, 5))
    by_rules.backward(g)
    swiglu(ab, ab)
    np.testing.assert_allclose(swiglu_backward(g, ab), leaf.grad, atol=4e-15)  # as above


@pytest.mark.claim("capstone.rule-underflow")
@pytest.mark.parametrize(
    ("dtype", "distance", "breaks"),
    [
        (np.float32, 80.0, False),
        (np.float32, 104.0, True),  # below the smallest number: zero
        (np.float64, 700.0, False),
        (np.float64, 726.0, True),  # not zero, but one over it is infinite
        (np.float64, 746.0, True),
    ],
)
def test_rules_break_where_a_probability_is_too_small_for_its_reciprocal(dtype, distance, breaks):
    y = np.array([1, 0])
    z = np.array([[0.0, -distance, -1.0], [0.5, 0.0, 0.25]], dtype)
    leaf = Tensor(z.copy(), requires_grad=True)
    with np.errstate(all="ignore"):
        (-softmax(leaf)[np.arange(2), y].log()).mean().backward()
        _, ours = cross_entropy_by_rules(z, y)
    _, fused = cross_entropy_with_gradient(z.copy(), y)
    assert np.isnan(leaf.grad[0, 1]) == np.isnan(ours[0, 1]) == breaks
    p = np.exp(z.astype(float))
    exact = (p / p.sum(axis=1, keepdims=True) - [[0, 1, 0], [1, 0, 0]]) / 2
    close = {"rtol": 0, "atol": 4 * np.finfo(dtype).eps}  # a few roundings of numbers below one
    np.testing.assert_allclose(fused, exact, **close)
    for by_rules in (leaf.grad, ours):
        np.testing.assert_allclose(by_rules[breaks:], exact[breaks:], **close)


@pytest.mark.claim("capstone.rule-underflow")
def test_both_formulas_are_one_by_sympy():
    import sympy

    p = sympy.symbols("p0:4", positive=True)
    h = [0, -1 / p[1], 0, 0]
    inner = sum(a * b for a, b in zip(p, h, strict=True))
    for i in range(4):
        assert sympy.simplify(p[i] * (h[i] - inner) - (p[i] - int(i == 1))) == 0


@pytest.mark.claim("capstone.tile-gradient")
def test_a_tile_of_the_scores_gradient_needs_nothing_of_its_rows_but_delta():
    rng = np.random.default_rng(4)
    P, G, V = rng.dirichlet(np.ones(11), 7), rng.normal(size=(7, 5)), rng.normal(size=(11, 5))
    whole = score_gradient_by_rules(P, G, V)
    delta = (G * (P @ V)).sum(axis=1)
    for rows, columns in ((slice(0, 2), slice(3, 8)), (slice(2, 7), slice(0, 1)), (slice(0, 7), slice(8, 11))):
        blank_P, blank_V = np.full_like(P, np.nan), np.full_like(V, np.nan)
        blank_P[rows, columns], blank_V[columns] = P[rows, columns], V[columns]
        tile = score_gradient_tile(blank_P[rows, columns], G[rows], blank_V[columns], delta[rows])
        # sums of at most eleven products of order one
        np.testing.assert_allclose(tile, whole[rows, columns], atol=1e-14)
        assert np.isnan(score_gradient_by_rules(blank_P, G, blank_V)).all(axis=None)


@pytest.mark.claim("capstone.tile-gradient")
def test_the_tiles_together_are_the_models_backward_pass():
    # one head; by (T8) the gradient of the queries is Z K / sqrt(D)
    T, D = 7, 5
    rng = np.random.default_rng(5)
    q, k, v, g = rng.normal(size=(4, 1, T, 1, D))
    y, tape = causal_attention(q, k, v, keep=True)
    S = np.where(np.tril(np.ones((T, T), bool)), q[0, :, 0] @ k[0, :, 0].T / np.sqrt(D), -np.inf)
    P = np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)
    delta = (g * y)[0, :, 0].sum(axis=1)
    Z = np.zeros((T, T))
    for rows in (slice(0, 3), slice(3, 7)):
        for columns in (slice(0, 2), slice(2, 7)):
            Z[rows, columns] = score_gradient_tile(P[rows, columns], g[0, rows, 0], v[0, columns, 0], delta[rows])
    dq = causal_attention_backward(g.copy(), tape)[0]
    np.testing.assert_allclose(dq[0, :, 0], Z @ k[0, :, 0] / np.sqrt(D), atol=1e-14)  # sums of seven such products


def test_the_three_ways_have_one_gradient(figure):
    for family in figure.FAMILIES:
        # float64; sums of some hundred terms below one
        assert max(figure.differences(family).values()) < 1e-13


@pytest.mark.usefixtures("own_errors")  # enforcing shapes takes memory too
def test_elementary_rules_keep_and_hold_several_times_what_we_do(figure, monkeypatch):
    monkeypatch.setattr(figure, "SIZES", {"vocab_size": 13, "context_length": 16, "n_heads": 4, "d_model": 32})
    found = figure.measured("GPT-2")
    elementary, by_hand = found[figure.ELEMENTARY], found[figure.BY_HAND]
    tape = elementary[1]
    assert tape.read < tape.kept
    # an array in the record is either made by an operation or is a constant of one
    assert elementary[2] > 2 * by_hand[2] > 0
    assert found[figure.STAGE_6][1].nodes < tape.nodes / 2


def test_the_table_says_how_often_values_are_reused(figure):
    # x * x is one value with two uses; y has one user
    x = Tensor(np.ones(3), requires_grad=True)
    y = x * x
    tape = record((y + 1.0).sum(), [x])
    assert (tape.nodes, tape.edges, tape.reused) == (3, 4, 1)
    assert tape.rules == {"multiply": 1, "add": 1, "sum": 1}


def test_lines_are_counted_without_what_is_no_code():
    assert code_lines("automatic.score_gradient_tile") == 1
    assert code_lines("model.Model.loss_and_grads") > 10
    with pytest.raises(ValueError, match=r"fp_capstone has no function 'linear\.backward'"):
        code_lines("linear.backward")
    with pytest.raises(ValueError, match="has no function 'nothing'"):
        code_lines("nothing")


def test_the_configurations_are_those_of_the_page(figure):
    config = figure.FAMILIES["Llama, two key heads"](1, **figure.SIZES)
    assert isinstance(config, TransformerConfig) and config.n_kv_heads == 2 and config.is_llama
