"""Mirrors src/fp_dynamics/history.py."""

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp

from fp_dynamics.history import RunHistory, smooth


def by_hand(values, beta):
    """(E1) in exact fractions: m and s of every step."""
    m, found = Fraction(0), []
    for t, x in enumerate(values, 1):
        m = beta * m + (1 - beta) * x
        found.append((m, m / (1 - beta**t)))
    return found


# --- smoothing


@pytest.mark.claim("dynamics.smoothing-bias")
@pytest.mark.parametrize("beta", [Fraction(0), Fraction(1, 2), Fraction(9, 10)])
def test_what_is_missing_from_the_average_and_what_the_correction_restores(beta):
    for t, (m, s) in enumerate(by_hand([Fraction(7)] * 6, beta), 1):
        assert (m, s) == ((1 - beta**t) * 7, 7)
    values = [Fraction(x) for x in (9, -2, 5, 5, 0, 3)]
    for t, (m, s) in enumerate(by_hand(values, beta), 1):
        weights = [(1 - beta) * beta**k for k in range(t)]
        assert m == sum(w * x for w, x in zip(weights, reversed(values[:t]), strict=True))
        assert sum(weights) == 1 - beta**t
        assert min(values[:t]) <= s <= max(values[:t])
    # exactly (E1), but for the rounding of float64
    np.testing.assert_allclose(
        smooth(np.array([float(x) for x in values]), float(beta)),
        [float(s) for _, s in by_hand(values, beta)],
        rtol=1e-13,
    )


@pytest.mark.claim("dynamics.smoothing-bias")
def test_an_average_started_at_the_first_value_counts_it_too_often():
    beta = Fraction(4, 5)
    for t in range(1, 7):
        r = Fraction(1)  # of the values 1, 0, 0, ...: what it is, is the weight of the first
        for _ in range(t - 1):
            r = beta * r
        s = by_hand([Fraction(1)] + [Fraction(0)] * (t - 1), beta)[-1][1]
        assert r / s == (1 - beta**t) / (1 - beta)


@pytest.mark.claim("dynamics.smoothing-lag")
def test_a_line_is_shown_as_it_was_so_many_steps_ago():
    a, b, beta = sp.symbols("a b beta", positive=True)
    for t in range(1, 6):
        m = sum((1 - beta) * beta**k * (a + b * (t - k)) for k in range(t))
        lag = beta / (1 - beta) - t * beta**t / (1 - beta**t)
        assert sp.simplify(m / (1 - beta**t) - (a + b * (t - lag))) == 0
    lags = [Fraction(9) - t * Fraction(9, 10) ** t / (1 - Fraction(9, 10) ** t) for t in range(1, 200)]
    assert lags[0] == 0 and all(x < y < 9 for x, y in pairwise(lags)) and lags[-1] > 8.9
    assert (200 - smooth(np.arange(1.0, 201.0), 0.9)[-1]).round(3) == 9


@pytest.mark.claim("dynamics.smoothing-noise")
def test_the_variance_that_is_left():
    beta = sp.Symbol("beta", positive=True)
    for t in range(1, 6):
        squares = sum(((1 - beta) * beta**k / (1 - beta**t)) ** 2 for k in range(t))
        assert sp.simplify(squares - (1 - beta) / (1 + beta) * (1 + beta**t) / (1 - beta**t)) == 0
    noise = np.random.default_rng(0).normal(size=(4000, 60))
    left = np.var([smooth(row, 0.8)[-1] for row in noise])
    assert abs(left - 1 / 9) < 5 * np.sqrt(2 / 4000) / 9  # five standard errors of a variance
    for n in (1, 5, 19):  # n = (1 + beta) / (1 - beta) at beta = (n - 1) / (n + 1)
        assert Fraction(n - 1, n + 1) / (1 - Fraction(n - 1, n + 1)) == Fraction(n - 1, 2)


def test_gaps_are_no_values():
    nan = float("nan")
    shown = smooth(np.array([nan, 4.0, nan, 2.0]), 0.5)
    np.testing.assert_array_equal(shown[1:3], [4, 4])
    assert np.isnan(shown[0]) and shown[3] == pytest.approx(8 / 3)  # (0.25 * 4 + 0.5 * 2) / 0.75
    assert smooth(np.zeros(0), 0.9).size == 0


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay is at least 0 and below 1, got .*averages about 19"):
        smooth(np.ones(3), decay)


