"""Mirrors src/fp_optim/adaptive.py. Sizes are distinct primes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim import _named
from fp_optim.adaptive import AdamW, largest_step

betas = st.floats(0.0, 0.999)


def moments(gradients, beta1, beta2):
    """(E1) and (E2), read literally."""
    m = v = 0.0
    for g in gradients:
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    return m, v


def by_the_formula(theta, gradients, rates, beta1, beta2, eps, weight_decay):
    """(E5), read literally, for one array."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        step = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        theta = (1 - lr * weight_decay) * theta - lr * step
    return theta


def test_arrays_larger_than_a_piece_follow_the_formula():
    rng = np.random.default_rng(2)
    start = rng.normal(size=(191, 401))  # two whole pieces and a part
    assert start.size > 2 * _named.CHUNK and start.size % _named.CHUNK
    gradients, rates = rng.normal(size=(5, *start.shape)), [0.1, 0.2, 0.1, 0.05, 0.3]
    parameter = start.copy()
    optimizer = AdamW({"w": parameter}, betas=(0.8, 0.9), eps=1e-4, weight_decay=0.25)
    for g, lr in zip(gradients, rates, strict=True):
        optimizer.step({"w": g}, lr)
    expected = by_the_formula(start, gradients, rates, 0.8, 0.9, 1e-4, 0.25)
    np.testing.assert_allclose(parameter, expected, rtol=1e-11, atol=1e-13)  # rounding of five steps, E4 for E3


def test_float32_stays_float32_and_near_float64():
    rng = np.random.default_rng(4)
    narrow = {"w": rng.normal(size=(5, 7)).astype(np.float32)}
    wide = {"w": narrow["w"].astype(np.float64)}
    optimizers = AdamW(narrow, lr=0.01), AdamW(wide, lr=0.01)
    for _ in range(50):
        g = rng.normal(size=(5, 7)).astype(np.float32)
        for optimizer in optimizers:
            optimizer.step({"w": g})
    assert narrow["w"].dtype == np.float32
    # 50 steps, each rounding values below 4 to 2^-24 of them
    np.testing.assert_allclose(narrow["w"], wide["w"], atol=50 * 4 * 2.0**-24)


@pytest.mark.claim("optim.adam-bias")
@given(betas, st.integers(1, 50), st.floats(-100, 100))
def test_the_corrected_means_of_a_constant_are_the_constant(beta, t, g):
    m, v = moments([g] * t, beta, beta)
    assert m / (1 - beta**t) == pytest.approx(g, rel=1e-9, abs=1e-12)
    assert v / (1 - beta**t) == pytest.approx(g * g, rel=1e-9, abs=1e-12)


@pytest.mark.claim("optim.adam-bias")
def test_the_corrected_means_are_unbiased_over_all_outcomes():
    # every sequence of four gradients from {-1, 2, 5}, all equally likely: an expectation without sampling
    values, t, beta1, beta2 = np.array([-1.0, 2.0, 5.0]), 4, 0.7, 0.9
    sequences = np.stack(np.meshgrid(*[values] * t)).reshape(t, -1)
    m, v = moments(sequences, beta1, beta2)
    assert m.mean() / (1 - beta1**t) == pytest.approx(values.mean(), rel=1e-12)
    assert v.mean() / (1 - beta2**t) == pytest.approx((values**2).mean(), rel=1e-12)
    assert abs(m.mean() - values.mean()) > 0.1  # uncorrected, it is biased


@pytest.mark.claim("optim.adam-first-step")
@given(st.floats(1e-6, 1e6), st.sampled_from([-1.0, 1.0]))
def test_the_first_step_has_the_length_of_the_rate_whatever_the_gradient(size, sign):
    parameter = np.zeros(1)
    AdamW({"w": parameter}, lr=0.25, eps=1e-8).step({"w": np.array([sign * size])})
    assert -sign * parameter[0] == pytest.approx(0.25 * size / (size + 1e-8), rel=1e-12)
    assert 0 < -sign * parameter[0] < 0.25
    m, v = moments([sign * size], 0.9, 0.999)
    assert abs(m) / np.sqrt(v) == pytest.approx(0.1 / np.sqrt(0.001), rel=1e-9)


@pytest.mark.claim("optim.adam-bounded")
@given(st.lists(st.floats(-1e3, 1e3).filter(lambda g: abs(g) > 1e-3), min_size=1, max_size=40))
def test_no_sequence_of_gradients_makes_a_longer_step(gradients):
    parameter = np.zeros(1)
    optimizer = AdamW({"w": parameter}, betas=(0.9, 0.95), eps=1e-30)
    for t, g in enumerate(gradients, start=1):
        before = parameter.copy()
        optimizer.step({"w": np.array([g])}, lr=1.0)
        # 1e-12 and the parameter's own rounding at a sum of 40 steps of at most 2
        assert abs(parameter - before)[0] <= largest_step(t, (0.9, 0.95)) * (1 + 1e-12) + 1e-13


