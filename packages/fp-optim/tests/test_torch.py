"""A hundred steps of each optimizer, in groups and on schedule, as PyTorch (frozen by tools/oracles) and papers do."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

import fp_optim
from fp_optim import Lion, Muon, sgdr, warmup_cosine

TORCH = json.loads((Path(__file__).parent / "fixtures/torch.json").read_text(encoding="utf-8"))
CASES = TORCH["cases"]


def arrays(lists):
    return {name: np.array(value) for name, value in lists.items()}


def settings(given):
    return {key: tuple(value) if key == "betas" else value for key, value in given.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_hundred_steps_with_groups_and_a_schedule_agree_with_pytorch(name):
    case, parameters = CASES[name], arrays(TORCH["start"])
    optimizer = getattr(fp_optim, case["class"])(
        parameters,
        lr=case["peak"],
        groups=lambda name, array: settings(case["slow"]) if name == "slow" else {},
        check_finite=True,
        **settings(case["settings"]),
    )
    assert len(TORCH["grads"]) == 100
    expected = dict(zip(TORCH["kept"], TORCH["trajectories"][name], strict=True))
    assert 1 in expected and 100 in expected
    for k, grads in enumerate(TORCH["grads"]):
        optimizer.step(arrays(grads), lr=warmup_cosine(k, peak=case["peak"], **TORCH["schedule"]))
        for of, value in expected.get(k + 1, {}).items():
            # in float64 the rounding of 100 steps is about 1e-14 of a parameter; a term that is missing or in another
            # place is seen from 1e-6 on (`eps` beside gradients of 1e-3), and 1e-10 lies between the two
            np.testing.assert_allclose(parameters[of], value, rtol=1e-10, atol=1e-11, err_msg=f"{of} at {k + 1}")


def test_the_optimizers_are_told_apart_by_every_parameter():
    for (one, a), (other, b) in itertools.combinations(TORCH["trajectories"].items(), 2):
        for name in TORCH["start"]:
            if {one, other} == {"adam", "adamw"} and name == "b":
                continue  # without decay they are the same
            assert np.abs(np.subtract(a[-1][name], b[-1][name])).max() > 1e-6, (one, other, name)


def newton_schulz(G):
    """Five iterations as K. Jordan's note on Muon writes them, in float64, one matrix after the other."""
    a, b, c = 3.4445, -4.7750, 2.0315
    X = G / np.sqrt((G * G).sum())
    if G.shape[0] > G.shape[1]:
        X = X.T
    for _ in range(5):
        A = X @ X.T
        X = a * X + (b * A + c * A @ A) @ X
    return X.T if G.shape[0] > G.shape[1] else X


def muon_runs():
    """Parameters of ours and of the reference after each step, a group of settings for each of the two matrices."""
    given = TORCH["muon"]
    ours, theirs = arrays(given["start"]), arrays(given["start"])
    averages = {name: np.zeros_like(W) for name, W in theirs.items()}
    optimizer = Muon(ours, momentum=given["momentum"], groups=lambda name, array: given[name])
    for k, lists in enumerate(given["grads"]):
        rate = warmup_cosine(k, peak=given["peak"], **TORCH["schedule"])
        optimizer.step(arrays(lists), rate)
        for name, G in arrays(lists).items():
            lr = given[name].get("lr_scale", 1) * rate
            averages[name] = given["momentum"] * averages[name] + (1 - given["momentum"]) * G
            U = (1 - given["momentum"]) * G + given["momentum"] * averages[name]
            scale = math.sqrt(max(1, G.shape[0] / G.shape[1]))
            W = theirs[name] * (1 - lr * given[name]["weight_decay"])
            theirs[name] = W - lr * scale * newton_schulz(U)
        yield k + 1, ours, theirs


def test_muon_agrees_with_a_reference_in_float64():
    for _, ours, theirs in muon_runs():
        for name, W in theirs.items():
            # an iteration passes 860 roundings of 1e-16 on, and a hundred steps of a twentieth add up
            np.testing.assert_allclose(ours[name], W, atol=1e-10)


def test_muon_stays_within_the_precision_of_pytorchs_bfloat16():
    expected = dict(zip(TORCH["kept"], TORCH["muon trajectory"], strict=True))
    before, way = arrays(TORCH["muon"]["start"]), dict.fromkeys(TORCH["muon"]["start"], 0.0)
    for k, ours, _ in muon_runs():
        for name, W in ours.items():
            way[name] += np.linalg.norm(W - before[name])
            if k in expected:
                # bfloat16 rounds to 2^-9; a slope of up to 3.4 in each of five iterations makes some per cent of that
                assert 0 < np.linalg.norm(W - expected[k][name]) < 0.03 * way[name], (name, k)
        before = {name: W.copy() for name, W in ours.items()}


def test_lion_at_the_rates_of_sgdr_is_what_the_two_papers_write():
    betas, decays, scales = (0.9, 0.97), {"w": 0.3, "b": 0.0, "slow": 0.02}, {"w": 1, "b": 1, "slow": 0.25}
    parameters = arrays(TORCH["start"])
    optimizer = Lion(
        parameters,
        betas=betas,
        weight_decay=0.3,
        groups=lambda name, array: {"lr_scale": 0.25, "weight_decay": 0.02} if name == "slow" else {},
    )
    theta = arrays(TORCH["start"])
    m = {name: np.zeros_like(value) for name, value in theta.items()}
    T_cur, T_i = 0, 7  # Loshchilov and Hutter: T_mult = 2, from eta_max = 0.02 to eta_min = 0.001
    for k, lists in enumerate(TORCH["grads"]):
        eta = 0.001 + 0.5 * (0.02 - 0.001) * (1 + math.cos(T_cur / T_i * math.pi))
        T_cur += 1
        if T_cur == T_i:
            T_cur, T_i = 0, 2 * T_i
        rate = sgdr(k, period=7, factor=2, peak=0.02, floor=0.001)
        assert rate == pytest.approx(eta, rel=1e-13)  # the two round in another order
        optimizer.step(arrays(lists), rate)
        for name, g in arrays(lists).items():  # Chen and others, their algorithm 2
            c = betas[0] * m[name] + (1 - betas[0]) * g
            theta[name] = theta[name] - scales[name] * eta * (np.sign(c) + decays[name] * theta[name])
            m[name] = betas[1] * m[name] + (1 - betas[1]) * g
            # rounding of as many steps; a sign that turned would be seen at 2.5e-4, a quarter of the least rate
            np.testing.assert_allclose(parameters[name], theta[name], rtol=1e-12, atol=1e-13)
    assert T_i == 56  # three restarts
