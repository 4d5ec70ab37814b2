"""Mirrors src/fp_neural/activations.py."""

import math

import numpy as np
import pytest
import sympy

from fp_autograd import Tensor, grad, gradcheck
from fp_autograd.functional import hvp
from fp_neural.activations import (
    BLOCK,
    CUBIC,
    GELU,
    K,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
    erf,
    erfc_enclosure,
    gelu,
    reference_erf,
    reference_gelu,
    reference_silu,
    silu,
)

RNG = np.random.default_rng(3)
X = np.concatenate((RNG.normal(size=400) * 3, [-30.0, -9.0, -1e-9, 0.0, 1e-9, 9.0, 30.0]))
ERF = np.array([math.erf(v) for v in X])
PHI = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in X])  # all digits on the left too
SMOOTH = {
    "silu": (silu, reference_silu),
    "gelu": (gelu, reference_gelu),
    "gelu_tanh": (lambda x: gelu(x, "tanh"), lambda x: reference_gelu(x, "tanh")),
}


def slope(f, x):
    return grad(lambda x: f(x).sum())(x)


# --- the claims


@pytest.mark.claim("neural.gate-symmetry")
@pytest.mark.parametrize("f", [f for f, _ in SMOOTH.values()], ids=SMOOTH)
def test_odd_part_is_half_of_x(f):
    np.testing.assert_allclose(f(X) - f(-X), X, rtol=4e-15)  # a few roundings
    np.testing.assert_allclose(slope(f, X) + slope(f, -X), 1, rtol=4e-15)


@pytest.mark.claim("neural.gate-symmetry")
def test_the_symmetry_needs_the_gate_to_add_up_to_one():
    """The gate exp(-x^2) does not: x G(x) is odd then, and its slope even."""
    x = np.array([0.3, 1.0])
    assert not np.allclose(x * np.exp(-x * x) - -x * np.exp(-x * x), x)


@pytest.mark.claim("neural.silu-slope")
def test_silu_falls_then_rises():
    x = sympy.symbols("x", real=True)
    f = x / (1 + sympy.exp(-x))
    sigma = 1 / (1 + sympy.exp(-x))
    assert sympy.simplify(sympy.diff(f, x) - sigma * (1 + x * (1 - sigma))) == 0
    bottom = float(sympy.nsolve(sympy.exp(x) + x + 1, -1.3))
    grid = np.linspace(-40, 40, 100_001)
    slopes = slope(silu, grid)
    assert (slopes[grid < bottom] < 0).all()
    assert (slopes[grid > bottom] > 0).all()
    assert silu(np.array(bottom)) == pytest.approx(1 + bottom, abs=1e-15)
    assert silu(grid).min() == pytest.approx(1 + bottom, abs=1e-6)  # step 8e-4, squared, times the second slope


@pytest.mark.claim("neural.gaussian-area")
def test_the_area_under_the_bell():
    """The midpoint rule's error is at most M (b - a)^3 / 24 n^2 (`markov.midpoint-area`) with |f''| <= 2."""
    n, end = 20_000, 7.0
    t = (np.arange(n) + 0.5) * end / n
    bound = 2 * end**3 / (24 * n**2) + math.exp(-end * end)  # and beyond, exp(-t^2) <= exp(-7 t)
    assert abs(np.exp(-t * t).sum() * end / n - math.sqrt(math.pi) / 2) < bound + 1e-12
    assert math.gamma(0.5) ** 2 == pytest.approx(math.pi, rel=1e-15)
    assert sympy.gamma(sympy.Rational(1, 2)) ** 2 == sympy.pi


@pytest.mark.claim("neural.gelu-slope")
def test_slopes_of_gelu():
    x = sympy.symbols("x", real=True)
    phi = sympy.exp(-(x**2) / 2) / sympy.sqrt(2 * sympy.pi)
    Phi = (1 + sympy.erf(x / sympy.sqrt(2))) / 2
    assert sympy.simplify(sympy.diff(x * Phi, x) - (Phi + x * phi)) == 0
    assert sympy.simplify(sympy.diff(x * Phi, x, 2) - (2 - x**2) * phi) == 0

    grid = np.linspace(-30, 30, 60_001)
    slopes = slope(gelu, grid)
    off = math.erf(1) / 2 + math.exp(-1) / math.sqrt(math.pi)
    assert 0.5 - off - 1e-15 <= slopes.min() <= 0.5 - off + 1e-6  # step 1e-3, squared
    assert 0.5 + off - 1e-6 <= slopes.max() <= 0.5 + off + 1e-15
    assert grid[slopes.argmax()] == pytest.approx(math.sqrt(2), abs=1e-3)
    assert grid[slopes.argmin()] == pytest.approx(-math.sqrt(2), abs=1e-3)
    second = hvp(lambda x: gelu(x).sum())(X, np.ones_like(X))
    np.testing.assert_allclose(second, (2 - X**2) * np.exp(-(X**2) / 2) / math.sqrt(2 * math.pi), atol=1e-14)


