"""Mirrors src/fp_attention/maps.py. What the maps look like was judged by eye; these tests hold their content."""

import importlib.util
import itertools
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_attention.maps import MOST, attention_svg, rollout
from fp_attention.masks import Causal
from fp_autograd.drawing import SVG
from fp_autograd.rules import softmax

NS = "{http://www.w3.org/2000/svg}"
RNG = np.random.default_rng(23)


def stochastic(T, causal=False):
    scores = RNG.normal(size=(T, T)) * 2
    return softmax(np.where(np.tri(T, dtype=bool), scores, -np.inf) if causal else scores)


@pytest.mark.claim("attention.rollout")
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_products_of_weights_are_weights(residual, causal):
    layers = [stochastic(7, causal) for _ in range(4)]
    R = rollout(layers, residual=residual)
    assert (R >= 0).all()
    np.testing.assert_allclose(R.sum(-1), 1, rtol=1e-14)
    assert not causal or not np.triu(R, 1).any()
    x = RNG.normal(size=(7, 3))
    y = x
    for P in layers:
        y = (y + P @ y) / 2 if residual else P @ y
    np.testing.assert_allclose(R @ x, y, rtol=1e-12)


@pytest.mark.claim("attention.rollout")
def test_an_entry_is_a_sum_over_paths():
    """Exhaustive over the 4^2 paths of three layers between each two of four positions."""
    first, second, third = layers = [stochastic(4) for _ in range(3)]
    R = rollout(layers, residual=False)
    for i, j in np.ndindex(4, 4):
        paths = [third[i, a] * second[a, b] * first[b, j] for a, b in itertools.product(range(4), repeat=2)]
        assert R[i, j] == pytest.approx(sum(paths), rel=1e-13)


@pytest.mark.claim("attention.maps-not-unique")
@given(st.integers(1, 4), st.integers(2, 5), st.integers(0, 999))
@settings(max_examples=25)
def test_other_weights_give_the_same_output(d, more, seed):
    rng = np.random.default_rng(seed)
    n = d + more
    v, p = rng.normal(size=(n, d)), softmax(rng.normal(size=n))
    equations = np.concatenate((np.ones((1, n)), v.T))
    delta = np.linalg.svd(equations)[2][-1]  # orthogonal to all rows, as they are fewer than n
    np.testing.assert_allclose(equations @ delta, 0, atol=1e-13)
    other = p + 0.99 * p.min() / np.abs(delta).max() * delta
    assert (other > 0).all() and other.sum() == pytest.approx(1, rel=1e-13)
    assert np.abs(other - p).max() == pytest.approx(0.99 * p.min(), rel=1e-12)
    np.testing.assert_allclose(other @ v, p @ v, atol=1e-13)


@pytest.mark.claim("attention.maps-not-unique")
def test_with_fewer_keys_the_weights_can_be_read_off():
    """n = d + 1 values in general position: the equations have one solution, so the bound is sharp."""
    v, p = RNG.normal(size=(4, 3)), softmax(RNG.normal(size=4))
    equations = np.concatenate((np.ones((1, 4)), v.T))
    found = np.linalg.solve(equations, np.concatenate(([1.0], p @ v)))
    np.testing.assert_allclose(found, p, rtol=1e-9)  # the matrix is far from singular


def boxes(svg):
    root = ET.fromstring(svg)
    groups = [group for group in root.iter(f"{NS}g") if group.get("class") == "cells"]
    return root, [[box for box in group if box.find(f"{NS}title") is not None] for group in groups]


