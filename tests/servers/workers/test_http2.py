"""HTTP/2: a connection is no request, but its thread is busy until the connection ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.counted_requests import wait_for_requests
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.http2_client import Http2Client
from tests.lab.pushes import next_pushes, wait_for_in_flight, wait_until_all_are_idle
from tests.lab.short_interval import EVERY_20_MS, SHORT_CONFIG
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import ASGI_OWN, GEVENT, GTHREAD, WorkerClass

HTTP2 = ("25.3.0", "27.0.1")
CASES = [case.case(version) for case in (GTHREAD, GEVENT, ASGI_OWN) for version in HTTP2]


@pytest.mark.parametrize(("worker_class", "version"), CASES)
def test_requests_of_an_http2_connection(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
    certificate: Path,
) -> None:
    """Each stream is one request in flight; a thread is busy from the first to the last.

    ``status`` counts the streams: the connection and its handshake are no requests.
    """
    tls = ("--certfile", str(certificate), "--keyfile", str(certificate))
    server = serve(
        installed(version),
        workers=1,
        config=SHORT_CONFIG,
        arguments=(*worker_class.arguments, *tls, "--http-protocols", "h2,h1"),
        app=worker_class.app,
        environ=EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent, workers=1)

    def check(in_flight: int, *, connected: bool = True) -> None:
        threads = worker_class.threads
        wait_for_in_flight(agent, in_flight)
        for push in next_pushes(agent, 3):
            assert push.values("gunicorn.requests.in_flight") == (in_flight,)
            working = connected if threads else in_flight > 0
            assert push.workers == {"idle": 1 - working, "working": working, "starting": 0}
            if threads:
                assert push.values("gunicorn.threads", "state:working") == (connected,)
                assert push.values("gunicorn.threads", "state:idle") == (threads - connected,)
                assert push.values("gunicorn.threads.queued") == (0,)

    with Http2Client(server) as client:
        client.wait(client.get("/plain"))
        check(in_flight=0)
        held = client.get("/hold")
        wait_for("the held request", lambda: server.journal.in_flight().total() == 1)
        check(in_flight=1)
        server.release.touch()
        client.wait(held)
        check(in_flight=0)
    wait_until_all_are_idle(agent, workers=1)
    check(in_flight=0, connected=False)
    wait_for_requests(server, 2)


def test_an_upgrade_to_http2(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """An upgrade's request counts once; in clear text, since gunicorn 27."""
    server = serve(
        newest,
        workers=1,
        config=SHORT_CONFIG,
        arguments=(*GTHREAD.arguments, "--http-protocols", "h2,h1", "--http2-cleartext", "upgrade"),
        environ=EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent, workers=1)
    with server.connect() as client:
        client.sendall(
            b"GET /hold HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"
        )
        wait_for_in_flight(agent, 1)
        for push in next_pushes(agent, 3):
            assert push.values("gunicorn.requests.in_flight") == (1,)
            assert push.values("gunicorn.threads", "state:working") == (1,)
        assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
        server.release.touch()
        wait_for_in_flight(agent, 0)
        for push in next_pushes(agent, 3):
            assert push.values("gunicorn.requests.in_flight") == (0,)
            assert push.values("gunicorn.threads", "state:working") == (1,)
    wait_until_all_are_idle(agent, workers=1)
