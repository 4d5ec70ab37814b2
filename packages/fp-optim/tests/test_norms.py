"""Mirrors src/fp_optim/norms.py. Sizes are distinct primes."""

import math
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_optim.norms import dual_norm, spectral_norm, steepest, vector_norm

NORMS = (1, 2, math.inf)
GRID = np.array(list(product(range(-2, 3), repeat=3)), dtype=float)
vectors = arrays(np.float64, 5, elements=st.floats(-100, 100))


class Sample(NamedTuple):
    """A function of two variables with what is known of it; None where there is no such constant."""

    f: object
    grad: object
    convex: bool
    L: float | None
    mu: float | None
    least: float | None


def logcosh(x):
    return float(np.logaddexp(x, -x).sum() - 2 * math.log(2))


TILT = np.array([[2.0, -0.5], [0.5, 1.0]])
SAMPLES = {
    "bowl": Sample(lambda x: 2 * x[0] ** 2 + x[1] ** 2 / 2, lambda x: np.array([4, 1]) * x, True, 4.0, 1.0, 0.0),
    "round": Sample(lambda x: 1.5 * x @ x, lambda x: 3 * x, True, 3.0, 3.0, 0.0),
    "logcosh": Sample(logcosh, np.tanh, True, 1.0, None, 0.0),
    "tilted": Sample(
        lambda x: logcosh(TILT @ x) + x @ x / 4, lambda x: TILT.T @ np.tanh(TILT @ x) + x / 2, True,
        np.linalg.norm(TILT, 2) ** 2 + 0.5, 0.5, 0.0,
    ),
    "waves": Sample(lambda x: float(np.cos(x).sum()), lambda x: -np.sin(x), False, 1.0, None, -2.0),
    "saddle": Sample(lambda x: (x[0] ** 2 - x[1] ** 2) / 2, lambda x: np.array([1, -1]) * x, False, 1.0, None, None),
    "quartic": Sample(lambda x: float((x**4).sum()), lambda x: 4 * x**3, True, None, None, 0.0),
}  # fmt: skip
PAIRS = [tuple(pair) for pair in np.random.default_rng(0).normal(scale=2, size=(300, 2, 2))]


def rise(sample, x, y):
    """What f does beyond its tangent."""
    return sample.f(y) - sample.f(x) - sample.grad(x) @ (y - x)


def those(keep):
    return pytest.mark.parametrize("sample", [pytest.param(s, id=n) for n, s in SAMPLES.items() if keep(s)])


@pytest.mark.claim("optim.norms")
def test_each_is_a_norm_on_all_small_vectors():
    for p in NORMS:
        size = np.array([vector_norm(x, p) for x in GRID])
        assert np.array_equal(size > 0, GRID.any(1))
        for x, nx in zip(GRID, size, strict=True):
            assert vector_norm(-3 * x, p) == pytest.approx(3 * nx, rel=1e-15)
            sums = np.array([vector_norm(x + y, p) for y in GRID])
            assert (sums <= nx + size + 1e-14).all()  # roots are rounded


@pytest.mark.claim("optim.norms")
def test_the_chain_of_norms_and_where_each_link_is_tight():
    tight = np.zeros(4, dtype=int)
    for x in GRID[GRID.any(1)]:
        one, two, most = (vector_norm(x, p) for p in NORMS)
        chain = np.array([most, two, one, math.sqrt(3) * two, 3 * most])
        gaps = np.diff(chain)
        assert gaps.min() > -1e-14  # roots are rounded
        tight += gaps < 1e-14
    assert (tight > 0).all() and (tight < np.count_nonzero(GRID.any(1))).all()


def test_by_hand():
    x = np.array([1.0, -2.0, 2.0])
    assert [vector_norm(x, p) for p in NORMS] == [5.0, 3.0, 2.0]
    assert [vector_norm(np.zeros(0), p) for p in NORMS] == [0.0, 0.0, 0.0]
    assert vector_norm(np.array([3e200, 4e200]), 2) == pytest.approx(5e200, rel=1e-15)  # the squares would overflow
    assert math.isnan(vector_norm(np.array([1.0, math.nan]), 2)) and vector_norm(np.array([-math.inf]), 1) == math.inf


