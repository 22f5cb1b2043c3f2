"""The pushed backlog and worker states are those of ``ss`` and of the app."""

from __future__ import annotations

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import next_pushes, wait_until_all_are_idle
from tests.lab.ss import Listening, ss
from tests.lab.waiting import wait_for

WORKERS = 2
STEADY = 3  # pushes
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.5"}


@pytest.mark.parametrize("clients", [0, 1, 2, 3, 7, 20])
def test_every_push_agrees_with_ss(
    clients: int, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Held requests fill the workers, then the queue; released, they leave both empty."""
    server = serve(gunicorn, environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url})
    wait_until_all_are_idle(agent, WORKERS)
    waiting, working = max(0, clients - WORKERS), min(clients, WORKERS)
    listener = f"listener:{server.address}"

    server.hold(clients)
    wait_for(f"{waiting} waiting", lambda: ss(server.address).recv_q == waiting)
    steady = next_pushes(agent, STEADY)
    kernel = ss(server.address)
    server.let_go()
    wait_for("nobody waiting", lambda: ss(server.address).recv_q == 0)
    released = next_pushes(agent, STEADY)

    assert kernel == Listening(waiting, kernel.send_q)
    for push in steady:
        assert set(push.values("gunicorn.backlog", listener)) == {kernel.recv_q}
        assert push.values("gunicorn.backlog.limit", listener) == (kernel.send_q,)
        assert push.workers == {"idle": WORKERS - working, "working": working, "starting": 0}
        assert push.values("gunicorn.requests.in_flight") == (working,)
    for push in released:
        assert set(push.values("gunicorn.backlog", listener)) == {0}
        assert push.workers == {"idle": WORKERS, "working": 0, "starting": 0}
        assert push.values("gunicorn.requests.in_flight") == (0,)
