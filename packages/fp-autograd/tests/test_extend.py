"""Mirrors src/fp_autograd/extend.py."""

import numpy as np
import pytest

from fp_autograd.checking import gradcheck
from fp_autograd.extend import operation
from fp_autograd.functional import grad, hessian, hvp, jacobian, jvp, vjp
from fp_autograd.rules import RULES, exp, log_softmax, sin
from fp_autograd.tensor import Tensor
from fp_autograd.tracing import apply

CLOSE = {"rtol": 1e-12, "atol": 1e-13}  # a few dozen roundings of numbers of magnitude one


@pytest.fixture(autouse=True)
def _table_as_before():
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


class CrossEntropy:
    """The fused loss, counting how often each of its parts runs."""

    def __init__(self, **keywords):
        self.counts = dict.fromkeys(("forward", "derivative", "reference"), 0)
        self.fused = operation("cross_entropy", self.forward, self.derivative, **keywords)

    def forward(self, z, y):
        self.counts["forward"] += 1
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        return -np.log(p[np.arange(len(y)), y]).mean(), p

    def derivative(self, g, out, z, y, saved):
        self.counts["derivative"] += 1
        dz = np.array(saved)
        dz[np.arange(len(y)), y] -= 1
        return dz * (g / len(y)), None

    def reference(self, z, y):
        self.counts["reference"] += 1
        return -log_softmax(z, axis=1)[np.arange(len(y)), y].mean()


@pytest.fixture
def loss():
    loss = CrossEntropy.__new__(CrossEntropy)
    loss.__init__(reference=loss.reference)
    return loss


@pytest.fixture
def scores():
    return np.random.default_rng(2).normal(size=(3, 5)), np.array([4, 0, 2])


def unfused(z, y):
    return -log_softmax(z, axis=1)[np.arange(len(y)), y].mean()


def linear(**keywords):
    """A layer whose backward step returns all three cotangents at once, written for arrays and for boxes."""
    return operation(
        "linear",
        lambda x, w, b: x @ w + b,
        lambda g, out, x, w, b: (g @ w.swapaxes(-1, -2), x.swapaxes(-1, -2) @ g, g.sum(axis=0)),
        **keywords,
    )


def cube(**keywords):
    """x cubed by a kernel that only arrays can go through."""
    return operation(
        "cube", lambda x: np.power(x, 3), lambda g, out, x: (np.multiply(g, 3 * np.square(x)),), **keywords
    )


def layer():
    rng = np.random.default_rng(3)
    return rng.normal(size=(2, 3)), rng.normal(size=(3, 5)), rng.normal(size=5)


def test_the_fused_loss_by_hand(loss):
    z, y = np.log(np.array([[1.0, 3.0], [2.0, 2.0]])), np.array([1, 0])
    assert float(loss.fused(z, y)) == pytest.approx(-np.log(3 / 4 * 1 / 2) / 2, rel=1e-15)
    # (p - [j = y]) / 2 with p = (1/4, 3/4) and (1/2, 1/2)
    assert grad(loss.fused)(z, y) == pytest.approx(np.array([[1 / 8, -1 / 8], [-1 / 4, 1 / 4]]), rel=1e-15)


def test_the_fused_loss_has_right_derivatives(loss, scores):
    z, y = scores
    gradcheck(lambda z: loss.fused(2 * z, y) * z[0, 0], z)


NESTINGS = {
    "value": lambda f, z, t, s: f(z),
    "grad": lambda f, z, t, s: grad(f)(z),
    "vjp": lambda f, z, t, s: vjp(f, z)[1](np.array(2.0))[0],
    "jvp": lambda f, z, t, s: jvp(f, (z,), (t,))[1],
    "grad of grad": lambda f, z, t, s: grad(lambda z: (grad(f)(z) * t).sum())(z),
    "jvp of grad": lambda f, z, t, s: hvp(f)(z, t),
    "grad of jvp": lambda f, z, t, s: grad(lambda z: jvp(f, (z,), (t,))[1])(z),
    "jvp of jvp": lambda f, z, t, s: jvp(lambda z: jvp(f, (z,), (t,))[1], (z,), (s,))[1],
    "hessian": lambda f, z, t, s: hessian(f)(z),
    "grad of grad of grad": lambda f, z, t, s: grad(lambda z: (grad(lambda z: (grad(f)(z) * t).sum())(z) * s).sum())(z),
    "jvp of grad of grad": lambda f, z, t, s: hvp(lambda z: (grad(f)(z) * t).sum())(z, s),
    "grad of jvp of grad": lambda f, z, t, s: grad(lambda z: (hvp(f)(z, t) * s).sum())(z),
}


@pytest.mark.claim("autograd.reference-derivatives")
@pytest.mark.parametrize("nesting", NESTINGS.values(), ids=NESTINGS)
def test_every_nesting_is_that_of_the_reference(loss, scores, nesting):
    z, y = scores
    t, s = np.random.default_rng(5).normal(size=(2, *z.shape))

    def around(f):
        return lambda z: sin(f(exp(z) * z, y) * z[1, 2])  # operations of the table before and after

    assert np.allclose(nesting(around(loss.fused), z, t, s), nesting(around(unfused), z, t, s), **CLOSE)


