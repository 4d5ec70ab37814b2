r"""
The commands: `fp-capstone train`, `generate`, `eval`.

A command is a thin layer: it reads options, calls one function, shows what comes back. It keeps three promises. A
user's mistake is answered by one line on the standard error and an exit code that is not zero, never by a traceback.
Nothing is overwritten. And Ctrl-C (or the signal with which systems end a process) saves a checkpoint and says how to
go on; a second one ends at once.

The options of `train` are the fields of `fp_capstone.settings.Settings`, read from there, so that an option, a key of
the TOML file and a field cannot drift apart. What takes long to import is imported by the command that needs it:
`--help` answers at once.
"""

import inspect
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console

from fp_capstone.settings import PRESETS, Settings, resolve_settings

__all__ = ["app", "main"]

app = typer.Typer(
    name="fp-capstone",
    help="Train a transformer on any text, let it write, and measure it against counting.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_ON_RESUME = ("n_steps", "seconds", "threads")  # what may change without making it another run


def main() -> None:
    """Entry point of the command `fp-capstone`."""
    try:
        app()
    except KeyboardInterrupt:  # outside a command, which answers by itself
        sys.stderr.write("error: interrupted\n")
        sys.exit(130)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn what a user can cause into one line and exit code 1."""
    try:
        with warnings.catch_warnings():
            # NumPy warns of an overflow just before the error that says what to do about it
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except BrokenPipeError:  # the reader, for instance `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except MemoryError:
        _fail("out of memory; lower --batch-size or --context-length, or take a smaller model")
    except OSError as error:
        where = f": {Path(error.filename).absolute()}" if isinstance(error.filename, str) else ""
        notes = " ".join(getattr(error, "__notes__", ["Nothing that was complete has been changed"]))
        _fail(f"{error.strerror or error}{where}. {notes}")
    except (ValueError, FloatingPointError) as error:
        _fail(_one_line(str(error)))


def _one_line(message: str, most: int = 5) -> str:
    """A message and the beginning of the list that may follow it."""
    first, *rest = [line.strip() for line in message.splitlines()] or [""]
    more = [f"and {len(rest) - most:,} more"] if len(rest) > most else []
    return " ".join([first, "; ".join(rest[:most] + more)]).strip()


def _fail(message: str, code: int = 1) -> None:
    Console(stderr=True).print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code) from None


class _Stop:
    """Asked after each step whether to stop; a signal makes it say yes, a second one ends the process."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._running = False

    def __call__(self) -> bool:
        self._running = True
        return self.signal is not None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None or not self._running:  # before the first step there is nothing to save
            raise KeyboardInterrupt
        self.signal = number
        with suppress(OSError):  # not `print`: the signal may have come in the middle of one
            os.write(2, b"stopping after this step (again to stop at once)\n")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive signals inside a `with` statement."""
        old = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def _options_of_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Replace `**options` in a command's signature by one option per field of `Settings`."""
    hints = get_type_hints(Settings)
    standard = Settings(**PRESETS["small"])
    options = []
    for knob in fields(Settings):
        value = getattr(standard, knob.name)
        choices = f" One of {', '.join(knob.metadata['choices'])}." if knob.metadata["choices"] else ""
        option = typer.Option(help=knob.metadata["help"] + choices, show_default=False if value is None else str(value))
        kind = Annotated[hints[knob.name] | None, option]
        options.append(inspect.Parameter(knob.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
    command.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in (*own, *options)}
    return command


@app.command()
@_options_of_settings
def train(
    *,
    preset: Annotated[
        str | None, typer.Option(help=f"Sizes and rates: {', '.join(PRESETS)}.", show_default="small")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with settings; options win over it.", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue the run in this directory, to the same bits.", show_default=False)
    ] = None,
    **options: Any,
) -> None:
    """
    Train a transformer; Ctrl-C saves, --resume continues.

    Defaults shown are those of the preset small; with another preset or a file, its values take their place.
    """
    console = Console()
    with _clear_errors():
        given = {name: value for name, value in options.items() if value is not None}
        if resume is None:
            try:
                settings, run = resolve_settings(given, preset=preset, config=config), None
            except TypeError as error:
                raise ValueError(str(error)) from None
        from fp_capstone.display import Display
        from fp_capstone.run import RunDirectory
        from fp_capstone.run import train as run_training

        if resume is not None:
            other = [f"--{name.replace('_', '-')}" for name in given if name not in _ON_RESUME]
            other += [name for name, value in (("--preset", preset), ("--config", config)) if value is not None]
            if other:
                allowed = ", ".join(f"--{name.replace('_', '-')}" for name in _ON_RESUME)
                raise ValueError(
                    f"a resumed run keeps its settings: {', '.join(other)} cannot go with --resume (only {allowed} can)"
                )
            run = RunDirectory(resume)
            settings = replace(run.settings, **({"seconds": None} | given))
        stop = _Stop()
        with stop.listening(), Display(console) as display:
            run, report = run_training(settings, display, stop=stop, resume=run)
    if report is None:
        console.print(f"saved; continue with\n  fp-capstone train --resume {run.path}", markup=False, soft_wrap=True)
        raise typer.Exit(128 + (stop.signal or signal.SIGINT))
    sample = max((run.path / "samples").glob("step-*.txt"))  # of the final model: later ones do not exist
    console.print(f"\na sample of the model after step {int(sample.stem[5:]):,}:\n", markup=False, highlight=False)
    console.print(sample.read_text(encoding="utf-8"), markup=False, highlight=False, soft_wrap=True)
    console.print(f"\n{report}\n", markup=False, highlight=False, soft_wrap=True)
    console.print(f"everything is in {run.path}; let it write with\n  fp-capstone generate {run.path}", markup=False)


@app.command()
def generate(
    model: Annotated[Path | None, typer.Argument(help="A run or a model directory; default: the newest run.")] = None,
    prompt: Annotated[str | None, typer.Option(help="What to continue; default: an empty line.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="How many tokens to write.")] = 500,
    temperature: Annotated[float, typer.Option(help="Below 1 bolder guesses, 0 always the likeliest token.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest tokens only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the likeliest tokens that hold this probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed writes the same text; default: a new one.")] = None,
) -> None:
    """Let a model write, token by token."""
    with _clear_errors():
        import numpy as np

        from fp_capstone.corpus import encode_exactly
        from fp_capstone.run import load_trained, newest_run

        if seed is not None and seed < 0:
            raise ValueError(f"--seed must be at least 0, got {seed}")
        if not 0 <= temperature < math.inf:
            raise ValueError(f"--temperature must be 0 (greedy) or positive, got {temperature}")
        network, tokenizer = load_trained(newest_run() if model is None else model)
        if prompt == "":
            raise ValueError("the prompt is empty; leave --prompt out to begin with an empty line")
        what = "the default prompt, an empty line, (name another with --prompt)" if prompt is None else "the prompt"
        ids = encode_exactly("\n" if prompt is None else prompt, tokenizer, what)
        tokens = network.generate(ids, max_new_tokens, np.random.default_rng(seed), temperature, top_k, top_p)
        sys.stdout.write(prompt or "")
        pending: list[int] = []
        for token in tokens:
            pending.append(token)
            text = tokenizer.decode(pending)
            if text.endswith("\ufffd") and len(pending) < 4:  # the first bytes of a longer character
                continue
            sys.stdout.write(text)
            sys.stdout.flush()
            pending.clear()
        sys.stdout.write(tokenizer.decode(pending) + "\n")
        sys.stdout.flush()


@app.command(name="eval")
def evaluate(
    model: Annotated[Path | None, typer.Argument(help="A run or a model directory; default: the newest run.")] = None,
    text: Annotated[
        str | None,
        typer.Option(help="A file, a folder or - for standard input; default: the run's own, or Python's reference."),
    ] = None,
    encoding: Annotated[str, typer.Option(help="How the bytes of the text spell characters.")] = "utf-8",
    window: Annotated[int | None, typer.Option(help="Tokens of a window; default: the model's context length.")] = None,
) -> None:
    """
    Loss on the held-out part of a text, beside n-gram models counted on its training part.

    The text is cut as train cuts it.
    """
    with _clear_errors():
        from fp_capstone.run import evaluate_trained, newest_run

        report = evaluate_trained(newest_run() if model is None else model, text, encoding, window)
        Console().print(str(report), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
