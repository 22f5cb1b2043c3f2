"""gunicorn's gthread worker: a pool of threads, and its queue in the worker's memory.

The worker's main thread accepts connections and submits them to the pool with ``enqueue_req``. A
thread calls ``handle`` for each request of a connection. gunicorn 20.1.0 to 27.0.1 looks up both on
the instance. No thread waits for another: each busy thread writes a record of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, TypeVar

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.slot import (
    ASIDE,
    BEGUN,
    IDLE_HTTP2,
    OVERFLOW,
    RETURNED,
    SUBMITTED,
    Record,
    Slot,
)
from gunicorn_backlog.workers import request_wait
from gunicorn_backlog.workers.request_counters import track_busy_threads

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import ThreadWorker
    from gunicorn_backlog.workers.registry import Allocate

T = TypeVar("T")


def instrument(worker: ThreadWorker, allocate: Allocate, *, exposes: bool = False) -> None:
    """Wrap ``handle``, ``handle_request``, ``enqueue_req``, and methods of newer gunicorns.

    ``handle`` calls ``handle_request`` when a request's head has been read.
    """
    # A subclass may create a pool of another size.
    size = int(getattr(worker.tpool, "_max_workers", worker.cfg.threads))
    slot = allocate(Kind.GTHREAD, size)
    busy: dict[int, Record] = {}  # by thread
    last_wait = request_wait.instrument_handlers(
        worker, slot, in_connection=True, busy=busy, exposes=exposes
    )
    beyond = _without_record(worker.handle, slot)
    worker.handle = track_busy_threads(
        worker.handle, slot.threads, last_wait, beyond=beyond, busy=busy
    )
    worker.enqueue_req = _counted(worker.enqueue_req, slot)
    if hasattr(worker, "handle_http2"):
        _instrument_http2(worker, slot)
    if hasattr(worker, "set_accept_enabled"):
        _note_last_accept(worker, slot)


def _counted(enqueue: Callable[..., T], slot: Slot) -> Callable[..., T]:
    """Return ``enqueue`` as a function that counts its calls; only the main thread may call."""
    count = 0

    def enqueue_counted(*args: object, **named: object) -> T:
        nonlocal count
        count += 1
        slot.words[SUBMITTED] = count
        try:
            return enqueue(*args, **named)
        except BaseException:  # the pool is shut down, or gunicorn 20.1.0 failed at a handshake
            slot.add(RETURNED, 1)
            raise

    return enqueue_counted


def _without_record(handle: Callable[..., T], slot: Slot) -> Callable[..., T]:
    """Return ``handle`` for threads without a record, which a user's pool may have."""

    def handle_counted(*args: object, **named: object) -> T:
        slot.add(RETURNED, 1)
        with _aside(slot, OVERFLOW):
            return handle(*args, **named)

    return handle_counted


@contextmanager
def _aside(slot: Slot, number: int) -> Iterator[None]:
    """Add a number to ASIDE within the context: IDLE_HTTP2, OVERFLOW, or a negative one."""
    slot.add(ASIDE, number)
    try:
        yield
    finally:
        slot.add(ASIDE, -number)


def _note_last_accept(worker: ThreadWorker, slot: Slot) -> None:
    """Record when the worker ceases to accept for good; it closes its sockets much later.

    Without this method, as in gunicorn 20.1.0 and 23.0.0, it closes them at once.
    """
    set_accept_enabled = worker.set_accept_enabled

    def set_and_note(*args: object, **named: object) -> object:
        result = set_accept_enabled(*args, **named)
        if not worker.alive:
            slot.note_leaving()
        return result

    worker.set_accept_enabled = set_and_note


def _instrument_http2(worker: ThreadWorker, slot: Slot) -> None:
    """Wrap the methods of HTTP/2.

    A thread is busy until its connection ends, also between requests. gunicorn serves the first
    request of an upgraded connection before ``handle_http2``.
    """
    handle_http2, handle_http2_request = worker.handle_http2, worker.handle_http2_request
    in_http2: set[int] = set()  # threads in handle_http2

    def handle_http2_counted(*args: object, **named: object) -> object:
        thread = get_ident()
        in_http2.add(thread)
        try:
            with _aside(slot, IDLE_HTTP2):
                return handle_http2(*args, **named)
        finally:
            in_http2.discard(thread)

    def handle_http2_request_counted(*args: object, **named: object) -> object:
        slot.add(BEGUN, 1)
        if get_ident() not in in_http2:
            return handle_http2_request(*args, **named)
        with _aside(slot, -IDLE_HTTP2):
            return handle_http2_request(*args, **named)

    worker.handle_http2 = handle_http2_counted
    worker.handle_http2_request = handle_http2_request_counted
