"""Mirrors src/fp_tokenize/lattice.py."""

import math
from collections import Counter
from fractions import Fraction
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fp_tokenize.lattice import (
    backward,
    best,
    count,
    drawer,
    edges_of,
    entropy,
    expected_counts,
    forward,
    log_likelihood,
    n_best,
    path_sum,
    pieces,
    posteriors,
    sample,
    segmentations,
    tempered,
)

WORDS = st.text("ab", max_size=7)
PIECES = st.text("ab", min_size=1, max_size=4)
# small whole numbers: sums are exact and ties are frequent
WHOLE = st.dictionaries(PIECES, st.integers(-4, 1).map(float), max_size=12)
REAL = st.dictionaries(PIECES, st.floats(-9, 1), max_size=12)


def score_of(word, places, scores, unknown):
    return sum(scores.get(piece, unknown) for piece in pieces(word, places))


def all_segmentations(word, scores, unknown):
    """Without the lattice: every set of inner places, kept if all pieces are known or single unknown characters."""
    n = len(word)
    found = []
    for k in range(max(n, 1)):
        for inner in combinations(range(1, n), k):
            places = [0, *inner, n] if n else [0]
            if all(piece in scores or len(piece) == 1 for piece in pieces(word, places)):
                found.append((score_of(word, places, scores, unknown), places))
    return found


def normalised(word, scores, unknown):
    ways = all_segmentations(word, scores, unknown)
    total = math.fsum(math.exp(score) for score, _ in ways)
    return [(math.exp(score) / total, places) for score, places in ways]


@pytest.mark.claim("tokenize.segmentations")
@pytest.mark.parametrize("n", range(1, 13))
def test_a_word_of_all_pieces_has_two_to_the_n_minus_one_segmentations(n):
    """Exhaustive: each set of inner places comes once."""
    word = "abcdefghijkl"[:n]
    scores = {word[i:j]: 0.0 for i, j in combinations(range(n + 1), 2)}
    ways = list(segmentations(edges_of(word, scores)))
    assert len(ways) == len({tuple(w) for w in ways}) == count(edges_of(word, scores)) == 2 ** (n - 1)


@pytest.mark.claim("tokenize.segmentations")
@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_pieces_of_bounded_length_are_counted_by_the_recurrence(m):
    scores = {"a" * k: 0.0 for k in range(1, m + 1)}
    numbers = [1]
    for n in range(1, 60):
        numbers.append(sum(numbers[-m:]))
        assert count(edges_of("a" * n, scores)) == numbers[n]
        if n < 12:
            assert len(list(segmentations(edges_of("a" * n, scores)))) == numbers[n]


@pytest.mark.claim("tokenize.path-sums")
@given(WORDS, WHOLE)
@example("", {})
@example("ab", {"b": 0.0})  # no path
def test_path_sums_are_sums_over_paths_in_five_pairs_of_operations(word, scores):
    edges = edges_of(word, scores)
    ways = [[scores[piece] for piece in pieces(word, places)] for places in segmentations(edges)]
    half = [[Fraction(2) ** int(s) for s in way] for way in ways]
    assert path_sum(edges, lambda a, b: a + b, lambda a, _: a, 0, 1) == len(ways)
    assert path_sum(edges, lambda a, b: a + b, lambda a, s: a * Fraction(2) ** int(s), Fraction(0), Fraction(1)) == sum(
        map(math.prod, half), Fraction(0)
    )
    assert path_sum(edges, max, lambda a, s: a + s, -math.inf, 0.0) == max(map(sum, ways), default=-math.inf)
    assert path_sum(edges, lambda a, b: a or b, lambda a, _: a, False, True) == bool(ways)
    # sets of paths, written out: union and extension on the right, where the product does not commute
    assert path_sum(edges, set.union, lambda a, s: {(*path, s) for path in a}, set(), {()}) == {*map(tuple, ways)}


@pytest.mark.claim("tokenize.viterbi")
@settings(max_examples=500)
@given(WORDS, WHOLE, st.integers(-6, 0))
@example("aaaa", {"a": -1.0, "aa": -2.0, "aaa": -3.0}, -9)  # every segmentation ties
def test_the_winners_are_the_best_path_with_the_longest_last_pieces(word, scores, unknown):
    score, places = best(edges_of(word, scores, unknown))
    ways = all_segmentations(word, scores, unknown)
    greatest = max(s for s, _ in ways)
    assert score == greatest
    # the longest last piece, then the longest before it: read from the end, the smallest places
    assert places[::-1] == min(way[::-1] for s, way in ways if s == greatest)


