"""Of figures/results.py and benchmarks/results.py: what one measures, in little, the other shows."""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from fp_neural.experiment import Settings, build

PACKAGE = Path(__file__).parents[1]
NAMES = "\n".join(
    f"{a}{b}{'aeiou'[i * j % 5]}{'n' * (j % 3)}" for i, a in enumerate("bdfgk") for j, b in enumerate("aeiourst")
)
TEXT = "".join(f"line {n} of {n * n % 7} {'abcde'[n % 5]}\n" for n in range(90))
TINY = {
    "mlp-1": Settings("mlp", context=1, dim=3, hidden=5, steps=40, batch_size=16),
    "mlp-2": Settings("mlp", context=2, dim=3, hidden=5, steps=40, batch_size=16),
    "lstm": Settings("lstm", dim=3, hidden=5, steps=10, batch_size=2, length=5, rate=2.0),
}


def load(folder):
    spec = importlib.util.spec_from_file_location(f"{folder}_results", PACKAGE / folder / "results.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def benchmark(monkeypatch):
    module = load("benchmarks")
    monkeypatch.setattr(module, "RECIPES", {"names": {"mlp": TINY["mlp-2"], "lstm": TINY["lstm"]}, "text": TINY})
    monkeypatch.setattr(module, "ORDERS", range(1, 5))
    return module


@pytest.fixture
def figure(monkeypatch, tmp_path):
    module = load("figures")
    texts = {kind: (tmp_path / f"{kind}.json", name) for kind, (_, name) in module.TEXTS.items()}
    monkeypatch.setattr(module, "TEXTS", texts)
    return module


@pytest.fixture
def measure(benchmark, tmp_path, capsys):
    """Run the benchmark on a text, and return what it kept."""

    def call(kind, text, *options):
        (tmp_path / f"{kind}.txt").write_text(text, "utf8")
        kept = tmp_path / f"{kind}.json"
        assert benchmark.main([kind, str(tmp_path / f"{kind}.txt"), "--json", str(kept), *options]) == 0
        capsys.readouterr()
        return json.loads(kept.read_text("utf8"))

    return call


def test_names_are_split_as_makemore_does(benchmark):
    words = NAMES.splitlines()
    random.seed(42)
    random.shuffle(words)
    n1, n2 = int(0.8 * len(words)), int(0.9 * len(words))
    task = benchmark.names(NAMES)
    assert task.training.splitlines() == words[:n1]
    assert task.parts["dev"].splitlines() == words[n1:n2]
    assert task.parts["test"].splitlines() == words[n2:]


@pytest.mark.parametrize(("kind", "text"), [("names", NAMES), ("text", TEXT)])
def test_what_is_kept_is_what_was_measured(benchmark, measure, kind, text):
    kept = measure(kind, text)
    task = benchmark.TASKS[kind](text)
    assert kept["text"]["characters"] == len(text)
    assert list(kept["tables"]) == ["1", "2", "3", "4"]
    assert list(kept["models"]) == list(benchmark.RECIPES[kind])
    tables, _ = benchmark.count(task, lambda line: None)
    for order, losses in tables.items():
        assert kept["tables"][str(order)]["test"] == pytest.approx(losses["test"].mean(), abs=1e-5)  # as rounded
    chosen = min(tables, key=lambda order: kept["tables"][str(order)]["dev" if kind == "names" else "test"])
    for name, row in kept["models"].items():
        settings = Settings(**row["settings"])
        assert settings == benchmark.RECIPES[kind][name]
        trial = benchmark.run(task.training, task.parts["test"], settings, lines=task.lines)
        assert row["test"] == pytest.approx(trial.loss, abs=1e-5)
        assert row["n_parameters"] == build(settings, trial.vocabulary, np.random.default_rng(0)).n_parameters
        assert row["curve"]["steps"][-1] == settings.steps
        assert row["curve"]["losses"][-1] == row[row["curve"]["of"]]
        expected = {"best table": chosen}
        if settings.model == "mlp":
            expected["table of equal context"] = settings.context + 1
        assert {what: d["order"] for what, d in row["differences"].items()} == expected
        for d in row["differences"].values():
            # 2e-5: two losses and a difference, each rounded to five digits
            assert d["mean"] == pytest.approx(row["test"] - kept["tables"][str(d["order"])]["test"], abs=2e-5)
            assert d["standard error"] > 0


def test_the_error_of_a_difference_on_names_is_that_of_independent_names(benchmark):
    rng = np.random.default_rng(0)
    names = ["n" * n for n in rng.integers(1, 9, 200)]
    task = benchmark.Task("", "", {"test": "\n".join(names) + "\n"}, lines=True)
    lengths = np.array([len(name) + 1 for name in names])
    d = np.repeat(rng.normal(size=200), lengths)  # all tokens of a name are alike: blocks of tokens would not do
    found = task.difference({"test": d}, {"test": np.zeros(len(d))})
    assert found["mean"] == pytest.approx(d.mean(), abs=1e-5)
    sums = np.add.reduceat(d, np.cumsum(lengths) - lengths)
    # 0.06: five times the relative error of a deviation from 4,000 resamples
    assert found["standard error"] == pytest.approx(sums.std() / lengths.mean() / np.sqrt(200), rel=0.06)


def test_parts_of_a_run_are_merged_and_another_text_is_refused(benchmark, measure, tmp_path, capsys):
    first = measure("text", TEXT, "--only", "lstm")
    assert list(first["models"]) == ["lstm"]
    second = measure("text", TEXT, "--only", "mlp")
    assert list(second["models"]) == ["mlp-1", "mlp-2", "lstm"]
    assert second["models"]["lstm"] == first["models"]["lstm"]
    before = (tmp_path / "text.json").read_bytes()
    for text, options, sentence in (
        (NAMES, [], "holds the results of another text"),
        (TEXT, ["--only", "gru"], "the recipes for text are mlp-1, mlp-2, lstm; none begins with 'gru'"),
    ):
        (tmp_path / "text.txt").write_text(text, "utf8")
        arguments = ["text", str(tmp_path / "text.txt"), "--json", str(tmp_path / "text.json"), *options]
        assert benchmark.main(arguments) == 1
        err = capsys.readouterr().err
        assert sentence in err
        assert err.count("\n") == 1
    assert (tmp_path / "text.json").read_bytes() == before


def parse(fragment):
    return ET.fromstring(f"<figure>{fragment}</figure>")


def read(table):
    """Rows by their name, each a dict by the heads."""
    heads = [head.text for head in table.find("thead").iter("th")]
    rows = [["".join(cell.itertext()) for cell in row] for row in table.find("tbody")]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


def test_the_figure_shows_every_number_and_those_published(measure, figure):
    kept = {"names": measure("names", NAMES), "text": measure("text", TEXT)}
    root = parse(figure.render())
    assert len(root.findall("svg")) == 4
    for svg in root.iter("svg"):
        assert svg.get("role") == "img" and svg.get("viewBox") and svg.findtext("title")
    for (kind, results), table in zip(kept.items(), root.findall("table"), strict=True):
        assert results["text"]["sha256"][:12] in "".join(table.find("caption").itertext())
        rows = read(table)
        for order, row in results["tables"].items():
            shown = rows[f"table of order {order}"]
            assert shown["test"] == f"{row['test']:.3f}"
            assert shown["size"] == f"{row['n_ngrams']:,}" and shown["tokens seen"] == str(int(order) - 1)
        for name, row in results["models"].items():
            assert rows[name]["test"] == f"{row['test']:.3f}" and rows[name]["size"] == f"{row['n_parameters']:,}"
            d = row["differences"]["best table"]
            assert rows[name]["to best table"] == f"{d['mean']:+.3f} ± {d['standard error']:.3f}".replace("-", "−")
            assert bool(rows[name]["to equal context"]) == name.startswith("mlp")
        best = min(row["test"] for row in [*results["tables"].values(), *results["models"].values()])
        assert f"{best:.3f}" in {bold.text for bold in table.iter("strong")}
        published = {name: row["published"] for name, row in rows.items() if row.get("published")}
        assert published == ({"mlp": "2.10–2.17", "WaveNet": "1.993"} if kind == "names" else {})


def test_names_and_curves_in_the_drawing_are_those_measured(measure, figure):
    results = measure("text", TEXT)
    orders, steps = (svg for svg in parse(figure.render()).iter("svg"))
    said = [text.text for text in steps.iter("text")]
    for name, row in results["models"].items():
        assert f"{name} {row['test']:.3f}" in said
    losses = {row["test"] for row in results["models"].values()}
    assert f"lstm {results['models']['lstm']['test']:.3f}" in [text.text for text in orders.iter("text")]
    assert len(losses) == 3
    for svg in (orders, steps):
        width, height = (float(number) for number in svg.get("viewBox").split()[2:])
        for path in svg.iter("path"):
            places = np.array(re.findall(r"([\d.]+) ([\d.]+)", path.get("d")), float)
            assert (places >= 0).all() and (places <= [width, height]).all()
        at = sorted(float(text.get("y")) for text in svg.iter("text") if text.get("fill"))
        assert (np.diff(at) >= 16.8).all()  # names lie apart: 17, of numbers rounded to tenths


def test_what_was_not_measured_is_said(measure, figure):
    root = parse(figure.render())
    said = ["".join(paragraph.itertext()) for paragraph in root.findall("p")]
    assert [sentence.startswith(f"Nothing was measured on {name} yet") for sentence, name in
            zip(said, ("names", "Shakespeare"), strict=True)] == [True, True]  # fmt: skip
    assert set(read(root.find("table"))) == {"mlp", "WaveNet"}
    measure("text", TEXT, "--only", "mlp")
    root = parse(figure.render())
    assert len(root.findall("p")) == 1 and len(root.findall("table")) == 2 and len(root.findall("svg")) == 2


def test_the_figure_of_the_site_can_be_drawn():
    assert "<table>" in load("figures").render()
