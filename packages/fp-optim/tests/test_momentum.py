"""Mirrors src/fp_optim/momentum.py. Sizes are distinct primes."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from fp_optim import _named
from fp_optim.momentum import (
    Momentum,
    Nesterov,
    accelerated,
    accelerated_bound,
    heavy_ball_bound,
    heavy_ball_factor,
    heavy_ball_settings,
    nesterov_factor,
    nesterov_sequence,
    nesterov_settings,
)
from fp_optim.problems import logistic_data, logistic_regression

below_one = st.floats(0.0, 0.99)


def bowl(curvatures, seed):
    """A symmetric matrix with these eigenvalues, its eigenvectors, and a minimiser."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(len(curvatures), len(curvatures))))[0]
    return Q @ np.diag(curvatures) @ Q.T, Q, rng.normal(size=len(curvatures))


def logistic(penalty):
    """Logistic regression with a penalty: f, its gradient, mu, L and the minimiser."""
    problem = logistic_regression(*logistic_data(np.random.default_rng(3)), penalty=penalty)
    return problem.f, problem.grad, problem.mu, problem.L, problem.minimiser


def run(optimizer, name, grad, n_steps):
    """Where the parameter was before the first step and after each."""
    path = [optimizer.parameters[name].copy()]
    for _ in range(n_steps):
        optimizer.step({name: grad(optimizer.parameters[name])})
        path.append(optimizer.parameters[name].copy())
    return np.array(path)


def by_the_formula(w, gradients, rates, momentum, dampening=0.0, nesterov=False, penalty=0.0):
    """(E3) or (E12), read literally, with the penalty inside the gradient."""
    b = None
    for g, lr in zip(gradients, rates, strict=True):
        g = g + penalty * w
        b = g if b is None else momentum * b + (1 - dampening) * g
        w = w - lr * (g + momentum * b if nesterov else b)
    return w


@pytest.mark.claim("optim.pieces")
@pytest.mark.parametrize("settings", [{}, {"dampening": 0.25}, {"nesterov": True}, {"penalty": 0.5}])
def test_arrays_larger_than_a_piece_follow_the_formula(settings):
    rng = np.random.default_rng(2)
    start = rng.normal(size=(191, 401))  # two whole pieces and a part
    assert start.size > 2 * _named.CHUNK and start.size % _named.CHUNK
    gradients, rates = rng.normal(size=(5, *start.shape)), [0.1, 0.2, 0.1, 0.05, 0.3]
    parameter = start.copy()
    options = {key: value for key, value in settings.items() if key == "dampening"}
    make = Nesterov if "nesterov" in settings else Momentum
    optimizer = make({"w": parameter}, 1.0, 0.75, weight_decay=settings.get("penalty", 0.0), **options)
    for g, lr in zip(gradients, rates, strict=True):
        optimizer.step({"w": g}, lr)
    expected = by_the_formula(start, gradients, rates, 0.75, **settings)
    np.testing.assert_allclose(parameter, expected, rtol=1e-11, atol=1e-13)  # rounding of five steps


@pytest.mark.parametrize("make", [Momentum, Nesterov])
def test_two_steps_by_hand(make):
    p = {"w": np.array([1.0, 2.0])}
    optimizer = make(p, 0.5, 0.5)
    for _ in range(2):
        optimizer.step({"w": np.array([1.0, -2.0])})
    # buffers 1 and 1.5; Nesterov steps 1 + 1/2 and 1 + 3/4
    moved = 0.5 * (1 + 1.5) if make is Momentum else 0.5 * (1.5 + 1.75)
    np.testing.assert_array_equal(p["w"], [1 - moved, 2 + 2 * moved])


def test_a_penalty_goes_through_the_buffer_and_only_for_what_decays():
    p = {"w": np.array([[2.0]]), "b": np.array([2.0]), "free": np.array([[2.0]])}

    def groups(name, array):
        return {"weight_decay": 0.0} if name == "free" else {}

    optimizer = Momentum(p, 0.5, 0.5, weight_decay=1.0, groups=groups)
    for _ in range(2):
        optimizer.step({name: np.zeros_like(a) for name, a in p.items()})
    assert p["b"].item() == p["free"].item() == 2
    assert p["w"].item() == 1 - 0.5 * (0.5 * 2 + 1)  # decay beside the rule would leave 0.5
    assert optimizer.options["w"]["weight_decay"] == 1 and optimizer.options["b"]["weight_decay"] == 0


