"""gunicorn's sync worker: one connection at a time, from its accept to its close."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.workers import request_wait
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
    last_wait = request_wait.instrument_handlers(worker, slot, exposes=exposes)
    worker.handle = track_busy(worker.handle, slot, last_wait)
