"""
Mirrors src/fp_workbook/grading.py, worker.py and confine.py: whatever a file does, one sentence and no harm.

Every file here is graded in a real process. The sample exercise asks for `mean`.
"""

import ast
import ctypes
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fp_workbook import confine, grading
from fp_workbook.exercises import Exercise

SAMPLE = Path(__file__).parent / "sample"
FILE = "/home/learner/exercises/sample/e01_mean.py"
SECONDS = 2.0  # a right answer takes a hundredth of it, on a busy machine too
RIGHT = "def mean(x, empty=float('nan')):\n    return sum(x) / len(x) if x else empty\n"
LIBC = "import ctypes, os, time\nlibc = ctypes.CDLL(None)\n"  # code that goes around Python's own functions

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such calls, or other paths")
CAP_DAC_READ_SEARCH, CAP_SETUID = 2, 7
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these walls")


def landlock_version():
    return ctypes.CDLL(None).syscall(444, None, 0, 1) if sys.platform == "linux" else 0


def is_root(without=None):
    """Whether this is root, or root that lacks the power of a number (a container may take some away)."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text("ascii")
    powers = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    return without is None or not powers & 1 << without


def reads_its_library():
    """Whether Python's own files can be read by the user that root becomes."""
    open_to_all = all(folder.stat().st_mode & 1 for folder in Path(os.__file__).resolve().parents)
    return open_to_all or not is_root(without=CAP_DAC_READ_SEARCH)


bound = pytest.mark.skipif(
    is_root(without=CAP_SETUID), reason="this root cannot become a user whose processes are limited"
)


def read(name):
    return Exercise.read(SAMPLE / "fp_sample" / "exercises" / f"{name}.py", "sample", "fp_sample")


@pytest.fixture(scope="module", autouse=True)
def sample_on_path():
    sys.path.append(str(SAMPLE))
    yield
    sys.path.remove(str(SAMPLE))


@pytest.fixture(scope="module")
def session(sample_on_path):
    with grading.Session(read("e01_mean"), grading.Limits(seconds=SECONDS)) as session:
        yield session


