"""Mirrors src/fp_neural/batches.py."""

from fractions import Fraction
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_neural.batches import TextDataset, batches, contexts, random_windows, split_ids, streams

# gradients of five examples in two parameters, as fractions: everything below is exact
GRADIENTS = [(Fraction(a), Fraction(b)) for a, b in ((0, 1), (3, -2), (3, 0), (-7, 5), (10, 1))]


def mean(vectors):
    vectors = list(vectors)
    return tuple(sum(column) / len(vectors) for column in zip(*vectors, strict=True))


def distance(u, v):
    """Squared."""
    return sum((a - b) ** 2 for a, b in zip(u, v, strict=True))


WHOLE = mean(GRADIENTS)
SIGMA2 = sum(distance(g, WHOLE) for g in GRADIENTS) / len(GRADIENTS)


@pytest.mark.claim("neural.minibatch-gradient")
@pytest.mark.parametrize("B", [1, 2, 3, 4])
def test_all_batches_with_replacement(B):
    estimates = [mean(batch) for batch in product(GRADIENTS, repeat=B)]
    assert mean(estimates) == WHOLE
    assert sum(distance(g, WHOLE) for g in estimates) / len(estimates) == SIGMA2 / B


@pytest.mark.claim("neural.minibatch-without-replacement")
@pytest.mark.parametrize("B", [1, 2, 3, 4, 5])
def test_all_batches_without_replacement(B):
    N = len(GRADIENTS)
    estimates = [mean(batch) for batch in combinations(GRADIENTS, B)]
    assert mean(estimates) == WHOLE
    assert sum(distance(g, WHOLE) for g in estimates) / len(estimates) == SIGMA2 / B * Fraction(N - B, N - 1)


@pytest.mark.claim("neural.epoch")
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_all_epochs(batch_size):
    """Every order of the examples: each batch is each subset equally often, and errors cancel within an epoch."""
    N = len(GRADIENTS)
    seen: dict[tuple[int, ...], dict[frozenset[int], int]] = {}
    for order in permutations(range(N)):
        cuts = [order[i : i + batch_size] for i in range(0, N, batch_size)]
        total = (Fraction(0), Fraction(0))
        for place, cut in enumerate(cuts):
            g = mean(GRADIENTS[i] for i in cut)
            total = tuple(a + Fraction(len(cut), N) * b for a, b in zip(total, g, strict=True))
            counts = seen.setdefault((place, len(cut)), {})
            counts[frozenset(cut)] = counts.get(frozenset(cut), 0) + 1
        assert total == WHOLE
    for (_, size), counts in seen.items():
        assert len(counts) == len(list(combinations(range(N), size)))
        assert len(set(counts.values())) == 1


@pytest.mark.claim("neural.epoch")
@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 100))
def test_an_epoch_holds_every_example_once(n, batch_size, seed):
    parts = list(batches(n, batch_size, np.random.default_rng(seed)))
    assert sorted(np.concatenate(parts)) == list(range(n))
    assert all(len(part) == batch_size for part in parts[:-1]) and 1 <= len(parts[-1]) <= batch_size
    if batch_size <= n:
        full = list(batches(n, batch_size, np.random.default_rng(seed), drop_last=True))
        assert len(full) == n // batch_size and all(len(part) == batch_size for part in full)


def test_an_epoch_comes_in_every_order():
    orders = {tuple(np.concatenate(list(batches(3, 2, np.random.default_rng(seed))))) for seed in range(100)}
    assert orders == set(permutations(range(3)))


def test_windows_by_hand():
    text = TextDataset(np.array([7, 1, 4, 1, 5, 9]), context=2)
    assert len(text) == 4
    x, y = text.windows(np.array([[0, 3], [1, 1]]))
    assert x.tolist() == [[[7, 1], [1, 5]], [[1, 4], [1, 4]]]
    assert y.tolist() == [[[1, 4], [5, 9]], [[4, 1], [4, 1]]]
    assert text.windows(3)[1].tolist() == [5, 9]


@given(st.integers(2, 40), st.integers(1, 12), st.integers(1, 15))
def test_windows_stay_inside_and_reach_the_end(n, context, stride):
    if n < context + 1:
        return
    text = TextDataset(np.arange(n), context, stride)
    x, y = text.windows(np.arange(len(text)))
    assert x.shape == y.shape == (len(text), context)
    assert (y == x + 1).all() and (x[:, 0] == stride * np.arange(len(text))).all()
    assert n - stride <= y.max() <= n - 1  # one window more would not fit
    if stride == context:
        assert sorted(y.ravel()) == list(range(1, len(text) * context + 1))  # each target once