def bound(t, beta1, beta2):
    """R_t, read literally: also where it grows without end."""
    total = sum((beta1**2 / beta2) ** k for k in range(t))
    return np.sqrt((1 - beta1) ** 2 * (1 - beta2**t) / ((1 - beta2) * (1 - beta1**t) ** 2) * total)


@pytest.mark.claim("optim.adam-bounded")
@pytest.mark.parametrize("t", [1, 2, 7, 300])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.0, 0.5), (0.9, 0.81), (0.9, 0.7)])
def test_one_sequence_of_gradients_attains_the_bound_and_others_do_not_pass_it(t, beta1, beta2):
    s = np.arange(1, t + 1)
    gradients = (beta1 / beta2) ** (t - s.astype(float))  # w_s / u_s, up to a constant
    noise = np.random.default_rng(t).normal(size=(t, 101)) * gradients[:, None]
    m, v = moments(np.column_stack([gradients, noise, gradients[:, None] + 0.01 * noise]), beta1, beta2)
    ratios = m / (1 - beta1**t) / np.sqrt(v / (1 - beta2**t))
    assert ratios[0] == pytest.approx(bound(t, beta1, beta2), rel=1e-10)
    assert np.abs(ratios).max() <= bound(t, beta1, beta2) * (1 + 1e-10)  # rounding of sums of 300 terms
    if beta1**2 < 0.99 * beta2:  # 0.9^2 = 0.81 up to rounding
        assert largest_step(t, (beta1, beta2)) == pytest.approx(bound(t, beta1, beta2), rel=1e-10)


@pytest.mark.claim("optim.adam-bounded-in-time")
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.9, 0.95), (0.0, 0.5), (0.5, 0.3)])
def test_the_bound_has_its_limit_where_the_squares_fade_slowly_enough(beta1, beta2):
    limit = np.sqrt((1 - beta1) ** 2 / ((1 - beta2) * (1 - beta1**2 / beta2)))
    # after 40,000 steps even 0.999^t is below 1e-17
    assert largest_step(40_000, (beta1, beta2)) == pytest.approx(limit, rel=1e-12)


@pytest.mark.claim("optim.adam-bounded-in-time")
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.81), (0.9, 0.7), (0.5, 0.2)])
def test_the_bound_grows_without_end_where_they_fade_too_fast(beta1, beta2):
    for t in (10, 100, 1000):
        assert bound(t, beta1, beta2) ** 2 >= (1 - 1e-9) * (1 - beta1) ** 2 / (1 - beta2) * (1 - beta2**t) * t
    assert bound(1000, beta1, beta2) > 7


@pytest.mark.claim("optim.decoupled-decay")
def test_without_gradients_decay_is_geometric():
    parameter = np.array([[2.0, -3.0]])
    optimizer = AdamW({"w": parameter}, lr=0.1, weight_decay=0.5)
    for _ in range(11):
        optimizer.step({"w": np.zeros((1, 2))})
    np.testing.assert_allclose(parameter, 0.95**11 * np.array([[2.0, -3.0]]), rtol=1e-14)  # 11 roundings


@pytest.mark.claim("optim.decoupled-decay")
@pytest.mark.parametrize("weight_decay", [1e-3, 0.1, 10.0])
def test_a_penalty_inside_the_gradient_loses_its_strength(weight_decay):
    start = np.array([[2.0, -300.0]])
    parameter = start.copy()
    AdamW({"w": parameter}, lr=0.1, weight_decay=0.0, eps=1e-12).step({"w": weight_decay * start})
    np.testing.assert_allclose(parameter - start, [[-0.1, 0.1]], rtol=1e-8)  # eps against 1e-3 * 2; 1e-15 * 300 / 0.1


def test_only_matrices_decay_unless_told_otherwise():
    def run(decay):
        parameters = {"norm": np.ones(3), "w": np.ones((2, 3)), "bias": np.ones((1, 3))}
        optimizer = AdamW(parameters, lr=1.0, weight_decay=0.5, decay=decay)
        optimizer.step({name: np.zeros_like(array) for name, array in parameters.items()})
        return {name for name, array in parameters.items() if array.flat[0] == 0.5}

    assert run(None) == {"w", "bias"}
    assert run(lambda name, array: name != "bias" and array.ndim == 2) == {"w"}
    assert run(lambda name, array: False) == set()


def test_the_arrays_are_updated_where_they_are():
    parameters = {"w": np.ones((2, 3)), "b": np.ones(())}
    kept = dict(parameters)
    AdamW(parameters).step({"w": np.ones((2, 3)), "b": np.ones(())})
    for name, array in parameters.items():
        assert array is kept[name] and (array < 1).all()


def test_the_attribute_and_the_argument_set_the_rate():
    a, b = np.zeros(3), np.zeros(3)
    by_attribute, by_argument = AdamW({"w": a}, lr=9.0), AdamW({"w": b}, lr=9.0)
    for lr in (0.5, 0.25):
        by_attribute.lr = lr
        by_attribute.step({"w": np.ones(3)})
        by_argument.step({"w": np.ones(3)}, lr)
    np.testing.assert_array_equal(a, b)
    assert by_argument.lr == 9.0