@pytest.mark.claim("optim.momentum-gain")
@given(below_one, st.floats(0.0, 1.0), st.integers(1, 60), st.floats(-100, 100))
def test_the_buffer_of_a_constant_gradient(beta, tau, t, g):
    tau = tau if beta else 0.0
    optimizer = Momentum({"w": np.zeros(1)}, 0.0, beta, dampening=tau)
    for _ in range(t):
        optimizer.step({"w": np.array([g])})
    b = optimizer.state["buffer"]["w"][0]
    assert b == pytest.approx((beta ** (t - 1) + (1 - tau) * (1 - beta ** (t - 1)) / (1 - beta)) * g, rel=1e-9)
    plain = Momentum({"w": np.zeros(1)}, 0.0, beta)
    mean = Momentum({"w": np.zeros(1)}, 0.0, beta, dampening=beta)
    for _ in range(t):
        plain.step({"w": np.array([g])})
        mean.step({"w": np.array([g])})
    assert plain.state["buffer"]["w"][0] == pytest.approx((1 - beta**t) / (1 - beta) * g, rel=1e-9)
    assert mean.state["buffer"]["w"][0] == pytest.approx(g, rel=1e-9)


@pytest.mark.claim("optim.heavy-ball-roots")
@given(st.floats(0.0, 0.99), st.floats(0.001, 5.0))
def test_the_moduli_of_the_roots(beta, scaled):
    moduli = np.abs(np.linalg.eigvals(np.array([[1 + beta - scaled, -beta], [1.0, 0.0]])))
    rho = heavy_ball_factor(1.0, beta, scaled)
    # near a double root an eigenvalue moves by the square root of the rounding
    assert rho == pytest.approx(moduli.max(), abs=1e-6)
    low, high = (1 - beta**0.5) ** 2, (1 + beta**0.5) ** 2
    if low <= scaled <= high:
        assert moduli == pytest.approx(beta**0.5, abs=1e-6)
    else:
        assert rho > beta**0.5
    if abs(scaled - 2 * (1 + beta)) > 1e-9:
        assert (rho < 1) == (scaled < 2 * (1 + beta))


@pytest.mark.claim("optim.heavy-ball-roots")
@pytest.mark.parametrize("beta", [0.0, 0.25, 0.9])
def test_momentum_is_stable_up_to_its_limit_and_not_above(beta):
    for share, grows in ((0.99, False), (1.01, True)):
        optimizer = Momentum({"w": np.ones(1)}, share * 2 * (1 + beta) / 7.0, beta)
        path = np.abs(run(optimizer, "w", lambda w: 7.0 * w, 2000))
        assert (path[-50:].max() > 1e3) if grows else (path[-50:].max() < 1e-3)


@pytest.mark.claim("optim.heavy-ball-optimal")
@pytest.mark.parametrize("kappa", [1.0, 2.0, 25.0, 1e4])
def test_no_settings_beat_the_best_and_these_attain_it(kappa):
    best = (kappa**0.5 - 1) / (kappa**0.5 + 1)
    lr, momentum = heavy_ball_settings(3.0, 3.0 * kappa)
    assert momentum == pytest.approx(best**2, rel=1e-12)
    for curvature in np.geomspace(3.0, 3.0 * kappa, 13):
        # a double root amplifies a rounding of 1e-16 to its square root
        assert heavy_ball_factor(lr, momentum, float(curvature)) == pytest.approx(best, abs=1e-7)
    scales = np.concatenate([np.geomspace(1e-3, 3, 61), 1 + np.linspace(-0.01, 0.01, 21)])
    momenta = np.concatenate([np.linspace(0, 0.999, 61), momentum + np.linspace(-0.01, 0.01, 21)])
    for scale in scales:
        for beta in momenta[(momenta >= 0) & (momenta < 1)]:
            factors = [heavy_ball_factor(float(lr * scale), float(beta), 3.0 * c) for c in (1.0, kappa)]
            assert max(factors) >= best - 1e-7


