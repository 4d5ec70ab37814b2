"""Mirrors src/fp_optim/stochastic.py. Means are exact, over every sequence of errors, wherever that is possible."""

import itertools
import math

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from fp_optim.problems import huber, logistic_data, logistic_regression
from fp_optim.stochastic import (
    NoiseScale,
    WeightAverage,
    average_floor,
    noise_scale,
    robbins_monro_rate,
    scaled_rate,
    sgd_convex_bound,
    sgd_convex_rate,
    sgd_floor_bound,
    sgd_path,
    sgd_strong_bound,
)

T = 11
SEQUENCES = np.array(list(itertools.product([-1.0, 1.0], repeat=T)))  # every sequence of eleven coins
SPECTRUM = np.array([3.0, 0.5])
START = np.array([1.0, -2.0])
DIRECTION = np.array([0.6, 0.8])


def all_paths(grad, start, rates, sigma):
    """Every path of (E1) whose errors are plus or minus sigma along one direction; equally likely."""
    coins = iter(SEQUENCES.T)
    noisy = lambda w, rng: grad(w) + sigma * next(coins)[:, None] * DIRECTION[: w.shape[1]] / norm  # noqa: E731
    norm = np.linalg.norm(DIRECTION[: len(start)])
    return sgd_path(noisy, np.tile(start, (len(SEQUENCES), 1)), rates, np.random.default_rng(0))


def squares(paths):
    return (paths**2).sum(axis=-1).mean(axis=-1)  # D_t where the minimum is at zero


bowl = lambda w: (SPECTRUM * w**2).sum(axis=-1) / 2  # noqa: E731
bowl_grad = lambda w: SPECTRUM * w  # noqa: E731


def test_two_steps_by_hand():
    paths = all_paths(lambda w: w, np.array([8.0]), [0.5, 0.25], 2.0)
    # 8 -> 4 -+ 1 -> 3/4 of that -+ 1/2
    assert sorted({tuple(path) for path in paths[:, :, 0].T.tolist()}) == [
        (8.0, 3.0, 1.75),
        (8.0, 3.0, 2.75),
        (8.0, 5.0, 3.25),
        (8.0, 5.0, 4.25),
    ]


@pytest.mark.claim("optim.noise-split")
@given(st.integers(0, 2**32 - 1), st.floats(-2, 2), st.floats(0, 3))
def test_noise_that_depends_on_the_past_adds_its_own_square(seed, c, sigma):
    rng = np.random.default_rng(seed)
    # three pasts of random probability, each with a vector u of its own and with its own three errors of mean zero
    P, u = rng.dirichlet(np.ones(3)), rng.normal(size=(3, 2))
    errors = rng.normal(size=(3, 3, 2))
    errors -= errors.mean(axis=1, keepdims=True)
    errors *= sigma / np.sqrt((errors**2).sum(axis=2).mean(axis=1))[:, None, None]
    mean = lambda values: float(P @ values.mean(axis=1))  # noqa: E731
    assert mean((u[:, None] * errors).sum(axis=2)) == pytest.approx(0, abs=1e-13)
    split = mean((u[:, None] ** 2).sum(axis=2)) + c**2 * mean((errors**2).sum(axis=2))
    assert mean(((u[:, None] + c * errors) ** 2).sum(axis=2)) == pytest.approx(split, rel=1e-12)
    assert split <= P @ (u**2).sum(axis=1) + c**2 * sigma**2 + 1e-12