@pytest.fixture(scope="module")
def folders():
    """Where the folders of the gradings are made, apart from those of other graders on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def grade(session, folders, monkeypatch):
    """Grade a text and see that nothing is left of it: no folder, no process, a grader that still grades."""

    monkeypatch.setattr(tempfile, "tempdir", str(folders))

    def grade(source):
        verdict = session.grade(source, FILE)
        assert "\n" not in verdict.sentence.strip()
        assert list(folders.glob("fp-*")) == []
        if session._process is not None and sys.platform == "linux":
            assert children_of(session._process.pid) == []
        return verdict

    yield grade
    assert session.grade(RIGHT, FILE).passed


def children_of(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_bytes().rpartition(b")")[2].split()[1]) == pid:
                found.append(stat)
        except OSError:
            continue
    return found


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


# --- answers


def test_a_right_answer_passes(grade):
    verdict = grade(RIGHT)
    assert verdict.passed
    assert (verdict.kind, verdict.sentence, verdict.misconception) == ("passed", "", None)


def test_one_call_grades_one_file():
    assert grading.grade(read("e01_mean"), RIGHT, FILE).passed


def test_the_stub_is_not_written_yet(grade):
    verdict = grade(read("e01_mean").stub())
    assert (verdict.kind, verdict.sentence) == (
        "unwritten",
        "Not written yet: the function raises NotImplementedError.",
    )


def test_the_solution_passes(grade):
    assert grade(read("e01_mean").solution()).passed


def test_a_wrong_answer_is_told_what_was_expected_and_what_came(grade):
    verdict = grade("def mean(x):\n    return max(x)\n")
    assert (verdict.kind, verdict.sentence) == ("wrong", "the mean of [1.0, 2.0, 6.0] is 3.0; got 6.0")
    assert verdict.misconception is None


def test_the_answers_of_a_planted_mistake_are_recognised(grade):
    verdict = grade("def mean(x):\n    total = 0\n    for a in x:\n        total += a\n    return total\n")
    assert (verdict.kind, verdict.misconception) == ("wrong", "You add up and never divide.")


def test_a_mistake_that_raises_on_a_probe_is_no_other_mistake(grade):
    assert grade("def mean(x):\n    return sum(x) if x else 1 / 0\n").misconception is None


@pytest.mark.parametrize("answer", ["None", "'nonsense'", "[1, 2]", "lambda: 3"])
def test_an_answer_of_another_type_is_wrong(grade, answer):
    assert grade(f"def mean(x):\n    return {answer}\n").kind == "wrong"


def test_an_answer_that_cannot_be_shown_is_wrong(grade):
    source = "class A(float):\n    def __repr__(self): raise ValueError\n    __str__ = __repr__\n"
    verdict = grade(source + "def mean(x):\n    return A(7)\n")
    assert not verdict.passed
    assert verdict.kind in ("wrong", "exception")


def test_what_the_file_prints_is_kept(grade):
    verdict = grade("print('loaded')\ndef mean(x):\n    print('called with', x)\n    return 0.0\n")
    assert verdict.output.startswith("loaded\ncalled with [1.0, 2.0, 6.0]\n")


# --- files that do not run


def test_a_syntax_error_has_its_line(grade):
    verdict = grade("def mean(x):\n    return (1 +\n")
    assert verdict.kind == "syntax"
    assert verdict.sentence == "Line 2 is not valid Python: '(' was never closed."


def test_a_null_byte_is_no_python(grade):
    assert "null byte" in grade("x = 1\0").sentence


def test_a_file_without_the_function_says_what_it_has(grade):
    verdict = grade("def average(x):\n    return 1\n")
    assert (verdict.kind, verdict.sentence) == ("missing", "The file defines no function mean; it defines average.")


def test_an_exception_has_its_type_its_message_and_the_learners_line(grade):
    verdict = grade("import statistics\n\ndef mean(x):\n    return statistics.mean([]) + len(x)\n")
    assert verdict.kind == "exception"
    assert verdict.sentence == "Line 4: StatisticsError: mean requires at least one data point"
    assert verdict.line == 4


def test_an_exception_of_the_learners_own_that_cannot_be_shown(grade):
    source = "class E(Exception):\n    def __str__(self): raise ValueError\ndef mean(x):\n    raise E\n"
    assert grade(source).sentence == "Line 4: E: <E>"


def test_a_module_that_is_not_there(grade):
    assert grade("import nonexistent_module\n").sentence == (
        "Line 1: ModuleNotFoundError: No module named 'nonexistent_module'"
    )


@pytest.mark.parametrize(
    "source",
    [
        "import statistics\ndef mean(x, empty=float('nan')):\n    return statistics.fmean(x) if x else empty\n",
        "def mean(x, empty=float('nan')):\n    import fractions, statistics\n"
        "    return float(fractions.Fraction(statistics.mean(x))) if x else empty\n",
        "import numpy as np\ndef mean(x, empty=float('nan')):\n    return float(np.mean(x)) if x else empty\n",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: list\ndef mean(x):\n"
        "    return sum(A(x).x) / len(x) if x else float('nan')\n",
    ],
    ids=["at the top", "in the function", "numpy", "a dataclass"],
)
def test_imports_work(grade, source):
    verdict = grade(source)
    assert verdict.passed, verdict


@pytest.mark.skipif(not reads_its_library(), reason="Python is where only root can read, and root lacks the power")
def test_an_import_that_nobody_could_foresee_works(grade):
    assert grade(f"from importlib import import_module\nimport_module('color' + 'sys')\n{RIGHT}").passed


def test_an_earlier_stage_can_be_imported(grade):
    pytest.importorskip("fp_markov", reason="fp-markov is not installed here")
    verdict = grade(f"from fp_markov import NGramModel\nNGramModel(order=2, vocab_size=3)\n{RIGHT}")
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    "source",
    [
        "from fp_sample.exercises.e01_mean import *\n",
        "from fp_sample.exercises import e01_mean\nmean = e01_mean.mean\n",
        "def mean(x):\n    import fp_sample.exercises.e01_mean as e\n    return e.mean(x)\n",
        "from importlib import import_module\nmean = import_module('fp_sample.exercises.e01_mean').mean\n",
        "import fp_sample.exercises.e02_log_softmax\n",
    ],
)
def test_an_exercise_cannot_be_imported(grade, source):
    verdict = grade(source)
    assert verdict.kind == "exception"
    assert verdict.sentence.endswith(
        "PermissionError: a graded file may not import an exercise, which holds the answer"
    )
    assert verdict.line


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nmean = sys.modules['fp_sample.exercises.e01_mean'].mean\n",
        "import fp_sample.exercises\nmean = fp_sample.exercises.e01_mean.mean\n",
        "import sys\nmean = next(m for m in list(sys.modules.values()) if hasattr(m, 'PROBES')).mean\n",
    ],
)
def test_the_answer_is_not_among_the_modules(grade, source):
    assert grade(source).kind == "exception"


def test_all_names_of_a_chapter_can_be_imported_though_its_exercises_are_among_them(grade):
    pytest.importorskip("fp_markov", reason="fp-markov is not installed here")
    verdict = grade(f"from fp_markov import *\nexercises, information.perplexity\n{RIGHT}")
    assert verdict.passed, verdict


# --- files that do not end as they should


@pytest.mark.parametrize("source", ["while True:\n    pass\n", "def mean(x):\n    while True: pass\n"])
def test_a_loop_without_end_is_stopped(grade, source):
    start = time.monotonic()
    verdict = grade(source)
    assert (verdict.kind, verdict.sentence) == ("timeout", "Stopped after 2 seconds. Is there a loop without end?")
    assert time.monotonic() - start < SECONDS + 10  # stopped at the limit, not when somebody lost patience


@pytest.mark.parametrize("how", ["import sys\nsys.exit(0)", "raise SystemExit", "raise KeyboardInterrupt", "exit()"])
def test_an_exit_is_no_answer(grade, how):
    verdict = grade(f"{how}\n{RIGHT}")
    assert verdict.kind == "exit"
    assert verdict.sentence.endswith("where it should return an answer.")


@pytest.mark.parametrize("status", [0, 3])
def test_an_exit_past_python_is_no_answer(grade, status):
    verdict = grade(f"import os\ndef mean(x):\n    os._exit({status})\n")
    assert (verdict.kind, verdict.sentence) == (
        "exit",
        f"The file ended the program (exit status {status}) before the check was through; it should return.",
    )


def test_a_file_that_prints_without_end_is_stopped(grade):
    verdict = grade("while True:\n    print('x' * 70)\n")
    assert verdict.kind == "output"
    assert verdict.sentence.startswith("Stopped: the file printed more than 64 KiB.")
    assert len(verdict.output) <= 1 << 16


def test_a_recursion_without_end(grade):
    verdict = grade("def mean(x):\n    return mean(x)\n")
    assert (verdict.kind, verdict.sentence) == (
        "recursion",
        "Line 2: the function calls itself without end (RecursionError).",
    )


def test_a_recursion_past_pythons_own_limit(grade):
    """Each Python takes another end: a crash, an error of its own, no memory."""
    source = "import sys\nsys.setrecursionlimit(10**9)\ndef mean(x):\n    return sorted([1], key=lambda _: mean(x))\n"
    verdict = grade(source)
    assert not verdict.passed
    assert verdict.sentence


@posix
def test_a_crash_of_the_interpreter(grade):
    verdict = grade(f"{LIBC}ctypes.string_at(1)\n")
    assert verdict.kind == "crash"
    if sys.platform == "linux":
        assert "SIGSEGV" in verdict.sentence


@linux
@pytest.mark.parametrize(
    "source",
    [
        "def mean(x):\n    return bytearray(1 << 40)\n",
        "x = []\nwhile True:\n    x.append(bytes(10**8))\n",  # no page of it is touched: quick on a busy machine
        "import numpy as np\nx = np.ones(10**12)\n",
    ],
)
def test_too_much_memory(grade, source):
    verdict = grade(source)
    assert verdict.kind == "memory"
    assert verdict.sentence.endswith("the file asks for more memory than it may have.")


@pytest.mark.parametrize(
    "how",
    ["sys.stdout.close()", "os.close(1)", "sys.stdout = None", "os.close(1); os.close(2); sys.stderr.close()"],
)
def test_closing_the_output_does_no_harm(grade, how):
    assert grade(f"import os, sys\n{how}\n{RIGHT}").passed


def test_closing_every_file_is_no_success(grade):
    verdict = grade(f"import os\nos.closerange(0, 100)\n{RIGHT}")
    assert (verdict.kind, verdict.sentence) == (
        "tampered",
        "The file closes or changes what the grader needs in order to report.",
    )


# --- files that reach for what is not theirs


@posix
@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import os\nos.kill(os.getppid(), 9)\n", "send a signal to another process"),
        ("import os\nos.killpg(0, 9)\n", "send a signal to another process"),
        ("import os\nwhile True:\n    os.fork()\n", "start another process"),
        ("import subprocess\nsubprocess.run(['true'])\n", "start another process"),
        ("import os\nos.system('true')\n", "start another process"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))\n", "use the network"),
        ("open('/tmp/fp-workbook-was-here', 'w')\n", "write outside its own folder (/tmp/fp-workbook-was-here)"),
        ("open('../fp-workbook-was-here', 'a')\n", "write outside its own folder (../fp-workbook-was-here)"),
        (f"import os\nos.remove({__file__!r})\n", f"change what is outside its own folder ({__file__})"),
        ("import shutil\nshutil.rmtree('/tmp')\n", "change what is outside its own folder (/tmp)"),
        ("for i in range(1000):\n    open(str(i), 'w').close()\n", "open more than 100 files for writing"),
    ],
)
def test_the_guard_says_what_a_file_may_not(grade, source, what):
    verdict = grade(f"{source}{RIGHT}")
    assert verdict.kind == "exception"
    assert verdict.sentence.endswith(f"PermissionError: a graded file may not {what}")
    assert Path(__file__).exists()


def test_a_file_may_write_in_its_own_folder(grade):
    source = "from pathlib import Path\nPath('a').mkdir()\nPath('a/b').write_text('x' * 100)\nPath('a').chmod(0)\n"
    assert grade(source + RIGHT).passed


@linux
def test_a_large_file_cannot_be_written(grade):
    verdict = grade("with open('big', 'wb') as f:\n    f.write(bytes(1 << 22))\n")
    assert (verdict.kind, verdict.sentence) == ("exception", "Line 2: OSError: [Errno 27] File too large")


@linux
@bound
def test_processes_without_end_past_the_guard(grade):
    """Each child forks on: the limit on processes holds, as root too, and all of them are gone afterwards."""
    verdict = grade(f"{LIBC}while True:\n    if libc.fork() < 0: time.sleep(0.01)\n")
    assert verdict.kind == "timeout"
    assert verdict.sentence.startswith("Stopped after 2 seconds.")
    assert "Processes that it started were ended." in verdict.sentence


@linux
def test_a_process_that_left_its_session_is_ended_too(grade):
    source = f"{LIBC}pid = libc.fork()\nif pid == 0:\n    libc.setsid()\n    if libc.fork() == 0:\n"
    source += (
        "        print(os.getpid(), flush=True)\n        time.sleep(1000)\n    os._exit(0)\nlibc.waitpid(pid, 0, 0)\n"
    )
    verdict = grade(f"{source}time.sleep(0.3)\n{RIGHT}")
    assert verdict.passed
    assert verdict.sentence == "Processes that it started were ended."
    assert not is_alive(int(verdict.output))


@linux
def test_a_copy_of_the_process_cannot_report(grade):
    """A child that outlives its parent's wrong answer and then answers rightly."""
    source = (
        f"{LIBC}child = libc.fork() == 0\ndef mean(x):\n    return sum(x) / len(x) if x and child else float('nan')\n"
    )
    assert grade(source).kind == "wrong"


