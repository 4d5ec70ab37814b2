"""Mirrors src/fp_capstone/run.py."""

import csv
import errno
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import fp_capstone.run
from fp_capstone import Model
from fp_capstone.run import RunDirectory, evaluate_trained, load_trained, model_directory, newest_run, train
from fp_capstone.settings import Settings

SETTINGS = Settings(
    n_layers=1, n_heads=2, d_model=12, context_length=13, batch_size=3, n_steps=12, warmup=2,
    eval_every=5, sample_every=6, checkpoint_every=4, threads=2,
)  # fmt: skip


class Quiet:
    """An observer that remembers."""

    def __init__(self):
        self.notes, self.records, self.held_out = [], [], []

    def note(self, message):
        self.notes.append(message)

    def begin(self, n_steps, bits_per_nat):
        self.n_steps, self.bits_per_nat = n_steps, bits_per_nat

    def step(self, record, seconds_left):
        self.records.append(record)

    def evaluated(self, step, window, loss, bits):
        self.held_out.append((step, loss))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    rng = np.random.default_rng(17)
    path.write_text("".join(rng.choice(["the ", "cat ", "sat ", "on ", "mat.\n"]) for _ in range(400)))
    return path


@pytest.fixture
def settings(text, tmp_path, monkeypatch):
    monkeypatch.setattr(fp_capstone.run, "draw_losses", lambda *_: None)  # most of a short run's time
    return replace(SETTINGS, text=str(text), run_dir=str(tmp_path / "run"))


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    observer = Quiet()
    path = tmp_path_factory.mktemp("finished") / "run"
    run, report = train(replace(SETTINGS, text=str(text), run_dir=str(path)), observer)
    return run, report, observer


def losses_of(run):
    return [(row["step"], row["train_loss"], row["held_out_loss"]) for row in run.metrics()]


def test_a_run_leaves_everything_behind(finished):
    run, report, observer = finished
    names = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    checkpoint = "checkpoints/step-00000012"
    expected = {"settings.toml", "metrics.csv", "report.json", "report.txt"}
    expected |= {"samples/step-00000006.txt", "samples/step-00000012.txt"}
    expected |= {
        f"{d}/{f}" for d in (checkpoint, "model") for f in ("config.json", "model.safetensors", "tokenizer.json")
    }
    expected |= {f"{checkpoint}/training.safetensors", f"{checkpoint}/state.json"}
    assert names - {"loss.svg"} == expected  # the picture needs matplotlib
    assert [row["step"] for row in run.metrics()] == [str(i) for i in range(13)]
    assert [step for step, _ in observer.held_out] == [0, 5, 10, 12]
    assert run.settings.n_steps == 12
    data = json.loads((run.path / "report.json").read_text())
    assert data["loss"] == report.loss
    assert data["tokens"] == 12 * 3 * 13


def test_the_table_begins_before_training_and_ends_with_the_reported_loss(finished):
    run, report, _ = finished
    scored = [row for row in run.metrics() if row["held_out_loss"]]
    assert [row["step"] for row in scored] == ["0", "5", "10", "12"]
    assert scored[0]["train_loss"] == ""
    # 1e-6: six digits are written
    assert float(scored[-1]["held_out_loss"]) == pytest.approx(report.loss, abs=1e-6)
    assert float(scored[-1]["bits_per_byte"]) == pytest.approx(report.bits_per_byte(report.loss), abs=1e-6)


def test_the_closing_evaluation_in_the_full_window_is_a_row(settings):
    run, report = train(replace(settings, short_window=7, short_share=1.0), Quiet())
    last, closing = run.metrics()[-2:]
    assert [(row["step"], row["window"]) for row in (last, closing)] == [("12", "7"), ("12", "13")]
    assert closing["train_loss"] == ""
    # 1e-6: six digits are written
    assert float(closing["held_out_loss"]) == pytest.approx(report.loss, abs=1e-6)
    n_rows = len(run.metrics())
    train(run.settings, Quiet(), resume=run)
    assert len(run.metrics()) == n_rows  # written once


