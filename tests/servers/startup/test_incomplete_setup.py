"""A missing hook: one line names the hook and the remedy."""

from __future__ import annotations

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.heartbeats import wait_with_heartbeats
from tests.lab.nightly import NEWEST_BY_DAY, nightly
from tests.lab.pushes import next_pushes, wait_until_all_are_idle
from tests.lab.reloading import reload_and_wait
from tests.lab.server import CONFIG, STARTUP
from tests.lab.short_interval import EVERY_20_MS, SHORT_CONFIG, SHORT_INTERVALS
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD

OWN_WHEN_READY = "def when_ready(server):\n    server.log.info('my when_ready')\n"
OWN_POST_WORKER_INIT = "def post_worker_init(worker):\n    worker.log.info('my init')\n"
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "2"}
WARNED = "when_ready was not called: nothing is pushed"


def test_an_own_when_ready_below_the_star_import(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Nothing is pushed, and each setup causes one warning.

    - Of two workers the first logs one; workers after a reload log none.
    - The advice includes a restart; the first reload without one causes one more warning.
    """
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, config=CONFIG + OWN_WHEN_READY, environ=environ)
    server.wait_until_it_serves()
    wait_for("the warning", lambda: server.our_lines)
    wait_for("both workers", server.both_worker_pids)
    reload_and_wait(server)
    (line,) = server.our_lines
    assert f"[WARNING] gunicorn_backlog: {WARNED}" in line
    assert line.endswith("gunicorn_backlog.hooks.install(globals()) and restart gunicorn")

    installed = f"{OWN_WHEN_READY}from gunicorn_backlog import hooks\nhooks.install(globals())\n"
    for _ in range(2):
        reload_and_wait(server, installed)
        wait_for("another warning", lambda: len(server.our_lines) > 1)
    _, line = server.our_lines
    assert "until gunicorn is restarted" in line
    assert agent.datagrams == []


def test_disabled_hooks_do_not_warn_of_when_ready(newest: Gunicorn, serve: ServerFactory) -> None:
    """No push is expected, so no warning is logged."""
    environ = {"GUNICORN_BACKLOG_ENABLED": "no"}
    server = serve(newest, workers=1, config=CONFIG + OWN_WHEN_READY, environ=environ)
    server.wait_until_it_serves()

    assert server.our_lines == []


@pytest.mark.parametrize(
    ("gunicorn", "arguments"),
    [
        (VERSIONS[0], ()),
        (VERSIONS[-1], GTHREAD.arguments),
        nightly(VERSIONS[0], GTHREAD.arguments),
        nightly(VERSIONS[-1], ()),
    ],
    indirect=["gunicorn"],
)
def test_an_own_post_worker_init_below_the_star_import(
    arguments: tuple[str, ...], gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The heartbeat reveals workers without a slot, long before their timeout."""
    environ = EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url}
    config = SHORT_CONFIG + OWN_POST_WORKER_INIT
    server = serve(gunicorn, workers=1, config=config, environ=environ, arguments=arguments)
    server.wait_until_it_serves()
    wait_with_heartbeats(server, "the warning", lambda: server.our_lines)

    wait_for("no states", lambda: next_pushes(agent, 1)[0].workers == {"": 1})
    (line,) = server.our_lines
    assert "the hook post_worker_init has not instrumented them" in line
    assert "gunicorn_backlog.hooks.install(globals())" in line


@NEWEST_BY_DAY
def test_hooks_that_a_reload_adds(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """gunicorn calls when_ready only at its start: one warning of two workers names the remedy."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, config="\n", environ=environ).wait_until_it_serves()
    wait_for("both workers", server.both_worker_pids)
    reload_and_wait(server, CONFIG)
    wait_for("both workers", server.both_worker_pids)
    wait_for("the warning", lambda: server.our_lines)

    (line,) = server.our_lines
    assert "[WARNING] gunicorn_backlog: the hooks were added by a reload" in line
    assert "until gunicorn is restarted" in line
    assert agent.datagrams == []


@NEWEST_BY_DAY
def test_a_bad_setting_beside_a_when_ready_that_is_not_called(
    gunicorn: Gunicorn, serve: ServerFactory
) -> None:
    """The worker that warns does not end: only a start in which our when_ready runs is stopped."""
    config = f"{CONFIG}{OWN_WHEN_READY}raw_env = ['GUNICORN_BACKLOG_INTERVAL=abc']\n"
    server = serve(gunicorn, config=config).wait_until_it_serves()
    former = wait_for("both workers", server.both_worker_pids)
    (line,) = wait_for("the warning", lambda: server.our_lines)
    assert "when_ready was not called" in line
    wait_for("both to be logged", lambda: server.log.count("Booting worker") == 2)
    server.get()
    assert server.worker_pids() == former
    assert server.log.count("Booting worker") == 2


@NEWEST_BY_DAY
def test_hooks_that_a_reload_removes(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Pushes stop with one line, and resume when a later reload finds the hooks again.

    A config without hooks removes ours, and so does an own when_ready.
    """
    # With rare samples and two forks for each reload, at least one fork gets the gate.
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, environ=environ)
    wait_until_all_are_idle(agent)
    for times, config in ((1, "\n"), (2, OWN_WHEN_READY)):
        for _ in range(2):
            wait_for("both workers", server.both_worker_pids)
            reload_and_wait(server, config)
            wait_for("the warning", lambda: len(server.our_lines) == times)  # noqa: B023

        pushed = len(agent.datagrams)
        with pytest.raises(AssertionError, match="in vain"):
            wait_for("a push", lambda: len(agent.datagrams) > pushed, deadline_s=1)  # noqa: B023
        assert len(server.our_lines) == times
        line = server.our_lines[-1]
        assert "[WARNING] gunicorn_backlog: a reload removed the hooks from the config" in line
        wait_for("both workers", server.both_worker_pids)
        reload_and_wait(server, CONFIG)
        wait_until_all_are_idle(agent)
        lines = times + 1
        wait_for("a startup line", lambda: len(STARTUP.findall(server.log)) == lines)  # noqa: B023
        assert len(server.our_lines) == times


def test_a_reload_to_own_hooks_that_call_ours_removes_nothing(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Own hooks may call ours: pushes go on without a line."""
    environ = EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, workers=1, config=SHORT_CONFIG, environ=environ)
    wait_until_all_are_idle(agent, workers=1)
    reload_and_wait(
        server,
        f"{SHORT_INTERVALS}from gunicorn_backlog import hooks\n"
        "def post_worker_init(worker):\n    hooks.post_worker_init(worker)\n",
    )
    wait_until_all_are_idle(agent, workers=1)
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
    environ = EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, workers=1, config=SHORT_INTERVALS + BY_HAND, environ=environ)
    wait_until_all_are_idle(agent, workers=1)
    reload_and_wait(server)
    wait_until_all_are_idle(agent, workers=1)
    assert server.our_lines == []
