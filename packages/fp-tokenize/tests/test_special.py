"""Mirrors src/fp_tokenize/special.py."""

import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import ByteTokenizer, CharTokenizer, UnigramTokenizer, WordPieceTokenizer
from fp_tokenize.pretokenize import WHITESPACE
from fp_tokenize.special import WHITE_SPACE, AddedToken, Template, find, parts_of

contents = st.text(st.sampled_from("<ab>"), min_size=1, max_size=4)
added = st.lists(
    st.builds(AddedToken, contents, strip_left=st.booleans(), strip_right=st.booleans()),
    unique_by=lambda token: token.content,
    max_size=4,
)
texts = st.text(st.sampled_from("<ab> \n"), max_size=30)


@pytest.mark.claim("tokenize.special-split")
@given(texts, added)
def test_the_parts_make_up_the_text_and_contain_no_spelling(text, tokens):
    parts = parts_of(text, tokens)
    assert "".join(part if isinstance(part, str) else text[part.start : part.end] for part in parts) == text
    for part in parts:
        if isinstance(part, str):
            assert part or text == ""
            assert not any(token.content in part for token in tokens)
        else:
            assert text[part.start : part.end].strip() == part.token.content


@pytest.mark.claim("tokenize.special-split")
@given(texts, st.lists(contents, unique=True, max_size=4))
def test_the_first_and_longest_is_found(text, names):
    """Against the definition, one place after another."""
    expected, at = [], 0
    while at < len(text):
        here = [name for name in names if text.startswith(name, at)]
        if here:
            expected.append((max(here, key=len), at))
            at += len(expected[-1][0])
        else:
            at += 1
    assert [(f.token.content, f.start) for f in find(text, [AddedToken(name) for name in names])] == expected


def test_spaces_are_swallowed_on_request_and_once():
    left, right = AddedToken("<l>", strip_left=True), AddedToken("<r>", strip_right=True)
    assert [(f.start, f.end) for f in find("a \n<l> b", [left])] == [(1, 6)]
    assert [(f.start, f.end) for f in find("a <r> \n b", [right])] == [(2, 8)]
    assert [(f.start, f.end) for f in find("<r>  <l>", [left, right])] == [(0, 5), (5, 8)]


def test_white_space_is_unicodes():
    left = AddedToken("<l>", strip_left=True, strip_right=True)
    assert [(f.start, f.end) for f in find("a\x1c\u3000 <l>\x85\x1db", [left])] == [(2, 8)]
    assert {c for c in map(chr, range(0x110000)) if regex.match(r"\p{White_Space}", c)} == WHITE_SPACE


def test_a_token_can_be_white_space():
    spaces = AddedToken("  ", special=False)
    assert ByteTokenizer([spaces]).encode("a   b") == [97, 256, 32, 98]


def test_a_token_that_must_stand_alone_is_left_inside_words():
    token = AddedToken("cat", special=False, single_word=True)
    assert [f.start for f in find("cat concat cats, cat_ cat!", [token])] == [0, 22]


@pytest.mark.claim("tokenize.special-injection")
@given(st.lists(st.sampled_from(["<|end|>", "<s>", "<", "|", "end", "é", " "])).map("".join))
@pytest.mark.parametrize(
    "tokenizer",
    [
        ByteTokenizer(["<|end|>", "<s>"]),
        CharTokenizer("<|end>s é", ["<|end|>", "<s>"]),
        CharTokenizer("ab", ["<|end|>", "<s>", "<unk>"]),
    ],
    ids=["bytes", "characters", "unknown"],
)
def test_plain_text_never_becomes_a_special_id(tokenizer, text):
    ids = tokenizer.encode(text)
    marks = {tokenizer.token_to_id(name) for name in ("<|end|>", "<s>")}
    assert not marks & set(ids)
    assert set(ids) <= {*tokenizer.ordinary.values(), tokenizer.unknown}
    # and asked to, it does: the number of marks is what a search finds
    parsed = tokenizer.encode(text, special="parse")
    assert sum(i in marks for i in parsed) == len(re.findall(r"<\|end\|>|<s>", text))
    assert tokenizer.encode_array(text, special="parse").tolist() == parsed


