"""Mirrors src/fp_markov/drawing.py. What the pictures look like was judged by eye; these tests hold their content."""

import itertools
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_markov.chain import StationaryChain
from fp_markov.drawing import SVG, bar_chart, state_machine, visible
from fp_markov.ngram import NGramModel

NS = "{http://www.w3.org/2000/svg}"
anything = st.text(st.characters(exclude_categories=()), max_size=3)  # with surrogates and control characters
weather = np.array([[0.9, 0.1], [0.5, 0.5]])


def parse(svg):
    return ET.fromstring(svg.encode())  # a lone surrogate would fail here


def dense(n, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(n), size=n) / 2 + 1 / (2 * n)


def texts(root, cls):
    return [node.text for node in root.iter(f"{NS}text") if cls in node.get("class", "").split()]


def tooltips(root):
    return [group.find(f"{NS}title").text for group in root.iter(f"{NS}g") if group.get("class") == "edge"]


def numbers(values):
    return np.array([float(x) for x in re.findall(r"-?[\d.]+", values)])


def machine_boxes(root):
    """Bounds of the numbers and of the circles, moved to the coordinates of the whole picture."""
    machine = next(node for node in root.iter(f"{NS}g") if "transform" in node.attrib)
    shift = numbers(machine.get("transform"))
    for rect in machine.iter(f"{NS}rect"):
        x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        yield "number", np.array([x, y, x + w, y + h]) + np.tile(shift, 2)
    for circle in machine.iter(f"{NS}circle"):
        x, y, r = (float(circle.get(key)) for key in ("cx", "cy", "r"))
        yield "state", np.array([x - r, y - r, x + r, y + r]) + np.tile(shift, 2)


@settings(max_examples=40)
@given(st.lists(anything, min_size=3, max_size=3), anything)
def test_any_tokens_and_any_title_give_valid_xml_that_shows_them(labels, title):
    p = np.array([0.5, 0.3, 0.2])
    chart, machine = parse(bar_chart(p, labels, title=title)), parse(state_machine(np.tile(p, (3, 1)), labels))
    assert texts(chart, "end") == [visible(label) for label in labels]
    assert chart.find(f"{NS}text").get("class") == "heading"
    assert len(texts(machine, "middle")) == 3 + len(texts(machine, "number"))
    assert (chart.find(f"{NS}title").text or "") == "".join(c if c == " " else visible(c) for c in title)


@given(anything)
def test_visible_tokens_print_and_those_that_did_are_unchanged(token):
    shown = visible(token)
    assert shown and shown.isprintable() and " " not in shown
    if token.isalnum() and token.isascii():
        assert shown == token


def test_characters_without_a_shape_by_hand():
    assert visible(" a\t\n") == "␣a⇥⏎"
    assert visible("\x07\x7f\u00ad\ud800") == "␇␡U+00ADU+D800"
    assert visible("\u0301") == "◌\u0301"


def test_markup_in_a_token_is_text_in_the_picture():
    svg = bar_chart(np.array([0.75, 0.25]), ['<a href="x">', "&amp;"])
    assert texts(parse(svg), "end") == ['<a␣href="x">', "&amp;"]
    assert "<a href" not in svg


def test_each_transition_is_one_curve_named_with_its_probability():
    root = parse(state_machine(weather, ["sun", "rain"], title="Weather"))
    expected = ["sun → rain: 0.10", "rain → sun: 0.50", "rain → rain: 0.50", "sun → sun: 0.90"]
    assert sorted(tooltips(root)) == sorted(expected)
    assert sorted(texts(root, "number")) == ["0.10", "0.50", "0.50", "0.90"]
    assert texts(root, "heading") == ["Weather"] and not texts(root, "note")


def test_a_likelier_transition_is_thicker_darker_and_drawn_later():
    root = parse(state_machine(dense(5)))
    edges = [group for group in root.iter(f"{NS}g") if group.get("class") == "edge"]
    widths = [float(edge.find(f"{NS}path").get("stroke-width")) for edge in edges]
    opacities = [float(edge.get("opacity")) for edge in edges]
    assert len(edges) == 25
    assert widths == sorted(widths) and widths[0] < widths[-1]
    assert opacities == sorted(opacities) and opacities[0] < opacities[-1]


