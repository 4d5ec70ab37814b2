"""Mirrors src/fp_tokenize/bpe_training.py."""

import hashlib
import heapq
import json
import random
from collections import Counter
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_tokenize import bpe_training
from fp_tokenize.bpe_training import GAP, Trained, _Words, count_pairs, train_merges, train_reference
from fp_tokenize.merges import Merges, by_rank, replay
from fp_tokenize.pretokenize import GPT2
from fp_tokenize.words import count_words, read_pieces

FROZEN = json.loads((Path(__file__).parent / "fixtures/bpe_training.json").read_text(encoding="utf-8"))
SHAKESPEARE = Path(__file__).parents[4] / "shared/data/tinyshakespeare.txt"

corpora = st.dictionaries(st.text("ab", min_size=1, max_size=12) | st.text("abcé言", min_size=1), st.integers(1, 9))
corpora = corpora.filter(bool)
many = st.sampled_from([2, 5, bpe_training.MANY])
CHARACTERS = {"alphabet": "characters"}


def with_many(n: int, *arguments, **options) -> Trained:
    """Training in which NumPy takes over at `n` places: with few, all three ways to merge are gone in small corpora."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_training, "MANY", n)
        return train_merges(*arguments, **options)


class Watched(_Words):
    """Words that look at the whole state before each step, and count what is done."""

    def __init__(self, start, bits):
        super().__init__(start, bits)
        self.n_symbols, self.n_words, self.bits = len(start.symbols), len(start.lengths), bits
        self.table = Lowered(self.table)
        self.steps, self.recorded, self.recounted = [], sum(map(self.n_places, self.places.values())), 0
        self.born, self.last = dict.fromkeys(self.table, 0), {}

    @staticmethod
    def n_places(places):
        return 1 if isinstance(places, int) else len(places)

    def row(self):
        """The symbols and their places, gaps included, from neighbour to neighbour."""
        at, row = 0, []
        while at < len(self.symbol):
            row.append((int(self.symbol[at]), at))
            at = int(self.after[at])
        assert all(self.before[j] == i for (_, i), (_, j) in pairwise(row))
        return row

    def recount(self):
        counts, where = Counter(), {}
        for (a, i), (b, _) in pairwise(self.row()):
            if a >= 0 and b >= 0:
                counts[a << self.bits | b] += int(self.weight[i])
                where.setdefault(a << self.bits | b, []).append(i)
        return counts, where

    def check(self, popped=None, popped_places=()):
        counts, where = self.recount()
        assert {key: count for key, count in self.table.items() if count} == counts
        for key, places in [*self.places.items(), *([(popped, popped_places)] if popped is not None else [])]:
            places = [places] if isinstance(places, int) else list(places)
            assert places == sorted(places)
            assert set(where.get(key, ())) <= set(places)  # complete since the step that made the pair
        for key, count in counts.items():
            assert count <= self.last.get(key, count)  # never rises
        self.last = counts
        return counts

    def merge(self, a, b, result, places):
        key = a << self.bits | b
        counts = self.check(key, places)
        assert min(counts, key=lambda pair: (-counts[pair], pair)) == key
        before = sum(symbol >= 0 for symbol, _ in self.row())
        made = super().merge(a, b, result, places)
        self.steps.append((before, before - sum(symbol >= 0 for symbol, _ in self.row())))
        for new, _, new_places in made:
            assert self.born.setdefault(new, len(self.steps)) == len(self.steps)  # in no other step
            self.recorded += self.n_places(new_places)
        return made


class Lowered(dict):
    """A table that counts how often a number in it is made smaller."""

    n = 0

    def __setitem__(self, key, value):
        self.n += key in self and value < self[key]
        super().__setitem__(key, value)


def watched(n: int, *arguments, **options) -> tuple[Trained, Watched, Counter]:
    """A training with the state after each step checked, and the operations on the heap counted."""
    kept, operations = [], Counter()

    def keep(start, bits):
        kept.append(Watched(start, bits))
        return kept[0]

    def counted(function):
        def run(*arguments):
            operations[function.__name__] += 1
            return function(*arguments)

        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_training, "_Words", keep)
        for function in (heapq.heappush, heapq.heappop, heapq.heapreplace):
            patch.setattr(bpe_training, function.__name__, counted(function))
        trained = with_many(n, *arguments, **options)
    kept[0].check()
    return trained, kept[0], operations


# ---- by hand


def test_five_steps_by_hand():
    """
    Ids: a 0, b 1, c 2. Words: 3 x abab, 2 x bab, 1 x cab.

    Step 1: (a, b) 6 + 2 + 1 = 9, (b, a) 3 + 2 = 5, (c, a) 1: ab = 3. Words: 33, 13, 23.
    Step 2: (3, 3) 3, (1, 3) 2, (2, 3) 1: abab = 4. Words: 4, 13, 23. Step 3: bab = 5. Step 4: cab = 6. No pair is left.
    """
    for train in (train_reference, train_merges):
        trained = train({"abab": 3, "bab": 2, "cab": 1}, 50, **CHARACTERS)
        assert trained.names == ["a", "b", "c", "ab", "abab", "bab", "cab"]
        assert trained.merges == [(0, 1), (3, 3), (1, 3), (2, 3)]
        assert trained.results == [3, 4, 5, 6]
        assert trained.counts == [9, 3, 2, 1]
        assert trained.named_merges[1] == ("ab", "ab")
        assert trained.vocabulary["bab"] == 5


def test_bytes_have_the_first_ids_in_the_order_of_their_names():
    names = train_merges({"é": 2}, 300).names
    assert names[:3] == ["!", '"', "#"]
    assert names[255:] == ["Ń", "Ã©"]  # U+0143 is the last name of a byte; é is the bytes C3 A9
    assert names[:256] == sorted(names[:256])


# ---- the claims


@pytest.mark.claim("tokenize.runs")
def test_a_pass_merges_all_occurrences_and_half_of_those_in_a_run():
    """Exhaustive over words of up to eight letters; the best choice of occurrences is found by trying all."""
    for word in (w for n in range(9) for w in product("abc", repeat=n)):
        occurrences = [i for i, pair in enumerate(pairwise(word)) if pair == ("a", "b")]
        merged = replay(word, Merges([("a", "b")], ["x"]))
        assert merged.count("x") == len(occurrences)
        assert ("a", "b") not in set(pairwise(merged))
        if "c" in word:
            continue  # for runs two letters are enough
        occurrences = [i for i, pair in enumerate(pairwise(word)) if pair == ("a", "a")]
        best = max(
            k
            for k in range(len(occurrences) + 1)
            if any(all(j > i + 1 for i, j in pairwise(chosen)) for chosen in combinations(occurrences, k))
        )
        merged = replay(word, Merges([("a", "a")], ["x"]))
        runs = [len(run) for run in "".join(word).split("b") if run]
        assert merged.count("x") == best == sum(m // 2 for m in runs)
        assert len(occurrences) == sum(m - 1 for m in runs)
        assert ("a", "a") not in set(pairwise(merged))


@pytest.mark.claim("tokenize.training-deterministic")
@given(corpora, st.randoms(use_true_random=False), many)
def test_the_order_of_the_words_changes_nothing(counts, rng, n):
    shuffled = list(counts.items())
    rng.shuffle(shuffled)
    for options in ({}, CHARACTERS):
        assert with_many(n, dict(shuffled), 290, **options) == train_merges(counts, 290, **options)


@pytest.mark.claim("tokenize.training-deterministic")
def test_processes_pieces_and_the_order_of_texts_change_nothing(tmp_path):
    rng = random.Random(3)
    texts = [" ".join(rng.choices(["tie", "tea", "toe", "eat", "ate", "tee\n"], k=50)) for _ in range(40)]
    expected = train_merges(count_words(texts, pretokenizer=GPT2), 280)
    assert train_merges(count_words(texts[::-1], pretokenizer=GPT2, processes=2), 280) == expected
    path = tmp_path / "text"
    path.write_bytes("".join(texts).encode())
    whole = train_merges(count_words([path.read_bytes().decode()], pretokenizer=GPT2), 280)
    for size in (1, 7, 1000):
        assert train_merges(count_words(read_pieces([path], size), pretokenizer=GPT2), 280) == whole


@pytest.mark.claim("tokenize.names-once")
def test_no_name_is_made_twice_by_any_training_on_two_short_words():
    """Exhaustive over pairs of words of up to five of two letters, with equal and with unequal counts."""
    words = ["".join(w) for n in range(1, 6) for w in product("ab", repeat=n)]
    for first, second in combinations(words, 2):
        for count in (1, 2):
            trained = train_merges({first: count, second: 1}, 30, **CHARACTERS)
            assert len(set(trained.names)) == len(trained.names) == len({*first, *second}) + len(trained.merges)


@pytest.mark.claim("tokenize.names-once")
@given(corpora, many)
def test_every_merge_makes_a_token_and_encoding_is_replaying(counts, n):
    trained = with_many(n, counts, 400)
    assert trained.results == list(range(256, 256 + len(trained.merges)))
    assert len(set(trained.names)) == len(trained.names)
    merges = Merges(trained.merges, trained.results)
    assert merges.ordered
    for word in counts:
        start = [trained.vocabulary[bpe_training.byte_alphabet()[byte]] for byte in word.encode()]
        assert by_rank(start, merges) == replay(start, merges)


@pytest.mark.claim("tokenize.count-invariant")
@pytest.mark.claim("tokenize.born-once")
@pytest.mark.claim("tokenize.lazy-heap")
@given(corpora, many)
def test_before_every_step_the_table_is_a_recount_and_its_first_pair_is_chosen(counts, n):
    trained, words, _ = watched(n, counts, 500)
    assert len(words.steps) == len(trained.merges)


@pytest.mark.claim("tokenize.count-invariant")
@pytest.mark.parametrize("n", [2, bpe_training.MANY])
@pytest.mark.parametrize("word", ["abababab", "aaaaaaaa", "aaaaaaa", "abaabaaab", "aabbaabb", "abcabcabc"])
def test_events_side_by_side_leave_the_table_a_recount(word, n):
    """Where one event's right neighbour is the next one's pair, a count is put into the table and taken back."""
    watched(n, {word: 3, word[1:]: 2, word * 3: 1}, 400)


@pytest.mark.claim("tokenize.born-once")
@given(corpora)
def test_the_counts_of_chosen_pairs_never_rise(counts):
    chosen = train_reference(counts, 400).counts
    assert chosen == sorted(chosen, reverse=True)


@pytest.mark.claim("tokenize.training-cost")
@given(corpora, many)
def test_the_operations_stay_within_their_bounds_to_the_very_end(counts, n):
    trained, words, operations = watched(n, counts, 10_000)
    n, D = words.n_symbols, words.n_words
    events = [count for _, count in words.steps]
    assert sum(events) <= n - D
    assert sum(events) == n - D  # to the end: each word is one symbol
    assert words.recorded <= 3 * (n - D)
    assert words.table.n <= 2 * (n - D)
    assert operations["heappush"] <= 2 * (n - D)
    repairs = operations["heapreplace"] + operations["heappop"] - len(trained.merges)
    assert repairs <= words.table.n
    assert D * len(events) <= sum(symbols for symbols, _ in words.steps) <= n * len(events)


# ---- fast against reference


@settings(max_examples=300)
@given(
    corpora,
    st.integers(256, 330),
    st.sampled_from(["bytes", "characters"]),
    st.sampled_from([(), ("<s>",), ("ab", "<s>"), ("b", "aa")]),
    st.integers(1, 4),
    many,
)
def test_fast_training_is_the_reference(counts, vocab_size, alphabet, special_tokens, min_count, n):
    settings = {"special_tokens": special_tokens, "alphabet": alphabet, "min_count": min_count}
    vocab_size += len(special_tokens)
    assert with_many(n, counts, vocab_size, **settings) == train_reference(counts, vocab_size, **settings)


@given(corpora, st.integers(0, 12))
def test_a_smaller_vocabulary_is_the_beginning_of_a_larger_one(counts, n):
    small, large = train_merges(counts, 256 + n), train_merges(counts, 300)
    assert small.names == large.names[: len(small.names)]
    assert small.merges == large.merges[: len(small.merges)]


def test_more_words_than_a_byte_can_number_and_long_runs():
    rng = random.Random(1)
    counts = {"".join(rng.choices("etaoin", k=rng.randint(1, 9))): rng.randint(1, 50) for _ in range(3000)}
    counts |= {"a" * 3000: 1, "ab" * 1500: 2}
    assert train_merges(counts, 320) == train_reference(counts, 320)


def test_pairs_are_counted_with_overlaps_and_weights():
    assert count_pairs([[0, 0, 0], [], [1], [0, 1]], [2, 9, 9, 3]) == {(0, 0): 4, (0, 1): 3}


# ---- the library's answers


@pytest.mark.parametrize("name", FROZEN["cases"])
@pytest.mark.parametrize("n", [2, bpe_training.MANY])
def test_names_and_merges_are_those_of_hugging_face(name, n):
    case = dict(FROZEN["cases"][name])
    names, merges = case.pop("names"), case.pop("merges")
    trained = with_many(n, **case)
    assert trained.names == names
    assert [list(pair) for pair in trained.named_merges] == merges


@pytest.mark.parametrize("size", [1024, 8192])
def test_shakespeare_gives_the_merges_of_hugging_face(size):
    if not SHAKESPEARE.exists():
        pytest.skip(f"needs {SHAKESPEARE}, which is no part of the repository")
    text = SHAKESPEARE.read_bytes()
    assert hashlib.sha256(text).hexdigest() == FROZEN["tinyshakespeare"]["sha256"]
    trained = train_merges(count_words([text.decode()], pretokenizer=GPT2), size)
    content = json.dumps([trained.names, [list(pair) for pair in trained.named_merges]], ensure_ascii=True)
    assert hashlib.sha256(content.encode()).hexdigest() == FROZEN["tinyshakespeare"][str(size)]


# ---- the edges


def test_a_result_spelled_like_a_special_token_shares_its_id():
    for train in (train_reference, train_merges):
        trained = train({"abc": 5, "ab": 1}, 6, ["<s>", "ab"], **CHARACTERS)
        assert trained.names == ["<s>", "ab", "a", "b", "c", "abc"]
        assert trained.results == [1, 5]


def test_training_stops_where_no_pair_is_frequent_enough():
    counts = {"abc": 5, "abd": 3, "x": 100}
    assert train_merges(counts, 300, min_count=5).counts == [8, 5]
    assert train_merges(counts, 300, min_count=6).counts == [8]
    assert train_merges(counts, 300, min_count=9).counts == []
    assert train_merges(counts, 256).merges == []
    assert train_merges({"x": 1}, 300).merges == []


def test_large_counts_are_added_exactly():
    large = 2**58
    assert train_merges({"ab": large + 1, "xab": large}, 258).counts == [2 * large + 1, large]


def test_progress_is_told_from_time_to_time_and_at_the_end(monkeypatch):
    monkeypatch.setattr(bpe_training, "PROGRESS", 2)
    told = []
    train_merges({"abcdef": 1}, 300, progress=lambda done, total: told.append((done, total)))
    assert told == [(258, 300), (260, 300), (261, 300)]


def test_gaps_part_the_words():
    words = []

    def keep(start, bits):
        words.append(_Words(start, bits))
        return words[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_training, "_Words", keep)
        train_merges({"ab": 1, "c": 1}, 3, **CHARACTERS)
    assert words[0].symbol.tolist() == [GAP, 0, 1, GAP, 2, GAP]


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("train", [train_reference, train_merges])
@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        (({}, 300), {}, ValueError, "at least one word, got none. Is the corpus empty"),
        (({"": 3}, 300), {}, ValueError, "at least one word, got none"),
        (({"ab": 1}, 300.0), {}, TypeError, "vocab_size must be an integer, got 300.0"),
        (({"ab": 1}, 255), {}, ValueError, "at least 256, for 0 special tokens and an alphabet of 256 bytes, got 255"),
        (
            ({"abc": 1}, 4, ["<s>", "<t>"]),
            CHARACTERS,
            ValueError,
            "at least 5, for 2 special tokens and an alphabet of 3 characters, got 4. .* or start from bytes",
        ),
        (({"ab": 1, "c": 0}, 300), {}, ValueError, "counts of words must be at least 1, got 0 for 'c'"),
        (({"ab": -1}, 300), {}, ValueError, "counts of words must be at least 1, got -1 for 'ab'"),
        (({"ab": 1.5}, 300), {}, TypeError, "counts of words must be integers"),
        (({"ab": 2**64}, 300), {}, TypeError, "counts of words must be integers that fit 64 bits"),
        (({"ab": 2**62}, 300), {}, ValueError, "fewer than 2\\*\\*62 letters"),
        (({"ab": 1}, 300, ["<s>", "<s>"]), {}, ValueError, "each special token is given once, '<s>' occurs twice"),
        (({"ab": 1}, 300, [""]), {}, ValueError, "needs a spelling, got ''"),
        (({"ab": 1}, 300, "<s>"), {}, TypeError, "special_tokens must be a list of names, got the string '<s>'"),
        (({"ab": 1}, 300), {"alphabet": "letters"}, ValueError, "alphabet must be 'bytes' or 'characters'"),
        (({"ab": 1}, 300), {"min_count": 0}, ValueError, "min_count must be at least 1, got 0"),
        (({"a\ud800": 1}, 300), {}, ValueError, r"free of lone surrogates, got U\+D800"),
    ],
)
def test_bad_input_is_refused(train, arguments, options, error, sentence):
    with pytest.raises(error, match=sentence):
        train(*arguments, **options)
