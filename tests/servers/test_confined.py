"""Where something is refused: gunicorn serves, what is sent is true, one line says what is not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.confine import as_nobody, as_pid_1, refusing, without_proc
from tests.lab.gunicorns import Gunicorn
from tests.lab.oracle import enforced
from tests.lab.pushes import Push, next_pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.waiting import wait_for

BOTH_WORKING = {"idle": 0, "working": 2, "starting": 0}


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
        environ={"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"},
    )
    server.wait_until_it_serves()
    wait_until_all_are_idle(agent)
    server.hold(3)
    wait_for("both working", lambda: next_pushes(agent, 1)[0].workers == BOTH_WORKING)
    return server


def seen(push: Push) -> dict[str, dict[str, set[float]]]:
    """Return what a push says of each listener, by metric."""
    found: dict[str, dict[str, set[float]]] = {}
    for line in push.lines:
        if listener := line.tag("listener"):
            metric = line.name.removeprefix("gunicorn.")
            found.setdefault(listener, {})[metric] = set(line.values)
    return found


def told(server: Server) -> list[str]:
    """Return our lines in the log."""
    return [line for line in server.log.splitlines() if "gunicorn_backlog:" in line]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """Return a path for a Unix socket where everybody may make one."""
    path = Path(tempfile.gettempdir()) / f"gunicorn_backlog-{os.getpid()}-{tmp_path.name}.sock"
    yield str(path)
    path.unlink(missing_ok=True)


TCP = {"backlog": {1.0}, "backlog.limit": {float(enforced(2048))}, "backlog.dropped": {0.0}}
UNIX = {"backlog": {0.0}, "backlog.limit": {float(enforced(2048))}}
PLACES: dict[str, Callable[[Gunicorn], tuple[str, ...]]] = {
    "uid 65534": lambda gunicorn: as_nobody(gunicorn.folder),
    "pid 1": lambda _: as_pid_1(),
    "no /proc": lambda _: without_proc(),
    "TCP_INFO refused": lambda _: refusing("TCP_INFO"),
}
EPERM = "EPERM (Operation not permitted)"
REFUSED = {
    "netlink": {"unix": f"the backlog of {{unix}} can't be read (unix_diag: {EPERM})"},
    "SO_MEMINFO,netlink": {
        "unix": f"the backlog of {{unix}} can't be read (unix_diag: {EPERM})",
        "tcp": f"the drops of {{tcp}} can't be read (TCP_INFO: {EPERM}; inet_diag: {EPERM})",
    },
    "TCP_INFO,netlink": {
        "unix": f"the backlog of {{unix}} can't be read (unix_diag: {EPERM})",
        "tcp": f"the backlog of {{tcp}} can't be read (TCP_INFO: {EPERM}; inet_diag: {EPERM})",
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_missing(
    place: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, path: str
) -> None:
    """Here everything can be read, by one way or another, and no line is needed."""
    server = started(gunicorn, serve, agent, PLACES[place](gunicorn), path)
    for push in next_pushes(agent, 2):
        assert seen(push) == {server.address: TCP, path: UNIX}
    assert told(server) == []
    server.let_go()
    assert server.get()


@pytest.mark.parametrize("refused", REFUSED)
def test_what_is_refused_is_absent_and_told(
    refused: str, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent, path: str
) -> None:
    """What can't be read is not sent, all else is, and there is one line for each."""
    server = started(newest, serve, agent, refusing(*refused.split(",")), path)
    expected = {server.address: dict(TCP)}
    if "SO_MEMINFO" in refused:
        del expected[server.address]["backlog.dropped"]
    elif "TCP_INFO" in refused:
        expected[server.address] = {"backlog.dropped": {0.0}}
    for push in next_pushes(agent, 2):
        assert seen(push) == expected
        assert push.workers == BOTH_WORKING
    lines = told(server)
    assert len(lines) == len(REFUSED[refused])
    for text in REFUSED[refused].values():
        assert any(text.format(unix=path, tcp=server.address) in line for line in lines)
    server.let_go()
    assert server.get()
