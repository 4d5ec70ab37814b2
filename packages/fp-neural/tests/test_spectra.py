"""Mirrors src/fp_neural/spectra.py."""

from itertools import combinations, pairwise, product

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fp_neural import spectra
from fp_neural.spectra import eigh_jacobi, orthonormalize, svd

rng = np.random.default_rng(0)
START = rng.bit_generator.state
EPS = np.finfo(float).eps
small = st.integers(-3, 3)


@pytest.fixture(autouse=True)
def same_numbers():
    """Each test draws the same numbers, whichever ran before."""
    rng.bit_generator.state = START


def whole(*shape):
    """Whole numbers as floats: products of these are exact."""
    return rng.integers(-9, 10, shape).astype(float)


def symmetric(n):
    S = rng.normal(size=(n, n))
    return S + S.T


def orthonormal(n, k):
    return np.linalg.qr(rng.normal(size=(n, k)))[0]


def whole_matrices(rows, columns):
    """Matrices of small whole numbers: many are singular, many have equal eigenvalues."""
    shapes = st.tuples(st.integers(1, rows), st.integers(1, columns))
    return shapes.flatmap(lambda shape: hnp.arrays(float, shape, elements=small.map(float)))


def unit_vectors(n, k=200):
    u = rng.normal(size=(k, n))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


@pytest.mark.claim("neural.pythagoras")
def test_squared_lengths_add_exactly_at_right_angles():
    vectors = np.array(list(product(range(-2, 3), repeat=3)))
    lengths = (vectors**2).sum(1)
    for u in vectors:
        sums = ((vectors + u) ** 2).sum(1)  # whole numbers: no rounding
        assert np.array_equal(sums == lengths + u @ u, vectors @ u == 0)


@pytest.mark.claim("neural.pythagoras")
def test_the_length_of_a_combination_of_an_orthonormal_list():
    Q = np.array([[2, -2, 1], [1, 2, 2], [2, 1, -2]]) / 3
    for a in product(range(-2, 3), repeat=3):
        # 1e-14: thirds are rounded
        assert np.sum((Q @ a) ** 2) == pytest.approx(np.sum(np.square(a)), abs=1e-14)


@pytest.mark.claim("neural.projection")
@given(whole_matrices(5, 3))
def test_a_projection_is_the_nearest_point_of_a_span(A):
    Q = orthonormalize(A)
    x = whole(len(A))
    Px = Q @ (Q.T @ x)
    assert np.abs(A.T @ (x - Px)).max() < 1e-12  # lengths up to 20, a few roundings
    # least squares of LAPACK: another way to the nearest point
    assert A @ np.linalg.lstsq(A, x, rcond=1e-10)[0] == pytest.approx(Px, abs=1e-11)
    assert np.sum(Px**2) == pytest.approx(np.sum((Q.T @ x) ** 2), abs=1e-11)
    assert np.sum(Px**2) == pytest.approx(np.sum(x**2) - np.sum((x - Px) ** 2), abs=1e-11)
    for _ in range(10):
        s = A @ whole(A.shape[1])
        apart = np.sum((s - Px) ** 2)
        assert np.sum((x - s) ** 2) == pytest.approx(np.sum((x - Px) ** 2) + apart, abs=1e-9)  # squares up to 1e4
    P = Q @ Q.T
    assert pytest.approx(P, abs=1e-14) == P @ P


@pytest.mark.claim("neural.gram-schmidt")
@given(whole_matrices(5, 5))
def test_orthonormal_vectors_span_what_the_columns_span_so_far(A):
    ranks = [sympy.Matrix(A[:, :j].astype(int)).rank() for j in range(1, A.shape[1] + 1)]  # exact
    for j, rank in enumerate(ranks, 1):
        Q = orthonormalize(A[:, :j])
        assert Q.shape == (len(A), rank)
        assert pytest.approx(np.eye(rank), abs=1e-14) == Q.T @ Q
        assert Q @ (Q.T @ A[:, :j]) == pytest.approx(A[:, :j], abs=1e-13)  # entries up to 3
        assert np.array_equal(Q, orthonormalize(A)[:, :rank])  # later columns change nothing


