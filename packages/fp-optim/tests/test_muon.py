"""Mirrors src/fp_optim/muon.py. Sizes are distinct primes."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_optim.muon import A, B, C, Muon, band, orthogonalize, polar_factor

seeds = st.integers(0, 2**32 - 1)


def p(sigma, n_iterations=1):
    for _ in range(n_iterations):
        sigma = A * sigma + B * sigma**3 + C * sigma**5
    return sigma


def by_singular_values(G, n_iterations):
    """`orthogonalize` by another path: the polynomial on the singular values themselves."""
    U, sigma, Vt = np.linalg.svd(G, full_matrices=False)
    return U @ np.diag(p(sigma / np.sqrt((sigma**2).sum()), n_iterations)) @ Vt


def reference_run(W, gradients, rates, momentum, nesterov, weight_decay, scale):
    """(E5) and (E6), read literally, one matrix at a time."""
    momenta = np.zeros_like(W)
    for G, lr in zip(gradients, rates, strict=True):
        momenta = momentum * momenta + G
        U = G + momentum * momenta if nesterov else momenta
        W = (1 - lr * weight_decay) * W - lr * scale * by_singular_values(U, 5)
    return W


@pytest.mark.claim("optim.muon-steepest")
@given(seeds, st.sampled_from([(3, 5), (7, 2), (1, 3), (5, 5)]))
def test_no_step_of_spectral_norm_one_is_steeper_than_the_polar_factor(seed, shape):
    rng = np.random.default_rng(seed)
    G = rng.normal(size=shape)
    best = -polar_factor(G)
    assert np.linalg.norm(best, 2) == pytest.approx(1, rel=1e-12)
    assert (G * best).sum() == pytest.approx(-np.linalg.svd(G, compute_uv=False).sum(), rel=1e-10)
    for candidate in (rng.normal(size=shape), -G, best + 0.1 * rng.normal(size=shape)):
        D = candidate / np.linalg.norm(candidate, 2)
        assert (G * D).sum() >= (G * best).sum() - 1e-10  # rounding of sums of 25 numbers of size 3


@pytest.mark.claim("optim.muon-polynomial")
@given(seeds, st.sampled_from([(3, 5), (7, 2), (1, 3), (5, 5)]))
def test_an_odd_matrix_polynomial_acts_on_the_singular_values(seed, shape):
    a, b, c = np.random.default_rng(seed).normal(size=3)
    X = np.random.default_rng(seed + 1).normal(size=shape)
    U, sigma, Vt = np.linalg.svd(X, full_matrices=False)
    left = a * X + b * (X @ X.T) @ X + c * (X @ X.T) @ (X @ X.T) @ X
    right = U @ np.diag(a * sigma + b * sigma**3 + c * sigma**5) @ Vt
    np.testing.assert_allclose(
        left, right, atol=1e-12 * max(1, sigma[0]) ** 5
    )  # rounding at the size of the fifth power


@pytest.mark.claim("optim.muon-start")
@given(seeds, st.sampled_from([(3, 5), (7, 2), (1, 3)]))
def test_the_frobenius_norm_bounds_the_singular_values(seed, shape):
    G = np.random.default_rng(seed).normal(size=shape)
    sigma = np.linalg.svd(G / np.linalg.norm(G), compute_uv=False)
    assert sigma.max() <= 1 + 1e-14
    assert (sigma**2).sum() == pytest.approx(1, rel=1e-13)


def cubic(sigma):
    return sigma * (3 - sigma * sigma) / 2


@pytest.mark.claim("optim.newton-schulz")
@given(st.fractions(0, Fraction(1732, 1000), max_denominator=10**6))
def test_the_cubic_iteration_tends_to_one_and_squares_the_error(sigma):
    if sigma == 0:
        return
    first = cubic(sigma)
    for _ in range(3):
        after = cubic(sigma)
        assert 1 - after == (1 - sigma) ** 2 * (2 + sigma) / 2  # (E3), exactly, as all of this
        assert 0 < after <= 1
        error = 1 - cubic(after)
        assert error <= Fraction(3, 2) * (1 - after) ** 2 and error <= (1 - after) * (1 - first / 2)
        # cut to 40 digits, so that the fractions stay short; downwards, so it stays in (0, 1]
        sigma = Fraction(max(after * 10**40 // 1, 1), 10**40)
        first = min(first, sigma)
    sigma = float(sigma)
    for _ in range(400):  # 1.5^84 is more than the 1e15 by which the smallest may have to grow
        sigma = cubic(sigma)
    assert sigma == pytest.approx(1, abs=1e-15)


@pytest.mark.claim("optim.newton-schulz")
def test_the_cubic_iteration_does_not_reach_one_from_further_away():
    assert cubic(3**0.5) == pytest.approx(0, abs=1e-15)
    sigma = np.linspace(1.7320509, 2, 1001)  # the first is just above the root of 3
    for _ in range(100):
        sigma = cubic(sigma)
    np.testing.assert_allclose(sigma, -1, rtol=1e-14)
    assert abs(cubic(2.5)) > 2.5  # and further still it leaves


@pytest.mark.claim("optim.newton-schulz")
@given(seeds, st.sampled_from([(3, 5), (7, 2), (5, 5)]), st.integers(0, 2))
def test_the_cubic_iteration_on_a_matrix_tends_to_the_polar_factor(seed, shape, n_zero):
    rng = np.random.default_rng(seed)
    U, sigma, Vt = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    sigma = rng.uniform(0.01, 1.73, size=len(sigma))
    rank = len(sigma) - min(n_zero, len(sigma) - 1)
    X = U[:, :rank] @ np.diag(sigma[:rank]) @ Vt[:rank]
    for _ in range(20):  # about 14 from 0.01 to near 1, then a few that square the error; more would grow the rounding
        X = 1.5 * X - 0.5 * (X @ X.T) @ X
    np.testing.assert_allclose(X, U[:, :rank] @ Vt[:rank], atol=1e-10)  # rounding in the null space grows by 1.5^20


@pytest.mark.claim("optim.muon-band")
def test_five_iterations_end_in_the_band():
    low, high = band(0.01, 1.0)[-1]
    assert 0.6818 < low < high < 1.1344
    grid = p(np.linspace(0.01, 1, 1_000_003), 5)
    # |p'| <= 3.45 on [0, 1] and 3.97 on [0, 1.2024]: the slope of five iterations is at most 3.45 * 3.97^4 < 860, so
    # the grid misses an extreme value by less than 860 * 1e-6 / 2
    assert low - 1e-12 <= grid.min() < low + 5e-4
    assert high - 5e-4 < grid.max() <= high + 1e-12


@pytest.mark.claim("optim.muon-band")
def test_the_band_holds_in_exact_arithmetic():
    """Fractions throughout: the critical points are enclosed, so the interval can only come out too wide."""
    a, b, c = Fraction("3.4445"), Fraction("-4.7750"), Fraction("2.0315")
    width = Fraction(1, 10**9)

    def value(s):
        return s * (a + s**2 * (b + s**2 * c))

    def slope(s):
        return a + s**2 * (3 * b + s**2 * 5 * c)

    enclosures = [(s, s + width) for s in (Fraction("0.55452879"), Fraction("1.050136079"))]
    for left, right in enclosures:
        assert slope(left) * slope(right) < 0  # a zero of the slope lies in between; there are two, so these are all
    assert slope(Fraction(0)) < 4 and slope(Fraction("1.2024")) < 4 and a - 9 * b**2 / (20 * c) > -4  # ends, vertex
    low, high = Fraction("0.01"), Fraction(1)
    for floating in band(0.01, 1.0):
        candidates = [low, high, *(left for left, right in enclosures if right > low and left < high)]
        values = [value(s) for s in candidates]
        low, high = min(values) - 4 * width, max(values) + 4 * width  # |slope| <= 4 on [0, 1.2024]
        # rounded outwards, so that the fractions stay short
        low, high = Fraction(low * 10**15 // 1, 10**15), Fraction(-(-high * 10**15 // 1), 10**15)
        assert low >= 0 and high < Fraction("1.2024")
        assert max(abs(floating[0] - low), abs(floating[1] - high)) < 1e-5  # 341 widths of 4e-9
    assert Fraction("0.6818") < low and high < Fraction("1.1344")


def test_small_singular_values_may_end_anywhere_below_the_largest_value():
    low, high = band(0.0, 1.0)[-1]
    assert low == 0 and high < 1.2024
    assert band(0.0, 1.2024, 1)[-1][1] < 1.2024  # mapped into itself
    assert 1.1344 / 0.6818 < 1.7  # the factor between the ends of the band


@pytest.mark.claim("optim.muon-band")
@given(st.floats(1e-6, 1.5), st.floats(1e-6, 1.5), st.floats(0, 1))
def test_the_exact_range_holds_every_point(one, other, between):
    low, high = sorted((one, other))
    sigma = low + between * (high - low)
    for left, right in band(low, high, 4):
        sigma = p(sigma)
        assert left - 1e-9 * max(1, abs(left)) <= sigma <= right + 1e-9 * max(1, abs(right))


@pytest.mark.claim("optim.muon-band")
def test_one_is_not_where_the_iteration_rests():
    assert p(1.0) == pytest.approx(0.701, abs=1e-12)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 3), (3, 1), (11, 11)])
def test_orthogonalize_against_singular_values(shape):
    G = np.random.default_rng(8).normal(size=shape)
    # float64 rounds at 1e-16; five iterations, of slope at most 3.45 * 3.97^4 < 860 together, raise that to 1e-13 a
    # rounding, of which there are fewer than 100
    np.testing.assert_allclose(orthogonalize(G), by_singular_values(G, 5), atol=1e-11)
    narrow = orthogonalize(G.astype(np.float32))
    assert narrow.dtype == np.float32
    # float32 rounds at 6e-8, and 860 of those are 5e-5
    np.testing.assert_allclose(narrow, by_singular_values(G, 5), atol=1e-4)


def test_a_stack_is_its_matrices_one_by_one():
    G = np.random.default_rng(9).normal(size=(2, 3, 7, 5))
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(orthogonalize(G)[i], orthogonalize(G[i]), atol=1e-12)  # BLAS may sum otherwise


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_the_size_of_the_gradient_does_not_matter(scale):
    G = np.random.default_rng(10).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_allclose(orthogonalize(np.float32(scale) * G), orthogonalize(G), atol=1e-4)


def test_a_zero_matrix_stays_zero_and_its_neighbour_does_not_notice():
    G = np.random.default_rng(11).normal(size=(3, 2, 5))
    G[1] = 0
    result = orthogonalize(G)
    assert (result[1] == 0).all()
    np.testing.assert_allclose(result[2], orthogonalize(G[2]), atol=1e-12)


def test_the_argument_is_not_changed():
    for shape in ((3, 5), (5, 3)):
        G = np.random.default_rng(12).normal(size=shape)
        kept = G.copy()
        orthogonalize(G)
        np.testing.assert_array_equal(G, kept)


def test_the_polar_factor_is_orthogonal_and_near():
    G = np.random.default_rng(13).normal(size=(3, 7))
    exact = polar_factor(G)
    np.testing.assert_allclose(exact @ exact.T, np.eye(3), atol=1e-14)
    # the singular values differ from 1 by at most the band's 0.32
    assert np.linalg.norm(orthogonalize(G) - exact, 2) < 0.32


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("outputs", ["rows", "columns"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_thirty_steps_agree_with_the_reference(nesterov, outputs, dtype):
    rng = np.random.default_rng(14)
    shapes = {"wide": (3, 7), "tall": (7, 3), "tall too": (7, 3), "square": (5, 5)}
    start = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    gradients = [{name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()} for _ in range(30)]
    rates = [0.02 * (1 - k / 40) for k in range(30)]
    parameters = {name: array.copy() for name, array in start.items()}
    optimizer = Muon(parameters, momentum=0.9, nesterov=nesterov, weight_decay=0.1, outputs=outputs)
    for grads, lr in zip(gradients, rates, strict=True):
        optimizer.step(grads, lr)
    for name, array in parameters.items():
        rows, columns = shapes[name]
        scale = max(1, rows / columns if outputs == "rows" else columns / rows) ** 0.5
        expected = reference_run(
            start[name].astype(np.float64), [g[name] for g in gradients], rates, 0.9, nesterov, 0.1, scale
        )
        # 30 steps of 0.02, each with the rounding of an orthogonalisation
        np.testing.assert_allclose(array, expected, atol=1e-11 if dtype is np.float64 else 1e-4)
        assert array.dtype == dtype


def test_the_attribute_sets_the_rate():
    a, b = np.eye(3), np.eye(3)
    by_attribute, by_argument = Muon({"w": a}), Muon({"w": b})
    by_attribute.lr = 0.5
    by_attribute.step({"w": np.eye(3)})
    by_argument.step({"w": np.eye(3)}, 0.5)
    np.testing.assert_array_equal(a, b)
    assert by_argument.lr == 0.02


def test_a_step_allocates_nothing_that_grows_with_the_parameters(peak_bytes):
    shapes = {"a": (211, 503), "b": (503, 211), "c": (211, 503)}
    parameters = {name: np.ones(shape, dtype=np.float32) for name, shape in shapes.items()}
    rng = np.random.default_rng(15)
    grads = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    optimizer = Muon(parameters, check_finite=True)
    # numpy's reductions buffer a few thousand numbers at a time; one copy of a parameter would be 424,000 bytes
    assert peak_bytes(lambda: optimizer.step(grads)) < 100_000


def test_a_run_continues_from_its_state_to_the_same_bits():
    rng = np.random.default_rng(16)
    gradients = [{"w": rng.normal(size=(3, 2))} for _ in range(5)]
    straight = {"w": np.ones((3, 2))}
    optimizer = Muon(straight)
    for k, grads in enumerate(gradients):
        optimizer.step(grads)
        if k == 1:
            saved = {name: array.copy() for name, array in optimizer.state_dict().items()}
            resumed = {"w": straight["w"].copy()}
    assert list(saved) == ["step", "momentum.w"]
    continued = Muon(resumed)
    continued.load_state_dict(saved)
    for grads in gradients[2:]:
        continued.step(grads)
    np.testing.assert_array_equal(resumed["w"], straight["w"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": -1.0}, "the learning rate must be finite and not negative"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be finite and not negative"),
        ({"n_iterations": 0}, "n_iterations must be at least 1, got 0"),
        ({"outputs": "both"}, "outputs must be 'rows' or 'columns', got 'both'"),
        ({"parameters": {"gain": np.ones(3)}}, r"Muon is for matrices, parameter gain has shape \(3,\).*AdamW"),
        ({"parameters": {"kernel": np.ones((2, 3, 5))}}, r"parameter kernel has shape \(2, 3, 5\)"),
    ],
)
@pytest.mark.usefixtures("unenforced")
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Muon(**({"parameters": {"w": np.ones((2, 3))}} | settings))


@pytest.mark.usefixtures("unenforced")
def test_gradients_that_do_not_fit_are_refused_and_nothing_changes():
    parameters = {"w": np.ones((2, 3))}
    optimizer = Muon(parameters, check_finite=True)
    for grads, line in (
        ({}, "missing: w"),
        ({"w": np.ones((3, 2))}, "misshapen: w"),
        ({"w": np.full((2, 3), np.nan)}, "not finite: w"),
    ):
        with pytest.raises(ValueError, match=line):
            optimizer.step(grads)
    assert (parameters["w"] == 1).all() and (optimizer.state_dict()["momentum.w"] == 0).all()


def test_a_negative_number_of_iterations_is_refused():
    with pytest.raises(ValueError, match="n_iterations must not be negative, got -1"):
        orthogonalize(np.eye(2), -1)


def test_groups_and_decay_by_role():
    rng = np.random.default_rng(3)
    start, G = rng.normal(size=(2, 3, 4)), rng.normal(size=(3, 4))
    together = {"a": start[0].copy(), "b": start[1].copy()}
    groups = {"a": {"lr_scale": 0.5, "n_iterations": 3}, "b": {"momentum": 0.5, "nesterov": False}}
    muon = Muon(
        together, 0.1, weight_decay=0.2, groups=lambda name, array: groups[name], decay=lambda name, array: name == "a"
    )
    alone = {"a": start[0].copy()}, {"b": start[1].copy()}
    apart = (
        Muon(alone[0], 0.05, weight_decay=0.2, n_iterations=3),
        Muon(alone[1], 0.1, momentum=0.5, nesterov=False),
    )
    for _ in range(3):
        muon.step({"a": G, "b": 2 * G})
        apart[0].step({"a": G})
        apart[1].step({"b": 2 * G})
    np.testing.assert_array_equal(together["a"], alone[0]["a"])
    np.testing.assert_array_equal(together["b"], alone[1]["b"])
    assert muon.n_steps == 3
