"""Workers that finish a request after a shutdown or a reload are counted to their end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.procfs import has_own_handlers
from tests.lab.pushes import Push, latest, next_pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.short_interval import EVERY_50_MS, SHORT_CONFIG
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import ASGI_OWN, GEVENT, GTHREAD, NEWEST, SYNC, WORKERS, WorkerClass

# Long enough for a share of an interval.
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "5"}
CASES = [
    *(
        pytest.param(each, version, id=f"{each.name}-{version}")
        for each in (SYNC, GTHREAD)
        for version in VERSIONS
    ),
    nightly(GEVENT, VERSIONS[0], id=f"gevent-{VERSIONS[0]}"),
    pytest.param(GEVENT, NEWEST, id=f"gevent-{NEWEST}"),
    # The asgi worker of gunicorn 25.3.0 does not exit before the graceful timeout.
    nightly(ASGI_OWN, ASGI_OWN.versions[0], id=f"asgi-{ASGI_OWN.versions[0]}"),
    pytest.param(ASGI_OWN, NEWEST, id=f"asgi-{NEWEST}"),
]


def with_a_request(
    worker_class: WorkerClass,
    gunicorn: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
    environ: Mapping[str, str] = EVERY_50_MS,
) -> Server:
    """Start a server with a preloaded app, and hold one request in flight."""
    server = serve(
        gunicorn,
        arguments=(*worker_class.arguments, "--preload", "--graceful-timeout", "6"),
        app=worker_class.app,
        config=SHORT_CONFIG,
        environ={**environ, "GUNICORN_BACKLOG_URL": agent.url},
    )
    wait_until_all_are_idle(agent)
    hold(server)
    return server


def hold(server: Server) -> None:
    """Hold one request in the app."""
    server.hold(1)
    wait_for("the request to begin", lambda: server.journal.in_flight().total() == 1)


def replace_idle_workers(server: Server, config: str | None = None) -> None:
    """Reload, and wait until of the former workers only the busy one is left."""
    former, (busy,) = server.worker_pids(), server.journal.in_flight()

    def replaced() -> bool:
        pids = server.worker_pids()
        return former & pids == {busy} and len(pids) == WORKERS + 1

    server.reload(config)
    wait_for("the former idle workers to leave", replaced)


def next_push(agent: StandInAgent) -> Push:
    """Return the push of the first interval that begins from now on."""
    return next_pushes(agent, 1)[0]


@pytest.mark.parametrize(("worker_class", "version"), CASES)
def test_a_reload_and_a_shutdown_wait_for_a_request(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """After SIGHUP the new workers and the busy old one are counted to the end of its request.

    After SIGTERM the idle workers exit; the busy one is working to the end of its request.
    """
    server = with_a_request(worker_class, installed(version), serve, agent)
    replace_idle_workers(server)
    both = {"idle": WORKERS, "working": 1, "starting": 0}
    wait_for("old and new workers", lambda: next_push(agent).workers == both)
    for push in next_pushes(agent, 3):
        assert push.workers == both
        assert push.values("gunicorn.requests.in_flight") == (1,)
    server.let_go()
    wait_until_all_are_idle(agent)
    wait_for("the old workers to leave", server.both_worker_pids)
    hold(server)
    check_shutdown(server, agent)


def check_shutdown(server: Server, agent: StandInAgent) -> None:
    """End a server that has a request in flight."""
    wait_for("its workers", lambda: all(map(has_own_handlers, server.worker_pids())))
    server.signal(signal.SIGTERM)
    left = {"idle": 0, "working": 1, "starting": 0}
    wait_for("the others to leave", lambda: next_push(agent).workers == left)
    for push in next_pushes(agent, 3):
        assert push.workers == left
        assert push.values("gunicorn.requests.in_flight") == (1,)
        assert push.values("gunicorn.is_running") == (0,)
    server.let_go()
    assert server.process.wait(20) == 0
    assert latest(agent).values("gunicorn.is_running") == (2,)


def test_from_one_class_to_another(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """While one busy sync worker and two idle gevent workers coexist, all three count."""
    server = with_a_request(WorkerClass("", capacity=2), newest, serve, agent, INTERVAL)
    config = server.config.read_text() + "worker_class = 'gevent'\n"
    assert next_push(agent).all("gunicorn.workers.utilization")
    replace_idle_workers(server, config)
    both = {"idle": WORKERS, "working": 1, "starting": 0}
    wait_for("old and new workers", lambda: next_push(agent).workers == both)
    for push in next_pushes(agent, 3):
        assert push.values("gunicorn.requests.in_flight") == (1,)
        assert push.values("gunicorn.workers.utilization")[0] == pytest.approx(100 / 3, abs=10)
        assert push.values("gunicorn.workers.saturated") == (0,)
    server.let_go()
    wait_until_all_are_idle(agent)
