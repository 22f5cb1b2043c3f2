"""One request of each family of workers: the instrumented methods, with empty bodies.

Each function returns a worker's request, to be called with an accepted socket. Without a ``claim``
the worker is not instrumented; without ``listeners`` waits are not measured.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from gunicorn_backlog.kernel.tcp_info import (
    IPPROTO_TCP,
    LAST_DATA_SIZE,
    TCP_INFO,
    unpack_last_data,
)
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import Slot
from gunicorn_backlog.scoreboard.wait_histogram import EXACT_MS, bucket_of
from gunicorn_backlog.workers import asgi, greenlet, gthread, sync, wsgi
from gunicorn_backlog.workers.received_wait import ReceivedWaits
from gunicorn_backlog.workers.registry import Allocate

Request = Callable[[Any], object]
Wrap = Callable[[Any], Any]


def claim() -> Allocate:
    """Return the function by which a worker allocates its slot."""
    return partial(Scoreboard(slots=16).claim, os.getpid(), 1)


def kept_floor(handle_request: Any) -> Any:
    """Return ``handle_request`` with the cheapest code that measures and stores a wait."""
    return floor(handle_request, claim()(Kind.SYNC, 1))


def sync_request(
    claim: Allocate | None, *listeners: socket.socket, floor: Wrap = lambda method: method
) -> Request:
    """Return a request of the sync worker, from ``handle`` on.

    :param floor: wraps ``handle_request``.
    """

    def handle(listener: Any, client: Any, addr: Any) -> None:
        worker.handle_request(listener, 1, client, addr)

    def handle_request(listener: Any, req: Any, client: Any, addr: Any) -> None:
        pass

    cfg = SimpleNamespace(is_ssl=False)
    worker: Any = SimpleNamespace(
        cfg=cfg, sockets=listeners, handle=handle, handle_request=floor(handle_request)
    )
    if claim:
        sync.instrument(worker, claim)
    return lambda accepted: worker.handle(None, accepted, None)


def gthread_request(claim: Allocate | None, *listeners: socket.socket) -> Request:
    """Return a request of the gthread worker, from the empty queue before its threads on."""

    def enqueue_req(conn: Any) -> None:
        worker.handle(conn)

    def handle(conn: Any) -> None:
        worker.handle_request(1, conn)

    def handle_request(req: Any, conn: Any) -> None:
        pass

    cfg = SimpleNamespace(is_ssl=False, threads=2)
    worker: Any = SimpleNamespace(
        cfg=cfg,
        tpool=None,
        sockets=listeners,
        enqueue_req=enqueue_req,
        handle=handle,
        handle_request=handle_request,
    )
    if claim:
        gthread.instrument(worker, claim)
    conn = SimpleNamespace(sock=None)

    def request(accepted: Any) -> None:
        conn.sock = accepted
        worker.enqueue_req(conn)

    return request


def greenlet_request(claim: Allocate | None, *listeners: socket.socket) -> Request:
    """Return a request of the gevent and eventlet workers: ``handle_request``."""

    def handle_request(listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        pass

    worker: Any = SimpleNamespace(sockets=listeners, handle_request=handle_request)
    if claim:
        greenlet.instrument(worker, claim)
    return lambda accepted: worker.handle_request(None, 1, accepted, None)


def wsgi_request(claim: Allocate | None) -> Request:
    """Return a request of a wrapped app as in tornado: the call, and the response's close."""

    def app(environ: object, start_response: object) -> list[bytes]:
        return []

    worker: Any = SimpleNamespace(wsgi=app, run=lambda: None)
    if claim:
        wsgi.instrument(worker, claim(Kind.WSGI, 0))
    worker.run()

    def request(accepted: Any) -> None:
        answer = worker.wsgi(None, None)
        if hasattr(answer, "close"):
            answer.close()

    return request


def asgi_request(claim: Allocate | None, *listeners: socket.socket) -> Request:
    """Return a request of an ASGI app that awaits nothing, from its parsed head to its end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    cfg = SimpleNamespace(protocol="")
    worker: Any = SimpleNamespace(asgi=app, cfg=cfg, run=lambda: None, sockets=listeners)
    slot = None
    if claim:
        slot = claim(Kind.ASGI, 0)
        asgi.instrument(worker, lambda *_, **__: slot)
    worker.run()
    waits = ReceivedWaits(slot, listeners) if slot and listeners else None
    if waits:
        meter = SimpleNamespace(mark=lambda listening: True, slept=lambda: True)
        waits.follow(SimpleNamespace(meter=meter))  # type: ignore[arg-type]  # parts
    transport, scope = SimpleNamespace(), {"type": "http"}

    def request(accepted: Any) -> None:
        called = worker.asgi
        if waits:
            transport.get_extra_info = lambda name: accepted
            called = partial(waits.start, called, waits.read_ns(transport), lambda _: ())
        call: Coroutine[Any, Any, None] = called(scope, None, None)
        with suppress(StopIteration):
            call.send(None)

    return request


def empty_calls() -> Request:
    """Return two calls of an empty function."""

    def nothing() -> None:
        pass

    def request(accepted: Any) -> None:
        nothing()
        nothing()

    return request


def bare_getsockopt() -> Request:
    """Return the system call by which a wait is measured, alone."""
    return lambda accepted: accepted.getsockopt(IPPROTO_TCP, TCP_INFO, LAST_DATA_SIZE)


def floor(handle_request: Any, slot: Slot | None = None) -> Any:
    """Return ``handle_request`` with the system call and its decoder before it.

    The wrapper accepts gunicorn's own arguments only, and handles no error: other arguments cost
    more.

    :param slot: the slot that counts the wait; None: the wait is not stored.
    """

    def handle_request_late(listener: Any, req: Any, client: Any, addr: Any) -> Any:
        unpack_last_data(client.getsockopt(IPPROTO_TCP, TCP_INFO, LAST_DATA_SIZE))
        return handle_request(listener, req, client, addr)

    def handle_request_counted(listener: Any, req: Any, client: Any, addr: Any) -> Any:
        _, waited_ms = unpack_last_data(client.getsockopt(IPPROTO_TCP, TCP_INFO, LAST_DATA_SIZE))
        waits[waited_ms if waited_ms < EXACT_MS else bucket_of(waited_ms)] += 1
        return handle_request(listener, req, client, addr)

    if slot is None:
        return handle_request_late
    waits = slot.waits
    return handle_request_counted
