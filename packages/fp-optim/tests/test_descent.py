"""Mirrors src/fp_optim/descent.py. Each bound: measurements lie under it, it is not idle, and its hypotheses matter."""

import importlib.util
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim.descent import best_rate, contraction, convex_bound, gradient_descent, linear_bound, stationary_bound
from fp_optim.optimizer import SGD
from fp_optim.problems import huber, logistic_data, logistic_regression, quadratic

seeds = st.integers(0, 2**32 - 1)
rates = st.floats(0.01, 1.99)  # times 1 / L
T = np.arange(1, 151)


def ill(n=7, least=1e-2):
    return quadratic(np.geomspace(least, 2.0, n), np.random.default_rng(0), np.arange(n) / n)


CONVEX = {
    "quadratic": ill(),
    "singular": quadratic(np.array([0.0, 0.0, 0.05, 0.5, 3.0]), np.random.default_rng(1)),
    "logistic": logistic_regression(*logistic_data(np.random.default_rng(2)), penalty=1e-2),
    "huber": huber(0.1, L=2.0),
}
every_convex = pytest.mark.parametrize("problem", [pytest.param(p, id=name) for name, p in CONVEX.items()])
STRONG = ["quadratic", "logistic"]
every_strong = pytest.mark.parametrize("problem", [pytest.param(CONVEX[name], id=name) for name in STRONG])


def waves(x):  # smooth with L = 1, at least -len(x), not convex
    return float(np.cos(x).sum())


def waves_grad(x):
    return -np.sin(x)


def bumpy(x):  # x² + 3 sin² x: smooth with L = 2 + 6, smallest at 0, not convex, PL with 1/32
    return float(x[0] ** 2 + 3 * np.sin(x[0]) ** 2)


def bumpy_grad(x):
    return 2 * x + 3 * np.sin(2 * x)


def start_of(problem, seed, scale=3.0):
    n = len(problem.minimiser)
    return problem.minimiser + scale * np.random.default_rng(seed).normal(size=n)


def squares(problem, path):
    return np.array([float(g @ g) for g in map(problem.grad, path)])


def steepest_and_flattest(problem):
    """Starts one away from the minimum of a quadratic function along its last and its first eigenvector."""
    Q = np.linalg.eigh(problem.hessian(problem.minimiser))[1]
    return problem.minimiser + Q[:, -1], problem.minimiser + Q[:, 0]


def test_the_points_by_hand_and_the_start_is_kept():
    x0 = np.array([4.0, 1.0])
    path = gradient_descent(lambda x: np.array([1.0, 2.0]) * x, x0, 0.25, 2)
    assert path.tolist() == [[4.0, 1.0], [3.0, 0.5], [2.25, 0.25]] and x0.tolist() == [4.0, 1.0]
    assert gradient_descent(lambda x: x, x0, 0.1, 0).tolist() == [x0.tolist()]


def test_the_optimizer_of_the_chapter_takes_the_same_steps():
    problem = CONVEX["logistic"]
    x = np.ones(7)
    path = gradient_descent(problem.grad, x.copy(), 0.7, 20)
    optimizer = SGD({"x": x}, lr=0.7)
    for point in path[1:]:
        optimizer.step({"x": problem.grad(x)})
        np.testing.assert_allclose(x, point, rtol=1e-14)


@pytest.mark.claim("optim.descent-step")
@every_convex
@given(seed=seeds, rate=st.floats(0, 4))
def test_every_step_keeps_what_it_promises(problem, seed, rate):
    lr = rate / problem.L
    before, after = gradient_descent(problem.grad, start_of(problem, seed), lr, 1)
    promised = lr * (1 - problem.L * lr / 2) * squares(problem, [before])[0]
    assert problem.f(after) <= problem.f(before) - promised + 1e-12 * (1 + problem.f(before))


@pytest.mark.claim("optim.descent-step")
@given(x=st.floats(-50, 50), rate=st.floats(0, 4))
def test_the_promise_does_not_ask_for_convexity(x, rate):
    before, after = gradient_descent(waves_grad, np.array([x]), rate, 1)
    assert waves(after) <= waves(before) - rate * (1 - rate / 2) * waves_grad(before)[0] ** 2 + 1e-14