@pytest.mark.claim("optim.sgd-step")
@pytest.mark.parametrize("sigma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("lr", [0.05, 0.2, 1 / 3, 0.6])
def test_no_step_gains_less_than_the_inequality_allows(sigma, lr):
    paths = all_paths(bowl_grad, START, [lr] * T, sigma)
    D, F = squares(paths), bowl(paths).mean(axis=1)
    L, strong = SPECTRUM.max(), SPECTRUM.min()
    for mu in (0.0, strong):
        allowed = (1 - lr * mu) * D[:-1] - 2 * lr * (1 - lr * L) * F[:-1] + lr**2 * sigma**2
        assert (D[1:] <= allowed * (1 + 1e-12)).all()


@pytest.mark.claim("optim.sgd-step")
def test_the_inequality_is_an_equality_for_a_round_bowl():
    # curvature one everywhere makes all three of its estimates equalities, with L = mu = 1
    paths = all_paths(lambda w: w, START, [0.3] * T, 0.7)
    D = squares(paths)
    F = D / 2
    np.testing.assert_allclose(D[1:], 0.7 * D[:-1] - 2 * 0.3 * 0.7 * F[:-1] + 0.3**2 * 0.7**2, rtol=1e-13)


@pytest.mark.claim("optim.sgd-convex")
@pytest.mark.parametrize("sigma", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("start", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("lr", [0.1, 0.5, None])
def test_the_average_of_the_points_on_a_slow_valley(sigma, start, lr):
    valley = huber(1.0)
    f = lambda w: np.where(abs(w) <= 1, w**2 / 2, abs(w) - 0.5)  # noqa: E731
    assert f(np.array(3.0)) == valley.f(np.array([3.0]))
    rate = lr or sgd_convex_rate(L=1.0, r=start, sigma=sigma, n_steps=T)
    paths = all_paths(lambda w: np.clip(w, -1, 1), np.array([start]), [rate] * T, sigma)
    gap = float(f(paths[:-1].mean(axis=0)).mean())
    bound = sgd_convex_bound(L=1.0, r=start, sigma=sigma, lr=rate, n_steps=T)
    assert gap <= bound
    if lr is None:
        assert bound <= 2 * start**2 / T + 2 * start * sigma / math.sqrt(T)


def logistic_runs(rng, runs, batch, rates, penalty=0.1):
    """Paths on logistic regression with the gradients of batches, and the bound on the deviation of one example's."""
    A, y = logistic_data(rng, n_examples=53, n_features=3)
    problem = logistic_regression(A, y, penalty=penalty)

    def noisy(w, rng):
        rows = rng.integers(len(A), size=(runs, batch))
        slopes = -y[rows] / (1 + np.exp(y[rows] * np.einsum("sbn,sn->sb", A[rows], w)))
        return np.einsum("sb,sbn->sn", slopes, A[rows]) / batch + penalty * w

    paths = sgd_path(noisy, np.zeros((runs, 3)), rates, rng)
    # a variance is at most the mean square, and the logistic slope at most one
    return problem, paths, math.sqrt((A**2).sum(axis=1).mean() / batch)


def test_the_noisy_gradient_of_the_runs_is_that_of_a_batch():
    problem, paths, _ = logistic_runs(np.random.default_rng(1), 1, 7, [1.0])
    rng = np.random.default_rng(1)
    logistic_data(rng, n_examples=53, n_features=3)
    np.testing.assert_allclose(-paths[1, 0], problem.batch_grad(np.zeros(3), rng.integers(53, size=7)), rtol=1e-12)


@pytest.mark.claim("optim.sgd-convex")
@pytest.mark.parametrize("batch", [1, 8])
def test_logistic_regression_lies_under_the_convex_bound(batch):
    runs, n_steps = 300, 256
    problem, _, sigma = logistic_runs(np.random.default_rng(0), 1, batch, [])
    r = float(np.linalg.norm(problem.minimiser))
    lr = sgd_convex_rate(L=problem.L, r=r, sigma=sigma, n_steps=n_steps)
    problem, paths, _ = logistic_runs(np.random.default_rng(0), runs, batch, [lr] * n_steps)
    gaps = problem.gaps(paths[:-1].mean(axis=0))
    # four standard errors of a mean of 300 independent runs: a false alarm is as rare as one in thirty thousand
    worst = gaps.mean() + 4 * gaps.std() / math.sqrt(runs)
    assert worst <= sgd_convex_bound(L=problem.L, r=r, sigma=sigma, lr=lr, n_steps=n_steps)


@pytest.mark.claim("optim.sgd-stationary")
@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("lr", [0.1, 0.5, 1.0])
def test_gradients_become_small_on_average_where_nothing_is_convex(sigma, lr):
    # sin w has slopes of size at most one, which change no faster: L = 1, m = -1
    paths = all_paths(np.cos, np.array([1.3]), [lr] * T, sigma)
    mean = float((np.cos(paths[:-1]) ** 2).mean())
    assert mean <= 2 * (math.sin(1.3) + 1) / (lr * T) + lr * sigma**2


@pytest.mark.claim("optim.sgd-floor")
@pytest.mark.parametrize("sigma", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("lr", [0.05, 0.2, 1 / 3])
def test_the_distance_falls_to_the_floor(sigma, lr):
    D = squares(all_paths(bowl_grad, START, [lr] * T, sigma))
    constants = {"mu": SPECTRUM.min(), "L": SPECTRUM.max(), "r": float(np.linalg.norm(START)), "sigma": sigma}
    for t, measured in enumerate(D):
        assert measured <= sgd_floor_bound(**constants, lr=lr, n_steps=t) * (1 + 1e-12)


@pytest.mark.claim("optim.sgd-floor-exact")
@pytest.mark.parametrize("lr", [0.1, 0.5, 1.1])
def test_the_floor_of_a_parabola_to_the_last_digit(lr):
    curvature, s, start = 1.7, 0.9, 2.5
    D = squares(all_paths(lambda w: curvature * w, np.array([start]), [lr] * T, s))
    rho, v = 1 - lr * curvature, lr * s**2 / (curvature * (2 - lr * curvature))
    fade = rho ** (2 * np.arange(T + 1))
    np.testing.assert_allclose(D, fade * start**2 + (1 - fade) * v, rtol=1e-12)


@pytest.mark.claim("optim.robbins-monro")
@pytest.mark.parametrize("power", [0.3, 0.6, 1.0])
def test_falling_rates_pass_below_every_floor(power):
    # the recursion of a parabola's mean square is exact; rates like t to the -0.3 have squares of unbounded sum
    D, history = 4.0, []
    for t in range(200_000):
        lr = (t + 1) ** -power
        D = (1 - lr) ** 2 * D + lr**2
        history.append(D)
    assert history[100_000] > history[-1] and history[-1] < {0.3: 0.03, 0.6: 1e-3, 1.0: 1e-4}[power]


@pytest.mark.claim("optim.robbins-monro")
def test_rates_that_fall_too_fast_do_not_arrive():
    assert np.prod(1 - 0.5 / np.arange(1, 10**5) ** 2) > 0.3  # without any noise: the sum of these rates is bounded


@pytest.mark.claim("optim.sgd-strongly-convex")
@pytest.mark.parametrize("sigma", [0.0, 0.3, 2.0])
def test_the_falling_rate_on_a_bowl(sigma):
    mu, L, r = SPECTRUM.min(), SPECTRUM.max(), float(np.linalg.norm(START))
    rates = [robbins_monro_rate(t, mu=mu, L=L) for t in range(T)]
    assert rates[0] == 1 / L and rates[1] < rates[0]
    paths = all_paths(bowl_grad, START, rates, sigma)
    D, F = squares(paths), bowl(paths).mean(axis=1)
    for t in range(1, T + 1):
        bound = sgd_strong_bound(mu=mu, L=L, r=r, sigma=sigma, n_steps=t)
        assert D[t] <= bound and F[t] <= L / 2 * bound


@pytest.mark.claim("optim.sgd-strongly-convex")
def test_far_along_the_bound_is_nearly_met():
    # with curvature one and the rate 2 / (t + k) the mean square is exactly that of a recursion
    square, bound = 1.0, math.inf
    for t in range(20_000):
        lr = robbins_monro_rate(t, mu=1.0, L=1.0)
        square = (1 - lr) ** 2 * square + lr**2
        bound = sgd_strong_bound(mu=1.0, L=1.0, r=1.0, sigma=1.0, n_steps=t + 1)
        assert square <= bound * (1 + 1e-12)
    assert bound * 20_000 == pytest.approx(4, rel=1e-3)
    assert square * 20_000 == pytest.approx(4 / 3, rel=1e-3)  # a third of it: nothing of another order is given away


@pytest.mark.claim("optim.sgd-strongly-convex")
@pytest.mark.parametrize("batch", [1, 8])
def test_logistic_regression_lies_under_the_bound_of_the_falling_rate(batch):
    runs, n_steps = 300, 400
    problem, _, sigma = logistic_runs(np.random.default_rng(0), 1, batch, [])
    rates = [robbins_monro_rate(t, mu=problem.mu, L=problem.L) for t in range(n_steps)]
    problem, paths, _ = logistic_runs(np.random.default_rng(0), runs, batch, rates)
    squared = ((paths - problem.minimiser) ** 2).sum(axis=2)
    worst = squared.mean(axis=1) + 4 * squared.std(axis=1) / math.sqrt(runs)  # four standard errors, as above
    constants = {"mu": problem.mu, "L": problem.L, "r": float(np.linalg.norm(problem.minimiser)), "sigma": sigma}
    for t in (1, 3, 10, 30, 100, 400):
        assert worst[t] <= sgd_strong_bound(**constants, n_steps=t)


EXAMPLES = np.array([[3.0, 1.0], [-1.0, 2.0], [2.0, -2.0]])  # gradients of three examples, equally likely
HESSIAN = np.array([[2.0, 0.5], [0.5, 1.0]])


def batch_gradients(B):
    return np.array([EXAMPLES[list(rows)].mean(axis=0) for rows in itertools.product(range(3), repeat=B)])


@pytest.mark.claim("optim.critical-batch")
@pytest.mark.parametrize("B", [1, 2, 5])
def test_the_best_rate_and_its_gain_for_every_batch(B):
    g = EXAMPLES.mean(axis=0)
    covariance = (EXAMPLES - g).T @ (EXAMPLES - g) / 3
    gHg = g @ HESSIAN @ g
    b = np.trace(HESSIAN @ covariance) / gHg

    def gain(lr):
        u = -lr * batch_gradients(B)
        return -float((u @ g + np.einsum("si,ij,sj->s", u, HESSIAN, u) / 2).mean())

    best = g @ g / gHg / (1 + b / B)
    assert gain(best) == pytest.approx((g @ g) ** 2 / (2 * gHg) / (1 + b / B), rel=1e-12)
    assert gain(best) > gain(best * 1.01) and gain(best) > gain(best * 0.99)


@pytest.mark.claim("optim.steps-and-examples")
def test_the_product_of_the_two_excesses_is_one():
    G, Delta, b, B = sympy.symbols("G Delta b B", positive=True)
    S = G / (Delta / (1 + b / B))
    S_min = sympy.limit(S, B, sympy.oo)
    E_min = sympy.limit(B * S, B, 0)
    assert sympy.simplify(S_min - G / Delta) == 0 and sympy.simplify(E_min - b * S_min) == 0
    assert sympy.simplify((S / S_min - 1) * (B * S / E_min - 1)) == 1
    assert S.subs(B, b) / S_min == 2 and sympy.simplify((b * S).subs(B, b) / E_min) == 2


@pytest.mark.claim("optim.noise-scale")
@pytest.mark.parametrize(("B_1", "B_2"), [(1, 2), (1, 4), (2, 5)])
def test_the_estimates_have_the_right_means(B_1, B_2):
    g = EXAMPLES.mean(axis=0)
    small, large = ((batch_gradients(B) ** 2).sum(axis=1) for B in (B_1, B_2))
    trace = ((EXAMPLES - g) ** 2).sum() / 3
    every = [noise_scale(float(a), float(b), B_1, B_2) for a in small for b in large]
    assert np.mean([one.signal for one in every]) == pytest.approx(g @ g, rel=1e-12)
    assert np.mean([one.noise for one in every]) == pytest.approx(trace, rel=1e-12)
    # shared examples: the small batch is the beginning of the large one
    shared = [
        noise_scale(float((rows[:B_1].mean(axis=0) ** 2).sum()), float((rows.mean(axis=0) ** 2).sum()), B_1, B_2)
        for rows in (EXAMPLES[list(index)] for index in itertools.product(range(3), repeat=B_2))
    ]
    assert np.mean([one.signal for one in shared]) == pytest.approx(g @ g, rel=1e-12)
    assert np.mean([one.noise for one in shared]) == pytest.approx(trace, rel=1e-12)


def test_the_critical_batch_is_the_ratio():
    assert NoiseScale(signal=2.0, noise=6.0).critical_batch == 3
    assert (
        NoiseScale(signal=-1.0, noise=6.0).critical_batch
        == NoiseScale(signal=0.0, noise=1.0).critical_batch
        == math.inf
    )


@pytest.mark.claim("optim.linear-scaling")
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.floats(0.01, 2))
def test_many_small_steps_end_near_one_large_step(seed, K, lr):
    rng = np.random.default_rng(seed)
    phases, start = rng.uniform(0, 2 * math.pi, size=(K, 3)), rng.normal(size=3)
    # each coordinate's gradient is sin(w + phase): it changes at most as fast as w, and |g| is at most sqrt 3
    w = start.copy()
    for phase in phases:
        w = w - lr * np.sin(w + phase)
    single = start - K * lr * np.sin(start + phases).mean(axis=0)
    assert np.linalg.norm(w - single) <= K * (K - 1) / 2 * lr**2 * math.sqrt(3) + 1e-12


@pytest.mark.claim("optim.linear-scaling")
def test_the_bound_of_the_linear_rule_is_nearly_met():
    # two steps along g = -w, with L = 1, from w = 1: |g| is at most 1 + lr, so the bound is lr^2 (1 + lr)
    lr = 0.01
    two, one = (1 + lr) ** 2, 1 + 2 * lr
    assert two - one <= lr**2 * (1 + lr)
    assert two - one == pytest.approx(lr**2 * (1 + lr), rel=0.02)


@pytest.mark.claim("optim.root-scaling")
@given(st.floats(0.01, 5), st.floats(0, 5), st.integers(1, 64), st.integers(1, 9))
def test_the_rate_that_keeps_the_mean_move(m, s, B, K):
    lr, share = 0.3, m**2 / (m**2 + s**2 / B)
    many = K * lr * m / math.sqrt(m**2 + s**2 / B)
    one = scaled_rate(lr, K, signal=share) * m / math.sqrt(m**2 + s**2 / (K * B))
    assert one == pytest.approx(many, rel=1e-12)
    assert math.sqrt(K) * lr * (1 - 1e-12) <= scaled_rate(lr, K, signal=share) <= K * lr * (1 + 1e-12)


@pytest.mark.claim("optim.root-scaling")
@pytest.mark.parametrize(("B", "K"), [(1, 2), (1, 4), (2, 3)])
def test_pure_noise_keeps_its_spread_under_the_square_root_rule(B, K):
    # examples of plus and minus one, every batch and every sequence of K of them
    coins = np.array(list(itertools.product([-1.0, 1.0], repeat=K * B))).reshape(-1, K, B)
    steps = 0.3 * coins.mean(axis=2) / math.sqrt(1 / B)
    many = steps.sum(axis=1)
    one = scaled_rate(0.3, K, signal=0) * coins.mean(axis=(1, 2)) / math.sqrt(1 / (K * B))
    assert (one**2).mean() == pytest.approx((many**2).mean(), rel=1e-12)


def test_a_smaller_batch_wants_a_smaller_rate():
    assert scaled_rate(1.0, 0.25) == 0.25 and scaled_rate(1.0, 0.25, signal=0.0) == 0.5


@pytest.mark.claim("optim.weight-average")
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0.0, 0.5, 0.9, 0.9999]))
def test_the_average_has_the_weights_of_the_claim(seed, n, decay):
    rng = np.random.default_rng(seed)
    parameters = {"w": rng.normal(size=(2, 3)), "b": rng.normal(size=5)}
    average = WeightAverage(parameters, decay)
    seen = {name: [] for name in parameters}
    for _ in range(n):
        for name, array in parameters.items():
            array += rng.normal(size=array.shape)
            seen[name].append(array.copy())
        average.update()
    weights = (1 - decay) / (1 - decay**n) * decay ** np.arange(n - 1, -1.0, -1)
    assert weights.sum() == pytest.approx(1, rel=1e-10)  # 1 - decay^n loses digits for a decay near one
    for name, points in seen.items():
        np.testing.assert_allclose(average.arrays[name], np.tensordot(weights, points, 1), rtol=1e-9, atol=1e-11)


