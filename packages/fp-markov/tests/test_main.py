"""Mirrors src/fp_markov/__main__.py."""

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from fp_markov.__main__ import main
from fp_markov.experiment import run
from fp_markov.ngram import SMOOTHINGS, NGramModel
from fp_markov.vocabulary import Vocabulary

TEXT = "".join(f"the {('cat', 'dog', 'bird')[n % 3]} saw {n % 4} of them\n" for n in range(150))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, "utf8", newline="\n")
    return path


def test_a_newcomer_gets_a_perplexity_and_a_sample(file):
    command = [sys.executable, "-m", "fp_markov", file, "--order", "4", "--smoothing", "modified_kneser_ney"]
    done = subprocess.run([*command, "--generate", "30"], capture_output=True, text=True, check=True)
    lines = done.stdout.split("\n")
    assert lines[0].startswith("modified_kneser_ney of order 4 over ")
    expected = run(TEXT, 4).loss
    assert f"perplexity {np.exp(expected):.3f} per character: {expected:.4f} nats" in done.stdout
    assert len("\n".join(lines[5:])) == 30 + 1  # the sample and the line's end
    assert done.stderr == ""


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("units", ["characters", "bytes", "words"])
def test_every_smoothing_and_unit_runs(file, capsys, smoothing, units):
    assert main([str(file), "--smoothing", smoothing, "--units", units, "--order", "3", "--generate", "9"]) == 0
    assert re.search(r"perplexity (infinite|[\d.]+ per)", capsys.readouterr().out)


def test_settings_reach_the_model_and_the_sample(file, capsys):
    def out(*options):
        assert main([str(file), "--units", "words", "--generate", "40", *options]) == 0
        return capsys.readouterr().out

    assert out() == out()
    assert out("--seed", "1").split("\n\n")[1] != out().split("\n\n")[1]
    assert out("--temperature", "0") == out("--temperature", "0", "--seed", "5")
    assert out("--smoothing", "additive") != out("--smoothing", "additive", "--alpha", "0.1")
    assert out("--smoothing", "kneser_ney") != out("--smoothing", "kneser_ney", "--discount", "0.9")
    assert "\n\nthe dog saw " in out("--prompt", "the dog", "--temperature", "0", "--order", "3")


def test_a_folder_and_standard_input_are_texts_too(file, capsys, monkeypatch):
    assert main([str(file), "--generate", "0"]) == 0
    expected = capsys.readouterr().out
    assert main([str(file.parent), "--generate", "0"]) == 0
    assert capsys.readouterr().out == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert main(["-", "--generate", "0"]) == 0
    assert capsys.readouterr().out == expected


def test_the_model_is_kept_where_asked(file, tmp_path, capsys):
    arguments = [str(file), "--generate", "0", "--save", str(tmp_path / "m"), "--arpa", str(tmp_path / "m.arpa")]
    assert main(arguments) == 0
    assert f"saved to {tmp_path / 'm'} and {tmp_path / 'm.vocabulary.json'}" in capsys.readouterr().out
    saved = NGramModel.load(tmp_path / "m")
    read, names = NGramModel.from_arpa(tmp_path / "m.arpa")
    assert "<0x20>" in names
    vocabulary = Vocabulary.load(tmp_path / "m.vocabulary.json")
    assert len(vocabulary) == saved.vocab_size
    assert vocabulary.decode(vocabulary.encode("the cat")) == "the cat"
    np.testing.assert_allclose(read.log_prob([1, 2, 3]), saved.log_prob([1, 2, 3]), atol=1e-7)


def test_zeros_are_named_not_averaged(file, capsys):
    file.write_text(TEXT + "a very different end\n" * 9, "utf8")
    assert main([str(file), "--smoothing", "mle", "--order", "5", "--generate", "0"]) == 0
    assert re.search(r"perplexity infinite: the model excludes \d+ of them. Smooth it.", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--order", "0"], "it is 1 or more, got 0"),
        (["--held-out", "2"], "lies between 0 and 1, got 2.0"),
        (["--top-p", "0"], r"top_p is a probability mass in \(0, 1\], got 0.0"),
        (["--temperature", "-1"], "must be zero or more and finite, got -1.0. Zero is greedy"),
        (["--top-k", "0"], "--top-k must be 1 or more, got 0"),
        (["--top-k", "1000000000000"], r"--top-k is at most \d+ for this vocabulary, got 1000000000000"),
        (["--seed", "-1"], "--seed must be 0 or more, got -1"),
        (["--generate", "-1"], "--generate must be 0 or more, got -1"),
        (["--alpha", "1"], "modified_kneser_ney has the settings none"),
        (["--min-count", "0"], "it is 1 or more, got 0"),
        (["--save", "/nowhere/at/all"], "/nowhere/at/all: its folder does not exist"),
        (["--arpa", "/nowhere/at/all"], "/nowhere/at/all: its folder does not exist"),
    ],
)
def test_a_mistake_costs_one_line(file, capsys, options, sentence):
    assert main([str(file), "--generate", "5", *options]) == 1
    err = capsys.readouterr().err
    assert re.search(sentence, err)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "options", [["--seed", "-1"], ["--generate", "-1"], ["--temperature", "-1"], ["--save", "."], ["--arpa", "."]]
)
def test_a_mistake_is_found_before_the_text_is_read(tmp_path, capsys, options):
    assert main([str(tmp_path / "nothing.txt"), *options]) == 1
    err = capsys.readouterr().err
    assert "nothing.txt" not in err
    assert err.count("\n") == 1