@linux
@bound
def test_the_number_of_processes_is_limited(grade):
    source = f"{LIBC}started = 0\nwhile started < 50:\n    pid = libc.fork()\n    if pid == 0: time.sleep(100)\n"
    verdict = grade(f"{source}    if pid < 0: break\n    started += 1\nprint(started)\n{RIGHT}")
    assert verdict.passed
    assert int(verdict.output) <= grading.Limits().processes


@linux
def test_the_grader_cannot_be_killed_past_the_guard(grade, session):
    if os.geteuid() != 0 and landlock_version() < 6:
        pytest.skip("an ordinary user's processes are protected from one another from Linux 6.12 on")
    watcher = session._process.pid
    source = f"{LIBC}for pid in (os.getppid(), {os.getpid()}, {watcher}):\n    libc.kill(pid, 9)\n"
    if os.geteuid() == 0 or landlock_version() >= 6:
        source += "libc.kill(-1, 9)\n"
    assert grade(source + RIGHT).passed
    assert grade(f"{LIBC}libc.kill(0, 9)\n").kind == "crash"  # the whole group, of which it may kill itself alone
    assert session._process.pid == watcher


@linux
@pytest.mark.skipif(landlock_version() < 1, reason="Landlock is not available")
def test_nothing_outside_can_be_changed_past_the_guard(grade, tmp_path):
    tmp_path.chmod(0o777)
    kept = tmp_path / "kept"
    kept.write_text("kept")
    kept.chmod(0o666)
    lines = f"libc.open(b'{tmp_path}/new', 66, 438)\nlibc.unlink(b'{kept}')\nlibc.truncate(b'{kept}', 0)\n"
    lines += f"libc.rename(b'{kept}', b'{tmp_path}/moved')\nlibc.mkdir(b'{tmp_path}/folder', 511)\n"
    assert grade(LIBC + lines + RIGHT).passed
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("kept", "kept")]


