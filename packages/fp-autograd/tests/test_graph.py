"""Mirrors src/fp_autograd/graph.py."""

import math
from collections import Counter
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import graph as section
from fp_autograd.calculus import ELEMENTARY
from fp_autograd.graph import (
    OPERATIONS,
    Edge,
    Graph,
    Operation,
    Step,
    checkpointed_reverse,
    gather_cotangent,
    topological_order,
    value_and_gradient,
)
from fp_autograd.linear_algebra import numerical_jacobian

FIVE = list(combinations(range(5), 2))  # the edges of a graph on five nodes that lead from lower to higher numbers


def whole(rng, *shape):
    """Whole numbers as floats: products and sums of these are exact."""
    return rng.integers(-4, 5, shape).astype(float)


@pytest.mark.claim("autograd.topological-order")
def test_an_order_exists_exactly_without_a_cycle_on_every_graph_of_four_nodes():
    pairs = list(permutations(range(4), 2))
    orders = [{node: place for place, node in enumerate(order)} for order in permutations(range(4))]
    found_some = Counter()
    for chosen in product((False, True), repeat=len(pairs)):
        edges = [pair for pair, use in zip(pairs, chosen, strict=True) if use]
        reach = np.eye(4, dtype=int)  # a cycle shows as a closed walk of some length up to four
        step = np.zeros((4, 4), int)
        for a, b in edges:
            step[a, b] = 1
        cyclic = False
        for _ in range(4):
            reach = reach @ step
            cyclic = cyclic or np.trace(reach) > 0
        possible = any(all(place[a] < place[b] for a, b in edges) for place in orders)
        assert possible == (not cyclic)
        try:
            order = topological_order(4, edges)
        except ValueError:
            order = None
        assert (order is not None) == possible
        if order is not None:
            assert sorted(order) == [0, 1, 2, 3]
            assert all(order.index(a) < order.index(b) for a, b in edges)
        found_some[possible] += 1
    assert found_some == {True: 543, False: 4096 - 543}  # the number of acyclic graphs on four labelled nodes


def test_a_loop_at_one_node_is_a_cycle():
    with pytest.raises(ValueError, match=r"cycle.*\[1\]"):
        topological_order(2, [(0, 1), (1, 1)])


@pytest.mark.claim("autograd.topological-order")
def test_each_node_and_each_edge_is_looked_at_once():
    class Watched(list):
        looked_at = 0

        def __iter__(self):
            for item in super().__iter__():
                Watched.looked_at += 1
                yield item

    edges = Watched((a, b) for a in range(30) for b in range(a + 1, 30))
    assert topological_order(30, edges) == list(range(30))
    assert Watched.looked_at == 30 * 29 / 2
    # a deep chain is no harder: no recursion
    assert topological_order(100_000, [(k, k + 1) for k in range(99_999)])[-1] == 99_999


@pytest.mark.claim("autograd.graph-jacobian")
def test_the_sum_over_paths_is_the_derivative_on_every_graph_of_five_nodes():
    rng = np.random.default_rng(2)
    sizes = [2, 3, 1, 3, 2]
    weights = {(a, b): rng.normal(size=(sizes[b], sizes[a])) / 2 for a, b in FIVE}
    bias = [rng.normal(size=size) for size in sizes]

    def run(edges, cut, value):
        """All nodes, node `cut` having the given value whatever its parents say."""
        nodes = []
        for i in range(5):
            z = bias[i] + sum((weights[a, b] @ nodes[a] for a, b in edges if b == i), np.zeros(sizes[i]))
            nodes.append(value if i == cut else np.tanh(z))
        return nodes

    for chosen in product((False, True), repeat=len(FIVE)):
        edges = [pair for pair, use in zip(FIVE, chosen, strict=True) if use]
        j = sum(chosen) % 3  # each of the first three nodes takes its turn
        at = run(edges, -1, None)
        graph = Graph(sizes, [Edge(a, b, (1 - at[b] ** 2)[:, None] * weights[a, b]) for a, b in edges])
        everything = numerical_jacobian(lambda v, edges=edges, j=j: np.concatenate(run(edges, j, v)), at[j])
        numeric = np.split(everything, np.cumsum(sizes)[:-1])
        for i in range(5):
            # 1e-8: central differences of a few tanh, with third derivatives up to ten or so
            assert graph.path_sum(j, i) == pytest.approx(numeric[i], abs=1e-8)


