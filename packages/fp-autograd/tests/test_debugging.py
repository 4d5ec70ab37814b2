"""Mirrors src/fp_autograd/debugging.py."""

import gc
import io
import linecache
import weakref
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_autograd.debugging import Step, anomaly, shape_trace
from fp_autograd.functional import grad, hvp, jvp
from fp_autograd.rules import logsumexp, softmax, where
from fp_autograd.tensor import Mode, Tensor

HERE = __file__


def leaf(*numbers):
    return Tensor(np.array(numbers), requires_grad=True)


def lines_of(function):
    """File and number of each line of a function, from its first statement."""
    first = function.__code__.co_firstlineno
    return [f"{HERE}:{first + i}" for i in range(30)]


# --- the first NaN or infinity


def test_the_operation_and_the_line_of_the_first_infinity():
    def f(x):
        y = x * 2.0
        z = y.exp()
        return (z * 0.0).sum()  # turns the infinity into a NaN, and must not be blamed

    with anomaly(), pytest.raises(FloatingPointError) as caught:
        f(leaf(1.0, 500.0, 2.0))
    message = str(caught.value)
    assert message.startswith("exp made inf, first in entry (1,), of numbers from 2 to 1000, at ")
    assert message.endswith(f"{lines_of(f)[2]}: z = y.exp()")


@pytest.mark.parametrize(
    ("f", "sentence"),
    [
        (lambda x: x.log(), "log made nan, first in entry (0,), of numbers from -1 to 2, at"),
        (lambda x: x.sqrt(), "sqrt made nan, first in entry (0,)"),
        (lambda x: 1.0 / (x + 1.0), "divide made inf, first in entry (0,), of 1 and of numbers from 0 to 3, at"),
        (lambda x: x**-0.5, "power made nan"),
        (lambda x: (x * 0.0).sum() / 0.0, "divide made nan, of 0 and of 0, at"),
        (
            lambda x: x * np.array([0.0, np.nan]),
            "multiply was given nan, first in entry (1,), of operand 1, which came from",
        ),
        (
            lambda x: where(x > 0, x, np.inf) - np.inf,
            "subtract made nan, first in entry (0,), of numbers from 2 to inf",
        ),
        (lambda x: x.reshape(1, 2) @ np.array([[8e307], [8e307]]), None),
        (lambda x: x.reshape(1, 2) @ np.array([[-1e308], [1e308]]), "matmul made inf, first in entry (0, 0)"),
    ],
)
def test_operations_that_have_no_answer(f, sentence):
    if sentence is None:
        with anomaly():
            f(leaf(-1.0, 2.0))
        return
    with anomaly(), pytest.raises(FloatingPointError) as caught:
        f(leaf(-1.0, 2.0))
    assert str(caught.value).startswith(sentence)


def test_data_that_is_nan_is_named_by_what_it_spoils():
    with anomaly(), pytest.raises(FloatingPointError, match=r"multiply was given nan, .* entry \(1,\), of operand 0"):
        leaf(1.0, np.nan) * 2.0


def test_a_mask_of_infinities_is_no_anomaly():
    scores = leaf(1.0, 2.0, 3.0)
    with anomaly():
        p = softmax(scores + np.array([0.0, -np.inf, 0.0]))
        loss = logsumexp(where(np.array([True, False, True]), scores, -np.inf)) + (p * p).sum()
        loss.backward()
    assert np.isfinite(scores.grad).all()


def test_the_backward_names_the_line_of_the_forward_operation():
    def f(x):
        y = x * x
        return y.sqrt().sum()

    with anomaly():
        out = f(leaf(3.0, 0.0))
        with pytest.raises(FloatingPointError) as caught:
            out.backward()
    message = str(caught.value)
    assert message.startswith(
        "the derivative of sqrt by operand 0 is inf, first in entry (1,); the operation was done at "
    )
    assert message.endswith(f"{lines_of(f)[2]}: return y.sqrt().sum()")


def test_a_backward_whose_forward_was_not_watched():
    with np.errstate(divide="ignore"):
        out = leaf(0.0).sqrt().sum()
    with anomaly(), pytest.raises(FloatingPointError, match=r"of sqrt .* done before the watch"):
        out.backward()


def test_gradients_of_functions_are_watched_too():
    with anomaly():
        with pytest.raises(FloatingPointError, match="derivative of sqrt"):
            grad(lambda x: (x * x).sqrt())(0.0)
        with pytest.raises(FloatingPointError, match="log made -inf"):
            grad(lambda x: grad(lambda x: (x * x).log())(x))(0.0)


