"""Mirrors src/fp_dynamics/report.py."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_dynamics.history import RunHistory
from fp_dynamics.report import _ticks, report_html, thinned, write_report


@pytest.mark.claim("dynamics.thinning")
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.integers(1, 9))
def test_thinned_curves_keep_their_extremes(values, columns):
    y, x = np.array(values), np.arange(len(values))
    steps, kept = thinned(x, y, columns)
    assert steps.size <= max(2 * columns, 0) and (np.diff(steps) > 0).all()
    np.testing.assert_array_equal(kept, y[steps])
    assert (kept.min(), kept.max()) == (y.min(), y.max())
    if y.size > 2 * columns:
        for part in np.array_split(x, columns):
            own = kept[np.isin(steps, part)]
            assert own.min() == y[part].min() and own.max() == y[part].max()


def test_what_is_not_finite_is_not_drawn():
    steps, values = thinned(np.arange(4), np.array([1.0, np.nan, np.inf, 2.0]))
    assert (steps.tolist(), values.tolist()) == ([0, 3], [1.0, 2.0])
    with pytest.raises(ValueError, match="columns is at least 1, got 0"):
        thinned(np.arange(2), np.ones(2), 0)


class Balanced(HTMLParser):
    VOID = ("meta", "br", "line", "circle")

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        assert tag in self.VOID


def history(n=50, layers=True, **extra):
    records = []
    for i in range(1, n + 1):
        record = {
            "step": i,
            "loss": 4 / i + 1,
            "lr": 0.1 / i,
            "grad_norm": 10.0 ** (i % 3),
            "tokens_per_second": 1e5 + i,
        }
        if i % 10 == 0:
            record["held_out_loss"] = 4 / i + 1.5
        if layers:
            record["layers"] = {"a.<b>": {"update_ratio": 1e-3, "dead_share": 0.0}, "c": {"update_ratio": 1e-2 / i}}
        records.append(record | extra)
    return RunHistory.from_records(records, {"vocab_size": 11, "note": "<script>"})


def test_the_page_is_whole_and_needs_nothing_else():
    finding = SimpleNamespace(name="rate too high", evidence="the loss & more", remedy="lower it", severity="error")
    page = report_html(history(), title="Run <one>", findings=[finding])
    parser = Balanced()
    parser.feed(page)
    assert parser.open == [] and parser.links == []
    assert "<script" not in page and "@import" not in page and "url(" not in page
    assert "prefers-color-scheme: dark" in page and "Run &lt;one&gt;" in page
    assert '<th class="error">rate too high</th>' in page and "the loss &amp; more" in page
    figures = re.findall(r"<svg.*?</svg>", page)
    assert len(figures) == 6  # loss, rate, gradient, throughput, update ratios, dead units
    for figure in figures:
        ElementTree.fromstring(figure)
        assert 'role="img"' in figure and "aria-label=" in figure
        assert "nan" not in figure and "inf" not in figure
    assert "ln V 2.40" in figures[0] and figures[0].count("<circle") == 5
    assert "a.&lt;b&gt;" in figures[4]


def test_points_stand_where_their_values_are():
    steps = [{"step": i, "loss": float(v)} for i, v in enumerate([1, 2, 3])]
    page = report_html(RunHistory.from_records(steps))
    points = re.search(r'faint" points="([^"]*)"', page)[1].split()
    (x0, y0), (x1, y1), (x2, y2) = (map(float, p.split(",")) for p in points)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11) and y0 - y1 == pytest.approx(y1 - y2, abs=0.11)  # one decimal
    assert y0 > y2 and (x0, x2) == (62, 704)
    lines = dict(re.findall(r'y="([\d.]+)" text-anchor="end">([^<]*)<', page))
    at = {float(label): float(y) - 4 for y, label in lines.items()}
    assert at[1.0] == pytest.approx(y0, abs=0.11) and at[3.0] == pytest.approx(y2, abs=0.11)


def test_runs_of_any_kind_can_be_drawn():
    one = report_html(RunHistory.from_records([{"step": 7, "loss": 2.0}]))
    assert one.count("<svg") == 1 and "<circle" in one
    nothing = RunHistory.from_records([{"step": 1, "loss": float("nan"), "grad_norm": float("inf")}])
    assert "<svg" not in report_html(nothing)
    assert report_html(history(3, False, grad_norm=0.0)).count("<svg") == 3  # a logarithm of zero is left out
    assert report_html(history(5000, False)).count("<svg") == 4 and len(report_html(history(5000, False))) < 150_000
    with pytest.raises(ValueError, match="the run has no steps yet"):
        report_html(RunHistory.from_records([]))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_within(low, span):
    ticks = _ticks(low, low + span)
    assert 1 <= len(ticks) <= 8 or span < 1e-11 * abs(low)
    assert all(low - 1e-9 * abs(low) - 1e-9 <= t <= low + span + 1e-9 * abs(low) + 1e-9 for t in ticks)


def test_a_page_is_written_whole(tmp_path):
    write_report(tmp_path / "a.html", "ä")
    write_report(tmp_path / "a.html", "ö")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == "ö" and len(list(tmp_path.iterdir())) == 1
