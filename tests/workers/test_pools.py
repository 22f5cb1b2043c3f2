"""Readers of thread pools, in this process."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.loop_row import PoolState
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.workers.loops.executors import Executors
from gunicorn_backlog.workers.loops.pools import Pools, anyio_pool

USED = PoolState(1, 0, 4)


def test_a_reader_that_raises_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    """Its pool disappears, the others stay, and one line is logged."""
    scoreboard = Scoreboard(slots=1, thread_rows=0)
    slot = scoreboard.claim(os.getpid(), 1, Kind.ASGI, 0)
    states = [USED]

    def read_default() -> PoolState:
        return states[0]

    pools = Pools(slot.loop, {"default": read_default, "anyio": lambda: USED})

    def seen() -> dict[str, PoolState]:
        loop = scoreboard.reader.read({os.getpid(): 1}).by_pid[os.getpid()].loop
        assert loop is not None
        return dict(loop.pools)

    pools()
    assert seen() == {"anyio": USED, "default": USED}
    states.clear()
    for _ in range(2):
        pools()
        assert seen() == {"anyio": USED}
    (record,) = caplog.records
    assert record.getMessage().startswith("gunicorn_backlog: reading the pool default failed")


@pytest.mark.parametrize("has_sniffio", [False, True])
def test_anyios_pool_in_a_timer(has_sniffio: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is read in a callback of the loop, of which sniffio does not know the library."""
    sniffio = pytest.importorskip("sniffio")
    to_thread = pytest.importorskip("anyio.to_thread")
    if not has_sniffio:
        monkeypatch.setattr(sniffio, "current_async_library", lambda: "asyncio")
        monkeypatch.delitem(sys.modules, "sniffio")
    seen: list[PoolState | None] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun, end = threading.Event(), threading.Event()

        def call() -> None:
            begun.set()
            end.wait(10)

        task = asyncio.create_task(to_thread.run_sync(call))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        done = loop.create_future()

        def read() -> None:
            try:
                seen.append(anyio_pool())
            finally:
                done.set_result(None)

        loop.call_later(0, read, context=contextvars.Context())
        await done
        end.set()
        await task

    asyncio.run(main())
    assert seen == [PoolState(1, 0, 40)]


def test_calls_that_idle_threads_take_are_not_queued() -> None:
    """A call that was just submitted counts as working, as long as a thread is free for it."""
    loop = asyncio.new_event_loop()
    try:
        executors = Executors(loop)
        executor = ThreadPoolExecutor(4)
        loop.set_default_executor(executor)
        states = []
        for _ in range(6):
            executor._work_queue.put(None)  # type: ignore[arg-type]  # no thread takes it
            states.append(executors.default())
        assert states == [
            *(PoolState(n, 0, 4) for n in (1, 2, 3, 4)),
            *(PoolState(4, n, 4) for n in (1, 2)),
        ]
    finally:
        loop.close()