@pytest.mark.claim("optim.heavy-ball-bound")
@pytest.mark.parametrize("kappa", [1.5, 30.0, 1000.0])
def test_the_heavy_ball_stays_under_its_bound_which_one_start_attains(kappa):
    A, Q, w_star = bowl(np.geomspace(2.0, 2.0 * kappa, 7), seed=5)
    lr, momentum = heavy_ball_settings(2.0, 2.0 * kappa)
    factors = np.array([heavy_ball_bound(momentum, k) for k in range(301)])

    def distances(start):
        path = run(Momentum({"w": w_star + start}, lr, momentum), "w", lambda w: A @ (w - w_star), 300)
        return np.linalg.norm(path - w_star, axis=1)

    for seed in range(5):
        start = np.random.default_rng(seed).normal(size=7)
        # 1e-12: the rounding of w*, which the recursion carries along
        assert (distances(start) <= factors * np.linalg.norm(start) + 1e-12).all()
    attained = distances(Q[:, -1].copy())
    np.testing.assert_allclose(attained, factors, rtol=1e-6, atol=1e-12)  # a double root turns 1e-16 into 1e-8 k
    k = np.arange(1, 9)
    assert (attained[k] >= 0.99 * k * np.sqrt(momentum) ** k).all()  # so the factor k is no artefact


@pytest.mark.claim("optim.heavy-ball-bound")
@given(st.floats(0.01, 0.98), st.floats(0.0, 1.0), st.integers(0, 40))
def test_every_curvature_in_the_band_obeys_the_bound(beta, where, k):
    q = beta**0.5
    s = -2 * q + 4 * q * where
    previous = z = 1.0
    for _ in range(k):
        previous, z = z, s * z - beta * previous
    assert abs(z) <= heavy_ball_bound(beta, k) * (1 + 1e-9) + 1e-13


@pytest.mark.claim("optim.heavy-ball-cycle")
def test_the_cycle_in_exact_numbers():
    def slope(w):
        return 25 * w if w < 1 else w + 24 if w < 2 else 25 * w - 24

    cycle = [Fraction(n, 1225) for n in (2592, 792, -2208)]
    for k in range(3):
        previous, w = cycle[k - 1], cycle[k]
        step = w - Fraction(1, 9) * slope(w) + Fraction(4, 9) * (w - previous)
        assert step == cycle[(k + 1) % 3]
    tiny = Fraction(1, 10**30)
    for corner in (1, 2):  # continuous, and rising by 1 to 25 times the way
        assert tiny <= slope(corner + tiny) - slope(corner - tiny) <= 2 * 25 * tiny


@pytest.mark.claim("optim.nesterov-rate")
def test_the_sequence():
    t = nesterov_sequence(400)
    np.testing.assert_allclose(t[1:] * (t[1:] - 1), t[:-1] ** 2, rtol=1e-13)
    assert t[0] == 1 and (t >= 1 + np.arange(401) / 2).all()


@pytest.mark.claim("optim.nesterov-rate")
def test_the_step_of_the_proof_that_completes_the_square():
    t, L, g, y, w, star = sympy.symbols("t L g y w star")  # one coordinate; norms and products are sums of such
    u = t * y - (t - 1) * w - star
    assert sympy.expand(t * g * u - t**2 * g**2 / (2 * L) - L / 2 * (u**2 - (u - t * g / L) ** 2)) == 0
    following = sympy.symbols("following", positive=True)  # t_{k+1}
    w_next = y - g / L
    y_next = w_next + (t - 1) / following * (w_next - w)
    assert sympy.simplify(following * y_next - (following - 1) * w_next - star - (u - t * g / L)) == 0


@pytest.mark.claim("optim.nesterov-rate")
def test_the_accelerated_method_by_way_of_the_vector_in_the_proof():
    # u_k + w* = t y - (t - 1) w makes y a mean of w and a point that takes longer and longer gradient steps
    _, grad, _, L, _ = logistic(0.01)
    w = z = np.ones(7)
    t = 1.0
    for point in accelerated(grad, np.ones(7), L, 60):
        np.testing.assert_allclose(point, w, rtol=1e-9, atol=1e-11)  # rounding of 60 steps of growing length
        y = (z + (t - 1) * w) / t
        z = z - t / L * grad(y)
        w = y - grad(y) / L
        t = (1 + (1 + 4 * t * t) ** 0.5) / 2


