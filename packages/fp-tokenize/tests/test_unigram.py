"""Mirrors src/fp_tokenize/unigram.py."""

import hashlib
import json
import math
import random
import re
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fp_tokenize import _viterbi, lattice
from fp_tokenize._viterbi import Search, exact_bits
from fp_tokenize.normalize import Normalizer
from fp_tokenize.pretokenize import METASPACE, Metaspace, Pretokenizer
from fp_tokenize.unigram import UnigramTokenizer

FROZEN = json.loads((Path(__file__).parent / "fixtures/unigram.json").read_text(encoding="utf-8"))
each_model = pytest.mark.parametrize("name", FROZEN)
UNKNOWN = ("<unk>", 0.0)
BYTES = [(f"<0x{b:02X}>", 0.0) for b in range(256)]


def frozen_tokenizer(name, single_precision):
    model = FROZEN[name]
    return UnigramTokenizer(
        [(piece, -math.inf if piece in model["unused"] else score) for piece, score in model["pieces"]],
        unknown=model["unknown"],
        byte_fallback=model["byte_fallback"],
        user_defined=model["user_defined"] if single_precision else (),
        special_tokens=model["special"],
        single_precision=single_precision,
        pretokenizer=Pretokenizer([Metaspace(prepend_scheme="never")]),
    )


def digest(ids):
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def random_texts(n, seed):
    """As in tools/oracles/tokenize_unigram.py, normalised; the fixture's digest says whether they are the same."""
    rng = random.Random(seed)
    syllables = re.findall(
        r"\w+", "ba ka ko la lo mi mo na no nn ra ri sa sha the ti to un ing er ed a aa o oa n ла ка ми но 日本 語 の"
    )
    planes = ((0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000))
    makers = (
        lambda: "".join(rng.choices("ano ", k=rng.randrange(61))),
        lambda: "".join(rng.choices([*syllables, " ", " ", "kola", "éa", "x"], k=rng.randrange(20))),
        lambda: "".join(chr(rng.randrange(*rng.choice(planes))) for _ in range(rng.randrange(61))),
    )
    return [makers[i % len(makers)]() for i in range(n)]


def normalized(text):
    return "".join(f"▁{word}" for word in text.split(" ") if word)


MANY = [normalized(text) for text in random_texts(3000, seed=5)]
LONG = normalized(" ".join(random_texts(6000, seed=6)))


@each_model
def test_ids_are_those_of_sentencepiece(name):
    """Frozen: 13 texts, 3,000 random ones of three kinds, and one of more than 100,000 characters."""
    model, tokenizer = FROZEN[name], frozen_tokenizer(name, single_precision=True)
    assert model["texts"] == digest([[ord(c) for c in text] for text in [*MANY, LONG]])
    assert [tokenizer.encode(text) for text in model["normalized"]] == model["ids"]
    assert digest(tokenizer.encode_batch(MANY)) == model["sentencepiece"]
    assert digest([tokenizer.encode(LONG)]) == model["sentencepiece_long"]


@pytest.mark.parametrize("name", ["plain", "bytes"])
def test_without_its_rounding_nearly_all_ids_are_the_same(name):
    tokenizer, exact = frozen_tokenizer(name, True), frozen_tokenizer(name, False)
    differing = []
    for text, a, b in zip(MANY, tokenizer.encode_batch(MANY), exact.encode_batch(MANY), strict=True):
        if a != b:  # equal scores, but for 32 bits: up to 60 additions, each off by 2^-24 of the sum
            assert tokenizer.score(a) == pytest.approx(tokenizer.score(b), rel=60 * 2**-24)
            differing.append(text)
    assert len(differing) < 30


@each_model
def test_ids_are_those_of_hugging_face(name):
    """Frozen. Its scores are those of the file, whatever the kind of a piece."""
    assert digest(frozen_tokenizer(name, single_precision=False).encode_batch(MANY)) == FROZEN[name]["huggingface"]


@each_model
def test_scores_of_the_best_segmentations_are_those_of_sentencepiece(name):
    model, tokenizer = FROZEN[name], frozen_tokenizer(name, single_precision=True)
    for text, scores in zip(model["normalized"], model["scores"], strict=True):
        if "éa" in text and model["user_defined"]:
            continue  # SentencePiece's n best count its characters, its best one its bytes
        ours = [score for _, score in tokenizer.n_best(text, 3)]
        # 32 bits: up to 80 additions, each off by 2^-24 of the sum
        assert ours[: len(scores)] == pytest.approx(scores, rel=5e-6)