@pytest.mark.claim("optim.equivalent-norms")
@given(vectors)
def test_a_norm_that_is_none_of_the_three_lies_between_multiples_of_the_length(x):
    W = np.random.default_rng(2).normal(size=(7, 5))  # of full rank, so |Wx|_1 is a norm
    size = lambda v: np.abs(W @ v).sum()  # noqa: E731
    C = math.sqrt(sum(size(e) ** 2 for e in np.eye(5)))
    c = np.linalg.svd(W)[1][-1]  # |Wx|_1 >= |Wx|_2 >= c |x|
    length = vector_norm(x, 2)  # squares of the smallest numbers would vanish
    # 1e-12: dozens of roundings
    assert c * length * (1 - 1e-12) <= size(x) <= C * length * (1 + 1e-12)
    assert abs(size(x) - size(x + 1e-3)) <= C * np.linalg.norm(np.full(5, 1e-3)) * (1 + 1e-9)


@pytest.mark.claim("optim.equivalent-norms")
def test_without_positivity_there_is_no_lower_bound():
    direction = np.array([1.0, -1.0])
    assert abs(direction.sum()) == 0 < np.linalg.norm(direction)  # |x_1 + x_2| is no norm


@pytest.mark.claim("optim.dual-norm")
@given(vectors, vectors)
def test_no_step_of_length_one_does_more_than_the_dual_norm(g, x):
    for p in NORMS:
        # 1e-9: a few roundings of sums of products up to 10^4
        assert g @ x <= dual_norm(g, p) * vector_norm(x, p) + 1e-9
        if g.any():
            d = steepest(g, p)
            assert vector_norm(d, p) == pytest.approx(1, rel=1e-14)
            assert g @ d == pytest.approx(-dual_norm(g, p), rel=1e-13)


@pytest.mark.claim("optim.dual-norm")
def test_the_maximum_over_all_corners_of_the_unit_ball():
    # a linear function on a polytope is largest at a corner, and these are all corners
    corners = {1: np.concatenate([np.eye(3), -np.eye(3)]), math.inf: np.array(list(product((-1.0, 1.0), repeat=3)))}
    for p, points in corners.items():
        for g in GRID:
            assert dual_norm(g, p) == (points @ g).max()


@pytest.mark.claim("optim.dual-norm")
def test_a_dual_norm_is_a_norm_also_of_a_stretched_one():
    # of |Dx|_2 the dual is |g/D|_2: found on many directions of the unit ball, and the triangle inequality checked
    D = np.array([0.5, 2.0])
    angles = np.linspace(0, 2 * math.pi, 10_001)
    ball = np.stack([np.cos(angles), np.sin(angles)], 1) / D
    for g, h in PAIRS[:50]:
        # 1e-6: between two of the directions the cosine falls by (2π/10⁴)²/8
        assert (ball @ g).max() == pytest.approx(np.linalg.norm(g / D), rel=1e-6)
        assert (ball @ (g + h)).max() <= (ball @ g).max() + (ball @ h).max()
        assert (ball @ (-3 * g)).max() == pytest.approx(3 * (ball @ g).max(), rel=1e-6)


@pytest.mark.claim("optim.spectral-norm")
def test_the_spectral_norm_bounds_what_a_matrix_does_and_is_reached():
    rng = np.random.default_rng(3)
    for shape in [(3, 5), (5, 3), (7, 7), (1, 2)]:
        A, B = rng.normal(size=shape), rng.normal(size=shape[::-1])
        x = rng.normal(size=(shape[1], 1000))
        stretched = np.linalg.norm(A @ x, axis=0) / np.linalg.norm(x, axis=0)
        assert stretched.max() <= spectral_norm(A)
        best = np.linalg.svd(A)[2][0]
        assert np.linalg.norm(A @ best) == pytest.approx(spectral_norm(A), rel=1e-13)
        assert spectral_norm(A @ B) <= spectral_norm(A) * spectral_norm(B) * (1 + 1e-13)
        assert spectral_norm(A + B.T) <= spectral_norm(A) + spectral_norm(B) + 1e-13
        assert spectral_norm(-2 * A) == pytest.approx(2 * spectral_norm(A), rel=1e-14)
        r, frobenius = min(shape), np.linalg.norm(A)
        assert spectral_norm(A) <= frobenius * (1 + 1e-14) <= math.sqrt(r) * spectral_norm(A) * (1 + 1e-13)
    outer = np.outer([1.0, 2.0], [2.0, -1.0, 2.0])  # of rank one both inequalities are tight
    assert spectral_norm(outer) == pytest.approx(np.linalg.norm(outer), rel=1e-14)


