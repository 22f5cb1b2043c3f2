"""The pushed backlog and worker states are those of ``ss`` and of the app."""

from __future__ import annotations

from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import next_pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.short_interval import EVERY_50_MS, SHORT_CONFIG
from tests.lab.ss import Listening, ss
from tests.lab.waiting import wait_for

WORKERS = 2
STEADY = 3  # pushes
CLIENTS = (1, 2, 3, 7, 20)


def test_every_push_agrees_with_ss(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Held requests fill the workers, then the queue; released, they leave both empty."""
    server = serve(
        gunicorn, config=SHORT_CONFIG, environ=EVERY_50_MS | {"GUNICORN_BACKLOG_URL": agent.url}
    )
    check_at_rest(server, agent)
    for clients in CLIENTS:
        check_while_held(server, agent, clients)
        server.let_go()
        wait_for("nobody waiting", lambda: ss(server.address).recv_q == 0)
        check_at_rest(server, agent)


def check_while_held(server: Server, agent: StandInAgent, clients: int) -> None:
    """Hold ``clients`` requests, and compare steady pushes with ``ss`` and the app."""
    waiting, working = max(0, clients - WORKERS), min(clients, WORKERS)
    listener = f"listener:{server.address}"
    server.hold(clients)
    wait_for(f"{waiting} waiting", lambda: ss(server.address).recv_q == waiting)
    wait_for(f"{working} in the app", lambda: server.journal.in_flight().total() == working)
    steady = next_pushes(agent, STEADY)
    kernel = ss(server.address)
    assert kernel == Listening(waiting, kernel.send_q)
    for push in steady:
        assert set(push.values("gunicorn.backlog", listener)) == {kernel.recv_q}
        assert push.values("gunicorn.backlog.limit", listener) == (kernel.send_q,)
        assert push.workers == {"idle": WORKERS - working, "working": working, "starting": 0}
        assert push.values("gunicorn.requests.in_flight") == (working,)


def check_at_rest(server: Server, agent: StandInAgent) -> None:
    """Without clients, queue and workers are empty in steady pushes."""
    wait_until_all_are_idle(agent, WORKERS)
    listener, kernel = f"listener:{server.address}", ss(server.address)
    assert kernel.recv_q == 0
    for push in next_pushes(agent, STEADY):
        assert set(push.values("gunicorn.backlog", listener)) == {0}
        assert push.values("gunicorn.backlog.limit", listener) == (kernel.send_q,)
        assert push.workers == {"idle": WORKERS, "working": 0, "starting": 0}
        assert push.values("gunicorn.requests.in_flight") == (0,)
