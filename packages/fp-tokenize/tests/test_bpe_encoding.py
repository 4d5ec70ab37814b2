"""Mirrors src/fp_tokenize/bpe_encoding.py."""

import heapq
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_tokenize import bpe_encoding
from fp_tokenize.bpe_encoding import BORDER, NEVER, Encoder, PairTable, encode_heap, encode_list, in_order
from fp_tokenize.merges import Merges, by_rank

SYMBOLS = 6

# any list: results are symbols at will, and merges with the same result may share a rank
any_pairs = st.dictionaries(
    st.tuples(st.integers(0, SYMBOLS - 1), st.integers(0, SYMBOLS - 1)), st.integers(0, SYMBOLS - 1), max_size=14
)
words = st.lists(st.integers(0, SYMBOLS - 1), max_size=30)


def a_list(results, shared=False):
    pairs = list(results)
    if not shared:
        return Merges(pairs, [results[pair] for pair in pairs])
    pairs.sort(key=results.__getitem__)
    return Merges(pairs, [results[pair] for pair in pairs], [2 * results[pair] + 1 for pair in pairs])


def random_list(rng, size, base=4):
    """An ordered list: operands are base symbols or earlier results."""
    pairs = {}
    while len(pairs) < size:
        pairs.setdefault((rng.randrange(base + len(pairs)), rng.randrange(base + len(pairs))), base + len(pairs))
    return Merges(list(pairs), list(pairs.values()))


def encode_all(encoder, some):
    symbols = np.array([symbol for word in some for symbol in word], np.int64)
    ids, counts = encoder.encode(symbols, np.array([len(word) for word in some], np.int64))
    assert counts.sum() == len(ids)
    return [part.tolist() for part in np.split(ids, np.cumsum(counts)[:-1])] if some else []


# ---- one word


@pytest.mark.claim("tokenize.heap-encoding")
@given(any_pairs, words, st.booleans())
def test_list_and_heap_make_what_rank_order_makes_of_any_list(results, word, shared):
    merges = a_list(results, shared)
    expected = by_rank(word, merges)
    assert encode_list(word, merges) == expected
    ids, starts = encode_heap(word, merges)
    assert ids == expected
    assert starts == sorted(set(starts)) and starts[:1] == [0][: len(word)]


@pytest.mark.claim("tokenize.heap-encoding")
@given(st.lists(st.sampled_from("ab"), max_size=30), st.integers(0, 2**32))
def test_starts_are_where_the_strings_begin(word, seed):
    rng = random.Random(seed)
    symbols, pairs = ["a", "b"], []
    for _ in range(6):
        pair = rng.choice(symbols), rng.choice(symbols)
        if "".join(pair) not in symbols:
            pairs.append(pair)
            symbols.append("".join(pair))
    merges = Merges(pairs, ["".join(pair) for pair in pairs])
    strings, starts = encode_heap(word, merges)
    for string, start in zip(strings, starts, strict=True):
        assert "".join(word[start : start + len(string)]) == string


@pytest.mark.claim("tokenize.heap-encoding")
def test_crowded_lists_in_which_pairs_change_ranks_all_the_time():
    rng = random.Random(2)
    every = [(a, b) for a in range(SYMBOLS) for b in range(SYMBOLS)]
    for _ in range(300):
        rng.shuffle(every)
        merges = Merges(every[:30], [rng.randrange(SYMBOLS) for _ in range(30)])
        word = [rng.randrange(SYMBOLS) for _ in range(40)]
        assert encode_list(word, merges) == encode_heap(word, merges)[0] == by_rank(word, merges)


class Counting(dict):
    looked_up = 0

    def get(self, key, default=None):
        self.looked_up += 1
        return super().get(key, default)


@pytest.mark.claim("tokenize.heap-encoding")
@pytest.mark.parametrize("kind", ["random", "run", "all different", "one symbol"])
def test_the_heap_looks_up_and_holds_at_most_three_pairs_a_symbol(kind, monkeypatch):
    n, rng = 2000, random.Random(1)
    if kind == "random":
        merges, word = random_list(rng, 200), [rng.randrange(4) for _ in range(n)]
    elif kind == "run":
        merges, word = Merges([(k, k) for k in range(20)], list(range(1, 21))), [0] * n
    elif kind == "all different":
        merges, word = Merges([(k, k + 1) for k in range(0, n, 2)], [n + k for k in range(0, n, 2)]), list(range(n))
    else:
        pairs = [(0, 1), *((n + k, k + 2) for k in range(n - 2))]
        merges, word = Merges(pairs, [n + k for k in range(n - 1)]), list(range(n))
    expected = by_rank(word[:300], merges), encode_list(word, merges)
    counting = Counting(merges.rank)
    object.__setattr__(merges, "rank", counting)
    pushed = popped = steps = 0
    push, pop = heapq.heappush, heapq.heappop

    def counting_push(heap, entry):
        nonlocal pushed
        pushed += 1
        push(heap, entry)

    def counting_pop(heap):
        nonlocal popped, steps
        popped += 1
        steps = max(steps, len(heap))
        return pop(heap)

    monkeypatch.setattr(bpe_encoding, "heappush", counting_push)
    monkeypatch.setattr(bpe_encoding, "heappop", counting_pop)
    assert encode_heap(word, merges)[0] == expected[1]
    assert counting.looked_up <= 3 * (n - 1)
    assert steps <= popped <= 3 * (n - 1)
    assert pushed <= 2 * (n - 1)
    assert encode_heap(word[:300], merges)[0] == expected[0]


