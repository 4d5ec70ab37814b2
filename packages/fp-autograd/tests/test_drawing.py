"""Mirrors src/fp_autograd/drawing.py. What the pictures look like was judged by eye; these tests hold their content."""

import itertools
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_autograd import drawing
from fp_autograd.drawing import SVG, cotangents, crossings, draw, layers, pooled, recorded, sorted_by_barycentre
from fp_autograd.functional import grad
from fp_autograd.rules import concatenate, where
from fp_autograd.tensor import Tensor
from fp_autograd.value import Value

NS = "{http://www.w3.org/2000/svg}"
anything = st.text(st.characters(exclude_categories=()), max_size=3)  # with surrogates and control characters


def parse(svg):
    return ET.fromstring(svg.encode())  # a lone surrogate would fail here


def texts(root, cls):
    return [node.text for node in root.iter(f"{NS}text") if cls in node.get("class").split()]


def edges(root):
    """Names of edges that arrive somewhere, with their local derivatives."""
    groups = [g for g in root.iter(f"{NS}g") if g.get("class") == "edge" and g.find(f"{NS}polygon") is not None]
    return [g.find(f"{NS}title").text for g in groups]


def bounds(rect):
    x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
    return np.array([x, y, x + w, y + h])


def boxes(root):
    """Bounds of the nodes and of the numbers on edges, by kind."""
    picture = next(g for g in root.iter(f"{NS}g") if "transform" in g.attrib)
    nodes = [bounds(g.find(f"{NS}rect")) for g in picture if g.get("class").startswith("node")]
    return nodes, [bounds(rect) for rect in picture.findall(f"{NS}rect")]


def curve(path):
    """Points on a path of M, C and L."""
    points, here = [], None
    for order, numbers in re.findall(r"([MCL])([^MCL]+)", path):
        given = np.array([float(x) for x in re.findall(r"-?[\d.]+", numbers)]).reshape(-1, 2)
        if order == "C":
            t = np.linspace(0, 1, 33)[:, None]
            a, b, c = given
            points.append((1 - t) ** 3 * here + 3 * t * (1 - t) ** 2 * a + 3 * t * t * (1 - t) * b + t**3 * c)
        elif order == "L":
            points.append(np.linspace(here, given[0], 17))
        here = given[-1]
    return np.concatenate(points)


def program(choices, leaves=3):
    """A value made by the operations that the numbers choose, of earlier values."""
    made = [Value(0.5 + k) for k in range(leaves)]
    for operation, a, b in choices:
        x, y = made[a % len(made)], made[b % len(made)]
        made.append((x + y, x * y, x - y, x.tanh(), x * x * y)[operation])
    return made[-1]


programs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=14)


@pytest.mark.claim("autograd.longest-path-layers")
def test_layers_are_longest_paths_and_no_choice_of_layers_puts_any_node_lower():
    n = 5
    pairs = list(itertools.combinations(range(n), 2))
    tried = 0
    for chosen in itertools.product((False, True), repeat=len(pairs)):
        links = [pair for pair, taken in zip(pairs, chosen, strict=True) if taken]
        if {a for a, _ in links} != set(range(n - 1)):
            continue  # some node is not used, so that the result is not reached from it
        tried += 1
        found = layers([[a for a, b in links if b == user] for user in range(n)])

        def lengths(v, links=links):
            return [0] if v == n - 1 else [1 + more for a, b in links if a == v for more in lengths(b)]

        assert found == [max(lengths(v)) for v in range(n)]
        assert all(min(found[v] - found[b] for a, b in links if a == v) == 1 for v in range(n - 1))
        choices = ((*m, 0) for m in itertools.product(range(n), repeat=n - 1))
        others = [m for m in choices if all(m[a] > m[b] for a, b in links)]
        assert found in [list(m) for m in others]
        assert all(ours <= theirs for m in others for ours, theirs in zip(found, m, strict=True))
    assert tried == 315  # 15 * 7 * 3 * 1 choices of users for the first four nodes


