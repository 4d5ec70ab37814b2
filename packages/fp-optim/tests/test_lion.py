"""Mirrors src/fp_optim/lion.py. Sizes are distinct primes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim import _named
from fp_optim.adaptive import AdamW
from fp_optim.amsgrad import Adam
from fp_optim.lion import Lion, lion_bound
from fp_optim.problems import logistic_data, logistic_regression, quadratic


def by_the_paper(w, gradients, rates, beta1, beta2, weight_decay):
    """The paper's program: update = sign(interp(g, m, b1)); m = interp(g, m, b2); w -= lr (update + decay w)."""
    m = np.zeros_like(w)
    for g, lr in zip(gradients, rates, strict=True):
        update = np.sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        w = w - lr * (update + weight_decay * w)
    return w


@pytest.mark.claim("optim.pieces")
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.0, 0.5), (0.75, 0.0)])
def test_arrays_larger_than_a_piece_follow_the_paper(betas):
    rng = np.random.default_rng(2)
    start = rng.normal(size=(191, 401))  # two whole pieces and a part
    assert start.size > 2 * _named.CHUNK and start.size % _named.CHUNK
    gradients, rates = rng.normal(size=(5, *start.shape)), [0.1, 0.2, 0.1, 0.05, 0.3]
    parameter = start.copy()
    optimizer = Lion({"w": parameter}, betas=betas, weight_decay=0.25)
    for g, lr in zip(gradients, rates, strict=True):
        optimizer.step({"w": g}, lr)
    # rounding of five steps: no sum comes near enough to 0 for its sign to depend on rounding
    np.testing.assert_allclose(parameter, by_the_paper(start, gradients, rates, *betas, 0.25), rtol=1e-11, atol=1e-13)


def test_two_steps_by_hand():
    w = np.array([[1.0, 1.0]])
    optimizer = Lion({"w": w}, 0.5, (0.5, 0.75), weight_decay=0.5)
    optimizer.step({"w": np.array([[4.0, 4.0]])})  # m = 1
    assert w.tolist() == [[0.25, 0.25]]
    optimizer.step({"w": np.array([[-0.5, -1.0]])})  # c = 0.25 and 0
    assert w.tolist() == [[0.75 * 0.25 - 0.5, 0.75 * 0.25]]


def test_the_sign_is_the_steepest_of_all_signs():
    rng = np.random.default_rng(1)
    for _ in range(20):
        w, g = np.zeros(5), rng.normal(size=5) * (rng.random(5) < 0.8)
        Lion({"w": w}, 1.0).step({"w": g})
        best = min(g @ np.array(d) for d in itertools.product((-1.0, 0.0, 1.0), repeat=5))
        assert g @ w == pytest.approx(best) and best == pytest.approx(-abs(g).sum())


@pytest.mark.claim("optim.adam-sign")
@pytest.mark.parametrize("make", [Adam, AdamW])
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(1e-12, 1.0))
def test_adam_without_memory_is_sign_descent_up_to_eps(make, gradients, eps):
    w, signs = np.zeros(1), np.zeros(1)
    adam, lion = make({"w": w}, 0.5, (0.0, 0.0), eps), Lion({"w": signs}, 0.5, (0.0, 0.9))
    for g in gradients:
        w[0] = signs[0] = 0.0
        adam.step({"w": np.array([g])})
        lion.step({"w": np.array([g])})
        assert w[0] == pytest.approx(-0.5 * np.sign(g) * abs(g) / (abs(g) + eps), rel=1e-9, abs=1e-150)
        assert abs(w[0] - signs[0]) <= 0.5 * eps / (abs(g) + eps) * (1 + 1e-9) + 1e-15 if abs(g) > 1e-150 else True


@pytest.mark.claim("optim.lion-step")
@given(
    st.lists(st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0]), min_size=3, max_size=3), min_size=1, max_size=9),
    st.sampled_from([0.25, 4.0, 1024.0]),
)
def test_every_coordinate_moves_by_the_rate_or_not_at_all(gradients, scale):
    w, scaled = np.zeros(3), np.zeros(3)
    lion, other = Lion({"w": w}, 0.5, (0.5, 0.75)), Lion({"w": scaled}, 0.5, (0.5, 0.75))
    m = np.zeros(3)
    for g in np.array(gradients):
        before = w.copy()
        lion.step({"w": g})
        other.step({"w": scale * g})  # powers of two: exact
        moving = 0.5 * m + 0.5 * g != 0
        assert (abs(w - before) == np.where(moving, 0.5, 0.0)).all()
        assert np.linalg.norm(w - before) == pytest.approx(0.5 * np.sqrt(moving.sum()))
        np.testing.assert_array_equal(w, scaled)
        m = 0.75 * m + 0.25 * g


@pytest.mark.claim("optim.lion-box")
@given(
    st.floats(0.01, 1.0), st.floats(0.1, 10.0), st.floats(-50, 50), st.lists(st.floats(-1, 1), min_size=1, max_size=40)
)
def test_weights_approach_their_box_and_stay(share, decay, start, gradients):
    w = np.array([[start]])
    lion = Lion({"w": w}, share / decay, weight_decay=decay)
    for g in gradients:
        before = abs(w[0, 0])
        lion.step({"w": np.array([[g]])})
        assert abs(w[0, 0]) - 1 / decay <= (1 - share) * (before - 1 / decay) + 1e-13 * (1 + before)