PIECES = [
    *(("▁", -3.0), ("a", -2.5), ("b", -2.75), ("n", -3.0), ("é", -5.0), ("▁a", -3.5), ("an", -3.25), ("na", -3.25)),
    *(("nan", -4.0), ("aa", -4.0), ("ba", -4.5), ("▁ban", -5.5), ("ana", -5.0), ("言語", -6.0), ("bb", -5.5)),
]


@pytest.fixture
def tokenizer():
    return UnigramTokenizer([UNKNOWN, *PIECES])


texts = st.text(st.sampled_from("aabnné言語? \n"), max_size=30)


@given(texts)
@example("ananan aaaa ????é?")
def test_fast_and_reference_agree(text):
    for settings_ in ({}, {"byte_fallback": True}, {"unknown": 0}, {"single_precision": True}):
        tokenizer = UnigramTokenizer([UNKNOWN, *PIECES, *BYTES], **settings_)
        assert tokenizer.encode(text) == tokenizer.encode_reference(text)


@settings(max_examples=50)
@given(st.lists(st.text(st.sampled_from("aabnné言語?😀▁"), min_size=1, max_size=9), min_size=1, max_size=12))
@example(["??", "?", "a?", "?a", "a?é言?a", "a", "a"])
def test_words_cut_in_bulk_are_those_cut_alone(words):
    some = [b for b in BYTES if b[0] != "<0xE8>"]
    for tokenizer in (
        UnigramTokenizer([UNKNOWN, *PIECES]),
        UnigramTokenizer([UNKNOWN, *PIECES, *BYTES], byte_fallback=True),
        UnigramTokenizer([UNKNOWN, *PIECES, *some], byte_fallback=True),
        UnigramTokenizer([*PIECES, *BYTES], unknown=None, byte_fallback=True),
    ):
        ids, counts = tokenizer._cut_flat(words)
        alone = [tokenizer._cut_reference(word) for word in words]
        assert counts.tolist() == [*map(len, alone)]
        assert ids.tolist() == [i for ids in alone for i in ids]


def by_lattice(word, scores, unknown):
    _, places = lattice.best(lattice.edges_of(word, scores, unknown))
    return lattice.pieces(word, places)


def pieces_of(word, path, names):
    parts, at = [], 0
    for step in path:
        end = at + (1 if step < 0 else len(names[step]))
        parts.append(word[at:end])
        at = end
    return parts


scores_of = st.dictionaries(st.text("ab", min_size=1, max_size=4), st.integers(-9, -1).map(float), min_size=1)
words_of = st.lists(st.text("abc", min_size=1, max_size=40), min_size=1, max_size=8)


@settings(max_examples=200)
@given(scores_of, words_of, st.booleans(), st.sampled_from([1, 3, 1000]))
def test_loop_and_arrays_find_the_best_of_the_lattice(scores, words, whole, longest):
    """Words one by one, all together in arrays, and with places in a loop beyond a short distance."""
    if not whole:
        scores = {name: score / 10 for name, score in scores.items()}  # sums are rounded
    names = list(scores)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_viterbi, "SMALL", 0)
        patch.setattr(_viterbi, "STRETCH", 50)
        patch.setattr(_viterbi, "LONGEST", longest)
        search = Search(names, [*scores.values()], range(len(names)), -12.0)
        paths, gaps = search.many(words, gaps=True)
    assert search.exact == (exact_bits(search.scores) < 64 - 16)
    for word, path, gap in zip(words, paths, gaps, strict=True):
        alone, alone_gap = search.one(word)
        assert path == alone
        assert gap == pytest.approx(alone_gap, abs=1e-12)
        assert pieces_of(word, path, names) == by_lattice(word, scores, -12.0)


@settings(max_examples=100)
@given(scores_of, st.text("abc", min_size=1, max_size=10))
def test_gaps_are_what_the_second_best_lacks_where_the_best_one_stops(scores, word):
    search = Search([*scores], [*scores.values()], range(len(scores)), -12.0)
    edges = lattice.edges_of(word, scores, -12.0)
    _, places = lattice.best(edges)
    gap = math.inf
    for k, j in enumerate(places[1:]):
        arriving = sorted(
            lattice.best(lattice.edges_of(word[:i], scores, -12.0))[0] + score
            for i, out in enumerate(edges)
            for end, score in out
            if end == j and i != places[k]
        )
        if arriving:
            gap = min(gap, lattice.best(lattice.edges_of(word[:j], scores, -12.0))[0] - arriving[-1])
    assert search.one(word)[1] == gap


