"""``check`` with unreadable servers, and on other systems than Linux."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from agent import StandInAgent

from gunicorn_backlog.cli.check import command
from gunicorn_backlog.cli.check import server as of_server
from gunicorn_backlog.cli.check.findings import Level
from gunicorn_backlog.cli.errors import EndedError
from gunicorn_backlog.cli.inspect import discovery
from gunicorn_backlog.cli.inspect.snapshot import take_snapshot
from tests.conftest import ServerFactory
from tests.lab.check_command import FAILED, OK, WARNING, has_finding
from tests.lab.cli_command import Done, run_cli
from tests.lab.cli_in_one_process import run_each
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.sandbox import as_nobody, as_pid_1, without_proc

ALL_WELL = ("check", "--", "--config", "python:gunicorn_backlog.hooks", "app:app")

# Creates a server's memory with another layout, and executes a program that holds the memory.
HOLD_ANOTHER_LAYOUT = """
import os, sys
from gunicorn_backlog.scoreboard.layout import THREAD_ROWS, SLOTS, Layout
layout = Layout(SLOTS, THREAD_ROWS)
fd = os.memfd_create("gunicorn_backlog", 0)
os.ftruncate(fd, layout.size)
header = bytearray(layout.header(os.getpid()))
header[8:12] = (77).to_bytes(4, sys.byteorder)
os.write(fd, header)
os.execvp(sys.argv[1], sys.argv[1:])
"""

# A simulation of another system: Linux under another name, without its own functions.
NOT_LINUX = """
import fcntl, os, pathlib, platform, socket, sys, time
sys.platform, platform.system = "darwin", lambda: "Darwin"
places = {
    fcntl: ("F_ADD_SEALS", "F_GET_SEALS", "F_SEAL_SHRINK", "F_SEAL_GROW"),
    os: ("memfd_create", "MFD_CLOEXEC", "MFD_ALLOW_SEALING", "posix_fallocate", "setns"),
    socket: ("AF_NETLINK", "TCP_INFO", "SO_DOMAIN", "SO_PROTOCOL", "SOCK_CLOEXEC", "SOCK_NONBLOCK"),
    time: ("CLOCK_BOOTTIME",),
}
for module, names in places.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
from gunicorn_backlog.kernel import proc_net
from gunicorn_backlog.cli.inspect import procfs
procfs.PROC = proc_net.PROC = pathlib.Path("/nowhere")
"""


def well(agent: StandInAgent, *run_by: str) -> Done:
    """Run ``check`` in an environment without other faults."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    return run_cli(*ALL_WELL, run_by=(*as_pid_1(), *run_by), environ=environ)


def test_a_server_of_another_user(newest: Gunicorn, agent: StandInAgent) -> None:
    """A process named gunicorn that denies access is a warning; without it all is ok."""
    nobody = as_nobody(newest.folder)
    assert well(agent, *nobody).code == OK
    script = "bash -c 'exec -a gunicorn sleep 60' & exec \"$@\""
    done = well(agent, "sh", "-c", script, "sh", *nobody)
    assert done.code == WARNING
    assert has_finding(done, "warning", "server", "processes of other users may be servers"), done


def test_a_server_of_another_layout(agent: StandInAgent) -> None:
    """The finding has the layout's version and a remedy."""
    done = well(agent, sys.executable, "-c", HOLD_ANOTHER_LAYOUT)
    assert done.code == WARNING
    text = "it has layout version 77, this reader reads 3"
    assert has_finding(done, "warning", "server", text), done
    assert "-> run the server's own gunicorn-backlog" in done.lines[-1]


def test_a_pid_that_is_no_servers(agent: StandInAgent) -> None:
    """A wrong pid is one warning, and all other checks run."""
    done = run_here("check", "4194304", environ={"GUNICORN_BACKLOG_URL": agent.url})
    assert (done.code, done.err) == (WARNING, "")
    assert has_finding(done, "warning", "server", "there is no process 4194304")
    assert has_finding(done, "ok", "TCP_INFO", "reads 1")
    assert not agent.datagrams  # this environment is not that server's


def test_a_server_that_ends_meanwhile(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A server that ends before or during its inspection is one line."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, workers=1, environ=environ, arguments=("--backlog", "5"))
    server.wait_until_it_serves()
    taken = discovery.find_server(server.pid)
    seen = take_snapshot(taken, 0.1)
    server.signal(signal.SIGKILL)
    server.process.wait()
    ended = f"the server with the pid {server.pid} has ended"
    (finding,) = command._server_findings([taken])
    assert (finding.level, finding.text) == (Level.WARNING, ended)
    for backlog in (5, 6):  # as configured, and clamped
        with pytest.raises(EndedError, match=ended):
            list(
                of_server.findings(
                    seen._replace(server_info=seen.server_info._replace(backlog=backlog))
                )
            )


def test_without_proc() -> None:
    """The error names /proc, and does not claim that no server runs."""
    *others, check = run_each([("status",), ("top",), ("check",)], run_by=without_proc())
    line = "servers are found by Linux's /proc, which is not here"
    assert others == [Done(1, "", f"gunicorn-backlog: {line}\n")] * 2
    assert check.code > OK
    assert has_finding(check, "warning", "server", line)


def test_not_linux(agent: StandInAgent) -> None:
    """The available metrics are listed, and the Agent is tried; another system is simulated."""
    commands = [("check",), ("check", str(os.getpid())), ALL_WELL]
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    each = run_each(commands, environ=environ, first=NOT_LINUX)
    platform = "Darwin, not Linux: workers, threads and requests"
    for done in each:
        assert (done.code, done.err) == (FAILED, "")
        assert has_finding(done, "failed", "platform", platform)
        assert has_finding(done, "warning", "server", "/proc, which is not here")
    nothing_given, _, config_given = each
    assert has_finding(nothing_given, "ok", "Agent", agent.url)
    assert has_finding(config_given, "ok", "Agent", agent.url)
    # The class is found by another process, on Linux.
    assert has_finding(config_given, "ok", "worker class", "sync: states, requests")
