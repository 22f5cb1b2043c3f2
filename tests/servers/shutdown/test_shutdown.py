"""TERM, INT and QUIT end a server as fast with us as without, and the last push is complete.

A short form always runs; ``pytest -m soak`` runs the long one.
"""

from __future__ import annotations

import os
import select
import signal
import time
from statistics import median

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import has_own_handlers
from tests.lab.push_streams import wait_until_all_came
from tests.lab.pushes import Push, pushes
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, SYNC, WorkerClass

LONG = 21  # rounds, when nothing else runs
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
LIMIT_S = 0.05
LOOSE_LIMIT_S = 5.0  # of the short form, with other load on the machine
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


def in_turns(with_us: Server, without_us: Server, *, with_us_first: bool) -> list[Server]:
    """Wait until both servers are up; return them in the order of their shutdowns."""
    for server in (with_us, without_us):
        server.wait_until_it_serves()
        wait_for("the workers", lambda: all(map(has_own_handlers, server.worker_pids())))  # noqa: B023
    return [with_us, without_us] if with_us_first else [without_us, with_us]


def is_last(push: Push) -> bool:
    """Return whether a push is the last one of a shutdown."""
    return push.values("gunicorn.is_running") == (2,)


@forms("rounds", short=1, long=LONG)
@pytest.mark.parametrize("worker_class", [SYNC, GTHREAD], ids=lambda each: each.name)
def test_a_shutdown_is_as_fast_as_without_us(
    worker_class: WorkerClass,
    rounds: int,
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Alternating: the medians differ by less than 50 ms, and the last push arrives."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.5"}
    for number in SIGNALS:
        took_s: dict[str, list[float]] = {"with": [], "without": []}
        for turn in range(rounds):
            arguments = worker_class.arguments
            ours = serve(gunicorn, workers=1, arguments=arguments, environ=environ)
            plain = serve(gunicorn, workers=1, arguments=arguments, config="")
            agent.datagrams.clear()
            wait_for("a push", lambda: agent.datagrams)
            for server in in_turns(ours, plain, with_us_first=turn % 2 == 0):
                took_s["with" if server is ours else "without"].append(shutdown_s(server, number))
                assert server.process.wait() == 0
            wait_until_all_came(agent)
            assert is_last(pushes(agent)[-2]) or rounds < LONG  # followed by our mark
        limit_s = LIMIT_S if rounds == LONG else LOOSE_LIMIT_S
        report(gunicorn, worker_class, number, took_s)
        assert median(took_s["with"]) - median(took_s["without"]) < limit_s


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