def test_the_final_model_writes_a_sample(settings):
    run, _ = train(replace(settings, n_steps=11), Quiet())
    assert sorted(p.name for p in (run.path / "samples").iterdir()) == ["step-00000006.txt", "step-00000011.txt"]


def test_the_window_is_named_with_the_loss_to_beat_and_the_lowest(settings, monkeypatch):
    observer = Quiet()
    evaluate = fp_capstone.run.evaluate
    monkeypatch.setattr(  # a loss that rises
        fp_capstone.run, "evaluate", lambda *a, **k: evaluate(*a, **k) + len(observer.records)
    )
    train(settings, observer)
    for words in (r"to beat: .*windows of 13\)", "held-out loss in windows of 13 was lowest"):
        assert any(re.search(words, note) for note in observer.notes), words


def test_the_loss_begins_near_that_of_equal_probabilities(finished):
    run, _, observer = finished
    vocabulary = load_trained(run.path)[1].vocab_size
    # 0.5: untrained logits are small, not zero
    assert observer.held_out[0][1] == pytest.approx(np.log(vocabulary), abs=0.5)
    assert observer.held_out[-1][1] < observer.held_out[0][1]


def test_the_final_model_is_the_one_that_was_reported(finished):
    run, report, _ = finished
    again = evaluate_trained(run.path, None)
    # 1e-6: batches and threads may differ, so float32 sums are ordered otherwise
    assert again.loss == pytest.approx(report.loss, abs=1e-6)
    assert [row.loss for row in again.baselines] == [row.loss for row in report.baselines]
    assert again.sha256 == report.sha256


def test_a_stopped_run_resumes_to_the_same_losses(finished, settings):
    observer = Quiet()
    run, report = train(settings, observer, stop=lambda: len(observer.records) == 7)
    assert report is None
    assert [p.name for p in run.checkpoints()] == ["step-00000007"]
    run, report = train(settings, Quiet(), resume=run)
    assert losses_of(run) == losses_of(finished[0])
    assert report.loss == finished[1].loss
    for name in ("model.safetensors", "tokenizer.json"):
        assert (run.path / "model" / name).read_bytes() == (finished[0].path / "model" / name).read_bytes()


def test_rows_after_the_checkpoint_are_cut_and_computed_again(finished, settings):
    class Killed(Exception):
        pass

    def step(record, seconds_left):
        if record.step == 10:
            raise Killed  # after its row was written, two steps after the last checkpoint

    observer = Quiet()
    observer.step = step
    with pytest.raises(Killed):
        train(settings, observer)
    run = RunDirectory(settings.run_dir)
    assert run.metrics()[-1]["step"] == "10"
    with (run.path / "metrics.csv").open("a") as file:
        file.write("11,429,")  # the process died while it wrote a row
    run, _ = train(settings, Quiet(), resume=run)
    assert losses_of(run) == losses_of(finished[0])


def test_a_longer_run_may_follow(settings):
    run, _ = train(replace(settings, schedule="constant"), Quiet())
    longer = replace(settings, schedule="constant", n_steps=17)
    run, report = train(longer, Quiet(), resume=run)
    assert run.metrics()[-1]["step"] == "17"
    assert run.settings.n_steps == 17
    assert report is not None


def test_a_finished_run_that_goes_on_is_known_by_its_newest_checkpoint(settings):
    run, _ = train(replace(settings, schedule="constant"), Quiet())
    assert model_directory(run.path) == run.path / "model"
    before = (run.path / "model" / "model.safetensors").read_bytes()
    train(run.settings, Quiet(), resume=run)  # no step is left
    assert (run.path / "model" / "model.safetensors").read_bytes() == before
    observer = Quiet()
    train(replace(run.settings, n_steps=17), observer, resume=run, stop=lambda: len(observer.records) == 2)
    assert model_directory(run.path) == run.path / "checkpoints" / "step-00000014"
    assert not any((run.path / name).exists() for name in ("model", "report.json", "report.txt"))
    train(replace(run.settings, n_steps=17), Quiet(), resume=run)
    assert json.loads((run.path / "report.json").read_text())["steps"] == 17
    assert model_directory(run.path) == run.path / "model"


