"""The app's own ``datadog`` client logs as without our hooks; ours logs nothing."""

from __future__ import annotations

import time
from functools import partial
from socket import SOCK_DGRAM

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.agent_outages import AWAY, wait_until_logged
from tests.lab.datadog_app import WARNING
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.latencies import answer_ms
from tests.lab.nightly import nightly
from tests.lab.ports import free_port
from tests.lab.pushes import next_pushes
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

INTERVAL_S = 0.1
REQUESTS = 5
APP = "tests.lab.datadog_app:app"
# The client of the app is made in the worker, or preloaded.
CASES = [
    pytest.param((), VERSIONS[-1], id="in the worker-newest"),
    pytest.param(("--preload",), VERSIONS[0], id="preloaded-oldest"),
    nightly((), VERSIONS[0], id="in the worker-oldest"),
    nightly(("--preload",), VERSIONS[-1], id="preloaded-newest"),
]


def warnings_of(server: Server, requests: int) -> tuple[int, int]:
    """Send requests; return the number of warnings before them, and caused by them."""
    server.wait_until_it_serves()
    before = server.log.count(WARNING)
    answer_ms(server, requests)
    return before, server.log.count(WARNING) - before


@pytest.mark.parametrize(("arguments", "gunicorn"), CASES, indirect=["gunicorn"])
@forms("requests", short=20, long=2000)
def test_failed_sends_of_the_app_are_logged_as_without_us(
    requests: int,
    arguments: tuple[str, ...],
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """stderr has the same number of warnings, while our pushes arrive."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    server_of = partial(serve, gunicorn, app=APP, workers=1, arguments=arguments)
    watched = server_of(environ=environ)
    with_us = warnings_of(watched, requests)
    next_pushes(agent, 2)
    without = warnings_of(server_of(config=""), requests)
    print(f"{requests} requests: {with_us[1]} warnings, without us {without[1]}")
    assert with_us[1] == without[1] >= requests
    assert watched.our_lines == []


@pytest.mark.parametrize("scheme", ["unix", "udp"])
@forms("pushes", short=10, long=600)
def test_our_thread_logs_one_line(
    pushes: int, scheme: str, newest: Gunicorn, serve: ServerFactory
) -> None:
    """With an unreachable Agent our pushes cause one line in all."""
    url = "unix:///nowhere" if scheme == "unix" else f"udp://127.0.0.1:{free_port(SOCK_DGRAM)}"
    environ = {"GUNICORN_BACKLOG_URL": url, "GUNICORN_BACKLOG_INTERVAL": str(INTERVAL_S)}
    server = serve(newest, app=APP, workers=1, arguments=("--preload",), environ=environ)
    before, more = warnings_of(server, REQUESTS)
    wait_until_logged(server, AWAY, 1)
    end_s = time.monotonic() + pushes * INTERVAL_S
    wait_for("pushes", lambda: time.monotonic() > end_s, deadline_s=20 + pushes * INTERVAL_S)
    assert more == REQUESTS
    assert server.log.count(WARNING) == before + more
    assert len(server.our_lines) == 1
    print(f"{url}: 1 line of ours for {pushes} pushes, {more} of the app's for {more} requests")
