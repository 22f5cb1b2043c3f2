"""gunicorn's sync worker: one connection at a time, from its accept to its close."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.workers import request_wait
from gunicorn_backlog.workers.exposed_requests import expose_environ
from gunicorn_backlog.workers.handshake_waits import HandshakeWaits
from gunicorn_backlog.workers.request_counters import track_busy

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import SyncWorker
    from gunicorn_backlog.workers.registry import Allocate


def instrument(worker: SyncWorker, allocate: Allocate, *, exposes: bool = False) -> None:
    """Wrap ``handle`` and ``handle_request``, which gunicorn looks up on the instance.

    gunicorn calls ``handle`` right after the accept: reading from a slow client counts as busy.
    gunicorn calls ``handle_request`` when a request's head has been read.
    """
    slot = allocate(Kind.SYNC, 1)
    handshake_waits = HandshakeWaits() if worker.cfg.is_ssl else None
    last_wait = request_wait.last_wait_of(worker.sockets, is_ssl=worker.cfg.is_ssl, exposes=exposes)
    worker.handle_request = request_wait.instrument_requests(
        worker.handle_request,
        worker.sockets,
        slot,
        request_at=1,
        socket_at=2,
        handshake_waits=handshake_waits,
        last_wait=last_wait,
        exposes=exposes,
    )
    if exposes:
        expose_environ(worker)
    if handshake_waits is not None:
        worker.handle = handshake_waits.instrument(worker.handle, 1)
    worker.handle = track_busy(worker.handle, slot, last_wait)
