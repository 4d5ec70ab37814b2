"""The online softmax, against the softmax of the whole row."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.softmax import OnlineSoftmax


def whole(s, v):
    e = np.exp(s - s.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)) @ v, np.log(e.sum(-1)) + s.max(-1)


@pytest.mark.claim("attention.online-softmax")
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 99), st.sampled_from([1.0, 30.0, 1000.0]))
@settings(max_examples=25)
def test_any_blocks_of_scores_of_any_size(sizes, seed, spread):
    rng = np.random.default_rng(seed)
    s, v = rng.normal(size=(3, sum(sizes))) * spread, rng.normal(size=(sum(sizes), 2))
    running = OnlineSoftmax.empty((3,), 2)
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
        running = running.merge(OnlineSoftmax.of(s[:, stop - size : stop], v[stop - size : stop]))
        mean, logsumexp = whole(s[:, :stop], v[:stop])  # after every block
        # the scores round the shift at 1,000 to 1e-13, and so the weights
        assert np.allclose(running.mean, mean, rtol=0, atol=1e-12)
        assert np.allclose(running.logsumexp, logsumexp, rtol=1e-15, atol=1e-13)
    assert (running.total >= 1).all() and (running.total <= sum(sizes)).all()


@pytest.mark.claim("attention.merge")
def test_merging_is_exact_in_exact_arithmetic():
    # scores ln 1, ln 2, ln 3, ..., whose exponentials are whole numbers; powers of two are exact in floating point
    s = np.log(2.0) * np.array([0, 3, 1, 5, 2])
    v = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])
    weights = [Fraction(2**n) for n in (0, 3, 1, 5, 2)]
    for size in range(1, 5):
        for part in itertools.combinations(range(5), size):
            rest = [j for j in range(5) if j not in part]
            both = OnlineSoftmax.of(s[list(part)], v[list(part)]).merge(OnlineSoftmax.of(s[rest], v[rest]))
            expected = sum(w * int(x) for w, x in zip(weights, v[:, 0], strict=True)) / sum(weights)
            assert abs(both.mean.item() - float(expected)) < 1e-14
            assert both.largest == s.max() and abs(both.total.item() * 2**5 - float(sum(weights))) < 1e-12


@pytest.mark.claim("attention.merge")
def test_nothing_is_neutral():
    some, nothing = OnlineSoftmax.of(np.array([1.0, -np.inf]), np.eye(2)), OnlineSoftmax.empty((), 2)
    for both in (some.merge(nothing), nothing.merge(some)):
        assert all((a == b).all() for a, b in zip(both, some, strict=True))
    forbidden = OnlineSoftmax.of(np.full(3, -np.inf), np.ones((3, 2)))
    assert all((a == b).all() for a, b in zip(forbidden, nothing, strict=True))
    assert np.isnan(nothing.mean).all() and nothing.logsumexp == -np.inf


@pytest.mark.claim("attention.merge-order")
def test_every_order_and_every_grouping():
    rng = np.random.default_rng(0)
    s, v = rng.normal(size=(4, 3)) * 40, rng.normal(size=(4, 3, 2))
    blocks = [OnlineSoftmax.of(a, b) for a, b in zip(s, v, strict=True)]
    mean, logsumexp = whole(s.reshape(-1), v.reshape(-1, 2))
    for a, b, c, d in itertools.permutations(blocks):
        for united in (a.merge(b).merge(c).merge(d), a.merge(b).merge(c.merge(d)), a.merge(b.merge(c).merge(d))):
            assert np.allclose(united.mean, mean, rtol=0, atol=1e-14)
            assert np.isclose(united.logsumexp, logsumexp, rtol=1e-15)


@pytest.mark.claim("attention.online-rounding")
@pytest.mark.parametrize("order", ["rising", "falling", "zigzag"])
def test_rounding_is_within_its_bound(order):
    # one score a block, so few additions, and differences that single precision holds exactly
    s = np.arange(24, dtype=np.float32) / 4
    s = s[::-1] if order == "falling" else np.stack([s[12:], s[:12]], 1).ravel() if order == "zigzag" else s
    running = OnlineSoftmax(*(x.astype(np.float32) for x in OnlineSoftmax.empty((), 1)))
    for x in s:
        running = running.merge(OnlineSoftmax.of(np.array([x]), np.zeros((1, 1), np.float32)))
    assert running.total.dtype == np.float32
    u = np.finfo(np.float32).eps / 2
    eta = 8 * u  # NumPy's exponential is off by less than four units in the last place
    exact = np.exp(s.astype(np.float64) - s.max())
    highest = np.maximum.accumulate(s)
    low = high = 0.0
    for i, term in enumerate(exact):
        r = int(s[i] < highest[i]) + int((highest[i + 1 :] > highest[i:-1]).sum())
        k = len(s) - i
        low += term * (1 - eta) ** (1 + r) * (1 - u) ** (r + k)
        high += term * (1 + eta) ** (1 + r) * (1 + u) ** (r + k)
    assert low <= running.total <= high
    # without the rounding of factors, the bound would be left
    assert high - exact.sum() < 400 * u * exact.sum()


@pytest.mark.claim("attention.online-rounding")
def test_the_factors_meet_in_one_exponential():
    # a term that is handed down through every maximum keeps its size, though each step multiplies by a rounded factor
    running = OnlineSoftmax.of(np.array([0.0]), np.ones((1, 1)))
    for n in range(1, 40):
        running = running.merge(OnlineSoftmax.of(np.array([n / 4]), np.zeros((1, 1))))
    u, eta = np.finfo(np.float64).eps / 2, 8 * np.finfo(np.float64).eps / 2
    error = running.weighted.item() / np.exp(-39 / 4) - 1
    assert abs(error) <= (1 + eta) ** 41 * (1 + u) ** 79 - 1


@pytest.mark.claim("attention.online-rounding")
def test_how_often_the_maximum_changes():
    # all orders of five: exhaustive
    changes = [sum(x == max(order[: i + 1]) for i, x in enumerate(order)) for order in itertools.permutations(range(5))]
    assert Fraction(sum(changes), len(changes)) == sum(Fraction(1, i) for i in range(1, 6))


def test_as_many_values_as_scores(shapes_unchecked):
    with pytest.raises(ValueError, match="each score has a value"):
        OnlineSoftmax.of(np.zeros(3), np.zeros((2, 1)))