@pytest.mark.claim("optim.spectral-norm")
def test_symmetric_matrices_of_whole_numbers():
    for a, b, c in product(range(-3, 4), repeat=3):
        S = np.array([[a, b], [b, c]], dtype=float)
        root = math.hypot(a - c, 2 * b)
        high, low = (a + c + root) / 2, (a + c - root) / 2
        assert spectral_norm(S) == pytest.approx(max(abs(high), abs(low)), abs=1e-14)
        forms = np.einsum("ki,ij,kj->k", GRID[:, :2], S, GRID[:, :2])
        squares = (GRID[:, :2] ** 2).sum(1)
        assert (forms <= high * squares + 1e-12).all() and (forms >= low * squares - 1e-12).all()


@pytest.mark.claim("optim.convex-gradient")
@those(lambda s: True)
def test_convex_functions_and_no_others_meet_all_three(sample):
    chord, tangent, monotone = [], [], []
    for x, y in PAIRS:
        for w in (0.1, 0.5, 0.8):
            chord.append((1 - w) * sample.f(x) + w * sample.f(y) - sample.f((1 - w) * x + w * y))
        tangent.append(rise(sample, x, y))
        monotone.append((sample.grad(y) - sample.grad(x)) @ (y - x))
    for found in (chord, tangent, monotone):
        assert (min(found) >= -1e-12) == sample.convex  # values up to 10^3, a few roundings


@pytest.mark.claim("optim.convex-gradient")
def test_for_all_small_quadratic_functions_the_three_agree():
    X, Y = (points.reshape(-1, 2) for points in np.broadcast_arrays(GRID[:, None, :2], GRID[None, :, :2]))
    apart = (X != Y).any(1)
    for a, b, c in product(range(-2, 3), repeat=3):
        S = np.array([[a, b], [b, c]], dtype=float)
        f = lambda x, S=S: ((x @ S) * x).sum(1) / 2  # halves of whole numbers: no rounding  # noqa: E731
        chord = (f(X) + f(Y)) / 2 - f((X + Y) / 2)
        tangent = f(Y) - f(X) - ((X @ S) * (Y - X)).sum(1)
        monotone = ((Y @ S - X @ S) * (Y - X)).sum(1)
        assert (chord >= 0).all() == (tangent >= 0).all() == (monotone >= 0).all()
        assert (chord[apart] > 0).all() == (tangent[apart] > 0).all()


@pytest.mark.claim("optim.convex-gradient")
def test_strictly_convex_is_strict_and_merely_convex_is_not():
    for x, y in PAIRS:
        assert rise(SAMPLES["quartic"], x, y) > 0  # though its Hessian vanishes at 0
    plane = Sample(lambda x: x[0], lambda x: np.array([1.0, 0.0]), True, None, None, None)
    assert rise(plane, np.zeros(2), np.array([2.0, 3.0])) == 0


@pytest.mark.claim("optim.convex-minimum")
@those(lambda s: s.convex)
def test_where_the_gradient_vanishes_a_convex_function_is_smallest(sample):
    assert not sample.grad(np.zeros(2)).any()
    assert all(sample.f(x) >= sample.f(np.zeros(2)) for pair in PAIRS for x in pair)


@pytest.mark.claim("optim.convex-minimum")
def test_other_functions_have_points_without_slope_that_are_not_lowest():
    for name in ("waves", "saddle"):
        sample = SAMPLES[name]
        assert not sample.grad(np.zeros(2)).any()
        assert any(sample.f(x) < sample.f(np.zeros(2)) for pair in PAIRS for x in pair)


@pytest.mark.claim("optim.convex-minimum")
def test_the_lowest_points_are_a_convex_set():
    xs = np.linspace(-3, 3, 601)
    flat = np.maximum(np.abs(xs) - 1, 0) ** 2  # convex, with a continuous slope, smallest on [-1, 1]
    lowest = xs[flat == 0]
    assert len(lowest) > 1 and np.allclose(np.diff(lowest), 0.01)  # without a gap
    assert (np.diff(np.exp(xs)) > 0).all()  # e^x is strictly convex and has no lowest point


@pytest.mark.claim("optim.smooth-bound")
@those(lambda s: s.L is not None)
def test_a_smooth_function_stays_between_two_parabolas(sample):
    for x, y in PAIRS:
        assert np.linalg.norm(sample.grad(x) - sample.grad(y)) <= sample.L * np.linalg.norm(x - y) * (1 + 1e-12)
        assert abs(rise(sample, x, y)) <= sample.L / 2 * (y - x) @ (y - x) + 1e-12


