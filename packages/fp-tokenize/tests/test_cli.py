"""Mirrors src/fp_tokenize/cli.py: the commands as a user runs them."""

import base64
import json
import subprocess
import sys
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from fp_tokenize import BPETokenizer, load
from fp_tokenize.cli import app
from fp_tokenize.pretokenize import NAMES

TEXT = "the cat sat on the mat, the rat sat on the cat and ate the oats; it was fat.\n\nAnd the mat was flat.\n" * 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def run(*arguments, stdin=None):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def good(*arguments, stdin=None):
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output + result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("kind", "size", "special"),
    [
        ("bpe", 280, ["<|end|>"]),
        ("wordpiece", 45, ["[UNK]", "[CLS]"]),
        ("unigram", 40, ["<unk>"]),
        ("characters", 40, ["<s>"]),
        ("bytes", 257, ["<s>"]),
    ],
)
def test_every_kind_is_trained_kept_and_used(folder, kind, size, special):
    options = [part for token in special for part in ("--special", token)]
    out = good("train", "text.txt", "--out", "model", "--model", kind, "--vocab-size", size, *options)
    assert "tokens in model/tokenizer.json" in out
    tokenizer = load("model")
    text = "the fat rat"
    ids = good("encode", "model", text).split()
    assert list(map(int, ids)) == tokenizer.encode(text)
    assert good("decode", "model", *ids).strip() == text
    assert good("encode", "model", "--file", "text.txt").split() == list(map(str, tokenizer.encode(TEXT)))
    assert "tokens per word" in good("stats", "model", "text.txt")
    assert good("explain", "model", text).splitlines()[-1].startswith(f"tokens {len(ids)}: ")


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_the_defaults_suffice(folder, kind):
    good("train", "text.txt", "--out", "a.json", "--model", kind, "--vocab-size", 290 if kind == "bpe" else 40)
    assert good("encode", "a.json", "the cat")


def test_training_is_what_the_class_does_on_any_number_of_processes(folder):
    good("train", "text.txt", "--out", "a.json", "--vocab-size", 290)
    good("train", "text.txt", "--out", "b.json", "--vocab-size", 290, "--processes", 2)
    good("train", "-", "--out", "c.json", "--vocab-size", 290, stdin=TEXT)
    expected = BPETokenizer.train([TEXT], 290)
    for name in ("a.json", "b.json", "c.json"):
        assert load(name).merges == expected.merges


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
@pytest.mark.parametrize("pretokenizer", NAMES)
def test_what_is_trained_with_any_pretokenizer_can_be_read_again(folder, kind, pretokenizer):
    (folder / "words").mkdir()
    for i, line in enumerate(TEXT.splitlines()):
        (folder / "words" / f"{i}.txt").write_text(line, encoding="utf-8")
    size = 280 if kind == "bpe" else 70
    good("train", "words", "--out", "a", "--model", kind, "--vocab-size", size, "--pretokenizer", pretokenizer)
    assert good("encode", "a", "the cat")


def test_nothing_is_overwritten_unless_forced(folder):
    good("train", "text.txt", "--out", "a.json", "--vocab-size", 280)
    before = (folder / "a.json").read_bytes()
    result = run("train", "text.txt", "--out", "a.json", "--vocab-size", 290)
    assert result.exit_code == 1
    assert result.stderr == "fp-tokenize: a.json exists; choose another --out, or replace it with --force\n"
    assert (folder / "a.json").read_bytes() == before
    good("train", "text.txt", "--out", "a.json", "--vocab-size", 290, "--force")
    assert (folder / "a.json").read_bytes() != before


def test_encoding_shows_ids_a_table_or_json(folder):
    good("train", "text.txt", "--out", "a.json", "--vocab-size", 280, "--special", "<s>")
    text = "the\n<s>"
    rows = json.loads(good("encode", "a.json", text, "--show", "json", "--special", "parse"))
    assert "".join(row["text"] for row in rows) == text
    assert all(a["end"] == b["start"] for a, b in pairwise(rows))
    assert rows[-1] == {"id": 0, "token": "<s>", "start": 4, "end": 7, "text": "<s>"}
    table = good("encode", "a.json", text, "--show", "tokens")
    assert table.splitlines()[0].split() == ["id", "token", "from", "to", "text"]
    assert r"\n" in table
    assert good("encode", "a.json", stdin="the").split() == good("encode", "a.json", "the").split()