@pytest.mark.claim("optim.descent-step")
def test_on_a_parabola_the_promise_is_met_exactly_and_beyond_two_over_L_the_value_rises():
    bowl = quadratic(np.array([4.0]))
    for lr in (0.0, 0.125, 0.25, 0.375, 0.5, 0.625):  # sums of powers of two: no rounding
        before, after = gradient_descent(bowl.grad, np.array([2.0]), lr, 1)
        assert bowl.f(after) == bowl.f(before) - lr * (1 - 2 * lr) * 8.0**2
        assert (bowl.f(after) < bowl.f(before)) == (0 < lr < 0.5)
    promises = [lr * (1 - 4 * lr / 2) for lr in np.linspace(0, 0.5, 101)]
    assert np.argmax(promises) == 50 and max(promises) == pytest.approx(1 / 8, rel=1e-15)  # 1 / (2L) at 1 / L


@pytest.mark.claim("optim.stationary-rate")
@every_convex
@given(seed=seeds, rate=rates)
def test_the_smallest_gradient_lies_under_its_bound(problem, seed, rate):
    lr = rate / problem.L
    path = gradient_descent(problem.grad, start_of(problem, seed), lr, len(T))
    smallest = np.minimum.accumulate(squares(problem, path[:-1]))
    gap = max(float(problem.gaps(path[:1])[0]), 0.0)
    assert (smallest <= stationary_bound(problem.L, gap, T, lr) * (1 + 1e-9) + 1e-25).all()


@pytest.mark.claim("optim.stationary-rate")
@given(seed=seeds, rate=st.floats(0.05, 1.95))
def test_also_without_convexity_and_the_gradient_vanishes(seed, rate):
    path = gradient_descent(waves_grad, 5 * np.random.default_rng(seed).normal(size=3), rate, 2500)
    gradients = (np.sin(path) ** 2).sum(1)
    smallest = np.minimum.accumulate(gradients[: len(T)])
    assert (smallest <= stationary_bound(1.0, waves(path[0]) + 3, T, rate) * (1 + 1e-9)).all()
    assert gradients[-1] < 1e-20


@pytest.mark.claim("optim.stationary-rate")
def test_what_is_not_bounded_below_has_no_such_bound_and_a_large_rate_breaks_it():
    slope = gradient_descent(lambda x: np.ones(1), np.zeros(1), 1.0, 300)  # f = x, smooth with every L
    for m in (-1.0, -100.0):  # whatever one takes for its smallest value, the gradient stays 1
        assert stationary_bound(1.0, slope[0, 0] - m, 300) < 1
    bowl = ill()
    steep, _ = steepest_and_flattest(bowl)
    path = gradient_descent(bowl.grad, steep, 2.05 / bowl.L, 300)
    smallest = np.minimum.accumulate(squares(bowl, path[:-1]))
    assert smallest[-1] > 100 * stationary_bound(bowl.L, bowl.f(steep), 300)  # even the bound of the best rate


@pytest.mark.claim("optim.never-farther")
@every_convex
@given(seed=seeds, rate=st.floats(0, 2))
def test_steps_never_take_two_points_farther_apart(problem, seed, rate):
    lr = rate / problem.L
    x, y = start_of(problem, seed), start_of(problem, seed + 1)
    for one, other in ((x, y), (x, problem.minimiser)):
        v, w = one - other, problem.grad(one) - problem.grad(other)
        after = v - lr * w
        assert after @ after <= v @ v - lr * (2 / problem.L - lr) * (w @ w) + 1e-11
        assert np.linalg.norm(after) <= np.linalg.norm(v) + 1e-12


@pytest.mark.claim("optim.never-farther")
def test_beyond_two_over_L_or_without_convexity_they_may():
    bowl = ill()
    steep, _ = steepest_and_flattest(bowl)
    apart = lambda grad, x, y, lr: np.linalg.norm(x - lr * grad(x) - y + lr * grad(y)) / np.linalg.norm(x - y)  # noqa: E731
    assert apart(bowl.grad, steep, bowl.minimiser, 2 / bowl.L) == pytest.approx(1, rel=1e-12)
    assert apart(bowl.grad, steep, bowl.minimiser, 2.01 / bowl.L) > 1.009
    assert apart(waves_grad, np.array([0.1]), np.array([-0.1]), 0.5) > 1.4  # two sides of a hill