def test_fewer_steps_than_were_done_are_refused(finished):
    run = finished[0]
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    with pytest.raises(
        ValueError, match=r"n_steps must be at least 12, the step of the newest checkpoint in .*; got 11"
    ):
        train(replace(run.settings, n_steps=11), Quiet(), resume=run)
    assert before == {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def test_a_run_that_ended_before_its_first_save_begins_again(finished, settings):
    class Killed(Exception):
        pass

    def step(record, seconds_left):
        if record.step == 3:
            raise Killed  # the first checkpoint is that of step 4

    observer = Quiet()
    observer.step = step
    with pytest.raises(Killed):
        train(settings, observer)
    run = RunDirectory(settings.run_dir)
    assert run.checkpoints() == []
    train(run.settings, Quiet(), resume=run)
    assert losses_of(run) == losses_of(finished[0])


def test_time_ends_a_run_with_a_report(settings):
    run, report = train(replace(settings, n_steps=100_000, seconds=0.5), Quiet())
    assert 0 < int(run.metrics()[-1]["step"]) < 100_000
    assert report is not None


def test_standard_input_is_kept_so_that_the_run_can_resume(settings, text, monkeypatch):
    with text.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        run, _ = train(replace(settings, text="-"), Quiet(), stop=lambda: True)
    assert run.settings.text == str(run.path / "text.txt")
    moved = run.path.rename(run.path.with_name("moved"))
    assert 'text = "text.txt"' in (moved / "settings.toml").read_text()
    run = RunDirectory(moved)
    assert train(run.settings, Quiet(), resume=run)[1] is not None
    assert 'text = "text.txt"' in (moved / "settings.toml").read_text()


def test_a_run_resumes_from_another_working_directory(settings, text, tmp_path, monkeypatch):
    monkeypatch.chdir(text.parent)
    run, _ = train(replace(settings, text=text.name), Quiet(), stop=lambda: True)
    monkeypatch.chdir(tmp_path)
    assert run.settings.text == str(text)
    assert train(run.settings, Quiet(), resume=run)[1] is not None


def test_a_directory_with_a_run_is_never_written_over(settings):
    train(settings, Quiet(), stop=lambda: True)
    before = {p: p.read_bytes() for p in RunDirectory(settings.run_dir).path.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="already holds a run; continue it with --resume"):
        train(settings, Quiet())
    assert before == {p: p.read_bytes() for p in RunDirectory(settings.run_dir).path.rglob("*") if p.is_file()}


def test_a_directory_with_anything_else_is_left_alone(settings, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not an empty directory"):
        train(settings, Quiet())
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"d_model": 13}, "d_model must be a multiple of n_heads"),
        ({"context_length": 1000}, "the held-out part of .* has .* tokens"),
        ({"text": "absent.txt"}, "no file or folder"),
        ({"batch_size": 10**12}, r"batch_size must be at most \d+, got 1,000,000,000,000: .* training text has \d+"),
        ({"threads": 257}, "threads must be at most .* got 257"),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(settings, tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(replace(settings, **change), Quiet())
    assert not (tmp_path / "run").exists()


def test_a_text_that_has_changed_is_refused_on_resumption(settings, tmp_path, text):
    copy = tmp_path / "copy.txt"
    copy.write_text(text.read_text())
    settings = replace(settings, text=str(copy))
    run, _ = train(settings, Quiet(), stop=lambda: True)
    copy.write_text(text.read_text() + "more")
    with pytest.raises(ValueError, match="has changed since"):
        train(settings, Quiet(), resume=run)


@pytest.mark.parametrize("name", ["training.safetensors", "model.safetensors", "state.json", "config.json"])
def test_a_truncated_checkpoint_is_named(settings, name):
    run, _ = train(settings, Quiet(), stop=lambda: True)
    file = run.checkpoints()[-1] / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        train(settings, Quiet(), resume=run)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "state of a training run but list"),
        ("{}", "state of a training run: no 'sha256'"),
        ('{"sha256": "0", "trainer": {"step": "two"}}', "state of a training run"),
    ],
)
def test_a_foreign_state_is_named(settings, content, sentence):
    run, _ = train(settings, Quiet(), stop=lambda: True)
    (run.checkpoints()[-1] / "state.json").write_text(content)
    with pytest.raises(ValueError, match=rf"state\.json does not hold the {sentence}"):
        train(settings, Quiet(), resume=run)


