"""Mirrors src/fp_tokenize/merges.py."""

from collections import Counter
from itertools import combinations, pairwise, product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fp_tokenize.merges import (
    Merges,
    by_rank,
    by_string_rank,
    joined,
    recover,
    replay,
    shortest,
    splits,
    unreachable,
)

BASE = "abc"


@st.composite
def fresh_pairs(draw, size=8):
    """Operands 0, 1 or earlier results, where results are 2, 3, …: with these, (i) and (ii) hold."""
    pairs = []
    for k in range(draw(st.integers(0, size))):
        symbol = st.integers(0, k + 1)
        pairs.append(draw(st.tuples(symbol, symbol).filter(lambda pair: pair not in pairs)))
    return pairs


@st.composite
def string_pairs(draw, size=7):
    """The same of strings, each result a string that is new."""
    symbols, pairs = [*BASE], []
    for _ in range(draw(st.integers(1, size))):
        pair = draw(st.tuples(st.sampled_from(symbols), st.sampled_from(symbols)))
        if "".join(pair) not in symbols:
            pairs.append(pair)
            symbols.append("".join(pair))
    return pairs


@st.composite
def shuffled_pairs(draw):
    """Merges in any order, some results made in several ways: most of these lists are not ordered."""
    pairs = draw(string_pairs())
    symbols = [*BASE, *map("".join, pairs)]
    more = [pair for pair in product(symbols, repeat=2) if "".join(pair) in symbols and pair not in pairs]
    return draw(st.permutations([*pairs, *more]))


words = st.text(st.sampled_from(BASE), max_size=24)


def all_words(symbols, length):
    for n in range(length + 1):
        yield from product(symbols, repeat=n)


def covered(encoding):
    """The interval that each string of an encoding covers."""
    ends = [0]
    for symbol in encoding:
        ends.append(ends[-1] + len(symbol))
    return list(pairwise(ends))


# ---- two readings


@pytest.mark.claim("tokenize.merge-order")
def test_replay_is_rank_order_for_every_short_ordered_list_and_word():
    """Exhaustive: all lists of up to three merges of two base symbols, whose results are new."""
    count = 0
    for R, length in ((1, 8), (2, 7), (3, 5)):
        choices = [list(product(range(2 + k), repeat=2)) for k in range(R)]
        for pairs in product(*choices):
            if len(set(pairs)) == R:
                merges = Merges(pairs, range(2, 2 + R))
                assert merges.ordered
                for word in all_words((0, 1), length):
                    assert replay(word, merges) == by_rank(word, merges)
                count += 1
    assert count > 400


@pytest.mark.claim("tokenize.merge-order")
@given(fresh_pairs(), st.data())
def test_replay_is_rank_order_for_words_of_any_symbols(pairs, data):
    merges = Merges(pairs, [k + 2 for k in range(len(pairs))])
    assert merges.ordered
    word = data.draw(st.lists(st.integers(0, len(merges) + 1), max_size=30))
    assert replay(word, merges) == by_rank(word, merges)


@pytest.mark.claim("tokenize.merge-order")
def test_every_list_for_which_the_readings_differ_is_not_ordered():
    """Exhaustive: all lists of two merges of three symbols, results and operands at will; each hypothesis is needed."""
    pairs = list(product(range(3), repeat=2))
    differ = Counter()
    for (first, second), results in product(product(pairs, repeat=2), product(range(3), repeat=2)):
        if first == second:
            continue
        merges = Merges([first, second], results)
        assert merges.ordered == (not set(results) & {*first} and results[1] not in second)
        for word in all_words(range(3), 4):
            if replay(word, merges) != by_rank(word, merges):
                differ[merges.ordered] += 1
    assert differ[True] == 0 < differ[False]


@pytest.mark.claim("tokenize.merge-order")
def test_without_one_hypothesis_the_other_is_not_enough():
    late = joined([("ab", "c"), ("a", "b")])  # (ii) holds, (i) does not
    assert len(set(late.results)) == 2
    assert replay("abc", late) == ["ab", "c"] != by_rank("abc", late)
    twice = joined([("b", "c"), ("a", "b"), ("ab", "c"), ("abc", "d"), ("a", "bc")])  # (i) holds, (ii) does not
    made = {"a", "b", "c", "d"}
    for (left, right), result in zip(twice.pairs, twice.results, strict=True):
        assert left in made and right in made
        made.add(result)
    assert len(set(twice.results)) < len(twice.results)
    assert replay("abcd", twice) == ["abc", "d"] != by_rank("abcd", twice)


