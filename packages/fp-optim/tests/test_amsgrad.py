"""Mirrors src/fp_optim/amsgrad.py. Sizes are distinct primes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim import _named
from fp_optim.adaptive import AdamW
from fp_optim.amsgrad import Adam, AMSGrad, amsgrad_bound, average_regret, fools_adam, play
from fp_optim.problems import logistic_data, logistic_regression


def by_the_formula(w, gradients, rates, betas, eps, penalty, amsgrad):
    """(E3) or Adam, read literally, with the penalty inside the gradient."""
    m, v, largest = (np.zeros_like(w) for _ in range(3))
    beta1, beta2 = betas
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        g = g + penalty * w
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        largest = np.maximum(largest, v)
        root = np.sqrt((largest if amsgrad else v) / (1 - beta2**t))
        w = w - lr * (m / (1 - beta1**t)) / (root + eps)
    return w


@pytest.mark.claim("optim.pieces")
@pytest.mark.parametrize("penalty", [0.0, 0.25])
@pytest.mark.parametrize("make", [Adam, AMSGrad])
def test_arrays_larger_than_a_piece_follow_the_formula(make, penalty):
    rng = np.random.default_rng(2)
    start = rng.normal(size=(191, 401))  # two whole pieces and a part
    assert start.size > 2 * _named.CHUNK and start.size % _named.CHUNK
    # later gradients are smaller, so that the largest mean of squares is not the last one
    gradients = rng.normal(size=(6, *start.shape)) * np.array([3, 2, 1, 0.1, 0.1, 0.1])[:, None, None]
    rates = [0.1, 0.2, 0.1, 0.05, 0.3, 0.1]
    parameter = start.copy()
    optimizer = make({"w": parameter}, betas=(0.8, 0.5), eps=1e-4, weight_decay=penalty)
    for g, lr in zip(gradients, rates, strict=True):
        optimizer.step({"w": g}, lr)
    expected = by_the_formula(start, gradients, rates, (0.8, 0.5), 1e-4, penalty, make is AMSGrad)
    np.testing.assert_allclose(parameter, expected, rtol=1e-11, atol=1e-13)  # rounding of six steps
    if make is AMSGrad:
        assert (optimizer.state["largest"]["w"] > optimizer.state["v"]["w"]).mean() > 0.5


def test_adam_without_decay_is_adamw_without_decay():
    rng = np.random.default_rng(0)
    a, b = np.ones((3, 5)), np.ones((3, 5))
    adam, adamw = Adam({"w": a}), AdamW({"w": b}, weight_decay=0.0)
    for g in rng.normal(size=(7, 3, 5)):
        adam.step({"w": g})
        adamw.step({"w": g})
    np.testing.assert_array_equal(a, b)


def test_decay_inside_the_gradient_differs_from_decay_beside_it():
    inside, beside = np.array([[1.0, 100.0]]), np.array([[1.0, 100.0]])
    adam, adamw = Adam({"w": inside}, 0.01, weight_decay=0.1), AdamW({"w": beside}, 0.01, weight_decay=0.1)
    for _ in range(100):
        adam.step({"w": np.zeros((1, 2))})
        adamw.step({"w": np.zeros((1, 2))})
    np.testing.assert_allclose(beside, 0.999**100 * np.array([[1.0, 100.0]]), rtol=1e-12)
    assert inside[0, 0] < 0.3 and inside[0, 1] > 98.9  # both have gone about one, whatever their size


def test_only_what_decays_is_penalized():
    p = {"w": np.ones((2, 2)), "b": np.ones(2), "free": np.ones((2, 2))}
    optimizer = AMSGrad(p, 0.1, weight_decay=0.5, groups=lambda n, a: {"weight_decay": 0.0} if n == "free" else {})
    optimizer.step({name: np.zeros_like(a) for name, a in p.items()})
    assert p["w"] == pytest.approx(0.9, rel=1e-6) and (p["b"] == 1).all() and (p["free"] == 1).all()


@given(st.integers(2, 12), st.floats(0.01, 9.0), st.floats(0.0, 0.99), st.floats(0.0, 1.0), st.booleans())
def test_the_condition_read_literally(period, more, beta2, eps, falling):
    C = period - 1 + more

    def excess(t, needed):
        rates = [1 / t**0.5 if falling else 1.0 for t in range(1, 2 * period + 1)]
        terms = [rates[t + j - 1] / rates[t - 1] / ((1 + beta2**j * C * C) ** 0.5 + eps) for j in range(1, period)]
        return sum(terms) - needed

    least = min(excess(1, 1), excess(period + 1, (1 - beta2) ** -0.5))
    if abs(least) > 1e-12:  # not decided by rounding
        assert fools_adam(period, C, beta2, eps, falling) == (least > 0)


@pytest.mark.claim("optim.adam-fooled")
@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("lr", [0.01, 0.5, 10.0])
@pytest.mark.parametrize(
    ("period", "large", "beta2", "eps"), [(3, 3.0, 0.1, 1e-8), (7, 7.0, 0.5, 0.01), (61, 61.0, 0.9, 1e-8)]
)
def test_where_the_condition_holds_adam_is_at_the_worst_point_every_period(period, large, beta2, eps, lr, falling):
    assert fools_adam(period, large, beta2, eps, falling)
    T = period * (1500 // period)
    x = play(lambda p: Adam(p, lr, (0.0, beta2), eps), period, large, T, falling)
    assert (x[::period] == 1).all()
    average = average_regret(x, period, large)[period - 1 :: period]
    assert (average >= 2 * (large - period + 1) / period - 1e-12).all()


@pytest.mark.claim("optim.adam-fooled")
@given(
    st.integers(2, 40), st.floats(0.1, 20.0), st.floats(0.0, 0.95), st.floats(1e-8, 1.0), st.booleans(),
    st.floats(0.01, 3.0),
)  # fmt: skip
def test_the_condition_is_enough_wherever_it_holds(period, more, beta2, eps, falling, lr):
    large = period - 1 + more
    if fools_adam(period, large, beta2, eps, falling):
        x = play(lambda p: Adam(p, lr, (0.0, beta2), eps), period, large, 4 * period, falling)
        # at a margin of nothing rounding may leave it short of 1 by a few units
        assert (x[::period] >= 1 - 1e-12).all()


@pytest.mark.claim("optim.adam-fooled")
def test_the_bounds_of_the_proof_on_the_means_of_squares():
    P, C, beta2 = 7, 9.0, 0.8
    v = 0.0
    for t in range(1, 200):
        g = C if t % P == 1 else -1.0
        v = beta2 * v + (1 - beta2) * g * g
        hat, j = v / (1 - beta2**t), (t - 1) % P
        if j == 0:
            assert hat >= (1 - beta2) * C**2 and v <= (1 - beta2**t) * C**2 * (1 + 1e-12)
        else:
            assert hat <= beta2**j * C**2 + 1 + 1e-12


@pytest.mark.claim("optim.adam-fooled")
def test_where_it_fails_by_far_adam_finds_the_best_point():
    assert not fools_adam(3, 3.0, 0.99)
    x = play(lambda p: Adam(p, 0.5, (0.0, 0.99)), 3, 3.0, 1500, falling=True)
    assert x[-300:].max() < -0.95


@pytest.mark.claim("optim.adam-always-fooled")
@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("beta2", [0.0, 0.1, 0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 1.0])
def test_a_period_that_fools_adam_exists(beta2, eps, falling):
    period = next(P for P in (3 * 2**k for k in range(20)) if fools_adam(P, float(P), beta2, eps, falling))
    assert period <= 60_000
    period *= 8  # where the bound of the proof from below says something
    J = next(J for J in range(1, 10**6) if beta2**J * period**2 <= 1)
    j = np.arange(1, period)
    total = (np.sqrt(1 / (1 + j)) / (np.sqrt(1 + beta2**j * period**2) + eps)).sum()
    assert total >= (period - J) / np.sqrt(period) / (np.sqrt(2) + eps)


def test_the_bound_by_hand():
    # betas 1/2 and 1/3: (1 + 1/2) / (1 - 1/2) = 3, (1 - 1/3) (1 - 3/4) = 1/6; sides 2 and 1, sizes 3 and 1, 25 rounds
    first = 4 * 3.5 / (2 * 0.1) * 5 + 3 * 0.1 * 3 * 6**0.5 * 5 + 2 * 3
    second = 1 * 1.5 / (2 * 0.1) * 5 + 3 * 0.1 * 1 * 6**0.5 * 5 + 1
    bound = amsgrad_bound(25, np.array([2.0, 1.0]), np.array([3.0, 1.0]), 0.1, (0.5, 1 / 3), 0.5)
    assert bound == pytest.approx(first + second, rel=1e-12)


@pytest.mark.claim("optim.amsgrad-regret")
@pytest.mark.parametrize("betas", [(0.0, 0.1), (0.0, 0.999), (0.9, 0.999), (0.5, 0.3)])
@pytest.mark.parametrize("lr", [0.05, 0.5, 5.0])
@pytest.mark.parametrize(("period", "large"), [(3, 3.0), (31, 45.0)])
def test_amsgrad_stays_under_its_bound_in_the_game_that_fools_adam(period, large, lr, betas):
    T = 1000
    x = play(lambda p: AMSGrad(p, lr, betas), period, large, T, falling=True)
    average = average_regret(x, period, large)
    for t in (1, 10, 100, T):
        bound = amsgrad_bound(t, np.array([2.0]), np.array([large]), lr, betas)
        assert average[t - 1] <= bound / t


@pytest.mark.claim("optim.amsgrad-regret")
@pytest.mark.parametrize("kind", ["random", "sparse", "adversary", "bursts"])
@pytest.mark.parametrize("betas", [(0.0, 0.5), (0.9, 0.999), (0.9, 0.82)])
def test_no_game_makes_the_regret_exceed_its_bound(kind, betas):
    rng = np.random.default_rng(5)
    low, high = np.array([-1.0, 0.0, -3.0, 2.0, -0.1]), np.array([1.0, 5.0, -1.0, 2.5, 0.1])
    w, T = high.copy(), 300
    # a small rate, so that the bound is near what happens
    optimizer = AMSGrad({"w": w}, 0.3, betas, eps=1e-3)
    points, gradients = [], []
    for t in range(1, T + 1):
        noise = rng.uniform(-1, 1, size=5)
        g = {
            "random": noise + 0.2,
            "sparse": noise * (rng.random(5) < 0.05),
            "adversary": np.where(w > (low + high) / 2, 1.0, -1.0),
            "bursts": np.where(t % 50 < 5, 1.0, -0.01) * np.array([1, 3, 0.1, -1, 10]),
        }[kind]
        points.append(w.copy())
        gradients.append(g)
        optimizer.step({"w": g}, 0.3 / np.sqrt(t).item())
        np.clip(w, low, high, out=w)
    slopes = np.sum(gradients, axis=0)
    regret = np.sum(np.array(gradients) * points) - np.minimum(slopes * low, slopes * high).sum()
    assert regret <= amsgrad_bound(T, high - low, np.abs(gradients).max(axis=0), 0.3, betas, 1e-3)


@pytest.mark.claim("optim.amsgrad-regret")
@given(st.floats(0.0, 0.9), st.floats(0.05, 0.99), st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_the_steps_of_the_proof(beta1, share, gradients):
    beta2 = beta1**2 + (1 - beta1**2) * share
    gamma = 1 / np.sqrt((1 - beta2) * (1 - beta1**2 / beta2))
    m = v = largest = h = total = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        largest, before = max(largest, v), h
        h = (1 - beta1**t) * (np.sqrt(largest * t / (1 - beta2**t)) + 1e-3 * np.sqrt(t))
        assert h >= before * (1 - 1e-12)  # never falls
        assert h <= np.sqrt(t) * (1 + 1e-3) * (1 + 1e-9)  # (E5)
        assert abs(m) <= (1 - beta1) * gamma * np.sqrt(largest) * (1 + 1e-9) + 1e-150
        total += m * m / h
        assert total <= 2 * gamma * np.sqrt(t) * (1 + 1e-9)  # (E6)


@pytest.mark.claim("optim.amsgrad-regret")
def test_logistic_regression_in_a_box_is_solved_at_the_rate_of_the_bound():
    problem = logistic_regression(*logistic_data(np.random.default_rng(1)), penalty=0.05)
    low, high = problem.minimiser - 1.0, problem.minimiser + 2.0
    for make in (AMSGrad, Adam):
        w, lr, betas = high.copy(), 0.5, (0.9, 0.999)
        optimizer, points, sizes = make({"w": w}, lr, betas), [], np.zeros_like(w)
        for t in range(1, 401):
            points.append(w.copy())
            g = problem.grad(w)
            sizes = np.maximum(sizes, abs(g))
            optimizer.step({"w": g}, lr / t**0.5)
            np.clip(w, low, high, out=w)
            if make is AMSGrad and t in (1, 10, 100, 400):
                gap = problem.f(np.mean(points, axis=0)) - problem.minimum
                assert gap <= amsgrad_bound(t, high - low, sizes, lr, betas) / t
        assert problem.f(w) - problem.minimum < 1e-4  # Adam has no such bound, and does well all the same


@pytest.mark.parametrize("make", [Adam, AMSGrad])
def test_a_run_continues_from_its_state_to_the_same_bits(make):
    rng = np.random.default_rng(6)
    gradients = rng.normal(size=(7, 3, 2)) * np.arange(7, 0, -1)[:, None, None]
    straight = {"w": np.ones((3, 2))}
    optimizer = make(straight, 0.1, (0.9, 0.5), weight_decay=0.1)
    for g in gradients[:4]:
        optimizer.step({"w": g})
    resumed = {"w": straight["w"].copy()}
    continued = make(resumed, 0.1, (0.9, 0.5), weight_decay=0.1)
    continued.load_state_dict(optimizer.state_dict())
    for g in gradients[4:]:
        optimizer.step({"w": g})
        continued.step({"w": g})
    np.testing.assert_array_equal(resumed["w"], straight["w"])


def test_float32_stays_float32_and_a_step_allocates_nothing(peak_bytes):
    parameters = {"w": np.ones((503, 509), dtype=np.float32)}
    grads = {"w": np.full((503, 509), 0.5, dtype=np.float32)}
    for make in (Adam, AMSGrad):
        optimizer = make(parameters, weight_decay=0.1)
        assert peak_bytes(lambda: optimizer.step(grads)) < 100_000  # noqa: B023, called at once; one copy is 1 MB
        assert parameters["w"].dtype == np.float32
        assert all(kept["w"].dtype == np.float32 for kept in optimizer.state.values())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: Adam(p, -1), "the learning rate must be finite and not negative, got -1"),
        (lambda p: AMSGrad(p, betas=(0.9, 1.0)), r"betas must lie in \[0, 1\), got \(0.9, 1.0\)"),
        (lambda p: Adam(p, eps=0.0), "eps must be positive and finite, got 0.0"),
        (lambda p: AMSGrad(p, weight_decay=-1), "weight_decay must be finite and not negative, got -1"),
        (lambda p: Adam(p, groups=lambda n, a: {"penalty": 1.0}), "Adam has no setting penalty, given for w"),
        (lambda p: play(Adam, 3, 2.0, 5), "large > period - 1, got period=3, large=2.0"),
        (lambda p: fools_adam(1, 3.0, 0.5), "period >= 2 and large > period - 1, got period=1"),
        (lambda p: average_regret(np.ones(3), 3, 1.0), "large > period - 1, got period=3, large=1.0"),
        (lambda p: amsgrad_bound(3, np.ones(1), np.ones(1), 0.1, (0.9, 0.5)), r"beta1\^2 < beta2, got \(0.9, 0.5\)"),
    ],
)
@pytest.mark.usefixtures("unenforced")
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call({"w": np.ones(2)})