@pytest.mark.claim("optim.smooth-bound")
def test_the_parabolas_are_reached_from_both_sides():
    for name, direction, sign in (("bowl", [1.0, 0.0], 1), ("saddle", [1.0, 0.0], 1), ("saddle", [0.0, 1.0], -1)):
        sample, x = SAMPLES[name], np.array([0.25, -0.5])  # whole numbers and halves: no rounding
        assert rise(sample, x, x + direction) == sign * sample.L / 2
    far, step = np.array([100.0, 0.0]), np.array([1.0, 0.0])
    assert rise(SAMPLES["quartic"], far, far + step) > 1e4  # a function without L rises faster than any parabola


@pytest.mark.claim("optim.gradient-gap")
@those(lambda s: s.L is not None and s.least is not None)
def test_a_long_gradient_has_far_to_fall(sample):
    for x in (x for pair in PAIRS for x in pair):
        assert sample.grad(x) @ sample.grad(x) <= 2 * sample.L * (sample.f(x) - sample.least) + 1e-12


@pytest.mark.claim("optim.gradient-gap")
def test_the_gap_bound_is_tight_and_needs_its_hypotheses():
    x = np.array([3.0, -2.0])
    assert SAMPLES["round"].grad(x) @ SAMPLES["round"].grad(x) == 2 * 3 * SAMPLES["round"].f(x)
    y = np.array([0.0, 1.0])  # the saddle is not bounded below: with f(0) = 0 in place of a bound it fails
    assert SAMPLES["saddle"].grad(y) @ SAMPLES["saddle"].grad(y) > 2 * SAMPLES["saddle"].f(y)
    # sqrt(x) for x > 0 is no smooth function: near 0 its slope is long and the fall short
    assert (0.5 / math.sqrt(1e-6)) ** 2 > 2 * 1.0 * math.sqrt(1e-6)


@pytest.mark.claim("optim.cocoercive")
@those(lambda s: s.L is not None)
def test_convex_smooth_functions_and_no_others_are_cocoercive(sample):
    tangent, inner = [], []
    for x, y in PAIRS:
        w = sample.grad(y) - sample.grad(x)
        tangent.append(rise(sample, x, y) - w @ w / (2 * sample.L))
        inner.append(w @ (y - x) - w @ w / sample.L)
    for found in (tangent, inner):
        assert (min(found) >= -1e-12) == sample.convex


@pytest.mark.claim("optim.cocoercive")
def test_too_small_a_constant_is_not_enough():
    y = np.array([1.0, 0.0])  # from 0
    w = SAMPLES["bowl"].grad(y)
    assert w @ y == w @ w / 4 < w @ w / 3.9  # tight at L = 4


@pytest.mark.claim("optim.strong-convexity")
@those(lambda s: s.mu is not None)
def test_a_strongly_convex_function_lies_above_parabolas(sample):
    for x, y in PAIRS:
        u = y - x
        assert rise(sample, x, y) >= sample.mu / 2 * u @ u - 1e-12
        assert (sample.grad(y) - sample.grad(x)) @ u >= sample.mu * u @ u - 1e-12
        gap, square = sample.f(x) - sample.least, sample.grad(x) @ sample.grad(x)  # smallest at 0
        assert sample.mu / 2 * x @ x - 1e-12 <= gap <= square / (2 * sample.mu) + 1e-12
        assert sample.mu * np.linalg.norm(x) <= np.linalg.norm(sample.grad(x)) + 1e-12
    assert sample.mu <= sample.L


@pytest.mark.claim("optim.strong-convexity")
def test_its_inequalities_are_tight_and_fail_where_there_is_no_constant():
    x = np.array([0.0, 2.0])  # along the flattest direction of the bowl
    bowl = SAMPLES["bowl"]
    assert bowl.f(x) == bowl.mu / 2 * x @ x == bowl.grad(x) @ bowl.grad(x) / (2 * bowl.mu)
    for name, far in (("logcosh", 30.0), ("quartic", 0.01)):
        x, sample = np.array([far, 0.0]), SAMPLES[name]
        assert sample.grad(x) @ sample.grad(x) / (2 * 0.1) < sample.f(x) or sample.f(x) < 0.1 / 2 * x @ x


