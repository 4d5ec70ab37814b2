"""Mirrors src/fp_dynamics/probes.py. Sizes are distinct primes."""

import itertools
import math

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_dynamics.probes import (
    label_offset,
    probe,
    probe_causality,
    probe_gradient,
    probe_offsets,
    probe_scores,
    spread,
)
from fp_transformer import Transformer, TransformerConfig

GPT2 = TransformerConfig.gpt2(vocab_size=13, context_length=11, n_layers=2, n_heads=2, d_model=10)
LLAMA = TransformerConfig.llama(vocab_size=13, context_length=23, n_layers=2, n_heads=2, n_kv_heads=1, d_model=44)


@pytest.fixture
def unshaped():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def made(config=GPT2, seed=0):
    rng = np.random.default_rng(seed)
    return Transformer(config, rng=rng), rng.integers(0, config.vocab_size, (3, config.context_length))


# --- claims


def entropy(joint, given):
    """Of the last axis of a table, given the first axes."""
    joint = joint.sum(axis=tuple(range(given, joint.ndim - 1)))
    known = joint.sum(axis=-1, keepdims=True)
    return float(-(joint * np.log(joint / known)).sum())


@pytest.mark.claim("dynamics.offset-floor")
@pytest.mark.parametrize("seed", range(3))
def test_no_rule_beats_the_conditional_distribution_and_floors_rise_with_the_offset(seed):
    rng = np.random.default_rng(seed)
    joint = rng.dirichlet(np.full(3**4, 0.3)).reshape((3,) * 4) + 1e-6  # of four tokens, none impossible
    joint /= joint.sum()

    def floor(k, n):
        if k == 0:  # the token itself is among the given ones
            return 0.0
        up_to = joint.sum(axis=tuple(range(n + k + 1, 4)))
        return entropy(up_to, n + 1)

    for k, n in ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1)):
        assert floor(k + 1, n) >= floor(k, n + 1) - 1e-12  # rounding of sums of 81 terms
    pair = joint.sum(axis=(2, 3))
    truth = pair / pair.sum(axis=1, keepdims=True)
    for _ in range(20):
        rule = rng.dirichlet(np.ones(3), size=3)
        loss = -(pair * np.log(rule)).sum()
        assert loss > floor(1, 0)
    assert -(pair * np.log(truth)).sum() == pytest.approx(floor(1, 0), rel=1e-12)  # rounding


@pytest.mark.claim("dynamics.scores-from-weights")
@given(st.lists(st.floats(-20, 20), min_size=2, max_size=11))
@settings(max_examples=25)
def test_the_deviation_of_log_weights_is_that_of_the_scores(scores):
    s = np.array(scores)
    w = np.exp(s - s.max())
    w /= w.sum()
    assert np.log(w).std() == pytest.approx(s.std(), abs=1e-9)  # exp and log round at 40 nats: 40 * 1e-16, and room


@pytest.mark.claim("dynamics.stale-gradient")
@pytest.mark.parametrize(("t", "c"), list(itertools.product((1, 2, 3, 7), (0.0, 0.1, 0.9))))
def test_a_sum_of_gradients_has_the_length_and_the_cosines_that_are_claimed(t, c):
    gram = np.full((t, t), c) + (1 - c) * np.eye(t)
    g = np.linalg.cholesky(gram)  # rows of length one, each two with the product c
    G = g.sum(axis=0)
    length = math.sqrt(t + t * (t - 1) * c)
    assert np.linalg.norm(G) == pytest.approx(length, rel=1e-12)  # rounding
    assert G @ g[-1] / length == pytest.approx((1 + (t - 1) * c) / length, rel=1e-12)
    before = G - g[-1]
    size = np.linalg.norm(before)
    if size > 1 + 1e-9:
        assert G @ before / (length * size) >= math.sqrt(1 - 1 / size**2) - 1e-12


# --- causality


def test_a_causal_model_does_not_look_ahead_and_one_without_a_mask_does():
    for config in (GPT2, LLAMA):
        model, ids = made(config)
        assert probe_causality(model, ids) < 1e-5  # rounding of float32
        model.blocks[1].attention.mask = None  # one block is enough
        assert probe_causality(model, ids) > 1e-3


def test_a_mask_that_is_off_by_one_is_seen():
    model, ids = made()
    T = ids.shape[1]
    model.blocks[0].attention.mask = None
    off = np.tri(T, T, 1, dtype=bool)  # position n sees n + 1 too

    class OffByOne(type(model)):
        def forward(self, ids, **kwargs):
            return super().forward(ids, mask=off[: ids.shape[1], : ids.shape[1]], **kwargs)

    model.blocks[1].attention.mask = None
    model.__class__ = OffByOne
    assert probe_causality(model, ids) > 1e-3


def test_probing_leaves_the_mode_of_the_model_alone():
    model, ids = made(TransformerConfig.gpt2(**{**vars_of(GPT2), "dropout": 0.5}))
    assert probe_causality(model, ids) < 1e-5  # with dropout it would not be
    assert all(m.training for m in model.modules())


def vars_of(config):
    return {k: getattr(config, k) for k in ("vocab_size", "context_length", "n_layers", "n_heads", "d_model")}


