"""The accept queue of each listening socket when a worker closes the socket, and leaves.

If no other process has the socket, the kernel resets these connections. A class of sockets is
extended, not an instance: sockets have slots. Workers that leave the close to the kernel (sync)
record when ``run`` ends, and again at the interpreter's exit.

uvloop closes the descriptor itself, before the socket's methods run. gunicorn's asgi worker
therefore records before its ``_shutdown``, too. With other workers on uvloop (uvicorn's, aiohttp's)
nothing is recorded, and the latest sample counts.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from gunicorn_backlog.kernel import sock_diag, tcp_info
from gunicorn_backlog.kernel.accept_queue import QueueError
from gunicorn_backlog.scoreboard.detail_row import SOCKETS
from gunicorn_backlog.scoreboard.slot import Slot

Record = Callable[[], None]


def record_closed_queues(worker: Any, slot: Slot) -> None:
    """Record the sockets of a worker, and the queue of each one at its close."""
    records = list(_instrumented(worker, slot))

    def record_all() -> None:
        for record in records:
            record()

    shut_down = getattr(worker, "_shutdown", None)  # a coroutine function of the asgi worker
    if shut_down is not None:

        def record_and_shut_down(*args: Any, **named: Any) -> Any:
            record_all()
            return shut_down(*args, **named)

        worker._shutdown = record_and_shut_down

    run = worker.run

    def run_and_record() -> None:
        try:
            run()
        finally:
            record_all()
            slot.note_leaving()

    worker.run = run_and_record
    atexit.register(record_all)


def _instrumented(worker: Any, slot: Slot) -> Iterator[Record]:
    """Yield a function for each socket that records the queue of the open socket."""
    for number, sock in enumerate(list(worker.sockets)[:SOCKETS]):
        raw = getattr(sock, "sock", sock)  # gunicorn's wrapper, or gevent's socket in its place
        with suppress(OSError, AttributeError, TypeError):  # closed, or of an unknown class
            inode = os.fstat(raw.fileno()).st_ino
            slot.details.write_socket(number, inode)
            record = _recorder(slot, number, raw, inode)
            raw.__class__ = _recording(type(raw), record, slot)
            yield record


def _recorder(slot: Slot, number: int, raw: Any, inode: int) -> Record:
    def record() -> None:
        with suppress(OSError, QueueError):  # closed already
            # uvloop may have closed the descriptor, and another file may have its number.
            if os.fstat(raw.fileno()).st_ino == inode:
                tcp = raw.family in (socket.AF_INET, socket.AF_INET6)
                queue = tcp_info.read(raw) if tcp else sock_diag.unix_queue(inode)
                slot.details.write_socket(number, inode, queue.length)

    return record


def _recording(base: type, record: Record, slot: Slot) -> type:
    """Return a class of sockets that records before it closes, or gives away, its descriptor."""

    def close(self: Any) -> None:
        try:
            record()
            slot.note_leaving()
        finally:
            base.close(self)  # type: ignore[attr-defined]  # a socket's

    def detach(self: Any) -> int:
        try:
            record()
        finally:
            fd = base.detach(self)  # type: ignore[attr-defined]  # a socket's
        return int(fd)

    return type(base.__name__, (base,), {"__slots__": (), "close": close, "detach": detach})
