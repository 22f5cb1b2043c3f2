"""Thread pools behind event loops, read at each beat. A pool that the app does not use is absent.

A limiter or a pool that the app creates itself is not visible.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from gunicorn_backlog.log import OnceLogger, log_errors
from gunicorn_backlog.scoreboard.loop_row import POOLS, LoopRow, PoolState
from gunicorn_backlog.scoreboard.slot import BEGUN, Slot
from gunicorn_backlog.workers.loops.executors import Executors

ReadPool = Callable[[], PoolState | None]


class Pools:
    """Writes the state of pools to a loop row; a call is a callback of the beat.

    A reader that raises an exception is removed, and the exception is logged: its pool is absent
    from then on.
    """

    def __init__(self, row: LoopRow, readers: dict[str, ReadPool]) -> None:
        """Prepare to write the pools of these readers, by name."""
        self._row = row
        self._readers = readers
        self._written: list[PoolState | None] = [None] * len(POOLS)
        self._logger = OnceLogger()

    def __call__(self) -> None:
        """Read all pools, and write them if one has changed."""
        pools = [self._read(name) for name in POOLS]
        if pools != self._written:
            self._row.write_pools(pools)
            self._written = pools

    def _read(self, name: str) -> PoolState | None:
        reader = self._readers.get(name)
        try:
            return None if reader is None else reader()
        except Exception as error:
            del self._readers[name]
            self._logger.exception(f"reading the pool {name}", error)
            return None


def asyncio_pools(row: LoopRow, loop: Any) -> Pools:
    """Return the pools behind a loop with asyncio's interface, without those it does not show."""
    readers: dict[str, ReadPool] = {"anyio": anyio_pool}
    executors = log_errors(OnceLogger(), "watching the executors", partial(Executors, loop))
    if executors is not None:
        readers |= {"asgiref": executors.asgiref, "default": executors.default}
    return Pools(row, readers)


def anyio_pool() -> PoolState | None:
    """Return the state of anyio's default limiter in the running loop; None: not used.

    Starlette and FastAPI run plain functions with this limiter. ``current_default_thread_limiter``
    would create it.
    """
    module: Any = sys.modules.get("anyio._backends._asyncio")
    if module is None:
        return None
    with _in_asyncio():
        limiter = module._default_thread_limiter.get(None)
    if limiter is None:
        return None
    now = limiter.statistics()
    capacity = None if math.isinf(now.total_tokens) else int(now.total_tokens)
    return PoolState(now.borrowed_tokens, now.tasks_waiting, capacity)


@contextmanager
def _in_asyncio() -> Iterator[None]:
    """Set sniffio's current library, if it is installed: it detects asyncio only within tasks."""
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is None:
        yield
        return
    token = sniffio.current_async_library_cvar.set("asyncio")
    try:
        yield
    finally:
        sniffio.current_async_library_cvar.reset(token)


class GeventPool:
    """Reads the thread pool of a hub; the hub's attribute does not create it.

    gevent itself creates the pool to look the host's name up at the start: a pool counts as used
    from the first read that finds a task after the worker's first request. ``len`` is the number
    of unfinished tasks, ``size`` that of threads. A full pool accepts one task more; further
    greenlets wait for its semaphore, a private attribute of gevent 26.
    """

    def __init__(self, slot: Slot, hub: Any) -> None:
        self._hub = hub
        self._words = slot.words
        self._begun_before = slot.words[BEGUN]
        self._is_used = False

    def __call__(self) -> PoolState | None:
        """Return the pool's state; None: not used."""
        pool = getattr(self._hub, "_threadpool", None)
        if pool is None:
            return None
        tasks, threads = len(pool), pool.size
        self._is_used |= tasks > 0 and self._words[BEGUN] > self._begun_before
        if not self._is_used:
            return None
        semaphore = getattr(pool, "_available_worker_threads_greenlet_sem", None)
        waiting = 0 if semaphore is None else semaphore.linkcount()
        return PoolState(min(tasks, threads), max(0, tasks - threads) + waiting, pool.maxsize)
