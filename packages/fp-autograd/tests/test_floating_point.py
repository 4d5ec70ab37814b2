"""Mirrors src/fp_autograd/floating_point.py."""

import cmath
import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_autograd.floating_point import (
    best_step,
    central,
    complex_step,
    difference_error,
    one_sided,
    pairwise_sum,
    rounded,
    running_sum,
    spacing,
)

TOY = [m * 2.0**e for m in range(8, 16) for e in range(-6, 3)]  # every number of four bits from 1/8 to 60
FORMATS = [(np.float16, 11), (np.float32, 24), (np.float64, 53)]
moderate = st.floats(0.01, 100).map(lambda v: float(np.float32(v)))


def exact(values):
    return sum((Fraction(float(v)) for v in values), Fraction(0))


@pytest.mark.claim("autograd.rounding")
def test_rounding_to_four_bits_finds_the_nearest_number_and_is_off_by_a_sixteenth_at_most():
    worst = 0.0
    for k in range(2**7, 32 * 2**9):  # every multiple of 1/512 from 1/4 to 32
        x = k / 512
        nearest = rounded(x, 4)
        assert nearest in TOY
        assert abs(nearest - x) == min(abs(number - x) for number in TOY)
        assert abs(nearest - x) <= 2.0**-4 * x
        assert rounded(-x, 4) == -nearest
        worst = max(worst, abs(nearest - x) / x)
    assert worst > 0.9 * 2.0**-4  # halfway between 1 and 9/8: no much smaller bound holds
    assert rounded(0.0, 4) == 0


@pytest.mark.parametrize(("dtype", "bits"), FORMATS)
@given(x=st.floats(1e-3, 1e4))
def test_spacing_and_rounding_against_numpy(dtype, bits, x):
    number = dtype(x)
    assert rounded(x, bits) == float(number)
    assert spacing(float(number), bits) == float(np.spacing(number))


@pytest.mark.parametrize(("dtype", "bits"), FORMATS)
@given(a=st.floats(0.1, 30), b=st.floats(-30, -0.1))
def test_the_axiom_holds_on_this_machine(dtype, bits, a, b):
    a, b = dtype(a), dtype(b)
    p, q = Fraction(float(a)), Fraction(float(b))
    for computed, true in [(a + b, p + q), (a - b, p - q), (a * b, p * q), (a / b, p / q)]:
        assert abs(Fraction(float(computed)) - true) <= Fraction(1, 2**bits) * abs(true)


@pytest.mark.claim("autograd.exact-subtraction")
def test_every_pair_of_four_bit_numbers_within_a_factor_of_two_subtracts_exactly():
    pairs = [(a, b) for a, b in product(TOY, TOY) if b / 2 <= a <= 2 * b]
    assert len(pairs) > 1000
    assert all(rounded(a - b, 4) == a - b for a, b in pairs)  # float64 holds a - b exactly
    # a little outside of the factor it fails somewhere
    assert any(rounded(a - b, 4) != a - b for a, b in product(TOY, TOY) if 2 * b < a <= 2.5 * b)


@pytest.mark.claim("autograd.cancellation")
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-10, 10), st.integers(-10, 10))
def test_the_error_of_a_difference_grows_by_what_cancels_and_no_more(a, b, r, s):
    if a == b:
        return
    eta = Fraction(1, 100)
    bound = eta * (abs(a) + abs(b)) / abs(a - b)

    def error(d1, d2):
        return abs((a * (1 + d1) - b * (1 + d2)) - (a - b)) / abs(a - b)

    assert error(eta * r / 10, eta * s / 10) <= bound  # fractions: exact
    assert max(error(d1, d2) for d1 in (eta, -eta) for d2 in (eta, -eta)) == bound


@pytest.mark.claim("autograd.sum-error")
def test_running_sums_of_three_and_four_toy_numbers_stay_within_the_bound_without_second_order_terms():
    numbers = [0.25, 1.0, 1.125, 1.875, 2.0, 2.5, 15.0]
    signed = numbers + [-v for v in numbers]
    for n in (2, 3, 4):
        worst = 0.0
        for x in product(signed, repeat=n):
            total = x[0]
            for v in x[1:]:
                total = rounded(total + v, 4)  # float64 holds the sum of two such numbers exactly
            scale = sum(map(abs, x))
            assert abs(total - sum(x)) <= (n - 1) * 2.0**-4 * scale
            worst = max(worst, abs(total - sum(x)) / scale)
        assert worst > 0.5 * 2.0**-4