@pytest.mark.claim("tokenize.cut-places")
@given(
    st.text("abc", min_size=1, max_size=8), st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(-5, 0))
)
def test_a_place_that_no_edge_leads_over_cuts_everything_in_two(word, scores):
    edges = lattice.edges_of(word, scores, -9.0)
    paths = list(lattice.segmentations(edges))
    for p in range(1, len(word)):
        if any(i < p < j for i, out in enumerate(edges) for j, _ in out):
            continue
        left, right = (lattice.edges_of(part, scores, -9.0) for part in (word[:p], word[p:]))
        both = [
            [*x, *(p + j for j in y[1:])] for x, y in product(lattice.segmentations(left), lattice.segmentations(right))
        ]
        assert sorted(paths) == sorted(both)
        close = {"rel": 1e-12, "abs": 1e-12}  # a few roundings
        assert lattice.best(edges)[0] == pytest.approx(lattice.best(left)[0] + lattice.best(right)[0], **close)
        assert lattice.log_likelihood(edges) == pytest.approx(
            lattice.log_likelihood(left) + lattice.log_likelihood(right), **close
        )
        shares = lattice.posteriors(edges)
        for i, out in enumerate(lattice.posteriors(left)[:p]):
            assert shares[i] == pytest.approx(out, **close)
        for i, out in enumerate(lattice.posteriors(right)):
            assert shares[p + i] == pytest.approx(out, **close)


@pytest.mark.claim("tokenize.cut-places")
@given(st.text("ab", min_size=1, max_size=6), st.text("cd", min_size=1, max_size=6), st.data())
def test_ties_on_both_sides_of_a_cut_are_broken_as_in_each_part(left, right, data):
    pieces = st.one_of(st.text("ab", min_size=1, max_size=3), st.text("cd", min_size=1, max_size=3))
    scores = data.draw(st.dictionaries(pieces, st.integers(-3, -1).map(float)))
    whole = by_lattice(left + right, scores, -4.0)
    assert whole == by_lattice(left, scores, -4.0) + by_lattice(right, scores, -4.0)


@pytest.mark.claim("tokenize.exact-sums")
@given(
    st.text("ab", min_size=1, max_size=8),
    st.dictionaries(st.text("ab", min_size=1, max_size=4), st.integers(-(2**40), 2**40), min_size=1),
    st.integers(0, 60),
)
@example("abab", {"a": -1, "b": -(2**40), "ab": -(2**40) - 1}, 43)  # all ties
def test_sums_of_multiples_are_exact(word, numbers, q):
    """With 8 additions of numbers below 2^40 units of 2^-q: below 2^53 units. In fractions, to compare."""
    scores = {name: k * 2.0**-q for name, k in numbers.items()}
    unknown = -(2**41) * 2.0**-q
    exact = {name: Fraction(k, 2**q) for name, k in numbers.items()}
    ways = [
        (sum(exact.get(x, Fraction(-(2**41), 2**q)) for x in lattice.pieces(word, places)), places)
        for places in lattice.segmentations(lattice.edges_of(word, scores, unknown))
    ]
    score, places = lattice.best(lattice.edges_of(word, scores, unknown))
    greatest = max(s for s, _ in ways)
    assert Fraction(score) == greatest
    assert places[::-1] == min(way[::-1] for s, way in ways if s == greatest)


@pytest.mark.claim("tokenize.exact-sums")
def test_with_more_digits_rounding_does_break_ties():
    tenths = {"a": -1.0, "b": -1.0, "c": -7.0, "ab": -2.0, "bc": -8.0}
    assert by_lattice("abc", tenths, -90.0) == ["a", "bc"]  # all three ways have -9; the longest last piece
    rounded = by_lattice("abc", {name: k / 10 for name, k in tenths.items()}, -9.0)
    assert rounded == ["ab", "c"]  # -0.2 - 0.7 is a bit above -0.9


def test_exact_bits():
    assert exact_bits(np.array([-3.0, 0.0])) == 0
    assert exact_bits(np.array([-3.25, -0.5])) == 2
    assert exact_bits(np.float32([-3.1, -17.7]).astype(np.float64)) <= 23
    assert exact_bits(np.array([-3.1])) > 38
    assert exact_bits(np.array([1e-300])) == 64


