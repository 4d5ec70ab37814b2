r"""
The commands: `fp-align sft`, `reward`, `dpo`, `ppo`, `evaluate`, and all of them in a row, `pipeline`.

A command reads options, calls one function, shows what comes back. Models are directories, in and out
(`fp_align.directories`), data are JSONL files (`fp_align.task`), and nothing is overwritten. A user's mistake is
answered by one line on the standard error and exit code 1. `pipeline` writes the data that the others read, so that
after it each step can be repeated by itself, with other settings.

| command | reads | writes |
| --- | --- | --- |
| `sft MODEL --data demonstrations.jsonl --out DIR` | `prompt`, `response` | a model |
| `reward MODEL --data preferences.jsonl --out DIR` | `prompt`, `chosen`, `rejected` | a reward model |
| `dpo MODEL --data preferences.jsonl --out DIR` | `prompt`, `chosen`, `rejected` | a model |
| `ppo MODEL --reward DIR --prompts prompts.jsonl --out DIR` | `prompt` | a model |
| `evaluate MODEL --reference MODEL --prompts prompts.jsonl` | `prompt` | a table |
| `pipeline MODEL --out DIR` | a text | all of these |
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from fp_align.pipeline import Row

__all__ = ["app", "main"]

app = typer.Typer(
    name="fp-align",
    help="Teach a model to answer, from demonstrations and from preferences, and measure what came of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[Path, typer.Argument(help="A model directory, or a run of fp-capstone train.", show_default=False)]
Out = Annotated[Path, typer.Option(help="A new directory for what comes out.", show_default=False)]
Demonstrations = Annotated[Path, typer.Option(help="JSONL with prompt and response.", show_default=False)]
Pairs = Annotated[Path, typer.Option(help="JSONL with prompt, chosen and rejected.", show_default=False)]
Prompts = Annotated[Path, typer.Option(help="JSONL with prompt.", show_default=False)]
Text = Annotated[
    Path | None, typer.Option(help="A text file; default: Python's language reference.", show_default=False)
]
Steps = Annotated[int, typer.Option("--steps", help="Optimizer steps.", min=1)]
Rate = Annotated[float, typer.Option("--lr", help="Peak learning rate.")]
Batch = Annotated[int, typer.Option("--batch-size", help="Examples a step.", min=1)]
Beta = Annotated[float, typer.Option(help="The price of a nat of distance from the model it starts from.")]
Longest = Annotated[int, typer.Option("--max-new-tokens", help="The longest response.", min=1)]
Seed = Annotated[int, typer.Option(help="The same seed gives the same numbers.", min=0)]


def main() -> None:
    """Entry point of the command `fp-align`."""
    try:
        app()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(130)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn what a user can cause into one line and exit code 1."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, just before the error that says what to do
            yield
    except KeyboardInterrupt:
        _fail("interrupted; what was written before is whole", 130)
    except MemoryError:
        _fail("out of memory; lower --batch-size or take a smaller model")
    except OSError as error:
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        _fail(f"{error.strerror or error}{where}")
    except (ValueError, TypeError, FloatingPointError) as error:
        _fail(" ".join(str(error).split()))


def _fail(message: str, code: int = 1) -> None:
    Console(stderr=True).print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code) from None


@contextmanager
def _bars() -> Iterator[Callable[[str, int], Callable[[int, Any], None]]]:
    """A progress bar for each step of the work."""
    columns = (
        TextColumn("{task.description:<13}"),
        BarColumn(),
        TextColumn("{task.fields[message]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def begin(name: str, n_steps: int) -> Callable[[int, Any], None]:
            task = progress.add_task(name, total=n_steps, message="")

            def tell(step: int, message: Any) -> None:
                shown = f"loss {message:.3f}" if isinstance(message, float) else message
                progress.update(task, completed=step, message=shown)

            return tell

        yield begin


def _say(message: str) -> None:
    Console().print(message, markup=False, highlight=False, soft_wrap=True)


@app.command()
def sft(
    model: Model,
    data: Demonstrations,
    out: Out,
    steps: Steps = 150,
    lr: Rate = 3e-4,
    batch_size: Batch = 32,
    seed: Seed = 0,
) -> None:
    """Show a model how answers look: only the responses count, and they end as the data say."""
    with _clear_errors():
        import numpy as np

        from fp_align import directories
        from fp_align.sft import fine_tune
        from fp_align.task import read_lines

        directories.check_new(out)
        network, tokenizer = directories.open_model(model)
        rows = read_lines(data, ("prompt", "response"))
        shown = [
            (directories.encode(tokenizer, row["prompt"], "a prompt"), directories.encode(tokenizer, row["response"]))
            for row in rows
        ]
        directories.check_lengths(network, (len(x) + len(y) for x, y in shown), ahead=1)
        with _bars() as begin:
            losses = fine_tune(
                network, shown, n_steps=steps, lr=lr, batch_size=batch_size, rng=np.random.default_rng(seed),
                report=begin("SFT", steps),
            )  # fmt: skip
        directories.save_model(network, tokenizer, out)
    last = losses[-10:]
    _say(f"{losses[0]:.3f} nats per token before, {sum(last) / len(last):.3f} in the last {len(last)} steps; in {out}")


@app.command()
def reward(
    model: Model,
    data: Pairs,
    out: Out,
    steps: Steps = 150,
    lr: Rate = 5e-4,
    batch_size: Batch = 32,
    seed: Seed = 0,
) -> None:
    """Fit a reward model to preferences; every tenth pair is kept to judge it by."""
    with _clear_errors():
        import numpy as np

        from fp_align import directories, pipeline
        from fp_align.task import read_lines

        directories.check_new(out)
        network, tokenizer = directories.open_model(model)
        pairs = pipeline.encoded(tokenizer, read_lines(data, ("prompt", "chosen", "rejected")))
        directories.check_lengths(network, pipeline.lengths(pairs))
        with _bars() as begin:
            scorer, figures = pipeline.train_reward(
                network, pairs, n_steps=steps, lr=lr, batch_size=batch_size, rng=np.random.default_rng(seed),
                report=begin("reward model", steps),
            )  # fmt: skip
        directories.save_reward(scorer, tokenizer, out)
    _say(
        f"of pairs not learned from it foresees {figures['held_out_accuracy']:.1%}, with "
        f"{figures['held_out_loss']:.3f} nats per verdict (0.693 is guessing); in {out}"
    )


@app.command()
def dpo(
    model: Model,
    data: Pairs,
    out: Out,
    beta: Beta = 0.1,
    steps: Steps = 150,
    lr: Rate = 2e-4,
    batch_size: Batch = 32,
    seed: Seed = 0,
) -> None:
    """Learn from preferences directly; the model it starts from is the reference."""
    with _clear_errors():
        import numpy as np

        from fp_align import directories, pipeline
        from fp_align.task import read_lines

        directories.check_new(out)
        network, tokenizer = directories.open_model(model)
        pairs = pipeline.encoded(tokenizer, read_lines(data, ("prompt", "chosen", "rejected")))
        directories.check_lengths(network, pipeline.lengths(pairs), ahead=1)
        with _bars() as begin:
            policy, told = pipeline.train_dpo(
                network, pairs, beta=beta, n_steps=steps, lr=lr, batch_size=batch_size, rng=np.random.default_rng(seed),
                report=begin("DPO", steps),
            )  # fmt: skip
        directories.save_model(policy, tokenizer, out)
    last = told[-10:]
    _say(
        f"loss {told[0]['loss']:.3f} before, {sum(t['loss'] for t in last) / len(last):.3f} in the last {len(last)} "
        f"steps; in {out}"
    )


@app.command()
def ppo(
    model: Model,
    reward: Annotated[Path, typer.Option(help="What `fp-align reward` wrote.", show_default=False)],
    prompts: Prompts,
    out: Out,
    beta: Beta = 0.1,
    steps: Annotated[int, typer.Option("--steps", help="Batches of responses, each used twice.", min=1)] = 40,
    lr: Rate = 3e-4,
    batch_size: Batch = 128,
    max_new_tokens: Longest = 40,
    seed: Seed = 0,
) -> None:
    """Answer prompts, and learn from a reward model; the model it starts from is the reference."""
    with _clear_errors():
        import numpy as np

        from fp_align import directories, pipeline
        from fp_align.task import read_lines

        directories.check_new(out)
        network, tokenizer = directories.open_model(model)
        scorer = _scorer(reward, tokenizer)
        asked = [directories.encode(tokenizer, row["prompt"], "a prompt") for row in read_lines(prompts, ("prompt",))]
        _check_fits(network, asked, max_new_tokens)
        with _bars() as begin:
            policy, told = pipeline.train_ppo(
                network, scorer, asked, beta=beta, n_steps=steps, lr=lr, batch_size=batch_size,
                max_new_tokens=max_new_tokens, stop=directories.stop_token(tokenizer), rng=np.random.default_rng(seed),
                report=begin("PPO", steps),
            )  # fmt: skip
        directories.save_model(policy, tokenizer, out)
    _say(
        f"learned reward {told[0]['reward']:.2f} before, {told[-1]['reward']:.2f} in the last batch, "
        f"{told[-1]['kl']:.1f} nats from the reference; in {out}"
    )


@app.command()
def evaluate(
    models: Annotated[list[Path], typer.Argument(help="One model or several.", show_default=False)],
    reference: Annotated[Path, typer.Option(help="Whom they play against.", show_default=False)],
    prompts: Prompts,
    reward: Annotated[Path | None, typer.Option(help="A reward model to ask too.", show_default=False)] = None,
    text: Text = None,
    max_new_tokens: Longest = 40,
    samples: Annotated[int, typer.Option(help="Responses to show.", min=0)] = 3,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Win rate against a reference with its interval, divergence from it, rewards, and loss on held-out text."""
    with _clear_errors():
        import numpy as np

        from fp_align import directories, pipeline
        from fp_align.task import Judge, read_lines, read_text

        base, tokenizer = directories.open_model(reference)
        asked = [row["prompt"] for row in read_lines(prompts, ("prompt",))]
        if len(asked) < 2:
            raise ValueError(f"{prompts} has one prompt, and standard errors take two or more: add prompts")
        _check_fits(base, [directories.encode(tokenizer, x, "a prompt") for x in asked], max_new_tokens)
        train, held_out = read_text(text)
        judge, ids = Judge.of(train), np.array(directories.encode(tokenizer, held_out, "the text"))
        scorer = None if reward is None else _scorer(reward, tokenizer)
        rows = []
        with _bars() as begin:
            tell = begin("evaluation", len(models))
            for i, path in enumerate(models):
                network, own = directories.open_model(path)
                if not directories.same_vocabulary(own, tokenizer):
                    raise ValueError(f"{path} and {reference} have different tokenizers, so they cannot be compared")
                row = pipeline.evaluate(
                    path.name or str(path), network, base, tokenizer, asked, judge, seed=seed,
                    max_new_tokens=max_new_tokens, reward=scorer, held_out=ids,
                )  # fmt: skip
                rows.append(row)
                tell(i + 1, row.name)
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        return
    _show(rows, reference.name)
    for i in range(min(samples, len(asked))):
        _say(repr(asked[i]))
        for row in rows:
            _say(f"  {row.name:<12}{row.responses[i]!r}")


