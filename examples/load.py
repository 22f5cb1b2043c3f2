"""The demo's gunicorn, and clients that load the server."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

HERE = Path(__file__).parent
START_LIMIT_S = 10.0
DRAIN_LIMIT_S = 10.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def gunicorn(
    port: int,
    workers: int,
    agent_url: str,
    stop: Event,
    *,
    worker_class: str = "sync",
    app: str = "app:app",
) -> Iterator[subprocess.Popen[bytes]]:
    """Run gunicorn by its command in a process group of its own, and end the group at the end."""
    command = [sys.executable, "-m", "gunicorn", "--config", str(HERE / "gunicorn.conf.py")]
    command += ["--workers", str(workers), "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", worker_class, "--name", "demo"]
    command += ["--log-level", "warning", app]
    with tempfile.TemporaryDirectory() as home:
        environ = os.environ | {"GUNICORN_BACKLOG_URL": agent_url, "HOME": home}
        server = subprocess.Popen(command, cwd=HERE, env=environ, start_new_session=True)
        try:
            _wait_until_it_serves(port, server, stop)
            yield server
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """Stop the server, and kill its whole group if it does not end."""
    server.terminate()
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_until_it_serves(port: int, server: subprocess.Popen[bytes], stop: Event) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s and server.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            _get(port, "/")
            return
        if stop.wait(0.05):
            return
    raise SystemExit("demo: gunicorn did not start")


def _get(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    finally:
        connection.close()


@contextmanager
def clients(number: int, port: int, path: str, stop: Event) -> Iterator[None]:
    """Keep ``number`` requests in flight; at the end wait until all were answered."""
    enough = Event()

    def ask() -> None:
        while not enough.is_set():
            with suppress(OSError, http.client.HTTPException):
                _get(port, path)

    threads = [Thread(target=ask, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
    deadline_s = time.monotonic() + DRAIN_LIMIT_S
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline_s:
        if stop.wait(0.05):
            return
