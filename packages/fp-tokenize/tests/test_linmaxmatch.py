"""Mirrors src/fp_tokenize/linmaxmatch.py."""

from itertools import chain, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import linmaxmatch
from fp_tokenize.linmaxmatch import CONTINUE, START, LinMaxMatch, unrolled
from fp_tokenize.wordpiece import cut_greedily

UNKNOWN = -1


def strings(letters, longest, shortest=0):
    return ["".join(s) for n in range(shortest, longest + 1) for s in product(letters, repeat=n)]


def subsets(items):
    return ([item for i, item in enumerate(items) if which >> i & 1] for which in range(1 << len(items)))


def longest_match(text, tokens):
    return max((token for token in tokens if text.startswith(token)), key=len, default=None)


def greedy(text, starts, continuations):
    """(E1): strings, or None if the text is unknown."""
    taken, tokens = [], starts
    while text:
        token = longest_match(text, tokens)
        if token is None:
            return None
        taken.append(token)
        text, tokens = text[len(token) :], continuations
    return taken


def in_trie(text, tokens):
    return not text or any(token.startswith(text) for token in tokens)


def failing(node, tokens, continuations):
    """The procedure that defines pops and link: strings taken, and what is left; or None."""
    taken, left = [], node
    while not taken or not in_trie(left, continuations):
        token = longest_match(left, tokens)
        if token is None:
            return None
        taken.append(token)
        left, tokens = left[len(token) :], continuations
    return taken, left


def numbered(starts, continuations):
    """A matcher, and the string of each id."""
    names = [*starts, *continuations]
    ids = iter(range(len(names)))
    return LinMaxMatch({s: next(ids) for s in starts}, {s: next(ids) for s in continuations}), names


def node_strings(matcher):
    """Root and string of each node."""
    found = {START: (START, ""), CONTINUE: (CONTINUE, "")}
    for node, edges in enumerate(matcher.edges):
        for character, child in edges.items():
            root, string = found[node]
            found[child] = root, string + character
    return [found[node] for node in range(len(matcher.edges))]


words = st.text("ab", min_size=1, max_size=9)
vocabularies = st.lists(st.text("ab", min_size=1, max_size=6), unique=True, max_size=9)


@pytest.mark.claim("tokenize.outside-the-trie")
def test_what_is_outside_the_trie_settles_the_longest_match():
    """Exhaustive: all sets of strings of up to two letters."""
    for tokens in subsets(strings("ab", 2, 1)):
        for y in strings("ab", 3):
            if not in_trie(y, tokens):
                for x in strings("ab", 2):
                    assert longest_match(y + x, tokens) == longest_match(y, tokens)


@pytest.mark.claim("tokenize.failure-pops")
@given(vocabularies, vocabularies)
def test_failure_pops_are_what_greed_takes_whatever_follows(starts, continuations):
    matcher, names = numbered(starts, continuations)
    for node, (root, string) in enumerate(node_strings(matcher)):
        tokens = (starts, continuations)[root]
        for x in strings("abc", 2):
            if (not x and string) or (x and x[0] not in matcher.edges[node]):
                expected = greedy(string + x, tokens, continuations)
                link = matcher.links[node]
                if link is None:
                    assert expected is None
                else:
                    taken = [names[i] for i in unrolled(matcher.pops[node])]
                    left = string.removeprefix("".join(taken))
                    rest = greedy(left + x, continuations, continuations)
                    assert expected == (None if rest is None else taken + rest)


@pytest.mark.claim("tokenize.failure-recursion")
@given(vocabularies, vocabularies)
def test_the_recursion_gives_what_the_procedure_gives(starts, continuations):
    matcher, names = numbered(starts, continuations)
    strings_of = node_strings(matcher)
    for node, (root, string) in enumerate(strings_of):
        expected = failing(string, (starts, continuations)[root], continuations)
        link = matcher.links[node]
        if expected is None:
            assert link is None
        else:
            assert strings_of[link] == (CONTINUE, expected[1])
            assert [names[i] for i in unrolled(matcher.pops[node])] == expected[0]


@pytest.mark.claim("tokenize.linmaxmatch")
def test_every_small_vocabulary_cuts_every_short_word_as_greed_does():
    """Exhaustive: all S and C of strings of up to two letters, and all words of up to four."""
    every = strings("ab", 4, 1)
    for starts in subsets(strings("ab", 2, 1)):
        for continuations in subsets(strings("ab", 2, 1)):
            matcher, names = numbered(starts, continuations)
            for word, ids in zip(every, matcher.cut(every, UNKNOWN), strict=True):
                taken = None if ids == [UNKNOWN] else [names[i] for i in ids]
                assert taken == greedy(word, starts, continuations)


