"""Requests begun, the oldest request and stranded requests, against the clients' own counts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from _pytest.mark import ParameterSet
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import nightly
from tests.lab.pushes import Push, latest, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    AIOHTTP_ASYNCIO,
    AIOHTTP_UVLOOP,
    CLASSES,
    GTHREAD,
    SYNC,
    WorkerClass,
    label,
)

INTERVAL_S = 0.1
MAX_REQUESTS = 5
CLIENTS = 12
NEAR_S = 0.2


def cases() -> Iterator[ParameterSet]:
    """Yield each class with its oldest and its newest gunicorn.

    By day sync and gthread run with both, the others with the oldest or the newest in turn.
    """
    for number, worker_class in enumerate(CLASSES):
        for at in (0, -1):
            version = worker_class.versions[at]
            by_day = worker_class in (SYNC, GTHREAD) or at == -(number % 2)
            make = pytest.param if by_day else nightly
            yield make(worker_class, version, id=f"{label(worker_class)}-{version}")


def settings(agent: StandInAgent) -> dict[str, str]:
    """Return the environment of a server that pushes often."""
    return {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": str(INTERVAL_S)}


def begun(agent: StandInAgent) -> float:
    """Return the requests in all pushes so far."""
    return sum(push.values("gunicorn.requests.begun")[0] for push in pushes(agent))


def oldest(push: Push) -> float:
    """Return the age of the oldest request in seconds."""
    return push.values("gunicorn.requests.oldest")[0]


@pytest.mark.parametrize(("worker_class", "version"), [*cases()])
def test_begun_over_dead_workers_and_the_oldest(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Workers end after five requests, and each request counts once.

    The age of a request that is held grows with the client's clock. A silent connection has no age.
    """
    workers = 2 if worker_class is SYNC else 1  # a silent connection keeps a sync worker busy
    server = serve(
        installed(version),
        workers=workers,
        arguments=(*worker_class.arguments, "--max-requests", str(MAX_REQUESTS)),
        environ=settings(agent),
        app=worker_class.app,
    ).wait_until_it_serves()
    wait_until_all_are_idle(agent, workers)
    wait_for("the first request", lambda: begun(agent) > 0)
    before = begun(agent)
    for _ in range(CLIENTS):
        answered(server)
    wait_for("each request", lambda: begun(agent) >= before + CLIENTS)
    wait_until_all_are_idle(agent, workers)
    assert begun(agent) == before + CLIENTS

    if worker_class in (AIOHTTP_ASYNCIO, AIOHTTP_UVLOOP):
        wait_for("no worker to end", none_ends(server))
    with server.connect():  # sends nothing
        assert all(oldest(push) == 0 for push in next_pushes(agent, 2))
        sent_s = time.monotonic()
        server.hold(1)
        wait_for("an age", lambda: oldest(latest(agent)) > 0.7)
        push = latest(agent)
    server.let_go()
    (request,) = server.journal.requests()  # the head was parsed between these two times
    assert push.at_s - request.began_ns / 1e9 - NEAR_S <= oldest(push)
    assert oldest(push) <= push.at_s - sent_s + NEAR_S
    wait_for("no request", lambda: oldest(latest(agent)) == 0)


def none_ends(server: Server) -> Callable[[], bool]:
    """Return a condition: no worker has ended in two of aiohttp's looks, one a second.

    A worker that has served its requests would wait for the silent connection, and serve no other.
    """
    pids, since_s = server.worker_pids(), time.monotonic()

    def is_met() -> bool:
        nonlocal pids, since_s
        if server.worker_pids() != pids:
            pids, since_s = server.worker_pids(), time.monotonic()
        return time.monotonic() - since_s > 2

    return is_met


def answered(server: Server) -> None:
    """Send a request until it is answered: a worker that ends may close the connection."""

    def answer() -> bool:
        try:
            return bool(server.get("/"))
        except OSError:
            return False

    wait_for("an answer", answer)


def test_stranded_requests(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """Four requests at two workers with two threads each: some rounds strand a request.

    Above 0 exactly in the rounds in which a client waited twice as long; and 0 with one worker.
    """
    server = serve(newest, arguments=GTHREAD.arguments, environ=settings(agent))
    server.wait_until_it_serves()
    wait_until_all_are_idle(agent)
    rounds: list[tuple[bool, bool]] = []

    def enough() -> bool:
        rounds.append(one_round(server, agent))
        return {stranded for stranded, _ in rounds} == {False, True} and len(rounds) >= 4

    wait_for("rounds with and without", enough)
    assert all(stranded == waited for stranded, waited in rounds), rounds


def test_a_leaving_worker_strands_nothing(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The free thread of a worker that received SIGTERM, from anybody, takes no request."""
    arguments = (*GTHREAD.arguments, "--graceful-timeout", "60")
    server = serve(gunicorn, arguments=arguments, environ=settings(agent)).wait_until_it_serves()
    wait_until_all_are_idle(agent)

    def half_free() -> int | None:
        """Return the worker with one request while the other one has three."""
        stranded, _ = one_round(server, agent, let_go=False)
        workers = [pid for pid, count in server.journal.in_flight().items() if count == 1]
        if stranded and workers:
            return workers[0]
        end_round(server, agent)
        return None

    os.kill(wait_for("a stranded request", half_free), signal.SIGTERM)
    stranded = "gunicorn.requests.stranded"
    wait_for("none stranded", lambda: latest(agent).values(stranded) == (0,))
    assert {push.values(stranded) for push in next_pushes(agent, 3)} == {(0,)}
    assert in_the_server(latest(agent)) == 4


def one_round(server: Server, agent: StandInAgent, *, let_go: bool = True) -> tuple[bool, bool]:
    """Hold four requests; return whether requests are stranded, and whether a client waits."""
    server.hold(4)
    wait_for("four connections", lambda: in_the_server(latest(agent)) == 4)
    push = next_pushes(agent, 1)[0]
    waits = server.journal.in_flight().total() < 4
    stranded = push.values("gunicorn.requests.stranded")[0] > 0
    if let_go:
        end_round(server, agent)
    return stranded, waits


def end_round(server: Server, agent: StandInAgent) -> None:
    """Answer the held requests."""
    server.let_go()
    wait_for("an idle server", lambda: in_the_server(latest(agent)) == 0)


def in_the_server(push: Push) -> float:
    """Return the connections that the workers have."""
    working = push.values("gunicorn.threads", "state:working")[0]
    return working + push.values("gunicorn.threads.queued")[0]


def test_with_one_worker_nothing_is_stranded(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Queued requests are not stranded if no other worker has a free thread."""
    server = serve(newest, workers=1, arguments=GTHREAD.arguments, environ=settings(agent))
    server.wait_until_it_serves().hold(4)
    wait_for("a queue", lambda: latest(agent).values("gunicorn.threads.queued") == (2,))
    assert {p.values("gunicorn.requests.stranded") for p in next_pushes(agent, 3)} == {(0,)}