@pytest.mark.claim("autograd.reference-derivatives")
def test_a_kernel_for_forward_mode_serves_every_nesting_too(scores):
    f = cube(jvps=(lambda t, out, x: 3 * t * np.square(x),), reference=lambda x: x * x * x)
    z, t, s = np.random.default_rng(7).normal(size=(3, 2, 3))
    for nesting in NESTINGS.values():
        fused, composed = (nesting(lambda z, h=h: sin(h(z)).sum(), z, t, s) for h in (f, lambda x: x * x * x))
        assert np.allclose(fused, composed, **CLOSE)


def test_at_first_order_the_kernel_runs_and_the_reference_does_not(loss, scores):
    z, y = scores
    grad(loss.fused)(z, y)
    assert loss.counts == {"forward": 1, "derivative": 1, "reference": 0}
    hvp(lambda z: loss.fused(z, y))(z, z)
    assert loss.counts["derivative"] == 1
    assert loss.counts["reference"] > 0


def test_tensors_collect_what_the_kernel_returns(loss, scores):
    z, y = scores
    leaf = Tensor(z, requires_grad=True)
    (loss.fused(leaf, y) * 3.0).backward()
    assert np.allclose(leaf.grad, 3 * grad(unfused)(z, y), **CLOSE)


def test_each_call_saves_for_itself(loss, scores):
    z, y = scores
    first, second = Tensor(z, requires_grad=True), Tensor(z[::-1] * 2, requires_grad=True)
    total = loss.fused(first, y) + loss.fused(second, y)
    total.backward()
    assert np.allclose(first.grad, grad(unfused)(z, y), **CLOSE)
    assert np.allclose(second.grad, grad(unfused)(z[::-1] * 2, y), **CLOSE)


def test_a_layer_that_returns_all_cotangents_at_once():
    f = linear()
    gradcheck(lambda x, w, b: f(x, w, b).tanh(), *layer())


def test_cotangents_that_come_together_are_computed_once_a_sweep():
    calls = []
    f = operation(
        "counted",
        lambda x, y, z: x * y * z,
        lambda g, out, x, y, z: calls.append(None) or (g * y * z, g * x * z, g * x * y),
    )
    x, y, z = (Tensor(np.array([float(n)]), requires_grad=True) for n in (2, 3, 5))
    out = f(x, y, z)
    g = np.array([1.0])
    out.backward(g, retain_graph=True)
    assert len(calls) == 1
    g[0] = 10.0  # the same array brings another cotangent: what the first sweep computed must not be handed out again
    out.backward(g)
    assert len(calls) == 2
    assert [t.grad.tolist() for t in (x, y, z)] == [[165.0], [110.0], [66.0]]


def test_functions_for_single_operands_run_where_a_gradient_is_wanted():
    ran = []

    def part(name, derivative):
        return lambda *arguments: ran.append(name) or derivative(*arguments)

    parts = (
        part("x", lambda g, out, x, w, b: g @ w.T),
        part("w", lambda g, out, x, w, b: x.T @ g),
        part("b", lambda g, out, x, w, b: g.sum(axis=0)),
    )
    f = operation("layer", lambda x, w, b: x @ w + b, parts)
    x, w, b = layer()
    grad(lambda w, b: f(x, w, b).sum(), argnum=0)(w, b)
    assert ran == ["w"]
    gradcheck(lambda x, w, b: f(x, w, b).sigmoid(), x, w, b)


def test_an_operand_may_appear_twice():
    f = linear()
    x = np.random.default_rng(11).normal(size=(3, 3))
    gradcheck(lambda x: f(x, x, x[0]), x)


def test_settings_reach_every_part():
    f = operation(
        "scale",
        lambda x, by: x * by,
        lambda g, out, x, by: (np.multiply(g, by),),
        jvps=(lambda t, out, x, by: np.multiply(t, by),),
        reference=lambda x, by: x * by,
    )
    gradcheck(lambda x: f(x, by=3.0).exp(), np.array([0.5, -0.3]))


def test_none_means_no_slope():
    f = operation(
        "first", lambda x, y: x * x, lambda g, out, x, y: (2 * g * x, None), jvps=(lambda t, out, x, y: 2 * t * x, None)
    )
    gradcheck(lambda x, y: f(x, y) * y, np.array([1.0, 2.0]), np.array([3.0, 5.0]))


def test_single_precision_stays_single(loss, scores):
    z, y = scores
    assert grad(loss.fused)(z.astype(np.float32), y).dtype == np.float32


def test_a_cotangent_that_is_g_itself_is_not_written_to():
    f = operation("same", lambda x, y: x + y, lambda g, out, x, y: (g, g))
    x = np.array([1.0, 2.0])
    assert grad(lambda x: (f(x, x) * x + f(x, x)).sum())(x).tolist() == [6.0, 10.0]  # 4 x + 2


