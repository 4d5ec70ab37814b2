"""Mirrors src/fp_neural/embedding_map.py. What the map looks like was judged by eye; these tests hold its content."""

import importlib.util
import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fp_markov.drawing import SVG, visible
from fp_neural.embedding_map import embedding_svg, neighbours, pca, pmi
from fp_neural.spectra import eigh_jacobi, orthonormalize, svd

NS = "{http://www.w3.org/2000/svg}"
rng = np.random.default_rng(0)
START = rng.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers():
    """Each test draws the same numbers, whichever ran before."""
    rng.bit_generator.state = START


def cloud(N=29, D=5):
    """Points of different spread along directions of no special kind."""
    return rng.normal(size=(N, D)) * np.arange(D, 0, -1) @ orthonormalize(rng.normal(size=(D, D))) + 7


def missed(X, p, U):
    """The sum of the squared distances to the plane through p along the columns of U."""
    Y = X - p
    return np.sum((Y - Y @ U @ U.T) ** 2)


@pytest.mark.claim("neural.pca")
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_no_plane_is_nearer_and_none_shows_more_of_the_squared_distances(k):
    X = cloud()
    N, D = X.shape
    values = eigh_jacobi(np.cov(X.T, bias=True))[0]
    found = pca(X, k)
    lost = N * values[k:].sum()
    # 1e-10: squared distances up to 1e3, a few roundings
    assert missed(X, X.mean(0), found.components) == pytest.approx(lost, abs=1e-10)

    def shown(U):
        apart = X[:, None] - X
        return np.sum((apart @ U) ** 2) / np.sum(apart**2)

    assert shown(found.components) == pytest.approx(values[:k].sum() / values.sum(), rel=1e-12)
    assert found.explained == pytest.approx(values[:k] / values.sum(), rel=1e-12)
    for size in (1.0, 1e-2):
        for _ in range(50):
            U = np.linalg.qr(found.components + size * rng.normal(size=(D, k)))[0]
            p = X.mean(0) + size * rng.normal(size=D)
            assert missed(X, p, U) >= lost - 1e-10
            assert shown(U) <= found.explained.sum() + 1e-12
    on_map = np.linalg.norm(found.coordinates[:, None] - found.coordinates, axis=-1)
    assert (on_map <= np.linalg.norm(X[:, None] - X, axis=-1) + 1e-12).all()


def test_coordinates_are_those_along_the_components_and_lapack_agrees_with_our_own():
    for X in (cloud(), cloud(5, 7), cloud(13, 2)):
        found = pca(X, 2)
        assert found.coordinates == pytest.approx((X - X.mean(0)) @ found.components, abs=1e-12)
        U, sigma, V = svd(X - X.mean(0))
        assert found.components == pytest.approx(V[:, :2], abs=1e-9)  # eigenvalues are far apart
        assert found.coordinates == pytest.approx((U * sigma)[:, :2], abs=1e-9)
        assert found.explained == pytest.approx(sigma[:2] ** 2 / (sigma**2).sum(), rel=1e-10)
    assert np.array_equal(pca(np.ones((3, 2))).explained, [0, 0])


@pytest.mark.claim("neural.map-turned")
def test_a_turned_and_shifted_cloud_has_the_same_map_up_to_signs():
    X = cloud()
    plain = pca(X, 3)
    for _ in range(10):
        T = orthonormalize(rng.normal(size=(5, 5)))
        turned = pca(X @ T.T + rng.normal(size=5), 3)
        signs = np.sign((plain.coordinates * turned.coordinates).sum(0))
        assert turned.coordinates * signs == pytest.approx(plain.coordinates, abs=1e-9)  # eigenvalues are far apart
        assert turned.explained == pytest.approx(plain.explained, rel=1e-10)
        assert turned.components * signs == pytest.approx(T @ plain.components, abs=1e-9)
    stretched = pca(X * [1, 2, 1, 1, 1], 3)
    assert not np.allclose(np.abs(stretched.coordinates), np.abs(plain.coordinates), atol=0.1)


