"""The pushed workers, threads and requests equal those of the app, in every worker class.

The oracles are the app's log of requests, ``ss`` for the queue, and the difference to the number of
clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import Push, next_pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.ss import ss
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import CLASSES, SUBCLASSES, WORKERS, WorkerClass

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "4"}
STEADY = 3  # pushes
MANY = 4  # requests, for a class without a capacity
CASES = [
    pytest.param(case, version, id=f"{case.name.rpartition('.')[2]}-{case.app[10:14]}-{version}")
    for case in (*CLASSES, *SUBCLASSES)
    for version in case.versions
]


@pytest.mark.parametrize(("worker_class", "version"), CASES)
def test_requests_held_in_the_app(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Each steady push is right with no request, one, as many as fit, and five more."""
    server = serve(
        installed(version),
        arguments=worker_class.arguments,
        app=worker_class.app,
        environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent, WORKERS)
    most = worker_class.capacity or MANY
    for clients in (0, 1, most, most + 5):
        server.hold(clients)
        wait_for(f"{clients} clients to settle", partial(settled, server, agent, clients))
        held = server.journal.in_flight()
        steady = next_pushes(agent, STEADY)
        waiting = ss(server.address).recv_q
        assert server.journal.in_flight() == held
        for push in steady:
            check(push, worker_class, clients, waiting, held)
        server.let_go()
        wait_until_all_are_idle(agent, WORKERS)
        check(next_pushes(agent, 1)[0], worker_class, 0, 0, Counter())


def settled(server: Server, agent: StandInAgent, clients: int) -> bool:
    """Return whether the app's and the kernel's numbers are steady."""

    def look() -> tuple[int, Counter[int]]:
        return ss(server.address).recv_q, server.journal.in_flight()

    before = look()
    next_pushes(agent, 1)
    return before == look() and bool(before[1] or not clients)


def check(
    push: Push, worker_class: WorkerClass, clients: int, waiting: int, held: Counter[int]
) -> None:
    """Compare one push with the app's requests, by pid, and with the queued ones."""
    serving = held.total()
    assert push.workers == {"idle": WORKERS - len(held), "working": len(held), "starting": 0}
    assert push.values("gunicorn.requests.in_flight") == (serving,)
    assert set(push.values("gunicorn.backlog")) == {waiting}
    if worker_class.capacity is None:
        for name in ("gunicorn.workers.utilization", "gunicorn.workers.saturated"):
            assert push.all(name) == []
    else:
        assert serving <= worker_class.capacity
        (utilization,) = push.values("gunicorn.workers.utilization")
        assert utilization == pytest.approx(100 * serving / worker_class.capacity, abs=1)
        saturated = 100 if serving == worker_class.capacity else 0
        assert push.values("gunicorn.workers.saturated") == (saturated,)
    if worker_class.threads:
        assert push.values("gunicorn.threads", "state:working") == (serving,)
        idle = WORKERS * worker_class.threads - serving
        assert push.values("gunicorn.threads", "state:idle") == (idle,)
        assert push.values("gunicorn.threads.queued") == (clients - waiting - serving,)
        assert waiting == 0
    else:
        assert push.all("gunicorn.threads") == []
        assert push.all("gunicorn.threads.queued") == []
    if not worker_class.eager:
        assert waiting == clients - serving