def test_a_pass_reads_on_behind_what_it_has_replaced():
    """Which only shows where a result is an operand of its own merge."""
    absorbing = Merges([("a", "a")], ["a"])
    assert replay("aaaaa", absorbing) == ["a", "a", "a"] and by_rank("aaaaa", absorbing) == ["a"]
    assert not absorbing.ordered


@pytest.mark.parametrize("n", range(12))
def test_a_run_is_merged_from_its_left_end(n):
    merges = joined([("a", "a")])
    assert replay("a" * n, merges) == by_rank("a" * n, merges) == ["aa"] * (n // 2) + ["a"] * (n % 2)
    assert by_string_rank("a" * n, {"aa": 0}) == by_rank("a" * n, merges)


# ---- parts


@pytest.mark.claim("tokenize.encoding-parts")
@given(st.one_of(string_pairs(), shuffled_pairs()), words)
def test_every_part_of_an_encoding_is_the_encoding_of_what_it_covers(pairs, word):
    merges = joined(pairs)
    encoding = by_rank(word, merges)
    for i in range(len(encoding)):
        for j in range(i + 1, len(encoding) + 1):
            assert by_rank("".join(encoding[i:j]), merges) == encoding[i:j]


@pytest.mark.claim("tokenize.encoding-seams")
@given(st.one_of(string_pairs(), shuffled_pairs()), st.data())
def test_symbols_are_an_encoding_exactly_if_all_neighbours_are(pairs, data):
    """Both directions; the second is `tokenize.encoding-parts`."""
    merges = joined(pairs)
    symbols = data.draw(st.lists(st.sampled_from([*BASE, *merges.results]), min_size=2, max_size=6))
    neighbours_fit = all(by_rank(left + right, merges) == [left, right] for left, right in pairwise(symbols))
    assert (by_rank("".join(symbols), merges) == symbols) == neighbours_fit


@pytest.mark.claim("tokenize.encoding-seams")
def test_all_short_sequences_of_symbols_of_a_list():
    """Exhaustive over sequences of up to five symbols of one list."""
    merges = joined([("aa", "ab"), ("a", "a"), ("a", "b"), ("b", "a")])
    assert not merges.ordered
    fits = 0
    for n in range(2, 6):
        for symbols in product(["a", "b", *merges.results], repeat=n):
            neighbours_fit = all(by_rank(left + right, merges) == [left, right] for left, right in pairwise(symbols))
            assert (by_rank("".join(symbols), merges) == [*symbols]) == neighbours_fit
            fits += neighbours_fit
    assert fits > 100


@pytest.mark.claim("tokenize.encoding-glue")
def test_two_encodings_are_glued_at_any_symbol_that_they_share():
    """Exhaustive over the words of up to eight letters and all their overlapping pieces."""
    merges = joined([("aa", "ab"), ("a", "a"), ("b", "b"), ("a", "b"), ("b", "ab"), ("bb", "aaab")])
    assert not merges.ordered
    glued = apart = 0
    for word in map("".join, all_words("ab", 8)):
        whole = by_rank(word, merges)
        for start in range(1, len(word)):
            for end in range(start + 1, len(word)):
                one, other = by_rank(word[:end], merges), by_rank(word[start:], merges)
                places = {(a + start, b + start): i for i, (a, b) in enumerate(covered(other))}
                shared = [(i, places[place]) for i, place in enumerate(covered(one)) if place in places]
                glued, apart = glued + bool(shared), apart + (not shared)
                for i, j in shared:
                    assert one[i] == other[j]
                    assert one[: i + 1] + other[j + 1 :] == whole
    assert glued > 1000 and apart > 100


@pytest.mark.claim("tokenize.encoding-glue")
@given(st.one_of(string_pairs(), shuffled_pairs()), words, st.data())
def test_gluing_with_other_lists(pairs, word, data):
    merges = joined(pairs)
    start = data.draw(st.integers(0, len(word)))
    end = data.draw(st.integers(start, len(word)))
    one, other = by_rank(word[:end], merges), by_rank(word[start:], merges)
    places = {(a + start, b + start): i for i, (a, b) in enumerate(covered(other))}
    for i, place in enumerate(covered(one)):
        if place in places:
            assert one[: i + 1] + other[places[place] + 1 :] == by_rank(word, merges)


# ---- ranks by string


@pytest.mark.claim("tokenize.string-ranks")
def test_reachable_results_make_ranks_by_string_equal():
    """Exhaustive: all lists of three merges of two letters with different strings, all words of up to six letters."""
    reachable = hidden = differ = 0

    def lists(pairs, symbols):
        if len(pairs) == 3:
            yield joined(pairs)
            return
        for pair in product(symbols, repeat=2):
            if "".join(pair) not in symbols:
                yield from lists([*pairs, pair], [*symbols, "".join(pair)])

    every = list(map("".join, all_words("ab", 6)))
    for merges in lists([], ["a", "b"]):
        ranks = {result: k for k, result in enumerate(merges.results)}
        equal = all(by_string_rank(word, ranks) == by_rank(word, merges) for word in every)
        if unreachable(merges):
            hidden += 1
            differ += not equal
        else:
            reachable += 1
            assert equal
    assert reachable > 100 and hidden > 10 and differ > 10


@pytest.mark.claim("tokenize.string-ranks")
@given(string_pairs(), st.lists(words, max_size=20))
def test_reachable_results_of_longer_lists(pairs, some):
    merges = joined(pairs)
    assume(not unreachable(merges))
    ranks = {result: k for k, result in enumerate(merges.results)}
    for word in [*some, *merges.results]:
        assert by_string_rank(word, ranks) == by_rank(word, merges)


@given(st.lists(st.text(st.sampled_from("ab"), min_size=2, max_size=5), unique=True, max_size=8), words)
def test_splits_do_what_ranks_by_string_do_whatever_the_strings(strings, word):
    ranks = {string: k for k, string in enumerate([*BASE, *strings])}
    assert by_rank(word, splits(ranks)) == by_string_rank(word, ranks)


@pytest.mark.claim("tokenize.string-splits")
@given(
    st.lists(st.text(st.sampled_from("ab"), min_size=2, max_size=6), unique=True, max_size=10),
    st.randoms(use_true_random=False),
    st.lists(st.text(st.sampled_from("ab"), max_size=24), max_size=10),
)
def test_cuts_of_a_string_do_what_it_does_in_any_order(strings, rng, some):
    ranks = {string: k for k, string in enumerate(["a", "b", *strings])}
    pairs = list(splits(ranks).pairs)
    rng.shuffle(pairs)
    merges = joined(sorted(pairs, key=lambda pair: ranks["".join(pair)]))
    for word in [*some, *strings, "".join(strings)]:
        assert by_rank(word, merges) == by_string_rank(word, ranks)


@pytest.mark.claim("tokenize.string-splits")
def test_cuts_in_both_orders_on_all_words_of_two_letters():
    """Exhaustive: all sets of four strings of two and three letters in two orders, all words of up to six letters."""
    strings = ["".join(word) for n in (2, 3) for word in product("ab", repeat=n)]
    every = list(map("".join, all_words("ab", 6)))
    several = 0
    for chosen in combinations(strings, 4):
        for ordered in (chosen, chosen[::-1]):
            ranks = {string: k for k, string in enumerate(["a", "b", *ordered])}
            shared = splits(ranks)
            several += len(shared) > len(set(shared.ranks))
            backwards = joined(sorted(shared.pairs, key=lambda pair: (ranks["".join(pair)], -len(pair[0]))))
            assert all(by_rank(word, backwards) == by_string_rank(word, ranks) for word in every)
    assert several > 50


def train(corpus, steps, choose):
    """A small trainer: at each step one of the pairs that stand in the corpus."""
    state = [list(word) for word in corpus]
    pairs = []
    for _ in range(steps):
        counts = Counter(pair for word in state for pair in pairwise(word))
        if not counts:
            break
        pair = choose(counts)
        pairs.append(pair)
        state = [replay(word, joined([pair])) for word in state]
    return joined(pairs)


@pytest.mark.claim("tokenize.trained-merges")
@given(st.lists(words, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_results_of_training_are_reachable_and_different_whatever_pair_is_taken(corpus, rng):
    merges = train(corpus, 12, lambda counts: rng.choice(sorted(counts)))
    assert unreachable(merges) == []
    assert len(set(merges.results)) == len(merges.results)
    assert merges.ordered


@pytest.mark.claim("tokenize.recovered-merges")
@given(st.lists(words, min_size=1, max_size=6))
def test_merges_of_training_are_recovered(corpus):
    merges = train(corpus, 12, lambda counts: max(sorted(counts), key=counts.__getitem__))
    ranks = {string: k for k, string in enumerate([*BASE, *merges.results])}
    assert recover(ranks) == list(merges.pairs)


@pytest.mark.claim("tokenize.recovered-merges")
def test_what_is_recovered_does_the_same_as_the_strings():
    """Exhaustive: all orders of all sets of three strings of two and three letters, all words of up to six letters."""
    strings = ["".join(word) for n in (2, 3) for word in product("ab", repeat=n)]
    every = list(map("".join, all_words("ab", 6)))
    found = not_found = 0
    for first, second, third in product(strings, repeat=3):
        if len({first, second, third}) == 3:
            ranks = {"a": 0, "b": 1, first: 2, second: 3, third: 4}
            pairs = recover(ranks)
            if pairs is None:
                not_found += 1
                continue
            found += 1
            merges = joined(pairs)
            assert merges.results == [first, second, third]
            assert merges.ordered and unreachable(merges) == []
            assert all(by_rank(word, merges) == by_string_rank(word, ranks) for word in every)
    assert found > 100 and not_found > 100


# ---- not the shortest


@pytest.mark.claim("tokenize.bpe-not-shortest")
@pytest.mark.parametrize("T", range(3, 8))
def test_the_family_that_is_cut_badly(T):
    letters = "abcdefghij"[:T]
    merges = joined([(letters[-1], letters[0]), *((letters[:j], letters[j]) for j in range(1, T))])
    assert len(merges) == T and max(map(len, merges.results)) == T
    assert merges.ordered and unreachable(merges) == []
    for m in range(2, 7):
        assert len(by_rank(letters * m, merges)) == (m - 1) * (T - 1) + 2
        assert len(shortest(letters * m, [*letters, *merges.results])) == m


@pytest.mark.claim("tokenize.bpe-not-shortest")
@given(string_pairs(), words.filter(bool))
def test_the_ratio_stays_below_the_longest_result(pairs, word):
    merges = joined(pairs)
    assume(len(merges))
    fewest = len(shortest(word, [*BASE, *merges.results]))
    assert fewest <= len(by_rank(word, merges)) < max(map(len, merges.results)) * fewest


@given(st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=3), max_size=4), st.text("ab", max_size=7))
def test_the_shortest_cut_against_all_cuts(tokens, word):
    """Exhaustive search over where the word may be cut."""
    sizes = []
    for cuts in product((False, True), repeat=max(len(word) - 1, 0)):
        bounds = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(word)]
        pieces = [word[i:j] for i, j in pairwise(bounds)] if word else []
        if all(piece in tokens for piece in pieces):
            sizes.append(len(pieces))
    found = shortest(word, tokens)
    assert (found is None) == (not sizes)
    if found is not None:
        assert len(found) == min(sizes) and "".join(found) == word and set(found) <= set(tokens)