@pytest.mark.parametrize("H", [None, 1, 3])
def test_each_cell_has_its_number_and_its_darkness(H):
    rows, columns = ["the", " cat", "\n", "<&>"], ["a", "b", "c\t", "\u0301", ""]
    P = RNG.random((4, 5) if H is None else (H, 4, 5))
    P.flat[3] = 0
    svg = attention_svg(P, rows, columns, title="A <title>")
    root, groups = boxes(svg)
    maps = [group for group in groups if group]
    assert len(maps) == (H or 1)
    shown = "the", "␣cat", "⏎", "<&>"
    keys = "a", "b", "c⇥", "◌\u0301", "(empty)"
    for h, cells in enumerate(maps):
        weights = P if H is None else P[h]
        told = [box.findtext(f"{NS}title") for box in cells]
        assert told == [f"{shown[r]} → {keys[c]}: {weights[r, c]:.3f}" for r, c in np.ndindex(4, 5)]
        for box, weight in zip(cells, weights.ravel(), strict=True):
            if weight:
                tint = 0.08 + 0.92 * weight / P.max()
                assert float(box.get("fill-opacity")) == pytest.approx(tint, abs=6e-4)  # three digits
            else:
                assert box.get("class") == "zero" and box.get("fill-opacity") is None
        places = np.array([(float(box.get("x")), float(box.get("y"))) for box in cells]).reshape(4, 5, 2)
        assert (np.diff(places[..., 0], axis=1) > 0).all() and (np.diff(places[..., 1], axis=0) > 0).all()
        assert (np.ptp(places[..., 0], axis=0) == 0).all() and (np.ptp(places[..., 1], axis=1) == 0).all()
    texts = [text.text for text in root.iter(f"{NS}text")]
    assert set(shown) | set(keys) <= set(texts) and root.findtext(f"{NS}title") == "A <title>" == texts[0]
    assert {f"head {h}" for h in range(H or 0) if H > 1} <= set(texts) and ("head 0" in texts) == (H == 3)
    assert root.get("role") == "img" and root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert f"{shown[1]} to {keys[int(P.reshape(-1, 4, 5)[0, 1].argmax())]} " in root.findtext(f"{NS}desc")


def test_everything_is_on_the_paper_and_no_label_covers_another():
    long = ["antidisestablishmentarianism"] * 11
    for P, labels, options in [
        (stochastic(11, causal=True), long, {}),
        (np.stack([stochastic(11)] * 5), long, {"heads": ["a long name of a head indeed"] * 5}),
        (stochastic(90), [str(n) for n in range(90)], {"title": "t" * 90}),
        (np.ones((1, 1)), [""], {}),
    ]:
        root, _ = boxes(attention_svg(P, labels, **options))
        width, height = float(root.get("width")), float(root.get("height"))
        for box in root.iter(f"{NS}rect"):
            if box.get("x"):
                assert float(box.get("x")) >= 0 and float(box.get("x")) + float(box.get("width")) <= width
                assert float(box.get("y")) >= 0 and float(box.get("y")) + float(box.get("height")) <= height
        lines = {}
        for text in root.iter(f"{NS}text"):
            if text.get("class") == "end":
                assert float(text.get("x")) - 7.9 * len(text.text) >= 0
                lines.setdefault(text.get("x"), []).append(float(text.get("y")))
        assert all(min(np.diff(sorted(ys)), default=99) >= 14 for ys in lines.values())
        assert max(len(text.text) for text in root.iter(f"{NS}text") if text.get("class") == "end") <= 16


def test_a_mask_and_a_scale():
    mask = Causal().dense(3, 3)
    root, groups = boxes(attention_svg(mask, list("abc")))
    assert [float(box.get("fill-opacity", 0)) for box in groups[0]] == mask.ravel().tolist()
    assert all("0.5" not in (text.text or "") for text in root.iter(f"{NS}text"))
    root, groups = boxes(attention_svg(np.array([[0.2, 0.3]]), ["q"], ["a", "b"], largest=0.4))
    assert [box.get("fill-opacity") for box in groups[-1]] == ["0.540", "0.770"]
    assert "0.4" in [text.text for text in root.iter(f"{NS}text")], "the legend says what the darkest is"
    _, groups = boxes(attention_svg(np.array([[0.2, 0.3]]), ["q"], ["a", "b"], largest=0.1))
    assert [box.get("fill-opacity") for box in groups[-1]] == ["1.000", "1.000"]


def test_the_smallest_weight_is_darker_than_none():
    root, groups = boxes(attention_svg(np.array([[0.0, 1e-9, 0.5]]), ["q"], list("abc")))
    none, least, _ = groups[-1]
    assert none.get("class") == "zero" and ".zero { fill: var(--paper); }" in root.findtext(f"{NS}style")
    assert float(least.get("fill-opacity")) >= 0.05  # which can be told from the paper
    legend = [float(box.get("fill-opacity")) for box in next(root.iter(f"{NS}g")).iter(f"{NS}rect")]
    np.testing.assert_allclose(legend, 0.08 + 0.92 * np.arange(1, 11) / 10, atol=6e-4)


