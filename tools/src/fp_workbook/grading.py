"""
Grading one file: what was expected, what came, and which misconception it may be.

`grade` hands the text of a learner's file to a process of its own (`fp_workbook.worker`), watches over the time it
takes and the text it prints, and comes back with one `Verdict`, whatever the file does. A `Session` keeps the process
and grades one file after another, each in a new child where the system can fork.

The clock starts when the file does, not when Python does.
"""

import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from fp_workbook.confine import LINUX, Limits
from fp_workbook.exercises import Exercise
from fp_workbook.worker import DISTURBED

__all__ = ["GradingError", "Limits", "Session", "Verdict", "grade", "limits_for"]

STARTING = 60.0  # seconds in which Python, NumPy and the exercise must be there
ENDING = 15.0  # seconds in which a process that was asked to end has ended all that it started


class GradingError(RuntimeError):
    """The exercise or the system is at fault, not the learner's file."""


@dataclass(frozen=True)
class Verdict:
    """What came of grading one file."""

    kind: str
    """passed, or what stands in the way: wrong, unwritten, missing, syntax, exception, recursion, exit, memory,
    timeout, output, crash, tampered."""
    sentence: str
    """What was expected and what came; empty if all is well."""
    misconception: str | None = None
    """The sentence of the planted mistake that gives the same answers."""
    line: int | None = None
    """The line of the learner's file that it is about."""
    output: str = ""
    """What the file printed."""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.kind == "passed"


def limits_for(exercise: Exercise) -> Limits:
    """A project may take a minute and 2 GiB, everything else ten seconds and 1 GiB."""
    return Limits(seconds=60.0, memory=2 << 30) if exercise.level == "project" else Limits()


def grade(exercise: Exercise, source: str, filename: str, limits: Limits | None = None) -> Verdict:
    """
    Grade the text of one file.

    Parameters
    ----------
    exercise
        The exercise that the file answers.
    source
        The text of the learner's file; it is run, the file itself is not read.
    filename
        The name under which line numbers are reported.
    limits
        What the file may use; by default what the exercise's level allows.

    Raises
    ------
    GradingError
        If the exercise itself cannot be imported.
    """
    with Session(exercise, limits) as session:
        return session.grade(source, filename)