@pytest.mark.claim("autograd.graph-jacobian")
def test_a_result_that_is_used_twice_by_one_operation_counts_twice():
    graph = Graph([1, 1, 1], [Edge(0, 1, np.full((1, 1), 3.0))] * 2 + [Edge(1, 2, np.full((1, 1), 5.0))])
    assert sorted(graph.paths(0, 2)) == [(0, 2), (1, 2)]
    assert graph.path_sum(0, 2) == 30  # of 5 x^2 / 2 + ..., twice 3 * 5


@pytest.mark.claim("autograd.graph-jacobian")
@pytest.mark.claim("autograd.two-sweeps")
def test_both_recursions_and_both_sweeps_agree_with_the_sum_over_paths_on_every_graph_of_five_nodes():
    rng = np.random.default_rng(3)
    sizes = [2, 1, 3, 2, 1]
    for chosen in product((False, True), repeat=len(FIVE)):
        name = rng.permutation(5)  # so that the order has to be found
        size = [sizes[int(np.flatnonzero(name == node)[0])] for node in range(5)]
        edges = [
            Edge(int(name[a]), int(name[b]), whole(rng, sizes[b], sizes[a]))
            for (a, b), use in zip(FIVE, chosen, strict=True)
            if use
        ]
        graph = Graph(size, edges)
        D = [[graph.path_sum(j, i) for j in range(5)] for i in range(5)]  # whole numbers: everything here is exact
        tangents, cotangents = ([whole(rng, size[node]) for node in range(5)] for _ in range(2))
        dotted, barred = graph.forward(dict(enumerate(tangents))), graph.reverse(dict(enumerate(cotangents)))
        for i in range(5):
            assert np.array_equal(dotted[i], sum(D[i][j] @ tangents[j] for j in range(5)))
            assert np.array_equal(barred[i], sum(D[k][i].T @ cotangents[k] for k in range(5)))
        i, j = 4 - sum(chosen) % 5, sum(chosen) // 2 % 5
        if i != j:
            zero = np.zeros((size[i], size[j]))
            assert np.array_equal(D[i][j], sum((e.jacobian @ D[e.start][j] for e in edges if e.end == i), zero))
            assert np.array_equal(D[i][j], sum((D[i][e.end] @ e.jacobian for e in edges if e.start == j), zero))
        assert sum(np.dot(*pair) for pair in zip(cotangents, dotted, strict=True)) == sum(
            np.dot(*pair) for pair in zip(barred, tangents, strict=True)
        )


@pytest.mark.claim("autograd.two-sweeps")
def test_each_edge_is_used_once_in_a_sweep():
    used = Counter()

    class Counted(np.ndarray):
        def __matmul__(self, other):
            used[int(self.flat[0])] += 1
            return np.asarray(self) @ np.asarray(other)

    edges = [Edge(a, b, np.full((1, 1), float(k)).view(Counted)) for k, (a, b) in enumerate(FIVE)]
    graph = Graph([1] * 5, edges)
    for sweep, node in [(graph.forward, 0), (graph.reverse, 4)]:
        used.clear()
        sweep({node: np.ones(1)})
        assert used == dict.fromkeys(range(len(FIVE)), 1)


def test_a_sweep_in_a_wrong_order_loses_a_share():
    # the square 0 -> 1 -> 3, 0 -> 2 -> 3 with 1 -> 2 added: node 1 has the users 2 and 3
    edges = [Edge(a, b, np.ones((1, 1))) for a, b in [(0, 1), (0, 2), (1, 3), (2, 3), (1, 2)]]
    graph = Graph([1] * 4, edges)
    assert graph.reverse({3: np.ones(1)})[0] == 3
    graph.order = [0, 2, 1, 3]  # reversed, it visits node 1 before its user 2
    assert graph.reverse({3: np.ones(1)})[0] == 2


counted = Counter()


