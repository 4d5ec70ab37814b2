"""Mirrors src/fp_optim/adagrad.py. Sizes are distinct primes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim import _named
from fp_optim.adagrad import AdaGrad, RMSprop, adagrad_bound
from fp_optim.problems import logistic_data, logistic_regression

numbers = st.floats(-1e3, 1e3)
sequences = st.lists(numbers, min_size=1, max_size=30)


def adagrad_by_the_formula(w, gradients, rates, eps=1e-10, initial=0.0, penalty=0.0):
    """(E3), read literally."""
    S = np.full_like(w, initial)
    for g, lr in zip(gradients, rates, strict=True):
        g = g + penalty * w
        S = S + g**2
        w = w - lr * g / (np.sqrt(S) + eps)
    return w


def rmsprop_by_the_formula(
    w, gradients, rates, alpha=0.99, eps=1e-8, momentum=0.0, centered=False, penalty=0.0
):  # fmt: skip
    """(E6), read literally, with what the class adds to it."""
    v, m, b = (np.zeros_like(w) for _ in range(3))
    for g, lr in zip(gradients, rates, strict=True):
        g = g + penalty * w
        v, m = alpha * v + (1 - alpha) * g**2, alpha * m + (1 - alpha) * g
        b = momentum * b + g / (np.sqrt(v - m**2 if centered else v) + eps)
        w = w - lr * b
    return w


CASES = [
    (AdaGrad, adagrad_by_the_formula, {}),
    (AdaGrad, adagrad_by_the_formula, {"eps": 0.1, "initial": 0.5}),
    (AdaGrad, adagrad_by_the_formula, {"penalty": 0.25}),
    (RMSprop, rmsprop_by_the_formula, {}),
    (RMSprop, rmsprop_by_the_formula, {"alpha": 0.75, "eps": 0.1, "momentum": 0.5}),
    (RMSprop, rmsprop_by_the_formula, {"alpha": 0.75, "centered": True}),
    (RMSprop, rmsprop_by_the_formula, {"alpha": 0.75, "centered": True, "momentum": 0.5, "penalty": 0.25}),
]


def renamed(settings):
    return {"weight_decay" if key == "penalty" else key: value for key, value in settings.items()}


@pytest.mark.claim("optim.pieces")
@pytest.mark.parametrize(("make", "formula", "settings"), CASES)
def test_arrays_larger_than_a_piece_follow_the_formula(make, formula, settings):
    rng = np.random.default_rng(2)
    start = rng.normal(size=(191, 401))  # two whole pieces and a part
    assert start.size > 2 * _named.CHUNK and start.size % _named.CHUNK
    gradients, rates = rng.normal(size=(5, *start.shape)), [0.1, 0.2, 0.1, 0.05, 0.3]
    parameter = start.copy()
    optimizer = make({"w": parameter}, **renamed(settings))
    for g, lr in zip(gradients, rates, strict=True):
        optimizer.step({"w": g}, lr)
    # rounding of five steps; a first step divides by the square root of 0.01 - 0.01^2
    np.testing.assert_allclose(parameter, formula(start, gradients, rates, **settings), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("make", "formula", "settings"), CASES)
def test_a_run_continues_from_its_state_to_the_same_bits(make, formula, settings):
    rng = np.random.default_rng(6)
    gradients = rng.normal(size=(7, 3, 2))
    straight = {"w": np.ones((3, 2))}
    optimizer = make(straight, **renamed(settings))
    for g in gradients[:4]:
        optimizer.step({"w": g})
    resumed = {"w": straight["w"].copy()}
    continued = make(resumed, **renamed(settings))
    continued.load_state_dict(optimizer.state_dict())
    for g in gradients[4:]:
        optimizer.step({"w": g})
        continued.step({"w": g})
    np.testing.assert_array_equal(resumed["w"], straight["w"])


def test_two_steps_by_hand():
    w = np.array([1.0])
    optimizer = AdaGrad({"w": w}, lr=1.0, eps=1e-300)
    for g in (3.0, 4.0):
        optimizer.step({"w": np.array([g])})
    assert w[0] == pytest.approx(1 - 3 / 3 - 4 / 5, rel=1e-14)
    w = np.array([1.0])
    optimizer = RMSprop({"w": w}, lr=1.0, alpha=0.5, eps=1e-300)
    for g in (2.0, 1.0):
        optimizer.step({"w": np.array([g])})
    assert w[0] == pytest.approx(1 - 2 / 2**0.5 - 1 / (0.5 * 2 + 0.5) ** 0.5, rel=1e-14)


def test_what_is_kept_is_what_is_needed():
    assert set(RMSprop({"w": np.ones(2)}).state) == {"square"}
    assert set(RMSprop({"w": np.ones(2)}, momentum=0.5).state) == {"square", "buffer"}
    assert set(RMSprop({"w": np.ones(2)}, centered=True).state) == {"square", "mean"}
    both = RMSprop(
        {"w": np.ones(2), "v": np.ones(3)},
        momentum=0.5,
        centered=True,
        groups=lambda name, a: {"momentum": 0.0, "centered": False} if name == "v" else {},
    )
    both.step({"w": np.ones(2), "v": np.ones(3)})
    assert not both.state["buffer"]["v"].any() and not both.state["mean"]["v"].any()
    assert both.state["buffer"]["w"].all() and both.state["mean"]["w"].all()


def test_groups_may_start_their_sums_elsewhere():
    p = {"w": np.zeros(2), "v": np.zeros(3)}
    optimizer = AdaGrad(p, 1.0, groups=lambda name, a: {"initial": 3.0} if name == "v" else {})
    optimizer.step({"w": np.ones(2), "v": np.ones(3)})
    assert p["w"] == pytest.approx(-1.0) and p["v"] == pytest.approx(-0.5)


@pytest.mark.claim("optim.clip-closer")
@given(numbers, st.floats(0, 100), st.floats(0, 1), numbers)
def test_clipping_brings_closer(a, width, where, x):
    b = a + width
    u = min(max(a + where * width, a), b)
    assert abs(np.clip(x, a, b) - u) <= abs(x - u)


@pytest.mark.claim("optim.root-sum")
@given(sequences)
def test_the_sum_over_roots(gradients):
    g = np.array(gradients)
    S = np.cumsum(g**2)
    terms = np.divide(g**2, np.sqrt(S), out=np.zeros_like(g), where=S > 0)
    assert terms.sum() <= 2 * np.sqrt(S[-1]) * (1 + 1e-12)


@pytest.mark.claim("optim.root-sum")
def test_the_two_cannot_be_lowered():
    S = np.arange(1, 100_001.0)  # all gradients one
    assert (1 / np.sqrt(S)).sum() > 1.99 * np.sqrt(S[-1])


def play(gradient, start, low, high, lr, n_rounds, eps=1e-10):
    """Points, gradients and the optimizer after a game in a box; `gradient(t, w)` with t from 0."""
    w = start.copy()
    optimizer = AdaGrad(
        {f"{i}": w[i : i + 1] for i in range(w.size)},
        1.0,
        eps,
        groups=lambda name, a: {"lr_scale": float(lr[int(name)])},
    )
    points, gradients = [], []
    for t in range(n_rounds):
        points.append(w.copy())
        gradients.append(gradient(t, w))
        optimizer.step({f"{i}": gradients[-1][i : i + 1] for i in range(w.size)})
        np.clip(w, low, high, out=w)
    return np.array(points), np.array(gradients)


def worst_regret(points, gradients, low, high):
    """The largest sum of g (w - u) over the box: each coordinate of u at an end of its side."""
    slopes = gradients.sum(axis=0)
    return (gradients * points).sum() - np.minimum(slopes * low, slopes * high).sum()


def test_the_bound_by_hand():
    # 4^2 / (2 2) (3 + 1/2) + 2 3, and 1^2 / (2 1/2) (5 + 1/2) + 1/2 5
    arguments = np.array([9.0, 25.0]), np.array([4.0, 1.0]), np.array([2.0, 0.5]), 0.5
    assert adagrad_bound(*arguments) == pytest.approx(14 + 6 + 5.5 + 2.5, rel=1e-15)


@pytest.mark.claim("optim.adagrad-regret")
@pytest.mark.parametrize("kind", ["random", "sparse", "adversary", "alternating", "growing"])
@pytest.mark.parametrize("scale", [1.0, 0.1, 30.0])
@pytest.mark.parametrize("eps", [1e-10, 0.5])
def test_no_game_makes_the_regret_exceed_its_bound(kind, scale, eps):
    rng = np.random.default_rng(11)
    low, high = np.array([-1.0, 0.0, -3.0, 2.0, -0.1]), np.array([1.0, 5.0, -1.0, 2.5, 0.1])
    lr = scale * (high - low) / np.sqrt(2)

    def gradient(t, w):
        noise = rng.normal(size=5)
        return {
            "random": noise * np.array([1, 10, 0.1, 1, 1]) + 0.3,
            "sparse": noise * (rng.random(5) < np.array([1, 0.3, 0.1, 0.03, 0.01])),
            "adversary": np.where(w > (low + high) / 2, 1.0, -1.0),  # pushes to the other half
            "alternating": (-1.0) ** t * np.ones(5),
            "growing": noise * 1.1**t,
        }[kind]

    points, gradients = play(gradient, high.copy(), low, high, lr, 200, eps)
    assert (points >= low).all() and (points <= high).all()
    bound = adagrad_bound((gradients**2).sum(axis=0), high - low, lr, eps)
    assert worst_regret(points, gradients, low, high) <= bound * (1 + 1e-12)


@pytest.mark.claim("optim.adagrad-regret")
def test_every_short_game_of_signs_stays_under_the_bound():
    # all 2^9 sequences of slopes with sizes 1 to 9 in a box of one side: exhaustive
    sizes, lr = np.arange(1.0, 10.0), np.array([2 / np.sqrt(2)])
    for signs in itertools.product((-1.0, 1.0), repeat=9):
        slopes = sizes * signs
        low, high = np.array([-1.0]), np.array([1.0])
        points, gradients = play(lambda t, w: slopes[t : t + 1], np.zeros(1), low, high, lr, 9)  # noqa: B023, at once
        bound = np.sqrt(2) * 2 * np.sqrt((slopes**2).sum())
        assert worst_regret(points, gradients, low, high) <= bound * (1 + 1e-9)


@pytest.mark.claim("optim.adagrad-regret")
@pytest.mark.claim("optim.adagrad-average")
def test_batches_of_logistic_regression_in_a_box():
    A, y = logistic_data(np.random.default_rng(1))
    N = len(A)
    whole, T = logistic_regression(A, y, penalty=0.05), 400
    order = np.random.default_rng(2).integers(N, size=T)
    singles = [logistic_regression(A[i : i + 1], y[i : i + 1], penalty=0.05) for i in range(N)]
    low, high = whole.minimiser - 1.0, whole.minimiser + 2.0
    lr = (high - low) / np.sqrt(2)
    u = whole.minimiser
    points, gradients = play(lambda t, w: singles[order[t]].grad(w), high.copy(), low, high, lr, T)
    regret = sum(singles[i].f(w) - singles[i].f(u) for i, w in zip(order, points, strict=True))
    assert regret <= adagrad_bound((gradients**2).sum(axis=0), high - low, lr)
    # one function throughout: the mean of the points
    points, gradients = play(lambda t, w: whole.grad(w), high.copy(), low, high, lr, T)
    for k in (1, 10, 100, T):
        regret = sum(whole.f(w) for w in points[:k]) - k * whole.minimum
        bound = adagrad_bound((gradients[:k] ** 2).sum(axis=0), high - low, lr)
        assert whole.f(points[:k].mean(axis=0)) - whole.minimum <= regret / k + 1e-15 <= bound / k


@pytest.mark.claim("optim.adagrad-hindsight")
def test_fixed_rates_and_the_best_of_them():
    rng = np.random.default_rng(4)
    gradients = rng.normal(size=(300, 5)) * np.array([1.0, 10.0, 0.1, 3.0, 1.0]) + 0.05
    low, high = -np.arange(1.0, 6.0), np.arange(1.0, 6.0)
    S, D = (gradients**2).sum(axis=0), high - low

    def bound(lr):
        return (D**2 / (2 * lr) + lr / 2 * S).sum()

    best = D / np.sqrt(S)
    assert bound(best) == pytest.approx((D * np.sqrt(S)).sum(), rel=1e-12)
    assert adagrad_bound(S, D, D / np.sqrt(2)) == pytest.approx(np.sqrt(2) * bound(best), rel=1e-12)
    for factor in np.exp(rng.normal(size=(100, 5))):
        lr = best * factor
        assert bound(lr) >= bound(best)
        w, points = high.copy(), []
        for g in gradients:
            points.append(w.copy())
            w = np.clip(w - lr * g, low, high)
        assert worst_regret(np.array(points), gradients, low, high) <= bound(lr)


def test_a_rare_coordinate_keeps_long_steps():
    # one slope each, the rare one seen in every 100th round
    w = np.full(2, 10.0)
    optimizer = AdaGrad({"w": w}, lr=1.0)
    for t in range(1000):
        optimizer.step({"w": np.array([1.0, float(t % 100 == 0)])})
    assert optimizer.state["total"]["w"].tolist() == [1000, 10]
    assert 10 - w[1] == pytest.approx((1 / np.sqrt(np.arange(1, 11))).sum())


@pytest.mark.claim("optim.rmsprop-forgets")
@given(st.floats(0.0, 0.99), st.lists(st.floats(-100, 100), min_size=1, max_size=20), st.floats(0.01, 10))
def test_the_fading_mean_forgets_and_the_sum_does_not(alpha, early, c):
    C = max(abs(g) for g in early)
    rms, ada = RMSprop({"w": np.zeros(1)}, 0.0, alpha), AdaGrad({"w": np.zeros(1)}, 0.0)
    for optimizer in (rms, ada):
        for g in early:
            optimizer.step({"w": np.array([g])})
    total = ada.state["total"]["w"][0]
    for k in range(1, 31):
        g = np.array([c * (-1.0) ** k])
        rms.step({"w": g})
        ada.step({"w": g})
        v = rms.state["square"]["w"][0]
        assert (1 - alpha**k) * c**2 * (1 - 1e-9) <= v <= (c**2 + alpha**k * C**2) * (1 + 1e-9)
        assert ada.state["total"]["w"][0] == pytest.approx(total + k * c**2, rel=1e-12)


@pytest.mark.claim("optim.rmsprop-bounded")
@given(sequences, st.floats(0.0, 0.99))
def test_no_step_is_longer_than_its_bound_and_the_first_reaches_it(gradients, alpha):
    for make, bound in (
        (lambda p: AdaGrad(p, 1.0, 1e-100), 1.0),
        (lambda p: RMSprop(p, 1.0, alpha, 1e-100), 1 / np.sqrt(1 - alpha)),
    ):
        w = np.zeros(1)
        optimizer = make({"w": w})
        for t, g in enumerate(gradients):
            w[0] = 0.0
            optimizer.step({"w": np.array([g])})
            assert abs(w[0]) <= bound * (1 + 1e-12)
            if t == 0 and abs(g) > 1e-90:
                assert abs(w[0]) == pytest.approx(bound, rel=1e-9)


@pytest.mark.claim("optim.centered-root")
@given(sequences, st.floats(0.0, 0.999))
def test_the_mean_square_is_at_least_the_squared_mean(gradients, alpha):
    v = m = 0.0
    for g in gradients:
        v, m = alpha * v + (1 - alpha) * g * g, alpha * m + (1 - alpha) * g
        assert v >= m * m * (1 - 1e-12)


def test_a_root_that_rounding_made_negative_does_no_harm():
    # long after the start a constant gradient has v = m^2 up to rounding, of either sign
    w = np.zeros(1009, dtype=np.float32)
    g = np.random.default_rng(0).normal(size=1009).astype(np.float32)
    optimizer, negative = RMSprop({"w": w}, 1e-3, 0.9, 0.5, centered=True), False
    for _ in range(300):
        optimizer.step({"w": g})
        negative |= bool((optimizer.state["square"]["w"] < optimizer.state["mean"]["w"] ** 2).any())
    assert negative and np.isfinite(w).all()


def test_float32_stays_float32_and_a_step_allocates_nothing(peak_bytes):
    parameters = {"w": np.ones((503, 509), dtype=np.float32)}
    grads = {"w": np.full((503, 509), 0.5, dtype=np.float32)}
    for optimizer in (
        AdaGrad(parameters, weight_decay=0.1),
        RMSprop(parameters, momentum=0.9, centered=True, weight_decay=0.1),
    ):
        assert peak_bytes(lambda: optimizer.step(grads)) < 100_000  # noqa: B023, called at once; one copy is 1 MB
        assert parameters["w"].dtype == np.float32
        assert all(kept["w"].dtype == np.float32 for kept in optimizer.state.values())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: AdaGrad(p, -1), "the learning rate must be finite and not negative, got -1"),
        (lambda p: AdaGrad(p, eps=0.0), "eps must be positive and finite, got 0.0"),
        (lambda p: AdaGrad(p, initial=-1), "initial must be finite and not negative, got -1"),
        (lambda p: AdaGrad(p, weight_decay=-1), "weight_decay must be finite and not negative, got -1"),
        (lambda p: RMSprop(p, alpha=1.0), r"alpha must lie in \[0, 1\), got 1.0"),
        (lambda p: RMSprop(p, eps=np.inf), "eps must be positive and finite, got inf"),
        (lambda p: RMSprop(p, momentum=1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda p: RMSprop(p, groups=lambda n, a: {"momentum": 0.5}), "only if the optimizer is, got momentum=0.5"),
        (lambda p: RMSprop(p, groups=lambda n, a: {"centered": True}), "only if the optimizer is, got momentum=0.0"),
    ],
)
@pytest.mark.usefixtures("unenforced")
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call({"w": np.ones(2)})
