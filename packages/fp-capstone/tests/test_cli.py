"""Mirrors src/fp_capstone/cli.py."""

import errno
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import fp_capstone.cli
import fp_capstone.run
from fp_capstone.cli import app
from fp_capstone.settings import Settings
from fp_transformer.checkpoint import save_tensors

SMALL = [
    "--n-layers", "1", "--n-heads", "2", "--d-model", "12", "--d-ff", "32", "--context-length", "13",
    "--batch-size", "3", "--warmup", "2", "--eval-every", "5", "--sample-every", "6", "--checkpoint-every", "4",
    "--threads", "1",
]  # fmt: skip


def call(*arguments, env=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200", "TERM": "dumb"} | (env or {}))


def refused(result, sentence):
    """A mistake is one line on the standard error, without a traceback, and the exit code says so."""
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    assert re.search(sentence, result.stderr), result.stderr
    return True


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    rng = np.random.default_rng(17)
    path.write_text("".join(rng.choice(["the ", "cat ", "sat ", "on ", "mat.\n"]) for _ in range(400)))
    return path


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    run = tmp_path_factory.mktemp("cli") / "runs" / "one"
    return run, call("train", "--text", text, *SMALL, "--n-steps", 12, "--run-dir", run)


def test_training_ends_with_a_sample_and_the_table(trained):
    run, result = trained
    assert result.exit_code == 0, result.output
    for words in (
        f"run directory: {run}", "sha256", "to beat:", "tokens/s", "a sample of the model after step 12:",
        "bits/byte, window 13)  held out", "disjoint windows of 13", "5-gram", "standard errors", "transformer",
        f"fp-capstone generate {run}",
    ):  # fmt: skip
        assert words in result.stdout.replace("\n", " ").replace("  ", " ") or words in result.stdout, words
    assert result.stderr == ""


def test_generating_is_repeatable_and_streams_what_was_asked(trained):
    one = call("generate", trained[0], "--prompt", "the cat ", "--max-new-tokens", 23, "--seed", 5)
    two = call("generate", trained[0], "--prompt", "the cat ", "--max-new-tokens", 23, "--seed", 5)
    assert one.exit_code == 0, one.output
    assert one.stdout == two.stdout
    assert one.stdout.startswith("the cat ")
    assert len(one.stdout) == len("the cat ") + 23 + len("\n")


def test_the_newest_run_is_the_default(trained, monkeypatch):
    monkeypatch.chdir(trained[0].parent.parent)
    result = call("generate", "--max-new-tokens", 3, "--temperature", 0, "--top-k", 1)
    assert result.exit_code == 0, result.output
    assert len(result.stdout) == 4


def test_bytes_of_one_character_are_written_together(text, tmp_path):
    (tmp_path / "text.txt").write_text("é€😀" * 150, encoding="utf-8")
    call(
        "train",
        "--text",
        tmp_path / "text.txt",
        "--tokenizer",
        "bytes",
        *SMALL,
        "--n-steps",
        2,
        "--run-dir",
        tmp_path / "run",
    )
    result = call("generate", tmp_path / "run", "--prompt", "é", "--max-new-tokens", 20, "--seed", 3)
    assert result.exit_code == 0, result.output


def test_evaluating_gives_the_table_of_the_run_and_of_another_text(trained, tmp_path):
    run, training = trained
    own = call("eval", run)
    assert own.exit_code == 0, own.output
    row = next(line for line in own.stdout.splitlines() if line.startswith("5-gram"))
    assert row.split()[1] in training.stdout
    (tmp_path / "other.txt").write_text("on the mat the cat sat. " * 30)
    other = call("eval", run / "model", "--text", tmp_path / "other.txt", "--window", 7)
    assert other.exit_code == 0, other.output
    assert "disjoint windows of 7" in other.stdout


def test_a_file_of_settings_and_options_together(text, tmp_path):
    (tmp_path / "mine.toml").write_text(f'preset = "tiny"\ntext = "{text}"\nn_steps = 3\nwarmup = 1\nd_model = 24\n')
    result = call("train", "--config", tmp_path / "mine.toml", *SMALL, "--warmup", 1, "--run-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "3 steps" in result.stdout
    assert "d_model = 12" in (tmp_path / "run" / "settings.toml").read_text()


def test_every_setting_is_an_option():
    text = call("train", "--help").stdout
    for name in Settings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text, name


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--text", "absent.txt"], "no file or folder absent.txt"),
        (["--preset", "huge"], "preset must be one of"),
        (["--config", "absent.toml"], "absent.toml cannot be read"),
        (["--dropout", "nan"], "dropout must be a finite number"),
        (["--threads", "257"], "threads must be at most"),
        (["--batch-size", "1000000000000"], "batch_size must be at most .* Lower --batch-size"),
        (["--optimizer", "sgd"], "optimizer must be one of muon, adamw"),
        (["--d-model", "50"], "d_model must be a multiple of n_heads"),
        (["--context-length", "1000000"], "one window of 1000000"),
        (["--resume", "absent"], "absent holds no run"),
    ],
)
def test_mistakes_are_answered_by_a_line(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert refused(call("train", *arguments), sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "no text"), (b"ab\xff", "byte 0xff at offset 2"), (b"short", "tokens")]
)
def test_texts_that_will_not_do_are_answered_by_a_line(tmp_path, content, sentence):
    (tmp_path / "text.txt").write_bytes(content)
    assert refused(call("train", "--text", tmp_path / "text.txt", "--run-dir", tmp_path / "run"), sentence)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_written_over_and_a_resumed_one_keeps_its_settings(trained):
    run, _ = trained
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert refused(
        call("train", "--text", run.parent, *SMALL, "--n-steps", 12, "--run-dir", run), "continue it with --resume"
    )
    assert refused(
        call("train", "--resume", run, "--lr", 0.1, "--preset", "tiny"), "--lr, --preset cannot go with --resume"
    )
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_a_wrong_type_in_a_file_is_answered_by_a_line(tmp_path):
    (tmp_path / "mine.toml").write_text('n_layers = "three"\n')
    # run-time shape enforcement would answer first, so this one runs outside it
    done = subprocess.run(
        [sys.executable, "-m", "fp_capstone.cli", "train", "--config", tmp_path / "mine.toml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "error: n_layers must be of type int, got 'three' of type str\n"


def test_models_that_will_not_do_are_answered_by_a_line(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(call("generate"), "no trained model under runs/")
    assert refused(call("generate", "absent"), "neither a model directory")
    assert refused(call("generate", trained[0], "--prompt", "Ünder"), "tokenizer does not know, for instance 'd'")
    assert refused(call("generate", trained[0], "--prompt", ""), "prompt is empty")
    assert refused(call("generate", trained[0], "--temperature", -1), r"--temperature must be 0 \(greedy\) or positive")
    assert refused(call("generate", trained[0], "--seed", -1), "--seed must be at least 0, got -1")
    assert refused(call("eval", trained[0], "--window", 14), r"window must lie in \[1, 13\]")
    for name, content in (("model.safetensors", b"foreign"), ("config.json", b'{"model_type": "bert"}')):
        copy = tmp_path / name
        copy.mkdir()
        for file in (trained[0] / "model").iterdir():
            (copy / file.name).write_bytes(content if file.name == name else file.read_bytes())
        assert refused(call("generate", copy), name)


def test_a_full_disk_is_answered_by_a_line(text, tmp_path):
    pytest.importorskip("resource")
    # files may grow to 64 KiB, which the weights of this model exceed
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536)); import fp_capstone.cli as cli; "
    )
    command = [sys.executable, "-c", script + "cli.main()", "train", *SMALL, "--text", text, "--d-model", "96"]
    done = subprocess.run([*command, "--n-steps", "4", "--run-dir", tmp_path / "run"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: File too large")
    assert len(done.stderr.splitlines()) == 1
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_resume(text, tmp_path, number, code):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "fp_capstone.cli", "train", *SMALL, "--text", text, "--n-steps", "100000"]
    process = subprocess.Popen([*command, "--run-dir", run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step      1/"):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == "stopping after this step (again to stop at once)\n"
    assert f"fp-capstone train --resume {run}" in out
    step = int(next((run / "checkpoints").iterdir()).name.removeprefix("step-"))
    result = call("train", "--resume", run, "--n-steps", step + 3)
    assert result.exit_code == 0, result.output
    assert f"{step + 3:,} steps" in result.stdout


def test_an_interruption_outside_a_command_is_answered_by_a_line(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(fp_capstone.cli, "app", interrupt)
    with pytest.raises(SystemExit) as caught:
        fp_capstone.cli.main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.parametrize("note", ["", "The last checkpoint is intact; continue with --resume one"])
def test_an_error_of_the_disk_names_the_whole_path_and_the_way_on(tmp_path, monkeypatch, note):
    def fail(*_, **__):
        error = OSError(errno.EACCES, "Permission denied", "runs")
        if note:
            error.add_note(note)
        raise error

    monkeypatch.setattr(fp_capstone.run, "train", fail)
    monkeypatch.chdir(tmp_path)
    sentence = note or "Nothing that was complete has been changed"
    assert refused(call("train"), re.escape(f"error: Permission denied: {tmp_path / 'runs'}. {sentence}"))


def test_missing_tensors_are_counted_after_the_fifth(trained, tmp_path):
    for file in (trained[0] / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_tensors(tmp_path / "model.safetensors", {"model.norm.weight": np.ones(12, np.float32)})
    result = call("generate", tmp_path)
    assert refused(result, r"and \d+ more")
    assert result.stderr.count("missing: ") == 5


def test_divergence_is_one_line_without_warnings(text, tmp_path):
    command = [sys.executable, "-m", "fp_capstone.cli", "train", *SMALL, "--text", text, "--run-dir", tmp_path / "run"]
    command += ["--n-steps", "60", "--lr", "1e30", "--optimizer", "adamw", "--schedule", "constant"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: training diverged in step")
    assert len(done.stderr.splitlines()) == 1


def test_help_says_once_where_the_defaults_come_from():
    text = " ".join(call("train", "--help").stdout.split())
    assert text.count("Defaults shown are those of the preset small") == 1
    assert "default: no such part" not in text


def test_the_commands_do_without_automatic_differentiation_and_help_does_without_numpy():
    script = "import sys, fp_capstone.cli; print('numpy' in sys.modules)\n"
    script += "import fp_capstone.run; print('fp_autograd' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
