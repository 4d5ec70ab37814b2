"""Threads: the same results, in order, and BLAS as it was."""

import os
import threading

import pytest

from fp_attention import _parallel
from fp_attention._parallel import each, threads


@pytest.fixture
def two(monkeypatch):
    """BLAS on two threads, as far as this machine and its settings allow."""
    blas = _parallel._blas()
    with blas.limit(limits=2):
        yield


def test_results_come_in_order(two):
    assert each(lambda n: n * n, range(50)) == [n * n for n in range(50)]


def test_blas_is_limited_inside_and_restored(two):
    before = threads()
    seen = each(lambda _: threads(), range(4))
    assert threads() == before
    if before > 1:
        assert set(seen) == {1}


def test_errors_come_through_and_blas_is_restored(two):
    before = threads()

    def fail(n):
        raise ValueError(f"part {n}")

    with pytest.raises(ValueError, match="part 0"):
        each(fail, range(4))
    assert threads() == before
    assert each(str, range(2)) == ["0", "1"]


def test_one_thread_starts_none():
    with _parallel._blas().limit(limits=1):
        names = each(lambda _: threading.current_thread().name, range(4))
    assert set(names) == {threading.current_thread().name}


def test_within_a_part_there_are_no_further_threads(two):
    def outer(_):
        me = threading.current_thread().name
        return me, each(lambda _: threading.current_thread().name, range(3))

    assert all(set(inner) == {me} for me, inner in each(outer, range(4)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_it_works_after_a_fork(two):
    each(str, range(4))
    child = os.fork()
    if child == 0:
        os._exit(0 if each(str, range(4)) == ["0", "1", "2", "3"] else 1)
    assert os.waitpid(child, 0)[1] == 0
