"""Mirrors src/fp_capstone/memory.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp_capstone.memory import HEAP, Arena, Memory
from fp_capstone.model import Model
from fp_transformer.config import TransformerConfig

F32 = np.dtype("float32")
# what a program does: cut an array of a size, or release what a nested part has cut
programs = st.recursive(
    st.lists(st.integers(0, 40), max_size=4).map(tuple), lambda inner: st.lists(inner, max_size=3), max_leaves=12
)


def run(arena, program, live):
    """Run a program, and check at every step that the arrays in use are disjoint and keep what was written."""
    if isinstance(program, tuple):
        for size in program:
            array = arena.empty((size,), F32)
            assert array.shape == (size,) and array.dtype == F32
            assert not any(np.may_share_memory(array, other) for other, _ in live)
            array[:] = len(live)
            live.append((array, len(live)))
        return
    for part in program:
        mark, n = arena.mark(), len(live)
        run(arena, part, live)
        assert all((array == value).all() for array, value in live)
        del live[n:]
        arena.release(mark)


@pytest.mark.claim("capstone.arena-disjoint")
@given(st.lists(programs, min_size=1, max_size=4))
def test_arrays_in_use_never_share_memory(steps):
    arena = Arena()
    for program in [*steps, *steps]:
        run(arena, program, [])
        arena.release(0)


def test_from_the_second_step_on_nothing_is_allocated():
    arena = Arena()
    steps = []
    for _ in range(2):
        steps.append([arena.empty((3, n), F32) for n in (5, 7)])
        arena.release(0)
    assert all(a is b for a, b in zip(*steps, strict=True))
    assert all(a.ctypes.data % 64 == 0 for a in steps[0])


def test_a_greater_step_leaves_the_arrays_of_a_smaller_one_where_they_are():
    arena = Arena()
    small = arena.empty((5,), F32)
    small[:] = 1
    large = [arena.empty((n,), F32) for n in (2**18, 2**19, 3)]  # more than the first buffer holds, one by itself too
    for array in large:
        array[:] = 2
    assert (small == 1).all() and arena.peak >= 4 * (2**18 + 2**19)
    arena.release(0)
    assert arena.empty((5,), F32) is small
    assert all(arena.empty(array.shape, F32) is array for array in large)


@pytest.mark.claim("capstone.arena-peak")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_height_of_a_step_grows_by_one_tape_a_layer(family):
    """Scratch is counted once: each further layer adds its tape alone, and recomputation adds the stream alone."""
    peaks, tapes = {}, {}
    for recompute in (False, True):
        for n_layers in (1, 2, 5):
            sizes = {"vocab_size": 11, "context_length": 16, "n_layers": n_layers, "n_heads": 2, "d_model": 12}
            model = Model(getattr(TransformerConfig, family)(**sizes), np.random.default_rng(0))
            ids = np.random.default_rng(1).integers(0, 11, (3, 16))
            arena = Arena()
            model.loss_and_grads(ids, ids, memory=arena, recompute=recompute)
            peaks[recompute, n_layers] = arena.peak
        tapes[recompute] = peaks[recompute, 2] - peaks[recompute, 1]
        assert peaks[recompute, 5] - peaks[recompute, 2] == 3 * tapes[recompute]
    stream = 3 * 16 * 12 * 4
    assert tapes[True] == pytest.approx(stream, abs=64)  # an array ends at a multiple of 64
    assert tapes[False] > 10 * stream


def test_the_heap_is_a_memory_without_a_height():
    assert isinstance(HEAP, Memory) and isinstance(Arena(), Memory)
    HEAP.release(HEAP.mark())
    assert not np.may_share_memory(HEAP.empty((2,), F32), HEAP.empty((2,), F32))
