"""Websockets are in flight from handshake to close, and requests until they are cancelled."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest
from agent import StandInAgent
from websockets.sync.client import ClientConnection, connect

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import latest, next_pushes, wait_for_in_flight, wait_until_all_are_idle
from tests.lab.server import Server, request
from tests.lab.short_interval import EVERY_20_MS, SHORT_CONFIG
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    AIOHTTP_ASYNCIO,
    AIOHTTP_UVLOOP,
    ASGI_OWN,
    TORNADO_OWN,
    UVICORN,
    UVICORN_FORMER,
    WorkerClass,
    label,
)

CLASSES = [ASGI_OWN, UVICORN, UVICORN_FORMER, AIOHTTP_ASYNCIO, AIOHTTP_UVLOOP, TORNADO_OWN]


@pytest.mark.parametrize("worker_class", CLASSES, ids=label)
def test_websockets_and_lost_clients(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """In flight is what the app serves, on the newest gunicorn that has the class.

    - Open websockets are in flight, quiet or not, until they are closed or lost.
    - A request whose client is gone is in flight as long as the app runs it, cancelled or not.
    """
    server = serve(
        installed(worker_class.versions[-1]),
        workers=1,
        config=SHORT_CONFIG,
        arguments=worker_class.arguments,
        app=worker_class.app,
        environ=EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent, workers=1)
    with ExitStack() as stack:
        url = f"ws://{server.address}/websocket"
        sockets = [stack.enter_context(connect(url)) for _ in range(3)]
        check_each(sockets, server, agent)
    wait_until_all_are_idle(agent, workers=1)
    check_lost_client(server, agent)
    wait_until_all_are_idle(agent, workers=1)


def check_each(sockets: list[ClientConnection], server: Server, agent: StandInAgent) -> None:
    """Use one and close one, until all are closed."""
    for remaining in (3, 2, 1):
        sockets[-1].send("hello")
        assert sockets[-1].recv() == "hello"
        wait_for("the app to agree", partial(holds, server, remaining))
        wait_for_in_flight(agent, remaining)
        assert latest(agent).values("gunicorn.requests.oldest") == (0,)  # a websocket has no age
        for push in next_pushes(agent, 3):
            assert push.values("gunicorn.requests.in_flight") == (remaining,)
            assert push.workers == {"idle": 0, "working": 1, "starting": 0}
        if remaining == 2:
            sockets.pop().socket.shutdown(socket.SHUT_RDWR)
        else:
            sockets.pop().close()


def check_lost_client(server: Server, agent: StandInAgent) -> None:
    """Send a request, and leave."""
    with server.connect() as client:
        client.sendall(request("/hold"))
        wait_for("it to be held", partial(holds, server, 1))
    wait_for_in_flight(agent, server.journal.in_flight().total())  # 0 if it is cancelled at once
    for _ in range(5):
        before = server.journal.in_flight().total()
        (push,) = next_pushes(agent, 1)
        if server.journal.in_flight().total() == before:
            assert push.values("gunicorn.requests.in_flight") == (before,)
    server.release.touch()
    wait_for("the app to be done", partial(holds, server, 0))


def holds(server: Server, requests: int) -> bool:
    """Return whether the app holds that number."""
    return server.journal.in_flight().total() == requests
