"""Mirrors src/fp_autograd/linear_algebra.py."""

from itertools import pairwise, product

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fp_autograd.linear_algebra import matrix_of, numerical_jacobian, product_cost, transpose_gap

rng = np.random.default_rng(0)
moderate = st.floats(-10, 10)


def whole(*shape):
    """Whole numbers as floats: products of these are exact."""
    return rng.integers(-9, 10, shape).astype(float)


@pytest.mark.claim("autograd.cauchy-schwarz")
def test_cauchy_schwarz_on_every_pair_of_small_vectors():
    vectors = list(product(range(-2, 3), repeat=3))
    for u in vectors:
        for v in vectors:
            dot, uu, vv = (sum(a * b for a, b in zip(*pair, strict=True)) for pair in ((u, v), (u, u), (v, v)))
            parallel = all(u[i] * v[j] == u[j] * v[i] for i in range(3) for j in range(i))
            assert dot**2 <= uu * vv  # whole numbers: no rounding
            assert (dot**2 == uu * vv) == parallel


@pytest.mark.claim("autograd.cauchy-schwarz")
@given(hnp.arrays(float, 5, elements=moderate), hnp.arrays(float, 5, elements=moderate))
def test_no_side_of_a_triangle_is_longer_than_the_other_two_together(u, v):
    # 1e-12: a few roundings of lengths up to 45
    assert np.linalg.norm(u + v) <= np.linalg.norm(u) + np.linalg.norm(v) + 1e-12


@pytest.mark.claim("autograd.linear-map-matrix")
def test_the_columns_of_a_linear_map_are_the_images_of_the_unit_vectors():
    A = whole(3, 5)

    def procedure(v):
        return np.array([sum(A[i, j] * v[j] for j in range(5)) for i in range(3)])

    found = matrix_of(procedure, 5)
    assert np.array_equal(found, A)
    for _ in range(20):
        v = whole(5)
        assert np.array_equal(found @ v, procedure(v))
        other = found.copy()
        other[rng.integers(3), rng.integers(5)] += 1
        assert any(not np.array_equal(other @ e, procedure(e)) for e in np.eye(5))


@pytest.mark.claim("autograd.linear-map-matrix")
def test_a_map_that_is_not_linear_is_not_its_matrix():
    assert not np.array_equal(matrix_of(np.abs, 2) @ np.array([-1.0, 1.0]), np.abs(np.array([-1.0, 1.0])))


@pytest.mark.claim("autograd.matrix-product")
def test_the_matrix_of_a_composition_is_the_sum_of_products():
    A, B, C = whole(2, 3), whole(3, 5), whole(5, 7)
    composed = matrix_of(lambda v: A @ (B @ v), 5)
    by_sums = np.array([[sum(A[i, l] * B[l, j] for l in range(3)) for j in range(5)] for i in range(2)])
    assert np.array_equal(composed, by_sums)
    assert np.array_equal((A @ B) @ C, A @ (B @ C))  # whole numbers: the order of rounding does not matter


@pytest.mark.parametrize("widths", [[2, 3], [2, 3, 5], [1, 3, 5, 7], [7, 5, 3, 2, 1], [2, 1, 3, 1, 5]])
def test_the_cost_of_a_product_counted_multiplication_by_multiplication(widths):
    def count(shapes):
        total, (rows, width) = 0, shapes[0]
        for _, columns in shapes[1:]:
            total += sum(1 for _ in range(rows) for _ in range(width) for _ in range(columns))
            width = columns
        return total

    shapes = list(pairwise(widths))
    assert product_cost(widths, "left") == count(shapes)
    assert product_cost(widths, "right") == count([(b, a) for a, b in shapes[::-1]])


@pytest.mark.claim("autograd.transpose")
def test_exactly_one_matrix_of_zeros_and_ones_satisfies_the_identity():
    def satisfies(J, T):
        return all(
            np.dot(g, J @ v) == np.dot(T @ g, v)
            for g in np.array(list(product((-1, 0, 2), repeat=2)))
            for v in np.array(list(product((-1, 0, 2), repeat=3)))
        )

    for entries in ((1, 0, 1, 0, 0, 1), (0, 1, 1, 1, 0, 0), (1, 1, 0, 1, 0, 1)):
        J = np.array(entries).reshape(2, 3)
        found = [T for T in (np.array(t).reshape(3, 2) for t in product((0, 1), repeat=6)) if satisfies(J, T)]
        assert len(found) == 1
        assert all(found[0][j, i] == J[i, j] for i in range(2) for j in range(3))


