"""Listeners that were created in another network namespace than the server runs in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from agent import StandInAgent

from gunicorn_backlog.cli.inspect.listeners import ListenerReader
from gunicorn_backlog.kernel import netns_cookie
from gunicorn_backlog.scoreboard.server_info import ListenerRef
from tests.conftest import ServerFactory
from tests.lab.check_command import has_finding
from tests.lab.cli_command import Done, run_cli, status
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.pushes import Push, next_pushes, wait_until_all_are_idle
from tests.lab.sandbox import Network, network, require
from tests.lab.server import Server
from tests.lab.waiting import wait_for

BACKLOG = 5
ELSEWHERE = "its socket belongs to another network namespace"

# A manager that creates sockets outside of the server's namespace.
HAND_OVER = """
import os, socket, sys
pid, path, *command = sys.argv[1:]
tcp, unix = socket.socket(), socket.socket(socket.AF_UNIX)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
tcp.bind(("127.0.0.1", 8000))
unix.bind(path)
for number, sock in enumerate((tcp, unix)):
    os.dup2(sock.fileno(), 30 + number, inheritable=True)
os.execvp("nsenter", ["nsenter", "--target", pid, "--net", *command])
"""


@contextmanager
def handed_over(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, path: Path
) -> Iterator[tuple[Server, Network]]:
    """Start a server in our namespace with sockets of another one; its workers are stopped."""
    require("nsenter", "--version")
    with network() as net:
        script = (sys.executable, "-c", HAND_OVER, str(os.getpid()), str(path))
        server = serve(
            gunicorn,
            bind=("fd://30", "fd://31"),
            workers=1,
            arguments=("--backlog", str(BACKLOG), "--timeout", "0"),
            run_by=net.inside(*script),
            environ={"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"},
        )
        wait_until_all_are_idle(agent, 1)
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGSTOP)
        yield server, net


CONNECT = """
import os, socket
clients = [socket.create_connection(("127.0.0.1", 8000)) for _ in range(3)]
print("connected", flush=True)
os.read(0, 1)
"""


@contextmanager
def three_clients(net: Network, path: Path) -> Iterator[None]:
    """Connect three times by TCP, in the sockets' namespace, and twice by the path, in ours."""
    command = net.inside(sys.executable, "-c", CONNECT)
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        ExitStack() as clients,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        for _ in range(2):
            clients.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        assert net.run("ss", "-Hltn").split()[1:3] == ["3", str(BACKLOG)]
        yield


@NEWEST_BY_DAY
def test_a_listener_of_another_network(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """TCP: 3 of 5, in pushes, status and check. Unix: absent, with the reason, and one log line.

    status reads both listeners where the sockets were created: from the host of a unit with
    PrivateNetwork= the kernel gives the queue. check names the other namespace and the remedy.
    """
    path = tmp_path / "app.sock"
    with handed_over(gunicorn, serve, agent, path) as (server, net), three_clients(net, path):
        wait_for("3 waiting", lambda: next_pushes(agent, 1)[0].values("gunicorn.backlog")[0] == 3)
        check_push(next_pushes(agent, 1)[0])
        (line,) = wait_for("the line", lambda: server.our_lines)
        assert f"the backlog of {path} can't be read" in line
        assert ELSEWHERE in line
        check_status(status(server.pid)["listeners"])
        check_findings(run_cli("check", str(server.pid)), path)
        tcp, unix = status(server.pid, run_by=net.inside())["listeners"]
    assert (tcp["gunicorn.backlog"], tcp["gunicorn.backlog.limit"]) == (3, BACKLOG)
    assert (unix["gunicorn.backlog"], unix["gunicorn.backlog.limit"]) == (2, BACKLOG)
    assert (tcp["unreadable"], unix["unreadable"]) == (None, None)


def check_push(push: Push) -> None:
    """Assert that only the TCP listener has numbers."""
    assert push.values("gunicorn.backlog.limit") == (BACKLOG,)
    assert push.values("gunicorn.backlog.dropped") == (0,)
    assert {point.tag("listener") for point in push.all("gunicorn.backlog")} == {"127.0.0.1:8000"}


def check_status(listeners: list[dict[str, Any]]) -> None:
    """Assert that status has the TCP listener's numbers, and a reason for the Unix one."""
    tcp, unix = listeners
    assert (tcp["gunicorn.backlog"], tcp["gunicorn.backlog.limit"]) == (3, BACKLOG)
    assert (tcp["gunicorn.backlog.dropped"], tcp["dropped_ever"]) == (0, 0)
    assert tcp["unreadable"] is None
    assert (unix["gunicorn.backlog"], unix["gunicorn.backlog.limit"]) == (None, None)
    assert unix["unreadable"] == ELSEWHERE


def check_findings(done: Done, path: Path) -> None:
    """Assert that the reason is the other namespace, not that the socket is closed."""
    assert has_finding(done, "ok", "listener", "127.0.0.1:8000: 3 wait, the limit is 5"), done
    assert has_finding(done, "warning", "listener", f"{path} can't be read from here: {ELSEWHERE}")
    assert "-> run this in the network namespace that the socket was created in" in done.out
    assert "listens no more" not in done.out


def test_a_listener_that_is_closed_no_longer_listens() -> None:
    """A socket that the server's process does not hold is closed, not in another namespace."""
    for family in (socket.AF_INET, socket.AF_UNIX):
        (reading,) = ListenerReader(os.getpid()).read([ListenerRef("gone", int(family), 1, port=1)])
        assert (reading.length, reading.why) == (None, "it no longer listens")


def test_a_kernel_without_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cookie, before Linux 5.14, a socket counts as one of this namespace."""
    with socket.socket() as sock:
        assert netns_cookie.is_elsewhere(sock) is False
        monkeypatch.setattr(netns_cookie, "SO_NETNS_COOKIE", 9999)
        assert netns_cookie.is_elsewhere(sock) is False