@pytest.mark.claim("neural.gram-schmidt")
def test_gram_schmidt_without_rounding():
    for entries in ([[1, 1, 0], [1, 0, 1], [0, 1, 1]], [[2, 4, 1], [0, 0, 3], [1, 2, 0]], [[3, 1, 2], [1, 1, 1]]):
        A = sympy.Matrix(entries)
        found = []
        for j in range(A.cols):
            w = A[:, j] - sum((q * q.dot(A[:, j]) for q in found), sympy.zeros(A.rows, 1))
            if any(w):
                found.append(w / w.norm())
        exact = sympy.Matrix.hstack(*found)
        assert sympy.simplify(exact.T * exact) == sympy.eye(len(found))
        assert orthonormalize(np.array(entries, float)) == pytest.approx(np.array(exact, float), abs=1e-14)


@pytest.mark.claim("neural.orthonormal-basis")
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_an_orthonormal_list_can_be_extended_to_n_vectors_and_no_further(n):
    for k in range(n + 1):
        Q = orthonormal(n, k)
        extended = orthonormalize(np.hstack([Q, np.eye(n)]))
        assert extended.shape == (n, n)
        assert extended[:, :k] == pytest.approx(Q, abs=1e-14)
        assert extended @ extended.T == pytest.approx(np.eye(n), abs=1e-14)
        assert orthonormalize(np.hstack([extended, whole(n, 3)])).shape == (n, n)
        S = Q @ rng.normal(size=(k, 7))  # vectors of the span, in whatever order
        assert orthonormalize(S).shape[1] == orthonormalize(S[:, ::-1]).shape[1] == k


@pytest.mark.claim("neural.orthogonal-matrix")
def test_the_three_conditions_agree_on_every_small_matrix():
    vectors = np.array(list(product((-1, 0, 1), repeat=3))).T
    lengths = (vectors**2).sum(0)
    orthogonal = 0
    for entries in product((-1, 0, 1), repeat=9):
        Q = np.array(entries).reshape(3, 3)
        columns = np.array_equal(Q.T @ Q, np.eye(3))
        assert columns == np.array_equal(Q @ Q.T, np.eye(3))
        assert columns == np.array_equal(((Q @ vectors) ** 2).sum(0), lengths)
        orthogonal += columns
    assert orthogonal == 6 * 8  # permutations with signs


@pytest.mark.claim("neural.orthogonal-matrix")
def test_orthogonal_matrices_keep_products_and_norms():
    for n in (2, 3, 5):
        Q, A, B = orthonormal(n, n), whole(n, 7), whole(7, n)
        assert pytest.approx(A.T @ A, abs=1e-11) == (Q @ A).T @ (Q @ A)  # products up to 400
        assert np.linalg.norm(Q @ A) == pytest.approx(np.linalg.norm(A), rel=1e-14)
        assert np.linalg.norm(B @ Q) == pytest.approx(np.linalg.norm(B), rel=1e-14)


@pytest.mark.claim("neural.maximum")
def test_bisection_as_in_the_proof_ends_at_a_largest_value():
    def inside(points, corner, side):
        return points[((points >= corner) & (points <= corner + side)).all(1)]

    # a finite set is closed and bounded, and every function on it is continuous
    for _ in range(50):
        K = rng.integers(0, 64, (40, 2)) / 64
        K = np.unique(K, axis=0)
        values = {tuple(point): value for point, value in zip(K, rng.integers(0, 9, len(K)), strict=True)}
        best = max(values.values())

        def reaches_up(part, values=values, best=best):
            return any(values[tuple(point)] >= best for point in part)

        corner, side = np.zeros(2), 1.0
        for _ in range(8):
            side /= 2
            quarters = [corner + side * np.array(shift) for shift in product((0, 1), repeat=2)]
            assert any(reaches_up(inside(K, quarter, side)) for quarter in quarters)
            corner = next(quarter for quarter in quarters if reaches_up(inside(K, quarter, side)))
        (c,) = inside(K, corner, side)  # the side is now smaller than the distances
        assert values[tuple(c)] == best


@pytest.mark.claim("neural.maximum")
def test_a_form_on_the_circle_comes_as_near_to_its_largest_value_as_asked():
    S = np.array([[2.0, 1.0], [1.0, -1.0]])
    largest = (1 + np.sqrt(13)) / 2  # of x^2 - x - 3, its characteristic equation
    for n in (10, 100, 1000):
        angle = 2 * np.pi * np.arange(n) / n
        v = np.stack([np.cos(angle), np.sin(angle)])
        reached = (v * (S @ v)).sum(0).max()
        # along the angle the form is a cosine of twice the angle with half the spread of the eigenvalues
        assert largest - np.sqrt(13) * (np.pi / n) ** 2 - 1e-14 <= reached <= largest + 1e-14