# --- reading


@pytest.fixture
def run(tmp_path):
    (tmp_path / "settings.toml").write_text("n_steps = 9\nlr = 0.5\n")
    return tmp_path


def write(run, *rows, header="step,window,train_loss,held_out_loss,lr", end="\n"):
    (run / "metrics.csv").write_text("\n".join([header, *rows]) + end)


def test_rows_become_records_without_what_is_empty(run):
    write(run, "0,8,,4.5,", "1,8,4.0,,0.1", "2,8,3.5,3.75,0.2")
    history = RunHistory(run)
    assert history.records[0] == {"step": 0, "window": 8, "held_out_loss": 4.5}
    assert history.records[2] == {"step": 2, "window": 8, "loss": 3.5, "held_out_loss": 3.75, "lr": 0.2}
    np.testing.assert_array_equal(history.steps, [0, 1, 2])
    np.testing.assert_array_equal(history.column("loss"), [np.nan, 4, 3.5])
    steps, values = history.curve("held_out_loss")
    assert (steps.tolist(), values.tolist()) == ([0, 2], [4.5, 3.75])
    assert history.settings == {"n_steps": 9, "lr": 0.5}
    assert (history.vocab_size, history.baselines, history.layers) == (None, {}, [])


def test_a_run_that_has_just_begun_has_no_records(run):
    history = RunHistory(run)
    assert history.records == [] and history.refresh() == 0
    write(run, end="")
    assert history.refresh() == 0
    write(run, "1,8,4.0,,0.1")
    assert history.refresh() == 1 and history.column("loss").tolist() == [4.0]


def test_every_beginning_of_the_file_can_be_read(run):
    """A reader may come at any moment: at each byte it sees the rows that are complete."""
    write(run, "1,8,4.0,,0.1", "2,8,3.5,3.75,0.2", "3,8,3.25,,0.3")
    text = (run / "metrics.csv").read_bytes()
    (run / "metrics.csv").write_bytes(b"")
    history, n = RunHistory(run), 0
    for i in range(len(text)):
        with (run / "metrics.csv").open("ab") as file:
            file.write(text[i : i + 1])
        n += history.refresh()
        whole = text[: i + 1].count(b"\n") - 1
        assert n == len(history.records) == max(0, whole)
        assert history.records == RunHistory(run).records
    assert history.column("loss").tolist() == [4.0, 3.5, 3.25]


def test_a_resumed_run_is_read_anew(run):
    write(run, "1,8,4.0,,0.1", "2,8,3.5,,0.2", "3,8,3.0,,0.3")
    history = RunHistory(run)
    (run / "other.csv").write_text("step,train_loss\n1,4.0\n2,9.0\n")
    (run / "other.csv").replace(run / "metrics.csv")  # as RunDirectory.cut does it
    assert history.refresh() == 2
    assert [r["loss"] for r in history.records] == [4.0, 9.0] and "lr" not in history.records[0]


def test_a_file_rewritten_in_place_is_noticed_even_if_it_has_grown(run):
    write(run, "1,8,4.0,,0.1", "2,8,3.5,,0.2")
    history = RunHistory(run)
    with (run / "metrics.csv").open("r+") as file:
        file.write("step,window,train_loss,held_out_loss,lr\n1,8,1.0,,0.1\n2,8,1.5,,0.2\n3,8,1.7,,0.2\n")
    history.refresh()
    assert history.column("loss").tolist() == [1.0, 1.5, 1.7]


def test_steps_that_come_again_replace_what_came_after(run):
    write(run, "1,8,4.0,,0.1", "2,8,3.5,,0.2", "3,8,3.0,,0.3", "2,8,2.0,,0.2", "2,16,,1.5,")
    records = RunHistory(run).records
    assert [r["step"] for r in records] == [1, 2]
    assert records[1] == {"step": 2, "window": 16, "loss": 2.0, "held_out_loss": 1.5, "lr": 0.2}


