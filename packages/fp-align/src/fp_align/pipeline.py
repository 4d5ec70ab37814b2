r"""
The whole journey: pretrained, shown how, told which is better, asked again.

The sections before give the steps one by one. Here they follow each other on one small model, each from what the one
before has left, and in the end all models answer the same questions side by side. What does each step buy, and what
does it cost?

You need: all sections before.

## The steps

| step | from | makes |
| --- | --- | --- |
| demonstrations | the pretraining text | prompts with responses (`fp_align.task`) |
| SFT | the pretrained model, demonstrations | a model that answers (`fp_align.sft`) |
| preferences | two samples of that model to each prompt, and the judge | pairs, chosen and rejected |
| reward model | the SFT model with a head, pairs | a score (`fp_align.reward`) |
| DPO | the SFT model, pairs | a policy (`fp_align.dpo`) |
| PPO | the SFT model, prompts, the score | another policy (`fp_align.ppo`) |
| evaluation | all of them, prompts from held-out text | the table (`fp_align.evaluation`) |

DPO and PPO learn from the same verdicts, and with their $\beta$ both aim at the optimum of `align.kl-optimum`: the one
for the reward that the verdicts imply, the other for the reward that was fitted to them.

## What to look at

In the table, SFT against a second sample of itself wins half of its games, within the interval: if it did not, the
evaluation would be wrong. The loss on held-out text says what was forgotten. And the two rewards, gold and learned,
should be read together. The learned one was fitted to what the SFT model writes; where the policy goes, nobody has
compared anything. A policy that has gone far earns more of the learned reward and less of the gold one:
*over-optimisation*, Goodhart's law at work. The curve of PPO in the report holds both at every step, so that one sees
where they part.

## In practice

The three steps with PPO are those of InstructGPT (L. Ouyang and others, arXiv 2203.02155), there with tens of thousands
of verdicts by people, and repeated: new samples, new verdicts, new reward model, which is what keeps the learned reward
honest where the policy is. Most open models of today do SFT and DPO, or reinforcement learning against programs that
check answers.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from fp_align import directories
from fp_align.dpo import DPO
from fp_align.evaluation import Estimate, divergences, estimate, held_out_loss, wilson, win_scores
from fp_align.ppo import PPO, ValueModel
from fp_align.preferences import Preference, sample_responses
from fp_align.reward import RewardModel
from fp_align.sft import batches, fine_tune, minimise
from fp_align.task import Judge, beginnings, clauses, read_text, verdicts, write_lines
from fp_optim.schedules import warmup_linear
from fp_transformer.model import Transformer

__all__ = [
    "Settings",
    "Row",
    "respond",
    "train_reward",
    "train_dpo",
    "train_ppo",
    "evaluate",
    "run",
]  # the order of the page

Report = Callable[[int, str], None]
"""Called with the number of steps done and what is to be shown beside it."""
Told = list[dict[str, float]]
LEAST_CONTEXT = 64
"""Positions that a prompt of at most 20 characters and its response need at least."""


@dataclass(frozen=True)
class Settings:
    """How long each step takes, and how fast it goes."""

    sft_steps: int = 150
    sft_lr: float | int = 3e-4
    pairs: int = 2500
    reward_steps: int = 150
    reward_lr: float | int = 5e-4
    dpo_steps: int = 150
    dpo_lr: float | int = 2e-4
    dpo_beta: float | int = 0.1
    ppo_steps: int = 40
    ppo_lr: float | int = 3e-4
    ppo_beta: float | int = 0.1
    ppo_prompts: int = 128
    batch_size: int = 32
    max_new_tokens: int = 40
    prompts: int = 300
    """To evaluate on."""
    seed: int = 0

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            if not value > 0 and knob.name != "seed":
                raise ValueError(f"{knob.name} must be positive, got {value}")

    def scaled(self, factor: float | int) -> "Settings":
        """
        The same with all steps, pairs and prompts so many times as many, at least two of each.

        Examples
        --------
        >>> Settings().scaled(0.1).sft_steps
        15
        """
        if not factor > 0:
            raise ValueError(f"the scale must be positive, got {factor}")
        counted = ("sft_steps", "pairs", "reward_steps", "dpo_steps", "ppo_steps", "prompts")
        return replace(self, **{name: max(2, round(getattr(self, name) * factor)) for name in counted})


@dataclass(frozen=True)
class Row:
    """What the evaluation found out about a model."""

    name: str
    gold: Estimate
    learned: Estimate | None
    wins: float
    """Against the reference, ties counted half."""
    interval: tuple[float, float]
    kl: dict[str, Estimate]
    """In nats per response: `sum` (E3) of `fp_align.evaluation`, `k1` and `k3`."""
    loss: float | None
    """On held-out text, nats per token."""
    length: float
    """Of a response, in tokens."""
    finished: float
    """The share of responses that end with the stop token."""
    responses: tuple[str, ...]


def respond(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int, rng: np.random.Generator
) -> list[str]:
    """
    A response to each prompt, drawn at temperature one, up to the newline.

    Parameters
    ----------
    model, tokenizer
        Who answers.
    prompts
        Texts.
    max_new_tokens
        The longest response.
    rng
        Source of randomness.

    Returns
    -------
    list of str
        With the newline, if the model has written it in time.
    """
    ids = [directories.encode(tokenizer, prompt, "a prompt") for prompt in prompts]
    stop = directories.stop_token(tokenizer)
    return [tokenizer.decode(y) for y in sample_responses(model, ids, max_new_tokens, rng, stop=stop)]


def encoded(tokenizer: Any, rows: Sequence[dict[str, str]]) -> list[Preference]:
    """Pairs as token ids; those whose two responses are the same are left out."""
    texts = [
        [directories.encode(tokenizer, row[key], f"a {key}") for key in ("prompt", "chosen", "rejected")]
        for row in rows
    ]
    pairs = [Preference(*map(tuple, three)) for three in texts if three[1] != three[2]]
    if not pairs:
        raise ValueError("there is no pair of two different responses to learn from")
    return pairs


def lengths(pairs: Sequence[Preference]) -> list[int]:
    """The tokens of each pair's prompt with the longer response."""
    return [len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in pairs]