@pytest.mark.claim("neural.rayleigh")
@pytest.mark.parametrize("n", [2, 3, 5])
def test_where_the_quotient_is_largest_there_is_an_eigenvector(n):
    S = symmetric(n)
    values, vectors = np.linalg.eigh(S)
    W = vectors[:, rng.permutation(n)[: n - 1]]  # a subspace that S maps into itself
    v = W @ rng.normal(size=n - 1)

    def quotient(x):
        return x @ S @ x / (x @ x)

    for _ in range(20_000):  # climbs by shifted multiplications, the shift makes all eigenvalues positive
        v = S @ v + np.linalg.norm(S) * v
        v /= np.linalg.norm(v)
    assert np.abs(S @ v - quotient(v) * v).max() < 1e-7
    # 1e-7: so many steps shrink the rest by more, but rounding leaves W by 1e-16 a step and that part grows
    assert all(quotient(W @ u) <= quotient(v) + 1e-7 for u in unit_vectors(n - 1))
    assert np.abs(values - quotient(v)).min() < 1e-7


@pytest.mark.claim("neural.rayleigh")
def test_without_symmetry_the_largest_quotient_need_not_be_an_eigenvalue():
    S = np.array([[0.0, 1.0], [0.0, 0.0]])  # its only eigenvalue is zero
    assert max(v @ S @ v for v in unit_vectors(2)) > 0.49


@pytest.mark.claim("neural.spectral-theorem")
@given(whole_matrices(6, 6))
def test_a_symmetric_matrix_is_diagonal_along_orthonormal_directions(A):
    S = A.T @ A - A.sum() * np.eye(A.shape[1])  # whole numbers, often equal eigenvalues
    values, Q = eigh_jacobi(S)
    size = 1 + np.linalg.norm(S)
    assert pytest.approx(np.eye(len(S)), abs=1e-13) == Q.T @ Q
    assert pytest.approx(Q * values, abs=1e-13 * size) == S @ Q  # roundings of a few sweeps
    assert (Q * values) @ Q.T == pytest.approx(S, abs=1e-13 * size)
    assert (np.diff(values) <= 0).all()
    assert values == pytest.approx(np.linalg.eigvalsh(S)[::-1], abs=1e-13 * size)


@pytest.mark.claim("neural.spectral-theorem")
def test_eigenvalues_by_hand_and_by_algebra():
    values, Q = eigh_jacobi(np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]]))
    assert values == pytest.approx([2 + np.sqrt(2), 2, 2 - np.sqrt(2)], abs=1e-14)
    assert np.abs(Q[:, 1]) == pytest.approx([np.sqrt(0.5), 0, np.sqrt(0.5)], abs=1e-14)
    for a, b, d in product(range(-2, 3), repeat=3):
        S = sympy.Matrix([[a, b], [b, d]])
        exact = sorted((float(x) for x, m in S.eigenvals().items() for _ in range(m)), reverse=True)
        assert eigh_jacobi(np.array(S, float))[0] == pytest.approx(exact, abs=1e-14)


@pytest.mark.claim("neural.spectral-theorem")
def test_the_eigenvalues_do_not_depend_on_the_basis_in_which_the_matrix_is_written():
    S = np.diag([3.0, 3.0, 1.0, -2.0, -2.0])
    for _ in range(5):
        turn = orthonormal(5, 5)
        values, Q = eigh_jacobi(turn @ S @ turn.T)
        assert values == pytest.approx([3, 3, 1, -2, -2], abs=1e-13)
        # an eigenvector of 3 is a combination of the two columns of `turn` that belong to 3
        assert turn[:, :2] @ (turn[:, :2].T @ Q[:, :2]) == pytest.approx(Q[:, :2], abs=1e-13)


@pytest.mark.claim("neural.eigenvalue-sums")
@given(whole_matrices(6, 6))
def test_the_eigenvalues_sum_to_the_trace_and_their_squares_to_the_squared_norm(A):
    S = A @ A.T - 2 * np.eye(len(A))
    values = eigh_jacobi(S)[0]
    size = 1 + np.linalg.norm(S)
    assert values.sum() == pytest.approx(np.trace(S), abs=1e-13 * size)
    assert (values**2).sum() == pytest.approx((S**2).sum(), abs=1e-13 * size**2)