@pytest.mark.claim("autograd.sum-error")
@pytest.mark.claim("autograd.pairwise-sum")
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 16, 17, 101, 503])
def test_sums_in_float16_against_exact_fractions(n):
    rng = np.random.default_rng(n)
    u = Fraction(1, 2**11)
    height = (n - 1).bit_length()
    for kind in ("positive", "signed", "sorted"):
        x = rng.uniform(0.5 if kind == "positive" else -1, 1, n).astype(np.float16)
        x = np.sort(x) if kind == "sorted" else x
        scale = exact(np.abs(x))
        assert abs(Fraction(running_sum(x)) - exact(x)) <= (n - 1) * u * scale
        assert abs(Fraction(pairwise_sum(x)) - exact(x)) <= ((1 + u) ** height - 1) * scale
        assert (1 + u) ** height - 1 <= height * u / (1 - height * u)


@pytest.mark.claim("autograd.pairwise-sum")
def test_each_number_takes_part_in_at_most_log_n_additions_of_a_pairwise_sum():
    u = 2.0**-11
    for n in range(1, 130):
        # ones among numbers near them, rounded up at every addition, are the worst that (E3) allows
        x = np.full(n, 1 + 2 * u * 3, np.float16)
        error = abs(Fraction(pairwise_sum(x)) - exact(x)) / exact(x)
        assert error <= (1 + Fraction(u)) ** math.ceil(math.log2(n)) - 1


def test_a_running_sum_can_be_off_by_its_order_and_a_pairwise_one_is_not():
    x = np.full(5000, 1, np.float16)
    assert running_sum(x) == 2048  # where the spacing reaches two
    assert abs(pairwise_sum(x) - 5000) <= 13 * 2.0**-11 * 5000 * 1.01  # 2^13 > 5000; a hundredth for (E3)
    assert running_sum(x[:0]) == pairwise_sum(x[:0]) == 0


@pytest.mark.claim("autograd.dot-error")
@pytest.mark.parametrize("n", [1, 2, 7, 101])
def test_dot_products_in_float16_against_exact_fractions(n):
    rng = np.random.default_rng(n)
    u = Fraction(1, 2**11)
    for order in ("left to right", "pairwise", "right to left"):
        x, y = rng.normal(size=(2, n)).astype(np.float16)
        products = x * y
        true = [Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y, strict=True)]
        total = (
            pairwise_sum(products) if order == "pairwise" else running_sum(products[:: 1 if order[0] == "l" else -1])
        )
        # 2^-24 per product: below 2^-14 float16 loses digits, which the section leaves aside
        slack = n * Fraction(1, 2**25)
        assert abs(Fraction(total) - sum(true)) <= ((1 + u) ** n - 1) * sum(map(abs, true)) + slack


def test_the_dot_bound_cannot_be_the_sums_bound():
    """One product alone is rounded: n - 1 factors would promise it exact."""
    x = np.array([1 + 2.0**-10], np.float16)
    assert Fraction(running_sum(x * x)) != Fraction(float(x[0])) ** 2


@pytest.mark.claim("autograd.exponential-shift")
@given(st.lists(st.floats(-300, 300), min_size=1, max_size=7), st.floats(-300, 300))
def test_a_shift_leaves_softmax_and_the_logarithm_of_the_sum_as_they_are(x, c):
    x = np.array(x)
    plain = np.exp(x)  # 300 keeps clear of overflow, and of underflow after a shift by 300
    shifted = np.exp(x - c)
    # 1e-12: x - c is off by 600 * 1.1e-16, which the exponential turns into a relative error, twice in the quotient
    assert shifted / shifted.sum() == pytest.approx(plain / plain.sum(), rel=1e-12)
    assert c + np.log(shifted.sum()) == pytest.approx(np.log(plain.sum()), abs=1e-12)
    top = np.exp(x - x.max())
    assert (top <= 1).all()
    assert 1 <= top.sum() <= len(x)
    assert x.max() - 1e-12 <= np.log(plain.sum()) <= x.max() + math.log(len(x)) + 1e-12


