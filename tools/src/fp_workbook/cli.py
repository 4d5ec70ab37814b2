"""
The learner's command: `fp list`, `start`, `check`, `watch`, `hint`, `solution`, `progress`, `reset`.

Exercises are named `markov/05`; `markov` alone means all of that stage. A mistake in the command is answered by one
line and an exit code that is not zero.
"""

import difflib
import os
import re
import sys
import time
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from fp_workbook.exercises import Exercise, discover_all
from fp_workbook.grading import GradingError, Verdict, grade
from fp_workbook.workspace import Workspace

__all__ = ["app", "main"]

app = typer.Typer(
    name="fp",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)

COLOURS = {"passed": "green", "started": "yellow", "not started": "dim"}
HEADINGS = {
    "passed": "passed",
    "wrong": "not yet",
    "unwritten": "not written yet",
    "timeout": "stopped",
    "output": "stopped",
    "memory": "stopped",
}
SHOWN = 12  # lines of what a file printed
INTERVAL = 0.4  # seconds between two looks at the files

Target = Annotated[
    str | None, typer.Argument(help="A stage (markov) or an exercise (markov/05); default: all started.")
]
One = Annotated[str, typer.Argument(help="An exercise, for example markov/05.")]


def main() -> None:
    """Entry point of the command `fp`."""
    try:
        sys.exit(app(prog_name="fp", standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        message, code = "interrupted", 130
    except Exception as error:  # a command or an option that does not exist: one line, as for every other mistake
        if not hasattr(error, "format_message"):
            raise
        message, code = error.format_message(), 2
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(code)


@app.callback()
def help_(context: typer.Context) -> None:
    """Exercises of Building LLMs from First Principles, graded on your own machine."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn what a learner can cause into one line and exit code 1."""
    try:
        yield
    except BrokenPipeError:  # the reader, for instance `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else f"{error.strerror or error}")
    except (ValueError, GradingError) as error:
        _fail(" ".join(str(error).split()))


def _fail(message: str, code: int = 1) -> None:
    Console(stderr=True).print(f"error: {_printable(message)}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code) from None


def _printable(text: str) -> str:
    """Text from outside without what a terminal obeys instead of showing."""
    return "".join(c if c.isprintable() or c in "\t\n" else "?" for c in text)


def _say(*parts: str | Text | tuple[str, str]) -> None:
    """One line, as long as it is: what one may want to copy is not broken."""
    console.print(Text.assemble(*parts), soft_wrap=True)


def _prose(text: str) -> None:
    """A paragraph or more, wrapped; what stands between backticks is code."""
    styled = Text()
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if styled:
            styled.append("\n\n")
        for i, piece in enumerate(" ".join(paragraph.split()).split("`")):
            styled.append(piece, style="cyan" if i % 2 else "")
    _wrapped(styled)


def _wrapped(text: Text) -> None:
    """Text with an indent of two, in lines that are read with ease and have no spaces at their end."""
    for line in text.wrap(console, min(console.width, 100) - 2):
        line.rstrip()
        console.print(Text("  ") + line if line.plain else "", soft_wrap=True)


def _everything() -> list[Exercise]:
    found = [exercise for _, _, exercises in discover_all() for exercise in exercises]
    if not found:
        raise ValueError("no stage with exercises is installed; install one, for example fp-markov")
    return found


def _select(target: str) -> list[Exercise]:
    """The exercises that a stage or an id names."""
    every = _everything()
    wanted = target.strip().removesuffix("/").removesuffix(".py").removeprefix("exercises/").removeprefix("fp-").lower()
    stage, slash, rest = wanted.partition("/")
    chosen = [e for e in every if e.stage == stage]
    if slash:
        number = re.fullmatch(r"e?0*(\d+)(_\w+)?", rest)
        chosen = [e for e in chosen if rest == e.name or (number and e.number == int(number[1]))]
    if chosen:
        return chosen
    stages = list(dict.fromkeys(e.stage for e in every))
    if stage in stages:
        numbers = [e.id for e in every if e.stage == stage]
        raise ValueError(f"there is no exercise {target}; {stage} has {numbers[0]} to {numbers[-1]}")
    near = difflib.get_close_matches(stage, stages, n=1, cutoff=0.5)
    guess = "/".join([*near, *([rest] if rest else [])]) if near else ""
    meant = f"; did you mean {guess}?" if near and _exists(guess, every) else f"; installed: {', '.join(stages)}"
    raise ValueError(f"there is no stage {stage}{meant}")


def _exists(guess: str, every: list[Exercise]) -> bool:
    return any(guess in (e.stage, e.id) for e in every)


def _select_one(target: str) -> Exercise:
    chosen = _select(target)
    if "/" not in target.strip("/") or len(chosen) > 1:
        raise ValueError(f"name one exercise, for example {chosen[0].id}; got {target}")
    return chosen[0]


def _started(target: str | None, workspace: Workspace) -> list[Exercise]:
    """The exercises to grade: those named that have been started."""
    named = _everything() if target is None else _select(target)
    chosen = [e for e in named if workspace.path(e).exists()]
    if not chosen:
        where = "" if workspace.folder.exists() else f": there is no folder {workspace.folder} in {Path.cwd()}"
        what = f"{target} is not started" if target else "nothing is started"
        raise ValueError(f"{what}{where}; begin with fp start {target or named[0].stage}")
    return chosen


def _bar(done: int, of: int, width: int = 24) -> Text:
    full = round(width * done / of)
    filled, empty = ("━", "─") if console.encoding.lower().startswith("utf") else ("#", "-")
    return Text.assemble((filled * full, "green"), (empty * (width - full), "dim"))


@app.command("list")
def list_() -> None:
    """Show every exercise and how far you are."""
    with _clear_errors():
        workspace = Workspace()
        _everything()
        for number, stage, exercises in discover_all():
            states = [workspace.state(e) for e in exercises]
            _say((f"Stage {number}: {stage}", "bold"), (f"  {states.count('passed')} of {len(states)} passed", "dim"))
            width = max(len(e.title) for e in exercises)
            for exercise, state in zip(exercises, states, strict=True):
                facts = f"  {exercise.id}  {exercise.title:{width}}  "
                _say(facts, (f"{exercise.level:9}  ", "dim"), (state, COLOURS[state]))
            console.print()
        if not workspace.folder.exists():
            _say(("Begin with ", "dim"), f"fp start {next(discover_all())[1]}")


@app.command()
def start(target: Annotated[str, typer.Argument(help="A stage (markov) or an exercise (markov/05).")]) -> None:
    """Make the files in which you write; what you have written stays as it is."""
    with _clear_errors():
        workspace = Workspace()
        chosen = _select(target)
        made = [e for e in chosen if workspace.start(e)]
        if made:
            _say(f"made in {workspace.path(made[0]).parent}:")
        width = max((len(e.file_name) for e in made), default=0)
        for exercise in made:
            _say(f"  {exercise.file_name:{width}}", (f"  {exercise.title}", "dim"))
        left = [e for e in chosen if e not in made]
        if left:
            _say(f"there already and left alone: {', '.join(e.id for e in left)}")
        first = (made or left)[0]
        _say((f"\nOpen {workspace.path(first)},\nwrite the function in it, then run ", "dim"), f"fp check {first.id}")


@app.command()
def check(target: Target = None) -> None:
    """Grade what you wrote: all that is started, a stage, or one exercise."""
    with _clear_errors():
        workspace = Workspace()
        chosen = _started(target, workspace)
        passed, notes = 0, set()
        for exercise in chosen:
            verdict = _grade(exercise, workspace)
            _show(exercise, verdict, workspace, brief=len(chosen) > 1)
            notes |= _unrecorded(workspace.record, exercise, verdict.passed)
            passed += verdict.passed
        if len(chosen) > 1:
            _say((f"\n{passed} of {len(chosen)} passed", "bold"))
        _admit(notes)
    raise typer.Exit(0 if passed == len(chosen) else 1)


def _grade(exercise: Exercise, workspace: Workspace) -> Verdict:
    path = workspace.path(exercise)
    data = path.read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(data).readline)
        source = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        verdict = Verdict("syntax", f"The file is not text in UTF-8 ({error}).")
    else:
        with _waiting(f"grading {exercise.id}"):
            verdict = grade(exercise, source, str(path.absolute()))
    return verdict


def _unrecorded(record: Callable[..., object], *arguments: object) -> set[str]:
    """Record what has been reached; why that cannot be, which is no reason to keep an answer back."""
    try:
        record(*arguments)
    except OSError as error:
        return {f"not recorded: {error.strerror}: {error.filename}"}
    return set()


def _admit(notes: set[str]) -> None:
    for note in sorted(notes):
        _say((note, "yellow"))


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    if console.is_terminal:
        with console.status(what, spinner="line"):
            yield
    else:
        yield


def _show(exercise: Exercise, verdict: Verdict, workspace: Workspace, *, brief: bool = False) -> None:
    """What came of one exercise; `brief` leaves out what to do next."""
    heading = HEADINGS.get(verdict.kind, "does not run")
    colour = "green" if verdict.passed else "yellow" if verdict.kind in ("wrong", "unwritten") else "red"
    _say((exercise.id, "bold"), f"  {exercise.title}  ", (heading, colour))
    if brief and verdict.kind in ("passed", "unwritten"):
        return
    if verdict.sentence and verdict.kind != "unwritten":
        _wrapped(Text(_printable(verdict.sentence)))
    if verdict.misconception:
        console.print()
        _say(("  What happened, most likely:", "bold"))
        _prose(verdict.misconception)
    printed = _fitted(verdict.output)
    if printed:
        console.print()
        _say(("  Your file printed:", "dim"))
        cut = len(printed) > SHOWN
        for line in printed[: SHOWN - cut]:
            _say(line)
        if cut:
            _say((f"    and {len(printed) - SHOWN + 1} lines more", "dim"))
    if brief:
        return
    place = f"{workspace.path(exercise)}" + (f":{verdict.line}" if verdict.line else "")
    if not verdict.passed:
        console.print()
        _say(("  file      ", "dim"), place)
        _say(("  hint      ", "dim"), f"fp hint {exercise.id}")
    else:
        _say(("  solution  ", "dim"), f"fp solution {exercise.id}")


def _fitted(output: str) -> list[str]:
    """What a file printed in lines that fit the width; one that continues another stands further in."""
    lines = []
    for line in output.rstrip().splitlines():
        text = Text(_printable(line), tab_size=8)
        pieces = text.wrap(console, max(console.width - 6, 20))
        lines += [(("      " if i else "    ") + piece.plain).rstrip() for i, piece in enumerate(pieces)]
    return lines


@app.command()
def watch(target: Target = None) -> None:
    """Grade again whenever you save; Ctrl-C ends it."""
    with _clear_errors():
        workspace = Workspace()
        seen = {e.id: _stamp(workspace.path(e)) for e in _started(target, workspace)}
        names = f"{len(seen)} exercises" if len(seen) > 1 else next(iter(seen))
        _say(f"Watching {names} in {workspace.folder}; save a file and it is graded. Ctrl-C ends this.")
        try:
            while True:
                time.sleep(INTERVAL)
                for exercise in _everything() if target is None else _select(target):
                    stamp = _stamp(workspace.path(exercise))
                    if stamp is not None and stamp != seen.get(exercise.id):
                        try:
                            verdict = _grade(exercise, workspace)
                        except FileNotFoundError:  # an editor is about to put another in its place
                            continue
                        _say((f"\n{time.strftime('%H:%M:%S')}", "dim"))
                        _show(exercise, verdict, workspace)
                        _admit(_unrecorded(workspace.record, exercise, verdict.passed))
                    seen[exercise.id] = stamp
        except KeyboardInterrupt:
            _say("\nno longer watching")


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is saved; None while there is none (an editor may replace it)."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


@app.command()
def hint(target: One) -> None:
    """Give the next hint, a step further each time."""
    with _clear_errors():
        exercise, workspace = _select_one(target), Workspace()
        before, total = workspace.hints_given(exercise), len(exercise.hints)
        if before >= total:
            _say((exercise.id, "bold"), f"  {exercise.title}", ("  no more hints; the last was", "dim"))
            _prose(exercise.hints[-1])
            _say(("  solution  ", "dim"), f"fp solution {exercise.id} --spoil")
        else:
            _say((exercise.id, "bold"), f"  {exercise.title}", (f"  hint {before + 1} of {total}", "dim"))
            _prose(exercise.hints[before])
        _admit(_unrecorded(workspace.next_hint, exercise))


@app.command()
def solution(
    target: One,
    spoil: Annotated[bool, typer.Option("--spoil", help="Show it before your own answer has passed.")] = False,
) -> None:
    """Show our solution, once yours has passed."""
    with _clear_errors():
        exercise, workspace = _select_one(target), Workspace()
        if not spoil and workspace.state(exercise) != "passed":
            raise ValueError(
                f"{exercise.id} has not passed yet; fp hint {exercise.id} helps, "
                f"fp solution {exercise.id} --spoil shows it all the same"
            )
        if console.is_terminal:
            console.print(Syntax(exercise.solution(), "python", theme="ansi_light", background_color="default"))
        else:
            console.print(exercise.solution(), markup=False, soft_wrap=True, end="")


@app.command()
def progress() -> None:
    """Show how much of each stage you have done."""
    with _clear_errors():
        workspace = Workspace()
        every = _everything()
        states = {e.id: workspace.state(e) for e in every}
        width = max(len(e.stage) for e in every)
        for number, stage, exercises in discover_all():
            of = [states[e.id] for e in exercises]
            done, begun = of.count("passed"), of.count("started")
            started = (f", {begun} started", "yellow") if begun else ""
            _say(f"{number:2}  {stage:{width}}  ", _bar(done, len(of)), f"  {done} of {len(of)} passed", started)
        following = next((e for e in every if states[e.id] == "started"), None)
        following = following or next((e for e in every if states[e.id] == "not started"), None)
        if following:
            verb = "check" if workspace.path(following).exists() else "start"
            _say(("\nnext: ", "dim"), f"fp {verb} {following.id}", (f"  {following.title}", "dim"))


@app.command()
def reset(
    target: One,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Begin an exercise anew; the file you wrote is kept beside it under a number."""
    with _clear_errors():
        exercise, workspace = _select_one(target), Workspace()
        path = workspace.path(exercise)
        if (
            path.exists()
            and not yes
            and not typer.confirm(f"Begin {path} anew? What you wrote is kept under a number.")
        ):
            _fail("nothing was changed")
        kept = workspace.reset(exercise)
        if kept:
            _say("kept  ", str(kept))
        _say("made  ", (str(path), "bold"))


if __name__ == "__main__":
    main()