@pytest.mark.claim("optim.lion-box")
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_steady_sign_drives_a_weight_to_the_wall(sign):
    w = np.array([[7.0]])
    lion = Lion({"w": w}, 0.1, weight_decay=0.5)
    for _ in range(600):
        lion.step({"w": np.array([[sign * 1e-3]])})
    assert w[0, 0] == pytest.approx(-sign * 2, rel=1e-10)  # 0.95^600 of 9 is 4e-13


def wave(n):
    """Not convex: a sum of cosines along skew directions, its gradient, a Lipschitz constant, its least value."""
    K = np.random.default_rng(3).normal(size=(7, n))
    return (
        lambda w: np.cos(K @ w).sum(),
        lambda w: -K.T @ np.sin(K @ w),
        float(np.linalg.eigvalsh(K.T @ K)[-1]),
        -7.0,
    )


def functions():
    logistic = logistic_regression(*logistic_data(np.random.default_rng(0)), penalty=0.01)
    bowl = quadratic(np.array([100.0, 10.0, 1.0, 0.5, 0.01]), np.random.default_rng(1))
    round_bowl = quadratic(np.full(11, 2.0), np.random.default_rng(1))
    return [(p.f, p.grad, p.L, p.minimum, p.minimiser.size) for p in (logistic, bowl, round_bowl)] + [(*wave(5), 5)]


@pytest.mark.claim("optim.lion-rate")
@pytest.mark.parametrize("betas", [(0.0, 0.0), (0.9, 0.99), (0.5, 0.5), (0.9, 0.0)])
@pytest.mark.parametrize("which", range(4))
def test_the_smallest_gradient_lies_under_its_bound(which, betas):
    f, grad, L, least, n = functions()[which]
    start = np.random.default_rng(2).normal(size=n)
    for T in (1, 10, 100, 400):
        best = np.sqrt(2 * (f(start) - least) / (n * L * T)).item()
        for lr in (0.1 * best, best, 10 * best):
            w = start.copy()
            lion, sizes = Lion({"w": w}, lr, betas), []
            for _ in range(T):
                g = grad(w)
                sizes.append(abs(g).sum())
                lion.step({"w": g})
            bound = lion_bound(L, n, float(f(start) - least), float(sizes[0]), T, lr, betas)
            assert min(sizes) <= bound * (1 + 1e-12)
        if betas[0] == 0:
            optimum = np.sqrt(2 * n * L * (f(start) - least) / T)
            assert lion_bound(L, n, float(f(start) - least), 0.0, T, best, betas) == pytest.approx(optimum, rel=1e-12)


@pytest.mark.claim("optim.lion-rate")
def test_one_start_comes_within_a_small_part_of_the_bound():
    # from half the rate it jumps to and fro over the minimum for ever
    n, L, T, lr = 11, 2.0, 100, 0.5
    w = np.full(n, lr / 2)
    lion, sizes = Lion({"w": w}, lr, (0.0, 0.0)), []
    for _ in range(T):
        sizes.append(L * abs(w).sum())
        lion.step({"w": L * w})
    bound = lion_bound(L, n, n * L * (lr / 2) ** 2 / 2, float(sizes[0]), T, lr, (0.0, 0.0))
    assert min(sizes) <= bound <= min(sizes) * (1 + 1 / (4 * T)) * (1 + 1e-12)


@pytest.mark.claim("optim.lion-rate")
@given(st.floats(-10, 10), st.floats(-10, 10))
def test_the_inequality_of_the_proof(g, c):
    assert g * np.sign(c) >= abs(g) - 2 * abs(g - c) - 1e-14


def test_a_run_continues_from_its_state_to_the_same_bits():
    rng = np.random.default_rng(6)
    gradients = rng.normal(size=(7, 3, 2))
    straight = {"w": np.ones((3, 2))}
    optimizer = Lion(straight, 0.1, weight_decay=0.1)
    for g in gradients[:4]:
        optimizer.step({"w": g})
    resumed = {"w": straight["w"].copy()}
    continued = Lion(resumed, 0.1, weight_decay=0.1)
    continued.load_state_dict(optimizer.state_dict())
    for g in gradients[4:]:
        optimizer.step({"w": g})
        continued.step({"w": g})
    np.testing.assert_array_equal(resumed["w"], straight["w"])


def test_float32_stays_float32_and_a_step_allocates_nothing(peak_bytes):
    parameters = {"w": np.ones((503, 509), dtype=np.float32)}
    grads = {"w": np.full((503, 509), 0.5, dtype=np.float32)}
    optimizer = Lion(parameters, weight_decay=0.1)
    assert peak_bytes(lambda: optimizer.step(grads)) < 100_000  # views and NumPy's buffers; one copy of w is 1 MB
    assert parameters["w"].dtype == optimizer.state["m"]["w"].dtype == np.float32


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: Lion(p, -1), "the learning rate must be finite and not negative, got -1"),
        (lambda p: Lion(p, betas=(0.9, 1.0)), r"betas must lie in \[0, 1\), got \(0.9, 1.0\)"),
        (lambda p: Lion(p, betas=(-0.1, 0.9)), r"betas must lie in \[0, 1\), got \(-0.1, 0.9\)"),
        (lambda p: Lion(p, weight_decay=-1), "weight_decay must be finite and not negative, got -1"),
        (lambda p: Lion(p, check_finite=True).step({"w": np.array([1.0, np.nan])}), "not finite: w"),
        (lambda p: lion_bound(1.0, 2, 1.0, 1.0, 0, 0.1), "lr > 0 and T >= 1, got lr=0.1, T=0"),
    ],
)
@pytest.mark.usefixtures("unenforced")
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call({"w": np.ones(2)})
