"""last_wait: which requests count with the last measured wait, on real connections."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from gunicorn_backlog.kernel.tcp_info import (
    IPPROTO_TCP,
    LAST_DATA_SIZE,
    TCP_INFO,
    unpack_last_data,
)
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.wait_histogram import bucket_of
from gunicorn_backlog.workers import gthread, last_wait, sync, tcp_wait
from tests.lab.last_data import last_data_recv_ms
from tests.lab.waiting import wait_for

TICK_MS, LONG_MS = 1000, 1100  # of the tests: a busy machine delays a request for less


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a measurement be fresh for long, and a tick be long."""
    monkeypatch.setattr(last_wait, "FRESH_NS", 60 * 10**9)
    monkeypatch.setattr(tcp_wait, "TICK_MS", TICK_MS)


class Lab:
    """An instrumented worker, and connections that its listener accepted."""

    def __init__(self, family: Any, *, listeners: int = 1, is_ssl: bool = False) -> None:
        self._scoreboard = Scoreboard(slots=16)
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(listeners)]
        self._ends: list[socket.socket] = []
        self._requests = 1
        self._is_sync = family is sync
        self.worker: Any = SimpleNamespace(
            cfg=SimpleNamespace(is_ssl=is_ssl, threads=2),
            tpool=None,
            sockets=self.sockets,
            enqueue_req=None,
            handle=lambda *args: self._handle(*args),
            handle_request=lambda *args: None,
        )
        family.instrument(self.worker, partial(self._scoreboard.claim, os.getpid(), 1))

    def close(self) -> None:
        """Close all sockets."""
        for sock in (*self.sockets, *self._ends):
            sock.close()

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Return a client and its accepted connection."""
        client = socket.create_connection(self.sockets[0].getsockname())
        accepted = self.sockets[0].accept()[0]
        self._ends += [client, accepted]
        return client, accepted

    def take(self, accepted: socket.socket, requests: int = 1) -> list[int]:
        """Let the worker take a connection; return the buckets of the counted waits."""
        before = self.waits()
        self._requests = requests
        self.worker.handle(*self.arguments(accepted))
        return self.since(before)

    def serve_without_take(self, accepted: socket.socket) -> list[int]:
        """Serve a request without ``handle``; return the bucket of the counted wait."""
        before = self.waits()
        self._serve(*self.arguments(accepted))
        return self.since(before)

    def arguments(self, accepted: socket.socket) -> tuple[Any, ...]:
        """Return the arguments of ``handle``."""
        return (None, accepted, None) if self._is_sync else (SimpleNamespace(sock=accepted),)

    def _handle(self, *args: Any) -> None:
        for _ in range(self._requests):
            self._serve(*args)

    def _serve(self, *args: Any) -> None:
        arguments = (None, 1, *args[1:]) if self._is_sync else (1, *args)
        self.worker.handle_request(*arguments)

    def waits(self) -> tuple[int, ...]:
        """Return the counted waits, by bucket."""
        return self._scoreboard.reader.waits()

    def since(self, before: tuple[int, ...]) -> list[int]:
        """Return the buckets of the waits that were counted since then."""
        both = zip(self.waits(), before, strict=True)
        return [bucket for bucket, (now, then) in enumerate(both) for _ in range(now - then)]

    def waiting(self) -> socket.socket:
        """Return an accepted connection whose request has waited for LONG_MS."""
        client, accepted = self.connect()
        client.sendall(b"x")
        wait_for("a long wait", lambda: (last_data_recv_ms(accepted) or 0) >= LONG_MS)
        return accepted


@pytest.fixture(params=[sync, gthread], ids=["sync", "gthread"])
def lab(request: pytest.FixtureRequest) -> Iterator[Callable[..., Lab]]:
    """Create labs, and close their sockets."""
    labs: list[Lab] = []

    def create(**options: Any) -> Lab:
        labs.append(Lab(request.param, **options))
        return labs[-1]

    yield create
    for it in labs:
        it.close()


def short(lab: Lab) -> list[int]:
    """Let the worker take a new connection with a request; return the counted wait."""
    client, accepted = lab.connect()
    client.sendall(b"x")
    return lab.take(accepted)


def long_bucket() -> int:
    """Return the lowest bucket of a long wait."""
    return bucket_of(LONG_MS)


def test_behind_a_short_wait(lab: Callable[..., Lab]) -> None:
    """The next request counts with the last value, whatever its own wait."""
    it = lab()
    (measured,) = short(it)
    assert it.take(it.waiting()) == [measured]


def test_a_permission_is_used_once(lab: Callable[..., Lab]) -> None:
    """A second request of one call of ``handle``, and one without ``handle``, are measured."""
    it = lab()
    (measured,) = short(it)
    waiting = it.waiting()
    skipped, second = it.take(waiting, requests=2)
    assert skipped == measured
    assert second >= long_bucket()
    short(it)
    assert it.serve_without_take(waiting)[0] >= long_bucket()


def test_behind_a_long_wait(lab: Callable[..., Lab]) -> None:
    """Each request is measured until one has a short wait."""
    it = lab()
    waiting = it.waiting()
    for _ in range(2):
        assert it.take(waiting)[0] >= long_bucket()


def test_behind_a_late_sender(lab: Callable[..., Lab]) -> None:
    """A short wait of an old connection permits nothing; its next one behind a response does."""
    it = lab()
    client, accepted = it.connect()

    def idle_ms() -> int:
        octets = accepted.getsockopt(IPPROTO_TCP, TCP_INFO, LAST_DATA_SIZE)
        return int(unpack_last_data(octets)[0])

    wait_for("the connection to be old", lambda: idle_ms() > TICK_MS)
    client.sendall(b"x")
    (late,) = it.take(accepted)
    assert late < long_bucket()
    waiting = it.waiting()
    assert it.take(waiting)[0] >= long_bucket()
    accepted.sendall(b"a response")
    client.sendall(b"x")
    (kept,) = it.take(accepted)
    assert it.take(waiting) == [kept]


def test_an_old_measurement(lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a measurement that is not fresh each request is measured."""
    monkeypatch.setattr(last_wait, "FRESH_NS", 10**9)
    it = lab()
    short(it)
    assert it.take(it.waiting())[0] >= long_bucket()


@pytest.mark.parametrize("options", [{"listeners": 2}, {"is_ssl": True}], ids=str)
def test_workers_that_measure_each_wait(options: dict[str, Any], lab: Callable[..., Lab]) -> None:
    """Several listeners have several queues, and TLS has waits of its own."""
    it = lab(**options)
    short(it)
    assert it.take(it.waiting())[0] >= long_bucket()


def test_threads_have_permissions_of_their_own(request: pytest.FixtureRequest) -> None:
    """A thread that took its connection before the measurement has no permission."""
    it = Lab(gthread)
    request.addfinalizer(it.close)
    taken, go_on = threading.Event(), threading.Event()
    waiting = it.waiting()
    handle = it.worker.handle_request

    def handle_request(*args: Any) -> None:
        taken.set()
        assert go_on.wait(40)
        handle(*args)

    it.worker.handle_request = handle_request
    before = it.waits()
    thread = threading.Thread(target=it.worker.handle, args=it.arguments(waiting))
    thread.start()
    assert taken.wait(40)
    it.worker.handle_request = handle
    short(it)
    go_on.set()
    thread.join()
    assert max(it.since(before)) >= long_bucket()