def test_transitions_of_a_model_shift_its_context():
    row = np.array([0.75, 0.25])
    root = parse(state_machine(dict.fromkeys(itertools.product(range(2), repeat=3), row), "HT"))
    assert set(tooltips(root)) == {
        f"{''.join(c)} → {''.join(c[1:])}{w}: {p}"
        for c in itertools.product("HT", repeat=3)
        for w, p in (("H", "0.75"), ("T", "0.25"))
    }
    words = parse(state_machine({(0, 1): row, (1, 0): row}, ["a", "bc"]))
    assert tooltips(words) == ["bc a → a bc: 0.25", "a bc → bc a: 0.75"]
    assert texts(words, "note") == ["2 transitions not drawn"]  # to (1, 1) and to (0, 0), which are not listed


def test_the_threshold_leaves_out_what_is_below_it_and_says_so():
    P = np.array([[0.5, 0.3, 0.2], [0.0, 0.8, 0.2], [1.0, 0.0, 0.0]])
    root = parse(state_machine(StationaryChain(P), threshold=0.3))
    assert len(tooltips(root)) == 4
    assert texts(root, "note") == ["2 transitions not drawn"]
    assert "2 0.20" not in root.find(f"{NS}desc").text
    assert len(tooltips(parse(state_machine(P, threshold=0)))) == 6


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 13])
def test_numbers_lie_inside_the_picture_and_on_nothing_else(n):
    root = parse(state_machine(dense(n), [chr(97 + k) * (1 + k % 3) for k in range(n)]))
    boxes = list(machine_boxes(root))
    width, height = float(root.get("width")), float(root.get("height"))
    for (kind, a), (other, b) in itertools.combinations(boxes, 2):
        # 0.2: positions are rounded to tenths of a pixel
        apart = (a[:2] >= b[2:] - 0.2).any() or (b[:2] >= a[2:] - 0.2).any()
        assert apart or (kind == other == "state"), (a, b)
    for _, (left, top, right, bottom) in boxes:
        # 15.8: a margin of 16, less two roundings to tenths
        assert left >= 15.8 and top >= 40 and right <= width - 15.8 and bottom <= height - 15.8
    if n <= 4:
        assert len(texts(root, "number")) == n * n


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_curves_begin_and_end_at_the_rims_of_their_states_and_do_not_cover_each_other(n):
    root = parse(state_machine(dense(n), threshold=0))
    circles = [(float(c.get("cx")), float(c.get("cy")), float(c.get("r"))) for c in root.iter(f"{NS}circle")]
    middles = {}
    for group in root.iter(f"{NS}g"):
        if group.get("class") != "edge":
            continue
        i, j = (int(k) for k in re.match(r"(\d+) → (\d+)", group.find(f"{NS}title").text).groups())
        curve = numbers(group.find(f"{NS}path").get("d")).reshape(-1, 2)
        tip = numbers(group.find(f"{NS}polygon").get("points"))[:2]
        for point, k, gap in ((curve[0], i, 0), (tip, j, 2)):
            x, y, r = circles[k]
            assert np.hypot(*(point - (x, y))) == pytest.approx(r + gap, abs=0.2)  # rounded to tenths of a pixel
        assert len(curve) == (4 if i == j else 3)
        if i != j:
            middles[i, j] = (curve[0] + 2 * curve[1] + tip) / 4  # (E1) at t = 1/2
    assert len(middles) == n * (n - 1)
    for (i, j), middle in middles.items():
        assert np.hypot(*(middle - middles[j, i])) > 12  # more than the widest curve with its air


@pytest.mark.parametrize("n", [2, 3, 5])
def test_each_number_stands_on_the_curve_that_it_belongs_to(n):
    root = parse(state_machine(dense(n), threshold=0))
    centres = {
        (node.text, float(node.get("x")), float(node.get("y")))
        for node in root.iter(f"{NS}text")
        if "number" in node.get("class", "").split()
    }
    assert centres
    t = np.linspace(0, 1, 501)[:, None]
    for group in root.iter(f"{NS}g"):
        if group.get("class") != "edge":
            continue
        name = group.find(f"{NS}title").text
        *points, _ = numbers(group.find(f"{NS}path").get("d")).reshape(-1, 2)
        tip = numbers(group.find(f"{NS}polygon").get("points"))[:2]
        if len(points) == 2:
            curve = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * tip  # (E1)
        else:  # beside a loop, a little outside
            curve = ((points[1] + points[2]) / 2)[None]
        reach = 1 if len(points) == 2 else 12
        near = {c for c in centres if np.hypot(*(curve - c[1:]).T).min() < reach and c[0] == name[-4:]}
        centres -= near
    assert not centres


