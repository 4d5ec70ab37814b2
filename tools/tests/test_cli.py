"""Mirrors src/fp_workbook/cli.py: the commands as a learner types them, on the sample's two exercises."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from fp_workbook import cli, exercises

SAMPLE = Path(__file__).parent / "sample"
MEAN = Path("exercises/sample/e01_mean.py")
RIGHT = "def mean(x, empty=float('nan')):\n    return sum(x) / len(x) if x else empty\n"
SUM = "def mean(x):\n    print('adding', x)\n    return sum(x)\n"


@pytest.fixture
def fp(monkeypatch, tmp_path, capsys):
    """Run a command in an empty folder; its exit code, what it said, what it complained."""
    monkeypatch.setattr(exercises, "STAGES", ("fp-nowhere", "fp-sample"))
    monkeypatch.setattr(cli, "console", Console(width=80, highlight=False))
    monkeypatch.syspath_prepend(SAMPLE)
    monkeypatch.chdir(tmp_path)

    def fp(*words):
        monkeypatch.setattr(sys, "argv", ["fp", *words])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        if words:
            assert all(line == line.rstrip() for line in out.splitlines()), "no spaces at the end of a line"
        return caught.value.code or 0, out, err

    return fp


def test_list_names_every_exercise_with_its_level_and_state(fp):
    code, out, _ = fp("list")
    assert code == 0
    assert out.splitlines() == [
        "Stage 2: sample  0 of 2 passed",
        "  sample/01  The mean of some numbers            implement  not started",
        "  sample/02  A log-softmax that cannot overflow  implement  not started",
        "",
        "Begin with fp start sample",
    ]


def test_start_makes_the_stubs_of_a_stage_and_leaves_work_alone(fp):
    code, out, _ = fp("start", "sample/1")
    assert (code, MEAN.read_text("utf8")) == (0, exercises.discover("sample")[0].stub())
    MEAN.write_text("my work", "utf8")
    code, out, _ = fp("start", "sample")
    assert code == 0
    assert MEAN.read_text("utf8") == "my work"
    assert out.splitlines() == [
        "made in exercises/sample:".replace("/", os.sep),
        "  e02_log_softmax.py  A log-softmax that cannot overflow",
        "there already and left alone: sample/01",
        "",
        f"Open {Path('exercises/sample/e02_log_softmax.py')},",
        "write the function in it, then run fp check sample/02",
    ]


def test_check_of_a_stub_says_that_it_is_not_written(fp):
    fp("start", "sample/01")
    code, out, _ = fp("check", "sample/01")
    assert code == 1
    assert out.splitlines()[0] == "sample/01  The mean of some numbers  not written yet"


def test_check_of_a_mistake_names_what_came_and_the_misconception(fp):
    fp("start", "sample/01")
    MEAN.write_text(SUM, "utf8")
    code, out, _ = fp("check", "sample/01")
    assert code == 1
    assert out.splitlines() == [
        "sample/01  The mean of some numbers  not yet",
        "  the mean of [1.0, 2.0, 6.0] is 3.0; got 9.0",
        "",
        "  What happened, most likely:",
        "  You add up and never divide.",
        "",
        "  Your file printed:",
        "    adding [1.0, 2.0, 6.0]",
        "    adding [1.0, 2.0, 6.0]",
        "    adding []",
        "",
        f"  file      {MEAN}",
        "  hint      fp hint sample/01",
    ]


def test_check_shows_the_line_of_an_error_and_the_beginning_of_long_output(fp):
    fp("start", "sample/01")
    MEAN.write_text("for i in range(20):\n    print(i, '\\x1b[2J')\n1 / 0\n", "utf8")
    code, out, _ = fp("check", "sample/01")
    assert code == 1
    assert "  Line 3: ZeroDivisionError: division by zero" in out
    assert f"{MEAN}:3" in out
    assert "    10 ?[2J\n    and 9 lines more\n" in out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("raise ValueError('a\\x1b[31mred\\x1b[2J')\n", "Line 1: ValueError: a?[31mred?[2J"),
        ("raise ValueError('half of a pair \\ud800')\n", "Line 1: ValueError: half of a pair ?"),
        ("def mean(x):\n    return '\\x1b]0;title\\x07'\n", "the mean of [1.0, 2.0, 6.0] is a number, 3.0; got '"),
        ("class A:\n    __repr__ = lambda self: '\\x9b2J'\nmean = lambda x: A()\n", "a number, 3.0; got ?2J"),
    ],
)
def test_a_terminal_obeys_nothing_that_an_error_says(fp, text, sentence):
    fp("start", "sample/01")
    MEAN.write_text(text, "utf8")
    code, out, _ = fp("check", "sample/01")
    assert code == 1
    assert sentence in out
    assert all(c.isprintable() or c == "\n" for c in out)


def test_a_printed_line_is_wrapped_and_not_cut_at_the_width(fp):
    fp("start", "sample/01")
    warning = "exercises/sample/e01_mean.py:7: RuntimeWarning: invalid value encountered in divide"
    MEAN.write_text(f"print({warning!r})\nprint()\nprint('  return', 99 * 'x')\n" + SUM, "utf8")
    _, out, _ = fp("check", "sample/01")
    lines = out.splitlines()
    shown = lines[lines.index("  Your file printed:") + 1 :]
    assert shown[:6] == [
        "    exercises/sample/e01_mean.py:7: RuntimeWarning: invalid value encountered",
        "      in divide",
        "",
        "      return",
        "      " + 74 * "x",
        "      " + 25 * "x",
    ]
    assert shown[6].startswith("    adding")


def test_long_output_is_cut_however_few_lines_it_has(fp):
    fp("start", "sample/01")
    MEAN.write_text("print('word ' * 1000)\n1 / 0\n", "utf8")
    _, out, _ = fp("check", "sample/01")
    assert len(out.splitlines()) < 25
    assert out.count("word") == 11 * 15, "eleven of the lines that 5000 characters take, 15 words each"
    assert "    and 56 lines more\n" in out


def test_check_without_a_name_grades_all_that_is_started_and_succeeds_only_if_all_pass(fp):
    fp("start", "sample/01")
    MEAN.write_text(RIGHT, "utf8")
    assert fp("check") == (
        0,
        "sample/01  The mean of some numbers  passed\n  solution  fp solution sample/01\n",
        "",
    )
    fp("start", "sample")
    code, out, _ = fp("check")
    assert code == 1
    assert out.splitlines()[-1] == "1 of 2 passed"
    Path("exercises/sample/e02_log_softmax.py").write_text(exercises.discover("sample")[1].solution(), "utf8")
    code, out, _ = fp("check", "sample")
    assert (code, out.splitlines()[-1]) == (0, "2 of 2 passed")


def test_what_is_in_the_file_that_is_no_text_gets_a_sentence(fp):
    fp("start", "sample/01")
    MEAN.write_bytes(b"x = '\xff'\n")
    code, out, _ = fp("check", "sample/01")
    assert code == 1
    assert "The file is not text in UTF-8" in out


def test_progress_draws_a_bar_for_each_stage_and_says_what_comes_next(fp):
    fp("start", "sample")
    MEAN.write_text(RIGHT, "utf8")
    fp("check", "sample/01")
    code, out, _ = fp("progress")
    assert code == 0
    first, _, following = out.splitlines()
    assert first.split() == ["2", "sample", *first.split()[2:3], "1", "of", "2", "passed"]
    assert following == "next: fp check sample/02  A log-softmax that cannot overflow"
    MEAN.write_text(SUM, "utf8")
    fp("check", "sample/01")
    assert "0 of 2 passed, 1 started" in fp("progress")[1]


def test_hints_come_one_at_a_time(fp):
    code, out, _ = fp("hint", "sample/01")
    assert (code, out.splitlines()) == (
        0,
        ["sample/01  The mean of some numbers  hint 1 of 2", "  How many numbers are there?"],
    )
    assert "Divide sum(x) by len(x)" in fp("hint", "sample/01")[1]
    last = fp("hint", "sample/01")[1]
    assert last.splitlines()[0] == "sample/01  The mean of some numbers  no more hints; the last was"
    assert "Divide sum(x) by len(x)" in last
    assert "How many" not in last
    assert "fp solution sample/01 --spoil" in last


def test_the_solution_is_shown_after_success_or_when_asked_for(fp):
    code, out, err = fp("solution", "sample/01")
    assert (code, out) == (1, "")
    assert err.startswith("error: sample/01 has not passed yet; fp hint sample/01 helps")
    code, out, _ = fp("solution", "sample/01", "--spoil")
    assert (code, out) == (0, exercises.discover("sample")[0].solution())
    fp("start", "sample/01")
    MEAN.write_text(RIGHT, "utf8")
    fp("check", "sample/01")
    assert fp("solution", "sample/01")[0] == 0


def test_reset_keeps_the_old_file_under_a_number(fp, monkeypatch):
    fp("start", "sample/01")
    for work in ("first", "second"):
        MEAN.write_text(work, "utf8")
        assert fp("reset", "sample/01", "--yes")[0] == 0
    assert MEAN.read_text("utf8") == exercises.discover("sample")[0].stub()
    assert [MEAN.with_name(f"e01_mean.{n}.py").read_text("utf8") for n in (1, 2)] == ["first", "second"]


def test_reset_asks_first(fp, monkeypatch):
    fp("start", "sample/01")
    MEAN.write_text("work", "utf8")
    monkeypatch.setattr("typer.confirm", lambda _: False)
    code, _, err = fp("reset", "sample/01")
    assert (code, err, MEAN.read_text("utf8")) == (1, "error: nothing was changed\n", "work")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["check", "simple/01"], 1, "there is no stage simple; did you mean sample/01?"),
        (["start", "nonsense"], 1, "there is no stage nonsense; installed: sample"),
        (["hint", "sample/7"], 1, "there is no exercise sample/7; sample has sample/01 to sample/02"),
        (["hint", "sample"], 1, "name one exercise, for example sample/01; got sample"),
        (["check", "sample/01"], 1, "sample/01 is not started: there is no folder exercises in "),
        (["check"], 1, "nothing is started: there is no folder exercises in "),
        (["watch"], 1, "nothing is started: there is no folder exercises in "),
        (["chek"], 2, "No such command 'chek'"),
        (["check", "--loud"], 2, "No such option: --loud"),
    ],
)
def test_a_mistake_in_the_command_is_answered_by_one_line(fp, words, code, sentence):
    got, out, err = fp(*words)
    assert (got, out) == (code, "")
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1


def test_an_id_may_be_written_in_several_ways(fp):
    for way in (
        "sample/1",
        "sample/01",
        "sample/e01_mean",
        "sample/mean",
        "fp-sample/01",
        f"exercises/{MEAN.parts[1]}/1",
    ):
        assert fp("hint", way)[0] == 0


def test_damaged_progress_is_reported_and_kept(fp):
    Path("exercises").mkdir()
    file = Path("exercises/.progress.json")
    hints = ('{"a": "b"}', '{"sample/01": -5}', '{"sample/01": true}', '{"sample/01": 1.0}')
    for text in ("{", "[]", '{"passed": {}, "hints": []}', *(f'{{"passed": [], "hints": {h}}}' for h in hints)):
        file.write_text(text, "utf8")
        code, _, err = fp("hint", "sample/01")
        assert code == 1
        assert "is damaged. Move it away" in err
        assert file.read_text("utf8") == text


@pytest.mark.parametrize("words", [["start", "sample"], ["check"], ["check", "sample/01"], ["hint", "sample/01"]])
def test_a_file_in_the_place_of_the_folder_is_one_line(fp, words):
    Path("exercises").write_text("a file is in the way", "utf8")
    code, out, err = fp(*words)
    assert (code, out) == (1, "")
    assert err == "error: exercises is a file, where the folder of your exercises goes; move it away\n"


@pytest.fixture
def read_only(monkeypatch):
    """A call makes every file and folder read-only, for root too."""

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    original = Path.open

    def opens(path, mode="r", *rest, **options):
        return refuse(path) if set(mode) & set("wax+") else original(path, mode, *rest, **options)

    def read_only():
        monkeypatch.setattr(Path, "open", opens)

    return read_only


def test_what_cannot_be_written_is_named_by_its_own_name(fp, read_only):
    read_only()
    assert fp("start", "sample/01") == (1, "", f"error: Permission denied: {MEAN}\n")


def test_an_answer_is_shown_where_it_cannot_be_recorded(fp, read_only):
    note = f"not recorded: Permission denied: {Path('exercises/.progress.json')}\n"
    fp("start", "sample/01")
    MEAN.write_text(RIGHT, "utf8")
    solution = exercises.discover("sample")[1].solution()
    MEAN.with_name("e02_log_softmax.py").write_text(solution, "utf8")
    read_only()
    code, out, err = fp("check", "sample/01")
    assert (code, err) == (0, "")
    assert out == f"sample/01  The mean of some numbers  passed\n  solution  fp solution sample/01\n{note}"
    code, out, _ = fp("check")
    assert (code, out.count(note)) == (0, 1)
    assert out.endswith(f"\n2 of 2 passed\n{note}")
    code, out, err = fp("hint", "sample/01")
    assert (code, err) == (0, "")
    assert out == f"sample/01  The mean of some numbers  hint 1 of 2\n  How many numbers are there?\n{note}"


def test_no_stage_with_exercises(fp, monkeypatch):
    monkeypatch.setattr(exercises, "STAGES", ("fp-nowhere",))
    code, _, err = fp("list")
    assert (code, err) == (1, "error: no stage with exercises is installed; install one, for example fp-markov\n")


def test_without_a_command_there_is_help(fp):
    code, out, _ = fp()
    assert code == 0
    assert "check" in out


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent otherwise on Windows")
def test_watch_grades_on_save_and_ends_with_control_c(tmp_path):
    program = "import fp_workbook.exercises as e; e.STAGES = ('fp-sample',); from fp_workbook.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(SAMPLE), "PYTHONUNBUFFERED": "1"}

    def run(*words):
        return [sys.executable, "-c", program, *words]

    subprocess.run(run("start", "sample"), cwd=tmp_path, env=environment, check=True, capture_output=True)
    with subprocess.Popen(
        run("watch"), cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as watching:
        try:
            assert watching.stdout.readline().startswith("Watching 2 exercises in exercises")
            for text, heading in ((SUM, "not yet"), (RIGHT, "passed")):
                (tmp_path / MEAN).write_text(text, "utf8")
                while not (line := watching.stdout.readline()).startswith("sample/01"):
                    assert line
                assert line.rstrip().endswith(heading)
            watching.send_signal(signal.SIGINT)
            assert watching.stdout.read().endswith("no longer watching\n")
            assert watching.wait() == 0
        finally:
            watching.kill()


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "fp_workbook", "--help"], capture_output=True, text=True, check=True)
    assert "fp [OPTIONS] COMMAND" in done.stdout


def test_the_checks_of_the_repository_import_nothing_of_the_command():
    program = "import sys, fp_workbook.ledger, fp_workbook.layering; print({'typer', 'rich', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