@pytest.mark.claim("tokenize.linmaxmatch")
@given(vocabularies, vocabularies, st.lists(words, max_size=9), st.sampled_from(["##", "b", ""]))
def test_random_vocabularies_cut_as_the_reference(starts, continuations, some, prefix):
    """Names with the prefix are start strings too; under the empty prefix, and under b, they can be met."""
    ids = {name: i for i, name in enumerate(dict.fromkeys([*starts, *(prefix + s for s in continuations)]))}
    matcher = LinMaxMatch(ids, {name[len(prefix) :]: i for name, i in ids.items() if name.startswith(prefix)})
    names = [*ids, "?"]
    for word, cut in zip(some, matcher.cut(some, UNKNOWN), strict=True):
        assert [names[i] for i in cut] == cut_greedily(word, ids, prefix=prefix, unknown="?")


class Counting(dict):
    looked = 0

    def get(self, key):
        Counting.looked += 1
        return dict.get(self, key)


@pytest.mark.claim("tokenize.linmaxmatch-linear")
@given(vocabularies, vocabularies, st.text("abc", min_size=1, max_size=40))
def test_a_word_takes_at_most_two_steps_a_character(starts, continuations, word):
    """Every look-up but one that ends the word as unknown is a step along an edge, or before a step along a link."""
    matcher, _ = numbered([*starts, "a"], [*continuations, "b", "a"])
    matcher.edges = [Counting(edges) for edges in matcher.edges]
    Counting.looked = 0
    matcher.cut([word], UNKNOWN)
    assert Counting.looked <= 2 * len(word)


@pytest.mark.claim("tokenize.linmaxmatch-linear")
def test_the_bound_is_reached_where_greed_takes_many_times_more():
    m, n = 100, 5000
    matcher = LinMaxMatch({"a": 0}, {"a": 1, "a" * (m - 1) + "x": 2})
    matcher.edges = [Counting(edges) for edges in matcher.edges]
    Counting.looked = 0
    assert matcher.cut(["a" * n], UNKNOWN) == [[0] + [1] * (n - 1)]
    assert 2 * n - 2 * m <= Counting.looked <= 2 * n


@pytest.mark.claim("tokenize.failure-cost")
@given(vocabularies, vocabularies)
def test_links_are_found_in_as_many_steps_as_the_vocabulary_has_characters(starts, continuations):
    check_cost(starts, continuations)


@pytest.mark.claim("tokenize.failure-cost")
def test_a_long_token_of_many_pops_costs_no_more_than_its_length():
    """Copies of the pops at each node would be 4.5 million tokens."""
    check_cost(["ab" * 1500 + "x"], ["a", "b"])
    check_cost(["a", "ab"], ["ab" * 1500 + "x", "a", "b"])


def check_cost(starts, continuations):
    steps, tokens = 0, 0

    def counting(taken):
        nonlocal steps, tokens
        found = unrolled(taken)
        steps += taken is not None
        tokens += len(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linmaxmatch, "unrolled", counting)
        matcher, _ = numbered(starts, continuations)
    total = sum(map(len, chain(starts, continuations)))
    assert steps <= tokens <= total
    cells = set()
    for cell in matcher.pops:
        while cell and id(cell) not in cells:
            cells.add(id(cell))
            cell = cell[0]
    assert len(cells) <= total + len(starts) + len(continuations)


def test_a_case_worked_by_hand():
    matcher = LinMaxMatch({"un": 0, "unh": 1, "": 7}, {"happy": 2, "a": 3, "pp": 4, "y": 5, "": 8})
    assert matcher.cut(["un", "unhappy", "unhappyx", "unhap", "unhappa", "h", ""], UNKNOWN) == [
        [0], [1, 3, 4, 5], [-1], [-1], [1, 3, 4, 3], [-1], [-1],
    ]  # fmt: skip


def test_characters_of_every_plane_are_characters():
    matcher = LinMaxMatch({"😀": 0, "e\u0301": 1}, {"言": 2, "\U0010ffff": 3})
    assert matcher.cut(["😀言\U0010ffff", "e\u0301言", "e言"], UNKNOWN) == [[0, 2, 3], [1, 2], [-1]]