class Number(float):
    """A number that counts the operations it takes part in, as the model of cost does."""

    def _binary(name):
        def operate(self, other):
            counted["operations"] += 1
            return Number(getattr(float, name)(self, float(other)))

        return operate

    __add__, __radd__, __sub__, __rsub__ = map(_binary, ("__add__", "__radd__", "__sub__", "__rsub__"))
    __mul__, __rmul__ = map(_binary, ("__mul__", "__rmul__"))
    __truediv__, __rtruediv__ = map(_binary, ("__truediv__", "__rtruediv__"))

    def __neg__(self):
        return Number(-float(self))


def counting(value):
    def f(x):
        counted["operations"] += 1
        return Number(value(float(x)))

    return f


@pytest.fixture(scope="module")
def counted_operations():
    """The table with elementary functions that count, too."""
    patch = pytest.MonkeyPatch()
    binary = {"+", "-", "*", "/"}
    table = {n: o if n in binary else Operation(counting(o.value), o.pull, o.cost) for n, o in OPERATIONS.items()}
    patch.setattr(section, "OPERATIONS", table)
    yield
    patch.undo()


@st.composite
def programs(draw):
    """Programs that use every variable and every result, kept where no function leaves its domain."""
    n = draw(st.integers(1, 3))
    loose, steps = list(range(n)), []
    length = draw(st.integers(1, 12))
    while len(steps) < length or len(loose) > 1:
        number = n + len(steps)
        unary = len(loose) == 1 and draw(st.booleans())
        name = draw(st.sampled_from(["exp", "log", "sqrt", "tanh", "sigmoid", "relu", "abs"] if unary else "+-*/"))
        first = draw(st.sampled_from(loose))
        loose.remove(first)
        if unary:
            steps.append(Step(name, (first,)))
        else:
            second = draw(st.sampled_from(loose or list(range(number))))
            if second in loose:
                loose.remove(second)
            steps.append(Step(name, (first, second)))
        loose.append(number)
    return n, steps


@pytest.mark.claim("autograd.cheap-gradient")
@given(programs(), st.lists(st.floats(0.5, 2), min_size=3, max_size=3))
def test_a_gradient_costs_at_most_four_times_its_function(counted_operations, program, x):
    n, steps = program
    counted.clear()
    try:
        value, gradient, cost = value_and_gradient(steps, [Number(v) for v in x[:n]], Number(1.0))
    except (ValueError, OverflowError, ZeroDivisionError):
        return  # a logarithm of a negative number and the like: no value, no gradient
    del value
    assert cost <= 4 * len(steps) + 1 - n <= 4 * len(steps)
    # counted by the numbers themselves; relu and abs multiply by a slope that the model lets be a copy or nothing
    assert counted["operations"] == cost
    assert len(gradient) == n


class Moving(float):
    """A number with a tangent, both counting; a plain number beside it is a constant."""

    def __new__(cls, value, tangent):
        self = super().__new__(cls, value)
        self.value, self.tangent = Number(value), Number(tangent)
        return self

    def __add__(self, other):
        if not isinstance(other, Moving):
            return Moving(self.value + other, self.tangent)
        return Moving(self.value + other.value, self.tangent + other.tangent)

    def __neg__(self):
        return Moving(-self.value, -self.tangent)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        if not isinstance(other, Moving):
            return Moving(self.value * other, self.tangent * other)
        return Moving(self.value * other.value, self.tangent * other.value + self.value * other.tangent)

    def __truediv__(self, other):
        z = self.value / other.value
        return Moving(z, (self.tangent - z * other.tangent) / other.value)

    def __rtruediv__(self, other):
        z = Number(other) / self.value
        return Moving(z, -(z * self.tangent / self.value))

    __radd__, __rmul__ = __add__, __mul__


def moving(name):
    def f(x):
        counted["operations"] += 1
        z = Number(ELEMENTARY[name].value(float(x)))
        return Moving(z, ELEMENTARY[name].slope(x.value, z) * x.tangent)

    return f