# --- offsets


def test_losses_by_offset_are_those_of_the_model():
    model, ids = made()
    found = probe_offsets(model, ids)
    expected = [model.loss(ids[:, :9], ids[:, k : k + 9]).item() for k in range(3)]
    assert found == pytest.approx(expected, rel=1e-5)  # float32 against float64


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 2, 3])
def test_the_offset_of_labels_is_found(shift):
    text = np.random.default_rng(0).integers(0, 13, (3, 30))
    assert label_offset(text[:, 5:18], text[:, 5 + shift : 18 + shift]) == shift


def test_no_offset_is_claimed_where_several_fit_or_none():
    same = np.ones((2, 7), int)
    assert label_offset(same, same) is None
    rng = np.random.default_rng(0)
    assert label_offset(rng.integers(0, 13, (3, 7)), rng.integers(0, 13, (3, 7))) is None


# --- scores


def test_the_ratio_of_scores_is_one_with_the_division_and_root_d_without():
    model, ids = made(LLAMA)
    scaled = probe_scores(model, ids)
    assert [s["d_head"] for s in scaled] == [22, 22]
    for block in model.blocks:  # undo the division in the queries
        block.attention.q_proj.weight.data *= math.sqrt(LLAMA.d_head)
    larger = probe_scores(model, ids)
    for a, b in zip(scaled[:1], larger[:1], strict=True):  # the first block's input is the same
        assert 0.6 < a["score_ratio"] < 1.5  # a random number near one
        assert b["score_std"] == pytest.approx(a["score_std"] * math.sqrt(LLAMA.d_head), rel=1e-3)  # float32
        assert b["score_ratio"] == pytest.approx(a["score_ratio"], rel=1e-3)  # larger weights are no missing division


# --- gradients


def test_a_gradient_of_this_batch_agrees_and_a_sum_of_two_does_not():
    model, ids = made()
    x, y = ids[:, :-1], ids[:, 1:]
    model.loss(y, x).backward()
    model.zero_grad()
    model.loss(x, y).backward()
    fresh = probe_gradient(model, x, y)
    assert fresh["gradient_cosine"] == pytest.approx(1, abs=1e-6)
    assert fresh["gradient_ratio"] == pytest.approx(1, abs=1e-6)
    kept = {name: p.grad.copy() for name, p in model.named_parameters().items()}
    model.loss(y, x).backward()  # not cleared
    stale = probe_gradient(model, x, y)
    assert stale["gradient_cosine"] < 0.99 and stale["gradient_ratio"] > 1.1
    given = probe_gradient(model, x, y, kept)
    assert given["gradient_cosine"] == pytest.approx(1, abs=1e-6)
    assert all((p.grad != kept[name]).any() for name, p in model.named_parameters().items())  # left as they were


def test_nothing_is_said_of_gradients_with_dropout_or_without_a_backward_pass():
    model, ids = made(TransformerConfig.gpt2(**{**vars_of(GPT2), "dropout": 0.5}))
    x, y = ids[:, :-1], ids[:, 1:]
    assert probe_gradient(model, x, y) == {}
    model.loss(x, y).backward()
    assert probe_gradient(model, x, y) == {}


# --- spread


def test_the_spread_is_zero_for_equal_rows_or_columns_and_near_one_for_random_ones():
    rng = np.random.default_rng(0)
    assert spread(np.tile(rng.normal(size=5), (7, 1))) == pytest.approx(0, abs=1e-15)
    assert spread(np.tile(rng.normal(size=(7, 1)), (1, 5))) == pytest.approx(0, abs=1e-15)
    assert 0.9 < spread(rng.normal(size=(53, 47))) <= 1
    assert spread(np.zeros((3, 2))) == 0


# --- all of it


def test_a_model_answers_what_it_can():
    model, ids = made()
    x, y = ids[:, :-1], ids[:, 1:]
    model.loss(x, y).backward()
    found = probe(model, x, y)
    assert {"leak", "losses_by_offset", "label_offset", "scores", "gradient_cosine"} <= found.keys()
    assert found["vocab_size"] == 13
    assert list(probe({"w": np.ones((2, 3)), "b": np.ones(3)}, x, y)) == ["spread"]


@pytest.mark.parametrize("probed", [probe_causality, probe_offsets])
def test_short_texts_are_refused(probed):
    model, ids = made()
    with pytest.raises(ValueError, match=r"shape .*at least"):
        probed(model, ids[:, :1])


def test_a_vector_has_no_spread(unshaped):
    with pytest.raises(ValueError, match="several rows"):
        spread(np.ones((1, 5)))


def test_a_gradient_of_nothing_but_zeros_is_not_called_stale():
    config = TransformerConfig.gpt2(vocab_size=7, context_length=8, n_layers=1, n_heads=2, d_model=8)
    model, ids = Transformer(config, rng=np.random.default_rng(0)), np.zeros((2, 5), np.int64)
    for p in model.named_parameters().values():
        p.data[...] = 0
    loss = model.loss
    model.loss = lambda ids, targets: loss(ids, targets) * 0.0
    model.loss(ids, ids).backward()
    assert probe_gradient(model, ids, ids) == {}