@app.command()
def pipeline(
    model: Model,
    out: Out,
    text: Text = None,
    seed: Seed = 0,
    scale: Annotated[
        float, typer.Option(help="Takes all steps so many times as long; 0.1 for a glance.", min=0.01)
    ] = 1.0,
    dpo_beta: Annotated[float, typer.Option(help="The price of a nat for DPO.")] = 0.1,
    ppo_beta: Annotated[float, typer.Option(help="The price of a nat for PPO.")] = 0.1,
) -> None:
    """SFT, preferences, reward model, DPO and PPO one after another, and all of them side by side."""
    with _clear_errors():
        from fp_align.pipeline import Settings, run, samples_text

        settings = replace(Settings(), seed=seed, dpo_beta=dpo_beta, ppo_beta=ppo_beta).scaled(scale)
        with _bars() as begin:
            report, rows = run(model, out, settings, text, begin)
    _show(rows, "SFT")
    _say("")
    _say(samples_text(report["samples"][:6]))
    _say(f"{sum(report['seconds'].values()):.0f} seconds. Models, data, report.json and samples.txt are in {out}")


def _scorer(path: Path, tokenizer: Any) -> Any:
    from fp_align import directories

    scorer, own = directories.open_reward(path)
    if not directories.same_vocabulary(own, tokenizer):
        raise ValueError(f"{path} has another vocabulary than the model, so it would read other texts")
    return scorer


