"""``drained`` on real servers: each exit code, and the line that lists what remains."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.lab.cli_command import COMMAND, environment
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import SCOREBOARD
from tests.lab.server import Server
from tests.lab.ss import ss
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import ASGI_OWN, GEVENT, GTHREAD, SYNC, WorkerClass

QUIET = ("--quiet", "0.3")


@contextmanager
def running(server: Server, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command, and wait until it has found the server, and waits."""
    command = [*COMMAND, "drained", str(server.pid), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True) as found:
        maps = Path(f"/proc/{found.pid}/maps")
        wait_for("the command", lambda: SCOREBOARD in maps.read_text())
        wait_for("its pause", lambda: is_asleep(found.pid))
        yield found


def is_asleep(pid: int) -> bool:
    """Return whether a process sleeps in each of some looks, as between two readings."""
    for _ in range(10):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            return False
        time.sleep(0.003)
    return True


@pytest.mark.parametrize(
    "worker_class", [SYNC, GTHREAD, GEVENT, ASGI_OWN], ids=lambda case: case.name
)
def test_until_the_last_response(
    worker_class: WorkerClass, newest: Gunicorn, serve: ServerFactory
) -> None:
    """Held requests are listed at the timeout; after their responses the server is drained."""
    server = serve(newest, workers=1, arguments=worker_class.arguments, app=worker_class.app)
    server.wait_until_it_serves()
    server.hold(7)
    served = min(7, (worker_class.capacity or 14) // 2)
    wait_for("the requests", lambda: server.journal.in_flight().total() == served)
    done = run_here("drained", str(server.pid), *QUIET, "--timeout", "0.4")
    assert (done.code, done.out) == (1, "")
    queued = ss(server.address).recv_q
    wanted = rf"{served} requests? in flight \(by worker: (\d+: \d(, )?)+\)"
    if worker_class is GTHREAD:
        wanted = rf"5 connections waiting for a thread; {wanted}"
    if queued:
        wanted = rf"{queued} connections in the queue of {server.address}; {wanted}"
    line = rf"gunicorn-backlog: not drained after 0\.4 s: {wanted}; \d requests arrived in the "
    assert re.fullmatch(rf"{line}last 0\.3 s\n", done.err), done.err
    with running(server, *QUIET, "--timeout", "40") as command:
        server.let_go()
        out, err = command.communicate(timeout=40)
    assert (command.returncode, err) == (0, "")
    assert re.fullmatch(
        r"drained after \d+\.\d s: no connection is queued, no request is in flight, and none "
        r"arrived for 0\.3 s\n",
        out,
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends(how: signal.Signals, newest: Gunicorn, serve: ServerFactory) -> None:
    """A server that ends during the command has no request left: 0."""
    server = serve(newest).wait_until_it_serves()
    server.hold(2)
    wait_for("the requests", lambda: server.journal.in_flight().total() == 2)
    with running(server, *QUIET, "--timeout", "60") as command:
        server.signal(how)
        server.abandon()
        server.release.touch()
        server.process.wait(timeout=40)
        out, err = command.communicate(timeout=40)
    assert (command.returncode, err) == (0, "")
    assert re.match(rf"the server with the pid {server.pid} has ended, after |drained after ", out)


def test_health_checks(newest: Gunicorn, serve: ServerFactory) -> None:
    """A request every tenth of a second keeps the server from being drained, unless allowed."""
    server = serve(newest).wait_until_it_serves()
    stop = threading.Event()

    def check() -> None:
        while not stop.wait(0.1):
            server.get()

    checks = threading.Thread(target=check)
    checks.start()
    try:
        done = run_here("drained", str(server.pid), "--quiet", "1", "--timeout", "2")
        assert done.code == 1
        assert re.search(r"(: |; )([1-9]|1[01]) requests? arrived in the last 1 s\n$", done.err)
        done = run_here("drained", str(server.pid), "--quiet", "1", "--allow", "30")
    finally:
        stop.set()
        checks.join()
    assert (done.code, done.err) == (0, "")
    assert "at most 30 requests arrived for 1 s" in done.out


def test_workers_that_are_not_known(newest: Gunicorn, serve: ServerFactory) -> None:
    """A server whose requests can't be counted is never drained."""
    config = "from gunicorn_backlog.hooks import when_ready\n"
    server = serve(newest, config=config + "timeout = 1\n").wait_until_it_serves()

    def unknown() -> bool:
        done = run_here("drained", str(server.pid), *QUIET, "--timeout", "0.3")
        return done.code == 1 and "the requests of the worker" in done.err

    wait_for("workers of unknown state", unknown)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--quiet 0", "drained: argument --quiet: 0 is not from 0.1 to 3600"),
        ("--quiet nan", "drained: argument --quiet: nan is not from 0.1 to 3600"),
        ("--timeout x", "drained: argument --timeout: x is not from 0.1 to 3600"),
        ("--quiet 30", ": --quiet 30 is longer than --timeout 25"),
        ("--allow -1", "drained: argument --allow: -1 is no whole number from 0 to 999999"),
        ("--allow 1.5", "drained: argument --allow: 1.5 is no whole number from 0 to 999999"),
        ("abc", "drained: argument PID: invalid int value: 'abc'"),
        ("-- app:app", ": -- is valid for check only"),
        ("1 2", ": unrecognized arguments: 2"),
    ],
)
def test_wrong_arguments(arguments: str, line: str) -> None:
    """A wrong argument is one line, and exit code 2."""
    done = run_here("drained", *arguments.split())
    assert (done.code, done.out) == (2, "")
    assert done.err == f"gunicorn-backlog{'' if line[0] == ':' else ' '}{line}\n"