@pytest.mark.claim("neural.cosine")
@given(
    hnp.arrays(float, (7, 3), elements=st.integers(-3, 3).map(float)).filter(lambda X: (np.abs(X).sum(1) > 0).all()),
    st.integers(0, 6),
)
def test_neighbours_have_the_nearest_directions(X, i):
    indices, cosines = neighbours(X, i, 6)
    assert sorted([*indices.tolist(), i]) == list(range(7))
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    distances = np.linalg.norm(unit[indices] - unit[i], axis=1)
    assert distances**2 == pytest.approx(2 - 2 * cosines, abs=1e-14)
    assert (np.diff(distances**2) >= -1e-14).all() and (np.diff(cosines) <= 0).all()
    first, values = neighbours(X, i, 2)
    assert np.array_equal(first, indices[:2]) and np.array_equal(values, cosines[:2])


def test_neighbours_by_hand():
    X = np.array([[2.0, 0.0], [-1.0, 0.0], [3.0, 4.0], [0.0, 9.0], [1.0, 0.0]])
    indices, cosines = neighbours(X, 0, 4)
    assert indices.tolist() == [4, 2, 3, 1]
    assert cosines == pytest.approx([1, 0.6, 0, -1], abs=1e-15)
    assert neighbours(np.ones((4, 2)), 2, 3)[0].tolist() == [0, 1, 3]  # of equals the lower number
    assert neighbours(X * 1e300, 0, 4)[1] == pytest.approx(cosines, abs=1e-15)
    assert neighbours(X * 1e-300, 0, 4)[1] == pytest.approx(cosines, abs=1e-15)


def softmax(s):
    e = np.exp(s - s.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.claim("neural.pmi-softmax")
def test_products_of_embeddings_give_the_table_exactly_if_they_are_the_information_up_to_rows():
    counts = rng.integers(1, 30, (5, 7))
    table = counts / counts.sum(1, keepdims=True)
    log_p = np.log(counts.sum(0) / counts.sum())
    M = pmi(counts, weight=0)
    assert pytest.approx(np.log(table) - log_p, abs=1e-14) == M
    U, sigma, V = svd(M)
    E, C = U * sigma, V
    assert softmax(log_p + E @ C.T) == pytest.approx(table, abs=1e-14)
    z = rng.normal(size=(5, 1))
    assert softmax(log_p + E @ C.T + z) == pytest.approx(table, abs=1e-14)
    for a, b in np.ndindex(5, 7):
        other = E @ C.T + z
        other[a, b] += 0.1  # no longer a number for each row
        assert np.abs(softmax(log_p + other) - table).max() > 1e-4


@pytest.mark.claim("neural.pmi-softmax")
def test_cut_embeddings_are_the_nearest_and_their_distances_those_of_the_rows():
    M = pmi(rng.integers(0, 9, (7, 7)) + np.eye(7, dtype=np.int64))
    U, sigma, V = svd(M)
    for D in (1, 2, 3):
        E, C = U[:, :D] * sigma[:D], V[:, :D]
        rows = E @ C.T
        for _ in range(30):
            left = E + 0.1 * rng.normal(size=E.shape)
            right = np.linalg.lstsq(left, M, rcond=None)[0]  # the best partner
            assert np.linalg.norm(M - left @ right) >= np.linalg.norm(M - rows)
        for a, b in combinations(range(7), 2):
            assert np.linalg.norm(E[a] - E[b]) == pytest.approx(np.linalg.norm(rows[a] - rows[b]), abs=1e-13)


def test_information_by_hand_and_mixed():
    counts = np.array([[6, 2], [0, 2]])
    # P(b) = 0.6, 0.4
    plain = np.array([[0.75 / 0.6, 0.25 / 0.4], [0.0, 1 / 0.4]])
    for w in (0.1, 0.5, 1.0):
        assert pmi(counts, w) == pytest.approx(np.log((1 - w) * plain + w), abs=1e-15)
        assert np.array_equal(pmi(counts, w), pmi(counts.astype(float), w))
    assert pmi(counts, 0)[1, 0] == -np.inf
    # mixing leaves the frequencies of the second token as they are: a proper table for every w
    p = np.array([0.8, 0.2]) @ (np.exp(pmi(counts, 0.3)) * [0.6, 0.4])
    assert p == pytest.approx([0.6, 0.4], abs=1e-15)


def test_the_figure_separates_vowels_from_consonants():
    file = Path(__file__).parents[1] / "figures" / "embedding_map.py"
    spec = importlib.util.spec_from_file_location("figure", file)
    figure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figure)
    fragment = figure.render()
    assert "<svg" in fragment and "<table" in fragment
    ET.fromstring(f"<figure>{fragment}</figure>")
    first = pca(figure.embed(figure.letters())).coordinates[:, 0]
    first *= np.sign(first[figure.LETTERS.index("a")])
    at = dict(zip(figure.LETTERS, first.tolist(), strict=True))
    lowest = min(at[letter] for letter in "aeiou")
    assert lowest > 0 and all(at[letter] < lowest for letter in "bcdfghjklmnpqrstvwxyz")


