"""Refused system calls: gunicorn serves, numbers are right or absent, with one line each."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.check_command import has_finding
from tests.lab.cli_in_one_process import run_each
from tests.lab.cli_in_process import status_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.pushes import Push, next_pushes, wait_until_all_are_idle
from tests.lab.sandbox import as_nobody, as_pid_1, refusing, without_proc
from tests.lab.server import Server
from tests.lab.ss import enforced, ss_unix
from tests.lab.waiting import wait_for

BOTH_WORKING = {"idle": 0, "working": 2, "starting": 0}
BY_A_UNIT = "netlink=EAFNOSUPPORT"  # by RestrictAddressFamilies= of a systemd unit


def started(
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
    run_by: tuple[str, ...],
    path: str,
) -> Server:
    """Start a server with a TCP and a Unix listener, and hold three requests on TCP."""
    server = serve(
        gunicorn,
        config=None,
        run_by=run_by,
        arguments=("--config", "python:gunicorn_backlog.hooks", "--bind", f"unix:{path}"),
        environ={"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"},
    )
    server.wait_until_it_serves()
    wait_until_all_are_idle(agent)
    server.hold(3)
    wait_for("both working", lambda: next_pushes(agent, 1)[0].workers == BOTH_WORKING)
    return server


def seen(push: Push) -> dict[str, dict[str, set[float]]]:
    """Return a push's values by listener and metric."""
    found: dict[str, dict[str, set[float]]] = {}
    for line in push.lines:
        if listener := line.tag("listener"):
            metric = line.name.removeprefix("gunicorn.")
            found.setdefault(listener, {})[metric] = set(line.values)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """Yield a path for a Unix socket in a directory that all users may write to."""
    path = Path(tempfile.gettempdir()) / f"gunicorn_backlog-{os.getpid()}-{tmp_path.name}.sock"
    yield str(path)
    path.unlink(missing_ok=True)


UNIX = {
    "backlog": {0.0},
    "backlog.limit": {float(enforced(2048))},
    "backlog.lost": {0.0},
}
TCP = UNIX | {"backlog": {1.0}, "backlog.dropped": {0.0}}
PLACES: dict[str, Callable[[Gunicorn], tuple[str, ...]]] = {
    "uid 65534": lambda gunicorn: as_nobody(gunicorn.folder),
    "pid 1": lambda _: as_pid_1(),
    "no /proc": lambda _: without_proc(),
    "TCP_INFO refused": lambda _: refusing("TCP_INFO"),
}
EPERM = "EPERM (Operation not permitted)"
EAFNOSUPPORT = "EAFNOSUPPORT (Address family not supported by protocol)"
FROM_LIST = (
    "the backlog of {{unix}} is read from /proc/net/unix, which has no limits (unix_diag: {})"
)
BY_SECCOMP = (
    "; allow socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG) in the seccomp profile or sandbox "
    "that the server runs in"
)
BY_UNIT = "; add AF_NETLINK to RestrictAddressFamilies= of the systemd unit that the server runs in"
REFUSED = {
    "netlink": {"unix": FROM_LIST.format(EPERM)},
    BY_A_UNIT: {"unix": FROM_LIST.format(EAFNOSUPPORT)},
    "SO_MEMINFO,netlink": {
        "unix": FROM_LIST.format(EPERM),
        "tcp": f"the drops of {{tcp}} can't be read (TCP_INFO: {EPERM}; inet_diag: {EPERM})",
    },
    "TCP_INFO,netlink": {
        "unix": FROM_LIST.format(EPERM),
        "tcp": f"the backlog of {{tcp}} can't be read (TCP_INFO: {EPERM}; inet_diag: {EPERM})",
    },
}


@NEWEST_BY_DAY
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_missing(
    place: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, path: str
) -> None:
    """All numbers are sent, through one API or another, without a log line."""
    server = started(gunicorn, serve, agent, PLACES[place](gunicorn), path)
    for push in next_pushes(agent, 2):
        assert seen(push) == {server.address: TCP, path: UNIX}
    assert server.our_lines == []
    server.let_go()
    assert server.get()


