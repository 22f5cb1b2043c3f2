"""Each documented way to add the hooks to a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.heartbeats import wait_with_heartbeats
from tests.lab.nightly import NEWEST_BY_DAY, nightly
from tests.lab.pushes import latest, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for

OWN_HOOKS = """
from gunicorn_backlog import configure, hooks

configure(interval=0.1, tags=["team:web"])

def when_ready(server):
    server.log.info("my when_ready")
    hooks.when_ready(server)

def post_worker_init(worker):
    hooks.post_worker_init(worker)
    worker.log.info("my post_worker_init")

def on_exit(server):
    hooks.on_exit(server)
    server.log.info("my on_exit")
"""

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "2"}
HOOKS_MODULE = "--config python:gunicorn_backlog.hooks"
WAYS = {
    "star import": (CONFIG, (), {}),
    "--config python:": (None, tuple(HOOKS_MODULE.split()), {}),
    "GUNICORN_CMD_ARGS": (None, (), {"GUNICORN_CMD_ARGS": HOOKS_MODULE}),
    "own hooks": (OWN_HOOKS, (), {}),
}


def threads(server: Server) -> int:
    """Return the number of the arbiter's threads, including gunicorn's own."""
    return len(list(Path(f"/proc/{server.pid}/task").iterdir()))


# In the oldest gunicorn by day a config file, and a module.
CASES = [
    *((way, VERSIONS[-1]) for way in WAYS),
    *((way, VERSIONS[0]) for way in ("own hooks", "--config python:")),
    *(nightly(way, VERSIONS[0]) for way in ("star import", "GUNICORN_CMD_ARGS")),
]


@pytest.mark.parametrize(("way", "gunicorn"), CASES, indirect=["gunicorn"])
def test_workers_and_backlog_are_pushed(
    way: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Each way leads to the same pushes, including the last push of a shutdown."""
    config, arguments, environ = WAYS[way]
    environ = environ | INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    # Without time for a graceful stop no push before the last one is without a worker.
    arguments = (*arguments, "--graceful-timeout", "0")
    server = serve(gunicorn, workers=1, config=config, arguments=arguments, environ=environ)
    wait_until_all_are_idle(agent, workers=1)

    for push in next_pushes(agent, 2):
        assert push.workers == {"idle": 1, "working": 0, "starting": 0}
        assert set(push.values("gunicorn.backlog")) == {0}
        assert push.values("gunicorn.is_running", "app:lab") == (0,)
    server.process.terminate()

    assert server.process.wait(timeout=20) == 0
    wait_for("the last push", lambda: latest(agent).values("gunicorn.is_running") == (2,))
    assert sum(push.values("gunicorn.workers.spawned")[0] for push in pushes(agent)) == 1
    assert "Traceback" not in server.log
    if way == "own hooks":
        assert server.log.count("my post_worker_init") == 1
        assert "my on_exit" in server.log
        assert all(push.all("gunicorn.workers", "team:web") for push in pushes(agent))


@NEWEST_BY_DAY
def test_disabled_does_nothing(
    gunicorn: Gunicorn, serve: ServerFactory, listen: AgentFactory
) -> None:
    """With enabled=False, or the variable, there is no thread, no shared memory and no datagram.

    A server without us has the same number of threads; an enabled one has one more, and one memfd.
    """
    off = CONFIG + "from gunicorn_backlog import configure\nconfigure(enabled=False)\n"
    agents = [listen() for _ in range(3)]
    urls = [INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url} for agent in agents]
    plain = serve(gunicorn, config=None, workers=1)
    configured = serve(gunicorn, config=off, workers=1, environ=urls[0])
    switched = serve(gunicorn, workers=1, environ=urls[1] | {"GUNICORN_BACKLOG_ENABLED": "false"})
    enabled = serve(gunicorn, workers=1, environ=urls[2])
    for server in (plain, configured, switched, enabled):
        server.wait_until_it_serves()
    for _ in range(20):
        configured.get()
        switched.get()
    wait_until_all_are_idle(agents[2], workers=1)

    for server in (configured, switched):
        assert threads(server) == threads(plain)
        assert "gunicorn_backlog" not in memory(server)
    assert agents[0].datagrams == agents[1].datagrams == []
    assert threads(enabled) == threads(plain) + 1
    assert "/memfd:gunicorn_backlog" in memory(enabled)


def memory(server: Server) -> str:
    """Return the memory mappings of the arbiter."""
    return Path(f"/proc/{server.pid}/maps").read_text()


def test_a_config_without_post_worker_init(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Uninstrumented workers are counted without a state, and one line names the remedy."""
    config = "from gunicorn_backlog.hooks import when_ready\n"
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, workers=1, config=config, environ=environ).wait_until_it_serves()

    wait_with_heartbeats(server, "the line", lambda: "post_worker_init" in server.log)
    (push, *_) = next_pushes(agent, 1)

    assert push.workers == {"": 1}
    assert push.all("gunicorn.requests.in_flight") == []
    assert len(server.our_lines) == 1


def test_an_unknown_worker_class_is_counted(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Workers of an unknown class are counted without a state, and one line names the class."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    arguments = ("--worker-class", "tests.lab.custom_workers.StrangeWorker")
    # The worker closes without reading: many of its answers are lost in a reset.
    server = serve(newest, environ=environ, arguments=arguments, workers=1)

    wait_for(
        "the line", lambda: "tests.lab.custom_workers.StrangeWorker is not known" in server.log
    )
    (push, *_) = next_pushes(agent, 1)

    assert push.workers == {"": 1}
    assert set(push.values("gunicorn.backlog")) == {0}
    assert push.values("gunicorn.is_running") == (0,)
    assert len(server.our_lines) == 1
