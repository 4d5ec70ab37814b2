"""Mirrors src/fp_dynamics/stability.py."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_autograd.functional import hvp
from fp_autograd.tensor import no_grad
from fp_autograd.tracing import value_of
from fp_dynamics.stability import sharpness, step_curvature
from fp_neural.losses import cross_entropy

CURVATURES = [Fraction(n, 3) for n in (-7, -2, 1, 4, 6, 9)]


@pytest.mark.claim("dynamics.step-stability")
@pytest.mark.parametrize("curvature", CURVATURES)
def test_convergence_in_exact_numbers(curvature):
    goal = Fraction(5, 2)
    for product in [Fraction(n, 4) for n in range(-6, 15) if n != 0]:  # eta * lambda
        lr, w = product / curvature, goal + 1
        path = [w]
        for _ in range(40):
            w -= lr * curvature * (w - goal)
            path.append(w)
        errors = [w - goal for w in path]
        assert errors[7] == (1 - product) ** 7 * errors[0]
        sizes = [abs(e) for e in errors]
        if 0 < product < 2:
            assert sizes[-1] < Fraction(1, 1000)
            signs = {e > 0 for e in errors if e}
            assert len(signs) == (1 if product <= 1 else 2)
            assert product != 1 or errors[1] == 0
        elif product == 2:
            assert path[::2] == [goal + 1] * 21 and path[1::2] == [2 * goal - path[0]] * 20
        else:
            assert sizes[-1] > 1000 and all(a < b for a, b in pairwise(sizes))
            assert all((a > 0) != (b > 0) for a, b in pairwise(errors)) == (product > 2)


@pytest.mark.claim("dynamics.step-change")
@given(st.integers(0, 1000))
def test_the_change_of_a_step_on_a_quadratic(seed):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(3, 3))
    S, x, lr = (A + A.T) / 2, rng.normal(size=3), rng.uniform(0.05, 2)  # saddles among them

    def f(x):
        return 0.5 * x @ S @ x

    g = S @ x
    rho = g @ S @ g / (g @ g)
    change = f(x) - f(x - lr * g)
    # a quadratic of numbers near one, computed twice in float64
    assert change == pytest.approx(lr * (g @ g) * (1 - lr * rho / 2), rel=1e-8, abs=1e-9)
    assert abs(lr * rho - 2) < 1e-6 or (change > 0) == (lr * rho < 2)
    assert step_curvature(f(x), f(x - lr * g), np.linalg.norm(g), lr) == pytest.approx(rho, rel=1e-6, abs=1e-6)
    values = np.linalg.eigvalsh(S)
    assert values[0] - 1e-9 <= rho <= values[-1] + 1e-9
    if rho > 0.1:
        best = min(np.linspace(0.5 / rho, 2 / rho, 7), key=lambda lr: f(x - lr * g))
        assert best == pytest.approx(1 / rho, rel=1e-9)


@pytest.mark.claim("dynamics.scaled-stability")
def test_scaled_steps_converge_exactly_within_the_limit():
    rng, d = np.random.default_rng(0), np.array([0.25, 1.0, 2.0])

    def left(S, lr):
        """What is left of the worst start after 2000 steps."""
        return np.abs(np.linalg.matrix_power(np.eye(3) - lr * S / d[:, None], 2000)).max()

    A = rng.normal(size=(3, 3))
    S = A @ A.T + np.eye(3)
    mu = np.linalg.eigvalsh(S / np.sqrt(np.outer(d, d)))
    assert abs(mu[-1] / np.linalg.eigvalsh(S)[-1] - 1) > 0.2  # the scale has moved the limit
    assert max(left(S, share * 2 / mu[-1]) for share in (0.1, 0.98)) < 1e-6
    assert min(left(S, share * 2 / mu[-1]) for share in (1.02, 1.1, -0.1)) > 1e6
    flat = A[:, :2] @ A[:, :2].T
    mu = np.linalg.eigvalsh(flat / np.sqrt(np.outer(d, d)))
    assert 1e-3 < left(flat, 1 / mu[-1]) < 1e3  # what lies along an eigenvalue of zero stays
    assert left(np.diag([1.0, 1.0, -0.1]), 0.2) > 1e6  # a saddle


def test_the_steepest_curvature_of_a_matrix():
    for seed in range(2):
        A = np.random.default_rng(seed).normal(size=(5, 5))
        S = A + A.T
        values = np.linalg.eigvalsh(S)
        largest = max(values, key=abs)
        f = lambda x, S=S: 0.5 * (x * (x @ S)).sum()  # noqa: E731
        found = sharpness(f, np.zeros(5), rng=np.random.default_rng(9), n_iterations=100, tolerance=1e-6)
        assert found == pytest.approx(largest, rel=1e-3)  # the power method stops within about its tolerance / gap


def test_the_steepest_curvature_of_a_model_is_that_of_its_hessian(small, batch):
    model, (ids, targets) = small(n_layers=1, d_model=4), batch
    state = {"norm.weight": model.state_dict()["norm.weight"]}

    def f(state):
        return cross_entropy(model.functional(state, ids), targets)

    with no_grad():
        columns = [value_of(hvp(f)(state, {"norm.weight": e})["norm.weight"]) for e in np.eye(4)]
    largest = max(np.linalg.eigvalsh(np.array(columns)), key=abs)
    found = sharpness(f, state, rng=np.random.default_rng(0), tolerance=1e-8)
    assert found == pytest.approx(largest, rel=1e-3)  # as above


def test_a_flat_function_has_no_curvature():
    assert sharpness(lambda x: (3.0 * x).sum(), np.ones(3), rng=np.random.default_rng(0)) == 0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="rate and gradient have to be positive, got lr=0 and grad_norm=1"):
        step_curvature(1.0, 1.0, 1, 0)
    with pytest.raises(ValueError, match="n_iterations is at least 1, got 0"):
        sharpness(lambda x: x.sum(), np.ones(2), rng=np.random.default_rng(0), n_iterations=0)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="the Hessian is not finite here"):
        sharpness(lambda x: (x * x * np.inf).sum(), np.ones(2), rng=np.random.default_rng(0))
