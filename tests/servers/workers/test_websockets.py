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
from tests.lab.pushes import next_pushes, wait_until_all_are_idle
from tests.lab.server import Server, request
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    AIOHTTP_ASYNCIO,
    AIOHTTP_UVLOOP,
    ASGI_OWN,
    TORNADO_OWN,
    UVICORN,
    UVICORN_FORMER,
    WorkerClass,
)

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "5"}
CLASSES = [ASGI_OWN, UVICORN, UVICORN_FORMER, AIOHTTP_ASYNCIO, AIOHTTP_UVLOOP, TORNADO_OWN]


def serving(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> Server:
    """Return a server with one idle worker, on the newest gunicorn with the class."""
    server: Server = serve(
        installed(worker_class.versions[-1]),
        workers=1,
        arguments=worker_class.arguments,
        app=worker_class.app,
        environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent, workers=1)
    return server


def holds(server: Server, requests: int) -> bool:
    """Return whether the app holds that number."""
    return server.journal.in_flight().total() == requests


@pytest.mark.parametrize("worker_class", CLASSES, ids=lambda worker_class: worker_class.name)
def test_websockets_are_in_flight(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Open websockets are in flight, quiet or not, until they are closed or lost."""
    server = serving(worker_class, installed, serve, agent)
    with ExitStack() as stack:
        url = f"ws://{server.address}/websocket"
        sockets = [stack.enter_context(connect(url)) for _ in range(3)]
        check_each(sockets, server, agent)
    wait_until_all_are_idle(agent, workers=1)


def check_each(sockets: list[ClientConnection], server: Server, agent: StandInAgent) -> None:
    """Use one and close one, until all are closed."""
    for remaining in (3, 2, 1):
        sockets[-1].send("hello")
        assert sockets[-1].recv() == "hello"
        wait_for("the app to agree", partial(holds, server, remaining))
        for push in next_pushes(agent, 3):
            assert push.values("gunicorn.requests.in_flight") == (remaining,)
            assert push.workers == {"idle": 0, "working": 1, "starting": 0}
        if remaining == 2:
            sockets.pop().socket.shutdown(socket.SHUT_RDWR)
        else:
            sockets.pop().close()


@pytest.mark.parametrize("worker_class", CLASSES[:-1], ids=lambda worker_class: worker_class.name)
def test_a_client_that_is_gone(
    worker_class: WorkerClass,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """A request is in flight exactly as long as the app runs it, cancelled or not."""
    server = serving(worker_class, installed, serve, agent)
    with server.connect() as client:
        client.sendall(request("/hold"))
        wait_for("the held request", lambda: server.journal.in_flight().total() == 1)
    for _ in range(5):
        before = server.journal.in_flight().total()
        (push,) = next_pushes(agent, 1)
        if server.journal.in_flight().total() == before:
            assert push.values("gunicorn.requests.in_flight") == (before,)
    server.release.touch()
    wait_for("the app to be done", lambda: server.journal.in_flight().total() == 0)
    wait_until_all_are_idle(agent, workers=1)
