"""Mirrors src/fp_neural/softmax.py."""

import math
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_autograd.floating_point import rounded
from fp_autograd.functional import hessian, jacobian
from fp_autograd.rules import logsumexp, softmax
from fp_neural.softmax import centred_logits, logsumexp_error, naive_softmax, softmax_jacobian

CLOSE = {"rtol": 1e-12, "atol": 1e-14}  # a few dozen roundings of numbers of magnitude one
repeatable = settings(derandomize=True, deadline=None)
scores = arrays(np.float64, 5, elements=st.floats(-20, 20))


# --- the Jacobian, which is a Hessian


@pytest.mark.claim("neural.logsumexp-hessian")
def test_the_quadratic_form_is_a_variance_in_symbols():
    z, v = sympy.symbols("z:3", real=True), sympy.symbols("v:3", real=True)
    total = sum(map(sympy.exp, z))
    p = [sympy.exp(x) / total for x in z]
    H = sympy.hessian(sympy.log(total), z)
    mean = sum(a * b for a, b in zip(p, v, strict=True))
    form = sum(H[i, j] * v[i] * v[j] for i in range(3) for j in range(3))
    variance = sum(a * (b - mean) ** 2 for a, b in zip(p, v, strict=True))
    assert sympy.simplify(form - variance) == 0


@pytest.mark.claim("neural.logsumexp-hessian")
@repeatable
@given(scores, arrays(np.float64, 5, elements=st.integers(-9, 9).map(float)))
def test_positive_semidefinite_and_at_most_one_half(z, v):
    H = softmax_jacobian(softmax(z))
    form = v @ H @ v
    # H is exact to a few 2**-53, and v @ v is at most 405
    assert -1e-12 <= form <= v @ v / 2 + 1e-12
    if np.ptp(v) == 0:
        assert np.abs(H @ v).max() < 1e-13
    elif np.ptp(z) < 10:
        assert form > 1e-6  # all probabilities exceed e**-10 / 5, and two entries differ by one or more


@pytest.mark.claim("neural.logsumexp-hessian")
def test_one_half_is_approached():
    v = np.array([1.0, -1.0, 0.0, 0.0])
    forms = [v @ softmax_jacobian(softmax(np.array([s, s, 0.0, 0.0]))) @ v for s in (0.0, 5.0, 30.0)]
    assert forms[0] < forms[1] < forms[2]
    assert forms[2] == pytest.approx(0.5 * v @ v, rel=1e-12)  # e**-30 is 1e-13


def test_it_is_the_derivative_of_softmax_and_the_hessian_of_logsumexp():
    z = np.random.default_rng(0).normal(size=5)
    expected = softmax_jacobian(softmax(z))
    np.testing.assert_allclose(jacobian(softmax)(z), expected, **CLOSE)
    np.testing.assert_allclose(hessian(logsumexp)(z), expected, **CLOSE)
    batch = softmax(np.random.default_rng(1).normal(size=(2, 3, 5)))
    assert softmax_jacobian(batch).shape == (2, 3, 5, 5)
    np.testing.assert_allclose(softmax_jacobian(batch)[1, 2], softmax_jacobian(batch[1, 2]), **CLOSE)


# --- convexity


@pytest.mark.claim("neural.convex-hessian")
def test_every_small_quadratic_is_convex_exactly_if_its_hessian_is_positive_semidefinite():
    """Exhaustive, in whole numbers: f(x) = x.Sx for all symmetric 2 x 2 matrices, chords of a grid at their middle."""
    grid = [np.array(x) for x in product(range(-2, 3), repeat=2)]
    for a, b, c in product(range(-2, 3), repeat=3):
        S = np.array([[a, b], [b, c]])
        semidefinite = a >= 0 and c >= 0 and a * c >= b * b
        # f(x) + f(y) - 2 f((x + y) / 2), times two
        gaps = [(2 * (x @ S @ x + y @ S @ y) - (x + y) @ S @ (x + y), y - x) for x, y in product(grid, repeat=2)]
        assert all(gap >= 0 for gap, _ in gaps) == semidefinite
        if semidefinite:
            assert all(gap > 0 for gap, u in gaps if u @ S @ u > 0)


