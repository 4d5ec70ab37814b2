"""Mirrors src/fp_optim/accumulation.py. Sizes are distinct primes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim import _named
from fp_optim.accumulation import Accumulator


def softmax_regression(W, x, y):
    """Gradient of the mean cross-entropy of `softmax(x W)`, and of its bias, which starts at zero."""
    z = x @ W
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(y.size), y] -= 1
    return {"W": x.T @ p / y.size, "b": p.mean(axis=0)}


@pytest.mark.claim("optim.accumulation")
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_the_weighted_mean_is_the_gradient_of_the_whole_batch(sizes, seed):
    rng = np.random.default_rng(seed)
    N = sum(sizes)
    W, x, y = rng.normal(size=(3, 5)), rng.normal(size=(N, 3)), rng.integers(0, 5, size=N)
    accumulator = Accumulator({"W": W, "b": np.zeros(5)})
    start = 0
    for n in sizes:
        part = slice(start, start + n)
        accumulator.add(softmax_regression(W, x[part], y[part]), n)
        start += n
    assert accumulator.n_tokens == N
    whole = softmax_regression(W, x, y)
    for name, g in accumulator.mean().items():
        np.testing.assert_allclose(g, whole[name], atol=1e-14 * N)  # rounding of sums of N numbers of size 3


@pytest.mark.claim("optim.accumulation")
def test_the_plain_mean_is_another_gradient():
    # two micro-batches of one and three tokens; token gradients 0 and 4, 4, 4: the batch's is 3, the plain mean 2
    accumulator = Accumulator({"w": np.zeros(1)})
    accumulator.add({"w": np.array([0.0])}, 1)
    accumulator.add({"w": np.array([4.0])}, 3)
    assert accumulator.mean()["w"] == [3.0]
    assert np.mean([0.0, 4.0]) == 2.0


def test_a_new_batch_begins_after_the_mean_and_asking_twice_changes_nothing():
    accumulator = Accumulator({"w": np.zeros(2), "s": np.zeros(())})
    accumulator.add({"w": np.array([8.0, 2.0]), "s": np.array(1.0)}, 2)
    first = accumulator.mean()
    assert first["w"].tolist() == accumulator.mean()["w"].tolist() == [8.0, 2.0]
    accumulator.add({"w": np.array([1.0, 0.0]), "s": np.array(5.0)}, 1)
    accumulator.add({"w": np.array([0.0, 1.0]), "s": np.array(5.0)}, 1)
    assert accumulator.n_tokens == 2
    second = accumulator.mean()
    assert second["w"].tolist() == [0.5, 0.5] and second["s"] == 5
    assert second["w"] is first["w"]  # the accumulator's own array


def test_changing_the_mean_does_not_reach_the_next_batch():
    accumulator = Accumulator({"w": np.zeros(2)})
    accumulator.add({"w": np.ones(2)}, 1)
    accumulator.mean()["w"] *= 100
    accumulator.add({"w": np.ones(2)}, 1)
    assert accumulator.mean()["w"].tolist() == [1.0, 1.0]


def test_what_was_cleared_does_not_reach_the_next_batch():
    accumulator = Accumulator({"w": np.zeros(2)})
    accumulator.add({"w": np.full(2, np.nan)}, 3)
    accumulator.clear()
    assert accumulator.n_tokens == 0
    with pytest.raises(ValueError, match="there is no mean of no micro-batch"):
        accumulator.mean()
    accumulator.add({"w": np.ones(2)}, 5)
    assert accumulator.n_tokens == 5 and accumulator.mean()["w"].tolist() == [1.0, 1.0]


def test_nothing_that_grows_is_allocated_and_long_arrays_are_added_whole(peak_bytes):
    rng = np.random.default_rng(2)
    g = rng.normal(size=(1009, 101)).astype(np.float32)
    assert g.size > _named.CHUNK and g.size % _named.CHUNK
    accumulator, minus_g = Accumulator({"w": g}), -g

    def batch():
        accumulator.add({"w": g}, 3)
        accumulator.add({"w": minus_g}, 5)
        accumulator.mean()

    assert peak_bytes(batch) < 100_000  # views and NumPy's buffers; one copy would be 407,636 bytes
    np.testing.assert_allclose(accumulator.mean()["w"], -0.25 * g, rtol=1e-6)  # three float32 roundings


@pytest.mark.usefixtures("unenforced")
def test_what_cannot_be_added_is_refused_and_changes_nothing():
    accumulator = Accumulator({"w": np.zeros(2)})
    with pytest.raises(ValueError, match="there is no mean of no micro-batch"):
        accumulator.mean()
    accumulator.add({"w": np.ones(2)}, 4)
    for grads, n_tokens, sentence in (
        ({"w": np.ones(2)}, 0, "n_tokens must be at least 1, got 0"),
        ({"w": np.ones(3)}, 1, r"misshapen: w must be \(2,\), got \(3,\)"),
        ({}, 1, "missing: w"),
        ({"w": np.ones(2), "x": np.ones(2)}, 1, "unexpected: x"),
    ):
        with pytest.raises(ValueError, match=sentence):
            accumulator.add(grads, n_tokens)
    assert accumulator.n_tokens == 4 and accumulator.mean()["w"].tolist() == [1.0, 1.0]