def test_a_mapped_file_of_small_numbers_serves(tmp_path):
    np.arange(300).astype(np.uint16).tofile(tmp_path / "ids.bin")
    ids = np.memmap(tmp_path / "ids.bin", np.uint16, "r")
    x, y = TextDataset(ids, 8).windows(np.array([290, 0]))
    assert x.dtype == np.int64 and x[0].tolist() == list(range(290, 298)) and y[1].tolist() == list(range(1, 9))
    assert random_windows(ids, 8, 4, np.random.default_rng(0))[0].dtype == np.int64


@pytest.mark.claim("neural.window-leak")
@pytest.mark.parametrize("T", [1, 2, 3])
def test_random_windows_held_out_leak(T):
    """Exactly, over all ways to hold windows out: how often a target of a held-out window is trained on."""
    q, n = Fraction(1, 3), 8
    starts = range(n - T)
    target = 4  # in the windows that start at 4 - T, …, 3, which are T
    mine = [s for s in starts if s + 1 <= target <= s + T]
    assert len(mine) == T
    for window in mine:
        held, leaked = Fraction(0), Fraction(0)
        for out in product([True, False], repeat=len(starts)):
            chance = Fraction(1)
            for is_out in out:
                chance *= q if is_out else 1 - q
            if out[window]:
                held += chance
                leaked += chance * any(not out[s] for s in mine)
        assert leaked / held == 1 - q ** (T - 1)


@pytest.mark.parametrize(("n", "share", "cut"), [(10, 0.1, 9), (10, 0.3, 7), (10, 0.9, 1), (7, 0.5, 3), (2, 0.5, 1)])
def test_no_window_crosses_the_split(n, share, cut):
    training, held_out = split_ids(np.arange(n), share)
    assert training.tolist() == list(range(cut)) and held_out.tolist() == list(range(cut, n))
    for T in (1, 2):
        for part, inside in ((training, range(cut)), (held_out, range(cut, n))):
            if len(part) > T:
                text = TextDataset(part, T)
                assert {*np.ravel(text.windows(np.arange(len(text))))} <= set(inside)
                assert {*np.ravel(list(streams(part, 1, T, drop_last=True)))} <= set(inside)


def test_split_as_in_published_results():
    """Ninety per cent in whole tokens, as `int(0.9 * n)`."""
    assert len(split_ids(np.zeros(1_115_394, np.uint8))[0]) == 1_003_854


def test_random_windows_reach_every_start_and_no_more():
    x, y = random_windows(np.arange(7), 3, 1000, np.random.default_rng(0))
    assert set(x[:, 0]) == {0, 1, 2, 3} and (y == x + 1).all() and y.max() == 6
    # each start has chance 1/4: within four standard errors
    assert np.abs(np.bincount(x[:, 0]) / 1000 - 0.25).max() < 4 * (0.25 * 0.75 / 1000) ** 0.5


BOS, EOS = 9, 8


@given(st.lists(st.lists(st.integers(0, 7), max_size=6), min_size=1, max_size=6), st.integers(1, 5))
def test_contexts_are_what_was_seen_one_token_at_a_time(sentences, k):
    ids, expected = [], []
    for sentence in sentences:
        seen = [BOS] * k
        expected.append(seen if not ids else None)  # of bos itself, which is no target
        for token in [*sentence, EOS]:
            expected.append(seen)
            seen = [*seen[1:], token]
        ids += [BOS, *sentence, EOS]
    rows = contexts(np.array(ids), k, BOS, BOS)
    assert all(e is None or row.tolist() == e for row, e in zip(rows, expected, strict=True))


def test_contexts_of_a_text_that_is_one():
    ids = np.array([7, 1, 2, 7, 3, 4, 5])
    assert contexts(ids, 2, 9).tolist() == [[9, 9], [9, 7], [7, 1], [1, 2], [2, 7], [7, 3], [3, 4]]
    assert contexts(ids, 2, 7, 7).tolist() == [[7, 7], [7, 7], [7, 1], [1, 2], [7, 7], [7, 3], [3, 4]]
    assert contexts(ids, 1, 9).tolist() == [[9], [7], [1], [2], [7], [3], [4]]


def test_contexts_of_no_text_and_of_small_integers():
    assert contexts(np.array([], np.int64), 2, 9).shape == (0, 2)
    assert contexts(np.array([], np.int64), 2, 9, 9).shape == (0, 2)
    # "nothing before" has the number after the last token, which a byte cannot hold
    assert contexts(np.array([255, 1], np.uint8), 2, 256).tolist() == [[256, 256], [256, 255]]


