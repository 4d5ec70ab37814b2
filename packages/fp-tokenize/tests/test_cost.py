"""Mirrors src/fp_tokenize/cost.py."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fp_tokenize.cost import (
    Compression,
    best_vocabulary,
    fit_compression,
    multiply_adds,
    segmentations,
    text_surprisal,
    units,
    vocabulary_share,
)

PIECES = [b"a", b"b", b"ab", b"aa", b"bab"]


class Meter:
    """Matrix times vector by the definition, counting."""

    def __init__(self):
        self.multiply_adds = 0

    def dot(self, matrix, vector):
        result = [0.0] * len(matrix)
        for i, row in enumerate(matrix):
            for m, x in zip(row, vector, strict=True):
                result[i] += m * x
                self.multiply_adds += 1
        return np.array(result)


@pytest.mark.claim("tokenize.text-cost")
@pytest.mark.parametrize(("T", "V", "C", "L"), [(5, 7, 3, 2), (1, 2, 5, 3), (7, 3, 2, 1)])
def test_the_bill_is_what_a_forward_pass_multiplies(T, V, C, L):
    rng, meter = np.random.default_rng(0), Meter()

    def weight(rows, columns):
        return rng.standard_normal((rows, columns)) / 10

    caches = [([], []) for _ in range(L)]
    for x in rng.standard_normal((T, C)):
        for keys, values in caches:
            q, k, v = (meter.dot(weight(C, C), x) for _ in range(3))
            keys.append(k)
            values.append(v)
            weights = np.exp(meter.dot(keys, q))
            mixed = meter.dot(np.array(values).T, weights / weights.sum())
            x = x + meter.dot(weight(C, C), mixed)
            x = x + meter.dot(weight(C, 4 * C), meter.dot(weight(4 * C, C), x))
        meter.dot(weight(V, C), x)
    assert multiply_adds(T, V, width=C, layers=L) == meter.multiply_adds


@pytest.mark.claim("tokenize.best-vocabulary")
@pytest.mark.parametrize(
    ("a", "b", "c"),
    [(-0.7, 0.5, 0), (0.0, 1.0, 0.0), (3.0, 0.01, 0), (-7, 2.0, -0.084), (-2, 0.9, -0.03), (9, 1, -0.5)],
)
@pytest.mark.parametrize(("C", "L", "T"), [(64, 2, 128), (768, 12, 1024), (4096, 32, 8192)])
def test_the_cost_of_a_byte_falls_up_to_the_best_vocabulary_and_rises_from_there(a, b, c, C, L, T):
    curve = Compression(a, b, c)
    best = best_vocabulary(curve, width=C, layers=L, tokens=T)
    top = -b / (2 * c) if c else math.log(best) + 20
    bottom = (-b + math.sqrt(b * b - 4 * a * c)) / (2 * c) if c else -a / b
    sizes = np.exp(np.linspace(max(bottom + 0.01, math.log(best) - 20), top, 1000))

    def cost(V):  # (E1) for T tokens, over the bytes that they cover
        return (T * (12 * L * C**2 + V * C) + L * C * T * (T + 1)) / (T * curve(V))

    falling, rising = sizes[sizes < best * 0.99], sizes[sizes > best * 1.01]
    assert len(falling) > 10
    assert (np.diff([cost(V) for V in falling]) < 0).all()
    assert (np.diff([cost(V) for V in rising]) > 0).all()
    # (E3) at the solution: the bisection stops at 1e-12 in the logarithm, which the denominator magnifies near the top
    u = math.log(best)
    assert best * (curve(best) / (b + 2 * c * u) - 1) == pytest.approx(L * (12 * C + T + 1), rel=1e-6)
    assert best_vocabulary(curve, width=C + 1, layers=L, tokens=T) > best
    assert best_vocabulary(curve, width=C, layers=L + 1, tokens=T) > best


def test_where_one_token_is_more_than_enough_the_best_size_lies_below_one():
    best = best_vocabulary(Compression(40, 1), width=1, layers=1, tokens=1)
    assert 0 < best < 1
    assert best * (math.log(best) + 39) == pytest.approx(14, rel=1e-9)  # the bisection's 1e-12, times forty


@pytest.mark.claim("tokenize.best-vocabulary")
@given(
    st.lists(st.floats(0.05, 1), min_size=4, max_size=12),
    st.floats(0.01, 3),
    st.floats(1, 1e5),
)
def test_any_curve_with_shrinking_steps_has_one_valley(steps, start, A):
    """Straight between its points over ln V, each piece less steep than the one before."""
    steps = sorted(steps, reverse=True)
    knots, u = np.arange(len(steps) + 1.0), np.linspace(0, len(steps), 60 * len(steps))
    r = np.interp(u, knots, start + np.concatenate(([0.0], np.cumsum(steps))))
    rises = np.diff(np.log((A + np.exp(u)) / r)) > 1e-12  # the logarithm of the cost, whose rounding is 1e-15
    falls = np.diff(np.log((A + np.exp(u)) / r)) < -1e-12
    if rises.any() and falls.any():
        assert np.flatnonzero(falls)[-1] < np.flatnonzero(rises)[0]


def test_the_curve_through_exact_points_is_found():
    sizes = [500, 3000, 20_000, 70_000]
    for curve in (Compression(-0.3, 0.45), Compression(-4.0, 1.3, -0.04)):
        fitted = fit_compression(sizes, [curve(V) for V in sizes])
        # the columns 1, u, u^2 with u near 9 lose five digits
        assert (fitted.a, fitted.b, fitted.c) == pytest.approx((curve.a, curve.b, curve.c), abs=1e-9)


def test_the_fit_is_numpys_and_never_bends_upwards():
    rng = np.random.default_rng(1)
    sizes = rng.integers(100, 100_000, 20)
    u = np.log(sizes)
    bent = 4 - (u - 13) ** 2 / 20 + rng.uniform(-0.1, 0.1, 20)
    fitted = fit_compression(sizes.tolist(), bent.tolist())
    assert (fitted.c, fitted.b, fitted.a) == pytest.approx(np.polyfit(u, bent, 2), rel=1e-8)  # five digits lost
    fitted = fit_compression(sizes.tolist(), (-bent).tolist())
    assert (fitted.b, fitted.a) == pytest.approx(np.polyfit(u, -bent, 1), rel=1e-10)
    assert fitted.c == 0
    assert fit_compression([10, 1000], [1.0, 2.0]).c == 0


def test_parameters_of_the_vocabulary():
    assert vocabulary_share(10, width=3, layers=2) == 30 / (30 + 12 * 2 * 9)
    assert vocabulary_share(10, width=3, layers=2, tied=False) == 60 / (60 + 12 * 2 * 9)
    assert vocabulary_share(0, width=3, layers=2) == 0
    assert vocabulary_share(5, width=3, layers=0) == 1


def test_units_cut_everything_and_count_bytes():
    characters, words, lines = units("é b\n", "é c\nd")
    assert (characters.vocabulary, words.vocabulary, lines.vocabulary) == (4, 4, 1)
    assert (characters.tokens_per_byte, words.tokens_per_byte, lines.tokens_per_byte) == (5 / 6, 5 / 6, 2 / 6)
    assert (characters.unseen, words.unseen, lines.unseen) == (2 / 5, 2 / 5, 1)


def by_length(n):
    return [bytes(data) for data in itertools.product(b"ab", repeat=n)]


def test_segmentations_are_all_sequences_that_spell_the_text():
    """Exhaustive: all sequences of up to six pieces, by what they spell."""
    spelled = {data: set() for n in range(7) for data in by_length(n)}
    for n in range(7):
        for sequence in itertools.product(PIECES, repeat=n):
            if (data := b"".join(sequence)) in spelled:
                spelled[data].add(sequence)
    for data, sequences in spelled.items():
        found = list(segmentations(data, PIECES))
        assert set(found) == sequences
        assert len(found) == len(sequences)
    assert len(list(segmentations(b"a" * 10, [b"a" * n for n in range(1, 11)]))) == 2**9


def pair_model(rng):
    """A model whose next token depends on the last: each row closes with the end token."""
    table = {last: rng.dirichlet(np.ones(len(PIECES) + 1)) for last in [None, *PIECES]}

    def surprisal(sequence):
        rows = [table[last] for last in (None, *sequence)]
        columns = [*(PIECES.index(piece) for piece in sequence), len(PIECES)]
        return float(-np.log([row[i] for row, i in zip(rows, columns, strict=True)]).sum())

    return surprisal


@pytest.mark.claim("tokenize.segmentation-bound")
def test_one_segmentation_bounds_the_text_and_the_gap_is_its_own_surprisal():
    surprisal = pair_model(np.random.default_rng(2))
    for data in [data for n in range(1, 7) for data in by_length(n)]:
        text = text_surprisal(data, PIECES, surprisal)
        sequences = list(segmentations(data, PIECES))
        probabilities = np.exp([-surprisal(sequence) for sequence in sequences])
        for sequence, p in zip(sequences, probabilities, strict=True):
            gap = surprisal(sequence) - text
            assert gap == pytest.approx(-np.log(p / probabilities.sum()), abs=1e-12)  # rounding of logarithms near 10
            assert gap > 0 if len(sequences) > 1 else gap == 0


@pytest.mark.claim("tokenize.segmentation-bound")
def test_text_probabilities_add_up_to_one():
    """Texts of all lengths: what sequences longer than the cut-off could add is bounded by the chance of not ending."""
    p = {b"a": 0.2, b"b": 0.1, b"ab": 0.1, b"aa": 0.05, b"bab": 0.05}
    end = 0.5

    def surprisal(sequence):
        return -math.log(end) - sum(math.log(p[piece]) for piece in sequence)

    n = 8
    total = sum(math.exp(-text_surprisal(data, p, surprisal)) for k in range(n + 1) for data in by_length(k))
    longer = 0.5 ** (n // 3 + 1)  # a text of more than n bytes takes more than n / 3 pieces, each instead of the end
    assert 1 - longer <= total <= 1 + 1e-12


@pytest.mark.claim("tokenize.segmentation-bound")
def test_the_bound_is_tight_only_if_the_other_segmentations_are_impossible():
    def certain(sequence):
        return 1.0 if sequence == (b"ab",) else math.inf

    assert text_surprisal(b"ab", PIECES, certain) == 1.0
    assert text_surprisal(b"ba", PIECES, certain) == math.inf
    assert text_surprisal(b"c", PIECES, certain) == math.inf

    def nearly(sequence):
        return 1.0 if sequence == (b"ab",) else 20.0

    assert text_surprisal(b"ab", PIECES, nearly) < 1.0


@pytest.mark.claim("tokenize.segmentation-average")
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8), st.integers(0, 100))
def test_random_segmentations_cost_more_by_a_divergence(weights, seed):
    surprisal = pair_model(np.random.default_rng(seed))
    data = b"abab"
    sequences = list(segmentations(data, PIECES))
    q = np.array(weights[: len(sequences)])
    assume(q.sum() > 0.01)
    q /= q.sum()
    text = text_surprisal(data, PIECES, surprisal)
    losses = np.array([surprisal(sequence) for sequence in sequences])
    posterior = np.exp(text - losses)
    some = q > 0
    entropy = -(q[some] * np.log(q[some])).sum()
    bound = q @ losses - entropy
    divergence = (q[some] * np.log(q[some] / posterior[some])).sum()
    assert bound >= text - 1e-12  # rounding of sums of numbers near 10
    assert bound - text == pytest.approx(divergence, abs=1e-12)
    at_equality = posterior @ losses + (posterior * np.log(posterior)).sum()
    assert at_equality == pytest.approx(text, abs=1e-12)


def test_very_unlikely_texts_keep_their_surprisal():
    assert text_surprisal(b"ab", PIECES, lambda sequence: 5000.0) == pytest.approx(5000 - math.log(2), abs=1e-9)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: units("a", ""), "the new text, which must not be empty"),
        (
            lambda: multiply_adds(-1, 2, width=3, layers=4),
            "tokens is a number of things and must not be negative, got -1",
        ),
        (lambda: vocabulary_share(0, width=5, layers=0), "this model has none"),
        (lambda: vocabulary_share(5, width=-1, layers=1), "width is a number of things"),
        (lambda: fit_compression([10], [1.0]), r"two or more different positive sizes, got the sizes \[10\]"),
        (lambda: fit_compression([10, 10], [1.0, 2.0]), "different positive sizes"),
        (lambda: fit_compression([10, 20], [1.0]), "and 1 measurements"),
        (lambda: fit_compression([0, 20], [1.0, 2.0]), "positive sizes"),
        (lambda: best_vocabulary(Compression(1, -1), width=1, layers=1, tokens=1), "rises and bends down, b > 0 >= c"),
        (lambda: best_vocabulary(Compression(1, 1, 0.1), width=1, layers=1, tokens=1), "rises and bends down"),
        (lambda: best_vocabulary(Compression(-9, 1, -1), width=1, layers=1, tokens=1), "rises and bends down"),
        (lambda: best_vocabulary(Compression(1, 1), width=0, layers=1, tokens=1), "layers and a width"),
        (lambda: list(segmentations(b"a", [b""])), "at least one byte, got an empty one"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
