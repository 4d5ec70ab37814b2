"""Mirrors src/fp_neural/__main__.py."""

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from fp_markov.experiment import split
from fp_markov.vocabulary import Vocabulary
from fp_neural.__main__ import main
from fp_neural.experiment import Settings, build, run

TEXT = "".join(f"the {('cat', 'dog', 'bird')[n % 3]} saw {n % 4} of them\n" for n in range(150))
SMALL = {
    "mlp": ["--model", "mlp", "--context", "3", "--dim", "4", "--hidden", "16", "--steps", "30", "--batch-size", "16"],
    "rnn": ["--model", "rnn", "--dim", "4", "--hidden", "12", "--steps", "12", "--batch-size", "8", "--length", "9"],
    "lstm": ["--model", "lstm", "--dim", "4", "--hidden", "12", "--steps", "12", "--batch-size", "8", "--length", "9"],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, "utf8", newline="\n")
    return path


@pytest.fixture
def out(file, capsys):
    """What the command prints; the perceptron unless told otherwise, and no sample."""

    def call(*options, model="mlp", name=None):
        assert main([name or str(file), *SMALL[model], "--generate", "0", *options]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return re.sub(r"\d+ s of training", "", captured.out)

    return call


def test_a_newcomer_gets_losses_on_the_way_a_comparison_and_a_sample(file):
    command = [sys.executable, "-m", "fp_neural", file, *SMALL["mlp"], "--every", "20", "--generate", "30"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    trial = run(*split(TEXT), Settings("mlp", context=3, dim=4, hidden=16, steps=30, batch_size=16), every=20,
                watch=lambda n, loss: None)  # fmt: skip
    (_, first), (_, last) = trial.history.held_out
    counted = trial.against([5])[5].mean()
    lines = done.stdout.split("\n")
    assert lines[0] == f"     20 steps: {first:.4f} nats per character held out"
    assert lines[1] == f"     30 steps: {last:.4f} nats per character held out"
    assert re.fullmatch(f"mlp: {trial.model.n_parameters:,} parameters, [0-9]+ s of training", lines[2])
    assert lines[3] == (
        f"held out: {len(split(TEXT)[1])} characters, {trial.loss:.4f} nats each; "
        f"an n-gram model of order 5 (modified Kneser-Ney): {counted:.4f}"
    )
    assert lines[4] == ""
    assert len("\n".join(lines[5:])) == 30 + 1  # the sample and the line's end
    assert done.stderr == ""


@pytest.mark.parametrize("lines", [[], ["--lines"]])
@pytest.mark.parametrize("model", SMALL)
def test_every_model_runs_on_texts_and_on_lines(out, model, lines):
    said = out(*lines, "--generate", "40", "--layers", "2", "--dropout", "0.1", "--normalize", model=model)
    assert said.startswith(f"     {30 if model == 'mlp' else 12} steps: ")
    assert ("characters and line ends, " in said) == bool(lines)
    assert "<unk>" not in said
    assert "<s>" not in said
    assert len(said.partition("\n\n")[2]) == 40 + 1


def test_settings_reach_the_model_and_the_sample(out):
    def sample(*options):
        return out("--generate", "60", *options).partition("\n\n")[2]

    assert out() == out()
    plain = out().split("\n")[0]
    for change in (["--context", "2"], ["--dim", "5"], ["--hidden", "17"], ["--dropout", "0.5"], ["--normalize"],
                   ["--batch-size", "17"], ["--rate", "0.5"], ["--falling", "1"], ["--max-norm", "0.1"],
                   ["--seed", "1"], ["--held-out", "0.2"]):  # fmt: skip
        assert out(*change).split("\n")[0] != plain, change
    for change in (["--length", "8"], ["--layers", "2"]):
        assert out(*change, model="rnn").split("\n")[0] != out(model="rnn").split("\n")[0], change
    assert "order 2 (" in out("--order", "2")
    assert sample("--temperature", "0") == sample("--top-k", "1") != sample()
    assert sample("--top-k", "1000000000000") == sample()
    assert sample("--top-p", "1e-9") == sample("--min-p", "1") == sample("--top-k", "1")
    assert sample("--prompt", "the dog").startswith("the dog")
    assert sample("--prompt", "the dog", "--lines").startswith("the dog")
    assert len(sample("--prompt", "thé")) == 3 + 60 + 1


def test_each_line_of_a_sample_begins_anew(out):
    said = out("--lines", "--temperature", "0", "--generate", "120", "--steps", "300", "--rate", "1", "--context", "7")
    _, *lines, last = said.partition("\n\n")[2].removesuffix("\n").split("\n")
    assert len(lines) > 2
    assert len(set(lines)) == 1 and lines[0].startswith("the ")
    assert lines[0].startswith(last)


def test_a_text_of_one_line_is_begun_with_nothing(file, out):
    file.write_text(TEXT.replace("\n", " "), "utf8")
    assert len(out("--generate", "20").partition("\n\n")[2]) == 20 + 1


def test_a_folder_and_standard_input_are_texts_too(file, out, monkeypatch):
    assert out(name=str(file.parent)) == out()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert out(name="-") == out()


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("model", SMALL)
def test_what_is_kept_is_the_model_again(out, tmp_path, model, lines):
    path = tmp_path / "m"
    said = out("--save", str(path), *["--lines"] * lines, model=model)
    assert f"saved to {path}, {path}.vocabulary.json and {path}.settings.json\n" in said
    vocabulary = Vocabulary.load(f"{path}.vocabulary.json")
    settings = Settings(**json.loads((tmp_path / "m.settings.json").read_text("utf8")))
    loaded = build(settings, vocabulary, np.random.default_rng(7)).load(path)
    assert (vocabulary.bos is not None) == lines
    ids = (vocabulary.encode_sentences if lines else vocabulary.encode)(split(TEXT)[1])
    assert f", {loaded.cross_entropy(ids):.4f} nats each" in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--steps", "0"], "--steps must be 1 or more, got 0"),
        (["--every", "0"], "--every must be 1 or more, got 0"),
        (["--order", "0"], "--order must be 1 or more, got 0"),
        (["--order", "4000"], r"--order is at most 3\d{3} for this text, got 4000"),
        (["--batch-size", "0"], "--batch-size must be 1 or more, got 0"),
        (["--batch-size", "1", "--normalize"], "at least two rows"),
        (["--length", "0"], "--length must be 1 or more, got 0"),
        (["--length", "4000", "--model", "rnn"], "a batch is 16 rows of 4000 tokens and the token after"),
        (["--layers", "0"], "--layers must be 1 or more, got 0"),
        (["--context", "0"], "--context must be 1 or more, got 0"),
        (["--dim", "0"], "--dim must be 1 or more, got 0"),
        (["--hidden", "-3"], "--hidden must be 1 or more, got -3"),
        (["--dropout", "1"], r"lies in \[0, 1\), got 1.0"),
        (["--rate", "-1"], "the rate must be zero or more and finite, got -1.0"),
        (["--rate", "nan"], "the rate must be zero or more and finite, got nan"),
        (["--rate", "1e38", "--max-norm", "1e38"], "not (a number|finite)|is (inf|nan)"),
        (
            ["--rate", "1e38", "--max-norm", "1e38", "--model", "lstm", "--length", "9"],
            "not (a number|finite)|is (inf|nan)",
        ),
        (["--falling", "1.5"], "lies between 0 and 1, got 1.5"),
        (["--max-norm", "0"], "the largest norm must be above zero, got 0.0"),
        (["--held-out", "2"], "lies between 0 and 1, got 2.0"),
        (["--top-p", "0"], r"top_p is a probability mass in \(0, 1\], got 0.0"),
        (["--temperature", "-1"], "must be zero or more and finite, got -1.0. Zero is greedy"),
        (["--top-k", "0"], "--top-k must be 1 or more, got 0"),
        (["--min-p", "2"], "min_p"),
        (["--seed", "-1"], "--seed must be 0 or more, got -1"),
        (["--generate", "-1"], "--generate must be 0 or more, got -1"),
        (["--save", "/nowhere/at/all"], "/nowhere/at/all: its folder does not exist"),
    ],
)
def test_a_mistake_costs_one_line(file, capsys, options, sentence):
    assert main([str(file), *SMALL["mlp"], "--generate", "5", *options]) == 1
    err = capsys.readouterr().err
    assert err.startswith("fp_neural: ")
    assert re.search(sentence, err)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "options", [["--seed", "-1"], ["--steps", "-1"], ["--temperature", "-1"], ["--top-k", "0"], ["--save", "."]]
)
def test_a_mistake_is_found_before_the_text_is_read(tmp_path, capsys, options):
    assert main([str(tmp_path / "nothing.txt"), *options]) == 1
    err = capsys.readouterr().err
    assert "nothing.txt" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", [["--model", "gru"], ["--steps", "many"], ["--nonsense"]])
