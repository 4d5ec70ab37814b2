"""Mirrors src/fp_dynamics/cli.py."""

import json

import pytest
from typer.testing import CliRunner

from fp_dynamics.cli import app


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "a-run"
    path.mkdir()
    (path / "settings.toml").write_text("lr = 0.1\n")
    rows = [f"{i},{2 + 3 / i},0.1,1.0" for i in range(1, 60)]
    (path / "metrics.csv").write_text("\n".join(["step,train_loss,lr,grad_norm", *rows]) + "\n")
    return path


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_report_is_written_into_the_run_or_elsewhere(run, tmp_path):
    result = call("report", run)
    assert result.exit_code == 0 and "the report is" in result.stdout and "report.html" in result.stdout
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Run a-run" in page and page.count("<svg") == 3
    assert call("report", run, "--output", tmp_path / "x.html", "--smoothing", "0.5").exit_code == 0
    assert (tmp_path / "x.html").exists()


def test_the_doctor_answers_people_and_programs(run):
    result = call("doctor", run)
    assert result.exit_code == 0 and result.stdout.strip()
    assert "not examined: mask leak" in result.stdout  # a table of losses cannot show everything
    assert json.loads(call("doctor", run, "--json").stdout) == []
    # a run that explodes
    rows = [f"{i},{2 + 1.2**i},0.9,{10.0 ** (i / 5)}" for i in range(1, 60)]
    (run / "metrics.csv").write_text("\n".join(["step,train_loss,lr,grad_norm", *rows]) + "\n")
    found = json.loads(call("doctor", run, "--json").stdout)
    assert found and set(found[0]) == {"name", "severity", "evidence", "remedy"}
    shown = call("doctor", run).stdout
    assert found[0]["name"] in shown and "evidence: " in shown and "remedy: " in shown


@pytest.mark.parametrize("command", ["report", "doctor"])
def test_a_users_mistake_is_one_line(run, tmp_path, command):
    (tmp_path / "empty").mkdir()
    result = call(command, tmp_path / "empty")
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert "holds no run" in result.stderr
    (run / "metrics.csv").unlink()
    result = call(command, run)
    assert result.exit_code == 1 and "no steps yet" in result.stderr and "Traceback" not in result.output
    (run / "metrics.csv").write_text("step,train_loss\n1,2,3\n")
    assert "cannot be read" in call(command, run).stderr


def test_a_report_that_cannot_be_written(run, tmp_path):
    result = call("report", run, "--output", tmp_path / "nowhere" / "x.html")
    assert result.exit_code == 1 and "nowhere" in result.stderr and result.stderr.count("\n") == 1
    assert "below 1" in call("report", run, "--smoothing", "1").stderr


def test_a_run_without_losses_and_one_with_enormous_numbers_have_a_report(run):
    (run / "metrics.csv").write_text("step,lr\n1,0.1\n2,0.1\n")
    assert call("report", run).exit_code == 0
    (run / "metrics.csv").write_text("step,train_loss,grad_norm\n1,1e300,1e308\n2,1e300,1e308\n")
    assert call("report", run).exit_code == 0