@pytest.mark.claim("tokenize.unigram-round-trip")
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁")).filter(lambda t: t[:1] != " "))
@example("a  b \n ▂ \x00")
def test_with_bytes_every_text_comes_back(text):
    tokenizer = UnigramTokenizer([UNKNOWN, *PIECES, *BYTES], byte_fallback=True)
    assert tokenizer.decode(tokenizer.encode(text), errors="strict") == text


@pytest.mark.claim("tokenize.unigram-round-trip")
@given(st.text("aabnné ").filter(lambda t: t[:1] != " "))
def test_texts_of_known_characters_come_back(text):
    tokenizer = UnigramTokenizer([UNKNOWN, *PIECES])
    assert tokenizer.decode(tokenizer.encode(text), errors="strict") == text


@pytest.mark.claim("tokenize.unigram-round-trip")
def test_without_the_hypotheses_texts_are_changed():
    tokenizer = UnigramTokenizer([UNKNOWN, *PIECES])
    for text, back in [(" a", "a"), ("a▁a", "a a"), ("a?", "a\ufffd")]:
        assert tokenizer.decode(tokenizer.encode(text)) == back
    lower = UnigramTokenizer([UNKNOWN, *PIECES], normalizer=Normalizer.named("lower"))
    assert lower.decode(lower.encode("AB")) == "ab"


def test_a_word_by_hand(tokenizer):
    def cut(text):
        return [tokenizer.id_to_token(i) for i in tokenizer.encode(text)]

    # ▁ban|an|a -11.25, ▁ban|ana -10.5, ▁|ba|nan|a -14 ...
    assert cut("banana") == ["▁ban", "ana"]
    assert cut("nan aa") == ["▁", "nan", "▁a", "a"]  # ▁a|a -6, ▁|aa -7
    assert tokenizer.unknown_score == -16.0
    # 言 and 語 are no pieces by themselves, together they are
    assert cut("言語言") == ["▁", "言語", "<unk>"]
    assert cut("x?b") == ["▁", "<unk>", "b"]


def test_runs_of_unknown_characters_in_four_ways():
    merged = UnigramTokenizer([UNKNOWN, *PIECES])
    assert merged.encode("a?é言?a") == [
        0 if p == "<unk>" else merged.token_to_id(p) for p in ("▁a", "<unk>", "é", "<unk>", "a")
    ]
    spelled = UnigramTokenizer([UNKNOWN, *PIECES, *BYTES], byte_fallback=True)
    ids = spelled.encode("a?言")
    assert [spelled.id_to_token(i) for i in ids] == ["▁a", "<0x3F>", "<0xE8>", "<0xA8>", "<0x80>"]
    some = UnigramTokenizer([UNKNOWN, *PIECES, *(b for b in BYTES if b[0] != "<0xE8>")], byte_fallback=True)
    assert some.encode("?言") == [some.token_to_id("▁"), 0]  # one byte of the run lacks
    assert [some.id_to_token(i) for i in some.encode("?")] == ["▁", "<0x3F>"]
    none = UnigramTokenizer(PIECES, unknown=None)
    assert none.encode("a") == [5]
    with pytest.raises(ValueError, match="no piece covers '\\?' and there is no unknown token"):
        none.encode("a?")


def test_text_that_spells_special_tokens_and_bytes_is_text():
    pieces = [UNKNOWN, ("<s>", 0.0), *((c, -4.0) for c in "▁<>unks0x41"), ("A", -9.0), *BYTES]
    tokenizer = UnigramTokenizer(pieces, byte_fallback=True, special_tokens=["<s>"])
    for text in ("<unk>", "<s>", "<0x41>"):
        assert [tokenizer.id_to_token(i) for i in tokenizer.encode(text)] == ["▁", *text]
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("<s>", special="parse") == [1]
    assert tokenizer.id_to_bytes(tokenizer.token_to_id("<0x41>")) == b"A"
    assert [tokenizer.id_to_token(i) for i in tokenizer.encode("A")] == ["▁", "A"]
    plain = UnigramTokenizer(pieces)  # without the fallback a byte's name is a piece like others
    assert [plain.id_to_token(i) for i in plain.encode("<0x41>")] == ["▁", "<0x41>"]


