r"""
The commands: `fp-dynamics report` and `fp-dynamics doctor`.

Both take the directory of a run and may be called while it goes on. A user's mistake is answered by one line on the
standard error and the exit code 1.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

__all__ = ["app", "main"]

app = typer.Typer(
    name="fp-dynamics",
    help="Look at a training run: its curves on one page, and what is wrong with it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Run = Annotated[Path, typer.Argument(help="A run directory, as fp-capstone train makes; it may still be going on.")]


def main() -> None:
    """Entry point of the command `fp-dynamics`."""
    try:
        app()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(130)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn what a user can cause into one line and exit code 1."""
    try:
        yield
    except BrokenPipeError:  # the reader, for instance `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except OSError as error:
        where = f": {Path(error.filename).absolute()}" if isinstance(error.filename, str) else ""
        _fail(f"{error.strerror or error}{where}")
    except ValueError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    raise typer.Exit(1)


@app.command()
def report(
    run: Run,
    output: Annotated[
        Path | None, typer.Option(help="The page to write; default: report.html in the run.", show_default=False)
    ] = None,
    smoothing: Annotated[float, typer.Option(help="Decay of the smoothed loss, at least 0 and below 1.")] = 0.95,
) -> None:
    """Write one self-contained page: loss, rate, gradients, throughput, layers if they were recorded, and findings."""
    with _clear_errors():
        from fp_dynamics.diagnosis import diagnose
        from fp_dynamics.history import RunHistory
        from fp_dynamics.report import report_html, write_report

        history = RunHistory(run)
        path = run / "report.html" if output is None else output
        title = f"Run {run.resolve().name}"
        findings = diagnose(history) if any("loss" in record for record in history.records) else ()
        page = report_html(history, title=title, findings=findings, decay=smoothing)
        write_report(path, page)
        Console().print(f"the report is {path}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def doctor(
    run: Run,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say what is wrong with a run: the evidence, and the remedy."""
    with _clear_errors():
        import json

        from fp_dynamics.diagnosis import diagnose
        from fp_dynamics.history import RunHistory

        history = RunHistory(run)
        if not history.records:
            raise ValueError(f"{run} has no steps yet: wait until its first row is written")
        findings = diagnose(history)
        if as_json:
            rows = [
                {"name": f.name, "severity": f.severity, "evidence": f.evidence, "remedy": f.remedy} for f in findings
            ]
            sys.stdout.write(json.dumps(rows, indent=1) + "\n")
            return
        console = Console()
        if not findings:
            n = len(history.records)
            console.print(f"nothing is wrong with {run} that its {n:,} records show", markup=False, highlight=False)
        for f in findings:
            colour = {"error": "bold red", "warning": "bold yellow"}.get(f.severity, "bold")
            console.print(f.name, style=colour, markup=False, highlight=False)
            console.print(f"  evidence: {f.evidence}\n  remedy: {f.remedy}", markup=False, highlight=False)
        for name, reason in findings.unexamined.items():
            console.print(f"not examined: {name} ({reason})", style="dim", markup=False, highlight=False)


if __name__ == "__main__":
    main()