def test_the_checkpoint_of_another_model_is_named(settings):
    run, _ = train(settings, Quiet(), stop=lambda: True)
    file = run.path / "settings.toml"
    file.write_text(file.read_text().replace("d_model = 12", "d_model = 16"))
    with pytest.raises(ValueError, match=r"config\.json is not the model of the settings in"):
        train(run.settings, Quiet(), resume=run)


@pytest.mark.parametrize("change", [{"order": None}, {"order": np.array([10**6])}, {"adamw/step": None}])
def test_a_foreign_training_state_is_named(settings, change):
    run, _ = train(settings, Quiet(), stop=lambda: True)
    directory, tensors, _ = run.load_checkpoint()
    changed = {name: array for name, array in (tensors | change).items() if array is not None}
    if "order" not in change:
        changed = {"order": tensors["order"]}
    fp_capstone.run.save_tensors(directory / "training.safetensors", changed)
    with pytest.raises(ValueError, match=r"training\.safetensors does not hold the state of this training run"):
        train(settings, Quiet(), resume=run)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [('preset = "tiny"\n', "names a preset"), ("batch_size = 0\n", "batch_size must be at least 1")],
)
def test_foreign_settings_of_a_run_are_named(settings, line, sentence):
    run, _ = train(settings, Quiet(), stop=lambda: True)
    file = run.path / "settings.toml"
    file.write_text(file.read_text().replace("batch_size = 3\n", line))
    with pytest.raises(ValueError, match=rf"settings\.toml .*{sentence}"):
        _ = run.settings
    with pytest.raises(ValueError, match=rf"settings\.toml .*{sentence}"):
        evaluate_trained(run.path, None)