def test_the_lattice_holds_exactly_the_segmentations():
    for word in map("".join, product("ab", repeat=5)):
        scores = {"a": -1.0, "ab": -2.0, "bba": -3.0}
        expected = sorted(places for _, places in all_segmentations(word, scores, -9.0))
        assert sorted(segmentations(edges_of(word, scores, -9.0))) == expected


@pytest.mark.claim("tokenize.forward-backward")
@given(WORDS.filter(bool), REAL, st.floats(-12, 0))
def test_sums_and_shares_are_those_of_all_segmentations(word, scores, unknown):
    edges = edges_of(word, scores, unknown)
    ways = normalised(word, scores, unknown)
    alpha, beta = forward(edges), backward(edges)
    log_z = math.log(math.fsum(math.exp(score) for score, _ in all_segmentations(word, scores, unknown)))
    # at most 7 places, each a few roundings of numbers below 100
    close = {"rel": 1e-12, "abs": 1e-12}
    assert alpha[-1] == pytest.approx(log_z, **close)
    assert beta[0] == pytest.approx(log_z, **close)
    assert log_likelihood(edges) == alpha[-1]
    shares = posteriors(edges)
    for i, out in enumerate(edges):
        stops = math.fsum(p for p, places in ways if i in places)
        assert math.exp(alpha[i] + beta[i] - log_z) == pytest.approx(stops, **close)
        for (j, _), share in zip(out, shares[i], strict=True):
            uses = math.fsum(
                p for p, places in ways if i in places and j in places and j == places[places.index(i) + 1]
            )
            assert share == pytest.approx(uses, **close)
    for k in range(len(word)):  # the character between places k and k + 1
        over = [p for i, out in enumerate(edges) for (j, _), p in zip(out, shares[i], strict=True) if i <= k < j]
        assert math.fsum(over) == pytest.approx(1, **close)


@pytest.mark.claim("tokenize.expected-counts")
@given(WORDS.filter(bool), st.dictionaries(PIECES, st.floats(-5, 0), max_size=9))
def test_expected_counts_are_averages_and_the_gradient_of_log_likelihood(word, scores):
    scores = {"a": -1.0, "b": -2.0, **scores}
    counts = expected_counts(word, edges_of(word, scores))
    average = Counter()
    for p, places in normalised(word, scores, None):
        for piece in pieces(word, places):
            average[piece] += p
    assert counts == pytest.approx(dict(average), abs=1e-12)
    h = 1e-5  # central difference: the third derivative of ln Z is below n^3 = 343, so off by 343 h^2 / 6 < 1e-8,
    for piece in scores:  # and by rounding, 1e-14 / h
        up, down = (log_likelihood(edges_of(word, {**scores, piece: scores[piece] + d})) for d in (h, -h))
        assert (up - down) / (2 * h) == pytest.approx(counts.get(piece, 0.0), abs=2e-8)


@pytest.mark.claim("tokenize.best-and-all")
@given(WORDS, REAL, st.floats(-12, 0))
@example("aaaa", {"a": -1.0, "aa": -2.0, "aaa": -3.0, "aaaa": -4.0}, -9.0)  # all equal: the upper bounds are reached
@example("a", {"a": -1.0}, -9.0)  # one segmentation: the lower bound is reached
def test_the_best_segmentation_bounds_all_and_entropy_is_what_it_should_be(word, scores, unknown):
    edges = edges_of(word, scores, unknown)
    value, log_z, n = best(edges)[0], log_likelihood(edges), count(edges)
    room = 1e-12 * (1 + abs(value))  # rounding
    assert value - room <= log_z <= value + math.log(n) + room
    shares = [p for p, _ in normalised(word, scores, unknown)]
    plain = -math.fsum(p * math.log(p) for p in shares if p)
    assert entropy(edges) == pytest.approx(plain, abs=1e-10)  # cancellation of scores up to 84
    assert entropy(edges) <= math.log(n) + 1e-10
    if len({s for s, _ in all_segmentations(word, scores, unknown)}) == 1:
        assert log_z == pytest.approx(value + math.log(n), abs=1e-12)


