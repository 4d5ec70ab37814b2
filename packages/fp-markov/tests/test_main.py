"""Mirrors src/fp_markov/__main__.py."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest

from fp_markov.__main__ import main
from fp_markov.experiment import run
from fp_markov.ngram import SMOOTHINGS, NGramModel

TEXT = "".join(f"the {('cat', 'dog', 'bird')[n % 3]} saw {n % 4} of them\n" for n in range(150))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, "utf8")
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
    assert "saved to" in capsys.readouterr().out
    saved = NGramModel.load(tmp_path / "m")
    read, names = NGramModel.from_arpa(tmp_path / "m.arpa")
    assert "<0x20>" in names
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
        (["--temperature", "-1"], "must be positive and finite, got -1.0"),
        (["--top-k", "0"], "top_k must lie between 1 and"),
        (["--alpha", "1"], "modified_kneser_ney has the settings none"),
        (["--min-count", "0"], "it is 1 or more, got 0"),
        (["--save", "/nowhere/at/all"], "/nowhere/at: no such folder"),
    ],
)
def test_a_mistake_costs_one_line(file, capsys, options, sentence):
    assert main([str(file), "--generate", "5", *options]) == 1
    err = capsys.readouterr().err
    assert re.search(sentence, err)
    assert err.count("\n") == 1


def test_a_text_that_is_not_there_or_is_none(tmp_path, capsys):
    assert main([str(tmp_path / "nothing.txt")]) == 1
    assert capsys.readouterr().err.endswith("nothing.txt: No such file or directory\n")
    (tmp_path / "noise").write_bytes(b"abc\xff")
    assert main([str(tmp_path / "noise")]) == 1
    assert "is no text in UTF-8: byte 3 does not fit" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "holds no .txt file" in capsys.readouterr().err
    (tmp_path / "empty").write_bytes(b"")
    assert main([str(tmp_path / "empty")]) == 1
    assert "a text of 0 characters is too short" in capsys.readouterr().err
