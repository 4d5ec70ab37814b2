"""Mirrors src/fp_optim/race.py."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fp_optim.momentum import Nesterov
from fp_optim.optimizer import SGD
from fp_optim.race import RACERS, RATES, best_rate, main, run_race
from fp_optim.surfaces import BOWL, RAVINE, ROSENBROCK, SURFACES, Surface, trajectory

STEPS = 30


def names(folder):
    return [path.name for path in folder.iterdir()]


@pytest.fixture(scope="module")
def race():
    return run_race([SURFACES["ravine"], SURFACES["Beale"]], n_steps=STEPS)


def test_the_race_is_what_its_table_says(race):
    assert json.loads(json.dumps(race, allow_nan=False)) == race
    assert list(race) == ["version", "n_steps", "surfaces"] and (race["version"], race["n_steps"]) == (1, STEPS)
    assert [surface["name"] for surface in race["surfaces"]] == ["ravine", "Beale"]
    for told in race["surfaces"]:
        surface = SURFACES[told["name"]]
        assert list(told) == [
            "name", "formula", "domain", "start", "minimisers", "minimum", "contours", "paths"
        ]  # fmt: skip
        assert told["domain"] == [list(ends) for ends in surface.domain] and told["start"] == list(surface.start)
        assert told["minimisers"] == [list(point) for point in surface.minimisers]
        assert [path["optimizer"] for path in told["paths"]] == list(RACERS)
        for level in told["contours"]:
            assert list(level) == ["level", "lines"]
            assert all(len(point) == 2 for line in level["lines"] for point in line)
        for path in told["paths"]:
            assert list(path) == ["optimizer", "rate", "positions", "losses"]
            assert len(path["positions"]) == len(path["losses"]) == STEPS + 1
            assert path["positions"][0] == list(surface.start) and path["rate"] in RATES
            low, high = np.array(surface.domain).T
            assert ((low <= np.array(path["positions"])) & (np.array(path["positions"]) <= high)).all()


def test_losses_are_those_of_the_positions(race):
    for told in race["surfaces"]:
        surface = SURFACES[told["name"]]
        for path in told["paths"]:
            points = np.array(path["positions"])
            # positions are off by half a thousandth in each coordinate
            room = np.abs(surface.grad(points)).sum(axis=1) * 5e-4 + 1e-5
            assert (abs(surface.f(points) - path["losses"]) <= room + 1e-3 * np.abs(path["losses"])).all()


def test_the_rate_on_a_bowl_is_the_one_of_a_single_step():
    assert best_rate(BOWL, SGD, 7) == 1.0


def test_the_rate_is_the_lowest_of_those_that_keep_to_the_picture():
    # on the steep wall of the ravine, of curvature 2, rates from 1 on diverge, and slow ones are slow on its floor
    assert best_rate(RAVINE, SGD, 100) == max(rate for rate in RATES if rate < 1)
    assert best_rate(ROSENBROCK, SGD, 100) < 0.01


def test_a_leap_at_the_end_counts_against_all_of_the_way():
    chosen = best_rate(ROSENBROCK, Nesterov, 200)
    next_one = RATES[RATES.index(chosen) + 1]
    steady, leaping = (
        ROSENBROCK.f(trajectory(ROSENBROCK, lambda p, lr=rate: Nesterov(p, lr=lr), 200)) for rate in (chosen, next_one)
    )
    # the next larger rate is lower nearly all of the way, and keeps to the picture, but leaps up a wall
    assert np.log10(leaping).mean() < np.log10(steady).mean()
    assert leaping[-1] > 1 > steady[-1]


def test_where_no_rate_keeps_to_the_picture_the_smallest_is_taken():
    slope = Surface(
        name="slope",
        formula="100000 x",
        f=lambda w: 1e5 * w[..., 0],
        grad=lambda w: np.broadcast_to([1e5, 0.0], w.shape).copy(),
        hessian=lambda w: np.zeros((*w.shape, 2)),
        minimisers=(),
        minimum=0.0,
        domain=((-1.0, 1.0), (-1.0, 1.0)),
        start=(0.0, 0.0),
    )
    assert best_rate(slope, SGD, 5) == RATES[0]


def test_the_command_writes_a_race_and_replaces_an_earlier_one(tmp_path):
    out = tmp_path / "race.json"
    out.write_text("old")
    command = [sys.executable, "-m", "fp_optim.race", str(out), "--steps", "5", "--surface", "bowl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
    assert json.loads(out.read_text()) == run_race([BOWL], n_steps=5)
    assert names(tmp_path) == ["race.json"]
    assert out.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["race.json", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["race.json", "--surface", "moon"], "invalid choice: 'moon'"),
        (["."], "OUT must be a file, got the folder ."),
        ([], "the following arguments are required: out"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and sentence in capsys.readouterr().err
    assert not names(tmp_path)


def test_a_pipe_is_refused_and_stays_one(tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(SystemExit):
        main([str(pipe), "--steps", "1", "--surface", "bowl"])
    assert "OUT must be a file, got the device" in capsys.readouterr().err and pipe.is_fifo()


def test_a_link_is_followed_and_a_surface_named_twice_is_there_once(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("race.json")
    main([str(link), "--steps", "1", "--surface", "bowl", "--surface", "bowl"])
    assert link.is_symlink() and len(json.loads((tmp_path / "race.json").read_text())["surfaces"]) == 1


def test_a_folder_that_is_missing_is_told_and_nothing_is_left(tmp_path):
    with pytest.raises(SystemExit, match=r"race: cannot write .*: No such file or directory"):
        main([str(tmp_path / "no" / "race.json"), "--steps", "1", "--surface", "bowl"])
    assert not names(tmp_path)


def test_a_failed_write_leaves_the_earlier_file(tmp_path, monkeypatch):
    out = tmp_path / "race.json"
    out.write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SystemExit, match="No space left on device"):
        main([str(out), "--steps", "1", "--surface", "bowl"])
    assert out.read_text() == "old" and names(tmp_path) == ["race.json"]


@pytest.mark.parametrize("n_steps", [0, -1])
def test_a_race_without_a_step_is_refused(n_steps):
    with pytest.raises(ValueError, match=f"n_steps must be at least 1, got {n_steps}"):
        best_rate(BOWL, SGD, n_steps)
