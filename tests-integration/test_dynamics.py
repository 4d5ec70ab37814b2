"""Stage 8 on the capstone: its runs, its model with gradients written by hand, and what both engines say of it."""

import threading

import numpy as np
import pytest
from typer.testing import CliRunner

from fp_capstone.model import Model
from fp_capstone.run import RunDirectory, train
from fp_capstone.settings import resolve_settings
from fp_dynamics.cli import app
from fp_dynamics.history import RunHistory
from fp_dynamics.lr_range import lr_range_test
from fp_dynamics.recorder import Recorder, loss_and_gradients, named_arrays
from fp_dynamics.sanity import check_initialization, first_nonfinite, overfit_one_batch
from fp_optim import AdamW
from fp_transformer import Transformer, TransformerConfig
from fp_transformer.checkpoint import from_arrays

SIZES = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16, "batch_size": 4, "threads": 1, "warmup": 3}


class Silent:
    """An observer of a run that watches with a history of its own, as another process would."""

    def __init__(self, path):
        self.path, self.history, self.seen = path, None, []

    def note(self, message): ...

    def begin(self, n_steps, bits_per_nat): ...

    def evaluated(self, step, window, loss, bits): ...

    def step(self, record, seconds_left):
        if self.history is None:
            self.history = RunHistory(self.path)
        self.history.refresh()
        self.seen.append((record.step, self.history.records[-1]))
        assert self.history.records[-1]["loss"] == pytest.approx(record.loss, abs=1e-6)  # six decimals are written
        assert self.history.records[-1]["grad_norm"] == pytest.approx(record.grad_norm, rel=1e-3)  # and four digits


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was stopped, resumed from its checkpoint and finished, while a history followed it."""
    path = tmp_path_factory.mktemp("runs") / "small"
    text = tmp_path_factory.mktemp("texts") / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog; " * 400)
    settings = resolve_settings(
        SIZES | {"n_steps": 30, "eval_every": 10, "sample_every": 100, "checkpoint_every": 10}
        | {"run_dir": str(path), "text": str(text), "tokenizer": "chars"}
    )  # fmt: skip
    observer = Silent(path)
    calls = []
    train(settings, observer, stop=lambda: calls.append(1) or len(calls) > 14)
    assert observer.history.records[-1]["step"] < 30
    train(settings, observer, resume=RunDirectory(path))
    return path, observer


def test_a_history_follows_a_run_step_by_step_through_a_stop(run):
    path, observer = run
    assert [step for step, _ in observer.seen][-1] == 30
    observer.history.refresh()
    again = RunHistory(path)
    assert again.records == observer.history.records
    assert again.steps.tolist() == list(range(31))
    assert again.curve("held_out_loss")[0].tolist() == [0, 10, 20, 30]
    assert again.vocab_size >= 28 and set(again.baselines) >= {"1-gram"}
    assert again.settings["d_model"] == 16


def test_the_commands_answer_a_real_run(run):
    path, _ = run
    result = CliRunner().invoke(app, ["report", str(path)])
    assert result.exit_code == 0, result.output
    page = (path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4 and "1-gram" in page and "ln V" in page
    result = CliRunner().invoke(app, ["doctor", str(path)])
    assert result.exit_code == 0 and result.stdout


def test_reading_while_another_thread_writes(tmp_path):
    """No reader ever sees half a row as a row."""
    (tmp_path / "settings.toml").write_text("")
    done = threading.Event()

    def write():
        with (tmp_path / "metrics.csv").open("w", buffering=1) as file:
            file.write("step,train_loss\n")
            for i in range(2000):
                file.write(f"{i},")
                file.write(f"{i / 7:.6f}\n")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    history, n = RunHistory(tmp_path), 0
    while True:
        ended = done.is_set()
        history.refresh()
        assert len(history.records) >= n
        n = len(history.records)
        if ended:
            break
    writer.join()
    np.testing.assert_allclose(history.column("loss"), np.arange(2000) / 7, atol=1e-6)  # as written


@pytest.fixture(params=["llama", "gpt2"])
def models(request):
    """The same weights in both engines, and a batch."""
    sizes = {"vocab_size": 13, "context_length": 8, "n_layers": 2, "n_heads": 2, "d_model": 12}
    config = getattr(TransformerConfig, request.param)(**sizes)
    capstone = Model(config, np.random.default_rng(0), np.float64)
    other = Transformer(config, dtype=np.float64)
    from_arrays(other, capstone.parameters())
    rows = np.random.default_rng(1).integers(0, 13, (4, 9))
    return capstone, other, rows[:, :-1], rows[:, 1:]


def test_both_engines_are_recorded_alike(models):
    capstone, other, ids, targets = models
    records = []
    for model in (capstone, other):
        recorder = Recorder(model, AdamW(named_arrays(model), lr=1e-2))
        for _ in range(3):
            recorder.observe(ids)
            loss, grads = loss_and_gradients(model, ids, targets)
            recorder.step(loss, grads)
        records.append(recorder.records)
    for mine, theirs in zip(*records, strict=True):
        # two gradients in float64, and steps of AdamW that divide by their size
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-7)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-6)
        llama = any("mlp.gate_proj" in layer for layer in mine["layers"])
        blocks, mlp = ("model.layers", "mlp") if llama else ("transformer.h", "mlp")
        for i in range(2):
            bend, same = mine["layers"][f"{blocks}.{i}.{mlp}"], theirs["layers"][f"blocks.{i}.feedforward"]
            assert bend["activation"] == same["activation"] == ("silu" if llama else "gelu")
            assert bend["activation_std"] == pytest.approx(same["activation_std"], rel=1e-6)
            assert mine["layers"][f"{blocks}.{i}"]["output_rms"] == pytest.approx(
                theirs["layers"][f"blocks.{i}"]["output_rms"], rel=1e-6
            )
        down = "mlp.down_proj" if llama else "mlp.c_proj"
        for key in ("weight_norm", "grad_norm", "update_ratio"):
            assert mine["layers"][f"{blocks}.1.{down}"][key] == pytest.approx(
                theirs["layers"]["blocks.1.feedforward.down_proj"][key], rel=1e-5
            )


def test_the_checks_work_on_the_capstones_model(models):
    capstone, _, ids, targets = models
    before = {name: a.copy() for name, a in capstone.parameters().items()}
    assert check_initialization(capstone, ids, targets).ok
    assert first_nonfinite(capstone, ids, targets) is None
    result = overfit_one_batch(capstone, ids, targets, lr=2e-2, n_steps=150)
    assert result.reached and not result.leak
    assert lr_range_test(capstone, lambda: (ids, targets), n_steps=40).suggestion > 1e-4
    for name, a in capstone.parameters().items():
        np.testing.assert_array_equal(a, before[name])
    for name, a in capstone.parameters().items():
        if ".1.mlp." in name and a.ndim == 2:
            a *= 1e200
    found = first_nonfinite(capstone, ids, targets)
    assert found.phase == "forward" and found.layer.startswith("blocks.1.feedforward")
    capstone.parameters()[name][..., 0] = np.nan
    assert str(first_nonfinite(capstone, ids, targets)) == f"weights: {name} holds a NaN"
