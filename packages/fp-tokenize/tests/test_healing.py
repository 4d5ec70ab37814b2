"""Mirrors src/fp_tokenize/healing.py."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize.bpe import BPETokenizer
from fp_tokenize.healing import (
    TokenTable,
    allowed,
    complete,
    covers,
    draw_cover,
    draw_masked,
    heal,
    prefix_surprisal,
    taken_back,
)

PIECES = [b"a", b"b", b"ab", b"ba", b"aab", b"bb"]
END = len(PIECES)


def vocabulary(pieces, **more):
    """A tokenizer that only knows what its ids spell."""
    return SimpleNamespace(
        vocab_size=len(pieces), encode=lambda text: [], id_to_bytes=lambda i: pieces[i], **more
    )  # fmt: skip


class Longest:
    """Greedy longest match."""

    def __init__(self, pieces):
        self.pieces, self.vocab_size = pieces, len(pieces)

    def id_to_bytes(self, i):
        return self.pieces[i]

    def encode(self, text):
        data, ids = text.encode(), []
        while data:
            ids.append(max((p for p in self.pieces if data.startswith(p)), key=len))
            data = data[len(ids[-1]) :]
        return [self.pieces.index(p) for p in ids]


class Merging:
    """Byte-pair encoding by the definition: the earliest merge first, everywhere from the left."""

    def __init__(self, characters, merges):
        self.merges = merges
        self.pieces = [*characters, *(a + b for a, b in merges)]
        self.vocab_size = len(self.pieces)

    def id_to_bytes(self, i):
        return self.pieces[i].encode()

    def encode(self, text):
        symbols = list(text)
        for pair in self.merges:
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == pair:
                    symbols[i : i + 2] = ["".join(pair)]
                i += 1
        return [self.pieces.index(symbol) for symbol in symbols]


TABLE = TokenTable(vocabulary(PIECES))  # the end token is no token of the table


def prefix_probability(*args, **kwargs):
    return math.exp(-prefix_surprisal(*args, **kwargs))


def pair_model(seed, concentration=1.0):
    rows = np.random.default_rng(seed).dirichlet(np.full(END + 1, concentration), END + 1)
    return lambda context: rows[context[-1] if len(context) else END]


def probability(following, sequence):
    return math.prod(float(following(sequence[:n])[i]) for n, i in enumerate(sequence))


def spelled(sequence):
    return b"".join(PIECES[i] for i in sequence)


def texts(n):
    return [bytes(data) for data in itertools.product(b"ab", repeat=n)]


@pytest.mark.claim("tokenize.prefix-run")
@given(st.lists(st.binary(max_size=4), max_size=30), st.binary(max_size=4))
def test_the_table_finds_all_tokens_that_begin_with_some_bytes(pieces, prefix):
    table = TokenTable(vocabulary(pieces))
    extending = [i for i, piece in enumerate(pieces) if piece and piece.startswith(prefix)]
    within = [i for i, piece in enumerate(pieces) if piece and prefix.startswith(piece) and piece != prefix]
    assert sorted(table.extending(prefix).tolist()) == extending
    assert sorted(table.within(prefix).tolist()) == within
    assert table.allowed(prefix).tolist() == sorted(extending + within)
    assert np.flatnonzero(table.mask(prefix)).tolist() == table.allowed(prefix).tolist()


@pytest.mark.claim("tokenize.prefix-run")
def test_a_run_of_the_largest_byte_is_found_to_its_end():
    pieces = [b"\xff" * n for n in range(1, 5)] + [b"\xfe", b"\xff\xff\x00"]
    table = TokenTable(vocabulary(pieces))
    assert sorted(table.extending(b"\xff\xff").tolist()) == [1, 2, 3, 5]
    assert sorted(table.extending(b"\xff" * 4).tolist()) == [3]
    assert table.extending(b"\xff" * 5).tolist() == []


@pytest.mark.claim("tokenize.cover")
def test_every_sequence_that_begins_with_the_bytes_begins_with_one_cover():
    """Exhaustive: all sequences of five tokens, and all texts of up to four bytes."""
    for data in [data for n in range(5) for data in texts(n)]:
        found = [tuple(cover) for cover in covers(TABLE, data)]
        assert len(found) == len(set(found))
        for sequence in itertools.product(range(END), repeat=5):
            beginnings = sum(sequence[: len(cover)] == cover for cover in found)
            assert beginnings == spelled(sequence).startswith(data)


@pytest.mark.claim("tokenize.cover-sums")
@pytest.mark.parametrize("memory", [None, 1, 2])
def test_the_probability_of_bytes_is_the_sum_over_the_covers(memory):
    following = pair_model(3)
    for data in [data for n in range(6) for data in texts(n)]:
        expected = math.fsum(probability(following, cover) for cover in covers(TABLE, data))
        # at most 40 products of five factors
        assert prefix_probability(following, TABLE, data, memory=memory) == pytest.approx(expected, rel=1e-13)


@pytest.mark.claim("tokenize.cover")
def test_bytes_of_one_length_and_shorter_texts_add_up_to_one():
    """Every text either has three bytes and more, or ends before."""
    following = pair_model(4)
    longer = sum(prefix_probability(following, TABLE, data) for data in texts(3))
    ended = 0.0
    for n in range(3):
        for sequence in itertools.product(range(END), repeat=n):
            if len(spelled(sequence)) < 3:
                ended += probability(following, sequence) * following(sequence)[END]
    assert longer + ended == pytest.approx(1, abs=1e-13)  # a hundred terms below one


def frequencies(draw, n):
    counts = {}
    for _ in range(n):
        ids = tuple(draw())
        counts[ids] = counts.get(ids, 0) + 1
    return counts


def assert_distribution(counts, expected):
    """Every frequency within five standard errors and, for the rare ones, three draws; the seed is fixed."""
    n = sum(counts.values())
    assert set(counts) <= {key for key, p in expected.items() if p > 0}
    assert sum(expected.values()) == pytest.approx(1, abs=1e-9)
    for key, p in expected.items():
        assert abs(counts.get(key, 0) / n - p) < 5 * math.sqrt(p * (1 - p) / n) + 3 / n, key


@pytest.mark.claim("tokenize.cover-sums")
def test_covers_are_drawn_by_their_probability_given_the_bytes():
    following, rng, data = pair_model(5, 20.0), np.random.default_rng(1), b"ababab"
    p = {tuple(cover): probability(following, cover) for cover in covers(TABLE, data)}
    total = sum(p.values())
    counts = frequencies(lambda: draw_cover(following, TABLE, data, rng, memory=1), 1200)
    assert_distribution(counts, {cover: value / total for cover, value in p.items()})
    drawn, expected = {}, {}
    for cover, value in p.items():  # fewer and more frequent classes: covers by their number of tokens
        drawn[len(cover)] = drawn.get(len(cover), 0) + counts.get(cover, 0)
        expected[len(cover)] = expected.get(len(cover), 0) + value / total
    assert_distribution(drawn, expected)


@pytest.mark.claim("tokenize.healing-exact")
def test_healing_is_the_model_given_what_was_kept_and_the_bytes():
    """Against sequences drawn from the model and thrown away unless they begin with what was kept and the bytes."""
    following, kept, back = pair_model(7), (0,), b"ab"
    condition = [
        (tuple(cover), probability(following, (*kept, *cover)) / probability(following, kept))
        for cover in covers(TABLE, back)
    ]
    total = sum(p for _, p in condition)
    rng = np.random.default_rng(8)
    counts = frequencies(lambda: draw_cover(following, TABLE, back, rng, kept), 1000)
    assert_distribution(counts, {cover: p / total for cover, p in condition})

    accepted = {}
    while sum(accepted.values()) < 400:
        sequence = []
        while len(spelled(sequence)) < 3:
            i = int(rng.choice(END + 1, p=following(sequence)))
            if i == END:
                break
            sequence.append(i)
        if tuple(sequence[:1]) == kept and spelled(sequence).startswith(b"aab"):
            accepted[tuple(sequence[1:])] = accepted.get(tuple(sequence[1:]), 0) + 1
    assert_distribution(accepted, {cover: p / total for cover, p in condition})


def encoded_only(tokenizer, texts):
    """A model that has seen the encodings of some texts, each once, and believes in nothing else."""
    sequences = [tuple(tokenizer.encode(text)) for text in texts]

    def following(context):
        after = [s[len(context)] if len(s) > len(context) else tokenizer.vocab_size for s in sequences
                 if s[: len(context)] == tuple(context)]  # fmt: skip
        return np.bincount(after, minlength=tokenizer.vocab_size + 1) / max(len(after), 1)

    return following


@pytest.mark.claim("tokenize.healing-exact")
def test_healing_asks_for_the_typed_text_only_if_what_was_kept_begins_every_encoding():
    """The prompt "xab" is x + ab, but "xabc" is x + abc, and "xabcd" is one token."""
    tokenizer = Merging("abcdx", [("b", "c"), ("a", "bc"), ("abc", "d"), ("x", "abcd"), ("a", "b")])
    prompt = "xab"
    ids = tokenizer.encode(prompt)
    assert [tokenizer.pieces[i] for i in ids] == ["x", "ab"]
    table = TokenTable(tokenizer)
    for texts, enough in ((["xabc", "xabx"], True), (["xabc", "xabcd"], False)):
        following = encoded_only(tokenizer, texts)
        assert prefix_probability(following, table, prompt.encode()) == 1.0
        kept, back = heal(tokenizer, ids)
        assert (kept, back) == (ids[:1], b"ab")
        rng = np.random.default_rng(0)
        asked = set(frequencies(lambda: draw_cover(following, table, prompt.encode(), rng), 40))  # noqa: B023
        healed = {(*kept, *ids) for ids in frequencies(lambda: draw_cover(following, table, back, rng, kept), 40)}  # noqa: B023
        assert (healed == asked) is enough
        assert all(taken_back(tokenizer, prompt, text) <= 1 for text in texts) is enough
    assert taken_back(tokenizer, prompt, "xabcd") == 2


@pytest.mark.claim("tokenize.greedy-lookahead")
@given(
    st.sets(st.text("ab", min_size=2, max_size=4), max_size=6),
    st.text("ab", max_size=12),
    st.text("ab", max_size=6),
)
def test_greedy_tokens_stay_where_the_longest_token_cannot_reach_the_end(longer, prompt, more):
    tokenizer = Longest([b"a", b"b", *(piece.encode() for piece in sorted(longer))])
    m = max(len(piece) for piece in tokenizer.pieces)
    whole = tokenizer.encode(prompt + more)
    at = 0
    for n, i in enumerate(tokenizer.encode(prompt)):
        if at <= len(prompt) - m:
            assert whole[n] == i
        at += len(tokenizer.pieces[i])


@pytest.mark.claim("tokenize.greedy-lookahead")
def test_one_byte_less_would_not_do():
    """The token at the place |s| - m + 1 is another when the text goes on."""
    tokenizer = Longest([b"a", b"b", b"ab", b"abab"])
    assert tokenizer.encode("aba") == [2, 0]
    assert tokenizer.encode("abab") == [3]


@pytest.fixture(scope="module")
def trained():
    """Words with many beginnings in common, so that the last word of a prompt is often cut as no whole word is."""
    text = "the then there other others another  mother brother\n\nbother! don't :-) 12 123 1234 x==y x===y ä言語 "
    return BPETokenizer.train([text * 3, text[::-1]], 330)


@pytest.mark.claim("tokenize.back-to-space")
@given(st.lists(st.sampled_from("the o r n ' ä言語= ==1 12\n!:-)"), max_size=24).map("".join), st.integers(0, 24))
def test_what_comes_before_the_last_space_stays_as_it_is(trained, text, end):
    prompt = text[:end]
    cuts = [i for i in range(1, len(prompt) - 1) if prompt[i] == " " and not (prompt[i - 1] + prompt[i + 1]).count(" ")]
    cuts = [i for i in cuts if not prompt[i - 1].isspace() and not prompt[i + 1].isspace()]
    assert trained.pretokenizer.space_safe
    whole = trained.encode(text)
    for cut in cuts:
        before = trained.encode(prompt[:cut])
        assert whole[: len(before)] == before
        assert len(trained.encode(prompt)) - taken_back(trained, prompt, text) >= len(before)


@pytest.mark.claim("tokenize.back-to-space")
def test_after_the_last_space_everything_can_change(trained):
    assert taken_back(trained, "the anoth", "the another") == len(trained.encode(" anoth")) > 1


@pytest.mark.claim("tokenize.mask-weight")
def test_masks_draw_covers_by_probability_over_weight_and_the_mean_weight_is_the_sum():
    """Exhaustive over the covers, and by drawing."""
    following, rng, data = pair_model(9, 0.5), np.random.default_rng(10), b"abab"

    def weight(cover):
        product, rest = 1.0, data
        for n, i in enumerate(cover):
            product *= following(cover[:n])[TABLE.allowed(rest)].sum()
            rest = rest[len(PIECES[i]) :]
        return product

    every = [tuple(cover) for cover in covers(TABLE, data)]
    by_mask = {cover: probability(following, cover) / weight(cover) for cover in every}
    total = prefix_probability(following, TABLE, data)
    assert sum(p * weight(cover) for cover, p in by_mask.items()) == pytest.approx(total, rel=1e-12)
    drawn = [draw_masked(following, TABLE, data, rng) for _ in range(4000)]
    for ids, w in drawn[:200]:
        assert w == pytest.approx(weight(tuple(ids)), rel=1e-12)
    counts = frequencies(iter([ids for ids, _ in drawn]).__next__, len(drawn))
    assert_distribution(counts, by_mask)
    weights = np.array([w for _, w in drawn])
    assert abs(weights.mean() - total) < 5 * weights.std() / math.sqrt(len(weights))
    exact = {cover: probability(following, cover) / total for cover in every}
    assert max(abs(by_mask[cover] - exact[cover]) for cover in every) > 0.05  # masks alone are something else


@pytest.mark.claim("tokenize.mask-weight")
def test_a_dead_end_has_weight_zero():
    """After b"a" this model says b"a" again: nothing agrees with the rest of b"ab"."""

    def following(context):
        return np.eye(END + 1)[0]

    ids, weight = draw_masked(following, TABLE, b"ab", np.random.default_rng(0))
    assert (ids, weight) == ([0], 0.0)
    assert prefix_probability(following, TABLE, b"ab") == 0.0
    with pytest.raises(ValueError, match="no probability to a text that goes on with b'ab'"):
        draw_cover(following, TABLE, b"ab", np.random.default_rng(0))


def test_special_and_unknown_tokens_are_never_allowed_and_never_taken_back():
    tokenizer = vocabulary([b"<s>", b"\xef\xbf\xbd", b"<", b"a", b""], special_tokens={"<s>": 0}, unknown=1)
    assert allowed(tokenizer, b"").tolist() == [2, 3]
    assert allowed(tokenizer, b"<").tolist() == [2]
    assert TokenTable(tokenizer).mask(b"").tolist() == [False, False, True, True, False]
    assert heal(tokenizer, [0, 3, 2], 5) == ([0], b"a<")
    assert heal(tokenizer, [3, 0], 2) == ([3, 0], b"")
    assert heal(tokenizer, [3, 2], 0) == ([3, 2], b"")
    assert heal(tokenizer, []) == ([], b"")


def test_a_completion_keeps_the_text_and_draws_as_many_tokens_as_asked():
    following, tokenizer = pair_model(11), vocabulary(PIECES)
    rng = np.random.default_rng(12)
    for _ in range(50):
        ids = complete(lambda c: following(c)[:END], tokenizer, [0, 1, 2], 4, rng, take_back=2, memory=1)
        assert ids[:1] == [0]
        assert spelled(ids).startswith(b"abab")
        assert len(ids) == 1 + max(4, 1) or len(spelled(ids[1:-1])) < 3
    assert complete(lambda c: following(c)[:END], tokenizer, [0, 1], 2, rng, take_back=0)[:2] == [0, 1]


def test_no_bytes_are_covered_by_no_token():
    following = pair_model(13)
    assert list(covers(TABLE, b"")) == [[]]
    assert prefix_probability(following, TABLE, b"") == 1.0
    assert draw_cover(following, TABLE, b"", np.random.default_rng(0)) == []
    assert draw_masked(following, TABLE, b"", np.random.default_rng(0)) == ([], 1.0)


def test_long_prompts_are_covered_in_time_linear_in_their_length_where_memory_is_short():
    following, calls = pair_model(14), []

    def counted(context):
        calls.append(context)
        return following(context)

    data = b"ab" * 60
    once, twice = (prefix_surprisal(counted, TABLE, data * n, memory=1) for n in (1, 2))
    assert 50 < once < twice < np.inf
    assert len(calls) <= 3 * len(data) * (END + 1)
    calls.clear()
    prefix_surprisal(lambda context: counted(()), TABLE, data, memory=0)
    assert len(calls) <= len(data)
    assert prefix_surprisal(following, TABLE, data * 15, memory=1) > 745  # its probability is no float64
    assert spelled(draw_cover(following, TABLE, data * 9, np.random.default_rng(0), memory=1)).startswith(data * 9)


def test_float32_models_draw_too():
    rows = np.full(END + 1, 1 / (END + 1), np.float32)
    assert spelled(draw_cover(lambda c: rows, TABLE, b"abba", np.random.default_rng(0))).startswith(b"abba")
    assert complete(lambda c: rows[:END], vocabulary(PIECES), [0], 3, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: heal(vocabulary(PIECES), [0], -1), "tokens to take back are counted, got -1"),
        (lambda: taken_back(Longest(PIECES), "ab", "ba"), "must be the beginning of the text, got 'ab' and 'ba'"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
