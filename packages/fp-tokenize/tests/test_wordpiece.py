"""Mirrors src/fp_tokenize/wordpiece.py."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fp_tokenize.normalize import Normalizer
from fp_tokenize.pretokenize import WHITESPACE, Pretokenizer, WhitespaceSplit
from fp_tokenize.special import Template
from fp_tokenize.wordpiece import WordPieceTokenizer, cut_greedily
from fp_tokenize.wordpiece_training import RULES, train_wordpiece

FIXTURE = Path(__file__).parent / "fixtures/wordpiece.json"

names = st.text("ab#", min_size=1, max_size=5) | st.text("ab", min_size=1, max_size=4).map("##".__add__)
vocabularies = st.lists(names, unique=True, max_size=12).map(lambda some: ["[UNK]", *some])
SPLIT = {"normalizer": Normalizer(), "pretokenizer": Pretokenizer([WhitespaceSplit()])}


class Counting(set):
    looked = 0

    def __contains__(self, key):
        Counting.looked += 1
        return set.__contains__(self, key)


def look_ups(word, vocabulary, longest=None):
    Counting.looked = 0
    cut_greedily(word, Counting(vocabulary), longest=longest)
    return Counting.looked


@pytest.mark.claim("tokenize.greedy-cost")
@given(st.text("ab", min_size=1, max_size=12), vocabularies)
def test_greed_looks_up_at_most_every_substring(word, vocabulary):
    n, m = len(word), min(len(word), max(map(len, vocabulary)))
    assert look_ups(word, vocabulary) <= n * (n + 1) // 2
    assert look_ups(word, vocabulary, m) <= n * m - m * (m - 1) // 2
    assert cut_greedily(word, vocabulary) == cut_greedily(word, vocabulary, longest=m)


@pytest.mark.claim("tokenize.greedy-cost")
def test_the_bounds_on_look_ups_are_reached():
    for n in range(1, 30):
        assert look_ups("a" * n, {"a", "##a"}) == n * (n + 1) // 2
        for m in range(1, n + 1):
            assert look_ups("a" * n, {"a", "##a"}, m) == n * m - m * (m - 1) // 2


@pytest.mark.claim("tokenize.greedy-incomplete")
def test_greed_misses_cuts_and_short_cuts():
    assert cut_greedily("unhappy", {"un", "unh", "##happy"}) == ["[UNK]"]
    assert cut_greedily("unhappy", {"un", "##happy"}) == ["un", "##happy"]
    assert len(cut_greedily("abcde", {"ab", "abc", "##cde", "##d", "##e"})) == 3
    assert len(cut_greedily("abcde", {"ab", "##cde", "##d", "##e"})) == 2


@pytest.mark.claim("tokenize.wordpiece-coverage")
@given(vocabularies, st.text("abc", min_size=1, max_size=15))
def test_words_over_a_covered_alphabet_are_known_and_others_are_not(vocabulary, word):
    tokenizer = WordPieceTokenizer([*dict.fromkeys([*vocabulary, "a", "b", "##a", "##b"])], max_word=14, **SPLIT)
    assert (tokenizer.unknown in tokenizer.encode(word)) == ("c" in word or len(word) == 15)


@pytest.mark.claim("tokenize.wordpiece-coverage")
@pytest.mark.parametrize("rule", RULES)
def test_a_trained_vocabulary_covers_its_alphabet(rule):
    tokenizer = WordPieceTokenizer.train(["the cat sat on the mat", "a hat"], 30, rule=rule)
    assert 0 not in tokenizer.encode("moths chase scent, that scone".replace(",", ""))
    assert tokenizer.encode("the zoo") == [*tokenizer.encode("the"), 0]


@pytest.mark.claim("tokenize.wordpiece-decode")
@given(vocabularies, st.lists(st.text("ab#", min_size=1, max_size=9), max_size=5))
@example(["[UNK]", "##", "#", "###"], ["#", "##"])
def test_decoding_gives_the_words_with_single_spaces(vocabulary, some):
    tokenizer = WordPieceTokenizer(vocabulary, **SPLIT)
    ids = tokenizer.encode("  ".join(some))
    if 0 not in ids and not any(word.startswith("##") for word in some):
        assert tokenizer.decode(ids) == " ".join(some)


@given(vocabularies, st.lists(st.text("ab#[UNK]c", min_size=1, max_size=9), max_size=5))
def test_ids_are_those_of_the_reference_and_offsets_tile_the_words(vocabulary, some):
    tokenizer = WordPieceTokenizer(vocabulary, max_word=7, **SPLIT)
    text = " ".join(some)
    ids, offsets = tokenizer.encode(text), tokenizer.offsets(text)
    assert ids == tokenizer.encode_reference(text)
    assert len(ids) == len(offsets)
    at = 0
    for word in some:  # a word's intervals are neighbours and cover it
        end = at
        while end < at + len(word):
            start, end_ = offsets.pop(0)
            assert start == end
            end = end_
        assert end == at + len(word)
        at = end + 1


def test_what_the_library_said_is_what_we_say():
    """Ids and offsets of texts, and digests of the ids of many random ones, frozen from Hugging Face's tokenizers."""
    frozen = json.loads(FIXTURE.read_text(encoding="utf-8"))
    assert len(frozen["cases"]) > 20
    for case in frozen["cases"]:
        settings = {} if case["bert"] else SPLIT
        tokenizer = WordPieceTokenizer(frozen["vocabulary"], max_word=frozen["max_word"], **settings)
        assert tokenizer.encode(case["text"]) == case["ids"]
        assert tokenizer.offsets(case["text"]) == [tuple(span) for span in case["offsets"]]


