"""Mirrors src/fp_tokenize/digamma.py."""

import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from fp_markov.mathematics import log_dirichlet_integral, slope
from fp_tokenize.digamma import SERIES, digamma, posterior_scores

positive = st.floats(1e-3, 1e6)
amounts = st.lists(st.floats(0.01, 100), min_size=2, max_size=6).map(np.array)
A = (sympy.Rational(1, 24), sympy.Rational(-7, 960), sympy.Rational(31, 8064), sympy.Rational(-127, 30720))


def psi(x):
    return float(digamma(np.array([x], float))[0])


def exactly(x):
    """Thirty digits by sympy, rounded."""
    return float(sympy.digamma(sympy.Float(x, 40)).evalf(30))


def series(y, n):
    """(E3)"""
    return math.log(y) + sum(SERIES[j] / y ** (2 * j + 2) for j in range(n))


def test_known_values():
    """psi(1) = -gamma, psi(1/2) = -gamma - 2 ln 2, psi(n) = -gamma + 1 + 1/2 + ... + 1/(n-1)."""
    gamma = 0.57721566490153286061
    assert psi(1) == pytest.approx(-gamma, abs=3e-13)  # the claimed 2e-13, and rounding of a sum of twenty terms
    assert psi(0.5) == pytest.approx(-gamma - 2 * math.log(2), abs=3e-13)
    for n in range(2, 60):
        assert psi(n) == pytest.approx(-gamma + float(sum(Fraction(1, k) for k in range(1, n))), abs=3e-13)


@given(positive)
def test_the_error_bound_against_thirty_digits(x):
    exact = exactly(x)
    # the claimed bound, and twenty roundings of numbers up to 1/x
    assert abs(psi(x) - exact) < 2e-13 + 20 * 2.0**-53 * max(1 / x, abs(exact), 4)


@pytest.mark.claim("tokenize.digamma")
@given(st.floats(0.01, 50), st.integers(2, 3000))
def test_the_limit_is_as_near_as_the_bound_says(x, n):
    k = np.arange(n)
    psi_n = math.log(n) - float((1 / (x + k)).sum())
    assert abs(psi(x) - psi_n) <= (x + 1) / (n - 1) + 1e-10  # rounding of 3000 terms up to 100


@pytest.mark.claim("tokenize.digamma")
@given(st.floats(0.05, 100))
def test_it_is_the_slope_of_log_gamma(x):
    # a central difference of slopes near 1/x^2; `slope` needs f' of size one, so stretch by x
    assert slope(lambda t: math.lgamma(x * t), 1.0) / x == pytest.approx(psi(x), rel=1e-6, abs=1e-6 / x)


@pytest.mark.claim("tokenize.digamma")
@given(positive, positive)
def test_it_steps_by_one_over_x_and_rises(x, y):
    # x + 1 is rounded, by at most x 2^-53, which moves psi by less than that over x
    assert psi(x + 1) - psi(x) == pytest.approx(1 / x, rel=1e-12, abs=1e-12)
    if y > x * (1 + 1e-9):
        assert psi(y) > psi(x) - 1e-12


@pytest.mark.claim("tokenize.digamma-series")
def test_the_polynomials_have_the_stated_factors():
    """Algebraic."""
    N = sympy.Symbol("N")
    b = [2 * (j + 1) * 4 ** (j + 1) * a for j, a in enumerate(A)]
    assert b == [sympy.Rational(1, 3), sympy.Rational(-7, 15), sympy.Rational(31, 21), sympy.Rational(-127, 15)]
    t = {
        n: 1 - sum(b[j] * sympy.expand_func(sympy.ff(N, 2 * j + 2)) / sympy.factorial(2 * j + 2) for j in range(n))
        for n in range(5)
    }
    stated = {
        0: sympy.Integer(1),
        1: -(N - 3) * (N + 2) / 6,
        3: -(N - 3) * (N - 5) * (N - 7) * (31 * N**3 + 140 * N + 144) / 15120,
        4: (N - 3) * (N - 5) * (N - 7) * (N - 9) * (127 * N**3 * (N - 4) + 1300 * N**2 + 16 * N + 640) / 604800,
    }
    for n, polynomial in stated.items():
        assert sympy.expand(t[n] - polynomial) == 0
    for odd in range(3, 200, 2):
        assert all((-1) ** n * stated[n].subs(N, odd) >= 0 if n else True for n in stated)


