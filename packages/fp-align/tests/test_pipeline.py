"""Mirrors src/fp_align/pipeline.py: the whole journey in small, and each step's promise."""

import json

import numpy as np
import pytest

from fp_align import directories, pipeline
from fp_align.preferences import Preference
from fp_tokenize.characters import CharTokenizer
from fp_transformer.config import TransformerConfig
from fp_transformer.model import Transformer

SMALL = pipeline.Settings(
    sft_steps=2, pairs=13, reward_steps=2, dpo_steps=2, ppo_steps=1, ppo_prompts=5, batch_size=3, max_new_tokens=5,
    prompts=21,
)  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    rng = np.random.default_rng(5)
    words = ["a", "cat", "sat", "mat", "there", "nothing", "with", "dog", "ran", "home"]
    lines = [" ".join(rng.choice(words, size=8)) + rng.choice([".", ",", ";"]) for _ in range(500)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def base(text, tmp_path_factory):
    tokenizer = CharTokenizer.train([text.read_text()])
    config = TransformerConfig.llama(
        vocab_size=tokenizer.vocab_size, context_length=64, n_layers=1, n_heads=2, d_model=8
    )
    path = tmp_path_factory.mktemp("base") / "run" / "model"
    directories.save_model(Transformer(config, rng=np.random.default_rng(0)), tokenizer, path)
    return path.parent


@pytest.fixture(scope="module")
def journey(base, text, tmp_path_factory):
    out, told = tmp_path_factory.mktemp("journey") / "one", []

    def progress(name, n_steps):
        return lambda step, message: told.append((name, n_steps, step, message))

    report, rows = pipeline.run(base, out, SMALL, text, progress)
    return out, report, rows, told


def test_everything_is_written_and_can_be_read(journey):
    out, report, rows, _ = journey
    assert sorted(path.name for path in out.iterdir()) == [
        "demonstrations.jsonl", "dpo", "ppo", "preferences.jsonl", "prompts.jsonl", "report.json", "reward",
        "samples.txt", "sft",
    ]  # fmt: skip
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report))
    for name in ("sft", "dpo", "ppo"):
        directories.open_model(out / name)
    directories.open_reward(out / "reward")
    assert [row.name for row in rows] == ["pretrained", "SFT", "DPO", "PPO"]
    assert (out / "samples.txt").read_text().count("PPO") == 20


def test_every_step_tells_how_far_it_is(journey):
    told = journey[3]
    for name in ("SFT", "preferences", "reward model", "DPO", "PPO", "evaluation"):
        steps = [(step, n) for what, n, step, _ in told if what == name]
        assert [step for step, _ in steps] == list(range(1, steps[0][1] + 1))


def test_the_figures_hang_together(journey):
    _, report, rows, _ = journey
    by_name = {row.name: row for row in rows}
    assert by_name["SFT"].kl["sum"].mean == 0 and by_name["PPO"].kl["sum"].mean > 0
    for row in rows:
        assert row.interval[0] <= row.wins <= row.interval[1] and len(row.responses) == 21
        assert 1 <= row.length <= 5 and row.loss > 0 and row.learned is not None
    assert abs(report["dpo"][0]["loss"] - np.log(2)) < 1e-6  # single precision
    assert report["ppo"][0]["kl"] == pytest.approx(0, abs=1e-5)  # single precision


def test_the_same_seed_gives_the_same_models(journey, base, text, tmp_path):
    report, _ = pipeline.run(base, tmp_path / "again", SMALL, text)
    for key in ("rows", "dpo", "ppo", "samples", "reward_model"):
        assert json.dumps(report[key]) == json.dumps(journey[1][key])


def test_steps_leave_the_model_they_start_from_alone(journey):
    model, _ = directories.open_model(journey[0] / "sft")
    before = model.state_dict()
    pairs = [Preference((1, 2), (3,), (4, 5)), Preference((2,), (6,), (7,))] * 3
    settings = {"n_steps": 2, "lr": 0.01, "batch_size": 2, "rng": np.random.default_rng(0)}
    reward, _ = pipeline.train_reward(model, pairs, **settings)
    moved = [pipeline.train_dpo(model, pairs, beta=0.1, **settings)[0]]
    moved += [pipeline.train_ppo(model, reward, [[1], [2, 3]], beta=0.1, max_new_tokens=3, stop=1, **settings)[0]]
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())
    for policy in moved:
        assert any((policy.state_dict()[name] != value).any() for name, value in before.items())


def test_a_reward_model_learns_what_can_be_learned(journey):
    model, _ = directories.open_model(journey[0] / "sft")
    rng = np.random.default_rng(0)
    pairs = [Preference((int(rng.integers(2, 9)),), (3, 1), (4, 1)) for _ in range(40)]
    _, figures = pipeline.train_reward(model, pairs, n_steps=30, lr=0.02, batch_size=8, rng=rng)
    assert figures["held_out_accuracy"] == 1 and figures["held_out_loss"] < 0.3 < figures["first_loss"]


def test_what_does_not_fit_the_task_is_refused_before_any_work(base, text, tmp_path):
    (tmp_path / "short.txt").write_text("A cat sat on a mat. " * 3)
    with pytest.raises(ValueError, match="clauses to learn from"):
        pipeline.run(base, tmp_path / "out", SMALL, tmp_path / "short.txt")
    (tmp_path / "strange.txt").write_text(text.read_text() + "Ω")
    with pytest.raises(ValueError, match="does not know all its characters"):
        pipeline.run(base, tmp_path / "out", SMALL, tmp_path / "strange.txt")
    _, tokenizer = directories.open_model(base)
    narrow = Transformer(
        TransformerConfig.llama(vocab_size=tokenizer.vocab_size, context_length=32, n_layers=1, n_heads=2, d_model=8)
    )
    directories.save_model(narrow, tokenizer, tmp_path / "narrow")
    with pytest.raises(ValueError, match="context of 64 or more"):
        pipeline.run(tmp_path / "narrow", tmp_path / "out", SMALL, text)
    assert not (tmp_path / "out").exists()


def test_settings_are_checked_and_scaled():
    with pytest.raises(ValueError, match="sft_lr must be positive, got 0"):
        pipeline.Settings(sft_lr=0)
    with pytest.raises(ValueError, match="scale must be positive"):
        SMALL.scaled(0)
    scaled = pipeline.Settings().scaled(0.01)
    assert (scaled.ppo_steps, scaled.sft_steps, scaled.pairs, scaled.sft_lr) == (2, 2, 25, pipeline.Settings().sft_lr)


def test_a_step_without_pairs_is_refused():
    tokenizer = CharTokenizer("ab")
    with pytest.raises(ValueError, match="no pair of two different responses"):
        pipeline.encoded(tokenizer, [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    with pytest.raises(ValueError, match="judged by others; got 1"):
        pipeline.train_reward(
            Transformer(TransformerConfig.llama(vocab_size=3, context_length=8, n_layers=1, n_heads=2, d_model=8)),
            [Preference((1,), (2,), (0,))], n_steps=1, lr=0.1, batch_size=1, rng=np.random.default_rng(0),
        )  # fmt: skip
