"""Mirrors src/fp_tokenize/interchange.py."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_tokenize import ByteTokenizer, CharTokenizer, load, save
from fp_tokenize.interchange import _layout, _tokenizer

FROZEN = json.loads((Path(__file__).parent / "fixtures/huggingface_characters.json").read_text(encoding="utf-8"))
TOKENIZERS = {"characters": CharTokenizer(FROZEN["alphabet"]), "bytes": ByteTokenizer()}
each = pytest.mark.parametrize("name", TOKENIZERS)


def layout(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "layout.json")
    return json.loads((tmp_path / "layout.json").read_text(encoding="utf-8"))


@pytest.mark.claim("tokenize.merge-free-bpe")
@each
def test_hugging_face_reads_the_same_ids_from_our_file(name):
    """Its answers are frozen; tools/oracles compares live, on ten thousand random texts."""
    tokenizer = TOKENIZERS[name]
    assert FROZEN[name]["vocab_size"] == tokenizer.vocab_size
    for case in FROZEN[name]["cases"]:
        assert tokenizer.encode(case["text"]) == case["ids"]
        assert tokenizer.decode(case["ids"]).replace("\ufffd", "<unk>") == case["decoded"].replace("\ufffd", "<unk>")


@pytest.mark.claim("tokenize.merge-free-bpe")
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_vocabulary_in_the_file_spells_every_text_character_by_character(text):
    """The definition of a BPE without merges, applied to what the file says."""
    characters = CharTokenizer("abcñ言😀")
    model = _layout(characters)["model"]
    names = [c if c in model["vocab"] else model["unk_token"] for c in text]
    assert [model["vocab"][name] for name in names] == characters.encode(text)

    # the ByteLevel part names bytes: the printable ones by themselves, the others in order from U+0100
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    names = [chr(b) if b in printable else chr(256 + others.index(b)) for b in text.encode()]
    assert [_layout(ByteTokenizer())["model"]["vocab"][name] for name in names] == ByteTokenizer().encode(text)


@each
def test_what_is_saved_is_loaded_from_a_file_and_from_a_directory(name, tmp_path):
    tokenizer = TOKENIZERS[name]
    for path in (tmp_path / "new" / "directory", tmp_path / "some.json", str(tmp_path)):
        save(tokenizer, path)
        assert repr(load(path)) == repr(tokenizer)
    assert repr(load(tmp_path / "new/directory/tokenizer.json")) == repr(tokenizer)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "some.json", "tokenizer.json"]


@each
def test_a_file_that_hugging_face_wrote_back_is_loaded(name, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(FROZEN[name]["resaved"]), encoding="utf-8")
    assert repr(load(tmp_path)) == repr(TOKENIZERS[name])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_every_alphabet_survives(alphabet):
    read = _tokenizer(json.loads(json.dumps(_layout(CharTokenizer(alphabet)), ensure_ascii=False)))
    assert isinstance(read, CharTokenizer)
    assert read.alphabet == "".join(sorted(set(alphabet)))


@each
def test_a_file_cut_anywhere_is_refused(name, tmp_path):
    TOKENIZERS[name].save(tmp_path)
    data = (tmp_path / "tokenizer.json").read_bytes()
    for cut in [0, 1, *np.random.default_rng(3).integers(2, len(data) - 1, size=20).tolist()]:
        (tmp_path / "cut.json").write_bytes(data[:cut])
        with pytest.raises(ValueError, match=r"cut\.json is no JSON: .* Is it cut off, or another kind of file\?"):
            load(tmp_path / "cut.json")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"hello", b"[" * 100_000, b'{"model": 1' + b"0" * 5000])
def test_what_is_no_json_is_refused(data, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(ValueError, match="is no JSON"):
        load(tmp_path)


@pytest.mark.parametrize("data", [[], 7, None, "text", {}, {"model": {}}, {"model": []}, {"model": {"vocab": []}}])
def test_json_that_is_no_tokenizer_is_refused(data, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="it has no model with a vocabulary of names and ids"):
        load(tmp_path)


@each
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["model"].update(merges=["a b"]), "model.merges should be .*, and is .*a b"),
        (lambda d: d["model"].update(type="WordPiece"), "model.type should be 'BPE', and is 'WordPiece'"),
        (lambda d: d["model"].update(fuse_unk=True), "model.fuse_unk should be False, and is 'True'"),
        (lambda d: d["model"].update(dropout=0.1), "model.dropout should be None, and is '0.1'"),
        (lambda d: d.update(normalizer={"type": "NFC"}), "normalizer should be None"),
        (lambda d: d.update(decoder=None), "decoder should be"),
        (lambda d: d.update(added_tokens=[{"id": 1, "content": "</s>"}]), "added_tokens should be"),
        (lambda d: d.update(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer"),
        (lambda d: d.update(surprise={"x": 1}), "surprise should be None"),
        (lambda d: d["model"]["vocab"].update(a=10**30), "do not have the ids 0 to"),
        (lambda d: d["model"]["vocab"].update(a=1.5), "do not have the ids 0 to"),
        (lambda d: d["model"]["vocab"].update(a=0), "do not have the ids 0 to"),
        (lambda d: d["model"]["vocab"].pop("a"), "do not have the ids 0 to"),
        (lambda d: d["model"]["vocab"].update({"the": len(d["model"]["vocab"])}), "single characters, got 'the'"),
        (lambda d: d["model"]["vocab"].update({"\ud800": len(d["model"]["vocab"])}), "lone surrogates"),
        (lambda d: swap(d["model"]["vocab"]), "its vocabulary is neither"),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused(name, change, sentence, tmp_path):
    data = layout(TOKENIZERS[name], tmp_path)
    change(data)
    (tmp_path / "foreign.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=rf"(?s)foreign\.json is no tokenizer of characters or bytes.*{sentence}"):
        load(tmp_path / "foreign.json")


def swap(vocab):
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]


def test_absent_and_empty_parts_are_equal(tmp_path):
    data = layout(TOKENIZERS["characters"], tmp_path)
    for key in ("truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"):
        del data[key]
    for key in ("dropout", "fuse_unk", "byte_fallback", "ignore_merges"):
        del data["model"][key]
    (tmp_path / "older.json").write_text(json.dumps(data))
    assert repr(load(tmp_path / "older.json")) == repr(TOKENIZERS["characters"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        load(tmp_path)


def test_other_kinds_are_not_saved(tmp_path, shapes_unchecked):
    with pytest.raises(TypeError, match="only CharTokenizer and ByteTokenizer can be saved so far, got object"):
        save(object(), tmp_path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(failing, tmp_path, monkeypatch):
    save(CharTokenizer("old"), tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full) if failing == "fsync" else monkeypatch.setattr(Path, failing, full)
    with pytest.raises(OSError, match="No space left"):
        save(CharTokenizer("new"), tmp_path)
    assert repr(load(tmp_path)) == "CharTokenizer('dlo')"
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


def test_the_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (steps.append("rename"), replace(a, b))[1])
    save(ByteTokenizer(), tmp_path)
    assert steps == ["fsync", "rename"]