@pytest.mark.claim("optim.average-noise")
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("lr", [0.5, 1.0, 1.4])
def test_the_average_lies_below_the_floor_by_its_factor(decay, lr):
    # every sequence of eleven coins; what is left of the start and of N_t by then is below a thousandth
    paths = all_paths(lambda w: w, np.array([0.0]), [lr] * T, 1.0)[..., 0]
    average = np.zeros(paths.shape[1])
    for t in range(1, T + 1):
        average += (1 - decay) / (1 - decay**t) * (paths[t] - average)
    v = lr / (2 - lr)
    assert (average**2).mean() == pytest.approx(v * average_floor(decay, 1 - lr), rel=5e-3)


@pytest.mark.claim("optim.average-noise")
def test_the_factor_solves_the_two_recursions():
    beta, rho, v = sympy.symbols("beta rho v")
    mixed = (1 - beta) * v / (1 - beta * rho)
    square = v * (1 - beta) / (1 + beta) * (1 + beta * rho) / (1 - beta * rho)
    assert sympy.simplify(beta * rho * mixed + (1 - beta) * v - mixed) == 0
    step = beta**2 * square + 2 * beta * (1 - beta) * rho * mixed + (1 - beta) ** 2 * v
    assert sympy.simplify(step - square) == 0


def test_arrays_longer_than_a_piece_and_float32_and_nothing_allocated(peak_bytes):
    rng = np.random.default_rng(2)
    w = rng.normal(size=(211, 331)).astype(np.float32)
    average = WeightAverage({"w": w}, decay=0.5)
    first = w.copy()
    average.update()
    w += 1
    average.update()
    assert average.arrays["w"].dtype == np.float32 and average.n_updates == 2
    np.testing.assert_allclose(average.arrays["w"], first + 2 / 3, rtol=1e-6, atol=1e-6)  # float32
    assert peak_bytes(average.update) < 10_000