@pytest.mark.claim("tokenize.special-injection")
def test_no_table_of_a_subword_tokenizer_holds_special_tokens():
    """Pieces, names of bytes and whole words that are special, each where it would be taken if it were not."""
    pieces = [("<unk>", 0.0), ("▁", -1.0), ("▁<s>", -1.0), ("<s>", -0.5), ("a", -2.0)]
    bytes_of = [(f"<0x{b:02X}>", -9.0) for b in range(256)]
    special = ["<s>", "▁<s>", "<0x42>"]
    unigram = UnigramTokenizer([*pieces, *bytes_of], byte_fallback=True, special_tokens=special)
    marks = set(unigram.special_tokens.values())
    assert not marks & set(unigram.encode("<s> aB <s>"))
    assert UnigramTokenizer([*pieces, *bytes_of], byte_fallback=True).encode("<s>") == [2]
    wordpiece = WordPieceTokenizer(["[UNK]", "s", "##x", "##ss"], special_tokens=["s", "##ss"], pretokenizer=WHITESPACE)
    assert wordpiece.encode("s sss x") == [0, 0, 0]
    assert wordpiece.encode("s", special="parse") == [1]


def test_the_caller_chooses():
    tokenizer = ByteTokenizer(["<s>", "</s>"])
    assert tokenizer.vocab_size == 258
    text = "a<s>é</s>"
    assert tokenizer.encode(text) == [*text.encode()]
    assert tokenizer.encode(text, special="parse") == [97, 256, 195, 169, 257]
    assert tokenizer.encode(text, special={"</s>"}) == [*"a<s>é".encode(), 257]
    assert tokenizer.encode(text, special=()) == [*text.encode()]
    with pytest.raises(ValueError, match="the text spells the special token '<s>' at position 1"):
        tokenizer.encode(text, special="refuse")
    assert tokenizer.encode("plain", special="refuse") == [*b"plain"]


def test_an_ordinary_added_token_is_always_recognised():
    tokenizer = ByteTokenizer([AddedToken("über", special=False), "<s>"])
    assert tokenizer.encode("<s>über") == [60, 115, 62, 256]
    assert tokenizer.encode("über", special="refuse") == [256]
    assert tokenizer.special_tokens == {"<s>": 257}


def test_special_tokens_are_decoded_or_skipped():
    tokenizer = ByteTokenizer(["<s>"])
    ids = [256, 195, 256, 169, 97]
    assert tokenizer.decode(ids) == "<s>\ufffd<s>\ufffda"
    assert tokenizer.decode(ids, skip_special=True) == "éa"
    assert "".join(tokenizer.decode_stream(ids, skip_special=True)) == "éa"
    assert tokenizer.id_to_bytes(256) == b"<s>"


def test_the_unknown_token_stays_lost_when_it_is_special_too():
    tokenizer = CharTokenizer("ab", ["<unk>"])
    assert tokenizer.vocab_size == 3
    assert tokenizer.decode(tokenizer.encode("axb")) == "a\ufffdb"
    assert tokenizer.decode(tokenizer.encode("axb"), skip_special=True) == "ab"


def test_offsets_of_special_tokens_and_templates():
    tokenizer = ByteTokenizer([AddedToken("<s>", strip_left=True)])
    text = "é <s>b"
    assert tokenizer.offsets(text, special="parse") == [(0, 1), (0, 1), (1, 5), (5, 6)]
    tokenizer.template = Template(("<s>",), ("<s>", "<s>"))
    assert tokenizer.encode(text, special="parse", template=True) == [256, 195, 169, 256, 98, 256, 256]
    assert tokenizer.encode_array("", template=True).tolist() == [256, 256, 256]
    assert tokenizer.offsets(text, special="parse", template=True) == [
        (0, 0), (0, 1), (0, 1), (1, 5), (5, 6), (6, 6), (6, 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: AddedToken(""), "an added token needs a spelling, got ''"),
        (lambda: ByteTokenizer(["<s>", "<s>"]), "each special token is given once, '<s>' occurs twice"),
        (lambda: ByteTokenizer(["Ġ"]), "cannot be the name of a byte, got 'Ġ'"),
        (lambda: CharTokenizer("ab", ["a"]), "cannot be a character of the alphabet, got 'a'"),
        (lambda: CharTokenizer("ab", ["\ud800"]), "lone surrogates"),
        (lambda: ByteTokenizer().encode("a", special="all"), "or a collection of names, got 'all'"),
        (lambda: ByteTokenizer(["<s>"]).encode("a", special=["</s>"]), "'</s>' is no token of this tokenizer"),
        (lambda: ByteTokenizer(["<s>"]).encode("a", special=["a"]), "'a' is an ordinary token of this tokenizer"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Template("<s>"), "a template needs tuples of names, got the string '<s>'"),
        (lambda: ByteTokenizer(["<s>"]).encode("a", special=None), "a string or a collection of names, got None"),
    ],
)
def test_values_of_other_kinds_are_refused(shapes_unchecked, call, sentence):
    with pytest.raises(TypeError, match=sentence):
        call()