def test_user_defined_pieces_are_used_where_they_occur():
    pieces = [UNKNOWN, ("▁", -2.0), ("a", -2.0), ("b", -2.0), ("abc", -1.0), ("bc", 0.0), ("c", -9.0)]
    with_symbol = UnigramTokenizer(pieces, user_defined=["bc"])
    assert [with_symbol.id_to_token(i) for i in with_symbol.encode("abc")] == ["▁", "abc"]  # 0.1 and -2 against -1
    assert with_symbol.scores["bc"] == 0.1
    assert with_symbol.unknown_score == -19.0
    pieces[4] = ("abc", -3.0)
    with_symbol = UnigramTokenizer(pieces, user_defined=["bc"])
    assert [with_symbol.id_to_token(i) for i in with_symbol.encode("abc")] == ["▁", "a", "bc"]


def test_pieces_of_probability_zero_are_never_used():
    tokenizer = UnigramTokenizer([UNKNOWN, ("▁", -1.0), ("a", -1.0), ("aa", -math.inf), ("b", -math.inf)])
    assert [tokenizer.id_to_token(i) for i in tokenizer.encode("aab")] == ["▁", "a", "a", "<unk>"]
    assert tokenizer.unknown_score == -11.0


@given(texts, st.booleans())
def test_offsets_cover_what_the_tokens_came_from(text, single):
    tokenizer = UnigramTokenizer([UNKNOWN, *PIECES], single_precision=single)
    ids, spans = tokenizer.encode(text), tokenizer.offsets(text)
    assert len(ids) == len(spans)
    at = 0
    for token_id, (start, end) in zip(ids, spans, strict=True):
        assert start == at or start == end  # in order, without holes
        at = max(at, end)
        if token_id:
            assert tokenizer.id_to_bytes(token_id).decode().strip(" ") == text[start:end].strip(" ")
    assert at == len(text)


def test_offsets_of_bytes_are_those_of_their_character():
    tokenizer = UnigramTokenizer([UNKNOWN, *PIECES, *BYTES], byte_fallback=True)
    assert tokenizer.offsets("a言b") == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]


@given(texts.filter(str.strip), st.integers(1, 9))
def test_the_n_best_of_a_text_are_those_of_one_lattice(text, n):
    tokenizer = UnigramTokenizer([UNKNOWN, *PIECES])
    found = tokenizer.n_best(text, n)
    whole = lattice.n_best(
        lattice.edges_of("".join(tokenizer.words(text)), tokenizer.scores, tokenizer.unknown_score), n
    )
    assert [score for _, score in found] == [score for score, _ in whole]  # scores are multiples of 1/4: exact
    assert found[0][0] == tokenizer.encode(text)
    if not any("?" in text or c in text for c in "言語\n"):
        assert found[0][1] == tokenizer.score(found[0][0])
    likelihood = lattice.log_likelihood(
        lattice.edges_of("".join(tokenizer.words(text)), tokenizer.scores, tokenizer.unknown_score)
    )
    assert tokenizer.log_likelihood(text) == pytest.approx(likelihood, rel=1e-12)
    assert found[0][1] <= likelihood + 1e-9


def test_scores_of_ids():
    tokenizer = UnigramTokenizer([UNKNOWN, ("<s>", 0.0), *PIECES, *BYTES], byte_fallback=True, special_tokens=["<s>"])
    ids = tokenizer.encode("b言a?")
    assert tokenizer.score(ids) == tokenizer.n_best("b言a?", 1)[0][1] == -3.0 - 2.75 - 16.0 - 2.5 - 16.0
    assert tokenizer.score([]) == 0.0
    assert tokenizer.score([0]) == -16.0
    with pytest.raises(ValueError, match="id 1 at position 1 is '<s>', which is no piece of text"):
        tokenizer.score([2, 1])
    with pytest.raises(ValueError, match="lies outside"):
        tokenizer.score([9999])


def test_samples_spell_the_text_and_are_repeatable(tokenizer):
    text = "banana aana nanna"
    drawn = {tuple(tokenizer.sample(text, np.random.default_rng(seed), 0.5)) for seed in range(50)}
    assert len(drawn) > 20
    for ids in drawn:
        assert tokenizer.decode(ids, errors="strict") == text
    again = [tokenizer.sample(text, np.random.default_rng(7)) for _ in range(2)]
    assert again[0] == again[1]
    assert tokenizer.sample(text, np.random.default_rng(0), 500.0) == tokenizer.encode(text)
    assert tokenizer.sample("", np.random.default_rng(0)) == []


