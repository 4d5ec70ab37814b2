"""
The process in which a learner's file is graded.

`fp_workbook.grading` starts this file as a script and talks to it in lines: JSON on the standard input, JSON behind a
token on the standard output, which the learner's file does not have as its own. The process imports the exercise once.
For each file to grade it forks a child, which is shut in (`fp_workbook.confine`) before it runs the file and the check.
When the child has ended, or is to be stopped, whatever it started is killed, also what has left its session: on Linux
orphans fall to this process (`PR_SET_CHILD_SUBREAPER`), and as root all that runs under the child's own user id goes
at once. On other systems there is no child: the process grades one file and ends.

Success is a line that carries the token of this grading, sent after the check has run. What the file prints and how it
exits count for nothing. After a success the check must still refuse a wrong answer, or the file has tampered with it.
No import leads to the answer: the exercise is out of `sys.modules`, and to import one is refused. The learner's code
and the check share a process, so that an answer may be any object: this keeps accidents and idle tricks out. Somebody
who searches the process's memory in order to cheat himself can.
"""

import ctypes
import json
import linecache
import os
import re
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace, TracebackType
from typing import Any, Never

LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36
LONGEST = 1500  # characters of a sentence
DISTURBED = 97  # exit status of a child that could not report
EXERCISE = re.compile(r"fp_\w+\.exercises\.")  # how the name of a module begins that holds an answer

Report = Callable[..., None]


def main() -> None:
    """Serve gradings until the standard input ends."""
    channel = os.dup(1)
    os.dup2(2, 1)  # what is printed goes another way than the verdicts
    lines = Lines()
    setup = json.loads(lines.read())
    sys.path[:] = setup["path"]
    token = setup.pop("token")
    announce = reporter(channel, token)
    try:
        exercise = import_module(setup["module"])
    except BaseException as error:
        announce(event="broken", sentence=f"{type(error).__name__}: {error}")
        return
    hide_exercises()
    import fp_workbook.answers
    import fp_workbook.confine

    for late in ("encodings.idna", "encodings.latin_1", "unicodedata", "_strptime"):
        import_module(late)  # what the standard library imports when it first needs it

    if not LINUX:
        announce(event="open")
        grade(json.loads(lines.read()), exercise, channel, None)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    uid = fp_workbook.confine.spare_uid(os.getpid())
    announce(event="open")
    while line := lines.read():
        request = json.loads(line)
        if not request:  # "stop", for a child that had ended by itself
            continue
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (ended, wake):
                os.close(descriptor)
            del announce, token  # the learner's file shares its process with what stands here
            grade(request, exercise, channel, uid)
        status = wait(child, ended)
        left = sweep(child, uid)
        if uid is not None:
            remove_files_of(uid, request["folder"])
        os.write(1, token.encode())  # the end of what was printed
        announce(event="ended", status=status, left=left)


class Lines:
    """Lines of the standard input, read without reading ahead of `select`."""

    def __init__(self) -> None:
        self.pending = b""

    def read(self) -> str:
        """The next line that is not empty; "" at the end."""
        while True:
            line, newline, rest = self.pending.partition(b"\n")
            if newline:
                self.pending = rest
                if line:
                    return line.decode()
            else:
                more = os.read(0, 1 << 16)
                if not more:
                    return ""
                self.pending += more


def reporter(channel: int, token: str) -> Report:
    """A function that sends a line; a copy of this process, made by the learner's file, cannot send."""
    own, getpid, write, dumps = os.getpid(), os.getpid, os.write, json.dumps

    def report(**fields: object) -> None:
        if getpid() == own:
            write(channel, f"\n{token} {dumps(fields)}\n".encode())

    return report


# --- the process that watches