def test_decoding_reads_ids_as_programs_write_them(folder):
    good("train", "text.txt", "--out", "a.json", "--vocab-size", 280)
    ids = list(map(int, good("encode", "a.json", "the cat").split()))
    assert good("decode", "a.json", stdin=json.dumps(ids)) == "the cat"
    assert good("decode", "a.json", stdin="") == ""


def test_ranks_of_tiktoken_need_a_pattern(folder):
    lines = [f"{base64.b64encode(bytes([b])).decode()} {b}" for b in range(256)]
    (folder / "x.tiktoken").write_text("\n".join([*lines, f"{base64.b64encode(b'th').decode()} 256"]), encoding="utf-8")
    assert good("encode", "x.tiktoken", "the", "--pattern", "cl100k").split() == ["256", "101"]
    assert "say with --pattern" in run("encode", "x.tiktoken", "the").stderr


def test_comparing_lists_each_tokenizer(folder):
    for size in (270, 300):
        good("train", "text.txt", "--out", f"{size}.json", "--vocab-size", size)
    lines = good("compare", "270.json", "300.json", "--on", "text.txt").splitlines()
    assert lines[0].split()[:3] == ["tokenizer", "vocabulary", "tokens"]
    tokens = [int(line.split()[2].replace(",", "")) for line in lines[1:]]
    assert [line.split()[0] for line in lines[1:]] == ["270.json", "300.json"]
    assert tokens[0] > tokens[1] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "missing.txt", "--out", "x.json"), "missing.txt: No such file"),
        (("train", "empty.txt", "--out", "x.json"), "fp-tokenize: "),
        (("train", "text.txt", "--out", "x.json", "--vocab-size", "3"), "fp-tokenize: "),
        (("train", "text.txt", "--out", "x.json", "--pretokenizer", "words"), "got 'words'"),
        (
            ("train", "text.txt", "--out", "x.json", "--model", "bytes", "--processes", "2"),
            "say nothing to --model bytes",
        ),
        (("train", "latin.txt", "--out", "x.json"), "is no text in UTF-8: byte 1 does not fit"),
        (("encode", "missing.json", "a"), "missing.json"),
        (("encode", "text.txt", "a"), "fp-tokenize: "),
        (("encode", "broken.json", "a"), "broken.json"),
        (("decode", "good.json", "9999"), "id 9999 at position 0 lies outside [0, 256)"),
        (("decode", "good.json", "9" * 30), f"id {'9' * 30} at position 0 lies outside [0, 256)"),
        (("decode", "good.json", "1.5"), "integers separated by spaces or commas, got '1.5'"),
        (("train", "empty", "--out", "x.json"), "the folder empty holds no .txt file"),
        (("encode", "good.json", "a", "--file", "text.txt"), "give a text or --file, not both"),
        (("encode", "good.json", "a", "--pattern", "gpt2"), "--pattern is for .tiktoken files"),
        (("stats", "good.json", "empty.txt"), "there is no text in empty.txt"),
    ],
)
def test_mistakes_are_one_line_and_no_traceback(folder, arguments, sentence):
    (folder / "empty").mkdir()
    (folder / "empty.txt").write_text("", encoding="utf-8")
    (folder / "latin.txt").write_bytes(b"n\xe9")
    (folder / "broken.json").write_text('{"model": ', encoding="utf-8")
    good("train", "text.txt", "--model", "bytes", "--vocab-size", 256, "--out", "good.json")
    result = run(*arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.output


def test_ids_that_are_no_numbers_are_refused(folder):
    good("train", "text.txt", "--model", "bytes", "--vocab-size", 256, "--out", "good.json")
    assert "integers separated by spaces or commas, got 'abc'" in run("decode", "good.json", stdin="1 abc").stderr


def test_the_module_is_the_command():
    result = subprocess.run([sys.executable, "-m", "fp_tokenize", "--help"], capture_output=True, text=True, check=True)
    for command in ("train", "encode", "decode", "stats", "compare", "explain"):
        assert command in result.stdout