@pytest.mark.claim("autograd.barycentre")
def test_barycentres_find_an_order_without_crossing_wherever_there_is_one():
    possible = 0
    subsets = [ends for k in range(4) for ends in itertools.combinations(range(3), k)]
    for chosen in itertools.product(subsets, repeat=3):  # neighbours of each of three points among three places

        def count(order, chosen=chosen):
            return sum(a > b for u, v in itertools.combinations(order, 2) for a in chosen[u] for b in chosen[v])

        neighbours = dict(enumerate(chosen))
        orders = list(itertools.permutations(range(3)))
        assert all(crossings(order, neighbours) == count(order) for order in orders)
        if min(count(order) for order in orders) == 0:
            possible += 1
            for order in orders:  # equal barycentres stay as they were: every arrangement of them is tried
                assert count(sorted_by_barycentre(order, neighbours)) == 0
    assert 8 < possible < 512


@pytest.mark.claim("autograd.pooling")
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_pooling_is_the_best_of_all_ways_to_make_blocks_and_no_step_improves_it(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        wanted, weights = rng.integers(-9, 10, n) * 1.0, rng.uniform(0.5, 2, n)
        spaces = rng.uniform(0, 3, n - 1)
        places = np.array(pooled(wanted.tolist(), weights.tolist(), spaces.tolist()))

        def cost(y, wanted=wanted, weights=weights):
            return (weights * (y - wanted) ** 2).sum()

        shift = np.concatenate([[0], np.cumsum(spaces)])
        assert (np.diff(places) >= spaces - 1e-12).all()  # sums of n numbers below 30
        best = np.inf
        for cuts in itertools.product((False, True), repeat=n - 1):  # at the solution points either touch or are free
            block = np.concatenate([[0], np.cumsum(cuts)]).astype(int)
            means = [
                np.average((wanted - shift)[block == k], weights=weights[block == k]) for k in range(block[-1] + 1)
            ]
            if (np.diff(means) >= 0).all():
                best = min(best, cost(np.array(means)[block] + shift))
        assert cost(places) == pytest.approx(best, rel=1e-12, abs=1e-12)  # sums of at most 7 squares, rounded
        for _ in range(10):
            step = rng.normal(size=n) * 0.1
            other = shift + np.maximum.accumulate(places - shift + step)
            assert cost(other) > cost(places) or np.allclose(other, places)


@settings(max_examples=40, deadline=None)
@given(programs, st.sampled_from(["LR", "TB"]))
def test_boxes_and_numbers_lie_apart_inside_the_picture_and_edges_pass_between_them(choices, direction):
    root = parse(draw(program(choices), direction=direction))
    nodes, numbers = boxes(root)
    width, height = (float(x) for x in root.get("viewBox").split()[2:])
    for a, b in itertools.combinations(nodes + numbers, 2):
        assert (a[:2] >= b[2:] + 5).any() or (b[:2] >= a[2:] + 5).any(), (a, b)
    for box in nodes + numbers:
        # the picture is moved by its margin and its head; 0.2: positions are rounded to tenths of a pixel
        assert box[0] >= -0.2 and box[1] >= -0.2 and box[2] <= width - 31.8 and box[3] <= height - 61.8
    picture = next(g for g in root.iter(f"{NS}g") if "transform" in g.attrib)
    for group in picture:
        if group.get("class") == "edge" and group.find(f"{NS}polygon") is not None:
            points = curve(group.find(f"{NS}path").get("d"))
            inside = [((points > box[:2] + 1) & (points < box[2:] - 1)).all(axis=1) for box in nodes + numbers]
            assert sum(hit.any() for hit in inside) <= 1  # its own number
            tip = np.array([float(x) for x in group.find(f"{NS}polygon").get("points").split()[0].split(",")])
            assert sum(((tip >= box[:2] - 1.2) & (tip <= box[2:] + 1.2)).all() for box in nodes) == 1
        elif group.get("class") == "edge":
            points = curve(group.find(f"{NS}path").get("d"))
            assert not any(
                ((points > box[:2] + 1) & (points < box[2:] - 1)).all(axis=1).any() for box in nodes + numbers
            )


@settings(max_examples=25, deadline=None)
@given(programs)
def test_texts_fit_into_their_boxes(choices):
    result = program(choices)
    result.backward()
    picture = next(g for g in parse(draw(result)).iter(f"{NS}g") if "transform" in g.attrib)
    wide = [float(rect.get("width")) for rect in picture.findall(f"{NS}rect")]
    for width, text in zip(wide, picture.findall(f"{NS}text"), strict=True):
        assert width >= 7.9 * len(text.text)  # a character of 13 px is at most 7.9 px wide in the fonts of the style
    for group in picture:
        if group.get("class").startswith("node"):
            left, top, right, bottom = bounds(group.find(f"{NS}rect"))
            lines = {}
            for text in group.findall(f"{NS}text"):
                lines.setdefault(float(text.get("y")), []).append(text)
            assert len(lines) == 3 and min(np.diff(sorted(lines))) >= 16
            assert top + 8 < min(lines) and max(lines) < bottom - 8
            for parts in lines.values():
                assert right - left >= 7.9 * sum(len(part.text) + 2 for part in parts)  # and some air


@settings(max_examples=25, deadline=None)
@given(programs)
def test_every_use_is_one_edge_with_its_local_derivative(choices):
    result = program(choices)
    nodes = recorded(result)
    root = parse(draw(result))
    expected = [
        f"{nodes[j].id} → {v.id}: {slope:.4g}"
        for v in nodes
        for j, (_, slope) in zip(v.operands, v.source.edges, strict=True)
    ]
    assert [edge.replace("-0", "0") if edge.endswith(" -0") else edge for edge in sorted(edges(root))] == sorted(
        edge.replace(" -0", " 0") if edge.endswith(" -0") else edge for edge in expected
    )
    assert len(texts(root, "slope")) == len(expected) and texts(root, "name") == [v.id for v in nodes]


def neuron():
    x, w = Value(2.0), Value(-0.5)
    y = (w * x).tanh()
    return x, w, y, y * y


def test_a_neuron_by_hand_before_and_after_the_sweep():
    x, w, y, loss = neuron()
    before = parse(draw(loss, {"x": x, "w": w, "loss": loss}, title="Neuron"))
    assert texts(before, "heading") == ["Neuron"] and before.find(f"{NS}title").text == "Neuron"
    assert texts(before, "name") == ["w", "x", "v3", "v4", "loss"] and not texts(before, "gradient")
    assert edges(before)[:2] == ["w → v3: 2", "x → v3: -0.5"]
    loss.backward()
    after = draw(loss, locals())
    # tanh(1)² = 0.58, its slope 2 tanh(1) (1 - tanh(1)²) = 0.6397, times the factors 2 and -0.5
    assert texts(parse(after), "gradient") == ["-1.279", "0.3199", "-0.6397", "-1.523", "1"]
    assert "y = tanh of v3: value -0.7616, gradient -1.523, local derivative 0.42." in after
    assert "x: value 2, gradient 0.3199." in after


def test_an_edge_that_skips_layers_is_drawn_once_up_to_where_its_branches_leave():
    x = Value(1.5)
    y = x.tanh()
    for _ in range(3):
        y = (y * x).tanh()
    root = parse(draw(y, {"x": x}))
    lanes = [g for g in root.iter(f"{NS}g") if g.get("class") == "edge" and g.find(f"{NS}polygon") is None]
    assert [g.find(f"{NS}title").text for g in lanes] == ["x"]
    assert sum(edge.startswith("x → ") for edge in edges(root)) == 4


def test_tensors_show_shapes_small_numbers_and_norms():
    x = np.arange(6.0).reshape(3, 2)
    w = Tensor(np.array([[1.0, 2, 0, 1, 3], [0, 1, 1, 2, 1]]), requires_grad=True)
    b = Tensor(np.array([3.0, 4.0]), requires_grad=True)
    loss = (x @ w).sum() + (b * 2.0).sum()
    names = {"x": x, "w": w, "b": b}
    before = parse(draw(loss, names))
    assert not texts(before, "gradient")
    loss.backward(retain_graph=True)
    after = draw(loss, names)
    root = parse(after)
    assert "constant" in texts(root, "note") and "multiply(·, 2)" in texts(root, "note")
    assert "w: shape (2, 5), value norm 4.69, gradient norm 24.19." in after  # √22 and √(5 · (6² + 9²))
    assert "b: shape (2,), value [3, 4], gradient [2, 2]." in after
    assert "x: shape (3, 2), value [[0, 1], [2, 3], [4, 5]]." in after
    assert set(texts(root, "slope")) == {"15 × 10", "1 × 15", "[[2, 0], [0, 2]]", "[1, 1]", "1"}
    assert "x → v4" in edges(root)  # a constant needs no derivative
    np.testing.assert_array_equal(w.grad, np.repeat([[6.0], [9.0]], 5, axis=1))  # drawing has changed nothing
    loss.backward(retain_graph=True)
    assert "b: shape (2,), value [3, 4], gradient [4, 4]." in draw(loss, names)  # what it has collected


def test_settings_and_conditions_are_told():
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    y = where(np.array([True, False, True]), x.sum(axis=0), 7.0)
    z = concatenate([y, x[1, ::2], y.reshape(3)]).mean(keepdims=True)
    operations = [v.operation for v in recorded(z) if v.operation]
    assert operations == [
        "sum(axis=0)",
        "where(·, ·, 7)",
        "index((1, ::2))",
        "reshape(shape=(3,))",
        "concatenate(axis=0)",
        "mean(keepdims=True)",
    ]
    draw(z)


def test_jacobians_are_those_of_the_functions():
    x = Tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True)
    nodes = recorded(x.softmax())
    p = nodes[1].value
    np.testing.assert_allclose(
        nodes[1].jacobian(0, nodes[0]), np.diag(p) - np.outer(p, p), atol=1e-15
    )  # numbers below 1
    assert nodes[1].jacobian(0, nodes[0], entries=8) is None


