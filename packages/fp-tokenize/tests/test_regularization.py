"""Mirrors src/fp_tokenize/regularization.py."""

import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fp_tokenize import lattice
from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.merges import by_rank, joined
from fp_tokenize.regularization import bpe_dropout, dropout_distribution, encode_dropout, segmentation_distribution
from fp_tokenize.unigram import UnigramTokenizer

WORDS = st.text("ab", max_size=6)


@st.composite
def merge_lists(draw):
    """Lists whose operands exist, in an order that need not be that of training."""
    symbols, pairs = ["a", "b"], []
    for _ in range(draw(st.integers(0, 7))):
        pair = draw(st.sampled_from(symbols)), draw(st.sampled_from(symbols))
        if pair not in pairs:
            pairs.append(pair)
            symbols.append("".join(pair))
    return draw(st.permutations(pairs))


def all_drops(word, merges, p):
    """(E2) as it is written: every set of drops of every step."""
    candidates = [(merges.rank[pair], i) for i, pair in enumerate(pairwise(word)) if pair in merges.rank]
    results = Counter()
    for dropped in product([False, True], repeat=len(candidates)):
        chance = math.prod((p if drop else 1 - p for drop in dropped), start=Fraction(1))
        kept = [candidate for candidate, drop in zip(candidates, dropped, strict=True) if not drop]
        if not kept:
            results[word] += chance
            continue
        k, i = min(kept)
        for result, rest in all_drops((*word[:i], merges.result[k], *word[i + 2 :]), merges, p).items():
            results[result] += chance * rest
    return results


@pytest.mark.claim("tokenize.dropout-lazy")
@settings(max_examples=60)
@given(st.text("ab", max_size=5), merge_lists(), st.fractions(0, 1, max_denominator=7))
def test_one_coin_after_another_gives_the_distribution_of_all_coins_together(word, pairs, p):
    """In fractions, exhaustive over all coins."""
    merges = joined(pairs)
    results = dropout_distribution(word, merges, p)
    assert results == {result: chance for result, chance in all_drops(tuple(word), merges, p).items() if chance}
    assert sum(results.values()) == 1


@pytest.mark.claim("tokenize.dropout-lazy")
@pytest.mark.parametrize("m", [1, 2, 5, 11])
def test_the_chances_of_the_candidates_are_those_of_the_claim(m):
    """Pairs that do not touch, of which only the first replacement is watched: a step, again with sympy."""
    p = sympy.Symbol("p", positive=True)
    chances = [p ** (r - 1) * (1 - p) for r in range(1, m + 1)]
    assert sympy.expand(sum(chances) + p**m) == 1
    merges = joined([("a", "b")])
    results = dropout_distribution("ab" * m, merges, Fraction(1, 3))
    assert results[tuple("ab" * m)] == Fraction(1, 3) ** m


@pytest.mark.claim("tokenize.dropout-ends")
@given(WORDS, merge_lists(), st.fractions(0, 1, max_denominator=7))
@example("abab", [("b", "a"), ("a", "b"), ("ab", "ab")], Fraction(1, 2))
def test_without_dropout_rank_order_and_with_all_of_it_the_word(word, pairs, p):
    merges = joined(pairs)
    best = tuple(by_rank(word, merges))
    assert dropout_distribution(word, merges, 0) == {best: 1}
    assert dropout_distribution(word, merges, 1) == {tuple(word): 1}
    rng = np.random.default_rng(0)
    assert bpe_dropout(word, merges, 0, rng) == list(best)
    assert bpe_dropout(word, merges, 1, rng) == list(word)
    results = dropout_distribution(word, merges, p)
    assert results.get(best, 0) >= (1 - p) ** (len(word) - len(best))
    candidates = sum(pair in merges.rank for pair in pairwise(word))
    assert results.get(tuple(word), 0) == p**candidates


def buildable(part, merges):
    """All symbols that can be built from a string of base symbols."""
    if len(part) == 1:
        return {part}
    return {
        left + right
        for cut in range(1, len(part))
        for left in buildable(part[:cut], merges)
        for right in buildable(part[cut:], merges)
        if (left, right) in merges.rank
    }


