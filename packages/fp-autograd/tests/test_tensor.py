"""Mirrors src/fp_autograd/tensor.py."""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import rules
from fp_autograd.functional import grad, hessian, hvp, jvp
from fp_autograd.tensor import Tensor, no_grad, sweep
from fp_autograd.tracing import Rule, apply


def leaf(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True)


def random_graph(data, n_nodes):
    """A scalar program: each node adds or multiplies two earlier ones; returns leaves and the last node."""
    leaves = [Tensor(np.array(x), requires_grad=True) for x in (0.7, -1.1, 0.4)]
    nodes = list(leaves)
    for _ in range(n_nodes):
        a, b = (nodes[data.draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        nodes.append(data.draw(st.sampled_from([a + b, a * b, a - b * 0.5, (a * 0.3).tanh()])))
    return leaves, nodes


def by_paths(node, seen=None):
    """The derivative of a node in every leaf, by the sum over all paths, with local slopes from the rules."""
    if node._rule is None:
        return {id(node): 1.0}
    out = {}
    for i, x in enumerate(node._operands):
        if isinstance(x, Tensor):
            local = float(node._rule.vjps[i](np.ones(()), node.data, *node._values, **node._settings))
            for key, value in by_paths(x).items():
                out[key] = out.get(key, 0.0) + local * value
    return out


@pytest.mark.claim("autograd.heap-sweep")
@settings(max_examples=60)
@given(st.data(), st.integers(1, 9))
def test_the_sweep_is_the_sum_over_all_paths(data, n_nodes):
    """Exhaustive over the paths of each graph, in which nodes are shared."""
    leaves, nodes = random_graph(data, n_nodes)
    expected = by_paths(nodes[-1])
    nodes[-1].backward()
    for x in leaves:
        got = 0.0 if x.grad is None else float(x.grad)
        assert got == pytest.approx(expected.get(id(x), 0.0), rel=1e-9, abs=1e-9)  # sums in another order


@pytest.mark.claim("autograd.heap-sweep")
@settings(max_examples=60)
@given(st.data(), st.integers(1, 12))
def test_every_tensor_hands_on_once_and_after_all_its_users(data, n_nodes):
    _, nodes = random_graph(data, n_nodes)
    due, front = {}, [nodes[-1]]
    while front:
        node = front.pop()
        due[id(node)] = node
        front += [x for x in node._operands if isinstance(x, Tensor)]
    taken = []

    def watched(node):
        rule = node._rule
        first = lambda g, *rest, **kw: (taken.append(id(node)), rule.vjps[0](g, *rest, **kw))[1]  # noqa: E731
        node._rule = Rule(rule.name, rule.forward, (first, *rule.vjps[1:]), rule.jvps)

    users = {key: set() for key in due}
    for node in due.values():
        for x in node._operands:
            if isinstance(x, Tensor):
                users[id(x)].add(id(node))
        if node._rule is not None:
            watched(node)
    nodes[-1].backward()
    made = [key for key, node in due.items() if node._operands or node._order < 0]
    assert sorted(taken) == sorted(made)  # each once
    place = {key: i for i, key in enumerate(taken)}
    for key in taken:
        assert all(place[user] < place[key] for user in users[key])


def test_a_chain_of_a_hundred_thousand_operations_does_not_overflow_going_back_or_being_freed():
    x = Tensor(np.array(1.0), requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert x.grad == 1.0
    y = x
    for _ in range(100_000):
        y = y + 1.0
    del y  # never swept: freed by Python alone
    gc.collect()


def test_leaves_add_up_and_are_zeroed():
    x = leaf(3)
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full(3, 5.0))
    held = x.grad
    x.sum().backward()
    assert x.grad is held  # in place
    x.zero_grad()
    assert x.grad is None


def test_gradients_of_different_leaves_share_no_memory():
    """Adding hands the same cotangent to both; writing into one gradient must not change the other."""
    x, y = leaf(3), leaf(3)
    (x + y).sum().backward()
    x.grad += 1
    np.testing.assert_array_equal(y.grad, np.ones(3))
    z = leaf(3)
    g = np.ones(3)
    (z + 0.0).backward(g)
    z.grad += 1
    np.testing.assert_array_equal(g, np.ones(3))


def test_intermediate_cotangents_that_are_shared_are_not_added_to_in_place():
    x = leaf(3)
    a, b = x + 1.0, x + 2.0
    c = a + b
    (c + a).sum().backward()  # a receives from c and from the last sum, which handed the same array to c
    np.testing.assert_array_equal(x.grad, np.full(3, 3.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept_forward_and_back(dtype):
    x = Tensor(np.ones((2, 3), dtype), requires_grad=True)
    y = ((x * 2 + 1) / 3).tanh().sum() ** 2
    assert y.dtype == dtype
    y.backward()
    assert x.grad.dtype == dtype


def test_arrays_and_numbers_mix_on_both_sides():
    x = leaf(3)
    for out in (
        np.ones(3) * x,
        x * np.ones(3),
        2 - x,
        x - 2,
        2 / (x + 9),
        np.ones((2, 3)) @ x,
        x @ np.ones((3, 2)),
        2**x,
    ):
        assert isinstance(out, Tensor)
        assert out.requires_grad
    assert (x > 0).dtype == bool
    assert float(x.sum()) == pytest.approx(x.data.sum())


def test_a_gradient_has_the_dtype_of_its_leaf():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    (x * np.ones(3)).sum().backward()
    assert x.grad.dtype == np.float32


def test_tensors_are_compared_counted_and_unpacked_like_arrays():
    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    assert (x == np.array([1.0, 3.0])).tolist() == [True, False]
    assert (x != 1.0).tolist() == [False, True]
    first, second = x
    assert (first.item(), second.item()) == (1.0, 2.0)
    assert first.requires_grad
    assert bool(first)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)
    assert len({x, x}) == 1
    assert x.reshape([2, 1]).shape == x.reshape((2, 1)).shape == x.reshape(2, 1).shape
    assert x.reshape(1, 2).sum(axis=[0, 1]).shape == ()


def test_nothing_is_remembered_without_need():
    x = leaf(3)
    with no_grad():
        y = x * 2
    assert not y.requires_grad
    assert not (Tensor(np.ones(3)) * 2).requires_grad
    assert not (x.detach() * 2).requires_grad
    assert np.shares_memory(x.detach().data, x.data)
    with pytest.raises(ValueError, match="nothing that this tensor was made from requires a gradient"):
        y.sum().backward()
    with pytest.raises(RuntimeError, match="stop"), no_grad():
        raise RuntimeError("stop")
    assert (x * 2).requires_grad  # recording goes on after an error


def test_a_graph_serves_once_or_as_often_as_it_is_kept():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 4 * x.data)
    with pytest.raises(ValueError, match="was given up by an earlier backward: call that one with retain_graph=True"):
        y.backward()
    shared = x * 2
    (shared * 1).sum().backward()
    with pytest.raises(ValueError, match="retain_graph=True"):
        (shared * 3).sum().backward()


def test_arrays_are_freed_while_the_sweep_proceeds():
    x = Tensor(np.ones(5), requires_grad=True)
    middle = x * 2
    gone = weakref.ref(middle)
    seen = []
    last = Rule("last", lambda a: a * 1, (lambda g, out, a: (seen.append(gone() is not None), g)[1],), ())
    first = Rule("first", lambda a: a * 1, (lambda g, out, a: (seen.append(gone() is not None), g)[1],), ())
    y = apply(first, x)
    middle = y * 2
    gone = weakref.ref(middle)
    z = apply(last, middle)
    del middle
    z.backward(np.ones(5))
    assert seen == [True, False]


def test_memory_of_a_training_step_is_what_is_saved():
    """A chain of n results of 80 kB keeps n arrays before the sweep and nothing but a gradient after it."""
    x = Tensor(np.ones(10_000), requires_grad=True)
    tracemalloc.start()
    y = x
    for _ in range(20):
        y = y.tanh()
    kept = tracemalloc.get_traced_memory()[0]
    y.backward(np.ones(10_000))
    tracemalloc.reset_peak()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 20 * 80_000 <= kept < 21.5 * 80_000
    assert after < 3 * 80_000  # the last result and the gradient


def test_gathered_rows_are_added_to_one_array_in_place():
    table = Tensor(np.zeros((1000, 7)), requires_grad=True)
    tracemalloc.start()
    total = sum(table[np.array([i, i + 1])].sum() for i in range(100))
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    total.backward()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    expected = np.zeros(1000)
    expected[:101] = 2
    expected[[0, 100]] = 1
    np.testing.assert_array_equal(table.grad, np.repeat(expected[:, None], 7, axis=1))
    assert peak < 4 * table.data.nbytes  # a hundred arrays of that size otherwise


def test_a_table_that_is_used_whole_and_by_rows_gets_both():
    for order in (0, 1):
        table = Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
        parts = [table[np.array([1, 1])].sum(), (table * 3.0).sum()]
        (parts[order] + parts[1 - order]).backward()
        np.testing.assert_array_equal(table.grad, [[3, 3], [5, 5], [3, 3]])


def test_writes_through_tensors_are_seen():
    x = leaf(3)
    y = (x * x).sum()
    with no_grad():
        x -= 0.5
    with pytest.raises(ValueError, match=r"an array of shape \(3,\) that multiply remembers was written to"):
        y.backward()
    constant = Tensor(np.ones(3))
    y = (x * constant).sum()
    constant[0] = 7.0
    with pytest.raises(ValueError, match="was written to before backward"):
        y.backward()
    y = (x * constant).sum()
    y.backward()
    with no_grad():
        x *= 2  # after the sweep it is free
        x += 1
        x /= 2
    with pytest.raises(ValueError, match="would not be differentiated: use where"):
        x[0] = 1.0


def test_in_place_operators_record_where_recording_is_on():
    x = leaf(3)
    y = x
    y += 1.0
    assert y is not x
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.ones(3))


def test_equal_settings_give_equal_bits():
    def run():
        x, w = leaf(5, 7, seed=1), leaf(7, 3, seed=2)
        ((x @ w).tanh().sum() ** 2).backward()
        return w.grad

    np.testing.assert_array_equal(run(), run())


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: leaf(3).backward(),
            ValueError,
            r"a cotangent for a tensor of shape \(3,\), which is not a single number",
        ),
        (lambda: leaf(3).backward(np.ones(2)), ValueError, r"of shape \(3,\) has that shape, got \(2,\)"),
        (
            lambda: Tensor(np.array([1, 2]), requires_grad=True),
            TypeError,
            "holds real floating-point numbers, got int64",
        ),
        (lambda: Tensor(np.array([1j])), TypeError, "holds real numbers, got complex128"),
        (lambda: Tensor(["a"]), TypeError, "holds real numbers, got <U1"),
        (lambda: leaf(2, 3) + np.ones(4), ValueError, r"add of shapes \(2, 3\) and \(4,\)"),
        (lambda: leaf(2, 3) @ np.ones((2, 3)), ValueError, r"matmul of shapes \(2, 3\) and \(2, 3\)"),
        (lambda: leaf(2, 3).reshape(5), ValueError, r"reshape of shapes \(2, 3\)"),
        (lambda: leaf(3)[5], IndexError, r"index of shapes \(3,\): index 5 is out of bounds"),
        (lambda: len(leaf()), TypeError, "a tensor without axes has no length"),
    ],
)
def test_bad_input_is_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_a_rule_that_returns_a_wrong_shape_is_named():
    wrong = Rule("wrong", lambda x: x * 2, (lambda g, out, x: g[:1],), ())
    with pytest.raises(
        ValueError, match=r"the rule of wrong returned a cotangent of shape \(1,\) for operand 0, whose"
    ):
        apply(wrong, leaf(3)).sum().backward()