def parse(svg):
    return ET.fromstring(svg.encode())


def points(root):
    return [group for group in root.iter(f"{NS}g") if "point" in group.get("class", "").split()]


@settings(max_examples=40)
@given(st.lists(st.text(max_size=4), min_size=3, max_size=3), st.text(max_size=4))
def test_any_labels_and_any_title_give_valid_xml_that_shows_them(labels, title):
    root = parse(embedding_svg(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), labels, groups=labels, title=title))
    assert [point.find(f"{NS}text").text for point in points(root)] == [visible(label) for label in labels]
    assert root.get("role") == "img" and root.get("viewBox")
    assert root.find(f"{NS}title").text or not title


def label_boxes(root):
    for point in points(root):
        text = point.find(f"{NS}text")
        if text is not None:
            x, y, width = float(text.get("x")), float(text.get("y")), 7.9 * len(text.text)
            yield np.array([x - width / 2, y - 7.5, x + width / 2, y + 7.5])


def marks(root):
    for point in points(root):
        move = point.find(f"{NS}path").get("transform")
        yield np.array([float(x) for x in re.findall(r"-?[\d.]+", move)])


@pytest.mark.parametrize("N", [1, 2, 30, 150])
def test_labels_overlap_neither_each_other_nor_points_and_all_lie_inside(N):
    X = np.random.default_rng(N).normal(size=(N, 2))
    root = parse(embedding_svg(X, [f"token{i}" for i in range(N)], groups=["ab"[i % 2] for i in range(N)]))
    boxes, dots = list(label_boxes(root)), list(marks(root))
    assert len(dots) == N
    for a, b in combinations(boxes, 2):
        # 0.2: places are rounded to tenths of a pixel
        assert (a[:2] >= b[2:] - 0.2).any() or (b[:2] >= a[2:] - 0.2).any()
    for box in boxes:
        assert all(not ((dot > box[:2] + 0.2) & (dot < box[2:] - 0.2)).all() for dot in dots)
    plane = next(node for node in root.iter(f"{NS}g") if (node.get("transform") or "").startswith("translate"))
    shift = np.array([float(x) for x in re.findall(r"-?[\d.]+", plane.get("transform"))])
    size = np.array([float(root.get("width")), float(root.get("height"))])
    for box in [*boxes, *(np.tile(dot, 2) for dot in dots)]:
        assert (box[:2] + shift >= [15, 40]).all() and (box[2:] + shift <= size - 15).all()
    told = [text.text for text in root.iter(f"{NS}text") if text.get("class") == "note"]
    hidden = N - len(boxes)
    assert told == ([f"{hidden} labels do not fit beside their points"] if hidden else [])
    if N <= 30:
        assert not hidden
    room = max(1.0, (N / 80) ** 0.5)  # and no larger than a page
    assert (np.ptp(dots, axis=0) <= np.array([600, 440]) * room + 0.2).all()
    for note in (text for text in root.iter(f"{NS}text") if text.get("class") == "note"):
        lowest = max(box[3] for box in [*boxes, *(np.tile(dot, 2) for dot in dots)]) + shift[1]
        assert lowest < float(note.get("y")) - 6 and float(note.get("y")) + 6 < size[1]
    assert all(f"token{i} (" in point.find(f"{NS}title").text for i, point in enumerate(points(root)))


