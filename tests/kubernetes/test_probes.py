"""The README's statements about probes and rolling updates, on a real gunicorn."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from contextlib import closing, suppress

import pytest

from tests.conftest import ServerFactory
from tests.kubernetes import manifests
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import request
from tests.lab.waiting import wait_for

DEPLOYMENTS = ("deployment-host-ip.yaml", "deployment-socket.yaml")
TIMEOUT_S = 1  # a probe's timeoutSeconds by default


def test_an_http_probe_fails_when_all_workers_are_busy(
    newest: Gunicorn, serve: ServerFactory
) -> None:
    """An HTTP probe waits in the queue; a probe that only connects succeeds."""
    server = serve(newest, workers=2).wait_until_it_serves()
    assert server.get("/", timeout_s=TIMEOUT_S)
    server.hold(2)
    wait_for("both to be held", lambda: server.journal.in_flight().total() == 2)
    with pytest.raises(TimeoutError):
        server.get("/", timeout_s=TIMEOUT_S)
    server.connect(timeout_s=TIMEOUT_S).close()
    server.let_go()
    assert server.get("/")


@pytest.mark.parametrize("file", DEPLOYMENTS)
def test_the_readiness_probe_says_a_name(file: str, newest: Gunicorn, serve: ServerFactory) -> None:
    """The kubelet probes the pod's address, unless the manifest sets a host name."""
    server = serve(newest, workers=1, app="tests.kubernetes.choosy_app:app").wait_until_it_serves()
    probe = manifests.container(manifests.one(file, "Deployment"))["readinessProbe"]["httpGet"]
    headers = {header["name"]: header["value"] for header in probe["httpHeaders"]}
    assert status(server.port, probe["path"], headers) == 200
    assert status(server.port, probe["path"], {}) == 400


def status(port: int, path: str, headers: dict[str, str]) -> int:
    """Return the status of a GET; Host is the address, unless a header sets the name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def test_what_waits_is_lost_when_a_pod_ends(newest: Gunicorn, serve: ServerFactory) -> None:
    """After SIGTERM a worker's request has a response; requests in the queue have none."""
    server = serve(newest, workers=1).wait_until_it_serves()
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.sendall(request("/hold"))
    wait_for("one to be held", lambda: server.journal.in_flight().total() == 1)
    server.signal(signal.SIGTERM)
    wait_for("the begin of the shutdown", lambda: "Handling signal: term" in server.log)
    # The arbiter's signal, sent directly: the worker has it for certain before the request ends.
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGTERM)
    server.release.touch()
    answers = [answer(client) for client in clients]
    assert server.process.wait(timeout=30) == 0
    assert sorted(map(len, answers))[:2] == [0, 0]
    assert max(answers).startswith(b"HTTP/1.1 200")


def answer(client: socket.socket) -> bytes:
    """Return all data that a client receives, and close the connection."""
    received = b""
    with client, suppress(ConnectionError):
        while part := client.recv(65536):
            received += part
    return received