def test_what_a_tensor_looks_like():
    x = leaf(2, seed=3)
    assert repr(Tensor(np.array([1.0, 2.0]))) == "Tensor([1., 2.])"
    assert "requires_grad=True" in repr(x)
    assert repr((x * 2).detach() * 1).startswith("Tensor([")
    assert ", by multiply)" in repr(x * 2)
    assert (x.shape, x.ndim, x.size, len(x), x.T.shape) == ((2,), 1, 2, 2, (2,))
    assert x.sum().item() == float(x.sum())


def test_the_sweep_of_a_leaf_is_its_cotangent():
    x = leaf(3)
    sweep(x, np.full(3, 2.0))
    np.testing.assert_array_equal(x.grad, np.full(3, 2.0))
    x = Tensor(np.array(2.0), requires_grad=True)
    x.backward()
    assert x.grad == 1.0


def test_every_operation_of_the_table_is_a_method_or_a_function():
    for name in rules.RULES:
        if "." not in name and name not in (  # a dot: of another package
            "add",
            "subtract",
            "multiply",
            "divide",
            "power",
            "negative",
            "index",
            "sum",
            "mean",
            "max",
            "min",
        ):
            assert hasattr(rules, name) or hasattr(Tensor, name), name


def test_a_stopped_sweep_leaves_nothing_behind():
    x = leaf(3)
    z = x * x
    z.sum().backward()
    x.zero_grad()
    with pytest.raises(ValueError, match="given up by an earlier backward"):
        (z.sum() + x.sum()).backward()
    (x * 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad, np.full(3, 3.0))


