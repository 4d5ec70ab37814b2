"""What is particular to the tiled kernel, its memory and its tiles; test_scaled_dot has the rest."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from fp_attention import tiled
from fp_attention._strips import _cached_strips, blocks
from fp_attention.masks import Causal, Documents, First, Padding, SlidingWindow
from fp_attention.scaled_dot import reference_attention, scaled_dot_product_attention
from fp_attention.tiled import tiled_attention
from fp_autograd.functional import vjp
from fp_autograd.tensor import Tensor


def peak(T: int, mask=None, biased: bool = False, dropout: float = 0.0, D: int = 8) -> int:
    """Bytes beyond inputs, output and gradients, forward and backward."""
    q, k, v, g = (np.random.default_rng(i).normal(size=(2, T, D)).astype(np.float32) for i in range(4))
    bias = np.zeros((2, 2 * T - 1), np.float32) if biased else None
    tracemalloc.start()
    x = [Tensor(a, requires_grad=True) for a in (q, k, v)]
    b = None if bias is None else Tensor(bias, requires_grad=True)
    rng = np.random.default_rng(0)
    tiled_attention(*x, mask=mask, bias=b, dropout=dropout, rng=rng).backward(g)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest - 4 * q.nbytes - (0 if bias is None else 2 * bias.nbytes)


def documents(T: int) -> Documents:
    return Documents(np.arange(T) // 100)


def padding(T: int) -> Padding:
    return Padding(np.arange(T)[None] < 3 * T // 4)


SETTINGS = {
    "causal": lambda T: {"mask": Causal()},
    "window": lambda T: {"mask": SlidingWindow(200)},
    "none": lambda T: {},
    "documents": lambda T: {"mask": Causal() & documents(T)},
    "padding": lambda T: {"mask": Causal() & padding(T)},
    "bias": lambda T: {"mask": Causal(), "biased": True},
    "dropout": lambda T: {"mask": Causal(), "dropout": 0.1},
    "bias and dropout": lambda T: {"biased": True, "dropout": 0.1},
    "wide": lambda T: {"mask": Causal(), "D": 64},
}


@pytest.mark.claim("attention.tiled-memory")
@pytest.mark.parametrize("name", SETTINGS)
def test_memory_is_a_few_tiles(name, monkeypatch):
    monkeypatch.setattr("fp_attention._parallel.threads", lambda: 1)
    monkeypatch.setattr("fp_attention._strips.threads", lambda: 1)
    peak(512, **SETTINGS[name](512))  # once for what is made only once
    _cached_strips.cache_clear()
    T, settings = 2048, SETTINGS[name](2048)
    highest = peak(T, **settings)
    w, r, c, D = 2, tiled.ROWS, tiled.COLUMNS, settings.get("D", 8)
    numbers = 6 * w * r * c + 4 * w * (r + c) * 2 * D + 2 * T
    # and the descriptions of tiles, about a kilobyte each, and what is drawn for a piece of dropout
    assert highest < 4 * numbers + 2000 * (T // r) * (T // c) + 4 * r * c * bool(settings.get("dropout"))


@pytest.mark.claim("attention.tiled-memory")
@pytest.mark.parametrize("mask", [Causal(), SlidingWindow(200), None])
def test_memory_grows_with_the_length_at_most(mask):
    peak(512, mask)
    _cached_strips.cache_clear()
    short, long = peak(1024, mask), peak(4096, mask)
    # four times the length: a table would take sixteen times as much
    assert long < 4.5 * short


@pytest.mark.slow
@pytest.mark.claim("attention.tiled-memory")
def test_memory_at_sixteen_thousand_tokens():
    peak(512, Causal())
    peaks = [peak(T, Causal()) for T in (4096, 8192, 16384)]
    assert all(b < 2.2 * a for a, b in pairwise(peaks))
    assert peaks[-1] < 16384**2 / 8


def test_a_row_may_meet_only_forbidden_tiles_first(monkeypatch):
    monkeypatch.setattr(tiled, "ROWS", 4)
    monkeypatch.setattr(tiled, "COLUMNS", 2)
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(1, 8, 3)) for _ in range(3))
    late = np.zeros((8, 8), bool)
    late[:, 7] = True  # every query sees the last key alone
    assert np.allclose(tiled_attention(q, k, v, mask=late), v[:, 7:], rtol=0, atol=1e-15)
    _, back = vjp(lambda *x: tiled_attention(*x, mask=late), q, k, v)
    assert all(np.isfinite(dx).all() for dx in back(np.ones((1, 8, 3))))


def test_scores_that_rise_along_the_row(monkeypatch):
    monkeypatch.setattr(tiled, "COLUMNS", 2)
    q, k = np.ones((1, 2, 1), np.float32), 40 * np.arange(9, dtype=np.float32)[None, :, None]
    v = np.random.default_rng(0).normal(size=(1, 9, 2)).astype(np.float32)
    # the last score is 40 above all others: their weights are below the rounding of single precision
    assert np.allclose(tiled_attention(q, k, v), v[:, 8:], rtol=1e-6)


def test_blocks_cover_a_strip_once():
    for mask in (Causal(), SlidingWindow(5), SlidingWindow(3) | (Causal() & First(2))):
        for strip in _cached_strips(mask, 20, 20, 0, 4):
            cut = blocks(strip, 3)
            assert all(len(tile.runs) == 1 and tile.width <= 3 for tile in cut)
            columns = [j for tile in cut for j in range(tile.runs[0].first, tile.runs[0].stop)]
            assert columns == [j for run in strip.runs for j in range(run.first, run.stop)]
            allowed = mask.dense(20, 20)
            for tile in cut:
                inside = np.ones((tile.stop - tile.first, tile.width), bool)
                for piece in tile.partial:
                    inside[:, piece.columns] = piece.allowed
                assert (inside == allowed[tile.rows, tile.runs[0].keys]).all()


def test_float32_agrees_with_the_other_kernel():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 3, 300, 16)).astype(np.float32) for _ in range(3))
    exact = reference_attention(*(x.astype(np.float64) for x in (q, k, v)), mask=Causal())
    for attention in (tiled_attention, scaled_dot_product_attention):
        # means of values of size one, with weights that are right to a few units of the last place
        assert np.abs(attention(q, k, v, mask=Causal()) - exact).max() < 5e-6