@pytest.mark.claim("autograd.transpose")
def test_the_transpose_of_a_product_is_the_product_of_the_transposes_in_reverse():
    A, B = whole(2, 3), whole(3, 5)
    for _ in range(10):
        g, v = whole(2), whole(5)
        assert np.dot(g, A @ (B @ v)) == np.dot(B.T @ (A.T @ g), v)  # whole numbers: exact
    assert np.array_equal((A @ B).T, B.T @ A.T)


def test_a_frobenius_norm_bounds_what_a_matrix_does_to_lengths():
    for _ in range(100):
        A, v = whole(3, 5), whole(5)
        assert np.linalg.norm(A @ v) <= np.sqrt((A**2).sum()) * np.linalg.norm(v) * (1 + 1e-14)  # (E4); roundings


def warp(x):
    """From three numbers to two, bent enough that no derivative is constant."""
    return np.array([np.sin(x[0]) * x[1] + x[2] ** 2, np.exp(x[0] * x[2]) / (1 + x[1] ** 2)])


def warp_jacobian(x):
    e, d = np.exp(x[0] * x[2]), 1 + x[1] ** 2
    return np.array(
        [
            [np.cos(x[0]) * x[1], np.sin(x[0]), 2 * x[2]],
            [x[2] * e / d, -2 * x[1] * e / d**2, x[0] * e / d],
        ]
    )


def bend(y):
    """From two numbers to five."""
    return np.array([y[0] * y[1], np.tanh(y[0]), y[1] ** 3, np.cos(y[0] - y[1]), y[0]])


@pytest.mark.claim("autograd.jacobian")
def test_the_jacobian_holds_the_partial_derivatives_and_its_remainder_vanishes_faster_than_any_step():
    x = np.array([0.3, -0.7, 0.5])
    J = warp_jacobian(x)
    # ten digits, see RELATIVE_STEP: values, derivatives and third derivatives are near one here
    assert numerical_jacobian(warp, x) == pytest.approx(J, abs=1e-9)
    for size in (1e-1, 1e-2, 1e-3):
        directions = [u / np.linalg.norm(u) for u in rng.normal(size=(50, 3))]
        worst = max(np.linalg.norm(warp(x + size * u) - warp(x) - J @ (size * u)) for u in directions)
        # (E5), in all directions at one pace: second derivatives up to 3 make it 3 size^2 and smaller
        assert worst <= 3 * size**2
        # and no other matrix does: a change of an entry by 1 leaves a remainder of the size of the step
        other = J + np.eye(2, 3)
        worst = max(np.linalg.norm(warp(x + size * u) - warp(x) - other @ (size * u)) for u in directions)
        assert worst >= size / 2


@pytest.mark.claim("autograd.jacobian")
def test_partial_derivatives_alone_do_not_make_a_function_differentiable():
    def f(x, y):
        return x * y / (x * x + y * y) if (x, y) != (0.0, 0.0) else 0.0

    assert all(f(h, 0.0) == f(0.0, h) == 0.0 for h in (1e-1, 1e-5, 1e-9))  # both partial derivatives are zero
    assert all(f(h, h) == pytest.approx(0.5) for h in (1e-1, 1e-5, 1e-9))  # yet the value does not tend to f(0, 0)


@pytest.mark.claim("autograd.jacobian-chain")
@given(hnp.arrays(float, 3, elements=st.floats(-1, 1)))
def test_the_jacobian_of_a_composition_is_the_product_of_the_jacobians(x):
    whole_path = numerical_jacobian(lambda v: bend(warp(v)), x)
    # 1e-7: values of up to 50 and third derivatives up to 1e3 multiply the squared step of 4e-11
    assert whole_path == pytest.approx(numerical_jacobian(bend, warp(x)) @ warp_jacobian(x), abs=1e-7)


@pytest.mark.claim("autograd.jacobian-chain")
def test_the_chain_rule_for_vectors_symbolically():
    a, b, c = sympy.symbols("a b c")
    g = sympy.Matrix([sympy.sin(a) * b, a + b * c, sympy.exp(c)])
    y = sympy.symbols("y0:3")
    f = sympy.Matrix([y[0] * y[1] * y[2], y[0] ** 2 - y[2]])
    composed = f.subs(dict(zip(y, g, strict=True)), simultaneous=True)
    product_of_both = f.jacobian(y).subs(dict(zip(y, g, strict=True)), simultaneous=True) * g.jacobian([a, b, c])
    assert sympy.simplify(composed.jacobian([a, b, c]) - product_of_both) == sympy.zeros(2, 3)