def test_an_option_that_is_none_shows_the_usage(file, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        main([str(file), *option])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: python -m fp_neural")


@pytest.mark.parametrize("place", ["fp_neural.language_model.LanguageModel.generate", "fp_neural.__main__.report"])
def test_a_model_that_was_kept_survives_a_failure_after_it(file, tmp_path, capsys, monkeypatch, place):
    def fail(*_, **__):
        raise ValueError("no sample")

    monkeypatch.setattr(place, fail)
    assert main([str(file), *SMALL["mlp"], "--save", str(tmp_path / "m")]) == 1
    assert capsys.readouterr().err == "fp_neural: no sample\n"
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt", "m", "m.vocabulary.json", "m.settings.json"}


def test_an_interrupt_is_one_line(file, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fp_neural.experiment.train", interrupt)
    assert main([str(file)]) == 130
    assert capsys.readouterr().err == "fp_neural: interrupted\n"


@pytest.mark.parametrize(("words", "line"), [((), "out of memory"), (("Unable to allocate 9 TiB",),) * 2])
def test_memory_that_runs_out_is_named(file, capsys, monkeypatch, words, line):
    def fill(*_, **__):
        raise MemoryError(*words)

    monkeypatch.setattr("fp_neural.experiment.train", fill)
    assert main([str(file)]) == 1
    assert capsys.readouterr().err == f"fp_neural: {''.join(line)}\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows reports a closed pipe as other errors")
@pytest.mark.parametrize("generate", ["0", "9"])
def test_a_reader_who_leaves_ends_the_command_quietly(file, generate):
    command = [sys.executable, "-m", "fp_neural", file, *SMALL["mlp"], "--generate", generate]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 141


def test_a_text_that_is_not_there_or_is_none(tmp_path, capsys):
    def error(name):
        assert main([str(name), *SMALL["rnn"]]) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert error(tmp_path / "nothing.txt").endswith("nothing.txt: No such file or directory\n")
    (tmp_path / "noise").write_bytes(b"abc\xff")
    assert "is no text in UTF-8: byte 3 does not fit" in error(tmp_path / "noise")
    assert "holds no .txt file" in error(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    assert "a text of 0 characters is too short" in error(tmp_path / "empty")
    (tmp_path / "short").write_text("to be or not")
    assert "a batch is 8 rows of 9 tokens and the token after, which a text of 11 tokens does not fill" in error(
        tmp_path / "short"
    )
