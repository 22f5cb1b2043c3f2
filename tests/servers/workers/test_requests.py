"""``requests`` of a worker equals the app's number, without gunicorn's own 4xx."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.conftest import ServerFactory
from tests.lab.cli_command import run_cli
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.http2_client import Http2Client
from tests.lab.server import Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    AIOHTTP_ASYNCIO,
    ASGI_OWN,
    CLASSES,
    GEVENT,
    GTHREAD,
    SYNC,
    TORNADO_OWN,
    UVICORN,
    WorkerClass,
)

CLIENTS = 10
CASES = [
    *((case, case.versions[-1]) for case in CLASSES),
    *((case, VERSIONS[0]) for case in (SYNC, GTHREAD, GEVENT)),
]


def requests_of(server: Server) -> int | None:
    """Return the only worker of ``status``, as soon as the worker has a slot."""
    done = run_cli("status", str(server.pid), "--json", "--seconds", "0.1")
    if done.code != 0:  # the server does not serve yet
        return None
    workers = json.loads(done.out)["workers"]
    return workers[0]["requests"] if len(workers) == 1 else None


class Counted:
    """A server with one worker, and the growth of the worker's number of requests."""

    def __init__(self, server: Server) -> None:
        self.server = server.wait_until_it_serves()
        wait_for("a slot", lambda: requests_of(server))
        self._before = requests_of(server) or 0

    def wait_for(self, requests: int) -> None:
        """Wait until that number is counted; fail if the final number differs."""
        wait_for(f"{requests} requests", lambda: self._since() >= requests, deadline_s=10)
        assert self._since() == requests

    def _since(self) -> int:
        return (requests_of(self.server) or 0) - self._before


def without_a_request(server: Server, octets: bytes = b"") -> None:
    """Connect, send, and close after the server closes or if nothing was sent."""
    with server.connect() as client:
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass


def kept_alive(server: Server, requests: int) -> None:
    """Send the requests on one connection for as long as the server keeps it open."""
    client = HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(requests):
        client.request("GET", "/")
        answer = client.getresponse()
        assert answer.status == 200
        answer.read()
    client.close()


@pytest.mark.parametrize(
    ("worker_class", "version"),
    CASES,
    ids=[f"{worker_class.name}-{worker_class.app[10:14]}-{v}" for worker_class, v in CASES],
)
def test_requests_of_each_class(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
) -> None:
    """Ten clients with one request each count ten; malformed requests and none count 0."""
    server = serve(
        installed(version), workers=1, arguments=worker_class.arguments, app=worker_class.app
    )
    counted = Counted(server)
    for _ in range(CLIENTS):
        without_a_request(server)
    without_a_request(server, b"nonsense\r\n\r\n")
    for _ in range(CLIENTS):
        server.get("/")
    counted.wait_for(CLIENTS)
    kept_alive(server, 3)
    counted.wait_for(CLIENTS + 3)


@pytest.mark.parametrize(
    "worker_class", [GTHREAD, GEVENT, ASGI_OWN], ids=lambda worker_class: worker_class.name
)
def test_each_stream_of_http2_is_one(
    worker_class: WorkerClass, newest: Gunicorn, serve: ServerFactory, certificate: Path
) -> None:
    """The connection and its handshake are no requests."""
    tls = ("--certfile", str(certificate), "--keyfile", str(certificate))
    server = serve(
        newest,
        workers=1,
        arguments=(*worker_class.arguments, *tls, "--http-protocols", "h2,h1"),
        app=worker_class.app,
    )
    wait_for("a slot", lambda: requests_of(server) == 0)
    with Http2Client(server) as client:
        for _ in range(3):
            client.wait(client.get("/plain"))
    wait_for("3 requests", lambda: requests_of(server) == 3, deadline_s=10)


@pytest.mark.parametrize(
    "worker_class",
    [ASGI_OWN, UVICORN, AIOHTTP_ASYNCIO, TORNADO_OWN],
    ids=lambda worker_class: worker_class.name,
)
def test_a_websocket_is_one(
    worker_class: WorkerClass, installed: Callable[[str], Gunicorn], serve: ServerFactory
) -> None:
    """A websocket is one request, with any number of messages."""
    server = serve(
        installed(worker_class.versions[-1]),
        workers=1,
        arguments=worker_class.arguments,
        app=worker_class.app,
    )
    counted = Counted(server)
    with connect(f"ws://{server.address}/websocket") as sock:
        for _ in range(3):
            sock.send("a")
            assert sock.recv(timeout=30) == "a"
        counted.wait_for(1)
    counted.wait_for(1)


def test_a_fallback_of_tornados_is_one(
    newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """A handler that passes a request on to a WSGI app, or to another application."""
    (tmp_path / "falling_back.py").write_text(
        "from tornado.web import Application, FallbackHandler\n"
        "from tornado.wsgi import WSGIContainer\n"
        "from tests.lab.wsgi_app import app as wsgi\n"
        "from tests.lab.tornado_app import app as within\n"
        "app = Application([\n"
        "    ('/plain', FallbackHandler, {'fallback': WSGIContainer(wsgi)}),\n"
        "    ('.*', FallbackHandler, {'fallback': within}),\n"
        "])\n"
    )
    server = serve(
        newest,
        workers=1,
        arguments=(*TORNADO_OWN.arguments, "--pythonpath", str(tmp_path)),
        app="falling_back:app",
    )
    counted = Counted(server)
    assert server.get("/plain") == b"constant"
    counted.wait_for(1)
    assert server.get("/") == b"ok"
    counted.wait_for(2)
