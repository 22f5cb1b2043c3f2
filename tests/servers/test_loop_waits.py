"""The waits of requests in event loops are those of clients' stopwatches and the app's clock.

On a busy machine a worker may be interrupted between its measurement and the app, and nginx before
it sends: only the long forms require that no error exceeds 20 ms.
"""

from __future__ import annotations

import re
import socket
import ssl
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from agent import StandInAgent
from websockets.sync.client import connect

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.http2_client import Http2Client
from tests.lab.loop_waits import (
    AIOHTTP,
    ASGI,
    ASGI_UVLOOP,
    CASES,
    H11,
    PYWSGI,
    TORNADO,
    TORNADO_WSGI,
    UVLOOP,
    Case,
    Limits,
    Recorded,
    waits,
)
from tests.lab.nginx import nginx
from tests.lab.nightly import nightly
from tests.lab.pushes import next_pushes
from tests.lab.server import request
from tests.lab.short_and_soak import forms
from tests.lab.stopwatch import Client, as_fast_as_possible, ask, waits_of
from tests.lab.waiting import wait_for

WAIT = "gunicorn.request.wait.count"
CLIENTS, BLOCK_MS, TURN_MS, PAUSE_S = 30, 400, 10, 0.3
EXACT = Limits(median_ms=5, outliers=0)
DIRECT = {"short": Limits(median_ms=5, outliers=0.2), "long": EXACT}
BEHIND_NGINX = {"short": Limits(median_ms=50, outliers=1), "long": EXACT}
BEHIND_NGINX_BY_DAY = (ASGI, UVLOOP, AIOHTTP, TORNADO, PYWSGI)
HEAD = b"GET /%s HTTP/1.1\r\nHost: test\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n"

Connect = Callable[[bool], Client]


