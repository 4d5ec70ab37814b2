"""Mirrors src/fp_tokenize/bpe.py."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fp_tokenize import bpe
from fp_tokenize.bpe import BPETokenizer, recovered
from fp_tokenize.characters import byte_alphabet
from fp_tokenize.merges import recover
from fp_tokenize.normalize import Normalizer
from fp_tokenize.pretokenize import CL100K, GPT2, O200K, SMOLLM, WHITESPACE, ByteLevel, Metaspace, Pretokenizer

FROZEN = json.loads((Path(__file__).parent / "fixtures/bpe_peers.json").read_text(encoding="utf-8"))
PRETOKENIZERS = {
    "gpt2": GPT2,
    "smollm": SMOLLM,
    "whitespace": WHITESPACE,
    "metaspace": Pretokenizer([Metaspace()]),
    "none": Pretokenizer(),
}
KINDS = list(FROZEN["huggingface"])
texts = st.text(st.characters(exclude_categories=["Cs"]))
near = st.text(st.sampled_from("  aehinostr'1.,\n\0é言😀▁#<"), max_size=40)  # what the vocabularies are made of
BYTES = {name: b for b, name in enumerate(byte_alphabet())}


def tokenizer_of(kind, **more):
    frozen = FROZEN["huggingface"][kind]
    return BPETokenizer(
        {name: i for i, name in enumerate(frozen["names"])},
        [tuple(pair.split(" ")) for pair in frozen["merges"]],
        pretokenizer=PRETOKENIZERS[frozen["kind"]["pretokenizer"]],
        **(frozen["kind"].get("arguments", {}) | more),
    )


TOKENIZERS = {kind: tokenizer_of(kind) for kind in KINDS}
each = pytest.mark.parametrize("kind", KINDS)
FULL = BPETokenizer.train(FROZEN["texts"], 600)  # all 256 bytes


# ---- the other libraries


@each
def test_ids_are_those_of_hugging_face(kind):
    tokenizer, frozen = TOKENIZERS[kind], FROZEN["huggingface"][kind]
    for text, ids in zip(FROZEN["texts"], frozen["ids"], strict=True):
        assert tokenizer.encode(text) == ids
    assert [i for own in tokenizer.encode_batch(FROZEN["texts"]) for i in own] == [
        i for own in frozen["ids"] for i in own
    ]


@each
def test_decoded_text_is_that_of_hugging_face(kind):
    """But for the unknown token, which is U+FFFD here, and `<unk>` there."""
    tokenizer, frozen = TOKENIZERS[kind], FROZEN["huggingface"][kind]
    if kind == "bytes, ends of words":
        pytest.skip("the other library has no decoder for both")
    for text, ids, decoded in zip(FROZEN["texts"], frozen["ids"], frozen["decoded"], strict=True):
        if tokenizer.unknown not in ids:
            assert tokenizer.decode(ids) == decoded
        elif "<" not in text:
            assert tokenizer.decode(ids) == decoded.replace("<unk>", "\ufffd")
        assert "".join(tokenizer.decode_stream(iter(ids))) == tokenizer.decode(ids)


def test_ids_are_those_of_tiktoken():
    names = FROZEN["huggingface"]["bytes"]["names"]
    ranks = {bytes(BYTES[c] for c in name): i for i, name in enumerate(names) if name != "<unk>"}
    tokenizer = BPETokenizer.from_ranks(ranks)
    for text, ids in zip(FROZEN["texts"], FROZEN["tiktoken"], strict=True):
        assert tokenizer.encode(text) == ids


# ---- fast is slow


def cut(tokenizer, words):
    return list(map(list, tokenizer._cut(words)))


@each
@settings(max_examples=60)
@given(st.one_of(near, texts))
def test_encoding_is_the_reference(kind, text):
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.encode(text) == tokenizer.encode_reference(text)


@each
def test_many_words_together_are_the_same_words_one_by_one(kind):
    tokenizer, rng = TOKENIZERS[kind], random.Random(kind)
    alphabet = "aehinostr'1.,\0é言😀▁#<unk>Üß\U0010ffff"
    words = ["".join(rng.choices(alphabet, k=1 + int(rng.expovariate(0.15)))) for _ in range(2000)]
    words += [name for name in tokenizer.names if name]
    one_by_one = [tokenizer._cut_reference(word) for word in words]
    assert cut(tokenizer, words) == one_by_one
    assert [cut(tokenizer, [word])[0] for word in words[:300]] == one_by_one[:300]
    ids, counts = tokenizer._cut_flat(words[:5])
    assert (ids.tolist(), counts.tolist()) == (
        [i for own in one_by_one[:5] for i in own],
        list(map(len, one_by_one[:5])),
    )


# ---- bytes


@pytest.mark.claim("tokenize.bpe-round-trip")
@pytest.mark.parametrize("pretokenizer", [GPT2, CL100K, O200K, SMOLLM, Pretokenizer()])
@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_every_byte_string_comes_back(pretokenizer, data):
    tokenizer = BPETokenizer(FULL.ordinary, FULL.merges, pretokenizer=pretokenizer)
    ids = tokenizer.encode_bytes(data)
    assert tokenizer.decode_bytes(ids) == data
    assert b"".join(map(tokenizer.id_to_bytes, ids)) == data


@pytest.mark.claim("tokenize.bpe-round-trip")
def test_all_pairs_of_bytes_come_back_whole_words_or_not():
    """Exhaustive over two bytes."""
    whole = BPETokenizer(FULL.ordinary, FULL.merges, ignore_merges=True, pretokenizer=GPT2)
    data = bytes(b for pair in ((i, j) for i in range(256) for j in range(256)) for b in pair)
    for tokenizer in (FULL, whole):
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data
        for i in range(256):
            for j in range(0, 256, 17):
                assert tokenizer.decode_bytes(tokenizer.encode_bytes(bytes([i, j]))) == bytes([i, j])


@pytest.mark.claim("tokenize.bpe-round-trip")
@given(texts)
def test_text_comes_back_and_its_bytes_have_the_same_ids(text):
    ids = FULL.encode(text)
    assert FULL.decode(ids, errors="strict") == text
    assert FULL.encode_bytes(text.encode()) == ids


@pytest.mark.claim("tokenize.bpe-round-trip")
def test_without_all_bytes_something_is_lost():
    lacking = TOKENIZERS["bytes lacking"]
    assert lacking.decode_bytes(lacking.encode_bytes(b"a b")) == b"ab"


def test_bytes_that_are_no_text_are_punctuation_to_the_pretokenizer():
    tokenizer = BPETokenizer(BYTES, [], pretokenizer=GPT2)
    assert tokenizer.encode_bytes(b"a\xff\xfe b") == [*b"a\xff\xfe b"]
    joined = BPETokenizer(BYTES | {"aÿ": 256, "ÿþ": 257}, [("a", "ÿ"), ("ÿ", "þ")], pretokenizer=GPT2)
    assert joined.encode_bytes(b"a\xff\xfe b") == [97, 257, 32, 98]


def test_encode_bytes_says_when_it_cannot():
    with pytest.raises(ValueError, match="symbols are bytes, this one's are characters"):
        TOKENIZERS["dropped"].encode_bytes(b"a")
    spaced = BPETokenizer(BYTES, [], pretokenizer=Pretokenizer([ByteLevel(add_prefix_space=True)]))
    with pytest.raises(ValueError, match="a pre-tokenizer that only cuts"):
        spaced.encode_bytes(b"a")
    assert FULL.encode_bytes(b"") == []


# ---- words


@pytest.mark.claim("tokenize.merges-within-words")
@given(texts)
def test_tokens_stay_within_words_and_are_those_of_each_word(text):
    words = FULL.words(text)
    own = [FULL._cut_reference(word) for word in words]
    assert FULL.encode(text) == [i for ids in own for i in ids]
    assert all(ids for ids in own) and len(FULL.encode(text)) >= len(words)
    ends = {0}
    for word in words:
        ends.add(max(ends) + len(word.encode()))
    token_ends = {0}
    for i in FULL.encode(text):
        token_ends.add(max(token_ends) + len(FULL.id_to_bytes(i)))
    assert ends <= token_ends


@pytest.mark.claim("tokenize.merges-within-words")
def test_a_pair_that_crosses_words_is_never_merged():
    merges = [("a", "Ġ"), ("Ġ", "b"), ("aĠ", "b")]
    vocabulary = BYTES | {"aĠ": 256, "Ġb": 257, "aĠb": 258}
    assert BPETokenizer(vocabulary, merges).encode("a b") == [258]
    assert BPETokenizer(vocabulary, merges, pretokenizer=GPT2).encode("a b") == [97, 257]


# ---- what has no token


def test_strict_names_the_byte_or_character():
    tokenizer = tokenizer_of("bytes lacking", strict=True)
    for _ in range(2):
        assert tokenizer.strict
        with pytest.raises(ValueError, match=r"byte 0x20 at position 0 of the word ' b' has no token"):
            tokenizer.encode("a b")
        with pytest.raises(ValueError, match=r"byte 0x31 at position 1 of the word 'w1' has no token"):
            tokenizer._cut([f"w{i}" for i in range(200)])
        tokenizer.strict = False
        assert tokenizer.encode("a b") == tokenizer.encode("ab")  # and remembered
        tokenizer.strict = True
    strict = tokenizer_of("dropped", strict=True)
    with pytest.raises(ValueError, match=r"character '言' \(U\+8A00\) at position 1 of the word 'a言' has no token"):
        strict.encode("b a言")


def test_neighbours_of_a_dropped_byte_become_neighbours():
    names = [name for name in byte_alphabet() if name != "x"]
    tokenizer = BPETokenizer({name: i for i, name in enumerate([*names, "ab"])}, [("a", "b")])
    assert tokenizer.encode("axb") == [255]
    assert cut(tokenizer, ["axb"] * 300) == [[255]] * 300


def test_unknown_characters_one_by_one_or_together():
    single = BPETokenizer({"?": 0, "a": 1}, [], alphabet="characters", unknown="?")
    fused = BPETokenizer({"?": 0, "a": 1}, [], alphabet="characters", unknown="?", fuse_unknown=True)
    assert single.encode("axyaz") == [1, 0, 0, 1, 0]
    assert fused.encode("axyaz") == [1, 0, 1, 0]
    assert single.decode([1, 0]) == "a\ufffd"
    assert single.offsets("axya") == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert fused.offsets("axya") == [(0, 1), (1, 3), (3, 4)]


@pytest.mark.claim("tokenize.special-injection")
def test_special_tokens_are_never_made_of_text():
    vocabulary = BYTES | {"<e": 256, "<e>": 257}
    merges = [("<", "e"), ("<e", ">")]
    plain = BPETokenizer(vocabulary, merges)
    assert plain.encode("<e>") == [257]
    for ignore_merges in (False, True):
        safe = BPETokenizer(vocabulary, merges, special_tokens=["<e>"], ignore_merges=ignore_merges)
        assert safe.encode("<e>") == [256, ord(">")]
        assert safe.encode("<e>", special="parse") == [257]


def test_whole_words_win_over_merges():
    vocabulary = BYTES | {"ab": 256, "abc": 257}
    assert BPETokenizer(vocabulary, [("a", "b")]).encode("abc") == [256, ord("c")]
    tokenizer = BPETokenizer(vocabulary, [("a", "b")], ignore_merges=True)
    assert tokenizer.encode("abc") == [257]
    assert tokenizer.offsets("abc") == [(0, 3)]
    assert cut(tokenizer, ["abc", "ab", "c", "xabc"] * 100) == [[257], [256], [99], [120, 256, 99]] * 100


def test_a_pair_that_occurs_twice_counts_where_it_stands_last():
    names = ["a", "b", "c", "ab", "bc"]
    twice = BPETokenizer({n: i for i, n in enumerate(names)}, [("a", "b"), ("b", "c"), ("a", "b")])
    assert twice.encode("abc") == [0, 4]
    assert twice.merges == [("b", "c"), ("a", "b")]


# ---- offsets


@each
@settings(max_examples=40)
@given(near)
def test_offsets_lie_in_the_text_and_cover_what_is_known(kind, text):
    tokenizer = TOKENIZERS[kind]
    offsets = tokenizer.offsets(text)
    assert len(offsets) == len(tokenizer.encode(text))
    assert all(0 <= a <= b <= len(text) for a, b in offsets)
    if kind in ("bytes", "digits apart", "no words"):  # nothing is lost: they follow each other, and cover everything
        assert all(b <= c or (a, b) == (c, d) or c < b <= d for (a, b), (c, d) in pairwise(offsets))
        assert {i for a, b in offsets for i in range(a, b)} == set(range(len(text)))


def test_offsets_of_dropped_and_split_characters():
    lacking = TOKENIZERS["bytes lacking"]
    assert lacking.offsets("a b") == [(0, 1), (2, 3)]
    assert TOKENIZERS["bytes"].offsets("言a") == [(0, 1), (0, 1), (0, 1), (1, 2)]
    ends = TOKENIZERS["ends of words"]
    assert ends.offsets("the a") == [(0, 3), (4, 5)] and ends.decode(ends.encode("the a")) == "the a"


# ---- ranks


@given(st.lists(st.binary(min_size=2, max_size=5), unique=True, max_size=12), st.binary(max_size=20))
def test_ranks_that_are_no_training_are_followed_all_the_same(strings, data):
    from fp_tokenize.merges import by_string_rank

    strings = [bytes(b % 3 for b in string) for string in strings]
    ranks = {bytes([b]): b for b in range(256)}
    for string in strings:
        ranks.setdefault(string, len(ranks))
    data = bytes(b % 3 for b in data)
    assert recovered(ranks) == recover(ranks)
    tokenizer = BPETokenizer.from_ranks(ranks, pretokenizer=Pretokenizer())
    expected = [data] if data in ranks else by_string_rank(data, ranks)
    assert [tokenizer.id_to_bytes(i) for i in tokenizer.encode_bytes(data)] == [piece for piece in expected if piece]


def test_strings_that_their_pieces_do_not_reach_are_words_all_the_same():
    ranks = {bytes([b]): b for b in range(256)} | {b"abc": 256, b"abcabc": 257}
    tokenizer = BPETokenizer.from_ranks(ranks, pretokenizer=Pretokenizer())
    assert recovered(ranks) is None
    assert tokenizer.encode("abc") == [256] and tokenizer.encode("abcd") == [*b"abcd"]
    assert tokenizer.merges == [("abc", "abc")]


def test_merges_are_recovered_from_the_ranks_of_a_trained_vocabulary():
    ranks = {bytes(BYTES[c] for c in name): i for name, i in FULL.ordinary.items()}
    tokenizer = BPETokenizer.from_ranks(ranks)
    assert tokenizer.merges == FULL.merges
    assert recovered({b"abc": 0, b"a": 1, b"b": 2, b"c": 3}) is None


def test_special_tokens_of_ranks_have_ids_of_their_own():
    ranks = {bytes([b]): b for b in range(256)}
    tokenizer = BPETokenizer.from_ranks(ranks, special_tokens={"<|a|>": 260, "<|b|>": 258})
    assert tokenizer.vocab_size == 261
    assert tokenizer.encode("x<|a|><|b|>", special="parse") == [120, 260, 258]
    assert tokenizer.id_to_token(257) is None
    with pytest.raises(ValueError, match="a spelling that no other token has, got 'a'"):
        BPETokenizer.from_ranks(ranks, special_tokens={"a": 300})
    with pytest.raises(ValueError, match="both have 97"):
        BPETokenizer.from_ranks(ranks | {b"xy": 97})


# ---- training


def test_training_from_texts():
    texts = ["the cat<s>", "the hat", "that cat"]
    tokenizer = BPETokenizer.train(texts, 262, ["<s>"])
    assert tokenizer.encode("<s>", special="parse") == [0]
    assert tokenizer.decode(tokenizer.encode("that hat")) == "that hat"
    assert len(tokenizer.merges) == 262 - 257
    characters = BPETokenizer.train(texts, 20, ["<unk>"], alphabet="characters", unknown="<unk>")
    assert characters.decode(characters.encode("the cat")) == "the cat"
    assert characters.decode(characters.encode("the dog")) == "the \ufffd\ufffd\ufffd"
    again = BPETokenizer.train(reversed(texts), 262, ["<s>"])
    assert again.merges == tokenizer.merges


def test_a_normaliser_comes_first():
    tokenizer = BPETokenizer.train(["ABC abc"] * 3, 260, normalizer=Normalizer.named("lower"))
    assert tokenizer.encode("ABC") == tokenizer.encode("abc")


def test_progress_is_told():
    told = []
    BPETokenizer.train(["abcd " * 9], 259, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (259, 259)


# ---- bad input


GOOD = {"a": 0, "b": 1, "ab": 2}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: BPETokenizer({}, []), "at least one token, got none"),
        (lambda: BPETokenizer({"a": 0, "b": 0}, []), "an id of its own, 'a' and 'b' both have 0"),
        (lambda: BPETokenizer({"a": -1}, []), r"ids are integers in \[0, 2097150\), got -1 for 'a'"),
        (lambda: BPETokenizer({"a": 10**30}, []), "got 1000000000000000000000000000000 for 'a'"),
        (lambda: BPETokenizer({"a": 2**21 - 2}, []), "got 2097150 for 'a'"),
        (lambda: BPETokenizer({"a\ud800": 1}, []), r"lone surrogates, got U\+D800"),
        (lambda: BPETokenizer(GOOD, [("a", "c")]), r"merge 0, 'a' \+ 'c', needs 'c', which is not in the vocabulary"),
        (lambda: BPETokenizer(GOOD, [("a", "b"), ("b", "a")]), r"merge 1, 'b' \+ 'a', needs 'ba'"),
        (lambda: BPETokenizer(GOOD | {"": 3}, [("", "ab")]), "nothing becomes longer"),
        (lambda: BPETokenizer(GOOD | {"##": 3}, [("a", "##")], continuing="##"), "nothing becomes longer"),
        (lambda: BPETokenizer(GOOD | {"bab": 3}, [("b", "zab")], continuing="z"), "needs 'zab'"),
        (
            lambda: BPETokenizer({"a": 0, "xb": 1, "ab": 2, "a##b": 3}, [("a", "xb")], continuing="#"),
            "must begin with '#'",
        ),
        (lambda: BPETokenizer(GOOD, [], alphabet="letters"), "'bytes' or 'characters', got 'letters'"),
        (lambda: BPETokenizer(GOOD, [], unknown="<unk>"), "the unknown token '<unk>' is not in the vocabulary"),
        (lambda: BPETokenizer(GOOD, [], special_tokens=["<s>", "<s>"]), "'<s>' occurs twice"),
        (lambda: BPETokenizer.train(["abc"], 100), "vocab_size must be at least 256"),
        (lambda: BPETokenizer.train([], 300), "at least one word"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize(
    ("vocabulary", "merges", "sentence"),
    [
        ({"a": True}, [], "ids are integers"),
        ({"a": 1.5}, [], "ids are integers"),
        ({3: 0}, [], "names of tokens are strings, got 3"),
        (GOOD, [("a", "b", "c")], r"a merge is two names, got \('a', 'b', 'c'\) at position 0"),
        (GOOD, [("a", 1)], "a merge is two names"),
    ],
)
@pytest.mark.usefixtures("shapes_unchecked")
def test_what_is_of_another_type_is_refused(vocabulary, merges, sentence):
    with pytest.raises(ValueError, match=sentence):
        BPETokenizer(vocabulary, merges)


def test_a_vocabulary_with_gaps():
    tokenizer = BPETokenizer({"a": 5, "b": 1_000_000, "ab": 2}, [("a", "b")])
    assert tokenizer.vocab_size == 1_000_001
    assert tokenizer.encode("abba") == [2, 1_000_000, 5]
    assert tokenizer.id_to_token(3) is None


def test_merges_that_come_before_their_operands_do_what_they_can():
    vocabulary = {name: i for i, name in enumerate(["a", "b", "c", "ab", "abc"])}
    late = BPETokenizer(vocabulary, [("ab", "c"), ("a", "b")])
    assert late.encode("abc") == [4]
    assert cut(late, ["abc"] * 200 + ["ab"]) == [[4]] * 200 + [[3]]


def test_its_words_are_cut_one_by_one_or_together_at_the_limit():
    words = [f"w{i}" for i in range(bpe.FEW + 1)]
    assert FULL._cut(words) == FULL._cut(words[:-1]) + FULL._cut(words[-1:])
    assert "bytes" in repr(FULL) and "344 merges" in repr(FULL)


def test_a_special_token_takes_no_bytes_place():
    with pytest.raises(ValueError, match="cannot be the name of a byte, whose place it would take, got 'a'"):
        BPETokenizer.train(["ab"], 300, ["a"])
