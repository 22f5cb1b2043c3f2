"""A missing hook: one line names the hook and the remedy."""

from __future__ import annotations

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import CONFIG, STARTUP
from tests.lab.waiting import wait_for

OWN_WHEN_READY = "def when_ready(server):\n    server.log.info('my when_ready')\n"
OWN_POST_WORKER_INIT = "def post_worker_init(worker):\n    worker.log.info('my init')\n"
WORKERS = 3
FAST = {"GUNICORN_BACKLOG_INTERVAL": "0.2"}


def test_an_own_when_ready_below_the_star_import(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The first worker logs one warning; workers after a reload log none."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, **FAST}
    server = serve(gunicorn, config=CONFIG + OWN_WHEN_READY, workers=WORKERS, environ=environ)
    server.wait_until_it_serves()
    wait_for("the warning", lambda: server.our_lines)
    former = server.worker_pids()
    server.reload()
    wait_for("new workers", lambda: len(server.worker_pids() - former) == WORKERS)
    server.get()

    (line,) = server.our_lines
    assert "[WARNING] gunicorn_backlog: when_ready was not called: nothing is pushed" in line
    assert "gunicorn_backlog.hooks.install(globals())" in line
    assert agent.datagrams == []


def test_disabled_hooks_do_not_warn_of_when_ready(newest: Gunicorn, serve: ServerFactory) -> None:
    """No push is expected, so no warning is logged."""
    environ = {"GUNICORN_BACKLOG_ENABLED": "no"}
    server = serve(newest, config=CONFIG + OWN_WHEN_READY, environ=environ)
    server.wait_until_it_serves()

    assert server.our_lines == []


@pytest.mark.parametrize("arguments", [(), ("--worker-class", "gthread", "--threads", "2")])
def test_an_own_post_worker_init_below_the_star_import(
    arguments: tuple[str, ...], gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The heartbeat reveals a worker without a slot, long before its timeout."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, **FAST}
    arguments = (*arguments, "--timeout", "4")  # a sync worker's heartbeat then comes every 2 s
    config = CONFIG + OWN_POST_WORKER_INIT
    server = serve(gunicorn, config=config, environ=environ, arguments=arguments)
    server.wait_until_it_serves()
    wait_for("the warning", lambda: server.our_lines)

    wait_for("no states", lambda: next_pushes(agent, 1)[0].workers == {"": 2})
    (line,) = server.our_lines
    assert "the hook post_worker_init has not instrumented them" in line
    assert "gunicorn_backlog.hooks.install(globals())" in line


def test_hooks_that_a_reload_adds(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """gunicorn calls when_ready only at its start: one warning names the remedy."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, **FAST}
    server = serve(gunicorn, config="\n", workers=WORKERS, environ=environ).wait_until_it_serves()
    former = wait_for("workers", lambda: _if_all(server.worker_pids()))
    server.reload(CONFIG)
    wait_for("new workers", lambda: len(server.worker_pids() - former) == WORKERS)
    wait_for("the warning", lambda: server.our_lines)

    (line,) = server.our_lines
    assert "[WARNING] gunicorn_backlog: the hooks were added by a reload" in line
    assert "until gunicorn is restarted" in line
    assert agent.datagrams == []


def test_a_reload_that_follows_the_advice_of_the_warning(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The advice includes a restart; the first reload without one causes one more warning."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, **FAST}
    server = serve(gunicorn, config=CONFIG + OWN_WHEN_READY, environ=environ)
    server.wait_until_it_serves()
    (line,) = wait_for("the warning", lambda: server.our_lines)
    assert line.endswith("hooks.install(globals()) and restart gunicorn")
    config = f"{OWN_WHEN_READY}from gunicorn_backlog import hooks\nhooks.install(globals())\n"
    for _ in range(2):
        former = wait_for("both workers", server.both_worker_pids)
        server.reload(config)
        wait_for("new workers", lambda: server.worker_pids().isdisjoint(former))  # noqa: B023
        server.get()
        wait_for("another warning", lambda: len(server.our_lines) > 1)

    _, line = server.our_lines
    assert "until gunicorn is restarted" in line
    assert agent.datagrams == []


def test_a_bad_setting_beside_a_when_ready_that_is_not_called(
    gunicorn: Gunicorn, serve: ServerFactory
) -> None:
    """The worker that warns does not end: only a start in which our when_ready runs is stopped."""
    config = f"{CONFIG}{OWN_WHEN_READY}raw_env = ['GUNICORN_BACKLOG_INTERVAL=abc']\n"
    server = serve(gunicorn, config=config).wait_until_it_serves()
    former = wait_for("both workers", server.both_worker_pids)
    (line,) = wait_for("the warning", lambda: server.our_lines)
    assert "when_ready was not called" in line
    server.get()
    assert server.worker_pids() == former
    assert server.log.count("Booting worker") == 2


def _if_all(pids: set[int]) -> set[int] | None:
    return pids if len(pids) == WORKERS else None


@pytest.mark.parametrize("config", ["\n", OWN_WHEN_READY])
def test_hooks_that_a_reload_removes(
    config: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Pushes stop with one line, and resume when a later reload finds the hooks again.

    A reload that finds the hooks with ``enabled=False`` logs this reason instead.
    """
    environ = {"GUNICORN_BACKLOG_URL": agent.url, **FAST}
    server = serve(gunicorn, environ=environ).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    for _ in range(3):
        former = wait_for("both workers", server.both_worker_pids)
        server.reload(config)
        wait_for("new workers", lambda: server.worker_pids().isdisjoint(former))  # noqa: B023
        wait_for("the warning", lambda: server.our_lines)

    pushed = len(agent.datagrams)
    with pytest.raises(AssertionError, match="in vain"):
        wait_for("a push", lambda: len(agent.datagrams) > pushed, deadline_s=1)
    (line,) = server.our_lines
    assert "[WARNING] gunicorn_backlog: a reload removed the hooks from the config" in line
    server.reload(f"{CONFIG}from gunicorn_backlog import configure\nconfigure(enabled=False)\n")
    wait_for("the other reason", lambda: "is switched off (enabled is False)" in server.log)
    assert len(agent.datagrams) == pushed
    server.reload(CONFIG)
    wait_for("pushes", lambda: len(agent.datagrams) > pushed)
    wait_until_all_are_idle(agent)
    wait_for("another line of what runs", lambda: len(STARTUP.findall(server.log)) == 3)
    assert len(server.our_lines) == 1


def test_a_reload_to_own_hooks_that_call_ours_removes_nothing(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Own hooks may call ours: pushes go on without a line."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, **FAST}
    server = serve(newest, environ=environ).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    former = wait_for("both workers", server.both_worker_pids)
    server.reload(
        "from gunicorn_backlog import hooks\n"
        "def post_worker_init(worker):\n    hooks.post_worker_init(worker)\n"
    )
    wait_for("new workers", lambda: server.worker_pids().isdisjoint(former))
    seen = len(pushes(agent))
    idle = {"idle": 2, "working": 0, "starting": 0}
    wait_for("pushes", lambda: any(push.workers == idle for push in pushes(agent)[seen + 1 :]))
    assert server.our_lines == []


BY_HAND = """
from gunicorn.workers.sync import SyncWorker
from gunicorn_backlog import hooks

class worker_class(SyncWorker):
    def run(self):
        hooks.post_worker_init(self)
        super().run()

def pre_fork(server, worker):
    hooks.when_ready(server)
"""


def test_hooks_that_no_config_names_are_not_taken_for_removed_ones(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A worker class and another hook may call ours; a reload changes nothing."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, **FAST}
    server = serve(newest, config=BY_HAND, environ=environ).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    former = wait_for("both workers", server.both_worker_pids)
    server.reload()
    wait_for("new workers", lambda: server.worker_pids().isdisjoint(former))
    wait_until_all_are_idle(agent)
    assert server.our_lines == []
