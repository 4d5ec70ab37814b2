"""Mirrors src/fp_dynamics/lr_range.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_dynamics.lr_range import lr_range_test
from fp_dynamics.recorder import named_arrays
from fp_optim import SGD


@pytest.mark.claim("dynamics.range-test")
@given(st.integers(0, 10_000))
def test_no_rise_within_the_limit(seed):
    rng = np.random.default_rng(seed)
    rank = rng.integers(1, 4)
    A = rng.normal(size=(3, rank))
    S, x = A @ A.T, rng.normal(size=3)
    L = np.linalg.eigvalsh(S)[-1]
    rates = rng.uniform(0.01, 1) / L * rng.uniform(1.15, 1.6) ** np.arange(50)
    for rate in rates:
        before = 0.5 * x @ S @ x
        x = x - rate * S @ x
        # rounding, where the loss is as good as zero
        if 0.5 * x @ S @ x > before * (1 + 1e-12) + 1e-25:
            break
    else:
        pytest.fail("a rate of ten times the limit raises any loss")
    assert rate > 2 / L


@pytest.mark.claim("dynamics.range-test")
def test_in_one_dimension_the_rise_begins_at_the_limit():
    L, w = 3.0, 1.0
    for rate in 0.011 * 1.1 ** np.arange(80):
        new = w - rate * L * w
        assert (abs(new) > abs(w)) == (rate > 2 / L)
        w = new
        if rate > 1:
            break


@pytest.fixture
def batches():
    rng = np.random.default_rng(0)

    def draw():
        rows = (rng.integers(0, 11, (6, 1)) + np.arange(8)) % 11
        return rows[:, :-1], rows[:, 1:]

    return draw


def test_the_suggestion_trains_and_ten_times_the_limit_does_not(small, batches, shapes_unchecked):
    model = small(n_layers=1, d_model=8, dtype=np.float32)
    before = {name: a.copy() for name, a in named_arrays(model).items()}
    found = lr_range_test(model, batches, n_steps=50, high=3.0)
    for name, a in named_arrays(model).items():
        np.testing.assert_array_equal(a, before[name])
    assert found.rates.shape == found.losses.shape == found.smoothed.shape
    assert 1e-3 < found.suggestion == found.limit / 4 < 0.3
    from fp_dynamics.recorder import loss_and_gradients
    from fp_optim import AdamW

    def loss_after(lr):
        model = small(n_layers=1, d_model=8, dtype=np.float32)
        optimizer = AdamW(named_arrays(model), lr=lr, betas=(0.9, 0.95), weight_decay=0.0)
        losses = []
        for _ in range(30):
            loss, grads = loss_and_gradients(model, *batches())
            losses.append(loss)
            optimizer.step(grads)
        return np.mean(losses[-10:])

    good = loss_after(found.suggestion)
    assert good < loss_after(10 * found.limit) and good < found.losses[0] - 0.1


def test_the_lag_is_taken_off_and_other_optimizers_serve(small, batches, shapes_unchecked):
    model = small(n_layers=1)
    optimizer = SGD(named_arrays(model), lr=0.1)
    found = lr_range_test(model, batches, low=1e-2, high=100.0, n_steps=40, decay=0.75, optimizer=optimizer)
    lowest = int(np.argmin(found.smoothed))
    assert found.limit == pytest.approx(found.rates[lowest] * (1e4) ** (-3 / 39))
    assert optimizer.n_steps <= 40
    assert found.losses.size < 40 or found.smoothed[-1] <= 1.5 * found.losses[0]


def test_it_ends_where_the_loss_is_no_number(small):
    model, calls = small(n_layers=1), []

    def batches():
        calls.append(1)
        if len(calls) == 6:
            model.norm.weight.data[0] = np.inf
        rows = (np.arange(3)[:, None] + np.arange(8)) % 11
        return rows[:, :-1], rows[:, 1:]

    assert lr_range_test(model, batches, low=1e-2).losses.size == 5
    assert np.isfinite(model.norm.weight.data).all()


def test_it_ends_where_the_loss_has_grown(small, batches, shapes_unchecked):
    found = lr_range_test(small(n_layers=1), batches, low=1e-2, high=1e3, n_steps=60, decay=0.0, blow_up=1.2)
    assert found.losses.size < 60 and found.losses[-1] > 1.2 * found.losses[0] >= found.losses[:-1].max()


def test_bad_input_is_refused(small, batches):
    for wrong in ({"low": 0.0}, {"low": 1.0, "high": 0.1}, {"n_steps": 1}, {"blow_up": 1.0}):
        with pytest.raises(ValueError, match="rates rise from low to high"):
            lr_range_test(small(), batches, **wrong)
    with pytest.raises(ValueError, match="the loss never fell on the way from 50: begin lower"):
        lr_range_test(small(), batches, low=50.0, high=100.0, n_steps=5)