def test_random_texts_get_the_ids_that_the_library_gave_them():
    frozen = json.loads(FIXTURE.read_text(encoding="utf-8"))
    for group in frozen["random"]:
        settings = {} if group["bert"] else SPLIT
        tokenizer = WordPieceTokenizer(frozen["vocabulary"], max_word=frozen["max_word"], **settings)
        digest = hashlib.sha256()
        for text in random_texts(group["alphabet"], group["seed"], group["number"]):
            digest.update(repr(tokenizer.encode(text)).encode())
        assert digest.hexdigest() == group["sha256"]


def random_texts(alphabet, seed, number):
    import random

    rng = random.Random(seed)
    planes = ((0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000))
    for _ in range(number):
        length = rng.randrange(61)
        if alphabet:
            yield "".join(rng.choices(alphabet, k=length))
        else:
            yield "".join(chr(rng.randrange(*rng.choice(planes))) for _ in range(length))


def test_a_case_worked_by_hand():
    tokenizer = WordPieceTokenizer({"[UNK]": 3, "un": 0, "##happ": 1, "##y": 5}, special_tokens=["[CLS]"])
    assert tokenizer.vocab_size == 7
    assert tokenizer.encode("Unhappy, UNHAPPY") == [0, 1, 5, 3, 0, 1, 5]
    assert tokenizer.decode([6, 0, 1, 5, 3]) == "[CLS] unhappy \ufffd"
    assert [tokenizer.id_to_bytes(i) for i in (0, 1, 2, 3)] == [b" un", b"happ", b"", b" \xef\xbf\xbd"]
    with pytest.raises(ValueError, match="id 3 at position 0 is \\[UNK\\], whose text is lost"):
        tokenizer.decode([3], errors="strict")


def test_a_word_that_is_too_long_is_unknown():
    tokenizer = WordPieceTokenizer(["[UNK]", "a", "##a", "a" * 101], **SPLIT)
    assert tokenizer.encode("a" * 100) == [1] + [2] * 99
    assert tokenizer.encode("a" * 101) == tokenizer.encode_reference("a" * 101) == [0]
    assert tokenizer.offsets("a " + "a" * 101) == [(0, 1), (2, 103)]
    longer = WordPieceTokenizer(["[UNK]", "a", "##a"], max_word=10**6, **SPLIT)
    assert len(longer.encode("a" * 10**6)) == 10**6


def test_plain_text_gives_no_special_token_and_no_unknown_one_by_its_name():
    tokenizer = WordPieceTokenizer(["[UNK]", "[CLS]", "[", "##UNK", "##]"], special_tokens=["[CLS]"], **SPLIT)
    assert tokenizer.encode("[UNK] [CLS]") == [2, 3, 4, 0]
    assert tokenizer.encode("[CLS]", special="parse") == [1]