def test_writes_are_seen_through_every_tensor_that_shares_the_memory():
    x = leaf(3)
    y = x.exp()
    with no_grad():
        y -= 1.0  # the exponential's derivative is its result
    with pytest.raises(ValueError, match=r"shape \(3,\) that exp remembers was written to"):
        y.sum().backward()
    y = (x * x).sum()
    x.detach()[0] = 5.0
    with pytest.raises(ValueError, match="multiply remembers was written to"):
        y.backward()
    y = (x * x).sum()
    with no_grad():
        view = x[1:]
        view += 1.0
    with pytest.raises(ValueError, match="multiply remembers was written to"):
        y.backward()
    y = (x * x).sum()
    other = Tensor(np.ones(3))
    other[0] = 2.0
    y.backward()  # no array of this graph


def test_an_index_may_be_written_to_before_the_sweep():
    x = leaf(4)
    index, listed, counted = np.array([0, 1]), [0, 1], Tensor(np.array([0, 1]))
    y = x[index].sum() + x[listed].sum() + x[counted].sum() + x[(index,)].sum()
    index[:] = listed[0] = listed[1] = 3
    counted[:] = 3
    y.backward()
    np.testing.assert_array_equal(x.grad, [4.0, 4.0, 0.0, 0.0])


def test_transformations_inside_no_grad_differentiate():
    x = np.array([1.0, 2.0])
    with no_grad():
        np.testing.assert_array_equal(grad(lambda x: (x * x).sum())(x), 2 * x)
        np.testing.assert_array_equal(hessian(lambda x: (x * x).sum())(x), 2 * np.eye(2))

    def cut(x):
        with no_grad():
            slope = grad(lambda y: (y**3).sum())(x)  # a constant to the one around it
        return (slope * x).sum()

    np.testing.assert_array_equal(grad(cut)(x), 3 * x**2)


