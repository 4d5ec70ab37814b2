import json

import numpy as np
import pytest
from typer.testing import CliRunner

from fp_peft.cli import app
from fp_peft.interchange import load_adapter
from fp_tokenize import ByteTokenizer
from fp_transformer.checkpoint import load, save


@pytest.fixture
def folder(small, tmp_path):
    model = small("llama", np.float32, vocab_size=260, context_length=32)
    save(model, tmp_path / "base", ByteTokenizer(["<|endoftext|>"]))
    (tmp_path / "base" / "generation_config.json").write_text('{"eos_token_id": 256}')
    records = [{"prompt": f"{i}: ", "completion": "yes"} for i in range(12)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "other.txt").write_text("no " * 60)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def tune(folder, *options):
    return run("finetune", folder / "base", "--data", folder / "data.jsonl", "--out", folder / "out", "-q",
               "--steps", 8, "--rank", 2, "--lr", 0.03, *options)  # fmt: skip


def test_from_a_file_to_an_adapter_and_a_merged_model(folder):
    done = tune(folder, "--merge", "--also", folder / "other.txt", "--alpha", 6)
    assert done.exit_code == 0, done.output
    report = json.loads((folder / "out" / "finetune.json").read_text())
    assert report["held_out_loss"]["after"] < report["held_out_loss"]["before"]
    assert f"after   {report['held_out_loss']['after']:.4f} nats" in done.output and "before" in done.output
    assert report["other_loss"]["before"] != report["other_loss"]["after"]
    assert len((folder / "out" / "metrics.csv").read_text().splitlines()) == 9
    ids = np.array([[50, 58, 32]])
    tuned = load_adapter(load(folder / "base"), folder / "out" / "adapter")
    merged = load(folder / "out" / "model")
    np.testing.assert_allclose(merged(ids).data, tuned(ids).data, atol=1e-4)  # float32
    assert (folder / "out" / "model" / "generation_config.json").is_file()
    told = run("evaluate", folder / "out" / "model", "--data", folder / "data.jsonl").output
    assert f"{report['held_out_loss']['after']:.3f}" in told
    again = run("evaluate", folder / "base", "--data", folder / "data.jsonl", "--adapter", folder / "out" / "adapter")
    assert again.output.split()[0][:5] == told.split()[0][:5]
    assert run("merge", folder / "base", folder / "out" / "adapter", "--out", folder / "m").exit_code == 0
    np.testing.assert_array_equal(load(folder / "m")(ids).data, merged(ids).data)


@pytest.mark.parametrize("method", ["full", "prefix", "prompt", "adapter"])
def test_the_other_methods(folder, method):
    done = tune(folder, "--method", method)
    assert done.exit_code == 0, done.output
    assert (folder / "out" / ("model" if method == "full" else "adapter")).is_dir()
    if method != "full":
        assert (
            run(
                "evaluate", folder / "base", "--data", folder / "data.jsonl", "--adapter", folder / "out/adapter"
            ).exit_code
            == 0
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "prefix", "--merge"], "cannot be merged"),
        (["--method", "full", "--alpha", "3"], "say nothing to --method full"),
        (["--target", "query"], "targets are linear layers"),
        (["--length", "99"], "between 1 and the 32 positions"),
        (["--rank", "0"], "rank is at least 1"),
        (["--rank", "99"], "a rank of 99 is more than"),
        (["--rank", "32", "--method", "prompt"], "leaves none of the 32 positions"),
        (["--limit", "0"], "limit counts held-out tokens"),
        (["--held-out", "other.txt"], "both are .jsonl"),
        (["--method", "full", "--lr", "1e30", "--steps", "20"], "the loss is not a number"),
        (["--held-out", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_a_mistake_is_one_line(folder, options, message):
    done = tune(folder, *options)
    assert done.exit_code == 1 and message in done.output and len(done.output.strip().splitlines()) == 1
    assert not (folder / "out").exists()


def test_a_place_that_cannot_be_written_is_told_before_the_work(folder, monkeypatch):
    monkeypatch.setattr("fp_peft.finetune.fine_tune", lambda *_, **__: pytest.fail("work that would be lost"))
    done = run("finetune", folder / "base", "--data", folder / "data.jsonl", "--out", folder / "other.txt" / "x", "-q")
    assert done.exit_code == 1 and "Not a directory" in done.output


def test_what_is_cut_is_told(folder):
    done = tune(folder, "--length", 3)
    assert done.exit_code == 0 and "12 examples of" in done.output and "longer than 4 tokens" in done.output
    assert run("evaluate", folder / "base", "--data", folder / "data.jsonl", "--batch-size", 0).exit_code == 1


def test_nothing_is_overwritten_and_no_model_is_told(folder, monkeypatch):
    (folder / "out").mkdir()
    (folder / "out" / "mine").write_text("x")
    assert "exists and is not empty" in tune(folder).output
    monkeypatch.setenv("FP_CAPSTONE_CACHE", str(folder))
    for name, message in (
        ("nowhere", "there is no model at nowhere"),
        ("smollm2", "fp-capstone fetch smollm2"),
        (folder, "is no model"),
        (folder / "other.txt", "name its directory"),
    ):
        done = run("evaluate", name, "--data", folder / "data.jsonl")
        assert done.exit_code == 1 and message in done.output
    (folder / "base" / "tokenizer.json").unlink()
    assert "no tokenizer.json" in run("evaluate", folder / "base", "--data", folder / "data.jsonl").output