def test_bars_are_as_long_as_their_probabilities_and_the_rest_is_added_up():
    p = np.array([0.1, 0.4, 0.05, 0.4, 0.05])
    root = parse(bar_chart(p, "abcde", top=3))
    lengths = [float(r.get("width")) for r in root.iter(f"{NS}rect") if r.get("class") in ("bar", "rest")]
    np.testing.assert_allclose(lengths, 300 * np.array([0.4, 0.4, 0.1, 0.1]), atol=0.05)
    assert texts(root, "end") == ["b", "d", "a", "2 other"]
    assert root.find(f"{NS}desc").text == "Probabilities: b 0.400, d 0.400, a 0.100, 2 other 0.100."
    assert texts(parse(bar_chart(p, top=5)), "end") == ["1", "3", "0", "2", "4"]


def test_a_tiny_probability_is_not_printed_as_none_and_a_long_token_is_cut():
    root = parse(bar_chart(np.array([1 - 1e-6, 1e-6, 0]), ["x" * 40, "日" * 20, "y"]))
    assert texts(root, "end") == ["x" * 23 + "…", "日" * 11 + "…", "y"]
    assert [node.text for node in root.iter(f"{NS}text") if not node.get("class")] == ["1.000", "<0.001", "0.000"]


@pytest.mark.parametrize("bos", [None, 2])
def test_a_model_is_drawn_over_the_contexts_of_its_text(bos):
    text = [0, 0, 1, 0, 1, 1, 0, 1, 0, 0] if bos is None else [2, 0, 0, 1, 2, 1, 0, 1, 1]
    for order in (2, 3, 4):
        model = NGramModel(order, 3, bos=bos).fit(text)
        grams = {tuple(text[i : i + order - 1]) for i in range(len(text) - order + 2)}
        contexts = {c: model.next_distribution(c) for c in sorted(grams) if bos not in c[1:]}
        assert state_machine(model, "abs") == state_machine(contexts, "abs")


def test_pictures_are_strings_that_a_notebook_shows_and_always_the_same():
    assert state_machine(weather) == state_machine(weather.copy())
    chart = bar_chart(weather[0])
    assert isinstance(chart, SVG) and isinstance(chart, str)
    assert chart._repr_svg_() == chart and type(chart._repr_svg_()) is str
    assert "prefers-color-scheme: dark" in chart


def row(*p):
    return np.array(p, dtype=np.float64)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: state_machine(weather, ["a"]), "each of the 2 tokens needs a label, got 1"),
        (lambda: state_machine(weather, threshold=1.5), r"a probability in \[0, 1\], got 1.5"),
        (lambda: state_machine(np.ones((2, 2))), "row 0 sums to 2"),
        (lambda: state_machine({}), "a machine needs states"),
        (lambda: state_machine(NGramModel(1).fit([0, 1])), "contexts of one length, at least 1"),
        (lambda: state_machine(NGramModel(2)), r"call fit\(ids\) first"),
        (lambda: state_machine({(): row(1.0)}), "at least 1"),
        (lambda: state_machine({(0,): row(1, 0), (0, 1): row(1, 0)}), r"\[\(1, 2\), \(2, 2\)\]"),
        (lambda: state_machine({(0,): row(1, 0), (2,): row(1, 0)}), r"tokens in \[0, 2\), got \(2,\)"),
        (lambda: state_machine({(0,): row(0.5, 0.4)}), r"the row of \(0,\) must be a distribution"),
        (lambda: bar_chart(row(0.5, 0.4)), "probabilities must be a distribution"),
        (lambda: bar_chart(row(1.5, -0.5)), "probabilities must be a distribution"),
        (lambda: bar_chart(row(np.nan, 1)), "probabilities must be a distribution"),
        (lambda: bar_chart(row()), "probabilities must be a distribution"),
        (lambda: bar_chart(row(1), top=0), "at least one token needs a bar, got top = 0"),
        (lambda: bar_chart(row(1), ["a", "b"]), "each of the 1 tokens needs a label, got 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, sentence, shapes_unchecked):
    with pytest.raises(ValueError, match=sentence):
        call()