@pytest.mark.claim("neural.semidefinite")
def test_three_ways_to_say_positive_semidefinite_agree_on_every_small_matrix():
    vectors = np.array(list(product(range(-3, 4), repeat=2))).T
    for a, b, d in product(range(-3, 4), repeat=3):
        S = np.array([[a, b], [b, d]], float)
        form = ((vectors * (S @ vectors)).sum(0) >= 0).all()  # -b and a, -d and b are among the vectors
        values, Q = eigh_jacobi(S)
        assert form == (values[-1] >= -1e-14)  # a zero comes out as a rounding
        if form:
            root = np.sqrt(np.maximum(values, 0))[:, None] * Q.T
            assert root.T @ root == pytest.approx(S, abs=1e-14)
    for _ in range(20):
        A = whole(2, 3)
        assert eigh_jacobi(A.T @ A)[0][-1] >= -1e-12  # squares up to 500


@pytest.mark.claim("neural.top-eigenvalues")
@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_no_orthonormal_list_collects_more_than_the_top_eigenvalues(n):
    for S in (symmetric(n), -np.eye(n), np.diag(-np.arange(n, dtype=float))):
        values, Q = eigh_jacobi(S)
        for k in range(1, n + 1):
            top = values[:k].sum()
            assert np.trace(Q[:, :k].T @ S @ Q[:, :k]) == pytest.approx(top, abs=1e-13 * n)
            for _ in range(30):
                U = orthonormal(n, k)
                assert np.trace(U.T @ S @ U) <= top + 1e-13 * n
            # near the best ones too
            U = np.linalg.qr(Q[:, :k] + 1e-3 * rng.normal(size=(n, k)))[0]
            assert np.trace(U.T @ S @ U) <= top + 1e-13 * n


@pytest.mark.claim("neural.weyl")
@given(hnp.arrays(float, (4, 4), elements=small.map(float)), hnp.arrays(float, (4, 4), elements=small.map(float)))
def test_eigenvalues_move_no_farther_than_the_matrix(A, B):
    S, E = A + A.T, (B + B.T) / 7
    moved = np.abs(eigh_jacobi(S + E)[0] - eigh_jacobi(S)[0])
    assert moved.max() <= np.linalg.norm(E) + 1e-12  # entries up to 10, a few roundings


@pytest.mark.claim("neural.svd")
@given(whole_matrices(6, 6))
def test_every_matrix_has_singular_values(A):
    U, sigma, V = svd(A)
    m, n = A.shape
    k, size = min(m, n), 1 + np.linalg.norm(A)
    assert U.shape == (m, k) and sigma.shape == (k,) and V.shape == (n, k)
    assert pytest.approx(np.eye(k), abs=1e-13) == U.T @ U
    assert pytest.approx(np.eye(k), abs=1e-13) == V.T @ V
    assert (U * sigma) @ V.T == pytest.approx(A, abs=1e-13 * size)
    assert (np.diff(sigma) <= 0).all()
    assert sigma == pytest.approx(np.linalg.svd(A, compute_uv=False), abs=1e-13 * size)
    assert (sigma > 0).sum() == sympy.Matrix(A.astype(int)).rank()  # exact
    # squares: eigenvalues of both products; norms
    assert sigma**2 == pytest.approx(eigh_jacobi(A.T @ A)[0][:k], abs=1e-13 * size**2)
    assert sigma**2 == pytest.approx(eigh_jacobi(A @ A.T)[0][:k], abs=1e-13 * size**2)
    assert (sigma**2).sum() == pytest.approx((A**2).sum(), rel=1e-13)
    assert all(np.linalg.norm(A @ v) <= sigma[0] + 1e-13 * size for v in unit_vectors(n, 20))
    assert np.linalg.norm(A @ V[:, 0]) == pytest.approx(sigma[0], abs=1e-13 * size)


