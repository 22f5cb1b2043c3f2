"""Clients get the same bytes with and without us, in every worker class."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    CLASSES,
    GEVENT,
    GTHREAD,
    NEWEST,
    SYNC,
    WSGI,
    WorkerClass,
    label,
)

KEPT = b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"
CLOSED = b"%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET /plain HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HELLO, BYE = b"\x81\x85\0\0\0\0hello", b"\x88\x82\0\0\0\0\x03\xe8"  # frames with a mask of zeros
ECHO = b"\x81\x05hello"
EXPOSING = {"GUNICORN_BACKLOG_REQUEST_WAIT": "1"}
TRACE = ("-qq", "-e", "trace=sendfile", "-o")
QUIET_S = 2.0  # after that long a server is silent


def answers(server: Server, path: bytes, frames: Sequence[bytes]) -> dict[str, bytes]:
    """Return the server's answers to requests of all kinds, each on a connection of its own."""
    requests = {
        "plain": (CLOSED % (b"GET", path),),
        "head": (CLOSED % (b"HEAD", path),),
        "kept alive": (KEPT % path, CLOSED % (b"GET", path)),
        "streamed": (CLOSED % (b"GET", b"/stream"),),
        "file": (CLOSED % (b"GET", b"/file"),),
        "failed": (CLOSED % (b"GET", b"/fail"),),
        "failed late": (CLOSED % (b"GET", b"/fail-late"),),
        "junk": (b"no HTTP at all\r\n\r\n",),
        "websocket": (UPGRADE, *frames),
    }
    with ThreadPoolExecutor() as pool:  # tornado answers some of them with silence
        found = pool.map(lambda messages: exchange(server, *messages), requests.values())
    return dict(zip(requests, found, strict=True))


def exchange(server: Server, *messages: bytes) -> bytes:
    """Send each message after the answer to the former one; return all answers, without dates.

    After the last message read until the server closes, or is silent.
    """
    received = b""
    with server.connect() as client:
        client.settimeout(QUIET_S)
        for message in messages:
            answer = b""
            # The server may have closed: then the answer is what it sent before.
            with suppress(TimeoutError, ConnectionResetError, BrokenPipeError):
                client.sendall(message)
                while octets := client.recv(65536):
                    answer += octets
                    if message is not messages[-1] and is_complete(answer):
                        break
            received += answer
    return re.sub(rb"(?i)(date: )[^\r]*", rb"\1-", received)


def is_complete(answer: bytes) -> bool:
    """Return whether an answer ends here: one of HTTP, a handshake, or a frame of a websocket."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if answer == ECHO or head.startswith(b"HTTP/1.1 101 "):
        return answer == ECHO or bool(separator)
    if length := re.search(rb"(?i)\ncontent-length: *(\d+)", head):
        return len(body) >= int(length[1])
    return body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("worker_class", CLASSES, ids=label)
def test_answers_are_the_same(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Plain, HEAD, kept alive, streamed, a file, failures, junk and a websocket's echo."""
    has_websockets = worker_class.app != WSGI
    path = b"/" if has_websockets else b"/plain"
    # After a refused upgrade a frame is the malformed head of a request, as soon as it ends.
    frames = (HELLO, BYE) if has_websockets else (HELLO + b"\r\n\r\n",)
    servers = [
        serve(
            installed(worker_class.versions[-1]),
            workers=1,
            config=config,
            arguments=worker_class.arguments,
            app=worker_class.app,
            environ={"GUNICORN_BACKLOG_URL": agent.url} | exposing,
        )
        for config, exposing in ((CONFIG, {}), (CONFIG, EXPOSING), ("", {}))
    ]
    with ThreadPoolExecutor() as pool:
        with_us, exposed, without_us = pool.map(
            lambda server: answers(server.wait_until_it_serves(), path, frames), servers
        )
    assert with_us == without_us
    assert exposed == without_us
    assert b" 200 OK\r\n" in with_us["plain"]
    assert with_us["kept alive"].count(b" 200 OK\r\n") == (1 if worker_class is SYNC else 2)
    if has_websockets:
        assert ECHO in with_us["websocket"]


@pytest.mark.parametrize(
    ("worker_class", "version"),
    [
        *(case.case(version) for case in (SYNC, GTHREAD) for version in VERSIONS),
        nightly(GEVENT, VERSIONS[0], id=f"{GEVENT.label}-{VERSIONS[0]}"),
        GEVENT.case(NEWEST),
    ],
)
def test_sendfile_is_called_as_before(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
    tmp_path: Path,
) -> None:
    """sendfile is called as often as without us, by strace; gevent has an own send loop."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (Debian: strace)")
    traces = [tmp_path / "with", tmp_path / "exposing", tmp_path / "without"]
    servers = [
        serve(
            installed(version),
            workers=1,
            config=config,
            arguments=worker_class.arguments,
            environ={"GUNICORN_BACKLOG_URL": agent.url} | exposing,
            run_by=(strace, "-f", "--seccomp-bpf", *TRACE, str(trace)),
        )
        for trace, config, exposing in zip(
            traces, (CONFIG, CONFIG, ""), ({}, EXPOSING, {}), strict=True
        )
    ]
    for server in servers:
        file = server.wait_until_it_serves().get("/file")
        assert file.startswith(b"# gunicorn_backlog")
    wait_for("the traces", lambda: all(trace.exists() for trace in traces))
    calls = [trace.read_text().count("sendfile(") for trace in traces]
    assert calls[0] == calls[1] == calls[2]
    assert (calls[0] > 0) == (worker_class is not GEVENT)