@bound
@pytest.mark.skipif(not is_root(), reason="only root can become somebody else")
def test_root_is_root_no_more(grade):
    verdict = grade(f"import os\nprint(os.getresuid(), os.getresgid(), os.getgroups(), sep='|')\n{RIGHT}")
    user, group, groups = map(ast.literal_eval, verdict.output.split("|"))
    assert 0 not in user
    assert (group, groups) == (user, [])


# --- files that claim success


ANSWER_0 = "def mean(x):\n    return 0.0\n"
FORGERIES = {
    "prints and exits": "print('passed')\nimport os\nos._exit(0)\n",
    "prints a verdict": """print('{"event": "verdict", "kind": "passed", "sentence": "", "line": null}')\n"""
    + ANSWER_0,
    "writes to all files": """
import os
for fd in range(3, 50):
    for line in (b'passed\\n', b'0 {"event": "ended", "status": 0}\\n'):
        try: os.write(fd, line)
        except OSError: pass
"""
    + ANSWER_0,
    "replaces the check": """
import gc
for thing in gc.get_objects():
    if type(thing) is dict and 'PROBES' in thing: thing['check'] = lambda learner: None
"""
    + ANSWER_0,
    "replaces math": "import math\nmath.isclose = math.isnan = lambda *_: True\n" + ANSWER_0,
    "breaks math": "import math\nmath.isclose = lambda *_: 1 / 0\n" + ANSWER_0,
    "replaces json": "import json\njson.dumps = lambda *_, **__: 'passed'\n" + ANSWER_0,
    "equals everything": "class A(float):\n    def __eq__(self, _): return True\ndef mean(x):\n    return A(0)\n",
}