@pytest.mark.claim("neural.erf-series")
@pytest.mark.parametrize("N", [1, 2, 5, 20, 40])
def test_the_series_encloses_the_area(N):
    for x in (0.0, 1e-3, 0.5, 1.0, 1.7, 3.0):
        terms = [2**n * x ** (2 * n + 1) / math.prod(range(1, 2 * n + 2, 2)) for n in range(N + 1)]
        low = math.exp(-x * x) * math.fsum(terms[:N])
        area = math.erf(x) * math.sqrt(math.pi) / 2
        assert low - 4e-16 <= area <= low + terms[N] + 4e-16  # roundings of numbers below one


@pytest.mark.claim("neural.erfc-fraction")
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 11, 200])
def test_the_fraction_encloses_the_tail(steps):
    for x in (0.1, 0.5, 1.0, 2.0, 5.0, 20.0):
        low, high = erfc_enclosure(x, steps)
        roundings = 1e-14 * high  # of exp at -400, mostly
        assert low - roundings <= math.erfc(x) <= high + roundings
        if steps < 10 and x <= 2:
            assert low < math.erfc(x) < high  # not by rounding alone


@pytest.mark.claim("neural.erfc-fraction")
@pytest.mark.parametrize("x", [0.3, 1.0, 2.5])
def test_the_quotients_satisfy_the_recursion(x):
    n, h = 400_000, 8 / 400_000
    s = (np.arange(n) + 0.5) * h
    J = [(s**k * np.exp(-((s + x) ** 2))).sum() * h for k in range(6)]
    assert J[0] == pytest.approx(math.erfc(x) * math.sqrt(math.pi) / 2, rel=1e-8)  # the midpoint rule's h^2
    r = [None] + [J[k] / J[k - 1] for k in range(1, 6)]
    assert 2 * J[0] * (x + r[1]) == pytest.approx(math.exp(-x * x), rel=1e-8)
    for k in range(1, 5):
        assert r[k] == pytest.approx(k / 2 / (x + r[k + 1]), rel=1e-8)
        assert 0 < r[k] < k / (2 * x)


@pytest.mark.claim("neural.gelu-tanh-error")
def test_the_approximation_without_erf():
    """What the proof leaves to a computation, and the two bounds that it derives."""
    x = np.arange(6 * 2**16 + 1) / 2**16
    exact = np.array([math.erf(v) for v in (x / math.sqrt(2)).tolist()])
    u = K * (x + CUBIC * x**3)
    e = x / 2 * (np.tanh(u) - exact)
    assert 4.7e-4 < np.abs(e).max() < 4.74e-4
    assert np.abs(np.diff(e)).max() < 2 / 2**16
    far = np.linspace(6, 40, 1000)
    assert np.abs(gelu(far) - gelu(far, "tanh")).max() < 1e-7
    grid = np.linspace(-50, 50, 100_001)
    assert np.abs(gelu(grid) - gelu(grid, "tanh")).max() < 5e-4
    np.testing.assert_allclose(gelu(x, "tanh") - gelu(x), e, atol=1e-14)


# --- the functions


def test_erf_has_all_digits():
    np.testing.assert_allclose(reference_erf(X), ERF, rtol=1e-15)
    np.testing.assert_allclose(erf(X), ERF, rtol=1e-15)
    np.testing.assert_allclose(erf(X.astype(np.float32)), ERF, rtol=4e-7)  # of x's own rounding, too
    tiny = np.array([1e-300, 1e-30, -1e-10])
    np.testing.assert_allclose(erf(tiny), tiny * 2 / math.sqrt(math.pi), rtol=1e-15)
    np.testing.assert_array_equal(erf(np.array([-np.inf, np.nan, np.inf])), [-1, np.nan, 1])


def test_both_ways_to_erf_agree_on_random_numbers():
    x = RNG.uniform(-6, 6, 5000)
    np.testing.assert_allclose(erf(x), reference_erf(x), rtol=2e-15)


def test_gelu_keeps_its_digits_far_to_the_left():
    """There the textbook's 1 + erf cancels: at -9 nothing would be left."""
    np.testing.assert_allclose(gelu(X), X * PHI, rtol=3e-13, atol=1e-300)  # exp(-450) of a rounded square
    assert (gelu(np.array([-9.0, -30.0])) < 0).all()
    np.testing.assert_allclose(gelu(X.astype(np.float32)), X * PHI, rtol=2e-5, atol=1e-35)


