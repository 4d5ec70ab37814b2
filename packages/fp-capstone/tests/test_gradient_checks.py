"""Mirrors src/fp_capstone/gradient_checks.py."""

import inspect
import itertools
import math
import pkgutil
import sys
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

import fp_capstone
from fp_capstone.gradient_checks import STEP, TOLERANCE, backward_passes, differences, gradient_error
from fp_capstone.model import Model
from fp_transformer.config import TransformerConfig

sys.path.append(str(Path(__file__).parents[1] / "figures"))

from _faults import census, faults, planted

CONFIG = TransformerConfig.gpt2(vocab_size=11, context_length=5, n_layers=1, n_heads=2, d_model=6, d_ff=5)


# --- the claims


def extrapolated(values, h):
    """(4 D(h) - D(2h)) / 3, of the values at -2h, -h, h, 2h."""
    D, D2 = (values[2] - values[1]) / (2 * h), (values[3] - values[0]) / (4 * h)
    return (4 * D - D2) / 3


@pytest.mark.claim("capstone.extrapolated-difference")
@pytest.mark.parametrize("coefficients", [(1, 2, 3, 4, 5, 0), (0, -1, 0, 7, 0, 3), (2, 0, 1, -5, 1, -4)])
def test_two_differences_are_as_close_as_the_claim_says_whatever_the_errors_of_the_values(coefficients):
    # exact: polynomials of degree five have the constant fifth slope 120 c5, and fractions round nothing
    M, delta = 120 * abs(coefficients[5]), Fraction(1, 1000)
    for h in (Fraction(1, 3), Fraction(1, 50)):
        values = [sum(c * (t * h) ** k for k, c in enumerate(coefficients)) for t in (-2, -1, 1, 2)]
        errors = []
        for signs in itertools.product((-1, 1), repeat=4):
            moved = [v + s * delta for v, s in zip(values, signs, strict=True)]
            errors.append(abs(extrapolated(moved, h) - coefficients[1]))
        assert max(errors) <= M * h**4 / 18 + 3 * delta / (2 * h)
        if M == 0:
            assert max(errors) == 3 * delta / (2 * h)  # the second term is reached


@pytest.mark.claim("capstone.extrapolated-difference")
def test_the_named_step_is_the_best_one():
    for M, delta in ((1.0, 2.0**-52), (1e5, 2e-13), (3.0, 0.1)):
        best = (27 * delta / (4 * M)) ** 0.2
        bounds = [M * h**4 / 18 + 1.5 * delta / h for h in best * np.linspace(0.5, 2, 301)]
        # 200 steps of 0.005 from 0.5 to 2: the 100th is best itself
        assert int(np.argmin(bounds)) == 100


@pytest.mark.claim("capstone.extrapolated-difference")
def test_the_code_is_the_formula():
    x = np.array([0.7])
    values = [math.exp(0.7 + t * STEP) for t in (-2, -1, 1, 2)]
    # 1e-12: the two divide in another order, and differences of values near 2 lose 2^-52 / STEP
    assert differences(lambda: math.exp(x[0]), x)[0] == pytest.approx(extrapolated(values, STEP), abs=1e-12)
    assert x[0] == 0.7


@pytest.mark.claim("capstone.sign-directions")
@pytest.mark.parametrize("d", [(1, -1), (3,), (1, 1, 1, 1, 1), (5, -2, 1, 1), (1, 2, 3, 4, 5, 6, 7), (0, 0)])
def test_moments_and_chances_of_sign_directions(d):
    # exhaustive: all 2^n directions, in whole numbers
    squares = [
        sum(a * s for a, s in zip(d, signs, strict=True)) ** 2 for signs in itertools.product((-1, 1), repeat=len(d))
    ]
    n, length = len(squares), sum(a * a for a in d)
    assert sum(squares) == n * length
    assert sum(s * s for s in squares) <= 3 * n * length**2
    seen = Fraction(sum(4 * s >= length for s in squares), n)
    assert seen >= Fraction(3, 16)
    assert (1 - seen) ** 3 <= Fraction(13, 16) ** 3
    if d == (1, -1):
        assert squares.count(0) == n / 2  # what the page says of the price


@pytest.mark.claim("capstone.random-point")
def test_no_polynomial_vanishes_at_more_points_than_the_claim_allows():
    # exhaustive: all polynomials in two variables of total degree two with coefficients -1, 0, 1, at all points
    points = list(itertools.product(range(5), repeat=2))
    powers = [(i, j) for i in range(3) for j in range(3) if i + j <= 2]
    table = np.array([[x**i * y**j for i, j in powers] for x, y in points])
    for coefficients in itertools.product((-1, 0, 1), repeat=len(powers)):
        if any(coefficients):
            m = max(i + j for c, (i, j) in zip(coefficients, powers, strict=True) if c)
            zeros = int((table @ coefficients == 0).sum())
            assert zeros / len(points) <= m / 5
    # it is reached: x (x - 1)
    assert sum(x * (x - 1) == 0 for x, _ in points) / len(points) == 2 / 5


@pytest.mark.claim("capstone.prime-axes")
def test_sizes_that_are_primes_tell_which_axes_were_merged():
    primes = (2, 3, 5, 7, 11)
    subsets = [s for r in range(1, 6) for s in itertools.combinations(primes, r)]
    products = {math.prod(s): s for s in subsets}
    assert len(products) == len(subsets)  # one set of axes for each number of entries
    orders = [o for s in subsets for o in itertools.permutations(s)]
    assert len(set(orders)) == len(orders)
    # without primes, or with equal ones, neither holds
    assert math.prod((2, 6)) == math.prod((3, 4))
    G, W = np.ones((3, 5)), np.arange(25.0).reshape(5, 5)
    assert (G @ W).shape == (G @ W.T).shape and not np.array_equal(G @ W, G @ W.T)
    with pytest.raises(ValueError, match="mismatch"):
        np.ones((3, 7)) @ np.ones((5, 7))  # G W, where G W^T was meant