def test_places_keep_their_proportions():
    X = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
    found = np.array(list(marks(parse(embedding_svg(X, "abcd")))))
    scale = (found[1, 0] - found[0, 0]) / 3
    assert scale > 10
    assert found - found[0] == pytest.approx((X - X[0]) * [scale, -scale], abs=0.2)  # up is up; tenths of pixels


def test_points_in_one_place_are_drawn():
    root = parse(embedding_svg(np.zeros((3, 2)), ["a", "b", "c"]))
    assert len(list(label_boxes(root))) == 3


def test_groups_differ_in_colour_and_shape_and_are_named():
    root = parse(embedding_svg(rng.normal(size=(4, 2)), "abcd", groups=["one", "two", "three", "two"]))
    classes = [point.get("class") for point in points(root)]
    assert classes == ["point g0", "point g1", "point g2", "point g1"]
    shapes = [point.find(f"{NS}path").get("d") for point in points(root)]
    assert len(set(shapes)) == 3 and shapes[1] == shapes[3]
    assert {"one", "two", "three"} <= {text.text for text in root.iter(f"{NS}text")}


def test_pictures_are_strings_that_a_notebook_shows_and_always_the_same():
    X = rng.normal(size=(9, 2))
    picture = embedding_svg(X, "abcdefghi")
    assert isinstance(picture, SVG) and picture == embedding_svg(X.copy(), "abcdefghi")
    assert "prefers-color-scheme: dark" in picture
    assert "&lt;b&gt;" in embedding_svg(X[:1], ["<b>"])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: pca(np.ones((3, 2)), 3), "3 points with 2 numbers has 1 to 2 axes, got k=3"),
        (lambda: pca(np.ones((3, 2)), 0), "got k=0"),
        (lambda: pca(np.array([[0.0, np.inf]]), 1), "finite, got inf in row 0, column 1"),
        (lambda: pca(np.ones(3), 1), r"rows of a table, at least one, got the shape \(3,\)"),
        (lambda: neighbours(np.ones((3, 2)), 3, 1), "numbered from 0 to 2, got i=3"),
        (lambda: neighbours(np.ones((3, 2)), -1, 1), "got i=-1"),
        (lambda: neighbours(np.ones((3, 2)), 0, 3), "2 others beside it, got k=3"),
        (lambda: neighbours(np.eye(3)[:, :2], 0, 1), "zero vector has no direction, got one in row 2"),
        (lambda: pmi(np.ones((2, 2)), 1.5), r"share in \[0, 1\], got 1.5"),
        (lambda: pmi(np.array([[1.0, -2.0], [1.0, 1.0]])), "not negative, got -2"),
        (lambda: pmi(np.array([[1.0, 2.0], [0.0, 0.0]])), "token 1 is never the first of a pair"),
        (lambda: pmi(np.array([[0.0, 2.0], [0.0, 1.0]])), "token 0 is never the second of a pair"),
        (lambda: embedding_svg(np.ones((2, 3)), "ab"), r"two numbers, got the shape \(2, 3\)"),
        (lambda: embedding_svg(np.ones((2, 2)), "abc"), "each of the 2 points needs a label, got 3"),
        (lambda: embedding_svg(np.ones((2, 2)), "ab", groups="a"), "needs a group, got 1"),
        (lambda: embedding_svg(np.ones((5, 2)), "abcde", groups="abcde"), "at most 4 groups .* got 5: a, b, c, d, e"),
        (lambda: embedding_svg(np.ones((0, 2)), ""), "at least one"),
        (lambda: embedding_svg(np.full((1, 2), np.nan), "a"), "finite, got nan"),
    ],
)
def test_bad_input_is_answered_with_a_sentence(call, sentence, shapes_unchecked):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_wrong_shapes_are_caught_while_the_tests_run():
    with pytest.raises(Exception, match="Type-check error"):
        pca(np.ones(3))