@pytest.mark.claim("tokenize.forward-error")
@given(WORDS, REAL, st.integers(0, 2**32 - 1), st.floats(0, 0.1), st.floats(0, 0.1))
@example("aaaaaaa", {"a": -1.0}, -1, 0.1, 0.1)  # a single path, and every error upwards: the bound is reached
def test_errors_of_single_steps_add_up_at_most(word, scores, seed, delta, epsilon):
    """The recursion with errors put in on purpose, of which -1 stands for the largest ones."""
    scores = {"a": -1.0, "b": -1.0, **scores}
    edges = edges_of(word, scores)
    exact = forward(edges)
    rng = np.random.default_rng(max(seed, 0))
    error = (lambda c: c) if seed == -1 else (lambda c: rng.uniform(-c, c))
    noisy = [0.0]
    for j in range(1, len(edges)):
        terms = [noisy[i] + score + error(delta) for i, out in enumerate(edges[:j]) for end, score in out if end == j]
        noisy.append(np.logaddexp.reduce(terms) + error(epsilon))
        longest = max(map(len, segmentations([*([e for e in out if e[0] <= j] for out in edges[:j]), []]))) - 1
        assert abs(noisy[j] - exact[j]) <= longest * (delta + epsilon) + 1e-11
    if seed == -1:
        assert noisy[-1] - exact[-1] == pytest.approx(7 * (delta + epsilon), rel=1e-9)


def test_sums_of_a_word_of_ten_thousand_characters_keep_their_digits():
    """Pieces of one and two characters, by the closed form of their recurrence."""
    p, q, n = 0.01, 0.001, 10_000
    edges = edges_of("a" * n, {"a": math.log(p), "aa": math.log(q)})
    root = math.sqrt(p * p + 4 * q)
    high, low = (p + root) / 2, (p - root) / 2  # A_j = p A_{j-1} + q A_{j-2} has A_j = (high^{j+1} - low^{j+1}) / root
    expected = (n + 1) * math.log(high) + math.log1p(-((low / high) ** (n + 1))) - math.log(root)
    # each step rounds numbers of size 35,000, by at most half of 2^-37; 10,000 of them
    assert log_likelihood(edges) == pytest.approx(expected, abs=n * 2**-37)


class Fixed(np.random.Generator):
    """Gives one number, to see to which edge it leads."""

    def __init__(self, u):
        super().__init__(np.random.PCG64(0))
        self.u = u

    def random(self):
        return self.u


@pytest.mark.claim("tokenize.backward-sampling")
@given(WORDS, REAL, st.sampled_from([0, 0.25, 1, 2]))
def test_the_steps_of_drawing_multiply_to_the_posterior(word, scores, a):
    """All paths of each lattice, with the probabilities that drawing gives them."""
    scores = {"a": -1.0, "b": -2.0, **scores}
    edges = tempered(edges_of(word, scores), a)
    alpha = forward(edges)
    powers = {
        places: math.exp(a * s) for s, places in ((s, tuple(p)) for s, p in all_segmentations(word, scores, None))
    }
    total = math.fsum(powers.values())

    for places, power in powers.items():
        q = 1.0
        for i, j in pairwise(places):
            q *= math.exp(alpha[i] + a * scores[word[i:j]] - alpha[j])
        assert q == pytest.approx(power / total, rel=1e-9)
    # a number u leads at each place to the edge in whose interval of running sums it lies
    for u in (0.0, 0.3, 0.5, 0.8, 1 - 2**-53):
        for i, j in pairwise(sample(edges, Fixed(u))):
            into = [(k, s) for k, out in enumerate(edges) for end, s in out if end == j]
            sums = np.cumsum([math.exp(alpha[k] + s - alpha[j]) for k, s in into])
            at = [k for k, _ in into].index(i)
            assert (sums[at - 1] if at else 0.0) <= u + 1e-12  # rounding of the sums
            assert sums[at] >= u - 1e-12


