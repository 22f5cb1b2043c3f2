"""Clients get the same bytes with and without us, in every worker class."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import CLASSES, GEVENT, GTHREAD, SYNC, WSGI, WorkerClass

KEPT = b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"
CLOSED = b"%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET /plain HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HELLO, BYE = b"\x81\x85\0\0\0\0hello", b"\x88\x82\0\0\0\0\x03\xe8"  # frames with a mask of zeros
QUIET_S = 0.3


def answers(server: Server, path: bytes) -> dict[str, bytes]:
    """Return the server's answers to requests of all kinds."""
    return {
        "plain": exchange(server, CLOSED % (b"GET", path)),
        "head": exchange(server, CLOSED % (b"HEAD", path)),
        "kept alive": exchange(server, KEPT % path, CLOSED % (b"GET", path)),
        "streamed": exchange(server, CLOSED % (b"GET", b"/stream")),
        "file": exchange(server, CLOSED % (b"GET", b"/file")),
        "failed": exchange(server, CLOSED % (b"GET", b"/fail")),
        "failed late": exchange(server, CLOSED % (b"GET", b"/fail-late")),
        "junk": exchange(server, b"no HTTP at all\r\n\r\n"),
        "websocket": exchange(server, UPGRADE, HELLO, BYE),
    }


def exchange(server: Server, *messages: bytes) -> bytes:
    """Send messages one after the other, and return all answers, without dates.

    After the last message read until the server closes, or is silent.
    """
    received = b""
    with server.connect() as client:
        client.settimeout(QUIET_S)
        for message in messages:
            client.sendall(message)
            with suppress(socket.timeout, ConnectionResetError):
                while octets := client.recv(65536):
                    received += octets
    return re.sub(rb"(?i)(date: )[^\r]*", rb"\1-", received)


@pytest.mark.parametrize(
    "worker_class",
    CLASSES,
    ids=lambda worker_class: f"{worker_class.name}-{worker_class.app[10:14]}",
)
def test_answers_are_the_same(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Plain, HEAD, kept alive, streamed, a file, failures, junk and a websocket's echo."""
    path = b"/" if worker_class.app != WSGI else b"/plain"
    given = []
    for config in (CONFIG, ""):
        server = serve(
            installed(worker_class.versions[-1]),
            workers=1,
            config=config,
            arguments=worker_class.arguments,
            app=worker_class.app,
            environ={"GUNICORN_BACKLOG_URL": agent.url},
        ).wait_until_it_serves()
        given.append(answers(server, path))
    with_us, without_us = given
    assert with_us == without_us
    assert b" 200 OK\r\n" in with_us["plain"]
    assert with_us["kept alive"].count(b" 200 OK\r\n") == (1 if worker_class is SYNC else 2)
    if worker_class.app != WSGI:
        assert b"\x81\x05hello" in with_us["websocket"]


@pytest.mark.parametrize(
    "worker_class", [SYNC, GTHREAD, GEVENT], ids=lambda worker_class: worker_class.name
)
def test_sendfile_is_called_as_before(
    worker_class: WorkerClass,
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
    tmp_path: Path,
) -> None:
    """sendfile is called as often as without us, by strace; gevent has an own send loop."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian: strace)")
    calls = []
    for name, config in (("with", CONFIG), ("without", "")):
        trace = tmp_path / name
        server = serve(
            gunicorn,
            workers=1,
            config=config,
            arguments=worker_class.arguments,
            environ={"GUNICORN_BACKLOG_URL": agent.url},
            run_by=(strace, "-f", "-qq", "-e", "trace=sendfile", "-o", str(trace)),
        ).wait_until_it_serves()
        file = server.get("/file")
        assert file.startswith(b"# gunicorn_backlog")
        wait_for("the trace", trace.exists)
        calls.append(trace.read_text().count("sendfile("))
    assert calls[0] == calls[1]
    assert (calls[0] > 0) == (worker_class is not GEVENT)