@pytest.mark.claim("neural.eckart-young")
@pytest.mark.parametrize("shape", [(3, 5), (7, 5), (5, 5)])
def test_no_matrix_of_low_rank_is_nearer_than_the_cut_sum(shape):
    A = whole(*shape)
    U, sigma, V = svd(A)
    for k in range(len(sigma)):
        cut = (U[:, :k] * sigma[:k]) @ V[:, :k].T
        error = np.linalg.norm(A - cut)
        assert error**2 == pytest.approx((sigma[k:] ** 2).sum(), rel=1e-12)
        for _ in range(20):
            left, right = rng.normal(size=(shape[0], k)), rng.normal(size=(k, shape[1]))
            assert np.linalg.norm(A - left @ right) >= error
            if k:
                near = (U[:, :k] + 1e-3 * rng.normal(size=(shape[0], k))) * sigma[:k]
                assert np.linalg.norm(A - near @ V[:, :k].T) >= error
                # alternating least squares, from anywhere, comes down to it and no lower
                for _ in range(30):
                    right = np.linalg.lstsq(left, A, rcond=None)[0]
                    left = np.linalg.lstsq(right.T, A.T, rcond=None)[0].T
                assert np.linalg.norm(A - left @ right) >= error - 1e-12 * np.linalg.norm(A)


@pytest.mark.claim("neural.principal-directions")
def test_variances_along_principal_directions():
    X = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5)) + 3
    Y = X - X.mean(0)
    C = np.cov(X.T, bias=True)
    values, Q = eigh_jacobi(C)
    for u in unit_vectors(5):
        assert np.var(X @ u) == pytest.approx(u @ C @ u, rel=1e-12)
    coordinates = Y @ Q
    assert coordinates.T @ coordinates / 40 == pytest.approx(np.diag(values), abs=1e-13 * values[0])
    U, sigma, V = svd(Y)
    assert sigma**2 / 40 == pytest.approx(values, rel=1e-12)
    assert pytest.approx(Q, abs=1e-9) == V  # both with a positive largest entry; eigenvalues are far apart
    assert pytest.approx(U * sigma, abs=1e-12) == Y @ V
    for k in (1, 2, 3):
        for _ in range(50):
            assert np.var(X @ orthonormal(5, k), axis=0).sum() <= values[:k].sum() * (1 + 1e-12)


@pytest.mark.claim("neural.jacobi-rotation")
def test_a_rotation_takes_one_entry_out_symbolically():
    a, b, d, x, y, z, s, c = sympy.symbols("a b d x y z s c", real=True)
    S = sympy.Matrix([[a, b, x], [b, d, y], [x, y, z]])
    J = sympy.Matrix([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    turned = (J.T * S * J).expand()
    t = s / c
    assert sympy.simplify(turned[0, 1] + c**2 * (b * t**2 + (d - a) * t - b)) == 0
    # where that is zero, the rest of the off-diagonal keeps its squares, given c^2 + s^2 = 1
    left = (turned[0, 2] ** 2 + turned[1, 2] ** 2).expand()
    assert sympy.simplify((left - x**2 - y**2).subs(s**2, 1 - c**2).expand()) == 0


def off(S):
    return np.linalg.norm(S - np.diag(np.diag(S)))


@pytest.mark.claim("neural.jacobi-rotation")
def test_a_rotation_takes_twice_the_square_of_its_entry():
    for a, b, d in product((-2.0, -0.5, 0.0, 0.5, 3.0), (-1.0, 1e-3, 2.0), (-2.0, 0.0, 1.0)):
        S = np.array([[a, 1.0, b], [1.0, 2.0, -1.0], [b, -1.0, d]])
        c, s = spectra._rotation(np.array([d - a]), np.array([b]))
        assert abs(s / c) <= 1 + EPS  # the smaller root
        J = np.array([[c[0], 0, s[0]], [0, 1, 0], [-s[0], 0, c[0]]])
        turned = J.T @ S @ J
        assert abs(turned[0, 2]) < 1e-14
        assert off(turned) ** 2 == pytest.approx(off(S) ** 2 - 2 * b**2, abs=1e-13)


@pytest.mark.claim("neural.jacobi")
@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 7])
def test_the_rounds_hold_every_pair_once_and_share_no_coordinate(n):
    rounds = [[(p, q) for p, q in combinations(range(n), 2) if (p + q) % n == k] for k in range(n)]
    assert sorted(pair for pairs in rounds for pair in pairs) == list(combinations(range(n), 2))
    assert all(len({i for pair in pairs for i in pair}) == 2 * len(pairs) for pairs in rounds)


