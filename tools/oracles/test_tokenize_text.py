"""Live: normalisers and pre-tokenizers of Hugging Face and SentencePiece against ours, in the oracles environment."""

import io
import json

import pytest

tokenizers = pytest.importorskip("tokenizers")

from tools.oracles import tokenize_text as oracle  # noqa: E402

from fp_tokenize.normalize import Normalizer, Precompiled  # noqa: E402

NORMALIZERS, PRETOKENIZERS = oracle.normalizers(), oracle.pretokenizers()
FROZEN = {path: json.loads(path.read_text(encoding="utf-8")) for path in (oracle.NORMALIZE, oracle.PRETOKENIZE)}
TEXTS = {path: oracle.random_texts.texts(11, 10_000, frozen["avoid"]) for path, frozen in FROZEN.items()}
SPANS = [
    "NFC",
    "NFKC",
    "NFD",
    "Lowercase",
    "StripAccents",
    "Nmt",
    "Replace",
    "Strip True True",
    "Bert (True, True, None, True)",
]


def test_the_fixtures_are_what_the_library_says_today():
    # through JSON, in which tuples are lists
    for path, recorded in (
        (oracle.NORMALIZE, oracle.normalize_record()),
        (oracle.PRETOKENIZE, oracle.pretokenize_record()),
    ):
        assert json.loads(json.dumps(recorded)) == FROZEN[path]


@pytest.mark.parametrize("name", NORMALIZERS)
def test_ten_thousand_random_texts_are_normalised_alike(name):
    ours, theirs = NORMALIZERS[name]
    for text in TEXTS[oracle.NORMALIZE]:
        assert ours(text) == theirs.normalize_str(text)


@pytest.mark.parametrize("name", PRETOKENIZERS)
def test_random_texts_get_the_same_words_and_spans(name):
    ours, theirs = PRETOKENIZERS[name][0], oracle.words_of(PRETOKENIZERS[name][1])
    # every combination of options, and ten thousand texts for the patterns and steps in use
    count = 10_000 if name in oracle.SHOWN or not name.startswith("Split") else 1_000
    for text in TEXTS[oracle.PRETOKENIZE][:count]:
        expected = theirs(text)
        assert ours.pieces(text) == expected
        assert ours.split(text) == [word for word, _, _ in expected]


@pytest.mark.parametrize("name", SPANS)
def test_spans_of_normalised_characters_contain_theirs(name):
    """Theirs name one of the characters that became one; ours all. Where one became one or more they are equal."""
    ours, theirs = NORMALIZERS[name]
    # a tokenizer that knows no character: each is a token, and has the offsets of the character
    by_character = tokenizers.Tokenizer(tokenizers.models.BPE({"<unk>": 0}, [], unk_token="<unk>"))
    by_character.normalizer = theirs
    for text in TEXTS[oracle.NORMALIZE][:2_000]:
        spans = ours.aligned(text)[1]
        offsets = by_character.encode(text).offsets
        assert len(spans) == len(offsets)
        # in a run of marks that has been sorted, theirs go by position
        assert all(a <= c and d <= b for (a, b), (c, d) in zip(spans, offsets, strict=True))
        if name in ("NFD", "Lowercase", "Replace", "Nmt", "Strip True True", "StripAccents"):
            assert all(s == o for s, o in zip(spans, offsets, strict=True) if s[1] - s[0] == 1)


def table(rule: str) -> bytes:
    """The charsmap in a model that SentencePiece trains with a rule."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from fp_tokenize._wire import message

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a few words", "to train on"] * 10),
        model_writer=model,
        vocab_size=20,
        normalization_rule_name=rule,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    spec = dict(message(model.getvalue(), "model"))[3]  # NormalizerSpec
    return dict(message(spec, "spec"))[2]  # precompiled_charsmap


@pytest.mark.parametrize("rule", ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"])
def test_the_tables_of_sentencepiece_are_read_as_both_libraries_read_them(rule):
    sentencepiece = pytest.importorskip("sentencepiece")
    charsmap = table(rule)
    assert len(charsmap) > 200_000
    theirs = tokenizers.normalizers.Precompiled(charsmap)
    reference = sentencepiece.SentencePieceNormalizer(
        rule_name=rule, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False
    )
    by_grapheme, longest = Precompiled(charsmap), Precompiled(charsmap, "longest")
    differ = 0
    for text in TEXTS[oracle.NORMALIZE]:
        assert by_grapheme(text) == theirs.normalize_str(text)
        assert longest(text) == reference.normalize(text)
        differ += by_grapheme(text) != longest(text)
    assert differ  # or one rule would do
    for text in TEXTS[oracle.NORMALIZE][:500]:
        assert Normalizer([longest]).aligned(text)[0] == longest(text)
