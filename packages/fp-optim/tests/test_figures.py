"""The figures of rates: every measured line is on its side of its bound, and the drawings are well formed."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

HERE = Path(__file__).parents[1] / "figures"


def load(name):
    spec = importlib.util.spec_from_file_location(f"figure_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def momentum_rates():
    return load("momentum_rates")


@pytest.fixture(scope="module")
def regret():
    return load("regret")


@pytest.fixture(scope="module")
def unchecked():
    """A hundred thousand calls whose shapes other tests check take seconds to check again."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def momentum_panels(momentum_rates, unchecked):
    return momentum_rates.panels()


@pytest.fixture(scope="module")
def regret_panels(regret, unchecked):
    return regret.panels()


def check(panels):
    for panel in panels:
        for line in panel.lines:
            assert line.T[0] <= 3 and line.T[-1] >= 9999 and line.T.shape == line.measured.shape == line.bound.shape
            assert np.isfinite(line.measured).all() and np.isfinite(line.bound).all()
            # 1e-15: a gap is a difference of numbers below 1, and a distance is one from zero
            small, large = (line.bound, line.measured) if line.floor else (line.measured, line.bound)
            assert (small <= large * (1 + 1e-12) + 1e-15).all(), (panel.title, line.name)
            assert (line.measured > 0).any() and (line.measured[:3] > line.bound[:3] / 400).all()  # not measured zeros


def lines(panel):
    return {line.name: line for line in panel.lines}


def after(line, T):
    return float(line.measured[np.searchsorted(line.T, T, side="right") - 1])


@pytest.mark.claim("optim.heavy-ball-bound")
@pytest.mark.claim("optim.nesterov-rate")
@pytest.mark.claim("optim.nesterov-strong")
def test_no_line_of_momentum_is_above_its_bound(momentum_rates, momentum_panels):
    assert [len(panel.lines) for panel in momentum_panels] == [2, 3, 3]
    check(momentum_panels)
    distance, *gaps = map(lines, momentum_panels)
    plain, heavy = distance[momentum_rates.GRADIENT], distance[momentum_rates.HEAVY]
    assert after(heavy, 1000) < 1e-4 * after(plain, 1000) and after(heavy, 50) > 5 * after(plain, 50)  # it runs away
    for gap in gaps:
        plain, varying, constant = (after(line, 300) for line in gap.values())
        assert varying < plain / 20 and constant < plain / 20


@pytest.mark.claim("optim.adagrad-regret")
@pytest.mark.claim("optim.adagrad-average")
@pytest.mark.claim("optim.adam-fooled")
@pytest.mark.claim("optim.amsgrad-regret")
@pytest.mark.claim("optim.lion-rate")
def test_no_line_of_regret_is_on_the_wrong_side_of_its_bound(regret, regret_panels):
    assert [len(panel.lines) for panel in regret_panels] == [2, 2, 2]
    check(regret_panels)
    adagrad, game, signs = map(lines, regret_panels)
    assert [line.floor for line in regret_panels[1].lines] == [True, False]
    coins, adam = adagrad[regret.COINS], game[regret.ADAM]
    assert (coins.measured > coins.bound / 10).all()  # in this game the bound is of the right order
    assert after(adam, 10_000) == pytest.approx(2 / 3, rel=0.02)  # the floor is reached, from above
    assert after(game[regret.AMSGRAD], 10_000) < 0.02
    for line in game.values():
        assert (line.T % 3 == 0).all()
    assert signs[regret.LION].bound[0] / signs[regret.SIGN].bound[0] > 30


@pytest.mark.parametrize(("name", "rows"), [("momentum_rates", 16), ("regret", 12)])
def test_the_figures_are_well_formed(name, rows, request):
    figure, panels = request.getfixturevalue(name), request.getfixturevalue(name.replace("_rates", "") + "_panels")
    fragment = figure.drawing(panels, figure.COLOURS, "title") + figure.table(panels, "caption")
    root = ElementTree.fromstring(f"<figure>{fragment}</figure>")
    assert len(root.findall("./table/tbody/tr")) == rows and root.findtext("./svg/title")
    strokes = [path for path in root.iterfind(".//path") if path.get("stroke-width") == "2"]
    assert len(strokes) == 3 * rows // 2 and all(path.get("d") for path in strokes)  # legend, measured, bound


def test_a_line_is_drawn_only_within_its_frame(momentum_rates):
    path = load("_loglog").path
    T = np.array([1, 10, 100, 1000, 10_000])
    inside = path(T, np.full(5, 1.0), -2, 2)
    assert inside.startswith("M0.0 110.0") and inside.endswith("L200.0 110.0")
    assert path(T, np.full(5, 1e9), -2, 2) == ""
    crossing = path(T, 10.0 ** np.array([4, 0, -4, 0, 4]), -2, 2)  # enters, leaves below, comes back, leaves above
    assert crossing.count("M") == 2
    heights = [float(pair.split()[1]) for pair in crossing.replace("M", "L").split("L")[1:]]
    assert min(heights) >= 0 and max(heights) <= 220
