"""gunicorn's gthread worker: a pool of threads, and a queue before it that the kernel can't see.

The worker's main thread accepts connections and hands them to the pool with ``enqueue_req``; a
thread calls ``handle`` for each request of theirs. Both names are the same from gunicorn 20.1.0 to
27.0.1, and are looked up on the instance. Every thread at work has a slot of its own to write, so
that none waits for another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from threading import get_ident
from typing import TYPE_CHECKING

from gunicorn_backlog.slot import CHECK, HANDED, PARKED, Kind, Slot
from gunicorn_backlog.workers import waiting
from gunicorn_backlog.workers.counting import timed

if TYPE_CHECKING:
    from gunicorn_backlog.arbiter import ThreadWorker
    from gunicorn_backlog.workers import Claim


def watch(worker: ThreadWorker, claim: Claim) -> None:
    """Wrap ``handle`` and ``enqueue_req``, and the methods for HTTP/2 where there are any.

    ``handle_request`` is called by ``handle``, when the head of a request was read.
    """
    threads = _size_of_pool(worker)
    wanted = [(Kind.THREAD, 1)] * threads + [(Kind.POOL, threads)]
    *slots, own = claim(wanted, tells_waits=waiting.tcp_tells(worker.sockets))
    pool = Pool(own)
    _watch_waits(worker, own)
    _watch_handle(worker, pool, slots)
    _watch_enqueue(worker, pool)
    if hasattr(worker, "handle_http2"):
        _watch_http2(worker, pool)


class Pool:
    """Counts what was handed to a pool of threads, and those that are parked on a connection."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._handed = self._parked = 0

    def hand(self, connections: int) -> None:
        """Count connections that are handed to the pool, or taken from it where no slot is."""
        with self._slot.lock:
            self._handed = max(0, self._handed + connections)
            self._write()

    @contextmanager
    def parked(self, threads: int) -> Iterator[None]:
        """Count threads that are parked meanwhile; -1: one is not."""
        self._park(threads)
        try:
            yield
        finally:
            self._park(-threads)

    def _park(self, threads: int) -> None:
        with self._slot.lock:
            self._parked += threads
            self._write()

    def _write(self) -> None:
        words = self._slot.words
        words[HANDED] = self._handed
        words[PARKED] = self._parked
        words[CHECK] = self._slot.seal + self._handed + self._parked


def _size_of_pool(worker: ThreadWorker) -> int:
    """Return the number of threads; a subclass may make a pool of another size than the setting."""
    return int(getattr(worker.tpool, "_max_workers", worker.cfg.threads))


def _watch_waits(worker: ThreadWorker, own: Slot) -> None:
    greetings = waiting.Greetings() if worker.cfg.is_ssl else None
    worker.handle_request = waiting.watch_requests(
        worker.handle_request,
        worker.sockets,
        own,
        request_of=itemgetter(0),
        socket_of=lambda args: args[1].sock,
        greetings=greetings,
    )
    if greetings is not None:
        worker.handle = greetings.watch(worker.handle, lambda args: args[0].sock)


def _watch_handle(worker: ThreadWorker, pool: Pool, slots: list[Slot]) -> None:
    handle = worker.handle
    free = [timed(handle, slot) for slot in slots]

    def handle_watched(*args: object, **named: object) -> object:
        try:
            handle_timed = free.pop()
        except IndexError:  # a pool of a user's own, and it has more threads than it says
            pool.hand(-1)
            return handle(*args, **named)
        try:
            return handle_timed(*args, **named)
        finally:
            free.append(handle_timed)

    worker.handle = handle_watched


def _watch_enqueue(worker: ThreadWorker, pool: Pool) -> None:
    enqueue_req = worker.enqueue_req

    def enqueue_req_watched(*args: object, **named: object) -> object:
        pool.hand(1)
        try:
            return enqueue_req(*args, **named)
        except BaseException:  # the pool is shut down, or gunicorn 20.1.0 failed at the handshake
            pool.hand(-1)
            raise

    worker.enqueue_req = enqueue_req_watched


def _watch_http2(worker: ThreadWorker, pool: Pool) -> None:
    """A thread stays with an HTTP/2 connection to its end: in use, but only at times at a request.

    A connection that was upgraded begins with a request, before ``handle_http2``.
    """
    handle_http2, handle_http2_request = worker.handle_http2, worker.handle_http2_request
    parking: set[int] = set()

    def handle_http2_watched(*args: object, **named: object) -> object:
        thread = get_ident()
        parking.add(thread)
        try:
            with pool.parked(1):
                return handle_http2(*args, **named)
        finally:
            parking.discard(thread)

    def handle_http2_request_watched(*args: object, **named: object) -> object:
        if get_ident() not in parking:
            return handle_http2_request(*args, **named)
        with pool.parked(-1):
            return handle_http2_request(*args, **named)

    worker.handle_http2 = handle_http2_watched
    worker.handle_http2_request = handle_http2_request_watched
