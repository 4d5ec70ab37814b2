"""Live: PyTorch's optimizers, schedules and clipping against `fp_optim`. Run in the oracles environment."""

import json

import numpy as np
import pytest
from tools.oracles import optim_steps as oracle

import fp_optim
from fp_optim import Muon, clip_by_global_norm, clip_by_value, one_cycle, sgdr, step_decay

torch = pytest.importorskip("torch")
FROZEN = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))


def close(one, other, **tolerance):
    for then, now in zip(one, other, strict=True):
        assert then.keys() == now.keys()
        for name in then:
            np.testing.assert_allclose(then[name], now[name], **tolerance)


def test_the_fixture_is_what_torch_says_today():
    given = oracle.problem()
    assert {key: FROZEN[key] for key in given} == json.loads(json.dumps(given))
    now = oracle.trajectories(FROZEN)
    assert now.keys() == FROZEN["trajectories"].keys()
    for name, trajectory in FROZEN["trajectories"].items():
        close(trajectory, now[name], rtol=1e-11, atol=1e-12)  # another version may order sums otherwise
    # bfloat16 rounds to 2^-9, and where depends on the processor; the way of 100 steps is about 5
    close(FROZEN["muon trajectory"], oracle.muon_trajectory(FROZEN), atol=0.03)


@pytest.mark.parametrize("kernel", ["fused", "foreach"])
@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "adam", "adamw", "amsgrad"])
def test_optimizers_in_float32_stay_with_torchs_kernels(name, kernel):
    rng = np.random.default_rng(3)
    ours, peak, settings, _ = oracle.CASES[name]
    settings = {key: tuple(v) if key == "betas" else v for key, v in settings.items()}
    w = {"w": rng.normal(size=(211, 307)).astype(np.float32)}
    theirs = torch.tensor(w["w"].copy())
    optimizer = getattr(fp_optim, ours)(w, lr=peak, **settings)
    make = getattr(torch.optim, oracle.CLASSES.get(ours, ours))
    peer = make([theirs], lr=peak, **oracle.ALWAYS.get(ours, {}), **settings, **{kernel: True})
    for _ in range(100):
        g = rng.normal(size=(211, 307)).astype(np.float32)
        optimizer.step({"w": g})
        theirs.grad = torch.tensor(g)
        peer.step()
    # 100 steps round to 2^-24 of values below 8 each, with random signs: about sqrt(100) * 5e-7, the largest of 65,000
    # a few times that
    np.testing.assert_allclose(w["w"], theirs.numpy(), atol=3e-5)


@pytest.mark.parametrize("shape", [(31, 17), (17, 31)])
def test_muon_stays_within_the_precision_of_torchs_bfloat16(shape):
    rng = np.random.default_rng(5)
    ours = {"w": rng.normal(size=shape).astype(np.float32)}
    start = ours["w"].copy()
    theirs = torch.tensor(start.copy())
    optimizer = Muon(ours, lr=0.02, momentum=0.95)
    peer = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=0.0)
    for _ in range(3):
        g = rng.normal(size=shape).astype(np.float32)
        optimizer.step({"w": g})
        theirs.grad = torch.tensor(g)
        peer.step()
    moved = np.linalg.norm(ours["w"] - start)
    # bfloat16 rounds to 2^-9, and five iterations of slope up to 3.4 pass errors on: a few per cent of the way moved
    assert np.linalg.norm(ours["w"] - theirs.numpy()) < 0.05 * moved


def test_clipping_returns_and_does_what_torch_does():
    rng = np.random.default_rng(7)
    grads = {"w": rng.normal(size=(13, 11)), "b": rng.normal(size=5)}
    tensors = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads.values()]
    for tensor, g in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.tensor(g.copy())
    norm = torch.nn.utils.clip_grad_norm_(tensors, 1.5)
    assert clip_by_global_norm(grads, 1.5) == pytest.approx(norm.item(), rel=1e-14)
    for tensor, g in zip(tensors, grads.values(), strict=True):
        np.testing.assert_allclose(g, tensor.grad.numpy(), rtol=1e-6)  # torch adds 1e-6 to the norm that it divides by


def test_clipping_by_value_does_what_torch_does():
    g = np.random.default_rng(8).normal(size=(13, 11))
    tensor = torch.zeros(g.shape, dtype=torch.float64, requires_grad=True)
    tensor.grad = torch.tensor(g.copy())
    torch.nn.utils.clip_grad_value_([tensor], 0.7)
    clip_by_value({"g": g}, 0.7)
    np.testing.assert_array_equal(g, tensor.grad.numpy())


def rates(make, n_steps):
    """What a scheduler of torch sets, first step included, from a rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = make(optimizer)
    for _ in range(n_steps):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


def test_schedules_are_torchs():
    scheduler = torch.optim.lr_scheduler
    pairs = [
        (lambda k: step_decay(k, every=3, factor=0.3), lambda o: scheduler.StepLR(o, 3, 0.3)),
        (
            lambda k: sgdr(k, period=3, factor=2, floor=0.1),
            lambda o: scheduler.CosineAnnealingWarmRestarts(o, 3, 2, eta_min=0.1),
        ),
        (
            lambda k: one_cycle(k, n_steps=50, rise=10, peak=2.0, start=0.2, floor=0.002),
            lambda o: scheduler.OneCycleLR(
                o, 2.0, 50, pct_start=0.22, three_phase=True, anneal_strategy="linear", div_factor=10,
                final_div_factor=100, cycle_momentum=False,
            ),
        ),
    ]  # fmt: skip
    for ours, theirs in pairs:
        # torch multiplies what it had, step by step, where ours starts from the number of the step
        assert list(map(ours, range(49))) == pytest.approx(list(rates(theirs, 49)), rel=1e-12)