def wait(child: int, ended: int) -> int | None:
    """The exit status of a child, negative for a signal; None if the other side asks to stop it (or is gone)."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            os.read(ended, 512)
        elif 0 in ready:
            return None


def sweep(group: int, uid: int | None) -> int:
    """Kill and reap every process below this one; how many there were."""
    count, deadline = 0, time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)  # all at once: none of them can fork meanwhile
        if uid is not None:
            kill_all_of(uid)
        for pid in descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                count += 1
        except ChildProcessError:
            return count
        time.sleep(0.002)
    return count


def kill_all_of(uid: int) -> None:
    """Kill every process of a user at once."""
    killer = os.fork()
    if killer == 0:
        with suppress(OSError):
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(killer, 0)


def descendants() -> set[int]:
    """The processes below this one."""
    parent: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # after the name in brackets, which may hold anything: the state, the parent
            parent[int(process.name)] = int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])
    found, new = set[int](), {os.getpid()}
    while new:
        new = {pid for pid, above in parent.items() if above in new}
        found |= new
    return found


def remove_files_of(uid: int, folder: str) -> None:
    """Remove what the learner's file left where everybody may write (before Landlock, nothing keeps it from there)."""
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.path != folder and entry.stat(follow_symlinks=False).st_uid == uid:
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        Path(entry.path).unlink()


# --- the process that runs the learner's file


def hide_exercises() -> None:
    """Keep what an exercise holds, the answer, from whoever imports it or looks among the modules."""
    for name in filter(EXERCISE.match, list(sys.modules)):
        parent, _, own = name.rpartition(".")
        del sys.modules[name]
        delattr(sys.modules[parent], own)
    sys.meta_path.insert(0, Refusal())


class Refusal:
    """Where an import looks first: of an exercise it finds that this may not be."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse an exercise, know nothing of other modules."""
        if EXERCISE.match(name):
            raise PermissionError("a graded file may not import an exercise, which holds the answer")


def grade(request: dict[str, Any], exercise: ModuleType, channel: int, uid: int | None) -> Never:
    """Grade one file and end this process."""
    report = reporter(channel, request.pop("token"))
    leave, status, begun = os._exit, 0, False
    try:
        from fp_workbook.confine import Limits, confine

        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        import_ahead(request["source"])
        report(event="ready")
        confine(Limits(**request["limits"]), request["folder"], uid)
        begun = True
        verdict = judge(request["source"], request["file"], request["function"], exercise)
        report(event="verdict", **verdict)
        if verdict["kind"] in ("wrong", "exception"):
            report(event="verdict", **verdict, mistake=recognise(request["function"], exercise))
    except BaseException as error:
        status = DISTURBED
        with suppress(BaseException):
            came = f"{type(error).__name__}: {plain(error)}"
            if begun:
                report(event="verdict", kind="tampered", sentence=f"The file disturbs the grader ({came}).", line=None)
            else:
                report(event="broken", sentence=came)
    with suppress(BaseException):
        sys.stdout.flush()
    leave(status)