@pytest.mark.claim("autograd.hvp-cost")
@settings(deadline=None)
@given(programs(), st.lists(st.floats(0.5, 2), min_size=6, max_size=6))
def test_a_hessian_vector_product_costs_at_most_sixteen_times_its_function(program, numbers):
    n, steps = program
    x, v = np.array(numbers[:n]), np.array(numbers[3 : 3 + n])
    kinks = {"relu", "abs"} & {step.name for step in steps}
    with pytest.MonkeyPatch.context() as patch:
        table = {k: o._replace(value=moving(k)) if k in ELEMENTARY else o for k, o in section.OPERATIONS.items()}
        patch.setattr(section, "OPERATIONS", table)
        counted.clear()
        try:
            _, gradient, _ = value_and_gradient(steps, [Moving(*pair) for pair in zip(x, v, strict=True)], 1.0)
        except (ValueError, OverflowError, ZeroDivisionError):
            return  # no value, no gradient
    assert counted["operations"] <= 16 * len(steps)
    if kinks or not all(isinstance(g, Moving) and abs(g.tangent) < 1e3 for g in gradient):
        return  # the count is what matters there
    h = 1e-5
    try:
        right, left = (np.array(value_and_gradient(steps, (x + s * v).tolist())[1]) for s in (h, -h))
    except (ValueError, OverflowError, ZeroDivisionError):
        return
    slopes = (right - left) / (2 * h)
    if np.abs(slopes).max() < 1e3 and np.abs(right - left).max() < 1e-2:
        expected = pytest.approx(slopes, rel=1e-3, abs=1e-4)
        assert [float(g.tangent) for g in gradient] == expected


@pytest.mark.claim("autograd.cheap-gradient")
@pytest.mark.parametrize("n", [2, 3, 7, 100])
def test_the_product_of_all_variables_reaches_the_bound(n):
    steps = [Step("*", (0, 1)), *(Step("*", (n + k, k + 2)) for k in range(n - 2))]
    x = [1 + k / n for k in range(n)]
    value, gradient, cost = value_and_gradient(steps, x)
    assert cost == 3 * (n - 1) == 4 * len(steps) + 1 - n
    # 1e-13: up to two hundred roundings, each of at most 1.2e-16
    assert gradient == pytest.approx([math.prod(x) / v for v in x], rel=1e-13)
    assert value == pytest.approx(math.prod(x), rel=1e-13)


def test_gradients_of_programs_against_differences():
    rng = np.random.default_rng(5)
    for name, operation in OPERATIONS.items():
        binary = name in "+-*/"
        # two steps before it and one after, so that cotangents other than one arrive and one node is used twice
        steps = [
            Step("*", (0, 1)),
            Step("sigmoid", (2,)),
            Step(name, (3, 0) if binary else (3,)),
            Step("/", (4, 3)),
            Step("*", (5, 4)),
        ]
        x = rng.uniform(0.5, 2, 2)
        value, gradient, _ = value_and_gradient(steps, x.tolist())
        numeric = numerical_jacobian(lambda v, s=steps: np.array([value_and_gradient(s, v.tolist())[0]]), x)[0]
        assert gradient == pytest.approx(numeric, abs=1e-8), name  # third derivatives of a few tens
        assert operation.cost <= 3
        assert math.isfinite(value)


def test_a_step_that_is_not_needed_costs_its_evaluation_only():
    value, gradient, cost = value_and_gradient([Step("exp", (1,)), Step("tanh", (0,))], [0.5, 2.0])
    assert (value, gradient) == (math.tanh(0.5), [1 - math.tanh(0.5) ** 2, 0.0])
    assert cost == 2 + 3


@pytest.mark.claim("autograd.dense-gather")
@given(st.lists(st.integers(0, 6), min_size=1, max_size=23), st.integers(0, 10))
def test_scattering_in_place_writes_a_sum_and_dense_arrays_a_product(indices, seed):
    g = np.random.default_rng(seed).integers(-9, 10, len(indices)).astype(float).tolist()
    in_place, few = gather_cotangent(indices, g, 7)
    dense, many = gather_cotangent(indices, g, 7, dense=True)
    assert few == 7 + len(indices)
    assert many == (2 * len(indices) - 1) * 7
    expected = [sum(c for i, c in zip(indices, g, strict=True) if i == entry) for entry in range(7)]
    assert in_place.tolist() == dense.tolist() == expected  # whole numbers: exact