@pytest.mark.parametrize("text", ["a" * 300_000, "banana" * 50_000, "?" * 300_000, "▁" * 300_000])
def test_one_word_without_spaces_takes_time_in_proportion(text):
    """Would take hours if it were quadratic."""
    tokenizer = UnigramTokenizer([UNKNOWN, *PIECES])
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids).replace(" ", "▁") in (text, text[1:], "\ufffd")


def test_training_hands_over_words_and_settings(monkeypatch):
    from fp_tokenize import unigram_training

    calls = []

    def train_unigram(counts, vocab_size, special_tokens, *, progress, **rest):
        calls.append((dict(counts), vocab_size, special_tokens, rest))
        return [("<unk>", 0.0), ("<s>", 0.0), ("▁", -1.0), ("a", -1.0)]

    monkeypatch.setattr(unigram_training, "train_unigram", train_unigram)
    tokenizer = UnigramTokenizer.train(["a a", "aa"], 4, ["<unk>", "<s>"], shrink=0.5)
    assert calls == [({"▁a": 2, "▁aa": 1}, 4, ["<unk>", "<s>"], {"shrink": 0.5})]
    assert tokenizer.encode("a<s>") == [2, 3, 0]
    assert tokenizer.special_tokens == {"<unk>": 0, "<s>": 1}
    assert tokenizer.pretokenizer == METASPACE


def test_training_makes_a_tokenizer_that_brings_its_text_back():
    texts = ["to be or not to be, that is the question " * 3, "whether it is nobler in the mind to suffer"]
    tokenizer = UnigramTokenizer.train(texts, 32)
    assert tokenizer.vocab_size == 32
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text.strip()), errors="strict") == text.strip()
    assert len(tokenizer.encode(texts[0])) < len(texts[0]) / 1.5


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: UnigramTokenizer([]), "one of the 0 pieces, got the id 0"),
        (lambda: UnigramTokenizer([], unknown=None), "none of the pieces can stand for text"),
        (lambda: UnigramTokenizer([UNKNOWN]), "none of the pieces can stand for text"),
        (lambda: UnigramTokenizer([UNKNOWN, ("a", -1.0)], unknown=2), "one of the 2 pieces, got the id 2"),
        (lambda: UnigramTokenizer([UNKNOWN, ("a", -1.0)], unknown=-1), "one of the 2 pieces, got the id -1"),
        (lambda: UnigramTokenizer([UNKNOWN, ("", -1.0)]), "at least one character, got an empty one"),
        (
            lambda: UnigramTokenizer([UNKNOWN, ("a", math.nan)]),
            "logarithms of probabilities, got nan for the piece 'a'",
        ),
        (lambda: UnigramTokenizer([UNKNOWN, ("a", math.inf)]), "got inf for the piece 'a'"),
        (lambda: UnigramTokenizer([UNKNOWN, ("a", -1.0), ("a", -2.0)]), "'a' occurs twice"),
        (lambda: UnigramTokenizer([UNKNOWN, ("a", -1.0)], user_defined=["b"]), "'b' is not"),
        (lambda: UnigramTokenizer([UNKNOWN, ("a", -1.0)], space=""), "one character stands for a space, got ''"),
        (lambda: UnigramTokenizer([UNKNOWN, ("a" * 20_000, -1.0)]), "Remove the longest pieces"),
        (lambda: UnigramTokenizer([UNKNOWN, ("\ud800", -1.0)]), "surrogate"),
        (lambda: UnigramTokenizer([UNKNOWN, *PIECES]).sample("a", np.random.default_rng(0), -1.0), "got -1.0"),
        (lambda: UnigramTokenizer([UNKNOWN, *PIECES]).n_best("a", 0), "n must be at least 1, got 0"),
        (lambda: UnigramTokenizer([UNKNOWN, *PIECES]).encode("a\ud800"), "lone surrogates"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_special_token_is_not_taken_for_the_unknown_one():
    tokenizer = UnigramTokenizer.train(["ab ab abc"] * 9, 12, ["<end>"])
    assert tokenizer.special_tokens == {"<unk>": 0, "<end>": 1} and tokenizer.unknown == 0
    assert tokenizer.encode("ab é")[-1] == 0
    tokenizer = UnigramTokenizer.train(["ab ab abc"] * 9, 12, ["<end>", "?"], unknown="?")
    assert tokenizer.unknown == 1 and tokenizer.encode("é")[-1] == 1
    with pytest.raises(TypeError, match="a list of names, got the string '<s>'"):
        UnigramTokenizer.train(["ab"], 12, "<s>")