@pytest.mark.claim("tokenize.dropout-support")
@given(WORDS, merge_lists())
@example("aabb", [("a", "b"), ("a", "a"), ("aa", "b"), ("b", "b")])
def test_the_results_are_those_whose_symbols_can_be_built(word, pairs):
    """Exhaustive over all ways to cut the word."""
    merges = joined(pairs)
    possible = set()
    for cuts in product([False, True], repeat=max(len(word) - 1, 0)):
        places = [0, *(i for i, cut in enumerate(cuts, start=1) if cut), len(word)] if word else []
        parts = [word[i:j] for i, j in pairwise(places)]
        if all(part in buildable(part, merges) for part in parts):
            possible.add(tuple(parts))
    results = dropout_distribution(word, merges, Fraction(1, 2))
    assert set(results) == possible | ({()} if not word else set())
    assert all("".join(result) == word for result in results)


def within_hoeffding(frequencies, probabilities, n):
    """Whether n draws are as frequent as they should be; wrong with probability below 1e-6 if they are."""
    t = math.sqrt(math.log(2 * len(probabilities) / 1e-6) / (2 * n))  # 2 exp(-2 n t^2) for each
    assert set(frequencies) <= set(probabilities)
    return all(abs(frequencies[key] / n - p) < t for key, p in probabilities.items())


@pytest.mark.claim("tokenize.dropout-lazy")
@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_drawn_results_are_as_frequent_as_computed(p):
    merges = joined([("e", "r"), ("l", "o"), ("lo", "w"), ("low", "er"), ("w", "er")])
    rng, n = np.random.default_rng(5), 20_000
    drawn = Counter(tuple(bpe_dropout("lower", merges, p, rng)) for _ in range(n))
    assert within_hoeffding(drawn, dropout_distribution("lower", merges, p), n)


@pytest.mark.claim("tokenize.backward-sampling")
@pytest.mark.parametrize("alpha", [0, 0.3, 1, 2.5])
def test_drawn_segmentations_of_a_tokenizer_are_as_frequent_as_computed(alpha):
    scores = {"▁": -2.0, "a": -1.5, "n": -2.0, "▁a": -2.5, "an": -2.0, "na": -2.5, "ana": -3.0, "nan": -4.0}
    tokenizer = UnigramTokenizer([("<unk>", 0.0), *scores.items()])
    rng, n = np.random.default_rng(6), 8_000
    drawn = Counter(tuple(tokenizer.sample("anan", rng, alpha)) for _ in range(n))
    places = segmentation_distribution(lattice.edges_of("▁anan", scores), alpha)
    expected = {
        tuple(tokenizer.token_to_id(piece) for piece in lattice.pieces("▁anan", list(way))): p
        for way, p in places.items()
    }
    assert within_hoeffding(drawn, expected, n)


@given(WORDS, st.dictionaries(st.text("ab", min_size=1, max_size=3), st.floats(-5, 0)), st.floats(0, 3))
def test_the_distribution_of_segmentations_is_one_and_has_the_right_ratios(word, scores, a):
    edges = lattice.edges_of(word, scores, -7.0)
    shares = segmentation_distribution(edges, a)
    assert math.fsum(shares.values()) == pytest.approx(1, abs=1e-12)
    for places, p in shares.items():
        score = sum(scores.get(piece, -7.0) for piece in lattice.pieces(word, list(places)))
        assert math.log(p) == pytest.approx(a * score - lattice.log_likelihood(lattice.tempered(edges, a)), abs=1e-9)


def test_texts_with_dropout_decode_to_themselves():
    text = "low lower lowest, new newer newest, ünïcode 言語 🎉\n\n  two  spaces"
    tokenizer = BPETokenizer.train([text] * 3, 256 + 40)
    rng = np.random.default_rng(1)
    seen = set()
    for p in (0, 0.1, 0.5, 0.9, 1):
        for _ in range(10):
            ids = encode_dropout(tokenizer, text, p, rng)
            assert tokenizer.decode(ids, errors="strict") == text
            seen.add(tuple(ids))
    assert encode_dropout(tokenizer, text, 0, rng) == tokenizer.encode(text)
    assert len(encode_dropout(tokenizer, text, 1, rng)) == len(text.encode())
    assert len(seen) > 20


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_dropout_is_a_probability(p):
    merges, rng = joined([("a", "b")]), np.random.default_rng(0)
    tokenizer = BPETokenizer.train(["ab ab"], 257)
    for call in (
        lambda: bpe_dropout("ab", merges, p, rng),
        lambda: dropout_distribution("ab", merges, p),
        lambda: encode_dropout(tokenizer, "ab", p, rng),
    ):
        with pytest.raises(ValueError, match=f"a probability from 0 to 1, got {p}"):
            call()