def test_gradients_that_are_not_kept_are_those_of_the_sweep():
    x = Tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True)
    h = x.tanh()
    loss = (h * h * x).sum()
    totals, steps = cotangents(recorded(loss), len(recorded(loss)) - 1)
    loss.backward()
    np.testing.assert_array_equal(totals[0], x.grad)  # the same operations in the same order
    np.testing.assert_allclose(totals[1], 2 * h.data * x.data, rtol=1e-15)  # one rounding
    assert len(steps) == 4


def test_a_picture_can_be_drawn_inside_a_transformation():
    pictures = []

    def f(x):
        y = (x * x).sum()
        pictures.append(draw(y, {"x": x}))
        return y

    def outer(x):
        return grad(f)(x).sum() + (x * 3).sum()

    np.testing.assert_array_equal(grad(outer)(np.array([1.0, 2.0])), [5, 5])
    assert "x: shape (2,), value [1, 2]." in pictures[0]


@settings(max_examples=40)
@given(anything, anything)
def test_any_name_and_any_title_give_valid_xml_that_shows_them(name, title):
    x = Value(1.0)
    root = parse(draw(x + 1, {name: x}, title=title))
    shown = "".join(c if c.isprintable() else "�" for c in name)
    assert texts(root, "name") == [shown or "v1", "v2"]
    assert root.find(f"{NS}title").text or not title