# ---- cost


class Counting(dict):
    looked_up = 0

    def get(self, key, default=None):
        self.looked_up += 1
        return super().get(key, default)


@pytest.mark.claim("tokenize.by-rank-cost")
@given(string_pairs(), words.filter(bool))
def test_rank_order_looks_up_at_most_half_the_square(pairs, word):
    merges = joined(pairs)
    counting = Counting(merges.rank)
    object.__setattr__(merges, "rank", counting)
    n, left = len(word), len(by_rank(word, merges))
    assert counting.looked_up == sum(range(left - 1, n)) <= n * (n - 1) // 2


@pytest.mark.claim("tokenize.by-rank-cost")
@pytest.mark.parametrize("n", [1, 2, 3, 17, 64])
def test_a_word_that_becomes_one_symbol_needs_them_all(n):
    word = "".join(map(chr, range(0x100, 0x100 + n)))  # different letters, merged from the left
    merges = joined([(word[:k], word[k]) for k in range(1, n)])
    counting = Counting(merges.rank)
    object.__setattr__(merges, "rank", counting)
    assert by_rank(word, merges) == [word]
    assert counting.looked_up == n * (n - 1) // 2


# ---- bad input


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Merges([(0, 1)], []), "one result and one rank for each pair, got 1 pairs, 0 results and 1 ranks"),
        (lambda: Merges([(0, 1)], [2], [1, 2]), "got 1 pairs, 1 results and 2 ranks"),
        (lambda: Merges([(0, 1), (2, 3), (0, 1)], [4, 5, 6]), r"\(0, 1\) occurs twice"),
        (lambda: Merges([(0, 1), (2, 3)], [4, 5], [1, 0]), "never fall along the list"),
        (lambda: Merges([(0, 1)], [4], [-1]), "at least 0"),
        (lambda: Merges([(0, 1), (2, 3)], [4, 5], [7, 7]), "one result, rank 7 has 4 and 5"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_list_without_merges_changes_nothing():
    empty = Merges([], [])
    assert replay("abc", empty) == by_rank("abc", empty) == ["a", "b", "c"]
    assert empty.ordered and len(empty) == 0
    assert by_rank("", joined([("a", "b")])) == replay("", joined([("a", "b")])) == []
    assert shortest("", []) == []