def train_reward(
    model: Transformer,
    pairs: Sequence[Preference],
    *,
    n_steps: int,
    lr: float | int,
    batch_size: int,
    rng: np.random.Generator,
    report: Report | None = None,
) -> tuple[RewardModel, dict[str, float]]:
    """
    Fit a reward model to verdicts; every tenth is kept to judge it by.

    Parameters
    ----------
    model
        The body begins with its numbers; it is not changed.
    pairs
        At least two.
    n_steps, lr, batch_size
        Steps of AdamW, their peak rate, pairs a step.
    rng
        Their order.
    report
        Called after each step.

    Returns
    -------
    reward, figures
        The reward model, and its loss and accuracy on the pairs kept back.

    Raises
    ------
    ValueError
        If there are fewer than two pairs, or a number is out of range.
    """
    if len(pairs) < 2:
        raise ValueError(f"a reward model learns from some pairs and is judged by others; got {len(pairs)} of them")
    kept = pairs[::10]
    seen = [pair for i, pair in enumerate(pairs) if i % 10]
    reward = RewardModel(directories.copy_of(model))
    chosen = batches(seen, n_steps, batch_size, rng)

    def tell(step: int, loss: float) -> None:
        if report is not None:
            report(step, f"loss {loss:.3f}")

    losses = minimise(reward, (reward.loss(batch) for batch in chosen), n_steps=n_steps, lr=lr, report=tell)
    won, lost = (
        reward.scores([p.prompt for p in kept], [getattr(p, which) for p in kept]) for which in ("chosen", "rejected")
    )
    return reward, {
        "first_loss": losses[0],
        "held_out_loss": float(np.logaddexp(0.0, lost - won).mean()),
        "held_out_accuracy": float(win_scores(won, lost).mean()),
    }