@pytest.mark.claim("neural.convex-hessian")
@repeatable
@given(
    arrays(np.float64, (4, 3), elements=st.floats(-1, 1)),
    arrays(np.float64, (2, 3), elements=st.floats(-2, 2)),
    st.floats(0, 1),
)
def test_sums_of_bent_functions_lie_below_their_chords(A, ends, w):
    """sum_k cosh(a_k.x) + (a_k.x)**4 has the Hessian sum_k (cosh + 12 (a_k.x)**2) a_k a_k^T at x."""
    f = lambda x: float((np.cosh(A @ x) + (A @ x) ** 4).sum())  # noqa: E731
    x, y = ends
    H = (A * (np.cosh(A @ x) + 12 * (A @ x) ** 2)[:, None]).T @ A
    assert np.linalg.eigvalsh(H).min() >= -1e-9  # of a matrix with entries up to 2e4
    assert f((1 - w) * x + w * y) <= ((1 - w) * f(x) + w * f(y)) * (1 + 1e-12)


@pytest.mark.claim("neural.logsumexp-convex")
@repeatable
@given(scores, scores, st.floats(0.01, 0.99))
def test_logsumexp_lies_below_its_chords(x, y, w):
    middle, chord = logsumexp((1 - w) * x + w * y), (1 - w) * logsumexp(x) + w * logsumexp(y)
    assert middle <= chord + 1e-13  # roundings of numbers up to 22
    if np.ptp(y - x) >= 1 and max(np.ptp(x), np.ptp(y)) <= 5:
        # along the chord the variance is at least (1/2)**2 e**-5 / 5, and w (1 - w) / 2 of it is the gap
        assert middle < chord - 1e-6


@pytest.mark.claim("neural.logsumexp-convex")
@repeatable
@given(scores, st.floats(-100, 100))
def test_it_is_straight_along_the_constants(x, c):
    assert logsumexp(x + c) == pytest.approx(logsumexp(x) + c, rel=1e-13, abs=1e-13)


@pytest.mark.claim("neural.logsumexp-bounds")
def test_between_the_largest_and_the_mean_on_all_small_scores():
    """Exhaustive: four scores among -2, ..., 1. Equality, within rounding, only for equal scores."""
    for z in map(np.array, product((-2.0, -1.0, 0.0, 1.0), repeat=4)):
        value, m, mean = float(logsumexp(z)), z.max(), z.mean() + math.log(4)
        equal = np.ptp(z) == 0
        assert max(m, mean) <= value + 1e-14
        assert value <= m + math.log(4) + 1e-14
        assert (value - mean < 1e-12) == equal
        assert (m + math.log(4) - value < 1e-12) == equal


@pytest.mark.claim("neural.logsumexp-bounds")
@repeatable
@given(scores, scores)
def test_it_moves_no_further_than_the_scores(x, z):
    assert abs(logsumexp(x) - logsumexp(z)) <= np.abs(x - z).max() + 1e-13  # roundings of numbers up to 22


# --- rounding


def shifted(z, bits):
    """Log-sum-exp as the claim computes it, every step rounded to `bits`; float64 stands for exact numbers."""
    c = max(z)
    total = 0.0
    for x in z:
        total = rounded(total + rounded(math.exp(rounded(x - c, bits)), bits), bits)
    return rounded(c + rounded(math.log(total), bits), bits)


def unshifted(z, bits):
    total = 0.0
    for x in z:
        total = rounded(total + rounded(math.exp(x), bits), bits)
    return rounded(math.log(total), bits)


