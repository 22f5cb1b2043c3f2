"""gunicorn's sync worker: one connection at a time, from its accept to its close."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gunicorn_backlog.scoreboard import Kind, Slot

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import Worker

KIND = Kind.SYNC
CLASS_NAMES = frozenset({"SyncWorker"})
CAPACITY = 1


def watch(worker: Worker, slot: Slot, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
    """Wrap ``worker.handle``, which gunicorn looks up on the instance for each connection.

    It is called right after the accept, so reading from a slow client counts as work.
    """
    handle = worker.handle
    write = slot.write
    worked_ns = begun = 0

    def handle_watched(*args: object) -> object:
        nonlocal worked_ns, begun
        begun += 1
        began_ns = clock_ns()
        write(1, worked_ns, began_ns, begun, 0)
        try:
            return handle(*args)
        finally:
            ended_ns = clock_ns()
            worked_ns += ended_ns - began_ns
            write(0, worked_ns, ended_ns, begun, 0)

    worker.handle = handle_watched