def test_the_average_is_applied_and_taken_back():
    w = np.array([[1.0, 2.0]])
    average = WeightAverage({"w": w}, decay=0.5)
    average.update()
    w += 3
    average.update()
    with average.applied():
        assert w.tolist() == [[3.0, 4.0]]
        with pytest.raises(ValueError, match="update it after the block"):
            average.update()
        with pytest.raises(ValueError, match="applied already"), average.applied():
            pass
        assert w.tolist() == [[3.0, 4.0]]
    assert w.tolist() == [[4.0, 5.0]] and average.arrays["w"].tolist() == [[3.0, 4.0]]
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert w.tolist() == [[4.0, 5.0]]


def test_a_stopped_average_goes_on_to_the_same_bits():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(7, 3))

    def run(average, w, some):
        for point in some:
            w[:] = point
            average.update()

    w = np.zeros(3)
    whole = WeightAverage({"w": w}, 0.9)
    run(whole, w, points)
    half = WeightAverage({"w": w}, 0.9)
    run(half, w, points[:4])
    state = {key: array.copy() for key, array in half.state_dict().items()}
    assert list(state) == ["updates", "average.w"]
    later = WeightAverage({"w": w}, 0.9)
    later.load_state_dict(state)
    run(later, w, points[4:])
    assert later.arrays["w"].tolist() == whole.arrays["w"].tolist() and later.n_updates == 7
    with pytest.raises(ValueError, match="missing: average"):
        later.load_state_dict({"updates": state["updates"]})


