"""The startup line."""

from __future__ import annotations

import re

import pytest
from agent import StandInAgent

from gunicorn_backlog import __version__
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for


def startup_lines(server: Server) -> list[str]:
    """Return all startup lines, without the version."""
    found = re.findall(r"\[INFO\] gunicorn_backlog: (\d.*)", server.log)
    return [line.removeprefix(f"{__version__}: ") for line in found]


@NEWEST_BY_DAY
def test_once_per_start_and_when_its_content_changes(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The line has version, workers, class, listeners, interval, Agent address and its source."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    server = serve(gunicorn, workers=1, environ=environ).wait_until_it_serves()
    wait_until_all_are_idle(agent, workers=1)
    first = (
        f"1 sync worker, listening at {server.address}; "
        f"pushes every 0.1 s to {agent.url} (from GUNICORN_BACKLOG_URL)"
    )
    assert startup_lines(server) == [first]

    for config in (CONFIG, CONFIG + "workers = 1\nworker_class = 'gthread'\nthreads = 3\n"):
        former = server.worker_pids()
        server.reload(config)
        wait_for("a new worker", lambda: server.worker_pids().isdisjoint(former))  # noqa: B023
    second = first.replace("sync", "gthread")
    wait_for("the second line", lambda: startup_lines(server) == [first, second])
    assert server.our_lines == []


@pytest.mark.parametrize("level", ["warning", "error"])
def test_a_server_that_logs_no_information(
    level: str, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """gunicorn's log level applies to the startup line."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    server = serve(newest, workers=1, environ=environ, arguments=("--log-level", level))
    wait_until_all_are_idle(agent, workers=1)

    assert server.log == ""


def test_of_a_server_that_is_switched_off(newest: Gunicorn, serve: ServerFactory) -> None:
    """A disabled server logs that it pushes nothing."""
    server = serve(
        newest, workers=1, environ={"GUNICORN_BACKLOG_ENABLED": "no"}
    ).wait_until_it_serves()

    assert f"[INFO] gunicorn_backlog: {__version__} is switched off" in server.log


def test_of_a_server_that_sends_nothing(newest: Gunicorn, serve: ServerFactory) -> None:
    """With Datadog's variable that switches all clients off, the line names the variable."""
    server = serve(
        newest, workers=1, environ={"DD_DOGSTATSD_DISABLE": "true"}
    ).wait_until_it_serves()

    (line,) = startup_lines(server)
    assert line.endswith("pushes nothing: DD_DOGSTATSD_DISABLE is set: nothing is sent")