@pytest.mark.claim("neural.jacobi")
@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
def test_a_sweep_takes_the_promised_share_and_the_diagonal_is_that_near(n, monkeypatch):
    S = symmetric(n)
    S /= np.abs(S).max()
    exact = np.linalg.eigvalsh(S)
    seen = []

    def watched(A, *axis):  # the sweeps show their matrices to `diag`
        if A.ndim == 2:
            seen.append(A.copy())
        return np_diag(A, *axis)

    np_diag = np.diag
    with monkeypatch.context() as patch:
        patch.setattr(np, "diag", watched)
        eigh_jacobi(S)
    sweeps = [seen[0]] + [b for a, b in pairwise(seen) if not np.array_equal(a, b)]
    assert len(sweeps) > 1
    for before, after in pairwise(sweeps):
        assert off(after) ** 2 <= (1 - 1 / n) * off(before) ** 2 + EPS**2
        assert np.abs(np.sort(np.diag(after)) - exact).max() <= off(after) + 1e-14 * n


@pytest.mark.claim("neural.one-sided-jacobi")
def test_turning_columns_ends_within_the_bound_where_all_are_nearly_orthogonal(monkeypatch):
    for A in (whole(5, 3), whole(7, 7), np.array([[1.0, 1.0], [0.0, 1e-3]]), np.ones((3, 3)) + 0.1 * whole(3, 3)):
        A = A / np.abs(A).max()
        n, delta, epsilon = A.shape[1], 1e-3, 1e-2
        bound = off(A.T @ A) ** 2 / (2 * delta**4 * epsilon**2)
        W, sweeps, left = A.copy(), 0, off(A.T @ A) ** 2
        while crooked := cosines(W, delta, epsilon):
            sweeps += 1
            weight = {k: sum(v**2 for (p, q), v in crooked.items() if (p + q) % n == k) for k in range(n)}
            for k in sorted(weight, key=weight.get, reverse=True):
                for p, q in [pair for pair in cosines(W, delta, epsilon) if sum(pair) % n == k]:
                    a, b, dot = W[:, p] @ W[:, p], W[:, q] @ W[:, q], W[:, p] @ W[:, q]
                    c, s = spectra._rotation(np.array([b - a]), np.array([dot]))
                    W[:, [p, q]] = W[:, [p, q]] @ np.array([[c[0], s[0]], [-s[0], c[0]]])
                    now = off(W.T @ W) ** 2
                    assert now == pytest.approx(left - 2 * dot**2, abs=1e-12)
                    left = now
        assert sweeps <= bound
        assert np.sort(np.linalg.norm(W, axis=0))[::-1] == pytest.approx(svd(A)[1], abs=0.1)  # epsilon is coarse here


def cosines(W, delta, epsilon):
    """The crooked pairs of columns and the cosines of their angles."""
    lengths = np.linalg.norm(W, axis=0)
    found = {
        (p, q): W[:, p] @ W[:, q] / (lengths[p] * lengths[q])
        for p, q in combinations(range(W.shape[1]), 2)
        if min(lengths[p], lengths[q]) > delta
    }
    return {pair: value for pair, value in found.items() if abs(value) > epsilon}


@pytest.mark.parametrize("n", [1, 2, 17, 64, 65])
def test_large_matrices_agree_with_lapack(n):
    S, A = symmetric(n), rng.normal(size=(n + 3, n))
    values, Q = eigh_jacobi(S)
    # 1e-14 n: roundings of some seven sweeps, which mostly cancel
    assert values == pytest.approx(np.linalg.eigvalsh(S)[::-1], abs=1e-14 * n * np.linalg.norm(S))
    assert pytest.approx(np.eye(n), abs=1e-14 * max(n, 10)) == Q.T @ Q
    for M in (A, A.T):
        U, sigma, V = svd(M)
        assert sigma == pytest.approx(np.linalg.svd(M, compute_uv=False), rel=1e-13, abs=1e-13)
        assert (U * sigma) @ V.T == pytest.approx(M, abs=1e-13 * n)


def test_small_singular_values_keep_their_digits():
    # columns of very different lengths: A^T A would know nothing of the last one
    U, V = orthonormal(6, 3), np.eye(3)
    exact = np.array([1.0, 1e-6, 1e-12])
    A = (U * exact) @ V.T
    assert svd(A)[1] == pytest.approx(exact, rel=1e-12)
    by_squaring = np.sqrt(np.abs(eigh_jacobi(A.T @ A + 0)[0]))
    assert by_squaring[0] == pytest.approx(1, rel=1e-14)