@pytest.mark.claim("tokenize.digamma-series")
def test_the_coefficients_of_one_step_are_the_polynomials():
    """Exact: the powers of u in e_4, up to u^29, by multiplying series out, against 2/N t_4(N)."""
    size = 30
    e = [Fraction(2, n) if n % 2 else Fraction(0) for n in range(size)]  # ln (1 + u)/(1 - u)
    e[1] -= 2
    inverse = [Fraction(1)] + [Fraction(0)] * (size - 1)  # of (1 - u)^m, for m = 0, 1, 2, ...
    for m in range(1, 9):
        inverse = [sum(inverse[: n + 1]) for n in range(size)]  # times 1 + u + u^2 + ...
        if m % 2 == 0:
            for n in range(size - m):
                e[n + m] += Fraction(str(A[m // 2 - 1])) * 2**m * inverse[n] * ((-1) ** n - 1)
    for n, coefficient in enumerate(e):
        t = 1 - sum(Fraction(str(2 * j * 4**j * a)) * math.comb(n, 2 * j) for j, a in enumerate(A, start=1))
        assert coefficient == (Fraction(2, n) * t if n % 2 and n > 1 else 0)


@pytest.mark.claim("tokenize.digamma-series")
@given(st.floats(0.6, 100))
def test_digamma_lies_between_the_sums(x):
    y, value, rounding = x - 0.5, exactly(x), 1e-13
    assert series(y, 0) - rounding < value < series(y, 1) + rounding
    scale = max(1.0, y**-8)  # of the largest term
    assert series(y, 4) - rounding * scale < value < series(y, 3) + rounding * scale
    if y < 8:  # where the sums are apart by more than rounding
        assert series(y, 4) < value < series(y, 3)


@pytest.mark.claim("tokenize.count-loses-half")
@given(st.floats(0.51, 1e4))
def test_a_count_loses_about_one_half(c):
    y, worth = c - 0.5, math.exp(psi(c))
    assert y * (1 - 1e-9) < worth
    if y > 0.05:  # the bound overflows below
        assert worth < y * math.exp(1 / (24 * y * y)) * (1 + 1e-9)


@pytest.mark.claim("tokenize.dirichlet-tangent")
@given(amounts, st.data())
def test_the_tangent_stays_below(a, data):
    b = np.array(data.draw(st.lists(st.floats(0.01, 100), min_size=len(a), max_size=len(a))))
    left = log_dirichlet_integral(b) - log_dirichlet_integral(a)
    right = float((b - a) @ posterior_scores(a))
    assert left >= right - 1e-9 * (1 + abs(left) + abs(right))  # rounding of sums of numbers up to a thousand


@pytest.mark.claim("tokenize.dirichlet-tangent")
@given(amounts)
def test_the_scores_are_slopes(a):
    for i in range(len(a)):

        def along(t, i=i):
            b = a.copy()
            b[i] *= t
            return log_dirichlet_integral(b)

        assert slope(along, 1.0) == pytest.approx(a[i] * posterior_scores(a)[i], rel=1e-6, abs=1e-6)


@pytest.mark.claim("tokenize.posterior-scores")
@given(amounts)
def test_posterior_scores_are_below_the_shares(a):
    shares = np.exp(posterior_scores(a))
    assert (shares <= a / a.sum() * (1 + 1e-9)).all()
    assert shares.sum() <= 1 + 1e-9


def test_the_argument_is_left_as_it_is():
    x = np.array([0.5, 30.0])
    digamma(x)
    assert x.tolist() == [0.5, 30.0]
    assert digamma(np.empty(0)).shape == (0,)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_bad_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="positive finite numbers, got"):
        digamma(np.array([1.0, bad]))
