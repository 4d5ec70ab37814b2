"""Mirrors src/fp_tokenize/single_precision.py."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fp_tokenize import lattice
from fp_tokenize._viterbi import Search
from fp_tokenize.single_precision import SinglePrecision, U
from fp_tokenize.unigram import UnigramTokenizer

WORDS = st.text("ab", min_size=1, max_size=8)


def near(low, high):
    """Numbers of 32 bits that differ by little, so that rounding matters."""
    return st.integers(low, high).map(lambda k: float(np.float32(-2.0 - k * 2.0**-14)))


SCORES = st.dictionaries(st.text("ab", min_size=1, max_size=4), near(0, 200), min_size=1, max_size=8)
SUMS = st.one_of(st.just(0.0), st.floats(-9e4, 9e4, width=32))


def rounded_values(word, scores, unknown, b):
    """(E1), one addition at a time in NumPy's 32 bits: the sums, and the winners."""
    edges = lattice.edges_of(word, scores, unknown)
    values, begins = [np.float32(b)] + [None] * len(word), [0] * len(edges)
    for i, out in enumerate(edges):
        for j, score in out:
            total = values[i] + np.float32(score)
            assert total.dtype == np.float32
            if values[j] is None or total > values[j]:
                values[j], begins[j] = total, i
    places = [len(word)]
    while places[-1]:
        places.append(begins[places[-1]])
    return values, places[::-1]


def exact(x):
    return Fraction(float(x))


@pytest.mark.claim("tokenize.rounded-best")
@settings(max_examples=400)
@given(WORDS, SCORES, SUMS)
@example("abab", {"a": -2.0, "b": -2.0, "ab": -4.0}, -5e4)  # ties: the gap is zero
def test_rounded_sums_are_near_and_large_gaps_decide(word, scores, b):
    """In fractions, so that the bound is compared exactly; the gap from an exhaustive list."""
    unknown = -12.0
    edges = lattice.edges_of(word, scores, unknown)
    best = [Fraction(0)]
    for j in range(1, len(edges)):
        best.append(max(best[i] + exact(s) for i, out in enumerate(edges[:j]) for end, s in out if end == j))
    u = Fraction(U)
    d = max(map(len, lattice.segmentations(edges))) - 1
    A = max(map(abs, best))
    eta = u * (abs(exact(b)) + A) / (1 - (d + 1) * u)
    values, places = rounded_values(word, scores, unknown, b)
    for j, value in enumerate(values):
        assert abs(exact(value) - exact(b) - best[j]) <= d * eta
    _, right = lattice.best(edges)  # exact: all scores are multiples of 2^-22
    gap = min(
        (
            best[j] - best[i] - exact(s)
            for k, j in enumerate(right[1:])
            for i, out in enumerate(edges[:j])
            for end, s in out
            if end == j and i != right[k]
        ),
        default=None,
    )
    if gap is None or gap > 2 * d * eta:
        assert places == right
    # and so does the bound of the code, which is not larger
    search = Search([*scores], [*scores.values()], range(len(scores)), unknown)
    _, float_gap = search.one(word)
    assert float_gap == (math.inf if gap is None else gap)
    bound = SinglePrecision(search).bound(word, float_gap)
    if abs(b) <= bound:
        assert places == right
    if gap is not None and bound > 0:  # (E2) is the claim with n for d and n S for A, up to rounding in 64 bits
        n = len(word)
        assert 2 * n * U * (bound + 12 * n) / (1 - (n + 1) * U) == pytest.approx(float_gap, rel=1e-9)
    walked, value = SinglePrecision(search).walk(word, b)
    assert value == values[-1]
    assert len(walked) == len(places) - 1


@pytest.mark.claim("tokenize.rounded-best")
def test_below_the_bound_segmentations_do_change():
    """The claim is not empty: with gaps of a thousandth, sums decide."""
    scores = {"a": -2.0, "b": -2.0, "ab": -4.001}
    assert rounded_values("ab", scores, -12.0, 0.0)[1] == [0, 1, 2]
    assert rounded_values("ab", scores, -12.0, -90_000.0)[1] == [0, 2]
    search = Search([*scores], [*scores.values()], range(3), -12.0)
    assert 1_000 < SinglePrecision(search).bound("ab", search.one("ab")[1]) < 90_000


def sentencepiece(text, scores, unknown):
    """What SentencePiece 0.2.3 does with a text, written down once more: one run over it, and resets."""
    edges = lattice.edges_of(text, scores, unknown)
    values, begins = [np.float32(0)] * len(edges), [-1] * len(edges)
    frontier = 0
    for i, out in enumerate(edges[:-1]):
        if abs(values[i]) > 100_000:
            offset = values[i]
            for j in range(i, frontier + 1):
                if j == i or begins[j] >= 0:
                    values[j] = np.float32(values[j] - offset)
        for j, score in out:
            total = values[i] + np.float32(score)
            if begins[j] < 0 or total > values[j]:
                values[j], begins[j] = total, i
            frontier = max(frontier, j)
    places = [len(edges) - 1]
    while places[-1]:
        places.append(begins[places[-1]])
    return places[::-1]


