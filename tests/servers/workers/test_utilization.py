"""Busy workers and their utilization with slow clients, long requests and random load."""

from __future__ import annotations

import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.request_log import Request
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.ss import ss
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, NEWEST, SYNC, WORKERS, WorkerClass

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "5"}
LONG_S = 3.0
CLIENTS = 5


def test_silent_clients_of_sync_workers(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Of four silent clients two keep two workers busy, and two wait in the queue."""
    server = serve(gunicorn, environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url})
    wait_until_all_are_idle(agent)
    silent = [server.connect() for _ in range(4)]
    wait_for("two in the queue", lambda: ss(server.address).recv_q == 2)
    for push in next_pushes(agent, 5):
        assert push.workers == {"idle": 0, "working": 2, "starting": 0}
        assert set(push.values("gunicorn.backlog")) == {2}
        assert push.values("gunicorn.workers.saturated") == (100,)
    for client in silent:
        client.close()
    wait_until_all_are_idle(agent)


def test_a_silent_client_of_a_gthread_worker(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A thread that reads from a slow client is busy."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, arguments=GTHREAD.arguments, environ=environ)
    wait_until_all_are_idle(agent)
    with server.connect():
        wait_for("one working worker", lambda: next_pushes(agent, 1)[0].workers["working"] == 1)
        for push in next_pushes(agent, 5):
            assert push.values("gunicorn.threads", "state:working") == (1,)
    wait_until_all_are_idle(agent)


def test_the_queue_that_the_kernel_can_not_see(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """2 workers of 2 threads, 20 connections: 4 served, 16 queued, and a backlog of 0."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, arguments=GTHREAD.arguments, environ=environ)
    wait_until_all_are_idle(agent)
    one, other = server.worker_pids()
    for stopped in (one, other):  # so that each accepts ten, however the kernel wakes them
        os.kill(stopped, signal.SIGSTOP)
        server.hold(10)
        wait_for("ten to be accepted", lambda: ss(server.address).recv_q == 0)
        os.kill(stopped, signal.SIGCONT)
    wait_for("4 to be served", lambda: server.journal.in_flight().total() == 4)
    for push in next_pushes(agent, 5):
        assert push.workers == {"idle": 0, "working": 2, "starting": 0}
        assert push.values("gunicorn.threads", "state:working") == (4,)
        assert push.values("gunicorn.threads", "state:idle") == (0,)
        assert push.values("gunicorn.threads.queued") == (16,)
        assert push.values("gunicorn.requests.in_flight") == (4,)
        assert set(push.values("gunicorn.backlog")) == {0}
    server.let_go()
    wait_until_all_are_idle(agent)
    assert next_pushes(agent, 1)[0].values("gunicorn.threads.queued") == (0,)


def test_a_long_request_beside_many_short_ones(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A gthread worker is never idle while a long request runs beside short ones."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, workers=1, arguments=GTHREAD.arguments, environ=environ)
    wait_until_all_are_idle(agent, workers=1)
    server.hold(1)
    wait_for("the long request", lambda: server.journal.in_flight().total() == 1)
    next_pushes(agent, 1)
    seen = len(pushes(agent))
    while len(pushes(agent)) < seen + 5:
        assert b"con" in server.get("/plain")
    while_it_runs = pushes(agent)[seen:]
    server.let_go()
    for push in while_it_runs:
        assert push.workers == {"idle": 0, "working": 1, "starting": 0}
        assert push.values("gunicorn.requests.in_flight")[0] in (1, 2)


@pytest.mark.parametrize(
    "worker_class", [SYNC, GTHREAD], ids=lambda worker_class: worker_class.name
)
def test_a_request_of_many_intervals(
    worker_class: WorkerClass,
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """A long request counts in each interval that it touches, not only at its end."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    arguments = (*worker_class.arguments[:2], "--threads", "1")
    server = serve(gunicorn, workers=1, arguments=arguments, environ=environ)
    wait_until_all_are_idle(agent, workers=1)
    assert b"ok" in server.get("/last/1000")
    next_pushes(agent, 1)
    (request,) = server.journal.requests()
    within = [
        push
        for before, push in pairwise(pushes(agent))
        if request.began_ns < before.at_s * 1e9 and push.at_s * 1e9 < request.ended_ns
    ]
    assert len(within) >= 7
    assert {push.values("gunicorn.workers.utilization") for push in within} == {(100,)}


def put_random_load(server: Server, seed: int, until_s: float) -> None:
    """Send requests of 20 to 1,000 ms one after the other, with pauses."""
    chance = random.Random(seed)
    while time.monotonic() < until_s:
        with suppress(OSError):
            server.get(f"/last/{chance.randint(20, 1000)}")
        time.sleep(chance.uniform(0, 1))


def share(requests: Sequence[Request], began_s: float, ended_s: float, slots: int) -> float:
    """Return the percentage of the time in which requests were in flight."""
    worked_ns = sum(
        max(0, min(ended_s * 1e9, request.ended_ns) - max(began_s * 1e9, request.began_ns))
        for request in requests
    )
    return 100 * worked_ns / ((ended_s - began_s) * 1e9 * slots)


@pytest.mark.parametrize(
    "worker_class", [SYNC, GTHREAD], ids=lambda worker_class: worker_class.name
)
@forms("load", short=(10.0, 5.0), long=(30.0, 1.0))
def test_utilization_under_random_load(
    load: tuple[float, float],
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Each interval equals the app's log of begins and ends, on average within one point.

    The short form runs beside other tests: a push may arrive late, and the interval then appears
    longer.
    """
    load_s, points = load
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": str(LONG_S)}
    server = serve(installed(NEWEST), arguments=worker_class.arguments, environ=environ)
    wait_until_all_are_idle(agent, WORKERS)
    until_s = time.monotonic() + load_s
    clients = [
        threading.Thread(target=put_random_load, args=(server, seed, until_s))
        for seed in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    wait_until_all_are_idle(agent, WORKERS)

    requests = server.journal.requests()
    under_load = [push for push in pushes(agent) if until_s - load_s < push.at_s < until_s]
    slots = worker_class.capacity or 0
    errors = [
        push.values("gunicorn.workers.utilization")[0]
        - share(requests, before.at_s, push.at_s, slots)
        for before, push in pairwise(under_load)
    ]
    assert len(errors) >= load_s / LONG_S - 2
    used = share(requests, under_load[0].at_s, under_load[-1].at_s, slots)
    print(f"{used:.1f} % used; errors: {statistics.mean(map(abs, errors)):.2f} points on average")
    assert statistics.mean(map(abs, errors)) < points
    assert used > 20
