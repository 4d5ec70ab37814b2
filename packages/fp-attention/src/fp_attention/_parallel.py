"""
Independent parts of one computation on several threads.

BLAS spreads a single product over the cores, and NumPy does everything between two products on one. Where the parts of
a computation are independent, such as the heads of attention, it is better the other way round: each thread takes whole
parts, with BLAS on one thread. As many threads are used as BLAS was given, so that whoever limits BLAS limits this too,
and a worker of an outer pool, whose BLAS is limited to one thread, starts none.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController

__all__ = ["each", "threads"]

Part = TypeVar("Part")
Result = TypeVar("Result")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="attention")


_limited = Lock()  # BLAS has one setting for all: who finds it limited by another thread works alone

if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(before=_limited.acquire, after_in_parent=_limited.release)
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_limited.release)


def threads() -> int:
    """How many threads BLAS was given."""
    return max((library.get_num_threads() or 1 for library in _blas().lib_controllers), default=1)


def each(work: Callable[[Part], Result], parts: Sequence[Part], worthwhile: bool = True) -> list[Result]:
    """
    The results of `work` for all parts, in their order.

    Parameters
    ----------
    work
        What to do; it may run on several threads at once.
    parts
        Whatever `work` takes.
    worthwhile
        Whether the work is worth a thread; it is done here otherwise.

    Returns
    -------
    list
        One result a part.
    """
    n = min(threads(), len(parts)) if worthwhile and len(parts) > 1 else 1
    if n < 2 or not _limited.acquire(blocking=False):
        return [work(part) for part in parts]
    try:
        with _blas().limit(limits=1):
            return list(_pool(n).map(work, parts))
    finally:
        _limited.release()