def test_markup_in_a_name_is_text_and_a_long_name_is_cut():
    x = Value(1.0)
    svg = draw(x + 1, {'<a href="x">&amp;': x})
    assert texts(parse(svg), "name")[0] == '<a href="x">&amp;' and "<a href" not in svg
    assert texts(parse(draw(x + 1, {"x" * 40: x})), "name")[0] == "x" * 23 + "…"


def test_numbers_that_are_not_finite_are_drawn():
    x = Value(1000.0)
    y = x.exp() - x.exp()
    y.backward()
    root = parse(draw(y))
    assert "inf" in texts(root, "end") and "nan" in texts(root, "gradient")
    t = Tensor(np.array([0.0, 1.0]), requires_grad=True)
    with np.errstate(invalid="ignore"):
        ratio = (t * t / t).sum()
    assert "nan" in texts(parse(draw(ratio)), "end")


def test_pictures_are_strings_that_a_notebook_shows_and_always_the_same():
    first, second = draw(neuron()[-1]), draw(neuron()[-1])
    assert first == second and isinstance(first, SVG) and type(first._repr_svg_()) is str
    assert "prefers-color-scheme: dark" in first
    root = parse(first)
    assert root.get("role") == "img" and root.get("viewBox") and root.find(f"{NS}desc").text.startswith("v1: value")


def test_a_wide_picture_keeps_a_width_at_which_it_can_be_read():
    x = Value(1.0)
    for _ in range(30):
        x = x.tanh()
    root = parse(draw(x))
    width = float(root.get("width"))
    assert width > 3000 and f"min-width: {round(0.75 * width, 1):.10g}px" in root.get("style")


