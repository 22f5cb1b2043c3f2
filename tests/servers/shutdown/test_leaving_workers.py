"""Workers that leave while they work: counted to their end, in a shutdown and in a reload."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import Push, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import ASGI_OWN, GEVENT, GTHREAD, SYNC, WORKERS, WorkerClass

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "5"}
CLASSES = pytest.mark.parametrize(
    ("worker_class", "version"),
    [
        pytest.param(it, version, id=f"{it.name}-{version}")
        for it in (SYNC, GTHREAD, GEVENT, ASGI_OWN)
        for version in (it.versions[0], it.versions[-1])
    ],
)


def at_work(
    worker_class: WorkerClass, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> Server:
    """Return a server with one request under way, whose app was loaded by the arbiter."""
    server = serve(
        gunicorn,
        # The asgi worker of gunicorn 25.3.0 does not leave before its time is up.
        arguments=(*worker_class.arguments, "--preload", "--graceful-timeout", "6"),
        app=worker_class.app,
        environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent)
    server.hold(1)
    wait_for("it to begin", lambda: server.journal.in_flight().total() == 1)
    return server


def next_push(agent: StandInAgent) -> Push:
    """Return a push of an interval that begins now."""
    return next_pushes(agent, 1)[0]


@CLASSES
def test_a_shutdown_waits_for_a_request(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """After SIGTERM the others leave; the one at work is working until it is done."""
    server = at_work(worker_class, installed(version), serve, agent)
    server.signal(signal.SIGTERM)
    left = {"idle": 0, "working": 1, "starting": 0}
    wait_for("the others to leave", lambda: next_push(agent).workers == left)
    for push in next_pushes(agent, 3):
        assert push.workers == left
        assert push.values("gunicorn.requests.in_flight") == (1,)
        assert push.values("gunicorn.is_running") == (0,)
    server.let_go()
    assert server.process.wait(20) == 0
    assert pushes(agent)[-1].values("gunicorn.is_running") == (2,)


@CLASSES
def test_a_reload_waits_for_a_request(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """After SIGHUP there are the new workers and the old one, until it is done."""
    server = at_work(worker_class, installed(version), serve, agent)
    server.reload()
    both = {"idle": WORKERS, "working": 1, "starting": 0}
    wait_for("old and new workers", lambda: next_push(agent).workers == both)
    for push in next_pushes(agent, 3):
        assert push.workers == both
        assert push.values("gunicorn.requests.in_flight") == (1,)
    server.let_go()
    wait_until_all_are_idle(agent)


def test_from_one_class_to_another(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """While the last sync worker is at work and the new ones are gevent's there are no shares."""
    server = at_work(WorkerClass("", capacity=2), newest, serve, agent)
    config = server.config.read_text() + "worker_class = 'gevent'\n"
    assert next_push(agent).all("gunicorn.workers.utilization")
    server.reload(config)
    both = {"idle": WORKERS, "working": 1, "starting": 0}
    wait_for("old and new workers", lambda: next_push(agent).workers == both)
    for push in next_pushes(agent, 3):
        assert push.values("gunicorn.requests.in_flight") == (1,)
        assert push.all("gunicorn.workers.utilization") == []
        assert push.all("gunicorn.workers.saturated") == []
    server.let_go()
    wait_until_all_are_idle(agent)
