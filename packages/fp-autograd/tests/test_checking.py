"""Mirrors src/fp_autograd/checking.py."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_autograd.checking import STEP, GradientMismatch, gradcheck
from fp_autograd.rules import RULES, concatenate, logsumexp
from fp_autograd.tracing import Rule, apply, value_of

whole = st.integers(-20, 20).map(Fraction)


def miss_probability(d, s, tau, cells=601):
    """The share of the rectangle [-s, s] in which |d u| <= tau, by the midpoints of a grid."""
    axis = (2 * np.arange(cells) + 1) / cells - 1
    u = np.meshgrid(*(axis * width for width in s), indexing="ij")
    return float(np.mean(np.abs(sum(a * b for a, b in zip(d, u, strict=True))) <= tau))


def square(vjp=lambda g, out, x: 2 * g * x, jvp=lambda t, out, x: 2 * t * x):
    """The square, with one of its derivatives exchanged."""
    rule = Rule("square", lambda x: x * x, (vjp,), (jvp,))
    return lambda x: apply(rule, x)


def nudged(entry, by):
    """A VJP that is right but for a share `by` of one entry."""

    def vjp(g, out, x):
        factor = np.full(x.shape, 2.0)
        factor[entry] *= 1 + by
        return g * factor * x

    return vjp


@pytest.mark.claim("autograd.random-direction")
@pytest.mark.parametrize("d", [(1.0, -1.0), (0.3, 0.0), (-2.0, 0.7)])
@pytest.mark.parametrize("s", [(1.0, 1.0), (1.0, 5.0)])
@pytest.mark.parametrize("tau", [0.01, 0.1, 0.5])
def test_the_chance_of_a_small_sum_is_below_the_bound(d, s, tau):
    # the grid errs by at most the cells that the two lines |d u| = tau cross: 2 in each of 601 columns and more of them
    assert miss_probability(d, s, tau) <= tau / max(a * abs(b) for a, b in zip(s, d, strict=True)) + 4 / 601


@pytest.mark.claim("autograd.random-direction")
def test_in_one_dimension_the_bound_is_the_probability():
    # 1 / 601: the cell that the end of the interval cuts
    assert miss_probability((0.5,), (3.0,), 0.4) == pytest.approx(0.4 / 1.5, abs=1 / 601)


@pytest.mark.claim("autograd.random-direction")
@pytest.mark.parametrize("share", [1e-1, 1e-3, 1e-5])
def test_a_wrong_entry_is_found_from_any_seed(share):
    x = np.random.default_rng(3).normal(size=(2, 5))
    bad = square(vjp=nudged((1, 3), share))
    for seed in range(20):  # missed with probability below 2 tau / (2 |x| share) < 0.01 at the smallest share
        with pytest.raises(GradientMismatch, match=r"reverse mode: the slope in argument 0, entry \(1, 3\),"):
            gradcheck(lambda x: bad(x).sum(), x, order=1, rng=np.random.default_rng(seed))


@pytest.mark.claim("autograd.two-steps")
@given(
    st.lists(whole, min_size=6, max_size=6), st.lists(st.sampled_from([-1, 0, 1]), min_size=4, max_size=4), st.data()
)
def test_a_second_step_bounds_the_error_of_the_first(coefficients, signs, data):
    """Exactly, for all polynomials of degree five, with the worst errors in the four values."""
    h = data.draw(st.fractions(Fraction(1, 50), 2))
    delta = data.draw(st.fractions(0, 1))
    phi = lambda t: sum(c * t**k for k, c in enumerate(coefficients))  # noqa: E731
    a, b, c, d = (phi(t) + delta * sign for t, sign in zip((h, -h, 2 * h, -2 * h), signs, strict=True))
    near, far = (a - b) / (2 * h), (c - d) / (4 * h)
    M = 120 * abs(coefficients[5])
    assert abs(near - coefficients[1]) <= abs(far - near) / 3 + 3 * delta / (2 * h) + M * h**4 / 18


@pytest.mark.claim("autograd.two-steps")
@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.exp(),
        lambda x: (x * 30).sin(),
        lambda x: (x * x + 0.01).sqrt(),
        lambda x: (1000 * x).tanh().sum(axis=0),
        lambda x: x.log_softmax(),
        lambda x: x @ x.T @ x,
        lambda x: 1e9 * x,
        lambda x: 1e-9 * x * x,
        lambda x: (x - x) * x,
        lambda x: x.sum() * 0.0 + 1e6,
    ],
)
def test_right_derivatives_pass_from_any_seed(f):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        gradcheck(f, rng.normal(size=(3, 2)), rng=rng)


def test_inputs_of_any_size_pass():
    gradcheck(lambda x: (x * x).mean(), np.array([1e8, -3e-5, 0.0, 7.0]))


def test_containers_of_inputs_and_outputs():
    rng = np.random.default_rng(5)
    layers = [{"w": rng.normal(size=(3, 5)), "b": np.zeros(5)}, {"w": rng.normal(size=(5, 2)), "b": np.zeros(2)}]

    def f(x, layers):
        hidden = (x @ layers[0]["w"] + layers[0]["b"]).tanh()
        return {"hidden": hidden, "loss": logsumexp(hidden @ layers[1]["w"] + layers[1]["b"]), "fixed": 3}

    gradcheck(f, rng.normal(size=(7, 3)), layers)


def test_the_message_names_the_input_in_its_container():
    bad = square(vjp=nudged((2,), 0.5))
    inputs = {"a": np.ones((2, 3)), "b": [np.ones(2), np.arange(1.0, 4.0)]}
    with pytest.raises(
        GradientMismatch, match=r"argument 1\['b'\]\[1\], entry \(2,\), is 9, but differences say 6,.*off by 3\b"
    ):
        gradcheck(lambda c, tree: (tree["a"].sum() + bad(tree["b"][1]).sum()) * c, 1.0, inputs)


def test_among_many_numbers_the_wrong_one_is_found():
    x = np.random.default_rng(7).normal(size=(31, 37))
    bad = square(vjp=nudged((17, 29), 0.5))
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        return bad(x).sum()

    with pytest.raises(GradientMismatch, match=r"argument 0, entry \(17, 29\)"):
        gradcheck(f, x)
    assert calls < 4 * 128 + 4 * 2 * 5 + 10  # and not 4 * 31 * 37 = 4588


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_a_gradient_that_is_no_number_is_a_wrong_gradient(wrong):
    bad = square(vjp=lambda g, out, x: np.array([2.0, wrong]))
    with pytest.raises(GradientMismatch, match=r"entry \(1,\), is (nan|inf|1e\+300), but differences say 6"):
        gradcheck(lambda x: bad(x).sum(), np.array([1.0, 3.0]))


def test_slopes_that_cancel_along_the_direction_are_no_reason_for_doubt():
    for seed in range(50):
        gradcheck(lambda x: (300 * x).sin().sum(), np.array([0.1, 0.2]), rng=np.random.default_rng(seed), order=1)


def test_a_wrong_forward_mode_is_told_apart():
    bad = square(jvp=lambda t, out, x: t * x)
    with pytest.raises(GradientMismatch, match=r"forward mode: .* of the output, entry \(\d,\),"):
        gradcheck(bad, np.array([1.0, 2.0, 3.0]))


def test_of_several_outputs_the_wrong_one_is_named():
    bad = square(jvp=lambda t, out, x: t * x)
    with pytest.raises(GradientMismatch, match="of output 1 is"):
        gradcheck(lambda x: (x.exp(), bad(x)), 2.0)


def test_a_gradient_that_is_not_differentiable_is_found_at_second_order():
    """Right as a number, but computed outside of the boxes: order 1 cannot see it."""
    bad = square(vjp=lambda g, out, x: 2 * g * value_of(x))
    gradcheck(lambda x: bad(x).sum(), np.array([1.0, 2.0]), order=1)
    with pytest.raises(
        GradientMismatch, match=r"forward over reverse: the Hessian times a random direction, in argument 0"
    ):
        gradcheck(lambda x: bad(x).sum(), np.array([1.0, 2.0]))


def test_a_rule_whose_backward_has_a_wrong_backward_is_found_by_reverse_over_reverse():
    half = Rule("half", lambda x: 2.0 * x, (lambda g, out, x: g,), (lambda t, out, x: 2 * t,))
    bad = square(vjp=lambda g, out, x: g * apply(half, x))
    with pytest.raises(GradientMismatch, match="reverse over reverse"):
        gradcheck(lambda x: bad(x).sum(), np.array([1.0, 2.0]))


@pytest.mark.parametrize("name", sorted(set(RULES) & {"exp", "tanh", "sigmoid", "softmax", "relu", "sin", "sqrt"}))
def test_operations_of_the_table_pass(name):
    settings = {"axis": -1} if name == "softmax" else {}
    gradcheck(lambda x: apply(RULES[name], x, **settings), np.random.default_rng(11).uniform(0.1, 2, size=(2, 3)))


def test_several_inputs_that_meet():
    rng = np.random.default_rng(13)
    gradcheck(lambda a, b: concatenate([a * b[0], b]), rng.normal(size=(2, 3)), rng.normal(size=(5, 3)))


def test_a_corner_within_reach_is_not_a_pass():
    with pytest.raises(ValueError, match=r"entry \(1,\), is 1 and cannot be judged.* corner"):
        gradcheck(lambda x: x.relu().sum(), np.array([1.0, STEP / 3, -1.0]))
    gradcheck(lambda x: x.relu().sum(), np.array([1.0, STEP / 3, -1.0]), step=2.0**-22)


def test_an_input_at_a_corner_is_named():
    with pytest.raises(GradientMismatch, match=r"entry \(1,\), is 0, but differences say 0.5.* corner exactly there"):
        gradcheck(lambda x: x.relu().sum(), np.array([1.0, 0.0, -1.0]))


def test_a_step_out_of_the_domain_is_said():
    with pytest.raises(ValueError, match="leaves its domain"):
        gradcheck(lambda x: x.log().sum(), np.array([1e-9, 1.0]))


def test_the_same_directions_each_time():
    seen = []

    def f(x):
        seen.append(np.array(getattr(x, "data", x), dtype=object))
        return x.sum()

    gradcheck(f, np.ones(2), order=1)
    n = len(seen)
    gradcheck(f, np.ones(2), order=1)
    assert all(str(a) == str(b) for a, b in zip(seen[:n], seen[n:], strict=True))


def test_inputs_are_not_touched():
    x = np.array([1.0, 2.0])
    gradcheck(lambda x: (x * x).sum(), x)
    assert x.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("f", "args", "error", "sentence"),
    [
        (
            lambda x: x.sum(),
            (np.ones(3, np.float32),),
            ValueError,
            r"argument 0 of f is float32, .*astype\(np.float64\)",
        ),
        (
            lambda x, i: x[i].sum(),
            (np.ones(3), np.array([0, 1])),
            TypeError,
            "argument 1 of f has no slope.* int64.*f\\(x, index\\)",
        ),
        (lambda x: x.sum(), (3,), TypeError, "argument 0 of f has no slope"),
        (lambda: 1.0, (), ValueError, "at least one number"),
        (lambda x: x.sum(), (np.ones((0, 3)),), ValueError, "at least one number"),
        (lambda x: (), (np.ones(3),), ValueError, "f returned no number"),
        (lambda x: "text", (np.ones(3),), TypeError, "has to return real numbers"),
        (lambda x: np.float32(1), (np.ones(3),), ValueError, "f computed in float32"),
        (lambda x: x.sum() * np.inf, (np.ones(3),), ValueError, "not finite at the input"),
    ],
)
def test_bad_input_is_refused(f, args, error, sentence):
    with pytest.raises(error, match=sentence):
        gradcheck(f, *args)


def test_a_random_function_is_refused():
    rng = np.random.default_rng(17)
    with pytest.raises(ValueError, match="two answers to the same input"):
        gradcheck(lambda x: (x * rng.normal(size=3)).sum(), np.ones(3))


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match=r"order 1 .* and 2 .*, got 3"):
        gradcheck(lambda x: x.sum(), np.ones(3), order=3)
