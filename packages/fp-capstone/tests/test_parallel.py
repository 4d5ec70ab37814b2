"""Mirrors src/fp_capstone/parallel.py."""

import time

import jaxtyping
import numpy as np
import pytest

from fp_capstone import parallel
from fp_capstone.model import Model
from fp_capstone.parallel import ThreadedGradients
from fp_transformer.config import TransformerConfig

CONFIG = TransformerConfig.gpt2(vocab_size=11, context_length=7, n_layers=2, n_heads=3, d_model=6, dropout=0.2)


@pytest.fixture(autouse=True)
def every_share_is_worthwhile(monkeypatch):
    monkeypatch.setattr(parallel, "WORTHWHILE", 1)


@pytest.fixture
def unenforced():
    """Run-time shape checks answer before our own errors do, so they are off here."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def case(rows):
    rng = np.random.default_rng(0)
    return Model(CONFIG, rng, np.float64), rng.integers(0, 11, (rows, 7)), rng.integers(0, 11, (rows, 7))


@pytest.mark.claim("capstone.shards")
@pytest.mark.parametrize(("rows", "threads"), [(5, 2), (7, 3), (2, 5), (3, 1)])
def test_shares_of_unequal_size_give_the_gradient_of_the_whole_batch(rows, threads):
    model, ids, targets = case(rows)
    loss, grads = ThreadedGradients(model, threads)(ids, targets)
    expected_loss, expected = model.loss_and_grads(ids, targets)
    assert loss == pytest.approx(expected_loss, rel=1e-13)
    for name, g in expected.items():
        np.testing.assert_allclose(grads[name], g, atol=1e-14, err_msg=name)  # the same sum of order 1, grouped


def test_the_same_seed_gives_the_same_bits_with_dropout():
    model, ids, targets = case(5)
    threaded = ThreadedGradients(model, 2)
    results = []
    for seed in (1, 1, 2):
        loss, grads = threaded(ids, targets, np.random.default_rng(seed))
        results.append((loss, {name: g.copy() for name, g in grads.items()}))
    assert results[0][0] == results[1][0] != results[2][0]
    for name, g in results[0][1].items():
        np.testing.assert_array_equal(g, results[1][1][name])


def test_no_threads_are_refused():
    with pytest.raises(ValueError, match="n_threads must be at least 1, got 0"):
        ThreadedGradients(case(1)[0], 0)


def test_a_small_step_is_not_split(monkeypatch):
    monkeypatch.setattr(parallel, "WORTHWHILE", 20_000_000)
    model, ids, targets = case(5)
    shares = []
    monkeypatch.setattr(model, "loss_and_grads", lambda ids, *_: shares.append(len(ids)) or (0.0, {}))
    ThreadedGradients(model, 2)(ids, targets)
    assert shares == [5]


def test_an_error_in_a_thread_reaches_the_caller():
    model, ids, targets = case(4)
    with pytest.raises(ValueError, match="vocabulary"):
        ThreadedGradients(model, 2)(ids + 11, targets)


def test_what_is_wrong_with_a_batch_is_said_of_the_whole_batch(unenforced):
    model, ids, targets = case(4)
    threaded = ThreadedGradients(model, 2)
    with pytest.raises(ValueError, match=r"the shape of ids, \(4, 7\); got \(3, 7\)"):
        threaded(ids, targets[:3])
    for wrong in (ids[:0], ids[:, :0], ids[0]):
        with pytest.raises(ValueError, match="both at least 1"):
            threaded(wrong, wrong)
    with pytest.raises(TypeError, match="NumPy array of integers"):
        threaded(ids.tolist(), targets)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_waits_for_the_other_threads_whose_memory_the_next_call_uses(monkeypatch, error):
    model, ids, targets = case(4)
    threaded = ThreadedGradients(model, 2)
    expected = {name: g.copy() for name, g in threaded(ids, targets)[1].items()}
    ended, share = [], threaded._share

    def failing(i, *arguments):
        if i == 0:
            raise error
        time.sleep(0.05)
        ended.append(share(i, *arguments))

    with monkeypatch.context() as patch:
        patch.setattr(threaded, "_share", failing)
        with pytest.raises(error):
            threaded(ids, targets)
    assert len(ended) == 1
    for name, g in threaded(ids, targets)[1].items():
        np.testing.assert_array_equal(g, expected[name])


@pytest.mark.parametrize("threads", [1, 2])
def test_what_becomes_of_an_overflow_is_the_callers_choice_in_all_threads(threads):
    model, ids, targets = case(4)
    model.parameters()["transformer.h.1.mlp.c_fc.weight"][...] = 1e300
    with np.errstate(over="raise", invalid="raise"), pytest.raises(FloatingPointError):
        ThreadedGradients(model, threads)(ids, targets)
    with np.errstate(all="ignore"):
        ThreadedGradients(model, threads)(ids, targets)
