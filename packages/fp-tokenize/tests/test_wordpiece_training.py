"""Mirrors src/fp_tokenize/wordpiece_training.py."""

from collections import Counter
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise, product
from math import log

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fp_tokenize import wordpiece_training as training
from fp_tokenize.wordpiece_training import (
    RULES,
    log_likelihood,
    merge_gain,
    merge_score,
    pairs_of,
    train_wordpiece,
    train_wordpiece_reference,
)

corpora = st.dictionaries(
    st.text("ab", min_size=1, max_size=9) | st.text("abcd", min_size=1, max_size=6),
    st.sampled_from([1, 1, 2, 3, 40, 1000]),
    min_size=1,
    max_size=8,
)
token_words = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=5)


@st.composite
def pair_counts(draw, largest=10**6):
    """k, c(a), c(b), N and whether a = b, as they can occur together."""
    k = draw(st.integers(1, largest))
    same = draw(st.booleans())
    a = draw(st.integers(2 * k if same else k, 3 * largest))
    b = a if same else draw(st.integers(k, 3 * largest))
    total = draw(st.integers(a if same else a + b, 10 * largest))
    return k, a, b, total, same


@pytest.mark.claim("tokenize.merge-counts")
def test_what_a_merge_does_to_the_counts():
    """Exhaustive: all words of up to nine tokens of two kinds."""
    for n in range(1, 10):
        for word in product((0, 1), repeat=n):
            places = [i for i in range(n - 1) if word[i : i + 2] == (0, 1)]
            runs = Counter(len(run) for run in "".join(map(str, word)).split("1"))
            for pair, k in (((0, 1), len(places)), ((0, 0), sum(r // 2 * times for r, times in runs.items()))):
                assert pairs_of(word).count(pair) == k
                before, after = Counter(word), Counter(training._replace(list(word), pair, 7))
                assert after[7] == k
                assert after.total() == n - k
                for token in (0, 1):
                    assert after[token] == before[token] - k * pair.count(token)


@pytest.mark.claim("tokenize.merge-gain")
@given(token_words, st.sampled_from([(0, 1), (0, 0), (2, 1), (3, 3)]), st.integers(0, 5))
def test_the_gain_is_the_difference_of_the_likelihoods(some, pair, already):
    """The merged token, 7, may occur already."""
    k = sum(pairs_of(word).count(pair) for word in some)
    assume(k)
    before = Counter(token for word in some for token in word) + Counter({7: already})
    after = Counter(token for word in some for token in training._replace(word, pair, 7)) + Counter({7: already})
    gain = merge_gain(k, before[pair[0]], before[pair[1]], before.total(), pair[0] == pair[1], already)
    # sums of some fifty terms of size below 200, each rounded
    assert gain == pytest.approx(log_likelihood(after.values()) - log_likelihood(before.values()), abs=1e-10)


@pytest.mark.claim("tokenize.merge-gain-bounds")
@given(pair_counts())
@example((1, 1, 1, 2, False))
@example((1, 2, 2, 2, True))
def test_the_gain_of_a_pair_is_its_mutual_information_up_to_a_nat(counts):
    k, a, b, total, _ = counts
    information = log(k * total / (a * b))
    assert information - 1 < merge_gain(*counts) / k < information + 1


@pytest.mark.claim("tokenize.merge-gain-bounds")
def test_the_curvature_lies_between_its_bounds():
    for i in range(1, 1000):
        r = i / 1000
        h = (1 - r) * log(1 - r) + r
        assert r * r / 2 < h < r * r


@pytest.mark.claim("tokenize.score-is-pmi")
@given(st.data())
def test_the_score_ranks_by_the_first_order_gain_for_each_pair(data):
    (k, a, b, total, _), (k2, a2, b2, _, _) = data.draw(pair_counts()), data.draw(pair_counts())
    first, second = Fraction(k, a * b), Fraction(k2, a2 * b2)
    gains = [log(p * total) - 1 for p in (first, second)]
    assert merge_score(k, a, b) == float(first)
    assert gains[0] == pytest.approx(log(k * total / (a * b)) - 1, abs=1e-12)  # logarithms below 100, rounded
    if first < second:
        assert gains[0] <= gains[1]


@pytest.mark.claim("tokenize.score-is-pmi")
def test_the_rankings_by_gain_and_by_score_can_be_opposite():
    frequent, rare = (16, 16, 16, 83), (1, 1, 1, 83)
    assert merge_gain(*frequent) > 7 * merge_gain(*rare)
    assert merge_score(*rare[:3]) == 16 * merge_score(*frequent[:3])


@pytest.mark.claim("tokenize.score-prefers-rare")
def test_a_score_is_at_most_one_over_the_larger_count():
    """Exhaustive."""
    for a, b in product(range(1, 13), repeat=2):
        for k in range(1, min(a, b) + 1):
            score = Fraction(k, a * b)
            assert score <= Fraction(1, max(a, b))
            assert (score == 1) == (a == b == 1)
            if a == b and 2 * k <= a:
                assert score <= Fraction(1, 2 * a)
    counts = {"xy": 1, "th": 10**6, "thin": 10**5}
    assert train_wordpiece(counts, 14, rule="score")[13] == "xy"


@pytest.mark.claim("tokenize.worth-monotone")
def test_worth_never_rises_with_the_tokens_counts_nor_falls_with_all_tokens():
    """Exhaustive on small counts."""
    for rule in RULES:
        worth = training._worth(rule, 60)
        for k, a, b, total in product(range(1, 5), range(1, 20), range(1, 20), (40, 41, 60)):
            for same in (False, True):
                if min(a, b) >= (2 * k if same else k) and (a == b or not same):
                    value = worth(k, a, b, total, same)
                    assert worth(k, a + 1, b + same, total, same) <= value
                    assert worth(k, a + same, b + 1, total, same) <= value
                    assert worth(k, a, b, total + 1, same) >= value


@pytest.mark.claim("tokenize.worth-monotone")
@given(pair_counts(largest=10**11))
@example((1, 1, 1, 2**40 - 1, False))
@example((2**38, 2**39, 2**39, 2**40 - 1, True))
def test_gains_are_rounded_by_less_than_they_differ(counts):
    """The error stated is 2e-13 for each pair."""
    k, a, b, total, same = counts

    def f(x):
        return x * Decimal(x).ln() if x else Decimal(0)

    with localcontext(prec=60):
        exact = f(k) + f(total) - f(total - k)
        exact += f(a - 2 * k) - f(a) if same else f(a - k) - f(a) + f(b - k) - f(b)
        assert abs(Decimal(merge_gain(*counts)) - exact) < Decimal("2e-13") * k


@pytest.mark.claim("tokenize.wordpiece-training")
@given(
    corpora,
    st.sampled_from(RULES),
    st.sampled_from(["##", ""]),
    st.sampled_from([1, 1, 2, 4]),
    st.sampled_from([["[UNK]"], [], ["ab", "##ba"]]),
)
@example({"aaaaaaa": 1, "aaaa": 2}, "gain", "", 1, [])
def test_training_is_the_reference(counts, rule, prefix, min_count, special):
    settings = {"prefix": prefix, "rule": rule, "min_count": min_count}
    names = train_wordpiece(counts, 30, special, **settings)
    assert names == train_wordpiece_reference(counts, 30, special, **settings)


@pytest.mark.claim("tokenize.wordpiece-training")
@pytest.mark.parametrize("rule", RULES)
def test_training_on_a_text_is_the_reference(rule):
    """Enough words for floors to fall, and for a merged token to exist already."""
    counts = text_counts(300)
    for settings in ({}, {"min_count": 3}, {"limit_alphabet": 12}):
        names = train_wordpiece(counts, 130, rule=rule, **settings)
        assert names == train_wordpiece_reference(counts, 130, rule=rule, **settings)


def text_counts(n):
    from pydoc_data.topics import topics

    return Counter("".join(c if "a" <= c <= "z" else " " for c in " ".join(topics.values()).lower()).split()[:n])


@pytest.mark.claim("tokenize.floor-drops")
def test_floors_fall_seldom_and_each_rewriting_shortens_a_word(monkeypatch):
    class Floors(list):
        def __setitem__(self, token, value):
            drops[token] += 1
            list.__setitem__(self, token, value)

    counts = text_counts(3000)
    names, words, times = training._begin(counts, 600, [], "##", "gain", None, 1, 100)
    characters = sum(map(len, words))
    ids = {name: i for i, name in enumerate(names)}
    corpus = training._Corpus(words, times, len(names))
    queue = training._Queue(corpus, merge_gain, 1)
    queue.floor = Floors(queue.floor)
    drops, most, rewritings, shorter = Counter(), list(corpus.count), 0, True
    replace = training._replace

    def counting(word, pair, result):
        nonlocal rewritings, shorter
        new = replace(word, pair, result)
        rewritings += 1
        shorter &= len(new) < len(word)
        return new

    monkeypatch.setattr(training, "_replace", counting)
    for _ in range(500):
        a, b = pair = queue.best()
        name = names[a] + names[b].removeprefix("##")
        assert name not in ids, "a count would rise"
        ids[name] = len(names)
        names.append(name)
        corpus.count.append(0)
        most.append(corpus.pairs[pair])
        changed = corpus.merge(pair, ids[name])
        queue.update(pair, ids[name], changed)
    assert max(drops.values()) > 5
    for token, n in drops.items():
        assert n <= 1 + log(most[token]) / log(4 / 3)
    assert shorter
    assert rewritings <= characters


@pytest.mark.claim("tokenize.score-key")
def test_whole_numbers_are_ordered_as_scores():
    """Exhaustive: all scores of corpora of fewer than 16 tokens."""
    key = training._worth("score", 15)
    found = {}
    for a, b in product(range(1, 15), repeat=2):
        for k in range(1, min(a, b) + 1):
            found.setdefault(Fraction(k, a * b), set()).add(key(k, a, b, 15, False))
    assert all(len(keys) == 1 for keys in found.values())
    keys = [found[score].pop() for score in sorted(found)]
    assert all(x < y for x, y in pairwise(keys))


@pytest.mark.claim("tokenize.score-key")
def test_scores_that_doubles_cannot_tell_apart_are_told_apart():
    n = 2**28 + 1
    score, other = (n, n, n + 1), (n - 2, n - 1, n)  # 1/(n + 1) and 1/n (1 - 1/(n - 1)), which is less
    assert Fraction(score[0], score[1] * score[2]) > Fraction(other[0], other[1] * other[2])
    assert merge_score(*score) == merge_score(*other)
    key = training._worth("score", 5 * n)
    assert key(*score, 5 * n, False) > key(*other, 5 * n, False)


def test_ties_go_to_the_larger_count_then_to_the_smaller_ids():
    # scores: 2 / (2 * 4) for ba, and 1 / (1 * 4) for d ##c
    counts = {"ba": 2, "xa": 2, "dc": 1, "xc": 3}
    assert train_wordpiece(counts, 12, [], rule="score")[10:] == ["ba", "dc"]
    assert train_wordpiece({"ba": 3, "dc": 3}, 10, [], rule="count")[8:] == ["ba", "dc"]


def test_a_likelihood_worked_by_hand():
    assert log_likelihood([3, 0, 1]) == pytest.approx(3 * log(0.75) + log(0.25), abs=1e-15)  # one rounding each
    assert log_likelihood([5]) == log_likelihood([]) == 0


def test_training_by_gain_stops_when_nothing_is_gained():
    counts = {a + b: 1 for a, b in product("abcdefgh", repeat=2)}
    assert len(train_wordpiece(counts, 100)) == 17  # every pair is as frequent as chance has it
    assert len(train_wordpiece(counts, 100, rule="count")) == 17 + 64


def test_training_stops_when_no_pair_is_left():
    assert train_wordpiece({"ab": 2, "ba": 1}, 100, min_count=2) == ["[UNK]", "a", "b", "##a", "##b", "ab"]


def test_words_that_cannot_be_cut_are_left_out():
    counts = {"ab": 5, "abc": 1, "a" * 11: 9}
    assert train_wordpiece(counts, 9, max_word=10, limit_alphabet=2) == ["[UNK]", "a", "b", "##a", "##b", "ab"]
    assert "##c" in train_wordpiece(counts, 9, max_word=10)


def test_progress_is_told():
    calls = []
    train_wordpiece({"abc": 2}, 9, progress=lambda done, all_: calls.append((done, all_)))
    assert calls == [(8, 9), (9, 9)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"counts": {}}, "training needs at least one word, got an empty corpus"),
        ({"counts": {"a" * 101: 3}}, "training needs at least one word, got an empty corpus"),
        ({"counts": {"ab": 0}}, "a character and a positive count, got 0 times 'ab'"),
        ({"counts": {"": 2}}, "a character and a positive count, got 2 times ''"),
        ({"vocab_size": 4}, "1 special tokens and 2 characters need a vocabulary of 5, got vocab_size=4"),
        ({"special_tokens": ["x", "x"]}, "the special token 'x' is not the only 'x'"),
        ({"special_tokens": ["##a"]}, "the special token '##a' is not the only '##a'"),
        ({"rule": "likelihood"}, "rule must be one of 'gain', 'score', 'count', got 'likelihood'"),
        ({"min_count": 0}, "min_count must be at least 1, got 0"),
        ({"limit_alphabet": 0}, "limit_alphabet must be at least 1, got 0"),
        ({"counts": {"ab": 2**39}}, "the counts add up to 1099511627776 characters, and gains can be told apart below"),
    ],
)
@pytest.mark.parametrize("train", [train_wordpiece, train_wordpiece_reference])
def test_bad_input_is_refused(train, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(**{"counts": {"ab": 2}, "vocab_size": 50, **settings})
    assert train({"ab": 2**39}, 6, rule="count")[5:] == ["ab"]