def train_dpo(
    model: Transformer,
    pairs: Sequence[Preference],
    *,
    beta: float | int,
    n_steps: int,
    lr: float | int,
    batch_size: int,
    rng: np.random.Generator,
    report: Report | None = None,
) -> tuple[Transformer, Told]:
    """
    A policy from verdicts, without a reward model.

    Parameters
    ----------
    model
        Where it starts, and its reference; not changed.
    pairs
        Verdicts.
    beta
        Price of a nat.
    n_steps, lr, batch_size, rng, report
        As for `train_reward`.

    Returns
    -------
    policy, told
        In eval mode, and what each step reported.
    """
    policy = directories.copy_of(model)
    trainer, told = DPO(policy, model, beta=beta, lr=lr), []
    for step, batch in enumerate(batches(pairs, n_steps, batch_size, rng)):
        told.append(trainer.step(batch, warmup_linear(step, n_steps=n_steps, warmup=max(1, n_steps // 10), peak=lr)))
        _check(told[-1]["loss"], "DPO's loss", lr)
        if report is not None:
            report(step + 1, f"loss {told[-1]['loss']:.3f}  accuracy {told[-1]['accuracy']:.0%}")
    return policy, told


def train_ppo(
    model: Transformer,
    reward: RewardModel,
    prompts: Sequence[Sequence[int]],
    *,
    beta: float | int,
    n_steps: int,
    lr: float | int,
    batch_size: int,
    max_new_tokens: int,
    stop: int,
    rng: np.random.Generator,
    report: Report | None = None,
    watch: Callable[[Transformer], dict[str, float]] | None = None,
) -> tuple[Transformer, Told]:
    """
    A policy from a reward model, by sampling.

    Parameters
    ----------
    model
        Where it starts, and its reference; not changed.
    reward
        Scores responses.
    prompts
        To answer, as token ids.
    beta
        Price of a nat.
    n_steps
        Batches of responses, each used twice.
    lr
        Peak rate of the policy.
    batch_size
        Prompts in a batch.
    max_new_tokens, stop
        How a response ends.
    rng
        Prompts' order, and what is drawn.
    report
        Called after each step.
    watch
        Called before each tenth step with the policy; what it returns is kept beside what the step tells.

    Returns
    -------
    policy, told
        In eval mode, and what each step reported.
    """
    policy = directories.copy_of(model)
    trainer = PPO(
        policy,
        ValueModel(directories.copy_of(model)),
        model,
        reward.scores,
        beta=beta,
        max_new_tokens=max_new_tokens,
        stop=stop,
        lr=lr,
        passes=2,
        pieces=2,
    )
    told: Told = []
    for step, batch in enumerate(batches(prompts, n_steps, batch_size, rng)):
        seen = watch(policy) if watch is not None and step % 10 == 0 else {}
        rate = warmup_linear(step, n_steps=n_steps, warmup=max(1, n_steps // 10), peak=lr)
        told.append(trainer.step(batch, rng, rate) | seen)
        _check(told[-1]["policy_loss"], "PPO's loss", lr)
        if report is not None:
            report(step + 1, f"reward {told[-1]['reward']:.2f}  KL {told[-1]['kl']:.1f}")
    return policy, told


def _check(loss: float, what: str, lr: float) -> None:
    if not np.isfinite(loss):
        raise FloatingPointError(f"{what} is {loss}: lower the learning rate, {lr}")


def evaluate(
    name: str,
    model: Transformer,
    reference: Transformer,
    tokenizer: Any,
    prompts: Sequence[str],
    judge: Callable[[str], float],
    *,
    seed: int,
    max_new_tokens: int,
    reward: RewardModel | None = None,
    held_out: Any = None,
) -> Row:
    """
    A model against its reference, on the same prompts.

    Parameters
    ----------
    name
        For the table.
    model, reference
        Both answer each prompt, with draws of their own.
    tokenizer
        Of both.
    prompts
        Two or more.
    judge
        From a response to its gold reward, by which games are won.
    seed
        Of the draws.
    max_new_tokens
        The longest response.
    reward
        Asked too, if given.
    held_out
        Token ids of a text to measure the loss on, if given.

    Returns
    -------
    Row
        All figures.
    """
    rngs = [np.random.default_rng([seed, i]) for i in range(2)]
    answers, theirs = (
        respond(who, tokenizer, prompts, max_new_tokens, rng) for who, rng in zip((model, reference), rngs, strict=True)
    )
    gold, other = (np.array([judge(answer) for answer in many], float) for many in (answers, theirs))
    scores = win_scores(gold, other)
    x, y = ([directories.encode(tokenizer, text) for text in many] for many in (prompts, answers))
    window = model.config.context_length - 1
    return Row(
        name=name,
        gold=estimate(gold),
        learned=None if reward is None else estimate(reward.scores(x, y)),
        wins=float(scores.mean()),
        interval=wilson(float(scores.mean()), len(scores)),
        kl={which: estimate(values) for which, values in divergences(model, reference, x, y).items()},
        loss=None if held_out is None else held_out_loss(model, held_out, window),
        length=float(np.mean([len(ids) for ids in y])),
        finished=float(np.mean([answer.endswith("\n") for answer in answers])),
        responses=tuple(answers),
    )


def run(
    source: str | Path,
    out: str | Path,
    settings: Settings,
    text: str | Path | None = None,
    progress: Callable[[str, int], Report] | None = None,
) -> tuple[dict[str, Any], list[Row]]:
    """
    All steps, from a pretrained model to the table.

    Parameters
    ----------
    source
        The pretrained model's directory, or a run of `fp-capstone train`.
    out
        A new directory, in which the data (`demonstrations.jsonl`, `preferences.jsonl`, `prompts.jsonl`), the models
        (`sft`, `reward`, `dpo`, `ppo`), `report.json` and `samples.txt` are written.
    settings
        How long and how fast.
    text
        The text to make the task of; by default the one that `fp-capstone train` reads by default.
    progress
        Called at the beginning of a step with its name and its number of steps; what it returns is called after each.

    Returns
    -------
    report, rows
        What is in `report.json`, and the table.

    Raises
    ------
    ValueError
        If the model or the text does not fit the task, or `out` holds something.
    """
    out = directories.check_new(out)
    model, tokenizer = directories.open_model(source)
    if model.config.context_length < LEAST_CONTEXT:
        raise ValueError(
            f"the task needs a context of {LEAST_CONTEXT} or more, and {source} has {model.config.context_length}"
        )
    stop = directories.stop_token(tokenizer)
    train, held_out = read_text(text)
    shown, judge = clauses(train), Judge.of(train)
    asked = beginnings(held_out)[: settings.prompts]
    if len(shown) < 100 or len(asked) < 20:
        raise ValueError(
            f"the text has {len(shown)} clauses to learn from and {len(asked)} to ask for; it takes 100 and 20: "
            "take a longer one"
        )

    def ids(text: str) -> list[int]:
        return directories.encode(tokenizer, text, "the text")

    held_out_ids = np.array(ids(held_out))
    demonstrations = [(ids(x), ids(y)) for x, y in shown]
    begun = time.perf_counter()
    seconds: dict[str, float] = {}
    rngs = dict(
        zip(("sft", "pairs", "reward", "dpo", "ppo"), np.random.default_rng(settings.seed).spawn(5), strict=True)
    )
    out.mkdir(parents=True, exist_ok=True)

    def starting(name: str, n_steps: int) -> Report:
        return progress(name, n_steps) if progress is not None else lambda step, message: None

    def done(name: str) -> None:
        seconds[name] = round(time.perf_counter() - begun - sum(seconds.values()), 1)

    write_lines(out / "demonstrations.jsonl", [{"prompt": x, "response": y} for x, y in shown])
    write_lines(out / "prompts.jsonl", [{"prompt": x} for x in asked])
    tell = starting("SFT", settings.sft_steps)
    sft, size = directories.copy_of(model), settings.batch_size
    sft_losses = fine_tune(
        sft, demonstrations, n_steps=settings.sft_steps, lr=settings.sft_lr, batch_size=size, rng=rngs["sft"],
        report=lambda step, loss: tell(step, f"loss {loss:.3f}"),
    )  # fmt: skip
    directories.save_model(sft, tokenizer, out / "sft")
    done("sft")

    prompts = beginnings(train)
    prompts = [prompts[i] for i in rngs["pairs"].permutation(len(prompts))[: settings.pairs]]
    tell = starting("preferences", 2)
    answers: list[list[str]] = []
    for turn in (1, 2):
        answers.append(respond(sft, tokenizer, prompts, settings.max_new_tokens, rngs["pairs"]))
        tell(turn, f"{turn * len(prompts):,} responses")
    compared = verdicts(prompts, answers[0], answers[1], judge, rngs["pairs"])
    write_lines(out / "preferences.jsonl", compared)
    pairs = encoded(tokenizer, compared)
    done("preferences")

    common: dict[str, Any] = {"batch_size": size}
    reward, figures = train_reward(
        sft, pairs, n_steps=settings.reward_steps, lr=settings.reward_lr, rng=rngs["reward"],
        report=starting("reward model", settings.reward_steps), **common,
    )  # fmt: skip
    directories.save_reward(reward, tokenizer, out / "reward")
    done("reward")

    dpo, dpo_told = train_dpo(
        sft, pairs, beta=settings.dpo_beta, n_steps=settings.dpo_steps, lr=settings.dpo_lr, rng=rngs["dpo"],
        report=starting("DPO", settings.dpo_steps), **common,
    )  # fmt: skip
    directories.save_model(dpo, tokenizer, out / "dpo")
    done("dpo")

    def watch(policy: Transformer) -> dict[str, float]:
        rng = np.random.default_rng(settings.seed)
        return {
            "gold": float(np.mean([judge(y) for y in respond(policy, tokenizer, asked, settings.max_new_tokens, rng)]))
        }

    ppo, ppo_told = train_ppo(
        sft, reward, [ids(x) for x in prompts], beta=settings.ppo_beta, n_steps=settings.ppo_steps, lr=settings.ppo_lr,
        batch_size=settings.ppo_prompts, max_new_tokens=settings.max_new_tokens, stop=stop, rng=rngs["ppo"],
        report=starting("PPO", settings.ppo_steps), watch=watch,
    )  # fmt: skip
    directories.save_model(ppo, tokenizer, out / "ppo")
    done("ppo")

    tell = starting("evaluation", 4)
    rows = []
    for name, policy in (("pretrained", model), ("SFT", sft), ("DPO", dpo), ("PPO", ppo)):
        rows.append(
            evaluate(
                name, policy, sft, tokenizer, asked, judge, seed=settings.seed, max_new_tokens=settings.max_new_tokens,
                reward=reward, held_out=held_out_ids,
            )
        )  # fmt: skip
        tell(len(rows), name)
    done("evaluation")

    samples = [{"prompt": x, **{row.name: row.responses[i] for row in rows}} for i, x in enumerate(asked[:20])]
    report = {
        "text_sha256": hashlib.sha256((train + held_out).encode()).hexdigest(),
        "parameters": model.n_parameters,
        "settings": asdict(settings),
        "seconds": seconds,
        "sft_loss": [sft_losses[0], sft_losses[-1]],
        "pairs": len(pairs),
        "reward_model": figures,
        "dpo": dpo_told,
        "ppo": ppo_told,
        "rows": [{k: v for k, v in asdict(row).items() if k != "responses"} for row in rows],
        "samples": samples,
    }
    _write(out / "report.json", json.dumps(report, indent=1) + "\n")
    _write(out / "samples.txt", samples_text(samples))
    return report, rows


def samples_text(samples: Sequence[dict[str, str]]) -> str:
    """Prompts, and below each what every model made of it."""
    lines = []
    for sample in samples:
        lines.append(repr(sample["prompt"]))
        lines += [f"  {name:<12}{text!r}" for name, text in sample.items() if name != "prompt"]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