def import_ahead(source: str) -> None:
    """
    Import what the file will import, while all files can still be read.

    Only names of the standard library, NumPy and our stages; what fails here fails again, with its line, in the file.
    """
    import ast

    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in nodes:
        names: list[tuple[str, list[str]]] = []
        if isinstance(node, ast.Import):
            names = [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [(node.module, [alias.name for alias in node.names])]
        for module, attributes in names:
            top = module.partition(".")[0]
            if top in ("antigravity", "this"):  # the two that do something
                continue
            if top in sys.stdlib_module_names or top == "numpy" or top.startswith("fp_"):
                with suppress(BaseException):
                    loaded = import_module(module)
                    for attribute in attributes:
                        getattr(loaded, attribute, None)  # a name of a chapter imports its section


learner: Any = None  # the learner's function, behind `Watched`: `judge` loads it, `recognise` asks it again


class Watched:
    """A function that remembers what it raised and the last that it returned."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.raised: list[BaseException] = []
        self.returned: object = None

    def __call__(self, *args: object, **kwargs: object) -> object:
        try:
            self.returned = self.function(*args, **kwargs)
        except BaseException as error:
            self.raised.append(error)
            raise
        return self.returned


def judge(source: str, file: str, function: str, exercise: ModuleType) -> dict[str, Any]:
    """Load the learner's file, run the check on it, say what came of it."""
    global learner
    check, mistakes = exercise.check, exercise.MISTAKES
    before = functions_of(exercise)
    try:
        namespace = load(source, file)
    except BaseException as error:
        return explain(error, file)
    if not callable(namespace.get(function)):
        others = [n for n, v in namespace.items() if callable(v) and getattr(v, "__module__", "") == Path(file).stem]
        found = f"; it defines {', '.join(others[:5])}" if others else ""
        return verdict("missing", f"The file defines no function {function}{found}.")
    learner = Watched(namespace[function])
    try:
        check(SimpleNamespace(**{function: learner}))
    except BaseException as error:
        chain = [e for e in (error, error.__cause__, error.__context__) if e is not None]
        causes = [e for e in chain if any(e is raised for raised in learner.raised)]
        if causes and (causes[0] is error or not isinstance(error, AssertionError)):
            return explain(causes[0], file)
        if causes and isinstance(causes[0], NotImplementedError):
            return explain(causes[0], file)
        if isinstance(error, AssertionError):
            return verdict("wrong", plain(error) or f"A requirement of the check fails: {asserted(error)}")
        if isinstance(error, MemoryError):
            return explain(error, file)
        came = plain(learner.returned, repr)[:200]
        why = f"{type(error).__name__}: {plain(error)}"
        return verdict("wrong", f"The check cannot use what {function} returned, {came} ({why}).")
    modules = {**sys.modules, exercise.__name__: exercise}
    for (module, name), thing in before.items():
        if getattr(modules.get(module), name, None) is not thing:
            return verdict("tampered", f"The file changes {module}.{name}, which the check may use.")
    for impostor in (lambda *_, **__: None, mistakes[0][0]):
        try:
            check(SimpleNamespace(**{function: impostor}))
        except Exception:
            continue
        return verdict("tampered", "Since the file was loaded, the check accepts a wrong answer too.")
    return verdict("passed", "")


def functions_of(exercise: ModuleType) -> dict[tuple[str, str], object]:
    """What the check may call: all that is callable in the exercise, Python's built-ins, mathematics and our stages."""
    modules = {
        name: module
        for name, module in sys.modules.items()
        if name in ("builtins", "math", "cmath") or name.startswith(("numpy", "fp_"))
    } | {exercise.__name__: exercise}
    return {
        (place, name): thing
        for place, module in modules.items()
        for name, thing in list(vars(module).items())
        if callable(thing)
    }


def load(source: str, file: str) -> dict[str, Any]:
    """Run the learner's file as a module; what it defines."""
    code = compile(source, file, "exec", dont_inherit=True)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    module = ModuleType(Path(file).stem)
    module.__file__ = file
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return module.__dict__


def recognise(function: str, exercise: ModuleType) -> int | None:
    """The place of the planted mistake that answers the probes as the learner's function does."""
    from fp_workbook.answers import answers, same

    if not isinstance(learner, Watched):
        return None
    given = answers(learner.function, exercise.PROBES)
    for place, (mistake, _) in enumerate(exercise.MISTAKES):
        if same(given, answers(mistake, exercise.PROBES)):
            return place
    return None


def verdict(kind: str, sentence: str, line: int | None = None) -> dict[str, Any]:
    """What is reported of a file."""
    if len(sentence) > LONGEST:
        sentence = sentence[:LONGEST] + " … (cut)"
    return {"kind": kind, "sentence": sentence, "line": line}


def plain(thing: object, how: Callable[[object], str] = str) -> str:
    """`str` or `repr` of an object, which may be the learner's and fail at it."""
    try:
        return how(thing)
    except Exception:
        return f"<{type(thing).__name__}>"


def asserted(error: BaseException) -> str:
    """The source line of the assertion that failed without a message."""
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line or "").strip() if frames else ""


def explain(error: BaseException, file: str) -> dict[str, Any]:
    """One sentence for what the learner's file raised."""
    line = line_in(error.__traceback__, file)
    where = f"Line {line}: " if line else ""
    name, message = type(error).__name__, " ".join(plain(error).split())
    match error:
        case SyntaxError(filename=place, lineno=int(line)) if place == file:
            return verdict("syntax", f"Line {line} is not valid Python: {error.msg}.", line)
        case NotImplementedError():
            return verdict("unwritten", "Not written yet: the function raises NotImplementedError.", line)
        case SystemExit() | KeyboardInterrupt() | GeneratorExit():
            return verdict("exit", f"{where}the file ends the program ({name}) where it should return an answer.", line)
        case MemoryError():
            return verdict("memory", f"{where}the file asks for more memory than it may have.", line)
        case RecursionError():
            return verdict("recursion", f"{where}the function calls itself without end ({name}).", line)
    return verdict("exception", f"{where}{name}: {message}" if message else f"{where}{name}", line)


def line_in(trace: TracebackType | None, file: str) -> int | None:
    """The line of the learner's file in which an error came up."""
    found = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


if __name__ == "__main__":
    main()
