"""Mirrors src/fp_markov/counting.py."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fp_markov import count_ngrams
from fp_markov.counting import distinct, find, sorting_order
from fp_markov.information import kl_divergence

texts = st.lists(st.integers(0, 3), min_size=5, max_size=40).map(np.array)


def as_tuples(levels, n):
    """The n-grams that the keys of level n stand for."""
    level = levels[n - 1]
    last = (level.keys % level.vocab_size).tolist()
    before = as_tuples(levels, n - 1) if n > 1 else [()]
    return [(*before[c], w) for c, w in zip(level.contexts.tolist(), last, strict=True)]


@pytest.mark.claim("markov.mle-lagrange")
@pytest.mark.parametrize("counts", [(3, 2, 1), (5, 0, 1), (0, 0, 4), (7, 7, 7)])
def test_relative_frequencies_beat_every_distribution_on_a_grid(counts):
    """Exhaustive over the simplex of three tokens in steps of a 42nd, in which all those frequencies lie."""
    n = np.array(counts)

    def likelihood(q):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(n > 0, n * np.log(q), 0).sum(axis=-1)  # 0 ln 0 = 0

    grid = np.array([(i, j, 42 - i - j) for i in range(43) for j in range(43 - i)]) / 42
    best = n / n.sum()
    others = grid[np.abs(grid - best).max(axis=1) > 1e-9]
    assert len(others) == len(grid) - 1  # the best one is on the grid
    assert (likelihood(others) < likelihood(best)).all()


@pytest.mark.claim("markov.mle-lagrange")
def test_the_slopes_of_the_lagrangian_vanish_at_the_frequencies_and_it_curves_down():
    n, q, lam = sympy.symbols("n q lambda", positive=True)
    lagrangian = n * sympy.log(q) - lam * q
    (stationary,) = sympy.solve(sympy.diff(lagrangian, q), q)
    assert sympy.simplify(stationary - n / lam) == 0
    assert sympy.diff(lagrangian, q, 2) == -n / q**2


@pytest.mark.claim("markov.counting-is-mle")
@given(texts, arrays(np.float64, (4, 4), elements=st.floats(0.01, 1.0)))
def test_no_bigram_model_fits_a_text_better_than_its_relative_frequencies(text, weights):
    level = count_ngrams(text, 2, 4)[1]
    tokens = count_ngrams(text, 1, 4)[0].keys  # rank of a context -> token
    N = np.zeros((4, 4))
    N[tokens[level.contexts], level.keys % 4] = level.counts
    seen = N.sum(axis=1) > 0
    best = N[seen] / N[seen].sum(axis=1, keepdims=True)
    q = (weights / weights.sum(axis=1, keepdims=True))[seen]
    likelihood = np.sum(N[seen] * np.log(np.where(N[seen] > 0, best, 1)))
    # the gap is a sum of divergences, each at least |p - q|_1^2 / 2 (Pinsker)
    gap = np.sum(N[seen].sum(axis=1) * np.abs(best - q).sum(axis=1) ** 2 / 2)
    assert np.sum(N[seen] * np.log(q)) <= likelihood - gap + 1e-9
    # the second half: what the likelihood falls short by is the divergence from what was observed
    divergence = np.sum(N[seen].sum(axis=1) * kl_divergence(best, q))
    assert likelihood - np.sum(N[seen] * np.log(q)) == pytest.approx(divergence, abs=1e-9)


@pytest.mark.claim("markov.packed-keys")
@given(texts, st.integers(1, 5))
def test_keys_stand_for_the_ngrams_one_to_one_and_in_order(text, order):
    levels = count_ngrams(text, order, vocab_size=4)
    for n in range(1, order + 1):
        expected = Counter(tuple(text[i : i + n].tolist()) for i in range(len(text) - n + 1))
        assert as_tuples(levels, n) == sorted(expected)
        assert levels[n - 1].counts.tolist() == [expected[gram] for gram in sorted(expected)]
        assert levels[n - 1].keys.max() < (len(text) + 1) * 4


@given(texts, st.integers(1, 5))
def test_suffixes_and_the_start_are_right(text, order):
    levels = count_ngrams(text, order, vocab_size=4)
    for n in range(1, order + 1):
        grams, shorter = as_tuples(levels, n), as_tuples(levels, n - 1) if n > 1 else [()]
        assert [shorter[s] for s in levels[n - 1].suffixes] == [gram[1:] for gram in grams]
        assert [grams[start] for start in levels[n - 1].starts] == [tuple(text[:n].tolist())]
        assert levels[n - 1].n_contexts == len(shorter)


BOS = 3


@given(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=9), st.integers(1, 4))
def test_no_ngram_reaches_across_sentences_and_bos_is_not_counted_as_a_token(sentences, order):
    text = np.array([token for sentence in sentences for token in (BOS, *sentence)])
    padded = [(BOS, *sentence) for sentence in sentences]
    if max(map(len, padded)) < max(order, 2):  # at least one token to predict
        with pytest.raises(ValueError, match=r"need a (sentence|text) of"):
            count_ngrams(text, order, vocab_size=4, bos=BOS)
        return
    levels = count_ngrams(text, order, vocab_size=4, bos=BOS)
    for n in range(1, order + 1):
        expected = Counter(s[i : i + n] for s in padded for i in range(len(s) - n + 1))
        starts = sorted(s[:n] for s in padded if len(s) >= n)
        if n == 1:
            expected[(BOS,)], starts = 0, []
        grams = as_tuples(levels, n)
        assert grams == sorted(expected)
        assert levels[n - 1].counts.tolist() == [expected[gram] for gram in grams]
        assert sorted(grams[start] for start in levels[n - 1].starts) == starts
    assert levels[0].n_outcomes == 3


@given(arrays(np.int64, st.integers(1, 50), elements=st.integers(0, 2**62) | st.integers(0, 9)))
def test_distinct_is_numpys_unique(keys):
    """Small keys are counted in a table, large ones sorted by digits."""
    expected = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    for ours, theirs in zip(distinct(keys), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs.reshape(-1))


@pytest.mark.claim("markov.radix-sort")
def test_stable_passes_from_the_last_digit_to_the_first_sort_every_list_of_five_numbers():
    """Exhaustive over lists of numbers of two digits in base three; Python's sort is stable."""
    for numbers in product(range(9), repeat=5):
        places = list(range(5))
        for digit in (1, 3):
            places.sort(key=lambda place: numbers[place] // digit % 3)
        assert places == sorted(range(5), key=lambda place: (numbers[place], place))


@pytest.mark.claim("markov.radix-sort")
@given(arrays(np.int64, st.integers(1, 50), elements=st.integers(0, 2**62) | st.integers(0, 2**17) | st.integers(0, 3)))
def test_sorting_by_digits_is_numpys_stable_sort(keys):
    np.testing.assert_array_equal(sorting_order(keys), np.argsort(keys, kind="stable"))


def test_find_returns_ranks_and_minus_one_for_what_is_absent():
    levels = count_ngrams(np.array([0, 1, 0, 2]), 2, vocab_size=5)
    first = find(levels[0].keys, 5, np.zeros(4, np.int64), np.array([0, 2, 3, 4]))
    assert first.tolist() == [0, 2, -1, -1]
    # after 0: 1 and 2 occur; after 2 nothing does; after an absent context nothing can
    assert find(levels[1].keys, 5, np.array([0, 0, 2, -1]), np.array([2, 0, 0, 4])).tolist() == [1, -1, -1, -1]


def test_a_vocabulary_too_large_for_packing_tokens_is_fine():
    text = np.array([2**40, 7, 2**40, 7, 2**40, 7], np.int64)
    levels = count_ngrams(text, 5, vocab_size=2**40 + 1)  # (2^40)^5 would need 200 bits
    assert as_tuples(levels, 5) == [(7, 2**40, 7, 2**40, 7), (2**40, 7, 2**40, 7, 2**40)]


def test_small_unsigned_ids_do_not_wrap_around():
    text = np.frombuffer(b"zyzzyva", np.uint8)
    assert as_tuples(count_ngrams(text, 2, 256), 2) == sorted({*zip(b"zyzzyva", b"yzzyva", strict=False)})


@pytest.mark.parametrize(
    ("ids", "order", "vocab_size", "sentence"),
    [
        ([0, 1], 0, 2, "it is 1 or more, got 0"),
        ([0, 1], 3, 2, "order 3 need a text of at least 3 tokens, got 2"),
        ([0, 2], 1, 2, r"token ids must lie in \[0, 2\), got 0 to 2"),
        ([-1, 1], 1, 2, r"token ids must lie in \[0, 2\), got -1 to 1"),
        ([0, 1], 1, 2**62, r"must stay below 2\*\*63"),
    ],
)
def test_bad_input_is_refused(ids, order, vocab_size, sentence):
    with pytest.raises(ValueError, match=sentence):
        count_ngrams(np.array(ids), order, vocab_size)


def test_a_sentence_is_long_enough_for_an_ngram_and_its_bos():
    text = np.array([3, 0, 1, 2, 3, 0])
    count_ngrams(text, 4, vocab_size=4, bos=3)
    with pytest.raises(ValueError, match="order 6 need a sentence of at least 5 tokens after bos"):
        count_ngrams(text, 6, vocab_size=4, bos=3)
    with pytest.raises(ValueError, match="order 1 need a sentence of at least 1 tokens after bos"):
        count_ngrams(np.array([3, 3]), 1, vocab_size=4, bos=3)


def test_what_are_no_integers_is_refused(shapes_unchecked):
    for ids in (np.array([0.0, 1.0]), np.array([True, False]), ["a"]):
        with pytest.raises(TypeError, match="token ids must be integers"):
            count_ngrams(ids, 1, 2)
    for order in (1.0, True, "1", None):
        with pytest.raises(TypeError, match="order must be an integer, got"):
            count_ngrams(np.array([0, 1]), order, 2)
    level = count_ngrams(np.array([0, 1] * 100), np.int8(2), np.uint8(2))[1]
    assert level.counts.tolist() == [100, 99]


def test_a_text_of_sentences_begins_with_bos():
    with pytest.raises(ValueError, match="begins with bos, which is 1, got 0"):
        count_ngrams(np.array([0, 1, 0]), 2, vocab_size=2, bos=1)