@pytest.mark.parametrize("scale", [1.0, 500.0])
@pytest.mark.parametrize("seed", range(4))
def test_ids_of_words_are_those_of_one_run_over_the_text(seed, scale):
    """With scores times 500 sums are subtracted every few words."""
    rng = random.Random(seed)
    names = ["▁", "a", "b", "▁a", "ab", "ba", "aa", "bab", "aba"]
    scores = {name: float(np.float32(-scale * (len(name) + rng.choice([0, 1e-4, 0.01, 0.3])))) for name in names}
    tokenizer = UnigramTokenizer([("<unk>", 0.0), *scores.items()], single_precision=True)
    for _ in range(6):
        words = ["".join(rng.choices("aaabbb?", k=rng.randint(1, 12))) for _ in range(rng.choice([5, 700]))]
        text = "".join(f"▁{word}" for word in words)
        places = sentencepiece(text, tokenizer.scores, tokenizer.unknown_score)
        expected = []
        for piece in lattice.pieces(text, places):
            i = tokenizer.token_to_id(piece) or 0
            if i or expected[-1]:  # runs of unknown characters are one
                expected.append(i)
        assert tokenizer.encode(" ".join(words)) == expected
        assert tokenizer.encode_reference(" ".join(words)) == expected


def test_the_sum_in_front_of_a_word_is_known_to_the_last_bit():
    """Just beyond 4096, where numbers of 32 bits are twice as far apart as just before; 300 words, two stretches."""
    scores = {"▁c": -13.65625, "c": -20.0, "▁": -2.0, "a": -2.0, "b": -2.0, "ab": -4.0002}
    tokenizer = UnigramTokenizer([("<unk>", 0.0), *scores.items()], single_precision=True)
    assert 299 * 13.65625 + 2 + 4 < 4096 < 300 * 13.65625
    for n, expected in ((299, ["a", "b"]), (300, ["ab"])):
        text = "c " * n + "ab"
        ids = tokenizer.encode(text)
        assert [tokenizer.id_to_token(i) for i in ids[n + 1 :]] == expected
        assert ids == tokenizer.encode_reference(text)


def test_runs_of_unknown_characters_go_over_spaces_where_the_mark_is_unknown():
    pieces = [("<unk>", 0.0), ("▁a", -2.0), ("a", -2.0)]
    single, double = (UnigramTokenizer(pieces, single_precision=single) for single in (True, False))
    assert single.encode("?a ?? ? a ?") == [0, 2, 0, 1, 0]
    assert single.encode("? ? ?") == single.encode_reference("? ? ?") == [0]
    assert double.encode("?a ?? ? a ?") == [0, 2, 0, 0, 1, 0]
    assert len(single.offsets("?a ?? ? a ?")) == 5


def test_offsets_follow_the_rounded_segmentation():
    scores = {"▁": -4.0, "a": -2.0, "b": -2.0, "▁a": -7.0, "ab": -4.00001, "c": -3.0}
    tokenizer = UnigramTokenizer([("<unk>", 0.0), *scores.items()], single_precision=True)
    text = "c" * 200 + " ab?" * 3
    ids, spans = tokenizer.encode(text), tokenizer.offsets(text)
    assert len(ids) == len(spans)
    assert [text[a:b].strip() or " " for a, b in spans[-3:]] == [" ", "ab", "?"]


def test_scores_are_taken_in_32_bits():
    tokenizer = UnigramTokenizer([("<unk>", 0.0), ("▁", -0.1), ("a", -1 / 3)], single_precision=True)
    assert tokenizer.scores == {"▁": float(np.float32(-0.1)), "a": float(np.float32(-1 / 3))}
    assert tokenizer.unknown_score == float(np.float32(np.float32(-1 / 3) - np.float32(10)))
    assert tokenizer.single_precision


def test_the_tables_do_not_change_the_answer():
    """The same words, met first in front and then far behind."""
    scores = {"▁": -4.0, "a": -2.0, "b": -2.0, "ab": -4.00001, "c": -3.0}
    tokenizer = UnigramTokenizer([("<unk>", 0.0), *scores.items()], single_precision=True)
    texts = ["ab", "c" * 90 + " ab", "ab" + " c" * 90 + " ab ab"]
    for text in [*texts, *texts[::-1]]:
        fresh = UnigramTokenizer([("<unk>", 0.0), *scores.items()], single_precision=True)
        assert tokenizer.encode(text) == fresh.encode(text) == fresh.encode_reference(text)