def test_short_words():
    merges = Merges([(0, 1)], [2])
    for word in ([], [0], [1], [0, 1], [1, 0]):
        assert encode_list(word, merges) == encode_heap(word, merges)[0] == by_rank(word, merges)


# ---- two homes


@pytest.mark.claim("tokenize.two-homes")
@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 15, 16, 17, 1000, 5000])
def test_a_table_knows_its_pairs_and_no_others(size):
    """Against a dictionary, on pairs that are in, pairs that nearly are, and the ends of the range."""
    rng = random.Random(size)
    merges = random_list(rng, size)
    table = PairTable(merges)
    assert len(table.first) == len(table.second) <= max(16, 4 * size)
    asked = [*merges.pairs, *((b, a) for a, b in merges.pairs), *((a, b + 1) for a, b in merges.pairs)]
    asked += [(0, 0), (NEVER, 0), (0, NEVER), (NEVER, NEVER), (BORDER, BORDER), (BORDER - 1, 1)]
    left, right = np.array(asked, np.uint64).T
    expected = [merges.rank.get(pair, NEVER) for pair in asked]
    assert table.find(left, right).tolist() == expected


@pytest.mark.claim("tokenize.two-homes")
def test_every_pair_is_in_one_of_its_homes_however_crowded(monkeypatch):
    """With few multipliers that work, tables are made anew until one does."""
    pairs = [(a, b) for a in range(64) for b in range(64)]
    merges = Merges(pairs, [0] * len(pairs))
    tries = []
    filled = PairTable._filled

    def crowded(self, numbers, ranks, bits, rng):
        tries.append(bits - 2)
        return filled(self, numbers, ranks, bits - 2, rng)  # a quarter of the homes: too few at first

    monkeypatch.setattr(PairTable, "_filled", crowded)
    table = PairTable(merges)
    assert len(tries) > 1 and tries == list(range(tries[0], tries[0] + len(tries)))
    left, right = np.array(pairs, np.uint64).T
    assert table.find(left, right).tolist() == list(range(len(pairs)))


@pytest.mark.claim("tokenize.two-homes")
def test_the_largest_symbols_and_ranks():
    merges = Merges([(BORDER - 1, BORDER - 1), (0, BORDER - 1)], [BORDER - 1, 5], [7, BORDER - 1])
    table = PairTable(merges)
    left, right = np.array([[BORDER - 1, BORDER - 1], [0, BORDER - 1], [BORDER - 1, 0]], np.uint64).T
    assert table.find(left, right).tolist() == [7, BORDER - 1, NEVER]


@pytest.mark.parametrize(
    ("merges", "sentence"),
    [
        (Merges([(BORDER, 0)], [1]), f"symbols must lie in .0, {BORDER}., got {BORDER}"),
        (Merges([(0, -1)], [1]), "symbols must lie in .*, got -1"),
        (Merges([(0, 1)], [2**40]), f"got {2**40}"),
        (Merges([(0, 1)], [2], [BORDER]), "ranks must lie in"),
    ],
)
def test_what_does_not_fit_is_refused(merges, sentence):
    with pytest.raises(ValueError, match=sentence):
        Encoder(merges)


# ---- many words


@pytest.mark.claim("tokenize.merge-rounds")
@given(any_pairs, st.lists(words, max_size=12), st.booleans())
def test_rounds_make_what_rank_order_makes_of_any_list(results, some, shared):
    merges = a_list(results, shared)
    encoder = Encoder(merges)
    expected = [by_rank(word, merges) for word in some]
    assert encode_all(encoder, some) == expected  # too few for rounds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_encoding, "MANY", 0)
        assert encode_all(encoder, some) == expected
        patch.setattr(bpe_encoding, "CELLS", 40)
        patch.setattr(bpe_encoding, "LONG", 20)
        assert encode_all(encoder, some) == expected


