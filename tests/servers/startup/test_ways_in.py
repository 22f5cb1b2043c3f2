"""Each documented way to add the hooks to a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for

OWN_HOOKS = """
from gunicorn_backlog import configure, hooks

configure(interval=0.2, tags=["team:web"])

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


@pytest.mark.parametrize("way", WAYS)
def test_workers_and_backlog_are_pushed(
    way: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Each way leads to the same pushes, including the last push of a shutdown."""
    config, arguments, environ = WAYS[way]
    environ = environ | {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    server = serve(gunicorn, config=config, arguments=arguments, environ=environ)
    wait_until_all_are_idle(agent)

    for push in next_pushes(agent, 2):
        assert push.workers == {"idle": 2, "working": 0, "starting": 0}
        assert set(push.values("gunicorn.backlog")) == {0}
        assert push.values("gunicorn.is_running", "app:lab") == (0,)
    server.process.terminate()

    assert server.process.wait(timeout=20) == 0
    wait_for("the last push", lambda: pushes(agent)[-1].values("gunicorn.is_running") == (2,))
    assert sum(push.values("gunicorn.workers.spawned")[0] for push in pushes(agent)) == 2
    assert "Traceback" not in server.log
    if way == "own hooks":
        assert server.log.count("my post_worker_init") == 2
        assert "my on_exit" in server.log
        assert all(push.all("gunicorn.workers", "team:web") for push in pushes(agent))


@pytest.mark.parametrize("way", ["configure", "environment"])
def test_disabled_does_nothing(
    way: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """With enabled=False there is no thread, no shared memory and no datagram."""
    config, environ = CONFIG, {"GUNICORN_BACKLOG_URL": agent.url}
    if way == "configure":
        config += "from gunicorn_backlog import configure\nconfigure(enabled=False)\n"
    else:
        environ["GUNICORN_BACKLOG_ENABLED"] = "false"
    plain = serve(gunicorn, config=None).wait_until_it_serves()
    server = serve(gunicorn, config=config, environ=environ).wait_until_it_serves()

    for _ in range(20):
        server.get()

    assert threads(server) == threads(plain)
    assert "gunicorn_backlog" not in Path(f"/proc/{server.pid}/maps").read_text()
    assert agent.datagrams == []


def test_enabled_is_one_thread_and_one_memfd(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """An enabled server has one more thread and one memfd: the checks of the test above work."""
    plain = serve(gunicorn, config=None).wait_until_it_serves()
    server = serve(gunicorn, environ={"GUNICORN_BACKLOG_URL": agent.url}).wait_until_it_serves()

    assert threads(server) == threads(plain) + 1
    assert "/memfd:gunicorn_backlog" in Path(f"/proc/{server.pid}/maps").read_text()


def test_a_config_without_post_worker_init(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Uninstrumented workers are counted without a state, and one line names the remedy."""
    config = "from gunicorn_backlog.hooks import when_ready\n"
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    # The shortest timeout that a worker survives; by then a worker must be up.
    server = serve(newest, config=config, environ=environ, arguments=("--timeout", "2"))
    server.wait_until_it_serves()

    wait_for("the line", lambda: "post_worker_init" in server.log)
    (push, *_) = next_pushes(agent, 1)

    assert push.workers == {"": 2}
    assert push.all("gunicorn.requests.in_flight") == []
    assert len(server.our_lines) == 1


def test_an_unknown_worker_class_is_counted(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Workers of an unknown class are counted without a state, and one line names the class."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    arguments = ("--worker-class", "tests.lab.custom_workers.StrangeWorker")
    server = serve(newest, environ=environ, arguments=arguments).wait_until_it_serves()

    wait_for(
        "the line", lambda: "tests.lab.custom_workers.StrangeWorker is not known" in server.log
    )
    (push, *_) = next_pushes(agent, 1)

    assert push.workers == {"": 2}
    assert set(push.values("gunicorn.backlog")) == {0}
    assert push.values("gunicorn.is_running") == (0,)
    assert len(server.our_lines) == 1


def test_a_subclass_of_sync_is_instrumented(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A user's subclass of gunicorn's sync worker has states."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    arguments = ("--worker-class", "tests.lab.custom_workers.OwnSyncWorker")
    server = serve(newest, environ=environ, arguments=arguments).wait_until_it_serves()

    server.hold(1)

    wait_for("one at work", lambda: next_pushes(agent, 1)[0].workers["working"] == 1)
