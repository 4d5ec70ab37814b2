"""Mirrors src/fp_align/cli.py."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from fp_align import directories
from fp_align.cli import app
from fp_align.task import write_lines
from fp_tokenize.characters import CharTokenizer
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

TEXT = "".join(
    f"{a} {b} cat {c} on a mat{m}\n" for a in ("there", "a") for b in "xyzw" for c in "abcdefghijkl" for m in ".,"
)


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200", "TERM": "dumb"})


def refused(result, sentence):
    """A mistake is one line on the standard error, without a traceback, and the exit code says so."""
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and re.search(sentence, lines[0]), result.stderr
    assert "Traceback" not in result.output
    return True


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    (path / "text.txt").write_text(TEXT)
    tokenizer = CharTokenizer.train([TEXT])
    config = TransformerConfig.llama(
        vocab_size=tokenizer.vocab_size, context_length=40, n_layers=1, n_heads=2, d_model=8
    )
    directories.save_model(Transformer(config, rng=np.random.default_rng(0)), tokenizer, path / "model")
    prompts = ["there x ", "a y cat ", "a z "]
    write_lines(path / "demonstrations.jsonl", [{"prompt": x, "response": "cat a.\n"} for x in prompts])
    write_lines(path / "pairs.jsonl", [{"prompt": x, "chosen": "a.\n", "rejected": "e"} for x in prompts])
    write_lines(path / "prompts.jsonl", [{"prompt": x} for x in prompts])
    return path


@pytest.fixture(scope="module")
def steps(folder):
    few = ("--steps", 2, "--batch-size", 2)
    return {
        "sft": call("sft", folder / "model", "--data", folder / "demonstrations.jsonl", "--out", folder / "sft", *few),
        "reward": call("reward", folder / "sft", "--data", folder / "pairs.jsonl", "--out", folder / "reward", *few),
        "dpo": call("dpo", folder / "sft", "--data", folder / "pairs.jsonl", "--out", folder / "dpo", *few),
        "ppo": call(
            "ppo", folder / "sft", "--reward", folder / "reward", "--prompts", folder / "prompts.jsonl", "--out",
            folder / "ppo", "--max-new-tokens", 5, *few,
        ),
    }  # fmt: skip


def test_each_step_says_what_came_of_it(folder, steps):
    for name, result in steps.items():
        assert result.exit_code == 0, result.output
        assert str(folder / name) in result.stdout and (folder / name / "model.safetensors").exists()
    assert "nats per token before" in steps["sft"].stdout
    assert "0.693 is guessing" in steps["reward"].stdout
    assert "loss 0.693 before" in steps["dpo"].stdout
    assert "nats from the reference" in steps["ppo"].stdout


def test_evaluation_shows_a_table_and_samples(folder, steps):
    common = ("--reference", folder / "sft", "--prompts", folder / "prompts.jsonl", "--text", folder / "text.txt")
    common += ("--max-new-tokens", 5, "--reward", folder / "reward")
    result = call("evaluate", folder / "dpo", folder / "ppo", *common)
    assert result.exit_code == 0, result.output
    for words in (
        "3 prompts, games against sft",
        "95% interval",
        "KL, nats",
        "gold reward",
        "learned reward",
        "dpo",
        "ppo",
    ):
        assert words in result.stdout
    assert result.stdout.count("there x ") == 1
    assert len(re.findall(r"\d% to \d+\.\d%", result.stdout)) == 2  # intervals stand on one line
    rows = json.loads(call("evaluate", folder / "dpo", *common, "--json").stdout)
    assert rows[0]["name"] == "dpo" and len(rows[0]["responses"]) == 3 and rows[0]["kl"]["sum"]["mean"] >= 0


def test_nothing_is_overwritten(folder, steps):
    for name, data in (("sft", "demonstrations"), ("reward", "pairs"), ("dpo", "pairs")):
        assert refused(
            call(name, folder / "model", "--data", folder / f"{data}.jsonl", "--out", folder / "sft"),
            "nothing is overw",
        )


def test_mistakes_are_answered_in_one_line(folder, steps, tmp_path):
    out = ("--out", tmp_path / "out")
    assert refused(call("sft", folder / "no", "--data", folder / "pairs.jsonl", *out), "is no directory")
    assert refused(call("sft", folder / "model", "--data", folder / "pairs.jsonl", *out), "line 1 .* lacks response")
    assert refused(call("sft", folder / "model", "--data", folder / "none.jsonl", *out), "No such file .*none.jsonl")
    assert refused(call("dpo", folder / "model", "--data", folder / "pairs.jsonl", *out, "--beta", 0), "beta")
    wrong = ("ppo", folder / "sft", "--prompts", folder / "prompts.jsonl", *out, "--reward")
    assert refused(call(*wrong, folder / "sft"), "no reward model")
    assert refused(call(*wrong, folder / "reward", "--max-new-tokens", 99), "do not fit into the context of 40")
    write_lines(tmp_path / "strange.jsonl", [{"prompt": "Ω", "response": "x"}])
    assert refused(call("sft", folder / "model", "--data", tmp_path / "strange.jsonl", *out), "cannot write a prompt")
    assert refused(call("pipeline", folder / "model", *out, "--text", folder / "text.txt"), "context of 64")
    huge = call("sft", folder / "model", "--data", folder / "demonstrations.jsonl", *out, "--lr", 1e30, "--steps", 5)
    assert refused(huge, "lower the learning rate")
    write_lines(tmp_path / "one.jsonl", [{"prompt": "a "}])
    evaluation = ("evaluate", folder / "sft", "--reference", folder / "sft", "--prompts", tmp_path / "one.jsonl")
    assert refused(call(*evaluation, "--text", folder / "text.txt"), "standard errors take two")
    assert refused(
        call("sft", folder / "model", "--data", folder / "prompts.jsonl", "--out", folder / "text.txt" / "x"),
        "is a file",
    )
    (tmp_path / "empty.jsonl").touch()
    assert refused(call("sft", folder / "model", "--data", tmp_path / "empty.jsonl", *out), "each line of a data file")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("command", "most"), [("sft", 41), ("reward", 40), ("dpo", 41)])
def test_examples_that_do_not_fit_are_refused_before_the_first_step(folder, tmp_path, command, most):
    for length in (most, most + 1):  # with a context of 40; the last token is predicted and, but for a score, not read
        long = "a" * (length - 3)
        rows = [{"prompt": "a z", "response": "a", "chosen": "a", "rejected": "b"}] * 30
        rows.append({"prompt": "a z", "response": long, "chosen": "b", "rejected": long})
        write_lines(tmp_path / "data.jsonl", rows)
        result = call(
            command, folder / "model", "--data", tmp_path / "data.jsonl", "--out", tmp_path / str(length), "--steps", 1
        )
        if length == most:
            assert result.exit_code == 0, result.output
        else:
            assert refused(result, f"example 31 has {length} tokens, .* the model takes {most}")


def test_a_reward_model_of_another_vocabulary_is_refused(folder, steps, tmp_path):
    _, tokenizer = directories.open_model(folder / "sft")
    characters = sorted(set(tokenizer.alphabet) - {"x"} | {"Q"})  # as many, and other ids
    other = CharTokenizer(characters)
    scorer, _ = directories.open_reward(folder / "reward")
    directories.save_reward(scorer, other, tmp_path / "reward")
    wrong = ("ppo", folder / "sft", "--prompts", folder / "prompts.jsonl", "--out", tmp_path / "out", "--reward")
    assert refused(call(*wrong, tmp_path / "reward", "--max-new-tokens", 2), "another vocabulary")


def test_help_names_all_commands():
    text = call("--help").stdout
    assert all(name in text for name in ("sft", "reward", "dpo", "ppo", "evaluate", "pipeline"))
