"""The step, clipping, and what the loop watches."""

import math

import numpy as np
import pytest

from fp_autograd.rules import exp, sin
from fp_neural.module import Module, Parameter
from fp_neural.training import clip_norm, gradient_norm, gradient_step, train


class Point(Module):
    def __init__(self, *start, dtype=np.float64):
        super().__init__()
        self.w = Parameter(np.array(start, dtype))


def bumpy(w):
    return (sin(3 * w) + 0.5 * w * w).sum() + exp(w[0] * w[1])


@pytest.mark.claim("neural.descent")
def test_a_small_enough_step_gains_half_of_what_the_slope_promises():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = Point(*rng.normal(size=3))
        before = bumpy(p.w)
        before.backward()
        square, start = float(p.w.grad @ p.w.grad), p.w.data.copy()
        rates, gained = 0.5 ** np.arange(30), []
        for rate in rates:
            p.w.data[:] = start
            gradient_step([p.w], rate)
            gained.append(bumpy(p.w).item() <= before.item() - 0.5 * rate * square)
        last_failure = max((i for i, g in enumerate(gained) if not g), default=-1)
        assert last_failure < 12  # from some rate on, all; the second slopes here are below about a thousand


@pytest.mark.claim("neural.parabola-rate")
@pytest.mark.parametrize("c", [0.25, 1.0, 8.0])
@pytest.mark.parametrize("share", [0.5, 1.0, 1.5, 1.875, 2.0, 2.125])
def test_the_rate_decides_on_a_parabola(c, share):
    p = Point(3.0)
    sizes = [3.0]
    while len(sizes) < 400 and 1e-6 < abs(sizes[-1]) < 1e6:
        p.zero_grad()
        (0.5 * c * p.w * p.w).sum().backward()
        gradient_step([p.w], share / c)
        sizes.append(p.w.item())
        assert sizes[-1] == pytest.approx((1 - share) * sizes[-2], rel=1e-14)  # a few roundings
    assert (abs(sizes[-1]) < 1e-6) == (share < 2)
    assert (sizes[1] == 0) == (share == 1)


@pytest.mark.claim("neural.clipping")
def test_clipping_finds_the_nearest_short_vector():
    rng = np.random.default_rng(1)
    for m in (0.3, 1.0, 5.0):
        a, b = Parameter(np.zeros((2, 3))), Parameter(np.zeros(2))
        a.grad, b.grad = rng.normal(size=(2, 3)), rng.normal(size=2)
        g = np.concatenate([a.grad.ravel(), b.grad])
        norm = clip_norm({"a": a, "b": b}, m)
        v = np.concatenate([a.grad.ravel(), b.grad])
        assert norm == pytest.approx(np.linalg.norm(g), rel=1e-14)
        assert np.linalg.norm(v) == pytest.approx(min(m, norm), rel=1e-14)
        np.testing.assert_allclose(v * norm, g * np.linalg.norm(v), rtol=1e-13)  # the same direction
        others = rng.normal(size=(2000, 8))
        others *= (m * rng.random(2000) ** 0.125 / np.linalg.norm(others, axis=1))[:, None]  # uniform in the ball
        assert (np.linalg.norm(others - g, axis=1) >= np.linalg.norm(v - g) - 1e-12).all()


def test_parameters_without_a_gradient_stay():
    p, q = Parameter([1.0]), Parameter([1.0])
    (p * 2).sum().backward()
    assert clip_norm({"p": p, "q": q}, 1.0) == 2.0
    gradient_step([p, q], 1.0)
    assert (p.item(), q.item()) == (0.0, 1.0)


def test_single_precision_stays_and_does_not_overflow_in_the_norm():
    p = Parameter(np.ones(4, np.float32))
    p.grad = np.full(4, 1e30, np.float32)
    assert clip_norm({"p": p}, 1.0) == pytest.approx(2e30)
    np.testing.assert_allclose(p.grad, 0.5, rtol=1e-6)
    gradient_step([p], 0.1)
    assert p.data.dtype == p.grad.dtype == np.float32


def test_the_loop_records_what_happened():
    p = Point(1.0, -2.0)
    modes = []

    def loss(c):
        modes.append(p.training)
        return 0.5 * c * (p.w * p.w).sum()

    def held_out():
        assert not p.training
        return float(p.w.data @ p.w.data)

    history = train(p, loss, [(1.0,)] * 5, rate=lambda n: 0.5 / (n + 1), held_out=held_out, every=2)
    w2, expected = 5.0, []
    for n in range(5):
        expected.append(0.5 * w2)
        w2 *= (1 - 0.5 / (n + 1)) ** 2
    np.testing.assert_allclose(history.losses, expected, rtol=1e-13)
    np.testing.assert_allclose(history.norms, np.sqrt(2 * np.array(expected)), rtol=1e-13)
    assert [n for n, _ in history.held_out] == [2, 4, 5]
    assert history.held_out[-1][1] == pytest.approx(w2, rel=1e-13)
    assert all(modes)
    assert history.seconds > 0


def test_held_out_is_measured_once_at_the_end():
    p = Point(1.0)
    history = train(p, lambda: (p.w * p.w).sum(), [()] * 4, rate=0.1, held_out=lambda: 1.0, every=2)
    assert [n for n, _ in history.held_out] == [2, 4]


def test_another_step_fits_in():
    p, seen = Point(1.0), []
    train(p, lambda: (p.w * p.w).sum(), [()] * 3, rate=0.1, step=lambda ps, rate: seen.append((rate, *ps)))
    assert all(rate == 0.1 and w is p.w for rate, w in seen)
    assert len(seen) == 3


def test_a_loss_that_is_not_finite_stops_before_the_step():
    p = Point(1.0)
    losses = iter([1.0, math.nan])
    with pytest.raises(FloatingPointError, match=r"the loss of batch 1 is nan\. A rate that is too large"):
        train(p, lambda: (p.w * next(losses)).sum(), [()] * 2, rate=0.5)
    assert p.w.item() == 0.5


def test_a_gradient_that_is_not_finite_is_named():
    p = Point(0.0)
    with np.errstate(divide="ignore"), pytest.raises(FloatingPointError, match="the gradient of w is not finite"):
        train(p, lambda: p.w.sqrt().sum(), [()], rate=0.5)
    assert p.w.item() == 0.0
    assert gradient_norm({}) == 0.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: gradient_step([p.w], -1), "the rate must be zero or more and finite, got -1"),
        (lambda p: gradient_step([p.w], math.nan), "the rate must be zero or more and finite, got nan"),
        (lambda p: clip_norm({"w": p.w}, 0), "the largest norm must be above zero, got 0"),
        (lambda p: train(p, lambda: None, [], rate=1), "there is no batch"),
        (lambda p: train(p.freeze(), lambda: None, [()], rate=1), r"Point has nothing to train: .* unfreeze\(\)"),
        (lambda p: train(p, lambda: None, [()], rate=1, every=0), "every must be one or more, got 0"),
    ],
)
def test_settings_out_of_range(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(Point(1.0))