@pytest.mark.claim("autograd.transpose-twice")
def test_the_transpose_of_the_transpose_is_the_map():
    """Exactly: whole numbers, a map from 3 to 2 numbers of which only the transpose is given."""
    A = np.array([[1.0, -2.0, 5.0], [0.0, 7.0, 3.0]])
    f = operation("map", lambda x: A @ x, lambda g, out, x: (A.T @ g,))
    x = np.array([1.0, 1.0, 2.0])
    for t in np.eye(3):
        assert jvp(f, (x,), (t,))[1].tolist() == (A @ t).tolist()
    assert jacobian(f, mode="forward")(x).tolist() == jacobian(f, mode="reverse")(x).tolist() == A.tolist()


@pytest.mark.claim("autograd.transpose-twice")
def test_forward_mode_without_a_rule_for_it():
    f = operation(
        "softmax_twin",
        RULES["softmax"].forward,
        lambda g, out, x, axis: (out * (g - (g * out).sum(axis=axis, keepdims=True)),),
    )
    x, t = np.random.default_rng(13).normal(size=(2, 3, 5))
    expected = jvp(lambda x: apply(RULES["softmax"], x, axis=-1), (x,), (t,))[1]
    assert np.allclose(jvp(lambda x: f(x, axis=-1), (x,), (t,))[1], expected, **CLOSE)
    gradcheck(lambda x: f(x, axis=-1), x)


def test_the_table_and_the_graph_know_the_name(loss, scores):
    z, y = scores
    assert "cross_entropy" in repr(loss.fused(Tensor(z, requires_grad=True), y))
    assert loss.fused.__name__ == "cross_entropy"
    f = lambda z: apply(RULES["cross_entropy"], z, y)  # noqa: E731
    assert np.allclose(grad(f)(z), grad(unfused)(z, y), **CLOSE)
    gradcheck(f, z)


def test_a_name_is_taken_once():
    cube()
    with pytest.raises(ValueError, match=r"'cube' is in the table: .* RULES.pop\('cube'\)"):
        cube()
    RULES.pop("cube")
    cube()


@pytest.mark.parametrize("transform", [lambda f, x: hvp(f)(x, x), lambda f, x: jvp(f, (x,), (x,))])
def test_a_kernel_without_a_reference_says_so(transform):
    f = cube()
    x = np.array([1.0, 2.0])
    assert grad(lambda x: f(x).sum())(x).tolist() == [3.0, 12.0]
    with pytest.raises(
        TypeError, match=r"cube is asked for a derivative of higher order, or for forward mode.* reference"
    ):
        transform(lambda x: f(x).sum(), x)


def test_what_was_saved_is_not_taken_for_a_constant():
    """With operators alone the second derivative would come out as 0 here, in silence."""
    f = operation("saving", lambda x: (x * x, 2 * x), lambda g, out, x, saved: (g * saved,))
    assert grad(lambda x: f(x).sum())(np.array([3.0])).tolist() == [6.0]
    with pytest.raises(TypeError, match=r"saving is asked for .* uses what the forward step saved"):
        grad(lambda x: grad(lambda x: f(x).sum())(x).sum())(np.array([3.0]))


@pytest.mark.parametrize(
    ("derivative", "error", "sentence"),
    [
        (lambda g, out, x, y: (g,), ValueError, "wrong has 2 operands and needs a tuple of 2 derivatives, got 1"),
        (lambda g, out, x, y: g, ValueError, "needs a tuple of 2 derivatives, got ndarray"),
        ((lambda g, out, x, y: g,), ValueError, "needs a tuple of 2 derivatives, got 1"),
        (
            lambda g, out, x, y: (g[0], g),
            ValueError,
            r"wrong returned a cotangent for operand 0 of shape \(\); it has to be \(2,\)",
        ),
        (
            lambda g, out, x, y: (g, np.array([1, 2])),
            TypeError,
            "wrong returned a cotangent for operand 1 of type int64",
        ),
    ],
)
def test_a_wrong_derivative_is_refused(derivative, error, sentence):
    f = operation("wrong", lambda x, y: x + y, derivative)
    x, y = (Tensor(np.array([1.0, 2.0]), requires_grad=True) for _ in range(2))
    with pytest.raises(error, match=sentence):
        f(x, y).backward(np.ones(2))


def test_a_tangent_of_another_shape_is_refused():
    f = operation("wrong", lambda x: x + 1, lambda g, out, x: (g,), jvps=(lambda t, out, x: t.sum(),))
    with pytest.raises(ValueError, match=r"returned a tangent along operand 0 of shape \(\); it has to be \(2,\)"):
        jvp(f, (np.ones(2),), (np.ones(2),))


def test_a_reference_that_is_another_function_is_found_by_the_check():
    f = cube(reference=lambda x: x * x * x * 1.001)
    with pytest.raises(AssertionError, match="forward mode"):
        gradcheck(f, np.array([1.0, 2.0]))


def test_shapes_that_do_not_fit_are_named():
    f = linear()
    x, w, b = layer()
    with pytest.raises(ValueError, match=r"linear of shapes \(2, 3\) and \(5, 3\)"):
        f(Tensor(x, requires_grad=True), w.T, b)
