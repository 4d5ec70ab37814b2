"""The figures in the README are those of the committed measurement."""

import json
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
FILE = PACKAGE / "benchmarks" / "bench_pipeline.json"


@pytest.mark.skipif(not FILE.exists(), reason="the measurement is not beside the tests")
def test_the_tables_are_the_measured_ones():
    readme, found = (PACKAGE / "README.md").read_text(encoding="utf-8"), json.loads(FILE.read_text(encoding="utf-8"))
    for row in found["rows"]:
        low, high = row["interval"]
        cells = [row["name"], f"{row['wins']:.1%}", f"{low:.1%} to {high:.1%}"]
        cells += [f"{e['mean']:.2f} ± {e['error']:.2f}" for e in (row["kl"]["sum"], row["gold"], row["learned"])]
        cells += [f"{row['loss']:.3f}", f"{row['length']:.1f}", f"{row['finished']:.0%}"]
        assert f"| {' | '.join(cells)} |" in readme
    for name, command in found["commands"].items():
        figures = f"{command['seconds']:.0f} | {command['processor_seconds']:.0f} | {command['megabytes']} |"
        assert any(figures in line for line in readme.splitlines()), name
    assert f"foresees {found['reward_model']['held_out_accuracy']:.1%}" in readme


@pytest.mark.skipif(not FILE.exists(), reason="the measurement is not beside the tests")
def test_what_was_measured_is_what_the_chapter_says():
    found = json.loads(FILE.read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in found["rows"]}
    low, high = rows["SFT"]["interval"]
    assert low < 0.5 < high
    assert rows["pretrained"]["interval"][1] < 0.5 < min(rows[name]["interval"][0] for name in ("DPO", "PPO"))
    assert all(rows[name]["loss"] > rows["SFT"]["loss"] > rows["pretrained"]["loss"] for name in ("DPO", "PPO"))