def test_gradients_are_only_read_and_may_be_strided():
    g = np.arange(15.0).reshape(5, 3).T
    plain, strided = np.zeros((3, 5)), np.zeros((3, 5))
    AdamW({"w": plain}).step({"w": np.ascontiguousarray(g)})
    AdamW({"w": strided}).step({"w": g})
    np.testing.assert_array_equal(plain, strided)
    np.testing.assert_array_equal(g, np.arange(15.0).reshape(5, 3).T)


def test_a_step_allocates_nothing_that_grows_with_the_parameters(peak_bytes):
    parameters = {"w": np.ones((1009, 1013), dtype=np.float32), "b": np.ones(1013, dtype=np.float32)}
    optimizer = AdamW(parameters, check_finite=True)
    grads = {name: np.full_like(array, 0.5) for name, array in parameters.items()}
    assert peak_bytes(lambda: optimizer.step(grads)) < 100_000  # views and NumPy's buffers; one copy of w would be 4 MB


def test_a_run_continues_from_its_state_to_the_same_bits():
    rng = np.random.default_rng(6)
    gradients = [{"w": rng.normal(size=(3, 2)), "b": rng.normal(size=5)} for _ in range(7)]
    straight = {"w": np.ones((3, 2)), "b": np.ones(5)}
    optimizer = AdamW(straight, lr=0.1)
    for k, grads in enumerate(gradients):
        optimizer.step(grads)
        if k == 3:
            saved = {name: array.copy() for name, array in optimizer.state_dict().items()}
            resumed = {name: array.copy() for name, array in straight.items()}
    assert sorted(saved) == ["m.b", "m.w", "step", "v.b", "v.w"] and saved["step"] == 4
    continued = AdamW(resumed, lr=0.1)
    continued.load_state_dict(saved)
    saved["m.w"] += 1  # it was copied
    for grads in gradients[4:]:
        continued.step(grads)
    for name, array in straight.items():
        np.testing.assert_array_equal(resumed[name], array)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": -0.1}, "the learning rate must be finite and not negative, got -0.1"),
        ({"lr": float("nan")}, "the learning rate must be finite and not negative, got nan"),
        ({"betas": (1.0, 0.9)}, r"betas must lie in \[0, 1\), got \(1.0, 0.9\)"),
        ({"betas": (0.9, -0.1)}, r"betas must lie in \[0, 1\)"),
        ({"eps": 0.0}, "eps must be positive and finite, got 0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be finite and not negative, got -1.0"),
        ({"parameters": {}}, "at least one parameter, got none"),
        ({"parameters": {"n": np.ones(2, dtype=np.int64)}}, "parameter n must be of floating-point numbers, got int64"),
        ({"parameters": {"t": np.ones((2, 3)).T}}, "parameter t must be contiguous in memory"),
        ({"parameters": {"r": np.broadcast_to(np.ones(1), (1,))}}, "parameter r is updated in place and must be writ"),
    ],
)
@pytest.mark.usefixtures("unenforced")
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        AdamW(**({"parameters": {"w": np.ones(3)}} | settings))


@pytest.mark.usefixtures("unenforced")
def test_gradients_that_do_not_fit_are_all_listed_and_nothing_changes():
    parameters = {"a": np.ones(2), "b": np.ones(3), "c": np.ones(5)}
    optimizer = AdamW(parameters, check_finite=True)
    grads = {"b": np.ones(4), "c": np.array([1.0, np.inf, 1, 1, 1]), "d": np.ones(1)}
    with pytest.raises(ValueError, match="one finite gradient") as caught:
        optimizer.step(grads)
    for line in ("missing: a", "unexpected: d", r"misshapen: b must be (3,), got (4,)", "not finite: c"):
        assert line in str(caught.value)
    with pytest.raises(ValueError, match="not finite: c"):
        optimizer.step({"a": np.ones(2), "b": np.ones(3), "c": np.array([1.0, -np.inf, np.nan, 1, 1])})
    with pytest.raises(ValueError, match="learning rate must be finite and not negative, got -1"):
        optimizer.step({name: np.ones_like(array) for name, array in parameters.items()}, lr=-1.0)
    assert all((array == 1).all() for array in parameters.values())
    assert optimizer.state_dict()["step"] == 0


@pytest.mark.usefixtures("unenforced")
def test_a_foreign_state_is_refused_and_nothing_changes():
    optimizer = AdamW({"w": np.ones(2)})
    optimizer.step({"w": np.ones(2)})
    state = {"m.w": np.zeros(3), "v.x": np.zeros(2), "step": np.array(5)}
    with pytest.raises(ValueError, match="the state must be") as caught:
        optimizer.load_state_dict(state)
    for line in ("missing: v.w", "unexpected: v.x", "misshapen: m.w must be (2,), got (3,)"):
        assert line in str(caught.value)
    assert optimizer.state_dict()["step"] == 1


def test_the_bound_needs_fading_factors_in_the_right_order():
    for arguments in ((0, (0.9, 0.999)), (1, (0.9, 0.8)), (1, (1.0, 0.999))):
        with pytest.raises(ValueError, match="a bound that stays finite needs t >= 1 and betas"):
            largest_step(*arguments)