@pytest.mark.claim("autograd.dense-gather")
def test_entries_written_by_dense_arrays_counted_as_they_are_made(monkeypatch):
    made = Counter()

    class Watched(np.ndarray):
        def __add__(self, other):
            made["entries"] += self.size
            return (np.asarray(self) + np.asarray(other)).view(Watched)

        def __setitem__(self, key, value):
            made["entries"] += key != slice(None) and made["in place"]
            super().__setitem__(key, value)

    def zeros(size):
        made["entries"] += size
        return np.ndarray.__new__(Watched, size, buffer=bytearray(8 * size))

    monkeypatch.setattr(section.np, "zeros", zeros)
    for in_place in (0, 1):
        made.clear()
        made["in place"] = in_place
        _, written = gather_cotangent([3, 1, 3, 0], [1.0, 2.0, 3.0, 4.0], 5, dense=not in_place)
        # the accumulator that dense arrays do not need was made all the same
        assert made["entries"] - (0 if in_place else 5) == written


@pytest.mark.claim("autograd.checkpoint")
def test_what_checkpoints_hold_and_repeat_for_every_distance_in_every_short_chain():
    calls = Counter()

    def step(t):
        def f(x):
            calls["f"] += 1
            return math.sin(x) + t / 7

        return f, lambda g, x: g * math.cos(x)

    for L in range(1, 31):
        steps = [step(t) for t in range(L)]
        x, g = 0.3, 1.0
        for f, _ in steps:
            g *= math.cos(x)
            x = f(x)
        least = None
        for every in range(1, L + 1):
            calls.clear()
            cotangent, held, evaluations = checkpointed_reverse(steps, 0.3, 1.0, every)
            assert cotangent == pytest.approx(g, rel=1e-13)  # the same factors, multiplied from the other end
            assert held == math.ceil(L / every) + every - 1
            assert evaluations == calls["f"] == 2 * L - math.ceil(L / every)
            least = held if least is None else min(least, held)
        root = math.isqrt(L - 1) + 1  # the square root, rounded up
        assert checkpointed_reverse(steps, 0.3, 1.0, root)[1] <= 2 * root - 1
        assert least >= 2 * math.sqrt(L) - 1 - 1e-12  # rounding of the root


@pytest.mark.claim("autograd.checkpoint")
def test_states_alive_at_a_time_counted_by_the_states_themselves():
    alive = Counter()

    class State:
        def __init__(self, value):
            self.value = value
            alive["now"] += 1
            alive["most"] = max(alive["most"], alive["now"])

        def __del__(self):
            alive["now"] -= 1

    square = (lambda s: State(s.value * 0.5), lambda g, s: g * 0.5 + 0 * s.value)
    for L, every in [(100, 10), (30, 7), (30, 30)]:
        alive.clear()
        _, held, _ = checkpointed_reverse([square] * L, State(1.0), 1.0, every)
        # besides what is held: the last state, and of two segments the one before while the next is begun
        assert held <= alive["most"] <= held + 2 + every
        if every == L:
            assert held == L


def test_bad_input_is_answered_with_a_sentence(shapes_unchecked):
    with pytest.raises(ValueError, match=r"from 0 to 1, got \(0, 2\)"):
        topological_order(2, [(0, 2)])
    with pytest.raises(ValueError, match=r"\(outputs, inputs\), \(3, 2\), got \(2, 3\)"):
        Graph([2, 3], [Edge(0, 1, np.ones((2, 3)))])
    for seeds in ({0: np.ones(3)}, {7: np.ones(2)}):
        with pytest.raises(ValueError, match="a seed is a vector"):
            Graph([2], []).forward(seeds)
    with pytest.raises(ValueError, match="at least one step"):
        value_and_gradient([], [1.0])
    for step in (Step("power", (0, 0)), Step("exp", (1,))):
        with pytest.raises(ValueError, match="step 0 needs one of"):
            value_and_gradient([step], [1.0])
    for indices, g in [([], []), ([1], [1.0, 2.0]), ([5], [1.0]), ([-1], [1.0])]:
        with pytest.raises(ValueError, match="needs one cotangent"):
            gather_cotangent(indices, g, 5)
    for every in (0, 2):
        with pytest.raises(ValueError, match="between 1 and the 1 steps"):
            checkpointed_reverse([(abs, lambda g, x: g)], 1.0, 1.0, every)
