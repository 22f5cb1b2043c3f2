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
from functools import partial
from itertools import pairwise

from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import Push, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.request_log import Request
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.short_interval import EVERY_20_MS, SHORT_CONFIG
from tests.lab.ss import ss
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, NEWEST, SYNC, WORKERS, WorkerClass

LONG_S = 3.0
CLIENTS = 5


def serving(
    worker_class: WorkerClass, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> Server:
    """Return a server with two idle workers that pushes every 20 ms."""
    environ = EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url}
    arguments = worker_class.arguments
    server: Server = serve(gunicorn, config=SHORT_CONFIG, arguments=arguments, environ=environ)
    wait_until_all_are_idle(agent)
    return server


def test_sync_workers(gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """Sync workers are busy from accept to close.

    - Of four silent clients two keep two workers busy, and two wait in the queue.
    - A long request counts in each interval that it touches.
    """
    server = serving(SYNC, gunicorn, serve, agent)
    silent = [server.connect() for _ in range(4)]
    wait_for("two in the queue", lambda: ss(server.address).recv_q == 2)
    wait_for_working(agent, 2)
    for push in next_pushes(agent, 5):
        assert push.workers == {"idle": 0, "working": 2, "starting": 0}
        assert set(push.values("gunicorn.backlog")) == {2}
        assert push.values("gunicorn.workers.saturated") == (100,)
    for client in silent:
        client.close()
    wait_until_all_are_idle(agent)
    check_a_request_of_many_intervals(server, agent, utilization=50)


def test_gthread_workers(gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """Two workers of two threads.

    - A thread that reads from a silent client is busy.
    - A long request counts in each interval that it touches.
    - Of 20 connections 4 are served and 16 queued, with a backlog of 0.
    - A worker is never idle while a long request runs beside short ones.
    """
    server = serving(GTHREAD, gunicorn, serve, agent)
    with server.connect():
        wait_for_working(agent, 1)
        for push in next_pushes(agent, 5):
            assert push.values("gunicorn.threads", "state:working") == (1,)
    wait_until_all_are_idle(agent)
    check_a_request_of_many_intervals(server, agent, utilization=25)
    check_the_queue_that_the_kernel_can_not_see(server, agent)
    check_a_long_request_beside_many_short_ones(server, agent)


def wait_for_working(agent: StandInAgent, workers: int) -> None:
    """Wait for a push with that number of busy workers."""
    wait_for("busy workers", lambda: next_pushes(agent, 1)[0].workers["working"] == workers)


def check_a_request_of_many_intervals(
    server: Server, agent: StandInAgent, *, utilization: float
) -> None:
    """A request is busy time in each interval, not only in the last one."""
    server.hold(1)
    wait_for_working(agent, 1)
    pushed = {push.values("gunicorn.workers.utilization") for push in next_pushes(agent, 10)}
    assert pushed == {(utilization,)}
    server.let_go()
    wait_until_all_are_idle(agent)


def check_the_queue_that_the_kernel_can_not_see(server: Server, agent: StandInAgent) -> None:
    """Each worker accepts ten connections, and serves two."""
    one, other = server.worker_pids()
    for stopped in (one, other):  # so that each accepts ten, however the kernel wakes them
        os.kill(stopped, signal.SIGSTOP)
        server.hold(10)
        wait_for("ten to be accepted", lambda: ss(server.address).recv_q == 0)
        os.kill(stopped, signal.SIGCONT)
    wait_for("4 to be served", lambda: server.journal.in_flight().total() == 4)
    wait_for_working(agent, 2)
    next_pushes(agent, 1)
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


def check_a_long_request_beside_many_short_ones(server: Server, agent: StandInAgent) -> None:
    """One worker serves all requests, because the other one is stopped."""
    stopped = min(server.worker_pids())
    os.kill(stopped, signal.SIGSTOP)
    server.hold(1)
    wait_for("it to begin", lambda: server.journal.in_flight().total() == 1)
    wait_for_working(agent, 1)
    seen = len(pushes(agent))
    while len(pushes(agent)) < seen + 20:
        assert b"con" in server.get("/plain")
    while_it_runs = pushes(agent)[seen:]
    os.kill(stopped, signal.SIGCONT)
    server.let_go()
    for push in while_it_runs:
        assert push.workers == {"idle": 1, "working": 1, "starting": 0}
        assert push.values("gunicorn.requests.in_flight")[0] in (1, 2)
    assert {push.values("gunicorn.requests.in_flight") for push in while_it_runs} >= {(1,)}


@forms("load", short=(7.0, 5.0), long=(30.0, 1.0))
def test_utilization_under_random_load(
    load: tuple[float, float],
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    listen: AgentFactory,
) -> None:
    """Each interval's is that of the app's log of begins and ends, on average within one point.

    The short form shares the processors with other tests: a push may arrive late, and the interval
    is taken for a longer one.
    """
    load_s, points = load
    loaded = []
    for worker_class in (SYNC, GTHREAD):
        agent = listen()
        environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": str(LONG_S)}
        server = serve(installed(NEWEST), arguments=worker_class.arguments, environ=environ)
        loaded.append((worker_class, server, agent))
    for _, _, agent in loaded:
        wait_for("both workers", partial(first_push_of_idle_workers, agent))
    put_random_load([server for _, server, _ in loaded], time.monotonic() + load_s)
    for worker_class, server, agent in loaded:
        check_utilization(worker_class, server, agent, points, at_least=load_s / LONG_S - 1)


def first_push_of_idle_workers(agent: StandInAgent) -> Push | None:
    """Return the first push in which both workers are idle."""
    idle = {"idle": WORKERS, "working": 0, "starting": 0}
    return next((push for push in pushes(agent) if push.workers == idle), None)


def put_random_load(servers: Sequence[Server], until_s: float) -> None:
    """Load each server by its own clients."""
    clients = [
        threading.Thread(target=send_requests, args=(server, seed, until_s))
        for server in servers
        for seed in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def send_requests(server: Server, seed: int, until_s: float) -> None:
    """Send requests of 20 to 1,000 ms one after the other, with pauses."""
    chance = random.Random(seed)
    while time.monotonic() < until_s:
        with suppress(OSError):
            server.get(f"/last/{chance.randint(20, 1000)}")
        time.sleep(chance.uniform(0, 1))


def check_utilization(
    worker_class: WorkerClass,
    server: Server,
    agent: StandInAgent,
    points: float,
    *,
    at_least: float,
) -> None:
    """Compare the pushes since the first one of idle workers with the app's log."""
    requests = server.journal.requests()
    idle = first_push_of_idle_workers(agent)
    assert idle is not None
    under_load = [push for push in pushes(agent) if push.at_s >= idle.at_s]
    slots = worker_class.capacity or 0
    errors = [
        push.values("gunicorn.workers.utilization")[0]
        - share(requests, before.at_s, push.at_s, slots)
        for before, push in pairwise(under_load)
    ]
    assert len(errors) >= at_least
    used = share(requests, under_load[0].at_s, under_load[-1].at_s, slots)
    print(f"{used:.1f} % used; errors: {statistics.mean(map(abs, errors)):.2f} points on average")
    assert statistics.mean(map(abs, errors)) < points
    assert used > 20


def share(requests: Sequence[Request], began_s: float, ended_s: float, slots: int) -> float:
    """Return the percentage of the time in which requests were in flight."""
    worked_ns = sum(
        max(0, min(ended_s * 1e9, request.ended_ns) - max(began_s * 1e9, request.began_ns))
        for request in requests
    )
    return 100 * worked_ns / ((ended_s - began_s) * 1e9 * slots)
