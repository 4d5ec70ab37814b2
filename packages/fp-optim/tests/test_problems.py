"""Mirrors src/fp_optim/problems.py. Sizes are distinct primes."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim.descent import best_rate, gradient_descent
from fp_optim.problems import huber, logistic_data, logistic_regression, newton, quadratic


def central(function, x, h=1e-5):
    """The slopes of a function, a column for each coordinate of x, by differences."""
    return np.stack([(function(x + h * e) - function(x - h * e)) / (2 * h) for e in np.eye(len(x))], axis=-1)


@pytest.fixture(scope="module")
def logistic():
    return logistic_regression(*logistic_data(np.random.default_rng(0)), penalty=1e-2)


def rounded():
    return quadratic(np.array([3.0, 0.2, 1.0]), np.random.default_rng(1), np.array([1.0, -2.0, 0.5]))


@pytest.mark.claim("optim.quadratic-constants")
def test_a_quadratic_function_has_the_spectrum_that_was_asked_for():
    problem = rounded()
    x = np.array([0.3, -0.7, 2.0])
    np.testing.assert_allclose(problem.grad(x), central(problem.f, x), rtol=1e-9)  # differences of a parabola are exact
    np.testing.assert_allclose(problem.hessian(x), central(problem.grad, x), rtol=1e-8, atol=1e-9)
    eigenvalues, Q = np.linalg.eigh(problem.hessian(x))
    np.testing.assert_allclose(eigenvalues, [0.2, 1.0, 3.0], rtol=1e-14)
    assert (problem.L, problem.mu, problem.condition, problem.minimum) == (3.0, 0.2, 3.0 / 0.2, 0.0)
    assert problem.f(problem.minimiser) == 0 and not problem.grad(problem.minimiser).any()
    # the constants are reached: by the gradient along the steepest, by the value along the flattest direction
    for q, constant in ((Q[:, 2], problem.L), (Q[:, 0], problem.mu)):
        y = problem.minimiser + q
        assert np.linalg.norm(problem.grad(y)) == pytest.approx(constant, rel=1e-13)
        assert problem.f(y) == pytest.approx(constant / 2, rel=1e-13)


@pytest.mark.claim("optim.quadratic-constants")
@given(st.integers(0, 2**32 - 1))
def test_with_a_flat_direction_the_least_positive_eigenvalue_serves_for_pl(seed):
    rng = np.random.default_rng(seed)
    problem = quadratic(np.array([0.0, 0.0, 0.1, 1.0, 5.0]), rng)
    assert problem.mu == 0 and problem.condition == math.inf
    for x in rng.normal(size=(20, 5)):
        assert problem.grad(x) @ problem.grad(x) >= 2 * 0.1 * problem.f(x) * (1 - 1e-12)
    flattest = np.linalg.eigh(problem.hessian(x))[1][:, 2]
    assert problem.grad(flattest) @ problem.grad(flattest) == pytest.approx(2 * 0.1 * problem.f(flattest), rel=1e-11)


def test_the_gap_of_a_quadratic_function_keeps_its_digits_near_the_minimum():
    problem = rounded()
    q = np.linalg.eigh(problem.hessian(problem.minimiser))[1][:, 0]
    for size in (1e-3, 1e-6):
        x = problem.minimiser + size * q
        # the digits of x itself are lost in the sum with x*: 1e-16 of 2 against the size
        assert problem.gaps(x[None])[0] == pytest.approx(0.1 * size**2, rel=1e-14 / size)


@pytest.mark.claim("optim.huber")
def test_the_huber_function_piece_by_piece():
    problem = huber(0.5, L=3.0)
    xs = np.linspace(-2, 2, 401)
    values = np.array([problem.f(np.array([x])) for x in xs])
    slopes = np.array([problem.grad(np.array([x]))[0] for x in xs])
    # a central difference is exact on each piece, and off by L h / 4 at most across a corner of the slope
    np.testing.assert_allclose((values[2:] - values[:-2]) / 0.02, slopes[1:-1], atol=3.0 * 0.01 / 4 + 1e-12)
    assert (np.diff(slopes) >= 0).all()
    quotients = np.diff(slopes) / np.diff(xs)
    assert quotients.max() == pytest.approx(3.0, rel=1e-9) and quotients.min() == 0
    assert problem.f(np.array([0.5])) == 3 / 8 == pytest.approx(problem.f(np.array([0.5 + 1e-12])), rel=1e-11)
    assert [float(problem.hessian(np.array([x]))[0, 0]) for x in (0.0, 0.5, -0.6)] == [3.0, 3.0, 0.0]
    assert (problem.L, problem.mu, problem.minimum) == (3.0, 0.0, 0.0)


def test_logistic_regression_by_hand():
    A, y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, -1.0])
    problem = logistic_regression(A, y, penalty=0.5)
    w = np.array([math.log(3), 0.0])  # margins log 3 and 0: sigmoids 3/4 and 1/2
    assert problem.f(w) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2 + math.log(3) ** 2 / 4, rel=1e-15)
    np.testing.assert_allclose(problem.grad(w), [-1 / 8 + math.log(3) / 2, 1 / 2], rtol=1e-15)
    np.testing.assert_allclose(problem.hessian(w), np.diag([3 / 32 + 1 / 2, 1 / 2 + 1 / 2]), rtol=1e-15)
    assert (problem.L, problem.mu) == (1 / 2 + 1 / 2, 0.5)  # 4/2 is the largest eigenvalue of the mean of squares


@pytest.mark.claim("optim.logistic-constants")
@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_gradient_and_hessian_against_differences(logistic, scale):
    w = scale * np.random.default_rng(2).normal(size=7)
    # 1e-8: h² times a third slope below 1, and rounding of 1e-16 / h
    np.testing.assert_allclose(logistic.grad(w), central(logistic.f, w), atol=1e-8)
    np.testing.assert_allclose(logistic.hessian(w), central(logistic.grad, w), atol=1e-8)


@pytest.mark.claim("optim.logistic-constants")
def test_the_constants_bound_the_curvature_and_are_reached(logistic):
    rng = np.random.default_rng(3)
    for scale in (0.1, 1, 10, 100):
        for w in scale * rng.normal(size=(10, 7)):
            eigenvalues = np.linalg.eigvalsh(logistic.hessian(w))
            assert logistic.mu - 1e-14 <= eigenvalues[0] and eigenvalues[-1] <= logistic.L + 1e-14
    assert np.linalg.eigvalsh(logistic.hessian(np.zeros(7)))[-1] == pytest.approx(logistic.L, rel=1e-14)
    far = 1e7 * rng.normal(size=7)  # no margin is near 0 out there
    assert np.linalg.eigvalsh(logistic.hessian(far))[-1] == pytest.approx(logistic.mu, rel=1e-12)


@pytest.mark.claim("optim.logistic-constants")
def test_an_example_of_zeros_leaves_its_direction_curved_by_the_penalty_alone():
    # with every example zero along a coordinate, the curvature there is the penalty, everywhere
    problem = logistic_regression(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([1.0, -1.0]), penalty=0.1)
    assert all(problem.hessian(np.array([s, s]))[1, 1] == 0.1 for s in (0.0, 1.0, 5.0))


@pytest.mark.claim("optim.separable")
def test_separable_data_have_no_minimum_without_a_penalty():
    rng = np.random.default_rng(4)
    A, v = rng.normal(size=(23, 3)), np.array([1.0, -2.0, 0.5])
    y = np.sign(A @ v)
    problems = [logistic_regression(A, y, penalty) for penalty in (1e-2, 1e-4, 1e-6)]
    bare = lambda w: problems[0].f(w) - 1e-2 / 2 * w @ w  # noqa: E731
    values = [bare(t * v) for t in (1, 10, 100)]
    assert values[0] > values[1] > values[2] and 0 <= values[2] < 1e-2
    lengths = [np.linalg.norm(problem.minimiser) for problem in problems]
    assert lengths[0] * 2 < lengths[1] and lengths[1] * 2 < lengths[2]  # without a penalty they would grow for ever
    y[0] = -y[0]  # one label wrong: the same direction now costs more and more
    flipped = lambda t: np.logaddexp(0, -y * (A @ v) * t).mean()  # noqa: E731
    assert flipped(100) > flipped(10)


def test_the_drawn_examples_are_not_separable_and_repeat(logistic):
    bare = [logistic.f(w) - logistic.penalty / 2 * w @ w for w in (t * logistic.minimiser for t in (1, 10, 100))]
    assert bare[0] < bare[1] < bare[2]
    again = logistic_data(np.random.default_rng(0))
    assert np.array_equal(again[0], logistic.A) and np.array_equal(again[1], logistic.y)


@pytest.mark.parametrize("penalty", [1e-6, 1e-3, 1.0])
def test_the_minimum_is_certified_by_its_gradient(penalty):
    problem = logistic_regression(*logistic_data(np.random.default_rng(5)), penalty=penalty)
    g = np.linalg.norm(problem.grad(problem.minimiser))
    assert g < 1e-15  # rounding of a mean of numbers near 1; so the minimiser is right to g / penalty by (E13)
    assert problem.minimum == problem.f(problem.minimiser)


def test_gradient_descent_arrives_at_the_same_minimum(logistic):
    x = gradient_descent(logistic.grad, np.ones(7), best_rate(logistic.L, logistic.mu), 3000)[-1]
    np.testing.assert_allclose(x, logistic.minimiser, atol=1e-13)  # rounding of 1e-16, through the penalty of 1e-2


@pytest.mark.claim("optim.newton-halving")
@pytest.mark.parametrize("start", [0.9, 3.0, 30.0])
def test_halved_steps_arrive_where_whole_ones_run_away(start):
    mu = 0.01  # sqrt(1 + x²) has a second slope that falls like a cube: the whole step from 3 goes far beyond 0
    f = lambda x: float(np.sqrt(1 + x @ x) + mu / 2 * x @ x)  # noqa: E731
    grad = lambda x: x / np.sqrt(1 + x @ x) + mu * x  # noqa: E731
    hessian = lambda x: np.array([[(1 + x[0] ** 2) ** -1.5 + mu]])  # noqa: E731
    path = newton(f, grad, hessian, np.array([start]))
    L, rate = 1 + mu, 1 - 3 / 8 * (mu / (1 + mu)) ** 2
    gaps = np.array([f(x) - 1 for x in path])
    assert abs(path[-1][0]) < 1e-15
    assert (gaps[1:] <= rate * gaps[:-1] + 1e-15).all()
    for x, after in pairwise(path[:-1]):
        t = float((x - after)[0] / np.linalg.solve(hessian(x), grad(x))[0])
        assert 1 + 1e-9 >= t >= 3 * mu / (4 * L)
    if start == 3.0:
        whole = path[0] - np.linalg.solve(hessian(path[0]), grad(path[0]))
        assert f(whole) > f(path[0])


@pytest.mark.claim("optim.newton-halving")
def test_the_fall_of_each_step_on_logistic_regression():
    problem = logistic_regression(*logistic_data(np.random.default_rng(6)), penalty=1e-2)
    path = newton(problem.f, problem.grad, problem.hessian, np.full(7, 40.0))
    gaps = problem.gaps(path)
    rate = 1 - 3 / 8 * (problem.mu / problem.L) ** 2
    assert len(path) > 4 and (gaps[1:] <= rate * gaps[:-1] + 1e-15).all()


def test_newton_does_not_feel_the_condition_number():
    for least in (1.0, 1e-6, 1e-12):
        problem = quadratic(np.array([1.0, least]))
        assert np.abs(newton(problem.f, problem.grad, problem.hessian, np.ones(2))[1]).max() < 1e-12


def test_the_gradients_of_batches(logistic):
    w = np.random.default_rng(7).normal(size=7)
    everything = np.random.default_rng(8).permutation(211)
    # 1e-15: sums of 211 numbers below 1 in another order
    np.testing.assert_allclose(logistic.batch_grad(w, everything), logistic.grad(w), atol=1e-15)
    each = np.stack([logistic.batch_grad(w, np.array([i])) for i in range(211)])
    np.testing.assert_allclose(each.mean(0), logistic.grad(w), atol=1e-15)
    assert np.abs(each - each.mean(0)).max() > 0.1
    np.testing.assert_allclose(logistic.batch_grad(w, np.array([3, 5, 3])), (2 * each[3] + each[5]) / 3, atol=1e-15)


def test_no_margin_overflows(logistic):
    for size in (1e3, 1e150):
        w = np.full(7, size)
        assert math.isfinite(logistic.f(w / 1e3)) and np.isfinite(logistic.grad(w)).all()
        assert np.isfinite(logistic.hessian(w)).all()


def test_bad_input_is_refused(unenforced):
    for eigenvalues in ([1.0, -1e-9], [0.0, 0.0], [1.0, math.inf], []):
        with pytest.raises(ValueError, match="eigenvalues must be finite and not negative, and one of them positive"):
            quadratic(np.array(eigenvalues))
    with pytest.raises(ValueError, match=r"a minimiser for 2 eigenvalues has the shape \(2,\), got \(3,\)"):
        quadratic(np.ones(2), minimiser=np.ones(3))
    for arguments, name in (((0.0, 1.0), "width"), ((1.0, -1.0), "L"), ((math.inf, 1.0), "width")):
        with pytest.raises(ValueError, match=f"{name} must be positive and finite, got"):
            huber(*arguments)
    A, y = np.ones((3, 2)), np.array([1.0, -1.0, 1.0])
    for penalty in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(
            ValueError, match=r"the penalty must be positive and finite, got .* data that can be separated"
        ):
            logistic_regression(A, y, penalty)
    with pytest.raises(ValueError, match=r"labels must be 1 or -1, got 0\.0"):
        logistic_regression(A, np.array([1.0, 0.0, 1.0]), 1.0)
    for rows in (A[:2], np.zeros((3, 2)), np.full((3, 2), math.nan), np.ones(3)):
        with pytest.raises(ValueError, match="examples must be finite rows, not all zero, one for each of 3 labels"):
            logistic_regression(rows, y, 1.0)
    for sizes in product((0, 1), repeat=2):
        if 0 in sizes:
            with pytest.raises(ValueError, match="there must be an example and a feature, got"):
                logistic_data(np.random.default_rng(0), *sizes)


def test_newton_says_when_it_did_not_arrive(logistic):
    with pytest.raises(RuntimeError, match=r"after 2 steps the gradient has the length .* and still falls"):
        newton(logistic.f, logistic.grad, logistic.hessian, np.zeros(7), max_steps=2)