@pytest.mark.parametrize("source", FORGERIES.values(), ids=FORGERIES)
def test_success_cannot_be_forged_in_passing(grade, source):
    verdict = grade(source)
    assert not verdict.passed
    assert verdict.sentence


def test_a_file_that_disarms_the_check_is_found_out(grade):
    disarmed = "import math\nmath.isclose = math.isnan = lambda *_: True\ndef mean(x):\n    return 0.0\n"
    verdict = grade(disarmed)
    assert (verdict.kind, verdict.sentence) == (
        "tampered",
        "The file changes math.isclose, which the check may use.",
    )
    assert grade(f"import builtins\nbuiltins.isinstance = lambda *_: True\n{disarmed}").kind == "tampered"


def test_what_makes_the_check_accept_everything_is_found_out(grade):
    """No name is bound anew: the code of the check itself is replaced."""
    source = "import gc\nfor thing in gc.get_objects():\n    if type(thing) is dict and 'PROBES' in thing:\n"
    source += "        thing['check'].__code__ = (lambda learner: None).__code__\n"
    assert grade(source + RIGHT).sentence == "Since the file was loaded, the check accepts a wrong answer too."


def test_noise_on_the_channel_is_stopped(grade):
    verdict = grade(
        "import os\nwhile True:\n    for fd in range(3, 20):\n        try: os.write(fd, b'x' * 999 + b'\\n')\n"
        "        except OSError: pass\n"
    )
    assert verdict.kind in ("output", "timeout", "exit")


# --- the grader itself


def test_an_exercise_that_cannot_be_loaded_is_no_fault_of_the_learner(tmp_path, monkeypatch):
    folder = tmp_path / "fp_broken" / "exercises"
    folder.mkdir(parents=True)
    text = (SAMPLE / "fp_sample" / "exercises" / "e01_mean.py").read_text("utf8")
    (folder / "e01_mean.py").write_text(text.replace("import math\n", "import math\nimport nowhere\n"), "utf8")
    monkeypatch.syspath_prepend(tmp_path)
    exercise = Exercise.read(folder / "e01_mean.py", "broken", "fp_broken")
    with pytest.raises(grading.GradingError, match=r"broken/01 cannot be graded here: ModuleNotFoundError.*nowhere"):
        grading.grade(exercise, RIGHT, FILE)


def test_a_project_may_take_longer():
    exercise = read("e01_mean")
    assert grading.limits_for(exercise) == grading.Limits()
    project = Exercise(**{**{f: getattr(exercise, f) for f in exercise.__dataclass_fields__}, "level": "project"})
    assert grading.limits_for(project).seconds > grading.Limits().seconds


def test_an_ordinary_user_stays_who_he_is(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    assert confine.spare_uid(1) is None


def test_two_processes_never_share_a_spare_user(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(confine, "LINUX", True)
    monkeypatch.setattr(confine, "_is_mapped", lambda number, table: True)
    assert confine.spare_uid(7) != confine.spare_uid(8)
    monkeypatch.setattr(confine, "_is_mapped", lambda number, table: number < 65_536)
    assert confine.spare_uid(7) == 60_585
    monkeypatch.setattr(confine, "_is_mapped", lambda number, table: number == 0)
    assert confine.spare_uid(7) is None