@pytest.mark.claim("optim.convex-rate")
@every_convex
@given(seed=seeds, rate=st.floats(0.01, 1))
def test_the_gap_lies_under_the_convex_bound(problem, seed, rate):
    lr = rate / problem.L
    x0 = start_of(problem, seed)
    gaps = problem.gaps(gradient_descent(problem.grad, x0, lr, len(T)))[1:]
    distance = float(np.linalg.norm(x0 - problem.minimiser))
    assert (gaps <= convex_bound(problem.L, distance, T, lr) * (1 + 1e-9) + 1e-15).all()


@pytest.mark.claim("optim.convex-rate")
def test_the_convex_bound_needs_its_rate_and_convexity():
    bowl = quadratic(np.array([1.0]))
    gap = bowl.gaps(gradient_descent(bowl.grad, np.ones(1), 1.9, 1))[1]
    assert gap > 1 / (2 * 1.9)  # with a rate above 1 / L the same formula is false
    path = gradient_descent(waves_grad, np.array([1e-6]), 1.0, 10)  # near the top of a hill, pi from a minimum
    assert waves(path[-1]) + 1 > 3 * convex_bound(1.0, math.pi, 10)


@pytest.mark.claim("optim.linear-rate")
@every_strong
@given(seed=seeds, rate=rates)
def test_the_gap_lies_under_the_linear_bound(problem, seed, rate):
    lr = rate / problem.L
    gaps = problem.gaps(gradient_descent(problem.grad, start_of(problem, seed), lr, len(T)))
    bound = linear_bound(problem.L, problem.mu, max(float(gaps[0]), 0.0), np.arange(len(gaps)), lr)
    assert (gaps <= bound * (1 + 1e-9) + 1e-15).all()


@pytest.mark.claim("optim.linear-rate")
def test_pl_is_enough_without_a_single_minimum_or_without_convexity():
    singular = CONVEX["singular"]
    gaps = singular.gaps(gradient_descent(singular.grad, start_of(singular, 3), 1 / singular.L, 300))
    assert (gaps <= linear_bound(3.0, 0.05, float(gaps[0]), np.arange(301)) * (1 + 1e-12)).all()
    xs = np.linspace(-10, 10, 200_001)[:, None]
    quotients = [bumpy_grad(x)[0] ** 2 / (2 * bumpy(x)) for x in xs[::50] if x[0]]
    assert min(quotients) > 1 / 32 and (np.diff(bumpy_grad(xs[:, 0])) < 0).any()
    for x0 in (-7.3, 2.2, 5.0):
        values = np.array([bumpy(x) for x in gradient_descent(bumpy_grad, np.array([x0]), 1 / 8, 300)])
        assert (values <= linear_bound(8.0, 1 / 32, values[0], np.arange(301)) * (1 + 1e-12)).all()


@pytest.mark.claim("optim.linear-rate")
def test_without_pl_there_is_no_linear_rate():
    valley = CONVEX["huber"]
    for far in (1.0, 10.0, 100.0):  # a step gains the less of the gap the farther away it starts
        first, second = valley.gaps(gradient_descent(valley.grad, np.array([far]), 1 / valley.L, 1))
        assert second / first > 1 - 0.2 / far
    gaps = gradient_descent(lambda x: 4 * x**3, np.ones(1), 1 / 12, 3000)[:, 0] ** 4  # |12 x²| <= 12 on the way
    factors = gaps[1:] / gaps[:-1]
    assert (np.diff(factors) > 0).all() and factors[-1] > 0.999


@pytest.mark.claim("optim.linear-rate")
def test_the_linear_bound_promises_half_the_digits_of_the_worst_start():
    bowl = ill()
    _, flat = steepest_and_flattest(bowl)
    gaps = bowl.gaps(gradient_descent(bowl.grad, flat, 1 / bowl.L, 2000))
    needed = int(np.argmax(gaps <= 1e-6 * gaps[0]))
    promised = next(t for t in range(10_000) if linear_bound(bowl.L, bowl.mu, 1.0, t) <= 1e-6)
    assert needed < promised <= 2 * needed + 1


