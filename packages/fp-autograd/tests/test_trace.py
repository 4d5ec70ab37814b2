"""Mirrors src/fp_autograd/trace.py."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd.functional import grad, jvp
from fp_autograd.mlp import MLP
from fp_autograd.rules import concatenate
from fp_autograd.tensor import Mode, Tensor
from fp_autograd.trace import to_json, trace
from fp_autograd.value import Value

choices = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=14)


def program(chosen, *inputs):
    """What the operations that the numbers choose make of the inputs and of earlier results."""
    made = list(inputs)
    for operation, a, b in chosen:
        x, y = made[a % len(made)], made[b % len(made)]
        made.append((x + y, x * y, x - y, x.tanh(), x * x * y)[operation])
    return made[-1]


def replayed(text):
    """Gradients by adding up the shares of a trace, read as a visualizer reads it."""
    found = json.loads(text)
    totals = {node["id"]: 0.0 for node in found["nodes"]}
    totals[found["result"]] = np.ones(found["nodes"][-1]["shape"]) if found["backward"] else 1.0
    for step in found["backward"]:
        np.testing.assert_array_equal(totals[step["node"]], np.array(step["cotangent"]))  # nothing arrives later
        operands = next(node["operands"] for node in found["nodes"] if node["id"] == step["node"])
        for share in step["shares"]:
            assert operands[share["operand"]] == share["to"]
            totals[share["to"]] = totals[share["to"]] + np.array(share["share"])
            np.testing.assert_array_equal(totals[share["to"]], np.array(share["total"]))  # the same additions
    return {id: totals[id] for id in found["gradients"]}, found


@pytest.mark.claim("autograd.trace-complete")
@settings(max_examples=50)
@given(choices)
def test_replaying_the_steps_of_values_gives_the_gradients_that_backward_finds(chosen):
    numbers = [0.5, -0.75, 1.25]
    totals, found = replayed(to_json(trace(lambda *inputs: program(chosen, *inputs), *numbers)))
    leaves = [Value(x) for x in numbers]
    program(chosen, *leaves).backward()
    for k, leaf in enumerate(leaves):
        # 1e-12: the order of the sums may differ; at most 15 operations make numbers that stay near their slopes
        assert totals[f"v{k + 1}"] == pytest.approx(leaf.grad, rel=1e-12, abs=1e-12)
        assert found["gradients"][f"v{k + 1}"] == totals[f"v{k + 1}"]


@pytest.mark.claim("autograd.trace-complete")
@settings(max_examples=50)
@given(choices)
def test_replaying_the_steps_of_tensors_gives_the_gradients_that_grad_finds(chosen):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, shape) for shape in ((2, 3), (3,), (2, 1))]

    def f(arrays):
        return program(chosen, *arrays).sum()

    totals, found = replayed(to_json(trace(f, arrays)))
    for k, expected in enumerate(grad(f)(arrays)):
        # the same operations in the same order
        np.testing.assert_array_equal(np.broadcast_to(totals[f"v{k + 1}"], expected.shape), expected)
        np.testing.assert_array_equal(found["gradients"][f"v{k + 1}"], expected)


def test_steps_come_in_the_order_in_which_backward_takes_them():
    def f(x, y):
        h = (x @ y).tanh()
        return (h * h + x.sum(axis=1)[0] * 2.0 - h.exp()).mean()

    x, y = np.arange(6.0).reshape(2, 3) / 7, np.ones((3, 5)) / 3
    found = trace(f, x, y)
    heard = []
    Mode.returned = lambda node, rule, i, gx: heard.append((rule.name, i, gx.tolist()))
    try:
        f(*(Tensor(a, requires_grad=True) for a in (x, y))).backward()
    finally:
        Mode.returned = None
    operations = {node["id"]: node["operation"].partition("(")[0] for node in found["nodes"]}
    told = [(operations[step["node"]], s["operand"], s["share"]) for step in found["backward"] for s in step["shares"]]
    told, heard = ([step for step in steps if step[0] != "index"] for steps in (told, heard))  # adds in place, unheard
    assert told == heard and len(heard) == 13


def test_a_product_and_a_sum_by_hand():
    found = trace(lambda x, y: x * y + x, 3, 4.0)
    assert found["version"] == 1 and found["engine"] == "value" and found["result"] == "v4"
    assert found["nodes"][1] == {
        "id": "v2",
        "kind": "input",
        "label": "y",
        "operation": "",
        "operands": [],
        "shape": [],
        "value": 4.0,
    }
    assert found["nodes"][3] | {"value": 15.0, "operands": ["v3", "v1"], "kind": "result"} == found["nodes"][3]
    assert found["forward"] == [{"node": "v3", "local": [4.0, 3.0]}, {"node": "v4", "local": [1.0, 1.0]}]
    assert found["backward"][1] == {
        "node": "v3",
        "cotangent": 1.0,
        "shares": [
            {"operand": 0, "to": "v1", "share": 4.0, "total": 5.0},
            {"operand": 1, "to": "v2", "share": 3.0, "total": 3.0},
        ],
    }


def test_local_derivatives_carry_tangents_forward():
    x, t = np.array([[0.5, -1.0, 2.0]]), np.array([[1.0, 0.5, -2.0]])
    w = np.array([[1.0, 2.0], [0.0, -1.0], [1.0, 3.0]])

    def f(x):
        return (x @ w).softmax().log().sum()

    found = trace(f, x)
    tangents = {"v1": t}
    for step in found["forward"]:
        operands = next(node["operands"] for node in found["nodes"] if node["id"] == step["node"])
        moved = [
            np.tensordot(local, tangents[o], axes=np.ndim(tangents[o]))
            for o, local in zip(operands, step["local"], strict=True)
            if local is not None
        ]
        tangents[step["node"]] = sum(moved)
    # the slopes of the logarithm of a softmax reach 1000 here, so 1e-12 is their rounding
    assert float(tangents[found["result"]]) == pytest.approx(float(jvp(f, (x,), (t,))[1]), rel=1e-11)
    assert found["nodes"][1]["kind"] == "constant" and found["forward"][0]["local"][1] is None
    assert list(found["gradients"]) == ["v1"]


def test_arguments_have_the_names_of_the_function_and_come_first_even_if_unused():
    def loss(weights, *rest, scale=2.0):
        return (weights["a"][1] * rest[0]).sum() * scale

    found = trace(loss, {"a": (np.zeros(2), np.ones(3))}, np.full(3, 2.0), np.array([1, 2]), "text")
    named = [(node["id"], node["label"]) for node in found["nodes"] if node["label"]]
    assert named == [("v1", "weights['a'][0]"), ("v2", "weights['a'][1]"), ("v3", "rest[0]")]
    assert found["gradients"] == {"v1": [0.0, 0.0], "v2": [4.0, 4.0, 4.0], "v3": [2.0, 2.0, 2.0]}
    assert [node["label"] for node in trace(max, 2.0, 3.0)["nodes"]] == ["args[0]", "args[1]"]  # written in C


def test_floats_beside_an_array_become_tensors_and_whole_numbers_stay_what_they_are():
    found = trace(lambda x, c, axis: (x * c).sum(axis=axis).sum(), np.ones((2, 3), np.float32), 0.5, 0)
    assert found["engine"] == "tensor" and found["gradients"]["v2"] == 6.0
    found = trace(lambda x, rows: x[rows].sum(), np.ones(3), np.array([0, 0, 2]))
    assert found["gradients"] == {"v1": [2.0, 0.0, 1.0]} and found["nodes"][1]["operation"] == "index([0, 0, 2])"


def test_weights_that_a_function_holds_are_inputs_and_keep_their_gradients():
    model = MLP(2, [3, 1], rng=np.random.default_rng(1))
    for p in model.parameters():
        p.grad = 7.0
    found = trace(lambda x, y: (model([x, y]) - 1) ** 2, 0.5, -2.0)
    assert all(p.grad == 7.0 for p in model.parameters())
    assert sum(node["kind"] == "input" for node in found["nodes"]) == 2 + len(model.parameters())
    totals, _ = replayed(to_json(found))
    model.zero_grad()
    x, y = Value(0.5), Value(-2.0)
    ((model([x, y]) - 1) ** 2).backward()
    assert totals["v1"] == pytest.approx(x.grad, rel=1e-14)  # sums of three numbers of one size
    assert totals["v2"] == pytest.approx(y.grad, rel=1e-14)
    w = Tensor(np.ones(2), requires_grad=True)
    assert trace(lambda x: (x * w).sum(), np.ones(2))["gradients"] == {"v1": [1, 1], "v2": [1, 1]} and w.grad is None


def test_numbers_that_json_lacks_are_strings():
    found = json.loads(to_json(trace(lambda x, y: x.exp() - x.exp() + y * -math.inf, 1000.0, 1.0)))
    values = [node["value"] for node in found["nodes"]]
    assert values[:5] == [1000.0, 1.0, "Infinity", "Infinity", "NaN"] and "-Infinity" in values
    assert found["gradients"] == {"v1": "NaN", "v2": "-Infinity"}
    with np.errstate(all="ignore"):
        found = trace(lambda x: (x / x).sum(), np.array([0.0, 1.0]))
    assert found["nodes"][1]["value"] == ["NaN", 1.0]


def test_large_arrays_are_left_out_and_their_shapes_are_not():
    def f(x):
        return concatenate([x, x]).sum()

    found = trace(f, np.ones((5, 7)), limit=35)
    assert [node["value"] is None for node in found["nodes"]] == [False, True, False]
    assert found["nodes"][1]["shape"] == [10, 7] and found["forward"][0]["local"] == [None, None]
    assert found["gradients"]["v1"] == [[2.0] * 7] * 5
    assert trace(f, np.ones((5, 7)), limit=34)["gradients"] == {"v1": None}


def test_traces_are_the_same_each_time_and_an_argument_itself_can_be_the_result():
    def f(x, y):
        return (x * y).tanh() + y

    assert to_json(trace(f, 2.0, 3.0)) == to_json(trace(f, 2.0, 3.0))
    found = trace(lambda x, y: x, 2.0, 3.0)
    assert found["result"] == "v1" and found["backward"] == [] and found["gradients"] == {"v1": 1.0, "v2": 0.0}
    twice = Value(2.0)
    assert [node["label"] for node in trace(lambda a, b: a * b, twice, twice)["nodes"]] == ["a", ""]


def test_what_cannot_be_traced_is_refused(shapes_unchecked):
    with pytest.raises(ValueError, match=r"returns one number, got shape \(2,\): sum it"):
        trace(lambda x: x * 2, np.ones(2))
    with pytest.raises(TypeError, match="only a Value or a Tensor remembers how it was made, got float"):
        trace(lambda x: float(x), 2.0)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        trace(lambda x: x, 2.0, limit=-1)

    def swept(x):
        loss = (x * x).sum()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="freed by backward"):
        trace(swept, np.ones(2))