@pytest.mark.claim("optim.nesterov-rate")
@pytest.mark.parametrize("lowest", [1e-6, 1e-3, 0.0])
def test_the_accelerated_method_stays_under_its_bound_on_quadratics(lowest):
    A, Q, w_star = bowl([lowest, 0.001, 0.01, 0.1, 1.0], seed=7)
    L, n = 1.0 + 1e-12, 400
    for start in (w_star + Q.sum(axis=1), w_star + Q[:, 1] * 5):
        path = accelerated(lambda w: A @ (w - w_star), start, L, n)
        potential_bound = L * ((start - w_star) ** 2).sum() / 2
        t = nesterov_sequence(n)
        for k in range(1, n + 1):
            gap = (path[k] - w_star) @ A @ (path[k] - w_star) / 2
            assert gap <= potential_bound / t[k - 1] ** 2 + 1e-13
            assert potential_bound / t[k - 1] ** 2 <= accelerated_bound(L, np.linalg.norm(start - w_star).item(), k)


@pytest.mark.claim("optim.nesterov-rate")
def test_the_accelerated_method_beats_gradient_descent_where_its_bound_says_so():
    n = 100
    # a curvature of 1 / k makes the bound of gradient descent bite
    curvature, start = 1 / (2.0 * n), np.ones(1)
    plain = 0.5 * curvature * (1 - curvature) ** (2 * n)
    quick = 0.5 * curvature * accelerated(lambda w: curvature * w, start, 1.0, n)[-1, 0] ** 2
    assert quick <= accelerated_bound(1.0, 1.0, n) < plain


@pytest.mark.claim("optim.nesterov-rate")
@pytest.mark.claim("optim.nesterov-strong")
@pytest.mark.parametrize("penalty", [1e-3, 1e-2, 0.1])
def test_both_forms_of_nesterov_on_logistic_regression(penalty):
    f, grad, mu, L, w_star = logistic(penalty)
    start, n = np.full(7, 2.0), 300
    distance = np.linalg.norm(start - w_star).item()
    for k, w in enumerate(accelerated(grad, start, L, n)[1:], start=1):
        assert f(w) - f(w_star) <= accelerated_bound(L, distance, k) + 1e-15
    lr, momentum = nesterov_settings(mu, L)
    optimizer, gap = Nesterov({"w": start.copy()}, lr, momentum), f(start) - f(w_star)
    for k in range(n + 1):
        w = optimizer.parameters["w"] + lr * momentum * optimizer.state["buffer"]["w"]
        assert f(w) - f(w_star) <= nesterov_factor(mu, L, k) * (gap + mu / 2 * distance**2) + 1e-15
        optimizer.step({"w": grad(optimizer.parameters["w"])})


@pytest.mark.claim("optim.nesterov-strong")
@pytest.mark.parametrize("kappa", [1.0, 10.0, 1000.0])
def test_the_potential_of_the_proof_shrinks_at_every_step(kappa):
    A, _, w_star = bowl(np.geomspace(0.5, 0.5 * kappa, 7), seed=1)
    lr, momentum = nesterov_settings(0.5, 0.5 * kappa)
    q = kappa**-0.5
    optimizer, before = Nesterov({"y": w_star + np.arange(7.0)}, lr, momentum), None
    for _ in range(200):
        y = optimizer.parameters["y"]
        w = y + lr * momentum * optimizer.state["buffer"]["y"]
        z = ((1 + q) * y - w) / q
        potential = (w - w_star) @ A @ (w - w_star) / 2 + 0.25 * ((z - w_star) ** 2).sum()
        if before is not None:
            assert potential <= (1 - q) * before * (1 + 1e-9) + 1e-24  # the rounding of w*, squared
        before = potential
        optimizer.step({"y": A @ (y - w_star)})


@pytest.mark.claim("optim.constant-momentum")
@pytest.mark.parametrize("make", [Momentum, Nesterov])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("k", [1, 7, 300])
def test_a_constant_momentum_leaves_as_much_as_claimed(make, beta, k):
    lr, r = 0.5, 3.0
    curvature = (1 - beta) / (2 * lr * k)
    optimizer = make({"w": np.array([r])}, lr, beta)
    path = run(optimizer, "w", lambda w: curvature * w, k)
    assert (path >= r / 2).all() and (path <= r).all()
    shift = lr * beta * optimizer.state["buffer"]["w"][0] if make is Nesterov else 0.0
    assert curvature / 2 * (path[-1, 0] + shift) ** 2 >= (1 - beta) / 16 * r**2 / (lr * k)