# --- every backward pass, and faults planted in it


@pytest.fixture(scope="module")
def judged():
    """The rows, their gradients by differences, and who saw which fault."""
    jaxtyping.config.update("jaxtyping_disable", True)  # enforcing shapes would take most of the time
    passes = list(backward_passes())
    by_differences = {p.name: p.by_differences() for p in passes}
    gradients = {p.name: {name: a.copy() for name, a in p.backward(p.cotangent).items()} for p in passes}
    by_row, by_function = census(passes, by_differences)
    jaxtyping.config.update("jaxtyping_disable", False)
    return passes, by_differences, gradients, by_row, by_function


def test_every_gradient_equals_differences(judged):
    passes, by_differences, gradients, _, _ = judged
    for p in passes:
        expected, got = by_differences[p.name], gradients[p.name]
        assert expected.keys() == got.keys()
        for name, a in expected.items():
            # TOLERANCE is derived on the page, from (K1)
            assert np.abs(got[name] - a).max() <= TOLERANCE, (p.name, name)


def test_every_fault_is_seen_unless_it_changes_no_gradient(judged):
    _, _, _, by_row, by_function = judged
    assert all(seen > 0 for seen, _ in by_row.values())
    for function, found in by_function.items():
        left = [fault.line for fault, said in found.items() if said != "seen"]
        assert "missed" not in found.values(), (function, left)
        if function == "cross_entropy.cross_entropy_with_gradient":
            # the shift by the maximum (`capstone.log-sum-exp-shift`)
            assert left and all("max" in line for line in left), left
        else:
            assert not left, (function, left)


def test_every_backward_pass_of_the_package_stands_in_the_table():
    listed = {place for p in backward_passes() for place in p.functions}
    for module in pkgutil.iter_modules(fp_capstone.__path__):
        # commands that show and files that are opened have no gradients
        if module.ispkg or module.name in ("cli", "__main__", "gradient_checks"):
            continue
        functions = inspect.getmembers(import_module(f"fp_capstone.{module.name}"), inspect.isfunction)
        for name, function in functions:
            if name.endswith("_backward") and function.__module__ == f"fp_capstone.{module.name}":
                assert f"{module.name}.{name}" in listed


def test_a_planted_fault_is_gone_afterwards():
    p = next(backward_passes())
    right = {name: a.copy() for name, a in p.backward(p.cotangent).items()}
    fault = next(iter(faults(p.functions[0])))
    with planted(fault):
        assert any(not np.array_equal(a, right[name]) for name, a in p.backward(p.cotangent).items())
    assert all(np.array_equal(a, right[name]) for name, a in p.backward(p.cotangent).items())


# --- the check of a whole model


class Wrong:
    """A model whose gradients are off by a known vector."""

    def __init__(self, model, error):
        self.model, self.error, self.parameters = model, error, model.parameters

    def loss_and_grads(self, ids, targets):
        loss, grads = self.model.loss_and_grads(ids, targets)
        return loss, {name: g + self.error[name] for name, g in grads.items()}


def batch():
    ids = np.random.default_rng(5).integers(0, 11, (2, 6))
    return ids[:, :-1], ids[:, 1:]


@pytest.mark.usefixtures("own_errors")  # enforcing shapes would take most of the time
def test_a_right_model_has_no_error_and_is_left_as_it_was():
    model = Model(CONFIG, np.random.default_rng(0), np.float64)
    before = {name: a.copy() for name, a in model.parameters().items()}
    # the loss of about 2 rounds at 4e-16, which (K1) divides by the step and multiplies by the root of 400 numbers
    assert gradient_error(model, *batch(), np.random.default_rng(1)) < 1e-9
    assert all(np.array_equal(a, before[name]) for name, a in model.parameters().items())


@pytest.mark.usefixtures("own_errors")
@pytest.mark.claim("capstone.sign-directions")
def test_the_length_of_an_error_is_measured():
    model = Model(CONFIG, np.random.default_rng(0), np.float64)
    rng = np.random.default_rng(2)
    error = {name: 1e-4 * rng.normal(size=a.shape) for name, a in model.parameters().items()}
    length = math.sqrt(sum(float((a * a).sum()) for a in error.values()))
    k = 200
    measured = gradient_error(Wrong(model, error), *batch(), np.random.default_rng(3), directions=k)
    # the variance of (d . u)^2 is at most 2 |d|^4, of the mean of k 2 |d|^4 / k: five standard errors are half of |d|^2
    assert measured**2 == pytest.approx(length**2, rel=5 * math.sqrt(2 / k))


@pytest.mark.usefixtures("own_errors")
def test_bad_input_is_refused_with_a_sentence():
    single, double = (Model(CONFIG, np.random.default_rng(0), dtype) for dtype in (np.float32, np.float64))
    with pytest.raises(TypeError, match=r"differences need a model in float64, got float32 for transformer\.wte"):
        gradient_error(single, *batch(), np.random.default_rng(1))
    with pytest.raises(ValueError, match="a check needs at least one direction, got 0"):
        gradient_error(double, *batch(), np.random.default_rng(1), directions=0)
    with pytest.raises(TypeError, match="differences need float64, got float32"):
        differences(lambda: 0.0, np.ones(3, np.float32))
