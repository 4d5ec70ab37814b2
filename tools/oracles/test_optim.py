"""Live: PyTorch's optimizers and clipping against `fp_optim`. Run in the oracles environment."""

import json

import numpy as np
import pytest
from tools.oracles import optim_adamw as oracle

from fp_optim import AdamW, Muon, clip_by_global_norm

torch = pytest.importorskip("torch")


def test_the_fixture_is_what_torch_says_today():
    frozen = json.loads(oracle.FIXTURE.read_text(encoding="utf-8"))
    assert {key: frozen[key] for key in oracle.problem()} == oracle.problem()
    for then, now in zip(frozen["trajectory"], oracle.torch_trajectory(frozen), strict=True):
        for name in then:
            np.testing.assert_allclose(then[name], now[name], rtol=1e-12)  # another version may order sums otherwise


def test_adamw_in_float32_stays_with_torchs_fused_kernel():
    rng = np.random.default_rng(3)
    ours = {"w": rng.normal(size=(211, 307)).astype(np.float32)}
    theirs = torch.tensor(ours["w"].copy())
    optimizer = AdamW(ours, lr=0.01, weight_decay=0.1)
    peer = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1, fused=True)
    for _ in range(100):
        g = rng.normal(size=(211, 307)).astype(np.float32)
        optimizer.step({"w": g})
        theirs.grad = torch.tensor(g)
        peer.step()
    # 100 steps round to 2^-24 of values below 8 each, with random signs: about sqrt(100) * 5e-7
    np.testing.assert_allclose(ours["w"], theirs.numpy(), atol=1e-5)


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