def test_what_is_right_passes():
    rng = np.random.default_rng(2)
    x, w = (Tensor(rng.normal(size=size), requires_grad=True) for size in ((2, 3), (3, 5)))
    with anomaly():
        (x @ w).tanh()[0].sum().backward()
        hvp(lambda a: (a**3).sum())(x.data, x.data)
    assert x.grad.shape == (2, 3)


def test_the_mode_ends_with_its_block_and_nests():
    with anomaly():
        outer = Mode.made
        with pytest.raises(FloatingPointError), anomaly():
            leaf(0.0).log()
        assert Mode.made is outer
    assert Mode.made is None and Mode.returned is None
    with pytest.raises(ZeroDivisionError), anomaly():
        1 / 0  # noqa: B018
    assert Mode.made is None


def test_the_watch_does_not_keep_graphs_alive():
    with anomaly():
        x = leaf(1.0, 2.0)
        product = x * x
        out = product.exp().sum()
        alive = weakref.ref(product)
        del product
        gc.collect()
        assert alive() is not None  # by the graph
        del out
        gc.collect()
        assert alive() is None


# --- writes


def test_a_write_behind_the_tensor_is_found():
    data = np.array([1.0, 2.0])
    with anomaly():
        x = Tensor(data, requires_grad=True)
        out = (x * x).sum()
        data[1] = 7.0
        with pytest.raises(ValueError, match=r"operand 0 of multiply, an array of shape \(2,\), was written to before"):
            out.backward()


def test_a_write_into_a_constant_and_into_a_result_are_found():
    constant = np.array([1.0, 2.0])
    with anomaly():
        out = (leaf(1.0, 2.0) * constant).sum()
        constant *= 2
        with pytest.raises(ValueError, match=r"operand 1 of multiply.*done at .*test_debugging.py:"):
            out.backward()
        y = leaf(1.0, 2.0).exp()
        y.data[0] = 0.0
        with pytest.raises(ValueError, match="the result of exp"):
            y.backward(np.ones(2))


def test_a_write_between_two_sweeps_is_found():
    data = np.array([1.0, 2.0])
    with anomaly():
        out = (Tensor(data, requires_grad=True) ** 2.0).sum()
        out.backward(retain_graph=True)
        data[0] = 3.0
        with pytest.raises(ValueError, match="operand 0 of power"):
            out.backward()


def test_writes_after_the_sweep_are_free():
    x = leaf(1.0, 2.0)
    with anomaly():
        (x * x).sum().backward()
        x.data -= 0.1 * x.grad
        (x * x).sum().backward()


P = 0xEDB88320


def step(r):
    return (r >> 1) ^ (P if r & 1 else 0)


def crc(message):
    r = 0xFFFFFFFF
    for byte in message:
        r ^= byte
        for _ in range(8):
            r = step(r)
    return r ^ 0xFFFFFFFF


@given(st.binary(max_size=40))
def test_the_checksum_is_the_one_derived(message):
    assert crc(message) == zlib.crc32(message)


@pytest.mark.claim("autograd.crc-four-bytes")
@given(
    st.binary(max_size=20), st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.binary(max_size=20)
)
def test_four_neighbouring_bytes_cannot_change_unseen(head, old, new, tail):
    assert (old == new) == (zlib.crc32(head + old + tail) == zlib.crc32(head + new + tail))


@pytest.mark.claim("autograd.crc-four-bytes")
def test_the_step_loses_nothing():
    """Lines (1) and (2) on a basis and beyond: the step is linear, and 32 independent registers stay independent."""
    rng = np.random.default_rng(3)
    for r, q in rng.integers(0, 2**32, size=(200, 2)).tolist():
        assert step(r ^ q) == step(r) ^ step(q)
    basis = []  # elimination by the highest bit
    for i in range(32):
        r = step(1 << i)
        for b in basis:
            r = min(r, r ^ b)
        assert r != 0
        basis.append(r)
    for c in rng.integers(0, 2**24, size=100).tolist():  # (3)
        r = c << 8
        for _ in range(8):
            r = step(r)
        assert r == c


# --- shapes


def model(x, layers):
    for layer in layers:
        h = x @ layer["w"] + layer["b"]
        x = h.tanh()
    return x.sum()