def test_layers_are_joined_to_their_steps(run):
    write(run, "1,8,4.0,,0.1", "2,8,3.5,,0.2")
    lines = [
        {"step": 1, "loss": 4.1, "layers": {"a": {"update_ratio": 0.5}}},
        {"step": 3, "loss": 2.0, "layers": {"b": {}}},
    ]
    (run / "layers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "lo')
    history = RunHistory(run)
    assert [r["loss"] for r in history.records] == [4.0, 3.5, 2.0]  # the table is the run's own word
    assert history.layers == ["a", "b"]
    assert [x.tolist() for x in history.curve("update_ratio", "a")] == [[1], [0.5]]


def test_infinite_and_missing_numbers_survive(run):
    write(run, "1,8,inf,,0.1", "2,8,nan,,0.2")
    values = RunHistory(run).curve("loss")[1]
    assert np.isinf(values[0]) and np.isnan(values[1])


def test_what_a_finished_run_says_of_itself(run):
    for name in ("checkpoints/step-00000003", "model"):
        (run / name).mkdir(parents=True)
    (run / "checkpoints/step-00000003/config.json").write_text('{"vocab_size": 5}')
    assert RunHistory(run).vocab_size == 5
    (run / "model/config.json").write_text('{"vocab_size": 7}')
    (run / "report.json").write_text('{"baselines": [{"order": 2, "loss": 1.5}]}')
    assert (RunHistory(run).vocab_size, RunHistory(run).baselines) == (7, {"2-gram": 1.5})
    (run / "report.json").write_text('{"baseli')  # just being replaced
    assert RunHistory(run).baselines == {}


def test_records_in_memory():
    history = RunHistory.from_records(
        [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "lr": 0.1}], {"a": 1}
    )
    assert history.records == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "lr": 0.1}]
    assert (history.path, history.settings, history.refresh(), history.vocab_size) == (None, {"a": 1}, 0, None)
    with pytest.raises(ValueError, match="a record names its step, got one with loss"):
        RunHistory.from_records([{"loss": 1.0}])


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run: it has no settings\.toml"):
        RunHistory(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("step,loss\n1,2,3\n", "3 values for 2 columns"),
        ("step,loss\none,2\n", "cannot be read, 'one,2'"),
        ("step,loss\n,2\n", "cannot be read"),
        ("loss\n2\n", "no column named step, but loss"),
    ],
)
def test_a_damaged_table_is_named(run, text, sentence):
    (run / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        RunHistory(run)


@pytest.mark.parametrize("line", ["nothing", "[]", "{}", '{"step": "x"}'])
def test_damaged_layers_are_named(run, line):
    (run / "layers.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match="has a line that cannot be read"):
        RunHistory(run)


def test_bytes_that_are_no_text_are_named(run):
    (run / "metrics.csv").write_bytes(b"step,loss\n1,\xff\n")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        RunHistory(run)
    (run / "settings.toml").write_text("= 3")
    (run / "metrics.csv").unlink()
    with pytest.raises(ValueError, match=r"settings\.toml cannot be read"):
        RunHistory(run).settings  # noqa: B018


@pytest.mark.parametrize("row", ["inf,4.0", "1e400,4.0", "1," + "9" * 200_000])
def test_rows_that_a_table_may_hold_but_no_step(tmp_path, row):
    (tmp_path / "settings.toml").write_text("")
    (tmp_path / "metrics.csv").write_text(f"step,train_loss\n{row}\n")
    with pytest.raises(ValueError, match=r"metrics\.csv"):
        RunHistory(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["[1]", '{"loss": 1}', '{"step": Infinity}', '{"step": 1, "layers": null}', '{"step": 1, "layers": {"a": null}}',
     '{"step": 1, "layers": {"a": {"update_ratio": "x"}}}', '{"step": 1, "probes": 3}', '{"step": 1, "loss": null}'],
)  # fmt: skip
def test_lines_of_layers_that_no_recorder_wrote(tmp_path, line):
    (tmp_path / "settings.toml").write_text("")
    (tmp_path / "layers.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"layers\.jsonl has a line that cannot be read"):
        RunHistory(tmp_path)


def test_what_other_programs_left_in_a_run_is_passed_over(tmp_path):
    (tmp_path / "settings.toml").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"vocab_size": 0}')
    for text in ('{"baselines": null}', '{"baselines": [1]}', '{"baselines": [{"order": 2, "loss": NaN}, {}]}'):
        (tmp_path / "report.json").write_text(text)
        history = RunHistory(tmp_path)
        assert history.baselines == {} and history.vocab_size is None
