"""Mirrors src/fp_tokenize/seed_pieces.py."""

from collections import Counter

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from fp_tokenize._scripts import NAMES, scripts
from fp_tokenize.seed_pieces import runs, seed_pieces, seed_reference

word_counts = st.dictionaries(st.text("▁aя,\u0301", min_size=1, max_size=9), st.integers(1, 3), min_size=1, max_size=6)
letters_only = st.dictionaries(st.text("ab", min_size=1, max_size=9), st.integers(1, 3), min_size=1, max_size=6)
ALL = 10**6


@given(word_counts, st.integers(0, 8), st.integers(1, 9), st.booleans(), st.booleans())
def test_the_fast_version_lists_what_the_reference_lists(counts, seed_size, max_piece, by_script, ends_apart):
    options = (seed_size, max_piece, by_script, ends_apart)
    assert seed_pieces(counts, *options) == seed_reference(counts, *options)


@pytest.mark.claim("tokenize.substring-counts")
@given(letters_only)
def test_counts_are_those_of_looking_everywhere(counts):
    found = {piece: score // len(piece) for piece, score in seed_pieces(counts, ALL, 9, False)}
    everywhere: Counter[str] = Counter()
    for word, n in counts.items():
        for i in range(len(word)):
            for j in range(i + 1, len(word) + 1):
                everywhere[word[i:j]] += n
    assert all(everywhere[piece] == n for piece, n in found.items())
    for piece, n in everywhere.items():
        if n >= 2:  # found, or followed by the same character everywhere
            assert piece in found or any(everywhere[piece + c] == n for c in "ab")


@pytest.mark.claim("tokenize.open-substrings")
@given(letters_only)
@example({"ab": 2})
@example({"aaaa": 1})
def test_every_frequent_substring_is_represented_by_one_open_one(counts):
    found = {piece: score // len(piece) for piece, score in seed_pieces(counts, ALL, 9, False)}
    substrings = {word[i:j] for word in counts for i in range(len(word)) for j in range(i + 1, len(word) + 1)}
    places = {s: sum(n * sum(w.startswith(s, i) for i in range(len(w))) for w, n in counts.items()) for s in substrings}
    for s, n in places.items():
        if n < 2:
            continue
        longest = s
        while followers := [c for c in "ab" if places.get(longest + c) == n]:
            longest += followers[0]
        if len(longest) > 1:
            assert found[longest] == n
        assert longest == max((t for t in places if t.startswith(s) and places[t] == n), key=len)
    assert sum(len(piece) > 1 for piece in found) < 2 * sum(map(len, counts))


def test_open_substrings_by_hand():
    """`quay` and `aqua` end `ua` and `qua` differently; `qu` goes on with `i` and `a`; the rest occurs once."""
    assert seed_pieces({"quit": 1, "quay": 1, "aqua": 1})[-3:] == [("qu", 6), ("qua", 6), ("ua", 4)]
    assert [piece for piece, _ in seed_pieces({"abc": 1}) if len(piece) > 1] == []
    assert [piece for piece, _ in seed_pieces({"abc": 2}) if len(piece) > 1] == ["abc", "bc"]


def test_what_is_longer_than_a_piece_may_be_is_left_out_with_its_prefixes():
    assert [piece for piece, _ in seed_pieces({"abcd": 2}, max_piece=3) if len(piece) > 1] == ["bcd", "cd"]
    assert [piece for piece, _ in seed_pieces({"abcd": 2}, max_piece=1)] == ["a", "b", "c", "d"]


def test_as_sentencepiece_a_word_before_a_space_is_no_seed_of_its_own():
    counts = {"▁no": 3, "▁not": 2, "▁yes": 5}
    longer = {piece for piece, _ in seed_pieces(counts, ends_apart=False) if len(piece) > 1}
    assert longer == {"▁no", "no"}
    assert {piece for piece, _ in seed_pieces(counts) if len(piece) > 1} == {
        "▁no", "no", "▁not", "not", "ot", "▁yes", "yes", "es",
    }  # fmt: skip
    # the run before a comma is followed by the comma
    assert [piece for piece, _ in seed_pieces({"▁a,": 2, "▁a": 2}, ends_apart=False) if len(piece) > 1] == ["▁a"]
    assert [piece for piece, _ in seed_pieces({"▁a,": 2}, ends_apart=False) if len(piece) > 1] == []


def test_seeds_do_not_depend_on_the_order_of_the_words():
    counts = {"▁aab": 2, "▁ba": 1, "▁abba": 3, "▁b": 1}
    backwards = dict(reversed(counts.items()))
    assert seed_pieces(counts) == seed_pieces(backwards)


def test_runs_end_at_spaces_and_scripts():
    def cut(word):
        return runs(word, dict(zip(word, scripts(word), strict=True)))

    assert cut("▁word") == ["▁word"]
    assert cut("▁▁word▁") == ["▁", "▁word", "▁"]
    assert cut("«word»,12-го") == ["«", "word", "»,12-", "го"]
    assert cut("e\u0301a\u0301,\u0301я") == ["e\u0301a\u0301", ",\u0301", "я"]
    assert cut("\u0301a") == ["\u0301a"]
    assert cut("▁\u0301a,") == ["▁\u0301a", ","]
    assert cut("東京タワーです") == ["東京タワーです"]
    assert cut("") == []


def test_every_script_has_a_known_name():
    """Over all of Unicode: what no script of ours claims is unassigned, private, or shared by scripts."""
    assert len(set(NAMES)) == len(NAMES)
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    letters = regex.sub(r"[\p{Script=Common}\p{Script=Inherited}\p{Script=Unknown}]", "", everything)
    of = scripts(letters)
    assert {*of} <= {*NAMES, "Common"}
    assert of.count("Common") < 0.01 * len(letters)  # of scripts that are younger than the list
    assert scripts("") == []