@pytest.mark.claim("neural.contexts")
@pytest.mark.parametrize("k", [1, 2])
def test_targets_make_a_distribution_over_sequences(k):
    """Exactly, over all sequences of two letters up to a length, with 2 for eos and 3 for bos."""
    rng = np.random.default_rng(0)
    p = {}
    for context in product(range(4), repeat=k):
        weights = [int(w) for w in rng.integers(1, 9, 4)]
        p[context] = [Fraction(w, sum(weights)) for w in weights]
    m = 4
    total = Fraction(0)
    for n in range(m + 1):
        for sequence in product((0, 1), repeat=n):
            ids = np.array([3, 1, 0, 2, 3, *sequence, 2])  # after another one, which must not matter
            Q = Fraction(1)
            for context, token in list(zip(contexts(ids, k, 3, 3).tolist(), ids.tolist(), strict=True))[5:]:
                Q *= p[tuple(context)][token]
            total += Q
    going, ended = {(3,) * k: Fraction(1)}, Fraction(0)  # drawn token by token: the chance of each context on the way
    for _ in range(m + 1):
        after: dict[tuple[int, ...], Fraction] = {}
        for context, chance in going.items():
            ended += chance * p[context][2]
            for token in (0, 1):
                key = (*context[1:], token)
                after[key] = after.get(key, Fraction(0)) + chance * p[context][token]
        going = after
    assert total == ended


@pytest.mark.claim("neural.streams")
@given(st.integers(2, 80), st.integers(1, 6), st.integers(1, 9))
def test_streams_continue_and_hold_every_target_once(n, B, T):
    m = (n - 1) // B
    if m < 1:
        return
    chunks = list(streams(np.arange(n), B, T))
    assert [x.shape for x, _ in chunks[:-1]] == [(B, T)] * (len(chunks) - 1)
    assert chunks[-1][0].shape == (B, (m - 1) % T + 1)
    for x, y in chunks:
        assert (y == x + 1).all()
    for (_, y), (x, _) in pairwise(chunks):
        assert (x[:, 0] == y[:, -1]).all()
    targets = np.concatenate([y.ravel() for _, y in chunks])
    assert sorted(targets) == list(range(1, B * m + 1))
    assert 0 <= n - 1 - B * m < B
    if m >= T:
        full = list(streams(np.arange(n), B, T, drop_last=True))
        assert len(targets) - sum(y.size for _, y in full) == B * (m % T)
        assert all(x.shape == (B, T) for x, _ in full)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: TextDataset(np.arange(5), 5), "window of 5 tokens.*at least 6 tokens, got 5. Take a shorter context"),
        (lambda: random_windows(np.arange(5), 8, 2, np.random.default_rng(0)), "at least 9 tokens, got 5"),
        (lambda: streams(np.arange(5), 5, 2), "5 rows with 1 targets each need a text of 6 tokens, got 5"),
        (lambda: streams(np.arange(9), 2, 5, drop_last=True), "text of 11 tokens, got 9.*shorter chunks"),
        (lambda: TextDataset(np.arange(5), 0), "context must be one or more, got 0"),
        (lambda: TextDataset(np.arange(5), 2, stride=0), "stride must be one or more, got 0"),
        (lambda: batches(0, 2, np.random.default_rng(0)), "number of examples must be one or more, got 0"),
        (lambda: batches(5, 0, np.random.default_rng(0)), "batch_size must be one or more, got 0"),
        (lambda: batches(5, 6, np.random.default_rng(0), drop_last=True), "5 examples make no full batch of 6"),
        (lambda: contexts(np.arange(5), 0, 9), "k must be one or more, got 0"),
        (lambda: split_ids(np.arange(5), 1.0), "between 0 and 1, got 1.0"),
        (lambda: split_ids(np.arange(2), 0.9), "2 tokens is too short to hold out a share of 0.9"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=f"(?s){sentence}"):
        call()


@pytest.mark.parametrize("i", [-1, 3, np.array([0, 3]), np.array([-1])])
def test_windows_that_do_not_exist(i):
    with pytest.raises(IndexError, match="numbered from 0 to 2"):
        TextDataset(np.arange(5), 2).windows(i)


def test_ids_that_are_no_integers(shapes_unchecked):
    with pytest.raises(TypeError, match="must be integers, got float64"):
        TextDataset(np.linspace(0, 1, 9), 2)
    with pytest.raises(TypeError, match="must be integers, got float64"):
        contexts(np.linspace(0, 1, 9), 2, 9)
    with pytest.raises(TypeError, match="picked by integers, got float64"):
        TextDataset(np.arange(9), 2).windows(np.array([0.5]))