@pytest.mark.claim("autograd.exponential-shift")
def test_shifted_by_the_maximum_nothing_overflows_where_the_plain_quotient_is_not_a_number():
    x = np.array([1000.0, 999.0, -1000.0])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(np.exp(x) / np.exp(x).sum())[:2].all()
    top = np.exp(x - x.max())
    e = math.e
    assert top / top.sum() == pytest.approx([e / (e + 1), 1 / (e + 1), 0], rel=1e-15)
    # equal scores reach the upper bound, one score far above the others the lower one
    assert math.log(np.exp(np.zeros(5)).sum()) == math.log(5)


STEPS = [2.0**-k for k in range(1, 40)]


@pytest.mark.claim("autograd.one-sided-step")
@pytest.mark.claim("autograd.central-step")
@pytest.mark.parametrize("bits", [8, 11, 24])
@pytest.mark.parametrize("x", [0.3, 1.0])
def test_differences_of_rounded_values_stay_within_both_bounds_at_every_step(bits, x):
    eta = 2.0**-bits
    point = rounded(x, 20)  # so that x + h and x - h are exact

    def f(v):
        return rounded(math.sin(3 * v), bits)

    # |f| <= 1, |f''| <= 9, |f'''| <= 27; 1e-15 for the rounding of the sine itself and of the quotient
    slope = 3 * math.cos(3 * point)
    for h in STEPS:
        assert abs(one_sided(f, point, h) - slope) <= 9 * h / 2 + 2 * (eta + 2e-16) / h + 1e-15
        assert abs(central(f, point, h) - slope) <= 27 * h * h / 6 + (eta + 2e-16) / h + 1e-15


@pytest.mark.claim("autograd.one-sided-step")
@pytest.mark.claim("autograd.central-step")
@given(st.floats(0.1, 10), st.floats(0.1, 10), st.sampled_from([2.0**-8, 2.0**-11, 2.0**-24]))
def test_the_worst_case_reaches_the_bounds_and_no_step_beats_the_best_one(M, F, eta):
    def one(h):  # the parabola of the proof, with errors of opposite sign
        return ((F + M * h**2 / 2 + eta * F) - (F - eta * F)) / h

    def two(h):
        return ((F + M * h**3 / 6 + eta * F) - (F - M * h**3 / 6 - eta * F)) / (2 * h)

    best_one, best_two = 2 * math.sqrt(eta * F / M), (3 * eta * F / M) ** (1 / 3)
    least_one, least_two = 2 * math.sqrt(eta * M * F), M ** (1 / 3) * (3 * eta * F) ** (2 / 3) / 2
    # 1e-6: numerators near 1e-7 F hold nine digits of F, 1e-16 F / 1e-7 F
    assert one(best_one) == pytest.approx(least_one, rel=1e-6)
    assert two(best_two) == pytest.approx(least_two, rel=1e-6)
    for factor in (0.25, 0.5, 0.9, 1.1, 2.0, 4.0):
        for value, best, bound in [
            (one, best_one, lambda h: M * h / 2 + 2 * eta * F / h),
            (two, best_two, lambda h: M * h**2 / 6 + eta * F / h),
        ]:
            assert value(factor * best) == pytest.approx(bound(factor * best), rel=1e-6)
            assert bound(factor * best) > bound(best)
    # the functions for F = M = 1, with their factors
    assert best_step(eta, 1) * math.sqrt(F / M) == pytest.approx(best_one)
    assert best_step(eta, 2) * (F / M) ** (1 / 3) == pytest.approx(best_two)
    assert difference_error(best_step(eta, 1), eta, 1) == pytest.approx(2 * math.sqrt(eta))
    assert difference_error(best_step(eta, 2), eta, 2) == pytest.approx((3 * eta) ** (2 / 3) / 2)


@pytest.mark.claim("autograd.one-sided-step")
@pytest.mark.claim("autograd.central-step")
def test_measured_errors_in_float32_are_smallest_near_the_best_steps_and_follow_their_powers():
    points = np.linspace(0.5, 1.5, 101)

    def measured(order, h):
        difference = one_sided if order == 1 else central
        step = float(2.0 ** round(math.log2(h)))
        return max(
            abs(difference(lambda v: rounded(math.exp(v), 24), rounded(x, 16), step) - math.exp(rounded(x, 16)))
            for x in points
        )

    for order, power in [(1, 1 / 2), (2, 2 / 3)]:
        best = best_step(2.0**-24, order)
        at_best = measured(order, best)
        assert at_best <= 5 * difference_error(best, 2.0**-24, order)  # F and M up to e^1.7 instead of 1
        assert at_best < measured(order, best * 32)
        assert at_best < measured(order, best / 32)
        assert at_best == pytest.approx(2.0 ** (-24 * power), rel=9)  # the order of magnitude


