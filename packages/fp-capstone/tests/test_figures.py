"""Mirrors src/fp_capstone/figures.py."""

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from fp_capstone.figures import draw_losses, moving_average

ROWS = [
    {
        "step": str(i),
        "window": "7" if i < 60 else "31",
        "train_loss": str(4 / i**0.2),
        "held_out_loss": str(4.1 / i**0.2) if i % 31 == 0 else "",
    }
    for i in range(1, 101)
]
BASELINES = {"1-gram": 3.1, "5-gram": 1.4}


def test_the_average_weighs_the_past_by_powers():
    values, decay = np.random.default_rng(0).normal(size=23), 0.7
    for i, average in enumerate(moving_average(values, decay)):
        weights = decay ** np.arange(i, -1, -1)
        # 1e-12: two sums of 23 terms in float64
        assert average == pytest.approx(weights @ values[: i + 1] / weights.sum(), abs=1e-12)


def test_the_picture_shows_losses_baselines_window_and_text(tmp_path):
    pytest.importorskip("matplotlib")
    draw_losses(tmp_path / "loss.svg", ROWS, BASELINES, "here, sha256 0123, window 31")
    svg = (tmp_path / "loss.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(svg)
    for words in (
        "1-gram  3.100",
        "5-gram  1.400",
        "here, sha256 0123, window 31",
        "window 7 → 31",
        "nats per token",
        "held out",
        "training",
    ):
        assert words in svg  # matplotlib names the text of every group of glyphs in a comment
    assert [path.name for path in tmp_path.iterdir()] == ["loss.svg"]


def test_the_same_losses_give_the_same_file(tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        draw_losses(tmp_path / name, ROWS, BASELINES, "title")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


EVALUATED_ONLY = {"step": "0", "window": "7", "train_loss": "", "held_out_loss": "4.2"}


@pytest.mark.parametrize("rows", [[], ROWS[:1], [EVALUATED_ONLY], [EVALUATED_ONLY, *ROWS[:3]]])
def test_a_run_that_has_hardly_begun_has_a_picture(tmp_path, rows):
    pytest.importorskip("matplotlib")
    draw_losses(tmp_path / "loss.png", rows, BASELINES, "title")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_caller_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError):
        draw_losses(tmp_path / "loss.svg", ROWS, BASELINES, "title")
