"""Requests that end in every way: in flight never drifts, and is never negative.

A short form always runs; ``-m pytest -m soak`` runs the long one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.chaos_clients import CLIENTS, ChaosClients
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import nightly
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.worker_classes import (
    ASGI_OWN,
    CLASSES,
    GEVENT,
    GTHREAD,
    SYNC,
    WORKERS,
    WorkerClass,
    label,
)

REQUESTS, MANY_REQUESTS = 90, 100_000
RARELY = 90  # requests of the short form for each further one that kills a worker
INTERVAL_S = 0.1
SETTLED_S = 1.5  # after a kill: until the worker is reaped, and another one is forked
CONFIG = """
from gunicorn_backlog.hooks import *
accesslog = None
loglevel = "critical"
timeout = 2
max_requests = 3000
max_requests_jitter = 500
"""


def weather(
    worker_class: WorkerClass,
    requests: int,
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Load a server with chaos clients, and check all pushes during that time."""
    environ = {
        "GUNICORN_BACKLOG_URL": agent.url,
        "GUNICORN_BACKLOG_INTERVAL": str(INTERVAL_S),
        "GUNICORN_BACKLOG_SAMPLES": "5",
    }
    arguments = worker_class.arguments
    server = serve(
        gunicorn, arguments=arguments, app=worker_class.app, config=CONFIG, environ=environ
    )
    wait_until_all_are_idle(agent, WORKERS)
    # Before gunicorn 24 each SystemExit of the app removes a thread from the pool for good.
    without = {"leave"} if worker_class is GTHREAD and gunicorn.version < "24" else set()
    rarely = max(RARELY, requests // 50)
    storm = ChaosClients(server, requests, rarely=rarely, without=without, each=True)
    storm.run()
    wait_until_all_are_idle(agent, WORKERS)

    for push in next_pushes(agent, 5):
        assert push.workers["working"] == 0  # one may be starting, after max_requests
        assert push.values("gunicorn.requests.in_flight") == (0,)
        if worker_class.threads:
            assert push.values("gunicorn.threads", "state:working") == (0,)
            assert push.values("gunicorn.threads.queued") == (0,)
    seen = pushes(agent)
    for push, after in pairwise(seen):
        assert all(value >= 0 for line in push.lines for value in line.values), push.lines
        if worker_class.capacity:
            assert push.values("gunicorn.requests.in_flight")[0] <= worker_class.capacity + CLIENTS
        calm = not any(-INTERVAL_S < push.at_s - kill_s < SETTLED_S for kill_s in storm.kills_s)
        # A worker that reached max_requests is missing until the next is spawned.
        spawned = sum(each.values("gunicorn.workers.spawned")[0] for each in (push, after))
        if calm and not spawned:
            assert sum(push.workers.values()) == WORKERS
    longest_s = max(after.at_s - before.at_s for before, after in pairwise(seen))
    print(f"{worker_class.name}: {dict(storm.sent)}; {len(seen)} pushes, {longest_s:.2f} s apart")


@pytest.mark.parametrize("worker_class", CLASSES, ids=label)
def test_after_a_storm_nothing_is_in_flight(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Each class returns to zero, on its newest gunicorn."""
    weather(worker_class, REQUESTS, installed(worker_class.versions[-1]), serve, agent)


@pytest.mark.parametrize("worker_class", [SYNC, GTHREAD, nightly(GEVENT)], ids=label)
def test_after_a_storm_over_the_oldest_gunicorn(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """The classes of the oldest gunicorn return to zero there, too."""
    weather(worker_class, REQUESTS, installed(worker_class.versions[0]), serve, agent)


@pytest.mark.soak
@pytest.mark.parametrize("worker_class", [SYNC, GTHREAD, GEVENT, ASGI_OWN], ids=label)
def test_after_a_long_storm(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """After a hundred thousand requests each class returns to zero."""
    weather(worker_class, MANY_REQUESTS, installed(worker_class.versions[-1]), serve, agent)