class Session:
    """A process that grades files for one exercise; a context manager."""

    def __init__(self, exercise: Exercise, limits: Limits | None = None) -> None:
        self.exercise = exercise
        self.limits = limits or limits_for(exercise)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, t: TracebackType | None) -> None:
        self.close()

    def grade(self, source: str, filename: str) -> Verdict:
        """As `fp_workbook.grading.grade`."""
        folder = tempfile.mkdtemp(prefix="fp-")
        try:
            self._open()
            return self._grade(source, filename, os.path.realpath(folder))
        except BaseException:  # Ctrl-C too
            self.close()
            raise
        finally:
            _remove(folder)

    def _open(self) -> None:
        if self._process is not None:
            return
        self._token = secrets.token_hex(16)
        self._events: queue.Queue[tuple[str, bytes]] = queue.Queue(maxsize=64)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
            start_new_session=True,  # Ctrl-C reaches this process alone
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._readers = [
            threading.Thread(target=_read_lines, args=(self._process.stdout, self._events), daemon=True),
            threading.Thread(target=_read_output, args=(self._process.stderr, self._events), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        path = [str(Path(entry).absolute()) for entry in sys.path if entry]
        self._send({"path": path, "module": self.exercise.module, "token": self._token})
        printed, deadline = b"", time.monotonic() + STARTING
        while True:
            kind, data = self._next(deadline)
            if kind == "output":
                printed += data
                continue
            event = _parse(data, self._token) if kind == "line" else {"sentence": printed.decode("utf8", "replace")}
            if event.get("event") == "open":
                return
            if kind != "line" or event:
                why = event.get("sentence") or "it does not start"
                raise GradingError(f"exercise {self.exercise.id} cannot be graded here: {why.strip()}")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with suppress(OSError):  # the process has ended: the next event says so
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _next(self, deadline: float) -> tuple[str, bytes]:
        try:
            return self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return "late", b""

    def _grade(self, source: str, filename: str, folder: str) -> Verdict:
        token = secrets.token_hex(16)
        request = {
            "token": token,
            "source": source,
            "file": filename,
            "function": self.exercise.function,
            "folder": folder,
            "limits": asdict(self.limits),
        }
        self._send(request)
        output = _Output(self.limits.output, self._token)
        answer: Verdict | None = None
        stopped: Verdict | None = None
        ended: dict[str, Any] = {}
        gone = False
        noise, seconds, start = 0, 0.0, time.monotonic()
        deadline = start + STARTING
        while not (ended and output.closed):
            kind, data = self._next(deadline)
            if kind == "output":
                output.add(data)
            elif kind == "line":
                event = _parse(data, token) or _parse(data, self._token)
                if event.get("event") == "ready":
                    start = time.monotonic()
                    deadline = start + self.limits.seconds
                elif event.get("event") == "verdict":
                    answer, seconds = self._verdict(event), time.monotonic() - start
                elif event.get("event") == "broken":
                    raise GradingError(f"exercise {self.exercise.id} cannot be graded here: {event['sentence']}")
                elif event.get("event") == "ended":
                    ended, deadline = event, time.monotonic() + ENDING
                else:
                    noise += len(data)
            elif kind == "end":  # the process has ended: without a fork it always does
                ended, gone, deadline = {"left": 0}, True, time.monotonic() + ENDING
            elif kind == "closed":
                output.closed = True
            elif stopped or ended:  # asked to stop, it does not
                gone = True
                break
            else:
                stopped = _stopped("timeout", self.limits)
                deadline = self._stop()
            if stopped is None and (output.full or noise > self.limits.output):
                stopped, answer = _stopped("output", self.limits), None
                deadline = self._stop()
        status = self.close() if gone else ended["status"]
        answer = answer or stopped or _silent(status)
        if not gone and ended["left"] > (status is None):  # a child that was stopped counts itself
            answer = replace(answer, sentence=f"{answer.sentence} Processes that it started were ended.".strip())
        return replace(answer, output=output.text, seconds=seconds or time.monotonic() - start)

    def _verdict(self, event: dict[str, Any]) -> Verdict:
        if event["kind"] == "broken":
            raise GradingError(f"exercise {self.exercise.id} cannot be graded here: {event['sentence']}")
        place = event.get("mistake")
        misconception = None if place is None else self.exercise.mistakes[place][1]
        return Verdict(event["kind"], event["sentence"], misconception, event["line"])

    def _stop(self) -> float:
        """Ask the process to end what it runs; until when it has time to."""
        if LINUX:
            self._send({})
            return time.monotonic() + ENDING
        return time.monotonic()

    def close(self) -> int | None:
        """End the process and everything below it; its exit status, negative for a signal."""
        process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()  # it ends what it runs, then itself
        ending = time.monotonic() + ENDING
        while LINUX and process.poll() is None and time.monotonic() < ending:
            with suppress(queue.Empty):
                self._events.get(timeout=0.01)  # it may be waiting for somebody to read
        if not LINUX:  # one that is ending has a moment to say how
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
        if sys.platform != "win32":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        status = process.wait()
        ending = time.monotonic() + 2
        while any(reader.is_alive() for reader in self._readers) and time.monotonic() < ending:
            with suppress(queue.Empty):
                self._events.get(timeout=0.01)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        return status


def _environment() -> dict[str, str]:
    """What the process needs of this one's environment, and nothing private."""
    keep = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
    return {name: os.environ[name] for name in keep if name in os.environ} | {
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "PYTHONHASHSEED": "0",
        # one thread: the answers are the same everywhere, and a process with threads cannot fork safely
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def _read_lines(stream: IO[bytes], events: queue.Queue[tuple[str, bytes]]) -> None:
    pending = b""
    while data := os.read(stream.fileno(), 1 << 16):
        *lines, pending = (pending + data).split(b"\n")
        if len(pending) > 1 << 16:  # no line of ours is that long
            lines, pending = [*lines, pending], b""
        for line in filter(None, lines):
            events.put(("line", line))
    events.put(("end", b""))


def _read_output(stream: IO[bytes], events: queue.Queue[tuple[str, bytes]]) -> None:
    while data := os.read(stream.fileno(), 1 << 16):
        events.put(("output", data))
    events.put(("closed", b""))


class _Output:
    """The beginning of what a file prints, up to the mark behind its end."""

    def __init__(self, most: int, mark: str) -> None:
        self.most, self.mark = most, mark.encode()
        self.kept, self.tail = b"", b""
        self.full = self.closed = False

    def add(self, data: bytes) -> None:
        """Take in the next piece."""
        self.tail = (self.tail + data)[-len(self.mark) :]
        self.closed = self.tail == self.mark
        self.kept += data[: self.most + len(self.mark) - len(self.kept)]
        self.full = len(self.kept.removesuffix(self.mark)) > self.most

    @property
    def text(self) -> str:
        """What was printed, as text."""
        return self.kept.removesuffix(self.mark)[: self.most].decode("utf8", "replace")


def _parse(line: bytes, token: str) -> dict[str, Any]:
    """The event in a line; nothing if it does not carry the token."""
    given, _, text = line.partition(b" ")
    if not secrets.compare_digest(given, token.encode()):
        return {}
    event = json.loads(text)
    assert isinstance(event, dict)
    return event


def _stopped(kind: str, limits: Limits) -> Verdict:
    if kind == "output":
        size = f"{limits.output / 1024:g} KiB"
        return Verdict("output", f"Stopped: the file printed more than {size}. Is there a print in a loop without end?")
    return Verdict("timeout", f"Stopped after {limits.seconds:g} seconds. Is there a loop without end?")


def _silent(status: int | None) -> Verdict:
    """What to say of a process that ended without a verdict."""
    if status == DISTURBED:
        return Verdict("tampered", "The file closes or changes what the grader needs in order to report.")
    if status is None or status >= 0:
        how = "" if status is None else f" (exit status {status})"
        return Verdict("exit", f"The file ended the program{how} before the check was through; it should return.")
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGXCPU":
        return Verdict(
            "timeout", "Stopped: the file used all the processor time it may have. Is there a loop without end?"
        )
    why = {"SIGSEGV": "memory that is not its own, or a recursion too deep", "SIGKILL": "killed"}.get(name, "a signal")
    return Verdict("crash", f"The file brought the Python interpreter down ({name}: {why}).")


def _remove(folder: str) -> None:
    """Remove the learner's folder, whatever rights it has been given."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        for path, _, _ in os.walk(folder):
            with suppress(OSError):
                Path(path).chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
