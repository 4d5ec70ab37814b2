"""Mirrors src/fp_tokenize/trellis.py."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import lattice
from fp_tokenize import trellis as trellis_section
from fp_tokenize.trellis import SeparateLattices, Trellis


@st.composite
def cases(draw, shortest=1):
    """Strings over two or three characters, pieces with all single ones among them, scores that tie, counts."""
    alphabet = draw(st.sampled_from(["ab", "a語c"]))
    longer = draw(st.sets(st.text(alphabet, min_size=2, max_size=4), max_size=8))
    pieces = draw(st.permutations([*alphabet, *sorted(longer)]))
    strings = draw(st.lists(st.text(alphabet, min_size=shortest, max_size=7), min_size=1, max_size=6, unique=True))
    scores = draw(st.lists(st.sampled_from([-1.0, -2.0, -2.5, -0.5]), min_size=len(pieces), max_size=len(pieces)))
    counts = draw(st.lists(st.integers(1, 4), min_size=len(strings), max_size=len(strings)))
    return strings, pieces, np.array(scores), np.array(counts, float)


def segmented(word, pieces, scores):
    """Every segmentation of a word, with its score."""
    of = dict(zip(pieces, scores.tolist(), strict=True))
    for places in lattice.segmentations(lattice.edges_of(word, of)):
        parts = lattice.pieces(word, places)
        yield parts, sum(of[part] for part in parts)


@given(cases(), st.data())
def test_the_trellis_gives_what_separate_lattices_give(case, data):
    strings, pieces, scores, counts = case
    slow, fast = SeparateLattices(strings, pieces), Trellis(strings, pieces)
    for _ in range(2):
        expected, log_likelihood = slow.expected(scores, counts)
        np.testing.assert_allclose(fast.expected(scores, counts)[0], expected, rtol=1e-12, atol=1e-12)  # rounding
        assert fast.expected(scores, counts)[1] == pytest.approx(log_likelihood, rel=1e-12)
        best, total = slow.best_counts(scores, counts)
        np.testing.assert_array_equal(fast.best_counts(scores, counts)[0], best)
        assert fast.best_counts(scores, counts)[1] == total  # sums of multiples of 1/2
        kept = np.array([len(piece) == 1 or data.draw(st.booleans()) for piece in slow.pieces])
        slow.keep(kept)
        fast.keep(kept)
        scores = scores[kept]


@given(cases(shortest=2))
def test_replacements_are_those_of_separate_lattices(case):
    strings, pieces, scores, _ = case
    fast = Trellis(strings, pieces).alternatives(scores)
    slow = SeparateLattices(strings, pieces).alternatives(scores)
    for ours, theirs in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.claim("tokenize.shared-prefixes")
@given(cases())
def test_a_prefix_has_the_sums_and_the_winners_of_every_word_that_begins_with_it(case):
    words, pieces, scores, _ = case
    prefixes = sorted({word[:j] for word in words for j in range(1, len(word) + 1)})
    trellis = Trellis(prefixes, pieces)
    assert trellis.n_nodes == len(prefixes) + 1
    node = dict(zip(prefixes, trellis.ends.tolist(), strict=True)) | {"": 0}
    alpha, shares = trellis._forward(scores)
    best, reached = trellis._best(scores)
    winners = trellis._winners(best, reached)
    of = dict(zip(pieces, scores.tolist(), strict=True))
    for word in words:
        edges = lattice.edges_of(word, of)
        sums = lattice.forward(edges)
        for j in range(1, len(word) + 1):
            v = node[word[:j]]
            assert alpha[v] == pytest.approx(sums[j], abs=1e-12)
            arcs = range(trellis.first[v], trellis.first[v + 1])
            into = {(i, word[i:j]): s for i in range(j) for k, s in edges[i] if k == j}
            carried = {(len(prefix_of(node, trellis.begin[a])), pieces[trellis.piece[a]]): a for a in arcs}
            assert carried.keys() == into.keys()
            for (i, x), a in carried.items():
                assert shares[a] == pytest.approx(math.exp(sums[i] + into[i, x] - sums[j]), abs=1e-12)
            score, places = lattice.best(lattice.edges_of(word[:j], of))
            assert best[v] == score
            assert pieces[trellis.piece[winners[v]]] == word[places[-2] : j]


def prefix_of(node, number):
    return next(prefix for prefix, n in node.items() if n == number)


@pytest.mark.claim("tokenize.expected-flow")
@given(cases())
def test_expected_counts_and_visits_by_trying_all_segmentations(case):
    words, pieces, scores, counts = case
    stops, uses = Counter(), Counter()
    for word, n in zip(words, counts.tolist(), strict=True):
        ways = list(segmented(word, pieces, scores))
        Z = sum(math.exp(score) for _, score in ways)
        for parts, score in ways:
            place = 0
            for part in parts:
                place += len(part)
                stops[word[:place]] += n * math.exp(score) / Z
                uses[part] += n * math.exp(score) / Z
    trellis = Trellis(words, pieces)
    expected, _ = trellis.expected(scores, counts)
    np.testing.assert_allclose(expected, [uses[piece] for piece in pieces], rtol=1e-12, atol=1e-12)  # rounding
    # a segmentation that stops at a node came there by one arc, so the uses of the arcs into it are F
    flow = trellis._uses(trellis._forward(scores)[1], counts)
    into = np.bincount(np.repeat(np.arange(trellis.n_nodes), trellis.degrees), flow, trellis.n_nodes)
    prefixes = sorted({word[:j] for word in words for j in range(1, len(word) + 1)}, key=lambda x: (len(x), x))
    np.testing.assert_allclose(into[1:], [stops[prefix] for prefix in prefixes], rtol=1e-12, atol=1e-12)  # rounding


@pytest.mark.claim("tokenize.best-split")
@given(cases(shortest=2))
def test_the_best_split_by_trying_all_segmentations(case):
    strings, pieces, scores, _ = case
    owners, parts = Trellis(strings, pieces).alternatives(scores)
    for i, string in enumerate(strings):
        chosen = [pieces[x] for x in parts[owners == i]]
        splits = [(score, sorted(way)) for way, score in segmented(string, pieces, scores) if len(way) > 1]
        assert (max(splits)[0], sorted(chosen)) in splits


def test_prefixes_are_not_mixed_up_when_shorter_strings_end_between_them():
    """`b` ends between `axc` and `bxc`, whose second characters agree."""
    trellis = Trellis(["axc", "b", "bxc"], ["a", "b", "c", "x"])
    assert trellis.n_nodes == 7
    assert trellis.expected(np.zeros(4), np.array([1.0, 2.0, 4.0]))[0].tolist() == [1, 6, 5, 5]


@given(cases())
def test_looking_at_a_few_characters_at_a_time_changes_nothing(case):
    strings, pieces, _, _ = case
    at_once = Trellis(strings, pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trellis_section, "BLOCK", 3)
        in_blocks = Trellis(strings, pieces)
    for name in ("begin", "piece", "degrees", "ends"):
        np.testing.assert_array_equal(getattr(at_once, name), getattr(in_blocks, name))


def test_a_long_word_does_not_underflow():
    trellis = Trellis(["ab" * 2000], ["a", "b"])
    expected, log_likelihood = trellis.expected(np.array([-2.0, -3.0]), np.ones(1))
    assert expected.tolist() == [2000, 2000]
    assert log_likelihood == -10_000


def test_nothing_to_segment():
    for pieces in ([], ["a"]):
        trellis, scores = Trellis([], pieces), np.zeros(len(pieces))
        assert (trellis.n_nodes, trellis.n_arcs) == (1, 0)
        assert trellis.expected(scores, np.zeros(0))[1] == 0
        assert trellis.best_counts(scores, np.zeros(0))[0].tolist() == [0] * len(pieces)
        assert [len(part) for part in trellis.alternatives(scores)] == [0, 0]
        trellis.keep(np.ones(len(pieces), bool))


@pytest.mark.parametrize(
    ("strings", "pieces", "sentence"),
    [
        (["ab"], ["a"], "every character of the strings must be a piece, got 'b'"),
        (["ab"], ["a", "ab"], "every character of the strings must be a piece, got 'b'"),
        (["ab"], ["a", "bc"], "every character of the strings must be a piece, got 'b'"),
        (["z"], ["a", "b"], "every character of the strings must be a piece, got 'z'"),
        (["a"], [], "every character of the strings must be a piece, got 'a'"),
        (["a", ""], ["a"], "at least one character, got ''"),
    ],
)
def test_bad_input_is_refused(strings, pieces, sentence):
    with pytest.raises(ValueError, match=sentence):
        Trellis(strings, pieces)
