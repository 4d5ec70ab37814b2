"""Mirrors src/fp_capstone/recomputation.py; that no bit changes is tested in test_model.py."""

import math

import numpy as np
import pytest
import sympy

from fp_capstone import model as module
from fp_capstone.memory import Arena
from fp_capstone.model import Model
from fp_transformer.config import TransformerConfig


def step(family, n_layers, recompute, memory):
    sizes = {"vocab_size": 11, "context_length": 16, "n_layers": n_layers, "n_heads": 2, "d_model": 12}
    model = Model(getattr(TransformerConfig, family)(**sizes), np.random.default_rng(0))
    ids = np.random.default_rng(1).integers(0, 11, (3, 16))
    model.loss_and_grads(ids, ids, memory=memory, recompute=recompute)


def height(family, n_layers, recompute):
    arena = Arena()
    step(family, n_layers, recompute, arena)
    return arena.peak


@pytest.mark.claim("capstone.recomputation-cost")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_all_tapes_are_held_without_it_and_all_streams_and_one_tape_with_it(family):
    tape = height(family, 3, False) - height(family, 2, False)
    stream = height(family, 3, True) - height(family, 2, True)
    for L in (1, 2, 5):
        saved = height(family, L, False) - height(family, L, True)
        assert saved == L * tape - (L * stream + tape)


@pytest.mark.claim("capstone.recomputation-cost")
@pytest.mark.parametrize(("recompute", "forward"), [(False, 5), (True, 10)])
def test_every_block_runs_forward_once_more(recompute, forward, monkeypatch):
    calls = {"block": 0, "block_backward": 0}

    def counted(name, function):
        def count(*args, **options):
            calls[name] += 1
            return function(*args, **options)

        return count

    for name in calls:
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    step("gpt2", 5, recompute, Arena())
    assert calls == {"block": forward, "block_backward": 5}


@pytest.mark.claim("capstone.recomputation-segments")
def test_the_bound_is_a_square():
    L, m, t, k = sympy.symbols("L m t k", positive=True)
    held = L * m / k + k * t
    gap = (sympy.sqrt(L * m / k) - sympy.sqrt(k * t)) ** 2
    assert sympy.simplify(sympy.expand(gap) - (held - 2 * sympy.sqrt(L * m * t))) == 0
    best = sympy.sqrt(L * m / t)
    assert sympy.simplify(held.subs(k, best) - 2 * sympy.sqrt(L * m * t)) == 0


@pytest.mark.claim("capstone.recomputation-segments")
@pytest.mark.parametrize(("L", "m", "t"), [(36, 1, 4), (64, 1, 1), (48, 3, 4), (12, 1, 22)])
def test_among_the_divisors_the_best_lies_beside_the_root(L, m, t):
    held = {k: L // k * m + k * t for k in range(1, L + 1) if L % k == 0}
    assert min(held.values()) >= 2 * math.sqrt(L * m * t) - 1e-9  # float64
    best, root = min(held, key=held.__getitem__), math.sqrt(L * m / t)
    below, above = max((k for k in held if k <= root), default=1), min(k for k in held if k >= root)
    assert best in (below, above)