@pytest.mark.parametrize("damage", [b"thesis,by me\n1,2\n", b"\xff\xfe\n", None])
def test_a_damaged_table_is_not_wiped(settings, damage):
    run, _ = train(settings, Quiet(), stop=lambda: True)
    file = run.path / "metrics.csv"
    file.write_bytes(damage or file.read_bytes() + b"two,2\n")
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged"):
        train(settings, Quiet(), resume=run)
    assert before == {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def test_an_error_of_the_disk_during_setup_names_the_run(settings, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fp_capstone.run, "ngram_losses", fail)
    with pytest.raises(OSError, match="error") as caught:
        train(settings, Quiet())
    assert caught.value.__notes__ == [
        f"The run {settings.run_dir} has no checkpoint yet; --resume {settings.run_dir} begins it again"
    ]


def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(finished, settings, monkeypatch):
    save = fp_capstone.run.save_tensors

    def full(path, tensors, metadata=None):
        if (path.parent.parent / "step-00000004").exists():  # the second save
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        save(path, tensors, metadata)

    monkeypatch.setattr(fp_capstone.run, "save_tensors", full)
    with pytest.raises(OSError, match="No space left") as caught:
        train(settings, Quiet())
    assert caught.value.__notes__ == [f"The last checkpoint is intact; continue with --resume {settings.run_dir}"]
    run = RunDirectory(settings.run_dir)
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["step-00000004"]
    monkeypatch.undo()
    train(settings, Quiet(), resume=run)
    assert losses_of(run) == losses_of(finished[0])


SAVER = """
import sys, os
import numpy as np
from fp_capstone.model import Model
from fp_capstone.run import RunDirectory
from fp_transformer.config import TransformerConfig

run = RunDirectory(sys.argv[1])
config = TransformerConfig.llama(vocab_size=97, context_length=31, n_layers=2, n_heads=2, d_model=64)
model = Model(config, np.random.default_rng(0))
FILES = ["config.json", "model.safetensors", "state.json", "training.safetensors"]

def save(step):
    model.parameters()["model.norm.weight"][:] = step
    run.save_checkpoint(step, model.save, {"order": np.full(100_003, step)}, {"step": step})

first = 1 + max([int(p.name.split("-")[1]) for p in run.checkpoints()], default=0)
"""

ENDLESS = (
    SAVER
    + """
for step in range(first, 10**6):
    save(step)
"""
)

EVERY_POINT = (
    SAVER
    + """

def counted(function, calls):
    def wrapper(*args, **kwargs):
        calls[0] -= 1
        if calls[0] == 0:
            os._exit(9)
        return function(*args, **kwargs)
    return wrapper

save(first)
step = first
for point in range(1, 1000):
    step += 1
    child = os.fork()
    if child == 0:
        calls = [point]
        for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
            setattr(os, name, counted(getattr(os, name), calls))
        save(step)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tensors, state = run.load_checkpoint()[1:]
    norm = Model.load(run.checkpoints()[-1]).parameters()["model.norm.weight"]
    there = state["step"]
    assert there in (step - 1, step) if code else there == step, (point, code, there)
    assert (tensors["order"] == there).all() and (norm == there).all(), point
    for path in run.checkpoints():
        assert sorted(p.name for p in path.iterdir()) == FILES, point
    if code == 0:
        print(point)
        break
    step = there
"""
)


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(replace(SETTINGS, run_dir=str(tmp_path / "run")), "run")


@pytest.mark.claim("capstone.checkpoint-atomic")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_death_at_any_call_to_the_system_leaves_a_readable_checkpoint(run):
    done = subprocess.run([sys.executable, "-c", EVERY_POINT, run.path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15  # so many places to die were tried


@pytest.mark.claim("capstone.checkpoint-atomic")
def test_kill_9_in_the_middle_of_saving_leaves_a_readable_checkpoint(run):
    rng = np.random.default_rng(23)
    for _ in range(4):
        before = len(run.checkpoints()) and int(run.checkpoints()[-1].name.split("-")[1])
        process = subprocess.Popen([sys.executable, "-c", ENDLESS, run.path])
        while not (run.checkpoints() and int(run.checkpoints()[-1].name.split("-")[1]) > before):
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        directory, tensors, state = run.load_checkpoint()
        assert (tensors["order"] == state["step"]).all()
        assert (Model.load(directory).parameters()["model.norm.weight"] == state["step"]).all()


def test_metrics_are_plain_csv(finished):
    with (finished[0].path / "metrics.csv").open() as file:
        rows = list(csv.reader(file))
    assert len({len(row) for row in rows}) == 1
    assert rows[0][:2] == ["step", "tokens"]


def test_the_newest_run_and_its_model_are_found(finished, tmp_path):
    with pytest.raises(ValueError, match="no trained model under"):
        newest_run(tmp_path)
    run = finished[0].path
    assert newest_run(run.parent) == run
    assert model_directory(run) == run / "model"
    assert model_directory(run / "model") == run / "model"
    with pytest.raises(ValueError, match="neither a model directory"):
        model_directory(tmp_path)


def test_a_folder_without_settings_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        RunDirectory(tmp_path)


def test_a_run_without_a_checkpoint_has_nothing_to_resume(run):
    with pytest.raises(ValueError, match="no checkpoint yet"):
        run.load_checkpoint()


def test_a_text_with_unknown_characters_or_a_window_too_long_is_refused(finished, tmp_path):
    (tmp_path / "other.txt").write_text("Ünknown!" * 40)
    with pytest.raises(ValueError, match="characters that the model's tokenizer does not know, for instance '!', 'k'"):
        evaluate_trained(finished[0].path, str(tmp_path / "other.txt"))
    with pytest.raises(ValueError, match=r"window must lie in \[1, 13\]"):
        evaluate_trained(finished[0].path, None, window=14)


def test_without_matplotlib_a_run_goes_on(text, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    observer = Quiet()
    run, report = train(replace(SETTINGS, text=str(text), run_dir=str(tmp_path / "run")), observer)
    assert report is not None
    assert not (run.path / "loss.svg").exists()
    assert sum("fp-capstone[plot]" in note for note in observer.notes) == 1  # said once, not at every checkpoint