def test_words_that_begin_with_the_prefix_are_words():
    tokenizer = WordPieceTokenizer(["[UNK]", "##a", "##", "##b"], **SPLIT)
    assert tokenizer.encode("##ab ## ##b") == [1, 3, 2, 3]
    assert tokenizer.offsets("##ab ##") == [(0, 3), (3, 4), (5, 7)]
    assert tokenizer.decode([2, 3, 2]) == "##b ##"  # the prefix alone continues nothing


def test_other_prefixes():
    tokenizer = WordPieceTokenizer(["?", "a", "@b", "b"], prefix="@", unknown="?", **SPLIT)
    assert tokenizer.encode("abb b") == [1, 2, 2, 3]
    assert tokenizer.decode([1, 2, 2, 3]) == "abb b"
    tokenizer = WordPieceTokenizer(["?", "a", "b"], prefix="", unknown="?", **SPLIT)
    assert tokenizer.encode("abc ab") == [0, 1, 2]


def test_training_gives_special_tokens_the_first_ids():
    text = "low lower lowest <s> new newer"
    tokenizer = WordPieceTokenizer.train([text], 40, ["<s>"], template=Template(before=("<s>",)))
    assert tokenizer.names[:2] == ["[UNK]", "<s>"]
    assert tokenizer.special_tokens == {"[UNK]": 0, "<s>": 1}
    assert "<" not in tokenizer.names
    assert tokenizer.encode("lower", template=True)[0] == 1
    assert tokenizer.decode(tokenizer.encode("lowest new")) == "lowest new"
    assert WordPieceTokenizer.train([text], 40, ["<s>", "[UNK]"]).names[:2] == ["<s>", "[UNK]"]


def test_training_is_training_on_the_words_of_the_texts():
    texts = ["Héllo, hello world!", "Worldly words: HELLO"]
    words = {"hello": 3, ",": 1, "world": 1, "!": 1, "worldly": 1, "words": 1, ":": 1}
    assert WordPieceTokenizer.train(texts, 50).names == train_wordpiece(words, 50)


def test_other_words_than_berts():
    tokenizer = WordPieceTokenizer.train(["Ab-Ab ab"], 20, pretokenizer=WHITESPACE, normalizer=Normalizer())
    assert tokenizer.words("Ab--b") == ["Ab", "--", "b"]
    assert tokenizer.decode(tokenizer.encode("Ab- b")) == "Ab - b"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: WordPieceTokenizer(["a", "##b"]), r"become '\[UNK\]', which is not among the 2 tokens"),
        (lambda: WordPieceTokenizer([]), r"become '\[UNK\]', which is not among the 0 tokens"),
        (lambda: WordPieceTokenizer(["[UNK]", "a", "b", "a"]), "a name of its own, 'a' occurs twice"),
        (lambda: WordPieceTokenizer({"[UNK]": 0, "a": 0}), "an id of its own that is not negative, got 0 for 'a'"),
        (lambda: WordPieceTokenizer({"[UNK]": 0, "a": -1}), "an id of its own that is not negative, got -1 for 'a'"),
        (
            lambda: WordPieceTokenizer({"[UNK]": 0, "a": 10**12}),
            "ids must be below 16777216, got 1000000000000 for 'a'",
        ),
        (lambda: WordPieceTokenizer(["[UNK]", "a\ud800"]), r"free of lone surrogates, got U\+D800"),
        (lambda: WordPieceTokenizer(["[UNK]"], max_word=0), "max_word must be at least 1, got 0"),
        (lambda: WordPieceTokenizer.train([], 50), "at least one word, got an empty corpus"),
        (lambda: WordPieceTokenizer.train([" \n "], 50), "at least one word, got an empty corpus"),
        (lambda: WordPieceTokenizer.train(["abc"], 6), "3 characters need a vocabulary of 7, got vocab_size=6"),
        (lambda: WordPieceTokenizer.train(["ab"], 9, ["<s>", "<s>"]), "special token '<s>' is not the only '<s>'"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.usefixtures("shapes_unchecked")
def test_strings_where_lists_are_meant_are_refused():
    with pytest.raises(TypeError, match="a list of names or a mapping from names to ids, got the string 'ab'"):
        WordPieceTokenizer("ab")
    with pytest.raises(TypeError, match="special_tokens must be a list of names, got the string '<s>'"):
        WordPieceTokenizer.train(["ab"], 50, "<s>")
