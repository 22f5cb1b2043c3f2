"""Workers, threads and requests are those of the app, in every worker class.

The oracles are the app's own log of its requests, the accept queue by ``ss``, and the number of
clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from agent import StandInAgent
from websockets.sync.client import connect

from tests.conftest import ServerFactory
from tests.lab.counted_requests import (
    connect_without_a_request,
    request_on_one_connection,
    wait_for_requests,
)
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.pushes import Push, next_pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.short_interval import EVERY_20_MS, SHORT_CONFIG
from tests.lab.ss import ss
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    AIOHTTP_ASYNCIO,
    AIOHTTP_UVLOOP,
    ASGI_OWN,
    CLASSES,
    GEVENT,
    NEWEST,
    PYWSGI,
    SUBCLASSES,
    TORNADO_OWN,
    TORNADO_WSGI,
    UVICORN,
    UVICORN_FORMER,
    WORKERS,
    WorkerClass,
)

SETTLING = 4  # pushes, 80 ms
STEADY = 3  # pushes
MANY = 4  # requests, of a class without a capacity
CLIENTS = 10
WITH_WEBSOCKETS = (ASGI_OWN, UVICORN, TORNADO_OWN)
# By day a user's subclass stands for its base with the newest gunicorn. Of the two classes with
# the same kind of worker, in uvicorn and in aiohttp, the latter runs with the newest one only.
AT_NIGHT = {
    *((base, NEWEST) for base in (GEVENT, PYWSGI, TORNADO_WSGI, UVICORN, AIOHTTP_ASYNCIO)),
    *((other, VERSIONS[0]) for other in (UVICORN_FORMER, AIOHTTP_UVLOOP)),
}
CASES = [
    nightly(each, version, id=f"{each.label}-{version}")
    if (each, version) in AT_NIGHT
    else each.case(version)
    for each in (*CLASSES, *SUBCLASSES)
    for version in each.versions
]


@pytest.mark.parametrize(("worker_class", "version"), CASES)
def test_pushed_and_counted_requests(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Each steady push is right with no request, one, as many as fit, and five more.

    ``status`` counts the requests that the app got, without gunicorn's own 4xx.
    """
    server = serve(
        installed(version),
        config=SHORT_CONFIG,
        arguments=worker_class.arguments,
        app=worker_class.app,
        environ=EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent, WORKERS)
    most = worker_class.capacity or MANY
    numbers = (0, 1, most, most + 5)
    for clients in numbers:
        server.hold(clients)
        check_steady_pushes(server, agent, worker_class, clients)
        server.let_go()
        wait_until_all_are_idle(agent, WORKERS)
        check(next_pushes(agent, 1)[0], worker_class, 0, 0, Counter())
    check_counted_requests(server, worker_class, sum(numbers))


def check_steady_pushes(
    server: Server, agent: StandInAgent, worker_class: WorkerClass, clients: int
) -> None:
    """Check pushes during which the numbers of the app and the kernel stay the same."""
    steady, held, queued = wait_for(
        f"{clients} clients to settle", partial(steady_pushes, server, agent, clients)
    )
    for push in steady:
        check(push, worker_class, clients, queued, held)


def steady_pushes(
    server: Server, agent: StandInAgent, clients: int
) -> tuple[list[Push], Counter[int], int] | None:
    """Return pushes, the app's requests by pid, and the accept queue; None if these change."""
    held, queued = server.journal.in_flight(), ss(server.address).recv_q
    pushed = next_pushes(agent, SETTLING + STEADY)
    if (server.journal.in_flight(), ss(server.address).recv_q) != (held, queued):
        return None
    return (pushed[SETTLING:], held, queued) if held or not clients else None


def settled(server: Server, agent: StandInAgent, clients: int) -> bool:
    """Return whether the numbers of the app and the kernel stay the same for some pushes."""
    return steady_pushes(server, agent, clients) is not None


def check_counted_requests(server: Server, worker_class: WorkerClass, requests: int) -> None:
    """Requests to the app are counted one by one, after those that were held.

    - Ten clients with one request each are ten; malformed or no requests are none.
    - Each request of a kept-alive connection is one.
    - A websocket is one request from its handshake on, with any number of messages.
    """
    wait_for_requests(server, requests)
    for _ in range(CLIENTS):
        connect_without_a_request(server)
    connect_without_a_request(server, b"nonsense\r\n\r\n")
    for _ in range(CLIENTS):
        server.get("/")
    request_on_one_connection(server, 3)
    requests += CLIENTS + 3
    wait_for_requests(server, requests)
    if worker_class in WITH_WEBSOCKETS:
        with connect(f"ws://{server.address}/websocket") as sock:
            for _ in range(3):
                sock.send("a")
                assert sock.recv(timeout=30) == "a"
            wait_for_requests(server, requests + 1)
        wait_for_requests(server, requests + 1)


def check(
    push: Push, worker_class: WorkerClass, clients: int, waiting: int, held: Counter[int]
) -> None:
    """Compare one push with the app's requests, by pid, and with the queued ones."""
    serving = held.total()
    assert push.workers == {"idle": WORKERS - len(held), "working": len(held), "starting": 0}
    assert push.values("gunicorn.requests.in_flight") == (serving,)
    assert set(push.values("gunicorn.backlog")) == {waiting}
    if worker_class.capacity is None:  # the loop's running time, see test_loops
        for name in ("gunicorn.workers.utilization", "gunicorn.workers.saturated"):
            # Without utilization: an interval of 0.1 s without a beat of uvloop.
            assert all(0 <= line.values[0] <= 100 for line in push.all(name))
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
