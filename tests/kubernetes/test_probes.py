"""What the README says of probes and of rolling updates, on a real gunicorn."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

import pytest

from tests.conftest import ServerFactory
from tests.lab.gunicorns import Gunicorn
from tests.lab.server import request
from tests.lab.waiting import wait_for

TIMEOUT_S = 1  # a probe's timeoutSeconds, if it does not say otherwise


def test_an_http_probe_fails_when_all_workers_are_busy(
    newest: Gunicorn, serve: ServerFactory
) -> None:
    """It waits in the queue as any request does, while one that only connects goes through."""
    server = serve(newest, workers=2).wait_until_it_serves()
    assert server.get("/", timeout_s=TIMEOUT_S)
    server.hold(2)
    wait_for("both to be held", lambda: server.journal.in_flight().total() == 2)
    with pytest.raises(TimeoutError):
        server.get("/", timeout_s=TIMEOUT_S)
    server.connect(timeout_s=TIMEOUT_S).close()
    server.let_go()
    assert server.get("/")


def test_what_waits_is_lost_when_a_pod_ends(newest: Gunicorn, serve: ServerFactory) -> None:
    """SIGTERM: the request in a worker is answered, those in the queue are not."""
    server = serve(newest, workers=1).wait_until_it_serves()
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.sendall(request("/hold"))
    wait_for("one to be held", lambda: server.journal.in_flight().total() == 1)
    server.signal(signal.SIGTERM)
    wait_for("its end to begin", lambda: "Handling signal: term" in server.log)
    # As the arbiter does; but so it is certain that the worker knows before the request ends.
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGTERM)
    server.release.touch()
    answers = [answer(client) for client in clients]
    assert server.process.wait(timeout=30) == 0
    assert sorted(map(len, answers))[:2] == [0, 0]
    assert max(answers).startswith(b"HTTP/1.1 200")


def answer(client: socket.socket) -> bytes:
    """Return all that a client is sent, and close it."""
    received = b""
    with client, suppress(ConnectionError):
        while part := client.recv(65536):
            received += part
    return received