@pytest.mark.claim("autograd.vjp-chain")
def test_products_with_a_composition_take_its_parts_in_order_and_in_reverse():
    x = np.array([0.3, -0.7, 0.5])
    J_g, J_f = warp_jacobian(x), numerical_jacobian(bend, warp(x))
    J = numerical_jacobian(lambda v: bend(warp(v)), x)
    # 1e-8: two numerical Jacobians with nine digits
    assert matrix_of(lambda v: J_f @ (J_g @ v), 3) == pytest.approx(J, abs=1e-8)
    assert matrix_of(lambda g: J_g.T @ (J_f.T @ g), 5) == pytest.approx(J.T, abs=1e-8)
    # roundings of sums of at most five products
    assert transpose_gap(lambda v: J_f @ (J_g @ v), lambda g: J_g.T @ (J_f.T @ g), whole(3), whole(5)) < 1e-15


@pytest.mark.claim("autograd.vjp-chain")
@pytest.mark.parametrize("n", [2, 3, 5])
def test_fewer_products_than_variables_leave_the_jacobian_undetermined(n):
    used = whole(n - 1, n)
    w = np.linalg.svd(used)[2][-1]  # of length one, orthogonal to all of them
    J = whole(2, n)
    other = J + np.outer([1.0, 0.0], w)
    assert all(np.allclose(J @ v, other @ v, atol=1e-13) for v in used)  # whole numbers below 100, a few roundings
    assert not np.allclose(J, other, atol=0.1)
    assert np.array_equal(matrix_of(lambda v: J @ v, n), J)  # n products determine it


@pytest.mark.claim("autograd.steepest-ascent")
@given(hnp.arrays(float, 3, elements=st.floats(-1, 1)))
def test_no_direction_rises_faster_than_the_gradient(x):
    gradient = warp_jacobian(x)[1]
    length = np.linalg.norm(gradient)
    if length < 1e-3:
        return

    def rise(u):
        return float((warp(x + 1e-6 * u)[1] - warp(x - 1e-6 * u)[1]) / 2e-6)

    # 1e-8: differences with that step of values below three
    assert rise(gradient / length) == pytest.approx(length, abs=1e-8)
    for _ in range(20):
        u = rng.normal(size=3)
        u /= np.linalg.norm(u)
        # by |u - u*|^2 = 2 - 2 cos, the loss is half the squared distance of the directions times the length
        apart = np.sum((u - gradient / length) ** 2)
        assert rise(u) == pytest.approx(length * (1 - apart / 2), abs=1e-8)
        assert rise(u) < length - length * apart / 2 + 1e-8


@pytest.mark.claim("autograd.trace-gradient")
def test_traces_and_their_gradients():
    A, B, X, G = whole(2, 3), whole(5, 7), whole(3, 5), whole(2, 7)
    C = whole(3, 2)
    assert np.trace(A @ C) == np.trace(C @ A)
    dX = whole(3, 5)
    assert np.sum(G * (A @ dX @ B)) == np.sum((A.T @ G @ B.T) * dX)  # (E7) in whole numbers: exact
    D = whole(7, 2)  # makes A X B D square, with B D for B
    f = numerical_jacobian(lambda v: np.array([np.trace(A @ v.reshape(3, 5) @ B @ D)]), X.ravel())
    # 1e-5: values up to 1e5 are rounded at 1e-11, and the step is 1e-5 or more; no third derivative
    assert f.reshape(3, 5) == pytest.approx(A.T @ (B @ D).T, abs=1e-5)
    S = whole(3, 3)
    f = numerical_jacobian(lambda v: np.array([np.trace(v.reshape(3, 5).T @ S @ v.reshape(3, 5))]), X.ravel())
    assert f.reshape(3, 5) == pytest.approx((S + S.T) @ X, abs=1e-5)


def test_bad_input_is_answered_with_a_sentence(shapes_unchecked):
    with pytest.raises(ValueError, match="at least one column, got n=0"):
        matrix_of(lambda v: v, 0)
    with pytest.raises(ValueError, match=r"\(2,\) from the JVP"):
        transpose_gap(lambda v: v[:2], lambda g: g, np.ones(3), np.ones(3))
    for widths in ([3], [3, 0]):
        with pytest.raises(ValueError, match="two positive widths"):
            product_cost(widths, "left")
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="along variable 1"):
        numerical_jacobian(lambda x: np.array([x[0], np.sqrt(x[1])]), np.array([1.0, 0.0]))


def test_wrong_shapes_are_caught_while_the_tests_run():
    with pytest.raises(Exception, match="Type-check error"):
        numerical_jacobian(lambda x: x, np.ones((2, 3)))