def test_one_node_is_a_picture_too():
    assert texts(parse(draw(Value(3.0))), "name") == ["v1"]
    assert texts(parse(draw(Tensor(np.zeros((2, 3))))), "note")[:1] == ["constant"]


def crossed(root):
    """Whether edges cross, of a picture without edges that skip layers: then all that start side by side end so."""
    groups = [group for group in root.iter(f"{NS}g") if group.get("class") == "edge"]
    paths = [curve(group.find(f"{NS}path").get("d")) for group in groups]
    pairs = [(a, b) for a, b in itertools.combinations(paths, 2) if a[0, 0] == b[0, 0]]
    return any((a[0, 1] - b[0, 1]) * (a[-1, 1] - b[-1, 1]) < 0 for a, b in pairs)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_a_tree_is_drawn_without_crossings(seed):
    rng = np.random.default_rng(seed)
    parts = [Value(float(k)) for k in range(13)]
    while len(parts) > 1:
        a, b = (parts.pop(rng.integers(len(parts))) for _ in range(2))
        parts.append(a * b)
    assert not crossed(parse(draw(parts[0])))


def test_an_order_in_which_nodes_were_found_is_changed_where_its_edges_cross():
    p, q = Value(1.0), Value(2.0)
    root = parse(draw(q * p + q.tanh(), {"p": p, "q": q}))  # found in the order q, p, where p's edge crosses one of q
    assert not crossed(root)


def test_a_freed_graph_is_refused():
    x = Value(2.0)
    y = x * x
    z = y + 1
    y.backward(retain_graph=False)
    for node in (y, z):
        with pytest.raises(
            ValueError, match=r"freed by backward: draw it before, or call backward\(retain_graph=True\)"
        ):
            draw(node)
    t = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    loss = (t * t).sum()
    loss.backward()
    with pytest.raises(ValueError, match="freed by backward"):
        draw(loss)


def test_what_cannot_be_drawn_is_refused(shapes_unchecked):
    with pytest.raises(TypeError, match="only a Value or a Tensor remembers how it was made, got float"):
        draw(3.0)
    with pytest.raises(ValueError, match="'LR', or from top to bottom, 'TB', got 'RL'"):
        draw(Value(1.0), direction="RL")
    x = Value(1.0)
    for _ in range(501):
        x = x + 1
    with pytest.raises(ValueError, match="room for 500 nodes, and this graph has 502"):
        draw(x)


def test_a_graph_is_read_without_recursion():
    x = y = Value(1.0)
    for _ in range(3_000):
        y = y + 1
    nodes = recorded(y)
    assert len(nodes) == 3_001 and nodes[0].source is x


@pytest.mark.parametrize("make", [Value, lambda x: Tensor(np.array(x), requires_grad=True)])
def test_notebooks_show_the_graph_while_there_is_one(make):
    x = make(2.0)
    y = x * x + x
    assert y._repr_svg_() == draw(y)
    y.backward(retain_graph=False)
    assert y._repr_svg_() is None


def all_crossings(points, links, order):
    users = [[] for _ in points]
    for a, b in links:
        users[a].append(b)
    return sum(
        crossings(layer, {p: [before.index(q) for q in users[p]] for p in layer}) for before, layer in pairwise(order)
    )


def test_sweeps_leave_fewer_crossings_than_there_were_and_never_more(monkeypatch):
    ordered, counts = drawing._ordered, []

    def counted(points, links):
        with monkeypatch.context() as patch:
            patch.setattr(drawing, "sorted_by_barycentre", lambda layer, neighbours: list(layer))
            patch.setattr(drawing, "crossings", lambda layer, neighbours: 1)  # so that the first order is kept
            found = all_crossings(points, links, ordered(points, links))
        order = ordered(points, links)
        counts.append((found, all_crossings(points, links, order)))
        return order

    monkeypatch.setattr(drawing, "_ordered", counted)
    rng = np.random.default_rng(0)
    for _ in range(40):
        made = [Value(0.5 + k) for k in range(3)]
        for _ in range(14):
            a, b = rng.integers(len(made), size=2)
            made.append(made[max(a, len(made) - 4)] * made[b])
        draw(made[-1])
    before, after = np.array(counts).T
    assert (after <= before).all()
    assert after.sum() < 150  # of 213; more are left without either of the two sorts, or with the last order kept