def test_a_detached_tensor_is_a_constant_at_every_order_and_in_both_modes():
    x, t = np.array([1.0, 2.0]), np.array([1.0, 10.0])

    def f(x):
        return (x.detach() * x).sum() + x.sum().item()

    np.testing.assert_array_equal(grad(f)(x), x)
    np.testing.assert_array_equal(grad(lambda x: grad(f)(x).sum())(x), np.zeros(2))
    np.testing.assert_array_equal(hvp(f)(x, t), np.zeros(2))
    assert jvp(f, (x,), (t,))[1] == x @ t


def test_what_would_lose_its_derivative_is_not_turned_into_numbers():
    x, plain = leaf(3), Tensor(np.zeros(3))
    with pytest.raises(ValueError, match="would make a constant of it: use where, stack or concatenate"):
        plain[0] = x[0] * 2.0
    with pytest.raises(ValueError, match="would make a constant"):
        jvp(lambda x: plain.__setitem__(0, x[0]), (np.ones(3),), (np.ones(3),))
    for numpys in (np.asarray, np.concatenate, lambda parts: np.where(True, parts[0], 0.0)):
        with pytest.raises(TypeError, match="NumPy would make a constant of a tensor that is being differentiated"):
            numpys([x, x])
    plain[:] = x.detach()
    with no_grad():
        plain[0] = x[0]
        plain += x
        np.testing.assert_array_equal(np.asarray(x), x.data)
    np.testing.assert_array_equal(np.asarray(plain), 2 * x.data)
    assert np.array(plain, np.float32).dtype == np.float32


def test_a_write_that_does_not_fit_names_both_shapes():
    x = leaf(3)
    with no_grad(), pytest.raises(ValueError, match=r"subtract in place, of shapes \(3,\) and \(2, 3\)"):
        x -= np.ones((2, 3))


def test_axes_that_are_not_there_are_named():
    with pytest.raises(ValueError, match=r"swapaxes of 0 and 2: a tensor of shape \(2, 3\) has 2 axes"):
        Tensor(np.ones((2, 3))).swapaxes(0, 2)