@pytest.mark.parametrize(("f", "reference"), SMOOTH.values(), ids=SMOOTH)
def test_the_fused_form_is_the_reference(f, reference):
    np.testing.assert_allclose(f(X), reference(X), atol=1e-14)  # the reference cancels on the left
    np.testing.assert_allclose(slope(f, X), slope(reference, X), atol=1e-14)
    g = RNG.normal(size=X.shape)
    x, y = Tensor(X, requires_grad=True), Tensor(X, requires_grad=True)
    f(x).backward(g)
    reference(y).backward(g)
    np.testing.assert_allclose(x.grad, y.grad, atol=1e-13)


@pytest.mark.parametrize(
    "f", [erf, *(f for f, _ in SMOOTH.values()), ReLU(), Tanh(), Sigmoid(), SiLU(), GELU(), GELU("tanh")]
)
@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 5)])
def test_derivatives_of_both_orders_and_modes(f, shape):
    gradcheck(f, RNG.normal(size=shape))


@pytest.mark.parametrize("f", [f for f, _ in SMOOTH.values()], ids=SMOOTH)
def test_third_slopes(f):
    third = slope(lambda x: slope(lambda x: slope(f, x), x), X[:50])
    h = 1e-4
    second = [slope(lambda x: slope(f, x), X[:50] + s) for s in (-h, h)]
    np.testing.assert_allclose(third, (second[1] - second[0]) / (2 * h), atol=1e-7)  # h^2 and roundings over h


@pytest.mark.parametrize("f", [f for f, _ in SMOOTH.values()], ids=SMOOTH)
def test_blocks_do_not_show(f):
    x = RNG.normal(size=BLOCK // 4 * 2 + 1001).astype(np.float32)
    g = RNG.normal(size=x.shape).astype(np.float32)
    t = Tensor(x, requires_grad=True)
    out = f(t)
    out.backward(g)
    assert out.dtype == t.grad.dtype == np.float32
    for part in np.array_split(np.arange(x.size), 37):
        p = Tensor(x[part], requires_grad=True)
        y = f(p)
        y.backward(g[part])
        # vector and scalar exponentials may differ in the last digit
        np.testing.assert_allclose(y.data, out.data[part], rtol=1e-6)
        np.testing.assert_allclose(p.grad, t.grad[part], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("f", [erf, *(f for f, _ in SMOOTH.values())])
def test_any_layout_and_type(f):
    x = RNG.normal(size=(6, 4, 5))
    np.testing.assert_array_equal(f(x.T[::2]), f(np.ascontiguousarray(x.T[::2])))
    assert f(x[:0]).shape == (0, 4, 5)
    assert f(np.array([1, 2])).dtype == np.float64
    assert float(f(1.0)) == pytest.approx(float(f(np.array([1.0]))[0]), rel=1e-15)
    assert f(x.astype(np.float16)).dtype == np.float16


@pytest.mark.parametrize("f", [f for f, _ in SMOOTH.values()], ids=SMOOTH)
@pytest.mark.parametrize(("dtype", "largest"), [(np.float16, 1e4), (np.float32, 1e30), (np.float64, 1e300)])
def test_large_numbers_pass_without_a_warning(f, dtype, largest):
    x = np.array([-largest, -200, 200, largest], dtype)
    np.testing.assert_allclose(f(x), [0, 0, *x[2:]], rtol=1e-15, atol=1e-80)  # 200 exp(-200) is about 1e-85
    np.testing.assert_allclose(slope(f, x), [0, 0, 1, 1], rtol=1e-15, atol=1e-80)


def test_modules_do_what_their_names_say():
    x = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(ReLU()(x), [0, 0, 2])
    np.testing.assert_allclose(Tanh()(x), np.tanh(x), rtol=1e-15)
    np.testing.assert_allclose(Sigmoid()(x), 1 / (1 + np.exp(-x)), rtol=1e-15)
    np.testing.assert_array_equal(SiLU()(x), silu(x))
    np.testing.assert_array_equal(GELU()(x), gelu(x))
    np.testing.assert_array_equal(GELU("tanh")(x), gelu(x, "tanh"))
    assert not GELU("tanh").parameters()


def test_silu_by_hand():
    """At ln 3 the sigmoid is 3/4, and the slope 3/4 (1 + ln 3 / 4)."""
    x = np.array([math.log(3)])
    np.testing.assert_allclose(silu(x), 0.75 * math.log(3), rtol=1e-15)
    np.testing.assert_allclose(slope(silu, x), 0.75 * (1 + math.log(3) / 4), rtol=1e-15)


def test_bad_input(shapes_unchecked):
    with pytest.raises(ValueError, match=r"approximate has to be .none. or .tanh., got .fast."):
        gelu(X, "fast")
    with pytest.raises(ValueError, match=r"approximate has to be .none. or .tanh., got .fast."):
        GELU("fast")
    with pytest.raises(ValueError, match=r"x > 0 and at least one step, got x = 0 and 5 steps"):
        erfc_enclosure(0, 5)
    with pytest.raises(ValueError, match="at least one step"):
        erfc_enclosure(1.0, 0)