@pytest.mark.claim("optim.contraction")
@every_strong
@given(seed=seeds, rate=st.floats(0, 3))
def test_every_step_brings_points_together_as_promised(problem, seed, rate):
    lr = rate / problem.L
    x, y = start_of(problem, seed), start_of(problem, seed + 1, scale=0.5)
    after = x - y - lr * (problem.grad(x) - problem.grad(y))
    assert np.linalg.norm(after) <= contraction(problem.L, problem.mu, lr) * np.linalg.norm(x - y) + 1e-12


@pytest.mark.claim("optim.contraction")
@every_strong
def test_the_distance_lies_under_its_bound(problem):
    for lr in (0.3 / problem.L, 1 / problem.L, best_rate(problem.L, problem.mu), 1.99 / problem.L):
        path = gradient_descent(problem.grad, start_of(problem, 4), lr, 300)
        distances = np.linalg.norm(path - problem.minimiser, axis=1)
        q = contraction(problem.L, problem.mu, lr)
        assert (distances <= q ** np.arange(301) * distances[0] + 1e-13).all()
        # and the value, through (E8) of norms
        bound = problem.L / 2 * q ** (2 * np.arange(301)) * distances[0] ** 2
        assert (problem.gaps(path) <= bound * (1 + 1e-9) + 1e-15).all()


@pytest.mark.claim("optim.contraction")
@given(st.floats(1e-3, 1.0), st.floats(0, 4))
def test_the_best_rate_is_the_best_and_rates_up_to_two_over_L_contract(mu, rate):
    L = 1.0
    best = contraction(L, mu, best_rate(L, mu))
    assert best == pytest.approx((1 / mu - 1) / (1 / mu + 1), abs=1e-12)
    assert contraction(L, mu, rate) >= best - 1e-15
    if 0 < rate < 1e-10:  # 1 - rate is rounded to 1
        return
    assert (contraction(L, mu, rate) < 1) == (0 < rate < 2)


@pytest.mark.claim("optim.contraction")
def test_a_function_that_is_not_strongly_convex_does_not_contract():
    valley = huber(0.1)
    x, y = np.array([2.0]), np.array([3.0])
    assert x - valley.grad(x) - y + valley.grad(y) == pytest.approx(x - y, rel=1e-15)


@pytest.mark.claim("optim.quadratic-descent")
@given(seed=seeds, rate=st.floats(0, 2.2))
def test_the_closed_form_of_descent_on_a_quadratic_function(seed, rate):
    bowl = ill()
    lr = rate / bowl.L
    eigenvalues, Q = np.linalg.eigh(bowl.hessian(bowl.minimiser))
    path = gradient_descent(bowl.grad, start_of(bowl, seed), lr, 50)
    c0 = Q.T @ (path[0] - bowl.minimiser)
    powers = (1 - lr * eigenvalues) ** np.arange(51)[:, None]
    # rounding of each step is carried on with a factor of at most 1.2, to 1.2^50 = 9100 times 1e-15
    np.testing.assert_allclose((path - bowl.minimiser) @ Q, powers * c0, atol=1e-10)
    np.testing.assert_allclose(bowl.gaps(path), (powers**2 * c0**2) @ eigenvalues / 2, rtol=1e-7, atol=1e-12)


@pytest.mark.claim("optim.quadratic-descent")
def test_it_converges_below_two_over_L_cycles_there_and_diverges_above():
    bowl = ill()
    for rate, lowest, highest in ((0.01, 0, 0.9), (1.0, 0, 1e-10), (1.99, 0, 1e-7), (2.01, 1e5, math.inf)):
        gaps = bowl.gaps(gradient_descent(bowl.grad, start_of(bowl, 5), rate / bowl.L, 3000)[[0, -1]])
        assert lowest <= gaps[1] / gaps[0] <= highest
    flip = quadratic(np.array([2.0, 0.5]))
    path = gradient_descent(flip.grad, np.array([1.0, 1.0]), 1.0, 1000)
    assert path[::2, 0].tolist() == [1.0] * 501 and path[1::2, 0].tolist() == [-1.0] * 500  # no rounding
    # a start without the steepest direction never sees it
    path = gradient_descent(flip.grad, np.array([0.0, 1.0]), 3.0, 1000)
    assert not path[:, 0].any() and flip.f(path[-1]) < 1e-200