@pytest.mark.parametrize("refused", [name for name in REFUSED if name != BY_A_UNIT])
def test_refused_numbers_are_absent_and_logged(
    refused: str, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent, path: str
) -> None:
    """Only the unreadable numbers are absent, with one line for each cause."""
    server = started(newest, serve, agent, refusing(*refused.split(",")), path)
    check_refused(refused, server, agent, path)
    server.let_go()
    assert server.get()


def check_refused(refused: str, server: Server, agent: StandInAgent, path: str) -> None:
    """Assert that the other numbers are pushed, and that the lines have cause and remedy."""
    expected = {server.address: dict(TCP), path: {"backlog": {0.0}, "backlog.lost": {0.0}}}
    if "SO_MEMINFO" in refused:
        del expected[server.address]["backlog.dropped"]
    elif "TCP_INFO" in refused:
        expected[server.address] = {"backlog.dropped": {0.0}}
    remedy = BY_UNIT if "EAFNOSUPPORT" in refused else BY_SECCOMP
    for push in next_pushes(agent, 2):
        assert seen(push) == expected
        assert push.workers == BOTH_WORKING
        waits = push.all("gunicorn.request.wait.avg")
        assert bool(waits) == ("TCP_INFO" not in refused.split(","))
    wait_for("the lines", lambda: len(server.our_lines) == len(REFUSED[refused]))
    lines = server.our_lines
    for text in REFUSED[refused].values():
        (line,) = [line for line in lines if text.format(unix=path, tcp=server.address) in line]
        assert line.endswith(remedy)


def unix_lengths(agent: StandInAgent, path: str) -> set[float]:
    """Return the accept queue lengths of a Unix listener in the next push."""
    (push,) = next_pushes(agent, 1)
    lines = push.all("gunicorn.backlog", f"listener:{path}")
    return {value for line in lines for value in line.values}


@NEWEST_BY_DAY
def test_unix_step_by_step_without_netlink(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, path: str
) -> None:
    """Pushes report 0, 1, 2 and 0 waiting clients like ss; status reads them from the server.

    While a second socket listens at the unlinked path, the length is absent.
    """
    refused = refusing(BY_A_UNIT)
    server = started(gunicorn, serve, agent, refused, path)
    check_refused(BY_A_UNIT, server, agent, path)
    pids = server.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    with ExitStack() as clients:
        for waiting in (1, 2):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(path)
            wait_for("the client to wait", lambda n=waiting: unix_lengths(agent, path) == {n})  # type: ignore[misc]  # the default binds it
            assert [row.recv_q for row in ss_unix(path)] == [waiting]
        check_commands(server, refused, path)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        server.let_go()
        wait_for("none to wait", lambda: unix_lengths(agent, path) == {0})
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen(1)
        wait_for("the length to be absent", lambda: unix_lengths(agent, path) == set())
    wait_for("the length to be back", lambda: unix_lengths(agent, path) == {0})


def check_commands(server: Server, refused: tuple[str, ...], path: str) -> None:
    """Assert that status and check have the length, and the limit only where netlink works."""
    pid = str(server.pid)
    of_status, of_check = run_each(
        [("status", pid, "--json", "--seconds", "0.3"), ("check", pid)], run_by=refused
    )
    assert of_status.code == 0, of_status
    reports = {None: json.loads(of_status.out), enforced(2048): status_here(server.pid)}
    for limit, report in reports.items():
        (shown,) = [each for each in report["listeners"] if each["listener"] == path]
        assert shown["gunicorn.backlog"] == 2
        assert shown["gunicorn.backlog.limit"] == limit
        assert shown["unreadable"] is None
    line = f"{path}: 2 wait, the limit is unknown"
    assert has_finding(of_check, "ok", "listener", line), of_check


def test_reuse_port_without_netlink(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Only netlink reads the workers' sockets: the numbers are absent, with reason and remedy."""
    server = serve(
        newest,
        arguments=("--reuse-port",),
        run_by=refusing(BY_A_UNIT),
        environ={"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"},
    )
    wait_until_all_are_idle(agent)
    assert not next_pushes(agent, 1)[0].all("gunicorn.backlog")
    wait_for("both lines", lambda: len(server.our_lines) == 2)
    lines = server.our_lines
    read = f"can't be read (inet_diag: {EAFNOSUPPORT}): not sent, all other metrics are{BY_UNIT}"
    assert sum(read in line for line in lines) == 1
    assert sum("lost connections can't be counted" in line for line in lines) == 1