def test_two_projections_keep_right_angles_where_one_loses_them():
    A = np.array([[1 / (i + j + 1) for j in range(8)] for i in range(8)])  # Hilbert's matrix
    once = np.empty((8, 0))
    for v in A.T:
        w = v - once @ (once.T @ v)
        once = np.hstack([once, (w / np.linalg.norm(w))[:, None]])
    twice = orthonormalize(A)
    assert np.abs(twice.T @ twice - np.eye(8)).max() < 1e-14
    assert np.abs(once.T @ once - np.eye(8)).max() > 1e-6


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_neither_huge_nor_tiny_entries_overflow(scale):
    S = np.array([[2.0, 1.0], [1.0, 2.0]]) * scale
    assert eigh_jacobi(S)[0] == pytest.approx(np.array([3.0, 1.0]) * scale, rel=1e-14)
    assert svd(S)[1] == pytest.approx(np.array([3.0, 1.0]) * scale, rel=1e-14)
    assert orthonormalize(S) == pytest.approx(np.array([[2.0, -1.0], [1.0, 2.0]]) / np.sqrt(5), abs=1e-15)


def test_what_rounding_cannot_tell_from_zero_is_zero():
    for _ in range(50):
        left, right = rng.normal(size=(7, 3)), rng.normal(size=(3, 5))
        U, sigma, V = svd(left @ right)
        assert np.array_equal(sigma[3:], [0, 0]) and sigma[2] > 0
        assert pytest.approx(np.eye(5), abs=1e-13) == U.T @ U
        assert pytest.approx(np.eye(5), abs=1e-13) == V.T @ V


def test_zero_diagonal_and_empty_matrices():
    assert np.array_equal(eigh_jacobi(np.zeros((3, 3)))[0], np.zeros(3))
    assert np.array_equal(eigh_jacobi(np.diag([1.0, 5.0, 3.0]))[0], [5, 3, 1])
    U, sigma, V = svd(np.zeros((4, 2)))
    assert np.array_equal(sigma, [0, 0]) and np.array_equal(U.T @ U, np.eye(2)) and np.array_equal(V, np.eye(2))
    assert orthonormalize(np.zeros((3, 2))).shape == (3, 0)
    assert svd(np.zeros((3, 0)))[1].shape == (0,) and eigh_jacobi(np.zeros((0, 0)))[1].shape == (0, 0)


def test_signs_do_not_depend_on_the_signs_of_the_input():
    S = symmetric(5)
    A = whole(5, 3)
    assert (np.take_along_axis(eigh_jacobi(S)[1], np.abs(eigh_jacobi(S)[1]).argmax(0)[None], 0) > 0).all()
    assert svd(-A)[2] == pytest.approx(svd(A)[2], abs=1e-13)
    assert svd(-A)[0] == pytest.approx(-svd(A)[0], abs=1e-13)


def test_single_precision_is_taken_as_it_is_rounded():
    X = rng.normal(size=(50, 7)).astype(np.float32)
    S = X.T @ X
    S[0, 1] = np.nextafter(S[0, 1], np.float32(np.inf))
    values, Q = eigh_jacobi(S)
    assert values.dtype == Q.dtype == np.float64
    assert np.array_equal(values, eigh_jacobi(S.T)[0])  # both halves count
    assert values == pytest.approx(np.linalg.eigvalsh(S.astype(float))[::-1], rel=1e-5)  # the change of one entry
    assert svd(X)[1] == pytest.approx(np.sqrt(values), rel=1e-5)


def test_arguments_are_left_as_they_are():
    S, A = symmetric(5), whole(5, 3)
    copies = S.copy(), A.copy()
    eigh_jacobi(S), svd(A), orthonormalize(A)
    assert np.array_equal(S, copies[0]) and np.array_equal(A, copies[1])


def test_bad_input_is_answered_with_a_sentence(shapes_unchecked):
    with pytest.raises(ValueError, match=r"square matrix, got the shape \(2, 3\)"):
        eigh_jacobi(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"symmetric, got entries that differ .* by up to 2\. Its symmetric part"):
        eigh_jacobi(np.array([[1.0, 3.0], [1.0, 1.0]]))
    for function in (eigh_jacobi, svd, orthonormalize):
        with pytest.raises(ValueError, match="finite, got nan in row 1, column 0"):
            function(np.array([[1.0, 2.0], [np.nan, 1.0]]))
        with pytest.raises(ValueError, match=r"rows and columns, got the shape \(3,\)"):
            function(np.ones(3))


def test_wrong_shapes_are_caught_while_the_tests_run():
    with pytest.raises(Exception, match="Type-check error"):
        eigh_jacobi(np.ones((2, 3)))