def test_the_same_text_for_the_same_weights_and_a_picture_in_notebooks():
    P = stochastic(5)
    svg = attention_svg(P, list("abcde"))
    assert isinstance(svg, SVG) and svg._repr_svg_() == svg == attention_svg(P.copy(), tuple("abcde"))
    assert attention_svg(P.astype(np.float32), list("abcde"))
    assert (attention_svg(np.zeros((2, 2)), list("ab"))).count('class="zero"') == 4


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("weights", "rows", "options", "sentence"),
    [
        (np.ones(3), list("abc"), {}, r"shape \(Tq, Tk\) or \(heads, Tq, Tk\), got \(3,\)"),
        (np.ones((1, 1, 2, 2)), list("ab"), {}, r"got \(1, 1, 2, 2\); of a batch take one text"),
        (np.ones((0, 0)), [], {}, r"got \(0, 0\)"),
        (np.array([[-1.0]]), ["a"], {}, "finite and not negative; pass those after the softmax"),
        (np.array([[np.nan]]), ["a"], {}, "finite and not negative"),
        (np.ones((2, 2)), ["a"], {}, "each of 2 rows needs a label, got 1: see `row_labels`"),
        (np.ones((2, 3)), list("ab"), {}, "each of 3 columns needs a label, got 2: see `column_labels`"),
        (np.ones((2, 1, 1)), ["a"], {"heads": ["x"]}, r"got 1 names for weights of the shape \(2, 1, 1\)"),
        (np.ones((1, 1)), ["a"], {"largest": 0}, "drawn darkest is above zero, got 0"),
        (np.ones((MOST + 1, 1)), ["a"] * (MOST + 1), {"column_labels": ["a"]}, "at most 50,000 cells, got 50,001"),
    ],
)
def test_bad_weights(weights, rows, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        attention_svg(weights, rows, **options)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        ([b"a"], {}, r"row_labels is a list of strings, got b'a' of type bytes in it: decode bytes"),
        ([7], {}, r"got 7 of type int in it: decode bytes, and give str\(n\) for a number n"),
        (np.array([7]), {}, r"row_labels is a list of strings, got .*7.* of type int64 in it"),
        (b"a", {}, "row_labels is a list of strings, one for each, got b'a'"),
        (None, {}, "row_labels is a list of strings, one for each, got None"),
        (["a"], {"column_labels": [None]}, "column_labels is a list of strings, got None of type NoneType in it"),
        (["a"], {"heads": [0]}, "heads is a list of strings, got 0 of type int in it"),
        (["a"], {"title": None}, "the title is a string, got None of type NoneType; leave it out"),
    ],
)
def test_bad_words(rows, options, sentence):
    with pytest.raises(TypeError, match=sentence):
        attention_svg(np.ones((1, 1)), rows, **options)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([], "one layer or more, got none"),
        ([np.eye(2), np.eye(3)], r"of one size, got \(3, 3\) in layer 1 and \(2, 2\) in layer 0"),
        ([np.ones((2, 3, 3)) / 3], r"got \(2, 3, 3\) in layer 0 .* of several heads take the mean"),
        ([np.eye(2), np.ones((2, 2))], "sum to one, which those of layer 1 do not"),
        ([np.array([[2.0, -1.0], [0.0, 1.0]])], "not negative and sum to one"),
        ([np.full((2, 2), np.nan)], "not negative and sum to one"),
    ],
)
def test_bad_rollouts(layers, sentence):
    with pytest.raises(ValueError, match=sentence):
        rollout(layers)


def test_the_figure_of_the_masks():
    file = Path(__file__).parents[1] / "figures" / "masks.py"
    spec = importlib.util.spec_from_file_location("figure_masks", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = ET.fromstring(f"<figure>{module.render()}</figure>")
    svg, table = root.find(f"{NS}svg"), root.find("table")
    cells = [len([box for box in group if box.get("fill-opacity")]) for group in svg.iter(f"{NS}g")]
    counted = [int(row[1].text) for row in table.find("tbody")]
    assert cells == counted == [36, 21, 30, 39, 30, 17]  # by hand
