"""Mirrors src/fp_markov/lookup.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_markov import NGramModel, count_ngrams, count_stream, ngram
from fp_markov.counting import find
from fp_markov.lookup import BinarySearch, GappedList, PairTable, finder, key_bits

texts = st.lists(st.integers(0, 3), min_size=5, max_size=60).map(np.array)


def every_pair(n_contexts, vocab_size):
    """All contexts, the absent one included, with all tokens."""
    contexts, tokens = np.indices((n_contexts + 1, vocab_size))
    return contexts.reshape(-1) - 1, tokens.reshape(-1)


@pytest.mark.claim("markov.scrambled-keys")
@pytest.mark.parametrize("bits", [1, 5, 11])
def test_scrambled_keys_are_all_different_and_leave_their_low_bits_free(bits):
    """Exhaustive, with a vocabulary of one token: the keys are the contexts."""
    table = GappedList(np.array([0]), 2**bits - 1, 1)
    assert key_bits(2**bits - 1, 1) == bits
    keys = np.arange(2**bits)
    h = table.scrambled(keys, np.zeros_like(keys))
    shift = np.uint64(64 - bits)
    assert sorted((h >> shift).tolist()) == keys.tolist()
    assert not (h << np.uint64(bits)).any()


@pytest.mark.claim("markov.scrambled-keys")
@given(st.integers(2, 63), st.data())
def test_large_keys_that_are_one_bit_apart_differ_when_scrambled(bits, data):
    key = data.draw(st.integers(0, 2 ** (bits - 1) - 1))
    others = [key ^ (1 << bit) for bit in range(bits - 1)]
    table = GappedList(np.array([0]), 2 ** (bits - 1) + 1, 1)
    h = table.scrambled(np.array([key, *others]), np.zeros(bits, np.int64))
    assert len(set(h.tolist())) == bits


@pytest.mark.claim("markov.gapped-list")
@given(st.sets(st.integers(0, 7 * 11 - 1), min_size=1))
def test_the_walk_finds_every_key_with_its_rank_and_nothing_else(keys):
    """Exhaustive over the pairs; the other side is a dictionary."""
    rank_of = {key: rank for rank, key in enumerate(sorted(keys))}
    contexts, tokens = every_pair(7, 11)
    expected = [rank_of.get(c * 11 + w, -1) for c, w in zip(contexts.tolist(), tokens.tolist(), strict=True)]
    array = np.array(sorted(keys))
    for table in (GappedList(array, 7, 11), PairTable(array, 7, 11), BinarySearch(array, 11)):
        assert table.find(contexts, tokens).tolist() == expected


@pytest.mark.claim("markov.gapped-list")
def test_walks_end_at_the_first_slot_that_is_not_less():
    rng = np.random.default_rng(7)
    keys = np.sort(rng.choice(503 * 211, size=5003, replace=False))
    table = GappedList(keys, 503, 211)
    assert (table.slots[1:] >= table.slots[:-1]).all()
    contexts, tokens = every_pair(503, 211)
    h = table.scrambled(contexts, tokens)
    for x, start, walk in zip(h[::97], table.home(h)[::97], table.walks(contexts, tokens)[::97], strict=True):
        assert (table.slots[start : start + walk] < x).all()
        assert table.slots[start + walk] >= x


@pytest.mark.claim("markov.gapped-layout")
@given(st.sets(st.integers(0, 7 * 11 - 1), min_size=1))
def test_the_running_maximum_puts_each_entry_into_its_home_or_the_next_free_slot(keys):
    table = GappedList(np.array(sorted(keys)), 7, 11)
    entries = np.unique(table.slots[:-1])
    entries = entries[entries < 2**64 - 1]
    assert len(entries) == len(keys)
    place = -1
    for entry, home in zip(entries, table.home(entries).tolist(), strict=True):
        place = max(home, place + 1)
        assert table.slots[place] == entry
        assert place == 0 or table.slots[place - 1] <= entry
        assert table.slots[place + 1] > entry  # and the gap in front of the next one is not this one's
    assert len(table.slots) >= 2 * len(keys)


@given(texts, st.integers(1, 5), st.integers(0, 1))
def test_all_finders_agree_on_the_ngrams_of_a_text(text, order, sentences):
    text = np.concatenate(([3], text)) if sentences else text
    levels = count_ngrams(text, min(order, 2) if sentences else order, 5, bos=3 if sentences else None)
    for level in levels:
        contexts, tokens = every_pair(level.n_contexts, 5)
        expected = find(level.keys, 5, contexts, tokens)
        for table in (PairTable(level.keys, level.n_contexts, 5), GappedList(level.keys, level.n_contexts, 5)):
            np.testing.assert_array_equal(table.find(contexts, tokens), expected)


@pytest.mark.parametrize("vocab_size", [2**16 + 1, 2**31, 2**40])
def test_a_large_vocabulary_is_no_obstacle(monkeypatch, vocab_size):
    monkeypatch.setattr("fp_markov.lookup.CELLS", 0)
    rng = np.random.default_rng(3)
    text = rng.choice([0, 1, 2**16, vocab_size - 1], size=997)
    for level in count_ngrams(text, 4, vocab_size):
        table = finder(level.keys, level.n_contexts, vocab_size)
        assert isinstance(table, GappedList)
        contexts = rng.integers(-1, level.n_contexts, size=4001)
        tokens = rng.choice([0, 1, 2, 2**16, vocab_size - 2, vocab_size - 1], size=4001)
        expected = find(level.keys, vocab_size, contexts, tokens)
        assert (expected >= 0).any()
        assert (expected < 0).any()
        np.testing.assert_array_equal(table.find(contexts, tokens), expected)


def test_where_keys_and_ranks_do_not_fit_one_integer_the_search_is_binary():
    keys = np.arange(2**10)
    assert isinstance(finder(keys[:-1], 2**13, 2**40), GappedList)  # 54 bits of a key, 10 of a rank
    assert isinstance(finder(keys, 2**13, 2**40), BinarySearch)
    assert isinstance(finder(keys, 2**40, 2**40), BinarySearch)


def by_binary_search(model, ids):
    """(E1) and (E2) of `fp_markov.ngram` at every position, level by level."""
    P = np.full(len(ids), model._uniform())
    ranks = np.zeros(len(ids) + 1, np.int64)
    for n, weights in enumerate(model.weights[: len(ids)]):
        contexts = ranks[:-1]
        ranks = find(weights.keys, model.vocab_size, contexts, ids[n:])
        if weights.uniform_below:
            P[n:] = model._uniform()
        P[n:] *= np.where(contexts >= 0, weights.backoff[contexts], 1)
        np.copyto(P[n:], weights.probability[ranks], where=ranks >= 0)
    if model.bos is not None:
        P[ids == model.bos] = 1
    with np.errstate(divide="ignore"):
        return np.log(P)


@pytest.mark.parametrize("smoothing", sorted(ngram.SMOOTHINGS))
@pytest.mark.parametrize("bos", [None, 0])
@pytest.mark.parametrize(("cells", "block"), [(2**20, 2**17), (0, 2**17), (0, 13)])
def test_log_probabilities_are_the_same_bits_with_and_without_tables(monkeypatch, smoothing, bos, cells, block):
    monkeypatch.setattr("fp_markov.lookup.CELLS", cells)
    monkeypatch.setattr("fp_markov.ngram.BLOCK", block)
    rng = np.random.default_rng(11)
    text = np.concatenate(([0], rng.zipf(1.5, size=2003) % 31))
    other = np.concatenate(([0], rng.zipf(1.3, size=LENGTH - 1) % 37))
    model = NGramModel(5, 37, smoothing, bos=bos).fit(text)
    size = model.nbytes
    expected = by_binary_search(model, other)
    for n in (1, 2, 4, 5, 101, len(other)):
        np.testing.assert_array_equal(model.log_prob(other[:n]), expected[:n])
    assert model.nbytes > size
    np.testing.assert_array_equal(model.log_prob(other[:101]), expected[:101])  # the tables serve short texts too


LENGTH = ngram.LONG + 1


def test_tables_are_built_for_a_long_text_alone_and_again_after_another_fit():
    rng = np.random.default_rng(13)
    first, second = rng.integers(0, 7, size=(2, LENGTH))
    model = NGramModel(3, 7).fit(first)
    size = model.nbytes
    model.log_prob(second[:-2])
    assert model.nbytes == size
    model.log_prob(second)
    assert model.nbytes > size
    model.fit(second)
    np.testing.assert_array_equal(model.log_prob(first), by_binary_search(model, first))
    np.testing.assert_array_equal(model.log_prob(first), NGramModel(3, 7).fit(second).log_prob(first))


def test_tables_are_not_saved(tmp_path):
    text = np.random.default_rng(17).integers(0, 5, size=LENGTH)
    model = NGramModel(3, 5).fit(text)
    model.save(tmp_path / "before")
    expected = model.log_prob(text)
    model.save(tmp_path / "after")
    assert (tmp_path / "after").stat().st_size == (tmp_path / "before").stat().st_size
    np.testing.assert_array_equal(NGramModel.load(tmp_path / "after").log_prob(text), expected)


def test_keys_in_a_mapped_file_are_found_and_their_tables_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("fp_markov.lookup.CELLS", 0)
    text = np.random.default_rng(19).integers(0, 11, size=LENGTH)
    in_memory = NGramModel(3, 11).fit(text)
    on_disk = NGramModel(3, 11).fit_counts(count_stream([text], 3, 11, tmp_path))
    np.testing.assert_array_equal(on_disk.log_prob(text), in_memory.log_prob(text))
    assert isinstance(on_disk.weights[0].keys, np.memmap)
    tables = on_disk._finders
    on_disk.log_prob(text)
    assert on_disk._finders is tables