def test_what_is_kept_survives_a_sample_that_fails(file, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no sample")

    monkeypatch.setattr(NGramModel, "generate", fail)
    assert main([str(file), "--save", str(tmp_path / "m"), "--arpa", str(tmp_path / "m.arpa")]) == 1
    NGramModel.load(tmp_path / "m")
    NGramModel.from_arpa(tmp_path / "m.arpa")


def test_an_interrupt_is_one_line(file, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(NGramModel, "generate", interrupt)
    assert main([str(file)]) == 130
    assert capsys.readouterr().err == "fp_markov: interrupted\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a closed pipe as other errors")
def test_a_reader_who_leaves_ends_the_command_quietly(file):
    command = [sys.executable, "-m", "fp_markov", file, "--generate", "9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 141


def test_line_ends_and_a_mark_of_utf8_are_read_alike_from_everywhere(file, tmp_path, capsys, monkeypatch):
    def out(name):
        assert main([name, "--generate", "0"]) == 0
        return capsys.readouterr().out

    plain = out(str(file))
    content = TEXT.replace("\n", "\r\n").encode()
    file.write_bytes(content)
    windows = out(str(file))
    assert windows != plain  # one character more, twice on each line
    file.write_bytes(b"\xef\xbb\xbf" + content)
    assert out(str(file)) == out(str(tmp_path)) == windows
    for start in (b"", b"\xef\xbb\xbf"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(start + content)))
        assert out("-") == windows


def test_unknown_symbols_are_not_written(tmp_path, capsys):
    text = tmp_path / "text"
    for units, rare in (("characters", "abcdefghijklmnopqrstuvwxyz"), ("words", [f"w{n}" for n in range(400)])):
        text.write_text("".join(f"so {rare[n % len(rare)]} it is\n" for n in range(400)), "utf8")
        assert main([str(text), "--units", units, "--min-count", "30", "--generate", "400"]) == 0
        out = capsys.readouterr().out
        assert "of them unknown" in out
        assert "<unk>" not in out
        assert out.count("it is") > 3


def test_the_report_says_what_it_counts_and_bits_where_they_mean_something(file, capsys):
    assert main([str(file), "--units", "words", "--generate", "0"]) == 0
    out = capsys.readouterr().out
    lines = TEXT.split("\n")[135:]
    assert f"held out: {len(' '.join(lines).split()) + 15} words and line ends" in out
    assert "bits" not in out
    for units in ("characters", "bytes"):
        assert main([str(file), "--units", units, "--generate", "0"]) == 0
        trial = run(TEXT, 4, units=units)
        expected = f"{trial.bits_per_character:.4f} bits per character, {trial.bits_per_byte:.4f} bits per byte\n"
        assert expected in capsys.readouterr().out


def test_a_text_that_is_not_there_or_is_none(tmp_path, capsys):
    assert main([str(tmp_path / "nothing.txt")]) == 1
    assert capsys.readouterr().err.endswith("nothing.txt: No such file or directory\n")
    (tmp_path / "noise").write_bytes(b"abc\xff")
    assert main([str(tmp_path / "noise")]) == 1
    assert "is no text in UTF-8: byte 3 does not fit" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "holds no .txt file" in capsys.readouterr().err
    (tmp_path / "folder.txt").mkdir()
    assert main([str(tmp_path)]) == 1
    assert "holds no .txt file" in capsys.readouterr().err
    (tmp_path / "folder.txt" / "noise.txt").write_bytes(b"abc\xff")
    assert main([str(tmp_path)]) == 1
    assert f"{tmp_path / 'folder.txt' / 'noise.txt'} is no text in UTF-8" in capsys.readouterr().err
    (tmp_path / "empty").write_bytes(b"")
    assert main([str(tmp_path / "empty")]) == 1
    assert "a text of 0 characters is too short" in capsys.readouterr().err