@pytest.mark.claim("neural.logsumexp-rounding")
@pytest.mark.parametrize("bits", [5, 6, 8, 11, 16])
def test_the_error_of_the_shifted_form_in_low_precision(bits):
    """Exponential and logarithm are rounded once, so eta = u; float64 is exact in comparison."""
    rng, u, worst = np.random.default_rng(bits), 2.0**-bits, 0.0
    for _ in range(300):
        n = int(rng.integers(1, 9))
        z = [rounded(x, bits) for x in rng.normal(size=n) * rng.choice([0.1, 1, 10, 100]) + rng.choice([0, 50])]
        exact = float(logsumexp(np.array(z)))
        bound = logsumexp_error(n, abs(exact), bits=bits, eta=u)
        error = abs(shifted(z, bits) - exact)
        assert error <= bound + 1e-13  # float64's own errors
        worst = max(worst, error / bound)
        k = n - 1
        A = u / (1 - u) + k * u / (1 - u)
        assert abs(unshifted(z, bits) - exact) <= A + u * (abs(exact) + A) + 1e-13
    assert worst > 0.2  # the bound is not an idle one


@pytest.mark.claim("neural.logsumexp-rounding")
@pytest.mark.parametrize("bits", [5, 8, 11])
def test_the_error_of_the_subtraction_alone(bits):
    """One large score and n - 1 alike, as far below it as weighs most, everything else exact."""
    worst = 0.0
    for n in (2, 8, 64, 1000):
        bound = logsumexp_error(n, 0.0, bits=bits, eta=0, roundings=0)
        for c in np.random.default_rng(bits).uniform(0.01, 1, 200):
            c, x = rounded(float(c), bits), rounded(float(c) - math.log(n), bits)
            exact = math.log(math.exp(c) + (n - 1) * math.exp(x))
            got = c + math.log(1 + (n - 1) * math.exp(rounded(x - c, bits)))
            assert abs(got - exact) <= bound + 1e-14  # float64's own errors
            worst = max(worst, abs(got - exact) / bound)
    assert worst > 0.2  # the bound is not an idle one


@pytest.mark.claim("neural.logsumexp-rounding")
def test_the_error_of_a_sum_that_stands_still():
    """In five bits a running sum of ones stops at 32."""
    z = [0.0] * 100
    assert shifted(z, 5) == rounded(math.log(32), 5)
    error = math.log(100) - shifted(z, 5)
    assert logsumexp_error(100, math.log(100), bits=5, eta=2**-5, roundings=0) < error
    assert error <= logsumexp_error(100, math.log(100), bits=5, eta=2**-5)


@pytest.mark.claim("neural.logsumexp-rounding")
@pytest.mark.parametrize("spread", [1.0, 30.0, 1e4])
def test_the_error_in_single_precision(spread):
    """A score far below the largest is rounded coarsely and weighs nothing: the bound does not know the spread."""
    rng = np.random.default_rng(1)
    for n in (1, 2, 17, 1000):
        z = (rng.normal(size=(50, n)) * spread).astype(np.float32)
        exact = logsumexp(z.astype(np.float64), axis=1)
        bound = [logsumexp_error(n, abs(float(x))) for x in exact]
        assert (np.abs(logsumexp(z, axis=1) - exact) <= bound).all()


def test_where_the_naive_form_fails():
    for z in ([0.0, 89.0], [-105.0, -104.0]):
        with np.errstate(over="ignore", invalid="ignore"):
            assert np.isnan(naive_softmax(np.array(z, np.float32))).any()
        assert softmax(np.array(z, np.float32)).sum() == 1
    z = np.random.default_rng(2).normal(size=(3, 5))
    np.testing.assert_allclose(naive_softmax(z), softmax(z), **CLOSE)


def test_centred_logits_come_back():
    p = np.random.default_rng(3).dirichlet(np.ones(5), size=(2, 3))
    z = centred_logits(p)
    np.testing.assert_allclose(softmax(z), p, **CLOSE)
    assert np.abs(z.mean(axis=-1)).max() < 1e-15


def test_bad_input(shapes_unchecked):
    with pytest.raises(ValueError, match="no finite score, and 1 are zero"):
        centred_logits(np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="p must sum to one"):
        centred_logits(np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="at least one score"):
        logsumexp_error(0, 1.0)
    with pytest.raises(ValueError, match="size=-1"):
        logsumexp_error(3, -1.0)