@pytest.mark.claim("tokenize.merge-rounds")
def test_rounds_end_after_the_most_merges_of_a_word(monkeypatch):
    rng = random.Random(3)
    encoder = Encoder(random_list(rng, 60))
    rounds = 0
    number = Encoder._number

    def counted(self, left, right, place):
        nonlocal rounds
        rounds += 1
        return number(self, left, right, place)

    monkeypatch.setattr(Encoder, "_number", counted)
    monkeypatch.setattr(bpe_encoding, "MANY", 0)
    for _ in range(50):
        some = [[rng.randrange(4) for _ in range(rng.randrange(1, 12))] for _ in range(20)]
        rounds = 0
        made = [encode_all(encoder, [word]) for word in some]
        assert rounds == 2 * sum(len(word) - len(new) for word, (new,) in zip(some, made, strict=True))
        rounds, columns = (
            0,
            bpe_encoding._columns(
                np.array([s for word in some for s in word]),
                np.cumsum([0, *map(len, some[:-1])]),
                np.array([len(word) for word in some]),
            ),
        )
        encoder._rounds(columns)
        assert rounds == 2 * max(len(word) - len(new) for word, (new,) in zip(some, made, strict=True))


@pytest.mark.claim("tokenize.merge-rounds")
def test_thousands_of_words_of_all_lengths():
    rng = random.Random(4)
    merges = random_list(rng, 500)
    some = [[rng.randrange(4) for _ in range(int(rng.expovariate(0.1)))] for _ in range(6000)]
    some += [[rng.randrange(4) for _ in range(n)] for n in (255, 256, 257, 258, 300)]
    rng.shuffle(some)
    assert encode_all(Encoder(merges), some) == [encode_list(word, merges) for word in some]


def test_no_words_and_empty_words():
    encoder = Encoder(Merges([(0, 1)], [2]))
    assert encode_all(encoder, []) == []
    assert encode_all(encoder, [[], [], []]) == [[], [], []]
    assert encode_all(Encoder(Merges([], [])), [[], [3], [0, 1]]) == [[], [3], [0, 1]]


# ---- long words


@pytest.mark.claim("tokenize.encoding-glue")
@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 400))
def test_pieces_glued_are_the_word(seed, size, n):
    rng = random.Random(seed)
    merges = random_list(rng, size, base=2)
    if seed % 2:  # in any other order
        order = rng.sample(range(size), size)
        merges = Merges([merges.pairs[i] for i in order], [merges.results[i] for i in order])
    encoder = Encoder(merges)
    word = np.array([rng.randrange(2) for _ in range(n)] + [0] * (n // 3), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_encoding, "PIECE", 16)
        patch.setattr(bpe_encoding, "CELLS", 64)
        glued = encoder._pieces(word) if len(word) > 16 else None
    assert glued is None or glued.tolist() == encode_list(word.tolist(), encoder.merges)


@pytest.mark.claim("tokenize.encoding-glue")
def test_long_words_are_glued_where_pieces_meet_and_done_whole_where_they_do_not():
    rng = random.Random(5)
    runs = Merges([(0, 0), (0, 1)], [2, 3])
    encoder = Encoder(runs)
    mixed = np.array([rng.randrange(2) for _ in range(20_000)])
    assert encoder._pieces(mixed).tolist() == encode_heap(mixed.tolist(), runs)[0]
    # in a run of 128 equal letters each piece is one symbol, and covers what no other piece's symbol covers
    doubling = Encoder(Merges([(k, k) for k in range(10)], list(range(1, 11))))
    run = np.zeros(20_000, np.int64)
    assert doubling._pieces(run) is None
    some = [run.tolist(), mixed.tolist(), [0, 1] * 150, [1]]
    for each in (encoder, doubling):
        assert encode_all(each, some) == [encode_heap(word, each.merges)[0] for word in some]


@pytest.mark.claim("tokenize.encoding-glue")
def test_long_words_of_a_list_that_is_not_ordered():
    rng = random.Random(6)
    merges = Merges([(3, 2), (0, 1), (1, 2), (2, 0)], [4, 3, 3, 1])
    assert not merges.ordered
    word = [rng.randrange(3) for _ in range(9000)]
    assert encode_all(Encoder(merges), [word, word[:300]]) == [
        encode_heap(word, merges)[0],
        encode_list(word[:300], merges),
    ]


def test_a_megabyte_without_a_space():
    """By the two ways that are linear but for a logarithm; a quadratic one would take days."""
    rng = random.Random(7)
    merges = random_list(rng, 3000, base=26)
    word = [rng.randrange(26) for _ in range(1 << 20)]
    encoder = Encoder(merges)
    (made,) = encode_all(encoder, [word])
    assert made == encode_heap(word, merges)[0]


# ---- order


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=20), st.randoms(use_true_random=False))
def test_words_are_put_back_in_order(some, rng):
    order = list(range(len(some)))
    rng.shuffle(order)
    shuffled = [None] * len(some)
    for word, place in zip(some, order, strict=True):
        shuffled[place] = word
    flat = np.array([s for word in some for s in word], np.int64)
    symbols, counts = in_order(flat, np.array([len(word) for word in some], np.int64), np.array(order, np.int64))
    assert counts.tolist() == [len(word) for word in shuffled]
    assert symbols.tolist() == [s for word in shuffled for s in word]