@pytest.mark.claim("optim.quadratic-descent")
def test_the_distance_bound_is_an_equality_from_the_two_worst_starts():
    bowl = ill()
    steep, flat = steepest_and_flattest(bowl)
    best = best_rate(bowl.L, bowl.mu)
    for lr, starts in ((0.5 / bowl.L, [flat]), (best, [steep, flat]), (1.999 / bowl.L, [steep])):
        for x0 in starts:
            path = gradient_descent(bowl.grad, x0, lr, 100)
            distances = np.linalg.norm(path - bowl.minimiser, axis=1)
            # 1e-9: the rounded start has 1e-16 of the slower direction, which decays no faster than this one
            np.testing.assert_allclose(distances, contraction(bowl.L, bowl.mu, lr) ** np.arange(101), rtol=1e-9)


@pytest.mark.claim("optim.worst-function")
@given(st.integers(1, 60), st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_plateau_that_lasts_as_long_as_the_run(steps, L, r):
    slow = huber(r / (2 * steps + 1), L)
    gap = slow.f(gradient_descent(slow.grad, np.array([r]), 1 / L, steps)[-1])
    assert gap == pytest.approx(L * r * r / (4 * steps + 2), rel=1e-12)
    assert convex_bound(L, r, steps) / gap == pytest.approx(2 + 1 / steps, rel=1e-12)
    flat = huber(r / steps, L)
    path = gradient_descent(flat.grad, np.array([r]), 1 / L, steps)
    smallest = min(squares(flat, path[:-1]))
    assert stationary_bound(L, flat.f(path[0]), steps) / smallest == pytest.approx(2 - 1 / steps, rel=1e-9)


@pytest.mark.claim("optim.worst-function")
def test_no_other_width_is_worse():
    for steps in (1, 3, 7):
        gaps = []
        for w in np.linspace(1e-3, 1.0, 1000):
            slow = huber(float(w))
            gaps.append(slow.f(gradient_descent(slow.grad, np.ones(1), 1.0, steps)[-1]))
        assert max(gaps) <= 1 / (4 * steps + 2) + 1e-15
        assert max(gaps) == pytest.approx(1 / (4 * steps + 2), rel=1e-3)  # the grid comes that near


@pytest.mark.claim("optim.saddle-escape")
@given(seed=seeds, rate=st.floats(0.05, 1.95))
def test_a_random_start_leaves_the_saddle(seed, rate):
    rng = np.random.default_rng(seed)
    eigenvalues, Q = np.array([1.0, 0.3, -0.2]), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    S = Q * eigenvalues @ Q.T
    x0 = rng.normal(size=3)
    c = abs(float(Q[:, 2] @ x0))
    n_steps = math.ceil(math.log(1e3 / c) / math.log1p(0.2 * rate))  # until that coordinate is 1000
    path = gradient_descent(lambda x: S @ x, x0, rate, n_steps)
    assert np.linalg.norm(path[-1]) > 999
    assert path[-1] @ S @ path[-1] / 2 < -0.9e5  # -0.2 / 2 times 10⁶, and what is left of the others


@pytest.mark.claim("optim.saddle-escape")
def test_only_starts_without_the_falling_directions_arrive():
    falls = lambda x: np.array([1.0, 0.5, -0.25]) * x  # noqa: E731
    assert np.abs(gradient_descent(falls, np.array([3.0, -2.0, 0.0]), 1.0, 200)[-1]).max() < 1e-50
    for delta in (1e-3, 1e-9):
        path = gradient_descent(falls, np.array([3.0, -2.0, delta]), 1.0, 200)
        first = int(np.argmax(np.abs(path[:, 2]) >= 1))
        assert first == math.ceil(math.log(1 / delta) / math.log(1.25))
    # without a negative eigenvalue there is nothing to escape along
    assert np.abs(gradient_descent(lambda x: np.array([1.0, 0.5, 0.25]) * x, np.ones(3), 1.0, 200)[-1]).max() < 1e-20


def test_a_single_function_may_stand_more_than_two_over_L_but_not_more_than_its_own_curvature():
    problem = CONVEX["logistic"]
    own = float(np.linalg.eigvalsh(problem.hessian(problem.minimiser))[-1])
    assert own < 0.95 * problem.L
    arrived = gradient_descent(problem.grad, np.zeros(7), 2.05 / problem.L, 2000)[-1]
    assert problem.gaps(arrived[None])[0] < 1e-12
    stuck = gradient_descent(problem.grad, np.zeros(7), 2.1 / own, 2000)[-1]
    assert problem.gaps(stuck[None])[0] > 1e-3


def test_the_bounds_by_hand():
    assert stationary_bound(2.0, 3.0, 4) == 3.0 == stationary_bound(2.0, 3.0, 4, lr=0.5)
    assert stationary_bound(2.0, 3.0, 4, lr=0.25) == 3 / (0.25 * 0.75 * 4)
    assert convex_bound(2.0, 3.0, 4, lr=0.25) == 9 / 2
    assert linear_bound(2.0, 1.0, 8.0, 3) == 1.0 and linear_bound(2.0, 1.0, 8.0, 1, lr=0.75) == 8 * (1 - 1.5 * 0.25)
    assert contraction(4.0, 1.0, 0.25) == 0.75 and best_rate(3.0, 1.0) == 0.5
    assert convex_bound(3.0, 1.0, 2, lr=1 / 3) == pytest.approx(3 / 4, rel=1e-15)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="the learning rate must be finite and not negative, got -1"):
        gradient_descent(lambda x: x, np.ones(1), -1, 3)
    with pytest.raises(ValueError, match="the number of steps is not negative, got -1"):
        gradient_descent(lambda x: x, np.ones(1), 0.1, -1)
    for bound in (stationary_bound, convex_bound):
        for L in (0, -1.0, math.inf, math.nan):
            with pytest.raises(ValueError, match="the constant of smoothness must be positive and finite, got"):
                bound(L, 1.0, 1)
        with pytest.raises(ValueError, match="a gap or a distance at the start must be finite and not negative"):
            bound(1.0, -1.0, 1)
        with pytest.raises(ValueError, match="the bound holds from T=1 on, got T=0"):
            bound(1.0, 1.0, np.array([3, 0]))
        for lr in (0.0, 2.0, math.nan):
            with pytest.raises(ValueError, match=r"a bound needs a rate between 0 and 2 / L = 2\.0, got"):
                bound(1.0, 1.0, 1, lr)
    with pytest.raises(ValueError, match=r"for this bound the rate must be at most 1 / L = 0\.5, got 0\.6"):
        convex_bound(2.0, 1.0, 1, lr=0.6)
    for call in (
        lambda L, mu: linear_bound(L, mu, 1.0, 1),
        lambda L, mu: contraction(L, mu, 0.1),
        lambda L, mu: best_rate(L, mu),
    ):
        for L, mu in ((1.0, 0.0), (1.0, 1.1), (math.inf, 1.0), (math.nan, 1.0)):
            with pytest.raises(ValueError, match="the constants must be finite with 0 < mu <= L, got"):
                call(L, mu)
    with pytest.raises(ValueError, match="the bound holds from T=0 on, got T=-1"):
        linear_bound(1.0, 1.0, 1.0, -1)


@pytest.fixture(scope="module")
def figure():
    file = Path(__file__).parents[1] / "figures" / "rates.py"
    spec = importlib.util.spec_from_file_location("figure_rates", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_line_of_the_figure_is_above_a_bound(figure):
    found = figure.panels()
    assert len(found) == 6
    for panel in found:
        for name, values in panel.lines.items():
            # 1e-12 of a bound that is exact after one step; 1e-15: the gap is a difference of numbers below 1
            assert (panel.lines["measured"] <= values * (1 + 1e-12) + 1e-15).all(), (panel.problem, name)
    drawn = figure.drawing(found) + figure.table(found)
    root = ElementTree.fromstring(f"<figure>{drawn}</figure>")
    assert len(root.findall("./table/tbody/tr")) == 15 and root.find("./svg/title") is not None
