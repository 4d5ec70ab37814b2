"""Mirrors src/fp_workbook/workspace.py: nothing that a learner wrote is lost."""

import errno
import json
import os
from pathlib import Path

import pytest

from fp_workbook import workspace
from fp_workbook.exercises import Exercise

FILE = Path(__file__).parent / "sample" / "fp_sample" / "exercises" / "e01_mean.py"
EXERCISE = Exercise.read(FILE, "sample", "fp_sample")


@pytest.fixture
def home(tmp_path):
    return workspace.Workspace(tmp_path / "exercises")


def test_the_state_follows_the_file_and_the_last_check(home):
    assert home.state(EXERCISE) == "not started"
    assert home.start(EXERCISE)
    assert home.state(EXERCISE) == "not started"  # the stub alone is no beginning
    home.path(EXERCISE).write_text("work")
    assert home.state(EXERCISE) == "started"
    home.record(EXERCISE, True)
    assert home.state(EXERCISE) == "passed"
    home.record(EXERCISE, False)
    assert home.state(EXERCISE) == "started"


def test_start_never_writes_over_a_file(home):
    home.path(EXERCISE).parent.mkdir(parents=True)
    home.path(EXERCISE).write_text("")
    assert not home.start(EXERCISE)
    assert home.path(EXERCISE).read_text() == ""


def test_reset_forgets_hints_and_success_and_keeps_every_old_file(home):
    home.start(EXERCISE)
    home.record(EXERCISE, True)
    home.next_hint(EXERCISE)
    path = home.path(EXERCISE)
    path.with_name("e01_mean.41.py").write_text("older")
    path.write_text("old")
    kept = home.reset(EXERCISE)
    assert kept.name == "e01_mean.42.py"
    assert (kept.read_text(), path.with_name("e01_mean.41.py").read_text()) == ("old", "older")
    assert home.state(EXERCISE) == "not started"
    assert home.hints_given(EXERCISE) == 0


def test_hints_are_counted_up_to_the_last(home):
    assert [home.next_hint(EXERCISE) for _ in range(4)] == [1, 2, 2, 2]
    assert workspace.Workspace(home.folder).hints_given(EXERCISE) == 2


@pytest.mark.parametrize("count", [-1, True, 1.0, "1", None])
def test_a_number_of_hints_that_is_none_is_damage(home, count):
    home.next_hint(EXERCISE)
    file = home.folder / ".progress.json"
    file.write_text(json.dumps({"passed": [], "hints": {EXERCISE.id: count}}))
    with pytest.raises(ValueError, match="is damaged"):
        home.hints_given(EXERCISE)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(home, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left") as caught:
        workspace.write(file, "new")
    assert caught.value.filename == str(file)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"