def test_each_operation_with_its_shapes_type_and_line(capsys):
    layers = [{"w": np.ones((3, 5)), "b": np.zeros(5)}, {"w": np.ones((5, 2)), "b": np.zeros(2)}]
    trace = shape_trace(model, np.ones((7, 3)), layers)
    assert [(s.operation, s.inputs, s.output) for s in trace] == [
        ("matmul", ((7, 3), (3, 5)), (7, 5)),
        ("add", ((7, 5), (5,)), (7, 5)),
        ("tanh", ((7, 5),), (7, 5)),
        ("matmul", ((7, 5), (5, 2)), (7, 2)),
        ("add", ((7, 2), (2,)), (7, 2)),
        ("tanh", ((7, 2),), (7, 2)),
        ("sum", ((7, 2),), ()),
    ]
    first = model.__code__.co_firstlineno
    assert [s.place.line - first for s in trace] == [2, 2, 3, 2, 2, 3, 4]
    assert all(isinstance(s, Step) and s.place.file == HERE and s.dtype == "float64" for s in trace)
    assert trace[2].place.text == "x = h.tanh()"
    printed = capsys.readouterr().out
    assert printed == f"{trace}\n"
    assert printed.splitlines()[0].split() == ["operation", "shapes", "dtype", "line"]
    assert (
        printed.splitlines()[3].split()
        == f"tanh (7, 5) -> (7, 5) float64 test_debugging.py:{first + 3} x = h.tanh()".split()
    )


def test_up_to_an_error_the_operations_are_printed():
    out = io.StringIO()
    with pytest.raises(ValueError, match="matmul"):
        shape_trace(lambda x, w: x.exp() @ w, np.ones((2, 3)), np.ones((5, 7)), file=out)
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["operation", "exp"]
    assert Mode.made is None


def test_single_precision_numbers_and_indices():
    out = io.StringIO()
    x, ids = np.ones((3, 2), np.float32), np.array([0, 2])
    trace = shape_trace(lambda x, ids, c, name: x[ids] * c, x, ids, 2.0, "name", file=out)
    assert [(s.operation, s.inputs) for s in trace] == [("index", ((3, 2),)), ("multiply", ((2, 2), ()))]
    assert trace[0].dtype == "float32"


def test_nested_transformations_are_shown_once():
    trace = shape_trace(lambda x: grad(lambda x: x.exp().sum())(x) * 2.0, np.ones(3), file=io.StringIO())
    assert [s.operation for s in trace if s.operation in ("exp", "sum")] == ["exp", "sum"]
    assert trace[-1].operation == "multiply"


def test_a_function_without_operations():
    out = io.StringIO()
    trace = shape_trace(lambda x: x, np.ones(3), file=out)
    assert (list(trace), repr(trace), out.getvalue()) == (
        [],
        "<trace of 0 operations>",
        "operation  shapes  dtype  line\n",
    )


def test_both_watches_at_once():
    with anomaly(), pytest.raises(FloatingPointError):
        shape_trace(lambda x: x.log(), np.zeros(3), file=io.StringIO())
    assert Mode.made is None


def test_a_line_whose_source_is_not_there():
    code = compile("def f(x):\n    return x.log()", "<no such file>", "exec")
    names = {}
    exec(code, names)
    linecache.checkcache()
    with anomaly(), pytest.raises(FloatingPointError, match=r"at <no such file>:2$"):
        names["f"](leaf(0.0))


@pytest.mark.parametrize(
    ("compute", "sentence"),
    [
        (
            lambda x, t: jvp(lambda x: x.log(), (x,), (t,)),
            r"log made -inf, first in entry \(0,\), of .*test_debugging\.py",
        ),
        (lambda x, t: jvp(lambda x: x.sqrt(), (x,), (t,)), r"sqrt along the tangents is inf, .*test_debugging\.py"),
        # 0.75 / sqrt(x), while value and gradient are zero
        (lambda x, t: hvp(lambda x: (x**1.5).sum())(x, t), r"power along the tangents is inf, .*test_debugging\.py"),
    ],
)
def test_forward_mode_is_watched_too(compute, sentence):
    with pytest.raises(FloatingPointError, match=sentence), anomaly():
        compute(np.zeros(2), np.ones(2))


def test_nested_transformations_show_each_operation_once():
    def f():
        jvp(lambda x: grad(lambda y: (y * y).sum())(x), (np.ones(2),), (np.ones(2),))

    assert [step.operation for step in shape_trace(f, file=io.StringIO())[:2]] == ["multiply", "sum"]