@forms("form", short="short", long="long")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_waits_of_each_class(
    form: str, case: Case, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """A block, a queue, an idle server, late senders, uploads, pipelined requests, and nginx."""
    recorded = case.start(serve, newest, tmp_path)
    check(case, recorded, DIRECT[form])
    if form == "short" and case not in BEHIND_NGINX_BY_DAY:
        return
    with nginx(tmp_path, recorded.server.address) as port:
        block(
            recorded, f"{case.id}, nginx", lambda kept: Client(port, kept=kept), BEHIND_NGINX[form]
        )


@pytest.mark.soak
@pytest.mark.parametrize(
    ("case", "version"),
    [
        pytest.param(case, version, id=f"{case.id}-{version}")
        for case in CASES
        for version in case.versions[:-1]
    ],
)
def test_waits_in_other_versions(
    case: Case,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    tmp_path: Path,
) -> None:
    """The same on older gunicorns."""
    check(case, case.start(serve, installed(version), tmp_path), EXACT)


def check(case: Case, recorded: Recorded, limits: Limits) -> None:
    """Check all that one server shows."""
    port = recorded.server.wait_until_it_serves().port

    def connection(kept: bool) -> Client:
        return Client(port, kept=kept)

    wait_for("the first wait", recorded.all)
    recorded.skip_all()
    waited = [(0.0, ask(port)) for _ in range(20)]
    limits.check(f"{case.id}, idle", recorded.of_the_next(20), waited)
    block(recorded, case.id, connection, limits)
    queue(recorded, case.id, connection, limits)
    late_senders(recorded, port)
    behind_a_head(case, recorded, port)
    if case.arguments[0] != "asgi" or recorded.server.gunicorn.version >= "27":
        pipelined(recorded, port)
    if case.websockets:
        websocket(recorded, port)
    for kept in (True, False):
        waited_ms = as_fast_as_possible(port, 2, 0.2, kept=kept)
        found = recorded.of_the_next(len(waited_ms))
        assert statistics.mean(found) == pytest.approx(statistics.mean(waited_ms), abs=5)
    with recorded.server.connect() as client:
        client.sendall(b"nonsense\r\n\r\n")
        while client.recv(65536):
            pass
    assert recorded.of_the_next(0) == []
    assert "failed" not in recorded.server.log


def block(recorded: Recorded, name: str, connection: Connect, limits: Limits) -> None:
    """Thirty clients send while the loop is blocked, and are taken together.

    A half of them had a request before; the others connect while the loop is blocked.
    """
    with ExitStack() as stack:
        kept = [stack.enter_context(connection(True)) for _ in range(CLIENTS // 2)]
        blocking = stack.enter_context(connection(True))
        for client in kept:
            client.send()
            client.waited_ms()
        recorded.of_the_next(len(kept))
        recorded.begin_block(blocking, BLOCK_MS)
        new = [stack.enter_context(connection(False)) for _ in range(CLIENTS // 2)]
        for client in (*kept, *new):
            client.send()
        waited = waits([*kept, *new, blocking])
    assert sorted(waited)[2][1] > BLOCK_MS / 4
    limits.check(f"{name}, block", recorded.of_the_next(CLIENTS + 1), waited)


def queue(recorded: Recorded, name: str, connection: Connect, limits: Limits) -> None:
    """Each of thirty requests blocks the loop for 10 ms."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connection(False)) for _ in range(CLIENTS)]
        for client in clients:
            client.send(str(TURN_MS))
        waited = waits(clients)
    assert max(waited)[1] > TURN_MS * CLIENTS / 2
    limits.check(f"{name}, queue", recorded.of_the_next(CLIENTS), waited)


def late_senders(recorded: Recorded, port: int) -> None:
    """Who connects early and sends late, or sends a head or an upload in parts, has not waited."""
    with Client(port) as silent, Client(port) as slow, Client(port, kept=True) as upload:
        slow.send_octets((HEAD % b"") + b"Connection: close\r\n")
        upload.send_octets(UPLOAD + b"a")
        time.sleep(PAUSE_S)
        silent.send()
        slow.send_octets(b"\r\n")
        upload.send_octets(b"b")
        waits_of([silent, slow, upload])
    assert max(recorded.of_the_next(3)) < 1000 * PAUSE_S / 2


def behind_a_head(case: Case, recorded: Recorded, port: int) -> None:
    """Two heads are read in one turn of the loop; a body arrives while the first app blocks it.

    The second request waits since its head, or since its body where the server reads that, too.
    Tried again if a client was interrupted, and its head came too late.
    """

    def attempt() -> bool:
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(port, kept=True)) for _ in range(3)]
            for client in clients:  # accepted, and read
                client.send()
                client.waited_ms()
            recorded.of_the_next(3)
            first, second, upload = clients
            recorded.begin_block(first, BLOCK_MS)
            blocks = recorded.blocks()
            second.send(str(BLOCK_MS))
            upload.send_octets(UPLOAD)
            head_ns = upload.sent_ns
            wait_for("the second block", lambda: recorded.blocks() > blocks)
            upload.send_octets(b"ab")
            body_ns = upload.sent_ns
            called_ns = [client.called_ns() for client in clients]
        found = recorded.of_the_next(3)
        ends_ns = [ns + BLOCK_MS * 1_000_000 for ns in called_ns]
        if not head_ns < ends_ns[0] < body_ns < ends_ns[1]:
            return False
        waited_ms = (called_ns[2] - (head_ns if case.keeps_arrival else body_ns)) / 1e6
        error_ms = min(abs(ms - waited_ms) for ms in found)
        assert error_ms < BLOCK_MS / 4, (found, waited_ms)
        return True

    wait_for("two heads in one turn", attempt)


def pipelined(recorded: Recorded, port: int) -> None:
    """A request in the same packet as the one before waits for that one."""
    with recorded.server.connect() as client:
        sent_ns = time.monotonic_ns()
        client.sendall(HEAD % b"?300" + b"\r\n" + HEAD % b"" + b"Connection: close\r\n\r\n")
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    waited_ms = [(int(ns) - sent_ns) / 1e6 for ns in re.findall(rb"\d{20}", answers)]
    assert waited_ms[1] >= 300
    assert recorded.of_the_next(2) == pytest.approx(waited_ms, abs=100)


def websocket(recorded: Recorded, port: int) -> None:
    """The opening of a websocket waits as a request does.

    The stopwatch begins before the client connects: on a busy machine the client may send later.
    """

    def opens() -> bool:
        with Client(port) as blocking:
            recorded.begin_block(blocking, BLOCK_MS)
            sent_ns = time.monotonic_ns()
            with connect(f"ws://127.0.0.1:{port}/") as opened:
                called_ns = int(opened.recv(timeout=30))
            blocking.waited_ms()
        waited_ms = (called_ns - sent_ns) / 1e6
        assert waited_ms > BLOCK_MS / 4
        return abs(recorded.of_the_next(2)[1] - waited_ms) <= BLOCK_MS / 4

    wait_for("a client that sends at once", opens)


@forms("form", short="short", long="long")
@pytest.mark.parametrize(
    "case",
    [
        nightly(ASGI, id=ASGI.id),
        ASGI_UVLOOP,
        H11,
        nightly(UVLOOP, id=UVLOOP.id),
        AIOHTTP,
        TORNADO,
        PYWSGI,
    ],
    ids=lambda case: case.id,
)
def test_waits_with_tls(
    form: str,
    case: Case,
    newest: Gunicorn,
    serve: ServerFactory,
    tmp_path: Path,
    certificate: Path,
) -> None:
    """A block and a queue: requests on connections whose handshakes are done.

    The streams of HTTP/2 are not measured.
    """
    http2 = ("--http-protocols", "h2,h1") if case.arguments[0] == "asgi" else ()
    tls = ("--certfile", str(certificate), "--keyfile", str(certificate))
    recorded = case.start(serve, newest, tmp_path, *tls, *http2)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def connection(kept: bool) -> Client:
        return Client(recorded.server.port, kept=kept, context=context)

    def answers() -> bool:
        with suppress(OSError), connection(False) as client:
            client.send()
            return client.waited_ms() > 0
        return False

    wait_for("an answer", answers)
    recorded.of_the_next(1)
    queue(recorded, f"{case.id}, TLS", connection, DIRECT[form])
    with ExitStack() as stack:
        made = [stack.enter_context(connection(True)) for _ in range(CLIENTS + 1)]
        block(recorded, f"{case.id}, TLS", lambda kept: made.pop(), DIRECT[form])
    if http2:
        with Http2Client(recorded.server) as client:
            client.wait(client.get("/"))
        assert recorded.of_the_next(0) == []


@pytest.mark.parametrize(
    "case",
    [
        ASGI_UVLOOP,
        UVLOOP,
        AIOHTTP,
        TORNADO,
        nightly(TORNADO_WSGI, id=TORNADO_WSGI.id),
        PYWSGI,
    ],
    ids=lambda case: case.id,
)
def test_a_unix_socket(
    case: Case, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """Waits come from the last header that a proxy wrote; they are absent until the first one."""
    path = f"{tmp_path}/app.sock"
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    recorded = case.start(serve, newest, tmp_path, bind=(f"unix:{path}",), environ=environ)

    def answers(headers: bytes = b"") -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(request("/")[:-2] + headers + b"\r\n")
            return client.recv(65536).startswith(b"HTTP/1.1 200")
        return False

    wait_for("an answer", answers)
    assert answers(b"X-Request-Start: soon\r\n")
    for push in next_pushes(agent, 2):
        assert push.all(WAIT) == []
    forged, true = (f"X-Request-Start: t={time.time() - s:.3f}\r\n".encode() for s in (500, 4))
    assert answers(forged + true)
    assert recorded.of_the_next(1) == pytest.approx([4000], abs=900)
    wait_for("the waits", lambda: next_pushes(agent, 1)[0].all(WAIT))


def test_where_waits_are_absent(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """gunicorn reads the heads of its uWSGI protocol in another way: absent, not 0."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    for protocol, lines in (("http", 1), ("uwsgi", 0)):
        recorded = ASGI.start(serve, newest, tmp_path, "--protocol", protocol, environ=environ)
        wait_for("an idle push", lambda: next_pushes(agent, 1)[0].workers["idle"] == 1)
        assert len(next_pushes(agent, 1)[0].all(WAIT)) == lines
        recorded.server.__exit__()
