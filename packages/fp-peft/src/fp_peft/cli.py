r"""
The command `fp-peft`: finetune, evaluate, merge.

A thin layer: each command reads its options, calls one function of the chapter and shows what comes back. A mistake of
the user is answered by one line on the standard error and an exit code that is not zero. Nothing is overwritten.
Results go to the standard output, progress to the standard error.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fp_markov._command import answer

__all__ = ["app", "main"]

app = typer.Typer(
    name="fp-peft",
    help="Tune a model on a file of examples or a text, with few trained numbers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="a model directory, a run of fp-capstone, a .gguf file, or smollm2")
]
DataFile = Annotated[
    str,
    typer.Option(
        "--data", metavar="FILE", help="a .jsonl file of examples, or a text, or a folder of texts; - for stdin"
    ),
]
HeldOut = Annotated[str | None, typer.Option(metavar="FILE", help="hold out this file; default: the last tenth")]
Length = Annotated[int | None, typer.Option(help="tokens read at once; default: the model's, at most 256")]
System = Annotated[
    str | None, typer.Option(help="for conversations without a system message; default: what the model's template says")
]
Limit = Annotated[int, typer.Option(help="measure at most so many held-out tokens of a text")]
Method = Literal["lora", "adapter", "prefix", "prompt", "full"]


def main() -> None:
    """Entry point of the command `fp-peft`."""
    app()


def _finish(work: Callable[[], None]) -> None:
    raise typer.Exit(answer("fp-peft", work))


def _say(message: str) -> None:
    Console().print(message, markup=False, highlight=False, soft_wrap=True)


def _read(
    base: Any, data: str, held_out: str | None, length: int | None, system: str | None, limit: int, taken: int = 0
) -> Any:
    from fp_peft.data import default_system, read_data

    room = base.model.config.context_length - taken
    if room < 1:
        raise ValueError(
            f"a prefix or prompt of {taken} leaves none of the {base.model.config.context_length} positions of this "
            "model for a text: choose a smaller --rank"
        )
    length = min(256, room) if length is None else length
    if not 1 <= length <= room:
        raise ValueError(
            f"--length lies between 1 and the {room} positions that the model has for a text, got {length}"
        )
    system = default_system(base.template) if system is None else system or None
    found = read_data(data, base.tokenizer, length=length, held_out=held_out, limit=limit, system=system)
    shortened = getattr(found, "n_shortened", 0)
    if shortened:
        Console(stderr=True).print(
            f"{shortened} examples of {data} are longer than {length + 1} tokens and lose their beginning",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    return found


def _told(loss: float) -> str:
    """A loss, and the perplexity that it is."""
    return f"{loss:.4f} nats per token (perplexity {math.exp(min(loss, 700)):.2f})"


@contextmanager
def _folder(out: Path) -> Iterator[None]:
    """Make a folder for the result of some work; if the work fails, no empty one stays behind."""
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        if not os.access(out, os.W_OK | os.X_OK):
            raise ValueError(f"nothing can be written in {out}; choose another --out")
        yield
    except BaseException:
        if made:
            out.rmdir()
        raise


@app.command()
def finetune(
    model: Model,
    data: DataFile,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="where the result goes; must not exist")],
    method: Annotated[Method, typer.Option(help="what is trained")] = "lora",
    rank: Annotated[int, typer.Option(help="rank of factors, width of adapters, length of a prefix or prompt")] = 8,
    alpha: Annotated[float | None, typer.Option(help="LoRA's alpha; default: twice the rank")] = None,
    target: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="LoRA: such as q_proj; may be repeated; default: all")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="the highest learning rate; default: by the method")] = None,
    steps: Annotated[int, typer.Option(help="how many updates")] = 200,
    batch_size: Annotated[int, typer.Option(help="texts in each")] = 8,
    length: Length = None,
    held_out: HeldOut = None,
    also: Annotated[
        str | None, typer.Option(metavar="FILE", help="another text whose loss is measured before and after")
    ] = None,
    limit: Limit = 20_000,
    system: System = None,
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 0,
    merge: Annotated[bool, typer.Option("--merge", help="LoRA: write the merged model as well")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bar")] = False,
) -> None:
    """Tune a model; prints the held-out loss before and after."""

    def work() -> None:
        from fp_peft.bases import open_base, save_beside
        from fp_peft.finetune import Settings, fine_tune, held_out_loss, write_report
        from fp_peft.interchange import save_adapter
        from fp_peft.merging import merged_model
        from fp_peft.wrapping import Tuned

        if merge and method not in ("lora", "full"):
            raise ValueError(f"--merge: a {method} is no change of weights and cannot be merged; leave --merge out")
        if (alpha is not None and method != "lora") or (target and method != "lora"):
            raise ValueError(f"--alpha and --target say nothing to --method {method}; leave them out")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{out} exists and is not empty; choose another --out")
        settings = Settings(
            method=method, rank=rank, alpha=alpha, targets=target or "all", lr=lr, steps=steps, batch_size=batch_size,
            seed=seed,
        )  # fmt: skip
        base = open_base(model)
        taken = rank if method in ("prefix", "prompt") else 0
        material = _read(base, data, held_out, length, system, limit, taken)
        other = (
            None
            if also is None
            else _read(base, data=also, held_out=also, length=length, system=None, limit=limit, taken=taken)
        )
        with _folder(out):  # before the work, which would be lost at a place where nothing can be written
            general = None if other is None else held_out_loss(base.model, other, batch_size)
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
                task = progress.add_task("measuring", total=steps)
                result = fine_tune(
                    base.model,
                    material,
                    settings,
                    note=lambda row: progress.update(task, advance=1, description=f"loss {row['loss']:.3f}"),
                )
        report = result.report(settings) | {"model": model, "data": data}
        if general is not None and other is not None:
            after = held_out_loss(result.model, other, batch_size)
            report["other_loss"] = {"file": also, "before": general, "after": after}
        if isinstance(result.model, Tuned):
            save_adapter(result.model, out / "adapter", base=model)
            if merge:
                save_beside(base, merged_model(result.model), out / "model")
        else:
            save_beside(base, result.model, out / "model")
        write_report(out, result, report)
        share = 100 * result.n_trainable / base.model.config.n_parameters
        _say(
            f"{method}: {result.n_trainable:,} numbers trained ({share:.3g}%), {steps} steps in {result.seconds:.0f} s"
        )
        _say(f"held-out loss before  {_told(result.before)}")
        _say(f"held-out loss after   {_told(result.after)}")
        if "other_loss" in report:
            _say(f"{also} before  {_told(report['other_loss']['before'])}")
            _say(f"{also} after   {_told(report['other_loss']['after'])}")
        if isinstance(result.model, Tuned):
            _say(f"the adapter is in {out / 'adapter'}")
        if (out / "model").is_dir():
            _say(f"the model is in {out / 'model'}; let it write with\n  fp-capstone generate {out / 'model'}")

    _finish(work)


@app.command()
def evaluate(
    model: Model,
    data: DataFile,
    adapter: Annotated[Path | None, typer.Option(metavar="DIR", help="an adapter, ours or peft's")] = None,
    held_out: HeldOut = None,
    length: Length = None,
    limit: Limit = 20_000,
    system: System = None,
    batch_size: Annotated[int, typer.Option(help="texts at once")] = 8,
) -> None:
    """The loss of a model on what is held out of a file, with or without an adapter."""

    def work() -> None:
        from fp_peft.bases import open_base
        from fp_peft.finetune import held_out_loss
        from fp_peft.interchange import load_adapter

        base = open_base(model)
        tuned = base.model if adapter is None else load_adapter(base.model, adapter, trainable=False)
        material = _read(base, data, held_out, length, system, limit, getattr(tuned, "prefix_length", 0))
        _say(_told(held_out_loss(tuned, material, batch_size)))

    _finish(work)


@app.command()
def merge(
    model: Model,
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="an adapter of LoRA, ours or peft's")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="where the model goes; must not exist")],
) -> None:
    """Write a model with an adapter merged into its weights."""

    def work() -> None:
        from fp_peft.bases import open_base, save_beside
        from fp_peft.interchange import load_adapter
        from fp_peft.merging import merged_model

        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{out} exists and is not empty; choose another --out")
        base = open_base(model)
        save_beside(base, merged_model(load_adapter(base.model, adapter)), out)
        _say(f"the model is in {out}; let it write with\n  fp-capstone generate {out}")

    _finish(work)
