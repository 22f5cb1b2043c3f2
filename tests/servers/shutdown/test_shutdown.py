"""TERM, INT and QUIT end a server as fast with us as without, and the last push is complete.

The comparison is a test for ``pytest -m soak``: it needs a machine without other load.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from statistics import median

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.procfs import has_own_handlers
from tests.lab.push_streams import wait_until_all_came
from tests.lab.pushes import Push, pushes
from tests.lab.server import Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, SYNC, WorkerClass

ROUNDS = 21  # when nothing else runs
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
OLDEST, NEWEST = VERSIONS
# By day each class gets each signal, and so does each version; at night each class in each version.
BY_DAY = {
    OLDEST: ((signal.SIGTERM, SYNC), (signal.SIGINT, GTHREAD), (signal.SIGQUIT, SYNC)),
    NEWEST: ((signal.SIGTERM, GTHREAD), (signal.SIGINT, SYNC), (signal.SIGQUIT, GTHREAD)),
}
CASES = [
    *(pytest.param(version, cases, id=version) for version, cases in BY_DAY.items()),
    nightly(OLDEST, BY_DAY[NEWEST], id=f"{OLDEST}, others"),
    nightly(NEWEST, BY_DAY[OLDEST], id=f"{NEWEST}, others"),
]
LIMIT_S = 0.05
LOOSE_LIMIT_S = 5.0  # with other load on the machine
DEADLINE_S = 20


def shutdown_s(server: Server, number: signal.Signals) -> float:
    """Return the time from a signal to the end of the server.

    The signal follows a request: a worker may check for signals only once a second, counted from
    its latest request.
    """
    assert server.get()
    watched = os.pidfd_open(server.pid)
    try:
        began_s = time.monotonic()
        server.signal(number)
        ended, _, _ = select.select([watched], [], [], DEADLINE_S)
        assert ended
        return time.monotonic() - began_s
    finally:
        os.close(watched)


def wait_until_up(server: Server) -> None:
    """Wait until a server's workers answer and handle signals."""
    server.wait_until_it_serves()
    wait_for("its workers", lambda: all(map(has_own_handlers, server.worker_pids())))


def is_last(push: Push) -> bool:
    """Return whether a push is the last one of a shutdown."""
    return push.values("gunicorn.is_running") == (2,)


@pytest.mark.parametrize(("version", "cases"), CASES)
def test_each_signal_ends_a_server(
    version: str,
    cases: Sequence[tuple[signal.Signals, WorkerClass]],
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    listen: AgentFactory,
) -> None:
    """Each signal ends a server with exit code 0, with other load on the machine within 5 s."""
    started = {case: with_us(case[1], installed(version), serve, listen()) for case in cases}
    for (number, worker_class), (server, agent) in started.items():
        wait_for("a push", lambda: agent.datagrams)  # noqa: B023
        wait_until_up(server)
        took_s = shutdown_s(server, number)
        assert server.process.wait() == 0
        print(f"{version} {worker_class.name} {number.name}: {took_s * 1000:.0f} ms")
        assert took_s < LOOSE_LIMIT_S


def with_us(
    worker_class: WorkerClass, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> tuple[Server, StandInAgent]:
    """Start a server that pushes to this Agent."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.5"}
    return serve(gunicorn, workers=1, arguments=worker_class.arguments, environ=environ), agent


@pytest.mark.soak
@pytest.mark.parametrize("worker_class", [SYNC, GTHREAD], ids=lambda each: each.name)
def test_a_shutdown_is_as_fast_as_without_us(
    worker_class: WorkerClass, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Alternating: the medians differ by less than 50 ms, and the last push arrives."""
    for number in SIGNALS:
        took_s: dict[str, list[float]] = {"with": [], "without": []}
        for turn in range(ROUNDS):
            agent.datagrams.clear()
            ours, _ = with_us(worker_class, gunicorn, serve, agent)
            plain = serve(gunicorn, workers=1, arguments=worker_class.arguments, config="")
            wait_for("a push", lambda: agent.datagrams)
            for server in (ours, plain):
                wait_until_up(server)
            for server in (ours, plain) if turn % 2 == 0 else (plain, ours):
                took_s["with" if server is ours else "without"].append(shutdown_s(server, number))
                assert server.process.wait() == 0
            wait_until_all_came(agent)
            assert is_last(pushes(agent)[-1])
        report(gunicorn, worker_class, number, took_s)
        assert median(took_s["with"]) - median(took_s["without"]) < LIMIT_S


def report(
    gunicorn: Gunicorn,
    worker_class: WorkerClass,
    number: signal.Signals,
    took_s: dict[str, list[float]],
) -> None:
    """Print the figures."""
    figures = "; ".join(
        f"{who} us median {median(times) * 1000:.0f} ms, longest {max(times) * 1000:.0f} ms"
        for who, times in took_s.items()
    )
    rounds = len(took_s["with"])
    print(f"{gunicorn.version} {worker_class.name} {number.name} x {rounds}: {figures}")