@pytest.mark.claim("optim.constant-momentum")
def test_the_varying_momentum_is_below_what_a_constant_one_leaves():
    k, beta = 2000, 0.9
    curvature = (1 - beta) / (2 * k)
    w = accelerated(lambda w: curvature * w, np.ones(1), 1.0, k)[-1, 0]
    assert curvature / 2 * w**2 <= accelerated_bound(1.0, 1.0, k) < (1 - beta) / 16 / k


@pytest.mark.claim("optim.nesterov-library")
@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9])
def test_the_library_form_is_the_method_in_the_shifted_variable(beta):
    _, grad, _, L, _ = logistic(0.01)
    optimizer = Nesterov({"y": np.ones(7)}, 1 / L, beta)
    w = y = np.ones(7)
    for _ in range(60):
        np.testing.assert_allclose(optimizer.parameters["y"], y, rtol=1e-10, atol=1e-12)  # rounding of 60 steps
        shifted = optimizer.parameters["y"] + beta / L * optimizer.state["buffer"]["y"]
        np.testing.assert_allclose(shifted, w, rtol=1e-10, atol=1e-12)
        optimizer.step({"y": grad(optimizer.parameters["y"])})
        w_next = y - grad(y) / L
        w, y = w_next, w_next + beta * (w_next - w)


@pytest.mark.parametrize("make", [Momentum, Nesterov])
def test_a_run_continues_from_its_state_to_the_same_bits(make):
    rng = np.random.default_rng(6)
    gradients = rng.normal(size=(7, 3, 2))
    straight = {"w": np.ones((3, 2))}
    optimizer = make(straight, 0.1, 0.75, weight_decay=0.1)
    for g in gradients[:4]:
        optimizer.step({"w": g})
    resumed = {"w": straight["w"].copy()}
    continued = make(resumed, 0.1, 0.75, weight_decay=0.1)
    continued.load_state_dict(optimizer.state_dict())
    for g in gradients[4:]:
        optimizer.step({"w": g})
        continued.step({"w": g})
    np.testing.assert_array_equal(resumed["w"], straight["w"])


def test_float32_stays_float32_and_a_step_allocates_nothing(peak_bytes):
    parameters = {"w": np.ones((503, 509), dtype=np.float32)}
    grads = {"w": np.full((503, 509), 0.5, dtype=np.float32)}
    for make in (Momentum, Nesterov):
        optimizer = make(parameters, 0.01, weight_decay=0.1)
        assert peak_bytes(lambda: optimizer.step(grads)) < 100_000  # noqa: B023, called at once; one copy is 1 MB
        assert parameters["w"].dtype == optimizer.state["buffer"]["w"].dtype == np.float32


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Momentum({"w": np.ones(2)}, 0.1, 1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: Nesterov({"w": np.ones(2)}, 0.1, -0.1), r"momentum must lie in \[0, 1\), got -0.1"),
        (lambda: Momentum({"w": np.ones(2)}, -1), "the learning rate must be finite and not negative, got -1"),
        (lambda: Momentum({"w": np.ones(2)}, 0.1, dampening=2), r"dampening must lie in \[0, 1\], got 2"),
        (lambda: Momentum({"w": np.ones(2)}, 0.1, 0, dampening=0.5), "got 0.5 with momentum 0; set a momentum"),
        (lambda: Nesterov({"w": np.ones(2)}, 0.1, weight_decay=-1), "weight_decay must be finite and not negative"),
        (lambda: accelerated(np.sin, np.ones(2), 0.0, 3), "L must be positive and finite, got 0.0"),
        (lambda: accelerated(np.sin, np.ones(2), 1.0, -3), "n_steps must not be negative, got -3"),
        (lambda: accelerated_bound(1.0, 1.0, 0), "the bound is for k >= 1 steps, got 0"),
        (lambda: heavy_ball_settings(2.0, 1.0), "0 < mu <= L, got mu=2.0, L=1.0"),
        (lambda: nesterov_settings(0.0, 1.0), "0 < mu <= L, got mu=0.0, L=1.0"),
    ],
)
@pytest.mark.usefixtures("unenforced")
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