@pytest.mark.claim("autograd.complex-step")
@pytest.mark.parametrize("h", [1e-1, 1e-2, 1e-3])
def test_the_error_of_a_complex_step_falls_with_its_square_within_the_bound(h):
    # exp around x: a_k = e^x / k!, so with r = 1 the sum C is e^(x + 1)
    for x in (-1.0, 0.0, 0.7):
        error = abs(complex_step(cmath.exp, x, h) - math.exp(x))
        assert error <= math.exp(x + 1) * h**2 + 1e-15
        assert error >= math.exp(x) * h**2 / 6.1 - 1e-15  # 1 - sin(h) / h = h^2 / 6 - ...: the square is right
    # 1 / (1 + z) around 0: a_k = (-1)^k, with r = 1/2 the sum C is 2
    error = abs(complex_step(lambda z: 1 / (1 + z), 0.0, h) + 1)
    assert error <= 2 / 0.5**3 * h**2
    # a polynomial of degree two has no third term, hence no error
    assert complex_step(lambda z: z * z + 3 * z, 2.0, h) == pytest.approx(7, rel=1e-14)


@pytest.mark.claim("autograd.complex-step")
@given(st.floats(0.1, 3))
def test_a_tiny_complex_step_gives_the_derivative_up_to_rounding(x):
    def f(z):
        return cmath.exp(z) * cmath.sin(z) / (1 + z * z) + cmath.sqrt(z) * cmath.log(z)

    d = 1 + x * x
    slope = math.exp(x) * ((math.sin(x) + math.cos(x)) / d - 2 * x * math.sin(x) / d**2)
    slope += math.log(x) / (2 * math.sqrt(x)) + 1 / math.sqrt(x)
    for h in (1e-10, 1e-20, 1e-100):
        # 1e-13: a dozen roundings of terms up to 20 / d, which partly cancel
        assert complex_step(f, x, h) == pytest.approx(slope, abs=1e-13)


def test_a_complex_step_does_not_see_through_functions_that_leave_power_series():
    assert complex_step(abs, -2.0) == 0  # the slope is -1
    assert complex_step(lambda z: z * z.conjugate(), 3.0) == 0  # the slope of x * x is 6
    with pytest.raises(TypeError):
        complex_step(lambda z: max(z, 0), 1.0)


def test_differences_in_float64_against_known_slopes():
    for f, x, slope in [(math.exp, 0.0, 1.0), (math.log, 2.0, 0.5), (math.tanh, 0.0, 1.0)]:
        # the bounds for |f|, |f''|, |f'''| up to two, with computed values off by one unit in the last place
        assert one_sided(f, x, best_step(2.0**-52, 1)) == pytest.approx(slope, abs=2 * 3e-8)
        assert central(f, x, best_step(2.0**-52, 2)) == pytest.approx(slope, abs=2 * 3.9e-11)


def test_bad_input_is_answered_with_a_sentence():
    for x, bits in [(0.0, 53), (math.inf, 53), (1.0, 0)]:
        with pytest.raises(ValueError, match="spacing needs a finite number"):
            spacing(x, bits)
    for x, bits in [(math.nan, 8), (1.0, 0), (1.0, 54)]:
        with pytest.raises(ValueError, match="from 1 to 53 bits"):
            rounded(x, bits)
    for difference in (one_sided, central):
        for x, h in [(1.0, 1e-17), (1.0, 0.0), (math.inf, 1.0), (1.0, math.nan), (1.0, -0.1)]:
            with pytest.raises(ValueError, match="positive step that moves it"):
                difference(math.exp, x, h)
    for precision in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            best_step(precision, 1)
    with pytest.raises(ValueError, match="step is positive"):
        difference_error(0.0, 0.1, 1)
    with pytest.raises(ValueError, match="must be positive"):
        complex_step(cmath.exp, 0.0, 0.0)


def test_an_order_other_than_one_or_two_is_refused(shapes_unchecked):
    for call in (lambda: best_step(0.1, 3), lambda: difference_error(0.1, 0.1, 3)):
        with pytest.raises(ValueError, match="order is 1 or 2"):
            call()