@pytest.mark.usefixtures("unenforced")
@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: sgd_convex_bound(L=2.0, r=1.0, sigma=1.0, lr=0.5, n_steps=3),
            r"rates in \(0, 1 / L\) = \(0, 0.5\), got",
        ),
        (lambda: sgd_floor_bound(mu=1.0, L=2.0, r=1.0, sigma=1.0, lr=0.6, n_steps=3), r"= \(0, 0.5\], got lr=0.6"),
        (lambda: sgd_strong_bound(mu=1.0, L=2.0, r=1.0, sigma=1.0, n_steps=0), "at least 1 step, got n_steps=0"),
        (lambda: noise_scale(1.0, 1.0, 4, 4), "0 < n_small < n_large, got n_small=4, n_large=4"),
        (lambda: noise_scale(-1.0, 1.0, 1, 4), "not negative, got small=-1.0, large=1.0"),
        (lambda: scaled_rate(1.0, 0), "factor must be positive"),
        (lambda: scaled_rate(1.0, 2, signal=1.5), r"signal lie in \[0, 1\], got factor=2, signal=1.5"),
        (lambda: WeightAverage({"w": np.zeros(2)}, 1.0), r"decay must lie in \[0, 1\), got 1.0"),
        (lambda: WeightAverage({"w": np.zeros(2, dtype=int)}), "parameter w must be of floating-point numbers"),
    ],
)
def test_what_makes_no_sense_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.claim("optim.weight-average")
@pytest.mark.parametrize("start", [1e30, np.inf, np.nan])
def test_whatever_the_average_starts_from_has_no_weight(start):
    w = np.array([start])
    average = WeightAverage({"w": w}, decay=0.75)
    w[:] = 0.1
    average.update()
    assert average.arrays["w"].tolist() == [0.1]


def test_a_state_is_neither_saved_nor_loaded_while_the_average_is_applied():
    w = np.array([1.0])
    average = WeightAverage({"w": w}, decay=0.5)
    average.update()
    w[:] = 4.0
    saved = {name: array.copy() for name, array in average.state_dict().items()}
    with average.applied():
        for call in (average.state_dict, lambda: average.load_state_dict(saved)):
            with pytest.raises(ValueError, match="the parameters are the average now; save or load its state after"):
                call()
    assert w.tolist() == [4.0] and average.arrays["w"].tolist() == [1.0]