def _check_fits(model: Any, prompts: list[list[int]], max_new_tokens: int) -> None:
    longest, context = max(map(len, prompts)), model.config.context_length
    if longest + max_new_tokens > context:
        raise ValueError(
            f"a prompt of {longest} tokens and {max_new_tokens} new ones do not fit into the context of {context}: "
            "lower --max-new-tokens or leave long prompts out"
        )


def _show(rows: "list[Row]", reference: str) -> None:
    learned = any(row.learned is not None for row in rows)
    table = Table(title=f"{len(rows[0].responses)} prompts, games against {reference}")
    columns = ["model", "wins", "95% interval", "KL, nats", "gold reward", *(["learned reward"] if learned else [])]
    for name in [*columns, "loss, nats/token", "tokens", "finished"]:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=name == "95% interval")
    for row in rows:
        cells = [row.name, f"{row.wins:.1%}", f"{row.interval[0]:.1%} to {row.interval[1]:.1%}"]
        cells += [f"{e.mean:.2f} ± {e.error:.2f}" for e in (row.kl["sum"], row.gold, row.learned) if e is not None]
        cells += ["" if row.loss is None else f"{row.loss:.3f}", f"{row.length:.1f}", f"{row.finished:.0%}"]
        table.add_row(*cells)
    Console(width=max(Console().width, 120)).print(table)