@pytest.mark.claim("tokenize.backward-sampling")
@pytest.mark.parametrize("a", [0, 0.5, 1])
def test_drawn_segmentations_are_as_frequent_as_they_should_be(a):
    """Statistical: each of the frequencies of 20,000 draws within its bound, all together with error below 1e-6."""
    word = "abaab"
    scores = {"a": -1.0, "b": -1.5, "ab": -1.2, "aa": -3.0, "ba": -2.0, "aba": -2.5, "abaab": -5.0}
    edges, rng, n = tempered(edges_of(word, scores), a), np.random.default_rng(7), 20_000
    ways = all_segmentations(word, scores, None)
    total = math.fsum(math.exp(a * s) for s, _ in ways)
    draw = drawer(edges)
    drawn = Counter(tuple(draw(rng)) for _ in range(n))
    assert set(drawn) <= {tuple(places) for _, places in ways}
    # Hoeffding: P(|f - p| >= t) <= 2 exp(-2 n t^2), for each of len(ways) frequencies
    t = math.sqrt(math.log(2 * len(ways) / 1e-6) / (2 * n))
    for s, places in ways:
        assert abs(drawn[tuple(places)] / n - math.exp(a * s) / total) < t


@pytest.mark.claim("tokenize.n-best")
@settings(max_examples=300)
@given(WORDS, WHOLE, st.integers(-6, 0), st.integers(1, 70))
def test_the_n_best_are_the_first_of_all_sorted(word, scores, unknown, n):
    edges = edges_of(word, scores, unknown)
    everything = sorted(all_segmentations(word, scores, unknown), key=lambda way: (-way[0], way[1][::-1]))
    found = n_best(edges, n)
    assert [score for score, _ in found] == [score for score, _ in everything[:n]]
    assert found[0] == best(edges)
    assert len({tuple(places) for _, places in found}) == len(found) == min(n, len(everything))
    for score, places in found:
        assert score_of(word, places, scores, unknown) == score


@pytest.mark.claim("tokenize.n-best")
@given(WORDS, WHOLE, st.integers(1, 20))
def test_the_order_of_equal_scores_does_not_depend_on_how_many_are_kept(word, scores, n):
    edges = edges_of(word, scores, -3)
    assert n_best(edges, n) == n_best(edges, 64)[:n]


def test_lattices_by_hand():
    edges = edges_of("hug", {"h": -2.0, "u": -1.0, "g": -1.5, "hu": -2.5, "ug": -2.0, "hug": -5.0})
    assert count(edges) == 4
    assert best(edges) == (-4.0, [0, 1, 3])
    assert [pieces("hug", places) for _, places in n_best(edges, 4)] == [
        ["h", "ug"],  # -4
        ["hu", "g"],  # -4 too; its last piece begins later
        ["h", "u", "g"],  # -4.5
        ["hug"],  # -5
    ]
    assert log_likelihood(edges) == pytest.approx(math.log(2 * math.exp(-4) + math.exp(-4.5) + math.exp(-5)), abs=1e-14)
    assert edges_of("", {"a": 0.0}) == [[]]
    assert best([[]]) == (0.0, [0])
    assert log_likelihood([[]]) == 0.0
    assert sample([[]], np.random.default_rng(0)) == [0]


def test_a_piece_of_probability_zero_is_no_piece():
    assert edges_of("ab", {"a": -math.inf, "b": -1.0, "ab": -2.0}, -9.0) == [[(1, -9.0), (2, -2.0)], [(2, -1.0)], []]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: edges_of("ab", {"ab": math.nan}), "logarithms of probabilities, got nan for the piece 'ab'"),
        (lambda: edges_of("ab", {"b": math.inf}), "logarithms of probabilities, got inf for the piece 'b'"),
        (lambda: best(edges_of("abc", {"a": -1.0})), "no segmentation into these pieces"),
        (lambda: posteriors(edges_of("abc", {"a": -1.0})), "no segmentation into these pieces"),
        (lambda: entropy(edges_of("c", {"a": -1.0})), "no segmentation into these pieces"),
        (lambda: drawer(edges_of("c", {"a": -1.0})), "no segmentation into these pieces"),
        (lambda: sample(edges_of("c", {"a": -1.0}), np.random.default_rng(0)), "no segmentation into these pieces"),
        (lambda: tempered([[]], -0.5), "finite and not negative, got -0.5"),
        (lambda: tempered([[]], math.inf), "finite and not negative, got inf"),
        (lambda: tempered([[]], math.nan), "finite and not negative, got nan"),
        (lambda: n_best([[]], 0), "n must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_word_without_segmentation_has_probability_zero():
    edges = edges_of("abc", {"a": -1.0, "c": -1.0})
    assert log_likelihood(edges) == -math.inf
    assert count(edges) == 0
    assert n_best(edges, 3) == []
    assert list(segmentations(edges)) == []
