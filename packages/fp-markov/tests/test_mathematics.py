"""Mirrors src/fp_markov/mathematics.py."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import sympy
from hypothesis import assume, given
from hypothesis import strategies as st

from fp_markov.mathematics import area, gradient, log_dirichlet_integral, slope

positive = st.floats(0.01, 100)
exponents = st.floats(0.1, 20)
t = sympy.symbols("t", positive=True)


def rectangles(f, a, b, n):
    """Lower and upper sum over n pieces of a function that has no turning point inside a piece."""
    x = np.linspace(a, b, n + 1)
    y = np.array([f(v) for v in x])
    return np.sum(np.minimum(y[1:], y[:-1]) * np.diff(x)), np.sum(np.maximum(y[1:], y[:-1]) * np.diff(x))


def weights_on(n, rng):
    return rng.dirichlet(np.ones(n))


@pytest.mark.claim("markov.area-exists")
@pytest.mark.parametrize(
    ("f", "a", "b", "exact"),
    [(lambda x: x**2, 0.0, 3.0, 9.0), (lambda x: 1 / x, 1.0, 5.0, math.log(5)), (math.sqrt, 0.0, 4.0, 16 / 3)],
)
def test_lower_and_upper_sums_close_on_the_area(f, a, b, exact):
    for n in (7, 101, 2003):
        lower, upper = rectangles(f, a, b, n)
        assert lower <= exact <= upper
        # a function that only rises or falls: the gap telescopes to |f(b) - f(a)| times one width
        assert upper - lower == pytest.approx(abs(f(b) - f(a)) * (b - a) / n, rel=1e-9)


@pytest.mark.claim("markov.log-product")
@given(positive, positive)
def test_areas_under_one_over_t_add_when_their_ends_multiply(x, y):
    def by_area(z):
        # ends in a fixed ratio, because 1/t bends most near zero
        ends = np.geomspace(1.0, z, 60)
        return math.fsum(area(lambda s: 1 / s, float(a), float(b), 20) for a, b in pairwise(ends))

    # ends in a ratio of at most 10^(4/59) = 1.17, with |f''| <= 2 / a^3: each of the 59 areas of one logarithm is off
    # by less than 2 * 0.17^3 / (24 * 20^2) = 1.1e-6, a logarithm by 6.1e-5, three of them by 1.9e-4
    assert by_area(x * y) == pytest.approx(by_area(x) + by_area(y), abs=2e-4)
    assert by_area(x) == pytest.approx(math.log(x), abs=1e-4)


@pytest.mark.claim("markov.exp-sum")
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_bisection_finds_the_one_number_with_a_given_logarithm(y, z):
    def exp(v):
        low, high = 4.0**-60, 4.0**60
        for _ in range(400):
            middle = (low + high) / 2
            low, high = (middle, high) if math.log(middle) <= v else (low, middle)
        return low

    # 1e-13: an error of one unit in the last place of v <= 40 is 7e-15, and exp turns it into a relative error
    assert exp(y) == pytest.approx(math.exp(y), rel=1e-13)
    assert exp(y + z) == pytest.approx(exp(y) * exp(z), rel=1e-13)


@pytest.mark.claim("markov.slope-rules")
@pytest.mark.parametrize(("f", "g"), [(t**3 - t, t**2 + 1), (sympy.exp(t), 1 / t), (sympy.log(t), sympy.sqrt(t))])
def test_rules_against_the_limit_of_the_quotient(f, g):
    h = sympy.symbols("h")

    def by_definition(expression):
        return sympy.limit((expression.subs(t, 2 + h) - expression.subs(t, 2)) / h, h, 0)

    at = {t: 2}
    df, dg = by_definition(f), by_definition(g)
    assert sympy.simplify(by_definition(3 * f - 5 * g) - (3 * df - 5 * dg)) == 0
    assert sympy.simplify(by_definition(f * g) - (df * g.subs(at) + f.subs(at) * dg)) == 0
    y = g.subs(at)
    outer = sympy.limit((f.subs(t, y + h) - f.subs(t, y)) / h, h, 0)
    assert sympy.simplify(by_definition(f.subs(t, g)) - outer * dg) == 0


@pytest.mark.claim("markov.log-slope")
@given(st.floats(0.5, 20), st.floats(-3, 3))
def test_the_slopes_of_logarithm_exponential_and_powers(x, a):
    # 1e-8: ten digits (E6), less two where values, third slopes or the step are of the order of ten
    assert slope(math.log, x) == pytest.approx(1 / x, rel=1e-8)
    assert slope(math.exp, a) == pytest.approx(math.exp(a), rel=1e-8)
    assert slope(lambda v: v**a, x) == pytest.approx(a * x ** (a - 1), rel=1e-7, abs=1e-8)


@pytest.mark.claim("markov.slope-bound")
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6), st.integers(-5, 5), st.integers(1, 5))
def test_a_polynomial_rises_no_faster_than_its_steepest_slope(coefficients, a, width):
    f = sympy.Poly(coefficients, t)
    df = f.diff(t)
    b = a + width
    critical = [r for r in np.roots([float(c) for c in df.diff(t).all_coeffs()]) if abs(r.imag) < 1e-9]
    slopes = [float(df.eval(v)) for v in (a, b)] + [float(df.eval(r.real)) for r in critical if a <= r.real <= b]
    rise = float(f.eval(b) - f.eval(a))
    slack = 1e-6 * (1 + max(map(abs, slopes)))  # numerical roots near a double one are off by 1e-8
    assert (min(slopes) - slack) * width <= rise <= (max(slopes) + slack) * width


@pytest.mark.claim("markov.fundamental-theorem")
@given(st.floats(-2, 2), st.floats(0.1, 3))
def test_areas_and_slopes_undo_each_other(a, width):
    b = a + width

    def f(x):
        return math.cos(x) + 0.3 * x**2

    # `markov.midpoint-area` with |f''| <= 1.6, on the area whose exact value the second part gives
    exact = math.sin(b) + 0.1 * b**3 - math.sin(a) - 0.1 * a**3
    assert abs(area(f, a, b, 500) - exact) <= 1.6 * width**3 / (24 * 500**2) + 1e-12
    # the first part: one more strip of width 2e-4, whose middle is at b; its error is below 1.6 h^2 / 24
    strip = (area(f, a, b + 1e-4, 500) - area(f, a, b - 1e-4, 500)) / 2e-4
    assert strip == pytest.approx(f(b), abs=1e-4)


def test_integration_by_parts():
    x = sympy.symbols("x")
    for u, v in [(x**2, sympy.exp(x)), (sympy.log(x), x**3)]:
        left = sympy.integrate(u * v.diff(x), (x, 1, 3))
        right = (u * v).subs(x, 3) - (u * v).subs(x, 1) - sympy.integrate(u.diff(x) * v, (x, 1, 3))
        assert sympy.simplify(left - right) == 0


@pytest.mark.claim("markov.central-difference")
@given(st.floats(-3, 3), st.floats(1e-3, 1))
def test_the_error_of_a_central_difference_is_within_its_bound_and_near_it(x, h):
    error = abs((math.exp(x + h) - math.exp(x - h)) / (2 * h) - math.exp(x))
    rounding = 1e-15 * math.exp(x + h) / h
    assert error <= math.exp(x + h) * h**2 / 6 + rounding  # the third slope of exp is largest at the right end
    assert error >= math.exp(x) * h**2 / 6 - rounding  # sinh(h) / h >= 1 + h^2 / 6: the constant is no smaller


@pytest.mark.claim("markov.midpoint-area")
@given(st.floats(-2, 2), st.floats(0.1, 3), st.integers(1, 30))
def test_the_error_of_midpoints_is_within_its_bound(a, width, n):
    error = abs(area(math.exp, a, a + width, n) - (math.exp(a + width) - math.exp(a)))
    assert error <= math.exp(a + width) * width**3 / (24 * n**2) + 1e-13
    # for a parabola the second slope is the same everywhere and the bound is the error
    error = width**3 / 3 + a * width**2 + a**2 * width - area(lambda x: x**2, a, a + width, n)
    assert error == pytest.approx(2 * width**3 / (24 * n**2), abs=1e-13)


@pytest.mark.claim("markov.slope-along-line")
@given(st.tuples(positive, positive, positive), st.tuples(*[st.floats(-1, 1)] * 3))
def test_the_slope_along_a_line_is_the_weighted_sum_of_partial_derivatives(x, u):
    x, u = np.array(x) / 50 + 1, np.array(u)

    def f(p):
        return float(p[0] ** 2 * np.log(p[1]) + p[1] * p[2] ** 0.5)

    by_hand = np.array([2 * x[0] * np.log(x[1]), x[0] ** 2 / x[1] + x[2] ** 0.5, 0.5 * x[1] / x[2] ** 0.5])
    # 1e-8: values up to ten, step 1e-5: two digits above the best of (E6)
    assert gradient(f, x) == pytest.approx(by_hand, abs=1e-8)
    assert slope(lambda s: f(x + s * u), 0) == pytest.approx(float(u @ by_hand), abs=1e-8)


@pytest.mark.claim("markov.concave-second-derivative")
@given(positive, positive, st.floats(0, 1))
def test_functions_of_negative_second_slope_lie_above_their_chords(x, y, w):
    z = (1 - w) * x + w * y
    for f in (math.log, math.sqrt, lambda v: -(v**2), lambda v: -v * math.log(v), lambda v: -math.exp(v / 10)):
        chord = (1 - w) * f(x) + w * f(y)
        assert f(z) >= chord - 1e-12 * (1 + abs(f(x)) + abs(f(y)))
        if abs(x - y) > 0.1 and 0.1 < w < 0.9:
            assert f(z) > chord


@pytest.mark.claim("markov.concave-maximum")
@given(st.integers(0, 10**6))
def test_where_all_partial_derivatives_vanish_a_concave_function_is_largest(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 3))
    b = rng.normal(size=3)

    def f(x):  # concave: a sum of functions -(r . x)^2, each concave along every line, and a linear one
        return float(b @ x - np.sum((root @ x) ** 2))

    x = np.linalg.solve(2 * root.T @ root, b)
    assert gradient(f, x) == pytest.approx(np.zeros(3), abs=1e-6 * (1 + float(np.abs(x).max()) ** 2))
    for y in x + rng.normal(size=(20, 3)):
        assert f(y) < f(x)


@pytest.mark.claim("markov.jensen")
@given(st.lists(positive, min_size=1, max_size=7), st.integers(0, 10**6))
def test_a_concave_function_of_a_mean_is_at_least_the_mean_of_the_function(points, seed):
    x, w = np.array(points), weights_on(len(points), np.random.default_rng(seed))
    for f in (np.log, np.sqrt, lambda v: -np.abs(v - 3.0)):
        assert f(w @ x) >= w @ f(x) - 1e-12 * 100  # rounding at magnitude 100
    assume(w @ (x - w @ x) ** 2 > 1e-3)
    # strict, by at least Var / (2 max x^2), the least bend of the logarithm on the points
    assert math.log(w @ x) - w @ np.log(x) >= w @ (x - w @ x) ** 2 / (2 * x.max() ** 2) * (1 - 1e-6)


@pytest.mark.claim("markov.jensen")
def test_equal_points_and_weights_of_zero_give_equality():
    x, w = np.array([5.0, 5.0, 2.0]), np.array([0.4, 0.6, 0.0])
    assert math.log(w @ x) == pytest.approx(w @ np.log(x), rel=1e-15)


@pytest.mark.claim("markov.lagrange-sufficient")
def test_on_any_finite_set_a_maximiser_of_the_lagrangian_that_meets_the_condition_is_best():
    """Exhaustive over functions and conditions of small whole numbers on four points, and over five prices."""
    met = alone = 0
    for f in product(range(3), repeat=4):
        for g in product((-1, 0, 1), repeat=4):
            meeting = [i for i in range(4) if g[i] == 0]
            best_meeting = max((f[i] for i in meeting), default=None)
            for price in range(-2, 3):
                lagrangian = [a - price * b for a, b in zip(f, g, strict=True)]
                best = [i for i in range(4) if lagrangian[i] == max(lagrangian)]
                for i in best:
                    if g[i] == 0:
                        assert f[i] == best_meeting
                        met += 1
                        if len(best) == 1:
                            assert [j for j in meeting if f[j] == f[i]] == [i]
                            alone += 1
    assert met > 10_000  # the hypotheses of either half hold in many cases
    assert alone > 1_000


@pytest.mark.claim("markov.lagrange-sufficient")
@given(st.integers(0, 10**6))
def test_equal_shares_have_the_largest_product(seed):
    rng = np.random.default_rng(seed)
    x = 7 * weights_on(5, rng)
    assert np.sum(np.log(x)) <= 5 * math.log(7 / 5) + 1e-12


@pytest.mark.claim("markov.lagrange-necessary")
@pytest.mark.parametrize("seed", range(5))
def test_at_a_maximum_under_a_linear_condition_the_gradient_is_a_multiple_of_it(seed):
    rng = np.random.default_rng(seed)
    n, c = rng.uniform(1, 5, size=3), rng.uniform(0.5, 2, size=3)

    def f(x):
        return float(np.sum(n * np.log(x)))

    # find the maximum of f on c . x = 2 without Lagrange: over two free coordinates, by ever finer grids
    x, width = np.full(3, 2 / c.sum()), 0.5
    for _ in range(60):
        steps = np.stack(np.meshgrid(*[np.linspace(-width, width, 9)] * 2), -1).reshape(-1, 2)
        free = x[:2] + steps
        last = (2 - free @ c[:2]) / c[2]
        points = np.column_stack((free, last))
        points = points[(points > 1e-6).all(axis=1)]
        x = points[np.argmax(np.log(points) @ n)]
        width *= 0.75
    # the comparison of values stalls where they differ by less than 1e-15, at a distance of about 1e-7 from the top
    prices = gradient(f, x) / c
    assert prices == pytest.approx(np.full(3, prices[0]), rel=1e-5)
    assert x == pytest.approx(n / c * 2 / n.sum(), rel=1e-6)  # by hand: n_i / x_i = price c_i


@pytest.mark.claim("markov.beta-gamma")
@pytest.mark.parametrize("a", [1.0, 2.0, 2.5, 4.0, 7.3])
def test_the_gamma_area_by_midpoints(a):
    # past 80 the rest is below 1e-25; where a >= 2 or a = 1 the second slope is bounded, at 2.5 all but at zero
    computed = area(lambda x: x ** (a - 1) * math.exp(-x), 0, 80, 40_000)
    assert computed == pytest.approx(math.gamma(a), rel=2e-6)
    assert area(lambda x: x**a * math.exp(-x), 0, 80, 40_000) == pytest.approx(a * computed, rel=2e-6)
    if a == int(a):
        assert computed == pytest.approx(math.factorial(int(a) - 1), rel=2e-6)


@pytest.mark.claim("markov.beta-gamma")
@given(exponents, exponents)
def test_the_beta_area_by_midpoints(a, b):
    assume(min(a, b) >= 1)
    computed = area(lambda x: x ** (a - 1) * (1 - x) ** (b - 1), 0, 1, 4000)
    # 1e-4: where an exponent is between 1 and 2 the second slope is unbounded at an end; the error there is
    # below the strip's own area times the change of height
    assert computed == pytest.approx(math.exp(log_dirichlet_integral(np.array([a, b]))), rel=2e-4)


@pytest.mark.claim("markov.beta-gamma")
@pytest.mark.parametrize("a", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("b", [0.3, 1.0, 2.7])
def test_the_limit_in_the_proof_and_exponents_below_one(a, b):
    n = 10**6
    log_beta = log_dirichlet_integral(np.array([a, n + b]))
    # n^a B(a, n + b) is off by a share of about a (|a| + 2 b + 1) / 2n
    assert math.exp(a * math.log(n) + log_beta) == pytest.approx(math.gamma(a), rel=1e-5)
    # x = s^(1/a) and 1 - x = s^(1/b) take the unbounded heights away: area of x^(a-1) over [0, d] is d^a / a
    left = area(lambda s: (1 - s ** (1 / a)) ** (b - 1) / a, 0, 0.5**a, 4000)
    right = area(lambda s: (1 - s ** (1 / b)) ** (a - 1) / b, 0, 0.5**b, 4000)
    # 1e-6: midpoints with second slopes of the order of ten; where 1/a is near one they grow at zero, but stay summable
    assert left + right == pytest.approx(math.exp(log_dirichlet_integral(np.array([a, b]))), rel=1e-5)


@pytest.mark.claim("markov.dirichlet-integral")
@pytest.mark.parametrize("a", [(1, 1, 1), (2, 1, 3), (1, 4, 2, 2), (3, 1, 1, 2, 1)])
def test_the_integral_over_the_simplex_exactly(a):
    """Whole exponents, slice by slice, by sympy."""
    s = sympy.symbols("s", positive=True)
    x = sympy.symbols(f"x:{len(a)}", positive=True)
    value = s ** (a[-1] - 1)
    for i in reversed(range(len(a) - 1)):
        inner = sympy.expand(x[i] ** (a[i] - 1) * value.subs(s, s - x[i]))
        value = sympy.factor(sympy.integrate(inner, (x[i], 0, s)))
    top = sympy.prod([sympy.gamma(k) for k in a]) / sympy.gamma(sum(a))
    assert sympy.simplify(value - top * s ** (sum(a) - 1)) == 0
    assert log_dirichlet_integral(np.array(a, float)) == pytest.approx(math.log(float(top)), rel=1e-12)


@pytest.mark.claim("markov.dirichlet-integral")
@given(exponents, exponents, exponents)
def test_the_order_of_the_coordinates_does_not_matter_and_slices_multiply(a, b, c):
    # slice c last: B(a, b + c) B(b, c)
    sliced = log_dirichlet_integral(np.array([a, b + c])) + log_dirichlet_integral(np.array([b, c]))
    assert log_dirichlet_integral(np.array([c, a, b])) == pytest.approx(sliced, abs=1e-11)  # sums of magnitude 200


def test_an_area_counts_negative_backwards():
    assert area(math.exp, 1, 0) == pytest.approx(-area(math.exp, 0, 1), rel=1e-14)
    assert area(math.exp, 2, 2) == 0


def test_a_gradient_leaves_its_point_alone_and_takes_float32():
    x = np.array([1, 2, 3], np.float32)
    assert gradient(lambda p: float(p @ p), x) == pytest.approx([2, 4, 6], rel=1e-9)
    assert x.tolist() == [1, 2, 3]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"finite on both sides of inf"):
        slope(lambda x: x, math.inf)
    with pytest.raises(ValueError, match="finite on both sides of 0, got inf"):
        slope(lambda x: math.inf if x < 0 else 0.0, 0)
    with pytest.raises(ValueError, match="at least one piece, got 0"):
        area(math.exp, 0, 1, 0)
    with pytest.raises(ValueError, match="ends must be finite, got 0 and inf"):
        area(math.exp, 0, math.inf)
    with pytest.raises(ValueError, match=r"got nan at 0\.5"):
        area(lambda x: math.nan, 0, 1, 1)
    for a in ([], [1.0, 0.0], [1.0, math.nan], [math.inf]):
        with pytest.raises(ValueError, match="positive and finite, and at least one"):
            log_dirichlet_integral(np.array(a))