@pytest.mark.claim("optim.strong-convexity")
def test_the_smallest_value_lies_within_the_radius_of_the_proof():
    for shift in np.array([[3.0, -2.0], [0.1, 0.0]]):
        f = lambda x, b=shift: logcosh(TILT @ x) + x @ x / 4 + b @ x  # noqa: E731
        radius = 2 * np.linalg.norm(shift) / 0.5  # the gradient at 0 is the shift
        steps = radius * np.linspace(-2, 2, 201)
        values = np.array([[f(np.array([a, b])) for a in steps] for b in steps])
        j, i = np.unravel_index(values.argmin(), values.shape)
        assert math.hypot(steps[i], steps[j]) <= radius


@pytest.mark.claim("optim.strong-cocoercive")
@those(lambda s: s.mu is not None)
def test_strongly_convex_and_smooth_together_say_more(sample):
    slack = []
    for x, y in PAIRS:
        v, w = y - x, sample.grad(y) - sample.grad(x)
        slack.append((sample.L + sample.mu) * (w @ v) - w @ w - sample.mu * sample.L * (v @ v))
    assert min(slack) >= -1e-11  # values up to 10^3
    if sample.mu == sample.L:
        assert max(slack) <= 1e-11


@pytest.mark.claim("optim.strong-cocoercive")
def test_it_is_tight_at_both_ends_of_a_spectrum_and_not_between():
    L, mu = 5.0, 2.0
    # on an eigenvector with the eigenvalue s: (L + mu) s - s² - mu L = (s - mu)(L - s)
    slack = lambda s: (L + mu) * s - s * s - mu * L  # noqa: E731
    assert slack(mu) == slack(L) == 0 < slack(3.0)
    assert slack(1.9) < 0 and slack(5.1) < 0  # not strongly convex enough, not smooth enough


@pytest.mark.claim("optim.hessian-bounds")
def test_the_curvature_of_small_quadratic_functions_decides():
    grid = GRID[:, :2]
    for a, b, c in product(range(-2, 3), repeat=3):
        S = np.array([[a, b], [b, c]], dtype=float)
        low, high = np.linalg.eigvalsh(S)
        for m in (-2.5, -1.0, 0.5):
            # over a step u, f - m/2 |x|² rises beyond its tangent by u·(S - mI)u / 2; 1e-12 for rounded eigenvectors
            directions = np.concatenate([grid, np.linalg.eigh(S)[1].T])
            gaps = np.einsum("ki,ij,kj->k", directions, S - m * np.eye(2), directions)
            assert bool((gaps >= -1e-12).all()) == bool(low >= m - 1e-12)
        stretched = np.linalg.norm(np.concatenate([grid, np.linalg.eigh(S)[1].T]) @ S, axis=1)
        lengths = np.append(np.linalg.norm(grid, axis=1), [1.0, 1.0])
        for L in (0.5, 1.0, 2.5):
            assert bool((stretched <= L * lengths + 1e-12).all()) == bool(max(-low, high) <= L + 1e-12)


@pytest.mark.claim("optim.hessian-bounds")
def test_the_curvature_that_a_function_reaches_is_its_best_constant():
    # cos has the second slopes -cos in [-1, 1]; log cosh 1 - tanh² in (0, 1]: slopes change by that much, and no less
    h = 1e-4
    for slope, low, high in ((lambda t: -math.sin(t), -1.0, 1.0), (math.tanh, 0.0, 1.0)):
        quotients = [(slope(t + h) - slope(t)) / h for t in np.linspace(-9, 9, 3601)]
        assert low - 1e-8 <= min(quotients) <= low + 1e-3 and high - 1e-3 <= max(quotients) <= high + 1e-8


def test_bad_input_is_refused():
    x = np.ones(2)
    for call in (vector_norm, dual_norm, steepest):
        with pytest.raises(ValueError, match=r"the norm is 1, 2 or math\.inf, got 3"):
            call(x, 3)
    for g in (np.zeros(3), np.array([1.0, math.nan]), np.array([math.inf])):
        with pytest.raises(ValueError, match="only a finite gradient other than zero has a direction"):
            steepest(g, 2)
    with pytest.raises(ValueError, match="the spectral norm needs finite entries"):
        spectral_norm(np.array([[1.0, math.nan]]))
    assert spectral_norm(np.zeros((0, 3))) == 0.0


def test_a_direction_survives_extreme_sizes():
    for size in (1e-320, 1e-200, 1e200):
        np.testing.assert_allclose(steepest(np.array([3.0, 4.0]) * size, 2), [-0.6, -0.8], rtol=1e-3)  # few digits
